"""Read tar archives from front to back: ustar, pax, GNU long names, v7, sparse files in all four forms.

A parser of our own, since `tarfile` takes a damaged header for the end of the archive. References: POSIX.1-2001 (pax),
and the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".

The rules: T-EMPTY (no bytes), T-HEADER (a wrong checksum, noise), T-CUT (an end amid something; also the end of an
uncompressed tar that has no end block), T-SIZE, T-PAX, T-ORPHAN (a header for a member that does not come), T-SPARSE,
T-KIND (the rest of a file from another volume), T-END (bytes behind the end that are no further archive).

Here: headers and what they say. Not here: decompression (`streams`), whether a name is safe (`safety`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from datastage.archives.errors import Fault
from datastage.archives.streams import Bytes

BLOCK = 512
MAX_LONG_NAME = 1 << 16
MAX_PAX = 8 << 20
MAX_PIECES = 1 << 18  # of a sparse file
MAX_UNKNOWN = 10_000  # pax records of one header
_record = re.compile(rb"([0-9]{1,9}) ([^=\n][^=]*)=")
# What of a pax header means something here. The rest is not kept: a header may have a million records.
_KEYS = frozenset(
    (b"path", b"linkpath", b"size", b"mtime", b"GNU.sparse.name", b"GNU.sparse.size", b"GNU.sparse.map")
    + (b"GNU.sparse.major", b"GNU.sparse.realsize", b"GNU.sparse.offset", b"GNU.sparse.numbytes")
)
_KINDS = {b"1": "hardlink", b"2": "link", b"3": "character device", b"4": "block device", b"5": "folder", b"6": "FIFO"}


@dataclass(slots=True)
class TarMember:
    """One member: what its headers say. `pieces` gives the data as stored, and may be left half-way."""

    name: str
    kind: str
    size: int
    target: str
    mode: int | None
    mtime: float | None
    stored: int
    pieces: Callable[[], Iterator[memoryview]]
    sparse: list[tuple[int, int]] | None = None


def members(stream: Bytes, needs_end: bool) -> Iterator[TarMember]:
    """Give the members one by one; what of a member's data was not read is passed over.

    Parameters
    ----------
    stream : Bytes
        The bytes of the tar, decompressed.
    needs_end : bool
        Whether an end without an end block is an error: it is where nothing else shows that the bytes are all here.

    Raises
    ------
    Fault
        If the archive breaks a rule.
    """
    if not (block := stream.read(BLOCK)):
        raise Fault("T-EMPTY", "holds no bytes")
    pax_global: dict[str, bytes] = {}
    ended = False
    while True:
        member = None
        if block.count(0) == len(block):
            if not block:
                break
            ended = True
        else:
            if len(block) < BLOCK:
                raise Fault("T-CUT" if not ended else "T-END", "ends amid a header" if not ended else _BEHIND)
            try:
                member = _member(stream, block, pax_global)
            except Fault as fault:
                if ended and fault.rule == "T-HEADER":
                    raise Fault("T-END", _BEHIND) from None
                raise
            ended = False
        if member is not None:
            left = [member.stored]
            member.pieces = _reader(stream, left, member.name)
            yield member
            if stream.skip(left[0]) != left[0]:
                raise Fault("T-CUT", "is cut short", member.name)
            padding = -member.stored % BLOCK
            if stream.skip(padding) != padding and needs_end:
                raise Fault("T-CUT", "is cut short", member.name)
        block = stream.read(BLOCK)
    if needs_end and not ended:
        raise Fault("T-CUT", "stops without the blocks that end a tar")


_MANY = f"is a sparse file of over {MAX_PIECES:,} pieces"
_BEHIND = "has bytes behind its end that are no further archive"


def _reader(stream: Bytes, left: list[int], name: str) -> Callable[[], Iterator[memoryview]]:
    def pieces() -> Iterator[memoryview]:
        while left[0]:
            empty = True
            for piece in stream.pieces(left[0]):
                left[0] -= len(piece)
                empty = False
                yield piece
            if empty:
                raise Fault("T-CUT", "is cut short", name)

    return pieces


def _member(stream: Bytes, block: bytes, pax_global: dict[str, bytes]) -> TarMember | None:
    """Read one member's headers, the first being `block`. None for a header that says nothing of a member."""
    pax: dict[str, bytes] = {}
    sparse_pairs: list[tuple[str, bytes]] = []
    long_name = long_target = None
    pending = False
    n_bytes = 0
    while True:
        _check(block)
        kind = block[156:157]
        if kind in b"xXgLK":
            size = _number(block[124:136], "T-SIZE")
            limit = MAX_LONG_NAME if kind in b"LK" else MAX_PAX
            n_bytes += size
            if not 0 <= size <= limit or n_bytes > 2 * MAX_PAX:
                raise Fault("T-SIZE", f"has headers of {max(size, n_bytes):,} bytes for one member")
            data = stream.read(size)
            padding = stream.read(-size % BLOCK)
            if len(data) < size or len(padding) < -size % BLOCK:
                raise Fault("T-ORPHAN" if kind in b"LK" else "T-CUT", "ends amid a header")
            if kind == b"L":
                long_name = data.split(b"\0", 1)[0]
            elif kind == b"K":
                long_target = data.split(b"\0", 1)[0]
            elif kind == b"g":
                _pax(data, pax_global, [])
            else:
                _pax(data, pax, sparse_pairs)
            pending = pending or kind != b"g"
            block = stream.read(BLOCK)
            if block.count(0) == len(block):
                if not pending:
                    return None  # a global header alone, as of an empty git archive
                raise Fault("T-ORPHAN", "ends with the header of a member that does not come")
            if len(block) < BLOCK:
                raise Fault("T-CUT", "ends amid a header")
            continue
        break
    fields = {key: value for key, value in {**pax_global, **pax}.items() if value}
    member = _plain_member(block, fields, long_name, long_target)
    if member is None or member.kind != "file":
        return member
    return _sparse(stream, block, fields, sparse_pairs, member)


