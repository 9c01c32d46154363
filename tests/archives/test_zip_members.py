from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import time

import pytest

from datastage.archives import iter_members, list_members
from datastage.errors import DamagedArchiveError, IntegrityError, PasswordError
from datastage.reader import BytesReader

from .made import tree, unpacked
from .raw import FOLDER, extra, outcome, zip_entry, zip_raw

TEXT = b"alpha beta alpha beta alpha beta\n"
LOCKED = {
    "deflated, by Info-ZIP": (
        "504b030414000900080083182250112974921d0000002100000005000000612e7478742fcef779274449d61384d2e309fe8a6fee2c1954"
        "a74d2087833be9e884504b0708112974921d00000021000000504b01021e0314000900080083182250112974921d000000210000000500"
        "00000000000001000000a48100000000612e747874504b0506000000000100010033000000500000000000"
    ),
    "stored, by 7-Zip": (
        "504b030414000100000083182250112974922d0000002100000005000000612e7478746ba19c2608689bc467664f9b1f39308bdcc1f106"
        "28e77ea42caedac7fca8df042ccad3fa000a552d5b8f532361504b01023f0314000100000083182250112974922d000000210000000500"
        "24000000000000002080a48100000000612e7478740a002000000000000100180000975c4b19c1d5010000000000000000000000000000"
        "0000504b0506000000000100010057000000500000000000"
    ),
}


def by_lzma(data: bytes) -> bytes:
    how = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}
    return b"\x09\x04\x05\0\x5d" + struct.pack("<L", 1 << 16) + lzma.compress(data, lzma.FORMAT_RAW, filters=[how])


def test_lzma_without_a_mark_at_its_end_stops_where_the_directory_says(tmp_path):
    """As WinZip writes it: what is left of the last bytes decodes to a little more than there was."""
    member = zip_entry("a.txt", TEXT, 14, payload=by_lzma(TEXT + b"and a little"))
    assert outcome(zip_raw(member), tmp_path / "x") == {"a.txt": TEXT}
    with pytest.raises(DamagedArchiveError, match="more than"):
        unpacked(zip_raw({**member, "flags": 2}), tmp_path / "marked")
    with pytest.raises(DamagedArchiveError, match="more than"):
        unpacked(zip_raw({**member, "payload": by_lzma(TEXT + bytes(1 << 20))}), tmp_path / "much more")


@pytest.mark.parametrize("packer", LOCKED)
def test_a_locked_zip_opens_with_its_password(packer, tmp_path):
    unpacked(bytes.fromhex(LOCKED[packer]), tmp_path / "to", password="secret")
    assert tree(tmp_path / "to") == {"a.txt": TEXT}


@pytest.mark.parametrize("packer", LOCKED)
def test_a_large_locked_member_is_undone_in_pieces(packer, monkeypatch):
    monkeypatch.setattr("datastage.archives.zip_members.PIECE_BYTES", 5)
    [(_, stream)] = iter_members(BytesReader(bytes.fromhex(LOCKED[packer])), password="secret")
    assert stream.read() == TEXT


@pytest.mark.parametrize("packer", LOCKED)
def test_a_list_tells_which_members_are_locked(packer):
    assert [member.encrypted for member in list_members(BytesReader(bytes.fromhex(LOCKED[packer])))] == [True]
    assert [member.encrypted for member in list_members(BytesReader(zip_raw(zip_entry("a", b"1"))))] == [False]


@pytest.mark.parametrize("packer", LOCKED)
@pytest.mark.parametrize("password", ["Secret", "", None])
def test_another_password_opens_nothing(packer, password, tmp_path):
    with pytest.raises(PasswordError, match="password"):
        unpacked(bytes.fromhex(LOCKED[packer]), tmp_path / "to", password=password)
    assert tree(tmp_path / "to") == {}


def test_of_a_locked_member_that_does_not_end_the_password_is_doubted_small_or_large(tmp_path):
    data = bytearray(bytes.fromhex(LOCKED["deflated, by Info-ZIP"]))
    data[data.index(b"PK\1\2") + 20] -= 6
    with pytest.raises(PasswordError, match="does not open"):
        unpacked(bytes(data), tmp_path / "to", password="secret")
    [(_, stream)] = iter_members(BytesReader(bytes(data)), password="secret")  # in pieces, as a large one
    with pytest.raises(PasswordError, match="does not open"):
        stream.read()


