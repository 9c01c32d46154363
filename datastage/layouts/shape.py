"""Which folders of pictures are parts, wrappings, masks or copies, and what is left: the classes, perhaps.

A folder's kind follows from its name and from what lies beside it: ``train`` beside ``test`` is a part, ``train``
beside ``bus`` and ``car`` is a class. Nothing here knows labels that lie in tables or names of files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.tree import Tree
from datastage.progress import some

_COMPARED = 16
"""So many files of two folders whose names and sizes agree are compared by their bytes."""
_DRAWN = ("_mask", "_Mask", "_seg", "_gt", "_label", "-mask", "_GT")
SAY_WHICH = "Nothing was guessed. Say which:"
SPLITS = frozenset(("train", "val", "test"))
PART, NEUTRAL, MASK, ASIDE, OTHER = "part", "neutral", "mask", "aside", "other"


@dataclass(slots=True)
class Node:
    """A folder that holds pictures, itself or below; `masks` are drawn over pictures in it."""

    path: str
    pictures: list[str]
    kids: list[Node] = field(default_factory=list)
    total: int = 0
    masks: list[str] = field(default_factory=list)
    kind: str = OTHER
    part: str | None = None
    up: Node | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def paths(self) -> list[str]:
        """Return the paths of the pictures right in it."""
        base = f"{self.path}/" if self.path else ""
        return [base + name for name in self.pictures]

    def leaves(self) -> Iterator[Node]:
        """Give the folders at and below it that hold pictures."""
        if self.pictures:
            yield self
        for kid in self.kids:
            yield from kid.leaves()


class Leaf(NamedTuple):
    """A folder with pictures right in it, the names above it that may be a class, and the name of its part."""

    node: Node
    names: tuple[str, ...]
    part: str = ""


@dataclass(slots=True)
class Shape:
    """The folders of pictures, by part."""

    parts: dict[str, list[Leaf]]
    masks: list[tuple[Node, bool]]
    left_out: list[str]
    has_parts: bool = False
    unwanted: frozenset[str] = frozenset()

    def named(self, *parts: str) -> list[str]:
        """Return what the folders of these parts, or of all, are called in the data."""
        wanted = parts or tuple(self.parts)
        return sorted({leaf.part for part in wanted for leaf in self.parts.get(part, ()) if leaf.part})

    def paths(self, *parts: str) -> dict[str, str]:
        """Return the pictures of these parts, or of all, and of each the part."""
        of = {part: self.parts.get(part, ()) for part in parts or self.parts}
        return {path: part for part, leaves in of.items() for leaf in leaves for path in leaf.node.paths()}

    @property
    def leaves(self) -> list[Leaf]:
        """The folders of all parts."""
        return [leaf for leaves in self.parts.values() for leaf in leaves]

    @property
    def n_pictures(self) -> int:
        return count(self.leaves)


def count(leaves: Iterable[Leaf]) -> int:
    """Count the pictures in folders."""
    return sum(len(leaf.node.pictures) for leaf in leaves)


def grow(tree: Tree) -> Node:
    """Return the folders that hold pictures, as a tree of their own."""
    nodes = {path: _node(path, folder.pictures) for path, folder in tree.folders.items()}
    for path in sorted(nodes, key=lambda path: -(path.count("/") + 1 if path else 0)):
        node, parent = nodes[path], nodes.get(path.rpartition("/")[0])
        if path and parent is not None and node.total:
            parent.kids.append(node)
            node.up = parent
            parent.total += node.total
    for node in nodes.values():
        node.kids.sort(key=lambda kid: kid.path)
    return nodes[""]


def _node(path: str, pictures: list[str]) -> Node:
    """Make a folder's node; ``x_mask.png`` beside ``x.png`` is a mask, and no picture."""
    together = "\n".join(pictures)  # of a thousand names, quicker than each by itself
    if not any(word in together for word in _DRAWN):
        return Node(path, pictures, total=len(pictures))
    stems = {name[: name.rfind(".")] for name in pictures}
    masks = [name for name in pictures if (drawn := words.DRAWN.search(name)) and name[: drawn.start()] in stems]
    kept = sorted(set(pictures) - set(masks))
    return Node(path, kept, total=len(kept), masks=masks)


def key(name: str) -> str:
    """Return a name of a folder or class as it is compared: one form of Unicode, small letters, no blanks around."""
    return words.nfc(name).strip().casefold()


