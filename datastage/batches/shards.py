"""From shards to loaders: `from_shards`; and `ShardLoader`, whose epochs are never held as a whole.

Its state is a place in the epoch's order, which does not depend on the ranks: any number of them goes on from there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datastage import slots, sources, staging
from datastage.batches import ranks
from datastage.batches.as_dataloader import UncountedError
from datastage.batches.loader import Loader, Loaders, build
from datastage.batches.options import LoaderOptions
from datastage.batches.photos import near_folder, sizes_for
from datastage.batches.prefetch import decode_threads
from datastage.batches.saved_state import checked_state
from datastage.batches.saved_state import whole as whole_number
from datastage.batches.shard_labels import MOST_TRIED, TRIED, LabelRule, Read, is_labelled, rule_of, with_classes
from datastage.batches.shard_source import ShardSource
from datastage.errors import DatastageError, IntegrityError, SpecError
from datastage.layouts.labels import check_numbers
from datastage.progress import few
from datastage.reader import FileReader
from datastage.runtime import Runtime
from datastage.shards.cache import ShardCache, budget_of
from datastage.shards.listing import Shard, ShardSet, look, parted
from datastage.shards.members import Sample, ShardFile, checked, samples_of
from datastage.shards.order import Epoch, Part


class _Head:
    """The samples at the beginning of a shard, as something to read pictures and labels from."""

    def __init__(self, shard: Shard, here: Runtime) -> None:
        with closing(FileReader(shard.path) if shard.path else sources.open_spec(shard.spec, here).reader) as reader:
            self._data, samples = look(reader)
        self.samples = checked(samples, shard.name)
        self.names = [sample.key for sample in self.samples if sample.picture()]
        self._by_key = {sample.key: sample for sample in reversed(samples) if sample.picture()}
        if apart := next((s.key for s in samples if not s.picture() and s.key in self._by_key), None):
            raise IntegrityError(
                f"In {shard.name} the files of the sample {apart!r} do not lie one behind the other.",
                "Next: pack the shards anew, sorted by name: tar --sort=name -cf NEW.tar FOLDER",
            )
        if samples and not self._by_key:
            seen = ", ".join(sorted({part for sample in samples[:20] for part in sample.parts}))
            raise SpecError(
                f"The samples of {shard.name} have no picture: their parts are {seen}.",
                "Next: for other data, webdataset's own reader: datastage.feed(webdataset.WebLoader(...)).",
            )

    def part(self, sample: Sample, part: str) -> bytes:
        offset, size = sample.parts[part]
        return self._data[offset : offset + size]

    def read(self, name: str) -> bytes:
        sample = self._by_key[name]
        return self.part(sample, sample.picture() or "")


def _parted(found: ShardSet, options: LoaderOptions, here: Runtime) -> tuple[ShardSet, dict[str, _Head]]:
    """Return the parts, those that hold samples, and the beginning of each; say what was set aside."""
    parts, said = parted(found, val=options.val, test=options.test)
    heads: dict[str, _Head] = {}
    for split, shards in parts.splits.items():
        beginnings = (_Head(shard, here) for shard in shards if shard.samples != 0)
        if (head := next((one for one in beginnings if one.samples), None)) is not None:
            heads[split] = head
            continue
        if split == "train" or split not in found.splits:
            raise SpecError(f"The shards of {split} hold no samples.", "Next: look at them with tar -tvf.")
        options.reporter.note(f"the shards of {split}, which hold no samples", "Left out")
        left = {name: ones for name, ones in found.splits.items() if name != split}
        return _parted(replace(found, splits=left), options, here)
    for line in said:
        options.reporter.note(line.removeprefix("Set aside "), "Set aside")
    return parts, heads


def from_shards(
    found: ShardSet,
    options: LoaderOptions,
    *,
    here: Runtime,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    cache: Path | None = None,
    cache_gb: float | None = None,
) -> Loaders:
    """Make loaders of shards, and say what was taken. Only the beginning of one shard of each part is looked at."""
    options.check_shape((3, *(options.shape or (4096, 4096))))
    for label, text in found.said:
        options.reporter.note(text, label)
    given = found.splits.keys()
    found, heads = _parted(found, options, here)
    head = heads["train"]
    shape, fit, crops = sizes_for(head, head.names, options)
    folder, pixels = _folders(found, cache, here)
    near = ShardCache(folder, budget_of(cache_gb, folder), here)
    threads = decode_threads(here.cores)
    rule = rule_of(head.samples, head.part, labels)
    train = found.splits["train"]
    every = partial(_every_name, train, rule) if all(shard.path for shard in train) else None
    found = _own_classes(found, rule, head, labels, classes)
    rule = with_classes(rule, found.classes or (), every, options.reporter)
    first, *others = max((sample.pictures() for sample in head.samples), key=len)
    if others:
        options.reporter.note(f"of each sample {first} is taken, and not {' or '.join(others)}", "Pictures")
    parts: dict[str, tuple[Shard, ...]] = {}
    rules: dict[str, LabelRule] = {}
    for split, shards in found.splits.items():
        own = heads[split]
        has = split == "train" or split not in given or _is_labelled(rule, split, shards, own, labels, train, options)
        at = split if has else "predict"
        parts[at] = parts.get(at, ()) + shards
        rules[at] = rules.get(at, rule) if has else LabelRule("", kind="key")
    places = [sources.key_of(shard.spec, here.cwd) for shards in found.splits.values() for shard in shards]
    home = os.path.commonprefix(places).rpartition("/")[0]
    made: dict[str, ShardSource] = {}
    for at, shards in parts.items():
        own_options = replace(options, limit=None) if at == "predict" else options  # as of folders: each gets an answer
        made[at] = ShardSource(shards, near, rules[at], shape, fit, crops, threads, own_options, pixels, home=home)
    return build(made, options, rule.classes, kind=ShardLoader)


def _is_labelled(
    rule: LabelRule,
    split: str,
    shards: Sequence[Shard],
    head: _Head,
    labels: Any,
    train: Sequence[Shard],
    options: LoaderOptions,
) -> bool:
    """Whether a part has labels; say where it has none, or not all of it."""
    asked, known = _first(shards, head, options), _first(train, None, options)
    has, n, lacking = is_labelled(rule, head.samples, head.part, labels, asked, known)
    if not has:
        total = sum(shard.samples or 0 for shard in shards) if all(shard.samples for shard in shards) else 0
        of = f" of {total:,}" if total else ""
        is_whole = n == total or (n < MOST_TRIED and all(shard.path for shard in shards))
        who = f"{split} has" if is_whole else f"the first {n:,}{of} samples of {split} have"
        options.reporter.note(f"{who} none in {rule.where}: it is .predict", "Labels")
    elif lacking:
        text = f"{lacking!r} of {split} has none in {rule.where}, and others have: an epoch of {split} ends there"
        options.reporter.note(f"{text} ({split}=0 leaves it out)", "Labels")
    return has


def _own_classes(found: ShardSet, rule: LabelRule, head: _Head, labels: Any, classes: Sequence[str] | None) -> ShardSet:
    """Return the shards with the classes of labels: ``classes=`` is another order of an index's, or new names."""
    asked = tuple(map(str, classes or ()))
    is_own = rule.part == "cls" or (rule.part == "json" and "cls" not in head.samples[0].parts)
    # An index knows what its own numbers mean, and none that labels= gives.
    named = found.classes if labels is None or is_own else None
    every = [shard for shards in found.splits.values() for shard in shards]
    lists = {shard.classes for shard in every}
    told = lists - {None}
    if named is not None and rule.kind == "whole" and (set(asked) & set(named) or len(told) > 1):
        if lacking := [name for name in named if asked and name not in asked]:
            raise SpecError(
                f"The index of the shards names {few(lacking, 5)} too, and classes= does not.",
                f"Next: classes={list(named)!r}, in any order.",
            )
        if None in lists and told != {asked or named}:
            odd = next(shard.name for shard in every if shard.classes is None)
            raise SpecError(
                f"What the numbers of classes in {odd} mean is not told: no index lists it.",
                "Next: pack it as the others were, which writes an index.",
            )
        return replace(found, classes=asked or named)
    if rule.kind == "whole":
        are_digits = named is not None and all(one.isdecimal() for one in named)
        check_numbers(asked, list(map(int, named or ())) if are_digits else range(len(asked)), rule.where)
    splits = {name: tuple(replace(shard, classes=None) for shard in shards) for name, shards in found.splits.items()}
    return replace(found, splits=splits, classes=asked or named)


