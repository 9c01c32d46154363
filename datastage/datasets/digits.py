"""Digits: 1,797 handwritten digits of 8 by 8 pixels, the set that scikit-learn carries.

Here: the entry, how its table is read, and how a table of the same rows becomes the staged one.
Not here: tables in general (`tabular`).

The staged ``digits.csv`` is the published text, UCI's ``optdigits.tes``: no header, 64 values of 0 to 16, the digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datastage.datasets import rows
from datastage.entry import Arrays, Download, Entry, File, Lookalike

# Of the rows as they stand in the published text, without line ends (`rows.digest`).
_PUBLISHED = "031d862836f3b3c3a39d9b30f3440f513cee7b59a5ec64f8b097cade50094baf"


def read_digits(path: Path, split: str) -> Arrays:
    """Read a split of the staged digits.

    Parameters
    ----------
    path : Path
        The staged folder.
    split : str
        ``"train"`` or ``"test"``, a fifth by each row's hash (`rows.is_test`), or ``"all"``: scikit-learn gives the set
        whole.

    Returns
    -------
    images : ndarray of uint8, shape (N, 8, 8, 1)
        Grey, 0 is the background. The published 0 to 16 is stretched to 0 to 255 (``round(value * 255 / 16)``), so that
        these are pictures like all others; ``(images / 255 * 16).round()`` gives the published numbers back.
    labels : ndarray of int64, shape (N,)
        0 to 9.

    Raises
    ------
    SpecError
        If there is no such split.
    IntegrityError
        If the file is not the table.
    """
    import numpy as np

    chosen = rows.of_split(path / "digits.csv", split, _rows)
    table = np.array([row.split(b",") for row in chosen]).astype(np.int64).reshape(-1, 65)
    images = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)
    return images.reshape(-1, 8, 8, 1), table[:, 64].copy()


_VALUES = {str(n).encode() for n in range(17)}


def _rows(data: bytes) -> Iterator[bytes]:
    """Give each digit as 65 numbers with commas; ValueError if a line after the first is none."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"").replace(b".0", b"").translate(None, b'" ')
    for number, line in enumerate(line for line in text.split(b"\n") if line):
        fields = line.split(b",")
        if len(fields) == 65 and _VALUES.issuperset(fields) and len(fields[-1]) == 1:
            yield line
        elif number:
            raise ValueError(f"line {number + 1} is not 64 values from 0 to 16 and a digit")


@dataclass(frozen=True, slots=True)
class DigitsTable:
    """Makes ``digits.csv`` of a table of the same digits in any order, with or without a header."""

    gives: tuple[str, ...] = ("digits.csv",)
    sizes: tuple[int, int] = (1797 * 130, 1797 * 65 * 5)

    def fits(self, head: bytes) -> bool:
        """Say whether the second line of a file is a digit."""
        lines = head.split(b"\n", 3)[:2]
        try:
            return len(lines) == 2 and bool(list(_rows(b"header\n" + lines[1])))
        except ValueError:
            return False

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        """Write the table under `into` in its own order of rows."""
        try:
            found = list(_rows(stream.read(self.sizes[1] + 1)))
        except ValueError as error:
            return f"a table in which {error}"
        if rows.digest(found) != _PUBLISHED:
            if len(found) == 3823:
                return "optdigits.tra, the 3,823 digits that scikit-learn leaves out"
            return f"a table of {len(found):,} other digits"
        (into / "digits.csv").write_bytes(b"".join(row + b"\n" for row in found))
        return ("digits.csv",)


DIGITS = Entry(
    name="digits",
    title="Digits",
    files=(File("digits.csv", 264712, "a0339c30a8a5312a1b6f9e5c719dcce5"),),
    read=read_digits,
    downloads=(
        # Packed and plain text of one table, so neither size nor digest: the rows are what is checked.
        Download(
            "digits.csv.gz",
            None,
            None,
            (
                "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.7.2/sklearn/datasets/data/digits.csv.gz",
                "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/optdigits.tes",
            ),
        ),
    ),
    converters=(DigitsTable(),),
    lookalikes=(
        Lookalike("pictures (png); the numbers are not the same", names=("*digits*.png", "*digits*.jpg")),
        Lookalike(
            "the Digit Recognizer competition: 28 by 28 pixels, the set called mnist",
            names=("*digit-recognizer*",),
        ),
    ),
    package_data=("sklearn/datasets/data",),
    licence="CC BY 4.0",
    citation='E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI ML Repository, 1998.',
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    shape=(8, 8, 1),
    classes=tuple("0123456789"),
    mean=(0.3051,),
    std=(0.3758,),
    splits={"train": 1434, "test": 363},
    needed="the table of 1,797 digits of 8 by 8 pixels:  digits.csv or optdigits.tes",
    search_words="optdigits",
    shows="digits.csv or optdigits.tes",
)

ENTRIES = (DIGITS,)
