"""Which bytes of a file are there: blocks, and the map beside a partial file that says so after a crash.

The map is a text file that only grows: a first line of JSON (what is being fetched), then ``start length crc32`` for
every run of bytes that lies in the partial file. A line is written after its bytes, with one call, so a kill leaves at
most one cut line, which is ignored. The checksums tell bytes that a crash of the machine lost.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastage.own_files import mapping_of, no_link

SMALLEST_BLOCK = 256 << 10
LARGEST_BLOCK = 4 << 20
_VERSION = 1


@dataclass(slots=True, eq=False)
class Block:
    """Bytes ``start`` to ``end`` of the file, of which the first `got` are there. `end` is None for one long stream."""

    start: int
    end: int | None
    got: int = 0
    crc: int = 0
    failures: int = 0
    not_before: float = 0.0
    noted: int = 0  # how much of it the map knows

    @property
    def is_done(self) -> bool:
        return self.end is not None and self.start + self.got >= self.end

    @property
    def left(self) -> int | None:
        return None if self.end is None else self.end - self.start - self.got


def block_bytes(size: int) -> int:
    """Return the size of a block for a file of `size` bytes: some sixty blocks, none tiny, none that takes long."""
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << (size // 64 - 1).bit_length()))


def cut(start: int, end: int, step: int) -> list[Block]:
    """Cut bytes `start` to `end` into blocks that begin at multiples of `step`."""
    blocks = []
    while start < end:
        stop = min(end, (start // step + 1) * step)
        blocks.append(Block(start, stop))
        start = stop
    return blocks


def plan(size: int, there: Iterable[tuple[int, int, int]]) -> list[Block]:
    """Return blocks for a file of `size` bytes of which some runs ``(start, length, crc32)`` are there already."""
    step = block_bytes(size)
    blocks: list[Block] = []
    at = 0
    for start, length, crc in sorted(there):
        if start < at or length <= 0 or start + length > size:
            continue
        blocks += cut(at, start, step)
        blocks.append(Block(start, start + length, length, crc, noted=length))
        at = start + length
    return blocks + cut(at, size, step)


class BlockMap:
    """The note beside a partial file."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self._header = {"version": _VERSION, **header}
        self._fd = -1

    def read(self) -> tuple[dict[str, Any], list[tuple[int, int, int]]]:
        """Return the header on disk, and the runs; an empty header if there is no map that can be read."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError:
            return {}, []
        header = mapping_of(lines[0])
        if header.get("version") != _VERSION:
            return {}, []
        runs: dict[int, tuple[int, int, int]] = {}
        for line in lines[1:-1]:  # what follows the last line feed was cut
            try:
                start, length, crc = (int(number) for number in line.split())
            except ValueError:
                continue
            if length >= runs.get(start, (0, 0, 0))[1]:
                runs[start] = (start, length, crc)
        return header, list(runs.values())

    def begin(self, runs: Iterable[tuple[int, int, int]]) -> None:
        """Write the map anew with these runs, and keep it open for more."""
        text = json.dumps(self._header) + "\n" + "".join(f"{a} {n} {crc}\n" for a, n, crc in runs)
        self._fd = no_link(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.write(self._fd, text.encode())

    def add(self, block: Block) -> None:
        """Note what there is of `block` now."""
        if self._fd >= 0 and block.got > block.noted:
            block.noted = block.got
            os.write(self._fd, b"%d %d %d\n" % (block.start, block.got, block.crc))

    def close(self, *, remove: bool) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if remove:
            self._path.unlink(missing_ok=True)


def sound_runs(path: Path, runs: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return the runs whose bytes in the file at `path` have the checksum that was noted."""
    sound = []
    with open(path, "rb") as file:
        for start, length, crc in runs:
            file.seek(start)
            found, left = 0, length
            while left > 0 and (piece := file.read(min(left, 1 << 20))):
                found = zlib.crc32(piece, found)
                left -= len(piece)
            if left == 0 and found == crc:
                sound.append((start, length, crc))
    return sound
