"""Odd and hostile archives of kinds that nobody packs by accident: right, or refused with nothing left."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zlib

import pytest

from datastage.archives import extract, iter_members, list_members, tar, zip_directory, zip_entry, zip_members, zip_plan
from datastage.archives.records import Unpacked
from datastage.archives.safety import Tree, clean
from datastage.errors import DatastageError
from datastage.reader import BytesReader, FileReader

from .made import tar_of, zip_of
from .raw import (
    END_BLOCKS,
    FOLDER,
    LINK,
    base256,
    deflated,
    extra,
    outcome,
    pax_raw,
    tar_raw,
    unicode_path,
    zip_entry,
    zip_raw,
)  # fmt: skip

A, B = b"alpha " * 40, b"beta " * 30
BOTH = {"a.txt": A, "b.txt": B}
a, b = zip_entry("a.txt", A, 8), zip_entry("b.txt", B)


def changed(entry: dict, **more) -> dict:
    return {**entry, **more}


def both_lie(entry: dict, **fields) -> dict:
    return {**entry, "local": fields, "central": fields}


# --- zip: the header before the data says another thing than the directory; the directory is right ---

DESCRIPTORS = {
    "none": {},
    "signed": {"flags": 8, "behind": struct.pack("<4sLLL", b"PK\7\x08", zlib.crc32(A), len(deflated(A)), len(A))},
    "bare": {"flags": 8, "behind": struct.pack("<LLL", zlib.crc32(A), len(deflated(A)), len(A))},
    "64 bits": {"flags": 8, "behind": struct.pack("<4sLQQ", b"PK\7\x08", zlib.crc32(A), len(deflated(A)), len(A))},
    "wrong sizes": {"flags": 8, "behind": struct.pack("<4sLLL", b"PK\7\x08", 1, 2, 3)},
    "missing": {"flags": 8},
}


@pytest.mark.parametrize("behind", DESCRIPTORS)
@pytest.mark.parametrize(
    "local",
    [
        {}, {"version": 99}, {"flags": 2}, {"flags": 0x800}, {"flags": 0x2000}, {"method": 0}, {"method": 12},
        {"time": 0}, {"date": 0xFFFF}, {"crc": 7}, {"crc": 0}, {"csize": 1}, {"csize": 0xFFFFFFFF}, {"usize": 7},
        {"extra": extra(1, bytes(16))}, {"extra": extra(0x7075, b"\1" + bytes(4) + b"../evil")}, 
        {"extra": b"\1\0\xff\xff"},
        {"name": b"a.tx"}, {"name": b"../x."},
    ],
    ids=repr,
)  # fmt: skip
def test_a_header_that_disagrees_never_changes_what_comes_out(local, behind, tmp_path):
    data = zip_raw(changed(a, local=local, **DESCRIPTORS[behind]), b)
    assert outcome(data, tmp_path / "x") in (BOTH, "Z-LOCAL", "Z-OVERLAP")


@pytest.mark.parametrize("behind", DESCRIPTORS)
def test_what_stands_behind_the_data_does_not_count(behind, tmp_path):
    assert outcome(zip_raw(changed(a, **DESCRIPTORS[behind]), b), tmp_path / "x") == BOTH


# --- zip: what is refused ---

END = zip_raw(b)[-22:]
HUGE = 0xFFFFFFFF
REFUSED = {
    # zip64 fields that lie
    "zip64 size of 2^63": changed(a, central={"usize": HUGE, "extra": extra(1, struct.pack("<Q", 1 << 63))}),
    "zip64 packed size of 2^62": changed(a, central={"csize": HUGE, "extra": extra(1, struct.pack("<Q", 1 << 62))}),
    "zip64 offset of 2^64": changed(a, central={"offset": HUGE, "extra": extra(1, b"\xff" * 8)}),
    "zip64 offset of itself": changed(a, central={"offset": HUGE, "extra": extra(1, struct.pack("<Q", 1))}),
    "zip64 field empty": changed(a, central={"usize": HUGE, "extra": extra(1, b"")}),
    "zip64 field of seven bytes": changed(a, central={"usize": HUGE, "extra": extra(1, bytes(7))}),
    "zip64 field overruns": changed(a, central={"usize": HUGE, "extra": b"\1\0\x50\0" + bytes(8)}),
    "zip64 says one byte more": changed(a, central={"usize": HUGE, "extra": extra(1, struct.pack("<Q", len(A) + 1))}),
    # names that hide
    "up by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"../x")),
    "absolute by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"/tmp/x")),
    "drive by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"C:\\x")),
    "backslashed up by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"d\\..\\..\\x")),
    "NUL by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"x\0y")),
    "folder by Unicode path": changed(a, extra=unicode_path(b"a.txt", b"d/")),
    "link up by Unicode path": zip_entry("l", b"b.txt", mode=LINK, extra=unicode_path(b"l", b"../l")),
    "UNC": zip_entry("//server/share/x", A),
    "UNC from Windows": zip_entry("\\\\server\\share\\x", A, system=0),
    "up from Windows": zip_entry("d\\..\\..\\x", A, system=0),
    "drive from Windows": zip_entry("c:\\x", A, system=0),
    "up behind a half letter": zip_entry(b"\x83\\..\\..\\x", A, system=0),
    "name of 65,535 bytes": zip_entry("x/" * 32767 + "y", A),
    # contents that lie
    "deflate of nothing": zip_entry("a.txt", A, 8, payload=b""),
    "deflate of nothing, large": both_lie(zip_entry("a.txt", b"", 8, payload=b""), usize=1 << 30),
    "stored, one byte short": both_lie(zip_entry("a.txt", A), usize=len(A) + 1),
    "bzip2 longer than said": both_lie(zip_entry("a.txt", A, 12, payload=bz2.compress(bytes(9_000_000))), usize=9),
    "bzip2 shorter than said": both_lie(zip_entry("a.txt", A, 12, payload=bz2.compress(A)), usize=len(A) * 2),
    "bzip2 cut": zip_entry("a.txt", A, 12, payload=bz2.compress(A)[:-9]),
    "lzma without a head": zip_entry("a.txt", A, 14, payload=b"\x09\x04"),
    "lzma of odd properties": zip_entry("a.txt", A, 14, payload=b"\x09\x04\x05\x00" + b"\xff" * 30),
    "lzma that wants 4 GB": both_lie(
        zip_entry("a.txt", A, 14, payload=b"\x09\x04\x05\x00\x5d" + b"\xff" * 40), usize=1 << 30
    ),
    "zstd of nothing": zip_entry("a.txt", A, 93, payload=b""),
    "imploded": zip_entry("a.txt", A, 6),
    "AES without its field": changed(zip_entry("a.txt", A, 99), flags=1),
    "strong encryption": changed(a, flags=0x41),
    "central directory encrypted": changed(a, flags=0x2001),
    "locked, too short to be": changed(zip_entry("a.txt", b"12345"), flags=1),
    # kinds
    "folder that is a link": zip_entry("d/", b"b.txt", mode=LINK),
    "socket": zip_entry("s", b"", mode=0o140755),
    "link of 1 MB": zip_entry("l", b"x/" * 500_000, mode=LINK),
    "link, a bomb": both_lie(zip_entry("l", b"", 12, LINK, payload=bz2.compress(bytes(9_000_000))), usize=9),
    "link to a drive": zip_entry("l", b"C:\\Windows", mode=LINK),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_zip_that_lies_is_refused(case, tmp_path):
    data = zip_raw(b, REFUSED[case], zip_entry("z.txt", B))
    assert isinstance(outcome(data, tmp_path / "x", password="pw"), str)


def test_a_rule_that_refuses_is_named(tmp_path):
    rules = {case: outcome(zip_raw(b, entry), tmp_path / str(nth)) for nth, (case, entry) in enumerate(REFUSED.items())}
    assert {case: rules[case] for case in ("UNC", "up from Windows", "link, a bomb", "folder by Unicode path")} == {
        "UNC": "N-ABS",
        "up from Windows": "N-UP",
        "link, a bomb": "C-SIZE",
        "folder by Unicode path": "Z-FOLDER",
    }


WHOLE = {
    "two ends that lead elsewhere (count)": zip_raw(a, b, end64={}, end={"count": 1}),
    "two ends that lead elsewhere (size)": zip_raw(a, b, end64={}, end={"size": 51}),
    "two ends that lead elsewhere (place)": zip_raw(a, b, end64={}, end={"at": 40}),
    "end of 64 bits, too many": zip_raw(a, b, end64={"count": 3}),
    "end of 64 bits on another disk": zip_raw(a, b, end64={"disk": 1}),
    "end of 64 bits of an endless record": zip_raw(a, b, end64={"record": 1 << 60}),
    "last of several disks": zip_raw(a, b, end={"disk": 1}),
    "an archive in the comment": zip_raw(a, end={"comment": zip_raw(b)}),
    "an end in a comment in a comment": zip_raw(a, end={"comment": zip_raw(b, end={"comment": zip_raw(a)})}),
    "2,900 ends": zip_raw(a, end={"comment": END * 2900}),
    "an end in an extra field": zip_raw(changed(a, extra=extra(0xCAFE, zip_raw(b))))[:-22] + END,
    "an entry that is cut": zip_raw(a, b, end={"size": 101, "at": 1})[:-30] + END,
    "a comment that eats the next entry": zip_raw(changed(a, central={"comment": b"c" * 51}), b, end={"count": 1}),
    "a local header's extra field reaches into the next": zip_raw(
        changed(a, local={"extra": b""}, payload=deflated(A)), changed(b, central={"offset": 40})
    ),
    "a signature that overruns": zip_raw(a, b, signature=b"PK\5\5\xff\xff123"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_an_end_that_lies_is_refused(case, tmp_path):
    assert isinstance(outcome(WHOLE[case], tmp_path / "x"), str)


def test_data_that_reaches_into_the_next_by_the_local_extra_field_is_refused(tmp_path):
    data = bytearray(zip_raw(zip_entry("a.txt", A), b))
    data[28:30] = struct.pack("<H", 40)  # the data is said to begin 40 bytes later
    assert outcome(bytes(data), tmp_path / "x") == "Z-OVERLAP"


# --- zip: odd, and legitimate ---

ODD = {
    "zip64 fields that nobody asked for": (zip_raw(changed(a, extra=extra(1, bytes(24))), b), BOTH),
    "zip64 for the offset alone": (
        zip_raw(b, changed(a, central={"offset": HUGE, "extra": extra(1, struct.pack("<Q", 35 + len(B)))})),
        BOTH,
    ),
    "zip64 for one size": (
        zip_raw(
            changed(a, central={"usize": HUGE, "extra": extra(0xCAFE, b"1") + extra(1, struct.pack("<Q", len(A)))}), b
        ),
        BOTH,
    ),
    "a Unicode path of another name": (zip_raw(changed(a, extra=unicode_path(b"b.txt", b"../x")), b), BOTH),
    "a Unicode path of version 2": (zip_raw(changed(a, extra=unicode_path(b"a.txt", b"../x", 2)), b), BOTH),
    "a Unicode path that is cut": (zip_raw(changed(a, extra=extra(0x7075, b"\1\0\0")), b), BOTH),
    "a Unicode path": (
        zip_raw(zip_entry(b"\x81.txt", A, extra=unicode_path(b"\x81.txt", "\u732b.txt".encode())), b),
        {"\u732b.txt": A, "b.txt": B},
    ),
    "a folder by Unicode path": (
        zip_raw(zip_entry("d", extra=unicode_path(b"d", b"e/")), zip_entry("e/f", A)),
        {"e/f": A},
    ),
    "folders of old .NET": (
        zip_raw(
            zip_entry("d\\", mode=0, system=0),
            zip_entry("d\\e\\", mode=0, system=0),
            zip_entry("d\\e\\f.txt", A, mode=0, system=0),
        ),
        {"d/e/f.txt": A},
    ),
    "composed and decomposed": (
        zip_raw(zip_entry("caf\u00e9", A), zip_entry("cafe\u0301", B)),
        {"caf\u00e9": A, "cafe\u0301": B},
    ),
    "other case": (zip_raw(zip_entry("D/x", A), zip_entry("d/X", B)), {"D/x": A, "d/X": B}),
    "dots and spaces behind": (zip_raw(zip_entry("d. /x. ", A), zip_entry("d/x", B)), {"d. /x. ": A, "d/x": B}),
    "right to left": (zip_raw(zip_entry("\u202etxt.exe", A)), {"\u202etxt.exe": A}),
    "wide slashes and dots": (zip_raw(zip_entry("\uff0e\uff0e\uff0fx", A)), {"\uff0e\uff0e\uff0fx": A}),
    "deflate with more behind it": (zip_raw(changed(a, payload=deflated(A) + b"more"), b), BOTH),
    "two deflate streams": (zip_raw(changed(a, payload=deflated(A) + deflated(B)), b), BOTH),
    "empty, deflated": (zip_raw(zip_entry("e", b"", 8), b), {"e": b"", "b.txt": B}),
    "empty, bzip2": (zip_raw(zip_entry("e", b"", 12, payload=bz2.compress(b"")), b), {"e": b"", "b.txt": B}),
    "bzip2 in two streams": (zip_raw(zip_entry("a.txt", A, 12, payload=bz2.compress(A)), b), BOTH),
    "gap": (zip_raw(a, b, gap=bytes(99)), BOTH),
    "gap between members": (zip_raw(changed(a, behind=bytes(77)), b), BOTH),
    "a signed directory": (zip_raw(a, b, signature=b"PK\5\5\x04\x00abcd"), BOTH),
    "both ends, alike": (zip_raw(a, b, end64={}, end={"count": 2}), BOTH),
    "a split archive's mark": (b"PK\7\x08" + zip_raw(a, b), BOTH),
    "a head": (zip_raw(a, b, prefix=b"#!/bin/sh\n" * 99), BOTH),
    "a head, offsets not moved": (b"MZ" * 99 + zip_raw(a, b), BOTH),
    "an end in the comment that leads nowhere": (zip_raw(a, b, end={"comment": b"- " + END}), BOTH),
    "zeros behind": (zip_raw(a, b, tail=bytes(512)), BOTH),
    "an archive stored last": (zip_raw(a, zip_entry("in.zip", zip_raw(b))), {"a.txt": A, "in.zip": zip_raw(b)}),
    "setuid": (zip_raw(changed(a, mode=0o104755), b), BOTH),
    "a folder with a size and no bytes": (
        zip_raw(both_lie(zip_entry("d/", b"", 0, FOLDER), usize=4096), zip_entry("d/f", A)),
        {"d/f": A},
    ),
    "twice": (zip_raw(b, a, changed(b, data=b"later")), {"a.txt": A, "b.txt": b"later"}),
    "twice, dotted": (
        zip_raw(b, zip_entry("./b.txt", b"later"), a, zip_entry(".//./b.txt", A)),
        {"a.txt": A, "b.txt": A},
    ),
    "another's name by Unicode path": (
        zip_raw(zip_entry("b.txt", B), changed(a, extra=unicode_path(b"a.txt", b"b.txt"))),
        {"b.txt": A},
    ),
    "a link twice": (
        zip_raw(a, b, zip_entry("l", b"a.txt", mode=LINK), zip_entry("l", b"b.txt", 8, LINK)),
        {**BOTH, "l": "-> b.txt"},
    ),
    "time in the year 2107 and none": (
        zip_raw(both_lie(a, date=0xFFFF, time=0xFFFF), both_lie(b, date=0, time=0)),
        BOTH,
    ),
    "time by an extra field, long ago": (zip_raw(changed(a, extra=extra(0x5455, b"\1" + b"\0\0\0\x80")), b), BOTH),
    "folder with a deflated nothing": (zip_raw(zip_entry("d/", b"", 8, FOLDER), zip_entry("d/f", A)), {"d/f": A}),
    "link deflated": (zip_raw(a, zip_entry("l", b"a.txt", 8, LINK)), {"a.txt": A, "l": "-> a.txt"}),
    "junk of a Mac": (zip_raw(a, b, zip_entry("__MACOSX/._a.txt", A), zip_entry(".DS_Store", A)), BOTH),
    "standard input": (zip_raw(zip_entry("-", A, mode=0o010600)), {"-": A}),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_zip_unpacks(case, tmp_path):
    data, wanted = ODD[case]
    assert outcome(data, tmp_path / "x") == wanted


def test_junk_that_leaves_the_folder_is_refused_too(tmp_path):
    assert outcome(zip_raw(a, zip_entry("__MACOSX/../../x", A)), tmp_path / "x") == "N-UP"


@pytest.mark.parametrize("link_at", [0, 1, 2])
@pytest.mark.parametrize("name", ["d", "./d", "d//", "d/."])
def test_nothing_is_written_through_a_link(link_at, name, tmp_path):
    entries = [zip_entry("d/f", A), zip_entry("other", B)]
    entries.insert(link_at, zip_entry(name.rstrip("/"), b"other", mode=LINK))
    assert isinstance(outcome(zip_raw(*entries), tmp_path / "zip"), str)
    members = [tar_raw(b"d/f", A), tar_raw(b"other", B)]
    members.insert(link_at, tar_raw(name.encode(), kind=b"2", target=b"other"))
    assert isinstance(outcome(b"".join(members) + END_BLOCKS, tmp_path / "tar"), str)


# --- tar ---

x = tar_raw(b"x.txt", A)
SPARSE = [
    ("GNU.sparse.major", "1"),
    ("GNU.sparse.minor", "0"),
    ("GNU.sparse.name", "s"),
    ("GNU.sparse.realsize", "900"),
]


def sparse_map(*numbers: int) -> bytes:
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % 512)


def old_sparse(pieces: list[tuple[int, int]], size: int, data: bytes, more: bytes = b"\0") -> bytes:
    entries = b"".join(base256(at) + base256(n) for at, n in pieces).ljust(96, b"\0")
    rest = (bytes(80 + 41) + entries + more + base256(size)).ljust(247, b"\0")
    return tar_raw(b"s", data, b"S", magic=b"ustar  \0", rest=rest)


TAR_REFUSED = {
    "pax header of negative size": tar_raw(b"p", kind=b"x", size=base256(-5)) + x,
    "global header of negative size": tar_raw(b"p", kind=b"g", size=base256(-512)) + x,
    "long name of negative size": tar_raw(b"p", kind=b"L", size=base256(-1024)) + x,
    "long target of negative size": tar_raw(b"p", kind=b"K", size=base256(-1)) + x,
    "folder of negative size": tar_raw(b"d/", kind=b"5", size=base256(-512)) + x,
    "size of 2^80": tar_raw(b"f", size=base256(1 << 80)) + x,
    "pax size of -1": pax_raw(("size", "-1")) + x,
    "pax size of another alphabet": pax_raw(("size", "\u0663")) + x,
    "pax size too large": pax_raw(("size", "999999")) + x,
    "pax size too small": pax_raw(("size", "0")) + x,
    "pax path up": pax_raw(("path", "d/../../x")) + x,
    "pax path with NUL": pax_raw(("path", "x\0y")) + x,
    "global path up": pax_raw(("path", "/etc/x"), kind=b"g") + x,
    "pax target up": pax_raw(("linkpath", "../x")) + tar_raw(b"l", kind=b"2", target=b"x.txt"),
    "pax target up, hard": x + pax_raw(("linkpath", "../x")) + tar_raw(b"l", kind=b"1", target=b"x.txt"),
    "long name up": tar_raw(b"n", b"../x\0", b"L") + x,
    "long names, the last one up": tar_raw(b"n", b"ok\0", b"L") * 3 + tar_raw(b"n", b"../x\0", b"L") + x,
    "prefix up": tar_raw(b"x", A, prefix=b".."),
    "hard link to itself": tar_raw(b"h", kind=b"1", target=b"h"),
    "hard links in a ring": tar_raw(b"h", kind=b"1", target=b"i") + tar_raw(b"i", kind=b"1", target=b"h"),
    "hard link to a link": x + tar_raw(b"l", kind=b"2", target=b"x.txt") + tar_raw(b"h", kind=b"1", target=b"l"),
    "hard link below a link": tar_raw(b"l", kind=b"2", target=b"d") + tar_raw(b"l/h", kind=b"1", target=b"x.txt") + x,
    "hard link to a folder": tar_raw(b"d/", kind=b"5") + tar_raw(b"h", kind=b"1", target=b"d"),
    "hard link up": tar_raw(b"h", kind=b"1", target=b"d/../../x"),
    "hard link absolute": tar_raw(b"h", kind=b"1", target=b"/etc/passwd"),
    "character device": tar_raw(b"n", kind=b"3"),
    "block device": tar_raw(b"n", kind=b"4"),
    "pipe": tar_raw(b"n", kind=b"6"),
    "file called a folder": tar_raw(b"d/", A),
    "sparse, longer than the disk": pax_raw(*SPARSE[:3], ("GNU.sparse.realsize", str(1 << 55)))
    + tar_raw(b"s", sparse_map(0)),
    "sparse, negative size": pax_raw(*SPARSE[:3], ("GNU.sparse.realsize", "-1")) + tar_raw(b"s", sparse_map(0)),
    "sparse, no size": pax_raw(*SPARSE[:3]) + tar_raw(b"s", sparse_map(0)),
    "sparse, no map": pax_raw(SPARSE[2], SPARSE[3]) + tar_raw(b"s", sparse_map(1, 0, 1) + b"1"),
    "sparse, map longer than the data": pax_raw(*SPARSE) + tar_raw(b"s", b"", size=0),
    "sparse, a number missing": pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(2, 0, 1, 5)),
    "sparse, more pieces than anybody has": pax_raw(*SPARSE) + tar_raw(b"s", b"9999999\n" + bytes(504), size=1 << 40),
    "sparse, data too long": pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(1, 0, 5) + b"123456"),
    "sparse, data too short": pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(1, 0, 500) + b"123456"),
    "sparse, overlapping": pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(2, 0, 5, 4, 5) + b"1" * 10),
    "sparse, backwards": pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(2, 50, 5, 4, 5) + b"1" * 10),
    "sparse, name up": pax_raw(*SPARSE[:2], ("GNU.sparse.name", "../s"), SPARSE[3])
    + tar_raw(b"s", sparse_map(1, 0, 1) + b"1"),
    "sparse of old, beyond": old_sparse([(0, 5), (1 << 60, 5)], 900, b"1" * 10),
    "sparse of old, negative": old_sparse([(-5, 5)], 900, b"1" * 5),
    "sparse of old, negative size": old_sparse([(0, 5)], -900, b"1" * 5),
    "sparse of old, endless map": old_sparse([(0, 1)], 9, b"1", b"\1") + (bytes(504) + b"\1").ljust(512) * 50,
    "sparse of 0.1, letters": pax_raw(("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,a")) + tar_raw(b"s", b"1"),
    "sparse of 0.1, empty": pax_raw(("GNU.sparse.size", "9"), ("GNU.sparse.map", ",")) + tar_raw(b"s", b"1"),
    "sparse of 0.0, one number": pax_raw(("GNU.sparse.size", "9"), ("GNU.sparse.offset", "0")) + tar_raw(b"s", b"1"),
    "pax records without end": pax_raw(*[(f"k{i}", "v") for i in range(tar.MAX_UNKNOWN + 1)]) + x,
    "pax headers without end": pax_raw(("comment", "c" * 7_000_000)) * 3 + x,
}


@pytest.mark.parametrize("case", TAR_REFUSED)
def test_a_tar_that_lies_is_refused(case, tmp_path):
    data = tar_raw(b"first", B) + TAR_REFUSED[case] + tar_raw(b"last", B) + END_BLOCKS
    assert isinstance(outcome(data, tmp_path / "x", free_bytes=1 << 40), str)
    assert isinstance(outcome(gzip.compress(data), tmp_path / "gz", free_bytes=1 << 40), str)


HOLES = bytearray(900)
HOLES[5:8], HOLES[800:804] = b"abc", b"defg"
LONG = "n" * 200
TAR_ODD = {
    "twice": (x + tar_raw(b"y", B) + tar_raw(b"././x.txt", B), {"x.txt": B, "y": B}),
    "a global path for two": (pax_raw(("path", "same"), kind=b"g") + x + tar_raw(b"y.txt", B), {"same": B}),
    "a link twice": (
        x + tar_raw(b"l", kind=b"2", target=b"gone") + tar_raw(b"l", kind=b"2", target=b"x.txt"),
        {"x.txt": A, "l": "-> x.txt"},
    ),
    "twice, and hard links to the first": (
        x
        + tar_raw(b"h", kind=b"1", target=b"x.txt")
        + tar_raw(b"i", kind=b"1", target=b"h")
        + tar_raw(b"x.txt", B)
        + tar_raw(b"j", kind=b"1", target=b"x.txt"),
        {"x.txt": B, "h": A, "i": A, "j": B},
    ),
    "size of base 256": (tar_raw(b"x.txt", A, size=base256(len(A))), {"x.txt": A}),
    "size by pax": (pax_raw(("size", str(len(A)))) + tar_raw(b"x.txt", A, size=0), {"x.txt": A}),
    "path by pax before long name": (tar_raw(b"n", b"y\0", b"L") + pax_raw(("path", "z")) + x, {"z": A}),
    "long names, the last counts": (
        tar_raw(b"n", b"y\0", b"L") + tar_raw(b"n", LONG.encode() + b"\0", b"L") + x,
        {LONG: A},
    ),
    "a global path taken back": (
        pax_raw(("path", "all"), kind=b"g") + x + pax_raw(("path", "")) + tar_raw(b"y", B),
        {"all": A, "y": B},
    ),
    "a global time": (pax_raw(("mtime", "1.5"), ("comment", "c"), kind=b"g") + x, {"x.txt": A}),
    "hard links, the file last": (
        tar_raw(b"i", kind=b"1", target=b"h") + tar_raw(b"h", kind=b"1", target=b"./x.txt") + x,
        {"x.txt": A, "h": A, "i": A},
    ),
    "setuid and every other bit": (tar_raw(b"x.txt", A, mode=0o7777), {"x.txt": A}),
    "a mode that is no number": (tar_raw(b"x.txt", A, mode=b"rwxr-xr"), {"x.txt": A}),
    "a mode below zero": (tar_raw(b"x.txt", A, mode=base256(-1, 8)), {"x.txt": A}),
    "long before 1970": (tar_raw(b"x.txt", A, mtime=base256(-(1 << 60))), {"x.txt": A}),
    "long after": (tar_raw(b"x.txt", A, mtime=base256(1 << 80)), {"x.txt": A}),
    "no time at all": (pax_raw(("mtime", "nan")) + x, {"x.txt": A}),
    "an endless time": (pax_raw(("mtime", "1e400")) + x, {"x.txt": A}),
    "two, one behind the other": (x + END_BLOCKS + tar_raw(b"y", B), {"x.txt": A, "y": B}),
    "v7": (tar_raw(b"x.txt", A, b"\0", magic=b""), {"x.txt": A}),
    "contiguous": (tar_raw(b"x.txt", A, b"7"), {"x.txt": A}),
    "folders with a size": (tar_raw(b"d/", kind=b"5", size=4096) + tar_raw(b"d/f", A), {"d/f": A}),
    "sparse 1.0": (
        pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(3, 5, 3, 800, 4, 900, 0) + b"abcdefg"),
        {"s": bytes(HOLES)},
    ),
    "sparse 0.1": (
        pax_raw(("GNU.sparse.size", "900"), ("GNU.sparse.map", "5,3,800,4")) + tar_raw(b"s", b"abcdefg"),
        {"s": bytes(HOLES)},
    ),
    "sparse of old": (old_sparse([(5, 3), (800, 4), (900, 0)], 900, b"abcdefg"), {"s": bytes(HOLES)}),
    "sparse of nothing at all": (
        pax_raw(*SPARSE[:3], ("GNU.sparse.realsize", "0")) + tar_raw(b"s", sparse_map(0)),
        {"s": b""},
    ),
    "sparse of nothing": (pax_raw(*SPARSE) + tar_raw(b"s", sparse_map(0)), {"s": bytes(900)}),
    "names of a Latin-1 machine": (tar_raw(b"caf\xe9", A), {"caf\udce9": A}),
}


@pytest.mark.parametrize("case", TAR_ODD)
def test_an_odd_tar_unpacks_and_is_read_alike(case, tmp_path):
    data, wanted = TAR_ODD[case]
    assert outcome(data + END_BLOCKS, tmp_path / "x") == wanted
    read = {clean(member.name): file.read() for member, file in iter_members(BytesReader(data + END_BLOCKS)) if file}
    assert read == {name: wanted[name] for name in read}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (gzip.compress, "x.tar.gz"),
        (gzip.compress, "x.tgz"),
        (bz2.compress, "x.tar.bz2"),
        (bz2.compress, "x.tbz2"),
        (lzma.compress, "x.tar.xz"),
        (lzma.compress, "x.txz"),
    ],
)
def test_an_empty_tar_is_empty_however_it_is_compressed(make, name, tmp_path):
    assert outcome(make(bytes(10_240)), tmp_path / "x", name) == {}
    assert outcome(make(b""), tmp_path / "none", name) == "T-EMPTY"
    assert outcome(make(b"no tar" * 200), tmp_path / "other", name) == "T-HEADER"


@pytest.mark.parametrize("name", ["...gz", "..gz", ".gz", "", ".", "..", "a/../...gz"])
def test_one_file_is_never_called_up(name, tmp_path):
    found = outcome(gzip.compress(A), tmp_path / "x", name)
    assert list(found.values()) == [A]


# --- archives in archives ---


def test_two_archives_of_one_stem_get_folders_of_their_own(tmp_path):
    inner = zip_raw(a)
    data = zip_raw(
        zip_entry("d.zip", inner), zip_entry("d.tar", tar_raw(b"t", B) + END_BLOCKS), zip_entry("d.tar.unpacked", B)
    )
    assert outcome(data, tmp_path / "x", nested=True) == {"d/a.txt": A, "d.tar.unpacked_/t": B, "d.tar.unpacked": B}


@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        (zip_raw(a, zip_entry("../x", A)), "N-UP"),
        (tar_raw(b"l", kind=b"2", target=b"..") + END_BLOCKS, "L-OUT"),
        (gzip.compress(tar_raw(b"d/l", kind=b"2", target=b"../..") + END_BLOCKS), "L-OUT"),
        (zip_raw(zip_entry("z", bytes(2_000_000), 8)), "T-ROOM"),
    ],
    ids=["name", "link", "link, compressed", "room"],
)
def test_archives_in_archives_keep_to_the_same_rules(inner, rule, tmp_path):
    for nth, name in enumerate(("in.zip", "deep/in.tar", "in.gz")):
        outer = zip_raw(b, zip_entry(name, zip_raw(zip_entry("again.zip", inner))))
        assert outcome(outer, tmp_path / str(nth), nested=True, free_bytes=1_000_000) == rule


def test_archives_in_archives_without_end_are_refused(tmp_path):
    data = zip_raw(a)
    for _ in range(extract.MAX_NESTING + 2):
        data = zip_raw(zip_entry("in.zip", data))
    assert outcome(data, tmp_path / "x", nested=True) == "M-MANY"


def test_archives_in_archives_are_together_no_deeper_than_one(tmp_path):
    data = zip_raw(zip_entry("../x", A))
    for _ in range(5):
        data = zip_raw(zip_entry("d/" * 250 + "in.zip", data))
    assert outcome(data, tmp_path / "x", nested=True) == "N-LONG"


# --- looking into them ---


@pytest.mark.parametrize("case", [*REFUSED, *WHOLE, *TAR_REFUSED])
def test_looking_into_a_hostile_archive_raises_nothing_but_our_own(case, tmp_path):
    if case in REFUSED:
        data = zip_raw(b, REFUSED[case], changed(REFUSED[case], name="other"))
    else:
        data = WHOLE.get(case) or TAR_REFUSED[case] + END_BLOCKS
    (tmp_path / "x").write_bytes(data)
    for look in (list_members, iter_members):
        with FileReader(tmp_path / "x") as reader:
            try:
                for found in look(reader, password="pw"):
                    if look is iter_members and found[1] is not None and found[0].size < 1 << 24:
                        found[1].read()
            except DatastageError as error:
                assert str(error)


# --- memory and time ---


@pytest.mark.parametrize("mode", [0o100644, LINK])
@pytest.mark.parametrize("method", [12, 14])
def test_what_holds_a_thousand_times_more_than_declared_is_not_kept_in_memory(method, mode, tmp_path, monkeypatch):
    kept = []
    decoded = zip_members._decoded
    monkeypatch.setattr(
        zip_members,
        "_decoded",
        lambda entry, packed: (kept.append(len(part)) or part for part in decoded(entry, packed)),
    )
    zeros = bytes(40_000_000)
    if method == 12:
        payload = bz2.compress(zeros)
    else:
        form = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
        payload = (
            b"\x09\x04\x05\x00\x5d" + struct.pack("<L", 1 << 16) + lzma.compress(zeros, lzma.FORMAT_RAW, filters=form)
        )
    data = zip_raw(both_lie(zip_entry("z", b"", method, mode, payload=payload), usize=100))
    assert outcome(data, tmp_path / "x") == "C-SIZE"
    assert sum(kept) <= 2 * zip_members.PIECE_BYTES


def test_wide_windows_are_undone_one_at_a_time():
    directory = zip_directory.find_directory(
        BytesReader(zip_raw(both_lie(zip_entry("z", b"", 14, payload=b"0" * 99), usize=90 << 20)))
    )
    assert zip_plan.Plan(directory, Unpacked(Tree())).is_wide


def test_records_that_mean_nothing_are_not_kept():
    kept: dict[str, bytes] = {}
    tar._read_pax(b"".join(b"9 k%04d=\n" % i for i in range(5000)) + b"10 path=x\n", kept, [])
    assert kept == {"path": b"x"}


def test_a_sparse_file_of_many_pieces_is_done_in_time(tmp_path):
    n = 20_000
    numbers = ",".join(f"{i * 10},1" for i in range(n))
    data = pax_raw(("GNU.sparse.size", str(n * 10)), ("GNU.sparse.map", numbers)) + tar_raw(b"s", b"1" * n) + END_BLOCKS
    assert outcome(data, tmp_path / "x") == {"s": (b"1" + bytes(9)) * n}


# --- a Mac's sizes ---


@pytest.mark.parametrize("method", [0, 8])
def test_a_macs_sizes_that_began_anew_are_said_as_they_are(method, tmp_path, monkeypatch):
    wrap = 1 << 16
    monkeypatch.setattr("datastage.archives.zip_entry.WRAP", wrap)
    monkeypatch.setattr(zip_members, "WHOLE_BYTES", 50)
    contents = {f"f{i}": os.urandom(n) for i, n in enumerate((300, 100_000, 500, 70_000, 9))}
    contents["zeros"] = bytes(500_000)
    entries, at = [], 0
    for name, data in contents.items():
        payload = deflated(data) if method else data
        where = {"csize": len(payload) % wrap, "usize": len(data) % wrap, "offset": at % wrap}
        entries.append(zip_entry(name, data, method, flags=8, payload=payload, local=where, central=where))
        at += 30 + len(name) + len(payload)
    data = zip_raw(*entries, end={"at": at % wrap})
    assert outcome(data, tmp_path / "x") == contents
    assert outcome(data, tmp_path / "room", free_bytes=400_000) == "T-ROOM"


# --- tools ---


def test_a_tars_damaged_end_is_found_under_every_compression(tmp_path):
    data = tar_of([("a", os.urandom(3000)), ("b", b"2")])
    spoilt = bytearray(data)
    spoilt[512 + 3072 + 148] ^= 1
    for nth, make in enumerate((gzip.compress, bz2.compress, lzma.compress)):
        assert outcome(make(bytes(spoilt)), tmp_path / str(nth)) == "T-HEADER"


def test_what_tarfile_and_zipfile_write_in_their_oddest_forms_unpacks(tmp_path):
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"k\u00e4se": "\u2603" * 50}
    ) as archive:
        info = tarfile.TarInfo("\u732b" * 60)
        info.size, info.mtime, info.uname, info.pax_headers = 3, -1.5, "\u00fc" * 40, {"VENDOR.x": "1"}
        archive.addfile(info, io.BytesIO(b"abc"))
    assert outcome(out.getvalue(), tmp_path / "tar") == {"\u732b" * 60: b"abc"}
    assert outcome(zip_of({"\u732b": b"abc"}, system=0), tmp_path / "zip") == {"\u732b": b"abc"}
