import copy
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, SequentialSampler

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment


class Noisy(Dataset):
    """Each sample is its number and what torch's generator gives."""

    def __len__(self):
        return 22

    def __getitem__(self, i):
        return torch.rand(()), i


def arrays(**options):
    images = np.random.default_rng(0).integers(0, 256, (22, 8, 8, 3), np.uint8)
    return from_arrays(
        {"train": (images, np.arange(22)), "test": (images, np.arange(22))},
        **{"batch_size": 4, "device": "cpu", "augment": Augment(crop=2, flip=True), **options},
    )


MAKERS = [lambda: arrays().train, lambda: feed(Noisy(), batch_size=4, device="cpu")]


def are_equal(one, two):
    return all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("make", MAKERS, ids=["arrays", "a dataset"])
@pytest.mark.parametrize("skipped", [0, 2])
def test_a_dataloader_made_of_a_loaders_parts_gives_its_very_batches(make, skipped):
    theirs, whole = make(), list(make())

    class Skipping:
        def __init__(self, batches):
            self.batches = batches

        def __iter__(self):
            return (batch for i, batch in enumerate(self.batches) if i >= skipped)

    parts = {
        name: getattr(theirs, name) for name in ("collate_fn", "num_workers", "pin_memory", "timeout", "generator")
    }
    other = DataLoader(theirs.dataset, batch_sampler=Skipping(theirs.batch_sampler), **parts)
    assert are_equal(other, whole[skipped:])
    again = make()
    list(again)
    assert are_equal(theirs, again)  # that was an epoch, and this is the next


@pytest.mark.parametrize("make", MAKERS, ids=["arrays", "a dataset"])
def test_the_users_generators_are_left_alone_by_that(make):
    loader = make()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    list(
        DataLoader(
            loader.dataset,
            batch_sampler=loader.batch_sampler,
            collate_fn=loader.collate_fn,
            generator=torch.Generator(),
        )
    )
    assert torch.rand(1) == expected


def test_a_sampler_says_how_samples_are_ordered_and_shared_out(monkeypatch):
    train, test = arrays()
    assert isinstance(train.sampler, RandomSampler)
    assert isinstance(test.sampler, SequentialSampler)
    assert list(test.sampler) == list(range(22))
    assert sorted(train.sampler) == list(range(22))
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert all(isinstance(loader.sampler, DistributedSampler) for loader in (train, test))
    assert len(train.sampler) == len(list(train.sampler)) == 11
    train.sampler.set_epoch(5)
    next(iter(train))
    assert train.stats.epoch == 5


def test_samples_are_had_one_by_one_as_they_are():
    train, _ = arrays(classes=[f"class {i}" for i in range(22)])
    image, label = train.dataset[3]
    assert image.shape == (8, 8, 3)
    assert label == 3
    assert np.bincount(train.dataset.targets).tolist() == [1] * 22
    assert train.dataset.class_to_idx["class 7"] == 7
    plain = DataLoader(train.dataset, batch_size=8, collate_fn=torch.utils.data.default_collate)
    assert [int(i) for _, y in plain for i in y] == list(range(22))
    with pytest.raises(IndexError):
        train.dataset[22]


def test_what_a_dataloader_has_a_loader_has():
    train, test = arrays(drop_last=True)
    assert (train.drop_last, test.drop_last, train.num_workers, train.device) == (True, False, 0, torch.device("cpu"))
    assert train.batch_sampler.batch_size == 4
    assert len(train.batch_sampler) == len(train) == 5
    assert not hasattr(train, "what_nobody_has")


def used(loader):
    batches = iter(loader)
    next(batches)
    next(batches)
    return loader


