import re

import numpy as np
import pytest
import torch

import datastage
from datastage.batches.arrays import from_arrays
from datastage.errors import SpecError

IMAGES = np.zeros((12, 8, 8, 3), np.uint8)


def loaders(labels, said=None, **options):
    class Reporter:
        def phase(self, name, total_bytes): ...
        def advance(self, n_bytes): ...
        def note(self, text, label="Found"):
            said is not None and said.append(f"{label}: {text}")

    splits = labels if isinstance(labels, dict) else {"train": labels}
    arrays = {name: (IMAGES[: len(part)], part) for name, part in splits.items()}
    return from_arrays(arrays, batch_size=5, shuffle=False, device="cpu", reporter=Reporter(), **options)


def given(loader):
    return torch.cat([y for _, y in loader])


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (np.arange(12) % 3, torch.int64),
        (np.arange(12, dtype=np.uint8) % 2, torch.int64),
        (np.arange(12) % 2 == 0, torch.int64),
        (np.linspace(0, 9, 12), torch.float32),
        (torch.linspace(-1, 1, 12, dtype=torch.bfloat16), torch.float32),
        (torch.ones(12, requires_grad=True), torch.float32),
        (np.eye(3)[np.arange(12) % 3], torch.float32),
        (np.arange(48).reshape(12, 4), torch.int64),
        (np.arange(96.0).reshape(12, 2, 4), torch.float32),
        (list(range(12)), torch.int64),
    ],
    ids=[
        "classes",
        "bytes",
        "yes or no",
        "measures",
        "bfloat16",
        "trained",
        "one-hot",
        "boxes",
        "several boxes",
        "a list",
    ],
)
def test_labels_stay_what_they_are(labels, dtype):
    y = given(loaders(labels).train)
    expected = labels.detach().float() if isinstance(labels, torch.Tensor) else torch.from_numpy(np.asarray(labels))
    assert y.dtype == dtype
    assert torch.equal(y, expected.to(dtype))


def test_names_are_classes_in_their_order():
    said = []
    names = np.array(["cat", "dog", "ant"] * 4)
    made = loaders({"train": names, "test": names[:2]}, said)
    assert made.classes == made.train.classes == ("ant", "cat", "dog")
    assert given(made.train).tolist() == [1, 2, 0] * 4
    assert given(made.test).tolist() == [1, 2]
    assert said[0] == "Classes: 3 by name: ant, cat, dog"


def test_names_that_are_numbers_are_classes_in_the_order_of_their_values_as_those_of_folders_are():
    names = np.array(["1", "10", "2"] * 4)
    (loader,) = loaders(names, test=0)
    assert loader.classes == ("1", "2", "10")
    assert given(loader).tolist() == [0, 2, 1] * 4


def test_names_are_numbered_as_the_classes_that_are_given():
    labels = np.array(["cat", "dog", "ant"] * 4, dtype=object)
    assert given(loaders(labels, classes=["dog", "cat", "ant"]).train).tolist() == [1, 0, 2] * 4
    with pytest.raises(SpecError, match="train has the class 'ant', which is none of classes="):
        loaders(labels, classes=["dog", "cat"])


def test_classes_name_numbers_and_may_name_more_than_train_has():
    made = loaders({"train": np.arange(12) % 3, "test": np.array([3, -100])}, classes=["a", "b", "c", "d"])
    assert made.classes == ("a", "b", "c", "d")
    assert given(made.test).tolist() == [3, -100]
    assert loaders(np.arange(12) % 3 + 1, classes=["a", "b", "c"]).classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(12), "train has the class 2, and classes= names 2 alone"),
        (np.arange(12) % 3 + 1, "classes= names 2 classes, and train has 3: 1, 2, 3"),
        (np.arange(12.0), "floats, which are measures"),
    ],
)
def test_classes_that_do_not_fit_are_refused(labels, says):
    with pytest.raises(SpecError, match=says) as caught:
        loaders(labels, classes=["a", "b"])
    assert caught.value.remedy[-1].startswith("Next: ")


@pytest.mark.parametrize(
    ("labels", "able", "wrong"),
    [
        ([0, 1, 2], [range(3), range(4), ["a", "1", "2"], [1, 2, 3], [10, 20, 30]], [[2, 1, 0], [1, 0, 2, 3]]),
        ([3, 5, 7], [[3, 5, 7], ["3.0", "5", "7"], range(8), ["c", "b", "a"]], [[7, 5, 3], [0, 1, 2], range(8, 0, -1)]),
    ],
)
def test_numbers_in_classes_are_no_names_of_other_numbers(labels, able, wrong):
    for classes in able:
        names = tuple(map(str, classes))
        assert loaders(np.array(labels * 4), classes=names).classes == names
        assert loaders(list(map(str, labels)) * 4, classes=tuple(map(str, labels[::-1]))).train
    for classes in wrong:
        with pytest.raises(SpecError, match="calls the number") as caught:
            loaders(torch.tensor(labels * 4), classes=tuple(map(str, classes)))
        assert caught.value.remedy[-1].startswith("Next: ")


