"""Class folders of images: what is in them, and which split a file belongs to.

Here: `walk` and `content`; `arrange` and `split`, which look at names only. Not here: decoding (`decode`), loaders
(`photos`).
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datastage.errors import SpecError, StorageError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TEST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Listed:
    """The images of a dataset, by split.

    Attributes
    ----------
    classes : tuple of str
        Class names in order; a label is a place in it.
    splits : dict of str to list of (name, label)
        Names are posix paths relative to the folder (or in the archive).
    left_out : int
        Images that lie in no class folder.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[str, int]]]
    left_out: int = 0


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, and not of what a Mac or Windows adds."""
    # By hand and not by pathlib, which takes half a second for 50,000 names.
    last = name.rpartition("/")[2]
    dot = last.rfind(".")
    return dot > 0 and last[dot:].lower() in SUFFIXES and last[0] != "." and "__MACOSX" not in name.split("/")


def walk(folder: Path) -> list[str]:
    """List the images under `folder`, links to folders not followed, as sorted posix paths relative to it.

    Raises
    ------
    StorageError
        If the folder cannot be read.
    """
    found: list[str] = []
    todo = [""]
    while todo:
        inside = todo.pop()
        try:
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.is_dir() and not entry.is_symlink():
                        todo.append(name)
                    elif is_image(name) and entry.is_file():
                        found.append(name)
        except OSError as error:
            raise StorageError.of(error, "listing the images") from error
    return sorted(found)


def content(path: str) -> bytes:
    """Return what a file holds, with fewer calls of the system than `open` makes: 50 of 100 us of a photo's reading.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        while len(data) < size and (more := os.read(fd, size - len(data))):  # a mount may give less than was asked
            data += more
        return data
    finally:
        os.close(fd)


def arrange(names: Iterable[str], where: str) -> Listed:
    """Tell classes and splits from the names of images.

    Parameters
    ----------
    names : iterable of str
        Posix paths, such as ``"train/cat/1.jpg"`` or ``"cat/1.jpg"``.
    where : str
        What they lie in, for errors.

    Raises
    ------
    SpecError
        If there are no images, or no class folders.
    """
    paths = [(name.split("/"), name) for name in names]
    if not paths:
        raise SpecError(
            f"There are no images in {where}.",
            f"Images end in {', '.join(sorted(SUFFIXES))}, and lie in a folder for each class.",
        )
    # One folder around everything, as most archives have it, says nothing; a class would have others beside it.
    skip = 0
    while (
        len({parts[skip] for parts, _ in paths}) == 1
        and all(len(parts) > skip + 2 for parts, _ in paths)
        and paths[0][0][skip].lower() not in SPLITS
    ):
        skip += 1
    splits: dict[str, list[tuple[str, str]]] = {}
    left_out = 0
    tops = {parts[skip].lower() for parts, _ in paths if len(parts) > skip + 1}
    by_split = any(SPLITS.get(top) == "train" for top in tops)
    for parts, name in paths:
        rest = parts[skip:]
        split = SPLITS.get(rest[0].lower()) if by_split else "train"
        rest = rest[1:] if by_split else rest
        if split is None or len(rest) < 2:  # beside the splits, or beside the class folders
            left_out += 1
            continue
        splits.setdefault(split, []).append((name, rest[0]))
    if "train" not in splits:
        raise SpecError(
            f"The images in {where} do not lie in class folders, so they have no labels.",
            "A folder for each class is needed: cats/1.jpg, dogs/2.jpg; or train/cats/1.jpg, test/cats/3.jpg.",
        )
    classes = tuple(sorted({label for _, label in splits["train"]}))
    number = {label: i for i, label in enumerate(classes)}
    for split, pairs in splits.items():
        strange = sorted({label for _, label in pairs} - set(classes))
        if strange:
            raise SpecError(
                f"{split} in {where} has a class that train has not: {strange[0]}.",
                f"Train has {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}.",
            )
    return Listed(
        classes,
        {split: [(name, number[label]) for name, label in pairs] for split, pairs in splits.items()},
        left_out,
    )


def set_aside(
    pairs: Sequence[tuple[str, int]], share: float, salt: str
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Part (kept, set aside) by a hash of each name: the same everywhere, and unmoved when files are added.

    Parameters
    ----------
    pairs : sequence of (name, label)
        The images. Only the last two parts of a name count, class and file.
    share : float or int
        A share, or a number of images.
    salt : str
        Makes the parts of ``"test"`` and ``"val"`` independent.

    Raises
    ------
    SpecError
        If `share` is neither, or would leave nothing.
    """
    from datastage.batches.arrays import how_many

    count = how_many(share, len(pairs), salt)
    places = [(_place(name, salt), name, label) for name, label in pairs]
    if isinstance(share, float):
        aside = {name for place, name, _ in places if place < share}
        # Of a few images chance may take none or all; then as many as were asked for, those of the smallest hashes.
        count = count or 1
        if not 0 < len(aside) < len(pairs):
            aside = {name for _, name, _ in sorted(places)[:count]}
    else:
        aside = {name for _, name, _ in sorted(places)[:count]}
    return [p for p in pairs if p[0] not in aside], [p for p in pairs if p[0] in aside]


def _place(name: str, salt: str) -> float:
    # macOS writes names in another form of Unicode than everybody else.
    short = unicodedata.normalize("NFC", "/".join(name.split("/")[-2:]))
    digest = hashlib.blake2b(f"{salt}:{short}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split(listed: Listed, *, val: float | None, test: float | None) -> tuple[Listed, str]:
    """Apply ``val=`` and ``test=``: (the splits, what to say of them).

    A split that has its own folder stays as it is; ``0`` leaves it out. Without a test folder and without ``test=``,
    10 % is set aside.
    """
    splits = dict(listed.splits)
    said = ""
    for name, share in (("test", TEST_SHARE if test is None else test), ("val", val)):
        if name in splits:
            if share == 0 and share is not None:
                del splits[name]
        elif share:
            splits["train"], splits[name] = set_aside(splits["train"], share, name)
            if name == "test" and test is None:
                said = (
                    f"Set aside {len(splits[name]):,} images as test by a hash of their names: no test folder is there "
                    "(test=0 sets none aside)"
                )
    return Listed(listed.classes, splits, listed.left_out), said
