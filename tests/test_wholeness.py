"""Whole or not there: killed anywhere, sixteen at once, every write failing in turn, a disk that is full."""

import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import place
from datastage.errors import DatastageError, NoSpaceError, StorageError

pytestmark = pytest.mark.usefixtures("here")
PACKAGE = str(Path(datastage.__file__).parent.parent)


def make_zip(path, n=300, seed=0, size=2000):
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(n):
            archive.writestr(f"class{number % 7}/{number:04}.bin", rng.randbytes(size // 2) * 2)
    return path


def fingerprint(folder):
    """A digest of every path and content below `folder`, datastage's own two files apart."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name not in (place.RECEIPT, place.FILES):
            digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def right_one(archive, tmp_path):
    folder = tmp_path / "by zipfile"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return fingerprint(folder)


def command(*arguments):
    return [sys.executable, "-m", "datastage", *map(str, arguments)]


ENVIRONMENT = {"PYTHONPATH": PACKAGE}


def environment():
    return {**os.environ, **ENVIRONMENT}


def killed_and_run_again(tmp_path, here, runs, seed):
    """Kill `runs` runs at random moments, each followed by a run that must succeed; count what was seen wrong."""
    rng = random.Random(seed)
    root = tmp_path / "root"
    good = {}
    for number in range(2):
        archive = make_zip(here / f"{number}.zip", seed=number)
        good[number] = right_one(archive, tmp_path / f"good{number}")
    began = time.monotonic()
    subprocess.run(command("stage", "./0.zip", "--name", "data", "--quiet"), env=environment(), check=True, stdout=-3)
    whole = time.monotonic() - began
    partial = wrong = failed = killed = 0
    current = 0
    for _ in range(runs):
        # Another content each time, so that every kill may hit the replacing of a folder that is there.
        current = 1 - current
        os.replace(make_zip(here / "new.zip", seed=current), here / "0.zip")
        process = subprocess.Popen(
            command("stage", "./0.zip", "--name", "data", "--quiet"), env=environment(), stdout=-3, stderr=-3
        )
        time.sleep(rng.uniform(0, whole * 1.1))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (root / "data").exists():
            seen = fingerprint(root / "data")
            partial += seen not in good.values()
            receipt = place.read_receipt(root / "data")
            partial += (
                receipt is None or not place.verify_folder(root / "data", place.read_files(root / "data", receipt)).ok
            )
        again = subprocess.run(
            command("stage", "./0.zip", "--name", "data", "--quiet"), env=environment(), capture_output=True, text=True
        )
        failed += again.returncode != 0
        wrong += fingerprint(root / "data") != good[current]
    left = sorted(path.name for path in root.iterdir())
    print(
        f"{runs} runs, {killed} killed: {partial} partial folders, {wrong} wrong, {failed} reruns failed, left {left}"
    )
    return partial, wrong, failed, left, killed


def test_killed_at_random_moments_a_folder_is_whole_or_not_there(tmp_path, here):
    partial, wrong, failed, left, killed = killed_and_run_again(tmp_path, here, 12, seed=1)
    assert (partial, wrong, failed, left) == (0, 0, 0, ["data"])
    assert killed


@pytest.mark.slow
def test_killed_three_hundred_times_a_folder_is_whole_or_not_there(tmp_path, here):
    partial, wrong, failed, left, killed = killed_and_run_again(tmp_path, here, 300, seed=2)
    assert (partial, wrong, failed, left) == (0, 0, 0, ["data"])
    assert killed > 200


COUNT = """
import sys, datastage
from datastage import archives
real = archives.unpack
def counted(*a, **k):
    with open(sys.argv[1], "a") as file: file.write("x")
    return real(*a, **k)
archives.unpack = counted
print(datastage.stage("./data.zip", progress=False), flush=True)
"""


def together(tmp_path, here, delays, kill_first=False):
    make_zip(here / "data.zip", n=600)
    processes = []
    for delay in delays:
        time.sleep(delay)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", COUNT, str(tmp_path / "count")],
                env=environment(),
                stdout=-1,
                stderr=-1,
                text=True,
            )
        )
    if kill_first:
        deadline = time.monotonic() + 30
        while not (tmp_path / "count").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02)
        victim = next(p for p in processes if str(p.pid) in holder_text(tmp_path))
        victim.kill()
        victim.wait()
        processes.remove(victim)
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return {out.strip() for out, _ in said}, len((tmp_path / "count").read_text())


def holder_text(tmp_path):
    for _ in range(200):
        for path in (tmp_path / "root").glob(".*.lock"):
            text = path.read_text()
            if text:
                return text
        time.sleep(0.005)
    return ""


@pytest.mark.parametrize("delays", [[0] * 16, [0.05] * 16], ids=["at once", "staggered"])
def test_sixteen_processes_do_the_work_once(tmp_path, here, delays):
    paths, unpacked = together(tmp_path, here, delays)
    assert (len(paths), unpacked) == (1, 1)
    assert fingerprint(paths.pop()) == right_one(here / "data.zip", tmp_path)


def test_when_the_holder_is_killed_another_does_the_work(tmp_path, here):
    paths, unpacked = together(tmp_path, here, [0] * 6, kill_first=True)
    assert (len(paths), unpacked) == (1, 2)
    assert fingerprint(paths.pop()) == right_one(here / "data.zip", tmp_path)


WRITES = ("open", "write", "pwrite", "mkdir", "rename", "replace", "symlink", "fsync", "ftruncate", "posix_fallocate")


class FailingDisk:
    """Makes the n-th call that changes the disk below a folder fail; counts the calls."""

    def __init__(self, monkeypatch, code):
        self.at, self.count, self.code = -1, 0, code
        self.armed = False
        for name in WRITES:
            if hasattr(os, name):
                monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, real):
        def call(*arguments, **options):
            is_write = name != "open" or (arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if self.armed and is_write:
                self.count += 1
                if self.count == self.at:
                    raise OSError(self.code, os.strerror(self.code))
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("had_one", [False, True], ids=["nothing there", "replacing"])
def test_every_write_failing_in_turn_is_a_clear_error_and_changes_nothing(tmp_path, here, monkeypatch, code, had_one):
    root = tmp_path / "root"
    before = make_zip(here / "before.zip", n=4, seed=0)
    after = make_zip(here / "after.zip", n=5, seed=1, size=3000)

    def start_again():
        place.remove_tree(root)
        root.mkdir()
        if had_one:
            os.replace(make_zip(here / "x.zip", n=4, seed=0), here / "data.zip")
            datastage.stage("./data.zip", name="data", progress=False)
        os.replace(make_zip(here / "x.zip", n=5, seed=1, size=3000), here / "data.zip")

    old = right_one(before, tmp_path / "old") if had_one else fingerprint(here / "nothing")
    new = right_one(after, tmp_path / "new")
    disk = FailingDisk(monkeypatch, code)
    wrong = []
    start_again()
    for at in range(1, 500):
        disk.at, disk.count, disk.armed = at, 0, True
        try:
            staged = datastage.stage("./data.zip", name="data", progress=False)
        except StorageError as error:
            disk.armed = False
            if not error.remedy or (code in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, NoSpaceError)):
                wrong.append((at, "not a clear error", str(error)))
            if fingerprint(root / "data") != old:
                wrong.append((at, "the old state changed", str(error)))
            hidden = [path.name for path in root.iterdir() if path.name.startswith(".")]
            if hidden:
                wrong.append((at, "left behind", hidden))
        except DatastageError as error:
            disk.armed = False
            wrong.append((at, "of another kind", repr(error)))
        else:
            disk.armed = False
            if fingerprint(staged) != new:
                wrong.append((at, "success with wrong content", ""))
            if disk.count < at:
                break  # no write was left to fail
            start_again()
    else:
        pytest.fail("there was no end of writes")
    assert wrong == []
    assert at > 12


def test_a_full_disk_is_said_and_its_space_is_given_back(tmp_path, here):
    make_zip(here / "data.zip", n=200, size=40_000)
    if os.getuid() != 0:
        pytest.skip("a small file system can be mounted by root alone")
    script = f"""
mkdir -p {tmp_path}/small && mount -t tmpfs -o size=3m none {tmp_path}/small || exit 77
{" ".join(command("stage", "./data.zip", "--root", f"{tmp_path}/small", "--quiet"))}
code=$?
ls -A {tmp_path}/small
df --output=used {tmp_path}/small | tail -1
exit $code
"""
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=environment(), capture_output=True, text=True, cwd=here
    )
    if result.returncode in (1, 77) and "unshare" in result.stderr + result.stdout:
        pytest.skip(f"no mount namespace can be made here: {result.stderr.strip()}")
    assert result.returncode == 5, result.stderr
    assert "fit" in result.stderr or "room" in result.stderr
    assert result.stdout.split() == ["0"]


def limited(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


def test_a_file_that_may_not_grow_is_a_clear_error(tmp_path, here):
    make_zip(here / "data.zip", n=3, size=400_000)
    result = subprocess.run(
        command("stage", "./data.zip", "--quiet"),
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited(resource.RLIMIT_FSIZE, 100_000),
    )
    assert result.returncode == 5, result.stderr
    assert list((tmp_path / "root").iterdir()) == []


def test_few_open_files_are_enough_or_a_clear_error(tmp_path, here):
    make_zip(here / "data.zip", n=300)
    result = subprocess.run(
        command("stage", "./data.zip", "--quiet"),
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited(resource.RLIMIT_NOFILE, 24),
    )
    assert result.returncode in (0, 5), result.stderr
    assert "Traceback" not in result.stderr
