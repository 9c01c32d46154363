"""Facts about archives: a member as it is listed, a member as it is read, the files that were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from datastage.archives.safety import Tree
from datastage.archives.write import HOLE
from datastage.reader import FileRecords

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
    pieces: Callable[[], Iterator[memoryview]] = lambda: iter(())

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
                yield (hole := HOLE[: offset - at])
                at += len(hole)
            while n:
                now = now or next(pieces)
                part, now = now[:n], now[n:]
                yield part
                n -= len(part)
                at += len(part)


@dataclass(slots=True)
class Unpacked:
    """What came of one archive. Names that are not UTF-8 hold surrogates: write them with ``surrogateescape``.

    `folders` come with their times, `links` with their targets. `skipped` are hard links that were not picked.
    """

    tree: Tree
    format: str = ""
    files: FileRecords = field(default_factory=FileRecords)
    folders: list[tuple[str, int | None]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    stripped: str | None = None
    encoding: str | None = None
    n_replaced: int = 0
