"""The example notebooks, each run from top to bottom on a machine that looks like the one that it is for."""

import csv
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import kaggle_inputs
from tests.stand_ins.runtimes import Colab, Kaggle, at_root, why_not_at_root
from tests.torchvision_here import torchvision_here

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RUNNER = Path(__file__).with_name("notebook.py")
STAND_INS = ROOT / "tests/stand_ins"
# No machine here may have the published pictures: small ones stand in, under the name and with digests of their own.
SMALL_FASHION = f"""
import sys
sys.path.append({str(ROOT)!r})
from tests import kaggle_inputs
from datastage import datasets
datasets._entries["fashion_mnist"] = kaggle_inputs.entry_for("fashion_mnist", "fashion_mnist",
    kaggle_inputs.small_mnist("FashionMNIST/raw", n_train=1100), title="Fashion-MNIST")
"""
SCRIPT = 'cp "$2" . && "$1" "$3" "$(basename "$2")" && cp -r . "$4"'


@pytest.fixture
def run(tmp_path, notebook_env):
    """A function of a machine and a notebook's name: runs it there; what it said, and the folder it ran in."""

    def run(layout, name, *, startup="", **environment):
        if reason := why_not_at_root():
            pytest.skip(reason)
        notebook_env.mkdir(parents=True)
        (notebook_env / "00-stand-in.py").write_text(startup)
        cwd = "/content" if isinstance(layout, Colab) else "/kaggle/working"
        done = at_root(
            layout,
            ["sh", "-ec", SCRIPT, "sh", sys.executable, str(EXAMPLES / f"{name}.ipynb"), str(RUNNER), str(tmp_path)],
            cwd=cwd,
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
            timeout_s=170,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["failed"] == []
        return said["printed"], tmp_path

    return run


@pytest.fixture
def kaggle(tmp_path):
    return Kaggle(tmp_path / "machine")


@pytest.fixture
def colab(tmp_path):
    return Colab(tmp_path / "machine")


def of_colab(layout, **more):
    return {"STAND_IN_CLOUD": str(layout.cloud), "STAND_IN_ANSWERS": "ok", **more}


def shapes():  # circles, then squares, then triangles
    """Name and bytes of the 240 pictures of the course."""
    with zipfile.ZipFile(EXAMPLES / "course/datasets/shapes.zip") as archive:
        return {
            name: archive.read(name) for name in archive.namelist() if name.endswith(".png") and "__MACOSX" not in name
        }


def expect(lines, wanted):
    assert any(line.startswith(wanted) for line in lines), "\n".join(lines)


def accuracy(lines):
    (line,) = [line for line in lines if line.startswith("test accuracy: ")]
    return float(line.split()[2].rstrip("%"))


def fashion(layout):
    folder = layout.root / "kaggle/input/datasets/somebody/clothes"
    folder.mkdir(parents=True)
    kaggle_inputs.WRAPPINGS["files at the root"](kaggle_inputs.small_mnist("FashionMNIST/raw", n_train=1100), folder)


def test_fashion_mnist_is_found_among_the_inputs(run, kaggle):
    fashion(kaggle)

    printed, _ = run(kaggle, "kaggle_fashion_mnist", startup=SMALL_FASHION)

    assert printed[0] == 'Found     Fashion-MNIST in your input "clothes"'
    assert accuracy(printed) >= 0


def test_a_zip_of_photos_fine_tunes_a_network_that_was_trained_before(run, colab, tmp_path):
    models = torchvision_here().models
    import torch

    before = models.mobilenet_v3_small().state_dict()
    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(before, cache / models.MobileNet_V3_Small_Weights.DEFAULT.url.rsplit("/", 1)[1])
    with zipfile.ZipFile(colab.cloud / "MyDrive/photos.zip", "w") as archive:
        for name, data in list(shapes().items())[::4]:
            archive.writestr(name, data)

    startup = f"import sys; sys.path.append({str(ROOT)!r})\nfrom tests.torchvision_here import *; torchvision_here()\n"
    printed, _ = run(
        colab, "photos_fine_tuning", startup=startup, **of_colab(colab, TORCH_HOME=str(tmp_path / "torch"))
    )

    expect(printed, "Inside    60 images in 3 folders")
    assert accuracy(printed) >= 0
    after = torch.load(colab.cloud / "MyDrive/photos.pt")
    assert after["classifier.3.weight"].shape == (3, 1024)
    moved = (after["features.0.0.weight"] - before["features.0.0.weight"]).abs().max()
    assert 0 < moved < 0.01, "it began with the weights of the file, and learned from there"


def test_a_competition_ends_with_a_submission_for_every_photo_without_a_label(run, kaggle):
    folder = kaggle.root / "kaggle/input/competitions/leaf-disease"
    pictures = list(shapes().items())
    random.Random(0).shuffle(pictures)
    for part in ("train_images", "test_images"):
        (folder / part).mkdir(parents=True)
    rows, answers = ["image_id,label"], {}
    for number, (name, data) in enumerate(pictures):
        label, file = name.split("/")[-2], f"{number:04}.png"
        (folder / ("train_images" if number < 200 else "test_images") / file).write_bytes(data)
        if number < 200:
            rows.append(f"{file},{label}")
        else:
            answers[file] = label
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "sample_submission.csv").write_text(
        "image_id,label\n" + "".join(f"{file},circle\n" for file in sorted(answers))
    )

    printed, made = run(kaggle, "kaggle_competition")

    with (made / "submission.csv").open() as file:
        header, *submitted = csv.reader(file)
    assert header == ["image_id", "label"]
    assert [name for name, _ in submitted] == sorted(answers)
    assert accuracy(printed) > 50
    assert sum(answers[name] == label for name, label in submitted) > len(answers) / 2


