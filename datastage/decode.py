"""One image file's bytes to RGB pixels, with the quickest library that is here and can, brought to one size.

What comes out is what Pillow's ``convert("RGB")`` gives, as in torchvision's ImageFolder, but that photos are turned
the way up their camera noted, and that wider types than 8 bits are scaled to 8 instead of cut off.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from datastage.errors import MissingDependencyError, needing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PIXELS = 178_956_970  # what Pillow refuses is refused whatever decodes: a small file may hold gigabytes of pixels
FACTORS = (1, 2, 4, 8)  # scaled decoding: how many times smaller, each pixel the mean of those it stands for
PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB\x60\x82"
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class Unreadable(Exception):
    """These bytes are not a whole image; says why."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How pictures are brought to one size."""

    shape: tuple[int, int]
    how: str = "crop"
    odd: bool = False

    def factor(self, height: int, width: int) -> int:
        """Return by how much a picture of this size may be decoded smaller: still no smaller than it is needed."""
        ratios = height // self.shape[0], width // self.shape[1]
        most = max(ratios) if self.how == "pad" else min(ratios)
        return max(k for k in FACTORS if k == 1 or k <= most)

    def cut(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return what is taken of a picture: top, left, height and width."""
        if self.how != "crop":
            return 0, 0, height, width
        h, w = self.shape
        high, wide = min(height, max(1, round(width * h / w))), min(width, max(1, round(height * w / h)))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def room(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that it is resized to; what is left of `shape` around it stays black."""
        h, w = self.shape
        if self.how != "pad":
            return h, w
        scale = min(h / height, w / width)
        return min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale)))

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (H, W, 3) at this size, smoothed where it shrinks."""
        import numpy as np

        top, left, height, width = self.cut(*pixels.shape[:2])
        high, wide = self.room(height, width)
        made = resize(pixels[top : top + height, left : left + width], high, wide)
        if (high, wide) == self.shape:
            return made
        out = np.zeros((*self.shape, 3), np.uint8)
        top, left = (self.shape[0] - high) // 2, (self.shape[1] - wide) // 2
        out[top : top + high, left : left + wide] = made
        return out


class Jpeg(NamedTuple):
    """What the markers of a JPEG say; its size as stored."""

    height: int
    width: int
    channels: int  # 1 grey, 3 colour, 4 CMYK
    orientation: int  # EXIF's, 1 to 8
    whole: bool  # whether an end mark follows the pixels


def read_markers(data: bytes) -> Jpeg | None:
    """Read the markers of a JPEG (ITU-T T.81, Annex B; EXIF 2.3, tag 0x0112); None if there are none that lead on."""
    if data[:3] != b"\xff\xd8\xff":
        return None
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


def _simplejpeg(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    import simplejpeg

    # Left to itself it would choose 5/8 and the like too, which take longer than the whole photo (700 against 870 a
    # second).
    least = (0, 0) if factor == 1 else (-(-height // factor), -(-width // factor))
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1])
    return pixels


def _cv2(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    sizes = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
    flags = cv2.IMREAD_IGNORE_ORIENTATION | sizes[FACTORS.index(factor)]
    pixels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot read it")
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return rgb


def _pillow(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    import numpy as np

    image = _open(data)
    if factor > 1:
        image.draft("RGB", (image.width // factor, image.height // factor))
    # convert() copies what is RGB already, and new memory for each photo costs as much as decoding it.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


# Quickest first, each given the bytes, height and width, and one of `FACTORS` (benchmarks/feed.py).
JPEG_DECODERS: dict[str, Callable[[bytes, int, int, int], NDArray[np.uint8]]] = {
    "simplejpeg": _simplejpeg,
    "cv2": _cv2,
    "PIL": _pillow,
}


def best() -> str:
    """Return the quickest JPEG decoder that is here."""
    return next((name for name in JPEG_DECODERS if importlib.util.find_spec(name) is not None), "PIL")


@functools.cache
def has_opencv() -> bool:
    """Whether OpenCV is installed; remembered, since looking through the search path for each photo takes 50 us."""
    return importlib.util.find_spec("cv2") is not None


def decode(
    data: bytes, fit: Fit | None = None, decoder: str = "PIL", remarks: list[str] | None = None
) -> NDArray[np.uint8]:
    """Decode the bytes of an image file, whose name does not matter: formats are told by content."""
    if (facts := read_markers(data)) is not None:
        return _jpeg(data, facts, fit, decoder)  # else stray bytes between the markers, which Pillow steps over
    if data[:8] == PNG_BEGIN:
        _check_pixels(int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big"))
    if decoder != "PIL" and _is_plain_png(data) and has_opencv():
        try:
            return _cv2(data, 0, 0, 1)
        except Exception:
            pass
    return _decode_any(data, remarks)


def _jpeg(data: bytes, facts: Jpeg, fit: Fit | None, decoder: str) -> NDArray[np.uint8]:
    if not facts.whole:
        # OpenCV and others fill what is missing with grey and say nothing.
        raise Unreadable("the file is cut short")
    _check_pixels(facts.height, facts.width)
    size = (facts.width, facts.height) if facts.orientation >= 5 else (facts.height, facts.width)
    factor = 1 if fit is None else fit.factor(*size)
    if facts.channels not in (1, 3):
        return _decode_any(data, None)
    for name in dict.fromkeys((decoder, "PIL")):  # Pillow reads more kinds, and says what is wrong where it cannot
        try:
            return _turned(JPEG_DECODERS[name](data, facts.height, facts.width, factor), facts.orientation)
        except MissingDependencyError:
            raise
        except Exception as error:
            why = str(error) or type(error).__name__
    raise Unreadable(why)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise Unreadable(f"{width} x {height} are more pixels than the {MOST_PIXELS:,} that are decoded")


def _is_plain_png(data: bytes) -> bool:
    """Whether this is a whole PNG of 8 bits, grey or RGB: what every library reads alike."""
    return (
        data[:8] == PNG_BEGIN
        and data[24:25] == b"\x08"
        and data[25:26] in (b"\0", b"\2")
        and data.endswith(PNG_END)
        and b"eXIf" not in data
    )


def _open(data: bytes) -> Any:
    with needing("Reading pictures", "Pillow"):
        from PIL import Image
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and not _reads_heif():
        raise Unreadable("Pillow reads HEIC with a further package: pip install pillow-heif")
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise Unreadable(f"it has more pixels than the {MOST_PIXELS:,} that are decoded") from error
    _check_pixels(image.height, image.width)
    return image


@functools.cache
def _reads_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _upright(image: Any) -> Any:
    """Turn an image the way up that its camera noted; what is broken there is ignored, as torchvision does."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _decode_any(data: bytes, remarks: list[str] | None) -> NDArray[np.uint8]:
    import numpy as np

    try:
        try:
            image = _open(data)
        except OSError:
            wide = _by_opencv(data)  # RGB of 32-bit floats, and whatever else science writes that Pillow does not read
            if wide is None:
                raise
            return _narrowed(wide, 0, remarks)
        with image:
            image.load()
            upright = _upright(image)
            if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
                return _narrowed(np.asarray(upright), _bits(image), remarks)
            if upright.mode == "P" and "transparency" in upright.info:
                upright = upright.convert("RGBA")  # the colours are the same, and Pillow does not warn
            return np.asarray(upright.convert("RGB"))
    except (MissingDependencyError, Unreadable):
        raise
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, DecompressionBombError and more
        raise Unreadable(str(error).split(" <_io.")[0] or type(error).__name__) from error


