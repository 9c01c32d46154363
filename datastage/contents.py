"""From what a place gave to files in the partial folder: a folder copied, a file kept, an archive unpacked.

Here: what is done with content once it is reached, and what the receipt says of it. Not here: which place it is
(`staging`), how bytes move (`transfer`), how archives are read (`archives`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastage import archives, place, runtime, transfer
from datastage.errors import ChecksumError, DamagedArchiveError, IntegrityError, NotDataError, StorageError
from datastage.file_names import is_picture
from datastage.place import Slot, StagedFile
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader, Reader
from datastage.request import FOR_LOADERS, Request
from datastage.runtime import Runtime
from datastage.sources import Fetch, Found, drive, drive_errors

# Data that happens to be a zip: unpacking would destroy it.
DATA_SUFFIXES = frozenset(
    {".npz", ".npy", ".pt", ".pth", ".ckpt", ".safetensors", ".xlsx", ".docx", ".pptx", ".odt", ".whl", ".jar"}
    | {".apk", ".epub", ".kmz"}
)


@dataclass(slots=True)
class Content:
    """What is in the partial folder now, or a path that is used where it is.

    Attributes
    ----------
    files : list of StagedFile
        Every file and link, for the receipt.
    path : Path or None
        What is used where it lies; the partial folder is not needed then.
    single : str or None
        The name of the one file, where the content is a file and not a folder.
    facts : dict
        What the receipt says of it.
    """

    files: list[StagedFile] = field(default_factory=list)
    path: Path | None = None
    single: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes what a place gave: what was asked for, where it goes, and who is told."""

    request: Request
    slot: Slot
    here: Runtime
    reporter: Reporter
    slow_below_bytes_s: float | None = None
    limits: transfer.Limits | None = None
    keep: Callable[[Path, str], None] | None = None  # is given each file that was fetched, proven, before it is moved

    def take(self, found: Found) -> Content:
        """Bring what was found into the partial folder, checked.

        Raises
        ------
        IntegrityError
            If the bytes are wrong.
        UnavailableError
            If the place stops giving them.
        StorageError
            If this machine will not take them.
        """
        with opened(found, self.slot, self.reporter) as content:
            try:
                taken = self._folder(content, found) if isinstance(content, Path) else self._file(content, found)
            except StorageError as error:
                path = content if isinstance(content, Path) else content.local_path
                if path is not None and error.errno in transfer.MOUNT_READ and drive.is_on_drive(path, self.here):
                    raise drive_errors.explain_os_error(error, path, self.here) from error
                raise
        taken.facts.update(place=found.place, seen=found.seen)
        return taken

    def _folder(self, folder: Path, found: Found) -> Content:
        facts = {"source_path": str(folder), "identity": found.identity}
        if found.in_place and not self.request.copy:
            return Content(path=folder, facts=facts)
        place.fresh_folder(self.slot.partial)
        left_out: dict[str, int] = {}
        if isinstance(found.content, Fetch):  # the files lie on our disk already
            facts = {"identity": found.identity}
            for path in folder.iterdir():
                os.replace(path, self.slot.partial / path.name)
            files = place.list_folder(self.slot.partial)
        else:
            self.reporter.phase(f"copying {folder.name}", None)
            copied = transfer.copy_tree(folder, self.slot.partial, reporter=self.reporter)
            files = [StagedFile(file.path, file.size, file.crc32, file.target) for file in copied.files]
            left_out = dict(copied.left_out)
        files = self._without_receipts(files, left_out)
        if not files:
            raise IntegrityError(
                f"The folder {folder} is empty.", "Next: look whether the files are in another folder."
            )
        return Content(files, facts={**facts, "left_out": left_out})

    def _without_receipts(self, files: list[StagedFile], left_out: dict[str, int]) -> list[StagedFile]:
        """Take out a receipt that came with the data: it is never trusted, and ours takes its place."""
        for name in (place.RECEIPT, place.FILES):
            if any(file.path == name for file in files):
                files = [file for file in files if file.path != name]
                (self.slot.partial / name).unlink()
                left_out["receipts of another copy"] = left_out.get("receipts of another copy", 0) + 1
        return files

    def _file(self, reader: Reader, found: Found) -> Content:
        expect = {**found.digests, **self.request.digests}
        facts: dict[str, Any] = {"identity": found.identity, "hashes": dict(expect)}
        if reader.local_path is not None and not isinstance(found.content, Fetch):
            facts["source_path"] = str(reader.local_path)
        place.fresh_folder(self.slot.partial)
        if reader.local_path is not None and not runtime.is_network_disk(reader.local_path):
            return self._near(reader, found, facts, expect)
        # Over a link, or from a slow mount: unpacked as the bytes come, and proven before it is published.
        self.slot.fetch.mkdir(exist_ok=True)
        target = self.slot.fetch / place.safe_file_name(reader.name)
        self.reporter.phase(f"copying {reader.name}", reader.size)
        with transfer.ahead(
            reader,
            target,
            expect=expect,
            reporter=self.reporter,
            slow_below_bytes_s=self.slow_below_bytes_s,
            limits=self.limits,
        ) as arriving:
            content = None
            if self._format(arriving) is not None:
                try:
                    content = self._unpacked(arriving, facts, SILENT, self._taken_meanwhile(reader))
                except IntegrityError:
                    if expect:
                        arriving.finish()  # were the bytes wrong already? Then that is what is said
                    raise
            done = arriving.finish()
            if self.keep is not None:
                self.keep(target, reader.name)
            return content or self._moved(target, reader.name, facts, done)

    def _near(self, reader: Reader, found: Found, facts: dict[str, Any], expect: dict[str, str]) -> Content:
        """Take a file that is on a disk of this machine."""
        assert reader.local_path is not None
        kind = self._format(reader)
        copies = kind is None and not isinstance(found.content, Fetch) and (self.request.copy or not found.in_place)
        if expect and not copies:  # what is copied is hashed on its way: one reading, and the one kept
            check_digests(reader, expect)
        if self.keep is not None and isinstance(found.content, Fetch):
            self.keep(reader.local_path, reader.name)
        if kind is not None:
            content = self._unpacked(reader, facts, self.reporter)
            refuse_if_changed(reader)
            return content
        if found.in_place and not self.request.copy:
            return Content(path=reader.local_path, single=reader.name, facts=facts)
        if isinstance(found.content, Fetch):
            return self._moved(reader.local_path, reader.name, facts)
        self.reporter.phase(f"copying {reader.name}", reader.size)
        target = self.slot.partial / place.safe_file_name(reader.name)
        done = transfer.fetch(reader, target, expect=expect, reporter=self.reporter)
        return Content([StagedFile(target.name, done.n_bytes, done.crc32)], single=target.name, facts=facts)

    def _moved(self, path: Path, name: str, facts: dict[str, Any], done: transfer.Transferred | None = None) -> Content:
        """Keep a file that was fetched to our own disk as it is."""
        target = self.slot.partial / place.safe_file_name(name)
        os.replace(path, target)
        if done is None:  # a library wrote it
            return Content(place.list_folder(self.slot.partial), single=target.name, facts=facts)
        return Content([StagedFile(target.name, done.n_bytes, done.crc32)], single=target.name, facts=facts)

    def _format(self, reader: Reader) -> str | None:
        """Return the archive format to unpack, or None if the file is kept as it is; look at what came."""
        head = reader.read_at(0, 1024)
        what = archives.not_data(head, reader.name)
        if what is not None:
            raise NotDataError(
                f"{reader.name} is {what}, not the data.",
                "It is what came from there: perhaps the site asks to sign in, or the download was never finished.",
                "Next: open its address in a browser, download the file there, and look at its size.",
            )
        suffix = Path(reader.name).suffix.lower()
        if self.request.unpack is False or (self.request.unpack is not True and suffix in DATA_SUFFIXES):
            return None
        kind = archives.sniff(reader)
        if kind == "zip" and self.request.unpack == FOR_LOADERS and _holds_pictures(reader):
            return None
        if kind is None and (self.request.unpack is True or suffix in archives.suffixes()):
            raise DamagedArchiveError(
                f"{reader.name} is not an archive that can be unpacked, whatever its name says.",
                "The download may have been cut short: get the file again.",
                "Next: to keep the file as it is, use unpack=False.",
            )
        return kind

    def _taken_meanwhile(self, reader: Reader) -> int:
        """Return the bytes of our disk that the archive itself takes while it is unpacked."""
        size = reader.size or 0
        on_drive = reader.local_path is not None and drive.is_on_drive(reader.local_path, self.here)
        # Drive's client keeps whatever is read through its mount on the same disk (colabtools#1915).
        return 2 * size if on_drive else size

    def _unpacked(self, reader: Reader, facts: dict[str, Any], reporter: Reporter, taken_bytes: int = 0) -> Content:
        strip = archives.stem_of(reader.name) if self.request.strip == "auto" else self.request.strip
        free = runtime.free_bytes(self.slot.root)
        unpacked = archives.unpack(
            reader,
            self.slot.partial,
            members=self.request.members,
            strip=strip,
            password=self.request.password,
            free_bytes=None if free is None else max(0, free - taken_bytes),
            reporter=reporter,
        )
        files, left_out = unpacked_files(unpacked), dict(unpacked.left_out)
        files = self._without_receipts(files, left_out)
        facts |= {
            "format": unpacked.format,
            "left_out": left_out,
            "stripped": unpacked.stripped,
            "encoding": unpacked.encoding,
            "n_replaced": unpacked.n_replaced,
        }
        return Content(files, facts=facts)


