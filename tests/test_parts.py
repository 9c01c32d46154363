"""Entries of the catalog that are a few files, each told by its digest."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

import datastage
from datastage import datasets
from datastage.entry import ArchiveEntry, Lookalike, Part
from datastage.errors import IntegrityError, UnavailableError
from datastage.progress import Silent
from datastage.sources import parse
from tests.servers import server as server
from tests.sources.raw_server import wait_until
from tests.stand_ins.runtimes import Kaggle


@pytest.fixture(autouse=True)
def catalog_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))


def zipped(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return made.getvalue()


def tarred(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(text)
            archive.addfile(item, io.BytesIO(text.encode()))
    return made.getvalue()


def sha256(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def content(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


TRAIN = zipped(cat__1="c", dog__1="d")
TEST = zipped(cat__2="C", dog__2="D")


def two_parts(server, *, digest=None):
    entry = ArchiveEntry(
        "pets2", "Two pets", (server.serve("train.zip", TRAIN),), sha256(TRAIN), len(TRAIN), into="train",
        more=(Part("test.zip", (server.serve("test.zip", TEST),), digest or sha256(TEST), len(TEST), "test"),),
    )  # fmt: skip
    datastage.register(entry)
    return entry


def test_a_file_without_a_digest_is_that_of_its_name_before_others_of_its_size(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "labels.csv", "z.csv"):
        (tmp_path / "data" / name).write_text(name[0])
    monkeypatch.setenv("DATASTAGE_PATH", str(tmp_path / "data"))
    datastage.register(ArchiveEntry("of_labels", "Labels", ("https://gone.example/labels.csv",), size=1))
    assert datastage.stage("of_labels", progress=False).path.read_text() == "l"


def test_each_file_goes_into_its_own_folder(server):
    two_parts(server)

    staged = datastage.stage("pets2", progress=False)

    assert content(staged.path) == {"train/cat/1": "c", "train/dog/1": "d", "test/cat/2": "C", "test/dog/2": "D"}
    assert datastage.verify(staged).ok


def test_the_second_call_asks_nobody(server):
    two_parts(server)
    datastage.stage("pets2", progress=False)
    n_asked = len(server.seen)

    assert datastage.stage("pets2", progress=False).receipt["reused"]
    assert len(server.seen) == n_asked


@pytest.mark.parametrize("digest", [sha256(TEST), None], ids=["known", "unknown"])
def test_files_are_called_the_published_ones_where_a_digest_proves_each(digest, server):
    more = (Part("test.zip", (server.serve("test.zip", TEST),), digest, len(TEST), "test"),)
    datastage.register(ArchiveEntry("two", "Two", (server.serve("train.zip", TRAIN),), sha256(TRAIN), more=more))
    assert datastage.stage("two", progress=False).receipt["published"] is (digest is not None)


def test_a_wrong_second_file_leaves_nothing(server, tmp_path):
    two_parts(server, digest=f"sha256:{64 * '0'}")

    with pytest.raises((IntegrityError, UnavailableError)):
        datastage.stage("pets2", progress=False)

    assert not (tmp_path / "root/pets2").exists()
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file() and b"C" in path.read_bytes()] == []


def left_in(root):
    """What lies in our own folder under a root, the mark of what is staged and our own apart."""
    return sorted(path.name for path in next(root.glob(".datastage-*"), root).iterdir() if path.suffix != ".mark")


def test_once_all_is_published_no_archive_stays_on_the_disk(server, tmp_path):
    two_parts(server)
    datastage.stage("pets2", progress=False)
    assert left_in(tmp_path / "root") == []


@pytest.mark.parametrize("has_another_place", [False, True])
@pytest.mark.parametrize("wrong", [0, 1])
def test_after_wrong_bytes_of_either_file_nothing_of_it_is_left(wrong, has_another_place, server, tmp_path):
    digests = [sha256(TRAIN), sha256(TEST)]
    digests[wrong] = f"sha256:{64 * '0'}"
    urls = [(server.serve(name, body),) for name, body in (("train.zip", TRAIN), ("test.zip", TEST))]
    if has_another_place:
        urls[wrong] += (server.url("gone.zip"),)
    more = (Part("test.zip", urls[1], digests[1], None, "test"),)
    datastage.register(ArchiveEntry("pets3", "Three pets", urls[0], digests[0], into="train", more=more))
    with pytest.raises((IntegrityError, UnavailableError)):
        datastage.stage("pets3", progress=False)
    left = [path.name for path in (tmp_path / "root").rglob("*") if path.is_file() and path.suffix != ".mark"]
    assert left == (["train.zip"] if wrong and has_another_place else [])  # right, and waits for the other


def test_a_clean_meanwhile_takes_nothing_of_a_file_that_is_being_brought(server, tmp_path):
    two_parts(server)
    went = []

    class Cleans(Silent):
        def phase(self, *_said):
            went.extend(datastage.clean(root=tmp_path / "root"))

        note = phase

    staged = datastage.stage("pets2", progress=Cleans())
    assert len(content(staged.path)) == 4
    assert went == []


BRINGS = """
import sys, datastage
from datastage.entry import ArchiveEntry, Part
first, one, second, two = sys.argv[1:]
more = (Part("big.zip", (second,), two, into="test"),)
datastage.register(ArchiveEntry("pets4", "Pets", (first,), one, into="train", more=more))
datastage.stage("pets4", progress=False)
"""


def test_a_run_that_was_killed_at_the_second_file_goes_on_with_it(server, tmp_path):
    big = zipped(cat__2=os.urandom(8_000_000).hex())
    urls = server.serve("a.zip", TRAIN), server.serve("big.zip", big, rate=10_000_000)
    words = [sys.executable, "-c", BRINGS, urls[0], sha256(TRAIN), urls[1], sha256(big)]
    process = subprocess.Popen(words)
    assert wait_until(lambda: sum(seen.sent for seen in server.requests("big.zip")) > 8_000_000, 60)
    process.kill()
    process.wait()
    assert left_in(tmp_path / "root") == ["pets4.fetch", "pets4.lock", "pets4.partial"]
    assert datastage.clean(root=tmp_path / "root", dry_run=True)
    server.serve("big.zip", big)
    server.seen.clear()
    subprocess.run(words, check=True)
    assert (tmp_path / "root/pets4/test/cat/2").stat().st_size == 16_000_000
    assert sum(seen.sent for seen in server.requests("big.zip")) < len(big) - 2_000_000
    assert left_in(tmp_path / "root") == []


def test_folders_of_one_name_in_two_archives_become_one(server):
    first, second = tarred({"VOC/train/a": "1", "VOC/list": "2"}), tarred({"VOC/test/b": "3"})
    entry = ArchiveEntry(
        "voc_like", "VOC-like", (server.serve("one.tar.gz", first),), sha256(first),
        more=(Part("two.tar.gz", (server.serve("two.tar.gz", second),), sha256(second)),),
    )  # fmt: skip
    datastage.register(entry)

    assert content(datastage.stage("voc_like", progress=False).path) == {
        "VOC/train/a": "1", "VOC/list": "2", "VOC/test/b": "3",
    }  # fmt: skip


def test_files_of_two_archives_that_clash_are_an_error(server):
    first, second = tarred({"a": "1"}), tarred({"a": "2"})
    entry = ArchiveEntry(
        "clash", "Clash", (server.serve("one.tar.gz", first),), sha256(first),
        more=(Part("two.tar.gz", (server.serve("two.tar.gz", second),), sha256(second)),),
    )  # fmt: skip
    datastage.register(entry)

    with pytest.raises(IntegrityError, match="are called a"):
        datastage.stage("clash", progress=False)


def test_archives_in_the_archive_are_unpacked_where_the_entry_says_so(server):
    inner = tarred({"objects/cup/1": "x"})
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("set/objects.tar.gz", inner)
    body = body.getvalue()
    datastage.register(ArchiveEntry("within", "Within", (server.serve("set.zip", body),), sha256(body), nested=True))

    found = content(datastage.stage("within", progress=False).path)

    assert "x" in found.values()
    assert any(name.endswith("cup/1") for name in found)


def test_a_file_of_another_length_than_the_catalog_says_is_refused_where_no_digest_tells(server):
    datastage.register(ArchiveEntry("cut", "Cut", (server.serve("train.zip", TRAIN),), size=len(TRAIN) + 1))

    with pytest.raises((IntegrityError, UnavailableError), match="bytes"):
        datastage.stage("cut", progress=False)


def test_one_file_that_is_no_archive_is_that_file(server):
    body = b"To be, or not to be"
    datastage.register(ArchiveEntry("hamlet", "Hamlet", (server.serve("input.txt", body),), sha256(body), len(body)))

    assert datastage.stage("hamlet", progress=False).path.read_bytes() == body


# --- found on this machine


@pytest.mark.parametrize("is_named", [False, True])
def test_a_file_of_an_entry_that_is_found_here_is_copied(is_named, tmp_path, monkeypatch):
    body = b"To be, or not to be"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/input.txt").write_bytes(body)
    monkeypatch.setenv("DATASTAGE_PATH", "" if is_named else str(tmp_path / "data"))
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    place = str(tmp_path / "data/input.txt") if is_named else "https://files.example/x.txt"
    datastage.register(ArchiveEntry("hamlet", "Hamlet", (place,), sha256(body), len(body)))

    assert datastage.stage("hamlet", progress=False).path.is_relative_to(tmp_path / "root")


def kaggle_with(tmp_path, monkeypatch, files):
    layout = Kaggle(tmp_path / "k")
    folder = layout.root / "kaggle/input/datasets/somebody/upload"
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    here = layout.runtime()
    monkeypatch.setattr(datastage.runtime, "current", lambda: here)
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    return here


def birds(**more):
    body = zipped(birds__wren__1="w", birds__robin__1="r")
    places = ("https://files.example/birds.zip",)
    datastage.register(ArchiveEntry("birds", "Birds", places, sha256(body), len(body), **more))
    return body


def test_an_upload_under_any_name_is_found_by_its_content(tmp_path, monkeypatch):
    body = birds()
    kaggle_with(tmp_path, monkeypatch, {"my upload.bin": body})

    assert content(datastage.stage("birds", progress=False).path) == {"wren/1": "w", "robin/1": "r"}


def test_an_upload_of_the_right_size_with_other_bytes_is_not_taken(tmp_path, monkeypatch):
    body = birds()
    kaggle_with(tmp_path, monkeypatch, {"birds.zip": b"x" * len(body)})

    with pytest.raises(UnavailableError) as error:
        datastage.stage("birds", progress=False)

    assert "Add Input" in str(error.value)
    assert any("birds.zip" in attempt.place for attempt in error.value.attempts)


def test_what_people_upload_in_its_place_is_called_by_its_name(tmp_path, monkeypatch):
    birds(lookalikes=(Lookalike("the birds of another course", "birds.zip", names=("*/crow*",)),))
    kaggle_with(tmp_path, monkeypatch, {"crows.zip": zipped(crow__1="c")})

    with pytest.raises(UnavailableError, match="the birds of another course"):
        datastage.stage("birds", progress=False)


def test_a_file_of_an_installed_package_is_taken_without_a_network(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")

    staged = datastage.stage("wine", progress=False)

    assert staged.path.read_text().startswith("178,13,class_0")


# --- the entries of the catalog

ARCHIVES = [entry for entry in datasets.ENTRIES if isinstance(entry, ArchiveEntry)]


def test_there_are_sixty_entries_at_least_and_no_name_twice():
    names = [entry.name for entry in datasets.ENTRIES]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("entry", ARCHIVES, ids=lambda entry: entry.name)
def test_the_facts_of_an_entry_are_of_the_right_form(entry):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.name)
    assert entry.title
    assert entry.licence
    for part in entry.parts:
        assert part.places
        assert part.name
        assert "/" not in part.name
        assert part.expect is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", part.expect)
        assert part.expect or part.size or entry.task == "detection" or "kaggle:" in part.places[0]
        for place in part.places:
            assert place.startswith("package:") or parse(place).scheme != "name"
    assert len(entry.mean) == len(entry.std)
    assert not entry.mean or max(entry.std) < 1
    assert all(n > 0 for n in entry.splits.values())
    assert set(entry.splits) <= {"train", "val", "test", "predict"}


def test_no_digest_stands_for_two_files():
    digests = [part.expect for entry in ARCHIVES for part in entry.parts if part.expect]
    assert len(digests) == len(set(digests))


def test_a_near_name_is_offered_and_not_all_of_them():
    with pytest.raises(datastage.SpecError) as error:
        datastage.stage("imagenete", progress=False)

    assert "Did you mean imagenette" in str(error.value)
    assert len(str(error.value)) < 400
