"""One line stages it, whole and checked; the same line twice does the work once."""

import errno
import hashlib
import io
import json
import os
import shlex
import tarfile
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import archives, slots
from datastage.errors import (
    ChecksumError,
    DamagedArchiveError,
    DatastageError,
    IntegrityError,
    NoSpaceError,
    NotDataError,
    SpecError,
    StorageError,
    UnavailableError,
    UnsafeArchiveError,
)
from datastage.staged import FILES as LIST
from datastage.staged import RECEIPT

pytestmark = pytest.mark.usefixtures("here")

FILES = {"train/cat/1.txt": b"meow", "train/dog/1.txt": b"woof", "test/cat/2.txt": b"purr"}


def make_zip(path, files=FILES, top=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return path


def make_tar(path, files=FILES, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in (RECEIPT, LIST)
    }


def quiet(spec, **options):
    return datastage.stage(spec, progress=False, **options)


def left_in(root):
    """What lies under a root, the marks of what is staged apart."""
    own = slots.own_folder_of(Path(root))
    names = [path.name for path in Path(root).iterdir() if path != own] if Path(root).exists() else []
    return sorted(names + ([path.name for path in own.iterdir() if path.suffix != ".mark"] if own.is_dir() else []))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("pets.zip", make_zip),
        ("pets.tar", lambda path: make_tar(path, mode="w")),
        ("pets.tar.gz", make_tar),
        ("pets.tar.bz2", lambda path: make_tar(path, mode="w:bz2")),
        ("pets.tar.xz", lambda path: make_tar(path, mode="w:xz")),
    ],
)
def test_an_archive_is_unpacked(here, name, make):
    make(here / name)
    assert tree(quiet(f"./{name}")) == FILES


def test_a_bare_relative_path_is_looked_for_in_the_working_directory(here):
    (here / "datasets").mkdir()
    make_zip(here / "datasets" / "pets.zip")
    assert tree(quiet("datasets/pets.zip")) == FILES


def test_a_plain_file_is_the_path_of_the_file_where_it_lies(here):
    (here / "iris.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")
    staged = quiet("iris.csv")
    assert staged.path == here / "iris.csv"
    assert Path(staged).read_text().startswith("5.1")


def test_copy_makes_a_plain_file_ours(here, tmp_path):
    (here / "iris.csv").write_text("1\n")
    staged = quiet("iris.csv", copy=True)
    assert staged.path.is_relative_to(tmp_path / "root")
    assert staged.path.name == "iris.csv"


def test_a_gzipped_file_becomes_the_file(here):
    import gzip

    (here / "iris.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    staged = quiet("./iris.csv.gz")
    assert [path.name for path in staged.iterdir()] == ["iris.csv"]


def test_a_folder_is_used_where_it_lies_and_nothing_is_written_there(here):
    (here / "pets" / "cat").mkdir(parents=True)
    (here / "pets" / "cat" / "1.txt").write_text("meow")
    before = sorted(path for path in (here / "pets").rglob("*"))
    staged = quiet("./pets")
    assert staged.path == here / "pets"
    assert sorted(path for path in (here / "pets").rglob("*")) == before


def rewrite(path):
    path.write_bytes(b"another")


def touch(path):
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1))


def replace_by_name(path):
    path.rename(path.with_name("3.txt"))


