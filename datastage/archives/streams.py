"""Compressed streams: from pieces of gz, bz2, xz, zst or lz4 to pieces of what they hold, checked to the last byte.

Each decoder reads to the end of what it is given. Several streams one behind another are one, and zeros behind gzip are
padding. Anything else behind the end is refused (C-TRAIL), since a damaged second stream looks the same. The libraries
check the checksums.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

from datastage.archives import inflate
from datastage.archives.errors import Fault
from datastage.made_ahead import made_ahead

Pieces = Iterator[bytes]
# Pieces stay within a core's cache, and a decoder with a bound on its output copies what it leaves of its input: in
# pieces of a mebibyte that cost a third of the time.
PIECE_BYTES = 256 << 10
FEED_BYTES = 128 << 10
# xz -9 needs 65 MiB. What asks for more is refused, so that no header decides over this machine's memory.
XZ_MEMORY_BYTES = 100 << 20
# zstd --long and -19 to -22 declare windows of up to 128 MiB, and need as much only when the data is as long.
ZSTD_WINDOW_BYTES = 1 << 27


def close(pieces: Pieces) -> None:
    """End a decoder that may have been left half-way."""
    end = getattr(pieces, "close", None)
    if end is not None:
        end()


def _decoded(
    pieces: Pieces, make: Callable[[], Any], errors: tuple[type[BaseException], ...], magic: bytes, padding: int = 0
) -> Pieces:
    """Decode streams one behind another with objects like bz2's. `padding`: zeros behind them come by so many."""
    pieces = filter(None, pieces)
    piece = next(pieces, b"")
    if not piece:
        raise Fault("C-STREAM", "holds no bytes")
    while piece:
        stream = make()
        while not stream.eof:
            try:
                out = stream.decompress(piece, PIECE_BYTES)
            except errors as error:
                raise _broken(error) from None
            if out:
                yield out
            piece = b""
            if stream.needs_input and not stream.eof:
                piece = next(pieces, b"")
                if not piece:
                    raise Fault("C-STREAM", "is cut short: the stream does not end")
        piece = stream.unused_data or next(pieces, b"")
        n_zeros = 0
        while padding and piece[:1] == b"\0":
            n_zeros += len(piece) - len(piece.lstrip(b"\0"))
            piece = piece.lstrip(b"\0") or next(pieces, b"")
        if n_zeros and (n_zeros % padding or (piece and magic == _GZIP_MAGIC)):  # zeros end a gzip file
            raise Fault("C-TRAIL", "has bytes behind its end that are no padding")
        may_skip = magic == _ZSTD_MAGIC and 0x50 <= (piece or b"\0")[0] <= 0x5F
        if not magic.startswith(piece[: len(magic)]) and not may_skip:
            raise Fault("C-TRAIL", _BEHIND)


_GZIP_MAGIC = b"\x1f\x8b"
_BEHIND = "has other bytes behind its end"


class _Gzip:
    """A decoder of zlib's kind, by the fastest library that is installed, with the manners of one of bz2's."""

    eof = False

    def __init__(self, window: int) -> None:
        self._stream = inflate.chosen().stream(window)

    def decompress(self, piece: bytes, most: int) -> bytes:
        out: bytes = self._stream.decompress(piece or self._stream.unconsumed_tail, most)
        # zlib may hold output back; asking with nothing gives it, until a piece comes short.
        self.needs_input = not self._stream.unconsumed_tail and len(out) < most
        self.eof, self.unused_data = self._stream.eof, self._stream.unused_data
        return out


def gz(pieces: Pieces, window: int = 31) -> Pieces:
    """Decode gzip, or by another `window` of zlib's another form of deflate."""
    small = (piece[at : at + FEED_BYTES] for piece in pieces for at in range(0, len(piece), FEED_BYTES))
    return _decoded(small, partial(_Gzip, window), inflate.chosen().errors, _GZIP_MAGIC, 1)


def bz2_(pieces: Pieces) -> Pieces:
    """Decode bzip2."""
    return _decoded(pieces, bz2.BZ2Decompressor, (OSError, ValueError, EOFError), b"BZh")


