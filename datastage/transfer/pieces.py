"""Read any reader in pieces: one try each, with `Interrupted` for what may pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from functools import partial
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
        return partial(_of_file, reader, reader.local_path, [])
    return reader.pieces  # type: ignore[return-value]


def _of_file(
    reader: Reader, path: Path, idle: list[FileReader], offset: int, n: int | None
) -> Generator[Piece, None, None]:
    """Open a file for each connection, and anew after a fault: on a mount that came back old handles stay dead."""
    file: FileReader | None = None
    try:
        try:
            file = opened = idle.pop()
        except IndexError:
            file = opened = FileReader(path)
            if opened.identity != reader.identity:
                raise Interrupted(changed(reader.name), "changed") from None
        left = (reader.size or 0) - offset if n is None else n
        opened.expect(offset, left)
        while left > 0:
            piece = opened.read_at(offset, min(left, _FILE_PIECE_BYTES))
            if not piece:
                raise Interrupted(cut_short(reader, offset))
            offset += len(piece)
            left -= len(piece)
            if left == 0:  # whoever reads may not come back after the last piece
                idle.append(opened)
                file = None
            yield piece
    except OSError as error:
        if isinstance(error, DatastageError):
            raise
        idle.clear()  # what one handle met, the others will
        raise of_file(error, path, offset) from error
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
