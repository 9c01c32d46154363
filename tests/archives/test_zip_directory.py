from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib

import pytest

from datastage.archives import list_members, unpack, zip_directory, zip_entry, zip_members, zip_plan
from datastage.archives.errors import Fault
from datastage.archives.records import Unpacked
from datastage.archives.safety import Tree
from datastage.errors import DamagedArchiveError, IntegrityError, NotDataError, UnsafeArchiveError
from datastage.reader import BytesReader, FileReader

from .made import tree, unpacked, zip_of
from .raw import extra, outcome, zip_raw
from .raw import zip_entry as member

FILES = {"a.txt": b"alpha " * 30, "b.txt": b"beta " * 40}


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def second_entry(data: bytes) -> int:
    return data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)


def test_another_name_before_the_data_is_refused(tmp_path):
    data = zip_of(FILES)
    with pytest.raises(UnsafeArchiveError, match="Z-LOCAL"):
        unpacked(changed(data, 30, b"c.txt"), tmp_path / "to")
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize(("at", "new"), [(8, b"\0\0"), (14, b"\1\2\3\4"), (18, b"\7\0\0\0"), (6, b"\1\0")])
def test_headers_that_disagree_are_refused(at, new, tmp_path):
    with pytest.raises(UnsafeArchiveError, match="Z-LOCAL"):
        unpacked(changed(zip_of(FILES), at, new), tmp_path / "to")


def test_two_entries_for_one_member_are_refused(tmp_path):
    data = zip_of(FILES)
    with pytest.raises(UnsafeArchiveError, match="Z-OVERLAP"):
        unpacked(changed(data, second_entry(data) + 42, bytes(4)), tmp_path / "to")


def test_more_bytes_than_declared_are_refused(tmp_path):
    data = zip_of({"bomb": bytes(5_000_000)})
    at = data.index(b"PK\1\2")
    data = changed(changed(data, at + 24, struct.pack("<L", 100)), 22, struct.pack("<L", 100))
    with pytest.raises(DamagedArchiveError) as caught:
        unpacked(data, tmp_path / "to")
    assert caught.value.rule.startswith("C-")


def test_a_count_that_began_anew_past_65535_is_taken_for_what_it_is():
    data = zip_of({f"{i}": b"" for i in range(70_000)}, method=zipfile.ZIP_STORED)
    plain = data[: data.index(b"PK\6\6")]
    start = plain.index(b"PK\1\2")
    plain += struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 70_000 % 65_536, 70_000 % 65_536, len(plain) - start, start, 0)
    assert len(list_members(BytesReader(plain))) == 70_000


def test_a_count_that_is_plainly_wrong_is_refused(tmp_path):
    data = zip_of(FILES)
    with pytest.raises(DamagedArchiveError) as caught:
        unpacked(changed(data, len(data) - 12, b"\3\0"), tmp_path / "to")
    assert caught.value.rule.startswith("Z-END")


class Mac:
    """A zip of over 4 GB as a Mac writes it, made up when it is read: three stored members, the second large."""

    ranges, local_path, identity, name = True, None, "", "mac.zip"

    def __init__(self, n_large: int) -> None:
        def local(name: bytes) -> bytes:
            return struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 8, 0, 0, 0, 0, 0, 0, len(name), 0) + name

        def entry(name: bytes, data_crc: int, size: int, offset: int) -> bytes:
            size &= 0xFFFFFFFF
            return (
                struct.pack("<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", 21, 3, 20, 8, 0, 0, 0, data_crc, size, size,
                            len(name), 0, 0, 0, 0, 0o100644 << 16, offset & 0xFFFFFFFF) + name
            )  # fmt: skip

        large_at = len(local(b"one")) + 3
        last_at = large_at + len(local(b"big")) + n_large
        self.parts = {0: local(b"one") + b"111", large_at: local(b"big"), last_at: local(b"two") + b"222"}
        start = last_at + len(local(b"two")) + 3
        directory = entry(b"one", zlib.crc32(b"111"), 3, 0)
        directory += entry(b"big", 0, n_large, large_at) + entry(b"two", zlib.crc32(b"222"), 3, last_at)
        end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 3, 3, len(directory), start & 0xFFFFFFFF, 0)
        self.parts[start] = directory + end
        self.size = start + len(directory) + len(end)

    def read_at(self, offset: int, n: int) -> bytes:
        n = max(0, min(n, self.size - offset))
        out = bytearray(n)
        for at, part in self.parts.items():
            if at < offset + n and offset < at + len(part):
                low, high = max(at, offset), min(at + len(part), offset + n)
                out[low - offset : high - offset] = part[low - at : high - at]
        return bytes(out)


