"""Find the central directory of a zip, and judge that there is just one way to read it (APPNOTE 6.3.10).

The rules: Z-END (no end record, or one that does not fit), Z-AMBIGUOUS (two readings).
"""

from __future__ import annotations

import bisect
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from datastage.archives import names, zip_entry
from datastage.archives.errors import LONE_PART, Fault
from datastage.archives.records import Kind, StreamMember
from datastage.archives.zip_entry import ENTRY_BYTES, LOCAL_BYTES, ZipEntry
from datastage.reader import Reader

_END = struct.Struct("<4sHHHHLLH")  # APPNOTE 4.3.16
_END64 = struct.Struct("<4sQHHLLQQQQ")  # 4.3.14
_LENGTHS = struct.Struct("<4s24xHHH")  # of an entry: its mark, and the lengths of name, extra field and comment
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END_BYTES, _END64_BYTES, _LOCATOR_BYTES = 22, 56, 20
# The longest comment, and as much again for what a careless server or tape may have put behind.
_TAIL_BYTES = 2 * 65_536 + _END_BYTES
_MAX_READINGS = 64
_LOCKED_VERSION = 62  # what it takes to read a directory that is locked, 4.4.3.2
MAX_DIRECTORY_BYTES = 4 << 30
PART_ENTRIES = 2048
_READ_BYTES = 1 << 20


# --- the directory ---


@dataclass(frozen=True, slots=True)
class Directory:
    """The central directory of an archive; read by parts, since that of a million members is 100 MB.

    `shift` is the length of what stands before the archive, `ats` says where each entry begins. With `wraps` offsets
    may have begun anew past 4 GB.
    """

    reader: Reader
    start: int
    size: int
    shift: int
    wraps: bool
    ats: Any
    encoding: str | None = None

    def parts(self) -> Iterator[tuple[bytes, int, Any]]:
        """Give some entries at a time: their bytes, where these begin in the directory, and where each entry does."""
        for nth in range(0, len(self.ats), PART_ENTRIES):
            ats = self.ats[nth : nth + PART_ENTRIES]
            end = self.ats[nth + PART_ENTRIES] if nth + PART_ENTRIES < len(self.ats) else self.size
            yield self._read(ats[0], end - ats[0]), ats[0], ats

    def entries(self) -> Iterator[tuple[int, ZipEntry]]:
        """Give every entry, and where it begins."""
        for data, base, ats in self.parts():
            yield from ((at, ZipEntry(data, at - base)) for at in ats)

    def entry(self, at: int, offset: int | None = None) -> ZipEntry:
        """Return one entry; the member begins at `offset` where that is known better."""
        return ZipEntry(self._read(at, zip_entry.entry_bytes(self._read(at, ENTRY_BYTES))), 0, offset)

    def _read(self, at: int, n: int) -> bytes:
        data = self.reader.read_at(self.start + at, n)
        if len(data) < n:
            raise Fault("Z-END", "has a directory that is cut short")
        return data

    def unwrapped_offsets(self) -> dict[int, int] | None:
        """Return the true offset of each entry where offsets began anew past 4 GB; None where they did not."""
        if not self.wraps:
            return None
        return zip_entry.unwrapped_offsets(self.reader.read_at, self.entries, self.start)


def find_directory(reader: Reader) -> Directory:
    """Find the central directory and judge that there is just one way to read it."""
    size = reader.size
    assert size is not None
    tail_at = max(0, size - _TAIL_BYTES)
    tail = reader.read_at(tail_at, size - tail_at)
    found: Directory | None = None
    members: _Extents | None = None
    why = Fault("Z-END", "has no end record: it is no zip, or its end is missing")
    n_tried = behind = 0
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        record = tail[at : at + _END_BYTES]
        if len(record) < _END_BYTES or (members is not None and members.hold(tail_at + at)):
            continue  # what lies in a member is no second reading: a zip in a zip
        n_tried += 1
        if n_tried > _MAX_READINGS:
            raise Fault("Z-AMBIGUOUS", "has too many end records")
        try:
            other = _read_directory(reader, tail_at + at, record)
        except Fault as fault:
            if n_tried == 1:
                why, behind = fault, at
            continue
        if found is None or members is None:
            if behind >= at + _END_BYTES + _END.unpack(record)[-1]:
                raise why  # the archive's own end is damaged: this is that of an archive in it
            found, members = other, _Extents(other)
        elif (other.start, other.size, other.shift) != (found.start, found.size, found.shift):
            raise Fault("Z-AMBIGUOUS", "can be read in two ways, with different members")
    if found is None:
        if why.rule == "Z-END" and n_tried == 0 and reader.read_at(0, 4) == b"PK\7\x08":  # as its first part begins
            why = Fault("P-PART", LONE_PART)
        raise why
    if found.shift and reader.read_at(0, 4) == b"PK\3\4":
        raise Fault("Z-END", "begins as a zip whose end is missing: an archive in it has an end of its own")
    if found.start and not found.ats:
        raise Fault("Z-END", f"has an end record that names no member, and {found.start:,} bytes before it")
    return found


