from __future__ import annotations

import gzip
import lzma
import os
import re
import stat
import tarfile
import zlib

import pytest

from datastage.archives import iter_members, list_members, unpack
from datastage.errors import (
    DamagedArchiveError,
    NoSpaceError,
    NotDataError,
    PasswordError,
    SpecError,
    StorageError,
    UnsafeArchiveError,
)
from datastage.progress import SILENT
from datastage.reader import BytesReader, FileReader

from .made import Link, tar_of, tree, unpacked, zip_link, zip_of
from .raw import zip_entry, zip_raw
from .test_zip_members import LOCKED, TEXT

FILES = {"a.txt": b"a\n", "d/b.bin": bytes(range(256)) * 40, "d/e/c": b""}


@pytest.mark.parametrize(
    "make", [zip_of, lambda f: tar_of(list(f.items())), lambda f: tar_of(list(f.items()), mode="w:gz")]
)
def test_what_was_packed_comes_back(make, tmp_path):
    result = unpacked(make(FILES), tmp_path / "to")
    assert {k: v for k, v in tree(tmp_path / "to").items() if v is not None} == FILES
    assert {(f.path, f.size, f.crc32) for f in result.files} == {(k, len(v), zlib.crc32(v)) for k, v in FILES.items()}
    assert (len(result.files), result.tree.n_bytes) == (3, sum(map(len, FILES.values())))


@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))], ids=["zip", "tar"])
def test_patterns_that_match_nothing_are_answered_with_some_that_do(make, tmp_path):
    data = make({"a.txt": b"", "[b]/1": b"", "[b]/2": b"", **{f"c{n}/1": b"" for n in range(9)}})
    with pytest.raises(SpecError) as caught:
        unpacked(data, tmp_path / "to", members=["x"])
    step = "members= one of these: 'a.txt', '[[]b]/*', 'c0/*', 'c1/*', 'c2/*', 'c3/*', ..."
    assert caught.value.remedy[-1].endswith(step)
    unpacked(data, tmp_path / "to", members=["[[]b]/*"])
    assert {path for path, content in tree(tmp_path / "to").items() if content is not None} == {"[b]/1", "[b]/2"}


@pytest.mark.parametrize(("place", "is_named"), [("own/fetched", False), ("", True)])
def test_an_archive_that_goes_with_the_error_is_not_named_in_the_next_step(place, is_named, tmp_path):
    (tmp_path / "own/fetched").mkdir(parents=True)
    (tmp_path / "own/to").mkdir()
    path = tmp_path / place / "a b.zip"
    path.write_bytes(zip_of(FILES))
    with FileReader(path) as reader, pytest.raises(SpecError) as caught:
        unpack(reader, tmp_path / "own/to", members=["x"])
    assert (f"extract --list '{path}'" in caught.value.remedy[-1]) is is_named


@pytest.mark.parametrize("cut", [1, 30, 400])
def test_after_any_refusal_the_folder_is_empty(cut, tmp_path):
    data = zip_of({"a": b"x" * 900, "b": os.urandom(900)})
    with pytest.raises(DamagedArchiveError):
        unpacked(data[:-cut], tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_a_wrong_byte_is_found_by_the_checksum(tmp_path):
    data = bytearray(zip_of({"a": os.urandom(2000)}))
    data[500] ^= 1
    with pytest.raises(DamagedArchiveError) as caught:
        unpacked(bytes(data), tmp_path / "to")
    assert caught.value.rule.startswith("C-")
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil"])
@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))])
def test_a_hostile_name_refuses_the_whole_archive(make, name, tmp_path):
    with pytest.raises(UnsafeArchiveError) as caught:
        unpacked(make({"good": b"1", name: b"2", "last": b"3"}), tmp_path / "to")
    assert caught.value.rule.startswith("N-")
    assert tree(tmp_path) == {"to": None}


def test_a_link_to_outside_is_refused(tmp_path):
    with pytest.raises(UnsafeArchiveError, match="L-OUT"):
        unpacked(zip_link("l", "../secret"), tmp_path / "to")
    with pytest.raises(UnsafeArchiveError, match="L-OUT"):
        unpacked(tar_of([("l", tarfile.SYMTYPE, "/etc"), ("l/evil", b"x")]), tmp_path / "to")
    assert tree(tmp_path) == {"to": None}


