"""Fill a folder that is there already: nothing in it is replaced, and after an error what came is taken away again.

Everything is unpacked into a hidden folder within, and then moved to its place by renames:

1. What was unpacked is compared with what is there: a path that is taken ends it here.
2. A marker is written that names each file that will come, with its inode, size and time.
3. Each of these is moved. A folder that is there is entered, and what is below it moved.
4. The marker is removed.

After a kill the marker stays and names what came; the next run into the folder takes that away first, but for what was
changed or added since.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datastage import own_files, store
from datastage.errors import StorageError, while_doing

MARKER = ".datastage-unfinished.json"
_MOST_MARKER_BYTES = 1 << 30


def clash(folder: Path, path: str) -> StorageError:
    """Return the error for a path that is taken."""
    return StorageError(
        f"{folder / path} is there already, and is not replaced. Nothing was put into {folder}.",
        "Next: move it away, or name a folder that does not exist yet.",
        code=errno.EEXIST,
        filename=folder / path,
    )


def refuse_clashes(folder: Path, paths: Iterable[str]) -> None:
    """Raise `StorageError` if one of the files to come is there, or a folder of it is something else."""
    free: set[str] = set()  # parts of paths that are not there: nothing below them is
    for path in paths:
        parts = path.split("/")
        for n in range(1, len(parts) + 1):
            part = "/".join(parts[:n])
            if part in free:
                break
            try:
                seen = os.lstat(folder / part)
            except OSError:
                free.add(part)
                break
            if n == len(parts) or not stat.S_ISDIR(seen.st_mode):
                raise clash(folder, part)


@while_doing("putting the files in their places")
def move_in(unpacked: Path, folder: Path, archive: str, *, durable: bool, check: Callable[[], None]) -> None:
    """Move what was unpacked to its place in `folder`; after an error take away what came.

    `check` raises if the lock of the folder was lost.
    """
    moves = list(_moves(unpacked, folder, ""))
    if durable:
        store.sync_file_system(unpacked)
    check()
    what = "datastage was unpacking an archive into this folder. If it was stopped, run it again, or remove what the"
    header = {"what": f"{what} lines below name, and this file.", "archive": archive}
    with while_doing(f"writing into {folder}"), own_files.atomic_file(folder / MARKER, sync=False) as out:
        out.writelines(json.dumps(line).encode() + b"\n" for line in (header, *_came(unpacked, moves)))
    try:
        for path in moves:
            _move(unpacked / path, folder / path, folder, path)
    except BaseException:
        with contextlib.suppress(OSError), own_files.plain_file(folder / MARKER) as lines:
            _take_away(folder, lines)
        raise
    finally:
        own_files.unlink(folder / MARKER)


def _moves(unpacked: Path, folder: Path, below: str) -> Iterator[str]:
    """Give the topmost paths that are not in `folder` yet."""
    with os.scandir(unpacked / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                seen = os.lstat(folder / path)
            except FileNotFoundError:
                yield path
                continue
            if not (entry.is_dir(follow_symlinks=False) and stat.S_ISDIR(seen.st_mode)):
                raise clash(folder, path)
            yield from _moves(unpacked, folder, path)


def _came(unpacked: Path, paths: Iterable[str]) -> Iterator[list[Any]]:
    """Give the path of each folder that will come, before what is in it; and of each file, with what tells it."""
    base = os.fspath(unpacked)
    for path in paths:
        seen = os.lstat(f"{base}/{path}")
        if stat.S_ISDIR(seen.st_mode):
            yield [path]
            yield from _came(unpacked, (f"{path}/{name}" for name in os.listdir(f"{base}/{path}")))
        else:
            yield [path, *_facts(seen)]


def _facts(seen: os.stat_result) -> list[int]:
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns]


def _move(source: Path, target: Path, folder: Path, path: str) -> None:
    """Move one thing; what has come to be there meanwhile is not replaced."""
    if not stat.S_ISREG(os.lstat(source).st_mode):
        if os.path.lexists(target):
            raise clash(folder, path)
        os.rename(source, target)  # a folder replaces no file, and no folder that holds something
        return
    try:
        own_files.move_anew(source, target)
    except FileExistsError:
        raise clash(folder, path) from None


def take_away_leftovers(folder: Path) -> list[str] | None:
    """Take away what a killed run had brought into `folder`; return what of it stays, None if there was no such run."""
    text = own_files.read_ours(folder / MARKER, most_bytes=_MOST_MARKER_BYTES)
    if text is None:
        return None
    stays = _take_away(folder, text.splitlines())
    own_files.unlink(folder / MARKER)
    return stays


def _take_away(folder: Path, lines: Iterable[bytes]) -> list[str]:
    """Remove files that are as they came, behind no link, then folders that are empty; return what stays."""
    device = os.lstat(folder).st_dev
    plain = {"": True}  # whether a folder below is no link, nor lies behind one
    folders: list[str] = []
    stays: list[str] = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            came = json.loads(line)
            if not isinstance(came, list):
                continue  # the header
            path, *facts = came
            *parts, name = path.split("/")
            if not name or {"", ".", ".."} & {*parts, name}:
                continue
            above = "/".join(parts)
            if above not in plain:
                behind = (folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1))
                plain[above] = not any(part.is_symlink() for part in behind)
            if not plain[above] or not os.path.lexists(folder / path):
                continue
            seen = os.lstat(folder / path)
            is_folder = stat.S_ISDIR(seen.st_mode)
            if is_folder and not facts:
                folders.append(path)
            elif is_folder or facts != _facts(seen) or seen.st_dev != device or not _gone(os.unlink, folder / path):
                stays.append(path)
    stays += [path for path in reversed(folders) if not _gone(os.rmdir, folder / path)]
    tops: list[str] = []
    for path in sorted(stays, key=lambda path: path.split("/")):
        if not tops or not path.startswith(f"{tops[-1]}/"):
            tops.append(path)
    return tops


def _gone(remove: Callable[[Path], None], path: Path) -> bool:
    with contextlib.suppress(OSError):
        remove(path)
        return True
    return False
