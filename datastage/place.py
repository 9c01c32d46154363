"""Where things go: roots, names, receipts, publishing by rename, verifying.

A dataset's folder is ``ROOT/NAME``. Beside it, under hidden names, lie what is unfinished::

    ROOT/NAME             the published folder; its receipt is ``.datastage.json``, the list of its files
                          ``.datastage-files``
    ROOT/.NAME.lock       held while anything of NAME is changed
    ROOT/.NAME.partial    being written; becomes ROOT/NAME by one rename, or is removed
    ROOT/.NAME.fetch      bytes that came over a link; kept after a kill or a broken link, so that the next run goes on
    ROOT/.NAME.old        what ROOT/NAME was before it was replaced
    ROOT/.NAME.repair     files brought again by ``verify --repair``, before each takes its place
    ROOT/.NAME-KEY.pixels the photos of a dataset, decoded; made by `batches`, removed here when the dataset is gone

Order of operations in `publish`, each step safe to be the last one:

1. The list of files and then the receipt are written into the partial folder.
2. Where the disk outlives the machine, its file system is synced once.
3. A lock that was lost meanwhile ends it here. If ROOT/NAME exists it is renamed to ROOT/.NAME.old.
4. The partial folder is renamed to ROOT/NAME; the root itself is synced where step 2 was done.
5. ROOT/.NAME.old is removed.

After a kill between 3 and 4 only the old folder is there: `recover` puts it back.

Here: paths, receipts, renames. Not here: which place to take bytes from (`staging`), the lock itself (`lock`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from datastage.errors import IntegrityError, LockTimeoutError, SpecError, StorageError
from datastage.lock import is_held, locked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1
RECEIPT = ".datastage.json"
FILES = ".datastage-files"
# A folder of more files than this is trusted after a look at so many of them, evenly spread.
GLANCE_FILES = 2_000
# Of what an earlier session left, so much is read again: CIFAR-10's largest file, at most a second of a slow disk.
SAMPLE_FILES = 64
SAMPLE_BYTES = 48_000_000
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Slot:
    """The paths that belong to one name under one root."""

    root: Path
    name: str

    @property
    def final(self) -> Path:
        """The published folder."""
        return self.root / self.name

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.root / f".{self.name}.lock"

    @property
    def partial(self) -> Path:
        """The folder that is being written."""
        return self.root / f".{self.name}.partial"

    @property
    def fetch(self) -> Path:
        """The folder for bytes that came over a link."""
        return self.root / f".{self.name}.fetch"

    @property
    def old(self) -> Path:
        """The folder that is being replaced."""
        return self.root / f".{self.name}.old"

    @property
    def repair(self) -> Path:
        """The folder for what is brought again, to mend a published folder."""
        return self.root / f".{self.name}.repair"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One line of the list of files: a file with its size and CRC-32, or a link with its target."""

    path: str
    size: int
    crc32: int
    target: str | None = None


