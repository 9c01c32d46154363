"""What given data is: one file a layout, one table of them, and the reading that they give.

Here: `read`, the table `LAYOUTS`, the frozen values `Reading` and `Split`, and which samples are set aside (`parted`).
Not here: where data comes from (`sources`), the bytes of archives (`archives`), pixels and batches (`batches`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datastage.entry import ArchiveEntry, Entry
from datastage.errors import SpecError
from datastage.layouts import arrays, asked, beside, files, folders, parting, tasks, tree, words
from datastage.layouts import of_entry as by_entry
from datastage.layouts.aside import parted
from datastage.layouts.columns import Table
from datastage.layouts.labels import ordered_classes, untrained
from datastage.layouts.reading import Reading, Split, labelled
from datastage.layouts.shape import Shape, grow, key, shape_of, without_copies
from datastage.layouts.tree import Tree, ZipFiles
from datastage.progress import counted, some

__all__ = [
    "LAYOUTS", "Reading", "Split", "Tree", "ZipFiles", "has_pictures", "labelled", "of_entry", "parted", "read",
]  # fmt: skip


def _class_folders(tree: Tree, shape: Shape, tables: Sequence[Table], classes: Sequence[str] | None) -> Reading | None:
    found = folders.read(tree, shape, classes)
    if found is None:
        return None
    tasks.refuse_sounds(tree, shape)
    if not classes:
        tasks.refuse_formats(tree, found.classes)
    return parting.twice(parting.with_tables(found, tree, shape, tables, agree=not classes), tree)


LAYOUTS: tuple[tuple[str, Callable[[Tree, Shape, list[Table], Sequence[str] | None], Reading | None]], ...] = (
    ("class folders", _class_folders),
    ("masks, boxes, domains", lambda tree, shape, tables, classes: tasks.refuse_others(tree, shape)),
    ("a table beside pictures", lambda tree, shape, tables, classes: beside.read(tree, shape, tables)),
    ("labels in file names", lambda tree, shape, tables, classes: folders.by_name(shape)),
)
"""How pictures may lie, in the order in which they are asked: the first that knows gives the reading, or the error.

Each sees the tree, the folders of pictures by part, the tables, and the classes that were asked for.
"""


def read(
    data: str | os.PathLike[str] | Tree,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    val: object = None,
    test: object = None,
) -> Reading:
    """Tell what given data is, from names and heads of tables; no picture is opened. The rest is as for `loaders`.

    `val` and `test` may name a folder that holds that part; with ``test=0`` no test part is wanted. Shares are for
    `parted`. `SpecError` if two readings fit, or none: it names both, and what each would give.
    """
    return _as_asked(_read(data, labels, classes, val, test), classes, val, test)


def _as_asked(found: Reading, classes: Sequence[str] | None, val: object, test: object) -> Reading:
    splits = {part: split for part, split in found.splits.items() if part not in _unwanted(val, test)}
    return untrained(ordered_classes(replace(found, splits=splits), classes))


def _unwanted(val: object, test: object) -> frozenset[str]:
    return frozenset(part for part, share in (("val", val), ("test", test)) if share is not None and share == 0)


def _read(
    data: str | os.PathLike[str] | Tree, labels: Any, classes: Sequence[str] | None, val: object, test: object
) -> Reading:
    """Do what `read` does, but that the classes are all there are, in an order of their own."""
    alone = None if isinstance(data, Tree) or not files.is_alone(Path(data)) else Path(data)
    listed = tree.of_file(alone) if alone else data if isinstance(data, Tree) else tree.of(data)
    found = _read_of(alone, listed, labels, classes, val, test)
    lost = (f"{kind}: {n:,}" for kind, n in sorted(listed.no_files.items()))
    return replace(found, left_out=(*found.left_out, *lost))


def _read_of(
    alone: Path | None, listed: Tree, labels: Any, classes: Sequence[str] | None, val: object, test: object
) -> Reading:
    parts = {part: folder for part, folder in (("val", val), ("test", test)) if isinstance(folder, str)}
    for part, name in parts.items():
        if not any(key(name) in (key(path), key(path.rpartition("/")[2])) for path in listed.folders):
            raise SpecError(
                f"There is no folder {name!r} in {listed.where}, which {part}= names.", "Next: look at its name."
            )
    if alone is not None:
        return files.read(alone, labels, _unwanted(val, test))
    if (known := files.known_folder(listed, labels)) is not None:
        return known
    root = grow(listed)
    wanted, unwanted = frozenset(classes or ()), _unwanted(val, test)
    if labels is not None:
        shape = shape_of(listed, root, parts, wanted, unwanted, told=True)
        if shape.n_pictures or shape.masks:
            return asked.read(listed, shape, labels)
        return files.in_folder(listed, labels, unwanted)
    said = without_copies(root, listed, frozenset(map(key, parts.values())))
    shape = shape_of(listed, root, parts, wanted, unwanted)
    shape.left_out += said
    if not (shape.n_pictures or shape.masks) or not has_pictures(listed):
        return files.in_folder(listed, None, unwanted)
    tables = beside.tables_of(listed)
    for _, layout in LAYOUTS:
        if (found := layout(listed, shape, tables, classes)) is not None:
            packed = sorted(path for path in listed.files() if words.suffix_of(path) in tasks.ARCHIVES)
            aside = [f"{counted(len(packed), 'archive')} beside the pictures: {some(packed)}"] if packed else []
            return replace(found, left_out=(*found.left_out, *aside))
    raise tasks.unlabelled(listed, shape)


def of_entry(
    entry: Entry | ArchiveEntry | None,
    path: Path,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    val: object = None,
    test: object = None,
) -> Reading:
    """Tell what is staged, by what the catalog knows of it; None is what has no entry. The rest is as for `read`."""
    if isinstance(entry, Entry):
        return _as_asked(arrays.of_entry(entry, path, entry.title, ""), classes, val, test)
    if entry is None or labels is not None:
        return read(path, labels=labels, classes=classes, val=val, test=test)
    found = by_entry.own_form(entry, path)
    if found is None:
        found = by_entry.named(entry, _read(path, entry.labels or None, classes, val, test))
    return _as_asked(found, [entry.names.get(name, name) for name in classes or ()], val, test)


def has_pictures(listed: Tree) -> bool:
    """Whether pictures are what the data is, and not a few beside tables or other files."""
    n = sum(len(folder.pictures) for folder in listed.folders.values())
    n_files = sum(len(folder.others) for folder in listed.folders.values())
    return bool(n) and 50 * n >= n_files and not files.holds_more(listed, n)
