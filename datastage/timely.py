"""Wait for what may never answer, and no longer than so: a mount whose server has gone, a name service.

No signal ends such a call, so it is made in a thread of its own, which is left behind.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_time(work: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what `work` returns or raises; `TimeoutError` if that takes longer."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="datastage-look", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return results[0]
