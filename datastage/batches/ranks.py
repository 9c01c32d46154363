"""Which samples come when, and to which process: the order of an epoch and each rank's share of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from datastage.batches.augment import ORDER, random
from datastage.runtime import launched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class World:
    """Who we are among the processes that train together: our rank, counted from 0, and how many there are."""

    rank: int = 0
    size: int = 1


class Step(NamedTuple):
    """One batch: which places of the epoch it holds, from `start` to before `stop`."""

    start: int
    stop: int
    size: int  # rows that the batch is filled up to; 0 leaves it as it is
    valid: int  # how many of the places are given to nobody else; the rows after them are padding
    seed: int = 0  # of what chance does to the batch, beside what an epoch's draws say


def world() -> World:
    """Ask who we are: torch, if a process group exists; torch_xla, if its runtime runs; else the launcher."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return World(torch.distributed.get_rank(), torch.distributed.get_world_size())
    xla = sys.modules.get("torch_xla")
    # Asking for a rank starts the runtime, after which a notebook can launch no more processes (pjrt.py of torch_xla).
    if xla is not None and "torch_xla.runtime" in sys.modules and xla._XLAC._xla_runtime_is_initialized():
        return World(xla.runtime.global_ordinal(), xla.runtime.world_size())
    told = launched()
    return World() if told is None else World(told.rank, told.size)


def local_rank() -> int:
    """Return which of this machine's processes we are, as far as that is known."""
    told = launched()
    return world().rank if told is None else told.local_rank


def nodes() -> int:
    """Return over how many machines the processes are spread, as far as torchrun or srun says it; else 1."""
    size, local = world().size, os.environ.get("LOCAL_WORLD_SIZE", "")
    if local.isdecimal() and int(local) and size % int(local) == 0:
        return size // int(local)
    steps = os.environ.get("SLURM_STEP_NUM_NODES", "")
    return int(steps) if steps.isdecimal() and 0 < int(steps) <= size else 1


def order(n: int, *, shuffle: bool, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the samples 0 to n - 1 in the order of this epoch: the same on every rank and device."""
    import numpy as np

    return random(seed, epoch, ORDER).permutation(n) if shuffle else np.arange(n)


def steps(n: int, batch_size: int, *, drop_last: bool, world: World) -> list[tuple[int, int]]:
    """Cut a training epoch of `n` samples into this rank's batches, given as start and end in its order.

    Every rank has as many batches, since one with more would wait for ever; one left a batch short repeats a sample.
    """
    start, stop = world.rank * n // world.size, (world.rank + 1) * n // world.size
    if drop_last:
        count = (n // world.size) // batch_size
        return [(start + i * batch_size, start + (i + 1) * batch_size) for i in range(count)]
    largest = -(-n // world.size)
    count = -(-largest // batch_size)
    if stop - start < count:  # one-sample batches, or fewer samples than ranks
        last = max(stop - 1, start)
        return [(at, at + 1) for at in (*range(start, stop), *[last] * (count - (stop - start)))]
    edges = [min(start + i * batch_size, stop) for i in range(count)] + [stop]
    if edges[-2] == stop:  # our share is one sample smaller than the largest and fills its batches exactly
        edges[-2] = stop - 1
    return list(zip(edges, edges[1:]))


def even_steps(n: int, batch_size: int, *, world: World, static: bool) -> list[Step]:
    """Cut an evaluation of `n` samples into this rank's batches: gathered rank by rank, padding stands at the end.

    The ranks' batches of one step are of one size; one process alone pads nothing, unless `static` asks for it.
    """
    made, whole = [], batch_size * world.size
    for first in range(0, n, whole):
        size = batch_size if static else -(-min(whole, n - first) // world.size)
        start = min(first + world.rank * size, n)
        stop = min(start + size, n)
        if start < stop:
            made.append(Step(start, stop, size if static or world.size > 1 else 0, stop - start))
        else:
            made.append(Step(n - 1, n, size, 0))  # a sample of another rank's, so that the batch has one to repeat
    return made
