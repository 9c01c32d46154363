"""Tables alone: which one is trained on, the rows of each part, and the numbers of its columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datastage.entry import one_of
from datastage.errors import SpecError
from datastage.layouts import numbers
from datastage.layouts.asked import named_table
from datastage.layouts.beside import FEED
from datastage.layouts.columns import Table, is_number, kind_of
from datastage.layouts.label_column import (
    ONE_COLUMN,
    Choice,
    choose,
    column_of,
    column_of_all,
    is_of_parts,
    is_of_the_row,
    part_column,
    parts_of,
    refuse_commas,
    rows_by_part,
    side_of,
    task_of,
    unread_parts,
)
from datastage.layouts.labels import as_name, classes_and_labels, number_of, stand_ins
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH
from datastage.layouts.tree import Tree
from datastage.layouts.words import plain
from datastage.progress import some

_MOST_DIGITS = 18
"""Whole numbers of more are none that numpy holds."""
_COMPARED = 16
"""With so many tables of one name and size another one is compared, each time byte for byte."""


def without_copies(tree: Tree, tables: Sequence[Table]) -> tuple[list[Table], list[str]]:
    """Leave out a table that lies again in a folder, of the same name and bytes; say so."""
    kept: list[Table] = []
    alike: dict[tuple[str, int], list[Table]] = {}
    said = []
    for table in sorted(tables, key=lambda table: table.name.count("/")):
        named = alike.setdefault((table.last.lower(), tree.size(table.name)), [])
        first = next((one for one in named[:_COMPARED] if tree.same(one.name, table.name)), None)
        if first is None:
            kept.append(table)
            named.append(table)
        else:
            said.append(f"{table.name}: the same as {first.name}")
    return kept, said


def read(tree: Tree, tables: Sequence[Table], labels: Any, unwanted: Collection[str] = ()) -> Reading:
    """Tell which table is learnt from, and which column is its label; `SpecError` if several could be meant."""
    tables, left_out = without_copies(tree, tables)
    submission = next((table for table in tables if table.is_submission), None)
    rest = [table for table in tables if not table.is_submission]
    if not rest:
        raise SpecError(
            f"{tree.where} holds a sample of a submission and no table to learn from.", "Next: stage the data itself."
        )
    by_part: dict[str, list[Table]] = {}
    for table in rest:
        by_part.setdefault(table.part or "", []).append(table)
    column = ""
    if labels is not None:
        first, column = named_table(rest, labels if isinstance(labels, str) else "", tree.where)
    elif len(rest) == 1:
        first = rest[0]
    elif len(by_part.get("train", [])) == 1:
        first = by_part["train"][0]
    else:
        raise _several(tree, rest)
    lone = {part: by_part[part][0] for part in ("val", "test") if len(by_part.get(part, ())) == 1}
    parts = {part: table for part, table in lone.items() if table is not first}
    others = [table for table in rest if table is not first and table not in parts.values()]
    left_out += [f"the table {table.name}" for table in others]
    lacking = [parts["test"]] if "test" in parts else []
    choice = Choice((column,), part=part_column(first, (column,))) if column else choose(first, (), lacking, submission)
    if len(first.header) == 1:
        raise _one_column(first)
    if len(choice.label) != 1:
        raise _which_column(tree, first, choice)
    return _reading(first, choice.label[0], choice.part, parts, left_out, unwanted)


def _several(tree: Tree, tables: Sequence[Table]) -> SpecError:
    told = [f"{table.name} ({some(list(table.header), 6)})" for table in tables[:8]]
    return SpecError(
        f"{tree.where} holds {len(tables)} tables, and which of them is learnt from, only you know:",
        *told,
        f'{SAY_WHICH} datastage.loaders(path, labels="{tables[0].name}:{tables[0].header[-1]}", batch_size=64)',
    )


def _which_column(tree: Tree, table: Table, choice: Choice) -> SpecError:
    told = some([str(column) for column in choice.candidates], 12)
    named = set(column.name for column in choice.candidates)
    rows = [f'"{name}"' for name in table.header if name not in named and any(table.sample(name))]
    signs = {" ": "blanks", ",": "commas", ";": "semicolons", "\t": "tabs"}
    sign = signs.get(table.separator, "they")
    header = "" if table.has_header else f"It has no header, and {sign} part its {len(table.header)} columns. "
    coded = f"It is written in {table.encoding}, not UTF-8. " if table.encoding == "latin-1" else ""
    text = [column.name for column in choice.candidates if column.kind == "text"]
    return SpecError(
        f"{table.name}: no column can be told to be the label (or target). {header}{coded}There are {told}"
        f"{'; and of the rows themselves ' + some(rows, 6) if rows else ''}.",
        f'{SAY_WHICH} datastage.loaders(path, labels="COLUMN", batch_size=64), with one of them; numbers are taken as '
        "they are, words as classes.",
        *((f"{some(text)} holds text, which a Dataset of yours turns into numbers:", *FEED) if text else ()),
    )


@dataclass(slots=True)
class _Rows:
    """A part of the data: its table, the rows that are its own, and their labels."""

    table: Table
    labels: list[Any] | None
    keep: list[int] | None
    n_rows: int

    def rows(self, places: Sequence[int]) -> _Rows:
        """Return those of its rows at these places."""
        keep = places if self.keep is None else [self.keep[at] for at in places]
        labels = self.labels if self.labels is None else [self.labels[at] for at in places]
        return replace(self, labels=labels, keep=list(keep))


def _reading(
    table: Table,
    label: str,
    part: str | None,
    parts: dict[str, Table],
    left_out: list[str],
    unwanted: Collection[str],
) -> Reading:
    for number, row in enumerate(table.head, 1 + table.has_header):
        if len(row) < len(table.header):
            raise numbers.short_row(table, number, row)
    first, *rest = _rows_of(table, label, part, parts, left_out)
    task = _task(label, [str(cell) for cell in first[1].labels or ()])
    rows = {name: one for name, one in _known(first, rest, task, left_out).items() if name not in unwanted}
    said = [] if rows["train"].keep is None else [f'Parts     as column "{part}" of {table.name} says']
    said += unread_parts(table.name, table.header, table.whole, part, (label,))
    features = _features(table, label, part)
    if "predict" in rows:  # what the table to predict has not cannot be learnt from: it follows from the label
        there = {plain(name) for name in rows["predict"].table.header}
        features = [name for name in features if plain(name) in there] or features
    order, splits = _numbered(rows, task, label)
    own = None if rows["train"].keep is None else part
    dropped = [name for name in table.header if name not in (*features, label, own)]
    if dropped:
        left_out.append(f"the columns {some(dropped)}: they name the rows, are empty, or lack in another table")
    return Reading(
        "a table", task, "arrays", tuple(order), ordered(splits), f'column "{label}" of {table.name}',
        left_out=tuple(left_out), said=tuple(said), arrays=partial(_arrays, rows, splits, features),
    )  # fmt: skip


def _rows_of(
    table: Table, label: str, part: str | None, parts: dict[str, Table], left_out: list[str]
) -> list[tuple[str, _Rows]]:
    """Return the rows of each part, train's first: those that a column of the table says, then other tables."""
    cells = table.columns(label)[0]
    where = rows_by_part(part, table.columns(part)[0]) if part is not None else {}
    rows = [("train", _Rows(table, cells, None, len(cells)))]
    if where and len(where["train"]) < len(cells):
        rows = [(name, rows[0][1].rows(where[name])) for name in ("train", "predict", "val", "test") if name in where]
        if lost := len(cells) - sum(map(len, where.values())):
            left_out.append(f'{lost:,} rows of no part that "{part}" names')
    for name, other in parts.items():
        own = other.like(label)
        found = other.columns(own or other.header[0])[0]
        rows.append((name, _Rows(other, [""] * len(found) if own is None else found, None, len(found))))
    return rows


