"""Batches cut and mirrored on the accelerator, from images held whole in its memory as uint8."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datastage.batches.augment import Augment, Draws
from datastage.batches.batch_ops import resized
from datastage.batches.cpu_augment import lines_of_shifts
from datastage.batches.to_device import sent

COPIED_AT_ONCE = 64 << 20


class ResidentStore:
    """Images (N, C, H, W) of uint8 on a device, and batches of them. `fill` is what cutout sets its square to.

    Crop, reflection and flip are tables: which row of the picture, and which column, each pixel of a shift comes from.
    A batch is one `index_select` of rows and one `gather` along them. One index with four tensors would do both, but
    CUDA writes each of those out first: 32 bytes a pixel (aten/src/ATen/native/TensorAdvancedIndexing.cpp).
    """

    def __init__(
        self, images: NDArray[np.uint8], augment: Augment | None, fill: NDArray[np.uint8], device: Any
    ) -> None:
        n, channels, height, width = images.shape
        crop = 0 if augment is None else augment.crop
        self._augment, self._device, self._shape, self._crop = augment, device, (channels, height, width), crop
        self.images = torch.empty(images.shape, dtype=torch.uint8, device=device)
        self._rows = self.images.view(-1, width)
        block = max(1, COPIED_AT_ONCE // max(1, images[0].nbytes))
        for start in range(0, n, block):
            # A copy, since torch warns of arrays that it may not write to, as mapped ones are.
            part = np.array(images[start : start + block], order="C")
            self.images[start : start + block].copy_(torch.from_numpy(part))
        self._zero = augment is not None and augment.pad == "zero"
        kind = np.int32 if len(self._rows) < 2**31 else np.int64  # half the bytes, where that is enough
        self._fill = self._sent(fill.reshape(1, -1, 1, 1))
        self._row, self._column = self._sent(np.arange(height)), self._sent(np.arange(width))
        down, is_down = lines_of_shifts(height, crop)
        across, is_across = lines_of_shifts(width, crop)
        planes = np.arange(channels)[:, None] * height + down[:, None]
        self._down = self._sent(planes.reshape(len(down), -1).astype(kind))
        self._across = self._sent(np.concatenate([across, across[:, ::-1]]))
        self._is_down = self._sent(is_down)
        self._is_across = self._sent(np.concatenate([is_across, is_across[:, ::-1]]))
        self._kind = kind

    def batch(self, samples: torch.Tensor, draws: Any) -> Any:
        """Return the uint8 batch (len(samples), C, H, W); `samples` and `draws` are parts of what `epoch` gave."""
        augment, (channels, height, width) = self._augment, self._shape
        if draws.box is not None:
            images = resized(self.images.index_select(0, samples), draws.box, draws.flip, (height, width))
        elif draws.shift is None:
            images = self.images.index_select(0, samples)
        else:
            down, across, first = draws.shift
            rows = self._down.index_select(0, down) + first
            images = self._rows.index_select(0, rows.view(-1)).view(-1, channels, height, width)
            columns = self._across.index_select(0, across)[:, None, None, :]
            images = images.gather(3, columns.expand_as(images))
            if self._zero:
                inside = self._is_down.index_select(0, down)[:, None, :, None]
                images = images * (inside & self._is_across.index_select(0, across)[:, None, None, :])
        if draws.cutout is not None and augment is not None:
            first = draws.cutout - augment.cutout // 2
            row, column = self._row - first[:, :1], self._column - first[:, 1:]
            hole = ((row >= 0) & (row < augment.cutout))[:, None, :, None]
            hole = hole & ((column >= 0) & (column < augment.cutout))[:, None, None, :]
            images = torch.where(hole, self._fill, images)
        return images

    def epoch(self, samples: NDArray[np.int64], draws: Draws) -> tuple[torch.Tensor, Any]:
        """Return an epoch's samples and numbers as tensors on the device, sent without waiting for it."""
        if draws.box is None and (draws.shift is not None or draws.flip is not None):
            shift = np.zeros((len(samples), 2), np.uint8) if draws.shift is None else draws.shift
            flip = np.zeros(len(samples), bool) if draws.flip is None else draws.flip
            down, across = shift.astype(np.int32).T
            # What is mirrored after it was cut has its columns in reverse order: the second half of the table.
            across = across + (2 * self._crop + 1) * flip
            first = samples[:, None] * (self._shape[0] * self._shape[1])
            places: Any = Places(*(self._sent(a) for a in (down, across, first.astype(self._kind))))
            draws = replace(draws, shift=places, flip=None)
        parts: Any = (getattr(draws, name) for name in Draws.__slots__)
        moved: Any = (part if part is None or isinstance(part, Places) else self._sent(part) for part in parts)
        return self._sent(samples), Draws(*moved)

    def _sent(self, array: NDArray[Any]) -> torch.Tensor:
        tensor: torch.Tensor = sent(torch.from_numpy(np.ascontiguousarray(array)), self._device)
        return tensor


class Places(tuple[Any, ...]):
    """Rows of both tables, and the first row of each sample's picture: cut into batches as one."""

    def __new__(cls, *parts: Any) -> Places:
        return super().__new__(cls, parts)

    def __getitem__(self, part: Any) -> Any:
        return Places(*(tensor[part] for tensor in self))
