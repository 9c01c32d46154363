"""Shared Google Drive links to one file, through gdown.

Here: the download by the file's id, and what each refusal means. Not here: folders behind a link (a later release), a
Drive of one's own (`drive`).

Colab and Kaggle hold gdown 5.2.2, others 6: only what both know is passed, and the rest where the signature has it.
5.2.2 saves the web page in the file's place when it is given a whole link, so it is given the id; it has no timeout,
so it works in a thread that is watched; and both may return without a file, so what came is looked at.
"""

from __future__ import annotations

import html
import importlib.util
import inspect
import os
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datastage import archives
from datastage.errors import (
    DatastageError,
    MissingDependencyError,
    NotDataError,
    SpecError,
    StorageError,
    UnavailableError,
)
from datastage.progress import Reporter
from datastage.runtime import is_offline
from datastage.sources.found import Context, Fetch, Found
from datastage.spec import Spec, without_secrets
from datastage.timeouts import start

HOST = "drive.google.com"
# A server that sends nothing for this long has hung up without saying so.
STALL_S = 60.0
_POLL_S = 0.1
_HEAD_BYTES = 1024
_NAME_S = 5.0
_PAGE_BYTES = 64 * 1024
_LEAVE_S = 1.0


def parse_link(text: str, url: urllib.parse.SplitResult) -> Spec:
    """Tell the file's or folder's id in a shared link; the parts are which of both, and the resource key or ""."""
    query = dict(urllib.parse.parse_qsl(url.query))
    key = query.get("resourcekey", "")
    folder = re.search(r"/folders/([A-Za-z0-9_-]{10,})", url.path)
    found = folder or re.search(r"/d/([A-Za-z0-9_-]{10,})", url.path)
    file_id = found.group(1) if found else query.get("id", "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{10,}", file_id):
        raise SpecError(
            f"{without_secrets(text)!r} is a Google address without a file in it.",
            "In Drive, right-click the file > Share > Copy link.",
            "Next: https://drive.google.com/file/d/ID/view",
        )
    return Spec(text, "share", file_id, ("folder" if folder else "file", key))


def open_drive_link(spec: Spec, context: Context) -> Found:
    """Prepare the download of the file that a shared link leads to. Nothing is fetched yet."""
    kind, key = spec.parts
    if kind == "folder":
        raise UnavailableError(
            "This link leads to a folder; links to folders come with a later release of datastage.",
            "",
            " 1. Open the link, signed in to Google, and right-click the folder's name.",
            ' 2. "Organise" > "Add shortcut" > My Drive: then it is in your own Drive, in Colab.',
            "    A link to one zip file works everywhere: ask whoever shared it for that.",
            "",
            'Next, in Colab:   path = datastage.stage("drive:NAME OF THE FOLDER")',
        )
    if importlib.util.find_spec("gdown") is None:
        raise MissingDependencyError(
            "A shared Google Drive link needs the library gdown, which is not installed here.",
            "Everything else works without it: drive: in Colab, files, https:// addresses.",
            "Or open the link in a browser, download the file, and put it beside your notebook or script.",
            "Next:  pip install gdown   and run the same line again.",
        )
    if is_offline(HOST):
        raise _no_internet(spec)
    fetch = partial(_fetch, spec=spec, stall_s=STALL_S)
    return Found(Fetch(fetch), str(spec), "a shared file in Google Drive")


def _page(spec: Spec) -> str:
    """Return what to open in a browser. A resource key is a secret of the link: it is not repeated."""
    if spec.parts[1]:
        return "(the link as it was given to you)"
    return f"https://{HOST}/file/d/{spec.value}/view"


# --- the download


