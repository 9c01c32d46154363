"""An answer of HTTP on its socket: in time, with one length, and none but a whole one.

Python's own client waits for ever for a server that drips its headers, and takes some answers for whole that are not.

Here: one connection and one answer. Not here: what is asked for, and what an answer means (`http`).
"""

from __future__ import annotations

import email.errors
import email.message
import http.client
import io
import select
import socket
import ssl
import time
from typing import Any


class NotHttp(http.client.HTTPException):
    """An answer whose end cannot be told, or that is no HTTP at all; says why."""


class _InTime(io.RawIOBase):
    """The bytes of a socket, all of which must come before an instant that is put off whenever some were of use.

    A socket's own limit begins anew with every byte: a server that drips its headers would be waited for all day.
    """

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
        return self._raw.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """An answer that comes in time, whose length is told in one way, and which is not a preliminary one."""

    def __init__(self, sock: socket.socket, *words: Any, limit_s: float, **options: Any) -> None:
        super().__init__(sock, *words, **options)
        self.fp.close()
        self._in_time = _InTime(sock, limit_s)
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


class Https(http.client.HTTPSConnection):
    """A connection that tells an end that the other side meant from one that came on the way."""

    def __init__(self, *words: Any, tls: ssl.SSLContext, named: str, **options: Any) -> None:
        super().__init__(*words, context=tls, **options)
        self._tls = tls
        self._named = named

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._named, suppress_ragged_eofs=False)


def has_news(sock: socket.socket) -> bool:
    """Tell whether something has come over a connection, its end included."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True
