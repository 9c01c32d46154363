"""Photos decoded once into one packed file of uint8 pixels, from where later epochs read them.

Here: `Packed`, which decodes in parallel what it is asked for and has not yet, and knows when it is whole.
Not here: the file (`pixel_file`), decoding one image (`decode`), which photos there are (`photos`), crops (`crops`).

The window while it is built: as many photos as there are worker threads, decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.batches.decode import Unreadable, best, decode, planes, square
from datastage.batches.folder import UNREAD
from datastage.batches.kept import bring, keep
from datastage.batches.pixel_file import SCHEMA, PixelFile
from datastage.errors import IntegrityError, NoSpaceError, SpecError, StorageError
from datastage.lock import Held, locked
from datastage.progress import SILENT, Reporter, human_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TO_DO, FINE, BAD = 0, 1, 2
SHOWN = 5
TOGETHER = 8
"""Photos that a thread is given at once, at most: handing over 4 takes a thirtieth of the time that decoding them does,
and who leaves a loop waits for what was begun."""

PUBLISHING: dict[Path, threading.Event] = {}
"""Packed files on their way to the disk: who wants one of them waits for it."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PUBLISHING.clear)  # the threads that write them do not come along

Use = Callable[[int, "NDArray[np.uint8]"], None]
Submitted = list[tuple[list[int], "Future[list[str]]"]]
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

        self._names, self._read, self._shape, self._resized = names, read, shape, resized
        self.last = last
        self._unreadable, self._reporter = unreadable, reporter
        self._workers = max(1, workers)
        self.decoder = best()
        self._after_fork()
        self._published = threading.Event()
        self._error: StorageError | None = None
        self._listed, self._trouble = False, ""
        self.state = np.zeros(len(names), np.uint8)
        every = (len(names), *shape, 3) if last else (len(names), 3, *shape)
        needed = int(np.prod(every))
        self._file: PixelFile | None = None
        self._kept = kept
        fits = free_bytes is None or needed <= free_bytes
        if folder is not None:
            key = hashlib.blake2b(digest_size=8)
            key.update(json.dumps([SCHEMA, resized, last, *shape]).encode())
            for name, stamp in zip(names, stamps):
                key.update(f"{name}\0{stamp}\0".encode("utf-8", "surrogateescape"))
            path = Path(os.path.abspath(folder)) / f"packed-{key.hexdigest()}.u8"
            self._file = PixelFile(path, key.hexdigest(), every)
            if (publishing := PUBLISHING.get(path)) is not None:
                publishing.wait()
            if self._found() or (kept is not None and fits and self._brought(kept)):
                return
        if not fits:
            assert free_bytes is not None
            where = "of memory" if folder is None else f"in {folder}"
            raise NoSpaceError(
                f"{len(names):,} images of {shape[1]} x {shape[0]} pixels take {human_bytes(needed)} packed, and "
                f"{human_bytes(free_bytes)} {where} are free.",
                "A smaller size= takes less: half the size, a quarter of the room. limit= takes fewer images.",
                f"Next: for example size={max(32, int(min(shape) * (free_bytes / needed) ** 0.5) // 16 * 16)}.",
            )
        if self._file is None:
            self._memory = np.empty(every, np.uint8)
        else:
            self._file.create()

    def _after_fork(self) -> None:
        """Begin without threads and with a lock that nobody holds: neither comes along into a forked process."""
        self._process = os.getpid()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._publisher: threading.Thread | None = None

    @property
    def path(self) -> Path | None:
        """The packed file; None where pixels are held in memory."""
        return None if self._file is None else self._file.path

    @property
    def rows(self) -> NDArray[np.uint8]:
        """All images, (N, H, W, 3) or (N, 3, H, W). Another array once a file that another process made is used."""
        return self._memory if self._file is None else self._file.rows

    def _found(self) -> bool:
        """Use the packed file that is there, if it is whole."""
        import numpy as np

        unreadable = None if self._file is None else self._file.open()
        if unreadable is None:
            return False
        state = np.full_like(self.state, FINE)
        state[unreadable] = BAD
        self.state = state
        self._list_bad()
        return True

    def _brought(self, kept: Path) -> bool:
        """Bring the packed file from where it is kept, once on this machine."""
        assert self._file is not None
        path = self._file.path
        with self._alone():
            return self._found() or (bring(path.name, kept, path.parent, self._reporter) and self._found())

    @contextmanager
    def _alone(self) -> Iterator[Held]:
        """Keep other processes from making the same packed file."""
        assert self._file is not None
        self._file.make_folder()
        with locked(self._file.path.with_name(f".{self._file.path.name}.lock")) as held:
            yield held

    @property
    def whole(self) -> bool:
        """Whether every image was decoded, or found unreadable."""
        return bool((self.state != TO_DO).all())

    def bytes_of(self, index: int) -> bytes:
        """Return the file of one image."""
        return self._read(index)

    def submit(self, at: NDArray[np.int64], use: Use | None = None) -> Submitted:
        """Set threads to decode those of the images `at` that were not yet; `collect` waits for them.

        Parameters
        ----------
        at : ndarray of int64, shape (B,)
            Which images. While one lot is being collected the next may be submitted, so that no thread stands idle.
        use : callable, optional
            Given a position in `at` and that image's row, by the thread that has it at hand, for every one that could
            be read, now or before.
        """
        import numpy as np

        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            numbers = at.tolist()
            if self._unreadable == "raise" and (bad := np.flatnonzero(self.state[at] == BAD)).size:
                raise self._unreadable_error(numbers[bad[0]], "an earlier run found it so")
            to_do = [i for i, state in enumerate(self.state[at]) if state == TO_DO or (use and state == FINE)]
            if not to_do:
                return []
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, "datastage-decode")
            submitted = []
            together = max(1, min(TOGETHER, len(to_do) // (2 * self._workers)))
            for start in range(0, len(to_do), together):
                part = [(i, numbers[i]) for i in to_do[start : start + together]]
                submitted.append(([index for _, index in part], self._pool.submit(self._decode_all, part, use)))
            return submitted

    def collect(self, submitted: Submitted, stop: threading.Event | None = None) -> bool:
        """Wait until all that was submitted is done; return whether it is, and `stop` was not set meanwhile.

        Raises
        ------
        IntegrityError
            If an image cannot be read, and unreadable ones are not to be skipped.
        StorageError
            If the disk is full, or cannot be read.
        """
        try:
            for part, future in submitted:
                if stop is not None and stop.is_set():
                    return False
                for index, trouble in zip(part, future.result()):
                    self._note(index, trouble)
        finally:
            drop(submitted)
        if submitted and self._file is not None:
            self._file.give_back()
        return True

    def _decode_all(self, part: list[tuple[int, int]], use: Use | None) -> list[str]:
        """Decode some images into their rows; return of each what is wrong with it."""
        troubles = []
        for i, index in part:
            try:
                row = self.rows[index] if self.state[index] == FINE else self._store(index, self._read(index))
                if use is not None:
                    use(i, row)
                troubles.append("")
            except Unreadable as error:
                troubles.append(str(error))
            except StorageError:
                raise
            except OSError as error:
                raise StorageError.of(error, "reading the images", UNREAD) from error
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
        row = np.ascontiguousarray(pixels) if self.last else planes(pixels)
        if self._file is None:
            self._memory[index] = row
        else:
            self._file.write(index, row)
        return row

    def _note(self, index: int, trouble: str) -> None:
        if trouble and self._unreadable == "raise":
            raise self._unreadable_error(index, trouble)
        self._trouble = self._trouble or trouble
        self.state[index] = BAD if trouble else FINE

    def _unreadable_error(self, index: int, trouble: str) -> IntegrityError:
        return IntegrityError(
            f"{self._names[index]} cannot be read as an image: {trouble}.",
            "unreadable='skip' leaves such images out, and lists and counts them.",
        )

    def fill(self, stream: Callable[[], Iterable[tuple[int, bytes]]]) -> None:
        """Decode images as they come, for archives that can only be read from end to end.

        Parameters
        ----------
        stream : callable
            Gives numbers and files. At most twice as many are held as there are threads. Not called where another
            process has just made the packed file.
        """
        if self._file is None:
            self._fill(stream(), None)
            return
        with self._alone() as held:
            if not self._found():
                self._fill(stream(), held)
                self.wait_until_published()

    def _fill(self, stream: Iterable[tuple[int, bytes]], held: Held | None) -> None:
        self._reporter.phase("reading the photos", None)
        waiting: deque[tuple[int, Future[str]]] = deque()
        with ThreadPoolExecutor(self._workers, "datastage-decode") as pool:
            for index, data in stream:
                if len(waiting) == 2 * self._workers:
                    done, future = waiting.popleft()
                    self._note(done, future.result())
                waiting.append((index, pool.submit(self._trouble_with, index, data)))
                self._reporter.advance(len(data))
                if held is not None:
                    held.advance(len(data))
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

    def is_most(self, at: NDArray[np.int64]) -> bool:
        """Whether `at` are the larger part of the images."""
        return 2 * len(at) >= len(self.state)

    def complete(self, stop: threading.Event | None = None, held: Held | None = None) -> None:
        """Decode what is left unless `stop` is set, and make the packed file final. Does nothing the second time."""
        import numpy as np

        left = np.flatnonzero(self.state == TO_DO)
        for start in range(0, len(left), 256):
            if not self.collect(self.submit(left[start : start + 256]), stop):
                return
            if held is not None:
                held.advance(256 * self.rows[0].nbytes)
        self.publish()

    def complete_once(self) -> None:
        """As `complete`, by one of several processes of this machine that want it; the others wait for its file."""
        if self._file is None or self.whole:
            self.complete()
            return
        with self._alone() as held:
            if not self._found():
                self.complete(held=held)
                self.wait_until_published()

    def publish(self) -> None:
        """Have a thread write a whole cache to the disk: the training need not wait for a slow one, or for Drive."""
        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            if not self.whole:
                return
            if (self.state == BAD).all():
                raise IntegrityError(
                    f"None of the {len(self._names):,} images can be read: {self._trouble}.",
                    f"Next: look at the first of them by hand, {self._names[0]}.",
                )
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
                self._list_bad()
            if self._file is None or not self._file.is_ours or self._publisher is not None:
                return
            PUBLISHING[self._file.path] = self._published
            self._publisher = threading.Thread(target=self._publish, args=(self._file,), name="datastage-keep")
            self._publisher.start()

    def _publish(self, file: PixelFile) -> None:
        try:
            file.publish((self.state == BAD).nonzero()[0].tolist())
        except StorageError as error:
            # What did not reach the disk may be lost to the mapping too, so no further batch is made of it.
            self._error = error
            return
        finally:
            PUBLISHING.pop(file.path, None)
            self._published.set()
        if self._kept is not None:
            keep(file.path.name, file.path.parent, self._kept, self._reporter)

    def check(self) -> None:
        """Raise `StorageError` if the packed file could not be written after the last epoch."""
        if self._error is not None:
            raise self._error

    def wait_until_published(self) -> None:
        """Wait until a whole cache has its name, but not for its copy on Drive; raises as `check` does."""
        if self._publisher is not None:
            self._published.wait()
        self.check()

    def _list_bad(self) -> None:
        bad = (self.state == BAD).nonzero()[0].tolist()
        if bad and not self._listed:
            self._listed = True
            names = ", ".join(self._names[i] for i in bad[:SHOWN])
            names = "".join(c if c.isprintable() else "?" for c in names)
            more = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
            what = "1 image that cannot be read" if len(bad) == 1 else f"{len(bad):,} images that cannot be read"
            self._reporter.note(f"{what}: {names}{more}", "Left out")


def drop(submitted: Submitted) -> None:
    """Cancel what was not begun and wait for the rest: nobody writes to the file once this has returned."""
    wait([future for _, future in submitted if not future.cancel()])


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
