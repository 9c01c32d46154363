"""One process at a time: a lock beside the folder that it guards, which says who holds it and how far that one is.

Two kinds. A file lock (`flock`) where the file system has one: the kernel lets it go when its holder dies, however it
dies, and it holds between containers that share a kernel. Where there is none (ENOLCK, ENOSYS, EOPNOTSUPP), and on
Windows: a made file. It is created exclusively, which is atomic on network disks too (open(2), NFSv3 and later), and
written again every few seconds by its holder. On a network disk both are taken, since a `flock` may be granted without
a word to the other nodes (Lustre's ``localflock``, FUSE systems that know no locks).

A made file counts as abandoned when

- its holder ran on this kernel, in this process namespace, and is gone: at once; or
- whoever waits has seen it unchanged for `ABANDONED_S` on its own clock, so that no two clocks need agree; or
- by the file system's clock it is older than `ANCIENT_S`, which no clocks differ by.

Before a process deletes a made file it must create ``<file>~<token>`` exclusively. The token identifies one holder, so
a slow process can never delete a lock that another has taken since. A holder that was stopped for so long that it lost
its lock learns so from `Held.check`, before it publishes anything.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datastage.errors import LockTimeoutError, StorageError, while_doing
from datastage.mounts import is_network_disk
from datastage.own_files import mapping_of, opened, unlink

POLL_S = 0.1
BEAT_S = 5.0
TELL_S = 1.0
ABANDONED_S = 60.0
ANCIENT_S = 900.0
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
# A name that vanishes between two steps so often does so for good: in /proc, say, no file can be made at all.
_MOST_VANISHED = 20
_LOOK = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Written in one piece of one length, so that a reader sees the old text or the new one.
_RECORD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock (``"process 4711 on node3"``), the phase it is in, and how many bytes of it are done."""

    who: str = "another process"
    doing: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None


