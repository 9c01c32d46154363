"""Google Drive's pages as gdown meets them: a server on the loopback, and gdown of a version of one's choice.

`DriveServer` answers as drive.google.com does: the file at once, the form for files too large to scan, the page that
says the quota is used up (with status 200), the way to a sign-in page, and connections that are cut or stall.
`lead_requests_there` sends what requests asks of Google to that server; `gdown_folder` gives a folder with a gdown.
"""

from __future__ import annotations

import html
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

VERSIONS = ("5.2.2", "6")
_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com", "accounts.google.com")
QUOTA = (
    "Too many users have viewed or downloaded this file recently. Please try accessing the file again later. If the "
    "file you are trying to access is particularly large or is shared with many people, it may take up to 24 hours to "
    "be able to view or download the file. If you still can't access a file after 24 hours, contact your domain "
    "administrator."
)


@dataclass
class Shared:
    """A shared file, and how Google gives it out."""

    name: str
    body: bytes
    how: str = "at once"  # "form", "old form", "quota", "private", "gone", "page as file"
    cut: int | None = None  # the connection ends after so many bytes
    stall: int | None = None  # nothing more comes after so many bytes
    has_length: bool = True


class DriveServer(LoopbackServer):
    """The server; `files` is by id, and `asked` lists every path that was asked for, with the host before it."""

    def __init__(self) -> None:
        self.files: dict[str, Shared] = {}
        self.folders: dict[str, tuple[str, list[tuple[str, str, bool]]]] = {}  # id: its name; id, name, is a folder
        self.asked: list[str] = []
        server = self

        class Handler(_Handler):
            drive = server

        super().__init__(Handler, "google-drive")


