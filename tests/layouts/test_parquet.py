"""Pictures in parquet files, as the Hugging Face Hub keeps them: parts, classes, labels, pictures of any size."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

import datastage
from datastage import layouts
from datastage.errors import IntegrityError, SpecError

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("here")
NAMES = ("cat", "dog", "eel")


def picture(label, *, width=8, kind="PNG"):
    made = io.BytesIO()
    Image.new("RGB", (width, 8), (40 * max(0, label) + 20,) * 3).save(made, kind)
    return {"bytes": made.getvalue(), "path": f"{label}.png"}


def write(path, labels, *, names=NAMES, width=8, told=True, column="label", **more):
    """Write a shard as `datasets` does: an Image and a ClassLabel, and what they are in the schema's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [picture(label, width=width + at) for at, label in enumerate(labels)], column: labels, **more}
    table = pa.table({**columns, column: pa.array(labels)})
    features = {"image": {"_type": "Image"}, column: {"names": list(names), "_type": "ClassLabel"}}
    if told:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)


def fed(path, **options):
    return datastage.loaders(
        path, batch_size=64, augment=None, shuffle=False, device="cpu", dtype="uint8", progress=False, **options
    )


def seen(loaders, part):
    ((x, y),) = getattr(loaders, part)
    shown = [NAMES[round((grey - 20) / 40)] for grey in x.reshape(len(x), -1).median(1).values.tolist()]
    return shown, [loaders.classes[label] for label in y.tolist()]


def test_parts_and_shards_of_mixed_sizes_are_fed_with_the_names_of_their_classes(tmp_path):
    write(tmp_path / "data/train-00000-of-00002.parquet", [0, 2, 1])
    write(tmp_path / "data/train-00001-of-00002.parquet", [2], width=20)
    write(tmp_path / "data/validation-00000-of-00001.parquet", [1])
    write(tmp_path / "data/test-00000-of-00001.parquet", [-1, -1])  # the Hub hides labels so
    (tmp_path / "README.md").write_text("# A set\n")

    loaders = fed(tmp_path, size=8, test=0)

    assert loaders.classes == NAMES
    for part, wanted in (("train", ["cat", "eel", "dog", "eel"]), ("val", ["dog"])):
        shown, named = seen(loaders, part)
        assert shown == named == wanted
    assert len(loaders.predict) == 1
    assert loaders.test is None


def test_the_copy_that_the_hub_converts_has_a_folder_for_each_part(tmp_path):
    write(tmp_path / "default/train/0000.parquet", [0, 1])
    write(tmp_path / "default/train/0001.parquet", [2])
    write(tmp_path / "default/test/0000.parquet", [1])

    found = layouts.read(tmp_path)

    assert {part: len(split) for part, split in found.splits.items()} == {"train": 3, "test": 1}
    assert found.rule == 'column "label"'


def test_several_configurations_are_asked_about(tmp_path):
    write(tmp_path / "full/train-00000-of-00001.parquet", [0, 1])
    write(tmp_path / "small/train-00000-of-00001.parquet", [0, 1])

    with pytest.raises(SpecError, match="several sets .* full, small"):
        layouts.read(tmp_path)
    assert len(layouts.read(tmp_path / "small").splits["train"]) == 2


def test_names_of_classes_come_from_the_readme_where_the_file_has_none(tmp_path):
    write(tmp_path / "data/train-00000-of-00001.parquet", [0, 2, 1], told=False)
    names = "".join(f"          '{at}': {name}\n" for at, name in enumerate(NAMES))
    text = f"---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n      class_label:\n        names:\n{names}---\n"  # noqa: E501
    (tmp_path / "README.md").write_text(text)

    assert layouts.read(tmp_path).classes == NAMES


def test_of_two_labels_one_is_asked_for(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    write(path, [0, 1, 2], told=False, column="fine", coarse=["x", "y", "x"])

    with pytest.raises(SpecError, match="image, fine, coarse; which column is the label"):
        layouts.read(path)
    assert layouts.read(path, labels="coarse").classes == ("x", "y")
    shown, named = seen(fed(path, labels="fine", test=0, size=8), "train")
    assert (shown, named) == (["cat", "dog", "eel"], ["0", "1", "2"])


def test_rows_without_a_label_are_left_out_and_said(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", [0, -1, 1])
    found = layouts.read(tmp_path)
    assert (len(found.splits["train"]), found.left_out) == (2, ("1 rows of train whose label is not known",))


def test_pictures_of_one_size_are_one_array(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [picture(1), picture(0)], "label": [1, 0]}), path)
    images, labels = datastage.stage(path, progress=False).arrays("train")
    assert (images.shape, images[:, 0, 0, 0].tolist(), labels.tolist()) == ((2, 8, 8, 3), [60, 20], [1, 0])


