from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import zlib

import pytest

from datastage.archives import external_tools, iter_members, list_members
from datastage.errors import (
    DamagedArchiveError,
    DatastageError,
    IntegrityError,
    MissingDependencyError,
    PasswordError,
    UnsafeArchiveError,
)
from datastage.reader import BytesReader, FileReader

from .made import Link, tar_of, tree, unpacked
from .raw import outcome, zip_entry, zip_raw

needs_7z = pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
FILES = {"a.txt": b"alpha\n" * 50, "d/b.txt": b"beta", "d/empty": b"", "odd \u732b name.txt": b"n"}


@pytest.fixture
def pack(tmp_path):
    def pack(*options: str, name: str = "x.7z"):
        source = tmp_path / "source"
        for path, data in FILES.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        archive = tmp_path / name
        subprocess.run(["7z", "a", "-bd", *options, archive, "."], cwd=source, check=True, capture_output=True)
        return archive

    return pack


def files_of(root):
    return {p: v for p, v in tree(root).items() if v is not None}


@needs_7z
@pytest.mark.parametrize("options", [[], ["-mx0"], ["-ms=off"], ["-m0=bzip2"], ["-m0=ppmd"]])
def test_a_7z_comes_back(options, pack, tmp_path):
    result = unpacked(pack(*options), tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES
    assert {(f.path, f.crc32) for f in result.files} == {(p, zlib.crc32(d)) for p, d in FILES.items()}


@needs_7z
def test_a_7z_from_a_link_is_kept_for_a_while_and_gone_afterwards(pack, tmp_path):
    unpacked_from = Link(pack().read_bytes(), name="x.7z")
    (tmp_path / "to").mkdir()
    from datastage.archives import unpack

    unpack(unpacked_from, tmp_path / "to")
    assert files_of(tmp_path / "to") == FILES


@needs_7z
@pytest.mark.parametrize("options", [["-psecret"], ["-psecret", "-mhe=on"]])
def test_a_locked_7z_opens_with_its_password_only(options, pack, tmp_path):
    archive = pack(*options)
    unpacked(archive, tmp_path / "to", password="secret")
    assert files_of(tmp_path / "to") == FILES
    for nth, password in enumerate((None, "wrong")):
        with pytest.raises(PasswordError):
            unpacked(archive, tmp_path / str(nth), password=password)
        assert tree(tmp_path / str(nth)) == {}


@needs_7z
@pytest.mark.parametrize("options", [["-mm=deflate64"], ["-mm=ppmd"], ["-mem=AES256", "-psecret"], ["-mm=lzma"]])
def test_zip_methods_that_only_a_tool_undoes(options, pack, tmp_path):
    unpacked(pack("-tzip", *options, name="x.zip"), tmp_path / "to", password="secret")
    assert files_of(tmp_path / "to") == FILES


@needs_7z
def test_the_password_is_on_no_command_line(pack, tmp_path, monkeypatch):
    commands = []
    popen = subprocess.Popen.__init__

    def watched(self, args, *rest, **more):
        commands.append(args)
        popen(self, args, *rest, **more)

    archive = pack("-psecret")
    monkeypatch.setattr(subprocess.Popen, "__init__", watched)
    unpacked(archive, tmp_path / "to", password="secret")
    assert commands
    assert "secret" not in str(commands)


@needs_7z
def test_members_of_a_7z_are_listed_and_read(pack):
    with FileReader(pack()) as reader:
        assert {m.name for m in list_members(reader) if m.kind == "file"} == set(FILES)
        assert {m.name: s.read() for m, s in iter_members(reader) if s} == FILES


def test_without_the_tool_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(external_tools.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="7z"):
        unpacked(b"7z\xbc\xaf\x27\x1c" + bytes(60), tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_a_7z_that_was_built_without_rar_is_said_to_be_so(monkeypatch, tmp_path):
    """As Debian's is."""
    tool = tmp_path / "7z"
    tool.write_text("#!/bin/sh\nprintf '\\nERROR:\\nUnsupported archive type\\n' >&2\nexit 2\n")
    tool.chmod(0o755)
    monkeypatch.setattr(external_tools.shutil, "which", lambda name: str(tool) if name == "7z" else None)
    with pytest.raises(MissingDependencyError, match="built without"):
        unpacked(rar4({"a": b"1"}), tmp_path / "to", name="x.rar")


def rar4(files: dict[str, bytes], crc_of=zlib.crc32, version=20, links=()) -> bytes:
    """Return a RAR 4 archive, stored, written by hand."""

    def block(kind: int, flags: int, body: bytes, data: bytes = b"") -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest + data

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in files.items():
        raw = name.encode()
        body = struct.pack(
            "<LLBLLBBHL", len(data), len(data), 3, crc_of(data), 0x512D6354, version, 0x30, len(raw),
            0o120777 if name in links else 0o100644,
        )  # fmt: skip
        out += block(0x74, 0x8000, body + raw, data)
    return out + block(0x7B, 0x4000, b"")


def rar5(files: dict[str, bytes]) -> bytes:
    """Return a RAR 5 archive, stored, written by hand."""

    def v(n: int) -> bytes:
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes([*out, n])

    def block(body: bytes, data: bytes = b"") -> bytes:
        sized = v(len(body)) + body
        return struct.pack("<L", zlib.crc32(sized)) + sized + data

    out = b"Rar!\x1a\x07\x01\x00" + block(v(1) + v(0) + v(0))
    for name, data in files.items():
        raw = name.encode()
        facts = (
            v(4) + v(len(data)) + v(0o100644) + struct.pack("<L", zlib.crc32(data)) + v(0) + v(1) + v(len(raw)) + raw
        )
        out += block(v(2) + v(2) + v(len(data)) + facts, data)
    return out + block(v(5) + v(0) + v(0))


@needs_7z
@pytest.mark.parametrize("make", [rar4, rar5])
def test_a_stored_rar_comes_back(make, tmp_path):
    files = {"a.txt": b"alpha\n" * 9, "b.txt": b"beta"}
    assert {m.name for m in list_members(BytesReader(make(files)))} == set(files)
    unpacked(make(files), tmp_path / "to")
    assert tree(tmp_path / "to") == files


@needs_7z
@pytest.mark.parametrize("make", [rar4, rar5])
def test_a_hostile_rar_is_refused(make, tmp_path):
    with pytest.raises(UnsafeArchiveError, match="N-UP"):
        unpacked(make({"good": b"1", "../evil": b"2"}), tmp_path / "to")
    assert tree(tmp_path) == {"to": None}


@needs_7z
def test_a_rar_with_a_wrong_checksum_is_refused(tmp_path):
    with pytest.raises(DamagedArchiveError):
        unpacked(rar4({"a": b"12345"}, crc_of=lambda data: 7), tmp_path / "to")
    assert tree(tmp_path / "to") == {}


@needs_7z
@pytest.mark.parametrize(("target", "fine"), [("a.txt", True), ("../../x", False)])
def test_links_that_7z_locked_in_a_zip_are_judged_as_others(target, fine, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"alpha")
    (source / "l").symlink_to(target)
    command = ["7z", "a", "-tzip", "-snl", "-ppw", "-mem=AES256", tmp_path / "x.zip", "."]
    if subprocess.run(command, cwd=source, capture_output=True).returncode:
        pytest.skip("this 7z packs no links that lead nowhere")
    if fine:
        unpacked(tmp_path / "x.zip", tmp_path / "to", password="pw")
        assert files_of(tmp_path / "to") == {"a.txt": b"alpha", "l": "-> a.txt"}
    else:
        with pytest.raises(UnsafeArchiveError, match="L-OUT"):
            unpacked(tmp_path / "x.zip", tmp_path / "to", password="pw")
        assert tree(tmp_path / "to") == {}


@needs_7z
@pytest.mark.skipif(not shutil.which("bsdtar"), reason="bsdtar is not installed")
@pytest.mark.parametrize(
    ("make", "names", "rule"),
    [
        ("echo 1 > ../evil", ["../evil"], "N-UP"),
        ("ln -s ../.. l", ["l"], "L-OUT"),
        ("ln -s /etc l", ["l"], "L-OUT"),
        ("mkfifo p", ["p"], "S-SPECIAL"),
        ("echo 1 > '..\\c'", ["..\\c"], "N-UP"),
    ],
)
def test_a_hostile_7z_is_refused(make, names, rule, tmp_path):
    source = tmp_path / "in" / "source"
    source.mkdir(parents=True)
    subprocess.run(["sh", "-c", "echo fine > ok; " + make], cwd=source, check=True)
    archive = tmp_path / "x.7z"
    command = ["bsdtar", "-P", "--format", "7zip", "-cf", archive, "ok", *names]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    with pytest.raises(UnsafeArchiveError, match=rule):
        unpacked(archive, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


@needs_7z
def test_a_name_with_line_ends_cannot_add_to_the_list(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a\nSize = 1\nAttributes = D").write_bytes(b"22")
    (source / "z").write_bytes(b"4")
    subprocess.run(["7z", "a", tmp_path / "x.7z", "."], cwd=source, check=True, capture_output=True)
    unpacked(tmp_path / "x.7z", tmp_path / "to")
    assert sorted(files_of(tmp_path / "to").values()) == [b"22", b"4"]


@needs_7z
def test_a_7z_whose_header_names_none_of_its_bytes_is_damaged(pack, tmp_path):
    data = pack().read_bytes()
    nothing = struct.pack("<QQL", 0, 0, 0)
    head = data[:8] + struct.pack("<L", zlib.crc32(nothing)) + nothing
    with pytest.raises(DamagedArchiveError):
        unpacked(head + data[32:], tmp_path / "to", name="x.7z")
    assert tree(tmp_path / "to") == {}
    assert not unpacked(head, tmp_path / "empty", name="x.7z").files


@pytest.fixture
def unrar(tmp_path, monkeypatch):
    """Put a program called unrar before all others: it says who made it, and prints what it is told to."""

    def unrar(says: str, prints: bytes, exits: int = 0) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "content").write_bytes(prints)
        (folder / "unrar").write_text(
            f"#!/bin/sh\n[ $# -gt 0 ] || {{ echo '{says}'; exit 0; }}\ncat {folder}/content\nexit {exits}\n"
        )
        (folder / "unrar").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return unrar


ROSHAL = "UNRAR 7.01 freeware      Copyright (c) 1993-2024 Alexander Roshal"


@needs_7z
def test_another_program_that_is_called_unrar_is_not_asked(unrar, tmp_path):
    """Debian's unrar-free prints a report in place of the contents: good archives would be called damaged."""
    unrar("unrar-free 0.1.3", b"Extracting from x.rar\n")
    assert external_tools.unrar() is None
    unpacked(rar4({"a.txt": b"alpha"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha"}


@needs_7z
def test_links_of_a_rar_come_back_though_unrar_prints_nothing_of_them(unrar, tmp_path):
    unrar(ROSHAL, b"alphabeta")
    unpacked(rar4({"a.txt": b"alpha", "l": b"a.txt", "z.txt": b"beta"}, links=["l"]), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha", "l": "-> a.txt", "z.txt": b"beta"}


def listing(*members: str) -> str:
    return "Path = x\n\n----------\n" + "\n".join(members)


MEMBER = "Path = {}\nSize = {}\nAttributes = -rw-r--r--\nEncrypted = {}\nCRC = {:08X}\n{}\n"


@pytest.fixture
def lister(tmp_path, monkeypatch):
    """Have a program in place of 7z that lists what it is told to, and prints what it is told to."""

    def lister(said: str, prints: bytes = b"") -> None:
        (tmp_path / "list").write_text(said)
        (tmp_path / "content").write_bytes(prints)
        (tmp_path / "7z").write_text(f"#!/bin/sh\n[ $1 = l ] && cat {tmp_path}/list || cat {tmp_path}/content\n")
        (tmp_path / "7z").chmod(0o755)
        monkeypatch.setattr(external_tools.shutil, "which", lambda name: str(tmp_path / "7z") if name == "7z" else None)

    return lister


def test_links_that_rar_5_keeps_in_its_list_are_taken_from_there(lister, tmp_path):
    links = [MEMBER.format("s", 5, "-", 0, "Symbolic Link = a.txt"), MEMBER.format("h", 5, "-", 0, "Hard Link = a.txt")]
    lister(listing(MEMBER.format("a.txt", 5, "-", zlib.crc32(b"alpha"), "Symbolic Link = "), *links), b"alpha")
    unpacked(rar5({"a.txt": b"alpha"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha", "s": "-> a.txt", "h": b"alpha"}


@needs_7z
def test_of_a_rar_4_that_keeps_older_versions_of_a_file_the_last_comes(unrar, tmp_path):
    unrar(ROSHAL, b"1122233")
    result = unpacked(rar4({"a.txt;1": b"11", "a.txt;2": b"222", "a.txt": b"33"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"33"}
    assert result.left_out == {"older versions": 2}


@needs_7z
def test_a_name_that_ends_as_a_version_of_no_other_file_stays(tmp_path):
    unpacked(rar4({"a.txt;1": b"11", "b;x": b"2"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt;1": b"11", "b;x": b"2"}


@pytest.mark.parametrize("by_unrar", [True, False])
def test_of_a_rar_5_that_keeps_older_versions_of_a_file_the_last_comes(by_unrar, lister, monkeypatch, tmp_path):
    older = MEMBER.format("[VER]/1/a.txt", 2, "-", zlib.crc32(b"11"), "Characteristics = CRC Time:uM Version")
    lister(listing(older, MEMBER.format("a.txt", 2, "-", zlib.crc32(b"33"), "Characteristics = CRC Time:uM")), b"1133")
    monkeypatch.setattr(external_tools, "unrar", lambda: str(tmp_path / "7z") if by_unrar else None)
    assert unpacked(rar5({"a.txt": b"33"}), tmp_path / "to").left_out == {"older versions": 1}
    assert tree(tmp_path / "to") == {"a.txt": b"33"}


@pytest.mark.parametrize("by_unrar", [True, False])
def test_a_file_that_rar_5_keeps_as_a_copy_of_another_comes_back(by_unrar, lister, monkeypatch, tmp_path):
    """RARLAB's unrar does not print it again."""
    copy = MEMBER.format("b.txt", 5, "-", zlib.crc32(b"alpha"), "Copy Link = a.txt")
    content = b"alpha" if by_unrar else b"alphaalpha"
    lister(listing(MEMBER.format("a.txt", 5, "-", zlib.crc32(b"alpha"), "Copy Link = "), copy), content)
    monkeypatch.setattr(external_tools, "unrar", lambda: str(tmp_path / "7z") if by_unrar else None)
    unpacked(rar5({"a.txt": b"alpha"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha", "b.txt": b"alpha"}


def test_an_archive_that_keeps_no_attributes_is_read(lister, tmp_path):
    lister(listing(f"Path = a.txt\nSize = 5\nModified = \nCRC = {zlib.crc32(b'alpha'):08X}\nEncrypted = -\n"), b"alpha")
    unpacked(b"7z\xbc\xaf\x27\x1c" + bytes(60), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha"}


def test_ten_volumes_that_lie_together_are_not_taken_for_one(lister, tmp_path):
    whole = listing(MEMBER.format("a.txt", 5, "-", zlib.crc32(b"alpha"), ""))
    lister(f"Path = x\nMultivolume = +\nVolumes = 10\n\n{whole}", b"alpha")
    unpacked(rar5({"a.txt": b"alpha"}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"a.txt": b"alpha"}


def test_a_locked_member_that_a_tool_cannot_open_is_no_damage(lister, tmp_path):
    """RARLAB's unrar says no word of it when it prints."""
    lister(listing(MEMBER.format("a.txt", 5, "+", zlib.crc32(b"alpha"), "")), b"noise")
    with pytest.raises(PasswordError, match="does not open with this password"):
        unpacked(rar5({"a.txt": b"alpha"}), tmp_path / "to", password="wrong")


# --- what a person hears is what was seen ---


def test_a_rar_that_the_7z_here_cannot_undo_names_the_tool_that_does(tmp_path, monkeypatch):
    """Debian's 7z lists every rar and undoes none but stored ones."""
    member = MEMBER.format("a.txt", 5, "-", 7, "")
    (tmp_path / "7z").write_text(
        f"#!/bin/sh\n[ $1 = l ] && {{ cat <<'E'\n{listing(member)}\nE\nexit 0; }}\n"
        "echo 'ERROR: Unsupported Method : a.txt' >&2; exit 2\n"
    )
    (tmp_path / "7z").chmod(0o755)
    monkeypatch.setattr(external_tools.shutil, "which", lambda name: str(tmp_path / "7z") if name == "7z" else None)
    with pytest.raises(MissingDependencyError, match="only RARLAB's unrar undoes it") as caught:
        unpacked(rar5({"a.txt": b"alpha"}), tmp_path / "to")
    assert "not unrar-free" in str(caught.value)


@needs_7z
@pytest.mark.parametrize("make", [rar4, rar5])
def test_a_rar_cut_anywhere_is_said_to_be_cut_and_never_to_be_locked(make, tmp_path):
    data = make({"a.txt": b"alpha\n" * 9, "b.txt": b"beta"})
    for n, end in enumerate(range(20, len(data) - 8, 9)):
        with pytest.raises(DatastageError) as caught:
            unpacked(data[:end], tmp_path / str(n))
        assert not isinstance(caught.value, PasswordError), end
        assert "locked" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("cut short", "list of its members")), str(caught.value)


@needs_7z
def test_a_rar_that_ends_behind_a_member_is_cut_unless_rar_2_made_it(tmp_path):
    files = {"a.txt": b"alpha\n" * 9, "b.txt": b"beta"}
    unpacked(rar4(files, version=29), tmp_path / "whole")
    unpacked(rar4(files, version=20)[:-7], tmp_path / "of old")
    assert tree(tmp_path / "whole") == tree(tmp_path / "of old") == files
    for cut in (rar4(files, version=29)[:-7], rar4({"a.txt": files["a.txt"]}, version=29)[:-7]):
        with pytest.raises(DamagedArchiveError, match="cut short"):
            unpacked(cut, tmp_path / "cut")


@needs_7z
def test_a_7z_that_is_damaged_is_told_from_one_that_is_cut_or_locked(pack, tmp_path):
    data = pack("-mx0").read_bytes()
    changed = bytearray(data)
    changed[data.index(b"alpha")] ^= 1
    with pytest.raises(DamagedArchiveError, match="wrong checksum") as caught:
        unpacked(bytes(changed), tmp_path / "changed")
    assert "cut short" not in str(caught.value)
    for nth, cut in enumerate((data[:-40], data[:20])):
        with pytest.raises(DamagedArchiveError, match="cut short"):
            unpacked(cut, tmp_path / str(nth))


def shrunk(data: bytes) -> bytes:
    """Return bytes as PKZIP 1 shrank them: codes of nine bits, each a letter."""
    bits = sum(byte << 9 * nth for nth, byte in enumerate(data))
    return bits.to_bytes((9 * len(data) + 7) // 8, "little")


@needs_7z
def test_methods_of_old_zips_are_undone_by_7z(tmp_path):
    data = zip_raw(zip_entry("a.txt", b"plain"), zip_entry("old.txt", b"shrink", 1, payload=shrunk(b"shrink")))
    assert outcome(data, tmp_path / "x") == {"a.txt": b"plain", "old.txt": b"shrink"}


@needs_7z
def test_a_method_that_nothing_undoes_is_no_damage(tmp_path):
    with pytest.raises(IntegrityError, match="does not know") as caught:
        unpacked(zip_raw(zip_entry("a.txt", b"12345", 17)), tmp_path / "to")
    assert not isinstance(caught.value, DamagedArchiveError)
    assert "cut short" not in str(caught.value)


def test_without_7z_a_method_that_it_undoes_is_said_to_need_it(monkeypatch, tmp_path):
    monkeypatch.setattr(external_tools.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="7z"):
        unpacked(zip_raw(zip_entry("a.txt", b"12345", 6)), tmp_path / "to")


@needs_7z
def test_many_members_beside_one_that_a_tool_undoes_come_out_too(pack, tmp_path):
    for name in FILES:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
    archive = pack("-tzip", "-mm=deflate64", name="x.zip")
    subprocess.run(["7z", "a", "-bd", "-tzip", "-mm=deflate", archive, __file__], check=True, capture_output=True)
    unpacked(archive, tmp_path / "to", members=["d", "test_*"])
    with open(__file__, "rb") as file:
        assert files_of(tmp_path / "to") == {
            "d/b.txt": b"beta", "d/empty": b"", "test_external_tools.py": file.read()
        }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name"), [(gzip.compress, "x.tar.gz"), (bz2.compress, "x.tar.bz2"), (lzma.compress, "x.tar.xz")]
)
@pytest.mark.parametrize("behind", [b"\n", b"\r\n", b"signature"])
def test_bytes_behind_a_compressed_archive_are_not_called_a_cut(make, name, behind, tmp_path):
    with pytest.raises(DamagedArchiveError, match="behind its end") as caught:
        unpacked(make(tar_of([("a", b"1")])) + behind, tmp_path / "to", name)
    assert "It is not cut short" in str(caught.value)