def test_links_that_stay_inside_are_made(tmp_path):
    data = tar_of([("l", tarfile.SYMTYPE, "d/f"), ("d/f", b"1"), ("h", tarfile.LNKTYPE, "d/f")])
    result = unpacked(data, tmp_path / "to")
    assert tree(tmp_path / "to") == {"l": "-> d/f", "d": None, "d/f": b"1", "h": b"1"}
    assert {(f.path, f.target) for f in result.files} == {("l", "d/f"), ("d/f", None), ("h", None)}


def test_a_device_is_refused(tmp_path):
    with pytest.raises(UnsafeArchiveError, match="S-SPECIAL"):
        unpacked(tar_of([("null", tarfile.CHRTYPE, "")]), tmp_path / "to")


def test_modes_keep_the_executable_bit_and_never_lock_the_owner_out(tmp_path):
    unpacked(zip_of({"run": b"#!"}, mode=0o104755), tmp_path / "a")
    unpacked(zip_of({"f": b"x"}, mode=0o100000), tmp_path / "b")
    run, locked = os.stat(tmp_path / "a/run").st_mode, os.stat(tmp_path / "b/f").st_mode
    assert run & stat.S_IXUSR
    assert not run & (stat.S_ISUID | stat.S_ISGID)
    assert locked & stat.S_IRUSR
    assert not locked & stat.S_IXUSR


def test_times_are_kept(tmp_path):
    unpacked(tar_of([("d", None), ("d/f", b"x")]), tmp_path / "to")
    assert os.stat(tmp_path / "to/d/f").st_mtime == 1_600_000_000
    assert os.stat(tmp_path / "to/d").st_mtime == 1_600_000_000


def test_junk_is_left_out_and_counted(tmp_path):
    files = {"a": b"1", "__MACOSX/._a": b"2", ".DS_Store": b"3", "d/Thumbs.db": b"4", "d/._x": b"5", "DS_Store": b"6"}
    result = unpacked(zip_of(files), tmp_path / "to")
    assert sorted(p for p, v in tree(tmp_path / "to").items() if v is not None) == ["DS_Store", "a"]
    assert result.left_out == {"__MACOSX": 1, ".DS_Store": 1, "Thumbs.db": 1, "._*": 1}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        (["d"], {"d/b.bin", "d/e/c"}),
        (["*.txt"], {"a.txt"}),
        (["d/b*", "a*"], {"a.txt", "d/b.bin"}),
        (["d/e/"], {"d/e/c"}),
        (["./d/e", "d/e/", "d/b.bin", "d"], {"d/b.bin", "d/e/c"}),
    ],
)
def test_members_picks_by_pattern(members, found, tmp_path):
    for nth, data in enumerate((zip_of(FILES), tar_of(list(FILES.items())))):
        result = unpacked(data, tmp_path / str(nth), members=members)
        assert {f.path for f in result.files} == found


@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))], ids=["zip", "tar"])
@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        (["d/b*", "dd/*"], "'dd/*'"),
        (["b.txt", "d"], "'b.txt'"),
        (["*", "e/*.bin", "*.png"], "'e/*.bin'"),
        (["*.png", "*.jpg"], "'*.png', '*.jpg'"),
    ],
)
def test_a_pattern_that_names_what_is_not_there_is_an_error_beside_one_that_matches(make, members, wrong, tmp_path):
    with pytest.raises(SpecError, match=re.escape(f"matches {wrong}.")):
        unpacked(make(FILES), tmp_path / "to", members=members)
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))], ids=["zip", "tar"])
def test_a_kind_of_file_that_a_folder_does_not_hold_is_told(make, tmp_path):
    (tmp_path / "to").mkdir()
    notes = []
    told = type("Told", (type(SILENT),), {"note": lambda self, text, label="": notes.append(text)})()
    unpack(BytesReader(make(FILES)), tmp_path / "to", members=["d/*.bin", "d/*.png", "*.jpg"], reporter=told)
    assert notes == ["Nothing in bytes matches 'd/*.png', '*.jpg'."]


