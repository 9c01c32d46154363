"""What a name tells: junk, pictures, the words for train, val and test; and what an entry of a folder is to a copy."""

from __future__ import annotations

import os
import re
import stat
from typing import Any

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
_GOOGLE = (".gdoc", ".gsheet", ".gslides", ".gdraw", ".gform", ".gmap", ".gsite", ".gjam", ".gscript")
SPECIAL = "devices, pipes and sockets"


def junk_kind(path: str) -> str | None:
    """Return the kind of junk that a posix path is, such as ``"__MACOSX"``; None for what is data.

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


def no_data_kind(name: str) -> str | None:
    """Return the kind of what a copy of a folder leaves out by its name alone; None for what it copies."""
    if name == ".ipynb_checkpoints":
        return name
    return "Google documents, which are no files" if name.lower().endswith(_GOOGLE) else junk_kind(name)


def is_split(name: str) -> bool:
    """Whether a folder's name says that it holds a split, and nothing else.

    >>> is_split("Training_Set"), is_split("valid"), is_split("test tubes")
    (True, True, False)
    """
    return re.sub("[-_ ]?(set|images|data)$", "", name.lower()) in SPLIT_WORDS


def lies_in(path: str, folder: str) -> bool:
    """Tell whether a whole path is that of a folder, or of something in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def kind_of(entry: os.DirEntry[Any], root: str, above: frozenset[str]) -> tuple[str, str]:
    """Return what an entry of a folder below `root` is to a copy of it, and what is known of it then.

    A ``"link"`` stays within `root`: its target. A ``"folder"``: its real path where a link leads to it, which is none
    of those `above`. A ``"file"``: nothing. ``""`` is left out: what it is, in words.
    """
    if not entry.is_symlink():
        is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
        return "folder" if is_folder else "file" if is_file else "", "" if is_folder or is_file else SPECIAL
    path = os.fsdecode(entry.path)
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except OSError:
        return "", "links that lead nowhere"
    if lies_in(real, root):
        return "link", os.path.relpath(real, os.path.realpath(os.path.dirname(path))).replace(os.sep, "/")
    if stat.S_ISDIR(mode):
        return ("", "links that lead in a circle") if real in above else ("folder", real)
    return ("file", "") if stat.S_ISREG(mode) else ("", SPECIAL)
