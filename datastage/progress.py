"""The one protocol through which work reports itself, and the reporter that says nothing.

Here: what a reporter is, and sizes as a person reads them. Not here: anything that prints (`show`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """A file that a person is asked to upload.

    Attributes
    ----------
    name : str
        The file's name as the person knows it.
    into : Path
        The folder where it is expected.
    why : str
        One sentence that says why it is asked for.
    """

    name: str
    into: Path
    why: str


class Reporter(Protocol):
    """What work tells of itself. Every method may be called from any thread, and must return at once."""

    def phase(self, name: str, total_bytes: int | None) -> None:
        """Begin a phase, such as ``"copying datasets.zip"``, of so many bytes; None if that is not known."""

    def advance(self, n_bytes: int) -> None:
        """Count bytes done in the current phase."""

    def note(self, text: str) -> None:
        """Say one line that the user should keep, such as ``"Found     datasets.zip, 1.2 GB, in My Drive"``."""

    def ask(self, request: UploadRequest) -> Path | None:
        """Ask a person for a file; the file's path, or None if nobody can be asked here."""


class Silent:
    """The reporter that says nothing and asks nobody: the default everywhere below `api`."""

    def phase(self, name: str, total_bytes: int | None) -> None:
        """Say nothing."""

    def advance(self, n_bytes: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def ask(self, request: UploadRequest) -> Path | None:
        """Ask nobody."""
        return None


SILENT = Silent()


def human_bytes(n: int | float) -> str:
    """Return a number of bytes as a person reads it, in powers of ten.

    Examples
    --------
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
