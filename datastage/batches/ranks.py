"""Which samples come when, and to which process: the order of an epoch and each rank's share of it.

Here: `order`, `steps`, and `World`, who we are among how many. Not here: starting processes, talking between them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datastage.batches.augment import ORDER, random
from datastage.runtime import launched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class World:
    """Who we are among the processes that train together.

    Attributes
    ----------
    rank, size : int
        This process, counted from 0, and how many there are.
    """

    rank: int = 0
    size: int = 1


def world() -> World:
    """Ask who we are: torch, if a process group exists; torch_xla, if its runtime runs; else the launcher.

    Starts neither. A group counts before the launcher's word, which is all there is until one is made.
    """
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


def order(n: int, *, shuffle: bool, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the samples 0 to n - 1 in the order of this epoch: the same on every rank and device."""
    import numpy as np

    return random(seed, epoch, ORDER).permutation(n) if shuffle else np.arange(n)


def steps(n: int, batch_size: int, *, drop_last: bool, world: World) -> list[tuple[int, int]]:
    """Cut an epoch into this rank's batches.

    Every rank has the same number of batches, since one that has more would wait for ever for the others. Every
    position is in one batch of one rank, but for what `drop_last` drops; only where ``batch_size=1``, or fewer samples
    than ranks, leave a rank one batch short, it repeats a position.

    Parameters
    ----------
    n : int
        Samples in the epoch, over all ranks.
    batch_size : int
        Samples a batch, on each rank.
    drop_last : bool
        Leave out what does not fill a batch.
    world : World
        Who we are.

    Returns
    -------
    list of (int, int)
        Start and end of each batch in the order of the epoch.

    Examples
    --------
    >>> steps(10, 4, drop_last=False, world=World())
    [(0, 4), (4, 8), (8, 10)]
    >>> [steps(9, 4, drop_last=False, world=World(rank, 2)) for rank in (0, 1)]
    [[(0, 3), (3, 4)], [(4, 8), (8, 9)]]
    """
    start, stop = world.rank * n // world.size, (world.rank + 1) * n // world.size
    if drop_last:
        count = (n // world.size) // batch_size
        return [(start + i * batch_size, start + (i + 1) * batch_size) for i in range(count)]
    largest = -(-n // world.size)
    count = -(-largest // batch_size)
    if stop - start < count:  # one-sample batches, or fewer samples than ranks
        last = min(max(stop - 1, start), n - 1)
        return [(at, at + 1) for at in (*range(start, stop), *[last] * (count - (stop - start)))]
    edges = [min(start + i * batch_size, stop) for i in range(count)] + [stop]
    if edges[-2] == stop:  # our share is one sample smaller than the largest and fills its batches exactly
        edges[-2] = stop - 1
    return list(zip(edges, edges[1:]))
