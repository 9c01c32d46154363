"""What this machine offers and what is in the way: `doctor`. It looks and changes nothing.

torch is tried in a process of its own: a GPU that this process has touched cannot be used by processes forked from it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datastage import datasets
from datastage._version import __version__
from datastage.archives import external_tools
from datastage.batches.devices import GPU_CLICKS
from datastage.errors import labelled_lines
from datastage.mounts import drive_log, drive_mounts
from datastage.network import is_offline
from datastage.progress import human_bytes
from datastage.redact import for_a_screen
from datastage.runtime import Runtime, free_bytes
from datastage.settings import is_set

_TRIAL_S = 120.0
_NAMES = {"colab": "Colab", "kaggle": "Kaggle", "slurm": "a Slurm job", "jupyter": "Jupyter", "terminal": "a terminal"}
# What each library brings where it is missing: the figures are those of docs/PERFORMANCE.md.
_LIBRARIES = {
    "isal": ("isal", "a tar.gz is unpacked 1.2 times as fast"),
    "deflate": ("deflate", "a zip of photos is unpacked 1.3 times as fast"),
    "simplejpeg": ("simplejpeg", "with OpenCV the first epoch of photos is 2.4 times as fast"),
    "cv2": ("opencv-python-headless", "with simplejpeg the first epoch of photos is 2.4 times as fast"),
    "PIL": ("pillow", "without it no picture can be read"),
    "zstandard": ("zstandard", "without it .zst archives cannot be read"),
    "lz4": ("lz4", "without it .lz4 archives cannot be read"),
    "gdown": ("gdown", "without it shared Drive links cannot be fetched"),
    "tqdm": ("tqdm", "without it a notebook shows a plainer bar"),
}
_COMMANDS = {"7z": "7z archives, and zips with unusual compression", "unrar": "rar archives"}
_TRIAL = """
import json
said = {"torch": None, "devices": [], "error": None}
try:
    import torch
    said["torch"] = torch.__version__
    said["built_for"] = torch.version.cuda or getattr(torch.version, "hip", None)
    for n in range(torch.cuda.device_count()):
        a = torch.ones(64, 64, device=f"cuda:{n}")
        ok = float((a @ a).sum()) == 64.0 ** 3
        found = torch.cuda.get_device_properties(n)
        said["devices"].append({"name": found.name, "bytes": found.total_memory, "works": ok})
    if not said["devices"] and torch.backends.mps.is_available():
        a = torch.ones(64, 64, device="mps")
        said["devices"].append({"name": "Apple GPU", "bytes": 0, "works": float((a @ a).sum()) == 64.0 ** 3})
except ImportError as error:
    said["error"] = None if error.name == "torch" else str(error)