def _fetch(folder: Path, reporter: Reporter, *, spec: Spec, stall_s: float) -> Path:
    import gdown

    reporter.phase("copying the shared file", None)
    watch = _Watch(reporter)
    cancel = threading.Event()
    wanted: dict[str, Any] = {
        "id": spec.value,
        "output": str(folder) + os.sep,  # the name is Google's
        "quiet": True,
        "use_cookies": False,  # else it reads and writes a file in the user's home
    }
    maybe: dict[str, Any] = {"timeout": (10.0, stall_s), "progress": watch.told, "cancel": cancel}
    known = inspect.signature(gdown.download).parameters
    wanted |= {name: value for name, value in maybe.items() if name in known}
    try:
        made = _watched(partial(gdown.download, **wanted), folder, watch, stall_s, cancel)
    except DatastageError:
        raise
    except Exception as error:
        raise _explained(error, spec) from error
    if not isinstance(made, str) or not os.path.isfile(made):
        raise UnavailableError(
            "Google gave no file for this link, and no reason either.",
            f"Open it in your browser, and look whether the file is there:  {_page(spec)}",
            "Next: run the same line again.",
        )
    path = Path(made)
    _check(path, spec)
    return path


class _Watch:
    """Counts the bytes of a download: as gdown tells them, or by the size of its unfinished file."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.done = 0
        self.is_told = False

    def told(self, done: int, total: int | None) -> None:
        if not self.is_told:
            self.is_told = True
            if total is not None:
                self.reporter.phase("copying the shared file", total)
        self.seen(done)

    def seen(self, done: int) -> None:
        if done > self.done:
            self.reporter.advance(done - self.done)
            self.done = done


def _watched(work: Callable[[], Any], folder: Path, watch: _Watch, stall_s: float, cancel: threading.Event) -> Any:
    """Run `work` in a thread, so that a server that stalls, or the user, can end it."""
    thread, outcome = start(work, "datastage-gdown")
    last, seen_at = 0, time.monotonic()
    try:
        while thread.is_alive():
            thread.join(_POLL_S)
            size = _size(folder)
            if not watch.is_told:
                watch.seen(size)
            if size != last:
                last, seen_at = size, time.monotonic()
            elif time.monotonic() - seen_at > stall_s + _LEAVE_S:
                raise TimeoutError
    except BaseException:
        cancel.set()  # gdown 6 stops; the thread of an older one ends with the program
        thread.join(_LEAVE_S)
        raise
    return outcome()


def _size(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:  # renamed while we look
        return 0


def _check(path: Path, spec: Spec) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    what = archives.not_data(head, path.name)
    if what is None:
        return
    path.unlink()
    if "quota" in what:
        raise quota(spec, path.name)
    raise NotDataError(
        f"What Google sent for this link is {what}, not the file.",
        f"Open it in your browser, signed in to Google, and download it there:  {_page(spec)}",
        "Next: put the file beside your notebook or script, and name it with ./ in front.",
    )


# --- refusals


def _explained(error: Exception, spec: Spec) -> DatastageError:
    """Say what an error of gdown means. Its classes differ from version to version; its texts and requests' do not."""
    text = " ".join(str(error).split())
    names = {cls.__name__ for cls in type(error).__mro__}
    if "Too many users have viewed or downloaded" in text:
        return quota(spec, _name_of(spec))
    if "Cannot retrieve the public link" in text:
        return _not_shared(spec)
    if "FileURLRetrievalError" in names:
        return UnavailableError(
            "Google does not give out this file, and says:",
            f"  {_reason(str(error))}",
            f"Open it in your browser, signed in to Google:  {_page(spec)}",
            "Next: download it there, put it beside your notebook, and name it with ./ in front.",
        )
    if "HTTPError" in names:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 404:
            return UnavailableError(
                "Google knows no file behind this link: it was removed, or the link is incomplete.",
                "Next: copy the link again: right-click the file in Drive > Share > Copy link.",
            )
        if status in (401, 403):
            return _not_shared(spec)
        return UnavailableError(f"Google Drive answered with error {status}.", "Next: run the same line in a minute.")
    if "incomplete" in text or names & {"ChunkedEncodingError", "IncompleteRead", "ProtocolError"}:
        return UnavailableError(
            "The connection to Google Drive was cut before the whole file had come.",
            "Nothing was kept of it, and you did nothing wrong.",
            "Next: run the same line again.",
        )
    if names & {"Timeout", "TimeoutError"} or "timed out" in text:
        return UnavailableError(
            "Google Drive sent nothing for a long time, and the download was given up.",
            "Nothing was kept of it, and you did nothing wrong.",
            "Next: run the same line again.",
        )
    if names & {"RequestException", "DownloadError"}:
        if is_offline(HOST):
            return _no_internet(spec)
        return UnavailableError(
            f"The download from Google Drive failed: {type(error).__name__}.", "Next: run the same line again."
        )
    if isinstance(error, OSError):
        return StorageError.of(error, "writing the shared file")
    return UnavailableError(
        f"gdown could not fetch this link: {type(error).__name__}: {text[:200]}",
        f"Open it in your browser, and download it there:  {_page(spec)}",
        "Next: put the file beside your notebook or script, and name it with ./ in front.",
    )


