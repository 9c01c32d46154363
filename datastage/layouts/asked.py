"""Labels of pictures where the user says: a table, a column, a mapping, a function of the path, or a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.beside import FEED, Index, filled, fits_of, labelled, of_no_part, parted_by, tables_of, told_of
from datastage.layouts.columns import Table
from datastage.layouts.label_column import Column, column_of_all, part_column, refuse_commas, task_of
from datastage.layouts.labels import is_missing, number_of
from datastage.layouts.labels import task_of as task_of_values
from datastage.layouts.reading import Reading
from datastage.layouts.shape import Shape
from datastage.layouts.tree import Tree
from datastage.progress import some


def read(tree: Tree, shape: Shape, labels: Any) -> Reading:
    """Give the pictures of every part the labels that the user says; `SpecError` if that gives none a label."""
    index = Index(shape.paths())
    if isinstance(labels, str):
        try:
            pattern = re.compile(labels) if "(" in labels else None
        except re.error as error:
            raise SpecError(f"labels={labels!r} is no pattern: {error}.", _FORMS) from None
        if pattern is not None:
            if pattern.groups < 1:
                raise SpecError(f"labels={labels!r} has no group.", "Next: put ( ) around the part that is the label.")
            found = {path: match[1] for path in index.parts if (match := pattern.search(path)) and match[1] is not None}
            return _reading(shape, index.parts, found, f"the pattern {labels}")
        labels = [labels]
    if isinstance(labels, (list, tuple)) and labels and all(isinstance(one, str) for one in labels):
        return _of_table(tree, shape, index, labels)
    if isinstance(labels, Mapping):
        pairs = ((index.find(str(name), None), label) for name, label in labels.items())
        found = {path: label for path, label in pairs if path is not None}
        return _reading(shape, index.parts, found, "the mapping given", len(labels) - len(found))
    if callable(labels):
        return _of_function(shape, index.parts, labels)
    raise SpecError(f"labels={labels!r} says nothing that is known.", _FORMS)


_FORMS = (
    'Next: a table ("train.csv"), its column ("train.csv:label"), a mapping from file to label, a function of the '
    "path, or "
    r'a pattern with one group (r"(cat|dog)\.").'
)


def _of_function(shape: Shape, parts: Mapping[str, str], function: Callable[[str], Any]) -> Reading:
    found = {}
    for path in parts:
        try:
            label = function(path)
        except Exception as error:
            raise SpecError(
                f"labels= stopped at {path} with {type(error).__name__}: {error}.",
                "It gets each picture's path, as a text with / between the folders. Next: mend it; None leaves one "
                "out.",
            ) from error
        if label is not None:
            found[path] = label
    return _reading(shape, parts, found, "the function given")


def named_table(tables: Sequence[Table], asked: str, where: str) -> tuple[Table, str]:
    """Return the table that ``"TABLE:COLUMN"``, ``"TABLE"`` or ``"COLUMN"`` names, and the column (or empty)."""
    for table in tables:
        for name in (table.name, table.last):
            if asked == name:
                return table, ""
            if asked.startswith(name + ":"):
                column = asked[len(name) + 1 :]
                return table, column_of(table, column)
    if re.fullmatch(r"-?\d+", asked) and len(tables) == 1:
        return tables[0], column_of(tables[0], asked)
    having = [table for table in tables if table.like(asked)]
    having = [table for table in having if "submission" not in table.last.lower()] or having
    if len(having) > 1:
        parts = {table.part for table in having}
        if len({table.header for table in having}) == 1 or len(parts) == len(having):
            having = sorted(having, key=lambda table: table.part != "train")[:1]
    if len(having) == 1:
        return having[0], column_of(having[0], asked)
    told = some([f"{table.name} ({some(list(table.header), 8)})" for table in tables], 6)
    several = f"there are {told}" if told else "there is no table"
    if having:
        several = f"{some([table.name for table in having])} have it"
    raise SpecError(f"labels={asked!r} names no one table or column of {where}: {several}.", _FORMS)


def column_of(table: Table, asked: str) -> str:
    """Return the column that was named, whatever its letters' case; a number counts from 0, -1 is the last."""
    if asked in table.header:
        return asked
    if re.fullmatch(r"-?\d+", asked) and -len(table.header) <= int(asked) < len(table.header):
        return table.header[int(asked)]
    near = [name for name in table.header if words.plain(name) == words.plain(asked)]
    if len(near) != 1:
        raise SpecError(
            f"{table.name} has no column {asked!r}.",
            f'Next: one of {some(list(table.header), 12)}: labels="{table.name}:...".',
        )
    return near[0]


