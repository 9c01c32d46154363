"""Where the files of images are read: a folder, a zip without unpacking it, or a column of parquet files.

And what tells their bytes from others of the same names: `stamps`, each of which begins with the length.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

from datastage import staged
from datastage.decode import Unreadable
from datastage.errors import IntegrityError, PasswordError, StorageError
from datastage.layouts.parquet import ParquetImages
from datastage.layouts.tree import UNREAD, ZipFiles
from datastage.reader import FileReader, Reader

LOOKED_AT = 64  # files whose lengths and times tell whether these tell files apart


@dataclass(frozen=True)
class FolderImages:
    """The files of a folder, read from any thread; stamps are asked for only where something is kept of them."""

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

    def stamps(self, names: Sequence[str]) -> Iterator[str]:
        return stamps_of(self.root, names, noted_of(self.root, names))


# The CRC-32 of staged files, by their names as the list has them; what comes before names below the folder that is
# read; when the staging began to write them, and when it had.
Noted = tuple[dict[bytes, bytes], str, int, int]


def stamps_of(root: str, names: Sequence[str], noted: Noted | None) -> Iterator[str]:
    """Give of each file below `root` its length, and what tells its bytes from others of that length.

    Of what was staged that is the CRC-32 that was noted then, and the time unless the staging gave it.
    """
    # Archives that are made anew may bring other pictures of one length with the times of before, and so what was not
    # staged has the time of this very copy besides, where neither lengths nor times tell its files apart.
    try:
        few = [os.stat(f"{root}/{name}") for name in names[:: max(1, len(names) // LOOKED_AT)] if noted is None]
        lengths, times = ({seen.st_size for seen in few}, {seen.st_mtime_ns for seen in few})
        alike = len(times) == 1 < len(few) and 2 * len(lengths) <= len(few)
        for name in names:  # there may be a million
            seen = os.stat(f"{root}/{name}")
            if noted is None:
                yield f"{seen.st_size}-{seen.st_mtime_ns}{f'-{seen.st_ctime_ns}' if alike else ''}"
                continue
            crcs, prefix, begun, ended = noted
            crc = crcs.get(encode_basestring_ascii(prefix + name).encode(), b"").decode()
            ours = crc and begun <= seen.st_mtime_ns <= ended
            yield f"{seen.st_size}-{'' if ours else seen.st_mtime_ns}-{crc}"
    except OSError as error:
        raise StorageError.of(error, "listing the images", UNREAD) from error


def noted_of(root: str, names: Sequence[str]) -> Noted | None:
    """Return what was noted of files below `root` when they were staged; None where nothing is."""
    place = Path(os.path.abspath(root))
    for folder in (place, *place.parents):
        if (receipt := staged.receipt_of(folder)) is None or receipt.get("in_place"):
            continue
        try:
            lines = staged.read_lines(folder, receipt)
            ended = os.stat(folder / staged.FILES).st_mtime_ns
        except (IntegrityError, OSError):
            return None
        prefix = "" if folder == place else f"{place.relative_to(folder).as_posix()}/"
        crcs = dict.fromkeys((encode_basestring_ascii(prefix + name).encode() for name in names), b"")
        for crc, _, name in (line.split(b" ", 2) for line in lines):
            if name in crcs:
                crcs[name] = crc
        # The seconds were taken before the list was made and written, by another clock than the files' times.
        return crcs, prefix, ended - int(1e9 * (5 + 1.1 * float(receipt.get("seconds") or 0))), ended
    return None


class ZipImages(ZipFiles):
    """The pictures in a zip, which must stay open as long as they are read."""

    most_bytes = sys.maxsize

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        if any(entry.encrypted for entry, _ in self.entries.values()):
            raise PasswordError(
                f"{reader.name} is locked.",
                'Next: stage it first: path = datastage.stage(path, password="..."), and pass on what that gives.',
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.reader.local_path,)

    def read(self, name: str) -> bytes:
        from datastage.archives.errors import Fault

        try:
            return self.whole(name)
        except Fault as fault:
            if isinstance(self.reader, FileReader) and self.reader.has_changed():
                raise IntegrityError(
                    f"{self.reader.name} has changed since it was opened.", "Next: make the loaders again."
                ) from None
            raise Unreadable(f"in the archive it {fault.text}") from None

    def stamps(self, names: Sequence[str]) -> Iterator[str]:
        entries = (self.entries[name][0] for name in names)
        return (f"{entry.usize}-{entry.crc}" for entry in entries)


def _opened(path: Path) -> ZipImages:
    return ZipImages(FileReader(path))


class ParquetRows(ParquetImages):
    """The pictures in a column of parquet files."""

    def stamps(self, names: Sequence[str]) -> Iterator[str]:
        paths = list(dict.fromkeys(name.rpartition(":")[0] for name in names))
        stamps = dict(zip(paths, stamps_of(self.root, paths, noted_of(self.root, paths))))
        return (f"{stamps[path]}-{row}" for path, _, row in (name.rpartition(":") for name in names))


Images = FolderImages | ZipImages | ParquetRows
