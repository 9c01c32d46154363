"""Make staged content appear in another folder under its own name: ``link=``."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from datastage.errors import StorageError, while_doing
from datastage.own_files import beside, remove_tree
from datastage.staged import leads_to

_CODE_SUFFIXES = (".py", ".pyc", ".pyo", ".pyd", ".pyw", ".so", ".pth", ".egg", ".egg-link")


def link_into(folder: Path, items: Iterable[tuple[str, Path]]) -> tuple[list[Path], list[str]]:
    """Make each item appear in `folder` under its name: as a link, or as a copy where links cannot be made.

    Nothing that is there is replaced: a name that is taken is a `StorageError`, before anything is made. Where Python
    looks for modules, what it would import is left out: data must not become code.
    """
    wanted = [(folder / name, path) for name, path in items]
    left_out: list[str] = []
    if os.path.realpath(folder) in map(os.path.realpath, [*sys.path, os.curdir]):  # an empty entry is this folder too
        left_out = [place.name for place, path in wanted if _is_code(path, place.name)]
        wanted = [(place, path) for place, path in wanted if place.name not in left_out]
    for place, path in wanted:
        if os.path.lexists(place) and not leads_to(str(place), path):
            raise StorageError(
                f"{place} is already there, and is not replaced.",
                f"The data is ready in {path}.",
                "Next: remove or rename it, and run the same line again.",
                code=errno.EEXIST,
                filename=place,
            )
    for place, path in wanted:
        if os.path.lexists(place):
            continue
        step = "Next: choose another folder with link=, and run the same line again."
        with while_doing(f"linking {place.name}", f"The data is ready in {path}.", step):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                place.symlink_to(path, target_is_directory=path.is_dir())
            except OSError as error:
                if error.errno in (errno.EROFS, errno.ENOSPC, errno.EACCES):
                    raise OSError(error.errno, error.strerror, str(place)) from error  # it names what is linked
                _copy_whole(path, place)
    return [place for place, _ in wanted], left_out


def _is_code(path: Path, name: str) -> bool:
    """Tell whether Python, or its start, would take what is called `name` for a module, a package or a setting."""
    if name.startswith(".") or name.lower() in ("datastage", "pyvenv.cfg", "__pycache__"):
        return True
    if not path.is_dir():
        return name.lower().endswith(_CODE_SUFFIXES)
    if name.lower().endswith((".dist-info", ".egg-info", ".egg")):
        return True
    if not name.isidentifier():
        return False
    # A folder is importable even without an __init__; it takes the place of a module of its name that comes later on
    # the path only if it has one, or if there is no such module. Modules below it are code all the same.
    return any(child.startswith("__init__.") or child.lower().endswith(_CODE_SUFFIXES) for child in os.listdir(path))


def _copy_whole(path: Path, place: Path) -> None:
    unfinished = beside(place)
    try:
        if path.is_dir():
            shutil.copytree(path, unfinished, symlinks=True)
        else:
            shutil.copyfile(path, unfinished)
        os.rename(unfinished, place)
    except BaseException:
        remove_tree(unfinished)
        raise
