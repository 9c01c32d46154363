"""Where we are and what is here: the platform, its disks, cores, memory, mounts and network.

Here: every environment variable and every platform path that datastage looks at. `detect` is told all of it, so that
a test can say where we are; `current` asks this process. Nothing here writes, prints, or imports a library.
Not here: what is done about it (every other module is told).

Each platform's marks are found on the other: Kaggle's images are built from Colab's and inherit ``COLAB_RELEASE_TAG``,
and ``/kaggle/input`` is a mount point on Colab. So Kaggle is asked first, by ``KAGGLE_KERNEL_RUN_TYPE``.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from datastage.timely import in_time

Platform = Literal[
    "colab",
    "kaggle",
    "slurm",
    "jupyter",
    "terminal",
    "studio-lab",
    "sagemaker",
    "paperspace",
    "lightning",
    "databricks",
    "binder",
    "jupyterhub",
    "codespaces",
    "gitpod",
    "replit",
    "spaces",
]
Accelerator = Literal["", "cuda", "tpu", "mps"]

T = TypeVar("T")

# df shows the host's disk (8 TB seen); users count on 50 to 60 GB, and some of it is taken.
KAGGLE_FREE_BYTES = 40_000_000_000
REMEMBER_S = 60.0
_STAT_WAIT_S = 5.0
_TRUE = frozenset({"1", "true", "yes", "on"})
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "glusterfs", "wekafs"}
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat"})
# Values that must never be printed, and the endings of names whose values are such.
_SECRETS = frozenset(
    {
        "KAGGLE_DATA_PROXY_TOKEN",
        "KAGGLE_USER_SECRETS_TOKEN",
        "KAGGLE_IAP_TOKEN",
        "KAGGLE_API_V1_TOKEN",
        "KAGGLE_KEY",
        "COLAB_JUPYTER_TOKEN",
        "JUPYTERHUB_API_TOKEN",
        "JPY_API_TOKEN",
    }
)
_SECRET_ENDING = re.compile(r"(?i)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_ID)?$")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where we are.

    Attributes
    ----------
    platform : str
        Which place this is: one of `Platform`.
    in_notebook : bool
        Whether what we print is shown in a notebook.
    in_kernel : bool
        Whether this is the kernel's own process, in which a front end can be asked: to connect Drive, to upload. A
        line that starts with ``!`` is not.
    is_batch : bool
        Whether nobody is watching: a saved run, a job, a notebook run by a tool.
    cwd : Path
        The working directory.
    script_folder : Path or None
        The folder of the script that runs; None in a notebook, and for the `datastage` command.
    search_path : tuple of Path
        The folders of ``DATASTAGE_PATH``.
    input_root : Path or None
        ``/kaggle/input`` on Kaggle; None elsewhere, where the folder may exist too.
    root_setting : Path or None
        ``DATASTAGE_ROOT``.
    fast_disk : Path
        The folder under which staged folders go, if nothing else is said.
    fast_disk_shared : bool
        Whether all users may write beside it.
    disk_outlives_machine : bool
        Whether what is staged (in ``DATASTAGE_ROOT``, else the fast disk) is still there after this session.
    cores : int
        CPU cores that this process may use.
    memory_bytes, shm_bytes : int
        Memory that this process may use, and the size of ``/dev/shm``; 0 where that cannot be told.
    accelerator : str
        What marks on the machine promise: ``"cuda"``, ``"tpu"``, ``"mps"`` or ``""``. Nothing is tried.
    home : Path
        The user's home folder.
    rank : int
        Which of several processes that work together this is, by what started them; 0 alone speaks.
    system_root : Path
        ``/``; another folder in tests.
    """

    platform: Platform
    in_notebook: bool
    in_kernel: bool
    is_batch: bool
    cwd: Path
    script_folder: Path | None
    search_path: tuple[Path, ...]
    input_root: Path | None
    root_setting: Path | None
    fast_disk: Path
    fast_disk_shared: bool
    disk_outlives_machine: bool
    cores: int
    memory_bytes: int
    shm_bytes: int
    accelerator: Accelerator
    home: Path
    rank: int = 0
    system_root: Path = Path("/")