def _known(
    train: tuple[str, _Rows], rest: Sequence[tuple[str, _Rows]], task: str, left_out: list[str]
) -> dict[str, _Rows]:
    """Move rows of other parts whose label stands for none, as -1 of test does, to those to predict."""
    found = dict([train])
    known = set(map(as_name, train[1].labels or ()))
    for name, one in rest:  # of several tables the last stays
        cells = one.labels or []
        gone = stand_ins(cells, known, task == "regression")
        lacks = {at for at, cell in enumerate(cells) if cell in gone}
        if name == "predict" or all(cell == "" or cell in gone for cell in cells):
            lacks = set(range(len(cells)))
        else:
            if name in found:
                n, other = len(found[name].labels or ()), found[name].table.last
                left_out.append(f"{n:,} rows of {other} called {name}: {one.table.last} is that part")
            found[name] = one.rows([at for at in range(len(cells)) if at not in lacks]) if lacks else one
        if lacks or not cells:
            own, before = one.rows(sorted(lacks)), found.get("predict")
            if before is not None and before.table is own.table:
                own.keep = sorted([*(before.keep or ()), *(own.keep or ())])
            elif before is not None:
                left_out.append(f"{len(before.keep or ()):,} rows of {before.table.last} without labels")
            found["predict"] = replace(own, labels=None)
    return found