def test_names_of_places_may_be_numbers_written_in_another_way():
    assert loaders(np.arange(12) % 3, classes=("00", "01", "02")).classes == ("00", "01", "02")
    with pytest.raises(SpecError, match="calls the number 0 '02'"):
        loaders(np.arange(12) % 3, classes=("02", "01", "00"))


@pytest.mark.parametrize("lowest", [3, -1, 1])
def test_numbers_that_do_not_begin_at_0_are_numbered_from_there_and_that_is_said(lowest):
    said = []
    labels = lowest + np.array([0, 2, 5] * 4)
    made = loaders({"train": labels, "test": labels[:3]}, said)
    assert given(made.train).tolist() == [0, 1, 2] * 4
    assert given(made.test).tolist() == [0, 1, 2]
    assert made.classes == tuple(str(lowest + i) for i in (0, 2, 5))
    assert said[0].startswith(f"Classes: 3 from {lowest} to {lowest + 5}, numbered from 0")


def test_numbers_from_0_stay_as_they_are_with_gaps_and_with_what_is_to_be_ignored():
    said = []
    labels = np.array([0, 2, 5, -100] * 3)
    assert given(loaders(labels, said).train).tolist() == labels.tolist()
    assert not [line for line in said if line.startswith("Classes")]
    assert given(loaders(labels + (labels >= 0)).train).tolist() == [0, 1, 2, -100] * 3


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"train": np.array(["a", "b"]), "test": np.array(["a", "c"])}, "test has the class 'c', which train has not"),
        ({"train": np.array([1, 2]), "test": np.array([1, 7])}, "test has the class 7, which train has not"),
        ({"train": np.arange(4), "test": np.arange(5)}, "test has the class 4, and train has 0 to 3"),
        ({"train": np.arange(4), "test": np.arange(4) - 1}, "test has the class -1, and train has 0 to 3"),
        ({"train": np.arange(4), "test": np.arange(4.0)}, "test: labels of shape .* float32; train has .* int64"),
        ({"train": np.zeros((4, 2)), "test": np.zeros((4, 3))}, r"test: labels of shape \(4, 3\)"),
        ({"train": np.array([["a", "b"]] * 4)}, "numbers or names are needed"),
        ({"train": [[1, 2], [3]]}, "is no array|numbers or names are needed"),
    ],
)
def test_labels_that_do_not_fit_are_told_apart(splits, says):
    with pytest.raises(SpecError, match=says):
        loaders(splits)


def test_a_train_part_whose_labels_are_all_to_be_ignored_knows_no_classes_and_takes_any_others():
    made = loaders({"train": np.full(12, -100), "test": np.arange(12) % 4})
    assert given(made.train).tolist() == [-100] * 12
    assert given(made.test).tolist() == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("lowest", [0, 1])
def test_a_part_whose_labels_are_placeholders_is_led_to_where_parts_without_labels_go(lowest):
    with pytest.raises(SpecError, match="test has the class -1") as caught:
        loaders({"train": np.arange(12) % 3 + lowest, "test": np.full(12, -1)})
    assert "{'train': (x, y), 'predict': (x_test, None)}" in caught.value.remedy[-1]
    with pytest.raises(SpecError, match="test has the class -1") as caught:
        loaders({"train": np.arange(12) % 3 + lowest, "test": np.arange(12) % 2 * 2 - 1})
    assert "predict" not in str(caught.value)


def test_rows_of_a_single_1_get_a_word():
    said = []
    loaders(np.eye(3)[np.arange(12) % 3], said)
    assert any("argmax" in line for line in said)
    said.clear()
    loaders(np.ones((12, 3)), said)  # several labels of each sample
    assert not said


def test_an_ordinary_column_of_labels_is_no_row():
    assert given(loaders(np.arange(12)[:, None]).train).tolist() == list(range(12))


