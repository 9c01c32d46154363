"""Data without pictures in folders: tables of one's own, arrays, batches of the catalog's sets."""

import numpy as np
import pytest

import datastage
from datastage import layouts
from datastage.errors import IntegrityError, SpecError, StorageError
from datastage.layouts.pictures import arrays_of
from tests.made_data import photos


def arrays(path, split):
    return arrays_of(path, split, layouts.read(path))


def write(tmp_path, text: str, name: str = "table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_the_column_called_label_is_the_label_wherever_it_stands(tmp_path):
    path = write(tmp_path, "Label,a,b\ncat,1,2\ndog,3,4\ncat,5,6\n")
    table, labels = arrays(path, "train")
    assert (table.tolist(), labels.tolist()) == ([[1, 2], [3, 4], [5, 6]], [0, 1, 0])
    assert layouts.read(path).classes == ("cat", "dog")


def test_without_such_a_name_the_label_is_asked_for_and_a_number_names_a_column(tmp_path):
    path = write(tmp_path, "1.5,2,0\n3,4,1\n")
    with pytest.raises(SpecError, match="no header, and commas part its 3 columns"):
        layouts.read(path)
    table, labels = arrays_of(path, "train", layouts.read(path, labels="-1"))
    assert (table.tolist(), labels.tolist()) == ([[1.5, 2], [3, 4]], [0, 1])


@pytest.mark.parametrize("header", ["a,label,b,c", "a,b,label,c"])
def test_a_row_far_down_that_is_too_short_is_named(header, tmp_path):
    rows = [header, *["1.25,0,0,2.25", "1.25,1,1,2.25"] * 4000]
    rows[7000] = "1.25"
    with pytest.raises(SpecError, match="row 7001: label is empty"):
        layouts.read(write(tmp_path, "\n".join(rows)))


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    path = write(tmp_path, "Id,a,species\n1,5,x\n2,6,y\n")
    assert arrays(path, "train")[0].tolist() == [[5], [6]]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_told(separator, tmp_path):
    path = write(tmp_path, "a,b,label\n1,2,x\n3,4,y\n".replace(",", separator))
    assert arrays(path, "train")[0].tolist() == [[1, 2], [3, 4]]


def test_columns_of_pixels_are_images(tmp_path):
    header = "label," + ",".join(f"pixel{i}" for i in range(64))
    path = write(tmp_path, header + "\n" + "\n".join("3," + ",".join(["255"] * 64) for _ in range(2)))
    images, labels = arrays(path, "train")
    assert (images.shape, images.dtype, labels.tolist()) == ((2, 8, 8, 1), np.uint8, [0, 0])
    assert layouts.read(path).classes == ("3",)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", IntegrityError, "is empty"),
        ("a,b,label\n", IntegrityError, "no rows"),
        ("a,b,label\n1,2,x\n3,y\n", IntegrityError, "row 3: 2 values where the first has 3"),
        ("a,b,label\n1,2,x\n3,,y\n", SpecError, "row 3: b is empty, which is no number"),
        ("a,b,label\n1,2,x\n3,nan,y\n", SpecError, "row 3: b is 'nan', which is no number"),
        ("a,b,label\n1,2,x\n3,NA,y\n5,6,x\n", SpecError, "row 3: b is 'NA', which is no number"),
        ("a,b,label\n1,2,x\n3,1e39,y\n", SpecError, "row 3: b is '1e39', which is no number"),
        ("a,b,label\n1,2,0\n3,4,nan\n5,6,1\n", SpecError, "row 3: label is empty, in 1 rows"),
        ("a,b,label\n1,2,0.5\n3,4,inf\n5,6,1.5\n", SpecError, "row 3: label is empty, in 1 rows"),
        ("a,b,c\n1,2,0.5\n3,4,0.7\n", SpecError, "no column can be told to be the label"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_says_where(text, error, said, tmp_path):
    with pytest.raises(error, match=said):
        arrays(write(tmp_path, text), "train")


@pytest.mark.parametrize("cells", [["0.5", "0.7", "nan"], ["x", "y", ""]])
def test_a_label_that_is_missing_in_the_table_to_validate_on_is_named(cells, tmp_path):
    write(tmp_path, "a,label\n1,{}\n2,{}\n".format(*cells), "train.csv")
    write(tmp_path, "a,label\n1,{0}\n2,{2}\n".format(*cells), "val.csv")
    with pytest.raises(SpecError, match=r"val.csv, row 3: label is empty, in 1 rows"):
        layouts.read(tmp_path)


def test_a_row_of_a_part_whose_label_is_missing_is_named_by_its_place_in_the_table(tmp_path):
    path = write(tmp_path, "a,split,label\n1,train,x\n2,val,x\n3,train,y\n4,val,\n")
    with pytest.raises(SpecError, match=r"table.csv, row 5: label is empty, in 1 rows"):
        layouts.read(path)


def test_a_folder_with_train_and_test_tables_has_both_splits(tmp_path):
    write(tmp_path, "a,label\n1,x\n2,y\n", "train.csv")
    write(tmp_path, "a,label\n3,y\n4,x\n", "test.csv")
    assert tuple(layouts.read(tmp_path).splits) == ("train", "test")
    assert arrays(tmp_path, "test")[1].tolist() == [1, 0]


def test_a_column_that_the_table_to_predict_lacks_is_not_learnt_from_and_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("a,told later,label\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(6)))
    (tmp_path / "test.csv").write_text("a\n7\n8\n")
    found = layouts.read(tmp_path)
    assert found.arrays("train")[0].tolist() == [[0], [1], [2], [3], [4], [5]]
    assert found.arrays("predict")[0].tolist() == [[7], [8]]
    assert any("the columns told later" in line for line in found.left_out)


def test_a_table_of_test_that_is_named_to_learn_from_is_no_test_part_as_well(tmp_path):
    for part, n in (("train", 4), ("test", 6)):
        (tmp_path / f"{part}.csv").write_text("a,label\n" + "".join(f"{i},{i % 2}\n" for i in range(n)))
    found = layouts.read(tmp_path, labels="test.csv:label")
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 6}


def test_a_test_table_that_lacks_a_class_keeps_the_numbers_of_the_training_table(tmp_path):
    write(tmp_path, "a,label\n1,x\n2,y\n", "train.csv")
    write(tmp_path, "a,label\n3,y\n", "test.csv")
    assert arrays(tmp_path, "test")[1].tolist() == [1]


# --- npz


def test_an_npz_by_keras_names_is_read(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        x_train=np.zeros((5, 4, 4), np.uint8),
        y_train=np.arange(5),
        x_test=np.ones((2, 4, 4), np.uint8),
        y_test=np.array([[1], [0]]),
    )
    assert tuple(layouts.read(tmp_path / "x.npz").splits) == ("train", "test")
    images, labels = arrays(tmp_path / "x.npz", "test")
    assert (images.shape, labels.tolist()) == ((2, 4, 4, 1), [1, 0])


def test_floats_from_0_to_1_in_an_npz_are_the_nearest_bytes(tmp_path):
    bytes_ = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    near = (bytes_ - 0.4).clip(0) / 255
    np.savez(tmp_path / "x.npz", x=near, y=np.arange(4))
    images, labels = arrays(tmp_path / "x.npz", "train")
    assert (images[..., 0] == bytes_).all()
    assert labels.tolist() == [0, 1, 2, 3]


def test_an_npz_by_medmnist_names_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((5, 3, 4, 4), np.uint8), train_labels=np.zeros((5, 1), np.uint8))
    assert arrays(tmp_path / "x.npz", "train")[0].shape == (5, 4, 4, 3)


def test_an_npz_that_holds_a_pickle_is_refused_and_nothing_runs(tmp_path):
    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    np.savez(tmp_path / "x.npz", x=np.array([Runs()], dtype=object), y=np.zeros(1, int))
    with pytest.raises(IntegrityError, match="could run code when read: they were not read"):
        arrays(tmp_path / "x.npz", "train")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, SpecError, "none is called images or labels"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.zeros(2, int)}, SpecError, "do not go with"),
        ({"x": np.zeros((3, 4, 4)), "y": np.zeros(3, int)}, SpecError, "neither images"),
        ({"x": np.float32(3), "y": np.zeros(3, int)}, SpecError, "do not go with"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.int64(1)}, SpecError, "do not go with"),
    ],
)
def test_an_npz_without_images_and_labels_says_what_it_has(named, error, said, tmp_path):
    np.savez(tmp_path / "x.npz", **named)
    with pytest.raises(error, match=said):
        arrays(tmp_path / "x.npz", "train")


