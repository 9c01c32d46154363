"""The internet on the loopback: a proxy behind which every host that people paste answers as the real one does.

``https_proxy`` and an authority of certificates lead every client there unchanged: ours, and those that speak through
requests or httpx. Real names of hosts, real encryption, real redirects from host to host; the services themselves are
the stand-ins beside this file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import subprocess
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

_WILD = ("", "example", "github.io", "s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "s3.eu-central-1.amazonaws.com",
         "blob.core.windows.net", "storage.googleapis.com", "sharepoint.com")  # fmt: skip
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to go on</body></html>"


@dataclass(frozen=True)
class Request:
    """What was asked: of which host, with which headers."""

    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def words(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """What a host says."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_chunked: bool = False


Site = Callable[[Request], Answer]


def page(status: int = 200, body: bytes = PAGE, **headers: str) -> Answer:
    """Answer with a page for people."""
    return Answer(status, body, {"Content-Type": "text/html; charset=utf-8", **headers})


def to(address: str) -> Answer:
    """Lead to another address."""
    return Answer(302, b"", {"Location": address})


def file(request: Request, body: bytes, name: str = "") -> Answer:
    """Give a file, or the range of it that is asked for."""
    headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Content-Type": "application/octet-stream"}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
    if not asked:
        return Answer(200, body, headers)
    start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
    return Answer(206, body[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})


def certificates(folder: Path, hosts: list[str]) -> dict[str, Path]:
    """Make an authority, and one certificate for all of these hosts."""

    def run(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=tests", *usage)
    run("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=internet")
    names = [*hosts, *(f"*.{name}" for name in _WILD if name)]
    (folder / "names").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\n")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "names"]
    run("x509", "-req", "-in", "request.pem", *sign, "-out", "certificate.pem")
    return {"authority": folder / "ca.pem", "certificate": folder / "certificate.pem", "key": folder / "key.pem"}


class Internet(LoopbackServer):
    """The proxy. `sites` holds what answers for a host, or, with a dot before it, for all below one.

    `instead` may answer in the place of any of them; `seen` lists what was asked; `names` are texts to put in the place
    of others in what a stand-in says: its address on the loopback, and the one that the real service has.
    """

    http: ThreadingHTTPServer

    def __init__(self, folder: Path, sites: dict[str, Site]) -> None:
        self.sites = sites
        made = certificates(folder, [host for host in sites if not host.startswith(".")])
        self.authority = made["authority"]
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(made["certificate"], made["key"])
        self.instead: Callable[[Request], Answer | None] = lambda request: None
        self.is_down = False
        self.seen: list[Request] = []
        self.names: list[tuple[str, str]] = []
        server = self

        class Handler(_Handler):
            internet = server

        super().__init__(Handler, "internet")

    def site(self, host: str) -> Site | None:
        below = (f".{host.split('.', n)[n]}" for n in range(1, host.count(".") + 1))
        return next((self.sites[name] for name in (host, *below) if name in self.sites), None)

    def behind(self, address: str, without: str = "") -> Site:
        """Return a site that a server on the loopback answers for, below an address; a beginning may be left out."""

        def ask(request: Request) -> Answer:
            url = urllib.parse.urlsplit(address)
            path = url.path + request.path.removeprefix(without) + (f"?{request.query}" if request.query else "")
            dropped = ("host", "connection", "content-length", "accept-encoding")
            headers = {k: v for k, v in request.headers.items() if k.lower() not in dropped}
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=20)
            connection.request(request.method, path, request.body or None, {**headers, "X-Asked-Host": request.host})
            with contextlib.closing(connection):
                answer = connection.getresponse()
                body = answer.read()
                said = {k: self._renamed(v) for k, v in answer.getheaders()}
                is_chunked = said.pop("Transfer-Encoding", "") == "chunked"
                if body[:1] in (b"{", b"["):
                    body = self._renamed(body.decode()).encode()
                length = said.pop("Content-Length", "")
                head = {"Content-Length": length} if request.method == "HEAD" and length else {}
                said = {k: v for k, v in said.items() if k not in ("Server", "Date", "Connection")} | head
                return Answer(answer.status, body, said, is_chunked)

        return ask

    def _renamed(self, text: str) -> str:
        for inner, outer in self.names:
            text = text.replace(inner, outer)
        return text


class _Handler(LoopbackHandler):
    internet: Internet
    host = ""

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        if self.internet.is_down or self.internet.site(host) is None:
            self.give(502)
            return
        self.send_response(200)
        self.end_headers()
        self.host = host
        self.connection = self.internet.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.host or url.hostname or ""
        request = Request(self.command, host, url.path, url.query, dict(self.headers), body)
        self.internet.seen.append(request)
        site = self.internet.site(host)
        said = self.internet.instead(request)
        said = said or (site(request) if site is not None else page(502))
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        if said.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in said.headers:
            self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if said.is_chunked:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(said.body), said.body) if said.body else b"")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(said.body)

    do_GET = do_HEAD = do_POST = do_PUT = answer
