"""Labels of every kind: classes by number or name, measures, and rows of several, as the arrays that batches hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.batches.to_device import IGNORED, are_classes
from datastage.errors import SpecError
from datastage.layouts.labels import check_numbers, is_missing
from datastage.layouts.words import by_value
from datastage.progress import Reporter, some

_PREDICT = "Next: datastage.loaders({'train': (x, y), 'predict': (x_test, None)}, batch_size=64), if it has no labels."


@dataclass(frozen=True, slots=True)
class Given:
    """How the user gave samples: what the lines of code in errors are for, and whether ``classes=`` is theirs."""

    are_lists: bool = False
    are_parts: bool = False
    are_files: bool = False


def targets_of(
    splits: Mapping[str, Any], classes: Sequence[str], reporter: Reporter, given: Given = Given()
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return each split's labels as int64 of classes or float32 of measures, and the names of the classes.

    Names, and whole numbers that do not begin at 0, are numbered in order; rows of several, (N, ...), stay as they are.
    """
    found = {name: _array(name, labels, given) for name, labels in splits.items()}
    first = found["train"]
    for name, labels in found.items():
        _check_given(name, labels, reporter, splits[name], given)
        if labels.shape[1:] != first.shape[1:] or labels.dtype.kind != first.dtype.kind:
            own, theirs = (f"labels of shape {one.shape} and type {one.dtype}" for one in (labels, first))
            raise SpecError(f"{name}: {own}; train has {theirs}.")
    if classes and first.ndim == 1 and first.dtype.kind == "f":
        raise SpecError(
            f"classes={some(list(classes))}: the labels are floats, which are measures.",
            "Next: labels.astype(int) (of a tensor labels.long()), if they number classes; else leave classes= out.",
        )
    if classes and not given.are_files and are_classes(first):
        check_numbers(classes, np.unique(first[first != IGNORED]).tolist(), "of train")
    named = bool(classes) and are_classes(first) and 0 <= _least(first) <= first.max() < len(classes)
    if first.dtype.kind == "U" or (are_classes(first) and _least(first) != 0 and not named):
        return _numbered(found, classes, reporter)
    if are_classes(first) and (classes or (first != IGNORED).any()):
        for name, labels in found.items():
            _check_known(name, labels, len(classes) or max(0, int(first.max(initial=0))) + 1, bool(classes), given)
    if first.ndim == 2 and first.shape[1] > 1 and ((first == 0) | (first == 1)).all() and (first.sum(1) == 1).all():
        reporter.note("each row holds a single 1: labels.argmax(1) gives numbers of classes", "Labels")
    return found, tuple(classes)


def array_of(name: str, values: Any) -> NDArray[Any]:
    """Return what a user gave as an array; a tensor may be on a device, and be trained."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(f"{name} is no array: {str(error).splitlines()[0]}.") from error


def _array(name: str, labels: Any, given: Given) -> NDArray[Any]:
    array = array_of(f"{name}: what is given as labels", labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]  # as Keras' own datasets have them
    if not array.ndim:
        raise SpecError(f"{name}: a single label; one for each image, shape (N,), is needed.")
    if array.dtype.kind == "U" and array.ndim == 1 and any(label != label for label in labels):
        array = np.array(labels, object)  # of a list numpy makes a name of NaN
    for kind in (str, bytes) if array.dtype.kind == "O" else ():
        array = array.astype(kind) if all(isinstance(label, kind) for label in array.ravel()) else array
    if array.dtype.kind == "O" and array.ndim == 1 and any(gone := list(map(is_missing, array))):
        is_pandas = any(type(label).__module__.startswith("pandas") for label in array)
        is_there = (
            "not pandas.isna(label) and label != ''" if is_pandas else "label not in (None, '') and label == label"
        )
        keep = f"numpy.array([{is_there} for label in y])"
        raise _missing(name, np.array(gone), "missing", keep, labels, given, ".tolist()")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind in "iub":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "U" and array.ndim == 1:
        return array
    raise SpecError(
        f"{name}: labels of type {array.dtype} and shape {array.shape}; numbers or names are needed.",
        "Next: np.unique(labels, return_inverse=True)[1] numbers whatever can be sorted.",
    )


def _check_given(name: str, labels: NDArray[Any], reporter: Reporter, values: Any, given: Given) -> None:
    """Refuse labels that are missing; where a sample has several, a loss of the user's own may mask them."""
    if labels.dtype.kind not in "fU":
        return
    gone = ~np.isfinite(labels) if labels.dtype.kind == "f" else labels == ""
    if labels.ndim > 1 and gone.any():
        return reporter.note(
            f"NaN or infinity in {int(gone.reshape(len(gone), -1).any(1).sum()):,} rows of {name}, as they are",
            "Labels",
        )
    if gone.any():
        is_number = labels.dtype.kind == "f"
        empty = "y != b''" if isinstance(array_of(name, values).flat[0], bytes) else "y != ''"
        keep = "numpy.isfinite(y)" if is_number else empty
        raise _missing(name, gone, "NaN or infinite" if is_number else "empty", keep, values, given)


