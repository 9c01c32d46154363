"""Formats that only a tool can undo: 7z and rar, and zips with members that are not undone here.

A tool never writes a file here. It lists; every member passes the gate; then it prints the contents one behind another
to a pipe, and we cut them apart by the sizes listed, check the CRCs listed, and write them ourselves. So nothing that a
tool might be tricked into doing with a name or a link is ever done.

Rar is read by `7z`, and by RARLAB's `unrar` where 7z has no codec for it (Debian and Ubuntu keep it apart). Passwords
go through the tool's standard input, where no other process sees them.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from datastage.archives import inflate
from datastage.archives.errors import LONE_PART, Fault
from datastage.archives.records import StreamMember
from datastage.archives.safety import MAX_TARGET_BYTES, Tree
from datastage.archives.streams import Bytes
from datastage.archives.zip_entry import AES, Row, ZipEntry
from datastage.errors import while_doing
from datastage.reader import Reader

if TYPE_CHECKING:
    from datastage.archives.extract import Task
    from datastage.archives.formats import Source
    from datastage.archives.zip_directory import Directory

PIECE_BYTES = 1 << 20
_7Z_HEAD_BYTES = 32
_EMPTY_BYTES = 64  # no archive without a member is larger
_VERSION = re.compile(r";\d+$")  # of a file that rar 4 keeps older versions of
_VOLUME = re.compile(r"(?i)(\.part\d+)?\.[rs](ar|\d\d)$")
_SPECIAL = {"p": "FIFO", "c": "character device", "b": "block device", "s": "socket"}


@contextmanager
def _local(reader: Reader, folder: str | None, suffix: str) -> Iterator[str]:
    """Give a path under which a tool can open the archive, with a stem that nobody can have foreseen.

    The stem matters: 7z shows it in place of an empty name.
    """
    with while_doing("making a folder for the tool that reads it"):
        made = tempfile.TemporaryDirectory(prefix=".datastage-", dir=folder)
    with made as place:
        stem = secrets.token_hex(12)
        paths = getattr(reader, "paths", ()) or (reader.local_path,)
        endings = [_VOLUME.search(str(each)) for each in paths] if suffix == "rar" else []
        if len(endings) > 1 and all(endings):  # 7z finds the others by the name of the first
            names = [stem + ending[0].lower() for ending in endings if ending]
        else:
            names = [f"{stem}.{suffix}"]
        path = os.path.join(place, names[0])
        if paths[0] is not None and len(names) == len(paths) and hasattr(os, "symlink"):
            for volume, name in zip(paths, names, strict=True):
                os.symlink(os.path.abspath(volume), os.path.join(place, name))
        else:
            with open(path, "wb") as file:
                for piece in reader.stream(0):
                    file.write(piece)
        yield path


def _tool_for(form: str) -> str:
    for tool in ("7z", "7zz", "7za"):
        if found := shutil.which(tool):
            return found
    if form == "rar":
        raise Fault("X-RAR", "is a rar archive, and nothing here can list that")
    raise Fault("X-7Z", "needs the 7z command, and nothing here can do its work")


def unrar() -> str | None:
    """Return RARLAB's unrar, if it is installed; Debian's `unrar-free` goes by that name and cannot do its work."""
    found = shutil.which("unrar")
    if found is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run([found], stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
        return found if b"Roshal" in said.stdout else None
    return None


# What the tools say, in lower case, and what it means; the first that is found counts.
_SAID = (
    ("wrong password", "Z-LOCKED", "does not open"),
    ("cannot open encrypted", "Z-LOCKED", "does not open"),
    ("missing volume", "P-PART", LONE_PART),
    ("unexpected end", "S-CUT", "is cut short"),
    ("unsupported archive type", "X-RAR", "is a rar archive, and the 7z here was built without reading those"),
    ("unsupported method", "Z-METHOD", "is compressed in a way that the tool here does not know"),
    ("unsupported", "Z-METHOD", "has a feature that the tool here does not know"),
    ("crc failed", "C-CRC", "has a wrong checksum"),
    ("data error", "C-STREAM", "cannot be decompressed"),
    ("headers error", "S-LIST", "has a list of its members that is damaged"),
    ("is not archive", "S-LIST", "has no list of its members where one should be"),
    ("cannot open the file as", "S-LIST", "has no list of its members where one should be"),
)


def _meaning(said: str, password: bytes | None, otherwise: Fault) -> Fault:
    """Return the fault that a tool's words mean."""
    said = said.lower()
    for words, rule, text in _SAID:
        if words in said:
            if rule == "Z-LOCKED":
                text += " with this password" if password else " without a password"
            return Fault(rule, text, otherwise.name)
    return otherwise


