"""Addresses of the web, the proxies before them, and a connection by the first address of a host that answers.

Where one family of addresses leads nowhere, as IPv6 does on some campus networks, the other is tried a moment later
(RFC 8305). Every wait has a limit, that for the name service included.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import re
import selectors
import socket
import time
import urllib.parse
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from datastage.errors import MissingDependencyError, UnavailableError
from datastage.redact import hide_secrets
from datastage.timeouts import call_with_timeout

PORTS = {"http": 80, "https": 443}
_SAFE = "%/:=&?~#+!$,;'@()*[]|"
# An address that does not answer holds the next one up no longer than this.
_NEXT_ADDRESS_S = 0.25


@dataclass(frozen=True, slots=True)
class Address:
    """An address told apart. `target` is what is asked of the server: path and query."""

    scheme: str
    host: str
    port: int
    target: str = field(default="/", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def parse_address(url: str) -> Address:
    """Tell an address apart; raise `UnavailableError` if it is none of http or https."""
    address = _any_address(url)
    if address.scheme not in PORTS:
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
        port or PORTS.get(parts.scheme, 1080),
        urllib.parse.quote(parts.path or "/", safe=_SAFE) + query,
        urllib.parse.unquote(parts.username or ""),
        urllib.parse.unquote(parts.password or ""),
    )


# --- proxies


def proxy_of(address: Address) -> Address | None:
    """Return the proxy that the environment names for an address, of http or SOCKS."""
    proxies = urllib.request.getproxies()
    named = proxies.get(address.scheme) or proxies.get("all")
    if not named:
        return None
    with contextlib.suppress(OSError):  # a look at the bypass list may ask the name service
        if urllib.request.proxy_bypass(f"{address.host}:{address.port}"):
            return None
    setting = f"{address.scheme}_proxy" if proxies.get(address.scheme) else "all_proxy"
    step = f"Next: set {setting} to http://HOST:PORT; or name {address.host} in no_proxy, if it needs none."
    with contextlib.suppress(UnavailableError):
        proxy = _any_address(named if "://" in named else f"http://{named}")
        if proxy.scheme in _SOCKS and importlib.util.find_spec("socks") is None:
            raise MissingDependencyError(
                f"{setting} names a SOCKS proxy; to speak with it takes PySocks, which is not installed.",
                "Next: pip install pysocks",
                step,
            )
        if proxy.scheme in (*PORTS, *_SOCKS):
            return proxy
    raise UnavailableError(
        f"{setting} names no proxy that can be asked: {hide_secrets(named)}; here only those of http and SOCKS are"
        " spoken with.",
        step,
    )


# The kind of PySocks, and whether the proxy resolves the names of hosts.
_SOCKS = {"socks4": (1, False), "socks4a": (1, True), "socks5": (2, False), "socks5h": (2, True)}


def connect_by_socks(proxy: Address, place: tuple[str, int], timeout: float, source: object = None) -> socket.socket:
    """Connect to a host through a SOCKS proxy."""
    import socks

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


# --- a host


def addresses(host: str, port: int, timeout_s: float) -> list[tuple[Any, ...]]:
    """Ask the name service, no longer than so: it has limits of its own, up to half a minute."""
    try:
        found = call_with_timeout(lambda: socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM), timeout_s)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "the name is not one of a host") from None
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, f"the name service did not answer within {timeout_s:.0f} s") from None
    # Families in turn, each in the order of the name service: where one leads nowhere, the other is tried second.
    by_family: dict[int, list[tuple[Any, ...]]] = {}
    for address in found:
        by_family.setdefault(address[0], []).append(address)
    return [a for row in itertools.zip_longest(*by_family.values()) for a in row if a is not None]


def connect(place: tuple[str, int], timeout: float, source: object = None) -> socket.socket:
    """Connect to the first of a host's addresses that answers; each further one is tried a moment after the last."""
    began = time.monotonic()
    left = deque(addresses(*place, timeout))
    opened: set[socket.socket] = set()
    error: OSError = TimeoutError(f"{place[0]} did not answer")
    due = 0.0
    try:
        with selectors.DefaultSelector() as selector:
            while left or selector.get_map():
                now = time.monotonic() - began
                if now >= timeout:
                    raise TimeoutError(f"{place[0]} did not answer")
                if left and (now >= due or not selector.get_map()):
                    family, kind, protocol, _, address = left.popleft()
                    due = now + _NEXT_ADDRESS_S
                    try:
                        sock = socket.socket(family, kind, protocol)
                        opened.add(sock)
                        sock.setblocking(False)
                        sock.connect(address)
                    except BlockingIOError:
                        pass  # it is on its way
                    except OSError as failed:
                        error = failed
                        continue
                    selector.register(sock, selectors.EVENT_WRITE, data=sock)
                for key, _ in selector.select(min(timeout - now, max(0.0, due - now) if left else timeout)):
                    answered: socket.socket = key.data
                    selector.unregister(answered)
                    code = answered.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        opened.remove(answered)
                        answered.settimeout(timeout)
                        return answered
                    error = OSError(code, os.strerror(code))  # of its kind, such as ConnectionRefusedError
                    due = 0.0  # the next one at once
        raise error
    finally:
        for sock in opened:
            sock.close()
