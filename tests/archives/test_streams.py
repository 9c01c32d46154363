from __future__ import annotations

import bz2
import importlib.util
import lzma
import os

import pytest

from datastage.archives import blocks, streams
from datastage.archives.faults import Fault
from datastage.reader import BytesReader

from .made import tar_of, tree, unpacked

TEXT = b"".join(b"%d,%d\n" % (n, n * n) for n in range(400_000)) + os.urandom(4_000_000)


def blocks_of(data: bytes) -> bytes:
    """Return xz of several streams, as ``pixz`` and ``cat`` make them."""
    return b"".join(lzma.compress(data[at : at + 1_000_000], preset=0) for at in range(0, len(data), 1_000_000))


@pytest.mark.parametrize(("kind", "pack"), [("bz2", bz2.compress), ("xz", blocks_of)])
def test_blocks_on_several_threads_give_what_one_thread_gives(kind, pack):
    data = pack(TEXT)
    reader = BytesReader(data)
    found = blocks.decoded(kind, reader, reader.stream(0), 3)
    assert found is not None
    assert b"".join(found) == TEXT


def test_bzip2_of_several_streams_and_empty_ones_comes_back():
    data = bz2.compress(TEXT[:3_000_000]) + bz2.compress(b"") + bz2.compress(TEXT[3_000_000:])
    reader = BytesReader(data)
    assert b"".join(blocks.decoded("bz2", reader, reader.stream(0), 2) or ()) == TEXT


@pytest.mark.parametrize(("kind", "pack"), [("bz2", bz2.compress), ("xz", blocks_of)])
@pytest.mark.parametrize("where", [0.2, 0.5, 0.97, 0.9999995])
def test_damage_in_a_block_is_never_passed(kind, pack, where, tmp_path):
    data = bytearray(pack(tar_of([("a", TEXT)])))
    data[int(len(data) * where)] ^= 4
    with pytest.raises(Exception, match="damaged|refused"):
        unpacked(bytes(data), tmp_path / "to", workers=2)
    assert tree(tmp_path / "to") == {}


@pytest.mark.parametrize(("kind", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_bytes_behind_the_end_are_refused(kind, pack):
    with pytest.raises(Fault) as caught:
        list(streams.decoded(kind, iter([pack(b"x" * 1000), b"garbage"])))
    assert caught.value.rule.startswith("C-")


def test_a_decoder_ahead_hands_on_what_it_met():
    def broken():
        yield b"1"
        raise Fault("C-CRC", "is wrong")

    ahead = streams.Ahead(broken())
    assert next(ahead) == b"1"
    with pytest.raises(Fault):
        next(ahead)
    ahead.close()


def test_a_decoder_ahead_can_be_left_half_way():
    ahead = streams.Ahead(iter([bytes(10)] * 1000), 2)
    next(ahead)
    ahead.close()
    assert not ahead._thread.is_alive()


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_of_any_size_give_the_same(size):
    data = lzma.compress(TEXT[:50_000])
    parts = (data[at : at + size] for at in range(0, len(data), size))
    assert b"".join(streams.decoded("xz", parts)) == TEXT[:50_000]


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
        data = self.packed(TEXT) + b"\x5a\x2a\x4d\x18\x05\x00\x00\x00skip!" + self.packed(b"")
        data += self.packed(bytes(3_000_000))
        data += self.packed(TEXT[-300_000:], write_checksum=True, write_content_size=False)
        data += stream.compress(TEXT[:700_000]) + stream.flush()
        wanted = TEXT + bytes(3_000_000) + TEXT[-300_000:] + TEXT[:700_000]
        for size in (1, 1000, 1 << 20):
            parts = (data[at : at + size] for at in range(0, len(data), size))
            assert b"".join(streams.decoded("zst", parts)) == wanted

    def test_a_few_bytes_that_make_very_many_come_in_small_pieces(self):
        pieces = streams.decoded("zst", iter([self.packed(bytes(200_000_000))]))
        assert max(map(len, pieces)) <= 1 << 20

    @pytest.mark.parametrize("where", [3, 4, 5, 6, 9, 1000, -5, -4, -1])
    def test_a_frame_cut_short_is_refused(self, where):
        data = self.packed(TEXT[:500_000], write_checksum=True)
        with pytest.raises(Fault):
            list(streams.decoded("zst", iter([data[:where]])))

    @pytest.mark.parametrize(
        "behind", [b"\0", b"\0" * 512, b"garbage", b"\x28\xb5\x2f", b"\x50\x2a\x4d\x18\x09\0\0\0x"]
    )
    def test_other_bytes_behind_the_end_are_refused(self, behind):
        with pytest.raises(Fault) as caught:
            list(streams.decoded("zst", iter([self.packed(b"x" * 1000) + behind])))
        assert caught.value.rule.startswith("C-")

    def test_every_changed_bit_is_seen_or_changes_nothing(self):
        data = self.packed(b"0123456789" * 30, write_checksum=True)
        for bit in range(8 * len(data)):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            try:
                assert b"".join(streams.decoded("zst", iter([bytes(bad)]))) == b"0123456789" * 30
            except Fault:
                pass
