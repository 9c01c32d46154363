"""Measure bringing bytes: datastage beside its peers, all in one run, on servers and mounts of the loopback.

    python benchmarks/transfer.py [--only limited] [--rounds 3] [--scale 1.0] [--on /dev/shm]

Prints the machine, the versions, and for each work a table: median, minimum, times the common tool, and the peak memory
of ours. Every tool is a command of its own, its start included; for those in Python also the time from where a running
notebook would begin. Ours hashes (sha256) what it brings; of the others only pooch does. Rounds go through all tools in
turn, so that a noisy minute hits all of them. What is not installed is left out and said.
Debian: nginx-light aria2 rclone curl wget unzip; PyPI: requests pooch.

- ``limited``: a server that gives each connection 4 MB/s, from its first byte on.
- ``nginx``: nginx with ``limit_rate 4m``, which lets the first second's bytes of each request through at once: small
  blocks profit from that, so this row flatters whoever asks for parts.
- ``free``: nginx without a limit, one large file.
- ``unpack``: a zip of photographs' size from the limited server to a folder of files.
- ``mount``: a file on a FUSE mount that delays reads by 5 ms and gives each open file 4 MB/s (as root).
- ``small``: 500 files of 20 kB on a mount that takes 20 ms for each name and each opening (as root).
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import importlib.metadata
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
SELF = [sys.executable, str(Path(__file__).resolve()), "--child"]
Tools = list[tuple[str, list[str] | str]]


# --- what a child runs


def child(words: list[str]) -> None:
    what, *rest = words
    if what == "serve":
        from tests.servers import Server

        server = Server()
        for word in rest:
            path, rate = word.split("=")
            server.serve(Path(path).name, Path(path).read_bytes(), rate_each=float(rate))
        print(server.port, flush=True)
        sys.stdin.read()
        os._exit(0)
    source, to = rest
    if what in ("requests", "pooch"):
        library = importlib.import_module(what)
        began = time.perf_counter()
        if what == "pooch":
            library.retrieve(source, None, fname=Path(to).name, path=Path(to).parent, progressbar=False)
        else:
            with library.get(source, stream=True, timeout=60) as response, open(to, "wb") as file:
                for piece in response.iter_content(512 * 1024):  # gdown's loop and size
                    file.write(piece)
    else:
        from datastage.archives import unpack
        from datastage.reader import FileReader
        from datastage.sources import http
        from datastage.transfer import ahead, copy_tree, fetch

        began = time.perf_counter()
        if what == "tree":
            copy_tree(Path(source), Path(to))
        elif what == "unpack":
            with ahead(http.open_url(source), Path(to + ".zip")) as near:
                unpack(near, Path(to))
                near.finish()
        else:
            reader = http.open_url(source) if "://" in source else FileReader(source)
            fetch(reader, Path(to), connections=1 if what == "one" else None)
    # Not ru_maxrss: it begins with what the process that started this one had.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(f"{time.perf_counter() - began:.3f} {int(peak.split()[1]) // 1024} MiB", file=sys.stderr)


# --- servers


@contextmanager
def limited_server(path: Path, rate: float) -> Iterator[str]:
    process = subprocess.Popen(
        [*SELF, "serve", f"{path}={rate}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        yield f"http://127.0.0.1:{port}/{path.name}"
    finally:
        process.communicate()


@contextmanager
def nginx(folder: Path, limit: str = "") -> Iterator[str]:
    port = random.randrange(20_000, 30_000)
    home = Path(tempfile.mkdtemp(prefix="nginx-"))
    user = "" if os.getuid() else "user root; "
    temporary = "".join(f"{k}_temp_path {home}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log {home}/log; worker_processes 1; {user}"
        "events { worker_connections 512; } http { access_log off; sendfile on; keepalive_requests 100000;"
        f"{temporary} server {{ listen 127.0.0.1:{port}; root {folder}; {limit} }} }}"
    )
    process = subprocess.Popen(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")], stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home)


# --- works


def downloaders(url: str, to: str, *, slow: bool) -> Tools:
    """Return the tools that bring an address to a file, the common one first."""
    aria = ["aria2c", "-x16", "-s16", "-k1M", "-q", "--file-allocation=none", "-d", str(Path(to).parent)]
    tools: Tools = [
        ("curl", ["curl", "-s", "-o", to, url]),
        ("wget", ["wget", "-q", "-O", to, url]),
        ("requests (as gdown reads)", [*SELF, "requests", url, to]),
        ("pooch", [*SELF, "pooch", url, to]),
        ("aria2c -x16 -k1M", [*aria, "-o", Path(to).name, url]),
        ("rclone copyurl", ["rclone", "-q", "copyurl", url, to]),
        ("curl && sha256sum", f"curl -s -o {to} {url} && sha256sum {to}"),
        ("datastage", [*SELF, "fetch", url, to]),
    ]
    if slow:
        tools = [tool for tool in tools if not isinstance(tool[1], str)]
    else:
        tools.append(("datastage, 1 connection", [*SELF, "one", url, to]))
    return tools


def installed(words: list[str] | str) -> bool:
    first = words.split()[0] if isinstance(words, str) else words[0]
    if words[-3:-2] in (["requests"], ["pooch"]):
        try:
            importlib.metadata.version(words[-3])
        except importlib.metadata.PackageNotFoundError:
            return False
    return shutil.which(first) is not None


def drop_cache(source: str) -> None:
    """Let the kernel forget what it read of a mount: everybody reads cold."""
    with open(source, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(title: str, tools: Tools, made: Path, rounds: int, cold: list[str] | None = None) -> None:
    print(f"\n## {title}")
    seconds: dict[str, list[float]] = {}
    memory: dict[str, str] = {}
    inside: dict[str, list[float]] = {}
    missing = [name for name, words in tools if not installed(words)]
    for _ in range(rounds):
        for name, words in tools:
            if name in missing:
                continue
            for left in made.parent.glob(made.name + "*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            if words[-3:-2] in (["unpack"], ["tree"]) or "unzip" in name or name.startswith(("cp -r", "rclone copy ")):
                made.mkdir()
            for path in cold or []:
                drop_cache(path)
            began = time.perf_counter()
            done = subprocess.run(words, shell=isinstance(words, str), capture_output=True, text=True)
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr}")
            if done.stderr.strip().endswith("MiB"):
                taken_inside, memory[name] = done.stderr.strip().splitlines()[-1].split(" ", 1)
                inside.setdefault(name, []).append(float(taken_inside))
    first = statistics.median(next(iter(seconds.values())))
    print(f"| tool | median s | min | times {next(iter(seconds))} | Python running already | peak memory |")
    print("|---|---|---|---|---|---|")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        shown = memory.get(name, "-") if name.startswith("datastage") else "-"
        own = f"{(m := statistics.median(inside[name])):.2f} s, {first / m:.1f}" if name in inside else "-"
        print(f"| {name} | {median:.2f} | {min(taken):.2f} | {first / median:.1f} | {own} | {shown} |", flush=True)
    if missing:
        print(f"not installed: {', '.join(missing)}")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    compileall.compile_dir(HERE.parent / "datastage", quiet=1)  # as an installed package is
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = ["limited", "nginx", "free", "unpack", "mount", "small"]
    parser.add_argument("--only", nargs="*", default=works, choices=works)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--on", default="/dev/shm", help="where files lie and go")
    asked = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Linux {platform.release()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(dir=asked.on) as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "www").mkdir()
        (folder / "to").mkdir()
        out = folder / "to" / "made"
        chance = random.Random(1)
        middle, large = folder / "www" / "middle.bin", folder / "www" / "large.bin"
        middle.write_bytes(chance.randbytes(int(64e6 * asked.scale)))
        if "limited" in asked.only:
            with limited_server(middle, 4e6) as url:
                measure("64 MB, 4 MB/s a connection", downloaders(url, str(out), slow=True), out, asked.rounds)
        if "nginx" in asked.only and shutil.which("nginx"):
            with nginx(folder / "www", "limit_rate 4m;") as url:
                tools = [
                    t
                    for t in downloaders(f"{url}/middle.bin", str(out), slow=True)
                    if t[0].startswith(("curl", "aria2c", "datastage"))
                ]
                measure("64 MB, nginx limit_rate 4m (with its burst for each request)", tools, out, asked.rounds)
        if "free" in asked.only and shutil.which("nginx"):
            with open(large, "wb") as file:
                for _ in range(int(16 * asked.scale) or 1):
                    file.write(chance.randbytes(1 << 25))
            with nginx(folder / "www") as url:
                tools = downloaders(f"{url}/large.bin", str(out), slow=False)
                measure(f"{large.stat().st_size / 1e6:.0f} MB, nginx, no limit", tools, out, asked.rounds)
            large.unlink()
        if "unpack" in asked.only:
            zipped = folder / "www" / "photos.zip"
            with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for number in range(int(480 * asked.scale) or 1):
                    archive.writestr(f"photos/{number % 10}/{number}.jpg", chance.randbytes(100_000))
            with limited_server(zipped, 4e6) as url:
                both = f"curl -s -o {out}.zip {url} && unzip -q {out}.zip -d {out}"
                tools = [
                    ("curl && unzip -q", both),
                    ("datastage, unpacking as it comes", [*SELF, "unpack", url, str(out)]),
                ]
                measure("a zip of 480 files of 100 kB, 4 MB/s a connection, to files", tools, out, asked.rounds)
        if ("mount" in asked.only or "small" in asked.only) and os.path.exists("/dev/fuse"):
            from tests.faulty_mount import FaultyMount

            mount = FaultyMount(folder / "behind", folder / "mount")
            stack.callback(mount.close)
            if "mount" in asked.only:
                shutil.copy(middle, folder / "behind" / "middle.bin")
                mount.faults(read_delay=0.005, rate=4e6)
                source = str(folder / "mount" / "middle.bin")
                tools = [
                    ("cp", ["cp", source, str(out)]),
                    ("rclone copyto", ["rclone", "-q", "copyto", source, str(out)]),
                    ("datastage", [*SELF, "fetch", source, str(out)]),
                ]
                measure("64 MB on a mount: 5 ms a read, 4 MB/s an open file", tools, out, asked.rounds, [source])
                (folder / "behind" / "middle.bin").unlink()
            if "small" in asked.only:
                (folder / "behind" / "many").mkdir()
                for number in range(int(500 * asked.scale) or 1):
                    (folder / "behind" / "many" / f"{number}.png").write_bytes(chance.randbytes(20_000))
                mount.faults(delay=0.02)
                source = str(folder / "mount" / "many")
                tools = [
                    ("cp -r", ["cp", "-r", source, str(out)]),
                    ("rclone copy --transfers 16", ["rclone", "-q", "copy", "--transfers", "16", source, str(out)]),
                    ("datastage", [*SELF, "tree", source, str(out)]),
                ]
                measure("500 files of 20 kB on a mount: 20 ms a name and 20 ms an opening", tools, out, asked.rounds)
    for name in ("requests", "pooch"):
        try:
            print(name, importlib.metadata.version(name), end="; ")
        except importlib.metadata.PackageNotFoundError:
            pass
    for name in ("curl", "wget", "aria2c", "rclone"):
        if shutil.which(name):
            print(subprocess.run([name, "--version"], capture_output=True, text=True).stdout.splitlines()[0], end="; ")
    print()


if __name__ == "__main__":
    main()
