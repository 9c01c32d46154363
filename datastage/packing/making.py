"""Making the shards that are missing: each is written whole, then its list; what has come meanwhile is kept.

Threads of this process do it, or a Ray Data job, on this machine or on a cluster. A worker of Ray's that dies takes its
unfinished shard with it, and another one makes it anew; what the dead one had published is found in its place and kept.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from datastage.batches.prefetch import Threads
from datastage.errors import DatastageError, StorageError, needing, while_doing
from datastage.packing.places import Place
from datastage.packing.plan import Shard
from datastage.packing.shard_file import Job
from datastage.progress import Reporter
from datastage.shards.index import LIST_ENDING, MOST_INDEX_BYTES, ShardHead, read_head

AT_ONCE = 2
"""Shards in the making: while one goes to the disk or over the network, the threads make the next one's pictures."""
_HEAD_BYTES = 65_536
_LEAVE_S = 30.0


def head_at(place: Place, name: str) -> ShardHead:
    """Return what the list of a shard says of it."""
    found = place.read(name + LIST_ENDING, _HEAD_BYTES) or b""
    if b"\n" not in found:
        found = place.read(name + LIST_ENDING, MOST_INDEX_BYTES) or b""
    return read_head(found)


class _Empty(Exception):
    """No picture of a shard can be read: its list alone is written, which says so to the next run."""


def make(job: Job, place: Place, shard: Shard, **how: Any) -> ShardHead:
    """Make one shard, and its list behind it. One that has come meanwhile is kept, if it holds the same."""
    try:
        with place.new(shard.name) as out:
            made, listing = job.write(shard, out, **how)
            if not made.shard.samples:
                raise _Empty
    except _Empty:
        pass
    except FileExistsError:
        # A run that was killed between the two, or another worker: bytes are the same where the libraries are.
        listed = place.names()
        if shard.name + LIST_ENDING in listed:
            head = head_at(place, shard.name)
            if head.plan == job.plan and head.shard.size == listed[shard.name]:
                return head
        if place.digest(shard.name) != made.shard.sha256:
            raise StorageError(
                f"{shard.name} in {place.text} is not what is packed there; it is not replaced.",
                f"Next: move {shard.name} away, and run the same line again.",
            ) from None
    put(place, shard.name + LIST_ENDING, listing, replace=True)
    return made


def put(place: Place, name: str, data: bytes, *, replace: bool = False) -> None:
    """Write a small file."""
    with while_doing(f"writing {name}"):
        try:
            with place.new(name, replace=replace) as out:
                out.write(data)
        except FileExistsError:
            raise StorageError(f"{place.text} has just got a {name}.", "Next: is another one packing there?") from None


def by_threads(job: Job, place: Place, missing: list[Shard], cores: int, reporter: Reporter) -> Iterator[ShardHead]:
    """Make shards here: threads make pictures, and two more write what they made."""
    pixels, writers = Threads(cores, "datastage-pack"), Threads(AT_ONCE, "datastage-shard")
    stop = threading.Event()

    def done(n_bytes: int) -> None:
        if stop.is_set():
            raise InterruptedError("packing was stopped")
        reporter.advance(n_bytes)

    one = partial(make, job, place, ahead=pixels.submit, done=done)
    futures = [writers.submit(one, shard) for shard in missing]
    try:
        with while_doing("packing"):
            for future in futures:
                yield future.result()
    finally:
        stop.set()
        writers.leave(_LEAVE_S)
        pixels.leave(_LEAVE_S)


def by_ray(job: Job, place: Place, missing: list[Shard], reporter: Reporter) -> Iterator[ShardHead]:
    """Give what is known of each shard as it comes, in any order."""
    step = "Next: pip install 'ray[data]'; or leave engine= out, which needs no Ray."
    with needing("engine='ray'", "Ray Data", step):
        import ray
        import ray.data
    if not missing:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False)  # the cluster that RAY_ADDRESS names, else this machine
    told = ray.data.DataContext.get_current().enable_progress_bars
    ray.data.DataContext.get_current().enable_progress_bars = False
    n_bytes = {shard.name: sum(sample.n_bytes for sample in shard.samples) for shard in missing}
    rows = ray.data.from_items([{"shard": pickle.dumps(shard)} for shard in missing], override_num_blocks=len(missing))
    try:
        for row in rows.map(_one_shard, fn_args=(ray.put((job, place)),), num_cpus=1).iter_rows():
            found = pickle.loads(row["made"])
            if isinstance(found, DatastageError):
                raise found
            reporter.advance(n_bytes[found.shard.name])
            yield found
    except ray.exceptions.RayError as error:
        raise StorageError(
            f"The Ray job ended early: {str(error).strip().splitlines()[-1]}.",
            "What was packed stays. Do all nodes see the data and the place for the shards, and hold datastage?",
            "Next: run the same line again.",
        ) from error
    finally:
        ray.data.DataContext.get_current().enable_progress_bars = told


def _one_shard(row: dict[str, Any], given: Any) -> dict[str, Any]:
    """Make one shard on whatever node this is; an error goes back as what it is."""
    import ray

    job, place = ray.get(given) if isinstance(given, ray.ObjectRef) else given
    try:
        with while_doing("packing"):
            made: Any = make(job, place, pickle.loads(row["shard"]))
    except DatastageError as error:
        made = error
    return {"made": pickle.dumps(made)}
