"""Where things go, and that a folder is whole or not there."""

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import datastage
from datastage import cleanup, links, own_files, slots, staged, store
from datastage.errors import IntegrityError, SpecError, StorageError
from datastage.lock import Holder, locked
from datastage.progress import SILENT, Silent
from datastage.reader import FileRecord
from datastage.slots import Slot
from datastage.staged import FILES, RECEIPT, Staged


def fill(slot, text="hello"):
    own_files.fresh_folder(slot.partial)
    (slot.partial / "a.txt").write_text(text)
    (slot.partial / "sub").mkdir()
    (slot.partial / "sub" / "b.txt").write_bytes(b"\0" * 10)
    return staged.list_folder(slot.partial)


def slot_at(root, name="data"):
    return Slot(root, name, slots.make_own_folder(root))


def receipt_for(slot, key="k"):
    mark = slots.write_mark(slot, ["./data.zip"])
    where = {"name": slot.name, "folder": str(slot.final), "at": str(slot.final), "token": mark["token"]}
    return {"key": key, "spec": "./data.zip", "n_bytes": 15, **where}


def published(tmp_path, text="hello", key="k"):
    slot = slot_at(tmp_path)
    receipt = store.publish(slot, receipt_for(slot, key), fill(slot, text), durable=True)
    return slot, receipt


def left_in(root):
    """What lies under a root, the marks of what is staged apart."""
    own = slots.own_folder_of(root)
    names = [path.name for path in root.iterdir() if path != own]
    return sorted(names + ([path.name for path in own.iterdir() if path.suffix != ".mark"] if own.is_dir() else []))


def test_a_published_folder_holds_its_receipt_and_nothing_lies_beside_it(tmp_path):
    slot, receipt = published(tmp_path)
    assert staged.read_receipt(slot.final) == json.loads(json.dumps(receipt))
    assert left_in(tmp_path) == ["data"]


def test_the_list_of_files_comes_back_as_it_was_written(tmp_path):
    files = [FileRecord("a b\n\t\udcff.txt", 3, 5), FileRecord("link", 0, 0, "a b")]
    receipt = staged.write_receipt(tmp_path, {"key": "k"}, files)
    assert list(staged.read_files(tmp_path, receipt)) == files


def test_a_list_that_was_changed_is_not_trusted(tmp_path):
    slot, receipt = published(tmp_path)
    with (slot.final / FILES).open("ab") as file:
        file.write(b'00000000 0 "c"\n')
    with pytest.raises(IntegrityError):
        staged.read_files(slot.final, receipt)


def test_replacing_puts_the_new_folder_in_place_and_removes_the_old(tmp_path):
    published(tmp_path, "old")
    slot, _ = published(tmp_path, "new")
    assert (slot.final / "a.txt").read_text() == "new"
    assert left_in(tmp_path) == ["data"]


def test_an_old_folder_without_a_new_one_is_put_back(tmp_path):
    slot, _ = published(tmp_path, "old")
    os.rename(slot.final, slot.old)
    store.recover(slot)
    assert (slot.final / "a.txt").read_text() == "old"


def test_what_an_earlier_version_set_aside_is_put_back_if_it_is_of_this_folder(tmp_path):
    slot, _ = published(tmp_path, "old")
    other = slot_at(tmp_path, "other")
    for name in ("data", "other"):
        shutil.copytree(slot.final, tmp_path / f".{name}.old")
    shutil.rmtree(slot.final)
    for each in (slot, other):
        store.recover(each)
    assert (slot.final / "a.txt").read_text() == "old"
    assert not other.final.exists()
    assert (tmp_path / ".other.old" / "a.txt").is_file()


@pytest.mark.parametrize(("name", "is_read"), [("data", True), ("another", False)])
def test_a_receipt_of_an_earlier_version_for_data_used_in_place_is_read(name, is_read, tmp_path):
    (tmp_path / "data").mkdir()
    receipt = {"key": "k", "name": name, "folder": str(tmp_path / "input"), "in_place": True}
    staged.write_receipt(tmp_path / "data", receipt, [])
    assert (staged.receipt_of(tmp_path / "data") is not None) is is_read


