"""The index of shards: what is written is read again, and nothing that it claims is believed unseen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastage.errors import IntegrityError
from datastage.shards.index import (
    MOST_INDEX_BYTES,
    ShardEntry,
    ShardHead,
    ShardIndex,
    read_head,
    read_index,
    write_index,
    write_list,
)

SHARD = ShardEntry("train-000000.tar", 10_240, "0" * 64, 3)
MEMBERS = [("café/1.jpg", 512, 700, 0xFFFFFFFF), ("café/1.cls", 2_048, 1, 7)]
HEAD = ShardHead(SHARD, "a" * 64, (("dog/2.jpg", "the file is cut short"),), "b" * 64)


def index_with(**facts):
    row = {"name": SHARD.name, "size": SHARD.size, "sha256": SHARD.sha256, "samples": SHARD.samples, **facts}
    return json.dumps({"schema": 1, "shards": [row], "classes": None}).encode()


def test_an_index_is_read_as_it_was_written():
    index = ShardIndex((SHARD, ShardEntry("val-000000.tar", 512_000, "f" * 64, 0)), ("cat", "chien é"))
    assert read_index(write_index(index)) == index
    assert index.samples == 3
    assert {split: len(shards) for split, shards in index.splits.items()} == {"train": 1, "val": 1}


def test_an_index_without_classes_and_one_without_shards():
    assert read_index(write_index(ShardIndex((), None))) == ShardIndex((), None)
    assert read_index(index_with()) == ShardIndex((SHARD,))


def test_a_list_is_read_as_it_was_written():
    data = write_list(HEAD, MEMBERS)
    assert [tuple(json.loads(line)) for line in data.splitlines()[1:]] == MEMBERS
    assert read_head(data) == HEAD


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "../train-000000.tar"},
        {"name": "a/b.tar"},
        {"name": "a\\b.tar"},
        {"name": ".hidden.tar"},
        {"name": "train-000000.zip"},
        {"name": "a\n.tar"},
        {"name": "x" * 300 + ".tar"},
        {"name": None},
        {"size": -1},
        {"size": 1 << 60},
        {"size": True},
        {"size": 1e4},
        {"size": "10240"},
        {"samples": 1_000_000},
        {"samples": None},
        {"sha256": "0" * 63},
        {"sha256": 0},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(facts):
    with pytest.raises(IntegrityError, match=r"index\.json cannot be used") as caught:
        read_index(index_with(**facts))
    assert caught.value.remedy[-1].startswith("Next: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema": 2, "shards": []}',
        b'{"schema": 1}',
        b'{"schema": 1, "shards": {}}',
        b'{"schema": 1, "shards": [1]}',
        b'{"schema": 1, "shards": [], "classes": [1]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b" " * (MOST_INDEX_BYTES + 1),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_index_is_refused(data):
    with pytest.raises(IntegrityError):
        read_index(data)


def test_a_shard_that_is_listed_twice_is_refused():
    with pytest.raises(IntegrityError, match="twice"):
        read_index(write_index(ShardIndex((SHARD, SHARD))))


@given(st.data())
def test_no_damage_is_more_than_an_error_of_ours(data):
    whole = bytearray(write_list(HEAD, MEMBERS))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_head(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except IntegrityError:
        pass


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-000000.tar", "train"),
        ("dev-000000.tar", "val"),
        ("valid-000000.tar", "val"),
        ("Test-000000.tar", "test"),
        ("predict-000000.tar", "predict"),
        ("birds-000000.tar", "train"),
        ("imagenet-val-000000.tar", "val"),
        ("train-val-000000.tar", "train"),
        ("test_run-val-000000.tar", "val"),
    ],
)
def test_the_part_of_a_shard_is_the_last_word_of_its_name_that_names_a_part(name, split):
    assert ShardEntry(name, 0, "", 0).split == split
