"""From what labels are, texts or numbers, to classes in their order and a number for each sample."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.columns import WHOLE, is_number
from datastage.layouts.reading import Arrays, Label, Reading
from datastage.progress import some

Key = TypeVar("Key", bound=Hashable)
_NONE = words.listed("? - -- nan null none na n/a unknown unlabeled unlabelled missing tbd")
"""Labels of another part than train that stand for none, where train has no such class."""
_NUMBERS = words.listed("-1 -9 -99 -100 -999 -1000 -9999 -99999")
"""Numbers that do so; of measures where more than `_FEW` samples of a part have one of them, and no other."""
_FEW = 3


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
    return str(int(text.partition(".")[0])) if "." in text and WHOLE.fullmatch(text) else text


def stand_ins(labels: Collection[Any], known: Collection[str], measured: bool) -> set[Any]:
    """Return those labels of another part that stand for none: ``?``, ``-1``, where train has only the `known` ones.

    A measure is one of its own: a number stands for none where a whole part is the same placeholder.
    """
    every = set(labels)
    strange = {label for label in every if known and label != "" and as_name(label) not in known}
    gone = {label for label in strange if as_name(label).lower() in _NONE - {name.lower() for name in known}}
    below = {as_name(label) for label in strange - gone}
    is_one = len(below) == 1 and below <= _NUMBERS
    if measured:
        is_one = is_one and len(labels) > _FEW and every <= strange | {""}
    if {*known} == {"0", "1"} and {as_name(label) for label in every} == {"-1", "1"}:
        return gone  # two classes, written in two ways
    return strange if is_one and not any(name[:1] == "-" and is_number(name) for name in known) else gone


def without_label(values: Mapping[Key, Any], parts: Mapping[Key, str], measured: bool) -> set[Key]:
    """Return the samples of other parts than train whose label stands for none."""
    by_part: dict[str, list[Any]] = {}
    for sample, value in values.items():
        by_part.setdefault(parts[sample], []).append(value)
    known = set(map(as_name, set(by_part.pop("train", ()))))
    gone = {part: stand_ins(labels, known, measured) for part, labels in by_part.items()}
    return {sample for sample, value in values.items() if value in gone.get(parts[sample], ())}


def untrained(reading: Reading) -> Reading:
    """Say of a reading which classes another part has and train has not."""
    labels = {part: split.labels for part, split in reading.splits.items() if split.labels}
    if reading.task != "classification" or not reading.classes or "train" not in labels:
        return reading
    own: dict[str, set[Any]] = {part: set(of) for part, of in labels.items()}
    alone: dict[str, list[str]] = {}
    for number in sorted(set().union(*own.values()) - own["train"]):
        on = " and ".join(part for part, numbers in own.items() if number in numbers)
        alone.setdefault(on, []).append(reading.classes[number])
    said = [
        f"Classes   {some(names)} {'is' if len(names) == 1 else 'are'} in {on} alone" for on, names in alone.items()
    ]
    return replace(reading, said=(*reading.said, *said))


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


def chosen(arrays: Arrays, known: Sequence[str], classes: Sequence[str] | None) -> Arrays:
    """Apply ``classes=``, an order or a choice, to arrays whose labels are numbers of the `known` classes."""
    if not classes:
        return arrays
    check_chosen(classes, known)
    return partial(_chosen, arrays, [known.index(name) for name in classes], len(known))


def _chosen(arrays: Arrays, places: list[int], n: int, split: str) -> tuple[Any, Any]:
    import numpy as np

    images, labels = arrays(split)
    if split == "predict":
        return images, labels
    if labels.ndim > 1:  # a column for each class
        return images, labels[:, places]
    number = np.full(n, -1)
    number[places] = np.arange(len(places))
    keep = number[labels] >= 0
    return images if keep.all() else images[keep], number[labels][keep]


def _numbers_of(reading: Reading, arrays: Arrays) -> tuple[list[int], bool]:
    """Return the numbers that are classes of train, in order, and whether other parts have no others."""
    import numpy as np

    labels = {part: arrays(part)[1] for part in reading.splits if part != "predict"}
    if any(one.ndim > 1 or one.dtype.kind not in "iu" for one in labels.values()):
        return [], False
    every = {part: np.unique(one).tolist() for part, one in labels.items()}
    return every["train"], all(set(every["train"]) >= set(numbers) for numbers in every.values())


def check_numbers(classes: Sequence[str], numbers: Sequence[int], rule: str) -> None:
    """Refuse numbers in ``classes=`` as names of other numbers: those of labels, in order.

    Places from 0 on have any names, but for those of each other.
    """
    if not all(map(WHOLE.fullmatch, classes)):
        return
    values = [int(name.partition(".")[0]) for name in classes]
    by_place = len(numbers) > 0 and numbers[0] >= 0 and numbers[-1] < len(classes)
    places = numbers if by_place else range(len(classes))
    wrong = next(((number, classes[at]) for number, at in zip(numbers, places) if values[at] != number), None)
    if wrong and (list(numbers) != list(range(len(classes))) or {*values} == {*numbers}):
        raise SpecError(
            f"classes={some(list(classes))} calls the number {wrong[0]} {wrong[1]!r} ({rule}): it names "
            "numbers in their order.",
            "Next: a name that is no number for each, from the lowest on; or leave classes= out.",
        )


def _placed(arrays: Arrays, numbers: Sequence[int], split: str) -> tuple[Any, Any]:
    import numpy as np

    images, labels = arrays(split)
    return images, labels if split == "predict" else np.searchsorted(numbers, labels)


def ordered_classes(reading: Reading, classes: Sequence[str] | None) -> Reading:
    """Apply ``classes=`` to a reading: an order or a choice; of numbers that have no names, a name for each."""
    if not classes or reading.classes == tuple(classes):
        return reading
    if reading.task == "regression":
        raise SpecError(
            f"classes={some(list(classes))}: the labels are numbers, which are measures ({reading.rule}).",
            "Next: leave classes= out, or name another column: labels=...",
        )
    known = reading.classes
    numbered = reading.layout == "parquet" and all(map(WHOLE.fullmatch, known))
    if numbered and len(known) == len(classes) and not any(map(WHOLE.fullmatch, classes)):
        return replace(reading, classes=tuple(classes))
    rows = next((split.labels for split in reading.splits.values() if split.labels), None)
    if not reading.classes and rows is None and reading.arrays and all(map(WHOLE.fullmatch, classes)):
        numbers, are_all = _numbers_of(reading, reading.arrays)
        known = tuple(map(str, numbers))
        if not set(classes) <= set(known):
            check_numbers(classes, numbers, reading.rule)
        elif are_all:
            reading = replace(reading, classes=known, arrays=partial(_placed, reading.arrays, numbers))
    if not reading.classes and (rows is None or len(rows[0]) == len(classes)):  # type: ignore[arg-type]
        return replace(reading, classes=tuple(classes))
    names = [words.nfc(name) for name in classes]
    check_chosen(names, reading.classes or [str(at) for at in range(len(rows[0]))])  # type: ignore
    arrays = None if reading.arrays is None else chosen(reading.arrays, reading.classes, names)
    places = [reading.classes.index(name) for name in names]
    number = {place: at for at, place in enumerate(places)}
    rest = [name for name in reading.classes if name not in names]
    splits = {}
    for part, split in reading.splits.items():
        if split.labels and reading.task == "multi-label":
            split = replace(split, labels=[[row[at] for at in places] for row in split.labels])  # type: ignore[index]
        elif split.labels:
            split = split.rows([at for at, label in enumerate(split.labels) if label in number])
            split = replace(split, labels=[number[label] for label in split.labels or ()])  # type: ignore[index]
        elif rest and arrays is not None and part != "predict":
            split = replace(split, n=len(arrays(part)[1]))
        splits[part] = split
    told = [f"the classes that classes= does not name: {some(rest)}"] if rest else []
    for part in [part for part, split in splits.items() if len(reading.splits[part]) and not len(split)]:
        if part == "train":
            raise SpecError(
                f"No sample of train is of {some(names)}.", "Next: name classes that train has: classes=..."
            )
        del splits[part]
        told.append(f"the part {part}: none of its {len(reading.splits[part]):,} samples is of these classes")
    left_out = (*reading.left_out, *told)
    return replace(reading, classes=tuple(names), splits=splits, left_out=left_out, arrays=arrays)
