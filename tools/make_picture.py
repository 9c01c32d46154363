"""Make docs/picture.png, which opens the README: what a person sees when a zip of photos is staged and looked at.

    python tools/make_picture.py [docs/picture.png]

A real JupyterLab runs three cells in a browser, as `make browser` does: a bar, a card, a grid. The photos are made up,
and lie in a pretend Drive.
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


CELLS = (
    'import datastage\npath = datastage.stage("drive:photos.zip")',
    "path",
    "augment = datastage.Augment(scale=(0.5, 1), flip=True)\n"
    "train, test = datastage.loaders(path, batch_size=32, augment=augment, progress=False)\n"
    "datastage.preview(train, n=8)",
)
# Where the photos lay while the picture was made says nothing to anybody.
SHORTEN = """
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(arguments[0], "~");
"""


def cell_picture(lab, cell):
    """Return a picture of a cell and its output."""
    (shown,) = [each for k, each in enumerate(lab.driver.find_elements("css selector", ".jp-CodeCell")) if k == cell]
    return Image.open(io.BytesIO(shown.screenshot_as_png)).convert("RGB")


def main():
    from tests.browser.lab import Lab
    from tests.faulty_mount import FaultyMount

    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs/picture.png").absolute()
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        drive = FaultyMount(folder / "there", folder / "Drive")
        stack.callback(drive.close)
        (drive.folder / "My Drive").mkdir()
        shapes_zip(drive.folder / "My Drive/photos.zip")
        drive.faults(rate=100_000)
        os.environ |= {
            "PYTHONPATH": str(ROOT), "HOME": made, "DATASTAGE_ROOT": f"{made}/staged", "DATASTAGE_OFFLINE": "1",
            "DATASTAGE_DRIVE": str(drive.path),
        }  # fmt: skip
        lab = Lab(folder, folder / "pictures", width=1000, height=1400)
        stack.callback(lab.close)
        lab.make("photos", *CELLS)
        lab.command("apputils:change-theme", theme="JupyterLab Light")
        lab.begin(0)
        lab.until_shown(0, " left")
        parts = [cell_picture(lab, 0)]
        drive.faults()
        lab.finish()
        for cell in (1, 2):
            lab.run(cell)
            lab.js(SHORTEN, made)
            parts.append(cell_picture(lab, cell))
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    at = 0
    for part in parts:
        whole.paste(part, (0, at))
        at += part.height
    whole.quantize(255).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
