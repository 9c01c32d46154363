"""Threads that work through many tasks, and give up when nothing comes any more."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from datastage.errors import UnavailableError
from datastage.progress import human_seconds
from datastage.transfer.retry import Limits

T = TypeVar("T")


class Pool:
    """Threads that work through tasks, and give up when nothing comes: a mount may keep a read for ever.

    Not concurrent.futures: the interpreter joins its threads at its end, and one that is stuck would hold it up.
    """

    def __init__(self, place: object, limits: Limits) -> None:
        self._place = place
        self.limits = limits
        self.lock = threading.Condition()
        self._last = time.monotonic()

    def beat(self) -> None:
        """Note that something has come."""
        self._last = time.monotonic()

    def run(self, work: Callable[[T], Sequence[T] | None], tasks: Iterable[T], n_threads: int) -> None:
        """Call `work` with each task; it may return further tasks. Raise the first error, or that all stalled."""
        todo = deque(tasks)
        errors: list[BaseException] = []
        n_busy = 0

        def run() -> None:
            nonlocal n_busy
            while True:
                with self.lock:
                    while not todo and n_busy and not errors:
                        self.lock.wait(0.1)
                    if not todo or errors:
                        self.lock.notify_all()
                        return
                    task = todo.popleft()
                    n_busy += 1
                more: Sequence[T] = ()
                try:
                    more = work(task) or ()
                except BaseException as error:
                    errors.append(error)
                with self.lock:
                    todo.extend(more)
                    n_busy -= 1
                    if more or not todo:
                        self.lock.notify_all()

        self.beat()
        threads = [threading.Thread(target=run, name="datastage-read", daemon=True) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        # Each of a reader's tries may wait for its own while; threads that hang are left behind. After an error the
        # others are waited for too: they still write.
        stall_s = self.limits.stall_s
        patience = stall_s * self.limits.tries
        try:
            for thread in threads:
                while thread.is_alive() and time.monotonic() - self._last < (stall_s if errors else patience):
                    thread.join(0.1)  # in short waits, so that an interrupt gets through
        except BaseException as error:
            errors.append(error)
            raise
        if not errors and any(thread.is_alive() for thread in threads):
            errors.append(
                UnavailableError(
                    f"{self._place} stalled: nothing came from it for {human_seconds(patience)}.",
                    "The place it is mounted from does not answer any more.",
                    "Next: mount it again (on Colab: Runtime > Disconnect and delete runtime), then run this line"
                    " again.",
                )
            )
        if errors:
            raise errors[0]
