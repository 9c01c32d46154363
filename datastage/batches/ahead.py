"""One batch ahead: a thread makes the next batch while the training uses this one.

Here: `ahead`. For feeds whose work is done by libraries that let other threads run meanwhile (decoding, resizing,
copying); batches that are made within a millisecond are better made where they are used.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], stop: threading.Event | None = None) -> Iterator[T]:
    """Give the items of `items`, made by a thread, at most one of them waiting.

    An error there is raised here, in its place. When the consumer stops early, `stop` is set, which what makes the
    items may look at, and the thread ends with the item that it is making.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(1)
    stop = stop or threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return not stop.is_set()
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # whatever it was, the consumer must see it and not a short epoch
            put("error", error)

    thread = threading.Thread(target=work, name="datastage-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value  # a batch that the consumer let go of is not kept alive here
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):
            ready.get_nowait()  # a thread that waits for room sees at once that no more is wanted
        thread.join()
