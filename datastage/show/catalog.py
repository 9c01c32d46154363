"""The catalog on the screen: datasets by task and size, and what was seen at their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datastage import datasets
from datastage.course import Checked
from datastage.entry import ArchiveEntry, Entry
from datastage.errors import SpecError
from datastage.progress import human_bytes


def chosen(
    entries: Sequence[Entry | ArchiveEntry], names: Sequence[str], task: str | None
) -> list[Entry | ArchiveEntry]:
    """Return the entries of these names, or all; and of this task, or any. `SpecError` for what there is not."""
    tasks = sorted({_task(entry) for entry in entries})
    if task not in (None, *tasks):
        raise SpecError(f"No dataset is for {task!r}.", f"Next: --task with one of {', '.join(tasks)}.")
    wanted = [datasets.get(name) for name in names] or entries
    return [entry for entry in wanted if task in (None, _task(entry))]


def facts(entry: Entry | ArchiveEntry) -> dict[str, Any]:
    """Return what is listed of an entry, as plain values."""
    names = ("name", "title", "licence", "citation", "homepage")
    mirror = getattr(entry, "mirror", True)
    return {n: getattr(entry, n) for n in names} | {"task": _task(entry), "bytes": _size(entry), "mirror": mirror}


def _task(entry: Entry | ArchiveEntry) -> str:
    if isinstance(entry, ArchiveEntry):
        return entry.task
    return "table" if entry.dtype == "float32" else "classification"


def _size(entry: Entry | ArchiveEntry) -> int | None:
    return entry.download_bytes or entry.n_bytes or None


def lines(entries: Sequence[Entry | ArchiveEntry]) -> list[str]:
    """Return a block of lines for each task, the small datasets first."""
    said: list[str] = []
    for task in dict.fromkeys(map(_task, entries)):
        said += ["", f"{task}:"] if said else [f"{task}:"]
        for entry in sorted((e for e in entries if _task(e) == task), key=lambda e: _size(e) or 1 << 60):
            size = _size(entry)
            said.append(f"  {entry.name:22} {human_bytes(size) if size else '?':>8}   {entry.title}; {entry.licence}")
    return said


def checked_lines(checked: Sequence[Checked], none_left: Sequence[str]) -> list[str]:
    """Return a line for each place, what is wrong below it, and last the files that no place gives."""
    said = []
    for each in checked:
        said.append(f"{'no' if each.trouble else 'ok'}  {each.name:22} {each.place}")
        said += [f"      {text}" for text in ([each.trouble] if each.trouble else each.notes)]
    return said + [f"No place is left for {name}." for name in none_left]
