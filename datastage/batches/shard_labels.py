"""What a sample of a shard is trained on: its ``cls``, a key of its ``json``, or what ``labels=`` says."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datastage.batches.to_device import IGNORED
from datastage.errors import IntegrityError, SpecError
from datastage.progress import Reporter, some
from datastage.shards.members import Sample

# Keys of a sample's JSON that may be its label, if it has just one of them.
KEYS = ("label", "class", "cls", "category", "target", "class_id", "category_id")
TRIED = 20  # of the samples of another part so many are asked whether they have labels
MOST_TRIED = 1_000  # of shards on this machine so many, as far as none has
_WHOLE = re.compile(r"[+-]?\d{1,4000}")  # Python's int takes no more by itself
_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=e))(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE)
_MOST = np.iinfo(np.int64).max
Kind = Literal["whole", "float", "name", "key"]
Read = Callable[[str], bytes]


@dataclass(frozen=True)
class LabelRule:
    """Where a sample's label is, and what it is; the kind ``"key"`` is for samples without one."""

    part: str
    key: str = ""
    by_key: Callable[[str], Any] | None = None
    kind: Kind = "whole"
    classes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The rule as a person writes it."""
        return f"{self.part}:{self.key}" if self.key else self.part

    def value(self, sample: Sample, read: Read) -> Any:
        """Return the label as it is written; raises `IntegrityError` where there is none."""
        if self.by_key is not None:
            return self.by_key(sample.key)
        if self.part not in sample.parts:
            raise IntegrityError(
                f"The sample {sample.key!r} has no {self.part}: it has {', '.join(sample.parts)}.",
                "Next: pack the shards anew, or say where labels are with labels=.",
            )
        data = read(self.part)
        if not self.key and not _is_json(self.part):
            if b"\0" in data:
                raise IntegrityError(
                    f"The {self.part} of the sample {sample.key!r} is no text.",
                    "Next: labels= names another part, or is a function from key to label.",
                )
            text = data.decode("utf-8", "replace").strip()
            return text if self.kind == "name" else _plain(text)
        found = _json(data, sample)
        if not self.key and not isinstance(found, dict):
            return found
        if not isinstance(found, dict) or self.key not in found:
            has = ", ".join(found) if isinstance(found, dict) else f"{found!r:.60}"
            raise IntegrityError(
                f"The sample {sample.key!r} has no {self.key!r} in its JSON: it has {has}.",
                "Next: name another key, as in labels='json:label'.",
            )
        return found[self.key]

    def name(self, value: Any, sample: Sample) -> str:
        """Return the name of a class; raises `IntegrityError` where a label is none."""
        if _is_missing(value) or isinstance(value, list | tuple | dict):
            raise self._odd(value, sample, "names of classes")
        return str(value)

    def is_untold(self, value: Any) -> bool:
        """Whether a label is a number below nought that may stand for none, as -1 of a test part."""
        number = _plain(value) if isinstance(value, str) else value
        is_below = isinstance(number, int | np.integer) and number < 0 and number != IGNORED
        return bool(is_below and self.kind != "float" and str(value) not in self.classes)

    def array(self, values: Sequence[Any], samples: Sequence[Sample]) -> NDArray[Any]:
        """Return the labels of a batch: int64 of classes, float32 of measures, (N, ...) of rows; else the keys."""
        if self.kind == "key":
            return np.array([sample.key for sample in samples], str)
        if self.kind == "name":
            number = {name: i for i, name in enumerate(self.classes)}
            values = [number.get(self.name(value, sample), -1) for value, sample in zip(values, samples)]
        try:
            made = np.array(values, np.float32 if self.kind == "float" else None)
        except (ValueError, TypeError, OverflowError):
            made = np.array(None)
        if self.kind == "float":
            if not made.ndim or np.isnan(made).any():
                self._check(values, samples, "measures", "iubf")
            return made
        if made.dtype.kind not in "iub" or made.dtype == np.uint64:
            self._check(values, samples, "whole numbers", "iub")
            made = np.array(values, np.int64)
        if self.classes and made.ndim == 1:
            bad = (made >= len(self.classes)) | ((made < 0) & ((made != IGNORED) | (self.kind == "name")))
            if bad.any():
                at = int(bad.argmax())
                step = f"pack the shards anew without it, or with {IGNORED}, which a loss passes over"
                raise IntegrityError(
                    f"The class of the sample {samples[at].key!r} is none of the {len(self.classes):,} that are known.",
                    f"Next: {step if made[at] < 0 and self.kind != 'name' else 'give all classes with classes='}.",
                )
        return made.astype(np.int64)

    def _check(self, values: Sequence[Any], samples: Sequence[Sample], what: str, kinds: str) -> None:
        """Raise an error that names the first label which is unlike the others."""
        shape = np.shape(values[0]) if _is_even(values[0]) else None
        for value, sample in zip(values, samples):
            is_number = isinstance(value, str) and what == "measures" and isinstance(_plain(value), int | float)
            even = _is_even(value) and np.shape(value) == shape
            if even and np.asarray(value).dtype == np.uint64:
                even = what == "measures" or bool((np.asarray(value) <= _MOST).all())
            if _is_missing(value) or not even or not (is_number or np.asarray(value).dtype.kind in kinds):
                raise self._odd(value, sample, what + (f", {shape[0]} of each sample" if shape else ""))

    def _odd(self, value: Any, sample: Sample, what: str) -> IntegrityError:
        return IntegrityError(
            f"The label of the sample {sample.key!r} is {value!r:.60}, and labels in {self.where} are {what}.",
            "Next: pack the shards anew without it, or say where labels are with labels=.",
        )


def rule_of(samples: Sequence[Sample], read: Callable[[Sample, str], bytes], labels: Any) -> LabelRule:
    """Find out where labels are, from the first samples of a part; raises `SpecError` where only the user knows."""
    samples = [sample for sample in samples if sample.picture()] or samples
    first = samples[0]
    rule = _named(labels)
    if rule is None:
        part = next((part for part in ("cls", "json") if part in first.parts), None)
        if part is None:
            others = [part for part in first.parts if part != first.picture()]
            raise SpecError(
                f"The samples have no label: {first.key!r} has {', '.join(first.parts)}, and no cls and no json.",
                f"Next: labels={others[0] if others else 'cls'!r}, a mapping from key to label, or a function of it.",
            )
        rule = LabelRule(part)
    if rule.by_key is None and not rule.key and _is_json(rule.part) and rule.part in first.parts:
        found = _json(read(first, rule.part), first)
        if isinstance(found, dict):
            keys = [key for key in KEYS if key in found]
            if len(keys) != 1:
                raise SpecError(
                    f"Which key of a sample's JSON is its label is not plain: it has {', '.join(map(str, found))}.",
                    f"Next: labels='{rule.part}:{(keys or [*map(str, found), 'label'])[0]}'.",
                )
            rule = replace(rule, key=keys[0])
    return replace(rule, kind=_kind([rule.value(sample, partial(read, sample)) for sample in samples]))


def is_labelled(
    rule: LabelRule,
    samples: Sequence[Sample],
    read: Callable[[Sample, str], bytes],
    labels: Any,
    asked: Iterable[tuple[Sample, Read]],
    train: Iterable[tuple[Sample, Read]],
) -> tuple[bool, int, str]:
    """Whether the samples of another part have labels: those of the rule, or, where none were named, any.

    They are `asked` until one has a label; returned are also how many were, and the first without one if another has.
    Where nobody knows the classes, one number below nought stands for no label if it is that of no sample of `train`.
    """
    untold, n, lacking = set(), 0, ""
    for n, (sample, part) in enumerate(asked, 1):
        value = None
        with contextlib.suppress(IntegrityError, SpecError):
            value = rule.value(sample, part)
        is_untold = rule.is_untold(value)
        if not is_untold and not _is_missing(value):
            return True, n, lacking
        if is_untold:
            untold.add(str(value))
        if rule.classes or not is_untold:
            lacking = lacking or sample.key
    has = False
    if untold:
        has = not rule.classes and (len(untold) > 1 or any(str(rule.value(*one)) in untold for one in train))
        return has, n, lacking if has else ""
    with contextlib.suppress(IntegrityError, SpecError):
        has = labels is None and rule_of(samples, read, None).kind != "key"
    return has, n, ""


def _named(labels: Any) -> LabelRule | None:
    if labels is None:
        return None
    if isinstance(labels, str) and labels and all(c.isprintable() for c in labels):
        part, _, key = labels.partition(":")
        return LabelRule(part.removeprefix(".").lower(), key)
    if isinstance(labels, Mapping):
        return LabelRule("labels", by_key=partial(_mapped, dict(labels)))
    if callable(labels):
        return LabelRule("labels", by_key=labels)
    raise SpecError(
        f"labels={labels!r}: of shards it names a part of the samples, is a mapping from key to label, or a function.",
        "Next: labels='cls', or labels='json:label'.",
    )


def _mapped(labels: dict[str, Any], key: str) -> Any:
    for name in (key, key.rpartition("/")[2]):
        if name in labels:
            return labels[name]
    raise SpecError(f"labels= has no label for the sample {key!r}.", "Next: a label for each key of the shards.")


def with_classes(
    rule: LabelRule, classes: Sequence[str], every: Callable[[], Iterable[str]] | None, reporter: Reporter
) -> LabelRule:
    """Add the names of the classes to a rule, and say what was taken; `every` gives all labels, where that is quick."""
    names = tuple(map(str, classes))
    if rule.kind == "name" and not names:
        if every is None:
            raise SpecError(
                f"Labels in {rule.where} are names, and without an index nobody knows which there are.",
                "Next: classes=['cat', 'dog'], all of them, in order.",
            )
        names = tuple(sorted(set(every())))
    if names:
        reporter.note(f"{len(names):,}, from {rule.where}: {some(list(names))}", "Classes")
    elif rule.kind != "key":
        what = {"whole": "whole numbers", "float": "measures"}.get(rule.kind, rule.kind)
        reporter.note(f"{what}, from {rule.where} (classes= names them)", "Labels")
    return replace(rule, classes=names)


def _plain(text: str) -> Any:
    """Return a text as the number that it is, else as it is."""
    return int(text) if _WHOLE.fullmatch(text) else float(text) if _DECIMAL.fullmatch(text) else text


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and value != value)


def _is_even(value: Any) -> bool:
    """Whether a label is one value, or rows of one length, none of them missing."""
    try:
        return None not in np.array(value, object).ravel().tolist() and np.asarray(value).dtype.kind != "O"
    except (ValueError, TypeError):
        return False


def _is_json(part: str) -> bool:
    return part.rpartition(".")[2] == "json"


def _kind(values: Sequence[Any]) -> Kind:
    kinds: set[Kind] = set()
    for value in values:
        value = value.tolist() if hasattr(value, "tolist") else value
        is_row = isinstance(value, list | tuple) and bool(value)
        for one in value if is_row else [value]:
            one = one.item() if hasattr(one, "item") else one  # of a list of numpy's numbers
            kinds.add("whole" if isinstance(one, int) else "float" if isinstance(one, float) else "name")
            odd = one is None or isinstance(one, str) if is_row else _is_missing(one)
            if odd or isinstance(one, list | dict | tuple):
                raise SpecError(
                    f"A label of these samples is {value!r:.60}, which is neither a number nor a name.",
                    "Next: name another part or key with labels=, or a function from key to label.",
                )
    order: tuple[Kind, ...] = ("name", "float", "whole")
    return next(kind for kind in order if kind in kinds)


def _json(data: bytes, sample: Sample) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise IntegrityError(
            f"The JSON of the sample {sample.key!r} cannot be read.", "Next: say where labels are with labels=."
        ) from None
