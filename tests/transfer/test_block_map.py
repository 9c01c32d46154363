"""Which bytes are there is known exactly, and a map that cannot be believed is not."""

from __future__ import annotations

import os
import zlib

from hypothesis import given
from hypothesis import strategies as st

from datastage.transfer.block_map import Block, BlockMap, block_bytes, plan, sound_runs


@given(st.integers(1, 50_000_000), st.lists(st.tuples(st.integers(0, 50_000_000), st.integers(-1, 9_000_000))))
def test_a_plan_covers_every_byte_once_whatever_was_there(size, runs):
    blocks = plan(size, [(start, length, 0) for start, length in runs])
    at = 0
    for block in blocks:
        assert block.start == at
        assert block.end > block.start
        assert block.got in (0, block.end - block.start)
        at = block.end
    assert at == size


def test_a_plan_keeps_every_run_that_fits_also_behind_a_gap():
    step = block_bytes(1 << 20)
    runs = [(10, 5, 1), (step + 7, 20, 2), (step + 9, 5, 3), ((1 << 20) - 4, 4, 4), ((1 << 20) - 4, 5, 5), (90, 0, 6)]
    kept = [(block.start, block.got, block.crc) for block in plan(1 << 20, runs) if block.got]
    assert kept == [(10, 5, 1), (step + 7, 20, 2), ((1 << 20) - 4, 4, 4)]


def test_blocks_are_neither_tiny_nor_many():
    assert block_bytes(1) == 256 << 10
    assert block_bytes(170_498_071) == 4 << 20
    assert len(plan(10 << 30, [])) <= 2560
    assert {block.left for block in plan(1 << 20, [])} == {256 << 10}


def test_what_was_noted_is_read_back(tmp_path):
    note = BlockMap(tmp_path / "map", {"identity": "a", "size": 100})
    note.begin([(0, 10, 5)])
    note.add(Block(10, 20, 10, 7))
    note.add(Block(20, 40, 3, 8))
    note.close(remove=False)
    header, runs = BlockMap(tmp_path / "map", {}).read()
    assert header["identity"] == "a"
    assert sorted(runs) == [(0, 10, 5), (10, 10, 7), (20, 3, 8)]


def test_a_longer_run_replaces_a_shorter_one_from_the_same_byte(tmp_path):
    note = BlockMap(tmp_path / "map", {})
    block = Block(0, 100, 10, 1)
    note.begin([])
    note.add(block)
    block.got, block.crc = 30, 2
    note.add(block)
    note.close(remove=False)
    assert note.read()[1] == [(0, 30, 2)]


def test_a_line_cut_by_a_kill_is_ignored(tmp_path):
    note = BlockMap(tmp_path / "map", {})
    note.begin([(0, 10, 5)])
    note.close(remove=False)
    with open(tmp_path / "map", "ab") as file:
        file.write(b"10 1000")
    assert note.read()[1] == [(0, 10, 5)]


def test_what_is_no_map_is_no_map(tmp_path):
    for text in (b"", b"\0\0\0", b"[]\n", b'{"version": 99}\n0 1 2\n', b"{"):
        (tmp_path / "map").write_bytes(text)
        assert BlockMap(tmp_path / "map", {}).read() == ({}, [])


def test_runs_whose_bytes_are_not_there_are_dropped(tmp_path):
    (tmp_path / "part").write_bytes(b"aaaabbbb")
    good, bad, beyond = (0, 4, zlib.crc32(b"aaaa")), (4, 4, zlib.crc32(b"aaaa")), (6, 10, zlib.crc32(b"bb"))
    one = (7, 1, zlib.crc32(b"b"))
    assert sound_runs(tmp_path / "part", [good, bad, beyond, one]) == [good, one]


def test_a_map_that_was_not_begun_writes_and_closes_nothing(tmp_path, capfd):
    note = BlockMap(tmp_path / "map", {})
    note.add(Block(0, 9, 9, 5))
    note.close(remove=False)
    os.fstat(1)
    assert capfd.readouterr().out == ""
    assert os.listdir(tmp_path) == []
