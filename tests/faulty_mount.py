"""A mount that is slow, or fails, as it is told: a real FUSE file system that shows a folder, read-only.

The kernel's protocol is spoken here directly (linux/fuse.h), so that no library is needed: only /dev/fuse and the
right to mount. It runs in a process of its own, which unmounts and ends when its standard input does; so a test that
dies leaves no dead mount behind. As in DriveFS, every name asked for costs a delay, and each open file has a rate.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import random
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _DESTROY, _BATCH_FORGET = 25, 26, 27, 28, 29, 36, 38, 42
_ASYNC_READ, _PARALLEL_DIROPS, _MAX_PAGES = 1, 1 << 18, 1 << 22
_THREADS = 128
_MOST = 1 << 20


class _FileSystem:
    def __init__(self, folder: str, mountpoint: str) -> None:
        self.folder = folder
        self.mountpoint = mountpoint
        self.faults: dict[str, Any] = {}
        self.paths: dict[int, str] = {1: folder}
        self.numbers: dict[str, int] = {folder: 1}
        self.handles: dict[int, tuple[int, list[float]]] = {}
        self.listings: dict[int, list[os.DirEntry[str]]] = {}
        self.next_handle = 1
        self.lock = threading.Lock()
        self.chance = random.Random(1)
        self.n_failed = 0
        self.n_opened = 0
        self.n_asked = 0
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = (
            f"fd={self.fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other,max_read={_MOST}"
        )
        nosuid_nodev_readonly = 2 | 4 | 1
        if libc.mount(b"faulty", mountpoint.encode(), b"fuse.faulty", nosuid_nodev_readonly, options.encode()):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self.libc = libc

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.fd, _MOST + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return  # unmounted
            length, operation, unique, node = struct.unpack_from("<IIQQ", request)
            body = request[40:length]
            if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            try:
                answer, code = self.answer(operation, node, body), 0
            except OSError as error:
                answer, code = b"", -(error.errno or errno.EIO)
            with contextlib.suppress(OSError):  # the reader was interrupted
                os.write(self.fd, struct.pack("<IiQ", 16 + len(answer), code, unique) + answer)

    def answer(self, operation: int, node: int, body: bytes) -> bytes:
        if operation == _INIT:
            _, minor, readahead, flags = struct.unpack_from("<IIII", body)
            flags &= _ASYNC_READ | _PARALLEL_DIROPS | _MAX_PAGES
            head = struct.pack(
                "<IIIIHHIIHHI", 7, min(minor, 31), readahead, flags, 1000, 750, _MOST, 1, _MOST // 4096, 0, 0
            )
            return head + bytes(28)
        if operation in (_RELEASE, _RELEASEDIR):
            (handle,) = struct.unpack_from("<Q", body)
            with self.lock:
                fd, _ = self.handles.pop(handle, (-1, []))
                self.listings.pop(handle, None)
            if fd >= 0:
                os.close(fd)
            return b""
        if operation in (_FLUSH, _DESTROY):
            return b""
        if operation == _STATFS:
            return struct.pack("<QQQQQIIII", 10**9, 0, 0, 10**6, 0, 4096, 255, 4096, 0) + bytes(24)
        self.may_fail(operation)
        if operation == _LOOKUP:
            time.sleep(self.faults.get("delay", 0.0))
            path = os.path.join(self.paths[node], os.fsdecode(body.rstrip(b"\0")))
            attributes = os.lstat(path)
            with self.lock:
                number = self.numbers.setdefault(path, len(self.numbers) + 1)
                self.paths[number] = path
            return struct.pack("<QQQQII", number, 0, 1, 0, 0, 0) + self.attributes(number, attributes)
        if operation == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node, os.lstat(self.paths[node]))
        if operation == _READLINK:
            return os.fsencode(os.readlink(self.paths[node]))
        if operation == _OPEN:
            time.sleep(self.faults.get("delay", 0.0))
            with self.lock:
                self.n_opened += 1
                is_first = self.n_opened == 1
            if is_first:
                time.sleep(self.faults.get("first_open", 0.0))
            made = self.handle(os.open(self.paths[node], os.O_RDONLY))
            direct_io = 1
            return made[:8] + struct.pack("<II", direct_io, 0) if self.faults.get("direct") else made
        if operation == _OPENDIR:
            time.sleep(self.faults.get("delay", 0.0))
            with os.scandir(self.paths[node]) as entries:
                listing = list(entries)
            return self.handle(-1, listing)
        if operation == _READDIR:
            return self.listing(body)
        if operation == _READ:
            return self.read(body)
        raise OSError(errno.ENOSYS, "not here")

    def may_fail(self, operation: int) -> None:
        faults = self.faults
        if faults.get("dead"):
            raise OSError(faults["dead"], "dead")
        if (
            operation == {"open": _OPEN, "list": _READDIR}.get(faults.get("at", "read"), _READ)
            and faults.get("fail")
            and "fail_from" not in faults
            and self.chance.random() < faults.get("chance", 1.0)
        ):
            with self.lock:
                self.n_failed += 1
                number = self.n_failed
            if number <= faults.get("times", 10**9):
                raise OSError(faults["fail"], "failed")

    def handle(self, fd: int, listing: list[os.DirEntry[str]] | None = None) -> bytes:
        with self.lock:
            number = self.next_handle
            self.next_handle += 1
            self.handles[number] = (fd, [time.monotonic()])
            if listing is not None:
                self.listings[number] = listing
        return struct.pack("<QII", number, 0, 0)

    def attributes(self, number: int, of: os.stat_result) -> bytes:
        size, mtime_ns = of.st_size, of.st_mtime_ns
        if stat.S_ISREG(of.st_mode):
            with self.lock:
                self.n_asked += 1
            size = self.faults.get("size", size)
            if self.n_asked > self.faults.get("grows_after", 10**9):
                size += self.n_asked
            if self.n_asked > self.faults.get("touched_after", 10**9):
                mtime_ns += self.n_asked * 10**9
        seconds, nanoseconds = divmod(mtime_ns, 10**9)
        times = (seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds)
        blocks = (of.st_size + 511) // 512
        return struct.pack(
            "<QQQQQQIIIIIIIIII", number, size, blocks, *times, of.st_mode, 1, of.st_uid, of.st_gid, 0, 4096, 0
        )

    def listing(self, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        out = b""
        fails_after = self.faults.get("list_fails_after")
        for at, entry in enumerate(self.listings[handle][offset:], offset + 1):
            if fails_after is not None and at > fails_after:
                if out:
                    break
                with self.lock:
                    self.n_failed += 1
                    number = self.n_failed
                if number <= self.faults.get("times", 10**9):
                    raise OSError(errno.EIO, "the listing breaks off")
            name = os.fsencode(entry.name)
            kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) >> 12
            record = struct.pack("<QQII", at + 1, at, len(name), kind) + name
            record += bytes(-len(record) % 8)
            if len(out) + len(record) > size:
                break
            out += record
        return out

    def read(self, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        with self.lock:
            fd, due = self.handles[handle]
        data = os.pread(fd, size, offset)
        bad = self.faults.get("fail_from")  # one place of the file that cannot be read
        if bad is not None and offset <= bad < offset + len(data):
            raise OSError(self.faults["fail"], "a bad place")
        data = data[: self.faults.get("short", len(data))]
        stuck = self.faults.get("stuck")  # the first reads never come back
        if stuck:
            with self.lock:
                self.faults["stuck"] = stuck - 1
            time.sleep(600)
        time.sleep(self.faults.get("read_delay", 0.0))
        rate = self.faults.get("rate")
        if rate:
            with self.lock:
                due[0] = max(due[0], time.monotonic()) + len(data) / rate
                wait = due[0] - time.monotonic()
            time.sleep(max(0.0, wait))
        return data


def _main() -> None:
    system = _FileSystem(sys.argv[1], sys.argv[2])
    for _ in range(_THREADS):
        threading.Thread(target=system.serve, daemon=True).start()
    print("mounted", flush=True)
    for line in sys.stdin:
        system.faults = json.loads(line)
        system.n_failed = system.n_opened = system.n_asked = 0
        print("told", flush=True)
    mnt_detach = 2
    system.libc.umount2(system.mountpoint.encode(), mnt_detach)
    os._exit(0)


class FaultyMount:
    """The folder `path`, which shows what lies in `folder`; see `faults`."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder, self.path = folder, path
        for made in (folder, path):
            made.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-I", __file__, str(folder), str(path)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if self._answer() != "mounted":
            raise OSError(self._process.communicate()[1].strip().splitlines()[-1])

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def faults(self, **faults: Any) -> None:
        """Misbehave from now on.

        Parameters
        ----------
        delay : float
            Seconds for every name and every opening.
        read_delay : float
            Seconds for every read.
        rate : float
            Bytes a second of each open file.
        fail : int
            The errno of reads, or of what `at` says ("open", "list"), with the probability `chance`, so many `times`.
        fail_from : int
            Only reads of this byte fail.
        short : int
            A read gives no more bytes than this.
        direct : bool
            The kernel keeps nothing, and believes each read: that is how Drive shows what has no size.
        size : int
            What every file is said to hold.
        grows_after, touched_after : int
            From so many looks at a file on, each look tells another size, or another time.
        first_open : float
            Seconds that the first opening takes.
        list_fails_after : int
            A listing breaks off with errno 5 after so many names, so many `times`.
        dead : int
            The errno of everything.
        stuck : int
            So many reads do not come back within the test.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(faults) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "told"

    def close(self) -> None:
        """Unmount."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def faulty_mount(tmp_path: Path) -> Iterator[FaultyMount]:
    """A mount of the test's own, or a skip where one may not mount."""
    try:
        mount = FaultyMount(tmp_path / "behind", tmp_path / "mount")
    except OSError as error:
        pytest.skip(f"left out: no FUSE file system may be mounted here ({error})")
    yield mount
    mount.close()


if __name__ == "__main__":
    _main()
