"""HDF5 and Matlab's files through their libraries, where these are there.

No link out of a file is followed, no array of objects is read, and nothing whose size was not looked at.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from datastage.errors import IntegrityError, SpecError, needing
from datastage.layouts import words
from datastage.layouts.arrays import LOOK, Array, asked_pairs, kind_of, of_pairs, part_of, rule_of
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


def h5_arrays(path: Path, most: int | None = None) -> dict[str, Array]:
    """Return the arrays in an HDF5 file by each name, or about the first `most`.

    Soft links, links out, arrays of objects and of what numpy has no type for are left out. Objects are asked by their
    group and not by their whole name, which takes five times as long.
    """
    found: dict[str, Array] = {}
    with _h5(path) as file:
        from h5py import h5l, h5o

        waiting: list[tuple[Any, bytes, str, frozenset[Any]]] = [(file.id, b".", "", frozenset())]
        known, n_again = set(), 0
        while waiting and (most is None or len(found) < most):
            above, key, name, within = waiting.pop()
            what = h5o.get_info(above, key)
            place = what.fileno, what.addr
            if what.type == h5o.TYPE_DATASET and (shape := _plain_shape(above, key)):
                found[name] = Array(shape, place)
            if what.type != h5o.TYPE_GROUP or place in within:  # a group may lie in itself
                continue
            group, keys = h5o.open(above, key), list[bytes]()
            hard = {h5l.TYPE_HARD: keys}  # h5py hands one object over for all links
            group.links.iterate(lambda one, link, to=hard: to.get(link.type, []).append(one), info=True)
            n_again += len(keys) if place in known else 0
            if place not in known or n_again <= MOST_LINKS:
                known.add(place)
                keys.reverse()
                names = (f"{name}/{one.decode('utf-8', 'surrogateescape')}".lstrip("/") for one in keys)
                waiting += [(group, one, full, within | {place}) for one, full in zip(keys, names)]
    return found


def _plain_shape(above: Any, key: bytes) -> tuple[int, ...] | None:
    """Return the shape of an array of numbers that lies whole in its file and is not too large; else None."""
    from h5py import h5d

    array = h5d.open(above, key)
    try:
        kind, shape, plan = array.dtype, array.shape, array.get_create_plist()
    except (TypeError, ValueError):  # numpy has no such type
        return None
    is_whole = shape is not None and plan.get_layout() != h5d.VIRTUAL and not plan.get_external_count()
    is_plain = is_whole and kind.kind in "biuf" and kind.itemsize * math.prod(shape) <= MOST_BYTES
    return tuple(shape) if is_plain else None


def hdf5(paths: Sequence[Path], asked: str | None) -> Reading:
    """Read HDF5 files: each holds arrays; several hold the parts. Unasked, the names are said and nothing is taken."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(paths):
        parts.setdefault((len(paths) > 1 and words.split_of(path.stem)) or "", []).append(path)
    aside = parts.pop("", [])
    if aside and "train" not in parts:
        parts["train"], aside = aside, []
    left_out = [f"{path.name}: its name tells no part, as those beside it do" for path in aside]
    home = "train" if "train" in parts else next(iter(parts))
    first = parts[home][0]
    if asked is None:
        names: list[str] = []
        with suppress(ImportError, IntegrityError):
            names = list(h5_arrays(first, 1000))
        raise _ask_arrays(paths, first, names)
    for part, several in parts.items():
        if len(several) > 1:
            raise _ask_file(part, several, asked.rpartition(":")[2])
    pairs = asked_pairs(first.name, h5_arrays(first), asked)
    every = {part: ((first, x), (first, y)) for part, (x, y) in pairs.items()}
    if home != "train" and "train" in every:
        every = {home: every["train"]}
    for part in ("train", "val", "test"):
        for path in parts.get(part, ()) if part not in every and part != home else ():
            x, y = next(iter(pairs.values()))
            there = h5_arrays(path)
            of_x, of_y = _like(there, x), _like(there, y)
            if of_x and of_y:
                every[part] = (path, of_x), (path, of_y)
            else:
                left_out.append(f"{path.name}: it has no plain array {(y if of_x else x)!r}")

    def load(key: tuple[Path, str]) -> Any:
        with _h5(key[0]) as file:
            return file[key[1]][()]

    reading = of_pairs("arrays in HDF5", first.name, every, load, rule_of(y for _, (_, y) in every.values()))
    return replace(reading, left_out=(*reading.left_out, *left_out))


