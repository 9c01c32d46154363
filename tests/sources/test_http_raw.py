"""Faults written byte by byte: the right bytes come through, or our own error names the fault, and nothing is left."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback
import zlib
from dataclasses import replace

import pytest

from datastage.errors import DatastageError, IntegrityError, NotDataError, UnavailableError
from datastage.sources import http
from datastage.transfer import fetch
from tests.sources.raw_server import MODIFIED, SIGN_IN, Over, raw_server

__all__ = ["raw_server"]

BODY = random.Random(5).randbytes(600_001)
TEXT = b"".join(b"%d,a row of a table\n" % number for number in range(20_000))
SECRET = "s3cr3t-word"
USAGE = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]  # which Python 3.13 asks of an authority
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def hasty(quick):
    return replace(quick, stall_s=0.4, tries=3)


def get(url, to, limits, **options):
    with http.open_url(url, has_hash=bool(options.get("expect")), limits=limits) as reader:
        return fetch(reader, to, limits=limits, **options)


def chunks(data, step=50_000, extension=b""):
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)


def sends(data):
    """Send what `data` makes of the call, and close."""

    def script(call):
        call.send(data(call))
        call.close()

    return script


def header(**headers):
    """Answer rightly, with these headers."""
    return lambda call: call.part(**headers)


def later(fault, when=lambda number: number > 1):
    """Answer rightly, but for some requests."""
    return lambda call: fault(call) if when(call.number) else call.good()


def given(first, last, total, body, **headers):
    """An answer of a part, as it is said to be."""
    return lambda call: call.answer("206 OK", {**call.state, "Content-Range": f"bytes {first}-{last}/{total}"}, body)


def part_with(content_range):
    def script(call):
        if call.range is None:
            return call.whole()
        first, end = call.range
        return call.part(Content_Range=content_range(first, end - 1, len(call.body)))

    return script


def shorter(most):
    def script(call):
        if call.range is None:
            return call.whole()
        first, end = call.range
        end = min(end, first + most)
        return call.answer(
            "206 Partial Content",
            {**call.state, "Content-Range": f"bytes {first}-{end - 1}/{len(call.body)}"},
            call.body[first:end],
        )

    return script


def to_the_end(call):
    if call.range is None:
        return call.whole()
    first, _ = call.range
    return call.answer(
        "206 Partial Content",
        {**call.state, "Content-Range": f"bytes {first}-{len(call.body) - 1}/{len(call.body)}"},
        call.body[first:],
    )


def in_parts(call):
    if call.range is None:
        return call.whole()
    first, end = call.range
    inner = b"--x\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (first, end - 1, len(call.body)) + call.body[first:end]
    return call.answer(
        "206 Partial Content",
        {**call.state, "Content-Type": "multipart/byteranges; boundary=x"},
        inner + b"\r\n--x--\r\n",
    )


def cut_in_the_middle(then):
    def script(call):
        if call.range is None or call.number % 2:
            return call.good()
        first, end = call.range
        said = {"Content-Length": end - first, "Content-Range": f"bytes {first}-{end - 1}/{len(call.body)}"}
        call.head("206 Partial Content", {**call.state, **said})
        call.send(call.body[first : (first + end) // 2])
        time.sleep(0.02)
        return then(call)

    return script


def packed(kind, pack):
    return lambda call: call.answer("200 OK", {"Content-Encoding": kind}, pack(call.body))


def bare_deflate(data):
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def moved_to(place, status="302 Found"):
    return lambda call: call.answer(status, {"Location": place}) if call.number == 1 else call.good()


def preliminary(*statuses):
    def script(call):
        for status in statuses:
            call.send(b"HTTP/1.1 " + status + b"\r\nLink: </style.css>\r\n\r\n")
        call.good()

    return script


def wait_of(value):
    return later(lambda call: call.answer("429 Slow", {"Retry-After": value}), lambda number: number in (1, 3))


def state(of):
    """Answer rightly, with the state that `of` makes of the call; an If-Range of another state gets the whole."""

    def script(call):
        call.state = of(call)
        same = call.headers.get("if-range") in (None, call.state.get("ETag"))
        return call.part() if same else call.whole()

    return script


def portal(call):
    call.answer("200 OK", {"Content-Type": "text/html"}, SIGN_IN)


def without_state(script):
    def stateless(call):
        call.state = {}
        return script(call)

    return stateless


def caught_once(call):
    if call.target == "/portal":
        return portal(call)
    if call.number == 3:
        return call.answer("302 Found", {"Location": "/portal"})
    return call.good()


def expires(call):
    """Lead to a signed address, which holds for two requests."""
    if call.target == "/data.bin":
        return call.answer("302 Found", {"Location": f"/signed?from={call.number}"})
    if call.number > int(call.target.partition("=")[2]) + 2:
        return call.answer("403 Forbidden", {}, b"<Error><Code>AccessDenied</Code></Error>")
    return call.good()


def chain_of_nine(call):
    number = int(call.target.partition("?n=")[2] or 0)
    if number < 9:
        return call.answer("302 Found", {"Location": f"/data.bin?n={number + 1}"})
    return call.good()


def in_time(data, each_s=0.0005):
    def script(call):
        call.drip(data % len(call.body), each_s)
        call.send(call.body)

    return script


RIGHT = {
    "HTTP/1.0 without a length": sends(lambda call: b"HTTP/1.0 200 OK\r\n\r\n" + call.body),
    "chunks": sends(lambda call: CHUNKED + chunks(call.body) + b"0\r\n\r\n"),
    "chunks with extensions and trailers": sends(
        lambda call: CHUNKED + chunks(call.body, extension=b";a=b") + b"0;x\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    ),
    "chunked with a blank behind it": sends(
        lambda call: CHUNKED.replace(b"chunked", b"Chunked ") + chunks(call.body) + b"0\r\n\r\n"
    ),
    "chunks and a length that is not theirs": sends(
        lambda call: CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 12\r\n\r\n") + chunks(call.body) + b"0\r\n\r\n"
    ),
    "parts in chunks": lambda call: call.send(
        b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
        % (call.range[0], call.range[1] - 1, len(call.body))
        + chunks(call.body[slice(*call.range)])
        + b"0\r\n\r\n"
    ),
    "a part of *": part_with(lambda first, last, total: f"bytes {first}-{last}/*"),
    "a part of * later": later(part_with(lambda first, last, total: f"bytes {first}-{last}/*")),
    "a part that says */total": later(part_with(lambda first, last, total: f"bytes */{total}")),
    "Bytes=": part_with(lambda first, last, total: f"Bytes={first}-{last}/{total}"),
    "a total of 6,000 digits": part_with(lambda first, last, total: f"bytes {first}-{last}/{'9' * 6000}"),
    "a total beyond 2^63": part_with(lambda first, last, total: f"bytes {first}-{last}/{2**63}"),
    "206 without Content-Range": lambda call: (
        call.whole() if call.range is None else call.answer("206 OK", call.state, call.body[slice(*call.range)])
    ),
    "multipart": in_parts,
    "multipart later": later(in_parts),
    "206 to the end of the file": to_the_end,
    "206 to the end of the file later": later(to_the_end),
    "5,000 bytes at a time": shorter(5_000),
    "a byte less than asked for": later(shorter(100_000)),
    "more than Content-Length in a part": lambda call: (call.good(), call.send(b"more than was said")),
    "an answer nobody asked for": lambda call: (
        call.good(),
        call.send(b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\nContent-Range: bytes 0-8/600001\r\n\r\nmisplaced"),
    ),
    "a part without a length": lambda call: (
        call.head(
            "206 OK",
            {
                **call.state,
                "Content-Range": f"bytes {call.range[0]}-{call.range[1] - 1}/{len(call.body)}",
                "Connection": "close",
            },
        ),
        call.send(call.body[slice(*call.range)]),
        call.close(),
    ),
    "a part of many bytes": lambda call: (
        call.head(
            "206 OK",
            {
                **call.state,
                "Content-Length": "many",
                "Content-Range": f"bytes {call.range[0]}-{call.range[1] - 1}/{len(call.body)}",
            },
        ),
        call.send(call.body[slice(*call.range)]),
        call.close(),
    ),
    "a length below nothing": lambda call: (
        call.head("200 OK", {**call.state, "Content-Length": "-1"}),
        call.send(call.body),
        call.close(),
    ),
    "the same length twice": lambda call: call.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 600001\r\nContent-Length: 600001\r\n\r\n" + call.body
    ),
    "the same length twice in one header": lambda call: call.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 600001, 600001\r\n\r\n" + call.body
    ),
    "416 to the first Range": lambda call: call.answer("416 No", {}) if call.range else call.whole(),
    "416 once in the middle": later(lambda call: call.answer("416 No", {}), lambda number: number == 3),
    "103 before the answer": preliminary(b"103 Early Hints"),
    "100, 102 and 102 before the answer": preliminary(b"100 Continue", b"102 Processing", b"102 Processing"),
    "a connection closed after each answer": lambda call: (call.good(), call.close()),
    "a connection reset after each answer": lambda call: (call.good(), time.sleep(0.02), call.reset()),
    "408 on a kept connection": lambda call: (
        call.good(),
        time.sleep(0.01),
        call.answer("408 Request Timeout", {"Connection": "close"}),
        call.close(),
    ),
    "an empty answer once": later(lambda call: call.close(), lambda number: number == 1),
    "reset in the middle": cut_in_the_middle(lambda call: call.reset()),
    "closed in the middle": cut_in_the_middle(lambda call: call.close()),
    "headers byte by byte, in time": in_time(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"),
    "80 kB of headers": header(**{f"X-{number}": "a" * 2000 for number in range(40)}),
    "headers of odd bytes": header(X_Odd="\xff\x00\x01\x7f", Content_Type="\xe9\x80/\x00"),
    "folded headers": lambda call: call.send(
        b'HTTP/1.1 200 OK\r\nContent-Length:\r\n 600001\r\nETag: "a\r\n b"\r\n\r\n' + call.body
    ),
    "a folded ETag": header(ETag='"a\r\n b"'),
    "an ETag of odd bytes": header(ETag='"\xff\x00\x85x"'),
    "lines that end with LF alone": lambda call: call.send(
        b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(call.body) + call.body
    ),
    "no reason phrase": lambda call: call.send(
        b"HTTP/1.1 206\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
        % (call.range[1] - call.range[0], call.range[0], call.range[1] - 1, len(call.body))
        + call.body[slice(*call.range)]
    ),
    "a redirect to a relative path": moved_to("a/../b.bin?c=d"),
    "a redirect with a fragment": moved_to("/b.bin#part"),
    "a redirect of a query alone": moved_to("?a=1"),
    "a redirect in raw UTF-8": lambda call: (
        call.answer("302 Found", {"Location": "/d\xc3\xa4ta.bin"})
        if call.target == "/data.bin"
        else call.good()
        if call.target == "/d%C3%A4ta.bin"
        else call.answer("404 No", {})
    ),
    "a redirect with control letters": moved_to("/d\x01\x7f.bin"),
    "nine redirects": chain_of_nine,
    "a redirect of some requests": lambda call: (
        call.answer("302 Found", {"Location": "/b.bin"})
        if call.number % 2 == 0 and call.target == "/data.bin"
        else call.good()
    ),
    "a redirect with a body of a terabyte": lambda call: (
        call.good()
        if call.target == "/b.bin"
        else (call.head("302 Found", {"Location": "/b.bin", "Content-Length": 10**12}), call.send(b"x" * 10**6))
    ),
    "a signed address that expires": expires,
    "a redirect to where nobody listens": lambda call: (
        call.answer("302 Found", {"Location": "http://127.0.0.1:1/x" if call.number == 1 else "/b.bin"})
        if call.target == "/data.bin"
        else call.good()
    ),
    "a mirror that fails, of a place that knows several": lambda call: (
        call.answer("302 Found", {"Location": f"/mirror{call.number}"})
        if call.target == "/data.bin"
        else call.answer("502 Bad", {})
        if call.target == "/mirror1" and call.number > 3
        else call.good()
    ),
    "Retry-After below nothing": wait_of("-5"),
    "Retry-After of nonsense": wait_of("soon"),
    "Retry-After of a fraction": wait_of("0.05"),
    "Retry-After of no such date": wait_of("Sat, 99 Foo 2026 99:00:00 GMT"),
    "Retry-After in the year 1": wait_of("Mon, 01 Jan 0001 00:00:00 +2359"),
    "Retry-After in the year 99999": wait_of("Sat, 21 Nov 99999 10:00:00 GMT"),
    "Retry-After of a clock that is ahead": later(
        lambda call: call.answer(
            "503 Busy", {"Date": "Sat, 21 Nov 2099 10:00:00 GMT", "Retry-After": "Sat, 21 Nov 2099 10:00:00 GMT"}
        ),
        lambda number: number == 1,
    ),
    "503 without Retry-After": later(lambda call: call.answer("503 Busy", {}), lambda number: number in (1, 3, 4)),
    "403 once in the middle": later(lambda call: call.answer("403 No", {}), lambda number: number == 3),
    "404 once in the middle": later(lambda call: call.answer("404 No", {}), lambda number: number == 3),
    "ranges that are said and not given": lambda call: call.whole(Accept_Ranges="bytes"),
    "ranges that are given and denied": header(Accept_Ranges="none"),
    "a weak ETag": header(ETag='W/"x"'),
    "no state at all": without_state(lambda call: call.good()),
    "an ETag for each connection": state(lambda call: {"ETag": f'"{call.connection}"', "Last-Modified": MODIFIED}),
    "an ETag for each request": state(lambda call: {"ETag": f'"{call.number}"', "Last-Modified": MODIFIED}),
    "a time that goes backwards": state(
        lambda call: {"Last-Modified": MODIFIED if call.number == 1 else "Sat, 21 Nov 2020 10:00:00 GMT"}
    ),
    "a time to come": state(lambda call: {"Last-Modified": "Sat, 21 Nov 2099 10:00:00 GMT"}),
    "a time of nonsense": state(lambda call: {"Last-Modified": "yesterday"}),
    "a sign-in page once": later(portal, lambda number: number == 3),
    "a sign-in page once, and no state": without_state(later(portal, lambda number: number == 3)),
    "a redirect to a sign-in page once": caught_once,
    "a redirect to a sign-in page once, and no state": without_state(caught_once),
    "a name in no charset": header(Content_Disposition="attachment; filename*=undefined''a%20b.bin"),
    "a name in a charset for hosts": header(Content_Disposition="attachment; filename*=idna''a..b"),
    "a name of 300 letters of three bytes": header(
        Content_Disposition="attachment; filename*=utf-8''" + "%E2%82%AC" * 300
    ),
}

RIGHT_TEXT = {
    "gzip, not asked for": packed("gzip", gzip.compress),
    "gzip of two members": packed("gzip", lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:])),
    "gzip with zeros behind": packed("gzip", lambda data: gzip.compress(data) + bytes(600)),
    "deflate of zlib": packed("deflate", zlib.compress),
    "deflate without zlib": packed("deflate", bare_deflate),
    "said to be gzip, and is not": packed("gzip", bytes),
    "aws-chunked": header(Content_Encoding="aws-chunked"),
    "aws-chunked and gzip": packed("aws-chunked, gzip", gzip.compress),
    "a letter set for an encoding": header(Content_Encoding="UTF-8"),
    "gzip of the whole after plain parts": lambda call: (
        call.good() if call.number == 1 else packed("gzip", gzip.compress)(call)
    ),
}


def arrived(url, tmp_path, limits, body):
    (tmp_path / "to").mkdir()
    get(url, tmp_path / "to/data.bin", limits)
    same = (tmp_path / "to/data.bin").read_bytes() == body
    assert same
    assert os.listdir(tmp_path / "to") == ["data.bin"]


@pytest.mark.parametrize("fault", RIGHT)
def test_the_right_bytes_come_through(fault, raw_server, tmp_path, patient):
    arrived(raw_server(BODY, RIGHT[fault]).url(), tmp_path, patient, BODY)


@pytest.mark.parametrize("fault", RIGHT_TEXT)
def test_the_right_bytes_come_through_however_they_are_packed(fault, raw_server, tmp_path, patient):
    arrived(raw_server(TEXT, RIGHT_TEXT[fault]).url(), tmp_path, patient, TEXT)


def endless(begin, more, each_s=0.01):
    def script(call):
        call.send(begin)
        while True:
            call.send(more)
            time.sleep(each_s)

    return script


def drips(begin, each_s=0.15):
    return lambda call: (call.send(begin), call.drip(b"x" * 100_000, each_s))


def a_part_of_no_range(call):
    said = {**call.state, "Content-Range": f"bytes 0-99999/{len(call.body)}"}
    call.answer("206 Partial Content", said, call.body[:100_000])


NAMED = {
    "206 to a request for the whole": (
        lambda call: call.answer("416 No", {}) if call.range else a_part_of_no_range(call),
        IntegrityError,
        "a part of data.bin when asked for the whole",
    ),
    "206 to a request for the whole, after a cut": (
        lambda call: (
            a_part_of_no_range(call)
            if call.number > 1
            else (
                call.head("200 OK", {**call.state, "Content-Length": 600_001}),
                call.send(BODY[:90_000]),
                call.close(),
            )
        ),
        IntegrityError,
        "a part of data.bin when asked for the whole",
    ),
    "reset without a length": (
        lambda call: (call.send(b"HTTP/1.0 200 OK\r\n\r\n" + call.body[:300_000]), time.sleep(0.1), call.reset()),
        UnavailableError,
        "broke the connection off",
    ),
    "a chunk of no size": (
        sends(lambda call: CHUNKED + chunks(BODY[:99_999]) + b"zz\r\nab"),
        UnavailableError,
        "middle",
    ),
    "a chunk below nothing": (
        sends(lambda call: CHUNKED + chunks(BODY[:99_999]) + b"-5\r\n" + BODY[99_999:]),
        UnavailableError,
        "middle",
    ),
    "no last chunk": (sends(lambda call: CHUNKED + chunks(BODY)), UnavailableError, "middle"),
    "a chunk cut short": (sends(lambda call: CHUNKED + chunks(BODY)[:-9_000]), UnavailableError, "middle"),
    "a chunk longer than said": (
        sends(lambda call: CHUNKED + b"3e8\r\n" + BODY[:1001] + chunks(BODY[1001:]) + b"0\r\n\r\n"),
        UnavailableError,
        "middle",
    ),
    "trailers without an end": (
        endless(CHUNKED + chunks(BODY) + b"0\r\n", b"X-A: b\r\n"),
        UnavailableError,
        "did not answer|stalled",
    ),
    "a size line without an end": (endless(CHUNKED, b"0" * 1000, 0.001), UnavailableError, "too long"),
    "gzip for the transfer": (
        sends(
            lambda call: CHUNKED.replace(b"chunked", b"gzip, chunked") + chunks(gzip.compress(BODY, 1)) + b"0\r\n\r\n"
        ),
        UnavailableError,
        "encoded as chunked, gzip for the transfer",
    ),
    "another total in each part": (
        later(part_with(lambda first, last, total: f"bytes {first}-{last}/{total + 1}")),
        IntegrityError,
        "changed|cut short|another part",
    ),
    "a part shorter than it says": (
        lambda call: (
            call.head("206 OK", {"Content-Length": 8192, "Content-Range": "bytes 0-8191/600001"}),
            call.send(call.body[:8000]),
            call.close(),
        ),
        IntegrityError,
        "cut short: 8,000 of 600,001 bytes",
    ),
    "a length beyond 2^63": (
        lambda call: (call.head("200 OK", {"Content-Length": 2**63}), call.send(call.body), call.close()),
        UnavailableError,
        "a length that no file has",
    ),
    "a length of 5,000 digits": (
        lambda call: (call.head("200 OK", {"Content-Length": "9" * 5000}), call.close()),
        UnavailableError,
        "a length that no file has",
    ),
    "two lengths": (
        lambda call: call.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nContent-Length: 600001\r\n\r\n" + call.body
        ),
        UnavailableError,
        "two different lengths",
    ),
    "416 always": (lambda call: call.answer("416 No", {}), UnavailableError, "answered 416"),
    "416 to all but the first": (later(lambda call: call.answer("416 No", {})), UnavailableError, "answered 416"),
    "zstd": (packed("zstd", bytes), UnavailableError, "compressed with zstd"),
    "100 without an end": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), UnavailableError, "did not answer"),
    "103 without an end": (endless(b"", b"HTTP/1.1 103 Hints\r\n\r\n"), UnavailableError, "did not answer"),
    "101": (lambda call: call.answer("101 Switching Protocols", {"Upgrade": "h2c"}), UnavailableError, "answered 101"),
    "a status line that drips": (drips(b"HTTP/1.1 200 "), UnavailableError, "did not answer within"),
    "headers that drip": (drips(b"HTTP/1.1 200 OK\r\nX-A: "), UnavailableError, "did not answer within"),
    "a first part that drips": (
        drips(b"HTTP/1.1 206 OK\r\nContent-Length: 8192\r\nContent-Range: bytes 0-8191/600001\r\n\r\n"),
        UnavailableError,
        "did not answer within",
    ),
    "a body that drips": (
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 600001\r\n\r\n"),
        UnavailableError,
        "did not answer",
    ),
    "a header of 70 kB": (header(X_Long="a" * 70_000), UnavailableError, "not proper HTTP: a line .* is too long"),
    "150 headers": (header(**{f"X-{n}": "a" for n in range(150)}), UnavailableError, "not proper HTTP: .* too many"),
    "headers without an end": (
        endless(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 60_000 + b"\r\n", 0.0),
        UnavailableError,
        "too many headers",
    ),
    "a header that is none": (
        lambda call: call.send(b"HTTP/1.1 200 OK\r\nnot a header\r\nContent-Length: 5\r\n\r\nabcde"),
        UnavailableError,
        "is no header",
    ),
    "HTTP/0.9": (sends(lambda call: call.body), UnavailableError, "not proper HTTP: it does not begin as one"),
    "HTTP/2": (sends(lambda call: b"HTTP/2 200\r\nContent-Length: 3\r\n\r\nabc"), UnavailableError, "another version"),
    "nothing at all": (lambda call: call.close(), UnavailableError, "closed the connection too early"),
    "a reset at once": (lambda call: call.reset(), UnavailableError, "broke the connection off"),
    "204": (lambda call: call.send(b"HTTP/1.1 204 No Content\r\n\r\n"), UnavailableError, "answered 204"),
    "304": (lambda call: call.send(b"HTTP/1.1 304 Not Modified\r\n\r\n"), UnavailableError, "answered 304"),
    "300": (lambda call: call.answer("300 Choose", {}, b"choose"), UnavailableError, "answered 300"),
    "511": (lambda call: call.answer("511 Sign in", {}, SIGN_IN), UnavailableError, "wants you to sign in"),
    "999": (lambda call: call.answer("999 Odd", {}), UnavailableError, "answered 999"),
    "401": (
        lambda call: call.answer("401 Who", {"WWW-Authenticate": f'Basic realm="{SECRET}"'}),
        UnavailableError,
        "asks for a user name",
    ),
    "407": (lambda call: call.answer("407 Who", {}), UnavailableError, "proxy asks for a user name"),
    "429 until 2099": (
        lambda call: call.answer("429 Slow", {"Retry-After": "Sat, 21 Nov 2099 10:00:00 GMT"}),
        UnavailableError,
        "too busy",
    ),
    "429 for 400 digits": (
        lambda call: call.answer("429 Slow", {"Retry-After": "9" * 400}),
        UnavailableError,
        "too busy",
    ),
    "a redirect to ftp": (
        moved_to(f"ftp://me:{SECRET}@h/x?t={SECRET}"),
        UnavailableError,
        "ftp://.* is no web address",
    ),
    "a redirect to data": (moved_to("data:text/plain,hello"), UnavailableError, "is no web address"),
    "a redirect to a drive letter": (moved_to("C:\\x"), UnavailableError, "is no web address"),
    "a redirect to nowhere": (moved_to(""), UnavailableError, "without saying where"),
    "a redirect to a name too long": (moved_to(f"http://{'a' * 80}.example/x"), UnavailableError, "not an address"),
    "a redirect to a name with a hole": (moved_to("http://a..b.example/x"), UnavailableError, "not an address"),
    "a redirect to a name with a blank": (moved_to("http://a b/x"), UnavailableError, "not an address"),
    "a redirect to no such port": (moved_to("http://127.0.0.1:99999/x"), UnavailableError, "not an address"),
    "a redirect to a broken bracket": (moved_to("http://[::1/x"), UnavailableError, "is no web address"),
    "a redirect with a new query each time": (
        lambda call: call.answer("302 Found", {"Location": f"/data.bin?n={call.number}&t={SECRET}"}),
        UnavailableError,
        "redirects without an end",
    ),
    "a sign-in page from now on": (later(portal, lambda number: number >= 3), NotDataError, "sign-in page"),
    "a sign-in page from now on, and no state": (without_state(later(portal)), NotDataError, "sign-in page"),
    "a sign-in page after a cut": (
        lambda call: (
            portal(call)
            if call.number > 1
            else (call.head("200 OK", {"Content-Length": 600_001}), call.send(call.body[:400_000]), call.close())
        ),
        NotDataError,
        "sign-in page",
    ),
    "an ETag for each request and no time": (
        state(lambda call: {"ETag": f'"{call.number}"'}),
        IntegrityError,
        "changed",
    ),
}


@pytest.mark.parametrize("fault", NAMED)
def test_what_cannot_come_through_is_named_in_time_without_secrets(fault, raw_server, tmp_path, hasty, caplog):
    caplog.set_level(0)
    script, kind, text = NAMED[fault]
    limits = hasty if "did not answer" in text else replace(hasty, stall_s=15)  # else a busy machine is such a fault
    server = raw_server(BODY, script)
    (tmp_path / "to").mkdir()
    began = time.monotonic()
    with pytest.raises(kind, match=text) as caught:
        get(server.url(user=f"me:{SECRET}") + f"?key={SECRET}", tmp_path / "to/data.bin", limits)
    assert time.monotonic() - began < 60
    assert isinstance(caught.value, DatastageError)
    assert caught.value.remedy
    assert not (tmp_path / "to/data.bin").exists()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert SECRET not in shown


@pytest.mark.parametrize(
    "data",
    [gzip.compress(TEXT) + b"rubbish", gzip.compress(TEXT)[:-9] + b"\0" * 9, gzip.compress(TEXT)[:-9]],
    ids=["rubbish behind", "another checksum", "cut"],
)
def test_what_is_packed_wrongly_is_damaged_and_nothing_is_left(data, raw_server, tmp_path, hasty):
    server = raw_server(TEXT, packed("gzip", lambda body: data))
    (tmp_path / "to").mkdir()
    with pytest.raises(IntegrityError, match="damaged|cut short"):
        get(server.url(), tmp_path / "to/data.bin", replace(hasty, stall_s=15))
    assert os.listdir(tmp_path / "to") == []


def test_a_small_file_is_not_replaced_by_a_page_of_its_length(raw_server, tmp_path, hasty):
    page = SIGN_IN[:12_000]
    server = raw_server(BODY[:12_000], without_state(later(lambda call: call.answer("200 OK", {}, page))))
    with pytest.raises(NotDataError):
        get(server.url(), tmp_path / "data.bin", replace(hasty, stall_s=15))
    assert not (tmp_path / "data.bin").exists()


# --- connections


def limited(raw_server, body, most, beyond, rate=600_000):
    """A server that does with each connection beyond so many what `beyond` says."""

    def at_accept(sock, number):
        if made[0].n_open > most:
            beyond(sock)
            raise Over

    def script(call):
        first, end = call.range
        said = {"Content-Length": end - first, "Content-Range": f"bytes {first}-{end - 1}/{len(body)}"}
        call.head("206 Partial Content", {**call.state, **said})
        for at in range(first, end, 20_000):
            call.send(body[at : min(end, at + 20_000)])
            time.sleep(20_000 / rate)

    made = [raw_server(body, script, at_accept=at_accept)]
    return made[0]


BEYOND = {
    "reset": lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    "closed": lambda sock: None,
    "left hanging": lambda sock: time.sleep(2),
}


@pytest.mark.parametrize("beyond", BEYOND)
def test_a_server_that_gives_two_connections_gives_the_file(beyond, raw_server, tmp_path, quick):
    body = random.Random(6).randbytes(2_000_000)
    server = limited(raw_server, body, 2, BEYOND[beyond])
    get(server.url(), tmp_path / "data.bin", replace(quick, stall_s=1.5, tries=6, longest_wait_s=0.5))
    same = (tmp_path / "data.bin").read_bytes() == body
    assert same


def test_a_reading_goes_on_as_long_as_each_try_brings_something(raw_server, quick):
    def script(call):
        first, end = call.range
        said = {"Content-Length": end - first, "Content-Range": f"bytes {first}-{end - 1}/{len(call.body)}"}
        call.head("206 Partial Content", said)
        call.send(call.body[first : min(end, first + 50_000)])
        call.close()

    with http.open_url(raw_server(BODY, script).url(), limits=quick) as reader:
        same = reader.read_at(0, len(BODY)) == BODY
    assert same


def test_a_server_that_ignores_the_end_of_a_range_does_not_fill_the_memory(raw_server, tmp_path, quick):
    sent = []

    def script(call):
        call.head("206 OK", {"Content-Length": 10**12, "Content-Range": f"bytes 0-{10**12 - 1}/{10**12}"})
        while True:
            call.send(bytes(1 << 20))
            sent.append(1 << 20)

    with http.open_url(raw_server(b"", script).url("zeros.bin"), limits=quick) as reader:
        time.sleep(0.2)
        assert reader.size == 10**12
        assert not reader.ranges
    assert sum(sent) < 64 << 20


# --- addresses of a host


@pytest.fixture
def names(monkeypatch):
    """Let names lead where a test says: name -> list of (family, address), or an error."""
    known = {}
    ask = socket.getaddrinfo

    def answer(host, port, *words, **options):
        if host not in known:
            return ask(host, port, *words, **options)
        if callable(known[host]):
            return known[host](host, port)
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr("datastage.network.is_offline", lambda host, **options: False)
    return known


@pytest.fixture
def deaf():
    """An address that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.9", port))
            waiting.append(sock)
        time.sleep(0.05)
        yield port
        for sock in waiting:
            sock.close()


