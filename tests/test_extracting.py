from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import datastage
from datastage import extracting
from datastage.errors import (
    DamagedArchiveError,
    IntegrityError,
    NoSpaceError,
    SpecError,
    StorageError,
    UnavailableError,
)

FILES = {"a.txt": b"alpha", "d/b.txt": b"beta", "d/e/c.txt": b"gamma"}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts and /dev/stdin as Linux has them")


def zip_at(path: Path, files: dict = FILES) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_at(path: Path, files: dict = FILES) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, all of it but the receipt."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".datastage.json", ".datastage-files")
    }


def extract(archive, to, **options):
    return datastage.extract(archive, to, progress=False, **options)


@pytest.fixture(params=[zip_at, tar_at], ids=["zip", "tar"])
def archive(request, tmp_path):
    return request.param(tmp_path / "data.archive")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def test_an_empty_folder_is_filled_and_stays_the_same_folder(archive, folder):
    before = os.stat(folder).st_ino
    staged = extract(archive, folder)
    assert (os.stat(folder).st_ino, files_in(folder)) == (before, FILES)
    assert sorted(os.listdir(folder)) == [".datastage-files", ".datastage.json", "a.txt", "d"]
    assert datastage.verify(staged).ok


def test_the_working_directory_is_filled_under_whoever_stands_in_it(archive, folder, monkeypatch):
    monkeypatch.chdir(folder)
    extract(archive, ".")
    assert sorted(path for path in os.listdir(".") if path[0] != ".") == ["a.txt", "d"]


@pytest.mark.parametrize("mine", ["mine", ".mine"])
def test_a_folder_with_other_files_is_filled_and_they_stay(mine, archive, folder):
    (folder / mine).write_bytes(b"1")
    extract(archive, folder)
    assert files_in(folder) == {**FILES, mine: b"1"}
    assert sorted(os.listdir(folder)) == sorted(["a.txt", "d", mine])  # without a receipt


def test_a_folder_that_both_have_holds_what_both_had(archive, folder):
    (folder / "d").mkdir()
    (folder / "d/mine").write_bytes(b"2")
    extract(archive, folder)
    assert files_in(folder) == {**FILES, "d/mine": b"2"}


def test_what_is_not_asked_for_is_not_in_the_way(archive, folder):
    (folder / "a.txt").write_bytes(b"mine")
    extract(archive, folder, members="d/b*")
    assert files_in(folder) == {"a.txt": b"mine", "d/b.txt": b"beta"}


@pytest.mark.parametrize("taken", ["a.txt", "d/e/c.txt", "d/b.txt/x", "d"])
def test_what_is_there_is_never_replaced_and_nothing_is_brought(taken, archive, folder):
    (folder / taken).parent.mkdir(parents=True, exist_ok=True)
    (folder / taken).write_bytes(b"mine")
    before = files_in(folder)
    with pytest.raises(StorageError, match="there already"):
        extract(archive, folder)
    assert files_in(folder) == before
    assert not [name for name in os.listdir(folder) if name.startswith(".datastage")]


def test_a_clash_is_told_before_a_byte_is_unpacked_where_a_list_tells(tmp_path, folder):
    path = zip_at(tmp_path / "x.zip", {"first": b"1" * 1000, "last": b"2"})
    data = bytearray(path.read_bytes())
    data[40] ^= 1  # unpacking would find this
    path.write_bytes(bytes(data))
    (folder / "last").write_bytes(b"mine")
    with pytest.raises(StorageError, match="last is there already"):
        extract(path, folder)


@pytest.mark.parametrize("link", ["a.txt", "d", "d/e"])
def test_nothing_is_written_through_a_link_that_is_there(link, archive, folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="there already"):
        extract(archive, folder)
    assert os.listdir(tmp_path / "outside") == []


