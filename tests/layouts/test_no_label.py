"""What stands for no label in another part than train: such samples are to predict, and no class of their own."""

import numpy as np
import pytest

import datastage
from datastage import layouts
from datastage.errors import SpecError
from tests.layouts.test_beside import make as make

pytestmark = pytest.mark.usefixtures("here")
LABELS = [f"{i % 3}" for i in range(12)]
MEASURES = [f"{i * 0.37 + 0.1:.3f}" for i in range(12)]
PICTURES = {"train/*9.jpg": "", "train/9.jpg": "", "train/10.jpg": "", "train/11.jpg": "", "test/t*4.jpg": ""}


def fed(path, **options):
    return datastage.loaders(path, batch_size=64, device="cpu", progress=False, **options)


def table(labels, name="{}.jpg", more=""):
    return f"image,{'split,' * bool(more)}label\n" + "".join(
        f"{name.format(i)},{more}{label}\n" for i, label in enumerate(labels)
    )


def given(kind, train, gone):
    if kind == "tables beside":
        return {**PICTURES, "train.csv": table(train), "test.csv": table([gone] * 4, "t{}.jpg")}
    if kind == "one table beside":
        return {**PICTURES, "all.csv": table(train) + table([gone] * 4, "t{}.jpg").partition("\n")[2]}
    if kind == "a column of parts":
        flat = {name.replace("train/", "x/").replace("test/", "x/"): "" for name in PICTURES}
        rest = table([gone] * 4, "t{}.jpg", "test,").partition("\n")[2]
        return {**flat, "all.csv": table(train, more="train,") + rest}
    rows = "".join(f"{i},{i * i},{label}\n" for i, label in enumerate(train))
    last = "".join(f"{i},{i * i},{gone}\n" for i in range(4))
    return {"train.csv": "a,b,label\n" + rows, "test.csv": "a,b,label\n" + last}


@pytest.mark.parametrize("gone", ["-1", "-1.0", "-100", "?", "-", "None", "unknown", "nan", ""])
@pytest.mark.parametrize("kind", ["tables beside", "one table beside", "a column of parts", "tables alone"])
def test_what_stands_for_a_missing_label_is_no_class_and_no_number(kind, gone, make):
    data = make(given(kind, LABELS, gone))
    for asked in ({}, {"test": 0}):
        found = layouts.read(data, **asked)
        assert found.classes == ("0", "1", "2")
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 12, "predict": 4}
    measured = layouts.read(make(given(kind, MEASURES, gone)))
    assert measured.task == "regression"
    assert {part: len(split) for part, split in measured.splits.items()} == {"train": 12, "predict": 4}


@pytest.mark.parametrize("kind", ["tables beside", "one table beside", "a column of parts", "tables alone"])
def test_a_part_with_a_class_that_train_has_not_can_be_left_out(kind, make):
    data = make(given(kind, LABELS, "7"))
    if kind == "tables alone":
        with pytest.raises(SpecError, match="'7'") as caught:
            layouts.read(data)
        assert caught.value.remedy[-1].startswith("Next: test=0 leaves that part out")
    found = layouts.read(data, test=0)
    assert (found.classes, list(found.splits)) == (("0", "1", "2"), ["train"])
    minus = layouts.read(make(given(kind, ["-1", "1"] * 6, "-1")))
    assert (minus.classes, len(minus.splits["test"])) == (("-1", "1"), 4)


@pytest.mark.parametrize("kind", ["tables beside", "one table beside", "a column of parts"])
def test_a_class_that_train_has_not_is_served_and_named(kind, make):
    data = make(given(kind, LABELS, "7"))
    found = layouts.read(data)
    assert (found.classes, len(found.splits["test"])) == (("0", "1", "2", "7"), 4)
    assert "Classes   7 is in test alone" in found.lines()
    few = layouts.read(data, classes=["2", "0"])
    assert (few.classes, few.counts()) == (("2", "0"), {"2": 4, "0": 4})
    assert any("classes= does not name: 1, 7" in line for line in few.lines())
    assert not any("alone" in line for line in few.lines())


