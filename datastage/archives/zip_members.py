"""From the packed bytes of a zip member to its checked bytes in a file.

The rules: C-CRC, C-SIZE, C-STREAM, Z-LOCKED. Helper processes import this module, so it imports nothing heavy.
"""

from __future__ import annotations

import zlib

from datastage.archives import inflate, zip_entry
from datastage.archives.errors import Fault
from datastage.archives.write import Folder
from datastage.archives.zip_entry import BZIP2, DEFLATED, LZMA, STORED, ZipEntry, begin, check_method, mtime_ns
from datastage.archives.zip_entry import ENTRY_BYTES as _ENTRY
from datastage.archives.zip_entry import LOCAL_BYTES as _LOCAL
from datastage.archives.zip_entry import QUICK as _QUICK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from datastage.archives.zip_entry import ReadAt, Row

# Members up to this size are read and written whole; larger ones in pieces.
WHOLE_BYTES = 4 << 20
PIECE_BYTES = 512 << 10
_WRONG = "has a wrong checksum"
_LZMA_REST_BYTES = 4096


def content_of(entry: ZipEntry, read_at: ReadAt, limit: int, password: bytes | None) -> Iterator[Any]:
    """Give the checked content of one member in pieces; a fault may come at the end."""
    start = begin(entry, read_at, limit)
    check_method(entry, password)
    yield from pieces(entry, read_at, start, password)


def read_whole(entry: ZipEntry, read_at: ReadAt, limit: int, password: bytes | None) -> bytes:
    """Return the checked content of one member, read in one go."""
    start = begin(entry, read_at, limit)
    check_method(entry, password)
    return bytes(whole(entry, read_at(start, entry.csize), password))


def whole(entry: ZipEntry, data: Any, password: bytes | None) -> Any:
    """Return the checked content of one member whose packed bytes are `data`."""
    chosen = inflate.chosen()
    if len(data) != entry.csize:
        raise Fault("C-STREAM", "is cut short", entry.shown_name)
    method = entry.method if entry.csize else STORED  # some write nothing at all for an empty file
    if entry.encrypted or method not in (STORED, DEFLATED):
        return b"".join(pieces(entry, lambda at, n: bytes(data[at : at + n]), 0, password))
    try:
        out = chosen.whole(data, entry.usize) if method == DEFLATED else data
    except chosen.errors as error:
        raise _not_inflated(entry, error) from None
    if len(out) != entry.usize:
        raise Fault("C-SIZE", f"should be {entry.usize:,} bytes and is not", entry.shown_name)
    if chosen.crc32(out) != entry.crc:
        raise Fault("C-CRC", _WRONG, entry.shown_name)
    return out


def pieces(entry: ZipEntry, read_at: ReadAt, start: int, password: bytes | None) -> Iterator[Any]:
    """Give the checked content of one member, whose data begins at `start`, in pieces."""
    crc32 = inflate.chosen().crc32
    crc = size = 0
    allowed = entry.usize
    packed = _packed(entry, read_at, start)
    if entry.encrypted:
        packed = _decrypted(entry, packed, password)
    for piece in _decoded(entry, packed):
        size += len(piece)
        while size > allowed:
            if not entry.size_step:
                raise Fault("C-SIZE", f"holds more than the {entry.usize:,} bytes declared", entry.shown_name)
            allowed += entry.size_step
        crc = crc32(piece, crc)
        yield piece
    if size != allowed:
        raise Fault("C-SIZE", f"should be {entry.usize:,} bytes and is {size:,}", entry.shown_name)
    if crc != entry.crc:
        raise Fault("Z-LOCKED" if entry.encrypted else "C-CRC", _WRONG, entry.shown_name)


def _packed(entry: ZipEntry, read_at: ReadAt, start: int) -> Iterator[bytes]:
    end = start + entry.csize
    while start < end:
        piece = read_at(start, min(PIECE_BYTES, end - start))
        if not piece:
            raise Fault("C-STREAM", "is cut short", entry.shown_name)
        yield piece
        start += len(piece)


