"""What libraries that take a DataLoader ask of one, so that a DataLoader they make of a loader gives its very batches.

They put a sampler of their own around ours and skip some of its batches, or look which kind it is. A batch is asked for
by a `Ticket`: a list of sample numbers that also knows which batch of which epoch it stands for.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset, DistributedSampler, RandomSampler, Sampler, SequentialSampler

from datastage.batches import ranks
from datastage.errors import SpecError

if TYPE_CHECKING:
    from datastage.batches.loader import Loader


class UncountedError(SpecError, TypeError):
    """Nobody knows yet how long an epoch is; a `TypeError` too, as Python's own where something has no length."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from the global generators by this seed; afterwards they are as the user left them."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class Ready:
    """A whole batch, where others expect the samples of one."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch


class Ticket(list[int]):
    """The samples of one batch: as numbers, and as the batch that the loader makes of them."""

    def __init__(self, numbers: Sequence[int], seed: int, batch: Callable[[], Any]) -> None:
        super().__init__(numbers)
        self.seed, self.batch = seed, batch

    def __iter__(self) -> Iterator[int]:
        # Whoever asks a user's dataset for these one by one gets what the loader would have got.
        with seeded(self.seed):
            yield from super().__iter__()


class Samples(Dataset[Any]):
    """The samples of a loader one by one, as they are: neither augmented nor normalised."""

    def __init__(self, source: Any, classes: Sequence[str]) -> None:
        self.source, self.classes = source, list(classes)

    def __len__(self) -> int:
        if self.source.n is None:
            raise UncountedError(
                "How many samples there are is not known yet: the shards have no index.",
                "Next: iterate over the loader; one epoch counts them.",
            )
        return int(self.source.n)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        i %= len(self)
        label = self.source.labels[i]
        return self.source.sample(i), label.item() if label.ndim == 0 else label

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return the samples of a batch; of a `Ticket` the batch that the loader makes of them."""
        return [Ready(numbers.batch())] if isinstance(numbers, Ticket) else [self[i] for i in numbers]

    @property
    def targets(self) -> Any:
        return self.source.labels

    @property
    def class_to_idx(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}


class LoaderBatches(Sampler[list[int]]):
    """The batches of this rank in the loader's next epoch, as tickets."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    @property
    def batch_size(self) -> int:
        return self.loader.batch_size

    @property
    def drop_last(self) -> bool:
        return self.loader.drop_last

    @property
    def sampler(self) -> Any:
        return sampler(self.loader)

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self.loader.take_epoch()
        begun: list[Iterator[Any]] = []

        def batch(i: int) -> Any:
            if not begun:  # the batches before it were skipped, and are never made
                begun.append(self.loader.batches_from(epoch, i))
            return next(begun[0])

        for i, (numbers, seed) in enumerate(self.loader.plan(epoch)):
            if i >= first:
                yield Ticket(numbers, seed, partial(batch, i))


class _Numbers:
    """The samples of this rank in the loader's next epoch, one by one; torch's own class beside it says their order."""

    def __init__(self, loader: Loader, *more: Any, **named: Any) -> None:
        super().__init__(loader.dataset, *more, **named)  # type: ignore[call-arg]
        self.loader = loader

    def __iter__(self) -> Iterator[int]:
        for numbers, _ in self.loader.plan(self.loader.take_epoch()[0]):
            yield from numbers

    def __len__(self) -> int:
        return sum(step.stop - step.start for step in self.loader.steps())

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)


class _InOrder(_Numbers, SequentialSampler): ...


class _Shuffled(_Numbers, RandomSampler): ...


class _Shared(_Numbers, DistributedSampler[Any]): ...


def sampler(loader: Loader) -> Any:
    """Return a sampler of the kind that tells others how the loader orders its samples and shares them out."""
    if loader.counted() is None:
        return loader.source.loader.sampler  # type: ignore[attr-defined]
    world = ranks.world()
    if world.size > 1:
        return _Shared(loader, world.size, world.rank, loader.shuffle, drop_last=loader.drop_last)
    return (_Shuffled if loader.shuffle else _InOrder)(loader)


def batch_sampler(loader: Loader) -> Sampler[list[int]] | BatchSampler:
    """Return the loader's batches as a batch sampler."""
    if loader.counted() is None:
        theirs: BatchSampler = loader.source.loader.batch_sampler  # type: ignore[attr-defined]
        return theirs
    return LoaderBatches(loader)


class Collate:
    """The user's `collate_fn`, and what brings its batch to the device; a batch that is ready stays as it is."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._collate = getattr(loader.source, "collate", None)

    def __call__(self, samples: list[Any]) -> Any:
        if len(samples) == 1 and isinstance(samples[0], Ready):
            return samples[0].batch
        if self._collate is None:
            return torch.utils.data.default_collate(samples)
        from datastage.batches.any_dataset import arriving

        return arriving(self._loader.device, self._loader.options.dtype)(self._collate(samples))


class EpochState:
    """What Accelerate asks of its own loaders: is this batch the last, and how many rows has that over all ranks."""

    def __init__(self, remainder: int) -> None:
        self.end_of_dataloader, self.remainder = False, remainder


@contextmanager
def accelerate_told(loader: Loader, n_batches: int) -> Iterator[Callable[[int], None]]:
    """Tell Accelerate, where it is in use, which batch is the last and how many of its gathered rows are samples."""
    # It counts the batches of its own loaders so, to cut off what pads, and to apply accumulated gradients at the end.
    module = sys.modules.get("accelerate.state")
    if module is None or not n_batches or not module.GradientState._shared_state:  # no Accelerator was made
        yield lambda i: None
        return
    remainder = 0 if loader.training else loader.n_given % (loader.batch_size * ranks.world().size)
    epoch, state = EpochState(remainder), module.GradientState()
    state._add_dataloader(epoch)
    try:
        yield lambda i: setattr(epoch, "end_of_dataloader", i + 1 == n_batches)
    finally:
        state._remove_dataloader(epoch)


# What a loader answers where a DataLoader is expected. Batches are made by its own means, and come ready.
ASKED: dict[str, Callable[[Loader], Any]] = {
    "sampler": sampler,
    "batch_sampler": batch_sampler,
    "collate_fn": Collate,
    **dict.fromkeys(("num_workers", "timeout"), lambda loader: 0),
    **dict.fromkeys(("pin_memory", "persistent_workers"), lambda loader: False),
    **dict.fromkeys(("worker_init_fn", "multiprocessing_context", "generator", "prefetch_factor"), lambda loader: None),
}