def test_an_old_folder_beside_the_new_one_is_removed(tmp_path):
    slot, _ = published(tmp_path, "new")
    slot.old.mkdir()
    store.recover(slot)
    assert not slot.old.exists()


@pytest.mark.parametrize("bad", ["", ".", "..", ".hidden", "a/b", "a\\b", "datastage", "x" * 201, "a\0b", "con:"])
def test_a_name_that_no_folder_should_have_is_refused(bad):
    with pytest.raises(SpecError) as caught:
        slots.checked_name(bad)
    assert slots.checked_name(caught.value.remedy[-1].split("=")[1].strip("'"))


@pytest.mark.parametrize("text", ["", "...", "datastage", "Ünï cödé", "a/b", "x" * 300, "données (1)"])
def test_any_text_gives_a_usable_name(text):
    assert slots.checked_name(slots.safe_name(text))


def test_a_root_in_a_shared_folder_is_the_users_own(tmp_path):
    root = slots.usable_root(tmp_path / "staged", shared=True)
    assert root.name == f"staged-{os.getuid()}"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder that is another user's")
def test_a_shared_root_of_another_user_is_refused(tmp_path):
    theirs = tmp_path / f"staged-{os.getuid()}"
    theirs.mkdir()
    os.chown(theirs, 12345, -1)
    with pytest.raises(StorageError, match="another user"):
        slots.usable_root(tmp_path / "staged", shared=True)


def test_a_shared_root_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"staged-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        slots.usable_root(tmp_path / "staged", shared=True)


def test_a_root_that_is_a_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(StorageError) as caught:
        slots.usable_root(tmp_path / "root")
    assert caught.value.errno == errno.ENOTDIR


def test_verify_names_what_is_damaged_missing_and_extra(tmp_path):
    slot, receipt = published(tmp_path)
    (slot.final / "a.txt").write_text("hellp")
    (slot.final / "sub" / "b.txt").unlink()
    (slot.final / "new.txt").write_text("")
    found = staged.verify_folder(slot.final, staged.read_files(slot.final, receipt))
    assert (found.damaged, found.missing, found.extra) == (("a.txt",), ("sub/b.txt",), ("new.txt",))


def test_verify_finds_every_flipped_bit(tmp_path):
    slot, receipt = published(tmp_path)
    files = staged.read_files(slot.final, receipt)
    good = (slot.final / "a.txt").read_bytes()
    missed = []
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (slot.final / "a.txt").write_bytes(bad)
        if staged.verify_folder(slot.final, files).ok:
            missed.append(bit)
    assert missed == []


def test_a_missing_file_is_seen_at_a_glance(tmp_path):
    slot, receipt = published(tmp_path)
    (slot.final / "sub" / "b.txt").unlink()
    assert not staged.looks_whole(slot.final, receipt)


def test_a_file_of_another_length_is_seen_at_a_glance(tmp_path):
    slot, receipt = published(tmp_path)
    (slot.final / "a.txt").write_text("hell")
    assert not staged.looks_whole(slot.final, receipt)


def test_a_link_appears_under_the_contents_own_name(tmp_path):
    slot, _ = published(tmp_path)
    links.link_into(tmp_path / "here", [("sub", slot.final / "sub")])
    assert (tmp_path / "here" / "sub" / "b.txt").read_bytes() == b"\0" * 10


def test_linking_twice_is_linking_once(tmp_path):
    slot, _ = published(tmp_path)
    for _ in range(2):
        made, _ = links.link_into(tmp_path, [("sub", slot.final / "sub")])
    assert made == [tmp_path / "sub"]


