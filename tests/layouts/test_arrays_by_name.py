"""HDF5, npz, npy and Matlab's files: which array is the labels that the user names, and of which part it is."""

import numpy as np
import pytest

import datastage
from datastage import layouts
from datastage.errors import SpecError
from tests.next_lines import pieces

N = {"train": 20, "val": 6, "test": 10, "": 20}


def arrays(*names):
    """Make arrays of as many samples as their part has, pictures for x and whole numbers for y, from their names."""
    made = {}
    for name in names:
        part = next((part for part in ("train", "val", "test") if part in name.lower()), "")
        is_label = "y" in name.rpartition("/")[2].lower() or "label" in name
        made[name] = np.arange(N[part]) % 3 if is_label else np.full((N[part], 8, 8, 3), N[part], "u1")
    return made


def save(folder, kind, made):
    path = folder / f"data.{kind}"
    if kind == "h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            for name, array in made.items():
                file[name] = array
    elif kind == "npz":
        np.savez(path, **made)
    elif kind == "mat":
        pytest.importorskip("scipy.io").savemat(path, made)
    else:
        path = folder / "arrays"
        path.mkdir()
        for name, array in made.items():
            np.save(path / name, array)
    return path


def taken(path, **asked):
    """Return how many samples each part has; each picture tells the part that it is of."""
    read = layouts.read(path, **asked)
    found = {part: read.arrays(part) for part in read.splits}
    for part, (images, labels) in found.items():
        assert (len(images), len(labels), int(images.max())) == (N[part],) * 3
    return {part: len(images) for part, (images, _) in found.items()}


FLAT = ("x_test", "y_test", "x_train", "y_train")
TWO = {"train": 20, "test": 10}


@pytest.mark.parametrize("asked", ["y_test", "y_train"])
@pytest.mark.parametrize("kind", ["h5", "npz", "npy", "mat"])
def test_labels_of_the_test_part_are_never_trained_on_whichever_are_named(kind, asked, tmp_path):
    path = save(tmp_path, kind, arrays(*FLAT))
    assert taken(path, labels=asked + ".npy" * (kind == "npy")) == TWO


@pytest.mark.parametrize(
    ("names", "asked", "wanted"),
    [
        (("test/x", "test/y", "train/x", "train/y"), ("test/y", "train/y", "y"), TWO),
        (("Testing/x", "Testing/y", "Training/x", "Training/y"), ("Training/y", "Testing/y"), None),
        (("xtest", "ytest", "xtrain", "ytrain"), ("ytest", "ytrain"), TWO),
        (("testX", "testY", "trainX", "trainY"), ("testY", "trainY"), TWO),
        (("x", "y", "x_test", "y_test"), ("y", "y_test"), TWO),
        (("all/x", "all/y", "train/x", "train/y", "test/x", "test/y"), ("y", "test/y"), TWO),
        (("val/x", "val/y", "test/x", "test/y", "train/x", "train/y"), ("val/y", "y"), N),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_each_array_is_of_the_part_that_its_name_tells(kind, names, asked, wanted, tmp_path):
    path = save(tmp_path, kind, arrays(*names))
    for name in asked:
        assert taken(path, labels=name) == {part: n for part, n in (wanted or TWO).items() if part}


def test_test_labels_without_those_of_train_stay_the_test_part(tmp_path):
    assert taken(save(tmp_path, "h5", arrays("x_test", "y_test")), labels="y_test") == {"test": 10}


@pytest.mark.parametrize("kind", ["h5", "npz", "npy"])
@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("images", "test_results"), "test_results"),
        (("x", "eval_score"), "eval_score"),
        (("experiment_test/images", "experiment_test/labels"), "labels"),
    ],
)
def test_a_word_of_a_part_in_the_name_of_labels_alone_says_no_part(names, label, kind, tmp_path):
    if kind == "npy" and "/" in names[0]:
        pytest.skip("no groups")
    x, y = arrays("x", "y").values()
    path = save(tmp_path, kind, dict(zip(names, (x, y))))
    assert taken(path, labels=label + ".npy" * (kind == "npy")) == {"train": 20}


def test_the_step_for_a_test_part_alone_trains_on_it(tmp_path):
    path = save(tmp_path, "npz", arrays("x_test", "y_test"))
    with pytest.raises(SpecError, match="train is needed; given: test") as caught:
        datastage.loaders(path, labels="y_test", batch_size=5, progress=False)
    begin, line = caught.value.remedy[-1].removeprefix("Next: ").partition(", if")[0].split("; ")
    known = {"datastage": datastage}
    exec(begin, known)
    made = eval(line, known)
    assert len(made.train) == 2


def test_labels_of_a_test_part_are_not_trained_on_where_pictures_of_train_lie_beside(tmp_path):
    path = save(tmp_path, "npz", {"images": np.zeros((6, 8, 8, 3), "u1"), "test_score": np.arange(6), "x_train": [0]})
    assert layouts.read(path, labels="test_score").splits.keys() == {"test"}


