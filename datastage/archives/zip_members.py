"""From a zip member's place in the archive to its checked bytes in a file.

Here: entries of the central directory, the header before the data, undoing each method, sizes and checksums, and
writing a batch of members. Not here: finding the directory and judging it (`zip`), choosing who writes which batch
(`workers`). Helper processes import this module, so it imports nothing heavy.

The rules: Z-LOCAL, Z-OVERLAP, Z-METHOD, Z-LOCKED, Z-EXTRA, C-CRC, C-SIZE, C-STREAM.
"""

from __future__ import annotations

import os
import struct

from datastage.archives import inflate
from datastage.archives.errors import Fault
from datastage.archives.write import Folder, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    ReadAt = Callable[[int, int], bytes]

ENTRY = struct.Struct("<4sBBHHHHHLLLHHHHHLL")  # APPNOTE 4.3.12
# The same entry without what is rarely needed: system, flags, method, time and date as one, crc, packed and true size,
# lengths of name and extra field, attributes, offset.
QUICK = struct.Struct("<5xB2xHHLLLLHH6xLL")
LOCAL = struct.Struct("<4sHHHHHLLLHH")  # APPNOTE 4.3.7
ENTRY_BYTES, LOCAL_BYTES = 46, 30
# Members up to this size are read and written whole; larger ones in pieces.
WHOLE_BYTES = 4 << 20
PIECE_BYTES = 512 << 10
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, ZSTD, XZ, PPMD, AES = 0, 8, 9, 12, 14, 93, 95, 98, 99
OWN_METHODS = frozenset((STORED, DEFLATED, BZIP2, LZMA, ZSTD))
WRAP = 1 << 32  # where a Mac's sizes and offsets begin anew


def least_packed(n_bytes: int) -> int:
    """Return into how few bytes `n_bytes` can be deflated: nothing inflates to over 1,032 times its size."""
    return n_bytes // 1032


class ZipEntry:
    """One entry of the central directory, its zip64 and time fields read."""

    __slots__ = (
        "crc", "csize", "encrypted", "extra", "flags", "head", "is_folder", "is_link", "may_wrap", "method", "mode",
        "mtime_ns", "offset", "raw_name", "special", "system", "usize",
    )  # fmt: skip

    def __init__(self, directory: Any, at: int) -> None:
        (
            _, _, self.system, _, self.flags, self.method, time, date, self.crc, self.csize, self.usize,
            n_name, n_extra, _, _, _, attributes, self.offset,
        ) = ENTRY.unpack_from(directory, at)  # fmt: skip
        name_at = at + ENTRY_BYTES
        self.head = directory[at + 8 : at + 30]
        self.raw_name: bytes = directory[name_at : name_at + n_name]
        self.extra: bytes = directory[name_at + n_name : name_at + n_name + n_extra]
        self.encrypted = self.flags & 1
        self.may_wrap = self.flags & 8
        if 0xFFFFFFFF in (self.csize, self.usize, self.offset):
            self._zip64()
        self.mtime_ns = _time(date << 16 | time, self.extra)
        mode = attributes >> 16
        # Only Unix (3) and macOS (19) write modes; all zero is no mode.
        self.mode: int | None = mode if mode and self.system in (3, 19) else None
        kind = (self.mode or 0) & 0o170000
        self.is_link = kind == 0o120000
        # What Info-ZIP packed from its standard input is called "-" and bears the mode of the pipe.
        self.special = None if self.raw_name == b"-" and kind == 0o010000 else _SPECIAL.get(kind)
        self.is_folder = self.raw_name.endswith(b"/") or kind == 0o040000 or self._is_dos_folder(attributes)

    def _is_dos_folder(self, attributes: int) -> bool:
        return bool(attributes & 0x10) and self.system in (0, 10, 14) and not self.usize

    def _zip64(self) -> None:
        self.may_wrap = 0
        field = find_extra(self.extra, 1)
        if field is None:
            # A Mac writes sizes modulo 2^32, and one may be just this.
            raise Fault(
                "Z-EXTRA", "leaves its sizes to a zip64 field that is not there", self.raw_name.decode("latin-1")
            )
        at = 0
        for slot in ("usize", "csize", "offset"):
            if getattr(self, slot) == 0xFFFFFFFF:
                if at + 8 > len(field):
                    raise Fault("Z-EXTRA", "has a zip64 field that is too short", self.raw_name.decode("latin-1"))
                setattr(self, slot, int.from_bytes(field[at : at + 8], "little"))
                at += 8


