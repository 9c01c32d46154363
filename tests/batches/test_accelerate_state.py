import sys
from types import ModuleType

import numpy as np
import pytest

from datastage.batches import from_arrays


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


def loaders(n=11, **options):
    arrays = np.zeros((n, 8, 8, 3), np.uint8), np.arange(n)
    return from_arrays({"train": arrays, "test": arrays}, batch_size=4, device="cpu", **options)


def test_accelerate_is_told_the_last_batch_and_how_many_gathered_rows_are_samples(accelerate):
    for loader, remainder in zip(loaders(), (0, 3), strict=True):
        told = [(accelerate.loaders[-1].end_of_dataloader, accelerate.loaders[-1].remainder) for _ in loader]
        assert told == [(False, remainder)] * 2 + [(True, remainder)]
        assert not accelerate.loaders


def test_the_remainder_is_that_of_all_ranks(accelerate, monkeypatch):
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert [accelerate.loaders[-1].remainder for _ in loaders().test] == [3, 3]


def test_an_evaluation_within_an_epoch_is_told_beside_it(accelerate):
    train, test = loaders()
    for _ in train:
        assert [accelerate.loaders[-1].remainder for _ in test] == [3] * 3
        assert len(accelerate.loaders) == 1


def test_leaving_a_loop_takes_the_loader_from_accelerate(accelerate):
    for _ in loaders().test:
        break
    assert not accelerate.loaders


def test_nothing_is_told_where_no_accelerator_was_made(accelerate, monkeypatch):
    monkeypatch.setattr(accelerate, "_shared_state", {})
    assert [len(accelerate.loaders) for _ in loaders().test] == [0] * 3
