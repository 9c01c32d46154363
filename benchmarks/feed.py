"""The feed beside its peers: CIFAR-10 shapes, photos, and a zip of photos, on the CPU.

    python benchmarks/feed.py                  all three, with the peers that are installed
    python benchmarks/feed.py cifar --rounds 7
    python benchmarks/feed.py --install DIR    make an environment with the peers in DIR, then run there

Every peer is run in the same process and round as ours, in turn; the table gives medians over the rounds, wall seconds
and processor seconds (worker processes included), and the ratio to torchvision's best setting. Pictures are made up
from a fixed seed; ``--photos FOLDER`` takes class folders of one's own. Peers that are absent are named and left out.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import feed_peers

import datastage
from datastage import Augment

PEERS = ("torchvision", "opencv-python-headless", "simplejpeg", "webdataset", "spdl", "tensorflow-cpu", "ffcv")
FFCV_NEEDS = ("setuptools", "wheel", "numba", "fastargs", "terminaltables", "pytorch-pfn-extras", "assertpy", "psutil")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
BATCH = 512
FIRST, ALONE = "datastage, first epoch, uint8", "decoding alone, a thread a core"
kept_alive = []


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", nargs="*", default=["cifar", "photos", "zip"])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--images", type=int, default=50_000, help="images of CIFAR-10's shape")
    options.add_argument(
        "--share", type=float, default=0.2, help="share of an epoch that slow peers run, then scaled up"
    )
    options.add_argument("--photos", type=Path, help="class folders of photos")
    options.add_argument("--n-photos", type=int, default=600, help="photos to make up where none are given")
    options.add_argument("--install", type=Path, help="make an environment with the peers there, and run in it")
    chosen = options.parse_args()
    if chosen.install:
        install(chosen.install)
    describe()
    scratch = Path(tempfile.mkdtemp(prefix="feed-"))
    try:
        for what in chosen.what:
            {"cifar": cifar, "photos": photos, "zip": zipped}[what](chosen, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def install(folder: Path) -> None:
    """Make an environment that sees this one's packages, install each peer that can be, and start again in it."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        ours, theirs = (
            subprocess.run([p, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True)
            for p in (sys.executable, python)
        )
        # torch is large, and the figures should be of the one that is here.
        Path(theirs.stdout.strip(), "here.pth").write_text(ours.stdout)
        for name in PEERS:
            if installed(name) != "absent":
                continue
            # FFCV is built here, for which OpenCV's and libjpeg-turbo's headers must be; what it asks for besides
            # cannot be installed any more (its requirement "sklearn" is none).
            options = ["--no-deps", "--no-build-isolation"] if name == "ffcv" else []
            needs = FFCV_NEEDS if name == "ffcv" else ()
            done = 0
            for step in ([*needs], [*options, name]):
                command = [python, "-m", "pip", "install", "-q", *step]
                done = done or (subprocess.run(command, capture_output=True).returncode if step else 0)
            print(f"{name}: {'installed' if not done else 'cannot be installed here'}", flush=True)
    arguments = [a for i, a in enumerate(sys.argv) if a != "--install" and sys.argv[i - 1] != "--install"]
    os.execv(python, [str(python), *arguments])


