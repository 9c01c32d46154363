"""Every example of docs/CLIENTS.md, run as it stands where the client is installed: `make clients`."""

import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "CLIENTS.md").read_text("utf-8")
PREAMBLE, *EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)
TITLES = re.findall(r"^## (.*)$", PAGE, re.M)[: len(EXAMPLES)]
NEEDS = {
    "PyTorch, alone or under torchrun": ["torch"],
    "torchmetrics": ["torchmetrics"],
    "Lightning": ["lightning"],
    "Hugging Face Accelerate": ["accelerate"],
    "Hugging Face Trainer": ["transformers", "accelerate"],
    "Ray Train": ["ray"],
    "Keras 3, on TensorFlow, PyTorch or JAX": ["keras"],
    "JAX": ["jax"],
    "skorch": ["skorch"],
    "ignite": ["ignite"],
    "fastai": ["fastai"],
    "TPU": ["torch_xla"],
    "A DataLoader of your own, and weights for the classes": ["torch"],
}
ON_RANKS = ["PyTorch, alone or under torchrun", "torchmetrics", "Hugging Face Accelerate", "Hugging Face Trainer"]


def run(title, folder, *, ranks=1, **environment):
    for name in NEEDS[title]:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed here")
    script = folder / "example.py"
    script.write_text(PREAMBLE + dict(zip(TITLES, EXAMPLES, strict=True))[title])
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *start, str(script)],
        cwd=folder, capture_output=True, text=True, timeout=170,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PJRT_DEVICE": "CPU",
             "ACCELERATE_USE_CPU": "true", "RAY_TRAIN_V2_ENABLED": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "datastage/" not in "".join(line for line in done.stderr.splitlines() if "Warning" in line)
    return done.stdout


def test_each_example_has_a_client_and_each_client_an_example():
    assert list(NEEDS) == TITLES


@pytest.mark.parametrize("title", [title for title in NEEDS if not title.startswith("Keras")])
def test_an_example_runs_as_it_stands(title, tmp_path):
    assert run(title, tmp_path).strip()


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("title", ON_RANKS)
def test_an_example_runs_on_several_ranks(title, ranks, tmp_path):
    said = run(title, tmp_path, ranks=ranks)
    if title == "PyTorch, alone or under torchrun":
        assert said.count("of 30 right") == ranks
    if title == "Hugging Face Trainer":
        assert "'eval_n': 30" in said or "'eval_n': '30'" in said


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_trains_evaluates_and_predicts_on_each_backend(backend, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed here")
    assert "(30, 3)" in run("Keras 3, on TensorFlow, PyTorch or JAX", tmp_path, KERAS_BACKEND=backend)


def test_the_versions_are_told(capsys):
    names = ["torch", "numpy", "lightning", "accelerate", "transformers", "ray", "torchmetrics", "keras"]
    names += [
        "tensorflow-cpu",
        "jax",
        "skorch",
        "pytorch-ignite",
        "fastai",
        "torch-xla",
        "torchdata",
        "torch-geometric",
    ]
    with capsys.disabled():
        print()
        for name in names:
            try:
                print(f"  {name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                print(f"  {name} is not installed")
