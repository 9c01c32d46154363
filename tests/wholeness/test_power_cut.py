"""The power fails: a real ext4 on a loop device, of which only what reached the device is left.

A run is killed at a random moment and the device's file is copied at once, with whatever the file system had not yet
written missing. The copy is mounted, which replays its journal as after a power cut, and looked at.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.wholeness.kit import PACKAGE, environment, make_zip

pytestmark = pytest.mark.usefixtures("here")

# Runs in a mount namespace of its own, so that nothing stays mounted whatever happens.
SCRIPT = r"""
import json, os, pathlib, random, shutil, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from tests.wholeness.kit import begin, fingerprint, is_whole, right_one
from datastage.staged import FILES as LIST, RECEIPT, read_receipt
import datastage
from datastage import store
folder, runs, seed, trick = pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
disk, cut = folder / "disk", folder / "after the cut"
for made in (disk, cut):
    made.mkdir()
def mount(image, at):
    if subprocess.run(["mount", "-o", "loop", image, at]).returncode:
        sys.exit(77)
with open(folder / "disk.img", "wb") as image:
    image.truncate(48 << 20)
subprocess.run(["mkfs.ext4", "-q", folder / "disk.img"], check=True)
mount(folder / "disk.img", disk)
os.environ["DATASTAGE_ROOT"] = str(disk / "root")
good = [right_one(folder / "work" / f"{n}.zip", folder) for n in range(2)]
STAGE = '''
import os, sys
import datastage
from datastage import store
from datastage.staged import FILES as LIST, RECEIPT
if sys.argv[1] == "no sync":
    def only_the_receipt(folder):
        fd = os.open(folder / RECEIPT, os.O_RDONLY)
        os.fsync(fd)
        fd = os.open(folder / LIST, os.O_RDONLY)
        os.fsync(fd)
    store.sync_file_system = only_the_receipt
print("go", flush=True)
datastage.stage("./data.zip", name="data", refresh=True, progress=False)
if len(sys.argv) > 2:
    os.kill(os.getpid(), 9)  # the power fails right after the promise was made
'''
def put(n):
    shutil.copy(folder / "work" / f"{n}.zip", folder / "work" / "new.zip")
    os.replace(folder / "work" / "new.zip", folder / "work" / "data.zip")
os.chdir(folder / "work")
put(0)
began = time.monotonic()
begin(STAGE, trick).communicate(timeout=300)
whole = time.monotonic() - began
chance = random.Random(seed)
seen = dict(runs=runs, receipts_without_files=0, neither=0, promised_and_lost=0, failed=0, old=0, new=0)
for run in range(runs):
    n = 1 - run % 2
    put(n)
    to_the_end = run % 3 == 2
    process = begin(STAGE, trick, *["end"] * to_the_end)
    if to_the_end:
        process.wait()
    else:
        time.sleep(chance.uniform(0, whole))
        process.kill()
    shutil.copy(folder / "disk.img", folder / "cut.img")
    process.communicate()
    mount(folder / "cut.img", cut)
    final = cut / "root" / "data"
    if read_receipt(final) is not None and not (is_whole(final) and fingerprint(final) in good):
        seen["receipts_without_files"] += 1
    old = next((cut / "root").glob(".datastage-*/data.old"), cut / "none")
    kept = [fingerprint(path) for path in (final, old) if path.exists()]
    seen["neither"] += not any(one in good for one in kept)
    seen["old"] += good[1 - n] in kept
    seen["new"] += good[n] in kept
    seen["promised_and_lost"] += to_the_end and (not final.exists() or fingerprint(final) != good[n])
    subprocess.run(["mount", "--bind", cut, disk], check=True)  # after a power cut the disk is mounted where it was
    try:
        seen["failed"] += fingerprint(datastage.stage("./data.zip", name="data", progress=False)) != good[n]
    except Exception as error:
        print(repr(error), file=sys.stderr)
        seen["failed"] += 1
    subprocess.run(["umount", disk], check=True)
    subprocess.run(["umount", cut], check=True)
print(json.dumps(seen))
"""


def power_cuts(tmp_path, here, runs, seed, trick="as it is"):
    if sys.platform != "linux" or os.getuid() != 0 or not shutil.which("mkfs.ext4") or not shutil.which("unshare"):
        pytest.skip("needs root, a loop device and mkfs.ext4")
    for number in range(2):
        make_zip(here / f"{number}.zip", n=120, seed=number, size=20_000)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = {**environment(), "PYTHONPATH": os.pathsep.join([root, PACKAGE])}
    result = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", SCRIPT, root, str(tmp_path), str(runs), str(seed), trick],
        env=paths,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    if result.returncode == 77 or "unshare:" in result.stderr:
        pytest.skip(f"no loop device can be mounted here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    print(f"\npower cuts, {trick}: {seen}")
    return seen


def test_after_a_power_cut_no_receipt_is_without_its_files(tmp_path, here):
    seen = power_cuts(tmp_path, here, 9, seed=1)
    assert (seen["receipts_without_files"], seen["neither"], seen["promised_and_lost"], seen["failed"]) == (0, 0, 0, 0)
    assert seen["new"]


def test_these_power_cuts_show_a_receipt_without_its_files_where_only_the_receipt_is_synced(tmp_path, here):
    assert power_cuts(tmp_path, here, 3, seed=1, trick="no sync")["receipts_without_files"]


@pytest.mark.slow
def test_after_a_hundred_power_cuts_no_receipt_is_without_its_files(tmp_path, here):
    seen = power_cuts(tmp_path, here, 100, seed=2)
    assert (seen["receipts_without_files"], seen["neither"], seen["promised_and_lost"], seen["failed"]) == (0, 0, 0, 0)