def test_a_picture_that_is_only_named_is_left_out_as_one_that_cannot_be_read(tmp_path):
    rows = [picture(0), {"bytes": None, "path": "elsewhere.png"}, picture(1)]
    pq.write_table(pa.table({"image": rows, "label": [0, 0, 1]}), tmp_path / "t.parquet")
    ((x, y),) = fed(tmp_path / "t.parquet", test=0, size=8).train
    assert y.tolist() == [0, 1]


def test_rows_of_numbers_need_no_picture(tmp_path):
    pq.write_table(pa.table({"a": [1.0, 2.0], "kind": ["u", "v"]}), tmp_path / "t.parquet")
    found = layouts.read(tmp_path / "t.parquet", labels="kind")
    assert (found.classes, found.arrays("train")[1].tolist()) == (("u", "v"), [0, 1])
    assert found.arrays("train")[0].dtype == np.float32


def rows(path, **columns):
    pq.write_table(pa.table(columns), path)


def test_columns_of_rows_are_found_by_name_in_every_file(tmp_path):
    rows(tmp_path / "train.parquet", a=[1, 2], b=[-1.0, -2.0], label=[0, 1])
    rows(tmp_path / "test.parquet", label=[1], b=[-3.0], a=[3])
    found = layouts.read(tmp_path, labels="label")
    assert [found.arrays(part)[0].tolist() for part in ("train", "test")] == [[[1, -1], [2, -2]], [[3, -3]]]


@pytest.mark.parametrize("more", [{}, {"b": ["x", "y"]}])
def test_a_column_that_another_file_lacks_is_named(more, tmp_path):
    rows(tmp_path / "train.parquet", a=[1, 2], b=[-1.0, -2.0], label=[0, 1])
    rows(tmp_path / "test.parquet", a=[3, 4], label=[1, 0], **more)
    with pytest.raises(SpecError, match="test.parquet has no column of numbers 'b', which train.parquet has") as error:
        layouts.read(tmp_path, labels="label")
    assert "datastage.loaders(path / 'train.parquet', labels=\"label\"" in str(error.value)


def test_columns_that_are_no_features_are_said_and_truths_are_numbers(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1, 2, 3], "city": list("xyx"), "old": [True, False, True], "label": [0, 1, 1]})
    table.iloc[[1, 0, 2]].to_parquet(tmp_path / "t.parquet")
    found = layouts.read(tmp_path / "t.parquet", labels="label")
    assert found.arrays("train")[0].shape == (3, 2)
    assert found.left_out == ("the columns city, __index_level_0__: they hold no numbers, or number the rows",)


@pytest.mark.parametrize(
    ("values", "left"), [(["dog", None, "cat"], [1, 0]), ([1, None, 0], [1, 0]), ([1.0, float("nan"), 0.0], [1, 0])]
)
def test_rows_of_numbers_without_a_label_are_left_out_and_said(values, left, tmp_path):
    rows(tmp_path / "t.parquet", a=[1, 2, 3], label=values)
    found = layouts.read(tmp_path / "t.parquet", labels="label")
    features, labels = found.arrays("train")
    assert (features.tolist(), labels.tolist(), labels.dtype) == ([[1], [3]], left, np.int64)
    assert (len(found.splits["train"]), found.left_out) == (2, ("1 rows of train whose label is not known",))
    assert found.classes in ((), ("cat", "dog"))


def test_rows_of_a_file_without_the_label_are_to_predict(tmp_path):
    rows(tmp_path / "train.parquet", a=[float(n) for n in range(20)], kind=["u", "v"] * 10)
    rows(tmp_path / "test.parquet", a=[7.0, 8.0, 9.0])
    ready = datastage.loaders(tmp_path, labels="kind", batch_size=64, device="cpu", progress=False)
    assert [ids.tolist() for _, ids in ready.predict] == [[0, 1, 2]]
    assert "3 rows without labels (test): they are .predict" in str(layouts.read(tmp_path, labels="kind"))


def test_an_empty_cell_of_a_feature_is_named(tmp_path):
    rows(tmp_path / "t.parquet", a=[1, None], b=[1, 2], label=[0, 1])
    with pytest.raises(SpecError, match="t.parquet: a is empty in some rows"):
        layouts.read(tmp_path / "t.parquet", labels="label").arrays("train")


def test_a_file_cut_short_is_named(tmp_path):
    write(tmp_path / "t.parquet", [0, 1])
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match="not a whole parquet file"):
        layouts.read(tmp_path / "t.parquet", labels="label")


