"""The Kaggle notebook, run where its input lies under /kaggle/input and there is no network."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import kaggle_inputs as layouts

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUNNER = Path(__file__).with_name("notebook.py")
# No machine here may have the real pictures: small ones stand in, under the name and with digests of their own.
STAND_IN = f"""
import sys
sys.path.append({str(Path(layouts.__file__).parent)!r})
import kaggle_inputs as layouts
from datastage import datasets
datasets._entries["cifar10"] = layouts.entry_for("cifar10", "cifar10", layouts.small_cifar(), title="CIFAR-10",
    downloads=datasets.get("cifar10").downloads)
"""

pytestmark = [
    pytest.mark.notebook,
    pytest.mark.skipif(
        not layouts.can_mount(), reason="left out: laying out /kaggle/input needs root and mount namespaces"
    ),
]


@pytest.fixture
def kaggle(here, notebook_env, monkeypatch):
    """A function that runs the notebook in a fresh Kaggle session whose inputs are in the folder given."""
    notebook_env.mkdir(parents=True)
    (notebook_env / "00-stand-in.py").write_text(STAND_IN)
    monkeypatch.delenv("DATASTAGE_ROOT")
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    shutil.copy(EXAMPLES / "kaggle_cifar10_offline.ipynb", here)

    def run(inputs, **env):
        path = here / "kaggle_cifar10_offline.ipynb"
        done = layouts.run_with_input(inputs, [sys.executable, str(RUNNER), str(path)], env=env, timeout=170)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_it_prints_what_a_student_should_see(kaggle, tmp_path):
    folder = layouts.input_folder(tmp_path / "input", "dataset", slug="my-upload")
    layouts.WRAPPINGS["a folder called as the archive"](layouts.small_cifar(), folder)

    said = kaggle(tmp_path / "input")

    assert (said["failed"], said["complained"]) == ([], [])
    assert said["printed"][0] == 'Found     CIFAR-10 in your input "my-upload"'
    assert said["printed"][2:6] == [
        "Folder    /kaggle/temp/staged/cifar10",
        "",
        "Ready for this session. Nothing to click next time: the input stays attached.",
        "Next:  train, test = datastage.loaders(path, batch_size=512)",
    ]
    assert said["printed"][-1].startswith("test accuracy: ")
    assert sum(not line.startswith(" ") for line in said["printed"]) <= 9
    assert said["shown"] == [], "a bar leaves nothing behind"


def test_without_the_input_the_steps_stand_alone(kaggle, tmp_path):
    layouts.input_folder(tmp_path / "input", "classic", slug="titanic")

    said = kaggle(tmp_path / "input")

    assert said["failed"][0].startswith("CIFAR-10 is not in this notebook yet. The internet is off here")
    assert any("your 1 input (titanic)" in line for line in said["failed"])
    assert said["failed"][-1] == "Next: run this cell again. No restart is needed."
    assert len(said["failed"]) <= 14


def test_a_saved_run_without_the_input_sends_the_person_to_the_editor(kaggle, tmp_path):
    (tmp_path / "input").mkdir()

    said = kaggle(tmp_path / "input", KAGGLE_KERNEL_RUN_TYPE="Batch")

    assert said["failed"][-1].startswith("Next: run the cell in the editor")
