"""A short look at staged data for its card: classes and their counts, sizes of the pictures, a few small pictures.

It is taken when a card is shown, never while data is staged, and ends soon: on a slow disk less is seen.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastage.decode import Fit, decode
from datastage.entry import Entry
from datastage.errors import DatastageError
from datastage.file_names import PICTURE_SUFFIXES
from datastage.mounts import is_network_disk
from datastage.show.lines import spread
from datastage.staged import Staged, read_files

SIDE = 72
"""Pixels of a small picture."""
_PICTURES = 8
_SIZES = 160
_LONGEST_S = 1.0
_MOST_BYTES = 48_000  # of all small pictures together
_MOST_PIXELS = 40_000_000  # larger ones take long to decode
_MOST_FILES = 100_000
_MOST_ENTRY_BYTES = 400_000_000


@dataclass(slots=True)
class Look:
    """What was seen: samples of each class by split, sizes (width, height), names that cannot be read.

    `pictures` are data URIs, and what is under each.
    """

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)

    def size_text(self) -> str:
        """Say the sizes; nothing where none was seen."""
        if len(set(self.sizes)) < 2:
            return "".join(f"{width} x {height} pixels" for width, height in self.sizes[:1])
        least, most = (pick(self.sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
        usual = max(sorted(set(self.sizes)), key=self.sizes.count)
        often = 100 * self.sizes.count(usual) // len(self.sizes)
        text = f"{least[0]} x {least[1]} to {most[0]} x {most[1]} pixels"
        return f"{text}; {often} % have {usual[0]} x {usual[1]}" if often >= 25 else text


def look(staged: Staged) -> Look:
    """Look at what was staged; what cannot be seen is left out."""
    from datastage import datasets

    seen, receipt = Look(), staged.receipt
    is_far = bool(receipt.get("in_place")) and is_network_disk(staged.path)
    if is_far or int(receipt.get("n_files") or 0) > _MOST_FILES or not staged.exists():
        return seen
    with suppress(DatastageError, OSError, ImportError, ValueError):
        entry = datasets.with_files(receipt.get("entry"))
        if entry is not None:
            _look_at_arrays(entry, staged, seen)
        else:
            _look_at_files(staged, seen)
    return seen


def _look_at_arrays(entry: Entry, staged: Staged, seen: Look) -> None:
    """Look at a dataset whose arrays are known, if they are not many."""
    seen.counts = {split: {split: n} for split, n in entry.splits.items()}
    if int(staged.receipt.get("n_bytes") or 0) > _MOST_ENTRY_BYTES:
        return
    import numpy as np

    found = {split: staged.arrays(split) for split in staged.splits}
    n = len(entry.classes)
    if n and all(labels.ndim == 1 for _, labels in found.values()):
        counted = {split: np.bincount(labels, minlength=n).tolist() for split, (_, labels) in found.items()}
        seen.counts = {split: dict(zip(entry.classes, counts)) for split, counts in counted.items()}
    images, labels = next(iter(found.values()))
    if images.ndim != 4:
        return
    from PIL import Image

    seen.sizes = [(images.shape[2], images.shape[1])]
    for i in spread(len(images), _PICTURES):
        pixels = images[i, ..., 0] if images.shape[-1] == 1 else images[i]
        name = entry.classes[int(labels[i])] if n and labels.ndim == 1 else ""
        seen.pictures.append((_uri(Image.fromarray(pixels)), name))


def _look_at_files(staged: Staged, seen: Look) -> None:
    told = staged.told()
    seen.counts = told.get("counts") or {split: {split: n} for split, n in told.get("splits", {}).items()}
    names = sorted(name for name in _names(staged) if name.lower().endswith(tuple(PICTURE_SUFFIXES)))
    ends, n_bytes = time.monotonic() + _LONGEST_S, 0
    shown = spread(len(names), _PICTURES)
    for i in dict.fromkeys([*shown, *spread(len(names), _SIZES)]):
        if time.monotonic() > ends:
            break
        uri = _seen_picture(staged.path, names[i], seen, small=i in shown and n_bytes < _MOST_BYTES)
        if uri:
            n_bytes += len(uri)
            folder = names[i].rpartition("/")[0].rpartition("/")[2]
            seen.pictures.append((uri, folder if folder in told.get("classes", ()) else ""))


def _names(staged: Staged) -> Sequence[str]:
    """Return the paths of the files: of our own copy by its list, of what is used in place by a walk."""
    if staged.receipt.get("single"):
        return ()
    if not staged.receipt.get("in_place"):
        return [file.path for file in read_files(staged.path, staged.receipt)]
    from datastage.layouts import tree

    folders = tree.of_folder(staged.path).folders
    return [f"{path}/{name}" if path else name for path, folder in folders.items() for name in folder.pictures]


def _seen_picture(root: Path, name: str, seen: Look, *, small: bool) -> str:
    """Note the size of a picture from its head, or that it cannot be read; return it small if that is wanted."""
    from PIL import Image

    try:
        with Image.open(root / name) as picture:
            seen.sizes.append(picture.size)
            if not small or picture.width * picture.height > _MOST_PIXELS:
                return ""
        # A JPEG is decoded at a fraction of its size.
        return _uri(Image.fromarray(decode((root / name).read_bytes(), Fit((2 * SIDE, 2 * SIDE)))))
    except Exception:  # Pillow raises whatever the bytes make it
        seen.damaged.append(name)
        return ""


def _uri(picture: Any) -> str:
    """Return a picture as a small data URI: as it is if it is tiny, else brought to `SIDE`."""
    is_tiny = max(picture.size) <= SIDE // 2
    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG" if is_tiny else "JPEG", quality=80)
    return f"data:image/{'png' if is_tiny else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"
