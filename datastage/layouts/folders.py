"""Classes by names: that of the folder around a picture, or the word before the number in its own: ``cat.0.jpg``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import itemgetter, le

from datastage.errors import SpecError
from datastage.file_names import HEIC
from datastage.layouts import words
from datastage.layouts.reading import Reading, Split, ordered
from datastage.layouts.shape import SAY_WHICH, Leaf, Shape, count, key
from datastage.layouts.tree import Tree
from datastage.progress import few, some

_NAMED = re.compile(r"(?P<word>[^\W\d_]+(?:[ _-][^\W\d_]+)*)[._ -]*\(?\d+\)?")
_NUMBERED = re.compile(r"\d+(_\d+)+")
_NOT_SHOWN = words.listed(
    "img image images dsc dscn dscf pic pics picture photo photos frame frames pxl mvimg screenshot scan scans capture "
    "snapshot file page sample untitled train test val valid left right front back top bottom side center centre "
    "fb_img received signal gopr dji vlcsnap isic im p n x a b input output crop tile patch slice video vid mov clip "
    "cam camera view id download unnamed index data item object case patient subject person face study mask label gt "
    "rgb day night before after original copy new old number no"
) | {"screen shot", "whatsapp image"}
"""Words before a number that say where a picture comes from, and not what it shows."""


def read(tree: Tree, shape: Shape, classes: Sequence[str] | None = None) -> Reading | None:
    """Tell classes and labels from the folders; None if they tell fewer than two classes and none was asked for.

    `SpecError` if several levels of folders could be the classes, or a part has classes that ``train`` has not.
    """
    train = shape.parts.get("train", [])
    inner = [leaf for leaf in train if leaf.names]
    n_inner = count(inner)
    n_stray = count(train) - n_inner
    if not inner:
        return None
    level = _level(inner, shape, tree, classes)
    named: dict[str, list[tuple[str, Leaf]]] = {"train": [(level(leaf.names), leaf) for leaf in inner]}
    known = _classes({name for name, _ in named["train"]}, tree)
    if len(set(known.values())) < 2 and known.keys().isdisjoint(map(key, classes or ())):
        return None
    if shape.masks and (not all(within for _, within in shape.masks) or are_ids(set(known.values()))):
        return None
    if n_stray > n_inner:
        raise SpecError(
            f"In {tree.where} {n_stray:,} pictures lie in no class folder, and {n_inner:,} in "
            f"{some(sorted(set(known.values())))}.",
            f"{SAY_WHICH} labels=lambda name: name.split('/')[-2] takes each picture's folder for its class; or pass "
            "the folder that is meant.",
        )
    left_out = list(shape.left_out)
    if n_stray:
        left_out.append(f"{n_stray:,} pictures that lie in no class folder")
    unlabelled: list[Leaf] = list(shape.parts.get("predict", []))
    for part in ("val", "test"):
        leaves = shape.parts.get(part, [])
        flat = [leaf for leaf in leaves if not leaf.names]
        deep = [leaf for leaf in leaves if leaf.names]
        own = {key(level(leaf.names)) for leaf in deep}
        if len(own) == 1 and not own & known.keys():
            flat, deep = leaves, []  # test/unknown: people put one folder around pictures without labels
        if flat and not deep:
            unlabelled += flat
        elif flat:
            left_out.append(f"{count(flat):,} pictures of {part} in no class folder")
        if deep and part not in shape.unwanted:
            named[part] = [(level(leaf.names), leaf) for leaf in deep]
    order = words.by_value(known.values())
    number = {name: at for at, name in enumerate(order)}
    splits = {part: _split(part, pairs, known, number, tree, unlabelled) for part, pairs in named.items()}
    if unlabelled:
        splits["predict"] = plain_split(unlabelled)
    return Reading(
        "class folders", "classification", "pictures", tuple(order), ordered(splits), "folders",
        left_out=(*left_out, *_masks(shape), *_unread(tree)), said=tuple(_empty(shape, order, tree)),
    )  # fmt: skip


def plain_split(leaves: Sequence[Leaf]) -> Split:
    """Return pictures without labels as a part."""
    names = sorted(path for leaf in leaves for path in leaf.node.paths())
    return Split(names, None, len(names), some(sorted({leaf.node.path for leaf in leaves} - {""})))


def _split(
    part: str, pairs: list[tuple[str, Leaf]], known: dict[str, str], number: dict[str, int], tree: Tree,
    unlabelled: list[Leaf],
) -> Split:  # fmt: skip
    names: list[str] = []
    labels: list[int] = []
    strange: set[str] = set()
    for name, leaf in sorted(pairs, key=lambda pair: pair[1].node.path + "/"):
        cls = known.get(key(name))
        if cls is None and key(name) in ("unknown", "unlabeled", "unlabelled"):
            unlabelled.append(leaf)
        elif cls is None:
            strange.add(name)
        else:
            names += sorted(leaf.node.paths())
            labels += [number[cls]] * len(leaf.node.pictures)
    if strange:
        raise SpecError(
            f"{part} in {tree.where} has a class that train has not: {min(strange)}.",
            f"Train has {few(number, 8)}.",
            f"Next: {part}=0 leaves that part out." if part == "test" else "Next: look whether a folder is misspelt.",
        )
    if not all(map(le, names, islice(names, 1, None))):  # folders within folders
        names, labels = map(list, zip(*sorted(zip(names, labels))))
    seen = some(sorted({leaf.part for _, leaf in pairs if leaf.part}))
    return Split(names, labels, len(names), seen)


def _classes(names: set[str], tree: Tree) -> dict[str, str]:
    """Return the classes by their key; one that is written in two ways in one part is an error."""
    known: dict[str, str] = {}
    for name in sorted(names):
        plain = words.nfc(name)
        other = known.setdefault(key(name), plain)
        if other != plain:
            raise SpecError(
                f"{tree.where} has the class folders {other} and {plain}, which differ in small and capital letters "
                "alone.",
                f"{SAY_WHICH} rename one, or labels=lambda name: name.split('/')[-2].lower(), if they are one class.",
            )
    return known


def are_ids(names: set[str]) -> bool:
    """Whether folders are called by numbers, as those of patients are, and not by words or WordNet's numbers."""
    figures = [sum(letter.isdigit() for letter in name) for name in names]
    letters = [sum(letter.isalpha() for letter in name) for name in names]
    wordnet = all(name[0] == "n" and name[1:9].isdigit() for name in names)
    return min(figures) >= 3 and max(letters) <= 9 and not wordnet