def test_classes_that_no_two_parts_share_are_served_and_named_also_by_a_function_and_a_pattern(make):
    names = {f"train/{kind}_*3.jpg": "" for kind in "ab"} | {f"test/{kind}_*2.jpg": "" for kind in "cd"}
    data = make(names)
    few = layouts.read(data, labels=r"(\w)_\d+\.jpg", classes=["b", "a"])
    assert (few.classes, list(few.splits)) == (("b", "a"), ["train"])
    assert "Left out  the part test: none of its 4 samples is of these classes" in few.lines()
    with pytest.raises(SpecError, match="No sample of train is of c, d"):
        layouts.read(data, labels=r"(\w)_\d+\.jpg", classes=["c", "d"])
    for labels in (lambda name: name.rpartition("/")[2][0], r"(\w)_\d+\.jpg"):
        found = layouts.read(data, labels=labels)
        assert (found.classes, found.counts("test")) == (("a", "b", "c", "d"), {"a": 0, "b": 0, "c": 2, "d": 2})
        assert "Classes   c, d are in test alone" in found.lines()


@pytest.mark.parametrize("kind", ["one table beside", "a column of parts", "tables alone", "parquet"])
def test_a_measure_below_zero_is_one_unless_a_whole_part_is_a_placeholder(kind, make, tmp_path):
    def read(train, test):
        if kind == "parquet":
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            for part, labels in (("train", train), ("test", test)):
                rows = {"a": [float(at) for at in range(len(labels))], "y": list(map(float, labels))}
                pq.write_table(pa.table(rows), tmp_path / f"{part}.parquet")
            return layouts.read(tmp_path, labels="y")
        files = given(kind, train, "GONE")
        n = len(test)
        for name, text in files.items():
            lines = text.splitlines()
            ends = [at for at, line in enumerate(lines) if line.endswith("GONE")]
            for at, value in zip(ends, test, strict=False):
                lines[at] = lines[at].replace("GONE", value)
            files[name] = "\n".join(line for line in lines if not line.endswith("GONE")) + "\n"
        return layouts.read(make({name: text for name, text in files.items() if n == 4 or name != "test/t*4.jpg"}))

    some = read(MEASURES, ["-1", "2.5", "0.25", "-1"])
    assert {part: len(split) for part, split in some.splits.items()} == {"train": 12, "test": 4}
    other = read(MEASURES, ["-4", "-4", "-4", "-4"])
    assert {part: len(split) for part, split in other.splits.items()} == {"train": 12, "test": 4}
    whole = read(MEASURES, ["-1", "-1.0", "-1", "-1"])
    assert {part: len(split) for part, split in whole.splits.items()} == {"train": 12, "predict": 4}


