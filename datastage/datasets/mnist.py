"""MNIST and Fashion-MNIST: the same files by name and size, with other pictures.

Both sets have the same eight file names and the same sizes unpacked; only a digest tells them apart. Sizes and digests
of the archives: torchvision/datasets/mnist.py; of the unpacked files: md5sum listings, checked on the real files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from datastage.datasets import idx, tables
from datastage.entry import Arrays, Download, Entry, File, Lookalike, one_of
from datastage.errors import IntegrityError

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_mnist(path: Path, split: str, *, folder: str) -> Arrays:
    """Read a split of the four files in `folder`: images (N, 28, 28, 1) of uint8, and labels 0 to 9."""
    import numpy as np

    images, labels = (idx.read_idx(path / folder / name) for name in one_of(_FILES, split))
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != np.uint8:
        raise IntegrityError(
            f"{folder}: images of shape {images.shape} do not go with labels of shape {labels.shape}.",
            "Next: stage it again with refresh=True.",
        )
    return images[..., np.newaxis], labels.astype(np.int64)


@dataclass(frozen=True, slots=True)
class PixelTable:
    """Makes two idx files of a table with one image a row, as Kaggle's csv forms have it: its label, then 784 pixels.

    The images keep the table's own order; that they are the published ones is told by `tables.digest`.
    """

    splits: tuple[tuple[str, str, int, str], ...]
    known: tuple[tuple[str, str], ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        return tuple(path for images, labels, _, _ in self.splits for path in (images, labels))

    @property
    def sizes(self) -> tuple[int, int]:
        """The shortest and the longest such table: pixels of one figure each, and of three."""
        # So many, that the competition's 42,000 and OpenML's 70,000 can be named.
        return min(n for _, _, n, _ in self.splits) * 785 * 2, 80_000 * 785 * 4

    def fits(self, head: bytes) -> bool:
        """Say whether the first lines of a file look like such a table."""
        line = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
        first = line.strip().replace(b'"', b"").lower().split(b",")
        if not first[0].isdigit():  # a header is longer than what was read of the file, perhaps
            return first[0] in (b"label", b"class") and len(first) > 100
        return len(first) == 785 and all(value.isdigit() for value in first)

    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str:
        into.mkdir(parents=True, exist_ok=True)
        pixels = into / "pixels"
        label_bytes = bytearray()
        total = 0
        try:
            with pixels.open("wb") as out:
                out.write(idx.header((0, 28, 28)))
                for table in _pixel_rows(stream):
                    images = [table[at : at + 785] for at in range(0, len(table), 785)]
                    total += int(tables.digest(images), 16)
                    label_bytes += table[::785]
                    out.write(b"".join([image[1:] for image in images]))
                out.seek(0)
                out.write(idx.header((len(label_bytes), 28, 28)))
        except ValueError as error:
            pixels.unlink()
            return f"a table in which {error}"
        found = f"{total % (1 << 256):064x}"
        for images_path, labels_path, _, digest in self.splits:
            if digest == found:
                for path in (images_path, labels_path):
                    (into / path).parent.mkdir(parents=True, exist_ok=True)
                pixels.rename(into / images_path)
                (into / labels_path).write_bytes(idx.header((len(label_bytes),)) + label_bytes)
                return images_path, labels_path
        pixels.unlink()
        n = len(label_bytes)
        if found in dict(self.known):
            return dict(self.known)[found]
        if n in (length for _, _, length, _ in self.splits):
            return f"a table of {n:,} other images, not the published ones"
        lengths = " and ".join(f"{length:,}" for _, _, length, _ in self.splits)
        return _OTHER_LENGTHS.get(n, f"a table of {n:,} images; the published ones have {lengths}")


_OTHER_LENGTHS = {
    42000: "the 42,000 images of the Digit Recognizer competition; the published set has 60,000",
    70000: "a table of all 70,000 images in one; the published set is in two, of 60,000 and of 10,000",
}
_BLOCK_BYTES = 1 << 20


def _pixel_rows(stream: BinaryIO) -> Iterator[bytes]:
    """Give the table's values as bytes, whole rows at a time; ValueError says what is wrong with it."""
    begun = False
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        text, end, rest = (rest + block).rpartition(b"\n")
        if not end:
            if len(rest) > 2 * _BLOCK_BYTES:
                raise ValueError("a line does not end")
            continue
        yield from _parsed(text, begun)
        begun = True
    if rest:
        try:
            yield from _parsed(rest, begun)
        except ValueError:
            raise ValueError("the last row is not whole: the file was cut short") from None


def _parsed(text: bytes, begun: bool) -> Iterator[bytes]:
    text = text.translate(None, b'\r" ')
    if not begun:
        text = text.removeprefix(b"\xef\xbb\xbf")
        if text[:1].isalpha():
            text = text.partition(b"\n")[2]
    text = text.strip(b"\n")
    if text:
        fast = _fast(text)
        yield _plain(text) if fast is None else fast


def _fast(text: bytes) -> bytes | None:
    """Parse with numpy (133 MB in 0.7 s, not in 4), if it can be had and the text is what it should be; else None."""
    try:
        import numpy as np
    except ImportError:
        return None
    if text.translate(None, b"0123456789,\n") or b",," in text or b"\n\n" in text or b",\n" in text:
        return None
    characters = np.frombuffer(text + b"\n", np.uint8)
    ends = np.flatnonzero(characters < 48)
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > 3 or len(ends) % 785:
        return None
    line_ends = np.flatnonzero(characters[ends] == 10)
    if not np.array_equal(line_ends, np.arange(784, len(ends), 785)):
        return None
    figures = characters - 48
    values = figures[ends - 1].astype(np.uint16)
    for place, weight in ((2, 10), (3, 100)):
        long = np.flatnonzero(lengths >= place)
        values[long] += figures[ends[long] - place] * np.uint16(weight)
    return None if values.max() > 255 else values.astype(np.uint8).tobytes()