class Staged(os.PathLike[str]):
    """A staged dataset: a path that knows its receipt.

    It is the folder (or the file, where a single file was staged): ``str``, f-strings, ``open`` and every function that
    takes a path take it; ``/`` gives a plain `Path`.

    Attributes
    ----------
    path : Path
        The folder or file.
    receipt : mapping
        What was staged, from where, with which hashes, and what was left out.
    """

    __slots__ = ("path", "receipt")

    def __init__(self, path: Path, receipt: Mapping[str, Any]) -> None:
        self.path = path
        self.receipt = receipt

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __format__(self, format_spec: str) -> str:
        return format(str(self.path), format_spec)

    def __repr__(self) -> str:
        return f"Staged({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Staged) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __truediv__(self, other: str | os.PathLike[str]) -> Path:
        return self.path / other

    def glob(self, pattern: str) -> Iterator[Path]:
        """Yield the paths in the folder that match `pattern`, as `pathlib.Path.glob` does."""
        return iter(self.path.glob(pattern))

    def iterdir(self) -> Iterator[Path]:
        """Yield what is in the folder, datastage's own two files apart."""
        return (path for path in self.path.iterdir() if path.name not in (RECEIPT, FILES))

    def exists(self) -> bool:
        """Tell whether it is still there."""
        return self.path.exists()

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts of the data that are there, of ``train``, ``val`` and ``test``."""
        from datastage import datasets

        return datasets.splits_of(self.path, self.receipt.get("entry"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers; empty if the data names none."""
        from datastage import datasets

        return datasets.classes_of(self.path, self.receipt.get("entry"))

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
        SpecError
            If there is no such part.
        IntegrityError
            If the files are not what they should be.
        MissingDependencyError
            If numpy, or what the format needs, is not installed.
        """
        from datastage import datasets

        return datasets.read(self.path, split, self.receipt.get("entry"))

    def _repr_html_(self) -> str:
        from datastage.show.card import staged_card

        return staged_card(self.receipt, self.path)


# --- roots and names


def usable_root(folder: Path, *, shared: bool = False) -> Path:
    """Return the folder under which datasets are put, made if need be.

    Parameters
    ----------
    folder : Path
        The root asked for. If it does not exist it is made.
    shared : bool
        Whether all users may write to the folder in which the root lies, such as ``/tmp``: then the root is
        ``staged-<uid>`` beside the asked one's place, mode 0700.

    Raises
    ------
    StorageError
        If it cannot be made, is a file, or is another user's.
    """
    folder = Path(os.path.abspath(folder.expanduser()))
    uid = os.getuid() if hasattr(os, "getuid") else 0
    if shared:
        folder = folder.parent / f"staged-{uid}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if shared else 0o777)
    except FileExistsError:
        raise StorageError(
            f"{folder} is a file, so that no folder can be made there.",
            "Next: choose another folder with root=.",
            code=errno.ENOTDIR,
            filename=folder,
        ) from None
    except OSError as error:
        raise StorageError.of(error, "making the folder for datasets") from error
    if shared:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise StorageError(
                f"{folder} belongs to another user, and anybody may write beside it.",
                "Next: choose a folder of your own with root=, or set DATASTAGE_ROOT.",
                code=errno.EPERM,
                filename=folder,
            )
        folder.chmod(0o700)
    return folder


_UNUSABLE = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


def checked_name(name: str) -> str:
    """Return `name` if a folder can be called so everywhere.

    Raises
    ------
    SpecError
        If it holds a separator, begins with a dot, or could not be a folder's name.
    """
    near = _UNUSABLE.sub("-", name).strip(". ") or "data"
    if name != near or len(os.fsencode(name)) > 200 or name.lower() == "datastage":
        if name.lower() == "datastage":
            near = "data"  # in the working directory it would be imported in place of the package
        raise SpecError(f"A folder cannot be called {name!r}.", f"Next: name={near[:60]!r}")
    return name


def safe_name(text: str) -> str:
    """Return a folder's name made from `text`."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-. ")[:60]
    return "data" if not name or name.lower() == "datastage" else name


def safe_file_name(name: str) -> str:
    """Return `name` if a file can be called so, else the nearest name that one can have."""
    usable = _UNUSABLE.sub("-", name).strip() or "data"
    return usable if usable not in (".", "..", RECEIPT, FILES) else "data"


def request_key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: a digest of what was asked for, equal only for equal requests."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# --- receipts


