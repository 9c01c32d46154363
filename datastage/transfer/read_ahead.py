"""A reader that is fetched while it is read: unpacking goes on while bytes arrive, and each byte crosses the link once.

Here: the wrapper that whoever unpacks reads from. Not here: how the blocks come (`crew`), the partial file (`whole`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from datastage.errors import IntegrityError
from datastage.progress import SILENT, Reporter
from datastage.reader import Reader
from datastage.transfer.crew import PIECE_BYTES, Crew
from datastage.transfer.faults import Interrupted, Limits
from datastage.transfer.whole import Attempt, Transferred

_TICK_S = 0.1


def ahead(
    reader: Reader,
    to: Path,
    *,
    expect: Mapping[str, str] | None = None,
    reporter: Reporter = SILENT,
    connections: int | None = None,
    slow_below_bytes_s: float | None = None,
    limits: Limits | None = None,
    whole: bool = True,
) -> Ahead:
    """Begin to fetch `reader` into the file `to`, and return a reader of it that can be read from at once.

    What is asked for comes first, the rest in order. Nothing read is proven before `Ahead.finish` has returned:
    whoever unpacks must publish only after it.

    Parameters
    ----------
    reader, to, expect, reporter, connections, slow_below_bytes_s, limits
        As for `fetch`.
    whole : bool
        If False, only what is asked for is fetched, and a little ahead of it: for a few members of a large archive.
        Then there is no digest, and nothing is kept.

    Returns
    -------
    Ahead
        A reader, to be closed; also a context manager.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from datastage.reader import BytesReader
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with ahead(BytesReader(b"some bytes"), folder / "file") as near:
    ...     near.read_at(5, 5), near.finish().n_bytes
    (b'bytes', 10)
    """
    return Ahead(
        reader,
        to,
        {name.lower(): digest.lower() for name, digest in (expect or {}).items()},
        reporter,
        limits or Limits(),
        connections,
        slow_below_bytes_s,
        whole,
    )


class Ahead:
    """See `ahead`. Reads may come from any thread; they wait until their bytes are there, or raise why they are not."""

    local_path: Path | None = None
    ranges = True

    def __init__(
        self,
        reader: Reader,
        to: Path,
        expect: Mapping[str, str],
        reporter: Reporter,
        limits: Limits,
        connections: int | None,
        slow_below_bytes_s: float | None,
        whole: bool,
    ) -> None:
        if expect and not whole:
            raise ValueError("the digest of a file of which only parts are fetched cannot be checked")
        self.name = reader.name
        self.identity = reader.identity
        self._attempt = Attempt(reader, to, expect, reporter, limits)
        self._how = (connections, slow_below_bytes_s)
        self._is_whole = whole
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._closed = False
        self._finished: Transferred | None = None
        self._crew = self._attempt.crew(*self._how, whole=whole)
        self._start()

    def _start(self) -> None:
        crew = self._crew
        crew.start()

        def watch() -> None:
            while not crew.tick():
                crew.wait(_TICK_S)

        threading.Thread(target=watch, name="datastage-watch", daemon=True).start()

    @property
    def size(self) -> int | None:
        """Length in bytes; None as long as it is not known."""
        return self._attempt.reader.size

    def read_at(self, offset: int, n: int) -> bytes:
        """Return exactly `n` bytes from `offset`, fewer only at the end, as soon as they are there."""
        if self.size is not None:
            n = max(0, min(n, self.size - offset))
        while n > 0:
            if self._closed:
                raise ValueError(f"reading {self.name} ahead after it was closed")
            crew = self._crew
            try:
                return crew.read_at(offset, n)
            except Interrupted as fault:
                self._begin_anew(crew, fault)
        return b""

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        """Give the bytes from `offset` to the end, as they arrive."""
        while piece := self.read_at(offset, PIECE_BYTES):
            yield piece
            offset += len(piece)

    def finish(self) -> Transferred:
        """Wait for the rest, check the digests, and put the file at its place.

        Raises
        ------
        ChecksumError
            If the bytes are not the expected ones: whatever was made of them must go.
        DatastageError
            As `fetch` raises.
        """
        if self._finished is not None:
            return self._finished
        if not self._is_whole:
            raise ValueError("only parts of the file are fetched")
        while True:
            crew = self._crew
            while not crew.tick():
                crew.wait(_TICK_S)
            try:
                crew.result()
                break
            except Interrupted as fault:
                self._begin_anew(crew, fault)
        crew.close()
        try:
            self._finished = self._attempt.finish(crew, self._began)
        except IntegrityError:
            self._attempt.discard()
            raise
        self._attempt.map.close(remove=True)
        return self._finished

    def _begin_anew(self, crew: Crew, fault: Interrupted) -> None:
        """Go on in one stream where ranges turned out wrong: what has been read already must come again, the same."""
        with self._lock:
            if crew is not self._crew:
                return  # another thread did it
            if fault.kind != "no ranges" or not self._attempt.reader.ranges or not self._is_whole:
                raise fault.error from fault
            crew.close()
            self._attempt.begin_anew(fault)
            self._crew = self._attempt.crew(*self._how, keep_first=crew.front())
            self._start()

    def close(self) -> None:
        """Stop fetching. What has come is kept for a next time if it can be gone on with."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._crew.close()
            if self._finished is None:
                wrong = isinstance(self._crew.error, IntegrityError | Interrupted)  # the latter: it changed
                self._attempt.leave(keep=self._is_whole and not wrong)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
