"""Copy a folder of many files: counted first, then by many readers, since each file of a mount costs a round trip.

Here: what is copied, what is left out and counted, links. Not here: one large file (`whole`, `local`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datastage import runtime
from datastage.errors import DatastageError, IntegrityError, StorageError, UnavailableError
from datastage.progress import SILENT, Reporter, human_seconds
from datastage.transfer.faults import Interrupted, Limits, of_file, patiently

_READ = 256 << 10
# On a mount nearly all time is waiting (64 threads took 1/35 of the time of one for 500 files); on a disk it is not.
_READERS_FAR = 64
_READERS_NEAR = 2
# A folder of more files than this, on a slow mount, is worth the advice to make one archive of it.
MANY = 1000
_JUNK_NAMES = {
    ".ds_store": "macOS files (.DS_Store)",
    "__macosx": "macOS files (__MACOSX)",
    "thumbs.db": "Windows files (Thumbs.db)",
    "desktop.ini": "Windows files (desktop.ini)",
    ".ipynb_checkpoints": "notebook checkpoints",
}
_GOOGLE = (".gdoc", ".gsheet", ".gslides", ".gdraw", ".gform", ".gmap", ".gsite", ".gjam", ".gscript")


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file, or link, that was copied.

    Attributes
    ----------
    path : str
        Relative, with forward slashes.
    size : int
    crc32 : int
    target : str or None
        Where a link leads; None for a file.
    """

    path: str
    size: int
    crc32: int
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """What `copy_tree` copied.

    Attributes
    ----------
    files : tuple of CopiedFile
        Every file and link, in order of path.
    n_bytes : int
    left_out : mapping of str to int
        What was not copied, in a person's words, and how many of each.
    """

    files: tuple[CopiedFile, ...]
    n_bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    files: list[tuple[str, Path]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def copy_tree(
    folder: Path,
    to: Path,
    *,
    reporter: Reporter = SILENT,
    readers: int | None = None,
    limits: Limits | None = None,
) -> Copied:
    """Copy what is in `folder` into the folder `to`, which exists and is empty.

    Parameters
    ----------
    folder, to : Path
        Folders. Links to files and folders outside `folder` are followed and become what they lead to (a shortcut in
        Drive is such a link); links within it stay links.
    reporter : Reporter
        Told of the bytes, and given the advice to make one archive of many small files.
    readers : int, optional
        How many files are read at once; as suits the disk, if None.
    limits : Limits, optional
        How patient to be with a mount.

    Returns
    -------
    Copied

    Raises
    ------
    StorageError
        If a file cannot be read or written; what was copied until then lies in `to`.
    """
    limits = limits or Limits()
    far = runtime.is_network_disk(folder)
    readers = readers or (_READERS_FAR if far else _READERS_NEAR)
    found = _scan(folder, readers if far else 1, limits)
    if far and len(found.files) >= MANY:
        reporter.note(
            f"{len(found.files):,} files, each of which takes a while from there; one archive is read much"
            f" faster: datastage zip {_quoted(folder)} {folder.name}.zip",
            "Slow",
        )
    try:
        for name in found.folders:
            (to / name).mkdir(parents=True, exist_ok=True)
        copied = _copy_all(folder, found.files, to, readers, limits, reporter)
        for name, target in found.links:
            os.symlink(target, to / name)
            copied.append(CopiedFile(name, 0, zlib.crc32(os.fsencode(target)), target))
    except OSError as error:
        if isinstance(error, DatastageError):
            raise
        raise StorageError.of(error, "writing the files") from error
    copied.sort(key=lambda file: file.path)
    return Copied(tuple(copied), sum(file.size for file in copied), dict(found.left_out))


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _junk(name: str) -> str | None:
    lower = name.lower()
    if lower in _JUNK_NAMES:
        return _JUNK_NAMES[lower]
    if name.startswith("._"):
        return "macOS files (._*)"
    if lower.endswith(_GOOGLE):
        return "Google documents, which are no files"
    return None


# --- looking


def _scan(folder: Path, readers: int, limits: Limits) -> _Found:
    """List everything below `folder`, several folders at a time."""
    found = _Found()
    root = os.path.realpath(folder)
    todo: deque[tuple[str, Path, frozenset[str]]] = deque([("", folder, frozenset({root}))])
    lock = threading.Condition()
    state = {"busy": 0}
    errors: list[BaseException] = []
    pulse = _Pulse()

    def work() -> None:
        while True:
            with lock:
                while not todo and state["busy"] and not errors:
                    lock.wait(0.1)
                if not todo or errors:
                    lock.notify_all()
                    return
                prefix, path, above = todo.popleft()
                state["busy"] += 1
            try:
                entries = patiently(lambda path=path: _list(path), limits)  # type: ignore[misc]
                for entry in entries:
                    pulse.beat()
                    _sort(entry, prefix, above, root, found, todo, lock)
            except BaseException as error:
                errors.append(error)
            finally:
                with lock:
                    state["busy"] -= 1
                    lock.notify_all()

    _in_threads(work, readers, folder, errors, pulse, limits)
    return found


def _list(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise of_file(error, path) from error


def _sort(
    entry: os.DirEntry[str],
    prefix: str,
    above: frozenset[str],
    root: str,
    found: _Found,
    todo: deque[tuple[str, Path, frozenset[str]]],
    lock: threading.Condition,
) -> None:
    name = prefix + entry.name
    junk = _junk(entry.name)
    if junk is not None:
        with lock:
            found.left_out[junk] += 1
        return
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if real == root or real.startswith(root + os.sep):
            target = os.path.relpath(real, os.path.realpath(os.path.dirname(entry.path)))
            with lock:
                if os.path.lexists(real):
                    found.links.append((name, target.replace(os.sep, "/")))
                else:
                    found.left_out["links that lead nowhere"] += 1
            return
        try:
            mode = os.stat(real).st_mode
        except OSError:
            mode = 0
        is_folder, is_file = stat.S_ISDIR(mode), stat.S_ISREG(mode)
        missing = "links that lead nowhere" if not mode else ""
    else:
        real = ""
        is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
        missing = ""
    with lock:
        if is_folder:
            real = real or os.path.join(prefix, entry.path)
            if real in above:
                found.left_out["links that lead in a circle"] += 1
                return
            found.folders.append(name)
            todo.append((name + "/", Path(entry.path), above | {real} if entry.is_symlink() else above))
            lock.notify_all()
        elif is_file:
            found.files.append((name, Path(entry.path)))
        else:
            found.left_out[missing or "devices, pipes and sockets"] += 1


class _Pulse:
    """When anything last came from any reader: a mount may keep a read for ever, and say nothing."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def beat(self) -> None:
        """Something has come."""
        self._at = time.monotonic()

    def silent_s(self) -> float:
        """Return for how long nothing has come."""
        return time.monotonic() - self._at


def _in_threads(
    work: Callable[[], None], n: int, folder: Path, errors: list[BaseException], pulse: _Pulse, limits: Limits
) -> None:
    """Run `work` on threads, and raise the first error, also that nothing comes any more."""
    threads = [threading.Thread(target=work, name="datastage-read", daemon=True) for _ in range(n)]
    for thread in threads:
        thread.start()
    # Each of a reader's tries may wait for its own while; threads that hang are left behind. After an error the others
    # are waited for too: they still write.
    patience = limits.stall_s * limits.tries
    for thread in threads:
        while thread.is_alive() and pulse.silent_s() < (limits.stall_s if errors else patience):
            thread.join(0.1)
    if not errors and any(thread.is_alive() for thread in threads):
        errors.append(
            UnavailableError(
                f"{folder} stalled: nothing came from it for {human_seconds(patience)}.",
                "The place it is mounted from does not answer any more.",
                "Next: mount it again (on Colab: Runtime > Disconnect and delete runtime), then run this line again.",
            )
        )
    if errors:
        raise errors[0]


# --- copying


def _copy_all(
    folder: Path, files: list[tuple[str, Path]], to: Path, readers: int, limits: Limits, reporter: Reporter
) -> list[CopiedFile]:
    copied: list[CopiedFile] = []
    errors: list[BaseException] = []
    numbers: Iterator[int] = iter(range(len(files)))
    lock = threading.Lock()
    told = [0, time.monotonic()]
    pulse = _Pulse()

    def work() -> None:
        buffer = memoryview(bytearray(_READ))
        while not errors:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            name, source = files[number]
            try:
                file = patiently(lambda: _copy_one(name, source, to / name, buffer, pulse), limits)  # noqa: B023
            except BaseException as error:
                errors.append(error)
                return
            with lock:
                copied.append(file)
                told[0] += file.size
                if time.monotonic() - told[1] > 0.1:
                    reporter.advance(int(told[0]))
                    told[:] = [0, time.monotonic()]

    _in_threads(work, min(readers, len(files)), folder, errors, pulse, limits)
    reporter.advance(int(told[0]))
    return copied


def _copy_one(name: str, source: Path, to: Path, buffer: memoryview, pulse: _Pulse) -> CopiedFile:
    try:
        read_from = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise of_file(error, source) from error
    write_to = -1
    size = crc = 0
    try:
        write_to = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        while True:
            try:
                n = os.readv(read_from, [buffer])
            except OSError as error:
                raise of_file(error, source, size) from error
            pulse.beat()
            if n == 0:
                break
            crc = zlib.crc32(buffer[:n], crc)
            at = 0
            while at < n:
                at += os.write(write_to, buffer[at:n])
            size += n
        expected = os.fstat(read_from)
        if size != expected.st_size:
            raise Interrupted(
                IntegrityError(f"{source} was cut short: {size:,} of {expected.st_size:,} bytes could be read.")
            )
        if expected.st_mode & 0o111:
            os.fchmod(write_to, 0o755)
        with contextlib.suppress(OSError):
            os.utime(write_to, ns=(expected.st_atime_ns, expected.st_mtime_ns))
    except OSError as error:
        if isinstance(error, DatastageError):
            raise
        if error.errno in (errno.ESTALE, errno.ENOTCONN):
            raise of_file(error, source, size) from error
        raise StorageError.of(error, "writing the files") from error
    finally:
        os.close(read_from)
        if write_to >= 0:
            os.close(write_to)
    return CopiedFile(name, size, crc)
