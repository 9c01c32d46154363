"""``s3://`` and ``save_to`` beside moto, which answers as Amazon's S3 does, and boto3, which looks at it."""

from __future__ import annotations

import random

import pytest

import datastage
from datastage import own_files
from datastage.errors import NotDataError, UnavailableError
from tests.servers import server as web_server
from tests.sources.staged import quiet, tree

__all__ = ["web_server"]

boto3 = pytest.importorskip("boto3", reason="left out: moto is not installed here")
moto = pytest.importorskip("moto.server", reason="left out: moto's server is not installed here")
pytest.importorskip("obstore")
pytestmark = pytest.mark.usefixtures("here")

BIG = random.Random(6).randbytes(9_000_000)  # boto3 puts it in two parts
FILES = {"data/a.csv": b"1,2\n" * 50, "data/more/b c.bin": BIG, "data/ü.csv": b"3\n", "top.csv": b"4\n"}
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "t3st1ng-s3cret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def running():
    made = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    made.start()
    host, port = made.get_host_and_port()
    yield f"http://{host}:{port}"
    made.stop()


@pytest.fixture
def bucket(running, monkeypatch):
    """A bucket that everybody may read, filled by boto3; no credentials are set."""
    for name in (*KEYS, "http_proxy", "https_proxy", "all_proxy", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running)
    theirs = boto3.resource("s3", endpoint_url=running, region_name="us-east-1", aws_access_key_id="testing",
                            aws_secret_access_key="t3st1ng-s3cret")  # fmt: skip
    made = theirs.Bucket("set")
    made.create()
    for path, body in FILES.items():
        made.put_object(Key=path, Body=body, ACL="public-read")
    made.put_object(Key="secret.csv", Body=b"5\n")
    yield made
    made.objects.all().delete()
    made.delete()


@pytest.fixture
def credentials(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def below(prefix):
    return {path.removeprefix(prefix): body for path, body in FILES.items() if path.startswith(prefix)}


@pytest.mark.parametrize("who", ["everybody", "with credentials"])
def test_an_object_and_all_below_a_prefix(who, bucket, request):
    if who != "everybody":
        request.getfixturevalue("credentials")
    assert quiet("s3://set/data/more/b c.bin").path.read_bytes() == BIG
    assert tree(quiet("s3://set/data/")) == below("data/")
    assert quiet("s3://set/data/ü.csv").path.read_bytes() == b"3\n"


@pytest.mark.parametrize("who", ["everybody", "with credentials"])
def test_an_empty_object_beside_what_lies_below_its_name_stands_for_a_folder(who, bucket, request):
    if who != "everybody":
        request.getfixturevalue("credentials")
    bucket.put_object(Key="data", Body=b"", ACL="public-read")
    bucket.put_object(Key="none.csv", Body=b"", ACL="public-read")
    assert tree(quiet("s3://set/data")) == below("data/")
    with pytest.raises(NotDataError, match="an empty file"):
        quiet("s3://set/none.csv")


def test_what_is_private_says_what_to_set_and_opens_with_it(bucket, credentials, monkeypatch, caplog):
    caplog.set_level(0)
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(UnavailableError, match="not open to everybody") as caught:
        quiet("s3://set/secret.csv")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    staged = quiet("s3://set/secret.csv")
    assert staged.path.read_bytes() == b"5\n"
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(staged.receipt) + caplog.text


@pytest.mark.parametrize("who", ["everybody", "with credentials"])
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("s3://set/nothing.csv", "holds no nothing.csv"),
        ("s3://set/no/", "holds no no/"),
        ("s3://n0ne/x", "no bucket n0ne"),
    ],
)
def test_what_is_not_there_is_said_in_its_own_words(who, spec, text, bucket, request):
    if who != "everybody":
        request.getfixturevalue("credentials")
    with pytest.raises(UnavailableError, match=text):
        quiet(spec)


def test_what_is_kept_there_is_what_boto3_reads_and_is_found_first(bucket, credentials, web_server, tmp_path):
    url = web_server.serve("big.bin", BIG)
    assert datastage.stage(url, save_to="s3://set/kept", progress=False).path.read_bytes() == BIG
    assert bucket.Object("kept/big.bin").get()["Body"].read() == BIG
    n_asked = len(web_server.seen)
    own_files.remove_tree(tmp_path / "root")
    assert quiet(url, save_to="s3://set/kept").path.read_bytes() == BIG
    assert len(web_server.seen) == n_asked
