"""The conductor: the places of a request in the order in which they are tried; what the first gives is published."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from datastage import errors, mounts, saved_copy, sources, store, transfer
from datastage.content import Content
from datastage.entry import ArchiveEntry, Entry, Part
from datastage.errors import Attempt, DatastageError, IntegrityError, MissingDependencyError, UnavailableError
from datastage.materialize import Work, check_digests, materialize, opened
from datastage.options import StageOptions
from datastage.own_files import fresh_folder, remove_tree
from datastage.reader import FileReader
from datastage.redact import values_without_secrets
from datastage.runtime import Runtime
from datastage.slots import Slot
from datastage.sources import Found, kaggle_inputs, manual, parse
from datastage.sources.walk import Location, Looked
from datastage.spec import Spec
from datastage.staged import Staged

if TYPE_CHECKING:
    from datastage.sources.near_misses import NearMiss

# Who needs the catalog, the search or http imports them: without, a file of this machine is staged 10 ms sooner.
T = TypeVar("T")
Step = tuple[str, Callable[[], T | None]]
Place = tuple[str, Callable[[bool], T | None]]  # it is told whether another place is left
# A place is not waited for long, where another is left: a mirror that answers "busy" may do so all day.
IMPATIENT = transfer.Limits(tries=2, longest_wait_s=2.0, longest_retry_after_s=5.0)


@dataclass
class Chain:
    """One run along the chain: holds what every step needs, and the attempts made so far."""

    options: StageOptions
    here: Runtime
    claim: store.Claim
    entry: Entry | None
    archive: ArchiveEntry | None
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[DatastageError] = field(default_factory=list)
    near: list[NearMiss] = field(default_factory=list)
    cut_short: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.reporter = self.claim.reporter

    def run(self) -> Staged:
        if self.archive is not None:
            return self._collected(self.archive)
        steps = self._entry_chain(self.entry) if self.entry is not None else self._spec_chain()
        for name, step in steps:
            staged = self._try(name, step)
            if staged is not None:
                return staged
        raise self._failure()

    def _try(self, name: str, step: Callable[[], T | None]) -> T | None:
        began = time.monotonic()
        try:
            return step()  # None: the step has said itself what it saw
        except (UnavailableError, IntegrityError, MissingDependencyError, errors.StorageError) as error:
            if isinstance(error, errors.StorageError) and not error.of_source:
                raise  # our own disk is the same for all places
            seconds = time.monotonic() - began
            self.attempts.append(Attempt(name, "", seconds, str(error.args[0]), error.remedy))
            self.failures.append(error)
            return None

    def _failure(self) -> DatastageError:
        """Make the error of a chain that gave nothing."""
        real = [error for error in self.failures if not isinstance(error, MissingDependencyError)]
        is_near = self.archive is not None and self._wanted.url is None
        if self.entry is None:
            is_plain = is_near or (self.archive is None and not self._kaggle_is_offline())
            if len(self.failures) == 1 and is_plain and not isinstance(self.failures[0], errors.ChecksumError):
                error = self.failures[0]
                if isinstance(error, UnavailableError) and not error.attempts:
                    error.attempts = tuple(self.attempts)
                return error
            if real and all(isinstance(error, IntegrityError) for error in real):
                if self.archive is not None and isinstance(real[0], errors.ChecksumError):
                    from datastage import datasets

                    what = f"replaced on purpose, put its new digest into the line of {self.archive.name}"
                    what = "replaced by its publisher, name its address" if self.archive in datasets.ENTRIES else what
                    real[0].remedy = (*real[0].remedy[:-1], f"Next: get it again; if it was {what}.")
                return real[0]
        inputs = [item.slug for item in kaggle_inputs.inputs(self.here.input_root)]
        return manual.manual_instructions(
            self._wanted, self.here, self.attempts, near=self.near, inputs=inputs, cut_short=self.cut_short,
            offline=False if is_near else None,
        )  # fmt: skip

    def _kaggle_is_offline(self) -> bool:
        """Tell whether it is Kaggle's switch, and no server, that an address failed for: then its clicks help."""
        return (
            self.here.platform == "kaggle"
            and sources.address_of(self.options.spec) is not None
            and isinstance(self.failures[0], UnavailableError)
            and manual.is_offline(self.attempts)
        )

    @cached_property
    def _wanted(self) -> manual.Wanted:
        entry = self.entry or self.archive
        if entry is None:
            spec = self.options.spec
            url = sources.address_of(spec)
            return manual.Wanted(spec.file_name or str(spec), spec.file_name, None, url, None, None, str(spec))
        # Of the addresses a person is given the first: a fast copy, byte for byte the published file.
        urls = [web[0] for part in entry.parts if (web := [place for place in part.addresses if _is_on_web(place)])]
        name = entry.parts[0].name if entry.parts else entry.name
        if not urls and not entry.homepage and self.archive is not None:  # no click helps: each place says what does
            return manual.Wanted(entry.title, name, None, None, None, None, entry.name)
        return manual.Wanted(
            entry.title,
            name,
            entry.download_bytes,
            urls[0] if urls else entry.homepage or None,
            entry.search_words or entry.title,
            name if self.entry is None else self.entry.shows or self.entry.needed,
            entry.name,
            tuple(urls[1:]),
        )

    # --- the chains

    def _spec_chain(self) -> Iterator[Step[Staged]]:
        specs = (self.options.spec, *self.options.fallbacks)
        places: list[Place[Staged]] = [(str(spec), partial(self._from_spec, spec)) for spec in specs]
        late: list[Place[Staged]] = []
        kept = None
        if self.options.save_to is not None:
            key, is_digest_known = self.options.source_key(self.here.cwd), self.options.expect is not None
            kept = saved_copy.find(self._kept_folder(), key, is_digest_known=is_digest_known)
        if kept is not None:
            # A file of this machine's may have changed since: then the kept one is only what is left of it.
            number = 1 if self.options.spec.scheme in ("file", "relative") else 0
            where, at = (late, 0) if self._is_late(self.options.expect) else (places, number)
            where.insert(at, (f"kept {kept.path.name}", partial(self._from_kept, kept)))
        yield from self._in_turn(places, late)

    def _is_late(self, expect: str | None) -> bool:
        """Tell whether a kept file waits until no place gives it anew: it may be an older one, and no digest tells."""
        return self.options.refresh and expect is None

    def _entry_chain(self, entry: Entry) -> Iterator[Step[Staged]]:
        """Every silent place first; what opens a window last, and the slow ones after that."""
        from datastage import datasets

        folders, inputs = self._folders_and_inputs()
        there = {place.partition("/")[0]: datasets.in_package(place) for place in entry.package_data}
        packages = [Location(path, f"the package {name}") for name, path in there.items() if path is not None]
        kept = []
        if self.options.save_to is not None and (folder := self._kept_folder() / entry.name).is_dir():
            kept = [Location(folder, f"what was kept in {self.options.save_to}")]
        silent = [("DATASTAGE_PATH", folders), ("installed packages", packages), ("inputs", inputs), ("kept", kept)]
        for name, locations in (*silent, ("Drive", self._named_on_drive(entry))):
            if locations:
                yield name, partial(self._search, entry, locations)
        mirrors = max((len(download.urls) for download in entry.downloads), default=0)
        places: list[Place[Staged]] = [
            (_mirror_name(entry, number), partial(self._download, entry, number)) for number in range(mirrors)
        ]
        places += [(str(spec), partial(self._entry_from, entry, spec)) for spec in self.options.fallbacks]
        if self.options.save_to is not None and self.options.save_to.scheme == "bucket":
            spec = (self._kept_folder() / entry.name).spec("")
            places.insert(0, (f"kept in {self.options.save_to}", partial(self._entry_from, entry, spec)))
        yield from self._in_turn(places, ())

    def _folders_and_inputs(self) -> tuple[list[Location], list[Location]]:
        folders = [Location(path, f"the folder {path}") for path in self.here.search_path if path.is_dir()]
        return folders, [Location(item.path, item.called) for item in kaggle_inputs.inputs(self.here.input_root)]

    def _in_turn(self, places: Sequence[Place[T]], late: Sequence[Place[T]]) -> Iterator[Step[T]]:
        """Give a step for each place; the slow ones come again at the end, and the `late` ones after all."""
        slow: list[Place[T]] = []
        for number, (name, act) in enumerate(places):
            another_is_left = number < len(places) - 1 or bool(slow)

            def step(name: str = name, act: Any = act, left: bool = another_is_left) -> T | None:
                try:
                    return act(left)  # type: ignore[no-any-return]
                except transfer.TooSlow:
                    slow.append((name, act))
                    raise

            yield name, step
        for name, act in (*slow, *late):
            yield name, partial(act, False)

    def _named_on_drive(self, entry: Entry) -> list[Location]:
        """Return the files of an entry's own names in a mounted Drive. Named paths only: a Drive is never listed."""
        names = [download.name for download in entry.downloads] + [f"{entry.name}.zip"]
        folders = [mount.path / "MyDrive" for mount in mounts.drive_mounts() if mount.alive]
        found = []
        for folder, name in itertools.product([f for top in folders for f in (top, top / "Colab Notebooks")], names):
            with contextlib.suppress(OSError):
                if (folder / name).is_file():
                    found.append(Location(folder / name, f"{name} in your Drive"))
        return found

    # --- an entry's steps

    def _search(self, entry: Entry, places: Sequence[Location]) -> Staged | None:
        """Look for the entry's files by content in `places`; stage what was found."""
        from datastage.sources import search

        fresh_folder(self.claim.slot.partial)
        result = search.find_files(
            places,
            entry.files,
            self.claim.slot.partial,
            converters=entry.converters,
            lookalikes=entry.lookalikes,
            published=entry.downloads,
            needed=entry.needed,
            limits=search.SearchLimits(avoid=tuple(mount.path for mount in mounts.drive_mounts())),
            reporter=self.reporter,
        )
        if not result.complete:
            self.near += result.near
            for looked in result.looked:
                failure = f"{entry.title} is not in it"
                if looked.cut_short:
                    failure += "; it holds more than was looked at: give the very folder as a fallback"
                    self.cut_short.append(looked.place)
                self.attempts.append(Attempt(looked.place, looked.seen, looked.seconds, failure))
            return None
        self.reporter.note(f"{entry.title} in {result.where}", "Found")
        facts = {
            "place": result.where,
            "seen": f"{entry.title} in {result.where}",
            "hashes": {path: f"md5:{md5}" for path, md5 in result.md5.items()},
            "published": not result.converted,
        }
        return self._publish(Content(list(result.files), facts=facts))

    def _download(self, entry: Entry, number: int, another_is_left: bool) -> Staged | None:
        """Fetch the entry's downloads from the mirrors of this number, then find the files in what came."""
        from datastage.sources import http

        self.claim.slot.fetch.mkdir(mode=0o700, exist_ok=True)
        got: list[Path] = []
        for download in entry.downloads:
            url = download.urls[min(number, len(download.urls) - 1)]
            path = self.claim.slot.fetch / download.name
            if not path.is_file():
                limits = IMPATIENT if another_is_left else None
                with contextlib.closing(http.open_url(url, has_hash=download.md5 is not None, limits=limits)) as reader:
                    self.reporter.phase(f"copying {download.name}", reader.size or download.size)
                    transfer.fetch(
                        reader,
                        path,
                        expect={"md5": download.md5} if download.md5 else {},
                        reporter=self.reporter,
                        slow_below_bytes_s=transfer.SLOW_BYTES_S if another_is_left else None,
                        limits=limits,
                    )
            got.append(path)
        if all(download.md5 for download in entry.downloads):
            for path in got:
                self._keep(path, path.name, entry.name)
        host = _mirror_name(entry, number)
        staged = self._search(entry, [Location(path, f"{path.name} from {host}") for path in got])
        if staged is None:
            remove_tree(self.claim.slot.fetch)
        return staged

    def _entry_from(self, entry: Entry, spec: Spec, another_is_left: bool) -> Staged | None:
        """Look for the entry's files in what another spec names."""
        found = sources.open_spec(spec, self.here, reporter=self.reporter)
        with opened(found, self.claim.slot, self.reporter) as content:
            return self._search(entry, [Location(content, found.seen)])

    # --- an entry that is a few files

    def _collected(self, entry: ArchiveEntry) -> Staged:
        """Bring each file of the entry, unpack it, and publish all of them as one folder; or one file as itself.

        What belongs to one of several files lies in the slot's own folder for what is fetched, under its lock. There
        each stays until all are published, so that a run that was stopped at a later one goes on with that one.
        """
        from datastage import parts

        slot = self.claim.slot
        content = Content()
        of_parts = [Slot(slot.root, str(number), slot.fetch) for number in range(len(entry.parts))]
        try:
            for number, (part, alone) in enumerate(zip(entry.parts, of_parts)):
                if entry.more or entry.into:
                    slot.fetch.mkdir(mode=0o700, exist_ok=True)
                else:
                    alone = slot
                got = self._part(entry, part, alone)
                if alone is slot:
                    content = got
                    break
                if number == 0:
                    fresh_folder(slot.partial)
                    content.facts = got.facts
                parts.put_into(alone.partial, slot.partial / part.into)
                below = f"{part.into}/" if part.into else ""
                content.files = [*content.files, *(file._replace(path=below + file.path) for file in got.files)]
                remove_tree(alone.partial)
        finally:
            for alone in of_parts if self.claim.held.is_ours() else ():
                remove_tree(alone.partial)
                with contextlib.suppress(OSError):
                    alone.fetch.rmdir()  # where nothing came
        content.facts |= {"catalog": entry.name, "licence": entry.licence, "places": entry.shown_places, "hashes": {}}
        content.facts["hashes"] = {part.name: part.expect for part in entry.parts if part.expect}
        content.facts["published"] = all(part.expect for part in entry.parts)
        return self._publish(content)

    def _part(self, entry: ArchiveEntry, part: Part, slot: Slot) -> Content:
        """Materialize one file of the entry in `slot`: from this machine if it is there, else from its places."""
        from datastage import parts

        spec = parse(next(iter(part.addresses), f"./{part.name}"))
        unpack: Literal["auto", False] = "auto" if part.unpack else False
        options = replace(
            self.options, spec=spec, expect=part.expect, fallbacks=(), unpack=unpack, copy=True, save_to=None,
            nested=entry.nested,
        )  # fmt: skip
        keep = partial(self._keep, below=entry.name)
        work = Work(options, slot, self.here, self.reporter, keep=keep)
        folders, inputs = self._folders_and_inputs()
        kept: list[Location] = []
        looked: list[Looked] = []
        places: list[Place[Content]] = []
        late: list[Place[Content]] = []
        if self.options.save_to is not None:
            below = self._kept_folder() / entry.name
            if self.options.save_to.scheme == "bucket":
                first = late if self._is_late(part.expect) else places
                first.append((f"kept {part.name}", partial(self._part_from, below.spec(part.name), part, work)))
            elif below.is_dir():
                kept = [Location(below, f"what was kept in {self.options.save_to}")]
                if part.expect and part.size is None and (below / part.name).is_file():  # no size to look for it by
                    seen = f"{part.name}, kept in {self.options.save_to}"
                    places.append(_here(Found(FileReader(below / part.name), str(below), seen), work))
        named = replace(work, called=part.name)  # a copy may bear another name
        there = partial(parts.on_this_machine, entry, part, looked=looked, near=self.near)
        if self._is_late(part.expect):
            late += [_here(found, named) for found in there(kept)]
            kept = []
        places += [_here(found, named) for found in there([*folders, *inputs, *kept])]
        for place in (*part.addresses, *(map(str, self.options.fallbacks) if not entry.more else ())):
            places.append((place, partial(self._part_from, parse(place), part, work)))
        places_looked = {place.place: place for place in looked}.values()
        self.attempts += [Attempt(at.place, at.seen, at.seconds, f"{part.name} is not in it") for at in places_looked]
        for name, step in self._in_turn(places, late):
            content = self._try(name, step)
            if content is not None:
                return content
        raise self._failure()

    def _part_from(self, spec: Spec, part: Part, work: Work, another_is_left: bool) -> Content:
        from datastage import parts

        found, work = self._opened(spec, work, another_is_left)
        if part.expect is None and not isinstance(found.content, Path | sources.Fetch):
            parts.check_size(found.content, part)
        self.reporter.note(found.seen, "Found")
        return materialize(found, work)

    def _opened(self, spec: Spec, work: Work, another_is_left: bool) -> tuple[Found, Work]:
        """Open what a spec names, and say how patient to be with it."""
        limits = IMPATIENT if another_is_left else None
        has_hash, wait_s = work.options.expect is not None, self.options.wait
        found = sources.open_spec(
            spec, self.here, reporter=self.reporter, has_hash=has_hash, limits=limits, wait_s=wait_s
        )
        return found, replace(work, limits=limits)

    # --- a spec's steps

    def _from_spec(self, spec: Spec, another_is_left: bool) -> Staged:
        work = Work(self.options, self.claim.slot, self.here, self.reporter, keep=self._keep)
        found, work = self._opened(spec, work, another_is_left)
        self.reporter.note(found.seen, "Found")
        content = materialize(found, work)
        if self.options.save_to is not None and (several := saved_copy.came_as_several(content.facts)) is not None:
            self.reporter.note(several, "Not kept")
        return self._publish(content)

    # --- what earlier sessions kept

    def _kept_folder(self) -> Any:
        """Return the folder of this machine, or of a bucket."""
        assert self.options.save_to is not None
        return saved_copy.place_of(self.options.save_to, self.here, self.reporter)

    def _from_kept(self, kept: saved_copy.SavedCopy, another_is_left: bool) -> Staged:
        with contextlib.closing(kept.open()) as reader:
            check_digests(reader, {"sha256": kept.sha256})
        seen = f"{kept.path.name}, kept in {self.options.save_to}"
        self.reporter.note(seen + (": no place gives it anew" if self._is_late(self.options.expect) else ""), "Found")
        work = Work(self.options, self.claim.slot, self.here, self.reporter)
        content = materialize(Found(kept.open(), str(self.options.save_to), seen), work)
        content.facts.pop("source_path", None)  # the source is what the spec names; the kept file may go
        return self._publish(content)

    def _keep(self, path: Path, name: str, below: str = "") -> None:
        """Keep a file for the next session, if that was asked for, and say so."""
        if (save_to := self.options.save_to) is not None:
            key = self.options.source_key(self.here.cwd)
            saved_copy.keep_and_say(path, save_to, key, self.here, self.reporter, name=name, below=below)

    # --- the end

    def _publish(self, content: Content) -> Staged:
        entry, slot = self.entry, self.claim.slot
        in_place = content.path is not None
        if in_place:
            fresh_folder(slot.partial)
        attempts = [
            {"place": a.place, "seen": a.seen, "seconds": round(a.seconds, 3), "failure": a.failure}
            for a in self.attempts
        ]
        receipt: dict[str, Any] = {
            "spec": str(self.options.spec),
            "fallbacks": [str(spec) for spec in self.options.fallbacks],
            "cwd": str(self.here.cwd),
            "entry": entry.name if entry else None,
            "licence": entry.licence if entry else None,
            "staged_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.began, 3),
            "folder": str(content.path or slot.final),
            "in_place": in_place,
            "single": content.single,
            "attempts": values_without_secrets(attempts),
            **content.facts,
        }
        written = self.claim.publish(receipt, content.files, durable=store.outlives_machine(slot.root, self.here))
        return Staged(content.path or (slot.final / content.single if content.single else slot.final), written)


def _here(found: Found, work: Work) -> Place[Content]:
    return found.seen, lambda another_is_left: materialize(found, work)


def _is_on_web(place: str) -> bool:
    return place.startswith(("https://", "http://")) or sources.address_of(parse(place)) is not None


def _mirror_name(entry: Entry, number: int) -> str:
    return next(download.urls for download in entry.downloads if number < len(download.urls))[number].split("/")[2]