@pytest.mark.parametrize("make", MAKERS, ids=["arrays", "a dataset"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_loader_that_was_used_is_copied_and_goes_on_from_where_it_was(make, copied):
    loader = used(make())
    again = copied(loader)
    assert again.state_dict() == loader.state_dict()
    assert are_equal(again, loader)


def test_an_iterator_that_is_never_used_takes_no_epoch():
    loader = arrays().train
    iter(loader)
    next(iter(loader))
    assert loader.stats.epoch == 0
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "batch": 2})
    iter(loader)
    assert len(list(loader)) == 4
    assert loader.stats.epoch == 3


def test_setting_the_epoch_that_a_state_is_in_the_middle_of_keeps_the_place():
    loader = arrays().train
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "batch": 2})
    loader.set_epoch(3)  # as loops do before each epoch
    assert len(list(loader)) == 4
    loader.set_epoch(3)
    assert len(list(loader)) == 6


def test_a_loader_is_sent_without_its_device_and_without_what_draws_its_lines():
    import threading

    class Reporter:
        def __init__(self):
            self.lock, self.said = threading.Lock(), []  # as what draws a bar has

        def note(self, text, label="Found"):
            self.said.append(text)

    reporter = Reporter()
    loader = used(arrays(reporter=reporter).train)
    again = pickle.loads(pickle.dumps(loader))
    assert (
        "the device is chosen when the first batch is asked for" in again.explain()
    )  # another process may have another
    next(iter(again))
    assert len(reporter.said) == 1


# --- Accelerate, which counts the batches of its own loaders


@pytest.fixture
def accelerate(monkeypatch):
    """What Accelerate keeps of the loaders in use, once an Accelerator was made."""

    class GradientState:
        _shared_state = {"made": True}
        loaders: list = []

        def _add_dataloader(self, loader):
            self.loaders.append(loader)

        def _remove_dataloader(self, loader):
            self.loaders.remove(loader)

    module = ModuleType("accelerate.state")
    module.GradientState = GradientState
    monkeypatch.setitem(sys.modules, "accelerate.state", module)
    return GradientState


def eleven():
    arrays = np.zeros((11, 8, 8, 3), np.uint8), np.arange(11)
    return from_arrays({"train": arrays, "test": arrays}, batch_size=4, device="cpu")


def test_accelerate_is_told_the_last_batch_and_how_many_gathered_rows_are_samples(accelerate):
    for loader, remainder in zip(eleven(), (0, 3), strict=True):
        told = [(accelerate.loaders[-1].end_of_dataloader, accelerate.loaders[-1].remainder) for _ in loader]
        assert told == [(False, remainder)] * 2 + [(True, remainder)]
        assert not accelerate.loaders


def test_the_remainder_is_that_of_all_ranks(accelerate, monkeypatch):
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert [accelerate.loaders[-1].remainder for _ in eleven().test] == [3, 3]


def test_an_evaluation_within_an_epoch_is_told_beside_it(accelerate):
    train, test = eleven()
    for _ in train:
        assert [accelerate.loaders[-1].remainder for _ in test] == [3] * 3
        assert len(accelerate.loaders) == 1


def test_leaving_a_loop_takes_the_loader_from_accelerate(accelerate):
    for _ in eleven().test:
        break
    assert not accelerate.loaders


def test_nothing_is_told_where_no_accelerator_was_made(accelerate, monkeypatch):
    monkeypatch.setattr(accelerate, "_shared_state", {})
    assert [len(accelerate.loaders) for _ in eleven().test] == [0] * 3


@pytest.mark.parametrize("make", MAKERS, ids=["arrays", "a dataset"])
@pytest.mark.parametrize("name", ["augment", "shuffle", "drop_last", "batch_size"])
def test_what_would_change_nothing_cannot_be_set(make, name):
    loader = make()
    with pytest.raises(AttributeError):
        setattr(loader, name, None)
    if name in ("drop_last", "batch_size"):
        with pytest.raises(AttributeError):
            setattr(arrays().train.batch_sampler, name, 3)
    assert arrays(drop_last=True).train.batch_sampler.drop_last is True
