"""Any torch Dataset or DataLoader, with the workers, prefetch and pinning that suit this machine.

Here: `feed`, how many workers it takes (`plan`), and seeds that make a batch the same whoever makes it.
Not here: the loop and its state (`loader`), threads and streams (`deliver`, `ahead`).
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from datastage.batches.augment import Draws
from datastage.batches.devices import Chooser, import_torch
from datastage.batches.loader import Loader
from datastage.batches.machine import cores, shm_bytes
from datastage.batches.options import LoaderOptions
from datastage.batches.to_device import beside, mapped, sent, tensors_of
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
TRIAL_S = 120.0
"""How long a trial's batch is waited for: a process forked beside a library's threads may stand still for ever."""


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
    workers if it has some, and how they are started; one with a sampler, a generator for its order or an ``__iter__``
    of its own is used as it is. Without workers of its own, the first two batches are made and timed by one worker
    process, and the workers follow from that.

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
    from torch.utils.data import DataLoader, IterableDataset, RandomSampler

    if dtype == "uint8":
        raise SpecError(
            "dtype='uint8' is for loaders(): a dataset decides itself what it gives.", "Next: leave it out."
        )
    source: DatasetSource | LoaderSource
    training, drop_last = True, False
    if isinstance(dataset, DataLoader):
        if batch_size is not None and batch_size != dataset.batch_size:
            raise SpecError(
                f"This DataLoader makes batches of {dataset.batch_size or 'its own'}, and batch_size={batch_size} was "
                "asked for.",
                "Next: leave batch_size out, or feed the dataset itself: feed(loader.dataset, batch_size=...).",
            )
        batch_size = dataset.batch_size or getattr(dataset.batch_sampler, "batch_size", None) or 1
        training, drop_last = isinstance(dataset.sampler, RandomSampler), bool(dataset.drop_last)
        if _is_plain(dataset):
            source = DatasetSource(dataset.dataset, dataset.collate_fn, dataset)
        else:
            source = LoaderSource(dataset)
    elif isinstance(dataset, IterableDataset):
        # Without a generator each epoch would draw a seed from the user's own.
        source = LoaderSource(DataLoader(dataset, batch_size=_needed(batch_size), generator=torch.Generator()))
    else:
        _check_dataset(dataset)
        source = DatasetSource(dataset, torch.utils.data.default_collate)
    if source.n == 0:
        raise SpecError("The dataset is empty.")
    # What an order of the user's own does to it is not ours to say.
    shuffle = training and source.n is not None
    recipe = LoaderOptions(batch_size=_needed(batch_size), dtype=dtype, device=device, seed=seed)
    chooser = Chooser(recipe.device, recipe.dtype, reporter)
    return Loader(
        source, recipe, chooser, name="feed", shuffle=shuffle, drop_last=drop_last, seed=recipe.seed, training=training
    )


def _is_plain(loader: Any) -> bool:
    """Return whether a DataLoader gives each sample of its dataset once, in turn or shuffled, and no more to it."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

    kind, sampler = type(loader), loader.sampler
    if kind.__iter__ is not DataLoader.__iter__ or kind._get_iterator is not DataLoader._get_iterator:
        return False
    # Given a batch_sampler of the user's, torch sets batch_size to None, and sampler to one that nothing uses.
    batches = loader.batch_sampler
    if loader.batch_size is None or type(batches) is not BatchSampler or batches.sampler is not sampler:
        return False
    if type(sampler) is RandomSampler:
        if sampler.replacement or sampler.generator is not None or sampler.num_samples != len(sampler.data_source):
            return False
    elif type(sampler) is not SequentialSampler:
        return False
    return len(sampler.data_source) == len(loader.dataset)


