import importlib.util
import io

import numpy as np
import pytest

from datastage.batches.decode import JPEG_DECODERS, Fit, Unreadable, decode, read_markers, resize, size_of

Image = pytest.importorskip("PIL.Image")
DECODERS = [name for name in JPEG_DECODERS if importlib.util.find_spec(name)]


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def gradient(height=60, width=90):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], 2).astype(np.uint8)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_comes_out_the_way_up_that_its_camera_noted(decoder, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(gradient(), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    pixels = decode(data, None, decoder)
    assert pixels.shape == expected.shape
    assert abs(pixels - expected).max() <= 4
    assert size_of(data) == expected.shape[:2]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("cut", [20, 200, -2])
def test_a_photo_that_is_cut_short_is_unreadable(decoder, cut):
    with pytest.raises(Unreadable):
        decode(jpeg(gradient())[:cut], None, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_end_mark_in_a_thumbnail_is_not_the_photos(decoder):
    data = jpeg(gradient())
    comment = b"\xff\xfe" + (len(data) + 2).to_bytes(2, "big") + data
    cut = data[:2] + comment + data[2:-2]
    with pytest.raises(Unreadable):
        decode(cut, None, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_much_larger_photo_may_come_out_smaller_but_never_too_small(decoder):
    pixels = decode(jpeg(gradient(600, 900)), Fit((100, 100)), decoder)
    assert min(pixels.shape[:2]) >= 100


def test_stray_bytes_between_the_markers_are_stepped_over():
    data = jpeg(gradient())
    at = data.index(b"\xff\xdb")
    assert abs(decode(data[:at] + b"\0\0" + data[at:]).astype(int) - gradient()).mean() < 2


def test_markers_that_lead_nowhere_are_none():
    assert read_markers(b"\xff\xd8\x00\x00\x00\x00") is None


@pytest.mark.parametrize("side", [10, 25, 45, 60, 100])
def test_a_resized_gradient_is_the_gradient(side, readers):
    pixels = Fit((side, side)).apply(gradient(60, 60))
    assert pixels.shape == (side, side, 3)
    expected = Image.fromarray(gradient(60, 60)).resize((side, side), Image.Resampling.BILINEAR)
    assert abs(pixels - np.asarray(expected).astype(int)).mean() < 3


@pytest.mark.parametrize("shrink", [1.6, 2, 3.3, 7])
def test_fine_stripes_are_smoothed_and_not_turned_into_coarse_ones(shrink, readers):
    side = 128
    stripes = np.zeros((int(side * shrink), int(side * shrink), 3), np.uint8)
    stripes[:, ::2] = 255
    assert resize(stripes, side, side).std() < 0.35 * stripes.std()


def test_what_is_resized_comes_out_as_pixels_and_not_as_planes(readers):
    pytest.importorskip("torch")
    for n in (100, 149):
        assert resize(gradient(150, 150), n, n).flags.c_contiguous


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def odd_images():
    """Images that a class folder holds sooner or later: what, file, and the pixels that must come out."""
    colours, grey = Image.fromarray(gradient()), Image.fromarray(gradient()[..., 0])
    deep = (np.arange(60 * 90).reshape(60, 90) * 12).astype(np.uint16)
    palette = colours.quantize(32)
    cmyk = colours.convert("CMYK")
    alpha = colours.copy()
    alpha.putalpha(grey)
    of = lambda image: np.asarray(image.convert("RGB"))  # noqa: E731
    return {
        "16 bits": (saved(Image.fromarray(deep), "PNG"), np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)),
        "grey png": (saved(grey, "PNG"), of(grey)),
        "grey jpg": (saved(grey, "JPEG", quality=95), of(grey)),
        "palette": (saved(palette, "PNG"), of(palette)),
        "palette with transparency": (saved(palette, "PNG", transparency=3), of(palette)),
        "one bit": (saved(grey.convert("1"), "PNG"), of(grey.convert("1"))),
        "alpha": (saved(alpha, "PNG"), of(colours)),
        "cmyk jpg": (saved(cmyk, "JPEG", quality=95), of(cmyk)),
        "gif": (saved(palette, "GIF"), of(palette)),
        "bmp": (saved(colours, "BMP"), of(colours)),
        "tiff": (saved(colours, "TIFF"), of(colours)),
        "progressive jpg": (jpeg(gradient(), progressive=True), gradient()),
    }


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("what", odd_images())
def test_odd_images_come_out_right_whatever_their_name_and_decoder(what, decoder):
    data, expected = odd_images()[what]
    pixels = decode(data, None, decoder)
    assert pixels.shape == expected.shape
    assert abs(pixels.astype(int) - expected).mean() < 2.5
