"""Random-resized crops of photos that are pixels already, on the CPU: one image a call, several threads, one batch.

OpenCV's resizing does not smooth where it shrinks, which from photos kept at most 1.15 times as large as the result
does not show; torch's does, at half the speed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from datastage.batches.augment import pixels_of
from datastage.batches.decode import by_torch, has_opencv
from datastage.batches.prefetch import Threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Write = Callable[[NDArray[np.uint8], NDArray[np.uint8], bool], None]


class Crops:
    """A batch while its images are made, each by whichever thread has its photo at hand.

    `images`, uint8 (B, 3, H, W), is whole once `cut` was called for each position. Without `cuts` photos are taken as
    they are, channels first.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        flip: NDArray[np.bool_] | None,
        cuts: list[list[int]] | None = None,
        write: Write | None = None,
        targets: NDArray[np.uint8] | None = None,
    ) -> None:
        self.images, self._cuts, self._write, self._targets = images, cuts, write, targets
        self._mirrored = [False] * len(images) if flip is None else flip.tolist()

    def cut(self, i: int, photo: NDArray[np.uint8]) -> None:
        """Make image `i` of its photo: (H, W, 3) to be cut, or (3, H, W) as it is."""
        if self._cuts is None or self._write is None or self._targets is None:
            self.images[i] = photo[:, :, ::-1] if self._mirrored[i] else photo
            return
        top, left, h, w = self._cuts[i]
        self._write(photo[top : top + h, left : left + w], self._targets[i], self._mirrored[i])


class Cropper:
    """Crops resized to one `size` (height and width), by `threads`; channels lie `last` in memory, else first."""

    def __init__(self, size: tuple[int, int], threads: Threads, *, last: bool) -> None:
        self._threads, self._last = threads, last
        self._write = _by_cv2(size, last) if has_opencv() else _by_torch(size, last)

    def begin(
        self,
        out: NDArray[np.uint8],
        shape: tuple[int, int],
        boxes: NDArray[np.float32] | None,
        flip: NDArray[np.bool_] | None,
    ) -> Crops:
        """Begin a batch in `out`, uint8 (B, *size, 3) or (B, 3, *size), of photos of `shape`.

        `boxes`, float32 (B, 4), are what is cut out, as `augment.pixels_of` reads it; None is all of it.
        """
        import numpy as np

        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(out), 1)) if boxes is None else boxes
        cuts = np.stack(pixels_of(boxes, *shape), 1).astype(int).tolist()
        return Crops(out.transpose(0, 3, 1, 2) if self._last else out, flip, cuts, self._write, out)

    def finish(self, crops: Crops, rows: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
        """Cut every image of a batch out of the photos `rows` (N, H, W, 3), whose numbers are `at`."""
        numbers = at.tolist()
        share = -(-len(at) // self._threads.n) or 1

        def work(start: int) -> None:
            for i, number in enumerate(numbers[start : start + share], start):
                crops.cut(i, rows[number])

        if self._threads.n == 1:
            work(0)
        else:
            for done in [self._threads.submit(work, start) for start in range(0, len(at), share)]:
                done.result()


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
    def write(source: NDArray[np.uint8], target: NDArray[np.uint8], mirror: bool) -> None:
        pixels = by_torch(source, *size)
        pixels = pixels[:, ::-1] if mirror else pixels
        target[:] = pixels if last else pixels.transpose(2, 0, 1)  # by numpy: torch would start threads for each image

    return write
