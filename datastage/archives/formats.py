"""Which formats there are, in one table; and what bytes are, told by content.

A new format is one new file with a reader, and one row of `FORMATS`: see CONTRIBUTING.md, "Add an archive format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath

from datastage.archives import names, streams, tar
from datastage.archives.errors import Fault
from datastage.archives.records import StreamMember
from datastage.archives.streams import Pieces
from datastage.progress import SILENT, Reporter, with_and
from datastage.reader import Reader

HEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """An archive, as the reader of its format is given it.

    `pieces` are its bytes from front to back, decompressed. `proves_its_end` is True where a compression around it
    shows that no byte is missing. A reader that only lists (`wants_content` False) need not get at contents. What must
    lie in a file for a while lies in `folder`. `encoding` is that of names which are not UTF-8, where the caller knows
    it. With `in_thread` a compression is undone in a thread of its own.
    """

    reader: Reader
    pieces: Pieces
    proves_its_end: bool = False
    password: bytes | None = None
    encoding: str | None = None
    wants_content: bool = True
    folder: str | None = None
    free_bytes: int | None = None
    reporter: Reporter = SILENT
    in_thread: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table."""

    name: str  # what users, receipts and errors call it
    suffixes: tuple[str, ...]  # how its files' names end, the usual one first, in lower case
    magic: tuple[bytes, ...] = ()  # the first bytes of its files: one of these
    members: Callable[[Source], Iterator[StreamMember]] | None = None  # of an archive: gives each member, in order
    decode: Callable[[Pieces], Pieces] | None = None  # of a compression instead: from its pieces to those that it holds
    tar_suffixes: tuple[str, ...] = ()  # of a compression: short forms of ``.tar`` and its own suffix
    matches: Callable[[bytes], bool] | None = None  # tells it by the first 1 KiB where no fixed bytes do
    needs_file: bool = False  # the reader jumps about in it; other archives are also read under every compression
    remedy: str = ""  # what to do where its reader raises `Fault` by the rule ``X-`` and its name

    def fits(self, head: bytes) -> bool:
        """Return whether a file that begins so is of this format."""
        return head.startswith(self.magic) if self.magic else self.matches is not None and self.matches(head)


def _tar_members(source: Source) -> Iterator[StreamMember]:
    return tar.members(
        streams.Bytes(source.pieces), needs_end=not source.proves_its_end, encoding=names.codec_of(source.encoding)
    )


def _zip_members(source: Source) -> Iterator[StreamMember]:
    from datastage.archives import zip_directory, zip_members

    read_at, password = source.reader.read_at, source.password
    for each, entry, limit in zip_directory.listing(source.reader, source.encoding):
        each.pieces = partial(zip_members.content_of, entry, read_at, limit, password)
        yield each


def _by_tool(form: str, source: Source) -> Iterator[StreamMember]:
    from datastage.archives import external_tools

    return external_tools.members(form, source)


