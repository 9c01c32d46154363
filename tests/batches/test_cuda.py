import numpy as np
import pytest
import torch

from datastage.batches import Augment, feed, from_arrays, from_folder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use")


def splits(n=103):
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 28, 3), np.uint8)
    return {"train": (images, np.arange(n)), "test": (images, np.arange(n))}


def made(device, **options):
    return from_arrays(
        splits(), **{"batch_size": 16, "mean": [0.5] * 3, "std": [0.25] * 3, "device": device, **options}
    )


@pytest.mark.parametrize("held", ["on the GPU", "in memory"])
@pytest.mark.parametrize(
    "augment",
    [
        None, Augment(crop=4, flip=True), Augment(crop=3, pad="zero", flip="alternate", cutout=6),
        Augment(scale=(0.3, 1.0), flip=True), Augment(crop=2, brightness=0.3, contrast=0.3, saturation=0.3),
    ],
    ids=str,
)  # fmt: skip
def test_a_gpu_gives_the_batches_of_the_cpu(augment, held, monkeypatch):
    if held == "in memory":
        monkeypatch.setattr("datastage.batches.arrays.SHARE_OF_DEVICE", 0.0)
    there, here = (made(device, augment=augment).train for device in ("cuda", "cpu"))
    for epoch in range(2):
        for (x, y), (a, b) in zip(there, here, strict=True):
            assert x.device.type == y.device.type == "cuda"
            # One step of 255 in one value, normalised, is what rounding a resize or a jitter otherwise may cost.
            atol = 1e-5 if augment is None or not (augment.scale or augment.jitters) else 2.1 / 255 / 0.25
            assert torch.allclose(x.cpu(), a, atol=atol), epoch
            assert (y.cpu() == b).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8"])
def test_other_dtypes_come_out_in_the_format_asked_for(dtype):
    x, _ = next(iter(made("cuda", dtype=dtype, memory_format="channels_last").train))
    assert str(x.dtype) == f"torch.{dtype}"
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_gpu_is_chosen_by_itself_and_only_when_the_first_batch_is_asked_for():
    train = made("auto").train
    assert "chosen when" in train.explain()
    next(iter(train))
    assert "cuda:0" in train.explain()


def test_a_batch_that_is_held_keeps_its_content_while_later_ones_are_made(monkeypatch):
    monkeypatch.setattr("datastage.batches.arrays.SHARE_OF_DEVICE", 0.0)
    held = [(x, x.clone()) for x, _ in made("cuda").train]
    torch.cuda.synchronize()
    assert all((x == copy).all() for x, copy in held)


def test_state_made_on_the_gpu_goes_on_on_the_cpu():
    running = made("cuda", augment=Augment(crop=4, flip=True)).train
    batches = iter(running)
    next(batches), next(batches)
    resumed = made("cpu", augment=Augment(crop=4, flip=True)).train
    resumed.load_state_dict(running.state_dict())
    assert all(torch.allclose(x.cpu(), a, atol=1e-5) for (x, _), (a, _) in zip(batches, resumed, strict=True))


def test_a_transform_works_on_the_gpu_with_a_generator_there():
    def transform(batch, generator):
        assert batch.dtype == torch.uint8
        assert batch.device.type == generator.device.type == "cuda"
        return batch

    list(made("cuda", transform=transform).train)


def test_photos_move_to_the_gpu_once_they_are_decoded(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(30):
        file = tmp_path / f"class{i % 3}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    options = {"batch_size": 8, "size": 32, "test": 0, "augment": Augment(crop=2, flip=True)}
    there, here = (from_folder(tmp_path, device=device, **options).train for device in ("cuda", "cpu"))
    for _ in range(2):  # the first from memory, the second from the GPU
        for (x, y), (a, b) in zip(there, here, strict=True):
            assert torch.allclose(x.cpu(), a, atol=1e-5)
            assert (y.cpu() == b).all()


def test_any_dataset_arrives_whole():
    dataset = torch.utils.data.TensorDataset(torch.arange(100.0).reshape(50, 2), torch.arange(50))
    loader = feed(dataset, batch_size=8, device="cuda")
    batches = list(loader)
    assert all(x.device.type == "cuda" and (x[:, 0] == 2 * y).all() for x, y in batches)
    assert sorted(int(i) for _, y in batches for i in y) == list(range(50))
