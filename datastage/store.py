"""What is there for a request, or the claim to fill its place; and publishing, so that a folder is whole or not there.

Order of operations in `publish`, each step safe to be the last one:

1. The list of files and then the receipt are written into the partial folder.
2. Where the disk outlives the machine, its file system is synced once.
3. A lock that was lost meanwhile ends it here. If ROOT/NAME exists it is renamed to NAME.old.
4. The partial folder is renamed to ROOT/NAME; the root itself is synced where step 2 was done.
5. What NAME.old holds beside what was staged, somebody's own files, is moved into ROOT/NAME; then NAME.old is removed.

After a kill between 3 and 4 only the old folder is there: `recover` puts it back. After a later one it does step 5.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datastage import additions, own_files, slots, staged
from datastage.errors import IntegrityError, SpecError, StorageError, while_doing
from datastage.lock import Held, Holder, locked
from datastage.mounts import starting_with
from datastage.own_files import remove_tree
from datastage.progress import SILENT, Reporter, few
from datastage.reader import FileRecord, is_unchanged
from datastage.runtime import Runtime
from datastage.slots import OWN_FOLDER, Slot
from datastage.staged import Staged

_TRIES = 20


def staged_at(path: Path) -> Staged | None:
    """Return what this user staged at `path`: the folder, or the one file in it; None if it is no such thing."""
    for folder in (path, path.parent):
        receipt = staged.receipt_of(folder)
        if receipt is None or receipt.get("in_place"):
            continue
        if folder != path and receipt.get("single") != path.name:
            continue
        # `extract` makes no mark; data that is attached may not be written to.
        if slots.is_proven(slots.slot_of(folder.parent, folder.name), receipt) or os.access(folder, os.W_OK):
            single = receipt.get("single")
            return Staged(folder / single if single else folder, receipt)
    return None


# --- the door: what is there, or the claim to fill the place


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the store."""

    key: str
    specs: list[str]
    stem: str
    name: str | None = None
    is_entry: bool = False
    refresh: bool = False
    known: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)  # digests in an entry of the user's own
    places: frozenset[str] = frozenset()  # of such an entry without digests
    elsewhere: Callable[[str, Path], Path | None] = lambda source, staged: None  # what the words lead to by now
    make_receipt: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to fill a place, under its lock."""

    slot: Slot
    reporter: _Told
    key: str
    token: str
    held: Held

    def publish(self, receipt: Mapping[str, Any], files: Sequence[FileRecord], *, durable: bool) -> dict[str, Any]:
        """Put the partial folder in its place, with this receipt; return the receipt as written."""
        own = {"key": self.key, "name": self.slot.name, "at": str(self.slot.final), "token": self.token}
        own |= staged.counts(files) | {"steps": self.reporter.steps()}
        receipt, told = {**own, **receipt}, self.reporter
        written = publish(self.slot, receipt, files, durable=durable, check=self.held.check, reporter=told)
        remove_tree(self.slot.fetch)
        return written


@contextlib.contextmanager
def ask(root: Path, wanted: Wanted, reporter: Reporter) -> Iterator[Staged | Claim]:
    """Give what is there for a request, or the claim to fill its place.

    If the block ends without publishing, what is unfinished is removed; bytes that were fetched stay for the next run,
    but after an `IntegrityError`, or a `SpecError` without a name. An `OSError` becomes a `StorageError`.
    """
    slot, found = _choose(root, wanted, reporter)
    if found is None and not wanted.refresh:
        found = _already(slot, wanted, reporter)
    if found is not None:
        tidy(slot)
        yield found
        return
    slot = replace(slot, own=slots.make_own_folder(root))
    if own_files.is_shared(root):
        reporter.note(f"others may write in {root}; unfinished files are kept in {slot.own.name}")
    with waited_for(slot, reporter) as held:
        recover(slot, reporter)
        found = None if wanted.refresh else _already(slot, wanted, SILENT)  # what is amiss was said before
        if found is None:
            _check_free(slot, wanted.key)
            with while_doing("writing the files"), _cleared_up(slot, held, wanted):
                mark = slots.write_mark(slot, wanted.specs)
                yield Claim(slot, _Told(reporter, held), wanted.key, mark["token"], held)
        else:
            yield found


@contextlib.contextmanager
def _cleared_up(slot: Slot, held: Held, wanted: Wanted) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not held.is_ours():
            raise  # what lies there now is another's
        remove_tree(slot.partial)
        # Wrong bytes are never kept, nor those that no line in other words goes on with: its folder has another name.
        if isinstance(error, IntegrityError) or (isinstance(error, SpecError) and wanted.name is None):
            remove_tree(slot.fetch)
        elif slot.fetch.is_dir() and not any(slot.fetch.iterdir()):
            slot.fetch.rmdir()
        if not os.path.lexists(slot.final):
            own_files.unlink(slot.mark)
        raise


def _choose(root: Path, wanted: Wanted, reporter: Reporter) -> tuple[Slot, Staged | None]:
    """Choose the place for a request, beside what others put there; what one staged is used if its bytes are known."""
    if wanted.name is not None:
        first = slots.checked_name(wanted.name)
    elif wanted.is_entry:
        first = wanted.stem
    else:
        stem = slots.safe_name(wanted.stem)
        first = f"{stem}-{wanted.key[:4]}"
        receipt = staged.receipt_of(root / first)
        is_ours = os.path.lexists(root / first) and _owner(root / first) is None
        if is_ours and (receipt is None or receipt["key"] != wanted.key):
            first = f"{stem}-{wanted.key[:10]}"  # two requests whose short hashes are the same
    for number in range(1, 1000):
        name = first if number == 1 else f"{first}-{number}"
        owner = _owner(root / name)
        found = None if owner is None or wanted.refresh else _of_another(root / name, wanted)
        if owner is None or found is not None:
            return slots.slot_of(root, name), found
        reporter.note(f"{root / name} was staged by {owner}, and cannot be compared: staging it anew.")
    raise StorageError(f"There is no free name for {first} in {root}.", "Next: choose another folder with root=.")


def _owner(folder: Path) -> str | None:
    """Return the name of the other user whose folder this is; None if it is ours, or nothing, or no folder."""
    try:
        seen = folder.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(seen.st_mode) or own_files.is_ours(folder, seen):
        return None
    return own_files.owner_name(seen)


def _already(slot: Slot, wanted: Wanted, reporter: Reporter) -> Staged | None:
    """Return what is there for this very request, if it is whole and its source has not changed."""
    receipt = staged.receipt_of(slot.final)
    if receipt is None or receipt["key"] != wanted.key:
        return None
    if wanted.is_entry and receipt.get("n_files", 0) < len(wanted.known):
        return None
    if (as_listed := _is_as_listed(receipt, wanted)) is False:
        reporter.note("The catalog names other data than what is there: bringing that.")
        return None
    path = Path(receipt["folder"]) if receipt.get("in_place") else slot.final
    if receipt.get("single") and not receipt.get("in_place"):
        path = slot.final / receipt["single"]
    if not path.exists() or not staged.looks_whole(slot.final, receipt):
        reporter.note("Files of the copy that was ready are missing: preparing it again.")
        return None
    if staged.is_of_an_earlier_session(slot.final) and not staged.sample_is_right(slot.final, receipt):
        reporter.note("Files of the copy that an earlier session left are damaged: preparing it again.")
        return None
    source, told = receipt.get("source_path"), {**receipt, "reused": True, "unchanged": False}
    if source and not receipt.get("attempts") and (now := wanted.elsewhere(source, path)) is not None:
        reporter.note(f"{wanted.specs[0]} was {source}, and leads to {now} by now: preparing that.")
        return None
    if source and receipt.get("identity"):
        # A source that cannot be seen now (detached, not mounted) changes nothing.
        with contextlib.suppress(OSError):
            is_same = is_unchanged(source, receipt["identity"])
            what = f"The {'folder' if os.path.isdir(source) else 'file'} {Path(source).name}"
            if is_same is False:
                reporter.note(f"{what} has changed since it was copied: preparing it again.")
                return None
            if is_same is None and not receipt.get("in_place"):
                reporter.note(f"{what} was not compared file by file: refresh=True copies it anew.")
            told["unchanged"] = bool(is_same)
    for part, identity in (receipt.get("part_files") or {}).items():
        with contextlib.suppress(OSError):
            if is_unchanged(part, str(identity)) is False:
                reporter.note(f"The file {Path(part).name} has changed since it was read: preparing it again.")
                return None
    _say_of_listed(receipt, wanted, as_listed, reporter)
    staged.mark_used(slot.final)
    return Staged(path, told)


def _is_as_listed(receipt: Mapping[str, Any], wanted: Wanted) -> bool | None:
    """Tell whether the digests that a catalog lists now are those that the data was checked by; None if none compares.

    Digests of other algorithms do not, and their lengths tell them: earlier versions wrote them bare.
    """
    hashes = receipt.get("hashes") or {}
    if wanted.is_entry and not receipt.get("published"):  # made of another form of the data
        return True
    had = {name: str(digest).rpartition(":")[2].lower() for name, digest in hashes.items()}
    compares = True
    for name in wanted.listed if not wanted.is_entry else wanted.listed.keys() & had.keys():
        digest = wanted.listed[name].rpartition(":")[2].lower()
        if digest in had.values():
            continue
        if any(len(digest) == len(one) for one in ([had[name]] if wanted.is_entry else had.values())):
            return False
        compares = False
    return compares or None


def _say_of_listed(receipt: Mapping[str, Any], wanted: Wanted, as_listed: bool | None, reporter: Reporter) -> None:
    """Say of data that is ready what it was not compared with: a digest or a place that the catalog names by now."""
    if as_listed is None:
        reporter.note("It was not checked by the digest that the catalog lists by now: refresh=True does that.")
    if wanted.places.isdisjoint(before := receipt.get("places") or wanted.places) and wanted.places:
        shown = few(map(str, before), 2)
        reporter.note(f"It came from {shown}, and the catalog names another place by now: refresh=True asks that.")


def _of_another(folder: Path, wanted: Wanted) -> Staged | None:
    """Return what another user staged, if every byte of it has the digests that are known for the request."""
    seen = folder.lstat()
    owner = own_files.owner_name(seen)
    known = dict(wanted.known)
    try:
        names = set(staged.walk(folder)) - staged.OWN_NAMES
        if "" in known and len(names) == 1:
            known = {next(iter(names)): known[""]}
        if not known or not set(known) <= names:
            return None
        if not all(_has_digest(folder / name, *digest) for name, digest in known.items()):
            return None
    except PermissionError:
        raise _closed(folder, owner) from None
    except OSError:  # it is being changed, or is no plain file
        return None
    single = next(iter(names)) if "" in wanted.known else None
    receipt = {
        **{"key": wanted.key, "name": folder.name, "spec": wanted.specs[0], "folder": str(folder), "single": single},
        **{"place": f"{folder}, staged by {owner}", "seen": f"what {owner} staged in {folder}", "reused": True},
        **{"n_files": len(known), "published": wanted.is_entry, "hashes": {k: ":".join(v) for k, v in known.items()}},
        **wanted.make_receipt,
    }
    return Staged(folder / single if single else folder, receipt)


def _has_digest(path: Path, algorithm: str, digest: str) -> bool:
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    with own_files.plain_file(path) as file:
        return hashlib.file_digest(file, lambda: hashed).hexdigest() == digest.lower()


def _check_free(slot: Slot, key: str) -> None:
    """Raise `StorageError` if something that is not ours for this request is where the folder should go."""
    if not os.path.lexists(slot.final):
        return
    receipt = staged.receipt_of(slot.final)
    if receipt is not None and receipt["key"] == key:
        return
    remedy = []
    moved = staged.read_receipt(slot.final) if receipt is None and not slot.final.is_symlink() else None
    if moved is not None and staged.written_for(moved):
        what = f"was staged as {staged.written_for(moved)} and was moved or copied here"
        remedy = [f"To use it, after a look at every file:  datastage verify {shlex.quote(str(slot.final))} --adopt"]
    else:
        what = _what_is_there(slot.final, receipt)
    raise StorageError(
        f"{slot.final} {what}; it was not made for this, and is not touched.",
        *remedy,
        f"Next: choose another name, such as name={slots.free_name(slot)!r}, or another folder with root=.",
        filename=slot.final,
    )


def _what_is_there(path: Path, receipt: Mapping[str, Any] | None) -> str:
    if receipt is not None:
        return f"holds {receipt.get('spec', 'something else')}, staged with other options"
    if path.is_symlink():
        return "is a link"
    if not path.is_dir():
        return "is a file"
    try:
        names = sorted(item.name for item in path.iterdir())
    except OSError:
        raise _closed(path, own_files.owner_name(path.lstat())) from None
    return f"holds {few(names, 3)}" if names else "is an empty folder"


def _closed(folder: Path, owner: str) -> StorageError:
    return StorageError(
        f"{folder} belongs to {owner}, and may not be read.",
        f"Ask {owner} to let you read it, or stage it for yourself under another name or root.",
        "Next: choose another name with name=, or another folder with root=.",
        code=errno.EACCES,
        filename=folder,
    )


# --- waiting


@contextlib.contextmanager
def waited_for(slot: Slot, reporter: Reporter) -> Iterator[Held]:
    """Hold the lock of a slot; while another process holds it, show who that is and how far it is."""
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

    with contextlib.ExitStack() as stack:
        stack.callback(slots.leave_no_empty_folder, slot.own)  # once it is let go
        for tries_left in range(_TRIES, -1, -1):
            lock = locked(slot.lock, on_wait=say, on_progress=show, beside=_locks_of_others(slot))
            try:
                held = stack.enter_context(lock)
                break
            except StorageError as error:
                if error.errno != errno.ENOENT or not tries_left:
                    raise
                slots.make_own_folder(slot.root)  # who was done before us took our folder away, which was empty
        yield held


def _locks_of_others(slot: Slot) -> list[Path]:
    """Return the lock files that other users of the root would hold for the same name."""
    folders = starting_with(slot.root, OWN_FOLDER)
    return [folder / slot.lock.name for folder in folders if folder.name != slot.own.name]


class _Told:
    """A reporter that also tells those who wait for the lock, and knows how long each step took."""

    def __init__(self, reporter: Reporter, held: Held) -> None:
        self._reporter, self._held = reporter, held
        self.note = reporter.note
        self._begun: list[tuple[str, float]] = []

    def steps(self) -> dict[str, float]:
        """Return the seconds of what was done so far, by its first word: copying, unpacking."""
        taken: dict[str, float] = {}
        ends = [*(began for _, began in self._begun[1:]), time.monotonic()]
        for (word, began), ended in zip(self._begun, ends):
            taken[word] = round(taken.get(word, 0.0) + ended - began, 3)
        return taken

    def phase(self, name: str, total_bytes: int | None) -> None:
        word = name.partition(" ")[0]
        if not self._begun or self._begun[-1][0] != word:
            self._begun.append((word, time.monotonic()))
        self._held.phase(name, total_bytes)
        self._reporter.phase(name, total_bytes)

    def advance(self, n_bytes: int) -> None:
        self._held.advance(n_bytes)
        self._reporter.advance(n_bytes)

    def resume(self, n_bytes: int) -> None:
        self._held.advance(n_bytes)
        getattr(self._reporter, "resume", self._reporter.advance)(n_bytes)  # one of a user's own may lack it


# --- publishing


def recover(slot: Slot, reporter: Reporter = SILENT) -> None:
    """Put right what a killed run may have left: an old folder, with a new one or without. Call it under the lock."""
    if os.path.lexists(slot.old):
        if os.path.lexists(slot.final):
            additions.leave_old(slot, additions.of(slot.old, slot.final, slot), reporter)
        else:
            os.rename(slot.old, slot.final)
    # Where an earlier version put what it was about to replace.
    older = slot.root / f".{slot.name}.old"
    if not os.path.lexists(slot.final) and os.path.lexists(older) and not older.is_symlink():
        receipt = staged.read_receipt(older)
        if receipt is not None and staged.written_for(receipt) == str(slot.final):
            os.rename(older, slot.final)


def tidy(slot: Slot) -> None:
    """Remove what a run that was killed after it published left, which may be much; nothing while one works there."""
    beside = (slot.partial, slot.fetch, slot.repair)
    if not any(os.path.lexists(path) for path in (*beside, slot.old, slot.lock)) or not slots.is_marked(slot.own):
        return
    with contextlib.suppress(OSError), locked(slot.lock, timeout_s=0):  # our own errors of locking are OSErrors too
        if os.path.lexists(slot.final):
            recover(slot)
            for path in beside:
                remove_tree(path)


@while_doing("putting the folder in place")
def publish(
    slot: Slot,
    receipt: Mapping[str, Any],
    files: Iterable[FileRecord],
    *,
    durable: bool,
    check: Callable[[], None] = lambda: None,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Make the partial folder the dataset's, under the lock, as the module says; `check` raises if that was lost."""
    added: list[str] = []
    try:
        written = staged.write_receipt(slot.partial, receipt, files)
        if durable:
            sync_file_system(slot.partial)
        check()
        if os.path.lexists(slot.final):
            recover(slot)
            added = additions.of(slot.final, slot.partial, slot)
            os.rename(slot.final, slot.old)
        os.rename(slot.partial, slot.final)
    except BaseException:
        recover(slot)
        raise
    if durable:
        with (
            contextlib.suppress(OSError),
            own_files.opened(slot.root) as folder,
        ):  # it is whole and in place: no way back
            os.fsync(folder)
    additions.leave_old(slot, added, reporter)
    return written


def outlives_machine(folder: Path, here: Runtime) -> bool:
    """Tell whether the disk of `folder` outlives the machine: as the fast disk does; another disk is taken to."""
    if here.disk_outlives_machine:
        return True
    disk = next((f for f in (here.fast_disk, *here.fast_disk.parents) if f.exists()), None)
    try:
        return disk is None or os.stat(folder).st_dev != os.stat(disk).st_dev
    except OSError:
        return True


def sync_file_system(folder: Path) -> None:
    """Have all that was written to the file system of `folder` on its disk."""
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        with own_files.opened(folder) as fd:
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(folder))
    elif hasattr(os, "sync"):
        os.sync()
