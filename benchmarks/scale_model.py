"""What staging, packing and feeding cost from 10^4 to 10^9 photos, on 1 to 1,000 nodes: the tables of docs/SCALE.md.

The constants of this machine are measured (`measure`), those of networks and stores are stated (`STATED`); the rest is
arithmetic. ``--write`` puts tables and charts into docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

import datastage
from datastage import layouts
from datastage.decode import best, decode
from datastage.packing.plan import plan_of, samples_of
from datastage.packing.shard_file import packed
from datastage.shards.index import ShardEntry, ShardIndex, write_index

DOCS = Path(__file__).resolve().parents[1] / "docs"
SAMPLES = [10**k for k in range(4, 10)]
NODES = [1, 8, 64, 1000]
LINK = "bytes/s that a node reads from a store"
STATED = {
    "cores of a node": 8,
    LINK: 1.0e9,
    "bytes/s of one connection": 8.0e6,
    "s until the first byte of a request": 0.03,
    "requests/s of a store for one prefix": 5_500.0,
    "samples/s that a node's accelerator takes": 4_000.0,
    "bytes of memory for a plan": 16.0e9,
    "bytes of a node's fast disk": 1.0e12,
    "bytes of a photo as taken": 110_000.0,
    "bytes of memory for a file that is staged": 250.0,
    "bytes of a shard": 256.0e6,
}
ROUNDS = 7
WINDOW = 4
"""Shards whose lists of members are held at a time, about."""


def photo(seed: int) -> bytes:
    """Return a JPEG of 500 x 375 with as much detail as photos have: about 110 kB."""
    import io

    from PIL import Image

    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 255, (31, 42, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    pixels = np.clip(np.asarray(rough).astype(int) + rng.integers(-14, 14, (375, 500, 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=92)
    return out.getvalue()


def cpu_seconds(work, n: int) -> float:
    """Return the CPU seconds of this thread for one call: the median of rounds, each over `n` calls."""
    work(0)
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for i in range(n):
            work(i)
        found.append((time.thread_time() - began) / n)
    return statistics.median(found)


def measure() -> dict[str, float]:
    """Return the constants of this machine and of our formats."""
    photos = [photo(i) for i in range(20)]
    small = [packed(data, 256) for data in photos]
    constants = {
        "CPU s to pack a photo with size=256": cpu_seconds(lambda i: packed(photos[i % 20], 256), 40),
        "CPU s to pack a photo as it is": cpu_seconds(lambda i: packed(photos[i % 20], None), 200),
        "CPU s to decode a packed photo": cpu_seconds(lambda i: decode(small[i % 20], None, best()), 40),
        "bytes of a packed photo": float(statistics.mean(map(len, small))),
    }
    names = [f"class{i % 1000:04}/photo_{i:09}.jpg" for i in range(100_000)]
    reading = layouts.Reading("made", splits={"train": layouts.Split(names, [0] * len(names))})
    lengths = dict.fromkeys(names, 110_000)
    began = time.thread_time()
    plan_of(samples_of(reading, lengths), 256_000_000, None, [])
    constants["CPU s to plan a sample"] = (time.thread_time() - began) / len(names)
    tracemalloc.start()
    plan_of(samples_of(reading, lengths), 256_000_000, None, [])
    constants["bytes of memory to plan a sample"] = tracemalloc.get_traced_memory()[1] / len(names)
    tracemalloc.stop()
    with tempfile.TemporaryDirectory() as folder:
        for i, data in enumerate(photos):
            path = Path(folder, "photos", f"class{i % 2:04}", f"photo_{i:09}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        made = datastage.pack(Path(folder, "photos"), Path(folder, "shards"), test=0, progress=False)
        listed = Path(folder, "shards", "train-000000.tar.index").stat().st_size
        constants["bytes of a shard's list for a sample"] = listed / made.samples
        constants["bytes of a tar for a sample beside its picture"] = (
            made.index.shards[0].size - sum(map(len, photos))
        ) / made.samples
    entry = ShardEntry("train-000000.tar", 256_000_000, "0" * 64, 10_000)
    constants["bytes of the index for a shard"] = float(len(write_index(ShardIndex((entry,) * 1000))) / 1000)
    return constants


def costs(n: int, nodes: int, c: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return what each step costs for `n` photos on `nodes` nodes."""
    cores, link = c["cores of a node"], c[LINK]
    first, prefix = c["s until the first byte of a request"], c["requests/s of a store for one prefix"]
    raw, small = (
        c["bytes of a photo as taken"],
        c["bytes of a packed photo"] + c["bytes of a tar for a sample beside its picture"],
    )
    shards = max(1.0, n * small / c["bytes of a shard"])
    takes = c["samples/s that a node's accelerator takes"]
    listed = c["bytes of memory for a file that is staged"]
    at_once = link / c["bytes/s of one connection"]
    lists = c["bytes of a shard's list for a sample"] * c["bytes of a shard"] / small
    decode_s = n * c["CPU s to decode a packed photo"] / cores / nodes
    files_s = max(n * raw / link, n * first / at_once, n * nodes / prefix)
    return {
        "files, staged on each node": {
            "seconds": files_s, "requests": n * nodes, "bytes": n * raw * nodes, "disk": n * raw, "memory": listed * n,
        },
        "one archive, staged on each node": {
            "seconds": n * raw / link, "requests": n * raw / 8e6 * nodes, "bytes": n * raw * nodes, "disk": n * raw,
            "memory": listed * n,
        },
        "pack, size=256": {
            "seconds": n * max(c["CPU s to pack a photo with size=256"] / cores, raw / link) / nodes
            + n * c["CPU s to plan a sample"],
            "requests": n + 3 * shards, "bytes": n * (raw + small), "disk": cores * c["bytes of a shard"],
            "memory": n * c["bytes of memory to plan a sample"],
        },
        "an epoch from shards": {
            "seconds": max(n * small / link / nodes, decode_s, n / takes / nodes),
            "requests": shards,
            "bytes": n * small,
            "disk": min(n * small / nodes, c["bytes of a node's fast disk"] / 2),
            "memory": shards * c["bytes of the index for a shard"] + WINDOW * lists,
        },
    }  # fmt: skip


