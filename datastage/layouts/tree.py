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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from datastage.errors import SpecError, StorageError, while_doing
from datastage.file_names import HEIC, NOWHERE, PICTURE_SUFFIXES, SPECIAL, is_junk_file, is_junk_folder, lies_in
from datastage.layouts import words
from datastage.reader import FileReader, Reader

if TYPE_CHECKING:
    from datastage.archives.zip_entry import ZipEntry

UNREAD = "Next: see whether it is still there and may be read, and run the same line again."
_OURS = frozenset((".datastage.json", ".datastage-files", ".datastage.json~"))
_MOST_LINKS = 16
MOST_BYTES = 1 << 30
"""A table in a zip that unpacks to more is not read there."""


@dataclass(slots=True)
class Folder:
    """A folder: the names of its pictures, of its other files, and of the folders in it."""

    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """The folders of given data, by posix path relative to it; the data itself is ``""``."""

    where: str
    folders: dict[str, Folder]
    unread: list[str]
    size: Callable[[str], int]
    open: Callable[[str], BinaryIO]
    no_files: Counter[str] = field(default_factory=Counter)

    def files(self) -> Iterator[str]:
        """Give the path of each file that is no picture."""
        for path, folder in self.folders.items():
            for name in folder.others:
                yield self.path_of(path, name)

    def same(self, one: str, two: str) -> bool:
        """Whether two files hold the same bytes; where only names are known, whether they are of one size."""
        if self.size(one) != self.size(two):
            return False
        try:
            with self.open(one) as a, self.open(two) as b:
                while (block := a.read(1 << 20)) == b.read(1 << 20):
                    if not block:
                        return True
                return False
        except SpecError:
            return True

    def path_of(self, folder: str, name: str) -> str:
        return f"{folder}/{name}" if folder else name


def of_folder(path: str | os.PathLike[str]) -> Tree:
    """List a folder, links followed but not in circles; no file is asked for its size or time."""
    root = os.fspath(path)
    pictures = _pictures()
    usual = {*pictures, *map(str.upper, pictures)}
    tree = Tree(root, {}, [], lambda name: os.stat(f"{root}/{name}").st_size, partial(_opened, root))
    todo: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while todo:
        inside, reals = todo.pop()
        folder = Folder()
        try:
            with os.scandir(f"{root}/{inside}" if inside else root) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_symlink() and not os.path.exists(entry.path):
                        tree.no_files[NOWHERE] += 1  # or to itself
                        continue
                    if name[name.rfind(".") :] in usual and name[0] != "." and entry.is_file():
                        folder.pictures.append(name)  # the many go by this quick way
                    elif entry.is_dir():
                        if is_junk_folder(name):
                            continue
                        below = f"{inside}/{name}" if inside else name
                        if entry.is_symlink():
                            real = os.path.realpath(entry.path)
                            here = (*reals, os.path.realpath(f"{root}/{inside}"))
                            if len(here) > _MOST_LINKS or any(lies_in(one, real) for one in here):
                                continue
                            todo.append((below, (*here, real)))
                        else:
                            todo.append((below, reals))
                        folder.folders.append(name)
                    elif entry.is_file():
                        _sort_in(folder, name, pictures)
                    else:
                        tree.no_files[SPECIAL] += 1
        except OSError as error:
            if not inside or not isinstance(error, PermissionError):
                raise StorageError.of(error, "listing the files", UNREAD) from error
            tree.unread.append(inside)
        folder.folders.sort()
        tree.folders[inside] = folder
    return tree


def _opened(root: str | os.PathLike[str], name: str) -> BinaryIO:
    with while_doing(f"reading {name}", UNREAD):
        return open(os.path.join(root, name), "rb")


class ZipFiles:
    """The files in a zip, listed once and not unpacked. The reader must stay open as long as they are read."""

    most_bytes = MOST_BYTES

    def __init__(self, reader: Reader) -> None:
        from datastage.archives import zip_directory
        from datastage.archives.errors import faults_of

        self.reader = reader
        self.entries: dict[str, tuple[ZipEntry, int]] = {}
        self._names: list[str] = []
        with faults_of(reader.name):
            for member, entry, limit in zip_directory.listing(reader):
                self._names.append(member.name if member.kind == "file" else member.name.rstrip("/") + "/")
                if member.kind == "file":
                    self.entries[member.name] = (entry, limit)

    def tree(self) -> Tree:
        """Return its folders and files; any of the files can be opened."""
        return of_names(self._names, self.reader.name, self._size, self._opened)

    def whole(self, name: str) -> bytes:
        """Return a file, checked; raises `Fault`."""
        from datastage.archives import zip_members

        entry, limit = self.entries[name]
        return zip_members.read_whole(entry, self.reader.read_at, limit, None)

    def _size(self, name: str) -> int:
        return self.entries[name][0].usize if name in self.entries else -1

    def _opened(self, name: str) -> BinaryIO:
        from datastage.archives.errors import faults_of

        if self._size(name) > self.most_bytes:
            raise SpecError(
                f"{name} in {self.reader.name} is too large to be read there.", "Next: stage the archive first."
            )
        with faults_of(self.reader.name):
            return io.BytesIO(self.whole(name))


def of_archive(reader: Reader) -> Tree:
    """List an archive without unpacking it; of a zip, single members can be opened."""
    from datastage import archives

    if archives.sniff(reader) == "zip":
        return ZipFiles(reader).tree()
    sizes = {m.name: m.size for m in archives.list_members(reader) if m.kind in ("file", "hardlink")}
    return of_names(sizes, reader.name, lambda name: sizes.get(name, -1))


def of_file(path: Path) -> Tree:
    """List a single file, as if it lay alone in a folder."""
    return of_names([path.name], path.name, lambda name: path.stat().st_size, partial(_opened, path.parent))


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

    tree = Tree(where, {"": Folder()}, [], size or (lambda name: -1), opened or missing)
    folders: dict[str, Folder | None] = {"": tree.folders[""]}

    def folder_of(path: str) -> Folder | None:
        if path in folders:
            return folders[path]
        above, _, name = path.rpartition("/")
        parent = folder_of(above)
        if parent is None or is_junk_folder(name):
            folders[path] = None
            return None
        parent.folders.append(name)
        made = folders[path] = tree.folders[path] = Folder()
        return made

    for name in names:
        above, _, last = name.rpartition("/")
        folder = folder_of(above)
        if folder is not None and last:  # a name that ends in a slash is that of a folder
            _sort_in(folder, last, pictures)
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


def _sort_in(folder: Folder, name: str, pictures: frozenset[str]) -> None:
    if name[0] != "." and words.suffix_of(name) in pictures:
        folder.pictures.append(name)
    elif not is_junk_file(name):
        folder.others.append(name)


def _pictures() -> frozenset[str]:
    from importlib.util import find_spec

    return PICTURE_SUFFIXES | HEIC if find_spec("pillow_heif") else PICTURE_SUFFIXES
