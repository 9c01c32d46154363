"""Shards that are brought while they are trained on: whole, checked, within a budget, whatever the line does."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
import time

import pytest

import datastage
from datastage.batches import shard_source
from datastage.batches.pixel_cache import PixelCache
from datastage.errors import ChecksumError, IntegrityError, NoSpaceError, UnavailableError
from datastage.shards.cache import ShardCache
from datastage.shards.order import Epoch
from tests.servers import server  # noqa: F401
from tests.stand_ins.shards import given, index_of, picture, shards, tar_of

pytest.importorskip("torch")
COUNTS = [7, 9, 5, 8, 11, 3]


@pytest.fixture(autouse=True)
def online(here, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def published(server, counts=COUNTS, index=False, **faults):
    """Serve shards; return the list that names them, and their bytes."""
    made = shards(counts)
    for k, data in enumerate(made):
        server.serve(f"set/train-{k:06d}.tar", data, **faults)
    if index:
        server.serve("set/index.json", index_of(made, counts))
    return server.url(f"set/train-{{000000..{len(counts) - 1:06d}}}.tar"), made


def train_of(data, **options):
    options = {"batch_size": 4, "device": "cpu", "progress": False, "test": 0, **options}
    return datastage.loaders(data, **options).train


def kept(tmp_path):
    sizes = {}
    for path in (tmp_path / "root").rglob("*.tar"):
        # A shard beyond the budget may go while we look.
        with contextlib.suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return sizes


@pytest.mark.parametrize("index", [True, False])
def test_each_shard_comes_once_and_later_sessions_need_no_line(server, index, tmp_path):
    data, made = published(server, index=index)
    train = train_of(data)
    assert (train.n_samples == sum(COUNTS)) == index
    for _ in range(3):
        assert sorted(given(train)) == list(range(sum(COUNTS)))
    # The beginning of the first shard is looked at before it comes.
    assert server.n_sent[f"set/train-{1:06d}.tar"] == len(made[1])
    assert server.n_sent[f"set/train-{0:06d}.tar"] <= 2 * len(made[0])
    assert sorted(kept(tmp_path).values()) == sorted(map(len, made))
    assert sorted(given(train_of(data))) == list(range(sum(COUNTS)))
    assert all(server.n_sent[f"set/train-{k:06d}.tar"] < 2 * len(made[k]) for k in range(1, 6))


def test_shards_of_one_name_at_several_addresses_are_brought_apart(server):
    for folder, data in zip("ab", shards([4, 6]), strict=True):
        server.serve(f"set/{folder}/0.tar", data)
    train = train_of(server.url("set/{a,b}/0.tar"))
    assert [sorted(given(train)) for _ in range(2)] == [list(range(10))] * 2


def test_the_first_batch_comes_before_a_second_shard(server):
    data, made = published(server, [40] * 6)
    first = Epoch(6, lambda k: 40, lanes=1, shuffle=(0, 0))
    ((window, *_),) = next(first.parts(0, 4, rank=0, size=1)).pieces
    train, gate, late = train_of(data), threading.Event(), []
    for k in range(6):
        if k not in window.shards:
            server.pages[f"set/train-{k:06d}.tar"].hook = lambda n: gate.wait(60) or late.append(n)
    train = iter(train)
    x, _ = next(train)
    assert len(x) == 4
    assert not late
    gate.set()
    train.close()


def test_until_the_first_batch_is_decoded_no_other_shard_is_asked_for(server, monkeypatch):
    data, _ = published(server, [40] * 6, index=True)
    wanted, at_decoding = [], []
    ahead, decoded = ShardCache.ahead, PixelCache._decoded

    def spied_ahead(self, shards):
        wanted.append({shard.name for shard in shards})
        return ahead(self, shards)

    def spied_decoded(self, *args):
        at_decoding.append(set().union(*wanted))
        return decoded(self, *args)

    monkeypatch.setattr(ShardCache, "ahead", spied_ahead)
    monkeypatch.setattr(PixelCache, "_decoded", spied_decoded)
    train = iter(train_of(data))
    next(train)
    train.close()
    assert [len(names) for names in at_decoding[:4]] == [1] * 4
    assert max(map(len, wanted)) >= 4


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_every": 3000, "cuts": 2},
        {"busy": 2},
        {"truncate": 5000},
        {"ranges": False},
        {"etag": None, "modified": None},
    ],
    ids=str,
)
def test_cut_lines_busy_servers_and_those_without_ranges_give_right_samples_or_an_error_of_ours(server, fault):
    data, _ = published(server, **fault)
    try:
        assert sorted(given(train_of(data))) == list(range(sum(COUNTS)))
    except datastage.DatastageError:
        assert "truncate" in fault


def test_wrong_bytes_are_refused_where_an_index_knows_the_digest_and_training_goes_on_once_they_are_right(server):
    data, made = published(server, index=True)
    right = server.pages["set/train-000003.tar"].body
    server.pages["set/train-000003.tar"].body = right[:700] + bytes([right[700] ^ 1]) + right[701:]
    train = train_of(data)
    seen = []
    with pytest.raises(ChecksumError):
        for _, y in train:
            seen += y.tolist()
    state = train.state_dict()
    server.serve("set/train-000003.tar", right)
    again = train_of(data)
    again.load_state_dict(state)
    assert sorted(seen + given(again)) == list(range(sum(COUNTS)))


def test_wrong_bytes_are_refused_where_only_their_place_tells_the_digest(server):
    data = shards([6])[0]
    told = base64.b64encode(hashlib.md5(data[::-1]).digest()).decode()
    server.serve("set/train-0.tar", data, headers={"x-goog-hash": f"md5={told}"})
    with pytest.raises(ChecksumError):
        list(train_of(server.url("set/train-{0..0}.tar")))


@pytest.mark.parametrize("told", [True, False])
def test_a_later_session_takes_no_pixels_of_shards_that_changed_meanwhile(server, tmp_path, told):
    for first in (0, 100):
        greys = range(first, first + 6)
        samples = [(str(i % 10), {"bmp": picture(i, kind="BMP"), "cls": f"{i:03d}".encode()}) for i in greys]
        server.serve("set/train-0.tar", tar_of(samples), **({} if told else {"etag": "", "modified": ""}))
        for _ in range(2):
            train = train_of(server.url("set/train-{0..0}.tar"))
            assert sorted(given(train)) == list(greys)
            for thread in threading.enumerate():
                if thread.name == "datastage-keep":
                    thread.join()
        if not told:
            for path in (tmp_path / "root").rglob("*.tar"):  # it went to make room
                path.unlink()


def test_a_shard_of_which_nothing_is_told_is_read_once_to_know_it_however_often_it_is_opened(server, monkeypatch):
    read, size_and_crc = [], shard_source.size_and_crc
    monkeypatch.setattr(shard_source, "size_and_crc", lambda path: read.append(path) or size_and_crc(path))
    monkeypatch.setattr(shard_source, "KEPT_OPEN", 1)
    data, _ = published(server, etag="", modified="")
    train = train_of(data)
    for _ in range(3):
        assert sorted(given(train)) == list(range(sum(COUNTS)))
    assert len(read) == len(set(read)) == len(COUNTS)


def test_a_shard_that_changes_while_it_is_trained_on_is_an_error(server):
    data, made = published(server, [6] * 14)
    train = train_of(data, cache_gb=(9 * max(map(len, made)) + 10_000) / 1e9)
    list(train)
    for k in range(14):
        server.serve(f"set/train-{k:06d}.tar", shards([6], first=100)[0] + bytes(512))
    with pytest.raises(IntegrityError, match="changed at its place"):
        list(train)


def test_a_place_that_refuses_from_some_moment_on_is_an_error_and_what_came_is_trained_on_after(server):
    data, made = published(server)
    train = train_of(data)
    for k in range(1, 6):
        server.pages[f"set/train-{k:06d}.tar"].status = 403
    seen = []
    with pytest.raises(datastage.DatastageError) as caught:
        for _, y in train:
            seen += y.tolist()
    assert "403" in str(caught.value)
    state = train.state_dict()
    for k in range(1, 6):
        server.pages[f"set/train-{k:06d}.tar"].status = 200
    train.load_state_dict(state)
    assert sorted(seen + given(train)) == list(range(sum(COUNTS)))


def test_a_budget_holds_the_oldest_go_and_the_order_is_the_same(server, tmp_path):
    data, made = published(server, [6] * 12, index=True)
    budget = 9 * max(map(len, made)) + 10_000
    most = 0
    train = train_of(data, cache_gb=budget / 1e9)
    epochs = []
    for _ in range(2):
        epochs.append([])
        for _, y in train:
            epochs[-1] += y.tolist()
            most = max(most, sum(kept(tmp_path).values()))
    assert most <= budget
    assert "decoded as they are needed" in train.explain()
    roomy = train_of(data)
    assert [given(roomy) for _ in range(2)] == epochs


def test_a_budget_that_holds_no_window_is_an_error_that_says_how_much_is_needed(server):
    data, made = published(server, [6] * 12)
    train = train_of(data, cache_gb=2.2 * len(made[0]) / 1e9)
    with pytest.raises(NoSpaceError, match="cache_gb="):
        list(train)


def test_a_full_disk_is_an_error_of_ours_and_training_goes_on_once_there_is_room(server, monkeypatch):
    data, made = published(server)
    train, full = train_of(data), [True]
    real = datastage.transfer.fetch

    def fetch(reader, to, **options):
        if full[0] and len(done) > 2:
            raise NoSpaceError("The disk is full.", "Next: free some room.")
        done.append(to)
        return real(reader, to, **options)

    done = []
    monkeypatch.setattr("datastage.transfer.fetch", fetch)
    seen = []
    with pytest.raises(NoSpaceError):
        for _, y in train:
            seen += y.tolist()
    state, full[0] = train.state_dict(), False
    train.load_state_dict(state)
    assert sorted(seen + given(train)) == list(range(sum(COUNTS)))


def test_an_index_at_an_address_is_enough(server):
    published(server, index=True)
    train = train_of(server.url("set/index.json"))
    assert (len(train), sorted(given(train))) == (11, list(range(sum(COUNTS))))


def test_a_list_at_an_address_is_staged_as_files(server, here):
    data, made = published(server, index=True)
    staged = datastage.stage(data, progress=False)
    assert [path.read_bytes() for path in sorted(staged.path.glob("*.tar"))] == made


def test_leaving_an_epoch_ends_soon_and_nothing_is_held(server):
    data, made = published(server, [40] * 6, rate=60_000)
    train = train_of(data)
    for _ in train:
        break
    deadline = time.monotonic() + 60
    while any(t.name == "datastage-ahead" and t.is_alive() for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_absent_shard_is_named(server):
    data, _ = published(server)
    del server.pages["set/train-000004.tar"]
    with pytest.raises(UnavailableError, match="train-000004"):
        list(train_of(data))


def test_no_secret_of_an_address_is_in_a_name_or_a_line(server, tmp_path):
    data, _ = published(server)
    train = train_of(data + "?token=hunter2")
    list(train)
    names = [os.fspath(path) for path in (tmp_path / "root").rglob("*")]
    assert "hunter2" not in "".join(names) + train.explain() + repr(train.state_dict())


def test_shards_in_a_bucket(monkeypatch):
    from tests.stand_ins.buckets import Bucket, Buckets

    bucket = Buckets()
    files = {f"set/train-{k:06d}.tar": data for k, data in enumerate(shards(COUNTS))}
    bucket.buckets["s3", "photos"] = Bucket({**files, "set/index.json": index_of(list(files.values()), COUNTS)})
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{bucket.address}/s3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    try:
        for data in ("s3://photos/set/train-{000000..000005}.tar", "s3://photos/set/", "s3://photos/set/index.json"):
            train = train_of(data)
            assert (len(train), sorted(given(train))) == (11, list(range(sum(COUNTS))))
    finally:
        bucket.close()


def test_a_node_without_internet_takes_what_another_kept_on_the_shared_disk(server, tmp_path, monkeypatch):
    made = shards([5])[0]
    server.serve("set/train-000000.tar", made)
    for node in ("one", "two"):
        monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / node))
        staged = datastage.stage(
            server.url("set/train-000000.tar"), save_to=tmp_path / "shared", unpack=False, progress=False
        )
        assert staged.path.read_bytes() == made
        server.stop()
