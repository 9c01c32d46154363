"""Replicas of our own: labels in tables, lists and names beside the pictures; other tasks; what the user says."""

import io
import json
import zipfile

import numpy as np
import pytest

from datastage import layouts
from datastage.errors import IntegrityError, SpecError
from datastage.layouts.aside import place

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def make(tmp_path):
    def fill(files):
        """Write empty pictures and texts: ``"a/*3.jpg"`` is a/0.jpg, a/1.jpg, a/2.jpg."""
        for name, text in files.items():
            head, star, tail = name.partition("*")
            names = [f"{head}{i}{tail[1:]}" for i in range(int(tail[0]))] if star else [name]
            for one in names:
                (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / one).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return fill


def pairs(found, split="train"):
    part = found.splits[split]
    return {name: found.classes[label] if found.classes else label for name, label in zip(part.names, part.labels)}


def zipped(*names):
    """A zip of empty pictures."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return out.getvalue()


def rows(*lines, sep=","):
    return "\n".join(line.replace(",", sep) for line in lines) + "\n"


FLOWERS = rows("image_id,species", "0.jpg,ash", "1.jpg,oak", "2.jpg,oak", "3.jpg,ash")
BIRDS = rows("file\tcall", "birds/0\twren", "birds/1\trobin", "birds/2\twren", "birds/3\trobin")
SERVED = {
    "a column of file names": ({"pics/*4.jpg": "", "train.csv": FLOWERS}, {"pics/0.jpg": "ash", "pics/1.jpg": "oak"}),
    "names without suffix and with a folder": ({"birds/*4.png": "", "labels.tsv": BIRDS}, {"birds/0.png": "wren"}),
    "numbers without suffix": (
        {"x/*4.png": "", "t.csv": rows("id,target", "0,1", "1,0", "2,1", "3,0")},
        {"x/0.png": "1", "x/1.png": "0"},
    ),
    "one-hot columns": (
        {"x/*4.png": "", "t.csv": rows("name, bolt, nut", "0.png,1,0", "1.png,0,1", "2.png,1,0", "3.png,0,1")},
        {"x/0.png": "bolt", "x/1.png": "nut"},
    ),
    "one-hot columns among others": (
        {"x/*4.png": "", "t.csv": rows("id,sick,well", "0,1,0", "1,0,1", "2,0,1", "3,1,0")},
        {"x/0.png": "sick", "x/3.png": "sick"},
    ),
    "lines of JSON": (
        {
            "x/*2.png": "",
            "x/metadata.jsonl": '{"file_name": "0.png", "label": "a"}\n{"file_name": "1.png", "label": "b"}\n',
        },
        {"x/0.png": "a", "x/1.png": "b"},
    ),
    "names to labels in JSON": ({"x/*2.png": "", "l.json": '{"0.png": "a", "1.png": "b"}'}, {"x/1.png": "b"}),
    "a list of paths and numbers": (
        {"x/*4.png": "", "train.txt": "x/0.png 0\nx/1.png 1\nx/2.png 1\n", "val.txt": "x/3.png 0\n"},
        {"x/0.png": "0", "x/1.png": "1", "x/2.png": "1"},
    ),
    "words in the names of files": ({"cat.*3.jpg": "", "dog.*3.jpg": ""}, {"cat.0.jpg": "cat", "dog.2.jpg": "dog"}),
    "words with a number": (
        {"i/elm_*3.png": "", "i/red oak_*3.png": ""},
        {"i/elm_1.png": "elm", "i/red oak_0.png": "red oak"},
    ),
    "what the test table lacks": (
        {
            "train/*3.jpg": "",
            "test/x*2.jpg": "",
            "train.csv": rows("id,site,kind", "0,n,a", "1,s,b", "2,n,b"),
            "test.csv": rows("id,site", "x0,n", "x1,s"),
        },
        {"train/0.jpg": "a", "train/2.jpg": "b"},
    ),
    "what the submission asks for": (
        {
            "train/*3.jpg": "",
            "test/x*2.jpg": "",
            "train.csv": rows("id,site,kind", "0,n,a", "1,s,b", "2,n,b"),
            "sample_submission.csv": rows("id,kind", "x0,a", "x1,a"),
        },
        {"train/0.jpg": "a", "train/1.jpg": "b"},
    ),
    "one name in two parts": (
        {"train/*3.jpg": "", "test/*2.jpg": "", "train.csv": rows("id,label", "0.jpg,a", "1.jpg,b", "2.jpg,a")},
        {"train/0.jpg": "a", "train/1.jpg": "b", "train/2.jpg": "a"},
    ),
}


@pytest.mark.parametrize("kind", SERVED)
def test_labels_beside_the_pictures_are_found(kind, make):
    files, wanted = SERVED[kind]
    found = pairs(layouts.read(make(files)))
    assert {name: found[name] for name in wanted} == wanted


def test_decimals_are_learnt_as_they_are(make):
    found = layouts.read(make({"x/*3.png": "", "t.csv": rows("id,target", "0,0.5", "1,2.25", "2,1")}))
    assert (found.task, list(found.splits["train"].labels)) == ("regression", [0.5, 2.25, 1.0])


def test_a_column_of_parts_gives_the_parts(make):
    text = rows("file,label,split", "0.png,a,train", "1.png,b,train", "2.png,a,valid", "3.png,b,test")
    found = layouts.read(make({"x/*4.png": "", "t.csv": text}))
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert 'Parts     as column "split" of t.csv says' in found.said


def test_a_picture_of_which_a_column_of_parts_says_nothing_is_left_out(make):
    text = rows("file,label,split", "0.png,a,train", "1.png,b,train", "2.png,a,", "3.png,b,test")
    found = layouts.read(make({"x/*4.png": "", "t.csv": text}))
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 2, "test": 1}
    assert found.left_out == ('1 pictures that are of no part that "split" of t.csv names',)


def test_pictures_without_a_row_and_rows_without_a_picture_are_counted(make):
    text = rows("file,label", "0.png,a", "1.png,b", "7.png,a")
    said = str(layouts.read(make({"x/*4.png": "", "t.csv": text})))
    assert "2 pictures that have no row in t.csv" in said
    assert "1 rows whose picture is not there" in said


IDS = [str(i) for i in range(6)]
LOST = {  # of train/3.jpg, which is not there while test/3.jpg is
    "a table with folders": ("labels.csv", rows("path,label", *(f"train/{i}.jpg,{'ab'[int(i) % 2]}" for i in IDS))),
    "a table of the part": ("train.csv", rows("id,label", *(f"{i},{'ab'[int(i) % 2]}" for i in IDS))),
    "a table of names": ("labels.csv", rows("id,label", *(f"{i},{'ab'[int(i) % 2]}" for i in IDS))),
}


GONE = {
    "an empty cell": {"l.csv": rows("file,target", *(f"{i},{'' if i == '3' else int(i) % 2}" for i in IDS))},
    "nan": {"l.csv": rows("file,target", *(f"{i},{'nan' if i == '3' else int(i) % 2}" for i in IDS))},
    "NA among numbers": {"l.csv": rows("file,target", *(f"{i},{'NA' if i == '3' else int(i) % 2}" for i in IDS))},
    "null among words": {"l.csv": rows("file,kind", *(f"{i},{'null' if i == '3' else 'ab'[int(i) % 2]}" for i in IDS))},
    "null in lines of JSON": {
        "metadata.jsonl": "".join(
            json.dumps({"file_name": f"{i}.png", "label": None if i == "3" else int(i) % 2}) + "\n" for i in IDS
        )
    },
    "null in JSON": {"l.json": json.dumps({f"{i}.png": None if i == "3" else int(i) % 2 for i in IDS})},
}


@pytest.mark.parametrize("kind", GONE)
def test_a_picture_whose_label_is_empty_is_left_out_and_counted_and_is_no_class(kind, make):
    found = layouts.read(make({"x/*6.png": ""} | GONE[kind]))
    assert (found.task, len(found.classes)) == ("classification", 2)
    assert found.left_out == (f"1 pictures that have an empty label in {next(iter(GONE[kind]))}",)
    assert "x/3.png" not in found.splits["train"].names


def test_an_na_among_words_is_a_class_and_a_word_of_numbers_is_none(make):
    text = rows("file,region", "0,NA", "1,EU", "2,NA", "3,EU")
    assert layouts.read(make({"x/*4.png": "", "l.csv": text})).classes == ("EU", "NA")


@pytest.mark.parametrize("gone", [None, float("nan"), np.float32("nan"), ""], ids=repr)
def test_a_missing_label_in_a_mapping_is_left_out_and_is_no_class(gone, make):
    path = make({"x/*6.png": ""})
    for labels, wanted in (("aabbab", ("a", "b")), ((0.0, 1.0, 1.0, 0.0, 1.0, 0.0), ("0", "1"))):
        found = layouts.read(path, labels={f"{i}.png": labels[int(i)] for i in IDS} | {"3.png": gone})
        assert (found.classes, len(found.splits["train"])) == (wanted, 5)
        assert "1 pictures that labels= gives no label" in found.left_out
    measured = layouts.read(path, labels={"0.png": 0.5, "1.png": 2.25, "2.png": gone})
    assert list(measured.splits["train"].labels) == [0.5, 2.25]
    several = layouts.read(path, labels={"0.png": [1, 2], "1.png": [gone, 3]})
    assert list(several.splits["train"].labels) == [[1, 2]]


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_picture_of_train_gives_its_label_to_none_of_test(kind, make):
    name, text = LOST[kind]
    path = make({"train/*6.jpg": "", "test/*5.jpg": "", name: text})
    (path / "train/3.jpg").unlink()
    found = layouts.read(path)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 5, "predict": 5}
    assert "1 rows whose picture is not there" in str(found)


@pytest.mark.parametrize(
    ("cells", "wanted", "said"),
    [
        (["-3.5,1", "2,-7", "0.5,4"], [[-3.5, 1.0], [2.0, -7.0], [0.5, 4.0]], ""),
        (["-1,1", "1,-1", "1,1"], [[0, 1], [1, 0], [1, 1]], "-1 is 0 in batches"),
        (["-2,1", "1,-1", "1,1"], [[-2, 1], [1, -1], [1, 1]], ""),
        (["1,0", ",1", "0,nan"], [[1, 0]], "2 pictures that have an empty cell in these columns"),
        (["1,", ",1", "1,1"], [[1, 0], [0, 1], [1, 1]], "an empty cell beside those with 1 is 0"),
    ],
)
def test_numbers_of_several_columns_are_taken_as_they_are(cells, wanted, said, make):
    text = rows("file,dx,dy", *(f"1{at}.png,{cell}" for at, cell in enumerate(cells)))
    found = layouts.read(make({"1*3.png": "", "l.csv": text}), labels=["dx", "dy"])
    assert found.splits["train"].labels == wanted
    assert said in str(found)
    assert len(str(found).splitlines()) == 1 + bool(said)


def test_columns_of_which_each_row_has_an_empty_cell_are_said_to_be_so(make):
    path = make({"1*2.png": "", "l.csv": rows("file,dx,dy", "10.png,2,", "11.png,,3")})
    with pytest.raises(SpecError, match="Every row has an empty cell in columns dx, dy of l.csv"):
        layouts.read(path, labels=["dx", "dy"])


def test_rows_of_one_picture_that_differ_in_several_columns_are_refused(make):
    path = make({"1*2.png": "", "l.csv": rows("file,dx,dy", "10.png,2,1", "11.png,1,3", "10.png,2,4")})
    with pytest.raises(SpecError, match="l.csv has several rows for 10.png, which differ in dx, dy"):
        layouts.read(path, labels=["dx", "dy"])


@pytest.mark.parametrize("name", ["train/{}.jpg", "{}.jpg", "{}"])
def test_a_name_of_a_lost_picture_in_a_mapping_means_none_of_test(name, make):
    path = make({"train/*6.jpg": "", "test/*5.jpg": ""})
    (path / "train/3.jpg").unlink()
    found = layouts.read(path, labels={name.format(i): "ab"[int(i) % 2] for i in IDS})
    assert "test" not in found.splits
    assert len(found.splits["predict"]) == 5


def test_pictures_whose_names_recur_in_no_other_part_are_found_by_name_in_each(make):
    names = ["train/a0", "train/a1", "val/b0", "val/b1", "test/c0", "test/c1"]
    text = rows("id,label", *(f"{name[-2:]},{'xy'[at % 2]}" for at, name in enumerate(names)))
    path = make({"labels.csv": text} | {f"{name}.jpg": "" for name in names})
    assert {part: len(split) for part, split in layouts.read(path).splits.items()} == dict(train=2, val=2, test=2)
    mapping = {f"elsewhere/{name}.jpg": "xy"[at % 2] for at, name in enumerate(names)}
    assert len(layouts.read(path, labels=mapping).splits["test"]) == 2


def test_lists_give_the_official_parts_of_class_folders(make):
    files = {
        "i/a/*3.jpg": "",
        "i/b/*3.jpg": "",
        "meta/train.txt": "a/0\na/1\nb/0\nb/1\n",
        "meta/test.txt": "a/2\nb/2\n",
    }
    found = layouts.read(make(files))
    assert found.splits["test"].names == ["i/a/2.jpg", "i/b/2.jpg"]


def test_a_flat_part_gets_its_labels_from_a_table(make):
    files = {
        "Train/2/*3.png": "",
        "Train/10/*3.png": "",
        "Test/*2.png": "",
        "Test.csv": rows("ClassId,Path", "10,Test/0.png", "2,Test/1.png"),
    }
    found = layouts.read(make(files))
    assert found.classes == ("2", "10")
    assert pairs(found, "test") == {"Test/0.png": "10", "Test/1.png": "2"}


def test_folders_and_a_table_that_agree_are_the_folders(make):
    text = rows("image,label,age", "a/0.png,a,3", "a/1.png,a,4", "b/0.png,b,5", "b/1.png,b,3")
    assert layouts.read(make({"a/*2.png": "", "b/*2.png": "", "t.csv": text})).rule == "folders"


BOXES = rows("id,bbox", '0,"[1,2,3,4]"', '0,"[5,2,3,4]"', '1,"[1,2,3,4]"')
REFUSED = {
    "several columns": (
        {"x/*3.png": "", "t.csv": rows("id,sex,type", "0,m,a", "1,f,b", "2,m,b")},
        ["t.csv", "sex", "type"],
    ),
    "tags in a cell": (
        {"x/*4.png": "", "t.csv": rows("id,tags", "0,sun sea", "1,sun", "2,sea", "3,sand sea sun")},
        ["t.csv", "tags", "multi"],
    ),
    "tags of numbers": ({"x/*3.png": "", "t.csv": rows("id,ids", "0,12 7", "1,7", "2,12 7 9")}, ["t.csv", "ids"]),
    "several columns of ones": (
        {"x/*3.png": "", "t.csv": rows("id,hat,tie", "0,1,1", "1,-1,1", "2,1,-1")},
        ["t.csv", "hat", "tie"],
    ),
    "captions": (
        {
            "x/*2.png": "",
            "c.txt": rows(
                "image,caption",
                "0.png,A dog runs over wet grass .",
                "0.png,A wet dog is on the grass .",
                "1.png,Two men talk at a long table .",
            ),
        },
        ["c.txt", "caption"],
    ),
    "boxes in a table": ({"x/*2.png": "", "t.csv": BOXES}, ["t.csv", "bbox"]),
    "masks beside images": ({"images/*3.png": "", "masks/*3.png": ""}, ["masks", "segmentation"]),
    "labels of a part": ({"train/*3.png": "", "train_labels/*3.png": "", "val/*2.png": ""}, ["train_labels"]),
    "patients with masks": (
        {"P_0012/*2.tif": "", "P_0012/0_mask.tif": "", "P_0345/*2.tif": "", "P_0345/0_mask.tif": ""},
        ["mask"],
    ),
    "a text about each": (
        {"train/images/*2.jpg": "", "train/labels/*2.txt": "0 .5 .5 .2 .2\n"},
        ["labels", "detection"],
    ),
    "a file about all": (
        {"train/*3.jpg": "", "annotations/train.json": json.dumps({"images": [], "annotations": []})},
        ["annotations/train.json"],
    ),
    "two domains": ({"trainA/*3.jpg": "", "trainB/*3.jpg": "", "testA/*1.jpg": ""}, ["trainA", "trainB"]),
    "two domains by the form of their files": (
        {"monet_jpg/*3.jpg": "", "photo_jpg/*4.jpg": "", "monet_tfrec/*2.tfrec": ""},
        ["monet_jpg, photo_jpg", "domains", "classes=['monet_jpg', 'photo_jpg']"],
    ),
    "folders and a table that differ": (
        {
            "a1/*2.png": "",
            "b1/*2.png": "",
            "t.csv": rows("file,label", "a1/0.png,x", "a1/1.png,y", "b1/0.png,x", "b1/1.png,y"),
        },
        ["folders", "t.csv", "label"],
    ),
    "two lists": (
        {"x/*3.png": "", "train_kind.txt": "0 a b\n1 c d\n2 a b\n", "train_maker.txt": "0 e f\n1 e f\n2 g h\n"},
        ["train_kind.txt", "train_maker.txt"],
    ),
    "one folder": ({"images/*4.jpg": ""}, ["images", "no labels", "one class"]),
    "photos of a phone": ({"IMG_*4.jpg": "", "DSC_*4.jpg": ""}, ["class folder", "IMG"]),
    "numbers in names": ({"f/1_0_*3.jpg": "", "f/25_1_*3.jpg": ""}, ["name", "numbers"]),
    "sounds": ({"yes/*3.wav": "", "no/*3.wav": ""}, [".wav", "Dataset"]),
    "texts": ({"pos/*9.txt": "good\n", "neg/*9.txt": "bad\n"}, [".txt", "text"]),
    "archives": ({"train.zip": zipped("a/1.png", "b/1.png"), "test.zip": zipped("a/2.png", "b/2.png")}, ["train.zip"]),
    "pickles": ({"train.p": b"\x80\4N.", "test.p": b"\x80\4N."}, ["train.p", "run code"]),
    "files that a table is about": ({"scans/*3.dcm": b"x", "t.csv": rows("id,label", "0,a", "1,b", "2,a")}, [".dcm"]),
    "several tables": (
        {"ratings.csv": rows("user,item,stars", "1,2,3", "1,3,4"), "items.csv": rows("item,title", "2,Up", "3,It")},
        ["ratings.csv", "items.csv"],
    ),
    "words among the features": (
        {
            "train.csv": rows("id,town,size,price", "1,A,3,10.5", "2,B,4,11.5"),
            "test.csv": rows("id,town,size", "3,A,5"),
        },
        ["price", "town", "number"],
    ),
    "a date and no label": (
        {"s.csv": rows("Date,Open,Close", "2020-01-02,1.5,2", "2020-01-03,1,2.5", "2020-01-04,3,1.5")},
        ["Date", "label"],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_only_the_user_knows_is_named_and_asked(kind, make):
    files, mentioned = REFUSED[kind]
    with pytest.raises(SpecError) as error:
        layouts.read(make(files))
    text = str(error.value)
    assert [word for word in mentioned if word.casefold() not in text.casefold()] == []
    assert "Next:" in text or "Nothing was guessed" in text


ASKED = {
    "a table and its column": ("t.csv:type", {"x/0.png": "a", "x/2.png": "b"}),
    "a column": ("type", {"x/0.png": "a", "x/2.png": "b"}),
    "a pattern": (r"([01])\.png", {"x/0.png": "0", "x/1.png": "1"}),
    "a mapping": ({"0.png": "u", "x/1.png": "v"}, {"x/0.png": "u", "x/1.png": "v"}),
    "a function": (lambda name: None if "2" in name else name[2], {"x/0.png": "0", "x/1.png": "1"}),
}


@pytest.mark.parametrize("kind", ASKED)
def test_labels_are_where_the_user_says(kind, make):
    labels, wanted = ASKED[kind]
    data = make({"x/*3.png": "", "t.csv": rows("id,sex,type", "0,m,a", "1,f,b", "2,m,b")})
    found = pairs(layouts.read(data, labels=labels))
    assert {name: found.get(name) for name in wanted} == wanted


def test_several_labels_a_picture_are_rows_of_ones(make):
    data = make({"x/*3.png": "", "t.csv": rows("id,tags,hat,tie", "0,sea sun,1,0", "1,sun,1,1", "2,sea,0,1")})
    found = layouts.read(data, labels="t.csv:tags")
    assert (found.classes, list(found.splits["train"].labels)) == (("sea", "sun"), [[1, 1], [0, 1], [1, 0]])
    found = layouts.read(data, labels=["t.csv:hat", "tie"])
    assert (found.classes, list(found.splits["train"].labels)) == (("hat", "tie"), [[1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("size", "no one table or column"),
        ("t.csv:size", "has no column 'size'"),
        ("(", "no pattern"),
        (3, "says nothing"),
        ([], "says nothing"),
        (["t.csv", "sex"], "has no column ''"),
        (lambda name: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_labels_that_say_nothing_are_told_so(labels, said, make):
    data = make({"x/*2.png": "", "t.csv": rows("id,sex,type", "0,m,a", "1,f,b")})
    with pytest.raises(SpecError, match=said):
        layouts.read(data, labels=labels)


def test_one_class_is_served_where_it_is_asked_for(make):
    found = layouts.read(make({"images/*3.jpg": ""}), classes=["images"])
    assert (found.classes, len(found.splits["train"])) == (("images",), 3)


@pytest.mark.parametrize("mode", ["folder", "zip"])
def test_a_zip_is_read_as_its_folder_is(make, mode, tmp_path_factory):
    import shutil

    data = make({"pics/*4.jpg": "", "train.csv": FLOWERS})
    if mode == "zip":
        data = shutil.make_archive(str(tmp_path_factory.mktemp("z") / "a"), "zip", data)
    found = layouts.read(data)
    assert pairs(found)["pics/1.jpg"] == "oak"
    assert found.lines()[0] == 'Labels    column "species" of train.csv, 2 classes: ash 2, oak 2'


@pytest.mark.parametrize("below", ["", "pictures/"])
def test_of_a_zip_the_same_pictures_are_set_aside_as_of_the_folder_that_it_was_made_of(below, make, tmp_path_factory):
    text = rows("file,label", *(f"{i}.png,{'ab'[i % 2]}" for i in range(60)))
    path = make({"labels.csv": text} | {f"{below}{i}.png": "" for i in range(60)})
    packed = tmp_path_factory.mktemp("zip") / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in path.rglob("*.*"):
            archive.write(file, f"set/{file.relative_to(path)}")
    (one, _), (two, _) = (layouts.parted(layouts.read(data)) for data in (path, packed))
    assert len(one.splits["test"]) == 6
    assert [f"set/{name}" for name in one.splits["test"].names] == two.splits["test"].names


def test_of_class_folders_a_picture_is_set_aside_by_its_name_and_that_of_its_class(make):
    path = make({f"{part}/{name}/{i}.png": "" for part in ("train", "val") for name in "ab" for i in range(20)})
    whole, _ = layouts.parted(layouts.read(path))
    places = sorted((place(f"a/{i}.png", "test"), f"train/a/{i}.png") for i in range(20))
    assert [name for name in whole.splits["test"].names if "/a/" in name] == sorted(name for _, name in places[:2])


def test_hdf5_that_is_damaged_is_said_to_be_so(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"], file["y"] = np.zeros((3, 4)), np.arange(3)
    whole = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(whole.replace(b"SNOD", b"----"))
    with pytest.raises(IntegrityError, match="x.h5 is not a whole HDF5 file"):
        layouts.read(tmp_path / "x.h5", labels="y")


def test_each_name_of_an_array_in_hdf5_is_found(tmp_path):
    h5py = pytest.importorskip("h5py")
    from datastage.layouts.scientific import h5_arrays

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["b/x"], file["labels"] = np.arange(8.0).reshape(4, 2), np.arange(4) % 2
        file["y"], file["b/self"], file["soft"] = file["labels"], file["b"], h5py.SoftLink("/labels")
    assert list(h5_arrays(tmp_path / "x.h5")) == ["b/x", "labels", "y"]
    for name in ("labels", "y"):
        rows, labels = layouts.read(tmp_path / "x.h5", labels=name).arrays("train")
        assert (rows[:, 0].tolist(), labels.tolist()) == ([0, 2, 4, 6], [0, 1, 0, 1])


def test_arrays_below_a_group_of_two_names_keep_both(tmp_path):
    h5py = pytest.importorskip("h5py")
    from datastage.layouts.scientific import h5_arrays

    path = tmp_path / "g.h5"
    with h5py.File(path, "w") as file:
        for part, n in (("train", 16), ("test", 5)):
            file[f"{part}/x"], file[f"{part}/y"] = np.zeros((n, 4, 4, 3), "u1"), np.arange(n) % 2
        file["all"], file["train/round"], file["test/y2"] = file["train"], file["/"], file["test/y"]
        file["gone"], file["out"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("nowhere.h5", "x")
    assert list(h5_arrays(path)) == ["all/x", "all/y", "test/x", "test/y", "test/y2", "train/x", "train/y"]
    read = layouts.read(path, labels="train/y")
    assert {part: len(split) for part, split in read.splits.items()} == {"train": 16, "test": 5}


def test_groups_that_lie_in_each_other_many_times_are_listed_in_a_bounded_time(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    from datastage.layouts import scientific

    monkeypatch.setattr(scientific, "MOST_LINKS", 2000)
    with h5py.File(tmp_path / "g.h5", "w") as file:
        inner = file.create_group("0")
        for i in range(1, 40):
            outer = file.create_group(str(i))
            outer["a"], outer["b"], inner = inner, inner, outer
    assert scientific.h5_arrays(tmp_path / "g.h5") == {}


def test_hdf5_is_read_once_the_labels_are_named_and_no_link_out_of_it_is_followed(tmp_path):
    h5py = pytest.importorskip("h5py")
    from datastage.layouts.scientific import h5_arrays

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(4)
    with h5py.File(tmp_path / "train_set.h5", "w") as file:
        file["x"], file["y"] = np.zeros((4, 8, 8, 3), "u1"), np.array([0, 1, 1, 0])
        file["out"] = h5py.ExternalLink("other.h5", "secret")
        file.create_dataset("objects", (2,), dtype=h5py.string_dtype())
    assert list(h5_arrays(tmp_path / "train_set.h5")) == ["x", "y"]
    with pytest.raises(SpecError, match="which are the labels"):
        layouts.read(tmp_path / "train_set.h5")
    images, labels = layouts.read(tmp_path / "train_set.h5", labels="y").arrays("train")
    assert (images.shape, labels.tolist()) == ((4, 8, 8, 3), [0, 1, 1, 0])


def test_matlab_is_read_once_the_labels_are_named(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    scipy.savemat(tmp_path / "train_32x32.mat", {"X": np.zeros((8, 8, 3, 5), "u1"), "y": np.array([1, 2, 3, 1, 2])})
    images, labels = layouts.read(tmp_path / "train_32x32.mat", labels="y").arrays("train")
    assert (images.shape, labels.tolist()) == ((5, 8, 8, 3), [1, 2, 3, 1, 2])


def test_a_table_whose_test_part_has_no_label_is_to_predict(make):
    data = make({"train.csv": rows("id,a,b,y", "1,5,6,0", "2,7,8,1"), "test.csv": rows("b,a,id", "6,5,9")})
    found = layouts.read(data)
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 2, "predict": 1}
    assert found.arrays("predict")[0].tolist() == [[5, 6]]  # by the names of the columns, not by their places


def test_large_tables_are_read_in_blocks(make):
    lines = ["a,b,label"] + [f"{i},{i / 4},{'xy'[i % 2]}" for i in range(30_000)]
    found = layouts.read(make({"t.csv": rows(*lines)}) / "t.csv")
    table, labels = found.arrays("train")
    assert (table.shape, table[29_999].tolist(), labels[:3].tolist()) == ((30_000, 2), [29_999, 7499.75], [0, 1, 0])
    with pytest.raises(SpecError, match="row 25001: a is 'what', which is no number"):
        layouts.read(make({"t.csv": rows(*lines[:25_000], "what,1,x", *lines[25_000:])}) / "t.csv").arrays("train")


def test_lists_by_number_say_with_1_what_is_to_learn_from_and_with_0_what_is_to_test_on(make):
    names = [f"{kind}/{n}.jpg" for kind in ("1.auk", "2.owl") for n in range(4)]
    data = make(
        {f"images/{name}": "" for name in names}
        | {"images.txt": "".join(f"{n} {name}\n" for n, name in enumerate(names, 1))}
        | {"train_test_split.txt": "".join(f"{n} {int(n % 4 != 0)}\n" for n in range(1, 9))}
    )
    found = layouts.read(data)
    assert {part: len(split) for part, split in found.splits.items()} == {"train": 6, "test": 2}
    assert found.splits["test"].names == ["images/1.auk/3.jpg", "images/2.owl/3.jpg"]