def test_what_is_linked_already_keeps_nothing_else_from_it(tmp_path):
    slot, _ = published(tmp_path)
    links.link_into(tmp_path, [("a.txt", slot.final / "a.txt")])
    made, _ = links.link_into(tmp_path, [("a.txt", slot.final / "a.txt"), ("sub", slot.final / "sub")])
    assert [path.is_symlink() for path in made] == [True, True]


def test_a_copy_in_place_of_a_link_that_is_stopped_leaves_nothing(tmp_path, monkeypatch):
    slot, _ = published(tmp_path)

    def stopped(source, target):
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(links.shutil, "copyfile", stopped)
    (tmp_path / "here").mkdir()
    with pytest.raises(KeyboardInterrupt):
        links._copy_whole(slot.final / "a.txt", tmp_path / "here" / "a.txt")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_link_into_what_is_no_folder_is_answered_with_the_option_that_named_it(tmp_path):
    slot, _ = published(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="linking sub") as caught:
        links.link_into(tmp_path / "file", [("sub", slot.final / "sub")])
    assert "another folder with link=" in caught.value.remedy[-1]


def test_a_folder_that_takes_no_link_is_named_and_not_what_the_link_leads_to(tmp_path, monkeypatch):
    slot, _ = published(tmp_path)

    def refuse(self, target, target_is_directory=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(target), None, os.fspath(self))

    monkeypatch.setattr(type(tmp_path), "symlink_to", refuse)
    with pytest.raises(StorageError) as caught:
        links.link_into(tmp_path / "here", [("sub", slot.final / "sub")])
    assert caught.value.filename == str(tmp_path / "here" / "sub")
    assert caught.value.remedy[0] == f"The data is ready in {slot.final / 'sub'}."


def test_a_link_replaces_nothing(tmp_path):
    slot, _ = published(tmp_path)
    (tmp_path / "sub").write_text("mine")
    with pytest.raises(StorageError, match="not replaced"):
        links.link_into(tmp_path, [("a.txt", slot.final / "a.txt"), ("sub", slot.final / "sub")])
    assert (tmp_path / "sub").read_text() == "mine"
    assert not (tmp_path / "a.txt").exists()


def test_where_no_link_can_be_made_a_copy_appears(tmp_path, monkeypatch):
    slot, _ = published(tmp_path)

    def no_links(self, target, target_is_directory=False):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(type(tmp_path), "symlink_to", no_links)
    links.link_into(tmp_path / "new" / "here", [("sub", slot.final / "sub")])
    assert not (tmp_path / "new" / "here" / "sub").is_symlink()
    assert (tmp_path / "new" / "here" / "sub" / "b.txt").exists()


def test_a_staged_folder_is_a_path(tmp_path):
    slot, receipt = published(tmp_path)
    staged = Staged(slot.final, receipt)
    assert (os.fspath(staged), str(staged), f"{staged}") == (str(slot.final),) * 3
    assert staged / "a.txt" == slot.final / "a.txt"
    assert [path.name for path in staged.glob("*.txt")] == ["a.txt"]
    assert sorted(path.name for path in staged.iterdir()) == ["a.txt", "sub"]


def test_a_receipt_of_another_kind_is_not_ours(tmp_path):
    (tmp_path / RECEIPT).write_text('{"key": "k"}')
    assert staged.read_receipt(tmp_path) is None


def test_a_tree_without_permissions_can_be_removed(tmp_path):
    folder = tmp_path / "x"
    (folder / "y").mkdir(parents=True)
    (folder / "y" / "z").write_text("")
    (folder / "y").chmod(0)
    own_files.remove_tree(folder)
    assert not folder.exists()


def test_a_lock_that_was_lost_ends_publishing_before_anything_is_replaced(tmp_path):
    slot, _ = published(tmp_path, "old")

    def lost():
        raise StorageError("another process has begun")

    with pytest.raises(StorageError, match="another process has begun"):
        store.publish(slot, receipt_for(slot), fill(slot, "new"), durable=False, check=lost)
    assert (slot.final / "a.txt").read_text() == "old"


