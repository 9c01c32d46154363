import contextlib
import re

import numpy as np
import pytest
import torch
import torch.utils._python_dispatch

from datastage.batches import to_device
from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment
from datastage.batches.devices import Choice
from tests.loaders_of import from_folder

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use")


def splits(n=103):
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 28, 3), np.uint8)
    return {"train": (images, np.arange(n)), "test": (images, np.arange(n))}


def made(device, **options):
    return from_arrays(
        splits(), **{"batch_size": 16, "mean": [0.5] * 3, "std": [0.25] * 3, "device": device, **options}
    )


@on_a_gpu
@pytest.mark.parametrize("held", ["on the GPU", "in memory"])
@pytest.mark.parametrize(
    "augment",
    [
        None, Augment(crop=4, flip=True), Augment(crop=3, pad="zero", flip="alternate", cutout=6),
        Augment(scale=(0.3, 1.0), flip=True), Augment(crop=2, brightness=0.3, contrast=0.3, saturation=0.3),
    ],
    ids=str,
)  # fmt: skip
def test_a_gpu_gives_the_batches_of_the_cpu(augment, held, monkeypatch):
    if held == "in memory":
        monkeypatch.setattr("datastage.batches.arrays.SHARE_OF_DEVICE", 0.0)
    there, here = (made(device, augment=augment).train for device in ("cuda", "cpu"))
    for epoch in range(2):
        for (x, y), (a, b) in zip(there, here, strict=True):
            assert x.device.type == y.device.type == "cuda"
            # One step of 255 in one value, normalised, is what rounding a resize or a jitter otherwise may cost.
            atol = 1e-5 if augment is None or not (augment.scale or augment.jitters) else 2.1 / 255 / 0.25
            assert torch.allclose(x.cpu(), a, atol=atol), epoch
            assert (y.cpu() == b).all()


@on_a_gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8"])
def test_other_dtypes_come_out_in_the_format_asked_for(dtype):
    x, _ = next(iter(made("cuda", dtype=dtype, memory_format="channels_last").train))
    assert str(x.dtype) == f"torch.{dtype}"
    assert x.is_contiguous(memory_format=torch.channels_last)


@on_a_gpu
def test_the_gpu_is_chosen_by_itself_and_only_when_the_first_batch_is_asked_for():
    train = made("auto").train
    assert "chosen when" in train.explain()
    next(iter(train))
    assert "cuda:0" in train.explain()


@on_a_gpu
def test_a_batch_that_is_held_keeps_its_content_while_later_ones_are_made(monkeypatch):
    monkeypatch.setattr("datastage.batches.arrays.SHARE_OF_DEVICE", 0.0)
    held = [(x, x.clone()) for x, _ in made("cuda").train]
    torch.cuda.synchronize()
    assert all((x == copy).all() for x, copy in held)


@on_a_gpu
def test_state_made_on_the_gpu_goes_on_on_the_cpu():
    running = made("cuda", augment=Augment(crop=4, flip=True)).train
    batches = iter(running)
    next(batches), next(batches)
    resumed = made("cpu", augment=Augment(crop=4, flip=True)).train
    resumed.load_state_dict(running.state_dict())
    assert all(torch.allclose(x.cpu(), a, atol=1e-5) for (x, _), (a, _) in zip(batches, resumed, strict=True))


@on_a_gpu
def test_a_transform_works_on_the_gpu_with_a_generator_there():
    def transform(batch, generator):
        assert batch.dtype == torch.uint8
        assert batch.device.type == generator.device.type == "cuda"
        return batch

    list(made("cuda", transform=transform).train)


