"""S3, Google Cloud Storage and Azure on the loopback, as strict as they are with who asks and how.

The first part of a path tells the service; what follows is bucket and object. S3 checks the key of a signed request
and its region, and answers 403 for what is not there to who may not list.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import re
import subprocess
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "s3cr3t-key-of-the-tests"
ACCOUNT, AZURE_KEY = "school", base64.b64encode(b"the-azure-key-of-the-tests").decode()


def service_account(folder: Path) -> tuple[Path, int]:
    """Write a file of credentials as Google gives it, with a key of its own; return it and the key's modulus."""
    made = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    private = subprocess.run(made, capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(["openssl", "rsa", "-noout", "-modulus"], input=private, capture_output=True, text=True)
    facts = {"type": "service_account", "private_key": private, "private_key_id": "k1", "project_id": "p",
             "client_email": "course@p.iam.gserviceaccount.com", "client_id": "1"}  # fmt: skip
    path = folder / "service-account.json"
    path.write_text(json.dumps(facts))
    return path, int(shown.stdout.strip().removeprefix("Modulus="), 16)


def _from_b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Bucket:
    """What lies in a bucket, and who may have it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    is_public: bool = True
    may_list: bool = True
    may_write: bool = True
    region: str = "us-east-1"


class Buckets(LoopbackServer):
    """The server; `buckets` holds them by (service, name)."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.wrong: dict[str, bytes] = {}  # what is given in the place of an object
        self.private: set[str] = set()  # objects of public buckets
        self.gzipped: set[str] = set()  # objects that Google keeps packed, and unpacks on their way
        self.checksums: set[str] = set()  # that came with what was written
        self.asked: list[str] = []
        self.parts: dict[tuple[str, str], dict[str, bytes]] = {}  # of objects that are being written
        self.modulus = 0  # of the key that Google knows
        server = self

        class Handler(_Handler):
            stand_in = server

        super().__init__(Handler, "buckets")


class _Handler(LoopbackHandler):
    stand_in: Buckets

    def refuse(self, status: int, code: str, **headers: str) -> None:
        text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        self.give(status, text.encode(), Content_Type="application/xml", **headers)

    def file(self, path: str, body: bytes, **headers: str) -> None:
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        body = self.stand_in.wrong.get(path, body)
        said = {"ETag": etag, "Last_Modified": "Sat, 21 Nov 2026 10:00:00 GMT", **headers}
        self.give_file(body, **said)

    do_HEAD = property(lambda self: self.do_GET)
    do_PUT = do_POST = property(lambda self: self.do_GET)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.stand_in.asked.append(urllib.parse.unquote(self.path))
        service, *rest = urllib.parse.unquote(path).lstrip("/").split("/")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        {"s3": self.s3, "gs": self.gs, "az": self.az}[service](rest, words)

    def s3(self, rest: list[str], query: dict[str, str]) -> None:
        bucket, path = self.stand_in.buckets.get(("s3", rest[0])), "/".join(rest[1:])
        if bucket is None:
            return self.refuse(404, "NoSuchBucket")
        region = {"x_amz_bucket_region": bucket.region}
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/s3", self.headers.get("Authorization", ""))
        if signed and signed[1] != KEY:
            return self.refuse(403, "InvalidAccessKeyId", **region)
        if signed and signed[2] != bucket.region:
            return self.refuse(301, "PermanentRedirect", **region)
        if not signed and not bucket.is_public:
            return self.refuse(403, "AccessDenied", **region)
        if query.get("list-type") == "2":
            if not bucket.may_list:
                return self.refuse(403, "AccessDenied", **region)
            return self.listing(rest[0], bucket, query, **region)
        if self.command in ("PUT", "POST"):
            return self.written(rest[0], path, bucket, query) if signed else self.refuse(403, "AccessDenied")
        if path in self.stand_in.private and not signed:
            return self.refuse(403, "AccessDenied")
        if path not in bucket.objects:
            return self.refuse(404 if bucket.may_list else 403, "NoSuchKey" if bucket.may_list else "AccessDenied")
        return self.file(path, bucket.objects[path], **region)

    def written(self, name: str, path: str, bucket: Bucket, query: dict[str, str]) -> None:
        """Take an object: at once, or in parts that are joined when all are there. Part of one is nothing."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not bucket.may_write:
            return self.refuse(403, "AccessDenied")
        self.stand_in.checksums |= set(self.headers.get_all("x-amz-checksum-sha256", []))
        parts = self.stand_in.parts.setdefault((name, path), {})
        if "uploads" in query:
            top = f"<InitiateMultipartUploadResult><Bucket>{name}</Bucket><Key>{escape(path)}</Key>"
            return self.give(200, f"{top}<UploadId>u1</UploadId></InitiateMultipartUploadResult>".encode())
        part = query.get("partNumber") or query.get("blockid")
        if part is not None:
            parts[part] = body
            return self.give(201 if "blockid" in query else 200, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        if query.get("comp") == "blocklist" or "uploadId" in query:
            order = re.findall(rb"<(?:PartNumber|Latest|Uncommitted)>([^<]+)<", body)
            body = b"".join(parts[key.decode()] for key in order)
        bucket.objects[path] = body
        self.stand_in.parts.pop((name, path))
        done = "<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>"
        self.give(201 if "blocklist" in query.values() or self.path.startswith("/az") else 200,
                  done.encode() if self.command == "POST" else b"", ETag='"e"')  # fmt: skip

    def listing(self, name: str, bucket: Bucket, query: dict[str, str], **headers: str) -> None:
        prefix, start = query.get("prefix", ""), query.get("continuation-token", "")
        names = sorted(name for name in bucket.objects if name.startswith(prefix) and name > start)
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(bucket.objects[name])}</Size>"
            f"<LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>"
            for name in names[:2]  # pages of two
        )
        more = f"<NextContinuationToken>{escape(names[1])}</NextContinuationToken>" if len(names) > 2 else ""
        top = "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        cut = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        self.give(200, f"{top}<Name>{name}</Name>{cut}{rows}{more}</ListBucketResult>".encode(), **headers)

    def is_signed_for_google(self) -> bool:
        """Whether the request bears a token that the known key signed (RFC 7515, RS256)."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token.count(".") != 2:
            return False
        said, _, signature = token.rpartition(".")
        plain = pow(int.from_bytes(_from_b64(signature), "big"), 65537, self.stand_in.modulus or 1)
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(said.encode()).digest()
        return plain == int.from_bytes(b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest, "big")

    def is_signed_for_azure(self) -> bool:
        """Whether the account's key signed this very request, as Azure's "Authorize with Shared Key" says."""
        path, _, query = self.path.partition("?")
        usual = ("Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
                 "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range")  # fmt: skip
        said = [self.command, *(self.headers.get(name, "") for name in usual)]
        said[3] = "" if said[3] == "0" else said[3]
        own = sorted((name.lower(), value) for name, value in self.headers.items() if name.lower().startswith("x-ms-"))
        said += [f"{name}:{value.strip()}" for name, value in own]
        words = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        said.append("\n".join([f"/{ACCOUNT}{path}", *(f"{name.lower()}:{value}" for name, value in words)]))
        made = hmac.new(base64.b64decode(AZURE_KEY), "\n".join(said).encode(), hashlib.sha256).digest()
        return self.headers.get("Authorization") == f"SharedKey {ACCOUNT}:{base64.b64encode(made).decode()}"

    def gs(self, rest: list[str], query: dict[str, str]) -> None:
        is_list = rest[:3] == ["storage", "v1", "b"]
        bucket = self.stand_in.buckets.get(("gs", rest[3] if is_list else rest[0]))
        if bucket is None:
            return self.refuse(404, "NoSuchBucket")
        if not (bucket.is_public or self.is_signed_for_google()):
            return self.refuse(403, "AccessDenied")
        if query.get("list-type") == "2":
            return self.listing(rest[0], bucket, query)
        if is_list:
            start = query.get("pageToken", "")
            names = sorted(n for n in bucket.objects if n.startswith(query.get("prefix", "")) and n > start)
            kept = {name: self.kept_by_google(name, bucket.objects[name]) for name in names[:2]}
            items = [{"name": name, "size": str(len(body)), "md5Hash": _b64(body)} for name, body in kept.items()]
            for item in items:
                item |= {"contentEncoding": "gzip"} if item["name"] in self.stand_in.gzipped else {}
            more = {"nextPageToken": names[1]} if len(names) > 2 else {}
            return self.give(200, json.dumps({"items": items, **more}).encode())
        path = "/".join(rest[1:])
        if self.command in ("PUT", "POST"):
            is_signed = self.is_signed_for_google()
            return self.written(rest[0], path, bucket, query) if is_signed else self.refuse(403, "AccessDenied")
        if path not in bucket.objects:
            return self.refuse(404, "NoSuchKey")
        said = {"x_goog_hash": f"md5={_b64(self.kept_by_google(path, bucket.objects[path]))}"}
        said |= {"x_goog_stored_content_encoding": "gzip"} if path in self.stand_in.gzipped else {}
        return self.file(path, bucket.objects[path], **said)

    def kept_by_google(self, path: str, body: bytes) -> bytes:
        return gzip.compress(body, mtime=0) if path in self.stand_in.gzipped else body

    def az(self, rest: list[str], query: dict[str, str]) -> None:
        bucket, path = self.stand_in.buckets.get(("az", rest[0])), "/".join(rest[1:])
        if bucket is None:
            return self.refuse(404, "ContainerNotFound")
        if self.headers.get("Authorization") and not self.is_signed_for_azure():
            return self.refuse(403, "AuthenticationFailed")
        if not bucket.is_public and not self.headers.get("Authorization"):
            return self.refuse(409, "PublicAccessNotPermitted")
        if self.command == "PUT":
            return self.written(rest[0], path, bucket, query)
        if query.get("comp") == "list":
            rows = "".join(
                f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(body)}</Content-Length>"
                "<Last-Modified>Sat, 21 Nov 2026 10:00:00 GMT</Last-Modified><Etag>0x1</Etag>"
                "<Content-Type>application/octet-stream</Content-Type>"
                f"<Content-MD5>{_b64(body)}</Content-MD5></Properties></Blob>"
                for name, body in sorted(bucket.objects.items())
                if name.startswith(query.get("prefix", ""))
            )
            return self.give(
                200, f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>".encode()
            )
        if path not in bucket.objects:
            return self.refuse(404, "BlobNotFound")
        return self.file(path, bucket.objects[path], x_ms_blob_content_md5=_b64(bucket.objects[path]))


def _b64(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()
