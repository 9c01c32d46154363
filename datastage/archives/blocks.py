"""Decompress the blocks of xz and bzip2 on several cores.

Both formats are chains of blocks that know nothing of each other. Each block is made into a small stream of its own
(with a header, an index and an end around it), so that the library that decodes it also checks it.

xz writes several blocks from 5.6 on, and with ``-T2`` and the like before; its index says where they are [1]_. bzip2
always does (900 kB each), at any bit, found by the 48 bits that begin one, as lbzip2 does [2]_.

Whatever is not as it should be raises `Irregular`: the plain decoder then reads it from the start, and judges.

Here: finding and decoding blocks. Not here: the plain decoders (`streams`).

References
----------
.. [1] The .xz File Format, version 1.2.1, sections 2 to 4.
.. [2] bzip2 has no specification; J. Tsai, "bzip2 Format Specification", 2016.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from datastage.archives.streams import XZ_MEMORY_BYTES, Pieces
from datastage.reader import Reader

# What decoded blocks may take together.
HELD_BYTES = 48 << 20
MAX_THREADS = 4
_PIECE_BYTES = 1 << 20
_PART_BYTES = 128 << 10


class Irregular(Exception):
    """The blocks are not what this module can read."""


def decoded(compression: str, reader: Reader, pieces: Pieces, n_threads: int) -> Pieces | None:
    """Return the decompressed pieces of `reader`, decoded by blocks; None if there is nothing to gain.

    Parameters
    ----------
    compression : str
        ``"xz"`` or ``"bz2"``; others give None.
    reader : Reader
        The compressed file.
    pieces : iterator of bytes
        All its bytes.
    n_threads : int
        How many threads decode.
    """
    n_threads = min(n_threads, MAX_THREADS)
    if n_threads < 2 or (reader.size or 0) < 4 << 20:
        return None
    if compression == "bz2":
        return _in_order(_bz2_tasks(pieces), n_threads, n_threads + 2)
    if compression == "xz" and reader.ranges:
        try:
            found = _xz_blocks(reader)
        except Irregular:
            return None
        largest = max((block.unpacked for block in found), default=0)
        if len(found) > 1 and 0 < largest <= HELD_BYTES // 2:
            return _in_order(_xz_tasks(found, pieces), n_threads, max(1, min(n_threads + 1, HELD_BYTES // largest) - 1))
    return None


def _in_order(tasks: Iterable[Callable[[], list[bytes]]], n_threads: int, n_waiting: int) -> Pieces:
    """Run tasks on threads, a few ahead, and give what they return in their order."""
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="datastage-block")
    waiting: deque[Future[list[bytes]]] = deque()
    source = iter(tasks)
    try:
        while True:
            while len(waiting) <= n_waiting and (task := next(source, None)) is not None:
                waiting.append(pool.submit(task))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# --- xz ---


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    size: int  # without padding
    unpacked: int
    head: bytes  # of its stream


def _xz_blocks(reader: Reader) -> list[_Block]:
    """Read the indexes from the last to the first."""
    end = reader.size or 0
    streams: list[list[_Block]] = []
    while end:
        if end < 32:
            raise Irregular
        footer = reader.read_at(end - 12, 12)
        if footer[8:] == bytes(4):
            end -= 4  # padding
            continue
        if footer[10:] != b"YZ" or zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
            raise Irregular
        index_size = (int.from_bytes(footer[4:8], "little") + 1) * 4
        index_at = end - 12 - index_size
        if index_at < 12 or index_size > 16 << 20:
            raise Irregular
        index = reader.read_at(index_at, index_size)
        if zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little") or index[0]:
            raise Irregular
        n, at = _vli(index, 1)
        sizes = []
        for _ in range(n):
            size, at = _vli(index, at)
            unpacked, at = _vli(index, at)
            sizes.append((size, unpacked))
        start = index_at - sum(size + 3 & ~3 for size, _ in sizes) - 12
        head = reader.read_at(start, 12) if start >= 0 else b""
        if head[:6] != b"\xfd7zXZ\0" or head[6:8] != footer[8:10]:
            raise Irregular
        blocks = []
        place = start + 12
        for size, unpacked in sizes:
            blocks.append(_Block(place, size, unpacked, head))
            place += size + 3 & ~3
        streams.append(blocks)
        end = start
    return [block for blocks in reversed(streams) for block in blocks]


def _vli(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for nth in range(9):
        if at >= len(data) - 4:
            raise Irregular
        byte = data[at]
        at += 1
        value |= (byte & 127) << 7 * nth
        if byte < 128:
            return value, at
    raise Irregular


def _vli_of(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _xz_tasks(blocks: list[_Block], pieces: Pieces) -> Iterator[Callable[[], list[bytes]]]:
    held = bytearray()
    begin = 0  # where `held` begins in the file
    for block in blocks:
        end = block.start + (block.size + 3 & ~3)
        while begin + len(held) < end:
            piece = next(pieces, b"")
            if not piece:
                raise Irregular
            held += piece
        data = bytes(held[block.start - begin : end - begin])
        del held[: end - begin]
        begin = end

        def task(block: _Block = block, data: bytes = data) -> list[bytes]:
            return _xz_decode(block, data)

        yield task
    for _ in pieces:  # the last index has been read already; this counts its bytes
        pass


def _xz_decode(block: _Block, data: bytes) -> list[bytes]:
    index = b"\0\1" + _vli_of(block.size) + _vli_of(block.unpacked)
    index += bytes(-len(index) % 4)
    index += zlib.crc32(index).to_bytes(4, "little")
    tail = (len(index) // 4 - 1).to_bytes(4, "little") + block.head[6:8]
    end = index + zlib.crc32(tail).to_bytes(4, "little") + tail + b"YZ"
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
    view = memoryview(data)
    # In small parts: the decoder keeps a copy of what it was given and has not used.
    parts: list[bytes | memoryview] = [view[at : at + _PART_BYTES] for at in range(0, len(view), _PART_BYTES)]
    out = []
    try:
        for part in [block.head, *parts, end]:
            piece = decoder.decompress(part, _PIECE_BYTES)
            while piece:
                out.append(piece)
                piece = b"" if decoder.eof or decoder.needs_input else decoder.decompress(b"", _PIECE_BYTES)
    except (lzma.LZMAError, EOFError):
        raise Irregular from None
    if not decoder.eof or decoder.unused_data:
        raise Irregular
    return out


# --- bzip2 ---

_BLOCK_MARK = 0x314159265359
_END_MARK = 0x177245385090
_TAIL_BYTES = 4096
MAX_BLOCK_BYTES = 2 << 20  # 900 kB, were it ever so hard to pack


def _bz2_tasks(pieces: Pieces) -> Iterator[Callable[[], list[bytes]]]:
    """Cut the file where blocks begin. What is behind a stream's last block goes with it, and is judged here."""
    held = bytearray()
    looked = 0
    marks: list[int] = []  # bits, from the start of `held`
    ended = False
    header = True
    combined = [0]
    while True:
        while len(marks) < 2 and not ended:
            piece = next(pieces, b"")
            if not piece:
                ended = True
                break
            held += piece
            marks += _marks(held, looked, _BLOCK_MARK)
            looked = max(0, len(held) - 6)
            if len(marks) < 2 and len(held) - (marks[0] // 8 if marks else 0) > MAX_BLOCK_BYTES + len(piece):
                raise Irregular
        if not marks:
            raise Irregular
        if header:
            if held[:3] != b"BZh" or not 0x31 <= held[3] <= 0x39 or marks[0] != 32:
                raise Irregular
            header = False
        start = marks.pop(0)
        end = marks[0] if marks else len(held) * 8
        bits = _bits(held, start, end)
        crc = int.from_bytes(bits[6:10], "big")
        # An end stands right before the next stream, but for empty streams between: a look at the last bytes finds it.
        tail = 0 if not marks else max(0, len(bits) - _TAIL_BYTES)
        ends = [tail * 8 + mark for mark in _marks(bits[tail:], 0, _END_MARK)]
        task_bits, n_bits = bits, end - start
        if ends:
            # The last block of its stream, or a chance of one in 2^28 for a whole gigabyte: then decoding will fail.
            task_bits, n_bits = bits, ends[0]
        combined[0] = ((combined[0] << 1 | combined[0] >> 31) & 0xFFFFFFFF) ^ crc

        def task(bits: bytes = task_bits, n_bits: int = n_bits, crc: int = crc) -> list[bytes]:
            return _bz2_decode(bits, n_bits, crc)

        yield task
        if ends:
            _judge_end(held, start, start + ends[0], end, combined[0], last=not marks)
            combined[0] = 0
        if not marks:
            if not ends:
                raise Irregular
            return
        cut = marks[0] // 8
        del held[:cut]
        looked -= cut
        marks = [mark - cut * 8 for mark in marks]


def _judge_end(held: bytearray, start: int, at: int, end: int, combined: int, last: bool) -> None:
    """Judge what lies between a stream's last block and the next stream's first, or the end of the file."""
    while True:
        if at + 80 > len(held) * 8:
            raise Irregular
        tail = _bits(held, at, at + 80)
        if int.from_bytes(tail[:6], "big") != _END_MARK or int.from_bytes(tail[6:10], "big") != combined:
            raise Irregular
        byte = (at + 80 + 7) // 8
        if byte == len(held):
            if not last:
                raise Irregular
            return
        head = bytes(held[byte : byte + 4])
        if head[:3] != b"BZh" or not b"1" <= head[3:4] <= b"9":
            raise Irregular
        at = (byte + 4) * 8
        if not last and at == end:
            return
        combined = 0  # an empty stream


def _bits(data: bytes | bytearray, start: int, end: int) -> bytes:
    """Return bits `start` to `end` as bytes, the last filled up with zeros."""
    first, last = start // 8, (end + 7) // 8
    shift = start % 8
    part = bytearray(data[first:last])
    part[0] &= 0xFF >> shift
    if end % 8:
        part[-1] &= 0xFF << 8 - end % 8 & 0xFF
    if not shift:
        return bytes(part)
    return (int.from_bytes(part, "big") << shift).to_bytes(len(part), "big")[: (end - start + 7) // 8]


def _marks(data: bytes | bytearray, from_byte: int, mark: int) -> list[int]:
    """Return the bits at which the 48 bits of a mark stand."""
    found = []
    for shift in range(8):
        pattern = (mark << 8 - shift).to_bytes(7, "big")
        middle = pattern[1:6] if shift else pattern[0:6]
        lead = 1 if shift else 0
        at = data.find(middle, from_byte + lead)
        while at >= 0:
            begin = at - lead
            if not shift:
                found.append(begin * 8)
            elif (
                begin + 7 <= len(data)
                and data[begin] & (0xFF >> shift) == pattern[0]
                and data[begin + 6] >> 8 - shift == pattern[6] >> 8 - shift
            ):
                found.append(begin * 8 + shift)
            at = data.find(middle, at + 1)
    # Those that were seen before and end within the overlap come again only if they had not ended then.
    return sorted(found)


def _bz2_decode(bits: bytes, n_bits: int, crc: int) -> list[bytes]:
    """Decode one block: between a header and an end of our own, which demands the block's checksum of the whole."""
    pad = -n_bits % 8
    whole = n_bits // 8
    if pad:
        # The last byte holds 8 - pad bits of the block: the end begins right behind them.
        number = bits[whole] >> pad << 80 | _END_MARK << 32 | crc
        n = 80 + 8 - pad
        number <<= -n % 8
        end = number.to_bytes((n + 7) // 8, "big")
    else:
        end = (_END_MARK << 32 | crc).to_bytes(10, "big")
    decoder = bz2.BZ2Decompressor()
    out = []
    try:
        piece = decoder.decompress(b"BZh9" + bits[:whole] + end, _PIECE_BYTES)
        while piece or not decoder.eof:
            if not piece and decoder.needs_input:
                raise Irregular
            out.append(piece)
            piece = b"" if decoder.eof else decoder.decompress(b"", _PIECE_BYTES)
    except (OSError, ValueError):
        raise Irregular from None
    return out
