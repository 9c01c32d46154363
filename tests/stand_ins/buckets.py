"""S3, Google Cloud Storage and Azure on the loopback, as strict as they are with who asks and how.

The first part of a path tells the service; what follows is bucket and object. S3 checks the key of a signed request
and its region, and answers 403 for what is not there to who may not list.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from tests.stand_ins.server import LoopbackHandler, LoopbackServer

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "s3cr3t-key-of-the-tests"


@dataclass
class Bucket:
    """What lies in a bucket, and who may have it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    is_public: bool = True
    may_list: bool = True
    region: str = "us-east-1"


class Buckets(LoopbackServer):
    """The server; `buckets` holds them by (service, name)."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}
        self.wrong: dict[str, bytes] = {}  # what is given in the place of an object
        self.private: set[str] = set()  # objects of public buckets
        self.asked: list[str] = []
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
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked or not body:
            return self.give(200, body, **said)
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
        self.give(206, body[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(body)}", **said)

    do_HEAD = property(lambda self: self.do_GET)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.stand_in.asked.append(urllib.parse.unquote(self.path))
        service, *rest = urllib.parse.unquote(path).lstrip("/").split("/")
        words = dict(urllib.parse.parse_qsl(query))
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
            return self.give(200, f"{top}<Name>{rest[0]}</Name>{cut}{rows}{more}</ListBucketResult>".encode(), **region)
        if path in self.stand_in.private and not signed:
            return self.refuse(403, "AccessDenied")
        if path not in bucket.objects:
            return self.refuse(404 if bucket.may_list else 403, "NoSuchKey" if bucket.may_list else "AccessDenied")
        return self.file(path, bucket.objects[path], **region)

    def gs(self, rest: list[str], query: dict[str, str]) -> None:
        is_list = rest[:3] == ["storage", "v1", "b"]
        bucket = self.stand_in.buckets.get(("gs", rest[3] if is_list else rest[0]))
        if bucket is None:
            return self.refuse(404, "NoSuchBucket")
        if not bucket.is_public:
            return self.refuse(403, "AccessDenied")
        if is_list:
            start = query.get("pageToken", "")
            names = sorted(n for n in bucket.objects if n.startswith(query.get("prefix", "")) and n > start)
            items = [
                {"name": name, "size": str(len(bucket.objects[name])), "md5Hash": _b64(bucket.objects[name])}
                for name in names[:2]
            ]
            more = {"nextPageToken": names[1]} if len(names) > 2 else {}
            return self.give(200, json.dumps({"items": items, **more}).encode())
        path = "/".join(rest[1:])
        if path not in bucket.objects:
            return self.refuse(404, "NoSuchKey")
        return self.file(path, bucket.objects[path], x_goog_hash=f"md5={_b64(bucket.objects[path])}")

    def az(self, rest: list[str], query: dict[str, str]) -> None:
        bucket, path = self.stand_in.buckets.get(("az", rest[0])), "/".join(rest[1:])
        if bucket is None:
            return self.refuse(404, "ContainerNotFound")
        if not bucket.is_public:
            return self.refuse(409, "PublicAccessNotPermitted")
        if query.get("comp") == "list":
            rows = "".join(
                f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(body)}</Content-Length>"
                f"<Content-MD5>{_b64(body)}</Content-MD5></Properties></Blob>"
                for name, body in sorted(bucket.objects.items())
                if name.startswith(query.get("prefix", ""))
            )
            return self.give(
                200, f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>".encode()
            )
        if path not in bucket.objects:
            return self.refuse(404, "BlobNotFound")
        return self.file(path, bucket.objects[path])


def _b64(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()
