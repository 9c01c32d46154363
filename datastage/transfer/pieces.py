"""Read any reader in pieces: one try each, with `Interrupted` for what may pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from datastage.errors import DatastageError, IntegrityError
from datastage.reader import FileReader, Reader
from datastage.transfer.retry import Interrupted, of_file

Piece = bytes | memoryview
Pieces = Callable[[int, int | None], Generator[Piece, None, None]]
PIECE_BYTES = 1 << 20
# The kernel has been told of the whole block: smaller pieces show sooner how fast they come.
_FILE_PIECE_BYTES = 256 << 10


def pieces_of(reader: Reader) -> Pieces:
    """Return a function ``(offset, n) -> pieces`` for `reader`; with None for `n`, it gives the whole from 0."""
    if reader.local_path is not None:
        return _FilePieces(reader, reader.local_path)
    pieces: Pieces = reader.pieces  # type: ignore[attr-defined]
    return pieces


class _FilePieces:
    """A file, opened for each connection, and anew after a fault: on a mount that came back old handles stay dead."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self._reader = reader
        self._path = path
        self._idle: list[FileReader] = []

    def __call__(self, offset: int, n: int | None) -> Generator[Piece, None, None]:
        file: FileReader | None = None
        try:
            try:
                file = opened = self._idle.pop()
            except IndexError:
                file = opened = FileReader(self._path)
                if opened.identity != self._reader.identity:
                    raise Interrupted(changed(self._reader.name), "changed") from None
            left = (self._reader.size or 0) - offset if n is None else n
            opened.expect(offset, left)
            while left > 0:
                piece = opened.read_at(offset, min(left, _FILE_PIECE_BYTES))
                if not piece:
                    raise Interrupted(cut_short(self._reader, offset))
                offset += len(piece)
                left -= len(piece)
                if left == 0:  # whoever reads may not come back after the last piece
                    self._idle.append(opened)
                    file = None
                yield piece
        except OSError as error:
            if isinstance(error, DatastageError):
                raise
            self._idle.clear()  # what one handle met, the others will
            raise of_file(error, self._path, offset) from error
        finally:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()


def changed(name: str) -> IntegrityError:
    """Return the error for a file that is no longer the one that was begun with."""
    return IntegrityError(
        f"{name} changed at its place while it was being copied.",
        "Next: run the same line again when nobody is writing it.",
    )


def cut_short(reader: Reader, got: int) -> DatastageError:
    """Return the error for a file of which fewer bytes came than were said."""
    size = "an unknown number of" if reader.size is None else f"{reader.size:,}"
    return IntegrityError(
        f"{reader.name} was cut short: {got:,} of {size} bytes came.",
        "The connection broke, or the file at its place is not whole.",
        "Next: run the same line again.",
    )
