"""The facts about archives that callers see: a member, a file that was unpacked, and the result of unpacking.

Not here: how they come about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["file", "folder", "link", "hardlink"]


@dataclass(frozen=True, slots=True)
class Member:
    """One file, folder or link in an archive, as the archive has it; nothing about it has been judged.

    Attributes
    ----------
    name : str
        The name, decoded. Bytes that are no text stand as Python spells them (``surrogateescape``).
    size : int
        Bytes when unpacked; 0 for folders and links, -1 where only unpacking tells.
    kind : "file", "folder", "link" or "hardlink"
        What it is.
    target : str
        Where a link leads.
    crc : int or None
        The CRC-32 of the content, where the archive keeps it.
    mtime : float or None
        Seconds since 1970.
    mode : int or None
        Unix permissions; None if the archive keeps none.
    encrypted : bool
        Whether a password is needed.
    """

    name: str
    size: int
    kind: Kind = "file"
    target: str = ""
    crc: int | None = None
    mtime: float | None = None
    mode: int | None = None
    encrypted: bool = False


class UnpackedFile(NamedTuple):
    """One file or link that was written. A tuple, since there may be millions and a dataclass takes longer to make."""

    path: str
    size: int
    crc32: int
    kind: str = "file"
    target: str = ""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What `unpack` wrote.

    Attributes
    ----------
    format : str
        As `sniff` names it.
    files : tuple of UnpackedFile
        Every file and link with its path relative to the folder (``/`` between parts), size and CRC-32. A hard link is
        listed as the file that it is. Names that are not UTF-8 hold surrogates: write them with ``surrogateescape``.
    n_files, n_bytes : int
        How many files and links, and bytes in files.
    left_out : mapping of str to int
        Junk left out, by kind: ``{"__MACOSX": 12}``.
    stripped : str or None
        The one top folder that was taken off.
    encoding : str or None
        The encoding guessed for names, where one was guessed.
    """

    format: str
    files: tuple[UnpackedFile, ...]
    n_files: int
    n_bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    stripped: str | None = None
    encoding: str | None = None
