"""The line that comes next, for each kind of data: it runs as printed, after the line that printed it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from datastage.errors import DatastageError
from datastage.file_names import PICTURE_SUFFIXES
from datastage.mounts import is_network_disk
from datastage.runtime import Runtime
from datastage.staged import Staged

_MOST_FILES = 20_000  # of data that is used where it lies: more are not walked for one line
_SMALL = 64  # pixels: above that pictures are photos
_FOR_PHOTOS = {"cuda": 64, "tpu": 128}
_TABLES = {".csv": "", ".tsv": ', sep="\\t"', ".tab": ', sep="\\t"'}


def next_line(staged: Staged, here: Runtime) -> str:
    """Return the line that feeds what was staged, or opens it where only the user can tell; a notebook has ``path``."""
    path = str(staged)
    shown = "path" if here.in_kernel else literal(path)
    splits = _splits(staged)
    if splits and _has_shards(staged.path, here):
        splits = {}
    if splits.get("train", 0) > 1 and not _is_table(path):
        is_of_pictures = not staged.receipt.get("entry") and staged.told().get("kind") == "pictures"
        aside = "" if "test" in splits or is_of_pictures else ", test=0.1"  # of pictures it is set aside unasked
        names = [name for name in ("train", "val", "test") if name == "test" or name in splits]
        return loaders_line(names, shown, _batch_size(staged, splits, here), aside)
    if staged.receipt.get("single"):
        return f"Next:  {_opening(path, shown)}"
    if table := _table_in(staged.path):
        inner = f'path / "{table}"' if here.in_kernel else literal(str(staged.path / table))
        return f"Next:  {_opening(table, inner)}"
    return f"Next:  files = sorted({shown}.iterdir())" if here.in_kernel else f"Next:  ls {shlex.quote(path)}"


def loaders_line(names: Sequence[str], shown: str, batch_size: int, options: str = "") -> str:
    """Return the line that feeds these parts of what is called so in it."""
    given = ", ".join(names) if len(names) > 1 else "data"
    return f"Next:  {given} = datastage.loaders({shown}, batch_size={batch_size}{options})"


def few_enough(n: int, most: int) -> int:
    """Return a power of two that leaves some batches of `n` samples, at most so many."""
    return min(most, max(2, 1 << max(0, (n // 6).bit_length() - 1)))


def literal(value: object) -> str:
    """Write a text, or a list of texts, as Python does, with the double quotes that people write."""
    return json.dumps(value, ensure_ascii=not str(value).isprintable())


def _splits(staged: Staged) -> Mapping[str, int]:
    """Return the parts that `loaders` gives, with their samples; empty where only the user can tell."""
    from datastage import datasets

    entry = datasets.with_files(staged.receipt.get("entry"))
    if entry is not None:
        return entry.splits
    if staged.receipt.get("in_place") and not staged.receipt.get("single") and not _is_small(staged.path):
        return {}
    return dict(staged.told().get("splits", {}))


def _has_shards(folder: Path, here: Runtime) -> bool:
    """Whether shards lie at the top: beside class folders only the user can tell which are meant."""
    if not folder.is_dir() or not any(entry.name.endswith(".tar") for entry in islice(os.scandir(folder), _MOST_FILES)):
        return False
    from datastage.shards import listing

    try:
        return listing.find(folder, here) is not None
    except DatastageError:  # which `loaders` would meet
        return True


def _is_small(folder: Path) -> bool:
    if is_network_disk(folder):
        return False
    n = 0
    for _, folders, files in os.walk(folder):
        n += len(folders) + len(files)
        if n > _MOST_FILES:
            return False
    return True


def _batch_size(staged: Staged, splits: Mapping[str, int], here: Runtime) -> int:
    """Return a batch that leaves some more in an epoch, and the device room for a network."""
    is_entry = bool(staged.receipt.get("entry"))
    side = 0 if is_entry else _side_of_a_picture(staged.path)
    most = _FOR_PHOTOS.get(here.accelerator, 32) if side > _SMALL else 512 if is_entry else 256
    return few_enough(splits["train"], most)


def _side_of_a_picture(folder: Path) -> int:
    """Return the longer side of one of the pictures, in pixels; 0 where there is none that can be read."""
    pictures = (
        os.path.join(around, name)
        for around, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(tuple(PICTURE_SUFFIXES)) and os.path.isfile(os.path.join(around, name))
    )
    try:
        from datastage.decode import size_of

        with open(next(pictures, os.devnull), "rb") as file:
            return max(size_of(file.read(1 << 16)) or (0, 0))
    except (ImportError, OSError):  # without numpy and Pillow nothing is fed either
        return 0


def _is_table(path: str) -> bool:
    """A lone table is looked at before anything is learnt from it, where pandas is there."""
    return os.path.splitext(path)[1].lower() in _TABLES and find_spec("pandas") is not None


def _table_in(folder: Path) -> str:
    """Return the name of the table at the top of a folder that is learnt from, or of its first one."""
    names = sorted(entry.name for entry in islice(os.scandir(folder), 200) if _is_table(entry.name))
    return "train.csv" if "train.csv" in names else names[0] if names else ""


def _opening(name: str, shown: str) -> str:
    """Return the line that opens a file of this name."""
    suffix = os.path.splitext(name)[1].lower()
    if _is_table(name):
        return f"import pandas; table = pandas.read_csv({shown}{_TABLES[suffix]})"
    if suffix == ".parquet" and find_spec("pandas") and find_spec("pyarrow"):
        return f"import pandas; table = pandas.read_parquet({shown})"
    if suffix in (".npy", ".npz") and find_spec("numpy"):
        return f"import numpy; arrays = numpy.load({shown})"
    if suffix in (".json", ".geojson"):
        return f'import json; data = json.load(open({shown}, encoding="utf-8"))'
    if suffix in (".txt", ".md", ".csv"):
        return f'text = open({shown}, encoding="utf-8", errors="replace").read()'
    return f'file = open({shown}, "rb")'