def _missing(
    name: str, gone: NDArray[np.bool_], what: str, keep: str, values: Any, given: Given, last: str = ""
) -> SpecError:
    kept = f"(x[keep], y[keep]{last})"
    kept = f"parts | {{{name!r}: {kept}}}" if given.are_parts else kept
    line = f"keep = {keep}; datastage.loaders({kept}, batch_size=64)"
    if hasattr(values, "detach"):
        line = f"y = y.detach().cpu().float().numpy().ravel(); {line}"
    elif type(values) is not np.ndarray or values.ndim > 1:
        line = f"y = numpy.asarray(y{', object' if last else ''}).ravel(); {line}"
    line = "x = numpy.asarray(x); " * given.are_lists + line
    if given.are_parts:
        line = f"x, y = parts[{name!r}]; {line}"
    if given.are_files:
        line = f"read = datastage.read(path); parts = {{part: read.arrays(part) for part in read.splits}}; {line}"
    used = ", ".join(module for module in ("numpy", "pandas") if f"{module}." in line)
    step = f"Next: import {used}; {line}" if used else f"Next: {line}"
    step += ", where parts is the mapping given" * (given.are_parts and not given.are_files)
    return SpecError(
        f"{name}: of {len(gone):,} labels {int(gone.sum()):,} are {what}, so these samples have none.",
        _PREDICT if name != "train" and gone.all() else step,
    )


def _least(labels: NDArray[Any]) -> int:
    """Return the lowest class; a sample whose label is to be ignored has none."""
    classes = labels[labels != IGNORED]
    return int(classes.min()) if len(classes) else 0


def _check_known(name: str, labels: NDArray[Any], n: int, named: bool, given: Given) -> None:
    """Refuse a number that is none of the `n` classes, numbered from 0."""
    strange = labels[((labels < 0) | (labels >= n)) & (labels != IGNORED)]
    if len(strange):
        few = f"classes= names {n:,} alone" if named else f"train has 0 to {n - 1:,}"
        able = [f"{name}=0 leaves {name} out"] * (name != "train")
        able += ["classes= with a name for each class, from 0 on"] * bool(strange.min() >= 0)
        able += ["for measures, labels.astype('float32') (of a tensor labels.float())"] * (not given.are_files)
        step = f"Next: {'; or '.join(able)}."
        raise SpecError(f"{name} has the class {strange[0]}, and {few}.", _next(name, labels) or step)


def _next(name: str, labels: NDArray[Any]) -> str:
    """Return what helps where all labels of a part other than train are placeholders; else nothing."""
    if name == "train" or labels.dtype.kind != "i" or (labels >= 0).any():
        return ""
    return _PREDICT


def _numbered(
    found: dict[str, NDArray[Any]], classes: Sequence[str], reporter: Reporter
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    first = found["train"]
    names = first.dtype.kind == "U"
    known = np.unique(first if names else first[first != IGNORED])
    if names:
        known = np.array(list(classes) or by_value(known.tolist()))
    order = np.argsort(known)
    numbered = {}
    for split, labels in found.items():
        at = np.searchsorted(known, labels, sorter=order).clip(0, len(known) - 1)
        number = order[at]
        strange = known[number] != labels
        if not names:
            strange &= labels != IGNORED
            number[labels == IGNORED] = IGNORED
        if strange.any():
            raise SpecError(
                f"{split} has the class {labels[strange][0].item()!r}, which "
                + ("train has not." if split != "train" else "is none of classes=."),
                _next(split, labels)
                or "Next: "
                + f"{split}=0 leaves {split} out; or " * (split != "train")
                + "look for a misspelt label, or pass labels numbered from 0.",
            )
        numbered[split] = number.astype(np.int64)
    said = [str(name) for name in known]
    if classes and len(classes) != len(said):
        raise SpecError(
            f"classes= names {len(classes):,} classes, and train has {len(said):,}: {some(said)}.",
            "Next: a name for each of these, in their order.",
        )
    classes = classes or said
    where = "by name" if names else f"from {said[0]} to {said[-1]}, numbered from 0"
    reporter.note(f"{len(said):,} {where}: {some(said)}", "Classes")
    return numbered, tuple(classes)