def test_a_first_address_that_is_dead_costs_a_moment(raw_server, names, deaf, quick):
    server = raw_server(BODY, address=("127.0.0.1", deaf))
    names["two.example"] = [(socket.AF_INET, "127.0.0.9"), (socket.AF_INET, "127.0.0.1")]
    began = time.monotonic()
    with http.open_url(server.url(host="two.example"), limits=quick) as reader:
        assert reader.read_at(100_000, 10) == BODY[100_000:100_010]
    assert time.monotonic() - began < 9  # below the limit of one connection


def test_a_family_that_leads_nowhere_is_passed_over(raw_server, names, quick):
    server = raw_server(BODY)
    names["six.example"] = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
    with http.open_url(server.url(host="six.example"), limits=quick) as reader:
        assert reader.size == len(BODY)


def test_an_address_of_the_sixth_version_in_brackets_is_asked(raw_server, quick):
    try:
        server = raw_server(BODY, address=("::1", 0))
    except OSError:
        pytest.skip("left out: there is no IPv6 here")
    with http.open_url(server.url(host="[::1]"), limits=quick) as reader:
        assert reader.read_at(100_000, 10) == BODY[100_000:100_010]
    assert server.calls[0].headers["host"] == f"[::1]:{server.port}"


def test_a_host_none_of_whose_addresses_answers_is_left_in_time(names, deaf, quick, monkeypatch):
    monkeypatch.setattr("datastage.sources.http_connection.CONNECT_S", 0.3)
    names["deaf.example"] = [(socket.AF_INET, "127.0.0.9")] * 3
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="did not answer"):
        http.open_url(f"http://deaf.example:{deaf}/x", limits=quick)
    assert time.monotonic() - began < 30


