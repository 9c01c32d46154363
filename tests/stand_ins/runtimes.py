"""Colab, Kaggle and a cluster's job, laid out in a folder; and a machine whose ``/`` really looks like one of them.

`Colab`, `Kaggle` and `Slurm` give a root folder, the environment variables, and what `datastage.runtime.detect` makes
of both. `at_root` runs a command in mount and network namespaces of its own, where the layout lies at ``/content`` and
``/kaggle``: the machine's own folders are untouched. As root, or where a user may make namespaces.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datastage import runtime

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
GOOGLE_COLAB = HERE / "google_colab"

# A dump of 2025-09, shortened; Kaggle's images are built from Colab's, and inherit COLAB_RELEASE_TAG.
COLAB_ENVIRONMENT = {
    "COLAB_RELEASE_TAG": "release-colab_20261118-060053_RC00",
    "COLAB_GPU": "",
    "COLAB_JUPYTER_IP": "172.28.0.12",
    "COLAB_JUPYTER_TOKEN": "a-secret-token",
    "COLAB_NOTEBOOK_ID": "1A2b3C",
    "TBE_RUNTIME_ADDR": "172.28.0.1:8011",
    "TBE_CREDS_ADDR": "172.28.0.1:8008",
    "TBE_EPHEM_CREDS_ADDR": "172.28.0.1:8009",
    "HOME": "/root",
}
KAGGLE_ENVIRONMENT = {
    "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
    "KAGGLE_URL_BASE": "https://www.kaggle.com",
    "KAGGLE_DATA_PROXY_URL": "https://dp.kaggle.net",
    "KAGGLE_DATA_PROXY_TOKEN": "a-secret-token",
    "KAGGLE_USER_SECRETS_TOKEN": "another-secret-token",
    "COLAB_RELEASE_TAG": "release-colab_20260514-060053_RC00",
    "HOME": "/root",
}
_MOUNTS = "22 1 0:21 / / rw,relatime - overlay overlay rw\n23 22 0:22 / /dev/shm rw - tmpfs shm rw\n"


@dataclass
class Layout:
    """A root folder and the variables that go with it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("proc/self", "dev/shm", "tmp", "root"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "proc/self/mountinfo").write_text(_MOUNTS)

    def mount_table(self, point: str, kind: str) -> None:
        """Add a line to the table of mounts."""
        with (self.root / "proc/self/mountinfo").open("a") as file:
            file.write(f"99 22 0:99 / {point} rw,relatime shared:1 - {kind} source rw\n")

    def runtime(self, *, shell: object = None, cwd: Path | None = None, **more: str) -> runtime.Runtime:
        """Say what the library makes of it; `more` are further variables."""
        return runtime.detect({**self.environment, **more}, root=self.root, shell=shell, cwd=cwd or self.root)


class Colab(Layout):
    """A hosted Colab machine. It has a /kaggle/input too, empty: the target of kagglehub's cache."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, dict(COLAB_ENVIRONMENT))
        for name in ("content/sample_data", "var/colab", "kaggle/input", "opt/google/drive"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "var/colab/hostname").write_text("m-s-1a2b3c\n")
        self.cloud = root.parent / f"{root.name}-cloud"
        for name in ("MyDrive/Colab Notebooks", "Shareddrives", ".shortcut-targets-by-id"):
            (self.cloud / name).mkdir(parents=True, exist_ok=True)

    def stand_in(self, *answers: str) -> dict[str, str]:
        """Return the variables that tell the google.colab stand-in about this machine and what its person does."""
        return {
            **self.environment,
            "STAND_IN_ROOT": str(self.root),
            "STAND_IN_CLOUD": str(self.cloud),
            "STAND_IN_ANSWERS": ",".join(answers or ("ok",)),
            "STAND_IN_LOG": str(self.root / "browser.log"),
        }

    def asked(self) -> list[str]:
        """Return a line for every question that reached the browser."""
        log = self.root / "browser.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def point(self) -> Path:
        return self.root / "content/drive"


class Kaggle(Layout):
    """A Kaggle notebook's machine: no /kaggle/temp, and google.colab can be imported."""

    def __init__(self, root: Path, *, batch: bool = False) -> None:
        super().__init__(root, dict(KAGGLE_ENVIRONMENT))
        if batch:
            self.environment["KAGGLE_KERNEL_RUN_TYPE"] = "Batch"
        for name in ("kaggle/input", "kaggle/working", "kaggle/lib"):
            (root / name).mkdir(parents=True, exist_ok=True)


