"""What is attached to a Kaggle notebook, in every layout of /kaggle/input.

The layouts (all occur, some side by side): ``datasets/OWNER/SLUG``, ``competitions/SLUG``, ``notebooks/OWNER/SLUG``,
``models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION``, the older ``SLUG`` for all of them, and ``d/OWNER/SLUG``,
``m/OWNER/MODEL/...`` where two slugs collide. An input may itself be called ``datasets`` or
``d``: a prefix is one only if it has the depth of one, folders alone down to where an input begins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from datastage.progress import counted, few

Kind = Literal["dataset", "competition", "model", "notebook", "input"]

_PREFIXES: dict[str, tuple[Kind, int]] = {  # folder: what is in it, folders between it and an input
    "datasets": ("dataset", 1),
    "d": ("dataset", 1),
    "competitions": ("competition", 0),
    "notebooks": ("notebook", 1),
    "models": ("model", 1),
    "m": ("model", 1),
}
MOST = 500  # entries of one folder that are looked at: inputs are few, the files in one may be a million


@dataclass(frozen=True, slots=True)
class Input:
    """Something attached to the notebook."""

    path: Path
    slug: str
    owner: str = ""
    kind: Kind = "input"

    @property
    def called(self) -> str:
        """What to call it in a sentence: ``your input "titanic"``."""
        return f'your input "{self.slug}"'

    def __str__(self) -> str:
        """Return it as a spec: ``kaggle:owner/titanic``."""
        middle = {"competition": "competitions/"}.get(self.kind, f"{self.owner}/" if self.owner else "")
        return f"kaggle:{middle}{self.slug}"


def inputs(root: Path | None) -> tuple[Input, ...]:
    """List what is attached, by name; empty if there is nothing, or no such folder."""
    if root is None:
        return ()
    found: list[Input] = []
    for path in folders_in(root) or ():
        prefix = _PREFIXES.get(path.name)
        under = _under(path, *prefix) if prefix else []
        found += under or [Input(path, path.name)]
    return tuple(sorted(found, key=lambda item: (item.slug.lower(), str(item.path))))


def _under(prefix: Path, kind: Kind, depth: int) -> list[Input]:
    """List the inputs in a prefix; empty if it is no prefix but an input that bears such a name."""
    tops = folders_in(prefix)
    if not tops:
        return []
    if depth == 0:
        return [Input(path, path.name, "", kind) for path in tops]
    found = []
    for owner in tops:
        slugs = folders_in(owner)
        if not slugs or owner.name.lower() in _SPLITS:
            return []
        found += [Input(path, path.name, owner.name, kind) for path in slugs]
    return found


# Folders of an input that is called "datasets", rather than owners.
_SPLITS = frozenset(["train", "training", "test", "testing", "val", "valid", "validation", "images", "labels", "data"])


def folders_in(path: Path) -> list[Path] | None:
    """List the folders in a folder; None if there is anything else in it, or it cannot be read."""
    try:
        with os.scandir(path) as entries:
            some = list(islice(entries, MOST))
            if path.name in _PREFIXES and not all(entry.is_dir() for entry in some):
                return None
            return sorted(Path(entry.path) for entry in some if entry.is_dir())
    except OSError:
        return None


def listed(attached: Sequence[Input]) -> str:
    """Say what is attached: ``your 1 input (titanic)``.

    Examples
    --------
    >>> listed([])
    'this notebook has no inputs yet'
    >>> listed([Input(Path("/kaggle/input/titanic"), "titanic")])
    'your 1 input (titanic)'
    """
    if not attached:
        return "this notebook has no inputs yet"
    return f"your {counted(len(attached), 'input')} ({few((item.slug for item in attached), 6)})"


def slug_key(name: str) -> str:
    """Return what is the same for two spellings of a name."""
    return name.lower().replace("_", "-")
