"""Every snippet of the README runs, where it says that it does."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.stand_ins.runtimes import Colab, Kaggle, Slurm, at_root, why_not_at_root

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(python|sh)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def snippet(containing):
    """The one snippet with these words, so that a changed README changes what is tested."""
    found = [text for _, text in SNIPPETS if containing in text]
    assert len(found) == 1, f"{len(found)} snippets hold {containing!r}"
    return found[0]


@pytest.fixture
def kaggle(tmp_path, testdata):
    reason = why_not_at_root()
    if reason:
        pytest.skip(reason)
    layout = Kaggle(tmp_path / "machine")
    published = layout.root / "kaggle/input/datasets/somebody/my-upload"
    published.mkdir(parents=True)
    for path in (testdata / "fashion-mnist").glob("*.gz"):
        (published / path.name).write_bytes(path.read_bytes())
    return layout


def test_no_snippet_is_left_untested():
    tested = [
        "drive:datasets.zip",
        'loaders("cifar10"',
        "DATA=$(datastage",
        "DATASTAGE_PATH=",
        "make demo",
        "staged.arrays",
    ]
    assert sorted(snippet(words) for words in tested) == sorted(text for _, text in SNIPPETS)


def test_on_kaggle_without_internet_the_line_gives_batches_or_the_steps(kaggle):
    code = snippet('loaders("cifar10"')
    result = at_root(kaggle, [sys.executable, "-c", code], cwd="/kaggle/working")
    assert "Add Input" in result.stderr
    assert result.stderr.strip().splitlines()[-1].strip() == "Next: run this cell again. No restart is needed."
    found = at_root(
        kaggle,
        [sys.executable, "-c", code.replace("cifar10", "fashion_mnist") + "print(next(iter(train))[0].shape)"],
        cwd="/kaggle/working",
    )
    assert found.stdout.splitlines()[-1] == "torch.Size([512, 1, 28, 28])", found.stderr


def test_what_you_get_is_what_the_readme_says(kaggle):
    code = "import datastage\n" + snippet("staged.arrays")
    check = """
assert (images.shape, images.dtype, labels.dtype) == ((60000, 28, 28, 1), "uint8", "int64")
assert staged.classes[:2] == ("T-shirt/top", "Trouser")
assert (x.shape, str(x.dtype)) == ((512, 1, 28, 28), "torch.float32")
assert len(train) + len(val) > 110 and len(test) == 20
"""
    result = at_root(kaggle, [sys.executable, "-c", code + check], cwd="/kaggle/working")
    assert result.returncode == 0, result.stderr


def test_on_colab_the_line_connects_drive_and_says_what_the_readme_shows(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    reason = why_not_at_root()
    if reason:
        pytest.skip(reason)
    layout = Colab(tmp_path / "machine")
    with zipfile.ZipFile(ROOT / "examples/course/datasets/shapes.zip") as shapes:
        with zipfile.ZipFile(layout.cloud / "MyDrive/datasets.zip", "w") as archive:
            for name in shapes.namelist():
                archive.writestr(f"datasets/{name}", shapes.read(name))
    cell = nbformat.v4.new_code_cell(snippet("drive:datasets.zip") + "print(tuple(next(iter(train))[0].shape))")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), layout.root / "content/readme.ipynb")
    done = at_root(
        layout,
        [sys.executable, str(ROOT / "tests/examples/notebook.py"), "/content/readme.ipynb"],
        cwd="/content",
        env={
            "STAND_IN_CLOUD": str(layout.cloud),
            "STAND_IN_ANSWERS": "ok",
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["failed"] == []
    shown = re.search(r"```text\n(.*?)```", README, re.DOTALL)[1].splitlines()
    for line in shown:
        beginning = line.split("  ")[0].split(".")[0][:20]
        assert any(printed.startswith(beginning) for printed in said["printed"]), (line, said["printed"])


def command_on_path(tmp_path):
    """A folder with a `datastage` command in it, as an installation makes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "datastage").write_text(f'#!/bin/sh\nexec {sys.executable} -m datastage "$@"\n')
    (folder / "datastage").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "DATASTAGE_OFFLINE": "1"}


def test_the_line_of_a_course_script_prints_the_path_alone(here, tmp_path, testdata):
    environment = command_on_path(tmp_path)
    environment |= {"DATASTAGE_PATH": str(testdata / "fashion-mnist")}
    script = snippet("DATA=$(datastage") + 'echo "$DATA"; ls "$DATA"'
    result = subprocess.run(["sh", "-ec", script], env=environment, capture_output=True, text=True)
    assert result.stdout == f"{here}/data/fashion_mnist\nFashionMNIST\n", result.stderr
    assert result.stderr == ""


def test_on_a_cluster_the_projects_folder_is_found_and_the_jobs_disk_is_used(here, tmp_path, testdata, monkeypatch):
    layout = Slurm(tmp_path / "node")
    environment = {**command_on_path(tmp_path), **layout.environment}
    environment.pop("DATASTAGE_ROOT")
    environment["SLURM_TMPDIR"] = str(tmp_path / "node/localscratch/4711.0")
    script = snippet("DATASTAGE_PATH=").replace("/project/datasets", str(testdata))
    result = subprocess.run(["sh", "-ec", script], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith(environment["SLURM_TMPDIR"])


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", snippet("make demo"), re.MULTILINE))
def test_the_makefile_has_what_the_readme_names(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_verb_and_file_that_the_readme_names_is_there():
    from datastage import cli

    for verb in set(re.findall(r"`datastage (\w+)", README)):
        assert verb in cli._VERBS
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_a_single_file_opens_as_the_readme_says(here):
    pandas = pytest.importorskip("pandas")
    import datastage

    (here / "datasets").mkdir()
    (here / "datasets" / "iris.csv").write_text("a,b\n1,2\n")
    assert pandas.read_csv(datastage.stage("datasets/iris.csv", progress=False)).shape == (1, 2)
