"""Shared Google Drive links to a file or a folder: on the mount, where Drive is connected, or through gdown.

Colab and Kaggle hold gdown 5.2.2, others 6: only what both know is passed, and the rest where the signature has it.
5.2.2 saves the web page in the file's place when it is given a whole link, so it is given the id; it has no timeout,
so it works in a thread that is watched; and both may return without a file, so what came is looked at.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
import re
import threading
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datastage import archives
from datastage.errors import DatastageError, MissingDependencyError, NotDataError, SpecError, UnavailableError
from datastage.mounts import drive_mounts
from datastage.network import is_offline
from datastage.progress import Reporter
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.sources import drive
from datastage.sources import drive_link_errors as errors
from datastage.sources.found import Context, Fetch, Found
from datastage.sources.libraries import Watch
from datastage.spec import Spec
from datastage.timeouts import call_with_timeout
from datastage.transfer import Limits, Pool

# A server that sends nothing for this long has hung up without saying so.
STALL_S = 60.0
_LIST_S = 300.0
_HEAD_BYTES = 1024
_NAME_S = 5.0
_AT_ONCE = 4  # files of a folder


def parse_link(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell the file's or folder's id in a shared link; the parts are which of both, and the resource key or ""."""
    query = dict(urllib.parse.parse_qsl(url.query))
    folder = re.search(r"/folders/([A-Za-z0-9_-]{10,})", url.path)
    found = folder or re.search(r"/d/([A-Za-z0-9_-]{10,})", url.path)
    file_id = found.group(1) if found else query.get("id", "")
    if url.hostname == "docs.google.com" and not url.path.startswith(("/uc", "/open", "/file")):
        return _parse_document(text, url, file_id)
    if not re.fullmatch(r"[A-Za-z0-9_-]{10,}", file_id):
        raise SpecError(
            f"{hide_secrets(text)!r} is a Google address without a file in it.",
            "In Drive, right-click the file > Share > Copy link.",
            "Next: https://drive.google.com/file/d/ID/view",
        )
    return Spec(text, "share", file_id, ("folder" if folder else "file", query.get("resourcekey", "")))


def _parse_document(text: str, url: urllib.parse.SplitResult, file_id: str) -> Spec | None:
    """Take a sheet as its table; an address that exports or publishes one is a file like others."""
    if re.search(r"/(export|pub)$", url.path):
        return None
    kind = url.path.strip("/").split("/")[0]
    if kind == "spreadsheets" and file_id:
        sheet = re.search(r"gid=(\d+)", f"{url.query}&{url.fragment}")
        address = f"https://docs.google.com/spreadsheets/d/{file_id}/export?format=csv"
        return Spec(text, "http", address + (f"&gid={sheet.group(1)}" if sheet else ""), name="sheet.csv")
    what, ending = next((row[2:] for row in drive.DOCUMENTS if row[1] == kind), ("a page of Google", "a file"))
    raise SpecError(
        f"{hide_secrets(text)!r} is {what}, which lives in the browser: it holds no data.",
        f"Next: open it, press File > Download, as {ending}; put that file beside your notebook or script.",
    )


def open_drive_link(spec: Spec, context: Context) -> Found:
    """Reach the file or folder that a shared link leads to; what is fetched through gdown is not fetched yet."""
    kind = spec.parts[0]
    runtime = context.runtime
    on_mount = _on_mount(spec, runtime)
    if on_mount is not None:
        return on_mount
    if importlib.util.find_spec("gdown") is None:
        raise MissingDependencyError(
            "A shared Google Drive link needs the library gdown, which is not installed here.",
            "Everything else works without it: drive: in Colab, files, https:// addresses.",
            "Or open the link in a browser, download the file, and put it beside your notebook or script.",
            "Once gdown is installed, run the same line again.",
            "Next:  pip install gdown",
        )
    if is_offline(errors.HOST):
        raise errors.no_internet(spec)
    fetch = _fetch_folder if kind == "folder" else _fetch_file
    return Found(Fetch(partial(fetch, spec=spec)), str(spec), f"a shared {kind} in Google Drive")


def _on_mount(spec: Spec, runtime: Runtime) -> Found | None:
    """Find what a link leads to in a connected Drive: by a shortcut, whose folder bears the id, or by name and id."""
    mounts = [mount.path for mount in drive_mounts(runtime.system_root) if mount.alive]
    for mount in mounts:
        shortcut = (".shortcut-targets-by-id", spec.value)
        names, _ = drive.names_in(mount.joinpath(*shortcut))
        if names and (found := drive.find_at(spec, mount, (*shortcut, names[0]), runtime)) is not None:
            return found
    if not mounts or not hasattr(os, "getxattr") or is_offline(errors.HOST):
        return None
    name = errors.name_of(spec)
    for mount in mounts if name else ():
        for parts in drive.candidates(name):
            try:
                # DriveFS tells the id of a file by this attribute.
                file_id = call_with_timeout(partial(os.getxattr, mount.joinpath(*parts), "user.drive.id"), _NAME_S)
            except OSError:
                continue
            if file_id == spec.value.encode():
                return drive.find_at(spec, mount, parts, runtime)
    return None


