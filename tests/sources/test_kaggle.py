from __future__ import annotations

from pathlib import Path

import pytest

from datastage.errors import IntegrityError, SpecError, UnavailableError
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


@pytest.mark.parametrize(
    ("spec", "parts", "name"),
    [
        ("kaggle:ann/titanic@3", ("dataset", "ann", "titanic", "3", ""), "titanic"),
        ("kaggle:ann/titanic/train/a.csv", ("dataset", "ann", "titanic", "", "train/a.csv"), "a.csv"),
        ("kaggle:ann/titanic@3/a.csv", ("dataset", "ann", "titanic", "3", "a.csv"), "a.csv"),
        ("kaggle:ann/titanic/versions/3", ("dataset", "ann", "titanic", "3", ""), "titanic"),
        ("kaggle:competitions/titanic/train.csv", ("competition", "titanic", "", "train.csv"), "train.csv"),
        ("kaggle:models/google/gemma/pyTorch/2b", ("model", "google", "gemma", "pyTorch", "2b"), "gemma"),
        ("kaggle:models/google/gemma/pyTorch/2b/1", ("model", "google", "gemma", "pyTorch", "2b", "1", ""), "gemma"),
        ("kaggle:notebooks/ann/my-run", ("notebook", "ann", "my-run"), "my-run"),
        ("kaggle:code/ann/my-run/out.csv", ("notebook", "ann", "my-run", "", "out.csv"), "out.csv"),
        ("https://www.kaggle.com/code/ann/my-run/output", ("notebook", "ann", "my-run"), "my-run"),
        ("https://www.kaggle.com/c/titanic/data", ("competition", "titanic"), "titanic"),
        ("https://kaggle.com/competitions/titanic/overview", ("competition", "titanic"), "titanic"),
        (
            "https://www.kaggle.com/models/google/gemma/pyTorch/2b/1",
            ("model", "google", "gemma", "pyTorch", "2b", "1", ""),
            "gemma",
        ),
    ],
)
def test_every_kind_of_thing_on_kaggle_can_be_named(spec, parts, name):
    parsed = parse(spec)
    assert (parsed.scheme, parsed.parts, parsed.file_name, str(parsed)) == ("kaggle", parts, name, spec)


@pytest.mark.parametrize(
    "spec", ["kaggle:", "kaggle:a/../b", "kaggle:a/b@x", "kaggle:models/google/gemma", "kaggle:-a", "kaggle:a/b//c"]
)
def test_what_is_no_name_says_how_one_is_written(spec):
    with pytest.raises(SpecError, match="kaggle:OWNER/NAME@VERSION/FILE"):
        parse(spec)


def test_the_page_of_a_profile_is_an_address_like_others():
    assert parse("https://www.kaggle.com/somebody").scheme == "http"


def test_a_file_of_an_input_is_opened_where_it_lies(machine):
    folder = attach(machine, "dataset")
    found = open_spec(parse("kaggle:somebody/titanic/train.csv"), runtime(machine))
    assert (found.content.local_path, found.in_place) == (folder / "train.csv", True)
    assert found.seen == 'train.csv, 8 bytes, in your input "titanic"'


def test_a_file_that_an_input_does_not_hold_is_answered_with_what_is_near(machine):
    attach(machine, "dataset")
    with pytest.raises(UnavailableError, match=r"There is no trian\.csv") as caught:
        open_spec(parse("kaggle:somebody/titanic/trian.csv"), runtime(machine))
    assert "It holds train.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "line"),
    [("dataset", "kaggle:somebody/titanic/sub/x.zip"), ("classic", "/kaggle/input/titanic/sub/x.zip")],
)
def test_a_file_that_is_named_without_the_owner_is_offered_as_it_is_named(machine, layout, line):
    folder = attach(machine, layout)
    (folder / "sub").mkdir()
    (folder / "sub/x.zip").touch()
    with pytest.raises(UnavailableError, match="your input titanic holds sub/x.zip") as caught:
        open_spec(parse("kaggle:titanic/sub/x.zip"), runtime(machine))
    assert str(caught.value).splitlines()[-1].replace(str(machine), "") == f"Next: is it this one?  {line}"
    with pytest.raises(UnavailableError, match="is not attached"):
        open_spec(parse("kaggle:titanic/sub/other.zip"), runtime(machine))


def test_an_input_that_is_empty_is_no_data(machine):
    (attach(machine, "dataset") / "train.csv").unlink()
    with pytest.raises(IntegrityError, match="is empty"):
        open_spec(parse("kaggle:somebody/titanic"), runtime(machine))


@pytest.mark.parametrize("spec", ["kaggle:models/google/gemma/pyTorch/2b", "kaggle:models/google/gemma/pytorch/2b/1"])
def test_a_variation_of_an_attached_model_is_found_in_its_newest_version(machine, spec):
    for version in ("1", "2", "10"):
        (machine / "kaggle/input/models/google/gemma/pytorch/2b" / version / "model").mkdir(parents=True)
    found = open_spec(parse(spec), runtime(machine))
    assert found.content.name == ("1" if spec.endswith("/1") else "10")


def test_the_output_of_a_notebook_is_told_from_a_dataset_of_the_name(machine):
    notebook = attach(machine, "notebook")
    dataset = attach(machine, "dataset")
    assert open_spec(parse("kaggle:notebooks/somebody/titanic"), runtime(machine)).content == notebook
    assert open_spec(parse("kaggle:somebody/titanic"), runtime(machine)).content == dataset


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
