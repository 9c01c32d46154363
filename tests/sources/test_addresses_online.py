"""Every form of address that people paste, typed as pasted, against hosts of the real names: it leads to the bytes.

Where it does not (gone, private, wrong token, a page instead, too many requests, no answer), the next step is said, and
no secret anywhere: not on the screen, in the receipt, the log or the folder.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil

import pytest

import datastage
from datastage import datasets
from datastage.errors import DatastageError, UnavailableError
from tests.sources.staged import tree
from tests.sources.test_addresses import _ID, _SHA, ADDRESSES
from tests.stand_ins.internet import Answer, page
from tests.stand_ins.web import BIG, CSV, PHOTOS, SIGNATURE, Web

if shutil.which("openssl") is None:
    pytest.skip("left out: openssl is not on this machine", allow_module_level=True)

_REPOSITORY = {"README.md": b"# r\n", "x.csv": CSV, "data/x.csv": CSV, "x.bin": BIG}
_HUB = {"x.csv": CSV, "data/x.csv": CSV, "default/x.csv": CSV, "model.bin": BIG}
_ONE = {"x.csv": CSV}
# What is not a table and not the photos; a text says why it cannot be had, as the place itself has it.
_GIVES: dict[str, dict[str, bytes] | bytes | str] = {
    f"https://drive.google.com/drive/folders/{_ID}?usp=sharing": _ONE,
    f"https://drive.google.com/drive/u/0/folders/{_ID}": _ONE,
    "https://github.com/o/r": _REPOSITORY,
    "https://github.com/o/r.git": _REPOSITORY,
    "https://github.com/o/r/tree/main": _REPOSITORY,
    "https://github.com/o/r/tree/feature/x/data": _ONE,
    "https://github.com/o/r/archive/refs/heads/main.zip": "pointers",
    f"https://github.com/o/r/archive/{_SHA}.zip": "pointers",
    "https://codeload.github.com/o/r/zip/main": "pointers",
    "https://media.githubusercontent.com/media/o/r/main/x.bin": BIG,
    "github:o/r/data": _ONE,
    "https://huggingface.co/datasets/o/n": _HUB,
    "https://huggingface.co/datasets/o/n/tree/main/data": _ONE,
    "https://huggingface.co/datasets/o/n/tree/refs%2Fconvert%2Fparquet/default": _ONE,
    "https://huggingface.co/o/n/resolve/main/model.bin": BIG,
    "hf:datasets/o/n": _HUB,
    "gs://bucket/data/": _ONE,
    "https://1drv.ms/u/s!AbCdEf": "to browsers alone",
    "https://1drv.ms/u/c/0123/EaBc?e=s3cr3t": "to browsers alone",
    "https://1drv.ms/f/s!AbCdEf": "to browsers alone",
    "https://onedrive.live.com/embed?cid=1&resid=1%21106&authkey=%21As3cretkey": "asks to sign in",
    "https://onedrive.live.com/?authkey=%21As3cretkey&id=1%21106&cid=1": "to browsers alone",
    "https://onedrive.live.com/?redeem=aHR0cHM6Ly8xZHJ2&cid=1&id=1!106": "to browsers alone",
    "ftp://host.example/x.zip": "no place called",
    "https://www.dropbox.com/scl/fo/abc/h?rlkey=s3cretk3y&dl=0": "photos of a folder",
    "kaggle:titanic": "does not say whose it is",
    "kaggle:competitions/titanic": "you have not accepted the rules",
    "https://zenodo.org/records/123?preview=1&token=ey5ecretT0ken": "gave a web page instead",
    "kaggle:o/n@3/train.csv": CSV,
}
_HERE = ("drive", "upload", "file", "relative", "name")
# Each starts kagglehub in a process of its own; test_kaggle_hub.py has them all.
_SLOW = [text for text, (scheme, _) in ADDRESSES.items() if scheme == "kaggle" and not text.startswith("kaggle:")]
_SLOW += ["kaggle:o/n"]
FORMS = [text for text, (scheme, _) in ADDRESSES.items() if scheme not in _HERE and text not in _SLOW[1:]]
_FETCHED_BY_OTHERS = ("share", "kaggle")  # gdown and kagglehub
_REFUSALS = {404: b"Not Found", 403: b"Forbidden", 401: b"Unauthorized", 429: b"Too Many Requests", 503: b"busy"}


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    made = Web(tmp_path_factory.mktemp("internet"), _ID, _SHA)
    made.data.records["dropbox", "abc"] = {"folder.zip": made.data.records["dropbox", "abc"]["x.zip"]}
    yield made
    made.close()


@pytest.fixture
def online(here, web, monkeypatch):
    """The web as everybody finds it, from a plain terminal, without an account anywhere."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("DATASTAGE_OFFLINE", "GITHUB_TOKEN", "KAGGLE_API_TOKEN", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in web.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setattr("datastage.transfer.retry.Limits.wait_s", lambda *words: 0.01)
    web.internet.instead, web.internet.is_down = lambda request: None, False
    web.internet.seen.clear()
    web.hub.tokens.clear()
    return web


