import numpy as np
import pytest
import torch

from datastage.batches.augment import Augment, draw
from datastage.batches.batch_ops import ResidentStore, jittered, resized
from datastage.batches.cpu_augment import Crops, HostStore
from tests.torchvision_here import torchvision_here


def smooth(n=6, height=40, width=30):
    """Pictures without sharp edges, so that two ways of resizing differ by rounding alone."""
    small = torch.rand((n, 3, 5, 5), generator=torch.Generator().manual_seed(0)) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 255)
    return large.to(torch.uint8).numpy()


def test_a_box_that_is_all_of_the_picture_changes_nothing():
    images = torch.from_numpy(smooth())
    assert (resized(images, torch.tensor([[0.0, 0, 1, 1]]).repeat(6, 1), None, (40, 30)) == images).all()


def test_a_resized_crop_is_that_of_the_library_that_crops_photos(readers):
    images = smooth()
    draws = draw(Augment(scale=(0.3, 1.0), flip=True), np.arange(6), size=(40, 30), seed=0, epoch=0)
    ours = resized(torch.from_numpy(images), torch.from_numpy(draws.box), torch.from_numpy(draws.flip), (40, 30))
    theirs, photos = np.empty((6, 40, 30, 3), np.uint8), images.transpose(0, 2, 3, 1).copy()
    crops = Crops(theirs, images.shape[2:], draws.box, draws.flip, last=True)
    for i in range(6):
        crops.cut(i, photos[i])
    assert abs(ours.numpy().astype(int) - theirs.transpose(0, 3, 1, 2)).max() <= 2


def test_factors_of_1_change_nothing():
    images = torch.from_numpy(smooth())
    for nothing in (torch.ones(6, 3), torch.tensor([[1.0, 1, 1, 0]]).repeat(6, 1)):
        assert (jittered(images, nothing) == images).all()


def test_jitter_is_what_its_formula_says():
    image = torch.tensor([[[[100.0]], [[50.0]], [[200.0]]]]).to(torch.uint8)
    grey = lambda c: 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]  # noqa: E731
    colour = np.array([100, 50, 200]) * 1.2
    colour = (colour - grey(colour)) * 0.5 + grey(colour)
    colour = (colour - grey(colour)) * 1.5 + grey(colour)
    assert np.allclose(jittered(image, torch.tensor([[1.2, 0.5, 1.5]])).flatten(), colour, atol=0.51)


def noise(n=8):
    return torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.fixture(scope="module")
def theirs():
    """Return torchvision's own functions, or skip."""
    return torchvision_here().transforms.v2


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 1.9])
@pytest.mark.parametrize(("column", "name"), [(0, "brightness"), (1, "contrast"), (2, "saturation")])
def test_each_factor_does_what_torchvision_does_with_it(theirs, column, name, factor):
    factors = torch.ones(8, 3)
    factors[:, column] = factor
    expected = getattr(theirs.functional, f"adjust_{name}")(noise(), factor)
    assert abs(jittered(noise(), factors).int() - expected.int()).max() <= 1  # torchvision cuts off, we round


@pytest.mark.parametrize("turn", [-0.5, -0.3, -0.07, 0.0, 0.1, 0.25, 0.5])
def test_hues_are_turned_as_torchvision_turns_them(theirs, turn):
    factors = torch.tensor([[1, 1, 1, turn]]).repeat(8, 1)
    expected = theirs.functional.adjust_hue(noise(), turn)
    assert abs(jittered(noise(), factors).int() - expected.int()).max() <= 1


def test_grey_pixels_have_no_hue_to_turn():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert (jittered(grey, torch.tensor([[1, 1, 1, 0.3]])) == grey).all()


def test_jitter_spreads_colours_as_torchvision_does(theirs):
    picture = torch.tensor([200, 120, 40], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    n, strength = 4000, {"brightness": 0.3, "contrast": 0.2, "saturation": 0.3, "hue": 0.1}
    torch.manual_seed(0)
    jitter = theirs.ColorJitter(**strength)
    expected = torch.stack([jitter(picture[0])[:, 0, 0] for _ in range(n)]).float()
    factors = draw(Augment(**strength), np.arange(n), size=(4, 4), seed=0, epoch=0).jitter
    ours = jittered(picture.expand(n, -1, -1, -1), torch.from_numpy(factors))[:, :, 0, 0].float()
    assert abs(ours.mean(0) - expected.mean(0)).max() < 3
    assert abs(ours.std(0) / expected.std(0) - 1).max() < 0.05


@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop=4, flip=True), Augment(crop=3, pad="zero", flip="alternate"), Augment(cutout=7, flip=True),
        Augment(crop=6, cutout=4), Augment(scale=(0.3, 1.0), flip=True), Augment(),
    ],
    ids=str,
)  # fmt: skip
def test_a_device_makes_the_pixels_that_the_host_makes(augment):
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 28), np.uint8)
    fill = np.array([1, 2, 3], np.uint8)
    samples = np.random.default_rng(1).permutation(50)
    draws = draw(augment, samples, size=(32, 28), seed=0, epoch=1)
    store = ResidentStore(images, augment, fill, torch.device("cpu"))
    moved_samples, moved_draws = store.epoch(samples, draws)
    there = store.batch(moved_samples[10:40], moved_draws.where(slice(10, 40))).numpy()
    here = HostStore(images, augment, fill).batch(samples[10:40], draws.where(slice(10, 40)))
    assert (there == here).all()