_VALUES = {str(n).encode(): n for n in range(256)}


def _plain(text: bytes) -> bytes:
    parts = []
    for line in text.split(b"\n"):
        if not line:
            continue
        try:
            row = bytes(map(_VALUES.__getitem__, line.split(b",")))
        except KeyError as error:
            value = error.args[0].decode("ascii", "replace")[:20]
            raise ValueError(f"a value is {value!r}, not a whole number from 0 to 255") from None
        if len(row) != 785:
            raise ValueError(f"a row has {len(row):,} values, not a label and 784 pixels")
        parts.append(row)
    return b"".join(parts)


# For each set: what it is called where the other is wanted; md5 of the four files; size and md5 of each packed; the
# digests of the rows of train and test, label and then 784 pixels (`tables.digest`); where the packed files lie.
_NAMES = [name for pair in _FILES.values() for name in pair]
_SIZES = (47040016, 60008, 7840016, 10008)
_LENGTHS = {"train": 60000, "test": 10000}
_CALLED = {"mnist": "MNIST, the handwritten digits", "fashion": "Fashion-MNIST, the pictures of clothes"}
_MD5 = {
    "mnist": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
              "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    "fashion": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
}  # fmt: skip
_PACKED = {
    "mnist": ((9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"), (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
              (1648877, "9fb629c4189551a2d022fa330f9573f3"), (4542, "ec29112dd5afa0611ce80d1b7f02629c")),
    "fashion": ((26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"), (29515, "25c81989df183df01b3e8a0aad5dffbe"),
                (4422102, "bef4ecab320f06d8554ea6380940ec79"), (5148, "bb300cfdad3c16e7a12a480ee83cd310")),
}  # fmt: skip
_ROWS = {
    "mnist": ("9d8eeba6bf9c8b67238f298efb7b4969b9a114a57d5a1965da59bfa8dde274b6",
              "b95ed1a0c48880c2c7e38b95f5accd69208dd0debd35518bac49cdbcd676aab9"),
    "fashion": ("0c3a2f6b4379fecaed9924f8ba83e878c49df2170e4208ceec2a4647dfdb162a",
                "a85b429cf35b8d423f05ab711ea3e97bd96f60d83be87fc9f71d0d86f8c2f6c6"),
}  # fmt: skip
_MIRRORS = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/",
              "http://yann.lecun.com/exdb/mnist/"),
    "fashion": ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
}  # fmt: skip


def _published(word: str, other: str, title: str, folder: str) -> dict[str, Any]:
    """Return the facts of the set called `word` that the two sets have alike."""
    needed = f"{title}:  train-images, train-labels, t10k-images, t10k-labels"
    splits = tuple(
        (f"{folder}/{images}", f"{folder}/{labels}", _LENGTHS[split], digest)
        for (split, (images, labels)), digest in zip(_FILES.items(), _ROWS[word])
    )
    return {
        "title": title,
        "files": tuple(File(f"{folder}/{name}", size, md5) for name, size, md5 in zip(_NAMES, _SIZES, _MD5[word])),
        "read": partial(read_mnist, folder=folder),
        "downloads": tuple(
            Download(f"{name}.gz", size, md5, tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS[word]))
            for name, (size, md5) in zip(_NAMES, _PACKED[word])
        ),
        "converters": (PixelTable(splits, tuple((digest, _CALLED[other]) for digest in _ROWS[other])),),
        "lookalikes": (
            Lookalike(_CALLED[other], needed, md5=_MD5[other]),
            Lookalike("pictures (png); the numbers are not the same", needed, (f"*{word}*.png", f"*{word}*.jpg")),
            Lookalike("arrays (npz); the files are not the same", needed, (f"*{word}*.np[yz]",)),
            Lookalike("a Matlab file", needed, (f"*{word}*.mat",)),
            Lookalike("tables for pandas (parquet); the files are not the same", needed, (f"*{word}*.parquet",)),
        ),
        "shape": (28, 28, 1),
        "splits": _LENGTHS,
        "needed": needed,
        "shows": "train-images-idx3-ubyte, ... or .csv",
    }


MNIST = Entry(
    "mnist", **_published("mnist", "fashion", "MNIST", "MNIST/raw"),
    licence="CC BY-SA 3.0, as commonly given; the home page states none",
    citation='Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", '
    "Proceedings of the IEEE 86(11), 1998.",
    homepage="http://yann.lecun.com/exdb/mnist/", search_words="mnist",
    classes=tuple("0123456789"), mean=(0.1307,), std=(0.3081,),
)  # fmt: skip

FASHION_MNIST = Entry(
    "fashion_mnist", **_published("fashion", "mnist", "Fashion-MNIST", "FashionMNIST/raw"),
    licence="MIT", homepage="https://github.com/zalandoresearch/fashion-mnist", search_words="fashion mnist",
    citation='H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning '
    'Algorithms", arXiv:1708.07747, 2017.',
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mean=(0.2860,), std=(0.3530,), augment={"crop": 2, "flip": True},
)  # fmt: skip
