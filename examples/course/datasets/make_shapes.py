"""Make shapes.zip: 240 small pictures of circles, squares and triangles, zipped as a Mac does it.

    python make_shapes.py

The teacher runs this once; students never need it. The same file comes out each time.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 20
HERE = Path(__file__).resolve().parent


def picture(shape, generator):
    """Draw one white shape at a random place, of a random size and brightness, on a dark noisy ground."""
    image = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(image)
    size = int(generator.integers(8, 14))
    x, y = (int(v) for v in generator.integers(1, SIDE - size, size=2))
    box = (x, y, x + size, y + size)
    if shape == "circle":
        draw.ellipse(box, fill=255)
    elif shape == "square":
        draw.rectangle(box, fill=255)
    else:
        draw.polygon([(x + size // 2, y), (x, y + size), (x + size, y + size)], fill=255)
    light = np.asarray(image, dtype=np.float32) * generator.uniform(0.5, 0.9)
    noisy = light + generator.normal(20, 6, size=(SIDE, SIDE))
    # Sixteen steps of grey: noise does not compress, and the file lives in a repository.
    return Image.fromarray((np.clip(noisy, 0, 255) // 16 * 16).astype(np.uint8))


def main():
    """Write the zip beside this file."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(HERE / "shapes.zip", "w") as archive:

        def put(name, data):
            archive.writestr(zipfile.ZipInfo(name, date_time=(2026, 9, 1, 8, 0, 0)), data, zipfile.ZIP_DEFLATED)

        for shape in ("circle", "square", "triangle"):
            for number in range(80):
                png = io.BytesIO()
                picture(shape, generator).save(png, "PNG", optimize=True)
                put(f"shapes/{shape}/{number:02}.png", png.getvalue())
            put(f"shapes/{shape}/.DS_Store", b"\x00\x00\x00\x01Bud1")
            put(f"__MACOSX/shapes/{shape}/._00.png", b"\x00\x05\x16\x07")


if __name__ == "__main__":
    main()
