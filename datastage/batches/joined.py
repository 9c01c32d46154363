"""From arrays to loaders: `from_arrays`, the checks and the parts joined in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datastage.batches.arrays import ArraySource, check_arrays, how_many, limited, split_off
from datastage.batches.loader import Loaders, Source, build
from datastage.batches.options import LoaderOptions, options_of
from datastage.errors import SpecError


def from_arrays(splits: Mapping[str, tuple[Any, Any]], options: LoaderOptions | None = None, **named: Any) -> Loaders:
    """Make loaders of arrays.

    Parameters
    ----------
    splits : mapping of str to (images, labels)
        ``"train"``, and ``"val"`` and ``"test"`` where there are such. Images are uint8 of shape (N, H, W, C) or
        (N, H, W), or rows of numbers (N, D); labels are whole numbers (N,).
    options : LoaderOptions, optional
        How batches are made.
    **named
        The same by their names, as `LoaderOptions` has them.

    Returns
    -------
    Loaders
        Unpacks into the splits that there are.

    Raises
    ------
    SpecError
        If an argument or an array does not fit.
    """
    options = options_of(options, named)
    unknown = set(splits) - {"train", "val", "test"}
    if unknown or "train" not in splits:
        raise SpecError(
            f"splits are named train, val and test, and train is needed; given: {', '.join(map(str, splits))}."
        )
    arrays = {name: check_arrays(name, *pair) for name, pair in splits.items()}
    for name, share in (("test", options.test), ("val", options.val)):
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
        sources[name] = ArraySource(*limited(images, labels, options.limit))
    options.check_shape(shape)
    return build(sources, options)
