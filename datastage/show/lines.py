"""The lines that stay when work is done: what was found, copied, left out, what is inside, where it is, what is next.

The words are a person's: file, folder, copy, ready. A line has 88 columns, but for a path that needs more.
"""

from __future__ import annotations

import datetime
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datastage.errors import LABEL_WIDTH, WIDTH, columns, labelled_lines, wrapped
from datastage.progress import counted, duration, human_bytes
from datastage.reader import TREE
from datastage.redact import printable as printable
from datastage.runtime import Runtime
from datastage.show.following import next_line
from datastage.staged import Staged

_OF_A_MAC = ("__MACOSX", "._*", ".DS_Store")
_OF_WINDOWS = ("Thumbs.db", "desktop.ini")


def spread(n: int, most: int) -> list[int]:
    """Return numbers below `n`, at most so many, from all over."""
    return [(2 * i + 1) * n // (2 * most) for i in range(most)] if n > most else list(range(n))


def shortened(names: Sequence[str], width: int) -> str:
    """Return a list of names in at most `width` columns: the first ones and the last.

    >>> shortened(["airplane", "automobile", "bird", "cat", "deer", "dog", "truck"], 45)
    'airplane, automobile, bird, cat, ... truck'
    """
    names = [printable(name) for name in names]
    whole = ", ".join(names)
    if len(names) <= 5 and len(whole) <= width:
        return whole
    for first in (4, 3, 2, 1):
        if len(names) > first + 1 and len(text := f"{', '.join(names[:first])}, ... {names[-1]}") <= width:
            return text
    return whole if len(whole) <= width else f"{whole[: max(0, width - 4)].rstrip(' ,')} ..."


def when(then: datetime.datetime, now: datetime.datetime) -> str:
    """Return a moment as a person says it.

    >>> noon = datetime.datetime(2026, 11, 21, 12, 0)
    >>> when(noon, noon), when(noon - datetime.timedelta(days=1), noon), when(datetime.datetime(2026, 3, 5, 9, 7), noon)
    ('today at 12:00', 'yesterday at 12:00', 'on 5 March 2026')
    """
    days = (now.date() - then.date()).days
    if days in (0, 1):
        return f"{('today', 'yesterday')[days]} at {then:%H:%M}"
    return f"on {then.day} {then:%B} {then.year}"


def staged_lines(staged: Staged, here: Runtime) -> list[str]:
    """Return the lines for what was staged, or for what was ready already."""
    receipt, path, following = staged.receipt, str(staged), next_line(staged, here)
    if receipt.get("reused"):
        now = datetime.datetime.now().astimezone()
        return ready_lines(receipt, path=path, following=following, now=now)
    stays = stays_line(
        here.platform, disk_outlives_machine=here.disk_outlives_machine, from_input=_from_input(receipt, here)
    )
    return [*receipt_lines(receipt, path=path), "", stays, following]


def receipt_rows(receipt: Mapping[str, Any], *, path: str) -> list[tuple[str, str]]:
    """Return what is said of a receipt, each with its label: ``Copied``, ``Left out``, ``Inside``, ``Folder``."""
    rows = [("Copied" if not receipt.get("in_place") else "Used", _how(receipt))]
    if left_out := receipt.get("left_out"):
        rows.append(("Left out", left_out_text(left_out)))
    if n_replaced := receipt.get("n_replaced"):
        rows.append(("Twice", f"{counted(n_replaced, 'name')} in the archive; the later file counts"))
    if text := inside_of(receipt):
        if names := receipt["inside"]["names"]:
            text += f": {shortened([*map(str, names)], WIDTH - LABEL_WIDTH - len(text) - 2)}"
        rows.append(("Inside", text))
    if encoding := receipt.get("encoding"):
        rows.append(("Names", f"were read as {encoding}; look whether they are right (encoding= settles it)"))
    if dangling := receipt.get("dangling"):
        text = f"{counted(len(dangling), 'link')} to nothing, as {printable(dangling[0])}"
        rows.append(("Links", f"{text}: what was linked to was not packed"))
    rows.append(("File" if receipt.get("single") else "Folder", printable(path)))
    if stripped := receipt.get("stripped"):
        rows.append(("", f'(the outer folder "{printable(stripped)}" was taken off)'))
    return rows


def receipt_lines(receipt: Mapping[str, Any], *, path: str) -> list[str]:
    """Return the labelled lines of a receipt; what has no label stands behind the line before it, where it fits."""
    lines: list[str] = []
    for label, text in receipt_rows(receipt, path=path):
        if not label and len(lines[-1]) + 3 + len(text) <= WIDTH:
            lines[-1] += f"   {text}"
        else:
            lines += labelled_lines(label, text)
    return lines


def ready_lines(receipt: Mapping[str, Any], *, path: str, following: str, now: datetime.datetime) -> list[str]:
    """Return the three lines of a second run, which had nothing to do."""
    title = re.match(r"(.+?) in ", str(receipt.get("seen", ""))) if receipt.get("entry") else None
    what = title[1] if title else inside_of(receipt)
    verb = "Found" if receipt.get("in_place") else "Copied from"
    moment = receipt.get("staged_at")
    said = f" {when(datetime.datetime.fromisoformat(moment).astimezone(now.tzinfo), now)}" if moment else ""
    kind = "folder" if str(receipt.get("identity")).startswith(TREE) else "file"
    unchanged = f"; the {kind} there is unchanged" if receipt.get("unchanged") and not receipt.get("in_place") else ""
    rest = f"{said}{unchanged}. Nothing to do."
    source = "where it lies" if receipt.get("in_place") else origin(receipt, WIDTH - len(f"{verb} {rest}"))
    return [f"Ready: {printable(path)}{f', {what}' if what else ''}.", f"{verb} {source}{rest}", following]


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Say what was left out of an archive, and whose habit it is.

    >>> left_out_text({"__MACOSX": 50_000, ".DS_Store": 13})
    '50,013 hidden files that a Mac adds (__MACOSX, .DS_Store)'
    """
    kinds = sorted((kind for kind, n in left_out.items() if n), key=lambda kind: (-left_out[kind], kind))
    mac = any(kind in _OF_A_MAC for kind in kinds)
    windows = any(kind in _OF_WINDOWS for kind in kinds)
    total = sum(left_out.values())
    listed = printable(", ".join(kinds))
    if not all(kind in (*_OF_A_MAC, *_OF_WINDOWS) for kind in kinds):
        return f"{counted(total, 'file')} that are not data ({listed})"
    who = "a Mac and Windows add" if mac and windows else "a Mac adds" if mac else "Windows adds"
    return f"{counted(total, 'hidden file')} that {who} ({listed})"


def origin(receipt: Mapping[str, Any], width: int = 40) -> str:
    """Say where the data came from: ``your Drive``, ``your input "cifar10"``, a host, the end of a file's path."""
    place = str(receipt.get("place") or receipt.get("spec") or "")
    if place.startswith("drive:"):
        return "your Drive"
    if "://" in place:
        return urllib.parse.urlsplit(place).hostname or place
    return printable(place if len(place) <= width else f"...{place[3 - width :]}")


def stays_line(platform: str, *, disk_outlives_machine: bool, from_input: bool) -> str:
    """Say how long the folder stays, and what that means for next time."""
    if platform == "kaggle" and from_input:
        return "Ready for this session. Nothing to click next time: the input stays attached."
    if platform in ("colab", "kaggle"):
        return f"Ready for this session. {platform.title()} empties its disk afterwards: run the same line next time."
    if platform == "slurm" and not disk_outlives_machine:
        return "Ready for this job. The disk is emptied afterwards: keep the same line in the next job."
    if not disk_outlives_machine:
        return "Ready for this session. The disk is emptied afterwards: run the same line next time."
    return "Ready, and it stays here: next time the same line has nothing to do."


def _how(receipt: Mapping[str, Any]) -> str:
    if receipt.get("in_place"):
        return "where it lies: nothing was copied"
    seconds = float(receipt.get("seconds") or 0)
    n_bytes = int(receipt.get("n_bytes") or 0)
    # What an earlier run had fetched says nothing of the speed; of an archive nothing tells how much of it that was.
    fetched = n_bytes - int(receipt.get("resumed_bytes") or 0)
    is_known = not (receipt.get("format") and receipt.get("resumed_bytes"))
    rate = f" ({human_bytes(fetched / seconds)}/s)" if seconds >= 1 and fetched > 0 and is_known else ""
    if receipt.get("published"):
        return f"{human_bytes(n_bytes)} in {duration(seconds)}; every file is the published one"
    if receipt.get("format"):
        return f"and unpacked in {duration(seconds)}{rate}; every file was checked"
    return f"{human_bytes(n_bytes)} in {duration(seconds)}{rate}"


def fitted(text: str, stream: Any) -> str:
    """Wrap lines at words where they are wider than the screen, each under its own text; a path and code stay whole."""
    lines = []
    for line in text.split("\n"):
        label = re.match(r"(Set aside|\w+( \w+)?) +", line)
        has_label = label is not None and label.end() == LABEL_WIDTH
        indent = " " * (LABEL_WIDTH if has_label else len(line) - len(line.lstrip()))
        is_whole = len(line) <= (width := columns(stream)) or line.startswith(("Next:", "Folder ", "File ", "Ready:"))
        lines += [line] if is_whole else wrapped(line, width, rest=indent)
    return "\n".join(lines)


def writable(text: str, stream: Any) -> str:
    """Return the text with what the stream's encoding lacks written another way."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeError:
        text = text.translate({ord("█"): "#", ord("▓"): "+", ord("▒"): "=", ord("░"): "."})
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _from_input(receipt: Mapping[str, Any], here: Runtime) -> bool:
    if str(receipt.get("place", "")).startswith("your input"):
        return True
    source = receipt.get("source_path") or (receipt.get("folder") if receipt.get("in_place") else None)
    if here.input_root is None or source is None:
        return False
    return Path(os.path.abspath(str(source))).is_relative_to(here.input_root)


def inside_of(receipt: Mapping[str, Any]) -> str:
    """Say what the receipt counts, as ``4 images in 2 folders``; nothing of what is used in place: it is not walked."""
    inside = receipt.get("inside")
    if receipt.get("entry") or receipt.get("single") or receipt.get("in_place") or not inside:
        return ""
    text, n_folders = counted(int(inside["n"]), str(inside["kind"])), int(inside["folders"])
    return f"{text} in {counted(n_folders, 'folder')}" if n_folders > 1 else text