def limits(c: dict[str, float]) -> list[tuple[str, str]]:
    """Return where each choice stops being right, from the constants."""
    small = c["bytes of a packed photo"]
    disk = c["bytes of a node's fast disk"]
    plan = c["bytes of memory for a plan"] / c["bytes of memory to plan a sample"]
    prefix = c["requests/s of a store for one prefix"]
    nodes = prefix * c["bytes of a shard"] / c[LINK]
    per_core = 1 / c["CPU s to decode a packed photo"]
    photo, cores = c["bytes of a photo as taken"], c["cores of a node"]
    memory, shard, link = (c[k] for k in ("bytes of memory for a plan", "bytes of a shard", LINK))
    return [
        ("files, one by one", f"{count(3_600 * prefix)} photos take an hour at {count(prefix)} requests a second"),
        ("one archive on each node", f"{count(disk / photo)} photos as taken fill a disk of {size(disk)}"),
        ("shards whole on each node", f"{count(disk / small)} packed photos fill it"),
        ("one process plans all", f"{count(plan)} photos take {size(memory)} of memory"),
        ("one prefix of a store", f"{count(nodes)} nodes, each with {size(link)} a second of {size(shard)} shards"),
        ("decoding on the node's cores", f"{count(per_core * cores)} photos a second on {cores:.0f} cores"),
    ]


# --- words, tables, charts


def count(n: float) -> str:
    """Return a number of things with two digits that count."""
    for unit, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if n >= unit:
            return f"{n / unit:.2g}{name}" if n < 99.5 * unit else f"{n / unit:.0f}{name}"
    return f"{n:.3g}"


