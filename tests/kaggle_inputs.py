"""Lay a dataset out under a folder in every way in which it reaches a Kaggle notebook.

Here: where an input lies (`LAYOUTS`), how its files are wrapped in it (`WRAPPINGS`), a small CIFAR-10 and a small MNIST
with digests of their own, and a private mount namespace in which a folder is /kaggle/input, read-only as the real one.
Not here: any test.

A dataset is given as a mapping from published paths to bytes: ``{"cifar-10-batches-py/data_batch_1": ...}``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datastage import datasets
from datastage.datasets import Entry, File

TESTDATA = Path(os.environ.get("DATASTAGE_TESTDATA") or Path.home() / ".cache" / "datastage-testdata")

Files = Mapping[str, bytes]

# --- where an input lies ---------------------------------------------------------------------------------------------

LAYOUTS: dict[str, str] = {
    "classic": "SLUG",
    "dataset": "datasets/OWNER/SLUG",
    "collision": "d/OWNER/SLUG",
    "competition": "competitions/SLUG",
    "notebook": "notebooks/OWNER/SLUG",
    "model": "models/OWNER/SLUG/pytorch/default/1",
    "classic model": "SLUG/pytorch/default/1",
    "model collision": "m/OWNER/SLUG/pytorch/default/1",
    "called datasets": "datasets",
    "called d": "d",
    "a dataset called datasets": "datasets/OWNER/datasets",
}


def input_folder(root: Path, layout: str, slug: str = "cifar10", owner: str = "somebody") -> Path:
    """Make the folder of an input under `root`, a /kaggle/input."""
    folder = root / LAYOUTS[layout].replace("OWNER", owner).replace("SLUG", slug)
    folder.mkdir(parents=True)
    return folder


# --- how its files are wrapped in it ---------------------------------------------------------------------------------


def _write(files: Files, to: Path) -> None:
    for path, data in files.items():
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        (to / path).write_bytes(data)


def _flat(files: Files) -> dict[str, bytes]:
    return {path.rsplit("/", 1)[-1]: data for path, data in files.items()}


def tar_bytes(files: Files, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for folder in sorted({path.rsplit("/", 1)[0] for path in files if "/" in path}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_bytes(files: Files, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression, compresslevel=1) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data, compression)  # the same at any time
    return out.getvalue()


def gz_bytes(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _gz_each(files: Files) -> dict[str, bytes]:
    return {f"{name}.gz": gz_bytes(data) for name, data in _flat(files).items()}


def _mac(files: Files) -> dict[str, bytes]:
    """What a Mac's zip of a folder holds besides."""
    junk = {f"__MACOSX/data/._{name}": b"\0\5\26\7" + b"x" * 100 for name in _flat(files)}
    return {**{f"data/{name}": data for name, data in _flat(files).items()}, **junk, "data/.DS_Store": b"x" * 6148}