def test_after_a_damaged_archive_the_folder_is_as_it_was(tmp_path, folder):
    path = zip_at(tmp_path / "x.zip", {f"{i}": os.urandom(500) for i in range(50)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    (folder / "mine").write_bytes(b"1")
    with pytest.raises(DamagedArchiveError):
        extract(path, folder)
    assert os.listdir(folder) == ["mine"]


def test_an_error_amid_the_moving_takes_away_what_came(archive, folder, monkeypatch):
    (folder / "d").mkdir()
    (folder / "d/mine").write_bytes(b"2")
    plain, calls = os.link, []

    def failing(source, target, **options):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        plain(source, target, **options)

    monkeypatch.setattr(os, "link", failing)
    monkeypatch.setattr(os, "rename", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError):
        extract(archive, folder)
    assert files_in(folder) == {"d/mine": b"2"}
    assert os.listdir(folder) == ["d"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_comes_to_be_there_while_the_files_are_brought_is_not_replaced(kind, folder, tmp_path):
    (came := tmp_path / "came").mkdir()
    (came / "a").write_bytes(b"new") if kind == "file" else (came / "a").symlink_to("b")
    with pytest.raises(StorageError, match="there already"):
        extracting.move_in(came, folder, "x", durable=False, check=lambda: (folder / "a").write_bytes(b"mine"))
    assert files_in(folder) == {"a": b"mine"}


def test_a_disk_without_hard_links_is_filled_too(archive, folder, monkeypatch):
    def refused(*args, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    (folder / "mine").write_bytes(b"1")
    extract(archive, folder)
    assert files_in(folder) == {**FILES, "mine": b"1"}


def test_a_second_archive_fills_the_folder_of_the_first(tmp_path):
    zip_at(tmp_path / "1.zip", {"d/1": b"1"})
    zip_at(tmp_path / "2.zip", {"d/2": b"2"})
    extract(tmp_path / "1.zip", tmp_path / "to")
    extract(tmp_path / "2.zip", tmp_path / "to")
    assert files_in(tmp_path / "to") == {"d/1": b"1", "d/2": b"2"}
    with pytest.raises(StorageError, match="there already"):
        extract(tmp_path / "1.zip", tmp_path / "to")


def test_one_name_twice_is_said(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for data in (b"first", b"second"):
            info = tarfile.TarInfo("f")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    command = [sys.executable, "-m", "datastage", "extract", tmp_path / "x.tar", tmp_path / "to"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "1 name in the archive; the later file counts" in done.stderr
    assert files_in(tmp_path / "to") == {"f": b"second"}


def test_a_file_in_the_place_of_the_folder_is_not_touched(archive, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="not touched"):
        extract(archive, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_no_archive_leaves_no_trace(folder, tmp_path):
    (tmp_path / "text").write_bytes(b"just text")
    for missing in (tmp_path / "gone.zip", tmp_path / "text", folder):
        with pytest.raises((UnavailableError, SpecError, datastage.IntegrityError)):
            extract(missing, folder)
        with pytest.raises((UnavailableError, SpecError, datastage.IntegrityError)):
            extract(missing, tmp_path / "new")
    assert os.listdir(folder) == []
    assert sorted(os.listdir(tmp_path)) == ["text", "there"]


KILLED = """\
import os, signal, sys, time
from datastage import extract
plain, moved = os.link, []
def link(source, target, **options):
    plain(source, target, **options)
    moved.append(target)
    if len(moved) == 3:
        print("moving", flush=True)
        time.sleep(60)
os.link = link
extract(sys.argv[1], sys.argv[2], progress=False)
"""


def test_a_kill_leaves_a_marker_that_names_what_came_and_the_next_run_begins_anew(tmp_path, folder):
    files = {f"{i}": b"%d" % i for i in range(10)}
    archive = zip_at(tmp_path / "x.zip", files)
    (folder / "mine").write_bytes(b"1")
    child = subprocess.Popen([sys.executable, "-c", KILLED, archive, folder], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"moving\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    came = set(files_in(folder)) & set(files)
    header, *named = map(json.loads, (folder / extracting.MARKER).read_text().splitlines())
    assert len(came) == 3
    assert came <= {path for path, *_ in named}
    assert header["archive"] == "x.zip"
    assert extract(archive, folder).path == folder
    assert files_in(folder) == {**files, "mine": b"1"}
    assert sorted(os.listdir(folder)) == sorted([*files, "mine"])


def killed_with_all_in_place(archive, folder):
    """Extract, and be killed just before the marker would go."""
    code = (
        "import os, sys; from pathlib import Path; from datastage import extract, extracting as e, own_files; plain ="
        " own_files.unlink; own_files.unlink = lambda path: os._exit(9) if path.name == e.MARKER else plain(path)"
        "; extract(sys.argv[1], sys.argv[2], progress=False)"
    )
    assert subprocess.run([sys.executable, "-c", code, archive, folder]).returncode == 9
    assert (folder / extracting.MARKER).is_file()


def test_what_was_changed_or_added_since_a_kill_stays_and_is_named(tmp_path, folder, capsys):
    files = {"zz.txt": b"z", "train/1.txt": b"1", "train/2.txt": b"2", "val/3.txt": b"3", "same/4.txt": b"4"}
    first, second = zip_at(tmp_path / "a.zip", files), zip_at(tmp_path / "b.zip", {"b.txt": b"b"})
    (folder / "same").mkdir()  # it was there before, with nothing in it
    killed_with_all_in_place(first, folder)
    assert files_in(folder).items() >= files.items()
    (folder / "train" / "my-labels.csv").write_bytes(b"of mine")
    with (folder / "zz.txt").open("ab") as out:
        out.write(b"of mine")
    datastage.extract(second, folder)
    assert files_in(folder) == {"b.txt": b"b", "zz.txt": b"zof mine", "train/my-labels.csv": b"of mine"}
    assert sorted(os.listdir(folder)) == ["b.txt", "same", "train", "zz.txt"]
    said = " ".join(capsys.readouterr().err.split())
    assert "was taken away, but for train, zz.txt: changed or added to since." in said


def test_a_file_of_the_same_size_and_time_that_took_the_place_of_one_that_came_stays(tmp_path, folder):
    killed_with_all_in_place(zip_at(tmp_path / "a.zip", {"1": b"1", "2": b"2"}), folder)
    seen = os.stat(folder / "1")
    os.rename(folder / "1", tmp_path / "away")
    (folder / "1").write_bytes(b"m")
    os.utime(folder / "1", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert extracting.take_away_leftovers(folder) == ["1"]
    assert (folder / "1").read_bytes() == b"m"
    assert not (folder / "2").exists()


def test_what_a_marker_names_and_did_not_come_with_it_stays(folder, tmp_path):
    (folder / "mine").write_bytes(b"1")
    (tmp_path / "outside").write_bytes(b"2")
    (tmp_path / "empty").mkdir()
    (folder / "up").symlink_to(tmp_path)
    seen = os.stat(tmp_path / "outside")
    facts = [seen.st_ino, seen.st_size, seen.st_mtime_ns]
    outside = ("../outside", "up/outside", str(tmp_path / "outside"))
    lines = [["mine", os.stat(folder / "mine").st_ino + 1, *facts[1:]], *([path, *facts] for path in outside)]
    lines += [["up/empty"], ["../empty"], [str(tmp_path / "empty")], ["mine"], [""], []]
    odd = ("[" * 100_000, '{"mine": [1]}', '["mine", "x"]', "[1]", '"mine"', "")
    for text in ("\n".join(map(json.dumps, lines)), *odd):
        (folder / extracting.MARKER).write_text(text)
        assert extracting.take_away_leftovers(folder) is not None
        assert sorted(os.listdir(folder)) == ["mine", "up"]
    assert (tmp_path / "outside").read_bytes() == b"2"
    assert (tmp_path / "empty").is_dir()


@linux
@pytest.mark.parametrize("verb", ["unpack", "list"])
@pytest.mark.parametrize("make", [zip_at, tar_at])
def test_an_archive_may_come_from_a_pipe(verb, make, tmp_path):
    data = make(tmp_path / "x").read_bytes()
    words = ["--list"] if verb == "list" else [str(tmp_path / "to"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "datastage", "extract", "/dev/stdin", *words], input=data, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    if verb == "list":
        assert all(name.encode() in done.stdout for name in FILES)
    else:
        assert files_in(tmp_path / "to") == FILES
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".datastage")]


@linux
def test_what_a_pipe_gives_takes_room_on_the_disk_that_it_is_unpacked_to(tmp_path, monkeypatch):
    data = zip_at(tmp_path / "x.zip").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), daemon=True).start()
    extract(tmp_path / "pipe", tmp_path / "to")
    assert files_in(tmp_path / "to") == FILES


@linux
def test_a_device_is_no_archive(tmp_path):
    with pytest.raises(SpecError, match="neither a file nor a pipe"):
        extract("/dev/zero", tmp_path / "to")


@linux
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_mount_point_is_filled(tmp_path):
    archive = zip_at(tmp_path / "x.zip")
    (tmp_path / "vol").mkdir()
    script = 'mount -t tmpfs t vol && "$0" -m datastage extract x.zip vol --quiet && cat vol/d/b.txt && ls -A vol'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True
    )
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "vol"), "beta.datastage-files", ".datastage.json", "a.txt", "d"]
    assert archive.exists()


def test_two_at_once_fill_one_folder_once(tmp_path, folder):
    archive = zip_at(tmp_path / "x.zip", {f"{i}": b"%d" % i for i in range(200)})
    command = [sys.executable, "-m", "datastage", "extract", archive, folder, "--quiet"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    codes = sorted((process.communicate(timeout=300), process.returncode)[1] for process in running)
    assert codes == [0, 5, 5]
    assert len(files_in(folder)) == 200


def test_an_archive_on_another_machines_disk_is_read_ahead_and_nothing_of_it_stays(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("datastage.mounts.is_network_disk", lambda path, **options: Path(path) == archive)
    began = time.monotonic()
    extract(archive, tmp_path / "to")
    assert files_in(tmp_path / "to") == FILES
    assert sorted(os.listdir(tmp_path)) == [archive.name, "to"]
    assert time.monotonic() - began < 30


def test_what_is_read_ahead_of_an_archive_takes_room_too(tmp_path, monkeypatch):
    archive = zip_at(tmp_path / "a.zip", {"a": bytes(100_000)})
    monkeypatch.setattr("datastage.runtime.free_bytes", lambda path: 150_000)
    extract(archive, tmp_path / "near")
    monkeypatch.setattr("datastage.mounts.is_network_disk", lambda path, **options: Path(path) == archive)
    with pytest.raises(NoSpaceError):
        extract(archive, tmp_path / "far")


def test_what_is_advised_can_be_done_here(tmp_path, monkeypatch):
    """The folder is named as it is: there is no root= to choose another disk with."""
    archive = zip_at(tmp_path / "x.zip")
    monkeypatch.setattr("datastage.runtime.free_bytes", lambda path: 3)
    with pytest.raises(StorageError, match="choose another disk") as caught:
        extract(archive, tmp_path / "to")
    assert "root=" not in str(caught.value)
    monkeypatch.undo()
    (tmp_path / "file").write_text("mine")
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name / "1.png")
    for verb, data in ((datastage.extract, archive), (datastage.pack, tmp_path / "photos")):
        with pytest.raises(StorageError, match="hoose a.* folder") as caught:
            verb(data, tmp_path / "file" / "below", progress=False)
        assert "root=" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what", "step"),
    [
        (b"\x1f\x9d\x90" + bytes(30), "compressed by compress", "gunzip"),
        (b"]\0\0\x80\0" + b"\xff" * 8 + bytes(20), "compressed as lzma", "unlzma"),
        (b"LZIP\1\x17" + bytes(30), "lzip", "lzip -d"),
        (b"070701" + b"0" * 100, "a cpio archive", "7z x"),
        (b"MSCF" + bytes(60), "a cabinet file", "7z x"),
        (bytes(32_769) + b"CD001\1\0" + bytes(2048), "the image of a disc", "7z x"),
        (b"MZ\x90" + bytes(500), "unpack themselves", "7z x"),
        (b"\x0d\x28-lh5-" + bytes(60), "an LHA archive", "7z x"),
    ],
)
def test_an_archive_of_another_kind_is_named_with_the_command_that_undoes_it(data, what, step, tmp_path):
    (tmp_path / "my data.bin").write_bytes(data)
    with pytest.raises(IntegrityError, match=what) as caught:
        extract(tmp_path / "my data.bin", tmp_path / "to")
    assert f"Next: {step} 'my data.bin'" in str(caught.value)
    assert not isinstance(caught.value, DamagedArchiveError)
    assert not (tmp_path / "to").exists()


@linux
def test_a_dash_is_the_standard_input(tmp_path):
    data = zip_at(tmp_path / "x.zip").read_bytes()
    words = [sys.executable, "-m", "datastage", "extract", "-", tmp_path / "to"]
    assert subprocess.run(words, input=data, capture_output=True).returncode == 0
    assert files_in(tmp_path / "to") == FILES


@linux
def test_an_archive_that_may_not_be_read_is_said_with_what_makes_it_so(tmp_path, monkeypatch):
    archive = zip_at(tmp_path / "x.zip")

    seen = Path.stat

    def denied(self, **options):
        if self == archive:
            raise PermissionError(13, "Permission denied", str(self))
        return seen(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(StorageError, match="permission was denied") as caught:
        extract(archive, tmp_path / "to")
    assert f"chmod a+r {archive}" in str(caught.value)
    assert "write to" not in str(caught.value)