def test_rows_of_a_part_whose_label_stands_for_none_are_to_predict_in_every_layout(make, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    train, test = [0, 1, 2, 0], [1, -1, 2, -1]
    tables = {"p/train.csv": table(train), "p/test.csv": table(test, "t{}.jpg")}
    beside = make({"p/train/*4.jpg": "", "p/test/t*4.jpg": "", **tables}) / "p"
    rows = ["".join(f"{i},{i * i + 7},{label}\n" for i, label in enumerate(labels)) for labels in (train, test)]
    alone = make({"alone/train.csv": "a,b,y\n" + rows[0], "alone/test.csv": "a,b,y\n" + rows[1]}) / "alone"
    parted = "".join(f"{i},{i * 7},{y},{'test' if i > 3 else 'train'}\n" for i, y in enumerate(train + test))
    column = make({"parted/t.csv": "a,b,y,split\n" + parted}) / "parted" / "t.csv"
    (tmp_path / "pq").mkdir()
    for part, labels in (("train", train), ("test", test)):
        pq.write_table(pa.table({"a": [0.0, 1.0, 2.0, 3.0], "y": labels}), tmp_path / "pq" / f"{part}.parquet")
    x = np.arange(4 * 192, dtype=np.uint8).reshape(4, 8, 8, 3)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=train, x_test=x, y_test=test)
    given = (beside, {}, None), (alone, {}, [1, 3]), (column, {}, [5, 7]), (tmp_path / "pq", {"labels": "y"}, [1, 3])
    for data, asked, ids in (*given, (tmp_path / "x.npz", {}, [1, 3])):
        found = layouts.read(data, **asked)
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 4, "test": 2, "predict": 2}
        assert any("2 " in line and "they are .predict" in line for line in found.lines())
        if found.arrays is not None:
            assert found.arrays("test")[1].tolist() == [1, 2]
            assert found.arrays("predict")[1].tolist() == ids
    assert (layouts.read(tmp_path / "x.npz").arrays("predict")[0] == x[[1, 3]]).all()


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_of_two_parts_without_labels_test_is_to_predict_and_the_other_is_named(kind, tmp_path):
    labels = {"train": [0, 1, 2], "val": [-1] * 2, "test": [-1] * 4}
    if kind == "npz":
        x = {f"x_{part}": np.zeros((len(y), 8, 8, 3), np.uint8) for part, y in labels.items()}
        np.savez(tmp_path / "x.npz", **x, **{f"y_{part}": y for part, y in labels.items()})
    for part, y in labels.items():
        if kind == "csv":
            (tmp_path / f"{part}.csv").write_text("a,y\n" + "".join(f"{i * 3},{one}\n" for i, one in enumerate(y)))
        if kind == "parquet":
            pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
            pq.write_table(pa.table({"a": [1.5] * len(y), "y": y}), tmp_path / f"{part}.parquet")
    found = layouts.read(tmp_path / "x.npz" if kind == "npz" else tmp_path, labels=None if kind == "npz" else "y")
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 3, "predict": 4}
    assert any("2 rows of val" in line and "without labels" in line for line in found.left_out)


@pytest.mark.parametrize("lacking", ["", f"{10**20}"])
def test_the_lines_for_pandas_tell_numbers_of_any_length_apart(lacking, tmp_path):
    pytest.importorskip("pandas")
    rows = "".join(f"{i},w{i % 2},{10**20 + i % 3}\n" for i in range(30)) + f"30,w0,{lacking}\n"
    (tmp_path / "long.csv").write_text("a,c,y\n" + rows)
    with pytest.raises(SpecError, match="a model needs numbers") as caught:
        layouts.read(tmp_path / "long.csv", labels="y")
    known = {"path": tmp_path / "long.csv", "datastage": datastage}
    exec("\n".join(caught.value.remedy[-3:]), known)
    assert known["train"].classes == () or len(known["train"].classes) == 3
    assert sorted({one for part in (known["train"], known["test"]) for _, y in part for one in y.tolist()}) == [0, 1, 2]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_folder_of_a_class_that_train_has_not_can_be_left_out(part, make):
    data = make({"train/a/*3.jpg": "", "train/b/*3.jpg": "", f"{part}/a/*2.jpg": "", f"{part}/c/*2.jpg": ""})
    with pytest.raises(SpecError, match=f"{part} in .* has a class that train has not: c"):
        layouts.read(data)
    assert list(layouts.read(data, **{part: 0}).splits) == ["train"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_table_of_a_part_that_is_not_wanted_is_left_out(part, make):
    rows = "a,label\n" + "".join(f"{i},{i % 2}\n" for i in range(12))
    data = make({"train.csv": rows, f"{part}.csv": rows})
    assert list(layouts.read(data).splits) == ["train", part]
    assert list(layouts.read(data, **{part: 0}).splits) == ["train"]


def test_a_mapping_and_a_function_may_say_that_there_is_no_label(make):
    data = make(PICTURES)
    labels = {f"train/{i}.jpg": i % 3 for i in range(12)} | {f"test/t{i}.jpg": -1 for i in range(4)}
    for one in (labels, labels.get):
        found = layouts.read(data, labels=one)
        assert (found.classes, len(found.splits["predict"])) == (("0", "1", "2"), 4)


@pytest.mark.parametrize("gone", [-1, -1.0, np.nan])
def test_arrays_of_a_file_whose_labels_stand_for_none_are_to_predict(gone, tmp_path):
    images, labels = np.zeros((12, 8, 8, 3), np.uint8), np.arange(12) % 3
    labels = labels.astype(np.asarray(gone).dtype)
    none = np.full(4, gone)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=none)
    loaders = fed(tmp_path / "x.npz", test=0)
    ((x, ids),) = loaders.predict
    assert (len(x), ids.tolist(), loaders.test) == (4, [0, 1, 2, 3], None)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=none * 0 + 7)
    assert fed(tmp_path / "x.npz", test=0).test is None