@pytest.mark.parametrize("n_large", [5 << 30, (9 << 30) + 17])
def test_a_macs_offsets_that_began_anew_past_4_gb_lead_to_the_members(n_large):
    reader = Mac(n_large)
    directory = zip_directory.find_directory(reader)
    plan = zip_plan.Plan(directory, Unpacked(Tree()))
    found = {}
    for at, _, offset, limit in plan.rows.part(0, 3):
        entry = directory.entry(at, offset)
        zip_entry.begin(entry, reader.read_at, limit)
        found[entry.raw_name] = entry.csize
    assert found == {b"one": 3, b"big": n_large, b"two": 3}


def test_a_macs_size_that_began_anew_is_taken_for_what_it_is(monkeypatch, tmp_path):
    # As past 4 GB, at a size that a test can afford: sizes begin anew at 8 MiB.
    monkeypatch.setattr(zip_entry, "WRAP", 8 << 20)
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", 8 << 10)
    body = bytes(range(256)) * (40 << 10) + b"end"  # 10 MiB and a little
    out = io.BytesIO()
    squeezer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = squeezer.compress(body) + squeezer.flush()
    size = len(body) % (8 << 20)
    head = struct.pack("<HHHHLLLH", 8, 8, 0, 0, zlib.crc32(body), len(packed), size, 3)
    out.write(b"PK\3\4" + struct.pack("<H", 20) + head + bytes(2) + b"big" + packed)
    start = out.tell()
    data = out.getvalue()
    data += struct.pack("<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", 21, 3, 20, 8, 8, 0, 0, zlib.crc32(body), len(packed), size,
                        3, 0, 0, 0, 0, 0o100644 << 16, 0) + b"big"  # fmt: skip
    data += struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(data) - start, start, 0)
    unpacked(data, tmp_path / "to")
    assert (tmp_path / "to/big").read_bytes() == body


def test_the_guess_is_named_in_the_result(tmp_path):
    data = zip_of({"??/??.txt": b"x", "plain": b"p"})
    data = data.replace(b"??/??.txt", "\u4e2d\u6587/.txt".encode("gbk").ljust(9, b"_"))
    result = unpacked(data, tmp_path / "to")
    assert result.encoding == "gbk"
    assert sorted(f.path for f in result.files) == ["plain", "\u4e2d\u6587/.txt"]


def test_backslashes_from_windows_are_folders_and_those_from_unix_are_not(tmp_path):
    for system, found in (*((n, {"d", "d/x"}) for n in (0, 6, 10, 11, 14)), (3, {"d\\x"})):
        data = zip_of({"d?x": b"1"}, system=system).replace(b"d?x", b"d\\x")
        unpacked(data, tmp_path / str(system))
        assert set(tree(tmp_path / str(system))) == found


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("size", [0, 1, 5000, 9_000_000])
def test_every_method_comes_back(method, size, tmp_path):
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    unpacked(zip_of({"f": body, "g": b"g"}, method=method), tmp_path / "to")
    assert tree(tmp_path / "to") == {"f": body, "g": b"g"}


def test_an_end_record_that_can_be_read_in_two_ways_is_refused(tmp_path):
    data = zip_of(FILES)
    other = zip_of({"c": b"other"})
    data = data[:-2] + struct.pack("<H", len(other)) + other
    with pytest.raises(UnsafeArchiveError, match="Z-AMBIGUOUS"):
        unpacked(data, tmp_path / "to")


# --- a zip in a zip ---


@pytest.mark.parametrize("lost", [1, 10, 22, 60, 150, 400])
def test_of_a_zip_that_is_cut_short_no_zip_in_it_is_taken_for_the_whole(lost, tmp_path):
    inner = zip_of({"in.txt": b"inner"}, method=0)
    data = zip_of({"x.txt": b"x" * 50, "a.zip": inner, "b.txt": b"b" * 300}, method=0)
    assert outcome(data[:-lost], tmp_path / "x") == "Z-END"