def _check_dataset(dataset: Any) -> None:
    """Check that samples can be taken from this by their numbers, or raise `SpecError`."""
    name, steps = type(dataset).__name__, ["For arrays, a folder or a name: datastage.loaders(...)."]
    is_pair = isinstance(dataset, list) and len(dataset) == 2 and all(hasattr(part, "shape") for part in dataset)
    if isinstance(dataset, type):
        name, steps = "class", [f"Next: make one of it: feed({dataset.__name__}(...), batch_size=...)."]
    elif isinstance(dataset, Mapping):
        steps.append("Of several datasets, feed one: feed(datasets['train'], batch_size=...).")
    elif not is_pair and not isinstance(dataset, str | bytes | os.PathLike | tuple):
        if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
            return
        raise SpecError(f"A {name} is not a torch Dataset or DataLoader: it has no length or no items.", *steps)
    raise SpecError(f"A {name} is not a torch Dataset or DataLoader.", *steps)


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


def plan(batch_s: float, batch_bytes: int, *, cores: int, shm_bytes: int) -> Plan:
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

    Examples
    --------
    >>> plan(0.2, 1_000_000, cores=2, shm_bytes=64_000_000).workers
    2
    >>> plan(0.001, 1_000_000, cores=8, shm_bytes=64_000_000).workers
    0
    """
    took = f"a batch takes {1000 * batch_s:,.0f} ms" if batch_s >= 0.001 else "a batch takes less than 1 ms"
    if batch_s < QUICK_S:
        return Plan(0, 0, f"{took}, which is quicker than handing it over from another process")
    # Each worker has its batches ready and one in the making; the one in use is there too.
    fit = _fit(batch_bytes, shm_bytes)
    if fit >= cores * (PREFETCH + 1):
        return Plan(cores, PREFETCH, f"{took}, {cores} cores")
    if fit >= 2 * cores:
        return Plan(cores, 1, f"{took}, {cores} cores, and /dev/shm has room for no more")
    if fit >= 2:
        return Plan(fit // 2, 1, f"{took}, and /dev/shm ({shm_bytes / 1e6:,.0f} MB) has room for no more workers")
    return Plan(0, 0, f"/dev/shm ({shm_bytes / 1e6:,.0f} MB) is too small for batches of {batch_bytes / 1e6:,.0f} MB")


def _fit(batch_bytes: int, shm_bytes: int) -> int:
    """Return how many batches /dev/shm takes."""
    return int(SHARE_OF_SHM * shm_bytes // max(1, batch_bytes)) if shm_bytes else 10**9


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

    def __getitems__(self, ticket: Sequence[Any]) -> Any:
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


class Timed(Seeded):
    """As `Seeded`, for a trial: a whole batch, how many seconds it took, and its bytes.

    Parameters
    ----------
    dataset, collate : Dataset and callable
        The user's.
    """

    def __init__(self, dataset: Any, collate: Callable[[Any], Any]) -> None:
        super().__init__(dataset)
        self.collate = collate

    def __getitems__(self, ticket: Sequence[Any]) -> tuple[float, int, Any]:
        """Return the seconds, the bytes and the batch; None for one that /dev/shm has no room for."""
        began = time.perf_counter()
        batch = self.collate(super().__getitems__(ticket))
        seconds = time.perf_counter() - began
        # What cannot be pickled would be lost on its way in silence, and waited for; here it is an error.
        pickle.dumps(mapped(batch, lambda tensor: None))
        n_bytes = sum(tensor.nbytes for tensor in tensors_of(batch))
        return seconds, n_bytes, batch if _fit(n_bytes, shm_bytes()) >= 2 else None


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

    def __post_init__(self) -> None:
        if self.like is not None and self.like.num_workers:
            self.plan = Plan(self.like.num_workers, self.like.prefetch_factor, "as in your DataLoader")
        elif sys.platform != "linux":
            # Where they cannot be forked they start by running the user's script again: not for a trial.
            self.plan = Plan(0, 0, "for worker processes here, feed a DataLoader with num_workers=")

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

    def open(self, choice: Choice, recipe: LoaderOptions) -> Any:
        """Return the engine for this device."""
        return FromDataset(self, choice, recipe)


class FromDataset:
    """Batches of a map-style dataset.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: DatasetSource, choice: Choice, recipe: LoaderOptions) -> None:
        self._source, self._choice, self._recipe = source, choice, recipe
        self._seeded = Seeded(source.dataset)
        self._tickets = Tickets()
        self._loader: Any = None
        self._warm = False

    def epoch(
        self, samples: NDArray[np.int64], draws: Draws, steps: list[tuple[int, int]], seeds: list[int]
    ) -> Iterator[Any]:
        """Give the batches of an epoch."""
        tickets = deque((seed, samples[a:b].tolist()) for (a, b), seed in zip(steps, seeds))
        source, to = self._source, (self._choice, self._recipe.dtype)
        if source.plan is None:
            yield from moved(self._tried(tickets), *to)
        if tickets and source.plan is not None and source.plan.workers:
            yield from moved(self._begun(list(tickets), self._workers), *to, threaded=True)
        else:
            yield from moved((source.collate(self._seeded.__getitems__(ticket)) for ticket in tickets), *to)

    def _tried(self, tickets: deque[tuple[int, list[int]]]) -> Iterator[Any]:
        """Give the first two batches, made and timed by a worker process, and choose by them who makes the others.

        Were they made in this process, a file that the dataset opens on first use would be open when the workers are
        forked, and they would share its position: each would read where another had sought.
        """
        source = self._source
        try:
            for seconds, n_bytes, batch in self._begun(list(islice(tickets, 2)), self._trial):
                if source.plan is None and (self._warm or batch is None):
                    source.plan = plan(seconds, n_bytes, cores=cores(), shm_bytes=shm_bytes())
                self._warm = True  # the first one's time is that of imports and caches
                if batch is None:
                    break
                tickets.popleft()
                yield batch
                del batch  # what the training let go of is not kept alive here
        except Exception as error:
            # In this process the dataset may do, as one on a GPU does; if not, the error is raised here as it is.
            source.plan = source.plan or Plan(0, 0, f"a worker process could not make one: {type(error).__name__}")
            # Its frames hold it and the worker, which would end, in seconds, whenever such rings are collected.
            error.__traceback__ = None
        if source.plan is not None:
            self._loader = None

    def _begun(self, tickets: list[tuple[int, list[int]]], make: Callable[[], Any]) -> Iterator[Any]:
        if self._loader is None or self._tickets.in_use:  # by an epoch that was left open
            self._tickets = Tickets()
            self._loader = make()
        self._tickets.now, self._tickets.in_use = tickets, True
        # Begun here and not in the thread that may ask for the batches: a process should fork from its main thread.
        return self._rest(iter(self._loader), self._tickets)

    def _rest(self, batches: Iterator[Any], tickets: Tickets) -> Iterator[Any]:
        yield from batches
        tickets.in_use = False

    def _trial(self) -> Any:
        import torch
        from torch.utils.data import DataLoader

        self._warm = False
        return DataLoader(
            Timed(self._source.dataset, self._source.collate),  # type: ignore[arg-type]
            batch_sampler=self._tickets,  # type: ignore[arg-type]
            collate_fn=lambda made: made,
            num_workers=1,
            persistent_workers=True,  # an epoch of one batch tells only how long the first one takes
            worker_init_fn=Begin(getattr(self._source.like, "worker_init_fn", None)),
            timeout=TRIAL_S,
            multiprocessing_context="fork",
            generator=torch.Generator(),
        )

    def _workers(self) -> Any:
        import multiprocessing

        import torch
        from torch.utils.data import DataLoader

        like, plan = self._source.like, self._source.plan
        assert plan is not None
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
    in_use: bool = False

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

    @property
    def dataset(self) -> Any:
        """The user's dataset."""
        return self.loader.dataset

    @property
    def n(self) -> int | None:
        """None: samples are not counted beforehand."""
        return None

    def __len__(self) -> int:
        return len(self.loader)

    def where(self, choice: Choice) -> str:
        """Say how batches are made."""
        return f"batches of your DataLoader, {self.loader.num_workers} worker processes"

    def open(self, choice: Choice, recipe: LoaderOptions) -> Any:
        """Return the engine for this device."""
        return FromLoader(self, choice, recipe)


class FromLoader:
    """Batches of a DataLoader.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: LoaderSource, choice: Choice, recipe: LoaderOptions) -> None:
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
