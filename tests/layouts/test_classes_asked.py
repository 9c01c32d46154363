"""``classes=`` of every layout: an order, a choice, or a name for each number; a name of no class is an error."""

import numpy as np
import pytest

import datastage
from datastage import layouts, runtime
from datastage.batches.options import LoaderOptions
from datastage.batches.photos import from_reading
from datastage.errors import SpecError
from datastage.packing import PackOptions, _opened
from datastage.sources import parse
from tests.layouts.test_beside import make as make
from tests.layouts.test_beside import pairs

CSV = "file,species\n0.jpg,ash\n1.jpg,oak\n2.jpg,elm\n3.jpg,ash\n4.jpg,oak\n5.jpg,elm\n"
TABLE = "a,b,species\n1,2,ash\n3,4,oak\n5,6,elm\n7,8,ash\n"
GIVEN = {
    "class folders": {"ash/*3.jpg": "", "oak/*3.jpg": "", "elm/*3.jpg": ""},
    "class folders and lists": {
        "ash/*3.jpg": "", "oak/*3.jpg": "", "elm/*3.jpg": "",
        "train.txt": "ash/0\noak/0\nelm/0\nash/1\noak/1\nelm/1\n", "test.txt": "ash/2\noak/2\nelm/2\n",
    },
    "a table beside": {"x/*6.jpg": "", "t.csv": CSV},
    "names of files": {"x/ash.*3.jpg": "", "x/oak.*3.jpg": "", "x/elm.*3.jpg": ""},
    "a table alone": {"t.csv": TABLE},
}  # fmt: skip


def counted(found):
    return found.counts()


@pytest.mark.parametrize("kind", GIVEN)
def test_classes_are_an_order_or_a_choice_of_those_that_there_are(kind, make):
    data = make(GIVEN[kind])
    plain = layouts.read(data)
    turned = layouts.read(data, classes=["oak", "elm", "ash"])
    assert plain.classes == ("ash", "elm", "oak")
    assert turned.classes == ("oak", "elm", "ash")
    assert counted(turned) == counted(plain)
    assert turned.splits.keys() == plain.splits.keys()
    if plain.kind == "pictures":
        assert pairs(turned) == pairs(plain)
    few = layouts.read(data, classes=["oak", "ash"])
    assert counted(few) == {name: n for name, n in counted(plain).items() if name != "elm"}
    with pytest.raises(SpecError, match="There is no class 'yew'"):
        layouts.read(data, classes=["yew", "ash"])


def test_of_several_labels_a_picture_columns_are_put_in_order_or_chosen(make):
    data = make({"x/*4.jpg": "", "t.csv": "file,a,b,c\n0.jpg,1,0,1\n1.jpg,0,1,0\n2.jpg,1,1,0\n3.jpg,0,0,1\n"})
    found = layouts.read(data, labels=["t.csv:a", "b", "c"], classes=["c", "a"])
    assert found.classes == ("c", "a")
    assert list(found.splits["train"].labels) == [[1, 1], [0, 0], [0, 1], [1, 0]]
    rows = {f"x/{at}.jpg": [at, 1] for at in range(4)}
    assert layouts.read(data, labels=rows, classes=["u", "v"]).classes == ("u", "v")
    with pytest.raises(SpecError, match="There is no class 'u'"):
        layouts.read(data, labels=rows, classes=["u", "v", "w"])


def test_measures_have_no_classes(make):
    data = make({"x/*4.jpg": "", "t.csv": "file,target\n0.jpg,1.5\n1.jpg,0.25\n2.jpg,7.5\n3.jpg,3.25\n"})
    with pytest.raises(SpecError, match="which are measures") as caught:
        layouts.read(data, classes=["a", "b"])
    assert caught.value.remedy[-1].startswith("Next: leave classes= out")


def test_numbers_without_names_in_a_file_of_arrays_are_named(tmp_path):
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels)
    found = layouts.read(tmp_path / "x.npz", classes=["ash", "elm", "oak"])
    made = from_reading(None, found, LoaderOptions(batch_size=2, device="cpu"))
    assert made.classes == ("ash", "elm", "oak")
    assert "elm" in str(found)
    assert "elm 0" not in str(found)
    few = layouts.read(tmp_path / "x.npz", classes=["ash", "elm"])
    with pytest.raises(SpecError, match="classes= names 2 alone"):
        from_reading(None, few, LoaderOptions(batch_size=2, device="cpu"))


