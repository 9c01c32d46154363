from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import time
from types import SimpleNamespace

import pytest

from datastage import own_files


@pytest.fixture
def group_of(monkeypatch):
    """Let every group have this name and these members, and the user be called `me`."""

    def make(name, members):
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="me"))
        monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=members))

    return make


@pytest.mark.parametrize(
    ("name", "members", "shared"),
    [("me", [], False), ("me", ["me"], False), ("me", ["me", "you"], True), ("students", [], True)],
)
def test_a_group_that_is_the_users_alone_shares_nothing(tmp_path, group_of, name, members, shared):
    folder = tmp_path / "root"
    folder.mkdir()
    folder.chmod(0o775)
    group_of(name, members)
    assert own_files.is_shared(folder) is shared


def test_a_folder_that_the_group_may_only_read_is_not_shared(tmp_path, group_of):
    folder = tmp_path / "root"
    folder.mkdir()
    folder.chmod(0o755)
    group_of("students", ["you"])
    assert not own_files.is_shared(folder)


@pytest.mark.parametrize(
    ("owner", "mode", "far", "disk", "ours"),
    [
        ("me", 0o666, False, ("you", 0o755), True),
        ("you", 0o600, False, ("you", 0o777), False),  # on a disk of this machine the number is the truth
        ("you", 0o600, True, ("you", 0o755), True),  # a disk of another one shows another number, and only we may write
        ("you", 0o666, True, ("you", 0o777), True),  # all of the disk shows one owner, who lets all
        ("you", 0o666, True, ("root", 0o777), False),
        ("you", 0o666, True, ("you", 0o755), False),
    ],
)
def test_whose_a_file_is_follows_from_its_owner_its_mode_and_its_disk(
    tmp_path, monkeypatch, owner, mode, far, disk, ours
):
    users = {"root": 0, "me": 1000, "you": 1001}
    stat_of = os.stat

    def seen(path, *args, **options):
        is_top = os.fspath(path) == str(tmp_path)
        if is_top:
            return SimpleNamespace(st_uid=users[disk[0]], st_mode=0o040000 | disk[1])
        return stat_of(path, *args, **options)

    monkeypatch.setattr(os, "geteuid", lambda: users["me"])
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setattr(os, "stat", seen)
    monkeypatch.setattr(os.path, "ismount", lambda path: os.fspath(path) == str(tmp_path))
    monkeypatch.setattr(own_files, "is_network_disk", lambda path: far)
    file = SimpleNamespace(st_uid=users[owner], st_mode=0o100000 | mode)
    assert own_files.is_ours(tmp_path / "folder" / "file", file) is ours


def test_unfinished_files_are_taken_by_their_whole_name_and_age_alone(tmp_path):
    names = {
        ".data.zip.0123456789abcdef.part": True,
        ".data.zip.0123456789ABCDEF.part": False,
        ".data.zip.0123456789abcde.part": False,
        ".data.zip.0123456789abcdef0.part": False,
        ".data.zip.fedcba9876543210.other": False,
    }
    long_ago = time.time() - 10 * own_files._ABANDONED_S
    ending = own_files._ENDING
    for name in names:
        path = tmp_path / name.replace(".part", ending)
        path.write_bytes(b"x")
        os.utime(path, (long_ago, long_ago))
    fresh = tmp_path / f".data.zip.00000000000000ff{ending}"
    fresh.write_bytes(b"x")
    own_files.remove_abandoned(tmp_path / "data.zip")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {name.replace(".part", ending) for name, goes in names.items() if not goes} | {fresh.name}


@pytest.mark.parametrize(
    ("name", "age_s", "may"),
    [
        (f".a.{'0f' * 8}.partial", 0, True),
        (f".a.{'0f' * 8}.partial", 3500, True),
        (f".a.{'0f' * 8}.partial", 3700, False),
        (".a.partial", 0, False),
        ("a.mark", 0, False),
    ],
)
def test_a_file_may_be_being_written_by_its_name_and_for_an_hour(name, age_s, may, tmp_path):
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert own_files.may_be_written(tmp_path / name) is may
    assert not own_files.may_be_written(tmp_path / "gone")


def test_a_link_takes_its_own_bytes_and_not_those_of_where_it_leads(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "a").write_bytes(bytes(10_000))
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert own_files.bytes_in(tmp_path / "large") == 10_000
    assert own_files.bytes_in(tmp_path / "link") == (tmp_path / "link").lstat().st_size
    assert own_files.bytes_in(tmp_path / "large" / "a") == 10_000
    assert own_files.bytes_in(tmp_path / "gone") == 0


def test_a_file_that_is_in_place_is_no_error_where_its_first_name_stays(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "unlink", refuse)
    with own_files.atomic_file(tmp_path / "data.zip", replace=False) as out:
        out.write(b"whole")

    assert (tmp_path / "data.zip").read_bytes() == b"whole"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_moved_to_where_nothing_is_and_replaces_nothing(has_links, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "new").write_text("new")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FileExistsError):
        own_files.move_anew(tmp_path / "new", tmp_path / "taken")
    assert ((tmp_path / "new").read_text(), (tmp_path / "taken").read_text()) == ("new", "mine")
    own_files.move_anew(tmp_path / "new", tmp_path / "free")
    assert (tmp_path / "free").read_text() == "new"
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="there are no such descriptors here")
def test_folders_that_are_removed_are_opened_up_to_their_owner_and_what_a_link_leads_to_is_not(tmp_path):
    outside = tmp_path / "outside"
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    outside.mkdir(mode=0o500)
    (tmp_path / "a" / "link").symlink_to(outside)
    for folder in ("a/b/c", "a/b", "a"):
        (tmp_path / folder).chmod(0)
    own_files._open_up(tmp_path / "a")
    assert [stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in ("a", "a/b", "a/b/c")] == [0o700] * 3
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500


@pytest.mark.parametrize(("most_bytes", "found"), [(4, None), (5, b"hello"), (6, b"hello")])
def test_a_file_of_ours_is_read_whole_or_not_at_all(most_bytes, found, tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    assert own_files.read_ours(tmp_path / "x", most_bytes=most_bytes) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_not_read_as_ours(tmp_path):
    (tmp_path / "mark").write_text("theirs")
    os.chown(tmp_path / "mark", 12345, 12345)
    assert own_files.read_ours(tmp_path / "mark", most_bytes=100) is None
    assert own_files.read_ours(tmp_path / "mark", most_bytes=100, of_anybody=True) == b"theirs"


def test_what_is_not_there_is_no_folder_of_ones_own(tmp_path):
    assert own_files.is_own_folder(tmp_path)
    assert not own_files.is_own_folder(tmp_path / "gone")


def test_the_name_of_what_is_being_written_is_known_again_as_such(tmp_path):
    path = own_files.beside(tmp_path / "data.zip")
    path.touch()
    assert own_files.may_be_written(path)
    os.utime(path, (0, 0))
    own_files.remove_abandoned(tmp_path / "data.zip")
    assert not path.exists()
