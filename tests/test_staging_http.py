"""From an address: unpacked as bytes come, checked, resumed, and left for the next place when it is slow or wrong."""

import dataclasses
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import chain, datasets, slots, staging
from datastage.errors import (
    ChecksumError,
    DatastageError,
    IntegrityError,
    NotDataError,
    SpecError,
    StorageError,
    UnavailableError,
)
from datastage.options import StageOptions
from datastage.show.reporters import Shown
from datastage.sources import parse
from tests.servers import certificates as certificates
from tests.servers import server as server
from tests.servers import tls_server as tls_server
from tests.stand_ins.runtimes import Kaggle

pytestmark = pytest.mark.usefixtures("here")

FILES = {"cat/1.txt": b"meow", "dog/1.txt": b"woof", "dog/noise.bin": os.urandom(200_000)}


def zip_bytes(files=FILES):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # the same at any time
    return stream.getvalue()


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".datastage")
    }


def left_in(root):
    """What lies under a root, the marks of what is staged apart."""
    own = slots.own_folder_of(Path(root))
    names = [path.name for path in Path(root).iterdir() if path != own] if Path(root).exists() else []
    return sorted(
        names + ([f".{path.name}" for path in own.iterdir() if path.suffix != ".mark"] if own.is_dir() else [])
    )


def quiet(spec, **options):
    return datastage.stage(spec, progress=False, **options)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE", raising=False)


@pytest.fixture
def web(server, online):
    return server


def test_an_archive_at_an_address_is_unpacked_and_nothing_else_is_left(web, tmp_path):
    staged = quiet(web.serve("pets.zip", zip_bytes()))
    assert tree(staged) == FILES
    assert left_in(tmp_path / "root") == [staged.path.name]


def test_a_server_without_ranges_will_do(web):
    assert tree(quiet(web.serve("pets.zip", zip_bytes(), ranges=False))) == FILES


def test_a_plain_file_at_an_address_is_that_file(web):
    staged = quiet(web.serve("iris.csv", b"5.1,3.5\n"))
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", b"5.1,3.5\n")


def test_each_byte_crosses_the_link_about_once(web):
    body = zip_bytes({f"{n}.bin": os.urandom(100_000) for n in range(80)})
    quiet(web.serve("big.zip", body))
    assert web.n_sent["big.zip"] < 1.1 * len(body) + 200_000


def test_the_second_run_asks_nobody(web, monkeypatch):
    url = web.serve("pets.zip", zip_bytes())
    first = quiet(url)
    asked = len(web.seen)
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    assert quiet(url).path == first.path
    assert len(web.seen) == asked


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"body": b"<!DOCTYPE html><html><title>Sign in</title></html>", "type": "text/html"}, NotDataError),
        ({"body": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"}, NotDataError),
        ({"body": b""}, IntegrityError),
        ({"truncate": 5000}, DatastageError),
        ({"status": 404}, UnavailableError),
        ({"status": 403}, UnavailableError),
        ({"flip": 150_000}, IntegrityError),
    ],
    ids=["web page", "lfs", "empty", "cut", "404", "403", "flipped"],
)
def test_what_is_not_the_file_is_a_clear_error_and_nothing_is_published(web, tmp_path, faults, kind):
    url = web.serve("pets.zip", **{"body": zip_bytes(), **faults})
    with pytest.raises(kind) as caught:
        quiet(url)
    assert caught.value.remedy
    assert not [name for name in left_in(tmp_path / "root") if not name.startswith(".")]
    if isinstance(caught.value, IntegrityError):
        assert left_in(tmp_path / "root") == []


@pytest.mark.parametrize("name", ["pets.zip", "iris.csv"])
def test_a_wrong_hash_is_never_published(web, tmp_path, name):
    with pytest.raises(ChecksumError):
        quiet(web.serve(name, zip_bytes()), expect="sha256:" + "0" * 64)
    assert left_in(tmp_path / "root") == []


def test_a_right_hash_is(web):
    body = zip_bytes()
    assert tree(quiet(web.serve("pets.zip", body), expect=f"md5:{hashlib.md5(body).hexdigest()}")) == FILES


