"""One process at a time, whatever becomes of the one before."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

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


WITHOUT_FLOCK = """
import errno, fcntl
def refuse(fd, how):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
"""


def hold_in_another_process(path, script=HOLDER, *words):
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path), *words], stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without file locks."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture(params=["flock", "made file"])
def kind(request):
    if request.param == "made file":
        request.getfixturevalue("no_flock")
    return request.param


def test_the_lock_file_may_be_read_by_others_and_is_gone_afterwards(tmp_path, kind):
    umask = os.umask(0)
    try:
        with lock.locked(tmp_path / ".x.lock"):
            assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o644]
    finally:
        os.umask(umask)
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("script", [HOLDER, "import os\nos.close(0)" + HOLDER], ids=["", "that has no input"])
def test_waiting_ends_with_an_error_that_says_who_holds_it(tmp_path, script):
    process = hold_in_another_process(tmp_path / ".x.lock", script)
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


def test_an_ancient_made_file_is_taken_over_at_once(tmp_path, no_flock):
    abandoned = tmp_path / ".x.locked"
    abandoned.write_text("{}")
    os.utime(abandoned, (time.time() - 2 * lock.ANCIENT_S,) * 2)
    with lock.locked(tmp_path / ".x.lock", timeout_s=5):
        assert lock._holder(tmp_path / ".x.lock").who.startswith(f"process {os.getpid()} ")
        assert stat.S_IMODE(abandoned.stat().st_mode) & 0o133 == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1, "host": "node3", "token": "abc", "boot": "other"}'])
def test_a_made_file_that_nobody_writes_to_is_taken_over_after_a_while(tmp_path, no_flock, monkeypatch, text):
    monkeypatch.setattr(lock, "ABANDONED_S", 0.5)
    (tmp_path / ".x.locked").write_text(text)
    began = time.monotonic()
    with lock.locked(tmp_path / ".x.lock", timeout_s=10):
        assert time.monotonic() - began > 0.5
    assert list(tmp_path.iterdir()) == []


def test_a_made_file_whose_remover_died_is_removed_by_the_next(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(lock, "ABANDONED_S", 0.3)
    (tmp_path / ".x.locked").write_text('{"pid": 1, "host": "node3", "token": "abc", "boot": "other"}')
    (tmp_path / ".x.locked~abc").touch()
    with lock.locked(tmp_path / ".x.lock", timeout_s=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_made_file_that_is_kept_fresh_is_not_taken(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(lock, "ABANDONED_S", 1.5)
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    with lock.locked(tmp_path / ".x.lock"):
        with pytest.raises(LockTimeoutError), lock.locked(tmp_path / ".x.lock", timeout_s=2.5):
            pass


def test_who_lost_the_lock_learns_so_and_leaves_the_others_alone(tmp_path, no_flock):
    theirs = tmp_path / ".x.locked"
    with lock.locked(tmp_path / ".x.lock") as held:
        held.check()
        theirs.unlink()
        theirs.write_text('{"pid": 1, "host": "node3", "token": "abc", "boot": "other"}')
        with pytest.raises(StorageError, match="another one"):
            held.check()
    assert theirs.exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_file_locks_who_waits_is_told_for_whom(tmp_path, monkeypatch, code):
    fcntl = pytest.importorskip("fcntl")

    def refuse(fd, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        lock.locked(tmp_path / ".x.lock"),
        pytest.raises(LockTimeoutError, match=f"process {os.getpid()} on "),
        lock.locked(tmp_path / ".x.lock", timeout_s=0),
    ):
        pass


def test_on_a_network_disk_a_file_lock_alone_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "is_network_disk", lambda path: True)
    with lock.locked(tmp_path / ".x.lock"):
        assert (tmp_path / ".x.locked").exists()
        # As another node does whose flock knows nothing of ours.
        (tmp_path / ".x.lock").unlink()
        with pytest.raises(LockTimeoutError), lock.locked(tmp_path / ".x.lock", timeout_s=0):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_a_process_in_another_container_is_not_looked_up(tmp_path, no_flock):
    record = {**lock._me(), "pid": 2**22 + 1, "space": "pid:[1]", "host": "c0ffee", "token": "abc"}
    (tmp_path / ".x.locked").write_text(json.dumps(record))
    with (
        pytest.raises(LockTimeoutError, match="in the container c0ffee"),
        lock.locked(tmp_path / ".x.lock", timeout_s=0.3),
    ):
        pass


TELLING = """
import sys, time, pathlib
from datastage.lock import locked
with locked(pathlib.Path(sys.argv[1])) as held:
    held.phase("copying pets.zip", 1000)
    print("held", flush=True)
    for _ in range(int(sys.argv[2])):
        held.advance(25)
        time.sleep(0.1)
