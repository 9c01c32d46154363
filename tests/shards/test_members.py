"""A shard as samples: what WebDataset's own reader makes of a tar, and what is wrong with one."""

import tarfile

import pytest

from datastage.errors import DamagedArchiveError, DatastageError
from datastage.file_names import PICTURE_SUFFIXES
from datastage.shards.members import PICTURES, ShardFile, samples_of
from tests.stand_ins.shards import labelled, tar_of


def opened(tmp_path, data):
    (tmp_path / "s.tar").write_bytes(data)
    return ShardFile(tmp_path / "s.tar", "s.tar")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", "train/", "./" + "long/" * 40])
def test_members_of_one_key_are_a_sample_whoever_wrote_the_tar(tmp_path, format, folder):
    if format == tarfile.USTAR_FORMAT and len(folder) > 100:
        folder = "./" + "long/" * 20
    file = opened(tmp_path, tar_of(labelled(range(5)), folder, format))
    assert [(s.key.rpartition("/")[2], sorted(s.parts)) for s in file.scan()] == [
        (f"{i:06d}", ["cls", "png"]) for i in range(5)
    ]
    assert [file.part(i, "cls") for i in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_folders_hidden_files_and_notes_on_the_shard_are_no_samples(tmp_path):
    samples = [
        ("__meta__", {"json": b"{}"}),
        (".x", {"png": b"1"}),
        ("a", {"JPG": b"2", "seg.png": b"33"}),
        ("b", {"cls": b"4"}),
    ]
    file = opened(tmp_path, tar_of(samples))
    assert [(s.key, list(s.parts), s.picture()) for s in file.scan()] == [
        ("a", ["jpg", "seg.png"], "jpg"),
        ("b", ["cls"], None),
    ]


def test_a_shard_cut_at_any_length_is_an_error_of_ours_and_never_fewer_samples(tmp_path):
    whole = tar_of(labelled(range(3)))
    end = len(whole.rstrip(b"\0"))
    for n in [*range(0, end, 97), end, end + 5]:
        with pytest.raises(DatastageError) as caught:
            opened(tmp_path, whole[:n]).scan()
        assert isinstance(caught.value, DamagedArchiveError)
    (tmp_path / "s.tar").write_bytes(whole)
    file = ShardFile(tmp_path / "s.tar", "s.tar")
    file.scan()
    (tmp_path / "s.tar").write_bytes(whole[:600])
    with pytest.raises(DamagedArchiveError, match="shorter"):
        file.part(1, "png")


def test_of_the_beginning_of_a_shard_those_samples_come_that_are_whole():
    whole = tar_of(labelled(range(4)))
    for n in range(0, len(whole), 211):
        found = list(samples_of(lambda at, m, n=n: whole[:n][at : at + m], n, "s.tar", whole=False))
        assert all(sorted(s.parts) == ["cls", "png"] for s in found)
        assert len(found) <= 3
    assert len(found) == 3


def test_what_is_a_picture_in_a_folder_is_one_in_a_shard():
    assert {f".{ending}" for ending in PICTURES} == PICTURE_SUFFIXES