def _every_name(shards: Sequence[Shard], rule: LabelRule) -> Iterator[str]:
    for sample, read in _samples(shards):
        if sample.picture() is not None:
            yield rule.name(rule.value(sample, read), sample)


def _samples(shards: Sequence[Shard]) -> Iterator[tuple[Sample, Read]]:
    for shard in shards:
        with closing(ShardFile(shard.path or Path(), shard.name)) as file:
            for number, sample in enumerate(file.scan()):
                yield sample, partial(file.part, number)


def _first(shards: Sequence[Shard], head: _Head | None, options: LoaderOptions) -> Iterator[tuple[Sample, Read]]:
    """Give the first samples of shards: elsewhere those of the head; of a damaged one what comes before that."""
    if not all(shard.path for shard in shards):
        return ((one, partial(head.part, one)) for one in head.samples[:TRIED]) if head else iter(())

    def lying_here() -> Iterator[tuple[Sample, Read]]:
        for shard in shards:
            try:
                with closing(ShardFile(shard.path or Path(), shard.name)) as file:
                    for number, sample in enumerate(samples_of(file.read_at, file.size, shard.name)):
                        file.samples.append(sample)
                        if sample.picture() is not None:
                            yield sample, partial(file.part, number)
            except DatastageError as error:  # whoever trains on it is stopped by it
                options.reporter.note(str(error.args[0]), "Note")

    return islice(lying_here(), MOST_TRIED)


