"""Read zip archives: find the central directory, judge it, and plan what will be written.

Here: end records, zip64, archives behind a prefix, a Mac's counts and offsets that begin anew past 65,535 and 4 GB, the
encoding of names, overlaps. Not here: data (`zip_members`), whether a name is safe (`safety`), writing (`unpack`).
Reference: APPNOTE 6.3.10.

The rules: Z-END (no end record, or one that does not fit), Z-AMBIGUOUS (two readings), Z-OVERLAP, Z-FOLDER, and those
of `zip_members`.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from datastage.archives import names, zip_members
from datastage.archives.errors import Fault
from datastage.archives.records import Files, Kind, Member, UnpackedFile
from datastage.archives.safety import MAX_TARGET_BYTES, Tree
from datastage.archives.zip_members import ENTRY_BYTES, LOCAL_BYTES, WRAP, ZipEntry, find_extra
from datastage.reader import Reader

_END = struct.Struct("<4sHHHHLLH")  # APPNOTE 4.3.16
_END64 = struct.Struct("<4sQHHLLQQQQ")  # 4.3.14
_LENGTHS = struct.Struct("<4s24xHHH")  # of an entry: its mark, and the lengths of name, extra field and comment
_SIZES = struct.Struct("<20xL4xH")  # of an entry: the packed size, and the length of the name
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END_BYTES, _END64_BYTES, _LOCATOR_BYTES = 22, 56, 20
# The longest comment, and as much again for what a careless server or tape may have put behind.
_TAIL_BYTES = 2 * 65_536 + _END_BYTES
_MAX_READINGS = 32
MAX_DIRECTORY_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Directory:
    """The central directory of an archive.

    Attributes
    ----------
    data : bytes
        Its bytes.
    start : int
        Where it begins in the archive; all members lie before.
    shift : int
        What to add to the offsets of members: the length of what stands before the archive.
    wraps : bool
        Whether offsets may have begun anew past 4 GB.
    ats : array of int
        Where each entry begins in `data`.
    """

    data: bytes
    start: int
    shift: int
    wraps: bool
    ats: Any


def _places(data: bytes) -> Any:
    """Return where each entry of a directory begins; a fault if they, and a signature of them, do not fill it."""
    ats = array("Q")
    append, lengths = ats.append, _LENGTHS.unpack_from
    at, end = 0, len(data)
    while at + ENTRY_BYTES <= end:
        mark, n_name, n_extra, n_comment = lengths(data, at)
        if mark != b"PK\1\2":
            break
        append(at)
        at += ENTRY_BYTES + n_name + n_extra + n_comment
    if data[at : at + 4] == b"PK\5\5" and at + 6 <= end:  # 4.3.13; nobody checks it, and few write it
        at += 6 + int.from_bytes(data[at + 4 : at + 6], "little")
    if at != end:
        raise Fault("Z-END", "has a directory that is not whole")
    return ats


def find_directory(reader: Reader) -> Directory:
    """Find the central directory and judge that there is just one way to read it.

    Raises
    ------
    Fault
        Z-END or Z-AMBIGUOUS.
    """
    size = reader.size
    assert size is not None
    tail_at = max(0, size - _TAIL_BYTES)
    tail = reader.read_at(tail_at, size - tail_at)
    found: list[tuple[int, Directory, int]] = []
    why = Fault("Z-END", "has no end record: it is no zip, or its end is missing")
    at = len(tail)
    n_looked = 0
    while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
        if at + _END_BYTES > len(tail):
            continue
        n_looked += 1
        if n_looked > _MAX_READINGS * 64 or len(found) > _MAX_READINGS:
            raise Fault("Z-AMBIGUOUS", "has too many end records")
        try:
            found.append((tail_at + at, *_reading(reader, tail_at + at, tail[at : at + _END_BYTES], size)))
        except Fault as fault:
            if fault.rule == "Z-END" and why.text.startswith("has no end record"):
                why = fault
    if not found:
        raise why
    end_at, directory, _ = found[0]
    spans: list[tuple[int, int]] | None = None
    for other_at, other, _ in found[1:]:
        if other.data == directory.data and (other.start, other.shift) == (directory.start, directory.shift):
            continue
        if spans is None:
            spans = list(_spans(directory))
        if not any(start <= other_at and other_at + _END_BYTES <= end for start, end in spans):
            raise Fault("Z-AMBIGUOUS", "can be read in two ways, with different members")
    return directory


def _reading(reader: Reader, end_at: int, record: bytes, size: int) -> tuple[Directory, int]:
    """Return the directory that one end record leads to, and how many entries it has; a fault if it does not fit."""
    _, disk, _, _, count, cd_size, cd_offset, _ = _END.unpack(record)
    cd_end = end_at
    is_64 = False
    if end_at >= _LOCATOR_BYTES + _END64_BYTES:
        locator = reader.read_at(end_at - _LOCATOR_BYTES, _LOCATOR_BYTES)
        if locator[:4] == b"PK\6\7":
            # The record stands right before its locator, whatever the locator says: a prefix makes it lie.
            cd_end = end_at - _LOCATOR_BYTES - _END64_BYTES
            record64 = reader.read_at(cd_end, _END64_BYTES)
            if record64[:4] != b"PK\6\6" or _END64.unpack(record64)[1] != _END64_BYTES - 12:
                where = _LOCATOR.unpack(locator)[2]  # a longer record; only an honest locator leads there
                record64 = reader.read_at(where, _END64_BYTES) if where < cd_end else b""
                cd_end = where
                if record64[:4] != b"PK\6\6" or where + 12 + _END64.unpack(record64)[1] != end_at - _LOCATOR_BYTES:
                    raise Fault("Z-END", "has a zip64 end record that is not where it should be")
            _, _, _, _, disk, _, _, count64, cd_size64, cd_offset64 = _END64.unpack(record64)
            # Some read the one and some the other: where both say something, it must be the same.
            if (
                count not in (0xFFFF, count64)
                or cd_size not in (0xFFFFFFFF, cd_size64)
                or cd_offset not in (0xFFFFFFFF, cd_offset64)
            ):
                raise Fault("Z-END", "has two end records that lead to different members")
            count, cd_size, cd_offset = count64, cd_size64, cd_offset64
            is_64 = True
    if disk not in (0, 0xFFFF) or (disk == 0xFFFF and not is_64):
        raise Fault("Z-END", "is one part of several")
    start = cd_end - cd_size
    if start < 0 or cd_size > MAX_DIRECTORY_BYTES:
        raise Fault("Z-END", "has an end record that does not fit: part of the archive is missing")
    shift = start - cd_offset
    wraps = not is_64 and shift >= WRAP and shift % WRAP == 0
    if wraps:
        shift = 0
    if shift < 0:
        raise Fault("Z-END", "has an end record that does not fit: part of the archive is missing")
    if cd_size and reader.read_at(start, 4) != b"PK\1\2":
        raise Fault("Z-END", "has no directory where its end record says")
    data = reader.read_at(start, cd_size)
    directory = Directory(data, start, shift, wraps, _places(data))
    n = len(directory.ats)
    if n != count and (is_64 or n % 65_536 != count):
        raise Fault("Z-END", f"has {n:,} members, and its end record says {count:,}")
    return directory, n


def _spans(directory: Directory) -> Iterator[tuple[int, int]]:
    for at in directory.ats:
        entry = ZipEntry(directory.data, at)
        start = entry.offset + directory.shift + LOCAL_BYTES + len(entry.raw_name)
        yield start, start + entry.csize


class Names:
    """Decode the names of one archive.

    Attributes
    ----------
    guess : str or None
        The encoding guessed, once a name needed a guess.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.guess: str | None = None

    def of(self, raw: bytes, extra: bytes, flags: int, system: int) -> str:
        """Return the name that counts."""
        if extra and b"up" in extra:
            field = find_extra(extra, 0x7075)
            if field and len(field) > 5 and field[0] == 1:
                import zlib

                if int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
                    return field[5:].decode("utf-8", "surrogateescape")
        if raw.isascii():
            name = raw.decode("ascii")
        elif flags & 0x800:
            name = raw.decode("utf-8", "surrogateescape")
        else:
            if self.guess is None:
                self.guess = self._guess()
            try:
                name = raw.decode(_codec(self.guess))
            except UnicodeDecodeError:
                name = raw.decode("utf-8", "surrogateescape")
        # Windows tools that break the standard write backslashes. After decoding: in Shift-JIS and GBK the byte is also
        # the second half of letters. On Unix a backslash is a letter like any other.
        if "\\" in name and system in (0, 10, 14):
            name = name.replace("\\", "/")
        return name

    def _guess(self) -> str:
        unmarked = []
        n_bytes = 0
        data = self._directory.data
        for at in self._directory.ats:
            n_name = data[at + 28] | data[at + 29] << 8
            raw = data[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name]
            if not raw.isascii() and not data[at + 9] & 8:
                unmarked.append(raw)
                n_bytes += n_name
                if n_bytes > 1 << 16:  # enough to tell by
                    break
        return names.guess_encoding(unmarked)


