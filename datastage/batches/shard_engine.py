"""Batches of pictures that lie in shards: decoded by threads, cut and mirrored, in the order of `shards.order`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datastage.batches.augment import NOTHING, TRANSFORM, Draws, draw
from datastage.batches.cpu_augment import HostStore, Wholes
from datastage.batches.devices import Choice
from datastage.batches.options import LoaderOptions
from datastage.batches.photos import PhotoBatches
from datastage.batches.pixel_cache import BAD, PixelCache, Submitted, drop
from datastage.batches.ranks import Step, local_rank, world
from datastage.batches.shard_source import OpenShard, ShardSource
from datastage.batches.to_device import Made, Raw, deliver
from datastage.shards.cache import Stop
from datastage.shards.order import Epoch, Part, Window, random

AHEAD = 2  # batches whose photos are being decoded at once


class _Rows(NamedTuple):
    """The samples of a window in their order: shard, number in it, and what chance does to each."""

    shard: NDArray[np.int64]
    number: NDArray[np.int64]
    draws: Draws


class _Begun(NamedTuple):
    """A batch whose photos are being decoded."""

    submitted: list[tuple[PixelCache, Submitted]]
    ks: list[int]  # the shards of its windows, by their numbers
    shards: list[OpenShard]
    of: NDArray[np.int64]  # which of them each row is of
    number: NDArray[np.int64]
    labels: NDArray[Any]
    draws: Draws
    images: NDArray[np.uint8]
    step: Step


class FromShards(PhotoBatches):
    """Batches of photos in shards."""

    def __init__(self, source: ShardSource, choice: Choice, options: LoaderOptions) -> None:
        super().__init__(source.size, source.fit, choice, options, last=source.last, n=options.batch_size)
        self._source = source
        self.static = choice.kind == "xla"

    def stream(
        self, epoch: Epoch, parts: Iterator[Part], number: int, n_steps: int, given: deque[int], *, training: bool
    ) -> Iterator[Made]:
        """Give the batches of these parts of epoch `number`; `given` is told where each of them ends."""
        here, options, stop = world(), self._options, threading.Event()

        def planned() -> Iterator[tuple[Part, Step]]:
            for part in parts:
                rows = sum(piece.stop - piece.start for piece in part.pieces)
                size = options.batch_size if self.static else part.size
                chance = random(options.seed, number, TRANSFORM, part.start, here.rank)  # a transform's, for one batch
                given.append(part.stop)
                yield part, Step(0, rows, size, rows if training else part.valid, int(chance.integers(0, 2**62)))

        with self._finishers.lent() as finish:
            raw = self._raw(epoch, number, planned(), stop)
            yield from deliver(raw, finish, self._choice, n_steps, stop=stop)

    def _raw(
        self, epoch: Epoch, number: int, planned: Iterator[tuple[Part, Step]], stop: threading.Event
    ) -> Iterator[Raw]:
        source, waiting = self._source, deque[_Begun]()
        windows: dict[Window, _Rows] = {}
        # Until the first batch is there, the line and the cores are for what it needs.
        ahead, coming = 1, list[int]()
        try:
            while True:
                for part, step in islice(planned, ahead - len(waiting)):
                    if new := [piece.window for piece in part.pieces if piece.window not in windows]:
                        coming = [k for window in new for k in epoch.after(window)]
                        self._enter(epoch, number, new, windows, waiting, part, stop, coming if ahead > 1 else [])
                    waiting.append(self._begun(part, step, windows, stop))
                if not waiting:
                    break
                for pixels, submitted in waiting[0].submitted:
                    if not pixels.collect(submitted, stop):
                        return
                if ahead < AHEAD:
                    ahead = AHEAD
                    self._bring(coming)
                yield self._ended(waiting.popleft())
                if source.tight and waiting:
                    source.release({k for begun in waiting for k in begun.ks})
            source.say_what_was_left_out()
        except Stop:
            return
        finally:
            for begun in waiting:
                for _, submitted in begun.submitted:
                    drop(submitted)
            source.cache.ahead(())
            source.release(())

    def _enter(
        self,
        epoch: Epoch,
        number: int,
        new: list[Window],
        windows: dict[Window, _Rows],
        waiting: deque[_Begun],
        part: Part,
        stop: threading.Event,
        coming: list[int],
    ) -> None:
        """Begin windows: let go of the shards of those before, and bring what comes now and then `coming`."""
        source, options = self._source, self._options
        for done in windows.keys() - {piece.window for piece in part.pieces}:
            del windows[done]
        in_use = {k for piece in part.pieces for k in piece.window.shards}
        if source.tight:  # the batches under way would keep shards that have to go
            for begun in waiting:
                for pixels, submitted in begun.submitted:
                    pixels.collect(submitted, stop)
        else:
            in_use |= {k for begun in waiting for k in begun.ks}
        source.release(in_use)
        self._bring([k for window in new for k in window.shards] + coming)
        for window in new:
            shard, at = window.samples(epoch.shuffle)
            stream = number + ((window.lane << 40 | window.number + 1) << 32)
            draws = draw(options.augment, at, size=source.size, seed=options.seed, epoch=stream)
            windows[window] = _Rows(shard, at, draws)
            turn = local_rank() % max(1, len(window.shards))
            for k in (*window.shards[turn:], *window.shards[:turn]):
                opened = source.opened(k, stop)
                if source.shares_pixels:
                    opened.pixels.complete_once()

    def _bring(self, ks: list[int]) -> None:
        source = self._source
        source.cache.ahead([source.shards[k] for k in ks if k not in source.open_now])

    def _begun(self, part: Part, step: Step, windows: dict[Window, _Rows], stop: threading.Event) -> _Begun:
        source = self._source
        numbers, which, draws, ks = [], [], [], list[int]()
        for window, first, last in part.pieces:
            rows, span = windows[window], slice(first, last)
            which.append(rows.shard[span] + len(ks))
            numbers.append(rows.number[span])
            draws.append(rows.draws.where(span))
            ks += window.shards
        of, number, drawn = np.concatenate(which), np.concatenate(numbers), _joined(draws)
        used = np.unique(of).tolist()
        shards = [source.opened(ks[i], stop) for i in used]
        of = np.searchsorted(used, of)
        pairs = list(zip(of.tolist(), number.tolist()))
        values = [source.label(shards[i], j) for i, j in pairs]
        labels = source.rule.array(values, [shards[i].file.samples[j] for i, j in pairs])
        # What is shifted is mirrored after that.
        made = self._empty(len(of), drawn.box, drawn.flip if drawn.shift is None else None)
        submitted = []
        for i, shard in enumerate(shards):
            at = np.flatnonzero(of == i)
            use = partial(_use, made, at.tolist())
            submitted.append((shard.pixels, shard.pixels.submit(number[at], use)))
        return _Begun(submitted, ks, shards, of, number, labels, drawn, made.images, step)

    def _ended(self, begun: _Begun) -> Raw:
        _, _, shards, of, number, labels, draws, images, step = begun
        fine = np.ones(len(of), bool)
        for i, shard in enumerate(shards):
            fine[of == i] = shard.pixels.state[number[of == i]] != BAD
            if shard.pixels.path is not None and shard.pixels.whole:
                shard.pixels.publish()
        if not fine.all():
            images, labels, draws = images[fine], labels[fine], draws.where(fine)
        if draws.shift is not None and len(images):
            store = HostStore(np.ascontiguousarray(images), self._options.augment, self._fill)
            return store.batch(np.arange(len(images)), draws), labels, draws.jitter, step
        return self._made(images, labels, draws, step)


def _use(made: Wholes, at: list[int], i: int, row: NDArray[np.uint8]) -> None:
    made.cut(at[i], row)


def _joined(draws: list[Draws]) -> Draws:
    if len(draws) == 1 or draws[0] is NOTHING:
        return draws[0]
    parts = ([getattr(each, name) for each in draws] for name in Draws.__slots__)
    return Draws(*(None if part[0] is None else np.concatenate(part) for part in parts))
