"""Small tables of the catalog: iris and digits, and a digest of a table whatever the order of its rows.

The staged ``iris.csv`` has a header, species by name, and the order of rows of wherever it was found. Two texts are the
published data: R's and scikit-learn's, which is Fisher's table, and UCI's, whose 35th and 38th flower have three wrong
numbers. UCI's own note on the set gives the right ones, and they are put in. The staged ``digits.csv`` is the published
text, UCI's ``optdigits.tes``: no header, 64 values of 0 to 16, the digit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datastage.entry import Arrays, Download, Entry, File, Lookalike
from datastage.errors import IntegrityError, SpecError

_MODULUS = 1 << 256


def digest(rows: Iterable[bytes]) -> str:
    """Return the digest of rows in any order, as 64 hexadecimal digits.

    Each row is hashed with SHA-256; the hashes are added as numbers modulo 2 to the 256. Addition does not care for
    order and, other than exclusive or, counts a row that comes twice. For data that nobody forges on purpose this is as
    good as the hash itself.
    """
    total = sum(int.from_bytes(hashlib.sha256(row).digest(), "big") for row in rows)
    return f"{total % _MODULUS:064x}"


def is_test(row: bytes) -> bool:
    """Say whether a row belongs to the test split of a table that was published without one: about a fifth do.

    By the row's own hash, so that the split is the same on every machine and in every order of rows, and equal rows are
    never on both sides.
    """
    return hashlib.sha256(row).digest()[0] < 51


def rows_of(path: Path, split: str, parse: Callable[[bytes], Iterable[bytes]]) -> list[bytes]:
    """Return the rows of a table that belong to ``"train"``, ``"test"`` (`is_test`), or ``"all"``."""
    if split not in ("train", "test", "all"):
        raise SpecError(f"There is no split {split!r}.", "Next: one of train, test, all.")
    try:
        found = list(parse(path.read_bytes()))
    except ValueError as error:
        raise IntegrityError(f"{path.name}: {error}.", "Next: stage it again with refresh=True.") from None
    return [row for row in found if split == "all" or is_test(row) == (split == "test")]


@dataclass(frozen=True, slots=True)
class TableForm:
    """Makes an entry's table of any text with the same rows: in another order, with another header."""

    gives: tuple[str, ...]
    sizes: tuple[int, int]
    parse: Callable[[bytes], Iterable[bytes]]
    settle: Callable[[list[bytes]], str]
    header: bytes = b""

    def fits(self, head: bytes) -> bool:
        """Say whether the second line of a file is a row."""
        lines = head.split(b"\n", 3)[:2]
        try:
            return len(lines) == 2 and bool(list(self.parse(b"header\n" + lines[1])))
        except ValueError:
            return False

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        try:
            found = list(self.parse(stream.read(self.sizes[1] + 1)))
        except ValueError as error:
            return f"a table in which {error}"
        other = self.settle(found)
        if other:
            return other
        (into / self.gives[0]).write_bytes(self.header + b"".join(row + b"\n" for row in found))
        return self.gives


SPECIES = ("setosa", "versicolor", "virginica")
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")
_HEADER = ",".join(COLUMNS).encode() + b"\n"

# Of the rows ``5.1,3.5,1.4,0.2,setosa`` (`digest`).
_FISHER = "62947b6b806d625f8356476849a7bdef431ab6bb7ea8ed979ed50c4219674c41"
_UCI = "e56f22d0b225dc5ab67b5a949ea8e6f1a9a13316b9a860d02c9e47c3608fe5ce"
_TWICE_WRONG = b"4.9,3.1,1.5,0.1,setosa"  # once right, twice wrong in UCI's text
_RIGHT = (b"4.9,3.1,1.5,0.2,setosa", b"4.9,3.6,1.4,0.1,setosa")


def read_iris(path: Path, split: str) -> Arrays:
    """Read a split of a staged iris: float32 (N, 4), sepal then petal, length and width in cm; species 0 to 2."""
    import numpy as np

    chosen = [row.split(b",") for row in rows_of(path / "iris.csv", split, flowers)]
    table = np.array([[float(value) for value in row[:4]] for row in chosen], np.float32).reshape(-1, 4)
    return table, np.array([SPECIES.index(row[4].decode()) for row in chosen], np.int64)


def flowers(data: bytes) -> Iterator[bytes]:
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


