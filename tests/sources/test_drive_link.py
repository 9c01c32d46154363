"""Shared Google Drive links to one file, with both gdowns that notebooks hold, against Google's pages."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import sys

import pytest

import datastage
from datastage import network
from datastage.errors import MissingDependencyError, NotDataError, SpecError, UnavailableError
from datastage.progress import Silent
from datastage.sources import Fetch, drive_link, drive_link_errors, open_spec, parse
from tests.stand_ins import google_drive
from tests.stand_ins.google_drive import DriveServer, Shared
from tests.stand_ins.runtimes import Colab, Layout

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
        (b"<html><body>Virus scan warning</body></html>", "too large to be scanned for viruses"),
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


# --- folders

FOLDER = "1FoLdErFoLdErFoLdErFoLdErFoLdErAA"
FOLDER_LINK = f"https://drive.google.com/drive/u/0/folders/{FOLDER}?usp=sharing"


@pytest.fixture
def shared_folder(google, server):
    """A folder of two files, one of them in a folder of its own; a function that fetches it."""
    inner = FOLDER.replace("A", "B")
    server.folders[FOLDER] = ("birds", [(ID, "birds & bees.zip", False), (inner, "more", True)])
    server.folders[inner] = ("more", [(f"{ID}X", "a.csv", False)])
    server.files = {ID: Shared("birds & bees.zip", ZIP), f"{ID}X": Shared("a.csv", b"a,b\n1,2\n")}

    def fetch(link=FOLDER_LINK, reporter=None):
        found = open_spec(parse(link), Layout(google.folder.parent / "machine").runtime())
        return found.content.run(google.folder, reporter or Silent())

    fetch.google, fetch.server = google, server
    return fetch


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_shared_folder_is_fetched_with_the_folders_in_it(shared_folder, capfd):
    told = Told()
    folder = shared_folder(reporter=told)
    assert (folder.name, tree(folder)) == ("birds", {"birds & bees.zip": ZIP, "more/a.csv": b"a,b\n1,2\n"})
    assert told.done <= len(ZIP) + 8
    assert capfd.readouterr() == ("", "")


def test_a_folder_over_the_limit_of_gdown_is_said_before_anything_is_fetched(shared_folder):
    children = [(f"{ID}{number}", f"{number}.png", False) for number in range(60)]
    shared_folder.server.folders[FOLDER] = ("birds", children)
    shared_folder.server.files |= {one: Shared(name, b"\x89PNG" + bytes(20)) for one, name, _ in children}
    if shared_folder.google.version == "6":
        assert len(tree(shared_folder())) == 60
        return
    with pytest.raises(UnavailableError, match="stops at 50") as caught:
        shared_folder()
    assert not any("uc?id=" in asked for asked in shared_folder.server.asked)
    lines = str(caught.value).splitlines()
    assert lines[-1].startswith("Next")
    assert len(lines) <= 14 and max(map(len, lines)) <= 88  # noqa: PT018


def test_a_folder_that_is_not_shared_is_named_as_that(shared_folder):
    del shared_folder.server.folders[FOLDER]
    with pytest.raises(UnavailableError, match="does not give out this folder") as caught:
        shared_folder()
    assert f"drive.google.com/drive/folders/{FOLDER}" in str(caught.value)


def test_a_file_of_a_folder_whose_quota_is_used_up_is_named(shared_folder):
    shared_folder.server.files[f"{ID}X"] = Shared("a.csv", b"", how="quota")
    with pytest.raises(UnavailableError, match="Google refuses a.csv for now") as caught:
        shared_folder()
    assert f"/file/d/{ID}X/view" in str(caught.value)


def test_an_empty_folder_says_so(shared_folder):
    shared_folder.server.folders[FOLDER] = ("birds", [])
    with pytest.raises(UnavailableError, match="empty"):
        shared_folder()


def test_names_in_a_folder_cannot_lead_out_of_it(shared_folder):
    inner = FOLDER.replace("A", "B")
    shared_folder.server.folders[FOLDER] = ("..", [(ID, "../../evil.zip", False), (inner, "..", True)])
    with contextlib.suppress(NotDataError, UnavailableError):
        shared_folder()
    inside = shared_folder.google.folder
    assert all(inside in path.parents for path in inside.parent.rglob("*evil*"))
    assert all(inside in path.parents for path in inside.parent.rglob("a.csv"))


def test_a_shared_folder_is_staged_whole(shared_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    staged = datastage.stage(FOLDER_LINK, progress=False)
    assert tree(staged.path).keys() >= {"birds & bees.zip", "more/a.csv"}


# --- a Drive that is connected


@pytest.fixture
def colab(tmp_path):
    """A Colab whose Drive is connected, without any internet."""
    machine = Colab(tmp_path / "colab")
    machine.point.mkdir(parents=True)
    for name in ("MyDrive", ".shortcut-targets-by-id"):
        (machine.point / name).symlink_to(machine.cloud / name)
    machine.mount_table("/content/drive", "fuse.drive")
    return machine


@pytest.mark.parametrize("link", [LINK, f"https://drive.google.com/drive/folders/{ID}"])
def test_a_link_whose_shortcut_is_in_drive_is_read_there(colab, link):
    target = colab.cloud / ".shortcut-targets-by-id" / ID / "birds"
    target.parent.mkdir()
    target.mkdir() if "folders" in link else target.write_bytes(b"x")
    found = open_spec(parse(link), colab.runtime())
    path = getattr(found.content, "local_path", found.content)
    assert (path.resolve(), found.seen.endswith("Shared with me")) == (target, True)


@pytest.mark.parametrize("is_same", [True, False])
def test_a_link_to_a_file_of_ones_own_drive_is_read_there_if_the_id_is_the_same(google, server, colab, is_same):
    own = colab.cloud / "MyDrive" / "birds.zip"
    own.write_bytes(b"x")
    try:
        os.setxattr(own, "user.drive.id", (ID if is_same else "another").encode())
    except OSError:
        pytest.skip("this disk keeps no attributes")
    server.files[ID] = Shared("birds.zip", ZIP)
    found = open_spec(parse(LINK), colab.runtime())
    assert isinstance(found.content, Fetch) is not is_same


# --- documents


@pytest.mark.parametrize(
    ("link", "address"),
    [
        (f"https://docs.google.com/spreadsheets/d/{ID}/edit?usp=sharing", f"/{ID}/export?format=csv"),
        (f"https://docs.google.com/spreadsheets/d/{ID}/edit#gid=42", f"/{ID}/export?format=csv&gid=42"),
        (f"https://docs.google.com/spreadsheets/d/{ID}/export?format=xlsx", f"/{ID}/export?format=xlsx"),
        ("https://docs.google.com/spreadsheets/d/e/2PACX-1vQ/pub?output=csv", "/e/2PACX-1vQ/pub?output=csv"),
    ],
)
def test_a_sheet_is_its_table(link, address):
    spec = parse(link)
    assert (spec.scheme, spec.value.partition("/spreadsheets/d")[2]) == ("http", address)
    assert str(spec).startswith(link.split("?")[0])


@pytest.mark.parametrize("kind", ["document", "presentation", "forms"])
def test_a_document_holds_no_data(kind):
    with pytest.raises(SpecError, match="lives in the browser"):
        parse(f"https://docs.google.com/{kind}/d/{ID}/edit")


# --- without it


def test_without_gdown_the_library_is_named_and_the_other_ways(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(MissingDependencyError, match="needs the library gdown") as caught:
        open_spec(parse(LINK), Layout(tmp_path / "x").runtime())
    assert "pip install gdown" in caught.value.remedy[-1]


@pytest.mark.parametrize("name", ["RequestException", "DownloadError"])
def test_what_gdown_says_of_the_network_where_there_is_none_is_said_in_words(name, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    error = type(name, (OSError,), {})("Max retries exceeded")
    spec = parse("https://drive.google.com/file/d/0123456789abcdef/view")
    assert "The internet cannot be reached" in str(drive_link_errors.explained(error, spec))


def test_without_internet_nothing_is_tried(monkeypatch, tmp_path):
    pytest.importorskip("gdown")
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    assert network.is_offline("drive.google.com")
    with pytest.raises(UnavailableError, match="The internet cannot be reached from here"):
        open_spec(parse(LINK), Layout(tmp_path / "x").runtime())
