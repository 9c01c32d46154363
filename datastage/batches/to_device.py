"""From host memory to the device: batches made on the CPU, copied while the one before is used, finished where they go.

Here: `deliver`, and for each kind of device its way; `beside`, for whatever goes to a CUDA device; what is done to each
tensor of a batch. Not here: making batches (`arrays`, `photos`, `feed`), what is held on the device from the start
(`resident`).
"""

from __future__ import annotations

import copy
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from datastage.batches.prefetch import prefetch
from datastage.errors import StorageError

if TYPE_CHECKING:
    from datastage.batches.devices import Choice

IGNORED = -100
"""The label of padding: what torch's cross_entropy ignores by default."""
UNCHANGED = (1, 1, 1, 0)
"""The factors of colour jitter that change nothing, for padding."""

Raw = tuple[Any, Any, Any]
Finish = Callable[[Any, int, Any], Any]
T = TypeVar("T")


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
        return _through_xla(raw, finish, seeds, choice, batch_size, stop)
    if choice.kind == "cuda":
        return _on_cuda(raw, finish, seeds, choice, stop)
    return _plainly(raw if stop is None else prefetch(raw, stop), finish, seeds, choice)


def _plainly(raw: Iterable[Raw], finish: Finish, seeds: list[int], choice: Choice) -> Iterator[tuple[Any, Any]]:
    import torch

    for (images, labels, jitter), seed in zip(raw, seeds):
        factors = None if jitter is None else torch.from_numpy(jitter).to(choice.device)
        yield finish(images, seed, factors), torch.from_numpy(labels).to(choice.device)


def _on_cuda(
    raw: Iterable[Raw], finish: Finish, seeds: list[int], choice: Choice, stop: threading.Event | None
) -> Iterator[tuple[Any, Any]]:
    import torch

    def made(item: tuple[Raw, int]) -> tuple[Any, Any]:
        arrays, seed = item
        images, y, factors = (None if a is None else sent(torch.from_numpy(a), choice.device) for a in arrays)
        return finish(images, seed, factors), y

    return beside(zip(raw, seeds), made, choice.device, threaded=True, stop=stop)


def beside(
    items: Iterable[T],
    make: Callable[[T], Any],
    device: Any,
    *,
    threaded: bool,
    stop: threading.Event | None = None,
) -> Iterator[Any]:
    """Give ``make(item)`` for each of `items`, its copies and kernels beside the training's on a CUDA device.

    Parameters
    ----------
    items : iterable
        What batches are made from.
    make : callable
        From an item to a batch on the device; called with the device's side stream as the current one.
    device : torch.device
        The CUDA device.
    threaded : bool
        Whether a thread asks for the next item and makes it while one is used; else that is done when it is asked for,
        in the caller's thread.
    stop : threading.Event, optional
        As for `prefetch`.
    """
    import torch

    side = _side_stream(device, os.getpid())

    def one(item: T) -> tuple[Any, Any]:
        with torch.cuda.stream(side):
            return make(item), side.record_event()

    pairs = map(one, items)
    for batch, done in prefetch(pairs, stop) if threaded else pairs:
        _hand_over(batch, done, torch.cuda.current_stream(device))
        yield batch
        del batch  # what the training let go of is not kept alive here


def _hand_over(batch: Any, done: Any, stream: Any) -> None:
    stream.wait_event(done)
    for tensor in tensors_of(batch):
        tensor.record_stream(stream)  # the allocator must not give its memory away while the training uses it


@functools.cache
def _side_stream(device: Any, process: int) -> Any:
    """Return the stream beside the training's: one a device and process, for as long as the process lives.

    Memory that was used on a stream is given out again on that stream only, so each further one would keep its own.
    """
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def sent(tensor: Any, device: Any) -> Any:
    """Send a tensor of the CPU to a CUDA device without waiting.

    One that is on a device already stays as it is: only the stream that made it may touch it without waiting for it.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if tensor.device.type == "cpu" else tensor


def tensors_of(batch: Any) -> Iterator[Any]:
    """Give the tensors in a batch, however nested."""
    import torch

    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (Mapping, list, tuple)):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_of(part)


def mapped(batch: Any, function: Callable[[Any], Any]) -> Any:
    """Return the batch with `function` applied to each tensor; a list becomes a tuple, so that ``x, y`` unpacks."""
    import torch

    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        parts = {key: mapped(part, function) for key, part in batch.items()}
        try:
            if not isinstance(batch, MutableMapping):
                return type(batch)(parts)  # type: ignore[call-arg]
            whole = copy.copy(batch)  # it may hold more than its items, as Hugging Face's BatchEncoding does
            whole.update(parts)
            return whole
        except TypeError:  # a type that cannot be made anew so
            return parts
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(part, function) for part in batch))
    if isinstance(batch, (list, tuple)):
        return tuple(mapped(part, function) for part in batch)
    return batch


def _through_xla(
    raw: Iterable[Raw],
    finish: Finish,
    seeds: list[int],
    choice: Choice,
    batch_size: int,
    stop: threading.Event | None,
) -> Iterator[tuple[Any, Any]]:
    """Copy by torch_xla's own loader, whose threads overlap the copies with the training.

    It takes an error of what it loads from for the end (its reader thread only closes the queue), so errors are kept
    here, and batches counted. Its MpDeviceLoader ends the threads of an epoch that was left only when the next begins,
    so here is what that is made of.
    """
    import torch_xla.distributed.parallel_loader as parallel

    counted = _Counted(raw, len(seeds), batch_size)
    given = 0
    loader = parallel.ParallelLoader(counted, [choice.device])
    try:
        for images, labels, *jitter in loader.per_device_loader(choice.device):
            yield finish(images, seeds[given], jitter[0] if jitter else None), labels
            given += 1
    finally:
        if stop is not None:
            stop.set()  # else the thread that is ended now would first wait for the photos of its batch
        loader.close()
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
                arrays: tuple[Any, ...] = filled(images, labels, self._batch_size)
                if jitter is not None:
                    arrays = (*arrays, _padded(jitter, self._batch_size, UNCHANGED[: jitter.shape[1]]))
                self.made += 1
                yield tuple(torch.from_numpy(array) for array in arrays)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error


def filled(images: Any, labels: Any, n: int) -> tuple[Any, Any]:
    """Fill a batch up to `n` with zeros, labelled to be ignored: another shape would be compiled anew."""
    return _padded(images, n, 0), _padded(labels, n, IGNORED)


def _padded(array: Any, n: int, row: Any) -> Any:
    import numpy as np

    if len(array) >= n:
        return np.ascontiguousarray(array)
    more = (n - len(array), *array.shape[1:])
    return np.concatenate([array, np.broadcast_to(np.asarray(row, array.dtype), more)])
