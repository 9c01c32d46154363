"""Whether a model learns the same with the feed as with torchvision's way of loading, over several seeds.

    python benchmarks/learning.py [--data fashion_mnist] [--epochs 2] [--seeds 3] [--first-seed 0] [--device auto]

The small ResNet of examples/ is trained twice: fed by datastage, and by a DataLoader with torchvision's transforms on
Pillow images (RandomCrop, RandomHorizontalFlip, ToTensor and Normalize, as the data set's own augmentation has it).
Both begin with the same weights for the same seed. Prints the test accuracy of each, their means, the spread over the
seeds, and the difference with the standard error that the spread gives it. On two CPU cores a run of two epochs takes
minutes.
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
from feed import torchvision
from train_cifar10 import train

import datastage
from datastage.batches.stats import Stats


class Pictures(torch.utils.data.Dataset):
    """The training split as torchvision's own data sets give it: a Pillow image, transformed, and its label."""

    def __init__(self, loader, mean, std) -> None:
        from torchvision import transforms as t

        augment, steps = loader.augment, []
        if augment is not None and augment.crop:
            pad = {"reflect": "reflect", "zero": "constant"}[augment.pad]
            steps.append(t.RandomCrop(loader.source.size, augment.crop, padding_mode=pad))
        if augment is not None and augment.flip:
            steps.append(t.RandomHorizontalFlip())
        self._transform = t.Compose([*steps, t.ToTensor(), t.Normalize(mean, std)])
        self._images, self._labels = loader.source.images.transpose(0, 2, 3, 1), loader.source.labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int):
        from PIL import Image

        pixels = self._images[i]
        return self._transform(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)), self._labels[i]


class Torchvision:
    """A DataLoader of `Pictures`, whose batches are moved as our loader's are."""

    def __init__(self, loader, mean, std, workers: int, seed: int) -> None:
        chance = torch.Generator().manual_seed(seed)  # not torch's own, which the model's first weights come from
        self._loader = torch.utils.data.DataLoader(
            Pictures(loader, mean, std), loader.batch_size, shuffle=True, num_workers=workers, generator=chance
        )
        self._device = next(iter(loader))[0].device
        self.classes, self.stats = loader.classes, Stats()  # not measured here

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self):
        for x, y in self._loader:
            yield x.to(self._device, memory_format=torch.channels_last), y.to(self._device)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: torch's own generator goes on."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default="fashion_mnist")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--ways", default="datastage,torchvision", help="which of the two, with a comma between")
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--limit", type=int, help="train and test on so many images only")
    options.add_argument("--workers", type=int, default=2, help="of torchvision's way, 1 or more")
    options.add_argument("--device", default="auto")
    chosen = options.parse_args()
    if chosen.workers < 1:
        options.error("with no workers torchvision would draw from the generator that the first weights come from")
    found: dict[str, list[float]] = {way: [] for way in chosen.ways.split(",")}
    if "torchvision" in found and not torchvision():
        sys.exit(1)
    entry = next((e for e in datastage.catalog() if e.name == chosen.data), None)
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
        for name, accuracies in found.items():
            torch.manual_seed(seed)
            loaders = datastage.loaders(
                chosen.data,
                batch_size=chosen.batch_size,
                seed=seed,
                device=chosen.device,
                memory_format="channels_last",
                limit=chosen.limit,
            )
            fed = loaders.train
            if name == "torchvision":
                mean, std = (entry.mean, entry.std) if entry else ((0.0,), (1.0,))
                fed = Torchvision(loaders.train, mean, std, chosen.workers, seed)
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
