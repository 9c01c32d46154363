"""Kaggle's servers as kagglehub meets them: the API on localhost:7777, and what Kaggle's and Colab's machines answer.

The real kagglehub is led there by its own variables: ``KAGGLE_API_ENVIRONMENT=TEST``, ``KAGGLE_DATA_PROXY_URL`` and
``TBE_RUNTIME_ADDR``. The addresses and answers were read off kagglehub 1.0.3 and kagglesdk 0.1.38.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

PORT = 7777  # kagglesdk's own for its environment TEST


@dataclass
class KaggleApi:
    """What Kaggle has, and how it answers. `asked` lists the requests, with the authorization they came with."""

    archives: dict[str, bytes] = field(default_factory=dict)  # "owner/slug", or a competition: its zip
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)  # of one of them, by its name
    status: int = 0  # what every question is answered with, instead
    needs: str = ""  # the token without which it is answered with 403
    hash_of: bytes | None = None  # bytes whose digest is announced, instead of those sent
    stall_after: int | None = None  # nothing more comes after so many bytes
    mounts: Path | None = None  # where Kaggle and Colab mount; None refuses
    is_mounting: bool = True  # whether what was asked for appears there
    asked: list[tuple[str, str]] = field(default_factory=list)

    def start(self, port: int = PORT) -> KaggleApi:
        api = self

        class Handler(_Handler):
            kaggle = api

        self.server = LoopbackServer(Handler, "kaggle", host="localhost", port=port)
        return self

    def close(self) -> None:
        self.server.close()


class _Handler(LoopbackHandler):
    kaggle: KaggleApi

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        authorization = self.headers.get("Authorization") or self.headers.get("X-Kaggle-Authorization") or ""
        self.kaggle.asked.append((self.path, authorization))
        if self.path.startswith(("/kagglehub/", "/kaggle-jwt-handler/")):
            self.mount(asked)
            return
        if self.kaggle.status or (self.kaggle.needs and self.kaggle.needs not in authorization):
            self.answer({"message": "no"}, self.kaggle.status or 403)
            return
        action = self.path.rpartition("/")[2]
        keys = ("ownerSlug", "datasetSlug") if "ownerSlug" in asked else ("userName", "kernelSlug")
        name = asked.get("competitionName") or "/".join(asked.get(key, "") for key in keys)
        file = asked.get("fileName")
        if (file and (name, file) not in self.kaggle.files) or name not in self.kaggle.archives:
            self.answer({"message": "Not found"}, 404)
        elif action == "GetDataset":
            self.answer({"currentVersionNumber": 3})
        elif action == "GetKernel":
            self.answer({"metadata": {"currentVersionNumber": 3}})
        elif action == "ListTreeDatasetFiles":
            self.answer({"files": []})
        else:
            path = f"/gcs/{name}/{file or 'archive.zip'}?X-Goog-Signature=secret"
            self.give(302, Location=f"http://localhost:{self.kaggle.server.port}{path}")

    def do_GET(self) -> None:
        name, _, file = self.path.partition("?")[0].removeprefix("/gcs/").rpartition("/")
        body = self.kaggle.archives[name] if file == "archive.zip" else self.kaggle.files[name, file]
        digest = hashlib.md5(body if self.kaggle.hash_of is None else self.kaggle.hash_of).digest()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Goog-Hash", f"md5={base64.b64encode(digest).decode()}")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.kaggle.stall_after is not None:
            self.wfile.write(body[: self.kaggle.stall_after])
            self.wfile.flush()
            self.kaggle.server.over.wait(30)
            return
        self.wfile.write(body)

    def mount(self, asked: dict[str, Any]) -> None:
        mounts = self.kaggle.mounts
        is_colab = self.path.startswith("/kagglehub/")
        if self.kaggle.status or mounts is None:
            if is_colab:
                self.answer({}, 404)
            else:
                self.answer({"wasSuccessful": False, "errorMessage": "no"})
            return
        reference = asked.get("datasetRef") or asked.get("competitionRef") or asked
        slug = reference.get("DatasetSlug") or reference.get("CompetitionSlug") or reference.get("dataset") or ""
        if self.kaggle.is_mounting and not self.path.endswith("is_supported"):
            (mounts / slug).mkdir(parents=True, exist_ok=True)
            (mounts / slug / "train.csv").write_text("a,b\n1,2\n")
        self.answer({"slug": slug} if is_colab else {"wasSuccessful": True, "result": {"mountSlug": slug}})

    def answer(self, value: dict[str, Any], status: int = 200) -> None:
        self.give(status, json.dumps(value).encode(), Content_Type="application/json")
