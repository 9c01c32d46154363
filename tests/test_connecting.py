"""Which proxy is before an address, and which of a host's addresses are tried in which order."""

from __future__ import annotations

import socket
import time

import pytest

from datastage import connecting
from datastage.connecting import Address, parse_address, proxy_of
from datastage.errors import UnavailableError


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_host_may_need_no_proxy_at_one_port_alone(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "data.example:8000")
    assert proxy_of(Address("http", "data.example", 8000)) is None
    assert proxy_of(Address("http", "data.example", 80)).host == "proxy.example"


def test_the_proxy_for_all_is_for_what_has_none_of_its_own(monkeypatch):
    monkeypatch.setenv("all_proxy", "http://all.example:1")
    monkeypatch.setenv("https_proxy", "secure.example:2")
    assert [proxy_of(Address(scheme, "h", 9)).origin for scheme in ("http", "https")] == [
        ("http", "all.example", 1),
        ("http", "secure.example", 2),
    ]


def test_user_and_password_of_a_proxy_are_unquoted_and_in_no_error(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me%40school:hunter%3A2@proxy.example:3128")
    proxy = proxy_of(Address("https", "h", 443))
    assert (proxy.user, proxy.password) == ("me@school", "hunter:2")
    assert "hunter" not in repr(proxy)
    monkeypatch.setenv("https_proxy", "ftp://me:hunter2@proxy.example")
    for ask in (lambda: proxy_of(Address("https", "h", 443)), lambda: parse_address("https://me:hunter2@a{b}/x")):
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert "hunter2" not in str(caught.value)


def test_the_addresses_of_two_families_are_tried_in_turn(monkeypatch):
    found = [(socket.AF_INET6, 1, 6, "", (f"::{n}", 80)) for n in (1, 2, 3)]
    found += [(socket.AF_INET, 1, 6, "", (f"10.0.0.{n}", 80)) for n in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: found)
    hosts = [address[4][0] for address in connecting.addresses("h", 80, 5.0)]
    assert hosts == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]


def test_behind_an_address_that_refuses_the_next_one_is_tried_at_once(monkeypatch):
    monkeypatch.setattr(connecting, "_NEXT_ADDRESS_S", 9.0)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as other:
        closed, right = other.getsockname(), listener.getsockname()
        other.close()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in (closed, right)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: found)
        began = time.monotonic()
        with connecting.connect(("h", 80), 20.0) as made:
            assert made.getpeername() == right
            assert made.gettimeout() == 20.0
        assert time.monotonic() - began < 5
