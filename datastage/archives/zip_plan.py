"""Judge every member of a zip, and plan what will be written.

The rules: Z-OVERLAP, Z-FOLDER, and those of `zip_entry` and `safety`.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datastage.archives import zip_entry
from datastage.archives.errors import Fault
from datastage.archives.records import Files
from datastage.archives.safety import MAX_TARGET_BYTES, Tree, clean
from datastage.archives.zip_directory import Directory, Names, kind_of
from datastage.archives.zip_entry import ENTRY_BYTES, LOCAL_BYTES, Row, ZipEntry
from datastage.file_names import junk_kind
from datastage.reader import FileRecord, Reader

_SIZES = struct.Struct("<20xL4xH")  # of an entry: the packed size, and the length of the name
_EARLY_MEMBERS = 2048
_WIDE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in columns, in the order of offsets: a tuple for each of millions would take more than all else."""

    ats: Any
    paths: list[str]
    offsets: Any
    limits: Any

    def part(self, first: int, end: int) -> list[Row]:
        """Return the rows from `first` up to `end`."""
        columns = (self.ats, self.paths, self.offsets, self.limits)
        return list(zip(*(column[first:end] for column in columns)))


@dataclass(slots=True)
class Plan:
    """What will be written, all of it judged.

    Attributes
    ----------
    files : Files
        The files, as they will be.
    folders : list of (path, mtime_ns or None)
        The folders that have an entry.
    links, needs_tool : list of (place in the directory, path, offset, limit)
        Links, whose targets are read and judged when all else is there; members whose method only a tool can undo.
    rows : Rows
        The members that are read and were not given early.
    left_out : dict of str to int
        Junk, by kind.
    encoding : str or None
        The encoding guessed for names.
    matched : bool
        Whether a member was wanted.
    may_be_longer : list of str
        Paths of files so large that a Mac may have written their size modulo 4 GB: only unpacking tells.
    is_wide : bool
        Whether a member may need a window so large that two at a time would pass the bound on memory.
    """

    files: Files
    folders: list[tuple[str, int | None]]
    links: list[Row]
    needs_tool: list[Row]
    rows: Rows
    left_out: dict[str, int]
    encoding: str | None
    matched: bool
    may_be_longer: list[str]
    is_wide: bool


class Disordered(Exception):
    """Members that were given early turn out to have others among them: begin again, and give none early."""


def plan(
    reader: Reader,
    directory: Directory,
    tree: Tree,
    pick: Callable[[str], bool] | None,
    password: bytes | None,
    early: Callable[[Rows], None] | None = None,
) -> Plan:
    """Judge every member and say what will be written.

    Parameters
    ----------
    reader : Reader
        The archive, with ranges.
    directory : Directory
        Its directory.
    tree : Tree
        The gate.
    pick : callable or None
        Says whether a path is wanted.
    password : bytes or None
        For locked members.
    early : callable, optional
        Given the rows of members already judged while the rest is, as long as they come in the order of offsets: they
        may be written, where all is taken away again should the rest break a rule.

    Raises
    ------
    Fault
        If a member breaks a rule.
    Disordered
        If members lie among those given early.
    """
    judge = _Judge(reader, directory, tree, pick, password)
    for first in range(0, len(directory.ats), _EARLY_MEMBERS):
        judge.judge(directory.ats[first : first + _EARLY_MEMBERS])
        if early is not None:
            judge.give(early)
    found = judge.plan()
    if judge.offsets and (first := min(judge.offsets)):
        zip_entry.refuse_hidden(reader.read_at(0, min(first, zip_entry.HIDDEN_BYTES)))
    return found


# Letters, digits and the like, no part that begins with a dot, nothing that may be junk. Possessive: an odd name must
# not make the search go back and forth.
_is_plain = re.compile(
    rb"(?:(?!(?i:__macosx/))[A-Za-z0-9 _()+,=@#~-][A-Za-z0-9 ._()+,=@#~-]*+/)*+"
    rb"(?!(?i:__macosx|thumbs\.db|desktop\.ini)\Z)[A-Za-z0-9 _()+,=@#~-][A-Za-z0-9 ._()+,=@#~-]*+"
).fullmatch


