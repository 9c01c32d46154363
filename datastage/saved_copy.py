"""Keep the file that was staged for the next session, as it came, whole or not at all, where ``save_to`` says.

A small note beside each kept file, ``.datastage-kept-KEY.json``, says which request it answers and with which sha256;
the next session takes the file only if it still has that digest. One index of all would lose what two write at once.
Where that name is taken, as by another user's note, this user's is ``.datastage-kept-KEY-UID.json``. Another's note is
believed in a folder in which its owner alone may write, or if the digest is known that the file must have.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage import own_files, slots, sources
from datastage.errors import DatastageError, NoSpaceError, SpecError, StorageError, UnavailableError, while_doing
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader, Reader
from datastage.runtime import Runtime
from datastage.sources import drive
from datastage.spec import Spec

if TYPE_CHECKING:
    from datastage.sources.buckets import BucketFolder

_INDEX = ".datastage-kept.json"  # of earlier versions, which noted all requests in one
_MOST_INDEX_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class SavedCopy:
    """A file that an earlier session kept, and the digest that it had."""

    path: Path  # of one in a bucket its name alone
    sha256: str
    open: Callable[[], Reader]


def parse(save_to: str | os.PathLike[str]) -> Spec:
    """Return the spec of a place to keep files in; a bucket that cannot be written to from here is refused at once."""
    spec = sources.parse(save_to)
    if spec.scheme == "bucket":
        from datastage.sources import buckets

        buckets.check_writable(spec)
    return spec


def place_of(save_to: Spec, here: Runtime, reporter: Reporter = SILENT) -> Path | BucketFolder:
    """Return the folder that `save_to` names, on this machine or in a bucket."""
    if save_to.scheme != "bucket":
        return folder_of(save_to, here, reporter)
    from datastage.sources.buckets import BucketFolder

    return BucketFolder.of(save_to)


def folder_of(save_to: Spec, here: Runtime, reporter: Reporter = SILENT) -> Path:
    """Return the folder of this machine that `save_to` names, which need not exist yet; Drive is connected for it."""
    if save_to.scheme == "drive":
        try:
            return drive.to_write(save_to, here, reporter)
        except UnavailableError as error:
            if here.platform == "colab":
                raise
            raise UnavailableError(
                "Google Drive is not connected here, so that nothing can be written there.",
                "Next: a folder of this machine in its place, such as './kept'.",
            ) from error
    if save_to.scheme in ("file", "relative"):
        return slots.place_to_write(here.cwd / Path(save_to.value).expanduser(), here)
    step = "save_to='drive:datasets', or a folder such as save_to='/kaggle/working/data'."
    step = f"./{save_to} for a folder of that name." if save_to.scheme == "name" else step
    raise SpecError(f"{save_to} is no place to keep files in.", f"Next: {step}")


def find(folder: Path | BucketFolder, key: str, *, is_digest_known: bool = False) -> SavedCopy | None:
    """Return the file that was kept for the request of this key, if it is there."""
    believes = is_digest_known or isinstance(folder, Path) and _is_closed(folder)
    return _found(folder, _noted(folder, key) or (_noted(folder, key, of_anybody=True) if believes else {}))


def _is_closed(folder: Path) -> bool:
    """Tell whether a folder is its owner's alone to write in, and, of another's, nobody could have put it there."""
    with contextlib.suppress(OSError):
        seen = folder.stat()
        ours = own_files.is_ours(folder, seen)
        return not own_files.others_write(seen) and (ours or not own_files.others_write(folder.parent.stat()))
    return False


def _found(folder: Path | BucketFolder, entry: dict[str, Any]) -> SavedCopy | None:
    if not isinstance(entry.get("file"), str):
        return None
    name, size, sha256 = slots.safe_file_name(entry["file"]), entry.get("size"), str(entry.get("sha256"))
    if not isinstance(folder, Path):
        return SavedCopy(Path(name), sha256, partial(folder.open, name)) if folder.size(name) == size else None
    path = folder / name
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size == size:
            return SavedCopy(path, sha256, partial(FileReader, path))
    return None


def keep(
    path: Path, folder: Path | BucketFolder, key: str, *, name: str, reporter: Reporter = SILENT
) -> tuple[Path, bool]:
    """Copy a file into `folder` under `name`, or another if somebody's is there; tell where, and if it was there."""
    if not isinstance(folder, Path):
        return _keep_there(path, folder, key, name, reporter)
    target = folder / slots.safe_file_name(name)
    with while_doing(f"keeping {target.name} in {folder}", "Next: save_to= with another folder."):
        size, sha256, note = path.stat().st_size, None, _note_path(folder, key)
        known = _found(folder, _noted(folder, key))
        if known is not None and known.sha256 != _sha256(known.path):
            known = None  # it is another file by now: somebody's
        if known is not None and known.path.stat().st_size == size:
            sha256 = _sha256(path)
            if known.sha256 == sha256:
                return known.path, True
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{key[:length]}-{name}" for length in range(8, len(key)))
        old = known.path if known is not None and own_files.is_ours(known.path, known.path.lstat()) else None
        while os.path.lexists(target) and target != old:
            if target.is_file() and target.stat().st_size == size:
                sha256 = sha256 or _sha256(path)
                if os.path.samefile(target, path) or _sha256(target) == sha256:
                    _write_note(note, key, target.name, size, sha256)
                    return target, True
            target = folder / slots.safe_file_name(next(names))
        digest, replaces = hashlib.sha256(), target == old
        try:
            with FileReader(path) as reader, own_files.atomic_file(target, replace=replaces) as out:
                reporter.phase(f"keeping {target.name}", reader.size)
                for piece in reader.stream(0):
                    out.write(piece)
                    digest.update(piece)
                    reporter.advance(len(piece))
        except FileExistsError:  # another process has kept a file of that name meanwhile, and perhaps this very one
            return keep(path, folder, key, name=name)
        try:
            _write_note(note, key, target.name, size, digest.hexdigest())
        except BaseException:
            if not replaces:  # without its note it would be found by nobody
                own_files.unlink(target)
            raise
    return target, False


