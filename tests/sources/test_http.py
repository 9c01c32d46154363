"""A file behind an address: what each answer means, and where passwords do not go."""

from __future__ import annotations

import base64
import errno
import gzip
import os
import random
import socket
import threading
import time
import traceback

import pytest

from datastage import network, runtime
from datastage.errors import DatastageError, IntegrityError, NotDataError, UnavailableError
from datastage.reader import Reader
from datastage.sources import http, open_spec, parse
from datastage.transfer import Limits, fetch
from tests.servers import Server

BODY = random.Random(1).randbytes(500_000)
SECRET = "s3cr3t-word"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def reader_of(url, quick, **options):
    return http.open_url(url, limits=quick, **options)


def test_it_is_a_reader_of_the_right_bytes(server, quick):
    with reader_of(server.serve("a/data.zip", BODY), quick) as reader:
        assert isinstance(reader, Reader)
        assert (reader.name, reader.size, reader.ranges, reader.local_path) == ("data.zip", len(BODY), True, None)
        assert reader.read_at(1000, 50) == BODY[1000:1050]
        assert reader.read_at(8000, 500) == BODY[8000:8500]
        assert reader.read_at(len(BODY) - 10, 100) == BODY[-10:]
        assert reader.read_at(len(BODY) + 5, 100) == b""
        assert b"".join(reader.stream(100)) == BODY[100:]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_refused_address_leaves_no_connection_open(server, quick):
    url = server.serve("gone.zip", b"no such file", status=404)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UnavailableError) as caught:
        reader_of(url, quick)
    until = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < until:
        time.sleep(0.02)
    assert (len(os.listdir("/proc/self/fd")), caught.type.__name__) == (before, "Refused")


def test_the_head_is_fetched_once_for_a_small_file(server, quick):
    with reader_of(server.serve("data.csv", b"1,2\n"), quick) as reader:
        assert b"".join(reader.stream()) == b"1,2\n"
    assert len(server.requests("data.csv")) == 1


def test_one_stream_is_asked_for_once(server, quick, tmp_path):
    with reader_of(server.serve("data.zip", BODY, ranges=False), quick) as reader:
        assert not reader.ranges
        fetch(reader, tmp_path / "x", limits=quick)
    assert len(server.requests("data.zip")) == 1


def test_opening_a_spec_says_what_was_seen(server):
    url = server.serve("data.zip", BODY).replace("://", f"://me:{SECRET}@") + f"?token={SECRET}"
    found = open_spec(parse(url), runtime.current())
    assert found.seen == "data.zip, 500 kB, at 127.0.0.1"
    assert SECRET not in f"{found.place}{found.seen}{found.identity}"
    assert found.identity == found.content.identity
    found.content.close()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.zip"', "a b.zip"),
        ("attachment; filename=plain.zip", "plain.zip"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.zip; filename=x", "naïve €.zip"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\temp\\\\x.zip"', "x.zip"),
        ('attachment; filename="a\x07b.zip"', "ab.zip"),
        ('attachment; filename=".."', "from-address.zip"),
        ("inline", "from-address.zip"),
    ],
)
def test_the_name_is_what_the_server_calls_it_and_is_only_a_name(header, name, server, quick):
    url = server.serve("from-address.zip", BODY, headers={"Content-Disposition": header})
    with reader_of(url + "?download=1", quick) as reader:
        assert reader.name == name


def test_the_identity_changes_when_the_bytes_do(server, quick):
    def identity(**options):
        with reader_of(server.serve("x", options.pop("body", BODY), **options), quick) as reader:
            return reader.identity

    first = identity()
    assert identity() == first
    assert identity(body=BODY[::-1]) != first
    assert identity(etag='W/"weak"', modified="Sat, 21 Nov 2026 10:00:01 GMT") not in (first, "")
    assert identity(etag='W/"weak"', modified=None) == ""


def test_what_was_taken_for_its_digest_is_not_judged_when_it_is_looked_at_again(server, quick):
    page = b"<!DOCTYPE html>" + b"\n" * 2000
    with http.HttpReader(server.serve("page.txt", page), has_hash=True, limits=quick) as reader:
        server.serve("page.txt", page * 2)
        reader.renew()
        assert reader.size == 2 * len(page)
    with reader_of(server.serve("x", BODY), quick) as reader, pytest.raises(NotDataError, match="a web page"):
        server.serve("x", page)
        reader.renew()


# --- redirects


