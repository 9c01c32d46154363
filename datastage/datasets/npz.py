"""Read npz files: arrays by name, never a pickle.

Here: which arrays are images and which labels, by the names that people give them. Not here: zip files as such.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, SpecError

if TYPE_CHECKING:
    from datastage.entry import Arrays

_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_IMAGES = ("x", "images", "image", "data", "features")
_LABELS = ("y", "labels", "label", "targets", "target")


def splits_of(path: Path) -> tuple[str, ...]:
    """Return the splits that a file's names tell: ``x_train`` and ``y_train``, ``train_images``, or ``x`` and ``y``."""
    return tuple(_pairs(path))


def read_npz(path: Path, split: str) -> Arrays:
    """Read a split of an npz file.

    Parameters
    ----------
    path : Path
        The file.
    split : str
        One of `splits_of`.

    Returns
    -------
    images : ndarray
        uint8 of shape (N, H, W, C), where (N, H, W) gets a last axis of one; or float32 of shape (N, D).
    labels : ndarray of int64, shape (N,)
        As in the file; one column is taken as a row.

    Raises
    ------
    SpecError
        If there is no such split, or the shapes are not those of images or a table.
    IntegrityError
        If the file is damaged, or holds Python objects, which only running a pickle could read: it is not run.
    """
    import numpy as np

    pairs = _pairs(path)
    if split not in pairs:
        raise SpecError(f"{path.name} has no split {split!r}.", f"Next: one of {', '.join(pairs)}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = (arrays[name] for name in pairs[split])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise IntegrityError(
                f"{path.name} holds Python objects, which could run code when read: they were not read.",
                "Next: save plain numbers with numpy.savez.",
            ) from None
        raise IntegrityError(f"{path.name} is damaged: {error}.", "Next: look where the file came from.") from None
    return _checked(path, images, labels)


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    """Name the arrays of images and labels for each split, from the names alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise IntegrityError(f"{path.name} is not an npz file: {error}.", "Next: look where it came from.") from None
    lower = {name.lower(): name for name in names}
    pairs: dict[str, tuple[str, str]] = {}
    for split, words in _SPLITS.items():
        for word in words:
            images = next((lower[f] for i in _IMAGES for f in (f"{i}_{word}", f"{word}_{i}") if f in lower), None)
            labels = next((lower[f] for i in _LABELS for f in (f"{i}_{word}", f"{word}_{i}") if f in lower), None)
            if images and labels:
                pairs.setdefault(split, (images, labels))
    if not pairs:
        images = next((lower[name] for name in _IMAGES if name in lower), None)
        labels = next((lower[name] for name in _LABELS if name in lower), None)
        if images and labels:
            pairs["train"] = (images, labels)
    if not pairs:
        raise SpecError(
            f"{path.name} has the arrays {', '.join(names[:8])}: none is called images or labels.",
            "Next: numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...).",
        )
    return pairs


def _checked(path: Path, images: Any, labels: Any) -> Arrays:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or len(labels) != len(images):
        raise SpecError(
            f"{path.name}: labels of shape {labels.shape} and type {labels.dtype} do not go with {images.shape}.",
            "Next: one whole number for each image.",
        )
    if images.dtype == np.uint8 and images.ndim == 3:
        images = images[..., np.newaxis]
    elif images.dtype == np.uint8 and images.ndim == 4:
        if images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
            images = images.transpose(0, 2, 3, 1)
    elif images.ndim == 2 and images.dtype.kind in "iuf":
        images = images.astype(np.float32)
    else:
        raise SpecError(
            f"{path.name}: {images.shape} of {images.dtype} is neither images (uint8, N x H x W x C) nor a table.",
            "Next: save images as uint8, from 0 to 255.",
        )
    return np.ascontiguousarray(images), labels.astype(np.int64)
