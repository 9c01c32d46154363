"""From image files to loaders: `from_folder`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datastage.batches import folder
from datastage.batches.augment import Augment
from datastage.batches.decode import Unreadable, decode_pil
from datastage.batches.joined import check_limit, from_arrays
from datastage.batches.loader import Loaders
from datastage.errors import IntegrityError, SpecError, StorageError
from datastage.progress import SILENT, Reporter


def from_folder(
    path: str | os.PathLike[str],
    *,
    batch_size: int,
    size: int | None = None,
    val: float | None = None,
    test: float | None = None,
    unreadable: str = "skip",
    augment: Augment | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    transform: Callable[[Any, Any], Any] | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    device: Any = "auto",
    dtype: str = "float32",
    memory_format: str = "contiguous",
    limit: int | None = None,
    seed: int = 0,
    reuse: bool = False,
    cache: Path | None = None,
    reporter: Reporter = SILENT,
) -> Loaders:
    """Make loaders of a folder of class folders."""
    import numpy as np

    if unreadable not in ("skip", "raise"):
        raise SpecError(f"unreadable={unreadable!r}: there are 'skip' and 'raise'.")
    check_limit(limit)
    root = Path(path)
    listed, said = folder.split(folder.arrange(folder.walk(root), str(root)), val=val, test=test)
    if said:
        reporter.note(said)
    arrays = {}
    bad: list[str] = []
    for name, pairs in listed.splits.items():
        images, labels = [], []
        for file, label in pairs:
            try:
                data = (root / file).read_bytes()
                images.append(_resized(decode_pil(data), size))
                labels.append(label)
            except OSError as error:
                raise StorageError.of(error, "reading the images") from error
            except Unreadable as error:
                if unreadable == "raise":
                    raise IntegrityError(f"{file} cannot be read as an image: {error}.") from error
                bad.append(file)
        sizes = sorted({image.shape[:2] for image in images})
        if len(sizes) > 1:
            raise mixed(sizes)
        arrays[name] = (np.stack(images), np.array(labels))
    if bad:
        reporter.note(f"Left out  {len(bad):,} images that cannot be read: {', '.join(bad[:3])}")
    return from_arrays(
        arrays,
        batch_size=batch_size,
        augment=augment,
        mean=mean,
        std=std,
        classes=listed.classes,
        transform=transform,
        shuffle=shuffle,
        drop_last=drop_last,
        device=device,
        dtype=dtype,
        memory_format=memory_format,
        limit=limit,
        seed=seed,
        reuse=reuse,
        reporter=reporter,
    )


def mixed(sizes: Sequence[tuple[int, int]]) -> SpecError:
    """Return the error that says how sizes range, and a size that would do."""
    heights, widths = [h for h, _ in sizes], [w for _, w in sizes]
    shortest = min(min(heights), min(widths))
    good = next((s for s in (224, 128, 96, 64, 32) if s <= shortest), shortest)
    return SpecError(
        f"The images have different sizes, {min(widths)} x {min(heights)} to {max(widths)} x {max(heights)} pixels, "
        "and a batch needs one.",
        f"Next: say which, for example size={good}.",
    )


def _resized(image: Any, size: int | None) -> Any:
    if size is None:
        return image
    import numpy as np
    from PIL import Image

    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
    )
    return np.asarray(square)
