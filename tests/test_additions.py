"""What somebody put into a staged folder outlives every new copy of the data."""

import itertools
import os
import sys

import pytest

import datastage
from datastage import cleanup, own_files, staged, store
from datastage.errors import StorageError
from tests.test_staging import make_zip, tree
from tests.test_store import fill, left_in, published, receipt_for


def add(folder):
    for name in ("notes.txt", "sub/mine.txt", "runs/1/log.txt", "runs/2/log.txt", ".ipynb_checkpoints/a.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of mine: {name}")
    return {name: text for name, text in tree(folder).items() if text.startswith(b"of mine")}


def again(slot, text="new"):
    return store.publish(slot, receipt_for(slot), fill(slot, text), durable=False)


@pytest.mark.parametrize("why", ["changed", "refresh", "missing"])
def test_what_was_put_into_a_staged_folder_stays_when_it_is_staged_again(why, here, capsys):
    make_zip(here / "pets.zip")
    folder = datastage.stage("./pets.zip", name="pets", progress=False).path
    mine = add(folder)
    if why == "changed":
        make_zip(here / "pets.zip", {"train/cat/1.txt": b"another", "new/9.txt": b"9"})
    elif why == "missing":
        (folder / "train/cat/1.txt").unlink()
    datastage.stage("./pets.zip", name="pets", refresh=why == "refresh")
    after = tree(folder)
    assert mine.items() <= after.items()
    assert ("train/dog/1.txt" in after) is (why != "changed")
    said = " ".join(capsys.readouterr().err.split())
    assert "(4 in all)" in said
    assert "was not staged, and stays there" in said
    assert datastage.verify(folder).ok


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_things_that_stay_are_named_and_more_are_counted(n, here, capsys):
    make_zip(here / "pets.zip")
    folder = datastage.stage("./pets.zip", name="pets", progress=False).path
    for number in range(n):
        (folder / f"mine{number}.txt").write_text("mine")
    datastage.stage("./pets.zip", name="pets", refresh=True)
    said = " ".join(capsys.readouterr().err.split())
    assert ("in all" in said) is (n > 3)


def test_that_a_source_has_changed_is_said_once(here, capsys):
    make_zip(here / "pets.zip")
    datastage.stage("./pets.zip", name="pets", progress=False)
    make_zip(here / "pets.zip", {"a.txt": b"another"})
    datastage.stage("./pets.zip", name="pets")
    assert " ".join(capsys.readouterr().err.split()).count("has changed since it was copied") == 1


@pytest.mark.parametrize("name", ["a.txt", "a.txt/mine.txt", "sub", "deep/er"])
def test_a_new_file_takes_no_place_of_what_somebody_added_and_nothing_is_replaced(name, tmp_path):
    slot, _ = published(tmp_path, "old")
    own_files.fresh_folder(slot.partial)
    (slot.partial / "z.txt").write_text("of the data")
    receipt = store.publish(slot, receipt_for(slot), staged.list_folder(slot.partial), durable=False)
    (slot.final / name).parent.mkdir(parents=True, exist_ok=True)
    (slot.final / name).write_text("of mine")
    files = fill(slot, "new")
    (slot.partial / "deep" / "er").mkdir(parents=True)
    (slot.partial / "deep" / "er" / "c.txt").write_text("c")
    with pytest.raises(StorageError, match=r"Nothing was replaced[\s\S]*Next: move it away, or .* name='data-2'"):
        store.publish(slot, receipt_for(slot), files, durable=False)
    assert (slot.final / name).read_text() == "of mine"
    assert staged.receipt_of(slot.final) == receipt
    os.rename(slot.final / name.split("/")[0], tmp_path / "away")
    again(slot)
    assert (slot.final / "a.txt").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="fork")
def test_killed_at_each_step_nothing_of_what_was_added_is_lost(tmp_path):
    for at in itertools.count(1):
        slot, _ = published(tmp_path, "old")
        mine = add(slot.final)
        child = os.fork()
        if not child:
            left = itertools.count(1)

            def counted(real, left=left, at=at):
                return lambda *args, **named: os._exit(9) if next(left) == at else real(*args, **named)

            for name in ("rename", "unlink", "rmdir", "open", "mkdir"):
                setattr(os, name, counted(getattr(os, name)))
            again(slot)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if at % 2:  # `clean` puts it right, as the next run does
            for item in cleanup.removable(tmp_path, older_than_s=0, now=2e9):
                cleanup.remove(tmp_path, item)
        store.recover(slot)
        assert mine.items() <= tree(slot.final).items(), at
        again(slot, "newer")
        assert mine.items() <= tree(slot.final).items(), at
        assert left_in(tmp_path) == ["data"], at
        if not killed:
            break
        own_files.remove_tree(slot.final)
    assert at > 10


def test_what_a_killed_run_left_to_bring_over_replaces_nothing_and_stays_until_there_is_room(tmp_path):
    slot, _ = published(tmp_path, "old")
    (slot.final / "notes.txt").write_text("first")
    os.rename(slot.final, tmp_path / "aside")
    published(tmp_path, "new")
    os.rename(tmp_path / "aside", slot.old)  # killed before the last step; then somebody wrote it again
    (slot.final / "notes.txt").write_text("second")
    with pytest.raises(StorageError, match=r"data\.old/notes\.txt is to go there"):
        store.recover(slot)
    store.tidy(slot)
    (item,) = cleanup.removable(tmp_path, now=0)
    with pytest.raises(StorageError, match="is to go there"):
        cleanup.remove(tmp_path, item)
    assert (slot.final / "notes.txt").read_text() == "second"
    (slot.final / "notes.txt").rename(tmp_path / "away")
    store.tidy(slot)
    assert (slot.final / "notes.txt").read_text() == "first"
    assert not slot.old.exists()