CHANGES = (rewrite, touch, replace_by_name, os.unlink, lambda path: (path.parent / "new" / "below").mkdir(parents=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copied_folder_that_changed_anywhere_below_is_staged_anew(change, here, capsys):
    pets, elsewhere = here / "pets", here / "elsewhere"
    for folder in (pets / "train" / "cat", elsewhere):
        folder.mkdir(parents=True)
        for name in ("1.txt", "2.txt"):
            (folder / name).write_bytes(b"meow")
    (pets / "dog").symlink_to(elsewhere)  # what it leads to is copied
    for path in (pets / "train" / "cat" / "1.txt", elsewhere / "2.txt"):
        quiet("./pets", name="pets", copy=True)
        (pets / "train" / ".DS_Store").write_bytes(os.urandom(3))  # is not copied
        (pets / "train" / ".ipynb_checkpoints").mkdir(exist_ok=True)
        again = datastage.stage("./pets", name="pets", copy=True)
        assert again.receipt["reused"]
        assert "the folder there is unchanged. Nothing to do." in capsys.readouterr().err
        change(path)
        staged = datastage.stage("./pets", name="pets", copy=True)
        assert "The folder pets has changed since it was copied" in capsys.readouterr().err
        assert tree(staged) == {k: v for k, v in tree(pets).items() if ".DS_" not in k} | {
            f"dog/{path.name}": path.read_bytes() for path in elsewhere.iterdir() if path.is_file()
        }


def test_of_an_empty_file_of_ones_own_no_site_and_no_address_is_spoken(here):
    (here / "a.csv").touch()
    with pytest.raises(NotDataError, match="a.csv is an empty file") as caught:
        quiet("./a.csv")
    assert "site" not in str(caught.value)
    assert "address" not in str(caught.value)


def test_a_copied_folder_of_a_network_disk_is_not_walked_again_and_not_called_unchanged(here, monkeypatch, capsys):
    (here / "pets" / "cat").mkdir(parents=True)
    (here / "pets" / "cat" / "1.txt").write_bytes(b"meow")
    for module in ("materialize", "reader"):
        monkeypatch.setattr(f"datastage.{module}.is_network_disk", lambda path: True)
    quiet("./pets", name="pets", copy=True)
    (here / "pets" / "cat" / "1.txt").write_bytes(b"another")
    assert datastage.stage("./pets", name="pets", copy=True).receipt["reused"]
    said = " ".join(capsys.readouterr().err.split())
    assert "The folder pets was not compared file by file: refresh=True copies it anew." in said
    assert "unchanged" not in said
    (here / "pets" / "2.txt").write_bytes(b"woof")  # the top itself tells
    assert set(tree(quiet("./pets", name="pets", copy=True))) == {"cat/1.txt", "2.txt"}


def test_copying_a_folder_leaves_out_what_a_mac_adds(here):
    (here / "pets" / "cat").mkdir(parents=True)
    (here / "pets" / "cat" / "1.txt").write_text("meow")
    (here / "pets" / ".DS_Store").write_text("x")
    staged = quiet("./pets", copy=True)
    assert tree(staged) == {"cat/1.txt": b"meow"}
    assert sum(staged.receipt["left_out"].values()) == 1


@pytest.mark.parametrize("name", ["a.npz", "model.pt", "table.xlsx", "tool.whl"])
def test_data_that_happens_to_be_a_zip_stays_a_file(here, name):
    make_zip(here / name)
    assert quiet(f"./{name}").path == here / name


def test_unpack_false_keeps_an_archive_as_it_is(here):
    make_zip(here / "pets.zip")
    assert quiet("./pets.zip", unpack=False).path == here / "pets.zip"


def test_unpack_true_unpacks_what_is_called_data(here):
    make_zip(here / "pets.npz")
    assert tree(quiet("./pets.npz", unpack=True)) == FILES


def test_the_outer_folder_is_taken_off_if_it_bears_the_archives_name(here):
    make_zip(here / "pets.zip", top="pets/")
    staged = quiet("./pets.zip")
    assert tree(staged) == FILES
    assert staged.receipt["stripped"] == "pets"


@pytest.mark.parametrize(("archive", "top"), [("pets.zip", "animals/"), ("train.zip", "train/")])
def test_another_outer_folder_stays(here, archive, top):
    make_zip(here / archive, {"cat/1.txt": b"meow"}, top=top)
    assert tree(quiet(f"./{archive}")) == {f"{top}cat/1.txt": b"meow"}


def test_strip_false_keeps_the_outer_folder(here):
    make_zip(here / "pets.zip", top="pets/")
    assert set(tree(quiet("./pets.zip", strip=False))) == {f"pets/{name}" for name in FILES}


def test_members_takes_some_and_leaves_the_others(here):
    make_zip(here / "pets.zip")
    assert set(tree(quiet("./pets.zip", members="train/*"))) == {"train/cat/1.txt", "train/dog/1.txt"}


def test_the_same_line_twice_does_the_work_once(here):
    make_zip(here / "pets.zip")
    first = quiet("./pets.zip")
    stat = os.stat(first / "train/cat/1.txt")
    again = quiet("./pets.zip")
    assert again.path == first.path
    assert os.stat(again / "train/cat/1.txt").st_ino == stat.st_ino


def test_a_source_that_is_gone_changes_nothing(here):
    make_zip(here / "pets.zip")
    first = quiet("./pets.zip")
    (here / "pets.zip").unlink()
    assert quiet("./pets.zip").path == first.path


def test_a_source_that_changed_is_staged_anew(here):
    make_zip(here / "pets.zip")
    quiet("./pets.zip")
    make_zip(here / "pets.zip", {"train/cow/1.txt": b"moo"})
    assert tree(quiet("./pets.zip")) == {"train/cow/1.txt": b"moo"}


@pytest.mark.parametrize("when_s", [1_000_000_000, 4_000_000_000])
def test_a_source_of_another_time_is_staged_anew(when_s, here):
    zipped = make_zip(here / "pets.zip")
    quiet("./pets.zip")
    assert quiet("./pets.zip").receipt.get("reused")
    os.utime(zipped, (when_s, when_s))
    assert not quiet("./pets.zip").receipt.get("reused")


@pytest.mark.parametrize("is_damaged", [True, False])
def test_what_an_earlier_session_left_is_used_if_its_bytes_are_right(is_damaged, here):
    make_zip(here / "pets.zip")
    first = quiet("./pets.zip")
    if is_damaged:
        file = first / "train/cat/1.txt"
        file.write_bytes(bytes(file.stat().st_size))  # the name and the size came over, the bytes did not
    os.utime(first.path / RECEIPT, (1_600_000_000, 1_600_000_000))
    again = quiet("./pets.zip")
    assert bool(again.receipt.get("reused")) is not is_damaged
    assert tree(again) == FILES


def test_a_folder_that_lost_a_file_is_staged_anew(here):
    make_zip(here / "pets.zip")
    first = quiet("./pets.zip")
    (first / "train/cat/1.txt").unlink()
    assert tree(quiet("./pets.zip")) == FILES


def test_refresh_stages_anew(here):
    make_zip(here / "pets.zip")
    first = quiet("./pets.zip")
    (first / "train/cat/1.txt").write_text("MEOW")
    assert tree(quiet("./pets.zip", refresh=True)) == FILES


def test_a_refresh_that_fails_leaves_what_was_staged_as_ones_own(here):
    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    (here / "pets.zip").write_bytes((here / "pets.zip").read_bytes()[:-9])
    with pytest.raises(DamagedArchiveError):
        quiet("./pets.zip", refresh=True)
    assert [item.path for item in datastage.clean(budget=0, dry_run=True)] == [staged.path]


def test_other_options_go_to_another_folder(here):
    make_zip(here / "pets.zip")
    assert quiet("./pets.zip").path != quiet("./pets.zip", members="train/*").path


def test_a_name_that_is_taken_for_something_else_is_not_touched(here, tmp_path):
    make_zip(here / "pets.zip")
    quiet("./pets.zip", name="pets")
    with pytest.raises(StorageError, match="pets-2"):
        quiet("./pets.zip", name="pets", members="train/*")
    assert tree(tmp_path / "root" / "pets") == FILES


def test_somebodys_folder_is_never_touched(here, tmp_path):
    make_zip(here / "pets.zip")
    (tmp_path / "root" / "pets").mkdir(parents=True)
    (tmp_path / "root" / "pets" / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="thesis.tex"):
        quiet("./pets.zip", name="pets", refresh=True)
    assert (tmp_path / "root" / "pets" / "thesis.tex").read_text() == "years of work"
    assert left_in(tmp_path / "root") == ["pets"]


def test_root_and_name_say_where_the_folder_is_made(here):
    make_zip(here / "pets.zip")
    assert quiet("./pets.zip", root="data", name="pets").path == here / "data" / "pets"


def test_link_makes_the_content_appear_under_its_own_name(here):
    make_zip(here / "pets.zip", top="pets/")
    quiet("./pets.zip", link=".")
    assert (here / "pets" / "train" / "cat" / "1.txt").read_bytes() == b"meow"


@pytest.mark.parametrize("option", ["link", "root", "to"])
def test_a_tilde_is_the_home_of_the_user_in_every_folder_that_is_named(option, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    archive = make_zip(here / "pets.zip")
    if option == "to":
        datastage.extract(archive, "~/data", progress=False)
    else:
        quiet(archive, **{option: "~/data"})
    assert list((here / "home/data").rglob("train/cat/1.txt"))


def test_link_of_several_top_folders_makes_each_appear(here):
    make_zip(here / "pets.zip")
    quiet("./pets.zip", link=".")
    assert (here / "train" / "cat" / "1.txt").read_bytes() == b"meow"
    assert not (here / RECEIPT).exists()


def test_a_fallback_is_taken_when_the_first_place_gives_nothing(here):
    make_zip(here / "pets.zip")
    assert tree(quiet("./no-such.zip", fallbacks=["./pets.zip"])) == FILES


@pytest.mark.parametrize("spec", ["./pets.zip", "./{pets,iris}.zip"])
def test_a_first_place_that_cannot_be_opened_is_passed_over(here, spec):
    (here / "pets.zip").symlink_to("pets.zip")
    for name in ("iris.zip", "other.zip"):
        make_zip(here / name)
    with pytest.raises(StorageError) as alone:
        quiet(spec)
    assert alone.value.errno == errno.ELOOP
    staged = quiet(spec, fallbacks=["./other.zip"])
    assert tree(staged) == FILES
    assert [attempt["failure"] for attempt in staged.receipt["attempts"]] == [str(alone.value.args[0])]


def test_a_disk_of_ours_that_refuses_is_not_taken_for_the_place(here, tmp_path, monkeypatch):
    make_zip(here / "pets.zip")
    tried = []

    def full(reader, *_, **__):
        tried.append(reader.name)
        raise NoSpaceError("The disk is full.")

    monkeypatch.setattr(archives, "unpack", full)
    with pytest.raises(NoSpaceError):
        quiet("./pets.zip", fallbacks=["./pets.zip"])
    assert tried == ["pets.zip"]


def test_a_first_place_with_wrong_bytes_is_passed_over(here):
    (here / "bad.zip").write_bytes(b"<!DOCTYPE html><html><body>Sign in</body></html>")
    make_zip(here / "pets.zip")
    staged = quiet("./bad.zip", fallbacks=["./pets.zip"])
    assert tree(staged) == FILES
    assert [attempt["place"] for attempt in staged.receipt["attempts"]] == ["./bad.zip"]


def test_expect_accepts_the_right_hash(here):
    make_zip(here / "pets.zip")
    digest = hashlib.sha256((here / "pets.zip").read_bytes()).hexdigest()
    assert tree(quiet("./pets.zip", expect=f"sha256:{digest}")) == FILES


@pytest.mark.parametrize("name", ["pets.zip", "iris.csv"])
def test_expect_refuses_another_hash_and_leaves_nothing(here, tmp_path, name):
    make_zip(here / "pets.zip")
    (here / "iris.csv").write_text("1\n")
    with pytest.raises(ChecksumError):
        quiet(f"./{name}", expect="md5:" + "0" * 32)
    assert left_in(tmp_path / "root") == []


@pytest.mark.parametrize("options", [{}, {"copy": True}], ids=str)
def test_a_folder_is_never_taken_for_the_file_that_a_hash_is_of(here, tmp_path, options):
    (here / "pets").mkdir()
    (here / "pets" / "a.csv").write_text("1\n")
    (here / "iris.csv").write_text("1\n")
    right = "md5:" + hashlib.md5(b"1\n").hexdigest()
    with pytest.raises(IntegrityError, match="is a folder"):
        quiet("./pets", expect=right, **options)
    with pytest.raises(DatastageError):
        quiet("./no-such.csv", fallbacks=["./pets"], expect=right, **options)
    assert left_in(tmp_path / "root") == []
    assert quiet("./pets", fallbacks=["./iris.csv"], expect=right, **options).path.read_text() == "1\n"


@pytest.mark.parametrize("options", [{"expect": f"md5:{'0' * 32}"}, {"members": "a*"}], ids=str)
@pytest.mark.parametrize("spec", ["./{a,b}.csv", "./no-such.csv"])
def test_what_is_of_one_file_is_refused_for_several(here, spec, options):
    for name in ("a.csv", "b.csv"):
        (here / name).write_text("1\n")
    with pytest.raises(SpecError, match=f"{next(iter(options))}=.*several"):
        quiet(spec, fallbacks=["./{a,b}.csv"], **options)


@pytest.mark.parametrize("options", [{}, {"copy": True}], ids=str)
@pytest.mark.parametrize("name", ["pets", "iris.csv", "photos.npz"])
def test_members_of_what_is_not_unpacked_are_refused(here, tmp_path, name, options):
    (here / "pets").mkdir()
    (here / "pets" / "a.csv").write_text("1\n")
    (here / "iris.csv").write_text("1\n")
    make_zip(here / "photos.npz")
    with pytest.raises(IntegrityError, match="members="):
        quiet(f"./{name}", members="a*", **options)
    assert left_in(tmp_path / "root") == []
    make_zip(here / "other.zip")
    member = next(iter(zipfile.ZipFile(here / "other.zip").namelist()))
    assert quiet(f"./{name}", fallbacks=["./other.zip"], members=member, **options).exists()


def test_a_copy_of_a_folder_that_holds_the_root_is_made_once(here):
    (here / "a.csv").write_text("1\n")
    assert not quiet(".", copy=True, root="./data", name="x").receipt.get("reused")
    assert quiet(".", copy=True, root="./data", name="x").receipt.get("reused")


@pytest.mark.parametrize("expect", ["", "md5", "md5:xyz", "sha1:" + "0" * 40, "md5:" + "0" * 31])
def test_a_hash_that_is_none_is_refused(here, expect):
    make_zip(here / "pets.zip")
    with pytest.raises(SpecError):
        quiet("./pets.zip", expect=expect)


def damaged(here):
    make_zip(here / "x.zip", {"a.bin": os.urandom(5000)})
    data = bytearray((here / "x.zip").read_bytes())
    data[2000] ^= 1
    (here / "x.zip").write_bytes(data)


def cut(here):
    make_zip(here / "x.zip", {"a.bin": os.urandom(5000)})
    (here / "x.zip").write_bytes((here / "x.zip").read_bytes()[:3000])


def web_page(here):
    (here / "x.zip").write_text("<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>")


def lfs_pointer(here):
    (here / "x.zip").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n")


def empty(here):
    (here / "x.zip").write_bytes(b"")


def hostile(here):
    make_zip(here / "x.zip", {"good.txt": b"", "../evil.txt": b"evil"})


def noise(here):
    (here / "x.zip").write_bytes(os.urandom(5000))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (damaged, DamagedArchiveError),
        (cut, DamagedArchiveError),
        (web_page, NotDataError),
        (lfs_pointer, NotDataError),
        (empty, IntegrityError),
        (hostile, UnsafeArchiveError),
        (noise, DamagedArchiveError),
    ],
)
def test_wrong_input_is_an_error_of_ours_and_leaves_nothing(here, tmp_path, make, kind):
    make(here)
    with pytest.raises(kind) as caught:
        quiet("./x.zip")
    assert caught.value.remedy
    assert left_in(tmp_path / "root") == []
    assert not (tmp_path / "evil.txt").exists()


def test_an_empty_file_of_this_machine_has_no_site_to_ask(here):
    (here / "pets.zip").touch()
    with pytest.raises(NotDataError, match=r"work/pets.zip is an empty file") as caught:
        quiet("./pets.zip")
    assert "browser" not in str(caught.value)


def test_what_is_missing_is_looked_for_in_the_folder_where_it_should_be(here, tmp_path):
    (here / "a b").mkdir()
    for path, folder in (("a b/x.zip", here / "a b"), ("no/x.zip", here)):
        with pytest.raises(UnavailableError) as caught:
            datastage.extract(path, "out", progress=False)
        assert caught.value.remedy[-1].endswith(f"ls {shlex.quote(str(folder))}")
    with pytest.raises(SpecError) as wrong:
        datastage.clean("nothing")
    assert wrong.value.remedy[-1].endswith(f"ls {tmp_path / 'root'}")


def test_a_file_that_is_not_there_says_what_is_near(here):
    make_zip(here / "pets.zip")
    with pytest.raises(UnavailableError, match="pets.zip"):
        quiet("./pest.zip")


def test_a_name_that_is_no_dataset_says_what_is_near(here):
    with pytest.raises(SpecError, match="cifar10"):
        quiet("cifar_10")


def test_two_hits_with_different_contents_are_an_error_that_lists_both(here, tmp_path, monkeypatch):
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "iris.csv").write_text("1\n")
    (here / "iris.csv").write_text("2\n")
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "usb"))
    with pytest.raises(datastage.DatastageError) as caught:
        quiet("iris.csv")
    assert str(tmp_path / "usb" / "iris.csv") in str(caught.value)
    assert str(here / "iris.csv") in str(caught.value)