def test_what_an_earlier_session_left_is_told_from_its_receipt(tmp_path):
    slot, _ = published(tmp_path)
    assert not staged.is_of_an_earlier_session(slot.final)
    os.utime(slot.final / RECEIPT, (1_000_000_000,) * 2)
    assert staged.is_of_an_earlier_session(slot.final)


@pytest.mark.parametrize("byte", [b"\0", b"a", b"b", b"c"])  # by their checksums before and behind the right one
def test_a_sample_finds_files_of_the_right_size_that_hold_something_else(byte, tmp_path):
    slot, receipt = published(tmp_path)
    assert staged.sample_is_right(slot.final, receipt)
    (slot.final / "a.txt").write_bytes(5 * byte)
    assert staged.looks_whole(slot.final, receipt)
    assert not staged.sample_is_right(slot.final, receipt)


def test_a_sample_of_many_files_reads_no_more_than_it_may(tmp_path, monkeypatch):
    slot, receipt = published(tmp_path)
    read = []
    monkeypatch.setattr(staged, "size_and_crc", lambda path: read.append(path) or (10, 0))
    staged.sample_is_right(slot.final, receipt, most_bytes=4)
    assert read == []


def pixels_of(root, path):
    folder = slots.pixels_folder(root, path)
    folder.mkdir()
    (folder / "packed.u8").write_bytes(bytes(1000))
    return folder


def test_the_photos_of_two_folders_of_one_name_are_kept_apart(tmp_path):
    assert len({pixels_of(tmp_path, tmp_path / course / "photos") for course in "ab"}) == 2


def test_clean_takes_the_photos_of_a_dataset_that_is_gone_and_of_no_other(tmp_path):
    slot, _ = published(tmp_path)
    stays = pixels_of(tmp_path, slot.final)
    goes = pixels_of(tmp_path, tmp_path / "gone")
    found = cleanup.removable(tmp_path, now=0)
    assert [(item.path, item.n_bytes, item.why) for item in found] == [(goes, 1000, "photos of a dataset that is gone")]
    assert cleanup.remove(tmp_path, found[0])
    assert (stays.exists(), goes.exists()) == (True, False)


def test_clean_by_age_takes_the_photos_with_their_dataset(tmp_path):
    slot, _ = published(tmp_path)
    pixels = pixels_of(tmp_path, slot.final)
    found = cleanup.removable(tmp_path, older_than_s=60, now=slot.final.stat().st_mtime + 1000)
    assert {item.path for item in found} == {slot.final, pixels}
    assert all(cleanup.remove(tmp_path, item) for item in found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("1.5 h", 5_400), ("45m", 2_700), (" 2 ", 172_800)])
def test_an_age_is_days_hours_or_minutes(text, seconds):
    assert cleanup._seconds(text) == seconds


def test_clean_says_for_how_many_days_a_dataset_was_not_used(tmp_path):
    slot, _ = published(tmp_path)
    os.utime(slot.final / RECEIPT, (1_000_000_000,) * 2)
    (item,) = cleanup.removable(tmp_path, older_than_s=86_400, now=1_000_000_000 + 3 * 86_400)
    assert item.why == "not used for 3 days"


def test_clean_keeps_the_mark_of_a_folder_that_was_being_replaced_and_takes_what_comes_behind_it(tmp_path):
    slot, _ = published(tmp_path, "old")
    os.rename(slot.final, slot.old)  # killed between the two renames
    (slot.own / "x.partial").mkdir()
    assert [item.path.name for item in cleanup.removable(tmp_path, now=0)] == ["x.partial"]
    store.recover(slot)
    assert (slot.final / "a.txt").read_text() == "old"
    os.rename(slot.final, tmp_path / "moved")
    assert [item.path.name for item in cleanup.removable(tmp_path, now=0)] == [slot.mark.name, "x.partial"]


