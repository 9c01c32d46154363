"""Where the files of images are read: a folder, a zip without unpacking it, or a column of parquet files."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastage.decode import Unreadable
from datastage.errors import PasswordError, StorageError
from datastage.layouts.parquet import ParquetImages
from datastage.layouts.tree import UNREAD, ZipFiles
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
        try:  # asked for each of a million photos
            stat = os.stat(f"{self.root}/{name}")
        except OSError as error:
            raise StorageError.of(error, "listing the images", UNREAD) from error
        return f"{stat.st_size}-{stat.st_mtime_ns}"


class ZipImages(ZipFiles):
    """The pictures in a zip, which must stay open as long as they are read."""

    most_bytes = sys.maxsize

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        if any(entry.encrypted for entry, _ in self.entries.values()):
            raise PasswordError(
                f"{reader.name} is locked.",
                "Next: unpack it with its password first, and pass what that gives to loaders:",
                'path = datastage.stage("FILE", password="...")',
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.reader.local_path,)

    def read(self, name: str) -> bytes:
        from datastage.archives.errors import Fault

        try:
            return self.whole(name)
        except Fault as fault:
            raise Unreadable(f"in the archive it {fault}") from None

    def stamp(self, name: str) -> str:
        entry = self.entries[name][0]
        return f"{entry.usize}-{entry.crc}"


def _opened(path: Path) -> ZipImages:
    return ZipImages(FileReader(path))


Images = FolderImages | ZipImages | ParquetImages
