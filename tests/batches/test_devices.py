import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from datastage.batches import devices
from datastage.batches.devices import Choice, Chooser, choose, slow
from datastage.errors import SpecError
from datastage.progress import Silent


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that torch knows of: a P100, unless the test says otherwise. Nothing can be computed on it."""

    def attach(name="Tesla P100-PCIE-16GB", capability=(6, 0), count=1):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_75", "sm_80", "sm_90"])

    return attach


def test_a_gpu_that_torch_has_no_code_for_is_named_and_not_used(gpu):
    gpu()
    choice = choose("auto")
    assert choice.kind == "cpu"
    assert "Tesla P100-PCIE-16GB (compute capability 6.0)" in choice.why
    assert "not used" in choice.why


def test_asking_for_that_gpu_is_an_error_that_says_why(gpu):
    gpu()
    with pytest.raises(SpecError, match="P100"):
        choose("cuda")


def test_a_gpu_on_which_a_product_fails_is_not_used(gpu):
    gpu("Tesla T4", (7, 5))
    choice = choose("auto")
    assert choice.kind == "cpu"
    assert "Tesla T4, but a small product on it failed" in choice.why


def test_ranks_share_out_the_gpus_of_a_machine(gpu, monkeypatch):
    gpu("Tesla T4", (7, 5), count=2)
    monkeypatch.setattr("datastage.batches.devices._product", lambda torch, device: "")
    assert [str(choose("auto", local_rank=rank).device) for rank in range(4)] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
        "cuda:1",
    ]
    assert str(choose("cuda:1").device) == "cuda:1"
    with pytest.raises(SpecError, match="there are 2 GPUs"):
        choose("cuda:2")


def test_newer_gpus_of_the_same_family_are_used(gpu, monkeypatch):
    gpu("A newer one", (8, 9))
    monkeypatch.setattr("datastage.batches.devices._product", lambda torch, device: "")
    assert choose("auto").kind == "cuda"


def test_a_dtype_that_the_device_is_slow_at_gets_a_word(gpu):
    gpu("Tesla T4", (7, 5))
    assert "float16" in slow(Choice(torch.device("cuda", 0), "cuda", ""), "bfloat16")
    assert not slow(Choice(torch.device("cuda", 0), "cuda", ""), "float16")


def test_without_any_accelerator_the_cpu_is_taken_and_the_reason_said():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    choice = choose("auto")
    assert choice.kind == "cpu"
    assert choice.why.startswith(("no GPU", "this is not a Mac"))


@pytest.mark.parametrize("device", ["cuda:x", "cuda:-1", "cuda:", "xla:x", "cpu:1", "mps:1", "auto:0", "gpu"])
def test_a_device_that_cannot_be_is_refused_when_the_loader_is_made(device):
    with pytest.raises(SpecError, match="not a device"):
        Chooser(device, "float32")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps", "xla", "xla:1", torch.device("cuda", 2)])
def test_a_device_that_may_be_is_not_tried_when_the_loader_is_made(device):
    assert Chooser(device, "float32").made is None


def test_making_a_loader_imports_no_torch():
    script = (
        "import sys, datastage; datastage.Augment, datastage.Loader; assert 'numpy' not in sys.modules;"
        "import numpy as np; from datastage.batches.arrays import from_arrays;"
        "t, = from_arrays({'train': (np.zeros((8, 8, 8, 3), 'u1'), np.arange(8))}, batch_size=4);"
        "len(t), t.explain(), t.state_dict(); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


@pytest.mark.parametrize(
    "lines",
    [
        "Path('a').mkdir(); Path('a/1.png').touch(); datastage.loaders('.', batch_size=1)",
        "datastage.loaders(([1], [2]), batch_size=1)",
        "datastage.feed([1, 2], batch_size=1)",
        "datastage.bench(([1], [2]), batch_size=1)",
    ],
)
def test_without_numpy_loaders_say_what_to_install(tmp_path, lines):
    script = f"import sys; sys.modules['numpy'] = None; import datastage; from pathlib import Path; {lines}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-2:] == [
        "datastage.errors.MissingDependencyError: This needs numpy, and it is not installed here.",
        "  Next: pip install numpy",
    ]


def test_making_a_loader_starts_no_device():
    script = """
import numpy as np, torch
from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
asked = []
for name in ("_lazy_init", "init", "is_available", "device_count", "current_device", "mem_get_info", "Stream"):
    setattr(torch.cuda, name, lambda *a, _name=name, **k: asked.append(_name))
torch.backends.mps.is_available = lambda: asked.append("mps")
data = torch.utils.data.TensorDataset(torch.zeros(8))
for t in (from_arrays({"train": (np.zeros((8, 8, 8, 3), "u1"), np.arange(8))}, batch_size=4).train,
          feed(data, batch_size=4)):
    len(t), t.explain(), t.state_dict(), iter(t)
    assert not asked, asked
    next(iter(t))
    assert asked
    asked.clear()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