def test_ready_data_of_a_relative_name_looks_at_its_source_few_times(here, tmp_path, monkeypatch):
    (tmp_path / "usb").mkdir()
    make_zip(tmp_path / "usb/q.zip", {"a.txt": b"1"})
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "usb"))
    quiet("q.zip")
    looks, real = [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, *args, **how: (looks.append(str(path)), real(path, *args, **how))[1])
    assert quiet("q.zip").receipt["reused"]
    assert looks.count(str(tmp_path / "usb/q.zip")) <= 3


def test_a_relative_name_that_leads_to_another_file_by_now_gives_that_one(here, tmp_path, monkeypatch, capsys):
    for folder, text in (("p1", b"one"), ("p2", b"two"), ("work", b"here")):
        (tmp_path / folder).mkdir(exist_ok=True)
        make_zip(tmp_path / folder / "q.zip", {"a.txt": text})
    first = here / "q.zip"
    aside = first.rename(here / "aside.zip")
    for folder, text in (("p1", b"one"), ("p2", b"two"), ("p1", b"one")):
        monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / folder))
        assert tree(quiet("q.zip")) == {"a.txt": text}
        assert quiet("q.zip").receipt["reused"]
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "p2"))
    (here / "q.zip").mkdir()  # is empty, and hides nothing
    assert tree(datastage.stage("q.zip")) == {"a.txt": b"two"}
    said = " ".join(capsys.readouterr().err.split())
    assert f"q.zip was {tmp_path}/p1/q.zip, and leads to {tmp_path}/p2/q.zip by now" in said
    assert quiet("q.zip").receipt["reused"]
    (here / "q.zip").rmdir()
    aside.rename(first)
    with pytest.raises(SpecError, match="2 times, with different contents"):
        quiet("q.zip")
    monkeypatch.delenv("DATASTAGE_PATH")
    assert tree(quiet("q.zip")) == {"a.txt": b"here"}


