"""What lists and tables add to class folders: the official parts, and the labels of a part that lies flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.beside import Fit, Index, fits_of, not_told
from datastage.layouts.columns import Table
from datastage.layouts.folders import are_ids
from datastage.layouts.labels import as_name
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH, Shape, key
from datastage.layouts.tree import Tree
from datastage.progress import counted, some

_LOOKED_AT = 200
_SURELY = 0.9  # of the pictures are named by a table that may be of something else
_LABEL_WORDS = frozenset(("class", "label", "target", "category", "species"))


def twice(reading: Reading, tree: Tree) -> Reading:
    """Say how many pictures of another part are, by name and size, those of the part to learn from."""
    train = reading.splits.get("train")
    said = []
    for part in ("val", "test"):
        other = reading.splits.get(part)
        if other is None or train is None:
            continue
        last = {path.rpartition("/")[2]: path for path in train.names}
        both = [(last[name], path) for path in other.names if (name := path.rpartition("/")[2]) in last]
        looked = both[:: max(1, len(both) // _LOOKED_AT)]
        same = sum(tree.size(one) == tree.size(two) for one, two in looked)
        if same > 1 and 2 * same > len(looked):
            n = same if len(looked) == len(both) else same * len(both) // len(looked)
            said.append(f"Twice     about {n:,} pictures of {part} have the name and size of one of train")
    return replace(reading, said=(*reading.said, *said)) if said else reading


def with_tables(reading: Reading, tree: Tree, shape: Shape, tables: Sequence[Table], agree: bool = True) -> Reading:
    """Add to class folders what tables and lists beside them say; labels need not `agree` where classes are given."""
    if not tables:
        return reading
    train = reading.splits["train"]
    index = Index(train.names)
    if agree:
        _check_labels(reading, fits_of(tables, index), index, tree)
    if "predict" in reading.splits:
        reading = _flat_parts(reading, shape, tables)
    if set(reading.splits) <= {"train", "predict"}:
        reading = _official(reading, tables, index)
    return reading


def _check_labels(reading: Reading, fits: Sequence[Fit], index: Index, tree: Tree) -> None:
    train = reading.splits["train"]
    assert train.labels is not None
    label = {name: reading.classes[number] for name, number in zip(train.names, train.labels)}  # type: ignore[index]
    numbered = are_ids(set(reading.classes))
    for fit in fits:
        choice = fit.choice
        told = choice.label and choice.task in ("classification", "multi-label", "one-hot")
        if fit.table.is_submission or not (told or (numbered and (choice.label or choice.candidates))):
            continue
        others = [name for name in fit.table.header if name != fit.column]
        rows = [(label[path], values) for path, values in fit.rows(index, others) if path is not None]
        if len(rows) < len(label) / 2:
            continue
        for at in range(len(others)):
            pairs = {(name, values[at]) for name, values in rows}
            alike = len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
            # Of one picture a class any column does that.
            if alike and (len(rows) > len(pairs) or all(a == b for a, b in pairs)):
                return
        if not choice.label:
            raise not_told(tree, [fit])
        column = choice.label[0] if len(choice.label) == 1 else f"{len(choice.label)} columns"
        asked = f"{fit.table.name}:{column}" if len(choice.label) == 1 else fit.table.name
        raise SpecError(
            f"In {tree.where} the folders and {fit.table.name} give the pictures other labels: the folders "
            f"{len(reading.classes):,} classes ({some(list(reading.classes))}), the table those in "
            f"{column} ({some(choice.label)}).",
            f'{SAY_WHICH} datastage.loaders(path, labels="{asked}", batch_size=64), or the folders: '
            "labels=lambda name: name.split('/')[-2]",
        )


def _flat_parts(reading: Reading, shape: Shape, tables: Sequence[Table]) -> Reading:
    """Give labels to a part whose pictures lie in no class folders, where a table names each and its class."""
    number = {key(name): at for at, name in enumerate(reading.classes)}
    number |= {str(int(name)): at for name, at in number.items() if name.isdecimal()}  # 00016 is 16
    splits = dict(reading.splits)
    left = set(splits["predict"].names)
    for part in ("val", "test"):
        names = sorted(left & shape.paths(part).keys())
        if not names or part in splits:
            continue
        index = Index(names)
        for fit in fits_of(tables, index):
            found = _labels_of(fit, index, number)
            if len(found) == len(names) and not fit.table.is_submission:
                seen = f"{some(shape.named(part))} by {fit.table.last}"
                splits[part] = Split(names, [found[name] for name in names], len(names), seen)
                left -= found.keys()
                break
    rest = [name for name in splits["predict"].names if name in left]
    if len(rest) == len(splits["predict"].names):
        return reading
    del splits["predict"]
    if rest:
        tops = sorted({name.rpartition("/")[0] for name in rest})
        splits["predict"] = Split(rest, None, len(rest), some(tops))
    return replace(reading, splits=ordered(splits))


def _labels_of(fit: Fit, index: Index, number: dict[str, int]) -> dict[str, int]:
    """Return the class of each picture, by the column whose values are classes; one of edges may look like numbers."""
    fitting = [
        name
        for name in fit.table.header
        if name != fit.column and all(key(as_name(value)) in number for value in fit.table.sample(name))
    ]
    called = [name for name in fitting if _LABEL_WORDS & set(words.words_of(name))]
    fitting = called if len(fitting) > 1 else fitting
    if len(fitting) != 1:
        return {}
    rows = ((path, key(as_name(value))) for path, (value,) in fit.rows(index, fitting))
    return {path: number[name] for path, name in rows if path is not None and name in number}


def _official(reading: Reading, tables: Sequence[Table], index: Index) -> Reading:
    """Take the official parts from lists of names, ``meta/train.txt``; none where several lists say one part."""
    where, said = _by_number(tables, index), "the lists that came with the data say"
    for headed, most in ((False, 0.5), (True, _SURELY)):
        own = [table for table in tables if table.has_header == headed and not table.is_submission]
        where = where or _by_lists(own, index, most)
    if not where:
        where, said = _by_column(tables, index)
    train = reading.splits["train"]
    if not where or "train" not in where.values() or len(set(where.values())) < 2:
        return reading
    rows: dict[str, list[int]] = {}
    for at, name in enumerate(train.names):
        if name in where:
            rows.setdefault(where[name], []).append(at)
    splits = {part: replace(train.rows(at), seen="") for part, at in rows.items()}
    n = len(train.names) - sum(len(part) for part in splits.values())
    left_out = (*reading.left_out, *([f"{counted(n, 'picture')} of no part that these name"] if n else []))
    predict = {"predict": reading.splits["predict"]} if "predict" in reading.splits else {}
    every = ordered({**splits, **predict})
    return replace(reading, splits=every, left_out=left_out, said=(*reading.said, f"Parts     as {said}"))


def _by_lists(tables: Sequence[Table], index: Index, most: float) -> dict[str, str]:
    """Return the part of each picture by the names of tables that name so much of all."""
    lists: dict[str, list[Fit]] = {}
    for fit in fits_of(tables, index):
        if (part := fit.table.part) in ("train", "val", "test"):
            lists.setdefault(part, []).append(fit)
    if any(len(fits) > 1 for fits in lists.values()):
        return {}
    where: dict[str, str] = {}
    for part, (fit,) in lists.items():
        for path, _ in fit.rows(index):
            if path is not None and where.setdefault(path, part) != part:
                return {}  # one picture in two parts: these lists are of something else
    return where if len(where) >= most * index.n else {}


def _by_column(tables: Sequence[Table], index: Index) -> tuple[dict[str, str], str]:
    """Return the part of each picture by a table's column of parts, and which column that is.

    None by one that does not name nearly all, nor by numbers or truths that leave less than half to train on: they may
    say something else, as ``is_valid`` does that a picture is.
    """
    where: dict[str, str] = {}
    said = ""
    for fit in fits_of([table for table in tables if not table.is_submission], index):
        if not (part := fit.choice.part):
            continue
        told = {path: one or "" for path, _, one in fit.parted(index, (), alone=True, has_parts=False) if path}
        named, worded = len(told), any(map(words.split_of, fit.table.whole(part)))
        told = {path: one for path, one in told.items() if one in ("train", "val", "test")}
        n_train = sum(one == "train" for one in told.values())
        if named < _SURELY * index.n or 2 * len(told) < index.n or not (worded or 2 * n_train >= len(told)):
            continue
        if any(where.get(path, one) != one for path, one in told.items()):
            return {}, ""
        where, said = where or told, said or f'column "{part}" of {fit.table.last} says'
    return where, said


def _by_number(tables: Sequence[Table], index: Index) -> dict[str, str]:
    """Two lists by number: ``images.txt`` names the pictures, ``train_test_split.txt`` says 1 for train, else 0."""
    parts = next((table for table in tables if words.plain(table.last.rpartition(".")[0]) == "traintestsplit"), None)
    names = next((fit for fit in fits_of(tables, index) if fit.table.last.startswith("images.")), None)
    if parts is None or names is None or len(parts.header) != 2 or len(names.table.header) != 2:
        return {}
    if names.column == names.table.header[0]:
        return {}
    by_number = dict(zip(*parts.columns(*parts.header)))
    found = {path: by_number.get(one) for path, (one,) in names.rows(index, names.table.header[:1])}
    said = {"0": "test", "1": "train"}
    return {path: said[one] for path, one in found.items() if path is not None and one in said}
