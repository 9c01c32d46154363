"""The pictures of a part as one array, for `Staged.arrays`: few, of one size. `batches` feeds all others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.decode import Unreadable, decode, is_grey
from datastage.entry import one_of
from datastage.errors import IntegrityError, SpecError
from datastage.layouts.parquet import ParquetImages
from datastage.layouts.reading import Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BYTES = 4 << 30


def arrays_of(path: Path, split: str, reading: Reading) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the samples of a part and their labels."""
    import numpy as np

    part = one_of(reading.splits, split)
    if reading.arrays is not None:
        return reading.arrays(split)
    labels = np.arange(len(part)) if part.labels is None else np.array(part.labels)
    return _pixels(path, part.names), labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64)


def _pixels(folder: Path, names: Any) -> NDArray[Any]:
    """Read pictures into uint8 (N, H, W, 3), RGB; or (N, H, W, 1) if all are grey."""
    import numpy as np

    images: list[Any] = []
    root = str(folder if folder.is_dir() else folder.parent)
    rows = ParquetImages(root) if any(".parquet:" in name for name in names) else None
    for name in names:
        try:
            data = rows.read(name) if rows is not None else (folder / name).read_bytes()
            image = decode(data)[..., :1].copy() if is_grey(data) else decode(data)
        except (OSError, Unreadable) as error:
            raise IntegrityError(
                f"{name} cannot be read: {error}.", "Next: datastage.loaders skips such files."
            ) from None
        if images and image.shape[:2] != images[0].shape[:2]:
            shape = images[0].shape
            raise SpecError(
                f"The pictures differ in size: {shape[1]} x {shape[0]} and {image.shape[1]} x {image.shape[0]}.",
                "Next: datastage.loaders(path, batch_size=64, size=128) makes them one size.",
            )
        images.append(image)
        if len(images) * image.size > _MOST_BYTES:
            raise SpecError(
                "These pictures are too many for one array.", "Next: datastage.loaders(path, batch_size=64)."
            )
    channels = max(image.shape[2] for image in images)
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])
