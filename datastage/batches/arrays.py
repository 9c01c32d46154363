"""Images and labels given as arrays: what is accepted, how they are split, and the engines that make batches.

Here: `check_arrays`, `split_off`, `ArraySource`. Not here: the loop over an epoch (`loader`), photos (`photos`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datastage.batches.augment import SUBSET, Draws, random
from datastage.batches.cpu_augment import HostStore
from datastage.batches.gpu_augment import ResidentStore
from datastage.batches.loader import Loaders, Source, build
from datastage.batches.normalize import (
    CpuFinish,
    Finishers,
    TorchFinish,
    generator_on,
    transformed,
)
from datastage.batches.options import LoaderOptions, options_of
from datastage.batches.to_device import deliver
from datastage.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datastage.batches.devices import Choice

    Steps = list[tuple[int, int]]
    Batches = Iterator[tuple[Any, Any]]

SHARE_OF_DEVICE = 0.5
"""A dataset is held on the device if it takes at most this share of what is free: the model needs the rest."""


def from_arrays(splits: Mapping[str, tuple[Any, Any]], options: LoaderOptions | None = None, **named: Any) -> Loaders:
    """Make loaders of arrays.

    Parameters
    ----------
    splits : mapping of str to (images, labels)
        ``"train"``, and ``"val"`` and ``"test"`` where there are such. Images are uint8 of shape (N, H, W, C) or
        (N, H, W), or rows of numbers (N, D); labels are whole numbers (N,).
    options : LoaderOptions, optional
        How batches are made.
    **named
        The same by their names, as `LoaderOptions` has them.

    Returns
    -------
    Loaders
        Unpacks into the splits that there are.

    Raises
    ------
    SpecError
        If an argument or an array does not fit.
    """
    options = options_of(options, named)
    unknown = set(splits) - {"train", "val", "test"}
    if unknown or "train" not in splits:
        raise SpecError(
            f"splits are named train, val and test, and train is needed; given: {', '.join(map(str, splits))}."
        )
    arrays = {name: check_arrays(name, *pair) for name, pair in splits.items()}
    for name, share in (("test", options.test), ("val", options.val)):
        if name in arrays and share == 0 and share is not None:
            del arrays[name]
        elif name not in arrays and share:
            images, labels = arrays["train"]
            count = how_many(share, len(labels), name)
            arrays["train"], arrays[name] = split_off(images, labels, count)
    sources: dict[str, Source] = {}
    shape = arrays["train"][0].shape[1:]
    for name, (images, labels) in arrays.items():
        if images.shape[1:] != shape:
            raise SpecError(f"{name}: images of shape {images.shape[1:]}, and those of train have {shape}.")
        sources[name] = ArraySource(*limited(images, labels, options.limit))
    options.check_shape(shape)
    return build(sources, options)


def check_arrays(name: str, images: Any, labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check one split's arrays and bring images to (N, C, H, W) uint8 or (N, D) float32, labels to int64 or float32.

    Nothing is copied where the memory is in that order already, as that of CIFAR-10's files is.

    Raises
    ------
    SpecError
        If shape, dtype or number do not fit; the message says what was given and what is needed.
    """
    import numpy as np

    images, labels = np.asarray(images), np.asarray(labels)
    if len(images.shape) not in (2, 3, 4):
        raise SpecError(
            f"{name}: images of shape {images.shape} are neither (N, height, width, channels), (N, height, width) "
            "nor rows of numbers (N, D)."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as Keras' own datasets have them
    if labels.ndim != 1:
        raise SpecError(
            f"{name}: labels of shape {labels.shape}; one number for each image, shape ({len(images)},), is needed.",
            "One-hot labels: use labels.argmax(1).",
        )
    if len(images) != len(labels):
        raise SpecError(f"{name}: {len(images):,} images and {len(labels):,} labels; there must be as many of both.")
    if not len(images):
        raise SpecError(f"{name}: there are no images in it.")
    if labels.dtype.kind in "iub":
        labels = labels.astype(np.int64, copy=False)
    elif labels.dtype.kind == "f":
        labels = labels.astype(np.float32, copy=False)
    else:
        raise SpecError(
            f"{name}: labels of type {labels.dtype}; numbers are needed: np.unique(..., return_inverse=True)."
        )
    if images.ndim == 2:
        if images.dtype.kind not in "iufb":
            raise SpecError(f"{name}: rows of type {images.dtype}; numbers are needed.")
        return np.ascontiguousarray(images, np.float32), labels
    if images.dtype != np.uint8:
        raise SpecError(
            f"{name}: images of type {images.dtype}; uint8, from 0 to 255, is needed: it is a quarter of the size.",
            "If they are from 0 to 1: (images * 255).round().astype('uint8').",
        )
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None]), labels
    if images.shape[-1] > 4 and images.shape[1] <= 4:
        raise SpecError(
            f"{name}: images of shape {images.shape} have channels first; (N, height, width, channels) is needed.",
            "Next: pass images.transpose(0, 2, 3, 1), which copies nothing.",
        )
    return np.ascontiguousarray(np.moveaxis(images, -1, 1)), labels


def how_many(value: float | None, n: int, name: str) -> int:
    """Turn a share (0.1) or a number (5000) into a number of `n` samples.

    Raises
    ------
    SpecError
        If it is neither, or leaves nothing.
    """
    if value is None:
        return 0
    share = isinstance(value, float) and 0 < value < 1
    count = max(1, round(value * n)) if share else value  # of a few samples a small share is one
    if isinstance(value, bool) or not isinstance(count, int) or not 0 <= count < n:
        raise SpecError(
            f"{name}={value!r} cannot be set aside of {n:,} images.",
            f"Next: a share such as {name}=0.1, or a number below {n:,}.",
        )
    return count


