from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import transfer
from datastage.archives import inflate, unpack, workers, zip_directory, zip_extract
from datastage.errors import DamagedArchiveError, UnsafeArchiveError
from datastage.reader import FileReader

from .made import Link, reordered, tree, unpacked, zip_of
from .raw import zip_entry, zip_raw
from .test_zip_members import LOCKED, TEXT

FILES = {f"d{i % 7}/{i:04d}.bin": i.to_bytes(2, "little") * (i % 300) for i in range(900)}


@pytest.fixture
def many(tmp_path, monkeypatch, cores):
    """A zip of small files, and a threshold below it."""
    cores(3)
    monkeypatch.setattr(zip_extract, "HELPERS_FROM_FILES", 100)
    path = tmp_path / "many.zip"
    path.write_bytes(zip_of(FILES))
    return path


def files_of(root: Path) -> dict:
    return {p: v for p, v in tree(root).items() if v is not None}


def test_helpers_write_what_one_process_writes(many, tmp_path, monkeypatch):
    started = []
    start = workers.Helper.__init__
    monkeypatch.setattr(workers.Helper, "__init__", lambda self, setup: (started.append(1), start(self, setup))[1])
    unpacked(many, tmp_path / "to")
    assert len(started) == 2
    assert files_of(tmp_path / "to") == FILES


def test_helpers_open_what_is_locked_with_the_password(many, tmp_path):
    locked = bytes.fromhex(LOCKED["stored, by 7-Zip"])[35:80]
    names = [f"{nth}" for nth in range(200)]
    many.write_bytes(zip_raw(*(zip_entry(name, TEXT, flags=1, payload=locked) for name in names)))
    unpacked(many, tmp_path / "to", password="secret")
    assert tree(tmp_path / "to") == dict.fromkeys(names, TEXT)


