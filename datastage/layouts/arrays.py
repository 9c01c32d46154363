"""Files of arrays: npz, npy, idx, CIFAR's batches. No pickle is run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datastage import datasets
from datastage.datasets import idx
from datastage.entry import Entry, one_of
from datastage.errors import IntegrityError, SpecError
from datastage.layouts import words
from datastage.layouts.labels import stand_ins
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH
from datastage.progress import some

if TYPE_CHECKING:
    from numpy.typing import NDArray

_XY = re.compile(r"(?i)(?<![a-z])([xy])(?=train|test|val)")
"""What begins the names ``Xtrain`` and ``ytest``."""
_IMAGES = ("x", "images", "image", "data", "features", "imgs", "inputs")
LABELS = ("y", "labels", "label", "targets", "target", "classes")
LOOK = "Next: look where the file came from."


# --- arrays by name


@lru_cache(1 << 16)
def part_of(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the part that an array's name tells, the last of its words first, and its other words."""
    said = words.words_of(_XY.sub(r"\1_", name))
    part = next((words.SPLITS[word] for word in reversed(said) if word in words.SPLITS), "")
    return part, tuple(word for word in said if word not in words.SPLITS)


def kind_of(name: str) -> str:
    """Tell whether an array's name calls it images, ``x``, or labels, ``y``; else nothing."""
    rest = [w for w in part_of(name.rpartition("/")[2])[1] if not (w.isdigit() or w in ("set", "orig", "npy"))]
    return "x" if rest and rest[-1] in _IMAGES else "y" if rest and rest[-1] in LABELS else ""


def pairs_of(names: Sequence[str], where: str = "") -> dict[str, tuple[str, str]]:
    """Name the arrays of images and of labels of each part, from their names alone: ``x_train``, ``test_labels``.

    `SpecError` if two arrays could be the images of a part, or its labels.
    """
    kinds: dict[str, dict[str, list[str]]] = {part: {} for part in ("train", "", "val", "test")}
    for name in names:
        if (kind := kind_of(name)) and (part := part_of(name)[0]) in kinds:
            kinds[part].setdefault(kind, []).append(name)
    found = {}
    for part, both in kinds.items():
        if len(both) < 2:
            continue
        labels = [name for name in both["y"] if not name.endswith("classes")] or both["y"]  # they name the labels
        if len(labels) > 1 or len(both["x"]) > 1:
            several, what = (labels, "labels") if len(labels) > 1 else (both["x"], "images")
            raise SpecError(f"{where} has several arrays that could be the {what}: {some(several)}.", _step(labels[0]))
        found[part] = (both["x"][0], labels[0])
    if "" in found:
        found.setdefault("train", found[""])
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _step(label: str) -> str:
    return f'{SAY_WHICH} datastage.loaders(path, labels="{label}", batch_size=64), by the array of the labels'


