"""Drive: the checks of the real module in their order, with its texts; the mount is links to a folder."""

import errno
import os
import shutil
import subprocess
import time

from google.colab import _message

_NOTEBOOK = "https://colab.research.google.com/notebooks/io.ipynb#scrollTo=c2W5A2px3doP"
_asked = 0


def _root(path):
    return os.environ.get("STAND_IN_ROOT", "") + path


def _answer():
    """What happens this time."""
    global _asked
    answers = os.environ.get("STAND_IN_ANSWERS", "ok").split(",")
    answer = answers[min(_asked, len(answers) - 1)]
    _asked += 1
    return answer


def flush_and_unmount(timeout_ms=24 * 60 * 60 * 1000):
    """Unmount Google Drive and flush any outstanding writes to it."""
    if os.path.exists(_root("/var/colab/mp")):
        raise NotImplementedError(__name__ + " is unsupported in this environment.")
    mounts = _root("/proc/self/mountinfo")
    with open(mounts) as file:
        lines = file.readlines()
    if not any(" - fuse.drive " in line for line in lines):
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    for line in lines:
        if " - fuse.drive " in line:
            _empty(_root("") + line.split(" ")[4])
    with open(mounts, "w") as file:
        file.writelines(line for line in lines if " - fuse.drive " not in line)


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    """Mount your Google Drive at the specified mountpoint path."""
    if not os.path.exists(_root("/var/colab/hostname")):
        raise NotImplementedError(
            "Mounting drive is unsupported in this environment. Use PyDrive2 instead. See examples at "
            + _NOTEBOOK
            + "."
        )
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        raise NotImplementedError("google.colab.drive.mount is not supported in Colab Enterprise.")
    os.environ["TBE_EPHEM_CREDS_ADDR"]
    answer = _answer()
    # Before "already mounted" is looked at: a second call talks to the browser too.
    _message.blocking_request("request_auth", request={"authType": "dfs_ephemeral"}, timeout_sec=int(timeout_ms / 1000))
    if answer == "refused":
        raise _message.MessageError("Error: credential propagation was unsuccessful")
    if answer == "interrupt":
        raise KeyboardInterrupt
    if answer == "slow":
        time.sleep(0.3)
    if os.path.isdir(os.path.join(mountpoint, "My Drive")) and not force_remount:
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly remount, call "
            f'drive.mount("{mountpoint}", force_remount=True).'
        )
        return
    config = _root("/root/.config/Google")
    if os.path.isfile(config):
        raise ValueError(f"{config} must be a directory if present")
    _unmount(mountpoint)  # umount -f; pkill -9 -x drive
    if os.path.islink(mountpoint):
        raise ValueError("Mountpoint must not be a symlink")
    if os.path.isdir(mountpoint) and os.listdir(mountpoint):
        raise ValueError("Mountpoint must not already contain files")
    if os.path.exists(mountpoint) and not os.path.isdir(mountpoint):
        raise ValueError("Mountpoint must either be a directory or not exist")
    if not os.path.isdir(os.path.dirname(mountpoint)):
        raise ValueError("Mountpoint must be in a directory that exists")
    if answer == "policy":
        raise ValueError(
            "The domain policy has disabled Drive File Stream: https://support.google.com/a/answer/7496409"
        )
    if answer == "hangs":
        import pexpect

        raise pexpect.exceptions.TIMEOUT("Timeout exceeded.\n<pexpect.popen_spawn.PopenSpawn object at 0x7f>")
    if answer == "crowded":
        log(b"QueryManager timed out\n")
        raise ValueError(
            "mount failed: timeout during initial read of root folder; for more info: "
            "https://research.google.com/colaboratory/faq.html#drive-timeout"
        )
    if answer in ("silence", "stops"):
        raise ValueError("mount failed")
    _link(mountpoint)
    print(f"Mounted at {mountpoint}")


mount._DEBUG = False


def log(line):
    """Write a line as Drive's client does."""
    folder = _root("/root/.config/Google/DriveFS/Logs")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "drive_fs.txt"), "ab") as file:
        file.write(line)


def _link(mountpoint):
    cloud = os.environ["STAND_IN_CLOUD"]
    os.makedirs(mountpoint, exist_ok=True)
    for name, target in (
        ("MyDrive", "MyDrive"),
        ("My Drive", "MyDrive"),
        ("Shareddrives", "Shareddrives"),
        ("Shared drives", "Shareddrives"),
        (".shortcut-targets-by-id", ".shortcut-targets-by-id"),
    ):
        os.symlink(os.path.join(cloud, target), os.path.join(mountpoint, name))
    table = _root("/proc/self/mountinfo")
    if os.environ.get("STAND_IN_ROOT") and os.path.exists(table):
        point = mountpoint[len(os.environ["STAND_IN_ROOT"]) :].replace(" ", "\\040")
        with open(table, "a") as file:
            file.write(f"99 1 0:99 / {point} rw,nosuid,nodev,relatime shared:1 - fuse.drive drive rw,user_id=0\n")


def _unmount(mountpoint):
    subprocess.run(["umount", "-f", mountpoint], capture_output=True)
    table = _root("/proc/self/mountinfo")
    point = mountpoint[len(os.environ.get("STAND_IN_ROOT", "")) :]
    lines = []
    if os.environ.get("STAND_IN_ROOT") and os.path.exists(table):
        with open(table) as file:
            lines = file.readlines()
    mine = [line for line in lines if f" {point} " in line and " - fuse.drive " in line]
    if mine:
        with open(table, "w") as file:
            file.writelines(line for line in lines if line not in mine)
        _empty(mountpoint)
    elif os.path.islink(os.path.join(mountpoint, "My Drive")):
        _empty(mountpoint)  # mounted by us where no table is kept


def _empty(mountpoint):
    try:
        shutil.rmtree(mountpoint)
    except OSError as error:
        if error.errno != errno.ENOENT:
            os.unlink(mountpoint)
