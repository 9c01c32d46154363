"""Photos decoded once into one packed file of uint8 pixels, from where later epochs read them.

Here: `Packed`, which decodes in parallel what it is asked for and has not yet, and knows when it is whole.
Not here: decoding one image (`decode`), which photos there are (`photos`), crops of them (`crops`).

The window while it is built: as many photos as there are worker threads, decoded. Rows are written by pwrite and not
through the mapping, whose pages are given back after each batch.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.batches.decode import Unreadable, best, decode, planes, square
from datastage.batches.kept import bring, keep
from datastage.errors import IntegrityError, NoSpaceError, SpecError, StorageError
from datastage.lock import kernel_id, locked
from datastage.progress import SILENT, Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1
TO_DO, FINE, BAD = 0, 1, 2
SHOWN = 5
PROBES = 64
TOGETHER = 8
"""Photos that a thread is given at once, at most: handing over 4 takes a thirtieth of the time that decoding them does,
and who leaves a loop waits for what was begun."""

FINISHING: dict[Path, threading.Thread] = {}
"""Packed files on their way to the disk: who wants one of them waits for it."""

Then = Callable[[int, "NDArray[np.uint8]"], None]
Asked = list[tuple[list[int], "Future[list[str]]"]]
"""Which images, and of each what is wrong with it, once that is known."""


class Packed:
    """Images of one size, decoded when they are first asked for.

    Parameters
    ----------
    names : sequence of str
        What each image is called, for messages and for telling whether a cache is of these images.
    stamps : sequence of str
        What changes when an image does: size and time, or a checksum.
    read : callable
        From a number to the bytes of that image; called from several threads.
    shape : (int, int)
        Height and width. Images of another size are resized if `resized`, else an error.
    resized : bool
        Whether the square from the middle is resized to `shape`.
    last : bool
        Whether channels come last, as what resizes crops wants them; else first, as what only cuts does.
    folder : Path or None
        Where the packed file lies, or will; None holds the pixels in memory.
    kept : Path or None
        Another folder, on a slow disk, that it is brought from if it is there, and copied to once it is whole.
    workers : int
        Threads that decode.
    unreadable : {"skip", "raise"}
        What to do about images that cannot be read.
    free_bytes : int or None
        Room on that disk, or in memory; None is not looked at.
    reporter : Reporter
        Told of what is left out, and of the work where it is done all at once.
    """

    def __init__(
        self,
        names: Sequence[str],
        stamps: Sequence[str],
        read: Callable[[int], bytes],
        *,
        shape: tuple[int, int],
        resized: bool,
        last: bool,
        folder: Path | None,
        kept: Path | None = None,
        workers: int,
        unreadable: str,
        free_bytes: int | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        import numpy as np

        self._names, self._read, self._shape, self._resized, self._last = names, read, shape, resized, last
        self._unreadable, self._reporter = unreadable, reporter
        self._workers = max(1, workers)
        self.decoder = best()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._fd, self._process = -1, os.getpid()
        self._finisher: threading.Thread | None = None
        self._error: StorageError | None = None
        self._map: mmap.mmap | None = None
        self.rows: NDArray[np.uint8]
        self.state = np.zeros(len(names), np.uint8)
        self._all = (len(names), *shape, 3) if last else (len(names), 3, *shape)
        needed = int(np.prod(self._all))
        key = hashlib.blake2b(digest_size=8)
        key.update(json.dumps([SCHEMA, resized, last, *shape]).encode())
        for name, stamp in zip(names, stamps):
            key.update(f"{name}\0{stamp}\0".encode("utf-8", "surrogateescape"))
        self._key = key.hexdigest()
        self.file = None if folder is None else folder / f"packed-{self._key}.u8"
        self._kept = kept
        if self.file is not None:
            if (finisher := FINISHING.get(self.file)) is not None:
                finisher.join()
            if self._open():
                return
            # What does not fit is said below.
            fits = free_bytes is None or needed <= free_bytes
            if kept is not None and fits and bring(self.file.name, kept, self.file.parent, reporter) and self._open():
                return
        if free_bytes is not None and needed > free_bytes:
            where = "of memory" if folder is None else f"in {folder}"
            raise NoSpaceError(
                f"{len(names):,} images of {shape[1]} x {shape[0]} pixels take {needed / 1e9:,.1f} GB packed, and "
                f"{free_bytes / 1e9:,.1f} GB {where} are free.",
                "A smaller size= takes less: half the size, a quarter of the room. limit= takes fewer images.",
                f"Next: for example size={max(32, int(min(shape) * (free_bytes / needed) ** 0.5) // 16 * 16)}.",
            )
        if self.file is None:
            self.rows = np.empty(self._all, np.uint8)
            return
        # On a shared disk the number of a process means nothing without its machine: two containers have the same ones.
        self._partial = self.file.with_name(f".{self.file.name}.{kernel_id()}.{os.getpid()}.partial")
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self._partial.parent)
            self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.ftruncate(self._fd, needed)
        except OSError as error:
            raise StorageError.of(error, "making the packed file") from error
        self._attach(self._fd, mmap.ACCESS_WRITE)

    def _attach(self, fd: int, access: int) -> None:
        import numpy as np

        # Never written through; but torch warns of arrays that it may not write to.
        self._map = mmap.mmap(fd, 0, access=access)
        self.rows = np.frombuffer(self._map, np.uint8).reshape(self._all)

    def _open(self) -> bool:
        """Use the packed file that is there, if its receipt is for these images and its bytes are those of then."""
        assert self.file is not None
        try:
            receipt = json.loads(self.file.with_suffix(".json").read_text("utf-8"))
            import numpy as np

            if receipt["key"] != self._key or receipt["bytes"] != int(np.prod(self._all)):
                return False
            with open(self.file, "rb") as file:
                if os.fstat(file.fileno()).st_size != receipt["bytes"]:
                    return False
                self._attach(file.fileno(), mmap.ACCESS_COPY)
            if self._probe() != receipt["probe"]:
                return False
            state = np.full_like(self.state, FINE)
            state[receipt["unreadable"]] = BAD
            self.state = state
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return False
        self._list_bad()
        return True

    def _probe(self) -> str:
        """Digest some blocks spread over the file: all of it would take as long as an epoch."""
        import numpy as np

        flat = self.rows.reshape(-1)
        digest = hashlib.blake2b(digest_size=16)
        for at in np.linspace(0, max(0, len(flat) - 4096), PROBES).astype(np.int64):
            digest.update(flat[at : at + 4096].tobytes())
        return digest.hexdigest()

    @property
    def whole(self) -> bool:
        """Whether every image was decoded, or found unreadable."""
        return bool((self.state != TO_DO).all())

    def bytes_of(self, index: int) -> bytes:
        """Return the file of one image."""
        return self._read(index)

    def ask(self, at: NDArray[np.int64], then: Then | None = None) -> Asked:
        """Set threads to decode those of the images `at` that were not yet; `settle` waits for them.

        Parameters
        ----------
        at : ndarray of int64, shape (B,)
            Which images. While one lot is being settled the next may be asked for, so that no thread stands idle.
        then : callable, optional
            Given a position in `at` and that image's row, by the thread that has it at hand, for every one that could
            be read.
        """
        with self._lock:
            numbers = at.tolist()
            to_do = [i for i, state in enumerate(self.state[at]) if state == TO_DO or (then and state == FINE)]
            if not to_do:
                return []
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, "datastage-decode")
            asked = []
            together = max(1, min(TOGETHER, len(to_do) // (2 * self._workers)))
            for start in range(0, len(to_do), together):
                part = [(i, numbers[i]) for i in to_do[start : start + together]]
                asked.append(([index for _, index in part], self._pool.submit(self._decode_all, part, then)))
            return asked

    def settle(self, asked: Asked, stop: threading.Event | None = None) -> bool:
        """Wait until all that was asked for is there; return whether it is, and `stop` was not set meanwhile.

        Raises
        ------
        IntegrityError
            If one cannot be read, and unreadable ones are not to be skipped.
        StorageError
            If the disk is full, or cannot be read.
        """
        try:
            for part, future in asked:
                if stop is not None and stop.is_set():
                    return False
                for index, trouble in zip(part, future.result()):
                    self._note(index, trouble)
        finally:
            drop(asked)
        if asked and self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return True

    def _decode_all(self, part: list[tuple[int, int]], then: Then | None) -> list[str]:
        """Decode some images into their rows; return of each what is wrong with it."""
        troubles = []
        for i, index in part:
            try:
                row = self.rows[index] if self.state[index] == FINE else self._store(index, self._read(index))
                if then is not None:
                    then(i, row)
                troubles.append("")
            except Unreadable as error:
                troubles.append(str(error))
            except StorageError:
                raise
            except OSError as error:
                raise StorageError.of(error, "reading the images") from error
        return troubles

    def _store(self, index: int, data: bytes) -> NDArray[np.uint8]:
        """Decode `data` into the row of image `index`, and return it; raises `Unreadable`."""
        import numpy as np

        if not data:
            raise Unreadable("the file is empty")
        pixels = decode(data, min(self._shape) if self._resized else 0, self.decoder)
        if self._resized:
            pixels = square(pixels, self._shape[0])
        elif pixels.shape[:2] != self._shape:
            raise mixed([pixels.shape[:2], self._shape])
        row = np.ascontiguousarray(pixels) if self._last else planes(pixels)
        if self._fd < 0:
            self.rows[index] = row
            return row
        left, at = row.data.cast("B"), index * row.nbytes
        try:
            while left:  # a disk that fills up writes less than it was given
                n = os.pwrite(self._fd, left, at)
                left, at = left[n:], at + n
        except OSError as error:
            raise StorageError.of(error, "writing the packed file") from error
        return row

    def _note(self, index: int, trouble: str) -> None:
        if trouble and self._unreadable == "raise":
            raise IntegrityError(
                f"{self._names[index]} cannot be read as an image: {trouble}.",
                "unreadable='skip' leaves such images out, and lists and counts them.",
            )
        self.state[index] = BAD if trouble else FINE

    def fill(self, stream: Iterable[tuple[int, bytes]]) -> None:
        """Decode images as they come, for archives that can only be read from end to end.

        Parameters
        ----------
        stream : iterable of (int, bytes)
            Numbers and files. At most twice as many are held as there are threads.
        """
        self._reporter.phase("reading the photos", None)
        waiting: deque[tuple[int, Future[str]]] = deque()
        with ThreadPoolExecutor(self._workers, "datastage-decode") as pool:
            for index, data in stream:
                if len(waiting) == 2 * self._workers:
                    done, future = waiting.popleft()
                    self._note(done, future.result())
                waiting.append((index, pool.submit(self._trouble_with, index, data)))
                self._reporter.advance(len(data))
            for done, future in waiting:
                self._note(done, future.result())
        self._list_bad()
        self.publish()

    def _trouble_with(self, index: int, data: bytes) -> str:
        try:
            self._store(index, data)
        except Unreadable as error:
            return str(error)
        return ""

    def complete(self, stop: threading.Event | None = None) -> None:
        """Decode what is left unless `stop` is set, and make the packed file final. Does nothing the second time."""
        import numpy as np

        left = np.flatnonzero(self.state == TO_DO)
        for start in range(0, len(left), 256):
            self.settle(self.ask(left[start : start + 256]), stop)
        self.publish()

    def complete_once(self) -> None:
        """As `complete`, by one of several processes of this machine that want it; the others wait for its file."""
        if self.file is None or self.whole:
            self.complete()
            return
        with locked(self.file.with_name(f".{self.file.name}.lock")):
            if not (self._fd >= 0 and self.file.exists() and self._open()):
                self.complete()
                self.finished()
                return
        self._let_go()

    def publish(self) -> None:
        """Have a thread write a whole cache to the disk: the training need not wait for a slow one, or for Drive."""
        with self._lock:
            if not self.whole:
                return
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
                self._list_bad()
            if self._fd < 0 or self.file is None or self._finisher is not None:
                return
            self._finisher = FINISHING[self.file] = threading.Thread(
                target=self._finish, args=(self.file,), name="datastage-keep"
            )
            self._finisher.start()

    def _finish(self, file: Path) -> None:
        """Write the receipt and give both files their names."""
        receipt = {
            "schema": SCHEMA,
            "key": self._key,
            "bytes": int(self.rows.nbytes),
            "shape": list(self._all),
            "probe": self._probe(),
            "unreadable": (self.state == BAD).nonzero()[0].tolist(),
        }
        try:
            os.fsync(self._fd)
            # The receipt comes last: without one a packed file is not looked at.
            os.replace(self._partial, file)
            beside = self._partial.with_suffix(".json")
            beside.write_text(json.dumps(receipt), "utf-8")
            os.replace(beside, file.with_suffix(".json"))
        except OSError as error:
            # What did not reach the disk may be lost to the mapping too, so no further batch is made of it.
            self._error = StorageError.of(error, "finishing the packed file")
            return
        finally:
            self._let_go()
            FINISHING.pop(file, None)
        if self._kept is not None:
            keep(file.name, file.parent, self._kept, self._reporter)

    def check(self) -> None:
        """Raise `StorageError` if the packed file could not be written after the last epoch."""
        if self._error is not None:
            raise self._error

    def finished(self) -> None:
        """Wait until a whole cache has its name; raises as `check` does."""
        if self._finisher is not None:
            self._finisher.join()
        self.check()

    def _list_bad(self) -> None:
        bad = (self.state == BAD).nonzero()[0].tolist()
        if bad:
            names = ", ".join(self._names[i] for i in bad[:SHOWN])
            more = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
            what = "1 image that cannot be read" if len(bad) == 1 else f"{len(bad):,} images that cannot be read"
            self._reporter.note(f"Left out  {what}: {names}{more}")

    def _let_go(self) -> None:
        """Remove an unfinished packed file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._partial.unlink(missing_ok=True)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) < 0 or self._process != os.getpid():  # the file is that of who forked us
            return
        if self._pool is not None:
            # Not waited for: what is at work holds this object, so nothing is, and the last to let go may be a thread
            # of the pool, which cannot wait for itself.
            self._pool.shutdown(wait=False)
        self._let_go()


def drop(asked: Asked) -> None:
    """Cancel what was not begun and wait for the rest: nobody writes to the file once this has returned."""
    wait([future for _, future in asked if not future.cancel()])


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished packed files whose processes are gone."""
    for partial in folder.glob(".packed-*.partial"):
        machine, pid = partial.name.split(".")[-3:-1]
        try:
            if pid.isdecimal() and machine == kernel_id():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except OSError:
            continue  # another user's process: it lives


def mixed(sizes: Sequence[Any]) -> SpecError:
    """Return the error that says how sizes range, and a size that would do."""
    heights, widths = [size[0] for size in sizes], [size[1] for size in sizes]
    shortest = min(min(heights), min(widths))
    good = next((s for s in (224, 128, 96, 64, 32) if s <= shortest), shortest)
    return SpecError(
        f"The images have different sizes, {min(widths)} x {min(heights)} to {max(widths)} x {max(heights)} pixels, "
        "and a batch needs one.",
        f"Next: say which, for example size={good}.",
    )
