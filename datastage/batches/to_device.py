"""From host memory to the device: batches filled up, copied while the one before is used, finished where they go."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from datastage.batches.devices import Choice
from datastage.batches.prefetch import prefetch
from datastage.batches.ranks import Step
from datastage.errors import StorageError

IGNORED = -100  # the class label of padding: what torch's cross_entropy ignores by default

# Images or rows, targets, and factors of colour jitter or None, as arrays of the host; and the step they are for.
Raw = tuple[Any, Any, Any, Step]
Filled = tuple[Any, Any, Any, int, int]  # the same filled up: instead of the step its seed, and how many are samples
Made = tuple[Any, int]  # a batch on the device, and how many of its rows are samples; those after them are padding
Finish = Callable[[Any, int, Any], Any]
T = TypeVar("T")


def deliver(
    raw: Iterable[Raw], finish: Finish, choice: Choice, n: int, *, stop: threading.Event | None = None
) -> Iterator[Made]:
    """Give `n` finished batches on the device, each filled up to its step's size.

    `finish` makes of images (on the device, or an array on the CPU), a seed and jitter factors what is given out. With
    `stop` a thread makes the next batch while one is used, and `stop` is set when no more are wanted.
    """
    full = map(filled, raw)
    if choice.kind == "xla":
        return _through_xla(full, finish, choice, n, stop)
    if choice.kind == "cuda":
        return _on_cuda(full, finish, choice, stop)
    return _plainly(full if stop is None else prefetch(full, stop), finish, choice)


def filled(raw: Raw) -> Filled:
    """Fill a batch up to its step's size with samples of its own, and say how many rows are not padding."""
    import numpy as np

    images, targets, jitter, step = raw  # the targets are this batch's own
    valid = min(len(images), step.valid)
    if not len(images):  # none of its photos can be read
        images, targets, jitter = (
            None if a is None else np.zeros((step.size, *a.shape[1:]), a.dtype) for a in (images, targets, jitter)
        )
    elif len(images) < step.size:
        again = np.arange(step.size) % len(images)
        images, targets, jitter = (None if a is None else a[again] for a in (images, targets, jitter))
    if are_classes(targets):  # others have no value that means nothing
        targets[valid:] = IGNORED
    return images, targets, jitter, step.seed, valid


def are_classes(targets: Any) -> bool:
    """Whether these are numbers of classes, and not measures, boxes or names."""
    return bool(targets.ndim == 1 and targets.dtype.kind == "i")


def tensor_of(array: Any) -> Any:
    """Return an array as a tensor that shares its memory; names, which torch has not, as a list."""
    import torch

    return array.tolist() if array.dtype.kind in "USO" else torch.from_numpy(array)


def _plainly(items: Iterable[Filled], finish: Finish, choice: Choice) -> Iterator[Made]:
    for images, targets, jitter, seed, valid in items:
        factors = None if jitter is None else tensor_of(jitter).to(choice.device)
        y = tensor_of(targets)
        yield (finish(images, seed, factors), y if isinstance(y, list) else y.to(choice.device)), valid


def _on_cuda(items: Iterable[Filled], finish: Finish, choice: Choice, stop: threading.Event | None) -> Iterator[Made]:
    # A transform of the user's runs in the thread and on the stream of the training, as for a split that is held on the
    # GPU: it draws from the generators, and reads the tensors, that the training uses.
    here = getattr(finish, "transforms", False)

    def copied(item: Filled) -> Any:
        *arrays, seed, valid = item
        images, targets, jitter = (
            None if a is None else mapped(tensor_of(a), lambda tensor: sent(tensor, choice.device)) for a in arrays
        )
        return (images, targets, jitter, seed, valid) if here else ((finish(images, seed, jitter), targets), valid)

    batches = beside(items, copied, choice.device, threaded=True, stop=stop)
    if not here:
        yield from batches
        return
    for images, targets, jitter, seed, valid in batches:
        yield (finish(images, seed, jitter), targets), valid
        del images, targets, jitter


def beside(
    items: Iterable[T],
    make: Callable[[T], Any],
    device: Any,
    *,
    threaded: bool,
    stop: threading.Event | None = None,
) -> Iterator[Any]:
    """Give ``make(item)`` for each of `items`, its copies and kernels on a stream beside the training's.

    If it is `threaded` a thread asks for the next item and makes it while one is used; `stop` is as for `prefetch`.
    """
    import torch

    side = _side_stream(device, os.getpid())
    side.wait_stream(torch.cuda.current_stream(device))  # what the training made before may be read here

    def one(item: T) -> tuple[Any, Any]:
        # A new thread's device is GPU 0, and leaving a stream of another one would make a context there.
        with torch.cuda.device(device), torch.cuda.stream(side):
            return make(item), side.record_event()

    pairs = map(one, items)
    for batch, done in prefetch(pairs, stop) if threaded else pairs:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(done)
        for tensor in tensors_of(batch):
            tensor.record_stream(stream)  # the allocator must not give its memory away while the training uses it
        yield batch
        del batch  # what the training let go of is not kept alive here


