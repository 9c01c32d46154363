"""Whatever `loaders` is given: arrays, what was staged, a spec, an archive or a folder of photos."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage import datasets, layouts, materialize, slots, staging, store
from datastage.batches.augment import Augment
from datastage.batches.image_files import FolderImages, Images, ParquetRows, ZipImages
from datastage.batches.options import LoaderOptions
from datastage.errors import SpecError
from datastage.file_names import SHARD_WORDS
from datastage.layouts.labels import chosen
from datastage.options import FOR_LOADERS, check_data
from datastage.reader import FileReader
from datastage.runtime import Runtime
from datastage.sources import parse
from datastage.staged import Staged, mark_used

if TYPE_CHECKING:
    from datastage.batches.loader import Loaders
    from datastage.shards.listing import ShardSet

PathLike = str | os.PathLike[str]


def open_data(
    data: Any,
    options: LoaderOptions,
    *,
    auto_augment: bool,
    cache: PathLike | None,
    cache_gb: float | None = None,
    here: Runtime,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    stage: Callable[..., Staged],
) -> Loaders:
    """Make loaders of `data`; what must be staged first is staged by ``stage(spec, **options of a request)``.

    `auto_augment` takes a catalog entry's own augmentation; `cache` is the folder for decoded photos, if one was named.
    """
    from datastage.batches.arrays import from_arrays
    from datastage.batches.photos import from_reading

    if cache_gb is not None and (not isinstance(cache_gb, Real) or cache_gb is True or not 0 < cache_gb < math.inf):
        raise SpecError(f"cache_gb={cache_gb!r:.80}: a number of gigabytes above 0 is needed.", "Next: cache_gb=50.")
    if isinstance(data, Mapping) or (isinstance(data, tuple | list) and len(data) == 2):
        if not data:
            raise SpecError("There are no arrays: the mapping is empty.", "Next: {'train': (images, labels)}.")
        _check_photos_only("arrays", options, cache, labels)
        return from_arrays(_splits_of(data), options, classes=tuple(classes or ()))
    step = "for a PyTorch Dataset or DataLoader, datastage.feed(dataset, batch_size=64)."
    check_data("loaders", data, ", or arrays", step)
    if (shards := shards_of(data, here)) is not None:
        from datastage.batches.shards import from_shards

        near = _folder(cache)
        return from_shards(shards, options, here=here, labels=labels, classes=classes, cache=near, cache_gb=cache_gb)
    if cache_gb is not None:
        raise SpecError(f"cache_gb={cache_gb!r} is for shards, and this is none.", "Next: leave cache_gb out.")
    staged, images = located(data, stage)
    asked: dict[str, Any] = {"labels": labels, "classes": classes, "val": options.val, "test": options.test}
    if images is not None:
        options = replace(options, cache=_pixels(cache, staged.path, here))
        return from_reading(images, layouts.read(images.tree(), **asked), options)
    entry = datasets.of_receipt(staged.receipt)
    if isinstance(entry, datasets.Entry):
        _check_photos_only(entry.name, options, cache, labels)
        arrays = chosen(staged.arrays, entry.classes, classes)
        own = _own_options(entry, options, auto_augment)
        given = {split: arrays(split) for split in staged.splits}
        return from_arrays(given, own, True, classes=tuple(classes or entry.classes))
    reading = layouts.of_entry(entry, staged.path, **asked)
    if entry is not None:
        options = _own_options(entry, options, auto_augment)
    if reading.kind == "arrays":
        _check_photos_only(staged.path.name, options, cache)
    else:
        options = replace(options, cache=_pixels(cache, staged.path, here))
    return from_reading(images_at(staged.path, reading), reading, options)


def shards_of(data: Any, here: Runtime) -> ShardSet | None:
    """Return the shards that data is; None if it is something else."""
    if not _may_be_shards(data):
        return None
    from datastage.shards import listing

    return listing.find(data.path if isinstance(data, Staged) else data, here)


def refuse_shards(data: Any, here: Runtime) -> None:
    """Refuse shards where data is read as a whole: their samples are known as they come."""
    if (found := shards_of(data, here)) is None:
        return
    n = sum(map(len, found.splits.values()))
    known = [shard.samples for shards in found.splits.values() for shard in shards]
    held = f" with {sum(filter(None, known)):,} samples" if known and None not in known else ""
    raise SpecError(
        f"{found.name} is {n:,} {'shard' if n == 1 else 'shards'}{held}, which are read while they are trained on.",
        f"Next: train, test = datastage.loaders({str(data)!r}, batch_size=64)",
    )


def images_at(path: Path, reading: layouts.Reading) -> Images:
    """Return the pictures of what is staged at `path` and was read so."""
    root = path if path.is_dir() else path.parent
    return (ParquetRows if reading.layout == "parquet" else FolderImages)(str(root))


def located(data: Any, stage: Callable[..., Staged]) -> tuple[Staged, ZipImages | None]:
    """Return where the data lies, staged first if need be; and its pictures, where they are read from their zip."""
    staged = data if isinstance(data, Staged) else store.staged_at(Path(data).expanduser())
    if staged is not None:
        mark_used(staged.path.parent if staged.receipt.get("single") else staged.path)
    elif parse(data).scheme == "name":
        staged = stage(data)
    else:
        # Photos are decoded straight from their zip: no small file is ever written. Of any other archive only what is
        # in it is kept, since its files can be read in one order alone.
        staged = stage(data, unpack=FOR_LOADERS)
        if staged.path.is_file() and materialize.is_archive(staged.path):
            return staged, ZipImages(FileReader(staged.path))
    return staged, None


def _own_options(
    entry: datasets.Entry | datasets.ArchiveEntry, options: LoaderOptions, auto_augment: bool
) -> LoaderOptions:
    """Add what the catalog says of a dataset, where the user says nothing else."""
    if auto_augment and entry.augment:
        own: dict[str, Any] = dict(entry.augment)
        options = replace(options, augment=Augment(**own))
    if options.mean is None and options.std is None and entry.mean:
        options = replace(options, mean=entry.mean, std=entry.std)
    return options


def _splits_of(data: Any) -> dict[str, Any]:
    """Return the parts of what is given as arrays: a mapping of them, or images and labels to train on."""
    if isinstance(data, Mapping):
        return dict(data)
    if all(map(_is_pair, data)):
        raise SpecError(
            "These are two pairs of images and labels, and what the second one is for is not said.",
            "Next: datastage.loaders({'train': pairs[0], 'test': pairs[1]}, batch_size=64), if that is the test part.",
        )
    return {"train": tuple(data)}


def _is_pair(one: Any) -> bool:
    """Whether this is images and labels, and no list of two pictures of one shape, or of the boxes of two."""
    if not isinstance(one, tuple | list) or len(one) != 2 or (ndim := getattr(one[0], "ndim", 0)) < 2:
        return False
    return ndim > 3 or one[0].shape != getattr(one[1], "shape", None)


def _check_photos_only(what: str, options: LoaderOptions, cache: PathLike | None, labels: Any = None) -> None:
    """Refuse options of folders and archives of photos for what is no such thing."""
    unreadable = None if options.unreadable == "skip" else options.unreadable
    for name, value in {"cache": cache, "unreadable": unreadable, "labels": labels}.items():
        if value is not None:
            raise SpecError(
                f"{name}={value!r:.80} is for folders and archives of photos, and {what} is none.",
                f"Next: leave {name}= out.",
            )


def _may_be_shards(data: Staged | PathLike) -> bool:
    """Whether data may lie in shards, told by names alone: most does not, and nothing for shards is imported for it."""
    text = os.fspath(data.path if isinstance(data, Staged) else data)
    if ".tar" in text or text.endswith(("/", "index.json")) or text.startswith("drive:"):
        return True
    top, found = os.path.expanduser(text), list[str]()
    with contextlib.suppress(OSError):  # whoever reads it says what is wrong with it
        found += os.listdir(top)
    for part in [name for name in found if name.lower() in SHARD_WORDS]:
        with contextlib.suppress(OSError):
            found += os.listdir(os.path.join(top, part))
    return any(name.endswith(".tar") or name == "index.json" for name in found)


def _folder(cache: PathLike | None) -> Path | None:
    return None if cache is None else Path(os.path.abspath(Path(cache).expanduser()))


def _pixels(cache: PathLike | None, path: Path, here: Runtime) -> Path:
    """Return the folder in which the photos of `path` are kept as pixels."""
    if (folder := _folder(cache)) is not None:
        return folder
    # Beside what was staged, so that `clean` finds whose they are; what is used in place has its receipt in the root.
    found = store.staged_at(path)
    root = None if found is None else (path.parent.parent if found.receipt.get("single") == path.name else path.parent)
    if root is None or not os.access(root, os.W_OK):
        root = staging.root_folder(None, here)
    return slots.pixels_folder(root, path)