FORMATS = (
    Format("zip", (".zip",), (b"PK\3\4", b"PK\5\6", b"PK00PK\3\4", b"PK\7\x08PK\3\4"), _zip_members, needs_file=True),
    Format("tar", (".tar",), members=_tar_members, matches=tar.is_header),
    Format("gz", (".gz", ".gzip"), (b"\x1f\x8b",), decode=streams.gz, tar_suffixes=(".tgz",)),
    Format("bz2", (".bz2", ".bzip2"), (b"BZh",), decode=streams.bz2_, tar_suffixes=(".tbz2", ".tbz")),
    Format("xz", (".xz",), (b"\xfd7zXZ\0",), decode=streams.xz, tar_suffixes=(".txz",)),
    Format(
        "zst", (".zst", ".zstd"), (b"\x28\xb5\x2f\xfd",), decode=streams.zst, tar_suffixes=(".tzst",),
        remedy='Install "zstandard" (pip install zstandard), or use Python 3.14.',
    ),
    Format(
        "lz4", (".lz4",), (b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"), decode=streams.lz4, tar_suffixes=(".tlz4",),
        remedy='Install "lz4" (pip install lz4).',
    ),
    Format(
        "7z", (".7z",), (b"7z\xbc\xaf\x27\x1c",), partial(_by_tool, "7z"), needs_file=True,
        remedy='Install the "7z" command (apt-get install p7zip-full), or pack it again as a zip.',
    ),
    Format(
        "rar", (".rar",), (b"Rar!\x1a\x07",), partial(_by_tool, "rar"), needs_file=True,
        remedy="Install 7z and RARLAB's unrar (apt-get install p7zip-full unrar; not unrar-free), or pack it as a zip.",
    ),
)  # fmt: skip


def find(name: str) -> tuple[Format, Format | None]:
    """Return the rows of a format as `sniff` names it: the archive and the compression around it.

    One compressed file that is no archive has its compression first.
    """
    rows = {row.name: row for row in FORMATS}
    inner, _, outer = name.partition(".")
    return rows[inner], rows[outer] if outer else None


def members(form: str, source: Source) -> Generator[StreamMember, None, None]:
    """Give the members of an archive, or the one that a compressed file holds; `source.pieces` are the file's bytes."""
    row, compression = find(form)
    if row.decode is not None:
        name = without_suffix(source.reader.name.replace("\\", "/").rpartition("/")[2], row)
        if name.lower().endswith(".tar"):
            row, compression = find("tar")[0], row  # an empty one, or none: its reader says which
    pieces = source.pieces
    decode = (compression or row).decode
    if decode is not None:
        pieces = streams.ahead(decode(pieces)) if source.in_thread else decode(pieces)
    try:
        if row.members is not None:
            yield from row.members(replace(source, pieces=pieces, proves_its_end=decode is not None))
        else:
            yield StreamMember(name, size=-1, pieces=lambda: map(memoryview, pieces))
    finally:
        streams.close(pieces)


def suffixes() -> tuple[str, ...]:
    """Return how names of archives and compressed files end."""
    return tuple(suffix for row in FORMATS for suffix in (*row.suffixes, *row.tar_suffixes))


def is_one_file(form: str) -> bool:
    """Return whether a format that `sniff` named is one compressed file, and no archive."""
    return find(form)[0].decode is not None


def known() -> str:
    """Return the formats in words."""
    packed = [row.name for row in FORMATS if row.decode]
    words = [
        row.name if row.needs_file or row.decode else f"{row.name} (plain, {', '.join(packed)})" for row in FORMATS
    ]
    return with_and(words)


def remedy_of(rule: str) -> str:
    """Return what helps where a reader says by this rule that nothing here can read its format."""
    remedies = {f"X-{row.name.upper()}": row.remedy for row in FORMATS if row.remedy}
    return remedies.get(rule, "Pack it again as a zip or tar.gz.")


def without_suffix(name: str, row: Format) -> str:
    """Return the name of what one compressed file holds; a short form gets its ``.tar`` back."""
    lower = name.lower()
    for suffix in row.suffixes:
        if lower.endswith(suffix) and name[: -len(suffix)] not in ("", ".", ".."):
            return name[: -len(suffix)]
    if name in ("", ".", ".."):
        return "data"
    return name.rpartition(".")[0] + ".tar" if lower.endswith(row.tar_suffixes or "\n") else name


def stem_of(file_name: str) -> str:
    """Return `file_name` without the endings of archives and of files: ``"a.tar.gz"`` gives ``"a"``."""
    lower = file_name.lower()
    for row in FORMATS:
        if row.decode is None:
            continue
        for suffix in (*row.tar_suffixes, *(archive + own for archive in _STREAMED for own in row.suffixes)):
            if lower.endswith(suffix):
                return file_name[: -len(suffix)]
    return PurePath(file_name).stem


_STREAMED = tuple(suffix for row in FORMATS if row.members and not row.needs_file for suffix in row.suffixes)


# Archives and compressions of other kinds: where their mark stands, the mark, what they are, and what undoes them.
_OTHERS = (
    (0, rb"MSCF", "a cabinet file of Windows (.cab)", "7z x"),
    (0, rb"07070[127]|\xc7\x71|\x71\xc7", "a cpio archive", "7z x"),
    (0, rb"!<arch>\n", "an ar archive (.a, .deb)", "7z x"),
    (0, rb"\xed\xab\xee\xdb", "a package of Linux (.rpm)", "7z x"),
    (0, rb"..-l[hz][0-9ds]-", "an LHA archive (.lzh)", "7z x"),
    (0, rb"\x60\xea", "an ARJ archive", "7z x"),
    (0, rb"xar!|MSWIM\0\0\0|hsqs|sqsh", "an archive or image for programs (.xar, .wim, squashfs)", "7z x"),
    (0, rb"MZ|\x7fELF", "a program; some are archives that unpack themselves", "7z x"),
    (32_769, rb"CD001", "the image of a disc (.iso)", "7z x"),
    (0, rb"\x1f[\x9d\xa0]", "compressed by compress (.Z)", "gunzip"),
    (0, rb"\]\0[\0-\xff]{3}(\xff{8}|[\0-\xff]{5}\0{3})\0", "compressed as lzma", "unlzma"),
    (0, rb"LZIP", "compressed by lzip (.lz)", "lzip -d"),
    (0, rb"\x89LZO\0", "compressed by lzop", "lzop -d"),
    (7, rb"\*\*ACE\*\*", "an ACE archive", "acefile-unace"),
    (0, rb"ALZ\x01|EGGA", "an archive of ALZip (.alz, .egg)", "unar"),
    (0, rb"SIT!|StuffIt", "an archive of StuffIt", "unar"),
)


def other_kind(reader: Reader) -> tuple[str, str] | None:
    """Return what an archive is that nothing here unpacks, and the command that does; None where it is not known."""
    if reader.ranges:
        for at, mark, what, command in _OTHERS:
            if re.match(mark, reader.read_at(at, 16), re.DOTALL):
                return what, command
    return None


def sniff(reader: Reader) -> str | None:
    """Return the format of an archive, told by its content: ``"zip"``, ``"tar.gz"``."""
    head = _telling_head(reader)
    if head.count(0) == len(head) and head and other_kind(reader):
        return None  # the image of a disc begins as an empty tar does
    for row in FORMATS:
        if row.fits(head):
            inner = _archive_in(reader, row) if row.decode else None
            return f"{inner}.{row.name}" if inner else row.name
    if reader.ranges and reader.size:
        # A zip behind a prefix (a self-extracting head), or whose beginning is noise.
        tail_at = max(0, reader.size - 65_557)
        if b"PK\5\6" in reader.read_at(tail_at, 65_557):
            from datastage.archives.zip_directory import find_directory

            try:
                find_directory(reader)
            except Fault as fault:
                return "zip" if fault.rule == "Z-AMBIGUOUS" else None
            return "zip"
    return None


def head_of(reader: Reader, at: int = 0) -> bytes:
    """Return the first bytes from `at`."""
    if reader.ranges:
        return reader.read_at(at, HEAD_BYTES)
    stream = streams.Bytes(reader.stream(0))
    stream.skip(at)
    return stream.read(HEAD_BYTES)


def _telling_head(reader: Reader) -> bytes:
    """Return the first bytes that tell something: zstd and lz4 files may both begin with frames to skip."""
    at = 0
    while n := streams.skippable_bytes(head := head_of(reader, at)):
        at += n
    return head if head or not at else b"\x28\xb5\x2f\xfd"  # nothing but frames to skip is an empty file of zstd


def _archive_in(reader: Reader, compression: Format) -> str | None:
    """Return which archive is inside a compressed file; None for a plain file, and where it cannot be told."""

    def pieces() -> Pieces:
        if not reader.ranges:
            yield from reader.stream(0)
            return
        at, n = 0, 16 << 10  # a tar's first member mostly comes out of little; bzip2 wants its whole block
        while piece := reader.read_at(at, n):
            yield piece
            at += len(piece)
            n = min(n * 4, 1 << 20)

    head = b""
    assert compression.decode is not None
    decoder = compression.decode(pieces())
    try:
        for piece in decoder:
            head += piece[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                break
    except Fault:
        pass
    finally:
        streams.close(decoder)
    if not head.strip(b"\0"):
        return None  # zeros may be an empty tar, and may be data
    return next((row.name for row in FORMATS if row.members and not row.needs_file and row.fits(head)), None)


def not_data(head: bytes, name: str = "") -> str | None:
    """Say what the first bytes show that is surely not data, such as a sign-in page; None if they look like data."""
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer"
    if re.match(rb"(?:/|(?:\.\./)*\.git/)annex/objects/\S+\s*$", head):
        return "a pointer of git-annex"
    if head.strip() == b"404: Not Found" or re.match(rb'\s*\{\s*"message":[^}]*"documentation_url":', head):
        return "an error message of GitHub"
    text = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    suffix = name.lower().rpartition(".")[2]
    if text.startswith(b"<?xml") or text.startswith(b"<error>"):
        if b"<error>" in text and b"<code>" in text:
            return "an error message of the storage server (XML)"
        if suffix in ("xml", "svg", "xhtml", "html", "htm"):
            return None
        return "a web page" if b"<html" in text else None
    page = text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<title", b"<meta"))
    if not page or suffix in ("html", "htm", "xhtml"):
        return None
    if b"quota" in text and (b"google" in text or b"drive" in text or b"exceeded" in text):
        return "a page of Google Drive that says the quota is used up"
    if any(mark in text for mark in (b"sign in", b"sign-in", b"signin", b"log in", b"login", b"accounts.google.com")):
        return "a sign-in page"
    return "a web page"
