"""From what labels are, texts or numbers, to classes in their order and a number for each sample."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.reading import Label

Key = TypeVar("Key", bound=Hashable)
_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?")


def classes_and_labels(values: Mapping[Key, Any], task: str) -> tuple[list[str], dict[Key, Label]]:
    """Return the classes in their order, and each sample's label."""
    if task == "regression":
        return [], {sample: _number(value) for sample, value in values.items()}
    if task == "multi-label":
        return _several(values)
    texts = {sample: as_name(value) for sample, value in values.items()}
    order = words.by_value(texts.values())
    number = {name: at for at, name in enumerate(order)}
    return order, {sample: number[text] for sample, text in texts.items()}


def as_name(value: object) -> str:
    """Return the name of a class: ``"2"`` for 2, ``2.0`` and ``"2.0"``."""
    text = words.nfc(str(value)).strip()
    return str(int(float(text))) if "." in text and _WHOLE.fullmatch(text) else text


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SpecError(
            f"The labels are numbers, but one is {value!r}.",
            "Next: mend that row, or leave it empty: it is left out then.",
        ) from None


def _several(values: Mapping[Key, Any]) -> tuple[list[str], dict[Key, Label]]:
    """Several labels a sample: rows of numbers as they are; texts as rows of 0 and 1, a column for each word."""
    first = next(iter(values.values()), ())
    if not isinstance(first, str):
        return [], {sample: [_number(one) for one in value] for sample, value in values.items()}
    sign = separator_of([str(value) for value in values.values()])
    parted = {
        sample: [part.strip() for part in str(value).split(sign) if part.strip()] for sample, value in values.items()
    }
    order = sorted({part for parts in parted.values() for part in parts})
    return order, {sample: [float(name in parts) for name in order] for sample, parts in parted.items()}


def separator_of(values: Sequence[str]) -> str:
    """Return what parts several words in a cell: a bar, a semicolon, a comma, or a blank."""
    return next((sign for sign in ("|", ";", ",") if any(sign in value for value in values)), " ")


def task_of(values: Sequence[Any]) -> str:
    """Say what is learnt from labels that the user gave: rows of numbers, decimals, or else classes."""
    if any(isinstance(value, (list, tuple)) or (hasattr(value, "shape") and value.shape) for value in values):
        return "multi-label"
    if all(isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f" for value in values):
        return "regression"
    return "classification"
