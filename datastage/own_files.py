"""Files and folders of our own: how they are told from others', made without following a link, and removed."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from datastage.errors import while_doing
from datastage.file_names import fitted
from datastage.mounts import is_network_disk, starting_with

_ABANDONED_S = 3600.0
_ENDING = ".partial"
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
FOLDER = getattr(os, "O_DIRECTORY", 0) | NO_LINK
_BINARY = getattr(os, "O_BINARY", 0)


def is_ours(path: str | os.PathLike[str], seen: os.stat_result) -> bool:
    """Tell whether what was seen at `path` belongs to this user.

    Disks of other machines may show another number for the owner (sshfs, SMB, root on NFS). There a thing counts as
    ours if we may write to it and, by its mode, nobody else may; or if all of the disk shows one owner who lets all.
    """
    if not hasattr(os, "geteuid") or seen.st_uid == os.geteuid():
        return True
    if not os.access(path, os.W_OK) or not is_network_disk(path):
        return False
    top = os.path.abspath(path)
    while not os.path.ismount(top):
        top = os.path.dirname(top)
    disk = os.stat(top)
    return not others_write(seen) or (disk.st_uid == seen.st_uid and others_write(disk))


def is_own_folder(path: Path) -> bool:
    """Tell whether a folder, and no link to one, is this user's."""
    with contextlib.suppress(OSError):
        seen = path.lstat()
        return stat.S_ISDIR(seen.st_mode) and is_ours(path, seen)
    return False


def others_write(seen: os.stat_result) -> bool:
    """Tell whether a mode lets the group or others write. Windows has no such modes."""
    return hasattr(os, "geteuid") and bool(seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def is_shared(folder: Path) -> bool:
    """Tell whether others than this user and its own group may write into `folder`."""
    if not hasattr(os, "geteuid"):
        return False
    seen = folder.stat()
    if seen.st_mode & stat.S_IWOTH or not is_ours(folder, seen):
        return True
    return bool(seen.st_mode & stat.S_IWGRP) and not _is_private_group(seen.st_gid)


def _is_private_group(gid: int) -> bool:
    """Tell whether a group is this user's alone: many systems give each user a group of the same name."""
    import grp
    import pwd

    try:
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == me.pw_name and not set(group.gr_mem) - {me.pw_name}


def owner_name(seen: os.stat_result) -> str:
    """Return the name of an owner, for a person."""
    try:
        import pwd

        return pwd.getpwuid(seen.st_uid).pw_name
    except (ImportError, KeyError):
        return f"the user with number {seen.st_uid}"


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, below: int | None = None) -> Iterator[int]:
    """Give the descriptor of a file, or of a folder, which on Windows is a `PermissionError`; `below` that of one."""
    fd = os.open(path, flags, dir_fd=below)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[io.BufferedReader]:
    """Give a plain file to read; a link, a FIFO or a device is an `OSError`, and is not waited for."""
    flags = NO_LINK | getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, how: os.open(name, how | flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        yield file


def read_ours(path: Path, *, most_bytes: int, of_anybody: bool = False) -> bytes | None:
    """Return what a small plain file of ours holds; None for a link, a FIFO, a device, another user's, one too long."""
    with contextlib.suppress(OSError), plain_file(path) as file:
        seen = os.fstat(file.fileno())
        if seen.st_size <= most_bytes and (of_anybody or is_ours(path, seen)):
            return file.read(most_bytes + 1)
    return None


def mapping_of(text: bytes | None) -> dict[str, Any]:
    """Return the mapping that JSON of ours holds; an empty one where there is no text, or it is something else."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text or b"")
        return found if isinstance(found, dict) else {}
    return {}


def bytes_in(path: Path) -> int:
    """Return what a file, or all below a folder, takes, as far as it can be seen: others may be at work there."""
    below = (os.path.join(base, name) for base, _, names in os.walk(path) for name in names)
    total = 0
    for each in below if path.is_dir() and not path.is_symlink() else [path]:
        with contextlib.suppress(OSError):
            total += os.lstat(each).st_size
    return total


def no_link(path: str, flags: int) -> int:
    """Open a file of ours and never what a link leads to: an ``opener`` for `open`, and all of our own writes."""
    return os.open(path, flags | NO_LINK, 0o666)


@contextlib.contextmanager
def new_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Give a new file at `path`; a link or file of that name is an error, and nothing is written through it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | _BINARY
    with os.fdopen(os.open(path, flags, mode), "wb") as out:
        yield out


@contextlib.contextmanager
def atomic_file(
    target: Path, *, mode: int = 0o666, sync: bool = True, replace: bool = True, unfinished: Path | None = None
) -> Iterator[BinaryIO]:
    """Give a new hidden file, which takes the place of `target` when the block ends without an error.

    Without `replace` what is there by then is a `FileExistsError`. What killed processes left an hour ago is removed.
    `unfinished` names the hidden file for who can tell sooner whose it is.
    """
    remove_abandoned(target)
    unfinished = unfinished or beside(target)
    try:
        with new_file(unfinished, mode=mode) as out:
            yield out
            out.flush()
            if sync:
                os.fsync(out.fileno())
        if replace:
            os.replace(unfinished, target)
        else:
            move_anew(unfinished, target)
    finally:
        unlink(unfinished)


def beside(target: Path) -> Path:
    """Return a new hidden name beside `target`, for what will take its place."""
    return target.with_name(f"{_start(target)}{secrets.token_hex(8)}{_ENDING}")


def _start(target: Path) -> str:
    return f".{fitted(target.name, 26)}."


def unlink(path: Path) -> None:
    """Remove a file of ours, if that can be done."""
    with contextlib.suppress(OSError):
        path.unlink()


def move_anew(source: Path, target: Path) -> None:
    """Move a file to where nothing is; else it is a `FileExistsError`. A rename would replace what is there."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # this file system has no links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it is there already", str(target)) from None
        os.rename(source, target)
    else:
        unlink(source)  # the target is whole and in its place, whatever becomes of the other name


