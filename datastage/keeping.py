"""Keep what was fetched for the next session: the file as it came, whole or not at all, where ``save_to`` says.

A small index beside the kept files, ``.datastage-kept.json``, says which request each answers and with which sha256;
the next session takes the file only if it still has that digest.

Here: finding and writing kept files. Not here: when (`contents`, `staging`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastage import place
from datastage.errors import SpecError, StorageError
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader
from datastage.runtime import Runtime
from datastage.sources import drive
from datastage.spec import Spec

INDEX = ".datastage-kept.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that an earlier session kept."""

    path: Path
    sha256: str


def folder_of(save_to: Spec, here: Runtime, reporter: Reporter = SILENT) -> Path:
    """Return the folder that `save_to` names; it need not exist yet. Drive is connected for a ``drive:``.

    Raises
    ------
    SpecError
        If it is no place that files can be written to.
    UnavailableError
        If Drive is not connected, and cannot be from here.
    """
    if save_to.scheme == "drive":
        return drive.to_write(save_to, here, reporter)
    if save_to.scheme in ("file", "relative"):
        return here.cwd / Path(save_to.value).expanduser()
    raise SpecError(
        f"{save_to} is no place to keep files in.",
        "Next: save_to='drive:datasets', or a folder such as save_to='/kaggle/working/data'.",
    )


def find(folder: Path, key: str) -> Kept | None:
    """Return the file that was kept for the request of this key, if it is there."""
    entry = _index(folder).get(key)
    if not isinstance(entry, dict):
        return None
    path = folder / place.safe_file_name(str(entry.get("file", "")))
    with contextlib.suppress(OSError):
        if path.stat().st_size == entry.get("size"):
            return Kept(path, str(entry.get("sha256")))
    return None


def keep(path: Path, folder: Path, key: str, *, name: str, reporter: Reporter = SILENT) -> Path:
    """Copy the file `path` into `folder` under `name`, and note which request it answers.

    Raises
    ------
    StorageError
        If it cannot be written; then nothing is left of it.
    """
    target = folder / place.safe_file_name(name)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with FileReader(path) as reader, unfinished.open("wb") as out:
            reporter.phase(f"keeping {target.name}", reader.size)
            for piece in reader.stream(0):
                out.write(piece)
                digest.update(piece)
                size += len(piece)
                reporter.advance(len(piece))
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, target)
        entry = {"file": target.name, "size": size, "sha256": digest.hexdigest()}
        _write_index(folder, {**_index(folder), key: entry})
    except OSError as error:
        raise StorageError.of(error, f"keeping {target.name} in {folder}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return target


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    unfinished = folder / (INDEX + "~")
    unfinished.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / INDEX)