_SPECIAL = {0o020000: "character device", 0o060000: "block device", 0o010000: "FIFO", 0o140000: "socket"}


def find_extra(extra: bytes, wanted: int) -> bytes | None:
    """Return the content of an extra field; None if it is not there. Fields that overrun end the list."""
    at = 0
    while at + 4 <= len(extra):
        kind = extra[at] | extra[at + 1] << 8
        size = extra[at + 2] | extra[at + 3] << 8
        if at + 4 + size > len(extra):
            return None
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return None


_dos_times: dict[int, int | None] = {}


def _time(dos: int, extra: bytes) -> int | None:
    if extra and b"UT" in extra:
        field = find_extra(extra, 0x5455)
        if field and len(field) >= 5 and field[0] & 1:
            return int.from_bytes(field[1:5], "little", signed=True) * 1_000_000_000
    try:
        return _dos_times[dos]
    except KeyError:
        pass
    import time

    date, clock = dos >> 16, dos & 0xFFFF
    found: int | None
    try:
        seconds = time.mktime(
            (1980 + (date >> 9), date >> 5 & 15, date & 31, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, 0, 0, -1)
        )
        found = int(seconds) * 1_000_000_000 if date >> 5 & 15 and date & 31 else None
    except (OverflowError, ValueError):
        found = None
    if len(_dos_times) > 4096:
        _dos_times.clear()
    _dos_times[dos] = found
    return found


def data_at(entry: ZipEntry, head: Any, limit: int) -> int:
    """Judge the header before a member's data against the directory; return where the data begins.

    Parameters
    ----------
    entry : ZipEntry
        What the directory says.
    head : bytes-like
        The archive's bytes from the member's offset, up to 30 and the name's length.
    limit : int
        Where the next member or the directory begins.
    """
    raw = entry.raw_name
    n_name = len(raw)
    name_end = LOCAL_BYTES + n_name
    if head[:4] != b"PK\3\4" or len(head) < name_end:
        raise Fault("Z-LOCAL", "has no header before its data", _name(entry))
    if head[6:28] != entry.head:
        _compare(entry, head)
    if head[LOCAL_BYTES:name_end] != raw and bytes(head[LOCAL_BYTES:name_end]).replace(b"\\", b"/") != raw.replace(
        b"\\", b"/"
    ):
        raise Fault("Z-LOCAL", "has another name before its data than in the directory", _name(entry))
    start: int = entry.offset + name_end + (head[28] | head[29] << 8)
    if entry.may_wrap and limit - start - entry.csize >= WRAP:
        entry.csize += (limit - start - entry.csize) // WRAP * WRAP  # a Mac's member of over 4 GB
    if start + entry.csize > limit:
        raise Fault("Z-OVERLAP", "has data that runs into what lies behind it", _name(entry))
    return start


def _compare(entry: ZipEntry, head: Any) -> None:
    _, _, flags, method, _, _, crc, csize, usize, n_name, _ = LOCAL.unpack_from(head)
    if n_name != len(entry.raw_name):
        raise Fault("Z-LOCAL", "has another name before its data than in the directory", _name(entry))
    if method != entry.method or (flags ^ entry.flags) & 1:
        raise Fault("Z-LOCAL", "is packed otherwise by the header before its data than by the directory", _name(entry))
    if flags & 8:
        return  # sizes and checksum stand behind the data, and the directory counts
    for here, there in ((crc, entry.crc), (csize, entry.csize), (usize, entry.usize)):
        if here not in (0, 0xFFFFFFFF, there & 0xFFFFFFFF):
            raise Fault("Z-LOCAL", "has a size or checksum before its data that is not the directory's", _name(entry))


def _name(entry: ZipEntry) -> str:
    try:
        return entry.raw_name.decode("utf-8")
    except UnicodeDecodeError:
        return entry.raw_name.decode("latin-1")


def check_method(entry: ZipEntry, password: bytes | None) -> None:
    """Refuse what cannot be undone here."""
    if entry.encrypted:
        if entry.flags & 0x40:
            raise Fault("Z-LOCKED", "is locked by strong encryption, which is not read here", _name(entry))
        if entry.method == AES:
            raise Fault("X-7Z", f"locks {_name(entry)!r} by AES, which only the 7z command reads here")
        if password is None:
            raise Fault("Z-LOCKED", "needs a password, and none was given", _name(entry))
    if entry.method not in OWN_METHODS:
        raise Fault("Z-METHOD", f"is compressed by method {entry.method}, which is not known here", _name(entry))