def xz(pieces: Pieces) -> Pieces:
    """Decode xz."""
    make = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, XZ_MEMORY_BYTES)
    return _decoded(pieces, make, (lzma.LZMAError, EOFError), b"\xfd7zXZ\0", 4)


def zst(pieces: Pieces) -> Pieces:
    """Decode zstd."""
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        return _zst_by_parts(pieces)
    options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_BYTES.bit_length() - 1}
    errors = (zstd.ZstdError, EOFError, ValueError)
    return _decoded(pieces, lambda: zstd.ZstdDecompressor(options=options), errors, _ZSTD_MAGIC)


def _zst_by_parts(pieces: Pieces) -> Pieces:
    try:
        import zstandard
    except ImportError:
        raise Fault("X-ZST", "is compressed by zstd, and nothing here can read that") from None
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    frame = None
    try:
        for part, is_last in _zst_parts(pieces):
            frame = frame or context.decompressobj()
            if out := frame.decompress(part):
                yield out
            if frame.eof != is_last or frame.unused_data:
                raise Fault("C-STREAM", "has a zstd frame that does not end where its blocks do")
            frame = None if is_last else frame
    except zstandard.ZstdError as error:
        raise _broken(error) from None


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCKS = 4  # of 128 KiB at most


def skippable_bytes(head: bytes) -> int:
    """Return how long the frame is that zstd and lz4 pass over, where `head` begins with one; 0 where it does not."""
    is_one = len(head) >= 8 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    return 8 + int.from_bytes(head[4:8], "little") if is_one else 0


def _zst_parts(pieces: Pieces) -> Iterator[tuple[bytes, bool]]:
    """Cut zstd frames into parts of a few blocks, and say of each whether its frame ends with it (RFC 8878, 3.1.1).

    A block makes 128 KiB at most: the library, which gives all that its input makes, is held to a bound by this.
    """
    held = Bytes(pieces)
    cut_short = Fault("C-STREAM", "is cut short: the zstd frame does not end")
    read = partial(held.exactly, cut_short=cut_short)
    if not (magic := held.read(4)):
        raise Fault("C-STREAM", "holds no bytes")
    while magic:
        if skippable_bytes(magic + bytes(4)):
            held.pass_over(int.from_bytes(read(4), "little"), cut_short)
        elif magic != _ZSTD_MAGIC:
            raise Fault("C-TRAIL", _BEHIND)
        else:
            flags = read(1)
            single, sizes = flags[0] >> 5 & 1, flags[0] >> 6
            n_head = (not single) + (0, 1, 2, 4)[flags[0] & 3] + (single if not sizes else 1 << sizes)
            part, n_blocks, is_last = [magic, flags, read(n_head)], 0, 0
            while not is_last:
                head = read(3)
                number = int.from_bytes(head, "little")
                is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
                part += [head, read(size if kind != 1 else 1)]
                n_blocks += 1
                if is_last and flags[0] & 4:
                    part.append(read(4))
                if is_last or n_blocks == _ZSTD_BLOCKS:
                    yield b"".join(part), bool(is_last)
                    part, n_blocks = [], 0
        magic = held.read(4)


_LZ4_MAGIC, _LZ4_LEGACY = b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"
_LZ4_LEGACY_BYTES = 8 << 20  # what each block of the old form holds, but for the last


