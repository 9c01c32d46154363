"""How fast a feed is on this machine, beside a plain DataLoader over the same samples."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from datastage.batches.arrays import ArraySource
from datastage.batches.loader import Loaders
from datastage.batches.photos import PhotoSource
from datastage.batches.pixel_cache import BAD
from datastage.runtime import current


@dataclass(frozen=True, slots=True)
class Row:
    """One way of feeding, timed; the share of cores counts worker processes too."""

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
    """Time the training loader for about so many seconds, and plain DataLoaders over the same samples.

    An epoch in which photos are decoded is run to its end, and has a row of its own.
    """
    from torch.utils.data import DataLoader

    train, source = loaders.train, loaders.train.source
    rows, samples = [], None
    if isinstance(source, PhotoSource):
        if not source.cache.whole:
            rows.append(_timed("this feed, first epoch: photos are decoded", lambda: train, seconds, epochs=1))
        samples = Samples(partial(_decoded, source), source.labels, train.augment)
    elif isinstance(source, ArraySource) and source.images.ndim == 4:
        samples = Samples(source.images.__getitem__, source.labels, train.augment)
    rows.append(_timed("this feed, later epochs" if rows else "this feed", lambda: train, seconds))
    for workers in (0, current().cores) if samples is not None else ():
        plain: Any = DataLoader(samples, train.batch_size, shuffle=True, num_workers=workers)  # type: ignore[arg-type]
        name = f"a DataLoader, {workers} workers, sample by sample"
        rows.append(_timed(name, lambda plain=plain: plain, seconds))  # type: ignore[misc]
    return tuple(rows)


def _timed(name: str, make: Callable[[], Iterable[Any]], seconds: float, epochs: int | None = None) -> Row:
    import torch

    def finish() -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()

    began, cpu = time.perf_counter(), sum(os.times()[:4])
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
    return Row(name, first, images / took, (sum(os.times()[:4]) - cpu) / (took + first))


@dataclass(frozen=True)
class Samples:
    """A plain torch dataset: one uint8 image (C, H, W) a call, augmented and brought to 0 to 1 on its own."""

    picture: Callable[[int], Any]
    labels: Any
    augment: Any

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        import torch
        from torch.nn.functional import pad

        image = torch.from_numpy(self.picture(i)).float().div(255)
        crop = self.augment.crop if self.augment is not None else 0
        if crop:
            height, width = image.shape[1:]
            down, across = torch.randint(0, 2 * crop + 1, (2,)).tolist()
            image = pad(image, (crop,) * 4, "reflect")[:, down : down + height, across : across + width]
        if self.augment is not None and self.augment.flip and torch.rand(()) < 0.5:
            image = image.flip(2)
        return image, int(self.labels[i])


def _decoded(source: PhotoSource, i: int) -> Any:
    """Return a photo decoded by Pillow, its middle resized; black where that cannot be."""
    from PIL import Image

    cache, at, (height, width) = source.cache, int(source.at[i]), source.size
    if cache.state[at] == BAD:
        return np.zeros((3, height, width), np.uint8)
    image = Image.open(io.BytesIO(cache.images.read(cache.names[at]))).convert("RGB")
    least = min(image.size)
    left, top = (image.width - least) // 2, (image.height - least) // 2
    box = (left, top, left + least, top + least)
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1).copy()
