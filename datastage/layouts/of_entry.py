"""The reading of a dataset of the catalog: what its entry says of labels, parts and names comes before any guess."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from datastage.entry import ArchiveEntry, Arrays, one_of
from datastage.errors import SpecError, as_published
from datastage.layouts.arrays import checked
from datastage.layouts.beside import FEED
from datastage.layouts.reading import Reading, Split, ordered

_WHOLE = frozenset(("detection", "segmentation", "recommendation"))
"""Tasks for which datastage stages and another library feeds; of texts and sounds `layouts` says what opens them."""


def own_form(entry: ArchiveEntry, path: Path) -> Reading | None:
    """Read a form of the publisher's own: arrays, or lists of pictures; None if `layouts` can tell by itself."""
    if entry.task in _WHOLE:
        raise SpecError(
            f"{entry.name} is for {entry.task}, and loaders() feeds pictures and numbers with a label each. It is "
            f"staged whole: {path}",
            *FEED,
        )
    if entry.read is not None:
        return _of_arrays(entry, path)
    return _of_lists(entry, path) if entry.lists is not None else None


def _of_arrays(entry: ArchiveEntry, path: Path) -> Reading:
    splits = {part: Split((), (), n) for part, n in entry.splits.items()}
    task = "regression" if entry.task == "regression" else "classification"

    def arrays(split: str) -> Arrays:
        one_of(splits, split)
        assert entry.read is not None
        with as_published(entry.title, path):
            return checked(entry.title, *entry.read(path, split))

    rule = "the last column" if task == "regression" else ""
    return Reading(entry.title, task, "arrays", entry.classes, ordered(splits), rule, arrays=arrays)


def _of_lists(entry: ArchiveEntry, path: Path) -> Reading:
    assert entry.lists is not None
    with as_published(entry.title, path):
        names, parts = entry.lists(path)
        number: dict[Any, Any] = {name: at for at, name in enumerate(names)}
        splits, lost = {}, 0
        for part, rows in parts.items():
            there = {name: label for name, label in rows.items() if (path / name).is_file()}
            lost += len(rows) - len(there)
            labels = [label if isinstance(label, list) else number[label] for label in there.values()]
            splits[part] = Split(list(there), labels, len(there))
    left_out = (f"{lost:,} pictures of the lists that are not there",) if lost else ()
    task = "multi-label" if entry.task == "multi-label" else "classification"
    return Reading(
        entry.title, task, "pictures", names, ordered(splits), "the lists of the publisher", left_out=left_out
    )


def named(entry: ArchiveEntry, reading: Reading) -> Reading:
    """Give classes that the files call by codes or numbers, or not at all, the names that the entry knows."""
    classes = tuple(entry.names.get(name, name) for name in reading.classes)
    task = "multi-label" if entry.task == "multi-label" else reading.task
    return replace(reading, classes=classes or entry.classes, task=task)
