import dataclasses
import multiprocessing
import random
import sys
import threading
import time
import types
from collections import OrderedDict, UserDict

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

import datastage
from datastage import runtime
from datastage.batches.any_dataset import feed, plan
from datastage.batches.devices import Choice
from datastage.errors import SpecError


class Noisy(Dataset):
    """Each sample is its number and what the three generators that transforms use give."""

    def __init__(self, n=40, pause=0.0):
        self.n, self.pause = n, pause

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.pause:
            time.sleep(self.pause)
        return torch.tensor([i, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64), i


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(10))


def said(loader):
    """Return what a loader says of itself, without its line breaks."""
    return " ".join(loader.explain().split())


def numbers(loader):
    return [int(i) for _, y in loader for i in y]


def test_a_dataset_is_shuffled_and_given_once_an_epoch():
    loader = feed(Noisy(), batch_size=8, device="cpu")
    given = numbers(loader)
    assert sorted(given) == list(range(40))
    assert given != sorted(given)
    assert len(loader) == 5
    orders = [numbers(datastage.feed(Noisy(), 8, device="cpu", seed=seed, progress=False)) for seed in (1, 1, 2)]
    assert (orders[0] == orders[1], orders[1] == orders[2]) == (True, False)


def test_transforms_draw_the_same_numbers_however_many_workers_there_are():
    quick = [x for x, _ in feed(Noisy(), batch_size=8, device="cpu", seed=3)]
    slow = feed(Noisy(pause=0.002), batch_size=8, device="cpu", seed=3)
    by_workers = [x for x, _ in slow]
    assert "worker processes" in said(slow)
    assert all((a == b).all() for a, b in zip(quick, by_workers, strict=True))


@pytest.mark.parametrize("quick_s", [0.0, 1000.0], ids=["workers", "no workers"])
def test_the_users_own_generators_are_left_as_they_were(quick_s, monkeypatch):
    monkeypatch.setattr(sys.modules["datastage.batches.any_dataset"], "QUICK_S", quick_s)
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    loader = feed(Noisy(), batch_size=8, device="cpu")
    list(loader), list(loader)
    assert ("worker processes" in said(loader)) == (quick_s == 0)
    assert torch.rand(1) == before


def test_the_users_own_generators_are_left_as_they_were_by_what_can_only_be_iterated():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    list(feed(Stream(), batch_size=4, device="cpu"))
    assert torch.rand(1) == before


@pytest.fixture(params=["mps", "xla"])
def elsewhere(request, monkeypatch):
    """A device of a kind that is not the CPU's, but for the device."""
    choice = Choice(torch.device("cpu"), request.param, "a stand-in")
    if request.param == "xla":
        monkeypatch.setitem(sys.modules, "torch_xla", types.SimpleNamespace(sync=lambda: None))
    monkeypatch.setattr("datastage.batches.devices.choose", lambda wanted, local_rank: choice)


def test_what_this_process_makes_for_a_device_is_what_it_makes_for_the_cpu(elsewhere):
    def drawn(device):
        torch.manual_seed(1)
        return [(x, torch.rand(1)) for x, _ in feed(Noisy(400), batch_size=2, device=device)]

    # A thread that made batches meanwhile would draw from what this loop draws from.
    for (x, own), (a, b) in zip(drawn("auto"), drawn("cpu"), strict=True):
        assert (x == a).all()
        assert own == b


def test_batches_are_made_by_the_thread_that_asks_for_them(elsewhere, monkeypatch):
    # However slow the machine is now: no workers.
    monkeypatch.setattr(sys.modules["datastage.batches.any_dataset"], "QUICK_S", 1000.0)
    threads = set()

    class Watched(Noisy):
        def __getitem__(self, i):
            threads.add(threading.current_thread())
            return super().__getitem__(i)

    list(feed(Watched(), batch_size=8))
    assert threads == {threading.current_thread()}


