"""Several write at once: threads for large members, fresh interpreters for many small ones.

Creating a small file is mostly Python's own work, which threads of one interpreter do one at a time; a second
interpreter costs some 40 ms, and never a fork, since a notebook has gigabytes in memory and threads of its own.
Helpers are started with ``-I -S -c``, get the folder or zip of our package as an argument, work on standard input, and
end when it ends, so that none outlives its parent, however that ends.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from datastage.archives import helper, inflate
from datastage.archives.errors import Fault
from datastage.archives.zip_entry import Row

if TYPE_CHECKING:
    from datastage.archives.zip_entry import ReadAt

Batch = list[Row]
Work = Callable[[], Batch]  # makes its batch when somebody takes it
# More writers than this fight over the file system's locks.
MAX_WRITERS = 8
# A folder or a zip.
PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = """\
import sys, types
for name in ("datastage", "datastage.archives"):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
sys.path += sys.argv[2:]
from datastage.archives.helper import main
main()
"""


class Shares:
    """Batches shared out. While more may come, the next in line; then each writer has a stretch of its own, and takes
    from the end of the longest left when that is done.

    Neighbouring batches lie in one folder, and two writers in one folder wait for each other.
    """

    def __init__(self, in_order: bool = False) -> None:
        self._work: list[Work] = []
        self._in_order = in_order
        self._first = 0  # of those that nobody has taken, while more may come
        self._stretches: list[list[int]] | None = None
        self._changed = threading.Condition()
        self.stopped = False

    def add(self, batches: Iterable[Work]) -> None:
        """Take in work."""
        more = list(batches)
        with self._changed:
            self._work += more
            self._changed.notify_all()

    def deal(self, n_writers: int) -> None:
        """Share out what is left: there will be no more."""
        with self._changed:
            first, n_left = self._first, len(self._work) - self._first
            n = 1 if self._in_order else n_writers
            self._stretches = [[first + n_left * i // n, first + n_left * (i + 1) // n] for i in range(n)]
            self._changed.notify_all()

    def take(self, writer: int) -> Batch | None:
        """Return the next batch for a writer, waiting for one; None when there is no more."""
        with self._changed:
            while self._stretches is None and self._first == len(self._work) and not self.stopped:
                self._changed.wait()
            if self.stopped:
                return None
            nth = self._next(writer)
        return None if nth is None else self._work[nth]()

    def _next(self, writer: int) -> int | None:
        if self._stretches is None:
            self._first += 1
            return self._first - 1
        stretch = self._stretches[0 if self._in_order else writer]
        if stretch[0] < stretch[1]:
            stretch[0] += 1
            return stretch[0] - 1
        stretch = max(self._stretches, key=lambda s: s[1] - s[0])
        if stretch[0] < stretch[1]:
            stretch[1] -= 1
            return stretch[1]
        return None

    def stop(self) -> None:
        """Give out no more."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()


