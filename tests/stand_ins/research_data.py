"""Zenodo, figshare, OSF, Dataverse, archive.org and doi.org as a fetcher meets them, on one server of the loopback.

The first part of a path tells the service. It answers as strictly as the real ones: Zenodo refuses who has more than
four connections or no name, figshare's website asks whether a person is there, Dataverse converts tables.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from typing import Any

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

SERVICES = ("zenodo", "figshare", "figshare_files", "osf", "archive_org", "doi", "dropbox", "sharepoint", "onedrive")


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


class ResearchData(LoopbackServer):
    """The server. `records` holds the files by (service, id); `dois` the pages that DOIs lead to."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], dict[str, bytes]] = {}
        self.wrong: set[bytes] = set()  # bodies that are given with one bit flipped
        self.newest: dict[str, str] = {}  # of Zenodo: the record that a concept leads to
        self.old_names = False  # Zenodo's answer as it was for a time
        self.challenged = False  # figshare's first address asks whether a person is there
        self.restricted: set[str] = set()
        self.first_number = 100  # of figshare's files
        self.rlkey = "a-key"  # of Dropbox's links
        self.dois: dict[str, str] = {}
        self.tables: set[str] = set()  # file names that Dataverse keeps converted
        self.asked: list[str] = []
        self.n_open = self.most_open = 0
        self.lock = threading.Lock()
        server = self

        class Handler(_Handler):
            data = server

        super().__init__(Handler, "research-data")

    @property
    def endpoints(self) -> str:
        """The value of ``DATASTAGE_ENDPOINTS``."""
        return " ".join(f"{name}={self.address}/{name}" for name in SERVICES)