@functools.cache
def _side_stream(device: Any, process: int) -> Any:
    """Return the stream beside the training's: one a device and process, for as long as the process lives."""
    import torch

    # Memory that was used on a stream is given out again on that stream only: each further one would keep its own.
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def sent(tensor: Any, device: Any) -> Any:
    """Send a tensor of the CPU to a CUDA device without waiting."""
    if tensor.device.type != "cpu":
        return tensor  # only the stream that made it may touch it without waiting for it
    try:
        tensor = tensor.pin_memory()
    except RuntimeError:  # no more memory can be pinned; the copy then waits
        return tensor.to(device)
    return tensor.to(device, non_blocking=True)


def tensors_of(batch: Any) -> Iterator[Any]:
    """Give the tensors in a batch, however nested."""
    import torch

    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (Mapping, list, tuple)):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_of(part)
    elif hasattr(batch, "__dict__") and (hasattr(batch, "to") or dataclasses.is_dataclass(batch)):
        yield from tensors_of(vars(batch))


def mapped(batch: Any, function: Callable[[Any], Any], move: Callable[[Any], Any] | None = None) -> Any:
    """Return the batch with `function` applied to each tensor; a list becomes a tuple, so that ``x, y`` unpacks.

    Objects with a ``.to`` of their own, as graphs and packed sequences have it, are given to `move`.
    """
    import torch

    part_of = functools.partial(mapped, function=function, move=move)
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if move is not None and callable(getattr(batch, "to", None)) and not isinstance(batch, type):
        return move(batch)
    if isinstance(batch, Mapping):
        parts = {key: part_of(part) for key, part in batch.items()}
        try:
            if not isinstance(batch, MutableMapping):
                return type(batch)(parts)  # type: ignore[call-arg]
            whole = copy.copy(batch)  # it may hold more than its items, as Hugging Face's BatchEncoding does
            whole.update(parts)
            return whole
        except TypeError:  # a type that cannot be made anew so
            return parts
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(part_of, batch))
    if isinstance(batch, (list, tuple)):
        return tuple(map(part_of, batch))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        made = copy.copy(batch)
        for field in dataclasses.fields(batch):
            object.__setattr__(made, field.name, part_of(getattr(batch, field.name)))
        return made
    return batch


def _through_xla(
    items: Iterable[Filled], finish: Finish, choice: Choice, n: int, stop: threading.Event | None
) -> Iterator[Made]:
    """Copy by torch_xla's own loader, whose threads overlap the copies with the training."""
    import torch_xla.distributed.parallel_loader as parallel

    # It takes an error of what it loads from for the end (its reader thread only closes the queue), so errors are kept
    # here, and batches counted. Its own loop would run the training's step while we wait for data, and end the threads
    # of an epoch that was left only when the next begins; so batches are taken from its queue.
    counted = _Counted(items, n)
    given = 0
    # Its own 16 and 8 batches would be 0.9 GB of photos.
    loader = parallel.ParallelLoader(counted, [choice.device], loader_prefetch_size=2, device_prefetch_size=2)
    try:
        while (batch := loader.next_item(choice.device)) is not None:
            images, *rest = batch
            seed, valid, names = counted.about.popleft()
            targets = names if names is not None else rest.pop(0)
            yield (finish(images, seed, rest[0] if rest else None), targets), valid
            given += 1
            del batch, images, targets, rest
    finally:
        if stop is not None:
            stop.set()  # else the thread that is ended now would first wait for the photos of its batch
        loader.close()
    if counted.error is not None:
        raise counted.error
    if given != counted.made or given != n:
        raise StorageError(
            f"Only {given:,} of {n:,} batches reached the {choice.device}: torch_xla ended the epoch early "
            "and said nothing.",
            "Next: look for errors above this one, then run the same line again.",
        )


class _Counted:
    """Batches as tensors for torch_xla: counted, and an error kept instead of lost."""

    def __init__(self, items: Iterable[Filled], n: int) -> None:
        self._items, self._n = items, n
        self.made = 0
        # Of each batch the seed, how many rows are samples, and the targets that are no tensor.
        self.about: deque[tuple[int, int, list[str] | None]] = deque()
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        import numpy as np

        try:
            for images, targets, jitter, seed, valid in self._items:
                y = tensor_of(np.ascontiguousarray(targets))
                named = isinstance(y, list)
                self.made += 1
                self.about.append((seed, valid, y if named else None))
                parts = (tensor_of(np.ascontiguousarray(images)), *(() if named else (y,)))
                yield parts if jitter is None else (*parts, tensor_of(jitter))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