def whole(entry: ZipEntry, data: Any, password: bytes | None) -> Any:
    """Return the checked content of one member whose packed bytes are `data`."""
    chosen = inflate.chosen()
    if entry.encrypted:
        data = _decrypted(entry, data, password)
    method = entry.method
    if method == DEFLATED:
        try:
            out = chosen.whole(data, entry.usize)
        except chosen.errors as error:
            rule = "Z-LOCKED" if entry.encrypted else "C-STREAM"
            raise Fault(rule, f"cannot be inflated ({error})", _name(entry)) from None
    elif method == STORED:
        out = data
    else:
        out = _joined(entry, _pieces_by(entry, iter((bytes(data),))))
    if len(out) != entry.usize:
        raise Fault("C-SIZE", f"should be {entry.usize:,} bytes and is not", _name(entry))
    if chosen.crc32(out) != entry.crc:
        raise Fault("Z-LOCKED" if entry.encrypted else "C-CRC", _WRONG, _name(entry))
    return out


_WRONG = "has a wrong checksum"


def _joined(entry: ZipEntry, parts: Iterator[Any]) -> bytes:
    """Join what a member holds. It may hold a thousand times what it declares: no more than that is kept."""
    out = bytearray()
    for part in parts:
        out += part
        if len(out) > entry.usize:
            raise Fault("C-SIZE", f"holds more than the {entry.usize:,} bytes declared", _name(entry))
    return bytes(out)


def pieces(entry: ZipEntry, read_at: ReadAt, start: int, password: bytes | None) -> Iterator[Any]:
    """Give the checked content of one member in pieces; a fault may come at the end."""
    chosen = inflate.chosen()
    crc = size = 0
    allowed = entry.usize
    packed = _packed(entry, read_at, start)
    if entry.encrypted:
        packed = _decrypted_pieces(entry, packed, password)
    for piece in _pieces_by(entry, packed):
        size += len(piece)
        if size > allowed:
            if not entry.may_wrap or entry.csize < least_packed(WRAP):
                raise Fault("C-SIZE", f"holds more than the {entry.usize:,} bytes declared", _name(entry))
            while allowed < size:
                allowed += WRAP
        crc = chosen.crc32(piece, crc)
        yield piece
    if size != allowed:
        raise Fault("C-SIZE", f"should be {entry.usize:,} bytes and is {size:,}", _name(entry))
    if crc != entry.crc:
        raise Fault("Z-LOCKED" if entry.encrypted else "C-CRC", _WRONG, _name(entry))


def _packed(entry: ZipEntry, read_at: ReadAt, start: int) -> Iterator[bytes]:
    end = start + entry.csize
    while start < end:
        piece = read_at(start, min(PIECE_BYTES, end - start))
        if not piece:
            raise Fault("C-STREAM", "is cut short", _name(entry))
        yield piece
        start += len(piece)


def _pieces_by(entry: ZipEntry, packed: Iterator[Any]) -> Iterator[Any]:
    method = entry.method
    if method == STORED:
        return packed
    if method == DEFLATED:
        return _inflated(entry, packed)
    if method == BZIP2:
        import bz2

        return _with_object(entry, packed, bz2.BZ2Decompressor(), (OSError, ValueError, EOFError))
    if method == LZMA:
        return _lzma(entry, packed)
    from datastage.archives import streams

    return streams.decoded("zst", packed)


def _inflated(entry: ZipEntry, packed: Iterator[Any]) -> Iterator[bytes]:
    chosen = inflate.chosen()
    stream = chosen.stream(-15)
    try:
        for piece in packed:
            while True:
                out = stream.decompress(piece, PIECE_BYTES * 2)
                if out:
                    yield out
                if stream.eof:
                    return
                piece = stream.unconsumed_tail
                if not piece and len(out) < PIECE_BYTES * 2:
                    break
    except chosen.errors as error:
        rule = "Z-LOCKED" if entry.encrypted else "C-STREAM"
        raise Fault(rule, f"cannot be inflated ({error})", _name(entry)) from None
    if entry.csize or entry.usize:
        raise Fault("C-STREAM", "is cut short: its stream does not end", _name(entry))


def _with_object(
    entry: ZipEntry, packed: Iterator[Any], stream: Any, errors: tuple[type[Exception], ...]
) -> Iterator[bytes]:
    try:
        for piece in packed:
            while True:
                out = stream.decompress(piece, PIECE_BYTES * 2)
                if out:
                    yield out
                if stream.eof:
                    return
                piece = b""
                if stream.needs_input:
                    break
    except errors as error:
        raise Fault("C-STREAM", f"cannot be decompressed ({error})", _name(entry)) from None
    if entry.method != LZMA or entry.flags & 2:  # lzma without an end mark ends where its data does
        raise Fault("C-STREAM", "is cut short: its stream does not end", _name(entry))


