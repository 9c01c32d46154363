"""What Hugging Face Accelerate, and its Trainer, want to know of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

from datastage.batches.ranks import world

if TYPE_CHECKING:
    from datastage.batches.loader import Loader


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
    whole = loader.batch_size * world().size
    about = SimpleNamespace(
        end_of_dataloader=False, remainder=0 if loader.training else (loader.n_samples or 0) % whole
    )
    state = module.GradientState()
    state._add_dataloader(about)
    try:
        yield lambda i: setattr(about, "end_of_dataloader", i + 1 == n_batches)
    finally:
        state._remove_dataloader(about)