@pytest.mark.parametrize(("free", "held"), [(10_000, True), (5_000, False)])
def test_a_dataset_is_held_on_a_gpu_only_if_it_leaves_room_for_the_model(monkeypatch, free, held):
    from datastage.batches.arrays import has_room
    from datastage.batches.options import LoaderOptions

    monkeypatch.setattr("datastage.batches.devices.free_bytes", lambda choice: free)
    there, options = Choice(torch.device("cuda", 0), "cuda", ""), LoaderOptions(batch_size=1)
    assert has_room(10 * 3 * 8 * 8, (3, 8, 8), there, options) == held
    assert not has_room(10 * 3 * 8 * 8, (3, 8, 8), Choice(torch.device("cpu"), "cpu", ""), options)
    assert not has_room(10 * 3 * 8 * 8, (3, 8, 8), there, LoaderOptions(batch_size=64))  # a batch needs room there too


def test_what_resizes_and_jitters_a_batch_needs_more_room_there(monkeypatch):
    from datastage.batches.arrays import has_room
    from datastage.batches.augment import Augment
    from datastage.batches.options import LoaderOptions

    monkeypatch.setattr("datastage.batches.devices.free_bytes", lambda choice: 100_000)
    there = Choice(torch.device("cuda", 0), "cuda", "")

    def held(augment):
        return has_room(100 * 3 * 8 * 8, (3, 8, 8), there, LoaderOptions(batch_size=16, augment=augment))

    assert all(map(held, (None, Augment(crop=2, flip=True, cutout=3))))
    assert not any(map(held, (Augment(scale=(0.5, 1.0)), Augment(brightness=0.1), Augment(hue=0.1))))


@pytest.fixture
def broken_torch_xla(tmp_path, monkeypatch):
    """A torch_xla of another version than torch's, as after `pip install -U torch`."""
    (tmp_path / "torch_xla").mkdir()
    (tmp_path / "torch_xla" / "__init__.py").write_text("raise ImportError('undefined symbol: _ZN5torch')")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_torch_xla_that_cannot_be_imported_hurts_nothing(broken_torch_xla):
    import numpy as np

    from datastage.batches.arrays import from_arrays

    (train,) = from_arrays({"train": (np.zeros((8, 8, 8, 3), "u1"), np.arange(8))}, batch_size=4)
    assert len(train) == 2
    assert len(list(train)) == 2
    assert "torch_xla is installed but cannot be imported (undefined symbol: _ZN5torch)" in " ".join(
        train.explain().split()
    )
    with pytest.raises(SpecError, match="'xla' cannot be used: torch_xla is installed but cannot be imported"):
        choose("xla")


@pytest.mark.parametrize("name", ["cuda", "auto", torch.device("cuda")])
def test_the_gpu_that_torch_is_set_to_is_taken(gpu, monkeypatch, name):
    gpu("Tesla T4", (7, 5), count=4)
    monkeypatch.setattr("datastage.batches.devices._product", lambda torch, device: "")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert str(choose(name, local_rank=1).device) == "cuda:2"
    assert str(choose("cuda:3", local_rank=1).device) == "cuda:3"
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)  # as it is where nobody has set it
    assert str(choose(name, local_rank=1).device) == "cuda:1"


def test_a_device_is_tried_without_a_product_of_matrices(gpu, monkeypatch):
    gpu("Tesla T4", (7, 5))

    def refused(*args):
        raise RuntimeError("Deterministic behavior was enabled, and this operation needs CUBLAS_WORKSPACE_CONFIG")

    for name in ("matmul", "__matmul__", "mm"):
        monkeypatch.setattr(torch.Tensor, name, refused)
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda size, value, device: full(size, value))
    assert choose("auto").kind == "cuda"


@pytest.mark.parametrize(
    ("option", "given", "known"),
    [
        ("dtype", torch.float16, "float16"), ("memory_format", torch.channels_last, "channels_last"),
        ("device", None, "auto"), ("device", 1, "cuda:1"), ("seed", torch.tensor(3), 3),
        ("batch_size", torch.tensor(4), 4),
    ],
    ids=str,
)  # fmt: skip
def test_options_are_taken_as_torch_writes_them(option, given, known):
    from datastage.batches.options import LoaderOptions

    assert getattr(LoaderOptions(**{"batch_size": 4, option: given}), option) == known


@pytest.mark.parametrize(
    ("platform", "click"), [("colab", "Change runtime type"), ("kaggle", "Settings > Accelerator")]
)
@pytest.mark.parametrize("accelerator", ["", "cuda"])
def test_where_no_gpu_is_attached_the_click_for_one_is_said(monkeypatch, platform, click, accelerator):
    class Notes(Silent):
        said = ""

        def note(self, text, label=""):
            self.said += text

    monkeypatch.setattr(devices, "current", lambda: SimpleNamespace(platform=platform, accelerator=accelerator))
    monkeypatch.setattr(devices, "choose", lambda *a, **b: devices.Choice(torch.device("cpu"), "cpu", "no GPU"))
    notes = Notes()

    devices.Chooser("auto", "float32", reporter=notes)()

    assert (click in notes.said) is (accelerator == "")
