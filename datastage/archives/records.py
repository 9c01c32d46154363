"""Facts about archives: a member as it is listed, a member as it is read, the files that were written."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, overload

from datastage.reader import FileRecord

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


def _no_pieces() -> Iterator[memoryview]:
    return iter(())


@dataclass(slots=True)
class StreamMember:
    """A member of an archive that is read from front to back.

    `kind` is what `safety.Tree.admit` takes. `pieces` gives the content as stored, and may be left half-way; `sparse`
    says where the pieces belong in a file with holes. `crc` is what the archive says; who reads to the end compares it.
    """

    name: str
    kind: str = "file"
    size: int = 0
    target: str = ""
    mode: int | None = None
    mtime: float | None = None
    crc: int | None = None
    encrypted: bool = False
    sparse: list[tuple[int, int]] | None = None
    pieces: Callable[[], Iterator[memoryview]] = _no_pieces

    def facts(self) -> Member:
        """Return what a list says of it."""
        kind: Kind = self.kind if self.kind in ("folder", "link", "hardlink") else "file"  # type: ignore[assignment]
        size = 0 if kind in ("folder", "link") else self.size
        return Member(self.name, size, kind, self.target, self.crc, self.mtime, self.mode, self.encrypted)

    def content(self) -> Iterator[memoryview]:
        """Give the content with its holes filled."""
        if self.sparse is None:
            yield from self.pieces()
            return
        at, pieces, now = 0, self.pieces(), memoryview(b"")
        for offset, n in [*self.sparse, (self.size, 0)]:
            while at < offset:
                hole = memoryview(bytes(min(offset - at, 1 << 20)))
                yield hole
                at += len(hole)
            while n:
                now = now or next(pieces)
                part, now = now[:n], now[n:]
                yield part
                n -= len(part)
                at += len(part)


class Files(Sequence[FileRecord]):
    """The files and links written, in columns: a tuple for each of millions would take more than all else."""

    __slots__ = ("_targets", "crcs", "paths", "sizes")

    def __init__(self, files: Iterable[FileRecord] = ()) -> None:
        self.paths: list[str] = []
        self.sizes = array("Q")
        self.crcs = array("I")
        self._targets: dict[int, str] = {}  # of the few that are links
        for file in files:
            self.append(file)

    def append(self, file: FileRecord) -> None:
        """Take in one more."""
        if file.target is not None:
            self._targets[len(self.paths)] = file.target
        self.paths.append(file.path)
        self.sizes.append(file.size)
        self.crcs.append(file.crc32)

    def drop_earlier(self, paths: Set[str]) -> tuple[int, int]:
        """Take out all but the last record of each of these paths; return how many files and bytes that are."""
        last = {path: nth for nth, path in enumerate(self.paths) if path in paths}
        kept = [nth for nth, path in enumerate(self.paths) if last.get(path, nth) == nth]
        n_files, n_bytes = len(self), sum(self.sizes)
        self.__init__([self[nth] for nth in kept])  # type: ignore[misc]
        return n_files - len(self), n_bytes - sum(self.sizes)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, nth: int) -> FileRecord: ...

    @overload
    def __getitem__(self, nth: slice) -> list[FileRecord]: ...

    def __getitem__(self, nth: int | slice) -> FileRecord | list[FileRecord]:
        if isinstance(nth, slice):
            return [self[each] for each in range(*nth.indices(len(self)))]
        nth = range(len(self))[nth]
        return FileRecord(self.paths[nth], self.sizes[nth], self.crcs[nth], self._targets.get(nth))


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What `unpack` wrote. Names that are not UTF-8 hold surrogates: write them with ``surrogateescape``."""

    format: str
    files: Sequence[FileRecord]
    n_files: int
    n_bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    stripped: str | None = None
    encoding: str | None = None
    n_replaced: int = 0
