"""The last step of a batch: the user's transform, normalising, dtype and memory format; and the memory it lies in."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage.batches.devices import Choice, read_by_xla
from datastage.batches.options import LoaderOptions, is_torchvisions, takes
from datastage.batches.prefetch import Threads
from datastage.decode import Fit
from datastage.errors import SpecError


class Pool:
    """Arrays of one shape and dtype, given out again once nobody holds them; of idle ones `keep` are kept."""

    # Asking the system for new pages for each batch costs more than filling them.
    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any] | type, *, keep: int = 2) -> None:
        self.shape, self._dtype, self._keep = shape, dtype, keep
        self._arrays: list[NDArray[Any]] = []  # the one given out last stands last
        self._idle = 0
        self._lock = threading.Lock()

    def _holders(self, i: int) -> int:
        return sys.getrefcount(self._arrays[i])

    def take(self) -> NDArray[Any]:
        """Return an array with any content."""
        with self._lock:
            for i in reversed(range(len(self._arrays))):  # the latest lies in the processor's cache still
                if self._holders(i) <= self._idle:
                    self._arrays.append(self._arrays.pop(i))
                    return self._arrays[-1]
            if len(self._arrays) == self._keep:
                del self._arrays[0]  # held the longest, and from now on its holder's alone
            self._arrays.append(np.empty(self.shape, self._dtype))
            # The count of an array that only we hold differs between Python versions, so it is asked for, not assumed.
            self._idle = self._holders(len(self._arrays) - 1)
            return self._arrays[-1]


class Normalise:
    """uint8 (B, C, H, W) to normalised float32 of the same shape, in numpy, with channels first in memory or `last`.

    `mean` and `std` are a value a channel, for intensities from 0 to 1, or None; `shape` is (C, H, W).
    """

    BLOCK_BYTES = 100_000

    def __init__(self, mean: Any, std: Any, shape: tuple[int, ...], *, last: bool = False) -> None:
        channels = shape[0]
        mean = np.zeros(channels) if mean is None else np.broadcast_to(np.asarray(mean, np.float64), channels)
        std = np.ones(channels) if std is None else np.broadcast_to(np.asarray(std, np.float64), channels)
        self.scale = (1 / (255 * std)).astype(np.float32).reshape(-1, 1, 1)
        self.shift = (-mean / std).astype(np.float32).reshape(-1, 1, 1)
        # Written out to whole images, a few at a time: numpy is then in one long loop instead of one for each channel
        # of each image, which is a third quicker, and the constants stay in the cache.
        self._step = max(1, self.BLOCK_BYTES // (4 * int(np.prod(shape))))
        self._scales = _laid(np.broadcast_to(self.scale, (self._step, *shape)), last)
        self._shifts = _laid(np.broadcast_to(self.shift, (self._step, *shape)), last)
        self._last = last

    def __call__(self, images: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write ``(images / 255 - mean) / std`` into `out`.

        `images` may be the last bytes of `out`: an image is read before its bytes, or those of a later one, are
        written over, since ``4 (i + 1) <= 3 n + i + 1`` for each of n images; within a block numpy sees the overlap.
        """
        shape = (self._step, *images.shape[1:])
        turned = _laid(np.empty(shape, np.uint8), True) if self._last and images.strides[3] == 1 else None
        for start in range(0, len(images), self._step):
            block, pixels = out[start : start + self._step], images[start : start + self._step]
            if turned is not None:
                pixels = turned[: len(pixels)]
                turn(images[start : start + self._step], pixels)
            np.copyto(block, pixels)
            np.multiply(block, self._scales[: len(block)], out=block)
            np.add(block, self._shifts[: len(block)], out=block)


def _laid(images: NDArray[Any], last: bool) -> NDArray[Any]:
    """Copy (B, C, H, W) to memory where channels lie last, or first."""
    return images.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2) if last else images.copy()


