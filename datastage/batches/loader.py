"""The loop over epochs and batches, and what it remembers.

Here: `Loader` (order, epochs, ranks, state, stats) and `Loaders`, the splits together.
Not here: how a batch is made (`arrays`, `photos`, `feed`), which device (`devices`).
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from datastage.batches import ranks
from datastage.batches.augment import TRANSFORM, Augment, Draws, draw, random
from datastage.batches.devices import Chooser, import_torch
from datastage.batches.options import LoaderOptions
from datastage.batches.to_device import tensors_of
from datastage.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from datastage.batches.devices import Choice


@dataclass(frozen=True, slots=True)
class Stats:
    """The latest epoch of a loader, so far.

    Attributes
    ----------
    epoch : int
        Which epoch, counted from 0; -1 before the first.
    images, batches : int
        What was delivered.
    seconds : float
        From the first batch asked for to the last one asked for or delivered.
    waited_s : float
        The part of it that the training loop spent waiting for batches.
    """

    epoch: int = -1
    images: int = 0
    batches: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    @property
    def images_per_s(self) -> float:
        """Images delivered a second, the training's own time included."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time spent waiting for data, 0 to 1. Above a few per cent, data is the bottleneck."""
        return self.waited_s / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}: {self.images:,} images in {self.seconds:.2f} s ({self.images_per_s:,.0f}/s), "
            f"{self.waited_s:.2f} s of it waiting for data ({self.waiting:.1%})"
        )


class Engine(Protocol):
    """What holds the data, once a device is known."""

    def epoch(
        self, samples: NDArray[np.int64], draws: Draws, steps: list[tuple[int, int]], seeds: list[int]
    ) -> Iterator[tuple[Any, Any]]:
        """Give the batches of an epoch of `samples`, in that order, one for each of `steps`, on the device."""


class Source(Protocol):
    """A split: how many samples it has, the size of its images, and the engine for a device."""

    @property
    def n(self) -> int | None:
        """Samples in an epoch; None if they are not ours to order."""

    @property
    def size(self) -> tuple[int, int]: ...

    def open(self, choice: Choice, recipe: LoaderOptions) -> Any:
        """Return the engine for this device: an `Engine`, or a `Stream` if `n` is None."""

    def where(self, choice: Choice) -> str:
        """Say where the images are held."""


@dataclass(frozen=True)
class Samples:
    """What stands for a dataset where there is none to ask for: how many samples there are."""

    n: int

    def __len__(self) -> int:
        return self.n