def test_clean_leaves_what_was_asked_for_since_it_was_listed(tmp_path):
    slot, _ = published(tmp_path)
    os.utime(slot.final / RECEIPT, (1_000_000_000,) * 2)
    (item,) = cleanup.removable(tmp_path, older_than_s=60, now=2_000_000_000)
    staged.mark_used(slot.final)
    assert not cleanup.remove(tmp_path, item)
    assert slot.final.exists()


def test_clean_waits_for_no_run_and_removes_nothing_that_one_is_at(tmp_path, monkeypatch):
    slot, _ = published(tmp_path)
    pixels = pixels_of(tmp_path, tmp_path / "gone")
    monkeypatch.setattr("datastage.lock.time.sleep", lambda _: pytest.fail("it waited"))
    used = (slot.final / RECEIPT).stat().st_mtime
    for path, its_lock in ((slot.final, slot.lock), (pixels, pixels / "x.lock")):
        with locked(its_lock):
            assert not cleanup.remove(tmp_path, cleanup.Removable(path, 0, "", used))
        assert path.is_dir()


def test_what_stays_makes_no_room_in_a_budget(tmp_path):
    for nth, name in enumerate("ab"):
        slot = slot_at(tmp_path, name)
        store.publish(slot, receipt_for(slot), fill(slot), durable=True)  # 15 bytes
        os.utime(slot.final / RECEIPT, (1_000_000_000 + nth,) * 2)
    (tmp_path / "a" / "mine").write_text("added")
    found = cleanup.removable(tmp_path, budget_bytes=29, now=2_000_000_000)
    assert [(item.path.name, item.stays) for item in found] == [("a", True), ("b", False)]


def test_clean_lists_nothing_that_a_run_is_at(tmp_path):
    slot = slot_at(tmp_path)
    fill(slot)
    with store.waited_for(slot, SILENT):
        assert cleanup.removable(tmp_path, now=0) == []
    assert [item.path for item in cleanup.removable(tmp_path, now=0)] == [slot.partial]


@pytest.mark.parametrize("place", ["above", "root/sub", "z"])
@pytest.mark.parametrize("name", ["data", "data.partial"])
def test_clean_removes_nothing_that_lies_elsewhere_nor_what_has_its_name_here(place, name, tmp_path):
    (tmp_path / "root").mkdir()
    slot, _ = published(tmp_path / "root")
    fill(slot)
    (tmp_path / place / name).mkdir(parents=True)
    used = (slot.final / RECEIPT).stat().st_mtime
    assert not cleanup.remove(tmp_path / "root", cleanup.Removable(tmp_path / place / name, 0, "", used))
    assert (tmp_path / place / name).is_dir()
    assert (slot.final.is_dir(), slot.partial.is_dir()) == (True, True)


def test_clean_removes_the_lock_files_of_the_dead_where_there_is_no_flock(tmp_path):
    own = slots.make_own_folder(tmp_path)
    for name in ("x.locked", "x.locked~0123abcd"):
        (own / name).write_text("{}")
        os.utime(own / name, (1_000_000_000,) * 2)
    found = cleanup.removable(tmp_path, now=2_000_000_000)
    assert {item.why for item in found} == {"unfinished"}
    for item in found:
        assert cleanup.remove(tmp_path, item)
    assert list(tmp_path.iterdir()) == []


def test_verify_notices_a_link_that_leads_elsewhere(tmp_path):
    slot = slot_at(tmp_path)
    fill(slot)
    (slot.partial / "link").symlink_to("a.txt")
    receipt = store.publish(slot, receipt_for(slot), staged.list_folder(slot.partial), durable=False)
    files = staged.read_files(slot.final, receipt)
    assert staged.verify_folder(slot.final, files).ok
    (slot.final / "link").unlink()
    (slot.final / "link").symlink_to("sub/b.txt")
    assert staged.verify_folder(slot.final, files).damaged == ("link",)


