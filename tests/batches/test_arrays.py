import numpy as np
import pytest
import torch

from datastage.batches.arrays import ArraySource, from_arrays, images_of
from datastage.batches.augment import Augment
from datastage.batches.devices import Choice
from datastage.batches.options import LoaderOptions
from datastage.errors import SpecError


def digits(n=10, side=8, channels=3):
    images = np.arange(n * side * side * channels, dtype=np.uint32).reshape(n, side, side, channels)
    return (images % 251).astype(np.uint8), np.arange(n) % 10


def loaders_of(n=10, **options):
    return from_arrays({"train": digits(n)}, batch_size=4, device="cpu", **options)


def test_every_sample_is_given_once_an_epoch():
    (train,) = loaders_of(10)
    assert sorted(int(label) for _, y in train for label in y) == list(range(10))


def test_test_images_come_in_order_and_as_they_are():
    images, labels = digits(10)
    _, test = from_arrays(
        {"train": (images, labels), "test": (images, labels)},
        batch_size=4,
        dtype="uint8",
        device="cpu",
        augment=Augment(crop=2, flip=True),
        drop_last=True,
    )
    given = np.concatenate([x.numpy() for x, _ in test])
    assert (given == images.transpose(0, 3, 1, 2)).all()


def test_floats_are_what_torchvision_makes_of_the_images():
    images, labels = digits(10)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    (train,) = from_arrays({"train": (images, labels)}, batch_size=10, mean=mean, std=std, shuffle=False, device="cpu")
    expected = (images / 255 - mean) / std
    ((x, _),) = train
    np.testing.assert_allclose(x.numpy(), expected.transpose(0, 3, 1, 2), atol=2e-6)


def test_the_same_seed_and_epoch_give_the_same_batches():
    one, two = (loaders_of(40, augment=Augment(crop=2, flip=True), seed=3).train for _ in range(2))
    list(one), two.set_epoch(1)
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(one, two, strict=True))


def test_each_iteration_is_another_epoch():
    (train,) = loaders_of(40)
    first, second = ([int(v) for _, y in train for v in y] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_a_batch_that_is_held_keeps_its_content(dtype):
    (train,) = loaders_of(40, dtype=dtype)
    held = [(x, x.clone()) for x, _ in train]
    assert all((x == copy).all() for x, copy in held)


def test_resuming_in_the_middle_of_an_epoch_gives_the_same_batches_as_going_on():
    options = {"augment": Augment(crop=2, flip=True), "seed": 5}
    (train,) = loaders_of(40, **options)
    list(train)
    running = iter(train)
    next(running), next(running)
    state = train.state_dict()
    (resumed,) = loaders_of(40, **options)
    resumed.load_state_dict(state)
    rest = list(running)
    assert len(rest) == 8
    assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(rest, resumed, strict=True))


def test_a_state_of_another_batch_size_is_refused():
    state = {**loaders_of(10).train.state_dict(), "batch_size": 5}
    with pytest.raises(SpecError, match="batch_size=5"):
        loaders_of(10).train.load_state_dict(state)


def test_a_share_set_aside_for_validation_is_not_trained_on():
    train, val = loaders_of(10, val=0.2)
    seen = [sorted(int(v) for _, y in part for v in y) for part in (train, val)]
    assert len(seen[1]) == 2
    assert sorted(seen[0] + seen[1]) == list(range(10))


def test_validation_does_not_depend_on_the_seed():
    one, two = (loaders_of(10, val=3, seed=seed).val for seed in (0, 1))
    assert [y.tolist() for _, y in one] == [y.tolist() for _, y in two]


def test_a_limit_takes_samples_from_all_over_a_set_sorted_by_class():
    images, labels = digits(1000)
    (train,) = from_arrays({"train": (images, np.sort(labels))}, batch_size=4, device="cpu", limit=100)
    assert train.n_samples == 100
    assert len({int(v) for _, y in train for v in y}) == 10


def test_a_limit_takes_samples_of_each_part_and_none_of_another():
    images, _ = digits(100)
    parts = from_arrays({"train": (images, np.arange(100))}, batch_size=4, device="cpu", val=0.5, limit=20)
    train, val = ({int(v) for _, y in part for v in y} for part in parts)
    assert (len(train), len(val)) == (20, 20)
    assert not train & val


