"""What torch does to whole uint8 batches on any device: crops and flips of images held there, resizing, jitter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datastage.batches.augment import Augment, Draws, pixels_of
from datastage.batches.cpu_augment import lines_of_shifts
from datastage.batches.to_device import sent
from datastage.decode import Fit

COPIED_AT_ONCE = 64 << 20


def resized(images: Any, box: Any, flip: Any, size: tuple[int, int]) -> Any:
    """Cut a box, as `pixels_of` reads it, from uint8 images (B, C, H, W); mirror it, resize it bilinearly to `size`."""
    top, left, tall, wide = (pixels.long()[:, None] for pixels in pixels_of(box, *images.shape[2:]))

    def along(start: Any, side: Any, n: int) -> tuple[Any, Any, Any]:
        at = (torch.arange(n, dtype=torch.float32, device=images.device) + 0.5)[None] * (side.float() / n) - 0.5
        at = torch.minimum(at.clamp(min=0), (side - 1).float())
        low = at.floor().long()
        high = torch.minimum(low + 1, side - 1)
        return low + start, high + start, at - low

    def between(source: Any, dim: int, low: Any, high: Any, share: Any) -> Any:
        shape = [-1, 1, 1, 1]
        shape[dim] = low.shape[1]
        whole = list(source.shape)
        whole[dim] = low.shape[1]
        first, second = (source.gather(dim, at.view(shape).expand(whole)).float() for at in (low, high))
        return torch.lerp(first, second, share.view(shape))

    rows = between(images, 2, *along(top, tall, size[0]))
    columns = along(left, wide, size[1])
    if flip is not None:
        columns = tuple(torch.where(flip[:, None], part.flip(1), part) for part in columns)  # type: ignore[assignment]
    return between(rows, 3, *columns).round().to(torch.uint8)


def jittered(images: Any, factors: Any) -> Any:
    """Change colours of uint8 images as torchvision's ColorJitter does, in fixed order, and rounded once at the end."""
    brightness, contrast, saturation, *hue = factors[..., None, None, None].unbind(1)
    colours = (images.float() * brightness).clamp_(0, 255)
    mean = _grey(colours).mean((1, 2, 3), keepdim=True)
    colours = ((colours - mean) * contrast + mean).clamp_(0, 255)
    if images.shape[1] == 3:
        grey = _grey(colours)
        colours = ((colours - grey) * saturation + grey).clamp_(0, 255)
        if hue:
            colours = _turned(colours, hue[0])
    return colours.round_().to(torch.uint8)


def _turned(colours: Any, hue: Any) -> Any:
    """Turn hues by a share (B, 1, 1, 1) of their circle (A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978)."""
    highest, lowest = colours.amax(1, keepdim=True), colours.amin(1, keepdim=True)
    span = highest - lowest
    red, green, blue = colours.split(1, 1)
    # Sixths of the circle from red. Where a colour is grey its hue is of no account.
    along = torch.where(
        highest == red,
        green - blue,
        torch.where(highest == green, blue - red + 2 * span, red - green + 4 * span),
    )
    at = along / span.clamp(min=1e-6) + 6 * hue
    # A channel is at the highest up to a sixth to either side of where it is strongest, and at the lowest from two on.
    strongest = 2 * torch.arange(3, device=colours.device).view(1, 3, 1, 1)  # made there: a copy would be waited for
    apart = ((at - strongest + 3) % 6 - 3).abs()
    return lowest + span * (2 - apart).clamp(0, 1)


def _grey(images: Any) -> Any:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)  # ITU-R BT.601, as torchvision


def fitted(batch: Any, fit: Fit) -> Any:
    """Bring uint8 images (B, C, H, W) to one size, smoothed where they shrink."""
    (height, width), (h, w) = batch.shape[-2:], fit.shape
    if (height, width) == (h, w):
        return batch
    top, left, high, wide = fit.cut(height, width)
    part = batch[..., top : top + high, left : left + wide].float()
    into = fit.room(height, width)
    part = torch.nn.functional.interpolate(
        part, into, mode="bilinear", antialias=high > into[0] or wide > into[1], align_corners=False
    )
    down, across = h - into[0], w - into[1]
    part = torch.nn.functional.pad(part, (across // 2, across - across // 2, down // 2, down - down // 2))
    return part.round_().clamp_(0, 255).to(torch.uint8)


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
        kind = self._kind = np.int32 if len(self._rows) < 2**31 else np.int64  # half the bytes, where that is enough
        self._fill = self._sent(fill.reshape(1, -1, 1, 1))
        self._row, self._column = self._sent(np.arange(height)), self._sent(np.arange(width))
        down, is_down = lines_of_shifts(height, crop)
        across, is_across = lines_of_shifts(width, crop)
        planes = np.arange(channels)[:, None] * height + down[:, None]
        self._down = self._sent(planes.reshape(len(down), -1).astype(kind))
        self._across = self._sent(np.concatenate([across, across[:, ::-1]]))
        self._is_down = self._sent(is_down)
        self._is_across = self._sent(np.concatenate([is_across, is_across[:, ::-1]]))

    def batch(self, samples: torch.Tensor, draws: Any) -> Any:
        """Return the uint8 batch (len(samples), C, H, W); `samples` and `draws` are parts of what `epoch` gave."""
        augment, (channels, height, width) = self._augment, self._shape
        if draws.box is not None:
            images = resized(self.images.index_select(0, samples), draws.box, draws.flip, (height, width))
        elif draws.shift is None:
            images = self.images.index_select(0, samples)
        else:
            down, across, first = draws.shift.unbind(1)  # rows of both tables, and the first row of each picture
            rows = self._down.index_select(0, down) + first[:, None]
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
            down, across = (0, 0) if draws.shift is None else draws.shift.astype(self._kind).T
            if draws.flip is not None:
                # What is mirrored after it was cut has its columns in reverse order: the second half of the table.
                across = across + (2 * self._crop + 1) * draws.flip
            first = samples * (self._shape[0] * self._shape[1])
            places: Any = np.stack(np.broadcast_arrays(down, across, first), 1).astype(self._kind)
            draws = replace(draws, shift=places, flip=None)
        parts = (getattr(draws, name) for name in Draws.__slots__)
        moved: Any = (None if part is None else self._sent(part) for part in parts)
        return self._sent(samples), Draws(*moved)

    def _sent(self, array: NDArray[Any]) -> torch.Tensor:
        tensor: torch.Tensor = sent(torch.from_numpy(np.ascontiguousarray(array)), self._device)
        return tensor
