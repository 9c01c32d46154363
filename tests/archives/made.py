"""Small archives for the tests, made with the standard library; hostile ones have a few bytes changed."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from datastage.archives import Unpacked, unpack
from datastage.reader import BytesReader, FileReader


def zip_of(entries: dict[str, bytes], **options) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", options.pop("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, options.get("date", (2020, 9, 13, 12, 26, 40)))
            info.compress_type = archive.compression
            info.create_system = options.get("system", 3)
            info.external_attr = options.get("mode", 0o100644) << 16
            archive.writestr(info, data)
    return out.getvalue()


def reordered(data: bytes, order: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Return a zip whose directory lists its entries in another order."""
    end = data.rfind(b"PK\5\6")
    size, start = struct.unpack_from("<LL", data, end + 12)
    entries, at = [], start
    while at < start + size:
        n = 46 + sum(struct.unpack_from("<HHH", data, at + 28))
        entries.append(data[at : at + n])
        at += n
    return data[:start] + b"".join(order(entries)) + data[end:]


def zip_link(name: str, target: str, *, before: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for key, data in (before or {}).items():
            archive.writestr(key, data)
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = 0o120777 << 16
        archive.writestr(info, target)
    return out.getvalue()


def tar_of(members: list[tuple], *, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    """Members are (name, bytes), (name, type, target) or (name, None) for a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as archive:
        for name, *facts in members:
            info = tarfile.TarInfo(name)
            info.mtime = 1_600_000_000
            if facts[0] is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(facts[0], bytes) and len(facts) == 1:
                info.size = len(facts[0])
                archive.addfile(info, io.BytesIO(facts[0]))
            else:
                info.type, info.linkname = facts
                archive.addfile(info)
    return out.getvalue()


def unpacked(data: bytes | Path, to: Path, name: str = "x", **options) -> Unpacked:
    to.mkdir(exist_ok=True)
    reader = FileReader(data) if isinstance(data, Path) else BytesReader(data, name)
    return unpack(reader, to, **options)


def tree(root: Path) -> dict[str, bytes | str | None]:
    """Return what lies in a folder: bytes of files, None for folders, "-> target" for links."""
    found: dict[str, bytes | str | None] = {}
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            short = os.path.relpath(path, root)
            if os.path.islink(path):
                found[short] = "-> " + os.readlink(path)
            elif os.path.isdir(path):
                found[short] = None
            else:
                with open(path, "rb") as file:
                    found[short] = file.read()
    return found


class Link:
    """A reader as a mounted Drive gives one: no local file, a delay on every read, and a count of what crossed."""

    ranges = True
    local_path = None
    identity = ""

    def __init__(self, data: bytes, delay_s: float = 0.0, name: str = "x", ranges: bool = True, breaks_at: int = -1):
        self.data, self.delay_s, self.name, self.size, self.ranges = data, delay_s, name, len(data), ranges
        self.breaks_at = breaks_at
        self.reads: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def read_at(self, offset: int, n: int) -> bytes:
        assert self.ranges
        time.sleep(self.delay_s)
        with self._lock:
            self.reads.append((offset, n))
        if offset <= self.breaks_at < offset + n:
            raise OSError(5, "Input/output error")
        return self.data[offset : offset + n]

    def stream(self, offset: int = 0):
        while piece := self.data[offset : offset + 65536]:
            with self._lock:
                self.reads.append((offset, len(piece)))
            if offset <= self.breaks_at < offset + len(piece):
                raise OSError(5, "Input/output error")
            yield piece
            offset += len(piece)

    def pieces(self, offset: int, n: int | None):
        end = self.size if n is None else offset + n
        while offset < end:
            piece = self.read_at(offset, min(end - offset, 1 << 18))
            yield piece
            offset += len(piece)

    def close(self) -> None:
        pass
