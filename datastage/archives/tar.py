"""Read tar archives from front to back: ustar, pax, GNU long names, v7, sparse files in all four forms.

A parser of our own, since `tarfile` takes a damaged header for the end of the archive. References: POSIX.1-2001 (pax),
and the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".

The rules: T-EMPTY (no bytes), T-HEADER (a wrong checksum, noise), T-CUT (an end amid something; also the end of an
uncompressed tar that has no end block), T-SIZE, T-PAX, T-ORPHAN (a header for a member that does not come), T-SPARSE,
T-KIND (the rest of a file from another volume).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from datastage.archives.errors import Fault
from datastage.archives.records import StreamMember
from datastage.archives.streams import Bytes, Part

BLOCK = 512
MAX_LONG_NAME = 1 << 16
MAX_PAX = 8 << 20
MAX_PIECES = 1 << 18  # of a sparse file
MAX_UNKNOWN = 10_000  # pax records of one header
_is_octal = re.compile(rb"[0-7]+").fullmatch
_record = re.compile(rb"([0-9]{1,9}) ([^=\n][^=]*)=")
# What of a pax header means something here. The rest is not kept: a header may have a million records.
_KEYS = frozenset(
    (b"path", b"linkpath", b"size", b"mtime", b"GNU.sparse.name", b"GNU.sparse.size", b"GNU.sparse.map")
    + (b"GNU.sparse.major", b"GNU.sparse.realsize", b"GNU.sparse.offset", b"GNU.sparse.numbytes")
)
_KINDS = {
    b"1": "hardlink", b"2": "link", b"3": "character device", b"4": "block device", b"5": "folder", b"6": "FIFO",
    b"D": "folder",
}  # fmt: skip


def members(stream: Bytes, needs_end: bool, encoding: str | None = None) -> Iterator[StreamMember]:
    """Give the members one by one; what of a member's data was not read is passed over.

    With `needs_end`, an end without an end block is an error: it is where nothing else shows that all bytes are here.
    Names that are not UTF-8 are read in `encoding`, or stand as they are.
    """
    if not (block := stream.read(BLOCK)):
        raise Fault("T-EMPTY", "holds no bytes")
    pax_global: dict[str, bytes] = {}
    ended = began = False
    while block:
        if block.count(0) == len(block):
            ended = True
        elif ended and not is_header(block):
            if not began:
                raise Fault("T-HEADER", "begins with the end of a tar, and bytes that are none lie behind it")
            break  # what other tools left behind the end; every one of them stops there
        elif len(block) < BLOCK:
            raise Fault("T-CUT", "ends amid a header")
        else:
            ended, began = False, True
            member, stored = _member(stream, block, pax_global)
            cut_short = Fault("T-CUT", "is cut short", member.name if member else "")
            part = Part(stream, stored, cut_short)
            if member is not None:
                if encoding is not None:
                    member.name, member.target = _in(encoding, member.name), _in(encoding, member.target)
                member.pieces = part.pieces
                yield member
            part.skip()
            padding = -stored % BLOCK
            if stream.skip(padding) != padding and needs_end:
                raise cut_short
        block = stream.read(BLOCK)
    if needs_end and not ended:
        raise Fault("T-CUT", "stops without the blocks that end a tar")
    stream.skip(1 << 62)  # its compression shows only at its end that it is whole


_MANY = f"is a sparse file of over {MAX_PIECES:,} pieces"


def _member(stream: Bytes, block: bytes, pax_global: dict[str, bytes]) -> tuple[StreamMember | None, int]:
    """Read the headers of one member, the first being `block`. Return it, if it is a file of ours, and its length."""
    pax: dict[str, bytes] = {}
    pairs: list[tuple[str, bytes]] = []
    block, long_name, long_target = _headers(stream, block, pax_global, pax, pairs)
    if not block:
        return None, 0
    fields = {key: value for key, value in {**pax_global, **pax}.items() if value}
    name = _cut(block[0:100])
    if block[257:263] == b"ustar\0" and (prefix := _cut(block[345:500])):
        name = prefix + b"/" + name
    name = fields.get("path") or long_name or name
    stored = _size(block, fields)
    kind = block[156:157]
    if kind == b"M":
        raise Fault("T-KIND", "is the rest of a file that began on another volume", _text(name))
    if kind in b"VA":
        return None, stored  # the label of a volume; the access list of Solaris for the file that follows
    word = _KINDS.get(kind, "file")
    if word == "file" and name.endswith(b"/"):
        if stored and kind != b"\0":
            raise Fault("D-KIND", "is a file with the name of a folder", _text(name))
        word, stored = "folder", 0  # as tars wrote folders before there were kinds, with any size and no data
    elif word != "file" and kind != b"D":
        stored = 0  # some tars note a size for folders and links, and store nothing
    target = fields.get("linkpath") or long_target or _cut(block[157:257])
    member = StreamMember(
        name=_text(name),
        kind=word,
        size=stored,
        target=_text(target) if word in ("link", "hardlink") else "",
        mode=_or_none(block[100:108]),
        mtime=_time(fields.get("mtime"), block[136:148]),
    )
    if word == "file":
        stored -= _read_sparse(stream, block, fields, pairs, member)
    return member, stored


def _headers(
    stream: Bytes, block: bytes, pax_global: dict[str, bytes], pax: dict[str, bytes], pairs: list[tuple[str, bytes]]
) -> tuple[bytes, bytes, bytes]:
    """Read what stands before a member's own header. Return that header, the long name and the long target."""
    long_name = long_target = b""
    n_bytes = 0
    pending = False
    while True:
        if not is_header(block):
            raise Fault("T-HEADER", "has a block that should be a header and is none")
        kind = block[156:157]
        if kind not in b"xXgLK":
            return block, long_name, long_target
        size = _number(block[124:136], "T-SIZE")
        n_bytes += size
        if not 0 <= size <= (MAX_LONG_NAME if kind in b"LK" else MAX_PAX) or n_bytes > 2 * MAX_PAX:
            raise Fault("T-SIZE", f"has headers of {max(size, n_bytes):,} bytes for one member")
        cut_short = Fault("T-ORPHAN" if kind in b"LK" else "T-CUT", "ends amid a header")
        data = stream.exactly(size, cut_short)
        stream.pass_over(-size % BLOCK, cut_short)
        if kind == b"L":
            long_name = _cut(data)
        elif kind == b"K":
            long_target = _cut(data)
        else:
            _read_pax(data, pax_global if kind == b"g" else pax, [] if kind == b"g" else pairs)
        pending = pending or kind != b"g"
        block = stream.read(BLOCK)
        if block.count(0) == len(block):
            if not pending:
                return b"", b"", b""  # a global header alone, as of an empty git archive
            raise Fault("T-ORPHAN", "ends with the header of a member that does not come")
        if len(block) < BLOCK:
            raise Fault("T-CUT", "ends amid a header")


