"""Judge every member of a zip, and plan what will be written.

The rules: Z-OVERLAP, Z-FOLDER, and those of `zip_entry` and `safety`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datastage.archives import zip_entry
from datastage.archives.errors import Fault
from datastage.archives.records import Unpacked
from datastage.archives.safety import MAX_TARGET_BYTES, clean
from datastage.archives.zip_directory import Directory, Names, kind_of
from datastage.archives.zip_entry import ENTRY_BYTES, LOCAL_BYTES, Row, ZipEntry
from datastage.file_names import JUNK_NAMES, junk_kind
from datastage.reader import FileRecord

_WIDE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """Members in the order of their offsets, from `first` to `end`, in columns: many rows share them.

    A member ends at most where the next one begins: the last column has one more, where the last member ends.
    """

    ats: Any
    paths: list[str]
    offsets: Any
    first: int
    end: int

    def part(self, first: int, end: int) -> list[Row]:
        """Return the rows from `first` up to `end`."""
        limits = self.offsets[first + 1 : end + 1]
        return list(zip(self.ats[first:end], self.paths[first:end], self.offsets[first:end], limits))


class Disordered(Exception):
    """Members that were given early turn out to have others among them: begin again, and give none early."""


# Letters, digits and the like, no part that begins with a dot, nothing that may be junk. Possessive: an odd name must
# not make the search go back and forth.
_NO_JUNK = rb"(?!(?i:%b)(?:/|\Z))" % b"|".join(re.escape(name.encode()) for name in JUNK_NAMES)
_PART = _NO_JUNK + rb"[A-Za-z0-9 _()+,=@#~-][A-Za-z0-9 ._()+,=@#~-]*+"
_is_plain = re.compile(b"(?:%b/)*+%b" % (_PART, _PART)).fullmatch


class Plan:
    """What will be written, judged in the order of the directory; files, folders and junk are noted in `result`.

    `rows` are the members to read that were not given early, in the order of their offsets; `links` and `needs_tool`
    those whose targets are read when all else is there, and whose method only a tool can undo. Files in
    `may_be_longer` are so large that a Mac may have written their size modulo 4 GB. `is_wide` tells of a member whose
    window is so large that two at a time would pass the bound on memory.
    """

    def __init__(
        self,
        directory: Directory,
        result: Unpacked,
        pick: Callable[[str], bool] | None = None,
        password: bytes | None = None,
        early: Callable[[Rows], None] | None = None,
    ) -> None:
        """Judge every member.

        `early` is given rows while the rest is judged, as long as they come in the order of offsets: they may be
        written, where all is taken away again should the rest break a rule. `Disordered` if members lie among them.
        """
        self.directory, self.result, self.pick, self.password = directory, result, pick, password
        self.names = Names(directory)
        self.unwrapped = directory.unwrapped_offsets()
        # Of every member that is read: its place in the directory, its path, its offset, where its data ends at least.
        self.ats, self.offsets, self.ends = array("Q"), array("Q"), array("Q")
        self.paths: list[str] = []
        self._links: dict[int, str] = {}
        self._needs_tool: dict[int, str] = {}
        self.is_wide = False
        self.n_given = 0
        for data, base, ats in directory.parts():
            self._judge(data, base, ats)
            if early is not None:
                self._give(early)
        self._finish()
        result.encoding = self.names.guess

    def _judge(self, data: bytes, base: int, ats: Any) -> None:
        """Judge the members whose entries are at `ats`; `data` is the part of the directory that begins at `base`.

        The common case, a plain file with a plain name, is told at a glance and written out here: each call counts.
        """
        if self.pick is not None or self.unwrapped is not None:
            for at in ats:
                self._judge_entry(at, ZipEntry(data, at - base))
            return
        shift, start = self.directory.shift, self.directory.start
        quick, admit, files = zip_entry.QUICK.unpack_from, self.result.tree.admit, self.result.files
        add_at, add_path = self.ats.append, self.paths.append
        add_offset, add_end = self.offsets.append, self.ends.append
        add_name, add_size, add_crc = files.paths.append, files.sizes.append, files.crcs.append
        for place in ats:
            at = place - base
            _, flags, method, _, crc, csize, usize, n_name, n_extra, attributes, offset = quick(data, at)
            if (
                (method == 8 or method == 0)
                and not flags & 0x41
                and (attributes & 0xF0000000 == 0x80000000 or not attributes & 0xF0000010)
                and not (n_extra and b"up" in data[at + ENTRY_BYTES + n_name : at + ENTRY_BYTES + n_name + n_extra])
                and csize < 0xFFFFFFFF
                and usize < 0xFFFFFFFF
                and offset < 0xFFFFFFFF
            ):
                raw = data[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name]
                offset += shift
                end = offset + LOCAL_BYTES + n_name + csize
                if _is_plain(raw) and end <= start:
                    path = admit(raw.decode("ascii"), "file", usize)
                    add_at(place)
                    add_offset(offset)
                    add_end(end)
                    add_path(path)
                    add_name(path)
                    add_size(usize)
                    add_crc(crc)
                    continue
            self._judge_entry(place, ZipEntry(data, at))

    def _judge_entry(self, at: int, entry: ZipEntry) -> None:
        """Judge one member of any kind."""
        name = self.names.of(entry)
        offset = entry.offset + self.directory.shift if self.unwrapped is None else self.unwrapped[at]
        end = offset + LOCAL_BYTES + len(entry.raw_name) + entry.csize
        if offset + LOCAL_BYTES > self.directory.start:
            raise Fault("Z-LOCAL", "begins behind the data", name)
        if end > self.directory.start:
            raise Fault("Z-OVERLAP", "has data that runs into the directory", name)
        self.ats.append(at)
        self.offsets.append(offset)
        self.ends.append(end)
        self.paths.append(self._path_to_write(at, entry, name))

    def _path_to_write(self, at: int, entry: ZipEntry, name: str) -> str:
        """Judge what a member is, and keep it in its list; return its path if it is to be read and written."""
        if entry.special:
            self.result.tree.admit(name, entry.special)
        kind = kind_of(entry, name)
        # Some deflate nothing for a folder, and what is locked has a head of its own.
        is_bare = entry.method == zip_entry.STORED and not entry.encrypted
        if kind == "folder" and entry.csize and (entry.usize or is_bare):
            raise Fault("Z-FOLDER", "is a folder that holds bytes, which would be lost", name)
        trash = junk_kind(name)
        if trash or (self.pick is not None and not self.pick(_loose(name))):
            clean(name)
            if trash and kind != "folder":
                self.result.left_out[trash] += 1
            return ""
        if kind == "folder":
            path = self.result.tree.admit(name, "folder")
            if path:
                self.result.folders.append((path, entry.mtime_ns))
            return ""
        is_ours = zip_entry.is_ours(entry)
        if kind == "link":
            if entry.usize > MAX_TARGET_BYTES:
                raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", name)
            if is_ours:
                zip_entry.check_method(entry, self.password)
            self._links[at] = name
            return ""
        path = self.result.tree.admit(name, "file", entry.usize)
        self.result.files.append(FileRecord(path, entry.usize, entry.crc))
        if not is_ours:
            self._needs_tool[at] = path
            return ""
        zip_entry.check_method(entry, self.password)
        self.is_wide |= entry.method in (zip_entry.LZMA, zip_entry.ZSTD) and entry.usize > _WIDE_BYTES
        return path

    def _give(self, early: Callable[[Rows], None]) -> None:
        """Give the rows judged since the last time, if they come in the order of offsets."""
        first, end = self.n_given, len(self.offsets) - 1  # where the last one ends is not known yet
        offsets = self.offsets[first : end + 1]
        if end <= first or any(map(int.__ge__, offsets, offsets[1:])):
            return
        self._refuse_overlaps(self.ends[first:end], offsets[1:], self.paths[first:end])
        early(Rows(self.ats, self.paths, self.offsets, first, end))
        self.n_given = end

    def _drop_earlier(self) -> None:
        """Have all but the last of the files of one path only looked at."""
        if self.n_given:
            raise Disordered  # one of them may be written by now
        seen = set()
        for nth in range(len(self.ats) - 1, -1, -1):
            path = self.paths[nth] or self._needs_tool.get(self.ats[nth], "")
            if path in seen:
                self.paths[nth] = ""
                self._needs_tool.pop(self.ats[nth], None)
            elif path in self.result.tree.twice:
                seen.add(path)

    def _finish(self) -> None:
        """Judge what only all members show, and put them in the order of their offsets."""
        if self.result.tree.twice:
            self._drop_earlier()
        n = self.n_given
        if n and min(self.offsets[n:]) < self.offsets[n]:
            raise Disordered
        if any(map(int.__gt__, self.offsets, self.offsets[1:])):
            order = sorted(range(len(self.offsets)), key=self.offsets.__getitem__)
            self.paths = list(map(self.paths.__getitem__, order))
            self.ats, self.offsets, self.ends = (
                array("Q", map(column.__getitem__, order)) for column in (self.ats, self.offsets, self.ends)
            )
        self.offsets.append(self.directory.start)
        limits = self.offsets[1:]
        self._refuse_overlaps(self.ends[n:], limits[n:], self.paths[n:])
        if self.offsets[0] and self.ats:
            before = self.directory.reader.read_at(0, min(self.offsets[0], zip_entry.HIDDEN_BYTES))
            if not before.startswith((b"MZ", b"\x7fELF", b"#!")):  # a program, which may hold such marks of its own
                zip_entry.refuse_hidden(before)
        self.rows = Rows(self.ats, self.paths, self.offsets, n, len(self.ats))
        self.links, self.needs_tool = self._rows_of(self._links), self._rows_of(self._needs_tool)
        self.may_be_longer = {
            self.paths[nth]
            for nth, room in enumerate(map(int.__sub__, limits, self.offsets))
            if zip_entry.may_be_longer(room) and self.paths[nth] and self.directory.entry(self.ats[nth]).may_wrap
        }

    def _rows_of(self, paths: dict[int, str]) -> list[Row]:
        if not paths:
            return []
        spans = zip(self.ats, self.offsets, self.offsets[1:])
        return [(at, paths[at], offset, limit) for at, offset, limit in spans if at in paths]

    def _refuse_overlaps(self, ends: Any, limits: Any, paths: list[str]) -> None:
        if any(map(int.__gt__, ends, limits)):
            name = next(path for end, limit, path in zip(ends, limits, paths) if end > limit)
            raise Fault("Z-OVERLAP", "shares bytes with another member", name)


def _loose(name: str) -> str:
    return "/".join(part for part in name.split("/") if part and part != ".")
