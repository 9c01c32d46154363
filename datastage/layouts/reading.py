"""What given data is: the task, the parts, the classes, each sample's label, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datastage.progress import some, with_and

if TYPE_CHECKING:
    from numpy.typing import NDArray

Label = int | float | Sequence[float]
Arrays = Callable[[str], "tuple[NDArray[Any], NDArray[Any]]"]
UNEVEN = 10
"""Classes are called uneven where the largest has so many times the samples of the smallest."""


@dataclass(frozen=True, slots=True)
class Split:
    """A part of the data: its samples, in order, and the label of each.

    `names` are posix paths of pictures, relative to the data (empty where the samples are rows of arrays); `labels` are
    for each a place in `Reading.classes`, a number or a row of numbers (None where there are none); `n` counts them;
    `seen` is what the part is called in the data.
    """

    names: Sequence[str] = ()
    labels: Sequence[Label] | None = None
    n: int = -1
    seen: str = ""

    def __len__(self) -> int:
        return len(self.names) if self.names else max(0, self.n)

    def rows(self, at: Sequence[int]) -> Split:
        """Return the samples at these places."""
        labels = None if self.labels is None else [self.labels[i] for i in at]
        return Split([self.names[i] for i in at] if self.names else (), labels, len(at), self.seen)


@dataclass(frozen=True, slots=True)
class Reading:
    """What `datastage.loaders` takes given data for.

    Attributes
    ----------
    layout : str
        How the files lie: ``"class folders"``, ``"a table beside pictures"``.
    task : str
        ``"classification"``, ``"regression"``, ``"multi-label"``, or ``"none"`` where no sample has a label.
    kind : str
        ``"pictures"`` where samples are picture files, ``"arrays"`` where `arrays` gives them.
    classes : tuple of str
        Their names, in the order of the labels; empty where labels are numbers without names.
    splits : mapping of str to Split
        ``"train"``, ``"val"``, ``"test"``; and ``"predict"`` for the samples without labels.
    rule : str
        Where the labels come from: ``"folders"``, ``'column "label" of train.csv'``.
    pictures : str
        How a table's rows find their pictures: ``'column "image_id", in train_images: 12 of 12 are there'``.
    left_out : tuple of str
        What was left out and why, a line each.
    said : tuple of str
        What else a person should know: ``"Uneven    from 4 (rare) to 900 (common) samples a class"``.
    arrays : callable or None
        Gives images (uint8 NHWC, or float32 rows) and labels of a part. ``predict`` gives ids in place of labels.
    """

    layout: str
    task: str = "classification"
    kind: str = "pictures"
    classes: tuple[str, ...] = ()
    splits: Mapping[str, Split] = field(default_factory=dict)
    rule: str = ""
    pictures: str = ""
    left_out: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    arrays: Arrays | None = None

    def counts(self, split: str = "train") -> dict[str, int]:
        """Return how many samples of a part each class has, in the order of the classes."""
        part = self.splits.get(split)
        if part is None or not part.labels or not self.classes or self.task == "multi-label":
            return {}
        found = Counter(part.labels)
        return {name: found[number] for number, name in enumerate(self.classes)}

    def lines(self) -> list[str]:
        """Say what was taken, as a person reads it: a label, blanks, and what it is."""
        said = [self._classes_line()]
        if self.pictures:
            said.append(f"Pictures  {self.pictures}")
        parts = {split: part for split, part in self.splits.items() if split != "predict"}
        if len(parts) > 1 or any(part.seen for part in parts.values()):
            seen = [part.seen for part in parts.values() if part.seen]
            named = ", ".join(f"{split} {len(part):,}" for split, part in parts.items())
            folders = f": the folder{'s' if len(seen) > 1 else ''} {with_and(seen)}" if seen else ""
            said.append(f"Parts     {named}{folders if self.kind == 'pictures' else ''}")
        predict = self.splits.get("predict")
        if predict is not None:
            what = "pictures" if self.kind == "pictures" else "rows"
            where = f" ({predict.seen})" if predict.seen else ""
            said.append(f"Left out  {len(predict):,} {what} without labels{where}: they are .predict")
        said += [f"Left out  {line}" for line in self.left_out]
        counts = self.counts()
        if counts and max(counts.values()) >= UNEVEN * max(1, min(counts.values())):
            least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
            said.append(f"Uneven    from {counts[least]:,} ({least}) to {counts[most]:,} ({most}) samples a class")
        return [line for line in [*said, *self._said()] if line]

    def _said(self) -> list[str]:
        """Return what else to say; also of classes that a table calls by numbers, where batches have others."""
        names = list(self.classes)
        if self.layout != "a table" or names == [str(at) for at in range(len(names))]:
            return list(self.said)
        numbers = f"Numbered  the labels are {some(names)}: in batches they are 0 to {len(names) - 1}"
        return [*self.said, *([numbers] if all(name.lstrip("-").isdigit() for name in names) else [])]

    def _classes_line(self) -> str:
        counts = self.counts()
        if self.task == "regression":
            return f"Labels    {self.rule}: numbers, as they are (regression)"
        if self.task == "multi-label":
            return f"Labels    {self.rule}: several a sample, of {len(self.classes)}: {some(list(self.classes))}"
        names = list(self.classes)
        told = some([f"{name} {counts[name]:,}" for name in names] if counts else names)
        if self.rule.startswith("folders"):
            return f"Classes   {len(names)}, from {self.rule}: {told}"
        if not self.rule:
            return f"Classes   {len(names)}: {told}" if names else ""
        return f"Labels    {self.rule}, {len(names)} classes: {told}" if names else f"Labels    {self.rule}"

    def as_dict(self) -> dict[str, Any]:
        """Return the rule, the classes and the counts, small enough for a receipt or a line of JSON."""
        return {
            "layout": self.layout,
            "task": self.task,
            "kind": self.kind,
            "rule": self.rule,
            "classes": list(self.classes),
            "splits": {split: len(part) for split, part in self.splits.items()},
            "counts": {split: self.counts(split) for split in self.splits if self.counts(split)},
            "pictures": self.pictures,
            "left_out": list(self.left_out),
            "said": self._said(),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())


def ordered(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return the parts in their order."""
    return {split: splits[split] for split in ("train", "val", "test", "predict") if split in splits}


def labelled(line: str) -> tuple[str, str]:
    """Part a line of a reading: (what it says, the word that stands before it)."""
    label, _, text = line.partition(" ")
    return (text.strip(), label) if text.startswith(" ") else (line, "")