def _like(arrays: Iterable[str], name: str) -> str | None:
    """Return the one of these arrays whose name is that of another, but for the words of parts."""
    return next((one for one in arrays if part_of(one)[1] == part_of(name)[1]), None)


def _ask_file(part: str, paths: Sequence[Path], label: str) -> SpecError:
    """Ask which of several files of a part is meant; the step names one that has the labels."""
    around = os.path.commonpath([path.parent for path in paths])
    able = [path for path in paths if any(label in (name, name.rpartition("/")[2]) for name in h5_arrays(path))]
    names = [path.relative_to(around).as_posix() for path in (*able[:1], *paths)]
    return SpecError(
        f"{some(names[len(able[:1]) :])} are several files of {part}.",
        f'{SAY_WHICH} datastage.loaders(path, labels="{names[0]}:{label}", batch_size=64), of one file',
    )


def matlab(path: Path, asked: str | None) -> Reading:
    """Read a Matlab file: through scipy, or h5py where it is of version 7.3."""
    with open(path, "rb") as file:
        head = file.read(128)
    if head.startswith(b"\x89HDF") or b"MATLAB 7.3" in head:
        return hdf5([path], asked)
    shapes: dict[str, tuple[int, ...]] = {}
    with suppress(*(ImportError, IntegrityError) if asked is None else ()):
        shapes = _mat_shapes(path)
    if asked is None:
        raise _ask_arrays([path], path, list(shapes))
    if sum(8 * math.prod(shape) for shape in shapes.values()) > 4 * MOST_BYTES:
        raise SpecError(
            f"{path.name} is too large to be read at once.", "Next: open it with scipy.io.loadmat and pass parts."
        )
    rows = {dims[0] for dims in shapes.values() if len(dims) < 3}
    arrays = {name: Array(dims, name) for name, dims in shapes.items()}
    for name, dims in shapes.items():
        if len(dims) == 4 and dims[-1] in rows and (dims[0] not in rows or dims[2] in (1, 3)):  # SVHN's: samples last
            arrays[name] = Array((dims[-1], *dims[:-1]), name)
    pairs = asked_pairs(path.name, arrays, asked)

    def load(name: str) -> Any:
        import scipy.io

        array = scipy.io.loadmat(str(path), variable_names=[name])[name]
        array = array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array
        return array.transpose(3, 0, 1, 2) if arrays[name].shape != shapes[name] else array

    return of_pairs("arrays in a Matlab file", path.name, pairs, load, rule_of(y for _, y in pairs.values()))


def _mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the arrays of numbers in a Matlab file with their shapes; of one row or column, that of its values."""
    with needing(path.name, "scipy"):
        import scipy.io
    try:
        listed = [
            (name, shape)
            for name, shape, kind in scipy.io.whosmat(str(path))
            if kind not in ("cell", "struct", "object", "function", "opaque", "char")
        ]
    except Exception as error:  # whatever a damaged file makes scipy raise
        raise IntegrityError(f"{path.name} is not a whole Matlab file: {error}.", LOOK) from None
    return {name: (math.prod(dims),) if len(dims) == 2 and 1 in dims else dims for name, dims in listed}


def _ask_arrays(paths: Sequence[Path], first: Path, names: Sequence[str]) -> SpecError:
    inside = f": {some(list(names), 8)}" if names else ""
    able = [name for name in names if kind_of(name) == "y" and part_of(name)[0] in ("train", "")]
    label = min(able, key=lambda name: (name.endswith("classes"), not part_of(name)[0]), default="NAME")
    opener = "scipy.io.loadmat" if first.suffix.lower() == ".mat" else "h5py"
    return SpecError(
        f"{some([path.name for path in paths])} {'holds' if len(paths) == 1 else 'hold'} arrays "
        f"({first.suffix}){inside}; which are the labels, only you know.",
        f'{SAY_WHICH} datastage.loaders(path, labels="{label}", batch_size=64), by the name of the array',
        f"or open it with {opener} and pass the arrays: datastage.loaders((images, labels), batch_size=64).",
    )