def test_a_damaged_npz_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), y=np.zeros(3, int))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-40])
    with pytest.raises(IntegrityError):
        arrays(tmp_path / "x.npz", "train")


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
    assert tuple(layouts.read(pictures).splits) == ("train", "test")
    assert layouts.read(pictures).classes == ("cat", "dog")
    images, labels = arrays(pictures, "train")
    assert (images.shape, labels.tolist()) == ((6, 4, 6, 3), [0, 0, 0, 1, 1, 1])
    assert images[4, 0, 0].tolist() == [100, 1, 7]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_comes_out_as_the_loaders_give_it_and_not_cut_off(tmp_path, suffix):
    image = pytest.importorskip("PIL.Image")
    ramp = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(2, 8)
    for name in ("scan", "slide"):
        (tmp_path / "data" / name).mkdir(parents=True)
        image.fromarray(ramp).save(tmp_path / "data" / name / f"1{suffix}")
    images, _ = arrays(tmp_path / "data", "train")
    assert images.shape == (2, 2, 8, 1)
    assert images[0, ..., 0].tolist() == (ramp >> 8).tolist()
    fed = datastage.loaders(tmp_path / "data", 1, test=0, dtype="uint8", device="cpu", cache=tmp_path / "c").train
    assert next(iter(fed))[0][0, 0].tolist() == images[0, ..., 0].tolist()


