"""Killed at each single step of publishing: the old folder or the new one serves, and the next run tidies up."""

import os
import sys
import time
import zipfile

import pytest

import datastage
from tests.wholeness.kit import begin, fingerprint, hidden, is_whole, make_zip, right_one

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")]

STEP = """
import os, signal, sys
import datastage
from datastage import archives, staging, store
at, count = int(sys.argv[1]), 0
def counted(real):
    def call(*arguments, **options):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
real = store.publish
def publish(*arguments, **options):
    for name in ("rename", "replace", "open", "unlink", "rmdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    store.sync_file_system = counted(store.sync_file_system)
    return real(*arguments, **options)
store.publish = publish
print("go", flush=True)
datastage.stage("./data.zip", name="data", progress=False)
"""


def test_killed_at_each_step_of_publishing_old_or_new_is_there(tmp_path, here):
    zips = [make_zip(here / f"{number}.zip", n=2, seed=number) for number in range(2)]
    good = [right_one(path, tmp_path) for path in zips]
    root, wrong, outcomes = tmp_path / "root", [], set()
    for at in range(1, 60):
        for number in range(2):
            os.replace(make_zip(here / "new.zip", n=2, seed=number), here / "data.zip")
            if number == 0:
                datastage.stage("./data.zip", name="data", progress=False)
        process = begin(STEP, at)
        process.communicate(timeout=400)
        final = root / "data"
        now = fingerprint(final) if final.exists() else "nothing"
        outcomes.add(now)
        if final.exists() and not is_whole(final):
            wrong.append((at, "partial"))
        (here / "data.zip").rename(here / "away.zip")
        try:  # with the source gone: what is there, or what was there before, must still serve
            datastage.stage("./data.zip", name="data", progress=False)
        except datastage.UnavailableError:
            wrong.append((at, "neither the old nor the new one"))
        (here / "away.zip").rename(here / "data.zip")
        staged = datastage.stage("./data.zip", name="data", progress=False)
        if fingerprint(staged) != good[1] or hidden(root):
            wrong.append((at, "the next run", hidden(root)))
        if process.returncode == 0:
            break
    print(f"\npublishing: killed at each of {at - 1} steps: {len(wrong)} wrong")
    assert wrong == []
    assert process.returncode == 0
    assert {*good, "nothing"} == outcomes


ZIP = """
import sys, datastage
print("go", flush=True)
datastage.zip_folder("./photos", "./photos.zip", progress=False)
"""


def test_killed_while_a_folder_is_zipped_no_zip_is_there_and_the_next_run_makes_it(tmp_path, here):
    for n in range(400):
        (here / "photos" / f"{n % 7}").mkdir(parents=True, exist_ok=True)
        (here / "photos" / f"{n % 7}" / f"{n}.bin").write_bytes(os.urandom(20_000))
    for wait in (0.0, 0.05, 0.1, 0.2):
        process = begin(ZIP)
        time.sleep(wait)
        process.kill()
        process.communicate()
        if (here / "photos.zip").exists():
            assert zipfile.ZipFile(here / "photos.zip").testzip() is None
            (here / "photos.zip").unlink()
    for path in here.glob(".photos.zip.*.partial"):
        os.utime(path, (1_600_000_000,) * 2)
    processes = [begin(ZIP) for _ in range(3)]  # three at once: none disturbs another
    for process in processes:
        process.communicate(timeout=300)
    assert 0 in [process.returncode for process in processes]
    assert len(zipfile.ZipFile(here / "photos.zip").namelist()) == 400
    assert sorted(path.name for path in here.iterdir()) == ["photos", "photos.zip"]
