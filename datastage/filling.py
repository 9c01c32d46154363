"""Fill a folder that is there already: nothing in it is replaced, and after an error what came is taken away again.

Everything is unpacked into a hidden folder within, and then moved to its place by renames:

1. What was unpacked is compared with what is there: a path that is taken ends it here.
2. A marker is written that names what will come.
3. Each of these is moved. A folder that is there is entered, and what is below it moved.
4. The marker is removed.

After a kill the marker stays and names what came; the next run into the folder takes that away first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

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
    moves = dict(_moves(unpacked, folder, ""))
    if durable:
        store.sync_file_system(unpacked)
    check()
    marker = {
        "what": "datastage was unpacking an archive into this folder. If it was stopped, run it again, or remove what "
        "is named under 'came' and this file.",
        "archive": archive,
        "came": moves,
    }
    with while_doing(f"writing into {folder}"), own_files.atomic_file(folder / MARKER, sync=False) as out:
        out.write(json.dumps(marker, indent=1).encode())
    moved: dict[str, int] = {}
    try:
        for path, inode in moves.items():
            moved[path] = inode
            _move(unpacked / path, folder / path, folder, path)
    except BaseException:
        _take_away(folder, moved)
        raise
    finally:
        own_files.unlink(folder / MARKER)


def _moves(unpacked: Path, folder: Path, below: str) -> Iterator[tuple[str, int]]:
    """Give the topmost paths that are not in `folder` yet, each with its inode."""
    with os.scandir(unpacked / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                seen = os.lstat(folder / path)
            except FileNotFoundError:
                yield path, entry.inode()
                continue
            if not (entry.is_dir(follow_symlinks=False) and stat.S_ISDIR(seen.st_mode)):
                raise clash(folder, path)
            yield from _moves(unpacked, folder, path)


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


def take_away_leftovers(folder: Path) -> bool:
    """Take away what a killed run had brought into `folder`; return whether there was a marker of one."""
    text = own_files.read_ours(folder / MARKER, most_bytes=_MOST_MARKER_BYTES)
    if text is None:
        return False
    came: dict[str, int] = {}
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        came = {path: int(inode) for path, inode in own_files.mapping_of(text).get("came", {}).items()}
    _take_away(folder, came)
    own_files.unlink(folder / MARKER)
    return True


def _take_away(folder: Path, came: dict[str, int]) -> None:
    """Remove what came: it has the inode that it was moved with, and lies below `folder` and no link."""
    for path, inode in came.items():
        parts = path.split("/")
        above = [folder.joinpath(*parts[:n]) for n in range(1, len(parts))]
        if not all(parts) or {".", ".."} & set(parts) or any(part.is_symlink() for part in above):
            continue
        target = folder / path
        with contextlib.suppress(OSError):
            seen = os.lstat(target)
            if (seen.st_ino, seen.st_dev) == (inode, os.lstat(folder).st_dev):
                own_files.remove_tree(target)
