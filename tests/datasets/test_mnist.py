from __future__ import annotations

import io
import random

import numpy as np
import pytest

from datastage.datasets import get, idx, mnist, tables
from datastage.errors import IntegrityError, SpecError
from tests import kaggle_inputs as layouts

FILES = layouts.small_mnist("FashionMNIST/raw")


@pytest.fixture
def staged(tmp_path):
    layouts._write(FILES, tmp_path)
    return tmp_path


def test_images_have_one_channel_at_the_end(staged):
    images, labels = get("fashion_mnist").read(staged, "train")
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((60, 28, 28, 1), np.uint8, (60,), np.int64)


def test_pixels_and_labels_are_those_of_the_file(staged):
    images, labels = get("fashion_mnist").read(staged, "test")
    assert images.tobytes() == FILES["FashionMNIST/raw/t10k-images-idx3-ubyte"][16:]
    assert bytes(labels.tolist()) == FILES["FashionMNIST/raw/t10k-labels-idx1-ubyte"][8:]


def test_there_is_no_other_split(staged):
    with pytest.raises(SpecError, match="one of train, test"):
        get("fashion_mnist").read(staged, "val")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x08", "not an idx file"),
        (b"<html>", "not an idx file"),
        (b"\0\0\x08\3\0\0", "ends within its header"),
        (layouts.idx_bytes((2, 28, 28), b"x" * 784), "784 bytes of values; its header says 1,568"),
        (layouts.idx_bytes((1, 28, 28), b"x" * 785), "785 bytes of values; its header says 784"),
    ],
)
def test_what_is_no_idx_file_is_refused(data, said, staged):
    (staged / "FashionMNIST/raw/t10k-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(IntegrityError, match=said):
        get("fashion_mnist").read(staged, "test")


def test_images_and_labels_of_different_lengths_are_refused(staged):
    (staged / "FashionMNIST/raw/t10k-labels-idx1-ubyte").write_bytes(layouts.idx_bytes((9,), b"\1" * 9))
    with pytest.raises(IntegrityError, match="do not go with"):
        get("fashion_mnist").read(staged, "test")


def test_an_idx_file_of_other_numbers_is_read_in_this_machines_order(tmp_path):
    values = np.array([[1.5, -2.0], [3.0, 4.0]], ">f4")
    (tmp_path / "x").write_bytes(bytes([0, 0, 0x0D, 2]) + (2).to_bytes(4, "big") * 2 + values.tobytes())
    assert idx.read_idx(tmp_path / "x").tolist() == values.tolist()


def test_the_digest_ignores_the_order_of_rows_and_nothing_else():
    table = [layouts.pixels(20, n) for n in range(50)]
    shuffled = random.Random(1).sample(table, 50)
    assert tables.digest(table) == tables.digest(shuffled)
    assert tables.digest(table) != tables.digest(table[:-1])
    assert tables.digest(table) != tables.digest([*table[:-1], table[0]])


@pytest.mark.parametrize(
    "text",
    [
        b"1,2\n3,4",
        b"1,1000\n",
        b"1,,2",
        b"0256",
        b"1,2,",
    ],
)
def test_the_fast_parser_declines_what_it_does_not_know(text):
    line = b"0," * 784 + b"7"
    assert mnist._fast(line + b"\n" + text) is None


@pytest.mark.parametrize("seed", range(5))
def test_both_parsers_agree(seed):
    values = layouts.pixels(785 * 20, seed)
    text = b"\n".join(",".join(map(str, values[at : at + 785])).encode() for at in range(0, len(values), 785))
    assert mnist._fast(text) == mnist._plain(text) == values


def test_a_value_above_255_is_refused_by_both():
    line = b"0," * 784 + b"256"
    assert mnist._fast(line) is None
    with pytest.raises(ValueError, match="'256'"):
        mnist._plain(line)


def test_a_csv_that_was_cut_short_is_named_as_that(tmp_path):
    text = layouts.mnist_csv(layouts.small_mnist(), "train")
    said = get("mnist").converters[0].convert(io.BytesIO(text[: len(text) // 2]), tmp_path / "out")
    assert said == "a table in which the last row is not whole: the file was cut short"


@pytest.mark.parametrize(
    "data", [b"", b"MATLAB 5.0 MAT-file".ljust(127), b"MATLAB 5.0".ljust(124) + b"\0\1IM" + bytes(99)]
)
def test_a_damaged_matlab_file_is_said_and_is_no_fault_of_ours(data, tmp_path):
    pytest.importorskip("scipy")
    (tmp_path / "train_32x32.mat").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"train_32x32\.mat is not a whole Matlab file"):
        idx.matlab(tmp_path / "train_32x32.mat")


@pytest.mark.parametrize(("name", "other"), [("mnist", "fashion_mnist"), ("fashion_mnist", "mnist")])
def test_files_and_tables_of_the_other_of_the_two_sets_are_called_by_its_name(name, other):
    entry, theirs = get(name), get(other)
    lookalike = entry.lookalikes[0]
    assert lookalike.found.startswith(f"{theirs.title}, ")
    assert lookalike.md5 == tuple(file.md5 for file in theirs.files)
    assert dict(entry.converters[0].known) == {digest: lookalike.found for *_, digest in theirs.converters[0].splits}