class Held:
    """A lock that is held: told how far the work is, and asked whether it is still ours. All from any thread."""

    def __init__(self, fd: int, token: str, made: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd, self._token, self._made, self._clock = fd, token, made, clock
        self._lock = threading.Lock()
        self._doing, self._done = "", 0
        self._total: int | None = None
        self._beats = 0
        self._told = -TELL_S

    def phase(self, name: str, total_bytes: int | None) -> None:
        """Say to those who wait which phase has begun."""
        with self._lock:
            self._doing, self._done, self._total = name, 0, total_bytes
            self._tell()

    def advance(self, n_bytes: int) -> None:
        """Count bytes; those who wait are told once a second."""
        with self._lock:
            self._done += n_bytes
            if self._clock() - self._told >= TELL_S:
                self._tell()

    def beat(self) -> None:
        """Change the record, so that who watches sees that its holder lives."""
        with self._lock:
            self._beats += 1
            self._tell()

    def is_ours(self) -> bool:
        """Tell whether nobody has taken the lock over; asked of made files alone, the kernel takes none away."""
        if self._made is None:
            return True
        facts = _read(self._made)
        return facts is not None and facts["token"] == self._token

    def check(self) -> None:
        """Raise `StorageError` if another process has taken the lock over, because this one was stopped for long."""
        if not self.is_ours():
            raise StorageError(
                "This process stood still for so long that another one has begun to prepare the same data.",
                "Next: run the same line again; what the other one has prepared is used then.",
                code=errno.ESTALE,
            )

    def close(self) -> None:
        """Write no more: whoever still reports must not reach a file that got the same number since."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _tell(self) -> None:
        self._told = self._clock()
        with contextlib.suppress(OSError):  # a courtesy; a full disk must not stop the work here
            self._write()

    def _write(self) -> None:
        if self._fd < 0:
            return
        facts = {**_me(), "token": self._token, "beat": self._beats}
        facts.update(doing=self._doing[:100], done=self._done, total=self._total)
        text = json.dumps(facts).encode().ljust(_RECORD_BYTES)
        if sys.platform == "win32":
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, text)
        else:
            os.pwrite(self._fd, text, 0)
        if self._made is not None:
            os.fsync(self._fd)  # what a network disk keeps back, other nodes do not see


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    timeout_s: float = 3600.0,
    on_wait: Callable[[str], None] | None = None,
    on_progress: Callable[[Holder], None] | None = None,
    beside: Sequence[Path] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Held]:
    """Hold the lock file `path` for the length of a ``with`` block; the file is gone afterwards.

    `on_wait` is called once, with words for who holds the lock, when waiting begins; `on_progress` whenever the holder
    has got further. Waiting ends `timeout_s` seconds after the last progress, with `LockTimeoutError`. `beside` are
    lock files of other users for the same thing: they are waited for too, and never written to.
    """
    began = clock()
    deadline = began + timeout_s
    watch = _Watch(clock)
    watches = {other: _Watch(clock, may_write=False) for other in beside}
    last: Holder | None = None
    while True:
        other = next((other for other in beside if is_held(other, watches[other])), None)
        with contextlib.ExitStack() as letting_go, while_doing("preparing the folder"):
            held = _take(path, watch, letting_go) if other is None else None
            if held is not None:
                taken = letting_go.pop_all()
                break
        now = _holder(other or path)
        if last is None and on_wait is not None:
            on_wait(now.who)
        if last is not None and now.doing and now != last:
            deadline = clock() + timeout_s
        if on_progress is not None and now.doing and now != last:
            on_progress(now)
        last = now
        if clock() >= deadline:
            raise LockTimeoutError(
                f"{path.parent} is being prepared by {now.who}; waited {timeout_s:.0f} s for it.",
                "Next: wait until it has finished, or stop it, and run the same line again.",
                filename=path,
            )
        time.sleep(POLL_S if clock() - began < 20 * POLL_S else 5 * POLL_S)
    with taken:
        yield held


def is_held(path: Path, watch: _Watch | None = None) -> bool:
    """Tell whether some process holds the lock file `path` now, as far as one look can tell. Nothing is changed."""
    made = _made(path)
    if os.path.lexists(made) and not (watch or _Watch(may_write=False)).is_abandoned(made):
        return True
    if sys.platform == "win32":
        return False
    import fcntl

    with contextlib.suppress(OSError), opened(path, _LOOK) as fd:
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def _made(path: Path) -> Path:
    return path.with_name(path.name + "ed")


def _holder(path: Path) -> Holder:
    for place in (_made(path), path):
        facts = _read(place)
        if facts is None or "pid" not in facts:
            continue
        me = _me()
        where = "on " + str(facts.get("host"))
        if facts.get("boot") and facts["boot"] == me["boot"] and facts.get("space") != me["space"]:
            where = f"in the container {facts.get('host')}"  # its number means nothing here
        done, total = facts.get("done"), facts.get("total")
        return Holder(
            f"process {facts['pid']} {where}"[:200],
            str(facts.get("doing", ""))[:200],
            done if type(done) is int else 0,
            total if type(total) is int else None,
        )
    return Holder()


def kernel_id() -> str:
    """Return what tells this kernel and process namespace, within which numbers of processes mean something."""
    host, boot, space = _machine()
    return hashlib.sha256(f"{boot or host}\0{space}".encode()).hexdigest()[:8]


@functools.cache
def _machine() -> tuple[str, str, str]:
    boot = space = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    return socket.gethostname()[:60], boot, space


def _me() -> dict[str, Any]:
    host, boot, space = _machine()
    return {"pid": os.getpid(), "host": host, "boot": boot, "space": space}


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a lock file says, with a token; None if absent. Opened anew, a network disk shows the newest."""
    try:
        with opened(path, _LOOK) as fd:
            seen = os.fstat(fd)
            text = os.read(fd, 2 * _RECORD_BYTES) if stat.S_ISREG(seen.st_mode) else b""
    except OSError:
        return None
    facts = mapping_of(text)
    token = facts.get("token")
    if not isinstance(token, str) or not token.isalnum():
        token = f"{seen.st_ino:x}{seen.st_mtime_ns:x}"  # its maker has not written yet, or died before it could
    return {**facts, "token": token[:32], "mtime": seen.st_mtime}


@dataclass(slots=True)
class _Watch:
    """What one waiting process has seen of a made file, and since when."""

    clock: Callable[[], float] = time.monotonic
    may_write: bool = True
    seen: dict[str, Any] | None = None
    since: float = 0.0
    vanished: int = 0
    tried: set[str] = field(default_factory=set)

    def is_abandoned(self, path: Path) -> bool:
        facts = _read(path)
        if facts is None:
            return False
        if self.seen is None or facts != self.seen:
            self.seen, self.since = facts, self.clock()
            age = _age(path, facts["mtime"]) if self.may_write else time.time() - facts["mtime"]
            if _is_gone(facts) or age > ANCIENT_S:
                return True
        return self.clock() - self.since > ABANDONED_S


def _is_gone(facts: dict[str, Any]) -> bool:
    """Tell whether the holder was a process of this kernel and namespace, where its number tells, and has died."""
    me = _me()
    if not me["boot"] or facts.get("boot") != me["boot"] or facts.get("space") != me["space"]:
        return False
    try:
        pid = int(facts["pid"])
        os.kill(pid, 0)
        # A zombie still has its number. The state follows the name in brackets, which may hold anything (proc(5)).
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except ProcessLookupError:
        return True
    except (OSError, KeyError, TypeError, ValueError, IndexError):
        return False
    return state in (b"Z", b"X")


def _age(path: Path, mtime: float) -> float:
    """Return how long ago by the file system's own clock; 0 where it cannot be told."""
    probe = path.with_name(f"{path.name}~{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - mtime
    except OSError:
        return 0.0
    finally:
        unlink(probe)


def _take(path: Path, watch: _Watch, letting_go: contextlib.ExitStack) -> Held | None:
    """Try once: the lock, or None while another holds it. What lets it go is left with `letting_go`."""
    if sys.platform != "win32":
        held = _take_flock(path, watch, letting_go)
        if held is None or (held is not False and not is_network_disk(path.parent)):
            return held
    return _take_made(_made(path), watch, letting_go)


def _take_flock(path: Path, watch: _Watch, letting_go: contextlib.ExitStack) -> Held | None | Literal[False]:
    """Take the file lock: None while another holds it, False where the file system has none."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        # On a network disk looking a name up and opening it are two steps, between which another may remove the file.
        watch.vanished += 1
        if error.errno in (errno.ENOENT, errno.ESTALE) and path.parent.is_dir() and watch.vanished < _MOST_VANISHED:
            return None
        raise
    with contextlib.ExitStack() as closing:
        closing.callback(os.close, fd)
        _check_is_a_lock(fd, path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            if error.errno in _NO_FLOCK:
                unlink(path)  # nobody can hold it here
                return False
            raise
        # The holder before us may have removed the file between our open and our lock: then ours locks nothing.
        try:
            if not os.path.samestat(os.fstat(fd), os.stat(path)):
                return None
        except FileNotFoundError:
            return None
        held = Held(fd, secrets.token_hex(8), None)
        held.beat()
        closing.pop_all()
    letting_go.callback(held.close)
    letting_go.callback(unlink, path)
    return held


def _check_is_a_lock(fd: int, path: Path) -> None:
    """Raise `StorageError` if what was opened is no lock file of ours, empty or with our record: it is not touched."""
    seen = os.fstat(fd)
    # Our record is one line of JSON, or the beginning of one where the disk was full.
    is_record = seen.st_size == 0 or (seen.st_size <= _RECORD_BYTES and os.pread(fd, 1, 0) == b"{")
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink > 1 or not is_record:
        raise StorageError(
            f"{path} is in the way: it is not a lock file of datastage, and is not touched.",
            "Next: rename it, or choose another folder with root=.",
            code=errno.EEXIST,
            filename=path,
        )


def _take_made(path: Path, watch: _Watch, letting_go: contextlib.ExitStack) -> Held | None:
    """Take the lock by making its file; look whether the one that is there was abandoned."""
    how = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, how, 0o644)
    except FileExistsError:
        if not watch.is_abandoned(path) or watch.seen is None:
            return None
        _remove(path, watch.seen["token"], watch)
        try:
            fd = os.open(path, how, 0o644)
        except FileExistsError:
            return None
    held = Held(fd, secrets.token_hex(8), path)
    try:
        held._write()
        if not held.is_ours():
            held.close()
            return None  # between making and writing we stood still for so long that it was taken over
    except OSError:
        held.close()
        unlink(path)
        raise
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            held.beat()

    threading.Thread(target=beat, name="datastage-lock", daemon=True).start()

    letting_go.callback(_remove, path, held._token, _Watch())
    letting_go.callback(held.close)
    letting_go.callback(ended.set)
    return held


def _remove(path: Path, token: str, watch: _Watch) -> None:
    """Remove the made file if it still is that of `token`; only one process ever gets to do so."""
    mark: Path | None = path.with_name(f"{path.name}~{token}")
    assert mark is not None
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if token in watch.tried:  # whoever made the mark has died just then
            unlink(mark)
        watch.tried.add(token)
        watch.since = watch.clock()
        return
    except OSError:
        mark = None  # a disk so full that no mark can be made must still let go
    try:
        facts = _read(path)
        if facts is not None and facts["token"] == token:
            unlink(path)
    finally:
        if mark is not None:
            unlink(mark)
