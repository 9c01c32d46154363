"""The catalog: the datasets that datastage knows by name, and those that a user adds.

Here: the table of entries, `get`, `catalog`, `register` and `load_catalog`; one file a family holds the entries.
Not here: where their files are looked for (`sources.search`) and how they are staged (`staging`).
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from datastage.datasets import cifar, columns, mnist, numbers, photos, staged_whole, tables
from datastage.datasets.catalog_file import read_catalog
from datastage.entry import ArchiveEntry, Arrays, Converter, Download, Entry, File, Lookalike
from datastage.errors import SpecError
from datastage.settings import setting

__all__ = [
    "ENTRIES", "ArchiveEntry", "Arrays", "Converter", "Download", "Entry", "File", "Lookalike", "catalog", "get",
    "in_package", "load_catalog", "modules_of", "of_receipt", "own", "read_catalog", "register", "with_files",
]  # fmt: skip

ENTRIES: tuple[Entry | ArchiveEntry, ...] = (
    cifar.CIFAR10,
    cifar.CIFAR100,
    mnist.MNIST,
    mnist.FASHION_MNIST,
    tables.DIGITS,
    tables.IRIS,
    *numbers.ENTRIES,
    *photos.ENTRIES,
    *columns.ENTRIES,
    *staged_whole.ENTRIES,
)
"""The catalog: a new dataset is a file of its own and a row here (CONTRIBUTING.md, "Add a dataset")."""
_entries: dict[str, Entry | ArchiveEntry] = {entry.name: entry for entry in ENTRIES}
_settings_read: set[str] = set()

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def _from_setting() -> None:
    """Register the entries of the text file that ``DATASTAGE_CATALOG`` names, once."""
    named = setting("CATALOG")
    if named is not None and named not in _settings_read:
        if named.endswith(".py"):
            raise SpecError(
                "DATASTAGE_CATALOG names Python code, and a variable never makes code run.",
                f"Next: datastage stage NAME --catalog {shlex.quote(named)}, or a catalog in a text file.",
            )
        for entry in read_catalog(Path(named).expanduser()):
            register(entry)
        _settings_read.add(named)


def get(name: str) -> Entry | ArchiveEntry:
    """Return the entry of this name; `SpecError` names those that are near."""
    _from_setting()
    if name in _entries:
        return _entries[name]
    plain = {_plain(known): known for known in _entries}
    keys = [_plain(name)] if _plain(name) in plain else difflib.get_close_matches(_plain(name), plain, 2, 0.6)
    near = [plain[key] for key in keys]
    hints = [f"Did you mean {' or '.join(near)}?"] if near else []
    listed = f"datastage catalog lists the {len(_entries)} that have a name"
    raise SpecError(
        f"There is no dataset {name!r}.", *hints, f"Next: {listed}; a path begins with ./, such as ./{name}."
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def with_files(name: str | None) -> Entry | None:
    """Return the entry of this name whose files are known one by one; None if it is none, or one archive."""
    found = _entries.get(name or "")
    return found if isinstance(found, Entry) else None


def of_receipt(receipt: Mapping[str, Any]) -> Entry | ArchiveEntry | None:
    """Return the entry of which something was staged; None if it has none, or this process does not know it."""
    return _entries.get(receipt.get("entry") or receipt.get("catalog") or "")


def modules_of(entry: Entry | ArchiveEntry) -> list[str]:
    """Return the names of the modules of this package that hold `entry`."""
    modules = {name: value for name, value in globals().items() if isinstance(value, ModuleType)}
    held = {name: [*vars(module).values(), *getattr(module, "ENTRIES", ())] for name, module in modules.items()}
    return [name for name, values in held.items() if any(value is entry for value in values)]


def catalog() -> tuple[Entry | ArchiveEntry, ...]:
    """Return every entry, those of datastage first, then those that were registered."""
    _from_setting()
    return tuple(_entries.values())


def own() -> tuple[Entry | ArchiveEntry, ...]:
    """Return the entries that are not datastage's: those of a course's file, and those that were registered."""
    return catalog()[len(ENTRIES) :]


def register(entry: Entry | ArchiveEntry) -> None:
    """Add an entry to the catalog of this process; see `datastage.register`."""
    if not isinstance(entry, Entry | ArchiveEntry):
        raise SpecError(f"register() takes an Entry, not {type(entry).__name__}.", "Next: register(Entry(...)).")
    if not _NAME.fullmatch(entry.name):
        raise SpecError(
            f"{entry.name!r} cannot be the name of a dataset.", "Next: letters, digits, _ and -, such as my_set."
        )
    known = _entries.get(entry.name)
    if known == entry:
        return
    if known is not None:
        raise SpecError(
            f"The name {entry.name!r} is taken by {known.title}, which is not replaced.",
            f"Next: give yours another name, such as my_{entry.name}.",
        )
    if isinstance(entry, Entry):
        _check_files(entry)
    elif not entry.places:
        raise SpecError(f"The entry {entry.name!r} has no places.", "Next: name at least one address of the archive.")
    _entries[entry.name] = entry


def _check_files(entry: Entry) -> None:
    if not entry.files:
        raise SpecError(f"The entry {entry.name!r} has no files.", "Next: name at least one File.")
    for file in entry.files:
        if not isinstance(file, File):
            raise SpecError(
                f"The entry {entry.name!r} names {file!r} where a File is needed.",
                "Next: File(path, size, md5); or, for one archive, "
                'register("birds", "https://...", expect="sha256:...").',
            )
        if file.path.startswith("/") or "\\" in file.path or {"", ".", ".."} & set(file.path.split("/")):
            raise SpecError(
                f"The entry {entry.name!r} has the file {file.path!r}, which would not lie in its folder.",
                "Next: a relative path with forward slashes.",
            )


def load_catalog(path: Path) -> tuple[Entry | ArchiveEntry, ...]:
    """Register the entries of a course's own file: lines of text, or Python, which is run for its top-level names."""
    import runpy

    if path.suffix != ".py":
        entries = tuple(read_catalog(path))
        for entry in entries:
            register(entry)
        return entries
    before = set(_entries)
    try:
        values = runpy.run_path(str(path), run_name="datastage_catalog")
    except SpecError:
        raise
    except OSError as error:
        raise SpecError(f"The catalog {path} cannot be read: {error.strerror}.", "Next: look at its path.") from error
    except Exception as error:
        line = _line_in(path, error)
        raise SpecError(
            f"The catalog {path} stopped with {type(error).__name__}: {error}{line}.", "Next: mend that line."
        ) from error
    held = [one for value in values.values() for one in (value if isinstance(value, list | tuple) else (value,))]
    held = [entry for entry in held if isinstance(entry, Entry | ArchiveEntry)]
    for entry in held:
        if entry not in ENTRIES:
            register(entry)
    added = tuple(entry for name, entry in _entries.items() if name not in before)
    if not added and not held:
        raise SpecError(
            f"The catalog {path} holds no entry.", 'Next: my_set = datastage.Entry(name="my_set", ...) in it.'
        )
    return added


def _line_in(path: Path, error: BaseException) -> str:
    import traceback

    if isinstance(error, SyntaxError) and error.lineno:
        return f" (line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def in_package(path: str) -> Path | None:
    """Return a file or folder of an installed package, which is not imported; None if it is not there."""
    from importlib.util import find_spec

    package, _, rest = path.partition("/")
    spec = find_spec(package)  # of a top-level package: this runs nothing of it
    folders = spec.submodule_search_locations if spec is not None else None
    return next((found for folder in folders or () if (found := Path(folder, rest)).exists()), None)
