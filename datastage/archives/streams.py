"""Compressed streams: from pieces of gz, bz2, xz, zst or lz4 to pieces of what they hold, checked to the last byte.

Every decoder is a generator over pieces of bytes. Each reads to the end of what it is given: several streams one behind
another are one, zeros behind gzip are padding, and anything else behind the end is refused (C-TRAIL), since a damaged
second stream looks the same. Checksums are checked by the libraries.

Here: the decoders, running one in a thread of its own, and pieces as something to read from.
Not here: what the bytes mean (`tar`, `single`).
"""

from __future__ import annotations

import bz2
import lzma
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from datastage.archives import inflate
from datastage.archives.errors import Fault

Pieces = Iterator[bytes]
# Pieces stay within a core's cache, and a decoder with a bound on its output copies what it leaves of its input: in
# pieces of a mebibyte that cost a third of the time.
PIECE_BYTES = 256 << 10
FEED_BYTES = 128 << 10
# xz -9 needs 65 MiB. What asks for more is refused, so that no header decides over this machine's memory.
XZ_MEMORY_BYTES = 100 << 20
# zstd --long and -19 to -22 declare windows of up to 128 MiB, and need as much only when the data is as long.
ZSTD_WINDOW_BYTES = 1 << 27


def decoded(compression: str, pieces: Pieces) -> Pieces:
    """Return the pieces of what `pieces` hold.

    Parameters
    ----------
    compression : "", "gz", "bz2", "xz", "zst" or "lz4"
        What to undo; nothing for "".
    pieces : iterator of bytes
        The compressed bytes, in pieces of any size.
    """
    return DECODERS[compression](pieces)


def _gz(pieces: Pieces) -> Pieces:
    chosen = inflate.chosen()
    pieces = _small(pieces)
    for piece in pieces:
        if piece:
            break
    else:
        raise Fault("C-STREAM", "holds no bytes")
    while True:
        stream = chosen.stream(31)
        rest: Any = piece
        while True:
            try:
                out = stream.decompress(rest, PIECE_BYTES)
            except chosen.errors as error:
                raise _broken(error) from None
            if out:
                yield out
            if stream.eof:
                piece = stream.unused_data
                break
            rest = stream.unconsumed_tail
            if not rest and (not out or len(out) < PIECE_BYTES):
                # zlib may hold output back; asking with nothing gives it, until a piece comes short
                rest = next(pieces, b"")
                if not rest:
                    raise Fault("C-STREAM", "is cut short: the gzip stream does not end")
        while not piece:
            more = next(pieces, None)
            if more is None:
                return
            piece = more
        if piece[0] == 0:
            _only_zeros(piece, pieces)
            return


def _small(pieces: Pieces) -> Pieces:
    for piece in pieces:
        for at in range(0, len(piece), FEED_BYTES):
            yield piece[at : at + FEED_BYTES]


def _only_zeros(piece: bytes, pieces: Pieces) -> int:
    n = 0
    while True:
        if piece.count(0) != len(piece):
            raise Fault("C-TRAIL", "has other bytes behind its end")
        n += len(piece)
        more = next(pieces, None)
        if more is None:
            return n
        piece = more


def _with_object(  # noqa: C901
    pieces: Pieces, make: Callable[[], Any], errors: tuple[type[BaseException], ...], padding: int
) -> Pieces:
    """Decode streams one behind another with objects like bz2's. `padding`: zeros behind come by so many."""
    piece = b""
    seen = False
    while True:
        while not piece:
            more = next(pieces, None)
            if more is None:
                if not seen:
                    raise Fault("C-STREAM", "holds no bytes")
                return
            piece = more
        if seen and padding and piece[0] == 0:
            head = len(piece) - len(piece.lstrip(b"\0"))
            n, piece = head, piece[head:]
            while not piece:
                more = next(pieces, None)
                if more is None:
                    break
                head = len(more) - len(more.lstrip(b"\0"))
                n, piece = n + head, more[head:]
            if n % padding:
                raise Fault("C-TRAIL", "has bytes behind its end that are no padding")
            if not piece:
                return
        seen = True
        stream = make()
        while True:
            try:
                out = stream.decompress(piece, PIECE_BYTES)
            except errors as error:
                raise _broken(error) from None
            if out:
                yield out
            if stream.eof:
                piece = stream.unused_data
                break
            piece = b""
            if stream.needs_input:
                piece = next(pieces, b"")
                if not piece:
                    raise Fault("C-STREAM", "is cut short: the stream does not end")


def _bz2(pieces: Pieces) -> Pieces:
    return _with_object(pieces, bz2.BZ2Decompressor, (OSError, ValueError, EOFError), 0)


def _xz(pieces: Pieces) -> Pieces:
    def make() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)

    return _with_object(pieces, make, (lzma.LZMAError, EOFError), 4)


def _zst(pieces: Pieces) -> Pieces:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        pass
    else:
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_BYTES.bit_length() - 1}
        yield from _with_object(
            pieces, lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError, EOFError, ValueError), 0
        )
        return
    try:
        import zstandard
    except ImportError:
        yield from _tool(["zstd", "-dcq", "-T1", "--memory=128MB"], pieces, "X-ZSTD", "is compressed by zstd")
        return
    context = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    frame = None
    try:
        for part, is_last in _zst_parts(pieces):
            frame = frame or context.decompressobj()
            if out := frame.decompress(part):
                yield out
            if frame.eof != is_last or frame.unused_data:
                raise Fault("C-STREAM", "has a zstd frame that does not end where its blocks do")
            if is_last:
                frame = None
    except zstandard.ZstdError as error:
        raise _broken(error) from None


