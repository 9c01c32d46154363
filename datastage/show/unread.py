"""Pictures of data that `loaders` does not take: the first rows of a table, pictures without labels, sounds, texts."""

from __future__ import annotations

import wave
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datastage.layouts import columns, files, tree, words
from datastage.progress import counted, few
from datastage.show import pictures
from datastage.show.lines import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from datastage.layouts.tree import Tree

UNLABELLED = "No labels were read: datastage.read says why"
_MOST_COLUMNS = 10
_MOST_ROWS = 40
_LONGEST = 24
_LINE = 90
_MOST_SAMPLES = 2_000  # points of a sound


def listed(place: Path) -> Tree:
    """List a folder or an archive; a file of a known kind is alone in its list."""
    return tree.of_file(place) if files.is_alone(place) else tree.of(place)


def first_rows(around: Tree, n: int) -> Figure | None:
    """Draw the first rows of the table that is learnt from; None where there is none."""
    table = _table(around)
    if table is None:
        return None
    width = min(len(table.header), _MOST_COLUMNS)
    rows = [[_short(cell) for cell in (*row, *[""] * width)[:width]] for row in table.head[:n]]
    more = f", {width} of {len(table.header):,} columns" if width < len(table.header) else ""
    title = f"{table.last}: the first {counted(len(rows), 'row')}{more}"
    return pictures.table([_short(name) for name in table.header[:width]], rows, title)


def _columns(table: columns.Table) -> Figure:
    """Draw what the columns of a table are."""
    rows = []
    for name in table.header[:_MOST_ROWS]:
        values = table.sample(name)
        there = list(dict.fromkeys(value for value in values if value))
        shown = few(map(_short, there), 3)
        rows.append([_short(name), columns.kind_of(values), f"{len(there):,}", f"{values.count(''):,}", shown])
    title = f"{table.last}: {counted(len(table.header), 'column')}, by {counted(len(table.head), 'row')} from its top"
    return pictures.table(["column", "kind", "different", "empty", "such as"], rows, title)


def _table(around: Tree) -> columns.Table | None:
    names = sorted((name for name in around.files() if words.suffix_of(name) in words.TABLES), key=_first)
    found = (columns.open_table(around, name) for name in names[:5])
    return next((table for table in found if table is not None and table.head), None)


def preview(around: Tree, n: int) -> Figure | None:
    """Draw what lies there, with the folder of each; None where nothing can be shown of it."""
    if found := _some(_pictures_in(around), n):
        drawn = [(pixels, _of(name)) for name in found if (pixels := _pixels(around, name)) is not None]
        return pictures.grid([(UNLABELLED, drawn)], titled=True) if drawn else None
    kinds = Counter(words.suffix_of(name) for name in around.files())
    if any(kind in words.SOUNDS for kind in kinds):
        return _sounds(around, _some((name for name in around.files() if name.lower().endswith(".wav")), min(n, 8)))
    if figure := first_rows(around, n):
        return figure
    texts = _some((name for name in around.files() if words.suffix_of(name) in (".txt", ".md", ".json")), n)
    rows = [[_short(name), _beginning(around, name)] for name in texts]
    title = f"{len(texts)} of {kinds.total():,} files. {UNLABELLED}"
    return pictures.table(["file", "how it begins"], rows, title) if rows else None


def summary(around: Tree) -> Figure | None:
    """Draw how many files lie in each folder, and the sizes of pictures; None where there is no file."""
    found = _pictures_in(around)
    if not found and (table := _table(around)) is not None:
        return _columns(table)
    counts = Counter(_of(name) or "." for name in found or around.files())
    if not counts:
        return None
    sizes, damaged = pictures.sizes_of_files(around, found) if found else ([], [])
    said = [UNLABELLED, *pictures.said_of(damaged)]
    return pictures.summary({"files": dict(counts)}, sizes, 0, said, f"{counted(len(counts), 'folder')} of files")


def _pictures_in(around: Tree) -> list[str]:
    return sorted(around.path_of(path, name) for path, folder in around.folders.items() for name in folder.pictures)


def _some(names: Iterable[str], n: int) -> list[str]:
    """Return at most so many names from all over them, in order."""
    ordered = sorted(names)
    return [ordered[i] for i in spread(len(ordered), n)]


def _first(name: str) -> tuple[bool, str]:
    return not name.rpartition("/")[2].lower().startswith("train"), name


def _of(name: str) -> str:
    """Return the folder of a file."""
    return name.rpartition("/")[0].rpartition("/")[2]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:14]}...{text[-7:]}"


def _pixels(around: Tree, name: str) -> Any:
    import numpy as np

    try:
        from PIL import Image, ImageOps

        with around.open(name) as file, Image.open(file) as stored:
            stored.draft("RGB", (400, 400))  # a JPEG is decoded at a fraction of its size
            picture = ImageOps.exif_transpose(stored)
            picture.thumbnail((400, 400))
            return np.asarray(picture.convert("RGB") if picture.mode in ("P", "CMYK", "RGBA", "LA") else picture)
    except Exception:  # Pillow raises whatever the bytes make it
        return None


def _beginning(around: Tree, name: str) -> str:
    with around.open(name) as file:
        text = " ".join(file.read(4 * _LINE).decode("utf-8", "replace").split())
    return text if len(text) <= _LINE else f"{text[: _LINE - 4]} ..."


@pictures.names_as_they_are()
def _sounds(around: Tree, names: Sequence[str]) -> Figure | None:
    """Draw sounds as waves."""
    waves = [(name, found) for name in names if (found := _wave(around, name)) is not None]
    if not waves:
        return None
    figure = pictures.canvas(10, 0.9 * len(waves) + 0.4)
    figure.suptitle(UNLABELLED, fontsize=10)
    for axes, (name, (seconds, points)) in zip(figure.subplots(len(waves), 1, squeeze=False)[:, 0], waves):
        axes.plot([seconds * i / len(points) for i in range(len(points))], points, linewidth=0.6)
        axes.set_ylabel(_short(_of(name)), fontsize=8, rotation=0, ha="right", va="center")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("seconds", fontsize=8)
    return figure


def _wave(around: Tree, name: str) -> tuple[float, Any] | None:
    import numpy as np

    try:
        with around.open(name) as file, wave.open(file) as sound:
            n, width, rate = sound.getnframes(), sound.getsampwidth(), sound.getframerate()
            points = np.frombuffer(sound.readframes(n), {1: np.uint8, 2: np.int16, 4: np.int32}[width])
            points = points.reshape(-1, sound.getnchannels())[:, 0]
            return n / rate, points[:: max(1, len(points) // _MOST_SAMPLES)]
    except (wave.Error, EOFError, KeyError, ValueError, ZeroDivisionError):
        return None
