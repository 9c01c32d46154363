"""A shard as samples: its members grouped by key, as WebDataset does, and their bytes read where they lie.

``00012.jpg`` and ``00012.cls``, one behind the other, are one sample of the key ``00012`` with the parts ``jpg`` and
``cls``: the key ends at the first dot of the file's name. Names of members are never used as paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from datastage.archives import tar
from datastage.archives.errors import Fault, error_of
from datastage.archives.streams import Bytes
from datastage.errors import DamagedArchiveError, IntegrityError, StorageError, while_doing
from datastage.file_names import PICTURES_IN_ORDER
from datastage.reader import FileReader

PICTURES = tuple(suffix[1:] for suffix in PICTURES_IN_ORDER)
UNREAD = "Look whether the shard is still there and may be read, then run it again."


@dataclass(frozen=True, slots=True)
class Sample:
    """The parts of one sample: of each extension, in small letters, the offset and the length of its bytes."""

    key: str
    parts: dict[str, tuple[int, int]]

    def pictures(self) -> list[str]:
        """Return the extensions of what may be its picture, the one that is taken first."""
        found = [part for part in self.parts if part.rpartition(".")[2] in PICTURES]
        plain = [part for part in found if "." not in part]
        return sorted(plain or found, key=lambda part: PICTURES.index(part.rpartition(".")[2]))

    def picture(self) -> str | None:
        """Return the extension of its picture; None if it has none."""
        return next(iter(self.pictures()), None)


def grouped(members: Iterable[tuple[str, int, int]]) -> Iterator[Sample]:
    """Group members, given as name, offset and length, into samples."""

    def parts() -> Iterator[tuple[str, str, tuple[int, int]]]:
        for name, offset, size in members:
            folder, slash, base = name.removeprefix("./").rpartition("/")
            stem, dot, ending = base.partition(".")
            # Not hidden files, files without an ending, and notes on the shard itself.
            if dot and stem and not (stem.startswith("__") and stem.endswith("__")):
                yield folder + slash + stem, ending.lower(), (offset, size)

    for key, group in groupby(parts(), key=itemgetter(0)):
        made: dict[str, tuple[int, int]] = {}
        for _, ending, place in group:
            if ending in made:  # `checked` refuses it where samples are read
                yield Sample(key, made)
                made = {}
            made[ending] = place
        yield Sample(key, made)


def checked(samples: list[Sample], name: str) -> list[Sample]:
    """Return the samples of a shard; `IntegrityError` where one is several.

    Pictures of one ending are parts of a sample where one has all of them, as image.png and mask.png, and each the same
    first one. Where they are numbers, or others from sample to sample, the names of files hold a dot.
    """
    key, pictures = None, [sample.pictures() for sample in samples]
    some = list(filter(None, pictures))
    alike = len({own[0] for own in some}) == 1 and len({part for own in some for part in own}) == max(map(len, some))
    for sample, own in zip(samples, pictures):
        first, second = (*own, None, None)[:2]
        twice, is_named = sample.key == key, alike and not any(part.partition(".")[0].isdigit() for part in own)
        if twice or (first and second and not is_named and first.rpartition(".")[2] == second.rpartition(".")[2]):
            what = "files of one ending" if twice else f"pictures, {first} and {second}"
            raise IntegrityError(
                f"In {name} several {what} are of one sample, {sample.key!r}: which of them count is not told.",
                "A name ends at the first dot; what follows is the same for all samples, as .image.png and .mask.png.",
                "Next: pack the shards anew, each sample under a name of its own.",
            )
        key = sample.key
    return samples


class _Seeking(Bytes):
    """A file, or its beginning, as something to read from that passes over bytes without reading them."""

    def __init__(self, read_at: Any, size: int) -> None:
        super().__init__(iter(()))
        self.at, self._size, self._read_at = 0, size, read_at

    def read(self, n: int) -> bytes:
        data: bytes = self._read_at(self.at, min(n, self._size - self.at))
        self.at += len(data)
        return data

    def skip(self, n: int) -> int:
        passed = max(0, min(n, self._size - self.at))
        self.at += passed
        return passed


def samples_of(read_at: Any, size: int, name: str, *, whole: bool = True) -> Iterator[Sample]:
    """Give the samples of a tar; `DamagedArchiveError` if it is cut short, unless only its beginning is to be here."""
    stream = _Seeking(read_at, size)

    def members() -> Iterator[tuple[str, int, int]]:
        for member in tar.members(stream, needs_end=whole):
            if member.kind == "file" and member.sparse is None and stream.at + member.size <= size:
                yield member.name, stream.at, member.size

    samples = grouped(members())
    last: Sample | None = None
    try:
        for sample in samples:
            if last is not None:
                yield last
            last = sample
    except Fault as fault:
        if whole:
            raise error_of(fault, name) from None
        return  # the last sample may lack a part
    if last is not None and whole:
        yield last


class ShardFile(FileReader):
    """A shard on this machine, open for reading from any thread, and its samples."""

    def __init__(self, path: Path, name: str) -> None:
        with while_doing(f"opening the shard {name}", UNREAD):
            super().__init__(path)
        self.name = name
        self.samples: list[Sample] = []

    def scan(self) -> list[Sample]:
        """Return its samples, listed when first asked for."""
        if not self.samples:
            self.samples = checked(list(samples_of(self.read_at, self.size, self.name)), self.name)
        return self.samples

    def read_at(self, offset: int, n: int) -> bytes:
        try:  # asked for each header and each picture, where a context takes as long as the reading
            return super().read_at(offset, n)
        except OSError as error:
            raise StorageError.of(error, f"reading the shard {self.name}", UNREAD) from error

    def part(self, number: int, ending: str) -> bytes:
        """Return the bytes of one part of a sample; raises `DamagedArchiveError` if the file became shorter."""
        offset, size = self.samples[number].parts[ending]
        data = self.read_at(offset, size)
        if len(data) != size:
            raise DamagedArchiveError(
                f"{self.name} became shorter while it was read.", "Next: bring the shard again, then run it again."
            )
        return data
