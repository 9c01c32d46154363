"""Measure unpacking: datastage beside its peers, all in one run, on fresh folders.

    python benchmarks/extraction.py [--data FOLDER] [--on /dev/shm --on /var/tmp ...] [--only W1] [--rounds 5]

Prints the machine, the versions, and for each work a table: median, minimum, times the common tool, and peak memory
(PSS of all processes less a bare interpreter each, from a run of its own that is not timed). "plain" is the engine with
the standard library alone. Rounds go through all tools in turn, so that a noisy minute hits all of them. On a disk,
trees of many files are removed at the end: ext4 is many times slower for minutes after a mass delete. `--fresh` makes a
new ext4 in a file and an overlay on it, as Colab and Kaggle have, where that is allowed (as root:
`unshare -m python benchmarks/extraction.py --fresh --only W1`). On a disk there is a row with the sync that precedes
publishing; none of the peers syncs.

Here: timing and tables. Not here: the archives (`extraction_data`), what a child runs (`extraction_child`).
"""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import extraction_data

HERE = Path(__file__).resolve().parent
CHILD = [sys.executable, str(HERE / "extraction_child.py")]
COMMAND = [sys.executable, "-m", "datastage"]


def tool(name: str, *args: str) -> tuple[str, list[str]] | None:
    return (name, list(args)) if shutil.which(args[0]) else None


def engines(archive: Path, on_disk: bool) -> list[tuple[str, list[str]]]:
    """Return the tools for a work, the common one first. `{}` is the destination.

    The verbs are timed as a user calls them: in a process that has imported them, and as commands, start included.
    """
    a = str(archive)
    own = [
        ("datastage.stage()", [*CHILD, "stage", a, "{}"]),
        ("datastage.extract()", [*CHILD, "extract", a, "{}"]),
        ("datastage stage", [*COMMAND, "stage", a, "--root", "{}", "--quiet"]),
        ("datastage extract", [*COMMAND, "extract", a, "{}/files", "--quiet"]),
        ("stage(), the second time", [*CHILD, "again", a, "{}"]),
        ("the engine alone", [*CHILD, "datastage", a, "{}"]),
        ("the engine alone, plain", [*CHILD, "plain", a, "{}"]),
    ]
    if on_disk:
        own.append(("the engine, with the sync", [*CHILD, "synced", a, "{}"]))
    floors = [
        ("floor: creation alone", [*CHILD, "creation", a, "{}"]),
        ("floor: inflate alone", [*CHILD, "inflate", a, "{}"]),
    ]
    peers: list[tuple[str, list[str]] | None]
    if archive.suffix == ".zip":
        peers = [
            tool("unzip -q", "unzip", "-q", a, "-d", "{}"),
            tool("7z x", "7z", "x", "-y", "-bd", "-bso0", a, "-o{}"),
            tool("bsdtar", "bsdtar", "xf", a, "-C", "{}"),
            ("zipfile.extractall", [*CHILD, "zipfile", a, "{}"]),
            ("shutil.unpack_archive", [*CHILD, "shutil", a, "{}"]),
            ("torchvision extract_archive", [*CHILD, "torchvision", a, "{}"]),
            ("hayazip", [*CHILD, "hayazip", a, "{}"]),
        ]
        own += floors
    else:
        peers = [
            tool("tar xf", "tar", "xf", a, "-C", "{}"),
            tool("bsdtar", "bsdtar", "xf", a, "-C", "{}"),
            ("tarfile, data filter", [*CHILD, "tarfile", a, "{}"]),
        ]
        if archive.suffix == ".gz":
            peers.append(("shutil.unpack_archive", [*CHILD, "shutil", a, "{}"]))
            peers.append(("torchvision extract_archive", [*CHILD, "torchvision", a, "{}"]))
        own.append(("floor: decompress alone", [*CHILD, "decompress", a, "{}"]))
    return [peer for peer in peers if peer] + own


