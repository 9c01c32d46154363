"""Replicas of our own: class folders in the many forms in which they reach people."""

import os
import re
import tarfile
import time
import zipfile

import pytest

from datastage import layouts
from datastage.batches.image_files import ZipImages
from datastage.errors import SpecError, StorageError
from datastage.layouts.tree import of_names
from datastage.reader import FileReader


def reading(*names, where="here", **options):
    return layouts.read(of_names(expanded(names), where), **options)


def expanded(names):
    """``cats/*3.jpg`` is three pictures: 0.jpg, 1.jpg, 2.jpg."""
    for name in names:
        head, star, tail = name.partition("*")
        if not star:
            yield name
            continue
        count, suffix = int(tail[0]), tail[1:]
        yield from (f"{head}{i}{suffix}" for i in range(count))


def sizes(found):
    return {split: len(part) for split, part in found.splits.items()}


SERVED = {
    "plain": (["cats/*3.jpg", "dogs/*2.jpg"], ["cats", "dogs"], {"train": 5}),
    "in a folder around all": (["birds/wren/*3.png", "birds/robin/*2.png"], ["robin", "wren"], {"train": 5}),
    "a readme beside": (["set/oak/*3.jpg", "set/elm/*3.jpg", "set/README.md"], ["elm", "oak"], {"train": 6}),
    "a few pictures in a folder about the data": (
        ["cats/*9.jpg", "dogs/*9.jpg", "docs/*1.jpg"],
        ["cats", "dogs"],
        {"train": 18},
    ),
    "a class whose name is that of a folder about the data": (
        ["cats/*9.jpg", "dogs/*9.jpg", "docs/*2.jpg"],
        ["cats", "docs", "dogs"],
        {"train": 20},
    ),
    "parts": (
        ["train/a/*3.jpg", "train/b/*3.jpg", "test/a/*1.jpg", "test/b/*1.jpg"],
        ["a", "b"],
        {"train": 6, "test": 2},
    ),
    "doubled parts": (
        [
            "boats_train/boats_train/kayak/*3.jpg",
            "boats_train/boats_train/ferry/*2.jpg",
            "boats_test/boats_test/ferry/*1.jpg",
        ],
        ["ferry", "kayak"],
        {"train": 5, "test": 1},
    ),
    "spelt in another way": (
        ["Training/x1/*2.jpg", "Training/y1/*2.jpg", "Validation/x1/*1.jpg", "Testing Set/y1/*1.jpg"],
        ["x1", "y1"],
        {"train": 4, "val": 1, "test": 1},
    ),
    "numbers by value": (["2/*2.png", "10/*2.png", "1/*2.png"], ["1", "2", "10"], {"train": 6}),
    "junk of a notebook": (
        ["a/*2.jpg", "b/*2.jpg", ".ipynb_checkpoints/0-checkpoint.jpg", "a/.ipynb_checkpoints/0.jpg"],
        ["a", "b"],
        {"train": 4},
    ),
    "junk of a Mac": (["z/a/*2.jpg", "z/b/*2.jpg", "__MACOSX/z/a/._0.jpg", "z/a/._1.jpg"], ["a", "b"], {"train": 4}),
    "junk of a network disk": (
        ["a/*2.jpg", "b/*2.jpg", "@eaDir/0.jpg", "$RECYCLE.BIN/1.jpg"],
        ["a", "b"],
        {"train": 4},
    ),
    "images in each class": (["owl/images/*3.jpg", "jay/images/*3.jpg"], ["jay", "owl"], {"train": 6}),
    "frames in each class": (["run/frames/*3.jpg", "jump/frames/*3.jpg"], ["jump", "run"], {"train": 6}),
    "masks in each class": (
        ["lung/images/*3.png", "lung/masks/*3.png", "liver/images/*2.png", "liver/masks/*2.png"],
        ["liver", "lung"],
        {"train": 5},
    ),
    "masks in each class of each part": (
        [
            "train/lung/images/*3.png",
            "train/lung/masks/*3.png",
            "train/liver/*2.png",
            "test/lung/masks/*1.png",
            "test/lung/images/*1.png",
        ],
        ["liver", "lung"],
        {"train": 5, "test": 1},
    ),
    "masks drawn beside the pictures of each class": (
        ["lung/*3.png", "lung/0_mask.png", "liver/*2.png", "liver/1_mask.png"],
        ["liver", "lung"],
        {"train": 5},
    ),
    "classes that are called mask": (["mask/*2.jpg", "no_mask/*2.jpg"], ["mask", "no_mask"], {"train": 4}),
    "a class that is called train": (
        ["bus/*3.jpg", "train/*3.jpg", "tram/*3.jpg"],
        ["bus", "train", "tram"],
        {"train": 9},
    ),
    "a class that is called paper": (["paper/*3.jpg", "glass/*3.jpg"], ["glass", "paper"], {"train": 6}),
    "words that only contain a part's": (
        ["latest/*2.jpg", "contest/*2.jpg", "trainer/*2.jpg"],
        ["contest", "latest", "trainer"],
        {"train": 6},
    ),
    "by first letter": (["c/cave/*2.jpg", "c/creek/*2.jpg", "d/dune/*2.jpg"], ["cave", "creek", "dune"], {"train": 6}),
    "a test part without labels": (
        ["train/a/*3.jpg", "train/b/*3.jpg", "test/*4.jpg"],
        ["a", "b"],
        {"train": 6, "predict": 4},
    ),
    "a folder around pictures without labels": (
        ["train/a/*3.jpg", "train/b/*3.jpg", "test/unknown/*4.jpg"],
        ["a", "b"],
        {"train": 6, "predict": 4},
    ),
    "pictures to predict": (
        ["tr_train/a/*3.jpg", "tr_train/b/*3.jpg", "tr_pred/*2.jpg"],
        ["a", "b"],
        {"train": 6, "predict": 2},
    ),
    "a copy within": (
        ["cells/sick/*3.png", "cells/well/*3.png", "cells/cells/sick/*3.png", "cells/cells/well/*3.png"],
        ["sick", "well"],
        {"train": 6},
    ),
    "a copy further down": (
        ["Leaves/oak/*3.png", "Leaves/ash/*3.png", "leaves/Leaves/oak/*3.png", "leaves/Leaves/ash/*3.png"],
        ["ash", "oak"],
        {"train": 6},
    ),
    "parts twice": (
        [
            "ct/train/a/*3.png",
            "ct/train/b/*3.png",
            "ct/test/a/*1.png",
            "ct/ct/train/a/*3.png",
            "ct/ct/train/b/*3.png",
            "ct/ct/test/a/*1.png",
        ],
        ["a", "b"],
        {"train": 6, "test": 1},
    ),
    "test named after the set": (
        ["rings/rings/gold/*3.png", "rings/rings/iron/*3.png", "rings-test-set/rings-test-set/gold/*1.png"],
        ["gold", "iron"],
        {"train": 6, "test": 1},
    ),
    "test beside the classes": (
        ["a/*3.png", "b/*3.png", "test/a/*1.png", "test/b/*1.png"],
        ["a", "b"],
        {"train": 6, "test": 2},
    ),
    "icons beside the parts": (
        ["Train/a/*5.png", "Train/b/*5.png", "Test/a/*1.png", "Meta/*2.png"],
        ["a", "b"],
        {"train": 10, "test": 1},
    ),
    "examples beside a folder of class folders": (
        ["Dataset/0/*3.jpg", "Dataset/1/*3.jpg", "Examples/*2.jpg"],
        ["0", "1"],
        {"train": 6},
    ),
    "in other letters": (
        ["train/Cats/*2.png", "train/Dogs/*2.png", "test/cats/*1.png"],
        ["Cats", "Dogs"],
        {"train": 4, "test": 1},
    ),
}


