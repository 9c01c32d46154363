"""Data without pictures of its own: one file of a kind that is known, or a folder of such."""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from datastage.errors import IntegrityError, SpecError
from datastage.layouts import alone, arrays, parquet, scientific, tasks, words
from datastage.layouts.beside import Index, fits_of
from datastage.layouts.columns import Table, open_table
from datastage.layouts.reading import Reading
from datastage.layouts.shape import SAY_WHICH
from datastage.layouts.tree import Tree, of_file
from datastage.progress import some

TABLES = words.TABLES | {".data"}
_ARRAYS = frozenset((".npz", ".npy", ".h5", ".hdf5", ".mat", ".parquet"))
_NAMED = frozenset(
    (".json", ".pkl", ".pickle", ".p", ".pt", ".pth", ".xlsx", ".xls", ".txt", ".arrow", ".feather", ".tfrecord")
)


def is_alone(path: Path) -> bool:
    """Whether this is a file that is read by itself: others may be archives of files."""
    known = TABLES | _ARRAYS | _NAMED | words.SOUNDS | words.FILMS | words.PICTURES
    return path.suffix.lower() in known and path.is_file()


def read(path: Path, labels: Any, unwanted: Collection[str] = ()) -> Reading:
    """Tell what one file is; `SpecError` says what opens it if it is of a kind that is not read here."""
    suffix = path.suffix.lower()
    lone = of_file(path)
    if suffix in TABLES:
        table = open_table(lone, path.name)
        if table is None or not table.head:
            if table is None and path.stat().st_size:
                raise IntegrityError(f"{path.name} is not a table.", "Next: save it again as CSV UTF-8.")
            what = "is empty" if table is None else "has a header and no rows"
            raise IntegrityError(f"{path.name} {what}.", arrays.LOOK)
        return alone.read(lone, [table], labels, unwanted)
    if suffix in _ARRAYS:
        return _of_arrays([path], labels, lone, unwanted)
    if suffix in words.PICTURES:
        raise SpecError(f"{path.name} is one picture.", f"Next: the folder around it. {tasks.NEEDED}")
    raise tasks.no_pictures(lone)


def _of_arrays(paths: Sequence[Path], labels: Any, tree: Tree, unwanted: Collection[str]) -> Reading:
    suffix = paths[0].suffix.lower()
    asked = labels if isinstance(labels, str) else None
    if labels is not None and asked is None:
        raise SpecError(f"labels={labels!r} does not fit arrays.", "Next: the name of the array or column of labels.")
    if suffix == ".npz" and len(paths) == 1:
        return arrays.npz(paths[0], asked)
    if suffix == ".npy" and asked is not None and len(paths) > 1:
        return arrays.npy(paths, asked)
    if suffix in (".h5", ".hdf5"):
        return scientific.hdf5(paths, asked)
    if suffix == ".mat" and len(paths) == 1:
        return scientific.matlab(paths[0], asked)
    if suffix == ".parquet":
        root = Path(tree.where) if tree.where and Path(tree.where).is_dir() else paths[0].parent
        return parquet.read(paths, root, asked, unwanted)
    raise tasks.no_pictures(tree)


def known_folder(tree: Tree, labels: Any) -> Reading | None:
    """Tell a folder of CIFAR's batches or of idx files; None for all others.

    `SpecError` if it holds several sets, unless `labels` names a file of the one that is meant.
    """
    root = Path(tree.where)
    names = sorted(path for path in tree.files() if path.endswith(("ubyte", "test_batch", "train")))
    if not names or not root.is_dir() or not (labels is None or isinstance(labels, str)):
        return None
    root = root.absolute()
    found = arrays.idx_sets([(root / name).as_posix() for name in names if name.endswith("ubyte")])
    for above in dict.fromkeys((root / name).parent.parent for name in names if not name.endswith("ubyte")):
        for files, reading in arrays.cifar_batches(above).items():
            if (above / files[0]).is_relative_to(root):
                found[tuple((above / file).as_posix() for file in files)] = reading
    sets: dict[tuple[str, ...], Reading] = {}
    for files, reading in found.items():
        if labels is not None and (root / labels).as_posix() not in files:
            continue
        if not any(_same_files(files, other) for other in sets):
            sets[files] = reading
    if len(sets) > 1:
        raise _several_sets(tree, root, list(sets))
    return next((reading for reading in sets.values() if "train" in reading.splits), None)


