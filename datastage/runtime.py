"""Where we are and what is here: the platform, disks, cores, memory, mounts, network, the user's secrets, the launcher.

`detect` is told everything, so that a test can say where we are; `current` asks this process. Nothing here writes,
prints, or imports a library.

Each platform's marks are found on the other: Kaggle's images are built from Colab's and inherit ``COLAB_RELEASE_TAG``,
and ``/kaggle/input`` is a mount point on Colab. So Kaggle is asked first, by ``KAGGLE_KERNEL_RUN_TYPE``.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datastage.mounts import expanded, home_of, is_network, mounts_of, starting_with
from datastage.network import is_offline

# fmt: off
Platform = Literal[
    "colab", "kaggle", "slurm", "jupyter", "terminal", "studio-lab", "sagemaker", "paperspace", "lightning",
    "databricks", "binder", "jupyterhub", "codespaces", "gitpod", "replit", "spaces",
]
# What tells each place, asked in this order: variables, a file, beginnings of the names of variables.
_MARKS: tuple[tuple[Platform, tuple[str, ...], str, tuple[str, ...]], ...] = (
    ("studio-lab", (), "home/studio-lab-user", ()),
    ("sagemaker", (), "opt/ml/metadata/resource-metadata.json", ("SAGEMAKER_", "SM_MODEL_DIR", "SM_CHANNEL_")),
    ("paperspace", (), "", ("PAPERSPACE_",)),
    ("lightning", ("LIGHTNING_CLOUD_SPACE_ID",), "", ()),
    ("databricks", ("DATABRICKS_RUNTIME_VERSION",), "", ()),
    ("binder", ("BINDER_SERVICE_HOST",), "", ()),  # JUPYTERHUB_* are set there too
    ("slurm", ("SLURM_JOB_ID",), "", ()),  # before JupyterHub: a hub may start its notebooks as jobs, with a job's disk
    ("jupyterhub", ("JUPYTERHUB_USER", "JUPYTERHUB_API_URL"), "", ()),
    ("codespaces", ("CODESPACE_NAME",), "", ()),
    ("gitpod", ("GITPOD_WORKSPACE_ID",), "", ()),
    ("replit", ("REPL_ID",), "", ()),
    ("spaces", ("SPACE_ID", "SPACE_HOST"), "", ()),
)
# fmt: on
Accelerator = Literal["", "cuda", "tpu", "mps"]

# df shows the host's disk (8 TB seen); users count on 50 to 60 GB, and some of it is taken. /kaggle/working has less.
KAGGLE_FREE_BYTES = 40_000_000_000


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where we are, and what the machine has; sizes are 0 where they cannot be told."""

    platform: Platform
    in_kernel: bool  # a notebook, whose front end can be asked (to connect Drive, to upload); a line with ! cannot
    is_batch: bool  # nobody is watching
    cwd: Path
    script_folder: Path | None  # None in a notebook, and for the installed command
    search_path: tuple[Path, ...]  # DATASTAGE_PATH
    input_root: Path | None  # /kaggle/input, on Kaggle alone
    root_setting: Path | None  # DATASTAGE_ROOT
    fast_disk: Path
    fast_disk_shared: bool  # all users may write beside it
    disk_outlives_machine: bool  # that of the folder where staged folders go
    cores: int
    shm_bytes: int
    accelerator: Accelerator  # which marks on the machine promise; nothing is tried
    home: Path
    rank: int = 0  # among processes that work together; 0 alone speaks
    system_root: Path = Path("/")

    @property
    def memory_bytes(self) -> int:
        """What this process may use; looked up when it is asked for, since few ask and many files are read for it."""
        total = re.search(r"^MemTotal:\s+(\d+) kB", _read(self.system_root / "proc/meminfo"), re.MULTILINE)
        if total is not None:
            limits = [int(total.group(1)) * 1024]
        else:
            try:
                limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
            except (AttributeError, ValueError, OSError):
                return 0
        for folder in _cgroup_folders(self.system_root, "memory"):
            for name in ("memory.max", "memory.limit_in_bytes"):
                text = _read(folder / name)
                if text.isdecimal() and int(text):
                    limits.append(int(text))
        return min(limits)


def current() -> Runtime:
    """Return where this process is. Cheap, and not remembered: a setting may change between two calls."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None) or (sys.argv[0] if getattr(sys, "argv", None) else None)
    return detect(os.environ, shell=_shell(), script=script)


def in_kernel() -> bool:
    """Return the `in_kernel` of `current` alone: it reads no file, for what is asked at every epoch."""
    return getattr(_shell(), "kernel", None) is not None


def _shell() -> Any:
    """Return IPython's shell if this process has one; IPython is never imported for the question."""
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get() if get is not None else None


