"""Shards on this machine: read where they lie, or brought whole into a folder that keeps to a budget.

One folder serves all processes of a machine: each shard is brought once, under a lock, by the one transfer, and checked
where its digest is known. Whoever reads a shard holds a shared lock on its file; the oldest go first, and never one
that is held. Threads bring what will be wanted next, while there is room for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastage import runtime, sources, transfer
from datastage.errors import IntegrityError, NoSpaceError, StorageError, UnavailableError, while_doing
from datastage.lock import locked
from datastage.own_files import NO_LINK, no_link, opened, remove_tree
from datastage.progress import human_bytes
from datastage.reader import Reader
from datastage.runtime import Runtime
from datastage.shards.listing import Shard
from datastage.shards.members import ShardFile

_TICK_S = 0.05
_THREADS = 2
"""So that one comes while the last bytes of another are waited for."""
SHARE_OF_DISK = 0.5
"""Without a budget so much of what is free is used."""


class Stop(Exception):
    """Nobody wants the shard any more."""


@dataclass(eq=False)
class ShardCache:
    """The shards of one dataset on this machine, in `folder`, where they may take `budget` bytes."""

    folder: Path
    budget: int
    here: Runtime
    identities: dict[str, str] = field(default_factory=dict)  # of the shards that this session has read, as they were

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._process = os.getpid()
        self._n_threads = 0
        self._needed: dict[str, Shard] = {}  # somebody waits for these
        self._wanted: dict[str, Shard] = {}  # these come next
        self._bringing: set[str] = set()
        self._coming: dict[str, int] = {}  # their bytes, for which room was made
        self._ready: dict[str, ShardFile] = {}  # brought, and held until they are opened
        self._failed: dict[str, Exception] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardCache, (self.folder, self.budget, self.here, self.identities)

    def open(self, shard: Shard, stop: threading.Event | None = None) -> ShardFile:
        """Return a shard, open and held, brought first if it is not here; raises `Stop` once `stop` is set."""
        if shard.path is not None:
            return ShardFile(shard.path, shard.name)
        key = self._key(shard)
        with self._own():
            self._failed.clear()  # what had no room, or a broken line, may go now
            try:
                while key not in self._ready and key not in self._failed:
                    if stop is not None and stop.is_set():
                        raise Stop
                    self._needed[key] = shard  # again and again: another loader may have waited for it too
                    self._start()
                    self._changed.wait(_TICK_S)
            finally:
                self._needed.pop(key, None)
            self._start()  # what comes next was held back
            if key in self._ready:
                return self._ready.pop(key)
            raise self._failed.pop(key)

    def ahead(self, shards: Sequence[Shard]) -> None:
        """Bring these next, in this order, and no others; returns at once."""
        with self._own():
            self._wanted = {self._key(shard): shard for shard in shards if shard.path is None}
            self._failed.clear()
            self._close(self._ready.keys() - self._wanted.keys() - self._needed.keys())
            self._start()

    def _own(self) -> threading.Condition:
        """Return the lock of this process: threads, and what they are at, do not come along with a fork."""
        if self._process != os.getpid():
            self.__post_init__()
        return self._changed

    def _start(self) -> None:
        """Have threads bring what is to come; each ends when it finds nothing more."""
        while self._n_threads < _THREADS and self._next() is not None:
            self._n_threads += 1
            threading.Thread(target=self._work, name="datastage-shards", daemon=True).start()

    def _next(self) -> tuple[str, Shard, bool] | None:
        """Choose what to bring: what somebody waits for, and while that comes nothing else."""
        busy, is_needed = self._bringing | self._ready.keys() | self._failed.keys(), bool(self._needed)
        left = (item for item in (self._needed or self._wanted).items() if item[0] not in busy)
        return next(((key, shard, is_needed) for key, shard in left), None)

    def _work(self) -> None:
        while True:
            with self._changed:
                task = self._next()
                if task is None:
                    self._n_threads -= 1
                    return
                key, shard, needed = task
                self._bringing.add(key)
            try:
                made: ShardFile | Exception = self._bring(shard, needed=needed)
            except Exception as error:
                made = error
            with self._changed:
                self._bringing.discard(key)
                if isinstance(made, ShardFile):
                    self._ready[key] = made
                elif needed or key not in self._needed:  # else somebody waits by now, for whom more room is made
                    self._failed[key] = made  # of one that nobody waits for yet it is said to whoever will
                self._changed.notify_all()

    # --- one shard

    def _key(self, shard: Shard) -> str:
        text = shard.sha256 or sources.key_of(shard.spec, self.here.cwd)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _bring(self, shard: Shard, *, needed: bool) -> ShardFile:
        target = self.folder / f"{self._key(shard)}.tar"
        if shard.sha256 is not None and (held := _held(target, shard)) is not None:
            return held
        with while_doing("making the folder of the shards"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / f".{target.name}.lock"):
            held = _held(target, shard) if shard.sha256 is not None else None
            return held or self._fetched(shard, target, needed=needed)

    def _fetched(self, shard: Shard, target: Path, *, needed: bool) -> ShardFile:
        """Fetch a shard unless what is here is what lies there now; asked once a session."""
        mark, key = target.with_suffix(".identity"), self._key(shard)
        before = self.identities.get(key)
        if before is not None and _read(mark) == before and (held := _held(target, shard)) is not None:
            return held
        try:
            found = sources.open_spec(shard.spec, self.here, has_hash=shard.sha256 is not None)
        except UnavailableError:
            # A node without internet goes on with what is here: it came whole.
            if before is None and _read(mark) and (held := _held(target, shard)) is not None:
                return held
            raise
        content = found.reader
        try:
            identity = f"{content.identity}|{content.size}"
            if shard.sha256 is None and before not in (None, identity):
                raise IntegrityError(
                    f"{shard.name} changed at its place while it was being trained on: its samples may be others now.",
                    "Next: make the loaders anew, which begins with the shards as they are now.",
                )
            held = _held(target, shard) if _read(mark) == identity else None
            if held is None:
                _forget(target)
                self._make_room(key, content.size or shard.size or 0, needed=needed)
                expect = {"sha256": shard.sha256} if shard.sha256 else dict(found.digests)
                self._fetch(content, target, expect)
                with open(mark, "wb", opener=no_link) as out:
                    out.write(identity.encode())
                held = _held(target, shard)
        finally:
            content.close()
            with self._changed:
                self._coming.pop(key, None)
        self.identities[key] = identity
        if held is None:
            raise StorageError(
                f"{shard.name} has another length than its index says, or went away as soon as it had come.",
                "Next: pack the index anew, or run the same line again.",
            )
        return held

    def _fetch(self, content: Reader, target: Path, expect: dict[str, str]) -> None:
        while True:
            try:
                transfer.fetch(content, target, expect=expect)
                return
            except NoSpaceError:
                if not self._remove_oldest():
                    raise

    # --- the budget

    def _used(self) -> int:
        """Return the bytes that are here, or coming, in this process and in others."""
        used = sum(n for _, n, _ in files_in(self.folder)) + sum(self._coming.values())
        for path in self.folder.glob("*.tar.part"):
            with contextlib.suppress(OSError):
                used += path.stat().st_size if path.name.partition(".")[0] not in self._coming else 0
        return used

    def _make_room(self, key: str, size: int, *, needed: bool) -> None:
        while True:
            with self._changed:
                if (used := self._used()) + size <= self.budget:
                    self._coming[key] = size
                    return
            if self._remove_oldest() or (needed and self._let_go()):
                continue
            gb = 1.1 * (used + size) / 1e9
            raise NoSpaceError(
                f"The shards that are in use at once take more than the {human_bytes(self.budget)} that they may take: "
                f"{human_bytes(used)} are held, and the next one has {human_bytes(size)}.",
                f"Next: cache_gb={gb:.2g} or more.",
                filename=self.folder,
            )

    def _let_go(self) -> bool:
        """Let go of what was brought ahead, so that it may be removed."""
        with self._changed:
            return self._close(self._ready.keys() - self._needed.keys())

    def _close(self, keys: Set[str]) -> bool:
        for key in keys:
            self._ready.pop(key).close()
        return bool(keys)

    def _remove_oldest(self) -> bool:
        """Remove the shard that was not used for longest, and is held by nobody; False if there is none."""
        return any(_removed(path) for _, _, path in files_in(self.folder))


def budget_of(cache_gb: float | None, folder: Path) -> int:
    """Return how many bytes shards, and their pixels, may take."""
    if cache_gb is not None:
        return int(float(cache_gb) * 1e9)
    own = sum(n for _, n, _ in files_in(folder, "*"))
    free = runtime.free_bytes(folder)
    return int(SHARE_OF_DISK * (free + own)) if free is not None else 1 << 60


def files_in(folder: Path, pattern: str = "*.tar") -> list[tuple[float, int, Path]]:
    """Return when each file was last used, its bytes, and where it is; the oldest first. Others may remove them now."""
    found = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    return sorted(found)


def _held(path: Path, shard: Shard) -> ShardFile | None:
    """Open a shard that was brought, and hold it; None if it is not here."""
    if not path.is_file():
        return None
    try:
        file = ShardFile(path, shard.name)
    except StorageError:
        return None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file.fd, fcntl.LOCK_SH)
    # It may have been removed between opening and holding: its bytes stay readable, but a next one would fetch it anew.
    if not path.is_file() or (shard.size is not None and file.size != shard.size):
        file.close()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return file


def _removed(path: Path) -> bool:
    """Remove a shard unless somebody holds it."""
    with _alone(path) as free:
        if free:
            _forget(path)
        return free


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Tell whether nobody holds a file, and keep it so."""
    with contextlib.ExitStack() as stack:
        free = True
        try:
            fd = stack.enter_context(opened(path, os.O_RDONLY | NO_LINK))
            with contextlib.suppress(ImportError):
                import fcntl

                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            free = False
        yield free


def is_used(folder: Path) -> bool:
    """Tell whether anybody reads or brings shards here, or makes their pixels."""
    for path in (*folder.glob("*.tar"), *folder.glob(".*.lock"), *(folder / "pixels").glob("*.lock")):
        with _alone(path) as free:
            if not free:
                return True
    return False


def last_used(folder: Path) -> float:
    """Return when a shard here was asked for last."""
    with contextlib.suppress(OSError):
        return max(files_in(folder), default=(folder.stat().st_mtime,))[0]
    return 0.0


def remove(folder: Path) -> bool:
    """Remove shards that were brought, and their pixels, unless anybody uses them."""
    if is_used(folder) or not all(map(_removed, folder.glob("*.tar"))):
        return False
    with contextlib.suppress(FileNotFoundError):  # pixels that are just being published get another name
        remove_tree(folder)
    return not folder.exists()


def _forget(target: Path) -> None:
    target.with_suffix(".identity").unlink(missing_ok=True)
    target.unlink(missing_ok=True)


def _read(mark: Path) -> str | None:
    try:
        return mark.read_text("utf-8")
    except OSError:
        return None
