"""Every write failing in turn, a disk that is full, limits of the process: a clear error, and nothing changed."""

import errno
import os
import random
import resource
import subprocess
import sys

import pytest

import datastage
from datastage import own_files
from datastage.errors import DatastageError, NoSpaceError, StorageError
from tests.wholeness.kit import command, environment, fingerprint, hidden, make_zip, right_one

pytestmark = pytest.mark.usefixtures("here")
CODES = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EACCES]
NAMES = [errno.errorcode[code] for code in CODES]
WRITES = ("open", "write", "pwrite", "mkdir", "rename", "replace", "symlink", "fsync", "ftruncate", "posix_fallocate",
          "truncate", "link", "sendfile", "copy_file_range")  # fmt: skip


class FailingDisk:
    """Makes the n-th call that changes the disk fail; counts the calls."""

    def __init__(self, monkeypatch, code):
        self.at, self.count, self.code = -1, 0, code
        self.armed = False
        self.last = ""
        for name in WRITES:
            if hasattr(os, name):
                monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, real):
        def call(*arguments, **options):
            is_write = name != "open" or (arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if self.armed and is_write:
                self.count += 1
                if self.count == self.at:
                    self.last = name
                    raise OSError(self.code, os.strerror(self.code))
            return real(*arguments, **options)

        return call


def each_write_fails(monkeypatch, code, start_again, spec, root, old, new, step=1, may_stay=(), **options):
    """Fail each write in turn until a run comes through; return how many, and what was not as promised."""
    disk = FailingDisk(monkeypatch, code)
    wrong = []
    start_again()
    for at in range(1, 3000, step):
        disk.at, disk.count, disk.armed = at, 0, True
        try:
            staged = datastage.stage(spec, name="data", progress=False, **options)
        except StorageError as error:
            disk.armed = False
            if not error.remedy or (code in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, NoSpaceError)):
                wrong.append((at, disk.last, "not a clear error", str(error)))
            if fingerprint(root / "data") != old:
                wrong.append((at, disk.last, "the old state changed", str(error)))
            if [name for name in hidden(root) if name.rpartition(".")[2] not in may_stay]:
                wrong.append((at, disk.last, "left behind", hidden(root)))
        except DatastageError as error:
            disk.armed = False
            wrong.append((at, disk.last, "of another kind", repr(error)))
        else:
            disk.armed = False
            if fingerprint(staged) != new:
                wrong.append((at, disk.last, "success with wrong content", ""))
            if disk.count < at:
                break  # no write was left to fail
            start_again()
    else:
        pytest.fail("there was no end of writes")
    print(f"\n{errno.errorcode[code]}: each of {at - 1} writes failed in turn: {len(wrong)} wrong")
    return at, wrong


@pytest.mark.parametrize("code", CODES, ids=NAMES)
@pytest.mark.parametrize("had_one", [False, True], ids=["nothing there", "replacing"])
def test_every_write_failing_in_turn_while_unpacking(tmp_path, here, monkeypatch, code, had_one):
    root = tmp_path / "root"
    old = right_one(make_zip(here / "old.zip", n=4), tmp_path) if had_one else fingerprint(here / "nothing")
    new = right_one(make_zip(here / "new.zip", n=5, seed=1, size=3000), tmp_path)

    def start_again():
        own_files.remove_tree(root)
        root.mkdir()
        if had_one:
            os.replace(make_zip(here / "x.zip", n=4), here / "data.zip")
            datastage.stage("./data.zip", name="data", progress=False)
        os.replace(make_zip(here / "x.zip", n=5, seed=1, size=3000), here / "data.zip")

    at, wrong = each_write_fails(monkeypatch, code, start_again, "./data.zip", root, old, new)
    assert wrong == []
    assert at > 12


