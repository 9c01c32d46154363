"""What it means when Google Drive cannot be connected or read, and what to do: the words."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from datastage.errors import DatastageError, StorageError, UnavailableError
from datastage.mounts import DEAD_MOUNT, DriveMount, drive_log, drive_mounts
from datastage.progress import human_bytes
from datastage.runtime import Runtime
from datastage.sources.found import quoted
from datastage.sources.libraries import Answers, Failure, answered
from datastage.spec import Spec

CONNECT = 'from google.colab import drive; drive.mount("/content/drive")'
RECONNECT = 'from google.colab import drive; drive.mount("/content/drive", force_remount=True)'
_LOG_BYTES = 256 * 1024
TOPS = {
    "mydrive": "MyDrive",
    "my drive": "MyDrive",
    "shareddrives": "Shareddrives",
    "shared drives": "Shareddrives",
    ".shortcut-targets-by-id": ".shortcut-targets-by-id",
}


def below_my_drive(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path as it follows ``drive:``, without the folder that is meant anyway."""
    return parts[1:] if parts[:1] == ("MyDrive",) else parts


def from_a_bang_line(spec: Spec, to_write: bool = False) -> UnavailableError:
    """Make the error for a process that is not the kernel: it cannot ask for permission."""
    in_python = (
        "",
        "Or do it all in Python. Next: put these two lines in place of yours and run the cell:",
        "",
        "    import datastage",
        f"    path = datastage.stage({quoted(str(spec))})",
    )
    return UnavailableError(
        'Your Drive is not connected yet, and a line that starts with "!" cannot connect it:\n'
        "Google asks for permission only in an ordinary Python cell.",
        "",
        ("Next: " if to_write else 'To keep the "!" line, ')
        + "run this in a cell of its own first, then your line again:",
        "",
        f"    {CONNECT}",
        *(() if to_write else in_python),
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
        f"files through it: {quoted(str(spec))} as one zip is read in one go.",
        "Next: after that, run your own line again.",
    )
    error.errno = code
    return error


def elsewhere(spec: Spec, runtime: Runtime, dead: DriveMount | None) -> UnavailableError:
    """Make the error for a machine where Drive cannot be connected by us."""
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
_AGAIN = "Next: run this cell again."
_OTHER_WAY = "{other_way}"  # the two lines that say how to do without connecting Drive
# What `google.colab.drive.mount` raises: the texts are those of colabtools, google/colab/drive.py and _message.py
# (2026-04).
# fmt: off
_MOUNT_ERRORS: Answers = (
    (lambda it: it.says("credential propagation"), (
        "Google did not connect your Drive: its window was closed or refused, or another\n"
        "account was chosen than the one this notebook is open with.",
        "",
        " 1. Look at the picture at the top right: that account has to hold the file.",
        " 2. Let the browser show pop-ups and keep cookies for colab.research.google.com.",
        " 3. In Google's window choose that account, and tick everything it asks for.",
        "",
        _OTHER_WAY,
        _AGAIN,
    )),
    (lambda it: it.says("Colab Enterprise"), (
        "Drive cannot be connected in Colab Enterprise; Google does not offer it there.",
        _OTHER_WAY,
        "Next: run this cell with the link; or copy the file into a bucket of your project.",
    )),
    (lambda it: it.is_a("NotImplementedError"), (
        "Drive cannot be connected in this runtime: it is not one of Colab's own machines.",
        "In Colab, the arrow beside Connect > Connect to a hosted runtime gives one.",
        _OTHER_WAY,
        "Next: change the runtime or the line, and run this cell again.",
    )),
    (lambda it: it.says("initial read of root folder"), (
        "Google did not manage to list your My Drive in ten minutes: it holds too many items\n"
        "side by side, outside of any folder. Your files are not harmed.",
        "",
        " 1. At drive.google.com, make a folder, and move the loose files of My Drive into it.",
        " 2. Try again: what was listed is kept, and a second or third try often succeeds.",
        "",
        _OTHER_WAY,
        _AGAIN,
    )),
    (lambda it: it.says("domain policy"), (
        "The school or company that this account belongs to does not let Drive be connected.",
        _OTHER_WAY,
        "Or copy the file into the Drive of a private account, and open the notebook with it.",
        _AGAIN,
    )),
    (lambda it: it.says("already contain files"), (
        "Something lies in {point} already, so that Drive cannot be connected there:\n"
        "a program wrote into it while Drive was not connected. That is not in your Drive.",
        "",
        "Run this in a cell; the files move to {point}-old, where you can look at them:",
        "",
        "    !mv {point} {point}-old",
        "",
        _AGAIN,
    )),
    (lambda it: it.says("Mountpoint must"), (
        "Drive cannot be connected at {point}: {reason}.",
        "A fresh machine has a place for it.",
        f"Next: {_RESTART}.",
    )),
    (lambda it: it.says("must be a directory if present"),
     ("Drive cannot be connected: {text}.", f"Next: {_RESTART}.")),
    (lambda it: it.is_a("KeyError") and it.says("TBE_EPHEM_CREDS_ADDR"), (
        "This Colab machine lacks what Drive's client needs (TBE_EPHEM_CREDS_ADDR is not set).",
        "That is the machine's fault, not yours; a fresh one has it.",
        f"Next: {_RESTART}.",
    )),
    (lambda it: it.is_a("TIMEOUT"), (  # of pexpect
        "Colab's Drive client did not answer in time; it hangs. Your files are not harmed.",
        f"It hangs again? {_RESTART}.",
        _OTHER_WAY,
        _AGAIN,
    )),
    (lambda it: it.says("mount failed"), (
        "Drive was not connected: Google's question was not answered in time, or its client\n"
        "stopped. Your files are not harmed.",
        " 1. Run this cell again, and answer Google's window within two minutes.",
        "    No window? The browser may have blocked it: look at the end of the address bar.",
        f" 2. It fails again? {_RESTART}.",
        _OTHER_WAY,
        _AGAIN,
    )),
    (
        lambda it: True,
        ("Drive could not be connected: {kind}: {first}", f"It fails again? {_RESTART}.", _OTHER_WAY, _AGAIN),
    ),
)
# fmt: on


