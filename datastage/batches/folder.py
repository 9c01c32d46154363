"""Class folders of images: what is in them, and which split a file belongs to.

Here: `walk` and `content`; `arrange` and `split`, which look at names only. Not here: decoding (`decode`), loaders
(`photos`).
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datastage.errors import SpecError, StorageError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
TEST_SHARE = 0.1
UNREAD = "Next: see whether it is still there and may be read, and run the same line again."


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
    """List the images under `folder`, links followed but not in circles, as sorted posix paths relative to it.

    Raises
    ------
    StorageError
        If the folder cannot be read.
    """
    found: list[str] = []
    todo = [""]
    seen = set()
    while todo:
        inside = todo.pop()
        try:
            stat = os.stat(folder / inside)
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.is_dir():
                        todo.append(name)
                    elif is_image(name) and entry.is_file():
                        found.append(name)
        except OSError as error:
            raise StorageError.of(error, "listing the images", UNREAD) from error
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
    skip = _wrapping([parts for parts, _ in paths])
    tops = {parts[skip].lower() for parts, _ in paths if len(parts) > skip + 1}
    # A class may be called train, as one of vehicles is: then images lie in it and no folders.
    by_split = any(len(parts) > skip + 2 and split_of(parts[skip]) == "train" for parts, _ in paths)
    splits: dict[str, list[tuple[str, str]]] = {}
    left_out = 0
    for parts, name in paths:
        rest = parts[skip:]
        split = split_of(rest[0]) if rest and by_split else "train"
        if by_split:
            # Kaggle unpacks training_set.zip into training_set/training_set.
            rest = rest[2:] if len(rest) > 3 and rest[0].lower() == rest[1].lower() else rest[1:]
        if split is None or len(rest) < 2:  # beside the splits, or beside the class folders
            left_out += 1
            continue
        splits.setdefault(split, []).append((name, rest[0]))
    if "train" not in splits:
        raise SpecError(
            f"The images in {where} do not lie in class folders, so they have no labels.",
            "A folder for each class is needed: cats/1.jpg, dogs/2.jpg; or train/cats/1.jpg, test/cats/3.jpg.",
        )
    if not by_split and len(tops) > 1 and all(map(split_of, tops)):
        raise SpecError(
            f"{where} has {', '.join(sorted(tops))}, but no folder train.",
            "Next: name the folder of the training images train; it holds a folder for each class.",
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


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name holds, ``train``, ``val`` or ``test``; None if it says none."""
    return SPLITS.get(re.sub("[-_ ]?(set|images|data)$", "", name.lower()))


def _wrapping(paths: Sequence[Sequence[str]]) -> int:
    """Return how many folders lie around everything, as most archives have one, which says nothing.

    A class would have others beside it. Few images that lie beside the class folders, a logo, do not make it a class.
    """
    skip = 0
    while True:
        inside = [parts for parts in paths if len(parts) > skip + 1]
        deeper = sum(len(parts) > skip + 2 for parts in inside)
        if len({parts[skip] for parts in inside}) != 1 or 2 * deeper <= len(paths) or split_of(inside[0][skip]):
            return skip
        skip += 1


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

    if len(pairs) < 2:
        raise SpecError(
            f"There is only {len(pairs)} training image: {salt} cannot be set aside from it.",
            f"Next: {salt}=0, which sets none aside.",
        )
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
