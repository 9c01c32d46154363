"""Batches cut and mirrored on the accelerator, from a dataset held whole in its memory as uint8.

Here: `ResidentStore`. One indexing operation a batch does order, crop, reflection and flip together.
Not here: normalising (`finish`), whether it fits (`arrays`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datastage.batches.augment import Augment, Draws
from datastage.batches.batch_ops import resized

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class ResidentStore:
    """Images on a device, channels first, and batches of them.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, C, H, W)
        Copied to the device once.
    augment, fill
        As for `host.HostStore`.
    device : torch.device
        Where the images are held.
    """

    def __init__(
        self, images: NDArray[np.uint8], augment: Augment | None, fill: NDArray[np.uint8], device: Any
    ) -> None:
        import numpy as np
        import torch

        self.images = torch.empty(images.shape, dtype=torch.uint8, device=device)
        block = max(1, (64 << 20) // max(1, images[0].nbytes))
        for start in range(0, len(images), block):
            # A copy, since torch warns of arrays that it may not write to, as mapped ones are.
            part = np.array(images[start : start + block], order="C")
            self.images[start : start + block].copy_(torch.from_numpy(part))
        self._augment, self._device = augment, device
        self._fill = torch.from_numpy(fill.copy()).to(device).view(1, -1, 1, 1)
        _, channels, height, width = images.shape
        self._channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
        self._row = torch.arange(height, device=device)
        self._column = torch.arange(width, device=device)

    def to_device(self, array: NDArray[Any] | None) -> torch.Tensor | None:
        """Copy the numbers of a whole epoch to the device, so that no batch waits for a copy."""
        import torch

        return None if array is None else torch.from_numpy(array).to(self._device)

    def batch(self, samples: torch.Tensor, draws: Any) -> Any:
        """Return the uint8 batch (len(samples), C, H, W); `samples` and `draws` hold tensors on the device."""
        import torch

        augment, inside = self._augment, None
        height, width = self.images.shape[2:]
        if draws.box is not None:
            images = resized(self.images.index_select(0, samples), draws.box, draws.flip, (height, width))
        elif augment is None or (draws.shift is None and draws.flip is None):
            images = self.images.index_select(0, samples)
        else:
            rows, columns = self._row.expand(len(samples), -1), self._column.expand(len(samples), -1)
            if draws.flip is not None:
                columns = torch.where(draws.flip.view(-1, 1), width - 1 - columns, columns)
            if draws.shift is not None:
                shift = draws.shift.long() - augment.crop
                rows, columns = rows + shift[:, :1], columns + shift[:, 1:]
                if augment.pad == "zero":
                    in_rows = (rows >= 0) & (rows < height)
                    in_columns = (columns >= 0) & (columns < width)
                    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
                    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
                else:
                    rows, columns = _reflect(rows, height), _reflect(columns, width)
            images = self.images[
                samples.view(-1, 1, 1, 1), self._channel, rows[:, None, :, None], columns[:, None, None, :]
            ]
        if inside is not None:
            images = images * inside
        if draws.cutout is not None and augment is not None:
            first = draws.cutout.long() - augment.cutout // 2
            row = self._row - first[:, :1]
            column = self._column - first[:, 1:]
            hole = ((row >= 0) & (row < augment.cutout))[:, None, :, None]
            hole = hole & ((column >= 0) & (column < augment.cutout))[:, None, None, :]
            images = torch.where(hole, self._fill, images)
        return images

    def epoch(self, samples: NDArray[np.int64], draws: Draws) -> tuple[torch.Tensor, Draws]:
        """Return an epoch's samples and numbers as tensors on the device."""
        on_device = self.to_device(samples)
        assert on_device is not None
        tensors: Any = [self.to_device(getattr(draws, name)) for name in Draws.__slots__]
        moved = Draws(*tensors)
        return on_device, moved


def _reflect(at: torch.Tensor, size: int) -> torch.Tensor:
    """Mirror indices at both edges, the edge itself not repeated."""
    at = at.abs()
    return (size - 1) - ((size - 1) - at).abs()
