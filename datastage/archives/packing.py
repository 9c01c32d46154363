"""Pack a folder into one zip: what makes thousands of small files on a slow mount bearable.

Small files are read by many threads at once, since each costs a mount its delay; the zip is written in one stream, so
it may lie on the mount itself. Here: `pack`. Not here: unpacking.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import stat
import time
import zipfile
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from datastage.archives.formats import suffixes
from datastage.errors import IntegrityError, StorageError
from datastage.file_names import junk_kind as junk
from datastage.progress import SILENT, Reporter

READERS = 32
WINDOW = 256  # small files that may wait in memory: with SMALL_BYTES at most 64 MB
SMALL_BYTES = 256 << 10
PIECE_BYTES = 1 << 20
ABANDONED_S = 3600.0
# Deflating these again costs time and gains nothing.
_PACKED = frozenset(
    [".jpg", ".jpeg", ".png", ".gif", ".webp", ".mp3", ".mp4", ".ogg", ".flac", ".avi", ".mkv", ".mov"]
    + [*suffixes(), ".npz", ".parquet", ".pt", ".pth", ".pdf"]
)


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` wrote: how many files, and how many bytes they have unpacked."""

    n_files: int
    n_bytes: int
    left_out: int


def pack(folder: Path, to: Path, *, reporter: Reporter = SILENT, readers: int = READERS) -> Packed:
    """Write everything below `folder` into the zip `to`, under the folder's own name: whole or not at all.

    Parameters
    ----------
    folder : Path
        What to pack. What Macs and Windows add is left out; links are stored as links.
    to : Path
        The zip to make; its folder exists. While it is written it has a hidden name beside.
    reporter : Reporter
        Told of the bytes.
    readers : int
        Threads that read small files.

    Returns
    -------
    Packed

    Raises
    ------
    IntegrityError
        If the folder holds no files.
    StorageError
        If something cannot be read or written, or `to` is there already.
    """
    if os.path.lexists(to):
        raise StorageError(f"{to} is there already, and is not replaced.", "Next: choose another name.", filename=to)
    # A name of its own: two that pack at once must not write into, or remove, each other's.
    unfinished = to.with_name(f".{to.name}.{secrets.token_hex(4)}.partial")
    n_files = n_bytes = left_out = 0
    try:
        paths = sorted(_files(folder))
        wanted = [path for path in paths if junk(path.relative_to(folder).as_posix()) is None]
        left_out = len(paths) - len(wanted)
        if not wanted:
            raise IntegrityError(f"There are no files in {folder}.", "Next: look whether it is the right folder.")
        reporter.phase(f"packing {folder.name}", None)
        _remove_abandoned(to)
        with unfinished.open("xb") as out:
            with (
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
                contextlib.closing(_read_ahead(wanted, readers)) as contents,
            ):
                for path, data in contents:
                    name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                    n_bytes += _add(archive, path, name, data, reporter)
                    n_files += 1
            out.flush()
            os.fsync(out.fileno())
        if os.path.lexists(to):
            raise StorageError(f"{to} is there by now, and is not replaced.", "Next: look at it first.", filename=to)
        os.replace(unfinished, to)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError.of(error, f"packing {folder.name}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return Packed(n_files, n_bytes, left_out)


def _remove_abandoned(to: Path) -> None:
    """Remove what killed runs left; one that is at work writes often."""
    for path in to.parent.glob(f".{glob.escape(to.name)}.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error  # a folder that cannot be listed must not be taken for an empty one

    for parent, names, files in os.walk(folder, onerror=fail):
        names.sort()
        for name in [*files, *(name for name in names if os.path.islink(os.path.join(parent, name)))]:
            yield Path(parent, name)


def _read_ahead(paths: list[Path], readers: int) -> Generator[tuple[Path, bytes | None], None, None]:
    """Give each path with its bytes, in order; None for links and for what is too large to hold."""

    def read(path: Path) -> bytes | None:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > SMALL_BYTES:
            return None
        return path.read_bytes()

    waiting: deque[tuple[Path, Future[bytes | None]]] = deque()
    with ThreadPoolExecutor(readers, thread_name_prefix="datastage-pack") as pool:
        try:
            for path in paths:
                waiting.append((path, pool.submit(read, path)))
                if len(waiting) >= WINDOW:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _add(archive: zipfile.ZipFile, path: Path, name: str, data: bytes | None, reporter: Reporter) -> int:
    info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False) if not path.is_symlink() else None
    if info is None:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, os.fsencode(os.readlink(path)))
        return 0
    if not stat.S_ISREG(info.external_attr >> 16):
        raise StorageError(f"{path} is neither a file nor a folder.", "Next: take it out of the folder.", filename=path)
    info.compress_type = zipfile.ZIP_STORED if path.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
    if data is not None:
        archive.writestr(info, data)
        reporter.advance(len(data))
        return len(data)
    size = 0
    with path.open("rb") as source, archive.open(info, "w", force_zip64=info.file_size >= 1 << 31) as member:
        while piece := source.read(PIECE_BYTES):
            member.write(piece)
            reporter.advance(len(piece))
            size += len(piece)
    return size
