"""Every error that datastage raises on purpose: one small tree.

::

    DatastageError               message + remedy; exit code
      FaultError                 1  a fault of datastage itself; says where the report was written
      SpecError                  2  the user's words do not name anything; says what is near   (also ValueError)
      UnavailableError           3  no place had it: offline, quota, not attached; carries the attempts
                                    (also FileNotFoundError)
      IntegrityError             4  reached, but not what it should be
        NotDataError                a web page, a quota page, an LFS pointer instead of the file
        ChecksumError               the wrong bytes
        DamagedArchiveError         cut short, or its own checks fail
        UnsafeArchiveError          a member would land outside the folder, or is a device; names the rule
        PasswordError               the archive is locked: no password was given, or a wrong one
      StorageError               5  this machine will not take it   (also OSError)
        NoSpaceError                says how much is needed and how much is free
        LockTimeoutError            waited as long as was asked for another process; says which
      MissingDependencyError     5  names the extra, and what works without it   (also ImportError)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TextIO

from datastage.redact import for_a_screen, hide_secrets

WIDTH = 88  # columns of a screen that has room
LABEL_WIDTH = 10
_COMMAND = re.compile(r"(?<![\w!./])datastage (?=(\w+) )")
_CALL = re.compile(r"datastage\.\w+\(path(?:, | / )((?:[^()]|\([^()]*\))*)\)")


def columns(*streams: TextIO | None) -> int:
    """Return how wide lines may be: 88 columns, fewer on a terminal that has no more."""
    on_terminal = any(stream is not None and stream.isatty() for stream in streams or (sys.stdout, sys.stderr))
    return min(WIDTH, max(40, shutil.get_terminal_size().columns)) if on_terminal else WIDTH


def wrapped(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """Wrap a text at its blanks alone, so that paths and addresses can be copied."""
    import textwrap

    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def labelled_lines(label: str, text: str, width: int = LABEL_WIDTH) -> list[str]:
    """Wrap a text in the column beside its label, which is so wide; a path stays one line, to be copied."""
    first = f"{label:<{width}}"
    if label in ("Folder", "File"):
        return [first + text]
    return wrapped(text, columns(), first=first, rest=" " * width) or [first]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One place that was tried.

    - `place`: as printed, secrets removed, such as ``"drive:datasets.zip"``.
    - `seen`: what was there, in a person's words: ``"1 input: titanic"``.
    - `seconds`: wall time spent on it.
    - `failure`: why it gave nothing; None for the one that worked.
    - `remedy`: the steps that would help here.
    """

    place: str
    seen: str = ""
    seconds: float = 0.0
    failure: str | None = None
    remedy: tuple[str, ...] = ()


class DatastageError(Exception):
    """Base of every error that datastage raises on purpose.

    The message says what happened, with the values; `remedy` what this user, on this machine, can do, one step each.
    The last is the next step.
    """

    exit_code = 1

    def __init__(self, message: str, *remedy: str) -> None:
        super().__init__(for_a_screen(message))
        self.remedy: tuple[str, ...] = tuple(for_a_screen(step) for step in remedy)

    def __str__(self) -> str:
        return "\n".join([str(self.args[0]), *(f"  {step}" for step in self.remedy)])

    def __reduce__(self) -> tuple[Any, ...]:
        # An error of a loader's worker reaches its parent pickled; what it carries must come along. The built-ins
        # keep errno and the like outside __dict__. A subclass may take other arguments.
        names = ("args", "errno", "strerror", "filename", "name", "path", "msg")
        builtin = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        return type(self).__new__, (type(self),), {**builtin, **self.__dict__}

    def _render_traceback_(self) -> list[str]:
        """Let IPython print the message alone; ``DATASTAGE_TRACEBACK=1`` brings the traceback back."""
        from datastage.settings import is_set

        if is_set("TRACEBACK"):
            import traceback

            return traceback.format_exception(self)
        return on_screen(self, partial(_COMMAND.sub, _with_bang))


def _with_bang(found: re.Match[str]) -> str:
    """Put the bang before a command that it has in a cell; the verbs are public functions, but for ``zip``."""
    public = sys.modules["datastage"].__all__  # no module here may import what stands above it
    return f"!{found[0]}" if found[1] in ("zip", *public) else found[0]


