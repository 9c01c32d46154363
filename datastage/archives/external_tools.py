"""Formats that only a tool can undo: 7z and rar, and zip members by Deflate64, PPMd, XZ or locked by AES.

A tool never writes a file here. It lists; every member passes the gate; then it prints the contents one behind another
to a pipe, and we cut them apart by the sizes listed, check the CRCs listed, and write them ourselves. So nothing that a
tool might be tricked into doing with a name or a link is ever done.

Rar is read by `7z`, and by `unrar` where 7z has no codec for it (Debian and Ubuntu keep it apart). Passwords go through
the tool's standard input, where no other process sees them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from datastage.archives import inflate, zip_entry
from datastage.archives.errors import Fault
from datastage.archives.records import StreamMember
from datastage.archives.safety import MAX_TARGET_BYTES, Tree
from datastage.archives.streams import Bytes
from datastage.archives.write import Folder, write_all
from datastage.reader import Reader

if TYPE_CHECKING:
    from datastage.archives.extract import Result, Task
    from datastage.archives.formats import Source
    from datastage.archives.zip_directory import Directory

PIECE_BYTES = 1 << 20
_EMPTY_BYTES = 64  # no archive without a member is larger
_SPECIAL = {"p": "FIFO", "c": "character device", "b": "block device", "s": "socket"}


@contextmanager
def _local(reader: Reader, folder: str | None, suffix: str) -> Iterator[str]:
    """Give a path under which a tool can open the archive, with a stem that nobody can have foreseen.

    The stem matters: 7z shows it in place of an empty name.
    """
    with tempfile.TemporaryDirectory(prefix=".datastage-", dir=folder) as place:
        path = os.path.join(place, f"{secrets.token_hex(12)}.{suffix}")
        local = reader.local_path
        if local is not None and hasattr(os, "symlink"):
            os.symlink(os.path.abspath(local), path)
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


def _run(command: list[str], password: bytes | None) -> tuple[int, bytes, bytes]:
    done = subprocess.run(command, input=(password or b"") + b"\n", capture_output=True, env=_environment())
    return done.returncode, done.stdout, done.stderr


def _type(path: str, form: str) -> str:
    """Return the option that says what it is, so that 7z does not take it for anything else."""
    if form == "rar":
        with open(path, "rb") as file:
            return "-tRar5" if file.read(7)[6:] == b"\x01" else "-tRar"
    return "-t" + form


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _listed_member(fields: dict[str, str], stem: str) -> StreamMember:
    """Return a member as a tool lists it. Where the name is empty, 7z shows the stem of the archive's name."""
    attributes = fields["Attributes"].split(" ")
    unix = next((a for a in attributes if len(a) == 10 and a[0] in "-dlpcbs"), "")
    kind = _SPECIAL.get(unix[:1], "file")
    if unix.startswith("l") or fields.get("Symbolic Link"):
        kind = "link"
    elif unix.startswith("d") or "D" in attributes[0] or fields.get("Folder") == "+":
        kind = "folder"
    return StreamMember(
        name="" if fields["Path"] == stem else fields["Path"],
        kind=kind,
        size=int(fields["Size"] or 0),
        mode=_mode(unix) if unix else None,
        mtime=_time(fields.get("Modified", "")),
        crc=int(fields["CRC"], 16) if fields.get("CRC") else None,
        encrypted=fields.get("Encrypted") == "+",
    )


def _mode(text: str) -> int:
    return sum(1 << 8 - nth for nth, c in enumerate(text[1:10]) if c not in "-ST")


def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def _listed(path: str, password: bytes | None, form: str) -> list[StreamMember]:
    code, out, err = _run([_tool_for(form), "l", "-slt", "-ba", "-sccUTF-8", _type(path, form), "--", path], password)
    said = (out[-2000:] + err[-2000:]).lower()
    if code:
        if b"password" in said or b"encrypted" in said:
            raise Fault("Z-LOCKED", "does not open" + (" with this password" if password else " without a password"))
        raise Fault("S-CUT", "cannot be listed: it is cut short or damaged")
    stem = os.path.basename(path).rpartition(".")[0]
    listed = []
    fields: dict[str, str] = {}
    for line in [*out.decode("utf-8", "surrogateescape").split("\n"), ""]:
        line = line.rstrip("\r")
        if line:
            key, equals, value = line.partition(" =")
            if not equals or key in fields:
                continue
            fields[key] = value.removeprefix(" ")
        elif fields:
            if not all(key in fields for key in ("Path", "Size", "Attributes")):
                raise Fault("S-CUT", "has a list that cannot be read")
            try:
                listed.append(_listed_member(fields, stem))
            except ValueError:
                raise Fault("S-CUT", "has a list that cannot be read") from None
            fields = {}
    return listed


