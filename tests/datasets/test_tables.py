from __future__ import annotations

import hashlib

import numpy as np
import pytest

from datastage import datasets
from datastage.datasets import get, package_folders, tables
from datastage.errors import IntegrityError, SpecError


def _sklearn(name: str) -> bytes:
    folders = package_folders(get("iris"))
    if not folders:
        pytest.skip("scikit-learn is not installed")
    return (folders[0] / name).read_bytes()


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


# --- tables of the user's own


def write(tmp_path, text: str, name: str = "table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_the_column_called_label_is_the_label_wherever_it_stands(tmp_path):
    path = write(tmp_path, "Label,a,b\ncat,1,2\ndog,3,4\ncat,5,6\n")
    table, labels = datasets.read(path, "train")
    assert (table.tolist(), labels.tolist()) == ([[1, 2], [3, 4], [5, 6]], [0, 1, 0])
    assert datasets.classes_of(path) == ("cat", "dog")


def test_without_such_a_name_the_last_column_is(tmp_path):
    path = write(tmp_path, "1.5,2,0\n3,4,1\n")
    table, labels = datasets.read(path, "train")
    assert (table.tolist(), labels.tolist(), datasets.classes_of(path)) == ([[1.5, 2], [3, 4]], [0, 1], ())


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    path = write(tmp_path, "Id,a,species\n1,5,x\n2,6,y\n")
    assert datasets.read(path, "train")[0].tolist() == [[5], [6]]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_told(separator, tmp_path):
    path = write(tmp_path, "a,b,label\n1,2,x\n3,4,y\n".replace(",", separator))
    assert datasets.read(path, "train")[0].tolist() == [[1, 2], [3, 4]]


def test_columns_of_pixels_are_images(tmp_path):
    header = "label," + ",".join(f"pixel{i}" for i in range(64))
    path = write(tmp_path, header + "\n" + "\n".join("3," + ",".join(["255"] * 64) for _ in range(2)))
    images, labels = datasets.read(path, "train")
    assert (images.shape, images.dtype, labels.tolist()) == ((2, 8, 8, 1), np.uint8, [3, 3])


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", IntegrityError, "is empty"),
        ("a,b,label\n", IntegrityError, "no rows"),
        ("a,b,label\n1,2,x\n3,y\n", IntegrityError, "row 3: 2 values where the first has 3"),
        ("a,b,label\n1,2,x\n3,,y\n", SpecError, "row 3: b is '', which is no number"),
        ("a,b,c\n1,2,0.5\n3,4,0.7\n", SpecError, "are not classes"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_says_where(text, error, said, tmp_path):
    with pytest.raises(error, match=said):
        datasets.read(write(tmp_path, text), "train")


def test_a_folder_with_train_and_test_tables_has_both_splits(tmp_path):
    write(tmp_path, "a,label\n1,x\n2,y\n", "train.csv")
    write(tmp_path, "a,label\n3,y\n4,x\n", "test.csv")
    assert datasets.splits_of(tmp_path) == ("train", "test")
    assert datasets.read(tmp_path, "test")[1].tolist() == [1, 0]


def test_a_test_table_that_lacks_a_class_keeps_the_numbers_of_the_training_table(tmp_path):
    write(tmp_path, "a,label\n1,x\n2,y\n", "train.csv")
    write(tmp_path, "a,label\n3,y\n", "test.csv")
    assert datasets.read(tmp_path, "test")[1].tolist() == [1]


# --- npz


def test_an_npz_by_keras_names_is_read(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        x_train=np.zeros((5, 4, 4), np.uint8),
        y_train=np.arange(5),
        x_test=np.ones((2, 4, 4), np.uint8),
        y_test=np.array([[1], [0]]),
    )
    assert datasets.splits_of(tmp_path / "x.npz") == ("train", "test")
    images, labels = datasets.read(tmp_path / "x.npz", "test")
    assert (images.shape, labels.tolist()) == ((2, 4, 4, 1), [1, 0])


def test_an_npz_by_medmnist_names_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((5, 3, 4, 4), np.uint8), train_labels=np.zeros((5, 1), np.uint8))
    assert datasets.read(tmp_path / "x.npz", "train")[0].shape == (5, 4, 4, 3)


def test_an_npz_that_holds_a_pickle_is_refused_and_nothing_runs(tmp_path):
    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    np.savez(tmp_path / "x.npz", x=np.array([Runs()], dtype=object), y=np.zeros(1, int))
    with pytest.raises(IntegrityError, match="could run code when read: they were not read"):
        datasets.read(tmp_path / "x.npz", "train")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, SpecError, "none is called images or labels"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.zeros(2, int)}, SpecError, "do not go with"),
        ({"x": np.zeros((3, 4, 4)), "y": np.zeros(3, int)}, SpecError, "neither images"),
    ],
)
def test_an_npz_without_images_and_labels_says_what_it_has(arrays, error, said, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(error, match=said):
        datasets.read(tmp_path / "x.npz", "train")


def test_a_damaged_npz_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), y=np.zeros(3, int))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-40])
    with pytest.raises(IntegrityError):
        datasets.read(tmp_path / "x.npz", "train")


# --- pictures in class folders


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for split, n in (("Train", 3), ("TEST", 1)):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(n):
                image.new("RGB", (6, 4), (number * 100, i, 7)).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def test_pictures_in_class_folders_are_read(pictures):
    assert datasets.splits_of(pictures) == ("train", "test")
    assert datasets.classes_of(pictures) == ("cat", "dog")
    images, labels = datasets.read(pictures, "train")
    assert (images.shape, labels.tolist()) == ((6, 4, 6, 3), [0, 0, 0, 1, 1, 1])
    assert images[4, 0, 0].tolist() == [100, 1, 7]


def test_pictures_of_two_sizes_are_refused_with_what_helps(pictures):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(pictures / "Train" / "dog" / "9.png")
    with pytest.raises(SpecError, match="differ in size: 6 x 4 and 9 x 9"):
        datasets.read(pictures, "train")


def test_a_folder_of_something_else_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert datasets.splits_of(tmp_path) == ()
    with pytest.raises(SpecError, match="neither pictures in class folders nor a csv or npz"):
        datasets.read(tmp_path, "train")


def test_a_cifar_folder_is_recognised_without_a_name(tmp_path):
    from tests import kaggle_inputs as layouts

    layouts._write(layouts.small_cifar(), tmp_path)
    assert datasets.splits_of(tmp_path) == ("train", "test")
    assert datasets.read(tmp_path, "test")[0].shape == (20, 32, 32, 3)
