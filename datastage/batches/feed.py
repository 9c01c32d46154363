"""Any torch Dataset or DataLoader, with the workers, prefetch and pinning that suit this machine.

Here: `feed`, how many workers it takes (`plan`), and seeds that make a batch the same whoever makes it.
Not here: the loop and its state (`loader`), threads and streams (`deliver`, `ahead`).
"""

from __future__ import annotations

import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datastage.batches.augment import Draws
from datastage.batches.deliver import beside, mapped, sent, tensors_of
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

    A Dataset is shuffled. Of a DataLoader its dataset, order, batch size, collating and last batch are kept, its
    workers if it has some, and how they are started; one with a sampler of its own is used as it is. The first two
    batches are made here and timed, and the workers follow from that; but a `worker_init_fn` may prepare what a batch
    needs, so where there is one the DataLoader's workers make all.

    Parameters
    ----------
    dataset : torch Dataset or DataLoader
        What to feed. Batches may be tensors, or tuples, lists, dicts and other mappings of such.
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
            source = DatasetSource(dataset.dataset, collate, dataset)
        else:
            source = LoaderSource(dataset)
    elif isinstance(dataset, IterableDataset):
        # Without a generator each epoch would draw a seed from the user's own.
        source = LoaderSource(DataLoader(dataset, batch_size=_needed(batch_size), generator=torch.Generator()))
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        source = DatasetSource(dataset, collate)
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


def plan(
    batch_s: float, batch_bytes: int, *, cores: int, shm_bytes: int, wanted: int = 0, prefetch: int = PREFETCH
) -> Plan:
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
    wanted, prefetch : int
        The workers that the user's DataLoader has, if any, and the batches that each keeps ready.

    Examples
    --------
    >>> plan(0.2, 1_000_000, cores=2, shm_bytes=64_000_000).workers
    2
    >>> plan(0.001, 1_000_000, cores=8, shm_bytes=64_000_000).workers
    0
    """
    took = f"a batch takes {1000 * batch_s:,.0f} ms" if batch_s >= 0.001 else "a batch takes less than 1 ms"
    if not wanted and batch_s < QUICK_S:
        return Plan(0, 0, f"{took}, which is quicker than handing it over from another process")
    workers = wanted or cores
    # Each worker has its batches ready and one in the making; the one in use is there too.
    fit = int(SHARE_OF_SHM * shm_bytes // max(1, batch_bytes)) if shm_bytes else 10**9
    if fit >= workers * (prefetch + 1):
        return Plan(workers, prefetch, f"{took}, {cores} cores")
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
    like : DataLoader or None
        The user's, whose workers ours are to be like.
    """

    dataset: Any
    collate: Callable[[Any], Any]
    like: Any = None
    plan: Plan | None = None
    size: tuple[int, int] = (1, 1)
    aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.like is not None and self.like.num_workers and self.like.worker_init_fn is not None:
            # What it prepares is there in worker processes only, so no batch is tried in this one.
            self.plan = Plan(self.like.num_workers, self.like.prefetch_factor or PREFETCH, "as in your DataLoader")

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
        self._busy = self._warm = False

    def epoch(
        self, samples: NDArray[np.int64], draws: Draws, steps: list[tuple[int, int]], seeds: list[int]
    ) -> Iterator[Any]:
        """Give the batches of an epoch."""
        tickets = deque((seed, samples[a:b].tolist()) for (a, b), seed in zip(steps, seeds))
        yield from moved(self._here(tickets), self._choice, self._recipe.dtype)
        if tickets:
            yield from moved(self._by_workers(list(tickets)), self._choice, self._recipe.dtype, threaded=True)

    def _here(self, tickets: deque[tuple[int, list[int]]]) -> Iterator[Any]:
        """Make batches in this process: the first ones, and if no workers are chosen then all."""
        while tickets and not (self._source.plan and self._source.plan.workers):
            yield self._make(tickets.popleft())

    def _make(self, ticket: tuple[int, list[int]]) -> Any:
        source = self._source
        began = time.perf_counter()
        batch = source.collate(self._seeded.__getitems__(ticket))
        if source.plan is None and self._warm:
            source.plan = plan(
                time.perf_counter() - began,
                sum(t.nbytes for t in tensors_of(batch)),
                cores=cores(),
                shm_bytes=shm_bytes(),
                wanted=getattr(source.like, "num_workers", 0),
                prefetch=getattr(source.like, "prefetch_factor", None) or PREFETCH,
            )
        self._warm = True  # the first one's time is that of imports and caches
        return batch

    def _by_workers(self, tickets: list[tuple[int, list[int]]]) -> Iterator[Any]:
        assert self._source.plan is not None
        if self._loader is None or self._busy:  # an epoch that was left open still uses the workers
            self._tickets = Tickets()
            self._loader = self._workers(self._source.plan)
        self._tickets.now = tickets
        self._busy = True
        # Begun here and not in the thread that may ask for the batches: a process should fork from its main thread.
        return self._rest(iter(self._loader))

    def _rest(self, batches: Iterator[Any]) -> Iterator[Any]:
        yield from batches
        self._busy = False

    def _workers(self, plan: Plan) -> Any:
        import multiprocessing

        import torch
        from torch.utils.data import DataLoader

        like = self._source.like
        begin = Begin(getattr(like, "worker_init_fn", None))
        context = getattr(like, "multiprocessing_context", None)
        if context is None and sys.platform == "linux" and multiprocessing.get_start_method() != "fork":
            # From Python 3.14 on workers start fresh and get the dataset pickled, which what is defined in a notebook's
            # cell cannot be.
            try:
                pickle.dumps((self._seeded, self._source.collate, begin))
            except Exception:
                context = "fork"
        return DataLoader(
            self._seeded,  # type: ignore[arg-type]
            batch_sampler=self._tickets,  # type: ignore[arg-type]
            collate_fn=self._source.collate,
            num_workers=plan.workers,
            prefetch_factor=plan.prefetch,
            persistent_workers=True,
            worker_init_fn=begin,
            timeout=getattr(like, "timeout", 0),
            multiprocessing_context=context,
            generator=getattr(like, "generator", None) or torch.Generator(),
        )


