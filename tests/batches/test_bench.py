import numpy as np

from datastage.batches import Augment, bench, from_arrays


def test_a_feed_is_timed_beside_plain_dataloaders():
    images = np.zeros((64, 8, 8, 3), np.uint8)
    made = from_arrays(
        {"train": (images, np.arange(64))}, batch_size=16, device="cpu", augment=Augment(crop=2, flip=True)
    )
    rows = bench(made, seconds=0.05)
    assert len(rows) == 3
    assert all(row.images_per_s > 0 for row in rows)
    assert all(row.first_batch_s > 0 for row in rows)
