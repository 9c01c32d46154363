"""A file behind an address: http and https, with the standard library alone.

Here: requests with ranges over connections that are kept, redirects, proxies, passwords, what each answer means in
words, the file's name, and a look at the first bytes. Not here: retries in parallel and resuming (`transfer`), other
places that also have addresses (`share`, `kaggle`).

A user name, a password and the values of a query are used for asking and appear nowhere else: every text is made with
`without_secrets`.
"""

from __future__ import annotations

import base64
import contextlib
import email.errors
import email.message
import email.utils
import http.client
import netrc
import re
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datastage import reach
from datastage import runtime as runtime_module
from datastage._version import __version__
from datastage.archives import not_data
from datastage.errors import IntegrityError, NotDataError, UnavailableError
from datastage.progress import Reporter, human_bytes
from datastage.sources.found import Context, Fetch, Found
from datastage.sources.wire import Https, NotHttp, Response, has_news
from datastage.spec import Spec, last_part, split_address, without_secrets
from datastage.transfer import Interrupted, Limits, fetch, patiently

CONNECT_S = 10.0
# Others have brought something so lately that a connection which could not be had is one too many.
_FLOWS_S = 1.0
_HEAD_BYTES = 8 << 10
_LOOK_BYTES = 1 << 10
_PIECE_BYTES = 256 << 10
_UNPACKED_BYTES = 1 << 20
_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_BUSY = frozenset({429, 503, 509})
# Hosts that hide what is private behind a token, and the name under which people keep it: as an environment variable,
# or among the secrets of Colab and Kaggle. GitHub answers 404 without one.
_TOKENS = {
    "huggingface.co": "HF_TOKEN",
    "github.com": "GITHUB_TOKEN",
    "api.github.com": "GITHUB_TOKEN",
    "raw.githubusercontent.com": "GITHUB_TOKEN",
}
# What some servers call an encoding, and is none: the bytes are as they are.
_NO_ENCODINGS = frozenset({"", "identity", "none", "binary", "7bit", "8bit", "utf-8", "utf8", "aws-chunked"})
# Named so, the bytes are the gzip itself: a server that says "Content-Encoding: gzip" of them means their type.
_GZIP_NAMES = re.compile(r"(?i)\.(gz|tgz|gzip|svgz|z)$")
_GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip", "application/x-tgz", "application/x-compressed-tar"})


def parse_http(text: str, word: str, rest: str) -> Spec:
    """Tell the address and the name of its file."""
    name = last_part(urllib.parse.unquote(split_address(text).path))
    return Spec(text, "http", text, name=name)


def key(spec: Spec, cwd: Path) -> str:
    """Return the address without user name and password: a password must not be guessable from the receipt's key."""
    scheme, slashes, rest = spec.value.partition("//")
    authority, slash, path = rest.partition("/")
    return scheme + slashes + authority.rpartition("@")[2] + slash + path


def open_http(spec: Spec, context: Context) -> Found:
    """Reach the file at an address, after one request; a `Fetch` where the server does not say how long it is."""
    limits = context.limits
    reader = open_url(spec.value, has_hash=context.has_hash, limits=limits)
    if reader.size is None:
        # What is unpacked as it comes has to know where the file ends; this one is fetched whole first.
        content = Fetch(partial(_fetched, reader, limits))
        return Found(content, str(spec), f"{reader.name}, at {reader.host}", reader.identity)
    return Found(reader, str(spec), f"{reader.name}, {human_bytes(reader.size)}, at {reader.host}", reader.identity)


def _fetched(reader: HttpReader, limits: Limits | None, folder: Path, reporter: Reporter) -> Path:
    with reader:
        reporter.phase(f"copying {reader.name}", None)
        fetch(reader, folder / reader.name, reporter=reporter, limits=limits)
        return folder / reader.name


def open_url(url: str, *, has_hash: bool = False, limits: Limits | None = None) -> HttpReader:
    """Return a reader for an address, after one request and a look at the first bytes.

    Parameters
    ----------
    url : str
        The address, which may hold a user name and password.
    has_hash : bool
        Whether the caller knows a digest of the bytes; only then may a redirect lead from https to http.
    limits : Limits, optional
        How patient to be.

    Raises
    ------
    UnavailableError
        If the host is out of reach or the server says no.
    NotDataError
        If what came is surely not the file.
    """
    reader = HttpReader(url, has_hash=has_hash, limits=limits)
    try:
        what = not_data(reader.head(_LOOK_BYTES), reader.name)
    except BaseException:
        reader.close()
        raise
    if what is not None:
        reader.close()
        raise NotDataError(
            f"{reader.host} gave {what} instead of {reader.name}.",
            "Open the address in a browser: it may ask to sign in, or lead to a page with the real download link.",
            "Next: copy the address of the download itself.",
        )
    return reader


