"""Unpack an archive of this machine into a folder that the caller names: all of it, checked, or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datastage import archives, filling, mounts, own_files, runtime, slots, staged, store
from datastage.content import Content, content_of, refuse_if_changed
from datastage.errors import SpecError, StorageError, UnavailableError
from datastage.lock import Held
from datastage.progress import Reporter, counted, few
from datastage.reader import FileReader, Reader
from datastage.redact import hide_secrets
from datastage.slots import Slot


def extract(
    archive: Path,
    target: Path,
    here: runtime.Runtime,
    *,
    members: Sequence[str] | None,
    strip: bool,
    password: str | None,
    encoding: str | None,
    nested: bool,
    reporter: Reporter,
) -> staged.Staged:
    """Unpack `archive` into the folder `target`. See `datastage.extract`, which this is.

    A folder that is not there yet comes into being by one rename. One that is there, which may be a mount point or the
    working directory, is filled: see `filling`.
    """
    fills = os.path.lexists(slots.place_to_write(target, here))
    if fills and not target.is_dir():
        raise _taken(target)
    root = target if fills else slots.usable_root(target.parent)
    with open_archive(archive, root) as reader:
        slot = Slot(root, "files" if fills else target.name, slots.make_own_folder(root))
        with store.waited_for(slot, reporter) as held, _cleared(slot, held):
            if not fills and os.path.lexists(target):
                raise _taken(target)  # another process was quicker
            if fills and (stays := filling.take_away_leftovers(target)) is not None:
                but = f", but for {few(stays, 3)}: changed or added to since" if stays else ""
                reporter.note(f"what a run that was stopped had brought into {target} was taken away{but}.")
            is_empty = not fills or all(path.name.startswith(slots.OWN_FOLDER) for path in target.iterdir())
            if not is_empty and not strip and not nested:
                filling.refuse_clashes(target, archives.wanted_paths(reader, members, password, encoding))
            options = dict(
                members=members, strip=strip, password=password, encoding=encoding, nested=nested, reporter=reporter
            )
            content = _unpacked(reader, slot, options)
            if n_replaced := content.facts["n_replaced"]:
                reporter.note(f"{counted(n_replaced, 'name')} in the archive; the later file counts", "Twice")
            receipt = {
                "key": slots.request_key({"extract": str(archive), "identity": reader.identity}),
                "name": target.name,
                "spec": os.path.abspath(archive),  # as it is, since `verify --repair` looks for it there
                "place": str(archive),
                "seen": reader.name,
                "asked": {"members": members, "encoding": encoding, "nested": nested},
                **content.facts,
                **staged.counts(content.files),
                "folder": str(target),
            }
            durable = store.outlives_machine(slot.root, here)
            if fills:
                if is_empty:  # all that will be there is ours, so that it can be verified
                    receipt = staged.write_receipt(slot.partial, receipt, content.files)
                filling.move_in(slot.partial, target, archive.name, durable=durable, check=held.check)
            elif os.path.lexists(target):
                raise _taken(target)
            else:
                receipt = store.publish(slot, receipt, content.files, durable=durable, check=held.check)
    return staged.Staged(target, receipt)


def _unpacked(reader: Reader, slot: Slot, options: dict[str, Any]) -> Content:
    own_files.fresh_folder(slot.partial)
    with _read_ahead(reader, slot) as (arriving, taken_bytes):
        free = runtime.free_bytes(slot.root)
        room = None if free is None else max(0, free - taken_bytes)
        unpacked = archives.unpack(arriving, slot.partial, free_bytes=room, **options)
    refuse_if_changed(reader)
    return content_of(unpacked, slot.partial)


@contextlib.contextmanager
def _cleared(slot: Slot, held: Held) -> Iterator[None]:
    """Remove what is unfinished, unless the lock was lost: then it is another's."""
    try:
        yield
    finally:
        if held.is_ours():
            own_files.remove_tree(slot.partial)
            own_files.remove_tree(slot.fetch)


@contextlib.contextmanager
def _read_ahead(reader: Reader, slot: Slot) -> Iterator[tuple[Reader, int]]:
    """Give a reader of the archive, and how much of our disk it takes: from another machine's disk it reads ahead."""
    if reader.local_path is None or not mounts.is_network_disk(reader.local_path):
        yield reader, 0
        return
    from datastage import transfer

    slot.fetch.mkdir(exist_ok=True)
    with transfer.ahead(reader, slot.fetch / slots.safe_file_name(reader.name)) as arriving:
        yield arriving, reader.size or 0


@contextlib.contextmanager
def open_archive(path: Path, near: Path | None = None) -> Iterator[FileReader | archives.JoinedReader]:
    """Give a reader of an archive, once its content shows that it is one; what a pipe gives is kept `near`."""
    with contextlib.ExitStack() as stack:
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise SpecError(f"{path} is a folder, not an archive.", "Next: name the archive's file.")
            if stat.S_ISREG(mode):
                reader: FileReader | archives.JoinedReader = archives.joined(path) or FileReader(path)
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{slots.OWN_FOLDER}pipe-", dir=near))
                reader = FileReader(_kept(path, Path(folder)))
        except FileNotFoundError:
            if re.match(r"\w\w+:", str(path)):  # a Path has lost a slash of it
                spec = hide_secrets(re.sub(r"^(\w+:/)(?=[^/])", r"\1/", str(path)))
                remedy = f"Next: datastage.stage({spec!r}); or, as a command, datastage stage {shlex.quote(spec)}"
                raise SpecError("extract unpacks a file of this machine, and no address.", remedy) from None
            there = next(above for above in Path(os.path.abspath(path)).parents if above.is_dir())
            step = f"Next: look for its name with: ls {shlex.quote(str(there))}"
            raise UnavailableError(f"There is no file {path}.", step) from None
        except OSError as error:
            readable = f"Next: make it readable (chmod a+r {shlex.quote(str(path))}), or ask whoever owns it."
            remedies = [readable] if error.errno in (errno.EACCES, errno.EPERM) else []
            raise StorageError.of(error, f"opening {path.name}", *remedies) from error
        stack.enter_context(reader)
        if archives.sniff(reader) is None:
            raise archives.no_archive(reader)
        yield reader


def _kept(path: Path, folder: Path) -> Path:
    """Write what comes from a pipe into a file, since most archives are read from their end."""
    mode = path.stat().st_mode
    if not stat.S_ISFIFO(mode):
        raise SpecError(f"{path} is neither a file nor a pipe.", "Next: name the archive's file.")
    with open(path, "rb") as pipe, own_files.new_file(folder / slots.safe_file_name(path.name)) as out:
        shutil.copyfileobj(pipe, out, 1 << 20)
    return folder / slots.safe_file_name(path.name)


def _taken(target: Path) -> StorageError:
    return StorageError(
        f"{target} is there already, and is not touched.",
        "Next: name a folder that does not exist yet.",
        filename=target,
    )
