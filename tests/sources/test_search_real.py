"""Real Fashion-MNIST and MNIST and the stand-in for CIFAR-10; also in a private /kaggle/input, where root may mount."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from datastage.datasets import File, get
from datastage.sources.search import find_files
from tests import kaggle_inputs as layouts

FASHION, MNIST = layouts.TESTDATA / "fashion-mnist", layouts.TESTDATA / "mnist"
CIFAR, CSV = layouts.TESTDATA / "cifar10" / "cifar-10-standin.tar.gz", layouts.TESTDATA / "fashion-mnist-csv"


def need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"left out: {path.name} is not on this machine")
    return path


def look(entry, folder: Path, into: Path):
    into.mkdir()
    return find_files(
        [folder],
        entry.files,
        into,
        converters=entry.converters,
        lookalikes=entry.lookalikes,
        published=entry.downloads,
        needed=entry.needed,
    )


@pytest.fixture(scope="module")
def standin():
    """Return the stand-in's entry: CIFAR-10 under another name, with its own sizes and digests."""
    import tarfile

    need(CIFAR)
    md5 = json.loads((CIFAR.parent / "index.json").read_text())["md5"]
    with tarfile.open(CIFAR) as archive:
        sizes = {member.name: member.size for member in archive if member.isfile()}
    entry = get("cifar10")
    files = tuple(File(file.path, sizes[file.path], md5[file.path.rsplit("/", 1)[-1]]) for file in entry.files)
    published = (replace(entry.downloads[0], size=CIFAR.stat().st_size, md5=None),)
    return replace(entry, name="standin", title="STAND-IN", files=files, downloads=published)


def test_the_published_gz_files_of_fashion_are_found(tmp_path):
    assert look(get("fashion_mnist"), need(FASHION), tmp_path / "out").complete


def test_the_real_mnist_is_found_though_its_gz_headers_differ(tmp_path):
    assert look(get("mnist"), need(MNIST), tmp_path / "out").complete


def test_mnist_in_place_of_fashion_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    for file in need(MNIST).glob("*.gz"):
        (tmp_path / "in" / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    found = look(get("fashion_mnist"), tmp_path / "in", tmp_path / "out")
    assert [near.found for near in found.near] == ["MNIST, the handwritten digits"]
    assert not any((tmp_path / "out").iterdir())


def test_fashion_in_place_of_mnist_is_named(tmp_path):
    found = look(get("mnist"), need(FASHION), tmp_path / "out")
    assert [near.found for near in found.near] == ["Fashion-MNIST, the pictures of clothes"]


def test_kaggles_csv_of_fashion_becomes_the_published_files(tmp_path):
    found = look(get("fashion_mnist"), need(CSV), tmp_path / "out")
    assert found.complete
    # These rows are in the order of the idx files, so the digests are the published ones as well.
    assert {path: made.md5 for path, made in found.files.items()} == {
        file.path: file.md5 for file in get("fashion_mnist").files
    }


def test_the_standin_is_found_in_its_archive_and_read(standin, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "renamed.bin").symlink_to(CIFAR)
    assert look(standin, tmp_path / "in", tmp_path / "out").complete
    images, labels = standin.read(tmp_path / "out", "train")
    assert images.shape == (50000, 32, 32, 3)
    assert [int((labels == n).sum()) for n in range(10)] == [5000] * 10


def test_half_a_download_of_the_standin_is_named_with_both_sizes(standin, tmp_path):
    (tmp_path / "in").mkdir()
    with CIFAR.open("rb") as file:
        (tmp_path / "in" / "cifar-10-python.tar.gz").write_bytes(file.read(CIFAR.stat().st_size // 2))
    found = look(standin, tmp_path / "in", tmp_path / "out")
    assert [(near.needed, near.found) for near in found.near] == [("159 MB", "79 MB: the download was cut short")]


_LOOK = """
import sys
from pathlib import Path
from datastage.datasets import get
from datastage.sources import kaggle
from datastage.sources.search import Location, find_files
entry, into = get(sys.argv[1]), Path("/kaggle/working/out")
into.mkdir()
inputs = [Location(item.path, item.called) for item in kaggle.inputs(Path("/kaggle/input"))]
found = find_files(inputs, entry.files, into, converters=entry.converters)
print(found.complete, found.where)
try:
    open("/kaggle/input/x", "w")
except OSError as error:
    print(error.errno)
"""


@pytest.mark.skipif(not layouts.can_mount(), reason="left out: only root on Linux may mount")
@pytest.mark.parametrize("layout", ["classic", "dataset", "collision", "called datasets"])
def test_in_a_read_only_kaggle_input_without_network(layout, tmp_path):
    folder = layouts.input_folder(tmp_path / "input", layout, "my-clothes")
    for file in need(FASHION).glob("*.gz"):
        (folder / file.stem).mkdir()
        (folder / file.stem / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    done = layouts.run_with_input(tmp_path / "input", [sys.executable, "-c", _LOOK, "fashion_mnist"])
    name = "datasets" if layout == "called datasets" else "my-clothes"
    assert done.stdout.splitlines() == [f'True your input "{name}"', "30"], done.stderr
    shutil.rmtree(tmp_path / "input")