def test_a_photo_comes_out_the_way_up_that_its_camera_noted(tmp_path):
    image = pytest.importorskip("PIL.Image")
    noted = image.Exif()
    noted[0x0112] = 6
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        image.new("RGB", (6, 4)).save(tmp_path / name / "1.jpg", exif=noted)
    assert arrays(tmp_path, "train")[0].shape == (2, 6, 4, 3)


def test_grey_among_colour_is_given_three_channels(pictures):
    from PIL import Image

    Image.new("L", (6, 4), 9).save(pictures / "Train" / "dog" / "9.png")
    images, _ = arrays(pictures, "train")
    assert images.shape == (7, 4, 6, 3)
    assert images[6, 0, 0].tolist() == [9, 9, 9]


def test_decimals_with_a_comma_are_no_classes(tmp_path):
    path = write(tmp_path, "a;b;preis\n" + "".join(f"{i};{2 * i};{i % 7},5\n" for i in range(60)))
    with pytest.raises(SpecError, match='"preis" holds numbers with a comma'):
        layouts.read(path, labels="preis")
    for i in range(60):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{i}.png").write_bytes(b"")
    (tmp_path / "p" / "t.csv").write_text("bild;preis\n" + "".join(f"{i}.png;{i % 7},5\n" for i in range(60)))
    with pytest.raises(SpecError, match='"preis" holds numbers with a comma'):
        layouts.read(tmp_path / "p")
    for i in range(60):
        (tmp_path / "c" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / "ab"[i % 2] / f"{i}.png").write_bytes(b"")
    (tmp_path / "c" / "t.csv").write_text("bild;target\n" + "".join(f"{i}.png;{i % 7},5\n" for i in range(60)))
    assert layouts.read(tmp_path / "c").classes == ("a", "b")


def test_a_text_of_one_long_line_beside_pictures_is_no_table(tmp_path):
    photos(tmp_path, "cat", "dog")
    (tmp_path / "features.txt").write_text("0.12345 " * 3_000_000)
    assert layouts.read(tmp_path).classes == ("cat", "dog")


def test_classes_that_begin_with_digits_are_no_numbers(tmp_path):
    classes = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    lines = (f"{i},{3 * i % 11},{classes[i // 55]}\n" for i in range(55 * 62))
    found = layouts.read(write(tmp_path, "a,b,label\n" + "".join(lines)))
    assert (found.task, len(found.classes)) == ("classification", 62)


