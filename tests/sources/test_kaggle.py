from __future__ import annotations

from pathlib import Path

import pytest

from datastage.errors import SpecError, UnavailableError
from datastage.runtime import detect
from datastage.sources import kaggle, open_spec, parse
from tests import kaggle_inputs as layouts


@pytest.fixture
def machine(tmp_path):
    """Stands for / on a Kaggle machine, with nothing attached."""
    (tmp_path / "kaggle" / "input").mkdir(parents=True)
    (tmp_path / "kaggle" / "working").mkdir()
    return tmp_path


def runtime(machine: Path, kind: str = "Interactive"):
    environ = {"KAGGLE_KERNEL_RUN_TYPE": kind, "COLAB_RELEASE_TAG": "release-colab_20260514", "HOME": "/root"}
    return detect(environ, root=machine, cwd=machine / "kaggle" / "working")


def attach(machine: Path, layout: str, slug: str = "titanic", owner: str = "somebody") -> Path:
    folder = layouts.input_folder(machine / "kaggle" / "input", layout, slug, owner)
    (folder / "train.csv").write_text("a,b\n1,2\n")
    return folder


def names(machine: Path) -> list[str]:
    return [item.slug for item in kaggle.inputs(machine / "kaggle" / "input")]


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_each_layout_gives_one_input_with_the_name_that_a_person_knows(layout, machine):
    attach(machine, layout)
    expected = {"called datasets": "datasets", "called d": "d", "a dataset called datasets": "datasets"}
    assert names(machine) == [expected.get(layout, "titanic")]


def test_a_dataset_called_datasets_with_class_folders_is_one_input(machine):
    for split in ("train", "test"):
        (machine / "kaggle" / "input" / "datasets" / split / "cat").mkdir(parents=True)
    assert names(machine) == ["datasets"]


@pytest.mark.parametrize("name", ["datasets", "competitions", "models", "notebooks", "d", "m"])
def test_an_input_that_bears_a_prefix_for_a_name_is_itself(name, machine):
    folder = machine / "kaggle" / "input" / name
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    (folder / "cifar-10-batches-py" / "data_batch_1").touch()
    (folder / "readme.txt").touch()
    assert names(machine) == [name]


def test_all_layouts_side_by_side_are_listed(machine):
    attach(machine, "dataset", "one")
    attach(machine, "competition", "two")
    attach(machine, "notebook", "three")
    attach(machine, "model", "four")
    attach(machine, "classic", "five")
    attach(machine, "collision", "six")
    assert sorted(names(machine)) == sorted(["one", "two", "three", "four", "five", "six"])


def test_nothing_attached_and_no_such_folder_are_no_inputs(machine):
    assert (names(machine), kaggle.inputs(machine / "absent"), kaggle.inputs(None)) == ([], (), ())


@pytest.mark.parametrize(
    ("attached", "text"),
    [
        ([], "this notebook has no inputs yet"),
        (["titanic"], "your 1 input (titanic)"),
        (["a", "b"], "your 2 inputs (a, b)"),
        (list("abcdefgh"), "your 8 inputs (a, b, c, d, e, f, ...)"),
    ],
)
def test_what_is_attached_is_said_in_words(attached, text, machine):
    for slug in attached:
        attach(machine, "dataset", slug)
    assert kaggle.listed(kaggle.inputs(machine / "kaggle" / "input")) == text