def checked(where: str, images: Any, labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bring images to uint8 (N, H, W, C) or rows of float32, and labels to int64, or float32 as they are."""
    import numpy as np

    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim == 2 and 1 in labels.shape and images.shape[:1] == (labels.size,):
        labels = labels.reshape(-1)
    if labels.ndim == 2 and set(np.unique(labels).tolist()) <= {0, 1} and (labels.sum(1) == 1).all():
        labels = labels.argmax(1)
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iubf" or labels.shape[0] not in images.shape[:1]:
        raise SpecError(
            f"{where}: labels of shape {labels.shape} and type {labels.dtype} do not go with {images.shape}.",
            "Next: one label for each image, as numbers.",
        )
    if images.dtype == np.uint8 and images.ndim == 3:
        images = images[..., np.newaxis]
    elif images.dtype == np.uint8 and images.ndim == 4:
        if images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
            images = images.transpose(0, 2, 3, 1)
    elif images.ndim == 2 and images.dtype.kind in "iuf":
        images = images.astype(np.float32)
    elif _are_pictures_of_floats(images):
        images = (images * 255).round().astype(np.uint8)
        images = images[..., np.newaxis] if images.ndim == 3 else images
    else:
        raise SpecError(
            f"{where}: {images.shape} of {images.dtype} is neither images (uint8, N x H x W x C) nor a table.",
            "Next: save images as uint8, from 0 to 255; or feed(TensorDataset(...)) takes any shape.",
        )
    return np.ascontiguousarray(images), labels.astype(np.int64 if labels.dtype.kind in "iub" else np.float32)


def _are_pictures_of_floats(images: Any) -> bool:
    """Whether floats from 0 to 1 are pictures: square ones, or with channels last, and no series."""
    if images.dtype.kind != "f" or not images.size or images.min() < 0 or images.max() > 1:
        return False
    if images.ndim == 3:
        return bool(images.shape[1] == images.shape[2] >= 8)
    return images.ndim == 4 and images.shape[3] in (1, 3, 4)


def of_pairs(
    layout: str,
    where: str,
    pairs: Mapping[str, tuple[Any, Any]],
    load: Callable[[Any], Any],
    rule: str,
    count: Callable[[Any], int] | None = None,
) -> Reading:
    """Make the reading of arrays by name; `count` tells how many labels there are without loading them."""
    import numpy as np

    splits: dict[str, Split] = {}
    used: dict[str, tuple[Any, Any, Any]] = {}
    left_out = []
    first: Any = None
    for part, pair in pairs.items():
        labels: Any = None if count else np.atleast_1d(load(pair[1]))
        first = labels if first is None else first
        n = count(pair[1]) if count else len(labels)
        gone: Any = [] if labels is first else np.flatnonzero(_stand_for_none(labels, first))
        if len(gone) and "predict" in splits:  # val's, and now those of test
            left_out.append(f"{len(splits['predict']):,} rows of {splits['predict'].seen} without labels")
        if len(gone):
            splits["predict"], used["predict"] = Split((), None, len(gone), part), (*pair, gone)
        if len(gone) < n or not n:
            kept = np.delete(np.arange(n), gone) if len(gone) else slice(None)
            splits[part], used[part] = Split((), (), n - len(gone)), (*pair, kept)

    def arrays(split: str) -> tuple[Any, Any]:
        names, rows = one_of(used, split)[:2], one_of(used, split)[2]
        images, labels = (load(name) for name in names)
        if split == "predict":
            return checked(where, images, np.zeros(len(images), np.int64))[0][rows], rows
        images, labels = checked(where, images, labels)
        return images[rows], labels[rows]

    return Reading(
        layout, "classification", "arrays", (), ordered(splits), rule, left_out=tuple(left_out), arrays=arrays
    )


def _stand_for_none(labels: Any, train: Any) -> Any:
    """Tell which labels of a part are one number below 0, as train has none; of measures all must be, or NaN."""
    import numpy as np

    none = np.zeros(len(labels), bool)
    if not labels.size or labels.dtype.kind not in "if" or (train.dtype.kind in "if" and (train < 0).any()):
        return none
    if set(np.unique(labels).tolist()) == {-1, 1} and set(np.unique(train).tolist()) == {0, 1}:
        return none  # two classes, written in two ways
    below = np.unique(labels[~(labels >= 0)])  # NaN is none of both
    gone = labels.reshape(len(labels), -1)[:, 0] < 0 if labels.size == len(labels) else none
    if (~(labels >= 0)).all():
        gone = ~none
    elif labels.dtype.kind == "f" or (len(below) and below[0] == -100):  # which torch's losses ignore
        return none
    is_one = len(below) == 1 and stand_ins([below[0].item()] * len(labels), {"train"}, labels.dtype.kind == "f")
    return gone if is_one else none


def of_entry(entry: Entry, path: Path, layout: str, rule: str) -> Reading:
    """Make the reading of an entry whose files are known one by one, and so all its facts."""
    splits = {part: Split((), (), n) for part, n in entry.splits.items()}
    arrays = partial(entry.read_split, path)  # a reading can be pickled
    return Reading(layout, "classification", "arrays", entry.classes, splits, rule, arrays=arrays)


# --- npz and npy


def npz(path: Path, asked: Any) -> Reading:
    """Read an npz file by the names of its arrays, or by those that the user names: ``labels="y"``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise IntegrityError(f"{path.name} is not an npz file: {error}.", LOOK) from None
    load = partial(_from_npz, path)
    if asked:
        pairs = asked_pairs(path.name, {name: Array(load(name).shape, name) for name in names}, asked)
    else:
        pairs = pairs_of(names, path.name)
    if not pairs:
        raise SpecError(
            f"{path.name} has the arrays {', '.join(names[:8])}: none is called images or labels.",
            "Next: numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...).",
        )
    rule = f"{rule_of(labels for _, labels in pairs.values())} of {path.name}"
    return of_pairs("arrays in an npz file", path.name, pairs, load, rule)


def _from_npz(path: Path, name: str) -> Any:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise IntegrityError(
                f"{path.name} holds Python objects, which could run code when read: they were not read.",
                "Next: save plain numbers with numpy.savez.",
            ) from None
        raise IntegrityError(f"{path.name} is damaged: {error}.", LOOK) from None


def npy(paths: Sequence[Path], asked: str) -> Reading:
    """Read npy files, of which the user names that of the labels."""
    import numpy as np

    by_name = {path.name: path for path in paths}

    def load(name: str) -> Any:
        try:
            return np.load(by_name[name], mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise IntegrityError(f"{name} is no plain array: {error}.", LOOK) from None

    pairs = asked_pairs("the folder", {name: Array(load(name).shape, name) for name in by_name}, asked)
    return of_pairs("arrays in npy files", paths[0].parent.name, pairs, load, rule_of(y for _, y in pairs.values()))


class Array(NamedTuple):
    """What pairs are told by: an array's shape, and what is equal for all its names alone."""

    shape: Sequence[int]
    place: Any


def asked_pairs(where: str, arrays: Mapping[str, Array], asked: str) -> dict[str, tuple[str, str]]:
    """Pair the labels that the user names with the images of as many samples, in each part that such names tell.

    Labels of another part stand for those of train.
    """
    also: dict[Any, list[str]] = {}
    for name, array in arrays.items():
        also.setdefault(array.place, []).append(name)

    def others(part: str, name: str) -> list[str]:
        told = {(part, part_of(one)[1]) for one in also[arrays[name].place]}
        return [one for one in arrays if part_of(one) in told and arrays[one].place != arrays[name].place]

    label = _asked_label(where, arrays, asked.rpartition(":")[2] if asked not in arrays else asked)
    part = next(filter(None, (part_of(name)[0] for name in (label, *also[arrays[label].place]))), "")
    if part not in ("", "train") and (home := others("train", label) or others("", label)):
        label, part = home[0], part_of(home[0])[0]
    images = _images_of(where, arrays, label, part)
    if not any(kind_of(name) and part_of(name)[0] == "train" for name in arrays):
        part = part if any(_says(name, part) for name in also[arrays[images].place]) else ""
    found = {part if part in ("val", "test") else "train": (images, label)}
    for other in ("val", "test") if part or not others("train", label) else ():  # those of train are apart
        for pair in zip(others(other, images), others(other, label)):
            found.setdefault(other, pair)
    return found


def _says(name: str, part: str) -> bool:
    """Whether an array is of this part by its own name, ``x_test``, or by a group that is called nothing else."""
    *groups, own = name.split("/")
    return part_of(own)[0] == part or any(part_of(group) == (part, ()) for group in groups)


def _asked_label(where: str, arrays: Mapping[str, Array], asked: str) -> str:
    """Return the array of this name, or the one of train of those whose last name it is."""
    having = [asked] if asked in arrays else [name for name in arrays if name.rpartition("/")[2] == asked]
    if not having:
        step = f"Next: one of {some(list(arrays), 8)}: labels=..." if arrays else LOOK
        raise SpecError(f"There is no array {asked!r} in {where}.", step)
    for part in ("train", ""):
        having = [name for name in having if part_of(name)[0] == part] or having
    if len({arrays[name].place for name in having}) > 1:
        raise SpecError(f"{some(having)} in {where} are several arrays of that name.", _step(having[0]))
    return having[0]


def _images_of(where: str, arrays: Mapping[str, Array], label: str, part: str) -> str:
    """Return the one array of as many samples as there are labels; of several that of their part, with pictures."""
    n, group = (*arrays[label].shape, 0)[0], label.rpartition("/")[0]
    fit = [name for name, (shape, _) in arrays.items() if len(shape) > 1 and shape[0] == n and name != label]
    fit = [one for one in fit if part_of(one)[0] == part] or [one for one in fit if not (part and part_of(one)[0])]
    fit = [one for one in fit if len(arrays[one].shape) > 2] or fit
    fit = [one for one in fit if one.rpartition("/")[0] == group] or fit
    fit = list({arrays[one].place: one for one in fit[::-1] if arrays[one].place != arrays[label].place}.values())[::-1]
    if len(fit) != 1:
        raise SpecError(
            f"{some(fit, 6) if fit else 'No array'} in {where} has as many samples ({n:,}) as {label}: which "
            "holds the images?",
            "Next: read them yourself and pass the arrays: datastage.loaders((images, labels), batch_size=64).",
        )
    return fit[0]


def rule_of(labels: Iterable[str]) -> str:
    """Say which arrays are the labels."""
    several = list(dict.fromkeys(labels))
    return f"the array{'s' * (len(several) > 1)} {some(several)}"


# --- idx and the CIFAR batches


_IDX = re.compile(r"(images|labels)([.-])idx[13]([.-])ubyte$")
_EMNIST = re.compile(r"(?i)emnist-(byclass|bymerge|balanced|letters|digits|mnist)-")
_IDX_PART = re.compile(r"(?i)(?<![a-z])((?P<test>t10k|test(ing)?)|(?P<val>val(id(ation)?)?)|train(ing)?)(?![a-z])")


def idx_sets(paths: Sequence[str]) -> dict[tuple[str, ...], Reading]:
    """Read idx files whose names say images and labels, and the part: each set of them by its files."""
    sets: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for name in sorted(paths):
        folder, _, last = name.rpartition("/")
        if kind := _IDX.search(last):
            word = _IDX_PART.search(last)
            part = "test" if word and word["test"] else "val" if word and word["val"] else "train"
            own = folder, words.plain(_IDX_PART.sub("", last[: kind.start()])), kind[2], kind[3]
            sets.setdefault(own, {}).setdefault(part, {})[kind[1]] = name
    found = {}
    for parts in sets.values():
        whole = [part for part in ("train", "val", "test") if len(parts.get(part, ())) == 2]
        if pairs := {part: (Path(parts[part]["images"]), Path(parts[part]["labels"])) for part in whole}:
            rule = "the idx files of labels"
            if any(_EMNIST.match(images.name) for images, _ in pairs.values()):
                rule += "; EMNIST's pictures, which lie on their side, are turned"
            found[tuple(file.as_posix() for pair in pairs.values() for file in pair)] = of_pairs(
                "idx files", "the idx files", pairs, _upright, rule, idx.n_samples
            )
    return found


def _upright(path: Path) -> Any:
    values = idx.read_idx(path)
    return values.transpose(0, 2, 1) if values.ndim == 3 and _EMNIST.match(path.name) else values


def cifar_batches(path: Path) -> dict[tuple[str, ...], Reading]:
    """Read CIFAR's own batches in a folder: each set of them by its files."""
    return {
        tuple(file.path for file in entry.files): of_entry(entry, path, "CIFAR's batches", "the batches themselves")
        for entry in datasets.ENTRIES
        if isinstance(entry, Entry) and entry.name.startswith("cifar")
        if all((path / file.path).is_file() for file in entry.files if not file.path.endswith("meta"))
    }
