"""The places of PLACES behind their real names: the stand-ins of this folder, led to through `Internet`."""

from __future__ import annotations

import base64
import os
import re
import urllib.parse
from pathlib import Path

from tests.made_data import zipped
from tests.stand_ins.buckets import Bucket, Buckets
from tests.stand_ins.github import GitHub
from tests.stand_ins.google_drive import DriveServer, Shared
from tests.stand_ins.hub import Hub
from tests.stand_ins.internet import Answer, Internet, Request, Site, file, page, to
from tests.stand_ins.kaggle_api import KaggleApi
from tests.stand_ins.research_data import ResearchData

CSV = b"5.1,3.5\n" * 30
BIG = bytes(range(256)) * 20
PHOTOS = {"cat/1.txt": b"meow", "dog/2.txt": b"woof"}
SIGNATURE = "51gnatur3"
ZIP = zipped(PHOTOS)


class Web:
    """Every place, with one table, one zip and one file of Git LFS in it. The services are its attributes."""

    def __init__(self, folder: Path, drive_id: str, sha: str) -> None:
        self.github, self.hub, self.data, self.buckets = GitHub(), Hub(), ResearchData(), Buckets()
        self.drive, self.kaggle = DriveServer(), KaggleApi({"o/n": ZIP, "titanic": ZIP}).start(port=0)
        self.internet = Internet(folder, self._sites())
        self._fill(drive_id, sha)

    def close(self) -> None:
        for server in (self.github, self.hub, self.data, self.buckets, self.drive, self.kaggle, self.internet):
            server.close()

    def environment(self) -> dict[str, str]:
        """What leads a client there; `certifi`'s users have a variable of their own."""
        proxy, authority = self.internet.address, str(self.internet.authority)
        return {"https_proxy": proxy, "http_proxy": proxy, "SSL_CERT_FILE": authority, "REQUESTS_CA_BUNDLE": authority,
                "no_proxy": "127.0.0.1,localhost"}  # fmt: skip

    def _fill(self, drive_id: str, sha: str) -> None:
        files = {"README.md": b"# r\n", "x.csv": CSV, "data/x.csv": CSV, "x.bin": BIG}
        for ref in ("main", "feature/x", "v1", sha):
            self.github.add("o/r", ref, files, lfs=("x.bin",))
        self.github.releases["o/r/v1"] = [("a.zip", ZIP)]
        self.github.gists[sha[:32]] = {"x.csv": CSV}
        names = ("x.csv", "data/x.csv", "default/x.csv", "model.bin")
        for kind in ("datasets", "models", "spaces"):
            self.hub.files[f"{kind}/o/n"] = {name: BIG if name == "model.bin" else CSV for name in names}
        self.hub.large.add("model.bin")
        self.hub.revisions.add("v1")
        self.data.first_number, self.data.rlkey = 123, "s3cretk3y"
        for service in ("zenodo", "figshare"):
            self.data.records[service, "123"] = {"x.csv": CSV} if service == "figshare" else {"x.zip": ZIP}
        self.data.records["osf", "abcde"] = {"x.csv": CSV}
        self.data.records["archive", "item"] = {"x.zip": ZIP}
        doi = "10.7910/DVN/ABCDEF"
        self.data.records["dataverse", doi] = {"x.csv": CSV}
        self.data.dois[doi] = f"https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:{doi}"
        self.data.records["dropbox", "abc"] = {"x.zip": ZIP}
        self.data.records["dropbox", "folder"] = {"folder.zip": ZIP}
        for link in ("Eabc", "x.zip"):
            self.data.records["sharepoint", link] = {"x.zip": ZIP}
        objects = {"x.csv": CSV, "data/x.csv": CSV}
        for bucket in (("s3", "bucket"), ("s3", "a.bucket"), ("gs", "bucket"), ("az", "c"), ("az", "container")):
            self.buckets.buckets[bucket] = Bucket(dict(objects))
        self.drive.files[drive_id] = Shared("x.zip", ZIP)
        self.drive.folders[drive_id] = ("photos", [(drive_id[:-1] + "1", "x.csv", False)])
        self.drive.files[drive_id[:-1] + "1"] = Shared("x.csv", CSV)
        self.kaggle.files["o/n", "train.csv"] = CSV
        say = self.internet.names.append
        say((f"{self.github.address}/api/assets", "https://github.com/assets"))
        say((f"{self.github.address}/api", "https://api.github.com"))
        say((f"http://localhost:{self.hub.port}/large", "https://cas-bridge.xethub.hf.co/large"))
        say((self.hub.address, "https://huggingface.co"))
        say((f"{self.data.address}/osf/download", "https://files.osf.io"))
        say((f"{self.data.address}/osf", "https://api.osf.io"))
        say((f"http://localhost:{self.kaggle.server.port}/gcs", "https://kaggle-data.storage.googleapis.com"))

    def _sites(self) -> dict[str, Site]:
        def behind(address: str, without: str = "") -> Site:
            return lambda request: self.internet.behind(address, without)(request)

        github, data, buckets = self.github.address, self.data.address, self.buckets.address
        drive = behind(self.drive.address)
        kaggle = self.kaggle.server.port

        def bucket_of(service: str) -> Site:
            def ask(request: Request) -> Answer:
                name = request.host.partition(".")[0]
                bucket = self.buckets.buckets.get((service, name))
                near = service != "s3" or bucket is None or bucket.region in request.host
                if not near and bucket is not None and bucket.region != "us-east-1":
                    text = b"<?xml version='1.0'?><Error><Code>PermanentRedirect</Code></Error>"
                    return Answer(301, text, {"x-amz-bucket-region": bucket.region, "Content-Type": "application/xml"})
                return self.internet.behind(f"{buckets}/{service}/{name}")(request)

            return ask

        return {
            "github.com": self._github,
            "raw.githubusercontent.com": behind(f"{github}/raw"),
            "media.githubusercontent.com": behind(f"{github}/media"),
            "codeload.github.com": behind(f"{github}/archives"),
            "api.github.com": behind(f"{github}/api"),
            "release-assets.githubusercontent.com": self._asset,
            "gist.githubusercontent.com": lambda r: file(r, CSV),
            "o.github.io": self._plain,
            "cdn.jsdelivr.net": self._plain,
            "huggingface.co": behind(self.hub.address),
            "cas-bridge.xethub.hf.co": behind(self.hub.address),
            "zenodo.org": self._zenodo,
            "api.figshare.com": behind(f"{data}/figshare", "/v2"),
            "ndownloader.figshare.com": behind(f"{data}/figshare_files"),
            "api.osf.io": behind(f"{data}/osf"),
            "files.osf.io": behind(f"{data}/osf/download"),
            "archive.org": behind(f"{data}/archive_org"),
            "doi.org": behind(f"{data}/doi"),
            "dataverse.harvard.edu": behind(data),
            "www.dropbox.com": behind(data),
            "dl.dropboxusercontent.com": self._plain,
            ".sharepoint.com": behind(data),
            "onedrive.live.com": lambda r: to("https://login.live.com/login.srf"),
            "login.live.com": lambda r: page(),
            "bucket.s3.amazonaws.com": bucket_of("s3"),
            ".s3.eu-west-1.amazonaws.com": bucket_of("s3"),
            ".s3.eu-central-1.amazonaws.com": bucket_of("s3"),
            "s3.eu-west-1.amazonaws.com": behind(f"{buckets}/s3"),
            "s3.amazonaws.com": behind(f"{buckets}/s3"),
            "storage.googleapis.com": behind(f"{buckets}/gs"),
            "bucket.storage.googleapis.com": bucket_of("gs"),
            "storage.cloud.google.com": lambda r: to("https://accounts.google.com/ServiceLogin?continue=x"),
            ".blob.core.windows.net": behind(f"{buckets}/az"),
            "drive.google.com": drive,
            "drive.usercontent.google.com": drive,
            "accounts.google.com": drive,
            "docs.google.com": self._plain,
            "www.kaggle.com": lambda r: to("https://kaggle-data.storage.googleapis.com/o/n/archive.zip?s=51gnatur3"),
            "api.kaggle.com": behind(f"http://localhost:{kaggle}/api"),
            "kaggle-data.storage.googleapis.com": behind(f"http://localhost:{kaggle}/gcs"),
            "archive.ics.uci.edu": self._uci,
            "api.openml.org": self._plain,
            "data.mendeley.com": self._plain,
            "cloud.example": lambda r: file(r, ZIP, "x.zip"),
            "host.example": self._with_password,
        }

    def _plain(self, request: Request) -> Answer:
        return file(request, ZIP if request.path.endswith(".zip") else CSV)

    def _zenodo(self, request: Request) -> Answer:
        is_page = re.fullmatch(r"/records/\d+", request.path)
        shown = b"<!DOCTYPE html><html><title>A record</title></html>"
        return page(body=shown) if is_page else self.internet.behind(f"{self.data.address}/zenodo")(request)

    def _uci(self, request: Request) -> Answer:
        return page() if request.path.startswith("/dataset/") else self._plain(request)

    def _with_password(self, request: Request) -> Answer:
        right = "Basic " + base64.b64encode(b"user:pa55word").decode()
        if request.headers.get("Authorization") != right:
            return page(401, **{"WWW-Authenticate": 'Basic realm="course"'})
        return self._plain(request)

    def _github(self, request: Request) -> Answer:
        pieces = [urllib.parse.unquote(piece) for piece in request.path.strip("/").split("/")]
        owner, name, kind, *rest = [*pieces, "", "", ""][: max(3, len(pieces))]
        there = f"{owner}/{name}"
        if kind == "raw" or (kind == "blob" and request.words.get("raw") in ("true", "1")):
            return to(f"https://raw.githubusercontent.com/{there}/{'/'.join(rest)}")
        if kind == "archive":
            ref = "/".join(rest).removesuffix(".zip")
            return to(f"https://codeload.github.com/{there}/zip/{ref}")
        if kind == "releases" and "download" in rest[:2]:
            tag, asset = ("v1" if rest[0] == "latest" else rest[1]), rest[-1]
            return self._signed(f"{there}/{tag}", asset)
        if owner == "assets":
            return self._signed("/".join(pieces[1:4]), pieces[-1])
        if owner == "user-attachments" or kind == "files":
            return to(f"https://release-assets.githubusercontent.com/o/r/v1/a.zip?sig={SIGNATURE}")
        return page()

    def _signed(self, release: str, asset: str) -> Answer:
        if asset not in dict(self.github.releases.get(release, ())):
            return page(404)
        return to(f"https://release-assets.githubusercontent.com/{release}/{asset}?sig={SIGNATURE}")

    def _asset(self, request: Request) -> Answer:
        if request.words.get("sig") != SIGNATURE:
            return page(403)
        if "Authorization" in request.headers:
            return Answer(400, b"<Error><Message>Only one auth mechanism allowed</Message></Error>")
        release, _, asset = request.path.strip("/").rpartition("/")
        return file(request, dict(self.github.releases[release])[asset], os.path.basename(asset))
