"""Text to `Spec`, and back: what the user writes to name a dataset.

Here: the schemes, what is wrong with a text that is none, and what is near; hiding secrets when printing.
Not here: whether the thing exists (`sources`), which names the catalog knows (`datasets`).
"""

from __future__ import annotations

import difflib
import os
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from datastage.errors import SpecError

Scheme = Literal["name", "drive", "share", "kaggle", "http", "github", "hf", "s3", "gs", "upload", "file", "relative"]

_PREFIXES = ("drive", "kaggle", "https", "http", "github", "hf", "s3", "gs", "upload", "file")
_DRIVE_ID = re.compile(r"[A-Za-z0-9_-]{10,}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HIDDEN = "..."


@dataclass(frozen=True, slots=True)
class Spec:
    """What the user wrote, told apart.

    Attributes
    ----------
    text : str
        As it was written, secrets and all: for fetching only. Never print it; `str()` of the spec hides secrets.
    scheme : str
        Which kind of place it names: one of `Scheme`.
    value : str
        What follows the scheme: a name, a path, an address, a file's id.
    parts : tuple of str
        The value told apart, where the scheme has parts: ``("dataset", owner, slug)``, ``("competition", slug)`` or
        ``("any", slug)`` for ``kaggle:``; ``("file" or "folder", resource key or "")`` for a shared Drive link;
        ``(owner, repo, ref or "", path or "")`` for ``github:``.

    Examples
    --------
    >>> parse("kaggle:zalando-research/fashionmnist").parts
    ('dataset', 'zalando-research', 'fashionmnist')
    >>> str(parse("https://me:secret@host.example/a.zip?token=abc"))
    'https://...@host.example/a.zip?token=...'
    """

    text: str = field(repr=False)
    scheme: Scheme
    value: str = field(repr=False)
    parts: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return without_secrets(self.text)

    @property
    def stem(self) -> str:
        """The name of what is meant, without its folder and without an archive's endings: ``"datasets"``."""
        return stem_of(self.file_name) or self.scheme

    @property
    def file_name(self) -> str:
        """The last part of the path, with its endings: ``"datasets.zip"``; empty for a bare host."""
        value = self.value
        if self.scheme == "http":
            value = urllib.parse.unquote(urllib.parse.urlsplit(value).path)
        if self.scheme == "kaggle":
            return self.parts[-1]
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]


def stem_of(file_name: str) -> str:
    """Return `file_name` without the endings of archives and of files: ``"a.tar.gz"`` gives ``"a"``."""
    stem = re.sub(r"(?i)\.(tar|t)\.?(gz|bz2|xz|zst|lz4)$|\.t[gbx]z2?$", "", file_name)
    return stem if stem != file_name else PurePath(file_name).stem