def test_a_pattern_that_picks_nothing_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="nothing-like-it"):
        unpacked(zip_of(FILES), tmp_path / "to", members=["nothing-like-it"])
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))])
@pytest.mark.parametrize(
    ("strip", "top", "stripped"),
    [
        (True, "cats", "cats"),
        ("cats", "cats", "cats"),
        ("dogs", "cats", None),
        (False, "cats", None),
        ("train", "train", None),
    ],
)
def test_one_top_folder_is_taken_off_where_asked(make, strip, top, stripped, tmp_path):
    result = unpacked(make({f"{top}/1": b"1", f"{top}/{top}/2": b"2"}), tmp_path / "to", strip=strip)
    prefix = "" if stripped else f"{top}/"
    assert result.stripped == stripped
    assert {f.path for f in result.files} == {f"{prefix}1", f"{prefix}{top}/2"}
    assert {p for p, v in tree(tmp_path / "to").items() if v} == {f"{prefix}1", f"{prefix}{top}/2"}
    assert os.listdir(tmp_path) == ["to"]


def test_a_top_folder_stays_where_a_link_climbs_to_it(tmp_path):
    result = unpacked(tar_of([("t/a", b"1"), ("t/l", tarfile.SYMTYPE, "../t/a")]), tmp_path / "to", strip=True)
    assert result.stripped is None
    assert (tmp_path / "to/t/l").read_bytes() == b"1"


def test_two_tops_are_never_taken_off(tmp_path):
    assert unpacked(zip_of({"a/1": b"", "b/2": b""}), tmp_path / "to", strip=True).stripped is None


def test_archives_in_archives_unpack_in_their_place(tmp_path):
    inner = tar_of([("x.txt", b"x")], mode="w:gz")
    data = zip_of({"more/inner.tar.gz": inner, "readme": b"r", "deep.zip": zip_of({"in.zip": zip_of({"y": b"y"})})})
    result = unpacked(data, tmp_path / "to", nested=True)
    files = {p: v for p, v in tree(tmp_path / "to").items() if v is not None}
    assert files == {"more/inner/x.txt": b"x", "readme": b"r", "deep/in/y": b"y"}
    assert {f.path for f in result.files} == set(files)


def test_compressed_files_in_an_archive_unpack_beside_it_as_gunzip_has_them(tmp_path):
    files = {
        "gzip/train-images-idx3-ubyte.gz": gzip.compress(b"images"),
        "gzip/labels.txt.xz": lzma.compress(b"labels"),
        "top.gz": gzip.compress(b"top"),
        "taken": b"mine",
        "taken.gz": gzip.compress(b"theirs"),
        "in.zip.gz": gzip.compress(zip_of({"y": b"y", "z.gz": gzip.compress(b"z")})),
    }
    result = unpacked(zip_of(files), tmp_path / "to", nested=True)
    found = {p: v for p, v in tree(tmp_path / "to").items() if v is not None}
    assert found == {
        "gzip/train-images-idx3-ubyte": b"images",
        "gzip/labels.txt": b"labels",
        "top": b"top",
        "taken": b"mine",
        "taken.gz.unpacked/taken": b"theirs",
        "in/y": b"y",
        "in/z": b"z",
    }
    assert {f.path for f in result.files} == set(found)
    assert result.tree.n_bytes == sum(map(len, found.values()))


def test_an_archive_in_an_archive_is_unpacked_whole_by_the_password_and_encoding_of_the_outer_one(tmp_path):
    locked = bytes.fromhex(LOCKED["stored, by 7-Zip"])
    named = zip_raw(zip_entry("ÆÁÊÌ".encode("cp1252"), b"1", flags=0))
    outer = zip_of({"a.zip": locked, "b.zip": named, "c.zip": zip_of({"not asked for": b""})})
    asked = {"members": ["a.zip", "b.zip"], "password": "secret", "encoding": "cp1252"}
    unpacked(outer, tmp_path / "to", nested=True, **asked)
    found = {path: content for path, content in tree(tmp_path / "to").items() if content is not None}
    assert found == {"a/a.txt": TEXT, "b/ÆÁÊÌ": b"1"}


