"""Pictures of data: a labelled grid, and what it is made of. matplotlib draws them."""

from __future__ import annotations

import contextlib
import copy
import io
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, MissingDependencyError, SpecError
from datastage.progress import counted, few
from datastage.show.lines import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from datastage.layouts import Reading, Tree

_MOST_CLASSES = 30
_MOST_SIZES = 2_000
_MOST_LABELS = 500
_COLUMNS = 8
_COLOURS = {"train": "#4a90d9", "val": "#8e7cc3", "test": "#e69f3c", "predict": "#8a9099"}


# Where a machine has one of these, names in other scripts are letters and no boxes.
_OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "SimHei", "Microsoft YaHei"),
    *("PingFang SC", "Hiragino Sans GB", "Yu Gothic", "Malgun Gothic", "AppleGothic", "Arial Unicode MS", "Noto Sans"),
)


@contextlib.contextmanager
def names_as_they_are() -> Iterator[None]:
    """Draw names letter by letter: dollars are no formula, and other scripts come from a font that has them."""
    try:
        import matplotlib
        from matplotlib import font_manager
    except ImportError as error:
        raise MissingDependencyError(
            "Pictures of data need matplotlib, and it is not installed here.",
            "Without it, datastage.read says in words what the data is.",
            "Next: %pip install matplotlib (in a terminal without %), then run the same line again.",
        ) from error
    there = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in there)]
    with matplotlib.rc_context({"font.family": fonts, "text.parse_math": False, "text.usetex": False}):
        yield


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure, so large in inches."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that a notebook shows, also where nobody has asked matplotlib to."""

        def _repr_png_(self) -> bytes:
            self.savefig(out := io.BytesIO(), format="png")
            return out.getvalue()

        def draw(self, renderer: Any) -> None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # a letter that no font has is a box, and no news
                super().draw(renderer)

    # Not pyplot's: a notebook shows a figure that is returned, and would show one of pyplot's a second time.
    return Picture(figsize=(width, height), layout="constrained")


@names_as_they_are()
def preview(loader: Any, n: int) -> Figure:
    """Draw samples of a loader with their labels: as they are, and as training gets them where that differs."""
    classes: Sequence[str] = getattr(getattr(loader, "dataset", None), "classes", None) or ()
    rows = [("as they are", list(_samples(loader, n)))]
    if getattr(loader, "augment", None) is not None or getattr(loader, "transform", None) is not None or not rows[0][1]:
        rows.append(("as training gets them", list(_batch(loader, n))))
    rows = [(title, samples) for title, samples in rows if samples]
    if not rows:
        raise SpecError("There is no sample to draw.", "Next: look whether the data is empty.")
    first = rows[0][1]
    if first[0][0].ndim < 2:
        width = min(_COLUMNS, max(1, first[0][0].size))
        cells = [[*map(_cell, x.ravel()[:width]), _label(y, classes)] for x, y in first]
        more = f", {width} of {first[0][0].size} columns" if first[0][0].size > width else ""
        return table([*map(str, range(width)), "label"], cells, f"Rows from all over the data{more}")
    return grid([(title, [(x, _label(y, classes)) for x, y in samples]) for title, samples in rows], len(rows) > 1)


