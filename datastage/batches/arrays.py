"""Images, or rows of numbers, and labels given as arrays: what is accepted, split how, and made into batches how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.batches import devices
from datastage.batches.augment import SUBSET, Draws, random
from datastage.batches.cpu_augment import HostStore
from datastage.batches.devices import Choice
from datastage.batches.loader import Loaders, Source, build
from datastage.batches.normalize import CpuFinish, Finishers, TorchFinish, try_transform
from datastage.batches.options import LoaderOptions
from datastage.batches.ranks import Step
from datastage.batches.targets import Given, array_of, targets_of
from datastage.batches.to_device import Made, Raw, deliver, filled, mapped, sent, tensor_of
from datastage.errors import SpecError
from datastage.layouts.aside import how_many

SHARE_OF_DEVICE = 0.5  # of what is free there a dataset may take so much: the model needs the rest


def from_arrays(
    splits: Mapping[str, tuple[Any, Any]], options: LoaderOptions | None = None, are_files: bool = False, **named: Any
) -> Loaders:
    """Make loaders of arrays, the user's or those of files; options are given as one value, or by their names.

    `splits` maps the names of parts to what `images_of` and `targets_of` take; those of ``"predict"`` are ids.
    """
    options = LoaderOptions(**named) if options is None else replace(options, **named)
    if "train" not in splits or not set(splits) <= {"train", "val", "test", "predict"}:
        part = next((name for name in splits if are_files and name != "predict"), "")
        begin, data = ("read = datastage.read(path); ", f"read.arrays({part!r})") if part else ("", "(x, y)")
        raise SpecError(
            f"splits are named train, val and test, and train is needed; given: {', '.join(map(str, splits))}.",
            f"Next: {begin}datastage.loaders({{'train': {data}}}, batch_size=64), if these are to be trained on.",
        )
    splits = {name: pair for name, pair in splits.items() if getattr(options, name, None) != 0}  # test=0
    images = {name: images_of(name, pair[0]) for name, pair in splits.items()}
    shape = images["train"].shape[1:]
    for name, own in images.items():
        if own.shape[1:] != shape:
            raise SpecError(f"{name}: images of shape {own.shape[1:]}, and those of train have {shape}.")
    asked = {name: pair[1] for name, pair in splits.items() if name != "predict"}
    are_lists = any(isinstance(splits[name][0], list | tuple) for name in asked)
    given = Given(are_lists, len(splits) > 1 or are_files, are_files)
    targets, classes = targets_of(asked, options.classes, options.reporter, given)
    if "predict" in splits:
        targets["predict"] = ids_of(splits["predict"][1], len(images["predict"]))
    for name, labels in targets.items():
        if len(images[name]) != len(labels):
            raise SpecError(
                f"{name}: {len(images[name]):,} images and {len(labels):,} labels; there must be as many of both."
            )
    options.check_shape(shape)
    try_transform(options, (shape[0], *options.shape) if options.shape else shape)
    sources: dict[str, Source] = {}
    lengths = {name: len(own) for name, own in images.items()}
    for name, at in places_of(lengths, val=options.val, test=options.test).items():
        home = name if name in images else "train"
        keep = limited(len(images[home] if at is None else at), None if name == "predict" else options.limit)
        if keep is not None:
            at = keep if at is None else at[keep]
        pair = images[home], targets[home]
        sources[name] = ArraySource(*(pair if at is None else (a[at] for a in pair)))
    return build(sources, options, classes)


def places_of(lengths: Mapping[str, int], *, val: Any, test: Any) -> dict[str, NDArray[np.int64] | None]:
    """Apply ``val=`` and ``test=``: where in its arrays each part lies, None for all; what is set aside in train's."""
    places: dict[str, NDArray[np.int64] | None] = dict.fromkeys(lengths)
    for name, share in (("test", test), ("val", val)):
        if name in lengths and share == 0:
            del places[name]
        elif share and (name not in lengths or isinstance(share, str)):
            places["train"], places[name] = set_aside(lengths["train"], places["train"], share, name)
    return places


