"""One image file's bytes to RGB pixels, with the quickest library that is here and can.

Here: the table of JPEG decoders, what a JPEG says of itself, `decode`, `square`. Not here: files, archives, the cache
(`packed`). What comes out is what Pillow's ``convert("RGB")`` gives, as in torchvision's ImageFolder, but that photos
are turned the way up their camera noted, and that 16 bits a pixel are scaled to 8 instead of cut off.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from datastage.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PNG_END = b"\0\0\0\0IEND\xaeB\x60\x82"


class Unreadable(Exception):
    """These bytes are not a whole image; says why."""


class Jpeg(NamedTuple):
    """What the markers of a JPEG say.

    Attributes
    ----------
    height, width : int
        Of the pixels as stored.
    channels : int
        1 grey, 3 colour, 4 for printing (CMYK).
    orientation : int
        EXIF's, 1 to 8; 1 where none is given.
    whole : bool
        Whether an end mark follows the pixels.
    """

    height: int
    width: int
    channels: int
    orientation: int
    whole: bool


def read_markers(data: bytes) -> Jpeg | None:
    """Read the markers of a JPEG; None if they lead nowhere.

    References
    ----------
    ITU-T T.81, Annex B; the orientation tag 0x0112 of EXIF 2.3.
    """
    at, orientation = 2, 1
    height = width = channels = 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        mark = data[at + 1]
        if mark == 0xFF:  # fill bytes
            at += 1
            continue
        size = data[at + 2] << 8 | data[at + 3]
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC) and at + 10 <= len(data):
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            channels = data[at + 9]
        elif mark == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation(data[at + 10 : at + 2 + size])
        elif mark == 0xDA:
            # Within the pixels FF is always followed by 00 or a restart mark, so this is the end of this image.
            return Jpeg(height, width, channels, orientation, data.rfind(b"\xff\xd9", at) > 0)
        at += 2 + size
    return Jpeg(height, width, channels, orientation, False) if height else None


def _orientation(exif: bytes) -> int:
    order: Any = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1

    def number(at: int, n: int) -> int:
        return int.from_bytes(exif[at : at + n], order)

    start = number(4, 4)
    for i in range(min(number(start, 2), 100)):
        if number(start + 2 + 12 * i, 2) == 0x0112:
            found = number(start + 10 + 12 * i, 2)
            return found if 1 <= found <= 8 else 1
    return 1


def _simplejpeg(data: bytes, facts: Jpeg, factor: int) -> NDArray[np.uint8]:
    import simplejpeg

    # Left to itself it would choose 5/8 and the like too, which take longer than the whole photo (700 against 870 a
    # second).
    least = (0, 0) if factor == 1 else (-(-facts.height // factor), -(-facts.width // factor))
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1])
    return pixels


def _cv2(data: bytes, facts: Jpeg | None, factor: int) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    sizes = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
    flags = cv2.IMREAD_IGNORE_ORIENTATION | sizes[FACTORS.index(factor)]
    pixels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot read it")
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return rgb


def _torchcodec(data: bytes, facts: Jpeg, factor: int) -> NDArray[np.uint8]:
    if factor > 1 or facts.orientation != 1:
        return _pillow(data, facts, factor)  # torchcodec has no scaled decoding, and turns photos itself
    from torchcodec.decoders import decode_jpeg

    pixels: NDArray[np.uint8] = decode_jpeg(data).permute(1, 2, 0).numpy()
    return pixels


def _torchvision(data: bytes, facts: Jpeg, factor: int) -> NDArray[np.uint8]:
    if factor > 1:
        return _pillow(data, facts, factor)
    import numpy as np
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    pixels = decode_jpeg(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), ImageReadMode.RGB)
    array: NDArray[np.uint8] = pixels.permute(1, 2, 0).numpy()
    return array


def _pillow(data: bytes, facts: Jpeg, factor: int) -> NDArray[np.uint8]:
    import numpy as np

    image = _open(data)
    if factor > 1:
        image.draft("RGB", (image.width // factor, image.height // factor))
    # convert() copies what is RGB already, and new memory for each photo costs as much as decoding it.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


FACTORS = (1, 2, 4, 8)
"""Scaled decoding: how many times smaller, each pixel the mean of those it stands for, at a part of the work."""
JPEG_DECODERS: dict[str, Callable[[bytes, Jpeg, int], NDArray[np.uint8]]] = {
    "simplejpeg": _simplejpeg,
    "cv2": _cv2,
    "torchcodec": _torchcodec,
    "torchvision": _torchvision,
    "PIL": _pillow,
}
"""Quickest first, each given the bytes, what they say of themselves, and one of `FACTORS` (benchmarks/feed.py)."""


def present() -> tuple[str, ...]:
    """Return the JPEG decoders that work here, quickest first."""
    return tuple(name for name in JPEG_DECODERS if _works(name))


def best() -> str:
    """Return the quickest JPEG decoder that works here, without importing slower ones."""
    return next((name for name in JPEG_DECODERS if _works(name)), "PIL")


@functools.cache
def has_opencv() -> bool:
    """Whether OpenCV is installed; remembered, since looking through the search path for each photo takes 50 us."""
    return importlib.util.find_spec("cv2") is not None


def _works(name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        return False
    try:
        # Where these were built for another torch than the one here, importing fails, or their operators are missing;
        # torchcodec decodes photos from 0.16 on.
        if name == "torchcodec":
            from torchcodec.decoders import decode_jpeg
        elif name == "torchvision":
            import torch
            from torchvision.io import decode_jpeg  # noqa: F401

            return bool(torch.ops.image.decode_jpeg)
    except Exception:
        return False
    return True


def decode(data: bytes, side: int = 0, decoder: str = "PIL") -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        The whole file. Its name does not matter: formats are told by content.
    side : int
        The least height and width needed: a much larger JPEG may come out smaller than it is. 0 is its full size.
    decoder : str
        One of `present`; other formats, and JPEGs that it cannot read, go to Pillow.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        RGB, the right way up. It may be read-only.

    Raises
    ------
    Unreadable
        If the bytes are cut short, or no image.
    MissingDependencyError
        If Pillow is needed and not installed.
    """
    if data[:3] == b"\xff\xd8\xff":
        facts = read_markers(data)
        if facts is None:
            return _decode_any(data)  # stray bytes between the markers, which Pillow steps over
        if not facts.whole:
            # OpenCV and others fill what is missing with grey and say nothing.
            raise Unreadable("the file is cut short")
        least = min(facts.height, facts.width)
        factor = max(k for k in FACTORS if k == 1 or (side and least >= k * side))
        if decoder != "PIL" and facts.channels in (1, 3):
            try:
                return _turned(JPEG_DECODERS[decoder](data, facts, factor), facts.orientation)
            except Exception:
                pass  # Pillow reads more kinds, and says what is wrong where it cannot
        if facts.channels != 4 and facts.channels:
            try:
                return _turned(_pillow(data, facts, factor), facts.orientation)
            except MissingDependencyError:
                raise
            except Exception as error:
                raise Unreadable(str(error) or type(error).__name__) from error
    elif decoder in ("cv2", "simplejpeg") and _is_plain_png(data) and has_opencv():
        try:
            return _cv2(data, None, 1)
        except Exception:
            pass
    return _decode_any(data)


