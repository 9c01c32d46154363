"""A file behind an address: http and https, with the standard library alone.

A user name, a password and the values of a query are used for asking and appear nowhere else: every text is made with
`hide_secrets`.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from datastage.archives import not_data
from datastage.errors import NotDataError, UnavailableError
from datastage.progress import Reporter, human_bytes
from datastage.reader import Reader
from datastage.sources import http_answers as answers
from datastage.sources.found import Context, Fetch, Found
from datastage.sources.http_connection import Chunks, Response
from datastage.sources.http_session import HttpSession
from datastage.spec import Spec
from datastage.transfer import Interrupted, Limits, fetch, patiently

_HEAD_BYTES = 8 << 10
_LOOK_BYTES = 1 << 10


def key(spec: Spec, cwd: Path) -> str:
    """Return the address without user name and password: a password must not be guessable from the receipt's key."""
    scheme, slashes, rest = spec.value.partition("//")
    authority, slash, path = rest.partition("/")
    return scheme + slashes + authority.rpartition("@")[2] + slash + path


def open_http(spec: Spec, context: Context) -> Found:
    """Reach the file at an address, after one request."""
    return found_at(open_url(spec.value, has_hash=context.has_hash, limits=context.limits), str(spec), context.limits)


def found_at(
    reader: HttpReader, place: str, limits: Limits | None, *, where: str = "", digests: Mapping[str, str] | None = None
) -> Found:
    """Return what `reader` has reached; a `Fetch` where the server does not say how long the file is."""
    where = where or f"at {reader.host}"
    digests = {**reader.digests, **(digests or {})}
    if reader.size is None:
        # What is unpacked as it comes has to know where the file ends; this one is fetched whole first.
        content = Fetch(partial(_fetched, reader, limits))
        return Found(content, place, f"{reader.name}, {where}", reader.identity, digests=digests)
    seen = f"{reader.name}, {human_bytes(reader.size)}, {where}"
    return Found(reader, place, seen, reader.identity, digests=digests)


def _fetched(reader: HttpReader, limits: Limits | None, folder: Path, reporter: Reporter) -> Path:
    with reader:
        reporter.phase(f"copying {reader.name}", None)
        fetch(reader, folder / reader.name, reporter=reporter, limits=limits)
        return folder / reader.name


def open_url(url: str, *, is_judged: Callable[[HttpReader], bool] | None = None, **options: Any) -> HttpReader:
    """Return an `HttpReader` for an address, after one request and a look at the first bytes: a page is no file.

    `is_judged` tells whether they are looked at, where that depends on what the server says of the file.
    """
    reader = HttpReader(url, **options)
    try:
        if is_judged is None or is_judged(reader):
            check_first_bytes(reader)
    except BaseException:
        reader.close()
        raise
    return reader


def check_first_bytes(reader: HttpReader) -> None:
    """Raise `NotDataError` if what came is surely not the file."""
    what = not_data(reader.head(_LOOK_BYTES), reader.name)
    if what is not None:
        raise NotDataError(
            f"{reader.host} gave {what} instead of {reader.name}.",
            "Open the address in a browser: it may ask to sign in, or lead to a page with the real download link.",
            "Next: copy the address of the download itself.",
        )