def test_rows_of_parquet_that_stand_for_no_label_are_to_predict(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for labels, gone, strange in (([0, 1, 2], -1, 7), (["a", "b", "c"], "?", "z")):
        pq.write_table(pa.table({"a": [0.0, 1.0, 2.0], "y": labels}), tmp_path / "train.parquet")
        pq.write_table(pa.table({"a": [3.0, 4.0], "y": [gone] * 2}), tmp_path / "test.parquet")
        found = layouts.read(tmp_path, labels="y")
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 3, "predict": 2}
        pq.write_table(pa.table({"a": [3.0, 4.0], "y": [strange] * 2}), tmp_path / "test.parquet")
        assert list(layouts.read(tmp_path, labels="y", test=0).splits) == ["train"]


def test_labels_of_any_number_of_digits_are_classes(make):
    rows = "".join(f"{i},{10**18 + i % 3}\n" for i in range(9))
    found = layouts.read(make({"x/*9.jpg": "", "labels.csv": "id,label\n" + rows}))
    assert found.classes == tuple(str(10**18 + i) for i in range(3))
    many = "".join(f"{i},{i * i},{10**25 + i % 3}.0\n" for i in range(9))
    found = layouts.read(make({"alone/t.csv": "a,b,label\n" + many}) / "alone")
    assert found.classes == tuple(str(10**25 + i) for i in range(3))


@pytest.mark.parametrize(
    ("labels", "wanted"), [(["cat", "", "dog", "cat"], [0, 1, 0]), (["0", "", "1", "2"], [0, 1, 2])]
)
@pytest.mark.parametrize("value", ["{i},5", "{i}.5", "word{i}"])
def test_the_lines_for_pandas_take_decimal_commas_for_numbers_and_drop_rows_without_a_label(
    labels, wanted, value, tmp_path
):
    pytest.importorskip("pandas")
    rows = [f"{i};{value.format(i=i)};w{i % 2};{label}" for i, label in enumerate(labels * 10)]
    (tmp_path / "dec.csv").write_text("\n".join(["a;b;c;y", *rows]) + "\n")
    with pytest.raises(SpecError, match="a model needs numbers") as caught:
        layouts.read(tmp_path / "dec.csv", labels="y")
    known = {"path": tmp_path / "dec.csv", "datastage": datastage}
    exec("\n".join(caught.value.remedy[-3:]), known)
    assert known["x"].shape == (30, 4 if "word" not in value else 33)
    batches = [y for part in (known["train"], known["test"]) for _, y in part]
    assert sorted(set(sum((y.tolist() for y in batches), []))) == sorted(set(wanted))