def test_pictures_of_two_sizes_are_refused_with_what_helps(pictures):
    from PIL import Image

    Image.new("RGB", (9, 9)).save(pictures / "Train" / "dog" / "9.png")
    with pytest.raises(SpecError, match="differ in size: 6 x 4 and 9 x 9"):
        arrays(pictures, "train")


def test_a_folder_of_something_else_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SpecError, match="no images"):
        arrays(tmp_path, "train")


def test_a_dot_in_the_name_of_a_folder_is_no_ending_of_the_files_in_it(tmp_path):
    for folder in ("sci.space", "alt.atheism"):
        (tmp_path / folder).mkdir()
        for n in range(2):
            (tmp_path / folder / str(n)).write_text("text")
    with pytest.raises(SpecError, match="holds 4 other files"):
        layouts.read(tmp_path)


def test_a_cifar_folder_is_recognised_without_a_name(tmp_path):
    from tests import kaggle_inputs

    kaggle_inputs._write(kaggle_inputs.small_cifar(), tmp_path)
    assert tuple(layouts.read(tmp_path).splits) == ("train", "test")
    assert arrays(tmp_path, "test")[0].shape == (20, 32, 32, 3)


def mnist(folder, seed=0, before=""):
    from tests import kaggle_inputs

    files = kaggle_inputs.small_mnist("", seed)
    kaggle_inputs._write({before + name[1:]: data for name, data in files.items()}, folder)
    return folder


def test_of_several_sets_of_idx_files_in_folders_one_is_asked_for(tmp_path):
    mnist(tmp_path / "MNIST/raw"), mnist(tmp_path / "FashionMNIST/raw", 7)
    with pytest.raises(SpecError, match=r"FashionMNIST/raw, MNIST/raw.\n.*path / 'FashionMNIST/raw'"):
        layouts.read(tmp_path)
    assert tuple(layouts.read(tmp_path / "MNIST").splits) == ("train", "test")


def test_of_several_sets_of_idx_files_in_one_folder_one_is_named_by_its_labels(tmp_path):
    for seed, name in enumerate(("balanced", "letters")):
        mnist(tmp_path, seed, before=f"emnist-{name}-")
    with pytest.raises(SpecError, match='labels="emnist-balanced-train-labels-idx1-ubyte"'):
        layouts.read(tmp_path)
    found = layouts.read(tmp_path, labels="emnist-letters-train-labels-idx1-ubyte")
    own = layouts.read(mnist(tmp_path / "letters", 1))
    for part in ("train", "test"):
        assert (found.arrays(part)[0] == own.arrays(part)[0].transpose(0, 2, 1, 3)).all()  # which lie on their side
    assert "EMNIST's pictures, which lie on their side, are turned" in str(found)
    assert "turned" not in str(own)


def test_idx_files_that_lie_twice_are_one_set(tmp_path):
    mnist(tmp_path / "MNIST/raw"), mnist(tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        path.with_name(path.name.replace("-idx", ".idx")).write_bytes(path.read_bytes())
        path.with_name(path.name + ".gz").write_bytes(b"packed")
    assert tuple(layouts.read(tmp_path).splits) == ("train", "test")


def test_cifar_10_beside_cifar_100_is_asked_about_and_each_is_read_by_its_folder(tmp_path):
    from tests import kaggle_inputs

    kaggle_inputs._write(kaggle_inputs.small_cifar(), tmp_path)
    kaggle_inputs._write({f"cifar-100-python/{name}": b"" for name in ("train", "test")}, tmp_path)
    with pytest.raises(SpecError, match="cifar-10-batches-py, cifar-100-python"):
        layouts.read(tmp_path)
    assert arrays(tmp_path / "cifar-10-batches-py", "test")[0].shape == (20, 32, 32, 3)


@pytest.mark.parametrize(
    ("more", "what"), [({"fine_labels": np.arange(6) % 3}, "labels"), ({"data": np.zeros((6, 2))}, "images")]
)
def test_of_two_arrays_that_could_be_meant_one_is_asked_for(more, what, tmp_path):
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=pictures, coarse_labels=np.arange(6) % 2, **more)
    with pytest.raises(SpecError, match=f'could be the {what}: .*\\n.* labels="coarse_labels"'):
        layouts.read(tmp_path / "x.npz")
    assert layouts.read(tmp_path / "x.npz", labels="coarse_labels").arrays("train")[0].shape == (6, 8, 8, 3)