@on_a_gpu
def test_photos_move_to_the_gpu_once_they_are_decoded(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(30):
        file = tmp_path / f"class{i % 3}" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    options = {"batch_size": 8, "size": 32, "test": 0, "augment": Augment(crop=2, flip=True)}
    there, here = (from_folder(tmp_path, device=device, **options).train for device in ("cuda", "cpu"))
    for _ in range(2):  # the first from memory, the second from the GPU
        for (x, y), (a, b) in zip(there, here, strict=True):
            assert torch.allclose(x.cpu(), a, atol=1e-5)
            assert (y.cpu() == b).all()


@on_a_gpu
def test_any_dataset_arrives_whole():
    dataset = torch.utils.data.TensorDataset(torch.arange(100.0).reshape(50, 2), torch.arange(50))
    loader = feed(dataset, batch_size=8, device="cuda")
    batches = list(loader)
    assert all(x.device.type == "cuda" and (x[:, 0] == 2 * y).all() for x, y in batches)
    assert sorted(int(i) for _, y in batches for i in y) == list(range(50))


@on_a_gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_gives_a_gpu_what_it_gives_the_cpu_and_leaves_the_users_numbers_alone(workers):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 200

        def __getitem__(self, i):
            return torch.rand(3), i

    def drawn(device):
        torch.manual_seed(1)
        loader = feed(torch.utils.data.DataLoader(Noisy(), 4, shuffle=True, num_workers=workers), device=device)
        return [(x.cpu(), torch.rand(1)) for _ in range(2) for x, _ in loader]

    for (x, own), (a, b) in zip(drawn("cuda"), drawn("cpu"), strict=True):
        assert (x == a).all()
        assert own == b


@on_a_gpu
def test_what_is_on_the_gpu_already_is_fed_as_it_is():
    numbers = torch.arange(100.0, device="cuda")
    loader = feed(torch.utils.data.TensorDataset(numbers * 2, numbers.long()), batch_size=8, device="cuda")
    assert all((x == 2 * y).all() for x, y in loader)


@on_a_gpu
@pytest.mark.parametrize("fed", ["arrays", "a dataset"])
def test_later_epochs_take_no_more_of_the_gpus_memory(fed, monkeypatch):
    monkeypatch.setattr("datastage.batches.arrays.SHARE_OF_DEVICE", 0.0)
    data = torch.utils.data.TensorDataset(torch.zeros(64, 1 << 18))
    loader = made("cuda", batch_size=103).train if fed == "arrays" else feed(data, batch_size=16, device="cuda")
    held = []
    for _ in range(6):
        list(loader)
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_reserved())
    assert held[-1] == held[2]


@pytest.fixture
def no_gpu(monkeypatch):
    """A CUDA device but for the device: what is asked of its streams is written down."""
    asked = []

    class Stream:
        def __init__(self, device=None):
            asked.append("stream")

        def record_event(self):
            return "event"

        def wait_event(self, event):
            asked.append("wait")

        def wait_stream(self, stream):
            asked.append("wait for the training")

    now = object.__new__(Stream)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(
        torch.cuda,
        "device",
        lambda device: asked.append("device" if device == choice.device else str(device)) or contextlib.nullcontext(),
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: now)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append("pin") or tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: asked.append("record"))
    choice = Choice(torch.device("cpu"), "cuda", "a stand-in")
    monkeypatch.setattr("datastage.batches.devices.choose", lambda wanted, local_rank: choice)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (0, 0))
    to_device._side_stream.cache_clear()
    yield asked
    to_device._side_stream.cache_clear()


def test_one_stream_beside_the_trainings_serves_every_loader_and_epoch(no_gpu):
    data = torch.utils.data.TensorDataset(torch.zeros(20, 2), torch.arange(20))
    for loader in (*made("auto"), feed(data, batch_size=4)):
        list(loader), list(loader)
    assert no_gpu.count("stream") == 1


def test_every_tensor_of_a_batch_is_pinned_and_its_memory_kept_while_the_training_uses_it(no_gpu):
    data = torch.utils.data.TensorDataset(torch.zeros(20, 2), torch.arange(20))
    list(feed(data, batch_size=4))
    assert [no_gpu.count(what) for what in ("wait", "pin", "record")] == [5, 10, 10]


def test_what_is_on_a_device_is_not_pinned(no_gpu):
    tensor = torch.zeros(2, device="meta")
    assert to_device.sent(tensor, torch.device("cpu")) is tensor
    assert "pin" not in no_gpu


def test_a_dataset_is_read_by_the_thread_that_trains_and_gives_what_it_gives_the_cpu(no_gpu):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 400

        def __getitem__(self, i):
            return torch.rand(3), i

    def drawn(device):
        torch.manual_seed(1)
        return [(x, torch.rand(1)) for x, _ in feed(Noisy(), batch_size=2, device=device)]

    assert all((x == a).all() and own == b for (x, own), (a, b) in zip(drawn("auto"), drawn("cpu"), strict=True))


