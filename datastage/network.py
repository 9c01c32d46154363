"""Whether a host can be reached from here."""

from __future__ import annotations

import time
from collections.abc import Callable

from datastage.mounts import within
from datastage.settings import is_set

REMEMBER_S = 60.0
_known: dict[tuple[str, int], tuple[float, bool]] = {}


def is_offline(
    host: str, *, port: int = 443, timeout_s: float = 2.0, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Tell whether `host` is out of reach: no name service, no route, or no answer in `timeout_s`; known for a minute.

    Of a proxy only the proxy is asked: behind it no name may be known. A host that refuses is within reach.
    ``DATASTAGE_OFFLINE=1`` settles it for every host but this machine.
    """
    if host == "localhost" or host.startswith("127.") or host in ("::1", "[::1]"):
        return False
    if is_set("OFFLINE"):
        return True
    address = _proxy_for(host, port) or (host, port)
    known = _known.pop(address, None)
    if known is not None and clock() - known[0] < REMEMBER_S:
        _known[address] = known
        return known[1]

    def ask() -> None:
        _known[address] = (clock(), not _answers(address, timeout_s))

    within(timeout_s, ask, None)
    # An answer that comes too late takes the place of this one.
    return _known.setdefault(address, (clock(), True))[1]


def _answers(address: tuple[str, int], timeout_s: float) -> bool:
    from datastage import connecting

    try:
        connecting.connect(address, timeout_s).close()
    except ConnectionRefusedError:
        return True
    except (OSError, UnicodeError):
        return False
    return True


def _proxy_for(host: str, port: int) -> tuple[str, int] | None:
    import urllib.parse
    import urllib.request

    proxies = urllib.request.getproxies()
    proxy = proxies.get("http" if port == 80 else "https") or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    try:
        url = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return (url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme, 1080)) if url.hostname else None
    except ValueError:
        return None
