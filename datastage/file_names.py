"""What a name alone tells: junk that systems add, picture suffixes, the words for train, val and test."""

from __future__ import annotations

import re

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
# Files and folders that macOS and Windows add, in lower case, and how a person reads of them.
JUNK_NAMES = {name.lower(): name for name in ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")}
# The words for a split, and the split that each one means.
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# Folders that hold the parts of a dataset by kind: never the name of a class, and never a wrapping to take off.
PART_WORDS = frozenset(("trainval", "images", "labels", "annotations", "masks"))


def junk_kind(path: str) -> str | None:
    """Return the kind of junk that a posix path is, such as ``"__MACOSX"``; None for what is data.

    Examples
    --------
    >>> junk_kind("a/__MACOSX/b.jpg"), junk_kind("a/._b.jpg"), junk_kind("a/b.jpg")
    ('__MACOSX', '._*', None)
    """
    lower = path.lower()
    if "__macosx" in lower and "__macosx" in lower.split("/"):
        return "__MACOSX"
    leaf = lower[lower.rfind("/") + 1 :]
    if leaf in JUNK_NAMES:
        return JUNK_NAMES[leaf]
    return "._*" if leaf.startswith("._") and len(leaf) > 2 else None


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name holds, ``train``, ``val`` or ``test``; None if it says none.

    Examples
    --------
    >>> split_of("Training_Set"), split_of("valid"), split_of("cats")
    ('train', 'val', None)
    """
    return SPLIT_WORDS.get(re.sub("[-_ ]?(set|images|data)$", "", name.lower()))