def test_workers_are_started_by_the_thread_that_trains(no_gpu, monkeypatch):
    import multiprocessing.process
    import threading

    started, start = set(), multiprocessing.process.BaseProcess.start

    def watched(process):
        started.add(threading.current_thread())
        start(process)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", watched)
    data = torch.utils.data.TensorDataset(torch.arange(20))
    loader = feed(torch.utils.data.DataLoader(data, 4, num_workers=2), device="auto")
    assert [int(i) for _ in range(2) for (x,) in loader for i in x] == [*range(20)] * 2
    assert started == {threading.current_thread()}


def test_images_that_turn_out_not_to_fit_on_the_gpu_are_copied_batch_by_batch(no_gpu, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (10**9, 10**9))
    monkeypatch.setattr("datastage.batches.batch_ops.ResidentStore", full)
    train = made("auto").train
    assert sorted(int(i) for _, y in train for i in y) == list(range(103))
    assert "in memory" in train.explain()


class Counted(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts what a GPU would run: kernels, and the bytes that they read and write. Views and fresh memory are free."""

    FREE = ("view", "expand", "slice", "empty", "detach", "alias", "unsqueeze", "transpose", "permute", "select.int",
            "split", "unbind", "_to_copy_nothing", "t.default", "as_strided", "lift_fresh", "is_pinned")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.kernels, self.bytes, self.indices, self.masks, self.names = 0, 0, [], [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        name = function.__name__
        if not name.startswith(self.FREE):
            self.kernels += 1
            self.names.append(name)
            read = {id(a): a for a in args if isinstance(a, torch.Tensor)}
            if name.startswith(("index_select", "gather")):  # of what they pick from as much as they write
                read.pop(id(args[0]))
                self.bytes += moved_by(made)
            self.bytes += sum(map(moved_by, read.values()))
            self.bytes += moved_by(made) if isinstance(made, torch.Tensor) else 0
        if name.startswith("index.Tensor"):
            self.indices.append(sum(index is not None for index in args[1]))
        if name.startswith(("index.Tensor", "index_put")):  # how many are picked by a mask only the GPU knows
            self.masks += [index for index in args[1] if index is not None and index.dtype == torch.bool]
        return made


def moved_by(tensor):
    """What a tensor's numbers take; one that is repeated without a copy is read from a cache."""
    sizes = [n for n, stride in zip(tensor.shape, tensor.stride()) if stride]
    return int(np.prod(sizes)) * tensor.element_size()


@pytest.fixture
def held(no_gpu, monkeypatch):
    """As `no_gpu`, and with room for everything."""
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (10**12, 10**12))
    return no_gpu


EVERY = [
    Augment(), Augment(flip=True), Augment(crop=4, flip=True), Augment(crop=4, pad="zero", flip="alternate", cutout=8),
    Augment(scale=(0.3, 1.0), flip=True), Augment(crop=2, brightness=0.3, contrast=0.3, saturation=0.3),
    Augment(hue=0.1),
]  # fmt: skip


@pytest.mark.parametrize("augment", EVERY, ids=str)
def test_a_split_held_on_the_device_gives_what_the_cpu_gives(held, augment):
    there, here = made("auto", augment=augment), made("cpu", augment=augment)
    for one, other in zip(there, here, strict=True):
        for (x, y), (a, b) in zip(one, other, strict=True):
            assert torch.allclose(x, a, atol=2.1 / 255 / 0.25 if augment.scale or augment.jitters else 1e-5)
            assert (y == b).all()
    assert "on the cpu" in there.train.explain()  # which stands in for the GPU


@pytest.mark.parametrize("augment", EVERY, ids=str)
def test_no_batch_asks_for_a_value_of_the_device_or_indexes_by_several_tensors(held, augment, monkeypatch):
    batches = iter(made("auto", augment=augment).train)
    next(batches)

    def waited(*args, **kwargs):
        raise AssertionError("this would wait for the GPU")

    for name in ("tensor", "from_numpy", "as_tensor"):
        monkeypatch.setattr(torch, name, waited)
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, waited)
    with Counted() as counted:
        for _ in batches:
            pass
    assert not counted.indices or max(counted.indices) <= 1
    assert not counted.masks
    asks = re.compile(r"masked_select|nonzero|_local_scalar_dense|equal\.|unique|repeat_interleave\.Tensor|bincount")
    assert not list(filter(asks.search, counted.names))


