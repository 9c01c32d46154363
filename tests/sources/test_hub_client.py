"""The real huggingface_hub beside ours: it talks to the stand-in unchanged, gets the same, and its cache serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datastage.errors import UnavailableError
from tests.sources.staged import quiet, tree
from tests.sources.test_hub import BIG, FILES, TOKEN, hub
from tests.stand_ins.hub import COMMIT

__all__ = ["hub"]

pytest.importorskip("huggingface_hub", reason="left out: huggingface_hub is not installed here")
pytestmark = pytest.mark.usefixtures("here")

# The endpoint is read when the library is imported: a process of its own.
ASK = """
import json, pathlib, sys
import huggingface_hub as hub
function, options = sys.argv[1], json.loads(sys.argv[2])
try:
    path = pathlib.Path(getattr(hub, function)("owner/set", repo_type="dataset", **options))
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    top = path.parent if path.is_file() else path
    said = {"files": {str(one.relative_to(top)): one.read_bytes().hex() for one in files}}
except Exception as error:
    said = {"error": type(error).__name__}
print(json.dumps(said))
"""


@pytest.fixture
def client(hub, tmp_path):
    """Call a function of the real client, whose cache is in this test's folder."""

    def call(function, **options):
        quietly = dict.fromkeys(("XET", "TELEMETRY", "PROGRESS_BARS"), "1")
        environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
        environment |= {f"HF_HUB_DISABLE_{name}": value for name, value in quietly.items()}
        done = subprocess.run([sys.executable, "-c", ASK, function, json.dumps(options)], env=environment, cwd=tmp_path,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return call


def test_a_repository_comes_alike_through_the_real_client_and_through_ours(hub, client, monkeypatch, tmp_path):
    theirs = client("snapshot_download")
    assert {name: bytes.fromhex(body) for name, body in theirs["files"].items()} == FILES
    assert tree(quiet("hf:datasets/owner/set")) == {k: v for k, v in FILES.items() if k != ".gitattributes"}

    # What it keeps serves without network, file by file.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert quiet("hf:datasets/owner/set/data/more/big.bin").path.read_bytes() == BIG
    assert quiet(f"hf:datasets/owner/set@{COMMIT}/data/train.csv").path.read_bytes() == FILES["data/train.csv"]
    with pytest.raises(UnavailableError):
        quiet("hf:datasets/owner/set/data/nothing.csv")


@pytest.mark.parametrize(
    ("state", "options", "error"),
    [
        ("", {"filename": "data/nothing.csv"}, "RemoteEntryNotFoundError"),
        ("", {"filename": "README.md", "revision": "v9"}, "RevisionNotFoundError"),
        ("private", {"filename": "README.md"}, "RepositoryNotFoundError"),
        ("gated", {"filename": "README.md"}, "GatedRepoError"),
    ],
)
def test_each_refusal_of_the_stand_in_is_the_real_clients_own_error(state, options, error, hub, client):
    if state:
        getattr(hub, state)["datasets/owner/set"] = TOKEN
    assert client("hf_hub_download", token=False, **options)["error"] in (error, error.replace("Remote", ""))
    if state:
        said = client("hf_hub_download", token=TOKEN, **options)
        assert bytes.fromhex(said["files"]["README.md"]) == FILES["README.md"]


def test_a_token_that_the_real_client_keeps_opens_what_is_private(hub, client, monkeypatch, tmp_path):
    hub.private["datasets/owner/set"] = TOKEN
    kept = Path(tmp_path / "hf")
    kept.mkdir()
    (kept / "token").write_text(TOKEN)
    assert client("hf_hub_download", filename="data/train.csv")["files"]
    monkeypatch.setenv("HF_HOME", str(kept))
    assert quiet("hf:datasets/owner/set/data/train.csv").path.read_bytes() == FILES["data/train.csv"]
