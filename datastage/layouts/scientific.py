"""HDF5 and Matlab's files through their libraries, where these are there.

No link out of a file is followed, no array of objects is read, and nothing whose size was not looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datastage.errors import IntegrityError, SpecError, needing
from datastage.layouts import words
from datastage.layouts.arrays import LABELS, LOOK, asked_pairs, of_pairs, pairs_of
from datastage.layouts.reading import Reading
from datastage.layouts.shape import SAY_WHICH
from datastage.progress import some

MOST_BYTES = 16 << 30
MOST_LINKS = 100_000
"""Groups that lie in each other many times have names without end."""


@contextmanager
def _h5(path: Path) -> Iterator[Any]:
    with needing(path.name, "h5py"):
        import h5py
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # what h5py makes of damage, by where it is met
        raise IntegrityError(f"{path.name} is not a whole HDF5 file: {error}.", LOOK) from None


def h5_names(path: Path) -> list[str]:
    """Return each name of the arrays in an HDF5 file; soft links and arrays of objects are left out."""
    found: list[str] = []
    with _h5(path) as file:
        waiting, n_links = [("", frozenset[Any]())], 0
        while waiting and len(found) <= 1000:
            name, above = waiting.pop()
            if name and type(file.get(name, getlink=True)).__name__ != "HardLink":
                continue
            one = file[name or "/"]
            if hasattr(one, "keys") and one not in above and n_links < MOST_LINKS:  # a group may lie in itself
                n_links, inside = n_links + len(one), above | {one}
                waiting += [(f"{name}/{key}".lstrip("/"), inside) for key in reversed(list(one))]
            is_array = hasattr(one, "shape") and one.dtype.kind in "biuf"
            if is_array and not one.external and not one.is_virtual and one.nbytes <= MOST_BYTES:
                found.append(name)
    return found


def hdf5(paths: Sequence[Path], asked: str | None) -> Reading:
    """Read HDF5 files: each holds arrays; several hold the parts. Unasked, the names are said and nothing is taken."""
    parts = {words.split_of(path.stem) or "train": path for path in paths}
    first = parts.get("train") or paths[0]
    if asked is None:
        names: list[str] = []
        with suppress(ImportError, IntegrityError):
            names = h5_names(first)
        raise _ask_arrays(paths, first, names)
    names = h5_names(first)

    def load(key: tuple[Path, str]) -> Any:
        if key[1] not in h5_names(key[0]):
            raise SpecError(f"{key[0].name} has no plain array {key[1]!r}.", LOOK)
        with _h5(key[0]) as file:
            return file[key[1]][()]

    def shape(name: str) -> Sequence[int]:
        with _h5(first) as file:
            return tuple(file[name].shape)

    pairs = asked_pairs(first.name, names, asked, shape)
    every: dict[str, tuple[Any, Any]] = {part: ((first, x), (first, y)) for part, (x, y) in pairs.items()}
    if words.split_of(first.stem):
        for part, path in parts.items():
            x, y = (re.sub(r"train(ing)?", part, name) for name in pairs["train"])
            every.setdefault(part, ((path, x), (path, y)))
    return of_pairs("arrays in HDF5", first.name, every, load, f"the array {asked}")


def matlab(path: Path, asked: str | None) -> Reading:
    """Read a Matlab file: through scipy, or h5py where it is of version 7.3."""
    with open(path, "rb") as file:
        head = file.read(128)
    if head.startswith(b"\x89HDF") or b"MATLAB 7.3" in head:
        return hdf5([path], asked)
    if asked is None:
        raise _ask_arrays([path], path, [])
    with needing(path.name, "scipy"):
        import scipy.io
    try:
        listed = {
            name: shape
            for name, shape, kind in scipy.io.whosmat(str(path))
            if kind not in ("cell", "struct", "object", "function", "opaque", "char")
        }
    except Exception as error:  # whatever a damaged file makes scipy raise
        raise IntegrityError(f"{path.name} is not a whole Matlab file: {error}.", LOOK) from None
    if sum(8 * math.prod(shape) for shape in listed.values()) > 4 * MOST_BYTES:
        raise SpecError(
            f"{path.name} is too large to be read at once.", "Next: open it with scipy.io.loadmat and pass parts."
        )

    def shape(name: str) -> Sequence[int]:
        dims = listed[name]
        return (math.prod(dims),) if len(dims) == 2 and 1 in dims else dims

    label = asked.rpartition(":")[2]
    n = shape(label)[:1] if label in listed else ()
    last = [name for name in listed if len(shape(name)) == 4 and shape(name)[-1:] == n]  # SVHN's: samples last
    pairs = {"train": (last[0], label)} if last else asked_pairs(path.name, list(listed), asked, shape)

    def load(name: str) -> Any:
        array = scipy.io.loadmat(str(path), variable_names=[name])[name]
        array = array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array
        return array.transpose(3, 0, 1, 2) if last and array.ndim == 4 else array

    return of_pairs("arrays in a Matlab file", path.name, pairs, load, f"the array {label}", lambda y: shape(y)[0])


def _ask_arrays(paths: Sequence[Path], first: Path, names: Sequence[str]) -> SpecError:
    inside = f": {some(list(names), 8)}" if names else ""
    label = next(
        (name for name in names if pairs_of([name, "x"]) or words.words_of(name)[-1:] in [(w,) for w in LABELS]),
        "labels",
    )
    opener = "scipy.io.loadmat" if first.suffix.lower() == ".mat" else "h5py"
    return SpecError(
        f"{some([path.name for path in paths])} {'holds' if len(paths) == 1 else 'hold'} arrays "
        f"({first.suffix}){inside}; which are the labels, only you know.",
        f'{SAY_WHICH} datastage.loaders(path, labels="{label}", batch_size=64), by the name of the array',
        f"or open it with {opener} and pass the arrays: datastage.loaders((images, labels), batch_size=64).",
    )