def unwrapped(node: Node) -> Node:
    """Go down while a folder holds nothing but one folder."""
    while len(node.kids) == 1 and not node.pictures:
        node = node.kids[0]
    return node


def mark(root: Node, asked: Mapping[str, str], classes: frozenset[str], sure: Collection[str]) -> None:
    """Say of each folder what kind it is; of the parts that are `sure` nothing is asked."""
    named = {key(name): part for part, name in asked.items()}
    todo = [(root, "")]
    while todo:
        node, within = todo.pop()
        _mark_kids(node, named, classes, sure, within)
        todo += [(kid, kid.part or within) for kid in node.kids]


def _mark_kids(
    node: Node, asked: Mapping[str, str], classes: frozenset[str], sure: Collection[str], within: str
) -> None:
    """Say what each of the folders in one is, which may lie `within` a part."""
    kids, free = node.kids, []
    for kid in kids:
        if key(kid.name) in asked or key(kid.path) in asked:
            kid.kind, kid.part = PART, asked.get(key(kid.name)) or asked[key(kid.path)]
        elif kid.name not in classes:
            free.append(kid)
    plain = [kid for kid in free if not words.is_neutral(kid.name) and not words.is_mask(kid.name)]
    split = {kid.path: words.split_of(kid.name) for kid in plain}
    if within:
        begun = {kid.path for kid in _begun(node, split, within, {*sure, *SPLITS} if classes else sure)}
        split = {path: part if part == "predict" or path in begun else None for path, part in split.items()}
    parts = [kid for kid in plain if split[kid.path]]
    others = [kid for kid in plain if not split[kid.path] and not _is_aside(kid, kids)]
    others += [kid for kid in kids if kid.name in classes]
    if parts and (within or _are_parts(parts, others, {split[kid.path] for kid in parts} | {*asked.values()}, sure)):
        for kid in parts:
            kid.kind, kid.part = PART, split[kid.path]
    else:
        others, parts = [*others, *parts], []
    neutral = [kid for kid in free if words.is_neutral(kid.name)]
    for kid in neutral:
        kid.kind = NEUTRAL
    for kid in free:
        if not words.is_mask(kid.name) or kid.kind == PART:
            continue
        beside = bool(neutral) or bool(parts) or any(_goes_with(kid.name, other.name) for other in others)
        if beside or (others and words.is_mask(kid.name, never_a_class=True)):
            kid.kind = MASK
        elif len(kids) == 1:
            kid.kind = NEUTRAL
    deep = sum(kid.total for kid in neutral if kid.kids)  # images/cats: what lies beside images is no class
    for kid in free:
        if kid.kind == OTHER and (_is_aside(kid, kids) or (deep and not parts and kid.total < deep)):
            kid.kind = ASIDE


def _begun(node: Node, split: Mapping[str, str | None], within: str, sure: Collection[str]) -> list[Node]:
    """Return the folders in one that begin another part than that which it lies `within`; none begins ``train``.

    ``train/{cat,dog,val/{cat,dog}}`` does, which is asked, and a ``val`` in several classes; not ``train/{bus,test}``.
    """
    found = [kid for kid in node.kids if split.get(kid.path) not in (None, "predict", "train", within)]
    parts = _other_parts(node) if found else []
    classes = set().union(*map(_folders_in, parts))
    found = [kid for kid in found if key(kid.name) not in classes]
    rest = [kid for kid in node.kids if split.get(kid.path) in (None, within)] if found else []
    deeper = {kid.path for kid in rest if split.get(kid.path) or words.is_neutral(kid.name)}
    beside = {one.name for kid in rest for one in (kid.kids if kid.path in deeper else [kid])}
    shared = {kid.path: {key(name) for name in beside} & _folders_in(kid) for kid in found}
    inner = [kid for kid in found if shared[kid.path]]
    if asked := {str(split[kid.path]): kid for kid in inner if split[kid.path] not in sure}:
        kid = next(iter(asked.values()))
        named = ", ".join(f'{part}="{one.path}"' for part, one in asked.items())
        names = sorted({*beside, *(one.name for one in inner)})
        lost = any(split.get(kid.path) for kid in rest) or any(part.name in names for part in parts)
        whole = f"or classes={names if len(names) < 13 else '[...]'}, the names of all classes, if it is a class;"
        raise SpecError(
            f"The folder {kid.path} ({kid.total:,} pictures) lies within {within}, and holds class folders that lie "
            f"beside it too: {some(sorted(shared[kid.path]))}.",
            f"{SAY_WHICH} datastage.loaders(path, {named}, batch_size=64), if it is a part;",
            *([whole] if within == "train" and not lost else []),
            f"or {next(iter(asked))}=0, which leaves it out.",
        )
    if node.kind != OTHER or not (rest or node.pictures) or not all(split.get(kid.path, within) for kid in rest):
        return inner
    peers = [kid.name for peer in (node.up.kids if node.up else ()) if peer is not node for kid in peer.kids]
    return [kid for kid in found if split[kid.path] in map(words.split_of, peers)]


