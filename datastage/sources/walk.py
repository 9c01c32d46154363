"""Look through a folder for files that may be wanted: the likeliest folders first, until the time is up."""

from __future__ import annotations

import heapq
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from datastage import archives
from datastage.entry import Converter, Download, File, Lookalike
from datastage.errors import StorageError
from datastage.file_names import JUNK_NAMES, PICTURE_SUFFIXES, junk_kind, lies_in
from datastage.progress import counted
from datastage.reader import Reader

ARCHIVES = frozenset(archives.suffixes())
# Never an archive nor a wanted file, unless one with that suffix is wanted: their sizes are not asked for, and that is
# what makes a folder of a million pictures cheap.
MEDIA = PICTURE_SUFFIXES | frozenset(
    (
        *(".jp2", ".svg", ".dcm", ".nii", ".wav", ".mp3", ".flac", ".ogg", ".m4a", ".mp4", ".avi", ".mkv", ".mov"),
        *(".pdf", ".docx", ".pptx", ".xml", ".html", ".md", ".py", ".ipynb", ".yaml", ".yml", ".toml", ".ini"),
        *(".cfg", ".sh", ".js", ".css"),
    )
)
TABLES = frozenset((".csv", ".tsv", ".txt", ".data", ".tes", ".tra", ".dat"))
_SYSTEM_FOLDERS = frozenset((".git", "$RECYCLE.BIN"))
# Asked first: a picture costs 3 microseconds in all.
_JUNK_BEGINS = frozenset("$.").union(*(name[0] + name[0].upper() for name in JUNK_NAMES))
_LEAST_ARCHIVE = 20  # bytes: an empty gzip
_CHUNK = 250  # entries taken from one folder before the next has its turn
_SUSPENDED = 64  # folders that wait for their next turn, each of which holds an open file
_NAMES_A_FOLDER = 40  # names kept of one folder, for telling what it is
_NAMES = 50_000  # names kept in all
_MOST_ARCHIVES = 10_000  # archives and tables kept: more could not be opened in the time for archives
_COMMON_WORDS = frozenset(("train", "test", "data", "images", "labels", "files"))


@dataclass(frozen=True, slots=True)
class Location:
    """A folder, a file or a reader to look in, and what a person calls it; empty for the path itself."""

    at: Path | Reader
    called: str = ""


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How far to look. Every number is for one location; `avoid` are folders never entered, such as a mounted Drive."""

    seconds: float = 5.0  # for going through folders; copying what was found is not counted
    depth: int = 12  # folders below the location
    archive_bytes: int = 1 << 30  # of an archive that is unpacked from its beginning; a zip may be of any size
    archive_seconds: float = 20.0  # for reading archives, what is copied out of them not counted
    members: int = 250_000  # of one archive
    candidates: int = 100  # files of one right size that are read, the rightly named first
    nested: int = 3  # archives within archives
    probes: int = 100  # files without a telling suffix that are opened to see whether they are archives
    # /kaggle/input gives one reader 120 to 240 MB/s and four 370 to 560; on a warm local disk four are no slower.
    threads: int = 4
    avoid: tuple[Path, ...] = ()


def bears(text: str, words: Iterable[str]) -> bool:
    """Tell whether a name has one of `words` in it, however it is parted: ``Fashion-MNIST`` has ``fashionmnist``."""
    plain = re.sub(r"[\W_]", "", text.lower())
    return any(word in plain for word in words)


class Wishes:
    """What tells a file that may matter: the sizes and names of what is wanted, and of what resembles it."""

    def __init__(
        self,
        wanted: Sequence[File],
        published: Sequence[Download] = (),
        converters: Sequence[Converter] = (),
        lookalikes: Sequence[Lookalike] = (),
    ) -> None:
        self.wanted, self.published, self.converters, self.lookalikes = wanted, published, converters, lookalikes
        self.sizes = {file.size for file in wanted}
        self.kept_sizes = self.sizes | {size for like in lookalikes for size in like.sizes}
        self.names = {base_name(file.path): file.size for file in wanted}
        self.suffixes = {os.path.splitext(file.path)[1].lower() for file in wanted} - {""}
        self.published_sizes = {item.size for item in published if item.size}
        self.table_sizes = [converter.sizes for converter in converters]
        names = [item.name for item in published] + [file.path.split("/")[0] for file in wanted]
        words = {re.split(r"[.\d_-]", name.lower())[0] for name in names}
        # What is the dataset's own: {"cifar"}, {"fashionmnist"}.
        self.words = frozenset(word for word in words - _COMMON_WORDS if len(word) > 3)


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that was looked in, and what a person sees there."""

    place: str
    seen: str
    cut_short: bool = False  # there is more than was looked at
    seconds: float = 0.0