@dataclass(frozen=True)
class Begin:
    """What a worker process does first: the user's `worker_init_fn`, which finds the user's dataset as it would."""

    function: Callable[[int], Any] | None

    def __call__(self, worker: int) -> None:
        """Begin the worker of this number."""
        import torch

        info: Any = torch.utils.data.get_worker_info()
        # torch lets nobody assign to it; ours wraps theirs, and what they prepare must reach theirs.
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self.function is not None:
            self.function(worker)


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

    def stream(self, epoch: int) -> Iterator[Any]:
        """Give the batches of an epoch."""
        loader = self._source.loader
        for sampler in (loader.sampler, loader.batch_sampler):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        return moved(loader, self._choice, self._recipe.dtype)


def moved(batches: Iterable[Any], choice: Choice, dtype: str, *, threaded: bool = False) -> Iterator[Any]:
    """Give the batches on the device; to a CUDA device they are copied beside the training.

    `threaded` batches are asked for by a thread there. Those that are made in this process are not: what makes them
    draws from the generators that the training draws from too.
    """
    import torch

    wanted = getattr(torch, dtype)

    def arrived(tensor: Any) -> Any:
        tensor = tensor.to(choice.device)
        return tensor.to(wanted) if tensor.is_floating_point() else tensor

    if choice.kind == "cuda":
        batches = beside(
            batches,
            lambda batch: mapped(batch, lambda tensor: sent(tensor, choice.device)),
            choice.device,
            threaded=threaded,
        )
    for batch in batches:
        yield mapped(batch, arrived)
        del batch
