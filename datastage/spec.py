"""What the user writes to name a dataset: the value `Spec`; and what every source's parser shares."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from dataclasses import dataclass, field

from datastage.errors import SpecError
from datastage.redact import hide_secrets

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Many files in one text: numbers from one to another, or words with commas between them.
BRACES = re.compile(r"\{(?:(\d{1,99})\.\.(\d{1,99})|[^{},\s]*(?:,[^{},\s]*)+)\}")
# What may be said to prove the file that is named.
DIGEST = re.compile("(?i:md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Spec:
    """What the user wrote, told apart. The scheme is that of a row of `SOURCES`, or ``"name"`` for a dataset.

    >>> spec = Spec("https://me:secret@host.example/a.zip?token=abc", "http", "", name="a.zip")
    >>> str(spec), spec.file_name
    ('https://...@host.example/a.zip?token=...', 'a.zip')
    """

    text: str = field(repr=False)  # as it was written, secrets and all: for fetching only, never printed
    scheme: str
    value: str = field(repr=False)  # what follows the scheme
    parts: tuple[str, ...] = field(default=(), repr=False)  # the value told apart, as each source does
    name: str | None = field(default=None, repr=False)  # the file's, where it is not the last part of the value

    def __str__(self) -> str:
        return self.text if self.scheme in ("name", "file", "relative", "drive") else hide_secrets(self.text)

    @property
    def file_name(self) -> str:
        """The last part of the path, with its endings: ``"datasets.zip"``; empty for a bare host."""
        return last_part(self.value) if self.name is None else self.name


def last_part(path: str) -> str:
    """Return what follows the last slash, forward or backward, of a path that may end in one."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def checked(text: str | os.PathLike[str]) -> str:
    """Return `text` if it can name something at all; raise `SpecError` otherwise."""
    if isinstance(text, list | tuple):
        said = f"What to stage must be one text, and a list of {len(text)} was given."
        raise SpecError(said, "Next: name one place; others that hold the same data are fallbacks=[...].")
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
    return _nameable(text)


def _nameable(text: str) -> str:
    """Return `text` if something can be called so; raise `SpecError` otherwise."""
    with contextlib.suppress(UnicodeEncodeError):  # half of an emoji, as a text that was cut apart leaves it
        if b"\0" not in os.fsencode(text):
            return text
    raise SpecError(f"{text!r} holds a character that no name can hold.", "Next: write it without that character.")


def split_scheme(text: str) -> tuple[str, str]:
    """Return the word before the colon as it is written, and the rest; an empty word where there is none."""
    match = _SCHEME.match(text)
    return (match.group(1), text[match.end() :]) if match else ("", text)


def split_address(text: str) -> urllib.parse.SplitResult:
    """Return the parts of an http or https address; raise `SpecError` if it is none."""
    shown = hide_secrets(text)
    scheme, rest = split_scheme(text)
    if not rest.startswith("//"):
        raise SpecError(f"{shown!r}: an address begins with {scheme}://.", f"Next: {scheme}://{rest.lstrip('/')}")
    if " " in text:
        raise SpecError(f"{shown!r}: an address holds no spaces.", f"Next: {text.replace(' ', '%20')}")
    try:
        url = urllib.parse.urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise SpecError(f"{shown!r} is not an address.", "Next: copy it again from the browser.") from None
    if not host:
        raise SpecError(f"{shown!r} names no server.", f"Next: {scheme}://SERVER/FILE")
    return url


def is_path(text: str) -> bool:
    r"""Tell whether `text` is a path by its beginning: ``/x``, ``~/x``, ``./x``, ``../x``, ``C:\x``."""
    return bool(re.match(r"[A-Za-z]:[\\/]|[/~]|\.\.?([\\/]|$)", text))


def of_path(path: os.PathLike[str]) -> Spec:
    """Return the spec of a path object: exactly that file or folder."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise SpecError(f"A path of bytes cannot be staged: {text!r}.", "Next: give the path as text.")
    return Spec(_nameable(text), "file", text)


def as_text(place: str | os.PathLike[str]) -> str:
    """Return a spec as text that means the same: a bare name of a path object is none of a dataset."""
    if not isinstance(place, os.PathLike):
        return place
    text = of_path(place).text
    return text if os.path.isabs(text) else os.path.join(".", text)


def parse_file(text: str, word: str, rest: str) -> Spec:
    """Tell the path in ``file:///PATH``."""
    if not rest.startswith("///") and not rest.startswith("//localhost/"):
        raise SpecError(f"{text!r}: a file's address has three slashes.", f"Next: file:///{rest.lstrip('/')}")
    path = urllib.parse.unquote(rest.removeprefix("//localhost").removeprefix("//"))
    return Spec(text, "file", path[1:] if re.match(r"/[A-Za-z]:[\\/]", path) else path)


def parse_http(text: str, word: str, rest: str) -> Spec:
    """Tell the address and the name of its file."""
    name = last_part(urllib.parse.unquote(split_address(text).path))
    return Spec(text, "http", text, name=name)


def parse_bare(text: str) -> Spec:
    """Tell a relative path, which has a slash or a dot, from the name of a dataset."""
    if "/" in text or "\\" in text or "." in text:
        if text.lower().startswith("www."):
            raise SpecError(f"{text!r} looks like an address without its beginning.", f"Next: write https://{text}")
        return Spec(text, "relative", text)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise SpecError(
            f"{text!r} is neither the name of a dataset nor a path.",
            f"A file of that name is written './{text}'.",
            "Next: datastage catalog lists the names.",
        )
    return Spec(text, "name", text)
