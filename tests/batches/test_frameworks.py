import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import numpy as np
import pytest

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.frameworks import as_numpy, as_tf
from datastage.errors import SpecError
from tests.loaders_of import from_folder


def splits(n=22):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 6, 3), np.uint8)
    return {"train": (images, np.arange(n)), "test": (images, np.arange(n))}


def test_images_come_channels_last_and_as_they_are():
    _, test = from_arrays(splits(), batch_size=11, dtype="uint8")
    given = np.concatenate([x for x, _ in as_numpy(test)])
    assert (given == splits()["test"][0]).all()


def test_each_sample_comes_once_and_the_last_batch_is_short():
    for loader in from_arrays(splits(), batch_size=8):
        frames = as_numpy(loader)
        batches = list(frames)
        assert [x.shape for x, _ in batches] == [(8, 8, 6, 3)] * 2 + [(6, 8, 6, 3)]
        assert len(frames) == 3
        assert sorted(np.concatenate([y for _, y in batches])) == list(range(22))


def test_padded_batches_are_of_one_shape_and_say_what_each_row_counts():
    for loader in from_arrays(splits(), batch_size=8):
        frames = as_numpy(loader, pad=True)
        batches = list(frames)
        assert [x.shape for x, _, _ in batches] == [(8, 8, 6, 3)] * 3
        assert [weight.dtype for _, _, weight in batches] == [np.float32] * 3
        given = np.concatenate([y[weight > 0] for _, y, weight in batches])
        assert sorted(given) == list(range(22))
        x, y, weight = batches[-1]
        assert weight.tolist() == [1] * 6 + [0] * 2
        assert (x[6:] == x[:2]).all()
        assert (y[6:] == y[:2]).all()


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 5])
@pytest.mark.parametrize("n", [1, 2, 9, 16, 17, 23])
def test_the_ranks_give_each_sample_of_an_evaluation_once_and_no_label_to_be_ignored(
    monkeypatch, n, batch_size, size, pad
):
    given, lengths = [], set()
    for rank in range(size):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}.items():
            monkeypatch.setenv(name, str(value))
        frames = as_numpy(from_arrays(splits(n), batch_size=batch_size).test, pad=pad)
        batches = list(frames)
        for _, y, *weight in batches:
            assert not pad or len(y) == batch_size
            assert (y >= 0).all()
            given += (y[weight[0] > 0] if pad else y).tolist()
        assert len(batches) == len(frames)
        lengths.add(len(frames))
    assert sorted(given) == list(range(n))
    assert len(lengths) == 1 or not pad  # padded ones may be waited for


def test_a_photo_that_cannot_be_read_is_left_out_or_weighs_nothing(grey_photos):
    (grey_photos / "class1" / "3.png").write_bytes(b"no image")
    made = from_folder(grey_photos, batch_size=4, size=8, test=0, shuffle=False)
    assert [y.tolist() for _, y in as_numpy(made.train)] == [[0] * 4, [1] * 3]
    assert [weight.tolist() for *_, weight in as_numpy(made.train, pad=True)] == [[1] * 4, [1, 1, 1, 0]]


def test_a_loader_of_another_device_is_refused():
    train, _ = from_arrays(splits(), batch_size=8, device="cuda")
    with pytest.raises(SpecError, match="cuda"):
        as_numpy(train)


def test_bfloat16_is_refused():
    train, _ = from_arrays(splits(), batch_size=8, dtype="bfloat16")
    with pytest.raises(SpecError, match="bfloat16"):
        as_numpy(train)


def test_a_feed_of_the_users_own_form_is_refused():
    with pytest.raises(SpecError, match="own"):
        as_numpy(feed(list(range(10)), batch_size=2))


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_jax_gets_batches_spread_over_several_devices():
    script = """
        import jax, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec
        from datastage.batches.arrays import from_arrays
        from datastage.batches.frameworks import as_jax
        images = np.random.default_rng(0).integers(0, 256, (22, 8, 6, 3), np.uint8)
        train, test = from_arrays({"train": (images, np.arange(22)), "test": (images, np.arange(22))}, batch_size=8,
                                  dtype="uint8")
        mesh = jax.make_mesh((4,), ("batch",))
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
        held = list(as_jax(test, sharding, pad=True))
        assert len(held[0][0].sharding.device_set) == 4
        assert (np.concatenate([np.asarray(x) for x, _, _ in held])[:22] == images).all()
        (train,) = from_arrays({"train": (images, np.arange(22))}, batch_size=2, shuffle=False)
        held = [x for x, _ in as_jax(train)]
        assert np.allclose(np.concatenate([np.asarray(x) for x in held]) * 255, images, atol=1e-3)
        print("right")
    """
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "right", done.stderr


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_gets_a_dataset_that_begins_a_new_epoch_each_time():
    train, test = from_arrays(splits(), batch_size=8)
    dataset = as_tf(test)
    assert [x.shape.as_list() for x, _ in dataset] == [[8, 8, 6, 3]] * 2 + [[6, 8, 6, 3]]
    assert np.allclose(next(iter(dataset))[0].numpy() * 255, splits()["test"][0][:8], atol=1e-3)
    assert len(as_tf(train)) == 3
    assert [weight.numpy().sum() for *_, weight in as_tf(test, pad=True)] == [8, 8, 6]