def test_of_a_zip_whose_end_is_damaged_no_zip_in_it_is_taken_for_the_whole():
    data = bytearray(b"#!/bin/sh\n" * 9 + zip_of({"a.zip": zip_of({"in.txt": b"inner"}, method=0)}, method=0))
    data[-10] ^= 0x40  # the length of the directory
    with pytest.raises(Fault):
        zip_directory.find_directory(BytesReader(bytes(data)))


INNER = zip_raw(member("x", b"y"))
BEFORE_DATA = extra(0x5455, b"\3" + bytes(8)) + extra(0x7875, b"\1\4\xe8\3\0\0\4\xe8\3\0\0")  # as Info-ZIP has it
NESTED = {
    "a longer header before the data": [member("in.zip", INNER, local={"extra": BEFORE_DATA})],
    "a small file behind it": [member("in.zip", INNER, local={"extra": BEFORE_DATA}), member("z", b"1")],
    "in that again": [member("in.zip", zip_raw(member("in.zip", INNER, local={"extra": BEFORE_DATA})))],
    "aligned": [member("in.zip", INNER, local={"extra": extra(0xD935, bytes(4000))})],
    "with sizes behind": [member("in.zip", INNER, flags=8, behind=b"PK\7\x08" + bytes(12))],
    "a hundred": [member(f"{i}.zip", zip_raw(member("x", b"%d" % i))) for i in range(100)],
    "three thousand": [member(f"{i}.zip", bytes(9) + zip_raw()) for i in range(3000)],
    "an empty one": [member("in.zip", zip_raw(), local={"extra": BEFORE_DATA})],
    "one of zip64": [member("in.zip", zip_raw(member("x", b"y"), end64={}), local={"extra": BEFORE_DATA})],
}


@pytest.mark.parametrize("case", NESTED)
def test_a_zip_in_a_zip_is_no_second_reading(case, tmp_path):
    entries = NESTED[case]
    for nth, options in enumerate(({}, {"prefix": b"#!/bin/sh\n" * 9}, {"end64": {}}, {"end": {"comment": b"told"}})):
        assert outcome(zip_raw(*entries, **options), tmp_path / str(nth)) == {e["name"]: e["data"] for e in entries}


@pytest.mark.parametrize("reach", ["local", "central"])
def test_an_end_record_that_only_seems_to_lie_in_a_member_makes_two_readings(reach, tmp_path):
    # The member ends before it; one of the two headers says otherwise.
    data = zip_raw(member("a", b"1", behind=INNER, **{reach: {"csize": 1 + len(INNER)}}), member("z", b"2"))
    assert isinstance(outcome(data, tmp_path / "x"), str)


def test_a_zip_in_a_zip_does_not_hide_a_second_reading_before_it(tmp_path):
    data = zip_raw(member("in.zip", INNER), prefix=b"#!/bin/sh\n" + INNER)
    assert outcome(data, tmp_path / "x") == "Z-AMBIGUOUS"


def test_the_end_of_a_large_zip_is_looked_for_and_nothing_is_asked_for_behind_it(monkeypatch):
    reader = BytesReader(zip_raw(member("a", bytes(200_000))))
    asked = []
    plain = reader.read_at
    monkeypatch.setattr(reader, "read_at", lambda at, n: asked.append(at + n) or plain(at, n), raising=False)
    zip_directory.find_directory(reader)
    assert max(asked) == reader.size


def test_a_zip_may_have_the_longest_comment_and_much_behind_it(tmp_path):
    data = zip_raw(member("a", b"1"), end={"comment": b"c" * 65_535}, tail=bytes(65_000))
    assert outcome(data, tmp_path / "x") == {"a": b"1"}


def test_an_end_record_in_a_comment_of_the_directory_makes_two_readings(tmp_path):
    """Its directory, of no member, begins behind that of the whole."""
    where = zip_raw(member("a", b"1")).index(b"PK\5\6")
    ends = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0, 0, 0, where, 0)
    data = zip_raw(member("a", b"1", central={"comment": ends}))
    assert data[where:].startswith(ends)
    assert outcome(data, tmp_path / "x") == "Z-AMBIGUOUS"


# --- an end record that hides members ---

