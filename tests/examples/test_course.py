"""The small course repository: its Makefile prepares the data, its notebook finds it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "examples" / "course"


@pytest.fixture
def course(here):
    """A fresh copy of the course in a folder of its own."""
    shutil.copytree(COURSE, here / "course", ignore=shutil.ignore_patterns("data", "*.pyz", "__pycache__"))
    return here / "course"


def make(course, **settings):
    if shutil.which("make") is None:
        pytest.skip("left out: make is not installed")
    words = [f"{name}={value}" for name, value in settings.items()]
    # Under a make of our own it would say which folder it enters.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["make", "data", *words], cwd=course, capture_output=True, text=True, timeout=120, env=outside
    )
    assert done.returncode == 0, done.stderr
    return done


def snapshot(folder):
    """Return every file of the data with its time; a receipt may note when it was last used."""
    files = (path for path in sorted(folder.rglob("*")) if not path.name.startswith("."))
    return {str(path): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def command():
    """The installed command, as the Makefile would call it."""
    os.environ["PYTHONPATH"] = str(ROOT)
    yield f"{sys.executable} -m datastage"
    del os.environ["PYTHONPATH"]


def test_make_data_prints_two_folders_and_nothing_else(course, command):
    done = make(course, DATASTAGE=command)

    assert done.stdout.split() == [str(course / "data" / "shapes"), str(course / "data" / "iris")]
    assert done.stderr == ""
    assert len(list((course / "data" / "shapes").glob("*/*.png"))) == 240


def test_make_data_twice_does_the_work_once(course, command):
    first = make(course, DATASTAGE=command)
    before = snapshot(course / "data")

    second = make(course, DATASTAGE=command)

    assert second.stdout == first.stdout
    assert snapshot(course / "data") == before


def test_make_data_works_with_the_pyz_and_python_alone(course):
    subprocess.run(
        [sys.executable, ROOT / "tools" / "make_pyz.py", course / "datastage.pyz"], check=True, capture_output=True
    )
    (course / "datastage").mkdir()  # a folder of the package's name in the way

    done = make(course, PYTHON=f"{sys.executable} -I -S")

    assert done.stderr == ""
    assert (course / "data" / "iris" / "iris.csv").is_file()


@pytest.mark.notebook
def test_the_notebook_finds_what_make_prepared(course, command, run_notebook):
    make(course, DATASTAGE=command)

    printed = run_notebook(course / "first_steps.ipynb")["printed"]

    assert printed[0].startswith(f"Ready: {course / 'data' / 'shapes'}, 240 images in 3 folders.")
    assert printed[-1].startswith("test accuracy: ")
    assert sum(not line.startswith(" ") for line in printed) <= 10, "what is printed is a few lines, and no warning"


@pytest.mark.notebook
def test_the_notebook_prepares_the_data_itself_where_nothing_was(course, run_notebook):
    printed = run_notebook(course / "first_steps.ipynb")["printed"]

    assert printed[0].startswith("Found     shapes.zip")
    assert any("hidden files that a Mac adds" in line for line in printed)
    assert float(printed[-1].removeprefix("test accuracy: ").rstrip("%")) > 60


def test_the_zip_is_what_its_script_makes(tmp_path):
    pytest.importorskip("PIL")
    shutil.copy(COURSE / "datasets" / "make_shapes.py", tmp_path)

    subprocess.run([sys.executable, tmp_path / "make_shapes.py"], check=True)

    import zipfile

    with zipfile.ZipFile(tmp_path / "shapes.zip") as made, zipfile.ZipFile(COURSE / "datasets" / "shapes.zip") as kept:
        assert made.namelist() == kept.namelist()
