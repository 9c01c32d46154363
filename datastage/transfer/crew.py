"""The crew: readers that fetch the blocks of one file in parallel into a partial file, and whoever watches over them.

Here: who reads which block next, how many read at once, stalls, retries, the bytes' way to disk, hashing in order.
Not here: when a transfer begins and ends and what is left on disk (`fetch`), what a fault means (`faults`).

The bytes go to disk where they belong as they come, and are read back from there (the page cache) for hashing and for
whoever unpacks meanwhile. So memory holds a buffer for each connection and nothing else, however far ahead of the
first gap the readers are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import zlib
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datastage.errors import DatastageError, IntegrityError, StorageError, UnavailableError
from datastage.progress import Reporter, human_seconds
from datastage.reader import FileReader, Reader
from datastage.transfer.blocks import Block, BlockMap
from datastage.transfer.faults import Interrupted, Limits, TooSlow, of_file
from datastage.transfer.pace import Pace

Piece = bytes | memoryview
Pieces = Callable[[int, int | None], Iterator[Piece]]
PIECE_BYTES = 1 << 20
# The kernel has been told of the whole block: smaller pieces show sooner how fast they come.
_FILE_PIECE_BYTES = 256 << 10
_TICK_S = 0.015
_NOTE_PARTS_S = 3.0
# Below this a block is not halved for an idle reader: a request costs about as much as these bytes.
_SMALLEST_HALF = 64 << 10
# Nor for so little time, or for less than two waits for a first byte.
_SHORTEST_HALF_S = 0.04
# A connection that brought something and broke is replaced soon: some servers give each only so many bytes.
_AFTER_A_CUT_S = 0.05
# A connection is compared with others after so long, at the end of a transfer.
_DRIP_AFTER_S = 2.0
# A place that stays under this is worth a word about how long it will take.
SLOW_BYTES_S = 100_000


class _ReadBack:
    """A descriptor that is closed when the last thread has let go of it: the number may soon be another file's."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            with contextlib.suppress(OSError):
                os.close(self.fd)


class _Job:
    """One reader at one block."""

    __slots__ = ("began", "block", "got_before", "gone", "last")

    def __init__(self, block: Block, now: float) -> None:
        self.block = block
        self.began = self.last = now
        self.got_before = block.got
        self.gone = False  # the block was taken from this reader: whatever it still brings is dropped


