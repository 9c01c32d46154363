import tracemalloc

import numpy as np
import torch

from datastage.batches import Augment, from_arrays
from datastage.batches.pool import Pool


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
    assert len({torch.from_numpy(pool.take()).data_ptr() for _ in range(10)}) <= 2


def test_an_epoch_takes_two_batches_of_memory_and_the_bytes_of_one_beside_the_dataset():
    images = np.zeros((4096, 3, 32, 32), np.uint8)
    (train,) = from_arrays(
        {"train": (images.transpose(0, 2, 3, 1), np.zeros(4096, int))},
        batch_size=512, augment=Augment(crop=4, flip=True), device="cpu",
    )  # fmt: skip
    next(iter(train))
    train.set_epoch(0)
    tracemalloc.start()
    try:
        for _ in train:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    batch = 512 * 3 * 32 * 32 * 4
    assert peak < 2.75 * batch
