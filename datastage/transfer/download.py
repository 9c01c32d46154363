"""Download one file over several connections.

Each worker writes its block into the partial file; a monitor restarts workers that stall. The bytes are read back from
the partial file (the page cache) for hashing and for whoever unpacks meanwhile, so memory holds one buffer for each
connection and nothing else.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datastage.errors import StorageError, UnavailableError
from datastage.own_files import no_link
from datastage.progress import human_seconds
from datastage.reader import FileReader
from datastage.transfer.block_map import Block
from datastage.transfer.connection_count import ConnectionCount
from datastage.transfer.hashing import Hashing, write_fd
from datastage.transfer.pieces import PIECE_BYTES, Piece, changed, cut_short, pieces_of
from datastage.transfer.retry import SLOW_BYTES_S, Interrupted, TooSlow

if TYPE_CHECKING:
    from datastage.transfer.partial import PartialFile

_TICK_S = 0.015
_NOTE_PARTS_S = 3.0
# Below this a block is not halved for an idle worker: a request costs about as much as these bytes.
_SMALLEST_HALF = 64 << 10
# Nor for so little time, or for less than two waits for a first byte.
_SHORTEST_HALF_S = 0.04
# A connection that brought something and broke is replaced soon: some servers give each only so many bytes.
_AFTER_A_CUT_S = 0.05
# At the end of a transfer a connection that has run for so long is compared with the others.
_DRIP_AFTER_S = 2.0


@dataclass(slots=True, eq=False)
class _Job:
    """One worker at one block."""

    block: Block
    began: float
    last: float
    got_before: int
    came_before: int  # over all connections, when this one was asked
    is_taken_away: bool = False  # whatever the worker still brings is dropped

    @property
    def got(self) -> int:
        return self.block.got - self.got_before


class ParallelDownload:
    """Fetch `blocks` into a partial file, with one thread for each connection.

    Blocks that are done are only hashed. Where only the whole can be had there is one block, and each try gives all
    from the beginning. The map beside the file is told of what is there.
    """

    def __init__(
        self, partial: PartialFile, blocks: Sequence[Block], connections: int | None, slow_below_bytes_s: float | None
    ) -> None:
        self._reader, self._path, self._map = partial.reader, partial.part, partial.map
        self._in_one_stream, self._limits, self._reporter = partial.in_one_stream, partial.limits, partial.reporter
        self._blocks = list(blocks)
        self._starts = [block.start for block in blocks]
        self._todo = [block for block in blocks if not block.is_done]
        self._slow_below = slow_below_bytes_s
        self._pieces = pieces_of(self._reader)
        most = min(getattr(self._reader, "most_connections", None) or sys.maxsize, self._limits.connections)
        self._count = ConnectionCount(connections or most, fixed=connections is not None)
        self._jobs: set[_Job] = set()
        self._rates: deque[float] = deque(maxlen=32)  # of the blocks that came last
        self._first_byte_s = 1.0  # the shortest wait of a worker for its first byte
        self._flowed: set[int] = set()  # the workers that brought something since the last step of the count
        self._changed = threading.Condition()
        self._paused_until = 0.0
        self._n_threads = self._n_idle = 0
        self._is_stopped = False
        self.error: BaseException | None = None
        self._wanted: list[tuple[int, int]] = []  # from where to where somebody waits for bytes
        self.n_given = 0  # the end of what `read_at` has given
        self._file = FileReader(self._path)  # closed when no thread uses it: its number could be given to another file
        self._began = time.monotonic()
        self.n_received = 0  # bytes that came over the link, twice if they came twice
        self.n_before = self._n_kept = self._n_told = sum(block.got for block in self._blocks)
        self._slow_since = (self._began, 0)
        self._said_slow = False
        self._hashing = Hashing(self._file, list(partial.expect) or ["sha256"], self._wait_beyond, self._fail)

    # --- from outside

    def start(self) -> None:
        """Begin; returns at once. Something has to call `tick` until it returns True."""
        self._hashing.thread.start()
        with self._changed:
            self._start_workers()

    def finish(self, tick_s: float) -> dict[str, str]:
        """Wait for the end, and return the digests; raise what went wrong."""
        while not self.tick():
            self.wait(tick_s)
        while self.error is None and self._hashing.thread.is_alive():
            self._hashing.thread.join(_TICK_S)  # in short waits, so that an interrupt gets through
        if self.error is not None:
            raise self.error
        if not self._is_complete():
            raise ValueError("the transfer was closed before its end")
        return self._hashing.digests

    @property
    def crc32(self) -> int:
        """The CRC-32 of the whole, after `finish`."""
        return self._hashing.crc32

    def wait(self, seconds: float) -> None:
        """Wait until something happens, and no longer than so."""
        with self._changed:
            if not self._is_over():
                self._changed.wait(seconds)

    def front(self) -> int:
        """Return how many bytes are there without a gap."""
        with self._changed:
            return self._front(0)

    def close(self) -> None:
        """Stop all workers. A worker that hears of it late writes nothing to the partial file."""
        with self._changed:
            self._is_stopped = True
            for job in self._jobs:
                job.is_taken_away = True
            self._changed.notify_all()
        interrupt = getattr(self._reader, "interrupt", None)
        if self._jobs and interrupt is not None:
            interrupt()
        if self._hashing.thread.is_alive():
            self._hashing.thread.join(2.0)
        with self._changed:
            for block in self._blocks:
                self._map.add(block)

    def read_at(self, offset: int, n: int) -> bytes:
        """Return `n` bytes from `offset`, fewer at the end; waits until they are there."""
        with self._changed:
            self._wanted.append((offset, offset + n))
            self._start_workers()
            self._changed.notify_all()
            try:
                while not self._has(offset, n):
                    if self.error is not None:
                        raise self.error
                    if self._is_stopped:
                        raise ValueError("reading from a transfer that was closed")
                    self._changed.wait(_TICK_S)
            finally:
                self._wanted.remove((offset, offset + n))
            self.n_given = max(self.n_given, offset + n)
        return self._file.read_at(offset, n)

    # --- what is there (all with the lock held)

    def _has(self, offset: int, n: int) -> bool:
        front = self._front(offset)
        return front >= offset + n or (front >= offset and self._is_complete())

    def _front(self, at: int) -> int:
        """Return up to where everything from `at` on is there; less than `at` if that byte is not."""
        for number in range(max(0, bisect_right(self._starts, at) - 1), len(self._blocks)):
            block = self._blocks[number]
            if not block.is_done:
                return block.start + block.got
            at = max(at, block.start + block.got)
        return at

    def _is_complete(self) -> bool:
        return not self._todo and not self._jobs

    def _is_over(self) -> bool:
        return self._is_stopped or self.error is not None or self._is_complete()

    # --- the workers

    def _start_workers(self) -> None:
        """Have as many workers as the count allows and the work needs."""
        spare = bool(self._jobs) and not self._in_one_stream  # one that may take half of a block
        lacking = min(self._count.target, len(self._jobs) + len(self._todo) + spare) - self._n_threads
        for _ in range(lacking):
            self._n_threads += 1
            threading.Thread(target=self._work, name="datastage-read", daemon=True).start()

    def _work(self) -> None:
        try:
            # Its own descriptor: should it return from a stuck read after all, no other file is hit.
            fd = no_link(str(self._path), os.O_RDWR)
        except OSError as error:
            self._fail(StorageError.of(error, "writing the files"))
            return
        try:
            while (job := self._next_job()) is not None:
                try:
                    self._fill(job, fd)
                except Interrupted as fault:
                    self._give_back(job, fault)
                if job.is_taken_away:
                    break  # another worker took its place
        except BaseException as error:
            self._fail(error)
        finally:
            os.close(fd)

    def _next_job(self) -> _Job | None:
        with self._changed:
            while not self._is_over():
                now = time.monotonic()
                wait = max(0.0, self._paused_until - now)
                if not wait and len(self._jobs) < self._count.target:
                    block = self._choose(now)
                    if block is not None:
                        job = _Job(block, now, now, block.got, self.n_received)
                        self._jobs.add(job)
                        return job
                self._n_idle += 1
                try:
                    self._changed.wait(min(max(wait, 0.02), 0.25))
                finally:
                    self._n_idle -= 1
            self._n_threads -= 1
            return None

    def _choose(self, now: float) -> Block | None:
        """Take the block to read next: one that somebody waits for, else the first, else half of one under way."""
        ready = [block for block in self._todo if block.not_before <= now]
        for offset, end in self._wanted:
            front = self._front(offset)
            wanted = next((b for b in ready if b.start < end and (b.end is None or b.end > front)), None)
            if wanted is not None:
                ready = [wanted]
                break
        if ready:
            self._todo.remove(ready[0])
            return ready[0]
        return None if self._todo or self._in_one_stream else self._half(now)

    def _half(self, now: float) -> Block | None:
        """Take half of what the largest block under way still lacks, if that is worth a request."""
        job = max(self._jobs, key=lambda job: job.block.left or 0, default=None)
        left = job.block.left or 0 if job is not None else 0
        if job is None or left < 2 * _SMALLEST_HALF or now - job.began < _SHORTEST_HALF_S:
            return None
        rate = job.got / (now - job.began)
        if not rate or left < rate * max(_SHORTEST_HALF_S, 2 * self._first_byte_s):
            return None
        assert job.block.end is not None
        half = Block(job.block.end - left // 2, job.block.end)
        job.block.end = half.start
        number = bisect_right(self._starts, half.start)
        self._blocks.insert(number, half)
        self._starts.insert(number, half.start)
        return half

    def _fill(self, job: _Job, fd: int) -> None:
        """Read what `job`'s block lacks and write it where it belongs."""
        block = job.block
        if self._in_one_stream:
            at, pieces = 0, self._pieces(0, None)
        else:
            assert block.end is not None
            at = block.start + block.got
            pieces = self._pieces(at, block.end - at)
        with closing(pieces):
            for piece in pieces:
                with self._changed:
                    if job.is_taken_away or self._is_stopped:
                        return
                    have, end = block.start + block.got, block.end
                if end is not None and at + len(piece) > end:
                    piece = memoryview(piece)[: max(0, end - at)]  # its end was given to another worker meanwhile
                if at < have:
                    # A place without ranges gives all from the beginning again: what we have must come again.
                    n_same = self._came_again(job, piece, at)
                    at += n_same
                    piece = memoryview(piece)[n_same:]
                if len(piece):
                    write_fd(fd, piece, at)
                    if not self._came(job, piece, at):
                        return
                    at += len(piece)
                if block.end is not None and at >= block.end:
                    break
        with self._changed:
            if job.is_taken_away:
                return
            if block.end is None:
                block.end = block.start + block.got
            elif not block.is_done:
                raise Interrupted(cut_short(self._reader, block.start + block.got))
            self._jobs.discard(job)
            self._rates.append(job.got / max(1e-6, time.monotonic() - job.began))
            self._map.add(block)
            self._changed.notify_all()

    def _came(self, job: _Job, piece: Piece, at: int) -> bool:
        """Count a piece that was written; False if the block is no longer this worker's."""
        block, now = job.block, time.monotonic()
        with self._changed:
            if job.is_taken_away:
                return False
            if block.end is not None and at + len(piece) > block.end:
                # Halved in this very moment: what lies behind the new end is the other worker's to count.
                piece = memoryview(piece)[: max(0, block.end - at)]
            if job.last == job.began:
                self._first_byte_s = min(self._first_byte_s, now - job.began)
            block.got += len(piece)
            block.crc = zlib.crc32(piece, block.crc)
            block.failures = 0 if job.got >= 65536 else block.failures
            job.last = now
            self.n_received += len(piece)
            self._n_kept += len(piece)
            self._flowed.add(threading.get_ident())
            if self._wanted:
                self._changed.notify_all()
        return True

    def _came_again(self, job: _Job, piece: Piece, at: int) -> int:
        """Compare a piece with what lies at `at` already; return how much of it need not be written.

        One answer is of one file: from the first difference on, this answer takes the place of the earlier one,
        unless somebody has read the old bytes.
        """
        block = job.block
        n = min(len(piece), block.start + block.got - at)
        same = self._file.read_at(at, n) == piece[:n]
        with self._changed:
            if job.is_taken_away:
                return n
            job.last = time.monotonic()
            if same:
                self.n_received += n
                return n
            if self.n_given > at:
                raise Interrupted(changed(self._reader.name), "changed")
            self._n_kept -= block.got - (at - block.start)
            block.got, block.crc = at - block.start, 0
            self._hashing.must_begin_anew = True
        return 0

    def _give_back(self, job: _Job, fault: Interrupted) -> None:
        """Put the block of a read that broke off back, to be read again after a wait; or give up."""
        with self._changed:
            if job.is_taken_away:
                return
            self._jobs.discard(job)
            block, now = job.block, time.monotonic()
            block.failures += not (fault.kind == "busy" and self._is_one_too_many(job))
            wait = self._limits.wait_s(max(1, block.failures), fault.wait_s)
            if fault.kind == "broken" and block.failures == 1 and job.got:
                wait = min(wait, _AFTER_A_CUT_S)
            if fault.kind == "busy":
                if now >= self._paused_until:
                    self._count.settle(min(self._count.target, len(self._jobs) + 1) // 2)
                self._paused_until = max(self._paused_until, now + wait)
            self._put_back(job, now + wait)
            if self._limits.gives_up(fault, block.failures, wait):
                self.error = self.error or (fault if fault.kind in ("changed", "no ranges") else fault.error)

    def _put_back(self, job: _Job, not_before: float) -> None:
        self._jobs.discard(job)
        job.block.not_before = not_before
        insort(self._todo, job.block, key=lambda block: block.start)
        self._changed.notify_all()

    def _is_one_too_many(self, job: _Job) -> bool:
        """Tell whether a worker brought nothing while others did: some servers leave those beyond a number hanging."""
        return job.last == job.began and self.n_received > job.came_before

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self.error is None and not self._is_stopped:
                self.error = error
            self._changed.notify_all()

    # --- the monitor

    def tick(self) -> bool:
        """Tell the reporter, replace workers that stall, set their number; return whether all is over."""
        now = time.monotonic()
        with self._changed:
            self._look_for_stalls(now)
            if self._count.tick(now, self.n_received, len(self._flowed)):
                self._flowed.clear()
                self._changed.notify_all()
            self._look_at_speed(now)
            if not self._is_over():
                self._start_workers()
            if now - self._began > self._limits.total_s and not self._is_over():
                self.error = UnavailableError(
                    f"{self._reader.name} did not come within {human_seconds(self._limits.total_s)}.",
                    "Next: run the same line again; what has come is kept.",
                )
            for job in self._jobs:
                if now - job.began > _NOTE_PARTS_S and job.block.got - job.block.noted > PIECE_BYTES // 4:
                    self._map.add(job.block)
            over = self._is_over()
            news = self._n_kept - self._n_told
            self._n_told = max(self._n_told, self._n_kept)
        if news > 0:
            self._reporter.advance(news)
        return over

    def _look_for_stalls(self, now: float) -> None:
        for job in list(self._jobs):
            is_stalled = now - job.last >= self._limits.stall_s
            if not is_stalled and not self._drips(job, now):
                continue
            job.is_taken_away = True
            self._n_threads -= 1
            block = job.block
            if is_stalled and self._is_one_too_many(job):
                # It spends no try. As many as bring something are had from now on; a server may count those that hang.
                self._count.settle(sum(other.last > other.began for other in self._jobs))
            else:
                block.failures += 1
            self._put_back(job, now)
            if block.failures >= self._limits.tries:
                self.error = self.error or UnavailableError(
                    f"{self._reader.name} stalled: no byte for {human_seconds(self._limits.stall_s)}, "
                    f"{block.failures} times in a row.",
                    "Next: run the same line again; what has come is kept.",
                )

    def _drips(self, job: _Job, now: float) -> bool:
        """Tell whether a connection gives a tenth of what others gave, at the end, where nothing else is to do."""
        took, block = now - job.began, job.block
        if self._todo or not self._n_idle or took < _DRIP_AFTER_S or block.failures >= 3 or not self._rates:
            return False
        rate = job.got / took
        usual = sorted(self._rates)[len(self._rates) // 2]
        return rate <= usual / 10 and (block.left or 0) >= rate * _DRIP_AFTER_S

    def _look_at_speed(self, now: float) -> None:
        since, before = self._slow_since
        if now - since < self._limits.slow_after_s or self._is_over():
            return
        rate = (self.n_received - before) / (now - since)
        self._slow_since = (now, self.n_received)
        left = None if self._reader.size is None else self._reader.size - self._n_kept
        slow = TooSlow(self._reader.name, rate, left)
        if self._slow_below is not None and rate < self._slow_below:
            self.error = self.error or slow
        elif self._slow_below is None and rate < SLOW_BYTES_S and not self._said_slow and left and rate > 0:
            self._said_slow = True
            self._reporter.note(str(slow.args[0]), "Slow")

    def _wait_beyond(self, at: int) -> int | None:
        """Wait until bytes behind `at` are there and return their end; None when no more will come."""
        with self._changed:
            while (front := self._front(at)) <= at:
                if self._is_over():
                    return None
                self._changed.wait(_TICK_S)
            return None if self._is_stopped else front
