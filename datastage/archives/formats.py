"""Tell what bytes are, by content: which archive, or what is surely not data.

Here: first bytes, and the end of a zip behind a prefix. Not here: names and suffixes, which never decide.
"""

from __future__ import annotations

from datastage.archives import streams
from datastage.archives.errors import Fault
from datastage.reader import BytesReader, Reader

HEAD_BYTES = 1024
_MAGIC = (
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
    (b"PK00PK\3\4", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\x04\x22\x4d\x18", "lz4"),
)


def sniff(reader: Reader) -> str | None:
    """Return the format of an archive, told by its content.

    Parameters
    ----------
    reader : Reader
        The bytes. Without ranges only the beginning is looked at.

    Returns
    -------
    str or None
        ``"zip"``, ``"tar"``, ``"tar.gz"``, ``"tar.bz2"``, ``"tar.xz"``, ``"tar.zst"``, ``"tar.lz4"``, ``"gz"``,
        ``"bz2"``, ``"xz"``, ``"zst"``, ``"lz4"``, ``"7z"``, ``"rar"``; None for what is no archive known here.

    Examples
    --------
    >>> from datastage.reader import BytesReader
    >>> sniff(BytesReader(b"PK" + bytes([5, 6]) + bytes(18)))
    'zip'
    """
    head = _head(reader)
    for magic, form in _MAGIC:
        if head.startswith(magic):
            if form in streams.DECODERS:
                return f"tar.{form}" if _holds_tar(reader, form) else form
            return form
    if _skippable(head):
        return "tar.zst" if _holds_tar(reader, "zst") else "zst"
    if is_tar_header(head[:512]):
        return "tar"
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


def sniff_head(head: bytes) -> str | None:
    """Return the format by the first bytes alone. A compressed tar needs some 8 KiB of them to show."""
    return sniff(BytesReader(head))


def is_tar_header(block: bytes) -> bool:
    """Return whether 512 bytes are a tar header with a right checksum, or the first block of an empty tar."""
    if len(block) < 512:
        return False
    if block.count(0) == 512:
        return True
    field = block[148:156].split(b"\0", 1)[0].strip(b" ")
    if not field.isdigit() or field.translate(None, b"01234567"):
        return False
    unsigned = 256 + sum(block[:148]) + sum(block[156:])
    return int(field, 8) in (unsigned, unsigned - 256 * sum(c > 127 for c in block[:148] + block[156:]))


def _skippable(head: bytes) -> bool:
    return len(head) >= 8 and 0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18"


def _head(reader: Reader) -> bytes:
    if reader.ranges:
        return reader.read_at(0, HEAD_BYTES)
    head = b""
    for piece in reader.stream(0):
        head += piece
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def _holds_tar(reader: Reader, compression: str) -> bool:
    def pieces() -> streams.Pieces:
        if not reader.ranges:
            yield from reader.stream(0)
            return
        at, n = 0, 16 << 10  # most blocks of a tar's first member come out of little; bzip2 wants its whole block
        while piece := reader.read_at(at, n):
            yield piece
            at += len(piece)
            n = min(n * 4, 1 << 20)

    head = b""
    decoder = streams.decoded(compression, pieces())
    try:
        for piece in decoder:
            head += piece[:512]
            if len(head) >= 512:
                break
    except Fault:
        pass
    finally:
        close = getattr(decoder, "close", None)
        if close:
            close()
    return is_tar_header(head[:512]) and (head.count(0) < 512)


def not_data(head: bytes, name: str = "") -> str | None:
    """Say what the first bytes show that is surely not data; None if they look like data.

    Parameters
    ----------
    head : bytes
        The first 1 KiB, or all if there is less.
    name : str
        The file's name: a page is what one asked for where the name says so (``.html``, ``.xml``).

    Returns
    -------
    str or None
        ``"an empty file"``, ``"a web page"``, ``"a page of Google Drive that says the quota is used up"``,
        ``"a sign-in page"``, ``"an error message of the storage server (XML)"``, ``"a Git LFS pointer"``.

    Examples
    --------
    >>> not_data(b"<!DOCTYPE html><html><title>Sign in</title>")
    'a sign-in page'
    >>> not_data(b"5.1,3.5,1.4,0.2") is None
    True
    """
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer"
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
