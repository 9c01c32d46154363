"""Tables as their publishers write them, told by their digests, and how those without words in them are read.

Sizes and digests: scikit-learn 1.9 (sha256), tensorflow-datasets 4.9.10 (sha256). UCI publishes none.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from datastage.entry import ArchiveEntry, Arrays, Lookalike, Part

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_SK = "https://raw.githubusercontent.com/scikit-learn/scikit-learn/1.5.2/sklearn/datasets/data"
_PENGUINS = "https://storage.googleapis.com/download.tensorflow.org/data/palmer_penguins"
_TITANIC = "https://storage.googleapis.com/tf-datasets/titanic"


def _rows(path: Path, **form: Any) -> Any:
    import numpy as np

    return np.loadtxt(path, np.float32, ndmin=2, **form)


def _last(path: Path, split: str, *, file: str = "", header: int = 0, less: int | None = 0) -> Arrays:
    """Read a table whose last column is the label: a class, counted from `less`; or a number, where that is None."""
    rows = _rows(path / file if file else path, delimiter=",", skiprows=header)
    return rows[:, :-1], rows[:, -1] if less is None else rows[:, -1].astype("int64") - less


def _wines(path: Path, split: str) -> Arrays:
    import numpy as np

    rows = [_rows(path / f"winequality-{kind}.csv", delimiter=";", skiprows=1) for kind in ("red", "white")]
    both = np.concatenate(rows)
    return both[:, :-1], both[:, -1].astype("int64") - 3  # marks from 3 to 9


def _diabetes(path: Path, split: str) -> Arrays:
    return _rows(path / "diabetes_data_raw.csv"), _rows(path / "diabetes_target.csv").reshape(-1)


ENTRIES = (
    ArchiveEntry(
        "titanic", "Titanic, of TensorFlow's tutorial", (f"{_TITANIC}/train.csv",), None, 30874, unpack=False,
        more=(Part("eval.csv", (f"{_TITANIC}/eval.csv",), None, 13049, unpack=False),), task="table",
        splits={"train": 627, "test": 264}, labels="train.csv:survived",
        lookalikes=(
            Lookalike("the competition's tables of 891 and 418 passengers, which is kaggle:competitions/titanic",
                      "train.csv of 627 rows", names=("*/gender_submission.csv",), sizes=(61194, 28629)),
        ),
    ),
    ArchiveEntry(
        "california_housing", "California housing", ("https://ndownloader.figshare.com/files/5976036",),
        "sha256:aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681", 441963, task="regression",
        file="cal_housing.tgz",
        citation="Pace, Barry, 1997", splits={"train": 20640},
        read=partial(_last, file="CaliforniaHousing/cal_housing.data", less=None),
        lookalikes=(Lookalike("housing.csv, the table of a textbook with ocean_proximity", "cal_housing.tgz",
                              names=("*/housing.csv",)),),
    ),
    ArchiveEntry(
        "penguins", "Palmer penguins", (f"{_PENGUINS}/penguins_size.csv",),
        "sha256:aa728597b2228a2637e39c6f08e40a80971f4cdac7faf7bc21ff4481ee3e3ae9", 13519, unpack=False, task="table",
        licence="CC0", citation="Horst, Hill, Gorman, 2020", splits={"train": 344},
        classes=("Adelie", "Chinstrap", "Gentoo"), labels="species",
    ),
    ArchiveEntry(
        "adult", "Adult census income", (f"{_UCI}/adult/adult.data",), None, 3974305, unpack=False,
        more=(Part("adult.test", (f"{_UCI}/adult/adult.test",), None, 2003153, unpack=False),), task="table",
        licence="CC BY 4.0", homepage="https://archive.ics.uci.edu/dataset/2/adult",
        splits={"train": 32561, "test": 16281}, labels="adult.data:column 15",
    ),
    ArchiveEntry(
        "wine_quality", "Wine quality", (f"{_UCI}/wine-quality/winequality-red.csv",), None, 84199, unpack=False,
        more=(
            Part("winequality-white.csv", (f"{_UCI}/wine-quality/winequality-white.csv",), None, 264426, unpack=False),
        ),
        task="table", licence="CC BY 4.0", citation="Cortez et al., 2009",
        homepage="https://archive.ics.uci.edu/dataset/186/wine+quality", splits={"train": 6497},
        read=_wines, classes=("3", "4", "5", "6", "7", "8", "9"),
    ),
    ArchiveEntry(
        "wine", "Wine, three cultivars", ("package:sklearn/datasets/data/wine_data.csv", f"{_SK}/wine_data.csv"),
        "md5:4a4db56405701ab0f3ed0e194e993c0f", 11157, unpack=False, task="table", licence="CC BY 4.0",
        homepage="https://archive.ics.uci.edu/dataset/109/wine", splits={"train": 178},
        read=partial(_last, header=1), classes=("class_0", "class_1", "class_2"),
    ),
    ArchiveEntry(
        "breast_cancer", "Breast cancer, Wisconsin",
        ("package:sklearn/datasets/data/breast_cancer.csv", f"{_SK}/breast_cancer.csv"),
        "md5:36ef90874abc87f4b4a8554dcc17cf6f", 119913, unpack=False, task="table", licence="CC BY 4.0",
        homepage="https://archive.ics.uci.edu/dataset/17", splits={"train": 569}, classes=("malignant", "benign"),
        read=partial(_last, header=1),
    ),
    ArchiveEntry(
        "diabetes", "Diabetes",
        ("package:sklearn/datasets/data/diabetes_data_raw.csv.gz", f"{_SK}/diabetes_data_raw.csv.gz"),
        "md5:a8e967d45d7162dc51982bde4b33d507", 7073,
        more=(Part("diabetes_target.csv.gz",
                   ("package:sklearn/datasets/data/diabetes_target.csv.gz", f"{_SK}/diabetes_target.csv.gz"),
                   "md5:1a035fe70b2f8622146613365e30700c", 1050),),
        task="regression", citation="Efron et al., 2004", splits={"train": 442}, read=_diabetes,
    ),
    ArchiveEntry(
        "covtype", "Forest cover types", ("https://ndownloader.figshare.com/files/5976039",),
        "sha256:614360d0257557dd1792834a85a1cdebfadc3c4f30b011d56afee7ffb5b15771", 11240707, task="table",
        file="covtype.data.gz",
        licence="CC BY 4.0", homepage="https://archive.ics.uci.edu/dataset/31/covertype", splits={"train": 581012},
        read=partial(_last, file="covtype.data", less=1),
        classes=("spruce/fir", "lodgepole pine", "ponderosa pine", "cottonwood/willow", "aspen", "Douglas-fir",
                 "krummholz"),
    ),
)  # fmt: skip
