"""Which samples of which shards come when: lanes, windows of shards, and what each rank takes of a step.

The order follows from (seed, epoch), the shards and the number of lanes alone. A lane is a group of nodes: its shards
come in windows, the first of one shard and each further one of `WINDOW`, and a window's samples are shuffled. The lanes
take turns. A step takes the next samples of all lanes, sorted by lane, and each rank an equal part of them: so a node
reads the shards of its own lanes, and any number of ranks may go on where others stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW = 4
"""Shards that are shuffled together, after the first one."""
_SHARDS, _SAMPLES = 101, 102


def random(*numbers: int) -> np.random.Generator:
    """Return the generator of one use of chance."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


@dataclass(frozen=True)
class Window:
    """Some shards of a lane whose samples are shuffled together; `start` is the place of the first in its lane."""

    lane: int
    number: int
    shards: tuple[int, ...]
    counts: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """The place in the lane behind the last sample."""
        return self.start + sum(self.counts)

    def samples(self, shuffle: tuple[int, int] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return of each sample its shard (a place in `shards`) and its number there, in the order of (seed, epoch)."""
        shard = np.repeat(np.arange(len(self.counts)), self.counts)
        number = np.concatenate([np.arange(n) for n in self.counts])
        if shuffle is not None:
            order = random(*shuffle, _SAMPLES, self.lane, self.number).permutation(len(number))
            shard, number = shard[order], number[order]
        return shard, number


class Piece(NamedTuple):
    """Rows of one window, from `start` to before `stop`, counted within it."""

    window: Window
    start: int
    stop: int


class Part(NamedTuple):
    """What one rank takes of a step, and the places of the whole step."""

    pieces: list[Piece]
    valid: int  # how many of the rows are its own: those after them are another rank's too
    size: int  # what the batch is filled up to; 0 for as it is
    start: int
    stop: int


@dataclass
class Lane:
    """A lane: the shards of its windows, and the windows themselves as far as they were asked for."""

    shards: list[tuple[int, ...]]
    lane: int
    count: Callable[[int], int]
    known: list[Window] = field(default_factory=list)

    def reaches(self, place: int) -> bool:
        """Whether there is a sample at this place; shards are counted until that is known."""
        while not self.known or self.known[-1].stop <= place:
            number, start = (self.known[-1].number + 1, self.known[-1].stop) if self.known else (0, 0)
            if number == len(self.shards):
                return False
            counts = tuple(map(self.count, self.shards[number]))
            self.known.append(Window(self.lane, number, self.shards[number], counts, start))
        return True

    def take(self, start: int, stop: int) -> list[Piece]:
        """Return the rows of these places; windows before them are forgotten, but for the one that lies before."""
        while len(self.known) > 1 and self.known[1].stop <= start:
            self.known.pop(0)
        return [
            Piece(window, max(start, window.start) - window.start, min(stop, window.stop) - window.start)
            for window in self.known
            if window.start < stop and window.stop > start
        ]


class Epoch:
    """One epoch over `n_shards` shards in `lanes` lanes; ``count(shard)`` tells how many samples a shard has."""

    def __init__(
        self, n_shards: int, count: Callable[[int], int], *, lanes: int, shuffle: tuple[int, int] | None
    ) -> None:
        self.shuffle = shuffle
        order = list(range(n_shards)) if shuffle is None else random(*shuffle, _SHARDS).permutation(n_shards).tolist()
        self.lanes = [Lane(list(_windows(order[g::lanes], shuffle is not None)), g, count) for g in range(lanes)]
        self._given = [0] * lanes
        self.position = 0

    def after(self, window: Window) -> tuple[int, ...]:
        """Return the shards that come next in the lane of a window."""
        shards = self.lanes[window.lane].shards
        return shards[window.number + 1] if window.number + 1 < len(shards) else ()

    def _advance(self, n: int) -> list[tuple[int, int]]:
        """Take up to `n` samples in turns: of each lane the places from where to where."""
        before, given = list(self._given), self._given
        while n:
            alive = [g for g, lane in enumerate(self.lanes) if lane.reaches(given[g])]
            if not alive:
                break
            low = min(given[g] for g in alive)
            behind = [g for g in alive if given[g] == low]
            if len(behind) < len(alive) or n < len(alive):  # a round that is under way, or is not whole
                for g in behind[:n]:
                    given[g] += 1
                n -= min(n, len(behind))
                continue
            # As many rounds at once as the windows that are known last.
            rounds = min(n // len(alive), *(self.lanes[g].known[-1].stop - given[g] for g in alive))
            for g in alive:
                given[g] += rounds
            n -= rounds * len(alive)
        self.position += sum(given) - sum(before)
        return list(zip(before, given))

    def skip(self, position: int) -> None:
        """Pass over the samples before this place in the epoch."""
        self._advance(position - self.position)
        for lane, given in zip(self.lanes, self._given):
            lane.take(given, given)

    def parts(
        self, position: int, batch_size: int, *, rank: int, size: int, drop_last: bool = False, even: bool = False
    ) -> Iterator[Part]:
        """Give what rank `rank` of `size` takes of each step from `position` on, `batch_size` samples at most.

        Every rank has as many steps, and the parts of the last ones differ by one sample at most; `even` ones are
        filled up behind the samples of all ranks. A rank that is left without a sample gives another's: see `valid`.
        """
        self.skip(position)
        whole = batch_size * size
        while True:
            spans = self._advance(self._wanted(whole, size, drop_last or even))
            start, stop = self.position - sum(stop - start for start, stop in spans), self.position
            pieces = [piece for lane, span in zip(self.lanes, spans) for piece in lane.take(*span)]
            n = stop - start
            if not n or (drop_last and n < whole):
                return
            share = -(-n // size)
            first, last = (rank * share, rank * share + share) if even else (rank * n // size, (rank + 1) * n // size)
            first, last = min(first, n), min(last, n)
            own = cut(pieces, first, last) if last > first else cut(pieces, min(first, n - 1), min(first, n - 1) + 1)
            yield Part(own, last - first, share if even and size > 1 else 0, start, stop)

    def _wanted(self, whole: int, size: int, plain: bool) -> int:
        """Return how many samples the next step takes: fewer than `whole` if not one for each rank would be left."""
        if size == 1 or plain:
            return whole
        given, position = list(self._given), self.position
        self._advance(whole + size)
        left = self.position - position - whole
        self._given, self.position = given, position
        return whole - (size - left) if 0 < left < size <= whole - (size - left) else whole


def cut(pieces: list[Piece], start: int, stop: int) -> list[Piece]:
    """Return the rows from `start` to before `stop` of these pieces, one behind the other."""
    made, at = [], 0
    for window, first, last in pieces:
        begin, end = max(start, at), min(stop, at + last - first)
        if begin < end:
            made.append(Piece(window, first + begin - at, first + end - at))
        at += last - first
    return made


def _windows(shards: list[int], shuffled: bool) -> Iterator[tuple[int, ...]]:
    """Give the shards of each window: one, so that a batch comes early, then `WINDOW`; in order always one."""
    yield from (tuple(shards[:1]),) if shards else ()
    step = WINDOW if shuffled else 1
    for start in range(1, len(shards), step):
        yield tuple(shards[start : start + step])
