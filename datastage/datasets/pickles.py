"""Read the pickles of CIFAR, and nothing else that a pickle can do.

A pickle is a program. Here it can build dictionaries, lists, texts, bytes, numbers and arrays of bytes; every other
name that it asks for is refused. numpy's own functions are never called: the array's bytes are taken as they lie there.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from datastage.errors import IntegrityError


def load(data: bytes, name: str = "the file") -> Any:
    """Read a pickle, of Python 2 or 3, that holds dictionaries, lists, texts, numbers and arrays of bytes.

    Texts of Python 2 come as bytes, arrays as `PickledArray`. Whatever else it asks for is an `IntegrityError`: it may
    be hostile, and nothing of it was run.
    """
    try:
        return _Careful(io.BytesIO(data), encoding="bytes").load()
    except IntegrityError as error:
        raise IntegrityError(f"{name} {error.args[0]}", *error.remedy) from None
    except RecursionError:
        raise IntegrityError(f"{name} is nested without end.", _AGAIN) from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise IntegrityError(f"{name} is not a whole pickle ({type(error).__name__}: {error}).", _AGAIN) from None


_AGAIN = "Next: stage it again with refresh=True: the download was probably cut short."
_REFUSED = "Do not open this file with pickle. Next: stage the published file again with refresh=True."


class PickledArray:
    """An array of bytes in a pickle; without any until its state comes."""

    shape: tuple[int, ...] = ()
    data = b""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or fortran:
            raise IntegrityError("holds an array of objects, which this dataset does not have.", _REFUSED)
        self.shape, self.data = tuple(int(n) for n in shape), data


class _Dtype:
    """Stands in for an array's type; byte order matters to none that is admitted."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        name = name.decode("ascii") if isinstance(name, bytes) else name
        if name not in ("u1", "|u1"):
            raise IntegrityError(f"holds an array of {name}, which this dataset does not have.", _REFUSED)

    def __setstate__(self, state: object) -> None:
        """Take no notice: one byte has no order."""


class _Ndarray:
    """The class of arrays: only ever handed on."""

    def __new__(cls, *_: object) -> _Ndarray:
        raise IntegrityError("makes an array in a way that this dataset does not.", _REFUSED)


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    # Python 3 writes bytes like this under protocol 2, which both Pythons read.
    ("_codecs", "encode"): lambda text, encoding="latin1": text.encode("latin1"),
}


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise IntegrityError(
                f"asks to run {module}.{name}, which no data needs: it was not run.", _REFUSED
            ) from None

    def persistent_load(self, pid: object) -> Any:
        raise IntegrityError("asks for something outside the file, which no data needs.", _REFUSED)
