"""The augmentations that there are, and the random numbers that decide them; others carry them out.

An epoch's numbers come from (seed, epoch) alone, the same on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from datastage.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Streams of random numbers: each use has its own, so that switching one on leaves the others as they were.
ORDER, CROP, FLIP, CUTOUT, BOX, JITTER, SUBSET, TRANSFORM, HUE = range(9)


@dataclass(frozen=True, slots=True)
class Augment:
    """What is done to each training image, each epoch anew. A frozen value; the default does nothing.

    Attributes
    ----------
    crop : int
        Shift by up to so many pixels each way: pad each side by `crop`, then cut the original size at random.
    pad : {"reflect", "zero"}
        What the padding holds: the image mirrored at its edge (the edge itself not repeated), or black.
    flip : bool or "alternate"
        Mirror left to right: each image with probability one half; ``"alternate"`` mirrors a random half of the images
        in one epoch and the other half in the next, as airbench does [1]_.
    cutout : int
        Side in pixels of one square set to the mean, or to 0 where no mean is known. Its centre lies anywhere in the
        image, so part of it may fall outside, as in [2]_.
    scale : (float, float) or None
        Random-resized-crop: the share of the picture's area that is cut out and resized to the full size; None is off.
    ratio : (float, float)
        The crop's width over height, each a share of the picture's, drawn evenly in the logarithm. Only with `scale`.
    brightness, contrast, saturation : float
        Strength of the colour jitter: a factor is drawn from ``[1 - strength, 1 + strength]``; 0 is off.
    hue : float
        Up to what share of the circle of hues colours are turned, either way: 0 to 0.5; 0 is off. These four are
        torchvision's ColorJitter in this order; there the order is another for each image.

    Raises
    ------
    SpecError
        If a value is not one of those above.

    References
    ----------
    .. [1] K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024.
    .. [2] T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.

    Examples
    --------
    >>> Augment(crop=4, flip=True).pad
    'reflect'
    """

    crop: int = 0
    pad: Literal["reflect", "zero"] = "reflect"
    flip: bool | Literal["alternate"] = False
    cutout: int = 0
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            value: Any = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= 127:
                raise SpecError(f"Augment({name}={value!r}): a whole number of pixels from 0 to 127 is needed.")
        if self.pad not in ("reflect", "zero"):
            raise SpecError(f"Augment(pad={self.pad!r}): there are pad='reflect' and pad='zero'.")
        if self.flip not in (True, False, "alternate"):
            raise SpecError(f"Augment(flip={self.flip!r}): there are True, False and 'alternate'.")
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= most:
                raise SpecError(f"Augment({name}={value!r}): a number from 0 to {most} is needed.")
        for name, top in (("scale", 1.0), ("ratio", math.inf)):
            value = getattr(self, name)
            if value is None and name == "scale":
                continue
            pair = isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, Real) for v in value)
            if not (pair and 0 < value[0] <= value[1] <= top):
                raise SpecError(
                    f"Augment({name}={value!r}): two numbers, the smaller first, are needed.",
                    "For example Augment(scale=(0.25, 1.0)).",
                )
            object.__setattr__(self, name, tuple(value))
        if self.crop and self.scale:
            raise SpecError("Augment: crop= and scale= are two ways of cutting; choose one.")

    def __str__(self) -> str:
        said = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Augment({', '.join(said)})"

    @property
    def jitters(self) -> bool:
        """Whether colours are changed."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of N samples, one row each; None where nothing of the kind is done."""

    shift: NDArray[np.uint8] | None = None  # (N, 2): rows and columns from the padded image's top left, 0 to 2 `crop`
    flip: NDArray[np.bool_] | None = None  # (N,): whether the image is mirrored, after it was cut
    cutout: NDArray[np.int32] | None = None  # (N, 2): row and column of the square's centre
    # (N, 4): where the box lies, from top and left, as shares of the room that is left (0 to below 1); its height and
    # width as shares of the picture's (above 0, up to 1).
    box: NDArray[np.float32] | None = None
    # (N, 3) or (N, 4): factors of brightness, contrast, saturation; and the share of the circle that hues turn by.
    jitter: NDArray[np.float32] | None = None

    def where(self, keep: Any) -> Draws:
        """Return the rows that this index picks; of a slice views."""
        if self is NOTHING:
            return self
        return Draws(*(None if a is None else a[keep] for a in (getattr(self, name) for name in self.__slots__)))