@pytest.mark.parametrize("code", CODES, ids=NAMES)
def test_every_write_failing_in_turn_while_copying_a_folder(tmp_path, here, monkeypatch, code):
    root = tmp_path / "root"
    for n in range(4):
        (here / "data" / f"{n % 2}").mkdir(parents=True, exist_ok=True)
        (here / "data" / f"{n % 2}" / f"{n}.bin").write_bytes(random.Random(n).randbytes(3000))

    def start_again():
        own_files.remove_tree(root)
        root.mkdir()

    nothing = fingerprint(here / "nothing")
    at, wrong = each_write_fails(
        monkeypatch, code, start_again, "./data", root, nothing, fingerprint(here / "data"), copy=True
    )
    assert wrong == []
    assert at > 8


@pytest.mark.parametrize("code", CODES, ids=NAMES)
@pytest.mark.parametrize("name", ["data.zip", "data.bin"])
def test_every_write_failing_in_turn_while_fetching(tmp_path, here, monkeypatch, server, code, name):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    root = tmp_path / "root"
    archive = make_zip(here / "data.zip", n=4, size=40_000)
    body = archive.read_bytes() if name == "data.zip" else archive.read_bytes()[7:]
    url = server.serve(name, body)
    if name == "data.zip":
        new = right_one(archive, tmp_path)
    else:
        (here / "by hand").mkdir()
        (here / "by hand" / name).write_bytes(body)
        new = fingerprint(here / "by hand")

    def start_again():
        own_files.remove_tree(root)
        root.mkdir()

    spec_fingerprint = fingerprint(here / "nothing")
    monkeypatch.setattr(sys.modules[__name__], "fingerprint", lambda path: _folder_of(path, name))
    at, wrong = each_write_fails(monkeypatch, code, start_again, url, root, spec_fingerprint, new, may_stay=("fetch",))
    assert wrong == []
    assert at > 8


_real_fingerprint = fingerprint


def _folder_of(path, name):
    path = getattr(path, "path", path)
    return _real_fingerprint(path.parent if path.name == name else path)


def in_a_small_disk(tmp_path, here, words):
    if os.getuid() != 0:
        pytest.skip("a small file system can be mounted by root alone")
    script = f"""
mkdir -p {tmp_path}/small && mount -t tmpfs -o size=3m none {tmp_path}/small || exit 77
{" ".join(command(*words, "--root", f"{tmp_path}/small", "--quiet"))}
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
    return result


def test_a_full_disk_is_said_and_its_space_is_given_back(tmp_path, here):
    make_zip(here / "data.zip", n=200, size=40_000)
    result = in_a_small_disk(tmp_path, here, ["stage", "./data.zip"])
    assert result.returncode == 5, result.stderr
    assert "fit" in result.stderr or "room" in result.stderr
    assert result.stdout.split() == ["0"]


def test_a_disk_filled_by_fetching_is_said_and_its_space_is_given_back(tmp_path, here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url = server.serve("data.zip", make_zip(here / "data.zip", n=200, size=40_000).read_bytes())
    result = in_a_small_disk(tmp_path, here, ["stage", url])
    assert result.returncode == 5, result.stderr
    assert result.stdout.split()[-1] == "0"


def limited(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


def under(kind, value):
    return subprocess.run(
        command("stage", "./data.zip", "--quiet"),
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limited(kind, value),
    )


def test_a_file_that_may_not_grow_is_a_clear_error(tmp_path, here):
    make_zip(here / "data.zip", n=3, size=400_000)
    result = under(resource.RLIMIT_FSIZE, 100_000)
    assert result.returncode == 5, result.stderr
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("value", [12, 16, 24, 40])
def test_few_open_files_are_enough_or_a_clear_error(tmp_path, here, value):
    make_zip(here / "data.zip", n=300)
    result = under(resource.RLIMIT_NOFILE, value)
    assert result.returncode in (0, 5), result.stderr
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or list((tmp_path / "root").iterdir()) == []


def test_little_memory_is_enough_or_a_clear_error(tmp_path, here):
    make_zip(here / "data.zip", n=300)
    result = under(resource.RLIMIT_AS, 200_000_000)
    assert result.returncode in (0, 5), result.stderr
    assert "Traceback" not in result.stderr