def _other_parts(node: Node) -> list[Node]:
    """Return the parts that lie beside that of a folder."""
    while node.up and node.kind != PART:
        node = node.up
    return [kid for kid in (node.up.kids if node.up else ()) if kid.kind == PART and kid is not node]


def _folders_in(node: Node) -> set[str]:
    """Return the names of folders below one, but for those that say what the files are."""
    names = {name for leaf in node.leaves() for name in leaf.path[len(node.path) :].split("/")}
    return {key(name) for name in names if name and not words.is_neutral(name)}


def _is_aside(kid: Node, kids: list[Node]) -> bool:
    """Whether a folder holds a few pictures about the data, such as one icon a class, and is no class."""
    return len(kids) > 1 and words.is_aside(kid.name) and 5 * kid.total < max(other.total for other in kids)


def _goes_with(mask: str, pictures: str) -> bool:
    mine, theirs = words.words_of(mask), words.words_of(pictures)
    return len(mine) > len(theirs) and (mine[: len(theirs)] == theirs or mine[-len(theirs) :] == theirs)


def _are_parts(parts: list[Node], others: list[Node], found: set[str | None], sure: Collection[str]) -> bool:
    """Whether folders with a part's name are parts, and not classes among the other classes."""
    if not others or len(found - {"predict"}) > 1 or found == {"predict"}:
        return True
    if "train" in found:
        # A class of vehicles is called train: then pictures lie right in it, as in those beside it.
        folders = [unwrapped(part) for part in parts]
        flat = all(len(folder.pictures) * 2 > folder.total for folder in folders)
        return not (flat and all(other.pictures for other in others))
    beside = {key(other.name) for other in others}
    for part in parts:
        inside = {key(leaf.name) for leaf in part.leaves()}
        if inside <= beside:
            return True
        for other in others:
            if inside <= {key(leaf.name) for leaf in other.leaves()}:
                return True
            if any(words.split_of(kid.name) == "train" for kid in unwrapped(other).kids):
                return True
    if found <= {*sure}:
        return True
    names = ", ".join(sorted(kid.name for kid in [*parts, *others])[:6])
    lone, its = parts[0], words.split_of(parts[0].name)
    raise SpecError(
        f"The folder {lone.path} ({lone.total:,} pictures) may be a class or the part {its}: it lies beside "
        f"{', '.join(sorted(kid.name for kid in others)[:4])}.",
        SAY_WHICH,
        f'Next: datastage.loaders(path, {its}="{lone.path}", batch_size=64), if it is a part ({its}=0 leaves it out);',
        f"or classes={names.split(', ')!r}, if it is a class.",
    )


