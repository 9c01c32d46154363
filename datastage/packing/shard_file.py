"""One shard: samples in, a WebDataset tar out, with the list of its members. It holds a few pictures at a time.

The bytes of a picture go in as they are, or with the short side brought down and as JPEG.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from datastage.batches.image_files import Images
from datastage.decode import (
    PNG_BEGIN,
    PNG_END,
    Fit,
    Unreadable,
    best,
    decode,
    read_markers,
    resize,
    size_of,
)
from datastage.errors import while_doing
from datastage.layouts.tree import UNREAD
from datastage.packing.plan import Sample, Shard
from datastage.shards.index import ShardEntry, ShardHead, write_list

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUALITY = 90
"""Of the JPEGs that are made: FFCV's and many others' choice for photos at this size."""
AHEAD = 32
"""Pictures that are in work or wait to be written: what a shard in the making holds in memory."""
_ENDS = 2 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Job:
    """What it takes to make any shard of a plan."""

    pictures: Pictures
    size: int | None
    plan: str

    def write(
        self,
        shard: Shard,
        out: BinaryIO,
        ahead: Callable[..., Future[Any]] | None = None,
        done: Callable[[int], None] = lambda n_bytes: None,
    ) -> tuple[ShardHead, bytes]:
        """Write a shard into `out`, with pictures that `ahead` makes in threads; return what is known, and its list."""
        tar, damaged, n, crcs = _Tar(out), [], 0, []
        for sample, crc, data in self._packed(shard, ahead):
            done(sample.n_bytes)
            crcs.append(crc)
            if isinstance(data, Unreadable):
                damaged.append((sample.name.encode("utf-8", "backslashreplace").decode(), str(data)))
                continue
            n += 1
            tar.add(f"{sample.key}.{ending(data, sample.name)}", data)
            if sample.label is not None:
                tar.add(*_label(sample))
        entry = ShardEntry(shard.name, tar.finish(), tar.sha256.hexdigest(), n)
        head = ShardHead(entry, self.plan, tuple(damaged), _digest(crcs))
        return head, write_list(head, tar.members)

    def _packed(
        self, shard: Shard, ahead: Callable[..., Future[Any]] | None
    ) -> Iterator[tuple[Sample, int, bytes | Unreadable]]:
        """Give each sample with what `one` returns, in order, a few of them made ahead."""
        if ahead is None:
            yield from ((sample, *self.one(sample)) for sample in shard.samples)
            return
        waiting: deque[tuple[Sample, Future[tuple[int, bytes | Unreadable]]]] = deque()
        to_do = iter(shard.samples)
        while True:
            waiting.extend((sample, ahead(self.one, sample)) for sample in islice(to_do, AHEAD - len(waiting)))
            if not waiting:
                return
            first, future = waiting.popleft()
            yield (first, *future.result())

    @while_doing("reading the images", UNREAD)
    def one(self, sample: Sample) -> tuple[int, bytes | Unreadable]:
        """Return the CRC-32 of a picture, and what is packed of it, or why nothing is."""
        crc = 0
        try:
            data = self.pictures.read(sample.name)
            crc = zlib.crc32(data)
            return crc, packed(data, self.size)
        except Unreadable as error:
            return crc, error
        except FileNotFoundError:
            return 0, Unreadable("it is not there any more")

    def source(self, shard: Shard, done: Callable[[int], None]) -> str:
        """Return the digest of the pictures of a shard as they are now, as `write` notes it."""
        crcs = []
        for sample in shard.samples:
            try:
                crcs.append(zlib.crc32(self.pictures.read(sample.name)))
            except (Unreadable, FileNotFoundError):
                crcs.append(0)
            done(sample.n_bytes)
        return _digest(crcs)


def _digest(crcs: Iterable[int]) -> str:
    return hashlib.sha256("".join(f"{crc:08x}" for crc in crcs).encode()).hexdigest()


def _label(sample: Sample) -> tuple[str, bytes]:
    """Return the member of a label: a class by its number, other targets as JSON."""
    label = sample.label
    if isinstance(label, int) or (hasattr(label, "dtype") and label.dtype.kind in "iu" and not label.ndim):
        return f"{sample.key}.cls", b"%d" % label
    return f"{sample.key}.json", json.dumps(label.tolist() if hasattr(label, "tolist") else label).encode()


class _Tar:
    """A tar, its digest, and where its members lie. No time and no owner: the same bytes anywhere."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._at = out, 0
        self.sha256 = hashlib.sha256()
        self.members: list[tuple[str, int, int, int]] = []

    def add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self.members.append((name, self._at + len(head), len(data), zlib.crc32(data)))
        self._write(head)
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))

    def finish(self) -> int:
        self._write(bytes(_ENDS + -(self._at + _ENDS) % tarfile.RECORDSIZE))
        return self._at

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.sha256.update(data)
        self._at += len(data)


class Arrays:
    """Pictures that are rows of arrays, as PNG; a name is ``SPLIT/NUMBER``."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._arrays = arrays

    def read(self, name: str) -> bytes:
        split, _, number = name.partition("/")
        return png(self._arrays[split][int(number)])

    def stamps(self, names: Sequence[str]) -> Iterator[str]:
        made = (self.read(name) for name in names)
        return (f"{len(data)}-{zlib.crc32(data)}" for data in made)


Pictures = Images | Arrays
"""Where pictures are read, from any thread; `Unreadable` or `OSError` if one cannot be."""


# --- the bytes of a picture


def packed(data: bytes, size: int | None) -> bytes:
    """Return what is packed of a picture: its own bytes if it is no larger; `Unreadable` says why it cannot be."""
    found = size_of(data)
    if found is None or not min(found):
        raise Unreadable("it is no picture")
    if size is None or min(found) <= size:
        _check_end(data)
        return data
    height, width = (round(side * size / min(found)) for side in found)
    return encode(_shrunk(decode(data, Fit((height, width), "stretch"), best()), height, width))


def ending(data: bytes, name: str) -> str:
    """Return the ending of a member with these bytes: readers choose what decodes it by that."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    if data[:8] == PNG_BEGIN:
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return name.rpartition("/")[2].rpartition(".")[2].lower() or "img"


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) as a JPEG, its colours at half the resolution, by the quickest library that is here."""
    decoder = best()
    if decoder == "simplejpeg":  # another encoder makes other bytes, with which no pack that was begun is resumed
        import numpy as np
        import simplejpeg

        made: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420")
        return made
    if decoder == "cv2":
        import cv2

        asked = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), asked)[1])
    return _saved(pixels, "JPEG", quality=QUALITY)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W), (H, W, 1) or (H, W, 3) as a PNG: every value as it is."""
    return _saved(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels, "PNG")


def _saved(pixels: NDArray[np.uint8], kind: str, **how: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return out.getvalue()


def _shrunk(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    try:
        return resize(pixels, height, width)
    except ImportError:  # torch, which a machine that only packs need not have
        import numpy as np
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _check_end(data: bytes) -> None:
    """Refuse a file that is cut short, as far as its end tells."""
    facts = read_markers(data)
    if (facts is not None and not facts.whole) or (data[:8] == PNG_BEGIN and PNG_END not in data[-4_096:]):
        raise Unreadable("the file is cut short")
