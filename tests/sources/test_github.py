"""GitHub as people paste it: files, folders, repositories, releases, gists, Git LFS, limits, and no token shown."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from datastage import runtime
from datastage.errors import DatastageError, NotDataError, SpecError, UnavailableError
from datastage.sources import address_of, parse
from datastage.sources import github as github_source
from tests.sources.staged import quiet, tree, without
from tests.stand_ins.github import GitHub

pytestmark = pytest.mark.usefixtures("here")

BIG = random.Random(3).randbytes(60_000)
FILES = {
    "README.md": b"read me",
    "data/iris.csv": b"5.1,3.5\n" * 20,
    "data/photos/cat/1.png": b"\x89PNG one",
    "data/photos/dog/2.png": b"\x89PNG two",
    "data/big.bin": BIG,
}
TOKEN = "ghp_abcdefghijklmnopqrstuvwx"


@pytest.fixture
def github(monkeypatch):
    server = GitHub()
    server.add("teacher/course", "main", FILES, lfs=("data/big.bin",))
    server.add("teacher/course", "feature/x", {"data/iris.csv": b"of the branch\n"})
    monkeypatch.setenv("DATASTAGE_ENDPOINTS", server.endpoints)
    without(monkeypatch, "GITHUB_TOKEN")
    yield server
    server.close()


def of_data(files, start):
    return {path.removeprefix(start): body for path, body in files.items() if path.startswith(start)}


@pytest.mark.parametrize(
    "spec",
    [
        "github:teacher/course/data/iris.csv",
        "github:teacher/course@main/data/iris.csv",
        "https://github.com/teacher/course/blob/main/data/iris.csv",
        "https://github.com/teacher/course/blob/main/data/iris.csv?raw=true",
        "https://github.com/teacher/course/raw/main/data/iris.csv",
        "https://github.com/teacher/course/blob/refs/heads/main/data/iris.csv",
        "https://raw.githubusercontent.com/teacher/course/main/data/iris.csv",
    ],
)
def test_a_file_is_staged_however_it_is_named(spec, github):
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", FILES["data/iris.csv"])


def test_a_file_of_a_branch_with_a_slash_in_its_name(github):
    staged = quiet("https://github.com/teacher/course/blob/feature/x/data/iris.csv")
    assert staged.path.read_bytes() == b"of the branch\n"


@pytest.mark.parametrize(
    "spec",
    [
        "github:teacher/course/data",
        "github:teacher/course@main/data/",
        "https://github.com/teacher/course/tree/main/data",
    ],
)
def test_a_folder_comes_as_one_archive_with_the_files_of_lfs(spec, github):
    assert tree(quiet(spec)) == of_data(FILES, "data/")
    assert len([path for path in github.asked if path.startswith("/archives/")]) == 1
    assert not [path for path in github.asked if path.startswith("/raw/") and path.endswith((".csv", ".png"))]


@pytest.mark.parametrize("spec", ["github:teacher/course", "https://github.com/teacher/course.git"])
def test_a_whole_repository(spec, github):
    assert tree(quiet(spec)) == FILES


def test_a_folder_of_a_branch_with_a_slash_in_its_name(github):
    staged = quiet("https://github.com/teacher/course/tree/feature/x/data")
    assert tree(staged) == {"iris.csv": b"of the branch\n"}


def test_a_folder_of_a_branch_whose_name_has_many_parts(github):
    github.add("teacher/odd", "one/two/three/four", {"data/a.csv": b"1\n"})
    page = "https://github.com/teacher/odd/tree/refs/heads/one/two/three/four/data"
    assert tree(quiet(page)) == {"a.csv": b"1\n"}


def test_brackets_in_the_name_of_a_folder_are_no_pattern(github):
    github.add("teacher/odd", "main", {"set [1]/a.csv": b"1\n", "set 1/b.csv": b"2\n"})
    assert tree(quiet("https://github.com/teacher/odd/tree/main/set%20%5B1%5D")) == {"a.csv": b"1\n"}


def test_an_archive_in_a_repository_is_unpacked(github):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("a/1.txt", b"one")
        made.writestr("b/2.txt", b"two")
    github.add("teacher/zips", "main", {"data.zip": stream.getvalue()}, lfs=("data.zip",))
    assert tree(quiet("github:teacher/zips/data.zip")) == {"a/1.txt": b"one", "b/2.txt": b"two"}


def test_the_content_of_lfs_is_checked_by_the_digest_of_its_pointer(github):
    assert quiet("github:teacher/course/data/big.bin").path.read_bytes() == BIG
    assert "sha256" in str(quiet("github:teacher/course/data/big.bin").receipt["hashes"])


def test_one_file_of_lfs_is_counted_as_one(github, monkeypatch):
    said = []
    fetch_files = github_source.fetch_files
    monkeypatch.setattr(
        github_source,
        "fetch_files",
        lambda files, to, what, *more: said.append(what) or fetch_files(files, to, what, *more),
    )
    quiet("github:teacher/course/data")
    assert said == ["1 file of Git LFS"]


def test_a_web_page_kept_by_lfs_is_data_if_its_digest_is_right(github):
    page = b"<!DOCTYPE html><html><title>Log in</title></html>\n" * 9
    files = {"data/page.txt": page, "data/other.csv": page + b"2"}
    github.add("teacher/pages", "main", files, lfs=tuple(files))
    assert tree(quiet("github:teacher/pages/data")) == of_data(files, "data/")


@pytest.mark.parametrize("length", [30, 60_000])
@pytest.mark.parametrize("path", ["data", "data/big.bin"])
def test_a_web_page_in_place_of_what_lfs_keeps_is_refused(path, length, github):
    github.media_page = b"<!DOCTYPE html>".ljust(length)
    with pytest.raises(NotDataError, match="a web page"):
        quiet(f"github:teacher/course/{path}")


def test_lfs_over_its_quota_is_named(github):
    github.lfs_quota_is_used_up = True
    with pytest.raises(UnavailableError, match="keeps in Git LFS"):
        quiet("github:teacher/course/data/big.bin")
    with pytest.raises(UnavailableError, match="keeps in Git LFS"):
        quiet("github:teacher/course/data")


def test_what_is_not_in_the_repository_is_said_with_what_is_near(github):
    with pytest.raises(UnavailableError, match="holds no data/photo") as caught:
        quiet("github:teacher/course/data/photo")
    assert "data/photos" in str(caught.value)
    with pytest.raises(UnavailableError, match="not there, or it is private"):
        quiet("github:teacher/nothing/x.csv")


def test_a_private_repository_is_read_with_a_token_that_is_shown_nowhere(github, monkeypatch, caplog, tmp_path):
    caplog.set_level(0)
    github.private["teacher/course"] = TOKEN
    with pytest.raises(UnavailableError, match="private") as caught:
        quiet("github:teacher/course/data/iris.csv")
    assert "GITHUB_TOKEN" in str(caught.value)
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    staged = quiet("github:teacher/course/data/iris.csv")
    assert staged.path.read_bytes() == FILES["data/iris.csv"]
    assert TOKEN not in json.dumps(staged.receipt, default=str) + caplog.text


def test_a_release_of_one_file_is_that_file_and_its_digest_is_checked(github):
    github.releases["teacher/course/v1"] = [("pets.csv", b"cat,1\n")]
    for spec in (
        "https://github.com/teacher/course/releases/tag/v1",
        "https://github.com/teacher/course/releases/latest",
    ):
        staged = quiet(spec)
        assert staged.path.read_bytes() == b"cat,1\n"
    assert "sha256" in str(staged.receipt["hashes"])


def test_a_release_of_several_files_lists_them(github):
    github.releases["teacher/course/v1"] = [("a.csv", b"1"), ("b.csv", b"2")]
    with pytest.raises(SpecError, match="a release of 2 files") as caught:
        quiet("https://github.com/teacher/course/releases/tag/v1")
    assert "a.csv" in str(caught.value)
    assert "b.csv" in str(caught.value)


def test_a_gist_is_its_file_or_its_files(github):
    one, two = "0123456789abcdef0123", "fedcba98765432100123"
    github.gists = {one: {"iris.csv": b"1,2\n"}, two: {"a.csv": b"1\n", "b c.csv": b"2\n"}}
    assert quiet(f"https://gist.github.com/teacher/{one}").path.read_bytes() == b"1,2\n"
    assert tree(quiet(f"https://gist.github.com/teacher/{two}")) == {"a.csv": b"1\n", "b c.csv": b"2\n"}
    assert quiet(f"https://gist.github.com/{two}#file-b-c-csv").path.read_bytes() == b"2\n"


@pytest.mark.parametrize(
    ("limit", "text"),
    [("primary", r"takes only 60 requests an hour .* used up until \d\d:\d\d"), ("secondary", "asked too often")],
)
def test_both_limits_of_the_api_are_named(limit, text, github):
    github.releases["teacher/course/v1"] = [("a.csv", b"1")]
    github.limit = limit
    with pytest.raises(UnavailableError, match=text) as caught:
        quiet("https://github.com/teacher/course/releases/latest")
    assert "GITHUB_TOKEN" in str(caught.value)


def test_the_limit_of_raw_files_is_named(github, monkeypatch):
    monkeypatch.setattr("datastage.transfer.retry.Limits.wait_s", lambda *words: 0.01)
    github.limit = "raw"
    with pytest.raises(UnavailableError, match="asked too often in a short time"):
        quiet("github:teacher/course/data/iris.csv")


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("https://github.com/o/r/releases/download/v1/a.zip", "http"),
        ("https://github.com/o/r/archive/refs/heads/main.zip", "http"),
        ("https://github.com/user-attachments/files/1/car.tgz", "http"),
        ("https://github.com/o/r/files/123/car.tgz", "http"),
        ("https://raw.githubusercontent.com/o/r/main/x.csv?token=ABC", "http"),
        ("https://media.githubusercontent.com/media/o/r/main/x.bin", "http"),
        ("https://gist.githubusercontent.com/o/0123456789abcdef0123/raw/x.csv", "http"),
    ],
)
def test_what_answers_with_the_file_itself_is_an_address(text, scheme):
    assert parse(text).scheme == scheme


@pytest.mark.parametrize("text", ["github:teacher", "github:a/b/../../c", "github:"])
def test_what_is_no_repository_is_said(text):
    with pytest.raises(SpecError, match="repository"):
        parse(text)


def test_a_browser_is_led_to_the_page():
    assert address_of(parse("github:o/r@v1/data")) == "https://github.com/o/r/tree/v1/data"


# --- a notebook that was opened from GitHub in Colab


@pytest.fixture
def opened_from(monkeypatch):
    """Let Colab say where its notebook was opened from."""
    made = []

    def say(page):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def do_GET(self):
                body = json.dumps([{"path": f"fileId={page}", "name": "lab.ipynb"}]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        made.append(server)
        monkeypatch.setenv(
            "DATASTAGE_ENDPOINTS",
            os.environ["DATASTAGE_ENDPOINTS"] + f" colab=http://127.0.0.1:{server.server_address[1]}",
        )

    yield say
    for server in made:
        server.shutdown()
        server.server_close()


def on_colab():
    from dataclasses import replace

    return replace(runtime.current(), platform="colab")


def test_a_notebook_opened_from_github_finds_the_data_of_its_repository(github, opened_from, monkeypatch):
    opened_from("https%3A%2F%2Fgithub.com%2Fteacher%2Fcourse%2Fblob%2Fmain%2Fdata%2Flab.ipynb")
    here = on_colab()
    monkeypatch.setattr("datastage.runtime.current", lambda: here)
    assert github_source.own_repository(here) == ("teacher/course/main", "data")
    assert quiet("iris.csv").path.read_bytes() == FILES["data/iris.csv"]  # beside the notebook
    assert quiet("data/iris.csv").path.read_bytes() == FILES["data/iris.csv"]  # from the top
    with pytest.raises(UnavailableError, match="There is no nothing.csv here"):
        quiet("nothing.csv")


def test_what_lies_beside_the_notebook_comes_before_what_is_called_so_at_the_top(github, opened_from, monkeypatch):
    github.add("teacher/two", "main", {"a.csv": b"top\n", "labs/a.csv": b"beside\n"})
    opened_from("https%3A%2F%2Fgithub.com%2Fteacher%2Ftwo%2Fblob%2Fmain%2Flabs%2Flab.ipynb")
    here = on_colab()
    monkeypatch.setattr("datastage.runtime.current", lambda: here)
    assert quiet("a.csv").path.read_bytes() == b"beside\n"


def test_a_notebook_of_drive_has_no_repository(github, opened_from):
    opened_from("1A2b3C")
    assert github_source.own_repository(on_colab()) is None


def test_a_runtime_that_does_not_tell_costs_a_second_at_most(github, monkeypatch):
    monkeypatch.setenv("DATASTAGE_ENDPOINTS", "colab=http://127.0.0.1:1")
    assert github_source.own_repository(on_colab()) is None
    monkeypatch.setenv("DATASTAGE_NO_ORIGIN", "1")
    assert github_source.own_repository(on_colab()) is None


def test_no_archive_of_a_repository_lands_outside(github):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("course-main/../../evil.txt", b"x")
    github.add("teacher/bad", "main", {"../../../evil.txt": b"x"})
    with pytest.raises(DatastageError):
        quiet("github:teacher/bad")


@pytest.mark.parametrize(
    "spec",
    [
        "github:teacher/course/data/iris.csv",
        "github:teacher/course/data/big.bin",
        "github:teacher/course@main",
        "https://github.com/teacher/course/releases/tag/v1",
        "https://gist.github.com/teacher/0123456789abcdef0123",
    ],
)
def test_github_is_waited_for_as_patiently_as_is_asked(spec, github, patience):
    github.releases["teacher/course/v1"] = [("pets.csv", b"cat,1\n")]
    github.gists = {"0123456789abcdef0123": {"a.csv": b"1\n", "b.csv": b"2\n"}}
    assert patience(spec) == ["as asked"]
