"""Pack a folder into one zip: what makes thousands of small files on a slow mount bearable.

The zip is written in one stream, so it may lie on the mount itself. Of each file only its entry of the directory is
kept, since there may be a million. Reference: APPNOTE 6.3.10.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import time
import zlib
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datastage import mounts
from datastage.archives.formats import suffixes
from datastage.errors import IntegrityError, SpecError, StorageError
from datastage.file_names import PICTURE_SUFFIXES, SPECIAL, junk_kind, kind_of
from datastage.own_files import atomic_file, bytes_in
from datastage.progress import SILENT, Reporter

READERS_FAR = 32
WINDOW = 256  # small files that may wait in memory: with SMALL_BYTES at most 64 MB
SMALL_BYTES = 256 << 10
PIECE_BYTES = 1 << 20
# Deflating these again costs time and gains nothing.
_PACKED = tuple(
    suffix.encode()
    for suffix in (
        *(set(suffixes()) - {".tar"}),
        *(PICTURE_SUFFIXES - {".bmp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"}),
        *(".mp3", ".mp4", ".ogg", ".flac", ".avi", ".mkv", ".mov", ".npz", ".parquet", ".pt", ".pth", ".pdf"),
    )
)
_MAX32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ZipResult:
    """What `pack` wrote: files and links, their bytes unpacked, and what was left out, by kind."""

    n_files: int
    n_bytes: int
    left_out: Mapping[str, int]


def pack(folder: Path, to: Path, *, reporter: Reporter = SILENT) -> ZipResult:
    """Write everything below `folder` into the zip `to`, under the folder's own name: whole or not at all.

    Links within the folder stay links; those that lead out become what they lead to. Empty folders are kept. What Macs
    and Windows add is left out, and so are links that lead nowhere.
    """
    if folder.name in ("", ".."):  # names in the zip begin with it
        raise SpecError(f"{folder} has no name of its own.", "Next: name a folder that has one.")
    if os.path.lexists(to):
        raise StorageError(f"{to} is there already, and is not replaced.", "Next: choose another name.", filename=to)
    is_far = mounts.is_network_disk(folder)
    doing = f"packing {folder.name}"
    reporter.phase(doing, None if is_far else bytes_in(folder))
    left_out: Counter[str] = Counter()
    try:
        with (
            atomic_file(to) as out,
            contextlib.closing(_read(_walk(folder, left_out), READERS_FAR if is_far else 0)) as items,
        ):
            writer = _ZipWriter(out, reporter)
            own = os.fstat(out.fileno())
            for item in items:
                if item.status is not None and os.path.samestat(item.status, own):
                    continue  # the zip itself, in the folder that it is made of
                writer.add(item, os.fsencode(folder.name) + b"/" + item.name)
            if not writer.n_files:
                raise IntegrityError(f"There are no files in {folder}.", "Next: look whether it is the right folder.")
            writer.finish()
            if os.path.lexists(to):
                raise StorageError(f"{to} is there by now: it is kept.", "Next: look at it first.", filename=to)
    except StorageError:
        raise
    except OSError as error:
        if isinstance(error.filename, bytes):  # reading: `_walk` and `_with_data` work with paths of bytes alone
            error.filename = os.fsdecode(error.filename)
            raise StorageError.of(error, doing, "Next: make it readable (chmod u+r), or take it out.") from error
        room = "free some room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise StorageError.of(error, doing, f"Next: {room}write the zip elsewhere.") from error
    return ZipResult(writer.n_files, writer.n_bytes, dict(left_out))


@dataclass(slots=True)
class _Item:
    """What to pack: a file has a path, a link has a target, an empty folder has neither."""

    name: bytes
    path: bytes = b""
    target: bytes = b""
    status: os.stat_result | None = None
    data: bytes | None = None


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[_Item]:
    """Give all that is below a folder, in the order of names; what is left out is counted by its kind."""
    real = os.path.realpath(folder)

    def kind(entry: os.DirEntry[bytes], above: frozenset[str]) -> tuple[str, str]:
        junk = junk_kind(os.fsdecode(entry.name))
        return kind_of(entry, real, above) if junk is None else ("", junk)

    def walk(path: bytes, prefix: bytes, above: frozenset[str]) -> Iterator[_Item]:
        with os.scandir(path) as entries:
            found = sorted((entry.name, *kind(entry, above)) for entry in entries)
        if not found and prefix:
            yield _Item(prefix)
        for name, what, fact in found:
            if what == "link":
                yield _Item(prefix + name, target=os.fsencode(fact))
            elif what == "folder":
                yield from walk(os.path.join(path, name), prefix + name + b"/", above | {fact} if fact else above)
            elif what == "file":
                yield _Item(prefix + name, os.path.join(path, name))
            elif fact == SPECIAL:
                special = os.fsdecode(os.path.join(path, name))
                raise StorageError(f"{special} is neither a file nor a folder.", "Next: take it out.", filename=special)
            else:
                left_out[fact] += 1

    yield from walk(os.fsencode(folder), b"", frozenset([real]))


def _read(items: Iterator[_Item], readers: int) -> Generator[_Item, None, None]:
    """Give each item with its bytes, in order; without them where there are too many to hold."""
    if not readers:
        yield from map(_with_data, items)
        return
    waiting: deque[Future[_Item]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="datastage-pack") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(_with_data, item))
                if len(waiting) >= WINDOW:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _with_data(item: _Item) -> _Item:
    if not item.path:
        return item
    try:
        with open(item.path, "rb", buffering=0) as file:
            item.status = os.fstat(file.fileno())
            if item.status.st_size <= SMALL_BYTES:
                item.data = file.readall()
    except OSError as error:
        error.filename = item.path
        raise
    return item


def _pieces(path: bytes) -> Iterator[bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        error.filename = path
        raise


class _ZipWriter:
    """Write the members of a zip one behind another, then its directory."""

    def __init__(self, out: BinaryIO, reporter: Reporter) -> None:
        self._out, self._advance = out, reporter.advance
        self._at = self._n_entries = self.n_files = self.n_bytes = 0
        self._directory = bytearray()

    def add(self, item: _Item, name: bytes) -> None:
        """Add a file, a link or an empty folder."""
        is_packed = name.lower().endswith(_PACKED)
        if item.status is None:
            mode = stat.S_IFLNK | 0o777 if item.target else stat.S_IFDIR | 0o755
            self.n_files += bool(item.target)
            self._whole(_Head(name, mode, time.time()), item.target, is_packed=True)
            return
        self.n_files += 1
        head = _Head(name, item.status.st_mode, item.status.st_mtime)
        if item.data is None:
            self._large(head, item.path, is_packed, item.status.st_size >= 1 << 31)
        else:
            self._whole(head, item.data, is_packed)

    def _whole(self, head: _Head, data: bytes, is_packed: bool) -> None:
        packed = data if is_packed else zlib.compress(data, 6, -15)
        head.method = 8 if len(packed) < len(data) else 0
        packed = packed if head.method else data
        head.crc, head.csize, head.usize = zlib.crc32(data), len(packed), len(data)
        offset = self._at
        self._write(head.local())
        self._write(packed)
        self._finish_member(head, offset)

    def _large(self, head: _Head, path: bytes, is_packed: bool, is_wide: bool) -> None:
        """Write a file that is too large to hold; its checksum and sizes stand behind it."""
        head.method, head.flags, offset = 8, head.flags | 8, self._at
        self._write(head.local(is_wide))
        start = self._at
        squeezer = zlib.compressobj(0 if is_packed else 6, zlib.DEFLATED, -15)
        for piece in _pieces(path):
            head.crc = zlib.crc32(piece, head.crc)
            head.usize += len(piece)
            self._write(squeezer.compress(piece))
            self._advance(len(piece))
        self._write(squeezer.flush())
        head.csize = self._at - start
        if not is_wide and max(head.csize, head.usize) > _MAX32:
            raise StorageError(f"{os.fsdecode(path)} grew while it was read.", "Next: run the same line again.")
        self._write(struct.pack("<4sLQQ" if is_wide else "<4sLLL", b"PK\7\x08", head.crc, head.csize, head.usize))
        self._finish_member(head, offset)

    def _finish_member(self, head: _Head, offset: int) -> None:
        self._directory += head.entry(offset)
        self._n_entries += 1
        self.n_bytes += 0 if stat.S_ISLNK(head.mode) else head.usize

    def _write(self, data: bytes | bytearray) -> None:
        self._out.write(data)
        self._at += len(data)

    def finish(self) -> None:
        at, size, n = self._at, len(self._directory), self._n_entries
        self._write(self._directory)
        if at >= _MAX32 or size >= _MAX32 or n >= 0xFFFF:
            self._write(struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, n, n, size, at))
            self._write(struct.pack("<4sLQL", b"PK\6\7", 0, at + size, 1))
            at, size, n = min(at, _MAX32), min(size, _MAX32), min(n, 0xFFFF)
        self._write(struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, n, n, size, at, 0))


class _Head:
    """What a zip says of one member, before its data and in the directory."""

    __slots__ = ("crc", "csize", "flags", "method", "mode", "name", "usize", "when")

    def __init__(self, name: bytes, mode: int, mtime: float) -> None:
        self.name, self.mode = name, mode
        self.method = self.crc = self.csize = self.usize = 0
        # A zip says 1980 to 2107; a disk may give what is in no calendar.
        when = max(time.localtime(min(max(mtime, 0.0), 2.0**32))[:6], (1980, 1, 1, 0, 0, 0))
        self.when = (when[3] << 11 | when[4] << 5 | when[5] // 2, when[0] - 1980 << 9 | when[1] << 5 | when[2])
        self.flags = 0
        if not name.isascii():
            with contextlib.suppress(UnicodeDecodeError):  # a name of another encoding keeps its bytes
                name.decode()
                self.flags = 0x800

    def _facts(self, version: int) -> bytes:
        return struct.pack("<HHHHHL", version, self.flags, self.method, *self.when, self.crc)

    def local(self, is_wide: bool = False) -> bytes:
        """Return what stands before the data."""
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if is_wide else b""
        sizes = (_MAX32, _MAX32) if is_wide else (self.csize, self.usize)
        lengths = struct.pack("<LLHH", *sizes, len(self.name), len(extra))
        return b"PK\3\4" + self._facts(45 if is_wide else 20) + lengths + self.name + extra

    def entry(self, offset: int) -> bytes:
        """Return what stands in the directory."""
        sizes, extra = (self.csize, self.usize), b""
        if max(*sizes, offset) >= _MAX32:
            extra = struct.pack("<HHQQQ", 1, 24, self.usize, self.csize, offset)
            sizes, offset = (_MAX32, _MAX32), _MAX32
        lengths = struct.pack("<LLHHHHHLL", *sizes, len(self.name), len(extra), 0, 0, 0, self.mode << 16, offset)
        made_by = struct.pack("<H", 3 << 8 | 45)
        return b"PK\1\2" + made_by + self._facts(45 if extra else 20) + lengths + self.name + extra
