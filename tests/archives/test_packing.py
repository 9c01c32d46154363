"""A folder of many small files becomes one zip: whole, under its own name, or not at all."""

import errno
import os
import zipfile
from pathlib import Path

import pytest

from datastage import archives
from datastage.archives import packing
from datastage.archives.packing import pack
from datastage.errors import IntegrityError, StorageError
from datastage.reader import FileReader


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(700):
        path = folder / f"class{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(2, "big") * 50)
    (folder / "big.csv").write_bytes(b"1,2,3\n" * 100_000)
    (folder / "names.txt").write_text("ü")
    (folder / ".DS_Store").write_text("x")
    (folder / "link").symlink_to("names.txt")
    return folder


def test_what_was_packed_unpacks_to_the_same(photos, tmp_path):
    pack(photos, tmp_path / "photos.zip")
    (tmp_path / "out").mkdir()
    with FileReader(tmp_path / "photos.zip") as reader:
        unpacked = archives.unpack(reader, tmp_path / "out", strip="photos")
    assert unpacked.stripped == "photos"
    for path in photos.rglob("*"):
        if path.is_file() and path.name != ".DS_Store":
            assert (tmp_path / "out" / path.relative_to(photos)).read_bytes() == path.read_bytes()
    assert os.readlink(tmp_path / "out" / "link") == "names.txt"


def test_it_says_what_it_packed_and_left_out(photos, tmp_path):
    packed = pack(photos, tmp_path / "photos.zip")
    assert (packed.n_files, packed.left_out) == (703, 1)


def test_pictures_are_stored_and_tables_are_deflated(photos, tmp_path):
    pack(photos, tmp_path / "photos.zip")
    kinds = {info.filename: info.compress_type for info in zipfile.ZipFile(tmp_path / "photos.zip").infolist()}
    assert kinds["photos/class0/000.png"] == zipfile.ZIP_STORED
    assert kinds["photos/big.csv"] == zipfile.ZIP_DEFLATED


def test_nothing_existing_is_replaced(photos, tmp_path):
    (tmp_path / "photos.zip").write_text("mine")
    with pytest.raises(StorageError):
        pack(photos, tmp_path / "photos.zip")
    assert (tmp_path / "photos.zip").read_text() == "mine"


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityError):
        pack(tmp_path / "empty", tmp_path / "empty.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_a_file_that_cannot_be_read_leaves_nothing(photos, tmp_path, monkeypatch):
    real = Path.read_bytes

    def read(self):
        if self.name == "300.png":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(StorageError, match="300.png"):
        pack(photos, tmp_path / "photos.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_only_a_window_of_small_files_is_held(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "WINDOW", 10)
    started = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: started.append(1) or real(self))
    contents = packing._read_ahead(sorted(photos.rglob("*.png")), 4)
    next(contents)
    contents.close()
    assert len(started) <= 10
