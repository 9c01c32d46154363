import zlib

import numpy as np
import pytest

from datastage.batches.augment import TRANSFORM, Augment, draw, pixels_of, random
from datastage.batches.ranks import order
from datastage.errors import SpecError

SAMPLES = np.arange(40_000)


def drawn(augment, *, seed=0, epoch=0, samples=SAMPLES):
    return draw(augment, samples, size=(32, 32), seed=seed, epoch=epoch)


def digest(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def test_the_numbers_of_an_epoch_are_those_that_they_always_were():
    """Whoever goes on from a state, or compares two runs, needs the same ones of every release."""
    samples = order(1000, shuffle=True, seed=3, epoch=2)
    many = Augment(crop=4, flip=True, cutout=8, brightness=0.4, contrast=0.2, saturation=0.1, hue=0.1)
    one = draw(many, samples, size=(32, 30), seed=3, epoch=2)
    two = draw(Augment(scale=(0.1, 1.0), flip="alternate"), samples, size=(32, 30), seed=3, epoch=3)
    assert digest(samples) == 2784402286
    assert [digest(a) for a in (one.shift, one.flip, one.cutout)] == [2005255116, 2378164837, 3164779280]
    assert [digest(a) for a in (one.jitter, two.flip, two.box)] == [2858451479, 137256753, 2974861218]
    assert digest(random(3, 2, TRANSFORM).integers(0, 2**62, 10)) == 2222048300


def test_each_use_of_chance_has_numbers_of_its_own():
    assert len({int(random(0, 0, stream).integers(2**62)) for stream in range(9)}) == 9


def is_even(counts):
    """Whether counts are what equal chances give: within five standard deviations of their mean."""
    mean = counts.sum() / counts.size
    return (abs(counts - mean) < 5 * np.sqrt(mean)).all()


def test_each_offset_comes_equally_often():
    shift = drawn(Augment(crop=4)).shift
    counts = np.bincount(shift[:, 0].astype(int) * 9 + shift[:, 1], minlength=81)
    assert counts.size == 81
    assert is_even(counts)


def test_half_of_the_images_are_mirrored_whatever_their_shift():
    draws = drawn(Augment(crop=1, flip=True))
    counts = np.bincount(draws.flip * 9 + draws.shift[:, 0].astype(int) * 3 + draws.shift[:, 1], minlength=18)
    assert is_even(counts)


def test_alternate_mirrors_one_half_and_then_the_other():
    one, two, three = (drawn(Augment(flip="alternate"), epoch=epoch).flip for epoch in range(3))
    assert (one != two).all()
    assert (one == three).all()
    assert is_even(np.bincount(one.astype(int), minlength=2))


def test_alternate_goes_by_sample_and_not_by_place():
    samples = np.random.default_rng(0).permutation(1000)
    shuffled = drawn(Augment(flip="alternate"), samples=samples).flip
    in_order = drawn(Augment(flip="alternate"), samples=np.arange(1000)).flip
    assert (shuffled == in_order[samples]).all()


def test_the_centre_of_a_cutout_lies_anywhere_in_the_image():
    centre = drawn(Augment(cutout=8)).cutout
    assert is_even(np.bincount(centre[:, 0], minlength=32))
    assert is_even(np.bincount(centre[:, 1], minlength=32))


def test_boxes_have_the_area_and_shape_asked_for_and_lie_inside():
    box = drawn(Augment(scale=(0.25, 0.5), ratio=(0.75, 1.25))).box
    area, shape = box[:, 2] * box[:, 3], box[:, 3] / box[:, 2]
    top, left, height, width = pixels_of(box, 40, 30)
    assert ((area > 0.249) & (area < 0.501)).all()
    assert ((shape > 0.749) & (shape < 1.251)).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 40).all()
    assert (left + width <= 30).all()
    assert abs(area.mean() - 0.375) < 0.01


