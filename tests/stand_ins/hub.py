"""The Hugging Face Hub on the loopback: its API, resolve addresses and large files on a host of their own.

As the real one: a large file is a redirect that names its sha256; refusals carry X-Error-Code; a repository that is
private is "not found"; a listing comes in pages; too many requests are answered with RateLimit.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from typing import Any

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

COMMIT = "a" * 40
_PAGE = 3


class Hub(LoopbackServer):
    """The server. `files` holds path -> bytes by ``datasets/owner/name``; `large` the paths that LFS keeps."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.large: set[str] = set()
        self.gated: dict[str, str] = {}  # repository -> the token of who has agreed
        self.private: dict[str, str] = {}
        self.given: dict[str, bytes] = {}  # what is given in the place of a large file
        self.revisions = {"main", COMMIT, "refs/convert/parquet"}
        self.busy = 0  # so many requests are answered with 429
        self.asked: list[str] = []
        self.tokens: list[tuple[str, str | None]] = []
        server = self

        class Handler(_Handler):
            hub = server

        super().__init__(Handler, "hub")


class _Handler(LoopbackHandler):
    hub: Hub

    def refuse(self, status: int, code: str, text: str) -> None:
        self.give(status, json.dumps({"error": text}).encode(), X_Error_Code=code, X_Error_Message=text)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        pieces = [urllib.parse.unquote(piece) for piece in path.strip("/").split("/")]
        self.hub.asked.append(urllib.parse.unquote(path))
        host = self.headers["Host"].partition(":")[0]
        self.hub.tokens.append((host, self.headers.get("Authorization")))
        if self.hub.busy > 0:
            self.hub.busy -= 1
            return self.give(429, b"", RateLimit='"resolvers";r=0;t=0')
        if pieces[0] == "large":  # the host that large files lie on
            repository, file = "/".join(pieces[1:4]), "/".join(pieces[4:])
            return self.file(self.hub.given.get(file, self.hub.files[repository][file]))
        is_api = pieces[0] == "api"
        kind, *rest = pieces[1:] if is_api else pieces
        if kind not in ("datasets", "models", "spaces"):
            kind, rest = "models", pieces
        repository = f"{kind}/{'/'.join(rest[:2])}"
        files = self.hub.files.get(repository)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if files is None or self.hub.private.get(repository, token) != token:
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        if self.hub.gated.get(repository, token) != token:
            status = 403 if token else 401
            return self.refuse(status, "GatedRepo", "Access to this dataset is restricted.")
        what, revision, *path_pieces = rest[2:]
        if revision not in self.hub.revisions:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = "/".join(path_pieces)
        if is_api and what == "revision":
            return self.give(200, json.dumps({"id": "/".join(rest[:2]), "sha": COMMIT, "private": False}).encode())
        if is_api and what == "tree":
            return self.tree(files, file, query)
        if what != "resolve" or file not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        body = files[file]
        if file in self.hub.large:
            sha256 = hashlib.sha256(body).hexdigest()
            place = f"http://localhost:{self.hub.port}/large/{repository}/{urllib.parse.quote(file)}?signature=s"
            linked = {"X_Linked_Etag": f'"{sha256}"', "X_Linked_Size": str(len(body))}
            return self.give(302, Location=place, X_Repo_Commit=COMMIT, **linked)
        return self.file(body, X_Repo_Commit=COMMIT)

    def file(self, body: bytes, **headers: str) -> None:
        etag = f'"{hashlib.sha1(b"blob %d" % len(body) + bytes(1) + body).hexdigest()}"'
        self.give_file(body, ETag=etag, **headers)

    def tree(self, files: dict[str, bytes], start: str, query: str) -> None:
        inside = sorted(path for path in files if not start or path.startswith(f"{start}/"))
        if not inside:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        at = int(dict(urllib.parse.parse_qsl(query)).get("cursor", "0"))
        rows: list[dict[str, Any]] = [{"type": "directory", "path": "data", "oid": "0", "size": 0}] if at == 0 else []
        for path in inside[at : at + _PAGE]:
            row: dict[str, Any] = {"type": "file", "path": path, "oid": "1" * 40, "size": len(files[path])}
            if path in self.hub.large:
                row["lfs"] = {
                    "oid": hashlib.sha256(files[path]).hexdigest(),
                    "size": len(files[path]),
                    "pointerSize": 134,
                }
            rows.append(row)
        page = self.path.partition("?")[0]
        more = {"Link": f'<{self.hub.address}{page}?recursive=true&cursor={at + _PAGE}>; rel="next"'}
        self.give(200, json.dumps(rows).encode(), **(more if at + _PAGE < len(inside) else {}))