def current() -> Runtime:
    """Return where this process is. Cheap, and not remembered: a setting may change between two calls."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None) or (sys.argv[0] if getattr(sys, "argv", None) else None)
    return detect(os.environ, shell=_shell(), script=script)


def _shell() -> Any:
    """Return IPython's shell if this process has one; IPython is never imported for the question."""
    ipython = sys.modules.get("IPython")
    get = getattr(ipython, "get_ipython", None)
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
    """Tell where we are from what is given.

    Parameters
    ----------
    environ : mapping
        The environment variables.
    root : Path
        The folder that stands for ``/``.
    shell : object, optional
        IPython's shell, if there is one. With a ``kernel`` a front end can be asked.
    script : str, optional
        The file that runs: ``__main__.__file__`` or ``sys.argv[0]``.
    cwd : Path, optional
        The working directory; asked for if None.
    affinity : int, optional
        CPU cores that the scheduler lets us have; asked for if None.

    Returns
    -------
    Runtime
        Where we are.

    Examples
    --------
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
        stays = platform not in ("colab", "kaggle", "binder") or _is_network(Path(setting_root), _mounts(root))
    return Runtime(
        platform=platform,
        in_notebook=in_kernel,
        in_kernel=in_kernel,
        is_batch=_is_batch(platform, environ, shell),
        cwd=here,
        script_folder=None if in_kernel else _script_folder(script, here),
        search_path=_search_path(environ, here),
        input_root=root / "kaggle/input" if platform == "kaggle" else None,
        root_setting=None if setting_root is None else Path(_expand(setting_root, environ)),
        fast_disk=disk,
        fast_disk_shared=shared,
        disk_outlives_machine=stays,
        cores=_cores(environ, root, affinity),
        memory_bytes=_memory_bytes(root),
        shm_bytes=_shm_bytes(root),
        accelerator=_accelerator(environ, root),
        home=Path(_home(environ)),
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
    if (root / "home/studio-lab-user").exists():
        return "studio-lab"
    if (
        _any(environ, "SAGEMAKER_", "SM_MODEL_DIR", "SM_CHANNEL_")
        or (root / "opt/ml/metadata/resource-metadata.json").exists()
    ):
        return "sagemaker"
    if _any(environ, "PAPERSPACE_"):
        return "paperspace"
    if environ.get("LIGHTNING_CLOUD_SPACE_ID"):
        return "lightning"
    if environ.get("DATABRICKS_RUNTIME_VERSION"):
        return "databricks"
    if environ.get("BINDER_SERVICE_HOST"):
        return "binder"  # JUPYTERHUB_* are set there too
    if environ.get("SLURM_JOB_ID"):
        return "slurm"  # before JupyterHub: a hub may start its notebooks as jobs, with a job's disk
    if environ.get("JUPYTERHUB_USER") or environ.get("JUPYTERHUB_API_URL"):
        return "jupyterhub"
    others: dict[str, Platform] = {
        "CODESPACE_NAME": "codespaces",
        "GITPOD_WORKSPACE_ID": "gitpod",
        "REPL_ID": "replit",
        "SPACE_ID": "spaces",
        "SPACE_HOST": "spaces",
    }
    for name, platform in others.items():
        if environ.get(name):
            return platform
    return "jupyter" if in_kernel else "terminal"


def _any(environ: Mapping[str, str], *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in environ)


def _is_batch(platform: Platform, environ: Mapping[str, str], shell: Any) -> bool:
    if platform == "kaggle":
        return environ["KAGGLE_KERNEL_RUN_TYPE"].lower() == "batch"
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return platform == "slurm"
    # nbclient and papermill forbid input() with each request; ipykernel keeps that here (kernelbase.py).
    return platform != "colab" and getattr(kernel, "_allow_stdin", True) is False


def _rank(environ: Mapping[str, str]) -> int:
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        value = environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return 0


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launcher told this process of itself and its fellows.

    Attributes
    ----------
    rank, size : int
        This process, counted from 0, and how many there are.
    local_rank : int
        This process among those of its machine.
    """

    rank: int
    size: int
    local_rank: int