def test_wide_crops_come_as_often_as_tall_ones():
    box = drawn(Augment(scale=(0.1, 0.2), ratio=(0.25, 4.0))).box
    shape = np.log2(box[:, 3] / box[:, 2])
    assert is_even(np.bincount(np.clip((shape + 2) * 2, 0, 7).astype(int), minlength=8))


def test_a_box_that_never_fits_is_the_middle_of_the_picture():
    box = drawn(Augment(scale=(1.0, 1.0), ratio=(2.0, 2.0))).box
    assert (np.stack(pixels_of(box, 20, 40), 1) == [5, 0, 10, 40]).all()


def test_a_crop_lies_at_each_place_that_it_can_have_equally_often():
    box = drawn(Augment(scale=(0.25, 0.25), ratio=(1.0, 1.0))).box
    top, left, height, width = pixels_of(box, 18, 22)
    assert (height == 9).all()
    assert (width == 11).all()
    assert is_even(np.bincount((12 * top + left).astype(int), minlength=10 * 12))


def test_the_last_place_is_reached_and_not_passed():
    sides = np.arange(1, 4097, dtype=np.float32)
    last = np.full(4096, 1 - 2**-24, np.float32)
    box = np.stack([last, last, sides / 4096, sides / 4096], 1)
    top, _, height, _ = pixels_of(box, 4096, 4096)
    assert (height == sides).all()
    assert (top + height == 4096).all()


def test_tensors_are_cut_where_arrays_are():
    torch = pytest.importorskip("torch")
    box = drawn(Augment(scale=(0.05, 1.0))).box
    for size in ((32, 32), (225, 301)):
        there, here = pixels_of(torch.from_numpy(box), *size), pixels_of(box, *size)
        assert all((a.numpy() == b).all() for a, b in zip(there, here, strict=True))


def test_jitter_stays_within_its_strength():
    factors = drawn(Augment(brightness=0.4, contrast=0.2)).jitter
    assert 0.6 <= factors[:, 0].min() < 0.61
    assert 1.39 < factors[:, 0].max() <= 1.4
    assert (factors[:, 2] == 1).all()


def test_hues_turn_both_ways_by_up_to_what_was_asked_for():
    turn = drawn(Augment(hue=0.1, brightness=0.4)).jitter[:, 3]
    assert -0.1 <= turn.min() < -0.099
    assert 0.099 < turn.max() <= 0.1
    assert abs(turn.mean()) < 0.002


def test_turning_hues_leaves_the_other_factors_as_they_were():
    assert (drawn(Augment(contrast=0.4)).jitter == drawn(Augment(contrast=0.4, hue=0.2)).jitter[:, :3]).all()


def test_switching_one_thing_on_leaves_the_others_as_they_were():
    assert (drawn(Augment(crop=4)).shift == drawn(Augment(crop=4, flip=True, cutout=3)).shift).all()


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_another_seed_or_epoch_draws_other_numbers(seed, epoch):
    assert (drawn(Augment(crop=4)).shift != drawn(Augment(crop=4), seed=seed, epoch=epoch).shift).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": -1}, {"crop": 1.5}, {"pad": "edge"}, {"flip": "yes"}, {"cutout": 200}, {"scale": 0.5},
        {"scale": (0.5, 0.2)}, {"scale": (0.5, 1.5)}, {"brightness": 2}, {"crop": 2, "scale": (0.5, 1.0)},
        {"ratio": (0, 1)}, {"hue": 0.6}, {"hue": -0.1},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(SpecError, match="Augment"):
        Augment(**wrong)


def test_numbers_of_numpy_and_lists_are_taken_and_words_are_not():
    assert Augment(crop=np.int64(4), scale=None) == Augment(crop=4)
    assert Augment(scale=[0.25, 1.0]) == Augment(scale=(0.25, 1.0))
    assert hash(Augment(scale=[0.25, 1.0])) == hash(Augment(scale=(0.25, 1.0)))
    with pytest.raises(SpecError, match="two numbers"):
        Augment(scale=("a", "b"))