def _of_table(tree: Tree, shape: Shape, index: Index, several: Sequence[str]) -> Reading:
    tables = tables_of(tree)
    first, column = named_table(tables, several[0], tree.where)
    same = [table for table in tables if table.header == first.header and table.has_header] or [first]
    fits = fits_of(same if first in same else [first], index)
    own = next((fit for fit in fits if fit.table is first), None)
    if own is None:
        raise SpecError(
            f"No column of {first.name} names the pictures in {tree.where}.",
            f"Its columns are {some(list(first.header), 12)}. Next: a function of the path: labels=lambda name: ...",
        )
    if len(several) > 1:
        rest = [one.rpartition(":")[2] for one in several[1:]]
        names, task = tuple(column_of(first, one) for one in (column, *rest)), "multi-label"
    elif column:
        values = first.columns(column)[0]
        asked = column_of_all(column, values)
        refuse_commas(asked)
        names, task = (column,), task_of(asked)
        task = "classification" if task == "captioning" and len(set(values)) < len(values) / 2 else task
    elif own.choice.label:
        names, task = own.choice.label, own.choice.task
    else:
        raise SpecError(
            f"{first.name} has several columns that could be the label: "
            f"{', '.join(map(str, own.choice.candidates[:12]))}.",
            f'Next: labels="{first.name}:{(own.choice.candidates or [Column(first.header[-1], "", 0)])[0].name}"',
        )
    if task in ("captioning", "detection", "segmentation", "series", "numbers with a comma"):
        raise SpecError(f'"{names[0]}" of {first.name} is for {task}, and holds no classes and no numbers.', *FEED)
    for fit in fits:
        fit.choice.label, fit.choice.task, fit.choice.part = names, task, part_column(fit.table, names)
        fit.column = own.column
    if len(names) == 1 or task == "one-hot":
        return labelled(tree, shape, fits, index)
    found: dict[str, tuple[str, ...]] = {}
    parts, why = dict(index.parts), dict[str, str]()
    parted = ((fit, fit.parted(index, names, len(fits) == 1, shape.has_parts)) for fit in fits)
    for fit, path, row, part in ((fit, *one) for fit, rows in parted for one in rows):
        if path is None:
            continue
        if found.setdefault(path, row) != row:
            raise SpecError(
                f"{first.name} has several rows for {path}, which differ in {some(names)}.",
                "Next: one row a picture, for example with pandas: table.groupby(...).max(), and write it again.",
            )
        if parts[path] != "predict":
            parts[path] = part or parts[path]
        if part == "":
            why[path] = of_no_part(fit)
    told = {path: row for path, row in found.items() if path not in why and parts[path] != "predict"}
    whole, said = _in_numbers(told)
    rule = f"columns {some(list(names))} of {first.name}"
    if found and not whole:
        raise SpecError(f"Every row has an empty cell in {rule}.", "Next: name columns that are filled.")
    why |= dict.fromkeys(told.keys() - whole.keys(), "have an empty cell in these columns")
    reading = _reading(shape, parts, whole, rule, 0, why)
    return replace(reading, classes=names, said=(*reading.said, *parted_by(fits, shape), *said))


def _in_numbers(rows: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[float]], list[str]]:
    """Turn rows of several labels into numbers, but those with an empty cell; and what is said of it."""
    number = {cell: number_of(cell) for cell in {cell for values in rows.values() for cell in values} - {""}}
    different, said = set(number.values()), []
    if different == {1.0}:
        number[""] = 0.0
        said.append("Labels    an empty cell beside those with 1 is 0")
    elif -1.0 in different and different <= {-1.0, 0.0, 1.0}:
        number |= {cell: 0.0 for cell, value in number.items() if value < 0}
        said.append("Labels    -1 is 0 in batches")
    whole = ((path, [number.get(cell) for cell in values]) for path, values in rows.items())
    return {path: values for path, values in whole if None not in values}, said  # type: ignore[misc]


def _reading(
    shape: Shape, parts: Mapping[str, str], found: Mapping[str, Any], rule: str, lost: int = 0,
    why: Mapping[str, str] = MappingProxyType({}),
) -> Reading:  # fmt: skip
    given = {path: label for path, label in found.items() if not is_missing(label)}
    task = task_of_values(list(given.values())[:1000])
    if task == "regression" and len(given) < len(found) and len(set(given.values())) <= 30:
        whole = all(float(label).is_integer() for label in given.values())
        task = "classification" if whole else task  # pandas makes decimals of whole numbers where one is missing
    if not given:
        one = next(iter(parts), "")
        raise SpecError(f"labels= gives none of the {len(parts):,} pictures a label, such as {one}.", _FORMS)
    order, labels, task, parts = told_of(shape, given, task, parts)
    left_out = (f"{lost:,} names of labels= whose picture is not there, or which fit several",) if lost else ()
    reading = Reading("as labels= says", task, "pictures", tuple(order), {}, rule, "", left_out)
    return filled(reading, shape, parts, labels, unnamed="labels= gives no label", why=why)