def _read_directory(reader: Reader, end_at: int, record: bytes) -> Directory:
    """Return the directory that one end record leads to; a fault if it does not fit."""
    _, disk, _, _, count, cd_size, cd_offset, _ = _END.unpack(record)
    cd_end = end_at
    try:
        end64 = _read_end64(reader, end_at)
    except Fault:
        if count == 0xFFFF or 0xFFFFFFFF in (cd_size, cd_offset):
            raise
        end64 = None  # a name or a comment that ends in the mark of a locator
    if end64 is not None:
        cd_end, disk, count64, cd_size64, cd_offset64 = end64
        # Some read the one and some the other: where both say something, it must be the same.
        if (
            count not in (0xFFFF, count64)
            or cd_size not in (0xFFFFFFFF, cd_size64)
            or cd_offset not in (0xFFFFFFFF, cd_offset64)
        ):
            raise Fault("Z-END", "has two end records that lead to different members")
        count, cd_size, cd_offset = count64, cd_size64, cd_offset64
    if disk not in (0, 0xFFFF) or (disk == 0xFFFF and end64 is None):
        raise Fault("P-PART", LONE_PART)
    start = cd_end - cd_size
    shift = start - cd_offset
    wraps = end64 is None and shift >= zip_entry.WRAP and shift % zip_entry.WRAP == 0
    if wraps:
        shift = 0
    if start < 0 or shift < 0 or cd_size > MAX_DIRECTORY_BYTES:
        raise Fault("Z-END", "has an end record that does not fit: part of the archive is missing")
    if cd_size and reader.read_at(start, 4) != b"PK\1\2":
        if end64 is not None and reader.read_at(end64[0] + 14, 1)[0] >= _LOCKED_VERSION:
            raise Fault("Z-METHOD", "has a directory that is locked by PKWARE's encryption, which nothing here undoes")
        raise Fault("Z-END", "has no directory where its end record says")
    ats = _entry_places(reader, start, cd_size)
    if len(ats) != count and (end64 is not None or len(ats) % 65_536 != count):
        raise Fault("Z-END", f"has a directory of {len(ats):,}, and its end record counts {count:,}")
    return Directory(reader, start, cd_size, shift, wraps, ats)


def _read_end64(reader: Reader, end_at: int) -> tuple[int, int, int, int, int] | None:
    """Return where the zip64 end record begins, its disk, count, size and offset; None if there is none."""
    if end_at < _LOCATOR_BYTES + _END64_BYTES:
        return None
    locator = reader.read_at(end_at - _LOCATOR_BYTES, _LOCATOR_BYTES)
    if locator[:4] != b"PK\6\7":
        return None
    # The record stands right before its locator, whatever the locator says: a prefix makes it lie.
    at = end_at - _LOCATOR_BYTES - _END64_BYTES
    record = reader.read_at(at, _END64_BYTES)
    if record[:4] != b"PK\6\6" or _END64.unpack(record)[1] != _END64_BYTES - 12:
        at = _LOCATOR.unpack(locator)[2]  # a longer record; only an honest locator leads there
        record = reader.read_at(at, _END64_BYTES) if at < end_at - _LOCATOR_BYTES - _END64_BYTES else b""
        if record[:4] != b"PK\6\6" or at + 12 + _END64.unpack(record)[1] != end_at - _LOCATOR_BYTES:
            raise Fault("Z-END", "has a zip64 end record that is not where it should be")
    _, _, _, _, disk, _, _, count, size, offset = _END64.unpack(record)
    return at, disk, count, size, offset


def _entry_places(reader: Reader, start: int, size: int) -> Any:
    """Return where each entry of a directory begins; a fault if they, and a signature of them, do not fill it."""
    ats = array("Q")
    append, lengths = ats.append, _LENGTHS.unpack_from
    data, base, at = b"", 0, 0
    while at + ENTRY_BYTES <= size:
        if at + ENTRY_BYTES > base + len(data):
            base, data = at, reader.read_at(start + at, min(_READ_BYTES, size - at))
            if len(data) < ENTRY_BYTES:
                break
        mark, n_name, n_extra, n_comment = lengths(data, at - base)
        if mark != b"PK\1\2":
            break
        append(at)
        at += ENTRY_BYTES + n_name + n_extra + n_comment
    if at + 6 <= size:
        signature = reader.read_at(start + at, 6)
        if signature[:4] == b"PK\5\5":  # 4.3.13; nobody checks it, and few write it
            at += 6 + int.from_bytes(signature[4:], "little")
    if at != size:
        raise Fault("Z-END", "has a directory that is not whole")
    return ats