# --- the download


def _options(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return the options that this version of gdown knows."""
    known = inspect.signature(function).parameters
    options |= {"quiet": True, "timeout": (10.0, STALL_S)}
    options["use_cookies"] = False  # else it reads and writes a file in the user's home
    return {name: value for name, value in options.items() if name in known}


def _fetch_file(folder: Path, reporter: Reporter, *, spec: Spec) -> Path:
    import gdown

    reporter.phase("copying the shared file", None)
    watch = Watch(reporter)
    cancel = threading.Event()
    options = _options(gdown.download, progress=watch.told, cancel=cancel)
    output = str(folder) + os.sep  # the name is Google's
    work = partial(gdown.download, id=spec.value, output=output, **options)
    return _checked(_watched(work, folder, watch, cancel, spec), spec)


def _checked(made: object, spec: Spec) -> Path:
    """Return the file that gdown made, if it is one, and holds no page of Google's."""
    if not isinstance(made, str) or not os.path.isfile(made):
        raise UnavailableError(
            "Google gave no file for this link, and no reason either.",
            f"Open it in your browser, and look whether the file is there:  {errors.page(spec)}",
            "Next: run the same line again.",
        )
    path = Path(made)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    what = archives.not_data(head, path.name)
    if what is None:
        return path
    path.unlink()
    if "quota" in what:
        raise errors.quota(spec, path.name)
    if b"virus" in head.lower():
        what = "Google's warning that the file is too large to be scanned for viruses"
    raise NotDataError(
        f"What Google sent for this link is {what}, not the file.",
        f"Open it in your browser, signed in to Google, and download it there:  {errors.page(spec)}",
        "Next: put the file beside your notebook or script, and name it with ./ in front.",
    )


def _fetch_folder(folder: Path, reporter: Reporter, *, spec: Spec) -> Path:
    """List the folder first, so that what gdown cannot do is said before the start; then fetch file by file."""
    import gdown

    reporter.phase("listing the shared folder", None)
    options = {"output": str(folder) + os.sep, "skip_download": True, **_options(gdown.download_folder)}
    work = partial(gdown.download_folder, id=spec.value, **options)
    try:
        listed = call_with_timeout(work, _LIST_S)
    except Exception as error:
        raise errors.explained(error, spec) from error
    if listed is None:  # 5.2.2 says no more than that
        raise errors.not_shared(spec)
    if not listed:
        raise UnavailableError(
            "The shared folder is empty, or its files are not shared.",
            f"Open it in your browser, and look what is in it:  {errors.page(spec)}",
            "Next: run the same line again when there is something.",
        )
    targets = [(one.id, _inside(folder, Path(one.local_path))) for one in listed]
    top = Path(os.path.commonpath([path.parent for _, path in targets]))
    reporter.phase(f"copying {len(targets):,} shared files", None)
    cancel = threading.Event()
    options = _options(gdown.download, cancel=cancel)

    def get(target: tuple[str, Path]) -> None:
        file_id, path = target
        one = Spec(errors.file_page(file_id), "share", file_id, ("file", ""), path.name)
        try:
            if not cancel.is_set():
                path.parent.mkdir(parents=True, exist_ok=True)
                _checked(gdown.download(id=file_id, output=str(path), **options), one)
        except Exception as error:
            if not cancel.is_set():  # else it was ended by the error of another, which counts
                told = errors.explained(error, one)
                cancel.set()
                raise told from error

    pool = Pool("Google Drive", Limits(stall_s=math.inf))  # what is watched already needs no second watch
    _watched(partial(pool.run, get, targets, _AT_ONCE), folder, Watch(reporter), cancel, spec)
    return folder.joinpath(*top.relative_to(folder).parts[:1])


def _inside(folder: Path, path: Path) -> Path:
    """Return a path that gdown made of a stranger's names, if it lies in `folder`."""
    if not path.is_relative_to(folder) or ".." in path.parts:
        raise NotDataError(f"A file of the shared folder has a name that leads out of it: {path.name!r}.")
    return path


def _watched(work: Callable[[], Any], folder: Path, watch: Watch, cancel: threading.Event, spec: Spec) -> Any:
    try:
        return watch.run(work, folder, STALL_S, cancel.set)  # which gdown 6 looks at
    except DatastageError:
        raise
    except Exception as error:
        raise errors.explained(error, spec) from error
