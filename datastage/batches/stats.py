"""What a loader measured, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datastage.batches import ranks
from datastage.progress import few

if TYPE_CHECKING:
    from datastage.batches.loader import Loader

EPOCHS_KEPT = 100  # so many epochs are remembered, for the card


@dataclass(slots=True, repr=False)
class Stats:
    """One epoch of a loader, so far."""

    epoch: int = -1
    images: int = 0
    batches: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    @property
    def images_per_s(self) -> float:
        """Images delivered a second, the training's own time included."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waiting(self) -> float:
        """The share of the time spent waiting for data, 0 to 1. Above a few per cent, data is the bottleneck."""
        return self.waited_s / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        if self.epoch < 0:
            return "no epoch has begun"
        return (
            f"epoch {self.epoch}: {self.images:,} images in {self.seconds:.2f} s ({self.images_per_s:,.0f}/s), "
            f"{self.waited_s:.2f} s of it waiting for data ({self.waiting:.1%})"
        )

    __repr__ = __str__


def shapes_of(batch: Any) -> str:
    """Say of what shape and type a batch is: ``"(64, 3, 224, 224) float32, (64,) int64"``."""
    from datastage.batches.to_device import tensors_of

    said = [f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in tensors_of(batch)]
    return few(said, 4)


def facts(loader: Loader) -> list[tuple[str, str]]:
    """Return what a loader does and why, each with the word that stands before it."""
    choice, options = loader.choice, loader.options
    is_theirs = loader.n_samples is None
    order = "batches in the order that your data gives them"
    if not is_theirs:
        n = len(loader)
        order = f"{loader.n_samples or 0:,} samples in {n:,} batch{'' if n == 1 else 'es'} of {loader.batch_size:,}; "
        order += "shuffled" if loader.shuffle else "in order"
    form = options.dtype + (f", {options.memory_format}" if options.memory_format != "contiguous" else "")
    found = [(loader.name, order), ("Batches", loader.shapes or f"of {form}")]
    if options.augment:
        found.append(("Augment", str(options.augment).removeprefix("Augment(").removesuffix(")")))
    if choice is None:
        found.append(("Device", "the device is chosen when the first batch is asked for"))
    else:
        found += [("Device", f"{choice.device}: {choice.why}"), ("Data", loader.source.where(choice))]
    world = ranks.world()
    if world.size > 1:
        shares = ", which your data must share out itself" if is_theirs else ""
        found.append(("Rank", f"rank {world.rank} of {world.size}{shares}"))
    return found
