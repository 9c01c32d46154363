"""Connections of HTTP: an address, proxies, passwords, and one exchange over a connection that is kept.

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
import re
import selectors
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datastage import connecting
from datastage._version import __version__
from datastage.errors import MissingDependencyError, UnavailableError
from datastage.redact import hide_secrets

CONNECT_S = 10.0
# Others have brought something so lately that a connection which could not be had is one too many.
_FLOWS_S = 1.0
USER_AGENT = f"datastage/{__version__} (fetches datasets for notebooks)"
_SAFE = "%/:=&?~#+!$,;'@()*[]|"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
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
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_address(url: str) -> Address:
    """Tell an address apart; raise `UnavailableError` if it is none of http or https."""
    address = _any_address(url)
    if address.scheme not in _PORTS:
        raise UnavailableError(
            f"{hide_secrets(url)} is not an address of http or https.", "Next: copy it again from the browser."
        )
    return address


def _any_address(url: str) -> Address:
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host.encode("idna").decode("ascii")  # of one in plain letters only the lengths are looked at
        if re.search(r"[\s\x00-\x1f\"<>\\^`{|}%]", host):
            raise ValueError(host)
    except ValueError as error:
        raise UnavailableError(
            f"{hide_secrets(url)} is not an address that can be asked.", "Next: copy it again from the browser."
        ) from error
    query = "?" + urllib.parse.quote(parts.query, safe=_SAFE) if parts.query else ""
    return Address(
        parts.scheme if host else "",
        host,
        port or _PORTS.get(parts.scheme, 1080),
        urllib.parse.quote(parts.path or "/", safe=_SAFE) + query,
        urllib.parse.unquote(parts.username or ""),
        urllib.parse.unquote(parts.password or ""),
    )


def proxy_of(address: Address) -> Address | None:
    """Return the proxy that the environment names for an address, of http or SOCKS."""
    with contextlib.suppress(OSError):  # a look at the bypass list may ask the name service
        if urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
            return None
    proxies = urllib.request.getproxies()
    named = proxies.get(address.scheme) or proxies.get("all")
    if not named:
        return None
    setting = f"{address.scheme}_proxy" if proxies.get(address.scheme) else "all_proxy"
    step = f"Next: set {setting} to http://HOST:PORT; or name {address.host} in no_proxy, if it needs none."
    with contextlib.suppress(UnavailableError):
        proxy = _any_address(named if "://" in named else f"http://{named}")
        if proxy.scheme in _PORTS:
            return proxy
        if proxy.scheme in _SOCKS:
            _pysocks(setting, step)
            return proxy
    raise UnavailableError(
        f"{setting} names no proxy that can be asked: {hide_secrets(named)}; here only those of http and SOCKS are"
        " spoken with.",
        step,
    )


# The kind of PySocks, and whether the proxy resolves the names of hosts.
_SOCKS = {"socks4": (1, False), "socks4a": (1, True), "socks5": (2, False), "socks5h": (2, True)}


def _pysocks(setting: str, step: str) -> Any:
    try:
        import socks
    except ImportError:
        raise MissingDependencyError(
            f"{setting} names a SOCKS proxy; to speak with it takes PySocks, which is not installed.",
            "Next: pip install pysocks",
            step,
        ) from None
    return socks


def _connect_by_socks(proxy: Address, place: tuple[str, int], timeout: float, source: object = None) -> socket.socket:
    socks = _pysocks("all_proxy", "")
    kind, resolves = _SOCKS[proxy.scheme]
    try:
        made: socket.socket = socks.create_connection(
            place, timeout, None, kind, proxy.host, proxy.port, resolves, proxy.user or None, proxy.password or None
        )
    except socks.ProxyError as error:
        reason = error.socket_err
        if isinstance(reason, ConnectionRefusedError | TimeoutError | socket.gaierror):
            raise reason from None
        raise SocksRefused(str(error.msg)) from None
    return made


class SocksRefused(OSError):
    """A SOCKS proxy would not connect; says why in its own words."""


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

    def __init__(self, sock: socket.socket, *words: Any, limit_s: float, **options: Any) -> None:
        super().__init__(sock, *words, **options)
        self.fp.close()
        self._in_time = _TimedSocket(sock, limit_s)
        self.fp = io.BufferedReader(self._in_time)
        self.said_length: int | None = None

    def put_off(self) -> None:
        """Begin the wait for the next bytes."""
        self._in_time.put_off()

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


@dataclass(slots=True, eq=False)
class Exchange:
    """A connection, its socket (which http.client forgets when the server will close), and the answer under way."""

    address: Address
    connection: http.client.HTTPConnection
    sock: socket.socket
    response: Response
    is_read: bool = False  # to the end of its answer

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.response.close()
        with contextlib.suppress(OSError):
            self.connection.close()


class Connections:
    """The connections of one reader, kept between requests. `flowed_at` is when something came last."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._in_use: set[socket.socket] = set()
        self._is_closed = False
        self.tls: ssl.SSLContext | None = None
        self.flowed_at = 0.0

    def get(self, address: Address, headers: dict[str, str]) -> Exchange:
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
                return Exchange(address, connection, sock, response)
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
        by_http = proxy is not None and proxy.scheme in _PORTS
        host, port = (proxy.host, proxy.port) if proxy and by_http else (address.host, address.port)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            with self._lock:
                if self.tls is None:
                    self.tls = ssl.create_default_context()  # knows SSL_CERT_FILE and SSL_CERT_DIR
            connection = _Https(host, port, timeout=CONNECT_S, tls=self.tls, named=address.host)
            if by_http:
                connection.set_tunnel(address.host, address.port, _proxy_authorization(proxy))
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
            connection.asks_proxy = by_http  # type: ignore[attr-defined]
        connect: Any = partial(_connect_by_socks, proxy) if proxy and not by_http else connecting.connect
        connection._create_connection = connect  # type: ignore[attr-defined]
        connection.response_class = partial(Response, limit_s=self._limit_s)  # type: ignore[assignment]
        connection.connect()
        return connection

    def put_back(self, exchange: Exchange) -> None:
        """Keep a connection whose answer was read to its end; end any other."""
        with self._lock:
            self._in_use.discard(exchange.sock)
            if exchange.is_read and not exchange.response.will_close and not self._is_closed:
                exchange.response.close()
                self._idle.setdefault(exchange.address.origin, []).append(exchange.connection)
                return
        exchange.drop()

    def forget(self, exchange: Exchange) -> None:
        with self._lock:
            self._in_use.discard(exchange.sock)
        exchange.drop()

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
