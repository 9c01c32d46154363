"""A column that seems to say the parts is read, asked about, or named in a line, whatever holds it."""

import pytest

import datastage
from datastage import layouts
from datastage.errors import SpecError
from datastage.layouts.columns import Table
from tests.layouts.test_beside import make as make

KINDS = ["table", "pictures", "parquet"]


def written(kind, make, columns):
    """Write 12 rows with these columns; return the data, and what else it needs to be read."""
    columns = {**columns, "label": [str(i % 2) for i in range(12)]}
    lines = ["a,file," + ",".join(columns)]
    lines += [f"{i}.5,{i}.jpg," + ",".join(row) for i, row in enumerate(zip(*columns.values()))]
    if kind == "parquet":
        csv, pq = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
        data = make({"t.csv": "\n".join(lines)})
        pq.write_table(csv.read_csv(data / "t.csv").drop_columns(["file"]), data / "t.parquet")
        return data / "t.parquet", {"labels": "label"}
    if kind == "table":
        lines = [line.replace(line.split(",")[1] + ",", "", 1) for line in lines]
        return make({"t.csv": "\n".join(lines)}) / "t.csv", {}
    return make(
        {"x/*6.jpg": "", "x/1*2.jpg": "", **{f"x/{i}.jpg": "" for i in range(6, 12)}, "t.csv": "\n".join(lines)}
    ), {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("data_split", "train", "test"), ("where", "training", "test"), ("train", "train", "test")]
    + [("in_train", "1", "0"), ("test_set", "False", "True"), ("split", "tr", "te"), ("isTest", "0", "1")],
)
def test_a_column_that_says_the_parts_in_words_is_read_whatever_it_is_called(name, train, test, kind, make):
    data, asked = written(kind, make, {name: [train] * 8 + [test] * 4})
    found = layouts.read(data, **asked)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 8, "test": 4}
    assert [f'Parts     as column "{name}" of t.{"parquet" if kind == "parquet" else "csv"} says'] == list(found.said)
    assert found.arrays is None or found.arrays("train")[0].shape == (8, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "one", "two"),
    [("split", "fit", "test"), ("split", "dev", "test"), ("data_split", "", "test"), ("subset", "val", "test")],
)
def test_a_column_that_says_a_test_part_and_none_to_train_on_is_asked_about(name, one, two, kind, make):
    data, asked = written(kind, make, {name: [one] * 8 + [two] * 4})
    with pytest.raises(SpecError, match=f'column "{name}" of .*{two}.* of none that it is to train on'):
        layouts.read(data, **asked)
    mended, asked = written(kind, make, {name: ["train"] * 8 + [two] * 4})  # as the step says
    assert {part: len(split) for part, split in layouts.read(mended, **asked).splits.items()} == {"train": 8, "test": 4}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "one", "two"), [("split", "0", "1"), ("train", "1", "0"), ("set", "A", "B")])
def test_a_column_that_seems_to_say_parts_and_is_not_read_so_is_named_in_a_line(name, one, two, kind, make):
    data, asked = written(kind, make, {name: [one] * 8 + [two] * 4})
    found = layouts.read(data, **asked)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 12}
    assert [line for line in found.lines() if f'Parts     none from column "{name}"' in line and f"{two}" in line]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "values"),
    [("phase", ["1", "2"] * 6), ("train", ["1.5", "2.5"] * 6), ("split", [f"{i}.25" for i in range(12)])]
    + [("split", ["test"] * 12), ("kind", ["1"] * 12), ("invalid", ["0", "1"] * 6), ("in_training", ["0", "1"] * 6)]
    + [("split_level", ["0", "1", "2"] * 4), ("ac_split", ["0", "1"] * 6)],
)
def test_a_column_that_says_nothing_of_parts_has_no_line(name, values, kind, make):
    data, asked = written(kind, make, {name: values})
    found = layouts.read(data, **asked)
    assert ({part: len(split) for part, split in found.splits.items()}, found.said) == ({"train": 12}, ())


