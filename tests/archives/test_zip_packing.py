"""A folder of many small files becomes one zip: whole, under its own name, or not at all."""

import errno
import io
import os
import shutil
import subprocess
import zipfile
from collections import Counter

import pytest

from datastage import archives
from datastage.archives import zip_packing as packing
from datastage.archives.zip_packing import pack
from datastage.errors import IntegrityError, StorageError
from datastage.progress import SILENT
from datastage.reader import FileReader

from .made import tree


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
    assert (packed.n_files, packed.left_out) == (703, {".DS_Store": 1})


def test_pictures_are_stored_and_tables_are_deflated(photos, tmp_path):
    for name in ("a.tar", "a.tar.gz", "a.BMP", "a.JPG"):
        (photos / name).write_bytes(bytes(1000))
    pack(photos, tmp_path / "photos.zip")
    kinds = {info.filename: info.compress_type for info in zipfile.ZipFile(tmp_path / "photos.zip").infolist()}
    assert {kinds[f"photos/{name}"] for name in ("class0/000.png", "a.tar.gz", "a.JPG")} == {zipfile.ZIP_STORED}
    assert {kinds[f"photos/{name}"] for name in ("big.csv", "a.tar", "a.BMP")} == {zipfile.ZIP_DEFLATED}


def test_nothing_existing_is_replaced(photos, tmp_path):
    (tmp_path / "photos.zip").write_text("mine")
    with pytest.raises(StorageError):
        pack(photos, tmp_path / "photos.zip")
    assert (tmp_path / "photos.zip").read_text() == "mine"


