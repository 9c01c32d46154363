"""When a failed read is tried again: limits, waits, what an errno of a mount means, and when a place counts as slow."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from datastage.errors import DatastageError, StorageError, UnavailableError
from datastage.mounts import EREMOTEIO
from datastage.progress import human_bytes, human_seconds

T = TypeVar("T")
Kind = Literal["broken", "busy", "no ranges", "changed", "final"]

# A place that gives less is left while another remains: the publisher of CIFAR-10 gives 60 kB/s.
SLOW_BYTES_S = 100_000

# What a mount says that may come back, and what would help. 2: DriveFS says so of files that exist, just before 107
# (colabtools#5970).
_MOUNT_ERRORS: dict[int, tuple[str, str]] = {
    errno.EIO: (
        "gave an input/output error",
        "A file read often or shared with many may be over its quota: a copy of your own avoids that.",
    ),
    errno.ENOTCONN: (
        "has lost its connection: the mount is dead",
        "Mount it again (in Colab: drive.mount('/content/drive', force_remount=True)).",
    ),
    errno.ETIMEDOUT: ("did not answer in time", ""),
    errno.ESTALE: ("has forgotten the open file (stale handle)", "Somebody may have replaced the file meanwhile."),
    errno.ECONNABORTED: ("broke the connection off", ""),
    errno.ECONNRESET: ("broke the connection off", ""),
    errno.EAGAIN: ("was busy", ""),
    errno.ENOENT: (
        "no longer shows the file",
        "Look whether the file is still there, and whether its disk is mounted.",
    ),
    EREMOTEIO: ("gave a remote input/output error", ""),
    errno.EHOSTDOWN: ("is down", ""),
    errno.EHOSTUNREACH: ("cannot be reached", ""),
    errno.ENODEV: ("is gone", ""),
    errno.ENXIO: ("is gone", ""),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked for at once, and where every wait ends."""

    connections: int = 16
    stall_s: float = 20.0
    total_s: float = 24 * 3600.0
    tries: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    slow_after_s: float = 10.0

    def wait_s(self, failures: int, asked_s: float | None = None) -> float:
        """Return the wait after so many failures in a row, and no less than the server asked for.

        The server's wait is believed three times; after that our own wait is the least.
        """
        wait = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failures - 1, 20)) * random.uniform(0.5, 1.0)
        if asked_s is None:
            return wait
        return max(asked_s * random.uniform(1.0, 1.1), wait if failures > 3 else 0.0)

    def gives_up(self, fault: Interrupted, failures: int, wait_s: float, *, tries: int | None = None) -> bool:
        """Tell whether a fault ends the transfer after so many failures in a row and with this wait ahead."""
        if fault.kind in ("changed", "no ranges", "final"):
            return True
        most = 2 * self.tries if fault.kind == "busy" else (tries or self.tries)
        return failures >= most or wait_s > self.longest_retry_after_s

    def wait_or_raise(self, fault: Interrupted, failures: int, *, tries: int | None = None) -> None:
        """Wait after so many failures in a row, or raise what it was when patience ends."""
        wait = self.wait_s(failures, fault.wait_s)
        if self.gives_up(fault, failures, wait, tries=tries):
            raise fault.error from fault
        time.sleep(wait)


class Interrupted(Exception):
    """One read that broke off and may succeed when it is repeated. Users never see it: they see `error`."""

    def __init__(self, error: DatastageError, kind: Kind = "broken", wait_s: float | None = None) -> None:
        super().__init__(str(error.args[0]))
        self.error = error
        self.kind: Kind = kind
        self.wait_s = wait_s


class TooSlow(UnavailableError):
    """The place gives `rate_bytes_s` only, so another is tried first. What has come is kept."""

    def __init__(self, name: str, rate_bytes_s: float, left_bytes: int | None) -> None:
        text = f"{name} comes at {human_bytes(rate_bytes_s)}/s only"
        if left_bytes is not None and rate_bytes_s >= 1:
            text += f": {human_seconds(left_bytes / rate_bytes_s)} more"
        super().__init__(text + ".")
        self.rate_bytes_s = rate_bytes_s


def patiently(read: Callable[[], T], limits: Limits, *, tries: int | None = None) -> T:
    """Call `read` until it succeeds, and wait between the tries; raise its own error when patience ends.

    `tries` replaces the limit for all but a busy server.
    """
    failures = 0
    while True:
        try:
            return read()
        except Interrupted as fault:
            failures += 1
            limits.wait_or_raise(fault, failures, tries=tries)


def of_file(error: OSError, path: Path, at: int | None = None) -> Interrupted | StorageError:
    """Turn an `OSError` met while reading `path` into a fault to be patient with, or into an error of ours."""
    code = error.errno or errno.EIO
    if code not in _MOUNT_ERRORS:
        return StorageError.of(error, f"reading {path}", "Look whether you may read the file, then run it again.")
    what, cure = _MOUNT_ERRORS[code]
    where = "" if at is None else f" at byte {at:,}"
    ours = StorageError(
        f"While reading {path}, its place {what}{where} (errno {code}, {os.strerror(code)}).",
        *([cure] if cure else []),
        "Next: run the same line again; what has been read is kept.",
        code=code,
        filename=path,
    )
    return Interrupted(ours)
