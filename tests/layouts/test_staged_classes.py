"""What is staged says the classes that `loaders` takes, whatever the folder around them is called."""

import errno
import json
import pickle
import zipfile

import pytest

import datastage
from datastage import datasets, layouts
from datastage.errors import IntegrityError, StorageError, as_published

Image = pytest.importorskip("PIL.Image")


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_classes_of_a_zip_are_those_in_its_inner_folder_and_are_kept_in_the_receipt(tmp_path):
    put(tmp_path / "in", "photos/fish/1.png", "photos/bird/1.png", "photos/bird/2.png")
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as file:
        for one in sorted((tmp_path / "in").rglob("*.png")):
            file.write(one, one.relative_to(tmp_path / "in"))
    staged = datastage.stage(tmp_path / "small.zip", root=tmp_path / "root", progress=False)
    assert (staged.classes, staged.splits) == (("bird", "fish"), ("train",))
    assert [array.shape[0] for array in staged.arrays("train")] == [3, 3]
    kept = json.loads((staged.path / ".datastage.json").read_text())["reading"]
    assert (kept["rule"], kept["counts"]) == ("folders", {"train": {"bird": 2, "fish": 1}})
    put(staged.path, "photos/newt/1.png")
    again = datastage.stage(tmp_path / "small.zip", root=tmp_path / "root", progress=False)
    assert again.classes == ("bird", "fish", "newt")


def test_classes_of_a_folder_used_in_place_are_read_anew_and_nothing_is_written_there(tmp_path):
    data = put(tmp_path / "animals", "x/cat/1.png", "x/dog/1.png")
    before = sorted(path.name for path in data.rglob("*"))
    staged = datastage.stage(data, root=tmp_path / "root", progress=False)
    assert staged.classes == ("cat", "dog")
    assert sorted(path.name for path in data.rglob("*")) == before
    assert datastage.read(staged, progress=False).classes == staged.classes


def test_what_nobody_can_tell_has_no_classes(tmp_path):
    staged = datastage.stage(put(tmp_path / "flat", "1.png", "2.png"), root=tmp_path / "root", progress=False)
    assert (staged.classes, staged.splits) == ((), ())


def test_a_list_of_the_publisher_that_was_cut_is_said_and_is_no_fault_of_ours(tmp_path):
    annotations, images = (tmp_path / "oxford-iiit-pet" / name for name in ("annotations", "images"))
    put(tmp_path, "oxford-iiit-pet/images/beagle_1.jpg", "oxford-iiit-pet/images/pug_1.jpg")
    annotations.mkdir()
    (annotations / "trainval.txt").write_text("beagle_1 1 1 1\n")
    (annotations / "test.txt").write_text("pug_1 2 1 1\n")  # a breed that the other list has not
    assert images.is_dir()
    with pytest.raises(IntegrityError, match="is not as it was published: 'pug'"):
        layouts.of_entry(datasets.get("oxford_iiit_pet"), tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_reading_of_the_catalog_can_be_pickled(name, tmp_path):
    found = pickle.loads(pickle.dumps(layouts.of_entry(datasets.get(name), tmp_path)))
    assert found.splits["train"].n > 1000


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), IntegrityError),
        (KeyError("pug"), IntegrityError),
        (OSError("cannot be read as HDF5"), IntegrityError),
        (OSError(errno.EMFILE, "Too many open files"), StorageError),
        (PermissionError(errno.EACCES, "Permission denied"), StorageError),
    ],
)
def test_what_a_disk_refuses_says_nothing_of_the_data(error, kind):
    with pytest.raises(kind, match="Pets"), as_published("Pets", "x"):
        raise error


@pytest.mark.parametrize("name", ["wine_quality", "usps", "stl10", "cifar10", "mnist", "iris", "flowers102"])
def test_a_file_of_the_catalog_that_is_gone_since_is_said_and_is_no_fault_of_ours(name, tmp_path):
    entry = datasets.get(name)
    with pytest.raises(
        IntegrityError, match=f"{entry.title} at .* is not as it was published: .*(o such file|not found)"
    ):
        layouts.of_entry(entry, tmp_path).arrays("train")
