"""Which column of a table holds the labels, which the parts, which only names its rows; asked where nobody can tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.columns import HEAD_ROWS, Table, is_number, kind_of
from datastage.layouts.words import plain

LABELS = words.listed(
    "label labels class classid classes classname classlabel target targets category y diagnosis dx species breed "
    "emotion variety survived outcome hascactus isiceberg labelid classnumber categoryid imagelabel finding"
)
"""Names of columns that are the label, if one column alone has such a name."""
_NUMBERS = words.listed("target targets y outcome")
"""Those of `LABELS` that may well be a measure, where they have many values."""
_PREFIXES = ("has_", "is_")
_PARTS = words.listed("split usage isvalid isvalidation istrain istest partition subset set phase")
BOOKS = _PARTS | words.listed("kfold fold folds part stage dataset source filesource datasetname")
"""Names of columns that keep books of the rows, and may say in words which part a row is of."""
_NUMBERED = words.listed("split partition subset set")
"""Those of `_PARTS` that may say it as 0, 1 and 2."""
_MEASURED = words.listed("phase stage source part")
"""Those of `BOOKS` that measure something where they hold numbers."""
_NUMBERING = re.compile(
    r"(?i:|column 1|id|index|no|nr|number|unnamed: ?0|row|rownames|rowid|.*[_ ]id|id[_ ]?code|uuid|key|sample)"
    r"|.*Id|.*ID"
)
_MEASURES = re.compile(
    r"(?i)^(x|y|w|h|width|height|size|.*[._ ]?roi[._].*|[xy][_ ]?(\d|min|max)|.*bbox.*|xmin|ymin|xmax|ymax)$"
)
_NUMBER_NAMES = re.compile(
    r"(?i)(age|price|score|count|year|weight|size|cost|rating|quality|value|angle|steering|temp|length)"
)


PIXEL = re.compile(r"(pixel|px|p|x)?_?\d+(x\d+)?", re.IGNORECASE)


def side_of(names: Sequence[str]) -> int:
    """Return the side of the square picture whose pixels the columns are; 0 where they are none."""
    side = math.isqrt(len(names))
    return side if side > 3 and side * side == len(names) and all(map(PIXEL.fullmatch, names)) else 0


@dataclass(slots=True)
class Column:
    """A column, and what its values are."""

    name: str
    kind: str
    n_different: int

    def __str__(self) -> str:
        what = {"int": "whole numbers", "float": "numbers", "tags": "several words a cell"}
        what["commas"] = "numbers with a comma"
        return f'"{self.name}" ({self.n_different:,} values, {what.get(self.kind, self.kind)})'


@dataclass(slots=True)
class Choice:
    """What the columns of a table are."""

    label: tuple[str, ...] = ()
    task: str = ""
    part: str | None = None
    candidates: list[Column] = field(default_factory=list)


def choose(table: Table, ids: Sequence[str], lacking: Sequence[Table], submission: Table | None) -> Choice:
    """Tell which column is the label."""
    known = (column_of(table, name) for name in table.header if name not in ids)
    free = [column for column in known if not is_of_the_row(column, len(table.head)) and column.kind != "empty"]
    found = _label(table, free, lacking, submission, len(ids))
    found.part = part_column(table)
    found.candidates = [column for column in free if column.kind != "constant"]
    if len(found.label) == 1:
        name = found.label[0]
        found.task = found.task or task_of(column_of_all(name, table.columns(name)[0]))
    return found


def column_of(table: Table, name: str) -> Column:
    """Look at the values of a column in the first rows."""
    values = table.sample(name)
    return Column(name, kind_of(values), len({value for value in values if value}))


def column_of_all(name: str, values: Sequence[str]) -> Column:
    """Look at all values of a column, whatever their order; a word among numbers does not make them words."""
    kind, first = kind_of(values), kind_of(values[:HEAD_ROWS])
    different = {value for value in values if value}
    if kind not in ("int", "float") and first in ("int", "float"):
        strays = sum(not is_number(value) for value in different)
        kind = first if 10 * strays < len(different) else kind
    return Column(name, kind, len(different))


def is_of_the_row(column: Column, n: int) -> bool:
    """Whether a column numbers the rows, or keeps books of them: it is no feature and no label."""
    name = column.name
    if plain(name) in _MEASURED and column.kind in ("int", "float"):
        return False
    if plain(name) in BOOKS or re.match(r"(?i)unnamed: ?\d+$", name):
        return True
    return n > 1 and column.n_different >= n and _NUMBERING.fullmatch(name) is not None and column.kind != "float"


def _label(table: Table, free: list[Column], lacking: Sequence[Table], submission: Table | None, n_ids: int) -> Choice:
    names = {column.name for column in free}
    missing = [c for c in free if lacking and all(_without(c.name, other) for other in lacking)]
    if len(missing) == 1:
        return Choice((missing[0].name,))
    if len(missing) > 1 and (found := _columns_of_ones(missing, table)):
        return found
    if submission is not None:
        wanted = {plain(name) for name in submission.header[1:]}
        asked = [column for column in free if plain(column.name) in wanted]
        if len(asked) == 1:
            return Choice((asked[0].name,))
        if len(asked) > 1 and (found := _columns_of_ones(asked, table)):
            return found
    boxed = measures(table) >= 3
    named = [column for column in free if _is_named_label(column, boxed)]
    if len(named) == 1:
        return Choice((named[0].name,))
    if len(named) > 1:
        return _same_in_words_and_numbers(named, table) or Choice()
    rest = [column for column in free if not _MEASURES.match(column.name)]
    pictured = [column for column in rest if not PIXEL.fullmatch(column.name)]
    if len(pictured) == 1 and side_of([column.name for column in rest if column not in pictured]):
        return Choice((pictured[0].name,))
    if n_ids and len(free) == 1:
        return Choice((free[0].name,))
    if n_ids and len(rest) > 1 and names and (found := _columns_of_ones(rest, table)):
        return found
    for task, kind in (("detection", "boxes"), ("segmentation", "runs")):
        if n_ids and any(column.kind == kind for column in free):
            return Choice(tuple(column.name for column in free if column.kind == kind)[:1], task)
    return Choice()


def _is_named_label(column: Column, boxed: bool) -> bool:
    name = column.name.lower()
    if column.kind == "date" or (plain(name) == "y" and (name != "y" or boxed)):
        return False
    return plain(name) in LABELS or (name.startswith(_PREFIXES) and column.n_different <= 2)


def _without(name: str, table: Table) -> bool:
    column = table.like(name)
    return column is None or not any(table.sample(column))


def _same_in_words_and_numbers(named: Sequence[Column], table: Table) -> Choice | None:
    """Where two columns named as labels say the same, as ``target`` and ``category`` do, that with words is taken."""
    if len(named) != 2:
        return None
    one, two = (table.sample(column.name) for column in named)
    pairs = set(zip(one, two))
    if len(pairs) == len(set(one)) == len(set(two)):
        words_ = next((column for column in named if column.kind == "words"), named[0])
        return Choice((words_.name,))
    return None


def _columns_of_ones(columns: Sequence[Column], table: Table) -> Choice | None:
    """Several columns of 0 and 1 (or -1 and 1): one-hot where each row has one, else several labels a sample."""
    if len(columns) < 2 or any(column.kind not in ("int", "float", "constant") for column in columns):
        return None
    names = [column.name for column in columns]
    values = [table.sample(name) for name in names]
    if not all(is_number(value) for column in values for value in column if value):
        return None
    different = {float(value) for column in values for value in column if value}
    if not different <= {0.0, 1.0, -1.0} or len(different) < 2:
        return None
    sums = {sum(float(value or 0) > 0 for value in row) for row in zip(*values)}
    task = "one-hot" if sums == {1} and -1.0 not in different else "multi-label"
    return Choice(tuple(names), task)


def measures(table: Table) -> int:
    """Count the columns that say where in a picture something is: x, y, width, height."""
    return sum(_MEASURES.match(name) is not None for name in table.header)


def task_of(column: Column) -> str:
    """Say what is learnt from a column of labels."""
    if column.kind == "float":
        return "regression"
    if column.kind == "int":
        n = column.n_different
        if plain(column.name) in _NUMBERS:
            return "classification" if n <= 100 else "regression"
        if plain(column.name) in LABELS or column.name.lower().startswith(_PREFIXES):
            return "classification"
        return "regression" if n > 30 or (_NUMBER_NAMES.search(column.name) and n > 2) else "classification"
    return {
        "tags": "multi-label", "text": "captioning", "unique": "captioning", "boxes": "detection",
        "runs": "segmentation", "pixels": "segmentation", "date": "series", "commas": "numbers with a comma",
    }.get(column.kind, "classification")  # fmt: skip


def refuse_commas(column: Column) -> None:
    """Raise `SpecError` where a comma may part a number, or two labels."""
    if column.kind == "commas":
        raise SpecError(
            f'"{column.name}" holds numbers with a comma: they may be decimals, or several labels a cell.',
            "Of decimals, write the table with points:",
            'import pandas; pandas.read_csv("FILE", sep=";", decimal=",").to_csv("points.csv", index=False)',
            "Next: of labels, part them by a blank or by |.",
        )


def part_column(table: Table) -> str | None:
    """Return the column that says which part each row is of; of a long table the first rows may be of one alone."""
    books = (name for name in table.header if plain(name) in BOOKS)
    return next((name for name in books if parts_of(name, table.columns(name)[0])), None)


def rows_by_part(name: str, values: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each part, by a column that says the part of each; empty where it says none of train."""
    says = parts_of(name, values)
    rows: dict[str, list[int]] = {}
    for at, value in enumerate(values):
        if value in says:
            rows.setdefault(says[value], []).append(at)
    return rows if "train" in rows else {}


def parts_of(name: str, values: Sequence[str]) -> Mapping[str, str]:
    """Return the part that each value of a column says, if it says one; empty if they say none."""
    different = {value for value in values if value}
    if not different:
        return {}
    own = plain(name).removeprefix("is")
    yes = {"valid": "val", "validation": "val"}.get(own, own)
    truths = {"true", "false", "0", "1"} if name.startswith("is") else {"true", "false"}
    if {value.lower() for value in different} <= truths and yes in ("train", "val", "test"):
        no = "test" if yes == "train" else "train"
        return {value: yes if value.lower() in ("true", "1") else no for value in different}
    if different == {"0", "1", "2"} and plain(name) in _NUMBERED:
        return {"0": "train", "1": "val", "2": "test"}
    known = {value: part for value in different if (part := words.split_of(value))}
    sure = plain(name) in _PARTS or len(known) == len(different)
    return known if sure and "train" in known.values() else {}
