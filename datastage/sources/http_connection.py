"""Connections of HTTP: what each request says of itself, passwords, answers as they come; kept for the next request.

Python's own client waits for ever for a server that drips its headers, and takes some answers for whole that are not.
"""

from __future__ import annotations

import base64
import contextlib
import email.errors
import email.message
import http.client
import io
import netrc
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any, TypeAlias

from datastage._version import __version__
from datastage.connecting import PORTS, Address, connect, connect_by_socks, proxy_of
from datastage.errors import MissingDependencyError, UnavailableError

CONNECT_S = 10.0
# Others have brought something so lately that a connection which could not be had is one too many.
_FLOWS_S = 1.0
USER_AGENT = f"datastage/{__version__} (fetches datasets for notebooks)"
_PIECE_BYTES = 256 << 10

Chunks: TypeAlias = Iterator[memoryview | bytes]


class NotHttp(http.client.HTTPException):
    """An answer whose end cannot be told, or that is no HTTP at all; says why."""


class _TimedSocket(io.RawIOBase):
    """The bytes of a socket, all in time: its own limit begins anew with every byte that a server drips."""

    def __init__(self, sock: socket.socket, limit_s: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._limit_s = limit_s
        self.put_off()

    def put_off(self) -> None:
        self._until = time.monotonic() + self._limit_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """An answer that comes in time, whose length is told in one way, and which is not a preliminary one."""

    address: Address  # that was asked
    connection: http.client.HTTPConnection  # over which it comes

    def __init__(self, sock: socket.socket, *words: Any, limit_s: float, **options: Any) -> None:
        super().__init__(sock, *words, **options)
        self.fp.close()
        self.sock = sock  # which http.client forgets when the server will close
        self._in_time = _TimedSocket(sock, limit_s)
        self.fp = io.BufferedReader(self._in_time)
        self.said_length: int | None = None
        self.is_read = False  # to its end

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)  # 103 and the like: the answer itself is still to come

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError(size)
        return size

    def begin(self) -> None:
        """Read the headers, and settle where the body ends."""
        super().begin()
        headers = self.headers
        if any(isinstance(defect, email.errors.MissingHeaderBodySeparatorDefect) for defect in headers.defects):
            raise NotHttp("a line among its headers is no header")
        codings = _listed(headers, "Transfer-Encoding")
        lengths = set(_listed(headers, "Content-Length"))
        if codings == {"chunked"}:
            if not self.chunked:  # written in a way that http.client does not know
                self.chunked, self.chunk_left, self.length = True, None, None
        elif codings - {"identity"}:
            raise NotHttp(f"it is encoded as {', '.join(sorted(codings))} for the transfer, which was not asked for")
        elif len(lengths) > 1:
            raise NotHttp("it says two different lengths")
        elif lengths:
            text = lengths.pop()
            if text.isdecimal() and self.length != 0:
                if len(text) > 18:
                    raise NotHttp("it says a length that no file has")
                self.length = int(text)
            self.said_length = self.length

    def pieces(self, n: int | None = None, *, may_end_early: bool = False) -> Chunks:
        """Give `n` bytes of the answer, or all of them, as they come; errors pass as they are.

        `may_end_early` takes the end of a secure connection for the end of a body without a length: a digest will tell.
        """
        return self._chunks(n) if self.chunked else self._plain(n, may_end_early)

    def put_beginning(self, into: bytearray, n: int) -> None:
        """Add the first `n` bytes or some more to `into`, fewer only at the end; errors pass as they are."""
        for piece in self.pieces(may_end_early=True):
            into += piece
            if len(into) >= n:
                break

    def _chunks(self, n: int | None) -> Chunks:
        got = 0
        while n is None or got < n:
            self._in_time.put_off()
            chunk = self.read1(_PIECE_BYTES)
            if not chunk:
                break
            got += len(chunk)
            yield chunk
        if n is None or got >= n:
            self.read(0 if n is None else 1)  # what ends the last chunk
            self.is_read = self.isclosed()

    def _plain(self, n: int | None, may_end_early: bool) -> Chunks:
        got = 0
        # HTTPResponse.readinto waits until the buffer is full; a slow place must show each byte when it comes.
        read: Callable[[memoryview], int] = self.fp.readinto1
        length = n if self.length is None else self.length if n is None else min(n, self.length)
        self.is_read = length == 0
        buffer = memoryview(bytearray(_PIECE_BYTES if length is None else max(1, min(length, _PIECE_BYTES))))
        while length is None or got < length:
            self._in_time.put_off()
            try:
                k = read(buffer if length is None else buffer[: length - got])
            except ssl.SSLEOFError:
                # The end of a body without a length is the connection's, which somebody on the way may have cut.
                if length is not None or not may_end_early:
                    raise
                k = 0
            if k == 0:
                break
            got += k
            self.is_read = got == self.length
            yield buffer[:k]

    def drop(self) -> None:
        """End it, and the connection over which it comes."""
        with contextlib.suppress(OSError):
            self.close()
        with contextlib.suppress(OSError):
            self.connection.close()


def _listed(headers: email.message.Message, name: str) -> set[str]:
    values = headers.get_all(name, [])
    return {part.strip().lower() for value in values for part in str(value).split(",") if part.strip()}


