"""Kaggle: what is attached to a notebook, in every layout of /kaggle/input, and ``kaggle:`` specs.

The layouts (all occur, some side by side): ``datasets/OWNER/SLUG``, ``competitions/SLUG``, ``notebooks/OWNER/SLUG``,
``models/OWNER/MODEL/FRAMEWORK/VARIATION/VERSION``, the older ``SLUG`` for all of them, and ``d/OWNER/SLUG``,
``m/OWNER/MODEL/...`` where two slugs collide. An input may itself be called ``datasets`` or
``d``: a prefix is one only if it has the depth of one, folders alone down to where an input begins.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datastage.errors import SpecError, UnavailableError
from datastage.progress import human_bytes
from datastage.reader import FileReader, stat_identity
from datastage.sources.found import Context, Fetch, Found
from datastage.sources.kaggle_hub import Handle, attach, cached, can_be_asked, fetch
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
    """Tell what ``kaggle:`` names; the parts are the kind, its names, and a version and a file where they are given."""
    rest = rest.strip("/")
    handle = _handle(rest)
    if handle is None:
        raise SpecError(
            f"{text!r} is not the name of a Kaggle dataset.",
            "The address of the page holds it: kaggle.com/datasets/OWNER/NAME is kaggle:OWNER/NAME.",
            "Next: kaggle:OWNER/NAME, kaggle:OWNER/NAME@VERSION/FILE, kaggle:competitions/NAME,",
            "      kaggle:models/OWNER/MODEL/FRAMEWORK/VARIATION, or kaggle:notebooks/OWNER/NAME.",
        )
    more = (handle.version, handle.file) if handle.version or handle.file else ()
    name = handle.file.rpartition("/")[2] or handle.slug
    return Spec(text, "kaggle", rest, (handle.kind, *handle.names, *more), name)


# How many names each kind has, by the folder that its address begins with.
_KINDS = {
    "datasets": ("dataset", 2),
    "competitions": ("competition", 1),
    "c": ("competition", 1),
    "models": ("model", 4),
    "notebooks": ("notebook", 2),
    "code": ("notebook", 2),
}
# Pages of the website that belong to nobody.
_NO_OWNERS = frozenset((*_KINDS, "account", "benchmarks", "discussions", "docs", "learn", "organizations", "settings"))


def _handle(value: str) -> Handle | None:
    pieces = value.split("/")
    kind, n_names = _KINDS.get(pieces[0], ("", 0))
    if kind and len(pieces) > 1:
        pieces = pieces[1:]
    else:
        kind, n_names = ("any", 1) if len(pieces) == 1 else ("dataset", 2)
    if len(pieces) < n_names:
        return None
    names, rest = pieces[:n_names], pieces[n_names:]
    names[-1], _, version = names[-1].partition("@")
    if rest[:1] == ["versions"] and len(rest) > 1:
        version, rest = rest[1], rest[2:]
    elif kind == "model" and rest and rest[0].isdecimal():
        version, rest = rest[0], rest[1:]
    is_good = all(_SLUG.fullmatch(name) for name in names) and (not version or version.isdecimal())
    if not is_good or any(piece in ("", ".", "..") for piece in rest):
        return None
    return Handle(kind, tuple(names), version, "/".join(rest))


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell the dataset, competition, model or notebook whose page this is."""
    pieces = [urllib.parse.unquote(piece) for piece in url.path.split("/") if piece]
    if len(pieces) == 2 and pieces[0] not in _NO_OWNERS:
        pieces = ["datasets", *pieces]  # as the addresses of datasets were once
    kind, n_names = _KINDS.get(pieces[0] if pieces else "", ("", 0))
    if not kind or len(pieces) <= n_names:
        return None
    rest = pieces[n_names + 1 :]
    path = pieces[: n_names + 1]
    if rest[:1] == ["versions"] or (kind == "model" and rest):
        path += rest[: 2 if rest[0] == "versions" else 1]
    file = dict(urllib.parse.parse_qsl(url.query)).get("select", "") if kind == "dataset" else ""
    path += [file] if file else []
    return parse_kaggle(text, "kaggle", "/".join(path).removeprefix("datasets/"))


