"""How fast a feed is on this machine, beside a plain DataLoader over the same samples.

Here: `bench`, which times, and `Row`, what it found. Not here: printing a table (`show`), the claims (benchmarks/).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datastage.batches.arrays import ArraySource
from datastage.batches.machine import cores

if TYPE_CHECKING:
    from datastage.batches.loader import Loader, Loaders


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
    """Time the training loader, and a plain DataLoader over the same samples where they are held as arrays.

    Parameters
    ----------
    loaders : Loaders
        What to time. Its epochs are counted on.
    seconds : float
        About how long each way is run; longer where the first epoch has photos to decode.

    Returns
    -------
    tuple of Row
        The loader first, and the ratio to it is the reader's.

    Examples
    --------
    >>> import numpy as np
    >>> from datastage.batches import from_arrays
    >>> made = from_arrays({"train": (np.zeros((64, 8, 8, 3), np.uint8), np.arange(64))}, batch_size=16, device="cpu")
    >>> [row.name for row in bench(made, seconds=0.01)][0]
    'this feed'
    """
    train = loaders.train
    rows = [_timed("this feed", lambda: train, seconds, train)]
    source = train.source
    if not isinstance(source, ArraySource):
        rows.append(_timed("this feed, later epochs", lambda: train, seconds, train))
        return tuple(rows)
    if source.images.ndim == 4:
        from torch.utils.data import DataLoader

        samples: Any = Samples(source.images, source.labels, train.augment)
        for workers in (0, cores()):
            plain: Any = DataLoader(samples, train.batch_size, shuffle=True, num_workers=workers)
            name = f"a DataLoader, {workers} workers, sample by sample"
            rows.append(_timed(name, lambda plain=plain: plain, seconds, None))  # type: ignore[misc]
    return tuple(rows)


def _timed(name: str, make: Callable[[], Iterable[Any]], seconds: float, loader: Loader | None) -> Row:
    import torch

    def finish() -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()

    began, cpu = time.perf_counter(), _cpu_s()
    first, images = 0.0, 0
    while True:
        n = 0
        for _, labels in make():
            n += 1
            if not first:
                finish()
                first = time.perf_counter() - began
                continue
            images += len(labels)
            if time.perf_counter() - began - first > seconds:
                break
        # A whole epoch may be shorter than the time to measure, and one batch is no measurement.
        if not n or time.perf_counter() - began - first > seconds or (n == 1 and not images):
            break
    finish()
    took = max(time.perf_counter() - began - first, 1e-9)
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
