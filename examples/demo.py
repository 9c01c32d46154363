"""The main job, from one line to a trained model: what `make demo` runs.

By default the data are scikit-learn's digits (1,797 real pictures of handwritten digits, 8 x 8), written as a zip
of PNG folders into a pretend Google Drive; datastage finds it there, unpacks it and feeds it. Any name of the catalog
does as well: ``python examples/demo.py cifar10``.

Saved: one picture with the loss, and a grid of test images with what the model takes them for.
"""

from __future__ import annotations

import io
import os
import sys
import time
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "demo"


def write_digits(drive: Path) -> None:
    """Write the digits into `drive` as students do: ``digits.zip``, a folder for each class."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    drive.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(drive / "digits.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            png = io.BytesIO()
            Image.fromarray((image * (255 / 16)).astype(np.uint8)).save(png, "PNG")
            archive.writestr(f"digits/{label}/{number:04}.png", png.getvalue())


def train(train_batches, test_batches, *, epochs: int, classes: tuple[str, ...]):
    """Train a small CNN; return the losses, the test accuracy, and some images with labels and predictions."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    images, _ = next(iter(test_batches))
    channels = images.shape[1]
    model = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveMaxPool2d(4),
        nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 16, len(classes)),
    ).to(images.device)  # fmt: skip
    steps = epochs * len(train_batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    losses = []
    for epoch in range(epochs):
        model.train()
        for x, y in train_batches:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {epochs}: loss {sum(losses[-len(train_batches) :]) / len(train_batches):.3f}")
    model.eval()
    with torch.no_grad():
        seen = [(x, y, model(x).argmax(1)) for x, y in test_batches]
    images, labels, predicted = (torch.cat(parts).cpu() for parts in zip(*seen, strict=True))
    accuracy = (labels == predicted).float().mean().item()
    some = torch.linspace(0, len(labels) - 1, 24).long()  # evenly through the test images: some of every class
    return losses, accuracy, (images[some].float(), labels[some], predicted[some])


def draw(path: Path, losses: list[float], shown, classes: tuple[str, ...], title: str) -> None:
    """Save the loss curve and a grid of images, each with its predicted label, as one picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    images, labels, predicted = shown
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(4, 7))
    axis = left.subplots()
    axis.plot(losses, linewidth=1, color="#1f77b4")
    axis.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    axis.grid(alpha=0.3)
    for number, cell in enumerate(right.subplots(3, 8).flat):
        cell.axis("off")
        if number >= len(images):
            continue
        image = images[number].permute(1, 2, 0)
        image = (image - image.min()) / (image.max() - image.min() + 1e-9)
        cell.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray")
        is_right = labels[number] == predicted[number]
        cell.set_title(classes[predicted[number]], fontsize=9, color="#2a7f2a" if is_right else "#c02020")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run the demo; return the exit code."""
    data = sys.argv[1] if len(sys.argv) > 1 else "digits-on-drive"
    if data == "digits-on-drive":
        os.environ["DATASTAGE_DRIVE"] = str(FOLDER / "drive")  # a folder that is taken for a mounted Google Drive
        write_digits(FOLDER / "drive" / "My Drive")
        data, epochs, batch_size = "drive:digits.zip", 12, 64
    else:
        epochs, batch_size = 4, 512

    import torch

    import datastage

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    began = time.perf_counter()
    try:
        path = datastage.stage(data, root=FOLDER / "staged")
        train_batches, test_batches = datastage.loaders(path, batch_size=batch_size)
    except datastage.DatastageError as error:
        print(error)
        return error.exit_code
    classes = tuple(train_batches.classes)
    losses, accuracy, shown = train(train_batches, test_batches, epochs=epochs, classes=classes)
    picture = FOLDER / "demo.png"
    seconds = time.perf_counter() - began
    draw(picture, losses, shown, classes, f"{data}: {accuracy:.1%} of the test images right, after {seconds:.0f} s")
    print(f"picture: {picture}")
    print(f"test accuracy: {accuracy * 100:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
