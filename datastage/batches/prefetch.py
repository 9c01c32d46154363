"""Threads beside the training: one that makes the next batch ahead, and those that decode and resize photos.

All of them are daemons, and an exit waits `EXIT_S` for them at most: a disk that no longer answers keeps no process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from datastage.made_ahead import made_ahead

T = TypeVar("T")
EXIT_S = 5.0  # how long an exit waits for work that is under way: a photo takes milliseconds
LEAVE_S = 60.0  # how long leaving a loop waits for the batch that is being made


def prefetch(items: Iterable[T], stop: threading.Event | None = None) -> Iterator[T]:
    """Give the items of `items`, made by a thread, at most one of them waiting; see `made_ahead`."""
    return made_ahead(items, 1, stop, name="datastage-ahead", leave_s=LEAVE_S)


def decode_threads(cores: int | None = None) -> Threads:
    """Return the threads that decode photos: one a core, of all that the machine has if it is not said how many."""
    return Threads(cores or os.cpu_count() or 1, "datastage-decode")


class Threads:
    """A few daemon threads that do what is submitted, in order; they start with the first piece, also after a fork."""

    # An executor of the standard library would wait at the exit for whatever was submitted, without a limit.
    def __init__(self, n: int, name: str) -> None:
        self.n, self._name = max(1, n), name
        self._process = 0
        self._lock = threading.Lock()
        _POOLS.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Threads, (self.n, self._name)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a thread call the function, and return its future."""
        if self._process != os.getpid():
            self._start()
        future: Future[T] = Future()
        self._queue.put((future, function, args))
        return future

    def _start(self) -> None:
        if self._process and self._process != os.getpid():
            self._lock = threading.Lock()  # a forked child has the lock as it was, and none of the threads
        with self._lock:
            if self._process == os.getpid():
                return
            self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self._threads = [
                threading.Thread(target=_work, args=(self._queue,), name=f"{self._name}-{i}", daemon=True)
                for i in range(self.n)
            ]
            for thread in self._threads:
                thread.start()
            weakref.finalize(self, _end, self._queue, self.n).atexit = False
            self._process = os.getpid()

    def leave(self, limit_s: float) -> None:
        """End the threads: what was not begun is cancelled, and what was is waited for so long."""
        if self._process != os.getpid():
            return
        self._process = 0
        with contextlib.suppress(queue.Empty):
            while (task := self._queue.get_nowait()) is not None:
                task[0].cancel()
        _end(self._queue, self.n)
        until = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))


def _work(tasks: queue.SimpleQueue[Any]) -> None:
    while (task := tasks.get()) is not None:
        future, function, args = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)
        del task, future, function, args  # what was done is not kept alive until the next piece comes


def _end(tasks: queue.SimpleQueue[Any], n: int) -> None:
    for _ in range(n):
        tasks.put(None)


_POOLS: weakref.WeakSet[Threads] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    for pool in list(_POOLS):
        pool.leave(EXIT_S)
