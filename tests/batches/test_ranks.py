import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from datastage.batches import ranks
from datastage.batches.ranks import Step, World, even_steps, local_rank, order, steps, world
from datastage.runtime import launched

REPOSITORY = str(Path(__file__).parents[2])


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 64, 65, 1000, 1025])
@pytest.mark.parametrize("batch_size", [2, 4, 512])
def test_every_sample_is_in_one_batch_of_one_rank_and_ranks_keep_step(n, size, batch_size):
    shares = [steps(n, batch_size, drop_last=False, world=World(rank, size)) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert all(0 < stop - start <= batch_size for share in shares for start, stop in share)
    given = sorted(i for share in shares for start, stop in share for i in range(start, stop))
    assert set(given) == set(range(n))
    assert len(given) == max(n, size)  # of fewer samples than ranks each rank gives one


@pytest.mark.parametrize(("n", "size"), [(10, 3), (7, 8), (2, 8), (9, 2), (8, 2), (5, 1)])
def test_of_batches_of_one_a_rank_repeats_its_last_and_only_to_keep_step(n, size):
    shares = [steps(n, 1, drop_last=False, world=World(rank, size)) for rank in range(size)]
    given = [range(start, stop) for share in shares for start, stop in share]
    assert all(len(batch) == 1 for batch in given)
    assert {i for batch in given for i in batch} == set(range(n))
    assert [len(share) for share in shares] == [-(-n // size)] * size
    assert all(len(set(share)) >= n // size for share in shares)


@pytest.mark.parametrize(("n", "size"), [(1000, 3), (17, 2), (3, 4), (15, 2), (11, 3)])
def test_dropping_leaves_whole_batches_alone(n, size):
    shares = [steps(n, 4, drop_last=True, world=World(rank, size)) for rank in range(size)]
    assert {len(share) for share in shares} == {n // size // 4}
    assert all(stop - start == 4 for share in shares for start, stop in share)
    given = [i for share in shares for start, stop in share for i in range(start, stop)]
    assert len(set(given)) == len(given)
    assert set(given) <= set(range(n))


def test_each_rank_draws_other_numbers_for_transforms_and_the_same_ones_again(monkeypatch):
    torch = pytest.importorskip("torch")
    from datastage.batches.arrays import from_arrays

    def drawn(rank):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))
        numbers = []

        def transform(batch, generator):
            numbers.append(torch.rand(1, generator=generator).item())
            return batch

        arrays = np.zeros((32, 8, 8, 3), np.uint8), np.arange(32)
        train = from_arrays({"train": arrays}, batch_size=4, device="cpu", transform=transform).train
        numbers.clear()  # it was tried
        list(train)
        return numbers

    zero, one, again = drawn(0), drawn(1), drawn(0)
    assert zero == again
    assert len({*zero, *one}) == 8


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 25, 64, 65, 1000])
def test_what_ranks_find_in_an_evaluation_is_gathered_in_order_and_cut_at_the_end(n, batch_size, size, static):
    shares = [even_steps(n, batch_size, world=World(rank, size), static=static) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    gathered = []
    for together in zip(*shares, strict=True):
        assert len({step.size for step in together}) == 1
        assert not static or together[0].size == batch_size
        for start, stop, rows, valid, _ in together:
            assert start < stop <= n  # each has a sample to repeat
            own = [*range(start, start + valid)]
            gathered += own + [None] * (rows - valid if rows else 0)
    first_padding = gathered.index(None) if None in gathered else len(gathered)
    assert gathered[:first_padding] == list(range(n))
    assert set(gathered[first_padding:]) <= {None}
    if size == 1 and not static:
        assert shares[0] == [Step(start, stop, 0, stop - start) for start, stop in steps_of(n, batch_size)]


def steps_of(n, batch_size):
    return steps(n, batch_size, drop_last=False, world=World())


def test_an_order_is_a_permutation_that_follows_from_seed_and_epoch():
    one, same, *others = (order(100, shuffle=True, seed=s, epoch=e) for s, e in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert sorted(one) == list(range(100))
    assert (one == same).all()
    assert all((one != other).any() for other in others)


SCRIPT = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    import numpy as np, torch.distributed as dist
    from datastage.batches.arrays import from_arrays
    from datastage.batches.augment import Augment
    rank, folder, stop_after = int(os.environ["RANK"]), Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo")
    images = np.random.default_rng(0).integers(0, 256, (101, 8, 8, 3), np.uint8)
    def loader():
        options = {"batch_size": 8, "augment": Augment(crop=2, flip=True), "device": "cpu", "seed": 4}
        return from_arrays({"train": (images, np.arange(101))}, **options).train
    train, state = loader(), folder / f"state{rank}.json"
    if state.exists():
        train.load_state_dict(json.loads(state.read_text()))
    else:
        whole = [[y.tolist(), float(x.sum())] for x, y in loader()]
        (folder / f"whole{rank}.json").write_text(json.dumps(whole))
    given = []
    for x, y in train:
        given.append([y.tolist(), float(x.sum())])
        dist.barrier()
        if len(given) == stop_after:
            state.write_text(json.dumps(train.state_dict()))
            (folder / f"given{rank}.json").write_text(json.dumps(given))
            dist.barrier()
            (folder / f"ready{rank}").touch()
            import time; time.sleep(100)
    (folder / f"rest{rank}.json").write_text(json.dumps(given))
    """
)


def start(warm, folder, stop_after):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": REPOSITORY}
    return [
        warm.start(SCRIPT, folder, stop_after, prints=folder, env={**os.environ, **shared, "RANK": str(rank)})
        for rank in range(2)
    ]


def read(folder, name):
    return [json.loads((folder / f"{name}{rank}.json").read_text()) for rank in range(2)]


def test_two_ranks_that_are_killed_and_resumed_give_what_they_would_have_given(tmp_path, warm):
    processes = start(warm, tmp_path, 3)
    deadline = time.monotonic() + 400
    while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
        assert time.monotonic() < deadline, "the ranks did not get to where they are killed"
        time.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    for process in start(warm, tmp_path, -1):
        assert process.wait(120) == 0
    expected = read(tmp_path, "whole")
    assert [a + b for a, b in zip(read(tmp_path, "given"), read(tmp_path, "rest"))] == expected
    assert sorted(v for share in expected for labels, _ in share for v in labels) == list(range(101))
    assert np.ptp([len(share) for share in expected]) == 0


UNDER_TORCHRUN = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    import numpy as np, torch.distributed as dist
    from datastage.batches.arrays import from_arrays
    from datastage.batches.augment import Augment
    images = np.random.default_rng(0).integers(0, 256, (101, 8, 8, 3), np.uint8)
    for how in ("alone", "grouped"):
        if how == "grouped":
            dist.init_process_group("gloo")
        train, test = from_arrays({"train": (images, np.arange(101)), "test": (images, np.arange(101))}, batch_size=8,
                                  augment=Augment(crop=2, flip=True), device="cpu", seed=4)
        given = [[[y.tolist(), float(x.sum())] for x, y in loader] for loader in (train, train, test)]
        about = [len(train), train.state_dict()["world_size"]]
        Path(sys.argv[1], how + os.environ["RANK"] + ".json").write_text(json.dumps([given, about]))
    dist.destroy_process_group()
    """
)


def test_under_torchrun_each_rank_gets_its_share_with_and_without_a_process_group(tmp_path):
    (tmp_path / "script.py").write_text(UNDER_TORCHRUN)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        + [str(tmp_path / "script.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": REPOSITORY}, check=True, timeout=500, capture_output=True,
    )  # fmt: skip
    alone, grouped = read(tmp_path, "alone"), read(tmp_path, "grouped")
    assert alone == grouped
    for epoch in range(3):
        samples = [v for given, _ in alone for labels, _ in given[epoch] for v in labels]
        assert sorted(v for v in samples if v >= 0) == list(range(101))
    assert [[len(labels) for labels, _ in given[2]] for given, _ in alone] == [[8] * 6 + [3]] * 2
    assert [len(given[0]) for given, _ in alone] == [7, 7]
    assert [about for _, about in alone] == [[7, 2], [7, 2]]


def test_an_initialised_group_counts_before_what_the_launcher_said(monkeypatch):
    torch = pytest.importorskip("torch")
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (world(), local_rank()) == (World(3, 4), 1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert world() == World(0, 2)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        {"RANK": "", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "-1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"},
    ],
    ids=str,
)
def test_half_a_word_of_a_launcher_is_none(environ):
    assert launched(environ) is None


@pytest.mark.parametrize(
    ("local", "steps", "nodes"),
    [("4", "", 2), ("8", "", 1), ("3", "2", 2), ("", "2", 2), ("", "8", 8), ("", "9", 1), ("", "0", 1), ("", "x", 1)],
)
def test_over_how_many_machines_the_processes_are_spread(local, steps, nodes, monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: ranks.World(3, 8))
    for name, value in (("LOCAL_WORLD_SIZE", local), ("SLURM_STEP_NUM_NODES", steps)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert ranks.nodes() == nodes