class _Handler(LoopbackHandler):
    drive: DriveServer

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        host = self.headers.get("X-Asked-Host", "")
        self.drive.asked.append(host + self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        shared = self.drive.files.get(query.get("id", ""))
        listed = re.fullmatch(r"/drive/folders/([\w-]+)", url.path)
        if listed is not None or url.path == "/embeddedfolderview":
            self.folder(listed.group(1) if listed else query["id"], is_old=listed is not None)
            return
        viewed = re.fullmatch(r"/file/d/([\w-]+)/view", url.path)
        if viewed is not None and viewed.group(1) in self.drive.files:
            name = html.escape(self.drive.files[viewed.group(1)].name)
            self.page(f"<!DOCTYPE html><html><head><title>{name} - Google Drive</title></head><body></body></html>")
        elif host == "accounts.google.com":
            self.page("<html><head><title>Sign in - Google Accounts</title></head><body>Sign in</body></html>")
        elif shared is None or shared.how == "gone":
            self.page("<html><head><title>Error 404 (Not Found)!!1</title></head></html>", status=404)
        elif shared.how == "private":
            self.give(302, Location="https://accounts.google.com/ServiceLogin?continue=x")
        elif shared.how == "quota":
            self.page(
                "<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>\n"
                '<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>\n'
                f'<p class="uc-error-subcaption">{QUOTA}</p>\n</body></html>'
            )
        elif shared.how == "form" and host != "drive.usercontent.google.com":
            self.page(
                "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>\n"
                '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
                f'<input type="hidden" name="id" value="{html.escape(query["id"])}">'
                '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
                '<input type="hidden" name="uuid" value="u-1"></form>\n</body></html>'
            )
        elif shared.how == "old form" and "confirm" not in query:
            self.page(
                "<html><body>\n"
                f'<a id="uc-download-link" href="/uc?export=download&amp;confirm=t&amp;id={query["id"]}">Download</a>\n'
                "</body></html>"
            )
        else:
            self.file(shared)

    def folder(self, folder_id: str, *, is_old: bool) -> None:
        """Show a folder: the page that gdown 5 reads, 50 items at most, or the view that gdown 6 reads."""
        if folder_id not in self.drive.folders:
            self.page("<html><head><title>Error 404 (Not Found)!!1</title></head></html>", status=404)
            return
        name, children = self.drive.folders[folder_id]
        if is_old:
            kinds = {True: "application/vnd.google-apps.folder", False: "application/zip"}
            rows = [[one, [folder_id], title, kinds[is_folder]] for one, title, is_folder in children[:50]]
            packed = "".join(f"\\x{ord(c):02x}" if not c.isalnum() else c for c in json.dumps([rows]))
            self.page(
                f"<html><head><title>{html.escape(name)} - Google Drive</title></head><body>"
                f"<script>window['_DRIVE_ivd'] = '{packed}';</script></body></html>"
            )
            return
        links = "".join(
            f'<a href="https://drive.google.com/{"drive/folders" if is_folder else "file/d"}/{one}'
            f'{"" if is_folder else "/view"}">{html.escape(title)}</a>'
            for one, title, is_folder in children
        )
        self.page(f"<html><head><title>{html.escape(name)}</title></head><body>{links}</body></html>")

    def page(self, text: str, status: int = 200) -> None:
        self.give(status, text.encode(), Content_Type="text/html; charset=utf-8")

    def file(self, shared: Shared) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        quoted = urllib.parse.quote(shared.name)
        self.send_header("Content-Disposition", f"attachment; filename=\"{shared.name}\"; filename*=UTF-8''{quoted}")
        if shared.has_length:
            self.send_header("Content-Length", str(len(shared.body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        end = min(len(shared.body), *(n for n in (shared.cut, shared.stall) if n is not None), len(shared.body))
        self.wfile.write(shared.body[:end])
        self.wfile.flush()
        if shared.stall is not None:
            self.drive.over.wait(30)
        if end < len(shared.body) or not shared.has_length:
            self.close_connection = True
            self.connection.close()


def lead_requests_there(monkeypatch: Any, port: int) -> None:
    """Let requests reach the server at `port` when it is asked for Google, in this test only.

    The proxy variables name the server too, so that whoever asks whether Google can be reached asks it.
    """
    import requests

    send = requests.adapters.HTTPAdapter.send

    def to_stand_in(self: Any, request: Any, **options: Any) -> Any:
        url = urllib.parse.urlsplit(request.url)
        assert url.hostname in _HOSTS, f"no network but loopback: {request.url}"
        request.headers["X-Asked-Host"] = url.hostname
        request.url = urllib.parse.urlunsplit(("http", f"127.0.0.1:{port}", url.path, url.query, ""))
        response = send(self, request, **{**options, "proxies": {}})
        request.url = response.url = urllib.parse.urlunsplit(url)
        return response

    # Not an adapter of the session's: gdown 6 mounts one of its own.
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", to_stand_in)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    for name in ("DATASTAGE_OFFLINE", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def gdown_folder(version: str) -> Path | str:
    """Return a folder with that gdown, or why there is none. The newest 6 is the one that is installed."""
    if version == "6":
        try:
            installed = importlib.metadata.version("gdown")
        except importlib.metadata.PackageNotFoundError:
            return "left out: gdown is not installed"
        return Path() if installed.startswith("6.") else f"left out: gdown {installed} is installed, not 6"
    folder = Path(os.path.expanduser("~")) / ".cache" / "datastage-tests" / f"gdown-{version}"
    if (folder / "gdown").is_dir():
        return folder
    try:
        importlib.metadata.version("beautifulsoup4")  # what it needs comes with the installed one
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", making, f"gdown=={version}"],
            check=True,
            capture_output=True,
            timeout=90,
        )
        try:
            making.rename(folder)
        except OSError:  # another test process was first
            shutil.rmtree(making)
    except (OSError, subprocess.SubprocessError, importlib.metadata.PackageNotFoundError) as error:
        return f"left out: gdown {version} could not be had ({type(error).__name__})"
    return folder


def use_gdown(monkeypatch: Any, folder: Path) -> None:
    """Let ``import gdown`` find the one in `folder`, in this test only."""
    for name in [name for name in sys.modules if re.match(r"gdown(\.|$)", name)]:
        monkeypatch.delitem(sys.modules, name)
    if folder != Path():
        monkeypatch.syspath_prepend(str(folder))