WRAPPINGS: dict[str, Callable[[Files, Path], object]] = {
    # Kaggle's own unpacking: three outcomes, and lone files
    "files at the root": lambda files, to: _write(_flat(files), to),
    "its own folder": _write,
    "a folder called as the archive": lambda files, to: _write(files, to / "cifar-10-python"),
    "a doubled folder": lambda files, to: _write(
        {f"{path.split('/')[0]}/{path}": data for path, data in files.items()}, to
    ),
    "deep down": lambda files, to: _write(files, to / "data" / "my files" / "2024 – été" / "raw"),
    "each file in a folder of its name": lambda files, to: _write(
        {f"{name}/{name}": data for name, data in _flat(files).items()}, to
    ),
    "renamed files": lambda files, to: _write(
        {f"part {number}.bin": data for number, data in enumerate(files.values())}, to
    ),
    "split over two folders": lambda files, to: _write(
        {f"{'ab'[number % 2]}/{name}": data for number, (name, data) in enumerate(_flat(files).items())}, to
    ),
    # archives, as a notebook's output has them or as Kaggle left them
    "tar.gz": lambda files, to: (to / "cifar-10-python.tar.gz").write_bytes(tar_bytes(files)),
    "tar.gz renamed tgz": lambda files, to: (to / "my data (1).tgz").write_bytes(tar_bytes(files)),
    "tar.gz without a suffix": lambda files, to: (to / "cifar").write_bytes(tar_bytes(files)),
    "tar.gz called zip": lambda files, to: (to / "cifar.zip").write_bytes(tar_bytes(files)),
    "tar.bz2": lambda files, to: (to / "x.tar.bz2").write_bytes(tar_bytes(files, "w:bz2")),
    "tar.xz": lambda files, to: (to / "x.tar.xz").write_bytes(tar_bytes(files, "w:xz")),
    "tar": lambda files, to: (to / "x.tar").write_bytes(tar_bytes(files, "w")),
    "zip": lambda files, to: (to / "archive.zip").write_bytes(zip_bytes(files)),
    "zip, flat": lambda files, to: (to / "archive.zip").write_bytes(zip_bytes(_flat(files))),
    "zip, stored": lambda files, to: (to / "archive.zip").write_bytes(zip_bytes(files, zipfile.ZIP_STORED)),
    "zip of a Mac": lambda files, to: (to / "data.zip").write_bytes(zip_bytes(_mac(files))),
    "zip in a folder": lambda files, to: _write({"download/archive.zip": zip_bytes(files)}, to),
    "zip of the tar.gz": lambda files, to: (to / "a.zip").write_bytes(
        zip_bytes({"cifar-10-python.tar.gz": tar_bytes(files)})
    ),
    "zip of a zip of the tar.gz": lambda files, to: (to / "a.zip").write_bytes(
        zip_bytes({"b/b.zip": zip_bytes({"c.tar.gz": tar_bytes(files)})})
    ),
    "zip of the tar.gz without a suffix": lambda files, to: (to / "a.zip").write_bytes(
        zip_bytes({"downloads/cifar": tar_bytes(files), "downloads/cifar.download": b"not an archive" * 5000})
    ),
    "zip of the tar.gz as a browser leaves it": lambda files, to: (to / "a.zip").write_bytes(
        zip_bytes({"cifar-10-python.tar.gz.download": tar_bytes(files)})
    ),
    "tar.gz packed again": lambda files, to: (to / "c.tar.gz.gz").write_bytes(gz_bytes(tar_bytes(files))),
    "each file gzipped": lambda files, to: _write(_gz_each(files), to),
    "each file gzipped, in a folder": lambda files, to: _write(_gz_each(files), to / "raw"),
    "zip of gzipped files": lambda files, to: (to / "archive.zip").write_bytes(zip_bytes(_gz_each(files))),
    "half unpacked": lambda files, to: (
        _write(dict(list(_flat(files).items())[:2]), to),
        (to / "rest.zip").write_bytes(zip_bytes(dict(list(_flat(files).items())[2:]))),
    ),
}


# --- small datasets with digests of their own ------------------------------------------------------------------------


def entry_for(name: str, like: str, files: Files, **changes: object) -> Entry:
    """Return the entry `like` under another name, with the sizes and digests of `files`."""
    made = tuple(File(path, len(data), hashlib.md5(data).hexdigest()) for path, data in files.items())
    facts: dict[str, object] = {"name": name, "title": f"small {like}", "files": made, "downloads": (), **changes}
    return replace(datasets.get(like), **facts)  # type: ignore[arg-type]


def pixels(n: int, seed: int) -> bytes:
    """Return n bytes that look like nothing, the same every time."""
    return hashlib.shake_256(str(seed).encode()).digest(n)