def without_secrets(text: str) -> str:
    """Return `text` with the user name, password and query values of an address replaced by ``...``.

    Examples
    --------
    >>> without_secrets("http://u:p@h/x?a=1&b=2#f")
    'http://...@h/x?a=...&b=...#f'
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$", text, re.DOTALL)
    if match is None:
        return text
    scheme, authority, path, query, fragment = (part or "" for part in match.groups())
    if "@" in authority:
        authority = f"{_HIDDEN}@{authority.rpartition('@')[2]}"
    if query:
        query = "?" + "&".join(_hide_value(pair) for pair in query[1:].split("&"))
    return f"{scheme}{authority}{path}{query}{fragment}"


def _hide_value(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    # A query without "=" may itself be the token.
    return f"{name}={_HIDDEN}" if equals else (_HIDDEN if pair else "")


def parse(text: str | os.PathLike[str]) -> Spec:
    """Tell what kind of place `text` names.

    Parameters
    ----------
    text : str or path
        A spec as in the README's table. A path object always names exactly that file or folder.

    Returns
    -------
    Spec
        With ``str(spec)`` equal to `text`, secrets apart.

    Raises
    ------
    SpecError
        If the text is none of them; says what is wrong and what is near.
    """
    if isinstance(text, os.PathLike):
        path = os.fspath(text)
        if not isinstance(path, str):
            raise SpecError(f"A path of bytes cannot be staged: {path!r}.", "Next: give the path as text.")
        return Spec(path, "file", path)
    if not isinstance(text, str):
        raise SpecError(
            f"What to stage must be text, such as 'cifar10', not {type(text).__name__}.",
            "Next: write it as text in quotes.",
        )
    if not text.strip():
        raise SpecError("Nothing was named: the text is empty.", "Next: name a dataset, such as 'cifar10'.")
    if text != text.strip():
        near = text.strip()
        raise SpecError(f"{text!r} begins or ends with a space.", f"Next: write {near!r}.")
    if "\0" in text or any(ord(c) < 32 for c in text):
        raise SpecError(f"{text!r} holds a character that no name can hold.", "Next: write it without line breaks.")
    if re.match(r"[A-Za-z]:[\\/]|[/~]|\.\.?([\\/]|$)", text):
        return Spec(text, "file", text)
    match = _SCHEME.match(text)
    if match is None:
        return _without_scheme(text)
    scheme, rest = match.group(1).lower(), text[match.end() :]
    if match.group(1) != scheme and scheme in _PREFIXES:
        raise SpecError(f"{text!r}: the word before the colon is written in small letters.", f"Next: {scheme}:{rest}")
    known = {
        "drive": _drive,
        "kaggle": _kaggle,
        "http": _web,
        "https": _web,
        "github": _github,
        "hf": _hf,
        "s3": _bucket,
        "gs": _bucket,
        "upload": _upload,
        "file": _file,
    }.get(scheme)
    if known is None:
        near_scheme = difflib.get_close_matches(scheme, _PREFIXES, 1, 0.6)
        hint = f"Did you mean {near_scheme[0]}:{rest}" if near_scheme else _ALL
        raise SpecError(f"{without_secrets(text)!r}: there is no place called {scheme + ':'!r}.", hint)
    return known(text, scheme, rest)


_ALL = "Next: begin with drive:, kaggle:, https://, github:, ./ or a dataset's name such as cifar10."


def _without_scheme(text: str) -> Spec:
    if "/" in text or "\\" in text or "." in text:
        if text.lower().startswith(("www.", "drive.google.com", "github.com", "kaggle.com")):
            raise SpecError(f"{text!r} looks like an address without its beginning.", f"Next: write https://{text}")
        return Spec(text, "relative", text)
    if not _WORD.fullmatch(text):
        raise SpecError(
            f"{text!r} is neither the name of a dataset nor a path.",
            f"A file of that name is written './{text}'.",
            "Next: datastage catalog lists the names.",
        )
    return Spec(text, "name", text)


def _drive(text: str, scheme: str, rest: str) -> Spec:
    if rest.startswith("//"):
        near = rest.strip("/")
        raise SpecError(f"{text!r}: a path in Drive follows the colon without slashes.", f"Next: drive:{near}")
    path = rest.strip("/")
    if not path:
        raise SpecError("drive: names no file.", "Next: drive:datasets.zip for a file in My Drive.")
    if rest.startswith("/"):
        shorter = re.sub(r"^/content/(drive|gdrive)/", "", rest).lstrip("/")
        raise SpecError(f"{text!r}: a path in Drive begins at My Drive, without a slash.", f"Next: drive:{shorter}")
    if ".." in re.split(r"[/\\]", path):
        raise SpecError(f"{text!r}: a path in Drive cannot go up with '..'.", "Next: write the path from My Drive.")
    return Spec(text, "drive", path)


def _kaggle(text: str, scheme: str, rest: str) -> Spec:
    rest = rest.strip("/")
    pieces = rest.removeprefix("datasets/").split("/")
    if not rest or not all(_SLUG.fullmatch(piece) for piece in pieces):
        raise SpecError(
            f"{text!r} is not the name of a Kaggle dataset.",
            "The address of the page holds it: kaggle.com/datasets/OWNER/NAME is kaggle:OWNER/NAME.",
            "Next: kaggle:OWNER/NAME, or kaggle:competitions/NAME.",
        )
    if pieces[0] in ("competitions", "c") and len(pieces) == 2:
        return Spec(text, "kaggle", rest, ("competition", pieces[1]))
    if len(pieces) == 1:
        return Spec(text, "kaggle", rest, ("any", pieces[0]))
    if len(pieces) == 2:
        return Spec(text, "kaggle", rest, ("dataset", pieces[0], pieces[1]))
    raise SpecError(f"{text!r} has too many parts.", f"Next: kaggle:{pieces[0]}/{pieces[1]}")


def _web(text: str, scheme: str, rest: str) -> Spec:
    shown = without_secrets(text)
    if not rest.startswith("//"):
        raise SpecError(f"{shown!r}: an address begins with {scheme}://.", f"Next: {scheme}://{rest.lstrip('/')}")
    if " " in text:
        raise SpecError(f"{shown!r}: an address holds no spaces.", f"Next: {without_secrets(text.replace(' ', '%20'))}")
    try:
        url = urllib.parse.urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise SpecError(f"{shown!r} is not an address: {error}.", "Next: copy it again from the browser.") from None
    if not host:
        raise SpecError(f"{shown!r} names no server.", f"Next: {scheme}://SERVER/FILE")
    if host in ("drive.google.com", "drive.usercontent.google.com", "docs.google.com"):
        return _share(text, url)
    if host in ("github.com", "www.github.com"):
        return _github_page(text, url)
    if host in ("kaggle.com", "www.kaggle.com"):
        pieces = [piece for piece in url.path.split("/") if piece]
        if len(pieces) >= 3 and pieces[0] == "datasets":
            return _as_written(_kaggle(text, "kaggle", "/".join(pieces[1:3])), text)
        if len(pieces) >= 2 and pieces[0] in ("competitions", "c"):
            return _as_written(_kaggle(text, "kaggle", f"competitions/{pieces[1]}"), text)
    return Spec(text, "http", text)


def _as_written(spec: Spec, text: str) -> Spec:
    return Spec(text, spec.scheme, spec.value, spec.parts)


def _share(text: str, url: urllib.parse.SplitResult) -> Spec:
    query = dict(urllib.parse.parse_qsl(url.query))
    key = query.get("resourcekey", "")
    folder = re.search(r"/folders/([A-Za-z0-9_-]{10,})", url.path)
    found = folder or re.search(r"/d/([A-Za-z0-9_-]{10,})", url.path)
    file_id = found.group(1) if found else query.get("id", "")
    if not _DRIVE_ID.fullmatch(file_id):
        raise SpecError(
            f"{without_secrets(text)!r} is a Google address without a file in it.",
            "In Drive, right-click the file > Share > Copy link.",
            "Next: https://drive.google.com/file/d/ID/view",
        )
    return Spec(text, "share", file_id, ("folder" if folder else "file", key))


def _github(text: str, scheme: str, rest: str) -> Spec:
    match = re.fullmatch(r"([\w.-]+)/([\w.-]+)(?:@([^/\s]+))?(?:/(.+))?", rest)
    if match is None:
        raise SpecError(f"{text!r} is not a repository.", "Next: github:OWNER/REPOSITORY/path/in/it.csv")
    owner, repo, ref, path = match.groups()
    return Spec(text, "github", rest, (owner, repo, ref or "", (path or "").strip("/")))


def _github_page(text: str, url: urllib.parse.SplitResult) -> Spec:
    pieces = [urllib.parse.unquote(piece) for piece in url.path.split("/") if piece]
    if len(pieces) < 2:
        raise SpecError(f"{without_secrets(text)!r} names no repository.", "Next: https://github.com/OWNER/REPOSITORY")
    if len(pieces) >= 5 and pieces[2] in ("raw", "releases", "archive"):
        return Spec(text, "http", text)  # these answer with the file itself
    if len(pieces) >= 4 and pieces[2] in ("blob", "tree"):
        owner, repo, _, ref, *path = pieces
        return Spec(text, "github", "/".join(pieces), (owner, repo, ref, "/".join(path)))
    if len(pieces) == 2:
        return Spec(text, "github", "/".join(pieces), (pieces[0], pieces[1].removesuffix(".git"), "", ""))
    return Spec(text, "http", text)


def _hf(text: str, scheme: str, rest: str) -> Spec:
    pieces = rest.strip("/").split("/")
    if pieces[0] != "datasets" or len(pieces) < 3 or not all(pieces):
        near = "/".join(pieces[-2:]) if len(pieces) > 1 and all(pieces) else "OWNER/NAME"
        raise SpecError(f"{text!r} is not a dataset of the Hugging Face Hub.", f"Next: hf:datasets/{near}")
    return Spec(text, "hf", rest.strip("/"), ("/".join(pieces[1:3]), "/".join(pieces[3:])))


def _bucket(text: str, scheme: str, rest: str) -> Spec:
    bucket, _, key = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not bucket:
        raise SpecError(f"{text!r} names no bucket.", f"Next: {scheme}://BUCKET/PATH")
    return Spec(text, "s3" if scheme == "s3" else "gs", f"{bucket}/{key}", (bucket, key))


def _upload(text: str, scheme: str, rest: str) -> Spec:
    if not rest or "/" in rest or "\\" in rest:
        raise SpecError(f"{text!r}: only a file's name follows upload:.", "Next: upload:datasets.zip")
    return Spec(text, "upload", rest)


def _file(text: str, scheme: str, rest: str) -> Spec:
    if not rest.startswith("///") and not rest.startswith("//localhost/"):
        raise SpecError(f"{text!r}: a file's address has three slashes.", f"Next: file:///{rest.lstrip('/')}")
    path = urllib.parse.unquote(rest.removeprefix("//localhost").removeprefix("//"))
    if re.match(r"/[A-Za-z]:[\\/]", path):
        path = path[1:]
    return Spec(text, "file", path)
