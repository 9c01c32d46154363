"""What a person sees at each moment, as pictures; of another checkout too, side by side.

    python -m tests.browser.moments build/moments                      this checkout, light and dark
    python -m tests.browser.moments build/moments --before ../other    another one beside it

``git worktree add ../other COMMIT`` makes the other one. Needs what `make browser` needs.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.browser.lab import Lab
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[2]
SLOW = 100_000  # bytes a second, until the picture is taken
CLASSES = ("birds", "fish", "horses")


def photos(*, parts: tuple[str, ...] = ("train", "test"), labelled: bool = True) -> bytes:
    """Return a zip of photos of several sizes."""
    chance, out = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for part in parts:
            for k, name in enumerate(CLASSES):
                for i in range(10 * (k + 1)):
                    w, h = (int(n) for n in chance.integers(180, 420, 2))
                    y, x = np.mgrid[0:h, 0:w]
                    waves = np.stack([x * (k + 1) + i * 9, y * 2 + i * 5, (x + y) * (3 - k)], -1) % 256
                    pixels = (waves * 0.7 + chance.integers(0, 70, waves.shape)).astype("uint8")
                    Image.fromarray(pixels).save(held := io.BytesIO(), "JPEG", quality=90)
                    folder = f"{part}/{name}" if labelled else part
                    archive.writestr(f"my photos/{folder}/{k}{i:02}.jpg", held.getvalue())
    return out.getvalue()


def begun(lab: Lab, server: Server, name: str, *cells: str) -> None:
    """Begin to stage a zip that comes slowly, and wait for its bar."""
    server.serve(f"{name}.zip", photos(), rate=SLOW)
    stage = f"import datastage\npath = datastage.stage({server.url(f'{name}.zip')!r})"
    lab.make(name, stage, *cells)
    lab.begin(0)
    lab.until_shown(0, "MB of")
    lab.snap(f"{name}-while")


def success(lab: Lab, server: Server) -> None:
    """Staging to its end, the line that it prints, the card, and what the loader says after an epoch."""
    begun(lab, server, "success", "NEXT", "path", "for x, y in train: pass\ntrain", "train.stats")
    server.pages["success.zip"].rate = 1e9
    lab.finish()
    lab.picture("success")
    lab.write(1, re.findall(r"Next:\s+(train.*)", lab.shown(0))[0])
    for cell, name in enumerate(("next", "card", "epoch", "stats"), 1):
        lab.run(cell)
        lab.picture(name)


def stop(lab: Lab, server: Server) -> None:
    """The stop button, and the same cell again."""
    begun(lab, server, "stop")
    lab.stop()
    lab.picture("stop")
    server.pages["stop.zip"].rate = 1e9
    lab.run(0)
    lab.picture("again")


def reload(lab: Lab, server: Server) -> None:
    """The page is loaded anew while a bar runs."""
    begun(lab, server, "reload")
    lab.command("docmanager:save")
    lab.load()
    server.pages["reload.zip"].rate = 1e9
    lab.finish()
    lab.picture("reload")


def damaged(lab: Lab, server: Server) -> None:
    """A zip of which two bytes are wrong comes slowly."""
    body = bytearray(photos())
    body[len(body) // 2 : len(body) // 2 + 2] = b"\0\0"
    lab.make("damaged", f"import datastage\ndatastage.stage({server.serve('damaged.zip', bytes(body), rate=3e6)!r})")
    lab.run(0)
    lab.picture("damaged")


def slips(lab: Lab, server: Server) -> None:
    """What beginners write."""
    (lab.folder / "small.zip").write_bytes(photos())
    calls = ("datastage.loaders(path, 8)", "datastage.loaders(path, batchsize=8)", 'path + "/train"')
    lab.make("slips", "import datastage\npath = datastage.stage('./small.zip', progress=False)", *calls)
    lab.run(0)
    for cell in (1, 2, 3):
        lab.run(cell)
        lab.picture(f"slip-{cell}")


def unlabelled(lab: Lab, server: Server) -> None:
    """Photos of which nobody can tell the labels."""
    (lab.folder / "unlabelled.zip").write_bytes(photos(labelled=False))
    lab.make("unlabelled", "import datastage\ntrain, test = datastage.loaders('./unlabelled.zip', batch_size=8)")
    lab.run(0)
    lab.picture("unlabelled")


def look(lab: Lab, server: Server) -> None:
    """The pictures of data, and the doctor."""
    (lab.folder / "look.zip").write_bytes(photos())
    calls = (
        "import datastage\ndatastage.preview('./look.zip')",
        "datastage.summary('./look.zip')",
        "datastage.doctor()",
    )
    lab.make("look", *calls)
    for cell, name in enumerate(("preview", "summary", "doctor")):
        lab.run(cell)
        lab.picture(name)


MOMENTS: tuple[Callable[[Lab, Server], None], ...] = (success, stop, reload, damaged, slips, unlabelled, look)


def taken(checkout: Path, out: Path, only: set[str]) -> None:
    """Take the pictures of a checkout."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ |= {"PYTHONPATH": str(checkout), "HOME": made, "DATASTAGE_ROOT": str(folder / "staged")}
        server, lab = Server(), Lab(folder, out, height=800)
        try:
            for moment in MOMENTS:
                if not only or moment.__name__ in only:
                    print(moment.__name__, moment.__doc__, flush=True)
                    moment(lab, server)
        finally:
            lab.close()
            server.stop()


def side_by_side(before: Path, after: Path, out: Path) -> None:
    """Put the pictures of the same moment beside each other."""
    for right in sorted(after.glob("*.png")):
        left = before / right.name
        shown = [Image.open(path).convert("RGB") if path.exists() else None for path in (left, right)]
        width, height = Image.open(right).size
        both = Image.new("RGB", (2 * width + 20, height + 30), "white")
        for at, (title, picture) in enumerate(zip(("before", "now"), shown)):
            ImageDraw.Draw(both).text((at * (width + 20) + 10, 8), title, fill="black")
            if picture is not None:
                both.paste(picture, (at * (width + 20), 30))
        both.save(out / right.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout to take pictures of")
    parser.add_argument(
        "--only", nargs="+", default=[], help="moments: " + ", ".join(each.__name__ for each in MOMENTS)
    )
    given = parser.parse_args()
    out = given.out.absolute()
    taken(ROOT, out / "now" if given.before else out, {*given.only})
    if given.before:
        taken(given.before.absolute(), out / "before", {*given.only})
        side_by_side(out / "before", out / "now", out)


if __name__ == "__main__":
    main()
