"""A folder in a bucket that files are kept in: written and read through obstore, with the user's credentials."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from datastage.errors import MissingDependencyError, SpecError
from datastage.sources.buckets import KINDS, ObjectReader, asking, in_its_region, parse_bucket, store_of
from datastage.sources.http_answers import Refused
from datastage.spec import Spec

T = TypeVar("T")


def check(spec: Spec) -> None:
    """Refuse a bucket that cannot be written to from here, before anything is fetched for it."""
    names = [name for name in KINDS[spec.parts[0]].credentials if not os.environ.get(name)]
    if names:
        raise SpecError(
            f"Nothing can be kept in {spec} without credentials: {' and '.join(names)} are not set.",
            "Next: set them; or keep it in Drive, with save_to='drive:datasets'.",
        )
    if importlib.util.find_spec("obstore") is None:
        raise MissingDependencyError(
            f"{spec} is written to through obstore, which is not installed.", "Next: pip install obstore"
        )


@dataclass(slots=True)
class BucketFolder:
    """What lies below a prefix of a bucket; ``folder / "name"`` is the folder below."""

    word: str
    bucket: str
    prefix: str
    region: str = ""
    checked: bool = False  # S3 is given a SHA-256 of what is put, and compares

    @classmethod
    def of(cls, spec: Spec, *, checked: bool = False) -> BucketFolder:
        return cls(spec.parts[0], spec.parts[1], spec.parts[2].strip("/"), checked=checked)

    def __truediv__(self, name: str) -> BucketFolder:
        return replace(self, prefix=f"{self.prefix}/{name}".strip("/")) if name else self

    def __str__(self) -> str:
        return f"{self.word}://{self.bucket}/{self.prefix}"

    def is_dir(self) -> bool:
        """Say no: it is no folder of this machine's; its own spec is tried in its place."""
        return False

    def spec(self, name: str) -> Spec:
        """Return the spec of an object in it, or of the whole folder for an empty name."""
        rest = f"//{self.bucket}/" + (f"{self.prefix}/{name}" if self.prefix else name)
        return parse_bucket(f"{self.word}:{rest}", self.word, rest)

    def do(self, name: str, act: Callable[[Any, str], T]) -> T:
        """Do something with an object; again in the bucket's own region, if it lies in another."""
        spec = self.spec(name)
        how = {"checksum_algorithm": "SHA256"} if self.checked and self.word == "s3" else {}

        def ask(region: str) -> T:
            self.region = region
            store = store_of(spec, KINDS[self.word], region, **how)
            found: T = asking(spec, partial(act, store, spec.parts[2]))
            return found

        return in_its_region(ask, self.region)

    def size(self, name: str) -> int | None:
        """Return the length of an object; None if it is not there."""
        import obstore

        try:
            return int(self.do(name, obstore.head)["size"])
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def open(self, name: str) -> ObjectReader:
        self.size(name)  # finds the region
        spec = self.spec(name)
        return ObjectReader(spec, store_of(spec, KINDS[self.word], self.region), spec.parts[2])

    def put(self, name: str, pieces: Callable[[], Iterator[bytes]]) -> None:
        import obstore

        self.do(name, lambda store, path: obstore.put(store, path, pieces()))