def test_resuming_in_the_middle_gives_what_going_on_would():
    loader = feed(Noisy(), batch_size=8, device="cpu")
    running = iter(loader)
    next(running), next(running)
    again = feed(Noisy(), batch_size=8, device="cpu")
    again.load_state_dict(loader.state_dict())
    assert all((a == b).all() for (a, _), (b, _) in zip(running, again, strict=True))


def test_a_second_epoch_while_the_first_is_open_is_whole():
    loader = feed(Noisy(pause=0.002), batch_size=4, device="cpu")
    first = iter(loader)
    for _ in range(4):
        next(first)
    assert sorted(numbers(loader)) == list(range(40))


def test_floats_are_cast_and_whole_numbers_stay():
    x, y = next(iter(feed(Noisy(), batch_size=8, device="cpu", dtype="bfloat16")))
    assert (x.dtype, y.dtype) == (torch.bfloat16, torch.int64)


def test_a_dataloader_keeps_its_order_and_batches():
    dataset = TensorDataset(torch.arange(10.0), torch.arange(10))
    loader = feed(DataLoader(dataset, batch_size=4, drop_last=True), device="cpu")
    assert numbers(loader) == list(range(8))


def test_a_dataloader_that_shuffles_follows_from_the_seed():
    dataset = TensorDataset(torch.arange(40.0), torch.arange(40))
    one, two = (numbers(feed(DataLoader(dataset, 4, shuffle=True), device="cpu", seed=5)) for _ in range(2))
    assert one == two != sorted(one)


def test_a_sampler_of_the_users_is_used_as_it_is():
    dataset = TensorDataset(torch.arange(10.0), torch.arange(10))
    sampler = WeightedRandomSampler([0.0] * 9 + [1.0], 20)
    loader = feed(DataLoader(dataset, batch_size=5, sampler=sampler), device="cpu")
    assert numbers(loader) == [9] * 20
    assert len(loader) == 4
    assert loader.stats.images == 20


def test_a_sampler_of_the_users_is_told_the_epoch():
    def made():
        return DistributedSampler(TEN, num_replicas=1, rank=0, shuffle=True)

    loader, sampler = feed(DataLoader(TEN, 5, sampler=made()), device="cpu"), made()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert numbers(loader) == list(sampler)


def test_a_batch_sampler_of_the_users_own_kind_is_used_as_it_is():
    class LastFirst(BatchSampler):
        def __iter__(self):
            return reversed(list(super().__iter__()))

    theirs = DataLoader(TEN, 5)
    # As libraries put theirs into a DataLoader that is made already.
    object.__setattr__(theirs, "batch_sampler", LastFirst(theirs.sampler, 5, False))
    assert numbers(feed(theirs, device="cpu")) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_a_state_from_the_middle_of_a_samplers_epoch_is_refused():
    def made():
        dataset = TensorDataset(torch.arange(10.0), torch.arange(10))
        return feed(DataLoader(dataset, batch_size=5, sampler=WeightedRandomSampler([1.0] * 10, 20)), device="cpu")

    loader = made()
    running = iter(loader)
    next(running)
    with pytest.raises(SpecError, match="middle of epoch 0"):
        made().load_state_dict(loader.state_dict())
    next(running), next(running), next(running)
    again = made()
    again.load_state_dict(loader.state_dict())  # the loop was not asked for more, but that was the last batch
    assert len(list(again)) == 4
    assert again.stats.epoch == 1


def test_the_end_of_what_has_no_length_is_where_it_ended():
    loader = feed(Stream(), batch_size=4, device="cpu")
    list(loader)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 0)


