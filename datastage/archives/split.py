"""Archives cut into parts, read where all lie: .z01 .zip, .zip.001, .part1.rar, .rar .r00, what `split` makes."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import string
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from datastage.archives import formats
from datastage.archives.errors import Fault, error_of, faults_of
from datastage.archives.names import is_part
from datastage.archives.zip_entry import ENTRY_BYTES, ZipEntry
from datastage.errors import DatastageError
from datastage.reader import FileReader, Reader

# Whose parts may each begin as an archive does.
_VOLUME = re.compile(r"(?i)\.(zipx?|z\d\d+|rar|[rs]\d\d)$")
_LAST = (".zip", ".zipx")  # how the last part of a split zip is called
_TAIL_BYTES = 65_557  # the longest comment of a zip, and its end record


class JoinedReader(Reader):
    """Parts that lie beside each other as one file.

    Parts that were put into one file by hand, as `cat` does, were of `part_bytes` each, but for the last.
    """

    size: int
    part_bytes: int | None = None

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.name, self.paths = name, tuple(paths)
        self._files = [FileReader(path) for path in paths]
        self._sizes = [file.size for file in self._files]
        self.size = sum(self._sizes)
        self.part_files = {str(path): file.identity for path, file in zip(paths, self._files)}
        self.identity = hashlib.sha256("\n".join(self.part_files.values()).encode()).hexdigest()[:32]
        self._tail_at, self._tail = self.size, b""

    def put_tail(self, at: int, tail: bytes) -> None:
        """Have `tail` stand from `at` on, in place of what is there."""
        self._tail_at, self._tail, self.size = at, tail, at + len(tail)

    def start_of(self, nth: int) -> int:
        """Return where a part begins."""
        return sum(self._sizes[:nth]) if self.part_bytes is None else nth * self.part_bytes

    def read_at(self, offset: int, n: int) -> bytes:
        pieces, start = [], 0
        end = min(offset + n, self._tail_at)
        for file, size in zip(self._files, self._sizes):
            if offset < start + size and offset < end:
                pieces.append(file.read_at(offset - start, min(end, start + size) - offset))
                offset += len(pieces[-1])
                n -= len(pieces[-1])
            start += size
        if n > 0 and offset >= self._tail_at:
            pieces.append(self._tail[offset - self._tail_at :][:n])
        return b"".join(pieces)

    def close(self) -> None:
        for file in self._files:
            file.close()


def joined(path: Path) -> JoinedReader | None:
    """Return a reader of the archive that `path` is one part of; None where it is no part. Missing parts are named."""

    def exists(name: str) -> bool:
        return (path.parent / name).is_file()

    try:
        if re.fullmatch(r"(?i).*\.(zipx?|z\d\d+)", path.name):
            parts = _split_zip(path, exists)
            if len(parts) < 2:
                return _renamed(path, _numbered(path.name, exists))
        else:
            parts = _old_rar(path.name, exists) or _numbered(path.name, exists) or _lettered(path.name, exists)
        if len(parts) < 2:
            return None
        missing = [part for part in parts if not exists(part)]
        if missing and path.name == parts[-1] and (whole := _glued(path)):
            return whole
        if not _VOLUME.search(path.name):
            late = [name for name in (path.name, parts[1]) if name != parts[0] and exists(name)]
            if any(_begins(path.parent / name) for name in late):
                return None  # whole archives with a number behind their names, as of a year, or of wget
        is_sure = is_part(path.name) or path.suffix.lower() in _LAST or is_part(parts[1])
        if missing and is_sure:
            others = ", ".join(missing[:3]) + " and others" * (len(missing) > 3)
            raise Fault("P-PART", f"is one part of several, and these are not beside it: {others}")
        if missing or not (is_sure or _begins(path.parent / parts[0])):
            return None
        reader = JoinedReader([path.parent / part for part in parts], _whole_name(parts))
        if parts[-1].lower().endswith(_LAST):
            with faults_of(parts[-1]):
                _put_right(reader)
        return reader
    except Fault as fault:
        raise error_of(fault, path.name) from None
    except OSError:
        return None  # opening the file itself says what is wrong


def _renamed(path: Path, names: list[str]) -> JoinedReader | None:
    """Return a reader of a zip whose parts were each given the ending of one: x_part1.zip, x_part2.zip."""
    parts = [path.parent / name for name in names]
    if len(parts) < 2 or not all(part.is_file() for part in parts) or not _begins(parts[0]) or _begins(parts[1]):
        return None
    with FileReader(parts[0]) as first:
        if _end_of(first)[2] >= 0:
            return None  # whole, and the others are something else
    return JoinedReader(parts, _whole_name(names[:-1] + [names[-1][:-4]]))


def _begins(path: Path) -> bool:
    """Tell whether a file begins as an archive does."""
    with FileReader(path) as reader:
        return begins(reader)


def begins(reader: Reader) -> bool:
    """Tell whether a file begins as an archive does, which no late part of one does that was cut anywhere."""
    head = reader.read_at(0, formats.HEAD_BYTES)
    return bool(head.strip(b"\0")) and any(row.fits(head) for row in formats.FORMATS)


def comes_alone(reader: Reader) -> bool:
    """Tell whether what is called like a part surely is one; one of this machine that may be whole is looked at."""
    is_late = int(re.findall(r"\d+", reader.name)[-1]) > 1
    return bool(_VOLUME.search(reader.name)) or not begins(reader) or (reader.local_path is None and not is_late)


def _whole_name(parts: list[str]) -> str:
    if parts[0].lower().endswith(".rar"):
        return re.sub(r"(?i)\.part\d+(?=\.rar$)", "", parts[0])
    if parts[-1].lower().endswith(_LAST):
        return parts[-1]
    name = re.sub(r"[-_. ]*(part)?[-_. ]*$", "", os.path.commonprefix(parts).rstrip("0a"), flags=re.I)
    return name or parts[0]


def _split_zip(path: Path, exists: Callable[[str], bool]) -> list[str]:
    """Return the parts of a zip that was cut by `zip -s`, WinZip or the like: its last one is the .zip."""
    stem, letter, number = path.stem, path.suffix[1], path.suffix[2:]
    lasts = [f"{stem}{suffix}" for suffix in (*_LAST, *map(str.upper, _LAST))]
    last = next(filter(exists, lasts), lasts[0] if letter == "z" else lasts[2])
    n = _disk(path.parent / last) if exists(last) else 0
    if number.isdigit():
        n = max(n, int(number))
    names = ([f"{stem}.{z}{nth:02}" for z in (letter, letter.swapcase())] for nth in range(1, n + 1))
    return [*(next(filter(exists, each), each[0]) for each in names), last]


def _old_rar(name: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the parts of a rar as they were called before .part1.rar: .rar .r00 ... .r99 .s00 ..."""
    match = re.fullmatch(r"(?i)(.*\.)(?:(r)ar|([rs])(\d\d))", name)
    if match is None:
        return []
    first = next(filter(exists, (match[1] + "rar", match[1] + "RAR")), match[1] + "rar")
    r = match[2] or chr(ord(match[3]) - (match[3] in "sS"))
    names = [f"{match[1]}{chr(ord(r) + nth // 100)}{nth % 100:02}" for nth in range(200)]
    n = names.index(name) + 1 if name in names else 0
    while any(exists(more) for more in names[n : n + 3]):
        n += 1
    return [first, *names[:n]] if n else []