def test_an_array_of_the_names_of_classes_is_not_the_labels(tmp_path):
    np.savez(tmp_path / "x.npz", classes=np.array(["u", "v"]), x=np.zeros((2, 4, 4), np.uint8), y=np.arange(2))
    assert arrays(tmp_path / "x.npz", "train")[1].tolist() == [0, 1]


def test_a_table_of_long_lines_keeps_all_its_columns(tmp_path):
    names = ",".join(f"GENE{k:06}" for k in range(7_000))
    write(tmp_path, f"{names},label\n" + "".join("0.5," * 7_000 + f"{i % 2}\n" for i in range(12)))
    images, labels = arrays(tmp_path / "table.csv", "train")
    assert (images.shape, labels.tolist()) == ((12, 7_000), [0, 1] * 6)


def test_tables_of_one_name_and_size_are_the_same_only_if_their_bytes_are(tmp_path):
    for folder, text in (("a", "x,label\n1,0\n2,1\n"), ("b", "x,label\n3,0\n4,1\n"), ("c", "x,label\n1,0\n2,1\n")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, text)
    with pytest.raises(SpecError, match="holds 2 tables"):
        layouts.read(tmp_path)
    (tmp_path / "b/table.csv").unlink()
    assert "c/table.csv: the same as a/table.csv" in str(layouts.read(tmp_path))


def test_the_one_column_that_is_no_pixel_is_the_label(tmp_path):
    header = ",".join(f"pixel_{i:04}" for i in range(16)) + ",character"
    path = write(tmp_path, header + "\n" + ",".join(["7"] * 16) + ",ka\n" + ",".join(["9"] * 16) + ",kha\n")
    found = layouts.read(path)
    assert (found.classes, found.arrays("train")[0].shape) == (("ka", "kha"), (2, 4, 4, 1))


def test_a_train_folder_without_class_folders_is_said_to_have_none_and_is_no_class(tmp_path):
    for part in ("train", "test"):
        photos(tmp_path / "data" / part, "")

    with pytest.raises(SpecError) as caught:
        layouts.read(tmp_path / "data")

    assert "The folder train holds the pictures themselves" in str(caught.value)
    assert "classes=['train']" not in str(caught.value)


@pytest.mark.parametrize("name", ["stage", "phase", "source"])
def test_numbers_in_a_column_that_could_say_parts_are_a_feature(name, tmp_path):
    path = write(tmp_path, f"a,{name},label\n" + "".join(f"{i * 0.5},{i % 3},{i % 2}\n" for i in range(30)))
    found = layouts.read(path)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 30}
    assert found.arrays("train")[0].shape == (30, 2)


def test_a_column_of_parts_is_named_and_rows_that_it_says_nothing_of_are_left_out(tmp_path):
    of = ["train", "test", "", "holdout"]
    path = write(tmp_path, "a,split,label\n" + "".join(f"{i},{of[i % 4]},{'xy'[i // 4 % 2]}\n" for i in range(40)))
    found = layouts.read(path)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 10, "test": 10}
    assert found.arrays("train")[0][:, 0].tolist() == list(range(0, 40, 4))
    assert '20 rows of no part that "split" names' in found.left_out
    assert 'Parts     as column "split" of table.csv says' in found.said


def test_a_part_that_begins_far_down_a_long_table_is_seen(tmp_path):
    text = "a,split,label\n" + "".join(f"{i},{2 * (i > 900) or i > 800},{i % 2}\n" for i in range(1000))
    found = layouts.read(write(tmp_path, text.replace("False", "0").replace("True", "1")))
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 801, "val": 100, "test": 99}


@pytest.mark.parametrize("column", ["label", "value"])
def test_a_table_of_one_column_is_refused_without_a_line_that_fails_too(tmp_path, column):
    path = write(tmp_path, f"{column}\n" + "".join(f"{i * 1.5}\n" for i in range(20)))
    with pytest.raises(SpecError, match="one column that may be the label") as caught:
        layouts.read(path)
    assert "labels=" not in str(caught.value)


