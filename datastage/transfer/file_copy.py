"""Copy one file of a local disk: read once, with its checksum and digests taken on the way."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from datastage.errors import DatastageError, IntegrityError, NoSpaceError, StorageError
from datastage.own_files import no_link
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import stat_identity

_PIECE_BYTES = 1 << 20


def copy_file(
    source: Path, to: Path, *, algorithms: Sequence[str] = (), reporter: Reporter = SILENT
) -> tuple[int, int, dict[str, str]]:
    """Copy `source` to `to`, which appears when it is whole; return its size, its CRC-32 and the digests asked for."""
    part = to.with_name(to.name + ".part")
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    n_bytes = crc = 0
    try:
        with open(source, "rb", buffering=0) as read_from, open(part, "wb", buffering=0, opener=no_link) as write_to:
            before = os.fstat(read_from.fileno())
            # A file that grows must not be copied for ever. Files of /proc say that they hold nothing.
            most = before.st_size or sys.maxsize
            buffer = memoryview(bytearray(_PIECE_BYTES))
            while n_bytes <= most and (n := read_from.readinto(buffer)):
                piece = buffer[:n]
                n_bytes, crc = n_bytes + n, zlib.crc32(piece, crc)
                for hash_ in hashes.values():
                    hash_.update(piece)
                while len(piece):
                    piece = piece[write_to.write(piece) :]
                reporter.advance(n)
            if stat_identity(os.fstat(read_from.fileno())) != stat_identity(before):
                raise IntegrityError(
                    f"{source} changed while it was being copied.",
                    "Next: run the same line again when nobody is writing it.",
                )
        os.replace(part, to)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, DatastageError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpaceError(
                    f"The disk is full: {source.name} needs {human_bytes(source.stat().st_size)} in {to.parent}.",
                    filename=to,
                ) from error
            raise StorageError.of(error, f"copying {source.name}") from error
        raise
    return n_bytes, crc, {name: hash_.hexdigest() for name, hash_ in hashes.items()}