def detect(
    environ: Mapping[str, str],
    *,
    root: Path = Path("/"),
    shell: Any = None,
    script: str | None = None,
    cwd: Path | None = None,
    affinity: int | None = None,
) -> Runtime:
    """Tell where we are from what is given; what is None is asked for.

    `root` stands for ``/``, `shell` is IPython's, `script` the file that runs, `affinity` the cores we may use.

    >>> both = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "release-colab_20261101", "HOME": "/root"}
    >>> here = detect(both)
    >>> here.platform, here.is_batch
    ('kaggle', True)
    """
    in_kernel = getattr(shell, "kernel", None) is not None
    platform = _platform(environ, root, in_kernel)
    here = cwd if cwd is not None else _cwd(environ)
    setting_root = environ.get("DATASTAGE_ROOT") or None
    disk, shared, stays = _fast_disk(platform, environ, root)
    if setting_root is not None:
        # On these only a disk of another machine stays: a folder of Drive.
        stays = platform not in ("colab", "kaggle", "binder") or is_network(Path(setting_root), mounts_of(root))
    return Runtime(
        platform=platform,
        in_kernel=in_kernel,
        is_batch=_is_batch(platform, environ, shell),
        cwd=here,
        script_folder=None if in_kernel else _script_folder(script, here),
        search_path=_search_path(environ, here),
        input_root=root / "kaggle/input" if platform == "kaggle" else None,
        root_setting=None if setting_root is None else Path(expanded(setting_root, environ)),
        fast_disk=disk,
        fast_disk_shared=shared,
        disk_outlives_machine=stays,
        cores=usable_cores(environ, root, affinity),
        shm_bytes=_shm_bytes(root),
        accelerator=_accelerator(environ, root),
        home=Path(home_of(environ)),
        rank=_rank(environ),
        system_root=root,
    )


# --- which place this is


def _platform(environ: Mapping[str, str], root: Path, in_kernel: bool) -> Platform:
    if environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    # COLAB_GPU is the empty string without a GPU, and google.colab can be imported on Kaggle: neither tells.
    if (root / "var/colab/hostname").exists() or (environ.get("COLAB_RELEASE_TAG") and environ.get("TBE_RUNTIME_ADDR")):
        return "colab"
    for platform, variables, file, beginnings in _MARKS:
        if any(map(environ.get, variables)) or (file and (root / file).exists()):
            return platform
        if beginnings and any(name.startswith(beginnings) for name in environ):
            return platform
    return "jupyter" if in_kernel else "terminal"


def _is_batch(platform: Platform, environ: Mapping[str, str], shell: Any) -> bool:
    if platform == "kaggle":
        return environ["KAGGLE_KERNEL_RUN_TYPE"].lower() == "batch"
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return platform == "slurm"
    # nbclient and papermill forbid input() with each request; ipykernel keeps that here (kernelbase.py).
    return platform != "colab" and getattr(kernel, "_allow_stdin", True) is False


