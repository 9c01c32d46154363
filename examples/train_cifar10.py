"""Train a small ResNet on whatever is there: GPU, TPU, Apple's or the CPU.

    python train_cifar10.py                                   CIFAR-10
    python train_cifar10.py --data fashion_mnist --epochs 2   or any name, folder or archive that datastage knows

Prints a line an epoch and the test accuracy in the end.
"""

from __future__ import annotations

import argparse
import time

import torch
from small_resnet import small_resnet
from torch.nn.functional import cross_entropy

import datastage


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", default="cifar10", help="what datastage.loaders takes: a name, a folder, drive:...")
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--size", type=int, help="for photos: height and width")
    options.add_argument("--limit", type=int, help="train and test on so many images only")
    options.add_argument("--device", default="auto")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    torch.manual_seed(chosen.seed)
    more = {"size": chosen.size} if chosen.size else {}
    loaders = datastage.loaders(
        chosen.data,
        batch_size=chosen.batch_size,
        device=chosen.device,
        memory_format="channels_last",  # what convolutions are quickest at, on CPUs too
        limit=chosen.limit,
        seed=chosen.seed,
        **more,
    )
    accuracy = train(loaders.train, loaders.test, chosen.epochs)
    print(f"test accuracy: {100 * accuracy:.1f} %")


def train(train, test, epochs: int, peak: float = 0.01) -> float:
    """Train with one rise and fall of the learning rate, and return the share of test images that are told right."""
    images, labels = next(iter(train))
    train.set_epoch(0)
    classes = len(train.classes) or int(labels.max()) + 1
    width = 16 if images.device.type == "cpu" else 64  # what two cores can do in minutes, and a GPU in seconds
    model = small_resnet(images.shape[1], classes, width).to(images.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=max(2, epochs * len(train)))
    accuracy = 0.0
    for epoch in range(epochs):
        began = time.perf_counter()
        model.train()
        for images, labels in train:
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        accuracy = evaluate(model, test)
        took = time.perf_counter() - began
        print(
            f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {100 * accuracy:.1f} %, {took:.1f} s", end=", "
        )
        print(f"{train.stats.waiting:.1%} of the training spent waiting for data", flush=True)
    return accuracy


@torch.no_grad()
def evaluate(model: torch.nn.Module, test) -> float:
    """Return the share of test images that are told right; padding, labelled below 0, does not count."""
    model.eval()
    right = total = 0
    for images, labels in test:
        right += ((model(images).argmax(1) == labels) & (labels >= 0)).sum()
        total += (labels >= 0).sum()
    return float(right / total)


if __name__ == "__main__":
    main()
