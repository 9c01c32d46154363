"""What Hugging Face Accelerate, and its Trainer, want to know of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datastage.batches.ranks import world

if TYPE_CHECKING:
    from datastage.batches.loader import Loader


class EpochState:
    """What Accelerate asks of its own loaders: is this batch the last, and how many rows has that over all ranks."""

    def __init__(self, remainder: int) -> None:
        self.end_of_dataloader, self.remainder = False, remainder


@contextmanager
def accelerate_told(loader: Loader, n_batches: int) -> Iterator[Callable[[int], None]]:
    """Tell Accelerate, where it is in use, which batch is the last and how many of its gathered rows are samples.

    It counts the batches of its own loaders so; ``gather_for_metrics`` then cuts off what pads an evaluation, and
    gradients that are accumulated are applied at the end of an epoch.
    """
    module = sys.modules.get("accelerate.state")
    if module is None or not n_batches or not module.GradientState._shared_state:  # no Accelerator was made
        yield lambda i: None
        return
    remainder = 0 if loader.training else loader.n_given % (loader.batch_size * world().size)
    epoch, state = EpochState(remainder), module.GradientState()
    state._add_dataloader(epoch)
    try:
        yield lambda i: setattr(epoch, "end_of_dataloader", i + 1 == n_batches)
    finally:
        state._remove_dataloader(epoch)
