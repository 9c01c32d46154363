"""What somebody put into a staged folder, which stays when a new copy takes its place."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from datastage import staged
from datastage.errors import IntegrityError, StorageError
from datastage.own_files import remove_tree
from datastage.progress import Reporter, few
from datastage.reader import FileRecord
from datastage.slots import Slot, free_name


def of(old: Path, new: Path, slot: Slot) -> list[str]:
    """Return the topmost paths of what was added to `old`; a `StorageError` if one is taken in `new`.

    That is what the list of what was staged does not name; where the list is damaged, what `new` has not.
    """
    try:
        files = staged.read_files(old, staged.read_receipt(old) or {})
    except IntegrityError:
        files = [FileRecord(path, 0, 0) for path in staged.walk(new)]
    folders = {""}  # those that hold what was staged
    for file in files:
        folder = file.path.rpartition("/")[0]
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    added: dict[str, None] = {}
    for path in staged.extra_files(old, files):
        for top in itertools.accumulate(path.split("/"), "{}/{}".format):
            if top in added:
                break
            there = new / top
            if not os.path.lexists(there):
                if top == path or top not in folders:
                    added[top] = None
                    break
            elif top == path or there.is_symlink() or not there.is_dir():
                raise _taken(slot, top, old)
    return list(added)


def _taken(slot: Slot, path: str, old: Path) -> StorageError:
    what = "the new data has the same name" if old == slot.final else f"{old / path} is to go there"
    return StorageError(
        f"{slot.final / path} was not staged, and {what}. Nothing was replaced.",
        f"Next: move it away, or choose another name, such as name={free_name(slot)!r}.",
        code=errno.EEXIST,
        filename=slot.final / path,
    )


def leave_old(slot: Slot, added: Sequence[str], reporter: Reporter) -> None:
    """Move what was added to the old folder into the new one, and remove the old one."""
    for path in added:
        (slot.final / path).parent.mkdir(parents=True, exist_ok=True)
        os.rename(slot.old / path, slot.final / path)
    if added:
        more = f" ({len(added):,} in all)" if len(added) > 3 else ""
        reporter.note(f"{few(added, 3)}{more} in {slot.final} was not staged, and stays there")
    remove_tree(slot.old)