def test_a_redirect_is_followed_and_then_asked_directly(server, quick):
    server.serve("real.zip", BODY)
    url = server.serve("short", location=server.url("real.zip"))
    with reader_of(url, quick) as reader:
        assert reader.read_at(100_000, 10) == BODY[100_000:100_010]
        assert reader.name == "short"
    assert len(server.requests("short")) == 1


def test_redirects_in_a_circle_end(server, quick):
    server.serve("a", location="/b")
    url = server.serve("b", location="/a")
    with pytest.raises(UnavailableError, match="in a circle"):
        reader_of(url, quick)


def test_redirects_without_an_end_end(server, quick):
    for number in range(20):
        server.serve(f"r{number}", location=f"/r{number + 1}")
    with pytest.raises(UnavailableError, match="redirects without an end"):
        reader_of(server.url("r0"), quick)
    assert len(server.seen) <= 11


def test_a_redirect_to_a_file_of_this_machine_is_refused(server, quick):
    with pytest.raises(UnavailableError, match="no web address"):
        reader_of(server.serve("x", location="file:///etc/passwd"), quick)


def test_a_redirect_carries_no_password_to_another_host(server, other_server, quick):
    other_server.serve("x", BODY)
    server.serve("x", location=other_server.url("x"))
    reader_of(server.url("x", f"me:{SECRET}"), quick).close()
    assert "authorization" in server.seen[0].headers
    assert all("authorization" not in seen.headers for seen in other_server.seen)


def test_a_redirect_carries_no_header_for_the_first_server_to_another_one(server, other_server, quick):
    other_server.serve("x", BODY)  # on the same host, behind another port
    server.serve("x", location=other_server.url("x"))
    reader_of(server.url("x"), quick, headers={"X-Key": SECRET}).close()
    assert "x-key" in server.seen[0].headers
    assert all("x-key" not in seen.headers for seen in other_server.seen)


def test_a_redirect_on_the_same_host_keeps_the_password(server, quick):
    server.serve("real", BODY, user=("me", SECRET))
    server.serve("x", location="/real")
    with reader_of(server.url("x", f"me:{SECRET}"), quick) as reader:
        assert reader.size == len(BODY)


def test_https_does_not_become_http(tls_server, server, certificates, quick, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    url = tls_server.serve("x", location=server.serve("x", BODY))
    with pytest.raises(UnavailableError, match="from https to http"):
        reader_of(url, quick)
    with reader_of(url, quick, has_hash=True) as reader:
        assert reader.size == len(BODY)


def test_a_signed_address_that_expired_is_asked_for_anew(server, quick):
    server.serve("signed1", BODY)
    server.serve("signed2", BODY)
    url = server.serve("x", location="/signed1")
    with reader_of(url, quick) as reader:
        server.serve("signed1", status=403)
        server.serve("x", location="/signed2")
        assert reader.read_at(100_000, 10) == BODY[100_000:100_010]


# --- passwords


def test_a_password_in_the_address_is_used(server, quick):
    server.serve("x", BODY, user=("me", SECRET + "/@"))
    with reader_of(server.url("x", f"me:{SECRET}%2F%40"), quick) as reader:
        assert reader.size == len(BODY)


def test_netrc_is_used_for_its_host(server, other_server, quick, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with reader_of(server.serve("x", BODY, user=("me", SECRET)), quick) as reader:
        assert reader.size == len(BODY)


@pytest.mark.parametrize(
    "faults",
    [
        {"status": 404},
        {"status": 403},
        {"user": ("a", "b")},
        {"status": 500},
        {"body": b"<html>no</html>"},
        {"location": "/x"},
        {"location": "ftp://u:s3cr3t-word@h/?t=s3cr3t-word"},
        {"truncate": 10},
        {"encoding": "br", "ranges": False},
    ],
)
def test_a_secret_is_in_no_error_and_no_log(faults, server, quick, caplog):
    caplog.set_level(0)
    server.serve("x", faults.pop("body", BODY), **faults)
    with pytest.raises(DatastageError) as caught:
        with reader_of(server.url("x", f"me:{SECRET}") + f"?token={SECRET}", quick) as reader:
            reader.read_at(0, len(BODY))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert SECRET not in shown
    assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in shown


# --- what goes wrong


def test_a_name_that_nobody_knows_is_said_so(quick, monkeypatch):
    def unknown(*args, **options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnavailableError, match="ould not resolve host.*nowhere.example"):
        reader_of("http://nowhere.example/x", quick)


def test_offline_is_known_at_once(quick, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("asked"))
    with pytest.raises(UnavailableError, match="offline"):
        reader_of("https://nowhere.example/x", quick)


def test_a_refused_connection_is_named(quick):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnavailableError, match="refused the connection"):
        reader_of(f"http://127.0.0.1:{port}/x", quick)


def test_a_server_that_never_answers_is_left(quick):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UnavailableError, match="did not answer within 1 s"):
            reader_of(f"http://127.0.0.1:{port}/x", quick)


