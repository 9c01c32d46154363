"""Every example of docs/CLIENTS.md, run as it stands where the client is installed: `make clients`."""

import re
from importlib import metadata
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


def script_of(title):
    return PREAMBLE + dict(zip(TITLES, EXAMPLES, strict=True))[title]


def test_each_example_has_a_client_and_each_client_an_example():
    assert list(NEEDS) == TITLES


@pytest.mark.parametrize("title", [title for title in NEEDS if not title.startswith("Keras")])
def test_an_example_runs_as_it_stands(title, run):
    assert run(script_of(title), *NEEDS[title]).strip()


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("title", ON_RANKS)
def test_an_example_runs_on_several_ranks(title, ranks, run):
    said = run(script_of(title), *NEEDS[title], ranks=ranks)
    if title == "PyTorch, alone or under torchrun":
        assert said.count("of 30 right") == ranks
    if title == "Hugging Face Trainer":
        assert "'eval_n': 30" in said or "'eval_n': '30'" in said


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras_trains_evaluates_and_predicts_on_each_backend(backend, run):
    said = run(script_of("Keras 3, on TensorFlow, PyTorch or JAX"), "keras", backend, KERAS_BACKEND=backend)
    assert "(30, 3)" in said


def test_the_versions_are_told(capsys):
    names = (
        "torch numpy lightning accelerate transformers ray torchmetrics keras tensorflow-cpu jax skorch pytorch-ignite"
    )
    names += " fastai torch-xla torchdata torch-geometric litdata webdataset datasets mosaicml-streaming"
    with capsys.disabled():
        print()
        for name in names.split():
            try:
                print(f"  {name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                print(f"  {name} is not installed")
