"""Find wanted files by their content, whatever the place calls them.

Here: a bounded look through folders, archives in them, archives in those, and files that are one form of another; sizes
first, then digests of what has the right size; and the names of what is near but cannot serve.
Not here: which files a dataset wants (`datasets`), how an archive is read (`archives`), which places there are.

What it costs (``benchmarks/find.py``, two shared cores, a warm local disk): 100,000 files of which none is wanted are
looked through in 0.6 s, 100,000 pictures in 0.3 s, since a picture's size is never asked for, and a zip of 100,000 in
2 s. On a network disk the bound on seconds is reached first. Whatever has the right size is copied while it is hashed:
its bytes pass once.
"""

from __future__ import annotations

import fnmatch
import hashlib
import heapq
import io
import os
import re
import shutil
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

from datastage import archives
from datastage.errors import DatastageError, MissingDependencyError, PasswordError, StorageError
from datastage.progress import SILENT, Reporter
from datastage.reader import BytesReader, FileReader, Reader


class Wanted(Protocol):
    """A file to find: where it goes in the result, its size, and its md5 if one was published."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def md5(self) -> str | None: ...


class Published(Protocol):
    """A file as the network has it, usually an archive of wanted files."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int | None: ...


class Converter(Protocol):
    """What makes wanted files of another form of the same data."""

    @property
    def gives(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> tuple[int, int]: ...

    def fits(self, head: bytes) -> bool: ...
    def convert(self, stream: BinaryIO, into: Path) -> tuple[str, ...] | str: ...


class Lookalike(Protocol):
    """What is near but cannot serve, and how to tell it."""

    @property
    def found(self) -> str: ...
    @property
    def needed(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def md5(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Location:
    """A folder, a file or a reader to look in, and what to call it.

    Attributes
    ----------
    at : Path or Reader
        Where to look.
    called : str
        For a person: ``'your input "cifar10"'``. Empty for the path itself.
    """

    at: Path | Reader
    called: str = ""


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How far to look. Every number is for one place.

    Attributes
    ----------
    entries : int
        Files and folders looked at.
    seconds : float
        Wall time for going through folders; copying what was found is not counted.
    depth : int
        Folders below the place.
    archive_bytes : int
        Size of an archive that has to be unpacked from its beginning (tar.gz and the like), and of one within another.
        A zip may be of any size.
    archive_seconds : float
        Wall time for reading archives, what is copied out of them not counted.
    candidates : int
        Files of one right size that are read; the rightly named first.
    nested : int
        Archives within archives.
    probes : int
        Files without a telling suffix that are opened to see whether they are archives; in a place, and in an archive.
    threads : int
        Files copied and hashed at once. /kaggle/input gives one reader 120 to 240 MB/s and four 370 to 560; on a warm
        local disk four are no slower than one.
    avoid : tuple of Path
        Folders never entered, such as a mounted Drive.
    """

    entries: int = 250_000
    seconds: float = 5.0
    depth: int = 12
    archive_bytes: int = 1 << 30
    archive_seconds: float = 20.0
    candidates: int = 100
    nested: int = 3
    probes: int = 100
    threads: int = 4
    avoid: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that was found and written.

    Attributes
    ----------
    size, crc32, md5
        Of the bytes written.
    came_from : str
        Where it was, for a person: ``"data/cifar.zip > data_batch_1"``.
    converted : bool
        Whether it was made of another form of the same data and came out in that form's own order of rows, so that its
        bytes are not the published ones.
    """

    size: int
    crc32: int
    md5: str
    came_from: str = ""
    converted: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that was looked in.

    Attributes
    ----------
    place : str
        What it is called.
    seen : str
        What is there: ``"12 files"``.
    bound_hit : bool
        Whether there is more than was looked at.
    seconds : float
        Wall time.
    names : tuple of str
        The first names seen, for a person to recognise it by.
    """

    place: str
    seen: str
    bound_hit: bool = False
    seconds: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoy:
    """A file of the right name and size, with other bytes."""

    place: str
    path: str
    wanted: str
    md5: str


@dataclass(frozen=True, slots=True)
class NearMiss:
    """What is near but cannot serve: two lines for a person.

    Attributes
    ----------
    place : str
        What the place is called.
    needed : str
        ``"the Python version:  data_batch_1 ... data_batch_5, test_batch"``.
    found : str
        ``"the Matlab version:  data_batch_1.mat ... test_batch.mat"``.
    path : str
        The file or folder that shows it.
    """

    place: str
    needed: str
    found: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What came of looking.

    Attributes
    ----------
    complete : bool
        Whether all wanted files were found; they are then written, and otherwise nothing is.
    where : str
        The places that had them, for a person.
    files : mapping of str to FoundFile
        Every wanted path and what was written there; of an incomplete search, what was found of it.
    missing : tuple of str
        The wanted paths that were not found.
    looked : tuple of Looked
        The places, in order.
    decoys : tuple of Decoy
        Right name and size, wrong bytes.
    near : tuple of NearMiss
        What is near; empty if the search is complete.
    bound_hit : bool
        Whether a bound ended it somewhere, so that there may be more.
    """

    complete: bool
    where: str = ""
    files: Mapping[str, FoundFile] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    looked: tuple[Looked, ...] = ()
    decoys: tuple[Decoy, ...] = ()
    near: tuple[NearMiss, ...] = ()
    bound_hit: bool = False


def find_files(
    places: Sequence[Location | Path | Reader],
    wanted: Sequence[Wanted],
    into: Path,
    *,
    converters: Sequence[Converter] = (),
    lookalikes: Sequence[Lookalike] = (),
    published: Sequence[Published] = (),
    needed: str = "",
    limits: SearchLimits | None = None,
    reporter: Reporter = SILENT,
) -> SearchResult:
    """Look for wanted files in places, in order, and write what is found.

    Parameters
    ----------
    places : sequence of Location, Path or Reader
        Where to look. A later place is asked only for what the earlier ones did not have.
    wanted : sequence
        What to find: objects with `path`, `size` and `md5`. Without an md5, name and size must do. One that has
        its `content` too is written if all others are found and it is not.
    into : Path
        An existing empty folder. Afterwards it holds every wanted file under its path, or nothing.
    converters : sequence
        Other forms of the same data, asked for what the files themselves do not give.
    lookalikes : sequence
        What to name if it is met in place of what is wanted.
    published : sequence
        What the network calls it: objects with `name` and `size`, by which a download that was cut short is recognised.
    needed : str
        The wanted files as a person would tell them from other versions.
    limits : SearchLimits, optional
        How far to look.
    reporter : Reporter
        Told the bytes that are copied.

    Returns
    -------
    SearchResult
        What was found, where, and what was near.

    Raises
    ------
    StorageError
        If a found file cannot be written. A place that cannot be read is named in `looked`.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import make_dataclass
    >>> File = make_dataclass("File", ["path", "size", "md5"])
    >>> with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
    ...     _ = Path(there, "renamed.bin").write_bytes(b"pixels")
    ...     wanted = File("set/train", 6, hashlib.md5(b"pixels").hexdigest())
    ...     found = find_files([Path(there)], [wanted], Path(here))
    ...     print(found.complete, Path(here, "set/train").read_bytes())
    True b'pixels'
    """
    hunt = _Hunt(wanted, into, converters, lookalikes, published, needed, limits or SearchLimits(), reporter)
    try:
        with _writing():
            hunt.scratch = Path(tempfile.mkdtemp(prefix=".find-", dir=into))
        asked = [place if isinstance(place, Location) else Location(place) for place in places]
        for place in asked:
            if not hunt.missing:
                break
            hunt.look(place)
        if hunt.missing and converters:
            hunt.convert()
        hunt.write_known()
        result = hunt.result()
        if result.complete:
            hunt.publish()
        return result
    finally:
        hunt.close()


# --- what a place holds ----------------------------------------------------------------------------------------------

_ARCHIVES = frozenset(archives.suffixes())
# Never an archive nor a wanted file, unless one with that suffix is wanted: their sizes are not asked for, and that is
# what makes a folder of a million pictures cheap.
_MEDIA = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".svg", ".dcm", ".nii"),
        *(".wav", ".mp3", ".flac", ".ogg", ".m4a", ".mp4", ".avi", ".mkv", ".mov", ".pdf", ".docx", ".pptx"),
        *(".xml", ".html", ".md", ".py", ".ipynb", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".sh", ".js", ".css"),
    )
)
_TABLES = frozenset([".csv", ".tsv", ".txt", ".data", ".tes", ".tra", ".dat"])
_JUNK = frozenset(("__MACOSX", ".git", ".DS_Store", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"))
_LEAST_ARCHIVE = 20  # bytes: an empty gzip
_CHUNK = 250  # entries taken from one folder before the next has its turn
_SUSPENDED = 64  # folders that wait for their next turn, each of which holds an open file
_NAMES_A_FOLDER = 40  # names kept of one folder, for telling what it is
_IN_MEMORY = 64 << 20  # bytes of an archive within an archive
_TABLE_HEAD = 1 << 16  # bytes by which a table is told: a row of 784 pixels has 3,000
_ARCHIVE_HEAD = 1 << 10  # bytes by which an archive is told: a tar's mark is at 257
BLOCK_BYTES = 4 << 20


@dataclass(slots=True)
class _Listing:
    """What a walk through one place saw."""

    place: Location
    called: str
    sized: dict[int, list[Path]] = field(default_factory=dict)
    packed: list[tuple[int, Path]] = field(default_factory=list)
    odd: list[tuple[int, str]] = field(default_factory=list)
    tables: list[tuple[int, Path]] = field(default_factory=list)
    small: list[tuple[int, Path]] = field(default_factory=list)  # bears a wanted name, but is smaller
    names: list[str] = field(default_factory=list)
    n_files: int = 0
    bound_hit: bool = False
    trouble: str = ""
    seconds: float = 0.0
    archive_deadline: float = 0.0


def _walk(place: Location, hunt: _Hunt) -> _Listing:  # noqa: C901
    """Go through a place breadth first, within the bounds, and sort its files by what they may be."""
    at = place.at
    listing = _Listing(place, place.called or _called(at))
    start = time.monotonic()
    if not isinstance(at, Path):
        listing.n_files = 1
        listing.names.append(f"/{at.name}")
        return listing
    top = at.name
    try:
        if not at.is_dir():
            _sort(listing, hunt, str(at), at.name, at.suffix.lower(), at.stat().st_size)
            listing.n_files = 1
            listing.names.append(f"/{top}")
            return listing
        limits = hunt.limits
        here = os.path.realpath(at)
        avoid = [real for path in limits.avoid if not _within(here, real := os.path.realpath(path))]
        been = {_inode(os.stat(at))}
        turns: deque[tuple[Iterator[os.DirEntry[str]] | str, str, int, list[int]]] = deque()
        turns.append((str(at), f"/{top}/", 0, [0]))
        n_entries = suspended = 0
        over = False
        while turns and not over:
            folder, shown, depth, kept = turns.popleft()
            taken = 0
            if isinstance(folder, str):
                try:
                    entries: Iterator[os.DirEntry[str]] = os.scandir(folder)
                except OSError as error:
                    listing.trouble = listing.trouble or str(error.strerror or error)
                    continue
            else:
                entries = folder
                suspended -= 1
            # No more than so many wait with their folder open; the others are gone through in one turn.
            for entry in islice(entries, _CHUNK if suspended < _SUSPENDED else None):
                n_entries += 1
                taken += 1
                if n_entries > limits.entries or (n_entries % 256 == 0 and time.monotonic() - start > limits.seconds):
                    listing.bound_hit = over = True
                    break
                name = entry.name
                if name in _JUNK or name.startswith("._"):
                    continue
                try:
                    if entry.is_dir():
                        if depth >= limits.depth:
                            listing.bound_hit = True
                            continue
                        real = os.path.realpath(entry.path) if avoid else ""
                        if any(_within(real, path) for path in avoid):
                            continue
                        inode = _inode(os.stat(entry.path))
                        if inode in been:
                            continue  # a link in a circle, or to what was looked at already
                        been.add(inode)
                        turns.append((entry.path, f"{shown}{name}/", depth + 1, [0]))
                        continue
                    listing.n_files += 1
                    kept[0] += 1
                    if kept[0] <= _NAMES_A_FOLDER:
                        listing.names.append(shown + name)
                    suffix = os.path.splitext(name)[1].lower()
                    if suffix in _MEDIA and suffix not in hunt.suffixes:
                        continue
                    if entry.is_file():
                        _sort(listing, hunt, entry.path, name, suffix, entry.stat().st_size)
                except OSError as error:
                    listing.trouble = listing.trouble or str(error.strerror or error)
            if taken == _CHUNK and not over:
                suspended += 1
                turns.append((entries, shown, depth, kept))
        for folder, *_ in turns:
            if not isinstance(folder, str):
                cast(Any, folder).close()
    except OSError as error:
        listing.trouble = str(error.strerror or error)
    listing.seconds = time.monotonic() - start
    return listing


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _inode(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _sort(listing: _Listing, hunt: _Hunt, path: str, name: str, suffix: str, size: int) -> None:
    if size in hunt.sizes or size in hunt.told_by_size:
        listing.sized.setdefault(size, []).append(Path(path))
    if suffix in _ARCHIVES:
        listing.packed.append((size, Path(path)))
        return
    if suffix in _TABLES or not suffix:
        for converter in hunt.converters:
            if converter.sizes[0] <= size <= converter.sizes[1]:
                listing.tables.append((size, Path(path)))
                break
    if suffix not in _TABLES and size not in hunt.sizes and size > _LEAST_ARCHIVE:
        listing.odd.append((size, path))
    if size < hunt.names.get(name, 0):
        listing.small.append((size, Path(path)))


def _called(at: Path | Reader) -> str:
    return str(at) if isinstance(at, Path) else at.name


# --- the search ------------------------------------------------------------------------------------------------------


class _Hunt:
    """One search: what is missing still, what was written, what was met."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        into: Path,
        converters: Sequence[Converter],
        lookalikes: Sequence[Lookalike],
        published: Sequence[Published],
        needed: str,
        limits: SearchLimits,
        reporter: Reporter,
    ) -> None:
        self.wanted = {item.path: item for item in wanted}
        self.missing = dict(self.wanted)
        self.sizes = {item.size for item in wanted}
        self.told_by_size = {size for like in lookalikes for size in like.sizes}
        self.names = {_base(item.path): item.size for item in wanted}
        self.suffixes = {os.path.splitext(item.path)[1].lower() for item in wanted} - {""}
        self.into = into
        self.scratch = into
        self.converters = tuple(converters)
        self.lookalikes = tuple(lookalikes)
        self.published = tuple(published)
        self.needed = needed or f"the files  {_names([_base(item.path) for item in wanted])}"
        self.limits = limits
        self.reporter = reporter
        self.written: dict[str, tuple[Path, FoundFile]] = {}
        self.listings: list[_Listing] = []
        self.had: list[str] = []
        self.decoys: list[Decoy] = []
        self.near: list[NearMiss] = []
        self.refused: list[tuple[str, str, str]] = []  # place, path, what a converter said
        self.converting = False
        self._with_tables: set[tuple[int, str]] = set()
        self._opening = ""
        self._lock = threading.Lock()
        self._serial = 0
        self._debt = 0
        self._announced = False
        self._wrong_folders: set[Path] = set()
        self._stopping = False
        # Hash and write one block while the next is read or unpacked: all four let go of the interpreter.
        self._absorbers = ThreadPoolExecutor(max_workers=self.limits.threads)

    # One place after the other.

    def look(self, place: Location) -> None:
        listing = _walk(place, self)
        self.listings.append(listing)
        start = time.monotonic()
        self._plain_files(listing)
        if self.missing:
            self._archives(listing)
        listing.seconds += time.monotonic() - start

    def convert(self) -> None:
        """Go over the tables that were met, for what is missing still."""
        self.converting = True
        for number, listing in enumerate(self.listings):
            for _, path in sorted(listing.tables, key=lambda item: -item[0]):
                if not self._convertible():
                    return
                try:
                    with path.open("rb") as stream:
                        self._offer_table(stream, listing, self._shown(listing, path))
                except StorageError:
                    raise
                except (OSError, _Unreadable) as error:
                    listing.trouble = listing.trouble or str(getattr(error, "strerror", None) or error)
            if self._convertible() and any(at == number for at, _ in self._with_tables):
                self._archives(listing)

    def write_known(self) -> None:
        """Write the missing files whose content is known, if no other is missing: they are short and often left out."""
        known = {path: content for path, item in self.missing.items() if (content := getattr(item, "content", None))}
        if not self.written or len(known) != len(self.missing):
            return
        for path, content in known.items():
            at = self._new_file()
            with _writing():
                at.write_bytes(content)
            made = FoundFile(len(content), zlib.crc32(content), hashlib.md5(content, usedforsecurity=False).hexdigest())
            self.written[path] = (at, made)
            del self.missing[path]
            self._advance(len(content))

    def _convertible(self) -> list[Converter]:
        return [one for one in self.converters if any(path in self.missing for path in one.gives)]

    # Files as they lie there.

    def _plain_files(self, listing: _Listing) -> None:
        left: dict[int, list[Path]] = {}
        for size in {item.size for item in self.missing.values()}:
            there = listing.sized.get(size, [])
            left[size] = heapq.nsmallest(self.limits.candidates, there, key=self._promise)
            listing.bound_hit |= len(there) > self.limits.candidates
        while True:
            # One candidate for each missing file in a round, small files in rounds before the others: MNIST and
            # Fashion-MNIST have the same names and sizes, and 10 kB of labels tell which folder is worth reading.
            batch: list[tuple[int, Path]] = []
            for size in sorted(left):
                left[size].sort(key=self._promise)
                count = sum(item.size == size for item in self.missing.values())
                batch += [(size, path) for path in left[size][:count]]
            batch = [(size, path) for size, path in batch if size < 1 << 20] or batch
            if not batch:
                return
            for size, path in batch:
                left[size].remove(path)
            if len(batch) == 1:
                self._copy(listing, batch[0][1])
                continue
            with ThreadPoolExecutor(max_workers=min(self.limits.threads, len(batch))) as pool:
                try:
                    for done in [pool.submit(self._copy, listing, path) for _, path in batch]:
                        done.result()
                except BaseException:
                    self._stopping = True  # an interrupt does not wait for files half copied
                    raise

    def _promise(self, path: Path) -> tuple[bool, bool, int, str]:
        return path.parent in self._wrong_folders, path.name not in self.names, len(path.parts), str(path)

    def _copy(self, listing: _Listing, path: Path) -> None:
        try:
            size = path.stat().st_size
            with path.open("rb", buffering=0) as stream:
                good = self._offer(cast(BinaryIO, stream), listing, self._shown(listing, path), path.name, size)
        except StorageError:
            raise
        except OSError as error:  # of reading: writing has its own type
            listing.trouble = listing.trouble or str(error.strerror or error)
            return
        if not good:
            with self._lock:
                self._wrong_folders.add(path.parent)

    # Archives, and what lies in them.

    def _archives(self, listing: _Listing) -> None:
        listing.archive_deadline = time.monotonic() + self.limits.archive_seconds
        at = listing.place.at
        if not isinstance(at, Path):
            self._opening = at.name
            self._open(at, listing, at.name, 0)
            return
        sizes = {item.size for item in self.published}
        packed = sorted(listing.packed, key=lambda item: (item[0] not in sizes, -item[0], str(item[1])))
        promise = heapq.nsmallest(self.limits.probes, [(size not in sizes, -size, path) for size, path in listing.odd])
        odd = [(-negative, Path(path)) for _, negative, path in promise]
        number = len(self.listings) - 1 if not self.converting else self.listings.index(listing)
        for size, path in packed + odd:
            if not self.missing:
                return
            self._opening = self._shown(listing, path)
            if self.converting and (number, self._opening) not in self._with_tables:
                continue
            if not size or not self._may_hold(size):
                self._look_at_head(path, listing)
                continue
            try:
                with FileReader(path) as reader:
                    self._open(reader, listing, self._shown(listing, path), 0)
            except StorageError:
                raise
            except OSError as error:
                listing.trouble = listing.trouble or str(error.strerror or error)

    def _may_hold(self, size: int) -> bool:
        # Deflate packs a file to 1/1032 of its size at best; others do better on nothing but emptiness.
        least = min([item.size for item in self.missing.values()], default=0)
        return size * 1100 + 1024 >= min(least, min((one.sizes[0] for one in self._convertible()), default=least))

    def _open(self, reader: Reader, listing: _Listing, shown: str, depth: int) -> None:
        """Look into what may be an archive, or a compressed file."""
        form = archives.sniff(reader)
        size = reader.size or 0
        try:
            if form is None:
                self._not_an_archive(reader, listing, shown)
            elif archives.is_one_file(form):
                self._compressed(reader, form, listing, shown, depth)
            elif "." in form and size > self.limits.archive_bytes:
                listing.bound_hit = True
            else:
                self._members(_Timed(reader, listing), listing, shown, depth)
        except StorageError:
            raise
        except _Late:
            listing.bound_hit = True
        except MissingDependencyError:
            self._shut(listing, f"a {form} archive, which cannot be opened here", shown)
        except PasswordError:
            self._shut(listing, "an archive that is locked with a password", shown)
        except (DatastageError, OSError, _Unreadable):
            self._damaged(listing, shown, size)

    def _members(self, reader: Reader, listing: _Listing, shown: str, depth: int) -> None:
        n_wrong = n_probed = 0
        for count, (member, stream) in enumerate(archives.iter_members(reader)):
            if not self.missing:
                return
            if time.monotonic() > listing.archive_deadline or count > self.limits.entries:
                listing.bound_hit = True
                return
            if stream is None or member.kind != "file":
                continue
            name, inside = _base(member.name), f"{shown} > {_text(member.name)}"
            if name in _JUNK or name.startswith("._") or "__MACOSX" in member.name.split("/"):
                continue
            if len(listing.names) < 5000:
                listing.names.append(f"/{_base(shown)}/{member.name}")
            if member.size in self.sizes:
                if not self.converting and any(item.size == member.size for item in self.missing.values()):
                    if n_wrong >= self.limits.candidates and name not in self.names:
                        listing.bound_hit = True
                        continue
                    with _not_counted(listing):
                        n_wrong += not self._offer(stream, listing, inside, name, member.size)
                continue
            suffix = os.path.splitext(name)[1].lower()
            may_nest = depth < self.limits.nested and self._may_hold(member.size)
            if suffix in _ARCHIVES and may_nest:
                self._nested(stream, name, listing, inside, depth)
            elif suffix in _TABLES:
                if self._table_size(member.size):
                    self._offer_table(stream, listing, inside)
            elif may_nest and suffix not in _MEDIA and n_probed < self.limits.probes:
                n_probed += 1
                head = stream.read(_ARCHIVE_HEAD)
                if archives.sniff(BytesReader(head)) is not None:
                    self._nested(cast(BinaryIO, _Rejoined(head, stream)), name, listing, inside, depth)

    def _table_size(self, size: int) -> bool:
        return any(one.sizes[0] <= size <= one.sizes[1] for one in self._convertible())

    def _nested(self, stream: BinaryIO, name: str, listing: _Listing, shown: str, depth: int) -> None:
        """Look into an archive within an archive, from memory if it is small; its own word on its size is not taken."""
        held = stream.read(_IN_MEMORY + 1)
        if len(held) <= _IN_MEMORY:
            self._open(BytesReader(held, name), listing, shown, depth + 1)
            return
        path, n = self._new_file(), 0
        try:
            with _writing():
                out = path.open("wb", buffering=0)
            with out:
                while held:
                    n += len(held)
                    if n > self.limits.archive_bytes:
                        listing.bound_hit = True
                        return
                    with _writing():
                        _write_all(out, held)
                    held = stream.read(BLOCK_BYTES)
            with FileReader(path) as reader:
                self._open(reader, listing, shown, depth + 1)
        finally:
            path.unlink(missing_ok=True)

    def _compressed(self, reader: Reader, form: str, listing: _Listing, shown: str, depth: int) -> None:
        """Look at one compressed file: a wanted one, a table, or an archive packed again."""
        length = -1
        if form == "gz" and reader.size is not None and reader.ranges:
            # The last four bytes of a gzip are its length unpacked: most that cannot fit are told without unpacking.
            length = int.from_bytes(reader.read_at(max(0, reader.size - 4), 4), "little")
        members = archives.iter_members(_Timed(reader, listing))  # closing it closes the stream, too
        _, packed = next(members)
        stream = cast(BinaryIO, packed)
        head = stream.read(_TABLE_HEAD)
        whole = cast(BinaryIO, _Rejoined(head, stream))
        name = _base(shown).rpartition(".")[0] or _base(shown)
        if self._table_head(head):
            self._offer_table(whole, listing, shown)
        elif depth < self.limits.nested and archives.sniff(BytesReader(head)) is not None:
            self._nested(whole, name, listing, shown, depth)
        elif self.converting:
            return
        elif any(item.size == length for item in self.missing.values()) or length < 0:
            with _not_counted(listing):
                self._offer(whole, listing, shown, name, length)
        else:
            published = self._resembles(shown)
            if published is not None and published.size and (reader.size or 0) < published.size:
                self._cut_short(listing, shown, reader.size or 0, published.size)

    def _table_head(self, head: bytes) -> bool:
        return any(one.fits(head) for one in self._convertible())

    # What is offered is taken or refused.

    def _offer(self, stream: BinaryIO, listing: _Listing, shown: str, name: str, size: int) -> bool:
        """Write a file while hashing it; keep it if it is a wanted one. Reading errors go up as they are."""
        self._announce()
        out_path = self._new_file()
        most = size if size >= 0 else max(self.sizes)
        with _writing():
            out = _HashedFile(out_path, self._advance)
        verdict = "wrong"
        try:
            with out, _one_ahead(out.absorb, self._absorbers if most > 2 * BLOCK_BYTES else None) as absorb:
                total = 0
                while total <= most and (block := stream.read(min(BLOCK_BYTES, most + 1 - total))):
                    if self._stopping:
                        raise _Stopped
                    total += len(block)
                    absorb(block)
            made = FoundFile(out.size, out.crc32, out.md5.hexdigest(), shown)
            verdict = self._claim(out_path, made, name, listing)
        finally:
            if verdict != "taken":
                self._owe(out.size)
                out_path.unlink(missing_ok=True)
        return verdict != "wrong"

    def _claim(self, at: Path, made: FoundFile, name: str, listing: _Listing) -> Literal["taken", "had", "wrong"]:
        taken = False
        with self._lock:
            for item in [item for item in self.missing.values() if item.size == made.size]:
                if item.md5 == made.md5 or (item.md5 is None and _base(item.path) == name):
                    if taken:  # the same content under two wanted names
                        with _writing():
                            at = Path(shutil.copyfile(at, self._new_file(locked=True)))
                    del self.missing[item.path]
                    self.written[item.path] = (at, made)
                    taken = True
            if taken:
                if listing.called not in self.had:
                    self.had.append(listing.called)
                return "taken"
            if any(item.md5 == made.md5 for item in self.wanted.values()):
                return "had"
            for item in self.wanted.values():
                if item.size == made.size and _base(item.path) == name:
                    self.decoys.append(Decoy(listing.called, made.came_from, item.path, made.md5))
                    break
            for like in self.lookalikes:
                if made.md5 in like.md5:
                    self._is_near(listing, like.found, made.came_from, like.needed)
        return "wrong"

    def _offer_table(self, stream: BinaryIO, listing: _Listing, shown: str) -> None:
        """Let the converters try a table; in the first pass only note that there is one."""
        if not self.converting:
            self._with_tables.add((len(self.listings) - 1, self._opening))
            return
        head = stream.read(_TABLE_HEAD)
        for converter in self._convertible():
            if not converter.fits(head):
                continue
            self._announce()
            with _writing():
                made = Path(tempfile.mkdtemp(prefix="table-", dir=self.scratch))
                outcome = converter.convert(cast(BinaryIO, _Rejoined(head, stream)), made)
            if isinstance(outcome, str):
                shutil.rmtree(made, ignore_errors=True)
                self.refused.append((listing.called, shown, outcome))
                return  # the stream is spent
            for path in outcome:
                wanted = self.missing.pop(path, None)
                if wanted is None:
                    continue  # found as it was published
                size, crc, md5 = _hash(made / path)
                self._advance(size)
                self.written[path] = (made / path, FoundFile(size, crc, md5, shown, converted=md5 != wanted.md5))
            if listing.called not in self.had:
                self.had.append(listing.called)
            return

    # What is near.

    def _is_near(self, listing: _Listing, found: str, path: str, needed: str = "") -> None:
        near = NearMiss(listing.called, needed or self.needed, found, _text(path))
        if all((one.place, one.found) != (near.place, near.found) for one in self.near):
            self.near.append(near)

    def _resembles(self, shown: str) -> Published | None:
        """Say which published file this may once have been, by its name."""
        name = re.sub(r"[\s_]*(\(\d+\)|copy|kopie|copie)", "", _base(shown).lower()).replace("_", "-")
        for item in self.published:
            if name == item.name.lower() or name.removesuffix(".gz") == item.name.lower().removesuffix(".gz"):
                return item
        return None

    def _damaged(self, listing: _Listing, shown: str, size: int) -> None:
        whole = self._resembles(shown)
        if whole is None and len(self.published) == 1 and self._like_a_name(shown):
            whole = self.published[0]
        if whole is not None and whole.size and size < whole.size:
            self._cut_short(listing, shown, size, whole.size)
        else:
            self._shut(listing, "a damaged archive: it ends too early, or its own checks fail", shown)

    def _shut(self, listing: _Listing, what: str, shown: str) -> None:
        if self._like_a_name(f"{listing.called} {shown}"):
            self._is_near(listing, what, shown)
        else:
            listing.trouble = listing.trouble or f"{_base(shown)} is {what}"

    def _cut_short(self, listing: _Listing, shown: str, size: int, whole: int) -> None:
        self._is_near(listing, f"{_mb(size)}: the download was cut short", shown, _mb(whole))

    def _like_a_name(self, shown: str) -> bool:
        """Say whether a name has a word of the dataset's own in it: "cifar", "mnist", "iris"."""
        names = [item.name for item in self.published] + [path.split("/")[0] for path in self.wanted]
        words = {re.split(r"[.\d_-]", name.lower())[0] for name in names}
        return any(len(word) > 3 and word in shown.lower() for word in words - _ANYBODYS)

    def _look_at_head(self, path: Path, listing: _Listing) -> bool:
        try:
            with FileReader(path) as reader:
                return self._not_an_archive(reader, listing, self._shown(listing, path))
        except OSError as error:
            listing.trouble = listing.trouble or str(error.strerror or error)
            return False

    def _not_an_archive(self, reader: Reader, listing: _Listing, shown: str) -> bool:
        """Name what bears the name of an archive or of a wanted file, and is not one; a reader may also be a table."""
        name = _base(shown)
        if reader is listing.place.at:
            stream = cast(BinaryIO, _Streamed(reader))
            if reader.size in self.sizes and not self.converting:
                return self._offer(stream, listing, shown, name, reader.size or 0)
            if self.converters:
                self._offer_table(stream, listing, shown)
        whole = self._resembles(shown)
        if whole is None and os.path.splitext(name)[1].lower() not in _ARCHIVES and name not in self.names:
            return False
        what = archives.not_data(reader.read_at(0, 1024), name) if reader.ranges else None
        if what:
            why = ": the site asked you to sign in" if "sign-in" in what else ""
            self._is_near(listing, f"{what}, not the file{why}", shown)
        elif whole is not None and whole.size and (reader.size or 0) < whole.size:
            self._cut_short(listing, shown, reader.size or 0, whole.size)
        else:
            return False
        return True

    def _name_what_is_near(self) -> None:
        for listing in self.listings:
            for size, path in listing.small:
                # "train" and "test" are anybody's; a name with a number in it is not.
                if not self._look_at_head(path, listing) and re.search(r"\d", path.name):
                    self._cut_short(listing, self._shown(listing, path), size, self.names[path.name])
            self._name_a_lookalike(listing)
        for place, shown, refusal in self.refused:
            self._is_near(next(one for one in self.listings if one.called == place), refusal, shown)
        for place in dict.fromkeys(decoy.place for decoy in self.decoys):
            if all(near.place != place for near in self.near):
                listing = next(one for one in self.listings if one.called == place)
                there = {decoy.wanted: decoy.path for decoy in self.decoys if decoy.place == place}
                names = [_base(path) for path in self.wanted if path in there]
                sizes = "size" if len(names) == 1 else "sizes"
                what = f"{_names(names)}, of the right {sizes} but with other contents"
                self._is_near(listing, what, next(iter(there.values())))
        if self.written and len(self.missing) < len(self.wanted):
            listing = next(one for one in self.listings if one.called == self.had[0])
            if any(near.place == listing.called for near in self.near):
                return
            gone = _names([_base(path) for path in self.missing])
            self._is_near(listing, f"{len(self.written)} of {len(self.wanted)} files; missing: {gone}", "")

    def _name_a_lookalike(self, listing: _Listing) -> None:
        for like in self.lookalikes:
            at = next((path for size in like.sizes for path in listing.sized.get(size, ())), None)
            shown = self._shown(listing, at) if at is not None else None
            if shown is None and like.names:
                pattern = re.compile("|".join(fnmatch.translate(name) for name in like.names))
                shown = next((name for name in listing.names if pattern.match(name.lower())), None)
            if shown is not None:
                self._is_near(listing, like.found, shown, like.needed)
                return

    # Small things.

    def _shown(self, listing: _Listing, path: Path) -> str:
        at = listing.place.at
        return _text(path.relative_to(at).as_posix() if isinstance(at, Path) and path != at else path.name)

    def _new_file(self, locked: bool = False) -> Path:
        if locked:
            self._serial += 1
        else:
            with self._lock:
                self._serial += 1
        return self.scratch / str(self._serial)

    def _announce(self) -> None:
        with self._lock:
            if self._announced:
                return
            self._announced = True
        self.reporter.phase("copying and checking", sum(item.size for item in self.missing.values()))

    def _advance(self, n_bytes: int) -> None:
        with self._lock:  # bytes of a file that was refused are taken off those that follow
            paid = min(self._debt, n_bytes)
            self._debt -= paid
        if n_bytes > paid:
            self.reporter.advance(n_bytes - paid)

    def _owe(self, n_bytes: int) -> None:
        with self._lock:
            self._debt += n_bytes

    def result(self) -> SearchResult:
        complete = not self.missing
        if not complete:
            self._name_what_is_near()
        looked = tuple(_looked(listing) for listing in self.listings)
        return SearchResult(
            complete=complete,
            where=_and(self.had),
            files={path: made for path, (_, made) in sorted(self.written.items())},
            missing=tuple(self.missing),
            looked=looked,
            decoys=tuple(self.decoys),
            near=() if complete else tuple(self.near),
            bound_hit=any(one.bound_hit for one in looked),
        )

    def publish(self) -> None:
        with _writing():
            for path, (at, _) in self.written.items():
                target = self.into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(at, target)

    def close(self) -> None:
        self._absorbers.shutdown()
        if self.scratch != self.into:
            shutil.rmtree(self.scratch, ignore_errors=True)


_ANYBODYS = frozenset(("train", "test", "data", "images", "labels", "files"))


class _HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        self._out = path.open("wb", buffering=0)
        self._advance = advance
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.crc32 = 0
        self.size = 0

    def absorb(self, block: bytes) -> None:
        with _writing():
            _write_all(self._out, block)
        self.md5.update(block)
        self.crc32 = zlib.crc32(block, self.crc32)
        self.size += len(block)
        self._advance(len(block))

    def __enter__(self) -> _HashedFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._out.close()


@contextmanager
def _one_ahead(absorb: Callable[[bytes], None], pool: ThreadPoolExecutor | None) -> Iterator[Callable[[bytes], None]]:
    """Give a function by which another thread absorbs a block while the caller gets the next, in order."""
    if pool is None:
        yield absorb
        return
    pending: Future[None] | None = None

    def hand_over(block: bytes) -> None:
        nonlocal pending
        if pending is not None:
            pending.result()
        pending = pool.submit(absorb, block)

    try:
        yield hand_over
        if pending is not None:
            pending.result()
    finally:
        if pending is not None:
            wait([pending])


class _Late(Exception):
    """The time for archives is over."""


class _Unreadable(Exception):
    """The source of a table could not be read."""


class _Stopped(Exception):
    """Another thread failed or was interrupted; what it raised is what counts."""


class _Timed:
    """A reader that stops when the time for archives is over, even within one long member."""

    def __init__(self, reader: Reader, listing: _Listing) -> None:
        self._reader = reader
        self._listing = listing
        self.name = reader.name
        self.size = reader.size
        self.identity = reader.identity
        self.ranges = reader.ranges
        self.local_path = reader.local_path

    def _check(self) -> None:
        if time.monotonic() > self._listing.archive_deadline:
            raise _Late

    def read_at(self, offset: int, n: int) -> bytes:
        self._check()
        return self._reader.read_at(offset, n)

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        for piece in self._reader.stream(offset):
            self._check()
            yield piece

    def close(self) -> None:
        """Leave it open: whoever opened it closes it."""


class _Streamed(io.RawIOBase):
    """A reader from its beginning to its end as a stream, with ranges or without."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._pieces = iter(reader.stream(0))
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = bytes(next(self._pieces, b""))
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already read."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def read(self, size: int = -1) -> bytes:
        """Return exactly `size` bytes, fewer only at the end: whoever converts a table may want it whole."""
        pieces = []
        while size:
            if self._head:
                piece, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
            else:
                try:
                    piece = self._rest.read(size if size >= 0 else BLOCK_BYTES)
                except DatastageError:
                    raise
                except OSError as error:  # or a converter would be thought to have failed in writing
                    raise _Unreadable(error.strerror or str(error)) from error
            if not piece:
                break
            pieces.append(bytes(piece))
            if size > 0:
                size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def _not_counted(listing: _Listing) -> Iterator[None]:
    """Stop the clock of an archive while something is copied out of it."""
    left = listing.archive_deadline - time.monotonic()
    listing.archive_deadline = float("inf")
    try:
        yield
    finally:
        listing.archive_deadline = time.monotonic() + left


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except DatastageError:
        raise
    except OSError as error:
        raise StorageError.of(error, "writing the files") from error


def _write_all(out: io.FileIO, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[out.write(view) :]


def _hash(path: Path) -> tuple[int, int, str]:
    md5, crc, size = hashlib.md5(usedforsecurity=False), 0, 0
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK_BYTES):
            md5.update(block)
            crc = zlib.crc32(block, crc)
            size += len(block)
    return size, crc, md5.hexdigest()


def _text(name: str) -> str:
    """Return a name that can be printed: one that is not UTF-8 holds what no terminal takes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _base(path: str) -> str:
    """Return the last part of a path, or of one within an archive: ``a.zip > b/c.csv``."""
    return path.rsplit("/", 1)[-1].rsplit(" > ", 1)[-1]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def _mb(size: int) -> str:
    for unit, n_bytes in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= n_bytes:
            return f"{size / n_bytes:.0f} {unit}" if size >= 10 * n_bytes else f"{size / n_bytes:.1f} {unit}"
    return f"{size} bytes"


def _looked(listing: _Listing) -> Looked:
    if listing.trouble and not listing.n_files:
        seen = f"it could not be read: {listing.trouble}"
    elif not listing.n_files:
        seen = "nothing"
    else:
        more = "more than " if listing.bound_hit else ""
        seen = f"{more}{listing.n_files:,} {'file' if listing.n_files == 1 else 'files'}"
        if listing.trouble:
            seen += f" ({listing.trouble})"
    names = tuple(_text(name.split("/", 2)[-1]) for name in listing.names[:5])
    return Looked(listing.called, seen, listing.bound_hit, listing.seconds, names)