@pytest.mark.parametrize("kind", KINDS)
def test_two_columns_of_truths_that_mark_parts_are_read_together_and_asked_about_where_they_contradict(kind, make):
    test = [str(int(i > 7)) for i in range(12)]
    data, asked = written(kind, make, {"is_train": [str(1 - int(one)) for one in test], "is_test": test})
    assert {part: len(split) for part, split in layouts.read(data, **asked).splits.items()} == {"train": 8, "test": 4}
    for name in ("is_valid", "is_val"):
        data, asked = written(kind, make, {name: [str(int(5 < i < 8)) for i in range(12)], "is_test": test})
        found = layouts.read(data, **asked)
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 6, "val": 2, "test": 4}
        assert found.arrays is None or found.arrays("train")[0].shape == (6, 1)
    assert layouts.read(data, labels=name).splits.keys() == {"train", "test"}
    data, asked = written(kind, make, {"is_valid": ["1"] * 12, "is_test": test})
    assert {part: len(split) for part, split in layouts.read(data, **asked).splits.items()} == {"train": 8, "test": 4}
    data, asked = written(kind, make, {"is_valid": [str(int(5 < i < 9)) for i in range(12)], "is_test": test})
    with pytest.raises(SpecError, match='"is_valid" and "is_test" of .* each say a part'):
        layouts.read(data, **asked)
    more = {"split": ["train"] * 8 + ["test"] * 4, "is_valid": [str(int(5 < i < 8)) for i in range(12)]}
    data, asked = written(kind, make, more)
    assert {part: len(split) for part, split in layouts.read(data, **asked).splits.items()} == {"train": 8, "test": 4}


@pytest.mark.parametrize("labels", ["which", "t.csv:which"])
def test_a_column_of_parts_that_is_asked_for_as_the_label_is_the_label(labels, make):
    data, _ = written("pictures", make, {"which": ["train"] * 8 + ["test"] * 4})
    assert layouts.read(data, labels=labels).classes == ("test", "train")


@pytest.mark.usefixtures("here")
def test_several_labels_have_the_line_too(make):
    data, _ = written("pictures", make, {"hat": ["0", "1"] * 6, "tie": ["1", "0"] * 6, "split": ["0"] * 8 + ["1"] * 4})
    assert any('none from column "split"' in line for line in datastage.read(data, labels=["hat", "tie"]).lines())


@pytest.mark.parametrize("name", ["is_dev", "is_val"])
def test_a_lone_column_called_is_something_is_the_label(name, make):
    rows = [f"{i}.5,{i % 3},{i % 2}" for i in range(12)]
    found = layouts.read(make({"t.csv": "\n".join([f"a,b,{name}", *rows])}) / "t.csv")
    assert (found.counts(), found.rule) == ({"0": 6, "1": 6}, f'column "{name}" of t.csv')


def test_a_constant_column_of_truths_is_named_where_it_is_no_feature(make):
    data, _ = written("table", make, {"test_set": ["1"] * 12})
    found = layouts.read(data)
    assert (len(found.splits["train"]), found.arrays("train")[0].shape) == (12, (12, 1))
    assert any("the columns test_set:" in line for line in found.lines())


def test_columns_of_lists_structs_and_bytes_say_no_parts_whatever_they_are_called(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    strange = {"split": [["train"]], "source": [{"bytes": b"1"}], "part": [[("a", 1)]], "is_train": [b"1"]}
    kinds = [None, None, pa.map_(pa.string(), pa.int64()), None]
    columns = {name: pa.array(one * 4, kind) for (name, one), kind in zip(strange.items(), kinds)}
    pq.write_table(pa.table({"a": [1.5] * 4, "label": [0, 1, 0, 1], **columns}), tmp_path / "t.parquet")
    del columns["source"]
    pq.write_table(pa.table({"a": [1.5] * 4, "label": [0, 1, 0, 1], **columns}), tmp_path / "u.parquet")
    for name in ("t", "u"):
        assert len(layouts.read(tmp_path / f"{name}.parquet", labels="label").splits["train"]) == 4


def test_many_columns_that_may_say_parts_are_read_at_once(make, monkeypatch):
    reads, columns = [], Table.columns
    monkeypatch.setattr(Table, "columns", lambda self, *names: reads.append(names) or columns(self, *names))
    data, _ = written("pictures", make, {f"kind {at}": ["train", "test"] * 6 for at in range(40)})
    assert len(layouts.read(data).splits["test"]) == 6
    assert len(reads) < 20


def test_words_beside_two_columns_of_truths_are_asked_to_have_one_in_their_place(make):
    flags = {"is_val": [str(int(5 < i < 8)) for i in range(12)], "is_test": [str(int(i > 7)) for i in range(12)]}
    data, _ = written("table", make, {**flags, "kind": ["a", "b"] * 6})
    with pytest.raises(SpecError, match="say the parts together.*\n.*one column called split"):
        layouts.read(data)
