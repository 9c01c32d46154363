"""Tell what a staged folder or file is by its layout, for data that has no entry.

Here: CIFAR and MNIST layouts, pictures in class folders, csv, npz. Not here: how each is read (its own file).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datastage.datasets import cifar, mnist, npz, pictures, tabular
from datastage.entry import Arrays


@dataclass(frozen=True, slots=True)
class Plain:
    """Data that was recognised.

    Attributes
    ----------
    splits : tuple of str
        Its splits.
    classes : callable
        Gives the names of the classes; none if the data names none. A table has to be read for it.
    read : callable
        Gives the arrays of a split.
    """

    splits: tuple[str, ...]
    classes: Callable[[], tuple[str, ...]]
    read: Callable[[str], Arrays]


def recognise(path: Path) -> Plain | None:
    """Tell what lies at `path`; None if it is nothing that can be read into arrays.

    Parameters
    ----------
    path : Path
        A staged folder or file. Only names are looked at.
    """
    if path.is_file():
        return _file(path)
    for entry in (cifar.CIFAR10, cifar.CIFAR100, mnist.MNIST, mnist.FASHION_MNIST):
        if all((path / file.path).is_file() for file in entry.files if not file.path.endswith("meta")):
            return Plain(tuple(entry.splits), partial(tuple, entry.classes), partial(entry.read, path))
    splits = pictures.splits_of(path)
    if splits:
        return Plain(
            tuple(splits), partial(pictures.classes_of, splits["train"]), partial(pictures.read_pictures, path)
        )
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    data = [file for file in files if file.suffix.lower() in (".csv", ".tsv", ".npz")]
    named = {file.stem.lower(): file for file in data}
    if "train" in named and named["train"].suffix.lower() != ".npz":
        parts: dict[str, Path] = {split: named[split] for split in ("train", "val", "test") if split in named}
        return _tables(parts)
    return _file(data[0]) if len(data) == 1 else None


def _file(path: Path) -> Plain | None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return Plain(npz.splits_of(path), tuple, partial(npz.read_npz, path))
    if suffix in (".csv", ".tsv"):
        return _tables({"train": path})
    return None


def _tables(parts: dict[str, Path]) -> Plain:
    def classes() -> tuple[str, ...]:
        return tabular.read_table(parts["train"])[1]

    def read(split: str) -> Arrays:
        # The words of the training table, so that a class that a test table lacks does not shift the numbers.
        known = classes() if split != "train" else ()
        return tabular.read_table(parts[split], known)[0]

    return Plain(tuple(parts), classes, read)
