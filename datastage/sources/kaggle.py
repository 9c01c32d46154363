"""What is attached to a Kaggle notebook: every layout of /kaggle/input, and ``kaggle:`` specs.

Here: the list of inputs with the names that people know them by, and finding one by its slug.
Not here: finding files by their content (`search`), whether this is Kaggle at all (`runtime`).

The layouts (all occur, some side by side): ``datasets/OWNER/SLUG``, ``competitions/SLUG``, ``notebooks/OWNER/SLUG``,
``models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION``, the older ``SLUG`` for all of them, and ``d/OWNER/SLUG``,
``m/OWNER/MODEL/...`` where two slugs collide. An input may itself be called ``datasets`` or
``d``: a prefix is one only if it has the depth of one, folders alone down to where an input begins.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datastage.errors import SpecError, UnavailableError
from datastage.reader import stat_identity
from datastage.sources.found import Context, Found
from datastage.spec import Spec

if TYPE_CHECKING:
    from datastage.runtime import Runtime

Kind = Literal["dataset", "competition", "model", "notebook", "input"]

_PREFIXES: dict[str, tuple[Kind, int]] = {  # folder: what is in it, folders between it and an input
    "datasets": ("dataset", 1),
    "d": ("dataset", 1),
    "competitions": ("competition", 0),
    "notebooks": ("notebook", 1),
    "models": ("model", 1),
    "m": ("model", 1),
}
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST = 500  # entries of one folder that are looked at: inputs are few, the files in one may be a million


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
    for path in _folders(root) or ():
        prefix = _PREFIXES.get(path.name)
        under = _under(path, *prefix) if prefix else []
        found += under or [Input(path, path.name)]
    return tuple(sorted(found, key=lambda item: (item.slug.lower(), str(item.path))))


def _under(prefix: Path, kind: Kind, depth: int) -> list[Input]:
    """List the inputs in a prefix; empty if it is no prefix but an input that bears such a name."""
    tops = _folders(prefix)
    if not tops:
        return []
    if depth == 0:
        return [Input(path, path.name, "", kind) for path in tops]
    found = []
    for owner in tops:
        slugs = _folders(owner)
        if not slugs or owner.name.lower() in _SPLITS:
            return []
        found += [Input(path, path.name, owner.name, kind) for path in slugs]
    return found


# Folders of an input that is called "datasets", rather than owners.
_SPLITS = frozenset(["train", "training", "test", "testing", "val", "valid", "validation", "images", "labels", "data"])


def _folders(path: Path) -> list[Path] | None:
    """List the folders in a folder; None if there is anything else in it, or it cannot be read."""
    try:
        with os.scandir(path) as entries:
            some = list(islice(entries, _MOST))
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
    names = [item.slug for item in attached]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"your {len(names):,} {'input' if len(names) == 1 else 'inputs'} ({shown})"


def parse_kaggle(text: str, word: str, rest: str) -> Spec:
    """Tell what ``kaggle:`` names: ("dataset", owner, slug), ("competition", slug), or ("any", slug)."""
    rest = rest.strip("/")
    pieces = rest.removeprefix("datasets/").split("/")
    if not rest or not all(_SLUG.fullmatch(piece) for piece in pieces):
        raise SpecError(
            f"{text!r} is not the name of a Kaggle dataset.",
            "The address of the page holds it: kaggle.com/datasets/OWNER/NAME is kaggle:OWNER/NAME.",
            "Next: kaggle:OWNER/NAME, or kaggle:competitions/NAME.",
        )
    if pieces[0] in ("competitions", "c") and len(pieces) == 2:
        return Spec(text, "kaggle", rest, ("competition", pieces[1]), pieces[1])
    if len(pieces) == 1:
        return Spec(text, "kaggle", rest, ("any", pieces[0]), pieces[0])
    if len(pieces) == 2:
        return Spec(text, "kaggle", rest, ("dataset", pieces[0], pieces[1]), pieces[1])
    raise SpecError(f"{text!r} has too many parts.", f"Next: kaggle:{pieces[0]}/{pieces[1]}")


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell the dataset or competition whose page this is."""
    pieces = [piece for piece in url.path.split("/") if piece]
    if len(pieces) >= 3 and pieces[0] == "datasets":
        return parse_kaggle(text, "kaggle", "/".join(pieces[1:3]))
    if len(pieces) >= 2 and pieces[0] in ("competitions", "c"):
        return parse_kaggle(text, "kaggle", f"competitions/{pieces[1]}")
    return None