def remove_abandoned(target: Path, after_s: float = _ABANDONED_S) -> None:
    """Remove unfinished files for `target` that nobody has written to for so long; one that is at work writes often."""
    start = _start(target)
    for path in starting_with(target.parent, start):
        if not re.fullmatch("[0-9a-f]{16}" + re.escape(_ENDING), path.name[len(start) :]):
            continue
        with contextlib.suppress(OSError):
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode) and is_ours(path, seen) and time.time() - seen.st_mtime > after_s:
                path.unlink()


def may_be_written(path: Path) -> bool:
    """Tell whether a file may be one that `atomic_file` gave just now, for whatever name."""
    try:
        is_recent = time.time() - path.lstat().st_mtime < _ABANDONED_S
    except OSError:
        return False
    return is_recent and re.fullmatch(r"\..+\.[0-9a-f]{16}" + re.escape(_ENDING), path.name) is not None


def fresh_folder(folder: Path) -> Path:
    """Return `folder`, empty. What is there is removed: only for names inside a folder of our own."""
    remove_tree(folder)
    with while_doing("making the folder"):
        folder.mkdir()
    return folder


def remove_tree(folder: Path) -> None:
    """Remove `folder` or file, whatever permissions are in it; nothing is done where nothing is."""
    try:
        seen = folder.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(seen.st_mode):
        folder.unlink()
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        _open_up(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Let the owner list and change every folder below `folder`, by descriptors: no link is followed."""
    if not hasattr(os, "O_PATH"):
        return
    folders = [os.fspath(folder)]
    while folders:
        path = folders.pop()
        with contextlib.suppress(OSError), opened(path, os.O_PATH | os.O_DIRECTORY | NO_LINK) as held:
            if os.fstat(held).st_uid == os.geteuid():
                os.chmod(f"/proc/self/fd/{held}", 0o700)
            with os.scandir(f"/proc/self/fd/{held}") as entries:
                folders += [os.path.join(path, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
