"""Read a folder of pictures whose folders are the classes, all of one size.

Here: the names, and pictures as one array for `Staged.arrays`. Not here: large sets, mixed sizes and unreadable files,
which `batches` feeds without holding them all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from datastage.errors import IntegrityError, MissingDependencyError, SpecError

if TYPE_CHECKING:
    from datastage.entry import Arrays

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_MOST_BYTES = 4 << 30


def splits_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each split: those called train, val, test (any case), or the folder itself as ``"train"``.

    Empty if there are no class folders with pictures.
    """
    found = {_SPLITS[path.name.lower()]: path for path in _folders(folder) if path.name.lower() in _SPLITS}
    if "train" not in found:
        found = {"train": folder}
    return {split: found[split] for split in ("train", "val", "test") if split in found and classes_of(found[split])}


def classes_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders in the folder of a split, in alphabetical order."""
    return tuple(sorted(path.name for path in _folders(folder) if _has_picture(path)))


def read_pictures(folder: Path, split: str) -> Arrays:
    """Read the pictures of a split into one array.

    Parameters
    ----------
    folder : Path
        The folder that holds the splits or the classes.
    split : str
        One of `splits_of`.

    Returns
    -------
    images : ndarray of uint8, shape (N, H, W, 3) or (N, H, W, 1)
        RGB, or grey if all are grey; intensities 0 to 255; in the order of the names.
    labels : ndarray of int64, shape (N,)
        The number of the class in `classes_of` the training split.

    Raises
    ------
    SpecError
        If there is no such split, the pictures differ in size, or they would take more than 4 GiB.
    IntegrityError
        If a picture cannot be read.
    MissingDependencyError
        If Pillow is not installed.
    """
    import numpy as np

    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("Reading pictures needs Pillow.", "Next: pip install pillow") from None
    folders = splits_of(folder)
    if split not in folders:
        raise SpecError(f"There is no split {split!r}.", f"Next: one of {', '.join(folders) or 'none'}.")
    classes = classes_of(folders["train"])
    images, labels = [], []
    shape: tuple[int, ...] = ()
    for number, name in enumerate(classes):
        for path in sorted((folders[split] / name).rglob("*")):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            try:
                with Image.open(path) as picture:
                    grey = picture.mode in ("1", "L", "I", "I;16")
                    image = np.asarray(picture.convert("L" if grey else "RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise IntegrityError(
                    f"{path.relative_to(folder)} cannot be read: {error}.", "Next: datastage.loaders skips such files."
                ) from None
            if shape and image.shape[:2] != shape[:2]:
                raise SpecError(
                    f"The pictures differ in size: {shape[1]} x {shape[0]} and {image.shape[1]} x {image.shape[0]}.",
                    "Next: datastage.loaders(path, batch_size=64, size=128) makes them one size.",
                )
            shape = image.shape
            images.append(image)
            labels.append(number)
            if len(images) * image.size > _MOST_BYTES:
                raise SpecError("These pictures are too many for one array.", "Next: datastage.loaders(path, ...).")
    if not all(image.ndim == 2 for image in images):
        images = [np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image for image in images]
        return np.stack(images), np.array(labels, np.int64)
    return np.stack(images)[..., np.newaxis], np.array(labels, np.int64)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith((".", "_")))


def _has_picture(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in SUFFIXES for entry in entries)
