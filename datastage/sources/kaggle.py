"""``kaggle:`` specs: an input that is attached, else what kagglehub attaches or fetches."""

from __future__ import annotations

import os
import re
import stat
import urllib.parse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datastage.errors import SpecError, UnavailableError
from datastage.reader import stat_identity
from datastage.sources.found import Context, Fetch, Found, at_path, names_near
from datastage.sources.kaggle_hub import Handle, attach, cached, can_be_asked, fetch
from datastage.sources.kaggle_inputs import MOST, Input, folders_in, inputs, listed, slug_key
from datastage.sources.path import check_folder
from datastage.spec import Spec

if TYPE_CHECKING:
    from datastage.runtime import Runtime


_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
            return _in_place(spec, hits[0].path, handle.file, hits[0].called, runtime)
        _refuse_without_owner(handle, attached)
        may_attach = not (runtime.is_batch or os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))
        if not may_attach or not os.environ.get("KAGGLE_DATA_PROXY_URL") or can_be_asked(handle) is not None:
            raise _not_attached(handle, attached, runtime)
        context.reporter.note(f"{handle.slug} is not attached to this notebook yet; Kaggle is asked to attach it.")
        folder = attach(replace(handle, file=""), runtime)
        return _in_place(spec, folder, handle.file, f'your input "{handle.slug}"', runtime)
    refusal = can_be_asked(handle)
    if handle.version or refusal is not None:
        kept = cached(handle, runtime.home)
        if kept is not None:
            return _in_place(spec, kept, "", "kagglehub's cache", runtime)
    if refusal is not None:
        raise refusal
    content = Fetch(partial(fetch, handle=handle, runtime=runtime))
    return Found(content, str(spec), f"{spec.file_name} on Kaggle")


def _refuse_without_owner(handle: Handle, attached: Sequence[Input]) -> None:
    """Raise if what stands in the owner's place is an attached input, and holds what stands behind it."""
    below = "/".join((*handle.names[1:], handle.file)).rstrip("/")
    named = [item for item in attached if slug_key(item.slug) == slug_key(handle.names[0])]
    for item in named if handle.kind == "dataset" else []:
        if (item.path / below).exists():
            near = f"{item}/{below}" if item.owner else item.path / below
            raise UnavailableError(
                f"There is no dataset of somebody called {item.slug}; your input {item.slug} holds {below}.",
                f"Next: is it this one?  {near}",
            )


def _in_place(spec: Spec, folder: Path, file: str, called: str, runtime: Runtime) -> Found:
    path = folder / file if file else folder
    try:
        status = path.stat()
    except FileNotFoundError:
        names = [entry.name for entry in os.scandir(folder)][:MOST] if folder.is_dir() else []
        near = names_near(file, names, 0.5) or sorted(names)[:4]
        lines = [f"It holds {', '.join(near)}{', ...' if len(names) > len(near) else ''}"] if near else []
        raise UnavailableError(
            f"There is no {file} in {called}.", *lines, f"Next: look at {folder}, and write the name that is there."
        ) from None
    except OSError:
        return Found(path, str(spec), called, in_place=True)
    if stat.S_ISREG(status.st_mode):
        return at_path(path, spec, status, called, in_place=True)
    check_folder(path, runtime)
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
            return [deeper for item in sure or unsure if (deeper := _variation(item, handle)) is not None]
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
        below = [path for path in folders_in(folder) or () if slug_key(path.name) == slug_key(name)]
        if not below:
            return None
        folder = below[0]
    versions = {path.name: path for path in folders_in(folder) or () if path.name.isdecimal()}
    version = handle.version or max(versions, key=int, default="")
    return replace(item, path=versions[version]) if version in versions else None


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
