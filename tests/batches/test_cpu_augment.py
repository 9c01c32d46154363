import numpy as np
import pytest

from datastage.batches.augment import Augment, Draws, draw
from datastage.batches.cpu_augment import HostStore
from datastage.batches.normalize import Normalise


def pictures(n=40, channels=3, height=32, width=32):
    return np.random.default_rng(0).integers(0, 256, (n, channels, height, width), np.uint8)


def one_by_one(images, samples, draws, augment, fill):
    """What the batch must be, sample by sample and in the plainest way."""
    out = []
    for i, sample in enumerate(samples):
        image = images[sample]
        height, width = image.shape[1:]
        if draws.shift is not None:
            crop = augment.crop
            image = np.pad(
                image, [(0, 0), (crop, crop), (crop, crop)], {"reflect": "reflect", "zero": "constant"}[augment.pad]
            )
            y, x = draws.shift[i]
            image = image[:, y : y + height, x : x + width]
        if draws.flip is not None and draws.flip[i]:
            image = image[:, :, ::-1]
        image = image.copy()
        if draws.cutout is not None:
            y, x = draws.cutout[i]
            for row in range(height):
                for column in range(width):
                    if (
                        0 <= row - y + augment.cutout // 2 < augment.cutout
                        and 0 <= column - x + augment.cutout // 2 < augment.cutout
                    ):
                        image[:, row, column] = fill
        out.append(image)
    return np.stack(out)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 11), (4, 12, 8), (1, 7, 6), (3, 32, 31)])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop=4),
        Augment(crop=4, pad="zero"),
        Augment(crop=1, flip=True),
        Augment(crop=2, pad="zero", flip=True),
        Augment(crop=4, flip=True),
        Augment(crop=3, flip="alternate", cutout=5),
        Augment(crop=5, flip=True),
        Augment(flip=True),
        Augment(cutout=3),
        Augment(),
    ],
    ids=str,
)
def test_a_batch_is_pixel_for_pixel_what_each_image_alone_would_be(shape, augment):
    images = pictures(40, *shape)
    fill = np.arange(1, shape[0] + 1, dtype=np.uint8)
    samples = np.random.default_rng(1).permutation(40)[:33]
    draws = draw(augment, samples, size=shape[1:], seed=7, epoch=2)
    batch = HostStore(images, augment, fill).batch(samples, draws)
    assert (batch == one_by_one(images, samples, draws, augment, fill)).all()


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize(
    "augment", [Augment(crop=4, flip=True, cutout=3), Augment(flip=True), Augment(crop=5)], ids=str
)
def test_a_batch_made_in_the_memory_of_its_floats_is_the_same(side, augment):
    images = pictures(70, 3, side, side)
    samples = np.random.default_rng(1).permutation(70)
    draws = draw(augment, samples, size=(side, side), seed=7, epoch=2)
    store = HostStore(images, augment, np.zeros(3, np.uint8))
    expected = store.batch(samples, draws)
    floats = np.empty(images.shape, np.float32)
    batch = store.batch(samples, draws, floats.reshape(-1).view(np.uint8))
    assert (batch == expected).all()
    assert np.shares_memory(batch, floats)
    Normalise(None, None, images.shape[1:])(batch, floats)
    np.testing.assert_allclose(floats, expected / 255, atol=1e-6)


def test_the_images_are_not_changed():
    images = pictures()
    before = images.copy()
    augment = Augment(crop=4, flip=True, cutout=8)
    samples = np.arange(40)
    HostStore(images, augment, np.zeros(3, np.uint8)).batch(
        samples, draw(augment, samples, size=(32, 32), seed=0, epoch=0)
    )
    assert (images == before).all()


def test_every_shift_of_a_mirrored_image_is_right():
    images, augment = pictures(1), Augment(crop=4, flip=True)
    samples = np.zeros(162, np.int64)
    down, across, flip = (a.ravel() for a in np.meshgrid(range(9), range(9), [False, True], indexing="ij"))
    draws = Draws(shift=np.stack([down, across], 1).astype(np.uint8), flip=flip)
    batch = HostStore(images, augment, np.zeros(3, np.uint8)).batch(samples, draws)
    assert (batch == one_by_one(images, samples, draws, augment, 0)).all()


def test_normalising_in_blocks_is_normalising():
    images = pictures(50)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    out = np.empty(images.shape, np.float32)
    Normalise(mean, std, images.shape[1:])(images, out)
    column = np.array([mean, std]).reshape(2, 1, 3, 1, 1)
    np.testing.assert_allclose(out, (images / 255 - column[0]) / column[1], atol=2e-6)
