"""From what a place gave to files in the partial folder: a folder copied, a file kept, an archive unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from datastage import archives, runtime, slots, staged, transfer
from datastage.content import Content, content_of, refuse_if_changed, without_our_names
from datastage.errors import IntegrityError, NotDataError, StorageError
from datastage.file_names import lies_in
from datastage.mounts import MOUNT_READ, is_network_disk, is_on_drive
from datastage.options import FOR_LOADERS, StageOptions
from datastage.own_files import fresh_folder
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader, FileRecord, Reader, tree_identity
from datastage.slots import Slot
from datastage.sources import Fetch, Found, drive_errors


@dataclass(frozen=True, slots=True)
class Work:
    """What making content needs to know: what was asked for, where it goes, who is told, and how patient to be."""

    options: StageOptions
    slot: Slot
    here: runtime.Runtime
    reporter: Reporter
    limits: transfer.Limits | None = None  # where another place is left: then one that is slow is left for it too
    keep: Callable[[Path, str], None] | None = None  # is given each file that was fetched, proven, before it is moved
    called: str = ""  # the published name, where a copy may bear another


def materialize(found: Found, work: Work) -> Content:
    """Bring what was found into the partial folder, checked."""
    with opened(found, work.slot, work.reporter) as content:
        try:
            made = _folder(content, found, work) if isinstance(content, Path) else _file(content, found, work)
        except StorageError as error:
            path = content if isinstance(content, Path) else content.local_path
            if path is None or error.errno not in MOUNT_READ or not lies_in(error.filename or "", str(path)):
                raise  # of our own disk, but for what was read
            if is_on_drive(path, work.here.system_root):
                raise drive_errors.explain_os_error(error, path, work.here) from error
            raise
    made.facts.update(place=found.place, seen=found.seen)
    return made


def _folder(folder: Path, found: Found, work: Work) -> Content:
    if work.options.expect is not None:  # ignored, it would seem to have been checked
        raise IntegrityError(
            f"{found.place} is a folder, and one file of a known digest is needed (expect=).",
            "Next: name the file itself; a folder has no digest.",
        )
    _refuse_members(work.options, f"{found.place} is a folder")
    facts: dict[str, Any] = {"source_path": str(folder), "identity": found.identity}
    if found.in_place and not work.options.copy:
        return Content(path=folder, facts=facts)
    fresh_folder(work.slot.partial)
    if isinstance(found.content, Fetch):  # the files lie on our disk already
        facts = {"identity": found.identity}
        for path in folder.iterdir():
            os.replace(path, work.slot.partial / path.name)
        files, left_out = without_our_names(staged.list_folder(work.slot.partial), {}, work.slot.partial)
    else:
        # A root within the folder changes it each time.
        if not is_network_disk(folder) and not work.slot.root.resolve().is_relative_to(folder.resolve()):
            with contextlib.suppress(OSError):  # the copy says what is amiss
                facts["identity"] = tree_identity(folder)
        work.reporter.phase(f"copying {folder.name}", None)
        copied = transfer.copy_tree(folder, work.slot.partial, reporter=work.reporter, spec=found.place)
        files, left_out = without_our_names(copied.files, copied.left_out, work.slot.partial)
    if not files:
        raise IntegrityError(f"The folder {folder} is empty.", "Next: look whether the files are in another folder.")
    return Content(files, facts={**facts, "left_out": left_out})


def _file(reader: Reader, found: Found, work: Work) -> Content:
    options, slot = work.options, work.slot
    expect = {**found.digests, **options.digests}
    facts: dict[str, Any] = {"identity": found.identity, "hashes": dict(expect)}
    if reader.local_path is not None and not isinstance(found.content, Fetch):
        facts["source_path"] = str(reader.local_path)
    if part_files := getattr(reader, "part_files", None):
        facts["part_files"] = part_files
    fresh_folder(slot.partial)
    if reader.local_path is not None and not is_network_disk(reader.local_path):
        return _near(reader, found, facts, expect, work)
    # Over a link, or from a slow mount: unpacked as the bytes come, and proven before it is published.
    slot.fetch.mkdir(mode=0o700, exist_ok=True)
    target = slot.fetch / slots.safe_file_name(reader.name)
    work.reporter.phase(f"copying {reader.name}", reader.size)
    with transfer.ahead(
        reader,
        target,
        expect=expect,
        reporter=work.reporter,
        slow_below_bytes_s=None if work.limits is None else transfer.SLOW_BYTES_S,
        limits=work.limits,
    ) as arriving:
        content = None
        if _format(arriving, options, facts) is not None:
            on_drive = reader.local_path is not None and is_on_drive(reader.local_path, work.here.system_root)
            # Drive's client keeps whatever is read through its mount on the same disk (colabtools#1915).
            taken_bytes = (2 if on_drive else 1) * (reader.size or 0)
            try:
                content = _unpacked(arriving, facts, work, SILENT, taken_bytes)
            except IntegrityError:
                if expect:
                    arriving.finish()  # were the bytes wrong already? Then that is what is said
                raise
        else:
            _refuse_members(options, f"{reader.name} is kept as it is")
        done = arriving.finish()
        if done.n_received < done.n_bytes:
            facts["resumed_bytes"] = done.n_bytes - done.n_received
        if work.keep is not None:
            work.keep(target, reader.name)
        return content or _moved(target, reader.name, facts, slot, done)


def _near(reader: Reader, found: Found, facts: dict[str, Any], expect: dict[str, str], work: Work) -> Content:
    """Take a file that is on a disk of this machine."""
    assert reader.local_path is not None
    options, is_fetched = work.options, isinstance(found.content, Fetch)
    kind = _format(reader, options, facts)
    copies = kind is None and not is_fetched and (options.copy or not found.in_place)
    if expect and not copies:  # what is copied is hashed on its way: one reading, and the one kept
        check_digests(reader, expect)
    content = None
    if kind is not None:
        content = _unpacked(reader, facts, work, work.reporter)
        refuse_if_changed(reader)
    else:
        _refuse_members(options, f"{reader.name} is kept as it is")
    if work.keep is not None:
        work.keep(reader.local_path, reader.name)
    if content is not None:
        return content
    if is_fetched:
        return _moved(reader.local_path, reader.name, facts, work.slot)
    if not copies:
        return Content(path=reader.local_path, single=reader.name, facts=facts)
    work.reporter.phase(f"copying {reader.name}", reader.size)
    target = work.slot.partial / slots.safe_file_name(reader.name)
    done = transfer.fetch(reader, target, expect=expect, reporter=work.reporter)
    transfer.narrow(target, reader.local_path)
    return Content([FileRecord(target.name, done.n_bytes, done.crc32)], single=target.name, facts=facts)


def _refuse_members(options: StageOptions, what: str) -> None:
    if options.members is not None:
        raise IntegrityError(f"members= chooses from an archive, and {what}.", "Next: leave members= out.")


def _moved(
    path: Path, name: str, facts: dict[str, Any], slot: Slot, done: transfer.Transferred | None = None
) -> Content:
    """Keep a file that was fetched to our own disk as it is."""
    target = slot.partial / slots.safe_file_name(name)
    os.replace(path, target)
    if done is None:  # a library wrote it
        return Content(staged.list_folder(slot.partial), single=target.name, facts=facts)
    return Content([FileRecord(target.name, done.n_bytes, done.crc32)], single=target.name, facts=facts)


def _format(reader: Reader, options: StageOptions, facts: dict[str, Any]) -> str | None:
    """Return the archive format to unpack, or None if the file is kept as it is; look at what came."""
    head = reader.read_at(0, 1024)
    what = archives.not_data(head, reader.name)
    if not head and facts.get("source_path"):
        step = "Next: look at its size where it came from, and bring it again."
        raise NotDataError(f"{facts['source_path']} is {what}: what wrote or copied it did not come to its end.", step)
    if what is not None:
        steps = [
            "It is what came from there: perhaps the site asks to sign in, or the download was never finished.",
            "Next: open its address in a browser, download the file there, and look at its size.",
        ]
        if reader.local_path is not None:
            steps = ["Next: bring the file here again from where it comes, to its end, and look at its size."]
        raise NotDataError(f"{reader.name} is {what}, not the data.", *steps)
    if options.unpack is False:
        return None
    if archives.is_part(reader.name) and archives.comes_alone(reader):
        raise archives.part_error(reader.name)  # had the others lain beside it, they would have been joined
    kind = archives.sniff(reader)
    if options.unpack is not True and archives.is_data(reader, kind):
        return None
    if kind == "zip" and options.unpack == FOR_LOADERS:
        from datastage.archives.zip_entry import is_ours
        from datastage.layouts import ZipFiles, has_pictures

        found = ZipFiles(reader)  # what a tool alone undoes cannot be read there
        if has_pictures(found.tree()) and all(is_ours(entry) or not entry.csize for entry, _ in found.entries.values()):
            return None  # by names alone: not for a few beside tables
    if kind is None and (options.unpack is True or Path(reader.name).suffix.lower() in archives.suffixes()):
        error = archives.no_archive(reader)
        error.remedy += ("Next: to keep the file as it is, use unpack=False.",)
        raise error
    return kind


def _unpacked(reader: Reader, facts: dict[str, Any], work: Work, reporter: Reporter, taken_bytes: int = 0) -> Content:
    options = work.options
    free = runtime.free_bytes(work.slot.root)
    unpacked = archives.unpack(
        reader,
        work.slot.partial,
        members=options.members,
        may_lack=options.may_lack,
        strip=archives.stem_of(work.called or reader.name) if options.strip == "auto" else options.strip,
        password=options.password,
        encoding=options.encoding,
        nested=options.nested,
        free_bytes=None if free is None else max(0, free - taken_bytes),
        reporter=reporter,
    )
    content = content_of(unpacked, work.slot.partial)
    is_known = options.members is not None or options.expect is not None or options.unpack is True
    if not content.files and not is_known:
        raise IntegrityError(
            f"{reader.name} is an archive without a file in it: there is nothing to stage.",
            "If it is meant to be empty, unpack=True takes it all the same.",
            "Next: look at it where it came from, and pack or bring it again.",
        )
    content.facts = {**facts, **content.facts, "asked": {"encoding": options.encoding}}
    return content


def is_archive(path: Path) -> bool:
    """Tell whether a file is unpacked where nothing else is said: an archive, and not data that happens to be one."""
    with FileReader(path) as reader:
        kind = archives.sniff(reader)
        return kind is not None and not archives.is_data(reader, kind)


@contextlib.contextmanager
def opened(found: Found, slot: Slot, reporter: Reporter) -> Iterator[Path | Reader]:
    """Give the folder or the reader of what was found; a library that fetches by itself does so now."""
    content = found.content
    if isinstance(content, Fetch):
        # Its folder is emptied for the next run, so that nothing of it is gone on with.
        told: Any = SimpleNamespace(
            phase=reporter.phase, advance=reporter.advance, note=reporter.note, resume=SILENT.resume
        )
        made = content.run(fresh_folder(slot.fetch), told)
        content = made if made.is_dir() else FileReader(made)
    try:
        yield content
    finally:
        if not isinstance(content, Path):
            content.close()


def check_digests(reader: Reader, expect: dict[str, str]) -> None:
    """Read a file to its end and compare its digests; raise `ChecksumError` if one is another."""
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in expect}
    for piece in reader.stream(0):
        for digest in digests.values():
            digest.update(piece)
    transfer.compare_digests(reader.name, {name: digest.hexdigest() for name, digest in digests.items()}, expect)
