"""What may go under a root: what killed runs left, and datasets that were not asked for in a long time."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datastage import slots, staged, store
from datastage.errors import DatastageError, LockTimeoutError, SpecError, StorageError, while_doing
from datastage.lock import is_held, locked
from datastage.own_files import bytes_in, may_be_written, remove_tree, unlink
from datastage.progress import bytes_of, few
from datastage.runtime import Runtime
from datastage.slots import Slot


@dataclass(frozen=True, slots=True)
class Removable:
    """Something under a root that `clean` would remove, or names."""

    path: Path
    n_bytes: int
    why: str
    used: float = 0.0
    stays: bool = False


@dataclass(slots=True)
class _Dataset:
    slot: Slot
    receipt: Mapping[str, Any]
    used: float
    pixels: list[tuple[Path, int]] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        own = 0 if self.receipt.get("in_place") else int(self.receipt.get("n_bytes", 0))
        return own + sum(n_bytes for _, n_bytes in self.pixels)


_ENDING = re.compile(r"(?P<name>.+)\.(?P<what>partial|fetch|old|repair|mark|lock|locked|locked~[0-9a-f]+|pixels)$")


@while_doing("looking at the datasets")
def clean(
    root: Path | None,
    here: Runtime,
    *,
    names: Sequence[str],
    older_than: str | float | None,
    budget: str | int | None,
    dry_run: bool,
) -> tuple[Removable, ...]:
    """Remove what may go under a root. See `datastage.clean`, which this is."""
    age = None if older_than is None else _seconds(older_than)
    most = None if budget is None else bytes_of(budget)
    folder = (root or here.root_setting or slots.fast_root(here.fast_disk, shared=here.fast_disk_shared)).expanduser()
    folder = Path(os.path.abspath(here.cwd / folder))
    found = removable(folder, names=names, older_than_s=age, budget_bytes=most, now=time.time())
    if dry_run:
        return tuple(found)
    went, failed = [], []
    for item in found:
        try:
            if item.stays or remove(folder, item):
                went.append(item)
        except StorageError as error:  # one that cannot be removed ends no run over the others
            failed.append(error)
    if failed:
        raise failed[0]
    return tuple(went)


def _seconds(text: str | float) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dhm]?)\s*", str(text).lower())
    if match is None:
        raise SpecError(f"{text!r} is not a length of time.", "Next: for example 30d, 12h or 45m.")
    return float(match[1]) * {"": 86400, "d": 86400, "h": 3600, "m": 60}[match[2]]


def removable(
    root: Path,
    *,
    names: Iterable[str] = (),
    older_than_s: float | None = None,
    budget_bytes: int | None = None,
    now: float,
) -> list[Removable]:
    """List what could go under `root`: what killed runs left, `names`, what is old or over budget, and not in use."""
    names, shards = list(dict.fromkeys(names)), _shards(root)
    datasets = _datasets(root, [name for name in names if name not in shards])
    found = list(_left_by_the_killed(root, datasets))
    for name in names:
        found += _goes(shards.pop(name) if name in shards else datasets.pop(name), "named", by_name=True)
    if older_than_s is None and budget_bytes is None:
        return found
    proven: list[_Dataset | Removable] = [one for one in datasets.values() if slots.is_proven(one.slot, one.receipt)]
    proven += shards.values()
    total = sum(one.n_bytes for one in proven)
    for one in sorted(proven, key=lambda one: one.used):
        if _cache().is_used(one.path) if isinstance(one, Removable) else is_held(one.slot.lock):
            continue
        if older_than_s is not None and now - one.used > older_than_s:
            found += _goes(one, f"not used for {(now - one.used) / 86400:.0f} days")
        elif budget_bytes is not None and total > budget_bytes:
            found += _goes(one, "over the budget, and not used for longest")
        else:
            continue
        total -= 0 if found[-1].stays else one.n_bytes
    return found


def _datasets(root: Path, names: list[str]) -> dict[str, _Dataset]:
    """Return the datasets under a root that this user staged, by name."""
    datasets: dict[str, _Dataset] = {}
    found: list[str] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as entries:
        found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in found:
        receipt = staged.receipt_of(root / name)
        if receipt is not None:
            with contextlib.suppress(OSError):
                used = os.lstat(root / name / staged.RECEIPT).st_mtime
                datasets[name] = _Dataset(slots.slot_of(root, name), receipt, used)
    for name in names:
        if name not in datasets:
            what = "is not there" if not os.path.lexists(root / name) else "was not staged there by this user"
            raise SpecError(f"{root / name} {what}, and is not touched.", f"Next: ls {shlex.quote(str(root))}")
    return datasets


def _shards(root: Path) -> dict[str, Removable]:
    """Return the folders of shards that were brought to be trained on, by name; all of it can be brought again."""
    own = slots.own_folder_of(root)
    folders = sorted(own.glob("*.shards")) if slots.is_marked(own) else []
    return {
        path.name: Removable(path, bytes_in(path), "shards that were brought", _cache().last_used(path))
        for path in folders
        if path.is_dir() and not path.is_symlink()
    }


def _cache() -> Any:
    from datastage.shards import cache  # what fetches shards is imported where there are some

    return cache


def _left_by_the_killed(root: Path, datasets: dict[str, _Dataset]) -> Iterator[Removable]:
    """Give what lies in our own folder and belongs to no dataset; note with each dataset the photos kept of it."""
    own = slots.own_folder_of(root)
    if not slots.is_marked(own):
        return
    whose = {slots.pixels_name(path): one for one in datasets.values() for path in _paths_of(one)}
    for name in sorted(os.listdir(own)):
        match = _ENDING.match(name)
        if match is None or name == slots.OWNER or may_be_written(own / name):
            continue
        path, what = own / name, match["what"]
        if what == "pixels" and name in whose:
            whose[name].pixels.append((path, bytes_in(path)))
            continue
        slot = Slot(root, match["name"], own)
        is_left = what != "mark" if os.path.lexists(slot.final) else what != "old"
        if what == "mark" and os.path.lexists(slot.old):
            continue  # it goes with the only copy of a folder that was being replaced
        if not is_left or _is_in_use(path, slot) or not os.path.lexists(path):
            continue
        why = "photos of a dataset that is gone" if what == "pixels" else "unfinished"
        yield Removable(path, bytes_in(path), why)


def _is_in_use(path: Path, slot: Slot) -> bool:
    if not path.name.endswith(".pixels"):
        return is_held(slot.lock)
    locks = [path / name for name in os.listdir(path) if name.endswith(".lock")] if path.is_dir() else []
    return any(is_held(lock) for lock in locks)


def _paths_of(one: _Dataset) -> Iterator[Path]:
    """Give the paths under which a dataset's content may have been named to `loaders`."""
    yield one.slot.final
    if single := one.receipt.get("single"):
        yield one.slot.final / single
    if folder := one.receipt.get("folder"):
        yield Path(folder)