def test_what_was_linked_under_the_name_of_its_source_is_no_other_file(here, tmp_path, monkeypatch):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "iris.csv").write_text("1\n")
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "p1"))
    quiet("iris.csv", copy=True, link=".")
    assert (here / "iris.csv").is_symlink()
    assert quiet("iris.csv", copy=True, link=".").receipt["reused"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_root_without_permission_is_an_error_of_ours(here):
    make_zip(here / "pets.zip")
    (here / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError):
        quiet("./pets.zip", root=here / "locked")


def test_a_receipt_that_comes_with_the_data_is_not_trusted(here):
    make_zip(here / "pets.zip", {**FILES, RECEIPT: b'{"schema": 1, "key": "x"}', LIST: b""})
    staged = quiet("./pets.zip")
    assert tree(staged) == FILES
    assert datastage.verify(staged, progress=False).ok


def test_the_receipt_says_what_was_staged_and_what_was_left_out(here):
    make_zip(here / "pets.zip", {**FILES, "__MACOSX/._x": b"m", ".DS_Store": b"d"})
    receipt = json.loads((quiet("./pets.zip").path / RECEIPT).read_text())
    assert (receipt["n_files"], receipt["n_bytes"], receipt["format"], sum(receipt["left_out"].values())) == (
        3,
        12,
        "zip",
        2,
    )


def test_verify_finds_a_changed_file(here):
    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    (staged / "test/cat/2.txt").write_text("PURR")
    assert datastage.verify(staged, progress=False).damaged == ("test/cat/2.txt",)


def test_verify_of_a_folder_that_is_not_ours_says_so(here):
    with pytest.raises(SpecError):
        datastage.verify(here, progress=False)


def test_extract_unpacks_into_the_folder_that_is_named(here):
    make_zip(here / "pets.zip", top="pets/")
    staged = datastage.extract(here / "pets.zip", here / "out", progress=False)
    assert set(tree(staged)) == {f"pets/{name}" for name in FILES}


def test_extract_leaves_nothing_after_an_error(here):
    hostile(here)
    before = left_in(here)
    with pytest.raises(UnsafeArchiveError):
        datastage.extract(here / "x.zip", here / "out", progress=False)
    assert left_in(here) == before


def test_members_lists_an_archive(here):
    make_zip(here / "pets.zip")
    assert {member.name: member.size for member in datastage.members(here / "pets.zip")} == dict.fromkeys(FILES, 4)


def test_repair_brings_damaged_and_missing_files_again(here):
    make_zip(here / "pets.zip", top="pets/")
    staged = quiet("./pets.zip")
    (staged / "test/cat/2.txt").write_text("PURR")
    (staged / "train/dog/1.txt").unlink()
    found = datastage.verify(staged, repair=True, progress=False)
    assert (found.ok, sorted(found.repaired)) == (True, ["test/cat/2.txt", "train/dog/1.txt"])
    assert tree(staged) == FILES


def test_repair_of_a_copied_folder_and_of_a_single_file(here):
    (here / "pets").mkdir()
    (here / "pets" / "1.txt").write_text("meow")
    for spec, name in (("./pets", "1.txt"), ("./pets/1.txt", None)):
        staged = quiet(spec, copy=True)
        damaged_file = staged / name if name else staged.path
        damaged_file.write_text("MEOW")
        assert datastage.verify(staged, repair=True, progress=False).ok
        assert damaged_file.read_text() == "meow"


def test_clean_removes_what_killed_runs_left_and_nothing_else(here, tmp_path):
    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    root = staged.path.parent
    for name in ("x.partial", "x.fetch", "pets.repair"):
        (slots.own_folder_of(root) / name).mkdir()
    (root / "thesis").mkdir()
    went = datastage.clean()
    assert sorted(item.path.name for item in went) == ["pets.repair", "x.fetch", "x.partial"]
    assert left_in(root) == sorted([staged.path.name, "thesis"])


def test_clean_leaves_the_only_copy_of_a_folder_that_was_being_replaced(here):
    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    os.rename(staged.path, slots.own_folder_of(staged.path.parent) / f"{staged.path.name}.old")
    assert datastage.clean() == ()


def test_clean_by_age_takes_what_was_not_asked_for_in_that_time(here):
    make_zip(here / "old.zip")
    make_zip(here / "new.zip")
    old, new = quiet("./old.zip"), quiet("./new.zip")
    os.utime(old / RECEIPT, (0, 0))
    assert [item.path for item in datastage.clean(older_than="30d", dry_run=True)] == [old.path]
    assert old.exists()
    datastage.clean(older_than="30d")
    assert (old.exists(), new.exists()) == (False, True)


def test_asking_again_counts_as_use(here):
    make_zip(here / "old.zip")
    old = quiet("./old.zip")
    os.utime(old / RECEIPT, (0, 0))
    quiet("./old.zip")
    assert datastage.clean(older_than="30d") == ()


def test_clean_to_a_budget_takes_the_longest_unused_first(here):
    for name in "abc":
        make_zip(here / f"{name}.zip", {"x.bin": bytes(100_000)})
    staged = [quiet(f"./{name}.zip") for name in "abc"]
    for number, one in enumerate((staged[1], staged[2], staged[0])):
        os.utime(one / RECEIPT, (1000 + number, 1000 + number))
    datastage.clean(budget="250 kB")
    assert [one.exists() for one in staged] == [True, False, True]


def test_clean_never_takes_what_is_locked(here):
    from datastage.lock import locked

    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    with locked(slots.slot_of(staged.path.parent, staged.path.name).lock):
        assert datastage.clean(budget=0) == ()
    assert staged.exists()


@pytest.mark.parametrize("options", [{"older_than": "soon"}, {"budget": "much"}, {"budget": "-1"}])
def test_clean_refuses_what_is_no_time_and_no_size(here, options):
    with pytest.raises(SpecError):
        datastage.clean(**options)


def test_a_file_that_is_copied_is_compared_with_its_hash(here, tmp_path):
    (here / "iris.csv").write_text("1\n")
    right = hashlib.md5(b"1\n").hexdigest()
    assert quiet("./iris.csv", copy=True, expect=f"md5:{right}").path.read_text() == "1\n"
    with pytest.raises(ChecksumError):
        quiet("./iris.csv", copy=True, expect="md5:" + "0" * 32)
    assert len(left_in(tmp_path / "root")) == 1


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("page.zip", "page2.zip", 4), ("page.zip", "no-such.zip", 3), ("no-such.zip", "page.zip", 3)],
)
def test_a_chain_of_mixed_failures_asks_a_person_and_one_of_wrong_bytes_alone_does_not(here, first, second, code):
    for name in ("page.zip", "page2.zip"):
        (here / name).write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(datastage.DatastageError) as caught:
        quiet(f"./{first}", fallbacks=[f"./{second}"])
    assert caught.value.exit_code == code


