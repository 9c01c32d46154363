"""Whatever makes its batches itself: a DataLoader with an order of its own, or data that can only be iterated."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from datastage.batches.devices import Choice
from datastage.batches.options import LoaderOptions
from datastage.batches.to_device import Made, beside, mapped, sent, tensors_of
from datastage.errors import SpecError


@dataclass
class LoaderSource:
    """Something whose batches are its own affair: a sampler of the user's, or data that is only iterated."""

    loader: Any
    whose: str = "your DataLoader"
    size: tuple[int, int] = (1, 1)
    given: int = field(default=0, init=False)
    """Samples given in this epoch, which some libraries want to know for their state."""
    begins_at: int = field(default=0, init=False)
    """Samples that were given of the next epoch before its state was loaded."""

    @property
    def dataset(self) -> Any:
        return getattr(self.loader, "dataset", self.loader)

    @property
    def n(self) -> int | None:
        """None: samples are not counted beforehand."""
        return None

    def __len__(self) -> int:
        return len(self.loader)

    def where(self, choice: Choice) -> str:
        return f"batches of {self.whose}, {getattr(self.loader, 'num_workers', 0)} worker processes"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        return FromLoader(self, choice, options)

    def _holder(self) -> Any:
        """Return what has a state of its own: the loader, or the dataset if no worker process has it."""
        both = (self.loader, *(() if getattr(self.loader, "num_workers", 0) else (self.dataset,)))
        return next((one for one in both if hasattr(one, "state_dict") and hasattr(one, "load_state_dict")), None)

    def state_dict(self) -> Any:
        """Return the state of what is fed, or None if it has none."""
        holder = self._holder()
        if holder is None:
            return None
        # What datasets of mosaicml-streaming and litdata want to be told, by their names for it.
        facts = {"num_samples": self.given, "from_beginning": True, "num_samples_yielded": self.given, "num_workers": 0}
        facts["batch_size"] = getattr(self.loader, "batch_size", None) or 1
        every = inspect.signature(holder.state_dict).parameters.values()
        wanted = [p.name for p in every if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not facts.keys() >= set(wanted):
            return None
        # A copy: theirs may be what they go on to change.
        state = copy.deepcopy(holder.state_dict(**{name: facts[name] for name in wanted}))
        return {"samples": self.given, "state": state}

    def load_state_dict(self, state: Any, *, middle: bool) -> None:
        """Let what is fed go on from there; a dataset whose epoch was at its end would give an empty one."""
        holder = self._holder()
        if holder is None:
            raise SpecError(
                "The saved state holds one of the data that was fed, and this data has no load_state_dict.",
                "Next: feed the same kind of dataset or DataLoader again.",
            )
        if middle or holder is self.loader:
            holder.load_state_dict(copy.deepcopy(state["state"]))
        self.begins_at = state["samples"] if middle else 0


class FromLoader:
    """Batches of a DataLoader, or of anything that gives batches."""

    def __init__(self, source: LoaderSource, choice: Choice, options: LoaderOptions) -> None:
        self._source, self._choice, self._options = source, choice, options

    def stream(self, epoch: int) -> Iterator[Made]:
        source, loader = self._source, self._source.loader
        parts: list[Any] = [loader, source.dataset]
        parts += [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
        for part in {id(part): part for part in parts if hasattr(part, "set_epoch")}.values():
            part.set_epoch(epoch)
        source.given, source.begins_at = source.begins_at, 0
        for batch in moved(begin(loader), self._choice, self._options.dtype):
            n = samples_in(batch)
            source.given += n
            yield batch, n
            del batch


def samples_in(batch: Any) -> int:
    """Count the samples of a batch: what it says itself, as graphs do, else the length of its first tensor."""
    for name in ("num_graphs", "batch_size"):
        if isinstance(n := getattr(batch, name, None), int):
            return n
    return next((len(tensor) for tensor in tensors_of(batch) if tensor.ndim), 0)


def begin(loader: Any) -> Iterator[Any]:
    """Begin an epoch of a DataLoader; it draws a seed on the default device, and from a generator of the CPU."""
    with torch.device("cpu"):
        return iter(loader)


def arriving(choice: Choice, dtype: str) -> Callable[[Any], Any]:
    """Return what moves a batch to the device and casts its floats; objects with a ``to`` of theirs are only moved."""
    wanted = getattr(torch, dtype)

    def arrived(tensor: Any) -> Any:
        tensor = tensor.to(choice.device)
        return tensor.to(wanted) if tensor.is_floating_point() else tensor

    return lambda batch: mapped(batch, arrived, lambda thing: thing.to(choice.device))


def moved(batches: Iterable[Any], choice: Choice, dtype: str, *, threaded: bool = False) -> Iterator[Any]:
    """Give the batches on the device; to a CUDA device they are copied beside the training.

    `threaded` batches are asked for by a thread there. Those that are made in this process are not: what makes them
    draws from the generators that the training draws from too.
    """
    if choice.kind == "cuda":

        def there(batch: Any) -> Any:
            return mapped(batch, lambda tensor: sent(tensor, choice.device), lambda thing: thing.to(choice.device))

        batches = beside(batches, there, choice.device, threaded=threaded)
    arrived = arriving(choice, dtype)
    for batch in batches:
        yield arrived(batch)
        del batch
