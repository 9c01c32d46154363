"""Any torch Dataset or DataLoader, with the workers, prefetch and pinning that suit this machine.

Or whatever makes its batches itself: a DataLoader with an order of its own, or data that can only be iterated.
"""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from datastage.batches.as_dataloader import seeded
from datastage.batches.augment import Draws
from datastage.batches.devices import Choice, Chooser
from datastage.batches.loader import Loader, loader_class, repeated
from datastage.batches.options import LoaderOptions
from datastage.batches.ranks import Step
from datastage.batches.to_device import Made, beside, mapped, sent, tensors_of
from datastage.errors import SpecError
from datastage.progress import SILENT, Reporter
from datastage.runtime import current

QUICK_S = 0.005  # a batch that takes less is made where it is used: handing it over costs about as much
SHARE_OF_SHM = 0.5
PREFETCH = 2
TRIAL_S = 120.0  # a process forked beside a library's threads may stand still for ever

Numbered = tuple[int, list[int]]  # a batch to make: the seed of its transforms, and the numbers of its samples


def feed(
    dataset: Any,
    *,
    batch_size: int | None = None,
    device: Any = "auto",
    dtype: str = "float32",
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Loader:
    """Feed any torch Dataset or DataLoader to the device, as `datastage.feed` says."""
    if str(dtype).removeprefix("torch.") == "uint8":
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
        source = LoaderSource(DataLoader(dataset, batch_size=batch_size, generator=torch.Generator()), "your data")
        batch_size = batch_size or 1
    elif _is_batches(dataset):
        if batch_size is not None:
            raise SpecError(
                f"A {type(dataset).__name__} makes its batches itself, and batch_size={batch_size} was asked for.",
                "Next: leave batch_size out.",
            )
        source, batch_size = LoaderSource(dataset, "your data"), 1
    else:
        _check_dataset(dataset)
        source = DatasetSource(dataset, torch.utils.data.default_collate)
    if source.n == 0:
        raise SpecError("The dataset is empty.")
    if batch_size is None:
        raise SpecError("A Dataset needs a batch_size.", "For example feed(dataset, batch_size=256).")
    # What an order of the user's own does to it is not ours to say.
    shuffle = training and source.n is not None
    options = LoaderOptions(
        batch_size=batch_size, dtype=dtype, device=device, seed=seed, shuffle=shuffle, drop_last=drop_last
    )
    chooser = Chooser(options.device, options.dtype, reporter=reporter)
    return loader_class()(source, options, chooser, name="feed", training=training)


def _is_plain(loader: Any) -> bool:
    """Return whether a DataLoader gives each sample of its dataset once, in turn or shuffled, and no more to it."""
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


def _is_batches(thing: Any) -> bool:
    """Whether this gives whole batches and can only be iterated, again and again: WebLoader is such."""
    many = hasattr(thing, "__iter__") and not hasattr(thing, "__next__") and not hasattr(thing, "__getitem__")
    return many and not isinstance(thing, type | str | bytes | set | frozenset | Mapping)


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


class Plan(NamedTuple):
    """How batches are made: by how many worker processes (0 makes them here), how many ahead each, and why."""

    workers: int
    prefetch: int
    why: str


def plan(batch_s: float, batch_bytes: int, *, cores: int, shm_bytes: int) -> Plan:
    """Choose workers by the seconds that one process takes for a batch, and the room in /dev/shm, 0 if unknown."""
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


@dataclass(frozen=True)
class Seeded:
    """A dataset that makes a whole batch from ``(seed, numbers)``: the same whichever process makes it, and when."""

    dataset: Any

    def __getitems__(self, numbered: Numbered) -> Any:
        seed, numbers = numbered
        # Transforms draw from the global generators; in this process those are the user's.
        with seeded(seed):
            if hasattr(self.dataset, "__getitems__"):
                return list(self.dataset.__getitems__(numbers))
            return [self.dataset[i] for i in numbers]


@dataclass(frozen=True)
class Timed(Seeded):
    """As `Seeded`, for a trial: how many seconds a whole batch took, its bytes, and the batch."""

    collate: Callable[[Any], Any]

    def __getitems__(self, numbered: Numbered) -> tuple[float, int, Any]:
        """Return them; None for a batch that /dev/shm has no room for."""
        began = time.perf_counter()
        batch = self.collate(super().__getitems__(numbered))
        seconds = time.perf_counter() - began
        # What cannot be pickled would be lost on its way in silence, and waited for; here it is an error.
        pickle.dumps(mapped(batch, lambda tensor: None))
        n_bytes = sum(tensor.nbytes for tensor in tensors_of(batch))
        return seconds, n_bytes, batch if _fit(n_bytes, current().shm_bytes) >= 2 else None


@dataclass
class DatasetSource:
    """A dataset whose samples are taken by their numbers; ours are like the workers of `like`, a DataLoader."""

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
        return len(self.dataset)

    def where(self, choice: Choice) -> str:
        if self.plan is None:
            return "workers are chosen after the first two batches"
        workers, prefetch, why = self.plan
        if not workers:
            return f"batches made in this process ({why})"
        return f"{workers} worker processes, {prefetch} batches ahead each ({why})"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        return FromDataset(self, choice, options)


class FromDataset:
    """Batches of a dataset whose samples are taken by their numbers."""

    def __init__(self, source: DatasetSource, choice: Choice, options: LoaderOptions) -> None:
        self._source, self._choice, self._options = source, choice, options
        self._seeded = Seeded(source.dataset)
        self._batches = BatchesToMake()
        self._loader: Any = None
        self._warm = False

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: list[Step]) -> Iterator[Made]:
        to_make: deque[Numbered] = deque(
            (step.seed, repeated(samples[step.start : step.stop].tolist(), step.size)) for step in steps
        )
        of = iter(steps)
        for batch in self._moved(to_make):
            yield batch, next(of).valid
            del batch  # what the training let go of is not kept alive here

    def _moved(self, to_make: deque[Numbered]) -> Iterator[Any]:
        source, to = self._source, (self._choice, self._options.dtype)
        if source.plan is None:
            yield from moved(self._tried(to_make), *to)
        if to_make and source.plan is not None and source.plan.workers:
            yield from moved(self._begun(list(to_make), self._workers), *to, threaded=True)
        else:  # not by a thread: what makes them draws from the generators that the training draws from too
            yield from moved((source.collate(self._seeded.__getitems__(one)) for one in to_make), *to)

    def _tried(self, to_make: deque[Numbered]) -> Iterator[Any]:
        """Give the first two batches, made and timed by a worker process, and choose by them who makes the others."""
        # A file that the dataset opened here would be open when workers are forked, and they would share its position.
        source, here = self._source, current()
        try:
            for seconds, n_bytes, batch in self._begun(list(islice(to_make, 2)), self._trial):
                if source.plan is None and (self._warm or batch is None):
                    source.plan = plan(seconds, n_bytes, cores=here.cores, shm_bytes=here.shm_bytes)
                self._warm = True  # the first one's time is that of imports and caches
                if batch is None:
                    break
                to_make.popleft()
                yield batch
                del batch  # what the training let go of is not kept alive here
        except Exception as error:
            # In this process the dataset may do, as one on a GPU does; if not, the error is raised here as it is.
            source.plan = source.plan or Plan(0, 0, f"a worker process could not make one: {type(error).__name__}")
            # Its frames hold it and the worker, which would end, in seconds, whenever such rings are collected.
            error.__traceback__ = None
        if source.plan is not None:
            self._loader = None

    def _begun(self, to_make: list[Numbered], make: Callable[[], Any]) -> Iterator[Any]:
        if self._loader is None or self._batches.in_use:  # by an epoch that was left open
            self._batches = BatchesToMake()
            self._loader = make()
        self._batches[:], self._batches.in_use = to_make, True
        # Begun here and not in the thread that may ask for the batches: a process should fork from its main thread.
        return self._rest(begin(self._loader), self._batches)

    def _rest(self, batches: Iterator[Any], to_make: BatchesToMake) -> Iterator[Any]:
        yield from batches
        to_make.in_use = False

    def _trial(self) -> Any:
        self._warm = False
        return self._dataloader(
            Timed(self._source.dataset, self._source.collate),
            collate_fn=tuple,
            num_workers=1,
            timeout=TRIAL_S,
            multiprocessing_context="fork",
        )

    def _workers(self) -> Any:
        like, plan, collate = self._source.like, self._source.plan, self._source.collate
        assert plan is not None
        context = getattr(like, "multiprocessing_context", None)
        if context is None and sys.platform == "linux" and multiprocessing.get_start_method() != "fork":
            # From Python 3.14 on workers start fresh and get the dataset pickled, which what is defined in a notebook's
            # cell cannot be.
            try:
                pickle.dumps((self._seeded, collate, getattr(like, "worker_init_fn", None)))
            except Exception:
                context = "fork"
        return self._dataloader(
            self._seeded,
            collate_fn=collate,
            num_workers=plan.workers,
            prefetch_factor=plan.prefetch,
            timeout=getattr(like, "timeout", 0),
            multiprocessing_context=context,
            generator=getattr(like, "generator", None),
        )

    def _dataloader(self, dataset: Any, *, generator: Any = None, **more: Any) -> Any:
        return DataLoader(
            dataset,
            batch_sampler=self._batches,  # type: ignore[arg-type]
            persistent_workers=True,  # an epoch of one batch tells only how long the first one takes
            worker_init_fn=partial(_begin_worker, getattr(self._source.like, "worker_init_fn", None)),
            generator=generator or torch.Generator(),
            **more,
        )