def _plain_member(
    block: bytes, pax: dict[str, bytes], long_name: bytes | None, long_target: bytes | None
) -> TarMember | None:
    kind_byte = block[156:157]
    if kind_byte == b"M":
        raise Fault("T-KIND", "is the rest of a file that began on another volume", _text(_cut(block[0:100])))
    size = _number(block[124:136], "T-SIZE")
    if "size" in pax:
        value = pax["size"]
        if not value.isdigit() or len(value) > 19:
            raise Fault("T-SIZE", "has a size that is no number", _text(_cut(block[0:100])))
        size = int(value)
    if size < 0 or size >= 1 << 62:
        raise Fault("T-SIZE", "has a size that cannot be", _text(_cut(block[0:100])))
    name = _cut(block[0:100])
    if block[257:263] == b"ustar\0":
        prefix = _cut(block[345:500])
        if prefix:
            name = prefix + b"/" + name
    name = long_name or name
    name = pax.get("path") or name
    target = pax.get("linkpath") or long_target or _cut(block[157:257])
    kind = _KINDS.get(kind_byte, "file")
    if kind_byte == b"V":
        return TarMember("", "label", 0, "", None, None, size, _no_pieces)
    stored = size
    if kind_byte == b"D":
        kind = "folder"
    elif kind != "file":
        stored = 0  # some tars note a size for folders and links, and store nothing
    elif name.endswith(b"/"):
        if size:
            raise Fault("D-KIND", "is a file with the name of a folder", _text(name))
        kind = "folder"
    return TarMember(
        name=_text(name),
        kind=kind,
        size=size if kind == "file" else 0,
        target=_text(target) if kind in ("link", "hardlink") else "",
        mode=_or_none(block[100:108]),
        mtime=_time(pax.get("mtime"), block[136:148]),
        stored=stored,
        pieces=_no_pieces,
    )


def _no_pieces() -> Iterator[memoryview]:
    return iter(())


