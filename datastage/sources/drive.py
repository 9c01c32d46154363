"""Google Drive: ``drive:`` specs, in a Drive that is mounted or connected now.

Here: the named path in My Drive, shared drives and shortcuts; connecting Drive in Colab's kernel; every way in which
that fails, and what an error met while reading from Drive means. Not here: where Drive is mounted (`runtime`), shared
links (`drive_link`).

A Drive is never walked: the named path is opened, and only if it is not there is its one folder listed, for a few
seconds, to say what is near. Listing a folder of 500,000 files has crashed Colab (colabtools#3133).
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from datastage import transfer
from datastage.errors import DatastageError, NotDataError, SpecError, StorageError, UnavailableError
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import FileReader, stat_identity
from datastage.runtime import DriveMount, Runtime, drive_log, drive_mounts
from datastage.sources.found import Context, Found, line_to_run
from datastage.spec import Spec
from datastage.timeouts import call_with_timeout

T = TypeVar("T")

CONNECT = 'from google.colab import drive; drive.mount("/content/drive")'
RECONNECT = 'from google.colab import drive; drive.mount("/content/drive", force_remount=True)'
# How long Google may take, with a person choosing an account meanwhile; and the second time, for a crowded Drive.
_MOUNT_MS = 180_000
_MOUNT_AGAIN_MS = 600_000
_LIST_S = 5.0
_LIST_NAMES = 2000
_LOG_BYTES = 256 * 1024
_DOCUMENTS = {
    ".gdoc": ("a Google document", ".docx"),
    ".gsheet": ("a Google sheet", ".csv"),
    ".gslides": ("a Google presentation", ".pdf"),
    ".gform": ("a Google form", ".csv"),
    ".gdraw": ("a Google drawing", ".png"),
    ".gsite": ("a Google site", ".html"),
    ".gmap": ("a Google map", ".kml"),
}
_TOPS = {
    "mydrive": "MyDrive",
    "my drive": "MyDrive",
    "shareddrives": "Shareddrives",
    "shared drives": "Shareddrives",
    ".shortcut-targets-by-id": ".shortcut-targets-by-id",
}
_POINTS = (("content", "drive"), ("content", "gdrive"))
_OTHER_SPELLING = {"MyDrive": "My Drive", "Shareddrives": "Shared drives"}


def parse_drive(text: str, word: str, rest: str) -> Spec:
    """Tell the path in Drive that ``drive:PATH`` names."""
    if rest.startswith("//"):
        near = rest.strip("/")
        raise SpecError(f"{text!r}: a path in Drive follows the colon without slashes.", f"Next: drive:{near}")
    path = rest.strip("/")
    if not path:
        raise SpecError("drive: names no file.", "Next: drive:datasets.zip for a file in My Drive.")
    if rest.startswith("/"):
        shorter = re.sub(r"^/content/(drive|gdrive)/", "", rest).lstrip("/")
        raise SpecError(f"{text!r}: a path in Drive begins at My Drive, without a slash.", f"Next: drive:{shorter}")
    if ".." in re.split(r"[/\\]", path):
        raise SpecError(f"{text!r}: a path in Drive cannot go up with '..'.", "Next: write the path from My Drive.")
    return Spec(text, "drive", path)


def open_drive(spec: Spec, context: Context) -> Found:
    """Find the file or folder in Google Drive that `spec` names; connect Drive first if that can be done here.

    Raises
    ------
    UnavailableError
        If it is not there, or Drive is not connected: says what to do in this runtime.
    SpecError
        If it is the whole Drive.
    NotDataError
        If it is a Google document, which has no bytes.
    """
    if all(len(parts) == 1 for parts in candidates(spec.value)):
        raise SpecError(
            f"{spec} is the whole of it: that would copy all your files, one by one.",
            "Next: name the file or folder in it, such as drive:datasets.zip.",
        )
    runtime = context.runtime
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
        raise broken(spec, error.errno or errno.ENOTCONN) from error
    if found is None:
        raise _not_there(spec, [DriveMount(point, True)], runtime)
    return found


class _BrokenError(OSError):
    """The mount does not answer any more."""


def to_write(spec: Spec, runtime: Runtime, reporter: Reporter = SILENT) -> Path:
    """Return where `spec` leads in a mounted Drive, whether anything is there or not; connect Drive first if need be.

    Raises
    ------
    UnavailableError
        If Drive is not connected and cannot be connected from here.
    """
    mount = next((mount.path for mount in drive_mounts(runtime.system_root) if mount.alive), None)
    if mount is None:
        mount = _connect(spec, runtime, reporter, None)
    return _spellings(mount, candidates(spec.value)[0])[0 if (mount / "MyDrive").is_dir() else 1]


def is_on_drive(path: Path, runtime: Runtime) -> bool:
    """Tell whether `path` lies in a mounted Drive, by itself or by a link."""
    return any(
        drive_mounts(runtime.system_root, around=place)
        for place in dict.fromkeys([Path(os.path.abspath(path)), Path(os.path.realpath(path))])
    )


def not_connected(path: Path, runtime: Runtime) -> UnavailableError | None:
    """Return the error for a path in a Drive that nobody has connected yet; None for any other path.

    Notebooks from elsewhere name ``/content/drive/MyDrive/...``, and expect a cell before to have connected it.
    """
    if runtime.platform != "colab" or is_on_drive(path, runtime):
        return None
    for point in _POINTS:
        folder = runtime.system_root.joinpath(*point)
        if folder in path.parents:
            inside = "/".join(path.relative_to(folder).parts)
            inside = inside.removeprefix("MyDrive/").removeprefix("My Drive/")
            spec = Spec(f"drive:{inside}", "drive", inside)
            if not runtime.in_kernel:
                return _from_a_bang_line(spec)
            return UnavailableError(
                "Your Drive is not connected yet. The path begins where Colab puts it; named like\n"
                "this instead, the same line connects it first:",
                line_to_run(str(spec), runtime),
            )
    return None


def my_drive(mount: Path) -> Path:
    """Return the folder of the user's own files in a mounted Drive."""
    return mount / ("MyDrive" if os.path.isdir(mount / "MyDrive") else "My Drive")


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
    top = _TOPS.get(parts[0].lower()) if parts else None
    if top is not None:
        return [(top, *parts[1:])]
    if len(parts) == 1:
        return [("MyDrive", *parts), ("MyDrive", "Colab Notebooks", *parts)]
    return [("MyDrive", *parts)]