@pytest.mark.parametrize("kind", [np.int64, torch.tensor])
def test_numbers_of_numpy_and_torch_are_options_as_pythons_are(kind):
    def made(kind):
        named = {"batch_size": 4, "seed": 3, "limit": 9, "val": 2, "test": 3, "size": 6}
        options = {name: kind(value) for name, value in named.items()}
        return [y.tolist() for part in from_arrays({"train": digits(20)}, device="cpu", **options) for _, y in part]

    assert made(kind) == made(int)


def test_grey_images_get_one_channel():
    (train,) = from_arrays({"train": (np.zeros((5, 8, 8), np.uint8), np.arange(5))}, batch_size=5, device="cpu")
    assert next(iter(train))[0].shape == (5, 1, 8, 8)


def test_rows_of_numbers_are_standardised():
    rows = np.random.default_rng(0).normal(5, 2, (50, 4))
    (train,) = from_arrays(
        {"train": (rows, np.zeros(50, int))}, batch_size=50, mean=rows.mean(0), std=rows.std(0), device="cpu"
    )
    assert abs(next(iter(train))[0].mean()) < 1e-5


@pytest.mark.parametrize("constants", [{}, {"mean": [1.0], "std": [2.0]}, {"mean": [1.0]}, {"std": [2.0]}], ids=str)
def test_shuffled_rows_keep_their_labels_and_the_users_rows_stay_as_they_are(constants):
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    before = rows.copy()
    (train,) = from_arrays({"train": (rows, np.arange(20))}, batch_size=6, device="cpu", **constants)
    mean, std = constants.get("mean", [0])[0], constants.get("std", [1])[0]
    for _ in range(2):
        given = [(x[:, 0] * std + mean, y) for x, y in train]
        assert all((first == 3 * y).all() for first, y in given)
        assert [int(i) for _, y in given for i in y] != list(range(20))
    assert (rows == before).all()


def test_a_transform_is_for_training_alone():
    images, labels = digits(20)
    made = from_arrays(
        {"train": (images, labels), "test": (images, labels)}, batch_size=5, val=5, device="cpu", dtype="uint8",
        transform=lambda batch, generator: batch * 0 + 7,
    )  # fmt: skip
    assert all((x == 7).all() for x, _ in made.train)
    assert all(not (x == 7).all() for loader in (made.val, made.test) for x, _ in loader)
    assert (np.concatenate([x for x, _ in made.test]) == images.transpose(0, 3, 1, 2)).all()


def test_channels_last_has_the_same_values():
    plain, last = (next(iter(loaders_of(memory_format=form).train))[0] for form in ("contiguous", "channels_last"))
    assert last.is_contiguous(memory_format=__import__("torch").channels_last)
    assert (plain == last).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_are_near_the_wide_ones(dtype):
    wide, narrow = (next(iter(loaders_of(dtype=d).train))[0] for d in ("float32", dtype))
    assert str(narrow.dtype) == f"torch.{dtype}"
    assert (wide - narrow.float()).abs().max() < 0.01


def test_a_transform_gets_the_uint8_batch_and_a_generator_that_follows_from_seed_and_epoch():
    drawn = []

    def transform(batch, generator):
        import torch

        assert batch.dtype == torch.uint8
        drawn.append(torch.rand(1, generator=generator).item())
        return batch

    seen = []
    for _ in range(2):
        train = loaders_of(10, transform=transform).train
        drawn.clear()  # it was tried
        list(train)
        seen.append(drawn.copy())
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 3


def test_the_test_split_is_left_out_when_0_is_asked_for():
    made = from_arrays({"train": digits(), "test": digits()}, batch_size=4, test=0, device="cpu")
    assert made.test is None
    assert len(made) == 1


def test_stats_count_what_was_given():
    (train,) = loaders_of(10)
    list(train)
    assert (train.stats.images, train.stats.batches, train.stats.epoch) == (10, 3, 0)
    assert 0 < train.stats.waited_s <= train.stats.seconds


def test_a_broken_off_epoch_is_followed_by_the_next_one():
    (train,) = loaders_of(40)
    for _ in train:
        break
    list(train)
    assert train.stats.epoch == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"dtype": "float64"}, "float64"),
        ({"device": "gpu"}, "gpu"),
        ({"seed": -1}, "seed=-1"),
        ({"limit": 0}, "limit=0"),
        ({"val": 1.5}, "val=1.5"),
        ({"val": 10}, "val=10"),
        ({"memory_format": "nhwc"}, "nhwc"),
        ({"augment": "flip"}, "flip"),
        ({"augment": Augment(crop=8)}, "crop=8"),
        ({"mean": [0.1, 0.2]}, "mean has 2 values"),
        ({"std": [0.1, 0.2, 0.0]}, "above 0"),
        ({"transform": 3}, "transform=3"),
    ],
)
def test_a_wrong_option_is_named(options, says):
    with pytest.raises(SpecError, match=says):
        from_arrays({"train": digits()}, **{"batch_size": 4, "device": "cpu", **options})


