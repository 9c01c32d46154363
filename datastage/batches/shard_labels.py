"""What a sample of a shard is trained on: its ``cls``, a key of its ``json``, or what ``labels=`` says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datastage.errors import IntegrityError, SpecError
from datastage.progress import Reporter, some
from datastage.shards.members import Sample

KEYS = ("label", "class", "cls", "category", "target", "class_id", "category_id")
"""Keys of a sample's JSON that may be its label, if it has just one of them."""
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
        text = read(self.part)
        if not self.key:
            return _plain(text.decode("utf-8", "replace").strip())
        found = _json(text, sample)
        if self.key not in found:
            raise IntegrityError(
                f"The sample {sample.key!r} has no {self.key!r} in its JSON: it has {', '.join(found)}.",
                "Next: name another key, as in labels='json:label'.",
            )
        return found[self.key]

    def array(self, values: Sequence[Any], samples: Sequence[Sample]) -> NDArray[Any]:
        """Return the labels of a batch: int64 of classes, float32 of measures, (N, ...) of rows; else the keys."""
        if self.kind == "key":
            return np.array([sample.key for sample in samples], str)
        if self.kind == "float":
            return np.array(values, np.float32)
        if self.kind == "name":
            number = {name: i for i, name in enumerate(self.classes)}
            values = [number.get(str(value), -1) for value in values]
        made = np.array(values)
        bad = made < 0 if self.kind == "name" else np.zeros(made.shape, bool)
        if self.kind == "whole":
            if made.dtype.kind not in "iub":
                raise IntegrityError(
                    f"Labels in {self.where} are whole numbers, and one here is none.", "Next: look at the shard."
                )
            bad = made >= len(self.classes) if self.classes else bad
        if bad.any():
            which = samples[int(np.flatnonzero(bad.reshape(len(samples), -1).any(1))[0])].key
            raise IntegrityError(
                f"The class of the sample {which!r} is none of the {len(self.classes):,} that are known.",
                "Next: give all classes with classes=.",
            )
        return made.astype(np.int64)


def rule_of(samples: Sequence[Sample], read: Callable[[Sample, str], bytes], labels: Any, *, needed: bool) -> LabelRule:
    """Find out where labels are, from the first samples of a part; raises `SpecError` where only the user knows.

    Where they are not `needed`, and there are none, the rule gives the keys of the samples.
    """
    rule = _named(labels)
    first = samples[0]
    if rule is None:
        if "cls" in first.parts:
            rule = LabelRule("cls")
        elif "json" in first.parts:
            found = _json(read(first, "json"), first)
            keys = [key for key in KEYS if key in found]
            if len(keys) != 1:
                raise SpecError(
                    f"Which key of a sample's JSON is its label is not plain: it has {', '.join(map(str, found))}.",
                    f"Next: labels='json:{(keys or [*map(str, found), 'label'])[0]}'.",
                )
            rule = LabelRule("json", keys[0])
        elif not needed:
            return LabelRule("", kind="key")
        else:
            others = [part for part in first.parts if part != first.picture()]
            raise SpecError(
                f"The samples have no label: {first.key!r} has {', '.join(first.parts)}, and no cls and no json.",
                f"Next: labels={others[0] if others else 'cls'!r}, a mapping from key to label, or a function of it.",
            )
    return replace(rule, kind=_kind([rule.value(sample, partial(read, sample)) for sample in samples]))


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
    rule: LabelRule, classes: Sequence[str], every: Callable[[], Iterable[Any]] | None, reporter: Reporter
) -> LabelRule:
    """Add the names of the classes to a rule, and say what was taken; `every` gives all labels, where that is quick."""
    names = tuple(map(str, classes))
    if rule.kind == "name" and not names:
        if every is None:
            raise SpecError(
                f"Labels in {rule.where} are names, and without an index nobody knows which there are.",
                "Next: classes=['cat', 'dog'], all of them, in order.",
            )
        names = tuple(sorted(set(map(str, every()))))
    if names:
        reporter.note(f"{len(names):,}, from {rule.where}: {some(list(names))}", "Classes")
    elif rule.kind != "key":
        what = {"whole": "whole numbers", "float": "measures"}.get(rule.kind, rule.kind)
        reporter.note(f"{what}, from {rule.where} (classes= names them)", "Labels")
    return replace(rule, classes=names)


def _plain(text: str) -> Any:
    """Return a text as the number that it is, else as it is."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _kind(values: Sequence[Any]) -> Kind:
    kinds: set[Kind] = set()
    for value in values:
        flat = value if isinstance(value, list | tuple) and value else [value]
        for one in flat:
            one = one.item() if hasattr(one, "item") else one
            kinds.add("whole" if isinstance(one, int) else "float" if isinstance(one, float) else "name")
            if isinstance(one, list | dict | tuple) or one is None or (one == "" and isinstance(one, str)):
                raise SpecError(
                    f"A label of these samples is {one!r:.60}, which is neither a number nor a name.",
                    "Next: name another part or key with labels=.",
                )
    order: tuple[Kind, ...] = ("name", "float", "whole")
    return next(kind for kind in order if kind in kinds)


def _json(data: bytes, sample: Sample) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise IntegrityError(
            f"The JSON of the sample {sample.key!r} cannot be read.", "Next: say where labels are with labels=."
        )
    return found
