"""From what labels are, texts or numbers, to classes in their order and a number for each sample."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.columns import WHOLE
from datastage.layouts.reading import Label, Reading
from datastage.progress import some

Key = TypeVar("Key", bound=Hashable)


def classes_and_labels(values: Mapping[Key, Any], task: str) -> tuple[list[str], dict[Key, Label]]:
    """Return the classes in their order, and each sample's label."""
    if task == "regression":
        return [], {sample: number_of(value) for sample, value in values.items()}
    if task == "multi-label":
        return _several(values)
    texts = {sample: as_name(value) for sample, value in values.items()}
    order = words.by_value(texts.values())
    number = {name: at for at, name in enumerate(order)}
    return order, {sample: number[text] for sample, text in texts.items()}


def as_name(value: object) -> str:
    """Return the name of a class: ``"2"`` for 2, ``2.0`` and ``"2.0"``."""
    text = words.nfc(str(value)).strip()
    return str(int(float(text))) if "." in text and WHOLE.fullmatch(text) else text


def number_of(value: object) -> float:
    """Return a label that is a number, or raise `SpecError`."""
    try:
        number = float(value)  # type: ignore[arg-type]
        if not math.isfinite(number):
            raise ValueError
        return number
    except (TypeError, ValueError):
        raise SpecError(
            f"The labels are numbers, but one is {value!r}.",
            "Next: mend that row, or leave it empty: it is left out then.",
        ) from None


def is_missing(label: Any) -> bool:
    """Whether a label that was given says that there is none: None, an empty text, NaN; or one of several is so."""
    if getattr(label, "ndim", 0) and label.dtype.kind in "biuf":
        return bool((label != label).any())
    if isinstance(label, (list, tuple)) or getattr(label, "ndim", False):
        return any(map(is_missing, label))
    try:
        return label is None or label == "" or bool(label != label)
    except TypeError:  # of pandas' NA nothing is true
        return True


def _several(values: Mapping[Key, Any]) -> tuple[list[str], dict[Key, Label]]:
    """Several labels a sample: rows of numbers as they are; texts as rows of 0 and 1, a column for each word."""
    first = next(iter(values.values()), ())
    if not isinstance(first, str):
        return [], {sample: [number_of(one) for one in value] for sample, value in values.items()}
    sign = next((sign for sign in ("|", ";", ",") if any(sign in str(value) for value in values.values())), " ")
    parted = {
        sample: [part.strip() for part in str(value).split(sign) if part.strip()] for sample, value in values.items()
    }
    order = sorted({part for parts in parted.values() for part in parts})
    return order, {sample: [float(name in parts) for name in order] for sample, parts in parted.items()}


def task_of(values: Sequence[Any]) -> str:
    """Say what is learnt from labels that the user gave: rows of numbers, decimals, or else classes."""
    if any(isinstance(value, (list, tuple)) or (hasattr(value, "shape") and value.shape) for value in values):
        return "multi-label"
    if all(isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f" for value in values):
        return "regression"
    return "classification"


def check_chosen(classes: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name in ``classes=`` that is none of the classes."""
    if missing := [name for name in classes if name not in known]:
        raise SpecError(
            f"There is no class {missing[0]!r}: there are {some(list(known), 12)}.",
            "Next: one of them in classes=.",
        )


def ordered_classes(reading: Reading, classes: Sequence[str] | None) -> Reading:
    """Apply ``classes=``, an order or a choice, to a reading of pictures."""
    if not classes or reading.task != "classification":
        return reading
    chosen = [words.nfc(name) for name in classes]
    check_chosen(chosen, reading.classes)
    number = {reading.classes.index(name): at for at, name in enumerate(chosen)}
    splits = {}
    for part, split in reading.splits.items():
        if split.labels is not None:
            split = split.rows([at for at, label in enumerate(split.labels) if label in number])
            split = replace(split, labels=[number[label] for label in split.labels or ()])  # type: ignore[index]
        splits[part] = split
    rest = [name for name in reading.classes if name not in chosen]
    left_out = (*reading.left_out, *([f"the classes that classes= does not name: {some(rest)}"] if rest else []))
    return replace(reading, classes=tuple(chosen), splits=splits, left_out=left_out)
