"""Fetch ahead: from a slow reader, blocks in parallel, just before they are wanted, each once.

A link with a delay, such as a mounted Drive, gives each stream a share; eight streams get eight. The window is bounded:
`MAX_BLOCKS` blocks of `BLOCK_BYTES`.

Here: telling that a reader is slow, the window, an archive's bytes as a stream, and keeping an archive for a while
where its format or a missing Range support makes that necessary. Not here: retries (the reader's own).
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datastage.progress import Reporter
from datastage.reader import FileReader, Reader

BLOCK_BYTES = 2 << 20
FETCHERS = 8
MAX_BLOCKS = 20  # 40 MiB
# Smaller archives come in a few reads anyway.
SMALL_BYTES = 4 << 20
# A local file gives its first MiB in under a millisecond from memory, some five from a disk.
SLOW_S = 0.012


def is_slow(reader: Reader) -> bool:
    """Return whether fetching ahead is worth its threads: no local file, or one that comes slowly."""
    if not reader.ranges or (reader.size or 0) <= SMALL_BYTES:
        return False
    if reader.local_path is None:
        return True
    # Amid the file: its ends have been looked at already, and may be in a cache.
    began = time.perf_counter()
    reader.read_at((reader.size or 0) // 2, 1 << 18)
    return time.perf_counter() - began > SLOW_S


LAST_WAIT_S = 0.5


class Window:
    """The blocks of an archive that are wanted, fetched ahead in the order of their offsets.

    Parameters
    ----------
    reader : Reader
        The source, with ranges; read from several threads.
    spans : sequence of (start, end)
        What will be read, in order, each once, by `span`.
    """

    def __init__(self, reader: Reader, spans: Sequence[tuple[int, int]]) -> None:
        self._reader = reader
        self._end = max((end for _, end in spans), default=0)
        self._users: dict[int, int] = {}
        for start, end in spans:
            for index in range(start // BLOCK_BYTES, (max(start, end - 1)) // BLOCK_BYTES + 1):
                self._users[index] = self._users.get(index, 0) + 1
        self._order = iter(sorted(self._users))
        self._ready: dict[int, bytes] = {}
        self._n_held = 0
        self._failed: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._fetch, name="datastage-fetch", daemon=True) for _ in range(FETCHERS)
        ]
        for thread in self._threads:
            thread.start()

    def _fetch(self) -> None:
        while True:
            with self._changed:
                while self._n_held >= MAX_BLOCKS and not self._stopped:
                    self._changed.wait(0.5)
                index = None if self._stopped else next(self._order, None)
                if index is None:
                    return
                self._n_held += 1
            try:
                start = index * BLOCK_BYTES
                data = self._reader.read_at(start, min(BLOCK_BYTES, self._end - start))
            except BaseException as error:  # raised again where the block is wanted
                with self._changed:
                    self._failed = self._failed or error
                    self._stopped = True
                    self._changed.notify_all()
                return
            with self._changed:
                self._ready[index] = data
                self._changed.notify_all()

    def span(self, start: int, end: int) -> Span:
        """Return a way to read one of the spans; close it when done."""
        return Span(self, start, end)

    def block(self, index: int) -> bytes:
        """Return a block, waiting until it is here."""
        with self._changed:
            while index not in self._ready:
                if self._failed is not None:
                    raise self._failed
                if self._stopped:
                    raise RuntimeError("the window is closed")
                self._changed.wait(0.5)
            return self._ready[index]

    def release(self, index: int) -> None:
        """Say that one of the spans needs a block no longer."""
        with self._changed:
            self._users[index] -= 1
            if not self._users[index]:
                if self._ready.pop(index, None) is not None:
                    self._n_held -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Stop fetching, and wait for the threads, but not for bytes that are not needed any more.

        After an interrupt or an error each may still wait for a block of a slow link; closing the reader ends that.
        """
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + LAST_WAIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class Span:
    """One span of a window, read from front to back."""

    def __init__(self, window: Window, start: int, end: int) -> None:
        self._window = window
        self._next = start // BLOCK_BYTES  # the first block not released
        self._last = max(start, end - 1) // BLOCK_BYTES

    def read_at(self, offset: int, n: int) -> bytes:
        """Return exactly `n` bytes from `offset`, which is not below where the last read ended."""
        pieces = []
        first = offset // BLOCK_BYTES
        while self._next < first and self._next <= self._last:
            self._release()
        while n > 0:
            index = offset // BLOCK_BYTES
            block = self._window.block(index)
            at = offset - index * BLOCK_BYTES
            piece = block[at : at + n]
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            n -= len(piece)
            if n > 0 and self._next == index and self._next < self._last:
                self._release()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _release(self) -> None:
        self._window.release(self._next)
        self._next += 1

    def close(self) -> None:
        """Let go of what was not read."""
        while self._next <= self._last:
            self._release()


def stream(reader: Reader) -> Iterator[bytes]:
    """Give all bytes of an archive from front to back, fetched ahead where that helps."""
    if not is_slow(reader):
        yield from reader.stream(0)
        return
    size = reader.size or 0
    window = Window(reader, [(0, size)])
    span = window.span(0, size)
    try:
        at = 0
        while piece := span.read_at(at, BLOCK_BYTES):
            yield piece
            at += len(piece)
    finally:
        window.close()


@contextmanager
def kept(reader: Reader, folder: str, reporter: Reporter) -> Iterator[FileReader]:
    """Keep an archive in `folder` for a while, for a format that must be read from its end. It is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".datastage-", dir=folder) as place:
        path = os.path.join(place, "archive")
        reporter.phase(f"fetching {reader.name}", reader.size)
        with open(path, "wb") as file:
            for piece in stream(reader):
                file.write(piece)
                reporter.advance(len(piece))
        with FileReader(path) as local:
            local.name = reader.name
            yield local
