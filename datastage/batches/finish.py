"""The last step of a batch: the user's transform, normalising, dtype and memory format.

Here: `CpuFinish` in numpy, `TorchFinish` on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datastage.batches.host import Normalise, turn
from datastage.batches.onbatch import jittered
from datastage.batches.options import LoaderOptions
from datastage.batches.pool import Pool
from datastage.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datastage.batches.devices import Choice


class Finishers:
    """What finishes a loader's batches: one for each iterator at work, since memory and scratch are its own.

    Parameters
    ----------
    recipe, shape, choice
        What was asked for; (C, H, W) of an image; the device.
    n : int
        Samples there are: no batch is larger.
    """

    def __init__(self, recipe: LoaderOptions, shape: tuple[int, ...], choice: Choice, n: int) -> None:
        self._recipe, self._shape, self._choice, self._most = recipe, shape, choice, min(recipe.batch_size, n)
        self._idle: list[Any] = []

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """Give one for an epoch: a function of (uint8 images, seed, jitter)."""
        try:
            one = self._idle.pop()  # another thread's iterator may take the last one
        except IndexError:
            if self._choice.kind == "cpu" and self._recipe.transform is None:
                one = CpuFinish(self._recipe, self._shape, self._most)
            else:
                one = TorchFinish(self._recipe, self._shape, self._choice)
        try:
            yield one
        finally:
            self._idle.append(one)


class CpuFinish:
    """Jitter, and normalise on the CPU with numpy, within the memory of the batch that comes out.

    Parameters
    ----------
    recipe, shape
        What was asked for; (C, H, W) of an image.
    most : int
        Images of the largest batch.
    """

    JITTER_BYTES = 1 << 20

    def __init__(self, recipe: LoaderOptions, shape: tuple[int, ...], most: int) -> None:
        import numpy as np
        import torch

        self._recipe, self._dtype = recipe, getattr(torch, recipe.dtype)
        self._last = recipe.memory_format == "channels_last"
        channels, height, width = shape
        whole = (most, *((height, width, channels) if self._last else (channels, height, width)))
        self._raw = recipe.dtype == "uint8"
        narrow = recipe.dtype in ("float16", "bfloat16")
        # What is made in float32 only to be narrowed is scratch, and one is enough of it.
        wide = np.uint8 if self._raw else np.float32
        self._pool = Pool(whole, wide, keep=1 if narrow else 2, always=narrow)
        # numpy has no bfloat16, but integers of as many bits.
        self._narrowed = Pool(whole, np.int16) if narrow else None
        self._normalise = Normalise(recipe.mean, recipe.std, shape, last=self._last)
        self._at_once = max(1, self.JITTER_BYTES // (4 * int(np.prod(shape))))
        self._lent: Any = None

    def room(self, n: int) -> Any:
        """Return the memory of the batch that the next call fills, for making its `n` images in, if that is of use."""
        import numpy as np

        if self._raw and self._last:
            return None
        self._lent = self._pool.take()
        return self._lent[:n].reshape(-1).view(np.uint8)

    def __call__(self, images: NDArray[np.uint8], seed: int, jitter: Any = None) -> Any:
        """Return the finished batch of uint8 `images` (B, C, H, W), which nobody else holds, maybe made in `room`."""
        import torch

        if jitter is not None:
            pixels = torch.from_numpy(images)
            for start in range(0, len(images), self._at_once):
                part = slice(start, start + self._at_once)
                pixels[part] = jittered(pixels[part], jitter[part])
        if self._raw and (images.transpose(0, 2, 3, 1) if self._last else images).flags.c_contiguous:
            self._lent = None
            return torch.from_numpy(images)
        out, self._lent = (self._pool.take() if self._lent is None else self._lent), None
        out = self._as_batch(out, len(images))
        if self._raw:
            turn(images, out)
        else:
            self._normalise(images, out)
        made = torch.from_numpy(out)
        if self._narrowed is not None:
            bits = self._as_batch(self._narrowed.take(), len(images))
            return torch.from_numpy(bits).view(self._dtype).copy_(made)
        return made

    def _as_batch(self, array: NDArray[Any], n: int) -> NDArray[Any]:
        """Return memory of a pool as (n, C, H, W)."""
        return array[:n].transpose(0, 3, 1, 2) if self._last else array[:n]


class TorchFinish:
    """Jitter, transform and normalise with torch, on any device.

    Parameters
    ----------
    recipe, shape, choice
        What was asked for; (C, H, W) of an image; the device.
    """

    def __init__(self, recipe: LoaderOptions, shape: tuple[int, ...], choice: Choice) -> None:
        import torch

        self._recipe, self._choice, self._device = recipe, choice, choice.device
        self._dtype = getattr(torch, recipe.dtype)
        self._format = torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format
        normalise = Normalise(recipe.mean, recipe.std, shape)
        self._scale = torch.from_numpy(normalise.scale).to(self._device)
        self._shift = torch.from_numpy(normalise.shift).to(self._device)

    def __call__(self, images: Any, seed: int, jitter: Any = None) -> Any:
        """Return the finished batch of uint8 `images` (B, C, H, W), a tensor on the device or an array on the CPU."""
        import torch

        batch = images if isinstance(images, torch.Tensor) else torch.from_numpy(images).to(self._device)
        if jitter is not None:
            batch = jittered(batch, jitter)
        if self._recipe.transform is not None:
            batch = transformed(self._recipe.transform, batch, generator_on(self._choice, seed))
        if batch.dtype == torch.uint8 and self._dtype != torch.uint8:
            batch = batch.to(torch.float32, memory_format=self._format).mul_(self._scale).add_(self._shift)
        return batch.to(self._dtype).contiguous(memory_format=self._format)


def transformed(transform: Callable[[Any, Any], Any], batch: Any, generator: Any) -> Any:
    """Return what the user's transform makes of a batch, or raise `SpecError` if that is no batch of as many."""
    import torch

    made = transform(batch, generator)
    if isinstance(made, torch.Tensor) and made.ndim and len(made) == len(batch):
        return made
    what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else repr(made)[:60]
    raise SpecError(
        f"transform= was given a batch of {len(batch)} and returned {what}.",
        "Next: let transform(batch, generator) return the batch, a tensor of as many.",
    )


def generator_on(choice: Choice, seed: int) -> Any:
    """Return the generator that a user's transform draws from."""
    import torch

    # XLA has no generators of its own.
    return torch.Generator("cpu" if choice.kind == "xla" else choice.device).manual_seed(seed)
