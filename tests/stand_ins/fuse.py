"""A file system that behaves as Google Drive's mount does when it is unwell: a FUSE server in Python, no library.

`dead_mount` leaves a mount whose client has died: every call fails with errno 107. `mounted` serves a folder and can be
told to fail, to be slow, or to forget a file. Linux, and root or a user who may make mounts.

The protocol is that of linux/fuse.h, version 7.31 and what is older; only what reading needs is answered.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MNT_DETACH = 2
_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS, _DESTROY, _BATCH_FORGET = 25, 26, 27, 28, 29, 34, 38, 42
_BUFFER = 1 << 20


def _mount(fd: int, point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"drive", os.fsencode(point), b"fuse.drive", 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(point))


def _unmount(point: Path) -> None:
    ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(point), _MNT_DETACH)


@functools.cache
def why_not() -> str:
    """Say why there can be no such mount here; empty if there can."""
    if sys.platform != "linux" or not os.path.exists("/dev/fuse"):
        return "left out: needs Linux and /dev/fuse"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with dead_mount(Path(folder)):
                return ""
        except OSError as error:
            return f"left out: no FUSE mount can be made here ({error.strerror})"


@contextlib.contextmanager
def dead_mount(point: Path) -> Iterator[None]:
    """Make `point` a mount of Drive whose client has died."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    try:
        _mount(fd, point)
    finally:
        os.close(fd)
    try:
        yield
    finally:
        _unmount(point)


@dataclass
class Faults:
    """How the mount misbehaves; may be changed while it is served."""

    metadata_s: float = 0.0  # every look at a file takes so long; on Drive 50 to 300 ms
    fail_after: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: (offset, errno) of reads beyond it
    forgotten: set[str] = field(default_factory=set)  # names that are there and are answered with errno 2
    lookups_fail: dict[str, int] = field(default_factory=dict)  # name: errno
    dies_at: str = ""  # a look at this name is answered with errno 2, and from then on everything with errno 107
    is_dead: bool = False
    listings_fail: int = 0  # so many listings fail with errno 5, and the next ones work
    on_fail: Callable[[], None] = lambda: None  # called at each failing read: the client writes its log
    listed: list[str] = field(default_factory=list)  # every folder whose listing was asked for


@contextlib.contextmanager
def mounted(folder: Path, point: Path, faults: Faults | None = None) -> Iterator[Faults]:
    """Serve `folder`, read-only, at `point`."""
    faults = faults or Faults()
    fd = os.open("/dev/fuse", os.O_RDWR)
    try:
        _mount(fd, point)
    except OSError:
        os.close(fd)
        raise
    server = _Server(fd, folder, faults)
    thread = threading.Thread(target=server.serve, name="stand-in-fuse", daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        _unmount(point)
        thread.join(5)
        with contextlib.suppress(OSError):
            os.close(fd)


class _Server:
    def __init__(self, fd: int, folder: Path, faults: Faults) -> None:
        self.fd = fd
        self.faults = faults
        self.paths = {1: str(folder)}
        self.nodes = {str(folder): 1}

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.fd, _BUFFER)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return  # unmounted
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return
            _, op, unique, node, _, _, _, _ = struct.unpack_from("<IIQQIIII", request)
            body = request[40:]
            if op in (_FORGET, _BATCH_FORGET):
                continue
            try:
                code, answer = 0, self.answer(op, node, body)
            except OSError as error:
                code, answer = error.errno or errno.EIO, b""
            with contextlib.suppress(OSError):
                os.write(self.fd, struct.pack("<IiQ", 16 + len(answer), -code, unique) + answer)
            if op == _DESTROY:
                return

    def answer(self, op: int, node: int, body: bytes) -> bytes:
        path = self.paths.get(node, "")
        if self.faults.is_dead:
            raise OSError(errno.ENOTCONN, "dead")
        if op == _INIT:
            major, minor, readahead, _ = struct.unpack_from("<IIII", body)
            return struct.pack("<IIIIHHIIHH32x", 7, min(minor, 31), readahead, 0, 12, 10, 4096, 1, 0, 0)
        if op == _LOOKUP:
            name = os.fsdecode(body.rstrip(b"\0"))
            time.sleep(self.faults.metadata_s)
            if name == self.faults.dies_at:
                self.faults.is_dead = True
            if name in self.faults.lookups_fail:
                raise OSError(self.faults.lookups_fail[name], "told to fail")
            if name in self.faults.forgotten or self.faults.is_dead:
                raise OSError(errno.ENOENT, "forgotten")
            return self.entry(os.path.join(path, name))
        if op == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(os.lstat(path), node)
        if op == _READLINK:
            return os.fsencode(os.readlink(path))
        if op in (_OPEN, _OPENDIR):
            return struct.pack("<QII", 0, 1, 0)  # direct_io: every read reaches us
        if op == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            limit = self.faults.fail_after.get(os.path.basename(path))
            if limit is not None and offset + size > limit[0]:
                self.faults.on_fail()
                raise OSError(limit[1], "told to fail")
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if op == _READDIR:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.listing(path, offset, size)
        if op == _STATFS:
            return struct.pack("<QQQQQIIII24x", 10**9, 10**9, 10**9, 10**6, 10**6, 4096, 255, 4096, 0)
        if op in (_RELEASE, _RELEASEDIR, _FLUSH, _ACCESS, _DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not served")

    def entry(self, path: str) -> bytes:
        found = os.lstat(path)
        node = self.nodes.setdefault(path, len(self.nodes) + 1)
        self.paths[node] = path
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(found, node)

    @staticmethod
    def attributes(found: os.stat_result, node: int) -> bytes:
        seconds, nanoseconds = divmod(found.st_mtime_ns, 10**9)
        return struct.pack(
            "<QQQQQQIIIIIIIIII",
            node,
            found.st_size,
            (found.st_size + 511) // 512,
            *(seconds,) * 3,
            *(nanoseconds,) * 3,
            found.st_mode,
            1,
            os.getuid(),
            os.getgid(),
            0,
            4096,
            0,
        )

    def listing(self, path: str, offset: int, size: int) -> bytes:
        if offset == 0:
            self.faults.listed.append(path)
            if self.faults.listings_fail > 0:
                self.faults.listings_fail -= 1
                raise OSError(errno.EIO, "told to fail")
        answer = b""
        for number, name in enumerate(sorted(os.listdir(path))[offset:], offset + 1):
            raw = os.fsencode(name)
            kind = stat.S_IFMT(os.lstat(os.path.join(path, name)).st_mode) >> 12
            entry = struct.pack("<QQII", number + 1000, number, len(raw), kind) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer
