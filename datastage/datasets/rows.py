"""A digest of a table that does not depend on the order of its rows, and the splits that follow from rows' hashes.

Here: the digest, and which rows belong to a split. Not here: how a table is read (`tabular`, `mnist`, `iris`).

Each row is brought to one form, a short string of bytes, and hashed with SHA-256; the hashes are added as numbers
modulo 2 to the 256. Addition does not care for order and, other than exclusive or, counts a row that comes twice. For
data that nobody forges on purpose this is as good as the hash itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from datastage.errors import IntegrityError, SpecError

_MODULUS = 1 << 256


def digest(rows: Iterable[bytes]) -> str:
    """Return the digest of rows in any order, as 64 hexadecimal digits.

    Examples
    --------
    >>> digest([b"a", b"b"]) == digest([b"b", b"a"])
    True
    >>> digest([b"a", b"a"]) == digest([b"b", b"b"])
    False
    """
    total = sum(int.from_bytes(hashlib.sha256(row).digest(), "big") for row in rows)
    return f"{total % _MODULUS:064x}"


def is_test(row: bytes) -> bool:
    """Say whether a row belongs to the test split of a table that was published without one: about a fifth do.

    By the row's own hash, so that the split is the same on every machine and in every order of rows, and equal rows are
    never on both sides.

    Examples
    --------
    >>> is_test(b"5.1,3.5,1.4,0.2,setosa")
    False
    """
    return hashlib.sha256(row).digest()[0] < 51


def of_split(path: Path, split: str, parse: Callable[[bytes], Iterable[bytes]]) -> list[bytes]:
    """Return the rows of the table `path` that belong to a split: ``"train"``, ``"test"`` (`is_test`), or ``"all"``.

    Parameters
    ----------
    path : Path
        The staged table.
    split : str
        Which rows.
    parse : callable
        From the file's bytes to its rows; raises ValueError if it is not the table.

    Raises
    ------
    SpecError
        If there is no such split.
    IntegrityError
        If the file is not the table.
    """
    if split not in ("train", "test", "all"):
        raise SpecError(f"There is no split {split!r}.", "Next: one of train, test, all.")
    try:
        found = list(parse(path.read_bytes()))
    except ValueError as error:
        raise IntegrityError(f"{path.name}: {error}.", "Next: stage it again with refresh=True.") from None
    return [row for row in found if split == "all" or is_test(row) == (split == "test")]
