"""Folders that hold the same pictures twice, as uploads of a zip with a folder in it leave them."""

from __future__ import annotations

from datastage.errors import SpecError
from datastage.layouts import words
from datastage.layouts.shape import Node, key, unwrapped
from datastage.layouts.tree import Tree
from datastage.progress import some

_COMPARED = 16
"""So many files of two folders whose names and sizes agree are compared by their bytes."""


def without_copies(root: Node, tree: Tree, named: frozenset[str] = frozenset()) -> list[str]:
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
        siblings = [other for other in node.kids if other is not kid]
        if words.split_of(kid.name) or words.is_mask(kid.name) or key(kid.name) in named:
            continue
        if siblings:
            same = {key(one.name) for one in inner.kids} == {key(one.name) for one in siblings}
            same = same and (len(siblings) > 1 or key(kid.name) == key(node.name))
        else:
            same = bool(node.pictures) and not inner.kids and set(inner.pictures) == set(node.pictures)
        if not same:
            continue
        if not _is_copy(siblings, node.pictures, node.path, inner, tree):
            raise SpecError(
                f"{kid.path} holds folders of the names that lie beside it: {some([one.name for one in inner.kids])}.",
                "Nothing was guessed. Next: if it is a part, name it: "
                f'datastage.loaders(path, test="{kid.name}", batch_size=64); else pass the folder that is meant.',
            )
        node.kids.remove(kid)
        _less(node, kid, said, node.path or "the folder around it")


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
        if first is not inner and _is_copy(first.kids, first.pictures, first.path, inner, tree):
            node.kids.remove(kid)
            _less(node, kid, said, first.path)


def _less(node: Node, kid: Node, said: list[str], first: str) -> None:
    node.total -= kid.total
    said.append(f"{kid.total:,} pictures in {kid.path}: the same files as in {first}")


def _names(kids: list[Node], pictures: list[str], base: str) -> dict[str, str]:
    """Return the pictures below, by their path relative to `base`, with the path that opens them."""
    cut = len(base) + 1 if base else 0
    found = {name: f"{base}/{name}" if base else name for name in pictures}
    for kid in kids:
        for leaf in kid.leaves():
            for name in leaf.pictures:
                path = f"{leaf.path}/{name}"
                found[path[cut:].casefold()] = path
    return found


def _is_copy(kids: list[Node], pictures: list[str], base: str, other: Node, tree: Tree) -> bool:
    one = _names(kids, [], base)
    two = _names(other.kids, other.pictures if not other.kids else [], other.path)
    if not one:
        one = _names([], pictures, base)
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
        f"{base or tree.where} and {other.path} hold the same folders, with {what}: one may be a copy of the other.",
        f"Nothing was guessed. Next: the one that is meant: datastage.loaders(path / {other.path!r}, batch_size=64)",
        "or, for both: labels=lambda name: name.split('/')[-2], with the innermost folder as the class.",
    )