class _Extents:
    """Tells whether an end record lies in a member, header included, as the header before the data counts it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._members: list[tuple[int, int]] | None = None  # offsets and entries, read when first asked for

    def hold(self, position: int) -> bool:
        directory = self._directory
        if self._members is None:
            unwrapped = directory.unwrapped_offsets()
            self._members = sorted(
                (entry.offset + directory.shift if unwrapped is None else unwrapped[at], at)
                for at, entry in directory.entries()
            )
        nth = bisect.bisect_right(self._members, (position, directory.size)) - 1
        if nth < 0:
            return False
        offset, at = self._members[nth]
        head = directory.reader.read_at(offset, LOCAL_BYTES)
        if len(head) < LOCAL_BYTES or head[:4] != b"PK\3\4":
            return False
        n_name, n_extra = zip_entry.LOCAL.unpack(head)[-2:]
        end: int = offset + LOCAL_BYTES + n_name + n_extra + directory.entry(at).csize
        return position + _END_BYTES <= end


# --- names ---


class Names:
    """Decode the names of one archive; `guess` is the encoding guessed, once a name needed a guess."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._codec = names.codec_of(directory.encoding)
        self.guess: str | None = None

    def of(self, entry: ZipEntry) -> str:
        """Return the name that counts."""
        raw = entry.raw_name
        if entry.extra and b"up" in entry.extra:
            field = zip_entry.find_extra(entry.extra, 0x7075)
            if field and len(field) > 5 and field[0] == 1:
                import zlib

                if int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
                    return field[5:].decode("utf-8", "surrogateescape")
        if raw.isascii():
            name = raw.decode("ascii")
        elif entry.flags & 0x800:
            name = raw.decode("utf-8", "surrogateescape")
        else:
            if self._codec is None:
                self.guess = self._guess()
                self._codec = names.codec_of(self.guess) or "utf-8"
            try:
                name = raw.decode(self._codec)
            except UnicodeDecodeError:
                name = raw.decode("utf-8", "surrogateescape")
        # Windows tools that break the standard write backslashes. After decoding: in Shift-JIS and GBK the byte is also
        # the second half of letters. On Unix a backslash is a letter like any other.
        if "\\" in name and entry.system in zip_entry.WINDOWS:
            name = name.replace("\\", "/")
        return name

    def _guess(self) -> str | None:
        unmarked: list[bytes] = []
        marked: set[str] = set()
        n_bytes = 0
        for _, entry in self._directory.entries():
            if entry.raw_name.isascii():
                continue
            if entry.flags & 0x800:
                above = entry.raw_name.decode("utf-8", "replace").split("/")
                marked.update("/".join(above[:n]) + "/" for n in range(1, len(above)))
                continue
            unmarked.append(entry.raw_name)
            n_bytes += len(entry.raw_name)
            if n_bytes > 1 << 16:  # enough to tell by
                break
        return names.guess_encoding(unmarked, marked)


def kind_of(entry: ZipEntry, name: str) -> Kind:
    """Return what a member is, by its entry and by the name that counts."""
    # That may be another than the raw one: old .NET wrote "folder\\", and a Unicode path may differ.
    return "folder" if entry.is_folder or name.endswith("/") else "link" if entry.is_link else "file"


def listing(reader: Reader, encoding: str | None = None) -> Iterator[tuple[StreamMember, ZipEntry, int]]:
    """Give every member with its entry and limit, in the directory's order; only the structure is judged."""
    directory = replace(find_directory(reader), encoding=encoding)
    namer = Names(directory)
    unwrapped = directory.unwrapped_offsets()
    entries = [entry for _, entry in directory.entries()]
    for at, entry in zip(directory.ats, entries):
        entry.offset = entry.offset + directory.shift if unwrapped is None else unwrapped[at]
    offsets = sorted({entry.offset for entry in entries})
    limits = dict(zip(offsets, [*offsets[1:], directory.start]))
    for entry in entries:
        name = namer.of(entry)
        member = StreamMember(
            name=name,
            size=entry.usize,
            kind=kind_of(entry, name),
            crc=entry.crc,
            mtime=None if entry.mtime_ns is None else entry.mtime_ns / 1e9,
            mode=None if entry.mode is None else entry.mode & 0o7777,
            encrypted=bool(entry.encrypted),
        )
        yield member, entry, min(limits[entry.offset], directory.start)
