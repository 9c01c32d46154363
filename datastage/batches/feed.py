"""Any torch Dataset or DataLoader, with the workers, prefetch and pinning that suit this machine.

Here: `feed`, how many workers it takes (`plan`), and seeds that make a batch the same whoever makes it.
Not here: the loop and its state (`loader`), the threads and copies (`deliver`, `ahead`).
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datastage.batches.ahead import ahead
from datastage.batches.augment import Draws
from datastage.batches.devices import Chooser, import_torch
from datastage.batches.finish import Recipe
from datastage.batches.loader import Loader
from datastage.batches.machine import cores, shm_bytes
from datastage.errors import SpecError
from datastage.progress import SILENT, Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datastage.batches.devices import Choice

QUICK_S = 0.005
"""A batch that takes less is made where it is used: handing it over from a worker process costs about as much."""
SHARE_OF_SHM = 0.5
PREFETCH = 2


def feed(
    dataset: Any,
    *,
    batch_size: int | None = None,
    device: Any = "auto",
    dtype: str = "float32",
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Loader:
    """Feed any torch Dataset or DataLoader to the device.

    A Dataset is shuffled. Of a DataLoader its dataset, order, batch size, collating and last batch are kept, and its
    workers if it has some; one with a sampler of its own is used as it is. The first two batches are made here and
    timed, and the workers follow from that.

    Parameters
    ----------
    dataset : torch Dataset or DataLoader
        What to feed. Batches may be tensors, or tuples, lists and dicts of such.
    batch_size : int, optional
        Samples a batch; needed for a Dataset, and for a DataLoader its own.
    device : str or torch.device
        ``"auto"`` picks when the first batch is asked for.
    dtype : {"float32", "bfloat16", "float16"}
        What floating tensors are cast to. Whole numbers stay as they are.
    seed : int
        What order and the transforms' chance follow from, with the epoch.
    reporter : Reporter
        Who is told which device was chosen.

    Returns
    -------
    Loader
        ``explain()`` says what was chosen.

    Raises
    ------
    SpecError
        If this is no dataset, or an argument does not fit.
    """
    torch = import_torch()
    from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

    if dtype == "uint8":
        raise SpecError(
            "dtype='uint8' is for loaders(): a dataset decides itself what it gives.", "Next: leave it out."
        )
    shuffle, drop_last, collate = True, False, torch.utils.data.default_collate
    if isinstance(dataset, DataLoader):
        if batch_size is not None and batch_size != dataset.batch_size:
            raise SpecError(
                f"This DataLoader makes batches of {dataset.batch_size}, and batch_size={batch_size} was asked for.",
                "Next: leave batch_size out, or feed the dataset itself: feed(loader.dataset, batch_size=...).",
            )
        collate = dataset.collate_fn
        batch_size, drop_last = dataset.batch_size or 1, bool(dataset.drop_last)
        shuffle = isinstance(dataset.sampler, RandomSampler)
        plain = type(dataset.batch_sampler) is BatchSampler and (
            type(dataset.sampler) is SequentialSampler
            or (type(dataset.sampler) is RandomSampler and not dataset.sampler.replacement)
        )
        if plain and shuffle:
            sampler: Any = dataset.sampler
            plain = sampler.num_samples == len(sampler.data_source)
        source: Any
        if plain:
            source = DatasetSource(dataset.dataset, collate, dataset.num_workers or None)
        else:
            source = LoaderSource(dataset)
    elif isinstance(dataset, IterableDataset):
        source = LoaderSource(DataLoader(dataset, batch_size=_needed(batch_size)))
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        source = DatasetSource(dataset, collate, None)
        if not len(dataset):
            raise SpecError("The dataset is empty.")
    else:
        raise SpecError(
            f"A {type(dataset).__name__} is not a torch Dataset or DataLoader: it has no length or no items.",
            "For arrays, a folder or a name: datastage.loaders(...).",
        )
    recipe = Recipe(_needed(batch_size), dtype=dtype)
    chooser = Chooser(device, dtype, reporter)
    return Loader(
        source, recipe, chooser, name="feed", shuffle=shuffle, drop_last=drop_last, seed=seed, training=shuffle
    )


def _needed(batch_size: int | None) -> int:
    if batch_size is None:
        raise SpecError("A Dataset needs a batch_size.", "For example feed(dataset, batch_size=256).")
    return batch_size


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches are made.

    Attributes
    ----------
    workers : int
        Processes; 0 makes them here.
    prefetch : int
        Batches each of them keeps ready.
    why : str
        The reason, as said to the user.
    """

    workers: int
    prefetch: int
    why: str


