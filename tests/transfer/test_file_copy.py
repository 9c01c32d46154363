"""A file of a local disk is copied plainly, hashed on the way where asked, and appears when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import zlib

import pytest

from datastage.errors import IntegrityError, NoSpaceError, StorageError
from datastage.progress import Silent
from datastage.transfer.prefetch import copy_file

BODY = random.Random(9).randbytes(5_000_000)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "from").write_bytes(BODY)
    return tmp_path / "from"


@pytest.mark.parametrize("algorithms", [(), ("md5",), ("md5", "sha256")])
def test_the_bytes_are_the_same(algorithms, source, tmp_path):
    done = copy_file(source, tmp_path / "to", algorithms=algorithms)
    same = (tmp_path / "to").read_bytes() == BODY
    assert same
    assert (done.n_bytes, done.crc32) == (len(BODY), zlib.crc32(BODY))
    assert done.digests == {name: hashlib.new(name, BODY).hexdigest() for name in algorithms}


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="left out: there is no /proc here")
def test_a_file_that_is_made_as_it_is_read_is_copied(tmp_path):
    from pathlib import Path

    copy_file(Path("/proc/version"), tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == Path("/proc/version").read_bytes()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="left out: only root makes a full device")
def test_a_full_disk_is_no_space(source, tmp_path):
    try:
        os.mknod(tmp_path / "to.part", stat.S_IFCHR | 0o600, os.makedev(1, 7))  # as /dev/full
        (tmp_path / "to.part").open("wb").close()
    except OSError:
        pytest.skip("left out: devices are not allowed here")
    with pytest.raises(NoSpaceError, match="from needs 5 MB"):
        copy_file(source, tmp_path / "to")
    assert os.listdir(tmp_path) == ["from"]


def test_a_link_in_the_place_of_the_unfinished_file_is_never_written_through(source, tmp_path):
    (tmp_path / "precious").write_text("mine")
    os.symlink(tmp_path / "precious", tmp_path / "to.part")
    with pytest.raises(StorageError):
        copy_file(source, tmp_path / "to")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_that_is_written_meanwhile_is_an_error_and_leaves_nothing(source, tmp_path):
    class Writes(Silent):
        def advance(self, n_bytes):
            with open(source, "ab") as file:
                file.write(b"more")

    with pytest.raises(IntegrityError, match="changed while"):
        copy_file(source, tmp_path / "to", algorithms=["md5"], reporter=Writes())
    assert os.listdir(tmp_path) == ["from"]


def test_a_file_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError) as caught:
        copy_file(tmp_path / "nothing", tmp_path / "to")
    assert caught.value.errno == errno.ENOENT


def test_the_reporter_is_told_of_every_byte(source, tmp_path):
    told = []

    class Counts(Silent):
        def advance(self, n_bytes):
            told.append(n_bytes)

    copy_file(source, tmp_path / "to", reporter=Counts())
    assert sum(told) == len(BODY)