def size(n: float) -> str:
    """Return bytes in powers of ten."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= 0.9995 * unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:.0f} B"


def span(s: float) -> str:
    """Return a time."""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if s >= unit:
            return f"{s / unit:.3g} {name}"
    return f"{s:.2g} s"


SHOWN = {"seconds": span, "requests": count, "bytes": size, "disk": size, "memory": size}


def tables(c: dict[str, float]) -> str:
    """Return the part of docs/SCALE.md that is made here."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [f"Measured on {where}: CPU seconds of one thread, medians of {ROUNDS} rounds.", ""]
    lines += ["| constant | value | |", "|---|---|---|"]
    for name, value in c.items():
        shown = f"{value * 1e6:,.0f} µs" if name.startswith("CPU s") else f"{value:,.4g}"
        if value >= 1e6:
            shown = f"{value:,.0f}"
        lines.append(f"| {name} | {shown} | {'stated' if name in STATED else 'measured'} |")
    columns = [f"{n:,} node{'s' * (n > 1)}" for n in NODES]
    last = ("requests", "bytes", "disk", "memory")
    for way in costs(SAMPLES[0], 1, c):
        titles = ["photos", *columns, "requests", "bytes moved", "disk of a node", "memory"]
        lines += ["", f"### {way[0].upper() + way[1:]}", "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        for n in SAMPLES:
            times = [span(costs(n, nodes, c)[way]["seconds"]) for nodes in NODES]
            rest = [SHOWN[key](costs(n, 1, c)[way][key]) for key in last]
            lines.append(f"| {' | '.join([count(n), *times, *rest])} |")
    lines += ["", "Requests, bytes, disk and memory are those of one node.", ""]
    lines += ["### Where each choice stops", "", "| choice | ends at |", "|---|---|"]
    lines += [f"| {choice} | {end} |" for choice, end in limits(c)]
    return "\n".join(lines)


def chart(c: dict[str, float], key: str, nodes: int, title: str) -> str:
    """Return a chart of all ways over the number of photos, both axes logarithmic, as SVG."""
    import math

    ways = list(costs(SAMPLES[0], nodes, c))
    values = {way: [max(1e-3, costs(n, nodes, c)[way][key]) for n in SAMPLES] for way in ways}
    low, high = (f(math.log10(v) for row in values.values() for v in row) for f in (min, max))
    low, high = math.floor(low), math.ceil(high)
    colours = ("#c62828", "#ef6c00", "#283593", "#00695c")

    def at(i: int, v: float) -> tuple[float, float]:
        return 70 + i * 100, 290 - 250 * (math.log10(v) - low) / max(1, high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 340" font-family="sans-serif" font-size="12">',
        '<rect width="800" height="340" fill="white"/>',
        f'<text x="70" y="20" font-size="14">{title}</text>',
    ]
    for power in range(low, high + 1):
        y, words = at(0, 10.0**power)[1], SHOWN[key](10.0**power)
        parts.append(f'<path d="M70 {y:.1f}H580" stroke="#ddd"/>')
        parts.append(f'<text x="64" y="{y + 4:.1f}" text-anchor="end">{words}</text>')
    for i, n in enumerate(SAMPLES):
        parts.append(f'<text x="{70 + i * 100}" y="310" text-anchor="middle">{count(n)}</text>')
    placed: dict[str, float] = {}
    for y, way in sorted((at(5, row[-1])[1], way) for way, row in values.items()):
        placed[way] = max([y, *(other + 15 for other in placed.values())])
    for (way, row), colour in zip(values.items(), colours, strict=True):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(i, v) for i, v in enumerate(row)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="580" y="{placed[way] + 4:.1f}" fill="{colour}">{way}</text>')
    return "\n".join([*parts, '<text x="320" y="332" text-anchor="middle">photos</text>', "</svg>"]) + "\n"


CHARTS = {
    "scale-time.svg": ("seconds", 8, "Time on 8 nodes"),
    "scale-requests.svg": ("requests", 8, "Requests, 8 nodes together"),
    "scale-disk.svg": ("disk", 8, "Disk of each of 8 nodes"),
}


def main() -> None:
    """Measure, print the tables, and put them into docs/ if asked."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--write", action="store_true", help="put tables and charts into docs/")
    asked.add_argument("--constants", type=Path, help="take these measured constants (JSON) instead of measuring")
    options = asked.parse_args()
    measured = json.loads(options.constants.read_text()) if options.constants else measure()
    constants = {**measured, **STATED}
    text = tables(constants)
    print(text)
    if options.write:
        page = DOCS / "SCALE.md"
        marked = re.sub(
            r"(<!-- tables -->\n).*?(<!-- end -->)",
            lambda m: m[1] + text + "\n" + m[2],
            page.read_text("utf-8"),
            flags=re.S,
        )
        page.write_text(marked, "utf-8")
        for name, (key, nodes, title) in CHARTS.items():
            (DOCS / name).write_text(chart(constants, key, nodes, title), "utf-8")


if __name__ == "__main__":
    main()
