"""Every dataset of the catalog, staged from a small copy of its layout: its classes, labels and parts are right."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

import datastage
from datastage import datasets
from datastage.entry import ArchiveEntry
from datastage.errors import SpecError
from tests.datasets.miniatures import MINIATURES, STEP

pytestmark = pytest.mark.usefixtures("here")
OF_FIXED_FILES = {"cifar10", "cifar100", "mnist", "fashion_mnist", "digits", "iris"}  # tested with their own readers
NEEDS = {"pcam": "h5py", "svhn": "scipy", "flowers102": "scipy"}


@pytest.fixture
def staged_as(monkeypatch, tmp_path):
    """Return a function that gives an entry's facts to the files of its miniature."""
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))

    def put(name):
        pytest.importorskip(NEEDS.get(name, "numpy"))
        mini, entry = MINIATURES[name](), datasets.get(name)
        parts = {part.name: part for part in entry.parts}
        if entry.places[0].startswith("kaggle:"):  # its one file comes from the competition, whatever it is called
            parts = dict.fromkeys(mini.parts, entry.parts[0])
        assert set(parts) == set(mini.parts), "the published files, by their names"
        made = []
        for file, body in mini.parts.items():
            path = tmp_path / "published" / file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            made.append(replace(parts[file], places=(str(path),), expect=digest, size=len(body)))
        n = {part: sum(counts.values()) for part, counts in mini.want.items()}
        n |= {part: len(rows) for part, rows in {**mini.table, **mini.several}.items()}
        first = made[0]
        datasets._entries[name] = replace(
            entry, places=first.places, expect=first.expect, size=first.size, file=first.name, more=tuple(made[1:]),
            splits={part: n[part] for part in entry.splits if part in n},
        )  # fmt: skip
        return mini

    return put


def test_every_dataset_of_the_catalog_has_a_miniature():
    few_files = {entry.name for entry in datasets.ENTRIES if isinstance(entry, ArchiveEntry)}
    assert few_files == set(MINIATURES)
    assert {entry.name for entry in datasets.ENTRIES} == few_files | OF_FIXED_FILES


def fed(name, *, test, dtype="uint8"):
    return datastage.loaders(
        name, batch_size=64, test=test, augment=None, shuffle=False, device="cpu", dtype=dtype, progress=False
    )


def batch(loader):
    (found,) = loader
    return found


@pytest.mark.parametrize("name", [*MINIATURES])
def test_what_is_read_of_a_dataset_of_the_catalog_is_right(name, staged_as):
    mini = staged_as(name)
    if not (mini.want or mini.table or mini.several):
        with pytest.raises(SpecError) as caught:
            fed(name, test=None)
        assert mini.refused in str(caught.value)
        assert "Next:" in str(caught.value)
        return
    wanted = {**mini.want, **mini.several, **mini.table}
    made = fed(name, test=None if "test" in wanted else 0, dtype="float32" if mini.table else "uint8")
    loaders = {part: loader for part in ("train", "val", "test") if (loader := getattr(made, part)) is not None}
    assert set(loaders) == set(wanted)
    for part, rows in {**mini.table, **mini.several}.items():
        assert batch(loaders[part])[1].tolist() == rows
    for part, counts in mini.want.items():
        x, y = batch(loaders[part])
        greys = x.reshape(len(x), -1).median(1).values.tolist()
        shown = [mini.names[round((grey - 12) / STEP)] for grey in greys]
        assert [made.classes[label] for label in y.tolist()] == shown
        assert Counter(shown) == counts


@pytest.mark.parametrize("asked", [["tench", "church"], ["n01440764", "n03028079"]])
def test_classes_of_folders_called_by_codes_are_chosen_by_name_or_by_code(asked, staged_as):
    staged_as("imagenette")
    found = datastage.read("imagenette", classes=asked, progress=False)
    every = datastage.read("imagenette", progress=False).counts()
    assert found.counts() == {name: every[name] for name in ("tench", "church")}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("california_housing", "regression"),
        ("diabetes", "regression"),
        ("chestmnist", "multi-label"),
        ("celeba", "multi-label"),
        ("wine", "classification"),
    ],
)
def test_what_is_learnt_from_a_dataset_of_the_catalog_is_said(name, task, staged_as):
    staged_as(name)
    assert datastage.read(name, progress=False).task == task
