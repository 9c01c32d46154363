"""Ask a service for a page or a list, and fetch the files that it names: one, or many into a folder."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datastage.errors import ChecksumError, DatastageError, IntegrityError, NotDataError, UnavailableError
from datastage.progress import Reporter, counted, human_bytes
from datastage.reader import Reader
from datastage.sources.found import Context, Fetch, Found
from datastage.sources.http import HttpReader, check_first_bytes, found_at, open_url
from datastage.sources.http_session import HttpSession
from datastage.transfer import Limits, Pool, fetch, patiently

_MOST_BYTES = 32 << 20
_FILES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of a service: its headers, in small letters, its bytes, and the address where redirects ended."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    authorization: Mapping[str, str] = field(default_factory=dict, repr=False)  # the token that it was asked with

    def json(self) -> Any:
        """Return the answer as values; raise `NotDataError` if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise NotDataError(
                f"{self.url.split('/')[2]} gave something else than the list of its files.",
                "Next: run the same line again later; or download the file in a browser, and stage it from here.",
            ) from None


def read_page(
    url: str, *, limits: Limits | None = None, headers: Mapping[str, str] | None = None, most_bytes: int = _MOST_BYTES
) -> Page:
    """Ask a service once, with patience; raise as an `HttpReader` does."""
    limits = limits or Limits(tries=3)
    session = HttpSession(url, limits, has_hash=False, headers=headers)

    def ask() -> Page:
        response = session.ask({}, is_first=True)
        body = bytearray()
        try:
            response.put_beginning(body, most_bytes)
        except (OSError, ValueError) as error:
            raise session.broken(error, response.address) from error
        finally:
            session.connections.put_back(response)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Page(headers, bytes(body), response.address.url, session.bearer(session.origin.origin))

    try:
        return patiently(ask, limits, tries=min(3, limits.tries))
    finally:
        session.connections.close()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a folder or a record: its path there, its address, and what its place says of it."""

    path: str
    url: str = field(repr=False)
    size: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    other_url: str = field(default="", repr=False)  # where it is too, if the first address refuses
    most_connections: int | None = None
    reach: Callable[[], Found] | None = field(default=None, repr=False)  # in place of an address

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def open_file(file: RemoteFile, place: str, context: Context, where: str = "") -> Found:
    """Reach one file, with the digests that its place publishes; it bears the name that it has there."""
    reader = _reach(file, context.limits, has_hash=context.has_hash or bool(file.digests))
    return found_at(reader, place, context.limits, where=where, digests=file.digests)


def _reach(file: RemoteFile, limits: Limits | None, *, has_hash: bool) -> HttpReader:
    def is_judged(reader: HttpReader) -> bool:
        # Of one with a digest the digest tells, unless its length is wrong already; and an empty file may be right.
        return file.size != 0 and not (file.digests and (file.size is None or reader.size in (None, file.size)))

    reach = partial(
        open_url, is_judged=is_judged, has_hash=has_hash, limits=limits, headers=file.headers, name=file.name
    )
    try:
        reader = reach(file.url)
    except UnavailableError:
        if not file.other_url:
            raise
        reader = reach(file.other_url)
    reader.most_connections = file.most_connections
    return reader


def open_files(files: Sequence[RemoteFile], place: str, context: Context, where: str, identity: str = "") -> Found:
    """Reach many files as one folder: they are fetched, several at a time, when the content is."""
    for file in files:
        if not _is_safe_path(file.path):
            raise IntegrityError(
                f"{where} names a file that would land outside its folder.", "Next: download it in a browser."
            )
    known = [file.size for file in files if file.size is not None]
    size = f", {human_bytes(sum(known))}" if len(known) == len(files) else ""
    seen = f"{counted(len(files), 'file')}{size}{where and ', '}{where}"

    def run(folder: Path, reporter: Reporter) -> Path:
        what = files[0].name if len(files) == 1 else f"{len(files):,} files"
        return fetch_files(files, folder / "files", what, context.limits, reporter)

    return Found(Fetch(run), place, seen, identity)


def fetch_files(files: Sequence[RemoteFile], to: Path, what: str, limits: Limits | None, reporter: Reporter) -> Path:
    """Fetch files into the folder `to`, several at a time, each whole and with its digest; return the folder."""
    sizes = [file.size for file in files]
    reporter.phase(f"copying {what}", None if None in sizes else sum(size or 0 for size in sizes))
    for parent in sorted({(to / file.path).parent for file in files}):
        parent.mkdir(parents=True, exist_ok=True)

    def bring(file: RemoteFile) -> None:
        reader: Reader
        if file.reach is not None:
            found = file.reach()
            reader, digests = found.reader, found.digests
        else:
            reader, digests = _reach(file, limits, has_hash=bool(file.digests)), file.digests
        with contextlib.closing(reader):
            few = 1 if (reader.size or 0) < 8 << 20 else None
            try:
                fetch(reader, to / file.path, expect=digests, reporter=reporter, limits=limits, connections=few)
            except ChecksumError:
                if isinstance(reader, HttpReader):
                    check_first_bytes(reader)
                raise

    # Each transfer looks after its own stalls.
    pool = Pool("the place", Limits(stall_s=math.inf))
    pool.run(bring, sorted(files, key=lambda file: -(file.size or 0)), files[0].most_connections or _FILES_AT_ONCE)
    return to


def _is_safe_path(path: str) -> bool:
    parts = path.split("/")
    odd = "\\" in path or any(ord(c) < 32 for c in path) or (len(parts[0]) == 2 and parts[0][1] == ":")
    return not odd and all(part not in ("", ".", "..") for part in parts)


def digest_of(text: str) -> dict[str, str]:
    """Return the digest in ``"md5:c58f..."``; empty for what is none that is known here.

    Examples
    --------
    >>> digest_of("md5:0123456789abcdef0123456789abcdef"), digest_of("crc:1")
    ({'md5': '0123456789abcdef0123456789abcdef'}, {})
    """
    name, _, digits = text.strip().lower().partition(":")
    lengths = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
    is_one = len(digits) == lengths.get(name) and all(c in "0123456789abcdef" for c in digits)
    return {name: digits} if is_one else {}


def refusal(error: DatastageError) -> int:
    """Return the status that a server refused with; 0 for any other error."""
    return int(getattr(error, "status", 0))