@names_as_they_are()
def grid(rows: Sequence[tuple[str, Sequence[tuple[NDArray[Any], str]]]], titled: bool) -> Figure:
    """Draw pictures with what is to be said of each, in rows of eight."""
    heights = []
    for _, samples in rows:
        tall = statistics.median(x.shape[0] / x.shape[1] for x in (pixels(x) for x, _ in samples))
        heights.append(-(-len(samples) // _COLUMNS) * (1.3 * min(2.0, max(0.4, tall)) + 0.3) + 0.3 * titled)
    figure = canvas(_COLUMNS * 1.3, sum(heights))
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, samples) in zip(parts, rows):
        if titled:
            part.suptitle(title, fontsize=10)
        cells = part.subplots(-(-len(samples) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
        for cell in cells:
            cell.set_axis_off()
        for cell, (x, said) in zip(cells, samples, strict=False):
            cell.imshow(pixels(x), cmap="gray", interpolation="nearest" if max(x.shape) < 100 else "antialiased")
            cell.set_title(said if len(said) <= 20 else f"{said[:9]}...{said[-9:]}", fontsize=8)
    return figure


def is_of_pictures(loader: Any) -> bool:
    """Whether samples of a loader are pictures, and not rows of numbers."""
    return any(x.ndim > 1 for x, _ in _samples(loader, 1))


def _samples(loader: Any, n: int) -> Iterator[tuple[NDArray[Any], Any]]:
    """Give samples from all over a dataset, neither augmented nor normalised."""
    dataset: Any = getattr(loader, "dataset", None)
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        return
    try:
        all_over = spread(len(dataset), n)
    except TypeError:  # nobody knows yet how many there are
        return
    for i in all_over:
        try:
            sample = dataset[i]
        except IntegrityError:  # a damaged picture, which `summary` names
            continue
        x, y = _pair(sample)
        yield _array(x), y


def _batch(loader: Any, n: int) -> Iterator[tuple[NDArray[Any], Any]]:
    """Give the samples of a batch as training gets them, from a copy: the loader's own epoch is not begun."""
    try:
        copied = copy.deepcopy(loader)
    except Exception as error:  # whatever a generator or an open file says of it
        raise SpecError(
            "A look would use up what it is given: it can be iterated once, and not copied.",
            "Next: preview(list_of_samples), with a few of its samples.",
        ) from error
    batch = next(iter(copied), None)
    if batch is None:
        return
    x, y = _pair(batch)
    for i in range(min(n, len(x))):
        yield _array(x[i]), None if y is None else y[i]


def _pair(sample: Any) -> tuple[Any, Any]:
    """Return what is shown of a sample or a batch, and its label; of a mapping what is called so."""
    if isinstance(sample, Mapping):
        x = next((sample[key] for key in ("image", "img", "pixel_values", "x") if key in sample), None)
        y = next((sample[key] for key in ("label", "labels", "target", "y") if key in sample), None)
        return next(iter(sample.values())) if x is None else x, y
    return (sample[0], sample[1]) if isinstance(sample, tuple | list) and len(sample) > 1 else (sample, None)


def _array(value: Any) -> NDArray[Any]:
    import numpy as np

    return np.asarray(value.detach().cpu().float() if hasattr(value, "detach") else value)


def pixels(x: NDArray[Any]) -> NDArray[Any]:
    """Return a picture as matplotlib wants it: height, width and colours, from 0 to 1 unless it is of bytes."""
    import numpy as np

    if x.ndim == 3 and x.shape[0] in (1, 3, 4) and x.shape[-1] not in (1, 3, 4):
        x = np.moveaxis(x, 0, -1)
    x = x[..., 0] if x.ndim == 3 and x.shape[-1] not in (3, 4) else x
    if x.dtype == np.uint8:
        return x
    low, high = float(x.min()), float(x.max())
    if low >= 0 and high <= 1:
        return x
    return (x - low) / (high - low) if high > low else np.zeros_like(x)


def _label(y: Any, classes: Sequence[str]) -> str:
    if y is None:
        return ""
    value = y.tolist() if hasattr(y, "tolist") else y
    if isinstance(value, list):
        names = [name for name, on in zip(classes, value, strict=False) if on] if len(classes) == len(value) else []
        return ", ".join(names) or ", ".join(f"{number:g}" for number in value[:4])
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return classes[int(value)] if whole and 0 <= value < len(classes) else str(value)


@names_as_they_are()
def table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Figure:
    """Draw rows of texts."""
    widths = [max(map(len, column)) + 2 for column in zip(header, *rows)]
    figure = canvas(min(14, max(4, 0.09 * sum(widths))), 0.26 * (len(rows) + 1) + 0.4)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    shares = [width / sum(widths) for width in widths]
    whole: Any = (0, 0, 1, 1)  # matplotlib takes it, and its types do not say so
    drawn = axes.table([*map(list, rows)], colLabels=header, colWidths=shares, bbox=whole, cellLoc="left")
    drawn.auto_set_font_size(False)
    for (row, _), cell in drawn.get_celld().items():
        cell.set(edgecolor="0.8", facecolor="1.0" if row else "0.93")
        cell.get_text().set(fontsize=8, color="0.1")
    return figure


def _cell(value: Any) -> str:
    is_number = isinstance(value, float | int) or getattr(getattr(value, "dtype", None), "kind", "O") in "fiu"
    text = f"{value:.4g}" if is_number else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."


@names_as_they_are()
def summary(
    counts: Mapping[str, Mapping[str, int]],
    sizes: Sequence[tuple[int, int]],
    square: int,
    said: Sequence[str],
    of: str = "",
) -> Figure:
    """Draw how many samples each class has in each split, the sizes of the pictures, and what was left out."""
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    total = {name: sum(part.get(name, 0) for part in counts.values()) for name in names}
    shown = sorted(names, key=lambda name: -total[name])
    if len(shown) > _MOST_CLASSES:
        shown = [*shown[: _MOST_CLASSES // 2], *shown[-_MOST_CLASSES // 2 :]]
    figure = canvas(10 if sizes else 6, max(2.5, 0.22 * len(shown) + 1.2) + 0.2 * len(said))
    axes = figure.subplots(1, 2 if sizes else 1, squeeze=False, width_ratios=[3, 2] if sizes else [1])[0]
    _draw_counts(axes[0], counts, shown, total)
    few = f", the {len(shown)} largest and smallest shown" if len(shown) < len(names) else ""
    axes[0].set_title(f"{of or f'{len(names):,} class' + 'es' * (len(names) != 1)}{few}", fontsize=11)
    if sizes:
        _draw_sizes(axes[1], sizes, square)
    if said:
        figure.supxlabel("\n".join(said), fontsize=8, x=0.01, ha="left")
    return figure


def _draw_counts(
    axes: Any, counts: Mapping[str, Mapping[str, int]], shown: list[str], total: Mapping[str, int]
) -> None:
    left, places = [0] * len(shown), range(len(shown))
    for split, part in counts.items():
        values = [part.get(name, 0) for name in shown]
        axes.barh(places, values, left=left, label=f"{split} {sum(part.values()):,}", color=_COLOURS.get(split))
        left = [a + b for a, b in zip(left, values, strict=True)]
    for place, name in zip(places, shown):
        axes.text(total[name], place, f" {total[name]:,}", va="center", fontsize=8)
    axes.set_yticks(places, [name if len(name) <= 30 else f"{name[:14]}...{name[-13:]}" for name in shown], fontsize=8)
    axes.set_xticks([])  # the numbers stand at the bars
    axes.set_xlim(0, 1.12 * max(left, default=1) or 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if counts.keys() & _COLOURS.keys():
        axes.legend(fontsize=8, ncols=4, loc="upper left", bbox_to_anchor=(0, 0), frameon=False)


def _draw_sizes(axes: Any, sizes: Sequence[tuple[int, int]], square: int) -> None:
    axes.scatter([width for _, width in sizes], [height for height, _ in sizes], s=10, alpha=0.4)
    n, (height, width) = counted(len(sizes), "picture"), sizes[0]
    axes.set_title(f"Sizes of {n}" if len(set(sizes)) > 1 else f"{n} of {width} x {height} pixels", fontsize=11)
    axes.set(xlabel="width", ylabel="height", aspect="equal")
    axes.set_xlim(0, 1.1 * max(square, *(width for _, width in sizes)))
    axes.set_ylim(0, 1.1 * max(square, *(height for height, _ in sizes)))
    axes.tick_params(labelsize=8)
    axes.locator_params(nbins=5)
    axes.spines[["top", "right"]].set_visible(False)
    if square:
        axes.plot([0, square, square, 0, 0], [0, 0, square, square, 0], color="tab:red", label=f"{square} x {square}")
        axes.legend(fontsize=8, loc="upper left")


def counts_of(reading: Reading) -> dict[str, dict[str, int]]:
    """Return how many samples each class has in each split; of a part without classes only how many there are."""
    found = {}
    for split, part in reading.splits.items():
        counts = reading.counts(split)
        found[split] = counts or ({"(no label)": len(part)} if split == "predict" else {reading.task: len(part)})
    return {split: counts for split, counts in found.items() if sum(counts.values())}


def counts_of_loaders(loaders: Sequence[Any]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Return how many samples each class has, in the split of each loader; and what is to be said of the counts."""
    import numpy as np

    found, said = {}, []
    for loader in loaders:
        dataset = loader.dataset
        classes = getattr(dataset, "classes", None) or loader.classes
        targets, n = _targets(dataset)
        if targets is None:
            found[loader.name] = {"samples": n}
            continue
        if len(targets) < n:
            said.append(f"{loader.name}: the labels of {len(targets):,} of {n:,} samples, from all over the data")
        if classes and targets.dtype.kind in "iu" and targets.min(initial=0) >= 0:
            counts = np.bincount(targets, minlength=len(classes)).tolist()
            found[loader.name] = dict(zip([*map(str, classes), *map(str, range(len(classes), len(counts)))], counts))
        else:
            values, numbers = np.unique(targets, return_counts=True)
            few = len(values) <= max(_MOST_CLASSES, len(targets) // 10)
            found[loader.name] = dict(zip(map(str, values), numbers.tolist())) if few else {"samples": n}
    return found, said


def _targets(dataset: Any) -> tuple[NDArray[Any] | None, int]:
    """Return the labels of a dataset, as it names them or from samples all over it; and how many samples it has."""
    import numpy as np

    n = len(dataset) if hasattr(dataset, "__len__") else 0
    named = next((getattr(dataset, name) for name in ("targets", "labels") if hasattr(dataset, name)), None)
    if named is None and getattr(dataset, "tensors", None):
        named = dataset.tensors[-1]
    if named is None and hasattr(dataset, "__getitem__"):
        named = [_pair(dataset[i])[1] for i in spread(n, _MOST_LABELS)]
    if named is None:
        return None, n
    try:
        targets = np.asarray(named.cpu() if hasattr(named, "cpu") else named)
    except ValueError:  # of several shapes, as boxes are
        return None, n
    return (targets if targets.ndim == 1 and targets.dtype.kind in "iubUf" else None), n


def sizes_of_samples(loaders: Sequence[Any]) -> list[tuple[int, int]]:
    """Return height and width of samples of a dataset of the user's own."""
    shapes = [pixels(x).shape for loader in loaders for x, _ in _samples(loader, 100) if x.ndim in (2, 3)]
    return [(shape[0], shape[1]) for shape in shapes]


def sizes_of(reading: Reading, where: Any) -> tuple[list[tuple[int, int]], list[str]]:
    """Return height and width of pictures from all over the data, and the names of the unreadable."""
    from datastage.layouts import tree

    names = [name for part in reading.splits.values() for name in part.names] if reading.kind == "pictures" else []
    return sizes_of_files(tree.of(where), names) if names else ([], [])


def said_of(damaged: Sequence[str]) -> list[str]:
    """Return the line that names what cannot be read; none where all can."""
    return [f"Damaged   {few(damaged, 5)}"] if damaged else []


def sizes_of_files(listed: Tree, names: Sequence[str]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return height and width of pictures from all over them, by their heads, and the names of the unreadable."""
    try:
        from PIL import Image
    except ImportError:
        return [], []
    sizes, damaged = [], []
    for i in spread(len(names), _MOST_SIZES):
        try:
            with warnings.catch_warnings(), listed.open(names[i]) as file:
                warnings.simplefilter("ignore")  # of a large picture only the head is read
                with Image.open(file) as picture:
                    sizes.append((picture.height, picture.width))
        except Exception:  # Pillow raises whatever the bytes make it
            damaged.append(names[i])
    return sizes, damaged
