"""Which column of a table holds the labels, which the parts, which only names its rows; asked where nobody can tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.columns import HEAD_ROWS, Table, is_number, kind_of
from datastage.layouts.labels import as_name
from datastage.layouts.words import plain
from datastage.progress import some

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
_SPLIT = words.listed("split partition subset set datasplit datasetsplit splitname traintestsplit trainvaltestsplit")
"""Names of columns that say the part, also in numbers."""
_FLAG = words.listed("is in set split")
"""Words that make of a part's name that of a column of truths: ``is_test``, ``test_set``."""
_MARKED = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SHORT = {"tr": "train", "trn": "train", "va": "val", "te": "test", "tst": "test"}
ONE_COLUMN = ("Next: one column called split in their place, which says train, val or test of each row.",)
"""What to do where columns of truths do not say the parts."""
_TRUTHS = frozenset(("true", "false", "0", "1"))
_FEW_PARTS = 5
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
    part = part_column(table)
    known = (column_of(table, name) for name in table.header if name not in ids)
    every = [column for column in known if not is_of_the_row(column, len(table.head)) and column.kind != "empty"]
    free = [column for column in every if not is_of_parts(column.name, part)]
    found = _label(table, free, lacking, submission, len(ids))
    if not found.label and (part or "").lower().startswith(_PREFIXES):  # is_val may be what is learnt
        found = _label(table, every, lacking, submission, len(ids))
    found.part = None if part in found.label else part
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


def part_column(table: Table, labels: Collection[str] = ()) -> str | None:
    """Return the column that says which part each row is of; of a long table the first rows may be of one alone."""

    def sample(name: str) -> Sequence[str]:  # of thousands of columns with numbers one cell tells
        at = table.places[name]
        first = next((row[at] for row in table.head if at < len(row) and row[at].strip()), "")
        return table.sample(name) if plain(first) in words.SPLITS else ["-"]

    part = part_of(table.header, sample, table.columns, labels)
    if part and (cells := together([name for name in table.header if name not in labels], table.whole, part)):
        table.put(part, cells)
    return part


def part_of(
    names: Iterable[str], sample: Callable[[str], Sequence[str]], columns: Callable[..., Iterable[Sequence[str]]],
    labels: Collection[str] = (),
) -> str | None:  # fmt: skip
    """Return the column that names the most parts; those of no such name are read where a `sample` has nothing else."""
    able = []
    for name in names:
        if name in labels or plain(name) in LABELS:
            continue
        is_one = plain(name) in BOOKS | _SPLIT or _flagged(name)
        if is_one or ((cells := {*sample(name)} - {""}) and all(plain(cell) in words.SPLITS for cell in cells)):
            able.append(name)
    found = {name: len(set(parts_of(name, cells).values())) for name, cells in zip(able, columns(*able))}
    return max(filter(found.get, found), key=lambda name: found[name], default=None)


def _flagged(name: str) -> str | None:
    """Return the part whose rows a column of truths marks, by a name that says no more: ``is_test``, ``in_train``."""
    said = words.words_of(name)
    own = [word for word in said if word not in _FLAG] or [""]
    sure = len(said) > 1 or own[0].startswith("is") or own[0].endswith("set")
    return _MARKED.get(own[0].removeprefix("is").removesuffix("set")) if len(own) == 1 and sure else None


def unread_parts(
    table: str, names: Iterable[str], whole: Callable[[str], Sequence[str]], part: str | None, labels: Collection[str]
) -> list[str]:
    """Say which columns seem to say parts and are not read so; `SpecError` where they speak of test."""
    names = [name for name in names if name not in labels]
    if part and together(names, whole, part) is None:
        other = next(name for name in names if name != part and _flagged(name))
        raise SpecError(
            f'"{part}" and "{other}" of {table} each say a part of the rows, and not the same.', *ONE_COLUMN
        )
    said = []
    for name in names if part is None else ():
        lone = words.SPLITS.get(plain(name)) in ("train", "val", "test")
        if not (lone or plain(name) in _SPLIT):
            continue
        cells = whole(name)
        different = sorted(set(cells))
        if 1 < len(different) <= (2 if lone else _FEW_PARTS) and (
            not lone or {as_name(cell).lower() for cell in different} <= _TRUTHS
        ):
            shown = f'column "{name}" of {table} ({some([one or "an empty cell" for one in different])})'
            if not lone and any(words.split_of(one) == "test" for one in different):
                raise SpecError(
                    f"The {shown} says which rows are to test on, and of none that it is to train on.",
                    "Next: write train there for those that are, and train, val or test alone; or call the column "
                    "otherwise, if it says something else.",
                )
            said.append(f"Parts     none from {shown}: it would say them as train, val and test")
    return said


def together(names: Iterable[str], whole: Callable[[str], Sequence[str]], part: str) -> Sequence[str] | None:
    """Return the parts that a column says, with those that others of truths mark; None where they contradict it."""
    columns = {name: whole(name) for name in names if _flagged(part) and _flagged(name)}
    says = {name: parts_of(name, cells) for name, cells in columns.items()}
    flags = [name for name, parts in says.items() if len(set(parts.values())) > 1]
    if len(flags) < 2:
        return whole(part)
    rest = "test" if "train" in map(_flagged, flags) else "train"
    found = []
    for row in zip(*(columns[name] for name in flags)):
        marked = {own for name, cell in zip(flags, row) if (own := says[name].get(cell)) and own == _flagged(name)}
        if len(marked) > 1:
            return None
        found.append(marked.pop() if marked else rest if any(row) else "")
    return found


def is_of_parts(name: str, part: str | None) -> bool:
    """Whether a column is that of parts, or one of truths beside it."""
    return name == part or bool(part and _flagged(part) and _flagged(name))


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
    yes = _flagged(name)
    if yes and {as_name(value).lower() for value in different} <= _TRUTHS:
        no = "test" if yes == "train" else "train"
        return {value: yes if as_name(value).lower() in ("true", "1") else no for value in different}
    is_one = plain(name) in _SPLIT
    if different == {"0", "1", "2"} and is_one:
        return {"0": "train", "1": "val", "2": "test"}
    short = _SHORT if is_one else {}
    known = {value: part for value in different if (part := words.split_of(value) or short.get(value.lower()))}
    sure = is_one or plain(name) in _PARTS or len(known) == len(different)
    if not is_one and plain(name) not in BOOKS:  # whose name says nothing
        sure = all(plain(value) in words.SPLITS for value in different) and len(set(known.values())) > 1
    return known if sure and "train" in known.values() else {}
