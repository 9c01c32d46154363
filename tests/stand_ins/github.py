"""GitHub as a fetcher meets it: raw files, archives, media of Git LFS, releases, gists and limits, on the loopback.

One server stands for its hosts, told apart by the first part of the path: ``raw``, ``archives``, ``media``, ``api``.
It is as strict as the real one: an archive comes in chunks without a length and without ranges, raw gives the pointer
of an LFS file, a private repository is "not found", an unknown one too.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import urllib.parse
import zipfile

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

NAMES = {"github_raw": "raw", "github_archives": "archives", "github_media": "media", "github_api": "api"}


def pointer(body: bytes) -> bytes:
    """The pointer that Git keeps in the place of a file of LFS."""
    oid = hashlib.sha256(body).hexdigest()
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (oid.encode(), len(body))


class GitHub(LoopbackServer):
    """The server. `repositories` holds path -> bytes by (owner/name, ref); `lfs` the paths that LFS keeps elsewhere."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.lfs: set[tuple[str, str]] = set()  # (owner/name, path)
        self.private: dict[str, str] = {}  # owner/name -> the token that opens it
        self.releases: dict[str, list[tuple[str, bytes]]] = {}  # owner/name/tag
        self.gists: dict[str, dict[str, bytes]] = {}
        self.lfs_quota_is_used_up = False
        self.media_page = b""  # what comes in place of the files of LFS
        self.limit = ""  # "primary", "secondary", "raw"
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        server = self

        class Handler(_Handler):
            github = server

        super().__init__(Handler, "github")

    @property
    def endpoints(self) -> str:
        """The value of ``DATASTAGE_ENDPOINTS``."""
        return " ".join(f"{name}={self.address}/{part}" for name, part in NAMES.items())

    def add(self, repository: str, ref: str, files: dict[str, bytes], *, lfs: tuple[str, ...] = ()) -> None:
        """Put files into a repository; the first ref is its default branch."""
        for name in (ref, "HEAD"):
            self.repositories.setdefault((repository, name), files)
        self.lfs |= {(repository, path) for path in lfs}

    def in_git(self, repository: str, path: str, body: bytes) -> bytes:
        return pointer(body) if (repository, path) in self.lfs else body


class _Handler(LoopbackHandler):
    github: GitHub

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        self.github.asked.append(path)
        self.github.tokens.append(self.headers.get("Authorization"))
        _, kind, *rest = path.split("/")
        limit = self.github.limit
        if limit == "raw" and kind == "raw":
            return self.give(429, b"429: Too Many Requests")
        if limit == "primary" and kind == "api":
            text = {"message": "API rate limit exceeded for 1.2.3.4. (But here's the good news: Authenticated requests"}
            reset = str(int(time.time()) + 3000)
            headers = {"X_RateLimit_Limit": "60", "X_RateLimit_Remaining": "0", "X_RateLimit_Reset": reset}
            return self.give(403, json.dumps(text).encode(), **headers)
        if limit == "secondary" and kind == "api":
            text = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
            return self.give(403, json.dumps(text).encode())
        return {"raw": self.raw, "archives": self.archive, "media": self.media, "api": self.api}[kind](rest)

    def may_read(self, repository: str) -> bool:
        token = self.github.private.get(repository)
        return token is None or self.headers.get("Authorization") == f"Bearer {token}"

    def found(self, owner: str, name: str, rest: str) -> tuple[str, dict[str, bytes], str] | None:
        repository = f"{owner}/{name}"
        refs = [ref for known, ref in self.github.repositories if known == repository]
        # As the real one: the longest name of a branch or tag that fits.
        for ref in sorted(refs, key=len, reverse=True):
            for start in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}"):
                if rest == start or rest.startswith(f"{start}/"):
                    if not self.may_read(repository):
                        return None
                    return ref, self.github.repositories[repository, ref], rest[len(start) :].lstrip("/")
        return None

    def raw(self, rest: list[str]) -> None:
        found = self.found(rest[0], rest[1], "/".join(rest[2:])) if len(rest) > 3 else None
        if found is None or found[2] not in found[1]:
            return self.give(404, b"404: Not Found", Content_Type="text/plain")
        body = self.github.in_git("/".join(rest[:2]), found[2], found[1][found[2]])
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        self.give_file(body, ETag=etag)

    def archive(self, rest: list[str]) -> None:
        owner, name, form, *ref = rest
        found = self.found(owner, name, "/".join(ref))
        if found is None or found[2] or form != "zip":
            return self.give(404, b"404: Not Found", Content_Type="text/plain")
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
            top = f"{name}-{found[0].removeprefix('v').replace('/', '-')}"
            made.writestr(f"{top}/", b"")
            for path, body in found[1].items():
                made.writestr(f"{top}/{path}", self.github.in_git(f"{owner}/{name}", path, body))
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Disposition", f"attachment; filename={top}.zip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = stream.getvalue()
        for at in range(0, len(body), 5000):
            piece = body[at : at + 5000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def media(self, rest: list[str]) -> None:
        if rest and rest[0] == "media":
            rest = rest[1:]
        found = self.found(rest[0], rest[1], "/".join(rest[2:]))
        if self.github.lfs_quota_is_used_up:
            return self.give(403, b"This repository is over its data quota.")
        if found is None or found[2] not in found[1]:
            return self.give(404, b"404: Not Found")
        body = self.github.media_page or found[1][found[2]]
        self.give_file(body, ETag=f'"{hashlib.sha256(body).hexdigest()}"')

    def api(self, rest: list[str]) -> None:
        if rest[0] == "assets":
            body = dict(self.github.releases["/".join(rest[1:4])])[rest[4]]
            return self.give_file(body, ETag='"asset"')
        if rest[0] == "gists":
            files = self.github.gists.get(rest[1])
            if files is None:
                return self.give(404, b'{"message":"Not Found"}')
            if len(rest) > 2:
                return self.give_file(files[rest[2]], ETag='"gist"')
            made = {
                name: {"raw_url": f"{self.github.address}/api/gists/{rest[1]}/{name}", "size": len(body)}
                for name, body in files.items()
            }
            return self.give(200, json.dumps({"files": made}).encode())
        _, owner, name, _, *which = rest
        tags = [key.rpartition("/")[2] for key in self.github.releases if key.startswith(f"{owner}/{name}/")]
        tag = tags[-1] if which == ["latest"] and tags else "/".join(which[1:])
        assets = self.github.releases.get(f"{owner}/{name}/{tag}")
        if assets is None or not self.may_read(f"{owner}/{name}"):
            return self.give(404, b'{"message":"Not Found","documentation_url":"https://docs.github.com/rest"}')
        made = [
            {
                "name": title,
                "size": len(body),
                "browser_download_url": f"{self.github.address}/api/assets/{owner}/{name}/{tag}/{title}",
                "digest": f"sha256:{hashlib.sha256(body).hexdigest()}",
            }
            for title, body in assets
        ]
        return self.give(200, json.dumps({"tag_name": tag, "assets": made}).encode())
