"""Where shards go: a folder. A file appears there whole or not at all, and nothing that is there is replaced."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from datastage import own_files
from datastage.errors import StorageError, while_doing
from datastage.lock import locked

_LOCK = ".datastage-pack.lock"


class Place(Protocol):
    """What packing asks of a place. `name` is that of a file right in it."""

    @property
    def text(self) -> str:
        """The place, as a person writes it."""

    def claimed(self, say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """Keep other packers away as long as the block runs, where the place can; `say` is told whom it waits for."""

    def names(self) -> dict[str, int]:
        """Return the files that are there, and their lengths."""

    def read(self, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file; None if there is none."""

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, in hex."""

    def new(self, name: str, *, replace: bool = False) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file to write, which appears when the block ends; `FileExistsError` if one has come meanwhile."""


@dataclass(frozen=True)
class FolderPlace:
    """A folder of this machine, of a mount, of Drive. It is made when the first file comes."""

    folder: Path

    @property
    def text(self) -> str:
        """The folder, as a person writes it."""
        return str(self.folder)

    @contextlib.contextmanager
    def claimed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder's lock; what a killed packer left unfinished goes."""
        with while_doing(f"making {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / _LOCK, on_wait=say):
            for name in os.listdir(self.folder):
                if found := re.fullmatch(r"\.(.+)\.[0-9a-f]{16}\.partial", name):
                    own_files.remove_abandoned(self.folder / found[1], -1.0)
            yield

    def names(self) -> dict[str, int]:
        """Return the files that are there, hidden ones aside."""
        try:
            with os.scandir(self.folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if not entry.name.startswith(".")}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError.of(error, f"listing {self.folder}") from error

    def read(self, name: str, most: int) -> bytes | None:
        """Return the first bytes of a file."""
        try:
            with open(self.folder / name, "rb", opener=own_files.no_link) as file:
                return file.read(most)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError.of(error, f"reading {name}") from error

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        with open(self.folder / name, "rb", opener=own_files.no_link) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextlib.contextmanager
    def new(self, name: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        """Give a file that appears by one rename, when its bytes are on the disk."""
        with own_files.atomic_file(self.folder / name, replace=replace) as out:
            yield out
