"""One process at a time: a lock beside the folder that it guards.

Two kinds. A file lock (`flock`) where the file system has one: the kernel lets it go when its holder dies, however it
dies. Where it has none (some network disks answer ENOLCK, ENOSYS or EOPNOTSUPP), and on Windows: a file that is made
exclusively and kept fresh by its holder, and that counts as abandoned when it has not been refreshed for a while.

Here: taking, waiting with a deadline, saying who holds it. Not here: what is done under it (`place`, `staging`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from datastage.errors import LockTimeoutError, StorageError

POLL_S = 0.1
BEAT_S = 5.0
ABANDONED_S = 60.0
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EIO, errno.EINVAL)


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    timeout_s: float = 3600.0,
    on_wait: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Hold the lock file `path` for the length of a ``with`` block; the file is gone afterwards.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist.
    timeout_s : float
        How long to wait for another holder, in seconds.
    on_wait : callable, optional
        Called once, with words that say who holds the lock, when waiting begins.
    clock : callable
        Seconds that only grow; a test gives its own.

    Raises
    ------
    LockTimeoutError
        If another process held it all the time; says which.
    StorageError
        If the lock file cannot be made.
    """
    deadline = clock() + timeout_s
    told = False
    while True:
        try:
            release = _take(path)
        except OSError as error:
            raise StorageError.of(error, "preparing the folder") from error
        if release is not None:
            break
        if on_wait is not None and not told:
            on_wait(holder(path))
            told = True
        if clock() >= deadline:
            raise LockTimeoutError(
                f"{path.parent} is being prepared by {holder(path)}; waited {timeout_s:.0f} s for it.",
                "Next: wait until it has finished, or stop it, and run the same line again.",
                filename=path,
            )
        time.sleep(POLL_S)
    try:
        yield
    finally:
        release()


def is_held(path: Path) -> bool:
    """Tell whether some process holds the lock file `path` now."""
    if not path.exists():
        return False
    release = _take(path)
    if release is None:
        return True
    release()
    return False


def holder(path: Path) -> str:
    """Say who holds the lock file `path`: ``"process 4711 on node3"``."""
    try:
        facts = json.loads(path.read_text())
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _facts() -> bytes:
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()


def _take(path: Path) -> Callable[[], None] | None:
    """Try once: what lets the lock go, or None while another holds it."""
    if sys.platform == "win32":
        return _take_by_making(path)
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(fd)
                return None
            if error.errno in _NO_FLOCK:
                os.close(fd)
                return _take_by_making(path.with_name(path.name + "ed"))
            raise
        # The holder before us may have removed the file between our open and our lock: then ours locks nothing.
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(path))
        except FileNotFoundError:
            same = False
        if not same:
            os.close(fd)
            return None
        with contextlib.suppress(OSError):  # who holds it is a courtesy; a full disk must not stop us here
            os.ftruncate(fd, 0)
            os.write(fd, _facts())
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(fd)
        raise

    def release() -> None:
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.close(fd)

    return release


def _take_by_making(path: Path) -> Callable[[], None] | None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        _remove_if_abandoned(path)
        return None
    with contextlib.suppress(OSError), os.fdopen(fd, "wb") as file:
        file.write(_facts())
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, name="datastage-lock", daemon=True).start()

    def release() -> None:
        ended.set()
        with contextlib.suppress(OSError):
            os.unlink(path)

    return release


def _remove_if_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        # The time is the file system's own, so that clocks of two nodes need not agree.
        probe = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        seen = path.stat()
        if now - seen.st_mtime > ABANDONED_S:
            # Rename first: of several who see it abandoned, one gets it.
            aside = path.with_name(probe.name + ".old")
            os.rename(path, aside)
            os.unlink(aside)
