"""The facts about archives that callers see: a member, a file that was unpacked, and the result of unpacking.

Not here: how they come about.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, overload

Kind = Literal["file", "folder", "link", "hardlink"]


@dataclass(frozen=True, slots=True)
class Member:
    """One file, folder or link in an archive, as the archive has it; nothing about it has been judged.

    Attributes
    ----------
    name : str
        The name, decoded. Bytes that are no text stand as Python spells them (``surrogateescape``).
    size : int
        Bytes when unpacked; 0 for folders and links, -1 where only unpacking tells.
    kind : "file", "folder", "link" or "hardlink"
        What it is.
    target : str
        Where a link leads.
    crc : int or None
        The CRC-32 of the content, where the archive keeps it.
    mtime : float or None
        Seconds since 1970.
    mode : int or None
        Unix permissions; None if the archive keeps none.
    encrypted : bool
        Whether a password is needed.
    """

    name: str
    size: int
    kind: Kind = "file"
    target: str = ""
    crc: int | None = None
    mtime: float | None = None
    mode: int | None = None
    encrypted: bool = False


class UnpackedFile(NamedTuple):
    """One file or link that was written."""

    path: str
    size: int
    crc32: int
    kind: str = "file"
    target: str = ""


class Files(Sequence[UnpackedFile]):
    """The files and links written, in little memory: there may be millions, and their paths are long enough.

    Attributes
    ----------
    paths : list of str
        Their paths.
    sizes, crcs : arrays of int
        Their sizes and CRC-32.
    """

    __slots__ = ("_links", "crcs", "paths", "sizes")

    def __init__(self, files: Iterable[UnpackedFile] = ()) -> None:
        self.paths: list[str] = []
        self.sizes = array("Q")
        self.crcs = array("I")
        self._links: dict[int, tuple[str, str]] = {}  # kind and target of the few that are no plain files
        for file in files:
            self.append(file)

    def append(self, file: UnpackedFile) -> None:
        """Take in one more."""
        if file.kind != "file":
            self._links[len(self.paths)] = (file.kind, file.target)
        self.paths.append(file.path)
        self.sizes.append(file.size)
        self.crcs.append(file.crc32)

    def pop(self) -> UnpackedFile:
        """Take the last one out."""
        file = self[-1]
        self._links.pop(len(self.paths) - 1, None)
        for column in (self.paths, self.sizes, self.crcs):
            column.pop()
        return file

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, nth: int) -> UnpackedFile: ...

    @overload
    def __getitem__(self, nth: slice) -> list[UnpackedFile]: ...

    def __getitem__(self, nth: int | slice) -> UnpackedFile | list[UnpackedFile]:
        if isinstance(nth, slice):
            return [self[each] for each in range(*nth.indices(len(self)))]
        kind, target = self._links.get(nth % len(self) if self.paths else 0, ("file", ""))
        return UnpackedFile(self.paths[nth], self.sizes[nth], self.crcs[nth], kind, target)

    def __setitem__(self, nth: int, file: UnpackedFile) -> None:
        self._links.pop(nth, None)
        if file.kind != "file":
            self._links[nth] = (file.kind, file.target)
        self.paths[nth], self.sizes[nth], self.crcs[nth] = file.path, file.size, file.crc32


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What `unpack` wrote.

    Attributes
    ----------
    format : str
        As `sniff` names it.
    files : sequence of UnpackedFile
        Every file and link with its path relative to the folder (``/`` between parts), size and CRC-32. A hard link is
        listed as the file that it is. Names that are not UTF-8 hold surrogates: write them with ``surrogateescape``.
    n_files, n_bytes : int
        How many files and links, and bytes in files.
    left_out : mapping of str to int
        Junk left out, by kind: ``{"__MACOSX": 12}``.
    stripped : str or None
        The one top folder that was taken off.
    encoding : str or None
        The encoding guessed for names, where one was guessed.
    """

    format: str
    files: Sequence[UnpackedFile]
    n_files: int
    n_bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    stripped: str | None = None
    encoding: str | None = None
