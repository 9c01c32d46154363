"""What batches or streams by itself, fed: each sample once, and on from the middle of an epoch: `make clients`."""

import io
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from datastage.batches.any_dataset import feed
from tests.torchvision_here import torchvision_here


def numbers(loader):
    """Return the numbers that a loader gives, batch by batch."""
    of = [
        batch["i"] if isinstance(batch, dict) else batch[-1] if isinstance(batch, tuple) else batch for batch in loader
    ]
    return [[int(i) for i in batch] for batch in of]


def check(make, n=40, *, epochs=2):
    """Each sample once an epoch; from a state in the middle the other batches come, and then a whole epoch."""
    loader = make()
    for _ in range(epochs):
        given = numbers(loader)
        assert sorted(i for batch in given for i in batch) == list(range(n))
    loader = make()
    running = iter(loader)
    first = numbers([next(running), next(running)])
    state = loader.state_dict()
    expected = numbers(running)
    again = make()
    again.load_state_dict(state)
    rest = numbers(again)
    assert rest == expected
    assert sorted(i for batch in first + rest for i in batch) == list(range(n))
    assert sorted(i for batch in numbers(again) for i in batch) == list(range(n))


@pytest.mark.parametrize("own", [False, True])
def test_webdataset(own, tmp_path):
    wds = pytest.importorskip("webdataset")
    for shard in range(4):
        with wds.TarWriter(str(tmp_path / f"s-{shard}.tar")) as tar:
            for i in range(10 * shard, 10 * shard + 10):
                with io.BytesIO() as file:
                    np.save(file, np.full((2, 2), i, np.float64))
                    tar.write({"__key__": f"{i:03}", "x.npy": file.getvalue(), "y.cls": i})
    shards = sorted(map(str, tmp_path.glob("*.tar")))
    samples = (
        wds.WebDataset(shards, shardshuffle=False, nodesplitter=wds.split_by_node).decode().to_tuple("x.npy", "y.cls")
    )
    if own:  # the dataset makes the batches, and workers hand them on
        loader = feed(wds.WebLoader(samples.batched(4), batch_size=None, num_workers=2), device="cpu")
    else:
        loader = feed(samples, batch_size=4, device="cpu")
    for _ in range(2):
        batches = list(loader)
        assert sorted(int(i) for _, y in batches for i in y) == list(range(40))
        assert all(x.dtype == torch.float32 and (x[:, 0, 0] == torch.as_tensor(y)).all() for x, y in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_hugging_face_dataset_of_samples(workers):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"i": list(range(40)), "x": [[float(i)] * 3 for i in range(40)]}).with_format(
        "torch"
    )
    check(lambda: feed(torch.utils.data.DataLoader(made, 4, shuffle=True, num_workers=workers), device="cpu", seed=1))
    batch = next(iter(feed(made, batch_size=4, device="cpu", dtype="bfloat16")))
    assert (batch["x"].dtype, batch["i"].dtype) == (torch.bfloat16, torch.int64)


def test_a_hugging_face_dataset_that_is_iterated():
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"i": list(range(40))}).with_format("torch")
    check(lambda: feed(made.to_iterable_dataset(num_shards=4), batch_size=4, device="cpu"))
    shuffled = made.to_iterable_dataset(num_shards=4).shuffle(seed=0, buffer_size=10)
    loader = feed(shuffled, batch_size=4, device="cpu")
    first, second = numbers(loader), numbers(loader)
    assert first != second, "set_epoch did not reach the dataset"
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(40))


@pytest.mark.parametrize("own", [False, True])
def test_litdata(own, run):
    script = """
import litdata, torch, datastage

def sample(i):
    return {"i": i, "x": torch.full((3,), float(i))}

def numbers(batches):
    return [[int(i) for i in batch["i"]] for batch in batches]

def make():
    dataset = litdata.StreamingDataset("chunks", shuffle=True, seed=3)
    if OWN:
        return datastage.feed(litdata.StreamingDataLoader(dataset, batch_size=4), device="cpu", progress=False)
    return datastage.feed(dataset, batch_size=4, device="cpu", progress=False)

if __name__ == "__main__":
    litdata.optimize(sample, list(range(40)), "chunks", num_workers=1, chunk_bytes="1KB")
    for _ in range(2):
        loader = make()
        assert sorted(sum(numbers(loader), [])) == list(range(40))
    loader = make()
    running = iter(loader)
    first = numbers([next(running), next(running)])
    state = loader.state_dict()
    expected = numbers(running)
    again = make()
    again.load_state_dict(state)
    rest = numbers(again)
    assert rest == expected, (rest, expected)
    assert sorted(sum(first + rest, [])) == list(range(40))
    print("right")
"""
    assert "right" in run(script.replace("OWN", str(own)), "litdata")


@pytest.mark.parametrize("own", [False, True])
def test_mosaicml_streaming(own, run):
    if find_spec("streaming") is None:
        pytest.skip("mosaicml-streaming is not installed here")
    torchvision_here()  # which it imports, also where it is of another build than torch
    script = """
from tests.torchvision_here import torchvision_here
torchvision_here()
import torch, datastage
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

def numbers(batches):
    return [[int(i) for i in batch["i"]] for batch in batches]

def make():
    clean_stale_shared_memory()
    dataset = StreamingDataset(local="mds", shuffle=True, shuffle_seed=3, batch_size=4, num_canonical_nodes=1)
    if OWN:
        return datastage.feed(StreamingDataLoader(dataset, batch_size=4), device="cpu", progress=False)
    return datastage.feed(dataset, batch_size=4, device="cpu", progress=False)

if __name__ == "__main__":
    with MDSWriter(out="mds", columns={"i": "int"}, size_limit=200) as out:
        for i in range(40):
            out.write({"i": i})
    loader = make()
    for _ in range(2):
        assert sorted(sum(numbers(loader), [])) == list(range(40))
    del loader
    loader = make()
    running = iter(loader)
    first = numbers([next(running), next(running)])
    state = loader.state_dict()
    expected = numbers(running)
    del loader, running
    again = make()
    again.load_state_dict(state)
    rest = numbers(again)
    assert rest == expected, (rest, expected)
    assert sorted(sum(first + rest, [])) == list(range(40))
    print("right")
"""
    assert "right" in run(script.replace("OWN", str(own)), "streaming")