def batch_of_python_2(title: bytes, labels: Sequence[int], data: bytes, names: Sequence[bytes]) -> bytes:
    """Write a batch as Python 2 and numpy 1 pickled it for CIFAR-10 (protocol 2)."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def items(values: Sequence[bytes]) -> bytes:
        return b"](" + b"".join(values) + b"e"

    n_rows, n_bytes = struct.pack("<i", len(labels)), struct.pack("<i", len(data))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
        b"(K\1J" + n_rows + b"M\0\x0c\x86cnumpy\ndtype\nU\2u1K\0K\1\x87R"
        b"(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + n_bytes + data + b"tb"
    )
    return (
        b"\x80\x02}("
        + text(b"batch_label")
        + text(title)
        + text(b"labels")
        + items([b"K" + bytes([label]) for label in labels])
        + text(b"data")
        + array
        + text(b"filenames")
        + items([text(name) for name in names])
        + b"u."
    )


def small_cifar(n: int = 20) -> dict[str, bytes]:
    """Return a CIFAR-10 of six batches of n images, no two of one size; half as Python 2 wrote them, half as 3 does."""
    import numpy as np

    files = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        labels = [(number + i) % 10 for i in range(n)]
        data = pixels(n * 3072, number)
        names = [b"x" * (number + 5) + b"_%04d.png" % i for i in range(n)]
        if number % 2:
            batch = {
                "batch_label": name,
                "labels": labels,
                "data": np.frombuffer(data, np.uint8).reshape(n, 3072),
                "filenames": [name.decode() for name in names],
            }
            files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, protocol=min(number, 4))
        else:
            files[f"cifar-10-batches-py/{name}"] = batch_of_python_2(name.encode(), labels, data, names)
    meta = {"num_cases_per_batch": n, "label_names": list(datasets.get("cifar10").classes), "num_vis": 3072}
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps(meta, protocol=2)
    return files


def idx_bytes(shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


def small_mnist(folder: str = "MNIST/raw", seed: int = 0, n_train: int = 60, n_test: int = 10) -> dict[str, bytes]:
    """Return an MNIST of n_train and n_test images; any two seeds have the same names and sizes."""
    files = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = bytes(value % 10 for value in pixels(n, seed + n))
        files[f"{folder}/{part}-images-idx3-ubyte"] = idx_bytes((n, 28, 28), pixels(n * 784, seed + 1000 + n))
        files[f"{folder}/{part}-labels-idx1-ubyte"] = idx_bytes((n,), labels)
    return files


def mnist_csv(files: Files, part: str, header: str | None = "pixel", order: Sequence[int] | None = None) -> bytes:
    """Return a part of an MNIST as Kaggle's csv has it: header ``pixel1...``, ``1x1...`` or none; rows in any order."""
    named = _flat(files)
    labels = named[f"{part}-labels-idx1-ubyte"][8:]
    images = named[f"{part}-images-idx3-ubyte"][16:]
    lines = []
    if header == "pixel":
        lines.append(",".join(["label", *(f"pixel{i}" for i in range(1, 785))]))
    elif header == "1x1":
        lines.append(",".join(["label", *(f"{i}x{j}" for i in range(1, 29) for j in range(1, 29))]))
    for at in order if order is not None else range(len(labels)):
        lines.append(",".join(map(str, [labels[at], *images[at * 784 : (at + 1) * 784]])))
    return "\n".join(lines).encode() + b"\n"


# --- a private /kaggle/input -----------------------------------------------------------------------------------------


def can_mount() -> bool:
    """Say whether this process may make a mount namespace and bind mounts in it: root, on Linux, not in a jail."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def run_with_input(
    root: Path, command: Sequence[str], *, offline: bool = True, env: Mapping[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a command where `root` is /kaggle/input, read-only, as in a Kaggle notebook; by default without any network.

    The machine's own /kaggle, if there is one, is hidden for the command and untouched.
    """
    script = (
        "set -e; mkdir -p /kaggle; mount -t tmpfs none /kaggle; mkdir -p /kaggle/input /kaggle/working; "
        'mount --bind "$1" /kaggle/input; mount -o remount,ro,bind /kaggle/input; shift; exec "$@"'
    )
    flags = ["-m", "-n"] if offline else ["-m"]
    environment = {**os.environ, "KAGGLE_KERNEL_RUN_TYPE": "Interactive", **(env or {})}
    return subprocess.run(
        ["unshare", *flags, "sh", "-c", script, "sh", str(root), *command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,  # type: ignore[call-overload]
    )
