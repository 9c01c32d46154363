"""torchvision's own classes take what was found with ``download=False``, and give the same pixels as our readers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from datastage.datasets import get
from datastage.sources.search import find_files
from tests import kaggle_inputs as layouts
from tests.torchvision_here import torchvision_here


@pytest.fixture(scope="module")
def tv():
    """Return torchvision.datasets, or skip."""
    return torchvision_here().datasets


def stage(entry, folder, into):
    into.mkdir(exist_ok=True)
    found = find_files([folder], entry.files, into, converters=entry.converters, lookalikes=entry.lookalikes)
    assert found.complete, found
    return into


def cifar_class(tv, md5, n_classes=10):
    """Return torchvision's class with the digests of other files, as the published ones' class has theirs."""
    base = tv.CIFAR10
    return type(
        "Other",
        (base,),
        {
            "train_list": [[f"data_batch_{i}", md5[f"data_batch_{i}"]] for i in range(1, 6)],
            "test_list": [["test_batch", md5["test_batch"]]],
            "meta": dict(base.meta, md5=md5["batches.meta"]),
        },
    )


@pytest.mark.parametrize("wrapping", ["tar.gz", "files at the root", "zip of the tar.gz"])
def test_cifar_10_is_taken_and_gives_the_same_pixels(wrapping, tv, tmp_path):
    files = layouts.small_cifar()
    entry = layouts.entry_for("small_cifar", "cifar10", files)
    layouts.WRAPPINGS[wrapping](files, layouts.input_folder(tmp_path / "in", "dataset"))
    root = stage(entry, tmp_path / "in", tmp_path / "out")
    md5 = {path.rsplit("/", 1)[-1]: hashlib.md5(data).hexdigest() for path, data in files.items()}
    for split in ("train", "test"):
        theirs = cifar_class(tv, md5)(str(root), train=split == "train", download=False)
        images, labels = entry.read(root, split)
        assert np.array_equal(theirs.data, images)
        assert theirs.targets == labels.tolist()
        assert theirs.classes == list(entry.classes)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_and_fashion_are_taken_and_give_the_same_pixels(name, folder, tv, tmp_path):
    files = layouts.small_mnist(f"{folder}/raw")
    entry = layouts.entry_for(f"small_{name}", name, files)
    layouts.WRAPPINGS["each file gzipped"](files, layouts.input_folder(tmp_path / "in", "dataset"))
    root = stage(entry, tmp_path / "in", tmp_path / "out")
    for split in ("train", "test"):
        theirs = getattr(tv, folder)(str(root), train=split == "train", download=False)
        images, labels = entry.read(root, split)
        assert np.array_equal(theirs.data.numpy(), images[..., 0])
        assert theirs.targets.tolist() == labels.tolist()


def test_the_classes_are_named_as_torchvision_names_them(tv):
    assert list(get("fashion_mnist").classes) == tv.FashionMNIST.classes
    assert [name.split(" - ")[0] for name in tv.MNIST.classes] == list(get("mnist").classes)


def test_the_digests_are_those_of_torchvision(tv):
    for name, theirs in (("cifar10", tv.CIFAR10), ("cifar100", tv.CIFAR100)):
        entry = get(name)
        ours = {file.path: file.md5 for file in entry.files}
        expected = {f"{theirs.base_folder}/{file}": md5 for file, md5 in [*theirs.train_list, *theirs.test_list]}
        expected[f"{theirs.base_folder}/{theirs.meta['filename']}"] = theirs.meta["md5"]
        assert ours == expected
        assert entry.downloads[0].md5 == theirs.tgz_md5
    for name, theirs in (("mnist", tv.MNIST), ("fashion_mnist", tv.FashionMNIST)):
        assert {item.name: item.md5 for item in get(name).downloads} == dict(theirs.resources)