@pytest.mark.parametrize("kind", ["npz", "parquet", "csv"])
def test_numbers_in_classes_are_an_order_of_these_very_numbers_in_each_kind_of_file(kind, tmp_path):
    rows, labels = np.arange(12.0).reshape(6, 2) / 4, np.array([3, 5, 7, 3, 5, 7])
    if kind == "npz":
        np.savez(tmp_path / "x.npz", x=rows, y=labels)
    else:
        table = pytest.importorskip("pandas").DataFrame({"a": rows[:, 0], "b": rows[:, 1], "y": labels})
        getattr(table, "to_csv" if kind == "csv" else "to_parquet")(tmp_path / f"x.{kind}", index=False)
    asked = {} if kind == "npz" else {"labels": "y"}
    for classes, wanted in (([7, 5, 3], [2, 1, 0]), ([3, 5, 7], [0, 1, 2]), ([7, 3], [1, 0])):
        read = datastage.read(tmp_path / f"x.{kind}", classes=classes, **asked)
        made = from_reading(None, read, LoaderOptions(batch_size=6, device="cpu", shuffle=False, test=0))
        assert made.classes == tuple(map(str, classes))
        ((_, y),) = made.train
        assert y.tolist() == wanted * 2
    for classes in ([1, 2, 3], [0, 1, 2], range(8, 0, -1)):
        with pytest.raises(SpecError, match=r"it names numbers in their order|There is no class"):
            datastage.read(tmp_path / f"x.{kind}", classes=classes, **asked)


def test_numbers_in_classes_that_another_part_outgrows_name_no_other_numbers(tmp_path):
    pixels = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=pixels, y_train=np.arange(6) % 3, x_test=pixels, y_test=np.arange(6) % 5)
    assert datastage.read(tmp_path / "x.npz", classes=range(5)).classes == ("0", "1", "2", "3", "4")
    with pytest.raises(SpecError, match="calls the number 0 '1'"):
        datastage.read(tmp_path / "x.npz", classes=range(1, 6))


def test_numbers_without_names_can_be_chosen_by_their_numbers(tmp_path):
    images, labels = np.arange(6 * 192, dtype=np.uint8).reshape(6, 8, 8, 3), np.arange(6) % 3 + 1
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    found = layouts.read(tmp_path / "x.npz", classes=["3", "1"])
    assert (found.classes, len(found.splits["train"]), len(found.splits["test"])) == (("3", "1"), 4, 2)
    kept, numbers = found.arrays("train")
    assert numbers.tolist() == [1, 0, 1, 0]
    assert (kept == images[[0, 2, 3, 5]]).all()
    assert "the classes that classes= does not name: 2" in str(found)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3] + 1)
    few = layouts.read(tmp_path / "x.npz", classes=["1", "3"])
    with pytest.raises(
        SpecError, match="test has the class 4, which train has not"
    ):  # a class of test alone is not lost in silence
        from_reading(None, few, LoaderOptions(batch_size=2, device="cpu"))


def test_rows_of_parquet_are_ordered_and_chosen(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [0.0, 1.0, 2.0, 3.0], "y": ["ash", "oak", "elm", "oak"]}), tmp_path / "t.parquet")
    found = layouts.read(tmp_path / "t.parquet", labels="y", classes=["oak", "ash"])
    assert counted(found) == {"oak": 2, "ash": 1}
    assert len(found.splits["train"]) == 3
    rows, labels = found.arrays("train")
    assert (rows[:, 0].tolist(), labels.tolist()) == ([0.0, 1.0, 3.0], [1, 0, 0])
    pq.write_table(pa.table({"a": [0.0, 1.0, 2.0, 3.0], "y": [0, 1, 2, 1]}), tmp_path / "t.parquet")
    rows, labels = layouts.read(tmp_path / "t.parquet", labels="y", classes=["0", "2"]).arrays("train")
    assert (rows[:, 0].tolist(), labels.tolist()) == ([0.0, 2.0], [0, 1])