def _unread(tree: Tree) -> list[str]:
    """Say which pictures and folders cannot be read here, and what helps."""
    heic = Counter(suffix for path in tree.files() if (suffix := words.suffix_of(path)) in HEIC)
    said = [f"{n:,} files {suffix}: pip install pillow-heif reads them" for suffix, n in sorted(heic.items())]
    return [*said, *(f"the folder {path}, which may not be read" for path in tree.unread)]


def _masks(shape: Shape) -> list[str]:
    n = sum(len(node.pictures) for node, _ in shape.masks)
    return [f"{n:,} masks, in {some(sorted({node.name for node, _ in shape.masks}))}"] if n else []


def _empty(shape: Shape, classes: Sequence[str], tree: Tree) -> list[str]:
    """Say which folders beside the class folders hold no picture that can be read."""
    keys = {key(name) for name in classes}
    parents = {
        leaf.node.path.rpartition("/")[0]
        for leaf in shape.parts.get("train", [])
        if leaf.names and key(leaf.node.name) in keys
    }
    said = []
    for parent in sorted(parents):
        folder = tree.folders.get(parent)
        for name in folder.folders if folder else ():
            plain = words.is_neutral(name) or words.is_mask(name) or words.is_aside(name) or words.split_of(name)
            if plain or key(name) in keys:
                continue
            path = tree.path_of(parent, name)
            below = [one for at, one in tree.folders.items() if at == path or at.startswith(path + "/")]
            n = sum(len(one.others) for one in below)
            if not any(one.pictures for one in below):
                said.append(f"No class  {name}: {f'no picture among its {n:,} files' if n else 'the folder is empty'}")
    return said


def _level(
    leaves: Sequence[Leaf], shape: Shape, tree: Tree, classes: Sequence[str] | None
) -> Callable[[tuple[str, ...]], str]:
    """Return which of the names above a picture is its class, as a function of them."""
    counts: Counter[tuple[str, ...]] = Counter()
    for leaf in leaves:
        counts[leaf.names] += len(leaf.node.pictures)
    paths = list(counts)
    first = itemgetter(0)
    if all(len(names) == 1 for names in paths):
        return first
    if classes:
        wanted = {key(name) for name in classes}
        for at in (0, -1):
            if wanted <= {key(names[at]) for names in paths}:
                return itemgetter(at)
    tops = {names[0] for names in paths}
    direct = {names[0] for names in paths if len(names) == 1}
    deep = Counter(names[0] for names in paths if names[0] not in direct)
    if direct and max(deep.values(), default=1) < 2:
        return first  # pictures lie right in the upper folders: what lies deeper belongs to them
    shorts = paths
    while all(len(short) > 1 for short in shorts) and len({key(short[-1]) for short in shorts}) == 1:
        shorts = [short[:-1] for short in shorts]  # CLASS/frames/1.jpg
    if all(len(short) == 1 for short in shorts):
        return first
    if all(len(names) == 2 for names in shorts):
        if all(len(upper) == 1 and upper.isalpha() and key(lower).startswith(key(upper)) for upper, lower in shorts):
            return itemgetter(1)  # a/abbey, b/bakery
        if len(tops) == len(shorts) == len({key(lower) for _, lower in shorts}):
            return first  # one folder in each: both levels part the pictures alike
    raise _two_levels(shape.leaves, counts, tree)


