"""A reader that is fetched while it is read: unpacking goes on while bytes arrive, and each crosses the link once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from datastage.errors import IntegrityError
from datastage.progress import SILENT, Reporter
from datastage.reader import Reader
from datastage.transfer.download import ParallelDownload
from datastage.transfer.partial import PartialFile, Transferred, lower_case
from datastage.transfer.pieces import PIECE_BYTES
from datastage.transfer.retry import Interrupted, Limits

_TICK_S = 0.1


class Ahead:
    """Fetch `reader` into the file `to`, and read from it at once. Close it, or use it as a context manager.

    What is asked for comes first, the rest in order. Reads may come from any thread; they wait until their bytes are
    there, or raise why they are not. Nothing read is proven before `finish` has returned: whoever unpacks must publish
    only after it. The parameters are those of `fetch`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from datastage.reader import BytesReader
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with Ahead(BytesReader(b"some bytes"), folder / "file") as near:
    ...     near.read_at(5, 5), near.finish().n_bytes
    (b'bytes', 10)
    """

    local_path: Path | None = None
    ranges = True

    def __init__(
        self,
        reader: Reader,
        to: Path,
        *,
        expect: Mapping[str, str] | None = None,
        reporter: Reporter = SILENT,
        connections: int | None = None,
        slow_below_bytes_s: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = reader.name
        self.identity = reader.identity
        self._partial = PartialFile(reader, to, lower_case(expect), reporter, limits or Limits())
        self._how = (connections, slow_below_bytes_s)
        self._lock = threading.Lock()
        self._is_closed = False
        self._finished: Transferred | None = None
        self._download = self._partial.download(*self._how)
        self._start()

    def _start(self) -> None:
        download = self._download
        download.start()

        def watch() -> None:
            while not download.tick():
                download.wait(_TICK_S)

        threading.Thread(target=watch, name="datastage-watch", daemon=True).start()

    @property
    def size(self) -> int | None:
        """Length in bytes; None as long as it is not known."""
        return self._partial.reader.size

    def read_at(self, offset: int, n: int) -> bytes:
        """Return exactly `n` bytes from `offset`, fewer only at the end, as soon as they are there."""
        if self.size is not None:
            n = max(0, min(n, self.size - offset))
        while n > 0:
            if self._is_closed:
                raise ValueError(f"reading {self.name} ahead after it was closed")
            download = self._download
            try:
                return download.read_at(offset, n)
            except Interrupted as fault:
                self._begin_anew(download, fault)
        return b""

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        """Give the bytes from `offset` to the end, as they arrive."""
        while piece := self.read_at(offset, PIECE_BYTES):
            yield piece
            offset += len(piece)

    def finish(self) -> Transferred:
        """Wait for the rest, check the digests, and put the file at its place; raises as `fetch` does.

        After a `ChecksumError` whatever was made of the bytes must go.
        """
        while self._finished is None:
            download = self._download
            try:
                download.finish(_TICK_S)
            except Interrupted as fault:
                self._begin_anew(download, fault)
                continue
            download.close()
            try:
                self._finished = self._partial.finish(download)
            except IntegrityError:
                self._partial.discard()
                raise
        return self._finished

    def _begin_anew(self, download: ParallelDownload, fault: Interrupted) -> None:
        """Go on in one stream where ranges turned out wrong: what has been read already must come again, the same."""
        with self._lock:
            if download is not self._download:
                return  # another thread did it
            if fault.kind != "no ranges" or self._partial.in_one_stream:
                raise fault.error from fault
            download.close()
            self._partial.begin_anew(fault)
            self._download = self._partial.download(*self._how, keep_first=download.front())
            self._download.n_given = download.n_given
            self._start()

    def close(self) -> None:
        """Stop fetching. What has come is kept for a next time if it can be gone on with."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._download.close()
            if self._finished is None:
                wrong = isinstance(self._download.error, IntegrityError | Interrupted)  # the latter: it changed
                self._partial.leave(keep=not wrong)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
