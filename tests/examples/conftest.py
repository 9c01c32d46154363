"""What the examples' tests share: running a notebook from top to bottom, as a person would."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("notebook.py")


@pytest.fixture
def notebook_env(tmp_path, monkeypatch):
    """Let kernels find this package, and give them a profile of their own; its startup folder."""
    pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "ipython" / "profile_default" / "startup"


@pytest.fixture
def run_notebook(notebook_env):
    """A function of a notebook's path that runs it in its own folder and returns what it printed, showed and raised."""

    def run(path):
        done = subprocess.run([sys.executable, RUNNER, path], capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
