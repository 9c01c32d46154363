"""Whether an answer of HTTP gives what was asked for, of the file that was begun with."""

from __future__ import annotations

import email.message
import zlib
from dataclasses import dataclass

from datastage.errors import IntegrityError
from datastage.sources.http_answers import content_range, encoding_of, refused
from datastage.sources.http_connection import Address, Response
from datastage.transfer import Interrupted, Kind

_AGAIN = "Next: run the same line again."


def state_of(headers: email.message.Message) -> tuple[str, str]:
    """Return the ETag, but for a weak one, and the time of the last change; empty for what the server does not say."""
    etag = headers.get("ETag", "")
    return "" if etag.startswith("W/") else etag, headers.get("Last-Modified", "")


@dataclass(frozen=True, slots=True)
class FileState:
    """What the first answer said of the file; `has_hash` says that a digest of the bytes is known besides."""

    name: str
    host: str
    etag: str = ""
    modified: str = ""
    has_hash: bool = False

    def if_same(self) -> dict[str, str]:
        """Return the header that asks for a part of this very state."""
        return {"If-Range": self.etag} if self.etag and not self.has_hash else {}

    def identity(self, size: int | None, place: str) -> str:
        """Return what tells this state of the file from another; empty if the server does not say."""
        if not self.etag and not self.modified:
            return ""
        # Two servers may give the same ETag to different bytes: the place is part of it.
        return f"{self.etag or self.modified}-{size}-{zlib.crc32(place.encode()):08x}"

    def check_same(self, response: Response, *, whole: bool = False) -> None:
        etag, modified = state_of(response.headers)
        if modified != self.modified:
            raise self.changed()
        if etag == self.etag or (self.has_hash and modified):
            return
        # Servers behind one name may give each their own ETag: a digest will tell whether the bytes differ. Without
        # one, those of a single answer are surely of one file.
        if not (modified and whole):
            raise self.changed("no ranges" if modified else "changed")

    def check_whole(self, response: Response, origin: Address) -> None:
        if response.status == 416:
            raise Interrupted(refused(416, origin, self.name))
        start, end, total = content_range(response.headers)
        if response.status != 200 and (start, end) != (0, -1 if total is None else total - 1):
            text = f"{self.host} answered with a part of {self.name} when asked for the whole ({response.status})."
            raise Interrupted(IntegrityError(text, _AGAIN))

    def length_of_part(self, response: Response, offset: int, n: int, size: int | None) -> int:
        """Return how many bytes of the part that was asked for an answer gives; raise if it is another part."""
        if response.status == 200:
            self.check_same(response)
            raise _no_ranges(f"{self.host} answered with the whole of {self.name} when asked for a part.")
        start, end, total = content_range(response.headers)
        if response.status == 416 and total in (None, size):
            raise _no_ranges(f"{self.host} says that there is no such part of {self.name} (416).")
        if total is not None and total != size:
            raise self.changed()
        self.check_same(response)
        length = response.said_length
        wrong_length = length is not None and end is not None and length != end - offset + 1
        is_packed = bool(encoding_of(response))
        if start != offset or end is None or not offset <= end < offset + n or wrong_length or is_packed:
            raise _no_ranges(f"{self.host} answered with another part of {self.name} than was asked for.")
        return end - offset + 1

    def changed(self, kind: Kind = "changed") -> Interrupted:
        error = IntegrityError(
            f"{self.name} changed on {self.host} while it was being copied.",
            "Next: run the same line again when nobody is writing it.",
        )
        return Interrupted(error, kind)

    def cut_short(self, got: int, size: int | None) -> IntegrityError:
        of = "" if size is None else f" of {size:,}"
        return IntegrityError(
            f"{self.name} was cut short: {got:,}{of} bytes came from {self.host}.",
            "Next: run the same line again; if it stays short, the file on the server is not whole.",
        )


def _no_ranges(text: str) -> Interrupted:
    return Interrupted(IntegrityError(text, _AGAIN), "no ranges")