@pytest.mark.parametrize("values", [[{"a": 1}, {"a": 2}], [[1, 2], [3]], [0.5, 1.5]])
def test_a_label_that_is_no_class_is_said(values, tmp_path):
    write(tmp_path / "x.parquet", [0, 1], told=False, **{"boxes": values})
    with pytest.raises(SpecError, match="The column 'boxes' holds no classes"):
        layouts.read(tmp_path / "x.parquet", labels="boxes")


def test_measures_of_one_part_are_not_named_one_by_one(tmp_path, monkeypatch):
    from datastage.layouts import parquet

    pq.write_table(pa.table({"a": [1.0, 2.0], "price": [0.5, 1.5]}), tmp_path / "x.parquet")
    monkeypatch.setattr(parquet, "as_name", None)
    assert layouts.read(tmp_path / "x.parquet", labels="price").splits["train"].n == 2


@pytest.mark.parametrize("asked", [{}, {"labels": "label"}], ids=["by its name", "asked for"])
def test_pictures_of_one_file_are_parted_as_a_column_says(asked, tmp_path):
    split = ["train", "test", "train", "validation", "train", None]
    write(tmp_path / "pets.parquet", [0, 2, 1, 1, -1, 2], split=split)

    reading = layouts.read(tmp_path, **asked)
    loaders = fed(tmp_path, size=8, **asked)

    assert seen(loaders, "train") == (["cat", "dog"], ["cat", "dog"])
    assert seen(loaders, "val") == (["dog"], ["dog"])
    assert seen(loaders, "test") == (["eel"], ["eel"])
    assert 'Parts     as column "split" of pets.parquet says' in reading.lines()
    assert "Left out  1 rows of train whose label is not known" in reading.lines()
    assert 'Left out  1 rows of no part that "split" names' in reading.lines()


def test_rows_of_numbers_are_parted_as_a_column_says_which_is_no_feature(tmp_path):
    columns = {"a": [1, 2, 3, 4, 5], "is_train": [True, False, True, True, False], "label": [0, 1, 1, 0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")

    loaders = datastage.loaders(tmp_path, labels="label", batch_size=8, shuffle=False, progress=False)

    for part, wanted in (("train", ([[1], [3], [4]], [0, 1, 0])), ("test", ([[2], [5]], [1, 1]))):
        ((x, y),) = getattr(loaders, part)
        assert (x.tolist(), y.tolist()) == wanted


def test_rows_to_predict_of_one_file_keep_the_numbers_of_their_rows(tmp_path):
    columns = {
        "a": [1, 2, 3, 4, 5, 6],
        "split": ["predict", "train", "test", "train", "val", "test"],
        "label": ["?", "up", None, "down", None, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")

    loaders = datastage.loaders(tmp_path, labels="label", batch_size=8, shuffle=False, progress=False, test=0)

    ((x, ids),) = loaders.predict
    assert x.ravel().tolist() == [1, 3, 5, 6]
    assert ids.tolist() == [0, 2, 4, 5]
    ((x, y),) = loaders.train
    assert x.ravel().tolist() == [2, 4]
    assert [loaders.classes[at] for at in y] == ["up", "down"]


def test_files_that_are_parted_need_no_column_for_it(tmp_path):
    for part, subset in (("train", ["train", "test"]), ("test", ["train", "train"])):
        columns = {"a": [1, 2], "subset": subset, "label": [0, 1]}
        pq.write_table(pa.table(columns), tmp_path / f"{part}.parquet")

    reading = layouts.read(tmp_path, labels="label")

    assert {part: len(split) for part, split in reading.splits.items()} == {"train": 2, "test": 2}


@pytest.mark.parametrize("names", [(-1, 1), (-1, 0, 1), (-1, 0)])
def test_minus_one_is_a_class_where_train_has_it_and_no_classes_are_named(tmp_path, names):
    write(tmp_path / "train.parquet", [*names] * 4, told=False)
    write(tmp_path / "test.parquet", [*names], told=False)
    found = layouts.read(tmp_path)
    assert found.classes == tuple(map(str, names))
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 4 * len(names), "test": len(names)}
    assert found.counts("train") == dict.fromkeys(found.classes, 4)
    assert not found.left_out


def test_a_test_part_whose_two_classes_are_written_in_another_way_is_refused_with_a_step_that_works(tmp_path):
    write(tmp_path / "train.parquet", [0, 1] * 4, told=False)
    write(tmp_path / "test.parquet", [-1, 1] * 3, told=False)
    with pytest.raises(SpecError, match="-1 is no class") as error:
        layouts.read(tmp_path)
    assert "test=0" in error.value.remedy[-1]
    assert {part: len(split) for part, split in layouts.read(tmp_path, test=0).splits.items()} == {"train": 8}