def test_the_arrays_that_could_be_the_images_are_named_in_their_order(tmp_path):
    path = save(tmp_path, "npz", {"a": np.zeros((6, 2)), "b": np.zeros((6, 3)), "y": np.arange(6)})
    with pytest.raises(SpecError, match="^a, b in data.npz has as many"):
        layouts.read(path, labels="y")


def test_a_file_that_is_called_test_is_not_both_parts(tmp_path):
    save(tmp_path, "h5", arrays("x", "y")).rename(tmp_path / "test.h5")
    assert layouts.read(tmp_path / "test.h5", labels="y").splits.keys() == {"train"}


def test_of_several_files_of_one_part_none_is_dropped_in_silence(tmp_path):
    for name in ("train0", "train1", "test0"):
        save(tmp_path, "h5", arrays("x", "y")).rename(tmp_path / f"{name}.h5")
    with pytest.raises(SpecError, match=r"train0.h5, train1.h5 are several files of train"):
        layouts.read(tmp_path, labels="y")


def test_labels_of_one_name_in_several_groups_are_asked_for(tmp_path):
    path = save(tmp_path, "h5", arrays("a/x", "a/y", "b/x", "b/y"))
    with pytest.raises(SpecError, match=r"a/y, b/y .*\n.*labels=\"a/y\""):
        layouts.read(path, labels="y")


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("test/x", "test/y", "train/x", "train/y"), "train/y"),
        (("test_images", "test_labels", "train_images", "train_labels"), "train_labels"),
        (FLAT, "y_train"),
        (("x", "y", "x_test", "y_test"), "y"),
        (("list_of_classes_labels", "train_x", "train_y", "classes"), None),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "mat"])
def test_the_step_for_arrays_names_the_labels_of_train_and_runs(kind, names, label, tmp_path):
    if kind == "mat" and "/" in names[0]:
        pytest.skip("no groups")
    path = save(tmp_path, kind, arrays(*names))
    with pytest.raises(SpecError, match="which are the labels") as caught:
        layouts.read(path)
    step = next(code for code in pieces(caught.value.remedy) if "labels=" in code)
    if label:
        assert f'labels="{label}"' in step
        assert taken(path, labels=label)["train"] == 20


def test_the_step_for_two_arrays_of_labels_names_one_of_train(tmp_path):
    path = save(tmp_path, "npz", arrays(*FLAT, "labels_test", "labels_train"))
    with pytest.raises(SpecError, match=r"several arrays .*\n.* labels=\"y_train\""):
        layouts.read(path)


def test_of_several_files_the_one_of_each_part_is_read_whatever_the_names_of_its_arrays_say(tmp_path):
    for part in ("test", "train"):
        save(tmp_path, "h5", arrays(f"{part}_x", f"{part}_y")).rename(tmp_path / f"{part}.h5")
    assert taken(tmp_path, labels="train_y") == TWO


def test_a_file_of_the_test_part_that_is_named_stays_the_test_part_and_a_file_of_no_part_is_read_alone(tmp_path):
    for name, part in (("b_test", "test"), ("b_train", "train"), ("c", "train")):
        made = arrays(f"x_{part}", f"y_{part}")
        save(tmp_path, "h5", {"x": made[f"x_{part}"], "y": made[f"y_{part}"]}).rename(tmp_path / f"{name}.h5")
    assert taken(tmp_path, labels="b_test.h5:y") == taken(tmp_path, labels="b_train.h5:y") == TWO
    assert taken(tmp_path, labels="c.h5:y") == {"train": 20}


@pytest.mark.parametrize(("other", "lacks"), [(("x",), "y"), (("z",), "x"), (("y",), "x")])
def test_a_file_of_another_part_without_such_arrays_is_left_out_with_a_line(other, lacks, tmp_path):
    save(tmp_path, "h5", arrays("x", "y")).rename(tmp_path / "train.h5")
    save(tmp_path, "h5", arrays(*other)).rename(tmp_path / "test.h5")
    for label in ("train.h5:y", "y"):
        assert taken(tmp_path, labels=label) == {"train": 20}
        assert layouts.read(tmp_path, labels=label).left_out == (f"test.h5: it has no plain array {lacks!r}",)


@pytest.mark.parametrize("name", ["weights", "best", "data"])
def test_a_file_that_tells_no_part_is_not_of_train_where_another_one_is(name, tmp_path):
    for part in ("train", "test"):
        x, y = arrays(f"x_{part}", f"y_{part}").values()
        save(tmp_path, "h5", {"x": x, "y": y}).rename(tmp_path / f"{part}.h5")
    save(tmp_path, "h5", arrays("x", "y")).rename(tmp_path / f"{name}.h5")
    assert taken(tmp_path, labels="y") == TWO
    assert layouts.read(tmp_path, labels="y").left_out[0].startswith(f"{name}.h5: ")