def open_kaggle(spec: Spec, context: Context) -> Found:
    """Find an attached input, used where it lies; else attach or fetch it through kagglehub, as the runtime allows."""
    runtime = context.runtime
    handle = _handle(spec.value)
    assert handle is not None
    if runtime.input_root is not None:
        attached = inputs(runtime.input_root)
        hits = _matching(handle, attached)
        if len(hits) > 1:
            raise SpecError(
                f"{len(hits)} of your inputs are called {hits[0].slug!r}: {', '.join(str(hit.path) for hit in hits)}.",
                f"Next: say which one: {' or '.join(sorted({str(hit) for hit in hits}))}, or its path.",
            )
        if hits:
            return _in_place(spec, hits[0].path, handle.file, hits[0].called)
        may_attach = not (runtime.is_batch or os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))
        if not may_attach or not os.environ.get("KAGGLE_DATA_PROXY_URL") or can_be_asked(handle) is not None:
            raise _not_attached(handle, attached, runtime)
        context.reporter.note(f"{handle.slug} is not attached to this notebook yet; Kaggle is asked to attach it.")
        return _in_place(spec, attach(replace(handle, file=""), runtime), handle.file, f'your input "{handle.slug}"')
    refusal = can_be_asked(handle)
    if handle.version or refusal is not None:
        kept = cached(handle, runtime.home)
        if kept is not None:
            return _in_place(spec, kept, "", "kagglehub's cache")
    if refusal is not None:
        raise refusal
    content = Fetch(partial(fetch, handle=handle, runtime=runtime))
    return Found(content, str(spec), f"{spec.file_name} on Kaggle")


def _in_place(spec: Spec, folder: Path, file: str, called: str) -> Found:
    path = folder / file if file else folder
    try:
        status = path.stat()
    except FileNotFoundError:
        names = [entry.name for entry in os.scandir(folder)][:_MOST] if folder.is_dir() else []
        near = difflib.get_close_matches(file, names, 3, 0.5) or sorted(names)[:4]
        lines = [f"It holds {', '.join(near)}{', ...' if len(names) > len(near) else ''}"] if near else []
        raise UnavailableError(
            f"There is no {file} in {called}.", *lines, f"Next: look at {folder}, and write the name that is there."
        ) from None
    except OSError:
        return Found(path, str(spec), called, in_place=True)
    if stat.S_ISREG(status.st_mode):
        reader = FileReader(path)
        seen = f"{path.name}, {human_bytes(status.st_size)}, in {called}"
        return Found(reader, str(spec), seen, reader.identity, in_place=True)
    return Found(path, str(spec), f"{file} in {called}" if file else called, stat_identity(status), in_place=True)


def _matching(handle: Handle, attached: Sequence[Input]) -> list[Input]:
    slug = slug_key(handle.slug)
    named = [item for item in attached if slug_key(item.slug) == slug]
    unsure = [item for item in named if item.kind == "input"]
    if handle.kind == "competition":
        return [item for item in named if item.kind == "competition"] or unsure
    if handle.kind != "any":
        owner = slug_key(handle.names[0])
        # The older layout does not say whose a dataset is; what does say it and is another's does not count.
        owned = [item for item in named if item.owner and slug_key(item.owner) == owner]
        sure = [item for item in owned if item.kind == handle.kind]
        if handle.kind == "model":  # below its folder: framework, variation, version
            sure = [deeper for item in sure or unsure if (deeper := _variation(item, handle)) is not None]
            return sure
        return sure or unsure
    if not named:
        # An input called "datasets" whose own folders look like owners: asked for by name, it is meant.
        roots = {item.path.parents[1] for item in attached if item.kind in ("dataset", "notebook", "model")}
        named = [Input(path, path.name) for path in sorted(roots) if slug_key(path.name) == slug]
    return named


def _variation(item: Input, handle: Handle) -> Input | None:
    """Return the folder of the version that was asked for, else of the newest that is attached."""
    folder = item.path
    for name in handle.names[2:]:
        below = [path for path in _folders(folder) or () if slug_key(path.name) == slug_key(name)]
        if not below:
            return None
        folder = below[0]
    versions = {path.name: path for path in _folders(folder) or () if path.name.isdecimal()}
    version = handle.version or max(versions, key=int, default="")
    return replace(item, path=versions[version]) if version in versions else None


def slug_key(name: str) -> str:
    """Return what is the same for two spellings of a name."""
    return name.lower().replace("_", "-")


def _not_attached(handle: Handle, attached: Sequence[Input], runtime: Runtime) -> UnavailableError:
    name = handle.slug
    word = "join the competition, then press" if handle.kind == "competition" else "press"
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
        f"    and {word} + beside it. The page is {handle.page}",
        ' 3. It is a file of your own? "Input" > "Upload" > New Dataset, give it this title,',
        '    "Create", and wait until it is done.',
        "",
        f"Looked in: {listed(attached)}.",
        "Next: when Kaggle has finished with it, run this cell again. No restart is needed.",
    )
