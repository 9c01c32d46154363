"""A second server, written byte by byte: each fault is a few lines that say exactly what goes over the socket.

It shares nothing with `tests.servers`: no tables of faults, no HTTP library. A *script* is a function of one `Call`
(what was asked, over which connection); whatever it does not send itself, `Call.good` does rightly.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ETAG = '"a-state"'
MODIFIED = "Sat, 21 Nov 2026 10:00:00 GMT"
SIGN_IN = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>" + b"please " * 2000


class Over(Exception):
    """The connection ends here."""


@dataclass
class Call:
    """One request, and the ways to answer it."""

    body: bytes  # of the file
    sock: socket.socket
    number: int  # of the request, from 1
    connection: int  # of the connection, from 1
    line: str
    headers: dict[str, str]
    turn: int  # of the request on its connection, from 1
    stopped: threading.Event
    state: dict[str, str] = field(default_factory=lambda: {"ETag": ETAG, "Last-Modified": MODIFIED})

    @property
    def target(self) -> str:
        return self.line.split()[1]

    @property
    def range(self) -> tuple[int, int] | None:
        """First byte asked for and the one after the last; None if the whole was asked for."""
        text = self.headers.get("range")
        if text is None:
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), min(len(self.body), int(last) + 1)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self, status: str, headers: dict[str, str | int]) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def answer(self, status: str, headers: dict[str, str | int], body: bytes = b"") -> None:
        self.head(status, {"Content-Length": len(body), **headers})
        self.send(body)

    def part(self, **other: str | int) -> None:
        """A right answer to a Range, with other headers: a name in capitals and underscores, None to leave it out."""
        if self.range is None:
            return self.whole(**other)
        first, last = self.range
        named = {name.replace("_", "-"): value for name, value in other.items()}
        headers = {"Content-Range": f"bytes {first}-{last - 1}/{len(self.body)}", **self.state, **named}
        self.answer("206 Partial Content", headers, self.body[first:last])

    def whole(self, **other: str | int) -> None:
        named = {name.replace("_", "-"): value for name, value in other.items()}
        self.answer("200 OK", {**self.state, **named}, self.body)

    good = part

    def close(self) -> None:
        raise Over

    def reset(self) -> None:
        """End the connection so that what is under way is lost."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Over

    def hang(self) -> None:
        self.stopped.wait(120)
        raise Over

    def drip(self, data: bytes, each_s: float) -> None:
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.stopped.wait(each_s):
                raise Over


Script = Callable[[Call], None]


class RawServer:
    """Answers every request with `script`; counts connections and requests."""

    def __init__(
        self,
        body: bytes,
        script: Script | None = None,
        *,
        at_accept: Callable[[socket.socket, int], None] | None = None,
        tls: tuple[Path, Path] | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.body = body
        self.script: Script = script or (lambda call: call.good())
        self.at_accept = at_accept
        self.calls: list[Call] = []
        self.n_connections = 0
        self.n_open = 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._socks: set[socket.socket] = set()
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="raw-server", daemon=True).start()

    def url(self, path: str = "data.bin", host: str = "", user: str = "") -> str:
        host = host or ("localhost" if self._tls else "127.0.0.1")
        return f"{'https' if self._tls else 'http'}://{user and user + '@'}{host}:{self.port}/{path}"

    def close(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.n_connections += 1
                number = self.n_connections
            threading.Thread(target=self._talk, args=(sock, number), name="raw-server", daemon=True).start()

    def _talk(self, sock: socket.socket, connection: int) -> None:
        with self._lock:
            self._socks.add(sock)
            self.n_open += 1
        try:
            with contextlib.suppress(Over, OSError, ValueError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.at_accept:
                    self.at_accept(sock, connection)
                if self._tls:
                    sock = self._tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
                    with self._lock:
                        self._socks.add(sock)
                turn = 0
                waiting = b""
                while not self.stopped.is_set():
                    while b"\r\n\r\n" not in waiting:
                        data = sock.recv(65536)
                        if not data:
                            raise Over
                        waiting += data
                    request, _, waiting = waiting.partition(b"\r\n\r\n")
                    line, *fields = request.decode("latin-1").split("\r\n")
                    pairs = (field.partition(":") for field in fields)
                    headers = {name.lower(): value.strip() for name, _, value in pairs}
                    turn += 1
                    with self._lock:
                        call = Call(self.body, sock, len(self.calls) + 1, connection, line, headers, turn, self.stopped)
                        self.calls.append(call)
                    self.script(call)
        finally:
            with self._lock:
                self._socks.discard(sock)
                self.n_open -= 1
            sock.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Make servers that end with the test."""
    made: list[RawServer] = []

    def make(*words: object, **options: object) -> RawServer:
        made.append(RawServer(*words, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for server in made:
        server.close()


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for something, and tell whether it came."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()
