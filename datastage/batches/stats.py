"""What a loader measured: images a second, and how long the training loop waited."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """The latest epoch of a loader, so far."""

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
        return (
            f"epoch {self.epoch}: {self.images:,} images in {self.seconds:.2f} s ({self.images_per_s:,.0f}/s), "
            f"{self.waited_s:.2f} s of it waiting for data ({self.waiting:.1%})"
        )
