"""Where shards go: a folder, or a bucket through obstore. A file appears there whole or not at all.

Nothing that is there is replaced.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from datastage import own_files
from datastage.errors import DatastageError, UnavailableError, while_doing
from datastage.lock import locked
from datastage.sources.buckets import BucketFolder
from datastage.sources.web_api import refusal
from datastage.spec import Spec

T = TypeVar("T")
_LOCK = ".datastage-pack.lock"
_PIECE_BYTES = 8 << 20
_AT_ONCE = 4


@dataclass(frozen=True)
class FolderPlace:
    """A folder of this machine, of a mount, of Drive. It is made when the first file comes."""

    folder: Path

    @property
    def text(self) -> str:
        """The place, as a person writes it."""
        return str(self.folder)

    @contextlib.contextmanager
    def claimed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Keep other packers away, and remove what a killed one left; `say` is told whom it waits for."""
        with while_doing(f"making {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / _LOCK, on_wait=say):
            for name in os.listdir(self.folder):
                if found := re.fullmatch(r"\.(.+)\.[0-9a-f]{16}\.partial", name):
                    own_files.remove_abandoned(self.folder / found[1], -1.0)
            yield

    def names(self) -> dict[str, int]:
        """Return the files that are there, and their lengths."""
        with (
            while_doing(f"listing {self.folder}"),
            contextlib.suppress(FileNotFoundError),
            os.scandir(self.folder) as entries,
        ):
            return {entry.name: entry.stat().st_size for entry in entries if not entry.name.startswith(".")}
        return {}

    def read(self, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file; None if there is none."""
        with (
            while_doing(f"reading {name}"),
            contextlib.suppress(FileNotFoundError),
            open(self.folder / name, "rb", opener=own_files.no_link) as file,
        ):
            return file.read(most)
        return None

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, in hex."""
        with open(self.folder / name, "rb", opener=own_files.no_link) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def new(self, name: str, *, replace: bool = False) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file to write, which appears when the block ends; `FileExistsError` if one has come meanwhile."""
        return own_files.atomic_file(self.folder / name, replace=replace)


@dataclass(frozen=True)
class BucketPlace:
    """The same of a bucket, or what lies below a prefix in it; there is no lock."""

    spec: Spec
    scratch: str | None = None

    @property
    def text(self) -> str:
        return str(self.spec)

    @contextlib.contextmanager
    def claimed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Keep nobody away: the plan is put only where there is none, and two runs of one plan write the same."""
        yield

    def names(self) -> dict[str, int]:
        import obstore

        def ask(store: Any, prefix: str) -> dict[str, int]:
            rows = [row for rows in obstore.list(store, prefix=prefix) for row in rows]
            return {row["path"].removeprefix(prefix): row["size"] for row in rows}

        return {name: size for name, size in self._asked("list", "", ask).items() if "/" not in name}

    def read(self, name: str, most: int) -> bytes | None:
        import obstore

        def ask(store: Any, path: str) -> bytes:
            n = min(obstore.head(store, path)["size"], most)
            return bytes(obstore.get_range(store, path, start=0, length=n)) if n else b""

        with contextlib.suppress(FileNotFoundError):
            return self._asked("read", name, ask)
        return None

    def digest(self, name: str) -> str:
        import obstore

        def ask(store: Any, path: str) -> str:
            digest = hashlib.sha256()
            for piece in obstore.get(store, path).stream(min_chunk_size=_PIECE_BYTES):
                digest.update(piece)
            return digest.hexdigest()

        return self._asked("read", name, ask)

    @contextlib.contextmanager
    def new(self, name: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        """Give a file without a name on this machine, which is put by one request, or in parts that appear as one."""
        import obstore

        with tempfile.TemporaryFile(dir=self.scratch) as out:
            yield out
            size = out.tell()
            how: dict[str, Any] = {"chunk_size": _PIECE_BYTES, "max_concurrency": _AT_ONCE}
            if not replace and size <= _PIECE_BYTES:
                how = {"mode": "create"}  # parts cannot be put on this condition
            elif not replace and self.read(name, 0) is not None:
                raise FileExistsError(name)

            def ask(store: Any, path: str) -> None:
                out.seek(0)
                try:
                    obstore.put(store, path, out, **how)
                except obstore.exceptions.AlreadyExistsError:
                    raise FileExistsError(name) from None

            self._asked("write", name, ask)

    @functools.cached_property
    def _folder(self) -> BucketFolder:
        return BucketFolder.of(self.spec, checked=True)

    def _asked(self, doing: str, name: str, ask: Callable[[Any, str], T]) -> T:
        """Ask the bucket; a refusal says what may not be done, and that what is packed stays."""
        try:
            return self._folder.do(name, ask)
        except DatastageError as error:
            status, bucket = refusal(error), self.spec.parts[1]
            if status == 404 and not getattr(error, "body", b""):
                raise FileNotFoundError(bucket) from None
            if status in (401, 403):
                raise UnavailableError(
                    f"These credentials may not {doing} in {bucket} ({status}); they may have run out.",
                    "What was packed stays.",
                    "Next: renew the credentials, then run the same line again.",
                ) from error
            raise UnavailableError(
                f"{bucket} could not be reached to {doing} shards: {error.args[0]}",
                "What was packed stays.",
                "Next: run the same line again.",
            ) from error


Place = FolderPlace | BucketPlace
