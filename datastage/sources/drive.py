"""Google Drive: ``drive:`` specs, in a Drive that is mounted or connected now.

A Drive is never walked: the named path is opened, and only if it is not there is its one folder listed, for a few
seconds, to say what is near. Listing a folder of 500,000 files has crashed Colab (colabtools#3133).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from datastage.errors import NotDataError, SpecError, UnavailableError
from datastage.mounts import DEAD_MOUNT, DriveMount, drive_mounts, in_a_while, is_mounted, is_on_drive
from datastage.progress import SILENT, Reporter, few
from datastage.runtime import Runtime
from datastage.sources import drive_errors
from datastage.sources.found import Context, Found, at_path, line_to_run, names_near
from datastage.spec import Spec
from datastage.timeouts import call_with_timeout

T = TypeVar("T")

# How long Google may take, with a person choosing an account meanwhile; and the second time, for a crowded Drive.
_MOUNT_MS = 180_000
_MOUNT_AGAIN_MS = 600_000
_LIST_S = 5.0
_LIST_NAMES = 2000
# What lives in the browser: its ending in a Drive, the word in its address, what it is, and what it downloads as.
DOCUMENTS = (
    (".gdoc", "document", "a Google document", ".docx"),
    (".gsheet", "spreadsheets", "a Google sheet", ".csv"),
    (".gslides", "presentation", "a Google presentation", ".pdf"),
    (".gform", "forms", "a Google form", ".csv"),
    (".gdraw", "drawings", "a Google drawing", ".png"),
    (".gsite", "", "a Google site", ".html"),
    (".gmap", "", "a Google map", ".kml"),
)
_POINTS = (("content", "drive"), ("content", "gdrive"))
_OTHER_SPELLING = {"MyDrive": "My Drive", "Shareddrives": "Shared drives"}


def parse_drive(text: str, word: str, rest: str) -> Spec:
    """Tell the path in Drive that ``drive:PATH`` names."""
    if rest.startswith("//"):
        near = rest.strip("/")
        raise SpecError(f"{text!r}: a path in Drive follows the colon without slashes.", f"Next: drive:{near}")
    path = rest.strip("/")
    if rest.startswith("/"):
        shorter = re.sub(r"^/content/(drive|gdrive)/", "", rest).lstrip("/")
        raise SpecError(f"{text!r}: a path in Drive begins at My Drive, without a slash.", f"Next: drive:{shorter}")
    if ".." in re.split(r"[/\\]", path):
        raise SpecError(f"{text!r}: a path in Drive cannot go up with '..'.", "Next: write the path from My Drive.")
    return Spec(text, "drive", path)


def open_drive(spec: Spec, context: Context) -> Found:
    """Find the file or folder in Google Drive that `spec` names; connect Drive first if that can be done here."""
    runtime = context.runtime
    if all(len(parts) < 2 for parts in candidates(spec.value)):
        raise _whole_drive(spec, runtime)
    mounts = drive_mounts(runtime.system_root)
    dead = [mount for mount in mounts if not mount.alive]
    alive = sorted((mount for mount in mounts if mount.alive), key=lambda mount: not mount.is_sure)
    for mount in alive:
        try:
            found = _find(spec, mount.path, runtime)
        except _BrokenError as error:
            dead.append(replace(mount, alive=False, errno=error.errno or errno.ENOTCONN))
            continue
        if found is not None:
            return found
    if not dead:
        # A Drive that dies while we look says "no such file" of files that are there (colabtools#5970).
        dead = [mount for mount in drive_mounts(runtime.system_root) if not mount.alive]
    is_certain = runtime.platform != "colab" or any(mount.is_sure for mount in alive)
    if alive and is_certain and not dead:
        raise _not_there(spec, alive, runtime)
    point = _connect(spec, runtime, context.reporter, dead[0] if dead else None)
    try:
        found = _find(spec, point, runtime)
    except _BrokenError as error:
        raise drive_errors.broken(spec, error.errno or errno.ENOTCONN) from error
    if found is None:
        raise _not_there(spec, [DriveMount(point, True)], runtime)
    return found


def _whole_drive(spec: Spec, runtime: Runtime) -> SpecError:
    """Refuse to copy all of somebody's files; say what a connected Drive holds at its top."""
    top = candidates(spec.value)[0][:1] or ("MyDrive",)
    lines: list[str] = []
    example = "datasets.zip"
    for mount in drive_mounts(runtime.system_root):
        names = [name for name in names_in(_spellings(mount.path, top)[0])[0] if not name.startswith(".")]
        if mount.alive and names:
            example = names[0] if top == ("MyDrive",) else f"{top[0]}/{names[0]}"
            lines = [f"{where(top)} holds: {few(names, 6)}"]
            break
    said = "names no file" if not spec.value else "is the whole of it: that would copy all your files, one by one"
    return SpecError(f"{spec} {said}.", *lines, f"Next: name the file or folder in it, such as drive:{example}.")