class _Https(http.client.HTTPSConnection):
    """A connection that tells an end that the other side meant from one that came on the way."""

    def __init__(self, *words: Any, tls: ssl.SSLContext, named: str, **options: Any) -> None:
        super().__init__(*words, context=tls, **options)
        self._tls = tls
        self._named = named

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._named, suppress_ragged_eofs=False)


def _has_news(sock: socket.socket) -> bool:
    """Tell whether something has come over a connection, its end included."""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            return bool(selector.select(0))
    except (OSError, ValueError):
        return True


class Netrc:
    """The passwords that the user keeps in ``.netrc``, read when first asked for. `trouble` says why none was found."""

    trouble = ""

    @cached_property
    def _hosts(self) -> Mapping[str, Any]:
        try:
            return netrc.netrc().hosts
        except FileNotFoundError:
            pass
        except netrc.NetrcParseError as error:
            # Not its message: what could not be understood may be a password.
            where = f", from line {error.lineno} on" if error.lineno else ""
            open_to_others = " Others may read it: chmod 600 ~/.netrc." if "permissive" in str(error.msg) else ""
            self.trouble = f"Your file .netrc was passed over: it cannot be understood{where}.{open_to_others}"
        except (OSError, UnicodeError):
            self.trouble = "Your file .netrc was passed over: it cannot be read."
        return {}

    def of(self, host: str, origin: str) -> tuple[str, str]:
        """Return user name and password for `host`, empty if there are none."""
        # The entry called "default" is for the host the user named, not for wherever it redirects to.
        found = self._hosts.get(host) or (self._hosts.get("default") if host == origin else None)
        return (found[0] or "", found[2] or "") if found else ("", "")


class Connections:
    """The connections of one reader, kept between requests. `flowed_at` is when something came last."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._in_use: set[socket.socket] = set()
        self._is_closed = False
        self.flowed_at = 0.0

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # knows SSL_CERT_FILE and SSL_CERT_DIR

    def get(self, address: Address, headers: dict[str, str]) -> Response:
        """Send one GET over a kept connection or a new one, and return the answer; errors pass as they come."""
        headers = {
            "Host": address.netloc,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
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
                    headers |= _proxy_authorization(proxy_of(address))
                sock = connection.sock
                with self._lock:
                    self._in_use.add(sock)
                sock.settimeout(self._limit_s)
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
                assert isinstance(response, Response)
                response.address, response.connection = address, connection
                return response
            except (OSError, ValueError, http.client.HTTPException) as error:
                if connection is not None:
                    with self._lock:
                        self._in_use.discard(sock)
                    connection.close()
                if is_new or isinstance(error, UnavailableError | MissingDependencyError | TimeoutError | NotHttp):
                    raise
                # The server had closed the kept connection.

    def _kept(self, address: Address) -> http.client.HTTPConnection | None:
        """Return a connection that was kept for this host, and on which nothing has come since."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise ValueError("reading from a reader that was closed")
                kept = self._idle.get(address.origin)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.sock is not None and not _has_news(connection.sock):
                return connection
            connection.close()  # its end, most likely; or more than was asked for

    def _connect(self, address: Address) -> http.client.HTTPConnection:
        proxy = proxy_of(address)
        by_http = proxy is not None and proxy.scheme in PORTS
        host, port = (proxy.host, proxy.port) if proxy and by_http else (address.host, address.port)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            connection = _Https(host, port, timeout=CONNECT_S, tls=self.tls, named=address.host)
            if by_http:
                connection.set_tunnel(address.host, address.port, _proxy_authorization(proxy))
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
            connection.asks_proxy = by_http  # type: ignore[attr-defined]
        by: Any = partial(connect_by_socks, proxy) if proxy and not by_http else connect
        connection._create_connection = by  # type: ignore[attr-defined]
        connection.response_class = partial(Response, limit_s=self._limit_s)  # type: ignore[assignment]
        connection.connect()
        return connection

    def put_back(self, response: Response) -> None:
        """Keep the connection of an answer that was read to its end; end that of any other."""
        with self._lock:
            self._in_use.discard(response.sock)
            if response.is_read and not response.will_close and not self._is_closed:
                response.close()
                response.is_read = False  # it is put back once
                self._idle.setdefault(response.address.origin, []).append(response.connection)
                return
        response.drop()

    def others_flow(self, began: float) -> bool:
        """Tell whether other connections have brought something just now, or since `began`."""
        with self._lock:
            flow_now = bool(self._in_use) and time.monotonic() - self.flowed_at < _FLOWS_S
            return flow_now or self.flowed_at > began

    def interrupt(self) -> None:
        with self._lock:
            socks = list(self._in_use)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, {}
        for connection in (connection for kept in idle.values() for connection in kept):
            connection.close()
        self.interrupt()


def basic(header: str, user: str, password: str) -> dict[str, str]:
    """Return the header that gives a user name and a password."""
    return {header: "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}


def _proxy_authorization(proxy: Address | None) -> dict[str, str]:
    return basic("Proxy-Authorization", proxy.user, proxy.password) if proxy and proxy.user else {}
