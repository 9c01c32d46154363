"""Checks of the feed on a GPU that cannot be had elsewhere; a line each: PASS, FAIL or a figure.

    python benchmarks/gpu_check.py            about 3 minutes on one GPU; without one only the checks' own code is run

Each check stands alone. Exit code 1 if one failed.
"""

import os
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from datastage.batches.any_dataset import feed
from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment, draw
from datastage.batches.batch_ops import ResidentStore
from datastage.batches.devices import choose

DRY = not torch.cuda.is_available()
DEVICE = "cpu" if DRY else "cuda"
N = 600 if DRY else 50_000
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (N, 32, 32, 3), np.uint8), RNG.integers(0, 10, N)
FULL = Augment(crop=4, flip=True)
EVERY = [
    None, Augment(flip=True), FULL, Augment(crop=4, pad="zero", flip="alternate", cutout=8),
    Augment(scale=(0.3, 1.0), flip=True), Augment(crop=2, brightness=0.3, contrast=0.3, saturation=0.3),
    Augment(hue=0.1),
]  # fmt: skip


def sync():
    if not DRY:
        torch.cuda.synchronize()


def busy(cycles):
    """Queue work on the GPU that takes so many cycles."""
    if not DRY:
        torch.cuda._sleep(int(cycles))


def made(device=DEVICE, augment=FULL, batch_size=512, n=None, **options):
    options = {"mean": [0.5] * 3, "std": [0.25] * 3, "batch_size": batch_size, "augment": augment, **options}
    return from_arrays({"train": (IMAGES[:n], LABELS[:n])}, device=device, **options).train


def peak_and_ms(work):
    """Return the peak memory of `work` in MB, its milliseconds on the GPU, and on the host."""
    for _ in range(3):
        work()
    sync()
    if DRY:
        return 0.0, 0.0, 0.0
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    work()
    sync()
    peak = (torch.cuda.max_memory_allocated() - held) / 1e6
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began = time.perf_counter()
    first.record()
    for _ in range(50):
        work()
    last.record()
    host = 20 * (time.perf_counter() - began)
    sync()
    return peak, first.elapsed_time(last) / 50, host


def check_crops_take_little_memory_and_time():
    """One select and one gather: peak memory and ms of a batch of crops"""
    said = []
    for batch_size, side in ((64, 32), (16, 48)) if DRY else ((1024, 32), (256, 224)):
        images = RNG.integers(0, 256, (max(batch_size, 1200 if not DRY else 64), 3, side, side), np.uint8)
        store = ResidentStore(images, FULL, np.zeros(3, np.uint8), torch.device(DEVICE))
        samples = np.arange(batch_size)
        places, draws = store.epoch(samples, draw(FULL, samples, size=(side, side), seed=0, epoch=0))
        peak, ms, host = peak_and_ms(lambda store=store, places=places, draws=draws: store.batch(places, draws))
        bytes_of_batch = batch_size * 3 * side * side
        assert DRY or peak < 4 * bytes_of_batch / 1e6, f"{peak:.0f} MB for a batch of {bytes_of_batch / 1e6:.0f} MB"
        said.append(f"{batch_size} x {side} px: peak {peak:.0f} MB, {ms:.3f} ms on the GPU, {host:.3f} ms on the host")
    return "; ".join(said)


def check_no_batch_waits_for_the_gpu():
    """No batch of a split held on the GPU waits for it, whatever is done to it"""
    for augment in EVERY:
        batches = iter(made(augment=augment, n=4096))
        next(batches)
        sync()
        if DRY:
            list(batches)
            continue
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in batches:
                pass
        finally:
            torch.cuda.set_sync_debug_mode("default")


def check_an_epochs_start_waits_for_nothing():
    """An epoch begins while the training's work is still queued, and does not count that as waiting for data"""
    train = made(n=8192)
    list(train)
    sync()
    busy(1e9)  # about half a second
    began = time.perf_counter()
    next(iter(train))
    took = time.perf_counter() - began
    sync()
    assert DRY or took < 0.1, f"the first batch came after {took:.2f} s"


def check_copied_batches_are_those_of_the_cpu():
    """Batches copied beside a training that lags behind are right, with memory used again"""
    for augment in (FULL, Augment(scale=(0.3, 1.0), flip=True)):
        options = {"augment": augment, "n": 8000, "batch_size": 256, "hold": False}
        there, here = made(**options), made("cpu", **options)
        for _ in range(2):
            kept = []
            for x, y in there:
                busy(2e7)
                kept.append((x.double().sum((1, 2, 3)), y.clone()))
                del x, y
            sync()
            for (total, y), (a, b) in zip(kept, here, strict=True):
                assert torch.equal(y.cpu(), b)
                assert torch.allclose(total.cpu(), a.double().sum((1, 2, 3)), atol=1.0 if augment.crop else 40.0)