def test_members_of_a_plain_file_at_an_address_are_refused(web, tmp_path):
    with pytest.raises(IntegrityError, match="members="):
        quiet(web.serve("iris.csv", b"1,2\n"), members="a*")
    assert left_in(tmp_path / "root") == []


@pytest.mark.parametrize(("name", "left"), [(None, []), ("pets", [".pets.fetch"])])
def test_members_that_match_nothing_leave_only_what_the_next_line_goes_on_with(web, tmp_path, name, left):
    url = web.serve("pets.zip", zip_bytes({**FILES, "more.bin": os.urandom(5_000_000)}))
    with pytest.raises(SpecError, match="matches") as caught:
        quiet(url, members="horse/*", name=name)
    assert caught.value.remedy[-1].endswith("members= one of these: 'cat/*', 'dog/*', 'more.bin'")
    assert left_in(tmp_path / "root") == left
    assert tree(quiet(url, members="dog/1*", name=name)) == {"dog/1.txt": b"woof"}
    assert len(left_in(tmp_path / "root")) == 1


def test_nobody_listening_says_so_and_names_the_address_without_its_password(online):
    with pytest.raises(UnavailableError) as caught:
        quiet("http://me:hunter2@127.0.0.1:9/pets.zip")
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_on_kaggle_without_internet_an_address_is_answered_with_kaggles_own_clicks(monkeypatch, tmp_path):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    request = StageOptions(parse("https://me:hunter2@example.org/pets.zip?key=abc"), root=tmp_path)
    with pytest.raises(UnavailableError) as caught:
        staging.stage(request, Kaggle(tmp_path / "kaggle").runtime())
    said = str(caught.value)
    assert '"Input" > "Upload" > New Dataset' in said
    assert said.splitlines()[-1].startswith('Next:  path = datastage.stage("kaggle:')
    assert "hunter2" not in said
    assert "abc" not in said


def test_a_password_is_sent_to_its_server_and_is_in_no_file(web, tmp_path):
    url = web.serve("pets.zip", zip_bytes(), user=("me", "hunter2")).replace("//", "//me:hunter2@")
    staged = quiet(url)
    assert tree(staged) == FILES
    assert not any(b"hunter2" in path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file())
    assert "hunter2" not in str(staged)


def test_a_fallback_takes_over_when_the_first_address_gives_a_web_page(web):
    bad = web.serve("bad.zip", b"<!DOCTYPE html><html></html>", type="text/html")
    assert tree(quiet(bad, fallbacks=[web.serve("good.zip", zip_bytes())])) == FILES


def test_a_slow_address_is_left_for_the_next(web, monkeypatch):
    monkeypatch.setattr(chain.transfer, "SLOW_BYTES_S", 50_000_000)
    monkeypatch.setattr(chain, "IMPATIENT", dataclasses.replace(chain.IMPATIENT, slow_after_s=1.0))
    slow = web.serve("slow.zip", zip_bytes({"x.bin": os.urandom(3_000_000)}), rate=200_000)
    staged = quiet(slow, fallbacks=[web.serve("fast.zip", zip_bytes())])
    assert tree(staged) == FILES
    assert [attempt["place"] for attempt in staged.receipt["attempts"]] == [slow]


def entry_of(web, monkeypatch, urls, body, files):
    entry = datastage.Entry(
        name="pets_of_a_test",
        title="Pets",
        files=tuple(datasets.File(name, len(data), hashlib.md5(data).hexdigest()) for name, data in files.items()),
        read=lambda path, split: None,
        downloads=(datasets.Download("pets.zip", len(body), hashlib.md5(body).hexdigest(), tuple(urls)),),
        splits={"train": 1},
    )
    monkeypatch.setitem(datasets._entries, entry.name, entry)
    return entry


@pytest.mark.parametrize(
    "fault",
    [{"body": b"<html></html>", "type": "text/html"}, {"status": 503}, {"truncate": 999}, {"flip": 5000}],
    ids=["page", "503", "cut", "flipped"],
)
def test_a_mirror_that_fails_is_passed_over(web, monkeypatch, fault):
    body = zip_bytes()
    bad = web.serve("bad/pets.zip", **{"body": body, **fault})
    entry = entry_of(web, monkeypatch, [bad, web.serve("good/pets.zip", body)], body, FILES)
    staged = quiet(entry.name)
    assert tree(staged) == FILES
    assert len(staged.receipt["attempts"]) == 1


