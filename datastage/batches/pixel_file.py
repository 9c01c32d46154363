"""One file of uint8 pixels on a disk: found by its receipt, made beside its name, and given it when it is whole.

Several loaders and processes may make the same file at once: each has a partial of its own, and whoever comes second
finds the first one's and lets go of its own.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.errors import StorageError, while_doing
from datastage.lock import kernel_id
from datastage.own_files import atomic_file

SCHEMA = 2
PROBES = 64
REMEDY = "Next: free some room there, or choose another folder with cache=, and run the same line again."


class PixelFile:
    """Rows of pixels that outlive the process: a file named `path`, of the pixels that `key` tells.

    `rows` are mapped, and there once `open` found them or `create` was called. Rows are written by pwrite and not
    through the mapping, whose pages are given back from time to time.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...]) -> None:
        self.path, self._key, self._shape = path, key, shape
        self.rows: NDArray[np.uint8]
        self._n_bytes = int(np.prod(shape))
        self._out: Any = None
        self._let_go: Any = None

    def open(self) -> list[int] | None:
        """Map the file that is there, and return which images are unreadable; None if it is not as it was made."""
        found = self._whole()
        if found is None:
            return None
        self.discard()
        self._attach(found[0])
        return found[1]

    def _whole(self) -> tuple[mmap.mmap, list[int]] | None:
        try:
            receipt = json.loads(self.path.with_suffix(".json").read_text("utf-8"))
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if (receipt["key"], receipt["bytes"], self._n_bytes) != (self._key, size, size):
                    return None
                # Never written through; but torch warns of arrays that it may not write to.
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            unreadable = [int(i) for i in receipt["unreadable"]]
            if _probe(mapped) != receipt["probe"] or not all(0 <= i < self._shape[0] for i in unreadable):
                return None
            return mapped, unreadable
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _attach(self, mapped: mmap.mmap) -> None:
        self._map = mapped
        self.rows = np.frombuffer(mapped, np.uint8).reshape(self._shape)

    @property
    def is_ours(self) -> bool:
        """Whether it is being made by this process, or by who forked us, and neither published nor discarded."""
        return self._out is not None

    def create(self) -> None:
        """Make an empty file, for `write` and `publish`; raises `StorageError`."""
        # On a shared disk the number of a process means nothing without its machine: two containers have the same ones.
        own = f"{kernel_id()}.{os.getpid()}.{secrets.token_hex(4)}.partial"
        self._partial = self.path.with_name(f".{self.path.name}.{own}")
        make_folder(self.path.parent)
        try:
            _remove_abandoned(self.path.parent)
            fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # Closed when nobody uses it any more, and not at the exit: threads may be writing still.
            self._out = os.fdopen(fd, "r+b", buffering=0)
            # Also at the end of the process, where somebody still holds this.
            self._let_go = weakref.finalize(self, _remove, self._partial, os.getpid())
            self._out.truncate(self._n_bytes)
            self._attach(mmap.mmap(fd, 0, access=mmap.ACCESS_WRITE))
        except OSError as error:
            self.discard()
            raise StorageError.of(error, "making the packed file", REMEDY) from error

    def write(self, index: int, row: NDArray[np.uint8]) -> None:
        """Write one row; raises `StorageError` if the disk will not take it, or is full."""
        left, at, out = row.data.cast("B"), index * row.nbytes, self._out
        with while_doing("writing the packed file", REMEDY):
            while out is not None and left:  # a disk that fills up writes less than it was given
                n = os.pwrite(out.fileno(), left, at)
                left, at = left[n:], at + n

    def give_back(self) -> None:
        """Give the memory of the mapping back; what is read from it next comes from the disk's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def publish(self, unreadable: list[int]) -> None:
        """Bring what `create` made to the disk and give it its name, unless another is there by now."""
        receipt = self.path.with_suffix(".json")
        # Its name tells whose it is, as that of the pixels does: when its process is gone, the next one removes it.
        unfinished = receipt.with_name(self._partial.name.replace(self.path.name, receipt.name))
        facts = {"schema": SCHEMA, "key": self._key, "bytes": self._n_bytes, "shape": list(self._shape)}
        facts |= {"probe": _probe(self._map), "unreadable": unreadable}
        try:
            os.fsync(self._out.fileno())
            if self._whole() is None:
                # The receipt comes last: without one a packed file is not looked at.
                os.replace(self._partial, self.path)
                with atomic_file(receipt, unfinished=unfinished) as out:
                    out.write(json.dumps(facts).encode())
                # Those of the same images as they were before they changed go: nobody asks for them again.
                for other in self.path.parent.glob(f"{self.path.name.rpartition('-')[0]}-*"):
                    if other.stem != self.path.stem:
                        other.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.of(error, "finishing the packed file", REMEDY) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Let go of what `create` made; its rows stay as long as they are used."""
        if self._let_go is not None:
            self._let_go()
            self._out = None


def make_folder(folder: Path) -> None:
    """Make a folder for packed files; raises `StorageError`."""
    with while_doing("making the folder of the packed file", REMEDY):
        folder.mkdir(parents=True, exist_ok=True)


def _probe(pixels: Any) -> str:
    """Digest some blocks spread over the file: all of it would take as long as an epoch."""
    digest = hashlib.blake2b(digest_size=16)
    for at in np.linspace(0, max(0, len(pixels) - 4096), PROBES).astype(np.int64):
        digest.update(pixels[at : at + 4096])
    return digest.hexdigest()


def _remove(partial: Path, process: int) -> None:
    if process == os.getpid():  # else it is that of who forked us
        partial.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove unfinished packed files whose processes are gone."""
    for partial in folder.glob(".packed-*.partial"):
        try:
            machine, pid = partial.name.split(".")[-4:-2]
            if pid.isdecimal() and machine == kernel_id():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except (OSError, ValueError):
            continue  # another user's process: it lives