def test_what_is_put_in_its_place_meanwhile_is_kept(photos, tmp_path):
    class Meanwhile(type(SILENT)):
        def advance(self, n_bytes):
            (tmp_path / "photos.zip").write_text("mine")

    with pytest.raises(StorageError, match="is there by now"):
        pack(photos, tmp_path / "photos.zip", reporter=Meanwhile())
    assert (tmp_path / "photos.zip").read_text() == "mine"


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityError):
        pack(tmp_path / "empty", tmp_path / "empty.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_a_file_that_cannot_be_read_leaves_nothing_and_is_named(photos, tmp_path):
    (photos / "class0" / "unreadable.png").symlink_to("/proc/self/mem")  # reading it fails
    with pytest.raises(StorageError, match=r"unreadable\.png") as caught:
        pack(photos, tmp_path / "photos.zip")
    assert "chmod" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not here")
def test_a_full_disk_is_not_blamed_on_the_folder(photos):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    writer = packing._ZipWriter(Full(), SILENT)
    with pytest.raises(OSError, match="No space") as caught:
        writer.add(packing._with_data(packing._Item(b"a", os.fsencode(photos / "names.txt"))), b"a")
    assert caught.value.filename is None


def test_only_a_window_of_small_files_is_held(photos, monkeypatch):
    monkeypatch.setattr(packing, "WINDOW", 10)
    begun = []
    items = (begun.append(1) or item for item in packing._walk(photos, Counter()))
    contents = packing._read(items, 4)
    next(contents)
    contents.close()
    assert len(begun) <= 10


@pytest.mark.parametrize("is_far", [False, True])
def test_readers_beside_change_nothing(photos, tmp_path, monkeypatch, is_far):
    monkeypatch.setattr("datastage.mounts.is_network_disk", lambda folder: is_far)
    pack(photos, tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 703


def test_a_zip_in_the_folder_that_it_is_made_of_does_not_hold_itself(photos):
    packed = pack(photos, photos / "photos.zip")
    assert packed.n_files == 703
    with zipfile.ZipFile(photos / "photos.zip") as archive:
        assert not [name for name in archive.namelist() if "photos.zip" in name]


# --- links, as a folder of Hugging Face's cache has them ---


@pytest.fixture
def hub(tmp_path):
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    (blobs / "folder").mkdir(parents=True)
    (snapshot / "deep").mkdir(parents=True)
    (blobs / "1").write_bytes(b"data")
    (blobs / "folder" / "2").write_bytes(b"more")
    (snapshot / "README").write_text("r")
    return snapshot


def unpacked(archive, to):
    to.mkdir()
    with FileReader(archive) as reader:
        archives.unpack(reader, to)
    return tree(to)


@pytest.mark.parametrize("target", ["../../blobs/1", "{}/1", "deep/../../../blobs/1"])
def test_a_link_that_leads_out_becomes_the_file_that_it_leads_to(hub, tmp_path, target):
    (hub / "train.parquet").symlink_to(target.format(hub.parents[1] / "blobs"))
    packed = pack(hub, tmp_path / "snap.zip")
    assert (packed.n_files, packed.left_out) == (2, {})
    assert unpacked(tmp_path / "snap.zip", tmp_path / "out")["abc/train.parquet"] == b"data"


def test_a_link_to_a_folder_outside_becomes_that_folder(hub, tmp_path):
    (hub / "test").symlink_to("../../blobs/folder")
    (hub / "deep" / "again").symlink_to("../../../blobs/folder")
    pack(hub, tmp_path / "snap.zip")
    found = unpacked(tmp_path / "snap.zip", tmp_path / "out")
    assert (found["abc/test/2"], found["abc/deep/again/2"]) == (b"more", b"more")


def test_a_link_that_stays_within_stays_a_link_however_it_is_spelled(hub, tmp_path):
    (hub / "deep" / "file").write_bytes(b"f")
    for name, target in (("a", "deep/file"), ("b", str(hub / "deep" / "file")), ("c", "../abc/deep/file")):
        (hub / name).symlink_to(target)
    pack(hub, tmp_path / "snap.zip")
    found = unpacked(tmp_path / "snap.zip", tmp_path / "out")
    assert [found[f"abc/{name}"] for name in "abc"] == ["-> deep/file"] * 3


def test_links_that_lead_nowhere_or_in_a_circle_are_left_out_and_counted(hub, tmp_path):
    (hub / "gone").symlink_to("../../blobs/none")
    (hub / "self").symlink_to("self")
    (hub / "out").symlink_to("../../blobs")
    (hub.parents[1] / "blobs" / "back").symlink_to(".")
    packed = pack(hub, tmp_path / "snap.zip")
    assert packed.left_out == {"links that lead nowhere": 2, "links that lead in a circle": 1}
    found = unpacked(tmp_path / "snap.zip", tmp_path / "out")
    assert {"abc/gone", "abc/self", "abc/out/back"}.isdisjoint(found)
    assert found["abc/out/folder/2"] == b"more"


# --- what else people have ---


def test_empty_folders_are_kept(photos, tmp_path):
    (photos / "empty" / "deep").mkdir(parents=True)
    pack(photos, tmp_path / "photos.zip")
    assert unpacked(tmp_path / "photos.zip", tmp_path / "out")["photos/empty/deep"] is None


def test_names_that_are_not_utf8_are_packed_as_they_are(tmp_path):
    folder = tmp_path / "lat"
    folder.mkdir()
    for name in (b"caf\xe9.txt", "\u732b.txt".encode()):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    pack(folder, tmp_path / "lat.zip")
    with FileReader(tmp_path / "lat.zip") as reader:
        found = {member.name for member in archives.list_members(reader, encoding="latin-1")}
    assert found == {"lat/caf\u00e9.txt", "lat/\u732b.txt"}


def test_modes_and_times_are_kept(photos, tmp_path):
    script = photos / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    os.utime(script, (1_600_000_000, 1_600_000_000))
    os.utime(photos / "names.txt", (0, 0))
    pack(photos, tmp_path / "photos.zip")
    unpacked(tmp_path / "photos.zip", tmp_path / "out")
    status = (tmp_path / "out/photos/run.sh").stat()
    assert status.st_mode & 0o777 == 0o755
    assert status.st_mtime == 1_600_000_000


@pytest.mark.parametrize(("time", "year"), [(1e17, 2106), (-1e17, 1980), (0.0, 1980), (1.6e9, 2020)])
def test_a_time_that_is_in_no_calendar_ends_no_packing(time, year):
    assert (packing._Head(b"a", 0o644, time).when[1] >> 9) + 1980 == year


def test_a_file_that_grows_past_what_its_header_can_say_is_an_error(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SMALL_BYTES", 100)
    monkeypatch.setattr(packing, "_MAX32", 40_000)
    with pytest.raises(StorageError, match="grew"):
        pack(photos, tmp_path / "photos.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize(("before", "n"), [(0, 66_000), (5 << 30, 3)])
def test_more_than_4_gb_and_more_than_65535_members_are_read_by_others(before, n, photos, tmp_path):
    with open(tmp_path / "x.zip", "wb") as out:
        out.seek(before)
        writer = packing._ZipWriter(out, SILENT)
        writer._at = before
        writer._large(packing._Head(b"big.csv", 0o100644, 0), os.fsencode(photos / "big.csv"), False, True)
        for nth in range(n):
            writer._whole(packing._Head(b"%d" % nth, 0o100644, 0), b"%d" % nth, True)
        writer.finish()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.namelist()) == n + 1
        assert archive.read("big.csv") == (photos / "big.csv").read_bytes()
        assert archive.read(str(n - 1)) == str(n - 1).encode()
    with FileReader(tmp_path / "x.zip") as reader:
        assert len(archives.list_members(reader, format="zip")) == n + 1


@pytest.mark.parametrize("tool", [["unzip", "-tqq"], ["7z", "t", "-bd"], ["bsdtar", "-tf"]])
def test_other_tools_read_it(photos, tmp_path, monkeypatch, tool):
    if not shutil.which(tool[0]):
        pytest.skip(f"{tool[0]} is not installed")
    monkeypatch.setattr(packing, "SMALL_BYTES", 1000)
    (photos / "noise.zip").write_bytes(os.urandom(30_000))
    pack(photos, tmp_path / "photos.zip")
    subprocess.run([*tool, tmp_path / "photos.zip"], check=True, capture_output=True)


def test_a_file_takes_little_memory_until_the_directory_is_written(tmp_path):
    writer = packing._ZipWriter(io.BytesIO(), SILENT)
    status = tmp_path.stat()
    for nth in range(1000):
        item = packing._Item(b"%06d.jpg" % nth, b"x", status=status, data=b"1")
        writer.add(item, b"photos/class/%06d.jpg" % nth)
    assert len(writer._directory) < 100 * 1000
