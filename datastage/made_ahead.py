"""A thread that makes what is asked for next."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def made_ahead(
    items: Iterable[T], n: int, stop: threading.Event | None = None, *, name: str, leave_s: float
) -> Generator[T, None, None]:
    """Give the items of `items`, made by a thread, at most `n` of them waiting, or raise its error in its place.

    When the consumer stops early, `stop` is set; the thread ends with the item that it is making, and is waited for.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(n)
    stop = stop or threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((kind, value), timeout=0.1)
                return True
        return False

    def work() -> None:
        last: tuple[str, Any] = ("end", None)
        try:
            all(put("item", item) for item in items)
        except BaseException as error:  # whatever it was, the consumer must see it
            last = ("error", error)
        finally:
            if (close := getattr(items, "close", None)) is not None:
                close()
        put(*last)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value  # what the consumer let go of is not kept alive here
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()  # a thread that waits for room sees at once that no more is wanted
        # Once the interpreter is on its way out a daemon thread never runs again, and would be waited for in vain.
        if not sys.is_finalizing():
            thread.join(leave_s)
