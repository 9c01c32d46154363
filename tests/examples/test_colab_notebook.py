"""The Colab notebook, run on a machine that looks like Colab's, with a person who says yes to Google's question."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.stand_ins.runtimes import Colab, at_root, why_not_at_root

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUNNER = Path(__file__).with_name("notebook.py")

pytestmark = [pytest.mark.notebook, pytest.mark.skipif(why_not_at_root() != "", reason=why_not_at_root())]


@pytest.fixture
def colab(tmp_path, notebook_env):
    """A Colab machine, and a function that runs the notebook on it."""
    layout = Colab(tmp_path / "machine")
    shutil.copy(EXAMPLES / "colab_drive_zip.ipynb", layout.root / "content")

    def run(answer="ok"):
        done = at_root(
            layout,
            [sys.executable, str(RUNNER), "/content/colab_drive_zip.ipynb"],
            cwd="/content",
            env={"STAND_IN_CLOUD": str(layout.cloud), "STAND_IN_ANSWERS": answer},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return layout, run


def test_it_prints_what_a_student_should_see(colab):
    layout, run = colab
    shutil.copy(EXAMPLES / "course/datasets/shapes.zip", layout.cloud / "MyDrive")

    said = run()

    assert (said["failed"], said["complained"]) == ([], [])
    lines = iter(said["printed"])
    for wanted in (
        "Google now asks to connect your Drive",
        "Mounted at /content/drive",
        "Found     shapes.zip, 80 kB, in My Drive",
        "Copied    and unpacked in ",
        "Left out  6 hidden files that a Mac adds (",
        "Inside    240 images in 3 folders: circle, square, triangle",
        "Folder    /content/staged/shapes-",
        "Ready for this session. Colab empties its disk afterwards: run the same line next time.",
        "Next:  train, test = datastage.loaders(path, batch_size=32)",
        "Set aside",
        "Device ",
        "test accuracy: ",
        "Ready: /content/staged/shapes-",
        "Copied from your Drive today at ",
        "Next:  train, test",
    ):
        assert any(line.startswith(wanted) for line in lines), f"{wanted!r} is not next in {said['printed']}"
    assert sum(not line.startswith(" ") for line in said["printed"]) <= 20
    assert said["shown"] == [], "a bar leaves nothing behind"


def test_without_the_file_the_error_stands_alone_and_names_it(colab):
    _, run = colab

    said = run()

    assert "shapes.zip" in said["failed"][0]
    assert len(said["failed"]) <= 14
    assert not any("Traceback" in line for line in said["failed"])


def test_a_person_who_says_no_is_told_what_to_press(colab):
    _, run = colab

    said = run("refused")

    assert said["failed"]
    assert len(said["failed"]) <= 14
    assert not any("Traceback" in line or "MessageError" in line for line in said["failed"])