"""


def test_who_waits_is_told_how_far_the_holder_is(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock", TELLING, "600")
    told = []
    try:
        with (
            pytest.raises(LockTimeoutError),
            lock.locked(tmp_path / ".x.lock", timeout_s=20, on_progress=lambda seen: told.append(seen) or stop(told)),
        ):
            pass
    finally:
        process.kill()
        process.wait()
    assert {seen.doing for seen in told} == {"copying pets.zip"}
    assert [seen.total_bytes for seen in told] == [1000] * len(told)
    assert len({seen.done_bytes for seen in told}) > 1


def stop(told):
    if len(told) >= 3:
        raise LockTimeoutError("enough")


def test_while_the_holder_gets_on_waiting_does_not_end(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock", TELLING, "50")
    with lock.locked(tmp_path / ".x.lock", timeout_s=3.5):  # it takes 5 s, and gets on each second
        assert process.wait() == 0


def test_what_is_reported_after_the_end_reaches_no_file(tmp_path, kind, capfd):
    with lock.locked(tmp_path / ".x.lock") as held:
        number = held._fd
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    try:
        assert number == other or kind == "made file"  # the number is given out anew
        held.phase("late", 1)
        held.beat()
        assert os.fstat(other).st_size == 0
        assert capfd.readouterr() == ("", "")
    finally:
        os.close(other)


CONTENDER = """
import errno, fcntl, os, pathlib, random, sys, time
from datastage import lock
folder, kind, seed, seconds = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
lock.ABANDONED_S, lock.BEAT_S, lock.POLL_S = 3.0, 0.1, 0.01
if kind != "flock":
    def refuse(fd, how):
        raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = refuse
if kind == "other containers":
    lock._me = lambda real=lock._me: {**real(), "space": f"pid:[{seed}]"}
chance = random.Random(seed)
end = time.monotonic() + seconds
while time.monotonic() < end:
    with lock.locked(folder / ".x.lock", timeout_s=60):
        inside = folder / "inside"
        try:
            fd = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            other = inside.read_text()
            # Was it killed in there? The kernel lets its lock go a moment before it is seen to be dead.
            for _ in range(100):
                try:
                    state = pathlib.Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    state = "X"
                if state in "XZ":
                    other = None
                    break
                time.sleep(0.01)
            if other is not None:
                print("two at once:", other, os.getpid(), flush=True)
                os._exit(3)
            inside.unlink()
            fd = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, str(os.getpid()).encode())
        os.close(fd)
        time.sleep(chance.uniform(0, 0.004))
        if chance.random() < 0.02:
            os.kill(os.getpid(), 9)
        inside.unlink()
    with open(folder / "count", "ab") as count:
        count.write(b"x")