def _is_plain_png(data: bytes) -> bool:
    """Whether this is a whole PNG of 8 bits, grey or RGB: what every library reads alike."""
    return (
        data[:8] == b"\x89PNG\r\n\x1a\n"
        and data[24:25] == b"\x08"
        and data[25:26] in (b"\0", b"\2")
        and data.endswith(PNG_END)
        and b"tRNS" not in data[:4096]
        and b"eXIf" not in data
    )


def _open(data: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            "Reading images needs Pillow, and it is not installed here.", "Next: pip install pillow"
        ) from error
    return Image.open(io.BytesIO(data))


def _decode_any(data: bytes) -> NDArray[np.uint8]:
    import numpy as np

    try:
        with _open(data) as image:
            from PIL import ImageOps

            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                # 16 bits a pixel: convert() would make white of everything above 255.
                grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if upright.mode == "P" and "transparency" in upright.info:
                upright = upright.convert("RGBA")  # the colours are the same, and Pillow does not warn
            return np.asarray(upright.convert("RGB"))
    except MissingDependencyError:
        raise
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, DecompressionBombError and more
        raise Unreadable(str(error).split(" <_io.")[0] or type(error).__name__) from error


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return height and width, the right way up, from the head of a file; None if it is no image."""
    if data[:3] == b"\xff\xd8\xff" and (facts := read_markers(data)) is not None:
        return (facts.width, facts.height) if facts.orientation >= 5 else (facts.height, facts.width)
    try:
        with _open(data) as image:
            width, height = image.size
            turned = image.format != "GIF" and image.getexif().get(0x0112, 1) >= 5
            return (width, height) if turned else (height, width)
    except MissingDependencyError:
        raise
    except Exception:
        return None


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels the way up that EXIF's orientation tells."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def square(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Cut the square from the middle and resize it to `side`, smoothed where it shrinks.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
    """
    height, width = pixels.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    middle = pixels[top : top + least, left : left + least]
    if least != side:
        middle = resize(middle, side, side)
    return middle


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) bilinearly, smoothed where it shrinks by more than half again.

    OpenCV's own smoothing takes as long as decoding the photo, so it is used only for whole factors, which it is quick
    at; torch's for what lies between 1.5 and 2; and below 1.5 plain interpolation, which leaves little to smooth.
    """
    import numpy as np

    shrink = min(pixels.shape[0] / height, pixels.shape[1] / width)
    if not has_opencv() or 1.5 < shrink < 2:
        return _by_torch(pixels, height, width)
    import cv2

    # OpenCV takes rows with bytes between them, as those of a part are, but not what was turned.
    if pixels.strides[1:] != (pixels.shape[2], 1) or pixels.strides[0] < 0:
        pixels = np.ascontiguousarray(pixels)
    factor = int(shrink)
    if factor >= 2:
        high, wide = pixels.shape[0] // factor, pixels.shape[1] // factor
        pixels = cv2.resize(pixels[: high * factor, : wide * factor], (wide, high), interpolation=cv2.INTER_AREA)
    out: NDArray[np.uint8] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) as a new array (3, H, W)."""
    import numpy as np

    if not has_opencv():
        return np.array(pixels.transpose(2, 0, 1), order="C")
    import cv2

    out = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(pixels), [out[0], out[1], out[2]])
    return out


def _by_torch(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    import numpy as np
    import torch

    # A copy, since what Pillow gives is read-only and torch warns of that. The axis of images is numpy's, whose strides
    # tell torch that channels come last: otherwise they come out first, and bringing them back takes as long again.
    photos = torch.from_numpy(np.array(pixels[None], order="C")).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(photos, (height, width), mode="bilinear", antialias=True)
    out: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return out
