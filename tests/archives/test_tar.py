"""What a tar's blocks say: its end, its checksums, its kinds."""

from __future__ import annotations

import gzip

import pytest

from datastage.archives import sniff
from datastage.reader import BytesReader

from .raw import END_BLOCKS, outcome, pax_raw, tar_raw

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


@pytest.mark.parametrize("name", [b"caf\xe9.txt", "\u732b\u732b.txt".encode(), b"\xff" * 90])
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