def test_what_is_left_out_and_replaced_in_archives_in_archives_is_counted(tmp_path):
    inner = tar_of([("a", b"1"), (".DS_Store", b""), ("a", b"2")])
    result = unpacked(zip_of({"in.tar": inner, "d/._x": b""}), tmp_path / "to", nested=True)
    assert (result.left_out, result.n_replaced) == ({".DS_Store": 1, "._*": 1}, 1)


def test_a_folder_in_which_an_archive_was_unpacked_keeps_its_time(tmp_path):
    unpacked(tar_of([("d", None), ("d/in.zip", zip_of({"x": b""}))]), tmp_path / "to", nested=True)
    assert os.stat(tmp_path / "to/d").st_mtime == 1_600_000_000


def test_an_archive_in_an_archive_has_the_room_that_the_others_leave(tmp_path):
    outer = zip_of({"a": bytes(600_000), "in.zip": zip_of({"b": bytes(600_000)})})
    with pytest.raises(NoSpaceError):
        unpacked(outer, tmp_path / "to", nested=True, free_bytes=1_000_000)


def test_a_hostile_archive_within_an_archive_refuses_all(tmp_path):
    with pytest.raises(UnsafeArchiveError, match="N-UP"):
        unpacked(zip_of({"in.zip": zip_of({"../../evil": b"x"})}), tmp_path / "to", nested=True)
    assert tree(tmp_path) == {"to": None}


def test_without_nested_an_archive_in_an_archive_stays_packed(tmp_path):
    inner = zip_of({"../evil": b"x"})
    unpacked(zip_of({"in.zip": inner}), tmp_path / "to")
    assert tree(tmp_path / "to") == {"in.zip": inner}


def test_one_compressed_file_gets_its_name_without_the_suffix(tmp_path):
    result = unpacked(gzip.compress(b"1,2\n"), tmp_path / "to", name="iris.csv.gz")
    assert (result.format, tree(tmp_path / "to")) == ("gz", {"iris.csv": b"1,2\n"})


def test_what_is_no_archive_is_named_for_what_it_is(tmp_path):
    with pytest.raises(NotDataError, match="a web page"):
        unpacked(b"<html><body>hello</body></html>", tmp_path / "to")
    with pytest.raises(NotDataError, match="cut short"):
        unpacked(b"just text", tmp_path / "to")


def test_too_little_room_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(NoSpaceError, match="free"):
        unpacked(zip_of({"a": bytes(5000)}), tmp_path / "to", free_bytes=1000)
    assert tree(tmp_path / "to") == {}


def test_a_folder_that_may_not_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "to").mkdir()
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    os.chmod(tmp_path / "to", 0o555)
    with pytest.raises(StorageError):
        unpacked(zip_of(FILES), tmp_path / "to")


def test_bytes_arrive_once_and_in_parallel(tmp_path):
    files = {f"{i:03d}": os.urandom(150_000) for i in range(60)}
    link = Link(zip_of(files), delay_s=0.001)
    (tmp_path / "to").mkdir()
    unpack(link, tmp_path / "to")
    assert {p: v for p, v in tree(tmp_path / "to").items() if v is not None} == files
    assert sum(n for _, n in link.reads) < link.size * 1.05


@pytest.mark.parametrize("size", [20_000, 9_000_000])
def test_a_tar_from_a_slow_link_unpacks_as_it_comes(size, tmp_path):
    data = tar_of([("big", os.urandom(size)), ("small", b"s")], mode="w:gz")
    link = Link(data, delay_s=0.001)
    (tmp_path / "to").mkdir()
    unpack(link, tmp_path / "to")
    assert len(tree(tmp_path / "to")["big"]) == size


def test_a_zip_without_ranges_cannot_be_unpacked(tmp_path):
    (tmp_path / "to").mkdir()
    with pytest.raises(ValueError, match="ranges"):
        unpack(Link(zip_of(FILES), ranges=False), tmp_path / "to")


