"""Packing into a bucket: objects appear whole, the next run goes on, and each refusal is said."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

import datastage
from datastage import runtime
from datastage.errors import StorageError, UnavailableError
from datastage.shards.index import read_index
from tests.shards.made_photos import KILLER, make_photos

boto3 = pytest.importorskip("boto3", reason="left out: moto is not installed here")
server = pytest.importorskip("moto.server", reason="left out: moto's server is not installed here")
pytest.importorskip("obstore")


@pytest.fixture
def bucket(here, monkeypatch):
    """A bucket of moto's S3, as boto3 sees it."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name in ("http_proxy", "https_proxy", "all_proxy", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    made = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").Bucket("set")
    made.create()
    yield made
    made.objects.all().delete()  # what moto holds outlives its server
    running.stop()


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", 24)


def packed(data, to, **options):
    return datastage.pack(data, to, **{"shards": "10kB", "test": 0, "progress": False, **options})


def objects(bucket):
    return {one.key: hashlib.sha256(one.get()["Body"].read()).hexdigest() for one in bucket.objects.all()}


def test_a_bucket_gets_what_a_folder_gets(photos, tmp_path, bucket):
    packed(photos, tmp_path / "shards")
    result = packed(photos, "s3://set/some/photos")
    local = {
        f"some/photos/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "shards").iterdir()
        if not path.name.startswith(".")
    }
    assert objects(bucket) == local
    assert result.to == "s3://set/some/photos"
    assert read_index(bucket.Object("some/photos/index.json").get()["Body"].read()) == result.index


def test_a_shard_of_many_parts_appears_as_one_object(tmp_path, bucket):
    import numpy as np
    from PIL import Image

    for i in range(8):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (900, 900, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", compress_level=0)
    (shard,) = packed(tmp_path / "photos", "s3://set/photos", shards="100MB").index.shards
    assert shard.size > 2 * 8 << 20 > 0
    assert objects(bucket)["photos/train-000000.tar"] == shard.sha256


def test_shards_for_a_bucket_lie_on_the_fast_disk_until_they_are_put(photos, bucket, tmp_path, monkeypatch):
    runtime.current().fast_disk.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    assert packed(photos, "s3://set/shards").samples == 24


def test_what_is_there_is_kept_and_only_what_is_missing_is_put(photos, bucket):
    packed(photos, "s3://set/photos")
    before = objects(bucket)
    times = {one.key: one.last_modified for one in bucket.objects.all()}
    bucket.Object("photos/train-000001.tar").delete()
    bucket.Object("photos/train-000002.tar.index").delete()
    again = packed(photos, "s3://set/photos")
    assert (again.written, objects(bucket)) == (2, before)
    kept = ("photos/train-000000.tar", "photos/train-000002.tar")
    assert all(bucket.Object(name).last_modified == times[name] for name in kept)


def test_what_is_not_ours_in_a_bucket_is_never_replaced(photos, bucket):
    bucket.put_object(Key="photos/train-000000.tar", Body=b"somebody's")
    with pytest.raises(StorageError, match="nothing of it is replaced"):
        packed(photos, "s3://set/photos")
    assert objects(bucket).keys() == {"photos/train-000000.tar"}


def test_what_lies_deeper_in_a_bucket_is_not_in_the_way(photos, bucket):
    bucket.put_object(Key="shards/deeper/train-000000.tar", Body=b"somebody else's")
    first = packed(photos, "s3://set/shards")
    assert (first.samples, packed(photos, "s3://set/shards").kept) == (24, first.written)


def test_a_bucket_that_is_not_there_is_said(photos, bucket):
    with pytest.raises(UnavailableError, match="none") as caught:
        packed(photos, "s3://none/photos")
    assert caught.value.remedy[-1].startswith("Next: ")


KILLED = f"""{KILLER}
killer = Killer(12, {int(signal.SIGKILL)})
datastage.pack(sys.argv[1], "s3://set/photos", shards="10kB", test=0, progress=killer)
"""


def test_a_run_that_was_killed_goes_on_in_the_bucket(photos, tmp_path, bucket):
    packed(photos, "s3://set/whole")
    done = subprocess.run([sys.executable, "-c", KILLED, photos])
    assert done.returncode == -9
    left = {name for name in objects(bucket) if name.startswith("photos/") and name.endswith(".tar")}
    again = packed(photos, "s3://set/photos")
    assert again.written + len(left) >= len(again.index.shards) > again.written
    found = objects(bucket)
    assert {name: digest for name, digest in found.items() if name.startswith("photos/")} == {
        name.replace("whole/", "photos/"): digest for name, digest in found.items() if name.startswith("whole/")
    }


@pytest.mark.parametrize(("status", "code"), [(403, "ExpiredToken"), (503, "SlowDown")])
def test_a_credential_that_ends_and_a_store_that_is_busy(photos, bucket, monkeypatch, status, code):
    """After some requests the store refuses: an error of ours for the one, patience for the other."""
    front = Front(os.environ["AWS_ENDPOINT_URL"], status, code, after=8, times=1_000 if status == 403 else 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", front.address)
    try:
        if status == 503:
            assert packed(photos, "s3://set/photos").written
            return
        with pytest.raises(UnavailableError, match="may have run out") as caught:
            packed(photos, "s3://set/photos")
        assert "testing" not in str(caught.value)
        there = objects(bucket).keys() - {"photos/pack.json"}
        front.times = 0
        again = packed(photos, "s3://set/photos")
        assert again.kept == sum(name.endswith(".tar.index") for name in there)
    finally:
        front.close()
    assert front.refused


class Front:
    """A server before the store, which refuses requests from the one of number `after` on, so many `times`."""

    def __init__(self, behind, status, code, after, times):
        import http.client
        import http.server
        import urllib.parse

        self.after, self.times, self.refused = after, times, 0
        address, lock, front = urllib.parse.urlsplit(behind), threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    front.after -= 1
                    refuse = front.after < 0 and front.times > 0
                    front.times -= refuse
                    front.refused += refuse
                if refuse:
                    return self.give(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), [])
                asked = http.client.HTTPConnection(address.hostname, address.port)
                asked.request(self.command, self.path, body, dict(self.headers))
                answer = asked.getresponse()
                data = answer.read()
                headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP]
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.give(answer.status, data, headers, length)
                asked.close()

            def give(self, number, data, headers, length=None):
                self.send_response_only(number)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


HOP = ("content-length", "connection", "transfer-encoding", "keep-alive")
