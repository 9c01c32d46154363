"""Find wanted files by their content, whatever the place calls them.

Sizes are compared first, then digests of what has the right size, copied while it is hashed; then archives are opened,
and archives in those; then tables are converted. ``benchmarks/find.py`` says what it costs: 100,000 files in 0.6 s.
"""

from __future__ import annotations

import heapq
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast

from datastage import archives
from datastage.entry import Converter, Download, File, Lookalike
from datastage.errors import DatastageError, MissingDependencyError, PasswordError, StorageError
from datastage.file_names import junk_kind
from datastage.progress import SILENT, Reporter, with_and
from datastage.reader import BytesReader, FileReader, FileRecord, Reader
from datastage.redact import printable
from datastage.sources import search_io
from datastage.sources.near_misses import NearMiss, NearMisses, shown_path
from datastage.sources.walk import (
    ARCHIVES,
    MEDIA,
    TABLES,
    Listing,
    Location,
    Looked,
    SearchLimits,
    UnreadableError,
    Wishes,
    base_name,
    walk,
)

__all__ = ["Location", "Looked", "NearMiss", "SearchLimits", "SearchResult", "find_files"]

_TABLE_HEAD = 1 << 16  # bytes by which a table is told: a row of 784 pixels has 3,000
_ARCHIVE_HEAD = 1 << 10  # bytes by which an archive is told: a tar's mark is at 257
_MEMBER_NAMES = 5000
_SMALL = 1 << 20
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What came of looking. If it is complete all files are written, and otherwise none is."""

    complete: bool
    where: str = ""  # the places that had them, for a person
    files: tuple[FileRecord, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)
    converted: frozenset[str] = frozenset()  # made of another form of the data, and not the published bytes
    looked: tuple[Looked, ...] = ()
    near: tuple[NearMiss, ...] = ()  # empty if complete


def find_files(
    places: Sequence[Location | Path | Reader],
    wanted: Sequence[File],
    into: Path,
    *,
    converters: Sequence[Converter] = (),
    lookalikes: Sequence[Lookalike] = (),
    published: Sequence[Download] = (),
    needed: str = "",
    limits: SearchLimits | None = None,
    reporter: Reporter = SILENT,
) -> SearchResult:
    """Look for wanted files in places, in order, and write what is found into the empty folder `into`.

    A later place is asked only for what the earlier ones did not have, and `converters` only for what no file gave.
    `published`, `lookalikes` and `needed` serve to name near misses. A place that cannot be read is no error: it is
    named in `SearchResult.looked`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
    ...     _ = Path(there, "renamed.bin").write_bytes(b"pixels")
    ...     wanted = File("set/train", 6, hashlib.md5(b"pixels").hexdigest())
    ...     found = find_files([Path(there)], [wanted], Path(here))
    ...     print(found.complete, Path(here, "set/train").read_bytes())
    True b'pixels'
    """
    wishes = Wishes(wanted, published, converters, lookalikes)
    near = NearMisses(wishes, needed)
    scratch = search_io.Scratch(into, reporter)
    search = _Search(wishes, near, scratch, limits or SearchLimits())
    try:
        for place in places:
            if search.missing:
                search.look(place if isinstance(place, Location) else Location(place))
        if search.missing and converters:
            search.convert()
        search.write_known()
        if not search.missing:
            scratch.publish(search.written)
        return search.result()
    finally:
        search.absorbers.shutdown()
        scratch.close()


@dataclass(eq=False)
class _Search:
    """One search: what is still missing, and what was written."""

    wishes: Wishes
    near: NearMisses
    scratch: search_io.Scratch
    limits: SearchLimits
    written: dict[str, search_io.Made] = field(default_factory=dict)
    listings: list[Listing] = field(default_factory=list)
    had: list[str] = field(default_factory=list)
    converting: bool = False
    _opening: str = ""
    _wrong_folders: set[Path] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.missing = {file.path: file for file in self.wishes.wanted}
        # One block is hashed and written while the next is read or unpacked: all of it runs without the interpreter.
        self.absorbers = ThreadPoolExecutor(max_workers=self.limits.threads)

    # --- one place after the other

    def look(self, location: Location) -> None:
        listing = walk(location, self.wishes, self.limits)
        self.listings.append(listing)
        start = time.monotonic()
        self._plain_files(listing)
        if self.missing:
            self._archives(listing)
        listing.seconds += time.monotonic() - start

    def convert(self) -> None:
        """Go over the tables that were met, for what is still missing."""
        self.converting = True
        for listing in self.listings:
            for _, path in listing.tables:
                if not self._useful_converters():
                    return
                with listing.reading(), path.open("rb") as stream:
                    self._offer_table(stream, listing, shown_path(listing, path))
            if self._useful_converters() and listing.with_tables:
                self._archives(listing)

    def write_known(self) -> None:
        """Write the missing files whose content is known, if no other is missing: they are short and often left out."""
        known = {path: file.content for path, file in self.missing.items() if file.content}
        if not self.written or len(known) != len(self.missing):
            return
        for path, content in known.items():
            at = self.scratch.new_path()
            with search_io.writing():
                at.write_bytes(content)
            self.written[path] = search_io.Made.of(at, content)
            del self.missing[path]
            self.scratch.advance(len(content))

    def _useful_converters(self) -> list[Converter]:
        return [one for one in self.wishes.converters if any(path in self.missing for path in one.gives)]

    # --- files as they lie there

    def _plain_files(self, listing: Listing) -> None:
        left: dict[int, list[Path]] = {}
        for size in {file.size for file in self.missing.values()}:
            there = listing.by_size.get(size, [])
            left[size] = heapq.nsmallest(self.limits.candidates, there, key=self._promise)
            listing.cut_short |= len(there) > self.limits.candidates
        while True:
            # One candidate for each missing file in a round, small files in rounds before the others: MNIST and
            # Fashion-MNIST have the same names and sizes, and 10 kB of labels tell which folder is worth reading.
            batch: list[tuple[int, Path]] = []
            for size in sorted(left):
                left[size].sort(key=self._promise)
                count = sum(file.size == size for file in self.missing.values())
                batch += [(size, path) for path in left[size][:count]]
            batch = [(size, path) for size, path in batch if size < _SMALL] or batch
            if not batch:
                return
            for size, path in batch:
                left[size].remove(path)
            with ThreadPoolExecutor(max_workers=min(self.limits.threads, len(batch))) as pool:
                try:
                    for done in [pool.submit(self._copy, listing, path) for _, path in batch]:
                        done.result()
                except BaseException:
                    self._stopping = True  # an interrupt does not wait for files half copied
                    raise

    def _promise(self, path: Path) -> tuple[bool, bool, int, str]:
        return path.parent in self._wrong_folders, path.name not in self.wishes.names, len(path.parts), str(path)

    def _copy(self, listing: Listing, path: Path) -> None:
        with listing.reading():
            size = path.stat().st_size
            with path.open("rb", buffering=0) as stream:
                good = self._offer(cast(BinaryIO, stream), listing, shown_path(listing, path), path.name, size)
            if not good:
                with self._lock:
                    self._wrong_folders.add(path.parent)

    # --- archives, and what lies in them

    def _archives(self, listing: Listing) -> None:
        listing.archive_deadline = time.monotonic() + self.limits.archive_seconds
        at = listing.location.at
        if not isinstance(at, Path):
            self._opening = at.name
            self._open(at, listing, at.name, 0)
            return
        for size, path in itertools.chain(listing.packed, listing.unknown):
            if not self.missing:
                return
            self._opening = shown_path(listing, path)
            if self.converting and self._opening not in listing.with_tables:
                continue
            if not size or not self._may_hold(size):
                self.near.look_at_head(listing, path, self._opening)
                continue
            with listing.reading(), FileReader(path) as reader:
                self._open(reader, listing, self._opening, 0)

    def _may_hold(self, size: int) -> bool:
        # Deflate packs a file to 1/1032 of its size at best; others do better on nothing but emptiness.
        least = min([file.size for file in self.missing.values()], default=0)
        return size * 1100 + 1024 >= min([least, *(one.sizes[0] for one in self._useful_converters())])

    def _open(self, reader: Reader, listing: Listing, shown: str, depth: int) -> None:
        """Look into what may be an archive, or a compressed file."""
        form = archives.sniff(reader)
        size = reader.size or 0
        try:
            if form is None:
                self._not_an_archive(reader, listing, shown)
            elif archives.is_one_file(form):
                self._compressed(reader, form, listing, shown, depth)
            elif "." in form and size > self.limits.archive_bytes:
                listing.cut_short = True
            else:
                self._members(search_io.TimedReader(reader, listing), listing, shown, depth)
        except StorageError:
            raise
        except search_io.TimeIsUpError:
            listing.cut_short = True
        except MissingDependencyError:
            self.near.add_shut(listing, f"a {form} archive, which cannot be opened here", shown)
        except PasswordError:
            self.near.add_shut(listing, "an archive that is locked with a password", shown)
        except (DatastageError, OSError, UnreadableError):
            self.near.add_damaged(listing, shown, size)

    def _not_an_archive(self, reader: Reader, listing: Listing, shown: str) -> None:
        """Look at a file that is no archive: a place that is itself a file may be a wanted one, or a table."""
        name = base_name(shown)
        if reader is listing.location.at:
            stream = search_io.as_stream(reader.stream(0))
            if reader.size in self.wishes.sizes and not self.converting:
                self._offer(stream, listing, shown, name, reader.size or 0)
                return
            if self.wishes.converters:
                self._offer_table(stream, listing, shown)
        self.near.add_if_no_data(listing.called, reader, shown)

    def _members(self, reader: Reader, listing: Listing, shown: str, depth: int) -> None:
        n_wrong = n_probed = 0
        for count, (member, stream) in enumerate(archives.iter_members(reader)):
            if not self.missing:
                return
            if time.monotonic() > listing.archive_deadline or count > self.limits.members:
                listing.cut_short = True
                return
            if stream is None or member.kind != "file" or junk_kind(member.name) is not None:
                continue
            name, inside = base_name(member.name), f"{shown} > {printable(member.name)}"
            if len(listing.names) < _MEMBER_NAMES:
                listing.names.append(f"/{base_name(shown)}/{member.name}")
            suffix = os.path.splitext(name)[1].lower()
            may_nest = depth < self.limits.nested and self._may_hold(member.size)
            if member.size in self.wishes.sizes:
                if n_wrong >= self.limits.candidates and name not in self.wishes.names:
                    listing.cut_short = True
                elif not self.converting and any(file.size == member.size for file in self.missing.values()):
                    with _uncounted(listing):
                        n_wrong += not self._offer(stream, listing, inside, name, member.size)
            elif suffix in ARCHIVES and may_nest:
                self._nested(stream, name, listing, inside, depth)
            elif suffix in TABLES:
                if any(one.sizes[0] <= member.size <= one.sizes[1] for one in self._useful_converters()):
                    self._offer_table(stream, listing, inside)
            elif may_nest and suffix not in MEDIA and n_probed < self.limits.probes:
                n_probed += 1
                head = stream.read(_ARCHIVE_HEAD)
                if archives.sniff(BytesReader(head)) is not None:
                    self._nested(search_io.rejoined(head, stream), name, listing, inside, depth)

    def _nested(self, stream: BinaryIO, name: str, listing: Listing, shown: str, depth: int) -> None:
        with self.scratch.held(stream, name, self.limits.archive_bytes) as reader:
            if reader is None:
                listing.cut_short = True
            else:
                self._open(reader, listing, shown, depth + 1)

    def _compressed(self, reader: Reader, form: str, listing: Listing, shown: str, depth: int) -> None:
        """Look at one compressed file: a wanted one, a table, or an archive packed again."""
        length = -1
        if form == "gz" and reader.size is not None and reader.ranges:
            # The last four bytes of a gzip are its length unpacked: most that cannot fit are told without unpacking.
            length = int.from_bytes(reader.read_at(max(0, reader.size - 4), 4), "little")
        members = archives.iter_members(search_io.TimedReader(reader, listing))  # closing it closes the stream, too
        _, packed = next(members)
        stream = cast(BinaryIO, packed)
        head = stream.read(_TABLE_HEAD)
        whole = search_io.rejoined(head, stream)
        name = base_name(shown).rpartition(".")[0] or base_name(shown)
        if any(one.fits(head) for one in self._useful_converters()):
            self._offer_table(whole, listing, shown)
        elif depth < self.limits.nested and archives.sniff(BytesReader(head)) is not None:
            self._nested(whole, name, listing, shown, depth)
        elif self.converting:
            return
        elif any(file.size == length for file in self.missing.values()) or length < 0:
            with _uncounted(listing):
                self._offer(whole, listing, shown, name, length)
        else:
            self.near.add_if_cut_short(listing.called, shown, reader.size or 0, self.near.published_size(shown))

    # --- what is offered is taken or refused

    def _offer(self, stream: BinaryIO, listing: Listing, shown: str, name: str, size: int) -> bool:
        """Write a file while hashing it; keep it if it is a wanted one. Reading errors go up as they are."""
        self._announce()
        path = self.scratch.new_path()
        most = size if size >= 0 else max(self.wishes.sizes)
        with search_io.writing():
            out = search_io.HashedFile(path, self.scratch.advance)
        verdict = "wrong"
        pending: Future[None] | None = None
        try:
            try:
                total = 0
                while total <= most and (block := stream.read(min(BLOCK_BYTES, most + 1 - total))):
                    if self._stopping:
                        raise search_io.StoppedError
                    total += len(block)
                    if pending is not None:
                        pending.result()
                    pending = self.absorbers.submit(out.absorb, block)
                if pending is not None:
                    pending.result()
            finally:
                wait([] if pending is None else [pending])
                out.close()
            made = search_io.Made(path, out.size, out.crc32, out.md5.hexdigest())
            verdict = self._claim(made, shown, name, listing)
        finally:
            if verdict != "taken":
                self.scratch.refuse(path, out.size)
        return verdict != "wrong"

    def _claim(self, made: search_io.Made, shown: str, name: str, listing: Listing) -> Literal["taken", "had", "wrong"]:
        taken = False
        with self._lock:
            for file in [file for file in self.missing.values() if file.size == made.size]:
                if file.md5 == made.md5 or (file.md5 is None and base_name(file.path) == name):
                    if taken:  # the same content under two wanted names
                        with search_io.writing():
                            copy = Path(shutil.copyfile(made.at, self.scratch.new_path()))
                        made = search_io.Made(copy, made.size, made.crc32, made.md5)
                    del self.missing[file.path]
                    self.written[file.path] = made
                    taken = True
            if taken:
                if listing.called not in self.had:
                    self.had.append(listing.called)
                return "taken"
            if any(file.md5 == made.md5 for file in self.wishes.wanted):
                return "had"
            self.near.add_other_content(listing.called, shown, name, made.size, made.md5)
        return "wrong"

    def _offer_table(self, stream: BinaryIO, listing: Listing, shown: str) -> None:
        """Let the converters try a table; in the first pass only note that there is one."""
        if not self.converting:
            listing.with_tables.add(self._opening)
            return
        head = stream.read(_TABLE_HEAD)
        converter = next((one for one in self._useful_converters() if one.fits(head)), None)
        if converter is None:
            return
        self._announce()
        with search_io.writing():
            made = Path(tempfile.mkdtemp(prefix="table-", dir=self.scratch.folder))
            outcome = converter.convert(search_io.rejoined(head, stream), made)
        if isinstance(outcome, str):
            shutil.rmtree(made, ignore_errors=True)
            self.near.refused.append((listing.called, shown, outcome))
            return
        for path in outcome:
            wanted = self.missing.pop(path, None)
            if wanted is None:
                continue  # found as it was published
            self.written[path] = search_io.Made.of(made / path, (made / path).read_bytes(), wanted.md5)
            self.scratch.advance(self.written[path].size)
        if listing.called not in self.had:
            self.had.append(listing.called)

    def _announce(self) -> None:
        self.scratch.announce(sum(file.size for file in self.missing.values()))

    def result(self) -> SearchResult:
        found = sorted(self.written.items())
        return SearchResult(
            complete=not self.missing,
            where=with_and(self.had),
            files=tuple(FileRecord(path, made.size, made.crc32) for path, made in found),
            md5={path: made.md5 for path, made in found},
            converted=frozenset(path for path, made in found if made.is_converted),
            near=self.near.finish(self.listings, self.had, tuple(self.missing)) if self.missing else (),
            looked=tuple(listing.summary() for listing in self.listings),
        )


@contextmanager
def _uncounted(listing: Listing) -> Iterator[None]:
    """Stop the clock of an archive while something is copied out of it."""
    left = listing.archive_deadline - time.monotonic()
    listing.archive_deadline = float("inf")
    try:
        yield
    finally:
        listing.archive_deadline = time.monotonic() + left