def test_a_part_without_labels_gives_its_ids_in_order_and_does_not_unpack():
    names = np.array([f"{i}.jpg" for i in range(12)])
    for ids, expected in ((names, names.tolist()), (None, list(range(12))), (np.arange(12) * 2, list(range(0, 24, 2)))):
        made = from_arrays({"train": (IMAGES, np.arange(12)), "predict": (IMAGES, ids)}, batch_size=5, device="cpu")
        assert list(made) == [made.train]
        assert [i if isinstance(i, str) else int(i) for _, part in made.predict for i in part] == expected
        assert "predict   12 samples in 3 batches of 5; in order" in str(made)


@pytest.mark.parametrize(
    ("part", "gone", "what", "step"),
    [
        ("train", slice(3, 4), "1 are NaN or infinite", "keep = numpy.isfinite(y)"),
        ("val", slice(3, 5), "2 are NaN or infinite", "keep = numpy.isfinite(y)"),
        ("test", slice(None), "12 are NaN or infinite", "'predict': (x_test, None)"),
    ],
)
def test_labels_that_are_missing_are_refused_with_the_line_that_leaves_them_out(part, gone, what, step):
    labels = {"train": np.linspace(0, 9, 12), part: np.linspace(0, 9, 12)}
    labels[part][gone] = np.nan
    with pytest.raises(SpecError, match=what) as caught:
        loaders(labels)
    assert step in str(caught.value).splitlines()[-1]


def test_an_empty_name_is_no_class_and_rows_of_several_with_gaps_are_said_to_hold_them():
    with pytest.raises(SpecError, match="1 are empty"):
        loaders(np.array(["cat", "", "dog"] + ["cat"] * 9))
    rows, said = np.ones((12, 2)), []
    rows[5, 1] = np.nan
    loaders(rows, said)
    assert "Labels: NaN or infinity in 1 rows of train, as they are" in said


def after(error, **known):
    """What the lines of an error's last step give, run as they stand."""
    lines = error.value.remedy[-1].removeprefix("Next: ")
    exec(re.sub(r", batch_size=.*", ")", lines.replace("datastage.loaders", "made = list")), known)
    return known["made"]


@pytest.mark.parametrize("gone", [None, np.nan, "", "NA"])
def test_labels_of_objects_that_are_missing_are_refused_with_the_line_that_leaves_them_out(gone):
    if gone == "NA":
        gone = pytest.importorskip("pandas").NA
    for names in (["a", "b", "c"], [0, 1, 2]):
        y = np.array([*names, gone] * 3, object)
        with pytest.raises(SpecError, match="3 are (missing|empty)") as caught:
            loaders(y)
        _, left = after(caught, x=np.arange(12), y=y)
        assert list(left) == names * 3
        assert loaders(left).train
    with pytest.raises(SpecError, match="12 are (missing|empty)") as caught:
        loaders({"train": np.arange(12), "test": np.array([gone] * 12, object)})
    assert "'predict': (x_test, None)" in caught.value.remedy[-1]


@pytest.mark.parametrize(
    "y",
    [
        [1.0, np.nan] * 6,
        ["a", ""] * 6,
        ["a", None] * 6,
        ["a", np.nan] * 6,
        [1, None] * 6,
        ("a", "") * 6,
        [0.5, "NA"] * 6,
    ],
)
def test_labels_in_a_list_that_are_missing_are_refused_with_the_line_that_leaves_them_out(y):
    if "NA" in y:
        missing = pytest.importorskip("pandas").NA
        y = [missing if label == "NA" else label for label in y]
    with pytest.raises(SpecError, match="6 are (NaN|missing|empty)") as caught:
        loaders(y)
    images, left = after(caught, x=np.arange(12), y=y)
    assert (list(images), list(left)) == (list(range(0, 12, 2)), [y[0]] * 6)


GAPS = {
    "a tensor": lambda pandas: torch.tensor([1, np.nan] * 6),
    "a tensor that is trained": lambda pandas: torch.tensor([1, np.nan] * 6, requires_grad=True),
    "a tensor of bfloat16": lambda pandas: torch.tensor([[1], [np.nan]] * 6, dtype=torch.bfloat16),
    "a series": lambda pandas: pandas.Series([1, None] * 6, index=[7] * 12),
    "a series of Int64": lambda pandas: pandas.Series([1, None] * 6, dtype="Int64"),
    "a series of names": lambda pandas: pandas.Series(["a", None, "a", ""] * 3, dtype="string"),
    "a series of names and empty ones": lambda pandas: pandas.Series(["a", ""] * 6),
    "a frame": lambda pandas: pandas.DataFrame({"y": [1.0, np.nan] * 6}),
    "a frame of Int64": lambda pandas: pandas.DataFrame({"y": pandas.Series([1, None] * 6, dtype="Int64")}),
    "a frame of names": lambda pandas: pandas.DataFrame({"y": ["a", None] * 6}),
    "rows of one": lambda pandas: [[1.0], [np.nan]] * 6,
    "rows of one name": lambda pandas: [["a"], [None]] * 6,
    "an array of rows of one": lambda pandas: np.array([[1.0], [np.nan]] * 6),
}


