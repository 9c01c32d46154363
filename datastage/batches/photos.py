"""From image files to loaders: a folder of class folders, or an archive of such.

Here: `from_folder`, `from_archive`, and `PackedSource`, a split of a packed file. Not here: the packed file (`packed`).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datastage.batches import folder, members
from datastage.batches.arrays import SHARE_OF_DEVICE, ArraySource, OnDevice
from datastage.batches.augment import SUBSET, Draws, random
from datastage.batches.cpu_augment import HostStore, cut
from datastage.batches.crops import Cropper, Crops, Wholes
from datastage.batches.decode import Unreadable, size_of
from datastage.batches.devices import Choice, free_bytes
from datastage.batches.folder import Listed
from datastage.batches.loader import Loaders, Source, build
from datastage.batches.machine import cores, disk_free_bytes, memory_free_bytes, near_folder
from datastage.batches.normalize import Finishers, Pool
from datastage.batches.options import LoaderOptions, options_of
from datastage.batches.packed import BAD, Packed, Submitted, drop, mixed
from datastage.batches.ranks import world
from datastage.batches.to_device import deliver
from datastage.errors import SpecError, StorageError
from datastage.reader import Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Steps = list[tuple[int, int]]
    Batches = Iterator[tuple[Any, Any]]

MARGIN = 256 / 224
"""Photos for random-resized crops are kept so many times larger than a crop comes out, as evaluation crops have it."""
KEPT = 4
"""Batches whose memory is kept for the next ones: the consumer's two, the one that waits, and the one being made."""
LOOKED_AT = 500
"""How many images' sizes are looked at before the first epoch where no ``size=`` is given."""


def from_folder(path: str | os.PathLike[str], options: LoaderOptions | None = None, **named: Any) -> Loaders:
    """Make loaders of a folder of class folders.

    The folder holds train, val (valid, validation) and test, each with a folder for each class; or class folders alone,
    of which 10 % of the images are then set aside as test. Each photo is decoded once, when it is first needed, and
    kept as pixels.

    Parameters
    ----------
    path : path
        The folder.
    options : LoaderOptions, optional
        How batches are made. Its ``cache`` may lie on Drive or be /kaggle/working: on a disk of another machine only a
        copy is kept, which is brought here first, and made when all is decoded.
    **named
        The same by their names, as `LoaderOptions` has them.

    Returns
    -------
    Loaders
        Unpacks into the splits that there are.

    Raises
    ------
    SpecError
        If an argument does not fit, there are no class folders, or sizes differ and no `size` is given.
    StorageError
        If the folder cannot be read; `NoSpaceError` if the pixels fit neither memory nor disk.
    IntegrityError
        If an image cannot be read and ``unreadable="raise"`` (when it is first needed).
    """
    root = Path(path)
    if not root.is_dir():
        raise SpecError(f"There is no folder {root}.")

    def stamp(name: str) -> str:
        try:
            stat = os.stat(f"{root}/{name}")
        except OSError as error:
            raise StorageError.of(error, "listing the images", folder.UNREAD) from error
        return f"{stat.st_size}-{stat.st_mtime_ns}"

    read = lambda name: folder.content(f"{root}/{name}")  # noqa: E731
    return _loaders(folder.walk(root), stamp, read, None, str(root), options_of(options, named))


def from_archive(reader: Reader, options: LoaderOptions | None = None, **named: Any) -> Loaders:
    """Make loaders of an archive of class folders, straight from its members: no small file is written.

    Members of a zip are read when they are first needed; any other archive is read from end to end first.

    Parameters
    ----------
    reader : Reader
        The archive; it must stay open as long as the loaders are used, or until the cache is whole.
    options, named
        As for `from_folder`.

    Returns
    -------
    Loaders
        Unpacks into the splits that there are.

    Raises
    ------
    DatastageError
        As `from_folder`; `DamagedArchiveError` if the archive cannot be listed.
    """
    listed = members.of(reader)
    names, stamps = sorted(listed.stamps), listed.stamps
    return _loaders(
        names, lambda name: stamps[name], listed.read, listed.stream, reader.name, options_of(options, named)
    )