@pytest.mark.parametrize("kind", SERVED)
def test_class_folders_are_read(kind):
    names, classes, splits = SERVED[kind]
    found = reading(*names)
    assert list(found.classes) == classes
    assert sizes(found) == splits
    for part in found.splits.values():
        for name, label in zip(part.names, part.labels or (), strict=bool(part.labels)):
            assert found.classes[label].casefold() in name.casefold().split("/")


ABOUT = {
    "a logo beside the splits": (
        ["logo.png", "data/train/a/1.png", "data/train/b/2.png", "data/test/a/3.png"],
        ("a", "b"), {"train": 2, "test": 1},
    ),
    "a picture beside the classes": (["d/readme.png", "d/cats/1.png", "d/dogs/2.png"], ("cats", "dogs"), {"train": 2}),
    "doubled folders with set in their names": (
        ["training_set/training_set/cats/1.png", "training_set/training_set/dogs/2.png",
         "test_set/test_set/cats/3.png"],
        ("cats", "dogs"), {"train": 2, "test": 1},
    ),
    "a class called train": (["train/1.png", "bus/2.png", "car/3.png"], ("bus", "car", "train"), {"train": 3}),
    "classes called train and test": (
        ["x/train/train/1.png", "x/train/test/2.png"], ("test", "train"), {"train": 2},
    ),
    "folders in a class": (["cats/1.png", "cats/more/2.png", "dogs/3.png"], ("cats", "dogs"), {"train": 3}),
    "two folders around": (["a/b/cats/1.png", "a/b/dogs/2.png"], ("cats", "dogs"), {"train": 2}),
}  # fmt: skip


