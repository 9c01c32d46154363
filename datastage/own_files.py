"""Write files of our own: beside their place, then put there by one rename, so that nobody sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_ABANDONED_S = 3600.0
_ENDING = ".partial"


@contextlib.contextmanager
def atomic_file(target: Path, *, mode: int = 0o666, sync: bool = True) -> Iterator[BinaryIO]:
    """Give a new file to write, which takes the place of `target` when the block ends without an error.

    The unfinished file is hidden and lies beside `target`; it is removed after an error. Files that killed
    processes left there more than an hour ago are removed first. An `OSError` passes unchanged.
    """
    remove_abandoned(target)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_ENDING}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(unfinished, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            if sync:
                os.fsync(out.fileno())
        os.replace(unfinished, target)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def remove_abandoned(target: Path) -> None:
    """Remove unfinished files for `target` that nobody has written to for an hour; one that is at work writes often."""
    names = []
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        start = f".{target.name}."
        names = [entry.name for entry in entries if entry.name.startswith(start) and entry.name.endswith(_ENDING)]
    for name in names:
        path = target.with_name(name)
        middle = name[len(start) : -len(_ENDING)]
        if len(middle) != 16 or not set(middle) <= set("0123456789abcdef"):
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _ABANDONED_S:
                path.unlink()
