"""A loader's batches for people who train in JAX, Keras or TensorFlow: images channels last, as those have them."""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.batches.arrays import ArraySource
from datastage.batches.loader import Loader
from datastage.batches.ranks import world
from datastage.batches.to_device import mapped
from datastage.errors import SpecError, needing


class Frames:
    """A loader seen through another library: each ``iter()`` is an epoch of ``(x, y)``, or ``(x, y, weight)``."""

    def __init__(self, loader: Loader, convert: Callable[[NDArray[Any]], Any], pad: bool) -> None:
        self.loader, self.pad, self._convert = loader, pad, convert

    def __len__(self) -> int:
        return len(self.loader) if self.pad else own_batches(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in arrays_of(self.loader, self.pad):
            yield tuple(self._convert(array) for array in batch)


def own_batches(loader: Loader) -> int:
    """Return how many batches hold a sample of this rank's: of an evaluation's last step it may have none."""
    here, count = world(), len(loader)
    if loader.training or loader.n_samples is None:
        return count
    left = loader.n_given - (count - 1) * loader.batch_size * here.size
    return count - (here.rank * -(-left // here.size) >= left)


def arrays_of(loader: Loader, pad: bool) -> Iterator[tuple[NDArray[Any], ...]]:
    """Give a loader's batches as arrays: without what pads them, or all of one size and with the weight of each row."""
    for x, y in loader:
        images = x.numpy().transpose(0, 2, 3, 1) if x.ndim == 4 else x.numpy()
        targets = y.numpy() if hasattr(y, "numpy") else np.array(y)
        n, _ = loader.given
        images, targets = images[:n], targets[:n]
        if not pad:
            if n:
                yield images, targets
            continue
        if n < loader.batch_size:
            # Samples again, since nothing that a model does may fail on them; zeros if there are none at all.
            again = np.arange(loader.batch_size) % max(1, n)
            images, targets = (
                a[again] if n else np.zeros((len(again), *a.shape[1:]), a.dtype) for a in (images, targets)
            )
        yield images, targets, (np.arange(loader.batch_size) < n).astype(np.float32)


def as_numpy(loader: Loader, *, pad: bool = False) -> Frames:
    """Give a loader's batches as numpy arrays, images (B, H, W, C). Each sample comes once; the last batch is short.

    Parameters
    ----------
    loader : Loader
        Of ``device="cpu"``, or one that has not chosen yet. It stays on the CPU from now on.
    pad : bool
        Give ``(x, y, weight)`` of one shape throughout, for a TPU or ``jit``, which compile for each new one. `weight`
        is float32 (B,), 0 where a row only pads the batch. Such a row repeats a sample and its label.

    Raises
    ------
    SpecError
        If the loader is on another device, gives bfloat16, which numpy has not, or is a feed of the user's own dataset,
        which decides the form of its batches itself.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches.arrays import from_arrays
    >>> (train,) = from_arrays({"train": (np.zeros((6, 32, 32, 3), np.uint8), np.arange(6))}, batch_size=4)
    >>> [x.shape for x, y in as_numpy(train)]
    [(4, 32, 32, 3), (2, 32, 32, 3)]
    >>> [weight.tolist() for x, y, weight in as_numpy(train, pad=True)]
    [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    """
    _on_cpu(loader, pad)
    return Frames(loader, lambda array: array, pad)


def as_jax(loader: Loader, sharding: Any = None, *, pad: bool = False) -> Frames:
    """Give a loader's batches as JAX arrays.

    Parameters
    ----------
    loader : Loader
        As for `as_numpy`.
    sharding : jax.sharding.Sharding or jax.Device, optional
        Where they go, as for ``jax.device_put``. Over several devices each batch must divide by their number: ask for
        ``pad=True``, or for ``drop_last=True`` when the loader is made.
    pad : bool
        As for `as_numpy`.

    Raises
    ------
    MissingDependencyError
        If JAX is not installed.
    SpecError
        As for `as_numpy`.
    """
    with needing("as_jax", "JAX", "Next: install it, or as_numpy(loader), which works without."):
        import jax
    _on_cpu(loader, pad)
    # On a CPU JAX may take the memory as its own without a copy. It then holds on to it, and a loader gives memory that
    # is held to nobody else.
    return Frames(loader, lambda array: jax.device_put(np.ascontiguousarray(array), sharding), pad)


def as_tf(loader: Loader, *, pad: bool = False) -> Any:
    """Give a loader's batches as a ``tf.data.Dataset``, which Keras takes.

    Parameters
    ----------
    loader, pad
        As for `as_numpy`.

    Raises
    ------
    MissingDependencyError
        If TensorFlow is not installed.
    SpecError
        As for `as_numpy`.
    """
    with needing("as_tf", "TensorFlow", "Next: install it, or as_numpy(loader), which works without."):
        import tensorflow as tf
    frames = as_numpy(loader, pad=pad)
    first = next(arrays_of(_unmoved(loader), True))[: 3 if pad else 2]
    signature = tuple(
        tf.TensorSpec((a.shape[0] if pad else None, *a.shape[1:]), tf.string if a.dtype.kind in "US" else a.dtype)
        for a in first
    )
    # TensorFlow may keep an array's memory without telling; a copy of each is its own.
    dataset = tf.data.Dataset.from_generator(
        lambda: (tuple(a.copy() for a in batch) for batch in frames), output_signature=signature
    )
    # Of photos a batch may be left out, if none of it can be read; and what goes on in the middle is shorter.
    if not loader.next_batch and (pad or isinstance(loader.source, ArraySource)):
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(frames)))
    return dataset.prefetch(1)


def _unmoved(loader: Loader) -> Loader:
    """Return a copy of the loader: what is taken of it takes nothing of the loader's epochs."""
    same = copy.copy(loader)
    same.epochs = deque(maxlen=1)
    return same


def _on_cpu(loader: Loader, pad: bool) -> None:
    if loader.name == "feed":
        raise SpecError("A feed of your own dataset has batches of its own form; convert them where you use them.")
    loader.stay_on_cpu()
    loader.keeps_empty = pad


@functools.cache
def keras_loader(kind: type[Loader] = Loader) -> type[Loader]:
    """Return the class of loaders that Keras 3 takes: one that is one of its own data adapters too."""
    from keras import config
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter

    class KerasLoader(kind, DataAdapter):  # type: ignore[misc,valid-type]
        """A `Loader` that gives each trainer of Keras an epoch of its kind of batches, without rows that pad them.

        Images come in the order of axes that Keras is set to; what `feed` was given decides its own.
        """

        def get_torch_dataloader(self) -> Iterator[Any]:
            turned = self.name != "feed" and config.image_data_format() == "channels_last"
            for batch in self:
                n, rows = self.given
                if turned and batch[0].ndim == 4:
                    batch = (batch[0].permute(0, 2, 3, 1), *batch[1:])
                if n:
                    yield batch if n == rows else mapped(batch, functools.partial(_first, n, rows))

        def get_numpy_iterator(self) -> Iterator[Any]:
            return (mapped(batch, lambda tensor: tensor.cpu().numpy()) for batch in self.get_torch_dataloader())

        get_jax_iterator = get_numpy_iterator  # from there Keras puts them on its devices

        def get_tf_dataset(self) -> Any:
            if self.name != "feed":
                return as_tf(self)
            import tensorflow as tf

            first = next(_unmoved(self).get_numpy_iterator())
            of = tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), first)
            return tf.data.Dataset.from_generator(self.get_numpy_iterator, output_signature=of).prefetch(1)

        @property
        def num_batches(self) -> int | None:
            return own_batches(self) if self.n_samples is not None else None

        def __reduce__(self) -> Any:
            return _rebuilt, (kind, self.__getstate__())

    return KerasLoader


def _first(n: int, rows: int, tensor: Any) -> Any:
    return tensor[:n] if tensor.ndim and len(tensor) == rows else tensor


def _rebuilt(kind: type[Loader], state: dict[str, Any]) -> Loader:
    """Make a copied or pickled loader anew: its class has no name that pickle would find."""
    loader: Loader = object.__new__(keras_loader(kind))  # type: ignore[arg-type]
    loader.__dict__.update(state)
    return loader