def test_a_job_that_was_given_one_core_starts_no_helper(many, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "Helper", None)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    unpacked(many, tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES


def test_threads_write_what_one_process_writes(tmp_path, monkeypatch, cores):
    cores(4)
    monkeypatch.setattr(zip_extract, "THREADS_FROM_BYTES", 0)
    monkeypatch.setattr(zip_extract, "SMALL_BYTES", 1)
    monkeypatch.setattr(zip_extract, "BATCH_BYTES", 2000)
    unpacked(zip_of(FILES), tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES


@pytest.mark.parametrize("libraries", [(), ("isal",), ("deflate",)])
def test_every_inflate_library_gives_the_same(libraries, many, tmp_path):
    try:
        inflate.choose(libraries)
        if libraries and not inflate.chosen().modules:
            pytest.skip(f"{libraries[0]} is not installed")
        unpacked(many, tmp_path / "to")
        assert files_of(tmp_path / "to") == FILES
    finally:
        inflate.choose(("isal", "deflate"))


def test_a_fault_in_a_helper_is_the_parents_error_and_leaves_nothing(many, tmp_path):
    data = bytearray(many.read_bytes())
    with zipfile.ZipFile(many) as archive:
        last = archive.infolist()[-3]
    data[last.header_offset + 30 + len(last.filename) + 3] ^= 0xFF
    many.write_bytes(bytes(data))
    with pytest.raises(DamagedArchiveError, match=last.filename):
        unpacked(many, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_a_helper_that_dies_is_an_error_and_leaves_nothing(many, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_BOOT", "raise SystemExit")
    with pytest.raises(OSError, match="helper"):
        unpacked(many, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_without_an_interpreter_to_start_one_process_does_it(many, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    unpacked(many, tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES


def test_no_batch_is_given_twice_or_forgotten():
    batches = [lambda i=i: [(i, "", 0, 0)] for i in range(17)]
    for in_order in (False, True):
        shares = workers.Shares(in_order)
        shares.add(batches[:5])
        taken = [shares.take(1)[0][0] for _ in range(3)]
        shares.add(batches[5:])
        shares.deal(3)
        while batch := shares.take(len(taken) % 3):
            taken.append(batch[0][0])
        assert sorted(taken) == list(range(17))
        assert not in_order or taken == sorted(taken)


@pytest.fixture
def early(many, monkeypatch):
    """Members are given to the helpers a hundred at a time while the rest is judged; the list tells how many."""
    monkeypatch.setattr(zip_directory, "PART_ENTRIES", 100)
    given = []
    add = workers.Writers.add
    monkeypatch.setattr(
        workers.Writers,
        "add",
        lambda self, batches: add(self, (given.append(len(batch())) or batch for batch in batches)),
    )
    return given


def test_helpers_begin_while_the_rest_is_judged(many, tmp_path, early):
    told = []

    class Told:
        def phase(self, name, total):
            told.append(total)

        def advance(self, n):
            told[0] -= n

        def note(self, text, label=""): ...

    to = tmp_path / "to"
    to.mkdir()
    unpack(FileReader(many), to, reporter=Told())
    assert sum(early) == 900 - 1  # where the last one ends is known at the end
    assert files_of(tmp_path / "to") == FILES
    assert told == [0]


@pytest.mark.parametrize(
    "order",
    [
        lambda entries: entries[::-1],
        lambda entries: entries[450:] + entries[:450],
        lambda entries: entries[:600] + entries[601:] + entries[600:601],
        lambda entries: entries[:2] + entries[3:] + entries[2:3],
    ],
    ids=["backwards", "halves changed", "late", "among those given"],
)
def test_a_directory_in_another_order_unpacks_the_same(many, tmp_path, early, order):
    many.write_bytes(reordered(many.read_bytes(), order))
    unpacked(many, tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES


def test_a_member_that_overlaps_those_given_early_is_refused(many, tmp_path, early):
    data = bytearray(many.read_bytes())
    end = data.rfind(b"PK\5\6")
    start = struct.unpack_from("<L", data, end + 16)[0]
    place, last = start, start
    while data[place : place + 4] == b"PK\1\2":
        last, place = place, place + 46 + sum(struct.unpack_from("<HHH", data, place + 28))
    offset = struct.unpack_from("<L", data, start + 42)[0]
    struct.pack_into("<L", data, last + 42, offset + 5)
    many.write_bytes(bytes(data))
    with pytest.raises(UnsafeArchiveError, match="shares bytes"):
        unpacked(many, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_a_bad_name_behind_what_was_given_early_leaves_nothing(many, tmp_path, early):
    many.write_bytes(zip_of({**FILES, "../up": b"x"}))
    with pytest.raises(UnsafeArchiveError, match="up"):
        unpacked(many, tmp_path / "to")
    assert sum(early) > 500
    assert tree(tmp_path / "to") == {}


# --- errors of one writer beside others ---


@pytest.fixture(scope="module")
def busy():
    """Two processes that take all the time they get."""
    loops = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def test_a_damaged_member_is_the_error_that_is_raised_over_a_slow_link_too(busy, cores, monkeypatch, tmp_path):
    cores(3)
    monkeypatch.setattr(zip_extract, "THREADS_FROM_BYTES", 0)
    data = bytearray(zip_of({f"{i:02d}": os.urandom(120_000) for i in range(60)}, method=zipfile.ZIP_STORED))
    data[len(data) // 2] ^= 1
    for turn in range(10):
        link = Link(bytes(data), delay_s=0.005)
        to = tmp_path / str(turn)
        to.mkdir()
        with transfer.ahead(link, tmp_path / f"{turn}.fetch") as arriving, pytest.raises(DamagedArchiveError):
            unpack(arriving, to)
        assert tree(to) == {}


def in_turn(n: int) -> list:
    return [lambda nth=nth: [(nth, "", 0, 0)] for nth in range(n)]


def test_the_first_real_error_wins_over_what_follows_from_it():
    failed = threading.Event()
    with pytest.raises(ValueError, match="the real one"), workers.Writers() as writers:

        def waits(batch) -> None:
            read_at(0, 1)

        def slow_read(offset: int, n: int) -> bytes:
            failed.wait(10)
            raise OSError("closed by then")

        def fails(batch) -> None:
            try:
                raise ValueError("the real one")
            finally:
                threading.Timer(0.5, failed.set).start()

        read_at = writers.reading(slow_read)
        writers.finish(in_turn(2), waits, lambda n: None, [fails])


@pytest.mark.parametrize("in_caller", [True, False])
def test_after_an_error_nobody_waits_for_a_slow_link_and_nothing_more_is_written(in_caller):
    begun, come, ended = threading.Event(), threading.Event(), threading.Event()
    written = []

    def slow_read(offset: int, n: int) -> bytes:
        begun.set()
        come.wait(30)
        return b"late"

    def reads(batch) -> None:
        try:
            written.append(read_at(0, 4))
        finally:
            ended.set()

    def fails(batch) -> None:
        begun.wait(10)
        raise (KeyboardInterrupt if in_caller else ValueError)("stop")

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt if in_caller else ValueError, match="stop"), workers.Writers() as writers:
        read_at = writers.reading(slow_read)
        if in_caller:
            writers.finish(in_turn(2), fails, lambda n: None, [reads])
        else:
            writers.finish(in_turn(3), lambda batch: begun.wait(10), lambda n: None, [reads, fails])
    assert time.monotonic() - began < 5
    come.set()
    assert ended.wait(10)
    assert written == []


def test_of_files_of_one_name_among_those_given_early_the_later_counts(many, tmp_path, early):
    out = io.BytesIO(many.read_bytes())
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("d1/0001.bin", b"later")
    many.write_bytes(out.getvalue())
    assert unpacked(many, tmp_path / "to").n_replaced == 1
    assert files_of(tmp_path / "to") == {**FILES, "d1/0001.bin": b"later"}


SCRIPT = """\
import os, signal, sys
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from pathlib import Path
from datastage.archives import unpack, zip_extract
from datastage.reader import FileReader
os.sched_getaffinity = lambda pid: {0, 1, 2}
zip_extract.HELPERS_FROM_FILES = 100
class Told:
    def phase(self, name, total): print("started", flush=True)
    def advance(self, n): __import__("time").sleep(float(sys.argv[4]))
    def note(self, text, label=""): pass
unpack(FileReader(sys.argv[2]), Path(sys.argv[3]), reporter=Told())
print("done", flush=True)
"""


def start(root: Path, archive: Path, to: Path, pause_s: float = 0) -> subprocess.Popen:
    to.mkdir()
    return subprocess.Popen(
        [sys.executable, "-I", "-c", SCRIPT, root, archive, to, str(pause_s)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def in_session(session: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if name.isdigit() and int(fields[3]) == session and fields[0] != "Z":
            found.append(int(name))
    return found


def until(condition, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.zip"
    path.write_bytes(zip_of({f"{i % 50}/{i}": b"x" * 1500 for i in range(20_000)}))
    return path


HERE = Path(datastage.__file__).parents[1]
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@linux
def test_ctrl_c_leaves_no_process_and_no_file(large, tmp_path):
    process = start(HERE, large, tmp_path / "to", 0.2)  # so that it cannot be done before it hears
    assert process.stdout.readline() == b"started\n"
    os.killpg(process.pid, signal.SIGINT)
    process.wait(120)
    assert until(lambda: not in_session(process.pid))
    assert (process.returncode, process.stdout.read()) == (-signal.SIGINT, b"")
    assert tree(tmp_path / "to") == {}


@linux
def test_helpers_end_when_their_parent_is_killed(large, tmp_path):
    process = start(HERE, large, tmp_path / "to")
    process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert until(lambda: not in_session(process.pid))


def test_helpers_run_from_a_package_in_a_zip(large, tmp_path):
    package = tmp_path / "datastage.whl"
    with zipfile.ZipFile(package, "w") as archive:
        for path in sorted((HERE / "datastage").rglob("*.py")):
            archive.write(path, path.relative_to(HERE))
    process = start(package, large, tmp_path / "to")
    out = process.communicate(timeout=300)[0]
    assert out == b"started\ndone\n"
    assert len(files_of(tmp_path / "to")) == 20_000
    shutil.rmtree(tmp_path / "to")
