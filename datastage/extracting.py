"""Unpack an archive of this machine into a folder that the caller names: all of it, checked, or nothing.

A folder that is not there comes into being by one rename. One that is there is filled: nothing in it is replaced, and
after an error what came is taken away again. All is unpacked into a hidden folder within, and then moved by renames:

1. What was unpacked is compared with what is there: a path that is taken ends it here.
2. A marker is written that names each file that will come, with its inode, size and time.
3. Each of these is moved. A folder that is there is entered, and what is below it moved.
4. The marker is removed.

After a kill the marker stays and names what came; the next run into the folder takes that away first, but for what was
changed or added since.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datastage import archives, mounts, own_files, runtime, slots, staged, store
from datastage.content import Content, content_of, refuse_if_changed
from datastage.errors import SpecError, StorageError, UnavailableError, while_doing
from datastage.lock import Held
from datastage.progress import Reporter, counted, few
from datastage.reader import FileReader, Reader
from datastage.redact import hide_secrets
from datastage.slots import Slot
from datastage.sources import drive

MARKER = ".datastage-unfinished.json"
_MOST_MARKER_BYTES = 1 << 30


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
    """Unpack `archive` into the folder `target`. See `datastage.extract`, which this is."""
    fills = os.path.lexists(slots.place_to_write(target, here))
    if fills and not target.is_dir():
        raise _taken(target)
    root = target if fills else slots.usable_root(target.parent)
    with open_archive(archive, here, root) as reader:
        slot = Slot(root, "files" if fills else target.name, slots.make_own_folder(root))
        with store.waited_for(slot, reporter) as held, _cleared(slot, held):
            if not fills and os.path.lexists(target):
                raise _taken(target)  # another process was quicker
            if fills and (stays := take_away_leftovers(target)) is not None:
                but = f", but for {few(stays, 3)}: changed or added to since" if stays else ""
                reporter.note(f"what a run that was stopped had brought into {target} was taken away{but}.")
            is_empty = not fills or all(path.name.startswith(slots.OWN_FOLDER) for path in target.iterdir())
            if not is_empty and not strip and not nested:
                refuse_clashes(target, archives.wanted_paths(reader, members, password, encoding))
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
                move_in(slot.partial, target, archive.name, durable=durable, check=held.check)
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
def open_archive(
    path: Path, here: runtime.Runtime, near: Path | None = None
) -> Iterator[FileReader | archives.JoinedReader]:
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
            if (not_connected := drive.not_connected(path, here)) is not None:
                raise not_connected from None
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


# --- filling a folder that is there


def clash(folder: Path, path: str) -> StorageError:
    """Return the error for a path that is taken."""
    return StorageError(
        f"{folder / path} is there already, and is not replaced. Nothing was put into {folder}.",
        "Next: move it away, or name a folder that does not exist yet.",
        code=errno.EEXIST,
        filename=folder / path,
    )


def refuse_clashes(folder: Path, paths: Iterable[str]) -> None:
    """Raise `StorageError` if one of the files to come is there, or a folder of it is something else."""
    free: set[str] = set()  # parts of paths that are not there: nothing below them is
    for path in paths:
        parts = path.split("/")
        for n in range(1, len(parts) + 1):
            part = "/".join(parts[:n])
            if part in free:
                break
            try:
                seen = os.lstat(folder / part)
            except OSError:
                free.add(part)
                break
            if n == len(parts) or not stat.S_ISDIR(seen.st_mode):
                raise clash(folder, part)


@while_doing("putting the files in their places")
def move_in(unpacked: Path, folder: Path, archive: str, *, durable: bool, check: Callable[[], None]) -> None:
    """Move what was unpacked into `folder`, or take away what came; `check` raises if the lock of it was lost."""
    moves = list(_moves(unpacked, folder, ""))
    if durable:
        store.sync_file_system(unpacked)
    check()
    what = "datastage was unpacking an archive into this folder. If it was stopped, run it again, or remove what the"
    header = {"what": f"{what} lines below name, and this file.", "archive": archive}
    with while_doing(f"writing into {folder}"), own_files.atomic_file(folder / MARKER, sync=False) as out:
        out.writelines(json.dumps(line).encode() + b"\n" for line in (header, *_came(unpacked, moves)))
    try:
        for path in moves:
            _move(unpacked / path, folder / path, folder, path)
    except BaseException:
        with contextlib.suppress(OSError), own_files.plain_file(folder / MARKER) as lines:
            _take_away(folder, lines)
        raise
    finally:
        own_files.unlink(folder / MARKER)


def _moves(unpacked: Path, folder: Path, below: str) -> Iterator[str]:
    """Give the topmost paths that are not in `folder` yet."""
    with os.scandir(unpacked / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                seen = os.lstat(folder / path)
            except FileNotFoundError:
                yield path
                continue
            if not (entry.is_dir(follow_symlinks=False) and stat.S_ISDIR(seen.st_mode)):
                raise clash(folder, path)
            yield from _moves(unpacked, folder, path)


def _came(unpacked: Path, paths: Iterable[str]) -> Iterator[list[Any]]:
    """Give the path of each folder that will come, before what is in it; and of each file, with what tells it."""
    base = os.fspath(unpacked)
    for path in paths:
        seen = os.lstat(f"{base}/{path}")
        if stat.S_ISDIR(seen.st_mode):
            yield [path]
            yield from _came(unpacked, (f"{path}/{name}" for name in os.listdir(f"{base}/{path}")))
        else:
            yield [path, *_facts(seen)]


def _facts(seen: os.stat_result) -> list[int]:
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns]


def _move(source: Path, target: Path, folder: Path, path: str) -> None:
    """Move one thing; what has come to be there meanwhile is not replaced."""
    if not stat.S_ISREG(os.lstat(source).st_mode):
        if os.path.lexists(target):
            raise clash(folder, path)
        os.rename(source, target)  # a folder replaces no file, and no folder that holds something
        return
    try:
        own_files.move_anew(source, target)
    except FileExistsError:
        raise clash(folder, path) from None


def take_away_leftovers(folder: Path) -> list[str] | None:
    """Take away what a killed run had brought into `folder`; return what of it stays, None if there was no such run."""
    text = own_files.read_ours(folder / MARKER, most_bytes=_MOST_MARKER_BYTES)
    if text is None:
        return None
    stays = _take_away(folder, text.splitlines())
    own_files.unlink(folder / MARKER)
    return stays


def _take_away(folder: Path, lines: Iterable[bytes]) -> list[str]:
    """Remove files that are as they came, behind no link, then folders that are empty; return what stays."""
    device = os.lstat(folder).st_dev
    plain = {"": True}  # whether a folder below is no link, nor lies behind one
    folders: list[str] = []
    stays: list[str] = []
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            came = json.loads(line)
            if not isinstance(came, list):
                continue  # the header
            path, *facts = came
            *parts, name = path.split("/")
            if not name or {"", ".", ".."} & {*parts, name}:
                continue
            above = "/".join(parts)
            if above not in plain:
                behind = (folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1))
                plain[above] = not any(part.is_symlink() for part in behind)
            if not plain[above] or not os.path.lexists(folder / path):
                continue
            seen = os.lstat(folder / path)
            is_folder = stat.S_ISDIR(seen.st_mode)
            if is_folder and not facts:
                folders.append(path)
            elif is_folder or facts != _facts(seen) or seen.st_dev != device or not _gone(os.unlink, folder / path):
                stays.append(path)
    stays += [path for path in reversed(folders) if not _gone(os.rmdir, folder / path)]
    tops: list[str] = []
    for path in sorted(stays, key=lambda path: path.split("/")):
        if not tops or not path.startswith(f"{tops[-1]}/"):
            tops.append(path)
    return tops


def _gone(remove: Callable[[Path], None], path: Path) -> bool:
    with contextlib.suppress(OSError):
        remove(path)
        return True
    return False