def test_a_name_service_that_hangs_is_left_in_time(names, quick, monkeypatch):
    monkeypatch.setattr("datastage.sources.http_connection.CONNECT_S", 0.3)
    answered = threading.Event()
    names["slow.example"] = lambda host, port: answered.wait(60)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="ould not resolve.*slow.example.*did not answer"):
        http.open_url("http://slow.example/x", limits=quick)
    assert time.monotonic() - began < 50
    answered.set()


# --- https


@pytest.fixture(scope="session")
def made_certificate(tmp_path_factory):
    """Make a certificate: `made_certificate(name, *words for openssl)` -> (certificate, key)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("left out: openssl is not on this machine")
    folder = tmp_path_factory.mktemp("made")

    def make(name, *words):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", *USAGE]
        made = [openssl, "req", "-x509", *key, *names, "-out", f"{name}.pem", *words]
        done = subprocess.run(made, cwd=folder, capture_output=True)
        if done.returncode:
            pytest.skip("left out: this openssl cannot make such a certificate")
        return folder / f"{name}.pem", folder / f"{name}.key"

    return make


@pytest.fixture
def tls(made_certificate, monkeypatch):
    pair = made_certificate("localhost", "-days", "30")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    return pair


@pytest.mark.parametrize("wrong", ["another host", "expired", "of nobody known"])
def test_a_certificate_that_is_wrong_is_named(wrong, made_certificate, raw_server, quick, monkeypatch):
    words = {"another host": ("other.example", "-days", "30"), "expired": ("localhost", "-days", "-1")}
    words = words.get(wrong, ("localhost", "-days", "30"))
    if wrong == "expired":
        words = ("localhost", "-not_before", "20200101000000Z", "-not_after", "20200201000000Z")
    pair = made_certificate(*words)
    if wrong != "of nobody known":
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    said = {"another host": "match|mismatch", "expired": "expired", "of nobody known": "self.signed"}[wrong]
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"certificate of localhost could not be verified: .*({said})"):
        http.open_url(raw_server(BODY, tls=pair).url(), limits=quick)
    assert time.monotonic() - began < 30


def cuts_without_a_word(call):
    """Send half of a body without a length, and end the connection without TLS's own word of farewell."""
    call.send(b"HTTP/1.0 200 OK\r\n\r\n" + call.body[: len(call.body) // 2])
    socket.socket(fileno=os.dup(call.sock.fileno())).shutdown(socket.SHUT_RDWR)
    raise Over


def test_a_secure_connection_that_is_cut_is_not_the_end_of_the_file(raw_server, tls, tmp_path, quick):
    server = raw_server(BODY, cuts_without_a_word, tls=tls)
    with pytest.raises(UnavailableError, match="closed the connection too early"):
        get(server.url(), tmp_path / "data.bin", quick)
    assert not (tmp_path / "data.bin").exists()


def test_a_secure_connection_without_a_farewell_will_do_where_a_digest_proves_the_file(
    raw_server, tls, tmp_path, quick
):
    def script(call):
        call.body = call.body + call.body
        cuts_without_a_word(call)

    expect = {"md5": hashlib.md5(BODY).hexdigest()}
    get(raw_server(BODY, script, tls=tls).url(), tmp_path / "data.bin", quick, expect=expect)
    same = (tmp_path / "data.bin").read_bytes() == BODY
    assert same


def test_a_secure_connection_cut_in_the_middle_of_a_part_is_gone_on_with(raw_server, tls, tmp_path, quick):
    def cut(call):
        socket.socket(fileno=os.dup(call.sock.fileno())).shutdown(socket.SHUT_RDWR)
        raise Over

    get(raw_server(BODY, cut_in_the_middle(cut), tls=tls).url(), tmp_path / "data.bin", quick)
    same = (tmp_path / "data.bin").read_bytes() == BODY
    assert same


def test_a_greeting_of_tls_that_drips_is_left_in_time(raw_server, quick, monkeypatch):
    monkeypatch.setattr("datastage.sources.http_connection.CONNECT_S", 0.4)

    def drip(sock, number):
        for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(100):
            sock.sendall(bytes([byte]))
            time.sleep(0.1)

    server = raw_server(BODY, at_accept=drip)
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        http.open_url(f"https://localhost:{server.port}/x", limits=quick)
    assert time.monotonic() - began < 30


# --- proxies


@pytest.fixture
def proxied(monkeypatch):
    """Set a proxy for everything: `proxied("http_proxy", address)`."""
    monkeypatch.setattr("datastage.network.is_offline", lambda host, **options: False)
    return monkeypatch.setenv


@pytest.mark.parametrize("kind", ["quic", "socks6"])
def test_a_proxy_of_another_kind_is_a_clear_error_at_once(kind, proxied, quick, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *words, **options: pytest.fail("asked"))
    proxied("ALL_PROXY", f"{kind}://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(UnavailableError, match="all_proxy names .*127.0.0.1:9; here only those of http") as caught:
        http.open_url("https://far.example/x", limits=quick)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_host_that_needs_no_proxy_is_reached_although_one_of_another_kind_is_set(raw_server, proxied, quick):
    proxied("ALL_PROXY", "socks5://127.0.0.1:9")
    proxied("NO_PROXY", "127.0.0.1,.example")
    with http.open_url(raw_server(BODY).url(), limits=quick) as reader:
        assert reader.size == len(BODY)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Who are you\r\n\r\n", r"The proxy 127.0.0.1:\d+ asks for a user name and a password .*407"),
        (b"HTTP/1.1 502 Bad\r\n\r\n", r"The proxy 127.0.0.1:\d+ would not connect to far.example .502 Bad Gateway"),
        (b"HTTP/1.1 403 No\r\n\r\n<html>blocked", "would not connect to far.example .403 Forbidden"),
        (b"<html>Please sign in", "The proxy .* is not proper HTTP"),
        (b"", "The proxy .* (closed the connection too early|broke the connection off)"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", "The proxy .* (closed the connection|broke the connection off)"),
        (
            b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 plain\r\n\r\n",
            "No secure connection|closed the connection too early|broke the connection off",
        ),
    ],
    ids=["407", "502", "403", "a page", "nothing", "half", "no tls"],
)
def test_a_proxy_that_does_not_connect_is_named(answer, text, raw_server, proxied, hasty):
    proxy = raw_server(b"", sends(lambda call: answer))
    proxied("https_proxy", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
    with pytest.raises(UnavailableError, match=text) as caught:
        http.open_url("https://far.example/x", limits=replace(hasty, stall_s=15))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert proxy.calls[0].line.startswith("CONNECT far.example:443 ")


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        (portal, NotDataError, "sign-in page"),
        (lambda call: call.answer("407 Who", {}), UnavailableError, r"The proxy 127.0.0.1:\d+ asks for a user name"),
        (lambda call: call.answer("502 Bad", {}, b"<html>"), UnavailableError, "answered 502"),
        (lambda call: call.hang(), UnavailableError, r"The proxy 127.0.0.1:\d+ did not answer"),
        (lambda call: call.close(), UnavailableError, r"The proxy 127.0.0.1:\d+ closed the connection too early"),
    ],
    ids=["a page", "407", "502", "hangs", "closes"],
)
def test_a_proxy_that_answers_for_itself_is_named(script, kind, text, raw_server, proxied, hasty):
    proxied("http_proxy", f"127.0.0.1:{raw_server(b'', script).port}")
    with pytest.raises(kind, match=text):
        http.open_url("http://far.example/x.zip", limits=hasty if "did not" in text else replace(hasty, stall_s=15))


def test_a_proxy_where_nobody_listens_is_named_and_not_the_host(proxied, hasty):
    proxied("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="The proxy 127.0.0.1:1 refused the connection") as caught:
        http.open_url("http://far.example/x.zip", limits=hasty)
    assert "http_proxy" in caught.value.remedy[-1]


def test_a_proxy_whose_name_nobody_knows_is_named(proxied, names, hasty):
    def unknown(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    names["proxy.example"] = unknown
    proxied("https_proxy", "http://proxy.example:3128")
    with pytest.raises(UnavailableError, match="name of the proxy: proxy.example"):
        http.open_url("https://far.example/x.zip", limits=hasty)


# --- .netrc


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe\x00broken", b"machine\n", b"nonsense hunter2 of any kind\n", b"machine h login me password"],
    ids=["no text", "half", "nonsense", "no password"],
)
def test_a_netrc_that_is_broken_is_passed_over(text, raw_server, tmp_path, quick):
    (tmp_path / "home/.netrc").write_bytes(text)
    with http.open_url(raw_server(BODY).url(), limits=quick) as reader:
        assert reader.size == len(BODY)
    refusing = raw_server(BODY, lambda call: call.answer("401 Who", {}))
    with pytest.raises(UnavailableError, match=r"Your file \.netrc was passed over") as caught:
        http.open_url(refusing.url(), limits=quick)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_netrc_that_is_a_folder_is_passed_over(raw_server, tmp_path, quick):
    (tmp_path / "home/.netrc").mkdir()
    with http.open_url(raw_server(BODY).url(), limits=quick) as reader:
        assert reader.size == len(BODY)


def test_a_transfer_leaves_no_connection_open(raw_server, tmp_path, quick):
    server = raw_server(BODY, RIGHT["reset in the middle"])
    get(server.url(), tmp_path / "data.bin", quick)
    deadline = time.monotonic() + 5
    while server.n_open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.n_open == 0


def test_many_wild_answers_never_end_in_an_error_of_pythons_own(raw_server, tmp_path, hasty):
    """Bytes of a right answer are changed, doubled, left out."""
    chance = random.Random(8)
    limits = replace(hasty, tries=2, stall_s=0.15)
    body = BODY[:20_000]

    def script(call):
        first, end = call.range or (0, len(body))
        status = b"206 Partial Content" if call.range else b"200 OK"
        said = b"Content-Range: bytes %d-%d/%d\r\n" % (first, end - 1, len(body)) if call.range else b""
        head = bytearray(
            b'HTTP/1.1 %b\r\nContent-Length: %d\r\nETag: "x"\r\nLocation: /b\r\nLast-Modified: %b\r\n%b\r\n'
            % (status, end - first, MODIFIED.encode(), said)
        )
        with lock:
            for _ in range(chance.randint(0, 3)):
                at = chance.randrange(len(head))
                what = chance.random()
                if what < 0.4:
                    head[at] = chance.choice(b"\x00\r\n:;, -/0123456789\xff\x80aZ")
                elif what < 0.7:
                    del head[at : at + chance.randint(1, 20)]
                else:
                    head[at:at] = chance.choice(
                        [b"\r\n", b"9" * 30, b"Transfer-Encoding: chunked\r\n", head[:40], b"-"]
                    )
        call.send(bytes(head) + body[first:end])
        if not call.headers.get("connection"):
            call.close()

    lock = threading.Lock()
    server = raw_server(body, script)
    expect = {"md5": hashlib.md5(body).hexdigest()}
    n_right = 0
    for number in range(60):
        to = tmp_path / f"{number}.bin"
        try:
            get(server.url(), to, limits, expect=expect)
        except DatastageError:
            assert not to.exists()
        else:
            n_right += to.read_bytes() == body
    assert n_right > 10


def test_the_context_for_tls_still_verifies(raw_server, tls, quick):
    server = raw_server(BODY, tls=tls)
    with http.open_url(server.url(), limits=quick) as reader:
        assert reader.size == len(BODY)
        assert reader._session.connections.tls.verify_mode == ssl.CERT_REQUIRED
        assert reader._session.connections.tls.check_hostname


def test_a_host_whose_first_address_is_dead_is_not_offline(raw_server, deaf, monkeypatch):
    from datastage import network

    server = raw_server(BODY, address=("127.0.0.1", deaf))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, deaf)) for ip in ("127.0.0.9", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: found)
    assert not network.is_offline("two-addresses.example", port=server.port, timeout_s=1.0)