def _same_files(one: Sequence[str], two: Sequence[str]) -> bool:
    if len(one) != len(two) or not all(Path(a).is_file() and Path(b).is_file() for a, b in zip(one, two)):
        return False
    return all(filecmp.cmp(a, b, shallow=False) for a, b in zip(one, two))


def _several_sets(tree: Tree, root: Path, sets: Sequence[Sequence[str]]) -> SpecError:
    folders = [Path(files[0]).parent for files in sets]
    apart = [sum(one.is_relative_to(folder) for one in folders) == 1 and folder != root for folder in folders]
    seen = [folder if own else files[1] for files, folder, own in zip(sets, folders, apart)]
    told = [Path(os.path.relpath(one, root)).as_posix() for one in seen]
    line = f"path / {told[0]!r}" if apart[0] else f'path, labels="{told[0]}"'
    return SpecError(
        f"{tree.where} holds {len(sets)} datasets, and which is meant, only you know: {some(told, 8)}.",
        f"{SAY_WHICH} datastage.loaders({line}, batch_size=64)",
    )


def holds_more(tree: Tree, n_pictures: int) -> bool:
    """Whether a few pictures lie beside what is the data: ``american_sign_language.png`` beside tables of pixels."""
    kinds = Counter(words.suffix_of(path) for path in tree.files())
    if n_pictures > 20 or not kinds:
        return False
    if sum(kinds[one] for one in words.SOUNDS | words.FILMS) > n_pictures:
        return True
    pictures = [[tree.path_of(path, name) for name in folder.pictures] for path, folder in tree.folders.items()]
    lone, *others = filter(None, pictures)
    if n_pictures > 4 or others or not kinds.keys() & (TABLES | _ARRAYS):
        return False
    return not fits_of(_tables(tree), Index(lone))


def _tables(tree: Tree) -> list[Table]:
    return [table for path in tree.files() if words.suffix_of(path) in TABLES and (table := open_table(tree, path))]


def _about_others(tree: Tree, tables: Sequence[Table]) -> bool:
    """Whether the tables are about files that are not read here: pictures of a hospital, sounds, zips."""
    others = [path for path in tree.files() if words.suffix_of(path) not in TABLES]
    zips = sum(tree.size(path) for path in others if words.suffix_of(path) in tasks.ARCHIVES)
    if zips > sum(tree.size(table.name) for table in tables):
        return True
    index = Index(path for path in others if words.suffix_of(path) in tasks.OPENED_WITH)
    return bool(index.n and fits_of(tables, index))


def in_folder(tree: Tree, labels: Any, unwanted: Collection[str] = ()) -> Reading:
    """Tell what a folder without pictures is: tables, arrays, or what is named and not read."""
    kinds = Counter(words.suffix_of(path) for path in tree.files())
    sounds = sum(kinds[one] for one in words.SOUNDS | words.FILMS)
    texts = kinds[".txt"] if kinds[".txt"] > 8 and not any(kinds[one] for one in TABLES) else 0
    if sounds or texts or not Path(tree.where).exists():
        raise tasks.no_pictures(tree)
    tables = [table for table in _tables(tree) if table.head]
    found = [Path(tree.where, path) for path in tree.files() if words.suffix_of(path) in _ARRAYS]
    if isinstance(labels, str):
        name = labels.partition(":")[0]
        chosen = [path for path in found if path.name == name or path.as_posix().endswith("/" + name)]
        if chosen and chosen[0].suffix.lower() in (".h5", ".hdf5") and words.split_of(chosen[0].stem):
            own = words.split_of(chosen[0].stem)  # its other parts too, since a test part is not trained on
            rest = arrays.part_of(chosen[0].relative_to(tree.where).as_posix())[1]
            beside = [one for one in found if arrays.part_of(one.relative_to(tree.where).as_posix())[1] == rest]
            chosen += [one for one in beside if (words.split_of(one.stem) or "train") != own]
        if chosen and chosen[0].suffix.lower() != ".npy":
            return _of_arrays(chosen, labels, tree, unwanted)
    if tables and labels is None and _about_others(tree, tables):
        raise tasks.no_pictures(tree)
    if any(not table.is_submission for table in tables):
        return alone.read(tree, tables, labels, unwanted)
    if found and len({path.suffix.lower() for path in found}) == 1:
        return _of_arrays(found, labels, tree, unwanted)
    raise tasks.no_pictures(tree)