def _loaders(
    names: Iterable[str],
    stamp: Callable[[str], str],
    read: Callable[[str], bytes] | None,
    stream: Callable[[], Iterable[tuple[str, bytes]]] | None,
    where: str,
    options: LoaderOptions,
) -> Loaders:
    size, cache, augment, reporter = options.size, options.cache, options.augment, options.reporter
    options.check_shape((3, size or 4096, size or 4096))
    listed, said = folder.split(folder.arrange(names, where), val=options.val, test=options.test)
    if said:
        reporter.note(said)
    if listed.left_out:
        reporter.note(f"{listed.left_out:,} images that lie in no class folder", "Left out")
    listed = _limited(listed, options.limit)
    # In one order whatever the splits are, so that another val= or test= finds the same packed file.
    wanted = sorted(name for pairs in listed.splits.values() for name, _ in pairs)
    number = {name: i for i, name in enumerate(wanted)}
    if size:
        shape = (size, size)
    elif read is not None:
        shape = _one_size(_read_some(wanted, read))
    else:
        assert stream is not None
        shape = _one_size(islice(stream(), LOOKED_AT))
    options.check_shape((3, *shape))
    kept = shape
    if augment is not None and augment.scale is not None:
        kept = (round(shape[0] * MARGIN), round(shape[1] * MARGIN)) if size else shape
    near = None if cache is None else near_folder(cache)
    packed = Packed(
        wanted,
        [stamp(name) for name in wanted],
        lambda i: read(wanted[i]) if read is not None else b"",
        shape=kept,
        resized=size is not None,
        last=kept != shape or (augment is not None and augment.scale is not None),
        folder=near,
        kept=None if near == cache else cache,
        workers=cores(),
        unreadable=options.unreadable,
        free_bytes=memory_free_bytes() if near is None else disk_free_bytes(near),
        reporter=reporter,
    )
    if stream is not None and read is None and not packed.whole:
        packed.fill(lambda: ((number[name], data) for name, data in stream() if name in number))
    sources: dict[str, Source] = {
        split: PackedSource.of(packed, [(number[name], label) for name, label in pairs], shape)
        for split, pairs in listed.splits.items()
    }
    return build(sources, options, listed.classes)


def _limited(listed: Listed, limit: int | None) -> Listed:
    """Keep at most `limit` images of each split, spread over it."""
    splits = {}
    for name, pairs in listed.splits.items():
        keep = list(range(len(pairs)))
        if limit is not None and limit < len(pairs):
            keep = sorted(random(0, 0, SUBSET).permutation(len(pairs))[:limit].tolist())
        splits[name] = [pairs[i] for i in keep]
    return Listed(listed.classes, splits, listed.left_out)


