"""From image files to loaders: a folder of class folders, a zip of such, or samples that a layout has read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datastage import layouts, mounts, runtime, slots, staging
from datastage.batches.arrays import ArraySource, OnDevice, from_arrays, has_room, limited
from datastage.batches.augment import Draws
from datastage.batches.cpu_augment import Crops, HostStore, Wholes, cut
from datastage.batches.devices import Choice
from datastage.batches.image_files import Images
from datastage.batches.loader import Loaders, Source, build
from datastage.batches.normalize import Finishers, Pool, try_transform
from datastage.batches.options import LoaderOptions
from datastage.batches.pixel_cache import BAD, FINE, PixelCache, Submitted, drop
from datastage.batches.prefetch import decode_threads
from datastage.batches.ranks import Step, world
from datastage.batches.to_device import Made, Raw, deliver
from datastage.decode import Fit, Unreadable, size_of
from datastage.errors import SpecError
from datastage.progress import human_bytes

Samples = tuple[Sequence[str], Sequence[Any]]  # names of files, and their labels

MARGIN = 256 / 224  # photos for random-resized crops are kept so many times larger than they come out
KEPT = 4  # batches whose memory is kept: the consumer's two, the one that waits, and the one being made
LOOKED_AT = 500  # how many images' sizes are looked at before the first epoch where no size= is given
SIDES = (224, 192, 160, 128, 96, 64, 48, 32)  # of these mixed sizes are brought to the first that half of them have


def square_of(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the side of the square that photos of these sizes are brought to."""
    shorter = sorted(map(min, sizes))
    middle = shorter[(len(shorter) - 1) // 2]
    return next((side for side in SIDES if side <= middle), middle)


def from_reading(images: Images, reading: layouts.Reading, options: LoaderOptions) -> Loaders:
    """Make loaders of what a layout was read as, and say what was taken."""
    # A named folder is the part already.
    val, test = (None if isinstance(share, str) else share for share in (options.val, options.test))
    options = replace(options, classes=reading.classes, val=val, test=test)
    said: list[str] = []
    if reading.kind == "pictures":
        reading, said = layouts.parted(reading, val=val, test=test)
    for line in [*reading.lines(), *said]:
        options.reporter.note(*layouts.labelled(line))
    if reading.kind == "arrays" and reading.arrays is not None:
        return from_arrays({split: reading.arrays(split) for split in reading.splits}, options, True)
    splits: dict[str, Samples] = {
        split: (part.names, part.names if part.labels is None else part.labels)
        for split, part in reading.splits.items()
    }
    return photo_loaders(images, splits, options, reading.classes)


def photo_loaders(
    images: Images, splits: Mapping[str, Samples], options: LoaderOptions, classes: Sequence[str] = ()
) -> Loaders:
    """Make loaders of image files, given the names and labels of each split."""
    options.check_shape((3, *(options.shape or (4096, 4096))))
    splits = {split: _limited(*pair, None if split == "predict" else options.limit) for split, pair in splits.items()}
    # In one order whatever the splits are, so that another val= or test= finds the same pixels.
    wanted = sorted({name for names, _ in splits.values() for name in names})
    number = {name: i for i, name in enumerate(wanted)}
    shape, fit, crops = sizes_for(images, wanted, options)
    here = runtime.current()
    near = None if options.cache is None else near_folder(options.cache, here)
    cache = PixelCache(
        images,
        wanted,
        fit,
        last=crops,
        folder=near,
        kept=None if near == options.cache else options.cache,
        threads=decode_threads(here.cores),
        unreadable=options.unreadable,
        reporter=options.reporter,
    )
    sources: dict[str, Source] = {
        split: PhotoSource(cache, [number[name] for name in names], labels, shape)
        for split, (names, labels) in splits.items()
    }
    return build(sources, options, classes)


def _limited(names: Sequence[str], labels: Sequence[Any], limit: int | None) -> Samples:
    keep = limited(len(names), limit)
    return (names, labels) if keep is None else ([names[i] for i in keep], [labels[i] for i in keep])


def near_folder(folder: Path, here: runtime.Runtime) -> Path:
    """Return a folder for pixels that is on a disk of this machine: this one, or one in the root for it."""
    return slots.pixels_folder(staging.root_folder(None, here), folder) if mounts.is_network_disk(folder) else folder


def sizes_for(images: Any, names: Sequence[str], options: LoaderOptions) -> tuple[tuple[int, int], Fit, bool]:
    """Return the size in which photos come out, how they are kept, and whether crops are cut from what is kept."""
    shape, resized = (options.shape, True) if options.shape else size_of_all(images, names, options)
    options.check_shape((3, *shape))
    try_transform(options, (3, *shape))
    crops = options.augment is not None and options.augment.scale is not None
    kept = (round(shape[0] * MARGIN), round(shape[1] * MARGIN)) if crops and resized else shape
    return shape, Fit(kept, options.fit, odd=not resized), crops


def size_of_all(images: Any, names: Sequence[str], options: LoaderOptions) -> tuple[tuple[int, int], bool]:
    """Return the size that photos come in, and whether they are brought to it; said where they differ."""
    known = []
    for name in names[:: max(1, len(names) // LOOKED_AT)]:
        try:
            size = size_of(images.read(name))
        except (Unreadable, OSError):
            continue  # said when it is decoded
        if size is not None:
            known.append(size)
    if not known:
        raise SpecError("None of the images can be read.", "Next: open one of them by hand, to see what it is.")
    if len(set(known)) == 1:
        return known[0], False
    side = square_of(known)
    heights, widths = zip(*known)
    options.reporter.note(
        f"{side} x {side}: photos go from {min(widths)} x {min(heights)} to {max(widths)} x {max(heights)} pixels, and "
        "the middle of each is resized (size= says another)",
        "Size",
    )
    return (side, side), True


class PhotoSource:
    """A split of photos that are kept as pixels: those at these places of the cache, with these labels."""

    def __init__(self, cache: PixelCache, at: list[int], labels: Sequence[Any], size: tuple[int, int]) -> None:
        self.cache, self.at, self.labels, self.size = cache, np.array(at, np.int64), np.asarray(labels), size
        self.n = len(at)
        if (kind := self.labels.dtype.kind) != "U":  # names tell samples without labels apart
            self.labels = self.labels.astype(np.float32 if kind == "f" else np.int64)

    def lost(self, *, decode: bool) -> NDArray[np.int64]:
        """Return which samples are known to have no photo that can be read; `decode` looks at all of them."""
        if decode:
            self.cache.complete_once()
        bad = self.cache.state[self.at] == BAD
        return np.flatnonzero(bad & ~bad.all())  # where none is left the batches are the error's to tell

    def sample(self, i: int) -> NDArray[np.uint8]:
        """Return the picture of one sample as it is (H, W, 3), decoded if it was not yet."""
        return self.cache.picture(int(self.at[i]), self.size)

    def where(self, choice: Choice) -> str:
        """Say where the images are held, and who decodes them."""
        place = "in memory" if self.cache.path is None else f"in {self.cache.path}"
        state = "decoded" if self.cache.whole else f"decoded by {self.cache.decoder} as they are needed"
        return f"{len(self.cache.state):,} photos {state}, {human_bytes(self.cache.rows.nbytes)} {place}"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        """Return the engine for this device."""
        return FromPhotos(self, choice, options)


class _Begun(NamedTuple):
    """A batch whose photos are being decoded; its images are made meanwhile, unless a batch is made as a whole."""

    submitted: Submitted
    at: NDArray[np.int64]
    labels: NDArray[Any]
    draws: Draws
    images: NDArray[np.uint8] | None
    step: Step


class PhotoBatches:
    """What batches of photos share: their memory, how photos are put into it, and what is done to them at the end."""

    def __init__(
        self, size: tuple[int, int], kept: Fit, choice: Choice, options: LoaderOptions, *, last: bool, n: int
    ) -> None:
        self._choice, self._options, self._kept = choice, options, kept
        # A device turns pixels over quicker than the CPU does, so there they go as they are at hand.
        moved = choice.kind != "cpu" or options.transform is not None or options.memory_format == "channels_last"
        self._last = last and moved
        self._crops = last
        out = (*size, 3) if self._last else (3, *size)
        self._fill = options.fill(3)
        self._memory = Pool((min(options.batch_size, n), *out), np.uint8, keep=KEPT)
        self._finishers = Finishers(options, (3, *size), choice, n)

    def _empty(self, n: int, box: Any, flip: Any) -> Wholes:
        """Return a batch of `n` photos, each of which is still to be put into it."""
        out = self._memory.take()[:n]
        return Crops(out, self._kept.shape, box, flip, last=self._last) if self._crops else Wholes(out, flip)

    def _made(self, images: NDArray[np.uint8], labels: Any, draws: Draws, step: Step) -> Raw:
        if draws.cutout is not None and self._options.augment is not None:
            cut(images, draws.cutout, self._options.augment.cutout, self._fill)
        return images, labels, draws.jitter, step


class FromPhotos(PhotoBatches):
    """Batches of photos, decoded on first use."""

    def __init__(self, source: PhotoSource, choice: Choice, options: LoaderOptions) -> None:
        super().__init__(source.size, source.cache.fit, choice, options, last=source.cache.last, n=source.n)
        self._source = source
        self._resident: OnDevice | None = None

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: list[Step]) -> Iterator[Made]:
        """Give the batches of an epoch; the first decodes what it needs, and in the end what is left."""
        cache = self._source.cache
        cache.check()
        if world().size > 1 or self._choice.kind == "xla":
            cache.complete_once()  # each rank needs other photos each epoch, and static shapes know no gaps
        # Not before: the rows may be another process's now.
        self._store = None if cache.last else HostStore(cache.rows, self._options.augment, self._fill)
        if (held := self._held()) is not None:
            yield from held.epoch(samples, draws, steps)
            return
        enough = threading.Event()
        with self._finishers.lent() as finish:
            raw = self._raw(samples, draws, steps, enough)
            yield from deliver(raw, finish, self._choice, len(steps), stop=enough)

    def _raw(
        self, samples: NDArray[np.int64], draws: Draws, steps: list[Step], enough: threading.Event
    ) -> Iterator[Raw]:
        cache, waiting = self._source.cache, deque[_Begun]()
        try:
            to_do = iter(steps)
            while True:
                # Of the next batch the threads decode photos already while the last ones of this batch are waited for.
                for step in islice(to_do, 2 - len(waiting)):
                    at = slice(step.start, step.stop)
                    waiting.append(self._begun(samples[at], draws.where(at), step))
                if not waiting:
                    break
                if not cache.collect(waiting[0].submitted, enough):
                    return
                yield self._ended(waiting.popleft())
            if 2 * len(self._source.at) >= len(cache.state):
                # The other splits' photos too, so that the file of pixels is whole and kept; but a test before the
                # training does not decode all of that.
                cache.complete(enough)
            else:
                cache.publish()
        finally:
            for begun in waiting:
                drop(begun.submitted)
            cache.pause()

    def _begun(self, samples: NDArray[np.int64], draws: Draws, step: Step) -> _Begun:
        source, cache = self._source, self._source.cache
        at, labels = source.at[samples], source.labels[samples]
        if not self._crops and (cache.whole or draws.shift is not None):
            return _Begun(cache.submit(at), at, labels, draws, None, step)
        made = self._empty(len(at), draws.box, draws.flip)
        return _Begun(cache.submit(at, made.cut), at, labels, draws, made.images, step)

    def _ended(self, begun: _Begun) -> Raw:
        _, at, labels, draws, images, step = begun
        fine = self._source.cache.state[at] != BAD
        if not fine.all():
            at, labels, draws = at[fine], labels[fine], draws.where(fine)
            images = None if images is None else images[fine]
        if images is None:
            assert self._store is not None
            room = self._memory.take()[: len(at)].reshape(-1)
            return self._store.batch(at, draws, room), labels, draws.jitter, step
        return self._made(images, labels, draws, step)

    def _held(self) -> OnDevice | None:
        """Return the split as the device's memory holds it; None where it is not all decoded, or there is no room."""
        cache, source = self._source.cache, self._source
        if cache.last or self._choice.kind != "cuda" or (cache.state[source.at] != FINE).any():
            return None
        n_bytes = len(source.at) * cache.rows[0].nbytes
        if self._resident is None and has_room(n_bytes, (3, *source.size), self._choice, self._options):
            picked: Any = _Picked(cache.rows, source.at)
            self._resident = OnDevice(ArraySource(picked, source.labels), self._choice, self._options)
        return self._resident


class _Picked:
    """Some of the packed images, as an array of which a slice is copied when it is asked for."""

    def __init__(self, rows: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
        self._rows, self._at = rows, at
        self.shape = (len(at), *rows.shape[1:])

    def __getitem__(self, i: Any) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._rows[self._at[i]]
        return found
