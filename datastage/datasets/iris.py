"""Iris: 150 flowers, four measurements each, three species.

Here: the entry, how its table is read, and how the forms that go round are brought to one.
Not here: tables in general (`tabular`).

The staged ``iris.csv`` has a header, species by name, and the order of rows of wherever it was found. Two texts are the
published data: R's and scikit-learn's, which is Fisher's table, and UCI's, whose 35th and 38th flower have three wrong
numbers. UCI's own note on the set gives the right ones, and they are put in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datastage.datasets import rows
from datastage.entry import Arrays, Download, Entry, File

SPECIES = ("setosa", "versicolor", "virginica")
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")
_HEADER = ",".join(COLUMNS).encode() + b"\n"

# Of the rows ``5.1,3.5,1.4,0.2,setosa`` (`rows.digest`).
_FISHER = "62947b6b806d625f8356476849a7bdef431ab6bb7ea8ed979ed50c4219674c41"
_UCI = "e56f22d0b225dc5ab67b5a949ea8e6f1a9a13316b9a860d02c9e47c3608fe5ce"
_TWICE_WRONG = b"4.9,3.1,1.5,0.1,setosa"  # once right, twice wrong in UCI's text
_RIGHT = (b"4.9,3.1,1.5,0.2,setosa", b"4.9,3.6,1.4,0.1,setosa")


def read_iris(path: Path, split: str) -> Arrays:
    """Read a split of a staged iris.

    Parameters
    ----------
    path : Path
        The staged folder.
    split : str
        ``"train"`` or ``"test"``, a fifth by each row's hash (`rows.is_test`), or ``"all"``: it was published whole.

    Returns
    -------
    table : ndarray of float32, shape (N, 4)
        Length and width of the sepal, then of the petal, in centimetres.
    labels : ndarray of int64, shape (N,)
        0 setosa, 1 versicolor, 2 virginica.

    Raises
    ------
    SpecError
        If there is no such split.
    IntegrityError
        If the file is not the table.
    """
    import numpy as np

    chosen = [row.split(b",") for row in rows.of_split(path / "iris.csv", split, _rows)]
    table = np.array([[float(value) for value in row[:4]] for row in chosen], np.float32).reshape(-1, 4)
    return table, np.array([SPECIES.index(row[4].decode()) for row in chosen], np.int64)


def _rows(data: bytes) -> Iterator[bytes]:
    """Give each flower as ``5.1,3.5,1.4,0.2,setosa``; ValueError if a line after the first is none."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").replace(b";", b",").replace(b"\t", b",")
    lines = (line.strip() for line in text.split(b"\n"))
    for number, line in enumerate(line for line in lines if line):
        fields = [field.strip().strip(b"\"'") for field in line.split(b",")]
        try:
            if not 5 <= len(fields) <= 6:  # the sixth is a number of the row, in front
                raise ValueError("not five columns")
            values = [f"{float(field):.1f}" for field in fields[-5:-1]]
            name = fields[-1].decode("ascii").lower().removeprefix("iris-").removeprefix("iris_").removesuffix(".0")
            species = SPECIES[int(name)] if name in ("0", "1", "2") else name
            if species not in SPECIES:
                raise ValueError(f"{name!r} is no species of iris")
            yield ",".join([*values, species]).encode()
        except (ValueError, UnicodeDecodeError) as error:
            if number == 0:
                continue  # the header
            raise ValueError(f"line {number + 1} is no flower ({error})") from None


@dataclass(frozen=True, slots=True)
class IrisTable:
    """Makes ``iris.csv`` of any table of the 150 flowers: with or without header, row numbers, "Iris-" and quotes."""

    gives: tuple[str, ...] = ("iris.csv",)
    sizes: tuple[int, int] = (150 * 17, 16_384)

    def fits(self, head: bytes) -> bool:
        """Say whether the second line of a file is a flower."""
        lines = head.split(b"\n", 3)[:2]
        try:
            return len(lines) == 2 and bool(list(_rows(b"header\n" + lines[1])))
        except ValueError:
            return False

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        """Write the table under `into` in its own order of rows, with UCI's two wrong flowers put right."""
        try:
            found = list(_rows(stream.read(self.sizes[1] + 1)))
        except ValueError as error:
            return f"a table in which {error}"
        digest = rows.digest(found)
        if digest == _UCI:
            wrong = [at for at, row in enumerate(found) if row == _TWICE_WRONG]
            for at, right in zip(wrong[1:], _RIGHT):
                found[at] = right
        elif digest != _FISHER:
            return f"a table of {len(found)} irises that is not the published one"
        (into / "iris.csv").write_bytes(_HEADER + b"".join(row + b"\n" for row in found))
        return ("iris.csv",)


IRIS = Entry(
    name="iris",
    title="Iris",
    files=(File("iris.csv", 3858, "013d0da08d6506664ce640459139176b"),),
    read=read_iris,
    downloads=(
        # Different texts of one table, so neither size nor digest: the rows are what is checked.
        Download(
            "iris.csv",
            None,
            None,
            (
                "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.7.2/sklearn/datasets/data/iris.csv",
                "https://raw.githubusercontent.com/mwaskom/seaborn-data/master/iris.csv",
                "https://archive.ics.uci.edu/ml/machine-learning-databases/iris/iris.data",
            ),
        ),
    ),
    converters=(IrisTable(),),
    package_data=("sklearn/datasets/data",),
    licence="CC BY 4.0",
    citation='R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", Annals of Eugenics 7(2), 1936.',
    homepage="https://archive.ics.uci.edu/dataset/53/iris",
    shape=(4,),
    dtype="float32",
    classes=SPECIES,
    mean=(5.7992, 3.0603, 3.6645, 1.1645),
    std=(0.826, 0.4271, 1.7782, 0.7728),
    splits={"train": 121, "test": 29},
    needed="the table of 150 flowers:  iris.csv",
    search_words="iris",
    shows="iris.csv",
)

ENTRIES = (IRIS,)
