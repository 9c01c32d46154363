"""Files of a mount that says odd things: the right bytes, or an error that says what was odd."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from datastage.errors import DatastageError, IntegrityError, StorageError, UnavailableError
from datastage.runtime import current
from datastage.sources import drive
from datastage.sources.path import found_at
from datastage.spec import Spec
from datastage.transfer import copy_tree, fetch
from tests.faulty_mount import faulty_mount

__all__ = ["faulty_mount"]

BODY = random.Random(12).randbytes(2_000_001)


@pytest.fixture
def mount(faulty_mount):
    (faulty_mount.folder / "data.zip").write_bytes(BODY)
    return faulty_mount


@pytest.fixture
def folder(mount):
    (mount.folder / "sub").mkdir()
    for number in range(40):
        (mount.folder / "sub" / f"{number}.txt").write_bytes(bytes([number]) * 1000)
    return mount


def get(mount, to, limits, **options):
    path = mount.path / "data.zip"
    with found_at(path, Spec(str(path), "file", str(path)), current()).content as reader:
        return fetch(reader, to, limits=limits, **options)


def test_an_opening_that_never_comes_is_left_in_time(mount, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(drive.call_with_timeout, "__defaults__", (0.3,))
    mount.faults(first_open=3.0)
    with pytest.raises(StorageError, match="data.zip did not answer in time"):
        get(mount, tmp_path / "to", quick)


def files(folder):
    """Return path -> bytes of everything below, names as bytes."""
    top = os.fsencode(folder)
    paths = (os.path.join(where, name) for where, _, names in os.walk(top) for name in names)
    return {os.path.relpath(path, top): Path(os.fsdecode(path)).read_bytes() for path in paths}


COMES = {
    "short reads": {"short": 10_000, "direct": True},
    "EAGAIN": {"fail": errno.EAGAIN, "chance": 0.3, "times": 6},
    "EINTR": {"fail": errno.EINTR, "chance": 0.3, "times": 6},
    "EIO at the opening": {"fail": errno.EIO, "at": "open", "times": 2},
    "a first opening that takes longer than the stall limit": {"first_open": 1.5},
}


@pytest.mark.parametrize("fault", COMES)
def test_a_file_comes_whole(fault, mount, tmp_path, quick):
    mount.faults(**COMES[fault])
    get(mount, tmp_path / "to", replace(quick, tries=8))
    same = (tmp_path / "to").read_bytes() == BODY
    assert same


FAILS = {
    "one place that cannot be read": (
        {"fail": errno.EIO, "fail_from": 1_500_000},
        StorageError,
        r"input/output error at byte 1,[0-9,]+ \(errno 5",
    ),
    "fewer bytes than it says": (
        {"size": len(BODY) + 5000, "direct": True},
        IntegrityError,
        "cut short: 2,000,001 of 2",
    ),
    "a size that changes": ({"grows_after": 3}, IntegrityError, "changed at its place"),
    "a time that changes": ({"touched_after": 3}, IntegrityError, "changed at its place"),
    "EINTR for ever": ({"fail": errno.EINTR}, DatastageError, "stalled|errno 4|did not answer in time"),
    "EACCES": ({"fail": errno.EACCES}, StorageError, "permission was denied"),
    "ENODATA": ({"fail": errno.ENODATA}, StorageError, "no data available"),
}


@pytest.mark.parametrize("fault", FAILS)
def test_what_cannot_come_is_named_in_time_and_leaves_no_file(fault, mount, tmp_path, quick, monkeypatch):
    faults, kind, text = FAILS[fault]
    monkeypatch.setattr(drive.call_with_timeout, "__defaults__", (2.0,))  # of a look at the file before it is read
    mount.faults(**faults)
    began = time.monotonic()
    with pytest.raises(kind, match=text) as caught:
        get(mount, tmp_path / "to", quick)
    assert time.monotonic() - began < 60
    assert caught.value.remedy
    assert not (tmp_path / "to").exists()


def test_a_file_of_no_size_that_holds_something_is_not_an_empty_file(mount, tmp_path, quick):
    mount.faults(size=0, direct=True)
    with pytest.raises(IntegrityError):
        get(mount, tmp_path / "to", quick)
    assert not (tmp_path / "to").exists()


def test_a_file_that_is_longer_than_it_says_is_not_cut_off(mount, tmp_path, quick):
    mount.faults(size=1_000_000, direct=True)
    with pytest.raises(IntegrityError):
        get(mount, tmp_path / "to", quick)
    assert not (tmp_path / "to").exists()


COPIED = {
    "a listing that breaks off twice": {"list_fails_after": 20, "times": 2},
    "short reads": {"short": 400, "direct": True},
    "EAGAIN": {"fail": errno.EAGAIN, "chance": 0.3, "times": 8},
    "EINTR": {"fail": errno.EINTR, "chance": 0.3, "times": 8},
    "ESTALE at openings": {"fail": errno.ESTALE, "at": "open", "chance": 0.3, "times": 8},
    "a first opening that takes long": {"first_open": 1.2},
}


@pytest.mark.parametrize("fault", COPIED)
def test_a_folder_comes_whole(fault, folder, tmp_path, quick):
    (folder.folder / "data.zip").write_bytes(BODY[:5000])
    (tmp_path / "to").mkdir()
    folder.faults(**COPIED[fault])
    copy_tree(folder.path, tmp_path / "to", limits=replace(quick, tries=10))
    assert files(tmp_path / "to") == files(folder.folder)


def test_names_that_are_no_text_are_kept_byte_for_byte(folder, tmp_path, quick):
    Path(os.fsdecode(os.fsencode(folder.folder) + b"/caf\xe9 \xff.txt")).write_bytes(b"x")
    (tmp_path / "to").mkdir()
    copied = copy_tree(folder.path, tmp_path / "to", limits=quick)
    assert files(tmp_path / "to")[b"caf\xe9 \xff.txt"] == b"x"
    assert os.fsdecode(b"caf\xe9 \xff.txt") in {file.path for file in copied.files}


TREE_FAILS = {
    "a listing that always breaks off": ({"list_fails_after": 20}, StorageError, "mount/sub.*input/output error"),
    "one place that cannot be read": (
        {"fail": errno.EIO, "fail_from": 1_500_000},
        StorageError,
        "data.zip.*input/output error at byte 1,",
    ),
    "a folder that grows while it is copied": ({"grows_after": 30}, IntegrityError, "cut short: 1,000 of 1,"),
    "files that say they are empty": ({"size": 0, "direct": True}, IntegrityError, "of 0 bytes"),
}


@pytest.mark.parametrize("fault", TREE_FAILS)
def test_a_folder_that_cannot_come_whole_is_an_error(fault, folder, tmp_path, quick):
    faults, kind, text = TREE_FAILS[fault]
    (tmp_path / "to").mkdir()
    folder.faults(**faults)
    with pytest.raises(kind, match=text):
        copy_tree(folder.path, tmp_path / "to", limits=quick)


def test_a_mount_that_vanishes_and_returns_while_a_folder_is_copied_costs_a_wait(folder, tmp_path, quick, at_first):
    (tmp_path / "to").mkdir()

    def vanish():
        folder.faults(dead=errno.ENOTCONN)
        threading.Timer(0.5, folder.faults).start()

    folder.faults(delay=0.1)
    limits = replace(quick, tries=40, longest_wait_s=0.2)
    copy_tree(folder.path, tmp_path / "to", limits=limits, reporter=at_first(vanish))
    assert files(tmp_path / "to") == files(folder.folder)


def test_a_read_that_never_returns_ends_the_copying_of_a_folder(folder, tmp_path, quick):
    (tmp_path / "to").mkdir()
    folder.faults(stuck=1)
    errors = []

    def copy():
        try:
            copy_tree(folder.path, tmp_path / "to", limits=quick)
        except DatastageError as error:
            errors.append(error)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    thread.join(30)
    is_over = not thread.is_alive()
    folder.close()  # lets go of the reader that is stuck
    assert is_over, "the copying waits for a read that never returns"
    assert isinstance(errors[0], UnavailableError | StorageError)
    assert "stalled" in str(errors[0])
