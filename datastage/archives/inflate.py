"""Inflate and CRC-32 through the fastest libraries that are installed: deflate for whole members, isal for the rest.

Helper processes import this module, so it imports nothing heavy.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A stream of n bytes inflates to 1,032 n at most: below this size a single call needs no limit.
ONE_CALL_BYTES = 4096
# Importing the libraries takes some 2 ms, which a small archive must not pay.
FAST_FROM_BYTES = 4 << 20


class Inflate:
    """The functions in use: ``whole(data, size)`` makes hardly more than `size` bytes; the others are as in zlib."""

    def __init__(self, modules: tuple[str, ...] = ("isal", "deflate")) -> None:
        self.errors: tuple[Any, ...] = (zlib.error,)
        self.modules: list[str] = []
        self._use(zlib)
        for module in modules:
            try:
                self._use_isal() if module == "isal" else self._use_deflate()
                self.modules.append(module)
            except (ImportError, AttributeError):
                pass

    def _use(self, library: Any) -> None:
        self.whole: Callable[[Any, int], bytes] = _whole_with(library.decompress, library.decompressobj)
        self.stream: Callable[[int], Any] = library.decompressobj
        self.crc32: Callable[..., int] = library.crc32

    def _use_isal(self) -> None:
        from isal import isal_zlib

        self._use(isal_zlib)
        self.errors = (*self.errors, isal_zlib.error)

    def _use_deflate(self) -> None:
        import deflate

        inflate = deflate.deflate_decompress
        self.errors = (*self.errors, deflate.DeflateError)
        self.whole = lambda data, size: inflate(data, size) if size else zlib.decompressobj(-15).decompress(data, 1)
        if not self.modules:
            self.crc32 = deflate.crc32


def _whole_with(decompress: Callable[..., bytes], decompressobj: Callable[..., Any]) -> Callable[[Any, int], bytes]:
    def whole(data: Any, size: int) -> bytes:
        if len(data) <= ONE_CALL_BYTES:
            return decompress(data, -15, size or 1)
        stream = decompressobj(-15)
        out: bytes = stream.decompress(data, size + 1)
        if not stream.eof and len(out) <= size:
            raise zlib.error("the stream is not finished")
        return out

    return whole


_chosen = Inflate(())
_settled = False


def chosen() -> Inflate:
    """Return the functions in use in this interpreter."""
    return _chosen


def prepare(n_bytes: int | None) -> None:
    """Take the fastest libraries, once an archive of `n_bytes` makes them worth their import."""
    if not _settled and (n_bytes is None or n_bytes >= FAST_FROM_BYTES):
        choose(("isal", "deflate"))


def choose(modules: tuple[str, ...]) -> None:
    """Use these libraries and no others: what a helper process is told, and how a benchmark measures the plain path."""
    global _chosen, _settled
    _chosen, _settled = Inflate(modules), True
