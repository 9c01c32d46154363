"""The public verbs of two checkouts in turn, on the same data, in the same hour.

    python benchmarks/before.py OTHER_CHECKOUT [--rounds 5] [--on /dev/shm] [--only zip]

Each verb runs in a process of its own, which times the verb without its imports; `command` times the whole process.
The table gives medians in seconds, their ratio (other / this: above 1 this checkout is quicker), and the peak memory of
the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
BEGIN = """
import json, os, resource, sys, time
sys.path.insert(0, sys.argv[1])
data, new = sys.argv[2:4]
os.environ["DATASTAGE_ROOT"] = new + "/root"
import datastage
assert datastage.__file__.startswith(sys.argv[1])
"""
END = """
peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([took, max(peaks) / 1024]))
"""
EPOCHS = """
import numpy as np, torch
def epoch():
    global took
    began = time.perf_counter()
    for x, y in loader: pass
    took = time.perf_counter() - began
"""
CIFAR = """
images = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), np.uint8)
labels = np.random.default_rng(1).integers(0, 10, 50_000)
loader = datastage.loaders({"train": (images, labels)}, batch_size=512, device="cpu", progress=False,
    augment=datastage.Augment(crop=4, flip=True), DTYPE).train
epoch(); epoch()
"""
PHOTOS = """
loader = datastage.loaders(data + "/photos", batch_size=64, size=128, test=0, dtype="uint8", device="cpu",
    cache=new + "/cache", progress=False, augment=datastage.Augment(scale=(.25, 1.), flip=True)).train
epoch()
"""


def verb(line: str, before: str = "") -> str:
    return f"{BEGIN}{before}\nbegan = time.perf_counter()\n{line}\ntook = time.perf_counter() - began\n{END}"


STAGE = "datastage.stage(data + '/{}', progress=False)"
RUNS = {
    "stage, zip of 20,000 small files": verb(STAGE.format("small.zip")),
    "extract, zip of 20,000 small files": verb("datastage.extract(data + '/small.zip', new + '/to', progress=False)"),
    "stage, zip of photos": verb(STAGE.format("photos.zip")),
    "stage, tar.gz": verb(STAGE.format("small.tar.gz")),
    "stage, a folder": verb("datastage.stage(data + '/photos', copy=True, progress=False)"),
    "stage again, 20,000 files": verb(STAGE.format("small.zip"), STAGE.format("small.zip")),
    "verify, 20,000 files": verb("datastage.verify(staged)", "staged = " + STAGE.format("small.zip")),
    "loaders, CIFAR shapes, float32, an epoch": BEGIN + EPOCHS + CIFAR.replace("DTYPE", "dtype='float32'") + END,
    "loaders, CIFAR shapes, uint8, an epoch": BEGIN + EPOCHS + CIFAR.replace("DTYPE", "dtype='uint8'") + END,
    "loaders, photos, first epoch": BEGIN + EPOCHS + PHOTOS + END,
    "loaders, photos, later epoch": BEGIN + EPOCHS + PHOTOS + "epoch()" + END,
    "command: stage, ten files": "",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("other", type=Path, nargs="?")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--on", type=Path, help="a folder on the disk to measure")
    options.add_argument("--only", default="")
    chosen = options.parse_args()
    if chosen.other is None:
        print("No other checkout was named; nothing was measured.")
        return
    scratch = Path(tempfile.mkdtemp(prefix="before-", dir=chosen.on))
    try:
        # In a process of its own: the peak of a process counts that of the one that started it.
        words = [sys.executable, "-c", "import sys, before, pathlib; before.make_data(pathlib.Path(sys.argv[1]))"]
        subprocess.run([*words, scratch / "data"], check=True, cwd=Path(__file__).parent)
        print(f"{'':<44}{'other s':>9}{'this s':>9}{'ratio':>8}{'other MB':>10}{'this MB':>9}")
        for name in (name for name in RUNS if chosen.only in name):
            seen: dict[Path, list] = {chosen.other.resolve(): [], HERE: []}
            for _ in range(chosen.rounds + 1):
                for checkout, found in seen.items():
                    found.append(timed(name, checkout, scratch))
            (other, most_other), (this, most_this) = (
                (statistics.median(took for took, _ in found[1:]), max(peak for _, peak in found[1:]))
                for found in seen.values()
            )
            print(f"{name:<44}{other:>9.3f}{this:>9.3f}{other / this:>7.2f}x{most_other:>10,.0f}{most_this:>9,.0f}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def timed(name: str, checkout: Path, scratch: Path) -> tuple[float, float]:
    """Run a verb of a checkout in a process of its own: seconds, megabytes."""
    new = scratch / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "DATASTAGE_ROOT": str(new / "root"), "HOME": str(new)}
    if RUNS[name]:
        words = [sys.executable, "-c", RUNS[name], str(checkout), str(scratch / "data"), str(new)]
        done = subprocess.run(words, env=env, cwd=new, check=True, capture_output=True, text=True)
        took, peak = json.loads(done.stdout.splitlines()[-1])
        return took, peak
    script = (
        "import json, resource, subprocess, sys, time\nbegan = time.perf_counter()\n"
        "subprocess.run([sys.executable, '-m', 'datastage', 'stage', sys.argv[1], '--quiet'], check=True,"
        " stdout=subprocess.DEVNULL)\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps([time.perf_counter() - began, peak]))"
    )
    words = [sys.executable, "-c", script, str(scratch / "data" / "ten.zip")]
    env["PYTHONPATH"] = str(checkout)
    done = subprocess.run(words, env=env, cwd=new, check=True, capture_output=True, text=True)
    took, peak = json.loads(done.stdout)
    return took, peak


def make_data(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    folder.mkdir()
    small = [(f"d{i % 100:02}/{i:05}.txt", rng.integers(0, 64, 1500, np.uint8).tobytes()) for i in range(20_000)]
    with zipfile.ZipFile(folder / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in small:
            archive.writestr(name, data)
    with zipfile.ZipFile(folder / "ten.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in small[:10]:
            archive.writestr(name, data)
    for i in range(600):
        file = folder / "photos" / f"class{i % 10}" / f"{i:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        layers = [rng.integers(0, 256, (375 // k + 1, 500 // k + 1, 3), np.uint8) for k in (125, 40, 12, 4)]
        sizes = [np.asarray(Image.fromarray(one).resize((500, 375)), np.float32) for one in layers]
        mixed = sum(weight * one for weight, one in zip((0.5, 0.25, 0.15, 0.1), sizes))
        Image.fromarray(mixed.astype(np.uint8)).save(file, quality=90)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for file in sorted((folder / "photos").rglob("*.jpg")):
            archive.write(file, file.relative_to(folder))
    with tarfile.open(folder / "small.tar.gz", "w:gz") as tar:
        tar.add(folder / "photos", "photos")


if __name__ == "__main__":
    main()
