"""What a source is (`Source`), what it is told (`Context`), and what it gives (`Found`)."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import stat
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datastage.errors import SpecError
from datastage.mounts import in_a_while
from datastage.progress import SILENT, Reporter, human_bytes
from datastage.reader import FileReader, Reader, stat_identity
from datastage.runtime import Runtime
from datastage.spec import Spec

if TYPE_CHECKING:
    from datastage.transfer import Limits


@dataclass(frozen=True, slots=True)
class Fetch:
    """Content that a library must write to a disk of ours first: `run` does, and returns what it made in the folder."""

    run: Callable[[Path, Reporter], Path]  # given an empty folder


@dataclass(frozen=True, slots=True)
class Found:
    """What a spec names, reached."""

    content: Path | Reader | Fetch  # a folder, the bytes of a file, or the way to fetch it
    place: str  # as printed, secrets removed: "drive:datasets.zip"
    seen: str  # in a person's words: "datasets.zip, 1.2 GB, in My Drive > Colab Notebooks"
    identity: str = ""  # changes when the content does; empty where nothing tells
    in_place: bool = False  # whether it may be used where it is, since copying would gain nothing
    digests: Mapping[str, str] = field(default_factory=dict)  # that its place publishes: {"md5": "c58f..."}

    @property
    def reader(self) -> Reader:
        """The bytes of the file that it must be."""
        if isinstance(self.content, Path | Fetch):
            remedy = "Next: name the files themselves, as in s-{000..003}.tar."
            raise SpecError(f"{self.place} is no single file.", remedy)
        return self.content


@dataclass(frozen=True, slots=True)
class Context:
    """What a source is told besides the spec."""

    runtime: Runtime  # where we are
    reporter: Reporter = SILENT
    has_hash: bool = False  # whether the user gave a digest of the file
    limits: Limits | None = None  # how patient to be with a server; None for the usual
    wait_s: float = 0.0  # how long to wait for a person who brings the file


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of place: a row of `datastage.sources.SOURCES`."""

    scheme: str  # `Spec.scheme` of its specs
    open: Callable[[Spec, Context], Found]  # reaches what the spec names
    # ``parse(text, word, rest)`` gives the `Spec` of ``word:rest``. None where nobody writes such a text.
    parse: Callable[[str, str, str], Spec] | None = None
    words: tuple[str, ...] = ()  # before the colon
    example: str = ""  # how its specs begin, for a message: "drive:"; empty leaves it out
    hosts: tuple[str, ...] = ()  # whose web pages lead to it, as do those of servers below them (www.)
    # ``parse_page(text, url)`` gives the `Spec` of a page of these hosts, or None to leave it to the next row.
    parse_page: Callable[[str, urllib.parse.SplitResult], Spec | None] | None = None
    # ``key(spec, cwd)`` gives what of the value tells two requests apart. No secret may be in it.
    key: Callable[[Spec, Path], str] = lambda spec, cwd: spec.value
    # ``address(spec)`` gives what a browser opens to download the file, secrets removed; None if it cannot.
    address: Callable[[Spec], str | None] = lambda spec: None


def at_path(
    path: Path,
    spec: Spec,
    status: os.stat_result,
    place: str,
    *,
    in_place: bool = False,
    reach: Callable[[Path], Reader] = FileReader,
) -> Found:
    """Return the file or folder at `path`; `place` is what a person calls the folder that it is in."""
    if stat.S_ISDIR(status.st_mode):
        seen = f"the folder {path.name or path} in {place}"
        return Found(path, str(spec), seen, stat_identity(status), in_place)
    reader = in_a_while(partial(reach, path))
    seen = f"{reader.name}, {human_bytes(reader.size or 0)}, in {place}"
    return Found(reader, str(spec), seen, reader.identity, in_place)


def names_near(name: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Return those of `names` that resemble a name, however it is spelt, the nearest first; at most three."""
    lower = {unicodedata.normalize("NFC", other).lower(): other for other in sorted(names, reverse=True)}
    close = difflib.get_close_matches(unicodedata.normalize("NFC", name).lower(), lower, 3, cutoff)
    return [lower[other] for other in close]


def quoted(spec: str) -> str:
    """Return a spec as it is written in Python, and in a shell but for ``$`` and backticks."""
    return repr(spec) if '"' in spec or "\\" in spec else f'"{spec}"'


def kaggle_title(name: str) -> str:
    """Return the title under which a person uploads a file to Kaggle, which takes those of 6 characters and more."""
    title = re.sub(r"[^a-z0-9]+", "-", name.split(".")[0].lower()).strip("-") or "my-data"
    return title if len(title) >= 6 else f"{title}-data"


def line_to_run(spec: str, runtime: Runtime, fallback: str = "") -> str:
    """Return the line that stages `spec` here: in Python, or as the command where no kernel is.

    Examples
    --------
    >>> from datastage.runtime import detect
    >>> line_to_run("drive:datasets.zip", detect({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}))
    'Next:  !datastage stage "drive:datasets.zip"'
    """
    shown = quoted(spec)
    if runtime.in_kernel:
        return f"Next:  path = datastage.stage({shown}{fallback and f', fallbacks=[{quoted(fallback)}]'})"
    bang = "!" if runtime.platform in ("colab", "kaggle") else ""
    if fallback:
        return f"Next:  {bang}datastage stage {shlex.quote(spec)} --fallback {shlex.quote(fallback)}"
    return f"Next:  {bang}datastage stage {shown if not set('$`') & set(shown) else shlex.quote(spec)}"