def read_receipt(folder: Path) -> dict[str, Any] | None:
    """Return the receipt in `folder`, or None if there is none of ours that can be read."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(receipt, dict) or receipt.get("schema") != SCHEMA or "key" not in receipt:
        return None
    return receipt


def staged_at(path: Path) -> Staged | None:
    """Return what was staged at `path`, or None if that is not a folder that datastage published there.

    A receipt that came with somebody's data names another folder, and is not taken for ours.
    """
    receipt = read_receipt(path)
    if receipt is None or receipt.get("folder") != os.path.abspath(path):
        return None
    return Staged(path, receipt)


def write_receipt(folder: Path, receipt: Mapping[str, Any], files: Iterable[StagedFile]) -> dict[str, Any]:
    """Write the list of files and the receipt into `folder`, the receipt last; return the receipt as written."""
    hashed = hashlib.sha256()
    listed = sorted(files, key=lambda file: file.path)
    with open(folder / FILES, "wb") as out:
        for at in range(0, len(listed), 4096):  # there may be millions
            lines = "".join(map(_line, listed[at : at + 4096])).encode("ascii")
            hashed.update(lines)
            out.write(lines)
    written = {"schema": SCHEMA, **receipt, "files_sha256": hashed.hexdigest()}
    unfinished = folder / (RECEIPT + "~")
    unfinished.write_text(json.dumps(written, indent=1, ensure_ascii=True, default=str) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / RECEIPT)
    return written


def _line(file: StagedFile) -> str:
    # JSON strings: a name may hold a line break, a tab or bytes that are not UTF-8.
    names = [file.path] if file.target is None else [file.path, file.target]
    return " ".join([f"{file.crc32:08x}", str(file.size), *(json.dumps(name) for name in names)]) + "\n"


class ListedFiles(Sequence[StagedFile]):
    """The files of a list, each read from its line when it is asked for: a glance at millions asks for few."""

    def __init__(self, lines: bytes) -> None:
        self._lines = lines.split(b"\n")[:-1]

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, nth: int) -> StagedFile: ...

    @overload
    def __getitem__(self, nth: slice) -> list[StagedFile]: ...

    def __getitem__(self, nth: int | slice) -> StagedFile | list[StagedFile]:
        return [_file_of(line) for line in self._lines[nth]] if isinstance(nth, slice) else _file_of(self._lines[nth])


_decode = json.JSONDecoder().raw_decode


def _file_of(line: bytes) -> StagedFile:
    crc, size, rest = line.decode("ascii").split(" ", 2)
    path, end = _decode(rest)
    target = _decode(rest[end + 1 :])[0] if end < len(rest) else None
    return StagedFile(path, int(size), int(crc, 16), target)


def read_files(folder: Path, receipt: Mapping[str, Any]) -> ListedFiles:
    """Return the list of files that belongs to a receipt.

    Raises
    ------
    IntegrityError
        If the list is gone or is not the one that was written with the receipt.
    """
    try:
        lines = (folder / FILES).read_bytes()
    except OSError:
        lines = b""
    if hashlib.sha256(lines).hexdigest() != receipt.get("files_sha256"):
        raise IntegrityError(
            f"The list of files in {folder} is damaged, so that nothing there can be checked.",
            "Next: stage it again with refresh=True.",
        )
    return ListedFiles(lines)


def looks_whole(folder: Path, receipt: Mapping[str, Any]) -> bool:
    """Tell by a quick look whether what the receipt lists is there: names and sizes, of many files only some.

    A look, not a check of the bytes: `verify` is that. 50,000 files cost as much as `GLANCE_FILES`.
    """
    try:
        files = read_files(folder, receipt)
    except IntegrityError:
        return False
    base = Path(receipt["folder"]) if receipt.get("in_place") else folder
    step = max(1, len(files) // GLANCE_FILES)
    for file in files[::step]:
        try:
            seen = os.lstat(base / file.path)
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
    """Tell whether a sample of the files, evenly spread, has the content that the list says: some tens of megabytes.

    Names and sizes survive a copy of a disk that broke off; the bytes of some files may not.
    """
    files = [file for file in read_files(folder, receipt) if file.target is None]
    left = most_bytes
    for file in files[:: max(1, len(files) // SAMPLE_FILES)]:
        if file.size > left:
            continue
        left -= file.size
        if _size_and_crc(folder / file.path, lambda n: None) != (file.size, file.crc32):
            return False
    return True


# --- publishing


def fresh_folder(folder: Path) -> Path:
    """Return `folder`, empty."""
    remove_tree(folder)
    try:
        folder.mkdir()
    except OSError as error:
        raise StorageError.of(error, "making the folder") from error
    return folder


def remove_tree(folder: Path) -> None:
    """Remove `folder` or file, whatever permissions are in it; nothing is done where nothing is."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        try:
            shutil.rmtree(folder)
        except PermissionError:
            _open_up(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Let the owner list and change every folder below `folder`: a folder of mode 000 cannot be emptied."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)


def recover(slot: Slot) -> None:
    """Put right what a killed run may have left: an old folder without a new one. Call it under the lock."""
    if slot.old.exists():
        if os.path.lexists(slot.final):
            remove_tree(slot.old)
        else:
            os.rename(slot.old, slot.final)


def tidy(slot: Slot) -> None:
    """Remove what a run that was killed after it published left beside the folder; nothing while somebody works there.

    The old folder, or the archive that was fetched, may take as much room as the dataset.
    """
    beside = (slot.old, slot.partial, slot.fetch, slot.repair)
    if not any(os.path.lexists(path) for path in (*beside, slot.lock)):
        return
    with contextlib.suppress(OSError), locked(slot.lock, timeout_s=0):  # our own errors of locking are OSErrors too
        if os.path.lexists(slot.final):
            for path in beside:
                remove_tree(path)


def publish(
    slot: Slot,
    receipt: Mapping[str, Any],
    files: Iterable[StagedFile],
    *,
    durable: bool,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Make the partial folder the dataset's folder, as the module's docstring says. Call it under the lock.

    Parameters
    ----------
    slot : Slot
        Whose partial folder holds the whole content.
    receipt : mapping
        What the receipt says, schema and list apart.
    files : iterable of StagedFile
        Every file and link of the content.
    durable : bool
        Whether the disk outlives the machine, so that the bytes must be on it before the name is.
    check : callable
        Raises if the lock is not ours any more.

    Returns
    -------
    dict
        The receipt as written.
    """
    try:
        written = write_receipt(slot.partial, receipt, files)
        if durable:
            _sync_file_system(slot.partial)
        check()
        if os.path.lexists(slot.final):
            remove_tree(slot.old)
            os.rename(slot.final, slot.old)
        os.rename(slot.partial, slot.final)
    except BaseException as error:
        recover(slot)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError.of(error, "putting the folder in place") from error
        raise
    if durable:
        with contextlib.suppress(OSError):  # the folder is whole and in place: nothing to take back
            _sync_folder(slot.root)
    remove_tree(slot.old)
    return written


def _sync_file_system(folder: Path) -> None:
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(folder, os.O_RDONLY)
        try:
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(folder))
        finally:
            os.close(fd)
    elif hasattr(os, "sync"):
        os.sync()


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- checking


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    n_files : int
        Files that were looked at.
    damaged, missing, extra : tuple of str
        Paths, relative to the folder, whose content differs, that are gone, and that are not in the list.
    repaired : tuple of str
        Paths that were damaged or missing, and were brought again.
    """

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
    base: Path, files: Iterable[StagedFile], *, advance: Callable[[int], None] = lambda n: None
) -> Verification:
    """Read every listed file under `base` again and compare it with its size and CRC-32."""
    damaged, missing, listed = [], [], set()
    for file in files:
        listed.add(file.path)
        path = base / file.path
        if not os.path.lexists(path):
            missing.append(file.path)
        elif file.target is not None:
            if not path.is_symlink() or os.readlink(path) != file.target:
                damaged.append(file.path)
        elif path.is_symlink() or not path.is_file() or _size_and_crc(path, advance) != (file.size, file.crc32):
            damaged.append(file.path)
    extra = [path for path in _walk(base) if path not in listed and path not in (RECEIPT, FILES)]
    return Verification(len(listed), tuple(damaged), tuple(missing), tuple(sorted(extra)))


def _size_and_crc(path: Path, advance: Callable[[int], None]) -> tuple[int, int]:
    size = crc = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                crc = zlib.crc32(piece, crc)
                size += len(piece)
                advance(len(piece))
    except OSError:
        return -1, 0  # what cannot be read is damaged
    return size, crc


def _walk(base: Path) -> Iterator[str]:
    for folder, names, files in os.walk(base):
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        for name in [*files, *links]:
            yield Path(folder, name).relative_to(base).as_posix()


def list_folder(base: Path) -> list[StagedFile]:
    """Return the list of files for a folder that is there: every file read once for its CRC-32."""
    files = []
    for name in _walk(base):
        path = base / name
        if path.is_symlink():
            files.append(StagedFile(name, 0, 0, os.readlink(path)))
        else:
            size, crc = _size_and_crc(path, lambda n: None)
            files.append(StagedFile(name, size, crc))
    return files


# --- cleaning up


@dataclass(frozen=True, slots=True)
class Removable:
    """Something under a root that `clean` would remove.

    Attributes
    ----------
    path : Path
        The folder or file.
    n_bytes : int
        What it takes on the disk.
    why : str
        ``"unfinished"``, or why a staged folder is to go.
    used : float
        When a staged folder was last asked for, in seconds since 1970.
    """

    path: Path
    n_bytes: int
    why: str
    used: float = 0.0


_BESIDE = re.compile(r"\.(?P<name>.+)\.(?P<what>partial|fetch|old|repair|lock|locked|locked~[0-9a-f]+)$")


def pixels_folder(root: Path, path: Path) -> Path:
    """Return the folder under `root` where the photos of `path` are kept as pixels; its name tells whose they are."""
    return root / f".{safe_name(path.stem)}-{request_key({'pixels of': str(path)})[:8]}.pixels"


def removable(
    root: Path, *, older_than_s: float | None = None, budget_bytes: int | None = None, now: float
) -> list[Removable]:
    """List what could go under `root`; nothing that is in use, and nothing that is not ours.

    Parameters
    ----------
    root : Path
        A folder under which datasets were staged.
    older_than_s : float, optional
        Staged folders that were not asked for in so many seconds.
    budget_bytes : int, optional
        The staged folders that were not asked for longest, until the rest takes no more than this.
    now : float
        Seconds since 1970.

    Returns
    -------
    list of Removable
        What killed runs left; then staged folders, if an age or a budget was given.
    """
    found: list[Removable] = []
    staged: list[tuple[float, Path, int]] = []
    pixels: list[Path] = []
    if not root.is_dir():
        return found
    owners: dict[str, Path] = {}  # which dataset each folder of pixels belongs to
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") and path.name.endswith(".pixels"):
            pixels.append(path)
            continue
        beside = _BESIDE.match(path.name)
        receipt = read_receipt(path) if beside is None else None
        if receipt is not None:
            for content in _contents_of(path, receipt):
                owners[pixels_folder(root, content).name] = path
        if is_held(Slot(root, beside["name"] if beside else path.name).lock):
            continue
        if beside is not None and (beside["what"] != "old" or (root / beside["name"]).exists()):
            with contextlib.suppress(OSError):  # another run removed it meanwhile
                found.append(Removable(path, _tree_bytes(path), "unfinished"))
        elif receipt is not None:
            staged.append(((path / RECEIPT).stat().st_mtime, path, _tree_bytes(path)))
    for path in pixels:
        if path.name not in owners:
            found.append(Removable(path, _tree_bytes(path), "photos of a dataset that is gone"))
    staged.sort()
    own = {path: [folder for folder in pixels if owners.get(folder.name) == path] for _, path, _ in staged}
    sizes = {folder: _tree_bytes(folder) for folders in own.values() for folder in folders}
    total = sum(n_bytes for _, _, n_bytes in staged) + sum(sizes.values())
    for used, path, n_bytes in staged:
        if older_than_s is not None and now - used > older_than_s:
            found.append(Removable(path, n_bytes, f"not used for {(now - used) / 86400:.0f} days", used))
        elif budget_bytes is not None and total > budget_bytes:
            found.append(Removable(path, n_bytes, "over the budget, and not used for longest", used))
        else:
            continue
        found += [Removable(folder, sizes[folder], "photos of a dataset that goes") for folder in own[path]]
        total -= n_bytes + sum(sizes[folder] for folder in own[path])
    return found


def _contents_of(folder: Path, receipt: Mapping[str, Any]) -> Iterator[Path]:
    """Give the paths under which a staged folder's content may have been named to `loaders`."""
    yield folder
    if receipt.get("single"):
        yield folder / receipt["single"]
    if receipt.get("folder"):
        yield Path(receipt["folder"])


def remove_staged(root: Path, item: Removable) -> bool:
    """Remove what `removable` listed, under the lock of its name: hidden first, so that no half of it is ever seen.

    Returns
    -------
    bool
        False if it is in use by now, or was asked for since: then it stays.
    """
    beside = _BESIDE.match(item.path.name)
    name = item.path.name.lstrip(".") if item.path.name.endswith(".pixels") else item.path.name
    slot = Slot(root, beside["name"] if beside else name)
    try:
        with locked(slot.lock, timeout_s=0):
            if beside is None and item.path == slot.final:
                if (item.path / RECEIPT).stat().st_mtime != item.used:
                    return False
                remove_tree(slot.old)
                os.rename(slot.final, slot.partial)
                remove_tree(slot.partial)
            elif item.path != slot.lock:
                remove_tree(item.path)
    except LockTimeoutError:
        return False
    except FileNotFoundError:
        return True
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError.of(error, f"removing {item.path.name}") from error
    return True


def mark_used(folder: Path) -> None:
    """Note that a staged folder was asked for now, so that `clean` knows what is in use."""
    with contextlib.suppress(OSError):
        os.utime(folder / RECEIPT)


def _tree_bytes(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


# --- links into the working directory


def link_into(folder: Path, items: Iterable[tuple[str, Path]]) -> list[Path]:
    """Make each item appear in `folder` under its name: as a link, or as a copy where links cannot be made.

    Parameters
    ----------
    folder : Path
        Where the items should appear; made if need be.
    items : iterable of (name, path)
        The names, and what each should lead to.

    Returns
    -------
    list of Path
        What is there now.

    Raises
    ------
    StorageError
        If something else of that name is there already: it is not touched.
    """
    wanted = [(folder / name, path) for name, path in items]
    for place, path in wanted:
        if os.path.lexists(place) and not _leads_to(place, path):
            raise StorageError(
                f"{place} is already there, and is not replaced.",
                f"The data is ready in {path}.",
                "Next: remove or rename it, and run the same line again.",
                code=errno.EEXIST,
                filename=place,
            )
    for place, path in wanted:
        if os.path.lexists(place):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                place.symlink_to(path, target_is_directory=path.is_dir())
            except OSError as error:
                if error.errno in (errno.EROFS, errno.ENOSPC, errno.EACCES):
                    raise
                _copy_whole(path, place)
        except OSError as error:
            raise StorageError.of(error, f"linking {place.name}") from error
    return [place for place, _ in wanted]


def _leads_to(place: Path, path: Path) -> bool:
    try:
        return os.path.samefile(place, path)
    except OSError:
        return False


def _copy_whole(path: Path, place: Path) -> None:
    unfinished = place.with_name(f".{place.name}.partial")
    remove_tree(unfinished)
    if path.is_dir():
        shutil.copytree(path, unfinished, symlinks=True)
    else:
        shutil.copyfile(path, unfinished)
    os.rename(unfinished, place)
