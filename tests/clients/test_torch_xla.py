"""Beside the real torch_xla, with the CPU as its device: `make xla`."""

import os

import numpy as np
import pytest
import torch

os.environ.setdefault("PJRT_DEVICE", "CPU")
torch_xla = pytest.importorskip("torch_xla")

import torch_xla.core.xla_model as xm  # noqa: E402
import torch_xla.debug.metrics as metrics  # noqa: E402
from torch_xla.distributed.parallel_loader import MpDeviceLoader  # noqa: E402

from datastage.batches.any_dataset import feed  # noqa: E402
from datastage.batches.arrays import from_arrays  # noqa: E402


def loaders(n=160, **options):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)
    return from_arrays({"train": (images, np.arange(n) % 10)}, batch_size=16, device="xla", **options)


def fed():
    return feed(
        torch.utils.data.TensorDataset(torch.randn(160, 192), torch.arange(160) % 10), batch_size=16, device="xla"
    )


def counted(name):
    return (metrics.metric_data(name) or (0,))[0]


@pytest.mark.parametrize("make", [lambda: loaders().train, fed], ids=["arrays", "a dataset"])
def test_each_step_is_run_once_and_nothing_is_compiled_after_the_first_epoch(make):
    loader, net = make(), torch.nn.Linear(192, 10).to("xla")
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    torch_xla.sync()
    metrics.clear_all()
    compiled = []
    for _ in range(3):
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x.flatten(1)), y).backward()
            xm.optimizer_step(optimizer)
        xm.wait_device_ops()
        compiled.append(counted("CompileTime"))
    assert 30 <= counted("ExecuteTime") <= 33  # an epoch may begin with something of the user's to run
    assert compiled[0] == compiled[2]
    assert loader.stats.waiting < 0.9


def test_evaluation_has_one_shape_and_says_which_rows_are_samples():
    *_, test = loaders(test=50)
    given = [(len(y), test.given[0]) for _, y in test]
    assert given == [(16, 16)] * 3 + [(16, 2)]


def test_torch_xlas_own_loader_around_ours_gives_each_batch():
    train = loaders().train
    around = MpDeviceLoader(train, torch_xla.device())
    for _ in range(2):
        batches = [(x.device.type, y.cpu()) for x, y in around]
        assert {kind for kind, _ in batches} == {"xla"}
        assert sorted(int(i) for _, y in batches for i in y) == sorted(i % 10 for i in range(160))
