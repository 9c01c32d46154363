"""The feed on a GPU: CIFAR-10 shapes, beside the model's own step, and beside a DataLoader.

    python benchmarks/feed_cuda.py [--rounds 5] [--no-dataloader]

For one GPU. Three things are timed in each round: the training step alone, on one batch that lies on the GPU; the same
steps fed by datastage; and fed by a DataLoader with a worker a core. Waiting is what an epoch takes longer than its
steps alone. Then the loaders alone, without a model. Pictures are made up from a fixed seed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from small_resnet import small_resnet

from datastage.batches.arrays import from_arrays
from datastage.batches.augment import Augment
from datastage.batches.benchmark import Samples, bench
from datastage.runtime import current

BATCH, N = 512, 50_000
AUGMENT = Augment(crop=4, flip=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--no-dataloader", action="store_true")
    chosen = options.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here that torch can use; nothing was measured.")
        return
    print(f"{torch.cuda.get_device_name()}, {current().cores} cores, torch {torch.__version__}, numpy {np.__version__}")
    stored = np.random.default_rng(0).integers(0, 256, (N, 3, 32, 32), np.uint8)
    labels = np.random.default_rng(1).integers(0, 10, N)
    for dtype, width in (("float32", 64), ("bfloat16", 64), ("bfloat16", 16)):
        one_model(stored, labels, dtype, width, chosen)
    made = from_arrays(
        {"train": (stored.transpose(0, 2, 3, 1), labels)}, batch_size=BATCH, augment=AUGMENT, device="cuda"
    )
    print("\nwithout a model")
    for row in bench(made, seconds=3):
        print(row)


def one_model(stored, labels, dtype: str, width: int, chosen) -> None:
    """Time one model with each way of feeding it."""
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    model = small_resnet(3, 10, width).cuda().to(kind).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step(x, y) -> None:
        loss = nn.functional.cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    began = time.perf_counter()
    train = from_arrays(
        {"train": (stored.transpose(0, 2, 3, 1), labels)},
        batch_size=BATCH,
        augment=AUGMENT,
        dtype=dtype,
        memory_format="channels_last",
        drop_last=True,
        device="cuda",
    ).train
    held = next(iter(train))
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    steps = len(train)

    def alone():
        for _ in range(steps):
            step(*held)

    def by_datastage():
        for x, y in train:
            step(x, y)

    ways = {"the step alone": alone, "datastage": by_datastage}
    if not chosen.no_dataloader:
        ways["DataLoader"] = by_dataloader(stored, labels, kind, step)
    seen: dict = {name: [] for name in ways}
    for name, way in ways.items():
        if name != "DataLoader":
            way()  # kernels are chosen and compiled
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            torch.cuda.synchronize()
            began = time.perf_counter()
            way()
            torch.cuda.synchronize()
            seen[name].append(time.perf_counter() - began)
    print(f"\nsmall ResNet of width {width}, {dtype}, {steps} steps of {BATCH}; first batch after {first:.2f} s")
    least = statistics.median(seen["the step alone"])
    for name, times in seen.items():
        took = statistics.median(times)
        print(
            f"  {name:<18} epoch {took:7.3f} s ({min(times):.3f} to {max(times):.3f})   "
            f"{1000 * took / steps:7.2f} ms a step   waiting {max(0.0, 1 - least / took):6.1%}",
            flush=True,
        )
    print(f"  datastage's own account: {train.stats}")


def by_dataloader(stored, labels, kind, step):
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Samples(stored.__getitem__, labels, AUGMENT), BATCH, shuffle=True, num_workers=current().cores, pin_memory=True,
        drop_last=True,
        persistent_workers=True,
    )  # fmt: skip

    def run() -> None:
        for x, y in loader:
            x = x.cuda(non_blocking=True).to(kind, memory_format=torch.channels_last)
            step(x, y.cuda(non_blocking=True))

    return run


if __name__ == "__main__":
    main()