class _BrokenError(OSError):
    """The mount does not answer any more."""


def to_write(spec: Spec, runtime: Runtime, reporter: Reporter = SILENT) -> Path:
    """Return where `spec` leads in a mounted Drive, whether it is there or not; connect Drive first if need be."""
    mount = connected(runtime)
    if mount is None:
        dead = next((mount for mount in drive_mounts(runtime.system_root) if not mount.alive), None)
        mount = _connect(spec, runtime, reporter, dead, to_write=True)
    return _spellings(mount, candidates(spec.value)[0])[0 if (mount / "MyDrive").is_dir() else 1]


def connected(runtime: Runtime) -> Path | None:
    """Return where a Drive is mounted to write to, if one is: in Colab no folder that only looks like it."""
    root, anywhere = runtime.system_root, runtime.platform != "colab"
    alive = [mount for mount in drive_mounts(root) if mount.alive]
    sure = (m.path for m in alive if anywhere or m.is_sure or is_mounted(m.path / "MyDrive", m.path, root))
    return next(sure, None)


def not_connected(path: Path, runtime: Runtime) -> UnavailableError | None:
    """Return the error for a path in a Drive that nobody has connected yet, as notebooks from elsewhere name it."""
    path = Path(os.path.normpath(path))  # what is said of it must not have a ".." in it
    if runtime.platform != "colab" or is_on_drive(path, runtime.system_root):
        return None
    for point in _POINTS:
        folder = runtime.system_root.joinpath(*point)
        if folder in path.parents:
            inside = "/".join(path.relative_to(folder).parts)
            inside = inside.removeprefix("MyDrive/").removeprefix("My Drive/")
            spec = Spec(f"drive:{inside}", "drive", inside)
            if not runtime.in_kernel:
                return drive_errors.from_a_bang_line(spec)
            return UnavailableError(
                "Your Drive is not connected yet. The path begins where Colab puts it; named like\n"
                "this instead, the same line connects it first:",
                line_to_run(str(spec), runtime),
            )
    return None


# --- a path in a mounted Drive


def candidates(value: str) -> list[tuple[str, ...]]:
    """Return the paths under the mount point that the user may mean by `value`, in order.

    Examples
    --------
    >>> candidates("datasets.zip")
    [('MyDrive', 'datasets.zip'), ('MyDrive', 'Colab Notebooks', 'datasets.zip')]
    >>> candidates("Shared drives/Team/x.tar")
    [('Shareddrives', 'Team', 'x.tar')]
    """
    parts = tuple(part for part in re.split(r"[/\\]", value) if part not in ("", "."))
    if parts[:2] in _POINTS and len(parts) > 2:
        parts = parts[2:]  # copied from a cell: content/drive/MyDrive/...
    top = drive_errors.TOPS.get(parts[0].lower()) if parts else None
    if top is not None:
        return [(top, *parts[1:])]
    return [("MyDrive", *parts), *([("MyDrive", "Colab Notebooks", *parts)] if len(parts) == 1 else [])]


