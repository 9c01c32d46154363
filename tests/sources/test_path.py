"""Files and folders on this machine, and bare relative paths."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from datastage import runtime
from datastage.errors import IntegrityError, SpecError, StorageError, UnavailableError
from datastage.reader import Reader, stat_identity
from datastage.sources import open_spec, parse
from datastage.sources import path as path_source
from tests.stand_ins.runtimes import Colab, Kaggle, Layout

KERNEL = SimpleNamespace(kernel=SimpleNamespace())


@pytest.fixture
def machine(tmp_path):
    """A plain machine; its working directory is ``work``."""
    layout = Layout(tmp_path / "machine", {"HOME": str(tmp_path / "home")})
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    return layout


def look(text, here):
    found = open_spec(parse(text), here)
    return found.content.local_path if isinstance(found.content, Reader) else found.content


def put(path: Path, data: bytes = b"data") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- exactly that path


@pytest.mark.parametrize("text", ["{0}/work/a.csv", "./a.csv", "file://{0}/work/a.csv", "../work/a.csv"])
def test_a_path_names_exactly_that_file(machine, tmp_path, text):
    path = put(tmp_path / "work/a.csv")
    assert look(text.format(tmp_path), machine.runtime(cwd=tmp_path / "work")).samefile(path)


def test_a_tilde_is_the_home_folder(machine, tmp_path):
    path = put(tmp_path / "home/a.csv")
    assert look("~/a.csv", machine.runtime(cwd=tmp_path / "work")) == path


def test_a_file_is_said_with_its_size_and_folder(machine, tmp_path):
    put(tmp_path / "work/a.csv", b"x" * 1200)
    found = open_spec(parse("./a.csv"), machine.runtime(cwd=tmp_path / "work"))
    assert found.seen == f"a.csv, 1.2 kB, in {tmp_path}/work"


@pytest.mark.parametrize(("folder", "shown"), [("home/data", "~/data"), ("home", "~")])
def test_a_folder_at_home_is_said_with_a_tilde(machine, tmp_path, folder, shown):
    path = put(tmp_path / folder / "a.csv")
    assert open_spec(parse(str(path)), machine.runtime()).seen.endswith(f", in {shown}")


def test_a_file_on_a_local_disk_is_used_where_it_is(machine, tmp_path):
    path = put(tmp_path / "work/a.csv")
    found = open_spec(parse(str(path)), machine.runtime())
    assert (found.in_place, found.identity) == (True, stat_identity(path.stat()))


def test_a_file_on_a_network_disk_is_copied(machine, tmp_path):
    path = put(tmp_path / "work/a.csv")
    machine.mount_table(str(tmp_path / "work"), "nfs4")
    assert not open_spec(parse(str(path)), machine.runtime()).in_place


def test_where_all_lies_on_one_network_disk_a_copy_gains_nothing(machine, tmp_path):
    path = put(tmp_path / "work/a.csv")
    machine.mount_table(str(tmp_path), "9p")
    here = machine.runtime(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert open_spec(parse(str(path)), here).in_place


def test_a_folder_is_a_folder(machine, tmp_path):
    put(tmp_path / "work/photos/a.png")
    assert look("./photos", machine.runtime(cwd=tmp_path / "work")) == tmp_path / "work/photos"


def test_a_missing_file_is_answered_with_the_names_near_it(machine, tmp_path):
    put(tmp_path / "work/datasets.zip")
    with pytest.raises(UnavailableError) as caught:
        look("./dataset.zip", machine.runtime(cwd=tmp_path / "work"))
    lines = str(caught.value).splitlines()
    assert lines[-1] == f"Next: is it this one?  {tmp_path}/work/datasets.zip"


def test_letters_of_the_other_size_are_near(machine, tmp_path):
    put(tmp_path / "work/Datasets.ZIP")
    with pytest.raises(UnavailableError, match=r"Near it, in .*: Datasets\.ZIP"):
        look("./datasets.zip", machine.runtime(cwd=tmp_path / "work"))


def test_a_missing_folder_on_the_way_is_named(machine, tmp_path):
    put(tmp_path / "work/data/a/iris.csv")
    with pytest.raises(UnavailableError, match="There is no folder dat in") as caught:
        look("./dat/a/iris.csv", machine.runtime(cwd=tmp_path / "work"))
    assert str(caught.value).endswith(f"is it this one?  {tmp_path}/work/data/a/iris.csv")


@pytest.mark.parametrize("beginning", ["./", "", "/"])
def test_a_path_that_goes_on_behind_a_file_is_told_so_and_how_to_choose_from_an_archive(machine, tmp_path, beginning):
    with zipfile.ZipFile(put(tmp_path / "work/kk.zip"), "w") as archive:
        archive.writestr("a/[1].txt", "1")
    put(tmp_path / "work/t.csv")
    beginning = f"{tmp_path}/work/" if beginning == "/" else beginning
    for name, step in (
        ("kk.zip/a/[1].txt", "with members='a/[[]1].txt'"),
        ("t.csv/x", "name that file, or one beside"),
    ):
        with pytest.raises(UnavailableError) as caught:
            look(beginning + name, machine.runtime(cwd=tmp_path / "work"))
        lines = str(caught.value).splitlines()
        assert f"{tmp_path}/work/{name.partition('/')[0]} is a file, not a folder." in lines
        assert step in lines[-1]
        assert "Near it" not in str(caught.value)


def test_a_file_on_the_way_is_no_folder(machine, tmp_path):
    put(tmp_path / "work/data")
    with pytest.raises(UnavailableError):
        look("./data/iris.csv", machine.runtime(cwd=tmp_path / "work"))


def test_a_link_that_leads_nowhere_is_said_to(machine, tmp_path):
    (tmp_path / "work/a.zip").symlink_to("/nowhere/a.zip")
    with pytest.raises(UnavailableError, match="is a link to /nowhere/a.zip, and nothing is there"):
        look("./a.zip", machine.runtime(cwd=tmp_path / "work"))


def test_an_empty_folder_is_not_data(machine, tmp_path):
    (tmp_path / "work/empty").mkdir()
    with pytest.raises(IntegrityError, match="is empty"):
        look("./empty", machine.runtime(cwd=tmp_path / "work"))


def test_a_folder_that_holds_only_what_a_mac_adds_is_empty(machine, tmp_path):
    put(tmp_path / "work/empty/.DS_Store")
    put(tmp_path / "work/empty/._a")
    with pytest.raises(IntegrityError, match="is empty"):
        look("./empty", machine.runtime(cwd=tmp_path / "work"))


def test_a_pipe_is_not_opened_for_ever(machine, tmp_path):
    os.mkfifo(tmp_path / "work/pipe.zip")
    with pytest.raises(IntegrityError, match="neither a file nor a folder"):
        look("./pipe.zip", machine.runtime(cwd=tmp_path / "work"))


@pytest.mark.skipif(os.geteuid() == 0, reason="left out: root may read everything")
@pytest.mark.parametrize("name", ["locked", "locked.zip"])
def test_what_may_not_be_read_is_said_to_be_there(machine, tmp_path, name):
    put(tmp_path / "work/locked/a")
    put(tmp_path / "work/locked.zip").chmod(0)
    (tmp_path / "work/locked").chmod(0)
    try:
        with pytest.raises(StorageError, match="you may not read it"):
            look(f"./{name}", machine.runtime(cwd=tmp_path / "work"))
    finally:
        (tmp_path / "work/locked").chmod(0o700)


def test_the_command_that_makes_a_file_readable_takes_any_name(machine, tmp_path, monkeypatch):
    there = put(tmp_path / "work/my photos.zip")

    def refused(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(path_source, "joined", refused)
    with pytest.raises(StorageError) as caught:
        look("./my photos.zip", machine.runtime(cwd=tmp_path / "work"))
    assert caught.value.remedy[0].endswith(f"chmod -R a+rX '{there}'")


def test_a_link_that_leads_to_itself_is_said_to(machine, tmp_path):
    (tmp_path / "work/loop.zip").symlink_to("loop.zip")
    with pytest.raises(StorageError, match="leads to itself"):
        look("./loop.zip", machine.runtime(cwd=tmp_path / "work"))


@pytest.mark.skipif(os.geteuid() == 0, reason="left out: root may read everything")
def test_what_lies_in_a_closed_folder_is_not_said_to_be_there(machine, tmp_path):
    (tmp_path / "work/closed").mkdir(parents=True)
    (tmp_path / "work/closed").chmod(0)
    try:
        with pytest.raises(StorageError, match="you may not look into that folder"):
            look("./closed/nothing.zip", machine.runtime(cwd=tmp_path / "work"))
    finally:
        (tmp_path / "work/closed").chmod(0o700)


def test_a_path_of_a_windows_computer_is_known_for_one(machine):
    with pytest.raises(UnavailableError, match="a path on a Windows computer"):
        look(r"C:\Users\ann\a.zip", machine.runtime())


def test_a_name_that_is_too_long_is_an_error_of_ours(machine, tmp_path):
    with pytest.raises(SpecError):
        look("./" + "x" * 300, machine.runtime(cwd=tmp_path / "work"))


def test_an_error_survives_pickling(machine, tmp_path):
    with pytest.raises(UnavailableError) as caught:
        look("./nothing.zip", machine.runtime(cwd=tmp_path / "work"))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# --- a bare relative path


def test_a_relative_path_is_found_in_the_working_directory(machine, tmp_path):
    path = put(tmp_path / "work/datasets/iris.csv")
    assert look("datasets/iris.csv", machine.runtime(cwd=tmp_path / "work")) == path


def test_a_relative_path_is_found_beside_the_script(machine, tmp_path):
    path = put(tmp_path / "course/datasets/iris.csv")
    put(tmp_path / "course/train.py")
    here = runtime.detect({}, root=machine.root, script=str(tmp_path / "course/train.py"), cwd=tmp_path / "work")
    assert look("datasets/iris.csv", here) == path


def test_a_relative_path_is_found_in_the_search_path(machine, tmp_path):
    path = put(tmp_path / "stick/datasets/iris.csv")
    here = machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=f"/nowhere{os.pathsep}{tmp_path / 'stick'}")
    assert look("datasets/iris.csv", here) == path


@pytest.mark.parametrize("folder", ["Colab Notebooks", "."])
def test_a_relative_path_is_found_in_a_mounted_drive_on_colab(tmp_path, folder):
    colab = Colab(tmp_path / "c")
    (colab.point / "My Drive").mkdir(parents=True)
    (colab.point / "MyDrive").symlink_to("My Drive")
    path = put(colab.point / "My Drive" / folder / "datasets/iris.csv")
    assert look("datasets/iris.csv", colab.runtime(cwd=colab.root / "content")).samefile(path)


def test_a_relative_path_is_not_looked_for_in_drive_outside_of_notebooks(machine, tmp_path):
    put(tmp_path / "gd/My Drive/datasets/iris.csv")
    machine.environment["DATASTAGE_DRIVE"] = str(tmp_path / "gd")
    with pytest.raises(UnavailableError):
        look("datasets/iris.csv", machine.runtime(cwd=tmp_path / "work"))


@pytest.mark.parametrize("input_folder", ["titanic", "datasets/ann/titanic"])
def test_a_relative_path_is_found_at_the_top_of_an_input(tmp_path, input_folder):
    kaggle = Kaggle(tmp_path / "k")
    path = put(kaggle.root / "kaggle/input" / input_folder / "train.csv")
    assert look("train.csv", kaggle.runtime(cwd=kaggle.root / "kaggle/working")) == path


def test_a_file_in_an_input_is_said_by_the_inputs_name(tmp_path):
    kaggle = Kaggle(tmp_path / "k")
    put(kaggle.root / "kaggle/input/titanic/csv/train.csv")
    found = open_spec(parse("csv/train.csv"), kaggle.runtime(cwd=kaggle.root / "kaggle/working"))
    assert found.seen == 'train.csv, 4 bytes, in your input "titanic" > csv'


def test_an_empty_folder_does_not_hide_the_full_one(machine, tmp_path):
    (tmp_path / "work/photos.d").mkdir()
    put(tmp_path / "stick/photos.d/a.png")
    here = machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=str(tmp_path / "stick"))
    assert look("photos.d", here) == tmp_path / "stick/photos.d"


def test_two_hits_with_different_contents_are_an_error_that_lists_both(machine, tmp_path):
    one, two = put(tmp_path / "work/iris.csv", b"1"), put(tmp_path / "stick/iris.csv", b"2")
    with pytest.raises(SpecError) as caught:
        look("iris.csv", machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=str(tmp_path / "stick")))
    assert str(one) in str(caught.value) and str(two) in str(caught.value)  # noqa: PT018


@pytest.mark.parametrize(("name", "data"), [("iris.csv", b"1"), ("photos.d/a.png", b"2")])
def test_two_hits_with_the_same_contents_are_one(machine, tmp_path, name, data):
    put(tmp_path / "work" / name, data)
    put(tmp_path / "stick" / name, data)
    here = machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=str(tmp_path / "stick"))
    assert look(name.split("/")[0], here) == tmp_path / "work" / name.split("/")[0]


def test_two_folders_that_differ_in_one_file_are_different(machine, tmp_path):
    put(tmp_path / "work/photos.d/a.png", b"1")
    put(tmp_path / "stick/photos.d/a.png", b"2")
    with pytest.raises(SpecError, match="2 times"):
        look("photos.d", machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=str(tmp_path / "stick")))


def test_one_file_by_two_ways_is_one(machine, tmp_path):
    path = put(tmp_path / "work/iris.csv")
    (tmp_path / "stick").symlink_to(tmp_path / "work")
    here = machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH=str(tmp_path / "stick"))
    assert look("iris.csv", here) == path


def test_a_missing_relative_path_says_where_was_looked_and_what_is_near(machine, tmp_path):
    put(tmp_path / "work/datasets/iris.zip")
    with pytest.raises(UnavailableError) as caught:
        look("datasets/iris.csv", machine.runtime(cwd=tmp_path / "work", DATASTAGE_PATH="/stick"))
    lines = str(caught.value).splitlines()
    assert "  /stick   (DATASTAGE_PATH)" in lines
    assert lines[-1] == "Next: is it this one?  datasets/iris.zip"
