"""Odd but right answers, all the way to a staged folder: what is unpacked as it comes is right, or nothing is there."""

from __future__ import annotations

import gzip
import io
import os
import random
import zipfile

import pytest

from datastage.errors import ChecksumError, DatastageError, IntegrityError, NotDataError
from tests.sources import test_http_raw as raw
from tests.sources.raw_server import raw_server
from tests.sources.staged import quiet

__all__ = ["raw_server"]

pytestmark = pytest.mark.usefixtures("here")

FILES = {f"{number}.txt": random.Random(number).randbytes(50_000) for number in range(12)}


def archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, data in FILES.items():
            made.writestr(name, data)
    return stream.getvalue()


BODY = archive()
ODD = [
    "HTTP/1.0 without a length",
    "chunks",
    "chunks and a length that is not theirs",
    "parts in chunks",
    "a part of * later",
    "multipart later",
    "206 to the end of the file later",
    "5,000 bytes at a time",
    "a length below nothing",
    "416 once in the middle",
    "103 before the answer",
    "reset in the middle",
    "a redirect of some requests",
    "a signed address that expires",
    "an ETag for each connection",
    "an ETag for each request",
    "a sign-in page once",
    "a sign-in page once, and no state",
    "a redirect to a sign-in page once, and no state",
    "a name of 300 letters of three bytes",
]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def content(staged):
    return {path.name: path.read_bytes() for path in staged.path.rglob("*.txt")}


def shown(root):
    return [name for name in os.listdir(root) if not name.startswith(".")] if root.exists() else []


@pytest.mark.parametrize("fault", ODD)
def test_an_archive_is_staged_whole(fault, raw_server):
    same = content(quiet(raw_server(BODY, raw.RIGHT[fault]).url())) == FILES
    assert same


def test_an_archive_packed_again_on_the_way_is_staged(raw_server):
    same = content(quiet(raw_server(BODY, raw.packed("gzip", gzip.compress)).url("photos"))) == FILES
    assert same


def test_a_table_of_unknown_length_is_staged_under_its_name(raw_server):
    staged = quiet(raw_server(b"1,2\n" * 9000, raw.RIGHT["chunks"]).url("table.csv"))
    assert (staged.path.name, staged.path.read_bytes()) == ("table.csv", b"1,2\n" * 9000)


def test_what_came_without_a_length_is_kept_for_the_next_session(raw_server, here):
    server = raw_server(BODY, raw.RIGHT["chunks"])
    quiet(server.url("pets.zip"), save_to="./kept")
    same = (here / "kept/pets.zip").read_bytes() == BODY
    assert same


def test_what_came_without_a_length_and_is_not_the_expected_file_is_not_published(raw_server, tmp_path):
    with pytest.raises(ChecksumError):
        quiet(raw_server(BODY, raw.RIGHT["chunks"]).url(), expect="sha256:" + "0" * 64)
    assert shown(tmp_path / "root") == []


def test_an_archive_without_a_length_that_is_cut_short_is_damaged_and_not_published(raw_server, tmp_path):
    server = raw_server(BODY, raw.sends(lambda call: b"HTTP/1.0 200 OK\r\n\r\n" + call.body[:400_000]))
    with pytest.raises(IntegrityError):
        quiet(server.url())
    assert shown(tmp_path / "root") == []


@pytest.mark.parametrize("fault", ["a sign-in page from now on", "a sign-in page from now on, and no state"])
def test_a_page_that_stays_is_named_and_nothing_is_published(fault, raw_server, tmp_path, monkeypatch):
    monkeypatch.setattr("datastage.transfer.retry.Limits.wait_s", lambda *words: 0.01)
    with pytest.raises(NotDataError, match="sign-in page"):
        quiet(raw_server(BODY, raw.NAMED[fault][0]).url())
    assert shown(tmp_path / "root") == []


def test_flipped_bits_in_what_comes_without_a_length_are_found_by_the_archive(raw_server, tmp_path):
    wrong = bytearray(BODY)
    wrong[300_000] ^= 1
    with pytest.raises(DatastageError):
        quiet(raw_server(bytes(wrong), raw.RIGHT["chunks"]).url())
    assert shown(tmp_path / "root") == []