def test_a_batch_of_crops_takes_few_kernels_and_moves_few_bytes(held):
    images = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), np.uint8)
    options = {"batch_size": 512, "mean": [0.5] * 3, "std": [0.25] * 3, "device": "auto"}
    for memory_format in ("contiguous", "channels_last"):
        (train,) = from_arrays(
            {"train": (images, np.arange(2048))},
            augment=Augment(crop=4, flip=True),
            memory_format=memory_format,
            **options,
        )
        batches = iter(train)
        next(batches)
        with Counted() as counted:
            x, _ = next(batches)
        assert counted.kernels <= 12, counted.names
        assert counted.bytes <= 2.5 * x.nbytes, (counted.bytes / x.nbytes, counted.names)


def test_all_that_an_epoch_needs_is_sent_from_pinned_memory(held):
    train = made("auto", augment=Augment(crop=4, flip=True, cutout=3)).train
    next(iter(train))  # the images are on the device
    held.clear()
    next(iter(train))
    assert held.count("pin") >= 4  # samples, labels, places in the tables, cutout
    assert "stream" not in held


def test_the_copying_thread_sets_its_device_and_its_stream_waits_for_the_training(no_gpu):
    list(made("auto").train)
    assert no_gpu.count("device") == 7  # once a batch, and never another's
    assert set(no_gpu) <= {"stream", "device", "pin", "record", "wait", "wait for the training"}
    assert no_gpu.count("wait for the training") == 1


def test_where_no_memory_can_be_pinned_batches_are_copied_all_the_same(no_gpu, monkeypatch):
    def full(tensor):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    assert sorted(int(i) for _, y in made("auto").train for i in y) == list(range(103))


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_room_that_is_gone_in_the_middle_of_an_epoch_costs_no_sample(held, monkeypatch, bad):
    from datastage.batches.batch_ops import ResidentStore

    batch, made_so_far, said = ResidentStore.batch, [], []

    def full(store, samples, draws):
        made_so_far.append(len(samples))
        if len(made_so_far) > bad:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch(store, samples, draws)

    class Reporter:
        def note(self, text, label="Found"):
            said.append(text)

    monkeypatch.setattr(ResidentStore, "batch", full)
    train = made("auto", augment=Augment(crop=2), reporter=Reporter()).train
    given = list(train)
    expected = list(made("cpu", augment=Augment(crop=2)).train)
    assert all((y == b).all() and torch.allclose(x, a) for (x, y), (a, b) in zip(given, expected, strict=True))
    assert [line for line in said if "no room for the images: each batch is copied" in line]
    assert "in memory" in train.explain()


def test_out_of_memory_where_nothing_is_held_is_the_users_to_know(no_gpu, monkeypatch):
    from datastage.batches.normalize import TorchFinish

    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(TorchFinish, "__call__", full)
    with pytest.raises(torch.OutOfMemoryError):
        list(made("auto").train)


def test_holding_a_split_can_be_declined_and_is_said(held):
    train = made("auto", hold=False).train
    next(iter(train))
    assert "in memory, as hold=False asks" in train.explain()
    assert held.count("wait for the training") == 1


@pytest.mark.parametrize("holds", [False, True])
def test_a_transform_runs_in_the_thread_of_the_training_wherever_the_images_are(holds, held):
    import threading

    threads = set()

    def transform(batch, generator):
        threads.add(threading.current_thread())
        return batch + torch.randint(0, 9, (1,), generator=generator).to(torch.uint8)

    given = [x for x, _ in made("auto", hold=holds, transform=transform).train]
    expected = [x for x, _ in made("cpu", transform=transform).train]
    assert threads == {threading.current_thread()}
    assert all(torch.allclose(x, a, atol=1e-5) for x, a in zip(given, expected, strict=True))


@pytest.mark.parametrize("change", ["deterministic", "default dtype", "default device"])
@pytest.mark.parametrize("augment", EVERY, ids=str)
def test_what_torch_is_set_to_changes_no_batch(held, augment, change):
    expected = [x for _ in range(2) for x, _ in made("auto", augment=augment).train]
    old = torch.get_default_dtype()
    try:
        if change == "deterministic":
            torch.use_deterministic_algorithms(True)
        elif change == "default dtype":
            torch.set_default_dtype(torch.float64)
        else:
            torch.set_default_device("meta")
        found = [x for _ in range(2) for x, _ in made("auto", augment=augment).train]
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_default_dtype(old)
        torch.set_default_device(None)
    assert all(torch.equal(x, a) for x, a in zip(found, expected, strict=True))


def test_labels_of_a_batch_that_is_kept_keep_no_others(held):
    for _, y in made("auto").train:
        assert y.untyped_storage().nbytes() == y.nbytes