def _lzma(entry: ZipEntry, packed: Iterator[Any]) -> Iterator[bytes]:
    """Undo method 14: two bytes of version, the properties, then a raw stream (APPNOTE 5.8.8)."""
    import lzma

    head = b""
    while len(head) < 4 or len(head) < 4 + int.from_bytes(head[2:4], "little"):
        piece = next(packed, None)
        if not piece:
            raise Fault("C-STREAM", "is cut short", _name(entry))
        head += piece
    end = 4 + int.from_bytes(head[2:4], "little")
    try:
        if end != 9:
            raise lzma.LZMAError("properties of an odd size")
        properties = head[4]
        if properties >= 225:
            raise lzma.LZMAError("impossible properties")
        window = int.from_bytes(head[5:9], "little")
        if window > 64 << 20 and window > entry.usize:
            window = max(4096, min(window, entry.usize))
        if window > 96 << 20:
            raise lzma.LZMAError("it needs more memory to unpack than is allowed")
        filters = {
            "id": lzma.FILTER_LZMA1,
            "dict_size": max(4096, window),
            "lc": properties % 9,
            "lp": properties // 9 % 5,
            "pb": properties // 45,
        }
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters])
    except (lzma.LZMAError, ValueError) as error:
        raise Fault("C-STREAM", f"cannot be decompressed ({error})", _name(entry)) from None

    def rest() -> Iterator[Any]:
        yield head[end:]
        yield from packed

    yield from _with_object(entry, rest(), stream, (lzma.LZMAError, EOFError))


# --- ZipCrypto, APPNOTE 6.1 ---