@pytest.mark.parametrize(
    ("shape", "augment", "says"),
    [
        ((8, 20, 3), Augment(crop=8), "crop=8"),
        ((20, 8, 3), Augment(crop=8), "crop=8"),
        ((8, 8, 2), Augment(contrast=0.5), "1 or 3 channels"),
        ((8, 8, 4), Augment(hue=0.5), "1 or 3 channels"),
    ],
)
def test_an_augmentation_that_these_images_do_not_bear_is_refused_before_the_first_batch(shape, augment, says):
    with pytest.raises(SpecError, match=says):
        from_arrays({"train": (np.zeros((5, *shape), np.uint8), np.arange(5))}, batch_size=4, augment=augment)


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ((np.zeros((5, 8, 8, 3), np.uint8), np.zeros(4, int)), "5 images and 4 labels"),
        ((np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, int)), "no images"),
        ((np.zeros((5, 8, 8, 3), np.float32), np.zeros(5, int)), "uint8"),
        ((np.zeros((5, 3, 8, 8), np.uint8), np.zeros(5, int)), "channels first"),
        ((np.zeros((5, 8, 8, 3), np.uint8), np.zeros(5, "datetime64[s]")), "numbers or names are needed"),
        ((np.zeros((5, 8, 8, 3), np.uint8), 3), "a single label"),
        ((np.zeros((5, 20, 3), np.float32), np.zeros(5, int)), "TensorDataset"),
        ((np.zeros((5,), np.uint8), np.zeros(5, int)), "shape"),
    ],
)
def test_arrays_that_do_not_fit_are_told_what_would(pair, says):
    with pytest.raises(SpecError, match=says):
        from_arrays({"train": pair}, batch_size=4)


def test_splits_of_different_sizes_are_refused():
    with pytest.raises(SpecError, match="test"):
        from_arrays({"train": digits(side=8), "test": digits(side=9)}, batch_size=4)


def test_a_drop_that_leaves_no_batch_is_an_error_that_names_a_size():
    (train,) = from_arrays({"train": digits(10)}, batch_size=64, drop_last=True, device="cpu")
    with pytest.raises(SpecError, match="batch_size=10"):
        list(train)


def test_no_copy_is_made_of_images_whose_channels_lie_first_in_memory():
    from datastage.batches.arrays import images_of

    memory = np.zeros((5, 3, 8, 8), np.uint8)
    images = images_of("train", memory.transpose(0, 2, 3, 1))
    assert np.shares_memory(images, memory)


@pytest.mark.parametrize(("free", "then", "held"), [(10**6, 0, "on the cpu"), (0, 10**6, "in memory")])
def test_images_are_said_to_be_where_they_were_put_whatever_is_free_later(monkeypatch, free, then, held):
    images, labels = digits()
    source = ArraySource(images.transpose(0, 3, 1, 2).copy(), labels)
    gpu = Choice(torch.device("cpu"), "cuda", "a CPU that stands in for one")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, free))
    source.open(gpu, LoaderOptions(batch_size=1))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (then, then))
    assert source.where(gpu) == f"0 MB of uint8 {held}"


def test_the_device_is_said_once_for_all_splits():
    said = []

    class Reporter:
        def phase(self, name, total_bytes): ...
        def advance(self, n_bytes): ...
        def note(self, text, label=""):
            said.append(f"{label:<10}{text}" if label else text)

    train, test = from_arrays({"train": digits(), "test": digits()}, batch_size=4, device="cpu", reporter=Reporter())
    assert said == []
    list(train), list(test)
    assert len(said) == 1
    assert said[0].startswith("Device    cpu")


def test_empty_constants_are_none():
    (train,) = from_arrays({"train": digits()}, batch_size=4, mean=(), std=(), device="cpu")
    x, _ = next(iter(train))
    assert 0 <= x.min() <= x.max() <= 1


def test_a_notebook_shows_a_card_of_the_loaders():
    made = from_arrays({"train": digits(), "test": digits()}, batch_size=4, device="cpu")
    list(made.train)
    card = made._repr_html_()
    assert "10 samples in 3 batches" in card
    assert "images/s" in made.train._repr_html_()


