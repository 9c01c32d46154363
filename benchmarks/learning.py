"""Whether a model learns the same with the feed as with torchvision's way of loading, over several seeds.

    python benchmarks/learning.py [--data fashion_mnist] [--epochs 2] [--seeds 3] [--first-seed 0] [--device auto]

The small ResNet of examples/ is trained with the same augmentation fed by datastage, and fed by a DataLoader that does
to each image on its own what torchvision's RandomCrop, RandomHorizontalFlip and Normalize do. Both begin with the same
weights for the same seed. Prints the test accuracy of each, their means, the spread over the seeds, and the difference
with the standard error that the spread gives it. On two CPU cores a run of two epochs takes minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from train_cifar10 import train

import datastage
from datastage.batches import Stats
from datastage.batches.bench import Samples


class PerSample:
    """The training split sample by sample through a DataLoader, normalised and moved as our loader's batches are."""

    def __init__(self, loader, mean, std, workers: int, seed: int) -> None:
        from torch.utils.data import DataLoader

        samples = Samples(loader.source.images, loader.source.labels, loader.augment)
        chance = torch.Generator().manual_seed(seed)  # not torch's own, which the model's first weights come from
        self._loader = DataLoader(samples, loader.batch_size, shuffle=True, num_workers=workers, generator=chance)
        self._device = next(iter(loader))[0].device
        self._mean = torch.tensor(mean, device=self._device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(-1, 1, 1)
        self.classes, self.stats = loader.classes, Stats()  # not measured here

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self):
        for x, y in self._loader:
            yield (x.to(self._device) - self._mean) / self._std, y.to(self._device)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: torch's own generator goes on."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default="fashion_mnist")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--ways", default="datastage,sample by sample", help="which of the two, with a comma between")
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--device", default="auto")
    chosen = options.parse_args()
    found: dict[str, list[float]] = {way: [] for way in chosen.ways.split(",")}
    entry = next((e for e in datastage.catalog() if e.name == chosen.data), None)
    mean, std = (entry.mean, entry.std) if entry else ((0.0,), (1.0,))
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
        for name, accuracies in found.items():
            torch.manual_seed(seed)
            loaders = datastage.loaders(
                chosen.data,
                batch_size=chosen.batch_size,
                seed=seed,
                device=chosen.device,
                memory_format="channels_last",
            )
            fed = loaders.train if name == "datastage" else PerSample(loaders.train, mean, std, chosen.workers, seed)
            began = time.perf_counter()
            accuracies.append(train(fed, loaders.test, chosen.epochs))
            print(
                f"seed {seed}, {name}: {100 * accuracies[-1]:.2f} % in {time.perf_counter() - began:.0f} s", flush=True
            )
    for name, accuracies in found.items():
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(f"{name}: mean {100 * statistics.mean(accuracies):.2f} %, standard deviation {100 * spread:.2f}")
    if len(found) == 2 and chosen.seeds > 1:
        ours, theirs = found.values()
        error = ((statistics.variance(ours) + statistics.variance(theirs)) / chosen.seeds) ** 0.5
        apart = 100 * (statistics.mean(ours) - statistics.mean(theirs))
        print(f"difference {apart:+.2f}, its standard error {100 * error:.2f}")


if __name__ == "__main__":
    main()