def describe() -> None:
    """Say what machine and versions the figures are of."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    names = ("numpy", "torch", "pillow", *PEERS)
    print(f"{platform.platform()}, {cores} cores, load {load:.1f} at the start, Python {platform.python_version()}")
    print(", ".join(f"{name} {installed(name)}" for name in names), flush=True)


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def torchvision():
    """Import torchvision; where it was built for another torch, its transforms work once two operators are declared."""
    try:
        library = torch.library.Library("torchvision", "DEF")
        kept_alive.append(library)
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass  # declared already
    try:
        import torchvision.transforms.v2  # noqa: F401

        return torchvision_module()
    except Exception as error:
        print(f"torchvision is left out: {error}")
        return None


def torchvision_module():
    import torchvision

    return torchvision


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rounds_of(contenders: dict, rounds: int) -> dict:
    """Time each contender once a round: name -> (median wall, median cpu, least wall), scaled to a whole epoch."""
    seen: dict = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            gc.collect()
            for thread in threading.enumerate():
                if thread.name == "datastage-keep":
                    thread.join()  # what ours writes to the disk after an epoch is not to slow the next contender
            wall, cpu = time.perf_counter(), cpu_s()
            share = run() or 1.0
            seen[name].append(((time.perf_counter() - wall) / share, (cpu_s() - cpu) / share))
    return {
        name: (statistics.median(w for w, _ in runs), statistics.median(c for _, c in runs), min(w for w, _ in runs))
        for name, runs in seen.items()
    }


def table(title: str, figures: dict, images: int, baseline: str) -> None:
    """Print medians, and ratios to the best of the rows whose name begins with `baseline`."""
    best = min((f for name, f in figures.items() if name.startswith(baseline)), default=None)
    print(f"\n{title}\n{'':<46}{'wall s':>9}{'(min)':>9}{'CPU s':>9}{'images/s':>11}{'wall':>8}{'CPU':>8}")
    for name, (wall, cpu, least) in figures.items():
        ratios = f"{best[0] / wall:>7.1f}x{best[1] / max(cpu, 1e-9):>7.1f}x" if best else ""
        print(f"{name:<46}{wall:>9.3f}{least:>9.3f}{cpu:>9.2f}{images / wall:>11,.0f}{ratios}", flush=True)


# --- CIFAR-10 shapes


def cifar(chosen, scratch: Path) -> None:
    n = chosen.images
    stored = np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), np.uint8)
    images, labels = stored.transpose(0, 2, 3, 1), np.random.default_rng(1).integers(0, 10, n)
    augment = Augment(crop=4, flip=True)

    def ours(**more):
        options = {"batch_size": BATCH, "augment": augment, "mean": MEAN, "std": STD, "device": "cpu", **more}
        return datastage.loaders({"train": (images, labels)}, progress=False, **options).train

    first = []
    for dtype in ("float32", "uint8"):
        began = time.perf_counter()
        next(iter(ours(dtype=dtype)))
        first.append(f"{dtype} {1000 * (time.perf_counter() - began):.0f} ms")
    loaders = {f"datastage, {dtype}": ours(dtype=dtype) for dtype in ("float32", "uint8")}
    contenders = {name: (lambda loader=loader: through(loader, None)) for name, loader in loaders.items()}
    tv = torchvision()
    if tv:
        contiguous = np.ascontiguousarray(images)
        # Reflecting costs torchvision four times what black padding does, so it is given both.
        ways = (("v1", 0, "constant"), ("v1", 2, "constant"), ("v1", 4, "constant"), ("v2", 2, "constant"))
        for generation, workers, pad in (*ways, ("v1", 2, "reflect")):
            name = f"torchvision {generation}, {workers} workers, {pad} padding"
            contenders[name] = torchvision_run(contiguous, labels, generation, workers, pad, chosen.share)
    contenders["airbench's way, torch on the CPU"] = lambda: airbench(stored, labels)
    contenders |= feed_peers.cifar(images, labels, BATCH, chosen.share, scratch)
    contenders["floor: uint8 to float32, in order"] = lambda: floor(stored)
    figures = rounds_of(contenders, chosen.rounds)
    table(f"CIFAR-10 shapes, {n:,} images, batch {BATCH}: crop 4, flip, normalise", figures, n, "torchvision")
    print(f"first batch after the call: {', '.join(first)}")


def through(loader, stop: int | None) -> float | None:
    for i, _ in enumerate(loader, 1):
        if i == stop:
            break
    return None if stop is None else min(1.0, stop / len(loader))


def torchvision_run(images, labels, generation: str, workers: int, pad: str, share: float):
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    if generation == "v1":
        from torchvision import transforms as t

        last = [t.ToTensor()]
    else:
        from torchvision.transforms import v2 as t

        last = [t.ToImage(), t.ToDtype(torch.float32, scale=True)]
    steps = t.Compose(
        [t.RandomCrop(32, padding=4, padding_mode=pad), t.RandomHorizontalFlip(), *last, t.Normalize(MEAN, STD)]
    )

    class Pictures(Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            return steps(Image.fromarray(images[i])), int(labels[i])

    loader = DataLoader(Pictures(), BATCH, shuffle=True, num_workers=workers)
    return lambda: through(loader, max(2 * max(workers, 1), int(share * len(loader))))


def airbench(stored, labels) -> None:
    """Do as airbench's CifarLoader: an epoch at once in torch, crops by masks, flips by halves."""
    with torch.no_grad():
        images = torch.from_numpy(stored).float().div_(255)
        images.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))
        padded = torch.nn.functional.pad(images, (4,) * 4, "reflect")
        mirrored = torch.rand(len(padded)) < 0.5
        padded[mirrored] = padded[mirrored].flip(-1)
        down, across = torch.randint(0, 9, (2, len(padded)))
        out = torch.empty_like(images)
        for y in range(9):
            for x in range(9):
                at = (down == y) & (across == x)
                out[at] = padded[at, :, y : y + 32, x : x + 32]
        order = torch.randperm(len(out))
        for start in range(0, len(out), BATCH):
            out[order[start : start + BATCH]]