@dataclass(frozen=True, slots=True)
class _Address:
    """An address told apart. `target` is what is asked of the server: path and query."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


def _address(url: str) -> _Address:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host.encode("idna").decode("ascii")  # of one in plain letters only the lengths are looked at
        if re.search(r"[\s\x00-\x1f\"<>\\^`{|}%]", host):
            raise ValueError(host)
    except ValueError as error:
        raise UnavailableError(
            f"{without_secrets(url)} is not an address that can be asked.", "Next: copy it again from the browser."
        ) from error
    if parts.scheme not in ("http", "https") or not host:
        raise UnavailableError(
            f"{without_secrets(url)} is not an address of http or https.", "Next: copy it again from the browser."
        )
    path = urllib.parse.quote(parts.path or "/", safe="%/:=&?~#+!$,;'@()*[]|")
    query = urllib.parse.quote(parts.query, safe="%/:=&?~#+!$,;'@()*[]|")
    return _Address(
        parts.scheme,
        host,
        port or (443 if parts.scheme == "https" else 80),
        path + ("?" + query if query else ""),
        urllib.parse.unquote(parts.username or ""),
        urllib.parse.unquote(parts.password or ""),
    )


@dataclass(slots=True, eq=False)
class _Held:
    """A connection, its socket (which http.client forgets when the server will close), and the answer under way."""

    address: _Address
    connection: http.client.HTTPConnection
    sock: socket.socket
    response: Response
    is_read: bool = False  # to the end of its answer

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.response.close()
        with contextlib.suppress(OSError):
            self.connection.close()


class HttpReader:
    """A file behind an address as a reader. Thread-safe; each thread asks over a connection of its own.

    Parameters
    ----------
    url : str
        The address. It is asked once, here.
    has_hash : bool
        Whether a digest of the bytes is known to the caller.
    limits : Limits, optional
        How patient to be.

    Raises
    ------
    UnavailableError
        If the host is out of reach or the server says no.
    """

    local_path: Path | None = None

    def __init__(self, url: str, *, has_hash: bool = False, limits: Limits | None = None) -> None:
        self._url = url
        self._origin = _address(url)
        self._limits = limits or Limits()
        self._has_hash = has_hash
        self._token: tuple[str, str] | None = None  # the host that was asked with a token, and the token
        self._final = self._origin
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._in_use: set[socket.socket] = set()
        self._flowed_at = 0.0  # when something came last
        self._closed = False
        self._tls: ssl.SSLContext | None = None
        self._netrc = _Netrc()
        self._held: _Held | None = None
        self._head = b""
        self._etag = self._modified = ""
        self._decode = ""
        self.name = ""
        self.size: int | None = None
        self.identity = ""
        self.ranges = False
        self.host = self._origin.host
        _proxy(self._origin)  # one of a kind that is not spoken is said before any wait
        if runtime_module.is_offline(self._origin.host, port=self._origin.port):
            raise _unresolved(self._origin.host, "this machine is offline, or the name is wrong")
        # What does not answer at all is left sooner than what breaks off midway: there may be another place.
        patiently(self._probe, self._limits, tries=min(3, self._limits.tries))

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
                self._wait(fault, failures)
        return bytes(got)

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        """Give the bytes from `offset` to the end; goes on where it broke off, if the server knows ranges."""
        failures = 0
        while True:
            left = None if self.size is None else self.size - offset
            if left is not None and left <= 0:
                return
            try:
                if not self.ranges and offset:
                    raise Interrupted(UnavailableError(f"{self.host} does not give parts of {self.name}."), "no ranges")
                for piece in self.pieces(offset, left if self.ranges else None):
                    failures = 0
                    offset += len(piece)
                    yield bytes(piece)
                if self.size is None or offset >= self.size:
                    return
                raise Interrupted(self._cut_short(offset))
            except Interrupted as fault:
                failures += 1
                if not self.ranges:
                    raise fault.error from fault
                self._wait(fault, failures)

    def _wait(self, fault: Interrupted, failures: int) -> None:
        """Wait after so many failures in a row, or raise what it was when patience ends."""
        wait = self._limits.wait_s(failures, fault.wait_s)
        if self._limits.gives_up(fault, failures, wait):
            raise fault.error from fault
        time.sleep(wait)

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
            held, self._held = self._held, None
        if held is not None:
            held.drop()
        for connections in idle.values():
            for connection in connections:
                connection.close()
        self.interrupt()

    def __del__(self) -> None:
        if hasattr(self, "_in_use"):
            self.close()

    def __enter__(self) -> HttpReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- for `transfer`

    def pieces(self, offset: int, n: int | None) -> Iterator[memoryview | bytes]:
        """Give `n` bytes from `offset` as they arrive, in one try; with None, the whole from 0.

        Raises
        ------
        Interrupted
            If it broke off, and may come through when asked again.
        """
        if n is None:
            yield from self._whole()
            return
        if offset < len(self._head):
            piece = self._head[offset : offset + n]
            yield piece
            offset += len(piece)
            n -= len(piece)
        while n > 0:  # some servers give fewer bytes at a time than they are asked for
            held = self._ask({"Range": f"bytes={offset}-{offset + n - 1}", **self._if_same()})
            try:
                k = self._check_part(held, offset, n)
                yield from self._body(held, k)
            finally:
                self._put_back(held)
            offset += k
            n -= k

    def interrupt(self) -> None:
        """Break off all reads under way, from another thread."""
        with self._lock:
            socks = list(self._in_use)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def renew(self) -> None:
        """Look at the address again: the file changed."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            self._forget(held)
        self._final = self._origin
        patiently(self._probe, self._limits)
        what = not_data(self.head(_LOOK_BYTES), self.name)
        if what is not None:
            raise NotDataError(f"{self.host} now gives {what} instead of {self.name}.", "Next: run the line again.")

    def head(self, n: int) -> bytes:
        """Return the first bytes, at most `n`, which have been fetched already."""
        return self._head[:n]

    # --- asking

    def _probe(self) -> None:
        """Ask for the first bytes: they tell size, state and whether the server knows ranges."""
        held: _Held | None = self._ask({"Range": f"bytes=0-{_HEAD_BYTES - 1}"}, is_first=True)
        assert held is not None
        response = held.response
        try:
            if response.status == 206 and _encoding(response):
                # Ranges of something compressed are of no use: the whole, then.
                self._forget(held)
                held = self._ask({}, is_first=True)
                response = held.response
            headers = response.headers
            self._final = held.address
            self.name = _file_name(headers, self._origin, held.address)
            self._etag = "" if headers.get("ETag", "").startswith("W/") else headers.get("ETag", "")
            self._modified = headers.get("Last-Modified", "")
            self._decode = self._decoding(response)
            self._head = b""
            self.ranges = False
            if response.status == 206:
                start, end, total = _content_range(headers)
                if start == 0 and total is not None and end is not None and end < _HEAD_BYTES:
                    self.size, self.ranges = total, True
                    self._head = self._beginning(held, end + 1)
                elif start == 0 and total is not None and end == total - 1 and not response.chunked:
                    self._hold(held)  # it knows no ends, and gives all
                    held = None
                else:
                    self._forget(held)
                    held = self._ask({}, is_first=True)
                    self._decode = self._decoding(held.response)
                    self._hold(held)
                    held = None
            elif response.status == 416:
                self.size = 0
            else:
                self._hold(held)
                held = None
            self.identity = self._identity()
        finally:
            if held is not None:
                self._put_back(held)

    def _beginning(self, held: _Held, n: int) -> bytes:
        head, began = b"", time.monotonic()
        for piece in self._body(held, n):
            head += bytes(piece)
            if time.monotonic() - began > self._limits.stall_s and len(head) < n:
                raise self._broken(TimeoutError(), held.address)
        return head

    def _hold(self, held: _Held) -> None:
        """Keep the answer that gives the whole, and look at its beginning."""
        self._check_whole(held.response)
        self.size = None if self._decode else held.response.said_length
        self.ranges = False
        self._held = held
        pieces = self._decoded(held)
        head, began = b"", time.monotonic()
        for piece in pieces:
            head += bytes(piece)
            if len(head) >= _HEAD_BYTES:
                break
            if time.monotonic() - began > self._limits.stall_s:
                if len(head) < _LOOK_BYTES:
                    raise self._broken(TimeoutError(), held.address)
                break
        self._head = head
        self._rest = pieces

    def _identity(self) -> str:
        """Return what tells this state of the file from another; empty if the server does not say."""
        if not self._etag and not self._modified:
            return ""
        # Two servers may give the same ETag to different bytes: the place is part of it. Not the query: it may sign.
        place = f"{self._origin.host}:{self._origin.port}{self._origin.target.partition('?')[0]}"
        return f"{self._etag or self._modified}-{self.size}-{zlib.crc32(place.encode()):08x}"

    def _whole(self) -> Iterator[memoryview | bytes]:
        with self._lock:
            held, self._held = self._held, None
        try:
            if held is not None:
                if self._head:
                    yield self._head
                yield from self._rest
            else:
                held = self._ask({})
                yield from self._again(held)
        finally:
            if held is not None:
                self._forget(held)

    def _again(self, held: _Held) -> Iterator[memoryview | bytes]:
        """Give the whole of a later answer, which must be of the same file: its state, its size, its beginning."""
        response = held.response
        self._final = self._origin  # until it has proven right
        self._decode = self._decoding(response)
        try:
            self._check_whole(response)
            self._check_same(response, whole=True)
            if self.size is not None and not self._decode and response.said_length not in (None, self.size):
                raise Interrupted(self._changed(), "changed")
        except Interrupted:
            self._check_no_page(held)
            raise
        begun, at = self._head, 0
        for piece in self._decoded(held):
            if at < len(begun):
                n = min(len(piece), len(begun) - at)
                if piece[:n] != begun[at : at + n]:
                    self._check_no_page(held, bytes(piece[:_LOOK_BYTES]) if at == 0 else b"")
                    raise Interrupted(self._changed(), "changed")
                at += n
            yield piece
        self._final = held.address

    def _decoded(self, held: _Held) -> Iterator[memoryview | bytes]:
        body = self._body(held, held.response.said_length)
        if not self._decode:
            yield from body
            return
        first = b""
        for piece in body:
            first += piece
            if len(first) >= 2:
                break
        if self._decode == "gzip":
            if first[:2] != b"\x1f\x8b":  # it says so of bytes that are no gzip
                yield first
                yield from body
                return
            window = 31
        else:  # the deflate of HTTP is zlib's, and some servers send it bare
            window = 15 if first[0:1] and first[0] & 15 == 8 and int.from_bytes(first[:2], "big") % 31 == 0 else -15
        yield from self._inflated(first, body, window)

    def _inflated(self, piece: memoryview | bytes, body: Iterator[memoryview | bytes], window: int) -> Iterator[bytes]:
        decoder = zlib.decompressobj(window)
        try:
            while True:
                data = bytes(piece)
                while data:
                    if decoder.eof:  # several may follow one another
                        data = data.lstrip(b"\0")
                        if not data:
                            break
                        decoder = zlib.decompressobj(window)
                    yield decoder.decompress(data, _UNPACKED_BYTES)  # a few bytes may hold very many
                    data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
                following = next(body, None)
                if following is None:
                    break
                piece = following
            yield decoder.flush()
        except zlib.error as error:
            raise Interrupted(
                IntegrityError(
                    f"{self.name} came compressed by {self.host}, and the compressed bytes are damaged.",
                    "Next: run the same line again.",
                )
            ) from error
        if not decoder.eof:
            raise Interrupted(
                IntegrityError(
                    f"{self.name} was cut short: its compressed bytes end too early.", "Next: run the same line again."
                )
            )

    def _body(self, held: _Held, n: int | None) -> Iterator[memoryview | bytes]:
        """Give `n` bytes of the answer, or all of them, as they come."""
        response = held.response
        got = 0
        try:
            if response.chunked:
                while n is None or got < n:
                    response.put_off()
                    chunk = response.read1(_PIECE_BYTES)
                    if not chunk:
                        break
                    got += len(chunk)
                    self._flowed_at = time.monotonic()
                    yield chunk
                if n is None or got >= n:
                    response.read(0 if n is None else 1)  # what ends the last chunk
                    held.is_read = response.isclosed()
            else:
                # HTTPResponse.readinto waits until the buffer is full; a slow place must show each byte when it comes.
                read: Callable[[memoryview], int] = response.fp.readinto1
                length = n if response.length is None else response.length if n is None else min(n, response.length)
                held.is_read = length == 0
                buffer = memoryview(bytearray(_PIECE_BYTES if length is None else max(1, min(length, _PIECE_BYTES))))
                while length is None or got < length:
                    response.put_off()
                    try:
                        k = read(buffer if length is None else buffer[: length - got])
                    except ssl.SSLEOFError:
                        # The end of a body without a length is the connection's, which somebody on the way may have
                        # cut; a digest will tell.
                        if length is not None or not self._has_hash:
                            raise
                        k = 0
                    if k == 0:
                        break
                    got += k
                    held.is_read = got == response.length
                    self._flowed_at = time.monotonic()
                    yield buffer[:k]
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise self._broken(error, held.address) from error
        if n is not None and got < n:
            raise Interrupted(self._cut_short(got))

    def _check_part(self, held: _Held, offset: int, n: int) -> int:
        """Check that an answer is the part that was asked for, of the file that was begun with; return its length."""
        try:
            if held.response.status == 200:
                self._check_no_page(held)
            k = self._length_of_part(held.response, offset, n)
        except Interrupted:
            self._final = self._origin  # what a redirect led to is no good: asked for at the first address again
            raise
        self._final = held.address
        return k

    def _check_whole(self, response: Response) -> None:
        if response.status == 416:
            raise Interrupted(self._refused(416, self._origin))
        start, end, total = _content_range(response.headers)
        if response.status != 200 and (start, end) != (0, -1 if total is None else total - 1):
            raise Interrupted(
                IntegrityError(
                    f"{self.host} answered with a part of {self.name} when asked for the whole ({response.status}).",
                    "Next: run the same line again.",
                )
            )

    def _check_no_page(self, held: _Held, head: bytes = b"") -> None:
        """Look whether a page came in between, as of a network that wants a sign-in: that may pass."""
        if not head:
            with contextlib.suppress(Interrupted, UnavailableError):
                for piece in self._body(held, None):
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

    def _length_of_part(self, response: Response, offset: int, n: int) -> int:
        if response.status == 200:
            self._check_same(response)
            raise Interrupted(
                IntegrityError(
                    f"{self.host} answered with the whole of {self.name} when asked for a part.",
                    "Next: run the same line again.",
                ),
                "no ranges",
            )
        start, end, total = _content_range(response.headers)
        if response.status == 416 and total in (None, self.size):
            raise Interrupted(
                IntegrityError(
                    f"{self.host} says that there is no such part of {self.name} (416).",
                    "Next: run the same line again.",
                ),
                "no ranges",
            )
        if total is not None and total != self.size:
            raise Interrupted(self._changed(), "changed")
        self._check_same(response)
        length = response.said_length
        wrong_length = length is not None and end is not None and length != end - offset + 1
        if start != offset or end is None or not offset <= end < offset + n or wrong_length or _encoding(response):
            raise Interrupted(
                IntegrityError(
                    f"{self.host} answered with another part of {self.name} than was asked for.",
                    "Next: run the same line again.",
                ),
                "no ranges",
            )
        return end - offset + 1

    def _check_same(self, response: Response, *, whole: bool = False) -> None:
        etag, modified = response.getheader("ETag", ""), response.getheader("Last-Modified", "")
        if etag.startswith("W/"):
            etag = ""
        if modified != self._modified:
            raise Interrupted(self._changed(), "changed")
        if etag == self._etag or (self._has_hash and modified):
            return
        # Servers behind one name may give each their own ETag: a digest will tell whether the bytes differ. Without
        # one, those of a single answer are surely of one file.
        if not (modified and whole):
            raise Interrupted(self._changed(), "no ranges" if modified else "changed")

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"{self.name} changed on {self.host} while it was being copied.",
            "Next: run the same line again when nobody is writing it.",
        )

    def _if_same(self) -> dict[str, str]:
        return {"If-Range": self._etag} if self._etag and not self._has_hash else {}

    def _cut_short(self, got: int) -> IntegrityError:
        size = "" if self.size is None else f" of {self.size:,}"
        return IntegrityError(
            f"{self.name} was cut short: {got:,}{size} bytes came from {self.host}.",
            "Next: run the same line again; if it stays short, the file on the server is not whole.",
        )

    def _decoding(self, response: http.client.HTTPResponse) -> str:
        encoding = _encoding(response)
        if not encoding:
            return ""
        if encoding in ("gzip", "x-gzip"):
            kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            return "" if _GZIP_NAMES.search(self.name) or kind in _GZIP_TYPES else "gzip"
        if encoding == "deflate":
            return "deflate"
        raise UnavailableError(
            f"{self.host} sends {self.name} compressed with {encoding}, though it was asked not to.",
            "Next: download it with a browser, then stage the file.",
        )

    def _ask(self, headers: dict[str, str], *, is_first: bool = False) -> _Held:
        """Send a GET, follow redirects, and return the answer if it is one with bytes."""
        address = self._final
        seen: set[_Address] = set()
        while True:
            if address in seen or len(seen) >= _MOST_REDIRECTS:
                raise UnavailableError(
                    f"{self._origin.host} sends the request in a circle: {len(seen)} redirects without an end.",
                    "Next: open the address in a browser, and copy the address where it ends.",
                )
            seen.add(address)
            try:
                held = self._exchange(address, headers)
            except Interrupted:
                # One of many that a redirect may lead to: the next try begins at the first address.
                self._final = self._origin
                raise
            response = held.response
            if response.status not in _REDIRECTS:
                break
            location = response.getheader("Location", "")
            self._forget(held)
            address = self._redirected(address, location)
        status = response.status
        if status in (200, 206) or (status == 416 and (not is_first or "Range" in headers)):
            if status == 416 and is_first and _content_range(response.headers)[2] != 0:
                self._forget(held)
                return self._ask({}, is_first=True)
            return held
        retry_after = _retry_after(response.getheader("Retry-After"), response.getheader("Date"))
        self._forget(held)
        if status in (401, 403, 404) and self._token is None and address.host in _TOKENS:
            # Asked for only now: a notebook's secrets open a question to the user.
            self._token = (address.host, runtime_module.secret(_TOKENS[address.host]) or "")
            if self._token[1]:
                return self._ask(headers, is_first=is_first)
        # A signed address that a redirect led to expires: the next try begins at the first one.
        self._final = self._origin
        error = self._refused(status, address)
        if status in _PASSING:
            raise Interrupted(error, "busy" if status in _BUSY else "broken", retry_after)
        if not is_first:
            raise Interrupted(error)
        raise error

    def _redirected(self, address: _Address, location: str) -> _Address:
        if not location:
            raise UnavailableError(
                f"{address.host} redirects without saying where to.",
                "Next: open the address in a browser, and copy the address where it ends.",
            )
        with contextlib.suppress(UnicodeError):
            location = location.encode("latin-1").decode("utf-8")  # raw UTF-8 in a header arrives as latin-1
        try:
            target = urllib.parse.urljoin(f"{address.scheme}://{address.netloc}{address.target}", location)
            scheme = urllib.parse.urlsplit(target).scheme
        except ValueError:
            target, scheme = without_secrets(location), ""
        if scheme not in ("http", "https"):
            raise UnavailableError(
                f"{address.host} redirects to {without_secrets(target)}, which is no web address.",
                "Next: open the address in a browser, and copy the address where it ends.",
            )
        new = _address(target)
        if address.scheme == "https" and new.scheme == "http" and not self._has_hash:
            raise UnavailableError(
                f"{address.host} redirects from https to http, where anybody on the way may change the bytes.",
                "With a digest that proves them it is allowed: expect='sha256:...'.",
                "Next: ask for the address that begins with https.",
            )
        same = new.origin == self._origin.origin
        # Credentials go to the host they were given for, and to no other.
        return _Address(
            new.scheme,
            new.host,
            new.port,
            new.target,
            self._origin.user if same else new.user,
            self._origin.password if same else new.password,
        )

    def _exchange(self, address: _Address, headers: dict[str, str]) -> _Held:
        """Send one request over a kept connection or a new one."""
        all_headers = {
            "Host": address.netloc,
            "User-Agent": f"datastage/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **self._authorization(address),
            **headers,
        }
        while True:
            connection = self._kept(address)
            is_new = connection is None
            sock: socket.socket | None = None
            target = address.target
            try:
                if connection is None:
                    connection = self._connect(address)
                if getattr(connection, "asks_proxy", False):
                    target = f"http://{address.netloc}{address.target}"
                    all_headers |= self._proxy_authorization(address)
                sock = connection.sock
                assert sock is not None
                with self._lock:
                    self._in_use.add(sock)
                sock.settimeout(self._limits.stall_s)
                connection.request("GET", target, headers=all_headers)
                response = connection.getresponse()
                assert isinstance(response, Response)
                return _Held(address, connection, sock, response)
            except UnavailableError:
                raise
            except (OSError, ValueError, http.client.HTTPException) as error:
                if connection is not None:
                    with self._lock:
                        self._in_use.discard(sock)  # type: ignore[arg-type]
                    connection.close()
                if not is_new and not isinstance(error, TimeoutError | NotHttp):
                    continue  # the server had closed the kept connection
                fault = self._broken(error, address)
                if isinstance(fault, Interrupted) and isinstance(error, ConnectionError | TimeoutError):
                    with self._lock:
                        others_flow = bool(self._in_use) and time.monotonic() - self._flowed_at < _FLOWS_S
                    if others_flow:  # a server that gives each of us only so many connections says it in this way too
                        fault = Interrupted(fault.error, "busy")
                raise fault from error

    def _kept(self, address: _Address) -> http.client.HTTPConnection | None:
        """Return a connection that was kept for this host, and on which nothing has come since."""
        while True:
            with self._lock:
                if self._closed:
                    raise ValueError("reading from a reader that was closed")
                kept = self._idle.get(address.origin)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.sock is not None and not has_news(connection.sock):
                return connection
            connection.close()  # its end, most likely; or more than was asked for

    def _connect(self, address: _Address) -> http.client.HTTPConnection:
        proxy = _proxy(address)
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            with self._lock:
                if self._tls is None:
                    self._tls = ssl.create_default_context()  # knows SSL_CERT_FILE and SSL_CERT_DIR
            connection = Https(host, port, timeout=CONNECT_S, tls=self._tls, named=address.host)
            if proxy:
                connection.set_tunnel(address.host, address.port, self._proxy_authorization(address))
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
            connection.asks_proxy = proxy is not None  # type: ignore[attr-defined]
        connection._create_connection = reach.connect  # type: ignore[attr-defined]
        connection.response_class = partial(Response, limit_s=self._limits.stall_s)  # type: ignore[assignment]
        connection.connect()
        return connection

    def _authorization(self, address: _Address) -> dict[str, str]:
        if self._token is not None and self._token[1] and address.scheme == "https" and address.host == self._token[0]:
            return {"Authorization": f"Bearer {self._token[1]}"}
        user, password = address.user, address.password
        if not user and not password:
            user, password = self._netrc.of(address.host, self._origin.host)
        return _basic("Authorization", user, password) if user or password else {}

    def _proxy_authorization(self, address: _Address) -> dict[str, str]:
        proxy = _proxy(address)
        return _basic("Proxy-Authorization", proxy.user, proxy.password) if proxy and proxy.user else {}

    def _put_back(self, held: _Held) -> None:
        """Keep a connection whose answer was read to its end; end any other."""
        with self._lock:
            self._in_use.discard(held.sock)
            if held.is_read and not held.response.will_close and not self._closed:
                held.response.close()
                self._idle.setdefault(held.address.origin, []).append(held.connection)
                return
        held.drop()

    def _forget(self, held: _Held) -> None:
        with self._lock:
            self._in_use.discard(held.sock)
        held.drop()

    # --- in words

    def _broken(self, error: Exception, address: _Address) -> Interrupted | UnavailableError:
        """Say what an error met on the way means: one to be patient with, or not."""
        name = self.name or without_secrets(self._url)
        again = "Next: run the same line again; what has come is kept."
        proxy = _proxy(address)
        # What a connection meets, it meets at the proxy, where there is one.
        host = f"The proxy {proxy.host}:{proxy.port}" if proxy else address.host
        if isinstance(error, socket.gaierror):
            reached = proxy.host if proxy else address.host
            return Interrupted(_unresolved(reached, error.strerror or "the name is not known", proxy is not None))
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnavailableError(
                f"The certificate of {address.host} could not be verified: {error.verify_message}.",
                "A wrong clock on this machine, or a network that looks into traffic, does this too.",
                "Next: if your institution has a certificate authority of its own, name its file in SSL_CERT_FILE.",
            )
        if isinstance(error, ssl.SSLEOFError | http.client.RemoteDisconnected | ssl.SSLZeroReturnError):
            return Interrupted(UnavailableError(f"{host} closed the connection too early for {name}.", again))
        if isinstance(error, ssl.SSLError):
            said = (error.reason or str(error)).replace("_", " ").lower()
            return Interrupted(UnavailableError(f"No secure connection with {address.host}: {said}.", again))
        if isinstance(error, ConnectionRefusedError):
            steps = ["Next: look at http_proxy and https_proxy."] if proxy else [again]
            return Interrupted(UnavailableError(f"{host} refused the connection.", *steps))
        if isinstance(error, TimeoutError):
            return Interrupted(
                UnavailableError(f"{host} did not answer within {self._limits.stall_s:.0f} s for {name}.", again)
            )
        if isinstance(error, OSError) and (tunnel := re.match(r"Tunnel connection failed: (\d+)", str(error))):
            return self._refused_by_proxy(int(tunnel[1]), address)
        if isinstance(error, http.client.IncompleteRead):
            return Interrupted(UnavailableError(f"{host} broke off in the middle of {name}.", again))
        if isinstance(error, OSError):
            said = error.strerror or type(error).__name__
            return Interrupted(UnavailableError(f"{host} broke the connection off ({said}) for {name}.", again))
        why = str(error) if isinstance(error, NotHttp) else _KINDS.get(type(error), type(error).__name__)
        return Interrupted(
            UnavailableError(
                f"{host} gave an answer for {name} that is not proper HTTP: {why}.",
                "Something on the way, such as a proxy, may have written it.",
                "Next: open the address in a browser; if it downloads there, upload the file instead.",
            )
        )

    def _refused_by_proxy(self, status: int, address: _Address) -> Interrupted | UnavailableError:
        proxy = _proxy(address)
        named = f"The proxy {proxy.host}:{proxy.port}" if proxy else "The proxy"
        if status == 407:
            return UnavailableError(
                f"{named} asks for a user name and a password before {address.host} (407).",
                "Next: put them into the address of the proxy: https_proxy=http://NAME:PASSWORD@HOST:PORT",
            )
        error = UnavailableError(
            f"{named} would not connect to {address.host} ({status} {http.client.responses.get(status, '')}).".replace(
                " )", ")"
            ),
            "Next: look at https_proxy; or name the host in no_proxy, if it can be reached without.",
        )
        return Interrupted(error) if status in _PASSING else error

    def _refused(self, status: int, address: _Address) -> UnavailableError:
        host, name = address.host, self.name or _file_name(email.message.Message(), self._origin, self._origin)
        if status in (404, 410):
            return UnavailableError(
                f"{host} has no such file: {name} ({status}).", "Next: open the address in a browser, and copy it anew."
            )
        if status == 401:
            return UnavailableError(
                f"{host} asks for a user name and a password for {name} (401).",
                self._netrc.trouble
                or "Put them into the file .netrc in your home folder: machine HOST login NAME password SECRET.",
                "Next: run the same line again.",
            )
        if status == 403:
            return UnavailableError(
                f"{host} does not let you have {name} (403).",
                "The link may have expired, or ask you to sign in.",
                "Next: open the address in a browser; if it downloads there, upload the file instead.",
            )
        if status == 407:
            error = self._refused_by_proxy(407, address)
            return error.error if isinstance(error, Interrupted) else error  # type: ignore[return-value]
        if status == 511:
            return UnavailableError(
                f"The network you are in wants you to sign in before it lets {host} be reached (511).",
                "Next: open any page in a browser, sign in, then run the same line again.",
            )
        if status in _BUSY:
            return UnavailableError(
                f"{host} is too busy to give {name} ({status} {http.client.responses.get(status, '')}).".replace(
                    " )", ")"
                ),
                "Next: run the same line again later; what has come is kept.",
            )
        said = http.client.responses.get(status, "an unknown answer")
        return UnavailableError(
            f"{host} answered {status} ({said}) for {name}.", "Next: run the same line again later."
        )


