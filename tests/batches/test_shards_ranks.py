"""Shards over several processes: each sample once, on as many ranks as there happen to be, before and after a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import textwrap
import time
from pathlib import Path

import pytest

import datastage
from datastage.batches.ranks import nodes
from datastage.errors import SpecError
from datastage.runtime import launched
from tests.servers import server as server
from tests.stand_ins.shards import given, labelled, shards, tar_of, write

pytest.importorskip("torch")
REPOSITORY = str(Path(__file__).parents[2])
COUNTS = [7, 9, 5, 8, 11, 3, 14, 6]


def as_rank(monkeypatch, rank, size, local_size=None):
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank % (local_size or size)}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local_size or size))


def loader(data, batch_size=4, **options):
    options = {"device": "cpu", "progress": False, "test": 0, "seed": 3, **options}
    return datastage.loaders(data, batch_size=batch_size, **options).train


def stretch(monkeypatch, data, size, state, n_batches, local_size=None, **options):
    """Let `size` ranks go on from a state for some batches: what each gave, batch by batch, and the state then."""
    seen, states = [], []
    for rank in range(size):
        as_rank(monkeypatch, rank, size, local_size)
        train = loader(data, **options)
        if state is not None:
            train.load_state_dict(json.loads(json.dumps(state)))
        seen.append([])
        for i, (_, y) in enumerate(train, 1):
            seen[-1].append(y.tolist())
            if i == n_batches:
                break
        states.append(train.state_dict())
    assert all(state == states[0] for state in states)
    assert len({len(batches) for batches in seen}) == 1
    return seen, states[0]


def flat(seen):
    return [label for batches in seen for batch in batches for label in batch]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_sample_comes_once_in_the_order_of_one_rank(tmp_path, monkeypatch, here, size, index):
    data = write(tmp_path / "set", COUNTS, index=index)
    alone, _ = stretch(monkeypatch, data, 1, None, 0, batch_size=12)
    seen, state = stretch(monkeypatch, data, size, None, 0, batch_size=12 // size)
    assert sorted(flat(seen)) == list(range(sum(COUNTS)))
    in_order = [label for together in zip(*seen) for batch in together for label in batch]
    assert in_order == flat(alone)
    assert state["epoch"] == 1


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("local_size", [None, 2])
def test_a_state_of_four_ranks_goes_on_with_two_and_then_three_each_sample_once(
    tmp_path, monkeypatch, here, index, local_size
):
    data = write(tmp_path / "set", COUNTS, index=index)
    first, state = stretch(monkeypatch, data, 4, None, 2, local_size, batch_size=3)
    assert state["shards"]["lanes"] == (2 if local_size else 1)
    second, state = stretch(monkeypatch, data, 2, state, 1, batch_size=5)
    third, state = stretch(monkeypatch, data, 3, state, 0, batch_size=2)
    assert sorted(flat(first) + flat(second) + flat(third)) == list(range(sum(COUNTS)))
    assert (state["epoch"], state["shards"]["position"]) == (1, 0)
    again, _ = stretch(monkeypatch, data, 2, state, 0, batch_size=5)  # the next epoch
    assert sorted(flat(again)) == list(range(sum(COUNTS)))


@pytest.mark.parametrize("odd", ["no sample", "no picture that can be read"])
def test_two_ranks_pass_over_a_shard_that_gives_nothing_as_one_does(tmp_path, monkeypatch, here, odd):
    data = write(tmp_path / "set", [8] * 5)
    bad = [(key, {**parts, "png": parts["png"][:40]}) for key, parts in labelled(range(8, 16))]
    (tmp_path / "set" / "train-000001.tar").write_bytes(tar_of([] if odd == "no sample" else bad))
    for size in (1, 2):
        seen = []
        for rank in range(size):
            as_rank(monkeypatch, rank, size)
            train = loader(data)
            for _, y in train:
                seen += y[: train.given[0]].tolist()
        assert sorted(seen) == [*range(8), *range(16, 40)]


def test_a_state_goes_on_with_the_very_batches_that_were_left(tmp_path, monkeypatch, here):
    data = write(tmp_path / "set", COUNTS)
    whole, _ = stretch(monkeypatch, data, 1, None, 0)
    for cut in (1, 3, len(whole[0]) - 1, len(whole[0])):
        first, state = stretch(monkeypatch, data, 1, None, cut)
        rest, _ = stretch(monkeypatch, data, 1, state, 0)
        assert (first[0] + rest[0])[: len(whole[0])] == whole[0]


def test_a_loop_that_sets_each_epoch_keeps_a_state_from_its_middle(tmp_path, here):
    data = write(tmp_path / "set", COUNTS)
    train = loader(data)
    train.set_epoch(2)
    seen = []
    for _, y in train:
        seen += y.tolist()
        if len(seen) == 12:
            break
    again = loader(data)
    again.load_state_dict(train.state_dict())
    again.set_epoch(2)
    assert sorted(seen + given(again)) == list(range(sum(COUNTS)))
    again.set_epoch(2)
    assert len(given(again)) == sum(COUNTS)


@pytest.mark.parametrize(
    "change", [{"seed": 9}, {"shuffle": False}, {"shards": {}}, {"shards": None}, {"epoch": -1}], ids=str
)
def test_the_state_of_another_loader_is_refused(tmp_path, here, change):
    train = loader(write(tmp_path / "set", COUNTS))
    with pytest.raises(SpecError):
        train.load_state_dict({**train.state_dict(), **change})


def test_shards_of_another_length_are_noticed_when_a_state_goes_on(tmp_path, here):
    train = loader(write(tmp_path / "set", COUNTS))
    list(train)
    state = train.state_dict()
    other = loader(write(tmp_path / "set", [*COUNTS[:-1], 4]))
    list(other)
    with pytest.raises(SpecError, match="train-000007.tar held 6"):
        other.load_state_dict(state)


@pytest.mark.parametrize("limit", [10, 7, 1000])
def test_a_state_of_a_limited_loader_goes_on(tmp_path, here, limit):
    data = write(tmp_path / "set", COUNTS)
    first = loader(data, limit=limit)
    fresh = first.state_dict()
    batches = iter(first)
    next(batches)
    state = first.state_dict()
    rest = [y.tolist() for _, y in batches]
    again = loader(data, limit=limit)
    again.load_state_dict(state)
    assert [y.tolist() for _, y in again] == rest
    again = loader(data, limit=limit)
    again.load_state_dict(fresh)
    assert len(given(again)) == min(limit, sum(COUNTS))
    with pytest.raises(SpecError):
        loader(data, limit=20).load_state_dict(state)


@pytest.mark.parametrize("odd", [tar_of([]), tar_of([("bad", {"png": b"no picture", "cls": b"1"})])])
def test_ranks_pass_over_a_shard_without_one_readable_picture(tmp_path, monkeypatch, here, odd):
    data = write(tmp_path / "set", COUNTS)
    (tmp_path / "set/train-000001.tar").write_bytes(odd)
    seen, _ = stretch(monkeypatch, data, 2, None, 0)
    assert sorted(flat(seen)) == [n for n in range(sum(COUNTS)) if not 7 <= n < 16]


def test_evaluation_is_in_order_and_what_pads_it_is_told(tmp_path, monkeypatch, here):
    write(tmp_path / "set", [5])
    write(tmp_path / "set", [7, 4], "val")
    gathered = []
    for rank in range(3):
        as_rank(monkeypatch, rank, 3)
        val = datastage.loaders(tmp_path / "set", batch_size=2, device="cpu", progress=False, test=0).val
        gathered.append([(y.tolist(), val.valid.tolist()) for _, y in val])
    assert len({len(rank) for rank in gathered}) == 1
    flat = [pair for together in zip(*gathered) for y, valid in together for pair in zip(y, valid)]
    assert [label for label, valid in flat if valid] == list(range(11))
    assert all(valid for _, valid in flat[:11])
    assert [label for label, valid in flat if not valid] == [-100] * (len(flat) - 11)


def test_two_nodes_share_the_shards_out_and_fetch_no_other(tmp_path, monkeypatch, here, server):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    monkeypatch.setenv("DATASTAGE_ROOT", "")
    made = shards([12] * 8)
    for k, data in enumerate(made):
        server.serve(f"set/train-{k:06d}.tar", data)
    from tests.stand_ins.shards import index_of

    server.serve("set/index.json", index_of(made, [12] * 8))
    seen, brought = [], []
    for rank in range(4):  # two nodes, each with a disk of its own for its two ranks
        monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / f"node{rank // 2}"))
        as_rank(monkeypatch, rank, 4, 2)
        assert nodes() == 2
        seen += [y for _, batch in loader(server.url("set/index.json"), batch_size=6) for y in batch.tolist()]
    for node in ("node0", "node1"):
        brought.append(sorted(path.name for path in (tmp_path / node).rglob("*.tar")))
    assert sorted(seen) == list(range(96))
    assert [len(names) for names in brought] == [4, 4]
    assert not set(brought[0]) & set(brought[1])
    # Each was fetched once, though two ranks of a node want it; its beginning may be looked at.
    assert all(server.n_sent[f"set/train-{k:06d}.tar"] < 2 * len(made[k]) for k in range(1, 8))


def test_sruns_word_counts_where_processes_find_each_other(monkeypatch):
    step = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_NODES": "2"}
    assert launched(step) is None  # tasks of a sweep
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**step, "MASTER_ADDR": "n1"}.items():
        monkeypatch.setenv(name, value)
    told = launched()
    assert (told.rank, told.size, told.local_rank, nodes()) == (3, 4, 1, 2)


SCRIPT = textwrap.dedent(
    """
    import json, os, sys, time
    from pathlib import Path
    import torch.distributed as dist
    import datastage
    rank, folder, data, stop_after = int(os.environ["RANK"]), Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    dist.init_process_group("gloo")
    train = datastage.loaders(data, batch_size=3, device="cpu", test=0, seed=4, progress=False).train
    state = folder / "state.json"
    if state.exists():
        train.load_state_dict(json.loads(state.read_text()))
    given = []
    for x, y in train:
        assert (x[:, 0, 0, 0] * 255).round().int().tolist() == y.tolist()
        given += y.tolist()
        dist.barrier()
        if stop_after and train.state_dict()["batch"] == stop_after:
            (folder / f"given{rank}.json").write_text(json.dumps(given))
            if rank == 0:
                state.write_text(json.dumps(train.state_dict()))
            dist.barrier()
            (folder / f"ready{rank}").touch()
            time.sleep(200)
    (folder / f"rest{rank}.json").write_text(json.dumps(given))
    dist.destroy_process_group()
    """
)


def start(warm, folder, data, size, stop_after):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": REPOSITORY}
    return [
        warm.start(
            SCRIPT, folder, data, stop_after, prints=folder,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)},
        )
        for rank in range(size)
    ]  # fmt: skip


@pytest.mark.timeout(500)
def test_ranks_over_gloo_that_were_killed_go_on_as_fewer(tmp_path, here, warm):
    data = write(tmp_path / "set", COUNTS)
    processes = start(warm, tmp_path, data, 3, 3)
    try:
        deadline = time.monotonic() + 200
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(3)):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in processes)
            time.sleep(0.1)
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    seen = [label for rank in range(3) for label in json.loads((tmp_path / f"given{rank}.json").read_text())]
    assert len(seen) == 27
    processes = start(warm, tmp_path, data, 2, 0)
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    seen += [label for rank in range(2) for label in json.loads((tmp_path / f"rest{rank}.json").read_text())]
    assert sorted(seen) == list(range(sum(COUNTS)))
