"""The index of a folder of shards, and the list of a shard's members.

``index.json`` names each shard, its length, digest and number of samples, and the classes. Beside ``train-000000.tar``
lies ``train-000000.tar.index``, lines of JSON: the first is an object about the shard, each further one is
``[member, offset of its bytes, their number, their CRC-32]``, in the order of the tar.

Nothing that is read is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeGuard

from datastage.errors import IntegrityError
from datastage.file_names import split_words
from datastage.own_files import mapping_of

INDEX = "index.json"
LIST_ENDING = ".index"
"""What is put behind a shard's name for the list of its members."""
SCHEMA = 1
MOST_INDEX_BYTES = 64_000_000
MOST_BYTES = 1 << 44
"""No shard is longer: what claims to be is no number to make room by."""

_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,250}\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard: the name of its file, its length in bytes, its SHA-256 in hex, and how many samples it holds."""

    name: str
    size: int
    sha256: str
    samples: int

    @property
    def split(self) -> str:
        """The part that the last word for one in its name says; ``"train"`` if none does."""
        return (split_words(self.name) or ["train"])[-1]


@dataclass(frozen=True)
class ShardIndex:
    """The shards of a folder, in order, and the classes by number; None where labels are no classes."""

    shards: tuple[ShardEntry, ...]
    classes: tuple[str, ...] | None = None

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    @cached_property
    def by_name(self) -> dict[str, ShardEntry]:
        return {shard.name: shard for shard in self.shards}

    @property
    def splits(self) -> dict[str, tuple[ShardEntry, ...]]:
        found = dict.fromkeys(shard.split for shard in self.shards)
        return {split: tuple(shard for shard in self.shards if shard.split == split) for split in found}


@dataclass(frozen=True, slots=True)
class ShardHead:
    """The first line of a list: the shard, the plan that it was made by, and the pictures that could not be read."""

    shard: ShardEntry
    plan: str = ""
    damaged: tuple[tuple[str, str], ...] = ()
    source: str = ""  # a digest of the pictures as they were then; empty in a list of an earlier version


def write_index(index: ShardIndex) -> bytes:
    """Return the bytes of ``index.json``: a shard a line, so that a person can read it."""
    rows = ",\n".join(json.dumps(asdict(shard), ensure_ascii=False) for shard in index.shards)
    classes = json.dumps(None if index.classes is None else list(index.classes), ensure_ascii=False)
    return f'{{"schema": {SCHEMA}, "classes": {classes}, "shards": [\n{rows}\n]}}\n'.encode()


def read_index(data: bytes) -> ShardIndex:
    """Return what the bytes of an ``index.json`` say; `IntegrityError` if they are none, or claim what cannot be."""
    found = _object(data, INDEX)
    if found.get("schema") != SCHEMA:
        raise _odd(INDEX, f"its schema is {found.get('schema')!r:.40}, and {SCHEMA} is known here")
    rows, classes = found.get("shards"), found.get("classes")
    if not isinstance(rows, list):
        raise _odd(INDEX, "it lists no shards")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise _odd(INDEX, "its classes are no names")
    shards = tuple(_entry(row, INDEX) for row in rows)
    if len({shard.name for shard in shards}) < len(shards):
        raise _odd(INDEX, "it lists a shard twice")
    return ShardIndex(shards, None if classes is None else tuple(classes))


def write_list(head: ShardHead, members: Iterable[tuple[str, int, int, int]]) -> bytes:
    """Return the bytes of a shard's list; of each member its name, offset, size and CRC-32."""
    first = {**asdict(head.shard), "plan": head.plan, "damaged": head.damaged, "source": head.source}
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (first, *members)).encode()


def read_head(data: bytes) -> ShardHead:
    """Return what the first line of a shard's list says of the shard; `data` may be longer than the line."""
    found = _object(data.partition(b"\n")[0], LIST_ENDING)
    shard, plan, damaged = _entry(found, LIST_ENDING), found.get("plan", ""), found.get("damaged", [])
    source = found.get("source", "")
    texts = isinstance(plan, str) and isinstance(source, str)
    if not texts or not isinstance(damaged, list) or not all(map(_is_pair, damaged)):
        raise _odd(shard.name + LIST_ENDING, "its first line holds something else than it should")
    return ShardHead(shard, plan, tuple((name, why) for name, why in damaged), source)


def _object(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MOST_INDEX_BYTES:
        raise _odd(where, f"its {len(data):,} bytes are too many")
    found = mapping_of(data)
    if not found:
        raise _odd(where, "it is no object of JSON: it is cut short or damaged")
    return found


def _entry(row: Any, where: str) -> ShardEntry:
    if not isinstance(row, dict):
        raise _odd(where, "a shard of it has no facts")
    name, size, sha256, samples = (row.get(key) for key in ("name", "size", "sha256", "samples"))
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("."):
        raise _odd(where, f"{name!r:.80} is no name of a shard")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise _odd(where, f"{name} has no SHA-256")
    # A sample takes a block for its header, and one for its bytes.
    if not (_whole(size) and _whole(samples) and samples * 512 <= size <= MOST_BYTES):
        raise _odd(where, f"{name} has a length, or a number of samples, that cannot be")
    return ShardEntry(name, size, sha256, samples)


def _is_pair(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(isinstance(word, str) for word in row)


def _whole(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _odd(where: str, why: str) -> IntegrityError:
    return IntegrityError(f"{where} cannot be used: {why}.", "Next: bring it again from where the shards were packed.")
