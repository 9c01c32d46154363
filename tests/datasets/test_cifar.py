from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from datastage.datasets import cifar, get
from datastage.errors import IntegrityError, SpecError
from tests import kaggle_inputs as layouts

FILES = layouts.small_cifar()


@pytest.fixture
def staged(tmp_path):
    layouts._write(FILES, tmp_path)
    return tmp_path


def test_images_are_uint8_in_rows_columns_channels(staged):
    images, labels = get("cifar10").read(staged, "train")
    assert (images.shape, images.dtype, labels.dtype) == ((100, 32, 32, 3), np.uint8, np.int64)
    assert images.flags.writeable


def test_a_row_is_the_red_then_the_green_then_the_blue_plane(staged):
    images, _ = get("cifar10").read(staged, "test")
    row = layouts.pixels(20 * 3072, 5)[:3072]
    assert images[0, 0, 1].tolist() == [row[1], row[1025], row[2049]]


def test_labels_come_in_the_order_of_the_batches(staged):
    _, labels = get("cifar10").read(staged, "train")
    assert labels.tolist() == [(number + i) % 10 for number in range(5) for i in range(20)]


def test_the_hundred_classes_are_the_fine_labels(tmp_path):
    for split, n in (("train", 7), ("test", 3)):
        batch = {
            "fine_labels": list(range(90, 90 + n)),
            "coarse_labels": [0] * n,
            "data": np.zeros((n, 3072), np.uint8),
        }
        layouts._write({f"cifar-100-python/{split}": pickle.dumps(batch, protocol=2)}, tmp_path)
    images, labels = get("cifar100").read(tmp_path, "test")
    assert (images.shape, labels.tolist()) == ((3, 32, 32, 3), [90, 91, 92])


def test_there_is_no_other_split(staged):
    with pytest.raises(SpecError, match="one of train, test"):
        get("cifar10").read(staged, "val")


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "not a batch of CIFAR"),
        ({"labels": [1]}, "has no data and labels"),
        ({"labels": [1], "data": np.zeros((2, 3072), np.uint8)}, "1 labels for an array of shape"),
        ({"labels": [1], "data": np.zeros((1, 100), np.uint8)}, "1 labels for an array of shape"),
        ({"labels": [10], "data": np.zeros((1, 3072), np.uint8)}, "labels that are not 0 to 9"),
        ({"labels": [-1], "data": np.zeros((1, 3072), np.uint8)}, "labels that are not 0 to 9"),
        ({"labels": ["1"], "data": np.zeros((1, 3072), np.uint8)}, "labels that are not 0 to 9"),
    ],
)
def test_what_is_no_batch_is_refused(batch, said):
    with pytest.raises(IntegrityError, match=said):
        cifar.read_batch(pickle.dumps(batch, protocol=2), b"labels", 10, "data_batch_1")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_class_names_give_the_published_metadata_byte_for_byte(name):
    file = next(file for file in get(name).files if file.path.endswith("meta"))
    assert (len(file.content), hashlib.md5(file.content).hexdigest()) == (file.size, file.md5)


def test_the_metadata_is_read_back_as_the_class_names():
    file = next(file for file in get("cifar100").files if file.path.endswith("meta"))
    names = pickle.loads(file.content, encoding="latin1")["fine_label_names"]
    assert tuple(names) == get("cifar100").classes
