"""Photos decoded once and kept as uint8 pixels, in memory or in a file that later sessions read."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage import runtime
from datastage.batches.image_files import Images
from datastage.batches.pixel_file import SCHEMA, PixelFile, make_folder
from datastage.batches.prefetch import Threads, decode_threads
from datastage.decode import Fit, Unreadable, best, decode, planes
from datastage.errors import IntegrityError, NoSpaceError, StorageError, while_doing
from datastage.layouts.tree import UNREAD
from datastage.lock import Held, locked
from datastage.own_files import atomic_file
from datastage.progress import SILENT, Reporter, close, counted, duration, few, human_bytes, unreadable
from datastage.redact import printable

TO_DO, FINE, BAD = 0, 1, 2
EARLIER = "an earlier run found it so"
# Photos that a thread is given at once, at most: handing over 4 takes a thirtieth of the time that decoding them does,
# and who leaves a loop waits for what was begun.
TOGETHER = 8
# How long an exit waits for pixels that are on their way to a disk, which may be Drive.
KEEP_S = 600.0
SHARE_OF_MEMORY = 0.7

PUBLISHING: dict[Path, threading.Event] = {}  # files on their way to the disk: who wants one of them waits for it
_LIVE: weakref.WeakValueDictionary[Path, PixelCache] = weakref.WeakValueDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PUBLISHING.clear)  # the threads that write them do not come along

Use = Callable[[int, "NDArray[np.uint8]"], None]
# Which images, and of each what is wrong with it and what is to be said of it, once that is known.
Submitted = list[tuple[list[int], "Future[list[tuple[str, str]]]"]]


@dataclass(eq=False, repr=False)
class PixelCache:
    """Images of one size, decoded when they are first asked for, by the files' `names`.

    Channels come `last`, as what resizes crops wants them, or first, as what only cuts does. The pixels lie in `folder`
    or in memory; if they are `kept` on a slow disk, they are brought from there, and copied to it once they are whole.
    """

    images: Images
    names: Sequence[str]
    fit: Fit
    _: KW_ONLY
    last: bool
    folder: Path | None
    kept: Path | None = None
    threads: Threads = field(default_factory=decode_threads)
    unreadable: str = "skip"
    reporter: Reporter = SILENT

    def __getstate__(self) -> dict[str, Any]:
        """Return what it was made from: another process looks for the file again, or decodes anew."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"reporter": SILENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __post_init__(self) -> None:
        self.decoder = best()
        self._claim = threading.Lock()  # taken once, by whoever makes the file final
        self._error: StorageError | None = None
        self._trouble: dict[int, str] = {}
        self._remarks: dict[str, list[int]] = {}
        self._listed, self._began, self._resized = False, 0.0, 0
        self.state = np.zeros(len(self.names), np.uint8)
        self._open((len(self.names), *self.fit.shape, 3) if self.last else (len(self.names), 3, *self.fit.shape))

    def _open(self, every: tuple[int, ...]) -> None:
        """Find the pixels of then, or make room for `every` one."""
        needed, free = int(np.prod(every)), free_bytes(self.folder)
        fits = free is None or needed <= free
        self._file = None if self.folder is None else self._in_folder(self.folder, every)
        if self._found() or (fits and self._brought()):
            return
        if not fits:
            shape, where = self.fit.shape, "of memory" if self.folder is None else f"in {self.folder}"
            raise NoSpaceError(
                f"{len(self.names):,} images of {shape[1]} x {shape[0]} pixels take {human_bytes(needed)} packed, and "
                f"{human_bytes(free or 0)} {where} are free.",
                "A smaller size= takes less: half the size, a quarter of the room. limit= takes fewer images.",
                f"Next: for example size={max(32, int(min(shape) * ((free or 0) / needed) ** 0.5) // 16 * 16)}.",
            )
        if self._file is not None:
            try:
                self._file.create()
                self._go_on(_LIVE.get(self._file.path))
                _LIVE[self._file.path] = self
                return
            except StorageError as error:
                memory = free_bytes(None)
                if memory is not None and needed > memory:
                    raise
                self._file = None
                self.reporter.note(f"the pixels are kept in memory this time: {error.args[0]}", "Note")
        self._memory = np.zeros(every, np.uint8)

    def _go_on(self, other: PixelCache | None) -> None:
        """Take the pixels that an earlier loader of this process decoded before its first epoch was stopped."""
        if self._file is None or other is None or other._file is None or not other._file.is_ours:
            return
        state = other.state.copy()
        for index in np.flatnonzero(state == FINE).tolist():
            self._file.write(index, other.rows[index])
        self.state, self._trouble, self._remarks = state, {**other._trouble}, {**other._remarks}
        if n := int((state != TO_DO).sum()):
            self.reporter.note(f"at {n:,} of {len(state):,} photos", "Went on")

    def _in_folder(self, folder: Path, every: tuple[int, ...]) -> PixelFile:
        """Return the file of these images: one for all that they ever were, of which the latest is kept."""
        same = hashlib.blake2b(json.dumps([SCHEMA, self.last, self.fit.how, *self.fit.shape]).encode(), digest_size=4)
        now = hashlib.blake2b(digest_size=8)
        for name, stamp in zip(self.names, self.images.stamps(self.names)):
            same.update(f"{name}\0".encode("utf-8", "surrogateescape"))
            now.update(f"{stamp}\0".encode())
        key = f"{same.hexdigest()}-{now.hexdigest()}"
        path = Path(os.path.abspath(folder)) / f"packed-{key}.u8"
        if (publishing := PUBLISHING.get(path)) is not None:
            publishing.wait()
        return PixelFile(path, key, every)

    @property
    def path(self) -> Path | None:
        """The file of pixels; None where they are held in memory."""
        return None if self._file is None else self._file.path

    @property
    def rows(self) -> NDArray[np.uint8]:
        """All images, (N, H, W, 3) or (N, 3, H, W). Another array once a file that another process made is used."""
        return self._memory if self._file is None else self._file.rows

    @property
    def so_far(self) -> str:
        """What is decoded so far, in words; nothing before the first photo, and once all are."""
        n = int((self.state != TO_DO).sum())
        return f"The pixels of {n:,} of {len(self.state):,} photos" if 0 < n < len(self.state) else ""

    @property
    def troubles(self) -> dict[int, str]:
        """What is wrong with the images that cannot be read, by their numbers."""
        return {i: self._trouble.get(i, EARLIER) for i in (self.state == BAD).nonzero()[0].tolist()}

    @property
    def whole(self) -> bool:
        """Whether every image was decoded, or found unreadable."""
        return bool((self.state != TO_DO).all())

    def _found(self) -> bool:
        """Use the file that is there, if it is whole."""
        unreadable = None if self._file is None else self._file.open()
        if unreadable is None:
            return False
        state = np.full_like(self.state, FINE)
        state[unreadable] = BAD
        self.state = state
        self._say_what_came_of_it()
        return True

    def _brought(self) -> bool:
        """Bring the file from where it is kept, once on this machine."""
        if self._file is None or self.kept is None:
            return False
        with alone(self._file.path):
            return self._found() or (bring(self._file.path, self.kept, self.reporter) and self._found())

    # --- decoding

    def submit(self, at: NDArray[np.int64], use: Use | None = None) -> Submitted:
        """Have threads decode those of the images `at` that were not yet; `collect` waits for them.

        `use` gets a position in `at` and its row, of each that could be read, by the thread that has it at hand.
        """
        numbers, states = at.tolist(), self.state[at]
        if self.unreadable == "raise" and (bad := np.flatnonzero(states == BAD)).size:
            raise self.unreadable_error(numbers[bad[0]], EARLIER)
        new = states == TO_DO
        if new.any() and not self._began:
            self._began = time.monotonic()
            left = int((self.state == TO_DO).sum())
            self.reporter.phase("decoding the photos", left * self.rows[0].nbytes)
        to_do = np.flatnonzero(new | (states == FINE) if use else new).tolist()
        together = max(1, min(TOGETHER, len(to_do) // (2 * self.threads.n)))
        if not new.any():  # what is decoded takes a thirtieth of the time: a part for each thread is enough
            together = max(1, -(-len(to_do) // self.threads.n))
        parts = [[(i, numbers[i]) for i in to_do[k : k + together]] for k in range(0, len(to_do), together)]
        return [([index for _, index in part], self.threads.submit(self._decode_all, part, use)) for part in parts]

    def collect(self, submitted: Submitted, stop: threading.Event | None = None) -> bool:
        """Wait until all that was submitted is done; return whether it is, and `stop` was not set meanwhile."""
        decoded = False
        try:
            for part, future in submitted:
                if stop is not None and stop.is_set():
                    return False
                for index, said in zip(part, future.result()):
                    if self.state[index] != FINE or any(said):
                        decoded |= bool(self.state[index] == TO_DO)
                        self._note(index, *said)
        finally:
            drop(submitted)
        if decoded and self._file is not None:
            self._file.give_back()
        return True

    def picture(self, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return one image as a new array (H, W, 3) of this size; raises `IntegrityError` if it cannot be read."""
        seen: list[NDArray[np.uint8]] = []
        if self.state[index] != BAD:
            (said,) = self._decode_all([(0, index)], lambda _, row: seen.append(row))
            self._note(index, *said)
        if self.state[index] == BAD:
            raise self.unreadable_error(index, self._trouble.get(index, EARLIER))
        row = seen[0]  # of what is not kept there is no other
        return Fit(size, "stretch").apply(np.array(row if self.last else row.transpose(1, 2, 0)))

    def pause(self) -> None:
        """Take the progress away where an epoch ended, or was left, before all was decoded."""
        if self._began and not self._listed:
            close(self.reporter)
            self._began = self._began if self.whole else 0.0

    def _decode_all(self, part: list[tuple[int, int]], use: Use | None) -> list[tuple[str, str]]:
        """Decode some images into their rows; return of each what is wrong with it, and what is to be said of it."""
        said = []
        with while_doing("reading the images", UNREAD):
            for i, index in part:
                remarks: list[str] = []
                try:
                    if self.state[index] == FINE:
                        row = self.rows[index]
                    else:
                        row = self._store(index, self.images.read(self.names[index]), remarks)
                    if use is not None:
                        use(i, row)
                    said.append(("", remarks[0] if remarks else ""))
                except Unreadable as error:
                    said.append((str(error), ""))
        return said

    def _store(self, index: int, data: bytes, remarks: list[str]) -> NDArray[np.uint8]:
        """Decode `data` into the row of image `index`, and return it; raises `Unreadable`."""
        row = self._decoded(data, remarks)
        if self._file is None:
            self._memory[index] = row
        else:
            self._file.write(index, row)
        return row

    def _decoded(self, data: bytes, remarks: list[str]) -> NDArray[np.uint8]:
        if not data:
            raise Unreadable("the file is empty")
        pixels = decode(data, self.fit, self.decoder, remarks)
        if self.fit.odd and pixels.shape[:2] != self.fit.shape:
            self._resized += 1
        pixels = self.fit.apply(pixels)
        return np.ascontiguousarray(pixels) if self.last else planes(pixels)

    def _note(self, index: int, trouble: str, remark: str) -> None:
        if trouble and self.unreadable == "raise":
            raise self.unreadable_error(index, trouble)
        if trouble:
            self._trouble[index] = trouble
        if remark:
            self._remarks.setdefault(remark, []).append(index)
        if self.state[index] == TO_DO:
            self.reporter.advance(self.rows[0].nbytes)
        self.state[index] = BAD if trouble else FINE

    def unreadable_error(self, index: int, trouble: str) -> IntegrityError:
        return IntegrityError(
            f"{self._called(index)} cannot be read as an image: {trouble}.",
            "Next: unreadable='skip' leaves such images out, and lists and counts them.",
        )

    def _called(self, index: int) -> str:
        """Return what a person calls an image."""
        return self.names[index]

    def complete(self, stop: threading.Event | None = None, held: Held | None = None) -> None:
        """Decode what is left unless `stop` is set, and make the file final. Does nothing the second time."""
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
        with alone(self._file.path) as held:
            if not self._found():
                self.complete(held=held)
                self.wait_until_published()

    # --- making it final

    def publish(self) -> None:
        """Have a thread write a whole cache to the disk: the training need not wait for a slow one, or for Drive."""
        if not self.whole:
            return
        if (self.state == BAD).all():
            trouble = next(iter(self.troubles.values()))
            raise IntegrityError(
                f"None of the {len(self.names):,} images can be read: {trouble}.",
                f"Next: look at the first of them by hand, {self.names[0]}.",
            )
        self._say_what_came_of_it()
        if self._file is None or not self._file.is_ours or not self._claim.acquire(blocking=False):
            return
        done = PUBLISHING[self._file.path] = threading.Event()
        thread = threading.Thread(target=self._publish, args=(self._file, done), name="datastage-keep", daemon=True)
        thread.start()
        atexit.register(thread.join, KEEP_S)

    def _publish(self, file: PixelFile, done: threading.Event) -> None:
        try:
            file.publish((self.state == BAD).nonzero()[0].tolist())
        except StorageError as error:
            # What did not reach the disk may be lost to the mapping too, so no further batch is made of it.
            self._error = error
            return
        finally:
            PUBLISHING.pop(file.path, None)
            done.set()
        if self.kept is not None:
            keep(file.path, self.kept, self.reporter)

    def check(self) -> None:
        """Raise `StorageError` if the file could not be written after the last epoch."""
        if self._error is not None:
            raise self._error

    def wait_until_published(self) -> None:
        """Wait until a whole cache has its name, but not for its copy on Drive; raises as `check` does."""
        if self._file is not None and (publishing := PUBLISHING.get(self._file.path)) is not None:
            publishing.wait()
        self.check()

    def _say_what_came_of_it(self) -> None:
        """Say once what was decoded, what was left out and why, and which pictures came out odd."""
        if self._listed:
            return
        self._listed = True
        say = self.reporter.note
        if self._began:
            taken = duration(time.monotonic() - self._began)
            say(f"{len(self.names):,} photos in {taken}; later epochs read their pixels", "Decoded")
            close(self.reporter)
        if troubles := self.troubles:
            say(unreadable((self.names[i], why) for i, why in troubles.items()), "Left out")
        if self._resized:
            h, w = self.fit.shape
            say(f"{self._resized:,} photos of another size were brought to {w} x {h}", "Size")
        for remark, which in self._remarks.items():
            say(f"{counted(len(which), 'image')} {remark}: {few((printable(self.names[i]) for i in which), 5)}", "Note")


def free_bytes(folder: Path | None) -> int | None:
    """Return the room on the disk of a folder, which need not exist yet, or in memory; None if that is not known."""
    if folder is not None:
        return runtime.free_bytes(folder)
    total = runtime.current().memory_bytes
    return int(SHARE_OF_MEMORY * total) if total else None


def alone(path: Path) -> contextlib.AbstractContextManager[Held]:
    """Keep other processes from making the same file."""
    make_folder(path.parent)
    return locked(path.with_name(f".{path.name}.lock"))


def drop(submitted: Submitted) -> None:
    """Cancel what was not begun and wait for the rest: nobody writes to the file once this has returned."""
    wait([future for _, future in submitted if not future.cancel()])


# --- kept on a disk of another machine: copied from end to end, since there each photo would be a trip over the network


def bring(path: Path, kept: Path, reporter: Reporter) -> bool:
    """Copy a file and its receipt from where they are kept; return whether they were there and could be."""
    there = kept / path.name
    if not (there.is_file() and there.with_suffix(".json").is_file()):
        return False
    reporter.phase(f"bringing the pixels from {kept}", there.stat().st_size)
    try:
        _copy(there, path.parent, reporter)
    except OSError as error:
        reporter.note(f"the pixels kept in {kept} could not be brought ({error}), so photos are decoded again", "Note")
        return False
    return True


def keep(path: Path, to: Path, reporter: Reporter) -> None:
    """Copy a file and its receipt to where they are to be kept; that this fails is said, and no error."""
    try:
        _copy(path, to, SILENT)  # beside the training, whose own progress is on the screen
        reporter.note(f"the photos as pixels in {to}, for the next session", "Kept")
    except OSError as error:
        reporter.note(f"the pixels could not be kept in {to}: {error}", "Note")


def _copy(path: Path, to: Path, reporter: Reporter) -> None:
    to.mkdir(parents=True, exist_ok=True)
    # The receipt comes last: without one a file of pixels is not looked at.
    for part in (path, path.with_suffix(".json")):
        with open(part, "rb") as read, atomic_file(to / part.name) as write:
            while block := read.read(1 << 20):
                write.write(block)
                reporter.advance(len(block))