def _type(path: str, form: str) -> str:
    """Return the option that says what it is, so that 7z does not take it for anything else."""
    if form == "rar":
        with open(path, "rb") as file:
            return "-tRar5" if file.read(7)[6:] == b"\x01" else "-tRar"
    return "-t" + form


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _run(command: Sequence[str], password: bytes | None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=(password or b"") + b"\n", capture_output=True, env=_environment())


def _listed_member(fields: dict[str, str], stem: str) -> StreamMember:
    """Return a member as a tool lists it. Where the name is empty, 7z shows the stem of the archive's name."""
    attributes = fields.get("Attributes", "").split(" ")  # an archive may keep none
    unix = next((a for a in attributes if len(a) == 10 and a[0] in "-dlpcbs"), "")
    kind = _SPECIAL.get(unix[:1], "file")
    if unix.startswith("l") or fields.get("Symbolic Link"):
        kind = "link"
    elif fields.get("Hard Link"):
        kind = "hardlink"
    elif unix.startswith("d") or "D" in attributes[0] or fields.get("Folder") == "+":
        kind = "folder"
    elif "Version" in fields.get("Characteristics", "").split(" "):
        kind = "version"
    return StreamMember(
        name="" if fields["Path"] == stem else fields["Path"],
        kind=kind,
        size=int(fields["Size"] or 0),
        target=fields.get("Symbolic Link") or fields.get("Hard Link") or fields.get("Copy Link") or "",
        mode=sum(1 << 8 - nth for nth, c in enumerate(unix[1:]) if c not in "-ST") if unix else None,
        mtime=_time(fields.get("Modified", "")),
        crc=int(fields["CRC"], 16) if fields.get("CRC") else None,
        encrypted=fields.get("Encrypted") == "+",
    )


def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def _listed(path: str, password: bytes | None, form: str) -> list[StreamMember]:
    done = _run([_tool_for(form), "l", "-slt", "-sccUTF-8", _type(path, form), "--", path], password)
    head, _, body = done.stdout.decode("utf-8", "surrogateescape").partition("\n----------\n")
    if "\nMultivolume = +" in head and "\nVolumes = 1\n" in f"{head}\n":
        raise Fault("P-PART", LONE_PART)
    if done.returncode:
        said = head + done.stderr.decode("utf-8", "replace")
        raise _meaning(said, password, Fault("S-LIST", "has a list of its members that cannot be read"))
    stem = os.path.basename(path).rpartition(".")[0]
    listed = []
    fields: dict[str, str] = {}
    for line in [*body.split("\n"), ""]:
        key, equals, value = line.rstrip("\r").partition(" =")
        if equals:
            fields.setdefault(key, value.removeprefix(" "))
        elif not line.strip() and fields:
            try:
                listed.append(_listed_member(fields, stem))
            except (KeyError, ValueError):
                raise Fault("S-LIST", "has a list of its members that cannot be read") from None
            fields = {}
    names = {each.name for each in listed}
    for each in listed if form == "rar" else ():
        if each.kind == "file" and _VERSION.search(each.name) and _VERSION.sub("", each.name) in names:
            each.kind = "version"
    return listed


