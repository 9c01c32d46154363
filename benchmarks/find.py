"""What looking for a dataset costs: 100,000 files of which none is wanted, and CIFAR-10's 186 MB where they are there.

    python benchmarks/find.py [--files 100000] [--runs 5]

Prints the machine, and for each case the median and the spread of wall seconds. Files are made in the temporary folder
and removed again. The disk is warm: this is what our own work costs. A network disk adds its own time for each file
whose size is asked for (pictures are not), so there the bound on seconds (`SearchLimits.seconds`) is met first.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datastage import datasets
from datastage.datasets import File
from datastage.sources.search import SearchLimits, SearchResult, find_files


def lay_out(folder: Path, n_files: int, suffix: str, n_folders: int) -> None:
    for number in range(n_folders):
        (folder / f"class_{number:04}").mkdir(parents=True)
    for number in range(n_files):
        (folder / f"class_{number % n_folders:04}" / f"{number:06}{suffix}").write_bytes(b"x" * (number % 7 + 1))


def timed(case: str, runs: int, work: Callable[[Path], SearchResult], expect: bool) -> None:
    seconds = []
    seen = ""
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as into:
            start = time.perf_counter()
            found = work(Path(into))
            seconds.append(time.perf_counter() - start)
            assert found.complete == expect, found
            seen = found.looked[0].seen
    print(f"{case:56} {statistics.median(seconds):7.3f} s   ({min(seconds):.3f} to {max(seconds):.3f})   {seen}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--folder", type=Path, default=None, help="where to make the files")
    given = options.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {given.runs} runs")
    top = Path(tempfile.mkdtemp(prefix="find-", dir=given.folder))
    limits = SearchLimits(seconds=10**9)
    entry = datasets.get("cifar10")

    def search(folder: Path, wanted: tuple[File, ...] = entry.files) -> Callable[[Path], SearchResult]:
        return lambda into: find_files([folder], wanted, into, lookalikes=entry.lookalikes, limits=limits)

    try:
        n = given.files
        lay_out(top / "pictures", n, ".jpg", 100)
        timed(f"{n:,} pictures in 100 folders, none wanted", given.runs, search(top / "pictures"), False)
        shutil.rmtree(top / "pictures")
        lay_out(top / "text", n, ".txt", 100)
        timed(f"{n:,} texts in 100 folders, none wanted", given.runs, search(top / "text"), False)
        shutil.rmtree(top / "text")
        lay_out(top / "one", n, "", 1)
        timed(f"{n:,} files without suffix in one folder", given.runs, search(top / "one"), False)
        shutil.rmtree(top / "one")
        with zipfile.ZipFile(top / "many.zip", "w") as archive:
            for number in range(n):
                archive.writestr(f"a/{number}.jpg", b"x" * 10)
        timed(f"a zip of {n:,} pictures, none wanted", given.runs, search(top / "many.zip"), False)
        os.remove(top / "many.zip")

        made = []
        (top / "cifar").mkdir()
        for number, file in enumerate(entry.files):
            data = os.urandom(1 << 20) * (file.size // (1 << 20)) + bytes([number]) * (file.size % (1 << 20))
            (top / "cifar" / f"{number}").write_bytes(data)
            made.append(File(file.path, file.size, hashlib.md5(data).hexdigest()))
        timed("186 MB in seven files, found, copied and hashed", given.runs, search(top / "cifar", tuple(made)), True)
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
