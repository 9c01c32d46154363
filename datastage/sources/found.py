"""What a source is (`Source`), what it is told (`Context`), and what it gives (`Found`)."""

from __future__ import annotations

import contextlib
import os
import shlex
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from datastage.progress import SILENT, Reporter
from datastage.reader import Reader
from datastage.runtime import Runtime
from datastage.spec import Spec

if TYPE_CHECKING:
    from datastage.transfer import Limits


@dataclass(frozen=True, slots=True)
class Fetch:
    """Content that a library must write to a disk of ours first.

    Attributes
    ----------
    run : callable
        ``run(folder, reporter)`` writes into the given empty folder and returns the file or folder that it made.
    """

    run: Callable[[Path, Reporter], Path]


@dataclass(frozen=True, slots=True)
class Found:
    """What a spec names, reached.

    Attributes
    ----------
    content : Path, Reader or Fetch
        A folder, the bytes of a file, or the way to fetch it.
    place : str
        The place as printed, secrets removed: ``"drive:datasets.zip"``.
    seen : str
        What was found, in a person's words: ``"datasets.zip, 1.2 GB, in My Drive > Colab Notebooks"``.
    identity : str
        Changes when the content does; empty where nothing tells.
    in_place : bool
        Whether it may be used where it is, since copying would gain nothing.
    digests : mapping of str to str
        The digests of the file that its place publishes: ``{"md5": "c58f..."}``.
    """

    content: Path | Reader | Fetch
    place: str
    seen: str
    identity: str = ""
    in_place: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a source is told besides the spec.

    Attributes
    ----------
    runtime : Runtime
        Where we are.
    reporter : Reporter
        Told of what takes long.
    has_hash : bool
        Whether the user gave a digest of the file.
    limits : Limits or None
        How patient to be with a server; None for the usual.
    wait_s : float
        How long to wait for a person who brings the file.
    """

    runtime: Runtime
    reporter: Reporter = SILENT
    has_hash: bool = False
    limits: Limits | None = None
    wait_s: float = 0.0


def _value(spec: Spec, cwd: Path) -> str:
    return spec.value


def _no_address(spec: Spec) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of place: a row of `datastage.sources.SOURCES`.

    Attributes
    ----------
    scheme : str
        `Spec.scheme` of its specs.
    open : callable or None
        ``open(spec, context)`` reaches what the spec names. None where every spec becomes one of another row.
    parse : callable or None
        ``parse(text, word, rest)`` gives the `Spec` of ``word:rest``. None where nobody writes such a text.
    words : tuple of str
        The words before the colon.
    example : str
        How its specs begin, for a message: ``"drive:"``. Empty leaves it out.
    hosts : tuple of str
        Servers whose web pages lead to it. A page of a server below one of them (www.) counts too.
    parse_page : callable or None
        ``parse_page(text, url)`` gives the `Spec` of a page of these hosts, or None to leave it to the next row.
    key : callable
        ``key(spec, cwd)`` gives what of the value tells two requests apart. No secret may be in it.
    address : callable
        ``address(spec)`` gives what a browser opens to download the file, secrets removed; None if it cannot.
    """

    scheme: str
    open: Callable[[Spec, Context], Found] | None = None
    parse: Callable[[str, str, str], Spec] | None = None
    words: tuple[str, ...] = ()
    example: str = ""
    hosts: tuple[str, ...] = ()
    parse_page: Callable[[str, urllib.parse.SplitResult], Spec | None] | None = None
    key: Callable[[Spec, Path], str] = _value
    address: Callable[[Spec], str | None] = _no_address


def bytes_in(folder: Path) -> int:
    """Return the bytes of the files under a folder that another thread or process writes to."""
    size = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # renamed while we look
                size += os.lstat(os.path.join(base, name)).st_size
    return size


def line_to_run(spec: str, runtime: Runtime) -> str:
    """Return the line that stages `spec` here: in Python, or as the command where no kernel is.

    Examples
    --------
    >>> from datastage.runtime import detect
    >>> line_to_run("drive:datasets.zip", detect({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}))
    'Next:  !datastage stage "drive:datasets.zip"'
    """
    quoted = f'"{spec}"' if '"' not in spec and "\\" not in spec else repr(spec)
    if runtime.in_kernel:
        return f"Next:  path = datastage.stage({quoted})"
    bang = "!" if runtime.platform in ("colab", "kaggle") else ""
    return f"Next:  {bang}datastage stage {quoted if not set('$`') & set(quoted) else shlex.quote(spec)}"
