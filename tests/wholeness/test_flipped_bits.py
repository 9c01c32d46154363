"""Bits that flip in staged files: verify finds each, repair mends it and nothing else."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time

import pytest

import datastage
from datastage import own_files, slots
from datastage.errors import DatastageError, IntegrityError
from datastage.staged import FILES as LIST
from datastage.staged import RECEIPT
from tests.wholeness.kit import begin, fingerprint, hidden, is_whole, make_zip

pytestmark = pytest.mark.usefixtures("here")


def staged_from(kind, here, server):
    archive = make_zip(here / "data.zip", n=40, size=4000)
    if kind == "zip":
        return datastage.stage("./data.zip", name="data", progress=False)
    if kind == "tar.gz":
        with tarfile.open(here / "data.tar.gz", "w:gz") as tar:
            for n in range(20):
                member = tarfile.TarInfo(f"{n % 3}/{n}.bin")
                member.size = 2000
                tar.addfile(member, io.BytesIO(random.Random(n).randbytes(2000)))
        return datastage.stage("./data.tar.gz", name="data", progress=False)
    if kind == "folder":
        datastage.extract("data.zip", here / "folder", progress=False)
        return datastage.stage("./folder", name="data", copy=True, progress=False)
    if kind == "address":
        return datastage.stage(server.serve("data.zip", archive.read_bytes()), name="data", progress=False)
    return datastage.stage(server.serve("data.bin", archive.read_bytes()[9:]), name="data", progress=False)


KINDS = ["zip", "tar.gz", "folder", "address", "file at an address"]


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def bits_flipped(here, tmp_path, server, monkeypatch, kind, rounds, seed):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    chance = random.Random(seed)
    staged_from(kind, here, server)
    folder = tmp_path / "root" / "data"
    good = fingerprint(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".datastage")]
    missed = unmended = flipped = 0
    for _ in range(rounds):
        hit = chance.sample(files, min(len(files), chance.randint(1, 3)))
        for path in hit:
            flip(path, chance.randrange(10**6))
            flipped += 1
        found = datastage.verify(folder, progress=False)
        missed += set(found.damaged) != {path.relative_to(folder).as_posix() for path in hit}
        mended = datastage.verify(folder, repair=True, progress=False)
        unmended += not mended.ok or fingerprint(folder) != good
    print(f"\n{kind}: {flipped} bits flipped in {rounds} rounds: {missed} missed, {unmended} not mended")
    assert (missed, unmended, hidden(tmp_path / "root")) == (0, 0, [])


@pytest.mark.parametrize("kind", KINDS)
def test_each_flipped_bit_is_found_and_mended(here, tmp_path, server, monkeypatch, kind):
    bits_flipped(here, tmp_path, server, monkeypatch, kind, 4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_of_hundreds_of_flipped_bits_is_found_and_mended(here, tmp_path, server, monkeypatch, kind):
    bits_flipped(here, tmp_path, server, monkeypatch, kind, 100, seed=2)


@pytest.mark.parametrize("name", [RECEIPT, LIST])
def test_a_bit_that_flips_in_our_own_files_is_never_taken_for_right(here, tmp_path, server, name):
    staged_from("zip", here, server)
    folder = tmp_path / "root" / "data"
    right = (folder / name).read_bytes()
    chance, unsaid = random.Random(1), []
    for _ in range(60):
        (folder / name).write_bytes(right)
        bit = chance.randrange(8 * len(right))
        flip(folder / name, bit)
        try:
            found = datastage.verify(folder, progress=False)
        except DatastageError:
            continue
        # A receipt may say another date or size: the content is still checked against the list of the right digest.
        if name == LIST or not found.ok:
            unsaid.append(bit)
    assert unsaid == []


def test_a_damaged_list_is_an_error_that_says_what_to_do(here, tmp_path, server):
    staged_from("zip", here, server)
    flip(tmp_path / "root" / "data" / LIST, 77)
    with pytest.raises(IntegrityError, match="list of files") as caught:
        datastage.verify(tmp_path / "root" / "data", repair=True, progress=False)
    assert "refresh=True" in str(caught.value)


REPAIR = """
import sys
import datastage
print("go", flush=True)
datastage.verify(sys.argv[1], repair=True, progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_repair_can_be_run_again_and_leaves_nothing(here, tmp_path, server):
    staged_from("zip", here, server)
    folder = tmp_path / "root" / "data"
    good, chance = fingerprint(folder), random.Random(3)
    for _ in range(4):
        for path in folder.glob("class*/*"):
            flip(path, 5)
        process = begin(REPAIR, folder)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert datastage.verify(folder, repair=True, progress=False).ok
        assert fingerprint(folder) == good
        assert is_whole(folder)
        datastage.stage("./data.zip", name="data", progress=False)
        assert hidden(tmp_path / "root") == []


def test_clean_takes_nothing_that_is_being_prepared_or_asked_for(here, tmp_path, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url = server.serve("data.zip", make_zip(here / "data.zip", n=30, size=100_000).read_bytes(), rate=1_500_000)
    staging = subprocess.Popen([sys.executable, "-m", "datastage", "stage", url, "--quiet"], stdout=-3)
    deadline = time.monotonic() + 30
    while not hidden_or_none(tmp_path / "root") and time.monotonic() < deadline:
        time.sleep(0.01)
    seen = 0
    while staging.poll() is None:
        seen += 1
        assert datastage.clean(dry_run=True) == ()
        assert datastage.clean(budget=0) == () or staging.wait() == 0
        time.sleep(0.02)
    assert staging.returncode == 0
    assert seen > 1


def test_clean_leaves_a_note_that_a_run_writes_just_now_and_takes_it_an_hour_later(here, tmp_path):
    datastage.stage(make_zip(here / "data.zip"), progress=False)
    (own,) = (tmp_path / "root").glob(".datastage-*")
    note = own / f".data-3ad8.mark.{'0f' * 8}.partial"  # as own_files.atomic_file calls it
    note.write_bytes(b"{")
    assert datastage.clean() == ()
    os.utime(note, (time.time() - 4000,) * 2)
    assert [item.path for item in datastage.clean()] == [note]
    assert not note.exists()


def hidden_or_none(root):
    return hidden(root) if root.is_dir() else []


def test_photos_kept_beside_a_staged_folder_are_not_cleaned_while_it_is_there(here, tmp_path, server):
    from datastage import runtime
    from datastage.batches.open_data import _pixels

    staged = datastage.extract(make_zip(here / "data.zip"), tmp_path / "elsewhere" / "data", progress=False)
    pixels = _pixels(None, staged.path, runtime.current())
    pixels.mkdir()
    assert pixels.parent == slots.own_folder_of(tmp_path / "elsewhere")
    assert datastage.clean(root=tmp_path / "elsewhere") == ()
    own_files.remove_tree(staged.path)
    assert [item.path for item in datastage.clean(root=tmp_path / "elsewhere")] == [pixels]
    assert not pixels.exists()
