from __future__ import annotations

import struct

import pytest

from datastage.archives import zip_directory, zip_plan
from datastage.archives.records import Unpacked
from datastage.archives.safety import Tree
from datastage.reader import BytesReader

from .made import tree, unpacked, zip_of
from .raw import extra, outcome, zip_entry, zip_raw

JUNK = {
    "__MACOSX/x": "__MACOSX",
    "d/__MACOSX/x": "__MACOSX",
    "__macosx/d/x": "__MACOSX",
    ".DS_Store": ".DS_Store",
    "d/.ds_store": ".DS_Store",
    "Thumbs.db": "Thumbs.db",
    "d/THUMBS.DB": "Thumbs.db",
    "desktop.ini": "desktop.ini",
    "d/Desktop.ini": "desktop.ini",
    "d/._x": "._*",
}
DATA = ["xThumbs.db", "desktop.ini2", "desktop.ini/x", "my__MACOSX/x", "__MACOSXs/x", "._", "DS_Store", "d/x.db"]


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_left_out_and_counted_by_its_kind(name, tmp_path):
    result = unpacked(zip_of({name: b"junk", "kept": b"1"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"kept": b"1"}
    assert result.left_out == {JUNK[name]: 1}


def test_an_empty_folder_of_junk_is_no_file_that_was_left_out(tmp_path):
    assert unpacked(zip_of({"__MACOSX/": b"", "kept": b"1"}), tmp_path / "to").left_out == {}


def test_what_is_only_like_junk_is_data(tmp_path):
    result = unpacked(zip_of({name: b"1" for name in DATA}), tmp_path / "to")
    assert sorted(file.path for file in result.files) == sorted(DATA)
    assert result.left_out == {}


def test_an_odd_name_does_not_make_the_plan_slow():
    # A pattern that went back and forth would take ages here.
    assert zip_plan._is_plain(b"a" * 40_000 + b"!") is None
    assert zip_plan._is_plain(b"a/" * 20_000 + b"!") is None


def test_only_what_is_picked_is_written(tmp_path):
    data = zip_of({"a/1.txt": b"1", "a/2.jpg": b"2", "b/3.jpg": b"3"})
    unpacked(data, tmp_path / "jpg", members=["*.jpg"])
    assert tree(tmp_path / "jpg") == {"a": None, "a/2.jpg": b"2", "b": None, "b/3.jpg": b"3"}
    unpacked(data, tmp_path / "a", members=["a"])
    assert tree(tmp_path / "a") == {"a": None, "a/1.txt": b"1", "a/2.jpg": b"2"}


@pytest.mark.parametrize(
    ("entry", "is_refused"),
    [
        (zip_entry("d/", b"lost"), True),
        (zip_entry("d/", b"lost", 8), True),
        (zip_entry("d/", b"", 8), False),
        # An honest size and no bytes: the twelve that a locked member begins with, and what deflate makes of nothing.
        (zip_entry("d/", payload=bytes(12), flags=1), False),
        (zip_entry("d/", payload=b"lost"), True),
    ],
)
def test_a_folder_that_holds_bytes_is_refused(entry, is_refused, tmp_path):
    wanted = "Z-FOLDER" if is_refused else {"a": b"1"}
    assert outcome(zip_raw(zip_entry("a", b"1"), entry), tmp_path / "x") == wanted


def test_a_length_that_zip64_holds_is_taken_from_there_also_in_an_archive_of_over_4_gb(tmp_path):
    """The length in its place, 2^32 - 1, would run over the next member."""
    large = zip_entry("a", b"1", central={"csize": 0xFFFFFFFF, "extra": extra(1, struct.pack("<Q", 1))})
    at = zip_raw(large, zip_entry("b", b"2")).index(b"PK\1\2")
    data = zip_raw(large, zip_entry("b", b"2"), end64={"at": at + (5 << 30)})
    with open(tmp_path / "x.zip", "wb") as file:
        file.write(data[:at])
        file.seek(5 << 30, 1)
        file.write(data[at:])
    unpacked(tmp_path / "x.zip", tmp_path / "to")
    assert tree(tmp_path / "to") == {"a": b"1", "b": b"2"}


def test_plain_files_are_judged_at_a_glance(monkeypatch):
    monkeypatch.setattr(zip_plan, "ZipEntry", None)  # the slow way needs it
    directory = zip_directory.find_directory(BytesReader(zip_of({"a": b"1", "d/b": b"2"})))
    assert zip_plan.Plan(directory, Unpacked(Tree())).paths == ["a", "d/b"]
