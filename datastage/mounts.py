"""What is mounted: Google Drive, dead or alive, and disks of other machines. Every look at a mount ends."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from datastage.timeouts import call_with_timeout

T = TypeVar("T")

_STAT_WAIT_S = 5.0
# What a mount answers whose client has died or is dying: ENOTCONN mostly; the others were seen elsewhere on FUSE.
DEAD_MOUNT = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN})
EREMOTEIO = getattr(errno, "EREMOTEIO", 121)  # Linux alone has the name
# What a mount says once that may be gone at the next try.
PASSING_MOUNT = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ECONNABORTED, EREMOTEIO})
# What reading from a mount fails with, and writing to a disk of ours hardly does.
MOUNT_READ = DEAD_MOUNT | {errno.EIO, errno.ENOENT}
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "glusterfs", "wekafs"}
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat"})


def home_of(environ: Mapping[str, str]) -> str:
    """Return the home folder."""
    return environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")


def expanded(path: str, environ: Mapping[str, str]) -> str:
    """Return `path` with the home folder in place of ``~``."""
    return home_of(environ) + path[1:] if path == "~" or path.startswith(("~/", "~\\")) else os.path.expanduser(path)


def starting_with(folder: Path, beginning: str) -> list[Path]:
    """Return what lies in `folder` under names with that beginning, in order; nothing where it cannot be read."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.startswith(beginning)]
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class DriveMount:
    """A place where Google Drive is mounted, or was."""

    path: Path
    alive: bool
    errno: int = 0  # why it is not alive: 107 if the Drive client has died, 110 if it does not answer
    is_sure: bool = True  # else somebody may have written there while Drive was not connected


def drive_mounts(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None, *, around: Path | None = None
) -> tuple[DriveMount, ...]:
    """Find where Google Drive is mounted, or was, by the table of mounts and the usual places; only above `around`."""
    environ = os.environ if environ is None else environ
    listed = [
        root / str(point).lstrip("/") if root != Path("/") else point
        for point, kind in mounts_of(root)
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


def is_on_drive(path: Path, root: Path = Path("/")) -> bool:
    """Tell whether `path` lies in a mounted Drive, by itself or by a link."""
    places = dict.fromkeys([Path(os.path.abspath(path)), Path(os.path.realpath(path))])
    return any(drive_mounts(root, around=place) for place in places)


def is_mounted(path: Path, point: Path, root: Path = Path("/")) -> bool:
    """Tell whether anything is mounted at `point`, or below it on the way to `path`: Drive, by whatever program."""
    mounted = [root / str(each).lstrip("/") for each, _ in mounts_of(root)]
    mounted += [mount.path for mount in drive_mounts(root, around=path) if mount.is_sure]
    return any(path.is_relative_to(each) and each.is_relative_to(point) for each in mounted)


def my_drive(mount: Path) -> Path:
    """Return the folder of the user's own files in a mounted Drive."""
    return mount / ("MyDrive" if os.path.isdir(mount / "MyDrive") else "My Drive")


def drive_log(root: Path = Path("/")) -> Path:
    """Return where Colab's Drive client writes its log, which alone says that a quota is used up."""
    return root / "root/.config/Google/DriveFS/Logs/drive_fs.txt"


def _desktop_drives(environ: Mapping[str, str]) -> list[Path]:
    """Where Drive for desktop, and whoever sets ``DATASTAGE_DRIVE``, has the folder that holds "My Drive"."""
    home = Path(home_of(environ))
    folders = [Path(expanded(environ["DATASTAGE_DRIVE"], environ))] if environ.get("DATASTAGE_DRIVE") else []
    folders += [home / "Google Drive", Path("/Volumes/GoogleDrive")]
    if sys.platform == "darwin":
        folders += starting_with(home / "Library/CloudStorage", "GoogleDrive-")
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
        return call_with_timeout(work, seconds)
    except Exception:
        return otherwise


def in_a_while(work: Callable[[], T], wait_s: Sequence[float] = (0.2, 1.0)) -> T:
    """Return what `work` returns; what a mount gets over by itself is tried again after each wait, in vain or not."""
    for wait in wait_s:
        try:
            return call_with_timeout(work)
        except OSError as error:
            if error.errno not in PASSING_MOUNT:
                raise
        time.sleep(wait)
    return call_with_timeout(work)


def is_network_disk(path: str | os.PathLike[str], *, root: Path = Path("/")) -> bool:
    """Tell whether `path` lies on a disk of another machine, by the type of its mount. False where that is unknown."""
    return is_network(Path(path), mounts_of(root))


def is_network(path: Path, mounts: list[tuple[Path, str]]) -> bool:
    """Tell whether the mount that holds `path` is of another machine."""
    real = Path(os.path.realpath(path))
    kinds = [(len(point.parts), kind) for point, kind in mounts if real == point or point in real.parents]
    kind = max(kinds, key=lambda pair: pair[0])[1] if kinds else ""
    return kind in _NETWORK_TYPES or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def mounts_of(root: Path) -> list[tuple[Path, str]]:
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
