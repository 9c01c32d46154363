"""Catalogs that a course keeps as text: a dataset a line, with its name, where it lies and its digest."""

from __future__ import annotations

import shlex
from pathlib import Path

from datastage.entry import ArchiveEntry
from datastage.errors import SpecError
from datastage.spec import DIGEST

_FACTS = ("title", "licence", "citation", "homepage", "labels")
NEXT = 'Next: a line is: NAME PLACE [PLACE ...] [sha256:DIGEST] [title="..."] [licence="..."]'


def parse_catalog(text: str, where: str) -> list[ArchiveEntry]:
    """Return the entries of a text catalog; `where` is what an error calls it."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise SpecError(f"{where}, line {number}: {error}.", NEXT) from None
        if words:
            entries.append(_entry(words, f"{where}, line {number}"))
    names = [entry.name for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"{where} names {twice} twice.", "Next: write all places of a dataset in one line.")
    if not entries:
        raise SpecError(f"The catalog {where} holds no entry.", NEXT)
    return entries


def _entry(words: list[str], where: str) -> ArchiveEntry:
    name, *rest = words
    facts = dict(word.split("=", 1) for word in rest if word.split("=", 1)[0] in _FACTS and "=" in word)
    digests = [word for word in rest if word.startswith(("md5:", "sha256:"))]
    places = [word for word in rest if word not in digests and word.split("=", 1)[0] not in _FACTS]
    if not places:
        raise SpecError(f"{where}: {name} has no place.", NEXT)
    if any(place.startswith("https://ADDRESS/") for place in places):
        raise SpecError(
            f"{where}: {name} has a gap in place of its address.",
            "Next: put the address that the archive has on the web in the place of https://ADDRESS/...",
        )
    if len(digests) > 1 or any(not DIGEST.fullmatch(digest) for digest in digests):
        raise SpecError(f"{where}: {' '.join(digests)} is not one digest.", NEXT)
    expect = digests[0].lower() if digests else None
    return ArchiveEntry(name, facts.pop("title", name), tuple(places), expect, **facts)  # type: ignore[arg-type]


def read_catalog(path: Path) -> list[ArchiveEntry]:
    """Return the entries of a text catalog in a file."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SpecError(f"The catalog {path} cannot be read: {why}.", "Next: look at its path.") from error
    return parse_catalog(text, path.name)
