"""Run a notebook from top to bottom, as a person would, and return the lines that it printed."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_notebook(monkeypatch):
    """A function of a notebook's path that runs it in its own folder and returns the printed lines."""
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    # The kernel must find this package, and must not fight over the cores with the tests beside it.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(path):
        notebook = nbformat.read(path, as_version=4)
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(Path(path).parent)}}
        ).execute()
        return printed_by(notebook)

    return run


def printed_by(notebook):
    """Return every line that the cells printed, in order; anything on standard error is marked."""
    lines = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                mark = "" if output.name == "stdout" else "stderr: "
                lines += [f"{mark}{line}" for line in output.text.splitlines()]
    return lines