def test_a_table_in_drive_trains_a_network(run, colab):
    draw = random.Random(0)
    rows = ["species,island,bill_length_mm,body_mass_g,sex"]
    for _ in range(200):
        kind = draw.randrange(3)
        mass = "" if draw.random() < 0.02 else f"{draw.gauss((3700, 3730, 5070)[kind], 300):.0f}"
        bill = f"{draw.gauss((38.8, 48.8, 47.5)[kind], 2):.1f}"
        island = draw.choice(("Biscoe", "Dream", "Torgersen"))
        rows.append(f"{('Adelie', 'Chinstrap', 'Gentoo')[kind]},{island},{bill},{mass},{draw.choice('mf')}")
    (colab.cloud / "MyDrive/penguins.csv").write_text("\n".join(rows) + "\n")

    printed, _ = run(colab, "colab_table", **of_colab(colab))

    assert accuracy(printed) > 80


def test_a_tpu_is_found_and_fed(run, kaggle):
    fashion(kaggle)

    printed, _ = run(
        kaggle, "kaggle_tpu", startup=f"{SMALL_FASHION}\nsys.path.insert(0, {str(STAND_INS)!r})\n", PJRT_DEVICE="TPU"
    )

    expect(printed, "Device    cpu: TPU through torch_xla")  # the stand-in keeps its tensors on the CPU
    assert accuracy(printed) >= 0


def test_jax_gets_the_same_batches(run, colab):
    pytest.importorskip("jax")
    pytest.importorskip("sklearn")

    printed, _ = run(colab, "jax_digits", **of_colab(colab))

    assert accuracy(printed) > 85


def test_two_processes_train_one_network(run, kaggle):
    folder = kaggle.root / "kaggle/input/datasets/someone/shapes"
    for name, data in shapes().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    printed, made = run(kaggle, "kaggle_two_gpus", OMP_NUM_THREADS="1")

    assert [line for line in printed if line.endswith("of 24 photos, by 2 processes")], printed
    assert accuracy(printed) > 60
    assert (made / "model.pt").is_file()


@pytest.mark.parametrize("where", ["in the repository", "on Colab alone"])
def test_iris_comes_from_the_courses_repository(run, colab, where):
    table = (EXAMPLES / "course/datasets/iris.csv").read_bytes()
    # The loopback of the machine is its own: the server runs beside the kernel.
    startup = f"""
import sys
sys.path.append({str(ROOT)!r})
import os
from tests.stand_ins.github import GitHub
_github = GitHub()
_github.add("OWNER/COURSE", "main", {{"datasets/iris.csv": {table!r}}})
os.environ["DATASTAGE_ENDPOINTS"] = _github.endpoints
"""
    if where == "in the repository":
        (colab.root / "content/datasets").mkdir()
        (colab.root / "content/datasets/iris.csv").write_bytes(table)

    printed, _ = run(colab, "course/iris", startup=startup, **of_colab(colab))

    expect(printed, "Found     iris.csv")
    assert accuracy(printed) > 80


def test_every_notebook_has_its_badge_and_no_outputs_and_the_cell_that_brings_the_tool():
    done = subprocess.run([sys.executable, ROOT / "tools/notebooks.py", "--check"], capture_output=True, text=True)

    assert done.returncode == 0, f"run tools/notebooks.py: {done.stdout}"


def test_every_notebook_is_linked_from_the_page_of_examples():
    page = (ROOT / "docs/examples.md").read_text("utf-8")

    for notebook in EXAMPLES.rglob("*.ipynb"):
        assert f"`{notebook.relative_to(EXAMPLES).with_suffix('').as_posix()}`" in page, notebook.name
