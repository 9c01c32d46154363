"""Whether a host can be reached from here; where `DATASTAGE_OFFLINE` is set, none may be asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from datastage.errors import DatastageError
from datastage.mounts import within
from datastage.settings import is_set

REMEMBER_S = 60.0
_known: dict[tuple[str, int], tuple[float, bool]] = {}


def is_offline(
    host: str, *, port: int = 443, timeout_s: float = 2.0, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Tell whether `host`, or the proxy before it, is out of reach: no name, route or answer; known for a minute."""
    if host == "localhost" or host.startswith("127.") or host in ("::1", "[::1]"):
        return False
    if is_set("OFFLINE"):
        return True
    from datastage import connecting

    try:
        proxy = connecting.proxy_of(connecting.Address("http" if port == 80 else "https", host, port))
    except DatastageError:
        return False  # of a proxy that cannot be asked, the request itself says what it takes
    address = (proxy.host, proxy.port) if proxy else (host, port)
    known = _known.pop(address, None)
    if known is not None and clock() - known[0] < REMEMBER_S:
        _known[address] = known
        return known[1]

    def ask() -> None:
        is_out = False
        try:
            connecting.connect(address, timeout_s).close()
        except ConnectionRefusedError:
            pass  # it is within reach
        except OSError:
            is_out = True
        _known[address] = (clock(), is_out)

    within(timeout_s, ask, None)
    # An answer that comes too late takes the place of this one.
    return _known.setdefault(address, (clock(), True))[1]
