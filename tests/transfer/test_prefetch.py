"""Whoever unpacks reads while bytes arrive; each byte crosses the link once, and the digest has the last word."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from dataclasses import replace

import pytest

from datastage.errors import ChecksumError, IntegrityError
from datastage.reader import BytesReader, Reader
from datastage.sources import http
from datastage.transfer import TooSlow, ahead

BODY = random.Random(5).randbytes(4_000_003)


def left(folder):
    return sorted(os.listdir(folder))


def test_it_is_a_reader(tmp_path):
    with ahead(BytesReader(BODY, "x.zip"), tmp_path / "x") as near:
        assert isinstance(near, Reader)
        assert (near.name, near.size, near.ranges, near.local_path) == ("x.zip", len(BODY), True, None)


def test_reads_from_many_threads_get_their_bytes(server, tmp_path, patient):
    url = server.serve("x", BODY, rate=8_000_000)
    wrong = []
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:

        def read(seed):
            chance = random.Random(seed)
            for _ in range(20):
                at, n = chance.randrange(len(BODY)), chance.randrange(1, 200_000)
                if near.read_at(at, n) != BODY[at : at + n]:
                    wrong.append((at, n))

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = near.finish()
    assert not wrong
    assert done.digests["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert server.n_sent["x"] < 1.1 * len(BODY)  # a little more where the last blocks were halved


def test_what_is_asked_for_comes_first(server, tmp_path, patient):
    url = server.serve("x", BODY, rate=2_000_000)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient, connections=1) as near:
        assert near.read_at(len(BODY) - 1000, 1000) == BODY[-1000:]
        assert server.n_sent["x"] < len(BODY) / 2


def test_a_stream_gives_bytes_before_the_last_has_come(server, tmp_path, patient):
    url = server.serve("x", BODY, rate=4_000_000)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
        first = next(near.stream())
        assert BODY.startswith(first)
        assert server.n_sent["x"] < len(BODY)


@pytest.mark.parametrize("faults", [{"ranges": False}, {"ranges": False, "length": False}, {"deny_ranges": 5}])
def test_it_works_without_ranges(faults, server, tmp_path, patient):
    url = server.serve("x", BODY, **faults)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
        same = b"".join(near.stream()) == BODY
        assert same
        near.finish()
    assert left(tmp_path) == ["x"]


def test_a_wrong_digest_is_said_at_the_end_and_nothing_is_kept(server, tmp_path, patient):
    url = server.serve("x", BODY, flip=1_000_000)
    expect = {"md5": hashlib.md5(BODY).hexdigest()}
    with pytest.raises(ChecksumError):
        with ahead(http.open_url(url, limits=patient), tmp_path / "x", expect=expect, limits=patient) as near:
            near.read_at(0, len(BODY))
            near.finish()
    assert left(tmp_path) == []


def test_a_file_that_changes_midway_ends_in_an_error(server, tmp_path, patient):
    url = server.serve("x", BODY, change_after=4, rate=8_000_000)
    with pytest.raises(IntegrityError, match="changed"):
        with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
            near.read_at(0, 1000)  # which somebody may have made something of
            for _ in near.stream():
                pass
            near.finish()
    assert left(tmp_path) == []


def test_a_file_that_changes_before_anything_was_read_comes_anew(server, tmp_path, patient):
    new = bytes(reversed(BODY))
    url = server.serve("x", BODY, change_after=4, changed=new, rate=8_000_000)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
        near.finish()
    same = (tmp_path / "x").read_bytes() == new
    assert same


def test_bytes_that_were_read_and_come_otherwise_the_second_time_are_an_error(server, tmp_path, patient):
    other = BODY[:100_000] + bytes(len(BODY) - 100_000)
    faults = {"ranges": False, "etag": None, "modified": None, "cut_every": 500_000, "cuts": 1}
    url = server.serve("x", BODY, change_after=1, changed=other, rate=2_000_000, **faults)
    with pytest.raises(IntegrityError, match="changed at its place"):
        with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
            near.read_at(0, 300_000)
            near.finish()
    assert left(tmp_path) == []


def test_a_slow_place_is_left_from_within_a_read(server, tmp_path, patient):
    url = server.serve("x", BODY, rate=30_000)
    limits = replace(patient, slow_after_s=0.4)
    with pytest.raises(TooSlow):
        with ahead(
            http.open_url(url, limits=patient), tmp_path / "x", limits=limits, slow_below_bytes_s=100_000
        ) as near:
            near.read_at(0, len(BODY))


def test_what_came_before_a_close_is_gone_on_with(server, tmp_path, patient):
    url = server.serve("x", BODY)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
        near.read_at(0, len(BODY) // 2)
    with ahead(http.open_url(url, limits=patient), tmp_path / "x", limits=patient) as near:
        assert near.finish().n_received <= len(BODY) // 2 + (256 << 10)
    assert (tmp_path / "x").stat().st_size == len(BODY)


def test_a_read_of_a_closed_one_ends(tmp_path):
    near = ahead(BytesReader(BODY), tmp_path / "x")
    near.close()
    with pytest.raises(ValueError, match="closed"):
        near.read_at(len(BODY) - 10, 10)
