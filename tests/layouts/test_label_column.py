"""Which column is the label is told where its table tells it, and nowhere else."""

import pytest

from datastage.layouts.columns import Table, open_table
from datastage.layouts.label_column import (
    Choice,
    _is_named_label,
    choose,
    column_of,
    part_column,
    parts_of,
    side_of,
    task_of,
)
from datastage.layouts.shape import _goes_with
from datastage.layouts.tree import of_file


def table(columns, name="train.csv"):
    """Return a table of these columns, each a list of texts."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(None, name, tuple(columns), rows, True, ",", "utf-8", False)


PETS = {
    "id": ["1", "2", "3", "4"],
    "cat": ["1", "0", "0", "1"],
    "dog": ["0", "1", "1", "0"],
    "weight": ["3.5", "20.1", "15", "4"],
}


@pytest.mark.parametrize(
    ("name", "values", "parts"),
    [
        ("split", ["train", "test", "val"], {"train": "train", "test": "test", "val": "val"}),
        ("split", ["train", "other"], {"train": "train"}),  # the others are of no part: they are left out
        ("source", ["train", "web"], {}),
        ("source", ["train", "test"], {"train": "train", "test": "test"}),
        ("split", ["true", "false"], {}),
        ("split", ["test", "val"], {}),  # nothing to learn from
        ("split", ["0", "1", "2"], {"0": "train", "1": "val", "2": "test"}),
        ("partition", ["0", "1", "2"], {"0": "train", "1": "val", "2": "test"}),
        ("phase", ["0", "1", "2"], {}),
        ("stage", ["0", "1", "2"], {}),
        ("fold", ["0", "1", "2"], {}),
        ("split", ["0", "1"], {}),
        ("split", ["0", "1", "3"], {}),
        ("is_valid", ["True", "False"], {"True": "val", "False": "train"}),
        ("is_validation", ["0", "1"], {"0": "train", "1": "val"}),
        ("is_test", ["0", "1"], {"0": "train", "1": "test"}),
        ("is_train", ["true", "false"], {"true": "train", "false": "test"}),
        ("is_train", ["0", "1"], {"0": "test", "1": "train"}),
        ("is_train", ["1"], {"1": "train"}),
        ("is_train", ["0", "1", "5"], {}),
        ("usage", ["PublicTest", "Training"], {"PublicTest": "val", "Training": "train"}),
        ("split", ["train", "val"], {"train": "train", "val": "val"}),
        ("split", ["", ""], {}),
        ("valid", ["True", "False"], {}),  # it may say that a row is
        ("is_val", ["1.0", "0.0"], {"1.0": "val", "0.0": "train"}),
        ("in_train", ["0", "1"], {"0": "test", "1": "train"}),
        ("test_set", ["False", "True"], {"False": "train", "True": "test"}),
        ("trainset", ["0", "1"], {"0": "test", "1": "train"}),
        ("invalid", ["0", "1"], {}),
        ("island", ["0", "1"], {}),
        ("train", ["0", "1"], {}),
        ("data_split", ["0", "1", "2"], {"0": "train", "1": "val", "2": "test"}),
        ("data_split", ["train", "other"], {"train": "train"}),
        ("split", ["tr", "VA", "te"], {"tr": "train", "VA": "val", "te": "test"}),
        ("source", ["tr", "te"], {}),
        ("where", ["train", "test"], {"train": "train", "test": "test"}),
        ("where", ["Training", "validation"], {"Training": "train", "validation": "val"}),
        ("where", ["train", "web"], {}),
        ("where", ["train", "Training"], {}),
        ("where", ["train station", "test drive"], {}),
        ("valid", ["0", "1"], {}),
    ],
)
def test_what_a_column_says_of_parts(name, values, parts):
    found = parts_of(name, values)
    assert {value: part for value, part in found.items() if part} == parts or (parts == {} and not found)


@pytest.mark.parametrize(
    ("name", "values", "task"),
    [
        ("label", [str(n) for n in range(100)], "classification"),
        ("label", [str(n) for n in range(500)], "classification"),
        ("target", [str(n) for n in range(100)], "classification"),
        ("target", [str(n) for n in range(101)], "regression"),
        ("wing", [str(n) for n in range(30)], "classification"),
        ("wing", [str(n) for n in range(31)], "regression"),
        ("age", ["1", "2", "3"], "regression"),
        ("age", ["1", "2"], "classification"),
        ("label", ["1.5", "2.25"], "regression"),
        ("label", ["cat", "dog", "cat"], "classification"),
        ("tags", ["a b", "b", "a b c"], "multi-label"),
    ],
)
def test_what_is_learnt_from_a_column(name, values, task):
    assert task_of(column_of(table({name: values}), name)) == task


@pytest.mark.parametrize("name", ["class_id", "wing", "target"])
@pytest.mark.parametrize("values", [[n // 10 for n in range(1500)], [n % 150 for n in range(1500)]])
def test_the_order_of_the_rows_does_not_tell_classes_from_numbers(name, values, tmp_path):
    text = f"file,{name}\n" + "".join(f"{at}.png,{value}\n" for at, value in enumerate(values))
    (tmp_path / "t.csv").write_text(text)
    found = choose(open_table(of_file(tmp_path / "t.csv"), "t.csv"), ["file"], [], None)
    assert (found.label, found.task) == ((name,), "classification" if name == "class_id" else "regression")


@pytest.mark.parametrize("n_words", [49, 50])
def test_words_far_down_among_numbers_make_them_no_words_where_they_are_fewer_than_one_in_ten(n_words, tmp_path):
    values = [*range(450), *(f"lost {n}" for n in range(n_words))]
    text = "file,wing\n" + "".join(f"{at}.png,{value}\n" for at, value in enumerate(values))
    (tmp_path / "t.csv").write_text(text)
    found = choose(open_table(of_file(tmp_path / "t.csv"), "t.csv"), ["file"], [], None)
    assert (found.task == "regression") == (n_words < 50)


@pytest.mark.parametrize(("n", "side"), [(784, 28), (783, 0), (4096, 64), (16, 4), (9, 0)])
def test_pixels_in_columns_are_those_of_a_square(n, side):
    assert side_of([f"pixel{i}" for i in range(n)]) == side
    assert side_of([*(f"pixel{i}" for i in range(n - 1)), "label"]) == 0


def submission(*names):
    return table({"id": ["5"], **{name: ["0"] for name in names}}, "sample_submission.csv")


@pytest.mark.parametrize(
    ("columns", "asked", "label", "task"),
    [
        (PETS, ["cat", "dog"], ("cat", "dog"), "one-hot"),
        ({**PETS, "dog": ["1", "1", "1", "0"]}, ["cat", "dog"], ("cat", "dog"), "multi-label"),
        ({**PETS, "dog": ["-1", "1", "1", "-1"]}, ["cat", "dog"], ("cat", "dog"), "multi-label"),
        ({**PETS, "dog": ["0", "0", "1", "0"]}, ["cat", "dog"], ("cat", "dog"), "multi-label"),
        ({**PETS, "newt": ["0", "0", "0", "0"]}, ["cat", "dog", "newt"], ("cat", "dog", "newt"), "one-hot"),
        (PETS, ["weight"], ("weight",), "regression"),
        (PETS, ["Dog"], ("dog",), "classification"),
        (PETS, ["cat", "weight"], (), ""),  # not columns of ones
        (PETS, ["bird"], (), ""),
    ],
)
def test_the_columns_that_a_sample_of_the_answer_asks_for_are_the_label(columns, asked, label, task):
    found = choose(table(columns), ["id"], [], submission(*asked))
    assert (found.label, found.task) == (label, task)


def test_a_column_that_only_the_table_to_train_on_has_is_the_label():
    without = {name: values for name, values in PETS.items() if name != "weight"}
    assert choose(table(PETS), [], [table(without, "test.csv")], None).label == ("weight",)
    empty = {**PETS, "weight": ["", "", "", ""]}
    assert choose(table(PETS), [], [table(empty, "test.csv")], None).label == ("weight",)
    both = [table(without, "test.csv"), table(PETS, "more.csv")]
    assert choose(table(PETS), [], both, None).label == ()


def test_columns_of_ones_that_only_the_table_to_train_on_has_are_the_label():
    without = table({"id": ["7", "8"], "weight": ["4", "5"]}, "test.csv")
    found = choose(table(PETS), ["id"], [without], None)
    assert (found.label, found.task) == (("cat", "dog"), "one-hot")


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"target": ["0", "1", "0"], "category": ["cat", "dog", "cat"]}, ("category",)),
        ({"category": ["cat", "dog", "cat"], "target": ["0", "1", "0"]}, ("category",)),
        ({"target": ["0", "1", "1"], "category": ["cat", "dog", "cat"]}, ()),  # they do not say the same
        ({"target": ["0", "1", "0"], "label": ["5", "7", "5"]}, ("target",)),
        ({"target": ["0", "1", "0"], "label": ["5", "7", "5"], "class": ["a", "b", "a"]}, ()),  # three say it
    ],
)
def test_of_two_columns_that_say_the_same_the_one_with_words_is_the_label(columns, label):
    assert choose(table(columns), [], [], None).label == label


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"has_wing": ["0", "1", "0"], "tail": ["3", "4", "5"]}, ("has_wing",)),
        ({"is_bird": ["no", "yes", "no"], "tail": ["3", "4", "5"]}, ("is_bird",)),
        ({"has_wing": ["0", "1", "2"], "tail": ["3", "4", "5"]}, ()),  # a number of wings
    ],
)
def test_a_column_that_asks_yes_or_no_is_the_label(columns, label):
    assert choose(table(columns), [], [], None).label == label


def test_boxes_and_masks_are_named_and_nothing_is_guessed_of_columns_that_say_nothing():
    boxes = {"image": ["a.jpg", "b.jpg"], "n": ["1", "2"], "boxes": ["[10, 20, 30, 40]", "[1, 2, 3, 4]"]}
    found = choose(table(boxes), ["image"], [], None)
    assert (found.label, found.task) == (("boxes",), "detection")
    found = choose(table({"image": ["a", "b"], "wing": ["1", "2"], "tail": ["3", "4"]}), ["image"], [], None)
    assert found.label == Choice().label
    assert [column.name for column in found.candidates] == ["wing", "tail"]
    each = {"image": ["a", "b"], "wing": ["1,5", "2,5"], "boxes": ["[1, 2]", "[3, 4]"], "tail": ["3", "3"]}
    assert [column.name for column in choose(table(each), [], [], None).candidates] == ["image", "wing", "boxes"]


@pytest.mark.parametrize(
    ("name", "beside", "label"),
    [
        ("y", "width", ()),
        ("y", "colour", ("y",)),
        ("Y", "colour", ("Y",)),
        ("y_", "colour", ()),
        ("label", "width", ("label",)),
    ],
)
def test_a_y_that_says_where_in_a_picture_something_is_is_no_label(name, beside, label):
    columns = {"x": ["1", "2"], name: ["3", "4"], beside: ["5", "6"]}
    assert choose(table(columns), [], [], None).label == label


@pytest.mark.parametrize(
    ("mask", "pictures", "goes"),
    [
        ("train_masks", "train", True),
        ("masks_train", "train", True),
        ("train", "train", False),
        ("val_masks", "train", False),
        ("masks_val", "train", False),
    ],
)
def test_a_folder_of_masks_bears_the_name_of_its_pictures_and_more(mask, pictures, goes):
    assert _goes_with(mask, pictures) == goes


@pytest.mark.parametrize(
    ("values", "is_one"), [(["1", "1", "1"], True), (["0", "1", "1"], True), (["0", "1", "2"], False)]
)
def test_a_column_that_says_yes_or_no_is_named_as_a_label_also_where_all_say_yes(values, is_one):
    assert _is_named_label(column_of(table({"is_ill": values}), "is_ill"), False) is is_one


def test_the_column_that_names_the_most_parts_says_them_and_no_label_does():
    says = {"f": ["1.5"] * 3, "is_test": ["0", "0", "1"], "which": ["train", "val", "test"]}
    assert part_column(table(says)) == "which"
    assert part_column(table(says), ["which"]) == "is_test"
    assert part_column(table({"f": ["1"] * 3, "label": ["train", "val", "test"]})) is None
    assert part_column(table({"which": ["train", "", "test"]})) == "which"
    assert choose(table({**says, "group": list("aab")}), [], [], None).part == "which"
    assert "which" not in [one.name for one in choose(table(says), [], [], None).candidates]
