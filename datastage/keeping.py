"""Keep what was fetched for the next session: the file as it came, whole or not at all, where ``save_to`` says.

A small index beside the kept files, ``.datastage-kept.json``, says which request each answers and with which sha256;
the next session takes the file only if it still has that digest.

Here: finding and writing kept files. Not here: when (`contents`, `staging`).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import threading
import time
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
_ABANDONED_S = 3600.0


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
    if save_to.scheme in ("s3", "gs"):
        client = "gcsfuse" if save_to.scheme == "gs" else "s3fs"
        raise SpecError(
            f"{save_to}: a bucket is not written to by datastage itself.",
            f"One that is mounted is a folder like any other:  {client} {save_to.parts[0]} /mnt/bucket",
            "Next: save_to='/mnt/bucket/datasets'; or keep it in Drive: save_to='drive:datasets'.",
        )
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

    A file of that name which was not kept for the same request is left alone: ours gets another name then.

    Raises
    ------
    StorageError
        If it cannot be written; then nothing is left of it.
    """
    target = folder / place.safe_file_name(name)
    # Two that keep at once must not write into each other's.
    unfinished = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
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
        index = _index(folder)
        if not _may_replace(target, index, key, size, digest.hexdigest()):
            target = target.with_name(place.safe_file_name(f"{key[:8]}-{name}"))
        os.replace(unfinished, target)
        entry = {"file": target.name, "size": size, "sha256": digest.hexdigest()}
        _write_index(folder, {**index, key: entry})
    except OSError as error:
        raise StorageError.of(error, f"keeping {target.name} in {folder}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return target


def _remove_abandoned(target: Path) -> None:
    """Remove what killed sessions left; one that is at work writes often."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()


def _may_replace(target: Path, index: dict[str, Any], key: str, size: int, sha256: str) -> bool:
    """Tell whether what is at `target` was kept for the same request, or is the same file."""
    try:
        if target.stat().st_size == size:
            with FileReader(target) as reader:
                digest = hashlib.sha256()
                for piece in reader.stream(0):
                    digest.update(piece)
            if digest.hexdigest() == sha256:
                return True
    except FileNotFoundError:
        return True
    entry = index.get(key)
    return isinstance(entry, dict) and entry.get("file") == target.name


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
