"""Call what may never answer, with a time limit: a mount whose server has gone, a name service.

No signal ends such a call, so it runs in a thread of its own, which is left behind.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], name: str) -> tuple[threading.Thread, Callable[[], T]]:
    """Start `work` in a thread: (the thread, what gives its result or raises its error once it has ended)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    def outcome() -> T:
        if errors:
            raise errors[0]
        return results[0]

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread, outcome


def call_with_timeout(work: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what `work` returns or raises; `TimeoutError` if that takes longer."""
    thread, outcome = start(work, "datastage-look")
    thread.join(seconds)
    if thread.is_alive():
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return outcome()
