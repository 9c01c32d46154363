"""Many processes that want the same data: the work is done once, and who waits sees how far it is."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

import datastage
from datastage import lock
from datastage.staged import RECEIPT, looks_whole
from tests.wholeness.kit import begin, command, end, environment, fingerprint, hidden, make_zip, right_one

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")]

COUNT = """
import os, sys, time, datastage
from datastage import archives
if len(sys.argv) > 2:
    import errno, fcntl
    def refuse(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = refuse
real = archives.unpack
def counted(*a, **k):
    with open(sys.argv[1], "a") as file: file.write("x")
    if os.environ["KILL_FIRST"] and os.path.getsize(sys.argv[1]) == 1:
        time.sleep(60)  # so that the kill finds the holder at work
    return real(*a, **k)
archives.unpack = counted
print(datastage.stage("./data.zip", progress=False), flush=True)
"""


def holder(tmp_path):
    """The number of the process that holds a lock below the root."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for path in (tmp_path / "root").rglob("*.lock*"):
            facts = lock._read(path)
            if facts and "pid" in facts:
                return facts["pid"]
        time.sleep(0.005)
    return None


def together(tmp_path, here, delays, kill_first=False, how=()):
    make_zip(here / "data.zip", n=600)
    processes = []
    for delay in delays:
        time.sleep(delay)
        words = [sys.executable, "-c", COUNT, str(tmp_path / "count"), *how]
        env = {**environment(), "KILL_FIRST": "yes" if kill_first else ""}
        processes.append(subprocess.Popen(words, env=env, stdout=-1, stderr=-1, text=True))
    if kill_first:
        deadline = time.monotonic() + 200
        while not (tmp_path / "count").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02)
        number = holder(tmp_path)
        victim = next(p for p in processes if p.pid == number)
        victim.kill()
        victim.communicate()
        processes.remove(victim)
    said = [process.communicate(timeout=500) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    paths = {out.strip() for out, _ in said}
    print(f"\n{len(delays)} processes: unpacked {len((tmp_path / 'count').read_text())} times, {len(paths)} result")
    return paths, len((tmp_path / "count").read_text())


@pytest.mark.parametrize("delays", [[0] * 16, [0.05] * 16], ids=["at once", "staggered"])
def test_sixteen_processes_do_the_work_once(tmp_path, here, delays):
    paths, unpacked = together(tmp_path, here, delays)
    assert (len(paths), unpacked) == (1, 1)
    assert fingerprint(paths.pop()) == right_one(here / "data.zip", tmp_path)
    assert hidden(tmp_path / "root") == []


@pytest.mark.parametrize("how", [(), ("no flock",)], ids=["flock", "no flock"])
def test_when_the_holder_is_killed_another_does_the_work(tmp_path, here, how):
    paths, unpacked = together(tmp_path, here, [0] * 6, kill_first=True, how=how)
    assert (len(paths), unpacked) == (1, 2)
    assert fingerprint(paths.pop()) == right_one(here / "data.zip", tmp_path)
    assert hidden(tmp_path / "root") == []


def test_who_waits_sees_the_holder_and_how_far_it_is(tmp_path, here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    body = make_zip(here / "data.zip", n=30, size=200_000).read_bytes()
    url = server.serve("data.zip", body, rate=1_000_000)
    first = subprocess.Popen(command("stage", url, "--quiet"), env=environment(), stdout=-1, text=True)
    number = holder(tmp_path)
    assert number == first.pid
    said = []

    class Reporter:
        def phase(self, name, total_bytes):
            said.append((name, total_bytes))

        def advance(self, n_bytes):
            said.append(n_bytes)

        def note(self, text, label=""):
            said.append(f"{label:<10}{text}" if label else text)

    staged = datastage.stage(url, progress=Reporter())
    assert str(staged) == first.communicate()[0].strip()
    phases = [entry for entry in said if isinstance(entry, tuple)]
    assert any(isinstance(entry, str) and f"Waiting   for process {number} on " in entry for entry in said)
    assert phases[-1][0].endswith("copying data.zip")
    assert re.match(rf"process {number} on \S+: ", phases[-1][0])
    assert phases[-1][1] == len(body)
    assert 0 < sum(entry for entry in said if isinstance(entry, int)) <= len(body)
    assert server.n_sent["data.zip"] < 1.5 * len(body)  # it fetched nothing itself


def test_two_that_extract_into_one_folder_end_with_one_folder_and_one_error(tmp_path, here):
    make_zip(here / "data.zip", n=300)
    words = command("extract", "data.zip", "out", "--quiet")
    processes = [subprocess.Popen(words, env=environment(), stdout=-1, stderr=-1, text=True) for _ in range(4)]
    said = [process.communicate(timeout=300) for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 5, 5, 5], said
    assert not any("Traceback" in err for _, err in said)
    assert fingerprint(here / "out") == right_one(here / "data.zip", tmp_path)


STANDSTILL = """
import errno, fcntl, json, os, sys, time
import datastage
from datastage import lock, staged
def refuse(fd, how):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
real = staged.write_receipt
def slow(*arguments):
    print("stopped", flush=True)
    sys.stdin.readline()
    return real(*arguments)
staged.write_receipt = slow
lock.Held.beat = lambda self: None  # the whole process stands still, its heart too
print("go", flush=True)
try:
    datastage.stage("./data.zip", name="data", progress=False)
except datastage.StorageError as error:
    print(error.args[0], flush=True)
"""


def test_a_process_that_stood_still_publishes_nothing_over_its_successor(tmp_path, here, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(fd, how):
        raise OSError(38, os.strerror(38))

    make_zip(here / "data.zip", n=20)
    sleeper = begin(STANDSTILL, stdin=subprocess.PIPE)
    assert sleeper.stdout.readline() == "stopped\n"
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "ABANDONED_S", 0.3)
    staged = datastage.stage("./data.zip", name="data", progress=False)
    before = staged.path.stat().st_ino
    said = sleeper.communicate("go on\n", timeout=300)[0]
    assert "stood still" in said or "No such file" in said or "no such file" in said, said
    assert staged.path.stat().st_ino == before
    assert fingerprint(staged) == right_one(here / "data.zip", tmp_path)
    assert looks_whole(staged.path, json.loads((staged.path / RECEIPT).read_text()))
    assert hidden(tmp_path / "root") == []
    end(sleeper) if sleeper.poll() is None else None
