"""What was staged: the path that knows its receipt, the receipt itself, and how `verify` compares a folder with it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import operator
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage import own_files
from datastage.carded import Carded
from datastage.errors import IntegrityError, MissingDependencyError, SpecError
from datastage.file_names import PICTURE_SUFFIXES, is_split
from datastage.reader import FileRecord, FileRecords

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datastage.entry import Entry

SCHEMA = 1
RECEIPT = ".datastage.json"
FILES = ".datastage-files"
# What data may not bring: our files, and a receipt that is being written anew.
OWN_NAMES = frozenset((RECEIPT, FILES, RECEIPT + "~"))
# A folder of more files than this is trusted after a look at so many of them, evenly spread.
GLANCE_FILES = 2_000
# Of what an earlier session left, so much is read again: CIFAR-10's largest file, at most a second of a slow disk.
SAMPLE_FILES = 64
SAMPLE_BYTES = 48_000_000
_READ_BYTES = 1 << 20
_MOST_RECEIPT_BYTES = 16_000_000
_MOST_NAMES = 1_000
_MOST_LIST_BYTES = 4_000_000_000
_TEXTS = (
    *("name", "spec", "place", "seen", "folder", "at", "single", "entry", "licence", "format", "stripped", "encoding"),
    *("source_path", "identity", "token", "staged_at", "cwd"),
)
_NUMBERS = ("n_files", "n_bytes", "seconds")


class Staged(Carded, os.PathLike[str]):
    """A staged dataset: a path that knows its receipt.

    It is the folder (or the file, where a single file was staged): ``str``, ``open`` and every function that takes a
    path take it; ``/`` gives a plain `Path`, ``+`` a text. `path` is that path; the mapping `receipt` says what was
    staged, from where, with which hashes, and what was left out.
    """

    __slots__ = ("path", "receipt")

    def __init__(self, path: Path, receipt: Mapping[str, Any]) -> None:
        self.path = path
        self.receipt = receipt

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__

    def __format__(self, format_spec: str) -> str:
        return format(str(self.path), format_spec)

    def __repr__(self) -> str:
        return f"Staged({str(self.path)!r})"

    _repr_pretty_ = Carded._repr_pretty_  # IPython takes a class's own __repr__ before what is inherited

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Staged) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __truediv__(self, other: str | os.PathLike[str]) -> Path:
        return self.path / other

    def __add__(self, other: str) -> str:
        return str(self.path) + other

    def glob(self, pattern: str) -> Iterator[Path]:
        """Yield the paths in the folder that match `pattern`, as `pathlib.Path.glob` does."""
        return iter(self.path.glob(pattern))

    def iterdir(self) -> Iterator[Path]:
        """Yield what is in the folder, datastage's own two files apart."""
        return (path for path in self.path.iterdir() if path.name not in OWN_NAMES)

    def exists(self) -> bool:
        """Tell whether it is still there."""
        return self.path.exists()

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts of the data that are there, of ``train``, ``val`` and ``test``; empty if nobody can tell."""
        entry = self._entry()
        found = entry.splits if entry is not None else self.told().get("splits", {})
        return tuple(split for split in found if split != "predict")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers; empty if the data names none."""
        entry = self._entry()
        return entry.classes if entry is not None else tuple(self.told().get("classes", ()))

    def _entry(self) -> Entry | None:
        from datastage import datasets

        return datasets.with_files(self.receipt.get("entry"))

    def told(self) -> Mapping[str, Any]:
        """Return what the reading of the data says in short, and keep it in the receipt of what is our own copy."""
        from datastage import datasets, layouts
        from datastage.layouts.tree import stamp_of

        stamp = "" if self.receipt.get("in_place") else stamp_of(self.path)
        kept: Mapping[str, Any] = self.receipt.get("reading", {})
        if stamp and kept.get("stamp") == stamp:
            return kept
        try:
            found = {**layouts.of_entry(datasets.of_receipt(self.receipt), self.path).as_dict(), "stamp": stamp}
        except (SpecError, IntegrityError, MissingDependencyError):
            return {}  # only the user can tell: `loaders` says what was seen
        if stamp:
            keep_reading(self.path, self.receipt, found)
        return found

    def arrays(self, split: str = "train") -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.int64]]:
        """Read one part of the data into memory.

        Parameters
        ----------
        split : str
            ``"train"``, ``"val"`` or ``"test"``: one of `splits`.

        Returns
        -------
        images : ndarray of uint8, shape (N, H, W, C); or of float32, shape (N, D)
            Pictures channels last, 0 to 255; tables as rows.
        labels : ndarray of int64, shape (N,)
            Class numbers, in the order of `classes`.

        Raises
        ------
        SpecError, IntegrityError, MissingDependencyError
            If there is no such part, the files are not what they should be, or numpy, or what they need, is missing.
        """
        from datastage import datasets, layouts
        from datastage.layouts.pictures import arrays_of

        entry = self._entry()
        if entry is not None:
            return entry.read_split(self.path, split)
        return arrays_of(self.path, split, layouts.of_entry(datasets.of_receipt(self.receipt), self.path))


