"""The Hugging Face Hub: files, folders and whole repositories, over plain https; what is gated or private is named."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datastage.errors import DatastageError, SpecError, UnavailableError
from datastage.reader import FileReader
from datastage.sources.endpoints import endpoint, hub_home
from datastage.sources.found import Context, Found
from datastage.sources.http import found_at, open_url
from datastage.sources.web_api import RemoteFile, open_files, read_page, refusal
from datastage.spec import Spec, last_part

_HUB = "https://huggingface.co"
HOSTS = ("huggingface.co", "hf.co")
_KINDS = ("datasets", "models", "spaces")
# Pages of the website that are no repositories.
_NO_OWNERS = frozenset({"api", "blog", "collections", "docs", "join", "login", "organizations", "papers", "settings"})
_MOST_PAGES = 1000


def parse_hub(text: str, word: str, rest: str) -> Spec:
    """Tell ``hf:datasets/OWNER/NAME[@REVISION][/PATH]``; without ``datasets/`` it is a model."""
    pieces = [piece for piece in rest.removeprefix("//").strip("/").split("/") if piece]
    kind = pieces.pop(0) if pieces and pieces[0] in _KINDS else "models"
    path = pieces[2:]
    name, _, revision = pieces[1].partition("@") if len(pieces) > 1 else ("", "", "")
    words = [pieces[0], name] if pieces else []
    if len(words) != 2 or not all(re.fullmatch(r"[\w.-]+", word) for word in words) or ".." in path:
        near = f"datasets/{'/'.join(pieces[:2])}" if len(pieces) > 1 and kind == "datasets" else "datasets/OWNER/NAME"
        raise SpecError(f"{text!r} is no repository of the Hugging Face Hub.", f"Next: hf:{near}")
    return _spec(text, kind, "/".join(words), revision or "main", "/".join(path))


def _spec(text: str, kind: str, repository: str, revision: str, path: str) -> Spec:
    value = f"{kind}/{repository}@{revision}/{path}"
    return Spec(text, "hub", value, (kind, repository, revision, path), name=last_part(path or repository))


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell which file or folder a page of the Hub shows."""
    quoted = [piece for piece in url.path.split("/") if piece]  # the slashes in a revision are quoted
    kind = quoted.pop(0) if quoted and quoted[0] in ("datasets", "spaces") else "models"
    pieces = [urllib.parse.unquote(piece) for piece in quoted]
    if len(pieces) < 2 or pieces[0] in _NO_OWNERS or (url.hostname or "").removeprefix("www.") not in HOSTS:
        return None
    repository = "/".join(pieces[:2])
    if len(pieces) > 3 and pieces[2] in ("tree", "blob", "resolve", "raw"):
        return _spec(text, kind, repository, pieces[3], "/".join(pieces[4:]))
    return _spec(text, kind, repository, "main", "")


def address(spec: Spec) -> str | None:
    """Return the page that a browser opens for a spec."""
    _, _, revision, path = spec.parts
    return _resolve(spec, revision, path, _HUB) if path else _page(spec, _HUB)


def _page(spec: Spec, hub: str) -> str:
    kind, repository, *_ = spec.parts
    return f"{hub}/{'' if kind == 'models' else kind + '/'}{repository}"


def _quoted(revision: str) -> str:
    return urllib.parse.quote(revision, safe="")


def _resolve(spec: Spec, revision: str, path: str, hub: str) -> str:
    return f"{_page(spec, hub)}/resolve/{_quoted(revision)}/{urllib.parse.quote(path)}"


def open_hub(spec: Spec, context: Context) -> Found:
    """Reach a file, or all files of a folder or a repository."""
    path = spec.parts[3]
    try:
        if path:
            try:
                return _file(spec, context)
            except DatastageError as error:
                if _code(error) != "EntryNotFound" and refusal(error) != 404:
                    raise
        return _folder(spec, context)
    except DatastageError as error:
        cached = _cached(spec) if not refusal(error) else None
        if cached is not None:
            reader = FileReader(cached)
            return Found(reader, str(spec), f"{spec.file_name}, in the cache of huggingface_hub", reader.identity)
        raise _explained(error, spec) from error


def _code(error: DatastageError) -> str:
    return str(getattr(error, "headers", {}).get("x-error-code", ""))


