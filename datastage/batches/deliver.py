"""From host memory to the device: batches made on the CPU, copied while the one before is used, finished where they go.

Here: `deliver`, and for each kind of device its way. Not here: making batches (`arrays`, `photos`), what is held on the
device from the start (`resident`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from datastage.batches.ahead import ahead
from datastage.errors import StorageError

if TYPE_CHECKING:
    from datastage.batches.devices import Choice

IGNORED = -100
"""The label of padding: what torch's cross_entropy ignores by default."""

Raw = tuple[Any, Any, Any]
Finish = Callable[[Any, int, Any], Any]


def deliver(
    raw: Iterable[Raw],
    finish: Finish,
    seeds: list[int],
    choice: Choice,
    *,
    batch_size: int,
    stop: threading.Event | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Give finished batches on the device.

    Parameters
    ----------
    raw : iterable of (ndarray, ndarray, ndarray or None)
        Images or rows, labels, and factors of colour jitter, made when they are asked for.
    finish : callable
        From images (on the device or as an array), a seed and those factors to what is given out.
    seeds : list of int
        One a batch.
    choice : Choice
        The device.
    batch_size : int
        The size that a last batch is filled up to, where shapes are static.
    stop : threading.Event, optional
        Given, a thread makes the next batch while one is used, and this is set when no more are wanted.
    """
    if choice.kind == "xla":
        return _through_xla(raw, finish, seeds, choice, batch_size)
    if choice.kind == "cuda":
        return _beside_the_stream(raw, finish, seeds, choice, stop)
    return _plainly(raw if stop is None else ahead(raw, stop=stop), finish, seeds, choice)


def _plainly(raw: Iterable[Raw], finish: Finish, seeds: list[int], choice: Choice) -> Iterator[tuple[Any, Any]]:
    import torch

    for (images, labels, jitter), seed in zip(raw, seeds):
        factors = None if jitter is None else torch.from_numpy(jitter).to(choice.device)
        yield finish(images, seed, factors), torch.from_numpy(labels).to(choice.device)


def _beside_the_stream(
    raw: Iterable[Raw], finish: Finish, seeds: list[int], choice: Choice, stop: threading.Event | None
) -> Iterator[tuple[Any, Any]]:
    import torch

    def sent_from(array: Any) -> Any:
        return torch.from_numpy(array).pin_memory().to(choice.device, non_blocking=True)

    side: Any = torch.cuda.Stream(choice.device)  # type: ignore[no-untyped-call]

    def sent() -> Iterator[tuple[Any, Any, Any]]:
        for arrays, seed in zip(raw, seeds):
            with torch.cuda.stream(side):
                images, y, factors = (None if a is None else sent_from(a) for a in arrays)
                made = finish(images, seed, factors), y, side.record_event()
            yield made

    for x, y, done in ahead(sent(), stop=stop):
        now = torch.cuda.current_stream(choice.device)
        now.wait_event(done)
        # The allocator must not give their memory away while the training's stream uses it.
        x.record_stream(now)
        y.record_stream(now)
        yield x, y


def _through_xla(
    raw: Iterable[Raw], finish: Finish, seeds: list[int], choice: Choice, batch_size: int
) -> Iterator[tuple[Any, Any]]:
    """Copy by torch_xla's own loader, whose threads overlap the copies with the training.

    It takes an error of what it loads from for the end (its reader thread only closes the queue), so errors are kept
    here, and batches counted.
    """
    import torch_xla.distributed.parallel_loader as parallel

    counted = _Counted(raw, len(seeds), batch_size)
    given = 0
    for images, labels, *jitter in parallel.MpDeviceLoader(counted, choice.device):
        yield finish(images, seeds[given], jitter[0] if jitter else None), labels
        given += 1
    if counted.error is not None:
        raise counted.error
    if given != counted.made or given != len(seeds):
        raise StorageError(
            f"Only {given:,} of {len(seeds):,} batches reached the {choice.device}: torch_xla ended the epoch early "
            "and said nothing.",
            "Next: look for errors above this one, then run the same line again.",
        )


class _Counted:
    """Batches as tensors of one shape, for torch_xla: counted, and an error kept instead of lost."""

    def __init__(self, raw: Iterable[Raw], n: int, batch_size: int) -> None:
        self._raw, self._n, self._batch_size = raw, n, batch_size
        self.made = 0
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        import torch

        try:
            for images, labels, jitter in self._raw:
                images, labels = filled(images, labels, self._batch_size)
                self.made += 1
                arrays = (images, labels) if jitter is None else (images, labels, jitter)
                yield tuple(torch.from_numpy(array) for array in arrays)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error


def filled(images: Any, labels: Any, n: int) -> tuple[Any, Any]:
    """Fill a batch up to `n` with zeros, labelled to be ignored: another shape would be compiled anew."""
    import numpy as np

    more = n - len(labels)
    if more <= 0:
        return np.ascontiguousarray(images), labels
    images = np.concatenate([images, np.zeros((more, *images.shape[1:]), images.dtype)])
    return images, np.concatenate([labels, np.full(more, IGNORED, labels.dtype)])