@pytest.mark.parametrize("kind", ["npz", "tables"])
@pytest.mark.parametrize(("train", "test"), [([0, 1] * 8, [-1, 1, -1, 1]), (list(range(16)), [5, -4, 7, 0])])
def test_a_number_below_0_that_is_no_placeholder_leaves_no_part_in_silence(train, test, kind, make, tmp_path):
    if kind == "npz":
        x = np.zeros((16, 4, 4), np.uint8)
        data = tmp_path / "x.npz"
        np.savez(data, x_train=x, y_train=np.array(train), x_test=x[:4], y_test=np.array(test))
        found = layouts.read(data)
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 16, "test": 4}
        return
    files = zip(("train.csv", "test.csv"), (train, test))
    data = make({f: "a,b,label\n" + "".join(f"{i},{i * 7 % 5},{n}\n" for i, n in enumerate(of)) for f, of in files})
    with pytest.raises(SpecError, match="'-[14]' is no class of the training table"):
        layouts.read(data)


def test_the_case_of_a_class_makes_no_placeholder_of_it(make):
    lines = {"train.csv": ["None", "a"] * 6, "test.csv": ["none", "a"]}
    data = make({f: "a,b,label\n" + "".join(f"{i},{i * 3},{n}\n" for i, n in enumerate(of)) for f, of in lines.items()})
    with pytest.raises(SpecError, match="'none' is no class of the training table"):
        layouts.read(data)


def test_an_empty_part_of_an_npz_is_said_and_can_be_left_out(tmp_path):
    x, y = np.zeros((16, 4, 4), np.uint8), np.arange(16) % 2
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:0], y_test=y[:0])
    with pytest.raises(SpecError, match="there are no images in it"):
        fed(tmp_path / "x.npz")
    assert len(list(fed(tmp_path / "x.npz", test=0).train)) == 1


@pytest.mark.parametrize("part", ["predict", "unlabeled"])
@pytest.mark.parametrize("labels", ["000", "012", "77x", "111"])
def test_rows_that_a_table_says_are_to_predict_are_told_by_their_number_whatever_their_label(part, labels, make):
    rows = [(i % 2, "train") for i in range(16)] + [(0, "test"), (1, "test")] + [(label, part) for label in labels]
    text = "".join(f"{i},{i * i},{split},{label}\n" for i, (label, split) in enumerate(rows))
    data = make({"all.csv": "a,b,split,label\n" + text})
    loaders = fed(data)
    ((x, ids),) = loaders.predict
    assert (x[:, 0].tolist(), ids.tolist()) == ([18, 19, 20], [18, 19, 20])
    assert layouts.read(data).splits["predict"].labels is None
    pictures = (
        make(
            {
                **{f"p/{i}.jpg": "" for i in range(len(rows))},
                "p/all.csv": "image,split,label\n"
                + "".join(f"{i}.jpg,{split},{label}\n" for i, (label, split) in enumerate(rows)),
            }
        )
        / "p"
    )
    found = layouts.read(pictures)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 16, "test": 2, "predict": 3}
    assert (found.classes, found.splits["predict"].labels) == (("0", "1"), None)
    assert list(found.splits["predict"].names) == ["18.jpg", "19.jpg", "20.jpg"]


