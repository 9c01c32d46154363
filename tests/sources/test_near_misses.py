from __future__ import annotations

from pathlib import Path

import pytest

from datastage.datasets import Lookalike, get
from datastage.sources.search import find_files
from tests import kaggle_inputs as layouts
from tests.sources.test_search import ENTRY, FILES, look

WHOLE = layouts.tar_bytes(FILES)


def near(folder: Path, tmp_path: Path, entry: object = ENTRY) -> list[tuple[str, str]]:
    found = look(folder, into=tmp_path / "out", entry=entry)
    assert not found.complete
    assert not any((tmp_path / "out").iterdir())
    return [(one.needed, one.found) for one in found.near]


def lay(folder: Path, *paths: str, data: bytes = b"x" * 100) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


PYTHON = "the Python version:  data_batch_1 ... data_batch_5, test_batch"


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (
            ("cifar-10-batches-mat/data_batch_1.mat", "cifar-10-batches-mat/test_batch.mat"),
            "the Matlab version:  data_batch_1.mat ... test_batch.mat",
        ),
        (("data_batch_1.bin", "test_batch.bin"), "the binary version:  data_batch_1.bin ... test_batch.bin"),
        (("cifar10/train/cat/0001.png", "cifar10/train/dog/0002.png"), "pictures (png); the numbers are not the same"),
        (("train/airplane/0001.png",), "pictures (png); the numbers are not the same"),
        (
            ("cifar-10/train.7z", "cifar-10/trainLabels.csv"),
            "the files of Kaggle's CIFAR-10 competition, which are pictures (png)",
        ),
    ],
)
def test_another_version_is_named_as_what_it_is(paths, found, tmp_path):
    assert near(lay(tmp_path / "in", *paths), tmp_path) == [(PYTHON, found)]


def test_the_matlab_version_is_named_within_an_archive_too(tmp_path):
    archive = layouts.zip_bytes({"data_batch_1.mat": b"x", "test_batch.mat": b"y"})
    assert near(lay(tmp_path / "in", "cifar.zip", data=archive), tmp_path)[0][1].startswith("the Matlab version")


def test_cifar_100_is_not_cifar_10(tmp_path):
    found = near(lay(tmp_path / "in", "cifar-100-python/train", "cifar-100-python/test"), tmp_path)
    assert found[0][1] == "CIFAR-100, the set with 100 classes"


def test_cifar_10_is_not_cifar_100(tmp_path):
    layouts.WRAPPINGS["its own folder"](FILES, layouts.input_folder(tmp_path / "in", "classic"))
    assert near(tmp_path / "in", tmp_path, get("cifar100"))[0][1] == "CIFAR-10, the set with 10 classes"


def test_pictures_of_something_else_are_not_near(tmp_path):
    assert near(lay(tmp_path / "in", *(f"dogs/{i}.jpg" for i in range(30)), "labels.csv"), tmp_path) == []


