"""What is in given data by name: its folders and files, from a folder or from an archive's list, junk left out.

Only names are looked at; the few files that say something about the others are opened by whoever reads them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from datastage.errors import SpecError, StorageError
from datastage.layouts import words
from datastage.reader import FileReader, Reader

UNREAD = "Next: see whether it is still there and may be read, and run the same line again."
_OURS = frozenset((".datastage.json", ".datastage-files", ".datastage.json~"))
_MOST_LINKS = 16
MOST_BYTES = 1 << 30
"""A table in a zip that unpacks to more is not read there."""


@dataclass(slots=True)
class Folder:
    """A folder: the names of its pictures, of its other files, and of the folders in it."""

    path: str
    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Tree:
    """The folders of given data, by posix path relative to it; the data itself is ``""``."""

    where: str
    folders: dict[str, Folder]
    junk: Counter[str]
    unread: list[str]
    size: Callable[[str], int]
    open: Callable[[str], BinaryIO]

    def files(self) -> Iterator[str]:
        """Give the path of each file that is no picture."""
        for path, folder in self.folders.items():
            for name in folder.others:
                yield f"{path}/{name}" if path else name

    def path_of(self, folder: str, name: str) -> str:
        """Return the path of a file in a folder."""
        return f"{folder}/{name}" if folder else name


def of_folder(path: str | os.PathLike[str]) -> Tree:
    """List a folder, links followed but not in circles; no file is asked for its size or time."""
    root = os.fspath(path)
    pictures = _pictures()
    usual = {*pictures, *map(str.upper, pictures)}
    tree = Tree(
        root,
        {},
        Counter(),
        [],
        lambda name: os.stat(f"{root}/{name}").st_size,
        lambda name: open(f"{root}/{name}", "rb"),
    )
    todo: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while todo:
        inside, reals = todo.pop()
        folder = Folder(inside)
        try:
            with os.scandir(f"{root}/{inside}" if inside else root) as entries:
                for entry in entries:
                    name = entry.name
                    if name[name.rfind(".") :] in usual and name[0] != "." and entry.is_file():
                        folder.pictures.append(name)  # the many go by this quick way
                    elif entry.is_dir():
                        if words.is_junk_folder(name):
                            tree.junk[f"{name}/"] += 1
                            continue
                        below = f"{inside}/{name}" if inside else name
                        if entry.is_symlink():
                            real = os.path.realpath(entry.path)
                            here = (*reals, os.path.realpath(f"{root}/{inside}"))
                            if len(here) > _MOST_LINKS or any(_holds(real, one) for one in here):
                                tree.junk["links to a folder around them"] += 1
                                continue
                            todo.append((below, (*here, real)))
                        else:
                            todo.append((below, reals))
                        folder.folders.append(name)
                    elif entry.is_file():
                        _sort_in(folder, name, pictures, tree.junk)
        except PermissionError as error:
            if not inside:
                raise StorageError.of(error, "listing the files", UNREAD) from error
            tree.unread.append(inside)
        except OSError as error:
            raise StorageError.of(error, "listing the files", UNREAD) from error
        folder.folders.sort()
        tree.folders[inside] = folder
    return tree


def of_archive(reader: Reader) -> Tree:
    """List an archive without unpacking it; of a zip, single members can be opened."""
    from datastage import archives
    from datastage.archives import zip_directory, zip_members
    from datastage.archives.errors import faults_of

    if archives.sniff(reader) != "zip":
        listed = archives.list_members(reader)
        sizes = {member.name: member.size for member in listed if member.kind in ("file", "hardlink")}
        return of_names(sizes, reader.name, lambda name: sizes.get(name, -1))
    names: list[str] = []
    entries = {}
    with faults_of(reader.name):
        for member, entry, limit in zip_directory.listing(reader):
            names.append(member.name if member.kind == "file" else member.name.rstrip("/") + "/")
            if member.kind == "file":
                entries[member.name] = (entry, limit)

    def opened(name: str) -> BinaryIO:
        entry, limit = entries[name]
        if entry.usize > MOST_BYTES:
            raise SpecError(f"{name} in {reader.name} is too large to be read there.", "Next: stage the archive first.")
        with faults_of(reader.name):
            return io.BytesIO(zip_members.read_whole(entry, reader.read_at, limit, None))

    return of_names(names, reader.name, lambda name: entries[name][0].usize if name in entries else -1, opened)


def of_names(
    names: Iterable[str],
    where: str,
    size: Callable[[str], int] | None = None,
    opened: Callable[[str], BinaryIO] | None = None,
) -> Tree:
    """Make a tree of the paths of files, such as those of an archive's members."""
    pictures = _pictures()

    def missing(name: str) -> BinaryIO:
        raise SpecError(f"{name} cannot be read where only names are known.")

    tree = Tree(where, {"": Folder("")}, Counter(), [], size or (lambda name: -1), opened or missing)
    folders: dict[str, Folder | None] = {"": tree.folders[""]}

    def folder_of(path: str) -> Folder | None:
        if path in folders:
            return folders[path]
        above, _, name = path.rpartition("/")
        parent = folder_of(above)
        if parent is None or words.is_junk_folder(name):
            if parent is not None:
                tree.junk[f"{name}/"] += 1
            folders[path] = None
            return None
        parent.folders.append(name)
        made = folders[path] = tree.folders[path] = Folder(path)
        return made

    for name in names:
        above, _, last = name.rpartition("/")
        folder = folder_of(above)
        if folder is not None and last:  # a name that ends in a slash is that of a folder
            _sort_in(folder, last, pictures, tree.junk)
    for made in tree.folders.values():
        made.folders.sort()
    return tree


def of(data: str | os.PathLike[str]) -> Tree:
    """List a folder or an archive."""
    if os.path.isdir(data):
        return of_folder(data)
    try:
        return of_archive(FileReader(Path(data)))  # closed when the tree is let go of, since members may be opened
    except FileNotFoundError:
        raise SpecError(f"There is no file or folder {data}.") from None


def stamp_of(path: Path) -> str:
    """Return what changes when files come or go in the upper folders of staged data; empty for a single file."""
    seen: list[str] = []
    todo = [(path, 0)]
    while todo and len(seen) < 5000:
        folder, depth = todo.pop()
        try:
            with os.scandir(folder) as entries:
                inner = sorted((entry for entry in entries if entry.name not in _OURS), key=lambda entry: entry.name)
        except OSError:
            return ""
        for entry in inner:
            if entry.is_dir(follow_symlinks=False):
                seen.append(f"{entry.name} {entry.stat().st_mtime_ns}")
                if depth < 2:
                    todo.append((Path(entry.path), depth + 1))
            elif not depth:
                seen.append(entry.name)
    return hashlib.sha256("\n".join(seen).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _sort_in(folder: Folder, name: str, pictures: frozenset[str], junk: Counter[str]) -> None:
    dot = name.rfind(".")
    if name[0] == ".":
        if name not in _OURS:
            junk["._*" if name[:2] == "._" else name if name == ".DS_Store" else "hidden files"] += 1
    elif dot > 0 and name[dot:].lower() in pictures:
        folder.pictures.append(name)
    elif words.is_junk_file(name):
        junk[name] += 1
    else:
        folder.others.append(name)


def _pictures() -> frozenset[str]:
    from importlib.util import find_spec

    return words.PICTURES | words.HEIC if find_spec("pillow_heif") else words.PICTURES


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
