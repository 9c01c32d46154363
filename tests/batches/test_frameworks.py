import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import numpy as np
import pytest

from datastage.batches import as_numpy, as_tf, feed, from_arrays, from_folder
from datastage.errors import SpecError


def splits(n=22):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 6, 3), np.uint8)
    return {"train": (images, np.arange(n)), "test": (images, np.arange(n))}


def test_images_come_channels_last_and_as_they_are():
    _, test = from_arrays(splits(), batch_size=11, dtype="uint8")
    given = np.concatenate([x for x, _ in as_numpy(test)])
    assert (given == splits()["test"][0]).all()


def test_training_leaves_out_what_does_not_fill_a_batch():
    train, _ = from_arrays(splits(), batch_size=8)
    frames = as_numpy(train)
    assert [x.shape for x, _ in frames] == [(8, 8, 6, 3)] * 2
    assert len(frames) == 2


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 5])
@pytest.mark.parametrize("n", [9, 16, 17, 23])
def test_each_rank_gives_as_many_batches_of_one_shape_as_it_says(monkeypatch, n, batch_size, size):
    given = {"train": set(), "test": set()}
    for rank in range(size):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}.items():
            monkeypatch.setenv(name, str(value))
        for loader in from_arrays(splits(n), batch_size=batch_size):
            if loader.name == "train" and n // size < batch_size:
                continue  # no rank has a whole batch, which the test below is of
            frames = as_numpy(loader)
            shapes = [len(y) for _, y in frames]
            assert shapes == [batch_size] * len(frames)
            given[loader.name].add(len(shapes))
    assert given["train"] == {n // size // batch_size} - {0}
    assert len(given["test"]) == 1


def test_training_on_less_than_a_batch_is_an_error_that_names_a_size():
    train, _ = from_arrays(splits(), batch_size=64)
    with pytest.raises(SpecError, match="batch_size=22"):
        next(iter(as_numpy(train)))


def test_a_photo_that_cannot_be_read_is_a_row_of_padding(grey_photos):
    (grey_photos / "class1" / "3.png").write_bytes(b"no image")
    frames = as_numpy(from_folder(grey_photos, batch_size=4, size=8, test=0).train)
    labels = [y for _, y in frames]
    assert [len(y) for y in labels] == [4] * len(frames) == [4, 4]
    assert sorted(np.concatenate(labels)) == [-100] + [0] * 4 + [1] * 3


def test_evaluation_fills_the_last_batch_with_labels_below_0():
    _, test = from_arrays(splits(), batch_size=8)
    labels = [y for _, y in as_numpy(test)]
    assert labels[-1].tolist() == [16, 17, 18, 19, 20, 21, -100, -100]


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
        from datastage.batches import as_jax, from_arrays
        images = np.random.default_rng(0).integers(0, 256, (22, 8, 6, 3), np.uint8)
        train, test = from_arrays({"train": (images, np.arange(22)), "test": (images, np.arange(22))}, batch_size=8,
                                  dtype="uint8")
        mesh = jax.make_mesh((4,), ("batch",))
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
        held = list(as_jax(test, sharding))
        assert len(held[0][0].sharding.device_set) == 4
        assert (np.concatenate([np.asarray(x) for x, _ in held])[:22] == images).all()
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
    assert [x.shape.as_list() for x, _ in dataset] == [[8, 8, 6, 3]] * 3
    assert np.allclose(next(iter(dataset))[0].numpy() * 255, splits()["test"][0][:8], atol=1e-3)
    assert len(as_tf(train)) == 2
