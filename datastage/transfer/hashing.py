"""Write a file at many places, and hash it in order meanwhile, as it is read back."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from datastage.errors import IntegrityError, while_doing
from datastage.reader import FileReader
from datastage.transfer.pieces import PIECE_BYTES, Piece


def write_fd(fd: int, piece: Piece, at: int) -> None:
    """Write all of `piece` at `at`."""
    with while_doing("writing the files"):
        while len(piece):
            n = os.pwrite(fd, piece, at)
            at += n
            piece = memoryview(piece)[n:]


class Hashing:
    """A thread that reads back what was written, in order, and hashes it."""

    def __init__(
        self,
        file: FileReader,
        algorithms: Sequence[str],
        wait_beyond: Callable[[int], int | None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._file = file
        self._algorithms = algorithms
        self._wait_beyond = wait_beyond
        self._fail = fail
        self.must_begin_anew = False  # to be set where other bytes take the place of what was hashed
        self.crc32 = 0
        self._hashes: dict[str, Any] = {}
        self.thread = threading.Thread(target=self._run, name="datastage-hash", daemon=True)

    @property
    def digests(self) -> dict[str, str]:
        return {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}

    def _run(self) -> None:
        try:
            with while_doing("reading back what was written"):
                while not self._hash():
                    pass
        except BaseException as error:
            self._fail(error)

    def _hash(self) -> bool:
        """Hash from the beginning; return whether all was hashed, and not other bytes came."""
        self.must_begin_anew = False
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms}
        self.crc32 = at = 0
        buffer = memoryview(bytearray(PIECE_BYTES))
        while (end := self._wait_beyond(at)) is not None:
            while at < end and not self.must_begin_anew:
                n = os.preadv(self._file.fd, [buffer[: min(PIECE_BYTES, end - at)]], at)
                if n == 0:
                    raise IntegrityError(f"{self._file.local_path} became shorter while it was written.")
                self.crc32 = zlib.crc32(buffer[:n], self.crc32)
                for hash_ in self._hashes.values():
                    hash_.update(buffer[:n])
                at += n
            if self.must_begin_anew:
                return False
        return not self.must_begin_anew
