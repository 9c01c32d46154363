"""One member of a zip: its entry in the directory, its header before the data, and a Mac's sizes past 4 GB.

The rules: Z-LOCAL, Z-OVERLAP, Z-METHOD, Z-LOCKED, Z-EXTRA. Helper processes import this module, so it imports nothing
heavy.
"""

from __future__ import annotations

import struct

from datastage.archives.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    ReadAt = Callable[[int, int], bytes]

# Where a member's entry stands in the directory, its checked path (empty for what is only looked at), where it begins
# in the archive, and where the next member does.
Row = tuple[int, str, int, int]

ENTRY = struct.Struct("<4sBBHHHHHLLLHHHHHLL")  # APPNOTE 4.3.12
# The same entry without what is rarely needed: system, flags, method, time and date as one, crc, packed and true size,
# lengths of name and extra field, attributes, offset.
QUICK = struct.Struct("<5xB2xHHLLLLHH6xLL")
LOCAL = struct.Struct("<4sHHHHHLLLHH")  # APPNOTE 4.3.7
ENTRY_BYTES, LOCAL_BYTES = 46, 30
NEAR_BYTES = 4 << 20
WINDOWS = (0, 6, 10, 11, 14)  # FAT, HPFS, NTFS as PKWARE and as Info-ZIP number it, VFAT
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, ZSTD, XZ, PPMD, AES = 0, 8, 9, 12, 14, 93, 95, 98, 99
OWN_METHODS = frozenset((STORED, DEFLATED, BZIP2, LZMA, ZSTD))
_SPECIAL = {0o020000: "character device", 0o060000: "block device", 0o010000: "FIFO", 0o140000: "socket"}


# --- entries of the directory ---


class ZipEntry:
    """One entry of the central directory, its zip64 and time fields read."""

    __slots__ = (
        "crc", "csize", "encrypted", "extra", "flags", "head", "is_folder", "is_link", "may_wrap", "method", "mode",
        "mtime_ns", "offset", "raw_name", "size_step", "special", "system", "usize",
    )  # fmt: skip

    def __init__(self, directory: Any, at: int, offset: int | None = None) -> None:
        (
            _, _, self.system, _, self.flags, self.method, time, date, self.crc, self.csize, self.usize,
            n_name, n_extra, _, _, _, attributes, self.offset,
        ) = ENTRY.unpack_from(directory, at)  # fmt: skip
        name_at = at + ENTRY_BYTES
        self.head = directory[at + 8 : at + 30]
        self.raw_name: bytes = directory[name_at : name_at + n_name]
        self.extra: bytes = directory[name_at + n_name : name_at + n_name + n_extra]
        self.encrypted = self.flags & 1
        self.may_wrap, self.size_step = bool(self.flags & 8), 0  # see `unwrap_sizes`
        if 0xFFFFFFFF in (self.csize, self.usize, self.offset):
            self._read_zip64()
        if offset is not None:
            self.offset = offset
        self.mtime_ns = mtime_ns(date << 16 | time, self.extra)
        mode = attributes >> 16
        # Only Unix (3) and macOS (19) write modes; all zero is no mode.
        self.mode: int | None = mode if mode and self.system in (3, 19) else None
        kind = (self.mode or 0) & 0o170000
        self.is_link = kind == 0o120000
        # What Info-ZIP packed from its standard input is called "-" and bears the mode of the pipe.
        self.special = None if self.raw_name == b"-" and kind == 0o010000 else _SPECIAL.get(kind)
        is_dos_folder = bool(attributes & 0x10) and self.system in WINDOWS and not self.usize
        self.is_folder = self.raw_name.endswith(b"/") or kind == 0o040000 or is_dos_folder

    @property
    def shown_name(self) -> str:
        """The name for an error."""
        try:
            return self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            return self.raw_name.decode("latin-1")

    def _read_zip64(self) -> None:
        self.may_wrap = False
        field = find_extra(self.extra, 1)
        if field is None:
            # A Mac writes sizes modulo 2^32, and one may be just this.
            raise Fault("Z-EXTRA", "leaves its sizes to a zip64 field that is not there", self.shown_name)
        at = 0
        for slot in ("usize", "csize", "offset"):
            if getattr(self, slot) == 0xFFFFFFFF:
                if at + 8 > len(field):
                    raise Fault("Z-EXTRA", "has a zip64 field that is too short", self.shown_name)
                setattr(self, slot, int.from_bytes(field[at : at + 8], "little"))
                at += 8


