"""Files of a mount that is slow, fails and returns: the right bytes, or an error that names the errno."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time
from dataclasses import replace

import pytest

from datastage.errors import IntegrityError, StorageError, UnavailableError
from datastage.reader import FileReader
from datastage.transfer import copy_tree, fetch
from datastage.transfer.tree_copy import READERS_FAR
from tests.faulty_mount import faulty_mount

__all__ = ["faulty_mount"]

BODY = random.Random(2).randbytes(4_000_001)
PASSING = [errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.ESTALE]


@pytest.fixture
def mount(faulty_mount):
    (faulty_mount.folder / "data.zip").write_bytes(BODY)
    return faulty_mount


def get(mount, to, limits, **options):
    with FileReader(mount.path / "data.zip") as reader:
        return fetch(reader, to, limits=limits, **options)


def test_a_file_comes_whole_and_hashed(mount, tmp_path, quick):
    done = get(mount, tmp_path / "to", quick)
    same = (tmp_path / "to").read_bytes() == BODY
    assert same
    assert done.digests == {"sha256": hashlib.sha256(BODY).hexdigest()}


@pytest.mark.parametrize("code", PASSING, ids=errno.errorcode.get)
def test_reads_that_fail_are_tried_again(code, mount, tmp_path, quick):
    mount.faults(fail=code, chance=0.3, times=12)
    get(mount, tmp_path / "to", replace(quick, tries=8))
    same = (tmp_path / "to").read_bytes() == BODY
    assert same


@pytest.mark.parametrize("code", PASSING, ids=errno.errorcode.get)
def test_reads_that_always_fail_end_in_an_error_that_names_it(code, mount, tmp_path, quick):
    mount.faults(fail=code)
    with pytest.raises(StorageError, match=rf"errno {code}, ") as caught:
        get(mount, tmp_path / "to", quick)
    assert caught.value.errno == code
    assert caught.value.exit_code == 5
    assert not (tmp_path / "to").exists()


def test_each_errno_is_told_in_its_own_words(mount, tmp_path, quick):
    texts = set()
    for code in PASSING:
        mount.faults(fail=code)
        with pytest.raises(StorageError) as caught:
            get(mount, tmp_path / "to", replace(quick, tries=2))
        texts.add(str(caught.value).partition("(errno")[0].partition("its place")[2].partition(" at byte")[0])
    assert len(texts) == len(PASSING)


def test_a_mount_that_vanishes_and_returns_costs_a_wait(mount, tmp_path, quick, at_first):
    def vanish():
        mount.faults(dead=errno.ENOTCONN)
        threading.Timer(0.6, mount.faults).start()

    mount.faults(rate=2_000_000)
    get(mount, tmp_path / "to", replace(quick, tries=20, longest_wait_s=0.3), reporter=at_first(vanish))
    same = (tmp_path / "to").read_bytes() == BODY
    assert same


def test_a_mount_that_vanishes_for_good_leaves_what_came(mount, tmp_path, quick, at_first):
    mount.faults(rate=500_000)
    gone = at_first(lambda: mount.faults(dead=errno.ENOTCONN))
    with pytest.raises(StorageError, match="has lost its connection: the mount is dead") as caught:
        get(mount, tmp_path / "to", replace(quick, stall_s=5), reporter=gone)
    assert "force_remount" in str(caught.value)
    mount.faults()
    done = get(mount, tmp_path / "to", quick)
    assert done.n_received < len(BODY)
    same = (tmp_path / "to").read_bytes() == BODY
    assert same


def test_reads_that_never_return_end_in_an_error_within_the_limit(mount, tmp_path, quick):
    # The kernel holds the pages of a read that hangs: asking again hangs as well, whoever asks.
    mount.faults(stuck=2)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="stalled: no byte for 1 second,"):
        get(mount, tmp_path / "to", quick)
    assert time.monotonic() - began < 20
    mount.close()


def test_a_file_that_is_replaced_meanwhile_is_not_mixed(mount, tmp_path, quick, at_first):
    mount.faults(rate=300_000)

    def replace_it():
        (mount.folder / "new").write_bytes(BODY[::-1])
        os.replace(mount.folder / "new", mount.folder / "data.zip")
        mount.faults(fail=errno.ESTALE, chance=0.5, times=20)

    with pytest.raises(IntegrityError, match="changed"):
        get(mount, tmp_path / "to", replace(quick, tries=30, stall_s=5), reporter=at_first(replace_it))
    assert sorted(os.listdir(tmp_path)) == ["behind", "mount"]


def test_readers_in_parallel_take_less_time_than_one(mount, tmp_path, quick):
    mount.faults(rate=4_000_000)

    def seconds(connections):
        began = time.monotonic()
        get(mount, tmp_path / str(connections), quick, connections=connections)
        return time.monotonic() - began

    assert seconds(8) < 0.8 * seconds(1)


def test_a_folder_is_copied_through_faults(mount, tmp_path, quick):
    (mount.folder / "sub").mkdir()
    for number in range(30):
        (mount.folder / "sub" / f"{number}.txt").write_bytes(bytes([number]) * 1000)
    mount.faults(fail=errno.EIO, chance=0.3, times=10)
    (tmp_path / "to").mkdir()
    copied = copy_tree(mount.path, tmp_path / "to", limits=replace(quick, tries=10))
    assert len(copied.files) == 31
    assert (tmp_path / "to/sub/7.txt").read_bytes() == bytes([7]) * 1000


def test_many_small_files_take_a_fraction_with_many_readers(mount, tmp_path, monkeypatch):
    (mount.folder / "data.zip").unlink()
    for number in range(60):
        (mount.folder / f"{number}.txt").write_bytes(b"x")
    mount.faults(delay=0.02)

    def seconds(readers):
        monkeypatch.setattr("datastage.transfer.tree_copy.READERS_FAR", readers)
        (tmp_path / str(readers)).mkdir()
        began = time.monotonic()
        copy_tree(mount.path, tmp_path / str(readers))
        return time.monotonic() - began

    assert seconds(READERS_FAR) < 0.7 * seconds(1)


def test_a_dead_mount_is_named_when_a_folder_is_copied(mount, tmp_path, quick):
    mount.faults(dead=errno.ENOTCONN)
    (tmp_path / "to").mkdir()
    with pytest.raises(StorageError, match="the mount is dead"):
        copy_tree(mount.path, tmp_path / "to", limits=quick)