def _printing(path: str, form: str, *more: str) -> list[str]:
    """Return the command that prints what an archive holds."""
    return [_tool_for(form), "x", "-so", "-bd", "-y", *more, _type(path, form), "--", path]


class _Printed:
    """The contents of all members, as a tool prints them one behind another."""

    def __init__(self, path: str, password: bytes | None, form: str) -> None:
        command = _printing(path, form)
        self.is_unrar = False
        if form == "rar" and (tool := unrar()):
            self.is_unrar, command = True, [tool, "p", "-ver", "-inul", "-y", "-@", "--", path]
        self._password, self._form, self.is_strong = password, form, False
        self._said = tempfile.TemporaryFile(dir=os.path.dirname(path))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=_environment()
        )
        with contextlib.suppress(BrokenPipeError), cast(BinaryIO, self._process.stdin) as stdin:
            stdin.write((password or b"") + b"\n")
        self._stdout = cast(BinaryIO, self._process.stdout)
        self.stream = Bytes(iter(lambda: self._stdout.read(PIECE_BYTES), b""))

    def __enter__(self) -> _Printed:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._stdout.close()
        self._process.wait()
        self._said.close()

    def finish(self) -> None:
        """Check that the tool printed no more than it listed, and was content."""
        if self.stream.skip(1):
            raise Fault("C-SIZE", "holds more than its list says")
        if self._process.wait():
            raise self._why(Fault("C-STREAM", "cannot be unpacked whole, says the tool"))

    def _why(self, otherwise: Fault) -> Fault:
        self._process.wait()
        self._said.seek(0)
        fault = _meaning(self._said.read(1 << 16).decode("utf-8", "replace"), self._password, otherwise)
        if fault.rule == "Z-METHOD" and self.is_strong:
            return Fault("Z-METHOD", "is locked by strong encryption, which the tool here does not know", fault.name)
        if fault.rule == "Z-METHOD" and self._form == "rar":
            return Fault("X-RAR", "is packed as only RARLAB's unrar undoes it, which is not here", fault.name)
        return fault

    def checked(
        self, name: str, left: list[int], crc: int | None, advance: Callable[[int], None], is_locked: bool = False
    ) -> Iterator[memoryview]:
        """Give the next `left` bytes, which are those of a member, and compare their CRC-32."""
        crc32, found = inflate.chosen().crc32, 0
        for piece in self.stream.pieces(left[0]):
            left[0] -= len(piece)
            found = crc32(piece, found)
            advance(len(piece))
            yield piece
        wrong = "C-STREAM" if left[0] else "C-CRC" if crc is not None and found != crc else ""
        if wrong:
            text = "cannot be unpacked whole" if left[0] else "has a wrong checksum"
            self._stdout.close()
            locked = Fault("Z-LOCKED", "does not open with this password", name)  # unrar says no word of it
            raise self._why(locked if is_locked else Fault(wrong, text, name))


def _has_lost_its_end(reader: Reader) -> bool:
    """Tell whether a RAR 4 archive ends behind a member: 7z takes it for whole, and RAR 2 wrote no block at the end."""
    at, by_rar3 = 7, False
    while (head := reader.read_at(at, 36)) and len(head) >= 7 and reader.read_at(0, 7)[6:] == b"\0":
        kind, flags, length = struct.unpack_from("<BHH", head, 2)
        if kind == 0x7B or length < 7 or (kind == 0x73 and flags & 0x80):  # the end; no block; a list that is locked
            return False
        content = int.from_bytes(head[7:11], "little") if flags & 0x8000 else 0
        if kind == 0x74:
            by_rar3 |= head[24:25] >= b"\x1d"
            content |= int.from_bytes(head[32:36], "little") << 32 if flags & 0x100 else 0
        at += length + content
    return by_rar3


