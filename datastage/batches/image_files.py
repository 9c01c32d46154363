"""Where the files of images are read: a folder, a zip without unpacking it, or a column of parquet files."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from datastage.batches.decode import Unreadable
from datastage.errors import DamagedArchiveError, PasswordError, StorageError
from datastage.layouts.parquet import ParquetImages
from datastage.layouts.tree import UNREAD, Tree, of_names
from datastage.reader import FileReader, Reader


@dataclass(frozen=True)
class FolderImages:
    """The files of a folder, read from any thread; a stamp is asked for only where pixels are kept."""

    root: str

    def read(self, name: str) -> bytes:
        """Return a file, with fewer calls of the system than `open` makes: 50 of 100 us of a photo's reading."""
        fd = os.open(f"{self.root}/{name}", os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            size = os.fstat(fd).st_size
            data = os.read(fd, size + 1)
            while len(data) < size and (more := os.read(fd, size - len(data))):  # a mount may give less than was asked
                data += more
            return data
        finally:
            os.close(fd)

    def stamp(self, name: str) -> str:
        """Return its length and time."""
        try:
            stat = os.stat(f"{self.root}/{name}")
        except OSError as error:
            raise StorageError.of(error, "listing the images", UNREAD) from error
        return f"{stat.st_size}-{stat.st_mtime_ns}"


class ZipImages:
    """The pictures in a zip, which must stay open as long as they are read."""

    def __init__(self, reader: Reader) -> None:
        from datastage.archives import zip_directory
        from datastage.archives.errors import faults_of

        self._reader = reader
        with faults_of(reader.name):
            self._entries = {
                member.name: (entry, limit)
                for member, entry, limit in zip_directory.listing(reader)
                if member.kind == "file"
            }
        if any(entry.encrypted for entry, _ in self._entries.values()):
            raise PasswordError(
                f"{reader.name} is locked.",
                "Next: unpack it with its password first, and pass what that gives to loaders:",
                'path = datastage.stage("FILE", password="...")',
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._reader.local_path,)

    def tree(self) -> Tree:
        """Return its folders and files, for a layout to be read of; any of them can be opened."""
        size = lambda name: self._entries[name][0].usize  # noqa: E731
        return of_names(self._entries, self._reader.name, size, self._opened)

    def _opened(self, name: str) -> BinaryIO:
        try:
            return io.BytesIO(self.read(name))
        except Unreadable as error:
            raise DamagedArchiveError(f"{name} in {self._reader.name} cannot be read: {error}.") from None

    def read(self, name: str) -> bytes:
        """Return a member, checked."""
        from datastage.archives import zip_members
        from datastage.archives.errors import Fault

        entry, limit = self._entries[name]
        try:
            return zip_members.read_whole(entry, self._reader.read_at, limit, None)
        except Fault as fault:
            raise Unreadable(f"in the archive it {fault}") from None

    def stamp(self, name: str) -> str:
        """Return its length and checksum."""
        entry = self._entries[name][0]
        return f"{entry.usize}-{entry.crc}"


def _opened(path: Path) -> ZipImages:
    return ZipImages(FileReader(path))


Images = FolderImages | ZipImages | ParquetImages