class UnreadableError(Exception):
    """What a table comes from could not be read; no `OSError`, which writing would raise."""


class Candidates:
    """The most promising files, and no more than `most`: whether the size is a published one, the size, the path."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[bool, int, str]] = []

    def add(self, is_published: bool, size: int, path: str) -> None:
        (heapq.heappush if len(self._heap) < self._most else heapq.heappushpop)(self._heap, (is_published, size, path))

    def __iter__(self) -> Iterator[tuple[int, Path]]:
        """Give the size and path of each file, the most promising first."""
        return ((size, Path(path)) for _, size, path in sorted(self._heap, reverse=True))


@dataclass(slots=True)
class Listing:
    """What a walk through one location saw. `cut_short`: there is more than was looked at."""

    location: Location
    called: str
    limits: SearchLimits
    by_size: dict[int, list[Path]] = field(default_factory=dict)
    packed: Candidates = field(default_factory=lambda: Candidates(_MOST_ARCHIVES))
    tables: Candidates = field(default_factory=lambda: Candidates(_MOST_ARCHIVES))
    unknown: Candidates = field(init=False)
    too_small: list[tuple[int, Path]] = field(default_factory=list)  # bears a wanted name
    names: list[str] = field(default_factory=list)
    with_tables: set[str] = field(default_factory=set)  # archives that hold some
    n_files: int = 0
    cut_short: bool = False
    trouble: str = ""
    seconds: float = 0.0
    archive_deadline: float = 0.0

    def __post_init__(self) -> None:
        self.unknown = Candidates(self.limits.probes)

    def is_in_trouble(self, error: BaseException | str) -> None:
        """Keep the first thing that could not be read."""
        self.trouble = self.trouble or str(getattr(error, "strerror", None) or error)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep what could not be read; what could not be written goes up."""
        try:
            yield
        except StorageError:
            raise
        except (OSError, UnreadableError) as error:
            self.is_in_trouble(error)

    def sort(self, wishes: Wishes, path: str, name: str, suffix: str, size: int) -> bool:
        """Put a file where it will be looked for; return whether its size or name is a wanted one."""
        if size in wishes.kept_sizes:
            self.by_size.setdefault(size, []).append(Path(path))
        is_published = size in wishes.published_sizes
        if suffix in ARCHIVES:
            self.packed.add(is_published, size, path)
            return is_published
        if (suffix in TABLES or not suffix) and any(least <= size <= most for least, most in wishes.table_sizes):
            self.tables.add(False, size, path)
        if suffix not in TABLES and size not in wishes.sizes and size > _LEAST_ARCHIVE:
            self.unknown.add(is_published, size, path)
        if size < wishes.names.get(name, 0):
            self.too_small.append((size, Path(path)))
        return size in wishes.sizes or name in wishes.names

    def summary(self) -> Looked:
        if self.trouble and not self.n_files:
            seen = f"it could not be read: {self.trouble}"
        elif not self.n_files:
            seen = "nothing"
        else:
            more = "more than " if self.cut_short else ""
            seen = f"{more}{counted(self.n_files, 'file')}"
            seen += f" ({self.trouble})" if self.trouble else ""
        return Looked(self.called, seen, self.cut_short, self.seconds)


def walk(location: Location, wishes: Wishes, limits: SearchLimits) -> Listing:
    """Go through a location, within the limits, and sort its files by what they may be."""
    at = location.at
    listing = Listing(location, location.called or (str(at) if isinstance(at, Path) else at.name), limits)
    start = time.monotonic()
    with listing.reading():
        if isinstance(at, Path) and at.is_dir():
            _Walk(listing, wishes, start + limits.seconds).go(at)
        else:
            if isinstance(at, Path):
                listing.sort(wishes, str(at), at.name, at.suffix.lower(), at.stat().st_size)
            listing.n_files = 1
            listing.names.append(f"/{at.name}")
    listing.seconds = time.monotonic() - start
    return listing


