"""The protocol through which work reports its progress, the silent reporter, and counts, sizes and times in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from datastage.errors import SpecError
from datastage.redact import printable


class Reporter(Protocol):
    """What work tells of itself. Every method may be called from any thread, and must return at once."""

    def phase(self, name: str, total_bytes: int | None) -> None:
        """Begin a phase, such as ``"copying datasets.zip"``, of so many bytes; None if that is not known."""

    def advance(self, n_bytes: int) -> None:
        """Count bytes done in the current phase."""

    def resume(self, n_bytes: int) -> None:
        """Count bytes of the current phase that an earlier run left: they are done, and say nothing of the speed.

        It is called where a later run goes on with what has come, also if none has yet.
        """

    def note(self, text: str, label: str = "") -> None:
        """Say one line that the user should keep: ``note("datasets.zip, 1.2 GB, in My Drive", "Found")``.

        A `label` is one word, which whoever shows the line sets before it.
        """


class Silent:
    """The reporter that says nothing: the default everywhere below `api`."""

    def phase(self, *said: object, **named: object) -> None:
        """Say nothing."""

    advance = resume = note = phase


SILENT = Silent()


def human_bytes(n: int | float) -> str:
    """Return a number of bytes as a person reads it, in powers of ten.

    >>> human_bytes(170_498_071), human_bytes(1_203_000_000), human_bytes(999_999), human_bytes(1)
    ('170 MB', '1.2 GB', '1 MB', '1 byte')
    """
    if n < 1000:
        return f"{n:.0f} byte{'' if round(n) == 1 else 's'}"
    value = float(n)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return f"{text.removesuffix('.0')} {unit}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(50013, "file"), counted(1, "folder")
    ('50,013 files', '1 folder')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def few(names: Iterable[str], most: int) -> str:
    """Return the first of some names, at most so many, and whether there are more: ``a, b, ...``."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def some(names: Sequence[str], n: int = 4) -> str:
    """Return a few of many names, the last among them: ``a, b, c, ... z``."""
    return ", ".join(names) if len(names) <= n + 1 else f"{', '.join(names[: n - 1])}, ... {names[-1]}"


def with_and(names: Sequence[str]) -> str:
    """Return all of some names: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def unreadable(troubles: Iterable[tuple[str, str]], noun: str = "image") -> str:
    """Return how many pictures cannot be read, and of the first what is wrong with each."""
    named = [f"{printable(name)} ({why})" for name, why in troubles]
    return f"{counted(len(named), noun)} that cannot be read: {few(named, 5)}"


def bytes_of(text: str | int) -> int:
    """Return the number of bytes that a person means, in powers of ten; `SpecError` if it is no size.

    >>> bytes_of("256MB"), bytes_of("1.5 GB"), bytes_of(4096)
    (256000000, 1500000000, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", str(text).lower())
    if match is None:
        raise SpecError(f"{text!r} is not a size.", "Next: for example 20GB or 500MB.")
    return int(float(match[1]) * 1000 ** " kmgt".index(match[2] or " "))


def close(reporter: Reporter) -> None:
    """Take down what a reporter has drawn, if it draws."""
    getattr(reporter, "close", lambda: None)()


def human_seconds(seconds: float) -> str:
    """Return a duration as a person says it.

    >>> human_seconds(1), human_seconds(2820), human_seconds(9000)
    ('1 second', '47 minutes', '2.5 hours')
    """
    if seconds < 90:
        return counted(round(seconds), "second")
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def duration(seconds: float) -> str:
    """Return a time as a person says it; never less than a second.

    >>> duration(0.2), duration(44.2), duration(125), duration(4000)
    ('1 s', '44 s', '2 min 5 s', '1 h 6 min')
    """
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