def test_a_run_that_lost_its_lock_leaves_the_files_of_its_successor(here, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: (_ for _ in ()).throw(OSError(38, "no locks here")))
    make_zip(here / "pets.zip")
    root = tmp_path / "root"
    real = archives.unpack

    def lose_it(*arguments, **options):
        real(*arguments, **options)
        (lock,) = root.rglob("pets.locked")
        lock.write_text('{"pid": 1, "host": "node3", "boot": "other", "token": "anothers"}')
        raise IntegrityError("damaged")

    monkeypatch.setattr(archives, "unpack", lose_it)
    with pytest.raises(IntegrityError):
        quiet("./pets.zip", name="pets")
    assert list(root.rglob("pets.partial"))


def test_text_is_added_to_the_path_as_beginners_do(here):
    make_zip(here / "pets.zip")
    staged = quiet("./pets.zip")
    assert staged + "/train/cat/1.txt" == str(staged / "train/cat/1.txt")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "folders alone", "hidden files alone"])
def test_an_archive_without_a_file_is_an_error_but_where_it_was_asked_for(tmp_path, here, kind):
    path = tmp_path / "a.zip"
    make_zip(path, {"a/": b""} if kind == "folders alone" else {"__MACOSX/._1": b"x"} if kind[:6] == "hidden" else {})
    if kind in ("tar", "tgz"):
        path = make_tar(tmp_path / f"a.{kind}", {}, "w" if kind == "tar" else "w:gz")
    with pytest.raises(IntegrityError, match=r"without a file in it") as caught:
        datastage.stage(path, progress=False)
    assert str(caught.value).splitlines()[-1].startswith("  Next: ")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for options in ({"unpack": True}, {"expect": f"sha256:{digest}"}):
        assert tree(datastage.stage(path, progress=False, **options)) == {}
    assert [member.kind for member in datastage.members(path) if member.kind != "folder"] in ([], ["file"])
    assert tree(datastage.extract(path, tmp_path / "out", progress=False)) == {}