@dataclass(slots=True)
class _Folder:
    """A folder that waits for its turn; `entries` are what is left of it, None before its first turn."""

    path: str
    shown: str
    depth: int
    is_likely: bool
    n_names: int = 0
    entries: Iterator[os.DirEntry[str]] | None = None


class _Walk:
    """One walk: folders whose name or files fit go first, the others in the order in which they were met."""

    def __init__(self, listing: Listing, wishes: Wishes, deadline: float) -> None:
        self.listing = listing
        self.wishes = wishes
        self.deadline = deadline
        self.turns: list[tuple[bool, int, _Folder]] = []
        self.unasked = MEDIA - wishes.suffixes
        self.avoid: list[str] = []
        self.been: set[tuple[int, int]] = set()
        self.n_pushed = self.n_entries = self.n_suspended = 0

    def go(self, top: Path) -> None:
        here = os.path.realpath(top)
        avoid = (os.path.realpath(path) for path in self.listing.limits.avoid)
        self.avoid = [path for path in avoid if not lies_in(here, path)]
        self._is_new(str(top))
        self._push(_Folder(str(top), f"/{top.name}/", 0, bears(top.name, self.wishes.words)))
        while self.turns and not self._is_over():
            self._take_turn(heapq.heappop(self.turns)[2])
        self.listing.cut_short |= bool(self.turns)
        for _, _, folder in self.turns:
            if folder.entries is not None:
                folder.entries.close()  # type: ignore[attr-defined]

    def _push(self, folder: _Folder) -> None:
        self.n_pushed += 1
        heapq.heappush(self.turns, (not folder.is_likely, self.n_pushed, folder))

    def _is_over(self) -> bool:
        """Look at the clock, but not for every entry."""
        return self.n_entries >= 256 and time.monotonic() > self.deadline

    def _is_new(self, path: str) -> bool:
        """Tell whether a folder was not looked at already: by a link in a circle, or by another name."""
        status = os.stat(path)
        inode = (status.st_dev, status.st_ino)
        if inode in self.been:
            return False
        self.been.add(inode)
        return True

    def _take_turn(self, folder: _Folder) -> None:
        """Look at some entries of a folder. Only so many wait with their folder open; others are done in one turn."""
        if folder.entries is None:
            try:
                folder.entries = os.scandir(folder.path)
            except OSError as error:
                self.listing.is_in_trouble(error)
                return
        else:
            self.n_suspended -= 1
        most = _CHUNK if self.n_suspended < _SUSPENDED else None
        taken = 0
        for entry in islice(folder.entries, most):
            taken += 1
            self.n_entries += 1
            if self.n_entries % 256 == 0 and self._is_over():
                self._push(folder)
                return
            if entry.name[0] in _JUNK_BEGINS and (entry.name in _SYSTEM_FOLDERS or junk_kind(entry.name) is not None):
                continue
            try:
                if entry.is_dir():
                    self._enter(folder, entry)
                else:
                    self._look_at(folder, entry)
            except OSError as error:
                self.listing.is_in_trouble(error)
        if taken == most:
            self.n_suspended += 1
            self._push(folder)

    def _enter(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        if folder.depth >= self.listing.limits.depth:
            self.listing.cut_short = True
            return
        if self.avoid:
            real = os.path.realpath(entry.path)
            if any(lies_in(real, path) for path in self.avoid):
                return
        if self._is_new(entry.path):
            is_likely = folder.is_likely or bears(entry.name, self.wishes.words)
            self._push(_Folder(entry.path, f"{folder.shown}{entry.name}/", folder.depth + 1, is_likely))

    def _look_at(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        listing, name = self.listing, entry.name
        listing.n_files += 1
        folder.n_names += 1
        if folder.n_names <= _NAMES_A_FOLDER and len(listing.names) < _NAMES:
            listing.names.append(folder.shown + name)
        dot = name.rfind(".")
        suffix = name[dot:].lower() if dot > 0 else ""
        if suffix in self.unasked:
            return
        if entry.is_file() and listing.sort(self.wishes, entry.path, name, suffix, entry.stat().st_size):
            folder.is_likely = True


def base_name(path: str) -> str:
    """Return the last part of a path, or of one within an archive: ``a.zip > b/c.csv``."""
    return path.rsplit("/", 1)[-1].rsplit(" > ", 1)[-1]