@pytest.mark.parametrize("method", [0, 8])
def test_a_wrong_byte_among_many_small_members_is_found(method, tmp_path):
    # Members that lie in one block are written another way than one alone.
    data = zip_raw(*(zip_entry(f"{i}", b"%d" % i * 20, method) for i in range(20)))
    at = data.index(b"PK\3\4", len(data) // 3) + 34
    spoilt = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    with pytest.raises(DamagedArchiveError):
        unpacked(spoilt, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_a_checksum_that_is_another_is_found_among_many_small_members(tmp_path):
    entries = [zip_entry(f"{i}", b"%d" % i * 20) for i in range(20)]
    entries[7] |= {"local": {"crc": 1}, "central": {"crc": 1}}
    assert outcome(zip_raw(*entries), tmp_path / "x") == "C-CRC"


def test_the_time_of_the_extra_field_counts_before_that_of_dos(tmp_path):
    times = {"exact": b"\1" + struct.pack("<l", 1_234_567_891), "before 1970": b"\1" + struct.pack("<l", -1000)}
    times |= {"none": b"\0", "only that of access": b"\2" + struct.pack("<l", 1_234_567_891)}
    unpacked(
        zip_raw(*(zip_entry(name, b"1", extra=extra(0x5455, said)) for name, said in times.items())), tmp_path / "to"
    )
    dos = time.mktime((2020, 9, 13, 12, 26, 36, 0, 0, -1))
    found = [os.stat(tmp_path / "to" / name).st_mtime for name in times]
    assert found == [1_234_567_891, -1000, dos, dos]


@pytest.mark.parametrize(("system", "runs"), [(3, True), (19, True), (0, False), (10, False)])
def test_modes_are_those_of_unix_alone(system, runs, tmp_path):
    # Alone, and among others: two ways of writing.
    for nth, names in enumerate((["f"], ["f", "g"])):
        entries = [zip_entry(name, b"x", mode=0o100755, system=system) for name in names]
        unpacked(zip_raw(*entries), tmp_path / str(nth))
        assert bool(os.stat(tmp_path / str(nth) / "f").st_mode & stat.S_IXUSR) is runs


@pytest.mark.parametrize("system", [0, 10, 14])
def test_a_folder_of_windows_may_be_named_without_a_slash(system, tmp_path):
    folder = zip_entry("d", b"", mode=0, system=system)
    data = bytearray(zip_raw(folder, zip_entry("d/f", b"1")))
    data[data.index(b"PK\1\2") + 38] = 0x10
    unpacked(bytes(data), tmp_path / "to")
    assert tree(tmp_path / "to") == {"d": None, "d/f": b"1"}


def test_a_folder_is_a_folder_by_its_mode_too(tmp_path):
    assert outcome(zip_raw(zip_entry("d", b"", mode=FOLDER), zip_entry("d/f", b"1")), tmp_path / "x") == {"d/f": b"1"}


@pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
@pytest.mark.parametrize("method", [0, 8])
def test_an_empty_file_may_have_no_data_at_all(method, tmp_path):
    data = zip_raw(zip_entry("e", b"", method, payload=b""))
    assert outcome(data, tmp_path / "x") == {"e": b""}
    [(_, stream)] = iter_members(BytesReader(data))
    assert stream.read() == b""


@pytest.mark.skipif(not shutil.which("7z"), reason="7z is not installed")
def test_strong_encryption_is_named(tmp_path):
    with pytest.raises(IntegrityError, match="strong encryption"):
        unpacked(zip_raw(zip_entry("a", b"x" * 20, flags=0x41)), tmp_path / "to", password="right")


def test_what_an_archive_lacks_is_told_by_its_last_end_record(tmp_path):
    data = zip_raw(zip_entry("a", b"1" * 500))
    with pytest.raises(DamagedArchiveError, match="part of the archive is missing"):
        unpacked(data[:60] + data[160:], tmp_path / "cut")


def test_a_locked_folder_holds_no_bytes_but_its_lock(tmp_path):
    """As DotNetZip writes it: the twelve bytes of the encryption's head, behind a folder."""
    locked = bytes.fromhex(LOCKED["stored, by 7-Zip"])
    folder = zip_entry("d/", b"", mode=FOLDER, flags=1, payload=bytes(12))
    with pytest.raises(PasswordError):
        unpacked(locked, tmp_path / "none")
    unpacked(zip_raw(zip_entry("a.txt", TEXT), folder), tmp_path / "x")
    assert tree(tmp_path / "x") == {"a.txt": TEXT, "d": None}