LONG = "a" * 251


@pytest.mark.parametrize("name", [LONG + ".csv", LONG + ".zip", "é" * 125 + ".csv"])
def test_a_name_as_long_as_a_disk_takes_is_copied_and_kept(tmp_path, here, name):
    path = make_zip(tmp_path / name, {"a.txt": b"1"}) if name.endswith(".zip") else tmp_path / name
    name.endswith(".zip") or path.write_bytes(b"1,2\n")
    made = datastage.stage(path, copy=True, save_to=tmp_path / "kept", progress=False)
    assert tree(made) == {"a.txt": b"1"} if name.endswith(".zip") else Path(made).read_bytes() == b"1,2\n"
    assert (tmp_path / "kept" / name).read_bytes() == path.read_bytes()
    assert not [left for left in tmp_path.rglob("*") if left.name.endswith((".part", ".map", ".partial"))]


def test_zips_and_folders_of_long_names_are_made(tmp_path, here):
    archive = make_zip(tmp_path / f"{LONG}.zip", {"a.txt": b"1"})
    made = datastage.extract(archive, tmp_path / ("b" * 255), progress=False)
    assert (made.path.name, tree(made)) == ("b" * 255, {"a.txt": b"1"})
    assert datastage.zip_folder(made.path, tmp_path / ("c" * 251 + ".zip"), progress=False).is_file()