def test_a_shared_root_that_others_could_read_is_closed(tmp_path):
    root = tmp_path / f"staged-{os.getuid()}"
    root.mkdir(mode=0o755)
    slots.usable_root(tmp_path / "staged", shared=True)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_clean_hides_a_dataset_before_it_removes_the_first_file_of_it(tmp_path):
    slot, _ = published(tmp_path)
    (item,) = cleanup.removable(tmp_path, older_than_s=60, now=slot.final.stat().st_mtime + 1000)
    seen = []
    watching = [True]

    def watch(event, arguments):
        if watching and event in ("os.remove", "os.unlink", "os.rmdir", "shutil.rmtree"):
            seen.append(slot.final.exists())

    sys.addaudithook(watch)
    assert cleanup.remove(tmp_path, item)
    watching.clear()
    assert seen
    assert not any(seen)


@pytest.mark.parametrize(
    ("code", "is_asked_again"), [(errno.ENOENT, True), (errno.EACCES, False), (errno.EPERM, False)]
)
def test_a_lock_whose_folder_was_just_taken_away_is_asked_for_again(code, is_asked_again, tmp_path, monkeypatch):
    slot, asked = slot_at(tmp_path), []
    locked = store.locked

    @contextlib.contextmanager
    def first_gone(*args, **named):
        asked.append(args)
        if len(asked) == 1:
            raise StorageError("gone", code=code)
        with locked(*args, **named) as held:
            yield held

    monkeypatch.setattr(store, "locked", first_gone)
    if is_asked_again:
        with store.waited_for(slot, SILENT):
            assert len(asked) == 2
        return
    with pytest.raises(StorageError, match="gone"), store.waited_for(slot, SILENT):
        pass
    assert len(asked) == 1


def test_a_bar_of_the_process_that_works_begins_once_for_each_of_its_phases(tmp_path, monkeypatch):
    seen = []

    class Bar(Silent):
        def phase(self, what, total_bytes=None):
            seen.append((what, total_bytes))

        def advance(self, n_bytes):
            seen.append(n_bytes)

    @contextlib.contextmanager
    def held(*_, on_progress, **__):
        # It goes on, begins anew after a failure, and comes to its next phase.
        for doing, done in (("copying", 10), ("copying", 300), ("copying", 5), ("unpacking", 7)):
            on_progress(Holder("node3", doing, done, 400))
        yield None

    monkeypatch.setattr(store, "locked", held)
    with store.waited_for(slot_at(tmp_path), Bar()):
        copying, unpacking = ("node3: copying", 400), ("node3: unpacking", 400)
        assert seen == [copying, 10, 290, copying, 5, unpacking, 7]


def test_the_locks_of_all_other_users_of_a_root_are_looked_at(tmp_path):
    slot = slot_at(tmp_path)
    others = [tmp_path / (slots.OWN_FOLDER + name) for name in ("!", "zz")]
    for other in (*others, tmp_path / "data"):
        other.mkdir()
    found = store._locks_of_others(slot)
    assert sorted(path.parent for path in found) == sorted(others)
    assert {path.name for path in found} == {slot.lock.name}


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no second disk")
def test_a_disk_beside_the_fast_one_outlives_the_machine(tmp_path):
    from types import SimpleNamespace

    shm, here = Path("/dev/shm"), tmp_path
    if shm.stat().st_dev == here.stat().st_dev:
        pytest.skip("there is no second disk")
    for fast, other in ((here, shm), (shm, here)):
        machine = SimpleNamespace(disk_outlives_machine=False, fast_disk=fast / "not" / "there")
        assert not store.outlives_machine(fast, machine)
        assert store.outlives_machine(other, machine)
        machine.disk_outlives_machine = True
        assert store.outlives_machine(fast, machine)


def filled(root, key):
    """What a request of this key finds, or puts there."""
    wanted = store.Wanted(key, ["./data.zip"], "data")
    with store.ask(root, wanted, SILENT) as found:
        if isinstance(found, Staged):
            return found.path, "found"
        files = fill(found.slot, key)
        found.publish({"spec": "./data.zip", "folder": str(found.slot.final), "n_bytes": 15}, files, durable=False)
        return found.slot.final, "made"