class Loader:
    """Batches ``(x, y)`` on the device, epoch after epoch.

    Each ``iter()`` is the next epoch. Order and augmentation follow from the seed and the epoch alone, on every device.
    Made by `datastage.loaders` and `datastage.feed`.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, where they are known.
    batch_size : int
        Samples a batch, on each rank.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches import from_arrays
    >>> images, labels = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
    >>> (train,) = from_arrays({"train": (images, labels)}, batch_size=4, device="cpu")
    >>> [tuple(x.shape) for x, y in train]
    [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 8, 8)]
    """

    def __init__(
        self,
        source: Source,
        recipe: LoaderOptions,
        chooser: Chooser,
        *,
        name: str,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        training: bool,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.classes = name, classes
        self._source, self._recipe, self._chooser = source, recipe, chooser
        self._shuffle, self._drop_last, self._seed, self._training = shuffle, drop_last, seed, training
        self._asked = {"shuffle": shuffle, "drop_last": drop_last}
        self._as_many = False  # whether batches with no sample are given too, so that there are as many as len() says
        self._engine: Any = None
        self._next = (0, 0)  # the epoch and batch that the next iter() begins with
        self._run = 0  # which iterator the state and the stats belong to: the latest
        self._stats = Stats()

    @property
    def batch_size(self) -> int:
        """Samples a batch, on each rank."""
        return self._recipe.batch_size

    @property
    def source(self) -> Source:
        """What the batches are made of."""
        return self._source

    @property
    def augment(self) -> Augment | None:
        """What is done to each image."""
        return self._recipe.augment

    @property
    def training(self) -> bool:
        """Whether this is the training split."""
        return self._training

    def stay_on_cpu(self) -> None:
        """Settle on the CPU, for libraries that move batches themselves.

        Raises
        ------
        SpecError
            If another device was chosen or asked for, or the dtype is one that numpy has not.
        """
        self._chooser.settle("cpu")
        self._as_many = True  # they fill batches up, and some were told how many there are
        if self._recipe.dtype == "bfloat16":
            raise SpecError("numpy has no bfloat16.", "Next: dtype='float32', and cast on the device.")

    @property
    def n_samples(self) -> int | None:
        """Samples in an epoch, over all ranks; None if a DataLoader of the user's decides it."""
        return self._source.n

    @property
    def dataset(self) -> Any:
        """What `feed` was given, or what only has a length: ``len(loader.dataset)``, as tutorials count samples."""
        return self._source.dataset if hasattr(self._source, "dataset") else Samples(self._source.n or 0)

    def _steps(self) -> list[tuple[int, int]]:
        assert self._source.n is not None
        drop = self._drop_last or (self._training and self._chooser.static)
        return ranks.steps(self._source.n, self.batch_size, drop_last=drop, world=ranks.world())

    def __len__(self) -> int:
        return len(self._source) if isinstance(self._source, Sized) else len(self._steps())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        epoch, first = self._next
        self._next = (epoch + 1, 0)
        self._run += 1
        self._stats = Stats(epoch=epoch)
        self._at = (epoch, first)
        return self._batches(epoch, first, self._run)

    def _batches(self, epoch: int, first: int, run: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        asked = began = time.perf_counter()
        steps, made = self._begin(epoch, first)
        # Where no photo of a batch can be read: the loss of none is nan. But ranks wait for each other's batches, and
        # what is in a batch of the user's dataset is not ours to judge.
        leaves_out = not self._as_many and self.name != "feed" and ranks.world().size == 1
        n_batches = operator.length_hint(self)  # 0 if nobody knows: a DataLoader of what can only be iterated
        for i, batch in enumerate(made, first):
            n = _samples_in(batch)
            if steps:
                n = min(n, steps[i][1] - steps[i][0])  # padding is not counted
            left_out = not n and leaves_out
            now = time.perf_counter()
            if run == self._run:
                self._at = (epoch + 1, 0) if i + 1 == n_batches else (epoch, i + 1)
                self._stats = replace(
                    self._stats,
                    images=self._stats.images + n,
                    batches=self._stats.batches + (not left_out),
                    seconds=now - began,
                    waited_s=self._stats.waited_s + now - asked,
                )
            if left_out:
                continue
            yield batch
            del batch  # what the training let go of is not kept alive here
            asked = time.perf_counter()
            if run == self._run:
                self._stats = replace(self._stats, seconds=asked - began)
        if run == self._run:
            self._at = (epoch + 1, 0)

    def _begin(self, epoch: int, first: int) -> tuple[list[tuple[int, int]], Iterator[Any]]:
        """Choose the device if that was not done yet, and begin an epoch: the places of its batches, and they."""
        n = self._source.n
        steps = [] if n is None else self._steps()
        if n is not None and not steps:
            raise SpecError(
                f"{self.name}: {n:,} images give no whole batch of {self.batch_size:,}, and what does not fill one is "
                "dropped.",
                f"Next: batch_size={max(1, n // ranks.world().size)} or smaller.",
            )
        self._chooser()
        if n is None:
            return [], self._opened().stream(epoch)
        steps = self._steps()  # known for certain once the device is
        samples = ranks.order(n, shuffle=self._shuffle, seed=self._seed, epoch=epoch)
        draws = draw(
            self._recipe.augment,
            samples,
            size=self._source.size,
            seed=self._seed,
            epoch=epoch,
        )
        world = ranks.world()
        seeds = random(self._seed, epoch, TRANSFORM).integers(0, 2**62, len(steps) * world.size)[
            world.rank :: world.size
        ]
        parts = samples, draws, steps[first:], seeds[first:].tolist()
        try:
            return steps, self._opened().epoch(*parts)
        except import_torch().cuda.OutOfMemoryError:
            self._engine = None  # begun anew below, where the error no longer holds what was half made
        self._chooser.fill()
        return steps, self._opened().epoch(*parts)

    def _opened(self) -> Any:
        if self._engine is None:
            self._engine = self._source.open(self._chooser(), self._recipe)
        return self._engine

    @property
    def stats(self) -> Stats:
        """What the latest epoch delivered so far, and how long it kept the training waiting."""
        return self._stats

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next ``iter()`` is; the state is of that one from now on."""
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise SpecError(f"set_epoch({epoch!r}): a whole number from 0 up is needed.")
        self._stand(epoch, 0)

    def _stand(self, epoch: int, batch: int) -> None:
        self._next = self._at = (epoch, batch)
        self._run += 1  # an iterator in use goes on, but no longer says where we are

    def state_dict(self) -> dict[str, int | None]:
        """Return where the latest iterator stands, as plain numbers and flags; the middle of an epoch too.

        A batch counts as done once it was given out.
        """
        epoch, batch = getattr(self, "_at", self._next)
        world = ranks.world()
        return {
            "epoch": epoch,
            "batch": batch,
            "seed": self._seed,
            "n_samples": self.n_samples,
            "batch_size": self.batch_size,
            "world_size": world.size,
            **self._asked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next ``iter()`` gives the batch after it.

        Raises
        ------
        SpecError
            If this is no state, or one of another seed, number of samples, batch size, number of processes, shuffle or
            drop_last: batches would differ.
            If it is of the middle of an epoch whose order is not ours but that of the user's DataLoader.
        """
        mine = self.state_dict()
        if not isinstance(state, Mapping):
            raise SpecError(f"This is not the state of a loader, but of type {type(state).__name__}.")
        # Those two were not always in it, and a state lives as long as the checkpoint that it lies in.
        if not set(mine) - set(self._asked) <= set(state) <= set(mine):
            raise SpecError(f"This is not the state of a loader: it holds {', '.join(map(str, state)) or 'nothing'}.")
        epoch, batch = (_whole(key, state[key]) for key in ("epoch", "batch"))
        for key in ("seed", "n_samples", "batch_size", "world_size", *self._asked):
            if key in state and state[key] != mine[key]:
                raise SpecError(
                    f"The saved state has {key}={state[key]} and this loader has {key}={mine[key]}, "
                    "so it cannot go on exactly there.",
                    f"Next: make the loader with {key}={state[key]}, or start anew with set_epoch({epoch}).",
                )
        if batch and self.n_samples is not None and batch >= len(self):
            raise SpecError(
                f"The saved state has batch={batch} of epoch {epoch}, and an epoch has {len(self)}, counted from 0.",
                f"Next: start the next epoch with set_epoch({epoch + 1}).",
            )
        if self.n_samples is None and batch:
            raise SpecError(
                f"The saved state is of the middle of epoch {epoch}, and a DataLoader that picks its samples "
                "itself cannot go on exactly there.",
                f"Next: start that epoch anew with set_epoch({epoch}), and save the state between epochs.",
                "Or feed the dataset itself, which can go on anywhere: feed(loader.dataset, batch_size=...).",
            )
        self._stand(epoch, batch)

    def explain(self) -> str:
        """Say in one line what this loader does, and why."""
        choice = self._chooser.made
        where = "the device is chosen when the first batch is asked for"
        if choice is not None:
            where = f"on {choice.device} ({choice.why}), {self._source.where(choice)}"
        recipe = self._recipe
        said = [
            f"{self.name}: batches in the order that your data gives them"
            if self.n_samples is None
            else f"{self.name}: {self.n_samples:,} samples in {len(self):,} batches of {self.batch_size:,}; "
            + ("shuffled" if self._shuffle else "in order"),
            str(recipe.augment) if recipe.augment else "",
            recipe.dtype,
            recipe.memory_format if recipe.memory_format != "contiguous" else "",
            where,
        ]
        world = ranks.world()
        if world.size > 1:
            said.append(f"rank {world.rank} of {world.size}")
        return "; ".join(text for text in said if text)

    def __repr__(self) -> str:
        return f"<Loader {self.explain()}>"

    def _repr_html_(self) -> str:
        from datastage.show.card import loader_card

        return loader_card([self])


def _whole(name: str, value: Any) -> int:
    """Return a number of a state, or raise `SpecError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SpecError(f"The saved state has {name}={value!r}: a whole number from 0 up is needed.")
    return value


def _samples_in(batch: Any) -> int:
    """Count the samples of a batch by its first tensor."""
    return next((len(tensor) for tensor in tensors_of(batch) if tensor.ndim), 0)


@dataclass(frozen=True)
class Loaders:
    """The loaders of a dataset's splits. Unpacks into those that there are.

    Attributes
    ----------
    train : Loader
        Shuffled and augmented.
    val, test : Loader or None
        In order, as they are, to the last sample.
    classes : tuple of str
        Names of the classes, where they are known.
    """

    train: Loader
    val: Loader | None = None
    test: Loader | None = None
    classes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Loader]:
        return iter([loader for loader in (self.train, self.val, self.test) if loader is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __str__(self) -> str:
        return "\n".join(loader.explain() for loader in self)

    def _repr_html_(self) -> str:
        from datastage.show.card import loader_card

        return loader_card(self)


def build(splits: dict[str, Source], options: LoaderOptions, classes: Sequence[str] = ()) -> Loaders:
    """Make the loaders: train as asked, val and test plain."""
    chooser = Chooser(options.device, options.dtype, options.reporter)
    names = tuple(classes or options.classes)
    made = {}
    for name, source in splits.items():
        own = options if name == "train" else options.plain
        made[name] = Loader(
            source,
            own,
            chooser,
            name=name,
            shuffle=own.shuffle,
            drop_last=own.drop_last,
            seed=own.seed,
            training=name == "train",
            classes=names,
        )
    return Loaders(made["train"], made.get("val"), made.get("test"), names)
