"""A loader that Keras 3 takes as it is: ``model.fit(train)``. Made instead of a plain one once Keras was imported."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from datastage.batches.loader import Loader


@functools.cache
def keras_loader() -> type[Loader]:
    """Return the class, which is one of Keras' own data adapters: it takes no others."""
    from keras import config
    from keras.src.trainers.data_adapters.data_adapter import DataAdapter

    class KerasLoader(Loader, DataAdapter):  # type: ignore[misc]
        """A `Loader` that is one of Keras' data adapters too: it gives each library's trainer batches of its own kind.

        Images come in the order of axes that Keras is set to, and rows that pad a batch are left out.
        """

        def _axes(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1) if x.ndim == 4 and config.image_data_format() == "channels_last" else x

        def get_torch_dataloader(self) -> Any:
            """Return the batches of the next epoch, as tensors on the device."""
            return KerasEpoch(self)

        def get_numpy_iterator(self) -> Iterator[Any]:
            """Return the batches of the next epoch, as arrays."""
            for x, y in KerasEpoch(self):
                yield x.cpu().numpy(), y.cpu().numpy() if hasattr(y, "cpu") else y

        get_jax_iterator = get_numpy_iterator  # from there Keras puts them on its devices

        def get_tf_dataset(self) -> Any:
            """Return a ``tf.data.Dataset`` of the batches."""
            from datastage.batches.frameworks import as_tf

            return as_tf(self)

        def __reduce__(self) -> Any:
            return _rebuilt, (self.__getstate__(),)

        @property
        def num_batches(self) -> int | None:
            """Batches in an epoch; None if nobody knows."""
            return len(self) if self.n_samples is not None else None

        @property
        def has_partial_batch(self) -> bool:
            """Whether the last batch is short."""
            return bool(self.partial_batch_size)

        @property
        def partial_batch_size(self) -> int | None:
            """Rows of the short batch, 0 if there is none."""
            if self.n_samples is None:
                return None
            *_, last = self.steps()
            return 0 if last.valid == self.batch_size else last.valid

        def on_epoch_begin(self) -> None:
            """Do nothing: an epoch begins with its first batch."""

        def on_epoch_end(self) -> None:
            """Do nothing: an epoch ends with its last batch."""

    return KerasLoader


def _rebuilt(state: dict[str, Any]) -> Loader:
    """Make a copied or pickled loader anew: its class has no name that pickle would find."""
    made = keras_loader()
    loader: Loader = object.__new__(made)
    loader.__dict__.update(state)
    return loader


class KerasEpoch:
    """The next epoch each time it is iterated, without rows that pad a batch."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        loader = self._loader
        for x, y in loader:
            n, rows = loader.given
            if n:
                yield (loader._axes(x), y) if n == rows else (loader._axes(x)[:n], y[:n])
