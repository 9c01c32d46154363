"""Batches cut and mirrored by the CPU, from images held in memory as uint8, or from photos each thread has at hand.

What is held is cut in numpy, in one thread on purpose: torch's threads inside an operation wait for each other, and
where another process holds a core the same epoch takes ten times as long (benchmarks/feed.py).

OpenCV's resizing does not smooth where it shrinks, which from photos kept at most 1.15 times as large as the result
does not show; torch's does, at half the speed.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.batches.augment import Augment, Draws, pixels_of
from datastage.batches.normalize import Pool
from datastage.decode import by_torch, has_opencv

AT_ONCE = 32  # images that ways which take several times the memory of what they make work on at once
WORD = 4  # shifts sideways of up to so many pixels are done on words of four bytes; further ones go the plain way
_OWN = threading.local()


class HostStore:
    """Images (N, C, H, W) of uint8 in memory, never changed, and batches of them; cutout fills its square by `fill`."""

    def __init__(self, images: NDArray[np.uint8], augment: Augment | None, fill: NDArray[np.uint8]) -> None:
        self._images, self._augment, self._fill = images, augment, fill
        height, width = images.shape[2:]
        self._shift: Shifter | None = None
        if augment is not None and 0 < augment.crop <= WORD and min(height, width) >= 2 * WORD:
            self._shift = Shifter(images, augment.crop, augment.pad == "zero")

    def batch(
        self, samples: NDArray[np.int64], draws: Draws, room: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the batch of these samples, uint8 (B, C, H, W).

        Given `room`, 4 C H W B bytes of any content, it comes to lie at its end, and nothing of its size is allocated.
        """
        augment, shape = self._augment, self._images.shape[1:]
        size = len(samples) * int(np.prod(shape))
        out = np.empty(size, np.uint8) if room is None else room[len(room) - size :]
        images = out.reshape(len(samples), *shape)
        if self._shift is not None and draws.shift is not None:
            self._shift(samples, draws.shift, draws.flip, images, room)
        elif draws.shift is None and draws.box is None:
            np.take(self._images, samples, axis=0, out=images, mode="clip")  # unlike "raise" it needs no second copy
            if draws.flip is not None:
                _reverse(images, np.flatnonzero(draws.flip))
        else:
            for start in range(0, len(samples), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                images[part] = self._plainly(samples[part], draws.where(part))
        if draws.cutout is not None and augment is not None:
            cut(images, draws.cutout, augment.cutout, self._fill)
        return images

    def _plainly(self, samples: NDArray[np.int64], draws: Draws) -> NDArray[np.uint8]:
        """Cut and resize, or cut from padded images: for what is seldom done, any crop and any size."""
        images: NDArray[np.uint8] = self._images[samples]
        size = images.shape[2:]
        if draws.box is not None:
            import torch

            from datastage.batches.batch_ops import resized

            box, flip = (None if a is None else torch.from_numpy(a) for a in (draws.box, draws.flip))
            images = resized(torch.from_numpy(images), box, flip, size).numpy()
            return images
        assert self._augment is not None
        assert draws.shift is not None
        crop, mode = self._augment.crop, "reflect" if self._augment.pad == "reflect" else "constant"
        padded = np.pad(images, [(0, 0), (0, 0), (crop, crop), (crop, crop)], mode)  # type: ignore[call-overload]
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
        images = windows[np.arange(len(samples)), :, draws.shift[:, 0], draws.shift[:, 1]]
        if draws.flip is not None:
            _reverse(images, np.flatnonzero(draws.flip))
        return images


class Shifter:
    """Random crops of padded, mirrored images, without padding any: from the images as they are, a batch at a time.

    Four passes over a batch that stays in the processor's cache. 1: its rows are gathered by number, which tells shift
    and reflection up and down (and bottom to top for what is mirrored). 2: what is mirrored is reversed byte by byte as
    a whole, eight at a time. 3: each image is copied from where its shift sideways begins, across the ends of its rows.
    4: the first or last word of each row, which now holds bytes of a neighbouring row, is put together anew.
    """

    def __init__(self, images: NDArray[np.uint8], crop: int, zero: bool) -> None:
        n, channels, height, width = images.shape
        self._shape, self._crop, self._zero = (channels, height, width), crop, zero
        self._rows = images.reshape(n * channels * height, width)
        self._per_image = channels * height
        # Row numbers within an image, for each shift: as they are, and in reverse order for mirroring.
        reflected, inside = lines_of_shifts(height, crop)
        self._outside = ~inside
        table = (np.arange(channels)[:, None] * height + reflected[:, None, :]).reshape(2 * crop + 1, -1)
        self._table = np.concatenate([table, table[:, ::-1]])
        # Spare bytes at both ends: a shifted copy of the first and last image reaches beyond them.
        self._size, self._spare = self._per_image * width, 2 * WORD
        self._scratch: Pool | None = None

    def _room(self, room: NDArray[np.uint8] | None, b: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return memory for the numbers of rows and for the images as they are gathered, with spare bytes around."""
        numbers, gathered = 8 * b * self._per_image, b * self._size + 2 * self._spare
        if room is None or len(room) - b * self._size < numbers + gathered:
            if self._scratch is None or self._scratch.shape[0] < numbers + gathered:
                self._scratch = Pool((numbers + gathered,), np.uint8, keep=1)
            room = self._scratch.take()
        return np.ndarray((b, self._per_image), np.int64, room), room[numbers : numbers + gathered]

    def __call__(
        self,
        samples: NDArray[np.int64],
        shift: NDArray[np.uint8],
        flip: NDArray[np.bool_] | None,
        images: NDArray[np.uint8],
        room: NDArray[np.uint8] | None = None,
    ) -> None:
        """Make the batch in `images` (len(samples), C, H, W), the last bytes of `room` if that is given."""
        b, crop, size, spare, width = len(samples), self._crop, self._size, self._spare, self._shape[2]
        numbers, gathered = self._room(room, b)
        down, across = shift[:, 0].astype(np.int64), shift[:, 1].astype(np.int64)
        if flip is not None:
            down = down + (2 * crop + 1) * flip  # the half of the table with rows in reverse order
            across = np.where(flip, 2 * crop - across, across)  # mirrored first and then cut, which is the same
        np.take(self._table, down, axis=0, out=numbers, mode="clip")
        numbers += (samples * self._per_image)[:, None]
        batch = gathered[spare:-spare].reshape(b, size)
        np.take(self._rows, numbers, axis=0, out=batch.reshape(b, self._per_image, width), mode="clip")
        if flip is not None:
            _reverse(batch, np.flatnonzero(flip))
        windows = np.ndarray((b, 2 * crop + 1, size), np.uint8, gathered, spare - crop, (size, 1, 1))
        out = images.reshape(b, size)
        every = np.arange(b)
        for start in range(0, b, 2 * AT_ONCE):  # what an index makes is new memory: so a little at a time
            part = slice(start, start + 2 * AT_ONCE)
            out[part] = windows[every[part], across[part]]
        # Words of each row. Read the other way round, a word is its own reflection. A window of four of the eight bytes
        # [reflection, first word] is what the first word of the row must be.
        shape, strides = (b, self._per_image), (size, width)
        first = np.ndarray(shape, "<u4", gathered, spare, strides)
        last = np.ndarray(shape, "<u4", gathered, spare + width - WORD, strides)
        before = after = np.broadcast_to(np.uint32(0), shape)
        if not self._zero:
            before = np.ndarray(shape, ">u4", gathered, spare + 1, strides)
            after = np.ndarray(shape, ">u4", gathered, spare + width - WORD - 1, strides)
        words = numbers.view(np.uint64)  # the numbers have done their work
        left, right = np.flatnonzero(across < crop), np.flatnonzero(across > crop)
        at_left = np.ndarray(shape, "<u4", out, 0, strides)
        _patch(at_left, before, first, left, across[left] - crop + WORD, words)
        at_right = np.ndarray(shape, "<u4", out, width - WORD, strides)
        _patch(at_right, last, after, right, across[right] - crop, words)
        if self._zero:
            self._blacken(images, shift[:, 0])

    def _blacken(self, images: NDArray[np.uint8], down: NDArray[np.uint8]) -> None:
        for shift, outside in enumerate(self._outside):
            if outside.any():
                at = (down == shift).nonzero()[0]
                rows = outside.nonzero()[0]
                images[at, :, rows[0] : rows[-1] + 1] = 0


def _patch(target: Any, low: Any, high: Any, at: NDArray[np.int64], offset: Any, words: NDArray[np.uint64]) -> None:
    """Write into ``target[at]`` the words that begin `offset` bytes into the pairs of `low` and `high`."""
    words = words[: len(at)]
    words[:] = high[at]
    words <<= np.uint64(8 * WORD)
    words |= low[at]
    words >>= (8 * offset).astype(np.uint64)[:, None]
    target[at] = words.astype(np.uint32)


def _reverse(rows: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
    """Reverse the last axis of rows[at], in place, eight bytes at a time and a few rows at once."""
    word = next(k for k in (8, 4, 2, 1) if rows.shape[-1] % k == 0)
    to, back = rows.view(f"<u{word}"), rows.view(f">u{word}")
    for start in range(0, len(at), AT_ONCE):
        part = at[start : start + AT_ONCE]
        to[part] = back[part][..., ::-1]


def lines_of_shifts(size: int, crop: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each shift which line each line of a cut reflects, and whether that lies inside of the picture."""
    at = np.arange(2 * crop + 1)[:, None] + np.arange(size) - crop
    return size - 1 - abs(size - 1 - abs(at)), (at >= 0) & (at < size)


def cut(images: NDArray[np.uint8], centres: NDArray[np.int32], side: int, fill: NDArray[np.uint8]) -> None:
    """Set one square of each image (N, C, H, W) to `fill`, in place; what falls outside is left out."""
    height, width = images.shape[2:]
    top, left = (centres - side // 2).T.tolist()
    fill = fill[:, None, None]
    for image, y, x in zip(images, top, left):
        image[:, max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = fill


class Wholes:
    """A batch of photos as they are, uint8 (B, 3, H, W), each made by whichever thread has its photo at hand."""

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
