"""What given data is: one file a layout, one table of them, and the reading that they give.

Here: `read`, the table `LAYOUTS`, the frozen values `Reading` and `Split`, and which samples are set aside (`parted`).
Not here: where data comes from (`sources`), the bytes of archives (`archives`), pixels and batches (`batches`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from datastage.errors import SpecError
from datastage.layouts import copies, folders, tree
from datastage.layouts.aside import parted
from datastage.layouts.reading import Reading, Split
from datastage.layouts.shape import grow, key, shape_of
from datastage.layouts.tree import Tree

__all__ = ["Reading", "Split", "Tree", "parted", "read"]


def read(data: str | os.PathLike[str] | Tree, *, classes: Sequence[str] | None = None, test: object = None) -> Reading:
    """Tell what given data is, from names and heads of tables; no picture is opened.

    Parameters
    ----------
    data : path or Tree
        A folder, an archive, or what `tree.of_archive` lists.
    classes : sequence of str, optional
        An order of the classes, or a choice of them.
    test : optional
        0 where no test part is wanted, a folder's name where one is.

    Raises
    ------
    SpecError
        If two readings fit, or none: names both, and what each would give.
    """
    listed = data if isinstance(data, Tree) else tree.of(data)
    root = grow(listed)
    named = {"test": test} if isinstance(test, str) else {}
    said = copies.without_copies(root, listed, frozenset(map(key, named.values())))
    shape = shape_of(listed, root, named, frozenset(classes or ()), test=test)
    shape.left_out += said
    found = folders.read(listed, shape, classes)
    if found is None:
        raise SpecError(f"The images in {listed.where} do not lie in class folders, so they have no labels.")
    return found
