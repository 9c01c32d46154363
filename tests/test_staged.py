"""What was staged: its path, its receipt, and its list of files."""

import json
import os

import pytest

from datastage.errors import IntegrityError
from datastage.layouts.tree import stamp_of
from datastage.reader import FileRecord
from datastage.staged import (
    FILES,
    RECEIPT,
    Staged,
    counts,
    keep_reading,
    leads_to,
    list_folder,
    looks_whole,
    read_files,
    receipt_of,
    verify_folder,
    write_receipt,
)

RECORDS = [
    FileRecord("a b/ä.txt", 3, 0x00000010),
    FileRecord("deep/er/z.bin", 2**33, 0xFFFFFFFF),
    FileRecord("link", 0, 0, "a b/ä.txt"),
    FileRecord('line\nbreak"quote\\', 0, 0),
    FileRecord("top\udcff", 1, 0xDEADBEEF),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def receipt_for(folder, **facts):
    return {"schema": 1, "key": "k", "name": folder.name, "spec": "x", "at": str(folder), **facts}


def test_the_list_of_files_is_read_as_it_was_written(folder):
    receipt = write_receipt(folder, receipt_for(folder), RECORDS)
    assert sorted(read_files(folder, receipt)) == sorted(RECORDS)


@pytest.mark.parametrize("names", ["bac", "acb", "cba", "abc"])
def test_the_list_is_in_the_order_of_the_paths_whatever_order_they_came_in(names, folder):
    receipt = write_receipt(folder, receipt_for(folder), [FileRecord(name, 1, 0) for name in names])
    assert [file.path for file in read_files(folder, receipt)] == ["a", "b", "c"]


@pytest.mark.parametrize("n", [1, 4, 5, 6])
def test_few_files_are_named_and_many_are_counted(n):
    names = [f"{i}.csv" for i in range(n)]
    inside = counts([FileRecord(name, 1, 0) for name in reversed(names)])["inside"]
    assert (inside["n"], inside["names"]) == (n, names if n <= 5 else [])


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\n", lambda data: b""])
def test_a_list_that_is_not_the_receipts_is_damage(folder, change):
    receipt = write_receipt(folder, receipt_for(folder), RECORDS)
    (folder / FILES).write_bytes(change((folder / FILES).read_bytes()))
    with pytest.raises(IntegrityError):
        read_files(folder, receipt)


def test_two_of_one_path_are_equal_and_a_path_as_such_is_not(tmp_path):
    one, same = Staged(tmp_path / "a", {"n": 1}), Staged(tmp_path / "a", {"n": 2})
    assert one == same
    assert hash(one) == hash(same)
    assert one != Staged(tmp_path / "b", {"n": 1})
    assert one != tmp_path / "a"
    assert len({one, same}) == 1
    assert os.fspath(one) == str(tmp_path / "a")
    assert (one / "x", one + "/x") == (tmp_path / "a" / "x", str(tmp_path / "a") + "/x")


def test_what_differs_from_the_list_is_named_by_its_kind(folder):
    (folder / "same.txt").write_bytes(b"same")
    (folder / "other.txt").write_bytes(b"some")
    (folder / "gone.txt").write_bytes(b"gone")
    os.symlink("same.txt", folder / "link")
    os.symlink("same.txt", folder / "turned")
    files = list_folder(folder)
    assert FileRecord("link", 0, 0, "same.txt") in files
    assert verify_folder(folder, files).ok
    (folder / "other.txt").write_bytes(b"SOME")
    (folder / "gone.txt").unlink()
    (folder / "new.txt").write_bytes(b"")
    (folder / "turned").unlink()
    os.symlink("other.txt", folder / "turned")
    found = verify_folder(folder, files)
    assert (found.damaged, found.missing, found.extra) == (("other.txt", "turned"), ("gone.txt",), ("new.txt",))
    assert not found.ok
    (folder / "other.txt").write_bytes(b"some, and more")
    assert verify_folder(folder, files).damaged == ("other.txt", "turned")


ODD = [
    *({"schema": 2}, {"key": 1}, {"name": 3}, {"n_files": -1}, {"n_bytes": "1"}, {"single": ".."}, {"single": "a/b"}),
    *({"single": FILES}, {"inside": []}, {"inside": {"names": "x"}}, {"fallbacks": [1]}, {"fallbacks": "x"}),
    *({"left_out": [1]}, {"left_out": {"a": "b"}}, {"at": "/elsewhere"}),
    *({"asked": []}, {"asked": {"encoding": 1}}, {"asked": {"members": "x"}}, {"asked": {"members": [1]}}),
    *({"hashes": ["x"]}, {"places": "x"}),
]


def test_a_receipt_of_another_form_is_none(folder):
    written = write_receipt(folder, receipt_for(folder), [])
    assert receipt_of(folder) == written
    for text in ("", "[]", "{}", "\x00", *(json.dumps(written | facts) for facts in ODD)):
        (folder / RECEIPT).write_text(text)
        assert receipt_of(folder) is None, text
    fine = written | {
        "single": "a.csv",
        "n_files": 0,
        "fallbacks": ["x"],
        "left_out": {"a": 1},
        "inside": {"names": []},
    }
    (folder / RECEIPT).write_text(json.dumps(fine))
    assert receipt_of(folder) == fine


def test_parts_that_are_to_be_predicted_are_no_splits(folder):
    kept = {"splits": {"train": 3, "test": 1, "predict": 2}, "classes": ["a", "b"], "stamp": stamp_of(folder)}
    staged = Staged(folder, {"reading": kept})
    assert staged.splits == ("train", "test")
    assert staged.classes == ("a", "b")


@pytest.mark.parametrize("now", ["before", "0" * 64, "f" * 64])
def test_a_reading_is_kept_with_the_data_that_was_read_and_with_no_other(now, folder):
    receipt = write_receipt(folder, receipt_for(folder), [])
    if now != "before":
        (folder / RECEIPT).write_text(json.dumps(receipt | {"files_sha256": now}))
    keep_reading(folder, receipt, {"classes": ["a"]})
    assert ("reading" in receipt_of(folder)) == (now == "before")


@pytest.mark.parametrize(
    ("path", "leads"), [("{folder}", True), ("{folder}/", True), ("{folder}/a", False), ("{folder}b", False)]
)
def test_a_path_leads_to_a_folder_or_does_not(folder, path, leads):
    (folder / "a").mkdir()
    assert leads_to(path.format(folder=folder), folder) is leads


def test_a_file_in_place_of_a_link_is_seen_at_a_glance_and_a_link_in_place_of_a_file_too(folder):
    (folder / "file").write_bytes(b"file")
    (folder / "link").symlink_to("file")
    receipt = write_receipt(folder, receipt_for(folder), list_folder(folder))
    assert looks_whole(folder, receipt)
    (folder / "link").unlink()
    (folder / "link").write_bytes(b"")
    assert not looks_whole(folder, receipt)
    (folder / "link").unlink()
    (folder / "link").symlink_to("file")
    assert looks_whole(folder, receipt)
    (folder / "file").unlink()
    (folder / "file").symlink_to("link")  # four letters, as the file had bytes
    assert not looks_whole(folder, receipt)


@pytest.mark.parametrize("n", [999, 1_000, 1_001, 3_000])
def test_of_very_many_folders_the_first_and_the_last_are_named(n):
    names = counts([FileRecord(f"c{i:05}/x.jpg", 1, 0) for i in range(n)])["inside"]["names"]
    assert len(names) == min(n, 1_000)
    assert (names[0], names[-1]) == ("c00000", f"c{n - 1:05}")


@pytest.mark.parametrize(
    ("folders", "n", "names"),
    [(("train/cat", "val/cat"), 1, ["cat"]), (("a/x", "b/x"), 2, []), (("train", "a"), 2, ["a", "train"])],
)
def test_folders_of_pictures_are_classes_below_splits_alone(folders, n, names):
    inside = counts([FileRecord(f"{folder}/1.png", 1, 0) for folder in folders])["inside"]
    assert (inside["folders"], inside["names"]) == (n, names)
