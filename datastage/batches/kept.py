"""Packed pixels kept on a disk of another machine for the next session, and worked with on one of our own.

Here: `bring` and `keep`, which copy a packed file and its receipt from end to end: read where they are kept, each photo
would be a trip over the network. Not here: what is in them (`packed`), which folders (`photos`).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from datastage.lock import kernel_id
from datastage.progress import SILENT, Reporter

BLOCK = 1 << 20
ABANDONED_S = 3600


def bring(name: str, source: Path, to: Path, reporter: Reporter) -> bool:
    """Copy the packed file `name` and its receipt to the folder `to`; return whether they were there and could be."""
    if not ((source / name).is_file() and (source / name).with_suffix(".json").is_file()):
        return False
    reporter.phase(f"bringing the pixels from {source}", (source / name).stat().st_size)
    try:
        _copy(name, source, to, reporter)
    except OSError as error:
        reporter.note(
            f"the pixels kept in {source} could not be brought ({error}), so photos are decoded again", "Note"
        )
        return False
    return True


def keep(name: str, source: Path, to: Path, reporter: Reporter) -> None:
    """Copy the packed file `name` and its receipt from `source` to `to`; that this fails is said, and no error."""
    try:
        _remove_abandoned(to)
        _copy(name, source, to, SILENT)  # beside the training, whose own progress is on the screen
        reporter.note(f"the photos as pixels in {to}, for the next session", "Kept")
    except OSError as error:
        reporter.note(f"the pixels could not be kept in {to}: {error}", "Note")


def _remove_abandoned(folder: Path) -> None:
    """Remove copies that a session before this one broke off: nothing was written to them for an hour."""
    if folder.is_dir():
        for partial in folder.glob(".packed-*.partial"):
            if time.time() - partial.stat().st_mtime > ABANDONED_S:
                partial.unlink(missing_ok=True)


def _copy(name: str, source: Path, to: Path, reporter: Reporter) -> None:
    to.mkdir(parents=True, exist_ok=True)
    # The receipt comes last: without one a packed file is not looked at.
    for part in (source / name, (source / name).with_suffix(".json")):
        partial = to / f".{part.name}.{kernel_id()}.{os.getpid()}.partial"
        try:
            with open(part, "rb") as read, open(partial, "wb") as write:
                while block := read.read(BLOCK):
                    write.write(block)
                    reporter.advance(len(block))
            os.replace(partial, to / part.name)
        finally:
            partial.unlink(missing_ok=True)
