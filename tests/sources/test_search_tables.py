from __future__ import annotations

import builtins
import errno
import gzip
import io
import lzma
import random
import subprocess
import sys

import pytest

from datastage.datasets import get, in_package, tables
from datastage.datasets.mnist import PixelTable
from datastage.sources.search import find_files
from tests import kaggle_inputs as layouts
from tests.stand_ins import fuse

FILES = layouts.small_mnist("FashionMNIST/raw", seed=1, n_train=60, n_test=20)
TRAIN, TEST = layouts.mnist_csv(FILES, "train"), layouts.mnist_csv(FILES, "t10k")


def digest(table: bytes) -> str:
    return tables.digest(bytes(map(int, line.split(b","))) for line in table.split(b"\n")[1:] if line)


OTHER = layouts.small_mnist("MNIST/raw", seed=2, n_train=60, n_test=20)
CONVERTER = PixelTable(
    tuple(
        (f"FashionMNIST/raw/{part}-images-idx3-ubyte", f"FashionMNIST/raw/{part}-labels-idx1-ubyte", n, digest(table))
        for part, n, table in (("train", 60, TRAIN), ("t10k", 20, TEST))
    ),
    known=((digest(layouts.mnist_csv(OTHER, "train")), "MNIST, the handwritten digits"),),
)
ENTRY = layouts.entry_for("small_fashion", "fashion_mnist", FILES, converters=(CONVERTER,))


def look(folder, into):
    into.mkdir(exist_ok=True)
    return find_files([folder], ENTRY.files, into, converters=ENTRY.converters, lookalikes=ENTRY.lookalikes, needed="x")


def made(tmp_path):
    return {path: (tmp_path / "out" / path).read_bytes() for path in FILES}


@pytest.mark.parametrize("header", ["pixel", "1x1", None])
def test_a_table_is_written_out_as_the_idx_files(header, tmp_path):
    layouts._write(
        {"train.csv": layouts.mnist_csv(FILES, "train", header), "t.csv": layouts.mnist_csv(FILES, "t10k", header)},
        tmp_path / "in",
    )
    found = look(tmp_path / "in", tmp_path / "out")
    assert found.complete
    assert not found.converted  # in the published order: the published bytes
    assert made(tmp_path) == FILES


def test_the_tables_own_order_of_rows_is_kept_and_still_accepted(tmp_path):
    order = random.Random(0).sample(range(60), 60)
    layouts._write({"a.csv": layouts.mnist_csv(FILES, "train", order=order), "b.csv": TEST}, tmp_path / "in")
    found = look(tmp_path / "in", tmp_path / "out")
    assert {path.split("/")[-1] for path in found.converted} == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}


@pytest.mark.parametrize(
    "files",
    [
        {"archive.zip": layouts.zip_bytes({"train.csv": TRAIN, "test.csv": TEST})},
        {"a.zip": layouts.zip_bytes({"deep/b.zip": layouts.zip_bytes({"train.csv": TRAIN, "test.csv": TEST})})},
        {"train.csv.gz": layouts.gz_bytes(TRAIN), "test.csv.gz": layouts.gz_bytes(TEST)},
        {"train.csv.gz": layouts.gz_bytes(layouts.mnist_csv(FILES, "train", None)), "test.csv.xz": lzma.compress(TEST)},
        {"x.tar.gz": layouts.tar_bytes({"data/train.csv": TRAIN, "data/test.csv": TEST})},
        {"train.csv.zip": layouts.zip_bytes({"train.csv": TRAIN}), "test.csv": TEST},
        {"train.csv/train.csv": TRAIN, "test.csv/test.csv": TEST},
        {"train.csv": TRAIN.replace(b"\n", b"\r\n"), "test.csv": b"\xef\xbb\xbf" + TEST},
        {"train.csv": TRAIN.rstrip(b"\n"), "test.csv": TEST},
    ],
    ids=["zip", "zip in zip", "gz", "gz without header", "tar.gz", "half", "folders", "Windows", "no last line end"],
)
def test_a_table_is_found_wrapped_too(files, tmp_path):
    layouts._write(files, tmp_path / "in")
    assert look(tmp_path / "in", tmp_path / "out").complete
    assert made(tmp_path) == FILES


def test_the_published_files_win_over_a_table_beside_them(tmp_path):
    order = list(reversed(range(60)))
    layouts._write({"train.csv": layouts.mnist_csv(FILES, "train", order=order), "test.csv": TEST}, tmp_path / "in")
    (tmp_path / "in" / "z.zip").write_bytes(layouts.zip_bytes(FILES))
    assert look(tmp_path / "in", tmp_path / "out").complete
    assert made(tmp_path) == FILES


def test_a_table_of_the_other_set_is_named(tmp_path):
    layouts._write({"mnist_train.csv": layouts.mnist_csv(OTHER, "train")}, tmp_path / "in")
    found = look(tmp_path / "in", tmp_path / "out")
    assert [near.found for near in found.near] == ["MNIST, the handwritten digits"]
    assert not any((tmp_path / "out").iterdir())


def test_a_table_of_the_same_length_with_one_pixel_changed_is_refused(tmp_path):
    wrong = bytearray(TRAIN)
    at = len(wrong) - 2
    wrong[at] = ord("1") if wrong[at] != ord("1") else ord("2")
    layouts._write({"train.csv": bytes(wrong), "test.csv": TEST}, tmp_path / "in")
    found = look(tmp_path / "in", tmp_path / "out")
    assert "a table of 60 other images, not the published ones" in [near.found for near in found.near]