def open_kaggle(spec: Spec, context: Context) -> Found:
    """Find an attached input by its slug; it is used where it lies."""
    runtime = context.runtime
    if runtime.input_root is None:
        raise _elsewhere(spec)
    attached = inputs(runtime.input_root)
    hits = _matching(spec, attached)
    if not hits:
        raise _not_attached(spec, attached, runtime)
    if len(hits) > 1:
        raise SpecError(
            f"{len(hits)} of your inputs are called {hits[0].slug!r}: {', '.join(str(item.path) for item in hits)}.",
            f"Next: say which one: {' or '.join(sorted({str(item) for item in hits}))}, or its path.",
        )
    hit = hits[0]
    try:
        identity = stat_identity(hit.path.stat())
    except OSError:
        identity = ""
    return Found(hit.path, str(spec), hit.called, identity=identity, in_place=True)


def _matching(spec: Spec, attached: Sequence[Input]) -> list[Input]:
    kind, *names = spec.parts
    slug = _plain(names[-1])
    named = [item for item in attached if _plain(item.slug) == slug]
    if kind == "dataset":
        owned = [item for item in named if item.owner and _plain(item.owner) == _plain(names[0])]
        # The older layout does not say whose a dataset is; what does say it and is another's does not count.
        return owned or [item for item in named if item.kind == "input"]
    if kind == "competition":
        sure = [item for item in named if item.kind == "competition"]
        return sure or [item for item in named if item.kind == "input"]
    if not named:
        # An input called "datasets" whose own folders look like owners: asked for by name, it is meant.
        roots = {item.path.parents[1] for item in attached if item.kind in ("dataset", "notebook", "model")}
        named = [Input(path, path.name) for path in sorted(roots) if _plain(path.name) == slug]
    return named


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _page(spec: Spec) -> str:
    kind, *names = spec.parts
    if kind == "competition":
        return f"https://www.kaggle.com/competitions/{names[0]}/data"
    if kind == "dataset":
        return f"https://www.kaggle.com/datasets/{names[0]}/{names[1]}"
    return f"https://www.kaggle.com/search?q={names[0]}"


def _elsewhere(spec: Spec) -> UnavailableError:
    name = spec.parts[-1]
    return UnavailableError(
        f"{spec} names something on Kaggle, and this is not a Kaggle notebook. Fetching it from\n"
        "elsewhere comes with a later version of datastage; by hand it takes a minute.",
        "",
        " 1. Open this page in your browser and press Download (Kaggle asks you to sign in):",
        f"    {_page(spec)}",
        " 2. Put the file beside this notebook or script.",
        "",
        f'Next:  datastage.stage("./{name}.zip")   with the name that the file has.',
    )


def _not_attached(spec: Spec, attached: Sequence[Input], runtime: Runtime) -> UnavailableError:
    name = spec.parts[-1]
    word = "join the competition, then press" if spec.parts[0] == "competition" else "press"
    if runtime.is_batch:
        return UnavailableError(
            f"{name} is not attached to this notebook, and nothing can be attached to a saved run.",
            f"Looked in: {listed(attached)}.",
            "",
            " 1. Open the notebook in the editor.",
            f' 2. In the right-hand panel, under "Input": "Add Input", search for {name}, press +.',
            "",
            "Next: Save & Run All again.",
        )
    return UnavailableError(
        f"{name} is not attached to this notebook yet; it takes a minute by hand.",
        "",
        ' 1. In the right-hand panel, under "Input", press "Add Input".',
        f" 2. Search for:  {name}",
        f"    and {word} + beside it. The page is {_page(spec)}",
        ' 3. It is a file of your own? "Input" > "Upload" > New Dataset, give it this title,',
        '    "Create", and wait until it is done.',
        "",
        f"Looked in: {listed(attached)}.",
        "Next: when Kaggle has finished with it, run this cell again. No restart is needed.",
    )