def check_a_transform_sees_what_the_training_made():
    """A transform of copied batches reads what the training's stream wrote just before the loop"""
    written = torch.zeros(1 << 24, device=DEVICE)
    busy(6e8)
    written += 7
    train = made(n=2048, hold=False, transform=lambda batch, generator: batch.float() * 0 + written[-1])
    x, _ = next(iter(train))
    assert (x == 7).all(), "it read memory that was not written yet"


@contextmanager
def deterministic():
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def check_deterministic_mode_changes_nothing():
    """Under deterministic algorithms the GPU is chosen, and no kernel of ours objects"""
    with deterministic():
        choice = choose("auto")
        assert DRY or choice.kind == "cuda", choice.why
        for augment in EVERY:
            list(made(augment=augment, n=1024))


class Slow(torch.utils.data.Dataset):
    """Samples that take two milliseconds each."""

    def __len__(self):
        return 256

    def __getitem__(self, i):
        time.sleep(0.002)
        return np.full(3, i, np.float32)


def check_a_default_device_changes_nothing():
    """torch.set_default_device("cuda"): feed still starts worker processes"""
    torch.set_default_device(DEVICE)
    try:
        loader = feed(Slow(), batch_size=16, device=DEVICE)
        list(loader)
        assert "could not make one" not in loader.explain(), loader.explain()
        list(feed(torch.utils.data.DataLoader(Slow(), 16, num_workers=2), device=DEVICE))
    finally:
        torch.set_default_device(None)


def check_a_graph_may_be_captured_meanwhile():
    """A CUDA graph is captured while a loader copies batch by batch"""
    batches = iter(made(n=min(N, 20_000), batch_size=64, hold=False))
    x, _ = next(batches)
    if not DRY:
        static, graph = x.clone(), torch.cuda.CUDAGraph()
        sync()
        for _ in range(3):
            next(batches)
        with torch.cuda.graph(graph):
            time.sleep(0.05)
            out = static * 2
        graph.replay()
        sync()
        assert torch.equal(out, static * 2)
    for _ in batches:
        pass


def check_the_current_device_is_taken():
    """With two GPUs "cuda" is the one that torch is set to"""
    if DRY or torch.cuda.device_count() < 2:
        return "SKIP, it needs two GPUs"
    torch.cuda.set_device(1)
    try:
        assert choose("cuda").device.index == 1, choose("cuda").device
    finally:
        torch.cuda.set_device(0)


def check_batches_can_be_trained_on_after_inference_mode():
    """Batches of a loader whose first epoch ran under inference_mode can be trained on"""
    train, net = made(n=2048), torch.nn.Linear(3072, 10).to(DEVICE)
    with torch.inference_mode():
        list(train)
    for x, y in train:
        torch.nn.functional.cross_entropy(net(x.flatten(1)), y).backward()


def check_a_compiled_model_takes_the_batches():
    """A model compiled with reduce-overhead takes the batches of three epochs; graphs that were compiled"""
    if DRY:
        return "SKIP"
    from torch._dynamo.utils import counters

    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(7200, 10)
    net = torch.compile(torch.nn.Sequential(*layers).cuda(), mode="reduce-overhead")
    for _ in range(3):
        for x, y in made(n=2000, batch_size=256, memory_format="channels_last"):
            torch.nn.functional.cross_entropy(net(x), y).backward()
    return f"{counters['stats'].get('unique_graphs')} graphs"


def check_no_thread_stays():
    """Leaving a loop leaves no thread"""
    for hold in (True, False):
        for _ in made(n=4096, hold=hold):
            break
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("datastage")]


def check_an_epoch_alone():
    """An epoch without a model, batch 1024, float16, channels last: seconds, and kernels a batch"""
    train = made(batch_size=1024 if not DRY else 64, dtype="float16", memory_format="channels_last")
    list(train)
    sync()
    began = time.perf_counter()
    n = sum(1 for _ in train)
    host = time.perf_counter() - began
    sync()
    took = time.perf_counter() - began
    if DRY:
        return "SKIP"
    from torch.profiler import ProfilerActivity, profile

    batches = iter(train)
    next(batches)
    sync()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        next(batches)
        sync()
    kernels = [event for event in seen.events() if event.device_type.name == "CUDA"]
    assert len(kernels) <= 12, [event.name for event in kernels]
    on_gpu = sum(event.device_time for event in kernels)
    return f"{took:.4f} s, host {1e6 * host / n:.0f} us a batch, {len(kernels)} kernels, {on_gpu:.0f} us of GPU a batch"


def run(check):
    began, what = time.perf_counter(), check.__doc__
    try:
        said = check() or "PASS"
    except Exception as error:
        said = f"FAIL  {type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
        traceback.print_exc(limit=-2)
    print(f"{said} | {what} ({time.perf_counter() - began:.1f} s)", flush=True)
    return not said.startswith("FAIL")


if __name__ == "__main__":
    print(torch.__version__, "no GPU: a dry run" if DRY else torch.cuda.get_device_name())
    passed = [run(check) for name, check in list(globals().items()) if name.startswith("check_")]
    sys.exit(not all(passed))