def once(command: list[str], to: str) -> float | None:
    """Run a tool into a fresh folder; return seconds, as the child says where it is ours, without its imports."""
    began = time.perf_counter()
    done = subprocess.run([part.replace("{}", to) for part in command], capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        return None
    return float(done.stdout.split()[-1]) if command[:2] == CHILD else wall


def pss_of(command: list[str], to: str) -> float | None:
    """Return the peak PSS in MB of a tool and its children, less a bare interpreter each where they are Python."""
    process = subprocess.Popen(
        [part.replace("{}", to) for part in command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    peak = 0.0
    while process.poll() is None:
        total = 0.0
        for pid in _session(process.pid):
            total += max(0.0, _pss(pid) - (BARE_MB if _is_python(pid) else 0))
        peak = max(peak, total)
        time.sleep(0.01)
    return peak


def _session(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                found.append(int(name))
    return found


def _pss(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0


def _is_python(pid: int) -> bool:
    try:
        return "python" in os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False


def bare_mb() -> float:
    process = subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE)
    time.sleep(0.3)
    found = _pss(process.pid)
    process.communicate(b"\n")
    return found


BARE_MB = 0.0


def check() -> float:
    """Return how much two busy processes slow each other: 1.0 is two cores of our own, 2.0 is one."""
    busy = [sys.executable, "-I", "-S", "-c", "sum(range(8_000_000))"]

    def wall(n: int) -> float:
        began = time.perf_counter()
        for process in [subprocess.Popen(busy) for _ in range(n)]:
            process.wait()
        return time.perf_counter() - began

    return wall(2) / wall(1)


def measure(key: str, archive: Path, base: Path, rounds: int, memory: bool, fresh: bool) -> None:
    on_tmpfs = str(base).startswith("/dev/shm")
    todo = engines(archive, not on_tmpfs)
    seconds: dict[str, list[float]] = {name: [] for name, _ in todo}
    keep = Path(tempfile.mkdtemp(prefix="extraction-", dir=base))
    before = check()
    try:
        for _ in range(rounds):
            for name, command in todo:
                to = tempfile.mkdtemp(dir=keep)
                if not on_tmpfs:
                    os.sync()  # what one tool left to be written is not another's to wait for
                took = once(command, to)
                if took is not None:
                    seconds[name].append(took)
                if on_tmpfs or key in ("W4",):
                    shutil.rmtree(to)
        peaks: dict[str, float | None] = {}
        for name, command in todo if memory else ():
            to = tempfile.mkdtemp(dir=keep)
            peaks[name] = pss_of(command, to)
            if on_tmpfs or key in ("W4",):
                shutil.rmtree(to)
    finally:
        after = check()
        if not fresh:
            shutil.rmtree(keep, ignore_errors=True)
    common_name = next(name for name, _ in todo if seconds[name])
    common = statistics.median(seconds[common_name])
    print(f"\n### {key}: {archive.name} on {base} ({rounds} rounds; check {before:.2f} before, {after:.2f} after)\n")
    print(f"| tool | median s | min s | times {common_name} | peak MB |\n|---|---|---|---|---|")
    for name, _ in todo:
        if seconds[name]:
            median = statistics.median(seconds[name])
            peak = f"{peaks[name]:.0f}" if peaks.get(name) is not None else ""
            print(f"| {name} | {median:.3f} | {min(seconds[name]):.3f} | {common / median:.2f} | {peak} |")
        else:
            print(f"| {name} | failed or not installed | | | |")
    sys.stdout.flush()


def slow_mount(archive: Path, base: Path, rounds: int) -> None:
    """A mount with 40 ms of delay and 12 MB/s for each stream: unpack from it, beside cp and unzip -q."""
    if not shutil.which("unzip"):
        return
    seconds: dict[str, list[float]] = {"cp && unzip -q": [], "datastage": [], "datastage, plain": []}
    before = check()
    for _ in range(rounds):
        for name, mode in (("cp && unzip -q", "slow-cp"), ("datastage", "slow"), ("datastage, plain", "slow-plain")):
            to = tempfile.mkdtemp(dir=base)
            took = once([*CHILD, mode, str(archive), "{}"], to)
            shutil.rmtree(to)
            if took is not None:
                seconds[name].append(took)
    common = statistics.median(seconds["cp && unzip -q"])
    print(
        f"\n### slow mount: {archive.name} on {base} (40 ms, 12 MB/s a stream; {rounds} rounds; check {before:.2f})\n"
    )
    print("| way | median s | min s | times cp && unzip -q |\n|---|---|---|---|")
    for name, found in seconds.items():
        median = statistics.median(found)
        print(f"| {name} | {median:.2f} | {min(found):.2f} | {common / median:.2f} |")
    sys.stdout.flush()


def fresh_disks(at: Path) -> list[Path]:
    """Make an ext4 in a file and mount it, and an overlay whose layers lie on it. Gone with the mount namespace."""
    image = at / "extraction-disk.img"
    with image.open("wb") as file:
        file.truncate(16 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "6000000", image], check=True)
    place = Path(tempfile.mkdtemp(prefix="extraction-disk-", dir=at))
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    image.unlink()
    for name in ("ext4", "lower", "upper", "work", "overlay"):
        (place / name).mkdir()
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, place / "overlay"], check=True)
    return [place / "ext4", place / "overlay"]


def main() -> None:
    global BARE_MB
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("/tmp/datastage-bench"), help="where the archives are kept")
    parser.add_argument("--on", type=Path, action="append", help="where to unpack; may be given several times")
    parser.add_argument("--fresh", action="store_true", help="on a new ext4, and on an overlay on it")
    parser.add_argument("--only", action="append", help="W1 to W5, ten, slow")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--no-memory", action="store_true")
    args = parser.parse_args()
    compileall.compile_dir(HERE.parent / "datastage", quiet=1)  # as an installed package is
    BARE_MB = bare_mb()
    archives = extraction_data.make(args.data, args.scale)
    places = args.on or ([] if args.fresh else [Path("/dev/shm"), Path("/var/tmp")])
    if args.fresh:
        places += fresh_disks(Path("/var/tmp"))
    versions = []
    for package in ("isal", "deflate", "zstandard", "lz4", "hayazip"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    cores = len(os.sched_getaffinity(0))
    extras = ", ".join(versions) or "no extras"
    print(f"{platform.platform()}, {cores} cores, Python {platform.python_version()}, {extras}")
    for base in places:
        for key, archive in archives.items():
            if args.only is None or any(key.startswith(only) for only in args.only):
                measure(key, archive, base, 30 if key == "ten" else args.rounds, not args.no_memory, args.fresh)
        if args.only is None or "slow" in args.only:
            slow_mount(archives["W1"], base, args.rounds)


if __name__ == "__main__":
    # A thread that never ends would keep a failed run alive.
    assert threading.active_count() == 1
    main()