def plan(batch_s: float, batch_bytes: int, *, cores: int, shm_bytes: int, wanted: int | None = None) -> Plan:
    """Choose workers and prefetch.

    Parameters
    ----------
    batch_s : float
        Seconds that one batch takes, made in one process.
    batch_bytes : int
        Its size.
    cores : int
        Cores that this process may use.
    shm_bytes : int
        Room in /dev/shm, through which workers hand batches over; 0 is not known.
    wanted : int or None
        What the user's DataLoader has.

    Examples
    --------
    >>> plan(0.2, 1_000_000, cores=2, shm_bytes=64_000_000).workers
    2
    >>> plan(0.001, 1_000_000, cores=8, shm_bytes=64_000_000).workers
    0
    """
    took = f"a batch takes {1000 * batch_s:,.0f} ms"
    if wanted is None and batch_s < QUICK_S:
        return Plan(0, 0, f"{took}, which is quicker than handing it over from another process")
    workers = wanted or cores
    # Each worker has its batches ready and one in the making; the one in use is there too.
    fit = int(SHARE_OF_SHM * shm_bytes // max(1, batch_bytes)) if shm_bytes else 10**9
    if fit >= workers * (PREFETCH + 1):
        return Plan(workers, PREFETCH, f"{took}, {cores} cores")
    if fit >= 2 * workers:
        return Plan(workers, 1, f"{took}, {cores} cores, and /dev/shm has room for no more")
    if fit >= 2:
        return Plan(fit // 2, 1, f"{took}, and /dev/shm ({shm_bytes / 1e6:,.0f} MB) has room for no more workers")
    return Plan(0, 0, f"/dev/shm ({shm_bytes / 1e6:,.0f} MB) is too small for batches of {batch_bytes / 1e6:,.0f} MB")


class Seeded:
    """A dataset that makes a whole batch from ``(seed, indices)``: the same whichever process makes it, and when.

    Parameters
    ----------
    dataset : Dataset
        The user's.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, ticket: Sequence[Any]) -> list[Any]:
        """Return the samples of one batch."""
        import random

        import numpy as np
        import torch

        seed, indices = ticket
        # Transforms draw from the global generators; in this process those are the user's, so they are put back.
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed)
            if hasattr(self.dataset, "__getitems__"):
                return list(self.dataset.__getitems__(indices))
            return [self.dataset[i] for i in indices]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


@dataclass
class DatasetSource:
    """A map-style dataset.

    Attributes
    ----------
    dataset, collate : Dataset and callable
        The user's.
    wanted : int or None
        The workers that the user asked for.
    """

    dataset: Any
    collate: Callable[[Any], Any]
    wanted: int | None
    plan: Plan | None = None
    size: tuple[int, int] = (1, 1)
    aspect: float = 1.0

    @property
    def n(self) -> int:
        """Samples in an epoch."""
        return len(self.dataset)

    def where(self, choice: Choice) -> str:
        """Say how batches are made."""
        if self.plan is None:
            return "workers are chosen after the first two batches"
        if not self.plan.workers:
            return f"batches made in this process ({self.plan.why})"
        return f"{self.plan.workers} worker processes, {self.plan.prefetch} batches ahead each ({self.plan.why})"

    def open(self, choice: Choice, recipe: Recipe) -> Any:
        """Return the engine for this device."""
        return FromDataset(self, choice, recipe)


class FromDataset:
    """Batches of a map-style dataset.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: DatasetSource, choice: Choice, recipe: Recipe) -> None:
        self._source, self._choice, self._recipe = source, choice, recipe
        self._seeded = Seeded(source.dataset)
        self._tickets = Tickets()
        self._loader: Any = None
        self._busy = False

    def epoch(
        self, samples: NDArray[np.int64], draws: Draws, steps: list[tuple[int, int]], seeds: list[int]
    ) -> Iterator[Any]:
        """Give the batches of an epoch."""
        tickets = [(seed, samples[a:b].tolist()) for (a, b), seed in zip(steps, seeds)]
        return moved(self._made(tickets), self._choice, self._recipe.dtype)

    def _make(self, ticket: tuple[int, list[int]]) -> Any:
        return self._source.collate(self._seeded.__getitems__(ticket))

    def _made(self, tickets: list[tuple[int, list[int]]]) -> Iterator[Any]:
        source = self._source
        if source.plan is None and tickets:
            yield self._make(tickets[0])  # the first one's time is that of imports and caches
            took, nbytes = 0.0, 0
            if len(tickets) > 1:
                began = time.perf_counter()
                batch = self._make(tickets[1])
                took = time.perf_counter() - began
                nbytes = sum(t.nbytes for t in tensors_of(batch))
                yield batch
            source.plan = plan(took, nbytes, cores=cores(), shm_bytes=shm_bytes(), wanted=source.wanted)
            tickets = tickets[2:]
        if source.plan is None or not source.plan.workers or len(tickets) < 2:
            yield from map(self._make, tickets)
            return
        if self._loader is None or self._busy:  # an epoch that was left open still uses the workers
            self._tickets = Tickets()
            self._loader = self._workers(source.plan)
        self._tickets.now = tickets
        self._busy = True
        yield from self._loader
        self._busy = False

    def _workers(self, plan: Plan) -> Any:
        import multiprocessing

        import torch
        from torch.utils.data import DataLoader

        context = None
        if sys.platform == "linux" and multiprocessing.get_start_method() != "fork":
            # From Python 3.14 on workers start fresh and get the dataset pickled, which what is defined in a notebook's
            # cell cannot be.
            try:
                pickle.dumps((self._seeded, self._source.collate))
            except Exception:
                context = "fork"
        return DataLoader(
            self._seeded,  # type: ignore[arg-type]
            batch_sampler=self._tickets,  # type: ignore[arg-type]
            collate_fn=self._source.collate,
            num_workers=plan.workers,
            prefetch_factor=plan.prefetch,
            persistent_workers=True,
            multiprocessing_context=context,
            generator=torch.Generator(),  # else each epoch would draw a seed from the user's own
        )


@dataclass
class Tickets:
    """The batches of the epoch that is about to begin, as a batch sampler; workers outlive the epoch."""

    now: list[tuple[int, list[int]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.now)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(self.now)


@dataclass
class LoaderSource:
    """A DataLoader whose batches are its own affair: a sampler of the user's, or a dataset that is only iterated.

    Attributes
    ----------
    loader : DataLoader
        The user's.
    """

    loader: Any
    size: tuple[int, int] = (1, 1)
    aspect: float = 1.0

    @property
    def n(self) -> int | None:
        """None: samples are not counted beforehand."""
        return None

    def __len__(self) -> int:
        return len(self.loader)

    def where(self, choice: Choice) -> str:
        """Say how batches are made."""
        return f"batches of your DataLoader, {self.loader.num_workers} worker processes"

    def open(self, choice: Choice, recipe: Recipe) -> Any:
        """Return the engine for this device."""
        return FromLoader(self, choice, recipe)


class FromLoader:
    """Batches of a DataLoader.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: LoaderSource, choice: Choice, recipe: Recipe) -> None:
        self._source, self._choice, self._recipe = source, choice, recipe

    def stream(self, epoch: int, first: int) -> Iterator[Any]:
        """Give the batches of an epoch from the `first` on."""
        loader = self._source.loader
        for sampler in (loader.sampler, loader.batch_sampler):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

        def rest() -> Iterator[Any]:
            for i, batch in enumerate(loader):
                if i >= first:
                    yield batch

        return moved(rest(), self._choice, self._recipe.dtype)


def tensors_of(batch: Any) -> Iterator[Any]:
    """Give the tensors in a batch, however nested."""
    import torch

    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, dict):
        for part in batch.values():
            yield from tensors_of(part)
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from tensors_of(part)


def mapped(batch: Any, function: Callable[[Any], Any]) -> Any:
    """Return the batch with `function` applied to each tensor; a list becomes a tuple, so that ``x, y`` unpacks."""
    import torch

    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: mapped(part, function) for key, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(part, function) for part in batch))
    if isinstance(batch, (list, tuple)):
        return tuple(mapped(part, function) for part in batch)
    return batch


def moved(batches: Iterable[Any], choice: Choice, dtype: str) -> Iterator[Any]:
    """Give the batches on the device, copied while the one before is used."""
    import torch

    wanted = getattr(torch, dtype)

    def cast(tensor: Any) -> Any:
        return tensor.to(wanted) if tensor.is_floating_point() else tensor

    if choice.kind != "cuda":
        for batch in batches if choice.kind == "cpu" else ahead(batches):
            yield mapped(batch, lambda t: cast(t.to(choice.device)))
        return
    side: Any = torch.cuda.Stream(choice.device)  # type: ignore[no-untyped-call]

    def sent() -> Iterator[tuple[Any, Any]]:
        for batch in batches:
            with torch.cuda.stream(side):
                there = mapped(batch, lambda t: cast(t.pin_memory().to(choice.device, non_blocking=True)))
                done = side.record_event()
            yield there, done

    for batch, done in ahead(sent()):
        now = torch.cuda.current_stream(choice.device)
        now.wait_event(done)
        for tensor in tensors_of(batch):
            tensor.record_stream(now)  # the allocator must not give its memory away while the training uses it
        yield batch
