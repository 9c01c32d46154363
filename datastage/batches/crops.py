"""Random-resized crops of photos that are pixels already, on the CPU: one image a call, several threads, one batch.

OpenCV's resizing does not smooth where it shrinks, which from photos kept at most 1.15 times as large as the result
does not show; torch's does, at half the speed.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from datastage.batches.augment import pixels_of
from datastage.decode import by_torch, has_opencv

_OWN = threading.local()


class Wholes:
    """A batch of photos as they are, each made by whichever thread has its photo at hand.

    `images`, uint8 (B, 3, H, W), is whole once `cut` was called for each position.
    """

    def __init__(self, images: NDArray[np.uint8], flip: NDArray[np.bool_] | None) -> None:
        self.images = images
        self._mirrored = [False] * len(images) if flip is None else flip.tolist()

    def cut(self, i: int, photo: NDArray[np.uint8]) -> None:
        """Make image `i` of its photo (3, H, W)."""
        self.images[i] = photo[:, :, ::-1] if self._mirrored[i] else photo


class Crops(Wholes):
    """The same of parts of photos, resized into `out`, uint8 (B, *size, 3), or (B, 3, *size) without `last`.

    `boxes`, float32 (B, 4), are what is cut out of photos of `shape`, as `augment.pixels_of` reads it; None is all.
    """

    def __init__(
        self,
        out: NDArray[np.uint8],
        shape: tuple[int, int],
        boxes: NDArray[np.float32] | None,
        flip: NDArray[np.bool_] | None,
        *,
        last: bool,
    ) -> None:
        super().__init__(out.transpose(0, 3, 1, 2) if last else out, flip)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(out), 1)) if boxes is None else boxes
        self._cuts = np.stack(pixels_of(boxes, *shape), 1).astype(int).tolist()
        self._out, self._last = out, last
        self._size = out.shape[1:3] if last else out.shape[2:]

    def cut(self, i: int, photo: NDArray[np.uint8]) -> None:
        """Make image `i` of its photo (H, W, 3)."""
        top, left, h, w = self._cuts[i]
        source, target, last = photo[top : top + h, left : left + w], self._out[i], self._last
        if not has_opencv():
            pixels = by_torch(source, *self._size)
            pixels = pixels[:, ::-1] if self._mirrored[i] else pixels
            target[:] = pixels if last else pixels.transpose(2, 0, 1)  # by numpy: torch would start threads for each
            return
        import cv2

        pixels = target if last else _scratch((*self._size, 3))
        cv2.resize(source, self._size[::-1], dst=pixels, interpolation=cv2.INTER_LINEAR)
        if self._mirrored[i]:
            cv2.flip(pixels, 1, dst=pixels)
        if not last:
            cv2.split(pixels, [target[0], target[1], target[2]])


def _scratch(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return memory that this thread alone uses."""
    if getattr(_OWN, "pixels", None) is None or _OWN.pixels.shape != shape:
        _OWN.pixels = np.empty(shape, np.uint8)
    return _OWN.pixels  # type: ignore[no-any-return]