NOTHING = Draws()


def random(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Return the generator of one use of chance in one epoch."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, stream])))


def draw(
    augment: Augment | None,
    samples: NDArray[np.int64],
    *,
    size: tuple[int, int],
    seed: int,
    epoch: int,
) -> Draws:
    """Draw the numbers of one epoch for these samples, in its order, and the (height, width) of what comes out."""
    import numpy as np

    n = len(samples)
    if augment is None or not n:
        return NOTHING
    shift = flip = cutout = box = jitter = None
    if augment.crop:
        shift = random(seed, epoch, CROP).integers(0, 2 * augment.crop + 1, (n, 2), np.uint8)
    if augment.flip == "alternate":
        # The halves are those of epoch 0 for ever; only which of them is mirrored changes.
        half = random(seed, 0, FLIP).integers(0, 2, int(samples.max()) + 1, np.uint8)
        flip = (half[samples] ^ np.uint8(epoch & 1)).astype(bool)
    elif augment.flip:
        flip = random(seed, epoch, FLIP).integers(0, 2, n, np.uint8).view(np.bool_)
    if augment.cutout:
        cutout = random(seed, epoch, CUTOUT).integers((0, 0), size, (n, 2), np.int32)
    if augment.scale:
        box = _boxes(random(seed, epoch, BOX), n, augment.scale, augment.ratio)
    if augment.jitters:
        strength = np.array([augment.brightness, augment.contrast, augment.saturation], np.float32)
        jitter = 1 + strength * (2 * random(seed, epoch, JITTER).random((n, 3), np.float32) - 1)
        if augment.hue:
            turn = np.float32(augment.hue) * (2 * random(seed, epoch, HUE).random((n, 1), np.float32) - 1)
            jitter = np.concatenate([jitter, turn], 1)
    return Draws(shift, flip, cutout, box, jitter)


def _boxes(
    rng: np.random.Generator, n: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> NDArray[np.float32]:
    """Draw crops as torchvision's RandomResizedCrop does: area and shape anew up to ten times until they fit."""
    import numpy as np

    box = np.empty((n, 4), np.float32)
    todo = np.arange(n)
    for _ in range(10):
        m = len(todo)
        area = rng.uniform(*scale, m)
        shape = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), m))
        width, height = np.sqrt(area * shape), np.sqrt(area / shape)
        fits = (width <= 1) & (height <= 1)
        at = todo[fits]
        box[at, 2], box[at, 3] = height[fits], width[fits]
        todo = todo[~fits]
        if not len(todo):
            break
    # What never fitted: the whole picture, cut to the nearest allowed shape, from the middle.
    wide = min(max(1.0, ratio[0]), ratio[1])
    box[todo, 2], box[todo, 3] = min(1.0, 1 / wide), min(1.0, wide)
    box[:, :2] = rng.random((n, 2), np.float32)
    box[todo, :2] = 0.5
    return box


def pixels_of(box: Any, height: int, width: int) -> tuple[Any, Any, Any, Any]:
    """Turn boxes (B, 4), arrays or tensors, into whole pixels: top, left, height and width, each (B,), as floats."""
    down, across, tall, wide = box.T
    tall, wide = (tall * height).round().clip(min=1), (wide * width).round().clip(min=1)
    # Draws of 24 bits, so that the greatest is far enough below 1 for no product to be rounded up to a place too many.
    top, left = down * (height - tall + 1) // 1, across * (width - wide + 1) // 1
    return top, left, tall, wide
