import numpy as np
import pytest
import torch

from datastage.batches.arrays import from_arrays
from datastage.errors import SpecError
from tests.loaders_of import from_folder

IMAGES, LABELS = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8), np.arange(20) % 4


def made(transform, **options):
    splits = {"train": (IMAGES, LABELS)}
    return from_arrays(
        splits, **{"batch_size": 10, "device": "cpu", "transform": transform, "shuffle": False, **options}
    )


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda a, b, c: a, "takes neither"),
        (lambda: 1, "takes neither"),
        (lambda batch: batch[:1], "returned a tensor"),
        (lambda batch: None, "returned None"),
        (lambda batch, generator: batch + [1], "failed when it was tried"),
        (lambda batch: batch @ batch.new_zeros(99), "failed when it was tried"),
    ],
)
def test_a_transform_that_cannot_work_is_said_when_the_loader_is_made(transform, said):
    with pytest.raises(SpecError, match=said):
        made(transform)


def test_photos_try_it_too_before_anything_is_decoded(grey_photos):
    with pytest.raises(SpecError, match="returned None"):
        from_folder(grey_photos, batch_size=4, size=8, test=0, device="cpu", transform=lambda batch: None)


def test_a_transform_that_wants_another_device_is_left_to_the_first_batch():
    there = torch.zeros(3, 1, 1, device="meta")
    made(lambda batch: batch + there, device="auto")
    with pytest.raises(SpecError, match="failed when it was tried"):
        made(lambda batch: batch @ torch.zeros(99), device="cpu")


def test_trying_it_draws_nothing_from_the_users_chance():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    made(lambda batch: batch + torch.randint(0, 2, batch.shape).to(torch.uint8))
    assert (torch.get_rng_state() == before).all()


def test_torchvisions_transforms_are_drawn_for_each_picture_and_the_same_again():
    flip = type("Flip", (), {"__call__": lambda self, x: x.flip(2) if torch.rand(()) < 0.5 else x})
    flip.__module__ = "torchvision.transforms.v2._geometry"  # a stand-in: it may be built for another torch
    (train,) = made(flip(), dtype="uint8", batch_size=20)
    first = next(iter(train))[0].numpy()
    plain = IMAGES.transpose(0, 3, 1, 2)
    mirrored = [(a == b[:, :, ::-1]).all() for a, b in zip(first, plain, strict=True)]
    assert 0 < sum(mirrored) < 20
    train.set_epoch(0)
    assert (next(iter(train))[0].numpy() == first).all()
    flip.__call__ = lambda self, x: x.getbands()
    with pytest.raises(SpecError, match="PIL pictures"):
        made(flip())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("size", "fit"), [(32, "crop"), (8, "crop"), ((12, 20), "crop"), ((12, 20), "stretch"), ((12, 20), "pad")]
)
def test_arrays_are_brought_to_the_size_asked_for_in_every_part(size, fit, dtype):
    grey = np.full((20, 16, 16, 3), 100, np.uint8)
    options = {"batch_size": 5, "test": 5, "device": "cpu", "size": size, "fit": fit, "dtype": dtype}
    shape = (size, size) if isinstance(size, int) else size
    for loader in from_arrays({"train": (grey, LABELS)}, **options):
        for x, _ in loader:
            assert x.shape == (5, 3, *shape)
            filled = (x * (255 if dtype == "float32" else 1)).round() == 100
            share = 1.0 if fit != "pad" or isinstance(size, int) else 12 / 20
            assert filled.float().mean().item() == pytest.approx(share)


def test_a_transform_gets_arrays_in_the_size_asked_for():
    (train,) = made(lambda batch: batch if batch.shape[-2:] == (24, 20) else None, size=(24, 20))
    assert next(iter(train))[0].shape == (10, 3, 24, 20)


def test_resized_arrays_show_what_they_showed():
    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.uint8)[:, None, None], (16, 16, 3))
    (train,) = from_arrays(
        {"train": (np.stack([ramp] * 4), LABELS[:4])}, batch_size=4, device="cpu", size=32, dtype="uint8"
    )
    column = next(iter(train))[0][0, 0, :, 3].float()
    assert abs(column[1:-1] - torch.arange(32)[1:-1] * 5 + 2.5).max() <= 1


def test_rows_of_numbers_have_no_size():
    with pytest.raises(SpecError, match="these are rows"):
        from_arrays({"train": (np.zeros((20, 5), np.float32), LABELS)}, batch_size=4, size=32)


@pytest.mark.parametrize("given", ["imagenet", ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
def test_mean_and_std_hold_for_every_part(given):
    mean, std = (given, given) if isinstance(given, str) else given
    loaders = from_arrays(
        {"train": (IMAGES, LABELS)}, batch_size=5, test=5, device="cpu", mean=mean, std=std, shuffle=False
    )
    for loader in loaders:
        x = torch.cat([x for x, _ in loader])
        back = x * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        pictures = torch.stack([torch.from_numpy(np.array(loader.dataset[i][0])) for i in range(len(loader.dataset))])
        assert torch.allclose(back * 255, pictures.permute(0, 3, 1, 2).float(), atol=0.01)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda batch: batch.float() / 255 - 0.5, ["mean= and std="]),
        (lambda batch: torch.nn.functional.interpolate(batch, 64), ["size= does so"]),
        (lambda batch: batch.flip(3), []),
    ],
)
def test_what_evaluation_would_need_too_is_said(transform, said):
    notes = []
    reporter = type("Told", (), {"note": lambda self, text, label="": notes.append(text)})()
    made(transform, reporter=reporter)
    assert [any(word in text for text in notes) for word in said] == [True] * len(said)
    assert len(notes) == len(said)