def split_off(images: NDArray[Any], labels: NDArray[Any], count: int) -> tuple[Any, Any]:
    """Set `count` samples aside, the same whatever the seed: (kept, set aside), each images and labels."""
    import numpy as np

    shuffled = random(0, 0, SUBSET).permutation(len(labels))
    aside, kept = np.sort(shuffled[:count]), np.sort(shuffled[count:])
    return (images[kept], labels[kept]), (images[aside], labels[aside])


def limited(images: NDArray[Any], labels: NDArray[Any], limit: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Keep at most `limit` samples, spread over the whole set since files are often sorted by class."""
    import numpy as np

    if limit is None or limit >= len(labels):
        return images, labels
    keep = np.sort(random(0, 0, SUBSET).permutation(len(labels))[:limit])
    return images[keep], labels[keep]


@dataclass
class ArraySource:
    """A split held whole in memory.

    Attributes
    ----------
    images : ndarray, (N, C, H, W) of uint8 or (N, D) of float32
        As `check_arrays` gives them.
    labels : ndarray of int64 or float32, shape (N,)
        One a sample.
    held : str
        Where the images lie, as said to the user: what was done when the engine was opened.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    held: str = field(default="in memory", init=False)

    @property
    def n(self) -> int:
        """Samples in an epoch."""
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images; (1, D) for rows."""
        height, width = self.images.shape[-2:] if self.images.ndim == 4 else (1, self.images.shape[1])
        return int(height), int(width)

    def fits(self, choice: Choice) -> bool:
        """Whether the images go to the device's own memory."""
        from datastage.batches.devices import free_bytes

        return choice.kind == "cuda" and self.images.nbytes <= SHARE_OF_DEVICE * free_bytes(choice)

    def where(self, choice: Choice) -> str:
        """Say where the images are held."""
        what = "uint8" if self.images.ndim == 4 else "rows"
        return f"{self.images.nbytes / 1e6:,.0f} MB of {what} {self.held}"

    def open(self, choice: Choice, recipe: LoaderOptions) -> Any:
        """Return the engine for this device."""
        self.held = "in memory"
        if self.images.ndim == 2:
            return Rows(self, choice, recipe)
        if not self.fits(choice):
            return OnHost(self, choice, recipe)
        engine = OnDevice(self, choice, recipe)
        self.held = f"on the {choice.device}"
        return engine


class OnHost:
    """Batches made by the CPU.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: ArraySource, choice: Choice, recipe: LoaderOptions) -> None:
        shape = source.images.shape[1:]
        self._labels, self._choice, self._recipe = source.labels, choice, recipe
        self._store = HostStore(source.images, recipe.augment, recipe.fill(shape[0]))
        self._finishers = Finishers(recipe, shape, choice, source.n)

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: Steps, seeds: list[int]) -> Batches:
        """Give the batches of an epoch."""

        def raw(finish: Any) -> Iterator[tuple[Any, Any, Any]]:
            for start, stop in steps:
                at, part = samples[start:stop], draws.part(start, stop)
                room = finish.room(len(at)) if isinstance(finish, CpuFinish) else None
                yield self._store.batch(at, part, room), self._labels[at], part.jitter

        with self._finishers.lent() as finish:
            yield from deliver(raw(finish), finish, seeds, self._choice, batch_size=self._recipe.batch_size)


class OnDevice:
    """Batches made on the device, from images held there.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: ArraySource, choice: Choice, recipe: LoaderOptions) -> None:
        import torch

        shape = source.images.shape[1:]
        self._store = ResidentStore(source.images, recipe.augment, recipe.fill(shape[0]), choice.device)
        self._labels = torch.from_numpy(source.labels).to(choice.device)
        self._finish = TorchFinish(recipe, shape, choice)

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: Steps, seeds: list[int]) -> Batches:
        """Give the batches of an epoch."""
        all_samples, all_draws = self._store.epoch(samples, draws)
        for (start, stop), seed in zip(steps, seeds):
            at = all_samples[start:stop]
            part = all_draws.part(start, stop)
            yield self._finish(self._store.batch(at, part), seed, part.jitter), self._labels.index_select(0, at)


class Rows:
    """Batches of rows of numbers.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: ArraySource, choice: Choice, recipe: LoaderOptions) -> None:
        import numpy as np

        self._rows, self._labels = source.images, source.labels
        self._choice, self._recipe = choice, recipe
        self._mean = np.asarray(0 if recipe.mean is None else recipe.mean, np.float32)
        self._std = np.asarray(1 if recipe.std is None else recipe.std, np.float32)

    def _standardised(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = self._rows[at]  # new memory: the rows themselves are the user's
        if self._recipe.mean is not None or self._recipe.std is not None:
            rows -= self._mean
            rows /= self._std
        return rows

    def _finish(self, rows: Any, seed: int, jitter: None = None) -> Any:
        import torch

        batch = rows if isinstance(rows, torch.Tensor) else torch.from_numpy(rows).to(self._choice.device)
        if self._recipe.transform is not None:
            batch = transformed(self._recipe.transform, batch, generator_on(self._choice, seed))
        return batch.to(getattr(torch, self._recipe.dtype))

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: Steps, seeds: list[int]) -> Batches:
        """Give the batches of an epoch."""
        raw = ((self._standardised(samples[a:b]), self._labels[samples[a:b]], None) for a, b in steps)
        size = self._recipe.batch_size
        return deliver(raw, self._finish, seeds, self._choice, batch_size=size)