def test_pack_packs_the_classes_that_are_asked_for(make, tmp_path):
    data = make(GIVEN["a table beside"])
    here = runtime.current()
    options = PackOptions(classes=["oak", "ash"], test=0)
    _, reading = _opened(data, options, parse(str(tmp_path / "to")), here, lambda data, **_: _staged(data))
    assert reading.classes == ("oak", "ash")
    assert counted(reading) == {"oak": 2, "ash": 2}


def _staged(data):
    return datastage.stage(data, progress=False)


def test_one_folder_around_names_of_files_is_no_class_where_other_classes_are_asked_for(make):
    data = make({"n/cat.*3.jpg": "", "n/dog.*3.jpg": ""})
    assert layouts.read(data, classes=["dog", "cat"]).classes == ("dog", "cat")
    assert layouts.read(data / "n", classes=["dog", "cat"]).classes == ("dog", "cat")
    assert layouts.read(data, classes=["n"]).classes == ("n",)


@pytest.mark.parametrize(
    "classes", [[0, 1, 2], range(3), np.array([0, 1, 2]), np.array([0.0, 1.0, 2.0]), (str(at) for at in range(3))]
)
def test_numbers_in_classes_are_the_names_of_these_numbers(classes, tmp_path):
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels)
    assert datastage.read(tmp_path / "x.npz", classes=classes).classes == ("0", "1", "2")


def test_numbers_in_classes_choose_among_the_classes_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{i * 3},{i},{i % 3}\n" for i in range(9)))
    assert datastage.read(tmp_path / "t.csv", classes=[2, 0]).counts() == {"2": 3, "0": 3}
    pandas = pytest.importorskip("pandas")
    assert datastage.read(tmp_path / "t.csv", classes=pandas.Index([1, 0, 2])).classes == ("1", "0", "2")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("cat", "takes a list"),
        ({"a", "b"}, "takes a list"),
        (10, "takes a list"),
        (["dog", "cat", "dog"], "'dog' twice"),
    ],
)
def test_what_is_no_list_of_classes_and_a_class_named_twice_are_refused(classes, said, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    with pytest.raises(SpecError, match=said) as caught:
        datastage.read(tmp_path / "t.csv", classes=classes)
    assert caught.value.remedy[-1].startswith("Next: ")


def test_numbers_of_pictures_in_parquet_are_named(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"image": [b"1", b"2", b"3"], "label": [0, 2, 1]}), tmp_path / "t.parquet")
    found = layouts.read(tmp_path / "t.parquet", classes=["ash", "elm", "oak"])
    assert (found.classes, list(found.splits["train"].labels)) == (("ash", "elm", "oak"), [0, 2, 1])
    assert layouts.read(tmp_path / "t.parquet", classes=["2", "0"]).counts() == {"2": 1, "0": 1}
    with pytest.raises(SpecError, match="There is no class 'ash'"):
        layouts.read(tmp_path / "t.parquet", classes=["ash", "elm"])


def test_numbers_that_a_text_column_holds_are_not_called_by_other_numbers(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"a": np.arange(16) * 1.5, "label": ["3", "8"] * 8}).to_parquet(tmp_path / "train.parquet")
    assert layouts.read(tmp_path, labels="label", classes=["three", "eight"]).classes == ("three", "eight")
    with pytest.raises(SpecError, match="There is no class '7': there are 3, 8"):
        layouts.read(tmp_path, labels="label", classes=["7", "9"])


def test_classes_come_as_keys_of_a_mapping_and_as_bytes(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((16, 4, 4), np.uint8), y=np.arange(16) % 2)
    for classes in ({"dog": 0, "cat": 1}.keys(), np.array([b"dog", b"cat"])):
        assert datastage.loaders(tmp_path / "x.npz", batch_size=4, classes=classes, progress=False).classes == (
            "dog",
            "cat",
        )
    with pytest.raises(SpecError, match="classes= takes a list of names"):
        datastage.loaders(tmp_path / "x.npz", batch_size=4, classes=np.array([["dog", "cat"]]))