def _find(spec: Spec, mount: Path, runtime: Runtime) -> Found | None:
    found = (find_at(spec, mount, parts, runtime) for parts in candidates(spec.value))
    return next((one for one in found if one is not None), None)


def find_at(spec: Spec, mount: Path, parts: tuple[str, ...], runtime: Runtime) -> Found | None:
    """Return what lies at a path under a mount point, however the mount spells it; None if nothing does."""
    for path in _spellings(mount, parts):
        try:
            status = in_a_while(partial(os.stat, path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno in DEAD_MOUNT:
                raise _BrokenError(error.errno, error.strerror) from error
            raise drive_errors.explain_os_error(error, path, runtime) from error
        return _found(spec, path, parts, status, runtime)
    return None


def _spellings(mount: Path, parts: tuple[str, ...]) -> list[Path]:
    """Return the path, and as some mounts spell it: "My Drive" for "MyDrive", and letters with their accents apart."""
    tops = dict.fromkeys((parts[0], _OTHER_SPELLING.get(parts[0], parts[0])))
    composed, apart = (tuple(unicodedata.normalize(form, part) for part in parts[1:]) for form in ("NFC", "NFD"))
    rests = dict.fromkeys((parts[1:], composed, apart))
    return [mount.joinpath(top, *rest) for rest in rests for top in tops]


def _found(spec: Spec, path: Path, parts: tuple[str, ...], status: os.stat_result, runtime: Runtime) -> Found:
    document = next((row for row in DOCUMENTS if row[0] == path.suffix.lower()), None)
    if document is not None and not stat.S_ISDIR(status.st_mode):
        _, _, kind, ending = document
        raise NotDataError(
            f"{path.name} is {kind}, which lives in the browser: it holds no data.",
            f"Open it at drive.google.com, then File > Download, as {ending}.",
            "Put that file into My Drive.",
            line_to_run(f"drive:{path.stem}{ending}", runtime),
        )
    try:
        return at_path(path, spec, status, where(parts[:-1]))
    except OSError as error:
        raise drive_errors.explain_os_error(error, path, runtime) from error


def where(parts: tuple[str, ...]) -> str:
    """Return the folder of a path under the mount point as Drive's page shows it.

    Examples
    --------
    >>> where(("MyDrive", "Colab Notebooks"))
    'My Drive > Colab Notebooks'
    """
    if not parts:
        return "Google Drive"
    if parts[0] == ".shortcut-targets-by-id":
        return " > ".join(["Shared with me", *parts[2:]])
    return " > ".join([_OTHER_SPELLING.get(parts[0], parts[0]), *parts[1:]])


def names_in(folder: Path) -> tuple[list[str], bool]:
    """Return names in a folder, and whether they are all: for a few seconds, since Drive may hang, and only some."""
    names: list[str] = []

    def look() -> bool:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) >= _LIST_NAMES:
                    return False
        return True

    try:
        whole = call_with_timeout(look, _LIST_S)
    except OSError:
        whole = False
    return sorted(names[:_LIST_NAMES]), whole


def _not_there(spec: Spec, mounts: list[DriveMount], runtime: Runtime) -> UnavailableError:
    """Say what is near: the one folder that was named is listed now, or the first of its folders that is missing."""
    lines: list[str] = []
    nearest: str | None = None
    for number, parts in enumerate(candidates(spec.value)):
        for mount in mounts:
            folder, known = _deepest(mount.path, parts)
            if number > 0 and known < len(parts) - 1:
                continue  # nobody said "Colab Notebooks"
            wanted = parts[known]
            names, whole = names_in(folder)
            if wanted in names:
                return _listed_but_gone(spec, where(parts[:known]))
            close = names_near(wanted, names)
            place = where(parts[:known])
            if close:
                lines.append(f"In {place} there is: {', '.join(close)}")
                there = (*parts[:known], close[0], *parts[known + 1 :])
                nearest = nearest or "/".join(drive_errors.below_my_drive(there))
            elif not whole:
                lines.append(f"{place} holds very many files; it was not looked through.")
            elif known < len(parts) - 1:
                lines.append(f"In {place} there is no folder {wanted}.")
            else:
                shown = few((name for name in names if not name.startswith(".")), 4)
                lines.append(f"{place} holds: {shown}" if shown else "")
    lines = [line for line in dict.fromkeys(lines) if line]
    name = spec.file_name
    if nearest is not None:
        last = [line_to_run(f"drive:{nearest}", runtime)]
    else:
        last = [
            "A file that somebody shared with you is found once you right-click it at",
            "drive.google.com and choose Organise > Add shortcut > My Drive.",
            f'Next: find it at drive.google.com, and write its folder:  "drive:FOLDER/{name}"',
        ]
    return UnavailableError(f"Your Drive is connected, but {spec.value} is not in it.", *lines, *last)


def _listed_but_gone(spec: Spec, place: str) -> UnavailableError:
    return UnavailableError(
        f"Google Drive lists {spec.file_name} in {place}, and then says that there is no such file:\n"
        "its connection is about to break, or the file has just been moved. You did nothing wrong.",
        "",
        "Run this in a cell of its own, then your own line again:",
        "",
        f"    {drive_errors.RECONNECT}",
    )


def _deepest(mount: Path, parts: tuple[str, ...]) -> tuple[Path, int]:
    """Return the deepest folder on the way that is there, and how many of `parts` lead to it."""
    for known in range(len(parts) - 1, 0, -1):
        for folder in _spellings(mount, parts[:known]):
            try:
                if call_with_timeout(folder.is_dir, _LIST_S):
                    return folder, known
            except OSError:
                continue
    return mount, 0


# --- connecting


def _connect(
    spec: Spec, runtime: Runtime, reporter: Reporter, dead: DriveMount | None, *, to_write: bool = False
) -> Path:
    """Connect Drive, and return its mount point; or raise what says why that cannot be done here."""
    if runtime.platform != "colab":
        raise drive_errors.elsewhere(spec, runtime, dead)
    if not runtime.in_kernel:
        raise drive_errors.broken(spec, dead.errno) if dead else drive_errors.from_a_bang_line(spec, to_write)
    if threading.current_thread() is not threading.main_thread():
        # The kernel's reply is read by whichever thread asks first (colabtools, _message.py).
        raise UnavailableError(
            "Your Drive is not connected yet, and that can only be done by the cell itself,\n"
            "not by a thread that it has started.",
            "",
            "Next: run this in a cell of its own, then your cell again:",
            "",
            f"    {drive_errors.RECONNECT if dead else drive_errors.CONNECT}",
        )
    point = dead.path if dead else runtime.system_root / "content/drive"
    try:
        from google.colab import drive as colab_drive
    except ImportError as error:
        raise drive_errors.mount_error(error, spec, point, to_write) from error
    if dead is not None:
        reporter.note("The connection to your Drive has broken; it is made again now.")
    else:
        reporter.note("Google now asks to connect your Drive: choose the account that holds the file.")
    options: dict[str, Any] = {"force_remount": True} if dead else {}
    for wait_ms in (_MOUNT_MS, _MOUNT_AGAIN_MS):
        try:
            colab_drive.mount(str(point), timeout_ms=wait_ms, **options)
            break
        except Exception as error:
            if wait_ms == _MOUNT_AGAIN_MS or "initial read of root folder" not in str(error):
                raise drive_errors.mount_error(error, spec, point, to_write) from error
        # What was listed is kept, so that a second try gets further (colabtools#5028).
        reporter.note("Your Drive holds very many items; Google needs more time. Trying once more.")
    return point