def _begin_worker(function: Callable[[int], Any] | None, worker: int) -> None:
    """Call the user's `worker_init_fn`, which finds the user's dataset as it would."""
    info: Any = torch.utils.data.get_worker_info()
    # torch lets nobody assign to it; ours wraps theirs, and what they prepare must reach theirs.
    object.__setattr__(info, "dataset", info.dataset.dataset)
    if function is not None:
        function(worker)


class BatchesToMake(list[Numbered]):
    """The batches of the epoch that is about to begin, as a batch sampler; workers outlive the epoch."""

    in_use = False


@dataclass
class LoaderSource:
    """Something whose batches are its own affair: a sampler of the user's, or data that is only iterated."""

    loader: Any
    whose: str = "your DataLoader"
    n: int | None = None  # samples are not counted beforehand
    size: tuple[int, int] = (1, 1)
    given: int = field(default=0, init=False)  # samples in this epoch, which some libraries want for their state
    begins_at: int = field(default=0, init=False)  # samples given of the next epoch before its state was loaded

    @property
    def dataset(self) -> Any:
        return getattr(self.loader, "dataset", self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def where(self, choice: Choice) -> str:
        return f"batches of {self.whose}, {getattr(self.loader, 'num_workers', 0)} worker processes"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        return FromLoader(self, choice, options)

    def _holder(self) -> Any:
        """Return what has a state of its own: the loader, or the dataset if no worker process has it."""
        both = (self.loader, *(() if getattr(self.loader, "num_workers", 0) else (self.dataset,)))
        return next((one for one in both if hasattr(one, "state_dict") and hasattr(one, "load_state_dict")), None)

    def state_dict(self) -> Any:
        """Return the state of what is fed, or None if it has none."""
        holder = self._holder()
        if holder is None:
            return None
        # What datasets of mosaicml-streaming and litdata want to be told, by their names for it.
        facts = {"num_samples": self.given, "from_beginning": True, "num_samples_yielded": self.given, "num_workers": 0}
        facts["batch_size"] = getattr(self.loader, "batch_size", None) or 1
        every = inspect.signature(holder.state_dict).parameters.values()
        wanted = [p.name for p in every if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not facts.keys() >= set(wanted):
            return None
        # A copy: theirs may be what they go on to change.
        state = copy.deepcopy(holder.state_dict(**{name: facts[name] for name in wanted}))
        return {"samples": self.given, "state": state}

    def load_state_dict(self, state: Any, *, middle: bool) -> None:
        """Let what is fed go on from there; a dataset whose epoch was at its end would give an empty one."""
        holder = self._holder()
        if holder is None:
            raise SpecError(
                "The saved state holds one of the data that was fed, and this data has no load_state_dict.",
                "Next: feed the same kind of dataset or DataLoader again.",
            )
        if middle or holder is self.loader:
            holder.load_state_dict(copy.deepcopy(state["state"]))
        self.begins_at = state["samples"] if middle else 0


class FromLoader:
    """Batches of a DataLoader, or of anything that gives batches."""

    def __init__(self, source: LoaderSource, choice: Choice, options: LoaderOptions) -> None:
        self._source, self._choice, self._options = source, choice, options

    def stream(self, epoch: int) -> Iterator[Made]:
        source, loader = self._source, self._source.loader
        parts = [loader, source.dataset, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler"))]
        for part in {id(part): part for part in parts if hasattr(part, "set_epoch")}.values():
            part.set_epoch(epoch)
        source.given, source.begins_at = source.begins_at, 0
        for batch in moved(begin(loader), self._choice, self._options.dtype):
            n = samples_in(batch)
            source.given += n
            yield batch, n
            del batch


def samples_in(batch: Any) -> int:
    """Count the samples of a batch: what it says itself, as graphs do, else the length of its first tensor."""
    for name in ("num_graphs", "batch_size"):
        if isinstance(n := getattr(batch, name, None), int):
            return n
    return next((len(tensor) for tensor in tensors_of(batch) if tensor.ndim), 0)


def begin(loader: Any) -> Iterator[Any]:
    """Begin an epoch of a DataLoader; it draws a seed on the default device, and from a generator of the CPU."""
    with torch.device("cpu"):
        return iter(loader)


def arriving(device: Any, dtype: str) -> Callable[[Any], Any]:
    """Return what moves a batch to the device and casts its floats; objects with a ``to`` of theirs are only moved."""
    wanted = getattr(torch, dtype)

    def arrived(tensor: Any) -> Any:
        tensor = tensor.to(device)
        return tensor.to(wanted) if tensor.is_floating_point() else tensor

    return lambda batch: mapped(batch, arrived, lambda thing: thing.to(device))


def moved(batches: Iterable[Any], choice: Choice, dtype: str, *, threaded: bool = False) -> Iterator[Any]:
    """Give the batches on the device, copied to a GPU beside the training, and by a thread if `threaded`."""
    if choice.kind == "cuda":

        def there(batch: Any) -> Any:
            return mapped(batch, lambda tensor: sent(tensor, choice.device), lambda thing: thing.to(choice.device))

        batches = beside(batches, there, choice.device, threaded=threaded)
    arrived = arriving(choice.device, dtype)
    for batch in batches:
        yield arrived(batch)
        del batch
