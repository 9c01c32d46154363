"""What a person sees in JupyterLab: bars that go away, a stop in two lines, cards, pictures of data.

``make browser`` runs these; DATASTAGE_PICTURES names a folder for the pictures that they take.
"""

import importlib.util
import io
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.servers import server as server

MISSING = [name for name in ("jupyterlab", "selenium", "ipywidgets") if importlib.util.find_spec(name) is None]
MISSING += [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"left out: {', '.join(MISSING)} is not installed"),
    pytest.mark.timeout(1800),
]
SLOW = 100_000  # bytes a second, until what is waited for was seen
BAR = ".widget-hprogress, .jupyter-widget-hprogress, progress"


@pytest.fixture(scope="module", params=["widgets", "no-widgets"])
def lab(request, tmp_path_factory):
    from tests.browser.lab import Lab

    folder = tmp_path_factory.mktemp("lab")
    paths = [str(Path(__file__).resolve().parents[2])]
    if request.param == "no-widgets":
        (folder / "without").mkdir()
        (folder / "without/ipywidgets.py").write_text("raise ImportError('not installed')\n")
        paths.insert(0, str(folder / "without"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("HOME", str(folder))
        patch.setenv("DATASTAGE_ROOT", str(folder / "staged"))
        opened = Lab(folder, Path(os.environ.get("DATASTAGE_PICTURES") or folder / "pictures") / request.param)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def photos():
    """A zip of photos in class folders, with noise, so that it does not get small."""
    np, Image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    chance, out = np.random.default_rng(0), io.BytesIO()
    y, x = np.mgrid[0:240, 0:320]
    with zipfile.ZipFile(out, "w") as archive:
        for part, n in (("train", 30), ("test", 8)):
            for k, name in enumerate(("birds", "fish", "horses")):
                for i in range(n * (k + 1) // 2):
                    waves = np.stack([x * (k + 1) + i * 9, y * 2 + i * 5, (x + y) * (3 - k)], -1) % 256
                    pixels = (waves * 0.7 + chance.integers(0, 70, (240, 320, 3))).astype("uint8")
                    one = io.BytesIO()
                    Image.fromarray(pixels).save(one, "JPEG", quality=92)
                    archive.writestr(f"photos/{part}/{name}/{i:03}.jpg", one.getvalue())
        archive.writestr("photos/train/fish/broken.jpg", b"no picture")
    return out.getvalue()


def staging(address, name):
    return f"import datastage\npath = datastage.stage({address!r}, name={name!r})"


def test_a_bar_goes_and_lines_and_card_stay(lab, server, photos):
    server.serve("photos.zip", photos, rate=SLOW)
    cells = ["path", "datastage.preview(path)", "datastage.summary(path)"]
    lab.make("success", staging(server.url("photos.zip"), "success"), *cells)

    lab.begin(0)
    lab.until_shown(0, "MB of")
    assert lab.count(0, BAR) == 1
    lab.snap("success-while")
    server.pages["photos.zip"].rate = 1e9
    lab.finish()
    assert lab.count(0, BAR) == 0
    assert "Inside" in lab.shown(0)
    assert "3 classes" in lab.run(1)
    assert lab.count(1, "img") >= 6
    lab.picture("success")
    lab.run(2)
    lab.picture("preview")
    lab.run(3)
    lab.picture("summary")
    assert [lab.count(cell, "img") for cell in (2, 3)] == [1, 1]  # a figure is shown once


def test_a_stop_is_two_lines_and_the_next_run_goes_on(lab, server, photos):
    server.serve("photos.zip", photos, rate=SLOW)
    lab.make("stopped", staging(server.url("photos.zip"), "stopped"))

    lab.begin(0)
    lab.until_shown(0, "MB of")
    lab.stop()
    lab.picture("stopped")

    lines = [line for line in lab.shown(0).splitlines() if line.strip()]
    assert lines[-2].startswith("Stopped. ")
    assert lines[-2].endswith(" are kept; nothing half-done was put in place.")
    assert lines[-1] == "Next: run the same line again."
    assert len(lines) <= 4
    assert lab.count(0, BAR) == 0
    server.pages["photos.zip"].rate = 1e9
    assert "Went on" in lab.run(0)
    lab.picture("went-on")


def test_nothing_half_full_stays_after_a_reload(lab, server, photos):
    server.serve("photos.zip", photos, rate=SLOW)
    lab.make("reloaded", staging(server.url("photos.zip"), "reloaded"), "path")

    lab.begin(0)
    lab.until_shown(0, "MB of")
    lab.command("docmanager:save")
    lab.load()
    lab.snap("reloaded-while")
    server.pages["photos.zip"].rate = 1e9
    lab.until((lab.folder / "staged/reloaded/.datastage.json").exists, "the staged data")
    lab.finish()
    lab.until(lambda: lab.count(0, BAR) == 0, "the end of the bar")  # without widgets it goes after a while
    lab.picture("reloaded")
    assert "widget" not in lab.shown(0)  # of one that is gone JupyterLab shows an error
    assert "3 classes" in lab.run(1)


def test_the_first_epoch_of_photos_shows_its_progress_and_can_be_stopped(lab, photos):
    (lab.folder / "photos.zip").write_bytes(photos)
    made = "train, test = datastage.loaders('photos.zip', batch_size=8, size=64, progress=True)"
    lab.make(
        "epoch", f"import datastage, time\n{made}\nfor x, y in train: time.sleep(1)", "for x, y in train: pass\ntrain"
    )

    lab.begin(0)
    lab.until_shown(0, "decoding")
    assert lab.count(0, BAR) == 1
    lab.snap("epoch-while")
    lab.stop()
    lab.picture("epoch-stopped")
    assert lab.count(0, BAR) == 0
    assert "images/s" in lab.run(1)
    assert lab.count(1, BAR) == 0
    lab.picture("epoch")