def turn(images: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Copy `images` to `out`, (B, C, H, W) too but with channels last in memory."""
    for channel in range(images.shape[1]):  # five times as quick as numpy's own way
        out[:, channel] = images[:, channel]


class Finishers:
    """What finishes a loader's batches: one for each iterator at work, since memory and scratch are its own."""

    def __init__(self, options: LoaderOptions, shape: tuple[int, ...], choice: Choice, n: int) -> None:
        self._options, self._shape, self._choice = options, shape, choice
        self._most = options.batch_size if read_by_xla() else min(options.batch_size, n)  # for it batches are filled up
        self._idle: list[Any] = []

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """Give one for an epoch: a function of (images or rows, seed, jitter)."""
        try:
            one = self._idle.pop()  # another thread's iterator may take the last one
        except IndexError:
            same = self._options.shape in (None, self._shape[1:])
            if len(self._shape) == 3 and self._choice.kind == "cpu" and self._options.transform is None and same:
                one = CpuFinish(self._options, self._shape, self._most)
            else:
                one = TorchFinish(self._options, self._shape, self._choice)
        try:
            yield one
        finally:
            self._idle.append(one)


class CpuFinish:
    """Jitter, and normalise on the CPU with numpy, within the memory of the batch that comes out."""

    transforms = False
    JITTER_BYTES = 1 << 20
    SHARED_BYTES = 16 << 20  # from so many on a second thread takes half: photos, not small images

    def __init__(self, options: LoaderOptions, shape: tuple[int, ...], most: int) -> None:
        import torch

        self._dtype = getattr(torch, options.dtype)
        self._last = options.memory_format == "channels_last"
        channels, height, width = shape
        whole = (most, *((height, width, channels) if self._last else (channels, height, width)))
        self._raw = options.dtype == "uint8"
        narrow = options.dtype in ("float16", "bfloat16")
        # What is made in float32 only to be narrowed is scratch, and one is enough of it.
        wide = Pool(whole, np.uint8 if self._raw else np.float32)
        self._take: Callable[[], Any] = np.empty(whole, np.float32).view if narrow else wide.take
        # numpy has no bfloat16, but integers of as many bits.
        self._narrowed = Pool(whole, np.int16) if narrow else None
        self._normalise = Normalise(options.mean, options.std, shape, last=self._last)
        self._at_once = max(1, self.JITTER_BYTES // (4 * int(np.prod(shape))))
        self._lent: Any = None
        self._second = Threads(1, "datastage-finish")

    def room(self, n: int) -> Any:
        """Return the memory of the batch that the next call fills, for making its `n` images in, if that is of use."""
        if self._raw and self._last:
            return None
        self._lent = self._take()
        return self._lent[:n].reshape(-1).view(np.uint8)

    def __call__(self, images: NDArray[np.uint8], seed: int, jitter: Any = None) -> Any:
        """Return the finished batch of uint8 `images` (B, C, H, W), which nobody else holds, maybe made in `room`."""
        import torch

        if jitter is not None:
            from datastage.batches.batch_ops import jittered

            pixels = torch.from_numpy(images)
            for start in range(0, len(images), self._at_once):
                part = slice(start, start + self._at_once)
                pixels[part] = jittered(pixels[part], jitter[part])
        if self._raw and (images.transpose(0, 2, 3, 1) if self._last else images).flags.c_contiguous:
            self._lent = None
            return torch.from_numpy(images)
        out, self._lent = (self._take() if self._lent is None else self._lent), None
        out = self._as_batch(out, len(images))
        if self._raw:
            turn(images, out)
        else:
            self._normalised(images, out)
        made = torch.from_numpy(out)
        if self._narrowed is not None:
            bits = self._as_batch(self._narrowed.take(), len(images))
            return torch.from_numpy(bits).view(self._dtype).copy_(made)
        return made

    def _normalised(self, images: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        half = len(images) // 2
        if out.nbytes < self.SHARED_BYTES or not half or np.may_share_memory(images, out):
            self._normalise(images, out)
            return
        other = self._second.submit(self._normalise, images[half:], out[half:])
        self._normalise(images[:half], out[:half])
        other.result()

    def _as_batch(self, array: NDArray[Any], n: int) -> NDArray[Any]:
        """Return memory of a pool as (n, C, H, W)."""
        return array[:n].transpose(0, 3, 1, 2) if self._last else array[:n]


class TorchFinish:
    """Jitter, transform and normalise with torch, on any device; rows of numbers are standardised already."""

    def __init__(self, options: LoaderOptions, shape: tuple[int, ...], choice: Choice) -> None:
        import torch

        self._choice, self._device, self._dtype = choice, choice.device, getattr(torch, options.dtype)
        self.transforms = options.transform is not None
        self._transform = options.transform
        self._fit = None if options.shape is None or len(shape) == 1 else Fit(options.shape, options.fit)
        self._format = torch.channels_last if options.memory_format == "channels_last" else torch.contiguous_format
        self._scale: Any = None
        if len(shape) == 3:
            normalise = Normalise(options.mean, options.std, shape)
            self._scale = torch.from_numpy(normalise.scale).to(self._device)
            self._shift = torch.from_numpy(normalise.shift).to(self._device)

    def __call__(self, images: Any, seed: int, jitter: Any = None) -> Any:
        """Return the finished batch of uint8 images or float32 rows, a tensor on the device or an array on the CPU."""
        import torch

        from datastage.batches.batch_ops import fitted, jittered

        batch = images if isinstance(images, torch.Tensor) else torch.from_numpy(images).to(self._device)
        if jitter is not None:
            batch = jittered(batch, jitter)
        if self._fit is not None:
            batch = fitted(batch, self._fit)
        if self._transform is not None:
            device = "cpu" if self._choice.kind == "xla" else self._device  # XLA has no generators of its own
            batch = transformed(self._transform, batch, torch.Generator(device).manual_seed(seed))
        if batch.dtype == torch.uint8 and self._dtype != torch.uint8 and self._scale is not None:
            # One kernel reads bytes and writes floats as they are to lie: a pass of each kind less for every step.
            room = torch.empty(batch.shape, dtype=self._dtype, device=batch.device, memory_format=self._format)
            return torch.addcmul(self._shift, batch, self._scale, out=room)
        batch = batch.to(self._dtype)
        return batch.contiguous(memory_format=self._format) if batch.ndim == 4 else batch


def transformed(transform: Callable[..., Any], batch: Any, generator: Any) -> Any:
    """Return what a user's transform makes of a batch, or raise `SpecError` if that is no batch of as many."""
    import torch

    made = _called(transform, batch, generator)
    if isinstance(made, torch.Tensor) and made.ndim and len(made) == len(batch):
        return made
    kind = "None" if made is None else f"a {type(made).__name__}"
    what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else kind
    raise SpecError(
        f"transform= was given a batch of {len(batch)} and returned {what}.",
        "Next: let transform(batch, generator) return the batch, a tensor of as many.",
    )


def try_transform(options: LoaderOptions, shape: tuple[int, ...]) -> None:
    """Call the transform with two black pictures, or rows, of this shape, on the CPU; raises `SpecError`."""
    if options.transform is None:
        return
    import torch

    batch = torch.zeros((2, *shape), dtype=torch.uint8 if len(shape) == 3 else torch.float32)
    try:
        with torch.random.fork_rng(devices=[]):
            made = transformed(options.transform, batch, torch.Generator().manual_seed(0))
    except SpecError:
        raise
    except Exception as error:
        if str(options.device) != "cpu" and not isinstance(error, TypeError):
            return  # it may hold tensors of another device: the first batch tells
        takes_pil = "a picture is a uint8 tensor (C, H, W): leave out what takes PIL pictures, such as ToTensor()."
        takes_batch = "let it take a batch of uint8 tensors: transform(batch, generator), or transform(batch)."
        raise SpecError(
            f"transform= failed when it was tried: {error}".rstrip(".") + ".",
            f"Next: {takes_pil if is_torchvisions(options.transform) else takes_batch}",
        ) from error
    if made.shape[1:] != batch.shape[1:]:
        said = "changes the size: size= does so for every part"
    elif batch.dtype == torch.uint8 and made.is_floating_point():
        said = "returns floats: mean= and std= normalise every part alike"
    else:
        return
    options.reporter.note(f"transform= is for training alone, and {said}", "Note")


def _called(transform: Callable[..., Any], batch: Any, generator: Any) -> Any:
    """Call a transform; torchvision's for each picture, under torch's own generator, which is left as it was."""
    import torch

    if not is_torchvisions(transform):
        return transform(batch) if takes(transform) == 1 else transform(batch, generator)
    with torch.random.fork_rng(devices=[batch.device] if batch.device.type == "cuda" else []):
        torch.manual_seed(generator.initial_seed())
        return torch.stack([transform(picture) for picture in batch])