@pytest.mark.parametrize("make", [zip_of, lambda f: tar_of(list(f.items()))])
def test_a_link_that_breaks_half_way_leaves_nothing(make, tmp_path):
    link = Link(make({f"{i}": os.urandom(100_000) for i in range(80)}), breaks_at=5_000_000)
    (tmp_path / "to").mkdir()
    with pytest.raises(StorageError):
        unpack(link, tmp_path / "to")
    assert tree(tmp_path / "to") == {}


def test_listing_tells_without_judging():
    data = zip_of({"../x": b"12", "d/": b""})
    assert [(m.name, m.kind, m.size) for m in list_members(BytesReader(data))] == [
        ("../x", "file", 2),
        ("d/", "folder", 0),
    ]


@pytest.mark.parametrize(
    "data",
    [zip_of(FILES), tar_of(list(FILES.items())), tar_of(list(FILES.items()), mode="w:bz2")],
    ids=["zip", "tar", "bz2"],
)
def test_members_can_be_read_in_one_pass(data):
    found = {member.name: stream.read() for member, stream in iter_members(BytesReader(data)) if stream}
    assert found == FILES


def test_members_that_are_passed_over_cost_the_next_nothing():
    data = tar_of(list(FILES.items()))
    assert [member.name for member, _ in iter_members(BytesReader(data))] == list(FILES)


def test_reading_a_damaged_member_to_its_end_says_so():
    data = bytearray(zip_of({"a": os.urandom(3000)}))
    data[1000] ^= 1
    with pytest.raises(DamagedArchiveError):
        for _, stream in iter_members(BytesReader(bytes(data))):
            stream.read()


def test_progress_counts_every_byte(tmp_path):
    class Counting:
        total = done = 0

        def phase(self, name, total_bytes):
            self.total, self.done = total_bytes, 0

        def advance(self, n_bytes):
            self.done += n_bytes

        def note(self, text, label=""): ...

    for nth, data in enumerate((zip_of(FILES), tar_of(list(FILES.items()), mode="w:xz"))):
        counting = Counting()
        unpacked(data, tmp_path / str(nth), reporter=counting)
        assert counting.done == counting.total > 0


def test_a_locked_zip_says_so(tmp_path):
    data = bytearray(zip_of({"a": b"x" * 50}))
    for at in (6, data.index(b"PK\1\2") + 8):
        data[at] |= 1
    with pytest.raises(PasswordError, match="password"):
        unpacked(bytes(data), tmp_path / "to")


def test_a_file_reader_works_as_any_other(tmp_path):
    (tmp_path / "x.zip").write_bytes(zip_of(FILES))
    with FileReader(tmp_path / "x.zip") as reader:
        (tmp_path / "to").mkdir()
        assert unpack(reader, tmp_path / "to").format == "zip"


def test_of_a_chain_of_hard_links_the_last_is_picked_alone_with_its_content(tmp_path):
    chain = [("f", b"1"), ("h1", tarfile.LNKTYPE, "f"), ("h2", tarfile.LNKTYPE, "h1")]
    unpacked(tar_of(chain), tmp_path / "to", members=["h2"])
    assert tree(tmp_path / "to") == {"h2": b"1"}
    with pytest.raises(NoSpaceError):
        unpacked(tar_of([("f", bytes(9000)), *chain[1:]]), tmp_path / "full", members=["h2"], free_bytes=5000)


def test_a_file_that_tar_named_again_as_a_link_to_itself_is_that_file(tmp_path):
    """`tar cf x.tar d d/a` writes it so."""
    again = [("d/a", b"1"), ("d/b", tarfile.LNKTYPE, "d/a"), ("d/a", tarfile.LNKTYPE, "d/a"), ("d/c", b"3")]
    result = unpacked(tar_of(again), tmp_path / "to")
    assert (tree(tmp_path / "to"), result.n_replaced) == ({"d": None, "d/a": b"1", "d/b": b"1", "d/c": b"3"}, 0)
    with pytest.raises(UnsafeArchiveError, match="L-MISSING"):
        unpacked(tar_of([("a", tarfile.LNKTYPE, "a")]), tmp_path / "alone")
