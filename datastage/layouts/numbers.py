"""Tables of numbers into arrays: in blocks, in hardly more memory than the numbers take."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, SpecError
from datastage.layouts.columns import Table, is_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST = 3.4e38


def _by_pandas(table: Table, at: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Give columns in blocks as pandas reads them: ten times as quick as numpy, where it is there."""
    import numpy as np
    import pandas

    with table.tree.open(table.name) as file:
        frames = pandas.read_csv(
            file,
            sep=r"\s+" if table.separator == " " else table.separator,
            header=None,
            skiprows=int(table.has_header),
            usecols=list(at),
            dtype="float32",
            encoding=table.encoding,
            encoding_errors="replace",
            keep_default_na=False,
            na_filter=False,
            chunksize=max(256, (1 << 21) // len(at)),
        )
        for frame in frames:
            values = frame[list(at)].to_numpy()
            if not np.isfinite(values).all():
                raise ValueError
            yield values


def read(table: Table, names: Sequence[str], n_rows: int) -> NDArray[np.float32]:
    """Return columns of numbers as rows of float32.

    `SpecError` names the row and the column if a value is no number; `IntegrityError` if a row is too short.
    """
    at = [table.header.index(name) for name in names]
    try:
        return _filled(table, _by_pandas(table, at), (n_rows, len(at)))
    except (ImportError, ValueError):
        return _filled(table, _by_numpy(table, at), (n_rows, len(at)))  # names the row where a value is no number


def _filled(table: Table, blocks: Iterator[NDArray[Any]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Put blocks of rows into one array, so that hardly more is held than that."""
    import numpy as np

    out = np.empty(shape, np.float32)
    done = 0
    for block in blocks:
        if done + len(block) > len(out):
            raise IntegrityError(f"{table.last} has more rows than labels.", "Next: look whether it changes now.")
        out[done : done + len(block)] = block
        done += len(block)
    return out[:done]


def _by_numpy(table: Table, at: Sequence[int]) -> Iterator[NDArray[Any]]:
    import numpy as np

    separator = None if table.separator == " " else table.separator
    before = 0
    for lines in table.blocks():
        try:
            values = np.loadtxt(
                lines, np.float32, delimiter=separator, usecols=at, comments=None, quotechar='"', ndmin=2
            )
            if not np.isfinite(values).all():
                raise ValueError
        except (ValueError, IndexError):
            raise _fault(table, lines, at, before) from None
        before += len(values)
        yield values


def _fault(table: Table, lines: Sequence[str], at: Sequence[int], before: int) -> SpecError | IntegrityError:
    rows = table.head[before:] if table.separator == " " else csv.reader(lines, delimiter=table.separator)
    full = (row for row in rows if row)
    for number, row in enumerate(full, before + 1 + table.has_header):
        if len(row) <= max(at):
            return short_row(table, number, row)
        bad = next((i for i in at if not is_number(row[i]) or abs(float(row[i])) > _MOST), None)
        if bad is not None:
            value = row[bad].strip()[:30]
            return SpecError(
                f"{table.last}, row {number}: {table.header[bad]} is {repr(value) if value else 'empty'}, which is no "
                "number.",
                "Next: leave that column out, or turn it into numbers, for example with pandas.",
            )
    return IntegrityError(f"{table.last} is not a table of numbers.", "Next: look into the file.")


def short_row(table: Table, number: int, row: Sequence[str]) -> IntegrityError:
    """Say that a row has too few values."""
    return IntegrityError(
        f"{table.last}, row {number}: {len(row)} values where the first has {len(table.header)}.",
        "Next: mend that row.",
    )


def as_pictures(rows: NDArray[Any], side: int) -> NDArray[Any]:
    """Turn rows of pixels into pictures, uint8 (N, side, side, 1), if they are whole numbers from 0 to 255."""
    import numpy as np

    if not side or not len(rows) or rows.min() < 0 or rows.max() > 255:
        return rows
    pixels = rows.astype(np.uint8)
    return pixels.reshape(-1, side, side, 1) if np.array_equal(pixels, rows) else rows


def cells(texts: Sequence[str], name: str) -> NDArray[np.uint8]:
    """Turn cells of pixels parted by blanks into pictures, uint8 (N, side, side, 1)."""
    import numpy as np

    width = len(texts[0].split())
    side = math.isqrt(width)
    if side * side != width:
        raise SpecError(f"{name}: {width} values a cell are no square picture.", "Next: pass the arrays yourself.")
    out = np.empty((len(texts), width), np.uint8)
    for at, text in enumerate(texts):
        try:
            values = np.array(text.split(), np.int64)
        except ValueError:
            raise IntegrityError(
                f"{name}, row {at + 2}: the pixels are no whole numbers.", "Next: mend that row."
            ) from None
        if len(values) != width or values.min() < 0 or values.max() > 255:
            raise IntegrityError(f"{name}, row {at + 2}: not {width} pixels from 0 to 255.", "Next: mend that row.")
        out[at] = values
    return out.reshape(-1, side, side, 1)
