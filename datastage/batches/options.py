"""The options of a loader, written down once: checked when given, then passed on as one frozen value."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.batches.augment import Augment
from datastage.batches.devices import check_name
from datastage.errors import SpecError
from datastage.layouts.aside import check_share
from datastage.progress import SILENT, Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DTYPES = ("float32", "bfloat16", "float16", "uint8")
# What the models of torchvision and timm that are trained on ImageNet expect.
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CHOICES = {
    "memory_format": ("contiguous", "channels_last"),
    "unreadable": ("skip", "raise"),
    "fit": ("crop", "pad", "stretch"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What shapes the batches of a dataset, all its splits together. Checked when it is made."""

    batch_size: int  # samples a batch, on each rank
    val: float | str | None = None  # share or number of training samples to set aside; 0 leaves the data's own out
    test: float | str | None = None
    augment: Augment | None = None
    transform: Callable[..., Any] | None = None  # for training; gets the uint8 (B, C, H, W) batch on the device
    mean: Any = None  # a value a channel, for intensities from 0 to 1; of rows, as the rows are
    std: Any = None
    shuffle: bool = True
    drop_last: bool = False
    device: Any = "auto"
    dtype: str = "float32"
    memory_format: str = "contiguous"
    hold: bool = True  # keep a split in a GPU's own memory where it fits
    limit: int | None = None  # samples of each split, at most, from all over it
    seed: int = 0
    classes: Sequence[str] = ()
    size: int | tuple[int, int] | None = None  # that pictures are brought to
    fit: str = "crop"
    unreadable: str = "skip"
    cache: Path | None = None  # where decoded photos are kept for the next time; None is memory
    reporter: Reporter = SILENT

    def __post_init__(self) -> None:
        for name in ("batch_size", "val", "test", "dtype", "memory_format", "limit", "seed", "size", "device"):
            object.__setattr__(self, name, _as_python(getattr(self, name)))
        check_share("val", self.val)
        check_share("test", self.test)
        if not _is_whole(self.batch_size, 1):
            raise SpecError(f"batch_size={self.batch_size!r}: a whole number from 1 up is needed, such as 256.")
        if not _is_whole(self.seed, 0):
            raise SpecError(f"seed={self.seed!r}: a whole number from 0 up is needed.")
        if self.limit is not None and not _is_whole(self.limit, 1):
            raise SpecError(f"limit={self.limit!r}: a whole number of samples from 1 up is needed.")
        if self.size is not None:
            sides = self.size if isinstance(self.size, tuple | list) else (self.size, self.size)
            if len(sides) != 2 or not all(_is_whole(side, 1) and side <= 4096 for side in sides):
                raise SpecError(
                    f"size={self.size!r}: a whole number of pixels from 1 to 4096 is needed, such as 224, or two: "
                    "(height, width)."
                )
            object.__setattr__(self, "size", self.size if isinstance(self.size, int) else tuple(self.size))
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise SpecError(f"{name}={value!r}: there are {', '.join(map(repr, known))}.")
        if self.augment is not None and not isinstance(self.augment, Augment):
            raise SpecError(
                f"augment={self.augment!r}: 'auto', None or an Augment is needed.",
                "For example augment=datastage.Augment(crop=4, flip=True).",
            )
        if self.transform is not None and not callable(self.transform):
            raise SpecError(f"transform={self.transform!r} cannot be called; transform(batch, generator) is needed.")
        if self.transform is not None and not takes(self.transform):
            raise SpecError(f"transform={self.transform!r} takes neither (batch, generator) nor (batch).")
        if self.device is None or isinstance(self.device, int):  # as torch takes them
            object.__setattr__(self, "device", "auto" if self.device is None else f"cuda:{self.device}")
        check_name(self.device)
        if self.dtype not in DTYPES:
            raise SpecError(
                f"dtype={self.dtype!r} is not one of {', '.join(map(repr, DTYPES))}.",
                "Next: leave dtype out for float32, which every device takes.",
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, _constants(name, getattr(self, name)))
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width that were asked for."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def plain(self) -> LoaderOptions:
        """The same without what is for training alone."""
        return replace(self, augment=None, transform=None, shuffle=False, drop_last=False)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that samples of this shape, (C, H, W) or (D,), can be made so; raises `SpecError`."""
        import numpy as np

        augment, channels = self.augment, shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, channels):
                raise SpecError(f"{name} has {len(values)} values, and the images have {channels} channels.")
        if self.std is not None and not (np.asarray(self.std) > 0).all():
            raise SpecError(f"std={self.std!r}: values above 0 are needed.")
        if len(shape) == 1 and self.size is not None:
            raise SpecError(f"size={self.size!r} is for pictures; these are rows of numbers.", "Next: leave size out.")
        if len(shape) == 1 and self.dtype == "uint8":
            raise SpecError("dtype='uint8' is for images; these are rows of numbers.", "Next: leave dtype out.")
        if augment is None or augment == Augment():
            return
        if len(shape) == 1:
            raise SpecError(f"{augment} is for images; these are rows of numbers.", "Next: augment=None.")
        if augment.crop >= min(shape[1:]):
            raise SpecError(f"Augment(crop={augment.crop}) is too much for images of {shape[1]} x {shape[2]} pixels.")
        if augment.jitters and channels not in (1, 3):
            raise SpecError(f"Colour jitter is for images of 1 or 3 channels; these have {channels}.")

    def fill(self, channels: int) -> NDArray[np.uint8]:
        """Return what cutout fills with: the mean, so that it is about 0 once normalised; 0 where no mean is known."""
        import numpy as np

        mean = np.zeros(channels) if self.mean is None else np.broadcast_to(np.asarray(self.mean), channels)
        return np.clip(np.rint(mean * 255), 0, 255).astype(np.uint8)


def is_torchvisions(transform: Any) -> bool:
    """Whether this is one of torchvision's transforms, which are meant for one picture."""
    return any(kind.__module__.startswith("torchvision.transforms") for kind in type(transform).__mro__)


def takes(function: Callable[..., Any]) -> int:
    """Return how many arguments a transform takes: 2, or 1 where a second does not fit; 0 where not even one does."""
    try:
        signature = inspect.signature(getattr(function, "forward", function))  # a module's own takes anything
    except (TypeError, ValueError):  # what is written in C may not say
        return 2
    for n in (2, 1):
        with contextlib.suppress(TypeError):
            signature.bind(*range(n))
            return n
    return 0


def _as_python(value: Any) -> Any:
    """Return numpy's and torch's numbers as Python's, and torch's dtypes and memory formats by their names."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "memory_format"):
        return str(value).removeprefix("torch.").removesuffix("_format")
    return value


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _constants(name: str, values: Any) -> list[float] | None:
    """Return constants as numbers, or None if there are none: entries without constants have empty ones."""
    if values is None:
        return None
    import numpy as np

    if isinstance(values, str) and values == "imagenet":
        return list(IMAGENET[name])
    try:
        numbers = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError, RuntimeError):
        numbers = np.full(1, np.nan)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise SpecError(f"{name}={values!r}: a number for each channel, one for all, or 'imagenet' is needed.")
    return numbers.tolist() or None