# --- receipts


def read_receipt(folder: Path) -> dict[str, Any] | None:
    """Return the receipt of our form that this user wrote in `folder`, or for another one: see `receipt_of`."""
    receipt = own_files.mapping_of(own_files.read_ours(folder / RECEIPT, most_bytes=_MOST_RECEIPT_BYTES))
    return receipt if _has_our_form(receipt) else None


def _has_our_form(receipt: dict[str, Any]) -> bool:
    if receipt.get("schema") != SCHEMA or not isinstance(receipt.get("key"), str):
        return False
    if not all(isinstance(receipt.get(name, ""), str | None) for name in _TEXTS):
        return False
    if not all(isinstance(receipt.get(name, 0), int | float) and receipt.get(name, 0) >= 0 for name in _NUMBERS):
        return False
    single, fallbacks, left_out = receipt.get("single"), receipt.get("fallbacks", []), receipt.get("left_out", {})
    if single and (single in (".", "..", *OWN_NAMES) or set(single) & set("/\\\0")):
        return False
    asked = receipt.get("asked", {})
    if not isinstance(asked, dict) or not isinstance(asked.get("encoding"), str | None):
        return False
    members = asked.get("members") or []
    if not isinstance(members, list) or not all(isinstance(text, str) for text in members):
        return False
    kinds = {"hashes": dict, "part_files": dict, "places": list}
    if not all(isinstance(receipt.get(key) or kind(), kind) for key, kind in kinds.items()):
        return False
    inside = receipt.get("inside", {"names": []})
    if not isinstance(inside, dict) or not isinstance(inside.get("names"), list):
        return False
    if not isinstance(fallbacks, list) or not all(isinstance(text, str) for text in fallbacks):
        return False
    return isinstance(left_out, dict) and all(isinstance(n, int) for n in left_out.values())


def written_for(receipt: Mapping[str, Any]) -> str:
    """Return the folder that a receipt was written for: where it lay when it was written."""
    return str(receipt.get("at") or ("" if receipt.get("in_place") else receipt.get("folder")) or "")


def receipt_of(folder: Path) -> dict[str, Any] | None:
    """Return the receipt of a folder that this user staged there; None for every other folder.

    A receipt that came with somebody's data, or was copied or moved with its folder, names another folder. The folder
    must be this user's too, and no link.
    """
    receipt = read_receipt(folder) if own_files.is_own_folder(folder) else None
    if receipt is None:
        return None
    at = written_for(receipt)
    if not at:  # an earlier version did not say where the receipt of data that is used in place lay
        return receipt if receipt.get("name") == folder.name else None
    return receipt if at == os.path.abspath(folder) or leads_to(at, folder) else None


def leads_to(path: str, folder: Path) -> bool:
    """Tell whether two paths lead to one folder: by a link above it, a mount, or a disk that folds case."""
    try:
        return os.path.samefile(path, folder)
    except OSError:
        return False


def write_receipt(folder: Path, receipt: Mapping[str, Any], files: Iterable[FileRecord]) -> dict[str, Any]:
    """Write the list of files and the receipt into `folder`, the receipt last; return the receipt as written."""
    hashed = hashlib.sha256()
    records = FileRecords.of(files)
    paths = records.paths
    order: Sequence[int] = range(len(paths))
    if not all(map(operator.le, paths, itertools.islice(paths, 1, None))):
        order = sorted(order, key=paths.__getitem__)
    with own_files.new_file(folder / FILES) as out:
        for at in range(0, len(paths), 4096):  # there may be millions
            lines = "".join(_lines(records, order[at : at + 4096])).encode("ascii")
            hashed.update(lines)
            out.write(lines)
    written = {"schema": SCHEMA, **receipt, "files_sha256": hashed.hexdigest()}
    with own_files.new_file(folder / RECEIPT) as out:
        out.write(receipt_bytes(written))
    return written


