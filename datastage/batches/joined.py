"""From arrays to loaders: `from_arrays`, the checks and the parts joined in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datastage.batches.arrays import ArraySource, check_arrays, how_many, limited, split_off
from datastage.batches.augment import Augment
from datastage.batches.devices import Chooser
from datastage.batches.finish import Recipe, check_channels
from datastage.batches.loader import Loaders, Source, build
from datastage.errors import SpecError
from datastage.progress import SILENT, Reporter


def from_arrays(  # noqa: PLR0913
    splits: Mapping[str, tuple[Any, Any]],
    *,
    batch_size: int,
    val: float | None = None,
    test: float | None = None,
    augment: Augment | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] = (),
    transform: Callable[[Any, Any], Any] | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    device: Any = "auto",
    dtype: str = "float32",
    memory_format: str = "contiguous",
    limit: int | None = None,
    seed: int = 0,
    reuse: bool = False,
    reporter: Reporter = SILENT,
) -> Loaders:
    """Make loaders of arrays.

    Parameters
    ----------
    splits : mapping of str to (images, labels)
        ``"train"``, and ``"val"`` and ``"test"`` where there are such. Images are uint8 of shape (N, H, W, C) or
        (N, H, W), or rows of numbers (N, D); labels are whole numbers (N,).
    batch_size : int
        Samples a batch, on each rank.
    val, test : float or int, optional
        A share or a number of the training samples to set aside, always the same ones. Where a split of that name was
        given, it is used and nothing is set aside; ``0`` leaves it out.
    augment : Augment, optional
        What is done to training images. None is nothing.
    mean, std : sequence of float, optional
        A value a channel, for intensities from 0 to 1 (for rows: as the rows are). None leaves intensities from 0 to 1.
    classes : sequence of str
        Names of the classes.
    transform : callable, optional
        ``transform(batch, generator)``, given the uint8 (B, C, H, W) training batch on the device after `augment`.
    shuffle, drop_last : bool
        For training; test is neither shuffled nor cut.
    device : str or torch.device
        ``"auto"`` picks when the first batch is asked for.
    dtype : {"float32", "bfloat16", "float16", "uint8"}
        Of the images. uint8 is not normalised.
    memory_format : {"contiguous", "channels_last"}
        Of the images.
    limit : int, optional
        Use at most so many samples of each split, spread over it.
    seed : int
        What order and augmentation follow from, with the epoch.
    reuse : bool
        Let a batch's memory be overwritten when the next is asked for.
    reporter : Reporter
        Who is told which device was chosen.

    Returns
    -------
    Loaders
        Unpacks into the splits that there are.

    Raises
    ------
    SpecError
        If an argument or an array does not fit.
    """
    mean, std = given("mean", mean), given("std", std)
    recipe = Recipe(batch_size, augment, transform, mean, std, dtype, memory_format, reuse)
    chooser = Chooser(device, dtype, reporter)
    check_limit(limit)
    unknown = set(splits) - {"train", "val", "test"}
    if unknown or "train" not in splits:
        raise SpecError(
            f"splits are named train, val and test, and train is needed; given: {', '.join(map(str, splits))}."
        )
    arrays = {name: check_arrays(name, *pair) for name, pair in splits.items()}
    for name, share in (("test", test), ("val", val)):
        if name in arrays and share == 0 and share is not None:
            del arrays[name]
        elif name not in arrays and share:
            images, labels = arrays["train"]
            count = how_many(share, len(labels), name)
            arrays["train"], arrays[name] = split_off(images, labels, count)
    sources: dict[str, Source] = {}
    shape = arrays["train"][0].shape[1:]
    for name, (images, labels) in arrays.items():
        if images.shape[1:] != shape:
            raise SpecError(f"{name}: images of shape {images.shape[1:]}, and those of train have {shape}.")
        sources[name] = ArraySource(*limited(images, labels, limit))
    check_channels(recipe, shape[0])
    check_augment(augment, shape)
    if dtype == "uint8" and len(shape) == 1:
        raise SpecError("dtype='uint8' is for images; these are rows of numbers.", "Next: leave dtype out.")
    return build(
        sources, recipe, chooser, shuffle=shuffle, drop_last=drop_last, seed=seed, classes=tuple(map(str, classes))
    )


def given(name: str, values: Any) -> list[float] | None:
    """Return constants as numbers, or None if there are none: entries without constants have empty ones.

    Raises
    ------
    SpecError
        If they are not numbers.
    """
    import numpy as np

    if values is None:
        return None
    try:
        numbers = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError, RuntimeError):
        numbers = np.full(1, np.nan)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise SpecError(f"{name}={values!r}: a number for each channel, or one for all, is needed.")
    return numbers.tolist() or None


def check_limit(limit: int | None) -> None:
    """Check `limit`, or raise `SpecError`."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise SpecError(f"limit={limit!r}: a whole number of samples from 1 up is needed.")


def check_augment(augment: Augment | None, shape: tuple[int, ...]) -> None:
    """Check that images of this shape can be augmented so, or raise `SpecError`."""
    if augment is None or augment == Augment():
        return
    if len(shape) == 1:
        raise SpecError(f"{augment} is for images; these are rows of numbers.", "Next: augment=None.")
    if augment.crop >= min(shape[1:]):
        raise SpecError(f"Augment(crop={augment.crop}) is too much for images of {shape[1]} x {shape[2]} pixels.")
    if augment.jitters and shape[0] not in (1, 3):
        raise SpecError(f"Colour jitter is for images of 1 or 3 channels; these have {shape[0]}.")