"""


def contend(tmp_path, kind, seconds, n=6):
    """Let processes take the lock as often as they can; each that kills itself inside is replaced. What was seen."""

    def start(seed):
        words = [sys.executable, "-c", CONTENDER, str(tmp_path), kind, str(seed), str(max(0.5, end - time.monotonic()))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)

    end = time.monotonic() + seconds
    running, killed, said = [start(seed) for seed in range(n)], 0, []
    while running:
        time.sleep(0.02)
        for process in [process for process in running if process.poll() is not None]:
            running.remove(process)
            said += [line for line in process.stdout.read().splitlines()]
            process.stdout.close()
            killed += process.returncode == -9
            if process.returncode == -9 and time.monotonic() < end:
                running.append(start(100 + killed))
            elif process.returncode not in (0, -9):
                said.append(f"ended with {process.returncode}")
    turns = len((tmp_path / "count").read_bytes())
    print(f"{kind}: {turns} turns of {n} processes, {killed} killed while they held it: {len(said)} wrong")
    return said, turns, killed


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
@pytest.mark.parametrize("kind", ["flock", "no flock", "other containers"])
def test_never_two_at_once_whoever_is_killed(tmp_path, kind):
    said, turns, _ = contend(tmp_path, kind, 3.0, n=4)
    assert said == []
    assert turns > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flock", "no flock", "other containers"])
def test_never_two_at_once_for_a_long_time(tmp_path, kind):
    said, turns, killed = contend(tmp_path, kind, 60.0, n=8)
    assert said == []
    assert killed > 3
    assert turns > 50


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


def test_who_waits_for_long_looks_less_often(tmp_path, monkeypatch):
    now, slept = [0.0], []
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: slept.append(seconds) or now.append(now[-1] + seconds))
    with lock.locked(tmp_path / ".x.lock"), pytest.raises(LockTimeoutError):
        with lock.locked(tmp_path / ".x.lock", timeout_s=60, clock=lambda: now[-1]):
            pass
    assert set(slept[:10]) == {lock.POLL_S}
    assert set(slept[-99:]) == {5 * lock.POLL_S}


def test_a_lock_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    with pytest.raises(StorageError), lock.locked(tmp_path / "no such folder" / ".x.lock"):
        pass


def test_a_lock_file_removed_by_another_just_now_is_made_again(tmp_path, monkeypatch):
    # As a network disk does it, where looking a name up and opening it are two steps.
    real, errors = os.open, [errno.ENOENT, errno.ESTALE]

    def gone_at_first(path, flags, *words, **options):
        if os.fspath(path).endswith("lock") and errors:
            raise OSError(errors.pop(), "gone")
        return real(path, flags, *words, **options)

    monkeypatch.setattr(os, "open", gone_at_first)
    with lock.locked(tmp_path / "lock", timeout_s=20):
        assert not errors


@pytest.mark.parametrize("text", ["", "{}", "years of work"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_file_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path, text, link):
    (tmp_path / "thesis.tex").write_text(text)
    link(tmp_path / "thesis.tex", tmp_path / ".x.lock")
    with pytest.raises(StorageError), lock.locked(tmp_path / ".x.lock", timeout_s=0.3):
        pass
    assert (tmp_path / "thesis.tex").read_text() == text


def test_a_file_of_somebodys_in_the_place_of_a_lock_is_not_written_to(tmp_path):
    (tmp_path / ".x.lock").write_text("lock content")
    with pytest.raises(StorageError, match="in the way"), lock.locked(tmp_path / ".x.lock", timeout_s=0.3):
        pass
    assert (tmp_path / ".x.lock").read_text() == "lock content"


def test_a_look_at_a_lock_changes_nothing(tmp_path, kind):
    process = hold_in_another_process(tmp_path / ".x.lock", HOLDER if kind == "flock" else WITHOUT_FLOCK + HOLDER)
    try:
        before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert lock.is_held(tmp_path / ".x.lock")
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    finally:
        process.kill()
        process.wait()
    assert not lock.is_held(tmp_path / ".x.lock")


def test_waiting_ends_where_no_lock_file_can_be_made_at_all():
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc")
    began = time.monotonic()
    with pytest.raises(StorageError), lock.locked(Path("/proc/.x.lock"), timeout_s=60):
        pass
    assert time.monotonic() - began < 30


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_holder_that_is_dead_but_not_yet_buried_blocks_nobody(tmp_path, no_flock):
    process = hold_in_another_process(tmp_path / ".x.lock", WITHOUT_FLOCK + HOLDER)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now, whose number still exists
    try:
        with lock.locked(tmp_path / ".x.lock", timeout_s=5):
            pass
    finally:
        process.wait()


def test_each_sign_of_life_in_a_made_file_is_put_on_the_disk(tmp_path, no_flock, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(lock.os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    with lock.locked(tmp_path / ".x.lock") as held:
        before = len(synced)
        held.beat()
        assert len(synced) == before + 1


@pytest.mark.parametrize(
    ("facts", "done", "total"), [({}, 0, None), ({"done": 5, "total": 9}, 5, 9), ({"done": "x"}, 0, None)]
)
def test_how_far_the_holder_is_is_told_and_nothing_where_it_does_not_say(facts, done, total, tmp_path):
    (tmp_path / "lock").write_text(json.dumps({"pid": 7, "host": "here", **facts}))
    holder = lock._holder(tmp_path / "lock")
    assert (holder.done_bytes, holder.total_bytes) == (done, total)
    assert holder.who == "process 7 on here"


def test_a_holder_that_says_what_it_does_and_gets_no_further_is_waited_for_no_longer(tmp_path, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(lock.time, "sleep", lambda _: None)
    with lock.locked(tmp_path / ".x.lock") as held:
        held.phase("copying", 9)
        with pytest.raises(LockTimeoutError):
            with lock.locked(tmp_path / ".x.lock", timeout_s=60, clock=lambda: float(next(seconds))):
                pass


def test_asking_whether_a_holder_lives_does_it_no_harm(tmp_path):
    process = hold_in_another_process(tmp_path / ".x.lock")
    try:
        assert not lock._is_gone({**lock._me(), "pid": process.pid})
        time.sleep(0.2)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert lock._is_gone({**lock._me(), "pid": process.pid})


def test_a_program_ends_although_it_never_gave_its_lock_back(tmp_path):
    script = "import sys, pathlib; from datastage.lock import locked; "
    script += "held = locked(pathlib.Path(sys.argv[1])); held.__enter__()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", script, str(tmp_path / ".x.lock")]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 0


@pytest.mark.parametrize("boot", ["", "zzzz"])
def test_a_holder_of_another_machine_is_told_by_its_host_and_one_of_another_container_by_that(boot, tmp_path):
    mine = {**lock._me(), "space": "another"}
    (tmp_path / "lock").write_text(json.dumps({**mine, "boot": boot or mine["boot"], "pid": 7, "host": "b"}))
    assert lock._holder(tmp_path / "lock").who == f"process 7 {'on b' if boot else 'in the container b'}"


@pytest.mark.parametrize("facts", [{}, {"pid": "x"}, {"pid": None}])
def test_a_holder_whose_number_cannot_be_read_is_not_taken_for_dead(facts):
    known = {name: fact for name, fact in lock._me().items() if name != "pid"}
    assert not lock._is_gone({**known, **facts})


def test_a_link_in_the_place_of_a_made_file_is_not_taken_for_one_that_was_abandoned(tmp_path):
    (tmp_path / ".x.locked").symlink_to("gone")
    assert lock.is_held(tmp_path / ".x.lock")


def test_without_a_made_file_nobody_holds_the_lock_where_there_is_no_flock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.sys, "platform", "win32")
    assert not lock.is_held(tmp_path / ".x.lock")


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_lock_on_a_file_that_its_last_holder_removed_meanwhile_is_none(tmp_path, monkeypatch):
    import fcntl

    path, real, replaced = tmp_path / ".x.lock", fcntl.flock, []

    def flock(fd, how):
        if how & fcntl.LOCK_EX and not replaced:  # between our open and our lock
            replaced.append(path.unlink())
            path.touch()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.locked(path, timeout_s=20):
        assert replaced
        assert lock.is_held(path)


def test_the_lock_of_another_user_is_waited_for_under_the_name_of_its_holder(tmp_path):
    process = hold_in_another_process(tmp_path / "theirs.lock")
    told = []
    try:
        with pytest.raises(LockTimeoutError, match=f"process {process.pid} "):
            with lock.locked(
                tmp_path / "own.lock", timeout_s=0, on_wait=told.append, beside=[tmp_path / "theirs.lock"]
            ):
                pass
    finally:
        process.kill()
        process.wait()
    assert [who.split(" on ")[0] for who in told] == [f"process {process.pid}"]


def test_a_lock_that_another_user_abandoned_ends_the_waiting_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "ABANDONED_S", 0.3)
    (tmp_path / "theirs.locked").write_text('{"pid": 1, "host": "node3", "token": "abc", "boot": "other"}')
    with lock.locked(tmp_path / "own.lock", timeout_s=10, beside=[tmp_path / "theirs.lock"]):
        assert {path.name for path in tmp_path.iterdir()} == {"own.lock", "theirs.locked"}


def test_a_full_disk_that_takes_no_mark_still_lets_the_lock_go(tmp_path, no_flock, monkeypatch):
    real = os.open

    def full(path, flags, *words, **options):
        if "~" in os.fspath(path):
            raise OSError(errno.ENOSPC, "full")
        return real(path, flags, *words, **options)

    with lock.locked(tmp_path / ".x.lock"):
        monkeypatch.setattr(os, "open", full)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_that_takes_no_record_leaves_no_lock_behind(tmp_path, no_flock, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError), lock.locked(tmp_path / ".x.lock"):
        pass
    assert list(tmp_path.iterdir()) == []
