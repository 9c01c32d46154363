"""`datastage zip` as people call it: with bare names, from and to Drive, into a Drive that is full."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

import datastage
from datastage.errors import SpecError, StorageError, UnavailableError
from datastage.progress import Silent


@pytest.fixture
def photos(here):
    folder = here / "photos"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.jpg").write_bytes(os.urandom(2000))
    return folder


@pytest.mark.parametrize("name", ["photos", "iris", "my photos"])
def test_a_bare_name_is_the_folder_of_that_name_also_where_a_dataset_bears_it(photos, here, name):
    if name != "photos":
        photos.rename(here / name)
    assert datastage.zip_folder(name, "packed", progress=False) == here / "packed"
    assert [member.name for member in datastage.members("packed")] == [f"{name}/cat/1.jpg"]


@pytest.mark.parametrize("folder", ["photos/cat/..", "./photos/cat/..", "link/.."])
def test_a_folder_that_is_named_from_within_has_its_own_name_in_the_zip(photos, here, folder):
    (here / "link").symlink_to(photos / "cat")
    archive = datastage.zip_folder(folder, "packed.zip", progress=False)
    assert [member.name for member in datastage.members(archive)] == ["photos/cat/1.jpg"]
    assert (datastage.extract(archive, here / "out", progress=False) / "photos/cat/1.jpg").is_file()


def test_a_folder_without_a_name_is_not_packed(here):
    with pytest.raises(SpecError, match="no name"):
        datastage.zip_folder("/", here / "packed.zip", progress=False)
    assert not (here / "packed.zip").exists()


def test_what_is_not_there_and_what_cannot_be_written_to_are_said(photos, here):
    with pytest.raises(UnavailableError, match="nothing"):
        datastage.zip_folder("nothing", "x.zip", progress=False)
    with pytest.raises(SpecError, match="no place"):
        datastage.zip_folder(photos, "https://example.com/x.zip", progress=False)


def test_what_is_left_out_is_said(photos, here, capsys):
    (photos / ".DS_Store").write_text("x")
    (photos / "gone").symlink_to("nowhere")
    datastage.zip_folder("photos", "photos.zip")
    said = capsys.readouterr()
    assert "1 .DS_Store, 1 links that lead nowhere" in said.err + said.out


@pytest.mark.parametrize("name", ["packed", "cifar10", "my photos", "packed.zip", "./packed"])
def test_the_line_that_stages_the_zip_runs_for_bare_names_too(photos, here, name):
    said = []
    told = type("Told", (Silent,), {"note": lambda self, text, label="": said.append(text)})()
    datastage.zip_folder("photos", name, progress=told)
    spec = shlex.split(said[-1].removeprefix("Next:"))[2]
    assert datastage.stage(spec, unpack=True, progress=False).receipt["source_path"] == str(here / name)


def test_a_place_that_cannot_be_written_to_has_nothing_to_do_with_room(photos, here):
    with pytest.raises(StorageError) as caught:
        datastage.zip_folder("photos", "/proc/photos.zip", progress=False)
    assert "room" not in str(caught.value)
    assert "elsewhere" in caught.value.remedy[-1]


def test_packing_shows_its_share_and_ends_with_the_line_that_stages_the_zip(photos, here):
    said, totals = [], []

    class Notes(Silent):
        def phase(self, name, total_bytes):
            totals.append(total_bytes)

        def note(self, text, label=""):
            said.append(text)

    datastage.zip_folder("photos", "my photos.zip", progress=Notes())

    words = shlex.split(said[-1].removeprefix("Next:"))
    assert totals == [2000]
    assert words[:2] == ["datastage", "stage"]
    assert [*datastage.stage(words[2], progress=False).path.rglob("cat/1.jpg")]


@pytest.mark.parametrize("is_drive", [True, False])
def test_a_full_drive_is_called_a_full_drive_and_another_disk_is_not(is_drive, photos, here, tmp_path):
    for nth in range(40):
        (photos / "cat" / f"{nth}.jpg").write_bytes(os.urandom(40_000))
    drive = tmp_path / "drive"
    drive.mkdir()
    script = f"""
mount -t tmpfs -o size=200k none {drive} || exit 77
mkdir {drive}/MyDrive
{sys.executable} -m datastage zip photos {drive}/MyDrive/photos.zip --quiet
code=$?
ls -A {drive}/MyDrive
exit $code
"""
    environ = {**os.environ, "DATASTAGE_DRIVE": str(drive)} if is_drive else {**os.environ}
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], env=environ, capture_output=True, text=True)
    if result.returncode in (1, 77) and "datastage" not in result.stderr:
        pytest.skip(f"no mount namespace can be made here: {result.stderr.strip()}")
    assert result.returncode == 5, result.stderr
    assert ("Google Drive is full" if is_drive else "The disk is full") in result.stderr
    assert "root=" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["./photos.tar.gz", "out/photos.tar", "./Photos.TGZ", "./photos.7z"])
def test_a_zip_is_not_made_under_the_name_of_another_archive(photos, here, name):
    with pytest.raises(SpecError, match="a zip under the name of another archive") as told:
        datastage.zip_folder("photos", name, progress=False)
    stem = name[: name.lower().index("photos") + 6]
    assert told.value.remedy == (f"Next: a name that ends with .zip, such as {stem}.zip",)
    assert not (here / name).exists()
