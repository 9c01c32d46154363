"""Files of arrays: read and write idx, the format of MNIST; read Matlab's.

Of idx, http://yann.lecun.com/exdb/mnist/ says: two zero bytes, a byte for the type of the values, a byte for the number
of dimensions, each dimension as a big-endian 32-bit number, then the values in row-major order.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, needing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_AGAIN = "Next: stage it again with refresh=True: the download was probably cut short."


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an idx file of bytes."""
    return bytes([0, 0, 0x08, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def n_samples(path: Path) -> int:
    """Return how many samples the header of an idx file names."""
    with open(path, "rb") as file:
        return int.from_bytes(file.read(8)[4:], "big")


def read_idx(path: Path) -> NDArray[Any]:
    """Read an idx file that is not compressed: an array of the file's own type and shape, which may be written to."""
    import numpy as np

    data = path.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 0 < data[3] < 8:
        raise IntegrityError(f"{path.name} is not an idx file.", _AGAIN)
    dtype, n_dims = np.dtype(_TYPES[data[2]]), data[3]
    if len(data) < 4 + 4 * n_dims:
        raise IntegrityError(f"{path.name} ends within its header.", _AGAIN)
    shape = struct.unpack_from(f">{n_dims}I", data, 4)
    expected = dtype.itemsize * math.prod(shape)
    if len(data) != 4 + 4 * n_dims + expected:
        found = len(data) - 4 - 4 * n_dims
        raise IntegrityError(f"{path.name} has {found:,} bytes of values; its header says {expected:,}.", _AGAIN)
    values = np.frombuffer(data, dtype, offset=4 + 4 * n_dims).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def matlab(path: Path) -> dict[str, Any]:
    """Return the arrays of a Matlab file."""
    with needing(path.name, "scipy"):
        from scipy.io import loadmat
    try:
        found: dict[str, Any] = loadmat(str(path))
    except OSError:
        raise
    except Exception as error:  # of damage scipy has errors of many kinds, and none that all of them are
        raise IntegrityError(f"{path.name} is not a whole Matlab file: {error}.", _AGAIN) from error
    return found
