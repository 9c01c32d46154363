"""The Hugging Face Hub: files, folders and repositories; gated, private and missing ones each in their own words."""

from __future__ import annotations

import random

import pytest

from datastage.errors import ChecksumError, SpecError, UnavailableError
from datastage.sources import address_of, parse
from tests.sources.staged import quiet, tree, without
from tests.stand_ins.hub import COMMIT, Hub

pytestmark = pytest.mark.usefixtures("here")

BIG = random.Random(5).randbytes(700_000)
FILES = {
    ".gitattributes": b"*.bin filter=lfs\n",
    "README.md": b"# A set\n",
    "data/train.csv": b"1,2\n" * 100,
    "data/more/big.bin": BIG,
    "data/a b.csv": b"3,4\n",
    "empty.txt": b"",
}
TOKEN = "hf_abcdefghijklmnop"


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    server.files["datasets/owner/set"] = FILES
    server.large.add("data/more/big.bin")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    without(monkeypatch, "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH")
    yield server
    server.close()


@pytest.mark.parametrize(
    "spec",
    [
        "hf:datasets/owner/set/data/train.csv",
        "hf://datasets/owner/set/data/train.csv",
        "hf:datasets/owner/set@main/data/train.csv",
        "https://huggingface.co/datasets/owner/set/blob/main/data/train.csv",
        "https://huggingface.co/datasets/owner/set/resolve/main/data/train.csv?download=true",
        "https://hf.co/datasets/owner/set/resolve/main/data/train.csv",
    ],
)
def test_a_file_is_staged_however_it_is_named(spec, hub):
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("train.csv", FILES["data/train.csv"])


def test_a_large_file_comes_from_another_host_and_is_checked_by_its_digest(hub):
    staged = quiet("hf:datasets/owner/set/data/more/big.bin")
    assert staged.path.read_bytes() == BIG
    assert "sha256" in str(staged.receipt["hashes"])


def test_a_whole_repository_and_a_folder_of_it(hub):
    wanted = {path: body for path, body in FILES.items() if path != ".gitattributes"}
    staged = quiet("hf:datasets/owner/set")
    assert (tree(staged), staged.receipt["identity"]) == (wanted, COMMIT)
    assert tree(quiet("https://huggingface.co/datasets/owner/set")) == wanted
    assert set(tree(quiet("https://huggingface.co/datasets/owner/set/tree/main/data"))) == {
        "train.csv",
        "more/big.bin",
        "a b.csv",
    }
    assert any(f"/resolve/{COMMIT}/" in path for path in hub.asked), "all files must be of one state"


def test_a_model_and_the_parquet_copy_of_a_set(hub):
    hub.files["models/owner/net"] = {"model.bin": b"weights"}
    assert quiet("hf:owner/net/model.bin").path.read_bytes() == b"weights"
    page = "https://huggingface.co/datasets/owner/set/tree/refs%2Fconvert%2Fparquet/data"
    assert "train.csv" in tree(quiet(page))


def test_a_gated_set_says_where_to_agree_and_is_read_with_a_token_shown_nowhere(hub, monkeypatch, caplog):
    caplog.set_level(0)
    hub.gated["datasets/owner/set"] = TOKEN
    with pytest.raises(UnavailableError, match="asks you to agree to its terms") as caught:
        quiet("hf:datasets/owner/set/data/train.csv")
    assert "https://huggingface.co/datasets/owner/set" in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_of_someone_else_who_did_not")
    with pytest.raises(UnavailableError, match="agree to its terms .* .403"):
        quiet("hf:datasets/owner/set")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    staged = quiet("hf:datasets/owner/set")
    assert tree(staged)["data/more/big.bin"] == BIG
    assert TOKEN not in str(staged.receipt) + caplog.text
    # The host of large files is another one, and its address is signed already.
    assert {token for host, token in hub.tokens if host == "localhost"} == {None}


def test_a_private_set_is_read_with_the_token_that_huggingface_hub_keeps(hub, tmp_path):
    hub.private["datasets/owner/set"] = TOKEN
    with pytest.raises(UnavailableError, match="not on the Hub, or it is private"):
        quiet("hf:datasets/owner/set/data/train.csv")
    kept = tmp_path / "home/.cache/huggingface"
    kept.mkdir(parents=True)
    (kept / "token").write_text(TOKEN + "\n")
    assert quiet("hf:datasets/owner/set/data/train.csv").path.read_bytes() == FILES["data/train.csv"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("hf:datasets/owner/set/data/nothing.csv", "holds no data/nothing.csv"),
        ("hf:datasets/owner/set@v9/data/train.csv", "has no version v9"),
        ("hf:datasets/owner/nothing", "not on the Hub, or it is private"),
    ],
)
def test_what_is_not_there_is_said_in_its_own_words(spec, text, hub):
    with pytest.raises(UnavailableError, match=text) as caught:
        quiet(spec)
    assert "https://huggingface.co/datasets/owner" in str(caught.value)


def test_a_wrong_byte_of_a_large_file_is_found_and_nothing_is_kept(hub, tmp_path):
    hub.given["data/more/big.bin"] = bytes([BIG[0] ^ 1]) + BIG[1:]
    with pytest.raises(ChecksumError):
        quiet("hf:datasets/owner/set/data/more/big.bin")
    with pytest.raises(ChecksumError):
        quiet("hf:datasets/owner/set")
    assert not [path for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")]


def test_too_many_requests_are_waited_for(hub, monkeypatch):
    monkeypatch.setattr("datastage.transfer.retry.Limits.wait_s", lambda *words: 0.01)
    hub.busy = 2
    assert quiet("hf:datasets/owner/set/data/train.csv").path.read_bytes() == FILES["data/train.csv"]


def test_without_network_a_file_in_the_cache_of_huggingface_hub_is_found(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    cache = tmp_path / "cache/datasets--owner--set"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(COMMIT)
    (cache / f"snapshots/{COMMIT}/data").mkdir(parents=True)
    (cache / f"snapshots/{COMMIT}/data/train.csv").write_bytes(b"kept\n")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert quiet("hf:datasets/owner/set/data/train.csv").path.read_bytes() == b"kept\n"
    with pytest.raises(UnavailableError, match="refused the connection"):
        quiet("hf:datasets/owner/set")


@pytest.mark.parametrize("text", ["hf:datasets/owner", "hf:", "hf:datasets/a/b/../c", "hf:datasets/a b/c"])
def test_what_is_no_repository_is_said(text):
    with pytest.raises(SpecError, match="no repository of the Hugging Face Hub"):
        parse(text)


def test_pages_that_are_no_repositories_stay_addresses_and_a_browser_is_led_to_the_file():
    assert parse("https://huggingface.co/docs/hub/index").scheme == "http"
    assert address_of(parse("hf:datasets/o/n/a.csv")) == "https://huggingface.co/datasets/o/n/resolve/main/a.csv"


@pytest.mark.parametrize("path", ["", "/data", "/data/train.csv", "/data/more/big.bin"])
def test_the_hub_is_waited_for_as_patiently_as_is_asked(path, hub, patience):
    assert patience(f"hf:datasets/owner/set{path}") == ["as asked"]