def shape_of(
    tree: Tree, root: Node, asked: Mapping[str, str], classes: frozenset[str], unwanted: frozenset[str],
    *, told: bool = False,
) -> Shape:  # fmt: skip
    """Sort the folders of pictures into parts; where the labels are `told`, no question about them is asked."""
    mark(root, asked, classes, SPLITS if told else unwanted)
    named = {*map(key, asked.values())}
    shape = Shape({}, [], [], unwanted=unwanted)
    stack: list[tuple[Node, list[Node]]] = [(root, [])]
    rest: list[tuple[Leaf, list[Node], str | None]] = []
    aside: Counter[str] = Counter()
    while stack:
        node, chain = stack.pop()
        stack += [(kid, [*chain, kid]) for kid in node.kids]
        if node.masks:
            shape.masks.append((Node(node.path, node.masks), bool(chain) and chain[-1].kind == OTHER))
        if not node.pictures:
            continue
        kinds = {above.kind for above in chain}
        if MASK in kinds:
            within = chain[: next(i for i, above in enumerate(chain) if above.kind == MASK)]
            shape.masks.append((node, any(above.kind == OTHER for above in within) and within[-1].kind == OTHER))
        elif ASIDE in kinds:
            top = next(above for above in chain if above.kind == ASIDE)
            aside[top.path] += len(node.pictures)
        else:
            found = [i for i, above in enumerate(chain) if above.kind == PART]
            meant = {i for i in found if {key(chain[i].name), key(chain[i].path)} & named}
            meant |= {i for i in found if chain[i].part == "predict"}
            at = max(meant or found, default=None)  # test="hold" in train/hold
            part = None if at is None else chain[at].part
            after = tuple(above.name for above in chain[0 if at is None else at + 1 :] if above.kind == OTHER)
            if at is not None and after and key(after[0]) == key(chain[at].name) and len(chain[at].kids) == 1:
                after = after[1:]
            above = chain[: found[0] if part == "predict" else at or 0]
            rest.append((Leaf(node, after, chain[at].name if at is not None else ""), above, part))
    shape.left_out += [f"{n:,} pictures in {name}, which lies beside the data" for name, n in sorted(aside.items())]
    shape.has_parts = any(part not in (None, "predict") for _, _, part in rest)
    if not told:
        _check_prefixes(rest, tree)
    for leaf, _, part in sorted(rest, key=lambda one: one[0].node.path):
        shape.parts.setdefault(part or "", []).append(leaf)
    _settle(shape, tree)
    shape.parts = {part: _common_off(leaves) for part, leaves in shape.parts.items()}
    return shape


def _check_prefixes(rest: list[tuple[Leaf, list[Node], str | None]], tree: Tree) -> None:
    """Refuse parts that lie below several things: ``bottle/train``, ``cable/train``."""
    above: dict[tuple[str, ...], list[Node]] = {}
    inside: set[str] = set()
    for leaf, before, part in rest:
        if part is not None:
            short = tuple(dict.fromkeys(key(node.name) for node in before if node.kind == OTHER))
            above[short] = before
            inside |= {*leaf.names[:1]} if short else set()
    longest = max(above, key=len, default=())
    strange = [before for short, before in above.items() if longest[: len(short)] != short]
    if strange:
        first, second = above[longest][-1].path, strange[0][-1].path
        within = f", with {some(sorted(inside))} in them" if inside else ""
        places = {
            max(i for i, node in enumerate(nodes) if node.kind == OTHER) for short, nodes in above.items() if short
        }
        at = f'name.split("/")[{min(places)}]' if len(places) == 1 else "..."
        one = [f"or what lies in one: datastage.loaders(path / {first!r}, batch_size=64)"] if len(inside) > 1 else []
        raise SpecError(
            f"In {tree.where} the parts ({', '.join(sorted({part or '' for _, _, part in rest} - {''}))}) lie below "
            f"several folders: {first}, {second}{within}. Which of the names are the classes, only you know.",
            f"{SAY_WHICH} those folders: datastage.loaders(path, labels=lambda name: {at}, batch_size=64)",
            *one,
        )


def _settle(shape: Shape, tree: Tree) -> None:
    """Decide what the pictures of no part are: the part to learn from, or beside the parts."""
    free = shape.parts.pop("", [])
    if not free:
        if "train" not in shape.parts and ("test" in shape.parts or "val" in shape.parts):
            tops = shape.named()
            raise SpecError(
                f"{tree.where} has {', '.join(tops)}, but no folder train.",
                "Next: name the folder of the training images train; it holds a folder for each class.",
            )
        return
    if "train" not in shape.parts:
        shape.parts["train"] = free
        return
    n, most = count(free), shape.n_pictures
    where = sorted({leaf.node.path.partition("/")[0] for leaf in free})
    if n > most:
        one = shape.parts["train"][0]
        meant = f"/{one.node.path}/".partition(f"/{one.part}/")[0] + f"/{one.part}"
        raise SpecError(
            f"In {tree.where} {n:,} pictures lie beside the parts, in {some(where) or 'no folder'}, and "
            f"{most:,} in {', '.join(shape.named())}: which are meant?",
            "Nothing was guessed. Next: pass the folder that is meant, such as datastage.loaders(path / "
            f"{meant[1:]!r}, batch_size=64).",
        )
    shape.left_out.append(
        f"{n:,} pictures beside the parts{': ' + some([w for w in where if w]) if any(where) else ''}"
    )


def _common_off(leaves: list[Leaf]) -> list[Leaf]:
    """Take off the names above all classes, as most archives have a folder around everything."""
    while True:
        inner = [leaf for leaf in leaves if leaf.names]
        deeper = count(leaf for leaf in inner if len(leaf.names) > 1)
        if len({leaf.names[0] for leaf in inner}) != 1 or 2 * deeper <= count(leaves):
            return leaves
        leaves = [leaf._replace(names=leaf.names[1:]) for leaf in leaves]


