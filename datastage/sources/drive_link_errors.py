"""What a refusal of Google Drive, or an error of gdown, means for a shared link: the words."""

from __future__ import annotations

import html
import re

from datastage.errors import DatastageError, StorageError, UnavailableError
from datastage.network import is_offline
from datastage.sources.drive_errors import over_quota
from datastage.sources.libraries import Answers, Failure, answered
from datastage.spec import Spec

HOST = "drive.google.com"
_HAS_KEY = "(The link carries a resource key, which gdown cannot pass on: a copy of your own needs none.)"
_NAME_S = 5.0
_PAGE_BYTES = 64 * 1024


def page(spec: Spec) -> str:
    """Return what to open in a browser. A resource key is a secret of the link: it is not repeated."""
    if spec.parts[1]:
        return "(the link as it was given to you)"
    return f"https://{HOST}/drive/folders/{spec.value}" if spec.parts[0] == "folder" else file_page(spec.value)


def file_page(file_id: str) -> str:
    """Return the page of a shared file."""
    return f"https://{HOST}/file/d/{file_id}/view"


def name_of(spec: Spec) -> str:
    """Return the file's name from its page, which Google shows when it refuses the file; empty if that fails."""
    try:
        import requests  # gdown's own

        with requests.get(file_page(spec.value), timeout=_NAME_S, stream=True) as response:
            head = next(response.iter_content(_PAGE_BYTES), b"").decode("utf-8", "replace")
    except Exception:  # whatever it is: the name is a kindness, the refusal is what counts
        return ""
    title = re.search(r"<title>([^<]{1,120}) - Google Drive</title>", head)
    name = html.unescape(title.group(1)).strip() if title else ""
    return name if name.isprintable() else ""


def explained(error: Exception, spec: Spec) -> DatastageError:
    """Say what an error of gdown means."""
    if isinstance(error, DatastageError):
        return error
    failure = Failure.of(error)
    if failure.says("Too many users have viewed or downloaded"):
        return quota(spec, spec.name or name_of(spec))
    unseen = failure.says("Cannot retrieve the public link", "Cannot retrieve the folder", "Failed to retrieve folder")
    if unseen or failure.status in (401, 403):
        return not_shared(spec)
    is_network = failure.is_a("RequestException", "DownloadError")
    if is_network and not failure.status and is_offline(HOST):
        return no_internet(spec)
    if isinstance(error, OSError) and not is_network and not failure.is_a("TimeoutError"):
        return StorageError.of(error, "writing the shared file")
    return answered(_REFUSALS, failure, reason=_reason(str(error)), page=page(spec))


def quota(spec: Spec, name: str = "") -> UnavailableError:
    """Make the error for a file that too many people have downloaded today."""
    return over_quota(
        f"Google refuses {name or 'this file'} for now: too many people have downloaded it today.\n"
        "The link is right, and you did nothing wrong. Google lifts this within about 24 hours.",
        " It takes room in your Drive.",
        " 1. Open this link in your browser, signed in to Google:",
        f"    {page(spec)}",
        ' 2. Press the three dots at the top, then "Make a copy". It lands in My Drive; look',
        "    what Google called it there.",
        copy=f"drive:Copy of {name or 'NAME.zip'}",
    )


def not_shared(spec: Spec) -> UnavailableError:
    """Make the error for what only its owner, or those who are asked in, may see."""
    kind = spec.parts[0]
    return UnavailableError(
        f"Google does not give out this {kind}: it is not shared with everybody who has the link,\n"
        "or it has been downloaded very often.",
        *([_HAS_KEY] if spec.parts[1] else []),
        "",
        " 1. Whoever owns it: right-click it in Drive > Share > General access >",
        '    "Anyone with the link".',
        " 2. Can you open it in your browser, signed in to Google? Then, in Drive:",
        '    "Organise" > "Add shortcut" > My Drive, and in Colab use drive: and its name.',
        f"    {page(spec)}",
        "",
        "Next: when it is shared, run the same line again.",
    )


def no_internet(spec: Spec) -> UnavailableError:
    """Make the error for a machine that is not connected."""
    return UnavailableError(
        f"The internet cannot be reached from here, so the shared {spec.parts[0]} cannot be downloaded.",
        "",
        " 1. On Kaggle, with a verified phone: right-hand panel > Settings > Internet > On.",
        " 2. Or download it on your own computer, and bring it here: upload it (on Kaggle as an",
        '    "Input" > "Upload"), or copy it to this machine.',
        f"    {page(spec)}",
        "",
        "Next: run the same line again, or name the file with ./ in front.",
    )


_AGAIN = ("Nothing was kept of it, and you did nothing wrong.", "Next: run the same line again.")
_BY_HAND = "Next: {}put {} beside your notebook{}, and name it with ./ in front."
# fmt: off
_REFUSALS: Answers = (
    (lambda it: it.is_a("FolderContentsMaximumLimitError"), (
        "This folder, or one in it, holds 50 files or more, and the gdown that is installed here\n"
        "stops at 50. Nothing was fetched.",
        "",
        " 1. Version 6 of gdown has no such limit:  pip install -U gdown",
        "    and then restart the session (in Colab: Runtime > Restart session).",
        " 2. Or open the link, signed in to Google, right-click the folder's name, and press",
        '    "Organise" > "Add shortcut" > My Drive; then, in Colab:  drive:NAME OF THE FOLDER',
        " 3. Or ask whoever shared it for one zip: a link to one file works everywhere.",
        "    {page}",
        "",
        "Next: do one of these, then run the same line again.",
    )),
    (lambda it: it.is_a("FileURLRetrievalError"), (
        "Google does not give out this file, and says:",
        "  {reason}",
        "Open it in your browser, signed in to Google:  {page}",
        _BY_HAND.format("download it there, ", "it", ""),
    )),
    (lambda it: it.is_a("HTTPError") and it.status == 404, (
        "Google knows no file behind this link: it was removed, or the link is incomplete.",
        "Next: copy the link again: right-click the file in Drive > Share > Copy link.",
    )),
    (lambda it: it.is_a("HTTPError"),
     ("Google Drive answered with error {status}.", "Next: run the same line in a minute.")),
    (
        lambda it: (
            it.says("incomplete") or it.is_a("ChunkedEncodingError", "IncompleteRead", "ProtocolError")
        ),
        ("The connection to Google Drive was cut before the whole file had come.", *_AGAIN),
    ),
    (lambda it: it.is_a("Timeout", "TimeoutError") or it.says("timed out"),
     ("Google Drive sent nothing for a long time, and the download was given up.", *_AGAIN)),
    (lambda it: it.is_a("RequestException", "DownloadError"),
     ("The download from Google Drive failed: {kind}.", "Next: run the same line again.")),
    (lambda it: True, (
        "gdown could not fetch this link: {kind}: {text}",
        "Open it in your browser, and download it there:  {page}",
        _BY_HAND.format("", "the file", " or script"),
    )),
)
# fmt: on


def _reason(text: str) -> str:
    """Return the reason from gdown's text: the lines that it indents, up to the first empty one."""
    indented = re.search(r"(?:^\t.*\n?)+", text, re.MULTILINE)
    return " ".join(indented[0].split()) if indented else " ".join(text.split())[:200]
