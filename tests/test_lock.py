"""One process at a time, whatever becomes of the one before."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from datastage import lock
from datastage.errors import LockTimeoutError, StorageError

HOLDER = """
import sys, time, pathlib
from datastage.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_in_another_process(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=["flock", "made file"])
def kind(request, monkeypatch):
    if request.param == "made file":
        fcntl = pytest.importorskip("fcntl")

        def no_flock(fd, how):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_flock)
    return request.param


def test_the_lock_file_is_gone_afterwards(tmp_path, kind):
    with lock.locked(tmp_path / ".x.lock"):
        pass
    left = [path.name for path in tmp_path.iterdir() if not (kind == "made file" and path.name == ".x.lock")]
    assert left == []


def test_threads_of_one_process_take_turns(tmp_path, kind):
    inside, most = [], []

    def work():
        with lock.locked(tmp_path / ".x.lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_waiting_ends_with_an_error_that_says_who_holds_it(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock")
    try:
        with (
            pytest.raises(LockTimeoutError, match=f"process {process.pid} "),
            lock.locked(tmp_path / ".x.lock", timeout_s=0.3),
        ):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_dead_holders_lock_is_taken_over(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock")
    process.kill()
    process.wait()
    with lock.locked(tmp_path / ".x.lock", timeout_s=5):
        assert (tmp_path / ".x.lock").exists()


def test_an_abandoned_made_file_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_take", lock._take_by_making)
    abandoned = tmp_path / ".x.lock"
    abandoned.write_text("{}")
    os.utime(abandoned, (time.time() - 2 * lock.ABANDONED_S,) * 2)
    with lock.locked(abandoned, timeout_s=5):
        assert lock.holder(abandoned).startswith(f"process {os.getpid()} ")


def test_a_made_file_that_is_kept_fresh_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_take", lock._take_by_making)
    with lock.locked(tmp_path / ".x.lock"):
        with pytest.raises(LockTimeoutError), lock.locked(tmp_path / ".x.lock", timeout_s=0.3):
            pass


def test_who_waits_is_told_once(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock")
    told = []
    try:
        with pytest.raises(LockTimeoutError), lock.locked(tmp_path / ".x.lock", timeout_s=0.5, on_wait=told.append):
            pass
    finally:
        process.kill()
        process.wait()
    assert len(told) == 1


def test_a_lock_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    with pytest.raises(StorageError), lock.locked(tmp_path / "no such folder" / ".x.lock"):
        pass