def test_the_step_for_several_files_names_one_that_has_the_labels_and_runs(tmp_path):
    for name, kept in (("model", ("w",)), ("a/digits", ("x", "y")), ("b/digits", ("x", "y"))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path, "h5", arrays(*kept)).rename(tmp_path / f"{name}.h5")
    with pytest.raises(SpecError, match="a/digits.h5, b/digits.h5, model.h5 are several") as caught:
        layouts.read(tmp_path, labels="y")
    assert 'labels="a/digits.h5:y"' in caught.value.remedy[-1]
    assert taken(tmp_path, labels="a/digits.h5:y") == {"train": 20}


def test_of_a_file_that_is_named_the_parts_are_those_beside_it_and_no_other_file_of_its_own(tmp_path):
    for name in ("a/train", "b/train", "b/test", "train", "trainval"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path, "h5", arrays("x", "y")).rename(tmp_path / f"{name}.h5")
    for label in ("a/train.h5:y", "trainval.h5:y"):
        assert taken(tmp_path, labels=label) == {"train": 20}
    with pytest.raises(SpecError, match=r"several files of train.*\n.*labels=\"a/train.h5:y\""):
        layouts.read(tmp_path, labels="train.h5:y")


def test_matlab_pictures_whose_samples_come_last_are_of_their_part(tmp_path):
    made = {name: array.transpose(1, 2, 3, 0) if array.ndim == 4 else array for name, array in arrays(*FLAT).items()}
    path = save(tmp_path, "mat", made)
    assert taken(path, labels="y_test") == taken(path, labels="y_train") == TWO


# --- what HDF5 alone has


@pytest.fixture
def h5(tmp_path):
    file = pytest.importorskip("h5py").File(tmp_path / "data.h5", "w")
    yield file, tmp_path / "data.h5"
    file.close()


@pytest.mark.parametrize(
    ("names", "also", "asked", "wanted"),
    [
        (("train/x", "train/y"), {"all": "train"}, ("train/y", "all/y", "y"), {"train": 20}),
        (("x", "y"), {"images": "x"}, ("y",), {"train": 20}),
        (("x", "y"), {"images": "x", "labels": "y"}, ("y", "labels"), {"train": 20}),
        (("train/x", "train/y", "test/x", "test/y"), {"default": "train"}, ("train/y", "default/y", "y"), TWO),
        (("train/x", "train/y", "test/x", "test/y"), {"train/images": "train/x"}, ("train/y", "test/y"), TWO),
        (
            ("v1/train/x", "v1/train/y", "v1/test/x", "v1/test/y"),
            {"latest": "v1"},
            ("v1/train/y", "latest/train/y", "latest/test/y", "y"),
            TWO,
        ),
    ],
)
def test_one_array_or_group_of_two_names_is_one(names, also, asked, wanted, h5):
    file, path = h5
    for name, array in arrays(*names).items():
        file[name] = array
    for name, first in also.items():
        file[name] = file[first]
    file.flush()
    for label in asked:
        assert taken(path, labels=label) == wanted


def test_the_test_part_that_is_the_train_part_by_another_name_is_none(h5):
    file, path = h5
    file["train/x"], file["train/y"] = arrays("x", "y").values()
    file["test"] = file["train"]
    file.flush()
    assert taken(path, labels="train/y") == {"train": 20}


def test_arrays_are_found_behind_whatever_many_others_lie_before_them(h5, monkeypatch):
    from datastage.layouts import scientific

    monkeypatch.setattr(scientific, "MOST_LINKS", 100)
    file, path = h5
    for i in range(1200):
        file[f"#refs#/a{i}"] = i
        file.create_group(f"meta/{i}")
    file["train/x"], file["train/y"] = arrays("x", "y").values()
    file.flush()
    for label in ("train/y", "y"):
        assert taken(path, labels=label) == {"train": 20}


def test_what_numpy_has_no_array_for_is_passed_over_in_hdf5(h5):
    import h5py

    file, path = h5
    file["x"], file["y"] = arrays("x", "y").values()
    file["empty"], file["kind"], file["text"] = h5py.Empty("f"), np.dtype("f8"), "abc"
    h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((20,)))
    file.flush()
    with pytest.raises(SpecError, match=r": x, y; which are the labels"):
        layouts.read(path)
    assert taken(path, labels="y") == {"train": 20}


def test_hdf5_without_an_array_of_numbers_says_that_there_is_none(h5):
    file, path = h5
    file["text"] = "abc"
    file.flush()
    with pytest.raises(SpecError, match=r"no array 'y' in data.h5.\n  Next: look where"):
        layouts.read(path, labels="y")
