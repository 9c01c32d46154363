"""Disks that are not like most: without file locks, without upper and lower case, in layers, read-only."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from tests.stand_ins import fuse, fuse_disk
from tests.wholeness.kit import command, environment, fingerprint, hidden, is_whole, make_zip, right_one
from tests.wholeness.test_many_processes import holder

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.skipif(sys.platform != "linux", reason="mounts")]


@pytest.fixture
def served(tmp_path):
    """Gives a mounted disk; the test says which kind."""
    if fuse.why_not():
        pytest.skip(fuse.why_not())
    (tmp_path / "behind").mkdir()
    (tmp_path / "point").mkdir()

    def make(**kind):
        return fuse_disk.disk(tmp_path / "behind", tmp_path / "point", **kind)

    return make


def stage_there(tmp_path, *words, **options):
    words = command("stage", *words, "--root", tmp_path / "point", "--quiet")
    return subprocess.Popen(words, env=environment(), stdout=-1, stderr=-1, text=True, **options)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_file_locks_processes_take_turns_all_the_same(tmp_path, here, served, code):
    good = right_one(make_zip(here / "data.zip", n=60), tmp_path)
    with served(flock_errno=code) as disk:
        processes = [stage_there(tmp_path, "./data.zip") for _ in range(4)]
        said = [process.communicate(timeout=100) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, said
        assert disk.n_locks_refused
    (final,) = (tmp_path / "behind").glob("[!.]*")
    assert fingerprint(final) == good
    assert is_whole(final)


def test_without_file_locks_a_killed_holder_is_replaced(tmp_path, here, served, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    body = make_zip(here / "data.zip", n=60, size=40_000).read_bytes()
    url = server.serve("data.zip", body, rate=400_000)
    with served():
        first = stage_there(tmp_path, url)
        (tmp_path / "root").symlink_to(tmp_path / "behind")
        assert holder(tmp_path) == first.pid
        first.kill()
        first.communicate()
        server.pages["data.zip"].rate = None
        second = stage_there(tmp_path, url)
        out, err = second.communicate(timeout=50)
        assert second.returncode == 0, err
    assert hidden(tmp_path / "behind") == []
    assert fingerprint(next((tmp_path / "behind").glob("[!.]*"))) == right_one(here / "data.zip", tmp_path)


def test_names_that_differ_in_case_alone_do_not_mix_where_case_does_not_count(tmp_path, here, served):
    first = right_one(make_zip(here / "one.zip", n=10, seed=1), tmp_path)
    make_zip(here / "two.zip", n=10, seed=2)
    with served(folds_case=True):
        one = stage_there(tmp_path, "./one.zip", "--name", "Data")
        assert (one.communicate()[1], one.returncode) == ("", 0)
        two = stage_there(tmp_path, "./two.zip", "--name", "data")
        said = two.communicate()[1]
    assert two.returncode == 5
    assert "one.zip" in said
    assert [path.name for path in (tmp_path / "behind").glob("[!.]*")] == ["Data"]
    assert fingerprint(tmp_path / "behind" / "Data") == first


def test_files_that_differ_in_case_alone_are_never_lost_silently(tmp_path, here, served):
    import zipfile

    with zipfile.ZipFile(here / "data.zip", "w") as archive:
        archive.writestr("a/photo.jpg", b"lower")
        archive.writestr("a/PHOTO.jpg", b"upper")
    with served(folds_case=True):
        process = stage_there(tmp_path, "./data.zip", "--name", "data")
        said = process.communicate()[1]
        if process.returncode == 0:
            assert len(list((tmp_path / "point" / "data" / "a").iterdir())) == 2
    assert "Traceback" not in said
    assert process.returncode in (0, 4, 5), said
    assert process.returncode == 0 or not (tmp_path / "behind" / "data").exists()


def in_a_namespace(tmp_path, script):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounts can be made by root alone")
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=environment(), capture_output=True, text=True, cwd=os.getcwd()
    )
    if result.returncode == 77 or "unshare:" in result.stderr:
        pytest.skip(f"that cannot be mounted here: {result.stderr.strip()}")
    return result


def test_on_an_overlay_staging_and_replacing_work(tmp_path, here):
    """As in a container: what is staged while it runs lies in the upper layer."""
    make_zip(here / "data.zip", n=40)
    stage = " ".join(command("stage", "./data.zip", "--name", "data", "--root", f"{tmp_path}/o/m", "--quiet"))
    result = in_a_namespace(
        tmp_path,
        f"""
cd {tmp_path}; mkdir o && mount -t tmpfs none o && mkdir o/l o/u o/w o/m || exit 77
mount -t overlay overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w o/m || exit 77
cd {here} && {stage} && {stage} --refresh && ls -A {tmp_path}/o/m""",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == "data"


def test_what_lies_in_an_images_layer_is_replaced_or_left_with_a_clear_error(tmp_path, here):
    """A folder of a lower layer cannot be renamed (EXDEV, without redirect_dir)."""
    good = right_one(make_zip(here / "data.zip", n=40), tmp_path)
    stage = " ".join(command("stage", "./data.zip", "--name", "data", "--root", f"{tmp_path}/o/m", "--quiet"))
    result = in_a_namespace(
        tmp_path,
        f"""
cd {tmp_path}; mkdir o && mount -t tmpfs none o && mkdir o/u o/w o/m || exit 77
cd {here} && {stage} >/dev/null || exit 1
cd {tmp_path}; mount -t overlay overlay -o lowerdir=o/m,upperdir=o/u,workdir=o/w,redirect_dir=off o/m || exit 77
cd {here}; {stage} --refresh; echo $?; ls {tmp_path}/o/m; cp -r {tmp_path}/o/m/data {tmp_path}/seen""",
    )
    words = [line for line in result.stdout.split() if not line.startswith("/")]
    assert words in (["0", "data"], ["5", "data"]), result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert words[0] == "0" or "Next:" in result.stderr or "Choose" in result.stderr
    assert fingerprint(tmp_path / "seen") == good


def test_what_was_staged_on_a_disk_that_is_read_only_now_is_used(tmp_path, here):
    make_zip(here / "data.zip", n=40)
    stage = " ".join(command("stage", "./data.zip", "--name", "data", "--root", f"{tmp_path}/d", "--quiet"))
    other = stage.replace("--name data", "--name other")
    result = in_a_namespace(
        tmp_path,
        f"""
mkdir {tmp_path}/d && mount -t tmpfs none {tmp_path}/d || exit 77
{stage} && touch {tmp_path}/d/.datastage-$(id -u)/data.lock && mount -o remount,ro {tmp_path}/d || exit 77
{stage} && {other}""",
    )
    assert result.stdout.split() == [f"{tmp_path}/d/data"] * 2, result.stderr
    assert result.returncode == 5
    assert "read-only" in result.stderr
