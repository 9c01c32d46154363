"""For a teacher: the line of a text catalog for an archive, and what 300 students would meet at each place of it."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from datastage import datasets, sources
from datastage.entry import PACKAGE, Part
from datastage.errors import DatastageError, SpecError
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import Reader
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.sources import drive_link_errors
from datastage.transfer import Limits

# A look, not a fetch: who does not answer soon is no place for a class.
_LOOK = Limits(tries=1, longest_wait_s=2.0, longest_retry_after_s=2.0)
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """What was seen at one place of an entry: `trouble` is None where all is well, `notes` are for a class of many."""

    name: str
    file: str
    place: str
    seen: str
    trouble: str | None = None
    notes: tuple[str, ...] = ()


# What a class of many meets at a place that one person finds in order.
_FOR_MANY = {
    "share": "Google gives a shared file to nobody for a day when many have fetched it: name a second place.",
    "github": "GitHub gives one address, which a class may share, only so many files a minute: a release is safer.",
    "Dropbox": "Dropbox switches a link off for a day when many have used it: name a second place.",
    "drive": "Only who has this in a Drive of their own finds it.",
    "kaggle": "Not tried here. Outside Kaggle it takes kagglehub, and for what is not public a token of each student.",
    "competition": "Each student has to accept the rules of the competition, signed in, before this works.",
    "file": "Only a machine that has this file finds it.",
    "relative": "Only who has this file beside the notebook finds it.",
}


def catalog_line(archive: str, here: Runtime, reporter: Reporter = SILENT) -> str:
    """Return the line of a text catalog for the file that `archive` names: every byte of it is read."""
    spec = sources.parse(archive)
    found = sources.open_spec(spec, here, reporter=reporter)
    if not isinstance(found.content, Reader):
        raise SpecError(f"{spec} is no file, so it has no digest.", "Next: datastage zip FOLDER FOLDER.zip")
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(found.content) as reader:
        reporter.phase(f"reading {reader.name}", reader.size)
        for piece in reader.stream(0):
            digest.update(piece)
            size += len(piece)
            reporter.advance(len(piece))
    letters = unicodedata.normalize("NFKD", Path(spec.file_name).stem.lower())
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in letters if not unicodedata.combining(c))
    name = name.strip("_") if name.strip("_")[:1].isalpha() else f"set_{name.strip('_')}"
    is_address = sources.address_of(spec) is not None
    place = shlex.quote(str(spec)) if is_address else f"https://ADDRESS/{quote(spec.file_name)}"
    return f"{name} {place} sha256:{digest.hexdigest()}  # {human_bytes(size)}"


def check_catalog(names: Sequence[str], here: Runtime) -> list[Checked]:
    """Look at every place of the entries with these names; without names at the user's own, or at all. No fetch."""
    entries = [datasets.get(name) for name in names] or list(datasets.own() or datasets.catalog())
    tasks = [(entry.name, part, place) for entry in entries for part in entry.parts for place in part.places]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda task: _look(task[0], task[1], task[2], here), tasks))


def without_a_place(checked: Sequence[Checked]) -> list[str]:
    """Return the files that no place gives, as ``"name: file"``."""
    works = {(each.name, each.file) for each in checked if each.trouble is None}
    return list(dict.fromkeys(f"{e.name}: {e.file}" for e in checked if (e.name, e.file) not in works))


def _look(name: str, part: Part, place: str, here: Runtime) -> Checked:
    shown = hide_secrets(place)
    if place.startswith(PACKAGE):
        there = datasets.in_package(place.removeprefix(PACKAGE)) is not None
        return Checked(name, part.name, shown, "installed" if there else "", None if there else "not installed here")
    try:
        spec = sources.parse(place)
        found = sources.open_spec(spec, here, limits=_LOOK, has_hash=part.expect is not None)
    except DatastageError as error:
        return Checked(name, part.name, shown, "", str(error.args[0]))
    if spec.scheme == "share" and spec.parts == ("file", "") and not drive_link_errors.name_of(spec):
        return Checked(name, part.name, shown, "", "Google does not show it to everybody: is it gone, or not shared?")
    notes = [_FOR_MANY[word] for word in (spec.scheme, *spec.parts[:1]) if word in _FOR_MANY]
    size = None
    if isinstance(found.content, Reader):
        size = found.content.size
        if not found.content.ranges:
            notes.append("This server gives no parts of a file: a download that breaks off begins anew.")
        found.content.close()
    if not part.expect and not found.digests:
        notes.append("No digest is known, so half a file or another would not be noticed: datastage catalog add.")
    if part.size is not None and size is not None and size != part.size:
        return Checked(name, part.name, shown, found.seen, f"it has {size:,} bytes, and {part.size:,} are expected")
    algorithm, _, digest = (part.expect or "").lower().partition(":")
    if found.digests.get(algorithm, digest) != digest:
        return Checked(name, part.name, shown, found.seen, "its place publishes another digest")
    return Checked(name, part.name, shown, found.seen, None, tuple(notes))