@contextmanager
def _contents(path: str, password: bytes | None, form: str) -> Iterator[Bytes]:
    """Give the contents of all members, one behind another."""
    command = [_tool_for(form), "x", "-so", "-bd", "-y", _type(path, form), "--", path]
    if form == "rar" and (unrar := shutil.which("unrar")):
        command = [unrar, "p", "-inul", "-y", "-@", "--", path]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        try:
            process.stdin.write((password or b"") + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            pass
        stdout = process.stdout
        stream = Bytes(iter(lambda: stdout.read(PIECE_BYTES), b""))
        yield stream
        rest = stream.skip(1)
        code = process.wait()
        if rest:
            raise Fault("C-SIZE", "holds more than its list says")
        if code:
            raise Fault("Z-LOCKED" if password else "C-STREAM", "cannot be unpacked whole, says the tool")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def members(form: str, source: Source) -> Iterator[StreamMember]:
    """Give the members of an archive that a tool reads."""
    with _local(source.reader, source.folder, form) as path:
        listed = _listed(path, source.password, form)
        if not listed and (source.reader.size or 0) > _EMPTY_BYTES:
            raise Fault("S-CUT", f"is {source.reader.size:,} bytes long, and its list names none of them")
        if not source.wants_content:
            yield from listed
            return
        if source.password is None and any(each.encrypted for each in listed):
            raise Fault("Z-LOCKED", "needs a password, and none was given")
        total = sum(each.size for each in listed)
        Tree(source.free_bytes).take_room(total)
        source.reporter.phase(f"unpacking {source.reader.name}", total)
        with _contents(path, source.password, form) as stream:
            for each in listed:
                if each.kind == "folder":
                    yield each
                    continue
                left = [each.size]
                each.pieces = partial(_checked, stream, each, left, source.reporter.advance)
                if each.kind == "link":
                    if each.size > MAX_TARGET_BYTES:
                        raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", each.name)
                    each.target = b"".join(each.pieces()).decode("utf-8", "surrogateescape")
                yield each
                stream.skip(left[0])


def _checked(
    stream: Bytes, each: StreamMember, left: list[int], advance: Callable[[int], None]
) -> Iterator[memoryview]:
    crc32 = inflate.chosen().crc32
    crc = 0
    for piece in stream.pieces(left[0]):
        left[0] -= len(piece)
        crc = crc32(piece, crc)
        advance(len(piece))
        yield piece
    if left[0]:
        raise Fault("Z-LOCKED" if each.encrypted else "C-STREAM", "cannot be unpacked whole", each.name)
    if each.crc is not None and crc != each.crc:
        raise Fault("Z-LOCKED" if each.encrypted else "C-CRC", "has a wrong checksum", each.name)


# --- zip members that only a tool can undo ---


def check_zip_members(places: list[tuple[int, str, int, int]], directory: Directory, password: bytes | None) -> None:
    """Refuse methods that no tool is asked for, before anything is written."""
    for at, path, _, _ in places:
        entry = directory.entry(at)
        method = _true_method(entry)
        if entry.flags & 0x40:
            raise Fault("Z-LOCKED", "is locked by strong encryption, which is not read here", path)
        if method not in _BY_TOOL:
            raise Fault("Z-METHOD", f"is compressed by method {method}, which is not known here", path)
        if entry.encrypted and password is None:
            raise Fault("Z-LOCKED", "needs a password, and none was given", path)
        if entry.csize >= zip_entry.WRAP - (1 << 20) or entry.usize >= zip_entry.WRAP - 1:
            raise Fault("Z-METHOD", f"is over 4 GB and compressed by method {method}", path)
    _tool_for("7z")


_BY_TOOL = {zip_entry.DEFLATE64, zip_entry.XZ, zip_entry.PPMD, *zip_entry.OWN_METHODS}


def _true_method(entry: zip_entry.ZipEntry) -> int:
    method: int = entry.method
    if method == zip_entry.AES:
        field = zip_entry.find_extra(entry.extra, 0x9901)
        if field and len(field) >= 7:
            return field[5] | field[6] << 8
    return method


Place = tuple[int, str, int, int]


def _undone(
    task: Task, places: list[Place], directory: Directory
) -> Generator[tuple[zip_entry.ZipEntry, str, Iterator[memoryview]], None, None]:
    """Give these members' contents: they are copied, under plain names, into a small zip for the tool."""
    with tempfile.TemporaryDirectory(prefix=".datastage-", dir=task.root) as place:
        path = os.path.join(place, "members.zip")
        entries = []
        with open(path, "wb") as file:
            index = b""
            for nth, (at, _, offset, limit) in enumerate(places):
                entry = directory.entry(at, offset)
                entries.append(entry)
                start = zip_entry.begin(entry, task.reader.read_at, limit)
                name = b"%08d" % nth
                field = zip_entry.find_extra(entry.extra, 0x9901)
                extra = b"" if field is None else b"\x01\x99" + len(field).to_bytes(2, "little") + field
                # The check byte of a locked member is of its time where the sizes stand behind the data.
                time_date = entry.head[4:8]
                flags = entry.flags & ~0x800
                common = (
                    (51).to_bytes(2, "little") + flags.to_bytes(2, "little") + entry.method.to_bytes(2, "little")
                    + time_date + entry.crc.to_bytes(4, "little") + entry.csize.to_bytes(4, "little")
                    + entry.usize.to_bytes(4, "little") + len(name).to_bytes(2, "little")
                    + len(extra).to_bytes(2, "little")
                )  # fmt: skip
                index += (
                    b"PK\1\2" + (51).to_bytes(2, "little") + common + bytes(10)
                    + file.tell().to_bytes(4, "little") + name + extra
                )  # fmt: skip
                file.write(b"PK\3\4" + common + name + extra)
                end = start + entry.csize
                while start < end:
                    piece = task.reader.read_at(start, min(PIECE_BYTES, end - start))
                    if not piece:
                        raise Fault("C-STREAM", "is cut short", places[nth][1])
                    file.write(piece)
                    start += len(piece)
                if flags & 8:
                    file.write(b"PK\7\x08" + common[10:22])
            at = file.tell()
            n = min(len(places), 0xFFFF)
            file.write(index + b"PK\5\6" + bytes(4) + n.to_bytes(2, "little") * 2)
            file.write(len(index).to_bytes(4, "little") + at.to_bytes(4, "little") + bytes(2))
        with _contents(path, task.password, "zip") as stream:
            for entry, (_, target, _, _) in zip(entries, places):
                yield entry, target, _exactly(stream, entry, target)


def unpack_zip_members(task: Task, result: Result, folder: Folder, places: list[Place], directory: Directory) -> None:
    """Write these members, which are among the result's files already."""
    crc32 = inflate.chosen().crc32
    by_path = {path: nth for nth, path in enumerate(result.files.paths)}
    with closing(_undone(task, places, directory)) as undone:
        for entry, target, pieces in undone:
            crc = size = 0
            fd = folder.create(target, entry.mode)
            try:
                for piece in pieces:
                    write_all(fd, piece)
                    crc = crc32(piece, crc)
                    size += len(piece)
                    task.reporter.advance(len(piece))
                if entry.mtime_ns is not None:
                    folder.set_time(fd, target, entry.mtime_ns)
            finally:
                os.close(fd)
            _check(entry, crc, target)
            nth = by_path[target]
            result.files.sizes[nth], result.files.crcs[nth] = size, crc


def read_zip_link(task: Task, place: Place, directory: Directory) -> str:
    """Return the target of a link."""
    with closing(_undone(task, [place], directory)) as undone:
        ((entry, data),) = [(entry, b"".join(pieces)) for entry, _, pieces in undone]
    _check(entry, inflate.chosen().crc32(data), place[1])
    return data.decode("utf-8", "surrogateescape")


def _check(entry: zip_entry.ZipEntry, crc32: int, path: str) -> None:
    # AE-2 keeps no checksum; the tool has checked its stronger one.
    if crc32 != entry.crc and not (entry.method == zip_entry.AES and not entry.crc):
        raise Fault("Z-LOCKED" if entry.encrypted else "C-CRC", "has a wrong checksum", path)


def _exactly(stream: Bytes, entry: zip_entry.ZipEntry, path: str) -> Iterator[memoryview]:
    left = entry.usize
    for piece in stream.pieces(left):
        left -= len(piece)
        yield piece
    if left:
        raise Fault("Z-LOCKED" if entry.encrypted else "C-STREAM", "cannot be unpacked whole", path)