@pytest.mark.parametrize(
    ("column", "says", "parts"),
    [
        ("split", ["train", "test", "predict"], {"train": 12, "test": 6}),
        ("split", ["train", "val", "?"], {"train": 12, "val": 6}),
        ("Usage", ["Training", "PublicTest", "PrivateTest"], {"train": 12, "val": 6, "test": 6}),
        ("is_test", ["0", "1", ""], {"train": 12, "test": 6}),
        ("is_train", ["True", "False", ""], {"train": 12, "test": 6}),
    ],
)
@pytest.mark.parametrize(("labels", "lacking"), [(["cat", "dog"], ""), (["3", "5"], "?"), (["0.5", "1.25"], "?")])
def test_the_lines_for_pandas_part_the_rows_as_a_column_says_and_learn_from_none_of_it(
    column, says, parts, labels, lacking, tmp_path
):
    pytest.importorskip("pandas")
    rows = [(says[0], labels[i % 2]) for i in range(12)] + [(says[1], labels[i % 2]) for i in range(6)]
    rows += [(says[2], labels[i % 2] if "test" in parts and "val" in parts else lacking) for i in range(6)]
    text = "".join(f"{i},w{i % 2}, {split},{label}\n" for i, (split, label) in enumerate(rows))
    (tmp_path / "all.csv").write_text(f"a,c,{column},y\n" + text)
    with pytest.raises(SpecError, match="a model needs numbers") as caught:
        layouts.read(tmp_path / "all.csv", labels="y")
    known = {"path": tmp_path / "all.csv", "datastage": datastage}
    exec("\n".join(caught.value.remedy[-3:]), known)
    assert {part: len(known[part].dataset) for part in parts} == parts
    rows_of = {part: sorted(x[0].item() for x, _ in known[part].dataset) for part in parts}
    assert sorted(sum(rows_of.values(), [])) == list(range(sum(parts.values())))
    assert rows_of["train"] == list(range(12))
    assert known["train"].dataset[0][0].shape == (3,)


def test_the_lines_for_pandas_set_rows_aside_where_the_column_names_none_to_test_on(tmp_path):
    pytest.importorskip("pandas")
    rows = "".join(f"{i},w{i % 2},{'train' if i < 20 else 'predict'},{i % 2}\n" for i in range(30))
    (tmp_path / "all.csv").write_text("a,c,split,y\n" + rows)
    with pytest.raises(SpecError, match="a model needs numbers") as caught:
        layouts.read(tmp_path / "all.csv")
    known = {"path": tmp_path / "all.csv", "datastage": datastage}
    exec("\n".join(caught.value.remedy[-3:]), known)
    assert [len(known[part].dataset) for part in ("train", "test")] == [18, 2]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_the_lines_for_pandas_open_tables_that_are_not_utf_8(encoding, tmp_path):
    pytest.importorskip("pandas")
    rows = "".join(f"{i},é{i % 2},{i % 2}\n" for i in range(20))
    (tmp_path / "t.csv").write_text("a,c,y\n" + rows, encoding=encoding)
    with pytest.raises(SpecError, match="a model needs numbers") as caught:
        layouts.read(tmp_path / "t.csv")
    known = {"path": tmp_path / "t.csv", "datastage": datastage}
    exec("\n".join(caught.value.remedy[-3:]), known)
    assert len(known["train"].dataset) == 18


PARTS = ["train"] * 8 + ["test"] * 4 + ["predict"] * 4
WHERE = {
    "folders": (["train"] * 8 + ["test"] * 4 + ["unlabeled"] * 4, [""] * 16),
    "a folder, and a column": (["labeled"] * 12 + ["unlabeled"] * 4, PARTS),
    "a folder that a column contradicts": (["x"] * 12 + ["pred"] * 4, [*PARTS[:12], "train", "test", "val", ""]),
    "a column within folders": (["train"] * 8 + ["test"] * 8, PARTS),
    "a column within the folder to learn from": (["train"] * 8 + ["test"] * 4 + ["train"] * 4, PARTS),
    "a column": (["x"] * 16, PARTS),
}