def _read_some(names: Sequence[str], read: Callable[[str], bytes]) -> Iterator[tuple[str, bytes]]:
    """Give names and files of images, spread over all."""
    for name in names[:: max(1, len(names) // LOOKED_AT)]:
        try:
            yield name, read(name)
        except (Unreadable, OSError):
            continue  # said when it is decoded


def _one_size(images: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """Return the size of the images, or raise `SpecError` if some looked at differ."""
    known = sorted({size for _, data in images if (size := size_of(data)) is not None})
    if not known:
        raise SpecError("None of the images can be read.", "Next: open one of them by hand, to see what it is.")
    if len(known) > 1:
        raise mixed(known)
    return known[0]


@dataclass(frozen=True)
class PackedSource:
    """A split of a packed file.

    Attributes
    ----------
    packed : Packed
        All the images.
    at : ndarray of int64
        Which of them are this split's.
    labels : ndarray of int64
        Their labels.
    size : (int, int)
        Height and width of what comes out; where the packed images are larger, boxes of them are resized.
    """

    packed: Packed
    at: NDArray[np.int64]
    labels: NDArray[np.int64]
    size: tuple[int, int]

    @property
    def n(self) -> int:
        """Samples in an epoch."""
        return len(self.labels)

    @classmethod
    def of(cls, packed: Packed, pairs: list[tuple[int, int]], size: tuple[int, int]) -> PackedSource:
        """Return the split of these (image, label)."""
        import numpy as np

        at, labels = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
        return cls(packed, at, labels, size)

    def where(self, choice: Choice) -> str:
        """Say where the images are held, and who decodes them."""
        place = "in memory" if self.packed.path is None else f"in {self.packed.path}"
        state = "decoded" if self.packed.whole else f"decoded by {self.packed.decoder} as they are needed"
        return f"{len(self.packed.state):,} photos {state}, {self.packed.rows.nbytes / 1e6:,.0f} MB {place}"

    def open(self, choice: Choice, recipe: LoaderOptions) -> Any:
        """Return the engine for this device."""
        return FromPacked(self, choice, recipe)


class _Begun(NamedTuple):
    """A batch whose photos are being decoded, and whose images are made meanwhile, unless there are none."""

    submitted: Submitted
    at: NDArray[np.int64]
    labels: NDArray[np.int64]
    draws: Draws
    images: NDArray[np.uint8] | None


class FromPacked:
    """Batches of packed photos, decoded on first use.

    Parameters
    ----------
    source, choice, recipe
        What to feed, where to, and how.
    """

    def __init__(self, source: PackedSource, choice: Choice, recipe: LoaderOptions) -> None:
        import numpy as np

        shape = (3, *source.size)
        self._source, self._choice, self._recipe = source, choice, recipe
        packed = source.packed
        self._crop: Cropper | None = None
        out = shape
        if packed.last:
            # A device turns pixels over quicker than the CPU does, so there they go as they are at hand.
            last = choice.kind != "cpu" or recipe.transform is not None or recipe.memory_format == "channels_last"
            self._crop = Cropper(source.size, cores(), last=last)
            out = (*source.size, 3) if last else shape
        self._augment, self._fill = recipe.augment, recipe.fill(3)
        self._memory = Pool((min(recipe.batch_size, source.n), *out), np.uint8, keep=KEPT)
        self._finishers = Finishers(recipe, shape, choice, source.n)
        self._resident: OnDevice | None = None

    def epoch(self, samples: NDArray[np.int64], draws: Draws, steps: Steps, seeds: list[int]) -> Batches:
        """Give the batches of an epoch; the first decodes what it needs, and in the end what is left."""
        packed = self._source.packed
        packed.check()
        if world().size > 1 or self._choice.kind == "xla":
            packed.complete_once()  # each rank needs other photos each epoch, and static shapes know no gaps
        if self._crop is None:
            # Not before: the rows may be another process's now.
            self._store = HostStore(packed.rows, self._augment, self._fill)
        if self._fits():
            return self._on_device().epoch(samples, draws, steps, seeds)
        return self._delivered(samples, draws, steps, seeds)

    def _delivered(self, samples: NDArray[np.int64], draws: Draws, steps: Steps, seeds: list[int]) -> Batches:
        enough = threading.Event()
        with self._finishers.lent() as finish:
            raw, size = self._raw(samples, draws, steps, enough), self._recipe.batch_size
            yield from deliver(raw, finish, seeds, self._choice, batch_size=size, stop=enough)

    def _raw(
        self, samples: NDArray[np.int64], draws: Draws, steps: Steps, enough: threading.Event
    ) -> Iterator[tuple[Any, Any, Any]]:
        packed, waiting = self._source.packed, deque[_Begun]()
        try:
            to_do = iter(steps)
            while True:
                # Of the next batch the threads decode photos already while the last ones of this batch are waited for.
                for start, stop in islice(to_do, 2 - len(waiting)):
                    waiting.append(self._begun(samples[start:stop], draws.part(start, stop)))
                if not waiting:
                    break
                if not packed.collect(waiting[0].submitted, enough):
                    return
                yield self._ended(waiting.popleft())
            if packed.is_most(self._source.at):  # not where a test before the training would decode all of that
                packed.complete(enough)  # the other splits' photos too, so that the packed file is whole and kept
            else:
                packed.publish()
        finally:
            for begun in waiting:
                drop(begun.submitted)

    def _begun(self, samples: NDArray[np.int64], draws: Draws) -> _Begun:
        source, packed = self._source, self._source.packed
        at, labels = source.at[samples], source.labels[samples]
        # Where some are to be decoded still, the thread that has a photo at hand makes its image too, unless that takes
        # a batch as a whole.
        if packed.whole or (self._crop is None and draws.shift is not None):
            return _Begun(packed.submit(at), at, labels, draws, None)
        crops: Crops | Wholes
        if self._crop is None:
            crops = Wholes(self._memory.take()[: len(at)], draws.flip)
        else:
            crops = self._crops(self._crop, draws, len(at))
        return _Begun(packed.submit(at, crops.cut), at, labels, draws, crops.images)

    def _crops(self, crop: Cropper, draws: Draws, n: int) -> Crops:
        return crop.begin(self._memory.take()[:n], self._source.packed.rows.shape[1:3], draws.box, draws.flip)

    def _ended(self, begun: _Begun) -> tuple[Any, Any, Any]:
        packed, at, labels, draws, images = self._source.packed, begun.at, begun.labels, begun.draws, begun.images
        fine = packed.state[at] != BAD
        if not fine.all():
            at, labels, draws = at[fine], labels[fine], draws.where(fine)
            images = None if images is None else images[fine]
        if images is None:
            if self._crop is None:
                room = self._memory.take()[: len(at)].reshape(-1)
                return self._store.batch(at, draws, room), labels, draws.jitter
            crops = self._crops(self._crop, draws, len(at))
            self._crop.finish(crops, packed.rows, at)
            images = crops.images
        if draws.cutout is not None and self._augment is not None:
            cut(images, draws.cutout, self._augment.cutout, self._fill)
        return images, labels, draws.jitter

    def _fits(self) -> bool:
        """Whether the split may move to the device: it is decoded, and there is room."""
        packed, source = self._source.packed, self._source
        if self._crop is not None or self._choice.kind != "cuda" or (packed.state[source.at] != 1).any():
            return False
        return self._resident is not None or len(source.at) * packed.rows[0].nbytes <= SHARE_OF_DEVICE * free_bytes(
            self._choice
        )

    def _on_device(self) -> OnDevice:
        if self._resident is None:
            picked: Any = _Picked(self._source.packed.rows, self._source.at)
            self._resident = OnDevice(ArraySource(picked, self._source.labels), self._choice, self._recipe)
        return self._resident


class _Picked:
    """Some of the packed images, as an array of which a slice is copied when it is asked for."""

    def __init__(self, rows: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
        self._rows, self._at = rows, at
        self.shape = (len(at), *rows.shape[1:])

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, i: Any) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._rows[self._at[i]]
        return found
