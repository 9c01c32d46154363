"""Look into an archive without writing: its members, or each with its content in one pass."""

from __future__ import annotations

import io
import shlex
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, BinaryIO

from datastage.archives import formats, names
from datastage.archives.errors import Fault, faults_of
from datastage.archives.records import Member, StreamMember
from datastage.archives.safety import clean
from datastage.errors import DamagedArchiveError, DatastageError, IntegrityError, NotDataError
from datastage.file_names import junk_kind
from datastage.reader import Reader


def list_members(
    reader: Reader, *, password: str | None = None, encoding: str | None = None, format: str | None = None
) -> list[Member]:
    """List the members of an archive, in its order; nothing but the structure is judged.

    `format` is what `sniff` said, where the caller has asked already. One compressed file has a size of -1.
    """
    members = _members(reader, password, encoding, wants_content=False, form=format)
    with faults_of(reader.name), closing(members):
        return [member.facts() for member in members]


def wanted_paths(
    reader: Reader, members: Sequence[str] | None, password: str | None, encoding: str | None
) -> Iterator[str]:
    """Give the paths that unpacking would write, where a list tells them; none for what is read to its end to know."""
    form = formats.sniff(reader)
    if form is None or not formats.find(form)[0].needs_file:
        return
    pick = names.chooser(members)
    for member in list_members(reader, password=password, encoding=encoding, format=form):
        if member.kind == "folder" or junk_kind(member.name):
            continue
        with suppress(Fault):  # unpacking will say it
            path = clean(member.name)
            if pick is None or pick(path):
                yield path


def iter_members(
    reader: Reader, *, password: str | None = None, encoding: str | None = None
) -> Iterator[tuple[Member, BinaryIO | None]]:
    """Give each member with its content, in one pass and in the archive's order; None for folders and links.

    A content is valid until the next step. Its checksum is checked when it is read to its end.
    """
    with faults_of(reader.name), closing(_members(reader, password, encoding)) as members:
        for member in members:
            facts = member.facts()
            yield facts, as_file(_told(member.content(), reader.name)) if facts.kind == "file" else None


def no_archive(reader: Reader) -> DatastageError:
    """Return the error for bytes that are no archive."""
    what = formats.not_data(formats.head_of(reader))
    other = formats.other_kind(reader)
    if what is not None:
        return NotDataError(
            f"{reader.name} is {what}, not an archive.", "Fetch it again from its source, and look at it there first."
        )
    if other is not None:
        return IntegrityError(
            f"{reader.name} is {other[0]}, which is not unpacked here.",
            f"Next: {other[1]} {shlex.quote(reader.name)}    in a folder of its own; then name what comes of it.",
        )
    is_named = reader.name.lower().endswith(formats.suffixes())
    return (DamagedArchiveError if is_named else NotDataError)(
        f"{reader.name} is no archive of a kind known here, or its end is missing.",
        f"Known are {formats.known()}.",
        "If it should be one of these, it was probably cut short on its way: fetch or upload it again.",
    )


def _members(
    reader: Reader,
    password: str | None,
    encoding: str | None = None,
    *,
    wants_content: bool = True,
    form: str | None = None,
) -> Generator[StreamMember, None, None]:
    form = form or formats.sniff(reader)
    if form is None:
        raise no_archive(reader)
    secret = None if password is None else password.encode()
    source = formats.Source(reader, iter(reader.stream(0)), False, secret, encoding, wants_content)
    yield from formats.members(form, source)


def _told(pieces: Iterator[memoryview], archive: str) -> Iterator[memoryview]:
    with faults_of(archive):
        yield from pieces


class _PiecesFile(io.RawIOBase):
    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        super().__init__()
        self._pieces: Iterator[bytes | memoryview] = filter(None, pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


def as_file(pieces: Iterable[bytes | memoryview]) -> BinaryIO:
    """Return pieces of bytes as a file, whose `read` gives exactly what is asked, fewer only at the end."""
    return io.BufferedReader(_PiecesFile(pieces), 1 << 18)
