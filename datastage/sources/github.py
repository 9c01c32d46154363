"""GitHub: the page of a file leads to the file itself."""

from __future__ import annotations

import urllib.parse

from datastage.errors import SpecError
from datastage.spec import Spec, without_secrets

_RAW = "https://raw.githubusercontent.com"


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Return the address of the file that a page ``/OWNER/REPOSITORY/blob/REF/PATH`` shows."""
    pieces = [piece for piece in url.path.split("/") if piece]
    if len(pieces) < 2:
        raise SpecError(f"{without_secrets(text)!r} names no repository.", "Next: https://github.com/OWNER/REPOSITORY")
    if len(pieces) < 5 or pieces[2] != "blob" or url.hostname not in ("github.com", "www.github.com"):
        return None
    owner, repository, _, *rest = pieces
    address = "/".join((_RAW, owner, repository, *rest))
    return Spec(text, "http", address, name=urllib.parse.unquote(rest[-1]))