def _task(label: str, cells: Sequence[str]) -> str:
    column = column_of_all(label, cells)
    refuse_commas(column)
    if column.kind in ("text", "unique", "boxes", "runs", "pixels"):
        told = sorted(set(cells) - {""})[:3]
        raise SpecError(f'The values of "{label}" are not classes ({some(told)}, ...).', *FEED)
    return "regression" if column.n_different > 1 and task_of(column) == "regression" else "classification"


def _numbered(rows: dict[str, _Rows], task: str, label: str) -> tuple[list[str], dict[str, Split]]:
    """Number the classes of the training table; a word that another part alone has is an error."""
    train = rows["train"]
    for part in rows.values():
        empty = [at for at, cell in enumerate(part.labels or ()) if cell == ""]
        if empty:
            at = empty[0] if part.keep is None else part.keep[empty[0]]
            raise SpecError(
                f"{part.table.last}, row {at + 1 + part.table.has_header}: {label} is empty, in {len(empty):,} rows.",
                "Next: take these rows out, for example with pandas: table.dropna(subset=[...]).",
            )
    order, _ = classes_and_labels(dict(enumerate(train.labels or ())), task)
    number = {name: at for at, name in enumerate(order)}
    splits = {}
    for name, part in rows.items():
        if part.labels is None:
            splits[name] = Split((), None, part.n_rows if part.keep is None else len(part.keep), part.table.last)
            continue
        if task == "regression":
            splits[name] = Split((), [number_of(cell) for cell in part.labels], len(part.labels))
            continue
        names = [as_name(cell) for cell in part.labels]
        strange = sorted(set(names) - number.keys())
        if strange:
            raise SpecError(
                f"{part.table.last}: {strange[0]!r} is no class of the training table.",
                f"Next: {name}=0 leaves that part out; or look into the file.",
            )
        splits[name] = Split((), [number[one] for one in names], len(names))
    return order, splits


def _features(table: Table, label: str, part: str | None) -> list[str]:
    """Return the columns to learn from: not those that number or name the rows, nor empty ones."""
    found: list[str] = []
    worded: list[str] = []
    dated: list[str] = []
    for name in table.header:
        column = column_of(table, name)
        kind = column.kind
        if name == label or is_of_parts(name, part) or kind == "empty" or is_of_the_row(column, len(table.head)):
            continue
        if kind == "unique" and name == table.header[0]:
            continue
        is_constant = kind == "constant" and all(is_number(value) for value in table.sample(name) if value)
        if kind in ("int", "float", "pixels", "runs") or is_constant:
            found.append(name)
        else:
            (dated if kind == "date" else worded).append(name)
    if worded or dated:
        raise _worded(table, label, part, [*dated, *worded], "commas" in {column_of(table, one).kind for one in worded})
    if not found:
        raise _one_column(table)
    return found


