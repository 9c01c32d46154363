from __future__ import annotations

import hashlib

import numpy as np
import pytest

from datastage.datasets import get, in_package, tables
from datastage.errors import IntegrityError, SpecError


def _sklearn(name: str) -> bytes:
    folder = in_package("sklearn/datasets/data")
    if folder is None:
        pytest.skip("scikit-learn is not installed")
    return (folder / name).read_bytes()


@pytest.fixture
def staged_iris(tmp_path):
    rows = tables.flowers(_sklearn("iris.csv"))
    (tmp_path / "iris.csv").write_bytes(tables._HEADER + b"".join(row + b"\n" for row in rows))
    return tmp_path


@pytest.fixture
def staged_digits(tmp_path):
    import gzip

    (tmp_path / "digits.csv").write_bytes(gzip.decompress(_sklearn("digits.csv.gz")))
    return tmp_path


def test_iris_is_a_table_of_four_columns_and_three_classes(staged_iris):
    table, labels = get("iris").read(staged_iris, "all")
    assert (table.shape, table.dtype, labels.dtype) == ((150, 4), np.float32, np.int64)
    assert np.bincount(labels).tolist() == [50, 50, 50]
    assert table[0].tolist() == pytest.approx([5.1, 3.5, 1.4, 0.2])


def test_the_splits_of_iris_have_the_lengths_of_the_entry(staged_iris):
    assert {split: len(get("iris").read(staged_iris, split)[1]) for split in ("train", "test")} == get("iris").splits


def test_the_split_does_not_depend_on_the_order_of_rows(staged_iris):
    before = sorted(map(tuple, get("iris").read(staged_iris, "test")[0].tolist()))
    header, *lines = (staged_iris / "iris.csv").read_bytes().splitlines()
    (staged_iris / "iris.csv").write_bytes(b"\n".join([header, *reversed(lines)]))
    assert sorted(map(tuple, get("iris").read(staged_iris, "test")[0].tolist())) == before


def test_mean_and_deviation_of_iris_are_those_of_its_training_rows(staged_iris):
    table, _ = get("iris").read(staged_iris, "train")
    assert table.mean(0).tolist() == pytest.approx(list(get("iris").mean), abs=1e-3)
    assert table.std(0).tolist() == pytest.approx(list(get("iris").std), abs=1e-3)


def test_the_staged_iris_has_the_published_digest(staged_iris):
    data = (staged_iris / "iris.csv").read_bytes()
    assert (len(data), hashlib.md5(data).hexdigest()) == (get("iris").files[0].size, get("iris").files[0].md5)


def test_digits_are_pictures_from_0_to_255(staged_digits):
    images, labels = get("digits").read(staged_digits, "all")
    assert (images.shape, images.dtype, labels.shape) == ((1797, 8, 8, 1), np.uint8, (1797,))
    assert (images.min(), images.max()) == (0, 255)


def test_the_published_numbers_of_digits_come_back(staged_digits):
    images, _ = get("digits").read(staged_digits, "all")
    first = [int(value) for value in (staged_digits / "digits.csv").read_bytes().split(b"\n")[0].split(b",")[:64]]
    assert (images[0].ravel() / 255 * 16).round().tolist() == first


def test_the_splits_of_digits_have_the_lengths_and_figures_of_the_entry(staged_digits):
    entry = get("digits")
    assert {split: len(entry.read(staged_digits, split)[1]) for split in ("train", "test")} == entry.splits
    images, _ = entry.read(staged_digits, "train")
    assert (images.mean() / 255, images.std() / 255) == pytest.approx((entry.mean[0], entry.std[0]), abs=1e-3)


@pytest.mark.parametrize("name", ["iris", "digits"])
def test_another_split_is_refused(name, tmp_path):
    with pytest.raises(SpecError, match="one of train, test, all"):
        get(name).read(tmp_path, "val")


@pytest.mark.parametrize(("name", "file"), [("iris", "iris.csv"), ("digits", "digits.csv")])
def test_a_damaged_table_is_refused(name, file, tmp_path):
    (tmp_path / file).write_bytes(b"header\n1,2,3\n")
    with pytest.raises(IntegrityError, match="line 2"):
        get(name).read(tmp_path, "train")


def test_the_rest_of_optdigits_is_called_by_its_name(tmp_path):
    import io

    line = b",".join([b"0"] * 64 + [b"7"]) + b"\n"
    said = tables.DIGITS.converters[0].convert(io.BytesIO(line * 3823), tmp_path)
    assert said == "optdigits.tra, the 3,823 digits that scikit-learn leaves out"