def test_a_download_cut_short_is_named_with_both_sizes(tmp_path):
    folder = lay(tmp_path / "in", "cifar-10-python.tar.gz", data=WHOLE[: len(WHOLE) // 2])
    assert near(folder, tmp_path) == [("386 kB", "193 kB: the download was cut short")]


def test_a_download_cut_short_is_named_within_an_archive_too(tmp_path):
    archive = layouts.zip_bytes({"cifar-10-python.tar.gz": WHOLE[: len(WHOLE) // 2]})
    found = near(lay(tmp_path / "in", "data.zip", data=archive), tmp_path)
    assert found[0] == ("386 kB", "193 kB: the download was cut short")


def test_a_download_cut_short_and_renamed_by_the_browser_is_named(tmp_path):
    folder = lay(tmp_path / "in", "cifar-10-python.tar (1).gz", data=WHOLE[: len(WHOLE) // 2])
    assert near(folder, tmp_path)[0][1].endswith("the download was cut short")


def test_an_archive_cut_after_the_wanted_files_still_serves(tmp_path):
    archive = layouts.tar_bytes({**FILES, "zz-more": layouts.pixels(100_000, 9)})
    assert look(lay(tmp_path / "in", "x.tar.gz", data=archive[:-50_000]), into=tmp_path / "out").complete


def test_a_member_cut_short_is_named(tmp_path):
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "in")
    whole = tmp_path / "in" / "cifar-10-batches-py" / "data_batch_1"
    whole.write_bytes(whole.read_bytes()[:30_000])
    assert near(tmp_path / "in", tmp_path) == [("62 kB", "30 kB: the download was cut short")]


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "data.zip", "data_batch_1"])
def test_a_web_page_in_its_place_is_named(name, tmp_path):
    page = b"<!DOCTYPE html><html><head><title>Sign in - Google Accounts</title></head></html>" + b" " * 60_000
    folder = lay(tmp_path / "in", name, data=page[: 40_000 if name == "data_batch_1" else None])
    assert near(folder, tmp_path)[0][1] == "a sign-in page, not the file: the site asked you to sign in"


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 170498071\n"
    folder = lay(tmp_path / "in", "cifar-10-python.tar.gz", data=pointer)
    assert near(folder, tmp_path)[0][1] == "a Git LFS pointer, not the file"


def test_a_locked_archive_is_named(tmp_path):
    # A zip whose one member has the flag of encryption set.
    archive = bytearray(layouts.zip_bytes({"data_batch_1": FILES["cifar-10-batches-py/data_batch_1"]}))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.index(magic) + at] |= 1
    folder = lay(tmp_path / "in", "cifar.zip", data=bytes(archive))
    assert near(folder, tmp_path)[0][1] == "an archive that is locked with a password"


def test_a_locked_archive_of_something_else_is_not_near_but_said(tmp_path):
    archive = bytearray(layouts.zip_bytes({"train.csv": b"x" * 100_000}))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.index(magic) + at] |= 1
    damaged = lay(tmp_path / "in", "titanic.tar.gz", data=layouts.tar_bytes({"a": layouts.pixels(50_000, 1)})[:30_000])
    (damaged / "titanic.zip").write_bytes(bytes(archive))
    found = look(damaged, into=tmp_path / "out")
    assert found.near == ()
    assert "titanic.tar.gz is a damaged archive" in found.looked[0].seen


def test_a_lookalike_by_digest_names_the_other_set(tmp_path):
    fashion = layouts.small_mnist("FashionMNIST/raw", seed=1)
    mnist = layouts.small_mnist("MNIST/raw", seed=2)
    entry = layouts.entry_for(
        "small_fashion",
        "fashion_mnist",
        fashion,
        lookalikes=(
            Lookalike(
                "MNIST, the handwritten digits",
                md5=tuple(file.md5 for file in layouts.entry_for("m", "mnist", mnist).files),
            ),
        ),
    )
    layouts.WRAPPINGS["files at the root"](mnist, layouts.input_folder(tmp_path / "in", "classic"))
    assert [found for _, found in near(tmp_path / "in", tmp_path, entry)] == ["MNIST, the handwritten digits"]


def test_two_sets_of_one_naming_side_by_side_each_find_their_own(tmp_path):
    fashion = layouts.small_mnist("FashionMNIST/raw", seed=1)
    mnist = layouts.small_mnist("MNIST/raw", seed=2)
    layouts.WRAPPINGS["each file gzipped"](mnist, layouts.input_folder(tmp_path / "in", "dataset", "mnist"))
    layouts.WRAPPINGS["each file gzipped"](fashion, layouts.input_folder(tmp_path / "in", "dataset", "fashion"))
    for name, files in (("mnist", mnist), ("fashion_mnist", fashion)):
        entry = layouts.entry_for(f"small_{name}", name, files)
        (tmp_path / name).mkdir()
        found = find_files([tmp_path / "in"], entry.files, tmp_path / name)
        assert found.complete
        assert all((tmp_path / name / path).read_bytes() == data for path, data in files.items())