def _codec(encoding: str) -> str:
    return {"shift_jis": "cp932", "euc_kr": "cp949"}.get(encoding, encoding)


# Where a member's entry stands in the directory, its checked path (empty for what is only looked at), where it begins,
# and where the next one does.
Row = tuple[int, str, int, int]
_EARLY_MEMBERS = 2048


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in columns, in the order of offsets: a tuple for each of millions would take more than all else."""

    ats: Any
    paths: list[str]
    offsets: Any
    limits: Any

    def part(self, first: int, end: int) -> list[Row]:
        """Return the rows from `first` up to `end`."""
        columns = (self.ats, self.paths, self.offsets, self.limits)
        return list(zip(*(column[first:end] for column in columns)))


_WIDE_BYTES = 16 << 20


@dataclass(slots=True)
class Plan:
    """What will be written, all of it judged.

    Attributes
    ----------
    directory : Directory
        The archive's.
    tree : Tree
        What the folder will hold.
    files : Files
        The files, as they will be.
    folders : list of (path, mtime_ns or None)
        The folders that have an entry.
    links : list of (place in the directory, path, offset, limit)
        Links; their targets are read and judged when all else is there.
    rows : Rows
        The members that are read and were not given early.
    left_out : dict of str to int
        Junk, by kind.
    needs_tool : list
        Members (place, path, offset, limit) whose method only a tool can undo.
    may_be_longer : list of str
        Paths of files so large that a Mac may have written their size modulo 4 GB: only unpacking tells.
    is_wide : bool
        Whether a member may need a window so large that two at a time would pass the bound on memory.
    """

    directory: Directory
    tree: Tree
    files: Files
    folders: list[tuple[str, int | None]]
    links: list[tuple[int, str, int, int]]
    rows: Rows
    left_out: dict[str, int]
    needs_tool: list[tuple[int, str, int, int]]
    encoding: str | None
    matched: bool
    may_be_longer: list[str]
    is_wide: bool


class Disordered(Exception):
    """Members that were given early turn out to have others among them: begin again, and give none early."""


def plan(  # noqa: C901
    reader: Reader,
    directory: Directory,
    tree: Tree,
    pick: Any,
    keep_junk: bool,
    password: bytes | None,
    early: Callable[[Rows], None] | None = None,
) -> Plan:
    """Judge every member and say what will be written.

    Parameters
    ----------
    reader : Reader
        The archive, with ranges.
    directory : Directory
        Its directory.
    tree : Tree
        The gate.
    pick : callable or None
        Says whether a path is wanted.
    keep_junk : bool
        Whether junk is kept.
    password : bytes or None
        For locked members.
    early : callable, optional
        Given the rows of members already judged while the rest is, as long as they come in the order of offsets: they
        may be written, where all is taken away again should the rest break a rule.

    Raises
    ------
    Fault
        If a member breaks a rule.
    Disordered
        If members lie among those given early.
    """
    data, shift = directory.data, directory.shift
    namer = Names(directory)
    decode = namer.of
    ats, offsets = array("Q"), array("Q")
    paths: list[str] = []
    files = Files()
    folders: list[tuple[str, int | None]] = []
    links: list[tuple[int, str, int, int]] = []
    tool: list[tuple[int, str, int, int]] = []
    left_out: dict[str, int] = {}
    link_ats: dict[int, str] = {}
    tool_ats: dict[int, str] = {}
    matched, is_wide = pick is None, False
    admit = tree.admit
    add_name, add_size, add_crc = files.paths.append, files.sizes.append, files.crcs.append
    unwrapped = _unwrapped(reader, directory)
    quick = zip_members.QUICK.unpack_from
    keep, add_offset, add_path, end = ats.append, offsets.append, paths.append, directory.start
    given = _Given(early, data, ats, offsets, paths)
    for at in given.between(directory.ats):
        # The common case at a glance: a plain file with a plain name. All else takes the long way below.
        system, flags, method, _, crc, csize, usize, n_name, n_extra, attributes, offset = quick(data, at)
        if (
            (method == 8 or method == 0)
            and not flags & 0x41
            and (attributes & 0xF0000000 == 0x80000000 or not attributes & 0xF0000010)
            and not (n_extra and _may_rename(data[at + ENTRY_BYTES + n_name : at + ENTRY_BYTES + n_name + n_extra]))
            and csize < 0xFFFFFFFF
            and usize < 0xFFFFFFFF
            and offset < 0xFFFFFFFF
            and pick is None
            and unwrapped is None
        ):
            raw = data[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name]
            offset += shift
            if _is_plain(raw) and not raw.endswith(_JUNK) and offset + LOCAL_BYTES + n_name + csize <= end:
                path = admit(raw.decode("ascii"), "file", usize)
                keep(at)
                add_offset(offset)
                add_path(path)
                add_name(path)
                add_size(usize)
                add_crc(crc)
                continue
        entry = ZipEntry(data, at)
        name = decode(entry.raw_name, entry.extra, entry.flags, entry.system)
        offset = entry.offset + shift if unwrapped is None else unwrapped[at]
        if offset + LOCAL_BYTES + len(entry.raw_name) + entry.csize > directory.start:
            if offset + LOCAL_BYTES > directory.start:
                raise Fault("Z-LOCAL", "begins behind the data", name)
            raise Fault("Z-OVERLAP", "has data that runs into the directory", name)
        ats.append(at)
        offsets.append(offset)
        path = ""
        if entry.special:
            tree.admit(name, entry.special)
        kind = _kind(entry, name)
        if kind == "folder" and (entry.usize or (entry.csize and entry.method == 0)):
            raise Fault("Z-FOLDER", "is a folder that holds bytes, which would be lost", name)
        trash = None if keep_junk else names.junk(name)
        if trash or (pick is not None and not pick(_loose(name))):
            from datastage.archives.safety import clean

            clean(name)
            if trash:
                left_out[trash] = left_out.get(trash, 0) + (kind != "folder")
            paths.append("")
            continue
        matched = True
        if kind == "folder":
            path = admit(name, "folder")
            if path:
                folders.append((path, entry.mtime_ns))
            paths.append("")
            continue
        if kind == "link":
            if entry.usize > MAX_TARGET_BYTES:
                raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", name)
            if entry.method in zip_members.OWN_METHODS:
                zip_members.check_method(entry, password)
            link_ats[at] = name
            paths.append("")
            continue
        path = admit(name, "file", entry.usize)
        is_wide = is_wide or (entry.method in (zip_members.LZMA, zip_members.ZSTD) and entry.usize > _WIDE_BYTES)
        if entry.method in zip_members.OWN_METHODS and not (entry.encrypted and entry.flags & 0x40):
            zip_members.check_method(entry, password)
            paths.append(path)
        else:
            tool_ats[at] = path
            paths.append("")
        files.append(UnpackedFile(path, entry.usize, entry.crc))
    n_given = given.n_given
    if n_given and min(offsets[n_given:]) < offsets[n_given]:
        raise Disordered
    order: Any = range(len(offsets))
    if any(map(int.__gt__, offsets, offsets[1:])):
        order = sorted(order, key=offsets.__getitem__)
        ats = array("Q", map(ats.__getitem__, order))
        offsets = array("Q", map(offsets.__getitem__, order))
        paths = list(map(paths.__getitem__, order))
    limits = array("Q", offsets[1:])
    if offsets:
        limits.append(directory.start)
    rows = Rows(ats[n_given:], paths[n_given:], offsets[n_given:], limits[n_given:])
    _refuse_overlaps(data, rows)
    long = zip_members.least_packed(WRAP)
    may_be_longer = [
        paths[nth]
        for nth, size in enumerate(map(int.__sub__, limits, offsets))
        if size > long and data[ats[nth] + 8] & 8 and paths[nth]
    ]
    if link_ats or tool_ats:
        for at, offset, limit in zip(ats, offsets, limits):
            if at in link_ats:
                links.append((at, link_ats[at], offset, limit))
            elif at in tool_ats:
                tool.append((at, tool_ats[at], offset, limit))
    return Plan(
        directory,
        tree,
        files,
        folders,
        links,
        rows,
        left_out,
        tool,
        namer.guess,
        matched,
        may_be_longer,
        is_wide,
    )


class _Given:
    """Give rows early, while they come in the order of offsets."""

    def __init__(
        self, give: Callable[[Rows], None] | None, data: bytes, ats: Any, offsets: Any, paths: list[str]
    ) -> None:
        self._give, self._data = give, data
        self._ats, self._offsets, self._paths = ats, offsets, paths
        self.n_given = 0

    def between(self, places: Any) -> Iterator[int]:
        """Give the places in the directory, and after some of them the rows that have come of them."""
        for first in range(0, len(places), _EARLY_MEMBERS):
            yield from places[first : first + _EARLY_MEMBERS]
            if self._give is not None:
                self._give_rows(self._give)

    def _give_rows(self, give: Callable[[Rows], None]) -> None:
        first, end = self.n_given, len(self._offsets) - 1  # where the last one ends is not known yet
        offsets = self._offsets[first : end + 1]
        if end <= first or any(map(int.__ge__, offsets, offsets[1:])):
            return
        rows = Rows(self._ats[first:end], self._paths[first:end], offsets[:-1], offsets[1:])
        _refuse_overlaps(self._data, rows)
        give(rows)
        self.n_given = end


# Letters, digits and the like, no part that begins with a dot or with what junk begins with. Possessive: an odd name
# must not make the search go back and forth.
_is_plain = re.compile(
    rb"(?:(?!__MACOSX)[A-Za-z0-9 _()+,=@#~-][A-Za-z0-9 ._()+,=@#~-]*+/)*+"
    rb"(?!__MACOSX)[A-Za-z0-9 _()+,=@#~-][A-Za-z0-9 ._()+,=@#~-]*+"
).fullmatch
_JUNK = (b"Thumbs.db", b"desktop.ini")


def _unwrapped(reader: Reader, directory: Directory) -> dict[int, int] | None:
    """Return the true offset of each entry where offsets began anew past 4 GB; None where they did not.

    They are in the order of the members, so each fall is a beginning. A member of over 4 GB may hide one: then the
    headers before the data are asked.
    """
    if not directory.wraps:
        return None
    found = {}
    base = last = 0
    for at in directory.ats:
        offset = ZipEntry(directory.data, at).offset
        base += WRAP if offset < last else 0
        last = offset
        found[at] = base + offset
    if directory.start - base - last < WRAP:
        return found
    least = 0
    for at in directory.ats:
        entry = ZipEntry(directory.data, at)
        offset = entry.offset + least // WRAP * WRAP
        offset += WRAP if offset < least else 0
        size = LOCAL_BYTES + len(entry.raw_name)
        while offset < directory.start:
            head = reader.read_at(offset, size)
            if head[:4] == b"PK\3\4" and head[LOCAL_BYTES:] == entry.raw_name:
                break
            offset += WRAP
        found[at] = offset
        least = offset + size
    return found


def _kind(entry: ZipEntry, name: str) -> Kind:
    # The name that counts may be another than the raw one: old .NET wrote "folder\\", and a Unicode path may differ.
    return "folder" if entry.is_folder or name.endswith("/") else "link" if entry.is_link else "file"


def _may_rename(extra: bytes) -> bool:
    return b"up" in extra


def _loose(name: str) -> str:
    return "/".join(part for part in name.split("/") if part and part != ".")


def _refuse_overlaps(data: bytes, rows: Rows) -> None:
    sizes = _SIZES.unpack_from
    for at, offset, limit in zip(rows.ats, rows.offsets, rows.limits):
        entry_size, n_name = sizes(data, at)
        if entry_size == 0xFFFFFFFF:
            entry_size = ZipEntry(data, at).csize
        if offset + LOCAL_BYTES + n_name + entry_size > limit:
            name = data[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name].decode("utf-8", "replace")
            raise Fault("Z-OVERLAP", "shares bytes with another member", name)


def read_link(reader: Reader, place: tuple[int, str, int, int], data: bytes, password: bytes | None) -> str:
    """Return the target of a link: the content of the member."""
    at, _, offset, limit = place
    entry = ZipEntry(data, at)
    entry.offset = offset
    head = reader.read_at(offset, min(limit - offset, LOCAL_BYTES + len(entry.raw_name)))
    start = zip_members.data_at(entry, head, limit)
    if entry.csize > 1 << 20:
        raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", place[1])
    target = bytes(zip_members.whole(entry, reader.read_at(start, entry.csize), password))
    return target.decode("utf-8", "surrogateescape")


def listing(reader: Reader) -> Iterator[tuple[Member, ZipEntry, int, int]]:
    """Give every member with its entry, offset and limit, in the directory's order; only the structure is judged."""
    directory = find_directory(reader)
    decode = Names(directory)
    places = directory.ats
    unwrapped = _unwrapped(reader, directory)
    offsets = [
        ZipEntry(directory.data, at).offset + directory.shift if unwrapped is None else unwrapped[at] for at in places
    ]
    limits = dict(zip(sorted(set(offsets)), [*sorted(set(offsets))[1:], directory.start]))
    for at, offset in zip(places, offsets):
        entry = ZipEntry(directory.data, at)
        entry.offset = offset
        name = decode.of(entry.raw_name, entry.extra, entry.flags, entry.system)
        member = Member(
            name=name,
            size=entry.usize,
            kind=_kind(entry, name),
            crc=entry.crc,
            mtime=None if entry.mtime_ns is None else entry.mtime_ns / 1e9,
            mode=None if entry.mode is None else entry.mode & 0o7777,
            encrypted=bool(entry.encrypted),
        )
        yield member, entry, offset, min(limits[offset], directory.start)
