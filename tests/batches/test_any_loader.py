import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from datastage.batches.any_dataset import feed
from datastage.batches.devices import Choice
from datastage.errors import SpecError

META = Choice(torch.device("meta"), "mps", "a stand-in")


class Counting(IterableDataset):
    """As Hugging Face's and litdata's: it can only be iterated, and says where it is."""

    def __init__(self, n=20):
        self.n, self.at, self.begin, self.epochs = n, 0, 0, []

    def __iter__(self):
        begin, self.begin = self.begin, 0
        for i in range(begin, self.n):
            self.at = i + 1
            yield i

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.begin = state["at"]  # of an epoch that was at its end nothing is left


class OfSamples(Counting):
    """As mosaicml-streaming's: it asks how many samples were given."""

    def state_dict(self, num_samples, from_beginning):
        return {"at": num_samples}


class OfWorkers(Counting):
    """As litdata's: it asks for more, and goes on to change what it returned."""

    def state_dict(self, num_samples_yielded: int, num_workers: int, batch_size: int, **more):
        assert (num_workers, batch_size, more) == (0, 4, {})
        self.last = getattr(self, "last", {})
        self.last["at"] = num_samples_yielded
        return self.last


class Stateful(DataLoader):
    """As torchdata's StatefulDataLoader, of a dataset that has no state."""

    start = 0

    def __iter__(self):
        start, self.start = self.start, 0
        for i, batch in enumerate(super().__iter__()):
            if i >= start:
                self.now = i + 1
                yield batch
        self.now = 0  # its state of a whole epoch begins the next

    def state_dict(self):
        return {"now": self.now}

    def load_state_dict(self, state):
        self.start = state["now"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: feed(Counting(), batch_size=4, device="cpu"),
        lambda: feed(OfSamples(), batch_size=4, device="cpu"),
        lambda: feed(OfWorkers(), batch_size=4, device="cpu"),
        lambda: feed(Stateful(list(range(20)), batch_size=4), device="cpu"),
    ],
    ids=["a dataset", "one that counts samples", "one that counts workers", "a loader"],
)
def test_the_state_of_what_is_fed_goes_along_and_the_middle_of_an_epoch_is_gone_on_with(make):
    loader = make()
    running = iter(loader)
    next(running)
    next(running)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 2)
    again = make()
    again.load_state_dict(state)
    resumed = iter(again)
    assert next(resumed).tolist() == next(running).tolist()
    assert again.state_dict() == loader.state_dict()
    assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in running]
    assert [len(batch) for batch in again] == [4] * 5
    between = make()
    between.load_state_dict(again.state_dict())
    assert [len(batch) for batch in between] == [4] * 5


def test_a_state_that_asks_for_what_nobody_knows_is_none():
    class Strange(Counting):
        def state_dict(self, moon):
            raise AssertionError("asked all the same")

    loader = feed(Strange(), batch_size=4, device="cpu")
    next(iter(loader))
    assert "inner" not in loader.state_dict()
    with pytest.raises(SpecError, match="cannot go on exactly there"):
        loader.load_state_dict(loader.state_dict())


def test_a_state_of_its_own_is_refused_where_there_is_nothing_to_take_it():
    with_state = feed(Counting(), batch_size=4, device="cpu")
    next(iter(with_state))

    class Plain(IterableDataset):
        def __iter__(self):
            return iter(range(20))

    with pytest.raises(SpecError, match="no load_state_dict"):
        feed(Plain(), batch_size=4, device="cpu").load_state_dict(with_state.state_dict())


def test_what_orders_itself_is_told_the_epoch():
    data = Counting()
    loader = feed(data, batch_size=4, device="cpu")
    list(loader)
    list(loader)
    assert data.epochs == [0, 1]


def test_what_batches_itself_is_taken_without_a_batch_size():
    class Batches(IterableDataset):
        def __iter__(self):
            return iter([torch.zeros(4, 3), torch.zeros(2, 3)])

    class OnlyIterable:
        def __iter__(self):
            return iter([torch.zeros(4, 3), torch.zeros(2, 3)])

    for thing in (Batches(), DataLoader(Batches(), batch_size=None), OnlyIterable()):
        loader = feed(thing, device="cpu")
        assert [tuple(batch.shape) for batch in loader] == [(4, 3), (2, 3)]
        assert loader.stats.images == 6
    with pytest.raises(SpecError, match="makes its batches itself"):
        feed(OnlyIterable(), batch_size=4)


