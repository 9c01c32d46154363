"""A part of a dataset in shards: which are open, how many samples each has, and their pictures as pixels.

A shard's pictures are decoded when they are asked for. Where the pixels of all shards fit the budget they are kept, a
file a shard, and later epochs read those; else each picture is decoded in each epoch.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datastage import sources
from datastage.batches.devices import Choice
from datastage.batches.image_files import Noted, noted_of, stamps_of
from datastage.batches.options import LoaderOptions
from datastage.batches.pixel_cache import BAD, PixelCache, free_bytes
from datastage.batches.prefetch import Threads
from datastage.batches.ranks import world
from datastage.batches.shard_labels import LabelRule
from datastage.decode import Fit, Unreadable
from datastage.errors import IntegrityError, SpecError, StorageError, while_doing
from datastage.progress import unreadable
from datastage.shards.cache import ShardCache, files_in
from datastage.shards.listing import Shard
from datastage.shards.members import UNREAD, Sample, ShardFile
from datastage.staged import size_and_crc

KEPT_OPEN = 32  # where there is room for all: listing the samples of one takes a part of an epoch's time


class _Pictures:
    """The pictures of a shard, by their sample's number, as `PixelCache` reads them."""

    def __init__(self, file: ShardFile, told: str = "") -> None:
        self._file, self._told = file, told

    def read(self, name: str) -> bytes:
        number = int(name.rpartition("#")[2])
        ending = self._file.samples[number].picture()
        if ending is None:
            raise Unreadable(f"the sample has no picture, but {', '.join(self._file.samples[number].parts)}")
        return self._file.part(number, ending)

    def stamps(self, names: Sequence[str]) -> Iterator[str]:
        """Give what tells the bytes of each picture from others: its place, and which shard this is."""
        samples = (self._file.samples[int(name.rpartition("#")[2])] for name in names)
        return (f"{self._told}-{sample.parts.get(sample.picture() or '')}" for sample in samples)


@lru_cache(maxsize=10_000)
def _length_and_crc(path: Path, *brought: int) -> str:
    """Read a shard once for each time that it was brought, and not whenever it is opened."""
    return "-".join(map(str, size_and_crc(path)))


class OfShard(PixelCache):
    """The pictures of a shard; that none of them can be read is no error, since other shards have others."""

    def publish(self) -> None:
        if not (self.state == BAD).all():
            super().publish()

    def _called(self, index: int) -> str:
        return self.names[index].rpartition("#")[0]


class Unkept(OfShard):
    """Pictures that are decoded whenever they are asked for; only those that cannot be read are remembered."""

    def _open(self, every: tuple[int, ...]) -> None:
        self._listed, self._began = True, 1.0
        self._file, self._memory = None, np.empty((0, *every[1:]), np.uint8)

    def _store(self, index: int, data: bytes, remarks: list[str]) -> NDArray[np.uint8]:
        return self._decoded(data, remarks)

    def _note(self, index: int, trouble: str, remark: str) -> None:
        if trouble:
            if self.unreadable == "raise":
                raise self.unreadable_error(index, trouble)
            self._trouble[index], self.state[index] = trouble, BAD

    def complete_once(self) -> None:
        """Decode nothing ahead: it would not be kept."""


@dataclass
class OpenShard:
    """A shard in use."""

    file: ShardFile
    pixels: PixelCache
    numbers: tuple[int, ...] | None = None  # of the classes that its own numbers mean, where those are others

    def troubles(self) -> dict[str, str]:
        """Return which pictures could not be read, and why."""
        return {self.pixels._called(i): why for i, why in self.pixels.troubles.items()}


