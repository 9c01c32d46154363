"""Which sample goes into which shard: from the reading, the pictures' lengths and the options alone, so that a second
run, or another machine, plans the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import PurePosixPath
from typing import Any

from datastage.errors import IntegrityError
from datastage.layouts import Reading
from datastage.own_files import mapping_of

PLAN = "pack.json"
"""The file by which a folder of shards says what is packed there; it comes before the first shard."""
SCHEMA = 1
OVERHEAD = 2_048
"""Bytes of a tar that a sample takes beside its picture: two headers, a label, and what fills blocks up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, by its name in the data; the key that it has in the shard; its label, None without; its length."""

    name: str
    key: str
    label: Any
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that is to be made."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards, and a digest of everything that they follow from but the pictures, of which `stamps` tell."""

    key: str
    shards: tuple[Shard, ...]
    stamps: str = ""

    def facts(self) -> bytes:
        """Return the bytes of the file that keeps this plan."""
        counts = {shard.name: len(shard.samples) for shard in self.shards}
        return (
            json.dumps({"schema": SCHEMA, "plan": self.key, "stamps": self.stamps, "shards": counts}, indent=1) + "\n"
        ).encode()


def samples_of(reading: Reading, lengths: Mapping[str, int]) -> dict[str, list[Sample]]:
    """Return the samples of each part in the order in which they are packed."""
    found: dict[str, list[Sample]] = {}
    for split, part in reading.splits.items():
        labels: Sequence[Any] = part.labels if part.labels is not None else [None] * len(part.names)
        rows = list(zip(part.names, labels, strict=True))
        if split == "train":  # a shard of one class alone would be read in one piece in each epoch
            rows.sort(
                key=lambda row: hashlib.blake2b(row[0].encode("utf-8", "surrogateescape"), digest_size=8).digest()
            )
        taken: set[str] = set()
        found[split] = [Sample(name, _key(name, taken), label, lengths[name]) for name, label in rows]
    return found


def plan_of(samples: Mapping[str, list[Sample]], n_bytes: int, packed: float | None, options: Sequence[Any]) -> Plan:
    """Part the samples into shards of about `n_bytes`, by their lengths or the one that all have when `packed`."""
    digest = hashlib.sha256(json.dumps([SCHEMA, n_bytes, *options], default=str).encode())
    shards: list[Shard] = []
    for split, rows in samples.items():
        for row in rows:
            digest.update(json.dumps([split, row.name, row.label, row.n_bytes], default=str).encode())
        ends = list(accumulate(OVERHEAD + (row.n_bytes if packed is None else packed) for row in rows))
        total = ends[-1] if ends else 0
        n = max(1, min(round(total / n_bytes), len(rows)))
        edges = [bisect_right(ends, total * number / n) for number in range(1, n)]
        for number, (start, stop) in enumerate(pairwise([0, *edges, len(rows)])):
            shards.append(Shard(f"{split}-{number:06}.tar", tuple(rows[start:stop])))
    return Plan(digest.hexdigest(), tuple(shards))


def as_before(plan: Plan, facts: bytes) -> Plan | None:
    """Return the plan with what an earlier run wrote down, its borders and stamps; None if it packed something else."""
    found = mapping_of(facts)
    counts = found.get("shards")
    if found.get("schema") != SCHEMA or found.get("plan") != plan.key or not isinstance(counts, dict):
        return None
    rows: dict[str, list[Sample]] = {}
    for shard in plan.shards:
        rows.setdefault(shard.name.rpartition("-")[0], []).extend(shard.samples)
    shards, at = [], dict.fromkeys(rows, 0)
    for name, count in counts.items():
        split = name.rpartition("-")[0]
        if split not in rows or type(count) is not int or count < 0:
            raise _odd()
        shards.append(Shard(name, tuple(rows[split][at[split] : at[split] + count])))
        at[split] += count
    if any(at[split] != len(part) for split, part in rows.items()):
        raise _odd()
    return replace(plan, shards=tuple(shards), stamps=str(found.get("stamps", "")))


def _odd() -> IntegrityError:
    return IntegrityError(f"{PLAN} does not say what it said.", "Next: pack into another folder.")


def _key(name: str, taken: set[str]) -> str:
    """Return what a sample is called in the tar: WebDataset ends it at the first dot, and passes over ``__NAME__``."""
    path = PurePosixPath(name.encode("utf-8", "replace").decode().replace("\\", "_"))
    parts = [part for part in path.parts if part not in ("/", "..")]
    last = parts[-1].removesuffix(path.suffix).replace(".", "_") if parts else ""
    key = "/".join([*parts[:-1], last or "_"])
    key = re.sub(r"(^|/)__([^/]*__(?=/|$))", r"\1_\2", key)
    key = re.sub(r"[\x00-\x1f\x7f]", "_", key)
    free, n = key, 1
    while free in taken:
        n += 1
        free = f"{key}-{n}"
    taken.add(free)
    return free
