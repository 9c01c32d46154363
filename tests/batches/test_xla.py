import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment
from datastage.batches.devices import Choice
from datastage.batches.ranks import Step
from datastage.batches.to_device import deliver
from datastage.errors import SpecError
from tests.loaders_of import from_folder

STAND_INS = str(Path(__file__).parents[1] / "stand_ins")


@pytest.fixture
def xla(monkeypatch):
    """torch_xla as on a TPU, but for the TPU."""
    monkeypatch.syspath_prepend(STAND_INS)
    import torch_xla
    import torch_xla.distributed.parallel_loader
    import torch_xla.runtime

    torch_xla.distributed.parallel_loader.shapes.clear()
    torch_xla.syncs.clear()
    yield torch_xla
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_xla"]:
        del sys.modules[name]


STEPS = [Step(start, start + 4, 4, 4) for start in (0, 4, 8)]


def splits(n=22):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)
    return {"train": (images, np.arange(n) % 10), "test": (images, np.arange(n) % 10)}


def test_a_tpu_is_chosen_before_anything_else(xla):
    train, _ = from_arrays(splits(), batch_size=8)
    list(train)
    assert "TPU" in train.explain()


def test_training_drops_the_last_batch_so_that_no_shape_changes(xla):
    train, _ = from_arrays(splits(), batch_size=8, augment=Augment(crop=2, flip=True))
    assert [len(y) for _, y in train] == [8, 8]
    assert len(train) == 2
    assert len(xla.distributed.parallel_loader.shapes) == 1


def test_the_last_test_batch_is_filled_with_labels_to_be_ignored(xla):
    _, test = from_arrays(splits(), batch_size=8)
    labels = [y for _, y in test]
    assert [len(y) for y in labels] == [8, 8, 8]
    assert labels[-1].tolist() == [(16 + i) % 10 for i in range(6)] + [-100, -100]
    assert test.valid.tolist() == [True] * 6 + [False] * 2
    assert test.stats.images == 22
    assert len(xla.distributed.parallel_loader.shapes) == 1


def test_an_error_in_the_feed_is_raised_and_no_short_epoch(xla):
    def raw():
        yield np.zeros((4, 3)), np.zeros(4), None, STEPS[0]
        raise ZeroDivisionError("the feed broke")

    choice = Choice(torch.device("cpu"), "xla", "a stand-in")
    with pytest.raises(ZeroDivisionError, match="the feed broke"):
        list(deliver(raw(), lambda x, seed, jitter: x, choice, len(STEPS)))


def test_an_epoch_that_ends_early_without_an_error_is_one(xla):
    choice = Choice(torch.device("cpu"), "xla", "a stand-in")
    raw = iter([(np.zeros((4, 3)), np.zeros(4), None, STEPS[0])])
    with pytest.raises(OSError, match="1 of 3 batches"):
        list(deliver(raw, lambda x, seed, jitter: x, choice, len(STEPS)))


def test_leaving_a_loop_or_ending_it_leaves_no_thread(xla):
    train, _ = from_arrays(splits(400), batch_size=8)
    for _ in train:
        assert any("_loader_worker" in thread.name for thread in threading.enumerate())
        break
    assert not any("_loader_worker" in thread.name for thread in threading.enumerate())
    list(train)
    assert not any("_loader_worker" in thread.name for thread in threading.enumerate())


def test_leaving_a_loop_does_not_wait_for_what_watches_the_stop(xla):
    stop = threading.Event()

    def raw():
        yield np.zeros((4, 3)), np.zeros(4), None, STEPS[0]
        stop.wait()  # as photos wait that are being decoded

    choice = Choice(torch.device("cpu"), "xla", "a stand-in")
    batches = deliver(raw(), lambda x, seed, jitter: x, choice, 2, stop=stop)
    next(batches)
    batches.close()
    assert stop.is_set()


@pytest.mark.parametrize("hue", [0.0, 0.2])
def test_an_unreadable_photo_is_padding_under_colour_jitter_too(xla, grey_photos, hue):
    (grey_photos / "class0" / "4.png").write_bytes(b"no photo")
    augment = Augment(brightness=0.2, hue=hue)
    train = from_folder(grey_photos, batch_size=8, size=8, test=0, device="xla", augment=augment).train
    ((x, y),) = train
    assert x.shape == (8, 3, 8, 8)
    assert sorted(y.tolist()) == [-100, 0, 0, 0, 1, 1, 1, 1]
    assert train.valid.tolist() == (y >= 0).tolist() == [True] * 7 + [False]
    assert (x[-1] == x[0]).all()  # a sample of the batch: a model's own checks pass on it


def test_the_second_device_of_a_process_is_taken_if_asked_for(xla, monkeypatch):
    asked = []

    def device(index=None):
        asked.append(index)
        return [torch.device("cpu")][index or 0]

    monkeypatch.setattr(xla, "device", device)
    list(from_arrays(splits(), batch_size=8, device="xla:0").train)
    with pytest.raises(SpecError, match="'xla:1' cannot be used: this process has 1"):
        list(from_arrays(splits(), batch_size=8, device="xla:1").train)
    assert asked == [0, 1]