_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_BLOCKS = 4  # of 128 KiB at most


def _zst_parts(pieces: Pieces) -> Iterator[tuple[bytes, bool]]:
    """Cut zstd frames into parts of a few blocks, and say of each whether its frame ends with it (RFC 8878, 3.1.1).

    A block makes 128 KiB at most: the library, which gives all that its input makes, is held to a bound by this.
    """
    held = Bytes(pieces)
    if not (magic := held.read(4)):
        raise Fault("C-STREAM", "holds no bytes")
    cut_short = Fault("C-STREAM", "is cut short: the zstd frame does not end")
    while magic:
        number = int.from_bytes(magic, "little")
        if number & ~15 == 0x184D2A50:  # a frame to skip
            length = held.read(4)
            if len(length) < 4 or held.skip(n := int.from_bytes(length, "little")) < n:
                raise cut_short
        elif number != _ZSTD_MAGIC:
            raise Fault("C-TRAIL", "has other bytes behind its end")
        else:
            flags = held.read(1)
            if not flags:
                raise cut_short
            single, sizes = flags[0] >> 5 & 1, flags[0] >> 6
            n_head = (not single) + (0, 1, 2, 4)[flags[0] & 3] + (single if not sizes else 1 << sizes)
            part, n_blocks, is_last = [magic, flags, held.read(n_head)], 0, 0
            while not is_last:
                head = held.read(3)
                number = int.from_bytes(head, "little")
                is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
                data = held.read(size if kind != 1 else 1)
                if len(head) < 3 or len(data) < (size if kind != 1 else 1):
                    raise cut_short
                part += [head, data]
                n_blocks += 1
                if is_last and flags[0] & 4:
                    part.append(held.read(4))
                    if len(part[-1]) < 4:
                        raise cut_short
                if is_last or n_blocks == _ZSTD_BLOCKS:
                    yield b"".join(part), bool(is_last)
                    part, n_blocks = [], 0
        magic = held.read(4)


def _lz4(pieces: Pieces) -> Pieces:
    try:
        import lz4.frame
    except ImportError:
        return _tool(["lz4", "-dcq"], pieces, "X-LZ4", "is compressed by lz4")
    return _with_object(pieces, lz4.frame.LZ4FrameDecompressor, (RuntimeError, EOFError, ValueError), 0)


def _tool(command: list[str], pieces: Pieces, rule: str, what: str) -> Pieces:
    """Decode through a command-line tool: bytes in on one thread, out on this one."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
    except OSError:
        raise Fault(rule, f"{what}, and nothing here can read that") from None
    failed: list[BaseException] = []

    def feed() -> None:
        assert process.stdin is not None
        try:
            for piece in pieces:
                process.stdin.write(piece)
        except BrokenPipeError:
            pass
        except BaseException as error:  # told to the reading side, below
            failed.append(error)
        finally:
            try:
                process.stdin.close()
            except OSError:
                pass

    feeder = threading.Thread(target=feed, name="datastage-feed", daemon=True)
    feeder.start()
    assert process.stdout is not None
    try:
        while piece := process.stdout.read(PIECE_BYTES):
            yield piece
        feeder.join()
        code = process.wait()
        if failed:
            raise failed[0]
        if code:
            raise Fault("C-STREAM", f"is not a whole stream, says {command[0]}")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _plain(pieces: Pieces) -> Pieces:
    return pieces


DECODERS: dict[str, Callable[[Pieces], Pieces]] = {
    "": _plain,
    "gz": _gz,
    "bz2": _bz2,
    "xz": _xz,
    "zst": _zst,
    "lz4": _lz4,
}


def _broken(error: BaseException) -> Fault:
    text = str(error).lower()
    if "memory" in text and "limit" in text:
        return Fault("C-STREAM", "needs more memory to unpack than is allowed")
    return Fault("C-CRC" if "check" in text or "crc" in text else "C-STREAM", f"cannot be decompressed ({error})")


class Ahead:
    """Run a generator in a thread of its own, a few pieces ahead. Close it, also after an error.

    Parameters
    ----------
    pieces : iterator of bytes
        What to run.
    n_pieces : int
        How many pieces may lie ready: the bound on memory.
    """

    def __init__(self, pieces: Pieces, n_pieces: int = 16) -> None:
        self._pieces = pieces
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(n_pieces)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="datastage-decode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for piece in self._pieces:
                if not self._put(piece):
                    return
        except BaseException as error:  # raised again where the pieces are read
            last = error
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        self._put(last)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def __iter__(self) -> Ahead:
        return self

    def __next__(self) -> bytes:
        if self._stop.is_set():
            raise StopIteration
        item = self._queue.get()
        if item is None or isinstance(item, BaseException):
            self._stop.set()
            if item is None:
                raise StopIteration
            raise item
        return item

    def close(self) -> None:
        """Stop the thread and wait for it, but not for bytes of a slow link: closing the reader ends that."""
        self._stop.set()
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._thread.join(0.5)


class Bytes:
    """Pieces as something to read from, without copying more than need be."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._now = memoryview(b"")
        self.offset = 0

    def read(self, n: int) -> bytes:
        """Return exactly `n` bytes, fewer only at the end."""
        if n <= len(self._now):
            out, self._now = self._now[:n], self._now[n:]
            self.offset += n
            return bytes(out)
        return b"".join(self.pieces(n))

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
            self.offset += len(out)
            yield out

    def skip(self, n: int) -> int:
        """Pass over `n` bytes; return how many there were."""
        return sum(len(piece) for piece in self.pieces(n))
