"""Shards made by a Ray Data job, on this machine or on a cluster: a shard is read, resized and published by one task.

A worker that dies takes its unfinished shard with it, and Ray has another one make it anew. What the dead one had
published is found in its place and kept, so that nothing is lost and nothing doubled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from datastage.errors import DatastageError, MissingDependencyError, StorageError
from datastage.packing.making import make
from datastage.packing.places import Place
from datastage.packing.plan import Shard
from datastage.packing.shard_file import Job
from datastage.progress import Reporter
from datastage.shards.index import ShardHead


def by_ray(job: Job, place: Place, missing: list[Shard], reporter: Reporter) -> Iterator[ShardHead]:
    """Give what is known of each shard as it comes, in any order."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingDependencyError(
            "engine='ray' packs through Ray Data, which is not installed.",
            "Next: pip install 'ray[data]'; or leave engine= out, which needs no Ray.",
        ) from None
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
        made: Any = make(job, place, pickle.loads(row["shard"]))
    except DatastageError as error:
        made = error
    except OSError as error:
        made = StorageError.of(error, "packing")
    return {"made": pickle.dumps(made)}