def test_jitter_is_done_by_the_numbers_of_the_epoch():
    import torch

    from datastage.batches.augment import draw
    from datastage.batches.batch_ops import jittered

    augment = Augment(brightness=0.5, saturation=0.5)
    images, labels = digits(10)
    (train,) = from_arrays(
        {"train": (images, labels)}, batch_size=10, shuffle=False, augment=augment, dtype="uint8", device="cpu", seed=2
    )
    factors = draw(augment, np.arange(10), size=(8, 8), seed=2, epoch=0).jitter
    expected = jittered(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(factors))
    assert (next(iter(train))[0] == expected).all()


def test_arrays_can_be_cropped_and_resized_too():
    (train,) = from_arrays(
        {"train": digits(10)}, batch_size=10, augment=Augment(scale=(0.3, 0.6)), dtype="uint8", device="cpu"
    )
    one, two = (next(iter(train))[0] for _ in range(2))
    assert one.shape == (10, 3, 8, 8)
    assert (one != two).any()


@pytest.mark.parametrize("loop", ["whole", "broken off"])
def test_a_state_taken_after_an_epoch_begins_the_next(loop):
    (train,) = loaders_of(40)
    list(train)
    state = train.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)
    if loop == "broken off":
        next(iter(train))
        state = train.state_dict()
        assert (state["epoch"], state["batch"]) == (1, 1)


def test_one_loader_in_two_threads_gives_each_its_own_batches():
    import sys
    import threading

    images = np.repeat(np.arange(200, dtype=np.uint8), 3 * 16 * 16).reshape(200, 3, 16, 16).transpose(0, 2, 3, 1)
    for dtype, memory_format in (("float32", "contiguous"), ("float16", "channels_last"), ("uint8", "contiguous")):
        (train,) = from_arrays(
            {"train": (images, np.arange(200))}, batch_size=32, device="cpu", dtype=dtype, memory_format=memory_format
        )
        scale = 1 if dtype == "uint8" else 255
        wrong = []

        def use(train=train, scale=scale, wrong=wrong):
            for _ in range(12):
                wrong.extend((x.float().mean((1, 2, 3)) * scale - y).abs().max() > 0.2 for x, y in train)

        threads = [threading.Thread(target=use) for _ in range(2)]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        assert len(wrong) == 2 * 12 * 7
        assert not any(wrong)


def test_labels_in_a_column_are_labels():
    (train,) = loaders_with(np.arange(10)[:, None])
    assert next(iter(train))[1].tolist() == list(range(10))


def loaders_with(labels, **options):
    images = np.zeros((len(labels), 8, 8, 3), np.uint8)
    return from_arrays({"train": (images, labels)}, batch_size=16, shuffle=False, device="cpu", **options)


@pytest.mark.parametrize("returned", [lambda x: x[:1], lambda x: None, lambda x: (x, 1), lambda x: x.numpy()])
def test_a_transform_that_returns_no_batch_is_named(returned):
    with pytest.raises(SpecError, match="transform="):
        loaders_with(np.arange(10), transform=lambda batch, generator: returned(batch))


@pytest.mark.parametrize("mean", [["a"], [float("nan")] * 3, [[0.1, 0.2, 0.3]]])
def test_constants_that_are_no_numbers_are_refused(mean):
    with pytest.raises(SpecError, match="mean="):
        loaders_with(np.arange(10), mean=mean)


def test_a_constant_may_be_one_number_or_a_tensor():
    for mean in (0.5, np.array([0.5] * 3), __import__("torch").tensor([0.5] * 3)):
        x, _ = next(iter(loaders_with(np.arange(10), mean=mean).train))
        assert (x == -0.5).all()


def test_a_small_share_of_a_few_samples_is_one_of_them():
    train, val = loaders_with(np.arange(10), val=0.01)
    assert (train.n_samples, val.n_samples) == (9, 1)


def test_a_batch_larger_than_the_data_takes_no_memory_for_it():
    (train,) = from_arrays(
        {"train": (np.zeros((10, 8, 8, 3), np.uint8), np.arange(10))}, batch_size=10**12, device="cpu"
    )
    assert len(next(iter(train))[0]) == 10


@pytest.mark.parametrize(("n", "is_refused"), [(3, True), (4, True), (5, False)])
def test_few_planes_before_a_long_last_axis_are_channels_that_come_first(n, is_refused):
    images = np.zeros((8, n, 6, 6), np.uint8)
    if is_refused:
        with pytest.raises(SpecError, match="channels first"):
            from_arrays({"train": (images, np.arange(8) % 2)}, batch_size=4, device="cpu")
    else:  # 5 rows of 6 pixels with 6 channels
        assert from_arrays({"train": (images, np.arange(8) % 2)}, batch_size=4, device="cpu", test=0).train