def test_what_can_only_be_iterated_is_batched():
    batches = list(feed(Stream(), batch_size=4, device="cpu"))
    assert [b.tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_nested_batches_keep_their_form():
    class Nested(Noisy):
        def __getitem__(self, i):
            return {"image": torch.ones(2), "more": (i, "name")}

    batch = next(iter(feed(Nested(), batch_size=4, device="cpu")))
    assert batch["image"].shape == (4, 2)
    assert batch["more"][1] == ("name",) * 4


class Encoding(UserDict):
    """As Hugging Face's BatchEncoding: more than its items."""

    def __init__(self, data, about=None):
        super().__init__(data)
        self.about = about


@pytest.mark.parametrize(
    "make",
    [OrderedDict, lambda parts: Encoding(parts, "about"), types.MappingProxyType],
    ids=["a dict's kind", "a dict's like", "one that cannot be changed"],
)
def test_mappings_are_cast_and_moved_and_stay_what_they_are(make):
    def collate(samples):
        return make({"names": ["a"] * len(samples), "x": torch.ones(len(samples), 2)})

    loader = feed(DataLoader(Noisy(), batch_size=8, collate_fn=collate), device="cpu", dtype="bfloat16")
    batch = next(iter(loader))
    assert type(batch) is type(make({}))
    assert getattr(batch, "about", "about") == "about"
    assert batch["x"].dtype == torch.bfloat16
    assert loader.stats.images == 8


class Prepared(Noisy):
    """A dataset that only a worker of the user's can read."""

    ready = None

    def __getitem__(self, i):
        return torch.tensor(self.ready), i


def prepare(worker):
    torch.utils.data.get_worker_info().dataset.ready = worker + 1


def test_what_prepares_the_users_workers_is_called_and_all_batches_are_theirs():
    loader = feed(DataLoader(Prepared(12), batch_size=2, num_workers=2, worker_init_fn=prepare), device="cpu")
    assert {int(v) for x, _ in loader for v in x} == {1, 2}


def test_how_the_users_workers_are_started_is_kept():
    generator = torch.Generator().manual_seed(4)
    theirs = DataLoader(
        Noisy(8), 4, num_workers=1, prefetch_factor=5, timeout=550, multiprocessing_context="spawn", generator=generator
    )
    loader = feed(theirs, device="cpu")
    list(loader)
    ours = loader._engines["cpu"]._loader
    assert (ours.num_workers, ours.prefetch_factor, ours.timeout) == (1, 5, 550)
    assert ours.multiprocessing_context is theirs.multiprocessing_context
    assert ours.generator is generator


@pytest.mark.parametrize(
    ("thing", "options", "says"),
    [
        (Noisy(), {}, "needs a batch_size"),
        (Noisy(0), {"batch_size": 4}, "empty"),
        (object(), {"batch_size": 4}, "not a torch Dataset"),
        (Noisy(), {"batch_size": 4, "dtype": "uint8"}, "uint8"),
        (DataLoader(Noisy(), batch_size=4), {"batch_size": 8}, "batches of 4"),
        (DataLoader(Noisy(0), batch_size=4), {}, "empty"),
        (DataLoader(Noisy(), batch_sampler=[[1], [2]]), {"batch_size": 8}, "batches of its own"),
        ("cifar10", {"batch_size": 4}, "A str is not.*loaders"),
        (None, {}, "A NoneType is not.*loaders"),
        ({"train": Noisy()}, {"batch_size": 4}, "A dict is not.*loaders.*one"),
        ((np.zeros((9, 4)), np.zeros(9)), {"batch_size": 4}, "A tuple is not.*loaders"),
        ([np.zeros((9, 4)), np.zeros(9)], {"batch_size": 4}, "A list is not.*loaders"),
        (Noisy, {"batch_size": 4}, r"A class is not.*feed\(Noisy"),
    ],
)
def test_what_cannot_be_fed_is_named(thing, options, says):
    with pytest.raises(SpecError, match=f"(?s){says}"):
        feed(thing, **options)


def test_a_list_of_samples_is_a_dataset():
    assert sorted(numbers(feed([(torch.ones(2), 0), (torch.ones(2), 1)], batch_size=1, device="cpu"))) == [0, 1]


def test_an_error_in_the_dataset_reaches_the_user():
    class Broken(Noisy):
        def __getitem__(self, i):
            raise KeyError("sample is gone")

    with pytest.raises(KeyError, match="sample is gone"):
        list(feed(Broken(), batch_size=4, device="cpu"))


def test_quick_batches_take_no_workers():
    assert plan(0.001, 10**6, cores=8, shm_bytes=10**9).workers == 0


def test_an_epoch_of_one_batch_says_how_long_the_next_one_took():
    loader = feed(Noisy(8, pause=0.002), batch_size=8, device="cpu")
    list(loader)
    assert "chosen after the first two batches" in said(loader)
    list(loader)
    assert "a batch takes 0 ms" not in said(loader)
    assert "worker processes" in said(loader)
    assert sorted(numbers(loader)) == list(range(8))


def test_no_batch_takes_no_time():
    assert "less than 1 ms" in plan(0.0002, 10**6, cores=8, shm_bytes=10**9).why


def test_slow_batches_take_a_worker_a_core():
    assert plan(0.5, 10**6, cores=4, shm_bytes=10**9).workers == 4


def test_a_small_shm_takes_fewer_workers_or_none():
    assert plan(0.5, 10 * 10**6, cores=8, shm_bytes=64 * 10**6).workers == 1
    assert plan(0.5, 60 * 10**6, cores=8, shm_bytes=64 * 10**6).workers == 0


class Records(Dataset):
    """Opens its file when the first sample is asked for, so that each worker has its own."""

    def __init__(self, path, n=200):
        np.repeat(np.arange(n), 512).tofile(path)
        self.path, self.n, self.file = path, n, None
        self.asked = multiprocessing.Value("i", 0)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        with self.asked:
            self.asked.value += 1
        if self.file is None:
            self.file = open(self.path, "rb")
        self.file.seek(i * 4096)
        return torch.frombuffer(bytearray(self.file.read(4096)), dtype=torch.int64)[0], i


@pytest.fixture
def always_workers(monkeypatch):
    monkeypatch.setattr(sys.modules["datastage.batches.any_dataset"], "QUICK_S", 0.0)


def test_no_worker_gets_a_dataset_whose_file_was_opened_here(tmp_path, always_workers):
    records = Records(tmp_path / "records")
    loader = feed(records, batch_size=8, device="cpu")
    for _ in range(2):
        assert all((x == y).all() for x, y in loader)
    assert "worker processes" in said(loader)
    assert records.file is None


@pytest.mark.parametrize("quick_s", [0.0, 1000.0], ids=["workers", "no workers"])
def test_each_sample_is_asked_for_once(tmp_path, quick_s, monkeypatch):
    monkeypatch.setattr(sys.modules["datastage.batches.any_dataset"], "QUICK_S", quick_s)
    records = Records(tmp_path / "records")
    assert sorted(numbers(feed(records, batch_size=8, device="cpu"))) == list(range(200))
    assert records.asked.value == 200


def test_workers_of_the_users_dataloader_are_kept_without_a_trial(tmp_path):
    records = Records(tmp_path / "records")
    loader = feed(DataLoader(records, batch_size=8, num_workers=2), device="cpu")
    assert numbers(loader) == list(range(200))
    assert "2 worker processes, 2 batches ahead each (as in your DataLoader)" in said(loader)
    assert records.file is None


class OnlyHere(Noisy):
    """As data on a GPU: of no use to another process."""

    def __getitem__(self, i):
        if get_worker_info() is not None:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")
        return super().__getitem__(i)


class Still(Noisy):
    """As a library whose threads a fork has left behind: in a worker it waits for ever."""

    def __getitem__(self, i):
        if get_worker_info() is not None:
            time.sleep(1000)
        return super().__getitem__(i)


def with_a_lock(samples):
    x, y = torch.utils.data.default_collate(samples)
    return x, y, threading.Lock()


@pytest.mark.parametrize(
    "thing",
    [OnlyHere(), Still(), DataLoader(Noisy(), batch_size=8, shuffle=True, collate_fn=with_a_lock)],
    ids=["fails", "stands still", "cannot be sent"],
)
def test_what_a_worker_cannot_make_is_made_here(thing, monkeypatch):
    module = sys.modules["datastage.batches.any_dataset"]
    monkeypatch.setattr(module, "TRIAL_S", 1.0 if isinstance(thing, Still) else 60.0)
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    loader = feed(thing, batch_size=8, device="cpu")
    given = [(x, y) for x, y, *_ in loader]
    expected = list(feed(Noisy(), batch_size=8, device="cpu"))
    assert all((x == a).all() and (y == b).all() for (x, y), (a, b) in zip(given, expected, strict=True))
    assert "made in this process (a worker process could not make one: " in said(loader)


def test_a_batch_too_large_for_shm_is_made_here(monkeypatch):
    small = dataclasses.replace(runtime.current(), shm_bytes=100)
    monkeypatch.setattr(sys.modules["datastage.batches.any_dataset"], "current", lambda: small)
    loader = feed(Noisy(pause=0.002), batch_size=8, device="cpu")
    assert sorted(numbers(loader)) == list(range(40))
    assert "too small" in said(loader)


def test_where_no_process_can_be_forked_none_is_started_for_a_trial(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "darwin")
    loader = feed(Noisy(), batch_size=8, device="cpu")
    monkeypatch.undo()
    list(loader)
    assert "feed a DataLoader with num_workers=" in said(loader)


def test_three_epochs_open_at_once_are_whole(always_workers):
    loader = feed(Noisy(), batch_size=4, device="cpu")
    list(loader)  # workers are chosen
    first, second = iter(loader), iter(loader)
    given = [next(first), next(second)]
    len(list(first))
    third = iter(loader)
    given = [given[1], next(third)]
    assert sorted(int(i) for _, y in (given[0], *second) for i in y) == list(range(40))
    assert sorted(int(i) for _, y in (given[1], *third) for i in y) == list(range(40))


TEN = TensorDataset(torch.arange(10.0), torch.arange(10))


def seeded(n=4):
    return torch.Generator().manual_seed(n)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(TEN, batch_sampler=BatchSampler(RandomSampler(TEN, generator=seeded()), 5, False)),
        lambda: DataLoader(TEN, batch_sampler=BatchSampler(SubsetRandomSampler([3, 4], seeded()), 5, False)),
        lambda: DataLoader(TEN, batch_sampler=[[1, 2, 3], [9]]),
        lambda: DataLoader(TEN, batch_size=None),
        lambda: DataLoader(TEN, 4, sampler=SequentialSampler(range(6))),
        lambda: DataLoader(TEN, 4, sampler=RandomSampler(range(6), generator=seeded())),
        lambda: DataLoader(TEN, 4, sampler=RandomSampler(TEN, num_samples=6, generator=seeded())),
        lambda: DataLoader(TEN, 4, sampler=RandomSampler(TEN, replacement=True, generator=seeded())),
        lambda: DataLoader(TEN, 4, shuffle=True, generator=seeded()),
    ],
)
def test_an_order_of_the_users_is_kept(make):
    theirs = [y.tolist() for _, y in make()]
    assert [y.tolist() for _, y in feed(make(), device="cpu")] == theirs