@pytest.mark.parametrize("layout", ABOUT)
def test_classes_and_splits_are_told_from_layouts_that_are_about(layout):
    names, classes, wanted = ABOUT[layout]
    found = reading(*names)
    assert found.classes == classes
    assert sizes(found) == wanted


def test_test_and_val_without_train_are_no_classes():
    with pytest.raises(SpecError, match="no folder train"):
        reading("test/a/1.png", "val/a/2.png", "val/b/3.png")


REFUSED = {
    "more pictures beside the classes of a doubled part than in them": (
        ["train/train/*9.jpg", "train/train/a/*3.jpg", "train/train/b/*3.jpg"],
        ["9 pictures lie in no class folder, and 6 in a, b"],
    ),
    "class folders beside a folder of pictures": (
        ["PetShots/cat/*3.jpg", "PetShots/dog/*3.jpg", "samples/*2.jpg"],
        ["PetShots", "cat", "labels="],
    ),
    "two levels": (
        ["north/oak/*2.jpg", "north/elm/*2.jpg", "south/oak/*2.jpg", "south/elm/*2.jpg"],
        ["north", "oak", "labels="],
    ),
    "kinds and classes": (
        ["fruit/kiwi/*2.jpg", "fruit/lime/*2.jpg", "nuts/cashew/*2.jpg", "nuts/pecan/*2.jpg"],
        ["fruit", "pecan", "labels="],
    ),
    "sites with images": (
        ["siteA/images/on/*2.jpg", "siteA/images/off/*2.jpg", "siteB/images/on/*3.jpg", "siteB/images/off/*3.jpg"],
        ["siteA", "off"],
    ),
    "parts below things": (
        ["nut/train/good/*2.png", "nut/test/bad/*2.png", "bolt/train/good/*2.png", "bolt/test/bad/*1.png"],
        ["nut", "bolt", "good"],
    ),
    "a lone test": (["a/*3.png", "b/*3.png", "test/*2.png"], ["test", "classes=", "test="]),
    "in two spellings": (["Cats/*2.png", "cats/*2.png"], ["Cats", "cats"]),
    "a copy in part": (["v/a/*4.png", "v/b/*4.png", "v/v/a/*4.png", "v/v/b/*3.png"], ["copy", "v/v"]),
    "a class that train has not": (
        ["train/a/*2.png", "train/b/*2.png", "test/a/*1.png", "test/c/*1.png"],
        ["c", "test"],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_nobody_can_tell_is_asked(kind):
    names, mentioned = REFUSED[kind]
    with pytest.raises(SpecError) as error:
        reading(*names)
    for word in mentioned:
        assert word in str(error.value)


def test_a_lone_test_folder_is_left_out_where_no_test_is_wanted():
    found = reading("a/*3.png", "b/*3.png", "test/*2.png", test=0)
    assert sizes(found) == {"train": 6, "predict": 2}


@pytest.mark.parametrize(("around", "name"), [("", "holdout"), ("set/", "holdout"), ("set/", "set/holdout")])
def test_a_part_can_be_named_by_its_name_or_its_path(around, name):
    found = reading(
        *(around + path for path in ("a/*3.png", "b/*3.png", "holdout/a/*1.png", "holdout/b/*1.png")), test=name
    )
    assert sizes(found) == {"train": 6, "test": 2}


def test_an_empty_class_folder_is_said(tmp_path):
    from PIL import Image

    for name in ("ant/1.png", "cat/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "bird").mkdir()
    assert "bird" in str(layouts.read(tmp_path))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "ant/1.png", tmp_path / "cat/1.png", tmp_path / "bird"):
            archive.write(path, path.relative_to(tmp_path))
    with FileReader(tmp_path / "x.zip") as reader:
        assert "bird" in str(layouts.read(ZipImages(reader).tree()))


def test_a_link_to_another_part_is_a_part_and_a_circle_is_none(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "test").symlink_to(tmp_path / "val")
    (tmp_path / "train" / "a" / "again").symlink_to(tmp_path)
    assert sizes(layouts.read(tmp_path)) == {"train": 2, "val": 2, "test": 2}


def test_a_link_that_leads_to_itself_is_passed_over(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for name, target in (("me", "me"), ("a/me.png", "me.png"), ("b/nowhere.png", "nothing.png")):
        (tmp_path / name).symlink_to(target)
    assert sizes(layouts.read(tmp_path, test=0)) == {"train": 2}


def test_what_is_set_aside_is_drawn_class_by_class():
    found = reading("a/*9.png", "b/*9.png", "c/*2.png")
    whole, said = layouts.parted(found, test=0.25)
    counts = whole.counts("test")
    assert counts["a"] == counts["b"] == 2
    assert sum(counts.values()) == 5
    assert not set(whole.splits["train"].names) & set(whole.splits["test"].names)
    again, _ = layouts.parted(found, test=0.25)
    assert again.splits["test"].names == whole.splits["test"].names
    other, _ = layouts.parted(found, val=0.25, test=0)
    assert other.splits["val"].names != whole.splits["test"].names


def test_a_class_too_small_to_be_parted_is_said():
    whole, said = layouts.parted(reading("a/*9.png", "b/*9.png", "rare/*1.png"))
    assert whole.counts("train")["rare"] == 1
    assert any("rare" in line for line in said)


def test_one_image_is_too_few_to_set_any_aside():
    with pytest.raises(SpecError, match="test=0"):
        layouts.parted(reading("a/1.png", "b/2.png", classes=["a"]))


def test_folders_named_by_the_form_of_their_files_are_classes_once_somebody_says_so():
    names = ["monet_jpg/*3.jpg", "photo_jpg/*4.jpg"]
    for said in ({"classes": ["photo_jpg", "monet_jpg"]}, {"labels": lambda name: name.split("/")[-2]}):
        found = reading(*names, **said)
        assert sorted(found.classes) == ["monet_jpg", "photo_jpg"]
        assert sizes(found) == {"train": 7}
    assert reading("cat_jpg/*3.jpg", "dog/*3.jpg").classes == ("cat_jpg", "dog")


@pytest.mark.parametrize("differs", [0, 3])
def test_folders_of_one_size_are_copies_only_if_their_bytes_agree(differs, tmp_path):
    for session in ("session1", "session2"):
        for at in range(8):
            path = tmp_path / session / "rgb" / "ab"[at % 2] / f"{at}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([at + (differs if session == "session2" else 0)]) * 90)
    if not differs:
        assert any("the same files as in" in line for line in layouts.read(tmp_path).left_out)
        return
    with pytest.raises(SpecError, match="with other contents of some: one may be a copy"):
        layouts.read(tmp_path)
    assert len(layouts.read(tmp_path, labels=lambda name: name.split("/")[-2]).splits["train"]) == 16


@pytest.mark.parametrize("pattern", ["lfw/person{i}/1.jpg", "c{i}/images/1.jpg", "train/c{i}/1.jpg"])
def test_thousands_of_class_folders_are_read_in_a_moment(pattern):
    names = of_names([pattern.format(i=i) for i in range(4000)], "data")
    began = time.process_time()
    assert len(layouts.read(names).classes) == 4000
    assert time.process_time() - began < 2.5  # by a look at each pair of folders it took 6 and more


def test_a_question_about_a_lone_test_folder_names_four_folders_and_six_classes():
    with pytest.raises(SpecError) as error:
        reading(*(f"{name}/*2.png" for name in "abcdefg"), "test/*2.png")
    assert "it lies beside a, b, c, d." in str(error.value)
    assert f"classes={list('abcdef')!r}" in str(error.value)


def test_a_folder_with_more_pictures_than_those_of_images_beside_it_is_not_set_aside():
    found = {n: reading("images/a/*2.png", "images/b/*2.png", f"more/*{n}.png") for n in (3, 4, 5)}
    assert [found[n].classes for n in (3, 4, 5)] == [("a", "b"), *[("a", "b", "more")] * 2]


@pytest.mark.parametrize(("part", "name"), [("test", "hold"), ("test", "train/hold"), ("val", "hold")])
def test_a_part_that_is_named_lies_also_within_another_part(part, name):
    found = reading("train/a/*3.png", "train/b/*3.png", "train/hold/a/*1.png", "train/hold/b/*1.png", **{part: name})
    assert sizes(found) == {"train": 6, part: 2}
    assert found.classes == ("a", "b")


def both(folder, n=1):
    return [f"{folder}/{name}/*{n}.png" for name in "ab"]


WITHIN = {
    "test": [*both("train", 3), *both("train/test")],
    "val": [*both("train", 3), *both("train/val"), *both("test")],
    "val with one class": [*both("train", 3), "train/val/a/*1.png"],
    "val of images": [f"train/{name}/images/*3.png" for name in "ab"]
    + [f"train/val/{name}/images/1.png" for name in "ab"],
    "doubled": [*both("train/train", 3), *both("train/val"), *both("test")],
    "two": [*both("set/train/images", 3), *both("set/train/images/val"), *both("set/train/images/test")],
    "test in val": [*both("train", 3), *both("val"), *both("val/test")],
}


@pytest.mark.parametrize("kind", WITHIN)
def test_a_part_within_another_one_is_asked_and_what_is_printed_does_not_train_on_it(kind):
    with pytest.raises(SpecError) as error:
        reading(*WITHIN[kind])
    (step,) = [step for step in error.value.remedy if "loaders(" in step]
    named = dict(re.findall(r'(val|test)="([^"]+)"', step))
    inner = {path for path in expanded(WITHIN[kind]) if re.search("(train|val).*/(val|test)/", path)}

    assert named
    for options in (
        named,
        {"val": 0, "test": 0},
        {"labels": r"([ab])/", **named},
        {"labels": r"([ab])/"},
        {"classes": ["a", "b"]},
    ):
        found = reading(*WITHIN[kind], **options)
        assert not inner & set(found.splits["train"].names), options
        assert len(found.splits["train"]) == 6
        assert found.classes == ("a", "b")


IN_CLASSES = {
    "parts in classes": [f"{name}/{part}/*2.png" for name in "ab" for part in ("train", "test")],
    "in a folder around": [f"set/{name}/{part}/*2.png" for name in "ab" for part in ("train", "test")],
    "tests in classes": [f"{name}/{part}*2.png" for name in "ab" for part in ("", "test/")],
    "tests in classes of train": [f"train/{name}/{part}*2.png" for name in "ab" for part in ("", "test/")],
    "tests in classes with images": [f"train/{name}/{part}/*2.png" for name in "ab" for part in ("images", "test")],
    "parts in classes of train": [f"train/{name}/{part}/*2.png" for name in "ab" for part in ("train", "test")],
    "parts of things": [f"{name}/{part}/*2.png" for name in "ab" for part in ("train/x", "test/x", "test/y")],
    "a part that is named": [f"train/{name}/{part}*2.png" for name in "ab" for part in ("", "hold/")],
}


@pytest.mark.parametrize("kind", IN_CLASSES)
def test_parts_within_the_class_folders_are_asked_and_the_line_that_is_printed_keeps_them(kind):
    options = {"test": "hold"} if "named" in kind else {}
    with pytest.raises(SpecError, match="lie below several folders") as error:
        reading(*IN_CLASSES[kind], **options)
    step = next(step for step in error.value.remedy if "labels=" in step)
    labels = eval(re.search(r"labels=(.*?), batch_size", step)[1])

    found = reading(*IN_CLASSES[kind], labels=labels, **options)

    assert found.classes == ("a", "b")
    assert len(found.splits["train"]) == 4
    assert all("/test/" in name or "/hold/" in name for name in found.splits["test"].names)


def test_sessions_that_are_called_test_are_no_parts_within_the_classes_of_train():
    names = [f"train/{name}/test{i}/*2.png" for name in "ab" for i in range(2)]
    assert sizes(reading(*names, classes=["a", "b"])) == {"train": 8}
    assert sizes(reading("train/a/*2.png", "train/test/*2.png", "test/a/*1.png", "test/test/*1.png")) == {
        "train": 4,
        "test": 2,
    }


@pytest.mark.parametrize("around", ["", "train/"])
def test_the_upper_of_two_levels_is_that_in_every_part(around):
    names = [around + path for path in ("a/*2.png", "x/b/*2.png", "x/c/*2.png")] + ["test/a/*1.png", "test/x/b/*1.png"]
    with pytest.raises(SpecError) as error:
        reading(*names, test="test")
    step = next(step for step in error.value.remedy if "the upper:" in step)

    found = reading(*names, test="test", labels=eval(re.search(r"labels=(.*?), batch_size", step)[1]))

    assert found.classes == ("a", "x")
    assert found.counts("train") == {"a": 2, "x": 4}
    assert found.counts("test") == {"a": 1, "x": 1}


def test_a_part_that_is_named_counts_also_among_pictures_to_predict():
    found = reading(*both("train", 3), *both("unlabeled/hold"), "unlabeled/1.png", test="hold")
    assert sizes(found) == {"train": 6, "test": 2, "predict": 1}


def test_the_folder_that_a_question_about_pictures_beside_the_parts_names_is_there():
    names = [*both("set/train", 2), *both("set/test"), "more/*9.png"]
    with pytest.raises(SpecError, match="lie beside the parts, in more") as error:
        reading(*names)
    assert f"{'set/train'!r}" in error.value.remedy[-1]


@pytest.mark.parametrize("part", ["test", "val"])
def test_the_steps_of_a_lone_folder_name_the_part_that_its_name_says(part):
    names = [*both("set", 3), f"set/{part}/*2.png"]
    with pytest.raises(SpecError, match="may be a class or the part") as error:
        reading(*names)
    step = next(step for step in error.value.remedy if "loaders(" in step)
    assert re.findall(r'(\w+)="(.*?)"', step) == [(part, f"set/{part}")]
    for options in ({part: f"set/{part}"}, {part: 0}):
        assert sizes(reading(*names, **options)) == {"train": 6, "predict": 2}


def test_classes_of_very_different_sizes_are_said_by_their_names():
    found = reading("ants/*9.jpg", "ants/x*9.jpg", "bees/*1.jpg", "cats/*8.jpg")
    assert "Uneven    from 1 (bees) to 18 (ants) samples a class" in found.lines()
    assert not any("Uneven" in line for line in reading("ants/*9.jpg", "bees/*1.jpg").lines())


def test_a_folder_that_may_not_be_listed_is_an_error_and_one_in_it_is_left_out_and_said(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "b/1.jpg", "closed/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("datastage.layouts.tree.os.scandir", refusing)
    closed = "closed"
    assert any("the folder closed, which may not be read" in line for line in layouts.read(tmp_path, test=0).left_out)
    closed = tmp_path.name
    with pytest.raises(StorageError, match="listing the files"):
        layouts.read(tmp_path)


def test_a_picture_that_a_tar_holds_as_a_hard_link_is_one_of_its_class(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for name in ("a/1.jpg", "b/1.jpg"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("b/2.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "a/1.jpg"
        tar.addfile(link)
    assert layouts.read(tmp_path / "x.tar.gz").counts() == {"a": 1, "b": 2}


def _folders_of(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for at in range(6):
            (tmp_path / name / f"{name}{at}.jpg").touch()
    return [f"{name}/{name}{at}.jpg,{name}" for name in ("cat", "dog") for at in range(6)]


@pytest.mark.parametrize("column", ["split", "is_test"])
def test_a_column_of_a_table_beside_class_folders_says_their_parts(column, tmp_path):
    says = ("train", "test") if column == "split" else ("False", "True")
    rows = [f"{row},{says[at % 6 > 3]}" for at, row in enumerate(_folders_of(tmp_path))]
    (tmp_path / "meta.csv").write_text("\n".join([f"file,label,{column}", *rows[:-1]]))

    reading = layouts.read(tmp_path)

    assert [name.rpartition("/")[2] for name in reading.splits["test"].names] == ["cat4.jpg", "cat5.jpg", "dog4.jpg"]
    assert len(reading.splits["train"]) == 8
    assert f'Parts     as column "{column}" of meta.csv says' in reading.lines()
    assert "Left out  1 picture of no part that these name" in reading.lines()


def test_tables_of_parts_with_a_header_beside_class_folders_say_their_parts(tmp_path):
    rows = _folders_of(tmp_path)
    for part, own in (("train", rows[:4] + rows[6:10]), ("test", rows[4:6] + rows[10:])):
        (tmp_path / f"{part}.csv").write_text("\n".join(["file,label", *own]))

    reading = layouts.read(tmp_path)

    assert {part: len(split) for part, split in reading.splits.items()} == {"train": 8, "test": 4}
    assert "Parts     as the lists that came with the data say" in reading.lines()


@pytest.mark.parametrize("name", ["train", "test", "val", "dev"])
@pytest.mark.parametrize("inner", ["clip/*2.png", "images/*2.png", "*2.png"])
def test_a_class_with_the_name_of_a_part_is_a_class_where_it_lies_in_each_part(name, inner):
    paths = [f"{part}/{one}/{inner}" for part in ("train", "test") for one in ("bus", "plane", name)]
    for options in ({}, {"labels": "^[^/]+/([^/]+)/"}):
        found = reading(*paths, **options)
        assert sorted(found.classes) == sorted(["bus", "plane", name]), options
        assert sizes(found) == {"train": 6, "test": 6}
    assert sizes(reading(*paths, test=0)) == {"train": 6}


def test_no_training_pictures_are_taken_from_within_a_test_part():
    names = [*both("train", 3), *both("test", 2), *both("test/train")]
    assert sizes(reading(*names, labels="([ab])/")) == {"train": 6, "test": 6}


@pytest.mark.parametrize("name", ["test", "val"])
def test_pictures_of_a_class_with_the_name_of_a_part_stay_where_labels_are_told(name):
    names = [f"train/{one}/v{i}/*2.png" for one in ("bus", "plane", name) for i in range(2)]
    assert sizes(reading(*names, labels="^[^/]+/([^/]+)/")) == {"train": 12}


@pytest.mark.parametrize("kind", ["test", "val", "two", "val of images"])
def test_the_line_about_a_part_within_another_one_names_the_classes_if_it_is_one(kind):
    with pytest.raises(SpecError) as error:
        reading(*WITHIN[kind])
    step = next(step for step in error.value.remedy if "classes=" in step)
    named = eval(re.search(r"classes=(\[.*?\])", step)[1])

    assert sorted(reading(*WITHIN[kind], classes=named).classes) == sorted(named)


@pytest.mark.parametrize("names", [[*both("train", 3), *both("train/test"), *both("test")], WITHIN["doubled"]])
def test_classes_that_would_make_a_class_of_a_part_are_not_named(names):
    with pytest.raises(SpecError, match="lies within train") as error:
        reading(*names)
    assert "classes=" not in str(error.value)


@pytest.mark.parametrize("name", ["test", "val", "val2"])
def test_a_folder_with_the_name_of_a_part_in_one_class_is_of_that_class(name):
    names = [*both("train", 3), f"train/a/{name}/*2.png", *both("test")]
    for options in ({}, {"labels": "^[^/]+/([^/]+)/"}):
        assert reading(*names, **options).counts("train") == {"a": 5, "b": 3}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("is_valid", ["1", "1", "1", "0"]),
        ("set", ["0", "1", "2"]),
        ("split", ["0", "1"]),
        ("split", ["train", "train"]),
    ],
)
def test_a_column_that_may_say_something_else_parts_no_class_folders(column, values, tmp_path):
    rows = [f"{row},{values[at % len(values)]}" for at, row in enumerate(_folders_of(tmp_path))]
    (tmp_path / "meta.csv").write_text("\n".join([f"file,label,{column}", *rows]))
    assert {part: len(split) for part, split in layouts.read(tmp_path).splits.items()} == {"train": 12}


@pytest.mark.parametrize("column", ["split", "other"])
def test_a_table_that_names_some_of_the_pictures_takes_none_of_the_others_away(column, tmp_path):
    rows = _folders_of(tmp_path)
    if column == "split":
        some = [f"{row},{('train', 'test')[at % 2]}" for at, row in enumerate(rows[:10])]
        (tmp_path / "meta.csv").write_text("\n".join(["file,label,split", *some]))
    else:
        (tmp_path / "train.csv").write_text("\n".join(["file,label", *rows[:4], *rows[6:9]]))
        (tmp_path / "test.csv").write_text("\n".join(["file,label", *rows[9:11]]))
    assert {part: len(split) for part, split in layouts.read(tmp_path).splits.items()} == {"train": 12}


def test_lists_of_the_parts_count_where_tables_with_a_header_lie_beside_them(tmp_path):
    rows = _folders_of(tmp_path)
    (tmp_path / "train.txt").write_text("\n".join(row.partition(",")[0] for row in rows[:4] + rows[6:10]))
    (tmp_path / "test.txt").write_text("\n".join(row.partition(",")[0] for row in rows[4:6] + rows[10:]))
    (tmp_path / "train.csv").write_text("\n".join(["file,label", *rows]))
    assert {part: len(split) for part, split in layouts.read(tmp_path).splits.items()} == {"train": 8, "test": 4}


def test_two_tables_whose_columns_of_parts_contradict_each_other_part_no_class_folders(tmp_path):
    rows = _folders_of(tmp_path)
    for name, odd in (("a", 0), ("b", 1)):
        own = [f"{row},{('train', 'test')[at % 2 == odd]}" for at, row in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["file,label,split", *own]))
    assert {part: len(split) for part, split in layouts.read(tmp_path).splits.items()} == {"train": 12}
