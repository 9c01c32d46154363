import tracemalloc
import weakref

import numpy as np
import pytest
import torch

from datastage.batches import Augment, from_arrays
from datastage.batches.normalize import Pool


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


def test_memory_given_always_comes_in_turn():
    pool = Pool((4,), np.float32, keep=3, always=True)
    held = [pool.take() for _ in range(9)]
    assert [array.ctypes.data for array in held] == [array.ctypes.data for array in held[:3]] * 3
    assert len({array.ctypes.data for array in held[:3]}) == 3


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
