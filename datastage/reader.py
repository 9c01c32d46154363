"""What a reader is: bytes at offsets from a source; and files and bytes in memory as readers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, Self

from datastage.file_names import kind_of, no_data_kind
from datastage.mounts import is_network_disk

BLOCK_BYTES = 1 << 20
TREE = "tree:"


class FileRecord(NamedTuple):
    """One file that was written, with its size and CRC-32; or a link, with where it leads."""

    path: str  # below the dataset's folder, with forward slashes
    size: int
    crc32: int
    target: str | None = None


class FileRecords(Sequence[FileRecord]):
    """Many records in columns: a tuple for each of millions would take more than all else."""

    __slots__ = ("crcs", "paths", "sizes", "targets")

    def __init__(self, files: Iterable[FileRecord] = ()) -> None:
        self.paths: list[str] = []
        self.sizes = array("Q")
        self.crcs = array("I")
        self.targets: dict[int, str] = {}  # of the few that are links, by their number
        for file in files:
            self.append(file)

    @classmethod
    def of(cls, files: Iterable[FileRecord]) -> FileRecords:
        """Return records in columns, as they are if they are so already."""
        return files if isinstance(files, FileRecords) else cls(files)

    def append(self, file: FileRecord) -> None:
        if file.target is not None:
            self.targets[len(self.paths)] = file.target
        self.paths.append(file.path)
        self.sizes.append(file.size)
        self.crcs.append(file.crc32)

    def drop_earlier(self, paths: Set[str]) -> tuple[int, int]:
        """Take out all but the last record of each of these paths; return how many files and bytes that are."""
        last = {path: nth for nth, path in enumerate(self.paths) if path in paths}
        kept = [nth for nth, path in enumerate(self.paths) if last.get(path, nth) == nth]
        n_files, n_bytes = len(self), sum(self.sizes)
        self.__init__([self[nth] for nth in kept])  # type: ignore[misc]
        return n_files - len(self), n_bytes - sum(self.sizes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, nth: Any) -> Any:
        if isinstance(nth, slice):
            return [self[each] for each in range(*nth.indices(len(self)))]
        nth = range(len(self))[nth]
        return FileRecord(self.paths[nth], self.sizes[nth], self.crcs[nth], self.targets.get(nth))


def stat_identity(seen: os.stat_result) -> str:
    """Return the identity of a file from its stat: another size or time is another file."""
    return f"{seen.st_size}-{seen.st_mtime_ns}"


def tree_identity(folder: str | os.PathLike[str]) -> str:
    """Return the identity of all that a copy of a folder holds: another path, size or time in it is another folder."""
    root = os.path.realpath(folder)
    folders, total = [("", os.fspath(folder), frozenset({root}))], 0
    while folders:
        prefix, path, above = folders.pop()
        lines = [prefix]
        with os.scandir(path) as entries:
            for entry in entries:
                if no_data_kind(entry.name) is not None:
                    continue
                kind, fact = kind_of(entry, root, above)
                if kind == "folder":
                    folders.append((f"{prefix}{entry.name}/", entry.path, above | {fact} if fact else above))
                else:
                    lines.append(f"{entry.name}\0{kind}\0{stat_identity(entry.stat()) if kind == 'file' else fact}")
        digest = hashlib.sha256("\0".join(sorted(lines)).encode("utf-8", "surrogateescape")).digest()
        total += int.from_bytes(digest)  # in whatever order the folders come
    return f"{TREE}{total % (1 << 256):064x}"


def is_unchanged(path: str, identity: str) -> bool | None:
    """Tell whether what had an identity still has it; None of a folder, where that would be a walk over a network."""
    if identity.startswith(TREE):
        return None if is_network_disk(path) else tree_identity(path) == identity
    seen = os.stat(path)
    return False if stat_identity(seen) != identity else None if stat.S_ISDIR(seen.st_mode) else True


class Reader(ABC):
    """Bytes at offsets, also in pieces, from any thread; and a context that closes."""

    name: str  # of the file, for a person, secrets removed
    size: int | None  # None if the source does not say
    identity: str  # changes when the bytes do; empty if nothing tells
    ranges: bool = True  # whether `read_at` may start anywhere; if not, only `stream(0)` works
    local_path: Path | None = None  # the file itself, on this machine (a slow mount too)
    piece_bytes = BLOCK_BYTES

    @abstractmethod
    def read_at(self, offset: int, n: int) -> bytes:
        """Return exactly `n` bytes from `offset`, fewer only at the end."""

    def pieces(self, offset: int, n: int | None) -> Iterator[Any]:
        """Give `n` bytes from `offset`, or all from there, in pieces."""
        left = sys.maxsize if n is None else n
        while left > 0 and (piece := self.read_at(offset, min(left, self.piece_bytes))):
            yield piece
            offset += len(piece)
            left -= len(piece)

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        """Give the bytes from `offset` to the end, in pieces of any size."""
        return self.pieces(offset, None)

    def close(self) -> None:  # noqa: B027
        """Let go of what the reader holds, if anything. Closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class FileReader(Reader):
    """A file on this machine as a reader."""

    size: int

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.local_path = Path(path)
        self._lock = threading.Lock()
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        seen = os.fstat(self.fd)
        self.size = seen.st_size
        self.identity = stat_identity(seen)
        self.name = self.local_path.name

    def read_at(self, offset: int, n: int) -> bytes:
        pieces: list[bytes] = []
        while n > 0 and (piece := self._pread(offset, n)):
            pieces.append(piece)
            offset += len(piece)
            n -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def has_changed(self) -> bool:
        """Tell whether the file that was opened was written to since; one put in its place by a rename is another."""
        return stat_identity(os.fstat(self.fd)) != self.identity

    def expect(self, offset: int, n: int) -> None:
        """Tell the kernel that these bytes will be read, so that a slow mount is asked for all of them at once."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.fd, offset, n, os.POSIX_FADV_WILLNEED)

    def _pread(self, offset: int, n: int) -> bytes:
        if sys.platform != "win32":
            return os.pread(self.fd, n, offset)
        with self._lock:  # Windows has no pread
            os.lseek(self.fd, offset, os.SEEK_SET)
            return os.read(self.fd, n)

    def close(self) -> None:
        with self._lock:
            fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            with contextlib.suppress(OSError):  # a dead mount refuses even this
                self.close()


class BytesReader(Reader):
    """Bytes in memory as a reader."""

    size: int

    def __init__(self, data: bytes, name: str = "bytes") -> None:
        self._data = data
        self.name = name
        self.size = len(data)
        self.identity = f"{len(data)}-{hash(data):x}"

    def read_at(self, offset: int, n: int) -> bytes:
        return self._data[offset : offset + n]