@pytest.mark.parametrize("keys", [("abcd0000000", "abcd1111111"), ("abcd1111111", "abcd0000000")])
def test_two_requests_whose_short_hashes_are_the_same_have_a_place_each(keys, tmp_path):
    made = [filled(tmp_path, key) for key in keys]
    assert [path.name for path, _ in made] == ["data-abcd", f"data-{keys[1][:10]}"]
    assert [filled(tmp_path, key) for key in keys] == [(path, "found") for path, _ in made]
    assert [(path / "a.txt").read_text() for path, _ in made] == list(keys)


def test_the_one_file_of_a_folder_is_known_though_something_staged_lies_on_its_way(tmp_path):
    slot = slot_at(tmp_path)
    own_files.fresh_folder(slot.partial)
    (slot.partial / "table.csv").write_text("a,b")
    files = staged.list_folder(slot.partial)
    store.publish(slot, receipt_for(slot) | {"single": "table.csv"}, files, durable=True)
    assert store.staged_at(slot.final / "table.csv").path == slot.final / "table.csv"
    assert store.staged_at(slot.final).path == slot.final / "table.csv"
    for name in ("other.csv", "z.csv"):
        (slot.final / name).write_text("c")
        assert store.staged_at(slot.final / name) is None


def test_what_a_killed_run_left_beside_data_that_is_ready_is_removed(tmp_path):
    slot, _ = published(tmp_path)
    slot.partial.mkdir()
    store.tidy(slot)
    assert left_in(tmp_path) == ["data"]


@pytest.mark.parametrize(("listed", "is_as"), [("0" * 32, True), ("1" * 32, False), ("1" * 64, None), ("1" * 8, None)])
def test_digests_of_other_algorithms_do_not_compare(listed, is_as):
    wanted = store.Wanted("k", ["./data.zip"], "data", listed={"data.zip": listed})
    assert store._is_as_listed({"hashes": {"data.zip": "md5:" + "0" * 32}, "published": True}, wanted) is is_as