ABC = [member(name, name.encode() * 50) for name in ("a.txt", "b.txt", "c.txt")]
WHOLE = zip_raw(*ABC)
EMPTY_END = zip_raw()
HIDDEN = {
    "noise, and an end": bytes(range(256)) * 20 + EMPTY_END,
    "its end replaced": WHOLE[:-22] + EMPTY_END,
    "its counts and sizes zeroed": WHOLE[:-14] + bytes(14),
    "its counts zeroed": WHOLE[:-14] + bytes(4) + WHOLE[-10:],
    "its directory gone": WHOLE[: WHOLE.index(b"PK\1\2")] + EMPTY_END,
    "the last entry alone": zip_raw(*ABC, end={"count": 1, "size": 51, "at": WHOLE.rindex(b"PK\1\2")}),
    "the last two entries": zip_raw(*ABC, end={"count": 2, "size": 102, "at": WHOLE.rindex(b"PK\1\2") - 51}),
    "one behind another": zip_raw(member("large", bytes(200_000)), prefix=zip_raw(ABC[1])),
    "empty, of zip64": zip_raw(*ABC, end64={"count": 0, "size": 0, "at": 0}),
    "empty, of zip64, at its place": zip_raw(*ABC, end64={"count": 0, "size": 0, "at": len(WHOLE) - 22}),
    "one between members": zip_raw({**ABC[0], "behind": zip_raw(ABC[1])[:-73]}, ABC[2]),
    "one behind the last": zip_raw(*ABC[:2], gap=zip_raw(ABC[2])[:-73]),
    "a first directory left behind": zip_raw(ABC[0], gap=zip_raw(ABC[0])[-73:-22]),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_bytes_that_the_directory_does_not_account_for_are_damage(case, tmp_path):
    (tmp_path / "x.zip").write_bytes(HIDDEN[case])
    for nth, options in enumerate(({}, {"members": ["c.txt"]})):
        (tmp_path / str(nth)).mkdir()
        with FileReader(tmp_path / "x.zip") as reader, pytest.raises((DamagedArchiveError, NotDataError)):
            unpack(reader, tmp_path / str(nth), **options)
        assert tree(tmp_path / str(nth)) == {}


def test_a_comment_that_bears_the_mark_of_a_locator_is_a_comment(tmp_path):
    last = {**ABC[1], "central": {"comment": b"PK\6\7" + bytes(16)}}
    assert outcome(zip_raw(ABC[0], last), tmp_path / "x") == {"a.txt": b"a.txt" * 50, "b.txt": b"b.txt" * 50}


@pytest.mark.parametrize("version", [45, 61, 62, 63])
def test_a_directory_that_is_locked_is_no_damage_and_one_that_is_not_there_is(version, tmp_path):
    """As SecureZIP writes it, and says so by the version: no 7z, unzip or Python undoes that."""
    data = zip_raw(*ABC, end64={"version": version})
    at = data.index(b"PK\1\2")
    wanted = "locked by PKWARE's encryption" if version >= 62 else "has no directory where its end record says"
    with pytest.raises(IntegrityError, match=wanted) as caught:
        unpacked(data[:at] + b"\x10\0D\r" + data[at + 4 :], tmp_path / "x", "x.zip")
    assert isinstance(caught.value, DamagedArchiveError) == (version < 62)


def test_a_zip64_end_record_that_is_longer_is_found_by_its_locator(tmp_path):
    data = zip_raw(*ABC, end64={"record": 44 + 8}).replace(b"PK\6\7", b"more....PK\6\7")
    assert outcome(data, tmp_path / "x") == {each["name"]: each["data"] for each in ABC}


@pytest.mark.parametrize("spare", [-1, 0])
def test_a_directory_may_be_as_large_as_the_limit_says(spare, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_directory, "MAX_DIRECTORY_BYTES", 3 * 51 + spare)
    wanted = "Z-END" if spare < 0 else {each["name"]: each["data"] for each in ABC}
    assert outcome(WHOLE, tmp_path / "x") == wanted


@pytest.mark.parametrize("change", [-1, 0, 1])
def test_a_unicode_path_counts_where_it_was_made_for_this_name(change, tmp_path):
    """A tool that renames a member may leave the field: its checksum is then that of the old name."""
    field = extra(0x7075, struct.pack("<BL", 1, zlib.crc32(b"old") + change) + b"new")
    assert outcome(zip_raw(member("old", b"1", extra=field)), tmp_path / "x") == {"old" if change else "new": b"1"}


def test_an_archive_without_members_is_empty(tmp_path):
    assert outcome(EMPTY_END, tmp_path / "plain") == {}
    assert outcome(zip_raw(end={"comment": b"nothing yet"}), tmp_path / "comment") == {}
    assert outcome(zip_raw(end64={}), tmp_path / "64") == {}


@pytest.mark.parametrize("between", [bytes(3000), b"padding, as some align with" * 9, b"PK\3\4 by chance PK\1\2" * 3])
def test_bytes_between_members_that_are_no_members_do_no_harm(between, tmp_path):
    data = zip_raw({**ABC[0], "behind": between}, ABC[1], gap=between, prefix=b"MZ" + between)
    assert outcome(data, tmp_path / "x") == {"a.txt": b"a.txt" * 50, "b.txt": b"b.txt" * 50}


@pytest.mark.parametrize("begins", [b"MZ\x90\0", b"\x7fELF", b"#!/bin/sh\n"])
def test_a_program_that_unpacks_itself_may_hold_what_looks_like_members(begins, tmp_path):
    """As PKWARE's does: its texts lie in a zip of its own."""
    data = zip_raw(*ABC[:2], prefix=begins + bytes(99) + zip_raw(ABC[2])[:-22] + bytes(99))
    assert outcome(data, tmp_path / "x") == {"a.txt": b"a.txt" * 50, "b.txt": b"b.txt" * 50}


# --- one name twice ---


def test_of_files_of_one_name_the_later_counts_and_the_result_says_so(tmp_path):
    later = {f"{i}": b"%d later" % i for i in range(0, 300, 3)}
    out = io.BytesIO(zip_of({f"{i}": b"%d" % i for i in range(300)}))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "a") as archive:
        for name, data in later.items():
            archive.writestr(name, data)
    result = unpacked(out.getvalue(), tmp_path / "to")
    wanted = {f"{i}": b"%d" % i for i in range(300)} | later
    assert tree(tmp_path / "to") == wanted
    assert {file.path: (file.size, file.crc32) for file in result.files} == {
        path: (len(data), zlib.crc32(data)) for path, data in wanted.items()
    }
    assert (len(result.files), result.n_replaced, result.tree.n_bytes) == (300, 100, sum(map(len, wanted.values())))