@pytest.mark.parametrize("gone", ["0", "1", "7", "", "?"])
@pytest.mark.parametrize("columns", ["hat", "hat,tie"])
@pytest.mark.parametrize("kind", WHERE)
def test_pictures_that_a_folder_or_a_column_says_are_to_predict_have_no_label_whatever_a_table_says(
    kind, columns, gone, make
):
    folders, says = WHERE[kind]
    hats = [*(str(i % 2) for i in range(12)), gone, gone, gone, gone]
    names = [f"{folder}/{i}.jpg" for i, folder in enumerate(folders)]
    rows = "".join(f"{name},{hat},{hat},{says[i]}\n" for i, (name, hat) in enumerate(zip(names, hats)))
    data = make({**dict.fromkeys(names, ""), "labels.csv": "file,hat,tie,split\n" + rows})
    for labels in [columns.split(","), "labels.csv:hat"][: 1 + (columns == "hat")]:
        found = layouts.read(data, labels=labels)
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 8, "test": 4, "predict": 4}
        assert found.classes == (("0", "1") if columns == "hat" else ("hat", "tie"))
        assert set(found.splits["predict"].names) == set(names[12:])
        assert (found.splits["predict"].labels, len(found.splits["train"].labels)) == (None, 8)


@pytest.mark.parametrize("gone", ["0.5", "-1", "", "?", "none yet"])
@pytest.mark.parametrize("kind", WHERE)
def test_measures_of_pictures_stay_measures_whatever_stands_for_those_to_predict(kind, gone, make):
    folders, says = WHERE[kind]
    names = [f"{folder}/{i}.jpg" for i, folder in enumerate(folders)]
    rows = "".join(
        f"{name},{label},{says[i]}\n" for i, (name, label) in enumerate(zip(names, [*MEASURES, *[gone] * 4]))
    )
    data = make({**dict.fromkeys(names, ""), "labels.csv": "file,width,split\n" + rows})
    for labels in ("labels.csv:width", "width"):
        found = layouts.read(data, labels=labels)
        assert {part: len(split) for part, split in found.splits.items()} == {"train": 8, "test": 4, "predict": 4}
        assert (found.task, list(found.splits["train"].labels)) == ("regression", [float(one) for one in MEASURES[:8]])


@pytest.mark.parametrize("labels", [["hat", "tie"], ["labels.csv:hat"]])
def test_a_column_of_parts_counts_for_one_label_and_for_several(labels, make):
    says = ["train"] * 4 + ["val", "test", "", "other"]
    rows = "".join(f"{i}.jpg,{i % 2},{i // 2 % 2},{part}\n" for i, part in enumerate(says))
    found = layouts.read(make({"x/*8.jpg": "", "labels.csv": "file,hat,tie,split\n" + rows}), labels=labels)
    assert {part: list(split.names) for part, split in found.splits.items()} == {
        "train": [f"x/{i}.jpg" for i in range(4)], "val": ["x/4.jpg"], "test": ["x/5.jpg"],
    }  # fmt: skip
    assert '2 pictures that are of no part that "split" of labels.csv names' in found.left_out
    assert 'Parts     as column "split" of labels.csv says' in found.said


def test_tables_of_two_parts_count_for_several_labels_too(make):
    rows = ["".join(f"{i}.jpg,{i % 2},{i // 2 % 2}\n" for i in part) for part in (range(6), range(6, 8))]
    tables = {f"{name}.csv": "file,hat,tie\n" + text for name, text in zip(("train", "test"), rows)}
    found = layouts.read(make({"x/*8.jpg": "", **tables}), labels=["train.csv:hat", "tie"])
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 6, "test": 2}


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_of_rows_beside_those_to_predict_only_what_is_asked_for_is_set_aside(kind, make, tmp_path):
    data = make({"train.csv": "a,b,y\n" + "1,2,0\n3,4,1\n" * 20, "test.csv": "a,b\n" + "1,2\n" * 4})
    if kind == "npz":
        data, x = tmp_path / "x.npz", np.zeros((40, 4, 4), np.uint8)
        np.savez(data, x_train=x, y_train=np.arange(40) % 2, x_test=x[:4], y_test=np.full(4, -1))
    for asked, n in (({}, [40]), ({"test": 0.1}, [36, 4])):
        loaders = fed(data, **asked)
        assert [len(part.dataset) for part in (loaders.train, loaders.test) if part is not None] == n
        assert len(loaders.predict.dataset) == 4
