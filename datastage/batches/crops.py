"""Random-resized crops of packed photos, on the CPU: one image a call, several threads, into one batch.

Here: `Cropper` and its two ways of resizing, OpenCV's and torch's. Not here: drawing the boxes (`augment`), the same on
a GPU (`resident`). OpenCV's does not smooth where it shrinks, which from a packed file at most 1.15 times as large as
the result does not show; torch's does, at half the speed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Resize = Callable[[NDArray[np.uint8], NDArray[np.uint8], bool], None]


def pixels_of(box: NDArray[np.float32], height: int, width: int) -> NDArray[np.int64]:
    """Turn boxes in shares of the picture (N, 4) into whole pixels: top, left, height, width, at least one each."""
    import numpy as np

    sides = np.maximum(1, np.rint(box[:, 2:] * (height, width))).astype(np.int64)
    corners = np.rint(box[:, :2] * (height, width)).astype(np.int64)
    return np.concatenate([np.minimum(corners, (height, width) - sides), sides], 1)


class Cropper:
    """Crops resized to one size.

    Parameters
    ----------
    size : (int, int)
        Height and width of what comes out.
    workers : int
        Threads.
    """

    def __init__(self, size: tuple[int, int], workers: int) -> None:
        self._size, self._workers = size, max(1, workers)
        self._resize = _cv2_resize() if importlib.util.find_spec("cv2") is not None else _torch_resize()
        self._pool = ThreadPoolExecutor(self._workers, "datastage-crop") if self._workers > 1 else None

    def __call__(
        self,
        rows: NDArray[np.uint8],
        at: NDArray[np.int64],
        boxes: NDArray[np.float32] | None,
        flip: NDArray[np.bool_] | None,
    ) -> NDArray[np.uint8]:
        """Cut, resize and mirror.

        Parameters
        ----------
        rows : ndarray of uint8, shape (N, H, W, 3)
            The photos.
        at : ndarray of int64, shape (B,)
            Which of them.
        boxes : ndarray of float32, shape (B, 4), or None
            What is cut out; None is all of it.
        flip : ndarray of bool, shape (B,), or None
            What is mirrored.

        Returns
        -------
        ndarray of uint8, shape (B, *size, 3)
        """
        import numpy as np

        n = len(at)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)) if boxes is None else boxes
        cuts = pixels_of(boxes, *rows.shape[1:3]).tolist()
        mirrored = [False] * n if flip is None else flip.tolist()
        out = np.empty((n, *self._size, 3), np.uint8)
        share = -(-n // self._workers) or 1
        parts = [slice(i, i + share) for i in range(0, n, share)]
        numbers = at.tolist()

        def work(part: slice) -> None:
            for sample, (top, left, h, w), mirror, target in zip(numbers[part], cuts[part], mirrored[part], out[part]):
                self._resize(rows[sample, top : top + h, left : left + w], target, mirror)

        if self._pool is None:
            work(slice(0, n))
        else:
            list(self._pool.map(work, parts))
        return out


def _cv2_resize() -> Resize:
    import cv2

    def resize(source: NDArray[np.uint8], target: NDArray[np.uint8], mirror: bool) -> None:
        cv2.resize(source, (target.shape[1], target.shape[0]), dst=target, interpolation=cv2.INTER_LINEAR)
        if mirror:
            cv2.flip(target, 1, dst=target)

    return resize


def _torch_resize() -> Resize:
    import numpy as np
    import torch

    def resize(source: NDArray[np.uint8], target: NDArray[np.uint8], mirror: bool) -> None:
        # A copy with an axis of its own: see decode._by_torch. What lies between rows makes torch four times as slow.
        photos = torch.from_numpy(np.array(source[None], order="C")).permute(0, 3, 1, 2)
        size: Any = target.shape[:2]
        out = torch.nn.functional.interpolate(photos, size, mode="bilinear", antialias=True)[0]
        pixels = out.permute(1, 2, 0).numpy()
        target[:] = pixels[:, ::-1] if mirror else pixels  # by numpy: torch would start threads for each image

    return resize
