"""What a tar's blocks say: its end, its checksums, its kinds."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tarfile

import pytest

from datastage.archives import list_members, sniff, tar
from datastage.errors import DamagedArchiveError
from datastage.reader import BytesReader

from .made import tar_of, tree, unpacked
from .raw import END_BLOCKS, base256, outcome, pax_raw, tar_raw

A, B = b"alpha " * 100, b"beta " * 20
MEMBERS = [tar_raw(b"a.txt", A), tar_raw(b"d/", kind=b"5"), pax_raw(("mtime", "1.5")) + tar_raw(b"d/b.txt", B)]


def with_checksum(member: bytes, change: int = 0, *, signed: bool = False) -> bytes:
    """Return a member whose header has its checksum written anew."""
    block = bytearray(member[:512])
    block[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block) + change
    block[148:156] = b"%06o\0 " % total
    return bytes(block) + member[512:]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_plain_tar_cut_at_the_edge_of_a_member_is_refused(n, tmp_path):
    assert outcome(b"".join(MEMBERS[:n]), tmp_path / "x") == "T-CUT"


def test_every_cut_of_a_plain_tar_is_refused_until_its_first_end_block(tmp_path):
    data = b"".join(MEMBERS) + END_BLOCKS
    whole = len(data) - len(END_BLOCKS)
    for n, end in enumerate(range(256, whole + 1, 256)):
        assert outcome(data[:end], tmp_path / str(n)) in ("T-CUT", "T-ORPHAN", "NotDataError"), end
    assert outcome(data[: whole + 512], tmp_path / "one block") == {"a.txt": A, "d/b.txt": B}


def test_a_compressed_tar_needs_no_end_block_where_its_stream_is_whole(tmp_path):
    assert outcome(gzip.compress(b"".join(MEMBERS)), tmp_path / "x") == {"a.txt": A, "d/b.txt": B}


@pytest.mark.parametrize("name", [b"caf\xe9.txt", "\u732b\u732b.txt".encode(), b"\xff" * 90, b"\x80.txt"])
def test_checksums_of_signed_bytes_count_as_old_tars_wrote_them(name, tmp_path):
    member = with_checksum(tar_raw(name, A), signed=True)
    assert member != tar_raw(name, A)
    for nth, data in enumerate((member + END_BLOCKS, tar_raw(b"first", B) + member + END_BLOCKS)):
        assert sniff(BytesReader(data)) == "tar"
        assert A in outcome(data, tmp_path / str(nth)).values()


@pytest.mark.parametrize("change", [-512, -257, -256, -255, -1, 0, 1, 256])
def test_a_checksum_is_the_unsigned_or_the_signed_sum_and_no_other(change, tmp_path):
    data = with_checksum(tar_raw(b"caf\xe9.txt", A), change) + END_BLOCKS
    right = change in (0, -256)  # one byte of the header is over 127
    wanted = {"first": B, "caf\udce9.txt": A} if right else "T-HEADER"
    assert outcome(tar_raw(b"first", B) + data, tmp_path / "later") == wanted
    assert (sniff(BytesReader(data)) == "tar") == right


def edited(data: bytes, name: str, change) -> bytes:
    """Return a tar with the header of one member changed, and its checksum made right again."""
    at = next(i for i in range(0, len(data), 512) if data[i : i + 100].rstrip(b"\0").decode("latin-1") == name)
    header = bytearray(data[at : at + 512])
    change(header)
    return data[:at] + with_checksum(bytes(header)) + data[at + 512 :]


def test_a_folder_of_an_old_tar_with_a_size_and_no_data_is_a_folder(tmp_path):
    data = tar_of([("d/", None), ("d/a", b"text")], form=tarfile.USTAR_FORMAT)

    def old(header):  # type of a file, no mark of ustar, and a size that nothing stands for
        header[156:157], header[257:265], header[124:135] = b"\0", bytes(8), b"00000001000"

    unpacked(edited(data, "d/" if b"d/\0" in data[:200] else "d", old), tmp_path / "to")

    assert tree(tmp_path / "to") == {"d": None, "d/a": b"text"}


def test_the_access_list_of_a_solaris_member_is_no_file_of_its_own(tmp_path):
    data = tar_of([("acl", b"user::rw-,group::r--,mask:r--,other:r--\n"), ("a", b"text")], form=tarfile.USTAR_FORMAT)

    def access_list(header):
        header[156:157] = b"A"
        header[:3] = b"a\0\0"

    unpacked(edited(data, "acl", access_list), tmp_path / "to")

    assert tree(tmp_path / "to") == {"a": b"text"}


def test_a_stray_byte_in_the_end_blocks_is_no_cut(tmp_path):
    data = bytearray(tar_of([("a", b"text")]))
    data[-3] = 1

    unpacked(bytes(data), tmp_path / "to")

    assert tree(tmp_path / "to") == {"a": b"text"}


@pytest.mark.parametrize("kind", [b"x", b"X"])  # POSIX, Solaris
def test_what_a_header_says_of_one_member_is_not_said_of_the_next(kind, tmp_path):
    data = pax_raw(("path", "long name"), kind=kind) + tar_raw(b"a", A) + tar_raw(b"b", B) + END_BLOCKS
    assert outcome(data, tmp_path / "x") == {"long name": A, "b": B}


def test_a_size_of_blanks_is_none_and_one_that_is_no_number_is_refused(tmp_path):
    folder = tar_raw(b"d/", kind=b"5", size=b" " * 12)
    assert outcome(folder + tar_raw(b"d/a", A) + END_BLOCKS, tmp_path / "blanks") == {"d/a": A}
    assert outcome(tar_raw(b"first", B) + tar_raw(b"a", A, size=b"x" * 12) + END_BLOCKS, tmp_path / "x") == "T-SIZE"


def test_a_size_of_pax_that_is_no_number_is_refused_by_the_name_of_its_member(tmp_path):
    with pytest.raises(DamagedArchiveError, match='"a.txt" has a size that is no number'):
        unpacked(pax_raw(("size", "many")) + MEMBERS[0] + END_BLOCKS, tmp_path / "x")


def test_folders_and_links_take_no_bytes_whatever_size_is_noted(tmp_path):
    links = [
        tar_raw(name, kind=kind, target=b"a", size=9) for name, kind in ((b"d/", b"5"), (b"l", b"2"), (b"h", b"1"))
    ]
    data = tar_raw(b"a", A) + b"".join(links) + tar_raw(b"e/", b"Ya\0\0", kind=b"D") + END_BLOCKS
    listed = {each.name: each.size for each in list_members(BytesReader(data))}
    assert listed == {"a": len(A), "d/": 0, "l": 0, "h": 0, "e/": 0}
    assert unpacked(data, tmp_path / "x").tree.n_bytes == len(A)


def test_pax_records_that_mean_nothing_may_be_as_many_as_the_limit_says(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_UNKNOWN", 3)
    for n in (3, 4):
        data = pax_raw(*[(f"k{i}", "v") for i in range(n)]) + tar_raw(b"a", A) + END_BLOCKS
        assert outcome(data, tmp_path / str(n)) == ({"a": A} if n == 3 else "T-PAX")


GNU_TAR = pytest.mark.skipif(
    not shutil.which("tar")
    or "GNU tar" not in subprocess.run(["tar", "--version"], capture_output=True, text=True).stdout,
    reason="GNU tar is not installed",
)
HOLES = ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]


def with_holes(folder, n, form):
    """Return a tar of a file of `n` pieces and holes, whose map names its end as one more; and what the file holds."""
    with open(folder / "holes", "wb") as file:
        for nth in range(n):
            file.seek(nth * 65_536)
            file.write(b"%d " % nth * 1000)
        file.truncate(n * 65_536 + 9)
    command = ["tar", "--sparse", form, *(["--format=posix"] if "version" in form else []), "-cf", "x.tar", "holes"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "x.tar").read_bytes(), (folder / "holes").read_bytes()


@GNU_TAR
@pytest.mark.parametrize("n", [3, 5, 26, 60])  # pieces: 4 in the header, 21 in each block behind it
@pytest.mark.parametrize("form", HOLES)
def test_a_file_with_holes_comes_back_however_many_pieces_it_has(n, form, tmp_path):
    data, whole = with_holes(tmp_path, n, form)
    assert outcome(data, tmp_path / "to") == {"holes": whole}


@GNU_TAR
@pytest.mark.parametrize("form", HOLES)
@pytest.mark.parametrize("spare", [-1, 0])
def test_a_file_with_holes_may_have_as_many_pieces_as_the_limit_says(spare, form, tmp_path, monkeypatch):
    data, whole = with_holes(tmp_path, 26, form)
    n = 25 if form == HOLES[0] else 27  # of the oldest form those before the last block count
    monkeypatch.setattr(tar, "MAX_PIECES", n + spare)
    assert outcome(data, tmp_path / "to") == ("T-SPARSE" if spare < 0 else {"holes": whole})


@pytest.mark.parametrize("mtime", [-86_400, 0, 1, 4_000_000_000])
def test_the_time_of_a_file_comes_back_also_from_before_1970(mtime, tmp_path):
    unpacked(tar_raw(b"a", A, mtime=base256(mtime)) + END_BLOCKS, tmp_path / "to")
    assert (tmp_path / "to" / "a").stat().st_mtime == mtime


@pytest.mark.parametrize(("kind", "rule"), [(b"L", "T-ORPHAN"), (b"K", "T-ORPHAN"), (b"x", "T-CUT")])
def test_a_header_that_is_cut_short_is_called_so(kind, rule, tmp_path):
    header = pax_raw(("path", "b")) if kind == b"x" else tar_raw(b"././@LongLink", b"b\0", kind)
    assert outcome(tar_raw(b"a", A) + header[:600], tmp_path / "x") == rule


@pytest.mark.parametrize("kind", [b"x", b"X", b"L", b"K"])
def test_a_header_of_a_member_that_does_not_come_is_refused(kind, tmp_path):
    header = pax_raw(("path", "b"), kind=kind) if kind in b"xX" else tar_raw(b"././@LongLink", b"b\0", kind)
    for nth, before in enumerate((b"", tar_raw(b"a", A))):
        assert outcome(before + header + END_BLOCKS, tmp_path / str(nth)) == "T-ORPHAN"


def test_a_header_of_all_members_needs_none(tmp_path):
    """So git writes an archive of nothing, and some write a comment last."""
    told = pax_raw(("comment", "0" * 40), kind=b"g")
    assert outcome(tar_raw(b"a", A) + told + END_BLOCKS, tmp_path / "x") == {"a": A}
    assert outcome(told + tar_raw(b"a", A) + END_BLOCKS, tmp_path / "y") == {"a": A}


def test_a_header_that_says_nothing_of_a_member_does_no_harm(tmp_path):
    assert outcome(pax_raw() + tar_raw(b"a", A) + END_BLOCKS, tmp_path / "x") == {"a": A}


def test_what_an_incremental_tar_notes_of_a_folder_is_passed_over(tmp_path):
    listed = tar_raw(b"d/", b"Ya\0\0", kind=b"D")
    assert outcome(listed + tar_raw(b"d/a", A) + END_BLOCKS, tmp_path / "x") == {"d/a": A}


def test_a_signed_checksum_counts_each_byte_around_it(tmp_path):
    member = with_checksum(tar_raw(b"a", A, mtime=base256(255)), signed=True)
    assert outcome(tar_raw(b"first", B) + member + END_BLOCKS, tmp_path / "x") == {"first": B, "a": A}


def test_a_map_of_holes_that_is_longer_than_its_data_is_refused(tmp_path):
    sparse = pax_raw(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9"))
    data = sparse + tar_raw(b"a", b"0\n".ljust(100, b"\0")) + END_BLOCKS
    assert outcome(data, tmp_path / "x") == "T-SPARSE"


@pytest.mark.parametrize(("padding", "is_whole"), [(b"\0" * 9, True), (b"\1" * 9, False)])
def test_zeros_behind_the_last_record_of_pax_are_padding_and_nothing_else_is(padding, is_whole, tmp_path):
    body = b"10 path=b\n" + padding
    data = tar_raw(b"PaxHeaders/x", body, b"x") + tar_raw(b"a", A) + END_BLOCKS
    assert outcome(data, tmp_path / "x") == ({"b": A} if is_whole else "T-PAX")


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40])
def test_a_time_that_no_disk_can_bear_is_none(seconds):
    data = tar_raw(b"a", A, mtime=base256(seconds)) + END_BLOCKS
    assert [each.mtime for each in list_members(BytesReader(data))] == [None]


def test_each_byte_of_a_map_of_holes_in_the_header_counts(tmp_path):
    member = bytearray(tar_raw(b"a", b"", b"S"))
    member[386 + 23] = ord("1")  # the last byte of the first piece
    assert outcome(with_checksum(bytes(member)) + END_BLOCKS, tmp_path / "x") == "T-SPARSE"


def test_a_block_of_zeros_may_begin_a_tar_and_one_of_another_byte_may_not():
    assert [tar.is_header(bytes([n]) * 512) for n in range(3)] == [True, False, False]


def test_a_tar_that_ends_in_the_padding_of_a_member_is_refused_by_the_name_of_it(tmp_path):
    with pytest.raises(DamagedArchiveError, match='"a.txt" is cut short'):
        unpacked(MEMBERS[0][:-1], tmp_path / "x")