def _two_levels(leaves: Sequence[Leaf], counts: Counter[tuple[str, ...]], tree: Tree) -> SpecError:
    upper: Counter[str] = Counter()
    lower: Counter[str] = Counter()
    for names, n in counts.items():
        upper[names[0]] += n
        lower[names[-1]] += n

    def told(found: Counter[str]) -> str:
        return f"{len(found):,} classes: {some([f'{name} {found[name]:,}' for name in sorted(found)])}"

    starts = {"/".join(leaf.node.path.split("/")[: _index(leaf)]) for leaf in leaves if leaf.names}
    places = {start.count("/") + 1 if start else 0 for start in starts}
    before = "|".join(re.escape(start) + "/" for start in sorted(starts - {""}, key=len, reverse=True))
    above = f'labels=r"^(?:{before})?([^/]+)/"'
    above = f'labels=lambda name: name.split("/")[{min(places)}]' if len(places) == 1 else above
    hint = ""
    if len(lower) < len(counts):
        hint = "The same names lie under each, which speaks for the deeper folders."
    elif all(name.isdigit() for name in upper):
        hint = "The upper ones are numbers, which speaks for the deeper folders."
    return SpecError(
        f"The pictures in {tree.where} lie in folders below folders, so two readings fit:",
        f"the upper folders, {told(upper)};",
        f"the deeper folders, {told(lower)}.",
        *([hint] if hint else []),
        f"{SAY_WHICH} the upper: datastage.loaders(path, {above}, batch_size=64)",
        'the deeper: labels=r"([^/]+)/[^/]+$"; both joined: labels=r"([^/]+/[^/]+)/[^/]+$"',
    )


def _index(leaf: Leaf) -> int:
    """Return at which part of a leaf's path its topmost name stands."""
    parts = leaf.node.path.split("/")
    at = len(parts)
    for name in reversed(leaf.names):
        at = next(i for i in range(at - 1, -1, -1) if parts[i] == name)
    return at


# --- names of files


def _words_in(names: Iterable[str]) -> list[str]:
    """Return what stands before the number in the name of each picture; nothing where some have no such name."""
    found = []
    for path in names:
        match = _NAMED.fullmatch(words.stem_of(path))
        if match is None:
            return []
        found.append(match["word"])
    return found


def told_by_names(names: Sequence[str]) -> str:
    """Say what the names of files could tell, for an error: groups with their counts; empty if nothing."""
    sample = list(names[:5000])
    groups = Counter(_words_in(sample))
    if len(groups) > 1 and max(groups.values()) > 1 and len(groups) < len(sample) / 2:
        said = some([f"{word} {n:,}" for word, n in sorted(groups.items())])
        return f"Their file names begin with {said}: these may be the classes."
    stems = [path[path.rfind("/") + 1 :].partition(".")[0] for path in sample]
    if stems and all(_NUMBERED.fullmatch(stem) for stem in stems):
        return f"Their file names hold several numbers ({stems[0]}): any may be the label."
    return ""


def by_name(shape: Shape) -> Reading | None:
    """Take the word before the number in each file's name for its class; None where that may be anything."""
    train = shape.paths("train")
    groups = Counter(_words_in(train))
    if len(groups) < 2 or min(groups.values()) < 2 or len(train) < 3 * len(groups):
        return None
    if any(word.lower() in _NOT_SHOWN or len(word) < 2 for word in groups):
        return None
    classes = words.by_value(groups)
    number = {word: at for at, word in enumerate(classes)}
    splits: dict[str, Split] = {}
    unlabelled = list(shape.parts.get("predict", []))
    for part in ("train", "val", "test"):
        names = sorted(shape.paths(part))
        own = _words_in(names)
        if own and groups.keys() >= set(own):
            splits[part] = Split(names, [number[word] for word in own], len(names), some(shape.named(part)))
        else:
            unlabelled += shape.parts.get(part, [])
    if unlabelled:
        splits["predict"] = plain_split(unlabelled)
    return Reading(
        "labels in file names", "classification", "pictures", tuple(classes), ordered(splits),
        "the names of files", left_out=tuple(shape.left_out),
    )  # fmt: skip