# --- the same pictures twice, as uploads of a zip with a folder in it leave them


def without_copies(root: Node, tree: Tree, named: frozenset[str]) -> list[str]:
    """Take copies out of the tree of folders; return what to say of each. Folders that the user `named` are none."""
    said: list[str] = []
    todo = [root]
    while todo:
        node = todo.pop()
        _nested(node, tree, named, said)
        _beside(node, tree, said)
        todo += node.kids
    return said


def _nested(node: Node, tree: Tree, named: frozenset[str], said: list[str]) -> None:
    """``x/{A,B}`` and ``x/x/{A,B}``: a folder that holds folders of its siblings' names."""
    for kid in list(node.kids):
        inner = unwrapped(kid)
        if len(inner.kids) != len(node.kids) - 1:  # told at once, since there may be thousands of classes
            continue
        if words.split_of(kid.name) or words.is_mask(kid.name) or {key(kid.name), key(kid.path)} & named:
            continue
        siblings = [other for other in node.kids if other is not kid]
        if siblings:
            same = {key(one.name) for one in inner.kids} == {key(one.name) for one in siblings}
            same = same and (len(siblings) > 1 or key(kid.name) == key(node.name))
        else:
            same = bool(node.pictures) and set(inner.pictures) == set(node.pictures)
        if not same:
            continue
        if not _is_copy(node, siblings, inner, tree):
            raise SpecError(
                f"{kid.path} holds folders of the names that lie beside it: {some([one.name for one in inner.kids])}.",
                "Nothing was guessed. Next: if it is a part, name it: "
                f'datastage.loaders(path, test="{kid.name}", batch_size=64); else pass the folder that is meant.',
            )
        _remove(node, kid, said, node.path or "the folder around it")


def _beside(node: Node, tree: Tree, said: list[str]) -> None:
    """``X/{A,B}`` and ``y/X/{A,B}``: folders of one name, one of them further down."""
    seen: dict[tuple[str, frozenset[str]], Node] = {}
    for kid in sorted(node.kids, key=lambda kid: unwrapped(kid).path.count("/")):
        inner = unwrapped(kid)
        if not inner.kids:
            continue
        chain = inner.path[len(node.path) :].strip("/").split("/")
        name = next((part for part in reversed(chain) if not words.is_neutral(part)), chain[-1])
        same = (key(name), frozenset(key(one.name) for one in inner.kids))
        first = seen.setdefault(same, inner)
        if first is not inner and _is_copy(first, first.kids, inner, tree):
            _remove(node, kid, said, first.path)


def _remove(node: Node, kid: Node, said: list[str], first: str) -> None:
    node.kids.remove(kid)
    node.total -= kid.total
    said.append(f"{kid.total:,} pictures in {kid.path}: the same files as in {first}")


def _names(node: Node, kids: list[Node]) -> dict[str, str]:
    """Return the pictures below these folders of one, or right in it where there are none, by their path within it."""
    cut = len(node.path) + 1 if node.path else 0
    leaves = [leaf for kid in kids for leaf in kid.leaves()] or [node]
    return {path[cut:].casefold(): path for leaf in leaves for path in leaf.paths()}


def _is_copy(node: Node, kids: list[Node], other: Node, tree: Tree) -> bool:
    one, two = _names(node, kids), _names(other, other.kids)
    common = one.keys() & two.keys()
    if not common or 2 * len(common) < len(two):
        return False
    what = f"{len(one):,} and {len(two):,} pictures, {len(common):,} of one name"
    if one.keys() == two.keys():
        what = "other sizes of some"
        if all(tree.size(one[name]) == tree.size(two[name]) for name in one):
            names = sorted(one)  # forms without compression are all of one size
            if all(tree.same(one[name], two[name]) for name in names[:: -(-len(names) // _COMPARED)]):
                return True
            what = "other contents of some"
    raise SpecError(
        f"{node.path or tree.where} and {other.path} hold the same folders, with {what}: one may be a copy of the "
        "other.",
        f"Nothing was guessed. Next: the one that is meant: datastage.loaders(path / {other.path!r}, batch_size=64)",
        "or, for both: labels=lambda name: name.split('/')[-2], with the innermost folder as the class.",
    )
