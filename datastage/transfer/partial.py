"""The unfinished file beside the one that is fetched: laid out, gone on with by a later run, proven at its end."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datastage.errors import ChecksumError, IntegrityError, NoSpaceError, while_doing
from datastage.file_names import fitted
from datastage.own_files import no_link
from datastage.progress import Reporter, human_bytes
from datastage.reader import Reader, stat_identity
from datastage.transfer.block_map import Block, BlockMap, plan, sound_runs
from datastage.transfer.download import ParallelDownload
from datastage.transfer.pieces import changed
from datastage.transfer.retry import Interrupted, Limits


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer brought: the size, CRC-32 and digests of the whole, and the bytes that came over the link."""

    n_bytes: int
    crc32: int
    digests: Mapping[str, str]
    n_received: int


def part_of(to: Path) -> Path:
    """Return where a file is written before it is whole; its map has four letters more."""
    return to.with_name(fitted(to.name, len(".part.map")) + ".part")


class PartialFile:
    """The unfinished file beside `to`, with its map; what is there may be gone on with by a later run."""

    def __init__(self, reader: Reader, to: Path, expect: Mapping[str, str], reporter: Reporter, limits: Limits) -> None:
        self.reader = reader
        self.to = to
        self.expect = expect
        self.limits = limits
        self.reporter = reporter
        self.was_resumed = False
        self.in_one_stream = not reader.ranges
        self.part = part_of(to)
        self.map = self._new_map()

    def _new_map(self) -> BlockMap:
        header = {"identity": self.reader.identity, "size": self.reader.size, "expect": dict(self.expect)}
        return BlockMap(self.part.with_name(self.part.name + ".map"), header)

    def download(
        self, connections: int | None, slow_below_bytes_s: float | None, *, keep_first: int = 0
    ) -> ParallelDownload:
        """Lay out the partial file, and return the download of what it lacks.

        The first `keep_first` bytes of a file that comes in one stream are there, and must come again the same.
        """
        with while_doing("writing the files"):
            blocks = [Block(0, self.reader.size, keep_first)] if keep_first else self._lay_out()
            download = ParallelDownload(self, blocks, connections, slow_below_bytes_s)
        if self._may_resume():
            self.reporter.resume(download.n_before)
        if self.was_resumed:
            size = human_bytes(self.reader.size or 0)
            self.reporter.note(f"at {human_bytes(download.n_before)} of {size}", "Went on")
        return download

    def finish(self, download: ParallelDownload) -> Transferred:
        """Check the digests, and put the file in its place."""
        digests = download.finish(0.0)
        self.map.close(remove=False)
        if self.reader.local_path is not None:
            with contextlib.suppress(OSError):
                # Mounts remember a file's time for a while: what an opening did not see, this may.
                if stat_identity(os.stat(self.reader.local_path)) != self.reader.identity:
                    self.discard()
                    raise changed(self.reader.name)
            self._check_end(self.reader.local_path)
        n_bytes = self.part.stat().st_size
        compare_digests(self.reader.name, digests, self.expect, self.part)
        with while_doing("writing the files"):
            os.replace(self.part, self.to)
        self.map.close(remove=True)
        return Transferred(n_bytes, download.crc32, digests, download.n_received)

    def _check_end(self, source: Path) -> None:
        """Refuse a file that goes on behind the size that it says, as a mount gives what is no file behind it."""
        try:
            with open(source, "rb", buffering=0) as file:
                more = os.pread(file.fileno(), 1, self.reader.size or 0)
        except OSError:
            return  # all that was promised has come
        if more:
            self.discard()
            raise IntegrityError(
                f"{self.reader.name} goes on behind the {self.reader.size or 0:,} bytes that its place says it has.",
                "It may be no plain file there: a document of Google, or a file that is being written.",
                "Next: open it where it lies, save or export it as a file, and stage that.",
            )

    def _may_resume(self) -> bool:
        is_known = bool(self.reader.identity or self.expect)
        return not self.in_one_stream and self.reader.size is not None and is_known

    def _lay_out(self) -> list[Block]:
        size = self.reader.size
        header, runs = self.map.read()
        self.was_resumed = False
        if runs and self._may_resume() and header.get("size") == size and self.part.is_file():
            same = bool(self.reader.identity) and header.get("identity") == self.reader.identity
            # The digest proves bytes of another mirror, or of a place that does not tell its state.
            if same or (self.expect and header.get("expect") == dict(self.expect)):
                runs = sound_runs(self.part, runs)
                self.was_resumed = bool(runs)
        if not self.was_resumed:
            runs = []
            self.part.unlink(missing_ok=True)  # of another state of the file, whose room this one may need
        if size is not None:
            needed, free = size - sum(length for _, length, _ in runs), shutil.disk_usage(self.part.parent).free
            if needed > free:
                name, folder = self.reader.name, self.to.parent
                raise NoSpaceError(
                    f"{name} needs {human_bytes(needed)}, and {folder} has {human_bytes(free)} free.", filename=folder
                )
        with open(self.part, "r+b" if self.was_resumed else "wb", opener=no_link) as file:
            if size is not None:
                file.truncate(size)
        if self.in_one_stream or size is None:
            return [Block(0, size)] if size != 0 else []
        if self._may_resume():
            self.map.begin(runs)
        return plan(size, runs)

    def begin_anew(self, fault: Interrupted) -> None:
        """Get ready to fetch a file that changed, or of which only the whole can be had."""
        renew = getattr(self.reader, "renew", None)
        if fault.kind == "no ranges" and not self.in_one_stream:
            self.in_one_stream = True
        elif renew is not None:
            renew()
            self.in_one_stream = self.in_one_stream or not self.reader.ranges
        else:
            raise fault.error from fault
        self.map = self._new_map()

    def leave(self, *, keep: bool) -> None:
        """Leave what has come for the next run, if it can be gone on with then."""
        self.map.close(remove=False)
        if not keep or not self._may_resume():
            self.discard()

    def discard(self) -> None:
        self.map.close(remove=True)
        self.part.unlink(missing_ok=True)


def compare_digests(name: str, digests: Mapping[str, str], expect: Mapping[str, str], path: Path | None = None) -> None:
    """Raise `ChecksumError`, and remove the file at `path`, if a digest is not the expected one."""
    for algorithm, wanted in expect.items():
        if digests[algorithm] != wanted:
            if path is not None:
                path.unlink(missing_ok=True)
            raise ChecksumError(
                f"{name} is not the expected file: its {algorithm} is {digests[algorithm]}, not {wanted}.",
                "The file at its place was replaced or damaged, or the expected digest is another file's.",
                "Next: get it again; if it was replaced on purpose, give the digest that was published with expect=.",
            )