def _decoded(entry: ZipEntry, packed: Iterator[Any]) -> Iterator[Any]:
    if entry.method == STORED:
        return packed
    if entry.method == DEFLATED:
        return _decompressed(entry, packed, inflate.chosen().stream(-15))
    if entry.method == BZIP2:
        import bz2

        return _decompressed(entry, packed, bz2.BZ2Decompressor())
    if entry.method == LZMA:
        return _as_declared(entry, _decompressed(entry, *_lzma(entry, packed)))
    from datastage.archives import streams

    return streams.zst(packed)


def _as_declared(entry: ZipEntry, decoded: Iterator[bytes]) -> Iterator[bytes]:
    """Give what lzma decodes. Without an end mark the last bytes of its input may say a little more than there was."""
    left = entry.usize
    for piece in decoded:
        is_rest = not entry.flags & 2 and len(piece) - max(left, 0) <= _LZMA_REST_BYTES
        yield piece[: max(left, 0)] if is_rest else piece
        left -= len(piece)


def _not_inflated(entry: ZipEntry, error: Exception) -> Fault:
    return Fault("Z-LOCKED" if entry.encrypted else "C-STREAM", f"cannot be inflated ({error})", entry.shown_name)


def _decompressed(entry: ZipEntry, packed: Iterator[Any], stream: Any) -> Iterator[bytes]:
    try:
        for piece in packed:
            while True:
                out = stream.decompress(piece, PIECE_BYTES * 2)
                if out:
                    yield out
                if stream.eof:
                    return
                piece = getattr(stream, "unconsumed_tail", b"")  # bz2 and lzma keep what is left themselves
                if not piece and len(out) < PIECE_BYTES * 2:
                    break
    except Fault:
        raise
    except Exception as error:  # each library raises several kinds
        raise _not_inflated(entry, error) from None
    # Lzma without an end mark ends where its data does.
    if (entry.method != LZMA or entry.flags & 2) and (entry.csize or entry.usize):
        raise Fault("Z-LOCKED" if entry.encrypted else "C-STREAM", "is cut short: it does not end", entry.shown_name)


def _lzma(entry: ZipEntry, packed: Iterator[Any]) -> tuple[Iterator[Any], Any]:
    """Undo method 14: two bytes of version, the properties, then a raw stream (APPNOTE 5.8.8)."""
    import itertools
    import lzma

    head = b""
    while len(head) < 9:
        piece = next(packed, None)
        if not piece:
            raise Fault("C-STREAM", "is cut short", entry.shown_name)
        head += piece
    properties, window = head[4], int.from_bytes(head[5:9], "little")
    if window > 64 << 20 and window > entry.usize:
        window = entry.usize  # more than the content is never looked back to
    if head[2:4] != b"\5\0" or properties >= 225 or window > 96 << 20:
        raise Fault("C-STREAM", "cannot be decompressed: impossible properties of lzma", entry.shown_name)
    how = {"dict_size": max(4096, window), "lc": properties % 9, "lp": properties // 9 % 5, "pb": properties // 45}
    try:
        stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **how}])
    except (lzma.LZMAError, ValueError) as error:
        raise Fault("C-STREAM", f"cannot be decompressed ({error})", entry.shown_name) from None
    return itertools.chain([head[9:]], packed), stream


# --- ZipCrypto, APPNOTE 6.1 ---


