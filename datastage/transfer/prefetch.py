"""Fetch a file whole, or raise; and read from it while it comes, so that each byte crosses the link once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datastage import mounts
from datastage.errors import ChecksumError, DatastageError, IntegrityError, NoSpaceError, StorageError
from datastage.own_files import no_link
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import BLOCK_BYTES, Reader, stat_identity
from datastage.transfer.download import ParallelDownload
from datastage.transfer.partial import PartialFile, Transferred, compare_digests, part_of
from datastage.transfer.retry import Interrupted, Limits

_TICK_S = 0.015
_WATCH_TICK_S = 0.1
_RESTARTS = 3


def fetch(
    reader: Reader, to: Path, *, expect: Mapping[str, str] | None = None, reporter: Reporter = SILENT, **options: Any
) -> Transferred:
    """Bring all bytes of `reader` to the file `to`: whole and checked, or not at all. The options are those of `Ahead`.

    It raises `TooSlow` under `slow_below_bytes_s`, and errors of ours for all else; what came is kept for the next call
    unless the bytes are wrong.
    """
    expect = _lower_case(expect)
    if reader.local_path is not None and not mounts.is_network_disk(reader.local_path):
        done = copy_file(reader.local_path, to, algorithms=list(expect), reporter=reporter)
        compare_digests(reader.name, done.digests, expect, to)
        return done
    with Ahead(reader, to, expect=expect, reporter=reporter, is_read=False, **options) as coming:
        return coming.finish()


def copy_file(source: Path, to: Path, *, algorithms: Sequence[str] = (), reporter: Reporter = SILENT) -> Transferred:
    """Copy a file of a local disk, which appears when it is whole."""
    part = part_of(to)
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    n_bytes = crc = 0
    try:
        with open(source, "rb", buffering=0) as read_from, open(part, "wb", buffering=0, opener=no_link) as write_to:
            before = os.fstat(read_from.fileno())
            # A file that grows must not be copied for ever. Files of /proc say that they hold nothing.
            most = before.st_size or sys.maxsize
            buffer = memoryview(bytearray(BLOCK_BYTES))
            while n_bytes <= most and (n := read_from.readinto(buffer)):
                piece = buffer[:n]
                n_bytes, crc = n_bytes + n, zlib.crc32(piece, crc)
                for hash_ in hashes.values():
                    hash_.update(piece)
                while len(piece):
                    piece = piece[write_to.write(piece) :]
                reporter.advance(n)
            if stat_identity(os.fstat(read_from.fileno())) != stat_identity(before):
                raise IntegrityError(
                    f"{source} changed while it was being copied.",
                    "Next: run the same line again when nobody is writing it.",
                )
        os.replace(part, to)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, DatastageError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpaceError(
                    f"The disk is full: {source.name} needs {human_bytes(source.stat().st_size)} in {to.parent}.",
                    filename=to,
                ) from error
            raise StorageError.of(error, f"copying {source.name}") from error
        raise
    return Transferred(n_bytes, crc, {name: hash_.hexdigest() for name, hash_ in hashes.items()}, n_bytes)


def _lower_case(expect: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): digest.lower() for name, digest in (expect or {}).items()}


class Ahead(Reader):
    """Fetch `reader` into the file `to`, and read from it at once. Close it, or use it as a context manager.

    What is asked for comes first, the rest in order. Reads may come from any thread; they wait until their bytes are
    there, or raise why they are not. Nothing read is proven before `finish` has returned: whoever unpacks must publish
    only after it. ``<to>.part`` and ``<to>.part.map`` beside it hold what came so far.
    """

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
        is_read: bool = True,
    ) -> None:
        self.name = reader.name
        self.identity = reader.identity
        self._partial = PartialFile(reader, to, _lower_case(expect), reporter, limits or Limits())
        self._how = (connections, slow_below_bytes_s)
        self._is_read = is_read
        self._lock = threading.Lock()
        self._is_closed = False
        self._n_restarts = 0
        self._finished: Transferred | None = None
        self._start()

    def _start(self, keep_first: int = 0, n_given: int = 0) -> None:
        self._download = download = self._partial.download(*self._how, keep_first=keep_first)
        download.n_given = n_given
        download.start()

        def watch() -> None:
            while not download.tick():
                download.wait(_WATCH_TICK_S)

        if self._is_read:  # else `finish` watches
            threading.Thread(target=watch, name="datastage-watch", daemon=True).start()

    @property
    def size(self) -> int | None:  # type: ignore[override]
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

    def finish(self) -> Transferred:
        """Wait for the rest, check the digests, and put the file at its place.

        After a `ChecksumError` whatever was made of the bytes must go.
        """
        while self._finished is None:
            download = self._download
            try:
                download.finish(_TICK_S)
                download.close()
                self._finished = self._partial.finish(download)
            except Interrupted as fault:
                self._begin_anew(download, fault)
            except IntegrityError as error:
                self._partial.discard()
                # Bytes of two mirrors that do not fit: fetched anew from one, unless somebody has read them.
                if not isinstance(error, ChecksumError) or not self._partial.was_resumed or download.n_given:
                    raise
                self._start()
        return self._finished

    def _begin_anew(self, download: ParallelDownload, fault: Interrupted) -> None:
        """Go on where ranges turned out wrong, or the file changed: what has been read must come again, the same."""
        with self._lock:
            if download is not self._download:
                return  # another thread did it
            is_in_one_stream = self._partial.in_one_stream
            self._n_restarts += 1
            if self._n_restarts > _RESTARTS or (download.n_given and (fault.kind != "no ranges" or is_in_one_stream)):
                raise fault.error from fault
            download.close()
            if not download.n_given:
                self._partial.discard()
            self._partial.begin_anew(fault)
            self._start(download.front() if download.n_given else 0, download.n_given)

    def close(self) -> None:
        """Stop fetching. What has come is kept for a next time if it can be gone on with."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._download.close()
            if self._finished is None:
                # Wrong bytes are not kept (`Interrupted`: the file changed); what fills the disk must not stay on it.
                is_wrong = isinstance(self._download.error, IntegrityError | Interrupted | NoSpaceError)
                self._partial.leave(keep=not is_wrong)