def floor(stored) -> None:
    out = np.empty((BATCH, *stored.shape[1:]), np.float32)
    for start in range(0, len(stored), BATCH):
        part = stored[start : start + BATCH]
        np.copyto(out[: len(part)], part)


# --- photos


def made_up_photos(folder: Path, n: int) -> Path:
    """Write photos of 500 x 375 with detail at every scale, about 50 KB each, in ten class folders."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(n):
        layers = [
            Image.fromarray(rng.integers(0, 256, (375 // k + 1, 500 // k + 1, 3), np.uint8)).resize((500, 375))
            for k in (125, 40, 12, 4)
        ]
        mixed = sum(weight * np.asarray(layer, np.float32) for weight, layer in zip((0.5, 0.25, 0.15, 0.1), layers))
        file = folder / f"class{i % 10}" / f"{i:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mixed.astype(np.uint8)).save(file, quality=90)
    return folder


def photos(chosen, scratch: Path) -> None:
    folder = chosen.photos or made_up_photos(scratch / "photos", chosen.n_photos)
    files = sorted(folder.rglob("*.jpg"))
    size, augment, count = 224, Augment(scale=(0.25, 1.0), flip=True), iter(range(10**6))

    def ours(cache: str, **more):
        options = {"batch_size": 64, "size": size, "test": 0, "augment": augment, "device": "cpu", "dtype": "uint8"}
        return datastage.loaders(folder, progress=False, cache=scratch / cache, **options | more).train

    def first() -> None:
        through(ours(f"cache{next(count)}"), None)

    def later(dtype: str, memory_format: str):
        loader = ours("kept", dtype=dtype, memory_format=memory_format)
        through(loader, None)
        return lambda: through(loader, None)

    contenders = {
        FIRST: first,
        ALONE: decoding_alone(files),
        f"{ALONE}, and resizing": decoding_alone(files, kept=round(size * 256 / 224)),
        "datastage, later epochs, uint8, channels last": later("uint8", "channels_last"),
        "datastage, later epochs, uint8": later("uint8", "contiguous"),
        "datastage, later epochs, float32": later("float32", "contiguous"),
    }
    if torchvision():
        for workers in (0, 2, 4):
            contenders[f"torchvision ImageFolder, {workers} workers"] = image_folder(folder, size, workers)
    contenders |= feed_peers.photos(files, size, (0.25, 1.0), 1.0, scratch)
    figures = rounds_of(contenders, chosen.rounds)
    title = f"{len(files):,} photos to {size}, random-resized crop and flip"
    table(title, figures, len(files), "torchvision")
    for name in (ALONE, f"{ALONE}, and resizing"):
        wall, cpu = (figures[name][i] / figures[FIRST][i] for i in (0, 1))
        print(f"{name}: {wall:.0%} of the wall time of the first epoch, {cpu:.0%} of its processor time")
    if Path("/proc/self/status").exists():
        next(iter(ours("watched")))
        before, loader = resident_mb(), ours("watched too")
        most = max(resident_mb() for _ in loader)
        packed = sum(file.stat().st_size for file in (scratch / "watched too").iterdir()) / 1e6
        print(f"memory while {packed:,.0f} MB were packed: {most - before:,.0f} MB more than before")
    decoders(files[:64])


def decoding_alone(files: list[Path], kept: int = 0):
    """Return what decodes all the photos by a thread a core and does nothing else, or resizes them besides."""
    from concurrent.futures import ThreadPoolExecutor

    from datastage.decode import Fit, best, decode

    def some(part: list[Path]) -> None:
        for file in part:
            pixels = decode(file.read_bytes(), None, best())
            if kept:
                Fit((kept, kept)).apply(pixels)

    def run() -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(some, [files[i : i + 8] for i in range(0, len(files), 8)]):
                pass

    return run


def resident_mb() -> float:
    """Return the memory that this process has, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def image_folder(folder: Path, size: int, workers: int):
    from torch.utils.data import DataLoader
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder

    crop = t.RandomResizedCrop(size, (0.25, 1.0), antialias=True)
    steps = t.Compose([crop, t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)])
    loader = DataLoader(ImageFolder(str(folder), steps), 64, shuffle=True, num_workers=workers)
    return lambda: through(loader, None)