def _keep_there(path: Path, folder: BucketFolder, key: str, name: str, reporter: Reporter) -> tuple[Path, bool]:
    """Keep a file in a bucket, as `keep` does in a folder."""
    target = slots.safe_file_name(name)
    try:
        fact = {"size": path.stat().st_size, "sha256": _sha256(path)}
        known = _noted(folder, key)
        if known.items() >= fact.items() and folder.size(str(known.get("file"))) == fact["size"]:
            return Path(known["file"]), True
        if known.get("file") != target and folder.size(target) is not None:
            target = f"{key[:8]}-{target}"  # it is another request's, or somebody's
        reporter.phase(f"keeping {target}", path.stat().st_size)

        def pieces() -> Iterator[bytes]:
            with FileReader(path) as reader:
                for piece in reader.stream(0):
                    yield bytes(piece)
                    reporter.advance(len(piece))

        folder.put(target, pieces)
        folder.put(note_of(key), lambda: iter((_note(key, file=target, **fact),)))
    except DatastageError as error:
        raise StorageError(f"{target} cannot be kept in {folder}: {error.args[0]}", *error.remedy) from error
    return Path(target), False


def keep_and_say(
    path: Path, save_to: Spec, key: str, here: Runtime, reporter: Reporter, *, name: str, below: str = ""
) -> None:
    """Keep a file for the next session, and say so; if that fails the data is still ready, and the user is told."""
    try:
        kept, was_there = keep(path, place_of(save_to, here, reporter) / below, key, name=name, reporter=reporter)
        when = "already" if was_there else "for the next session"
        if not was_there and here.platform == "kaggle" and kept.is_absolute():
            when += ", if Settings > Persistence in the right-hand panel is on Files only"
        reporter.note(f"{kept.name} in {save_to} {when}", "Kept")
    except StorageError as error:
        why = " ".join((str(error.args[0]), *error.remedy[-1:]))
        if isinstance(error, NoSpaceError) and save_to.scheme == "drive":
            why = "your Google Drive is full: empty its bin at drive.google.com, or delete what you need no more"
        reporter.note(why, "Not kept")