class Slurm(Layout):
    """A job on a cluster's node, with a disk of its own."""

    def __init__(self, root: Path, job: str = "4711") -> None:
        super().__init__(root, {"SLURM_JOB_ID": job, "HOME": str(root / "home"), "SLURM_PROCID": "0"})
        (root / "home").mkdir()
        (root / "localscratch" / f"{job}.0").mkdir(parents=True)


# --- for real


_PROBE = (
    "mount -t tmpfs none /mnt && mkdir /mnt/up /mnt/work && "
    "mount -t overlay overlay -o lowerdir=/var,upperdir=/mnt/up,workdir=/mnt/work /var && chroot / true"
)


@functools.cache
def why_not_at_root() -> str:
    """Say why `at_root` cannot work here; empty if it can."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "left out: needs Linux and unshare"
    done = subprocess.run([*_unshare(), "sh", "-c", _PROBE], capture_output=True, text=True)
    return "" if done.returncode == 0 else f"left out: no private namespaces here ({done.stderr.strip()[:80]})"


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--fork", "--kill-child"]


# A new root in memory that holds every folder of the old one, and the layout's folders at their real places.
_SCRIPT = """
set -e
ip link set lo up 2>/dev/null || true
new=$1; layout=$2; shift 2
mount -t tmpfs none "$new"
for path in /* ; do
    name=${path#/}
    case $name in content|kaggle|localscratch) continue ;; esac
    if [ -L "$path" ]; then cp -P "$path" "$new/$name"
    elif [ -d "$path" ]; then mkdir "$new/$name"; mount --rbind "$path" "$new/$name"
    fi
done
for name in content localscratch; do
    [ -d "$layout/$name" ] || continue
    mkdir -p "$new/$name"; mount --bind "$layout/$name" "$new/$name"
done
if [ -d "$layout/kaggle" ]; then
    mkdir -p "$new/kaggle/input" "$new/kaggle/working" "$new/kaggle/lib"
    mount --bind "$layout/kaggle/input" "$new/kaggle/input"
    mount -o remount,ro,bind "$new/kaggle/input"
    mount -t tmpfs -o size=200m none "$new/kaggle/working"
fi
# What is written to /root is gone afterwards.
mkdir -p "$new/.written/up" "$new/.written/work"
mount -t overlay overlay -o "lowerdir=/root,upperdir=$new/.written/up,workdir=$new/.written/work" "$new/root"
if [ -d "$layout/var/colab" ]; then
    mount -t tmpfs none "$new/opt"; mkdir -p "$new/opt/google/drive"
    mount -t overlay overlay -o "lowerdir=$layout/var:/var" "$new/var"
fi
chroot "$new" sh -c 'cd "$1"; shift; exec "$@"' sh "$WORKDIR" "$@"
"""


def at_root(
    layout: Layout, command: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command where the layout lies at its real places, without any network.

    /kaggle/input is read-only as a mount is (root too gets errno 30), /kaggle/working is a small disk of its own.
    """
    new = layout.root.parent / f"{layout.root.name}-new"
    new.mkdir(exist_ok=True)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATASTAGE_", "KAGGLE_", "COLAB"))
    }
    environment = {
        **kept,
        **layout.environment,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(GOOGLE_COLAB)]),
        "HOME": os.environ.get("HOME", "/root"),
        "WORKDIR": cwd,
        **(env or {}),
    }
    return subprocess.run(
        [*_unshare(), "sh", "-c", _SCRIPT, "sh", str(new), str(layout.root), *command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )
