"""What may go wrong while bytes are fetched, and how long one is patient with it.

Here: the limits of a transfer, one read that broke off (`Interrupted`), the waits between tries, what an errno of a
mount means. Not here: who reads (`crew`), what HTTP answers mean (`sources.http`).
"""

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
from datastage.progress import human_bytes, human_seconds

T = TypeVar("T")
Kind = Literal["broken", "busy", "no ranges", "changed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked for at once, and where every wait ends.

    Attributes
    ----------
    connections : int
        The most reads under way at one place. Browsers use 6 a host, aria2c takes 16 at most.
    stall_s : float
        After so long without a byte a block is asked for again, on a new connection.
    total_s : float
        After so long the whole transfer is given up; what has come is kept for the next run.
    tries : int
        How often in a row a block may bring nothing before the transfer fails; a busy server (429, 503) is asked
        twice as often.
    first_wait_s, longest_wait_s : float
        The wait after the first failure, doubled after each further one, and its bound. Each wait is drawn from its
        upper half, so that many readers do not come back at the same instant.
    longest_retry_after_s : float
        A server that asks for a longer wait than this is not waited for.
    slow_after_s : float
        A place is called slow only after so long.
    """

    connections: int = 16
    stall_s: float = 20.0
    total_s: float = 24 * 3600.0
    tries: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    slow_after_s: float = 10.0

    def wait_s(self, failures: int, asked_s: float | None = None) -> float:
        """Return how long to wait after so many failures in a row, and no less than the server asked for.

        What the server asks for is believed three times; then it is joined by the waits of our own.
        """
        wait = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(failures - 1, 20)) * random.uniform(0.5, 1.0)
        if asked_s is None:
            return wait
        return max(asked_s * random.uniform(1.0, 1.1), wait if failures > 3 else 0.0)

    def patience(self, kind: Kind) -> int:
        """Return how many tries in a row may bring nothing."""
        return 2 * self.tries if kind == "busy" else self.tries


class Interrupted(Exception):
    """One read that did not come through, and may when it is asked for again. It never leaves for a user: `error` does.

    Parameters
    ----------
    error : DatastageError
        What is raised when patience ends.
    kind : str
        ``"busy"`` lowers the number of connections for good; ``"no ranges"`` means that only the whole can be had;
        ``"changed"`` that the bytes are no longer those that were begun with.
    wait_s : float, optional
        The wait the server asked for.
    """

    def __init__(self, error: DatastageError, kind: Kind = "broken", wait_s: float | None = None) -> None:
        super().__init__(str(error.args[0]))
        self.error = error
        self.kind: Kind = kind
        self.wait_s = wait_s


class TooSlow(UnavailableError):
    """The place gives bytes, but so slowly that another is tried first. What has come is kept.

    Attributes
    ----------
    rate_bytes_s : float
        What it gave.
    """

    def __init__(self, name: str, rate_bytes_s: float, left_bytes: int | None) -> None:
        text = f"{name} comes at {human_bytes(rate_bytes_s)}/s only"
        if left_bytes is not None and rate_bytes_s >= 1:
            text += f": {human_seconds(left_bytes / rate_bytes_s)} more"
        super().__init__(text + ".")
        self.rate_bytes_s = rate_bytes_s


def patiently(read: Callable[[], T], limits: Limits, *, tries: int | None = None) -> T:
    """Call `read` until it comes through, waiting between the tries; raise its own error when patience ends.

    `tries` replaces the limit for all but a busy server.
    """
    failures = 0
    while True:
        try:
            return read()
        except Interrupted as fault:
            failures += 1
            wait = limits.wait_s(failures, fault.wait_s)
            most = limits.patience(fault.kind) if tries is None or fault.kind == "busy" else tries
            if fault.kind in ("changed", "no ranges") or failures >= most or wait > limits.longest_retry_after_s:
                raise fault.error from fault
            time.sleep(wait)


# What a mount that may come back says. 2: DriveFS says so of files that exist, just before 107 (colabtools#5970).
_PASSING = {
    errno.EIO: "gave an input/output error",
    errno.ENOTCONN: "has lost its connection: the mount is dead",
    errno.ETIMEDOUT: "did not answer in time",
    errno.ESTALE: "has forgotten the open file (stale handle)",
    errno.ECONNABORTED: "broke the connection off",
    errno.ECONNRESET: "broke the connection off",
    errno.EAGAIN: "was busy",
    errno.ENOENT: "no longer shows the file",
    errno.EREMOTEIO: "gave a remote input/output error",
    errno.EHOSTDOWN: "is down",
    errno.EHOSTUNREACH: "cannot be reached",
    errno.ENODEV: "is gone",
    errno.ENXIO: "is gone",
}
_CURES = {
    errno.EIO: "A file read often or shared with many may be over its quota: a copy of your own avoids that.",
    errno.ENOTCONN: "Mount it again (in Colab: drive.mount('/content/drive', force_remount=True)).",
    errno.ESTALE: "Somebody may have replaced the file meanwhile.",
    errno.ENOENT: "Look whether the file is still there, and whether its disk is mounted.",
}


def of_file(error: OSError, path: Path, at: int | None = None) -> Interrupted | StorageError:
    """Make of an `OSError` met while reading `path` a fault to be patient with, or an error of ours."""
    code = error.errno or errno.EIO
    said = _PASSING.get(code)
    if said is None:
        return StorageError.of(error, f"reading {path}", "Look whether you may read the file, then run it again.")
    where = "" if at is None else f" at byte {at:,}"
    symbol = f"errno {code}, {os.strerror(code)}"
    ours = StorageError(
        f"While reading {path}, its place {said}{where} ({symbol}).",
        *([_CURES[code]] if code in _CURES else []),
        "Next: run the same line again; what has been read is kept.",
        code=code,
        filename=path,
    )
    return Interrupted(ours)
