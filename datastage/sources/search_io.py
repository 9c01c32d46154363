"""The streams that a search reads, and the files that it writes."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from datastage import archives
from datastage.errors import DatastageError, while_doing
from datastage.progress import Reporter
from datastage.reader import BytesReader, FileReader, Reader
from datastage.sources.walk import Listing, UnreadableError

_PIECE = 1 << 16
_BLOCK = 4 << 20
IN_MEMORY = 64 << 20  # bytes of an archive within an archive
writing = partial(while_doing, "writing the files")  # errors of the disk that is written to are told from reading


class TimeIsUpError(Exception):
    """The time for archives is over."""


class StoppedError(Exception):
    """Another thread failed or was interrupted; what it raised is what counts."""


class TimedReader(Reader):
    """A reader that stops when the time for archives is over, even within one long member."""

    def __init__(self, reader: Reader, listing: Listing) -> None:
        self._reader = reader
        self._listing = listing
        self.name = reader.name
        self.size = reader.size
        self.identity = reader.identity
        self.ranges = reader.ranges
        self.local_path = reader.local_path

    def _check(self) -> None:
        if time.monotonic() > self._listing.archive_deadline:
            raise TimeIsUpError

    def read_at(self, offset: int, n: int) -> bytes:
        self._check()
        return self._reader.read_at(offset, n)

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        for piece in self._reader.stream(offset):
            self._check()
            yield piece


def as_stream(pieces: Iterable[bytes]) -> BinaryIO:
    """Return pieces of bytes as a file; what is wrong in reading them is no `OSError`, which writing would raise."""

    def told() -> Iterator[bytes]:
        try:
            yield from pieces
        except DatastageError:
            raise
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error

    return archives.as_file(told())


def rejoined(head: bytes, rest: BinaryIO) -> BinaryIO:
    """Return a stream whose first bytes were already read."""
    return as_stream(itertools.chain([head], iter(lambda: rest.read(_PIECE), b"")))


class HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        self._out = path.open("wb")
        self._advance = advance
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.crc32 = 0
        self.size = 0

    def absorb(self, block: bytes) -> None:
        with writing():
            self._out.write(block)
            self._out.flush()
        self.md5.update(block)
        self.crc32 = zlib.crc32(block, self.crc32)
        self.size += len(block)
        self._advance(len(block))

    def close(self) -> None:
        with writing():  # from Python 3.14 on what a full disk refused is tried once more
            self._out.close()


@dataclass(frozen=True, slots=True)
class Made:
    """A file that was written to the scratch folder."""

    at: Path
    size: int
    crc32: int
    md5: str
    is_converted: bool = False

    @classmethod
    def of(cls, at: Path, data: bytes, published_md5: str | None = None) -> Made:
        """Describe a file by its bytes; it is converted if it should have another digest."""
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return cls(at, len(data), zlib.crc32(data), md5, published_md5 is not None and md5 != published_md5)


class Scratch:
    """The hidden folder that a search writes to, and what it reports of that."""

    def __init__(self, into: Path, reporter: Reporter) -> None:
        self.into = into
        self._reporter = reporter
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._debt = 0  # bytes reported of files that were refused: taken off those that follow
        self._announced = False
        with writing():
            self.folder = Path(tempfile.mkdtemp(prefix=".find-", dir=into))

    def new_path(self) -> Path:
        return self.folder / str(next(self._serial))

    def announce(self, n_bytes: int) -> None:
        """Begin the phase of copying, once."""
        with self._lock:
            if self._announced:
                return
            self._announced = True
        self._reporter.phase("copying and checking", n_bytes)

    def advance(self, n_bytes: int) -> None:
        with self._lock:
            paid = min(self._debt, n_bytes)
            self._debt -= paid
        if n_bytes > paid:
            self._reporter.advance(n_bytes - paid)

    def refuse(self, path: Path, n_bytes: int) -> None:
        with self._lock:
            self._debt += n_bytes
        path.unlink(missing_ok=True)

    @contextmanager
    def held(self, stream: BinaryIO, name: str, most: int) -> Iterator[Reader | None]:
        """Hold an archive within an archive, in memory if it is small; None if it proves larger than `most`."""
        block = stream.read(IN_MEMORY + 1)
        if len(block) <= IN_MEMORY:
            yield BytesReader(block, name)
            return
        path, n_bytes = self.new_path(), 0
        try:
            with writing():
                out = path.open("wb")
            with out:
                while block and n_bytes + len(block) <= most:
                    n_bytes += len(block)
                    with writing():
                        out.write(block)
                    block = stream.read(_BLOCK)
            if block:
                yield None
                return
            with FileReader(path) as reader:
                yield reader
        finally:
            path.unlink(missing_ok=True)

    def publish(self, written: Mapping[str, Made]) -> None:
        with writing():
            for path, made in written.items():
                target = self.into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(made.at, target)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