def _holds_pictures(reader: Reader) -> bool:
    return any(member.kind == "file" and is_picture(member.name) for member in archives.list_members(reader))


def refuse_if_changed(reader: Reader) -> None:
    """Raise if a file was written to while it was unpacked: half of it may be of the file as it was."""
    if isinstance(reader, FileReader) and reader.has_changed():  # a tar has no checksums of its data
        raise IntegrityError(
            f"{reader.name} changed while it was being unpacked.",
            "Next: wait until whatever writes it has finished, and run the same line again.",
        )


def is_archive(path: Path) -> bool:
    """Tell whether a file is unpacked where nothing else is said: an archive by content, and not data by its name."""
    if path.suffix.lower() in DATA_SUFFIXES:
        return False
    with FileReader(path) as reader:
        return archives.sniff(reader) is not None


@contextlib.contextmanager
def opened(found: Found, slot: Slot, reporter: Reporter) -> Iterator[Path | Reader]:
    """Give the folder or the reader of what was found; a library that fetches by itself does so now."""
    content = found.content
    if isinstance(content, Fetch):
        made = content.run(place.fresh_folder(slot.fetch), reporter)
        content = made if made.is_dir() else FileReader(made)
    try:
        yield content
    finally:
        if not isinstance(content, Path):
            content.close()


def unpacked_files(unpacked: archives.Unpacked) -> list[StagedFile]:
    """Return the list for the receipt of what was unpacked."""
    return [StagedFile(file.path, file.size, file.crc32, file.target) for file in unpacked.files]


def check_digests(reader: Reader, expect: dict[str, str]) -> None:
    """Read a file to its end and compare its digests.

    Raises
    ------
    ChecksumError
        If one is another.
    """
    digests = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in expect}
    for piece in reader.stream(0):
        for digest in digests.values():
            digest.update(piece)
    for algorithm, wanted in expect.items():
        seen = digests[algorithm].hexdigest()
        if seen != wanted:
            raise ChecksumError(
                f"{reader.name} is not the file that is expected: its {algorithm} is {seen}, not {wanted}.",
                "Next: get the file again; if it has been replaced on purpose, give the new hash with expect=.",
            )