def _goes(one: _Dataset | Removable, why: str, *, by_name: bool = False) -> list[Removable]:
    if isinstance(one, Removable):
        return [replace(one, why=f"{one.why}: {why}")]
    path = one.slot.final
    extra: tuple[str, ...] = ()
    if not by_name:
        try:
            extra = staged.extra_files(path, staged.read_files(path, one.receipt))
        except (DatastageError, OSError):
            extra = ("files that cannot be compared with its list",)
        if os.path.lexists(one.slot.old):
            extra = ("what a stopped run left",)
    if extra:
        why = f"{why}; stays, since it holds what was not staged: {few(extra, 3)}"
        return [Removable(path, 0, why, one.used, True)]
    photos = [Removable(folder, n_bytes, "photos of a dataset that goes") for folder, n_bytes in one.pixels]
    return [*photos, Removable(path, bytes_in(path), why, one.used)]


def remove(root: Path, item: Removable) -> bool:
    """Remove what `removable` listed, under the lock of its name: hidden first, so that no half of it is ever seen."""
    if item.stays:
        return False
    own = slots.own_folder_of(root)
    if item.path.parent == own and item.path.suffix == ".shards" and slots.is_marked(own):
        with while_doing(f"removing {item.path.name}"):
            return bool(_cache().remove(item.path))
    is_dataset = item.path.parent == root
    match = None if is_dataset else _ENDING.match(item.path.name)
    if not is_dataset and (match is None or item.path.parent != own or not slots.is_marked(own)):
        return False
    slot = Slot(root, item.path.name if match is None else match["name"], slots.make_own_folder(root))
    if not is_dataset and _is_in_use(item.path, slot):
        return False
    try:
        with (
            while_doing(f"removing {item.path.name}"),
            contextlib.suppress(FileNotFoundError),
            locked(slot.lock, timeout_s=0),
        ):
            if is_dataset:
                return _remove_dataset(slot, item)
            if item.path == slot.old:
                store.recover(slot)  # it may hold what was added to the folder
            elif item.path != slot.lock:
                remove_tree(item.path)
    except LockTimeoutError:
        return False
    finally:
        slots.leave_no_empty_folder(slot.own)
    return True


def _remove_dataset(slot: Slot, item: Removable) -> bool:
    receipt = staged.receipt_of(slot.final)
    if receipt is None or os.lstat(slot.final / staged.RECEIPT).st_mtime != item.used:
        return False
    for leftover in (slot.old, slot.partial):
        remove_tree(leftover)
    os.rename(slot.final, slot.partial)
    remove_tree(slot.partial)
    unlink(slot.mark)
    return True
