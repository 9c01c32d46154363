"""Archives written by hand, so that each field can be written wrongly; and what becomes of one."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from datastage.archives import unpack
from datastage.errors import DatastageError
from datastage.reader import BytesReader, Reader

from .made import tree

FILE, FOLDER, LINK = 0o100644, 0o040755, 0o120777
END_BLOCKS = bytes(1024)


def deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(data) + squeezer.flush()


def zip_entry(name, data: bytes = b"", method: int = 0, mode: int = FILE, **more) -> dict:
    """One member. `local` and `central` override fields of the headers; `payload` what lies there; `behind` follows."""
    return {"name": name, "data": data, "method": method, "mode": mode, **more}


def zip_raw(*entries: dict, prefix: bytes = b"", gap: bytes = b"", end: dict | None = None, tail: bytes = b"",
            end64: dict | None = None, signature: bytes = b"") -> bytes:  # fmt: skip
    body, directory = bytearray(prefix), b""
    for entry in entries:
        name = entry["name"] if isinstance(entry["name"], bytes) else entry["name"].encode()
        payload = entry.get("payload", deflated(entry["data"]) if entry["method"] == 8 else entry["data"])
        facts = {
            "name": name, "flags": entry.get("flags", 0 if name.isascii() else 0x800), "method": entry["method"],
            "time": 0x6352, "date": 0x512D, "crc": zlib.crc32(entry["data"]), "csize": len(payload),
            "usize": len(entry["data"]), "extra": entry.get("extra", b""), "version": 20, "offset": len(body),
            "system": entry.get("system", 3), "attr": entry["mode"] << 16, "comment": b"", "disk": 0,
        }  # fmt: skip
        here, there = {**facts, **entry.get("local", {})}, {**facts, **entry.get("central", {})}
        body += struct.pack(
            "<4sHHHHHLLLHH", b"PK\3\4", here["version"], here["flags"], here["method"], here["time"], here["date"],
            here["crc"], here["csize"], here["usize"], len(here["name"]), len(here["extra"]),
        ) + here["name"] + here["extra"] + payload + entry.get("behind", b"")  # fmt: skip
        directory += struct.pack(
            "<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", 20, there["system"], there["version"], there["flags"], there["method"],
            there["time"], there["date"], there["crc"], there["csize"], there["usize"], len(there["name"]),
            len(there["extra"]), len(there["comment"]), there["disk"], 0, there["attr"], there["offset"],
        ) + there["name"] + there["extra"] + there["comment"]  # fmt: skip
    directory += signature
    body += gap
    facts = {"count": len(entries), "size": len(directory), "at": len(body)}
    out = bytes(body) + directory
    if end64 is not None:
        large = {**facts, "disk": 0, "record": 44, "version": 45, "locator": len(out), **end64}
        out += struct.pack("<4sQHHLLQQQQ", b"PK\6\6", large["record"], 45, large["version"], large["disk"], 0,
                           large["count"], large["count"], large["size"], large["at"])  # fmt: skip
        out += struct.pack("<4sLQL", b"PK\6\7", 0, large["locator"], 1)
        facts = {"count": 0xFFFF, "size": 0xFFFFFFFF, "at": 0xFFFFFFFF}
    facts = {**facts, "disk": 0, "comment": b"", **(end or {})}
    return out + struct.pack("<4sHHHHLLH", b"PK\5\6", facts["disk"], 0, facts["count"] & 0xFFFF,
                             facts["count"] & 0xFFFF, facts["size"], facts["at"],
                             len(facts["comment"])) + facts["comment"] + tail  # fmt: skip


def extra(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def unicode_path(raw: bytes, name: bytes, version: int = 1) -> bytes:
    return extra(0x7075, struct.pack("<BL", version, zlib.crc32(raw)) + name)


def base256(number: int, width: int = 12) -> bytes:
    body = (number % (1 << 8 * (width - 1))).to_bytes(width - 1, "big")
    return (b"\xff" if number < 0 else b"\x80") + body


def tar_raw(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields) -> bytes:
    """One header with its data. Fields: size, mode, mtime, target, magic, prefix, rest (what follows the magic)."""

    def number(value, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    block = bytearray(
        (
            name.ljust(100, b"\0")[:100] + number(fields.get("mode", 0o644), 8) + bytes(16)
            + number(fields.get("size", len(data)), 12) + number(fields.get("mtime", 1_600_000_000), 12) + b" " * 8
            + kind + fields.get("target", b"").ljust(100, b"\0")[:100] + fields.get("magic", b"ustar\x0000")
            + fields.get("rest", bytes(80) + fields.get("prefix", b""))
        ).ljust(512, b"\0")
    )  # fmt: skip
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


def pax_raw(*records: tuple[str, str | bytes], kind: bytes = b"x", **fields) -> bytes:
    body = b""
    for key, value in records:
        record = b" " + key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()) + b"\n"
        size = len(record)
        while size != len(record) + len(str(size)):
            size = len(record) + len(str(size))
        body += b"%d" % size + record
    return tar_raw(b"PaxHeaders/x", body, kind, **fields)


def outcome(data: bytes, to: Path, name: str = "x", *, reader: Reader | None = None, **options) -> dict | str:
    """Unpack, from `reader` if given; return what lies there, or the rule that refused.

    What is said of it must be what came of it.
    """
    to.mkdir(parents=True)
    root = to / "to"
    root.mkdir()
    try:
        done = unpack(reader or BytesReader(data, name), root, **options)
    except DatastageError as error:
        str(error)
        assert os.listdir(to) == ["to"]
        assert os.listdir(root) == []
        return str(getattr(error, "rule", type(error).__name__))
    assert os.listdir(to) == ["to"]
    there = {path: value for path, value in tree(root).items() if value is not None}
    said = {each.path: f"-> {each.target}" if each.target is not None else each[1:3] for each in done.files}
    assert said == {
        path: value if isinstance(value, str) else (len(value), zlib.crc32(value)) for path, value in there.items()
    }
    for path in there:
        assert os.path.realpath(root / path).startswith(os.path.realpath(root))
        assert not os.lstat(root / path).st_mode & 0o6000
    return there
