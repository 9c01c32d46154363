import threading
import tracemalloc
import weakref

import numpy as np
import pytest
import torch

from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment
from datastage.batches.normalize import CpuFinish, Normalise, Pool
from datastage.batches.options import IMAGENET, LoaderOptions
from datastage.errors import SpecError


def test_memory_that_somebody_holds_is_not_given_out_again():
    pool = Pool((4,), np.float32)
    held = [torch.from_numpy(pool.take()) for _ in range(10)]
    assert len({tensor.data_ptr() for tensor in held}) == 10


def test_a_view_or_a_graph_holds_memory_too():
    pool = Pool((4,), np.float32)
    weight = torch.ones(4, requires_grad=True)
    graphs = []
    seen = set()
    for _ in range(6):
        array = pool.take()
        seen.add(array.ctypes.data)
        array[:] = len(seen)
        graphs.append((weight * torch.from_numpy(array)[:]).sum())
        del array
    assert len(seen) == 6


def test_memory_that_was_let_go_of_is_used_again():
    pool = Pool((4,), np.float32)
    given = weakref.ref(pool.take())
    assert pool.take() is given()


def test_where_all_memory_is_held_that_given_out_last_is_kept_for_the_next():
    pool = Pool((4,), np.float32, keep=2)
    held = [pool.take() for _ in range(3)]
    last_two = [weakref.ref(array) for array in held[-2:]]
    del held
    assert all(array() is not None for array in last_two)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("augment", [Augment(crop=4, flip=True), Augment(flip=True), Augment()], ids=str)
def test_epochs_take_the_memory_of_two_batches_beside_the_dataset(augment, memory_format):
    images, labels = np.zeros((4096, 3, 32, 32), np.uint8), np.zeros(4096, int)
    arrays = {"train": (images.transpose(0, 2, 3, 1), labels)}
    options = {"batch_size": 512, "device": "cpu", "augment": augment, "memory_format": memory_format}
    next(iter(from_arrays(arrays, **options).train))  # what is imported now is not counted below
    tracemalloc.start()
    try:
        (train,) = from_arrays(arrays, **options)
        for _ in range(2):
            for _x, _y in train:
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    batch = 512 * 3 * 32 * 32 * 4
    # Order and chance are 11 bytes a sample; the constants of Normalise and what is worked on at once are of one size.
    assert peak < 2 * batch + 11 * 4096 + 500_000


def augmented_by(transform, n=24, **options):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)
    return from_arrays(
        {"train": (images, np.arange(n))}, batch_size=6, device="cpu", dtype="uint8", transform=transform, **options
    ).train


@pytest.mark.parametrize(
    "transform",
    [
        lambda batch: batch // 2,
        lambda batch, generator: batch // 2,
        lambda *given: given[0] // 2,
        torch.nn.Sequential(),
    ],
    ids=["one argument", "two", "any number", "a module"],
)
def test_a_transform_may_take_the_batch_alone(transform):
    given = next(iter(augmented_by(transform, shuffle=False)))[0]
    plain = next(iter(augmented_by(None, shuffle=False)))[0]
    assert (given == (plain if isinstance(transform, torch.nn.Module) else plain // 2)).all()


def test_a_transform_that_takes_no_batch_is_refused_when_the_loader_is_made():
    with pytest.raises(SpecError, match=r"transform=.* takes neither \(batch, generator\) nor \(batch\)"):
        augmented_by(lambda: 3)


class RandomShift:
    """As torchvision's: for one picture, and drawn from torch's own generator."""

    def __call__(self, picture):
        assert picture.ndim == 3
        return picture // 2 + torch.randint(0, 100, (1,)).to(torch.uint8)


RandomShift.__module__ = "torchvision.transforms.stand_in"


def test_a_transform_of_torchvisions_is_drawn_anew_for_each_picture_and_the_same_again():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    loaders = [augmented_by(RandomShift(), shuffle=False) for _ in range(2)]
    one, two = ([x for _ in range(2) for x, _ in loader] for loader in loaders)
    assert torch.rand(1) == before
    assert all((x == a).all() for x, a in zip(one, two, strict=True))
    plain = [x for x, _ in augmented_by(None, shuffle=False)]
    shifts = {int(s) for x, a in zip(one, plain) for s in (x.int() - a.int() // 2)[:, 0, 0, 0]}
    assert len(shifts) > 12
    assert len({*(int(x.sum()) for x in one)}) == 8  # each epoch too


def test_what_a_transform_returned_is_told_by_its_kind_and_not_by_its_numbers():
    with pytest.raises(SpecError) as raised:
        next(iter(augmented_by(lambda batch: (batch, 1))))
    assert "returned a tuple" in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_torch_makes_the_floats_that_numpy_makes(dtype, memory_format):
    options = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "memory_format": memory_format}
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)

    def given(transform):
        arrays = {"train": (images, np.arange(12))}
        loaders = from_arrays(arrays, batch_size=12, device="cpu", dtype=dtype, transform=transform, **options)
        return next(iter(loaders.train))[0]

    there, here = given(lambda batch: batch), given(None)
    assert there.dtype == here.dtype
    assert there.stride() == here.stride()
    assert torch.allclose(there.float(), here.float(), atol=1e-6 if dtype == "float32" else 0.02)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_two_threads_write_the_batch_that_one_writes(monkeypatch, n, dtype, memory_format):
    images = np.random.default_rng(n).integers(0, 256, (n, 3, 13, 17), np.uint8)
    options = LoaderOptions(batch_size=8, memory_format=memory_format, dtype=dtype, **IMAGENET)
    alone = CpuFinish(options, (3, 13, 17), 8)(images, 0)
    threads = []
    normalise = Normalise.__call__

    def watched(self, *args):
        threads.append(threading.current_thread().name)
        normalise(self, *args)

    monkeypatch.setattr(Normalise, "__call__", watched)
    monkeypatch.setattr(CpuFinish, "SHARED_BYTES", 0)
    shared = CpuFinish(options, (3, 13, 17), 8)(images, 0)
    assert len(set(threads)) == min(2, n)
    assert shared.dtype == alone.dtype
    assert shared.stride() == alone.stride()
    assert torch.equal(shared, alone)