def members(form: str, source: Source) -> Iterator[StreamMember]:
    """Give the members of an archive that a tool reads."""
    with _local(source.reader, source.folder, form) as path:
        if form == "7z" and (source.reader.size or 0) < _7Z_HEAD_BYTES:
            raise Fault("S-CUT", "is cut short")
        listed = _listed(path, source.password, form)
        if not listed and (form == "rar" or (source.reader.size or 0) > _EMPTY_BYTES):
            raise Fault("S-CUT", f"is {source.reader.size:,} bytes long, and its list names none of them")
        if form == "rar" and _has_lost_its_end(source.reader):
            raise Fault("S-CUT", "is cut short: the block that ends it is missing")
        if not source.wants_content:
            yield from listed
            return
        if source.password is None and any(each.encrypted for each in listed):
            raise Fault("Z-LOCKED", "needs a password, and none was given")
        total = sum(each.size for each in listed)
        Tree(source.free_bytes).take_room(total)
        source.reporter.phase(f"unpacking {source.reader.name}", total)
        with _Printed(path, source.password, form) as printed:
            for each in listed:
                if each.kind == "folder":
                    yield each
                    continue
                if each.target and each.kind == "file":  # the same content again, which 7z prints and unrar does not
                    each.kind = "hardlink" if printed.is_unrar else "file"
                if each.target and each.kind != "file":  # rar 5 keeps it in the list, and the tools print nothing
                    each.size = 0
                    yield each
                    continue
                left, locked = [each.size], each.encrypted
                each.pieces = partial(printed.checked, each.name, left, each.crc, source.reporter.advance, locked)
                if each.kind == "link":
                    if each.size > MAX_TARGET_BYTES:
                        raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", each.name)
                    if printed.is_unrar:  # which prints no target
                        left[0], each.target = 0, _target(path, each, source.password)
                    else:
                        each.target = b"".join(each.pieces()).decode("utf-8", "surrogateescape")
                yield each
                printed.stream.skip(left[0])
            printed.finish()


def _target(path: str, link: StreamMember, password: bytes | None) -> str:
    """Return where a link of a rar 4 archive leads: its content, mostly stored, which 7z prints."""
    done = _run([*_printing(path, "rar", "-spd"), link.name], password)
    if len(done.stdout) != link.size or link.crc not in (None, inflate.chosen().crc32(done.stdout)):
        raise Fault("X-RAR", "is a link whose target the 7z here cannot read", link.name)
    return done.stdout.decode("utf-8", "surrogateescape")


def zip_contents(
    task: Task, directory: Directory, rows: Sequence[Row]
) -> Iterator[tuple[Row, ZipEntry, Iterator[memoryview]]]:
    """Give the contents of members of a zip that are not undone here: the tool prints the whole archive."""
    wanted = {row[0]: row for row in rows}
    odd = [directory.entry(row[0]) for row in rows]
    if task.password is None and any(entry.encrypted for entry in odd):
        raise Fault("Z-LOCKED", "needs a password, and none was given", rows[0][1])
    with _local(task.reader, task.root, "zip") as path:
        listed = _listed(path, task.password, "zip")
        sizes = [entry.usize for _, entry in directory.entries() if not entry.is_folder]
        if [each.size for each in listed if each.kind != "folder"] != sizes:
            raise Fault("Z-METHOD", "has members that only 7z undoes, and 7z reads its directory otherwise", rows[0][1])
        with _Printed(path, task.password, "zip") as printed:
            printed.is_strong = any(entry.flags & 0x40 for entry in odd)
            for (at, entry), each in zip(directory.entries(), listed):
                left = [0 if each.kind == "folder" else entry.usize]
                if at in wanted:
                    # AE-2 keeps no checksum; the tool has checked its stronger one.
                    crc = entry.crc if entry.crc or entry.method != AES else None
                    yield wanted[at], entry, printed.checked(wanted[at][1], left, crc, task.reporter.advance)
                printed.stream.skip(left[0])
            printed.finish()
