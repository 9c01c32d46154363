"""Name what is near the wanted files but cannot serve: another version, a web page, a download that was cut short."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datastage import archives
from datastage.progress import human_bytes
from datastage.reader import FileReader, Reader
from datastage.redact import printable
from datastage.sources.walk import ARCHIVES, Listing, Wishes, base_name, bears


@dataclass(frozen=True, slots=True)
class NearMiss:
    """What is near but cannot serve, in two lines for a person: what is `needed`, and what was `found` in `place`."""

    place: str
    needed: str
    found: str
    path: str = ""  # of what shows it


class NearMisses:
    """The near misses of one search, in the order in which they were met."""

    def __init__(self, wishes: Wishes, needed: str) -> None:
        self.found: list[NearMiss] = []
        self._wishes = wishes
        self._order = [file.path for file in wishes.wanted]
        self._needed = needed or f"the files  {some([base_name(path) for path in self._order])}"
        self._decoys: dict[str, dict[str, str]] = {}  # place: wanted path: path of the file with other contents
        self.refused: list[tuple[str, str, str]] = []  # place, path, what a converter said: named after what is nearer

    def add(self, place: str, found: str, path: str, needed: str = "") -> None:
        """Name a near miss; the same words about the same place count once."""
        miss = NearMiss(place, needed or self._needed, found, printable(path))
        if all((one.place, one.found) != (miss.place, miss.found) for one in self.found):
            self.found.append(miss)

    def add_other_content(self, place: str, path: str, name: str, size: int, md5: str) -> None:
        """Keep a file of the right size with other bytes: it may be one of another dataset, or bear a wanted name."""
        wanted = next((one for one in self._wishes.wanted if one.size == size and base_name(one.path) == name), None)
        if wanted is not None:
            self._decoys.setdefault(place, {})[wanted.path] = path
        for like in self._wishes.lookalikes:
            if md5 in like.md5:
                self.add(place, like.found, path, like.needed)

    def add_damaged(self, listing: Listing, shown: str, size: int) -> None:
        """Name an archive that cannot be read: cut short, if it is smaller than the published one."""
        whole = self.published_size(shown)
        if whole is None and len(self._wishes.published) == 1 and bears(shown, self._wishes.words):
            whole = self._wishes.published[0].size
        if not self.add_if_cut_short(listing.called, shown, size, whole):
            self.add_shut(listing, "a damaged archive: it ends too early, or its own checks fail", shown)

    def add_shut(self, listing: Listing, what: str, shown: str) -> None:
        """Name an archive that cannot be opened; without a word of the dataset's own it is only the place's trouble."""
        if bears(f"{listing.called} {shown}", self._wishes.words):
            self.add(listing.called, what, shown)
        else:
            listing.is_in_trouble(f"{base_name(shown)} is {what}")

    def add_if_cut_short(self, place: str, shown: str, size: int, whole: int | None) -> bool:
        """Name a file that is smaller than the whole one; return whether it was named. 0 and None are not known."""
        if not whole or size >= whole:
            return False
        self.add(place, f"{human_bytes(size)}: the download was cut short", shown, human_bytes(whole))
        return True

    def published_size(self, shown: str) -> int | None:
        """Return the size of the published file that this may once have been, by its name; 0 if that is not known."""
        name = re.sub(r"[\s_]*(\(\d+\)|copy|kopie|copie)", "", base_name(shown).lower()).replace("_", "-")
        for item in self._wishes.published:
            if name.removesuffix(".gz") == item.name.lower().removesuffix(".gz"):
                return item.size or 0
        return None

    def add_if_no_data(self, place: str, reader: Reader, shown: str) -> bool:
        """Name what bears the name of an archive or of a wanted file, and is a web page or was cut short."""
        name = base_name(shown)
        whole = self.published_size(shown)
        if whole is None and os.path.splitext(name)[1].lower() not in ARCHIVES and name not in self._wishes.names:
            return False
        what = archives.not_data(reader.read_at(0, 1024), name) if reader.ranges else None
        if what:
            why = ": the site asked you to sign in" if "sign-in" in what else ""
            self.add(place, f"{what}, not the file{why}", shown)
            return True
        return self.add_if_cut_short(place, shown, reader.size or 0, whole)

    def look_at_head(self, listing: Listing, path: Path, shown: str) -> bool:
        """Name a file of the location if it is no data; return whether it was named."""
        with listing.reading(), FileReader(path) as reader:
            return self.add_if_no_data(listing.called, reader, shown)
        return False

    def finish(self, listings: Sequence[Listing], had: Sequence[str], missing: Sequence[str]) -> tuple[NearMiss, ...]:
        """Name what only the whole search can tell; `had` are the places that gave some of the wanted files."""
        for listing in listings:
            for size, path in listing.too_small:
                # "train" and "test" are anybody's; a name with a number in it is not.
                shown = shown_path(listing, path)
                if not self.look_at_head(listing, path, shown) and re.search(r"\d", path.name):
                    self.add_if_cut_short(listing.called, shown, size, self._wishes.names[path.name])
            self._add_lookalike(listing)
        for place, shown, refusal in self.refused:
            self.add(place, refusal, shown)
        for place, there in self._decoys.items():
            if all(one.place != place for one in self.found):
                names = [base_name(path) for path in self._order if path in there]
                sizes = "size" if len(names) == 1 else "sizes"
                what = f"{some(names)}, of the right {sizes} but with other contents"
                self.add(place, what, next(iter(there.values())))
        if had and missing and all(one.place != had[0] for one in self.found):
            gone = some([base_name(path) for path in missing])
            n_found = len(self._order) - len(missing)
            self.add(had[0], f"{n_found} of {len(self._order)} files; missing: {gone}", "")
        return tuple(self.found)

    def _add_lookalike(self, listing: Listing) -> None:
        for like in self._wishes.lookalikes:
            at = next((path for size in like.sizes for path in listing.by_size.get(size, ())), None)
            shown = shown_path(listing, at) if at is not None else None
            if shown is None and like.names:
                pattern = re.compile("|".join(fnmatch.translate(name) for name in like.names))
                shown = next((name for name in listing.names if pattern.match(name.lower())), None)
            if shown is not None:
                self.add(listing.called, like.found, shown, like.needed)
                return


def shown_path(listing: Listing, path: Path) -> str:
    """Return a path as it is printed: below the location."""
    at = listing.location.at
    return printable(path.relative_to(at).as_posix() if isinstance(at, Path) and path != at else path.name)


def some(names: Sequence[str]) -> str:
    """Name all of a few, else the first and the last."""
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]}"