def test_the_time_of_a_step_is_kept_by_its_first_word(monkeypatch):
    class Held:
        def phase(self, name, total):
            pass

    told, now = store._Told(SILENT, Held()), [0.0]
    monkeypatch.setattr(store, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for name, seconds in (
        ("copying a", 1),
        ("copying b", 2),
        ("unpacking a", 4),
        ("copying c", 8),
        ("unpacking c", 16),
    ):
        told.phase(name, None)
        now[0] += seconds
    assert told.steps() == {"copying": 11, "unpacking": 20}


def test_what_a_run_is_at_is_not_listed_and_makes_no_room_in_a_budget(tmp_path):
    made = [slot_at(tmp_path, name) for name in "abc"]
    for nth, slot in enumerate(made):
        store.publish(slot, receipt_for(slot), fill(slot), durable=True)  # 15 bytes
        os.utime(slot.final / RECEIPT, (1_000_000_000 + nth,) * 2)
    with locked(made[0].lock):
        found = cleanup.removable(tmp_path, budget_bytes=30, now=2_000_000_000)
    assert [item.path.name for item in found] == ["b"]


def test_clean_by_age_leaves_a_dataset_beside_what_a_stopped_run_left_of_it(tmp_path):
    slot, _ = published(tmp_path)
    slot.old.mkdir()
    (slot.old / "mine").write_text("added")
    found = cleanup.removable(tmp_path, older_than_s=60, now=slot.final.stat().st_mtime + 1000)
    assert [item.stays for item in found if item.path == slot.final] == [True]


def test_clean_takes_the_photos_of_a_lone_file_with_it_and_not_before(tmp_path):
    slot = slot_at(tmp_path)
    store.publish(slot, {**receipt_for(slot), "single": "a.txt"}, fill(slot), durable=True)
    pixels = pixels_of(tmp_path, slot.final / "a.txt")
    assert cleanup.removable(tmp_path, now=0) == []
    found = cleanup.removable(tmp_path, older_than_s=60, now=slot.final.stat().st_mtime + 1000)
    assert {item.path for item in found} == {slot.final, pixels}


def test_clean_of_a_folder_that_was_being_replaced_keeps_what_was_added_to_it(tmp_path):
    slot, _ = published(tmp_path)
    shutil.copytree(slot.final, slot.old)
    (slot.old / "mine").write_text("years of work")  # killed behind the second rename
    for item in cleanup.removable(tmp_path, now=0):
        cleanup.remove(tmp_path, item)
    assert [path.read_text() for path in tmp_path.rglob("mine")] == ["years of work"]


def test_clean_leaves_a_file_that_is_written_just_now(tmp_path):
    writing = slots.make_own_folder(tmp_path) / f".data.mark.{'0' * 16}{own_files._ENDING}"
    writing.touch()
    assert cleanup.removable(tmp_path, now=0) == []
    os.utime(writing, (1_000_000_000,) * 2)
    assert [item.path for item in cleanup.removable(tmp_path, now=0)] == [writing]


def test_what_is_used_where_it_lies_keeps_its_photos_and_takes_no_room_of_a_budget(tmp_path):
    slot = slot_at(tmp_path, "lies")
    where = {"in_place": True, "folder": str(tmp_path / "elsewhere"), "n_bytes": 10**12}
    store.publish(slot, {**receipt_for(slot), **where}, fill(slot), durable=True)
    pixels_of(tmp_path, tmp_path / "elsewhere")
    published(tmp_path)
    assert cleanup.removable(tmp_path, now=0, budget_bytes=1_100) == []


def test_clean_says_what_it_could_not_remove_and_removes_the_others(tmp_path, monkeypatch):
    for name in "abc":
        slot = slot_at(tmp_path, name)
        store.publish(slot, receipt_for(slot), fill(slot), durable=True)
    real = cleanup.remove

    def remove(root, item):
        if item.path.name == "b":
            raise StorageError("b stays.")
        return real(root, item)

    monkeypatch.setattr(cleanup, "remove", remove)
    with pytest.raises(StorageError, match="b stays"):
        datastage.clean(root=tmp_path, budget=0)
    assert left_in(tmp_path) == ["b"]


def test_clean_by_age_leaves_a_dataset_whose_list_of_files_was_changed(tmp_path):
    slot, _ = published(tmp_path)
    (slot.final / FILES).write_text("")
    (slot.final / "mine").write_text("added")
    (item,) = cleanup.removable(tmp_path, older_than_s=60, now=slot.final.stat().st_mtime + 1000)
    assert item.stays


@pytest.mark.parametrize(("n_files", "is_there"), [(1, False), (2, True), (3, True)])
def test_a_dataset_of_the_catalog_is_there_if_it_has_all_the_files_that_are_known(n_files, is_there, tmp_path):
    slot = slot_at(tmp_path)
    store.publish(slot, {**receipt_for(slot), "n_files": n_files}, fill(slot), durable=False)
    known = {name: ("md5", "0" * 32) for name in ("a.txt", "sub/b.txt")}
    wanted = store.Wanted("k", ["pets"], "data", is_entry=True, known=known)
    assert (store._already(slot, wanted, SILENT) is not None) is is_there


@pytest.mark.parametrize(
    ("came_from", "listed", "said"), [(["a"], ["a", "b"], 0), (["c"], ["a"], 1), (["c"], [], 0), (None, ["a"], 0)]
)
def test_it_is_said_of_ready_data_only_if_the_catalog_names_other_places_by_now(came_from, listed, said):
    notes = []
    wanted = store.Wanted("k", ["pets"], "pets", places=frozenset(listed))
    store._say_of_listed({"places": came_from}, wanted, True, SimpleNamespace(note=notes.append))
    assert len(notes) == said
