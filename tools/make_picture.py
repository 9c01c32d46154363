"""Make docs/picture.png, which opens the README: what a person sees when a zip of photos is staged and looked at.

    python tools/make_picture.py [docs/picture.png]

The lines are what datastage prints, the grid is what `datastage.preview` draws. The photos are made up.
"""

import contextlib
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ("circle", "square", "triangle")


def photo(kind, rng):
    """Return a made-up photo: a shape on a mottled ground."""
    colour = tuple(int(n) for n in rng.integers(80, 255, 3))
    ground = rng.integers(0, 90, 3)
    picture = Image.fromarray((np.ones((72, 96, 3)) * ground + rng.integers(0, 40, (72, 96, 3))).astype(np.uint8))
    draw, x, y, r = ImageDraw.Draw(picture), *(int(n) for n in rng.integers([28, 26, 14], [68, 46, 24]))
    if kind == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif kind == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return picture


def shapes_zip(path, n=120):
    """Write a zip of made-up photos in a folder for each class."""
    rng = np.random.default_rng(3)
    with zipfile.ZipFile(path, "w") as archive:
        for kind in SHAPES:
            for i in range(n):
                held = io.BytesIO()
                photo(kind, rng).save(held, "JPEG", quality=90)
                archive.writestr(f"photos/{kind}s/{i:03d}.jpg", held.getvalue())


def main():
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs/picture.png").absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"DATASTAGE_ROOT": f"{folder}/staged", "DATASTAGE_OFFLINE": "1"}
        shapes_zip("photos.zip")
        import datastage

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            path = datastage.stage("./photos.zip", progress=True)
            train, _ = datastage.loaders(path, batch_size=32, augment=datastage.Augment(scale=(0.5, 1), flip=True))
        grid = datastage.preview(train, n=8)
    text = said.getvalue().replace(f"{folder}/staged", "~/staged").replace(folder, "~/course")
    lines = text.splitlines()
    code = ['path = datastage.stage("./photos.zip")', "train, test = datastage.loaders(path, batch_size=32)"]
    text = "\n".join([*(f">>> {line}" for line in code), "", *lines, "", ">>> datastage.preview(train)"])

    from matplotlib.figure import Figure

    held = io.BytesIO()
    grid.savefig(held, dpi=90)
    height = 0.158 * (text.count("\n") + 2)
    drawn = Image.open(io.BytesIO(held.getvalue()))
    width = drawn.width / 90
    figure = Figure(figsize=(width, height), facecolor="#f7f7f7")
    figure.text(0.01, 0.98, text, family="monospace", fontsize=9, va="top", linespacing=1.15)
    above = io.BytesIO()
    figure.savefig(above, dpi=90)
    top = Image.open(above)
    whole = Image.new("RGB", (drawn.width, top.height + drawn.height), "white")
    whole.paste(top.convert("RGB"), (0, 0))
    whole.paste(drawn.convert("RGB"), (0, top.height))
    whole.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
