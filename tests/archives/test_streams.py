from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import os
import threading

import pytest

from datastage.archives import formats, streams
from datastage.archives.errors import Fault
from datastage.errors import DamagedArchiveError, UnsafeArchiveError

from .made import tar_of, tree, unpacked

TEXT = b"".join(b"%d,%d\n" % (n, n * n) for n in range(60_000)) + os.urandom(700_000)


PACKERS = [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]


@pytest.mark.parametrize(("kind", "pack"), PACKERS)
def test_several_streams_and_empty_ones_are_one(kind, pack):
    data = pack(TEXT[:300_000]) + pack(b"") + pack(TEXT[300_000:])
    assert b"".join(formats.find(kind)[0].decode(iter([data]))) == TEXT


@pytest.mark.parametrize(("kind", "pack"), PACKERS)
@pytest.mark.parametrize("where", [0.2, 0.5, 0.97, 1])
def test_damage_in_a_stream_is_never_passed(kind, pack, where, tmp_path):
    data = bytearray(pack(tar_of([("a", TEXT)])))
    data[int((len(data) - 7) * where)] ^= 4  # the last one in the checksum of all
    with pytest.raises((DamagedArchiveError, UnsafeArchiveError)):
        unpacked(bytes(data), tmp_path / "to")
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize(("kind", "pack"), PACKERS)
def test_bytes_behind_the_end_are_refused(kind, pack):
    with pytest.raises(Fault) as caught:
        list(formats.find(kind)[0].decode(iter([pack(b"x" * 1000), b"garbage"])))
    assert caught.value.rule.startswith("C-")


def test_a_decoder_ahead_hands_on_what_it_met():
    def broken():
        yield b"1"
        raise Fault("C-CRC", "is wrong")

    ahead = streams.ahead(broken())
    assert next(ahead) == b"1"
    with pytest.raises(Fault):
        next(ahead)
    ahead.close()


def test_a_decoder_ahead_can_be_left_half_way():
    ahead = streams.ahead(iter([bytes(10)] * 1000), 2)
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "datastage-decode"]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_of_any_size_give_the_same(size):
    data = lzma.compress(TEXT[:50_000])
    parts = (data[at : at + size] for at in range(0, len(data), size))
    assert b"".join(streams.xz(parts)) == TEXT[:50_000]


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is None, reason="needs zstandard")
class TestZstd:
    """Frames are cut into their blocks, so that no call makes more than a few of them."""

    @property
    def zstd(self):
        import zstandard

        return zstandard

    def packed(self, data, **options):
        return self.zstd.ZstdCompressor(**options).compress(data)

    def test_frames_of_every_kind_come_back(self):
        stream = self.zstd.ZstdCompressor(write_checksum=True).compressobj()  # its header names no size
        data = self.packed(TEXT[:400_000]) + b"\x5a\x2a\x4d\x18\x05\x00\x00\x00skip!" + self.packed(b"")
        data += self.packed(bytes(3_000_000))
        data += self.packed(TEXT[-150_000:], write_checksum=True, write_content_size=False)
        data += stream.compress(TEXT[:200_000]) + stream.flush()
        wanted = TEXT[:400_000] + bytes(3_000_000) + TEXT[-150_000:] + TEXT[:200_000]
        for size in (1, 1000, 1 << 20):
            parts = (data[at : at + size] for at in range(0, len(data), size))
            assert b"".join(streams.zst(parts)) == wanted

    def test_a_few_bytes_that_make_very_many_come_in_small_pieces(self):
        pieces = streams.zst(iter([self.packed(bytes(200_000_000))]))
        assert max(map(len, pieces)) <= 1 << 20

    @pytest.mark.parametrize("where", [3, 4, 5, 6, 9, 1000, -5, -4, -1])
    def test_a_frame_cut_short_is_refused(self, where):
        data = self.packed(TEXT[:500_000], write_checksum=True)
        with pytest.raises(Fault):
            list(streams.zst(iter([data[:where]])))

    @pytest.mark.parametrize(
        "behind", [b"\0", b"\0" * 512, b"garbage", b"\x28\xb5\x2f", b"\x50\x2a\x4d\x18\x09\0\0\0x"]
    )
    def test_other_bytes_behind_the_end_are_refused(self, behind):
        with pytest.raises(Fault) as caught:
            list(streams.zst(iter([self.packed(b"x" * 1000) + behind])))
        assert caught.value.rule.startswith("C-")

    def test_every_changed_bit_is_seen_or_changes_nothing(self):
        data = self.packed(b"0123456789" * 30, write_checksum=True)
        for bit in range(8 * len(data)):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            try:
                assert b"".join(streams.zst(iter([bytes(bad)]))) == b"0123456789" * 30
            except Fault:
                pass


def test_an_lz4_file_may_begin_with_a_frame_to_skip(tmp_path):
    lz4 = pytest.importorskip("lz4.frame")
    skipped = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"

    unpacked(skipped + lz4.compress(tar_of([("a", TEXT)])), tmp_path / "to")

    assert tree(tmp_path / "to") == {"a": TEXT}


@pytest.mark.parametrize("n_frames", [1, 2])
def test_legacy_frames_of_lz4_are_read(n_frames, tmp_path):
    block = pytest.importorskip("lz4.block")
    data = tar_of([("a", TEXT)])
    legacy = b"\x02\x21\x4c\x18"
    half = len(data) // n_frames
    parts = [data[i : i + half] for i in range(0, half * n_frames, half)]
    parts[-1] = data[half * (n_frames - 1) :]
    packed = b""
    for part in parts:
        squeezed = block.compress(part, store_size=False)
        packed += legacy + len(squeezed).to_bytes(4, "little") + squeezed

    unpacked(packed, tmp_path / "to")

    assert tree(tmp_path / "to") == {"a": TEXT}