def name_data(
    error: DatastageError, given: str | None, batch_size: int | None, parts: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Put what the person wrote in place of ``path`` and 64 in the steps, so that they run; None is without a text.

    A folder that is named as one of the `parts`, as in ``test="hold"``, stays so: it would be trained on. The name of
    the labels, which is in `parts` too, stays in what is read.
    """
    named = {part: json.dumps(name, ensure_ascii=False) for part, name in parts.items() if isinstance(name, str)}

    def said(step: str) -> str:
        if batch_size is not None:
            step = step.replace("batch_size=64", f"batch_size={batch_size}")
        for part, name in named.items():
            if part == "labels":
                step = step.replace("read(path)", f"read(path, labels={name})")
            elif f"{part}=" not in step:
                step = step.replace("loaders(path, ", f"loaders(path, {part}={name}, ")
        if given is None:
            return step
        if hide_secrets(given) != given:  # an address that may not be shown again
            return _CALL.sub(r"the same line again with \1", step)
        shown = json.dumps(given, ensure_ascii=False)
        step = step.replace("(path / ", f"(datastage.stage({shown}) / ")
        file = shown if os.path.isfile(given) else f"datastage.stage({shown})"
        step = re.sub(r"read_csv\(path(?=[,)])", lambda _: f"read_csv({file}", step)
        step = step.replace("pathlib.Path(path)", f"pathlib.Path(datastage.stage({shown}))")
        return re.sub(r"\(path(?=\)|, )", lambda _: f"({shown}", step)

    error.remedy = tuple(said(step) for step in error.remedy)


class Stopped(KeyboardInterrupt):
    """The person pressed stop in a notebook: two lines and no traceback; `kept` is what has come, in words."""

    def __init__(self, kept: str = "") -> None:
        kept = f"{kept} are kept; nothing" if kept else "Nothing"
        super().__init__(f"Stopped. {kept} half-done was put in place.\nNext: run the same line again.")

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


@contextlib.contextmanager
def stopped_in_two_lines(kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Make of a stop one that a notebook shows in two lines, with what has come."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise stop if isinstance(stop, Stopped) else Stopped(kept()) from None


def on_screen(error: DatastageError, in_words: Callable[[str], str] = str) -> list[str]:
    """Return the lines of an error, as wide as the screen, in the words of this place; what is copied stays whole."""
    lines: list[str] = []
    width = columns()
    for line in map(in_words, str(error).splitlines()):
        if len(line) <= width:
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        parts = wrapped(line.strip(), width, first=indent, rest=indent)
        lines += [line] if _is_code(line) and not _is_code("\n".join(map(str.strip, parts))) else parts
    return lines


def _is_code(text: str) -> bool:
    """Whether a text can be pasted and run."""
    try:
        compile(text.strip().removeprefix("Next:").strip(), "<step>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class FaultError(DatastageError):
    """A fault of datastage itself; says where its report was written. The error that it was is its cause."""


class SpecError(DatastageError, ValueError):
    """The user's words do not name anything; the message says what is near."""

    exit_code = 2


class UnavailableError(DatastageError, FileNotFoundError):
    """No place had it, and the next step is a person's. Carries the attempts.

    The text of this error is whole as it is (`remedy` lines are not indented), since it holds numbered steps.
    """

    exit_code = 3

    def __init__(self, message: str, *remedy: str, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message, *remedy)
        self.attempts: tuple[Attempt, ...] = tuple(attempts)
        self.errno = errno.ENOENT
        self.strerror = str(self.args[0])

    def __str__(self) -> str:
        return "\n".join([str(self.args[0]), *self.remedy])


class IntegrityError(DatastageError):
    """The bytes were reached, but are not what they should be."""

    exit_code = 4


class NotDataError(IntegrityError):
    """A web page, a quota page, an LFS pointer came instead of the file."""


class ChecksumError(IntegrityError):
    """The bytes are not the published ones."""


class DamagedArchiveError(IntegrityError):
    """The archive is cut short, or its own checks fail."""


class UnsafeArchiveError(IntegrityError):
    """A member would land outside the folder, or is not a file, folder or link.

    `member` is its name, as the archive spells it; `rule` that of `archives.safety` which refuses it, as ``"N-UP"``.
    """

    def __init__(self, message: str, *remedy: str, member: str = "", rule: str = "") -> None:
        super().__init__(message, *remedy)
        self.member = member
        self.rule = rule


class PasswordError(IntegrityError):
    """The archive is locked, and no password was given, or a wrong one."""


# What an errno means, and what helps where it is not another folder.
_WHAT_FAILED = {
    errno.EACCES: ("permission was denied", ""),
    errno.EPERM: ("permission was denied", ""),
    errno.EROFS: ("the file system is read-only", ""),
    errno.EMFILE: ("this process has too many files open", "Raise the limit (ulimit -n 4096)"),
    errno.ENFILE: ("this machine has too many files open", "Close other programs"),
    errno.EIO: ("the disk reported an input/output error", ""),
    errno.EFBIG: ("a file grew larger than this disk, or this shell, allows", "Lift the limit (ulimit -f unlimited)"),
}


class StorageError(DatastageError, OSError):
    """The machine will not take it: no permission, an I/O error, a folder that is somebody's.

    `code` becomes the ``errno`` that a caller may look at; `filename` is the file or folder concerned; `of_source` says
    that it was met while a place of the data was opened, and another place may do.
    """

    exit_code = 5
    of_source = False
    _code = errno.EIO
    _advice: tuple[str, ...] = ()

    def __init__(
        self, message: str, *remedy: str, code: int | None = None, filename: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(message, *(remedy or self._advice))
        self.errno = code or self._code
        self.strerror = str(self.args[0])
        self.filename = None if filename is None else os.fspath(filename)

    @classmethod
    def of(cls, error: OSError, doing: str, *remedy: str) -> StorageError:
        """Make the right error of ours from an `OSError` met while `doing` something, such as "writing the files"."""
        code = error.errno or errno.EIO
        path = error.filename if isinstance(error.filename, str) else None
        at = f" ({path})" if path else ""
        if code in (errno.ENOSPC, errno.EDQUOT):
            full = f"The disk is full: there was no room left while {doing}{at}."
            return NoSpaceError(full, *remedy, code=code, filename=path)
        what, advice = _WHAT_FAILED.get(code, ("", ""))
        what = what or (error.strerror or str(error)).lower()
        advice = f"{advice or 'Choose a folder with root= that you may write to'}, then run the same line again."
        return StorageError(f"While {doing}, {what}{at}.", *(remedy or (advice,)), code=code, filename=path)


@contextlib.contextmanager
def while_doing(doing: str, *remedy: str) -> Iterator[None]:
    """Make an error of ours of an `OSError` met here, as `StorageError.of` does; what is ours already passes."""
    try:
        yield
    except DatastageError:
        raise
    except OSError as error:
        raise StorageError.of(error, doing, *remedy) from error


class NoSpaceError(StorageError):
    """There is not enough room; says how much is needed and how much is free, where that is known."""

    _code = errno.ENOSPC
    _advice = ("Free some room, or choose another disk with root=.", "Next: run the same line again.")


class LockTimeoutError(StorageError):
    """Another process held the folder for as long as we were told to wait; says which."""

    _code = errno.EAGAIN


class MissingDependencyError(DatastageError, ImportError):
    """A library is not installed; names it, and what works without it."""

    exit_code = 5


@contextlib.contextmanager
def needing(what: str, library: str, *remedy: str) -> Iterator[None]:
    """Make of an import that fails the error that says what needs the library, and else how to install it."""
    try:
        yield
    except ImportError as error:
        step = remedy or (f"Next: pip install {library.lower()}",)
        raise MissingDependencyError(f"{what} needs {library}, and it is not installed here.", *step) from error


@contextlib.contextmanager
def as_published(title: str, path: object) -> Iterator[None]:
    """Say of a dataset of the catalog that cannot be read, or has not all files, that it is not as it was published."""
    try:
        yield
    except (OSError, KeyError, IndexError, ValueError) as error:
        if isinstance(error, DatastageError):
            raise
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise StorageError.of(error, f"reading {title}") from error
        what = f"{title} at {path} is not as it was published: {error}."
        raise IntegrityError(what, "Next: look where the file came from.") from error