def _numbered(name: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the parts that numbers tell apart, from the first to the highest; one that is missing amid them too."""
    match = re.fullmatch(r"(?i)(.*?)(\d+)(\.rar|\.zip)?", name)
    if match is None or ((match[3] or "").lower() == ".rar" and not match[1].lower().endswith(".part")):
        return []
    before, number, after = match[1], match[2], match[3] or ""
    firsts = [(width, first) for width in (len(number), 1) for first in (0, 1)]
    there = (one for one in firsts if exists(f"{before}{one[1]:0{one[0]}}{after}"))
    width, first = next(there, (len(number), 1))
    highest = max(first, int(number)) if width == len(number) or number[0] != "0" else first
    while any(exists(f"{before}{highest + more:0{width}}{after}") for more in (1, 2, 3)):
        highest += 1
    if highest - first > 9_999:
        return []
    return [f"{before}{nth:0{width}}{after}" for nth in range(first, highest + 1)]


def _lettered(name: str, exists: Callable[[str], bool]) -> list[str]:
    """Return the parts that `split` told apart by letters: xaa, xab, ..."""
    for width in (2, 3, 4):
        before, ending = name[:-width], name[-width:]
        if not re.fullmatch(r"[a-z]+", ending) or not exists(before + "a" * width):
            continue
        parts: list[str] = []
        for letters in itertools.product(string.ascii_lowercase, repeat=width):
            part = before + "".join(letters)
            if not exists(part):
                return parts if name in parts else []
            parts.append(part)
    return []


def _end_of(reader: Reader) -> tuple[int, bytes, int]:
    """Return where the last bytes of a zip begin, these, and where its end record is in them; -1 for none."""
    tail_at = max(0, (reader.size or 0) - _TAIL_BYTES)
    tail = reader.read_at(tail_at, _TAIL_BYTES)
    return tail_at, tail, tail.rfind(b"PK\5\6")


def _disk(path: Path) -> int:
    """Return the number of the part that a zip's end record says it is."""
    with FileReader(path) as reader:
        _, tail, end = _end_of(reader)
    number = int.from_bytes(tail[end + 4 : end + 6], "little") if end >= 0 else 0
    return number if number != 0xFFFF else int.from_bytes(tail[end - 4 : end], "little") - 1


def _glued(path: Path) -> JoinedReader | None:
    """Return a reader of a split zip that was put together by hand, or is whole; None where it is not that."""
    reader = JoinedReader([path], path.name)
    try:
        if path.suffix.lower() in _LAST and reader.read_at(0, 8).startswith((b"PK\7\x08PK\3\4", b"PK\3\4")):
            start, _, _, cd_disk, cd_offset = _directory_of(reader)
            reader.part_bytes, rest = divmod(start - cd_offset, cd_disk or 1)
            if not rest:
                _put_right(reader)
                reader.paths = ()  # a tool is given what is read here: it would look for the parts again
                return reader
    except Fault:
        pass
    reader.close()
    return None


def _directory_of(reader: JoinedReader) -> tuple[int, int, int, int, int]:
    """Return where the directory of a split zip begins, its size and count, and the part and place it is said to be."""
    tail_at, tail, end = _end_of(reader)
    if not 0 <= end <= len(tail) - 22:
        raise Fault("Z-END", "has no end record: it is no zip, or its end is missing")
    cd_disk, _, count, cd_size, cd_offset = struct.unpack_from("<HHHLL", tail, end + 6)
    if tail[end - 20 : end - 16] == b"PK\6\7" and end >= 76:
        end -= 76
        cd_disk, _, count, cd_size, cd_offset = struct.unpack_from("<LQQQQ", tail, end + 20)
    if tail_at + end < cd_size:
        raise Fault("Z-END", "has an end record that does not fit: part of the archive is missing")
    return tail_at + end - cd_size, cd_size, count, cd_disk, cd_offset


def _put_right(reader: JoinedReader) -> None:
    """Write the directory of a split zip anew: its offsets count from the part that a member begins in."""
    start, cd_size, count, _, _ = _directory_of(reader)
    data, at, out = reader.read_at(start, cd_size), 0, bytearray()
    while data[at : at + 4] == b"PK\1\2" and at + ENTRY_BYTES <= len(data):  # one that is cut is missed by the count
        entry = ZipEntry(data, at)
        n_name, n_extra, n_comment, part = struct.unpack_from("<HHHH", data, at + 28)
        offset = reader.start_of(part) + entry.offset
        if reader.part_bytes is not None and reader.read_at(offset, 4) != b"PK\3\4":
            raise Fault("Z-LOCAL", "has no header before its data", entry.shown_name)
        extra = struct.pack("<HHQQQ", 1, 24, entry.usize, entry.csize, offset) + entry.extra
        out += data[at : at + 20] + b"\xff" * 8 + struct.pack("<HHHH", n_name, len(extra), n_comment, 0)
        out += data[at + 36 : at + 42] + b"\xff" * 4 + entry.raw_name + extra
        at += 46 + n_name + n_extra + n_comment
        out += data[at - n_comment : at]
    out += struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(out), start)
    out += struct.pack("<4sLQL", b"PK\6\7", 0, start + len(out) - 56, 1)
    out += struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    reader.put_tail(start, bytes(out))


def part_error(name: str) -> DatastageError:
    """Return the error for one part that came alone, as from an address."""
    return error_of(Fault("P-PART", "is one part of several"), name)