def _keys(password: bytes) -> tuple[int, int, int]:
    table = _crc_table()
    k0, k1, k2 = 0x12345678, 0x23456789, 0x34567890
    for c in password:
        k0 = (k0 >> 8) ^ table[(k0 ^ c) & 0xFF]
        k1 = ((k1 + (k0 & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k2 = (k2 >> 8) ^ table[(k2 ^ (k1 >> 24)) & 0xFF]
    return k0, k1, k2


_table: list[int] = []


def _crc_table() -> list[int]:
    if not _table:
        for n in range(256):
            for _ in range(8):
                n = (n >> 1) ^ 0xEDB88320 if n & 1 else n >> 1
            _table.append(n)
    return _table


def _decrypted(entry: ZipEntry, data: Any, password: bytes | None) -> bytes:
    return b"".join(_decrypted_pieces(entry, iter((bytes(data),)), password))


def _decrypted_pieces(entry: ZipEntry, packed: Iterator[Any], password: bytes | None) -> Iterator[bytes]:
    assert password is not None
    if entry.csize < 12:
        raise Fault("Z-LOCKED", "is said to be locked and is not", _name(entry))
    table = _crc_table()
    k0, k1, k2 = _keys(password)
    skip = 12
    check = (entry.crc >> 24) if not entry.flags & 8 else None
    for piece in packed:
        out = bytearray(len(piece))
        for nth, c in enumerate(piece):
            k = k2 | 2
            c ^= (k * (k ^ 1) >> 8) & 0xFF
            out[nth] = c
            k0 = (k0 >> 8) ^ table[(k0 ^ c) & 0xFF]
            k1 = ((k1 + (k0 & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
            k2 = (k2 >> 8) ^ table[(k2 ^ (k1 >> 24)) & 0xFF]
        if skip:
            if check is not None and skip <= len(out) and out[skip - 1] != check:
                raise Fault("Z-LOCKED", "does not open with this password", _name(entry))
            part = min(skip, len(out))
            skip -= part
            del out[:part]
        yield bytes(out)


# --- writing ---


def write_batch(
    read_at: ReadAt,
    folder: Folder,
    directory: Any,
    batch: list[tuple[int, str, int, int]],
    password: bytes | None,
    advance: Callable[[int], None],
) -> None:
    """Write files, in the order of their offsets.

    Parameters
    ----------
    read_at : callable
        Reads the archive.
    folder : Folder
        Where to write.
    directory : bytes
        The central directory.
    batch : list of (at, path, offset, limit)
        Where each entry stands in the directory, its checked path (empty for what is only looked at), where the member
        begins, and where the next one does.
    password : bytes or None
        For locked members.
    advance : callable
        Told of bytes written.
    """
    # One read for the whole batch: members lie one behind another. What lies between, if much, is not worth it.
    start, end = batch[0][2], batch[-1][3]
    if len(batch) > 1 and end - start <= 2 * WHOLE_BYTES:
        block = read_at(start, end - start)
        advance(_write_block(block, start, folder, directory, batch, password))
        return
    for at, path, offset, limit in batch:
        entry = ZipEntry(directory, at)
        entry.offset = offset
        head = read_at(offset, min(limit - offset, LOCAL_BYTES + len(entry.raw_name)))
        data_start = data_at(entry, head, limit)
        if entry.is_folder or not path:
            continue
        check_method(entry, password)
        if entry.usize <= WHOLE_BYTES and entry.csize < (least_packed(WRAP) if entry.may_wrap else WHOLE_BYTES):
            data = read_at(data_start, entry.csize)
            folder.write_file(path, _whole_of(entry, data, path, password), entry.mode, entry.mtime_ns)
            advance(entry.usize)
        else:
            _write_long(read_at, folder, entry, path, data_start, password, advance)


def _whole_of(entry: ZipEntry, data: Any, path: str, password: bytes | None) -> Any:
    if len(data) != entry.csize:
        raise Fault("C-STREAM", "is cut short", path)
    return whole(entry, data, password)


def _write_block(
    block: bytes,
    start: int,
    folder: Folder,
    directory: bytes,
    batch: list[tuple[int, str, int, int]],
    password: bytes | None,
) -> int:
    """Write the members that lie in one block; return how many bytes were written.

    The common case is written out here, since at 50,000 files each call counts: what is in doubt goes the long way.
    """
    chosen = inflate.chosen()
    inflated, crc32, errors = chosen.whole, chosen.crc32, chosen.errors
    quick, view = QUICK.unpack_from, memoryview(block)
    put = folder.write_file
    done = 0
    for at, path, offset, limit in batch:
        system, flags, method, dos, crc, csize, usize, n_name, n_extra, attributes, _ = quick(directory, at)
        begin = offset - start
        name_end = begin + LOCAL_BYTES + n_name
        if (
            path
            and block[begin : begin + 4] == b"PK\3\4"
            and block[begin + 6 : begin + 28] == directory[at + 8 : at + 30]
            and block[begin + LOCAL_BYTES : name_end] == directory[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name]
            and not flags & 1
            and csize < WHOLE_BYTES
            and usize < WHOLE_BYTES
            and (method in (DEFLATED, STORED))
        ):
            begin = name_end + (block[begin + 28] | block[begin + 29] << 8)
            end = begin + csize
            if end + start <= limit:
                data: Any = view[begin:end]
                if method == DEFLATED:
                    try:
                        data = inflated(data, usize)
                    except errors as error:
                        raise Fault("C-STREAM", f"cannot be inflated ({error})", path) from None
                if len(data) != usize:
                    raise Fault("C-SIZE", f"should be {usize:,} bytes and is not", path)
                if crc32(data) != crc:
                    raise Fault("C-CRC", _WRONG, path)
                extra = b""
                if n_extra:
                    extra_at = at + ENTRY_BYTES + n_name
                    extra = directory[extra_at : extra_at + n_extra]
                mode = attributes >> 16 if system == 3 or system == 19 else 0
                put(path, data, mode or None, _time(dos, extra))
                done += usize
                continue
        entry = ZipEntry(directory, at)
        entry.offset = offset
        begin = offset - start
        data_start = data_at(entry, view[begin : limit - start], limit)
        if entry.is_folder or not path:
            continue
        check_method(entry, password)
        data = view[data_start - start : data_start - start + entry.csize]
        if entry.usize <= WHOLE_BYTES:
            put(path, _whole_of(entry, data, path, password), entry.mode, entry.mtime_ns)
        else:
            _write_long(_reader_of(block, start), folder, entry, path, data_start, password, _nothing)
        done += entry.usize
    return done


def _nothing(n: int) -> None:
    pass


def _reader_of(block: bytes, start: int) -> ReadAt:
    return lambda offset, n: block[offset - start : offset - start + n]


def _write_long(
    read_at: ReadAt,
    folder: Folder,
    entry: ZipEntry,
    path: str,
    start: int,
    password: bytes | None,
    advance: Callable[[int], None],
) -> None:
    fd = folder.create(path, entry.mode)
    try:
        for piece in pieces(entry, read_at, start, password):
            write_all(fd, piece)
            advance(len(piece))
        if entry.mtime_ns is not None:
            folder.set_time(fd, path, entry.mtime_ns)
    finally:
        os.close(fd)