def _rank(environ: Mapping[str, str]) -> int:
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
    return next((int(environ[name]) for name in names if environ.get(name, "").isdecimal()), 0)


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launcher told this process: its rank, how many there are, and its rank on its own machine."""

    rank: int
    size: int
    local_rank: int


def launched(environ: Mapping[str, str] | None = None) -> Launched | None:
    """Return what torchrun, or a launcher that does as it does, told this process; None if there was none.

    All three of ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK`` must be there and fit together: some clusters set the first
    two for a machine whose processes are started later. Slurm's own variables count only beside ``MASTER_ADDR``, by
    which processes find each other: ``srun`` sets them for tasks that have nothing to do with each other too.

    >>> launched({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    Launched(rank=3, size=4, local_rank=1)
    >>> launched({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"})
    >>> launched({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "MASTER_ADDR": "n1"})
    Launched(rank=3, size=4, local_rank=1)
    """
    environ = os.environ if environ is None else environ
    values = [environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not any(values) and environ.get("MASTER_ADDR"):
        values = [environ.get(name, "") for name in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")]
    if not all(value.isdecimal() for value in values):
        return None
    rank, size, local_rank = map(int, values)
    return Launched(rank, size, local_rank) if local_rank <= rank < size else None


# --- folders


def _cwd(environ: Mapping[str, str]) -> Path:
    try:
        return Path.cwd()
    except OSError:  # the folder we stood in has been removed
        return Path(environ.get("PWD") or "/")


def _search_path(environ: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    pieces = (piece.strip() for piece in environ.get("DATASTAGE_PATH", "").split(os.pathsep))
    return tuple(dict.fromkeys(cwd / expanded(piece, environ) for piece in pieces if piece))


def _script_folder(script: str | None, cwd: Path) -> Path | None:
    if not script or script in ("-c", "-m"):
        return None
    path = Path(os.path.abspath(cwd / script))
    # What an installed command or module runs from is no course's folder: bin/datastage, site-packages/pytest.
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    if installed or path.parent in (Path(sys.executable).parent, Path(__file__).resolve().parent):
        return None
    return path.parent if path.is_file() else None


def _fast_disk(platform: Platform, environ: Mapping[str, str], root: Path) -> tuple[Path, bool, bool]:
    """Return the folder for staged folders, whether all may write beside it, and whether it stays."""
    # Kaggle does not make its own; and never /kaggle/working, which is saved as the notebook's output.
    own = {"colab": root / "content", "kaggle": root / "kaggle/temp"}.get(platform)
    if own is not None and _can_write(own):
        return own / "staged", _all_may_write(own), False
    if platform in ("terminal", "jupyter"):
        cache = _cache_folder(environ)
        if _can_write(cache):
            return cache / "staged", False, True
    disk = next((folder for folder in _scratch(platform, environ, root) if _can_write(folder)), None)
    if disk is None:
        import tempfile

        try:
            disk = Path(tempfile.gettempdir())
        except FileNotFoundError:  # no folder may be written to, as in a container: who needs one will say so
            disk = root / "tmp"
    return disk / "staged", _all_may_write(disk), False


def _scratch(platform: Platform, environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Give the folders that may lie on a fast disk of this machine, the likeliest first. SCRATCH is a network disk."""
    if platform == "slurm":
        job = environ["SLURM_JOB_ID"]
        names = ("SLURM_TMPDIR", "TMPDIR", "LOCAL_SCRATCH", "LSCRATCH", "SCRATCH_LOCAL")
        folders = [Path(environ[name]) for name in names if environ.get(name)]
        folders += [root / "scratch" / job, *starting_with(root / "localscratch", f"{job}.")]
        mounts = mounts_of(root)
        yield from (folder for folder in folders if folder.is_dir() and not is_network(folder, mounts))
    elif platform == "databricks":
        yield root / "local_disk0"
    elif environ.get("TMPDIR"):
        yield Path(environ["TMPDIR"])
    yield root / "tmp"


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"])
    home = Path(home_of(environ))
    if sys.platform == "darwin":
        return home / "Library/Caches"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData/Local")
    return home / ".cache"


def _can_write(folder: Path) -> bool:
    """Tell whether something can be put in `folder`, or it can be made. Asks; makes nothing."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def _all_may_write(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


# --- what the machine has


def usable_cores(environ: Mapping[str, str] = os.environ, root: Path = Path("/"), affinity: int | None = None) -> int:
    """Return how many cores this process may use: in a container cpu_count() tells of the host."""
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits: list[float] = [affinity]
    if environ.get("SLURM_CPUS_PER_TASK", "").isdecimal():
        limits.append(int(environ["SLURM_CPUS_PER_TASK"]))
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return max(1, math.ceil(min(limits)))


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Give the folders of this process's control groups, its own and those above: each may set a limit."""
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            top = base
        elif controller in names.split(","):
            top = base / controller
        else:
            continue
        # The path may be the host's, of which a container sees nothing: then its own group is the top.
        own = top / path.strip("/")
        while own != top:
            yield own
            own = own.parent
        yield top


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _shm_bytes(root: Path) -> int:
    try:
        return shutil.disk_usage(root / "dev/shm").total
    except OSError:
        return 0


def _accelerator(environ: Mapping[str, str], root: Path) -> Accelerator:
    tpu = ("COLAB_TPU_1VM", "ISTPUVM", "TPU_ACCELERATOR_TYPE")
    if any(environ.get(name) for name in tpu) or (root / "dev/accel0").exists():
        return "tpu"
    if (root / "dev/nvidiactl").exists() or (root / "proc/driver/nvidia/version").exists():
        return "cuda"
    return "mps" if sys.platform == "darwin" and os.uname().machine == "arm64" else ""


def free_bytes(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> int | None:
    """Return the room where `path` is or would be, on Kaggle `KAGGLE_FREE_BYTES` at most; None if it cannot be told."""
    environ = os.environ if environ is None else environ
    place = Path(os.path.abspath(path))
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return None
    return min(free, KAGGLE_FREE_BYTES) if environ.get("KAGGLE_KERNEL_RUN_TYPE") else free


def secret(name: str) -> str | None:
    """Return a secret of the user's: an environment variable, else one of Colab's or Kaggle's; None if there is none.

    Colab asks the user before it gives one to a notebook, and Kaggle asks its service: call it only when a server said
    no. Never log or print what it returns.
    """
    value = os.environ.get(name, "").strip()  # kept secrets and env files often end in a line feed
    if value:
        return value
    here = current()
    try:
        if here.platform == "colab" and here.in_kernel:
            from google.colab import userdata

            return str(userdata.get(name)).strip() or None
        if here.platform == "kaggle" and not is_offline("www.kaggle.com"):
            from kaggle_secrets import UserSecretsClient

            return str(UserSecretsClient().get_secret(name)).strip() or None
    except Exception:  # their errors share no base (NotebookAccessError is no errors.Error): each means "not to be had"
        return None
    return None