def _worded(table: Table, label: str, part: str | None, names: Sequence[str], commas: bool) -> SpecError:
    """Say which columns hold words (or decimal `commas`), and how pandas makes numbers of them."""
    shown = [f"{name} ({some(sorted(set(table.sample(name)) - {''})[:3])})" for name in names[:6]]
    says, cells = parts_of(part, table.columns(part)[0]) if part else {}, table.columns(label)[0]
    if part and says and says.keys().isdisjoint(table.sample(part)):
        raise SpecError(f'"{part}" and another column of {table.last} say the parts together.', *ONE_COLUMN)
    key, by = (name if table.has_header or name is None else table.header.index(name) for name in (label, part))
    kind = kind_of(table.sample(label))
    is_long = kind == "int" and max(map(len, cells)) > _MOST_DIGITS
    kind = "words" if is_long else kind
    strays = sorted({cell for cell in cells if cell and kind in ("int", "float") and not is_number(cell)})
    lacks = "" in cells or bool(strays)
    texts = [*([key] if is_long else ()), *([by] if says else ())]
    y = f"table[{key!r}]" + (
        ".factorize()[0]" if kind == "words" else f"{'.astype(int)' * (lacks and kind == 'int')}.to_numpy()"
    )
    where = "path" if table.tree.where == table.name else f"path / {table.name!r}"
    how = "" if table.separator == "," else f", sep={table.separator!r}"
    how += "" if table.has_header else ", header=None"
    how += f", encoding={table.encoding!r}" * (table.encoding != "utf-8-sig")
    how += f", dtype={dict.fromkeys(texts, 'str')}" * bool(texts)
    how += f", na_values={{{key!r}: {strays}}}" * bool(strays)
    how += ", decimal=','" * (commas and table.separator != ",")
    filled = ".fillna(0)" * any("" in table.sample(name) for name in table.header)
    told = f".dropna(subset=[{key!r}])" * lacks
    gone, data, share = [key], f"(x, {y})", ", test=0.1"
    own = [one for one in ("train", "val", "test") if one in says.values()]
    if own:
        kept = {cell: one for cell, one in says.items() if one in own}
        told = f"; table[{by!r}] = table[{by!r}].str.strip().map({kept}); table = table.dropna(subset={[by, *gone]})"
        data = f"{{part: (x[table[{by!r}] == part], {y}[table[{by!r}] == part]) for part in {own}}}"
        gone, share = [key, by], share * (len(own) == 1)
    return SpecError(
        f'{table.name}: the label (target) seems to be "{label}", but {len(names)} other '
        f"column{'s hold' if len(names) > 1 else ' holds'} words, and a model needs numbers: {', '.join(shown)}.",
        "Next: turn them into numbers, or leave them out, for example with pandas:",
        f"import pandas; table = pandas.read_csv({where}{how}){told}",
        f"x = pandas.get_dummies(table.drop(columns={gone})){filled}.to_numpy('float32')",
        f"{', '.join(own if len(own) > 1 else ('train', 'test'))} = datastage.loaders({data}, batch_size=64{share})",
    )


def _one_column(table: Table) -> SpecError:
    return SpecError(
        f"{table.name} has one column that may be the label, and none to learn it from.",
        "Next: a table with a label column and others that hold numbers.",
    )


def _arrays(rows: dict[str, _Rows], splits: dict[str, Split], features: list[str], split: str) -> tuple[Any, Any]:
    """Read the numbers of a part, and its labels (or the number of each row, where it has none)."""
    import numpy as np

    part, labels = one_of(rows, split), splits[split].labels
    names = [_same_name(part.table, name) for name in features]
    if len(names) == 1 and kind_of(part.table.sample(names[0])) in ("pixels", "runs"):
        texts = part.table.columns(names[0])[0]
        kept = texts if part.keep is None else [texts[at] for at in part.keep]
        images: Any = numbers.cells(kept, part.table.last)
    else:
        table = numbers.read(part.table, names, part.n_rows)
        images = numbers.as_pictures(table if part.keep is None else table[part.keep], side_of(names))
    if labels is None:
        return images, np.arange(len(images)) if part.keep is None else np.array(part.keep)
    is_decimal = any(isinstance(label, float) for label in labels)
    return images, np.array(labels, np.float32 if is_decimal else np.int64)


def _same_name(table: Table, name: str) -> str:
    found = table.like(name)
    if found is None:
        raise SpecError(
            f"{table.last} has no column {name!r}, which the training table has.", "Next: look into the file."
        )
    return found