def keep_reading(folder: Path, receipt: Mapping[str, Any], reading: Mapping[str, Any]) -> None:
    """Put what a reading says into the receipt of a staged folder, unless it has changed; by descriptors.

    Whoever publishes another folder in its place meanwhile gets nothing of this: it goes into the one that was read.
    """
    unfinished = RECEIPT + "~"
    with contextlib.suppress(OSError), own_files.opened(folder, own_files.FOLDER) as held:
        now = receipt_of(folder)
        is_same = os.path.samestat(os.fstat(held), os.stat(folder))
        if now is None or now.get("files_sha256") != receipt.get("files_sha256") or not is_same:
            return
        used = os.stat(RECEIPT, dir_fd=held)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=held), "wb") as out:
            out.write(receipt_bytes({**now, "reading": dict(reading)}))
        os.utime(unfinished, ns=(used.st_atime_ns, used.st_mtime_ns), dir_fd=held)
        os.replace(unfinished, RECEIPT, src_dir_fd=held, dst_dir_fd=held)


def receipt_bytes(receipt: Mapping[str, Any]) -> bytes:
    """Return a receipt as it is written."""
    return (json.dumps(receipt, indent=1, ensure_ascii=True, default=str) + "\n").encode()


def counts(files: Iterable[FileRecord]) -> dict[str, Any]:
    """Return what the receipt says of the files: how many and how long, their kind, folders, and classes or names."""
    records = FileRecords.of(files)
    suffixes = tuple(PICTURE_SUFFIXES)
    images = [path for path in records.paths if path.lower().endswith(suffixes)]
    paths = images or records.paths
    folders = {path.rpartition("/")[0] for path in paths}
    names = sorted(paths) if len(paths) <= 5 else []
    if images:
        parts = {folder: folder.partition("/") for folder in folders}
        classes = {rest if is_split(first) and rest else folder for folder, (first, _, rest) in parts.items()}
        is_flat = all(name and "/" not in name for name in classes)
        folders, names = (classes, sorted(classes, key=str.lower)) if is_flat else (folders, [])
    return {
        "n_files": len(records),
        "n_bytes": sum(records.sizes),
        "inside": {
            "kind": "image" if images else "file",
            "n": len(paths),
            "folders": len(folders),
            "names": names if len(names) <= _MOST_NAMES else [*names[: _MOST_NAMES - 1], names[-1]],
        },
    }


_encode = json.encoder.encode_basestring_ascii


def _lines(files: FileRecords, order: Sequence[int]) -> Iterator[str]:
    # JSON strings: a name may hold a line break, a tab or bytes that are not UTF-8.
    paths, sizes, crcs, targets = files.paths, files.sizes, files.crcs, files.targets
    for n in order:
        target = f" {_encode(targets[n])}" if n in targets else ""
        yield f"{crcs[n]:08x} {sizes[n]} {_encode(paths[n])}{target}\n"


_decode = json.JSONDecoder().raw_decode


def _record(line: bytes) -> FileRecord:
    crc, size, rest = line.decode("ascii").split(" ", 2)
    if "\\" not in rest and rest.count('"') == 2:
        return FileRecord(rest[1:-1], int(size), int(crc, 16))
    path, end = _decode(rest)
    target = _decode(rest[end + 1 :])[0] if end < len(rest) else None
    return FileRecord(path, int(size), int(crc, 16), target)


def read_lines(folder: Path, receipt: Mapping[str, Any]) -> list[bytes]:
    """Return the lines of the list of files that belongs to a receipt, one a file."""
    lines = own_files.read_ours(folder / FILES, most_bytes=_MOST_LIST_BYTES) or b""
    if hashlib.sha256(lines).hexdigest() != receipt.get("files_sha256"):
        raise IntegrityError(
            f"The list of files in {folder} is damaged, so that nothing there can be checked.",
            "Next: stage it again with refresh=True.",
        )
    return lines.split(b"\n")[:-1]