def _cut(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _check(block: bytes) -> None:
    stored = _octal(block[148:156])
    unsigned = 256 + sum(block[:148]) + sum(block[156:])
    if stored == unsigned:
        return
    # Some old tars added the bytes as signed numbers.
    signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    if stored is None or stored != signed:
        raise Fault("T-HEADER", "has a block that should be a header and is none")


def _octal(field: bytes) -> int | None:
    digits = _cut(field).strip(b" ")
    if not digits:
        return None
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None


def _number(field: bytes, rule: str) -> int:
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - (1 << 8 * (len(field) - 1))
    number = _octal(field)
    if number is None:
        if not field.strip(b" \0"):
            return 0
        raise Fault(rule, "has a header with a size that is no number")
    return number


def _or_none(field: bytes) -> int | None:
    try:
        return _number(field, "T-FIELD")
    except Fault:
        return None


def _time(pax: bytes | None, field: bytes) -> float | None:
    value: float | None
    if pax is not None:
        try:
            value = float(pax)
        except ValueError:
            return None
    else:
        value = _or_none(field)
    if value is None or not -(1 << 40) < value < 1 << 40:
        return None
    return value


def _pax(data: bytes, into: dict[str, bytes], pairs: list[tuple[str, bytes]]) -> None:
    at = n_unknown = 0
    while at < len(data):
        match = _record.match(data, at)
        if match is None:
            if data.count(0, at) == len(data) - at:  # padding that some writers count in
                return
            raise Fault("T-PAX", "has a pax record that is malformed")
        end = at + int(match[1])
        if end <= match.end() or end > len(data) or data[end - 1] != 0x0A:
            raise Fault("T-PAX", "has a pax record whose length is wrong")
        value = data[match.end() : end - 1]
        at = end
        if match[2] not in _KEYS:
            n_unknown += 1
            if n_unknown > MAX_UNKNOWN:
                raise Fault("T-PAX", f"has over {MAX_UNKNOWN:,} pax records that mean nothing")
            continue
        key = match[2].decode("ascii")
        if key not in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            into[key] = value  # an empty one takes back what was said before, also in a global header
        elif len(pairs) < 2 * MAX_PIECES:
            pairs.append((key, value))
        else:
            raise Fault("T-SPARSE", _MANY)


def _sparse(
    stream: Bytes, block: bytes, pax: dict[str, bytes], pairs: list[tuple[str, bytes]], member: TarMember
) -> TarMember:
    """Fill in the map of a sparse file, in whichever form it is; other files come back as they are."""
    pieces: list[tuple[int, int]]
    if block[156:157] == b"S":
        pieces, size = _old_gnu_map(stream, block)
    elif pax.get("GNU.sparse.major") == b"1":
        size = _decimal(pax.get("GNU.sparse.realsize"))
        pieces, used = _map_in_data(stream, member.stored)
        member.stored -= used
    elif "GNU.sparse.map" in pax:
        size = _decimal(pax.get("GNU.sparse.size"))
        if pax["GNU.sparse.map"].count(b",") > 2 * MAX_PIECES:
            raise Fault("T-SPARSE", _MANY)
        numbers = [_decimal(text) for text in pax["GNU.sparse.map"].split(b",")]
        pieces = _paired(numbers)
    elif pairs:
        size = _decimal(pax.get("GNU.sparse.size"))
        for nth, (key, _) in enumerate(pairs):
            if key != ("GNU.sparse.numbytes" if nth % 2 else "GNU.sparse.offset"):
                raise Fault("T-SPARSE", "has a map of a sparse file that is malformed", member.name)
        pieces = _paired([_decimal(text) for _, text in pairs])
    else:
        return member
    if "GNU.sparse.name" in pax:
        member.name = _text(pax["GNU.sparse.name"])
    end = total = 0
    for offset, n in pieces:
        if offset < end or n < 0 or offset + n > size:
            raise Fault("T-SPARSE", "has a map that overlaps, goes backwards or exceeds the file", member.name)
        end = offset + n
        total += n
    if total != member.stored:
        raise Fault("T-SPARSE", "has a map that does not fit its data", member.name)
    member.sparse = pieces
    member.size = size
    return member


def _decimal(text: bytes | None) -> int:
    if text is None or not text.isdigit() or len(text) > 19:
        raise Fault("T-SPARSE", "has a map of a sparse file that is malformed")
    return int(text)


def _paired(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise Fault("T-SPARSE", "has a map of a sparse file with a number missing")
    return list(zip(numbers[::2], numbers[1::2]))


def _old_gnu_map(stream: Bytes, block: bytes) -> tuple[list[tuple[int, int]], int]:
    size = _number(block[483:495], "T-SPARSE")
    pieces: list[tuple[int, int]] = []
    area, more = block[386:482], block[482]
    while True:
        for at in range(0, len(area) - 23, 24):
            if not area[at : at + 24].strip(b"\0"):
                continue
            offset = _number(area[at : at + 12], "T-SPARSE")
            n = _number(area[at + 12 : at + 24], "T-SPARSE")
            pieces.append((offset, n))
        if not more:
            return pieces, size
        extension = stream.read(BLOCK)
        if len(extension) < BLOCK:
            raise Fault("T-CUT", "ends amid the map of a sparse file")
        if len(pieces) > MAX_PIECES:
            raise Fault("T-SPARSE", _MANY)
        area, more = extension[:504], extension[504]


def _map_in_data(stream: Bytes, stored: int) -> tuple[list[tuple[int, int]], int]:
    data = b""
    used = 0
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        at = data.find(b"\n")
        if at < 0:
            if len(data) > 64 or used >= stored:
                raise Fault("T-SPARSE", "has a map of a sparse file that is malformed")
            block = stream.read(BLOCK)
            used += BLOCK
            if len(block) < BLOCK:
                raise Fault("T-CUT", "ends amid the map of a sparse file")
            data += block
            continue
        numbers.append(_decimal(data[:at]))
        data = data[at + 1 :]
        if len(numbers) == 1:
            if numbers[0] * 4 > stored:
                raise Fault("T-SPARSE", "has a map longer than its data")
            if numbers[0] > MAX_PIECES:
                raise Fault("T-SPARSE", _MANY)
            wanted = 1 + 2 * numbers[0]
    if used > stored:
        raise Fault("T-SPARSE", "has a map longer than its data")
    return _paired(numbers[1:]), used