except Exception as error:
    said["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, what was found, and if it is in the way, why and what to do."""

    name: str
    found: str
    trouble: str | None = None
    remedy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What `datastage.doctor` found."""

    findings: tuple[Finding, ...]

    @property
    def troubles(self) -> tuple[Finding, ...]:
        """The findings that are in the way."""
        return tuple(each for each in self.findings if each.trouble)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, fit for a report: no secret, no name of a user or of private data."""
        return {"findings": [asdict(each) for each in self.findings], "troubles": len(self.troubles)}

    def __str__(self) -> str:
        lines = [line for each in self.findings for line in labelled_lines(each.name, for_a_screen(each.found), 14)]
        troubles = self.troubles
        if not troubles:
            return "\n".join([*lines, "", "Nothing is in the way."])
        lines += ["", "In the way:" if len(troubles) > 1 else "One thing is in the way:"]
        for n, each in enumerate(troubles, 1):
            lines += ["", *labelled_lines(f" {n}.", each.trouble or "", 4), *(f"    {step}" for step in each.remedy)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from datastage.show.card import Card

        rows = [(each.name, each.found) for each in self.findings]
        steps = [(f"{each.name} !", f"{each.trouble} {' '.join(each.remedy)}") for each in self.troubles]
        return Card("datastage doctor", [*rows, *(steps or [("", "Nothing is in the way.")])]).html()


def examine(here: Runtime, environ: Mapping[str, str] | None = None) -> Report:
    """Look at everything that staging and feeding depend on."""
    environ = os.environ if environ is None else environ
    with ThreadPoolExecutor(2) as pool:
        trial = pool.submit(try_torch)
        network = pool.submit(lambda: list(_internet(here)))
        findings = [_place(here), *_machine(here), *_disks(here, environ), *_drive(here), *_inputs(here)]
        findings[1:1] = list(_accelerator(here, trial.result()))
        findings += [*network.result(), *_libraries(here), *_settings(environ)]
    names = {here.home.name, *(environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME"))} - {"", "root"}
    return Report(tuple(_without_names(each, names) for each in findings))


def _without_names(finding: Finding, names: Collection[str]) -> Finding:
    """Take the names of users out of paths: a report is shown to others."""
    if not names:
        return finding
    part = re.compile(rf"(?<=/)({'|'.join(map(re.escape, names))})(?![\w.-])")
    found, trouble, *remedy = (
        part.sub("USER", text) for text in (finding.found, finding.trouble or "", *finding.remedy)
    )
    return Finding(finding.name, found, trouble or None, tuple(remedy))


def _place(here: Runtime) -> Finding:
    name = _NAMES.get(here.platform, here.platform)
    how = "nobody is watching" if here.is_batch else "in a notebook" if here.in_kernel else ""
    versions = [f"datastage {__version__}", f"Python {sys.version.split()[0]}"]
    for package in ("torch", "numpy", "gdown"):
        version = _version(package)
        versions += [f"{package} {version}"] if version else []
    where = f"{name}{f' ({how})' if how and how not in name else ''}"
    return Finding("Place", f"{where}: {', '.join(versions)}")


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


# --- the accelerator


def try_torch(python: str | None = None) -> dict[str, Any]:
    """Return what torch says and whether it computes, from a process of its own that writes nothing."""
    python = python or sys.executable
    if not python:
        return {"torch": None, "devices": [], "error": "this Python cannot start another one"}
    if importlib.util.find_spec("torch") is None:
        return {"torch": None, "devices": [], "error": None}
    try:
        done = subprocess.run([python, "-P", "-B", "-c", _TRIAL], capture_output=True, text=True, timeout=_TRIAL_S)
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said
    except subprocess.TimeoutExpired:
        failure = f"it did not answer within {_TRIAL_S:.0f} s"
    except (OSError, ValueError, IndexError):
        failure = f"its process ended with code {done.returncode}"
    return {"torch": _version("torch"), "devices": [], "error": failure}


def _accelerator(here: Runtime, said: Mapping[str, Any]) -> Iterator[Finding]:
    devices = [each for each in said["devices"] if each["works"]]
    trouble: str | None
    if said["error"]:
        trouble = f"PyTorch does not run here: {said['error']}"
        yield Finding("Accelerator", "PyTorch fails", trouble, _restart(here))
    elif devices:
        names = " and ".join(dict.fromkeys(each["name"] for each in devices))
        size = f", {human_bytes(devices[0]['bytes'])} each" if devices[0]["bytes"] else ""
        runs = "PyTorch runs on it" if len(devices) == 1 else "PyTorch runs on each"
        yield Finding("Accelerator", f"{len(devices)} x {names}{size}; {runs}")
    elif here.accelerator == "tpu":
        has_xla = importlib.util.find_spec("torch_xla") is not None
        trouble = None if has_xla else "A TPU is attached, and torch_xla, which PyTorch needs for it, is not installed."
        found = "a TPU; not tried, since one process alone may hold it"
        yield Finding("Accelerator", found, trouble, () if has_xla else ("Next: %pip install torch_xla",))
    elif here.accelerator == "cuda":
        trouble = "A GPU is attached, and this PyTorch cannot use it."
        if said["torch"] and not said.get("built_for"):
            trouble += f" torch {said['torch']} was built without CUDA."
        yield Finding("Accelerator", "a GPU that PyTorch does not see", trouble, _restart(here))
    else:
        trouble, steps = no_accelerator(here)
        yield Finding("Accelerator", "none: batches go to the CPU", trouble, steps)


def no_accelerator(here: Runtime) -> tuple[str | None, tuple[str, ...]]:
    """Return what a person presses to get a GPU here; nothing where that is not known."""
    click = GPU_CLICKS.get(here.platform)
    return ("No GPU is attached.", (f"Next: {click}",)) if click else (None, ())


def _restart(here: Runtime) -> tuple[str, ...]:
    clicks = {
        "colab": "Next: Runtime > Disconnect and delete runtime, then run your cells again.",
        "kaggle": "Next: press the power button above the notebook, then run your cells again.",
    }
    return (clicks.get(here.platform, "Next: install PyTorch anew: https://pytorch.org/get-started"),)


# --- the machine


def _machine(here: Runtime) -> Iterator[Finding]:
    parts = [f"{here.cores} core{'s' * (here.cores != 1)}"]
    parts += [f"{human_bytes(here.memory_bytes)} of memory"] if here.memory_bytes else []
    parts += [f"{human_bytes(here.shm_bytes)} of /dev/shm"] if here.shm_bytes else []
    trouble = "/dev/shm is small: a DataLoader with workers may end in a bus error."
    step = "Next: use datastage.feed(dataset), which does without, or DataLoader(..., num_workers=0)."
    in_the_way = (trouble, (step,)) if 0 < here.shm_bytes < 256 << 20 else ()
    yield Finding("Machine", ", ".join(parts), *in_the_way)


def _disks(here: Runtime, environ: Mapping[str, str]) -> Iterator[Finding]:
    places = dict.fromkeys([here.root_setting or here.fast_disk, here.cwd])
    said, low = [], None
    for place in places:
        free = free_bytes(place, environ=environ)
        if free is not None:
            said.append(f"{_private(place, here)}: {human_bytes(free)} free")
            low = low or (place if free < 2_000_000_000 else None)
    trouble = f"There is little room in {_private(low, here)}." if low else None
    steps = ("Next: datastage clean --dry-run shows what could be removed; root= chooses another disk.",) if low else ()
    stays = "" if here.disk_outlives_machine else "; emptied when the session ends"
    yield Finding("Disk", "; ".join(said) + stays, trouble, steps)


def _private(place: Path, here: Runtime) -> str:
    try:
        return str("~" / place.relative_to(here.home))
    except ValueError:
        return str(place)


# --- where data may come from


def _drive(here: Runtime) -> Iterator[Finding]:
    mounts = drive_mounts(here.system_root)
    alive = [mount for mount in mounts if mount.alive and mount.is_sure]
    used_up = _quota_lines(drive_log(here.system_root))
    if alive:
        trouble = "Google refuses files of your Drive for now: its log says that a quota is used up."
        step = "Next: wait up to 24 hours, or stage a copy of the file: in Drive, right click > Make a copy."
        in_the_way = (trouble, (step,)) if used_up else ()
        yield Finding("Drive", f"connected at {alive[0].path}", *in_the_way)
    elif any(not mount.alive for mount in mounts):
        trouble = "The connection to your Drive has broken."
        step = 'Next: from google.colab import drive; drive.mount("/content/drive", force_remount=True)'
        yield Finding("Drive", "mounted, and does not answer", trouble, (step,))
    elif here.platform == "colab":
        how = "a drive: line connects it" if here.in_kernel else "connect it in a Python cell; a ! line cannot"
        yield Finding("Drive", f"not connected: {how}")


def _quota_lines(log: Path) -> bool:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - (1 << 20)))
            return b"QUOTA_EXCEEDED" in file.read()
    except OSError:
        return False


def _inputs(here: Runtime) -> Iterator[Finding]:
    if here.input_root is None:
        return
    try:
        n = sum(1 for name in os.listdir(here.input_root) if not name.startswith("."))
    except OSError:
        n = 0
    yield Finding("Inputs", f"{n} attached" if n else "none attached: Input > Add Input, in the right-hand panel")


def catalog_hosts() -> list[str]:
    """Return the hosts that the catalog's own datasets come from: nobody else is asked."""
    places = (place for entry in datasets.ENTRIES for part in entry.parts for place in part.places if "://" in place)
    return sorted({host for place in places if (host := urllib.parse.urlsplit(place).hostname)})


def _internet(here: Runtime) -> Iterator[Finding]:
    if is_set("OFFLINE"):
        yield Finding("Internet", "not asked: DATASTAGE_OFFLINE is set")
        return
    hosts = catalog_hosts()
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        offline = list(pool.map(is_offline, hosts))
    silent = [host for host, is_off in zip(hosts, offline, strict=True) if is_off]
    if not silent:
        yield Finding("Internet", f"on: all {len(hosts)} hosts of the catalog answer")
    elif len(silent) < len(hosts):
        yield Finding("Internet", f"on, but these hosts do not answer: {', '.join(silent)}")
    elif here.platform == "kaggle":
        trouble = "The internet is off in this notebook. Data that is attached as an input needs none."
        step = (
            "Next: right-hand panel, Settings > Internet > On (needs a phone-verified account), or Input > Add Input."
        )
        yield Finding("Internet", "off", trouble, (step,))
    else:
        trouble = "No host of the catalog answers: the internet is off, or a proxy or firewall is in the way."
        yield Finding("Internet", "off", trouble, ("Next: stage what is on this machine, or set HTTPS_PROXY.",))


# --- libraries and settings


def _libraries(here: Runtime) -> Iterator[Finding]:
    there = [name for name in _LIBRARIES if importlib.util.find_spec(name) is not None]
    missing = [name for name in _LIBRARIES if name not in there]
    commands = [name for name in _COMMANDS if (external_tools.unrar() if name == "unrar" else shutil.which(name))]
    yield Finding("Libraries", ", ".join([*there, *commands]) or "none of those that make work faster")
    for name in missing:
        package, brings = _LIBRARIES[name]
        yield Finding("Missing", f"{package}: {brings}")
    for name, brings in _COMMANDS.items():
        if name not in commands:
            yield Finding("Missing", f"the command {name}: {brings}")


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    ours = {name: value for name, value in environ.items() if name.startswith("DATASTAGE_") and value}
    others = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    ours |= {name: environ[name] for name in others if environ.get(name)}
    secrets = ("HF_TOKEN", "GITHUB_TOKEN", "KAGGLE_KEY", "AWS_SECRET_ACCESS_KEY")
    said = [f"{name}={_shown(value, environ)}" for name, value in sorted(ours.items())]
    said += [f"{name} is set" for name in secrets if environ.get(name)]
    if said:
        yield Finding("Settings", ", ".join(said))


def _shown(value: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME")
    return for_a_screen(value.replace(home, "~") if home and len(home) > 1 else value)
