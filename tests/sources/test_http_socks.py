"""SOCKS proxies: the right bytes come through one, names are resolved where it says, and no secret is shown."""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import traceback

import pytest

from datastage.errors import MissingDependencyError, UnavailableError
from datastage.sources import http

BODY = random.Random(4).randbytes(300_000)
SECRET = "s3cr3t-word"

pytest.importorskip("socks")


class SocksServer:
    """A SOCKS5 server (RFC 1928, 1929) of the loopback. Every name it is asked for leads to this machine."""

    def __init__(self, user: bytes = b"", password: bytes = b"", *, reply: int = 0) -> None:
        self.user, self.password, self.reply = user, password, reply
        self.asked: list[tuple[int, str, int]] = []  # kind of the address, address, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="socks-server", daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,), name="socks-server", daemon=True).start()

    def _talk(self, sock):
        try:
            read = sock.makefile("rb").read
            greeting = read(2)
            if not greeting:
                return  # who only looks whether the proxy is there
            _, n = greeting
            methods = read(n)
            if self.user:
                if 2 not in methods:
                    sock.sendall(b"\x05\xff")
                    return
                sock.sendall(b"\x05\x02")
                read(1)
                given = read(read(1)[0]), read(read(1)[0])
                right = given == (self.user, self.password)
                sock.sendall(b"\x01" + bytes([not right]))
                if not right:
                    return
            else:
                sock.sendall(b"\x05\x00")
            _, _, _, kind = read(4)
            host = socket.inet_ntoa(read(4)) if kind == 1 else read(read(1)[0]).decode()
            (port,) = struct.unpack(">H", read(2))
            self.asked.append((kind, host, port))
            sock.sendall(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
            if self.reply:
                return
            far = socket.create_connection(("127.0.0.1", port))
            back = threading.Thread(target=self._relay, args=(far, sock), name="socks-server", daemon=True)
            back.start()
            self._relay(sock, far)
            back.join(10)
        finally:
            sock.close()

    @staticmethod
    def _relay(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def socks_server():
    made = []

    def make(*words, **options):
        made.append(SocksServer(*words, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(autouse=True)
def only_the_proxy_of_the_test(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_name_that_only_the_proxy_knows_is_reached(socks_server, server, quick, monkeypatch):
    proxy = socks_server()
    server.serve("x.zip", BODY)
    monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{proxy.port}")
    with http.open_url(f"http://far.example:{server.port}/x.zip", limits=quick) as reader:
        assert reader.read_at(100_000, 5) == BODY[100_000:100_005]
    assert proxy.asked[0] == (3, "far.example", server.port)


def test_a_name_is_resolved_here_where_the_proxy_does_not(socks_server, server, quick, monkeypatch):
    proxy = socks_server()
    server.serve("x.zip", BODY)
    plain = socket.getaddrinfo  # the server has no address of IPv6, which localhost has on most machines
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, family=0, *more: plain(host, port, socket.AF_INET, *more)
    )
    monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{proxy.port}")
    with http.open_url(f"http://localhost:{server.port}/x.zip", limits=quick) as reader:
        assert reader.size == len(BODY)
    assert proxy.asked[0] == (1, "127.0.0.1", server.port)


def test_https_is_verified_behind_the_proxy(socks_server, tls_server, certificates, quick, monkeypatch):
    proxy = socks_server()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    monkeypatch.setenv("https_proxy", f"socks5h://127.0.0.1:{proxy.port}")
    with http.open_url(tls_server.serve("x.zip", BODY), limits=quick) as reader:
        assert reader.read_at(200_000, 5) == BODY[200_000:200_005]
    with pytest.raises(UnavailableError, match="certificate of far.example"):
        http.open_url(f"https://far.example:{tls_server.port}/x.zip", limits=quick)


def test_a_password_of_the_proxy_is_given_and_shown_nowhere(socks_server, server, quick, monkeypatch, caplog):
    caplog.set_level(0)
    proxy = socks_server(b"me", SECRET.encode())
    monkeypatch.setenv("all_proxy", f"socks5h://me:{SECRET}@127.0.0.1:{proxy.port}")
    with http.open_url(server.serve("x.zip", BODY) + f"?token={SECRET}", limits=quick) as reader:
        assert reader.size == len(BODY)
    monkeypatch.setenv("all_proxy", f"socks5h://me:{SECRET}wrong@127.0.0.1:{proxy.port}")
    with pytest.raises(UnavailableError, match=r"The proxy 127.0.0.1:\d+ would not connect") as caught:
        http.open_url(server.url("x.zip"), limits=quick)
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_a_proxy_that_refuses_a_host_is_named(socks_server, quick, monkeypatch):
    proxy = socks_server(reply=2)
    monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{proxy.port}")
    with pytest.raises(UnavailableError, match=r"The proxy .* would not connect to far.example: .*not allowed"):
        http.open_url("http://far.example/x", limits=quick)


def test_a_proxy_where_nobody_listens_is_named(quick, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="The proxy 127.0.0.1:1 refused the connection") as caught:
        http.open_url("http://far.example/x", limits=quick)
    assert "all_proxy" in caught.value.remedy[-1]


def test_without_pysocks_the_error_says_what_to_install(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("all_proxy", f"socks5://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(MissingDependencyError, match="all_proxy names a SOCKS proxy") as caught:
        http.open_url("http://far.example/x", limits=quick)
    assert "pip install pysocks" in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
