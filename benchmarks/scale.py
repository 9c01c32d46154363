"""Training from shards beside webdataset, litdata, mosaicml-streaming and ImageFolder; packing on one core and two.

``make scale`` makes an environment for each peer (``.venv-scale-*``) and runs this. Every feed runs in a process of its
own, the peers in turn, round by round; ratios are of medians. The store is a server on loopback that gives each
connection 8 MB/s.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = {"ImageFolder": "litdata", "webdataset": "webdataset", "litdata": "litdata", "mosaicml-streaming": "mosaic"}
"""Each peer, and the environment that it runs in."""
BATCH, SIDE, WORKERS, LINK = 64, 224, 2, 8_000_000


# --- the parent: makes the data, starts the processes, prints


def main() -> None:
    """Make the photos and shards, run all parts that were asked for, and print ratios."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--photos", type=int, default=4000)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--work", type=Path, default=ROOT / "build" / "scale")
    asked.add_argument("--parts", nargs="*", default=["pack", "feed", "store", "memory"])
    asked.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.child:
        kind, *words = options.child
        print("RESULT", json.dumps(CHILDREN[kind](*words)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    photos = made_photos(options.work / f"photos-{options.photos}", options.photos)
    print(f"{options.photos:,} photos of 500 x 375, {os.cpu_count()} cores, {options.rounds} rounds")
    parts = {"pack": packing, "feed": feeding, "store": from_store, "memory": memory}
    for name in options.parts:
        parts[name](options, photos)


def made_photos(folder: Path, n: int) -> Path:
    """Write photos in ten class folders, once."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.scale_model import photo

    if not folder.exists():
        unfinished = folder.with_name(folder.name + ".partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        for i in range(n):
            path = unfinished / "train" / f"class{i % 10}" / f"{i:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(i))
        unfinished.rename(folder)
    return folder


def child(env: str | None, *words: object, cores: int = 2) -> dict[str, float] | None:
    """Run this script in an environment, on so many cores; None, with a line that says why, where it does not work."""
    python = sys.executable if env is None else str(ROOT / f".venv-scale-{env}" / "bin" / "python")
    if not Path(python).exists():
        print(f"  left out: there is no {python}")
        return None
    command = [python, __file__, "--child", *map(str, words)]
    if shutil.which("taskset"):
        command = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores])), *command]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        why = (done.stderr.strip().splitlines() or ["no result"])[-1][:200]
        print(f"  {' '.join(map(str, words[:2]))} is left out: {why}")
        return None
    return json.loads(lines[-1][7:])


def median(runs: list[dict[str, float]], key: str) -> float:
    """Return the median of a figure over the runs."""
    return statistics.median(run[key] for run in runs)


def packing(options: argparse.Namespace, photos: Path) -> None:
    """Time packing with ``--size 256`` on one core and on two."""
    for engine, env, wanted in (("local", None, 1.8), ("ray", "ray", 1.4)):
        runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for cores in runs:
                shutil.rmtree(options.work / "packed", ignore_errors=True)
                if (got := child(env, "pack", photos, options.work / "packed", engine, cores, cores=cores)) is not None:
                    runs[cores].append(got)
        if all(runs.values()):
            rates = [options.photos / median(runs[cores], "seconds") for cores in (1, 2)]
            print(f"packing, {engine:5}: {rates[0]:,.0f} photos/s on one core, {rates[1]:,.0f} on two")
            print(f"packing, {engine:5}: {rates[1] / rates[0]:.2f} times (wanted {wanted})")


def small_shards(options: argparse.Namespace, photos: Path) -> Path:
    """Return the folder of shards that all peers' data is made of."""
    shards = options.work / f"shards-{options.photos}"
    child(None, "pack", photos, shards, "local", 2)
    return shards


def feeding(options: argparse.Namespace, photos: Path) -> None:
    """Time the first epoch and later ones, from local shards."""
    shards = small_shards(options, photos)
    ways = {"datastage": None, **PEERS}
    runs: dict[str, list[dict[str, float]]] = {}
    for way, env in list(ways.items()):
        if way != "datastage" and child(env, "prepare", way, shards, options.work) is None:
            del ways[way]
    for _ in range(options.rounds):
        for way, env in ways.items():
            if (got := child(env, "feed", way, shards, options.work)) is not None:
                runs.setdefault(way, []).append(got)
    for way, rows in runs.items():
        first, later, peak = (median(rows, key) for key in ("first", "later", "peak_mb"))
        print(f"{way:20} first epoch {first:7,.0f} samples/s, later {later:7,.0f}, peak {peak:,.0f} MB")
    others = [rows for way, rows in runs.items() if way != "datastage"]
    if "datastage" in runs and others:
        for key, wanted in (("first", 1.5), ("later", 8)):
            ratio = median(runs["datastage"], key) / max(median(rows, key) for rows in others)
            print(f"{key} epoch: {ratio:.2f} times the best peer (wanted {wanted})")


def from_store(options: argparse.Namespace, photos: Path) -> None:
    """Read shards from the throttled store: the share of the link, and what had come at the first batch."""
    shards = small_shards(options, photos)
    names = sorted(path.name for path in shards.glob("train-*.tar"))
    runs = []
    for _ in range(options.rounds):
        with Store(shards) as store:
            address = f"{store.address}/train-{{000000..{len(names) - 1:06}}}.tar"
            if (got := child(None, "store", address)) is not None:
                runs.append(
                    {
                        **got,
                        "link": store.share(),
                        "at_first": store.at(got["first_batch_at"]) / (shards / names[0]).stat().st_size,
                    }
                )
    if runs:
        print(f"from a store of {LINK / 1e6:.0f} MB/s a connection: {median(runs, 'link'):.0%} of it (wanted 90 %)")
        print(f"shards that had come at the first batch: {median(runs, 'at_first'):.2f} (wanted below 2)")


def memory(options: argparse.Namespace, photos: Path) -> None:
    """Compare the peak of an epoch over a quarter of the shards with that over all."""
    shards = small_shards(options, photos)
    names = sorted(shards.glob("train-*.tar"))
    few = options.work / "few"
    shutil.rmtree(few, ignore_errors=True)
    few.mkdir()
    for path in names[: max(1, len(names) // 4)]:
        os.link(path, few / path.name)
    found = [child(None, "feed", "datastage", folder, options.work) for folder in (few, shards)]
    if all(found):
        for key, what in (("own_mb", "memory"), ("peak_mb", "with files that are mapped, which the system may drop")):
            few_mb, all_mb = (each[key] for each in found)
            print(f"{what}: {few_mb:,.0f} MB over a quarter of the {len(names)} shards, {all_mb:,.0f} MB over all")


class Store:
    """A server of files that gives each connection `LINK` bytes a second, and knows what went out when."""

    def __init__(self, folder: Path) -> None:
        self._sent: list[tuple[float, int]] = []
        store, lock = self, threading.Lock()

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                path = Path(self.translate_path(self.path))
                if not path.is_file():
                    return self.send_error(404)
                size, (start, stop) = path.stat().st_size, (0, path.stat().st_size)
                if asked := self.headers.get("Range"):
                    first, _, last = asked.removeprefix("bytes=").partition("-")
                    start, stop = int(first), min(size, int(last) + 1 if last else size)
                self.send_response(206 if asked else 200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("ETag", f'"{size}"')
                self.send_header("Content-Length", str(stop - start))
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
                self.end_headers()
                began, sent = time.monotonic(), 0
                with path.open("rb") as file:
                    file.seek(start)
                    while piece := file.read(min(64 << 10, stop - start - sent)):
                        self.wfile.write(piece)
                        sent += len(piece)
                        with lock:
                            store._sent.append((time.time(), len(piece)))
                        time.sleep(max(0.0, began + sent / LINK - time.monotonic()))

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Store:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def at(self, when: float) -> float:
        """Return how many bytes had gone out by then."""
        return sum(n for t, n in self._sent if t <= when)

    def share(self) -> float:
        """Return the share of one connection's link that was used, from the first byte to the last."""
        times = [t for t, _ in self._sent]
        return sum(n for _, n in self._sent) / max(1e-9, max(times) - min(times)) / LINK


# --- the children: each one way, in its own environment


def peak_mb() -> float:
    """Return the most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class OwnMemory:
    """The most memory of this process that is no file's, looked at fifty times a second."""

    def __enter__(self) -> OwnMemory:
        self.mb, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._end.wait(0.02):
            kb = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
            self.mb = max(self.mb, int(kb[1]) / 1e3 if kb else 0)

    def __exit__(self, *raised: object) -> None:
        self._end.set()
        self._thread.join()


def child_pack(photos: str, to: str, engine: str, cores: str) -> dict[str, float]:
    """Pack, and return the seconds without imports."""
    import datastage

    if engine == "ray":
        import ray

        ray.init(num_cpus=int(cores), log_to_driver=False)
        ray.data.range(2).map(lambda row: row).take_all()  # workers are there before the clock starts
    began = time.monotonic()
    datastage.pack(photos, to, shards="6MB", size=256, engine=engine, test=0, progress=False)  # type: ignore[arg-type]
    return {"seconds": time.monotonic() - began}


def epochs(loader: object) -> dict[str, float]:
    """Run three epochs; return samples a second of the first, and of the quicker of the later ones."""
    rates = []
    with OwnMemory() as own:
        for _ in range(3):
            began, n = time.monotonic(), 0
            for batch in loader:  # type: ignore[attr-defined]
                n += len(batch[0] if isinstance(batch, tuple | list) else batch["image"])
            rates.append(n / (time.monotonic() - began))
    return {"first": rates[0], "later": max(rates[1:]), "peak_mb": peak_mb(), "own_mb": own.mb}


def declare_operators() -> None:
    """Declare what a torchvision built for CUDA asks of a torch built for the CPU; the peers import it."""
    import torch

    declare_operators.library = torch.library.Library("torchvision", "DEF")  # type: ignore[attr-defined]
    for operator in ("nms(Tensor x) -> Tensor", "qnms(Tensor x) -> Tensor"):
        with contextlib.suppress(RuntimeError):
            declare_operators.library.define(operator)  # type: ignore[attr-defined]


def child_feed(way: str, shards: str, work: str) -> dict[str, float]:
    """Run a way's epochs over the same photos."""
    if way != "datastage":
        declare_operators()
    return epochs(LOADERS[way](shards, work))


def ours(shards: str, work: str) -> object:
    """Return our loader."""
    import datastage

    return datastage.loaders(shards, batch_size=BATCH, size=SIDE, test=0, device="cpu", progress=False).train


def to_tensor(image: object) -> object:
    """Cut the middle out of a PIL image and return floats (3, SIDE, SIDE)."""
    from torchvision.transforms import functional as f

    return f.to_tensor(f.center_crop(image, [SIDE, SIDE]))


def cut(sample: tuple[object, int]) -> tuple[object, int]:
    """Return a sample as a tensor and a label."""
    return to_tensor(sample[0]), sample[1]


def webdataset_loader(shards: str, work: str) -> object:
    """Return webdataset's loader, as its documentation has it."""
    import webdataset as wds

    urls = sorted(map(str, Path(shards).glob("train-*.tar")))
    dataset = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000).decode("pil").to_tuple("jpg", "cls").map(cut)
    return wds.WebLoader(dataset.batched(BATCH), batch_size=None, num_workers=WORKERS)


def image_folder(shards: str, work: str) -> object:
    """Return a DataLoader over the files of the shards."""
    import torch
    from torchvision import datasets

    found = datasets.ImageFolder(str(Path(work, "files")), transform=to_tensor)
    return torch.utils.data.DataLoader(found, BATCH, shuffle=True, num_workers=WORKERS)


def litdata_loader(shards: str, work: str) -> object:
    """Return litdata's loader."""
    import litdata

    class Photos(litdata.StreamingDataset):
        def __getitem__(self, i: int) -> object:
            return decoded(super().__getitem__(i))

    return litdata.StreamingDataLoader(
        Photos(str(Path(work, "litdata")), shuffle=True), batch_size=BATCH, num_workers=WORKERS
    )


def mosaic_loader(shards: str, work: str) -> object:
    """Return a DataLoader over mosaicml-streaming's dataset."""
    import streaming
    import torch

    class Photos(streaming.StreamingDataset):
        def __getitem__(self, i: int) -> object:
            return decoded(super().__getitem__(i))

    return torch.utils.data.DataLoader(
        Photos(local=str(Path(work, "mds")), shuffle=True, batch_size=BATCH), BATCH, num_workers=WORKERS
    )


def decoded(row: dict[str, object]) -> tuple[object, int]:
    """Return the tensor and label of a row that holds a JPEG."""
    import io

    from PIL import Image

    return to_tensor(Image.open(io.BytesIO(row["image"])).convert("RGB")), int(row["label"])  # type: ignore[arg-type]


LOADERS = {
    "datastage": ours,
    "webdataset": webdataset_loader,
    "ImageFolder": image_folder,
    "litdata": litdata_loader,
    "mosaicml-streaming": mosaic_loader,
}


def rows(shards: str) -> list[tuple[str, dict[str, object]]]:
    """Return name and row of every sample of the shards."""
    import tarfile

    found: dict[str, dict[str, object]] = {}
    for path in sorted(Path(shards).glob("train-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.rpartition(".")
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                found.setdefault(key, {}).update({"label": int(data)} if ending == "cls" else {"image": data})
    return list(found.items())


def row_itself(row: dict[str, object]) -> dict[str, object]:
    """Return the row: litdata writes what its function gives."""
    return row


def child_prepare(way: str, shards: str, work: str) -> dict[str, float]:
    """Write the same JPEGs in the form that a peer reads."""
    declare_operators()
    if way == "ImageFolder":
        for key, row in rows(shards):
            path = Path(work, "files", f"class{row['label']}", key.replace("/", "_") + ".jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"])  # type: ignore[arg-type]
    if way == "litdata":
        import litdata

        shutil.rmtree(Path(work, "litdata"), ignore_errors=True)
        litdata.optimize(
            row_itself, [row for _, row in rows(shards)], str(Path(work, "litdata")), chunk_bytes="6MB", num_workers=1
        )
    if way == "mosaicml-streaming":
        import streaming

        shutil.rmtree(Path(work, "mds"), ignore_errors=True)
        with streaming.MDSWriter(
            out=str(Path(work, "mds")), columns={"image": "bytes", "label": "int"}, size_limit="6mb"
        ) as out:
            for _, row in rows(shards):
                out.write(row)
    return {}


def child_store(address: str) -> dict[str, float]:
    """Run an epoch from the store; return when the first batch came."""
    import datastage

    loader = datastage.loaders(address, batch_size=BATCH, size=SIDE, test=0, device="cpu", progress=False).train
    first = 0.0
    for _ in loader:
        first = first or time.time()
    return {"first_batch_at": first, "peak_mb": peak_mb()}


CHILDREN = {"pack": child_pack, "feed": child_feed, "prepare": child_prepare, "store": child_store}

if __name__ == "__main__":
    main()
