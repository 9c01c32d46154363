"""What a name tells: junk, pictures, the words for train, val and test; and what an entry of a folder is to a copy."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from typing import Any

# Pictures; of several in one sample of a shard the one whose suffix stands first is taken.
PICTURES_IN_ORDER = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".gif"),
)
PICTURE_SUFFIXES = frozenset(PICTURES_IN_ORDER)
# Those that Pillow reads where another package helps it.
HEIC = frozenset((".heic", ".heif", ".avif"))
# Files and folders that macOS and Windows add, in lower case, and as a person reads of them: never unpacked or copied.
JUNK_NAMES = {name.lower(): name for name in ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")}
# What else a layout passes over, since nothing in it is a sample: it is staged as it is.
_JUNK_FOLDERS = frozenset(
    ("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found", "@eadir", "#recycle")
    + ("#snapshot", "network trash folder", "temporary items", "thumbs", "found.000", "found.001", "desktop folder")
    + ("aptrash", "theft_protection", "@recycle", "lost.dir", "@tmp", "trash")
)
_JUNK_FILES = JUNK_NAMES.keys() | {"ehthumbs.db", "icon\r", "folder.htt", "albumart.jpg", "_ds_store"}
# The words for a split, and the split that each one means.
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# Those that the names of shards and of their folders may hold.
SHARD_WORDS = SPLIT_WORDS | {"predict": "predict"}
# Folders that hold the parts of a dataset by kind: never the name of a class, and never a wrapping to take off.
PART_WORDS = frozenset(("trainval", "images", "labels", "annotations", "masks"))
_GOOGLE = (".gdoc", ".gsheet", ".gslides", ".gdraw", ".gform", ".gmap", ".gsite", ".gjam", ".gscript")
MOST_NAME_BYTES = 255
SPECIAL = "devices, pipes and sockets"
NOWHERE = "links that lead nowhere"


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


def is_junk_folder(name: str) -> bool:
    """Whether a folder is hidden, or what systems and tools add: ``.ipynb_checkpoints``, ``__MACOSX``, ``@eaDir``."""
    return name[:1] in "._" or name.lower() in _JUNK_FOLDERS or name.lower().startswith((".trash", "found.0"))


def is_junk_file(name: str) -> bool:
    """Whether a file is hidden, or what systems add: ``._1.jpg``, ``.DS_Store``, ``_DS_Store``, ``Thumbs.db``."""
    return name[:1] == "." or name.lower() in _JUNK_FILES


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


def fitted(name: str, more: int = 0) -> str:
    """Return a file's name that leaves room for so many bytes beside it: a longer one is cut, and told by a digest.

    >>> fitted("a.csv", 9), len(fitted("é" * 200 + ".csv").encode()), fitted("b" * 300 + ".csv")[-21:]
    ('a.csv', 255, '-cca574d85fc59c9a.csv')
    """
    data, ending = os.fsencode(name), os.path.splitext(name)[1]
    if len(data) + more <= MOST_NAME_BYTES:
        return name
    end = f"-{hashlib.blake2b(data, digest_size=8).hexdigest()}{ending if len(os.fsencode(ending)) < 16 else ''}"
    return data[: MOST_NAME_BYTES - more - len(os.fsencode(end))].decode("utf-8", "ignore") + end


def lies_in(path: str, folder: str) -> bool:
    """Tell whether a whole path is that of a folder, or of something in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def split_words(name: str) -> list[str]:
    """Return the parts that the words of a shard's name say, in order; ``train-val`` is one word for train.

    >>> split_words("test_run-val-000.tar"), split_words("train-val-0.tar"), split_words("birds-0.tar")
    (['test', 'val'], ['train'], [])
    """
    text = re.sub(r"\btrain-val\b", "train", re.sub("[_.]", "-", name.lower()))
    return [SHARD_WORDS[word] for word in text.split("-") if word in SHARD_WORDS]


def split_folders(paths: Sequence[str]) -> list[str]:
    """Return of each file the word for a part among those of its folders that are not the same for all; else nothing.

    >>> split_folders(["a/train/0.tar", "a/val/0.tar", "a/more/0.tar"]), split_folders(["a/test/0.tar", "b/test/0.tar"])
    (['train', 'val', ''], ['', ''])
    """
    folders = [re.split(r"[/\\]", path.partition("?")[0])[:-1] for path in paths]
    same = len(os.path.commonprefix(folders))
    words = [[word for word in folder[same:] if word.lower() in SHARD_WORDS] for folder in folders]
    while all(words) and len({SHARD_WORDS[found[-1].lower()] for found in words}) == 1:  # it parts nothing
        words = [found[:-1] for found in words]
    return [found[-1] if found else "" for found in words]


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
        return "", NOWHERE
    if lies_in(real, root):
        return "link", os.path.relpath(real, os.path.realpath(os.path.dirname(path))).replace(os.sep, "/")
    if stat.S_ISDIR(mode):
        return ("", "links that lead in a circle") if real in above else ("folder", real)
    return ("file", "") if stat.S_ISREG(mode) else ("", SPECIAL)