def _by_opencv(data: bytes) -> NDArray[Any] | None:
    if data[:4] not in (b"II*\0", b"MM\0*") or not has_opencv():
        return None
    import cv2
    import numpy as np

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.shape[2:] not in ((), (3,), (4,)):
        return None
    return np.asarray(found if found.ndim == 2 else found[:, :, 2::-1])


def _bits(image: Any) -> int:
    """Return how many bits a value has that Pillow holds in more; 0 if that is not known."""
    if image.format == "TIFF":
        return int(image.tag_v2.get(258, (0,))[0])
    return 16 if image.format in ("PNG", "PPM") else 0


def _narrowed(wide: NDArray[Any], bits: int, remarks: list[str] | None) -> NDArray[np.uint8]:
    """Scale values of a wider type to 8 bits: the whole range of whole numbers, floats from 0 to 1 or from 0 to 255."""
    import numpy as np

    values = np.nan_to_num(wide, nan=0.0) if wide.dtype.kind == "f" else wide
    least, most = values.min(), values.max()
    # Who computed floats from 0 to 1 may have gone a little beyond.
    if least < (-0.01 if wide.dtype.kind == "f" else 0) or (wide.dtype.kind == "f" and most >= 256):
        raise Unreadable(f"its values go from {least:g} to {most:g}: what is black and what is white, only you know")
    is_known = 8 <= bits <= 16 or wide.dtype.kind == "f" or wide.dtype.itemsize < 4
    if wide.dtype.kind == "f":
        pixels = np.rint(values * (255 if most <= 1.01 else 1)).clip(0, 255).astype(np.uint8)
    elif wide.dtype == np.uint8:
        pixels = values
    else:
        # Whole numbers of 32 bits are hardly ever used to their end: labels of 8 bits, counts of 16.
        bits = bits if 8 <= bits <= 16 else 16 if is_known or most >= 256 else 8
        while most >> bits:
            bits = min(bits + 8, 32)
        pixels = (values >> (bits - 8)).astype(np.uint8)
    dark, bright = pixels.max() < 16 and most > 0, 239 < pixels.min() < 255
    if remarks is not None and wide.dtype != np.uint8 and (dark or bright):
        tone = "black" if dark else "white"
        remarks.append(f"of a wider type than 8 bits came out almost {tone}, their values ending at {most:g}")
    elif remarks is not None and not is_known:
        remarks.append(f"of whole numbers of 32 bits came out as if of {bits}, by the largest value of each")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return height and width, the right way up, from the head of a file; None if it is no image."""
    if (facts := read_markers(data)) is not None:
        return (facts.width, facts.height) if facts.orientation >= 5 else (facts.height, facts.width)
    try:
        with _open(data) as image:
            # The size of a TIFF is as it lies in some versions of Pillow, and the right way up in others.
            width, height = (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size
            try:
                turned = image.format != "GIF" and image.getexif().get(0x0112, 1) >= 5
            except Exception:
                turned = False
            return (width, height) if turned else (height, width)
    except MissingDependencyError:
        raise
    except Exception:
        wide = _by_opencv(data)
        return None if wide is None else wide.shape[:2]


def is_grey(data: bytes) -> bool:
    """Whether a picture that was decoded has one channel, by the head of its file."""
    try:
        with _open(data) as image:
            return image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
    except OSError:
        return False  # what OpenCV alone reads


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels the way up that EXIF's orientation tells."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) bilinearly, smoothed where it shrinks by more than half again."""
    import numpy as np

    # OpenCV's own smoothing takes as long as decoding the photo, so it is used only for whole factors, which it is
    # quick at; torch's for what lies between 1.5 and 2; and below 1.5 plain interpolation leaves little to smooth.
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] / height, pixels.shape[1] / width
    shrink, most = min(shrinks), max(shrinks)
    if not has_opencv() or 1.5 < most < 2 or most > 1.5 * max(shrink, 1):
        return by_torch(pixels, height, width)
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


def by_torch(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) by torch, smoothed where it shrinks."""
    import numpy as np
    import torch

    # A copy, since what Pillow gives is read-only and torch warns of that. The axis of images is numpy's, whose strides
    # tell torch that channels come last: otherwise they come out first, and bringing them back takes as long again.
    photos = torch.from_numpy(np.array(pixels[None], order="C")).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(photos, (height, width), mode="bilinear", antialias=True)
    out: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return out
