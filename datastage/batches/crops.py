"""Random-resized crops of packed photos, on the CPU: one image a call, several threads, into one batch.

Here: `Cropper`, the batch it is at work on, `Wholes` for photos that are not cut, and two ways of resizing, OpenCV's
and torch's. Not here: drawing the boxes (`augment`), the same of whole batches (`onbatch`). OpenCV's does not smooth
where it shrinks, which from a packed file at most 1.15 times as large as the result does not show; torch's does, at
half the speed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from datastage.batches.augment import pixels_of
from datastage.batches.decode import has_opencv

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Write = Callable[[NDArray[np.uint8], NDArray[np.uint8], bool], None]


class Crops:
    """A batch while its images are cut, each by whichever thread has its photo at hand.

    Attributes
    ----------
    images : ndarray of uint8, shape (B, 3, *size)
        What comes out, whole once `cut` was called for each position. Its memory is laid out as was asked for.
    """

    def __init__(
        self,
        out: NDArray[np.uint8],
        shape: tuple[int, int],
        boxes: NDArray[np.float32] | None,
        flip: NDArray[np.bool_] | None,
        write: Write,
        last: bool,
    ) -> None:
        import numpy as np

        n = len(out)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)) if boxes is None else boxes
        self._cuts = np.stack(pixels_of(boxes, *shape), 1).astype(int).tolist()
        self._mirrored = [False] * n if flip is None else flip.tolist()
        self._out, self._write = out, write
        self.images = out.transpose(0, 3, 1, 2) if last else out

    def cut(self, i: int, photo: NDArray[np.uint8]) -> None:
        """Cut image `i` out of its photo (H, W, 3), resize and mirror it."""
        top, left, h, w = self._cuts[i]
        self._write(photo[top : top + h, left : left + w], self._out[i], self._mirrored[i])


class Wholes:
    """A batch of photos as they are, while they are being decoded; `images` and `cut` as of `Crops`.

    Parameters
    ----------
    images : ndarray of uint8, shape (B, 3, H, W)
        Where it is made.
    flip : ndarray of bool, shape (B,), or None
        What is mirrored.
    """

    def __init__(self, images: NDArray[np.uint8], flip: NDArray[np.bool_] | None) -> None:
        self.images = images
        self._mirrored = [False] * len(images) if flip is None else flip.tolist()

    def cut(self, i: int, photo: NDArray[np.uint8]) -> None:
        """Copy image `i` from its photo (3, H, W), and mirror it."""
        self.images[i] = photo[:, :, ::-1] if self._mirrored[i] else photo


class Cropper:
    """Crops resized to one size.

    Parameters
    ----------
    size : (int, int)
        Height and width of what comes out.
    workers : int
        Threads.
    last : bool
        Whether channels lie last in memory; else first.
    """

    def __init__(self, size: tuple[int, int], workers: int, *, last: bool) -> None:
        self._workers, self._last = max(1, workers), last
        self._write = _by_cv2(size, last) if has_opencv() else _by_torch(size, last)
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def begin(
        self,
        out: NDArray[np.uint8],
        shape: tuple[int, int],
        boxes: NDArray[np.float32] | None,
        flip: NDArray[np.bool_] | None,
    ) -> Crops:
        """Begin a batch.

        Parameters
        ----------
        out : ndarray of uint8, shape (B, *size, 3), or (B, 3, *size)
            Where it is made, as `last` says.
        shape : (int, int)
            Height and width of the photos.
        boxes : ndarray of float32, shape (B, 4), or None
            What is cut out, as `augment.pixels_of` reads it; None is all of it.
        flip : ndarray of bool, shape (B,), or None
            What is mirrored.
        """
        return Crops(out, shape, boxes, flip, self._write, self._last)

    def finish(self, crops: Crops, rows: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
        """Cut every image of a batch out of the photos `rows` (N, H, W, 3), whose numbers are `at`."""
        numbers = at.tolist()
        share = -(-len(at) // self._workers) or 1

        def work(start: int) -> None:
            for i, number in enumerate(numbers[start : start + share], start):
                crops.cut(i, rows[number])

        if self._workers == 1:
            work(0)
        else:
            list(self._threads().map(work, range(0, len(at), share)))

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():  # a forked child has the pool, but not its threads
            self._pool, self._process = ThreadPoolExecutor(self._workers, "datastage-crop"), os.getpid()
        return self._pool


def _by_cv2(size: tuple[int, int], last: bool) -> Write:
    import cv2
    import numpy as np

    own = threading.local()

    def write(source: NDArray[np.uint8], target: NDArray[np.uint8], mirror: bool) -> None:
        if not last and not hasattr(own, "pixels"):
            own.pixels = np.empty((*size, 3), np.uint8)
        pixels = target if last else own.pixels
        cv2.resize(source, size[::-1], dst=pixels, interpolation=cv2.INTER_LINEAR)
        if mirror:
            cv2.flip(pixels, 1, dst=pixels)
        if not last:
            cv2.split(pixels, [target[0], target[1], target[2]])

    return write


def _by_torch(size: tuple[int, int], last: bool) -> Write:
    import numpy as np
    import torch

    def write(source: NDArray[np.uint8], target: NDArray[np.uint8], mirror: bool) -> None:
        # A copy with an axis of its own: see decode._by_torch. What lies between rows makes torch four times as slow.
        photos = torch.from_numpy(np.array(source[None], order="C")).permute(0, 3, 1, 2)
        out = torch.nn.functional.interpolate(photos, size, mode="bilinear", antialias=True)[0].numpy()
        planes = out[:, :, ::-1] if mirror else out
        target[:] = planes.transpose(1, 2, 0) if last else planes  # by numpy: torch would start threads for each image

    return write