def test_an_answer_that_is_no_http_is_named(quick):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            for _ in range(5):
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                sock.recv(1000)
                sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                sock.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UnavailableError, match="not proper HTTP: it does not begin as one"):
            reader_of(f"http://127.0.0.1:{listener.getsockname()[1]}/x", quick)


def test_a_certificate_of_nobody_known_is_named(tls_server, quick):
    with pytest.raises(UnavailableError, match="certificate of localhost could not be verified") as caught:
        reader_of(tls_server.serve("x", BODY), quick)
    assert "SSL_CERT_FILE" in str(caught.value)


def test_an_authority_of_ones_own_is_taken_from_the_environment(tls_server, certificates, quick, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    with reader_of(tls_server.serve("x", BODY), quick) as reader:
        fetch(reader, tmp_path / "x", limits=quick)
    same = (tmp_path / "x").read_bytes() == BODY
    assert same


def test_plain_http_on_a_tls_port_is_named(tls_server, quick):
    with pytest.raises(UnavailableError):
        reader_of(f"http://localhost:{tls_server.port}/x", quick)


def test_a_page_is_data_where_the_name_says_so(server, quick):
    with reader_of(server.serve("page.html", b"<!doctype html><html></html>"), quick) as reader:
        assert reader.name == "page.html"


def test_a_page_of_drive_that_says_quota_is_named(server, quick):
    page = b"<html><title>Google Drive - Quota exceeded</title>"
    with pytest.raises(NotDataError, match="quota"):
        reader_of(server.serve("x.zip", page), quick)


# --- compressed on the way


def test_a_file_named_gz_is_not_unpacked_on_the_way(server, quick):
    packed = gzip.compress(BODY)
    with reader_of(server.serve("x.tar.gz", packed, encoding="gzip", ranges=False), quick) as reader:
        same = b"".join(reader.stream()) == packed
    assert same


def test_a_file_compressed_on_the_way_and_cut_is_damaged(server, quick, tmp_path):
    url = server.serve("x.csv", gzip.compress(BODY), encoding="gzip", truncate=300_000, ranges=False)
    with reader_of(url, quick) as reader, pytest.raises(IntegrityError, match="cut short"):
        fetch(reader, tmp_path / "x", limits=quick)


# --- proxies


class Proxy(Server):
    """A server that is asked for whole addresses."""


def test_a_proxy_of_the_environment_is_asked(quick, monkeypatch):
    proxy = Proxy()
    proxy.serve("x.zip", BODY)
    monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
    monkeypatch.setattr(network, "is_offline", lambda host, **options: False)
    with reader_of("http://far.example/x.zip", quick) as reader:
        assert reader.read_at(100_000, 5) == BODY[100_000:100_005]
    seen = proxy.seen[0]
    assert seen.headers["target"] == "http://far.example/x.zip"
    assert seen.headers["host"] == "far.example"
    assert seen.headers["proxy-authorization"].startswith("Basic ")
    proxy.stop()


def test_https_goes_through_a_proxy_as_a_tunnel(tls_server, certificates, quick, monkeypatch):
    asked = []

    def relay(source, to):
        while data := source.recv(65536):
            to.sendall(data)

    def serve(listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(65536)
            asked.append(request.decode())
            far = socket.create_connection(("127.0.0.1", tls_server.port))
            sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            for ends in ((sock, far), (far, sock)):
                threading.Thread(target=relay, args=ends, daemon=True).start()

    url = tls_server.serve("x.zip", BODY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
        with reader_of(url, quick) as reader:
            assert reader.read_at(100_000, 5) == BODY[100_000:100_005]
    assert asked[0].startswith(f"CONNECT localhost:{tls_server.port} ")
    assert "Proxy-Authorization: Basic " in asked[0]
    assert all("proxy-authorization" not in seen.headers for seen in tls_server.seen)


def test_a_host_that_needs_no_proxy_is_asked_itself(server, quick, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with reader_of(server.serve("x", BODY), quick) as reader:
        assert reader.size == len(BODY)


# --- connections


def test_a_connection_that_the_server_closed_is_replaced(server, quick):
    with reader_of(server.serve("x", BODY), quick) as reader:
        server.break_off()
        assert reader.read_at(50_000, 5) == BODY[50_000:50_005]


def test_closing_breaks_off_reads_under_way(server):
    url = server.serve("x", BODY, stall_after=20_000, stalls=9)
    reader = http.open_url(url, limits=Limits(stall_s=30))
    done = threading.Event()

    def read():
        with pytest.raises((UnavailableError, IntegrityError, ValueError)):
            reader.read_at(0, len(BODY))
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert not done.wait(0.3)
    reader.close()
    assert done.wait(10)


def test_an_address_with_other_letters_and_spaces_is_asked_for(server, quick):
    server.serve("d%C3%A4ta/a%20b.zip", BODY)
    with reader_of(server.url("däta/a b.zip"), quick) as reader:
        assert reader.name == "a b.zip"


def test_errors_carry_what_a_caller_looks_at(server, quick):
    with pytest.raises(UnavailableError) as caught:
        reader_of(server.url("nothing-here"), quick)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.exit_code == 3


def test_a_token_of_the_users_goes_to_its_host_alone_and_only_when_it_is_asked_for(
    tls_server, server, certificates, quick, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setattr("datastage.sources.endpoints.TOKENS", {"localhost": "HF_TOKEN"})
    with reader_of(tls_server.serve("open", BODY).replace("127.0.0.1", "localhost"), quick):
        assert not any("hunter2" in str(seen.headers) for seen in tls_server.seen)
    with pytest.raises(UnavailableError) as caught:
        reader_of(tls_server.serve("private", BODY, status=401).replace("127.0.0.1", "localhost"), quick)
    assert tls_server.seen[-1].headers.get("authorization") == "Bearer hunter2"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("token", "works"), [("hunter2\n", True), (" hunter2 \r\n", True), ("hun\nter2", False)])
def test_a_token_with_a_line_break_is_stripped_or_named_and_shown_nowhere(
    tls_server, certificates, quick, monkeypatch, token, works
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("datastage.sources.endpoints.TOKENS", {"localhost": "HF_TOKEN"})
    with pytest.raises(DatastageError) as caught:
        reader_of(tls_server.serve("private", BODY, status=401).replace("127.0.0.1", "localhost"), quick)
    said = "".join(traceback.format_exception(caught.value))
    assert not [part for part in ("hunter2", "hun\\nter2") if part in said]
    assert (tls_server.seen[-1].headers.get("authorization") == "Bearer hunter2") == works
    assert ("HF_TOKEN holds a line break" in str(caught.value)) == (not works)


@pytest.mark.parametrize("leads_to", ["https of another host", "http of the same host"])
def test_a_token_of_the_users_stays_behind_at_a_redirect(
    leads_to, tls_server, server, certificates, quick, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates["authority"]))
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setattr("datastage.sources.endpoints.TOKENS", {"localhost": "HF_TOKEN"})
    if leads_to == "https of another host":
        tls_server.serve("elsewhere", BODY)
        target = f"https://127.0.0.1:{tls_server.port}/elsewhere"
    else:
        target = server.serve("elsewhere", BODY).replace("127.0.0.1", "localhost")
    asked = []

    def refuse_once(number):
        asked.append(number)
        if len(asked) == 2:  # the first request was refused; with the token the server knows where the file is
            tls_server.pages["moved"].status, tls_server.pages["moved"].location = 302, target

    url = tls_server.serve("moved", b"", status=401, hook=refuse_once).replace("127.0.0.1", "localhost")
    with reader_of(url, quick, has_hash=True) as reader:
        assert reader.size == len(BODY)
    assert tls_server.requests("moved")[-1].headers["authorization"] == "Bearer hunter2"
    arrived = (tls_server if leads_to == "https of another host" else server).requests("elsewhere")
    assert arrived
    assert not any("authorization" in seen.headers for seen in arrived)


def test_the_default_entry_of_a_netrc_is_for_the_host_that_was_named(server, other_server, quick, tmp_path):
    (tmp_path / ".netrc").write_text(f"default login me password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    other_server.serve("x", BODY)
    url = server.serve("x", location=other_server.url("x").replace("127.0.0.1", "localhost"))
    reader_of(url, quick).close()
    assert "authorization" in server.seen[0].headers
    assert not any("authorization" in seen.headers for seen in other_server.seen)


@pytest.mark.parametrize("names", ["a.csv", "{a,b}.csv"])
def test_an_address_and_several_in_one_are_waited_for_as_patiently_as_is_asked(names, server, patience):
    server.serve("a.csv", BODY)
    server.serve("b.csv", BODY)
    assert patience(server.url(names)) == ["as asked"]