def _find(spec: Spec, mount: Path, runtime: Runtime) -> Found | None:
    for parts in candidates(spec.value):
        for path in _spellings(mount, parts):
            try:
                status = in_a_while(partial(os.stat, path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno in transfer.DEAD_MOUNT:
                    raise _BrokenError(error.errno, error.strerror) from error
                raise explain_os_error(error, path, runtime) from error
            return _found(spec, path, parts, status, runtime)
    return None


def _spellings(mount: Path, parts: tuple[str, ...]) -> list[Path]:
    """Return the path, and as some mounts spell it: "My Drive" for "MyDrive", and letters with their accents apart."""
    tops = [parts[0], *([_OTHER_SPELLING[parts[0]]] if parts[0] in _OTHER_SPELLING else [])]
    rests = [parts[1:]]
    rests += [tuple(unicodedata.normalize("NFC", part) for part in parts[1:])]
    rests += [tuple(unicodedata.normalize("NFD", part) for part in parts[1:])]
    return [mount.joinpath(top, *rest) for rest in dict.fromkeys(rests) for top in tops]


def _found(spec: Spec, path: Path, parts: tuple[str, ...], status: os.stat_result, runtime: Runtime) -> Found:
    place = where(parts[:-1])
    if stat.S_ISDIR(status.st_mode):
        return Found(path, str(spec), f"the folder {path.name} in {place}", stat_identity(status))
    document = _DOCUMENTS.get(path.suffix.lower())
    if document is not None:
        kind, ending = document
        raise NotDataError(
            f"{path.name} is {kind}, which lives in the browser: it holds no data.",
            f"Open it at drive.google.com, then File > Download, as {ending}.",
            "Put that file into My Drive.",
            line_to_run(f"drive:{path.stem}{ending}", runtime),
        )
    try:
        reader = in_a_while(partial(FileReader, path))
    except OSError as error:
        raise explain_os_error(error, path, runtime) from error
    return Found(reader, str(spec), f"{path.name}, {human_bytes(status.st_size)}, in {place}", stat_identity(status))


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


def in_a_while(work: Callable[[], T], wait_s: Sequence[float] = (0.2, 1.0)) -> T:
    """Return what `work` returns; what a mount gets over by itself is tried again after each wait, in vain or not."""
    for wait in wait_s:
        try:
            return call_with_timeout(work)
        except OSError as error:
            if error.errno not in transfer.PASSING_MOUNT:
                raise
        time.sleep(wait)
    return call_with_timeout(work)


def _names(folder: Path) -> tuple[list[str], bool]:
    """Return names in a folder of Drive, and whether they are all: for a few seconds, and no more than some."""
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
            names, whole = _names(folder)
            if wanted in names:
                return _listed_but_gone(spec, where(parts[:known]))
            close = _close(wanted, names)
            place = where(parts[:known])
            if close:
                lines.append(f"In {place} there is: {', '.join(close)}")
                nearest = nearest or "/".join((*_shown(parts[:known]), close[0], *parts[known + 1 :]))
            elif not whole:
                lines.append(f"{place} holds very many files; it was not looked through.")
            elif known < len(parts) - 1:
                lines.append(f"In {place} there is no folder {wanted}.")
            else:
                few = [name for name in names if not name.startswith(".")][:4]
                lines.append(f"{place} holds {', '.join(few)}{' and more' if len(names) > 4 else ''}." if few else "")
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
    return UnavailableError(
        f"Your Drive is connected, but {spec.value} is not in it.",
        *lines,
        *last,
    )


def _listed_but_gone(spec: Spec, place: str) -> UnavailableError:
    return UnavailableError(
        f"Google Drive lists {spec.file_name} in {place}, and then says that there is no such file:\n"
        "its connection is about to break, or the file has just been moved. You did nothing wrong.",
        "",
        "Run this in a cell of its own, then your own line again:",
        "",
        f"    {RECONNECT}",
    )


def _shown(parts: tuple[str, ...]) -> tuple[str, ...]:
    return parts[1:] if parts[:1] == ("MyDrive",) else parts


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


def _close(name: str, names: list[str]) -> list[str]:
    lower = {unicodedata.normalize("NFC", other).lower(): other for other in reversed(names)}
    close = difflib.get_close_matches(unicodedata.normalize("NFC", name).lower(), lower, 3, 0.6)
    return [lower[other] for other in close]


# --- connecting


def _connect(spec: Spec, runtime: Runtime, reporter: Reporter, dead: DriveMount | None) -> Path:
    """Connect Drive, and return its mount point; or raise what says why that cannot be done here."""
    if runtime.platform != "colab":
        raise _elsewhere(spec, runtime, dead)
    if not runtime.in_kernel:
        raise broken(spec, dead.errno) if dead else _from_a_bang_line(spec)
    if threading.current_thread() is not threading.main_thread():
        # The kernel's reply is read by whichever thread asks first (colabtools, _message.py).
        raise UnavailableError(
            "Your Drive is not connected yet, and that can only be done by the cell itself,\n"
            "not by a thread that it has started.",
            "",
            "Next: run this in a cell of its own, then your cell again:",
            "",
            f"    {RECONNECT if dead else CONNECT}",
        )
    point = dead.path if dead else runtime.system_root / "content/drive"
    try:
        from google.colab import drive as colab_drive
    except ImportError as error:
        raise explain_mount_error(error, spec, point) from error
    if dead is not None:
        reporter.note("The connection to your Drive has broken; it is made again now.")
    else:
        reporter.note("Google now asks to connect your Drive: choose the account that holds the file.")
    options: dict[str, Any] = {"force_remount": True} if dead else {}
    try:
        colab_drive.mount(str(point), timeout_ms=_MOUNT_MS, **options)
    except Exception as error:
        if "initial read of root folder" not in str(error):
            raise explain_mount_error(error, spec, point) from error
        # What was listed is kept, so that a second try gets further (colabtools#5028).
        reporter.note("Your Drive holds very many items; Google needs more time. Trying once more.")
        try:
            colab_drive.mount(str(point), timeout_ms=_MOUNT_AGAIN_MS, **options)
        except Exception as second:
            raise explain_mount_error(second, spec, point) from second
    return point


def _quoted(spec: Spec | str) -> str:
    text = str(spec)
    return repr(text) if '"' in text or "\\" in text else f'"{text}"'


def _from_a_bang_line(spec: Spec) -> UnavailableError:
    return UnavailableError(
        'Your Drive is not connected yet, and a line that starts with "!" cannot connect it:\n'
        "Google asks for permission only in an ordinary Python cell.",
        "",
        'To keep the "!" line, run this in a cell of its own first, then your line again:',
        "",
        f"    {CONNECT}",
        "",
        "Or do it all in Python. Next: put these two lines in place of yours and run the cell:",
        "",
        "    import datastage",
        f"    path = datastage.stage({_quoted(spec)})",
    )


def broken(spec: Spec | str, code: int = errno.ENOTCONN) -> UnavailableError:
    """Make the error for a Drive that was connected and answers no more."""
    error = UnavailableError(
        f'The connection to your Drive has broken ("{os.strerror(code)}").\n'
        "Colab's Drive client has stopped; your files are not harmed, and you did nothing wrong.",
        "",
        "Run this in a cell of its own; Google may ask for the account again:",
        "",
        f"    {RECONNECT}",
        "",
        f"It breaks again and again? Drive's client runs out of memory when a program reads many\n"
        f"files through it: {_quoted(spec)} as one zip is read in one go.",
        "Next: after that, run your own line again.",
    )
    error.errno = code
    return error


def _elsewhere(spec: Spec, runtime: Runtime, dead: DriveMount | None) -> UnavailableError:
    name = spec.file_name
    share = [
        ' 1. At drive.google.com, right-click the file: Share, "Anyone with the link", Copy link.',
        "    Then give the link in place of the drive: text (this needs the internet).",
    ]
    if runtime.platform == "kaggle":
        return UnavailableError(
            "Google Drive cannot be connected in a Kaggle notebook. There are two other ways:",
            "",
            *share,
            f" 2. Or download {name} to your own computer; then, in the right-hand panel,",
            '    "Input" > "Upload" > New Dataset, any title, "Create".',
            "",
            'Next:  path = datastage.stage("https://drive.google.com/file/d/...")  or "kaggle:TITLE"',
        )
    if dead is not None:
        return UnavailableError(
            f"Google Drive is set up at {dead.path}, but it does not answer ({os.strerror(dead.errno)}).",
            "Next: start Google Drive on this machine again, then run the same line.",
        )
    return UnavailableError(
        "Google Drive is not connected on this machine: drive: works in Colab, and where\n"
        "Google Drive for desktop is installed. There are two other ways:",
        "",
        *share,
        f" 2. Or download {name} from drive.google.com and put it beside your notebook or script.",
        "",
        f'Next:  path = datastage.stage("https://drive.google.com/file/d/...")  or "./{name}"',
    )


_RESTART = "Runtime > Disconnect and delete runtime, then Runtime > Run all"


def _other_ways(spec: Spec) -> list[str]:
    name = spec.file_name
    return [
        f"Without connecting Drive: at drive.google.com, right-click {name}: Share >",
        '"Anyone with the link" > Copy link, and give that link in place of the drive: text.',
    ]


def explain_mount_error(error: Exception, spec: Spec, point: Path) -> UnavailableError:
    """Say what an error of ``google.colab.drive.mount`` means, and what to do.

    The texts are those of colabtools, google/colab/drive.py and _message.py (2026-04).

    Parameters
    ----------
    error : Exception
        What `mount` raised.
    spec : Spec
        What the user asked for.
    point : Path
        Where Drive was to be mounted.
    """
    text = str(error)
    again = "Next: run this cell again."
    if isinstance(error, AttributeError) and "kernel" in text:
        return _from_a_bang_line(spec)
    if "credential propagation" in text:
        return UnavailableError(
            "Google did not connect your Drive: its window was closed or refused, or another\n"
            "account was chosen than the one this notebook is open with.",
            "",
            " 1. Look at the picture at the top right: that account has to hold the file.",
            " 2. Let the browser show pop-ups and keep cookies for colab.research.google.com.",
            " 3. In Google's window choose that account, and tick everything it asks for.",
            "",
            *_other_ways(spec),
            again,
        )
    if "Colab Enterprise" in text:
        return UnavailableError(
            "Drive cannot be connected in Colab Enterprise; Google does not offer it there.",
            *_other_ways(spec),
            "Next: run this cell with the link; or copy the file into a bucket of your project.",
        )
    if isinstance(error, NotImplementedError):
        return UnavailableError(
            "Drive cannot be connected in this runtime: it is not one of Colab's own machines.",
            "In Colab, the arrow beside Connect > Connect to a hosted runtime gives one.",
            *_other_ways(spec),
            "Next: change the runtime or the line, and run this cell again.",
        )
    if "initial read of root folder" in text:
        return UnavailableError(
            "Google did not manage to list your My Drive in ten minutes: it holds too many items\n"
            "side by side, outside of any folder. Your files are not harmed.",
            "",
            " 1. At drive.google.com, make a folder, and move the loose files of My Drive into it.",
            " 2. Try again: what was listed is kept, and a second or third try often succeeds.",
            "",
            *_other_ways(spec),
            again,
        )
    if "domain policy" in text:
        return UnavailableError(
            "The school or company that this account belongs to does not let Drive be connected.",
            *_other_ways(spec),
            "Or copy the file into the Drive of a private account, and open the notebook with it.",
            again,
        )
    if "already contain files" in text:
        return UnavailableError(
            f"Something lies in {point} already, so that Drive cannot be connected there:\n"
            "a program wrote into it while Drive was not connected. That is not in your Drive.",
            "",
            f"Run this in a cell; the files move to {point}-old, where you can look at them:",
            "",
            f"    !mv {point} {point}-old",
            "",
            again,
        )
    if "Mountpoint must" in text:
        return UnavailableError(
            f"Drive cannot be connected at {point}: {text[0].lower()}{text[1:]}.",
            "A fresh machine has a place for it.",
            f"Next: {_RESTART}.",
        )
    if "must be a directory if present" in text:
        return UnavailableError(f"Drive cannot be connected: {text}.", f"Next: {_RESTART}.")
    if isinstance(error, KeyError) and "TBE_EPHEM_CREDS_ADDR" in text:
        return UnavailableError(
            "This Colab machine lacks what Drive's client needs (TBE_EPHEM_CREDS_ADDR is not set).",
            "That is the machine's fault, not yours; a fresh one has it.",
            f"Next: {_RESTART}.",
        )
    if type(error).__name__ == "TIMEOUT" and type(error).__module__.startswith("pexpect"):
        return UnavailableError(
            "Colab's Drive client did not answer in time; it hangs. Your files are not harmed.",
            f"It hangs again? {_RESTART}.",
            *_other_ways(spec),
            again,
        )
    if "mount failed" in text:
        return UnavailableError(
            "Drive was not connected: Google's question was not answered in time, or its client\n"
            "stopped. Your files are not harmed.",
            " 1. Run this cell again, and answer Google's window within two minutes.",
            "    No window? The browser may have blocked it: look at the end of the address bar.",
            f" 2. It fails again? {_RESTART}.",
            *_other_ways(spec),
            again,
        )
    return UnavailableError(
        f"Drive could not be connected: {type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}",
        f"It fails again? {_RESTART}.",
        *_other_ways(spec),
        again,
    )


# --- reading


def explain_os_error(error: OSError, path: Path, runtime: Runtime) -> DatastageError:
    """Say what an error met while reading `path` from Drive means: for whoever reads, to raise in its place.

    Parameters
    ----------
    error : OSError
        As it came.
    path : Path
        The file or folder on Drive.
    runtime : Runtime
        Where we are.

    Returns
    -------
    DatastageError
        With the same ``errno``; an `UnavailableError` where another place may be tried instead.
    """
    spec = _as_spec(path, runtime)
    made: DatastageError
    if error.errno == errno.EIO and _quota_is_used_up(drive_log(runtime.system_root)):
        made = _quota(path, spec)
    elif error.errno == errno.EIO:
        made = UnavailableError(
            f"Google Drive broke off while {path.name} was read (Input/output error).",
            "The file may be served again in a minute; or Drive's client is out of room or memory.",
            "Does it happen again? At drive.google.com, right-click it, Make a copy; use the copy.",
            "Next: run the same line again.",
        )
    elif error.errno in transfer.DEAD_MOUNT and runtime.platform == "colab":
        made = broken(spec, error.errno or errno.ENOTCONN)
    elif error.errno in transfer.DEAD_MOUNT:
        made = UnavailableError(
            f"Google Drive stopped answering while {path.name} was read ({os.strerror(error.errno or 0)}).",
            "Next: start Google Drive on this machine again, then run the same line.",
        )
    elif error.errno == errno.ENOENT:
        made = UnavailableError(
            f"{path.name} was there a moment ago, and Google Drive does not show it any more.",
            "Was it moved or renamed at drive.google.com? Otherwise Drive's client is about to stop:",
            "run this in a cell of its own, then your line again.",
            "",
            f"    {RECONNECT}",
        )
    else:
        return StorageError.of(error, f"reading {path.name} from Google Drive", "Next: run the same line again.")
    assert isinstance(made, UnavailableError)
    made.errno = error.errno
    made.filename = str(path)
    return made


def _quota_is_used_up(log: Path) -> bool:
    """Look at the end of the Drive client's log: to a program a used-up quota is an input/output error like others."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            return b"QUOTA_EXCEEDED" in file.read()
    except OSError:
        return False


def _quota(path: Path, spec: str) -> UnavailableError:
    size = ""
    try:
        size = f" It takes {human_bytes(path.stat().st_size)} of your Drive."
    except OSError:
        pass
    folder, _, name = spec.removeprefix("drive:").rpartition("/")
    copy = f"drive:{folder}/Copy of {name}" if folder else f"drive:Copy of {name}"
    return UnavailableError(
        f"Google refuses {path.name} for now: it has been read or downloaded too often today.\n"
        "The file is right, and you did nothing wrong. Google lifts this within about 24 hours.",
        "",
        f"You need not wait: a copy of your own has its own limit.{size}",
        "",
        " 1. At drive.google.com, find the file, and right-click it.",
        ' 2. Press "Make a copy". Look where it lands, and what Google called it there.',
        "",
        "Is this from a course? Tell your teacher, so that the file is put in a second place.",
        f"Next, in a cell:   path = datastage.stage({_quoted(copy)})",
    )


def _as_spec(path: Path, runtime: Runtime) -> str:
    for mount in drive_mounts(runtime.system_root, around=path):
        parts = path.relative_to(mount.path).parts
        if parts:
            top = _TOPS.get(parts[0].lower(), parts[0])
            return "drive:" + "/".join(_shown((top, *parts[1:])))
    return f"drive:{path.name}"