def mount_error(error: Exception, spec: Spec, point: Path, to_write: bool = False) -> UnavailableError:
    """Say what an error of ``google.colab.drive.mount`` at `point` means, and what to do."""
    text = str(error)
    if isinstance(error, AttributeError) and "kernel" in text:
        return from_a_bang_line(spec, to_write)
    other_way = (
        f"Without connecting Drive: at drive.google.com, right-click {spec.file_name}: Share >\n"
        '"Anyone with the link" > Copy link, and give that link in place of the drive: text.'
    )
    if to_write:
        other_way = "Without connecting Drive: write to a folder of this machine, and download it from there."
    first = text.splitlines()[0] if text else "no reason given"
    reason = text[:1].lower() + text[1:]
    facts = {"text": text, "reason": reason, "first": first, "point": point, "other_way": other_way}
    return answered(_MOUNT_ERRORS, Failure.of(error), **facts)


def explain_os_error(error: OSError, path: Path, runtime: Runtime) -> DatastageError:
    """Say what an error met while reading `path` from Drive means; with the same ``errno``, to raise in its place."""
    spec = _as_spec(path, runtime)
    if error.errno == errno.EIO and _quota_is_used_up(drive_log(runtime.system_root)):
        made = _quota(path, spec)
    elif error.errno == errno.EIO:
        made = UnavailableError(
            f"Google Drive broke off while {path.name} was read (Input/output error).",
            "The file may be served again in a minute; or Drive's client is out of room or memory.",
            "Does it happen again? At drive.google.com, right-click it, Make a copy; use the copy.",
            "Next: run the same line again.",
        )
    elif error.errno in DEAD_MOUNT and runtime.platform == "colab":
        made = broken(spec, error.errno or errno.ENOTCONN)
    elif error.errno in DEAD_MOUNT:
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
    with contextlib.suppress(OSError):
        size = f" It takes {human_bytes(path.stat().st_size)} of your Drive."
    folder, _, name = spec.removeprefix("drive:").rpartition("/")
    return over_quota(
        f"Google refuses {path.name} for now: it has been read or downloaded too often today.\n"
        "The file is right, and you did nothing wrong. Google lifts this within about 24 hours.",
        size,
        " 1. At drive.google.com, find the file, and right-click it.",
        ' 2. Press "Make a copy". Look where it lands, and what Google called it there.',
        copy=f"drive:{folder}/Copy of {name}" if folder else f"drive:Copy of {name}",
    )


def over_quota(opening: str, room: str, *steps: str, copy: str) -> UnavailableError:
    """Make the error for a file that was read too often today: a copy of one's own, by `steps`, gets round it."""
    return UnavailableError(
        opening,
        "",
        f"You need not wait: a copy of your own has its own limit.{room}",
        "",
        *steps,
        "",
        "Is this from a course? Tell your teacher, so that the file is put in a second place.",
        f"Next, in a cell:   path = datastage.stage({quoted(copy)})",
    )


def _as_spec(path: Path, runtime: Runtime) -> str:
    for mount in drive_mounts(runtime.system_root, around=path):
        parts = path.relative_to(mount.path).parts
        if parts:
            top = TOPS.get(parts[0].lower(), parts[0])
            return "drive:" + "/".join(below_my_drive((top, *parts[1:])))
    return f"drive:{path.name}"