def test_values_are_those_of_the_cpu(xla):
    options = {"batch_size": 8, "augment": Augment(crop=2, flip=True, cutout=3), "mean": [0.5] * 3, "std": [0.2] * 3}
    there = list(from_arrays(splits(), device="xla", **options).train)
    here = list(from_arrays(splits(), device="cpu", **options).train)
    for (x, y), (a, b) in zip(there, here[:2], strict=True):
        assert torch.allclose(x, a, atol=1e-5)
        assert (y == b).all()


def test_a_transform_draws_what_it_draws_on_the_cpu(xla):
    def given(device):
        def transform(batch, generator):
            return batch + torch.randint(0, 9, (1,), generator=generator).to(torch.uint8)

        train = from_arrays(splits(40), batch_size=4, device=device, transform=transform, dtype="uint8").train
        return [x for _ in range(2) for x, _ in train]

    there, here = given("xla"), given("cpu")
    assert all((x == a).all() for x, a in zip(there, here, strict=True))


def test_each_process_gets_its_share(xla, monkeypatch):
    monkeypatch.setattr(xla.runtime, "WORLD", (1, 2))
    _, test = from_arrays(splits(), batch_size=8, device="xla")
    given = [int(v) for _, y in test for v in y if v >= 0]
    assert given == [i % 10 for i in range(22) if i // 8 == 1]


def test_torch_xla_on_a_cpu_is_used_only_if_asked_for_by_name(xla, monkeypatch):
    monkeypatch.setattr(xla.runtime, "KIND", "CPU")
    train, _ = from_arrays(splits(), batch_size=8)
    list(train)
    assert "xla" not in train.explain()


def test_without_torch_xla_its_device_is_refused():
    with pytest.raises(SpecError, match="torch_xla is not installed"):
        list(from_arrays(splits(), batch_size=8, device="xla").train)


def test_nothing_starts_the_runtime_before_the_first_batch(xla):
    train, _ = from_arrays(splits(), batch_size=8)
    assert len(train) == 2
    train.explain()
    assert not xla._XLAC.started


def steps_run(xla):
    return len(xla.syncs)


@pytest.mark.parametrize("kind", ["arrays", "a dataset"])
def test_each_step_of_the_training_is_run_before_the_next_batch_is_waited_for(xla, kind):
    data = torch.utils.data.TensorDataset(torch.zeros(40, 3), torch.arange(40))
    loader = from_arrays(splits(40), batch_size=8).train if kind == "arrays" else feed(data, batch_size=8)
    before = None
    for _ in loader:
        assert before is None or steps_run(xla) == before + 1
        before = steps_run(xla)
    assert steps_run(xla) == before + 1  # the last one too
    assert {thread.name for thread in xla.syncs} == {threading.current_thread().name}


def test_what_the_training_takes_on_the_device_is_no_waiting_for_data(xla, monkeypatch):
    monkeypatch.setattr(xla, "sync", lambda: time.sleep(0.05))
    train, _ = from_arrays(splits(40), batch_size=8)
    list(train)
    assert train.stats.seconds - train.stats.waited_s > 0.2


def test_torch_xlas_own_loader_around_ours_gives_every_batch_of_each_epoch(xla):
    train, test = from_arrays(splits(40), batch_size=8)
    around = xla.distributed.parallel_loader.MpDeviceLoader(train, torch.device("cpu"))
    for epoch in range(2):
        assert [len(y) for _, y in around] == [8] * 5 == [len(train.steps()[0:1]) * 8] * 5
        assert train.stats.epoch == epoch
    assert train._chooser.made is None  # in that thread nothing is tried on the device
    assert [len(y) for _, y in test] == [8] * 5


def test_a_dataset_is_padded_by_its_own_samples_on_a_tpu(xla):
    data = torch.utils.data.TensorDataset(torch.arange(10))
    test = feed(torch.utils.data.DataLoader(data, 4))
    given = [(batch.tolist(), test.valid.tolist()) for (batch,) in test]
    assert given[-1] == ([8, 9, 8, 9], [True, True, False, False])
    assert test.stats.images == 10
    train = feed(torch.utils.data.DataLoader(data, 4, shuffle=True))
    assert [len(batch) for (batch,) in train] == [4, 4]


def test_torch_xlas_own_loader_pads_what_is_smaller_than_a_batch(xla):
    _, test = from_arrays(splits(5), batch_size=8)
    around = xla.distributed.parallel_loader.MpDeviceLoader(test, torch.device("cpu"))
    assert [(x.shape[0], y.tolist()) for x, y in around] == [(8, [0, 1, 2, 3, 4, -100, -100, -100])]