def _size(block: bytes, pax: dict[str, bytes]) -> int:
    size, text = _number(block[124:136], "T-SIZE"), pax.get("size", b"0")
    if not text.isdigit() or len(text) > 19:
        raise Fault("T-SIZE", "has a size that is no number", _text(_cut(block[0:100])))
    size = int(text) if "size" in pax else size
    if not 0 <= size < 1 << 62:
        raise Fault("T-SIZE", "has a size that cannot be", _text(_cut(block[0:100])))
    return size


def is_header(block: bytes) -> bool:
    """Return whether a file or a block begins with a tar header whose checksum is right, or with a block of zeros."""
    block = block[:BLOCK]
    if len(block) < BLOCK:
        return False
    if block.count(0) == BLOCK:
        return True
    found = _octal(block[148:156])
    unsigned = 256 + sum(block[:148]) + sum(block[156:])
    # Some old tars added the bytes as signed numbers.
    return found == unsigned or found == unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _cut(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _in(encoding: str, text: str) -> str:
    return text if text.isprintable() else text.encode("utf-8", "surrogateescape").decode(encoding, "surrogateescape")


def _octal(field: bytes) -> int | None:
    digits = _cut(field).strip(b" ")
    return int(digits, 8) if _is_octal(digits) else None


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
    try:
        value = _or_none(field) if pax is None else float(pax)
    except ValueError:
        return None
    return value if value is not None and -(1 << 40) < value < 1 << 40 else None


def _read_pax(data: bytes, into: dict[str, bytes], pairs: list[tuple[str, bytes]]) -> None:
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


def _read_sparse(
    stream: Bytes, block: bytes, pax: dict[str, bytes], pairs: list[tuple[str, bytes]], member: StreamMember
) -> int:
    """Fill in the map of a sparse file, in whichever form it is. Return how many bytes of the data the map took."""
    pieces: list[tuple[int, int]]
    stored, used = member.size, 0
    if block[156:157] == b"S":
        pieces, size = _old_gnu_map(stream, block)
    elif pax.get("GNU.sparse.major") == b"1":
        size = _decimal(pax.get("GNU.sparse.realsize"))
        pieces, used = _map_in_data(stream, stored)
    elif "GNU.sparse.map" in pax:
        size = _decimal(pax.get("GNU.sparse.size"))
        if pax["GNU.sparse.map"].count(b",") > 2 * MAX_PIECES:
            raise Fault("T-SPARSE", _MANY)
        pieces = _paired([_decimal(text) for text in pax["GNU.sparse.map"].split(b",")])
    elif pairs:
        size = _decimal(pax.get("GNU.sparse.size"))
        for nth, (key, _) in enumerate(pairs):
            if key != ("GNU.sparse.numbytes" if nth % 2 else "GNU.sparse.offset"):
                raise Fault("T-SPARSE", "has a map of a sparse file that is malformed", member.name)
        pieces = _paired([_decimal(text) for _, text in pairs])
    elif any(key.startswith("GNU.sparse.") for key in pax):
        raise Fault("T-SPARSE", "is said to be sparse, and has no map", member.name)
    else:
        return 0
    if "GNU.sparse.name" in pax:
        member.name = _text(pax["GNU.sparse.name"])
    end = total = 0
    for offset, n in pieces:
        if offset < end or n < 0 or offset + n > size:
            raise Fault("T-SPARSE", "has a map that overlaps, goes backwards or exceeds the file", member.name)
        end = offset + n
        total += n
    if total != stored - used:
        raise Fault("T-SPARSE", "has a map that does not fit its data", member.name)
    member.sparse, member.size = pieces, size
    return used


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
            pieces.append((_number(area[at : at + 12], "T-SPARSE"), _number(area[at + 12 : at + 24], "T-SPARSE")))
        if not more:
            return pieces, size
        extension = stream.exactly(BLOCK, Fault("T-CUT", "ends amid the map of a sparse file"))
        if len(pieces) > MAX_PIECES:
            raise Fault("T-SPARSE", _MANY)
        area, more = extension[:504], extension[504]


def _map_in_data(stream: Bytes, stored: int) -> tuple[list[tuple[int, int]], int]:
    data, used = b"", 0

    def number() -> int:
        nonlocal data, used
        while b"\n" not in data:
            if len(data) > 64 or used >= stored:
                raise Fault("T-SPARSE", "has a map of a sparse file that is malformed")
            data += stream.exactly(BLOCK, Fault("T-CUT", "ends amid the map of a sparse file"))
            used += BLOCK
        text, _, data = data.partition(b"\n")
        return _decimal(text)

    n = number()
    if n > MAX_PIECES and n * 4 <= stored:
        raise Fault("T-SPARSE", _MANY)
    numbers = [number() for _ in range(2 * n)] if n * 4 <= stored else []
    if n * 4 > stored or used > stored:
        raise Fault("T-SPARSE", "has a map longer than its data")
    return _paired(numbers), used
