"""Where we are: each platform's marks are laid out in a folder, as each platform has them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from datastage import connecting, mounts, network, runtime, settings
from tests.stand_ins import fuse
from tests.stand_ins.runtimes import Colab, Kaggle, Layout, Slurm, at_root, why_not_at_root

KERNEL = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=True))


@pytest.fixture
def no_probes(monkeypatch):
    """No answer about any host is remembered, and no proxy stands between."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "DATASTAGE_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setattr(network, "_known", {})


# --- which place this is


def test_kaggle_is_kaggle_although_it_bears_the_marks_of_colab(tmp_path):
    assert Kaggle(tmp_path / "k").runtime().platform == "kaggle"


def test_colab_is_colab_although_it_has_a_kaggle_input(tmp_path):
    here = Colab(tmp_path / "c").runtime()
    assert (here.platform, here.input_root) == ("colab", None)


def test_colab_is_told_by_its_variables_where_its_file_is_missing(tmp_path):
    colab = Colab(tmp_path / "c")
    (colab.root / "var/colab/hostname").unlink()
    assert colab.runtime().platform == "colab"


def test_the_release_tag_alone_is_not_colab(tmp_path):
    assert Layout(tmp_path / "x", {"COLAB_RELEASE_TAG": "release-colab_1"}).runtime().platform == "terminal"


def test_a_bang_line_on_colab_is_on_colab_and_in_no_kernel(tmp_path):
    here = Colab(tmp_path / "c").runtime(shell=None)
    assert (here.platform, here.in_kernel) == ("colab", False)


@pytest.mark.parametrize(("batch", "expected"), [(False, False), (True, True)])
def test_a_saved_run_on_kaggle_is_a_batch(tmp_path, batch, expected):
    assert Kaggle(tmp_path / "k", batch=batch).runtime(shell=KERNEL).is_batch is expected


def test_a_notebook_that_a_tool_runs_is_a_batch(tmp_path):
    forbids_input = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=False))
    assert Layout(tmp_path / "x").runtime(shell=forbids_input).is_batch


def test_a_shell_without_a_kernel_is_a_terminal(tmp_path):
    assert Layout(tmp_path / "x").runtime(shell=SimpleNamespace()).platform == "terminal"


def test_a_kernel_elsewhere_is_jupyter(tmp_path):
    here = Layout(tmp_path / "x").runtime(shell=KERNEL)
    assert (here.platform, here.in_kernel) == ("jupyter", True)


@pytest.mark.parametrize(
    ("variables", "platform"),
    [
        ({"SM_CHANNEL_TRAIN": "/opt/ml/input"}, "sagemaker"),
        ({"PAPERSPACE_METRIC_URL": "x"}, "paperspace"),
        ({"LIGHTNING_CLOUD_SPACE_ID": "x"}, "lightning"),
        ({"DATABRICKS_RUNTIME_VERSION": "16.4"}, "databricks"),
        ({"BINDER_SERVICE_HOST": "x", "JUPYTERHUB_USER": "jovyan"}, "binder"),
        ({"JUPYTERHUB_USER": "ann"}, "jupyterhub"),
        ({"JUPYTERHUB_USER": "ann", "SLURM_JOB_ID": "1"}, "slurm"),
        ({"CODESPACE_NAME": "x"}, "codespaces"),
        ({"GITPOD_WORKSPACE_ID": "x"}, "gitpod"),
        ({"REPL_ID": "x"}, "replit"),
        ({"SPACE_ID": "x"}, "spaces"),
    ],
)
def test_other_places_are_told_by_their_variables(tmp_path, variables, platform):
    assert Layout(tmp_path / "x", variables).runtime().platform == platform


def test_ipython_is_not_imported_for_the_question():
    code = "import sys; from datastage import runtime; runtime.current(); print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout == "False\n"


# --- folders


def test_on_colab_folders_go_under_content(tmp_path):
    here = Colab(tmp_path / "c").runtime()
    assert (here.fast_disk, here.disk_outlives_machine) == (tmp_path / "c/content/staged", False)


def test_on_kaggle_folders_go_to_temp_and_never_to_the_output(tmp_path):
    here = Kaggle(tmp_path / "k").runtime()
    assert here.fast_disk == tmp_path / "k/kaggle/temp/staged"


