"""Which samples are set aside to test on: drawn class by class, by a hash of each name, and so the same everywhere."""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datastage.errors import SpecError
from datastage.layouts.reading import Label, Reading, Split, ordered
from datastage.progress import some

TEST_SHARE = 0.1


def parted(reading: Reading, *, val: float | None = None, test: float | None = None) -> tuple[Reading, list[str]]:
    """Apply ``val=`` and ``test=``: the reading with its parts, and lines to say of them.

    A part that the data has stays as it is; ``0`` leaves it out. Without a test part and without ``test=``, 10 % is set
    aside. Parts without labels (``predict``) are never a test part.
    """
    splits = dict(reading.splits)
    said: list[str] = []
    for name, share in (("test", TEST_SHARE if test is None else test), ("val", val)):
        if isinstance(share, str):
            continue
        if name in splits:
            if share == 0:
                del splits[name]
        elif share and "train" in splits:
            splits["train"], splits[name], small = set_aside(splits["train"], share, name, reading.classes)
            if name == "test" and test is None:
                what = "images" if reading.kind == "pictures" else "samples"
                said.append(
                    f"Set aside {len(splits[name]):,} {what} as test, the same ones each time: there is no test folder "
                    "(test=0 sets none aside)"
                )
            if small:
                said.append(f"Too few   to part: of {some(small)} no picture is in {name}")
    return replace(reading, splits=ordered(splits)), said


def check_share(name: str, value: Any) -> None:
    """Refuse what ``val=`` or ``test=`` can be of no data; a text names a folder."""
    most = 1 if isinstance(value, float) else math.inf
    if isinstance(value, str) or value is None or value is False:
        return
    if value is True or not isinstance(value, int | float) or not 0 <= value < most:
        raise SpecError(
            f"{name}={value!r} is no share and no number of samples.",
            f"Next: a share such as {name}=0.1, or a whole number of samples; {name}=0 leaves that part out.",
        )


def how_many(value: float | str | None, n: int, name: str) -> int:
    """Turn a share (0.1) or a number (5000) into a number of `n` samples."""
    if value is None:
        return 0
    share = isinstance(value, float) and 0 < value < 1
    count: Any = max(1, round(float(value) * n)) if share else value  # of a few samples a small share is one
    if not isinstance(count, int) or not 0 <= count < n:
        raise SpecError(
            f"{name}={value!r} cannot be set aside of {n:,} images.",
            f"Next: a share such as {name}=0.1, or a number below {n:,}.",
        )
    return count


def set_aside(split: Split, share: float, salt: str, classes: Sequence[str]) -> tuple[Split, Split, list[str]]:
    """Part a split: (kept, set aside, classes that are too small to be parted)."""
    if len(split) < 2:
        raise SpecError(
            f"There is only {len(split)} training image: {salt} cannot be set aside from it.",
            f"Next: {salt}=0, which sets none aside.",
        )
    count = how_many(share, len(split), salt)
    groups: dict[Label, list[tuple[float, int]]] = {}
    names, labels = split.names, split.labels
    around = _around(names)
    for at, name in enumerate(names):
        group = labels[at] if classes and labels is not None and isinstance(labels[at], int) else 0
        groups.setdefault(group, []).append((place(name[around:], salt), at))
    aside: set[int] = set()
    wanted = _shared_out({group: len(members) for group, members in groups.items()}, count)
    for group, members in groups.items():
        members.sort()
        aside.update(at for _, at in members[: wanted[group]])
    small = [classes[group] for group in sorted(groups) if not wanted[group]] if classes else []  # type: ignore[index,type-var]
    kept = [at for at in range(len(names)) if at not in aside]
    return split.rows(kept), replace(split.rows(sorted(aside)), seen=""), small


def _shared_out(sizes: dict[Label, int], count: int) -> dict[Label, int]:
    """Share a number out over classes by their sizes, to the largest remainders; one sample of each class stays."""
    total = sum(sizes.values())
    exact = {group: count * n / total for group, n in sizes.items()}
    shares = {group: min(int(exact[group]), sizes[group] - 1) for group in sizes}
    most = sorted(sizes, key=lambda group: (int(exact[group]) - exact[group], -sizes[group]))
    while left := count - sum(shares.values()):
        room = [group for group in most if shares[group] < sizes[group] - 1]
        for group in (room or [group for group in most if shares[group] < sizes[group]])[:left]:
            shares[group] += 1
    return shares


def _around(names: Sequence[str]) -> int:
    """Return how long the folders around all names are: a zip has one more than the folder that it was made of."""
    above = os.path.commonprefix([one.split("/")[:-1] for one in (min(names, default=""), max(names, default=""))])
    return sum(len(folder) + 1 for folder in above)


def place(name: str, salt: str) -> float:
    """Return where from 0 to 1 a name falls, the same everywhere."""
    short = "/".join(name.split("/")[-2:])
    if not short.isascii():  # macOS writes names in another form of Unicode than everybody else
        short = unicodedata.normalize("NFC", short)
    digest = hashlib.blake2b(f"{salt}:{short}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