class Crew:
    """Fetch blocks into the file at `path`, with one thread for each connection.

    Parameters
    ----------
    reader : Reader
        Where the bytes come from. One with a method ``pieces(offset, n)``, which gives pieces as they arrive and
        raises `Interrupted`, is asked through it; a file is opened anew for each connection.
    path : Path
        The partial file, which exists.
    blocks : sequence of Block
        What to fetch, in order of `start`; those that are done are only hashed.
    algorithms : sequence of str
        The digests of the whole to compute, such as ``["sha256"]``.
    note_map : BlockMap, optional
        Told of what is there.
    whole : bool
        Whether everything is fetched; if False, only what is asked for by `read_at` and a little ahead of it.
    """

    def __init__(
        self,
        reader: Reader,
        path: Path,
        blocks: Sequence[Block],
        *,
        limits: Limits,
        reporter: Reporter,
        algorithms: Sequence[str] = (),
        note_map: BlockMap | None = None,
        connections: int | None = None,
        slow_below_bytes_s: float | None = None,
        whole: bool = True,
        window_bytes: int = 32 << 20,
    ) -> None:
        self._reader = reader
        self._path = path
        self._blocks = list(blocks)
        self._starts = [block.start for block in blocks]
        self._todo = [block for block in blocks if not block.is_done]
        self._limits = limits
        self._reporter = reporter
        self._map = note_map
        self._slow_below = slow_below_bytes_s
        self._whole = whole
        self._window = window_bytes
        self._pieces: Pieces = pieces_of(reader)
        self._pace = Pace(connections or limits.connections, fixed=connections is not None)
        self._jobs: set[_Job] = set()
        self._rates: deque[float] = deque(maxlen=32)  # of the blocks that came last
        self._first_byte_s = 1.0  # the shortest wait of a reader for its first byte
        self._flowed: set[int] = set()  # the readers that brought something since the pace changed
        self._changed = threading.Condition()
        self._paused_until = 0.0
        self._n_threads = 0
        self._n_idle = 0
        self._stop = False
        self._error: BaseException | None = None
        self._wanted: list[tuple[int, int]] = []  # from where to where somebody waits for bytes
        self._demand = 0  # the end of what was last asked for
        self._file = _ReadBack(path)
        self._began = time.monotonic()
        self.n_received = 0  # bytes that came over the link, twice if they came twice
        self._n_kept = sum(block.got for block in self._blocks)
        self._n_told = 0
        self._slow_since: tuple[float, int] | None = None
        self._said_slow = False
        self._hashes = {name: _new_hash(name) for name in algorithms}
        self._hasher = threading.Thread(target=self._hash, name="datastage-hash", daemon=True) if algorithms else None

    # --- from outside

    def start(self) -> None:
        """Begin; returns at once. Something has to call `tick` until it returns True."""
        if self._hasher is not None:
            self._hasher.start()
        with self._changed:
            self._enlist()

    def run(self) -> None:
        """Fetch everything, and return when it is there and hashed; raise what went wrong."""
        self.start()
        while not self.tick():
            self.wait(_TICK_S)
        self.result()

    def result(self) -> dict[str, str]:
        """Return the digests, when all is over; raise what went wrong."""
        if self._hasher is not None and self._error is None:
            while self._hasher.is_alive():
                self._hasher.join(_TICK_S)  # in short waits, so that an interrupt gets through
        if self._error is not None:
            raise self._error
        if not self._is_complete():
            raise ValueError("the transfer was closed before its end")
        return {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}

    def wait(self, seconds: float) -> None:
        """Wait until something happens, and no longer than so."""
        with self._changed:
            if not self._is_over():
                self._changed.wait(seconds)

    def front(self) -> int:
        """Return how many bytes are there without a gap."""
        with self._changed:
            return self._front(0)

    @property
    def error(self) -> BaseException | None:
        """What went wrong, if something did."""
        return self._error

    def close(self) -> None:
        """Stop everybody. Nothing is written to the partial file by those who are told too late to hear."""
        with self._changed:
            self._stop = True
            for job in self._jobs:
                job.gone = True
            self._changed.notify_all()
        interrupt = getattr(self._reader, "interrupt", None)
        if self._jobs and interrupt is not None:
            interrupt()
        if self._hasher is not None and self._hasher.is_alive():
            self._hasher.join(2.0)
        with self._changed:
            if self._map is not None:
                for block in self._blocks:
                    self._map.add(block)

    def read_at(self, offset: int, n: int) -> bytes:
        """Return `n` bytes from `offset`, fewer at the end; waits until they are there."""
        with self._changed:
            self._demand = max(self._demand, offset + n) if self._whole else offset + n
            self._wanted.append((offset, offset + n))
            self._enlist()
            self._changed.notify_all()
            try:
                while not self._has(offset, n):
                    if self._error is not None:
                        raise self._error
                    if self._stop:
                        raise ValueError("reading from a transfer that was closed")
                    self._changed.wait(_TICK_S)
            finally:
                self._wanted.remove((offset, offset + n))
        return _pread(self._file.fd, n, offset)

    # --- what is there (all with the lock held)

    def _has(self, offset: int, n: int) -> bool:
        at, end = offset, offset + n
        number = max(0, bisect_right(self._starts, at) - 1)
        while at < end:
            if number >= len(self._blocks):
                return True  # behind the end of the file
            block = self._blocks[number]
            if block.end is not None and at >= block.end:
                number += 1
                continue
            if block.start + block.got <= at or (block.start + block.got < end and not block.is_done):
                return False
            at = block.start + block.got
            number += 1
        return True

    def _front(self, at: int) -> int:
        """Return up to where everything from `at` on is there."""
        number = max(0, bisect_right(self._starts, at) - 1)
        while number < len(self._blocks):
            block = self._blocks[number]
            at = max(at, block.start + block.got)
            if not block.is_done:
                break
            number += 1
        return at

    def _is_complete(self) -> bool:
        return not self._todo and not self._jobs

    def _is_over(self) -> bool:
        return self._stop or self._error is not None or (self._is_complete() and self._whole)

    # --- the readers

    def _enlist(self) -> None:
        """Have as many readers as the pace allows and the work needs."""
        lacking = min(self._pace.target, len(self._jobs) + len(self._todo) + bool(self._jobs)) - self._n_threads
        for _ in range(max(0, lacking)):
            self._n_threads += 1
            threading.Thread(target=self._work, name="datastage-read", daemon=True).start()

    def _work(self) -> None:
        try:
            # Its own descriptor: should it return from a stuck read after all, no other file is hit.
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self._fail(StorageError.of(error, "writing the files"))
            return
        try:
            while (job := self._next()) is not None:
                self._do(job, fd)
                if job.gone:
                    break  # another reader took its place
        except BaseException as error:
            self._fail(error)
        finally:
            os.close(fd)

    def _next(self) -> _Job | None:
        with self._changed:
            while True:
                if self._is_over():
                    self._n_threads -= 1
                    return None
                now = time.monotonic()
                wait = max(0.0, self._paused_until - now)
                if not wait and len(self._jobs) < self._pace.target:
                    block = self._choose(now)
                    if block is not None:
                        job = _Job(block, now)
                        self._jobs.add(job)
                        return job
                self._n_idle += 1
                try:
                    self._changed.wait(min(max(wait, 0.02), 0.25))
                finally:
                    self._n_idle -= 1

    def _choose(self, now: float) -> Block | None:
        """Take the block to read next: one that somebody waits for, else the first; else half of one under way."""
        for offset, end in self._wanted:
            front = self._front(offset)
            for block in self._todo:
                if block.start >= end:
                    break
                if (block.end is None or block.end > front) and block.not_before <= now:
                    return self._take(block)
        for block in self._todo:
            if not self._whole and block.start >= self._demand + self._window:
                break
            if block.end is not None and not self._whole and block.end <= self._demand - self._window:
                continue
            if block.not_before <= now:
                return self._take(block)
        if self._todo or not self._whole:
            return None
        # At the end those who have nothing to do halve what the others have left.
        job = max(self._jobs, key=lambda job: job.block.left or 0, default=None)
        if job is None or (job.block.left or 0) < 2 * _SMALLEST_HALF or now - job.began < _SHORTEST_HALF_S:
            return None
        block, left = job.block, job.block.left or 0
        rate = (block.got - job.got_before) / (now - job.began)
        if not rate or left < rate * max(_SHORTEST_HALF_S, 2 * self._first_byte_s):
            return None
        assert block.end is not None
        half = Block(block.end - left // 2, block.end)
        block.end = half.start
        self._blocks.insert(bisect_right(self._starts, half.start), half)
        insort(self._starts, half.start)
        return half

    def _take(self, block: Block) -> Block:
        self._todo.remove(block)
        return block

    def _do(self, job: _Job, fd: int) -> None:
        block = job.block
        try:
            self._fill(job, fd)
        except Interrupted as fault:
            self._give_back(job, fault)
            return
        with self._changed:
            if job.gone:
                return
            self._jobs.discard(job)
            self._rates.append((block.got - job.got_before) / max(1e-6, time.monotonic() - job.began))
            if self._map is not None:
                self._map.add(block)
            self._changed.notify_all()

    def _fill(self, job: _Job, fd: int) -> None:  # noqa: C901
        """Read what `job`'s block lacks and write it where it belongs."""
        block, me = job.block, threading.get_ident()
        if block.end is None or not self._reader.ranges:
            at, pieces = 0, self._pieces(0, None)
        else:
            at = block.start + block.got
            pieces = self._pieces(at, block.end - at)
        try:
            for piece in pieces:
                with self._changed:
                    if job.gone or self._stop:
                        return
                    have, end = block.start + block.got, block.end
                if end is not None and at + len(piece) > end:
                    piece = memoryview(piece)[: max(0, end - at)]  # its end was given to another reader meanwhile
                if at < have:
                    # A place without ranges gives all from the beginning again: what we have must come again.
                    old = min(len(piece), have - at)
                    if _pread(fd, old, at) != piece[:old]:
                        raise Interrupted(changed(self._reader.name), "changed")
                    at += old
                    with self._changed:
                        job.last = time.monotonic()
                        self.n_received += old
                    piece = memoryview(piece)[old:]
                if len(piece):
                    _pwrite(fd, piece, at)
                    crc = zlib.crc32(piece, block.crc)
                    at += len(piece)
                    with self._changed:
                        if job.gone:
                            return
                        if block.end is not None and at > block.end:
                            # Halved in this very moment: what lies behind the new end is the other reader's to count.
                            piece = memoryview(piece)[: max(0, len(piece) - (at - block.end))]
                            crc = zlib.crc32(piece, block.crc)
                        block.got += len(piece)
                        block.crc = crc
                        if job.last == job.began:
                            self._first_byte_s = min(self._first_byte_s, time.monotonic() - job.began)
                        block.failures = 0 if block.got - job.got_before >= 65536 else block.failures
                        job.last = time.monotonic()
                        self.n_received += len(piece)
                        self._flowed.add(me)
                        self._n_kept += len(piece)
                        if self._wanted:
                            self._changed.notify_all()
                if block.end is not None and at >= block.end:
                    break
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        with self._changed:
            if job.gone:
                return
            if block.end is None:
                block.end = block.start + block.got
            elif not block.is_done:
                raise Interrupted(_cut_short(self._reader, block.start + block.got))

    def _give_back(self, job: _Job, fault: Interrupted) -> None:
        """Put the block of a read that broke off back, to be read again after a wait; or give up."""
        with self._changed:
            if job.gone:
                return
            self._jobs.discard(job)
            block = job.block
            block.failures += 1
            now = time.monotonic()
            wait = self._limits.wait_s(block.failures, fault.wait_s)
            if fault.kind == "broken" and block.failures == 1 and block.got > job.got_before:
                wait = min(wait, _AFTER_A_CUT_S)
            if fault.kind == "busy":
                if now >= self._paused_until:
                    self._pace.back_off(len(self._jobs) + 1)
                self._paused_until = max(self._paused_until, now + wait)
            block.not_before = now + wait
            insort(self._todo, block, key=lambda b: b.start)
            if (
                fault.kind in ("changed", "no ranges")
                or block.failures >= self._limits.patience(fault.kind)
                or wait > self._limits.longest_retry_after_s
            ):
                self._error = self._error or (fault if fault.kind in ("changed", "no ranges") else fault.error)
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._error is None and not self._stop:
                self._error = error
            self._changed.notify_all()

    # --- whoever watches

    def tick(self) -> bool:
        """Tell the reporter, take blocks from readers that are stuck, set the pace; return whether all is over."""
        now = time.monotonic()
        with self._changed:
            self._look_for_stalls(now)
            if self._pace.tick(now, self.n_received, len(self._flowed)):
                self._flowed.clear()
                self._changed.notify_all()
            self._look_at_speed(now)
            if not self._is_over():
                self._enlist()
            if now - self._began > self._limits.total_s and not self._is_over():
                self._error = UnavailableError(
                    f"{self._reader.name} did not come within {human_seconds(self._limits.total_s)}.",
                    "Next: run the same line again; what has come is kept.",
                )
            if self._map is not None:
                for job in self._jobs:
                    if now - job.began > _NOTE_PARTS_S and job.block.got - job.block.noted > PIECE_BYTES // 4:
                        self._map.add(job.block)
            over = self._is_over()
            news, self._n_told = self._n_kept - self._n_told, self._n_kept
        if news > 0:
            self._reporter.advance(news)
        return over

    def _look_for_stalls(self, now: float) -> None:
        for job in list(self._jobs):
            silent = now - job.last
            got = job.block.got - job.got_before
            if silent < self._limits.stall_s:
                # One that drips while others ran is as good as stuck, once there is nothing else to do.
                took = now - job.began
                if self._todo or not self._n_idle or took < _DRIP_AFTER_S or job.block.failures >= 3 or not self._rates:
                    continue
                rate = got / took
                if (
                    rate > sorted(self._rates)[len(self._rates) // 2] / 10
                    or (job.block.left or 0) < rate * _DRIP_AFTER_S
                ):
                    continue
            job.gone = True
            self._jobs.discard(job)
            self._n_threads -= 1
            block = job.block
            block.failures += 1
            block.not_before = now
            insort(self._todo, block, key=lambda b: b.start)
            if block.failures >= self._limits.tries:
                self._error = self._error or UnavailableError(
                    f"{self._reader.name} stalled: no byte for {human_seconds(self._limits.stall_s)}, "
                    f"{block.failures} times in a row.",
                    "Next: run the same line again; what has come is kept.",
                )
            self._changed.notify_all()

    def _look_at_speed(self, now: float) -> None:
        if self._slow_since is None:
            self._slow_since = (now, self.n_received)
            return
        since, before = self._slow_since
        if now - since < self._limits.slow_after_s or self._is_over():
            return
        rate = (self.n_received - before) / (now - since)
        self._slow_since = (now, self.n_received)
        size = self._reader.size
        left = None if size is None else size - self._n_kept
        if self._slow_below is not None and rate < self._slow_below:
            self._error = self._error or TooSlow(self._reader.name, rate, left)
        elif self._slow_below is None and rate < SLOW_BYTES_S and not self._said_slow and left and rate > 0:
            self._said_slow = True
            self._reporter.note(str(TooSlow(self._reader.name, rate, left).args[0]), "Slow")

    # --- hashing

    def _hash(self) -> None:
        """Read the file back in order, as far as it is there, and hash it."""
        at = 0
        buffer = memoryview(bytearray(PIECE_BYTES))
        try:
            while not self._stop:
                with self._changed:
                    while (front := self._front(at)) <= at:
                        if self._stop or self._error is not None or (self._is_complete() and self._front(at) <= at):
                            return
                        self._changed.wait(_TICK_S)
                while at < front and not self._stop:
                    n = os.preadv(self._file.fd, [buffer[: min(PIECE_BYTES, front - at)]], at)
                    if n == 0:
                        raise IntegrityError(f"{self._path} became shorter while it was written.")
                    for hash_ in self._hashes.values():
                        hash_.update(buffer[:n])
                    at += n
        except OSError as error:
            self._fail(StorageError.of(error, "reading back what was written"))
        except BaseException as error:
            self._fail(error)


def _new_hash(name: str) -> Any:
    return hashlib.new(name, usedforsecurity=False)


def changed(name: str) -> IntegrityError:
    """Return the error for a file that is no longer the one that was begun with."""
    return IntegrityError(
        f"{name} changed at its place while it was being copied.",
        "Next: run the same line again when nobody is writing it.",
    )


def _cut_short(reader: Reader, got: int) -> DatastageError:
    size = "an unknown number of" if reader.size is None else f"{reader.size:,}"
    return IntegrityError(
        f"{reader.name} was cut short: {got:,} of {size} bytes came.",
        "The connection broke, or the file at its place is not whole.",
        "Next: run the same line again.",
    )


def _pread(fd: int, n: int, at: int) -> bytes:
    pieces = []
    while n > 0 and (piece := os.pread(fd, n, at)):
        pieces.append(piece)
        at += len(piece)
        n -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pwrite(fd: int, piece: Piece, at: int) -> None:
    try:
        while len(piece):
            n = os.pwrite(fd, piece, at)
            at += n
            piece = memoryview(piece)[n:]
    except OSError as error:
        raise StorageError.of(error, "writing the files") from error


# --- how a reader is read


def pieces_of(reader: Reader) -> Pieces:
    """Return a function ``(offset, n) -> pieces``, one try each, that raises `Interrupted` for what may pass."""
    pieces: Pieces | None = getattr(reader, "pieces", None)
    if pieces is not None:
        return pieces
    if reader.local_path is not None:
        return _Files(reader, reader.local_path).pieces
    return _Any(reader).pieces


class _Any:
    """A reader that knows `read_at` and `stream` alone."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def pieces(self, offset: int, n: int | None) -> Iterator[Piece]:
        try:
            if n is None or not self._reader.ranges:
                yield from self._reader.stream(offset)
                return
            while n > 0:
                piece = self._reader.read_at(offset, min(n, PIECE_BYTES))
                if not piece:
                    raise Interrupted(_cut_short(self._reader, offset))
                yield piece
                offset += len(piece)
                n -= len(piece)
        except DatastageError:
            raise
        except OSError as error:
            raise of_file(error, Path(self._reader.name), offset) from error


class _Files:
    """A file, opened for each connection, and anew after a fault: on a mount that came back old handles stay dead."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self._reader = reader
        self._path = path
        self._idle: list[FileReader] = []

    def pieces(self, offset: int, n: int | None) -> Iterator[Piece]:
        file: FileReader | None = None
        try:
            try:
                file = here = self._idle.pop()
            except IndexError:
                file = here = FileReader(self._path)
                if here.identity != self._reader.identity:
                    raise Interrupted(changed(self._reader.name), "changed") from None
            left = (self._reader.size or 0) - offset if n is None else n
            here.expect(offset, left)
            while left > 0:
                piece = here.read_at(offset, min(left, _FILE_PIECE_BYTES))
                if not piece:
                    raise Interrupted(_cut_short(self._reader, offset))
                offset += len(piece)
                left -= len(piece)
                if left == 0:  # whoever reads may not come back after the last piece
                    self._idle.append(here)
                    file = None
                yield piece
        except OSError as error:
            if isinstance(error, DatastageError):
                raise
            self._idle.clear()  # what one handle met, the others will
            raise of_file(error, self._path, offset) from error
        finally:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