def say_of_ready(
    save_to: Spec, key: str, entry: str | None, receipt: Mapping[str, Any], here: Runtime, reporter: Reporter
) -> None:
    """Say of data that is there whether its file is kept; keep it now if it is on this machine. No window opens."""
    if save_to.scheme == "bucket":
        return
    try:
        if save_to.scheme == "drive" and drive.connected(here) is None:
            return reporter.note("your Drive is not connected", "Not kept")
        folder = folder_of(save_to, here, reporter)
    except UnavailableError:
        return reporter.note("your Drive is not connected", "Not kept")
    known = find(folder, key) if entry is None else None
    if known is not None or entry is not None and (folder / entry).is_dir():
        reporter.note(f"{known.path.name if known else entry} in {save_to} already", "Kept")
    elif (several := came_as_several(receipt)) is not None:
        reporter.note(several, "Not kept")
    elif os.path.isfile(source := receipt.get("source_path") or ""):
        keep_and_say(Path(source), save_to, key, here, reporter, name=os.path.basename(source))
    else:
        reporter.note("what it came as is no longer here; refresh=True brings it again, and keeps it", "Not kept")


def came_as_several(receipt: Mapping[str, Any]) -> str | None:
    """Say why data that did not come as one file is not kept; None if it did: then its digests are noted."""
    if "hashes" in receipt:
        return None
    if (source := receipt.get("source_path")) is not None:
        return f"{os.path.basename(source)} is a folder; datastage zip makes one file of it"
    return f"{receipt.get('place')} is several files; what comes as one file is kept"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note_of(key: str, owner: str = "") -> str:
    """Return the name of the note of what answers a request; `owner` is for whom the first name is taken."""
    return f".datastage-kept-{key[:16]}{owner}.json"


def _notes_of(key: str) -> tuple[str, str]:
    return note_of(key), note_of(key, f"-{os.geteuid() if hasattr(os, 'geteuid') else 0}")


def _note_path(folder: Path, key: str) -> Path:
    """Return where this user's note of a request is, or is to be; what else has the name stays."""
    for name in _notes_of(key):
        if _read(folder, name) or not os.path.lexists(folder / name):
            return folder / name
    raise FileExistsError(errno.EEXIST, "another thing is in the place of its note", str(folder / name))


def _note(key: str, **facts: object) -> bytes:
    return (json.dumps({key: facts}, indent=1) + "\n").encode()


def _noted(folder: Path | BucketFolder, key: str, *, of_anybody: bool = False) -> dict[str, Any]:
    """Return what was noted of a request; nothing if there is no note of ours, or of anybody."""
    names = (*_notes_of(key), _INDEX) if isinstance(folder, Path) else (note_of(key), _INDEX)
    found = (_read(folder, name, of_anybody).get(key) for name in names)
    return next((facts for facts in found if isinstance(facts, dict)), {})


def _read(folder: Path | BucketFolder, name: str, of_anybody: bool = False) -> dict[str, Any]:
    if isinstance(folder, Path):
        text = own_files.read_ours(folder / name, most_bytes=_MOST_INDEX_BYTES, of_anybody=of_anybody)
        return own_files.mapping_of(text)
    size = folder.size(name) or _MOST_INDEX_BYTES
    return own_files.mapping_of(folder.open(name).read_at(0, size) if size < _MOST_INDEX_BYTES else None)


def _write_note(path: Path, key: str, name: str, size: int, sha256: str) -> None:
    with own_files.atomic_file(path) as out:
        out.write(_note(key, file=name, size=size, sha256=sha256))
