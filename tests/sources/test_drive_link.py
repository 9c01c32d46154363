"""Shared Google Drive links to one file, with both gdowns that notebooks hold, against Google's pages."""

from __future__ import annotations

import functools
import pickle
import sys

import pytest

from datastage import runtime
from datastage.errors import MissingDependencyError, NotDataError, UnavailableError
from datastage.progress import Silent
from datastage.sources import drive_link, open_spec, parse
from tests.stand_ins import google_drive
from tests.stand_ins.google_drive import DriveServer, Shared
from tests.stand_ins.runtimes import Layout

pytest.importorskip("requests")

ID = "1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW"
LINK = f"https://drive.google.com/file/d/{ID}/view?usp=sharing"
ZIP = b"PK\x03\x04" + bytes(range(256)) * 4000


class Told(Silent):
    def __init__(self):
        self.total = None
        self.done = 0

    def phase(self, name, total_bytes):
        self.total = total_bytes

    def advance(self, n_bytes):
        self.done += n_bytes


@pytest.fixture
def server():
    server = DriveServer()
    yield server
    server.close()


@functools.cache
def folder_of(version):
    return google_drive.gdown_folder(version)


@pytest.fixture(params=google_drive.VERSIONS)
def google(request, server, monkeypatch, tmp_path):
    """Google Drive with a gdown: a function that shares a file, fetches it by its link, and returns its path."""
    folder = folder_of(request.param)
    if isinstance(folder, str):
        pytest.skip(folder)
    google_drive.use_gdown(monkeypatch, folder)
    google_drive.lead_requests_there(monkeypatch, server.port)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "fetched").mkdir()
    here = Layout(tmp_path / "machine").runtime()

    def fetch(name="birds.zip", body=ZIP, *, link=LINK, reporter=None, **how):
        server.files[ID] = Shared(name, body, **how)
        found = open_spec(parse(link), here)
        return found.content.run(tmp_path / "fetched", reporter or Silent())

    fetch.version = request.param
    fetch.folder = tmp_path / "fetched"
    fetch.home = tmp_path / "home"
    return fetch


@pytest.mark.parametrize("how", ["at once", "form", "old form"])
def test_a_shared_file_is_fetched_whole_and_under_its_name(google, how):
    path = google(how=how)
    assert (path.name, path.read_bytes()) == ("birds.zip", ZIP)


@pytest.mark.parametrize(
    "link",
    [
        f"https://drive.google.com/file/d/{ID}",
        f"https://drive.google.com/file/d/{ID}/preview",
        f"https://drive.google.com/file/u/0/d/{ID}/view",
        f"https://drive.google.com/open?id={ID}",
        f"https://drive.google.com/uc?id={ID}&export=download",
        f"https://drive.usercontent.google.com/download?id={ID}",
    ],
)
def test_every_form_of_link_leads_to_the_file(google, link):
    assert google(link=link).read_bytes() == ZIP


def test_nothing_of_gdown_is_printed(google, capfd):
    google(how="form")
    assert capfd.readouterr() == ("", "")


def test_nothing_is_written_outside_of_the_folder(google):
    google()
    assert [path.name for path in google.folder.iterdir()] == ["birds.zip"]
    # gdown 5 makes an empty folder for its cache when it is imported, and its cookies are a file in it.
    assert [path for path in google.home.rglob("*") if path.is_file()] == []


def test_the_bytes_are_counted(google):
    told = Told()
    google(reporter=told)
    assert told.done <= len(ZIP)
    if google.version != "5.2.2":  # the older one does not tell, and a small file has come before anybody looks
        assert (told.done, told.total) == (len(ZIP), len(ZIP))


def test_a_used_up_quota_is_named_with_the_way_around_it(google):
    with pytest.raises(UnavailableError) as caught:
        google(how="quota", name="birds & bees.zip")
    lines = str(caught.value).splitlines()
    assert lines[0] == "Google refuses birds & bees.zip for now: too many people have downloaded it today."
    assert f"    https://drive.google.com/file/d/{ID}/view" in lines
    assert lines[-1] == 'Next, in a cell:   path = datastage.stage("drive:Copy of birds & bees.zip")'


def test_a_used_up_quota_fits_the_screen_and_ends_with_the_next_step(google):
    with pytest.raises(UnavailableError) as caught:
        google(how="quota")
    lines = str(caught.value).splitlines()
    assert lines[-1].startswith("Next")
    assert len(lines) <= 14 and max(map(len, lines)) <= 88  # noqa: PT018


def test_a_file_that_is_not_shared_is_told_from_a_used_up_quota(google):
    with pytest.raises(UnavailableError, match="it is not shared with everybody who has the link"):
        google(how="private")


def test_a_file_that_is_gone_is_no_fault_of_the_connection(google):
    with pytest.raises(UnavailableError, match="no file behind this link|not shared with everybody"):
        google(how="gone")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "a sign-in page"),
        (b"<html><body>Virus scan warning</body></html>", "a web page"),
        (b"", "an empty file"),
    ],
)
def test_a_page_in_place_of_the_file_is_not_kept(google, body, words):
    with pytest.raises(NotDataError, match=words):
        google(body=body)
    assert list(google.folder.iterdir()) == []


def test_a_connection_that_is_cut_is_an_error_and_no_short_file(google):
    with pytest.raises(UnavailableError, match="cut before the whole file had come"):
        google(cut=300_000)
    assert not (google.folder / "birds.zip").exists()


def test_a_server_that_stalls_is_given_up(google, monkeypatch):
    monkeypatch.setattr(drive_link, "STALL_S", 0.3)
    with pytest.raises(UnavailableError, match="sent nothing for a long time"):
        google(stall=300_000)


def test_a_name_cannot_lead_out_of_the_folder(google):
    path = google(name="..%2f..%2fevil.zip")
    assert path.parent == google.folder


def test_the_resource_key_of_a_link_is_in_no_text(google):
    with pytest.raises(UnavailableError) as caught:
        google(how="private", link=f"{LINK}&resourcekey=0-secretKey")
    assert "secretKey" not in str(caught.value)


def test_an_error_survives_pickling(google):
    with pytest.raises(UnavailableError) as caught:
        google(how="quota")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# --- without it


def test_without_gdown_the_library_is_named_and_the_other_ways(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(MissingDependencyError, match="needs the library gdown") as caught:
        open_spec(parse(LINK), Layout(tmp_path / "x").runtime())
    assert "pip install gdown" in caught.value.remedy[-1]


def test_a_link_to_a_folder_comes_later_and_says_what_to_do_today(tmp_path):
    with pytest.raises(UnavailableError, match="links to folders come with a later release"):
        open_spec(
            parse("https://drive.google.com/drive/folders/1A2b3C4d5E6f7G8h9I0j"), Layout(tmp_path / "x").runtime()
        )


def test_without_internet_nothing_is_tried(monkeypatch, tmp_path):
    pytest.importorskip("gdown")
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    assert runtime.is_offline("drive.google.com")
    with pytest.raises(UnavailableError, match="The internet cannot be reached from here"):
        open_spec(parse(LINK), Layout(tmp_path / "x").runtime())