def entry_bytes(head: bytes) -> int:
    """Return how long an entry is, from its first 46 bytes."""
    n_name, n_extra, n_comment = struct.unpack_from("<HHH", head, 28)
    return ENTRY_BYTES + int(n_name) + int(n_extra) + int(n_comment)


class Entries:
    """Reads the entries that a batch needs: the whole directory of a million members would take much memory."""

    def __init__(self, read_at: ReadAt, start: int, size: int) -> None:
        self._read_at, self._start, self._size = read_at, start, size
        self._all: bytes | None = None

    def of(self, batch: list[Row]) -> tuple[bytes, list[Row]]:
        """Return some of the directory, and the batch with its places counted from there."""
        first, last = min(row[0] for row in batch), max(row[0] for row in batch)
        if self._all is not None or last - first > NEAR_BYTES:  # one that lists its members in another order
            if self._all is None:
                self._all = self._read_at(self._start, self._size)
            return self._all, batch
        end = last + entry_bytes(self._read_at(self._start + last, ENTRY_BYTES))
        data = self._read_at(self._start + first, end - first)
        return data, [(at - first, path, offset, limit) for at, path, offset, limit in batch]


def find_extra(extra: bytes, wanted: int) -> bytes | None:
    """Return the content of an extra field; None if it is not there. Fields that overrun end the list."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if at + 4 + size > len(extra):
            return None
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return None


_dos_times: dict[int, int | None] = {}


def mtime_ns(dos: int, extra: bytes) -> int | None:
    """Return a member's time: of its extra field, else of its DOS time and date, in this machine's zone."""
    if extra and b"UT" in extra:
        field = find_extra(extra, 0x5455)
        if field and len(field) >= 5 and field[0] & 1:
            return int.from_bytes(field[1:5], "little", signed=True) * 1_000_000_000
    if dos not in _dos_times:
        if len(_dos_times) > 4096:
            _dos_times.clear()
        _dos_times[dos] = _dos_time_ns(dos >> 16, dos & 0xFFFF)
    return _dos_times[dos]


def _dos_time_ns(date: int, clock: int) -> int | None:
    import time

    month, day = date >> 5 & 15, date & 31
    local = (1980 + (date >> 9), month, day, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, 0, 0, -1)
    try:
        return int(time.mktime(local)) * 1_000_000_000 if month and day else None
    except (OverflowError, ValueError):
        return None


# --- a Mac's archives of over 4 GB: sizes and offsets without zip64, modulo 4 GB ---

WRAP = 1 << 32


def may_be_longer(n_packed: int) -> bool:
    """Tell whether so many deflated bytes may hold 4 GB: nothing inflates to over 1,032 times its size."""
    return n_packed >= WRAP // 1032


def unwrap_sizes(entry: ZipEntry, room: int) -> None:
    """Correct the packed size by the `room` up to the next member. The true size shows only as it is inflated."""
    if room - entry.csize >= WRAP:
        entry.csize += (room - entry.csize) // WRAP * WRAP
    entry.size_step = WRAP if may_be_longer(entry.csize) else 0


def unwrapped_offsets(
    read_at: ReadAt, entries: Callable[[], Iterator[tuple[int, ZipEntry]]], end: int
) -> dict[int, int]:
    """Return the true offset of each entry, of members that end at `end`, by the headers before the data.

    Members lie in the order of their entries; one of over 4 GB hides how often the offsets began anew.
    """
    found = {}
    least = 0
    for at, entry in entries():
        offset = entry.offset - min(0, (entry.offset - least) // WRAP) * WRAP  # not before the last member
        size = LOCAL_BYTES + len(entry.raw_name)
        while offset < end:
            head = read_at(offset, size)
            if head[:4] == b"PK\3\4" and head[LOCAL_BYTES:] == entry.raw_name:
                break
            offset += WRAP
        found[at] = offset
        least = offset + size
    return found


# --- what the directory does not account for ---

# Behind a member's data may stand its sizes and checksum, with a mark and in 64 bits.
DESCRIPTOR_BYTES = 24
HIDDEN_BYTES = 1 << 20  # how far what lies before or between members is looked at


def refuse_hidden(data: bytes) -> None:
    """Raise if bytes that the directory does not account for hold a member: its end record hides it.

    A mark alone may be chance, as in the program of an archive that unpacks itself: the header must make sense.
    """
    for mark, header in ((b"PK\3\4", LOCAL), (b"PK\1\2", ENTRY)):
        at = data.find(mark)
        while 0 <= at <= len(data) - header.size:
            fields = header.unpack_from(data, at)
            method, n_name = (fields[3], fields[9]) if header is LOCAL else (fields[5], fields[11])
            name = data[at + header.size : at + header.size + n_name]
            if method <= AES and 0 < len(name) == n_name and name.isascii() and b"\0" not in name:
                text = f"holds {name.decode('ascii')!r}, which its directory does not list: its end is damaged"
                raise Fault("Z-END", text)
            at = data.find(mark, at + 1)


# --- the header before the data ---


def begin(entry: ZipEntry, read_at: ReadAt, limit: int) -> int:
    """Judge the header before a member's data against the directory; return where the data begins.

    The next member begins at `limit`.
    """
    raw = entry.raw_name
    name_end = LOCAL_BYTES + len(raw)
    head = read_at(entry.offset, min(limit - entry.offset, name_end))
    if head[:4] != b"PK\3\4" or len(head) < name_end:
        raise Fault("Z-LOCAL", "has no header before its data", entry.shown_name)
    if head[6:28] != entry.head:
        _compare(entry, head)
    name = bytes(head[LOCAL_BYTES:name_end])
    if name != raw and name.replace(b"\\", b"/") != raw.replace(b"\\", b"/"):
        raise Fault("Z-LOCAL", "has another name before its data than in the directory", entry.shown_name)
    start: int = entry.offset + name_end + (head[28] | head[29] << 8)
    if entry.may_wrap:
        unwrap_sizes(entry, limit - start)
    if start + entry.csize > limit:
        raise Fault("Z-OVERLAP", "has data that runs into what lies behind it", entry.shown_name)
    return start


def _compare(entry: ZipEntry, head: Any) -> None:
    _, _, flags, method, _, _, crc, csize, usize, n_name, _ = LOCAL.unpack_from(head)
    if n_name != len(entry.raw_name):
        raise Fault("Z-LOCAL", "has another name before its data than in the directory", entry.shown_name)
    if method != entry.method or (flags ^ entry.flags) & 1:
        raise Fault(
            "Z-LOCAL", "is packed otherwise by the header before its data than by the directory", entry.shown_name
        )
    if flags & 8:
        return  # sizes and checksum stand behind the data, and the directory counts
    for here, there in ((crc, entry.crc), (csize, entry.csize), (usize, entry.usize)):
        if here not in (0, 0xFFFFFFFF, there & 0xFFFFFFFF):
            raise Fault(
                "Z-LOCAL", "has a size or checksum before its data that is not the directory's", entry.shown_name
            )


def is_ours(entry: ZipEntry) -> bool:
    """Tell whether a member is undone here; a tool does the others."""
    return entry.method in OWN_METHODS and not (entry.encrypted and entry.flags & 0x40)


def check_method(entry: ZipEntry, password: bytes | None) -> None:
    """Refuse what cannot be undone here."""
    if not is_ours(entry):
        raise Fault("X-7Z", f"has {entry.shown_name!r} compressed or locked in a way that only the 7z command undoes")
    if entry.encrypted and password is None:
        raise Fault("Z-LOCKED", "needs a password, and none was given", entry.shown_name)
