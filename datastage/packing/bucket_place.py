"""Where shards go: a bucket of S3, Google Cloud Storage or Azure, through obstore."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from datastage.errors import DatastageError, UnavailableError
from datastage.sources import buckets
from datastage.sources.web_api import refusal
from datastage.spec import Spec

_PIECE_BYTES = 8 << 20
_AT_ONCE = 4


@dataclass(frozen=True)
class BucketPlace:
    """A bucket, or what lies below a prefix in it. An object appears whole or not at all; there is no lock."""

    spec: Spec
    scratch: str | None = None

    @property
    def text(self) -> str:
        """The place, as a person writes it."""
        return str(self.spec)

    @contextlib.contextmanager
    def claimed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Keep nobody away: the plan is put only where there is none, and two runs of one plan write the same."""
        yield

    def names(self) -> dict[str, int]:
        """Return the objects right below the prefix."""
        import obstore

        ask = lambda: [row for rows in obstore.list(self._store, prefix=self._path("")) for row in rows]  # noqa: E731
        found = {row["path"].removeprefix(self._path("")): row["size"] for row in self._asked("list", ask)}
        return {name: size for name, size in found.items() if "/" not in name}

    def read(self, name: str, most: int) -> bytes | None:
        """Return the first bytes of an object."""
        import obstore

        def ask() -> bytes:
            size = obstore.head(self._store, self._path(name))["size"]
            n = min(size, most)
            return bytes(obstore.get_range(self._store, self._path(name), start=0, length=n)) if n else b""

        try:
            found: bytes = self._asked("read", ask)
            return found
        except FileNotFoundError:
            return None

    def digest(self, name: str) -> str:
        """Return the SHA-256 of an object, which is read for it."""
        import obstore

        def ask() -> str:
            digest = hashlib.sha256()
            for piece in obstore.get(self._store, self._path(name)).stream(min_chunk_size=_PIECE_BYTES):
                digest.update(piece)
            return digest.hexdigest()

        found: str = self._asked("read", ask)
        return found

    @contextlib.contextmanager
    def new(self, name: str, *, replace: bool = False) -> Iterator[BinaryIO]:
        """Give a file without a name on this machine, which is put by one request, or in parts that appear as one."""
        import obstore

        with tempfile.TemporaryFile(dir=self.scratch) as out:
            yield out
            size = out.tell()
            out.seek(0)
            how: dict[str, Any] = {"chunk_size": _PIECE_BYTES, "max_concurrency": _AT_ONCE}
            if not replace and size <= _PIECE_BYTES:
                how = {"mode": "create"}  # parts cannot be put on this condition
            elif not replace and self.read(name, 0) is not None:
                raise FileExistsError(name)

            def ask() -> None:
                try:
                    obstore.put(self._store, self._path(name), out, **how)
                except obstore.exceptions.AlreadyExistsError:
                    raise FileExistsError(name) from None

            self._asked("write", ask)

    def _path(self, name: str) -> str:
        prefix = self.spec.parts[2].strip("/")
        return f"{prefix}/{name}" if prefix else name

    @functools.cached_property
    def _store(self) -> Any:
        checked = {"checksum_algorithm": "SHA256"} if self.spec.parts[0] == "s3" else {}
        return buckets.store_of(self.spec, buckets.KINDS[self.spec.parts[0]], **checked)

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketPlace, (self.spec, self.scratch)  # a worker on another machine opens the bucket itself

    def _asked(self, doing: str, ask: Callable[[], Any]) -> Any:
        """Ask the bucket; a refusal says what may not be done, and that what is packed stays."""
        try:
            return buckets.asking(self.spec, ask)
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