def read_files(folder: Path, receipt: Mapping[str, Any]) -> list[FileRecord]:
    """Return the list of files that belongs to a receipt; raise as `read_lines` does."""
    return [_record(line) for line in read_lines(folder, receipt)]


def looks_whole(folder: Path, receipt: Mapping[str, Any]) -> bool:
    """Tell whether what the receipt lists is there: names and sizes, of many files only `GLANCE_FILES`."""
    try:
        lines = read_lines(folder, receipt)
    except IntegrityError:
        return False
    base = receipt["folder"] if receipt.get("in_place") else folder
    for file in map(_record, lines[:: max(1, len(lines) // GLANCE_FILES)]):
        try:
            seen = os.lstat(os.path.join(base, file.path))
        except OSError:
            return False
        if stat.S_ISLNK(seen.st_mode) != (file.target is not None):
            return False
        if file.target is None and seen.st_size != file.size:
            return False
    return True


def is_of_an_earlier_session(folder: Path) -> bool:
    """Tell whether a staged folder was last asked for before this machine started: kept by a notebook's persistence."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return False
    try:
        return (folder / RECEIPT).stat().st_mtime < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    except OSError:
        return False


def sample_is_right(folder: Path, receipt: Mapping[str, Any], *, most_bytes: int = SAMPLE_BYTES) -> bool:
    """Tell whether a sample has the content that the list says: names and sizes survive a copy that broke off."""
    lines = read_lines(folder, receipt)
    left = most_bytes
    for file in map(_record, lines[:: max(1, len(lines) // SAMPLE_FILES)]):
        if file.target is not None or file.size > left:
            continue
        left -= file.size
        if size_and_crc(folder / file.path) != (file.size, file.crc32):
            return False
    return True


def mark_used(folder: Path) -> None:
    """Note that a staged folder was asked for now, so that `clean` knows what is in use."""
    with contextlib.suppress(OSError, NotImplementedError):
        os.utime(folder / RECEIPT, follow_symlinks=False)


# --- checking


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found."""

    n_files: int
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file is there with its content. Files that were added do no harm."""
        return not (self.damaged or self.missing)


def verify_folder(
    base: Path, files: Sequence[FileRecord], *, advance: Callable[[int], None] = lambda n: None
) -> Verification:
    """Read every listed file under `base` again and compare it with its size and CRC-32."""
    damaged, missing = [], []
    for file in files:
        path = os.path.join(base, file.path)
        try:
            seen = os.lstat(path)
        except OSError:
            missing.append(file.path)
            continue
        if file.target is not None:
            is_right = stat.S_ISLNK(seen.st_mode) and os.readlink(path) == file.target
        elif not stat.S_ISREG(seen.st_mode) or seen.st_size != file.size:
            is_right = False
        else:
            is_right = size_and_crc(path, advance) == (file.size, file.crc32)
        if not is_right:
            damaged.append(file.path)
    return Verification(len(files), tuple(damaged), tuple(missing), extra_files(base, files))


def extra_files(base: Path, files: Iterable[FileRecord]) -> tuple[str, ...]:
    """Return the paths under `base` of all that is neither listed nor ours."""
    listed = {file.path for file in files} | OWN_NAMES
    return tuple(sorted(path for path in walk(base) if path not in listed))


def size_and_crc(path: str | os.PathLike[str], advance: Callable[[int], None] = lambda n: None) -> tuple[int, int]:
    """Return the size and CRC-32 of what can be read of a file; -1 and 0 where it cannot be read: it is damaged."""
    size = crc = 0
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        try:
            while piece := os.read(descriptor, _READ_BYTES):
                crc = zlib.crc32(piece, crc)
                size += len(piece)
                advance(len(piece))
        finally:
            os.close(descriptor)
    except OSError:
        return -1, 0
    return size, crc


def walk(base: Path) -> Iterator[str]:
    """Give the path below `base`, with slashes, of everything that is no folder."""
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(os.path.join(base, below)) as entries:
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                else:
                    yield path


def list_folder(base: Path) -> list[FileRecord]:
    """Return the list of files for a folder that is there: every file read once for its CRC-32."""
    paths = [(name, base / name) for name in walk(base)]
    return [
        FileRecord(name, 0, 0, os.readlink(path)) if path.is_symlink() else FileRecord(name, *size_and_crc(path))
        for name, path in paths
    ]