def test_a_table_of_another_length_is_named_with_its_length(tmp_path):
    layouts._write({"train.csv": b"\n".join(TRAIN.split(b"\n")[:43])}, tmp_path / "in")
    found = look(tmp_path / "in", tmp_path / "out")
    assert [near.found for near in found.near] == ["a table of 42 images; the published ones have 60 and 20"]


@pytest.mark.parametrize(
    ("value", "why"),
    [(b"300", "a value is '300', not a whole number"), (b"0.5", "a value is '0.5'"), (b"1,2", "a row has 786 values")],
)
def test_a_table_with_a_wrong_value_is_named(value, why, tmp_path):
    lines = TRAIN.split(b"\n")
    lines[5] = lines[5].rpartition(b",")[0] + b"," + value
    layouts._write({"train.csv": b"\n".join(lines)}, tmp_path / "in")
    found = look(tmp_path / "in", tmp_path / "out")
    assert why in found.near[0].found


def test_without_numpy_the_same_files_come_out(tmp_path, monkeypatch):
    real = builtins.__import__

    def no_numpy(name, *rest, **options):
        if name == "numpy":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", no_numpy)
    layouts._write({"train.csv": TRAIN, "test.csv": TEST}, tmp_path / "in")
    assert look(tmp_path / "in", tmp_path / "out").complete
    monkeypatch.undo()
    assert made(tmp_path) == FILES


def test_the_competition_table_of_42000_rows_is_named(tmp_path):
    entry = get("mnist")
    row = b"1" + b",0" * 784 + b"\n"
    head = b"label," + b",".join(b"pixel%d" % i for i in range(784)) + b"\n"
    said = entry.converters[0].convert(io.BytesIO(head + row * 42000), tmp_path)
    assert said == "the 42,000 images of the Digit Recognizer competition; the published set has 60,000"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("names", [("iris.csv",), ("iris.data",), ("Iris.csv",)])
def test_iris_is_found_in_each_form_that_goes_round(names, tmp_path, iris_forms):
    entry = get("iris")
    form = dict(zip(("iris.csv", "iris.data", "Iris.csv"), iris_forms, strict=True))[names[0]]
    layouts._write({names[0]: form}, tmp_path / "in")
    (tmp_path / "out").mkdir()
    assert find_files([tmp_path / "in"], entry.files, tmp_path / "out", converters=entry.converters).complete
    assert (tmp_path / "out" / "iris.csv").read_bytes() == _iris()


def _iris() -> bytes:
    folder = in_package("sklearn/datasets/data")
    if folder is None:
        pytest.skip("scikit-learn is not installed")
    return tables._HEADER + b"".join(row + b"\n" for row in tables.flowers((folder / "iris.csv").read_bytes()))


@pytest.fixture
def iris_forms():
    plain = _iris()
    lines = plain.decode().splitlines()[1:]
    wrong = list(lines)
    wrong[34] = wrong[37] = "4.9,3.1,1.5,0.1,setosa"  # as UCI has it
    species = [line.replace(",s", ",Iris-s").replace(",v", ",Iris-v") for line in wrong]
    numbered = [f"{number},{line}" for number, line in enumerate(species, 1)]
    header = "Id,SepalLengthCm,SepalWidthCm,PetalLengthCm,PetalWidthCm,Species"
    return plain, "\n".join([*species, "", ""]).encode(), "\n".join([header, *numbered]).encode()


def test_digits_are_found_in_any_order_and_packed(tmp_path):
    folder = in_package("sklearn/datasets/data")
    if folder is None:
        pytest.skip("scikit-learn is not installed")
    lines = gzip.decompress((folder / "digits.csv.gz").read_bytes()).splitlines()
    shuffled = b"\n".join(random.Random(0).sample(lines, len(lines)))
    entry = get("digits")
    for name, data in {"optdigits.tes": shuffled, "digits.csv.gz": gzip.compress(shuffled)}.items():
        layouts._write({name: data}, tmp_path / name)
        (tmp_path / f"{name}-out").mkdir()
        found = find_files([tmp_path / name], entry.files, tmp_path / f"{name}-out", converters=entry.converters)
        assert found.complete
        assert (tmp_path / f"{name}-out" / "digits.csv").read_bytes() == shuffled + b"\n"


def test_iris_and_digits_are_found_in_scikit_learn_without_importing_it(tmp_path):
    if in_package("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    code = (
        "import sys; from pathlib import Path\n"
        "from datastage import datasets; from datastage.sources.search import find_files\n"
        "for name in ('iris', 'digits'):\n"
        "    entry = datasets.get(name); into = Path(sys.argv[1], name); into.mkdir()\n"
        "    there = [datasets.in_package(*entry.package_data)]\n"
        "    found = find_files(there, entry.files, into, converters=entry.converters)\n"
        "    print(found.complete, 'sklearn' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False", "False"] * 2, done.stderr


@pytest.mark.skipif(fuse.why_not() != "", reason=fuse.why_not())
def test_a_disk_that_fails_while_a_table_is_read_is_said_and_hides_no_other(tmp_path):
    layouts._write({"a.csv": layouts.mnist_csv(FILES, "train"), "b.csv": TEST}, tmp_path / "failing")
    layouts._write({"c.csv": layouts.mnist_csv(FILES, "train")}, tmp_path / "well")
    (tmp_path / "mount").mkdir()
    faults = fuse.Faults(fail_after={"a.csv": (0, errno.EIO)})
    with fuse.mounted(tmp_path / "failing", tmp_path / "mount", faults):
        (tmp_path / "out").mkdir()
        places = [tmp_path / "mount", tmp_path / "well"]
        found = find_files(places, ENTRY.files, tmp_path / "out", converters=ENTRY.converters)
    assert found.complete
    assert found.looked[0].seen.endswith("(Input/output error)")
