import numpy as np
import pytest

from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment
from datastage.batches.benchmark import bench
from tests.loaders_of import from_folder


def test_a_feed_is_timed_beside_plain_dataloaders():
    images = np.zeros((64, 8, 8, 3), np.uint8)
    made = from_arrays(
        {"train": (images, np.arange(64))}, batch_size=16, device="cpu", augment=Augment(crop=2, flip=True)
    )
    rows = bench(made, seconds=0.05)
    assert len(rows) == 3
    assert all(row.images_per_s > 0 for row in rows)
    assert all(row.first_batch_s > 0 for row in rows)


def test_decoding_photos_is_timed_apart_from_later_epochs(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for i in range(8):
        file = tmp_path / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)).save(file)
    made = from_folder(tmp_path, batch_size=4, size=16, test=0, device="cpu")
    rows = bench(made, seconds=0.01)
    assert [row.name.split(",")[0] for row in rows] == ["this feed", "this feed", "a DataLoader", "a DataLoader"]
    assert "first epoch" in rows[0].name
    assert all(row.images_per_s > 0 for row in rows)


def test_data_of_one_batch_is_timed_too():
    made = from_arrays({"train": (np.zeros((10, 8, 8, 3), np.uint8), np.arange(10))}, batch_size=16, device="cpu")
    assert all(row.images_per_s > 0 for row in bench(made, seconds=0.02))
