"""Copy a file of a local disk: plain and fast, the kernel doing it where nothing has to be looked at."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datastage.errors import DatastageError, IntegrityError, NoSpaceError, StorageError
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import stat_identity

_CHUNK = 16 << 20
_READ = 1 << 20
# What a kernel or a pair of file systems says that cannot copy by itself.
_CANNOT = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}
)


def copy_file(
    source: Path, to: Path, *, algorithms: Sequence[str] = (), reporter: Reporter = SILENT
) -> tuple[int, dict[str, str]]:
    """Copy `source` to `to`, which appears when it is whole.

    Parameters
    ----------
    source, to : Path
        Files; `to` is replaced.
    algorithms : sequence of str
        Digests to compute on the way.
    reporter : Reporter
        Told of the bytes.

    Returns
    -------
    n_bytes : int
    digests : dict
    """
    part = to.with_name(to.name + ".part")
    try:
        with open(source, "rb", buffering=0) as read_from:
            before = os.fstat(read_from.fileno())
            # One that somebody is appending to must not be copied for ever. Files of /proc say that they hold nothing.
            most = before.st_size or sys.maxsize
            with open(part, "wb", buffering=0) as write_to:
                if algorithms:
                    n_bytes, digests = _copy_and_hash(read_from, write_to, most, algorithms, reporter)
                else:
                    n_bytes, digests = _copy(read_from.fileno(), write_to.fileno(), most, reporter), {}
            if stat_identity(os.fstat(read_from.fileno())) != stat_identity(before):
                raise IntegrityError(
                    f"{source} changed while it was being copied.",
                    "Next: run the same line again when nobody is writing it.",
                )
        os.replace(part, to)
        return n_bytes, digests
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, DatastageError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpaceError(
                    f"The disk is full: {source.name} needs {human_bytes(source.stat().st_size)} in {to.parent}.",
                    "Next: free some room, or choose another disk with root=.",
                    filename=to,
                ) from error
            raise StorageError.of(error, f"copying {source.name}") from error
        raise


def _copy(source: int, to: int, most: int, reporter: Reporter) -> int:
    done = 0
    by_kernel = hasattr(os, "copy_file_range")
    while done <= most:
        if by_kernel:
            try:
                n = os.copy_file_range(source, to, _CHUNK)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                by_kernel = False
                continue
            if n == 0 and done == 0:
                by_kernel = False  # some file systems say 0 for files that they make up as they are read (proc)
                continue
        else:
            piece = os.read(source, _READ)
            n = len(piece)
            _write(to, piece)
        if n == 0:
            break
        done += n
        reporter.advance(n)
    return done


def _write(fd: int, piece: bytes | memoryview) -> None:
    while len(piece):
        n = os.write(fd, piece)
        piece = memoryview(piece)[n:]


def _copy_and_hash(
    read_from: Any, write_to: Any, most: int, algorithms: Sequence[str], reporter: Reporter
) -> tuple[int, dict[str, str]]:
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    # Hashing is the slowest part, and lets go of the interpreter: it gets a thread, and a few pieces of lead.
    waiting: queue.Queue[bytes | None] = queue.Queue(8)

    def hash_all() -> None:
        while (piece := waiting.get()) is not None:
            for hash_ in hashes.values():
                hash_.update(piece)

    thread = threading.Thread(target=hash_all, name="datastage-hash", daemon=True)
    thread.start()
    done = 0
    try:
        while done <= most and (piece := read_from.read(_READ)):
            waiting.put(piece)
            _write(write_to.fileno(), piece)
            done += len(piece)
            reporter.advance(len(piece))
    finally:
        waiting.put(None)
        thread.join()
    return done, {name: hash_.hexdigest() for name, hash_ in hashes.items()}
