"""The bytes of an answer of HTTP as they come, and unpacked where they were compressed on the way."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import ssl
from collections.abc import Callable, Iterator

from datastage.archives import streams
from datastage.archives.errors import Fault
from datastage.errors import IntegrityError
from datastage.sources.http_connection import Exchange
from datastage.transfer import Interrupted

_PIECE_BYTES = 256 << 10

Chunks = Iterator[memoryview | bytes]


def body_of(exchange: Exchange, n: int | None, *, may_end_early: bool = False) -> Chunks:
    """Give `n` bytes of the answer, or all of them, as they come; errors pass as they are.

    `may_end_early` takes the end of a secure connection for the end of a body without a length: a digest will tell.
    """
    return _chunks(exchange, n) if exchange.response.chunked else _plain(exchange, n, may_end_early)


def beginning_of(exchange: Exchange, n: int = 4096) -> bytes:
    """Return the first bytes of a refusal, as far as they come at once."""
    body = b""
    with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
        for piece in body_of(exchange, None):
            body += bytes(piece)
            if len(body) >= n:
                break
    return body[:n]


def _chunks(exchange: Exchange, n: int | None) -> Chunks:
    response, got = exchange.response, 0
    while n is None or got < n:
        response.put_off()
        chunk = response.read1(_PIECE_BYTES)
        if not chunk:
            break
        got += len(chunk)
        yield chunk
    if n is None or got >= n:
        response.read(0 if n is None else 1)  # what ends the last chunk
        exchange.is_read = response.isclosed()


def _plain(exchange: Exchange, n: int | None, may_end_early: bool) -> Chunks:
    response, got = exchange.response, 0
    # HTTPResponse.readinto waits until the buffer is full; a slow place must show each byte when it comes.
    read: Callable[[memoryview], int] = response.fp.readinto1
    length = n if response.length is None else response.length if n is None else min(n, response.length)
    exchange.is_read = length == 0
    buffer = memoryview(bytearray(_PIECE_BYTES if length is None else max(1, min(length, _PIECE_BYTES))))
    while length is None or got < length:
        response.put_off()
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
        exchange.is_read = got == response.length
        yield buffer[:k]


def unpacked(body: Chunks, kind: str, name: str, host: str) -> Chunks:
    """Unpack a body that was compressed on the way with ``"gzip"`` or ``"deflate"``."""
    first = b""
    for piece in body:
        first += piece
        if len(first) >= 2:
            break
    if kind == "gzip" and first[:2] != b"\x1f\x8b":  # it says so of bytes that are no gzip
        yield first
        yield from body
        return
    # The deflate of HTTP is zlib's, and some servers send it bare.
    is_zlib = bool(first) and first[0] & 15 == 8 and int.from_bytes(first[:2], "big") % 31 == 0
    window = 31 if kind == "gzip" else 15 if is_zlib else -15
    try:
        yield from streams.gz(map(bytes, itertools.chain([first], body)), window)
    except Fault as fault:
        text = f"{name} came compressed by {host}, and damaged: it {fault.text}."
        raise Interrupted(IntegrityError(text, "Next: run the same line again.")) from fault