class _Judge:
    """Judges members in the order of the directory, and gathers the plan."""

    def __init__(
        self,
        reader: Reader,
        directory: Directory,
        tree: Tree,
        pick: Callable[[str], bool] | None,
        password: bytes | None,
    ) -> None:
        self.directory, self.tree, self.pick, self.password = directory, tree, pick, password
        self.names = Names(directory)
        self.unwrapped = directory.unwrapped_offsets(reader)
        # Of every member that is read: its place in the directory, its path, its offset.
        self.ats, self.offsets = array("Q"), array("Q")
        self.paths: list[str] = []
        self.files = Files()
        self.folders: list[tuple[str, int | None]] = []
        self.links: dict[int, str] = {}
        self.needs_tool: dict[int, str] = {}
        self.left_out: dict[str, int] = {}
        self.matched, self.is_wide = pick is None, False
        self.n_given = 0

    def judge(self, ats: Any) -> None:
        """Judge the members whose entries are at `ats`.

        The common case, a plain file with a plain name, is told at a glance and written out here: each call counts.
        """
        if self.pick is not None or self.unwrapped is not None:
            for at in ats:
                self._judge_entry(at)
            return
        data, shift, end = self.directory.data, self.directory.shift, self.directory.start
        quick, admit, files = zip_entry.QUICK.unpack_from, self.tree.admit, self.files
        add_at, add_path, add_offset = self.ats.append, self.paths.append, self.offsets.append
        add_name, add_size, add_crc = files.paths.append, files.sizes.append, files.crcs.append
        for at in ats:
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
                if _is_plain(raw) and offset + LOCAL_BYTES + n_name + csize <= end:
                    path = admit(raw.decode("ascii"), "file", usize)
                    add_at(at)
                    add_offset(offset)
                    add_path(path)
                    add_name(path)
                    add_size(usize)
                    add_crc(crc)
                    continue
            self._judge_entry(at)

    def _judge_entry(self, at: int) -> None:
        """Judge one member of any kind."""
        entry = ZipEntry(self.directory.data, at)
        name = self.names.of(entry)
        offset = entry.offset + self.directory.shift if self.unwrapped is None else self.unwrapped[at]
        end = self.directory.start
        if offset + LOCAL_BYTES > end:
            raise Fault("Z-LOCAL", "begins behind the data", name)
        if offset + LOCAL_BYTES + len(entry.raw_name) + entry.csize > end:
            raise Fault("Z-OVERLAP", "has data that runs into the directory", name)
        self.ats.append(at)
        self.offsets.append(offset)
        self.paths.append(self._path_to_write(at, entry, name))

    def _path_to_write(self, at: int, entry: ZipEntry, name: str) -> str:
        """Judge what a member is, and keep it in its list; return its path if it is to be read and written."""
        if entry.special:
            self.tree.admit(name, entry.special)
        kind = kind_of(entry, name)
        if kind == "folder" and (entry.usize or (entry.csize and entry.method == 0)):
            raise Fault("Z-FOLDER", "is a folder that holds bytes, which would be lost", name)
        trash = junk_kind(name)
        if trash or (self.pick is not None and not self.pick(_loose(name))):
            clean(name)
            if trash:
                self.left_out[trash] = self.left_out.get(trash, 0) + (kind != "folder")
            return ""
        self.matched = True
        if kind == "folder":
            path = self.tree.admit(name, "folder")
            if path:
                self.folders.append((path, entry.mtime_ns))
            return ""
        is_ours = entry.method in zip_entry.OWN_METHODS
        if kind == "link":
            if entry.usize > MAX_TARGET_BYTES:
                raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", name)
            if is_ours:
                zip_entry.check_method(entry, self.password)
            self.links[at] = name
            return ""
        path = self.tree.admit(name, "file", entry.usize)
        self.files.append(FileRecord(path, entry.usize, entry.crc))
        if not is_ours or (entry.encrypted and entry.flags & 0x40):
            self.needs_tool[at] = path
            return ""
        zip_entry.check_method(entry, self.password)
        self.is_wide |= entry.method in (zip_entry.LZMA, zip_entry.ZSTD) and entry.usize > _WIDE_BYTES
        return path

    def give(self, early: Callable[[Rows], None]) -> None:
        """Give the rows judged since the last time, if they come in the order of offsets."""
        first, end = self.n_given, len(self.offsets) - 1  # where the last one ends is not known yet
        offsets = self.offsets[first : end + 1]
        if end <= first or any(map(int.__ge__, offsets, offsets[1:])):
            return
        rows = Rows(self.ats[first:end], self.paths[first:end], offsets[:-1], offsets[1:])
        _refuse_overlaps(self.directory.data, rows)
        early(rows)
        self.n_given = end

    def _drop_earlier(self) -> None:
        """Have all but the last of the files of one path only looked at."""
        if self.n_given:
            raise Disordered  # one of them may be written by now
        seen = set()
        for nth in range(len(self.ats) - 1, -1, -1):
            path = self.paths[nth] or self.needs_tool.get(self.ats[nth], "")
            if path in seen:
                self.paths[nth] = ""
                self.needs_tool.pop(self.ats[nth], None)
            elif path in self.tree.twice:
                seen.add(path)

    def plan(self) -> Plan:
        """Return the plan, once all members have been judged."""
        if self.tree.twice:
            self._drop_earlier()
        ats, paths, offsets, n = self.ats, self.paths, self.offsets, self.n_given
        if n and min(offsets[n:]) < offsets[n]:
            raise Disordered
        if any(map(int.__gt__, offsets, offsets[1:])):
            order = sorted(range(len(offsets)), key=offsets.__getitem__)
            ats = array("Q", map(ats.__getitem__, order))
            offsets = array("Q", map(offsets.__getitem__, order))
            paths = list(map(paths.__getitem__, order))
        limits = array("Q", offsets[1:])
        if offsets:
            limits.append(self.directory.start)
        rows = Rows(ats[n:], paths[n:], offsets[n:], limits[n:])
        _refuse_overlaps(self.directory.data, rows)
        return Plan(
            files=self.files,
            folders=self.folders,
            links=_rows_of(self.links, ats, offsets, limits),
            needs_tool=_rows_of(self.needs_tool, ats, offsets, limits),
            rows=rows,
            left_out=self.left_out,
            encoding=self.names.guess,
            matched=self.matched,
            may_be_longer=[
                paths[nth]
                for nth, room in enumerate(map(int.__sub__, limits, offsets))
                if zip_entry.may_be_longer(room) and self.directory.data[ats[nth] + 8] & 8 and paths[nth]
            ],
            is_wide=self.is_wide,
        )


def _rows_of(paths: dict[int, str], ats: Any, offsets: Any, limits: Any) -> list[Row]:
    return [(at, paths[at], *span) for at, *span in zip(ats, offsets, limits) if at in paths] if paths else []


def _loose(name: str) -> str:
    return "/".join(part for part in name.split("/") if part and part != ".")


def _refuse_overlaps(data: bytes, rows: Rows) -> None:
    sizes = _SIZES.unpack_from
    for at, offset, limit in zip(rows.ats, rows.offsets, rows.limits):
        entry_size, n_name = sizes(data, at)
        if entry_size == 0xFFFFFFFF:
            entry_size = ZipEntry(data, at).csize
        if offset + LOCAL_BYTES + n_name + entry_size > limit:
            name = data[at + ENTRY_BYTES : at + ENTRY_BYTES + n_name].decode("utf-8", "replace")
            raise Fault("Z-OVERLAP", "shares bytes with another member", name)