def _settle_iris(found: list[bytes]) -> str:
    what = digest(found)
    if what == _UCI:
        wrong = [at for at, row in enumerate(found) if row == _TWICE_WRONG]
        for at, right in zip(wrong[1:], _RIGHT):
            found[at] = right
    elif what != _FISHER:
        return f"a table of {len(found)} irises that is not the published one"
    return ""


_SK = "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.7.2/sklearn/datasets/data"
# Of both, different texts of one table go round, so neither size nor digest: the rows are what is checked.
IRIS = Entry(
    "iris", "Iris", (File("iris.csv", 3858, "013d0da08d6506664ce640459139176b"),), read_iris,
    (
        Download("iris.csv", None, None, (
            f"{_SK}/iris.csv", "https://raw.githubusercontent.com/mwaskom/seaborn-data/master/iris.csv",
            "https://archive.ics.uci.edu/ml/machine-learning-databases/iris/iris.data",
        )),
    ),
    (TableForm(("iris.csv",), (150 * 17, 16_384), flowers, _settle_iris, _HEADER),),
    package_data=("sklearn/datasets/data",), licence="CC BY 4.0",
    citation='R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", Annals of Eugenics 7(2), 1936.',
    homepage="https://archive.ics.uci.edu/dataset/53/iris", shape=(4,), dtype="float32", classes=SPECIES,
    mean=(5.7992, 3.0603, 3.6645, 1.1645), std=(0.826, 0.4271, 1.7782, 0.7728), splits={"train": 121, "test": 29},
    needed="the table of 150 flowers:  iris.csv", search_words="iris", shows="iris.csv",
)  # fmt: skip

# Of the rows as they stand in the published text, without line ends (`digest`).
_DIGITS = "031d862836f3b3c3a39d9b30f3440f513cee7b59a5ec64f8b097cade50094baf"


def read_digits(path: Path, split: str) -> Arrays:
    """Read a split of the staged digits: images (N, 8, 8, 1) of uint8, and labels 0 to 9.

    The published 0 to 16 is stretched to 0 to 255; ``(images / 255 * 16).round()`` gives the published numbers back.
    """
    import numpy as np

    chosen = rows_of(path / "digits.csv", split, figures)
    table = np.array([row.split(b",") for row in chosen]).astype(np.int64).reshape(-1, 65)
    images = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)
    return images.reshape(-1, 8, 8, 1), table[:, 64].copy()


_VALUES = {str(n).encode() for n in range(17)}


def figures(data: bytes) -> Iterator[bytes]:
    """Give each digit as 65 numbers with commas; ValueError if a line after the first is none."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"").replace(b".0", b"").translate(None, b'" ')
    for number, line in enumerate(line for line in text.split(b"\n") if line):
        fields = line.split(b",")
        if len(fields) == 65 and _VALUES.issuperset(fields) and len(fields[-1]) == 1:
            yield line
        elif number:
            raise ValueError(f"line {number + 1} is not 64 values from 0 to 16 and a digit")


def _settle_digits(found: list[bytes]) -> str:
    if digest(found) == _DIGITS:
        return ""
    if len(found) == 3823:
        return "optdigits.tra, the 3,823 digits that scikit-learn leaves out"
    return f"a table of {len(found):,} other digits"


DIGITS = Entry(
    "digits", "Digits", (File("digits.csv", 264712, "a0339c30a8a5312a1b6f9e5c719dcce5"),), read_digits,
    (
        Download("digits.csv.gz", None, None, (
            f"{_SK}/digits.csv.gz",
            "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/optdigits.tes",
        )),
    ),
    (TableForm(("digits.csv",), (1797 * 130, 1797 * 65 * 5), figures, _settle_digits),),
    lookalikes=(
        Lookalike("pictures (png); the numbers are not the same", names=("*digits*.png", "*digits*.jpg")),
        Lookalike("the Digit Recognizer competition: 28 by 28 pixels, the set called mnist",
                  names=("*digit-recognizer*",)),
    ),
    package_data=("sklearn/datasets/data",), licence="CC BY 4.0",
    citation='E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI ML Repository, 1998.',
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    shape=(8, 8, 1), classes=tuple("0123456789"), mean=(0.3051,), std=(0.3758,), splits={"train": 1434, "test": 363},
    needed="the table of 1,797 digits of 8 by 8 pixels:  digits.csv or optdigits.tes", search_words="optdigits",
    shows="digits.csv or optdigits.tes",
)  # fmt: skip