class Helper:
    """One further interpreter. Close it, also after an error: it is gone then."""

    def __init__(self, setup: tuple[Any, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, PACKAGE_ROOT, *_library_folders()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.send(setup)

    def send(self, item: Any) -> None:
        """Send work. A helper that has gone is noticed when its answer is read."""
        with suppress(BrokenPipeError):
            helper.send(self._in, item)

    def receive(self) -> int:
        """Return how many bytes one batch wrote; raise what went wrong there."""
        answer = helper.receive(self._out)
        if answer is None:
            from datastage.errors import StorageError

            raise StorageError(
                "A helper process ended before its work was done.",
                "The machine may be short of memory: close what else runs, then run the same line again.",
            )
        kind, *facts = answer
        if kind == "done":
            return int(facts[0])
        if kind == "fault":
            raise Fault(*facts)
        if kind == "os":
            raise OSError(*facts)
        raise RuntimeError(f"a helper process failed: {facts[0]}")

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self._process.kill()  # first: somebody may be waiting in a write to it
        with suppress(OSError):
            self._in.close()
        self._out.close()
        self._process.wait()


def _library_folders() -> list[str]:
    """Return the folders or zips from which the inflate libraries chosen here are imported."""
    specs = [importlib.util.find_spec(module) for module in inflate.chosen().modules]
    origins = [os.path.abspath(spec.origin) for spec in specs if spec is not None and spec.origin]
    return list(dict.fromkeys(os.path.dirname(os.path.dirname(origin)) for origin in origins))


class Stopped(Exception):
    """Another writer has failed: what was being read is not wanted any more."""


class Writers:
    """Write batches: helpers from when they are given, and from `finish` this thread and further threads too.

    A context: after an error in it the helpers are gone, and no thread writes any more. One that still waits for bytes
    of a slow link is not waited for; it ends when they come.
    """

    def __init__(self, helpers: Sequence[Helper] = (), in_order: bool = False) -> None:
        self.helpers = helpers
        self._shares = Shares(in_order)
        self._failed: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._reading: set[threading.Thread] = set()
        self._reading_lock = threading.Lock()
        self._lock = threading.Lock()
        self._advance: Callable[[int], None] | None = None
        self._n_bytes = 0  # written before anybody asked
        for each in helpers:
            self._start(partial(self._by_helper, 1 + len(self._threads), each))

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is not None:
            self._shares.stop()
            for each in self.helpers:
                each.close()
        self._wait()

    def add(self, batches: Iterable[Work]) -> None:
        """Have the helpers write these; what goes wrong is raised by `finish`."""
        self._shares.add(batches)

    def reading(self, read_at: ReadAt) -> ReadAt:
        """Return `read_at` for these writers: once one of them has failed, it raises `Stopped`."""

        def read(offset: int, n: int) -> bytes:
            thread = threading.current_thread()
            with self._reading_lock:
                stopped = self._shares.stopped
                self._reading.add(thread)
            try:
                data = b"" if stopped else read_at(offset, n)
            finally:
                with self._reading_lock:  # whoever waits for us has seen us here, or waits until we write no more
                    stopped = self._shares.stopped
                    self._reading.discard(thread)
            if stopped:
                raise Stopped
            return data

        return read

    def finish(
        self,
        batches: Iterable[Work],
        write: Callable[[Batch], None],
        advance: Callable[[int], None],
        threads: Sequence[Callable[[Batch], None]] = (),
    ) -> None:
        """Write these too, and return when all is written; raise the first error that any writer met.

        `write` writes a batch in this thread, each of `threads` in a further one; they call `advance` themselves, for
        the helpers it is done here.
        """
        self._shares.add(batches)
        self._shares.deal(1 + len(self.helpers) + len(threads))
        with self._lock:
            self._advance = advance
            if self._n_bytes:
                advance(self._n_bytes)
        for work in threads:
            self._start(partial(self._by_thread, 1 + len(self._threads), work))
        try:
            self._by_thread(0, write)
        except Exception as error:  # not an interrupt, which is not to wait for anybody
            self._fail(error)
        self._wait()
        if self._failed is not None:
            raise self._failed

    def _start(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # raised again in the calling thread
                self._fail(error)

        self._threads.append(threading.Thread(target=guarded, name="datastage-write", daemon=True))
        self._threads[-1].start()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failed = self._failed or error
        self._shares.stop()

    def _wait(self) -> None:
        """Wait until no thread writes any more."""
        for thread in self._threads:
            while thread.is_alive() and not self._is_left_reading(thread):
                thread.join(0.05)

    def _is_left_reading(self, thread: threading.Thread) -> bool:
        with self._reading_lock:
            return self._shares.stopped and thread in self._reading

    def _by_helper(self, writer: int, to: Helper) -> None:
        waiting = 0
        while True:
            # One more than it works on, so that it never waits for us.
            while waiting < 2 and (batch := self._shares.take(writer)) is not None:
                to.send(batch)
                waiting += 1
            if not waiting:
                return
            n_bytes = to.receive()
            waiting -= 1
            with self._lock:
                if self._advance is None:
                    self._n_bytes += n_bytes
                else:
                    self._advance(n_bytes)

    def _by_thread(self, writer: int, write: Callable[[Batch], None]) -> None:
        while (batch := self._shares.take(writer)) is not None:
            write(batch)