def launched(environ: Mapping[str, str] | None = None) -> Launched | None:
    """Return what torchrun, or a launcher that does as it does, told this process; None if there was none.

    All three of ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK`` must be there and fit together: some clusters set the first
    two for a machine whose processes are started later. Slurm's own variables are not looked at: ``srun`` sets them for
    tasks that have nothing to do with each other too, and a job's script has those of a task.

    Examples
    --------
    >>> launched({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    Launched(rank=3, size=4, local_rank=1)
    >>> launched({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"})
    """
    environ = os.environ if environ is None else environ
    values = [environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
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


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")


def _expand(path: str, environ: Mapping[str, str]) -> str:
    return _home(environ) + path[1:] if path == "~" or path.startswith(("~/", "~\\")) else os.path.expanduser(path)


def _search_path(environ: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    pieces = (piece.strip() for piece in environ.get("DATASTAGE_PATH", "").split(os.pathsep))
    return tuple(dict.fromkeys(cwd / _expand(piece, environ) for piece in pieces if piece))


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
    if platform == "colab" and _can_write(root / "content"):
        return root / "content/staged", _all_may_write(root / "content"), False
    if platform == "kaggle" and _can_write(root / "kaggle/temp"):
        # Not made for you by Kaggle; and never /kaggle/working, which is saved as the notebook's output.
        return root / "kaggle/temp/staged", _all_may_write(root / "kaggle/temp"), False
    if platform in ("terminal", "jupyter"):
        cache = _cache_folder(environ)
        if _can_write(cache):
            return cache / "staged", False, True
    disk = next((folder for folder in _scratch(platform, environ, root) if _can_write(folder)), None)
    if disk is None:
        import tempfile

        disk = Path(tempfile.gettempdir())
    return disk / "staged", _all_may_write(disk), False


def _scratch(platform: Platform, environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Give the folders that may lie on a fast disk of this machine, the likeliest first. SCRATCH is a network disk."""
    if platform == "slurm":
        job = environ["SLURM_JOB_ID"]
        names = ("SLURM_TMPDIR", "TMPDIR", "LOCAL_SCRATCH", "LSCRATCH", "SCRATCH_LOCAL")
        folders = [Path(environ[name]) for name in names if environ.get(name)]
        folders += [root / "scratch" / job, *_starting_with(root / "localscratch", f"{job}.")]
        mounts = _mounts(root)
        yield from (folder for folder in folders if folder.is_dir() and not _is_network(folder, mounts))
    elif platform == "databricks":
        yield root / "local_disk0"
    elif environ.get("TMPDIR"):
        yield Path(environ["TMPDIR"])
    yield root / "tmp"


def _starting_with(folder: Path, beginning: str) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.startswith(beginning)]
    except OSError:
        return []


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"])
    home = Path(_home(environ))
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


def _cores(environ: Mapping[str, str], root: Path, affinity: int | None) -> int:
    # In a container cpu_count() tells of the host.
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


def _memory_bytes(root: Path) -> int:
    total = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if total is not None:
        limits = [int(total.group(1)) * 1024]
    else:
        try:
            limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
        except (AttributeError, ValueError, OSError):
            return 0
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdecimal() and int(text):
                limits.append(int(text))
    return min(limits)


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
        found = os.statvfs(root / "dev/shm")
    except (OSError, AttributeError):
        return 0
    return found.f_frsize * found.f_blocks


def _accelerator(environ: Mapping[str, str], root: Path) -> Accelerator:
    tpu = ("COLAB_TPU_1VM", "ISTPUVM", "TPU_ACCELERATOR_TYPE")
    if any(environ.get(name) for name in tpu) or (root / "dev/accel0").exists():
        return "tpu"
    if (root / "dev/nvidiactl").exists() or (root / "proc/driver/nvidia/version").exists():
        return "cuda"
    return "mps" if sys.platform == "darwin" and os.uname().machine == "arm64" else ""


def free_bytes(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> int | None:
    """Return the room where `path` is or would be; None if that cannot be told. Ask, and never trust the answer.

    On Kaggle the disk of the machine shows the host's size, so no more than `KAGGLE_FREE_BYTES` is counted on there;
    ``/kaggle/working``, a device of its own that tells the truth, has less.
    """
    environ = os.environ if environ is None else environ
    place = Path(os.path.abspath(path))
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return None
    return min(free, KAGGLE_FREE_BYTES) if environ.get("KAGGLE_KERNEL_RUN_TYPE") else free


# --- mounts


@dataclass(frozen=True, slots=True)
class DriveMount:
    """A place where Google Drive is mounted, or was.

    Attributes
    ----------
    path : Path
        The mount point; ``MyDrive`` lies in it.
    alive : bool
        Whether it answers.
    errno : int
        Why not: 107 if the Drive client has died, 110 if it does not answer. 0 if it is alive.
    is_sure : bool
        False for a folder that looks like a mounted Drive and is no mount: somebody may have written there while
        Drive was not connected.
    """

    path: Path
    alive: bool
    errno: int = 0
    is_sure: bool = True


def drive_mounts(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None, *, around: Path | None = None
) -> tuple[DriveMount, ...]:
    """Find where Google Drive is mounted: wherever the table of mounts says, and where each platform puts it.

    A mount whose client died is told from an absent one by the error of ``stat`` alone: 107 against 2, where
    `os.path.exists` says False for both.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    environ : mapping, optional
        The environment variables; this process's own if None.
    around : Path, optional
        Look only at the mounts that this path lies in; the others are not touched.
    """
    environ = os.environ if environ is None else environ
    listed = [
        root / str(point).lstrip("/") if root != Path("/") else point
        for point, kind in _mounts(root)
        if kind == "fuse.drive"
    ]
    usual = [root / "content/drive", root / "content/gdrive", *_desktop_drives(environ)]
    found = []
    for path in dict.fromkeys([*listed, *usual]):
        if around is not None and path != around and path not in around.parents:
            continue
        mount = _look_at_mount(path, is_listed=path in listed)
        if mount is not None:
            found.append(mount)
    return tuple(found)


def drive_log(root: Path = Path("/")) -> Path:
    """Return where Colab's Drive client writes its log, which alone says that a quota is used up."""
    return root / "root/.config/Google/DriveFS/Logs/drive_fs.txt"


def _desktop_drives(environ: Mapping[str, str]) -> list[Path]:
    """Where Drive for desktop, and whoever sets ``DATASTAGE_DRIVE``, has the folder that holds "My Drive"."""
    home = Path(_home(environ))
    folders = [Path(_expand(environ["DATASTAGE_DRIVE"], environ))] if environ.get("DATASTAGE_DRIVE") else []
    folders += [home / "Google Drive", Path("/Volumes/GoogleDrive")]
    if sys.platform == "darwin":
        folders += _starting_with(home / "Library/CloudStorage", "GoogleDrive-")
    if sys.platform == "win32":
        folders += [Path("G:/")]
    return folders


def _look_at_mount(path: Path, *, is_listed: bool) -> DriveMount | None:
    """Return what is at a mount point; None if nothing like Drive is. Ends, whatever the mount does."""

    def look() -> DriveMount | None:
        try:
            os.stat(path)
            if is_listed or (path / "My Drive").is_dir():
                return DriveMount(path, True)
            # "My Drive" works on every mount; where only MyDrive is, it may be left from a session without one.
            return DriveMount(path, True, is_sure=False) if (path / "MyDrive").is_dir() else None
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
            return None if gone and not is_listed else DriveMount(path, False, error.errno or errno.EIO)

    silent: DriveMount | None = DriveMount(path, False, errno.ETIMEDOUT)
    return within(_STAT_WAIT_S, look, silent)


def within(seconds: float, work: Callable[[], T], otherwise: T) -> T:
    """Return what `work` returns, or `otherwise` if it takes too long or fails. For a disk that may never answer."""
    try:
        return in_time(work, seconds)
    except Exception:
        return otherwise


def is_network_disk(path: str | os.PathLike[str], *, root: Path = Path("/")) -> bool:
    """Tell whether `path` lies on a disk of another machine, by the type of its mount. False where that is unknown."""
    return _is_network(Path(path), _mounts(root))


def _is_network(path: Path, mounts: list[tuple[Path, str]]) -> bool:
    real = Path(os.path.realpath(path))
    kinds = [(len(point.parts), kind) for point, kind in mounts if real == point or point in real.parents]
    kind = max(kinds, key=lambda pair: pair[0])[1] if kinds else ""
    return kind in _NETWORK_TYPES or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def _mounts(root: Path) -> list[tuple[Path, str]]:
    """Return mount points and their types, in the order of the table: a later one covers an earlier one."""
    try:
        text = (root / "proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    mounts = []
    for line in text.splitlines():
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw   (proc_pid_mountinfo(5))
        left, _, right = line.partition(" - ")
        if len(left.split(" ")) > 4 and right:
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), left.split(" ")[4])
            mounts.append((Path(point), right.split(" ")[0]))
    return mounts[::-1]


# --- the network


class _Probes:
    """What is known of hosts: for how long, and who is still asking."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[tuple[str, int], tuple[float, bool]] = {}
        self.asking: dict[tuple[str, int], threading.Thread] = {}


_probes = _Probes()


def is_offline(
    host: str, *, port: int = 443, timeout_s: float = 2.0, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Tell whether `host` is out of reach: no name service, no route, or no answer within `timeout_s`.

    Where a proxy stands between, only the proxy is asked: behind it no name may be known. The answer is remembered
    for a minute, since failing is slow and a student may switch the internet on. A host that refuses is within reach.
    ``DATASTAGE_OFFLINE=1`` settles it for every host but this machine itself.

    Parameters
    ----------
    host : str
        The name of the server.
    port : int
        Where it listens: 443 for https, 80 for http.
    timeout_s : float
        How long to wait; whoever asks is held up no longer, even if the name service takes 20 s.
    clock : callable
        Gives the time in seconds.
    """
    if host == "localhost" or host.startswith("127.") or host in ("::1", "[::1]"):
        return False
    if is_set("OFFLINE"):
        return True
    address = _proxy_for(host, port) or (host, port)
    probes = _probes
    with probes.lock:
        known = probes.known.get(address)
        if known is not None and clock() - known[0] < REMEMBER_S:
            return known[1]
        thread = probes.asking.get(address)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(
                target=_ask, args=(address, timeout_s, clock), name="datastage-offline", daemon=True
            )
            probes.asking[address] = thread
            probes.known.pop(address, None)
            thread.start()
    thread.join(timeout_s)
    with probes.lock:
        # A thread that answers later puts its answer in place of this one.
        return probes.known.setdefault(address, (clock(), True))[1]


def _ask(address: tuple[str, int], timeout_s: float, clock: Callable[[], float]) -> None:
    from datastage import reach

    try:
        reach.connect(address, timeout_s).close()
        offline = False
    except ConnectionRefusedError:
        offline = False
    except (OSError, UnicodeError):
        offline = True
    with _probes.lock:
        _probes.known[address] = (clock(), offline)


def _proxy_for(host: str, port: int) -> tuple[str, int] | None:
    import urllib.parse
    import urllib.request

    proxy = urllib.request.getproxies().get("http" if port == 80 else "https")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    try:
        url = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return (url.hostname, url.port or (443 if url.scheme == "https" else 80)) if url.hostname else None
    except ValueError:
        return None


# --- settings


def setting(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the user's setting ``DATASTAGE_<name>``; None if it is not set, or empty."""
    return (os.environ if environ is None else environ).get(f"DATASTAGE_{name}") or None


def is_set(name: str, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the user's setting ``DATASTAGE_<name>`` says yes: 1, true, yes or on."""
    return (setting(name, environ) or "").strip().lower() in _TRUE


def wants_traceback() -> bool:
    """Tell whether ``DATASTAGE_TRACEBACK`` asks for whole tracebacks."""
    return is_set("TRACEBACK")


def secret(name: str) -> str | None:
    """Return a secret of the user's: an environment variable, else one of Colab's or Kaggle's; None if there is none.

    Colab asks the user before it gives one to a notebook, and Kaggle asks its service: call it only when a server said
    no. Never log or print what it returns.
    """
    value = os.environ.get(name)
    if value:
        return value
    here = current()
    try:
        if here.platform == "colab" and here.in_kernel:
            from google.colab import userdata

            return str(userdata.get(name)) or None
        if here.platform == "kaggle" and not is_offline("www.kaggle.com"):
            from kaggle_secrets import UserSecretsClient

            return str(UserSecretsClient().get_secret(name)) or None
    except Exception:  # their errors share no base (NotebookAccessError is no errors.Error): each means "not to be had"
        return None
    return None


def is_secret(name: str) -> bool:
    """Tell whether the value of the environment variable `name` must never be printed.

    Examples
    --------
    >>> is_secret("KAGGLE_USER_SECRETS_TOKEN"), is_secret("KAGGLE_URL_BASE")
    (True, False)
    """
    return name in _SECRETS or _SECRET_ENDING.search(name) is not None