def decoders(files: list[Path]) -> None:
    """Time each decoder that is here, one thread: to 256 pixels, and alone."""
    from datastage.decode import JPEG_DECODERS, Fit, decode

    data = [file.read_bytes() for file in files]
    print("\ndecoder, one thread" + " " * 27 + "decode/s   with resize/s")
    for name in JPEG_DECODERS:
        began = time.perf_counter()
        for d in data:
            decode(d, None, name)
        alone = len(data) / (time.perf_counter() - began)
        began = time.perf_counter()
        for d in data:
            Fit((256, 256)).apply(decode(d, Fit((256, 256)), name))
        print(f"{name:<46}{alone:>8,.0f}{len(data) / (time.perf_counter() - began):>14,.0f}", flush=True)


# --- a zip of photos


def zipped(chosen, scratch: Path) -> None:
    folder = chosen.photos or made_up_photos(scratch / "to zip", chosen.n_photos)
    archive = scratch / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for file in sorted(folder.rglob("*.jpg")):
            out.write(file, file.relative_to(folder.parent))
    size, count = 224, iter(range(10**6))

    def ours() -> None:
        cache = scratch / f"zip cache{next(count)}"
        options = {"batch_size": 256, "size": size, "test": 0, "dtype": "uint8", "device": "cpu", "progress": False}
        next(iter(datastage.loaders(archive, cache=cache, **options).train))

    def unzipped() -> Path:
        to = scratch / f"unzipped{next(count)}"
        subprocess.run(["unzip", "-q", archive, "-d", to], check=True)
        return to

    contenders = {"datastage, zip to first batch": ours}
    if shutil.which("unzip"):
        contenders["unzip -q alone"] = lambda: unzipped() and None
        if torchvision():
            for workers in (0, 2):
                contenders[f"torchvision after unzip, {workers} workers"] = lambda workers=workers: first_of(
                    unzipped(), size, workers
                )
        if installed("tensorflow-cpu") != "absent":

            def tf_after() -> None:
                feed_peers.tf_first(sorted(unzipped().rglob("*.jpg")), size, 256)

            contenders |= feed_peers.tried("tf.data after unzip", lambda: tf_after)
    figures = rounds_of(contenders, chosen.rounds)
    table("a zip of photos to the first batch of 256", figures, 256, "torchvision")


def first_of(folder: Path, size: int, workers: int) -> None:
    from torch.utils.data import DataLoader
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder

    steps = t.Compose([t.Resize(size), t.CenterCrop(size), t.ToTensor()])
    (top,) = [f for f in folder.iterdir() if f.is_dir()]
    next(iter(DataLoader(ImageFolder(str(top), steps), 256, shuffle=True, num_workers=workers)))


if __name__ == "__main__":
    main()