@dataclass
class ShardSource:
    """A split that lies in shards."""

    shards: tuple[Shard, ...]
    cache: ShardCache
    rule: LabelRule
    size: tuple[int, int]
    fit: Fit
    last: bool
    threads: Threads
    options: LoaderOptions
    pixels: Path
    counts: dict[int, int] = field(default_factory=dict)
    home: str = ""  # how the places of all shards begin: what follows tells them apart, wherever all of them lie
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {k: shard.samples for k, shard in enumerate(self.shards)}
        self.counts |= {k: n for k, n in known.items() if n is not None and k not in self.counts}
        self.n_all = len(self.shards)  # before ``limit=``
        self._most: dict[int, int] = {}
        self._limited = self.options.limit is None
        self.open_now: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = threading.RLock()
        self._noted: dict[str, Noted | None] = {}
        self._keeps: bool | None = None
        self._said = 0  # of the unreadable ones

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("shards", "cache", "rule", "size", "fit", "last", "threads", "options", "pixels", "counts", "home")
        return ShardSource, tuple(getattr(self, name) for name in names)

    # --- how many samples there are

    @property
    def n(self) -> int | None:
        """Samples in an epoch; None as long as not every shard was counted."""
        if not self.limited(count=False):
            return None
        return sum(self.counts[k] for k in range(len(self.shards))) if len(self.counts) >= len(self.shards) else None

    def count(self, k: int) -> int:
        """Return how many samples a shard has; it is brought and listed where no index says."""
        if k not in self.counts:
            self.opened(k)
        return self.counts[k]

    def limited(self, *, count: bool = True) -> bool:
        """Leave out the shards behind ``limit=``; False where that takes shards to be counted, and none is."""
        left = self.options.limit or 0
        for k in range(0 if self._limited else len(self.shards)):
            if k not in self.counts and not count:
                return False
            if self.count(k) >= left:
                with self._lock:
                    self.release(())
                    self.shards, self._most = self.shards[: k + 1], {k: left}
                    self.counts = {i: self.counts[i] for i in range(k)} | {k: left}
                break
            left -= self.counts[k]
        self._limited = True
        return True

    def limited_to(self, k: int, count: Any) -> Any:
        """Return how many of the samples of a shard are used."""
        return min(count, self._most[k]) if k in self._most and isinstance(count, int) else count

    # --- open shards

    def opened(self, k: int, stop: threading.Event | None = None) -> OpenShard:
        """Return a shard, open; it is brought and listed if need be."""
        with self._lock:
            if k in self.open_now:
                self.open_now.move_to_end(k)
                return self.open_now[k]
            shard = self.shards[k]
            file = self.cache.open(shard, stop)
            file.samples = shard.kept(file.scan())[: self._most.get(k)]
            known = self.counts.get(k)
            if known is not None and known != len(file.samples):
                raise IntegrityError(
                    f"{shard.name} holds {len(file.samples):,} samples, and {known:,} were there before, or by its "
                    "index.",
                    "Next: look whether somebody writes to the shards; if they are new, pack the index anew.",
                )
            self.counts[k] = len(file.samples)
            own, names = shard.classes, self.rule.classes
            numbers = None if own in (None, names) else tuple(map(names.index, own or ()))
            self.open_now[k] = OpenShard(file, self._pixels_of(shard, file), numbers)
            return self.open_now[k]

    def release(self, in_use: Collection[int]) -> None:
        """Let go of the shards that nobody uses, but for a few where there is room for all."""
        with self._lock:
            spare = [k for k in self.open_now if k not in in_use]
            for k in spare if self.tight else spare[: max(0, len(spare) - KEPT_OPEN)]:
                self.unreadable |= self.open_now[k].troubles()
                self.open_now.pop(k).file.close()

    @property
    def tight(self) -> bool:
        """Whether not all of the shards that are brought fit the budget, as far as their sizes are known."""
        sizes = [shard.size or max((s.file.size for s in self.open_now.values()), default=0) for shard in self.shards]
        return any(shard.path is None for shard in self.shards) and sum(sizes) > self.cache.budget

    def say_what_was_left_out(self) -> None:
        """Say which pictures could not be read, once each."""
        with self._lock:
            for shard in self.open_now.values():
                self.unreadable |= shard.troubles()
        new = list(self.unreadable.items())[self._said :]
        self._said = len(self.unreadable)
        if new:
            self.options.reporter.note(unreadable(new), "Left out")

    # --- pixels

    def _pixels_of(self, shard: Shard, file: ShardFile) -> PixelCache:
        below = sources.key_of(shard.spec, self.cache.here.cwd)[len(self.home) :].partition("?")[0].rpartition("/")[0]
        place = f"{below}/{shard.name}".lstrip("/")
        names = [f"{place}/{sample.key}#{i}" for i, sample in enumerate(file.samples)]
        how: dict[str, Any] = {"last": self.last, "threads": self.threads, "unreadable": self.options.unreadable}
        images: Any = _Pictures(file)
        if names and self._fit_the_budget(len(names), file.size):
            with contextlib.suppress(StorageError):  # the disk is fuller than it was: without them it goes too
                images = _Pictures(file, self._told_of(shard, file))
                return OfShard(images, names, self.fit, folder=self.pixels, **how)
            self._keeps = False
        return Unkept(images, names, self.fit, folder=None, **how)

    def _told_of(self, shard: Shard, file: ShardFile) -> str:
        """Return what tells the bytes of a shard from others; the list of what was staged is read once a folder."""
        if (path := shard.path) is not None:
            root = str(path.parent)
            if root not in self._noted:
                near = (one.path for one in self.shards if one.path is not None)
                self._noted[root] = noted_of(root, [one.name for one in near if one.parent == path.parent])
            return next(stamps_of(root, [path.name], self._noted[root]))
        if shard.sha256 is not None:  # it was compared when it came
            return shard.sha256
        brought = Path(file.local_path or "")
        mark = brought.with_suffix(".identity")
        with while_doing(f"reading the shard {shard.name}", UNREAD):
            told, seen = mark.read_text("utf-8"), mark.stat()
        if not told.startswith("|"):
            return told
        return _length_and_crc(brought, seen.st_ino, seen.st_mtime_ns)  # its place tells a length alone

    def _fit_the_budget(self, n: int, n_bytes: int) -> bool:
        """Whether the pixels of all shards may be kept, told by the first one; tars that are brought count too."""
        if self._keeps is None:
            h, w = self.fit.shape
            share = 3 * h * w * n + (0 if self.shards[0].path is not None else n_bytes)
            most = self.cache.budget
            if (free := free_bytes(self.pixels)) is not None:
                most = min(most, free + sum(n for _, n, _ in files_in(self.pixels, "packed-*.u8")))
            self._keeps = share * len(self.shards) <= most
        return self._keeps

    @property
    def shares_pixels(self) -> bool:
        """Whether the ranks of a machine decode each shard once for all of them."""
        return bool(self._keeps) and world().size > 1

    # --- for others

    def where(self, choice: Choice) -> str:
        """Say where the shards lie, and what becomes of their pictures."""
        here = sum(shard.path is not None for shard in self.shards)
        place = "read where they lie" if here == len(self.shards) else f"brought to {self.cache.folder}"
        kept = "pixels kept for later epochs" if self._keeps else "decoded as they are needed"
        return f"{len(self.shards):,} shards {place}; photos {kept}"

    def open(self, choice: Choice, options: LoaderOptions) -> Any:
        from datastage.batches.shard_engine import FromShards

        return FromShards(self, choice, options)

    def label(self, shard: OpenShard, number: int) -> Any:
        sample: Sample = shard.file.samples[number]
        if self.rule.kind == "key":
            return None
        if not sample.picture():  # it is left out as one that cannot be read: another's label stands in
            every = enumerate(shard.file.samples)
            number, sample = next(((i, other) for i, other in every if other.picture()), (number, sample))
        value = self.rule.value(sample, partial(shard.file.part, number))
        if (numbers := shard.numbers) is None or (isinstance(value, int) and value < 0):
            return value
        if not isinstance(value, int):
            raise SpecError(
                f"Labels in {shard.file.name} are rows, in the order of the classes in its index.",
                "Next: leave classes= out, or give them in that order.",
            )
        return numbers[value] if value < len(numbers) else len(self.rule.classes)

    def _at(self, i: int) -> tuple[OpenShard, int]:
        if self.n is None:
            raise SpecError(
                "The shards have no index, and were not all counted yet: samples have no numbers.",
                "Next: one epoch, which counts them; or iterate over the loader.",
            )
        for k in range(len(self.shards)):
            if i < self.counts[k]:
                return self.opened(k), i
            i -= self.counts[k]
        raise IndexError(i)

    def sample(self, i: int) -> NDArray[np.uint8]:
        """Return the picture of one sample as it is, (H, W, 3)."""
        shard, number = self._at(i)
        return shard.pixels.picture(number, self.size)

    @property
    def labels(self) -> _Labels:
        return _Labels(self)


class _Labels(Sequence[Any]):
    def __init__(self, source: ShardSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return self._source.n or 0

    def __getitem__(self, i: Any) -> Any:
        source = self._source
        shard, number = source._at(range(len(self))[i])
        return source.rule.array([source.label(shard, number)], [shard.file.samples[number]])[0]
