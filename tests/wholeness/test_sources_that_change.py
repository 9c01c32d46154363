"""The source changes, shrinks, grows, vanishes or turns to garbage while it is read: right bytes, or a clear error."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile

import pytest

import datastage
from datastage.errors import DatastageError
from tests.wholeness.kit import environment, fingerprint, hidden, make_zip, right_one

pytestmark = pytest.mark.usefixtures("here")

# In a process of its own: a mapped file that shrinks would end it without a word.
SCRIPT = """
import json, os, shutil, sys
import datastage
from datastage.errors import DatastageError
spec, how, at, options = sys.argv[1], sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4])
victim = sys.argv[5]
size = os.stat(victim).st_size
def change():
    if how == "shrinks":
        os.truncate(victim, size // 3)
    elif how == "grows":
        with open(victim, "ab") as file: file.write(bytes(100_000))
    elif how == "vanishes":
        os.unlink(victim)
    elif how == "turns to garbage":
        with open(victim, "r+b") as file: file.write(os.urandom(size))
    elif how == "turns to garbage unseen":
        seen = os.stat(victim)
        with open(victim, "r+b") as file: file.write(os.urandom(size))
        os.utime(victim, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    elif how == "is replaced":
        os.replace("other", victim)
class Reporter:
    done, changed = 0, False
    def phase(self, name, total_bytes): pass
    def note(self, text, label=""): pass
    def advance(self, n_bytes):
        Reporter.done += n_bytes
        if not Reporter.changed and Reporter.done >= at:
            Reporter.changed = True
            change()
try:
    datastage.stage(spec, name="data", progress=Reporter(), **options)
    print("staged")
except DatastageError as error:
    print("error:", type(error).__name__, error.args[0])
    assert error.remedy
"""
WAYS = ["shrinks", "grows", "vanishes", "turns to garbage", "turns to garbage unseen", "is replaced"]


def change_while_read(spec, how, at, victim, options, script=SCRIPT):
    result = subprocess.run(
        [sys.executable, "-c", script, spec, how, str(at), json.dumps(options), str(victim)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, (result.returncode, result.stderr)
    print(f"\n{spec} {how}: {result.stdout.strip()}")
    return result.stdout


def make_tar(path, seed, how="w:gz", size=40_000):
    rng = random.Random(seed)
    with tarfile.open(path, how) as tar:
        for n in range(60):
            data = rng.randbytes(size)
            member = tarfile.TarInfo(f"{n % 3}/{n}.bin")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def by_tarfile(path, tmp_path):
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / f"by tarfile {path.name}", filter="data")
    return fingerprint(tmp_path / f"by tarfile {path.name}")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_changes_while_it_is_unpacked(tmp_path, here, kind, how):
    source = here / f"source.{kind}"
    if kind == "zip":
        good = {right_one(make_zip(path, n=300, size=20_000, seed=n), tmp_path)
                for n, path in enumerate((source, here / "other"))}  # fmt: skip
    else:
        mode = "w:gz" if kind == "tar.gz" else "w"
        good = {by_tarfile(make_tar(path, n, mode), tmp_path) for n, path in enumerate((source, here / "other"))}
    said = change_while_read(f"./{source.name}", how, 200_000, source, {})
    look_at(said, tmp_path / "root", good)


def test_a_tar_whose_data_changes_between_its_headers(tmp_path, here):
    source = make_tar(here / "source.tar", 0, "w", size=500_000)
    before = by_tarfile(source, tmp_path)
    script = SCRIPT.replace("file.write(os.urandom(size))", "file.seek(29_100_000); file.write(b'other')", 1)
    assert script != SCRIPT
    said = change_while_read("./source.tar", "turns to garbage", 1, source, {}, script)
    look_at(said, tmp_path / "root", {before})


def test_a_tar_whose_data_changes_while_it_is_extracted(tmp_path, here):
    source = make_tar(here / "source.tar", 0, "w", size=500_000)
    script = SCRIPT.replace("file.write(os.urandom(size))", "file.seek(29_100_000); file.write(b'other')", 1)
    script = script.replace('datastage.stage(spec, name="data",', 'datastage.extract(spec, "out",')
    said = change_while_read(str(source), "turns to garbage", 1, source, {}, script)
    assert "IntegrityError source.tar changed while it was being unpacked" in said
    assert not (here / "out").exists()


def look_at(said, root, good):
    if said == "staged\n":
        assert fingerprint(root / "data") in good
    else:
        assert not (root / "data").exists()
    assert hidden(root) == []


@pytest.mark.parametrize("how", WAYS)
def test_a_file_that_changes_while_it_is_copied(tmp_path, here, how):
    source, other = here / "source.bin", here / "other"
    good = set()
    for n, path in enumerate((source, other)):
        path.write_bytes(random.Random(n).randbytes(8_000_000))
        (here / f"good{n}").mkdir()
        (here / f"good{n}" / "source.bin").write_bytes(path.read_bytes())
        good.add(fingerprint(here / f"good{n}"))
    expect = {}
    if how == "turns to garbage unseen":  # nothing but a hash can tell: with one, it is told
        import hashlib

        expect = {"expect": "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()}
    said = change_while_read("./source.bin", how, 1, source, {"copy": True, **expect})
    look_at(said, tmp_path / "root", good)


@pytest.mark.parametrize("how", ["shrinks", "vanishes", "turns to garbage"])
def test_a_file_of_a_folder_that_changes_while_it_is_copied(tmp_path, here, how):
    for n in range(60):
        (here / "source" / f"{n % 3}").mkdir(parents=True, exist_ok=True)
        (here / "source" / f"{n % 3}" / f"{n:02}.bin").write_bytes(random.Random(n).randbytes(400_000))
    good = fingerprint(here / "source")
    said = change_while_read("./source", how, 1, here / "source" / "2" / "59.bin", {"copy": True})
    if said == "staged\n":
        # The file was read before it changed, or after: what is listed is what is there.
        assert datastage.verify(tmp_path / "root" / "data").ok
        assert how == "turns to garbage" or fingerprint(tmp_path / "root" / "data") in (
            good,
            fingerprint(here / "source"),
        )
    else:
        assert not (tmp_path / "root" / "data").exists()
    assert hidden(tmp_path / "root") == []


@pytest.mark.parametrize(
    "faults",
    [
        {"change_after": 2},
        {"change_after": 2, "etag": None},
        {"change_after": 2, "etag": None, "modified": None},
        {"truncate": 700_000},
        {"flip": 900_000},
    ],
    ids=["changes", "changes without an etag", "changes without a sign", "shrinks", "is damaged on its way"],
)
@pytest.mark.parametrize("kind", ["data.zip", "data.tar.gz"])
def test_an_address_that_changes_while_it_is_fetched(tmp_path, here, server, monkeypatch, faults, kind):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    paths = [here / f"{n}-{kind}" for n in range(2)]
    if kind == "data.zip":
        good = {right_one(make_zip(path, n=80, size=40_000, seed=n), tmp_path) for n, path in enumerate(paths)}
    else:
        good = {by_tarfile(make_tar(path, n), tmp_path) for n, path in enumerate(paths)}
    url = server.serve(kind, paths[0].read_bytes(), changed=paths[1].read_bytes(), **faults)
    try:
        staged = datastage.stage(url, name="data", progress=False)
    except DatastageError as error:
        print(f"\n{kind} {faults}: {type(error).__name__} {error.args[0]}")
        assert error.remedy
        assert not (tmp_path / "root" / "data").exists()
    else:
        print(f"\n{kind} {faults}: staged")
        assert fingerprint(staged) in good


@pytest.mark.skipif(os.name == "nt", reason="sockets")
def test_a_server_that_vanishes_while_it_is_read(tmp_path, here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    from datastage import materialize, transfer

    real = transfer.ahead
    monkeypatch.setattr(
        materialize.transfer, "ahead",
        lambda *a, **k: real(*a, **{**k, "limits": transfer.Limits(tries=2, first_wait_s=0.05)}),
    )  # fmt: skip
    body = make_zip(here / "data.zip", n=80, size=40_000).read_bytes()
    url = server.serve("data.zip", body, rate=2_000_000, hook=lambda number: number > 4 and server.stop())
    with pytest.raises(DatastageError) as caught:
        datastage.stage(url, name="data", progress=False)
    assert caught.value.remedy
    assert not (tmp_path / "root" / "data").exists()
    assert set(hidden(tmp_path / "root")) <= {"data.fetch"}