def test_a_digest_lets_a_place_lead_from_https_to_http(web, tls_server, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    body = zip_bytes()
    url = tls_server.serve("moved/pets.zip", location=web.serve("pets.zip", body))
    with pytest.raises(UnavailableError, match="from https to http"):
        quiet(url)
    assert tree(quiet(url, expect=f"sha256:{hashlib.sha256(body).hexdigest()}")) == FILES
    assert tree(quiet(entry_of(web, monkeypatch, [url], body, FILES).name)) == FILES


def test_what_was_made_of_another_form_of_an_entry_is_ready_the_next_time(web, monkeypatch, tmp_path):
    class Louder:
        gives, sizes = ("cat.txt",), (1, 9)

        def fits(self, head):
            return head == b"meow\n"

        def convert(self, stream, into):
            (into / "cat.txt").write_bytes(b"MEOW")
            return self.gives

    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat.csv").write_bytes(b"meow\n")
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "data"))
    entry = dataclasses.replace(entry_of(web, monkeypatch, [], b"", {"cat.txt": b"Meow"}), converters=(Louder(),))
    monkeypatch.setitem(datasets._entries, entry.name, entry)
    assert tree(quiet(entry.name)) == {"cat.txt": b"MEOW"}
    assert quiet(entry.name).receipt.get("reused")


