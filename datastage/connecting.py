"""Connect to a host by the first of its addresses that answers (RFC 8305), with a limit, its name service included.

Where one family of addresses leads nowhere, as IPv6 does on some campus networks, the other is tried a moment later.
"""

from __future__ import annotations

import errno
import itertools
import os
import selectors
import socket
import time
from collections import deque
from typing import Any

from datastage.timeouts import call_with_timeout

# An address that does not answer holds the next one up no longer than this.
_NEXT_ADDRESS_S = 0.25


def addresses(host: str, port: int, timeout_s: float) -> list[tuple[Any, ...]]:
    """Ask the name service, no longer than so: it has limits of its own, up to half a minute."""

    def ask() -> list[tuple[Any, ...]]:
        try:
            return list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "the name is not one of a host") from None

    try:
        found = call_with_timeout(ask, timeout_s)
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
    trying: dict[int, socket.socket] = {}
    error: OSError = TimeoutError(f"{place[0]} did not answer")
    try:
        with selectors.DefaultSelector() as selector:
            due = 0.0
            while left or trying:
                now = time.monotonic() - began
                if now >= timeout:
                    raise TimeoutError(f"{place[0]} did not answer")
                if left and (not trying or now >= due):
                    family, kind, protocol, _, address = left.popleft()
                    due = now + _NEXT_ADDRESS_S
                    try:
                        sock = socket.socket(family, kind, protocol)
                        trying[sock.fileno()] = sock
                        sock.setblocking(False)
                        code = sock.connect_ex(address)
                    except OSError as failed:
                        error = failed
                        continue
                    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
                        error = _os_error(code)
                        trying.pop(sock.fileno()).close()
                        continue
                    selector.register(sock, selectors.EVENT_WRITE)
                for key, _ in selector.select(min(timeout - now, max(0.0, due - now) if left else timeout)):
                    sock = trying[key.fd]
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code:
                        error = _os_error(code)
                        trying.pop(key.fd).close()
                        due = 0.0  # the next one at once
                        continue
                    del trying[key.fd]
                    sock.settimeout(timeout)
                    return sock
        raise error
    finally:
        for sock in trying.values():
            sock.close()


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))  # of the kind that the code says, such as ConnectionRefusedError
