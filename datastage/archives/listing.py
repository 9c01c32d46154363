"""Look into an archive without writing: its members, or each with its content in one pass.

Here: `list_members` and `iter_members`. Not here: whether members are safe, which only writing needs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from datastage.archives import streams, tar, zip_directory, zip_members
from datastage.archives.errors import Fault, error_of
from datastage.archives.extract import no_archive, single_name
from datastage.archives.formats import sniff
from datastage.archives.records import Kind, Member
from datastage.reader import Reader


def list_members(reader: Reader, *, password: str | None = None, format: str | None = None) -> list[Member]:
    """List the members of an archive, in its order; nothing but the structure is judged.

    Parameters
    ----------
    reader : Reader
        The archive.
    password : str, optional
        For archives whose list is locked too (7z, rar).
    format : str, optional
        As `sniff` names it, where the caller has asked already.

    Returns
    -------
    list of Member
        The members. The size of one compressed file is -1, since only unpacking tells.

    Raises
    ------
    NotDataError
        If the bytes are no archive known here.
    DamagedArchiveError
        If its structure is broken.
    """
    try:
        form = format or sniff(reader)
        if form is None:
            raise no_archive(reader)
        if form == "zip":
            return [member for member, *_ in zip_directory.listing(reader)]
        if form in ("7z", "rar"):
            from datastage.archives import external_tools

            return external_tools.list_by_tool(form, reader, password)
        if form == "tar" or form.startswith("tar."):
            return [member for member, _ in _tar_members(reader, form[4:])]
        return [Member(single_name(reader, form), -1)]
    except Fault as fault:
        raise error_of(fault, reader.name) from None


def iter_members(reader: Reader, *, password: str | None = None) -> Iterator[tuple[Member, BinaryIO | None]]:
    """Give each member with its content, in one pass and in the archive's order.

    Parameters
    ----------
    reader : Reader
        The archive.
    password : str, optional
        For locked archives.

    Yields
    ------
    member : Member
        As `list_members` has it.
    stream : binary file or None
        The content of a file, valid until the next step; None for folders and links. Checksums are checked when it is
        read to its end.

    Raises
    ------
    DatastageError
        As `list_members`, and `DamagedArchiveError` from reading.
    """
    try:
        form = sniff(reader)
        if form is None:
            raise no_archive(reader)
        if form == "zip":
            yield from _zip_members(reader, password)
        elif form == "tar" or form.startswith("tar."):
            for member, pieces in _tar_members(reader, form[4:]):
                yield member, _file(pieces, reader.name) if member.kind == "file" else None
        elif form in ("7z", "rar"):
            from datastage.archives import external_tools

            yield from external_tools.iter_by_tool(form, reader, password)
        else:
            yield Member(single_name(reader, form), -1), _file(streams.decoded(form, reader.stream(0)), reader.name)
    except Fault as fault:
        raise error_of(fault, reader.name) from None


def _tar_members(reader: Reader, compression: str) -> Iterator[tuple[Member, Iterator[memoryview]]]:
    stream = streams.Bytes(streams.decoded(compression, reader.stream(0)))
    for member in tar.members(stream, needs_end=not compression):
        if member.kind == "label":
            continue
        kind: Kind = member.kind if member.kind in ("folder", "link", "hardlink") else "file"  # type: ignore[assignment]
        facts = Member(member.name, member.size, kind, member.target, None, member.mtime, member.mode)
        yield facts, _filled(member)


def _filled(member: tar.TarMember) -> Iterator[memoryview]:
    """Give the content of a tar member, holes filled."""
    if member.sparse is None:
        yield from member.pieces()
        return
    pieces = member.pieces()
    now = memoryview(b"")
    at = 0
    for offset, n in [*member.sparse, (member.size, 0)]:
        while at < offset:
            hole = min(offset - at, 1 << 20)
            yield memoryview(bytes(hole))
            at += hole
        while n:
            if not now:
                now = next(pieces)
            part, now = now[:n], now[n:]
            yield part
            n -= len(part)
            at += len(part)


def _zip_members(reader: Reader, password: str | None) -> Iterator[tuple[Member, BinaryIO | None]]:
    secret = password.encode("utf-8") if password is not None else None
    for member, entry, limit in zip_directory.listing(reader):
        if member.kind != "file":
            yield member, None
            continue
        yield member, _file(zip_members.content_of(entry, reader.read_at, limit, secret), reader.name)


class _PiecesFile(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes | memoryview], archive: str) -> None:
        super().__init__()
        self._pieces = pieces
        self._archive = archive
        self._now = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            while not self._now:
                piece = next(self._pieces, None)
                if piece is None:
                    return 0
                self._now = memoryview(piece)
        except Fault as fault:
            raise error_of(fault, self._archive) from None
        n = min(len(buffer), len(self._now))
        buffer[:n] = self._now[:n]
        self._now = self._now[n:]
        return n


def _file(pieces: Iterator[bytes] | Iterator[memoryview], archive: str) -> BinaryIO:
    return io.BufferedReader(_PiecesFile(pieces, archive), 1 << 18)