def test_asking_makes_no_folder(tmp_path):
    kaggle = Kaggle(tmp_path / "k")
    before = sorted(kaggle.root.rglob("*"))
    kaggle.runtime()
    assert sorted(kaggle.root.rglob("*")) == before


def test_on_kaggle_folders_go_to_tmp_where_temp_cannot_be_made(tmp_path):
    kaggle = Kaggle(tmp_path / "k")
    (kaggle.root / "kaggle/temp").write_text("a file")
    (kaggle.root / "tmp").chmod(0o1777)
    here = kaggle.runtime()
    assert (here.fast_disk, here.fast_disk_shared) == (kaggle.root / "tmp/staged", True)


def test_a_job_uses_the_disk_that_slurm_gave_it(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    here = Slurm(tmp_path / "s").runtime(SLURM_TMPDIR=str(own), TMPDIR=str(tmp_path))
    assert (here.fast_disk, here.fast_disk_shared, here.disk_outlives_machine) == (own / "staged", False, False)


def test_a_job_without_variables_finds_its_folder_on_the_node(tmp_path):
    assert Slurm(tmp_path / "s").runtime().fast_disk == tmp_path / "s/localscratch/4711.0/staged"


def test_a_job_passes_over_scratch_that_lies_on_a_network_disk(tmp_path):
    job = Slurm(tmp_path / "s")
    shared, local = tmp_path / "shared", tmp_path / "local"
    shared.mkdir()
    local.mkdir()
    job.mount_table(str(shared), "lustre")
    assert job.runtime(TMPDIR=str(shared), LOCAL_SCRATCH=str(local)).fast_disk == local / "staged"


def test_on_a_laptop_folders_go_to_the_cache_and_stay(tmp_path):
    here = Layout(tmp_path / "x", {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}).runtime()
    assert (here.fast_disk, here.disk_outlives_machine) == (tmp_path / "cache/staged", True)


def test_no_folder_of_ours_is_called_like_the_package(tmp_path):
    layouts = [Colab(tmp_path / "c"), Kaggle(tmp_path / "k"), Slurm(tmp_path / "s"), Layout(tmp_path / "x")]
    assert all("datastage" not in layout.runtime().fast_disk.relative_to("/").name for layout in layouts)


def test_the_search_path_is_told_apart_and_its_tilde_expanded(tmp_path):
    here = Layout(tmp_path / "x", {"HOME": "/home/ann"}).runtime(DATASTAGE_PATH=f"/a{os.pathsep}{os.pathsep}~/b")
    assert here.search_path == (Path("/a"), Path("/home/ann/b"))


def test_the_users_own_root_outlives_a_job(tmp_path):
    here = Slurm(tmp_path / "s").runtime(DATASTAGE_ROOT="/project/ann")
    assert (here.root_setting, here.disk_outlives_machine) == (Path("/project/ann"), True)


@pytest.mark.parametrize(("folder", "stays"), [("/content/drive/MyDrive/data", True), ("/content/data", False)])
def test_on_colab_only_a_root_on_drive_outlives_the_machine(tmp_path, folder, stays):
    colab = Colab(tmp_path / "c")
    colab.mount_table("/content/drive", "fuse.drive")
    assert colab.runtime(DATASTAGE_ROOT=folder).disk_outlives_machine is stays


def test_nothing_outlives_a_binder(tmp_path):
    here = Layout(tmp_path / "x", {"BINDER_SERVICE_HOST": "x"}).runtime(DATASTAGE_ROOT="/home/jovyan/data")
    assert here.disk_outlives_machine is False


@pytest.mark.parametrize(
    ("variables", "rank"), [({}, 0), ({"SLURM_PROCID": "3"}, 3), ({"RANK": "1", "SLURM_PROCID": "0"}, 1)]
)
def test_the_rank_is_the_launchers_before_that_of_the_job(variables, rank, tmp_path):
    assert runtime.detect(variables, root=tmp_path).rank == rank


@pytest.mark.parametrize("variables", [(4, 2, 3), (1, 2, 2), (0, 1, 1)])
def test_numbers_of_a_launcher_that_do_not_fit_together_are_none(variables):
    rank, size, local_rank = map(str, variables)
    assert runtime.launched({"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank}) is None


def test_a_secret_is_what_was_set_without_the_blanks_around_it(monkeypatch):
    monkeypatch.setenv("A_TOKEN", " abc\n")
    assert runtime.secret("A_TOKEN") == "abc"


def test_the_folder_of_a_script_is_known(tmp_path):
    (tmp_path / "train.py").touch()
    here = runtime.detect({}, root=tmp_path, script="train.py", cwd=tmp_path)
    assert here.script_folder == tmp_path


def test_an_installed_command_has_no_folder_of_its_own(tmp_path):
    for script in (tmp_path / "site-packages/tool/__main__.py", Path(sys.executable).with_name("python"), "-c"):
        assert runtime.detect({}, root=tmp_path, script=str(script), cwd=tmp_path).script_folder is None


def test_a_removed_working_directory_does_no_harm(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert runtime.detect({"PWD": "/somewhere"}, root=tmp_path).cwd == Path("/somewhere")


# --- what the machine has


def _cgroup(root: Path, line: str, files: dict[str, str]) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/cgroup").write_text(line)
    (root / "proc/meminfo").write_text("MemTotal:       13289424 kB\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_cores_are_those_that_the_control_group_allows(tmp_path):
    _cgroup(tmp_path, "0::/job\n", {"job/cpu.max": "150000 100000", "cpu.max": "max 100000"})
    assert runtime.detect({}, root=tmp_path, affinity=64).cores == 2


def test_cores_are_those_of_the_affinity_where_no_group_limits_them(tmp_path):
    _cgroup(tmp_path, "0::/\n", {"cpu.max": "max 100000"})
    assert runtime.detect({}, root=tmp_path, affinity=3).cores == 3


def test_the_groups_above_limit_too(tmp_path):
    files = {"cpu.max": "200000 100000", "pod/memory.max": "1000000", "pod/job/memory.max": "max"}
    _cgroup(tmp_path, "0::/pod/job\n", {**files, "pod/job/cpu.max": "max 100000"})
    here = runtime.detect({}, root=tmp_path, affinity=64)
    assert (here.cores, here.memory_bytes) == (2, 1_000_000)


def test_old_control_groups_are_understood(tmp_path):
    files = {
        "cpu/cpu.cfs_quota_us": "400000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/x/memory.limit_in_bytes": "2147483648",
    }
    _cgroup(tmp_path, "4:memory:/x\n1:cpu,cpuacct:/\n", {**files, "cpu,cpuacct/unused": ""})
    here = runtime.detect({}, root=tmp_path, affinity=64)
    assert (here.cores, here.memory_bytes) == (4, 2 << 30)


def test_memory_is_the_machines_where_no_group_limits_it(tmp_path):
    _cgroup(tmp_path, "0::/\n", {"memory.max": "max"})
    assert runtime.detect({}, root=tmp_path).memory_bytes == 13289424 * 1024


def test_a_job_counts_the_cores_that_it_was_given(tmp_path):
    assert Slurm(tmp_path / "s").runtime(SLURM_CPUS_PER_TASK="1").cores == 1


@pytest.mark.parametrize(
    ("variables", "files", "expected"),
    [
        ({"COLAB_TPU_1VM": "1"}, [], "tpu"),
        ({}, ["dev/nvidiactl"], "cuda"),
        ({"COLAB_GPU": ""}, [], ""),
    ],
)
def test_the_accelerator_is_told_by_its_marks(tmp_path, variables, files, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert runtime.detect(variables, root=tmp_path).accelerator == expected


def test_free_room_is_asked_for_a_folder_that_is_not_there_yet(tmp_path):
    free = runtime.free_bytes(tmp_path / "not/yet", environ={})
    assert free is not None and free > 0  # noqa: PT018


def test_on_kaggle_no_more_than_40_gb_are_counted_on(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2_000_000_000_000))
    assert runtime.free_bytes(tmp_path, environ={"KAGGLE_KERNEL_RUN_TYPE": "Batch"}) == 40_000_000_000


# --- mounts


def test_drive_is_found_wherever_it_is_mounted(tmp_path):
    colab = Colab(tmp_path / "c")
    (colab.root / "content/my own/drive").mkdir(parents=True)
    colab.mount_table("/content/my\\040own/drive", "fuse.drive")
    assert mounts.drive_mounts(colab.root, {}) == (mounts.DriveMount(colab.root / "content/my own/drive", True),)


def test_no_drive_is_no_mount(tmp_path):
    colab = Colab(tmp_path / "c")
    (colab.root / "content/drive").mkdir()
    assert mounts.drive_mounts(colab.root, {"HOME": str(tmp_path)}) == ()


def test_a_folder_that_somebody_wrote_where_drive_was_not_is_not_sure(tmp_path):
    colab = Colab(tmp_path / "c")
    (colab.point / "MyDrive").mkdir(parents=True)
    (mount,) = mounts.drive_mounts(colab.root, {})
    assert (mount.alive, mount.is_sure) == (True, False)


def test_a_mount_in_the_table_that_is_gone_is_dead(tmp_path):
    colab = Colab(tmp_path / "c")
    colab.mount_table("/content/drive", "fuse.drive")
    (mount,) = mounts.drive_mounts(colab.root, {})
    assert (mount.alive, mount.errno) == (False, errno.ENOENT)


@pytest.mark.skipif(fuse.why_not() != "", reason=fuse.why_not())
def test_a_mount_whose_client_has_died_is_told_from_an_absent_one(tmp_path):
    colab = Colab(tmp_path / "c")
    colab.point.mkdir()
    with fuse.dead_mount(colab.point):
        assert not os.path.exists(colab.point)
        (mount,) = mounts.drive_mounts(colab.root, {})
    assert (mount.alive, mount.errno) == (False, errno.ENOTCONN)


@pytest.mark.skipif(fuse.why_not() != "", reason=fuse.why_not())
def test_a_real_mount_is_found_in_the_real_table(tmp_path):
    point = tmp_path / "somewhere else"
    point.mkdir()
    with fuse.dead_mount(point):
        assert point in [mount.path for mount in mounts.drive_mounts()]


def test_a_mount_that_never_answers_holds_nobody_up():
    began = time.monotonic()
    answer = mounts.within(0.05, lambda: time.sleep(5), "silent")
    assert answer == "silent" and time.monotonic() - began < 4  # noqa: PT018


@pytest.mark.parametrize("start", ["{home}", "~"])
def test_a_desktop_drive_is_found_by_the_setting(tmp_path, start):
    (tmp_path / "gd/My Drive").mkdir(parents=True)
    setting = start.format(home=tmp_path) + "/gd"
    found = mounts.drive_mounts(tmp_path / "root", {"DATASTAGE_DRIVE": setting, "HOME": str(tmp_path)})
    assert [mount.path for mount in found] == [tmp_path / "gd"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((kind, True) for kind in ("nfs4", "cifs", "lustre", "beegfs", "fuse.drive", "fuse.sshfs")),
        *((kind, False) for kind in ("ext4", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.exfat")),
    ],
)
def test_network_disks_are_told_by_the_type_of_their_mount(tmp_path, kind, expected):
    layout = Layout(tmp_path / "x")
    data = tmp_path / "data"
    data.mkdir()
    layout.mount_table(str(data), kind)
    assert mounts.is_network_disk(data / "a.zip", root=layout.root) is expected


# --- the network


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _resolve_to(monkeypatch, function):
    """Stand for the name service, which alone decides what a name leads to."""
    monkeypatch.setattr(socket, "getaddrinfo", function)


def _answering(port):
    return lambda *args, **more: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def _no_name_service(*args, **more):
    raise socket.gaierror(-3, "Temporary failure in name resolution")


def test_a_host_without_name_service_is_offline(no_probes, monkeypatch):
    _resolve_to(monkeypatch, _no_name_service)
    assert network.is_offline("data.example")


def test_a_host_that_answers_is_not_offline(no_probes, monkeypatch, listener):
    _resolve_to(monkeypatch, _answering(listener.getsockname()[1]))
    assert not network.is_offline("data.example")


def test_a_host_that_refuses_is_within_reach(no_probes, monkeypatch, listener):
    port = listener.getsockname()[1]
    listener.close()
    _resolve_to(monkeypatch, _answering(port))
    assert not network.is_offline("data.example")


def test_a_name_service_that_hangs_holds_nobody_up(no_probes, monkeypatch):
    released = threading.Event()
    _resolve_to(monkeypatch, lambda *args, **more: released.wait(20) and _no_name_service())
    began = time.monotonic()
    assert network.is_offline("slow.example", timeout_s=0.1)  # its thread answers late: no other test asks for it
    took = time.monotonic() - began
    released.set()
    assert took < 5


def test_the_answer_is_remembered_for_a_minute_and_then_asked_again(no_probes, monkeypatch, listener):
    clock = Clock()
    _resolve_to(monkeypatch, _no_name_service)
    answers = [network.is_offline("data.example", clock=clock)]
    _resolve_to(monkeypatch, _answering(listener.getsockname()[1]))  # the student switches the internet on
    for seconds in (59, 2):
        clock.now += seconds
        answers.append(network.is_offline("data.example", clock=clock))
    assert answers == [True, True, False]


def test_where_a_proxy_stands_between_only_the_proxy_is_asked(no_probes, monkeypatch, listener):
    port = listener.getsockname()[1]
    asked = []
    real = socket.getaddrinfo
    _resolve_to(monkeypatch, lambda host, *args, **more: asked.append(host) or real(host, *args, **more))
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
    assert (network.is_offline("data.example"), asked) == (False, ["127.0.0.1"])


def test_a_proxy_that_is_off_means_offline_by_no_other_question(no_probes, monkeypatch):
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    asked = []
    _resolve_to(monkeypatch, lambda host, *args, **more: asked.append(host) or _no_name_service())
    assert (network.is_offline("data.example"), asked) == (True, ["proxy.example"])


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "quic://127.0.0.1:9"])
def test_behind_a_proxy_that_cannot_be_asked_no_host_is_called_out_of_reach(proxy, no_probes, monkeypatch):
    monkeypatch.setitem(sys.modules, "socks", None)  # PySocks is not installed
    monkeypatch.setenv("all_proxy", proxy)
    _resolve_to(monkeypatch, _no_name_service)
    assert not network.is_offline("data.example")


def test_where_no_proxy_is_named_no_list_of_hosts_without_one_is_looked_at(no_probes, monkeypatch):
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"ftp": "http://proxy.example:3128"})
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: pytest.fail("asked"))  # it may ask for the name
    assert connecting.proxy_of(connecting.Address("https", "data.example", 443)) is None


def test_a_host_that_the_proxy_is_not_for_is_asked_itself(no_probes, monkeypatch, listener):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "data.example")
    _resolve_to(monkeypatch, _answering(listener.getsockname()[1]))
    assert not network.is_offline("data.example")


