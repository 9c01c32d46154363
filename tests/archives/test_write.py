from __future__ import annotations

import errno
import os
import stat

import pytest

from datastage.archives import write
from datastage.archives.errors import Fault
from datastage.archives.write import Folder, write_all

DATA = bytes(range(256)) * 5


@pytest.fixture
def short_writes(monkeypatch):
    """A disk that takes 100 bytes at a time, as a full one or a signal may have it."""
    plain = os.write

    def short(fd: int, data) -> int:
        return plain(fd, memoryview(data)[:100])

    monkeypatch.setattr(os, "write", short)
    monkeypatch.setattr(write, "_os_write", short)


def test_what_a_short_write_left_follows_from_where_it_ended(short_writes, tmp_path):
    with Folder(str(tmp_path)) as folder:
        folder.write_file("d/a", DATA)
        folder.write_file("d/b", memoryview(DATA)[3:])
        fd = folder.create("c")
        write_all(fd, DATA)
        os.close(fd)
    assert (tmp_path / "d/a").read_bytes() == (tmp_path / "c").read_bytes() == DATA
    assert (tmp_path / "d/b").read_bytes() == DATA[3:]


def test_no_file_is_written_over_another_nor_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(b"kept")
    (tmp_path / "root/link").symlink_to("../outside")
    (tmp_path / "root/to").symlink_to("../outside/new")
    with Folder(str(tmp_path / "root")) as folder:
        for path, rule in (("file", "D-SAME"), ("to", "D-SAME"), ("link/x", "D-KIND"), ("file/x", "D-KIND")):
            for make in (folder.create, lambda path: folder.write_file(path, b"x")):
                with pytest.raises(Fault) as caught:
                    make(path)
                assert caught.value.rule == rule
        with pytest.raises(Fault):
            folder.make_folder("link/x")
        with pytest.raises(Fault):
            folder.link("file", "x")
    assert (tmp_path / "root/file").read_bytes() == b"kept"
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.skipif(not write.BY_DESCRIPTOR, reason="this system opens nothing below a descriptor")
def test_a_link_that_takes_the_place_of_a_folder_in_use_is_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    with Folder(str(tmp_path / "root")) as folder:
        os.close(folder.create("d/a"))
        (tmp_path / "root/d").rename(tmp_path / "root/moved")
        (tmp_path / "root/d").symlink_to("../outside")
        os.close(folder.create("d/b"))
    assert os.listdir(tmp_path / "outside") == []
    assert sorted(os.listdir(tmp_path / "root/moved")) == ["a", "b"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc counts the descriptors")
def test_no_descriptor_stays_open(tmp_path):
    before = open_descriptors()
    with Folder(str(tmp_path)) as folder:
        folder.write_file("d/e/a", DATA)
        assert open_descriptors() > before
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(("mode", "bits"), [(None, 0o644), (0o000, 0o600), (0o6755, 0o755), (0o444, 0o644)])
def test_the_owner_may_read_and_write_and_nothing_is_setuid(mode, bits, tmp_path):
    old = os.umask(0o022)
    try:
        with Folder(str(tmp_path)) as folder:
            folder.write_file("a", b"1", mode)
            os.close(folder.create("b", mode))
    finally:
        os.umask(old)
    assert [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in "ab"] == [bits, bits]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP])
def test_a_hard_link_is_a_copy_where_the_disk_knows_none_or_no_more(code, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(code, os.strerror(code))

    with Folder(str(tmp_path)) as folder:
        folder.write_file("d/a", DATA, 0o755, 1_600_000_000 * 10**9)
        folder.hard_link("e/b", "d/a")
        monkeypatch.setattr(os, "link", refuse)
        folder.hard_link("e/c", "d/a")
    assert os.path.samefile(tmp_path / "d/a", tmp_path / "e/b")
    assert not os.path.samefile(tmp_path / "d/a", tmp_path / "e/c")
    assert (tmp_path / "e/c").read_bytes() == DATA
    copy, first = os.stat(tmp_path / "e/c"), os.stat(tmp_path / "d/a")
    assert (copy.st_mode, copy.st_mtime_ns) == (first.st_mode, first.st_mtime_ns)


@pytest.mark.parametrize("code", [errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ])
def test_a_name_that_the_disk_cannot_hold_is_named(code, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(code, os.strerror(code))

    with Folder(str(tmp_path)) as folder:
        folder.make_folder("d")
        monkeypatch.setattr(write, "_os_open", refuse)
        with pytest.raises(Fault, match="cannot hold") as caught:
            folder.write_file("d/a", DATA)
    assert (caught.value.rule, caught.value.name) == ("N-LONG", "d/a")


def test_more_folders_than_may_be_open_are_entered_again(tmp_path):
    with Folder(str(tmp_path)) as folder:
        for turn in range(2):
            for nth in range(write.MAX_OPEN + 20):
                folder.write_file(f"{nth}/deep/er/{turn}", b"x")
        assert len(folder._open) <= write.MAX_OPEN
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == 2 * (write.MAX_OPEN + 20)


def test_emptying_takes_all_and_follows_no_link(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_bytes(b"1")
    root = tmp_path / "root"
    (root / "d/closed").mkdir(parents=True)
    (root / "d/closed/f").write_bytes(b"2")
    (root / "l").symlink_to("../outside")
    (root / "d/l").symlink_to("../../outside/kept")
    os.chmod(root / "d/closed", 0o500)
    write.empty(str(root))
    assert os.listdir(root) == []
    assert os.listdir(tmp_path / "outside") == ["kept"]


def test_where_nothing_is_opened_below_a_descriptor_no_descriptor_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "BY_DESCRIPTOR", False)
    closed = []
    with Folder(str(tmp_path)) as folder:
        os.close(folder.create("d/a"))
        monkeypatch.setattr(write.os, "close", closed.append)
    assert (tmp_path / "d/a").is_file()
    assert closed == []