def images_of(name: str, images: Any) -> NDArray[Any]:
    """Check one split's images and bring them to (N, C, H, W) uint8 or (N, D) float32, copied only where they must."""
    is_tensor, images = hasattr(images, "detach"), array_of(f"{name}: what is given as images", images)
    if images.ndim not in (2, 3, 4):
        raise SpecError(
            f"{name}: images of shape {images.shape} are neither (N, height, width, channels), (N, height, width) "
            "nor rows of numbers (N, D)."
        )
    if not len(images):
        raise SpecError(f"{name}: there are no images in it.")
    if images.ndim == 2:
        if images.dtype.kind not in "iufb":
            raise SpecError(f"{name}: rows of type {images.dtype}; numbers are needed.")
        return np.ascontiguousarray(images, np.float32)
    if images.dtype != np.uint8:
        if images.ndim == 3 and images.dtype.kind == "f":
            raise SpecError(
                f"{name}: numbers of shape {images.shape} and type {images.dtype} are no images, which have uint8.",
                "For series: datastage.feed(torch.utils.data.TensorDataset(x, y), batch_size=...) takes any shape.",
                f"If they are grey images: {_in_bytes(images, is_tensor)}.",
            )
        raise SpecError(
            f"{name}: images of type {images.dtype}; uint8, from 0 to 255, is needed: it is a quarter of the size.",
            "Every part by the same line:",
            f"Next: {_in_bytes(images, is_tensor)}.",
        )
    if images.ndim == 3:
        return np.ascontiguousarray(images[:, None])
    if images.shape[-1] > 4 and images.shape[1] <= 4:
        raise SpecError(
            f"{name}: images of shape {images.shape} have channels first; (N, height, width, channels) is needed.",
            f"Next: pass images.{'permute' if is_tensor else 'transpose'}(0, 2, 3, 1), which copies nothing.",
        )
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


def _in_bytes(images: NDArray[Any], is_tensor: bool) -> str:
    """Return what makes pixels of these numbers, from 0 to 1, from 0 to 255, or any others."""
    last, wide = (".byte()", "float()") if is_tensor else (".astype('uint8')", "astype('float32')")
    if images.dtype.kind not in "iufb" or not images.size:
        return "pass numbers"
    first = ""
    if images.dtype.kind == "f" and not np.isfinite(images).all():  # what is no number is black
        images = np.nan_to_num(images, nan=0, posinf=0, neginf=0)
        of = "images.nan_to_num(" if is_tensor else "numpy.nan_to_num(images, "
        first = f"{'' if is_tensor else 'import numpy; '}images = {of}nan=0, posinf=0, neginf=0); "
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        of = f"images.{wide}" if images.dtype == np.int8 else "images"  # 255 is no int8
        return f"{first}({of} * 255).round(){last}"
    if low >= 0 and high <= 255:
        return f"{first}images{'.round()' if images.dtype.kind == 'f' else ''}{last}"
    from_low = f"(images.{wide} {'-' if low >= 0 else '+'} {abs(low):.9g})"
    return f"{first}({from_low} * (255 / {high - low or 1:.9g})).round().clip(0, 255){last}"


def ids_of(ids: Any, n: int) -> NDArray[Any]:
    """Return what tells the samples of a part without labels apart: their names or numbers, else their places."""
    array = np.arange(n) if ids is None else array_of("predict: what is given as ids", ids)
    return array.astype(str) if array.dtype.kind in "OS" else array


