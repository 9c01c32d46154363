import numpy as np
import pytest
import torch

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.frameworks import as_numpy
from datastage.errors import SpecError
from tests.loaders_of import from_folder


def train(n=22, **options):
    arrays = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8), np.arange(n)
    return from_arrays({"train": arrays}, **{"batch_size": 4, "device": "cpu", **options}).train


def state(**changed):
    return {**train().state_dict(), **changed}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "not the state of a loader, but of type NoneType"),
        ("x", "not the state of a loader, but of type str"),
        ({}, "it holds nothing"),
        ({"epoch": 1}, "it holds epoch"),
        (state(more=1), "it holds .*more"),
        (state(batch=1000), "batch=1000 of epoch 0, and an epoch has 6"),
        (state(batch=6), "batch=6 of epoch 0, and an epoch has 6"),
        (state(batch=-1), "batch=-1: a whole number"),
        (state(batch="2"), "batch='2': a whole number"),
        (state(batch=None), "batch=None: a whole number"),
        (state(epoch=-1), "epoch=-1: a whole number"),
        (state(epoch=1.5), "epoch=1.5: a whole number"),
        (train(shuffle=False).state_dict(), "shuffle=False and this loader has shuffle=True"),
        (train(drop_last=True).state_dict(), "drop_last=True and this loader has drop_last=False"),
        (train(seed=3).state_dict(), "seed=3 and this loader has seed=0"),
    ],
)
def test_what_is_no_state_of_such_a_loader_is_refused_and_changes_nothing(given, says):
    loader = train()
    with pytest.raises(SpecError, match=says):
        loader.load_state_dict(given)
    assert loader.state_dict() == state()


def test_a_state_without_shuffle_and_drop_last_is_taken():
    loader = train(shuffle=False)
    loader.load_state_dict({key: value for key, value in state(batch=2).items() if key not in ("shuffle", "drop_last")})
    assert next(iter(loader))[1].tolist() == [8, 9, 10, 11]


def test_a_state_is_taken_before_and_after_another_library_sees_the_loader():
    loader = train()
    as_numpy(loader)
    train().load_state_dict(loader.state_dict())
    loader.load_state_dict(state())


def test_the_epoch_that_was_set_during_an_epoch_is_the_state_and_the_next_one():
    loader = train()
    running = iter(loader)
    next(running)
    loader.set_epoch(5)
    next(running)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (5, 0)
    assert len(list(running)) == 4
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (5, 0)
    next(iter(loader))
    assert loader.stats.epoch == 5


@pytest.fixture
def photos(tmp_path):
    """Eight photos, of which the third and the last cannot be read."""
    image = pytest.importorskip("PIL.Image")
    for i in range(8):
        file = tmp_path / "train" / f"class{i // 4}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(file)
    for name in ("class0/2.png", "class1/7.png"):
        (tmp_path / "train" / name).write_bytes(b"no photo")
    return tmp_path


def of_photos(photos):
    return from_folder(photos, batch_size=1, size=8, test=0, shuffle=False, device="cpu", dtype="uint8").train


def test_a_batch_of_which_no_photo_can_be_read_is_left_out_and_counted(photos):
    loader = of_photos(photos)
    assert [x.unique().tolist() for x, _ in loader] == [[0], [20], [60], [80], [100], [120]]
    assert (loader.stats.images, loader.stats.batches) == (6, 6)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 0)
    assert len(list(loader)) == 6


def test_the_state_counts_batches_that_were_left_out(photos):
    loader = of_photos(photos)
    running = iter(loader)
    for _ in range(3):
        next(running)
    assert loader.state_dict()["batch"] == 4
    again = of_photos(photos)
    again.load_state_dict(loader.state_dict())
    assert [x.unique().tolist() for x, _ in again] == [x.unique().tolist() for x, _ in running]


def test_another_library_gets_as_many_batches_as_it_was_told(photos):
    frames = as_numpy(of_photos(photos), pad=True)
    weights = [weight.item() for *_, weight in frames]
    assert len(weights) == len(frames) == 8
    assert weights == [1, 1, 0, 1, 1, 1, 1, 0]


def test_an_empty_tensor_in_a_batch_of_the_users_is_theirs():
    dataset = [{"boxes": torch.zeros(0, 4), "i": i} for i in range(3)]
    loader = feed(torch.utils.data.DataLoader(dataset, batch_size=1, collate_fn=lambda samples: samples[0]))
    assert [batch["i"] for batch in loader] == [0, 1, 2]


def test_the_length_of_the_dataset_is_the_number_of_samples():
    loader = train()
    assert len(loader.dataset) == loader.n_samples == 22


def test_a_batch_of_the_users_without_a_row_is_given_all_the_same():
    class Sums(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from (torch.tensor(1.0), torch.tensor(2.0))

    assert [batch.item() for batch in feed(Sums(), device="cpu")] == [1.0, 2.0]
