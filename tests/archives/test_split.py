"""Archives that people cut into parts, in every way that they do, are read where all parts lie; else named for it."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest

import datastage
from datastage.archives import joined, unpack
from datastage.archives.split import is_part
from datastage.errors import DamagedArchiveError, DatastageError, IntegrityError
from tests.servers import server as server

from .made import tree, zip_of

FILES = {"big/x": os.urandom(150_000), "big/y": b"hello", "big/z": b"z" * 70_000}


def tar_gz() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def cut(folder, data: bytes, names: list[str]) -> None:
    step = -(-len(data) // len(names))
    for nth, name in enumerate(names):
        (folder / name).write_bytes(data[nth * step : (nth + 1) * step])


def files_of(root):
    return {p: v for p, v in tree(root).items() if isinstance(v, bytes) and not p.startswith(".datastage")}


ANYWHERE = {
    "7-Zip, zip": ["data.zip.001", "data.zip.002", "data.zip.003"],
    "split": ["xaa", "xab", "xac"],
    "split with a prefix": ["part_aa", "part_ab", "part_ac"],
    "split with the name": ["data.tar.gz.aa", "data.tar.gz.ab", "data.tar.gz.ac"],
    "split with part": ["data.tar.gz.part-aa", "data.tar.gz.part-ab"],
    "split -d": ["data.tar.gz.00", "data.tar.gz.01", "data.tar.gz.02"],
    "split -a 3": ["xaaa", "xaab", "xaac"],
    "numbers from one": ["data.tgz.part1", "data.tgz.part2", "data.tgz.part3"],
    "numbers from nought": ["data.zip.0", "data.zip.1"],
    "more than ten": [f"data.zip.{nth}" for nth in range(1, 13)],
}


@pytest.mark.parametrize("way", ANYWHERE)
def test_parts_cut_anywhere_are_read_whichever_is_named(way, tmp_path):
    names = ANYWHERE[way]
    cut(tmp_path, zip_of(FILES) if "zip" in names[0] else tar_gz(), names)
    for nth, name in enumerate(names):
        (tmp_path / f"to{nth}").mkdir()
        with joined(tmp_path / name) as reader:
            unpack(reader, tmp_path / f"to{nth}")
        assert files_of(tmp_path / f"to{nth}") == FILES


def test_an_archive_of_which_any_part_changed_is_staged_anew(here):
    names = ["data.zip.001", "data.zip.002"]
    for text in (b"old", b"new", b"new"):
        was = [(here / name).read_bytes() for name in names if (here / name).exists()]
        cut(here, zip_of({"first": bytes(9000), "second": text}, method=zipfile.ZIP_STORED), names)
        assert not was or was[0] == (here / names[0]).read_bytes()
        staged = datastage.stage("./data.zip.001", progress=False)
        assert (staged / "second").read_bytes() == text
    (here / names[1]).unlink()
    assert datastage.stage("./data.zip.001", progress=False).receipt["reused"]


@pytest.mark.skipif(not shutil.which("zip"), reason="zip is not installed")
@pytest.mark.parametrize("names", ["{}.zip", "{}.ZIP"])
def test_a_zip_cut_by_zip_itself_is_read_whichever_part_is_named(names, here):
    for name, data in FILES.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(data)
    subprocess.run(["zip", "-qr", "-s", "64k", "split.zip", "big"], check=True)
    if names.isupper():
        for path in here.glob("split.z*"):
            path.rename(path.with_name(path.name.upper()))
    parts = sorted(path.name for path in here.iterdir() if path.is_file())
    assert len(parts) == 3
    for part in parts:
        assert files_of(datastage.stage(f"./{part}", strip=False, progress=False)) == FILES
        datastage.extract(part, f"out of {part}", progress=False)
        assert files_of(here / f"out of {part}") == FILES
        assert {member.name for member in datastage.members(part)} >= set(FILES)
    (here / parts[1]).unlink()
    for part in (parts[0], parts[-1]):
        with pytest.raises(IntegrityError, match=f"one part of several.*{parts[1]}"):
            datastage.stage(f"./{part}", progress=False)
        with pytest.raises(IntegrityError, match="one part of several"):
            datastage.extract(part, "nothing", progress=False)
    assert not (here / "nothing").exists()


@pytest.mark.skipif(not shutil.which("zip"), reason="zip is not installed")
@pytest.mark.parametrize("more", [[], ["-fz"]])
def test_a_zip_cut_by_zip_itself_and_put_together_by_hand_is_read(more, here):
    """As people do it: cat split.z* > whole.zip. Its offsets still count from the parts that are gone."""
    for name, data in FILES.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(data)
    subprocess.run(["zip", "-qr", *more, "-s", "64k", "split.zip", "big"], check=True)
    (here / "whole.zip").write_bytes(b"".join(part.read_bytes() for part in sorted(here.glob("split.z*"))))
    for part in here.glob("split.z*"):
        part.unlink()
    datastage.extract("whole.zip", "out", progress=False)
    assert files_of(here / "out") == FILES
    assert files_of(datastage.stage("./whole.zip", strip=False, progress=False)) == FILES
    damaged = bytearray((here / "whole.zip").read_bytes())
    del damaged[20_000:20_101]  # now parts of one size cannot be what it was made of
    (here / "less.zip").write_bytes(damaged)
    with pytest.raises(IntegrityError, match="one part of several"):
        datastage.extract("less.zip", "nothing", progress=False)


@pytest.mark.skipif(not shutil.which("zip") or not shutil.which("7z"), reason="zip or 7z is not installed")
def test_one_put_together_by_hand_is_read_by_a_tool_too(here):
    (here / "x").write_bytes(FILES["big/x"])
    subprocess.run(
        ["7z", "a", "-bd", "-tzip", "-psecret", "-mem=AES256", "a.zip", "x"], check=True, capture_output=True
    )
    subprocess.run(["zip", "-q", "-s", "64k", "a.zip", "--out", "split.zip"], check=True)
    (here / "whole.zip").write_bytes(b"".join(part.read_bytes() for part in sorted(here.glob("split.z*"))))
    for part in here.glob("split.z*"):
        part.unlink()
    datastage.extract("whole.zip", "out", password="secret", progress=False)
    assert files_of(here / "out") == {"x": FILES["big/x"]}


@pytest.mark.parametrize("name", ["data.zip.001", "data.7z.001", "data.tar.gz.00"])
def test_a_first_part_that_lies_alone_is_named_for_what_it_is(name, tmp_path):
    whole = {"zip": zip_of(FILES), "7z": b"7z\xbc\xaf\x27\x1c" + bytes(9), "tar": tar_gz()}[name.split(".")[1]]
    (tmp_path / name).write_bytes(whole[:50_000])
    with pytest.raises(IntegrityError, match="one part of several") as caught:
        datastage.extract(tmp_path / name, tmp_path / "to", progress=False)
    assert "cut short" not in str(caught.value)


def test_the_first_part_of_a_split_zip_under_another_name_is_told_by_its_mark(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"PK\7\x08" + zip_of(FILES)[:50_000])
    with pytest.raises(IntegrityError, match="one part of several"):
        datastage.extract(tmp_path / "data.zip", tmp_path / "to", progress=False)


@pytest.mark.skipif(not shutil.which("zip"), reason="zip is not installed")
def test_the_last_part_may_be_called_zipx(here):
    """As WinZip calls it."""
    (here / "big").write_bytes(FILES["big/x"])
    subprocess.run(["zip", "-q", "-s", "64k", "split.zip", "big"], check=True)
    (here / "split.zip").rename(here / "split.zipx")
    for name in ("split.zipx", "split.z01"):
        datastage.extract(name, f"out of {name}", progress=False)
        assert files_of(here / f"out of {name}") == {"big": FILES["big/x"]}


def test_a_whole_zip_that_says_it_is_a_part_is_read(tmp_path):
    data = bytearray(zip_of(FILES))
    data[-18:-16] = b"\1\0"  # the number of this part, in the end record
    (tmp_path / "x.zip").write_bytes(data)
    datastage.extract(tmp_path / "x.zip", tmp_path / "to", progress=False)
    assert files_of(tmp_path / "to") == FILES


def test_a_cut_7z_is_read(tmp_path):
    if not shutil.which("7z"):
        pytest.skip("7z is not installed")
    (tmp_path / "x").write_bytes(FILES["big/x"])
    subprocess.run(["7z", "a", "-bd", "-v60k", "s.7z", "x"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "to").mkdir()
    with joined(tmp_path / "s.7z.002") as reader:
        unpack(reader, tmp_path / "to")
    assert tree(tmp_path / "to") == {"x": FILES["big/x"]}


@pytest.mark.parametrize("gone", [0, 1])
def test_a_part_that_is_missing_is_named_with_the_line_that_joins(gone, here):
    names = ["data.zip.001", "data.zip.002", "data.zip.003"]
    cut(here, zip_of(FILES), names)
    (here / names[gone]).unlink()
    with pytest.raises(IntegrityError, match=names[gone]) as caught:
        datastage.stage("./data.zip.003", progress=False)
    assert "cat NAME.zip.0*" in str(caught.value)
    assert "cut short" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["split.z01", "data.zip.002", "data.7z.001", "data.part1.rar", "data.r00", "a.tar.gz.001"]
)
def test_a_part_from_an_address_is_named_for_what_it_is(name, here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    with pytest.raises(IntegrityError, match="one part of several"):
        datastage.stage(server.serve(name, zip_of(FILES)[:50_000]), progress=False)


def test_files_that_only_look_like_parts_are_left_alone(tmp_path):
    for name in ("photo1", "photo2", "xaa", "xab", "run_aa", "run_ab"):
        (tmp_path / name).write_bytes(b"text of its own\n" * 100)
    for name in ("one1.gz", "one2.gz", "train_00", "train_01"):
        (tmp_path / name).write_bytes(tar_gz())  # whole archives, each
    (tmp_path / "a.zip").write_bytes(zip_of(FILES))
    (tmp_path / "a.z1").write_bytes(b"?")
    (tmp_path / "alone.zip.001").write_bytes(zip_of(FILES))
    assert [path.name for path in tmp_path.iterdir() if joined(path)] == []
    assert not any(map(is_part, ("data.zip", "x.tar.gz", "photo1", "v1.2", "data.2024", "a.gz")))


@pytest.mark.parametrize("names", [["x_part1.zip", "x_part2.zip", "x_part3.zip"], ["x-01.zip", "x-02.zip"]])
def test_parts_of_a_zip_that_were_each_called_a_zip_are_read(names, here):
    cut(here, zip_of(FILES), names)
    for name in names:
        datastage.extract(name, f"out of {name}", progress=False)
        assert files_of(here / f"out of {name}") == FILES
        assert files_of(datastage.stage(f"./{name}", strip=False, progress=False)) == FILES


def test_whole_zips_that_are_numbered_are_each_their_own(here):
    for nth in (1, 2, 4):
        (here / f"x{nth}.zip").write_bytes(zip_of({f"{nth}": b"%d" % nth}))
    (here / "y1.zip").write_bytes(zip_of(FILES))
    (here / "y2.zip").write_bytes(b"<html>a page</html>" * 9000)
    for name, files in (("x1", {"1": b"1"}), ("x2", {"2": b"2"}), ("x4", {"4": b"4"}), ("y1", FILES)):
        datastage.extract(f"{name}.zip", name, progress=False)
        assert files_of(here / name) == files


@pytest.mark.parametrize("names", [["data.tar.gz.2024"], [f"data.zip.{nth}" for nth in range(1, 12)], ["data.zip.10"]])
def test_a_whole_archive_with_a_number_behind_its_name_is_no_part(names, here):
    """As of a year, or of a download that was there already."""
    for name in names:
        (here / name).write_bytes(zip_of(FILES) if "zip" in name else tar_gz())
    for name in {names[0], names[-1]}:
        datastage.extract(name, f"out of {name}", progress=False)
        assert files_of(here / f"out of {name}") == FILES
        assert files_of(datastage.stage(f"./{name}", strip=False, progress=False)) == FILES


@pytest.mark.parametrize("end", [b"", b"hi", bytes(70_000), b"\xff" * 70_000, b"PK\5\6", b"PK\5\6" + b"\xff" * 18])
def test_a_last_part_without_its_end_is_named_as_the_damaged_one(end, tmp_path):
    (tmp_path / "x.z01").write_bytes(b"PK\7\x08PK\3\4")
    (tmp_path / "x.zip").write_bytes(end)
    with pytest.raises(DamagedArchiveError, match=r"x\.zip is damaged or incomplete: it has .*missing"):
        joined(tmp_path / "x.z01")


def test_a_directory_that_ends_amid_an_entry_is_damage(tmp_path):
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 1, 1, 1, 1, 20, 0, 0)
    (tmp_path / "x.z01").write_bytes(b"PK\7\x08PK\3\4")
    (tmp_path / "x.zip").write_bytes(b"PK\1\2" + bytes(16) + end)
    (tmp_path / "to").mkdir()
    with joined(tmp_path / "x.z01") as reader, pytest.raises(DamagedArchiveError, match=r"directory of 0, .* counts 1"):
        unpack(reader, tmp_path / "to")


def test_the_last_part_that_is_missing_leaves_damage_and_nothing_else(here):
    cut(here, tar_gz(), ["xaa", "xab", "xac"])
    (here / "xac").unlink()
    with pytest.raises(DatastageError):
        datastage.stage("./xaa", progress=False)
    assert list((here.parent / "root").glob("x*")) == []


def rar4_volumes(data: bytes, *, old_names: bool = False, n: int = 2) -> list[bytes]:
    """Return a stored RAR 4 archive of volumes, written by hand."""

    def block(kind: int, flags: int, body: bytes, content: bytes = b"") -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest + content

    volumes, step = [], -(-len(data) // n)
    for nth in range(n):
        piece, is_last = data[nth * step : (nth + 1) * step], nth == n - 1
        crc = zlib.crc32(data if is_last else piece)
        body = struct.pack("<LLBLLBBHL", len(piece), len(data), 3, crc, 0x512D6354, 20, 0x30, 1, 0o100644)
        main = block(0x73, (0 if n == 1 else 1 if old_names else 0x11) | (0x100 if nth == 0 else 0), bytes(6))
        file = block(0x74, 0x8000 | (nth > 0) | (0 if is_last else 2), body + b"a", piece)
        volumes.append(b"Rar!\x1a\x07\x00" + main + file + block(0x7B, 0x4000 | (not is_last), b""))
    return volumes


def rar5_volumes(data: bytes) -> list[bytes]:
    """Return a stored RAR 5 archive of two volumes, written by hand."""

    def v(n: int) -> bytes:
        return bytes([n & 127 | 128]) + v(n >> 7) if n > 127 else bytes([n])

    def block(body: bytes, content: bytes = b"") -> bytes:
        sized = v(len(body)) + body
        return struct.pack("<L", zlib.crc32(sized)) + sized + content

    half = len(data) // 2
    volumes = []
    for nth, piece in enumerate((data[:half], data[half:])):
        main = v(1) + v(0) + (v(1) if nth == 0 else v(3) + v(1))
        crc = zlib.crc32(data if nth else piece)
        facts = v(4) + v(len(data)) + v(0o100644) + struct.pack("<L", crc) + v(0) + v(1) + v(1) + b"a"
        file = v(2) + v(2 | (8 if nth else 16)) + v(len(piece)) + facts
        volumes.append(b"Rar!\x1a\x07\x01\x00" + block(main) + block(file, piece) + block(v(5) + v(0) + v(1 - nth)))
    return volumes


@pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
def test_volumes_of_a_rar_are_read_together_and_one_alone_is_named(tmp_path):
    data = bytes(range(256)) * 40
    for nth, volume in enumerate(rar5_volumes(data), 1):
        (tmp_path / f"x.part{nth}.rar").write_bytes(volume)
    (tmp_path / "to").mkdir()
    with joined(tmp_path / "x.part2.rar") as reader:
        unpack(reader, tmp_path / "to")
    assert tree(tmp_path / "to") == {"a": data}
    (tmp_path / "x.part2.rar").rename(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="one part of several") as caught:
        datastage.extract(tmp_path / "x.part1.rar", tmp_path / "out", progress=False)
    assert "locked" not in str(caught.value)


@pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
@pytest.mark.parametrize("names", [("x.rar", "x.r00", "x.r01"), ("X.RAR", "X.R00", "X.R01")])
def test_volumes_of_a_rar_with_the_names_of_old_are_read_together(names, tmp_path):
    data = bytes(range(256)) * 40
    for name, volume in zip(names, rar4_volumes(data, old_names=True, n=3), strict=True):
        (tmp_path / name).write_bytes(volume)
    for nth, name in enumerate(names):
        datastage.extract(tmp_path / name, tmp_path / f"{nth}", progress=False)
        assert (tmp_path / f"{nth}/a").read_bytes() == data
    (tmp_path / names[1]).rename(tmp_path / "elsewhere")
    for name in (names[0], names[2]):
        with pytest.raises(IntegrityError, match=f"these are not beside it: {names[1]}"):
            datastage.extract(tmp_path / name, tmp_path / "out", progress=False)


@pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
def test_a_rar_that_was_cut_by_another_tool_is_joined(tmp_path):
    data = bytes(range(256)) * 40
    cut(tmp_path, rar4_volumes(data, n=1)[0], ["x.rar.001", "x.rar.002", "x.rar.003"])
    datastage.extract(tmp_path / "x.rar.001", tmp_path / "to", progress=False)
    assert (tmp_path / "to/a").read_bytes() == data


def test_a_rar_beside_something_called_like_a_part_of_another_is_left_alone(tmp_path):
    (tmp_path / "x.rar").write_bytes(b"Rar!" + bytes(20))
    (tmp_path / "y.r00").write_bytes(b"a part of another")
    assert joined(tmp_path / "x.rar") is None
