"""Where data may lie: one module a kind of place, and the table of them.

Here: `SOURCES`, `parse`, which turns a text into a spec, and `open_spec`, which reaches what a spec names. Not here:
how a place is reached (each module), the order in which places are tried (`staging`). To add one: CONTRIBUTING.md.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from datastage.errors import MissingDependencyError, SpecError, StorageError
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.sources import kaggle_inputs
from datastage.sources.found import Context, Fetch, Found, Source
from datastage.spec import (
    BRACES,
    Spec,
    checked,
    is_path,
    of_path,
    parse_bare,
    parse_file,
    parse_http,
    split_address,
    split_scheme,
)

__all__ = [
    "SOURCES", "Context", "Fetch", "Found", "Source", "address_of", "elsewhere", "key_of", "near_name", "open_spec",
    "parse",
]  # fmt: skip


def _late(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a source that is imported when it is called: a run needs one place, not all."""

    def call(*words: Any) -> Any:
        try:
            return getattr(importlib.import_module(call.__module__), name)(*words)
        except ModuleNotFoundError as error:
            if error.name != call.__module__:
                raise
            text = "This kind of place is not in the tool that a setup cell carries."
            raise MissingDependencyError(text, "Next: make the cell for this place, or install the wheel.") from None

    call.__module__ = f"{__name__}.{module}"  # setup cells look here for what they have to carry
    return call


elsewhere = _late("path", "elsewhere")
# Installations of Dataverse; others are found through the DOI of the dataset.
_DATAVERSES = (
    "dataverse.harvard.edu", "dataverse.nl", "dataverse.no", "borealisdata.ca", "dataverse.tdl.org",
    "dataverse.unc.edu", "dataverse.org", "data.aussda.at", "darus.uni-stuttgart.de", "heidata.uni-heidelberg.de",
    "rdr.kuleuven.be", "entrepot.recherche.data.gouv.fr", "data.sciencespo.fr", "edatos.consorciomadrono.es",
)  # fmt: skip
# A line of the command that a page shows, a DOI as papers print it, an address among words or in brackets.
_OTHER_FORMS = (
    (r"!?kaggle datasets download (?:-d )?([\w.-]+/[\w.-]+)\b.*", r"kaggle:\1"),
    (r"!?kaggle competitions download (?:-c )?([\w.-]+)\b.*", r"kaggle:competitions/\1"),
    (r"!?gdown (?:--id )?([\w-]{25,})\b.*", r"https://drive.google.com/file/d/\1/view"),
    (r"(?:doi: +)?(10\.\d{4,9}/\S+)", r"doi:\1"),
    (r"(?:git clone )?git@github\.com:([\w.-]+/[\w.-]+?)(?:\.git)?", r"github:\1"),
    (r"arn:aws:s3:::(\S+)", r"s3://\1"),
    (
        r"(?!https?:)[<'\"(]?(?:!?(?:wget|curl|gdown|git clone)\b[^:]* )?[<'\"(]?(https?://[^\s<>'\"]+)(?:[>'\")]| .*)",
        r"\1",
    ),
    (r"!?(?:wget|curl|gdown|git clone)\b[^:]* [<'\"]?(https?://[^\s<>'\"]+)", r"\1"),
)
# Of the rows that know a server, the first one that recognises its page has it.
# fmt: off
SOURCES: tuple[Source, ...] = (
    Source("drive", _late("drive", "open_drive"), _late("drive", "parse_drive"), words=("drive",), example="drive:"),
    Source("share", _late("drive_link", "open_drive_link"), parse_page=_late("drive_link", "parse_link"),
           hosts=("drive.google.com", "drive.usercontent.google.com", "docs.google.com")),
    Source("kaggle", _late("kaggle", "open_kaggle"), _late("kaggle", "parse_kaggle"), words=("kaggle",),
           example="kaggle:", hosts=("kaggle.com",), parse_page=_late("kaggle", "parse_page")),
    Source("github", _late("github", "open_github"), _late("github", "parse_github"), words=("github",),
           example="github:", hosts=("github.com", "raw.githubusercontent.com"),
           parse_page=_late("github", "parse_page"), address=_late("github", "address")),
    Source("hub", _late("hub", "open_hub"), _late("hub", "parse_hub"), words=("hf",), example="hf:",
           hosts=("huggingface.co", "hf.co"), parse_page=_late("hub", "parse_page"), address=_late("hub", "address")),
    Source("record", _late("research_data", "open_record"), _late("research_data", "parse_doi"), words=("doi",),
           example="doi:", hosts=("zenodo.org", "figshare.com", "osf.io", "archive.org", "archive.ics.uci.edu",
                                  "doi.org", *_DATAVERSES),
           parse_page=_late("research_data", "parse_page"), address=_late("research_data", "address")),
    Source("link", _late("shared_links", "open_link"), parse_page=_late("shared_links", "parse_page"),
           hosts=("dropbox.com", "sharepoint.com", "onedrive.live.com", "1drv.ms"), key=_late("http", "key"),
           address=str),
    Source("bucket", _late("buckets", "open_bucket"), _late("buckets", "parse_bucket"), words=("s3", "gs", "az"),
           example="s3://", hosts=("cloud.google.com", "console.aws.amazon.com"),
           parse_page=_late("buckets", "parse_page")),
    Source("http", _late("http", "open_http"), parse_http, words=("https", "http"),
           example="https://", key=_late("http", "key"), address=str),
    Source("upload", _late("upload", "open_upload"), _late("upload", "parse_upload"), words=("upload",),
           example="upload:"),
    Source("list", _late("braces", "open_list"), key=_late("braces", "key")),
    Source("file", _late("path", "open_path"), parse_file, words=("file",), example="./", key=_late("path", "key")),
    Source("relative", _late("path", "open_path"), key=_late("path", "key")),
)
# fmt: on