@dataclasses.dataclass
class Pair:
    x: torch.Tensor
    names: list


@dataclasses.dataclass(frozen=True)
class FrozenPair:
    x: torch.Tensor
    names: list


class Graph:
    """As PyG's batches: an object that moves itself."""

    num_graphs = 5

    def __init__(self, x):
        self.x = x

    def to(self, device):
        return Graph(self.x.to(device))


def fed(batch, monkeypatch, **options):
    monkeypatch.setattr("datastage.batches.devices.choose", lambda wanted, local_rank: META)

    class One(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return i

    loader = feed(DataLoader(One(), batch_size=5, collate_fn=lambda samples: batch), **options)
    return loader, next(iter(loader))


def test_objects_that_move_themselves_are_moved(monkeypatch):
    loader, graph = fed(Graph(torch.ones(7, 2)), monkeypatch)
    assert (type(graph), graph.x.device.type) == (Graph, "meta")
    assert loader.stats.images == 5
    loader, nested = fed({"graph": Graph(torch.ones(7, 2)), "y": torch.ones(5)}, monkeypatch)
    assert {nested["graph"].x.device.type, nested["y"].device.type} == {"meta"}


@pytest.mark.parametrize("kind", [Pair, FrozenPair])
def test_what_a_dataclass_holds_is_moved_and_cast(kind, monkeypatch):
    mine = kind(torch.ones(5, 2), ["a"])
    loader, pair = fed(mine, monkeypatch, dtype="bfloat16")
    assert (type(pair), pair.x.device.type, pair.x.dtype, pair.names) == (kind, "meta", torch.bfloat16, ("a",))
    assert mine.x.dtype == torch.float32
    assert loader.stats.images == 5


def test_packed_sequences_keep_their_sizes_on_the_cpu(monkeypatch):
    _, packed = fed(pack_sequence([torch.ones(3, 2), torch.ones(1, 2)]), monkeypatch)
    assert isinstance(packed, PackedSequence)
    assert packed.data.device.type == "meta"
    assert packed.batch_sizes.device.type == "cpu"


CHANGES = {
    "device": (torch.set_default_device, "meta", None),
    "dtype": (torch.set_default_dtype, torch.float64, torch.float32),
    "deterministic": (torch.use_deterministic_algorithms, True, False),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("workers", [0, 2])
def test_what_torch_is_set_to_changes_no_batch(workers, change):
    data = TensorDataset(torch.arange(20.0), torch.arange(20))

    def given():
        loader = feed(DataLoader(data, 4, shuffle=True, num_workers=workers), device="cpu", seed=3)
        batches = [*loader, *feed(data, batch_size=4, device="cpu", seed=3)]
        if change != "device":  # there torch's own collating makes tensors of numbers where it was told to
            batches += feed(IteratedFloats(), batch_size=4, device="cpu")
        return [part for batch in batches for part in batch]

    expected = given()
    set_to, value, back = CHANGES[change]
    set_to(value)
    try:
        found = given()
    finally:
        set_to(back)
    assert [part.dtype for part in found] == [part.dtype for part in expected]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


class IteratedFloats(IterableDataset):
    def __iter__(self):
        return iter((i / 2, i) for i in range(8))


def test_ranks_are_told_that_data_of_this_kind_must_share_itself_out(monkeypatch):
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert (
        "rank 0 of 2, which your data must share out itself" in feed(Counting(), batch_size=4, device="cpu").explain()
    )
    assert "share out itself" not in feed(TensorDataset(torch.zeros(8)), batch_size=4, device="cpu").explain()


@pytest.mark.parametrize("n", [1, 5, 8, 21])
def test_an_evaluation_of_a_dataset_on_ranks_has_one_size_and_says_its_padding(n, monkeypatch):
    given, sizes = [], []
    for rank in range(3):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 3}.items():
            monkeypatch.setenv(name, str(value))
        loader = feed(DataLoader(TensorDataset(torch.arange(n)), 2), device="cpu")
        sizes.append([])
        for (y,) in loader:
            given += y[loader.valid].tolist()
            sizes[-1].append(len(y))
    assert sorted(given) == list(range(n))
    assert sizes[0] == sizes[1] == sizes[2]
    assert np.ptp([len(size) for size in sizes]) == 0