_KINDS: dict[type[Exception], str] = {
    http.client.LineTooLong: "a line of it is too long",
    http.client.BadStatusLine: "it does not begin as one",
    http.client.UnknownProtocol: "it is of another version",
    http.client.HTTPException: "it has too many headers",
    http.client.InvalidURL: "the address has letters that cannot be sent",
}


def _unresolved(host: str, why: str, is_proxy: bool = False) -> UnavailableError:
    if is_proxy:
        return UnavailableError(
            f"Could not resolve the name of the proxy: {host} ({why}).", "Next: look at http_proxy and https_proxy."
        )
    return UnavailableError(
        f"Could not resolve host, or reach it: {host} ({why}).",
        "Next: switch the internet on, or look at the spelling, then run the same line again.",
    )


def _basic(header: str, user: str, password: str) -> dict[str, str]:
    return {header: "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}


class _Netrc:
    """The passwords that the user keeps in ``.netrc``, read when first asked for. `trouble` says why none was found."""

    def __init__(self) -> None:
        self.trouble = ""
        self._known: netrc.netrc | None = None
        self._was_read = False

    def of(self, host: str, origin: str) -> tuple[str, str]:
        """Return user name and password for `host`, empty if there are none."""
        if not self._was_read:
            self._was_read = True
            try:
                self._known = netrc.netrc()
            except FileNotFoundError:
                pass
            except netrc.NetrcParseError as error:
                # Not its message: what could not be understood may be a password.
                where = f", from line {error.lineno} on" if error.lineno else ""
                open_to_others = " Others may read it: chmod 600 ~/.netrc." if "permissive" in str(error.msg) else ""
                self.trouble = f"Your file .netrc was passed over: it cannot be understood{where}.{open_to_others}"
            except (OSError, UnicodeError):
                self.trouble = "Your file .netrc was passed over: it cannot be read."
        if self._known is None:
            return "", ""
        # The entry called "default" is for the host the user named, not for wherever it redirects to.
        found = self._known.hosts.get(host) or (self._known.hosts.get("default") if host == origin else None)
        return (found[0] or "", found[2] or "") if found else ("", "")


def _proxy(address: _Address) -> _Address | None:
    """Return the proxy that the environment names for an address.

    Raises
    ------
    UnavailableError
        If it is of a kind that is not spoken here: going around it would show what it is there to hide.
    """
    with contextlib.suppress(OSError):  # a look at the bypass list may ask the name service
        if urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
            return None
    proxies = urllib.request.getproxies()
    named = proxies.get(address.scheme) or proxies.get("all")
    if not named:
        return None
    setting = f"{address.scheme}_proxy" if proxies.get(address.scheme) else "all_proxy"
    try:
        return _address(named if "://" in named else f"http://{named}")
    except UnavailableError:
        kind = named.partition("://")[0] if "://" in named else ""
        what = "a SOCKS proxy" if kind.lower().startswith("socks") else "no proxy that can be asked"
        raise UnavailableError(
            f"{setting} names {what}: {without_secrets(named)}; here only those of http are spoken with.",
            f"Next: set {setting} to http://HOST:PORT; or name {address.host} in no_proxy, if it needs none.",
        ) from None


def _encoding(response: http.client.HTTPResponse) -> str:
    kinds = (kind.strip() for kind in (response.getheader("Content-Encoding") or "").lower().split(","))
    return ", ".join(kind for kind in kinds if kind not in _NO_ENCODINGS)


def _content_range(headers: email.message.Message) -> tuple[int | None, int | None, int | None]:
    """Return start, end (the last byte, counted in) and total of a Content-Range; None for what it does not say."""
    match = re.fullmatch(
        r"(?ai)\s*bytes[\s=]+(?:(\d{1,18})\s*-\s*(\d{1,18})|\*)\s*/\s*(\d{1,18}|\*)\s*",
        headers.get("Content-Range", ""),
    )
    if match is None:
        return None, None, None
    start, end, total = match.groups()
    return (
        None if start is None else int(start),
        None if end is None else int(end),
        None if total == "*" else int(total),
    )


def _retry_after(text: str | None, now: str | None = None) -> float | None:
    """Return the seconds that a Retry-After asks for: a number, or a date, by the server's own clock if it tells."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    began = time.time()
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        began = email.utils.parsedate_to_datetime(now or "").timestamp()
    return max(0.0, until - began)


def _file_name(headers: email.message.Message, origin: _Address, final: _Address) -> str:
    """Return the file's name: what the server calls it, else the end of the address; safe to print and to write."""
    for name in (_disposition(headers.get("Content-Disposition", "")), *map(_last_part, (origin, final))):
        name = re.split(r"[/\\]", name)[-1]
        name = "".join(c for c in name if c.isprintable()).strip(" .")
        if name:
            return name.encode()[-200:].decode(errors="ignore").lstrip(" .")
    return origin.host


def _last_part(address: _Address) -> str:
    return urllib.parse.unquote(address.target.partition("?")[0].rstrip("/").rpartition("/")[2])


def _disposition(text: str) -> str:
    extended = re.search(r"(?i)filename\*\s*=\s*([\w-]*)'[^']*'([^;\s]+)", text)
    if extended:
        charset = extended.group(1).lower()
        return urllib.parse.unquote(extended.group(2), "latin-1" if charset == "iso-8859-1" else "utf-8", "replace")
    plain = re.search(r'(?i)filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', text)
    if not plain:
        return ""
    name = re.sub(r"\\(.)", r"\1", plain.group(1)) if plain.group(1) is not None else plain.group(2)
    with contextlib.suppress(UnicodeError):
        return name.encode("latin-1").decode("utf-8")  # raw UTF-8 in a header arrives as latin-1
    return name