def _reason(text: str) -> str:
    """Return the reason from gdown's text: the lines that it indents, up to the first empty one."""
    reason: list[str] = []
    for line in text.splitlines():
        if line.startswith("\t"):
            reason.append(line.strip())
        elif reason:
            break
    return " ".join(reason) or " ".join(text.split())[:200]


def quota(spec: Spec, name: str = "") -> UnavailableError:
    """Make the error for a file that too many people have downloaded today."""
    return UnavailableError(
        f"Google refuses {name or 'this file'} for now: too many people have downloaded it today.\n"
        "The link is right, and you did nothing wrong. Google lifts this within about 24 hours.",
        "",
        "You need not wait: a copy of your own has its own limit. It takes room in your Drive.",
        "",
        " 1. Open this link in your browser, signed in to Google:",
        f"    {_page(spec)}",
        ' 2. Press the three dots at the top, then "Make a copy". It lands in My Drive; look',
        "    what Google called it there.",
        "",
        "Is this from a course? Tell your teacher, so that the file is put in a second place.",
        f'Next, in a cell:   path = datastage.stage("drive:Copy of {name or "NAME.zip"}")',
    )


def _name_of(spec: Spec) -> str:
    """Return the file's name from its page, which Google shows when it refuses the file; empty if that fails."""
    try:
        import requests  # gdown's own

        with requests.get(f"https://{HOST}/file/d/{spec.value}/view", timeout=_NAME_S, stream=True) as response:
            head = next(response.iter_content(_PAGE_BYTES), b"").decode("utf-8", "replace")
    except Exception:  # whatever it is: the name is a kindness, the refusal is what counts
        return ""
    title = re.search(r"<title>([^<]{1,120}) - Google Drive</title>", head)
    name = html.unescape(title.group(1)).strip() if title else ""
    return name if name.isprintable() else ""


def _not_shared(spec: Spec) -> UnavailableError:
    key = (
        ["(The link carries a resource key, which gdown cannot pass on: a copy of your own needs none.)"]
        if spec.parts[1]
        else []
    )
    return UnavailableError(
        "Google does not give out this file: it is not shared with everybody who has the link,\n"
        "or it has been downloaded very often.",
        *key,
        "",
        " 1. Whoever owns it: right-click it in Drive > Share > General access >",
        '    "Anyone with the link".',
        " 2. Can you open it in your browser, signed in to Google? Then, in Drive:",
        '    "Organise" > "Add shortcut" > My Drive, and in Colab use drive: and its name.',
        f"    {_page(spec)}",
        "",
        "Next: when it is shared, run the same line again.",
    )


def _no_internet(spec: Spec) -> UnavailableError:
    return UnavailableError(
        "The internet cannot be reached from here, so the shared file cannot be downloaded.",
        "",
        " 1. On Kaggle, with a verified phone: right-hand panel > Settings > Internet > On.",
        " 2. Or download it on your own computer, and bring it here: upload it (on Kaggle as an",
        '    "Input" > "Upload"), or copy it to this machine.',
        f"    {_page(spec)}",
        "",
        "Next: run the same line again, or name the file with ./ in front.",
    )
