"""An entry of the catalog that is a few files: where each may be on this machine, and how they are put together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datastage.datasets import in_package
from datastage.entry import PACKAGE, ArchiveEntry, File, Part
from datastage.errors import IntegrityError
from datastage.reader import FileReader, Reader
from datastage.sources import Found
from datastage.sources.near_misses import NearMiss, NearMisses
from datastage.sources.walk import Location, Looked, SearchLimits, Wishes, walk


def on_this_machine(
    entry: ArchiveEntry, part: Part, locations: Sequence[Location], looked: list[Looked], near: list[NearMiss]
) -> Iterator[Found]:
    """Give every file that has the size of `part`, those of its name first; tell what was `looked` at, and `near`."""
    for place in part.places:
        if place.startswith(PACKAGE) and (path := in_package(place.removeprefix(PACKAGE))) is not None:
            yield Found(FileReader(path), str(path), f"{part.name} in the package {place.split(':')[1].split('/')[0]}")
    if part.size is None:
        return
    wishes = Wishes((File(part.name, part.size),), lookalikes=entry.lookalikes)
    for location in locations:
        listing = walk(location, wishes, SearchLimits())
        paths = sorted(listing.by_size.get(part.size, ()), key=lambda path: (path.name != part.name, path))
        for path in paths:
            yield Found(FileReader(path), str(path), f"{part.name} in {location.called}")
        looked.append(listing.summary())
        near += NearMisses(wishes, part.name).finish([listing], (), (part.name,))


def check_size(reader: Reader, part: Part) -> None:
    """Refuse a file of another size, where no digest is known that would tell."""
    if part.size is not None and reader.size is not None and reader.size != part.size:
        raise IntegrityError(
            f"{part.name} has {part.size:,} bytes, and what is at {reader.name} has {reader.size:,}.",
            "Next: use another place; the publisher may have changed the file.",
        )


def put_into(source: Path, target: Path) -> None:
    """Move what is in `source` into `target`; folders of one name become one, and no file takes another's place."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        there = target / path.name
        if not os.path.lexists(there):
            path.rename(there)
        elif path.is_dir() and not path.is_symlink() and there.is_dir() and not there.is_symlink():
            put_into(path, there)
        else:
            raise IntegrityError(
                f"Two files of this dataset are called {path.name}.", "Next: tell us; it is our fault."
            )
