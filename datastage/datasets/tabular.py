"""Read a table (csv, tsv) of the user's own into numbers and labels.

Here: which column is the label, names of classes as numbers, tables whose columns are pixels.
Not here: tables that the catalog knows (`iris`, `digits`, `mnist`).
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, SpecError

if TYPE_CHECKING:
    from datastage.entry import Arrays

_LABELS = ("label", "labels", "class", "target", "species", "y", "category")
_NUMBERING = re.compile(r"(|id|index|no|nr|number|unnamed: ?0|row|rownames|rowid|passengerid)", re.IGNORECASE)
_PIXEL = re.compile(r"(pixel|px|p|x)?_?\d+(x\d+)?", re.IGNORECASE)


def read_table(path: Path, classes: tuple[str, ...] = ()) -> tuple[Arrays, tuple[str, ...]]:
    r"""Read a table whose rows are examples.

    The label is the column called label, class, target, species, y or category, whatever the case; else the last. A
    first column that only numbers the rows is left out. A table of pixels (columns ``pixel0``, ``pixel1`` ... or
    ``1x1``, ``1x2`` ..., a square number of them, whole numbers from 0 to 255) gives images.

    Parameters
    ----------
    path : Path
        The file: UTF-8, with a header or without, separated by commas, semicolons or tabs.
    classes : tuple of str
        The words that labels may be, in order, such as those of the training table; told from this table if empty.

    Returns
    -------
    arrays : (table, labels)
        float32 of shape (N, D), or uint8 of shape (N, H, H, 1); and int64 of shape (N,). Labels that are words are
        numbered in alphabetical order; whole numbers stay as they are.
    classes : tuple of str
        The words, or empty where the labels are numbers.

    Raises
    ------
    SpecError
        If there is no column that can be the label.
    IntegrityError
        If a row is shorter than the others or a value is no number.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "pets.csv")
    >>> _ = file.write_text("weight,age,kind\n4.5,3,cat\n30,7,dog\n")
    >>> (table, labels), classes = read_table(file)
    >>> table.tolist(), labels.tolist(), classes
    ([[4.5, 3.0], [30.0, 7.0]], [0, 1], ('cat', 'dog'))
    """
    import numpy as np

    header, rows = _read(path)
    width = len(rows[0])
    drop = {0} if _numbers_the_rows(header, rows) else set()
    named = [at for at, name in enumerate(header) if name.strip().lower() in _LABELS]
    label_at = named[0] if named else width - 1
    columns = [at for at in range(width) if at != label_at and at not in drop]
    if not columns:
        raise SpecError(f"{path.name} has one column, so nothing to learn from.", "Next: a table with a label column.")
    short = next((number for number, row in enumerate(rows) if len(row) != width), None)
    if short is not None:
        raise IntegrityError(
            f"{path.name}, row {short + 1 + bool(header)}: {len(rows[short])} values where the first has {width}.",
            "Next: mend that row.",
        )
    name = header[label_at] if header else "the last column"
    labels, classes = _labels([row[label_at] for row in rows], name, path, classes)
    table = np.empty((len(rows), len(columns)), np.float32)
    for number, row in enumerate(rows):
        try:
            table[number] = [row[at] for at in columns]
        except ValueError:
            raise _no_number(path, header, row, columns, number) from None
    side = math.isqrt(len(columns))
    pixels = header and side > 3 and side * side == len(columns) and all(_PIXEL.fullmatch(header[at]) for at in columns)
    if pixels and table.min() >= 0 and table.max() <= 255 and not (table % 1).any():
        return (table.astype(np.uint8).reshape(-1, side, side, 1), labels), classes
    return (table, labels), classes


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.read(65536)
            file.seek(0)
            first = head.split("\n", 1)[0]
            separator = max(",;\t", key=first.count)
            rows = [row for row in csv.reader(file, delimiter=separator) if row]
    except UnicodeDecodeError:
        raise IntegrityError(f"{path.name} is not a text in UTF-8.", "Next: save it again as CSV UTF-8.") from None
    except csv.Error as error:
        raise IntegrityError(f"{path.name} is not a table: {error}.", "Next: look into the file.") from None
    if not rows:
        raise IntegrityError(f"{path.name} is empty.", "Next: look where the file came from.")
    header = [] if all(_is_number(value) for value in rows[0][:-1]) and len(rows[0]) > 1 else rows.pop(0)
    if not rows:
        raise IntegrityError(f"{path.name} has a header and no rows.", "Next: look where the file came from.")
    return header, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers_the_rows(header: list[str], rows: list[list[str]]) -> bool:
    if not header or len(header) < 3 or not _NUMBERING.fullmatch(header[0].strip()):
        return False
    return len({row[0] for row in rows}) == len(rows)


def _labels(values: list[str], name: str, path: Path, classes: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    import numpy as np

    if all(re.fullmatch(r"\s*[+-]?\d+(\.0*)?\s*", value) for value in values):
        return np.array([int(float(value)) for value in values], np.int64), ()
    words = sorted({value.strip() for value in values})
    if classes and not set(words) <= set(classes):
        other = next(word for word in words if word not in classes)
        raise SpecError(f"{path.name}: {other!r} is no class of the training table.", "Next: look into the file.")
    words = list(classes) or words
    if all(_is_number(word) for word in words) or (len(words) > 1000 and len(words) > len(values) // 2):
        raise SpecError(
            f"{path.name}: the values of {name} are not classes ({words[0]}, {words[1]}, ...).",
            "Next: call the column that holds the classes label.",
        )
    number = {word: at for at, word in enumerate(words)}
    return np.array([number[value.strip()] for value in values], np.int64), tuple(words)


def _no_number(path: Path, header: list[str], row: list[str], columns: list[int], number: int) -> SpecError:
    at = next((at for at in columns if not _is_number(row[at])), columns[0])
    column = header[at] if header else f"column {at + 1}"
    return SpecError(
        f"{path.name}, row {number + 1 + bool(header)}: {column} is {row[at][:30]!r}, which is no number.",
        "Next: leave that column out, or turn it into numbers, for example with pandas.",
    )
