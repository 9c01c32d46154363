"""The conductor: a request goes along its chain of places until one gives the data, whole, and it is published.

Here: which places are tried and in what order, what each attempt saw, and publishing what one of them gave. Not here:
how a place is reached (`sources`), what happens to what it gives (`contents`), where the folder ends up (`place`), what
a person sees (`show`).
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datastage import archives, contents, datasets, keeping, place, runtime, sources, transfer
from datastage.contents import Content, Taker
from datastage.datasets import ArchiveEntry, Entry
from datastage.errors import (
    Attempt,
    ChecksumError,
    DatastageError,
    IntegrityError,
    MissingDependencyError,
    StorageError,
    UnavailableError,
)
from datastage.lock import Held, Holder, locked
from datastage.place import Slot, Staged, StagedFile
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader, stat_identity
from datastage.request import Request
from datastage.runtime import Runtime
from datastage.sources import Found, http, manual, parse, search
from datastage.spec import Spec

# Nor is it waited for long, where another is left: a mirror that answers "busy" may do so all day.
IMPATIENT = transfer.Limits(tries=2, longest_wait_s=2.0, longest_retry_after_s=5.0)


def stage(request: Request, here: Runtime, *, reporter: Reporter = SILENT) -> Staged:
    """Put the data of `request` in its folder, and return it. See `datastage.stage`, which this is.

    Parameters
    ----------
    request : Request
        What is wanted.
    here : Runtime
        Where we are.
    reporter : Reporter
        Told of every phase.
    """
    named = datasets.get(request.spec.value) if request.spec.scheme == "name" else None
    if isinstance(named, ArchiveEntry):
        first, *rest = map(parse, named.places)
        name = request.name or named.name
        request = replace(request, spec=first, fallbacks=(*rest, *request.fallbacks), expect=named.expect, name=name)
    entry = named if isinstance(named, Entry) else None
    root = root_folder(request.root, here)
    key = request.key(here.cwd)
    slot = _slot(root, request, entry, key)
    staged = None if request.refresh else _already(slot, key, reporter)
    if staged is None:
        with waited_for(slot.lock, reporter) as held:
            place.recover(slot)
            staged = None if request.refresh else _already(slot, key, reporter)
            if staged is None:
                _check_free(slot, key)
                staged = _Stager(request, here, _Told(reporter, held), slot, key, entry, held).run()
    else:
        place.tidy(slot)
    if request.link is not None:
        place.link_into(here.cwd / request.link, _link_items(staged))
    return staged


def root_folder(asked: Path | None, here: Runtime) -> Path:
    """Return the folder under which datasets go: the one asked for, else ``DATASTAGE_ROOT``, else the fast disk."""
    folder = asked or here.root_setting
    if folder is not None:
        return place.usable_root(here.cwd / folder.expanduser())
    return place.usable_root(here.fast_disk, shared=here.fast_disk_shared)


@contextlib.contextmanager
def waited_for(path: Path, reporter: Reporter) -> Iterator[Held]:
    """Hold the lock `path`; while another process holds it, show who that is and how far it is."""
    shown: Holder | None = None

    def show(now: Holder) -> None:
        nonlocal shown
        same = shown is not None and (shown.doing, shown.total_bytes) == (now.doing, now.total_bytes)
        if shown is None or not same or now.done_bytes < shown.done_bytes:
            reporter.phase(f"{now.who}: {now.doing}", now.total_bytes)
            shown = replace(now, done_bytes=0)
        reporter.advance(now.done_bytes - shown.done_bytes)
        shown = now

    def say(who: str) -> None:
        reporter.note(f"for {who}, which prepares the same data", "Waiting")

    with locked(path, on_wait=say, on_progress=show) as held:
        yield held


class _Told:
    """A reporter that also tells those who wait for the lock."""

    def __init__(self, reporter: Reporter, held: Held) -> None:
        self._reporter, self._held = reporter, held
        self.note = reporter.note

    def phase(self, name: str, total_bytes: int | None) -> None:
        self._held.phase(name, total_bytes)
        self._reporter.phase(name, total_bytes)

    def advance(self, n_bytes: int) -> None:
        self._held.advance(n_bytes)
        self._reporter.advance(n_bytes)

    def resume(self, n_bytes: int) -> None:
        self._held.advance(n_bytes)
        self._reporter.resume(n_bytes)


def outlives_machine(folder: Path, here: Runtime) -> bool:
    """Tell whether the disk of `folder` outlives the machine: as the fast disk does; another disk is taken to."""
    if here.disk_outlives_machine:
        return True
    disk = next((f for f in (here.fast_disk, *here.fast_disk.parents) if f.exists()), None)
    try:
        return disk is None or os.stat(folder).st_dev != os.stat(disk).st_dev
    except OSError:
        return True


def _slot(root: Path, request: Request, entry: Entry | None, key: str) -> Slot:
    if request.name is not None:
        return Slot(root, place.checked_name(request.name))
    if entry is not None:
        return Slot(root, entry.name)
    stem = place.safe_name(archives.stem_of(request.spec.file_name) or request.spec.scheme)
    short = Slot(root, f"{stem}-{key[:4]}")
    receipt = place.read_receipt(short.final)
    if short.final.exists() and (receipt is None or receipt["key"] != key):
        return Slot(root, f"{stem}-{key[:10]}")  # two requests whose short hashes are the same
    return short


def _already(slot: Slot, key: str, reporter: Reporter) -> Staged | None:
    """Return what is there for this very request, if it is whole and its source has not changed."""
    receipt = place.read_receipt(slot.final)
    if receipt is None or receipt["key"] != key:
        return None
    path = Path(receipt["folder"]) if receipt.get("in_place") else slot.final
    if receipt.get("single") and not receipt.get("in_place"):
        path = slot.final / receipt["single"]
    if not path.exists() or not place.looks_whole(slot.final, receipt):
        reporter.note("Files of the copy that was ready are missing: preparing it again.")
        return None
    if place.is_of_an_earlier_session(slot.final) and not place.sample_is_right(slot.final, receipt):
        reporter.note("Files of the copy that an earlier session left are damaged: preparing it again.")
        return None
    source = receipt.get("source_path")
    if source and receipt.get("identity"):
        # One stat tells; a source that cannot be seen now (detached, not mounted) changes nothing.
        with contextlib.suppress(OSError):
            if stat_identity(os.stat(source)) != receipt["identity"]:
                reporter.note(f"The file {Path(source).name} has changed since it was copied: preparing it again.")
                return None
    place.mark_used(slot.final)
    return Staged(path, {**receipt, "reused": True})


def _check_free(slot: Slot, key: str) -> None:
    """Raise `StorageError` if something that is not ours for this request is where the folder should go."""
    if not os.path.lexists(slot.final):
        return
    receipt = place.read_receipt(slot.final)
    if receipt is not None and receipt["key"] == key:
        return
    free = next(f"{slot.name}-{n}" for n in range(2, 10_000) if not os.path.lexists(slot.root / f"{slot.name}-{n}"))
    if receipt is not None:
        what = f"holds {receipt.get('spec', 'something else')}, staged with other options"
    elif slot.final.is_dir():
        names = sorted(path.name for path in slot.final.iterdir())
        what = f"holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "is an empty folder"
    else:
        what = "is a file"
    raise StorageError(
        f"{slot.final} {what}; it was not made for this, and is not touched.",
        f"Next: choose another name, such as name={free!r}, or another folder with root=.",
        filename=slot.final,
    )


def _link_items(staged: Staged) -> list[tuple[str, Path]]:
    receipt = staged.receipt
    if receipt.get("single"):
        return [(receipt["single"], staged.path)]
    if receipt.get("in_place"):
        return [(staged.path.name, staged.path)]
    if receipt.get("stripped"):
        return [(receipt["stripped"], staged.path)]
    return [(path.name, path) for path in sorted(staged.iterdir())]


class _Stager:
    """One run along the chain: holds what every step needs, and the attempts made so far."""

    def __init__(
        self, request: Request, here: Runtime, reporter: Reporter, slot: Slot, key: str, entry: Entry | None, held: Held
    ) -> None:
        self.request = request
        self.here = here
        self.reporter = reporter
        self.slot = slot
        self.key = key
        self.entry = entry
        self.held = held
        self.attempts: list[Attempt] = []
        self.failures: list[DatastageError] = []
        self.near: list[search.NearMiss] = []
        self.cut_short: list[str] = []
        self.began = time.monotonic()

    def run(self) -> Staged:
        try:
            steps = self._entry_chain() if self.entry is not None else self._spec_chain()
            for name, step in steps:
                staged = self._try(name, step)
                if staged is not None:
                    return staged
            raise self._failure()
        except BaseException as error:
            if not self.held.is_ours():
                raise  # what lies there now is another's
            place.remove_tree(self.slot.partial)
            if isinstance(error, IntegrityError):
                place.remove_tree(self.slot.fetch)  # wrong bytes are never kept
            elif self.slot.fetch.is_dir() and not any(self.slot.fetch.iterdir()):
                self.slot.fetch.rmdir()
            if isinstance(error, OSError) and not isinstance(error, DatastageError):
                raise StorageError.of(error, "writing the files") from error
            raise

    def _try(self, name: str, step: Callable[[], Staged | None]) -> Staged | None:
        began = time.monotonic()
        try:
            staged = step()
        except (UnavailableError, IntegrityError, MissingDependencyError) as error:
            seconds = time.monotonic() - began
            self.attempts.append(Attempt(name, "", seconds, str(error.args[0]), error.remedy))
            self.failures.append(error)
            return None
        return staged  # None: the step has said itself what it saw

    def _failure(self) -> DatastageError:
        """Make the error of a chain that gave nothing."""
        real = [error for error in self.failures if not isinstance(error, MissingDependencyError)]
        if self.entry is None:
            if len(self.failures) == 1 and not self._kaggle_is_offline():
                error = self.failures[0]
                if isinstance(error, UnavailableError) and not error.attempts:
                    error.attempts = tuple(self.attempts)
                return error
            if real and all(isinstance(error, IntegrityError) for error in real):
                return real[0]
        inputs = [item.slug for item in sources.kaggle.inputs(self.here.input_root)]
        return manual.manual_instructions(
            self._wanted(), self.here, self.attempts, near=self.near, inputs=inputs, cut_short=self.cut_short
        )

    def _kaggle_is_offline(self) -> bool:
        """Tell whether it is Kaggle's switch, and no server, that an address failed for: then its clicks help."""
        return (
            self.here.platform == "kaggle"
            and sources.address_of(self.request.spec) is not None
            and isinstance(self.failures[0], UnavailableError)
            and manual.is_offline(self.attempts)
        )

    def _wanted(self) -> manual.Wanted:
        entry = self.entry
        if entry is None:
            spec = self.request.spec
            url = sources.address_of(spec)
            return manual.Wanted(spec.file_name or str(spec), spec.file_name, None, url, None, None, str(spec))
        # Of the addresses a person is given the first: a fast copy, byte for byte the published file.
        addresses = [download.urls[0] for download in entry.downloads if download.urls]
        return manual.Wanted(
            entry.title,
            entry.downloads[0].name if entry.downloads else entry.name,
            entry.download_bytes,
            addresses[0] if addresses else entry.homepage or None,
            entry.search_words or entry.title,
            entry.shows or entry.needed,
            entry.name,
            tuple(addresses[1:]),
        )

    # --- the chains

    def _spec_chain(self) -> Iterator[tuple[str, Callable[[], Staged | None]]]:
        if self.request.save_to is not None:
            kept = keeping.find(self._kept_folder(), self.request.source_key(self.here.cwd))
            if kept is not None:
                yield f"kept {kept.path.name}", lambda: self._from_kept(kept)
        specs = (self.request.spec, *self.request.fallbacks)
        slow: list[Spec] = []
        for number, spec in enumerate(specs):
            is_last = number == len(specs) - 1 and not slow

            def step(spec: Spec = spec, is_last: bool = is_last) -> Staged | None:
                try:
                    return self._from_spec(spec, not is_last)
                except transfer.TooSlow:
                    slow.append(spec)
                    raise

            yield str(spec), step
        for spec in slow:
            yield str(spec), lambda spec=spec: self._from_spec(spec, False)  # type: ignore[misc]

    def _entry_chain(self) -> Iterator[tuple[str, Callable[[], Staged | None]]]:
        """Every silent place first; what opens a window last, and the slow ones after that."""
        entry = self.entry
        assert entry is not None
        folders = [
            search.Location(folder, f"the folder {folder}") for folder in self.here.search_path if folder.is_dir()
        ]
        if folders:
            yield "DATASTAGE_PATH", lambda: self._search(folders)
        packages = [
            search.Location(folder, f"the package {_package(folder)}") for folder in datasets.package_folders(entry)
        ]
        if packages:
            yield "installed packages", lambda: self._search(packages)
        inputs = [search.Location(item.path, item.called) for item in sources.kaggle.inputs(self.here.input_root)]
        if inputs:
            yield "inputs", lambda: self._search(inputs)
        if self.request.save_to is not None and (kept := self._kept_folder() / entry.name).is_dir():
            yield str(kept), lambda: self._search([search.Location(kept, f"what was kept in {self.request.save_to}")])
        on_drive = self._named_on_drive(entry)
        if on_drive:
            yield "Drive", lambda: self._search(on_drive)
        slow: list[int] = []
        mirrors = max((len(download.urls) for download in entry.downloads), default=0)
        for number in range(mirrors):
            is_last = number == mirrors - 1 and not slow and not self.request.fallbacks

            def step(number: int = number, is_last: bool = is_last) -> Staged | None:
                try:
                    return self._download(number, not is_last)
                except transfer.TooSlow:
                    slow.append(number)
                    raise

            yield self._mirror_name(number), step
        for spec in self.request.fallbacks:
            yield str(spec), lambda spec=spec: self._entry_from(spec)  # type: ignore[misc]
        for number in slow:
            yield self._mirror_name(number), lambda number=number: self._download(number, False)  # type: ignore[misc]

    def _named_on_drive(self, entry: Entry) -> list[search.Location]:
        """Return the files of an entry's own names in a mounted Drive. Named paths only: a Drive is never listed."""
        names = [download.name for download in entry.downloads] + [f"{entry.name}.zip"]
        found = []
        for mount in runtime.drive_mounts():
            if not mount.alive:
                continue
            for folder in ("MyDrive", "MyDrive/Colab Notebooks"):
                for name in names:
                    with contextlib.suppress(OSError):
                        if (mount.path / folder / name).is_file():
                            found.append(search.Location(mount.path / folder / name, f"{name} in your Drive"))
        return found

    def _mirror_name(self, number: int) -> str:
        entry = self.entry
        assert entry is not None
        urls = next(download.urls for download in entry.downloads if number < len(download.urls))
        return urls[number].split("/")[2]

    # --- an entry's steps

    def _search(self, places: Sequence[search.Location]) -> Staged | None:
        """Look for the entry's files by content in `places`; stage what was found."""
        entry = self.entry
        assert entry is not None
        place.fresh_folder(self.slot.partial)
        result = search.find_files(
            places,
            entry.files,
            self.slot.partial,
            converters=entry.converters,
            lookalikes=entry.lookalikes,
            published=entry.downloads,
            needed=entry.needed,
            limits=search.SearchLimits(avoid=tuple(mount.path for mount in runtime.drive_mounts())),
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
        files = [StagedFile(*file) for file in result.files]
        return self._publish(Content(files, facts=facts))

    def _download(self, number: int, another_is_left: bool) -> Staged | None:
        """Fetch the entry's downloads from the mirrors of this number, then find the files in what came."""
        entry = self.entry
        assert entry is not None
        self.slot.fetch.mkdir(exist_ok=True)
        got: list[Path] = []
        for download in entry.downloads:
            url = download.urls[min(number, len(download.urls) - 1)]
            path = self.slot.fetch / download.name
            if not path.is_file():
                limits = IMPATIENT if another_is_left else None
                reader = http.open_url(url, has_hash=download.md5 is not None, limits=limits)
                try:
                    self.reporter.phase(f"copying {download.name}", reader.size or download.size)
                    transfer.fetch(
                        reader,
                        path,
                        expect={"md5": download.md5} if download.md5 else {},
                        reporter=self.reporter,
                        slow_below_bytes_s=transfer.SLOW_BYTES_S if another_is_left else None,
                        limits=limits,
                    )
                finally:
                    reader.close()
            got.append(path)
        if self.request.save_to is not None and all(download.md5 for download in entry.downloads):
            for path in got:
                self._keep(path, path.name, entry.name)
        host = self._mirror_name(number)
        staged = self._search([search.Location(path, f"{path.name} from {host}") for path in got])
        if staged is None:
            place.remove_tree(self.slot.fetch)
        return staged

    def _entry_from(self, spec: Spec) -> Staged | None:
        """Look for the entry's files in what another spec names."""
        found = sources.open_spec(spec, self.here, reporter=self.reporter)
        with contents.opened(found, self.slot, self.reporter) as content:
            return self._search([search.Location(content, found.seen)])

    # --- a spec's steps

    def _from_spec(self, spec: Spec, another_is_left: bool) -> Staged:
        limits = IMPATIENT if another_is_left else None
        has_hash = self.request.expect is not None
        found = sources.open_spec(spec, self.here, reporter=self.reporter, has_hash=has_hash, limits=limits)
        self.reporter.note(found.seen, "Found")
        slow_below = transfer.SLOW_BYTES_S if another_is_left else None
        keep = self._keep if self.request.save_to is not None else None
        taker = Taker(self.request, self.slot, self.here, self.reporter, slow_below, limits, keep)
        return self._publish(taker.take(found))

    # --- what earlier sessions kept

    def _kept_folder(self) -> Path:
        assert self.request.save_to is not None
        return keeping.folder_of(self.request.save_to, self.here, self.reporter)

    def _from_kept(self, kept: keeping.Kept) -> Staged:
        reader = FileReader(kept.path)
        found = Found(reader, f"{self.request.save_to}", f"{kept.path.name}, kept in {self.request.save_to}")
        self.reporter.note(found.seen, "Found")
        request = replace(self.request, expect=f"sha256:{kept.sha256}")
        content = Taker(request, self.slot, self.here, self.reporter).take(found)
        content.facts.pop("source_path", None)  # the source is the address; the kept file may go
        return self._publish(content)

    def _keep(self, path: Path, name: str, below: str = "") -> None:
        """Keep a fetched file for the next session; if that fails the data is still ready, and the user is told."""
        folder = self._kept_folder() / below
        try:
            key = self.request.source_key(self.here.cwd)
            keeping.keep(path, folder, key, name=name, reporter=self.reporter)
            self.reporter.note(f"{name} in {self.request.save_to} for the next session", "Kept")
        except StorageError as error:
            self.reporter.note(str(error.args[0]), "Not kept")

    # --- the end

    def _publish(self, content: Content) -> Staged:
        entry = self.entry
        in_place = content.path is not None
        if in_place:
            place.fresh_folder(self.slot.partial)
        receipt: dict[str, Any] = {
            "key": self.key,
            "name": self.slot.name,
            "spec": str(self.request.spec),
            "fallbacks": [str(spec) for spec in self.request.fallbacks],
            "entry": entry.name if entry else None,
            "licence": entry.licence if entry else None,
            "staged_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.began, 3),
            "folder": str(content.path or self.slot.final),
            "in_place": in_place,
            "single": content.single,
            "n_files": len(content.files),
            "n_bytes": sum(file.size for file in content.files),
            "attempts": [
                {"place": a.place, "seen": a.seen, "seconds": round(a.seconds, 3), "failure": a.failure}
                for a in self.attempts
            ],
            **content.facts,
        }
        durable = outlives_machine(self.slot.root, self.here)
        written = place.publish(self.slot, receipt, content.files, durable=durable, check=self.held.check)
        place.remove_tree(self.slot.fetch)
        path = content.path or (self.slot.final / content.single if content.single else self.slot.final)
        return Staged(path, written)


def repair(folder: Path, here: Runtime, found: place.Verification, *, reporter: Reporter = SILENT) -> tuple[str, ...]:
    """Bring the damaged and missing files of a staged folder again, from where it came, and put each in its place.

    Of an archive only those members are unpacked. Each file is compared with the list before it replaces anything.

    Parameters
    ----------
    folder : Path
        The staged folder.
    here : Runtime
        Where we are.
    found : Verification
        What `place.verify_folder` said of it.
    reporter : Reporter
        Told of every phase.

    Returns
    -------
    tuple of str
        The paths that were mended.

    Raises
    ------
    ChecksumError
        If the source holds other bytes now; nothing is replaced.
    UnavailableError
        If the source cannot be reached; nothing is replaced.
    """
    slot = Slot(folder.parent, folder.name)
    receipt = place.read_receipt(folder)
    assert receipt is not None
    lacking = {*found.damaged, *found.missing}
    wanted = [file for file in place.read_files(folder, receipt) if file.path in lacking]
    if not wanted:
        return ()
    members = None
    if receipt.get("format"):
        top = f"{receipt['stripped']}/" if receipt.get("stripped") else ""
        members = tuple(glob.escape(top + file.path) for file in wanted)
    with waited_for(slot.lock, reporter):
        again = place.fresh_folder(slot.repair)
        try:
            request = Request(
                parse(receipt["spec"]),
                tuple(parse(text) for text in receipt.get("fallbacks", ())),
                root=again,
                name="again",
                members=members,
                strip=bool(receipt.get("stripped")) if receipt.get("format") else "auto",
                copy=True,
            )
            mended = stage(request, here, reporter=reporter)
            base = mended.path.parent if mended.receipt.get("single") else mended.path
            fresh = {file.path: file for file in place.read_files(base, mended.receipt)}
            for file in wanted:
                if fresh.get(file.path) != file:
                    raise ChecksumError(
                        f"{file.path} is not in its source any more as it was when {folder.name} was staged.",
                        "Next: stage it again with refresh=True.",
                    )
            for file in wanted:
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                place.remove_tree(target) if target.is_dir() else None
                os.replace(base / file.path, target)
        except OSError as error:
            if isinstance(error, DatastageError):
                raise
            raise StorageError.of(error, "mending the files") from error
        finally:
            place.remove_tree(again)
    return tuple(file.path for file in wanted)


def _package(folder: Path) -> str:
    return next((part for part in reversed(folder.parts) if part not in ("data", "datasets")), folder.name)