class _Handler(LoopbackHandler):
    data: ResearchData

    def page(self, value: Any) -> None:
        self.give(200, json.dumps(value).encode(), Content_Type="application/json")

    def file(self, body: bytes, name: str = "") -> None:
        etag = f'"{md5(body)}"'
        if body in self.data.wrong:
            body = bytes([body[0] ^ 1]) + body[1:]
        named = {"Content_Disposition": f"attachment; filename={name}"} if name else {}
        self.give_file(body, ETag=etag, **named)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        path = urllib.parse.unquote(path)
        self.data.asked.append(path)
        with self.data.lock:
            self.data.n_open += 1
            self.data.most_open = max(self.data.most_open, self.data.n_open)
        try:
            _, service, *rest = path.split("/")
            answer = getattr(self, f"do_{service}", None)
            if answer is None:  # a host of many pages: its own paths begin at the top
                answer, rest = self.do_dataverse, [service, *rest]
            answer(rest, dict(urllib.parse.parse_qsl(query)))
        finally:
            with self.data.lock:
                self.data.n_open -= 1

    def record(self, service: str, number: str) -> dict[str, bytes] | None:
        return None if number in self.data.restricted else self.data.records.get((service, number))

    def do_zenodo(self, rest: list[str], query: dict[str, str]) -> None:
        if "datastage" not in self.headers.get("User-Agent", ""):
            return self.give(429, b"You are being blocked. Please contact us at: info@zenodo.org")
        if rest[:2] == ["api", "records"]:
            number = self.data.newest.get(rest[2], rest[2])
            if number != rest[2]:
                return self.give(302, Location=f"/zenodo/api/records/{number}")
            files = self.record("zenodo", number)
            if files is None:
                return self.give(404, b'{"status": 404, "message": "The persistent identifier does not exist."}')
            key, size = ("filename", "filesize") if self.data.old_names else ("key", "size")
            sums = {name: md5(body) if self.data.old_names else f"md5:{md5(body)}" for name, body in files.items()}
            made = [{key: name, size: len(body), "checksum": sums[name]} for name, body in files.items()]
            return self.page({"id": int(number), "files": made})
        if rest[0] == "records" and rest[2:3] == ["files"] and query.get("download") == "1":
            files = self.record("zenodo", rest[1]) or {}
            name = "/".join(rest[3:])
            if name in files:
                return self.file(files[name])
        return self.give(404, b"<!DOCTYPE html><html>not here</html>")

    def do_figshare(self, rest: list[str], query: dict[str, str]) -> None:
        if rest[:2] == ["file", "download"]:
            return self.by_number(rest[2])
        files = self.record("figshare", rest[1])
        if files is None:
            return self.give(404, b'{"message": "Entity not found", "code": "EntityNotFound"}')
        made = [
            {
                "id": n,
                "name": name,
                "size": len(body),
                "computed_md5": md5(body),
                "download_url": "https://figshare.com/",
            }
            for n, (name, body) in enumerate(files.items(), self.data.first_number)
        ]
        return self.page({"files": made})

    def do_figshare_files(self, rest: list[str], query: dict[str, str]) -> None:
        if self.data.challenged:
            return self.give(202, x_amzn_waf_action="challenge")
        return self.by_number(rest[1])

    def by_number(self, number: str) -> None:
        for (service, _), files in self.data.records.items():
            at = int(number) - self.data.first_number
            if service == "figshare" and at < len(files):
                name, body = list(files.items())[at]
                return self.file(body, name)
        return self.give(404)

    def do_osf(self, rest: list[str], query: dict[str, str]) -> None:
        start = f"{self.data.address}/osf"
        if rest[0] == "download":
            _, project, *path = rest
            return self.file(self.data.records["osf", project]["/".join(path)])
        kind, number = rest[1], rest[2]
        if number in self.data.restricted:
            return self.give(401, b'{"errors":[{"detail":"Authentication credentials were not provided."}]}')
        if kind == "guids":
            for project, files in ((key[1], files) for key, files in self.data.records.items() if key[0] == "osf"):
                if number == project:
                    return self.page({"data": {"type": "nodes"}})
                if number == "f" + project[1:] and len(files) == 1:
                    return self.page({"data": {"type": "files"}})
            return self.give(404, b'{"errors":[{"detail":"Not found."}]}')
        if kind == "files":
            projects = [key[1] for key in self.data.records if key[0] == "osf"]
            project = next((one for one in projects if one[1:] == number[1:]), projects[0])
            name, body = next(iter(self.data.records["osf", project].items()))
            return self.page({"data": self.osf_file(project, name, body)})
        files = self.data.records["osf", number]
        folder = query.get("folder", "")
        inside = {name.removeprefix(folder): (name, body) for name, body in files.items() if name.startswith(folder)}
        rows = [self.osf_file(number, name, body) for short, (name, body) in inside.items() if "/" not in short]
        for sub in sorted({short.partition("/")[0] for short in inside if "/" in short}):
            href = f"{start}/v2/nodes/{number}/files/osfstorage/?folder={urllib.parse.quote(folder + sub)}/"
            links = {"files": {"links": {"related": {"href": href}}}}
            rows.append({"attributes": {"name": sub, "kind": "folder"}, "relationships": links})
        at = int(query.get("page", "0"))
        more = (
            f"{start}/v2/nodes/{number}/files/osfstorage/?folder={folder}&page={at + 1}" if at + 1 < len(rows) else None
        )
        return self.page({"data": rows[at : at + 1], "links": {"next": more}})  # pages of one

    def osf_file(self, project: str, name: str, body: bytes) -> dict[str, Any]:
        facts = {"name": name.rpartition("/")[2], "kind": "file", "size": len(body)}
        hashes = {"md5": md5(body), "sha256": hashlib.sha256(body).hexdigest()}
        download = f"{self.data.address}/osf/download/{project}/{urllib.parse.quote(name)}"
        return {"attributes": {**facts, "extra": {"hashes": hashes}}, "links": {"download": download}}

    def do_archive_org(self, rest: list[str], query: dict[str, str]) -> None:
        kind, item, *path = rest
        files = self.record("archive", item)
        if kind == "metadata":
            made = [
                {"name": name, "size": str(len(body)), "md5": md5(body), "source": "original", "format": "ZIP"}
                for name, body in (files or {}).items()
            ]
            made += [{"name": f"{item}_meta.xml", "source": "original", "format": "Metadata"}] if files else []
            made += [{"name": "small.mp4", "source": "derivative", "size": "5"}] if files else []
            return self.page({"files": made} if files else {})
        body = (files or {}).get("/".join(path))
        return self.give(404) if body is None else self.file(body)

    def do_doi(self, rest: list[str], query: dict[str, str]) -> None:
        page = self.data.dois.get("/".join(rest))
        return self.give(302, Location=page) if page else self.give(404, b"DOI Not Found")

    def do_dataverse(self, rest: list[str], query: dict[str, str]) -> None:
        path = "/".join(rest)
        if path == "dataset.xhtml" or path.startswith("page"):
            return self.give(200, b"<!DOCTYPE html><html>a dataset</html>")
        if path.startswith("api/datasets/:persistentId"):
            files = self.record("dataverse", query["persistentId"].removeprefix("doi:"))
            if files is None:
                return self.give(404, b'{"status":"ERROR","message":"not found"}')
            made = []
            for n, (name, body) in enumerate(files.items(), 7):
                folder, _, leaf = name.rpartition("/")
                facts = {"id": n, "filename": leaf, "filesize": len(body), "md5": md5(body)}
                if leaf in self.data.tables:
                    facts |= {"filename": leaf.replace(".csv", ".tab"), "originalFileFormat": "text/csv"}
                    facts |= {"originalFileName": leaf, "originalFileSize": len(body), "md5": "0" * 32}
                made.append({"dataFile": facts, **({"directoryLabel": folder} if folder else {})})
            return self.page({"data": {"latestVersion": {"files": made}}})
        if path.startswith("api/access/datafile/"):
            files = next(files for key, files in self.data.records.items() if key[0] == "dataverse")
            name, body = list(files.items())[int(rest[-1]) - 7]
            converted = name.rpartition("/")[2] in self.data.tables and query.get("format") != "original"
            return self.file(b"converted\t" + body if converted else body)
        return self.give(404)

    def do_s(self, rest: list[str], query: dict[str, str]) -> None:
        """Dropbox's old links."""
        self.do_scl(["s", *rest], query)

    def do_scl(self, rest: list[str], query: dict[str, str]) -> None:
        """Dropbox: a page, unless dl=1; a sign-in page without the link's key."""
        body = self.data.records.get(("dropbox", rest[1]))
        if body is None or query.get("dl") != "1" or (rest[0] == "fi" and query.get("rlkey") != self.data.rlkey):
            return self.give(200, b"<!DOCTYPE html><html><title>Sign in - Dropbox</title></html>")
        if rest[0] == "fo":  # a folder: a zip that is made as it is sent
            self.send_response(200)
            self.send_header("Content-Disposition", "attachment; filename=folder.zip")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            content = body["folder.zip"]
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
            return None
        return self.file(next(iter(body.values())), next(iter(body)))

    def share(self, rest: list[str], query: dict[str, str]) -> None:
        """SharePoint: the first answer sets a cookie and leads to the same address, which then gives the file."""
        body = self.data.records.get(("sharepoint", rest[-1]))
        if body is None:
            return self.give(302, Location="/login")
        if query.get("download") != "1":
            return self.give(200, b"<!DOCTYPE html><html>a viewer</html>")
        if "FedAuth=pass" not in self.headers.get("Cookie", ""):
            return self.give(302, Set_Cookie="FedAuth=pass; path=/; HttpOnly", Location=self.path)
        return self.file(next(iter(body.values())), next(iter(body)))

    def do_login(self, rest: list[str], query: dict[str, str]) -> None:
        self.give(200, b"<!DOCTYPE html><html><title>Sign in to your account</title></html>")


setattr(_Handler, "do_:u:", _Handler.share)
setattr(_Handler, "do_:x:", _Handler.share)
