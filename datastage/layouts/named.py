"""Labels in the names of files: ``cat.0.jpg``, ``Abyssinian_12.jpg``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from datastage.layouts import words
from datastage.layouts.folders import plain_split
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import Shape
from datastage.progress import some

_NAMED = re.compile(r"(?P<word>[^\W\d_]+(?:[ _-][^\W\d_]+)*)[._ -]*\(?\d+\)?")
_NUMBERED = re.compile(r"\d+(_\d+)+")
NOT_SHOWN = words.listed(
    "img image images dsc dscn dscf pic pics picture photo photos frame frames pxl mvimg screenshot scan scans capture "
    "snapshot file page sample untitled train test val valid left right front back top bottom side center centre "
    "fb_img received signal gopr dji vlcsnap isic im p n x a b input output crop tile patch slice video vid mov clip "
    "cam camera view id download unnamed index data item object case patient subject person face study mask label gt "
    "rgb day night before after original copy new old number no"
) | {"screen shot", "whatsapp image"}
"""Words before a number that say where a picture comes from, and not what it shows."""


def groups_of(names: Iterable[str]) -> Counter[str]:
    """Count the pictures by what stands before the number in their names; empty where some have no such name."""
    found: Counter[str] = Counter()
    for path in names:
        match = _NAMED.fullmatch(words.stem_of(path))
        if match is None:
            return Counter()
        found[match["word"]] += 1
    return found


def told(names: Sequence[str]) -> str:
    """Say what the names of files could tell, for an error: groups with their counts; empty if nothing."""
    sample = list(names[:5000])
    groups = groups_of(sample)
    if len(groups) > 1 and max(groups.values()) > 1 and len(groups) < len(sample) / 2:
        said = some([f"{word} {n:,}" for word, n in sorted(groups.items())])
        return f"Their file names begin with {said}: these may be the classes."
    stems = [path[path.rfind("/") + 1 :].partition(".")[0] for path in sample]
    if stems and all(_NUMBERED.fullmatch(stem) for stem in stems):
        return f"Their file names hold several numbers ({stems[0]}): any may be the label."
    return ""


def read(shape: Shape) -> Reading | None:
    """Take the word before the number in each file's name for its class; None where that may be anything."""
    train = shape.paths("train")
    groups = groups_of(train)
    if len(groups) < 2 or min(groups.values()) < 2 or len(train) < 3 * len(groups):
        return None
    if any(word.lower() in NOT_SHOWN or len(word) < 2 for word in groups):
        return None
    classes = words.by_value(groups)
    number = {word: at for at, word in enumerate(classes)}
    splits: dict[str, Split] = {}
    unlabelled = list(shape.parts.get("predict", []))
    for part in ("train", "val", "test"):
        names = sorted(shape.paths(part))
        own = groups_of(names)
        if own and own.keys() <= groups.keys():
            labels = [number[_NAMED.fullmatch(words.stem_of(name))["word"]] for name in names]  # type: ignore[index]
            splits[part] = Split(names, labels, len(names), some(shape.named(part)))
        else:
            unlabelled += shape.parts.get(part, [])
    if unlabelled:
        splits["predict"] = plain_split(unlabelled)
    return Reading(
        "labels in file names", "classification", "pictures", tuple(classes), ordered(splits),
        "the names of files", left_out=tuple(shape.left_out),
    )  # fmt: skip