def test_a_sample_of_arrays_is_its_picture_and_its_label_as_they_are():
    images, labels = digits(5)
    (train,) = from_arrays({"train": (images, labels)}, batch_size=4, device="cpu")
    picture, label = train.dataset[3]
    assert (np.asarray(picture) == images[3]).all()
    assert label == labels[3]


@pytest.mark.parametrize(("kind", "advice"), [(np.float32, "For series"), (np.uint16, "uint8, from 0 to 255")])
def test_numbers_that_are_no_pictures_are_refused_with_what_they_may_be(kind, advice):
    with pytest.raises(SpecError, match=advice):
        from_arrays({"train": (np.zeros((4, 8, 8), kind), np.arange(4))}, batch_size=4, device="cpu")


@pytest.mark.parametrize("is_tensor", [False, True])
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([0, 7, 255], np.int64), [0, 7, 255]),
        (np.array([0, 7, 255], np.int32), [0, 7, 255]),
        (np.array([0.0, 7.2, 254.6], np.float32), [0, 7, 255]),
        (np.array([0.0, 0.5, 1.0], np.float64), [0, 128, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([0, 30000, 32767], np.int16), [0, 233, 255]),
        (np.array([-128, 0, 127], np.int8), [0, 128, 255]),
        (np.array([0, 1, 1], np.int8), [0, 255, 255]),
        (np.array([-1.0, 0.0, 1.0], np.float32), [0, 128, 255]),
        (np.array([0.0, np.nan, 1.0], np.float32), [0, 0, 255]),
        (np.array([-np.inf, 7.2, np.inf]), [0, 7, 0]),
        (np.array([-1.0, np.nan, 1.0]), [0, 128, 255]),
        (np.array([300, 300, 300], np.int16), [0, 0, 0]),
    ],
)
def test_pixels_of_another_type_are_refused_with_the_line_that_makes_bytes_of_them(values, wanted, is_tensor):
    images = np.tile(values, (4, 8, 8, 1))
    images = torch.from_numpy(images) if is_tensor else images
    with pytest.raises(SpecError, match="uint8, from 0 to 255") as caught:
        from_arrays({"train": (images, np.arange(4))}, batch_size=4, device="cpu")
    step = caught.value.remedy[-1].removeprefix("Next: ").removesuffix(".")
    before, _, last = step.rpartition("; ")
    known = {"images": images}
    exec(before, known)
    made = eval(last, known)
    assert made.reshape(-1, 3)[0].tolist() == wanted
    assert images_of("train", made).dtype == np.uint8


def test_the_line_that_makes_bytes_stretches_every_part_alike():
    parts = {
        part: np.tile(np.array(of, np.float32), (4, 8, 8, 1))
        for part, of in (("train", (-1, 0, 1)), ("test", (-3, 0, 0.5)))
    }
    with pytest.raises(SpecError, match="Every part by the same line") as caught:
        from_arrays({part: (images, np.arange(4)) for part, images in parts.items()}, batch_size=4, device="cpu")
    line = caught.value.remedy[-1].removeprefix("Next: ").removesuffix(".")
    assert eval(line, {"images": parts["test"]})[0, 0, 0].tolist() == [0, 128, 191]


@pytest.mark.parametrize("is_tensor", [False, True])
def test_channels_first_are_refused_with_the_line_that_puts_them_last(is_tensor):
    images = np.zeros((4, 3, 8, 8), np.uint8)
    images = torch.from_numpy(images) if is_tensor else images
    with pytest.raises(SpecError, match="channels first") as caught:
        images_of("train", images)
    line = caught.value.remedy[-1].removeprefix("Next: pass ").partition(", which")[0]
    assert eval(line, {"images": images}).shape == (4, 8, 8, 3)


@pytest.mark.parametrize("names", [("test",), ("train", "odd"), ("odd",)])
def test_parts_have_the_names_that_they_may_have_and_train_is_one(names):
    with pytest.raises(SpecError, match="splits are named train, val and test"):
        from_arrays(dict.fromkeys(names, digits()), batch_size=4, device="cpu")


def test_room_on_the_device_is_asked_for_by_the_shape_of_one_image(monkeypatch):
    shapes = set()
    monkeypatch.setattr("datastage.batches.arrays.has_room", lambda _, shape, *more: shapes.add(shape))
    list(loaders_of(10).train)
    assert shapes == {(3, 8, 8)}