def test_the_setting_settles_it_for_all_but_this_machine(no_probes, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    _resolve_to(monkeypatch, lambda *args, **more: pytest.fail("asked"))
    assert [network.is_offline(host) for host in ("data.example", "localhost", "127.0.0.1")] == [True, False, False]


# --- settings


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_tracebacks_are_asked_for_by_a_setting(monkeypatch, value, expected):
    monkeypatch.setenv("DATASTAGE_TRACEBACK", value)
    assert settings.is_set("TRACEBACK") is expected


def test_a_setting_that_is_empty_is_not_set():
    assert settings.setting("ROOT", {"DATASTAGE_ROOT": ""}) is None


# --- for real


@pytest.mark.skipif(why_not_at_root() != "", reason=why_not_at_root())
def test_a_machine_that_looks_like_kaggle_is_taken_for_it_and_is_offline(tmp_path):
    code = (
        "from datastage import network, runtime; here = runtime.current(); "
        "print(here.platform, here.fast_disk, here.input_root, network.is_offline('pypi.org'))"
    )
    done = at_root(Kaggle(tmp_path / "k"), [sys.executable, "-c", code], cwd="/kaggle/working")
    assert done.stdout == "kaggle /kaggle/temp/staged /kaggle/input True\n", done.stderr


@pytest.mark.skipif(why_not_at_root() != "", reason=why_not_at_root())
def test_a_machine_that_looks_like_colab_is_taken_for_it(tmp_path):
    code = (
        "from datastage import runtime; here = runtime.current(); print(here.platform, here.fast_disk, here.in_kernel)"
    )
    done = at_root(Colab(tmp_path / "c"), [sys.executable, "-c", code], cwd="/content")
    assert done.stdout == "colab /content/staged False\n", done.stderr


def test_a_secret_comes_from_the_environment_first(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    assert runtime.secret("HF_TOKEN") == "hunter2"


def test_a_secret_that_is_nowhere_is_none(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert runtime.secret("HF_TOKEN") is None


def test_where_no_folder_may_be_written_to_the_rest_works_and_who_needs_one_says_so(tmp_path, monkeypatch):
    """As in a container whose disk is read-only: what is listed, or goes to a volume, needs none."""

    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setattr(runtime, "_can_write", lambda folder: False)
    here = runtime.detect({"HOME": str(tmp_path)}, root=tmp_path, cwd=tmp_path)
    assert here.fast_disk == tmp_path / "tmp/staged"
