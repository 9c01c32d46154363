"""Pictures into shards: what `datastage.pack` does.

Here: `pack`, which plans (`plan`), makes what is missing (`making`) and writes the index.
Not here: where the data lies (`batches.open_data`), what it is (`layouts`), how shards are read (`shards`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datastage import datasets, layouts, saved_copy
from datastage.batches.image_files import ParquetRows
from datastage.batches.open_data import images_at, located, refuse_shards
from datastage.decode import Unreadable
from datastage.errors import IntegrityError, SpecError, Stopped, StorageError, while_doing
from datastage.file_names import PICTURE_SUFFIXES
from datastage.layouts.aside import check_share
from datastage.layouts.tree import UNREAD
from datastage.options import check_data
from datastage.packing.making import by_ray, by_threads, head_at, put
from datastage.packing.places import BucketPlace, FolderPlace, Place
from datastage.packing.plan import PLAN, Plan, Shard, as_before, plan_of, samples_of
from datastage.packing.shard_file import QUALITY, Arrays, Job, Pictures, packed
from datastage.progress import SILENT, Reporter, bytes_of, counted, human_bytes, unreadable
from datastage.runtime import Runtime
from datastage.shards.index import INDEX, LIST_ENDING, MOST_INDEX_BYTES, ShardHead, ShardIndex, write_index
from datastage.show.following import few_enough, literal, loaders_line
from datastage.sources import parse
from datastage.staged import Staged
from datastage.zipping import place_of

TRIED = 64
"""Pictures that are made smaller before anything is planned, to know what one takes."""
LEAST_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` made.

    Attributes
    ----------
    to : str
        The folder or bucket, as `loaders` takes it.
    index : ShardIndex
        The shards, with lengths, digests and counts, and the classes.
    written, kept : int
        Shards that this run made, and those that were there already.
    damaged : tuple of (str, str)
        Pictures that could not be read and are in no shard, each with the reason.
    """

    to: str
    index: ShardIndex
    written: int
    kept: int
    damaged: tuple[tuple[str, str], ...]

    @property
    def samples(self) -> int:
        """How many samples the shards hold."""
        return self.index.samples


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How data is packed; the names are those of `datastage.pack`."""

    shards: str | int = "256MB"
    size: int | None = None
    engine: str = "local"
    labels: Any = None
    classes: Any = None
    val: Any = None
    test: Any = None

    def __post_init__(self) -> None:
        for name in ("val", "test"):
            value = getattr(self, name)
            object.__setattr__(self, name, value.item() if hasattr(value, "item") else value)  # a number of numpy's
            check_share(name, getattr(self, name))
        if self.engine not in ("local", "ray"):
            raise SpecError(f"engine={self.engine!r} is no choice.", "Next: engine='local' or engine='ray'.")
        if self.size is not None and (type(self.size) is not int or not 8 <= self.size <= 8192):
            raise SpecError(f"size={self.size!r} is no side in pixels.", "Next: a whole number, such as size=256.")
        if bytes_of(self.shards) < LEAST_BYTES:
            raise SpecError(f"shards={self.shards!r} is too small for a shard.", "Next: shards='256MB'.")


def pack(
    data: Any, to: Any, options: PackOptions, here: Runtime, reporter: Reporter, stage: Callable[..., Staged]
) -> Packed:
    """Pack data into shards. See `datastage.pack`, which this is."""
    place = _place(to, here, reporter)
    pictures, reading = _opened(data, options, place, here, stage)
    for line in reading.lines():
        reporter.note(*layouts.labelled(line))
    plan = _planned(pictures, reading, options)
    with place.claimed(lambda who: reporter.note(f"for {who}, which packs there", "Waiting")):
        job = Job(pictures, options.size, plan.key)
        plan, heads = _begun(place, plan, job, reporter)
        missing = [shard for shard in plan.shards if shard.name not in heads]
        _tell(plan, missing, place, reporter)
        try:
            if options.engine == "ray":
                made = by_ray(job, place, missing, reporter)
            else:
                made = by_threads(job, place, missing, here.cores, reporter)
            heads |= {head.shard.name: head for head in made}
        except KeyboardInterrupt:
            there = place.names()
            n = sum(shard.name + LIST_ENDING in there for shard in plan.shards)
            raise Stopped(f"{n:,} of {len(plan.shards):,} shards" if n else "") from None
        made_of = [heads[shard.name].shard for shard in plan.shards]
        index = ShardIndex(tuple(shard for shard in made_of if shard.samples), tuple(reading.classes) or None)
        if "train" in reading.splits and "train" not in index.splits:
            raise IntegrityError("None of the pictures of train can be read.", "Next: open one of them by hand.")
        put(place, INDEX, write_index(index), replace=True)
    damaged = tuple(bad for shard in plan.shards for bad in heads[shard.name].damaged)
    n_new = sum(heads[shard.name].shard.samples > 0 for shard in missing)
    result = Packed(place.text, index, n_new, len(index.shards) - n_new, damaged)
    _say(result, reporter)
    return result


# --- what is packed, and where


def _place(to: Any, here: Runtime, reporter: Reporter) -> Place:
    spec = place_of(to)
    if spec.scheme == "bucket":
        fast = str(here.fast_disk)
        return BucketPlace(spec, fast if os.access(fast, os.W_OK) else None)
    folder = Path(os.path.abspath(saved_copy.folder_of(spec, here, reporter)))
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{folder} is a file, not a folder.", "Next: name a new folder for the shards.")
    return FolderPlace(folder)


def _opened(
    data: Any, options: PackOptions, place: Place, here: Runtime, stage: Callable[..., Staged]
) -> tuple[Pictures, layouts.Reading]:
    check_data("pack", data)
    if not _has_more(data, options.labels):
        refuse_shards(data, here)
    staged, images = located(data, stage)
    if isinstance(place, FolderPlace) and staged.path in (place.folder, *place.folder.parents):
        raise SpecError(
            f"{place.folder} lies in the data that is packed, and would be read as a part of it.",
            "Next: name a folder beside it.",
        )
    asked: dict[str, Any] = {name: getattr(options, name) for name in ("labels", "classes", "val", "test")}
    if images is None:
        reading = layouts.of_entry(datasets.of_receipt(staged.receipt), staged.path, **asked)
    else:
        reading = layouts.read(images.tree(), **asked)
    if reading.kind == "arrays":
        return _of_arrays(reading, staged.path.name, options)
    reading, said = layouts.parted(reading, val=options.val, test=options.test)
    return images or images_at(staged.path, reading), replace(reading, said=(*reading.said, *said))


def _has_more(data: Any, labels: Any) -> bool:
    """Whether data is read as pictures though it holds shards: a folder of pictures beside them, a tar with labels=."""
    if not isinstance(data, Staged) and parse(data).scheme == "list":
        return False
    path = str(data.path) if isinstance(data, Staged) else os.path.expanduser(data)
    if path.endswith(".tar"):
        return labels is not None
    names = (name for _, _, names in os.walk(path) for name in names)
    return any(os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES for name in names)


def _of_arrays(reading: layouts.Reading, name: str, options: PackOptions) -> tuple[Arrays, layouts.Reading]:
    """Return the rows of arrays as pictures, if pictures is what they are."""
    assert reading.arrays is not None
    arrays = {split: reading.arrays(split) for split in reading.splits}
    for images, _ in arrays.values():
        odd = ""
        if images.dtype.name != "uint8" or images.ndim not in (3, 4):
            odd = "rows of numbers, and shards hold pictures"
        elif images.ndim == 4 and images.shape[3] not in (1, 3):
            odd = f"pictures of {images.shape[3]} channels, and shards hold pictures of 1 or 3"
        if odd:
            raise SpecError(f"{name} holds {odd}.", "Next: datastage.loaders takes them as they are.")
    given = {split: labels for split, (_, labels) in arrays.items() if split != "predict"}
    from datastage.batches.arrays import places_of
    from datastage.batches.targets import Given, targets_of

    labels, classes = targets_of(given, reading.classes, SILENT, Given(are_files=True))
    splits = {}
    lengths = {split: len(images) for split, (images, _) in arrays.items()}
    for split, at in places_of(lengths, val=options.val, test=options.test).items():
        home = split if split in arrays else "train"
        names = [f"{home}/{number}" for number in (range(lengths[home]) if at is None else at.tolist())]
        own = labels.get(home)
        splits[split] = layouts.Split(names, None if own is None else (own if at is None else own[at]).tolist())
    pictures = Arrays({split: images for split, (images, _) in arrays.items()})
    return pictures, replace(reading, splits=splits, classes=classes)


@while_doing("reading the images", UNREAD)
def _planned(pictures: Pictures, reading: layouts.Reading, options: PackOptions) -> Plan:
    names = [name for part in reading.splits.values() for name in part.names]
    if not names:
        raise SpecError("There are no pictures to pack.", "Next: datastage read DATA says what the data is taken for.")
    stamps = list(pictures.stamps(names))  # each begins with the length of the file
    if isinstance(pictures, ParquetRows):
        lengths = {name: len(pictures.read(name)) for name in names}
    else:
        lengths = {name: int(stamp.partition("-")[0]) for name, stamp in zip(names, stamps)}
    made = []
    for name in names[:: max(1, len(names) // TRIED)]:
        try:
            made.append(len(packed(pictures.read(name), options.size)))
        except Unreadable as error:
            why = str(error)
    if not made:
        raise IntegrityError(f"None of the pictures can be read: {why}.", "Next: open one of them by hand.")
    taken = None if options.size is None else sum(made) / len(made)
    how = [options.size, QUALITY if options.size else None, list(reading.classes)]
    plan = plan_of(samples_of(reading, lengths), bytes_of(options.shards), taken, how)
    return replace(plan, stamps=hashlib.sha256("\n".join(stamps).encode()).hexdigest())


# --- what is there already


def _begun(place: Place, plan: Plan, job: Job, reporter: Reporter) -> tuple[Plan, dict[str, ShardHead]]:
    """Return the plan with the borders of an earlier run, and what that one has made; claim the place if it is free."""
    there = place.names()
    facts = place.read(PLAN, MOST_INDEX_BYTES)
    before = None if facts is None else as_before(plan, facts)
    if before is None:
        ours = {PLAN, INDEX, *(shard.name for shard in plan.shards)}
        foreign = sorted(name for name in there if name in ours or name.endswith((".tar", ".tar" + LIST_ENDING)))
        if foreign:
            what = "shards of other data, or packed in another way" if facts is not None else f"{foreign[0]} already"
            raise StorageError(
                f"{place.text} holds {what}; nothing of it is replaced.", "Next: pack into another, empty folder."
            )
        put(place, PLAN, plan.facts())
        return plan, {}
    strange = [name for name in there if name.endswith(".tar") and name not in {shard.name for shard in before.shards}]
    if strange:
        raise StorageError(
            f"{place.text} holds {strange[0]}, which is no shard of this data.", "Next: move it to another folder."
        )
    listed = [shard for shard in before.shards if shard.name + LIST_ENDING in there]
    heads = {shard.name: head_at(place, shard.name) for shard in listed}
    with_list = [shard for shard in listed if shard.name in there or not heads[shard.name].shard.samples]
    heads = {shard.name: heads[shard.name] for shard in with_list}
    for name, head in heads.items():
        if head.plan != plan.key or head.shard.size != there.get(name, head.shard.size):
            raise StorageError(f"{name} in {place.text} is not what was packed there.", f"Next: move {name} away.")
    if before.stamps not in ("", plan.stamps):
        _check_pictures(place, job, [shard for shard in with_list if heads[shard.name].source], heads, reporter)
        before = replace(before, stamps=plan.stamps)
        put(place, PLAN, before.facts(), replace=True)
    return before, heads


def _check_pictures(
    place: Place, job: Job, shards: list[Shard], heads: dict[str, ShardHead], reporter: Reporter
) -> None:
    """Read the pictures of shards that are there: their times changed since, and nobody knows whether they did."""
    reporter.phase("comparing the pictures", _n_bytes(shards))
    for shard in shards:
        with while_doing("comparing the pictures"):
            is_same = job.source(shard, reporter.advance) == heads[shard.name].source
        if not is_same:
            raise StorageError(
                f"{place.text} holds shards of other data: pictures of {shard.name} have changed since then; nothing "
                "of it is replaced.",
                "Next: pack into another, empty folder.",
            )


# --- what is said


def _n_bytes(shards: Iterable[Shard]) -> int:
    return sum(sample.n_bytes for shard in shards for sample in shard.samples)


def _tell(plan: Plan, missing: list[Shard], place: Place, reporter: Reporter) -> None:
    total, to_do = _n_bytes(plan.shards), _n_bytes(missing)
    if len(missing) < len(plan.shards):
        reporter.note(f"with {len(plan.shards) - len(missing):,} of {len(plan.shards):,} shards there", "Went on")
    reporter.phase(f"packing into {Path(place.text).name}", total)
    reporter.resume(total - to_do)


def _say(result: Packed, reporter: Reporter) -> None:
    index = result.index
    parts = ", ".join(f"{split} {sum(s.samples for s in shards):,}" for split, shards in index.splits.items())
    n_bytes = human_bytes(sum(shard.size for shard in index.shards))
    reporter.note(f"{parts} into {counted(len(index.shards), 'shard')}, {n_bytes}", "Packed")
    if result.damaged:
        reporter.note(unreadable(result.damaged, "picture"), "Left out")
    given = [name for name in ("train", "val", "test") if name in index.splits]
    size = few_enough(sum(shard.samples for shard in index.splits[given[0]]), 64) if given else 64
    reporter.note(loaders_line(given, literal(result.to), size, "" if "test" in given else ", test=0"))
