"""Several write at once: threads for large members, fresh interpreters for many small ones.

Creating a small file is mostly Python's own work, which threads of one interpreter do one at a time; a second
interpreter costs some 40 ms, and never a fork, since a notebook has gigabytes in memory and threads of its own.
Helpers are started with ``-I -S -c``, get the folder or zip of our package as an argument, work on standard input, and
end when it ends, so that none outlives its parent, however that ends.

Here: who writes which batch, and starting and ending helpers. Not here: what a batch is (`zip_data`).
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from datastage.archives import inflate
from datastage.archives.faults import Fault

Batch = list[tuple[int, str, int, int]]
# More writers than this fight over the file system's locks.
MAX_WRITERS = 8
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
    """Batches shared out: each writer has a stretch of its own, and then takes from the end of the longest left.

    Neighbouring batches lie in one folder, and two writers in one folder wait for each other.
    """

    def __init__(self, batches: Sequence[Batch], n_writers: int, in_order: bool = False) -> None:
        self._batches = batches
        n = len(batches)
        self._in_order = in_order
        self._stretches = (
            [[0, n]] if in_order else [[n * nth // n_writers, n * (nth + 1) // n_writers] for nth in range(n_writers)]
        )
        self._lock = threading.Lock()
        self._stopped = False

    def take(self, writer: int) -> Batch | None:
        """Return the next batch for a writer; None when there is no more."""
        with self._lock:
            if self._stopped:
                return None
            stretch = self._stretches[0 if self._in_order else writer]
            if stretch[0] < stretch[1]:
                stretch[0] += 1
                return self._batches[stretch[0] - 1]
            stretch = max(self._stretches, key=lambda s: s[1] - s[0])
            if stretch[0] < stretch[1]:
                stretch[1] -= 1
                return self._batches[stretch[1]]
            return None

    def stop(self) -> None:
        """Give out no more."""
        with self._lock:
            self._stopped = True


class Helper:
    """One further interpreter. Close it, also after an error: it is gone then.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, setup: tuple[Any, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, _package_root(), *_library_folders()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._setup: tuple[Any, ...] | None = setup

    def send(self, item: Any) -> None:
        """Send work. A helper that has gone is noticed when its answer is read."""
        if self._setup is not None:
            setup, self._setup = self._setup, None
            self.send(setup)
        data = marshal.dumps(item)
        try:
            self._in.write(len(data).to_bytes(4, "little") + data)
            self._in.flush()
        except BrokenPipeError:
            pass

    def receive(self) -> int:
        """Return how many bytes one batch wrote; raise what went wrong there."""
        head = self._out.read(4)
        if len(head) < 4:
            from datastage.errors import StorageError

            raise StorageError(
                "A helper process ended before its work was done.",
                "The machine may be short of memory: close what else runs, then run the same line again.",
            )
        kind, *facts = marshal.loads(self._out.read(int.from_bytes(head, "little")))
        if kind == "done":
            return int(facts[0])
        if kind == "fault":
            raise Fault(*facts)
        if kind == "os":
            raise OSError(*facts)
        raise RuntimeError(f"a helper process failed: {facts[0]}")

    def close(self) -> None:
        """End it, and wait until it is gone."""
        try:
            self._in.close()
        except OSError:
            pass
        self._process.kill()
        self._out.close()
        self._process.wait()


def _package_root() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _library_folders() -> list[str]:
    """Return the folders or zips from which the inflate libraries chosen here are imported."""
    folders = []
    for module in inflate.chosen().modules:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin:
            folder = os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))
            if folder not in folders:
                folders.append(folder)
    return folders


def helpers_can_run() -> bool:
    """Return whether a fresh interpreter can be started that finds our package."""
    return bool(sys.executable) and os.path.exists(_package_root())


def run(
    batches: Sequence[Batch],
    write: Callable[[Batch], None],
    advance: Callable[[int], None],
    helpers: Sequence[Helper] = (),
    threads: Sequence[Callable[[Batch], None]] = (),
    in_order: bool = False,
) -> None:
    """Write all batches: this thread, each helper and each further thread takes what is next.

    Parameters
    ----------
    batches : sequence of batch
        The work.
    write : callable
        Writes one batch in this thread, and tells of its bytes itself.
    advance : callable
        Told of the bytes that helpers have written.
    helpers : sequence of Helper
        Interpreters that write too.
    threads : sequence of callable
        One like `write` for each further thread.
    in_order : bool
        Whether the batches are to be taken strictly one after another, as their bytes come.

    Raises
    ------
    Exception
        The first that any of them met. All have stopped then.
    """
    shares = Shares(batches, 1 + len(helpers) + len(threads), in_order)
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again in the calling thread
            failed.append(error)
            shares.stop()

    def by_helper(writer: int, helper: Helper) -> None:
        waiting = 0
        while True:
            # One more than it works on, so that it never waits for us.
            while waiting < 2 and (batch := shares.take(writer)) is not None:
                helper.send(batch)
                waiting += 1
            if not waiting:
                return
            advance(helper.receive())
            waiting -= 1

    def by_thread(writer: int, work: Callable[[Batch], None]) -> None:
        while (batch := shares.take(writer)) is not None:
            work(batch)

    jobs: list[Callable[[], None]] = []
    for helper in helpers:
        jobs.append(partial(by_helper, 1 + len(jobs), helper))
    for work in threads:
        jobs.append(partial(by_thread, 1 + len(jobs), work))
    others = [threading.Thread(target=guarded, args=(job,), name="datastage-write", daemon=True) for job in jobs]
    for thread in others:
        thread.start()
    try:
        by_thread(0, write)
    except BaseException:
        shares.stop()
        for helper in helpers:
            helper.close()
        raise
    finally:
        for thread in others:
            thread.join()
    if failed:
        raise failed[0]