def _decrypted(entry: ZipEntry, packed: Iterator[Any], password: bytes | None) -> Iterator[bytes]:
    if entry.csize < 12:
        raise Fault("Z-LOCKED", "is said to be locked and is not", entry.shown_name)
    table = [zlib.crc32(bytes((n,)), 0xFFFFFFFF) ^ 0xFFFFFFFF for n in range(256)]
    k0, k1, k2 = 0x12345678, 0x23456789, 0x34567890
    for c in password or b"":
        k0 = (k0 >> 8) ^ table[(k0 ^ c) & 0xFF]
        k1 = ((k1 + (k0 & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k2 = (k2 >> 8) ^ table[(k2 ^ (k1 >> 24)) & 0xFF]
    n_before = 12  # random bytes, of which the last tells whether the password is right
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
        if n_before:
            if check is not None and n_before <= len(out) and out[n_before - 1] != check:
                raise Fault("Z-LOCKED", "does not open with this password", entry.shown_name)
            part = min(n_before, len(out))
            n_before -= part
            del out[:part]
        yield bytes(out)


# --- writing ---


def write_batch(
    read_at: ReadAt,
    folder: Folder,
    directory: Any,
    batch: list[Row],
    password: bytes | None,
    advance: Callable[[int], None],
) -> None:
    """Write files, in the order of their offsets; `advance` is told of the bytes written."""
    # One read for the whole batch: members lie one behind another. What lies between, if much, is not worth it.
    start, end = batch[0][2], batch[-1][3]
    if len(batch) > 1 and end - start <= 2 * WHOLE_BYTES:
        block = read_at(start, end - start)
        view = memoryview(block)
        batch = _write_plain(block, start, folder, directory, batch, advance)

        def read_at(offset: int, n: int) -> Any:
            return view[offset - start : offset - start + n]

    for at, path, offset, limit in batch:
        entry = ZipEntry(directory, at, offset)
        data_start = begin(entry, read_at, limit)
        end = data_start + entry.csize
        if limit - end > zip_entry.DESCRIPTOR_BYTES:
            zip_entry.refuse_hidden(bytes(read_at(end, min(limit - end, zip_entry.HIDDEN_BYTES))))
        if entry.is_folder or not path:
            continue
        check_method(entry, password)
        if entry.usize <= WHOLE_BYTES and entry.csize < WHOLE_BYTES and not entry.size_step:
            data = whole(entry, read_at(data_start, entry.csize), password)
            folder.write_file(path, data, entry.mode, entry.mtime_ns)
            advance(entry.usize)
        else:
            content = _told(pieces(entry, read_at, data_start, password), advance)
            folder.write_pieces(path, content, entry.mode, entry.mtime_ns)


def _write_plain(
    block: bytes, start: int, folder: Folder, directory: bytes, batch: list[Row], advance: Callable[[int], None]
) -> list[Row]:
    """Write the plain members that lie in one block; return those in doubt, which go the long way.

    All is written out here: at 50,000 files each call counts.
    """
    chosen = inflate.chosen()
    inflated, crc32, errors = chosen.whole, chosen.crc32, chosen.errors
    quick, view, put = _QUICK.unpack_from, memoryview(block), folder.write_file
    most_behind = zip_entry.DESCRIPTOR_BYTES
    done = 0
    in_doubt = []
    for row in batch:
        at, path, offset, limit = row
        system, flags, method, dos, crc, csize, usize, n_name, n_extra, attributes, _ = quick(directory, at)
        begin = offset - start
        name_end = begin + _LOCAL + n_name
        if (
            not path
            or block[begin : begin + 4] != b"PK\3\4"
            or block[begin + 6 : begin + 28] != directory[at + 8 : at + 30]
            or block[begin + _LOCAL : name_end] != directory[at + _ENTRY : at + _ENTRY + n_name]
            or flags & 1
            or csize >= WHOLE_BYTES
            or usize >= WHOLE_BYTES
            or method not in (DEFLATED, STORED)
        ):
            in_doubt.append(row)
            continue
        begin = name_end + (block[begin + 28] | block[begin + 29] << 8)
        end = begin + csize
        if not 0 <= limit - start - end <= most_behind:
            in_doubt.append(row)
            continue
        data: Any = view[begin:end]
        if method == DEFLATED and csize:
            try:
                data = inflated(data, usize)
            except errors as error:
                raise Fault("C-STREAM", f"cannot be inflated ({error})", path) from None
        if len(data) != usize:
            raise Fault("C-SIZE", f"should be {usize:,} bytes and is not", path)
        if crc32(data) != crc:
            raise Fault("C-CRC", _WRONG, path)
        extra_at = at + _ENTRY + n_name
        mode = attributes >> 16 if system == 3 or system == 19 else 0
        put(path, data, mode or None, mtime_ns(dos, directory[extra_at : extra_at + n_extra] if n_extra else b""))
        done += usize
    advance(done)
    return in_doubt


def _told(content: Iterator[Any], advance: Callable[[int], None]) -> Iterator[Any]:
    for piece in content:
        yield piece
        advance(len(piece))
