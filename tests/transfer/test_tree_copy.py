"""A folder is copied whole; what is left out is counted; links lead where they led."""

from __future__ import annotations

import errno
import os
import zlib

import pytest

from datastage import mounts
from datastage.errors import StorageError
from datastage.progress import Silent
from datastage.transfer import copy_tree
from datastage.transfer.retry import Limits


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "from"
    (folder / "cats").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "cats" / "1.png").write_bytes(b"one")
    (folder / "cats" / "2.png").write_bytes(b"two!")
    (folder / "read me.txt").write_text("hello")
    return folder


@pytest.fixture
def to(tmp_path):
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


def shown(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_private_folder_within_an_open_one_stays_private(source, to):
    (source / "cats").chmod(0o700)
    copy_tree(source, to)
    assert (to / "cats").stat().st_mode & 0o077 == 0


def test_every_file_and_folder_is_there_with_its_checksum(source, to):
    copied = copy_tree(source, to)
    assert shown(to) == shown(source)
    assert [(file.path, file.size, file.crc32) for file in copied.files] == [
        ("cats/1.png", 3, zlib.crc32(b"one")),
        ("cats/2.png", 4, zlib.crc32(b"two!")),
        ("read me.txt", 5, zlib.crc32(b"hello")),
    ]


def test_times_and_the_right_to_run_are_kept(source, to):
    os.utime(source / "read me.txt", (1_000_000_000, 1_000_000_000))
    (source / "cats/1.png").chmod(0o755)
    copy_tree(source, to)
    assert (to / "read me.txt").stat().st_mtime == 1_000_000_000
    assert os.access(to / "cats/1.png", os.X_OK)
    assert not (to / "cats/2.png").stat().st_mode & 0o111


def test_junk_is_left_out_and_counted(source, to):
    for name in (".DS_Store", "cats/.DS_Store", "cats/._1.png", "Thumbs.db", "notes.gdoc"):
        (source / name).write_bytes(b"x")
    (source / "__MACOSX" / "cats").mkdir(parents=True)
    copied = copy_tree(source, to)
    assert len(copied.files) == 3
    assert dict(copied.left_out) == {
        ".DS_Store": 2,
        "._*": 1,
        "__MACOSX": 1,
        "Thumbs.db": 1,
        "Google documents, which are no files": 1,
    }


def test_a_link_within_the_folder_stays_a_link(source, to):
    os.symlink("1.png", source / "cats" / "same.png")
    os.symlink(source / "cats", source / "absolute")
    copied = copy_tree(source, to)
    assert os.readlink(to / "cats/same.png") == "1.png"
    assert (to / "absolute/2.png").read_bytes() == b"two!"
    assert not os.path.isabs(os.readlink(to / "absolute"))
    assert {file.path: file.target for file in copied.files if file.target} == {
        "cats/same.png": "1.png",
        "absolute": "cats",
    }


def test_a_link_out_of_the_folder_becomes_what_it_leads_to(source, to, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(b"far")
    os.symlink(tmp_path / "other", source / "shortcut")
    os.symlink(tmp_path / "other" / "x", source / "file")
    copy_tree(source, to)
    assert (to / "shortcut" / "x").read_bytes() == b"far"
    assert not (to / "file").is_symlink()
    assert (to / "file").read_bytes() == b"far"


def test_links_that_lead_nowhere_or_in_a_circle_are_left_out_and_counted(source, to, tmp_path):
    (tmp_path / "other").mkdir()
    os.symlink(tmp_path / "other", tmp_path / "other" / "again")
    os.symlink(tmp_path / "other", source / "out")
    os.symlink("nowhere", source / "broken")
    os.symlink(tmp_path / "gone", source / "also broken")
    copied = copy_tree(source, to)
    assert copied.left_out["links that lead nowhere"] == 2
    assert copied.left_out["links that lead in a circle"] == 1
    assert len(copied.files) == 3


def test_pipes_are_left_out_and_counted(source, to):
    os.mkfifo(source / "pipe")
    assert copy_tree(source, to).left_out == {"devices, pipes and sockets": 1}


def test_an_empty_folder_gives_no_files(tmp_path, to):
    (tmp_path / "nothing").mkdir()
    assert copy_tree(tmp_path / "nothing", to).files == ()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path, to):
    with pytest.raises(StorageError):
        copy_tree(tmp_path / "nothing", to, limits=Limits(tries=1))


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="left out: root may read everything")
def test_a_file_one_may_not_read_is_named(source, to):
    (source / "cats/1.png").chmod(0)
    with pytest.raises(StorageError, match="1.png.*denied|denied.*1.png"):
        copy_tree(source, to)


@pytest.mark.parametrize(
    ("environ", "spec", "line"),
    [
        ({}, None, "datastage zip {source} from.zip"),
        ({}, "drive:my photos", "datastage zip 'drive:my photos' 'drive:my photos.zip'"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "drive:x", "!datastage zip drive:x drive:x.zip"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, None, "!datastage zip {source} from.zip"),
    ],
)
def test_many_files_of_a_slow_place_bring_the_advice_to_zip_them(source, to, monkeypatch, environ, spec, line):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    notes = []

    class Notes(Silent):
        def note(self, text, label=""):
            notes.append(f"{label:<10}{text}" if label else text)

    monkeypatch.setattr(mounts, "is_network_disk", lambda path: True)
    monkeypatch.setattr("datastage.transfer.tree_copy.MANY", 3)
    copy_tree(source, to, reporter=Notes(), spec=spec)
    assert len(notes) == 1
    assert "3 files" in notes[0]
    assert notes[0].endswith(f"faster: {line.format(source=source)}")


def test_the_reporter_is_told_of_every_byte(source, to):
    told = []

    class Counts(Silent):
        def advance(self, n_bytes):
            told.append(n_bytes)

    copy_tree(source, to, reporter=Counts())
    assert sum(told) == 12


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ENOTCONN, errno.EIO])
def test_what_fails_while_writing_is_not_told_of_the_source(source, to, monkeypatch, code):
    write = os.write

    def failing(fd, data):
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(to)):
            raise OSError(code, os.strerror(code))
        return write(fd, data)

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(StorageError, match="While writing the files") as caught:
        copy_tree(source, to)
    assert caught.value.errno == code
    assert "reading" not in str(caught.value)
