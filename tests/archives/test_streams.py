from __future__ import annotations

import bz2
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