def test_rows_of_a_test_part_that_all_lack_a_label_are_to_predict_by_their_numbers(tmp_path):
    path = write(
        tmp_path,
        "a,label,split\n" + "".join(f"{i},{i % 2 if i < 6 else ''},{'train' if i < 6 else 'test'}\n" for i in range(9)),
    )
    found = layouts.read(path)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 6, "predict": 3}
    rows, ids = arrays_of(path, "predict", found)
    assert (rows.tolist(), ids.tolist()) == ([[6], [7], [8]], [6, 7, 8])
    path = write(tmp_path, path.read_text().replace("8,,test", "8,1,test"))
    with pytest.raises(SpecError, match="label is empty, in 2 rows"):
        layouts.read(path)


@pytest.mark.parametrize("n", [40, 4000])
def test_a_row_of_commas_alone_and_an_empty_first_line_are_no_rows(n, tmp_path):
    lines = [f"{i},{i / 7:.12f},{'ab'[i % 2]}" for i in range(n)]
    (tmp_path / "t.csv").write_text("\n".join(["", "one,two,label", *lines[:20], ",,", *lines[20:]]))
    images, labels = arrays(tmp_path / "t.csv", "train")
    assert (images[:, 0].tolist(), labels.tolist()) == (list(range(n)), [i % 2 for i in range(n)])


def test_a_file_that_may_not_be_read_by_now_is_an_error_of_ours(tmp_path):
    from datastage.layouts import tree

    (tmp_path / "labels.csv").write_text("name,label\n")
    listed = (tree.of_folder(tmp_path), tree.of_file(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").unlink()
    for found in listed:
        with pytest.raises(StorageError, match=r"reading labels.csv, no such file") as told:
            found.open("labels.csv")
        assert told.value.remedy[-1].startswith("Next: see whether it is still there and may be read")


PARTED = "a,split,label\n" + "".join(f"{i},{{{i // 4}}},{i % 2}\n" for i in range(8))


@pytest.mark.parametrize(
    ("says", "beside", "label", "parts", "left_out"),
    [
        ("test", "val", "label", {"train": 4, "val": 2, "test": 4}, ()),
        ("val", "test", "label", {"train": 4, "val": 4, "test": 2}, ()),
        ("val", "test", "", {"train": 4, "val": 4, "predict": 2}, ()),
        ("test", "test", "", {"train": 4, "test": 4, "predict": 2}, ()),
        ("predict", "test", "label", {"train": 4, "test": 2, "predict": 4}, ()),
        ("other", "test", "label", {"train": 4, "test": 2}, ('4 rows of no part that "split" names',)),
        ("test", "test", "label", {"train": 4, "test": 2}, ("4 rows of train.csv called test: test.csv is that part",)),
    ],
)
def test_a_column_of_parts_counts_also_where_a_table_of_another_part_lies_beside(
    says, beside, label, parts, left_out, tmp_path
):
    write(tmp_path, PARTED.format("train", says), "train.csv")
    write(tmp_path, f"a,{label}\n50,1\n51,0\n", f"{beside}.csv")
    found = layouts.read(tmp_path)
    assert {part: len(split) for part, split in found.splits.items()} == parts
    assert found.arrays("train")[0].ravel().tolist() == [0, 1, 2, 3]
    own = beside if beside in parts and label else "predict"
    assert found.arrays(own)[0].ravel().tolist() == [50, 51]
    assert set(left_out) == {line for line in found.left_out if "rows" in line}
    assert 'Parts     as column "split" of train.csv says' in found.said
    assert set(layouts.read(tmp_path, test=0).splits) == {*parts} - {"test"}


def test_a_column_that_calls_every_row_train_says_nothing_of_parts(tmp_path):
    write(tmp_path, PARTED.format("train", "train"), "train.csv")
    write(tmp_path, "a,split,label\n50,test,1\n51,test,0\n", "test.csv")
    found = layouts.read(tmp_path)
    assert ({part: len(split) for part, split in found.splits.items()}, found.said) == ({"train": 8, "test": 2}, ())
