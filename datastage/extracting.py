"""Unpack an archive of this machine into a folder that the caller names: all of it, checked, or nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datastage import archives, mounts, runtime, slots, staged, staging, store, transfer
from datastage.errors import IntegrityError, SpecError, StorageError, UnavailableError
from datastage.materialize import content_of, refuse_if_changed
from datastage.own_files import fresh_folder, remove_tree
from datastage.progress import Reporter
from datastage.reader import FileReader, Reader
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.slots import Slot
from datastage.staged import Staged


def extract(
    archive: Path,
    target: Path,
    here: Runtime,
    *,
    members: Sequence[str] | None,
    strip: bool,
    password: str | None,
    nested: bool,
    reporter: Reporter,
) -> Staged:
    """Unpack `archive` into the folder `target`. See `datastage.extract`, which this is."""
    _check_empty(target)
    with open_archive(archive) as reader:
        root = slots.usable_root(target.parent)
        slot = Slot(root, target.name, slots.make_own_folder(root))
        try:
            with store.waited_for(slot, reporter) as held:
                _check_empty(target)  # another process may have been quicker
                try:
                    fresh_folder(slot.partial)
                    with _read_ahead(reader, slot) as (arriving, taken_bytes):
                        free = runtime.free_bytes(slot.root)
                        unpacked = archives.unpack(
                            arriving,
                            slot.partial,
                            members=members,
                            strip=strip,
                            password=password,
                            nested=nested,
                            free_bytes=None if free is None else max(0, free - taken_bytes),
                            reporter=reporter,
                        )
                    refuse_if_changed(reader)
                    content = content_of(unpacked, slot.partial)
                    receipt = {
                        "key": slots.request_key({"extract": str(reader.local_path), "identity": reader.identity}),
                        "name": target.name,
                        "spec": hide_secrets(str(archive)),
                        "place": hide_secrets(str(archive)),
                        "seen": reader.name,
                        **content.facts,
                        **staged.counts(content.files),
                        "folder": str(target),
                    }
                    if target.is_dir():
                        target.rmdir()
                    durable = staging.outlives_machine(slot.root, here)
                    written = store.publish(slot, receipt, content.files, durable=durable, check=held.check)
                except BaseException:
                    if held.is_ours():
                        remove_tree(slot.partial)
                    raise
        finally:
            store.leave_no_empty_folder(slot)
    return Staged(target, written)


@contextlib.contextmanager
def _read_ahead(reader: FileReader, slot: Slot) -> Iterator[tuple[Reader, int]]:
    """Give a reader of the archive, and how much of our disk it takes: from another machine's disk it reads ahead."""
    assert reader.local_path is not None
    if not mounts.is_network_disk(reader.local_path):
        yield reader, 0
        return
    remove_tree(slot.fetch)
    try:
        slot.fetch.mkdir()
        with transfer.ahead(reader, slot.fetch / slots.safe_file_name(reader.name)) as arriving:
            yield arriving, reader.size or 0
    finally:
        remove_tree(slot.fetch)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[FileReader]:
    """Give a reader of an archive, once its content shows that it is one."""
    if path.is_dir():
        raise SpecError(f"{path} is a folder, not an archive.", "Next: name the archive's file.")
    try:
        reader = FileReader(path)
    except FileNotFoundError:
        raise UnavailableError(f"There is no file {path}.", "Next: look for its name with: ls") from None
    except OSError as error:
        raise StorageError.of(error, f"opening {path.name}") from error
    with reader:
        if archives.sniff(reader) is None:
            what = archives.not_data(reader.read_at(0, 1024), path.name)
            raise IntegrityError(
                f"{path.name} is {what or 'not an archive of a kind that is known'}.",
                "Next: get the file again, and look at its size.",
            )
        yield reader


def _check_empty(target: Path) -> None:
    if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise StorageError(
            f"{target} is there already, and is not touched.",
            "Next: name a folder that does not exist yet.",
            filename=target,
        )
