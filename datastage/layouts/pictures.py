"""The pictures of a part as one array, for `Staged.arrays`: few, of one size. `batches` feeds all others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, SpecError, needing
from datastage.layouts.parquet import ParquetImages
from datastage.layouts.reading import Reading, one_of

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

    with needing("Reading pictures", "Pillow"):
        from PIL import Image
    images: list[Any] = []
    rows = ParquetImages(str(folder if folder.is_dir() else folder.parent))
    for name in names:
        try:
            with Image.open(io.BytesIO(rows.read(name)) if ".parquet:" in name else folder / name) as picture:
                grey = picture.mode in ("1", "L", "I", "I;16")
                image = np.asarray(picture.convert("L" if grey else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
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
    if not all(image.ndim == 2 for image in images):
        return np.stack([np.repeat(one[..., None], 3, axis=2) if one.ndim == 2 else one for one in images])
    return np.stack(images)[..., np.newaxis]
