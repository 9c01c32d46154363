"""How fast a feed is on this machine, beside a plain DataLoader over the same samples.

Here: `bench`, which times, and `Row`, what it found. Not here: printing a table (`show`), the claims (benchmarks/).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datastage.batches.arrays import ArraySource
from datastage.batches.photos import PhotoSource
from datastage.batches.pixel_cache import BAD
from datastage.runtime import current

if TYPE_CHECKING:
    from datastage.batches.loader import Loaders


@dataclass(frozen=True, slots=True)
class Row:
    """One way of feeding, timed.

    Attributes
    ----------
    name : str
        What was timed.
    first_batch_s : float
        Seconds until the first batch.
    images_per_s : float
        Images a second after that.
    cpu_share : float
        Seconds of processor time for each second, worker processes included.
    """

    name: str
    first_batch_s: float
    images_per_s: float
    cpu_share: float

    def __str__(self) -> str:
        return (
            f"{self.name:<44} first batch {self.first_batch_s:7.3f} s   {self.images_per_s:>11,.0f} images/s   "
            f"{self.cpu_share:4.1f} cores"
        )


def bench(loaders: Loaders, *, seconds: float = 3.0) -> tuple[Row, ...]:
    """Time the training loader, and a plain DataLoader over the same samples.

    Parameters
    ----------
    loaders : Loaders
        What to time. Its epochs are counted on.
    seconds : float
        About how long each way is run; longer where the first epoch has photos to decode, which is run to its end.

    Returns
    -------
    tuple of Row
        The loader first, its first epoch on its own where photos are decoded; then plain DataLoaders.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches import from_arrays
    >>> made = from_arrays({"train": (np.zeros((64, 8, 8, 3), np.uint8), np.arange(64))}, batch_size=16, device="cpu")
    >>> [row.name for row in bench(made, seconds=0.01)][0]
    'this feed'
    """
    train = loaders.train
    source = train.source
    rows = []
    samples: Any = None
    if isinstance(source, PhotoSource):
        if not source.cache.whole:
            rows.append(_timed("this feed, first epoch: photos are decoded", lambda: train, seconds, epochs=1))
        samples = Photos(source, train.augment)
    elif isinstance(source, ArraySource) and source.images.ndim == 4:
        samples = Samples(source.images, source.labels, train.augment)
    rows.append(_timed("this feed, later epochs" if rows else "this feed", lambda: train, seconds))
    if samples is not None:
        from torch.utils.data import DataLoader

        for workers in (0, current().cores):
            plain: Any = DataLoader(samples, train.batch_size, shuffle=True, num_workers=workers)
            name = f"a DataLoader, {workers} workers, sample by sample"
            rows.append(_timed(name, lambda plain=plain: plain, seconds))  # type: ignore[misc]
    return tuple(rows)


def _timed(name: str, make: Callable[[], Iterable[Any]], seconds: float, epochs: int | None = None) -> Row:
    import torch

    def finish() -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()

    began, cpu = time.perf_counter(), _cpu_s()
    first, images, done, at_once = 0.0, 0, 0, 0
    while done != epochs:
        n, done = 0, done + 1
        for _, labels in make():
            n += 1
            if not first:
                finish()
                first, at_once = time.perf_counter() - began, len(labels)
                continue
            images += len(labels)
            if epochs is None and time.perf_counter() - began - first > seconds:
                break
        if not n or time.perf_counter() - began - first > seconds:  # else an epoch was shorter than the time to measure
            break
    finish()
    took = max(time.perf_counter() - began - first, 1e-9)
    if not images:  # an epoch of one batch that there is only once
        images, took = at_once, max(first, 1e-9)
    return Row(name, first, images / took, (_cpu_s() - cpu) / (took + first))


def _cpu_s() -> float:
    import os

    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class Samples:
    """Arrays as a plain torch dataset: one image a call, augmented and normalised on its own."""

    images: Any
    labels: Any
    augment: Any

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        import torch
        from torch.nn.functional import pad

        image = torch.from_numpy(self.images[i]).float().div(255)
        crop = self.augment.crop if self.augment is not None else 0
        if crop:
            height, width = image.shape[1:]
            down, across = torch.randint(0, 2 * crop + 1, (2,)).tolist()
            image = pad(image, (crop,) * 4, "reflect")[:, down : down + height, across : across + width]
        if self.augment is not None and self.augment.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return image, int(self.labels[i])


@dataclass(frozen=True)
class Photos:
    """Photos as a plain torch dataset: each decoded by Pillow, its middle resized, and mirrored on its own."""

    source: PhotoSource
    augment: Any

    def __len__(self) -> int:
        return len(self.source.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        import numpy as np
        import torch
        from PIL import Image

        cache = self.source.cache
        height, width = self.source.size
        label = int(self.source.labels[i])
        at = int(self.source.at[i])
        if cache.state[at] == BAD:
            return torch.zeros((3, height, width)), label
        image = Image.open(io.BytesIO(cache.images.read(cache.names[at]))).convert("RGB")
        least = min(image.size)
        left, top = (image.width - least) // 2, (image.height - least) // 2
        box = (left, top, left + least, top + least)
        pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)
        if self.augment is not None and self.augment.flip and torch.rand(()) < 0.5:
            tensor = tensor.flip(2)
        return tensor, label