def test_a_directory_that_is_not_whole_is_refused():
    with pytest.raises(Fault):
        zip_directory._entry_places(BytesReader(b"PK\1\2" + bytes(50)), 0, 54)


def test_the_first_part_of_a_split_zip_is_called_a_part(tmp_path):
    first = b"PK\7\x08" + zip_of({"a": b"1" * 100})[:90]
    assert outcome(first, tmp_path / "x", "x.zip") == "P-PART"
    assert outcome(first[4:], tmp_path / "y", "y.zip") == "Z-END"


@pytest.mark.parametrize("n", [2, 3])
def test_end_records_are_tried_as_often_as_the_limit_says(n, tmp_path, monkeypatch):
    monkeypatch.setattr(zip_directory, "_MAX_READINGS", 3)
    data = zip_of({"a": b"1"})
    for_show = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 9, 9, 9, 9, 0) * n
    data = data[:-2] + struct.pack("<H", len(for_show)) + for_show  # a comment
    assert outcome(data, tmp_path / "x") == ({"a": b"1"} if n == 2 else "Z-AMBIGUOUS")


@pytest.mark.parametrize("folder", ["Ñ", "é", "über", "Ñ/é", "ÅÄÖ/ß"])
def test_a_folder_whose_name_is_not_marked_is_that_of_the_files_below_it(folder, tmp_path):
    """Python marks names of files as UTF-8, and from 3.14 on writes those of folders in cp437."""
    above = [folder[:n] for n in range(len(folder)) if folder[n] == "/"]
    folders = [member(f"{name}/".encode("cp437"), mode=0o040755, flags=0) for name in [*above, folder]]
    data = zip_raw(*folders, member(f"{folder}/0", b"1"))
    unpacked(data, tmp_path / "to")
    assert tree(tmp_path / "to") == {**dict.fromkeys([*above, folder]), f"{folder}/0": b"1"}
