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
    "Two T4 on Kaggle": ["accelerate"],
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
    "What streams: Hugging Face datasets, webdataset, litdata, mosaicml-streaming": ["datasets"],
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


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_script_for_several_ranks_counts_each_sample_and_goes_on_where_it_stopped(ranks, run):
    pytest.importorskip("sklearn")
    script = (REPOSITORY / "examples" / "train_on_ranks.py").read_text("utf-8")
    here = f"import sys\nsys.path.insert(0, {str(REPOSITORY / 'examples')!r})\n"
    script = script.replace("import argparse\n", here + "import argparse\n", 1)
    data = ["--data", "digits", "--epochs", "2"]
    whole = run(script, arguments=data, ranks=ranks).splitlines()
    assert [line.split(" of ")[1] for line in whole if line.startswith("epoch")] == ["363 right"] * 2
    kept = [*data, "--keep", "kept.pt"]
    assert run(script, arguments=[*kept, "--stop-after", "3"], ranks=ranks).strip() == ""
    rest = run(script, arguments=kept, ranks=ranks).splitlines()
    assert [line.split(":")[0] for line in rest if line.startswith("epoch")] == ["epoch 1", "epoch 2"]


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