class HttpReader(Reader):
    """A file behind an address as a reader, asked once when it is made. Each thread asks over its own connection."""

    most_connections: int | None = None  # that its place bears at once

    def __init__(
        self,
        url: str,
        *,
        has_hash: bool = False,  # whether the bytes will be proven: only then may a redirect lead from https to http
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,  # for the host of the address alone
        name: str = "",  # in place of what the server calls the file
        with_cookies: bool = False,  # for places that give a file to nobody else
    ) -> None:
        self._limits = limits or Limits()
        self._has_hash = has_hash
        self._session = HttpSession(url, self._limits, has_hash=has_hash, headers=headers, with_cookies=with_cookies)
        self._origin = self._session.origin
        self.told = self._session.told
        self._held: tuple[Response, Chunks] | None = None  # the answer that gives the whole, and its rest
        self._head = b""
        self._state = answers.FileState("", self._origin.host)
        self._given_name = name
        self.name = ""
        self.size: int | None = None
        self.identity = ""
        self.digests: dict[str, str] = {}  # that the server keeps of the whole file
        self.ranges = False
        self.host = self._origin.host
        # What does not answer at all is left sooner than what breaks off midway: there may be another place.
        try:
            patiently(self._probe, self._limits, tries=min(3, self._limits.tries))
        except BaseException:
            self.close()  # the error holds this reader, and so its connections
            raise

    # --- the reader

    def read_at(self, offset: int, n: int) -> bytes:
        """Return exactly `n` bytes from `offset`, fewer only at the end; tries again what may pass."""
        if self.size is not None:
            n = max(0, min(n, self.size - offset))
        got = bytearray()
        failures = 0
        while len(got) < n:
            try:
                for piece in self.pieces(offset + len(got), n - len(got)):
                    failures = 0
                    got.extend(piece)
            except Interrupted as fault:
                failures += 1
                self._limits.wait_or_raise(fault, failures)
        return bytes(got)

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        """Give the bytes from `offset` to the end; goes on where it broke off, if the server knows ranges."""
        if self.ranges:
            yield from super().pieces(offset, None)
            return
        if offset:
            raise UnavailableError(f"{self.host} does not give parts of {self.name}.")
        try:
            yield from map(bytes, self.pieces(0, None))
        except Interrupted as fault:
            raise fault.error from fault

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[0].drop()
        self._session.connections.close()

    def __del__(self) -> None:
        if hasattr(self, "_session"):
            self.close()

    # --- for `transfer`

    def pieces(self, offset: int, n: int | None) -> Chunks:
        """Give `n` bytes from `offset` as they arrive, in one try; with None, the whole from 0."""
        if n is None:
            yield from self._whole()
            return
        if offset < len(self._head):
            piece = self._head[offset : offset + n]
            yield piece
            offset += len(piece)
            n -= len(piece)
        while n > 0:  # some servers give fewer bytes at a time than they are asked for
            response = self._session.ask({"Range": f"bytes={offset}-{offset + n - 1}", **self._state.if_same()})
            try:
                k = self._check_part(response, offset, n)
                yield from self._body(response, k)
            finally:
                self._session.connections.put_back(response)
            offset += k
            n -= k

    def interrupt(self) -> None:
        """Break off all reads under way, from another thread."""
        self._session.connections.interrupt()

    def renew(self) -> None:
        """Look at the address again: the file changed."""
        held, self._held = self._held, None
        if held is not None:
            self._session.connections.put_back(held[0])
        self._session.final = self._origin
        looked_wrong = not_data(self.head(_LOOK_BYTES), self.name)  # and was taken: its digest tells
        patiently(self._probe, self._limits)
        if looked_wrong is None:
            check_first_bytes(self)

    def head(self, n: int) -> bytes:
        """Return the first bytes, at most `n`, which have been fetched already."""
        return self._head[:n]

    # --- the first look

    def _probe(self) -> None:
        """Ask for the first bytes: they tell size, state and whether the server knows ranges."""
        response = self._session.ask({"Range": f"bytes=0-{_HEAD_BYTES - 1}"}, is_first=True)
        start, end, total = answers.content_range(response.headers)
        is_part = response.status == 206 and start == 0 and total is not None and not answers.encoding_of(response)
        is_head = is_part and end is not None and end < _HEAD_BYTES
        is_whole = is_part and total is not None and end == total - 1 and not response.chunked
        is_empty = response.status == 416 and total == 0
        if response.status != 200 and not (is_head or is_whole or is_empty):
            self._session.connections.put_back(response)
            response = self._session.ask({}, is_first=True)
        try:
            self._session.final = response.address
            self.name = self._given_name or answers.file_name(response.headers, self._origin, response.address)
            self._session.name = self.name
            state = answers.state_of(response.headers)
            self._state = answers.FileState(self.name, self.host, *state, has_hash=self._has_hash)
            self._head, self.ranges, self.digests = b"", is_head, answers.digests_of(response.headers)
            if is_head:
                assert end is not None
                self.size = total
                self._head = self._beginning(response, self._body(response, end + 1), end + 1)
                self._session.connections.put_back(response)
            elif is_empty:
                self.size = 0
                self._session.connections.put_back(response)
            else:
                self._hold(response)
            # Not the query: it may sign.
            place = f"{self.host}:{self._origin.port}{self._origin.target.partition('?')[0]}"
            self.identity = self._state.identity(self.size, place)
        except BaseException:
            self._session.connections.put_back(response)
            raise

    def _hold(self, response: Response) -> None:
        """Keep the answer that gives the whole, and look at its beginning."""
        self._state.check_whole(response)
        kind = answers.decoding_of(response, self.name, self.host)
        self.size = None if kind else response.said_length
        pieces = self._decoded(response, kind)
        self._head = self._beginning(response, pieces, _HEAD_BYTES, enough=_LOOK_BYTES)
        self._held = response, pieces

    def _beginning(self, response: Response, pieces: Chunks, n: int, enough: int | None = None) -> bytes:
        """Return the first `n` bytes; fewer, if there are no more or `enough` came within the limit of a stall."""
        head, began = b"", time.monotonic()
        for piece in pieces:
            head += bytes(piece)
            if len(head) >= n:
                break
            if time.monotonic() - began > self._limits.stall_s:
                if len(head) < (enough or n):
                    raise self._session.broken(TimeoutError(), response.address)
                break
        return head

    # --- bodies

    def _whole(self) -> Chunks:
        held, self._held = self._held, None
        response = self._session.ask({}) if held is None else held[0]
        try:
            if held is None:
                yield from self._again(response)
            else:
                if self._head:
                    yield self._head
                yield from held[1]
        finally:
            self._session.connections.put_back(response)

    def _again(self, response: Response) -> Chunks:
        """Give the whole of a later answer, which must be of the same file: its state, its size, its beginning."""
        self._session.final = self._origin  # until it has proven right
        kind = answers.decoding_of(response, self.name, self.host)
        try:
            self._state.check_whole(response)
            self._state.check_same(response, whole=True)
            if self.size is not None and not kind and response.said_length not in (None, self.size):
                raise self._state.changed()
        except Interrupted:
            self._check_no_page(response)
            raise
        begun, at = self._head, 0
        for piece in self._decoded(response, kind):
            if at < len(begun):
                n = min(len(piece), len(begun) - at)
                if piece[:n] != begun[at : at + n]:
                    self._check_no_page(response, bytes(piece[:_LOOK_BYTES]) if at == 0 else b"")
                    raise self._state.changed()
                at += n
            yield piece
        self._session.final = response.address

    def _decoded(self, response: Response, kind: str) -> Chunks:
        body = self._body(response, response.said_length)
        return answers.unpacked(body, kind, self.name, self.host) if kind else body

    def _body(self, response: Response, n: int | None) -> Chunks:
        """Give `n` bytes of the answer, or all of them, as they come."""
        got = 0
        try:
            for piece in response.pieces(n, may_end_early=self._has_hash):
                got += len(piece)
                self._session.connections.flowed_at = time.monotonic()
                yield piece
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise self._session.broken(error, response.address) from error
        if n is not None and got < n:
            raise Interrupted(self._state.cut_short(got, self.size))

    # --- is it what was asked for, and of the same file?

    def _check_part(self, response: Response, offset: int, n: int) -> int:
        """Check that an answer is the part that was asked for, of the file that was begun with; return its length."""
        try:
            if response.status == 200:
                self._check_no_page(response)
            k = self._state.length_of_part(response, offset, n, self.size)
        except Interrupted:
            self._session.final = self._origin  # what a redirect led to is no good
            raise
        self._session.final = response.address
        return k

    def _check_no_page(self, response: Response, head: bytes = b"") -> None:
        """Look whether a page came in between, as of a network that wants a sign-in: that may pass."""
        if not head:
            with contextlib.suppress(Interrupted, UnavailableError):
                for piece in self._body(response, None):
                    head += piece
                    if len(head) >= _LOOK_BYTES:
                        break
        what = not_data(head[:_LOOK_BYTES], self.name) if head else None
        if what is not None and not_data(self._head[:_LOOK_BYTES], self.name) is None:
            raise Interrupted(
                NotDataError(
                    f"{self.host} gave {what} instead of {self.name}, of which some has come already.",
                    "Next: open the address in a browser, sign in if it asks for that, then run the same line again.",
                )
            )
