"""Inflate and CRC-32 through the fastest library that is installed: one small table.

============  =================  =================  ==========
library       whole members      long streams       CRC-32
============  =================  =================  ==========
deflate       1                                     2
isal          2                  1                  1
zlib-ng       3                  2                  3
zlib          4 (always there)   3                  4
============  =================  =================  ==========

The numbers are the order in which they are taken. rapidgzip is not in it: it needs more memory than the bound allows.

Here: choosing, and the one way each is called. Not here: who calls. Helper processes import this module, so it imports
nothing heavy.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A stream of n bytes cannot inflate to more than 1,032 n: below this, inflating in one go needs no limit.
ONE_GO_BYTES = 4096


class Inflate:
    """The functions chosen.

    Attributes
    ----------
    name : str
        The libraries, for the record: ``"deflate, isal"``.
    errors : tuple of exception classes
        What they raise when the data is damaged.
    whole : callable
        ``whole(data, size)`` inflates a raw stream; never makes much more than `size` bytes.
    stream : callable
        ``stream(wbits)`` makes an object like that of ``zlib.decompressobj``.
    crc32 : callable
        As in zlib.
    """

    def __init__(self, modules: tuple[str, ...] = ("deflate", "isal", "zlib_ng")) -> None:
        self.errors: tuple[Any, ...] = (zlib.error,)
        self.whole: Callable[[Any, int], bytes] = _whole_with(zlib.decompress, zlib.decompressobj)
        self.stream: Callable[[int], Any] = zlib.decompressobj
        self.crc32: Callable[..., int] = zlib.crc32
        self.modules: list[str] = []
        for module in reversed(modules):  # the best is taken last
            try:
                {"zlib_ng": self._take_zlib_ng, "isal": self._take_isal, "deflate": self._take_deflate}[module]()
                self.modules.append(module)
            except (ImportError, AttributeError):
                pass
        self.name = ", ".join(reversed(self.modules)) or "zlib"

    def _take_zlib_ng(self) -> None:
        from zlib_ng import zlib_ng

        self.errors = (*self.errors, zlib_ng.error)
        self.whole = _whole_with(zlib_ng.decompress, zlib_ng.decompressobj)
        self.stream = zlib_ng.decompressobj
        self.crc32 = zlib_ng.crc32

    def _take_isal(self) -> None:
        from isal import isal_zlib

        self.errors = (*self.errors, isal_zlib.error)
        self.whole = _whole_with(isal_zlib.decompress, isal_zlib.decompressobj)
        self.stream = isal_zlib.decompressobj
        self.crc32 = isal_zlib.crc32

    def _take_deflate(self) -> None:
        import deflate

        self.errors = (*self.errors, deflate.DeflateError)
        inflate = deflate.deflate_decompress

        def whole(data: Any, size: int) -> bytes:
            return inflate(data, size) if size else _nothing(data)

        self.whole = whole
        if not any(module == "isal" for module in self.modules):
            self.crc32 = deflate.crc32


def _nothing(data: Any) -> bytes:
    stream = zlib.decompressobj(-15)
    return stream.decompress(data, 1)


def _whole_with(decompress: Callable[..., bytes], decompressobj: Callable[..., Any]) -> Callable[[Any, int], bytes]:
    def whole(data: Any, size: int) -> bytes:
        if len(data) <= ONE_GO_BYTES:
            return decompress(data, -15, size or 1)
        stream = decompressobj(-15)
        out: bytes = stream.decompress(data, size + 1)
        if not stream.eof and len(out) <= size:
            raise zlib.error("the stream is not finished")
        return out

    return whole


# Importing the libraries takes some 2 ms, which a small archive must not pay.
FAST_FROM_BYTES = 4 << 20

_chosen = Inflate(())
_settled = False


def chosen() -> Inflate:
    """Return the functions in use in this interpreter."""
    return _chosen


def prepare(n_bytes: int | None) -> None:
    """Take the fastest libraries, once an archive of `n_bytes` makes them worth their import."""
    global _chosen, _settled
    if not _settled and (n_bytes is None or n_bytes >= FAST_FROM_BYTES):
        _chosen, _settled = Inflate(), True


def choose(modules: tuple[str, ...]) -> None:
    """Use these libraries and no others: what a helper process is told, and how a benchmark measures the plain path."""
    global _chosen, _settled
    _chosen, _settled = Inflate(modules), True


def crc32_of_zeros(crc: int, n: int) -> int:
    """Return the CRC-32 of what had `crc` with `n` zero bytes behind it, without making them (crc32_combine)."""
    if not n:
        return crc
    crc ^= 0xFFFFFFFF
    nth = 0
    while n >> nth:
        if nth == len(_operators):
            _operators.append(_square(_operators[-1]))
        if n >> nth & 1:
            crc = _times(_operators[nth], crc)
        nth += 1
    return crc ^ 0xFFFFFFFF


def _times(matrix: list[int], vector: int) -> int:
    total = 0
    for row in matrix:
        if not vector:
            break
        if vector & 1:
            total ^= row
        vector >>= 1
    return total


def _square(matrix: list[int]) -> list[int]:
    return [_times(matrix, row) for row in matrix]


# What 1, 2, 4, ... zero bytes do to a CRC; kept, since a sparse file may have many holes. The first is for one bit.
_operators = [_square(_square(_square([0xEDB88320, *(1 << i for i in range(31))])))]
