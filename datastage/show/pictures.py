"""Pictures of data: a labelled grid, and what it is made of. matplotlib draws them."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datastage.errors import IntegrityError, MissingDependencyError, SpecError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from datastage.layouts import Reading

_MOST_CLASSES = 30
_MOST_SIZES = 2_000
_MOST_LABELS = 500
_COLUMNS = 8


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "Pictures of data need matplotlib, and it is not installed here.",
            "Install it (pip install matplotlib), then run the same line again.",
            "Next: print(datastage.read(data)) says the same in words.",
        ) from error

    class Picture(Figure):
        """A figure that a notebook shows, also where nobody has asked matplotlib to."""

        def _repr_png_(self) -> bytes:
            self.savefig(out := io.BytesIO(), format="png")
            return out.getvalue()

    # Not pyplot's: a notebook shows a figure that is returned, and would show one of pyplot's a second time.
    return Picture(figsize=(width, height), layout="constrained")


def preview(loader: Any, n: int) -> Figure:
    """Draw samples of a loader with their labels: as they are, and as training gets them where that differs."""
    classes: Sequence[str] = getattr(getattr(loader, "dataset", None), "classes", None) or ()
    rows = [("as they are", list(_samples(loader, n)))]
    if getattr(loader, "augment", None) is not None or getattr(loader, "transform", None) is not None or not rows[0][1]:
        rows.append(("as training gets them", list(_batch(loader, n))))
    rows = [(title, samples) for title, samples in rows if samples]
    if not rows:
        raise SpecError("There is no sample to draw.", "Next: look whether the data is empty.")
    if rows[0][1][0][0].ndim < 2:
        return _table(rows[0][1], classes)
    lines = [-(-len(samples) // _COLUMNS) for _, samples in rows]
    figure = _figure(_COLUMNS * 1.3, sum(lines) * 1.6 + 0.4 * len(rows))
    for part, (title, samples) in zip(figure.subfigures(len(rows), 1, height_ratios=lines, squeeze=False)[:, 0], rows):
        if len(rows) > 1:
            part.suptitle(title, fontsize=10)
        cells = part.subplots(-(-len(samples) // _COLUMNS), _COLUMNS, squeeze=False).ravel()
        for cell in cells:
            cell.set_axis_off()
        for cell, (x, y) in zip(cells, samples, strict=False):
            cell.imshow(_pixels(x), cmap="gray", interpolation="nearest" if max(x.shape) < 100 else "antialiased")
            cell.set_title(_label(y, classes), fontsize=8, wrap=True)
    return figure


def _samples(loader: Any, n: int) -> Iterator[tuple[NDArray[Any], Any]]:
    """Give samples from all over a dataset, neither augmented nor normalised."""
    import numpy as np

    dataset: Any = getattr(loader, "dataset", None)
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        return
    for i in dict.fromkeys(np.linspace(0, len(dataset) - 1, min(n, len(dataset))).astype(int).tolist()):
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


def _pixels(x: NDArray[Any]) -> NDArray[Any]:
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


def _table(samples: Sequence[tuple[NDArray[Any], Any]], classes: Sequence[str]) -> Figure:
    """Draw the first rows of a table of numbers."""
    width = min(_COLUMNS, max(1, samples[0][0].size))
    figure = _figure(1.1 * (width + 1), 0.3 * (len(samples) + 2))
    cells = [[*map(_cell, x.ravel()[:width]), _label(y, classes)] for x, y in samples]
    more = [f"... {samples[0][0].size} columns"] if samples[0][0].size > width else []
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title("The first rows" + "".join(f" ({text})" for text in more), fontsize=10)
    axes.table(cells, colLabels=[*map(str, range(width)), "label"], loc="center")
    return figure


def _cell(value: Any) -> str:
    text = (
        f"{value:.4g}"
        if isinstance(value, float | int) or hasattr(value, "dtype") and value.dtype.kind in "fiu"
        else str(value)
    )
    return text if len(text) <= 24 else f"{text[:21]}..."


def summary(
    counts: Mapping[str, Mapping[str, int]], sizes: Sequence[tuple[int, int]], square: int, said: Sequence[str]
) -> Figure:
    """Draw how many samples each class has in each split, the sizes of the pictures, and what was left out."""
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    total = {name: sum(part.get(name, 0) for part in counts.values()) for name in names}
    shown = sorted(names, key=lambda name: -total[name])
    if len(shown) > _MOST_CLASSES:
        shown = [*shown[: _MOST_CLASSES // 2], *shown[-_MOST_CLASSES // 2 :]]
    figure = _figure(10 if sizes else 6, max(2.5, 0.22 * len(shown) + 1.2) + 0.2 * len(said))
    axes = figure.subplots(1, 2 if sizes else 1, squeeze=False)[0]
    left = [0] * len(shown)
    for split, part in counts.items():
        values = [part.get(name, 0) for name in shown]
        axes[0].barh(shown, values, left=left, label=f"{split} {sum(part.values()):,}")
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes[0].invert_yaxis()
    axes[0].set_title(f"{len(names)} classes" + (f", {len(shown)} shown" if len(shown) < len(names) else ""))
    axes[0].tick_params(axis="y", labelsize=8)
    if counts:
        axes[0].legend(fontsize=8)
    if sizes:
        axes[1].scatter([width for _, width in sizes], [height for height, _ in sizes], s=8, alpha=0.4)
        axes[1].set(xlabel="width", ylabel="height", title=f"Sizes of {len(sizes):,} pictures", aspect="equal")
        if square:
            corners = [0, square, square, 0, 0], [0, 0, square, square, 0]
            axes[1].plot(*corners, color="tab:red", label=f"{square} x {square}")
            axes[1].legend(fontsize=8)
    if said:
        figure.supxlabel("\n".join(said), fontsize=8, x=0.01, ha="left")
    return figure


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
        looked = dict.fromkeys(np.linspace(0, n - 1, min(n, _MOST_LABELS)).astype(int).tolist())
        named = [_pair(dataset[i])[1] for i in looked]
    if named is None:
        return None, n
    try:
        targets = np.asarray(named.cpu() if hasattr(named, "cpu") else named)
    except ValueError:  # of several shapes, as boxes are
        return None, n
    return (targets if targets.ndim == 1 and targets.dtype.kind in "iubUf" else None), n


def sizes_of_samples(loaders: Sequence[Any]) -> list[tuple[int, int]]:
    """Return height and width of samples of a dataset of the user's own."""
    shapes = [_pixels(x).shape for loader in loaders for x, _ in _samples(loader, 100) if x.ndim in (2, 3)]
    return [(shape[0], shape[1]) for shape in shapes]


def sizes_of(reading: Reading, where: Any) -> tuple[list[tuple[int, int]], list[str]]:
    """Return height and width of pictures from all over the data, by their heads; and the names that cannot be read."""
    import numpy as np

    from datastage.layouts import tree

    names = [name for part in reading.splits.values() for name in part.names] if reading.kind == "pictures" else []
    if not names:
        return [], []
    try:
        from PIL import Image
    except ImportError:
        return [], []
    listed, sizes, damaged = tree.of(where), [], []
    for i in np.linspace(0, len(names) - 1, min(len(names), _MOST_SIZES)).astype(int).tolist():
        try:
            with listed.open(names[i]) as file, Image.open(file) as picture:
                sizes.append((picture.height, picture.width))
        except Exception:  # Pillow raises whatever the bytes make it
            damaged.append(names[i])
    return sizes, damaged