def test_a_drive_below_a_folder_that_is_searched_is_not_gone_through(web, monkeypatch, tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "data/drive/My Drive/lectures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("DATASTAGE_DRIVE", str(tmp_path / "data/drive"))
    body = zip_bytes()
    entry = entry_of(web, monkeypatch, [web.serve("pets.zip", body)], body, FILES)
    assert quiet(entry.name).receipt["place"].startswith("pets.zip from ")


@pytest.mark.parametrize("folder", ["MyDrive", "MyDrive/Colab Notebooks"])
def test_the_download_of_an_entry_is_found_where_people_put_it_in_drive(folder, web, monkeypatch, tmp_path):
    body = zip_bytes()
    (tmp_path / "drive" / folder).mkdir(parents=True)
    (tmp_path / "drive" / folder / "pets.zip").write_bytes(body)
    monkeypatch.setenv("DATASTAGE_DRIVE", str(tmp_path / "drive"))
    assert quiet(entry_of(web, monkeypatch, [], body, FILES).name).receipt["place"] == "pets.zip in your Drive"


def test_a_dataset_that_has_further_files_by_now_is_brought_again(web, monkeypatch):
    for files in (dict(list(FILES.items())[1:]), FILES):
        body = zip_bytes(files)
        staged = quiet(entry_of(web, monkeypatch, [web.serve(f"{len(files)}/pets.zip", body)], body, files).name)
        assert tree(staged) == files


def test_a_slow_publisher_is_come_back_to_when_nothing_else_has_it(web, monkeypatch):
    monkeypatch.setattr(chain.transfer, "SLOW_BYTES_S", 50_000_000)
    monkeypatch.setattr(chain, "IMPATIENT", dataclasses.replace(chain.IMPATIENT, slow_after_s=1.0))
    files = {**FILES, "big.bin": os.urandom(2_000_000)}
    body = zip_bytes(files)
    urls = [web.serve("slow/pets.zip", body, rate=400_000), web.serve("gone/pets.zip", body, status=404)]
    staged = quiet(entry_of(web, monkeypatch, urls, body, files).name)
    assert tree(staged) == files
    assert [bool(attempt["failure"]) for attempt in staged.receipt["attempts"]] == [True, True]


def test_when_every_mirror_fails_the_error_carries_each_attempt(web, monkeypatch, tmp_path):
    body = zip_bytes()
    urls = [web.serve("a/pets.zip", body, status=404), web.serve("b/pets.zip", b"x" * len(body))]
    with pytest.raises(UnavailableError) as caught:
        quiet(entry_of(web, monkeypatch, urls, body, FILES).name)
    assert len(caught.value.attempts) == 2
    assert str(caught.value).splitlines()[-1].startswith("Next:")
    assert left_in(tmp_path / "root") == []


def test_offline_no_mirror_is_asked(web, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **options: asked.append(arguments))
    entry = entry_of(web, monkeypatch, ["https://mirror.example/pets.zip"], zip_bytes(), FILES)
    with pytest.raises(UnavailableError):
        quiet(entry.name)
    assert asked == []


def test_a_killed_fetch_goes_on_from_what_had_come(web, here, tmp_path):
    body = zip_bytes({f"{n}.bin": os.urandom(1_000_000) for n in range(12)})
    url = web.serve("big.zip", body, rate=8_000_000)
    environment = {**os.environ, "PYTHONPATH": str(Path(datastage.__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-m", "datastage", "stage", url, "--quiet"], env=environment, stdout=-3)
    deadline = time.monotonic() + 60
    while web.n_sent["big.zip"] < 5_000_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [name for name in left_in(tmp_path / "root") if not name.startswith(".")]
    before = web.n_sent["big.zip"]
    web.pages["big.zip"] = dataclasses.replace(web.pages["big.zip"], rate=None)
    staged = quiet(url)
    again = web.n_sent["big.zip"] - before
    assert len(tree(staged)) == 12
    assert again < len(body) - 1_000_000
    assert left_in(tmp_path / "root") == [staged.path.name]


def test_a_full_disk_while_fetching_is_an_error_of_ours(web, here, monkeypatch):
    monkeypatch.setattr("datastage.runtime.free_bytes", lambda path, **options: 1000)
    with pytest.raises(StorageError):
        quiet(web.serve("pets.zip", zip_bytes()))


def test_the_archive_itself_counts_in_the_room_that_is_asked_for(web, monkeypatch):
    body = zip_bytes({"x.bin": os.urandom(1_000_000)})
    url = web.serve("pets.zip", body)
    monkeypatch.setattr("datastage.runtime.free_bytes", lambda path, **options: 1_900_000)
    with pytest.raises(StorageError):
        quiet(url)
    monkeypatch.setattr("datastage.runtime.free_bytes", lambda path, **options: 2_200_000)
    assert len(tree(quiet(url))["x.bin"]) == 1_000_000


def test_a_busy_place_is_left_after_two_tries_where_another_is_left(web):
    busy = web.serve("busy.zip", zip_bytes(), busy=10**6)
    assert tree(quiet(busy, fallbacks=[web.serve("pets.zip", zip_bytes())])) == FILES
    assert len(web.requests("busy.zip")) <= 4  # with and without a range, each twice


@pytest.mark.parametrize("what", ["ranges", "no ranges", "several files", "a local copy"])
def test_a_stop_says_that_what_has_come_is_kept_only_where_it_is(what, web, tmp_path):
    body = os.urandom(3_000_000)
    spec = web.serve("s-0.bin", body, rate=3_000_000, ranges=what != "no ranges")
    if what == "several files":
        web.serve("s-1.bin", body)
        spec = spec.replace("0.bin", "{0..1}.bin")
    elif what == "a local copy":
        (tmp_path / "s.bin").write_bytes(body)
        spec = str(tmp_path / "s.bin")

    class Stops(Shown):
        def advance(self, n_bytes):
            before = self._done
            super().advance(n_bytes)
            if before < 1_000_000 <= self._done:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt) as caught:
        datastage.stage(spec, copy=True, progress=Stops(io.StringIO(), None))
    kept = [name for name in left_in(tmp_path / "root") if name.endswith(".fetch")]
    assert (" are kept; " in str(caught.value)) == (what == "ranges")
    assert what == "several files" or bool(kept) == (what == "ranges")


def test_a_reporter_that_knows_no_resume_is_told_the_rest(here, server, monkeypatch):
    class Own:
        done = 0

        def phase(self, name, total_bytes):
            pass

        def advance(self, n_bytes):
            self.done += n_bytes

        def note(self, text, label=""):
            pass

    monkeypatch.delenv("DATASTAGE_OFFLINE")
    datastage.stage(server.serve("a.bin", bytes(range(256)) * 4000), progress=(own := Own()))
    assert own.done == 1_024_000