def _folders(found: ShardSet, cache: Path | None, here: Runtime) -> tuple[Path, Path]:
    """Return where shards are brought to, and where their pixels are kept."""
    first = next(iter(found.splits.values()))[0]
    key = slots.request_key({"shards": found.name, "first": sources.key_of(first.spec, here.cwd)})[:8]
    own = slots.make_own_folder(staging.root_folder(None, here))
    name = slots.safe_name(found.name)
    folder = own / f"{name}-{key}.shards"
    pixels = folder / "pixels" if cache is None else cache
    return folder, near_folder(pixels, here)


class ShardLoader(Loader):
    """A `Loader` over shards. ``len`` and ``n_samples`` are known from an index, or once all shards were counted."""

    source: ShardSource
    _fixed = ("seed",)
    _groups: int | None = None  # of nodes: how many lanes the shards are dealt to, settled when the first batch is made
    _resumed: tuple[int, int, int] | None = None  # an epoch, a place in its order, and the number of the batch there

    def __len__(self) -> int:
        if self.source.n is None:
            aside = any(shard.keep for shard in self.source.shards)
            raise UncountedError(
                "How many batches an epoch has is not known yet: "
                + ("which samples are set aside follows from their keys." if aside else "the shards have no index."),
                "The first epoch counts them; until then iterate without len().",
                "Next: counted() of the loader, which reads all shards now"
                + ("." if aside else "; or an index.json beside them, which tells it at once."),
            )
        return self._n_steps(self.source.n)

    @property
    def _whole(self) -> int:
        return self.batch_size * ranks.world().size

    def _n_steps(self, n: int) -> int:
        """Return how many steps so many samples give."""
        n = max(0, n)
        return n // self._whole if self.drop_last else -(-n // self._whole)

    def _lanes(self) -> int:
        if self._groups is None:
            self._groups = min(ranks.nodes(), len(self.source.shards))
        return self._groups

    def _epoch(self, number: int) -> Epoch:
        self.source.limited()
        shuffle = (self.options.seed, number) if self.shuffle else None
        return Epoch(len(self.source.shards), self.source.count, lanes=self._lanes(), shuffle=shuffle)

    def _parts(self, order: Epoch, position: int) -> Iterator[Part]:
        """Give what this rank takes of each step from a place on."""
        rank, size, even = ranks.world().rank, ranks.world().size, not self.training
        return order.parts(position, self.batch_size, rank=rank, size=size, drop_last=self.drop_last, even=even)

    def _place(self, epoch: int, batch: int) -> int:
        """Return where in the order of an epoch a batch begins."""
        start, first = 0, 0
        if self._resumed is not None and self._resumed[0] == epoch:
            _, start, first = self._resumed
        return start + (batch - first) * self._whole

    def _begin(self, epoch: int, first: int) -> Iterator[tuple[Any, int]]:
        if self._resumed is not None and self._resumed[0] != epoch:
            self._resumed = None
        position = self._place(epoch, first)
        engine, order = self._opened(), self._epoch(epoch)
        if engine.static and self.source.n is None:
            self.counted()  # static shapes need to know the last batch
        n = self.source.n
        if n is not None and self.drop_last and n < self._whole:
            raise self._no_batch(n, "samples")
        n_steps, ends = self._n_steps((n or 0) - position), deque[int]()
        made = engine.stream(order, self._parts(order, position), epoch, n_steps, ends, training=self.training)
        return self._told(made, ends, epoch, first)

    def _told(
        self, made: Iterator[tuple[Any, int]], ends: deque[int], epoch: int, first: int
    ) -> Iterator[tuple[Any, int]]:
        begin, is_empty = first, not self._place(epoch, first)
        for item in made:
            first, at, is_empty = first + 1, ends.popleft(), is_empty and not item[1]
            if at != self._place(epoch, first):  # the last steps of ranks may be shorter ones
                self._resumed = (epoch, at, first)
            yield item
            del item
        if is_empty:
            self._explain_emptiness(first - begin)
        if self._resumed is not None and self._resumed[0] == epoch:
            self._resumed = None

    def _explain_emptiness(self, n_steps: int) -> None:
        """Say, or raise, why no batch of an epoch holds a sample."""
        n, bad = self.source.n or 0, self.source.unreadable
        if bad and len(bad) >= n:
            raise IntegrityError(
                f"None of the {n:,} images of {self.name} can be read: {next(iter(bad.values()))}.",
                f"Next: look at the first of them by hand, {next(iter(bad))}.",
            )
        if not n_steps and (self.training or n):
            raise self._no_batch(n, "samples")
        if not n and (share := max((keep[1] - keep[0] for one in self.source.shards if (keep := one.keep)), default=0)):
            larger = f"; a larger one, as {self.name}={2 * share:.2g}, may do" if share < 0.5 else ""
            text = f"{self.name} is empty: no key's hash falls into its share{larger}"
            self.options.reporter.note(text, "Note")

    def counted(self) -> int | None:
        """Return `n_samples`; every shard is counted now."""
        for k in range(len(self.source.shards)):
            self.source.count(k)
        return self.n_samples

    def plan(self, epoch: int) -> list[tuple[list[int], int]]:
        """Return of each of this rank's batches in an epoch the samples, numbered shard by shard, and their place."""
        order, firsts = self._epoch(epoch), [0]
        for k in range(len(self.source.shards)):
            firsts.append(firsts[-1] + self.source.count(k))
        made = []
        for part in self._parts(order, 0):
            numbers: list[int] = []
            for window, start, stop in part.pieces:
                shard, number = (a[start:stop].tolist() for a in window.samples(order.shuffle))
                numbers += [firsts[window.shards[s]] + i for s, i in zip(shard, number)]
            made.append((numbers, part.start))
        return made

    def _own_state(self) -> dict[str, Any]:
        epoch, batch = getattr(self, "_at", self._next)
        position, n = self._place(epoch, batch), self.source.n
        if n is not None and not self._n_steps(n - position):
            epoch, batch, position = epoch + 1, 0, 0
        shards = {"n": len(self.source.shards), "position": position, "lanes": self._lanes()}
        unknown = any(shard.samples is None for shard in self.source.shards)
        counts = [self.source.counts.get(k, -1) for k in range(len(self.source.shards))] if unknown else []
        return {**super()._own_state(), "epoch": epoch, "batch": batch, "shards": {**shards, "counts": counts}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, with any number of ranks and any batch size.

        Raises
        ------
        SpecError
            If this is no state, or one of another seed, shuffle or drop_last, or of other shards: batches would differ.
        """
        epoch, _, _ = checked_state(state, self._own_state(), self._fixed, self._asked)
        shards = state["shards"]
        keys = ("n", "position", "lanes")
        if not isinstance(shards, Mapping) or not {*keys, "counts"} <= set(shards):
            raise SpecError("This is not the state of a loader over shards.", "Next: the state of the same loader.")
        (n, position, lanes), counts = (whole_number(key, shards[key]) for key in keys), list(shards["counts"])
        if self.source.options.limit is not None:
            self.source.limited()
        other = n != len(self.source.shards) and (position or n != self.source.n_all)  # saved before it was limited
        if other or not lanes or len(counts) not in (0, n):
            raise SpecError(
                f"The saved state is of {n:,} shards, and here are {len(self.source.shards):,}.",
                f"Next: give the same shards again, or start anew with set_epoch({epoch}).",
            )
        for k, count in enumerate(counts[: len(self.source.shards)]):
            count = self.source.limited_to(k, count)
            if isinstance(count, int) and count >= 0 and self.source.counts.setdefault(k, count) != count:
                raise SpecError(
                    f"{self.source.shards[k].name} held {count:,} samples when the state was saved, and now others.",
                    f"Next: start anew with set_epoch({epoch}).",
                )
        self._groups = lanes
        total = self.source.n
        first = position // self._whole if total is None else max(0, len(self) - self._n_steps(total - position))
        self._stand(epoch, first)
        self._resumed = (epoch, position, first) if position else None

    def explain(self) -> str:
        shards = f"{len(self.source.shards):,} shards, not counted yet, in batches of {self.batch_size:,}"
        text = super().explain().replace("batches in the order that your data gives them", shards)
        dealt = f"\nGroups    shards dealt to {self._groups} groups of nodes"
        return text if self._groups in (None, 1) else text + dealt