def lz4(pieces: Pieces) -> Pieces:
    """Decode lz4: frames of today, of the first form ("legacy"), and frames to skip, in any order."""
    try:
        import lz4.block
        import lz4.frame
    except ImportError:
        raise Fault("X-LZ4", "is compressed by lz4, and nothing here can read that") from None
    held = Bytes(pieces)
    errors = (RuntimeError, EOFError, ValueError, lz4.block.LZ4BlockError)
    cut_short = Fault("C-STREAM", "is cut short: the lz4 frame does not end")

    def undone(decompress: Callable[[bytes, int], bytes], data: bytes, n: int) -> bytes:
        try:
            return decompress(data, n)
        except errors as error:
            raise _broken(error) from None

    if not (magic := held.read(4)):
        raise Fault("C-STREAM", "holds no bytes")
    while magic:
        if skippable_bytes(magic + bytes(4)):
            held.pass_over(int.from_bytes(held.read(4), "little"), cut_short)
            magic = held.read(4)
        elif magic == _LZ4_LEGACY:
            while (magic := held.read(4)) and (size := int.from_bytes(magic, "little")) <= 2 * _LZ4_LEGACY_BYTES:
                if len(magic) < 4:
                    raise cut_short
                yield undone(lz4.block.decompress, held.exactly(size, cut_short), _LZ4_LEGACY_BYTES)
        elif magic == _LZ4_MAGIC:
            frame, piece = lz4.frame.LZ4FrameDecompressor(), magic
            while not frame.eof:
                if out := undone(frame.decompress, piece, PIECE_BYTES):
                    yield out
                piece = b""
                if frame.needs_input and not frame.eof and not (piece := held.some()):
                    raise cut_short
            held.put_back(frame.unused_data or b"")
            magic = held.read(4)
        else:
            raise Fault("C-TRAIL", _BEHIND)


def _broken(error: BaseException) -> Fault:
    text = str(error).lower()
    if "memory" in text and ("limit" in text or "too much" in text):
        return Fault("C-MEMORY", "needs more memory to unpack than is allowed")
    return Fault("C-CRC" if "check" in text or "crc" in text else "C-STREAM", f"cannot be decompressed ({error})")


def ahead(pieces: Pieces, n_pieces: int = 16) -> Generator[bytes, None, None]:
    """Run a decoder in a thread of its own, at most `n_pieces` ahead. Close it, also after an error."""
    # Not longer for bytes of a slow link: closing the reader ends that.
    return made_ahead(pieces, n_pieces, name="datastage-decode", leave_s=0.5)


class Bytes:
    """Pieces as something to read from."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._now = memoryview(b"")

    def read(self, n: int) -> bytes:
        """Return exactly `n` bytes, fewer only at the end."""
        if n <= len(self._now):
            out, self._now = self._now[:n], self._now[n:]
            return bytes(out)
        return b"".join(self.pieces(n))

    def exactly(self, n: int, cut_short: Fault) -> bytes:
        """Return `n` bytes, or raise `cut_short`."""
        if len(data := self.read(n)) < n:
            raise cut_short
        return data

    def pieces(self, n: int) -> Iterator[memoryview]:
        """Give exactly `n` bytes in pieces, fewer only at the end."""
        while n:
            if not self._now:
                piece = next(self._pieces, None)
                if piece is None:
                    return
                self._now = memoryview(piece)
                continue
            out, self._now = self._now[:n], self._now[n:]
            n -= len(out)
            yield out

    def some(self) -> bytes:
        """Return what comes next, as much as there is at once; nothing at the end."""
        return next((bytes(piece) for piece in self.pieces(PIECE_BYTES)), b"")

    def put_back(self, data: bytes) -> None:
        """Give `data` again before what follows."""
        self._now = memoryview(data + bytes(self._now))

    def skip(self, n: int) -> int:
        """Pass over `n` bytes; return how many there were."""
        return sum(len(piece) for piece in self.pieces(n))

    def pass_over(self, n: int, cut_short: Fault) -> None:
        """Pass over `n` bytes, or raise `cut_short`."""
        if self.skip(n) < n:
            raise cut_short


class Part:
    """The next bytes of a stream, as many as a member has; `cut_short` is raised where there are fewer."""

    def __init__(self, stream: Bytes, n_bytes: int, cut_short: Fault) -> None:
        self._stream, self._left, self._cut_short = stream, n_bytes, cut_short

    def pieces(self) -> Iterator[memoryview]:
        """Give the bytes, or what is left of them."""
        while self._left:
            piece = next(self._stream.pieces(self._left), None)
            if piece is None:
                raise self._cut_short
            self._left -= len(piece)
            yield piece

    def skip(self) -> None:
        """Pass over what is left."""
        left, self._left = self._left, 0
        self._stream.pass_over(left, self._cut_short)
