"""A disk that can be written to and lacks what most disks have: file locks, or upper and lower case. FUSE in Python.

It serves a folder through `stand_ins.fuse`'s server, with the calls added that writing needs. Whoever uses it must be
another process than the test: a page fault of this one would wait for itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.stand_ins import fuse

_SETATTR, _SYMLINK, _MKDIR, _UNLINK, _RMDIR, _RENAME, _LINK, _WRITE = 4, 6, 9, 10, 11, 12, 13, 16
_FSYNC, _FSYNCDIR, _GETLK, _SETLK, _SETLKW, _CREATE, _RENAME2 = 20, 30, 31, 32, 33, 35, 45
_FLOCK_LOCKS, _BIG_WRITES = 1 << 10, 1 << 5


class _Disk(fuse._Server):
    def __init__(self, fd: int, folder: Path, *, flock_errno: int, folds_case: bool) -> None:
        super().__init__(fd, folder, fuse.Faults())
        self.flock_errno, self.folds_case = flock_errno, folds_case
        self.files: dict[int, int] = {}
        self.n_locks_refused = 0

    def name_in(self, folder: str, raw: bytes) -> str:
        """The path of a name as it is spelled on the disk."""
        name = os.fsdecode(raw)
        if self.folds_case and not os.path.lexists(os.path.join(folder, name)):
            name = next((there for there in os.listdir(folder) if there.lower() == name.lower()), name)
        return os.path.join(folder, name)

    def opened(self, fd: int) -> bytes:
        self.files[fd] = fd
        return struct.pack("<QII", fd, 1, 0)  # direct_io

    def forget(self, path: str) -> None:
        for known in [known for known in self.nodes if known == path or known.startswith(path + "/")]:
            self.nodes.pop(known)

    def answer(self, op: int, node: int, body: bytes) -> bytes:
        path = self.paths.get(node, "")
        if op == fuse._INIT:
            _, minor, readahead, _ = struct.unpack_from("<IIII", body)
            flags = _FLOCK_LOCKS | _BIG_WRITES
            return struct.pack("<IIIIHHIIHH32x", 7, min(minor, 31), readahead, flags, 12, 10, 1 << 17, 1, 0, 0)
        if op in (_GETLK, _SETLK, _SETLKW):
            self.n_locks_refused += 1
            raise OSError(self.flock_errno, "no locks here")
        if op == fuse._LOOKUP:
            return self.entry(self.name_in(path, body.rstrip(b"\0")))
        if op == fuse._OPEN:
            (flags,) = struct.unpack_from("<I", body)
            return self.opened(os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)))
        if op == _CREATE:
            flags, mode, umask, _ = struct.unpack_from("<IIII", body)
            target = self.name_in(path, body[16:].rstrip(b"\0"))
            fd = os.open(target, flags & ~os.O_NOFOLLOW, mode & ~umask)
            return self.entry(target) + self.opened(fd)
        if op == fuse._READ:
            handle, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(handle, size, offset)
        if op == _WRITE:
            handle, offset, size = struct.unpack_from("<QQI", body)
            return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)
        if op == fuse._RELEASE:
            os.close(self.files.pop(struct.unpack_from("<Q", body)[0]))
            return b""
        if op == _FSYNC:
            os.fsync(struct.unpack_from("<Q", body)[0])
            return b""
        if op == _FSYNCDIR:
            return b""
        if op == fuse._GETATTR:
            flags, _, handle = struct.unpack_from("<IIQ", body)
            found = os.fstat(handle) if flags & 1 and handle in self.files else os.lstat(path)
            return struct.pack("<QII", 0, 0, 0) + self.attributes(found, node)
        if op == _SETATTR:
            return self.set_attributes(node, path, body)
        if op == _MKDIR:
            mode, umask = struct.unpack_from("<II", body)
            target = self.name_in(path, body[8:].rstrip(b"\0"))
            os.mkdir(target, mode & ~umask)
            return self.entry(target)
        if op in (_UNLINK, _RMDIR):
            target = self.name_in(path, body.rstrip(b"\0"))
            (os.unlink if op == _UNLINK else os.rmdir)(target)
            self.forget(target)
            return b""
        if op in (_RENAME, _RENAME2):
            (into,) = struct.unpack_from("<Q", body)
            old, new = body[8 if op == _RENAME else 16 :].rstrip(b"\0").split(b"\0")
            source, target = self.name_in(path, old), self.name_in(self.paths[into], new)
            os.rename(source, target)
            self.forget(target)
            for known in [known for known in self.nodes if known == source or known.startswith(source + "/")]:
                number = self.nodes.pop(known)
                self.paths[number] = target + known[len(source) :]
                self.nodes[self.paths[number]] = number
            return b""
        if op == _SYMLINK:
            name, leads_to = body.rstrip(b"\0").split(b"\0")
            target = self.name_in(path, name)
            os.symlink(leads_to, os.fsencode(target))
            return self.entry(target)
        return super().answer(op, node, body)

    def set_attributes(self, node: int, path: str, body: bytes) -> bytes:
        valid, _, handle, size, _, atime, mtime, _, ans, mns, _, mode = struct.unpack_from("<IIQQQQQQIIII", body)
        where: int | str = handle if valid & 64 and handle in self.files else path
        if valid & 1:
            os.chmod(where, mode & 0o7777)
        if valid & 8:
            os.truncate(where, size)
        if valid & (16 | 32):
            found = os.stat(where)
            access = found.st_atime_ns if not valid & 16 else atime * 10**9 + ans
            modified = found.st_mtime_ns if not valid & 32 else mtime * 10**9 + mns
            os.utime(where, ns=(access, modified)) if not valid & (128 | 256) else os.utime(where)
        found = os.fstat(where) if isinstance(where, int) else os.lstat(where)
        return struct.pack("<QII", 0, 0, 0) + self.attributes(found, node)

    def entry(self, path: str) -> bytes:
        known = self.nodes.get(path)
        if known is None:  # numbers are never given out again: files that are gone keep theirs
            known = max(self.paths) + 1
            self.nodes[path] = known
        self.paths[known] = path
        return struct.pack("<QQQQII", known, 0, 0, 0, 0, 0) + self.attributes(os.lstat(path), known)


@contextlib.contextmanager
def disk(folder: Path, point: Path, *, flock_errno: int = errno.ENOLCK, folds_case: bool = False) -> Iterator[_Disk]:
    """Serve `folder` at `point`, to be written to; `flock` fails with `flock_errno` there."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    try:
        fuse._mount(fd, point)
    except OSError:
        os.close(fd)
        raise
    server = _Disk(fd, folder, flock_errno=flock_errno, folds_case=folds_case)
    thread = threading.Thread(target=server.serve, name="stand-in-disk", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        fuse._unmount(point)
        thread.join(5)
        with contextlib.suppress(OSError):
            os.close(fd)
