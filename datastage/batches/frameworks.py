"""A loader's batches for people who train in JAX, Keras or TensorFlow.

Here: `as_numpy`, `as_jax`, `as_tf`. Images come channels last, (B, H, W, C), as those libraries have them, and every
batch has the same shape, since each new one would be compiled anew: training leaves out what does not fill a batch, and
what then is missing still (the end of an evaluation, photos that cannot be read) is zeros labelled -100: ``y >= 0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from datastage.batches.to_device import filled
from datastage.errors import MissingDependencyError, SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datastage.batches.loader import Loader


class Frames:
    """A loader seen through another library: each ``iter()`` is an epoch of ``(x, y)``.

    Parameters
    ----------
    loader : Loader
        What makes the batches.
    convert : callable
        From one numpy array to the library's own.
    """

    def __init__(self, loader: Loader, convert: Any) -> None:
        self.loader, self._convert = loader, convert

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for x, y in self.loader:
            images = x.numpy().transpose(0, 2, 3, 1) if x.ndim == 4 else x.numpy()
            labels = y.numpy()
            if len(labels) < self.loader.batch_size:
                images, labels = filled(images, labels, self.loader.batch_size)
            yield self._convert(images), self._convert(labels)


def as_numpy(loader: Loader) -> Frames:
    """Give a loader's batches as numpy arrays.

    Parameters
    ----------
    loader : Loader
        Of ``device="cpu"``, or one that has not chosen yet. It stays on the CPU from now on, and if it is for training
        it leaves out what does not fill a batch.

    Raises
    ------
    SpecError
        If the loader is on another device, gives bfloat16, which numpy has not, or is a feed of the user's own dataset,
        which decides the form of its batches itself.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches import from_arrays
    >>> (train,) = from_arrays({"train": (np.zeros((8, 32, 32, 3), np.uint8), np.arange(8))}, batch_size=4)
    >>> next(iter(as_numpy(train)))[0].shape
    (4, 32, 32, 3)
    """
    _on_cpu(loader)

    def convert(array: NDArray[Any]) -> NDArray[Any]:
        return array

    return Frames(loader, convert)


def as_jax(loader: Loader, sharding: Any = None) -> Frames:
    """Give a loader's batches as JAX arrays.

    Parameters
    ----------
    loader : Loader
        As for `as_numpy`.
    sharding : jax.sharding.Sharding or jax.Device, optional
        Where they go, as for ``jax.device_put``; over several devices the batch size must divide by their number.

    Raises
    ------
    MissingDependencyError
        If JAX is not installed.
    SpecError
        As for `as_numpy`.
    """
    try:
        import jax
    except ImportError as error:
        raise MissingDependencyError("JAX is not installed here.", "as_numpy(loader) works without it.") from error
    _on_cpu(loader)

    def convert(array: NDArray[Any]) -> Any:
        # On a CPU JAX may take the memory as its own without a copy. It then holds on to it, and a loader gives memory
        # that is held to nobody else.
        import numpy as np

        return jax.device_put(np.ascontiguousarray(array), sharding)

    return Frames(loader, convert)


def as_tf(loader: Loader) -> Any:
    """Give a loader's batches as a ``tf.data.Dataset``, which Keras takes.

    Parameters
    ----------
    loader : Loader
        As for `as_numpy`.

    Raises
    ------
    MissingDependencyError
        If TensorFlow is not installed.
    SpecError
        As for `as_numpy`.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependencyError(
            "TensorFlow is not installed here.", "as_numpy(loader) works without it."
        ) from error
    frames = as_numpy(loader)
    state = loader.state_dict()
    x, y = next(iter(frames))
    loader.load_state_dict(state)
    signature = tuple(tf.TensorSpec(a.shape, a.dtype) for a in (x, y))
    # TensorFlow may keep an array's memory without telling; a copy of each is its own.
    dataset = tf.data.Dataset.from_generator(
        lambda: ((a.copy(), b.copy()) for a, b in frames), output_signature=signature
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(len(frames))).prefetch(1)


def _on_cpu(loader: Loader) -> None:
    if loader.name == "feed":
        raise SpecError("A feed of your own dataset has batches of its own form; convert them where you use them.")
    loader.stay_on_cpu()
    # Of an epoch cut so, every rank has as many batches, each of them whole. Were short ones left out here instead, one
    # rank would have other numbers of them than the next.
    loader._drop_last = loader._drop_last or loader.training