def test_what_a_dataloader_of_the_users_own_kind_gives_is_given():
    class Doubling(DataLoader):
        def __iter__(self):
            for _, y in super().__iter__():
                yield (2 * y,)

    assert [y.tolist() for (y,) in feed(Doubling(TEN, 5), device="cpu")] == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]


def test_whoever_orders_the_samples_is_said():
    own = [
        feed(Stream(), batch_size=4, device="cpu"),
        feed(DataLoader(TEN, 4, sampler=WeightedRandomSampler([1.0] * 10, 20)), device="cpu"),
        feed(DataLoader(TEN, batch_sampler=[[1, 2, 3], [9]]), device="cpu"),
    ]
    for loader in own:
        assert "feed batches in the order that your data gives them" in said(loader)
        assert "shuffled" not in said(loader)
    assert "batches of 4; in order" in feed(DataLoader(TEN, 4), device="cpu").explain()
    assert "batches of 4; shuffled" in feed(DataLoader(TEN, 4, shuffle=True), device="cpu").explain()


@pytest.mark.parametrize("thing", [TEN, DataLoader(TEN, 4), DataLoader(TEN, batch_sampler=[[1]])])
def test_the_dataset_is_the_users(thing):
    loader = feed(thing, batch_size=4 if thing is TEN else None, device="cpu")
    assert loader.dataset is TEN