def set_aside(
    n: int, places: NDArray[np.int64] | None, share: float | str, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set a share (0.1) or a number (5000) of the samples aside, the same whatever the seed: (kept, set aside)."""
    places = np.arange(n) if places is None else places
    n = len(places)
    count = how_many(share, n, name)
    shuffled = random(0, 0, SUBSET).permutation(n)
    return places[np.sort(shuffled[count:])], places[np.sort(shuffled[:count])]


def limited(n: int, limit: int | None) -> NDArray[np.int64] | None:
    """Return `limit` of so many samples, spread over all since files are often sorted by class; None if all stay."""
    return None if limit is None or limit >= n else np.sort(random(0, 0, SUBSET).permutation(n)[:limit])


@dataclass
class ArraySource:
    """A split held whole in memory: images as `images_of` gives them, labels as `targets_of`, or ids."""

    images: NDArray[Any]
    labels: NDArray[Any]
    held: str = field(default="in memory", init=False)  # where the images were put when the engine was opened

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images; (1, D) for rows."""
        height, width = self.images.shape[-2:] if self.images.ndim == 4 else (1, self.images.shape[1])
        return int(height), int(width)

    def sample(self, i: int) -> Any:
        """Return one sample as it is: a picture (H, W, C), or a row."""
        return self.images[i].transpose(1, 2, 0) if self.images.ndim == 4 else self.images[i]

    def where(self, choice: Choice) -> str:
        what = "uint8" if self.images.ndim == 4 else "rows"
        return f"{self.images.nbytes / 1e6:,.0f} MB of {what} {self.held}"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        self.held = "in memory"
        if self.images.ndim == 4 and has_room(self.images.nbytes, self.images.shape[1:], choice, options):
            engine = OnDevice(self, choice, options)
            self.held = f"on the {choice.device}"
            return engine
        if choice.kind == "cuda" and not options.hold:
            self.held = "in memory, as hold=False asks"
        return OnHost(self, choice, options)


def has_room(n_bytes: int, shape: tuple[int, ...], choice: Choice, options: LoaderOptions) -> bool:
    """Whether images of so many bytes may move to the device's memory, together with what a batch takes there."""
    if choice.kind != "cuda" or not choice.holds:
        return False
    augment = options.augment
    # Two copies in bytes and the floats; what resizes and jitters has several of floats.
    at_once = 24 if augment is not None and (augment.scale or augment.jitters) else 8
    batch = at_once * min(n_bytes, options.batch_size * math.prod(shape))
    return n_bytes + batch <= SHARE_OF_DEVICE * devices.free_bytes(choice)


class RowStore:
    """Rows of numbers in memory, and standardised batches of them; the rows stay as they are."""

    def __init__(self, rows: NDArray[np.float32], options: LoaderOptions) -> None:
        self._rows, self._as_they_are = rows, options.mean is None and options.std is None
        self._mean = np.asarray(0 if options.mean is None else options.mean, np.float32)
        self._std = np.asarray(1 if options.std is None else options.std, np.float32)

    def batch(self, samples: NDArray[np.int64], draws: Draws, room: None = None) -> NDArray[np.float32]:
        """Return the rows of these samples, in new memory."""
        rows = self._rows[samples]
        if not self._as_they_are:
            rows -= self._mean
            rows /= self._std
        return rows


class OnHost:
    """Batches made by the CPU."""

    def __init__(self, source: ArraySource, choice: Choice, options: LoaderOptions) -> None:
        images = source.images
        self._labels, self._choice = source.labels, choice
        self._store: Any = (
            RowStore(images, options)
            if images.ndim == 2
            else HostStore(images, options.augment, options.fill(images.shape[1]))
        )
        self._finishers = Finishers(options, images.shape[1:], choice, source.n)

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: list[Step]) -> Iterator[Made]:

        def raw(finish: Any) -> Iterator[Raw]:
            for step in steps:
                rows = slice(step.start, step.stop)
                at, part = samples[rows], draws.where(rows)
                room = finish.room(len(at)) if isinstance(finish, CpuFinish) else None
                yield self._store.batch(at, part, room), self._labels[at], part.jitter, step

        with self._finishers.lent() as finish:
            yield from deliver(raw(finish), finish, self._choice, len(steps))


class OnDevice:
    """Batches made on the device, from images held there."""

    def __init__(self, source: ArraySource, choice: Choice, options: LoaderOptions) -> None:
        from datastage.batches.batch_ops import ResidentStore

        shape = source.images.shape[1:]
        self._store = ResidentStore(source.images, options.augment, options.fill(shape[0]), choice.device)
        self._labels, self._choice = source.labels, choice
        self._finish = TorchFinish(options, shape, choice)

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: list[Step]) -> Iterator[Made]:
        """Give the batches of an epoch; all that they need is sent at its start, without waiting for the device."""
        places, targets, valid = [], [], []
        for step in steps:
            at = np.arange(step.start, step.stop)
            at, y, _, _, n = filled((at, self._labels[samples[at]], None, step))
            places.append(at)
            targets.append(y)
            valid.append(n)
        every = np.concatenate(places)
        y = mapped(tensor_of(np.concatenate(targets)), lambda tensor: sent(tensor, self._choice.device))
        numbers, all_draws = self._store.epoch(samples[every], draws.where(every))
        start = 0
        for at, n, step in zip(places, valid, steps):
            rows = slice(start, start + len(at))
            part = all_draws.where(rows)
            x = self._finish(self._store.batch(numbers[rows], part), step.seed, part.jitter)
            own = y[rows]
            yield (x, own if isinstance(own, tuple) else own.clone()), n
            del x, own
            start = rows.stop