@pytest.mark.parametrize("of", [np.array, list, tuple, torch.from_numpy])
@pytest.mark.parametrize("kind", GAPS)
def test_the_line_that_leaves_out_missing_labels_runs_for_whatever_holds_them(kind, of):
    pixels = np.arange(12 * 192, dtype=np.uint8).reshape(12, 8, 8, 3)
    x, y = of(pixels), GAPS[kind](pytest.importorskip("pandas"))
    with pytest.raises(SpecError, match="6 are (NaN|missing|empty)") as caught:
        datastage.loaders((x, y), batch_size=4, device="cpu", progress=False)
    images, left = after(caught, x=x, y=y)
    assert list(left) == ["a" if "name" in kind else 1] * 6
    assert np.array_equal(np.asarray(images), pixels[::2])
    assert datastage.loaders((images, left), batch_size=4, device="cpu", progress=False).train


def test_the_line_for_missing_labels_of_a_part_keeps_the_other_parts():
    y = np.linspace(0, 9, 12)
    gaps = np.where(np.arange(12) % 3 == 0, np.nan, y)
    for part in ("train", "val", "test"):
        parts = {"train": (IMAGES, y), "val": (IMAGES, y), "test": (IMAGES, y)} | {part: (IMAGES, gaps)}
        with pytest.raises(SpecError, match=f"{part}: of 12 labels 4 are NaN") as caught:
            datastage.loaders(parts, batch_size=4, device="cpu", progress=False)
        line = caught.value.remedy[-1].partition(", where parts")[0].removeprefix("Next: ")
        known = {"parts": parts, "datastage": datastage}
        exec(line.replace("datastage.loaders", "made = datastage.loaders"), known)
        assert {name: len(getattr(known["made"], name).dataset) for name in parts} == {
            name: 12 - 4 * (name == part) for name in parts
        }


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_the_line_for_missing_labels_in_a_file_reads_it_and_keeps_the_other_parts(kind, tmp_path):
    y, path = np.linspace(0, 9, 12), tmp_path / f"a.{kind}"
    made = {"x_train": IMAGES, "y_train": y, "x_test": IMAGES, "y_test": np.where(np.arange(12) % 3 == 0, np.nan, y)}
    if kind == "npz":
        np.savez(path, **made)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, array in made.items():
                file[name] = array
    asked = {} if kind == "npz" else {"labels": "y_train"}
    with pytest.raises(SpecError, match="test: of 12 labels 4 are NaN") as caught:
        datastage.loaders(path, batch_size=4, progress=False, **asked)
    known = {"datastage": datastage}
    exec(caught.value.remedy[-1].removeprefix("Next: ").replace("datastage.loaders", "made = datastage.loaders"), known)
    assert (len(known["made"].train.dataset), len(known["made"].test.dataset)) == (12, 8)


@pytest.mark.parametrize("of", [np.array, list, lambda y: np.array(y, object), lambda y: np.array(y, object)[:, None]])
def test_names_in_bytes_are_names_and_the_line_leaves_out_the_empty_ones(of):
    with pytest.raises(SpecError, match="4 are empty") as caught:
        loaders(of([b"a", b"", b"b"] * 4))
    _, left = after(caught, x=np.arange(12), y=of([b"a", b"", b"b"] * 4))
    assert loaders(left).classes == ("a", "b")
    assert given(loaders(left, test=0).train).tolist() == [0, 1] * 4


def test_a_part_of_other_classes_is_left_out_as_the_step_says_of_arrays_and_of_files(tmp_path):
    y, other = np.arange(12) % 2, np.arange(12) % 2 * 2 - 1
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=y, x_test=IMAGES, y_test=other)
    for data in (tmp_path / "a.npz", {"train": (IMAGES, y), "test": (IMAGES, other)}):
        for asked in ({}, {"classes": ["neg", "pos"]}):
            with pytest.raises(SpecError, match="test has the class -1") as caught:
                datastage.loaders(data, batch_size=4, device="cpu", progress=False, **asked)
            assert caught.value.remedy[-1].startswith("Next: test=0 leaves test out")
            assert "classes=" not in caught.value.remedy[-1]
            made = datastage.loaders(data, batch_size=4, device="cpu", progress=False, test=0, **asked)
            assert (len(made.train.dataset), made.test) == (12, None)
