"""Copy a folder of many files: listed first, then by many readers, since each file of a mount costs a round trip."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from datastage import mounts, runtime
from datastage.errors import IntegrityError, while_doing
from datastage.file_names import kind_of, no_data_kind
from datastage.own_files import NO_LINK
from datastage.progress import SILENT, Reporter
from datastage.reader import FileRecord
from datastage.transfer.pool import Pool
from datastage.transfer.retry import Interrupted, Limits, of_file, patiently

T = TypeVar("T")

_PIECE_BYTES = 256 << 10
# On a mount nearly all time is waiting (64 threads took 1/35 of the time of one for 500 files); on a disk it is not.
READERS_FAR = 64
_READERS_NEAR = 2
# A folder of more files than this, on a slow mount, is worth the advice to make one archive of it.
MANY = 1000
_own = threading.local()  # the buffer of each thread


@dataclass(frozen=True, slots=True)
class Copied:
    """Every file and link that was copied, in order of path, and how many of what kind were left out."""

    files: tuple[FileRecord, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


def copy_tree(
    folder: Path,
    to: Path,
    *,
    reporter: Reporter = SILENT,
    limits: Limits | None = None,
    spec: str | None = None,
) -> Copied:
    """Copy what is in `folder` into the folder `to`, which exists and is empty.

    Links to files and folders outside `folder` are followed and become what they lead to (a shortcut in Drive is such
    a link); links within it stay links. `spec` is what a person wrote for the folder.
    """
    limits = limits or Limits()
    is_far = mounts.is_network_disk(folder)
    readers = READERS_FAR if is_far else _READERS_NEAR
    pool = Pool(folder, limits)
    listing = _Listing(folder)
    pool.run(lambda task: listing.read(*task, pool), [("", folder, listing.above)], readers if is_far else 1)
    if is_far and len(listing.files) >= MANY:
        here, what = runtime.current(), spec or str(folder)
        bang = "!" if here.in_kernel or here.platform in ("colab", "kaggle") else ""
        archive = f"{what}.zip" if what.startswith("drive:") else f"{folder.name}.zip"
        reporter.note(
            f"{len(listing.files):,} files, each of which takes a while from there; one archive is read much"
            f" faster: {bang}datastage zip {shlex.quote(what)} {shlex.quote(archive)}",
            "Slow",
        )
    copied: list[FileRecord] = []

    def copy(file: tuple[str, Path]) -> None:
        record = patiently(lambda: _copied(*file, to, pool), limits)
        with pool.lock:
            copied.append(record)
            reporter.advance(record.size)

    with while_doing("writing the files"):
        narrow(to, folder)
        for name in listing.folders:
            (to / name).mkdir(parents=True, exist_ok=True)
            narrow(to / name, folder / name)
        pool.run(copy, listing.files, min(readers, len(listing.files)))
        for name, target in listing.links:
            os.symlink(target, to / name)
            copied.append(FileRecord(name, 0, zlib.crc32(os.fsencode(target)), target))
    copied.sort()
    return Copied(tuple(copied), dict(listing.left_out))


def narrow(copy: Path, source: Path) -> None:
    """Take from a copy what its source does not let the group and others do: what is private stays private."""
    allowed, mode = source.stat().st_mode | 0o700, copy.stat().st_mode & 0o777
    if mode & ~allowed:
        copy.chmod(mode & allowed)


_Folder = tuple[str, Path, frozenset[str]]  # its name with a slash, its path, the folders that it lies in


class _Listing:
    """Everything below a folder, several folders at a time."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)
        self.above = frozenset({self._root})
        self.files: list[tuple[str, Path]] = []
        self.links: list[tuple[str, str]] = []
        self.folders: list[str] = []
        self.left_out: Counter[str] = Counter()

    def read(self, prefix: str, path: Path, above: frozenset[str], pool: Pool) -> list[_Folder]:
        """List one folder, and return the folders in it."""
        folders: list[_Folder] = []
        for entry in patiently(lambda: _entries(path), pool.limits):
            pool.beat()
            name, junk = prefix + entry.name, no_data_kind(entry.name)
            kind, fact = kind_of(entry, self._root, above) if junk is None else ("", junk)
            if kind == "folder":
                self.folders.append(name)
                folders.append((name + "/", Path(entry.path), above | {fact} if fact else above))
            elif kind == "link":
                self.links.append((name, fact))
            elif kind == "file":
                self.files.append((name, Path(entry.path)))
            else:
                with pool.lock:
                    self.left_out[fact] += 1
        return folders


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise of_file(error, path) from error


def _copied(name: str, source: Path, to: Path, pool: Pool) -> FileRecord:
    """Copy one file into `to`, in one try, with its checksum."""
    if not hasattr(_own, "buffer"):
        _own.buffer = memoryview(bytearray(_PIECE_BYTES))
    buffer: memoryview = _own.buffer
    try:
        read_from = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise of_file(error, source) from error
    write_to = -1
    size = crc = 0
    try:
        write_to = os.open(to / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK | os.O_CLOEXEC, 0o666)
        while n := _read(read_from, buffer, source, size):
            pool.beat()
            crc, size = zlib.crc32(buffer[:n], crc), size + n
            piece = buffer[:n]
            while len(piece):
                piece = piece[os.write(write_to, piece) :]
        expected = _seen(read_from, source, size)
        if size != expected.st_size:
            raise Interrupted(
                IntegrityError(f"{source} was cut short: {size:,} of {expected.st_size:,} bytes could be read.")
            )
        mode = 0o755 if expected.st_mode & 0o111 else os.fstat(write_to).st_mode & 0o777
        if mode & ~expected.st_mode or mode & 0o111:  # for group and others never more than the source lets them do
            os.fchmod(write_to, mode & (expected.st_mode | 0o700))
        with contextlib.suppress(OSError):
            os.utime(write_to, ns=(expected.st_atime_ns, expected.st_mtime_ns))
    finally:
        os.close(read_from)
        if write_to >= 0:
            os.close(write_to)
    return FileRecord(name, size, crc)


def _seen(fd: int, source: Path, at: int) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as error:
        raise of_file(error, source, at) from error


def _read(fd: int, buffer: memoryview, source: Path, at: int) -> int:
    try:
        return os.readv(fd, [buffer])
    except OSError as error:
        raise of_file(error, source, at) from error
