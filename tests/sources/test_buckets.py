"""Buckets: public ones over plain https, others with credentials through obstore; each refusal in its own words."""

from __future__ import annotations

import base64
import hashlib
import random
import shutil
import sys

import pytest

import datastage
from datastage import datasets, own_files
from datastage.errors import ChecksumError, MissingDependencyError, SpecError, UnavailableError
from datastage.progress import Silent
from datastage.sources import parse
from datastage.sources.buckets import BucketFolder
from tests.sources.staged import quiet, tree, without
from tests.stand_ins.buckets import AZURE_KEY, KEY, SECRET, Bucket, Buckets, service_account

pytestmark = pytest.mark.usefixtures("here")

BIG = random.Random(8).randbytes(900_000)
FILES = {"data/a.csv": b"1,2\n" * 50, "data/more/b c.bin": BIG, "data/more/d.csv": b"3\n", "top.csv": b"4\n"}


@pytest.fixture
def buckets(monkeypatch):
    server = Buckets()
    for service in ("s3", "gs", "az"):
        server.buckets[service, "set"] = Bucket(dict(FILES))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{server.address}/s3")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "school")
    monkeypatch.setenv("DATASTAGE_ENDPOINTS", f"google_storage={server.address}/gs azure={server.address}")
    without(monkeypatch, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    yield server
    server.close()


@pytest.fixture
def credentials(monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def below(prefix):
    return {path.removeprefix(prefix): body for path, body in FILES.items() if path.startswith(prefix)}


@pytest.mark.parametrize("word", ["s3", "gs"])
def test_an_object_of_a_public_bucket(word, buckets):
    staged = quiet(f"{word}://set/data/more/b c.bin")
    assert (staged.path.name, staged.path.read_bytes()) == ("b c.bin", BIG)


@pytest.mark.parametrize("word", ["s3", "gs"])
@pytest.mark.parametrize("path", ["data", "data/"])
def test_all_below_a_prefix_over_all_pages_of_the_list(word, path, buckets):
    assert tree(quiet(f"{word}://set/{path}")) == below("data/")
    assert tree(quiet(f"{word}://set/data/more/")) == below("data/more/")


@pytest.mark.parametrize("word", ["s3", "gs"])
def test_an_empty_object_that_stands_for_a_folder_is_no_file(word, buckets):
    buckets.buckets[word, "set"].objects["data/more"] = b""
    assert tree(quiet(f"{word}://set/data/")) == below("data/")


def test_what_google_unpacks_on_its_way_is_not_compared_with_the_digest_of_what_it_keeps(buckets):
    buckets.gzipped.add("data/a.csv")
    assert tree(quiet("gs://set/data/")) == below("data/")
    assert quiet("gs://set/data/a.csv").path.read_bytes() == FILES["data/a.csv"]


def test_s3_is_given_the_digest_of_what_is_put_where_that_is_asked_for(buckets, credentials):
    BucketFolder.of(parse("s3://set/kept")).put("a", lambda: iter([b"1,2"]))
    assert buckets.checksums == set()
    BucketFolder.of(parse("s3://set/kept"), checked=True).put("a", lambda: iter([b"1,2"]))
    assert buckets.checksums == {base64.b64encode(hashlib.sha256(b"1,2").digest()).decode()}


def test_azure_needs_to_know_whose_storage_it_is(buckets, monkeypatch):
    # On the stand-in the first part of a path is the service.
    assert quiet("az://az/set/data/a.csv").path.read_bytes() == FILES["data/a.csv"]
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(SpecError, match="does not say whose storage"):
        quiet("az://set/data/a.csv")


def test_wrong_bytes_of_a_listed_object_are_found(buckets, tmp_path):
    buckets.wrong["data/a.csv"] = b"1,3\n" * 50
    with pytest.raises(ChecksumError):
        quiet("gs://set/data/")
    assert not [path for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize("spec", ["gs://set/data/a.csv", "az://az/set/data/a.csv", "URL/gs/set/data/a.csv"])
def test_an_object_is_checked_by_the_digest_that_its_storage_tells(spec, buckets, tmp_path):
    spec = spec.replace("URL", buckets.address)
    assert "md5" in quiet(spec).receipt["hashes"]
    buckets.wrong["data/a.csv"] = b"1,3\n" * 50
    with pytest.raises(ChecksumError):
        quiet(spec, refresh=True, root=tmp_path / "other")
    assert not [path for path in (tmp_path / "other").iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("s3://nothing/a.csv", "There is no bucket nothing at Amazon S3"),
        ("gs://nothing/a.csv", "There is no bucket nothing at Google"),
        ("s3://set/nothing.csv", "holds no nothing.csv"),
        ("s3://set/nothing/", "holds no nothing/"),
    ],
)
def test_what_is_not_there_is_said_in_its_own_words(spec, text, buckets):
    with pytest.raises(UnavailableError, match=text):
        quiet(spec)


@pytest.mark.parametrize("word", ["s3", "gs"])
def test_a_private_bucket_says_which_credentials_to_set(word, buckets):
    buckets.buckets[word, "set"].is_public = False
    with pytest.raises(UnavailableError, match="is not open to everybody") as caught:
        quiet(f"{word}://set/data/a.csv")
    assert {"s3": "AWS_ACCESS_KEY_ID", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}[word] in str(caught.value)


def test_a_bucket_that_may_not_be_listed_says_forbidden_for_what_is_missing(buckets):
    buckets.buckets["s3", "set"].may_list = False
    assert quiet("s3://set/data/a.csv").path.read_bytes() == FILES["data/a.csv"]
    with pytest.raises(UnavailableError, match="not open to everybody, or holds no nothing.csv"):
        quiet("s3://set/nothing.csv")


def test_a_private_object_of_a_bucket_that_everybody_may_list_is_named(buckets):
    buckets.private.add("top.csv")
    with pytest.raises(UnavailableError, match="not open to everybody"):
        quiet("s3://set/top.csv")


def test_a_private_bucket_is_read_with_credentials_that_are_shown_nowhere(buckets, credentials, caplog):
    caplog.set_level(0)
    buckets.buckets["s3", "set"].is_public = False
    staged = quiet("s3://set/data/more/b c.bin")
    assert staged.path.read_bytes() == BIG
    assert tree(quiet("s3://set/data")) == below("data/")
    assert SECRET not in str(staged.receipt) + caplog.text


def test_wrong_credentials_are_named(buckets, credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFSOMEBODYELSE00")
    with pytest.raises(UnavailableError, match="does not let these credentials read set") as caught:
        quiet("s3://set/data/a.csv")
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_is_named_with_credentials_too(buckets, credentials):
    with pytest.raises(UnavailableError, match="There is no bucket nothing"):
        quiet("s3://nothing/a/")


def test_a_bucket_in_another_region_is_found(buckets, credentials):
    buckets.buckets["s3", "set"].region = "eu-central-1"
    buckets.buckets["s3", "set"].is_public = False
    assert quiet("s3://set/data/a.csv").path.read_bytes() == FILES["data/a.csv"]


@pytest.fixture
def of_google(buckets, monkeypatch, tmp_path):
    pytest.importorskip("obstore")
    if shutil.which("openssl") is None:
        pytest.skip("left out: openssl makes the key, and is not here")
    file, buckets.modulus = service_account(tmp_path)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    buckets.buckets["gs", "set"].is_public = False
    return file


@pytest.fixture
def of_azure(buckets, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    monkeypatch.setenv("DATASTAGE_ENDPOINTS", f"azure={buckets.address}/az")
    buckets.buckets["az", "set"].is_public = False


def test_google_is_asked_with_a_token_that_the_service_account_signed(buckets, of_google, caplog):
    caplog.set_level(0)
    staged = quiet("gs://set/data/more/b c.bin")
    assert staged.path.read_bytes() == BIG
    assert tree(quiet("gs://set/data")) == below("data/")
    buckets.modulus += 2  # of another key
    with pytest.raises(UnavailableError, match="does not let these credentials read set") as caught:
        quiet("gs://set/top.csv")
    assert "PRIVATE KEY" not in str(caught.value) + str(staged.receipt) + caplog.text
    assert "eyJ" not in str(caught.value) + str(staged.receipt) + caplog.text


def test_a_file_of_credentials_that_is_none_is_named(buckets, of_google, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(UnavailableError, match="GOOGLE_APPLICATION_CREDENTIALS") as caught:
        quiet("gs://set/top.csv")
    assert str(caught.value).splitlines()[-1].strip().startswith("Next:")


def test_a_key_that_is_none_is_named_and_not_shown(buckets, of_azure, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no base64, and s3cret")
    with pytest.raises(UnavailableError, match="AZURE_STORAGE_ACCOUNT_KEY cannot be used") as caught:
        quiet("az://set/top.csv")
    assert "s3cret" not in str(caught.value)


def test_azure_is_asked_with_requests_that_the_accounts_key_signs(buckets, of_azure, monkeypatch, caplog):
    caplog.set_level(0)
    staged = quiet("az://set/data/more/b c.bin")
    assert staged.path.read_bytes() == BIG
    assert tree(quiet("az://set/data")) == below("data/")
    assert AZURE_KEY not in str(staged.receipt) + caplog.text
    wrong = base64.b64encode(b"of somebody else").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(UnavailableError, match="does not let these credentials read set") as caught:
        quiet("az://set/top.csv")
    assert wrong not in str(caught.value)


def test_credentials_without_obstore_say_what_to_install(buckets, credentials, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingDependencyError, match="pip install obstore"):
        quiet("s3://set/data/a.csv")


# --- kept there


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text, label=""):
        self.said.append((label, text))


@pytest.fixture(params=["s3", "gs", "az"])
def kept_in(request, buckets):
    """A bucket that is written to with credentials, and what to read of it."""
    request.getfixturevalue({"s3": "credentials", "gs": "of_google", "az": "of_azure"}[request.param])
    bucket = buckets.buckets[request.param, "set"]
    bucket.is_public = False
    return f"{request.param}://set/kept", bucket


def forget(tmp_path):
    own_files.remove_tree(tmp_path / "root")


def test_what_was_fetched_is_kept_in_a_bucket_and_found_there_first(kept_in, buckets, server, tmp_path):
    place, bucket = kept_in
    url = server.serve("big.bin", BIG * 8)  # in several parts
    said = []
    for _ in range(2):
        notes = Notes()
        assert datastage.stage(url, save_to=place, progress=notes).path.read_bytes() == BIG * 8
        said.append([label for label, _ in notes.said])
        n_asked = len(server.seen)
        forget(tmp_path)
    assert bucket.objects["kept/big.bin"] == BIG * 8
    assert ("Kept" in said[0], "Kept" in said[1]) == (True, False)
    assert [path for path in buckets.asked if "partNumber=" in path or "blockid=" in path]
    assert quiet(url, save_to=place).path.read_bytes() == BIG * 8
    assert len(server.seen) == n_asked


def test_a_kept_object_that_changed_is_fetched_anew_and_another_of_its_name_lies_beside_it(kept_in, server, tmp_path):
    place, bucket = kept_in
    url = server.serve("pets.csv", b"cat,1\n")
    quiet(url, save_to=place)
    bucket.objects["kept/pets.csv"] = b"dog,1\n"
    forget(tmp_path)
    assert quiet(url, save_to=place).path.read_bytes() == b"cat,1\n"
    forget(tmp_path)
    other = server.serve("other/pets.csv", b"eel,12\n")
    assert quiet(other, save_to=place).path.read_bytes() == b"eel,12\n"
    assert {b"eel,12\n", b"dog,1\n"} < set(bucket.objects.values())


def test_a_bucket_that_may_not_be_written_to_costs_no_data_and_is_said(kept_in, server):
    place, bucket = kept_in
    bucket.may_write = False
    notes = Notes()
    staged = datastage.stage(server.serve("pets.csv", b"cat,1\n"), save_to=place, progress=notes)
    assert staged.path.read_bytes() == b"cat,1\n"
    assert [text for label, text in notes.said if label == "Not kept" and "cannot be kept in" in text]


def test_an_entry_of_the_catalog_is_kept_in_a_bucket_too(buckets, credentials, server, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    body = b"1,2\n" * 30
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    datastage.register("marks", server.serve("marks.csv", body), expect=digest)
    quiet("marks", save_to="s3://set/kept")
    assert buckets.buckets["s3", "set"].objects["kept/marks/marks.csv"] == body
    forget(tmp_path)
    n_asked = len(server.seen)
    assert quiet("marks", save_to="s3://set/kept").path.read_bytes() == body
    assert len(server.seen) == n_asked


@pytest.mark.parametrize("text", ["s3:set/a", "gs://", "s3:///a"])
def test_what_is_no_bucket_is_said(text):
    with pytest.raises(SpecError, match="names no bucket"):
        parse(text)


@pytest.mark.parametrize("spec", ["s3://set/data/a.csv", "s3://set/data/", "gs://set/data/", "az://az/set/data/a.csv"])
def test_a_bucket_is_waited_for_as_patiently_as_is_asked(spec, buckets, patience):
    assert patience(spec) == ["as asked"]