def parse(text: str | os.PathLike[str]) -> Spec:
    """Tell what kind of place `text` names.

    Examples
    --------
    >>> parse("kaggle:zalando-research/fashionmnist").parts
    ('dataset', 'zalando-research', 'fashionmnist')
    """
    if isinstance(text, os.PathLike):
        return of_path(text)
    text = checked(text)
    if BRACES.search(text):
        return cast(Spec, _late("braces", "parse_list")(text))
    if is_path(text):
        return Spec(text, "file", text)
    if (meant := _meant(text)) is not None:
        raise SpecError(f"{hide_secrets(text)!r} names a place in another form.", f"Next: {hide_secrets(meant)}")
    if any(ord(c) < 32 for c in text):
        raise SpecError(
            f"{text!r} has a line break or another character that cannot be seen.",
            f"Next: write it without; a file that is really called so is {'./' + text!r}.",
        )
    written, rest = split_scheme(text)
    if not written:
        return parse_bare(text)
    word = written.lower()
    parsers = {word: source.parse for source in SOURCES if source.parse for word in source.words}
    if written != word and word in parsers:
        raise SpecError(f"{text!r}: the word before the colon is written in small letters.", f"Next: {word}:{rest}")
    parser = parsers.get(word)
    if parser is None:
        near = difflib.get_close_matches(word, parsers, 1, 0.6)
        examples = ", ".join(source.example for source in SOURCES if source.example)
        hint = f"Next: begin with {examples}, or name a dataset such as cifar10."
        if near:
            hint = f"Did you mean {hide_secrets(f'{near[0]}:{rest}')}"
        raise SpecError(f"{hide_secrets(text)!r}: there is no place called {word + ':'!r}.", hint)
    spec = parser(text, word, rest)
    return (_of_a_page(text) or spec) if spec.scheme == "http" else spec


def _meant(text: str) -> str | None:
    """Return the spec of what people copy where a place is shown in another form; None for what is none of these."""
    for pattern, spec in _OTHER_FORMS:
        if match := re.fullmatch(pattern, text, re.IGNORECASE):
            return match.expand(spec)
    host = text.partition("/")[0].lower()
    is_host = any(f".{host}".endswith(f".{known}") for source in SOURCES for known in source.hosts)
    return f"https://{text}" if is_host and "/" in text else None


def _of_a_page(text: str) -> Spec | None:
    """Return what the web page at an address leads to, if a source knows its server."""
    url = split_address(text)
    for source in SOURCES:
        if source.parse_page and any(f".{url.hostname}".endswith(f".{host}") for host in source.hosts):
            # A setup cell carries the source of each page that it names: what is left is a plain file on such a server.
            with contextlib.suppress(MissingDependencyError):
                spec = source.parse_page(text, url)
                if spec is not None:
                    return spec
    return None


def _source(spec: Spec) -> Source:
    source = next((source for source in SOURCES if source.scheme == spec.scheme), None)
    if source is None:
        raise SpecError(f"{spec} is the name of a dataset, not a place.", "Next: give a place, such as ./data.zip.")
    return source


def open_spec(spec: Spec, runtime: Runtime, **more: Any) -> Found:
    """Reach what `spec` names; `more` is of `Context`. The name of a dataset is many places (`staging`)."""
    try:
        return _source(spec).open(spec, Context(runtime, **more))
    except StorageError as error:
        error.of_source = True
        raise


def key_of(spec: Spec, cwd: Path) -> str:
    """Return what of a spec's value tells two requests apart, no secret in it."""
    return spec.value if spec.scheme == "name" else _source(spec).key(spec, cwd)


def address_of(spec: Spec) -> str | None:
    """Return what a browser opens to download the file that a spec names, secrets removed; None if it cannot."""
    return None if spec.scheme == "name" else _source(spec).address(spec)


def near_name(name: str, runtime: Runtime) -> str | None:
    """Return the spec of what is called like an unknown dataset: an attached input, or a file or folder here."""
    key = kaggle_inputs.slug_key(name)
    slugs = (item.slug for item in kaggle_inputs.inputs(runtime.input_root) if kaggle_inputs.slug_key(item.slug) == key)
    return next((f"kaggle:{slug}" for slug in slugs), f"./{name}" if (runtime.cwd / name).exists() else None)
