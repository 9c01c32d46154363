import importlib.util
import io
import struct
import warnings
import zlib

import numpy as np
import pytest

from datastage.decode import (
    JPEG_DECODERS,
    Fit,
    Unreadable,
    decode,
    has_opencv,
    is_grey,
    read_markers,
    resize,
    size_of,
)

Image = pytest.importorskip("PIL.Image")
DECODERS = [name for name in JPEG_DECODERS if importlib.util.find_spec(name)]


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def gradient(height=60, width=90):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], 2).astype(np.uint8)


def turned_by(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_comes_out_the_way_up_that_its_camera_noted(decoder, orientation):
    from PIL import ImageOps

    data = jpeg(gradient(), exif=turned_by(orientation))
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
@pytest.mark.parametrize("cut", [40, 200, -40])
def test_a_png_that_is_cut_short_is_unreadable(decoder, cut):
    with pytest.raises(Unreadable):
        decode(saved(Image.fromarray(gradient()), "PNG")[:cut], None, decoder)


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


def by_opencv(pixels, suffix):
    cv2 = pytest.importorskip("cv2")
    return cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def with_broken_exif(png):
    chunk = b"eXIf" + b"no TIFF"
    return png[:33] + struct.pack(">I", 7) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def tiff_of_12_bits(values):
    """A TIFF of whole numbers of 12 bits, two in three bytes, as cameras of microscopes write them."""
    flat = values.ravel().astype(int)
    strip = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(flat[::2], flat[1::2]))
    tags = {256: values.shape[1], 257: values.shape[0], 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: values.shape[0],
            279: len(strip)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory


def odd_images():
    """Images that a class folder holds sooner or later: what, file, and the pixels that must come out."""
    colours, grey = Image.fromarray(gradient()), Image.fromarray(gradient()[..., 0])
    deep = (np.arange(60 * 90).reshape(60, 90) * 12).astype(np.uint16)
    palette = colours.quantize(32)
    cmyk = colours.convert("CMYK")
    alpha, grey_alpha = colours.copy(), grey.convert("LA")
    alpha.putalpha(grey)
    of = lambda image: np.asarray(image.convert("RGB"))  # noqa: E731
    high = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)
    floats = gradient()[..., 0].astype(np.float32)
    holes = floats / 255
    holes[0, 0] = np.nan
    without = of(grey).copy()
    without[0, 0] = 0
    found = {
        "16 bits": (saved(Image.fromarray(deep), "PNG"), high),
        "16 bits tiff": (saved(Image.fromarray(deep), "TIFF"), high),
        "16 bits tiff of a Mac": (saved(Image.fromarray(deep.astype(">u2")), "TIFF"), high),
        "16 bits pgm": (b"P5 90 60 65535 " + deep.astype(">u2").tobytes(), high),
        "12 bits tiff": (tiff_of_12_bits(deep // 16), np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)),
        "32 bits tiff": (saved(Image.fromarray(deep.astype(np.int32)), "TIFF"), high),
        "32 bits tiff of small numbers": (saved(Image.fromarray(np.asarray(grey).astype(np.int32)), "TIFF"), of(grey)),
        "floats from 0 to 1": (saved(Image.fromarray(floats / 255), "TIFF"), of(grey)),
        "floats from 0 to 255": (saved(Image.fromarray(floats), "TIFF"), of(grey)),
        "floats a little beyond": (saved(Image.fromarray((floats / 255 * 1.004).clip(-0.001)), "TIFF"), of(grey)),
        "floats with holes": (saved(Image.fromarray(holes), "TIFF"), without),
        "grey png": (saved(grey, "PNG"), of(grey)),
        "grey jpg": (saved(grey, "JPEG", quality=95), of(grey)),
        "palette": (saved(palette, "PNG"), of(palette)),
        "palette tiff": (saved(palette, "TIFF"), of(palette)),
        "palette with transparency": (saved(palette, "PNG", transparency=3), of(palette)),
        "one bit": (saved(grey.convert("1"), "PNG"), of(grey.convert("1"))),
        "one bit tiff": (saved(grey.convert("1"), "TIFF"), of(grey.convert("1"))),
        "alpha": (saved(alpha, "PNG"), of(colours)),
        "alpha tiff": (saved(alpha, "TIFF"), of(colours)),
        "grey with alpha": (saved(grey_alpha, "PNG"), of(grey)),
        "cmyk jpg": (saved(cmyk, "JPEG", quality=95), of(cmyk)),
        "cmyk tiff": (saved(cmyk, "TIFF"), of(cmyk)),
        "gif": (saved(palette, "GIF"), of(palette)),
        "bmp": (saved(colours, "BMP"), of(colours)),
        "tiff": (saved(colours, "TIFF"), of(colours)),
        "tiff, compressed": (saved(colours, "TIFF", compression="tiff_lzw"), of(colours)),
        "webp": (saved(colours, "WEBP", lossless=True), of(colours)),
        "progressive jpg": (jpeg(gradient(), progressive=True), gradient()),
        "one colour transparent": (saved(colours, "PNG", transparency=(5, 5, 5)), of(colours)),
        "turned png": (saved(colours, "PNG", exif=turned_by(6)), of(colours.transpose(Image.Transpose.ROTATE_270))),
        "a broken exif block": (with_broken_exif(saved(colours, "PNG")), of(colours)),
    }
    if has_opencv():
        wide = gradient().astype(np.uint16) << 8 | 7
        found |= {
            "16 bits of colours": (by_opencv(wide, ".png"), gradient()),
            "16 bits of colours tiff": (by_opencv(wide, ".tiff"), gradient()),
            "floats of colours": (by_opencv(gradient().astype(np.float32) / 255, ".tiff"), gradient()),
            "doubles": (by_opencv(gradient()[..., 0].astype(np.float64) / 255, ".tiff"), of(grey)),
        }
    return found


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("what", odd_images())
def test_odd_images_come_out_right_whatever_their_name_and_decoder(what, decoder):
    data, expected = odd_images()[what]
    pixels = decode(data, None, decoder)
    assert pixels.shape == expected.shape
    assert abs(pixels.astype(int) - expected).mean() < 2.5
    assert size_of(data) == expected.shape[:2]


def test_a_palette_with_transparent_colours_is_decoded_without_a_warning():
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(saved(image, "PNG", transparency=bytes(range(0, 256, 2)))).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("values", "grey"),
    [(np.uint8([[0, 9]]), True), (np.uint16([[0, 9]]), True), (np.int32([[0, 9]]), True), (np.float32([[0, 1]]), True),
     (np.zeros((1, 2, 3), np.uint8), False)],
)  # fmt: skip
def test_a_picture_of_one_channel_is_told_whatever_its_type(values, grey):
    assert is_grey(saved(Image.fromarray(values), "TIFF")) == grey


@pytest.mark.parametrize(
    ("values", "tone"),
    [
        (np.uint16([[0, 200]]), "black"),
        (np.uint16([[9, 9]]), "black"),
        (np.uint16([[65000, 65535]]), "white"),
        (np.float32([[0.0, 0.02]]), "black"),
        (np.float32([[0.99, 1]]), "white"),
        (np.int32([[0, 100_000]]), "black"),
    ],
)
def test_a_wider_type_that_comes_out_black_or_white_is_said(values, tone):
    remarks = []
    decode(saved(Image.fromarray(np.repeat(values, 9, 0)), "TIFF"), remarks=remarks)
    assert [f"almost {tone}" in remark for remark in remarks] == [True]


@pytest.mark.parametrize(
    "values",
    [
        np.uint16([[0, 40000]]), np.float32([[0, 0.9]]), np.uint8([[0, 3]]), np.uint16([[0, 0]]),
        np.uint16([[65535, 65535]]),
    ],
)  # fmt: skip
def test_of_pictures_that_come_out_as_they_are_nothing_is_said(values):
    remarks = []
    decode(saved(Image.fromarray(np.repeat(values, 9, 0)), "TIFF"), remarks=remarks)
    assert remarks == []


@pytest.mark.parametrize("most", [200, 300, 65535])
def test_a_dark_picture_of_16_bits_is_scaled_as_a_bright_one_is(most):
    values = np.uint16([[0, most] * 8] * 9)
    for data in (b"P5 16 9 65535 " + values.astype(">u2").tobytes(), saved(Image.fromarray(values), "PNG")):
        assert decode(data)[0, 1, 0] == most >> 8


@pytest.mark.parametrize(("most", "bits", "seen"), [(200, 8, 200), (9000, 16, 35)])
def test_what_is_guessed_of_whole_numbers_of_32_bits_is_said(most, bits, seen):
    remarks = []
    pixels = decode(saved(Image.fromarray(np.int32([[0, most] * 8] * 9)), "TIFF"), remarks=remarks)
    assert (pixels[0, 1, 0], remarks) == (
        seen, [f"of whole numbers of 32 bits came out as if of {bits}, by the largest value of each"]
    )  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_tiff_is_that_of_its_pixels_the_right_way_up(orientation):
    data = saved(Image.fromarray(gradient()), "TIFF", exif=turned_by(orientation))
    assert size_of(data) == decode(data).shape[:2] == ((60, 90) if orientation < 5 else (90, 60))


@pytest.mark.parametrize("values", [[-3.0, 0.5], [0, 8848.0], [-1000.0, 3000.0]])
def test_floats_of_which_nobody_knows_what_is_white_are_left_out_with_their_range(values):
    with pytest.raises(Unreadable, match=f"from {values[0]:g} to {values[1]:g}"):
        decode(saved(Image.fromarray(np.float32([values] * 9)), "TIFF"))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_one_limit_of_pixels_holds_for_every_decoder(monkeypatch, decoder, kind):
    monkeypatch.setattr("datastage.decode.MOST_PIXELS", 60 * 90 - 1)
    with pytest.raises(Unreadable, match="90 x 60 are more pixels"):
        decode(saved(Image.fromarray(gradient()), kind), None, decoder)


def test_a_heic_photo_says_what_reads_it(monkeypatch):
    monkeypatch.setattr("datastage.decode._reads_heif", lambda: False)
    with pytest.raises(Unreadable, match="pip install pillow-heif"):
        decode(b"\0\0\0\x20ftypheic" + bytes(999))


@pytest.mark.parametrize("shape", [(30, 30), (20, 45), (60, 20), (120, 180)])
def test_padding_keeps_all_of_a_picture_and_its_proportions(shape, readers):
    made = Fit(shape, "pad").apply(np.full((60, 90, 3), 200, np.uint8))
    assert made.shape == (*shape, 3)
    filled = [np.flatnonzero((made[..., 0] == 200).any(axis)) for axis in (1, 0)]
    rows, columns = map(len, filled)
    assert abs(columns / rows - 1.5) < 0.08
    assert rows == shape[0] or columns == shape[1]
    assert all(abs(at[0] - (n - 1 - at[-1])) <= 1 for at, n in zip(filled, shape, strict=True))  # in the middle


@pytest.mark.parametrize("how", ["crop", "stretch"])
@pytest.mark.parametrize("shape", [(30, 30), (20, 45), (60, 20), (90, 60), (200, 100)])
def test_what_is_cut_or_stretched_has_no_empty_places(how, shape, readers):
    made = Fit(shape, how).apply(gradient() // 2 + 100)
    assert made.shape == (*shape, 3)
    assert made.min() >= 99


def test_a_stretched_picture_shows_all_of_it_and_a_cut_one_its_middle(readers):
    halves = np.zeros((40, 80, 3), np.uint8)
    halves[:, 20:60] = 200
    assert (Fit((20, 20), "crop").apply(halves) == 200).all()
    stretched = Fit((20, 20), "stretch").apply(halves)
    assert (stretched[:, :4] == 0).all()
    assert (stretched[:, 6:14] == 200).all()


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(100, 300), (75, 112), (600, 900)])
def test_a_photo_decoded_smaller_is_never_smaller_than_needed(how, shape):
    fit = Fit(shape, how)
    small = decode(jpeg(gradient(600, 900)), fit)
    whole = fit.apply(decode(jpeg(gradient(600, 900)))).astype(int)
    assert min(small.shape[0] / shape[0], small.shape[1] / shape[1]) >= 1 or how == "pad"
    assert abs(fit.apply(small) - whole).mean() < (5 if how == "pad" else 2)  # its border may move by one


@pytest.mark.parametrize(
    ("shape", "how", "factor"),
    [((100, 300), "crop", 2), ((300, 100), "crop", 2), ((75, 112), "stretch", 8), ((75, 113), "crop", 4),
     ((100, 900), "pad", 4), ((601, 900), "crop", 1)],
)  # fmt: skip
def test_a_photo_is_decoded_as_small_as_it_may_be(shape, how, factor):
    assert Fit(shape, how).factor(600, 900) == factor
    assert decode(jpeg(gradient(600, 900)), Fit(shape, how)).shape == (-(-600 // factor), -(-900 // factor), 3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_turned_photo_is_decoded_small_by_the_size_that_it_is_seen_in(decoder):
    data = jpeg(gradient(600, 900), exif=turned_by(6))
    assert decode(data, Fit((450, 150)), decoder).shape == (450, 300, 3)
