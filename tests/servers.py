"""A web server on the loopback that misbehaves as it is told: for the tests of everybody.

``serve("cifar.zip", body, truncate=400)`` puts bytes behind an address; each fault is a keyword of `Page`. Real
sockets, HTTP/1.1 with connections that are kept, one thread for each.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Page:
    """What lies behind one path, and how the server misbehaves there. Times in seconds, rates in bytes a second."""

    body: bytes = b""
    status: int = 200
    type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = "auto"
    modified: str | None = "Sat, 21 Nov 2026 10:00:00 GMT"
    ranges: bool = True
    deny_ranges: int = 0  # after so many parts, a Range is answered with 200 and the whole
    truncate: int | None = None  # the connection ends after so many bytes of the file, whichever part was asked for
    cut_every: int | None = None  # each connection ends after so many bytes of its answer
    cuts: int = 10**9  # how often it is cut
    stall_after: int | None = None  # after so many bytes of an answer nothing more comes
    stalls: int = 1  # how often it stalls
    delay: float = 0.0  # before an answer
    rate: float | None = None  # of all connections together
    rate_each: float | None = None  # of each connection
    drip: float | None = None  # the rate of one answer, the third
    busy: int = 0  # so many requests are answered with `busy_status`
    busy_status: int = 503
    busy_above: int | None = None  # more connections at once than this are answered so
    retry_after: str | None = None
    shift: int = 0  # a 206 gives a part that lies so much later than was asked for
    wrong_total: int | None = None  # what Content-Range says of the whole
    wrong_length: int = 0  # added to Content-Length
    change_after: int | None = None  # after so many requests the file is another (`changed`), with another ETag
    changed: bytes = b""
    flip: int | None = None  # this byte arrives wrong
    flips: int = 10**9
    location: str | None = None
    user: tuple[str, str] | None = None
    encoding: str | None = None
    chunked: bool = False
    length: bool = True  # whether Content-Length is said
    hook: Callable[[int], None] | None = None  # called with the number of each request


@dataclass
class Seen:
    """One request that came."""

    path: str
    headers: dict[str, str]
    port: int  # of the client: tells connections apart
    sent: int = 0


class Server:
    """See `serve`. `seen` holds every request; `n_sent` the bytes of bodies that went out, by path."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.seen: list[Seen] = []
        self.n_sent: Counter[str] = Counter()
        self.n_active: Counter[str] = Counter()
        self.most_active: Counter[str] = Counter()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._shared: dict[str, float] = {}
        self._etags: dict[int, tuple[bytes, str]] = {}
        self._socks: set[socket.socket] = set()
        self._stopped = threading.Event()
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="test-server").start()

    # --- for tests

    def serve(self, path: str, body: bytes = b"", **faults: Any) -> str:
        """Put `body` behind `path`; return its address."""
        path = path.lstrip("/")
        with self._lock:
            self.pages[path] = Page(body, **faults)
            for key in [key for key in self._counts if key[0] == path]:
                del self._counts[key]
        return self.url(path)

    def url(self, path: str, credentials: str = "") -> str:
        """Return the address of a path, with ``user:password`` if given."""
        scheme = "https" if self._tls else "http"
        host = "localhost" if self._tls else "127.0.0.1"
        return f"{scheme}://{credentials + '@' if credentials else ''}{host}:{self.port}/{path.lstrip('/')}"

    def requests(self, path: str) -> list[Seen]:
        """Return the requests that came for a path."""
        return [seen for seen in list(self.seen) if seen.path == path.lstrip("/")]

    def stop(self) -> None:
        """Refuse all from now on, and break off what is under way."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_off()

    def break_off(self) -> None:
        """End every connection that is open."""
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    # --- serving

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock, peer[1]), daemon=True, name="test-server").start()

    def _talk(self, sock: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError, ConnectionError, ValueError, ssl.SSLError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with self._lock:
                self._socks.add(sock)
            read = sock.makefile("rb")
            while not self._stopped.is_set():
                line = read.readline(65536)
                if not line:
                    break
                headers = {}
                while (header := read.readline(65536)) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                target = line.split()[1].decode("latin-1")
                path = re.sub(r"^http://[^/]*", "", target).partition("?")[0].lstrip("/")
                if not self._answer(sock, path, target, headers, port):
                    break
        with self._lock:
            self._socks.discard(sock)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _count(self, path: str, what: str, most: int) -> bool:
        """Return whether something that happens `most` times happens now."""
        with self._lock:
            self._counts[path, what] += 1
            return self._counts[path, what] <= most

    def _answer(self, sock: socket.socket, path: str, target: str, headers: dict[str, str], port: int) -> bool:
        seen = Seen(path, {**headers, "target": target}, port)
        with self._lock:
            self.seen.append(seen)
            page = self.pages.get(path)
            self._counts[path, "requests"] += 1
            number = self._counts[path, "requests"]
        if page is None:
            return self._short(sock, 404, b"no such file")
        if page.hook:
            page.hook(number)
        if page.delay:
            time.sleep(page.delay)
        with self._lock:
            self.n_active[path] += 1
            self.most_active[path] = max(self.most_active[path], self.n_active[path])
            crowded = page.busy_above is not None and self.n_active[path] > page.busy_above
        try:
            return self._give(sock, path, page, headers, number, crowded, seen)
        finally:
            with self._lock:
                self.n_active[path] -= 1

    def _etag(self, body: bytes) -> str:
        with self._lock:
            known = self._etags.get(id(body))
        if known is None or known[0] is not body:
            known = (body, f'"{hashlib.md5(body).hexdigest()[:12]}"')
            with self._lock:
                self._etags[id(body)] = known
        return known[1]

    def _short(self, sock: socket.socket, status: int, body: bytes, extra: dict[str, str] | None = None) -> bool:
        lines = [f"HTTP/1.1 {status} Something", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (extra or {}).items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return True

    def _give(
        self,
        sock: socket.socket,
        path: str,
        page: Page,
        headers: dict[str, str],
        number: int,
        crowded: bool,
        seen: Seen,
    ) -> bool:
        if page.user:
            wanted = "Basic " + base64.b64encode(":".join(page.user).encode()).decode()
            if headers.get("authorization") != wanted:
                return self._short(sock, 401, b"who are you?", {"WWW-Authenticate": 'Basic realm="test"'})
        if page.location is not None:
            return self._short(sock, page.status if page.status != 200 else 302, b"", {"Location": page.location})
        if crowded or (page.busy and self._count(path, "busy", page.busy)):
            extra = {} if page.retry_after is None else {"Retry-After": page.retry_after}
            return self._short(sock, page.busy_status, b"busy", extra)
        if page.status not in (200, 206):
            return self._short(sock, page.status, page.body, page.headers)
        body = page.body
        has_changed = page.change_after is not None and number > page.change_after
        if has_changed:
            body = page.changed or bytes(255 - b for b in page.body)
        etag = page.etag
        if etag == "auto":
            etag = self._etag(body)
        out = {"Content-Type": page.type, **page.headers}
        if etag:
            out["ETag"] = etag
        if page.modified:
            out["Last-Modified"] = page.modified if not has_changed else "Sat, 21 Nov 2026 11:00:00 GMT"
        if page.ranges:
            out["Accept-Ranges"] = "bytes"
        if page.encoding:
            out["Content-Encoding"] = page.encoding
        start, end, status = 0, len(body), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        takes_ranges = page.ranges and not (page.deny_ranges and number > page.deny_ranges)
        if asked and takes_ranges and headers.get("if-range") in (None, etag):
            start = int(asked[1])
            end = min(len(body), int(asked[2]) + 1 if asked[2] else len(body))
            if start >= len(body):
                return self._short(sock, 416, b"", {"Content-Range": f"bytes */{len(body)}"})
            if page.shift and start > 0:
                start, end = min(start + page.shift, len(body) - 1), min(end + page.shift, len(body))
            status = 206
            out["Content-Range"] = f"bytes {start}-{end - 1}/{page.wrong_total or len(body)}"
        part = memoryview(body)[start:end]
        if page.flip is not None and start <= page.flip < end and self._count(path, "flip", page.flips):
            at = page.flip - start
            part = memoryview(bytes(part[:at]) + bytes([part[at] ^ 1]) + bytes(part[at + 1 :]))
        if page.chunked:
            out["Transfer-Encoding"] = "chunked"
        elif page.length:
            out["Content-Length"] = str(len(part) + page.wrong_length)
        else:
            out["Connection"] = "close"
        reason = "Partial Content" if status == 206 else "OK"
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in out.items()), "", ""]
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        upto = len(part)
        if page.truncate is not None:
            upto = min(upto, max(0, page.truncate - start))
        if page.cut_every is not None and len(part) > page.cut_every and self._count(path, "cut", page.cuts):
            upto = min(upto, page.cut_every)
        stall_at = None
        if page.stall_after is not None and len(part) > page.stall_after and self._count(path, "stall", page.stalls):
            stall_at = page.stall_after
        rate = page.rate_each
        if page.drip is not None and number == 3:
            rate = page.drip
        self._send(sock, path, page, part[:upto], rate, stall_at, seen)
        if page.chunked and upto == len(part):
            sock.sendall(b"0\r\n\r\n")
        return upto == len(part) and page.length and not page.wrong_length

    def _send(
        self,
        sock: socket.socket,
        path: str,
        page: Page,
        part: memoryview,
        rate: float | None,
        stall_at: int | None,
        seen: Seen,
    ) -> None:
        step = (
            65536
            if rate is None and page.rate is None
            else max(1, min(16384, int(min(rate or 1e9, page.rate or 1e9) / 20)))
        )
        began, at = time.monotonic(), 0
        while at < len(part):
            if stall_at is not None and at >= stall_at:
                self._stopped.wait(600)
                raise ConnectionError("stalled to the end")
            piece = part[at : min(at + step, len(part) if stall_at is None else max(stall_at, at + 1))]
            if page.rate is not None:
                with self._lock:
                    due = max(self._shared.get(path, 0.0), time.monotonic()) + len(piece) / page.rate
                    self._shared[path] = due
                time.sleep(max(0.0, due - time.monotonic()))
            if page.chunked:
                sock.sendall(b"%x\r\n" % len(piece) + piece.tobytes() + b"\r\n")
            else:
                sock.sendall(piece)
            at += len(piece)
            seen.sent += len(piece)
            with self._lock:
                self.n_sent[path] += len(piece)
            if rate is not None:
                time.sleep(max(0.0, at / rate - (time.monotonic() - began)))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def other_server() -> Iterator[Server]:
    """A second server: another host, as far as ports tell hosts apart."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority of the tests' own, and a certificate for localhost: ``authority``, ``certificate``, ``key``."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("left out: openssl is not on this machine")
    folder = tmp_path_factory.mktemp("certificates")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]  # which Python 3.13 asks of an authority
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=tests", *usage)
    run("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "names"]
    run("x509", "-req", "-in", "request.pem", *sign, "-out", "certificate.pem")
    return {"authority": folder / "ca.pem", "certificate": folder / "certificate.pem", "key": folder / "key.pem"}


@pytest.fixture
def tls_server(certificates: dict[str, Path]) -> Iterator[Server]:
    """A server that speaks https, with a certificate of the tests' own authority."""
    server = Server((certificates["certificate"], certificates["key"]))
    yield server
    server.stop()
