"""The loop over epochs and batches, and what it remembers: order, ranks, state, and how long the training waited."""

from __future__ import annotations

import operator
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from datastage import runtime
from datastage.batches import ranks
from datastage.batches.augment import TRANSFORM, Augment, Draws, draw, random
from datastage.batches.devices import Choice, Chooser, import_torch, read_by_xla
from datastage.batches.options import LoaderOptions
from datastage.batches.ranks import Step
from datastage.batches.saved_state import checked_state
from datastage.batches.stats import EPOCHS_KEPT, Stats, facts, shapes_of
from datastage.batches.to_device import tensors_of
from datastage.carded import Carded
from datastage.errors import SpecError, labelled_lines, stopped_in_two_lines
from datastage.progress import SILENT

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class Source(Protocol):
    """A split: how many samples it has, the size of its images, and the engine for a device.

    The engine's ``epoch(samples, draws, steps)`` gives of each step the batch on the device, and how many of its rows
    are samples. Where `n` is None its ``stream(epoch)`` does, in an order that is not ours.
    """

    @property
    def n(self) -> int | None: ...

    @property
    def size(self) -> tuple[int, int]: ...

    def open(self, choice: Choice, options: LoaderOptions) -> Any: ...

    def where(self, choice: Choice) -> str: ...


