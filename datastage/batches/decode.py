"""One image file's bytes to RGB pixels, with the quickest library that is here and can.

Here: the table of decoders, and `decode`. Not here: files, archives, the cache (`packed`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from datastage.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Unreadable(Exception):
    """These bytes are not a whole image; says why."""


def decode_pil(data: bytes) -> NDArray[np.uint8]:
    """Decode any image with Pillow: (H, W, 3) uint8, the right way up, on black where it is transparent.

    Raises
    ------
    Unreadable
        If the bytes are cut short, or no image.
    MissingDependencyError
        If Pillow is not installed.
    """
    import numpy as np

    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingDependencyError(
            "Reading images needs Pillow, and it is not installed here.", "Next: pip install pillow"
        ) from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                # 16 bits a pixel: Pillow would clip at 255 instead of scaling.
                grey = (np.asarray(upright).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, DecompressionBombError
        raise Unreadable(str(error) or type(error).__name__) from error
