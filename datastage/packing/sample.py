"""The bytes of one picture as they go into a shard: as they are, or with the short side brought down and as JPEG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from datastage.decode import PNG_BEGIN, PNG_END, Fit, Unreadable, decode, read_markers, size_of
from datastage.decode import best as best_decoder
from datastage.decode import resize as resized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUALITY = 90
"""Of the JPEGs that are made: FFCV's and many others' choice for photos at this size."""


def packed(data: bytes, size: int | None) -> bytes:
    """Return what is packed of a picture's bytes; `Unreadable` says why it cannot be.

    Pictures that are no larger than asked keep their bytes. Of what keeps its bytes the head and the end are looked at.
    """
    found = size_of(data)
    if found is None or not min(found):
        raise Unreadable("it is no picture")
    if size is None or min(found) <= size:
        _check_end(data)
        return data
    height, width = (round(side * size / min(found)) for side in found)
    return encode(_shrunk(decode(data, Fit((height, width), "stretch"), best_decoder()), height, width))


def ending(data: bytes, name: str) -> str:
    """Return the ending of a member with these bytes: readers choose what decodes it by that."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    if data[:8] == PNG_BEGIN:
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return name.rpartition("/")[2].rpartition(".")[2].lower() or "img"


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) as a JPEG, its colours at half the resolution, by the quickest library that is here."""
    import numpy as np

    decoder = best_decoder()
    if decoder == "simplejpeg":
        import simplejpeg

        made: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420")
        return made
    if decoder == "cv2":
        import cv2

        asked = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), asked)[1])
    return _saved(pixels, "JPEG", quality=QUALITY)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W), (H, W, 1) or (H, W, 3) as a PNG: every value as it is."""
    return _saved(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels, "PNG")


def _saved(pixels: NDArray[np.uint8], kind: str, **how: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return out.getvalue()


def _shrunk(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    try:
        return resized(pixels, height, width)
    except ImportError:  # torch, which a machine that only packs need not have
        import numpy as np
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _check_end(data: bytes) -> None:
    """Refuse a file that is cut short, as far as its end tells."""
    facts = read_markers(data)
    cut = facts is not None and not facts.whole
    cut = cut or (data[:8] == PNG_BEGIN and PNG_END not in data[-4_096:])
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if cut or (webp and len(data) < 8 + int.from_bytes(data[4:8], "little")):
        raise Unreadable("the file is cut short")