def _file(spec: Spec, context: Context) -> Found:
    _, repository, revision, path = spec.parts
    url = _resolve(spec, revision, path, endpoint("hub"))
    reader = open_url(url, has_hash=context.has_hash, limits=context.limits, name=spec.file_name)
    # Of a large file the redirect says the sha256.
    digest = reader.told.get("x-linked-etag", "").strip('"')
    digests = {"sha256": digest} if re.fullmatch(r"[0-9a-f]{64}", digest) else {}
    return found_at(reader, str(spec), context.limits, where=f"in {repository} on the Hub", digests=digests)


def _folder(spec: Spec, context: Context) -> Found:
    kind, repository, revision, path = spec.parts
    api = f"{endpoint('hub')}/api/{kind}/{repository}"
    page = read_page(f"{api}/revision/{_quoted(revision)}", limits=context.limits)
    commit = str(page.json()["sha"])  # all files of one state, whatever is pushed meanwhile
    url = f"{api}/tree/{commit}/{urllib.parse.quote(path)}".rstrip("/") + "?recursive=true&expand=false"
    files = []
    for row in _rows(url, page.authorization, context):
        there = str(row["path"])
        if row.get("type") == "file" and there != ".gitattributes":
            lfs = row.get("lfs") or {}
            shown, address_of = there.removeprefix(f"{path}/"), _resolve(spec, commit, there, endpoint("hub"))
            digests = {"sha256": str(lfs["oid"])} if lfs.get("oid") else {}
            files.append(RemoteFile(shown, address_of, lfs.get("size", row.get("size")), digests, page.authorization))
    if not files:
        raise UnavailableError(f"{spec} holds no files.", f"Next: open {address(spec)} in a browser.")
    what = f"in {path} of {repository}" if path else f"in {repository}"
    return open_files(files, str(spec), context, f"{what} on the Hub", commit)


def _rows(url: str, headers: Mapping[str, str], context: Context) -> Iterator[dict[str, Any]]:
    """Give the rows of a listing, over all of its pages."""
    for _ in range(_MOST_PAGES):
        page = read_page(url, limits=context.limits, headers=headers)
        yield from page.json()
        following = re.search(r'<([^>]+)>;\s*rel="next"', page.headers.get("link", ""))
        if following is None:
            return
        url = urllib.parse.urljoin(url, following[1])


def _cached(spec: Spec) -> Path | None:
    """Return a file that huggingface_hub keeps; of a folder nothing tells whether it is whole."""
    kind, repository, revision, path = spec.parts
    cache = Path(os.environ.get("HF_HUB_CACHE") or hub_home() / "hub") / f"{kind}--{repository.replace('/', '--')}"
    try:
        commit = (cache / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    file = cache / "snapshots" / commit / path
    return file if path and file.is_file() else None


def _explained(error: DatastageError, spec: Spec) -> DatastageError:
    _, repository, revision, path = spec.parts
    page = _page(spec, _HUB)
    token = "Set HF_TOKEN to a token of yours (huggingface.co > Settings > Access Tokens), or keep it as a secret."
    code, status, with_token = _code(error), refusal(error), getattr(error, "with_token", False)
    if code == "GatedRepo":
        return UnavailableError(
            f"{repository} asks you to agree to its terms before it gives its files ({status}).",
            f"Open {page}, sign in, and press the button that agrees; some owners answer by hand.",
            "Your HF_TOKEN has to be of the account that has agreed." if with_token else token,
            "Next: run the same line again.",
        )
    if code == "RevisionNotFound":
        return UnavailableError(f"{repository} has no version {revision}.", f"Next: look at {page}/tree/main.")
    if code == "EntryNotFound" or (status == 404 and path):
        return UnavailableError(
            f"{spec}: {repository} holds no {path}.", f"Next: look at its files: {page}/tree/{revision}"
        )
    if status in (401, 403, 404):
        whose = "your HF_TOKEN does not open it" if with_token else "it is private"
        return UnavailableError(
            f"{repository} is not on the Hub, or {whose}: the answer is the same ({status}).",
            f"If it is private: {token[0].lower()}{token[1:]}"
            if not with_token
            else "A token may be wrong, or run out.",
            f"Next: open {page} in a browser.",
        )
    return error