def staged(text, **options):
    """Stage a text as it was pasted, and give what came: bytes, or files by path."""
    found = datastage.stage(text, progress=False, **options)
    return found, found.path.read_bytes() if found.path.is_file() else tree(found)


def all_files(folder):
    """Give the names and texts of what lies in a folder, secrets included if there are any."""
    for path in folder.rglob("*"):
        yield str(path)
        if path.is_file() and path.stat().st_size < 100_000:
            yield path.read_bytes().decode("latin-1")


def refused(text, tmp_path, caplog):
    """Stage what cannot be had; return what was said, after a look at what was left and told."""
    _, secret = ADDRESSES.get(text, ("", ""))
    with pytest.raises(DatastageError) as caught:
        datastage.stage(text, progress=False)
    said = str(caught.value)
    assert any(word in said for word in ("Next:", "Did you mean", "Next steps")), said
    left = [path.name for path in (tmp_path / "root").glob("*") if not path.name.startswith(".")]
    assert left == []
    everything = said + caplog.text + "".join(all_files(tmp_path / "root"))
    for word in (secret, SIGNATURE):
        assert not word or word not in everything
    return said


@pytest.mark.parametrize("text", FORMS)
def test_an_address_as_pasted_leads_to_its_bytes_and_its_secret_to_nowhere(text, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    _, secret = ADDRESSES[text]
    wanted = _GIVES.get(text)
    if isinstance(wanted, str) and wanted not in ("pointers", "photos of a folder"):
        assert wanted in refused(text, tmp_path, caplog)
        return
    found, got = staged(text)
    if wanted == "pointers":  # GitHub's archive holds the pointers of Git LFS, as the site says
        assert got.pop("x.bin").startswith(b"version https://git-lfs")
        wanted = {name: body for name, body in _REPOSITORY.items() if name != "x.bin"}
    assert got in ([CSV, PHOTOS] if wanted in (None, "photos of a folder") else [wanted])
    everything = json.dumps(found.receipt) + str(found) + caplog.text + "".join(all_files(tmp_path / "root"))
    for word in (secret, SIGNATURE):
        assert not word or word not in everything


_ASKED = [text for text in FORMS if not isinstance(_GIVES.get(text), str) or _GIVES[text] == "pointers"]
_RECORDS = ("record", "hub", "github")
_QUICK = [text for text in _ASKED if ADDRESSES[text][0] not in _FETCHED_BY_OTHERS]
# One of each kind of place.
_EACH = list({(ADDRESSES[text][0], text.partition("//")[2].partition("/")[0]): text for text in _QUICK}.values())


@pytest.mark.parametrize("text", [text for text in _QUICK if ADDRESSES[text][0] not in _RECORDS or text in _EACH])
def test_a_page_for_people_in_the_place_of_the_file_is_named_as_such(text, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    online.internet.instead = lambda request: page()
    said = refused(text, tmp_path, caplog)
    assert any(word in said for word in ("page", "something else", "sign in", "does not give the file")), said


def is_of_the_api(request):
    if "/access/" in request.path or "/download" in request.path or re.search(r"/gists/\w+/", request.path):
        return False
    return request.host.startswith("api.") or "/api/" in request.path or request.host in ("doi.org", "archive.org")


@pytest.mark.parametrize("text", [text for text in _QUICK if ADDRESSES[text][0] in _RECORDS])
def test_a_page_in_the_place_of_a_file_whose_record_is_fine_is_never_taken_for_it(text, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    online.internet.instead = lambda request: None if is_of_the_api(request) else page()
    refused(text, tmp_path, caplog)


# One of each kind of place meets every refusal, the others one each.
_MET = {(text, status) for text in _EACH for status in _REFUSALS}
_MET |= {(text, [*_REFUSALS][at % len(_REFUSALS)]) for at, text in enumerate(_QUICK)}


@pytest.mark.parametrize(("text", "status"), sorted(_MET))
def test_a_refusal_says_the_next_step(text, status, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    online.internet.instead = lambda request: Answer(status, _REFUSALS[status], {"Content-Type": "text/plain"})
    said = refused(text, tmp_path, caplog)
    assert len(said.splitlines()) <= 14


@pytest.mark.parametrize("text", _EACH)
def test_a_host_that_cannot_be_reached_is_named(text, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    online.internet.is_down = True
    assert "proxy" in refused(text, tmp_path, caplog).lower()


_DRIVE = f"https://drive.google.com/file/d/{_ID}/view?usp=sharing"
_MOODS = [(_DRIVE, mood) for mood in ("page", "404", "403", "429", "down")]


# What Kaggle says to kagglehub in each case is in test_kaggle_hub.py.
@pytest.mark.parametrize(("text", "mood"), [*_MOODS, (_SLOW[0], "page"), ("https://www.kaggle.com/c/titanic", "429")])
def test_what_other_libraries_fetch_says_the_next_step_too(text, mood, online, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    online.internet.is_down = mood == "down"
    if mood != "down":
        online.internet.instead = lambda request: page() if mood == "page" else page(int(mood))
    refused(text, tmp_path, caplog)


# --- with credentials


def hosts_told(web, secret):
    """Return the hosts that a secret was sent to."""
    return {one.host for one in web.internet.seen if secret in str(one.headers)}


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/o/r/blob/main/data/x.csv",
        "https://github.com/o/r/tree/main",
        "https://github.com/o/r/releases/tag/v1",
        "github:o/r/data/x.csv",
    ],
)
def test_a_private_repository_opens_with_a_token_that_goes_to_github_alone(
    text, online, monkeypatch, tmp_path, caplog, request
):
    caplog.set_level(logging.DEBUG)
    token = "ghp_0123456789abcdefghij"
    online.github.private["o/r"] = token
    request.addfinalizer(online.github.private.clear)
    assert "GITHUB_TOKEN" in refused(text, tmp_path, caplog)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_ofSomebodyElse000000")
    said = refused(text, tmp_path, caplog)
    assert "GITHUB_TOKEN" in said
    assert "does not open" in said
    monkeypatch.setenv("GITHUB_TOKEN", token)
    found, _ = staged(text)
    assert hosts_told(online, token) <= {"api.github.com", "raw.githubusercontent.com", "codeload.github.com",
                                         "media.githubusercontent.com"}  # fmt: skip
    assert hosts_told(online, token)
    assert token not in json.dumps(found.receipt) + caplog.text + "".join(all_files(tmp_path / "root"))


@pytest.mark.parametrize("how", ["private", "gated"])
@pytest.mark.parametrize("text", ["hf:datasets/o/n", "https://huggingface.co/datasets/o/n/blob/main/x.csv"])
def test_a_private_or_gated_set_opens_with_a_token_that_goes_to_the_hub_alone(
    text, how, online, monkeypatch, tmp_path, caplog, request
):
    caplog.set_level(logging.DEBUG)
    token = "hf_0123456789abcdefghij"
    getattr(online.hub, how)["datasets/o/n"] = token
    request.addfinalizer(getattr(online.hub, how).clear)
    assert "HF_TOKEN" in refused(text, tmp_path, caplog)
    monkeypatch.setenv("HF_TOKEN", "hf_ofSomebodyElse000000")
    said = refused(text, tmp_path, caplog)
    assert "HF_TOKEN" in said or "agree" in said
    monkeypatch.setenv("HF_TOKEN", token)
    found, _ = staged(text)
    assert hosts_told(online, token) == {"huggingface.co"}
    assert token not in json.dumps(found.receipt) + caplog.text + "".join(all_files(tmp_path / "root"))


def test_rules_that_were_not_accepted_and_a_token_of_kaggle(online, monkeypatch, tmp_path, caplog, request):
    online.kaggle.needs = "KGAT_0123456789"
    request.addfinalizer(lambda: setattr(online.kaggle, "needs", ""))
    assert "/competitions/titanic/rules" in refused("https://www.kaggle.com/c/titanic/data", tmp_path, caplog)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_0123456789")
    found, got = staged("https://www.kaggle.com/c/titanic/data")
    assert got == PHOTOS
    assert hosts_told(online, "KGAT_0123456789") == {"api.kaggle.com"}


def test_a_password_in_an_address_that_is_wrong_is_said_and_not_shown(online, tmp_path, caplog):
    said = refused("https://user:wr0ngpa55@host.example/x.zip", tmp_path, caplog)
    assert "asks for a user name and a password" in said
    assert "wr0ngpa55" not in said


def test_a_link_that_ran_out_is_named_as_such(online, tmp_path, caplog):
    text = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    online.internet.instead = lambda request: Answer(403, text, {"Content-Type": "application/xml"})
    address = "https://bucket.s3.amazonaws.com/x.csv?X-Amz-Credential=AKIA&X-Amz-Signature=5ecre7"
    assert "expired" in refused(address, tmp_path, caplog)


def test_a_public_bucket_in_another_region_is_found_by_its_answer(online):
    bucket = online.buckets.buckets["s3", "bucket"]
    bucket.region = "eu-central-1"
    try:
        assert staged("s3://bucket/data/x.csv")[1] == CSV
    finally:
        bucket.region = "us-east-1"
    assert [one.host for one in online.internet.seen][-1] == "bucket.s3.eu-central-1.amazonaws.com"


@pytest.mark.parametrize("path", ["bucket/data/x.csv", "bucket/data/x.csv?authuser=1&_ga=2.1"])
def test_the_address_of_googles_console_leads_to_the_object(path, online):
    assert staged(f"https://storage.cloud.google.com/{path}")[1] == CSV


def test_the_page_of_a_dataset_of_uci_leads_to_its_zip(online):
    assert staged("https://archive.ics.uci.edu/dataset/53/iris")[1] == PHOTOS
    with pytest.raises(UnavailableError, match="Next:"):
        online.internet.instead = lambda request: page(404)
        datastage.stage("https://archive.ics.uci.edu/dataset/54/other", progress=False)


def test_a_look_at_a_courses_places_tells_those_that_give_from_those_that_do_not(online, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    places = {
        f"https://drive.google.com/file/d/{_ID}/view": "Google gives a shared file to nobody for a day",
        f"https://drive.google.com/file/d/{_ID[:-1]}9/view": None,
        "https://www.dropbox.com/scl/fi/abc/x.zip?rlkey=s3cretk3y&dl=0": "Dropbox switches",
        "https://www.dropbox.com/scl/fi/abc/x.zip?dl=0": None,
        "https://zenodo.org/records/123": "",
        "https://zenodo.org/records/404": None,
        "https://github.com/o/r/blob/main/x.csv": "GitHub gives one address",
        "https://github.com/o/r/releases/download/v1/a.zip": "",
        "https://huggingface.co/datasets/o/n/blob/main/x.csv": "",
        "hf:datasets/o/nothing": None,
        "s3://bucket/x.csv": "",
        "kaggle:o/n": "Not tried here",
    }
    datastage.register("ours", next(iter(places)), fallbacks=[*places][1:])
    for seen, (place, note) in zip(datastage.check_catalog("ours"), places.items(), strict=True):
        assert (seen.trouble is not None) == (note is None), (place, seen)
        assert note is None or any(said.startswith(note) for said in seen.notes) or not note, (place, seen)
        assert "s3cretk3y" not in str(seen)
