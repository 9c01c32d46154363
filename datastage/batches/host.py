"""Batches cut, mirrored and normalised by the CPU, in numpy, from a dataset held whole in memory as uint8.

Here: `HostStore`, which gives uint8 batches, and `Normalise`, which makes floats of them. numpy and one thread on
purpose: torch's threads inside an operation wait for each other, and where another process holds a core the same epoch
takes ten times as long. Not here: GPUs (`resident`), photos (`packed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datastage.batches.augment import Augment, Draws
from datastage.batches.pool import Pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HostStore:
    """Images in memory, channels first, and batches of them.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, C, H, W)
        Held as it is, never copied or changed.
    augment : Augment or None
        What the numbers given to `batch` mean.
    fill : ndarray of uint8, shape (C,)
        What cutout sets its square to.
    """

    def __init__(self, images: NDArray[np.uint8], augment: Augment | None, fill: NDArray[np.uint8]) -> None:
        self._images, self._augment, self._fill = images, augment, fill

    def batch(self, samples: NDArray[np.int64], draws: Draws, out: NDArray[np.uint8]) -> None:
        """Write the batch into `out`, uint8 of shape (len(samples), C, H, W)."""
        import numpy as np

        images, augment = self._images, self._augment
        height, width = images.shape[2:]
        if draws.shift is None or augment is None:
            np.take(images, samples, axis=0, out=out, mode="clip")
        else:
            crop = augment.crop
            edge = [(0, 0), (0, 0), (crop, crop), (crop, crop)]
            padded = np.pad(images[samples], edge, "reflect" if augment.pad == "reflect" else "constant")
            windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
            rows = np.arange(len(samples))
            out[:] = windows[rows, :, draws.shift[:, 0], draws.shift[:, 1]]
        if draws.flip is not None:
            out[draws.flip] = out[draws.flip][..., ::-1]
        if draws.cutout is not None and augment is not None:
            cut(out, draws.cutout, augment.cutout, self._fill)


def cut(images: NDArray[np.uint8], centres: NDArray[np.int32], side: int, fill: NDArray[np.uint8]) -> None:
    """Set one square of each image (N, C, H, W) to `fill`, in place; what falls outside is left out."""
    height, width = images.shape[2:]
    top, left = (centres - side // 2).T.tolist()
    for image, y, x in zip(images, top, left):
        image[:, max(y, 0) : min(y + side, height), max(x, 0) : min(x + side, width)] = fill[:, None, None]


class Normalise:
    """uint8 (B, C, H, W) to normalised float32 of the same shape, in numpy.

    Parameters
    ----------
    mean, std : sequence of float, or None
        Per channel, for intensities from 0 to 1. None: intensities from 0 to 1.
    """

    def __init__(self, mean: Any, std: Any, channels: int) -> None:
        import numpy as np

        mean = np.zeros(channels) if mean is None else np.asarray(mean, np.float64)
        std = np.ones(channels) if std is None else np.asarray(std, np.float64)
        self.scale = (1 / (255 * std)).astype(np.float32).reshape(-1, 1, 1)
        self.shift = (-mean / std).astype(np.float32).reshape(-1, 1, 1)

    def __call__(self, images: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write ``(images / 255 - mean) / std`` into `out`."""
        import numpy as np

        np.multiply(images, self.scale, out=out, dtype=np.float32)
        np.add(out, self.shift, out=out)


def pool_of(shape: tuple[int, ...], dtype: Any, *, reuse: bool) -> Pool:
    """Return the pool that a loader's batches come from."""
    return Pool(shape, dtype, keep=2, always=reuse)