class Loader(Carded):
    """Batches ``(x, y)`` on the device, epoch after epoch.

    The first batch of each ``iter()`` begins the next epoch. Order and augmentation follow from the seed and the epoch
    alone, on every device. Made by `datastage.loaders` and `datastage.feed`.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, where they are known.
    batch_size : int
        Samples a batch, on each rank.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches.arrays import from_arrays
    >>> images, labels = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
    >>> (train,) = from_arrays({"train": (images, labels)}, batch_size=4, device="cpu")
    >>> [tuple(x.shape) for x, y in train]
    [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    """

    _fixed: tuple[str, ...] = ("seed", "n_samples", "batch_size", "world_size")  # a state is of these alone

    def __init__(
        self,
        source: Source,
        options: LoaderOptions,
        chooser: Chooser,
        *,
        name: str,
        training: bool,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.classes, self.training = name, classes, training
        self.source, self.options, self._chooser = source, options, chooser
        self._asked = {"shuffle": options.shuffle, "drop_last": options.drop_last}
        self.keeps_empty = False
        """Whether batches with no sample are given too, so that there are as many as ``len()`` says."""
        self._engines: dict[str, Any] = {}
        self._next = (0, 0)  # the epoch and batch that the next iterator begins with
        self._run = 0  # which iterator the state belongs to: the latest
        self.stats = Stats()
        """What the latest epoch delivered so far, and how long it kept the training waiting."""
        self.epochs: deque[Stats] = deque(maxlen=EPOCHS_KEPT)
        """What each of the latest epochs delivered; the last of them is `stats`."""
        self.shapes = ""
        """Shape and type of a batch, in words, once one was given."""
        self.given = (0, 0)
        """Of the batch just given how many rows are samples, and how many rows there are."""
        self._device_of_batch: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # Engines hold threads, processes and memory of a device; what draws our lines holds a lock.
        return {**self.__dict__, "_engines": {}, "options": replace(self.options, reporter=SILENT)}

    @property
    def batch_size(self) -> int:
        """Samples a batch, on each rank."""
        return self.options.batch_size

    @property
    def shuffle(self) -> bool:
        """Whether each epoch has an order of its own."""
        return self.options.shuffle

    @property
    def augment(self) -> Augment | None:
        """What is done to each image."""
        return self.options.augment

    @property
    def drop_last(self) -> bool:
        """Whether what does not fill a batch is left out."""
        return self.options.drop_last or (self.training and self._chooser.static)

    @property
    def choice(self) -> Choice | None:
        """The device and why it was taken; None before the first batch is asked for."""
        return self._chooser.made

    @property
    def device(self) -> Any:
        """The device of the batches; it is chosen now if it was not yet."""
        return self._chooser().device

    def stay_on_cpu(self) -> None:
        """Settle on the CPU, for libraries that move batches themselves; raises `SpecError` where that cannot be."""
        self._chooser.settle("cpu")
        if self.options.dtype == "bfloat16":
            raise SpecError("numpy has no bfloat16.", "Next: dtype='float32', and cast on the device.")

    @property
    def n_samples(self) -> int | None:
        """Samples in an epoch, over all ranks; None if a DataLoader of the user's decides it."""
        return self.source.n

    def counted(self) -> int | None:
        """Return `n_samples`; what can only be counted is counted now."""
        return self.n_samples

    @property
    def n_given(self) -> int:
        """Samples that an epoch gives: `n_samples`, but for photos that an evaluation on ranks is known to lose."""
        # What was lost in the middle of a gathered batch would pass for a sample: what pads stands at the end alone.
        return (self.source.n or 0) - len(self._lost())

    def _lost(self, *, decode: bool = False) -> Sequence[int]:
        told = None if self.training or ranks.world().size == 1 else getattr(self.source, "lost", None)
        return () if told is None else told(decode=decode)

    @property
    def dataset(self) -> Any:
        """What `feed` was given, or the samples as they are: ``len(loader.dataset)``, as tutorials count them."""
        own = getattr(self.source, "dataset", None)
        if own is None:
            from datastage.batches.as_dataloader import Samples

            own = Samples(self.source, self.classes)
        return own

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            from datastage.batches.as_dataloader import ASKED

            if name in ASKED:
                return ASKED[name](self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def valid(self) -> torch.Tensor:
        """Which rows of the batch just given are samples, (B,) of bool on its device; False where a row pads it.

        Evaluation on several ranks and on a TPU fills batches up, by samples that are given elsewhere.
        """
        torch = import_torch()
        if self._device_of_batch is None:
            raise SpecError("No batch was given yet.", "Next: ask for loader.valid in the loop over its batches.")
        n, rows = self.given
        return torch.arange(rows, device=self._device_of_batch) < n  # type: ignore[no-any-return]

    def steps(self) -> list[Step]:
        """Return this rank's batches, as places in the order of an epoch."""
        n, world, static = self.n_given, ranks.world(), self._chooser.static
        if self.training or self.drop_last:
            cut = ranks.steps(n, self.batch_size, drop_last=self.drop_last, world=world)
            return [Step(start, stop, self.batch_size if static else 0, stop - start) for start, stop in cut]
        return ranks.even_steps(n, self.batch_size, world=world, static=static)

    def __len__(self) -> int:
        return len(self.source) if isinstance(self.source, Sized) else len(self.steps())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        # Libraries ask for an iterator only to see if there is one, so the epoch is taken with the first batch.
        epoch, first = self.take_epoch()
        self.stats = Stats(epoch=epoch)
        self.epochs.append(self.stats)
        cache = getattr(self.source, "cache", None)
        told = stopped_in_two_lines(lambda: getattr(cache, "so_far", ""))
        with told if runtime.in_kernel() else nullcontext():
            yield from self._batches(epoch, first, self._run, self.stats)

    @property
    def next_batch(self) -> int:
        """The batch that the next iterator begins with: not 0 after a state from the middle of an epoch."""
        return self._next[1]

    def take_epoch(self) -> tuple[int, int]:
        """Begin the next epoch: return it, and the number of its first batch."""
        epoch, first = self._at = self._next
        self._next = (epoch + 1, 0)
        self._run += 1
        return epoch, first

    def batches_from(self, epoch: int, first: int) -> Iterator[Any]:
        """Give the batches of an epoch from this one on."""
        self._stand(epoch, first)
        return iter(self)

    def plan(self, epoch: int) -> list[tuple[list[int], int]]:
        """Return of each of this rank's batches in an epoch the samples, and the seed of what chance does to them."""
        samples = self._order(epoch)
        return [(repeated(samples[s.start : s.stop].tolist(), s.size), s.seed) for s in self._seeded_steps(epoch)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        import numpy as np

        samples = ranks.order(self.source.n or 0, shuffle=self.shuffle, seed=self.options.seed, epoch=epoch)
        lost = self._lost(decode=True)
        return samples[~np.isin(samples, lost)] if len(lost) else samples

    def _seeded_steps(self, epoch: int) -> list[Step]:
        world, steps = ranks.world(), self.steps()
        every = random(self.options.seed, epoch, TRANSFORM).integers(0, 2**62, len(steps) * world.size)
        return [step._replace(seed=seed) for step, seed in zip(steps, every[world.rank :: world.size].tolist())]

    def _batches(self, epoch: int, first: int, run: int, stats: Stats) -> Iterator[Any]:
        mark = self._marks_steps()
        mark()
        asked = began = time.perf_counter()
        made = self._begin(epoch, first)
        # Where no photo of a batch can be read: the loss of none is nan. But ranks wait for each other's batches, and
        # what is in a batch of the user's dataset is not ours to judge.
        leaves_out = not self.keeps_empty and self.name != "feed" and ranks.world().size == 1
        n_batches = operator.length_hint(self)  # 0 if nobody knows: a DataLoader of what can only be iterated
        from datastage.batches.as_dataloader import accelerate_told

        with accelerate_told(self, n_batches) as tell:
            i = first - 1  # not by enumerate, which holds a batch until it has the next one
            for batch, n in made:
                i += 1
                now = time.perf_counter()
                if run == self._run:
                    self._at = (epoch + 1, 0) if i + 1 == n_batches else (epoch, i + 1)
                stats.images += n
                stats.seconds, stats.waited_s = now - began, stats.waited_s + now - asked
                if not n and leaves_out:
                    continue
                stats.batches += 1
                self.given, self._device_of_batch = _about(batch, n)
                if stats.batches == 1:
                    self.shapes = shapes_of(batch)
                tell(i)
                yield batch
                del batch  # what the training let go of is not kept alive here
                mark()
                asked = time.perf_counter()
                stats.seconds = asked - began
        if run == self._run:
            self._at = (epoch + 1, 0)

    def _marks_steps(self) -> Any:
        """Return what runs the training's step on a TPU, which would else grow until somebody asks for a value."""
        choice = self._chooser()
        if choice.kind != "xla" or read_by_xla():
            return lambda: None
        import torch_xla

        return torch_xla.sync

    def _begin(self, epoch: int, first: int) -> Iterator[tuple[Any, int]]:
        """Begin an epoch: give its batches from the `first` on, and of each how many rows are samples."""
        n = self.source.n
        if n is None:
            return self._opened().stream(epoch)  # type: ignore[no-any-return]
        samples, steps = self._order(epoch), self._seeded_steps(epoch)
        if not steps:
            raise self._no_batch(n, "images")
        options = self.options
        draws = draw(options.augment, samples, size=self.source.size, seed=options.seed, epoch=epoch)
        return self._made(samples, draws, steps[first:])

    def _no_batch(self, n: int, what: str) -> SpecError:
        return SpecError(
            f"{self.name}: {n:,} {what} give no whole batch of {self.batch_size:,}, and what does not fill one is "
            "dropped.",
            f"Next: batch_size={max(1, n // ranks.world().size)} or smaller.",
        )

    def _made(self, samples: NDArray[np.int64], draws: Draws, steps: list[Step]) -> Iterator[tuple[Any, int]]:
        """Give the batches of these steps; where a GPU has no room left for the images, from there on by copying."""
        given = 0
        while True:
            try:
                for item in self._opened().epoch(samples, draws, steps[given:]):
                    yield item
                    del item
                    given += 1
                return
            except import_torch().cuda.OutOfMemoryError:
                if not self._chooser().holds:
                    raise
                self._engines.clear()  # begun anew below, where the error no longer holds what was half made
            self._chooser.fill()

    def _opened(self) -> Any:
        choice = self._chooser()
        if choice.kind not in self._engines:
            self._engines[choice.kind] = self.source.open(choice, self.options)
        return self._engines[choice.kind]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iterator is; the state is of that one from now on.

        A state from the middle of that very epoch, loaded before, stays: loops set each epoch that they begin.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise SpecError(f"set_epoch({epoch!r}): a whole number from 0 up is needed.")
        if self._next[0] != epoch or not self._next[1]:
            self._stand(epoch, 0)

    def _stand(self, epoch: int, batch: int) -> None:
        self._next = self._at = (epoch, batch)
        self._run += 1  # an iterator in use goes on, but no longer says where we are

    def state_dict(self) -> dict[str, Any]:
        """Return where the latest iterator stands, as plain numbers and flags; the middle of an epoch too.

        A batch counts as done once it was given out. What `feed` wraps adds its own state, if it has one.
        """
        theirs = getattr(self.source, "state_dict", lambda: None)()
        return self._own_state() | ({} if theirs is None else {"inner": theirs})

    def _own_state(self) -> dict[str, Any]:
        epoch, batch = getattr(self, "_at", self._next)
        return {
            "epoch": epoch,
            "batch": batch,
            "seed": self.options.seed,
            "n_samples": self.n_samples,
            "batch_size": self.batch_size,
            "world_size": ranks.world().size,
            **self._asked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next iterator gives the batch after it.

        Raises
        ------
        SpecError
            If this is no state, or one of another seed, number of samples, batch size, number of processes, shuffle or
            drop_last; or of the middle of an epoch whose order is neither ours nor of something that has a state.
        """
        epoch, batch, inner = checked_state(state, self._own_state(), self._fixed, self._asked)
        if batch and self.n_samples is not None and batch >= len(self):
            raise SpecError(
                f"The saved state has batch={batch} of epoch {epoch}, and an epoch has {len(self)}, counted from 0.",
                f"Next: start the next epoch with set_epoch({epoch + 1}).",
            )
        if self.n_samples is None and batch and inner is None:
            raise SpecError(
                f"The saved state is of the middle of epoch {epoch}, and a DataLoader that picks its samples "
                "itself cannot go on exactly there.",
                f"Next: start that epoch anew with set_epoch({epoch}), and save the state between epochs.",
                "Or feed the dataset itself, which can go on anywhere: feed(loader.dataset, batch_size=...).",
            )
        if inner is not None:
            self.source.load_state_dict(inner, middle=batch > 0)  # type: ignore[attr-defined]
        self._stand(epoch, batch)

    def explain(self) -> str:
        """Say in lines what this loader does, and why."""
        return "\n".join(line for label, text in facts(self) for line in labelled_lines(label, text))

    def __repr__(self) -> str:
        return f"<Loader {': '.join(facts(self)[0])}>"

    _repr_pretty_ = Carded._repr_pretty_


def repeated(numbers: list[int], size: int) -> list[int]:
    """Return the numbers, from the first on again until there are `size`."""
    return [numbers[i % len(numbers)] for i in range(max(size, len(numbers)))]


def _about(batch: Any, n: int) -> tuple[tuple[int, int], Any]:
    """Return how many samples and rows a batch has, and where it is."""
    first = next((tensor for tensor in tensors_of(batch) if tensor.ndim), None)
    return ((n, n), "cpu") if first is None else ((n, max(n, len(first))), first.device)


@dataclass(frozen=True, repr=False)
class Loaders(Carded):
    """The loaders of a dataset's splits. Unpacks into train, val and test, as far as there are such.

    Attributes
    ----------
    train : Loader
        Shuffled and augmented.
    val, test : Loader or None
        In order, as they are, to the last sample.
    classes : tuple of str
        Names of the classes, where they are known.
    predict : Loader or None
        A part without labels: batches of ``(x, ids)``, in order.
    """

    train: Loader
    val: Loader | None = None
    test: Loader | None = None
    classes: tuple[str, ...] = ()
    predict: Loader | None = None

    def __iter__(self) -> Iterator[Loader]:
        return iter([loader for loader in (self.train, self.val, self.test) if loader is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def explain(self) -> str:
        """Say in lines what each loader does, and why."""
        more = [] if self.predict is None else [self.predict]
        return "\n\n".join(loader.explain() for loader in (*self, *more))

    __str__ = __repr__ = explain
    _repr_pretty_ = Carded._repr_pretty_


def loader_class(kind: type[Loader] = Loader) -> type[Loader]:
    """Return the class of loaders to be made: Keras takes nothing that is not one of its own data adapters."""
    if getattr(sys.modules.get("keras"), "__version__", "").startswith("3."):
        from datastage.batches.frameworks import keras_loader

        return keras_loader(kind)  # type: ignore[arg-type]
    return kind


def build(
    splits: Mapping[str, Source], options: LoaderOptions, classes: Sequence[str] = (), kind: type[Loader] = Loader
) -> Loaders:
    """Make the loaders: train as asked, the others plain."""
    chooser = Chooser(options.device, options.dtype, hold=options.hold, reporter=options.reporter)
    names = tuple(classes or options.classes)
    made = {}
    for name, source in splits.items():
        training = name == "train"
        own = options if training else options.plain
        made[name] = loader_class(kind)(source, own, chooser, name=name, training=training, classes=names)
    return Loaders(made["train"], made.get("val"), made.get("test"), names, made.get("predict"))