@pytest.mark.parametrize(
    ("layout", "spec"),
    [
        ("classic", "kaggle:titanic"),
        ("classic", "kaggle:somebody/titanic"),
        ("classic", "kaggle:competitions/titanic"),
        ("dataset", "kaggle:titanic"),
        ("dataset", "kaggle:somebody/titanic"),
        ("dataset", "kaggle:Somebody/Titanic"),
        ("dataset", "https://www.kaggle.com/datasets/somebody/titanic"),
        ("collision", "kaggle:somebody/titanic"),
        ("competition", "kaggle:competitions/titanic"),
        ("competition", "kaggle:titanic"),
        ("notebook", "kaggle:titanic"),
        ("model", "kaggle:titanic"),
    ],
)
def test_a_spec_opens_the_attached_folder_where_it_lies(layout, spec, machine):
    folder = attach(machine, layout)
    found = open_spec(parse(spec), runtime(machine))
    assert isinstance(found.content, Path)
    assert (found.content / "train.csv").is_file() or found.content in folder.parents
    assert (found.in_place, found.seen) == (True, 'your input "titanic"')


def test_the_owner_decides_between_two_of_one_name(machine):
    attach(machine, "dataset", owner="first")
    second = attach(machine, "dataset", owner="second")
    assert open_spec(parse("kaggle:second/titanic"), runtime(machine)).content == second


def test_two_of_one_name_without_an_owner_are_an_error_that_lists_both(machine):
    attach(machine, "dataset", owner="first")
    attach(machine, "dataset", owner="second")
    with pytest.raises(SpecError, match="kaggle:first/titanic or kaggle:second/titanic"):
        open_spec(parse("kaggle:titanic"), runtime(machine))


def test_a_dataset_of_another_owner_is_not_taken(machine):
    attach(machine, "dataset", owner="other")
    with pytest.raises(UnavailableError, match="not attached"):
        open_spec(parse("kaggle:somebody/titanic"), runtime(machine))


def test_a_name_with_the_folders_spelling_is_the_same(machine):
    attach(machine, "classic", "my-data")
    assert open_spec(parse("kaggle:my_data"), runtime(machine)).content


def test_what_is_not_attached_says_what_is_and_the_clicks(machine):
    attach(machine, "dataset", "house-prices")
    with pytest.raises(UnavailableError) as caught:
        open_spec(parse("kaggle:somebody/titanic"), runtime(machine))
    text = str(caught.value)
    assert "Looked in: your 1 input (house-prices)." in text
    assert '"Add Input"' in text
    assert "https://www.kaggle.com/datasets/somebody/titanic" in text
    assert text.splitlines()[-1].startswith("Next: ")
    assert len(text.splitlines()) <= 14
    assert max(map(len, text.splitlines())) <= 88


def test_a_saved_run_is_not_told_to_press_what_is_not_there(machine):
    with pytest.raises(UnavailableError, match="nothing can be attached to a saved run"):
        open_spec(parse("kaggle:titanic"), runtime(machine, "Batch"))


@pytest.mark.parametrize("spec", ["kaggle:somebody/titanic", "kaggle:competitions/titanic", "kaggle:titanic"])
def test_outside_kaggle_it_says_what_comes_later_and_what_to_do_now(spec, tmp_path):
    here = detect({"HOME": str(tmp_path)}, root=tmp_path, cwd=tmp_path)
    with pytest.raises(UnavailableError) as caught:
        open_spec(parse(spec), here)
    text = str(caught.value)
    assert "comes with a later version" in text
    assert "https://www.kaggle.com/" in text
    assert text.splitlines()[-1].startswith("Next:")
    assert len(text.splitlines()) <= 14


def test_a_folder_that_changed_has_another_identity(machine):
    folder = attach(machine, "dataset")
    before = open_spec(parse("kaggle:titanic"), runtime(machine)).identity
    (folder / "new.csv").touch()
    assert open_spec(parse("kaggle:titanic"), runtime(machine)).identity != before


def test_an_input_of_a_million_files_is_not_walked(machine, monkeypatch):
    folder = attach(machine, "classic", "pictures")
    for number in range(2000):
        (folder / f"{number}.jpg").touch()
    looked = []
    real = kaggle.os.scandir
    monkeypatch.setattr(kaggle.os, "scandir", lambda path: looked.append(path) or real(path))
    assert names(machine) == ["pictures"]
    assert len(looked) == 1
