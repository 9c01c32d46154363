"""Buckets: ``s3://``, ``gs://`` and ``az://``, public ones over plain https, others through obstore; written to too."""

from __future__ import annotations

import importlib.util
import os
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

from datastage.errors import DatastageError, MissingDependencyError, NotDataError, SpecError, UnavailableError
from datastage.reader import Reader
from datastage.sources.endpoints import ENDPOINTS, at_endpoint, endpoint
from datastage.sources.found import Context, Found
from datastage.sources.http_answers import Refused, md5_of
from datastage.sources.web_api import RemoteFile, open_file, open_files, read_page, refusal
from datastage.spec import Spec, last_part
from datastage.transfer import Interrupted

T = TypeVar("T")
_MOST_PAGES = 10_000


def parse_bucket(text: str, word: str, rest: str) -> Spec:
    """Tell ``s3://BUCKET/PATH``; a path that is empty or ends with a slash is a folder."""
    bucket, _, path = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not bucket:
        raise SpecError(f"{text!r} names no bucket.", f"Next: {word}://BUCKET/PATH")
    return Spec(text, "bucket", f"{word}/{bucket}/{path}", (word, bucket, path), name=last_part(path) or bucket)


# Pages of consoles, which give an object to nobody who is not signed in: the host, its paths, the kind of bucket.
_CONSOLES = (
    ("storage.cloud.google.com", r"/([^/]+)/(.+)", "gs"),
    ("console.cloud.google.com", r"/storage/browser/(?:_details/)?([^/;]+)/?([^;]*?)(?:;.*)?", "gs"),
    (".aws.amazon.com", r"/s3/(?:buckets|object)/([^/]+)/?()", "s3"),
)


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell the object or the folder that a console shows."""
    for host, pattern, word in _CONSOLES:
        page = re.fullmatch(pattern, urllib.parse.unquote(url.path))
        if page and f".{url.hostname}".endswith(host):
            path = page[2] or dict(urllib.parse.parse_qsl(url.query)).get("prefix", "")
            return parse_bucket(text, word, f"//{page[1]}/{path}")
    return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of bucket: its address for everybody, its listing, and how people give their credentials."""

    title: str
    address: Callable[[str, str], str]  # of a bucket, in a region
    rows: Callable[[str, str, Context], Iterator[tuple[str, int, dict[str, str]]]]  # path, size, digests
    credentials: tuple[str, ...]


def _s3_address(bucket: str, region: str) -> str:
    if os.environ.get("AWS_ENDPOINT_URL"):
        return f"{os.environ['AWS_ENDPOINT_URL'].rstrip('/')}/{bucket}"
    host = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    # No certificate fits a name with dots before the host.
    url = f"https://{host}/{bucket}" if "." in bucket else f"https://{bucket}.{host}"
    return at_endpoint("s3", url)


def _az_address(bucket: str, region: str) -> str:
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not account:
        raise SpecError(
            f"az://{bucket} does not say whose storage it is.",
            "Next: set AZURE_STORAGE_ACCOUNT_NAME; or give the address https://ACCOUNT.blob.core.windows.net/...",
        )
    return at_endpoint("azure", f"https://{account}.blob.core.windows.net/{bucket}")


# Of a listing in XML: its query, the words for the next page, for what it lists, and for path, size and base64 md5. The
# ETag of S3 is the md5 only of what was put in one part and without a key: it proves nothing.
_S3_LIST = ({"list-type": "2"}, "continuation-token", "NextContinuationToken", "Contents", ("Key", "Size", "-"))
_AZ_LIST = (
    {"restype": "container", "comp": "list"}, "marker", "NextMarker", "Blob",
    ("Name", "Properties/Content-Length", "Properties/Content-MD5"),
)  # fmt: skip


def _xml_rows(form: Any, address: str, prefix: str, context: Context) -> Iterator[tuple[str, int, dict[str, str]]]:
    query, token, following, item, names = form
    query = {**query, "prefix": prefix}
    for _ in range(_MOST_PAGES):
        try:
            page = read_page(f"{address}?{urllib.parse.urlencode(query)}", limits=context.limits)
            top = ElementTree.fromstring(page.body)
        except ElementTree.ParseError:
            raise NotDataError("The bucket gave something else than its list.", "Next: look at its address.") from None
        for element in top.iter():
            element.tag = element.tag.rpartition("}")[2]
        for row in top.iter(item):
            path, size, md5 = (row.findtext(name) or "" for name in names)
            yield path, int(size or 0), md5_of(md5)
        query[token] = top.findtext(following) or ""
        if not query[token]:
            return


def _gs_rows(address: str, prefix: str, context: Context) -> Iterator[tuple[str, int, dict[str, str]]]:
    start, _, bucket = address.rpartition("/")
    query = {"prefix": prefix}
    for _ in range(_MOST_PAGES):
        url = f"{start}/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
        page = read_page(url, limits=context.limits).json()
        for one in page.get("items", ()):
            packed = one.get("contentEncoding") == "gzip"  # it is unpacked on its way
            yield str(one["name"]), int(one.get("size", 0)), {} if packed else md5_of(one.get("md5Hash", ""))
        query["pageToken"] = page.get("nextPageToken", "")
        if not query["pageToken"]:
            return


_KINDS = {
    "s3": _Kind("Amazon S3", _s3_address, partial(_xml_rows, _S3_LIST), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    "gs": _Kind(
        "Google Cloud Storage",
        lambda bucket, region: f"{endpoint('google_storage')}/{bucket}",
        _gs_rows,
        ("GOOGLE_APPLICATION_CREDENTIALS",),
    ),
    "az": _Kind("Azure", _az_address, partial(_xml_rows, _AZ_LIST), ("AZURE_STORAGE_ACCOUNT_KEY",)),
}


def open_bucket(spec: Spec, context: Context) -> Found:
    """Reach an object, or all below a prefix; with the user's credentials where there are some, else as anybody."""
    kind = _KINDS[spec.parts[0]]
    with_credentials = all(os.environ.get(name) for name in kind.credentials)
    reach = _by_obstore if with_credentials else _by_https
    try:
        return _in_its_region(partial(reach, spec, context, kind))
    except DatastageError as error:
        raise _explained(error, spec, kind, with_credentials) from error


def _in_its_region(act: Callable[[str], T], region: str = "") -> T:
    """Do something in a bucket; again in its own region, if a refusal says that it lies in another."""
    try:
        return act(region)
    except DatastageError as error:
        other = getattr(error, "headers", {}).get("x-amz-bucket-region", "")
        if region or not other or refusal(error) not in (301, 307):
            raise
    return act(other)


def _by_https(spec: Spec, context: Context, kind: _Kind, region: str) -> Found:
    _, bucket, path = spec.parts
    address = kind.address(bucket, region)
    if path and not path.endswith("/"):
        try:
            file = RemoteFile(last_part(path), f"{address}/{urllib.parse.quote(path)}")
            return open_file(file, str(spec), context, f"in {bucket} at {kind.title}")
        except DatastageError as error:
            # Without the right to list, S3 answers 403 for what is not there. An empty object may stand for a folder.
            if refusal(error) not in (403, 404) and not isinstance(error, NotDataError):
                raise
            refused = error
    else:
        refused = None
    prefix = f"{path.rstrip('/')}/" if path else ""
    try:
        rows = list(kind.rows(address, prefix, context))
    except DatastageError as error:
        raise refused or error from error
    files = [
        RemoteFile(name.removeprefix(prefix), f"{address}/{urllib.parse.quote(name)}", size, digests)
        for name, size, digests in rows
        if not name.endswith("/")
    ]
    if refused is not None and refusal(refused) != 404 and not files:
        raise refused  # it may be there, for others
    return _folder(spec, context, kind, files)


def _folder(spec: Spec, context: Context, kind: _Kind, files: list[RemoteFile]) -> Found:
    _, bucket, path = spec.parts
    folders = {str(folder) for file in files for folder in PurePosixPath(file.path).parents}
    # Hadoop and the file systems of Azure keep a folder as an empty object of its name.
    files = [file for file in files if file.size != 0 or file.path not in folders]
    if not files:
        raise UnavailableError(
            f"{bucket} at {kind.title} holds no {path or 'files'}.",
            "Next: compare the path with the page of the bucket; capitals count.",
        )
    where = f"in {path.strip('/')} of {bucket}" if path else f"in {bucket}"
    return open_files(files, str(spec), context, f"{where} at {kind.title}")


def _explained(error: DatastageError, spec: Spec, kind: _Kind, with_credentials: bool) -> DatastageError:
    bucket, status, body = spec.parts[1], refusal(error), getattr(error, "body", b"")
    names = " and ".join(kind.credentials)
    if b"NoSuchBucket" in body:
        return UnavailableError(
            f"There is no bucket {bucket} at {kind.title}.", "Next: compare its name; copy it anew."
        )
    if status == 404:
        return UnavailableError(
            f"{bucket} at {kind.title} holds no {spec.parts[2]}.",
            "Next: compare the path with the page of the bucket; capitals count.",
        )
    if status in (401, 403, 409) and with_credentials:
        return UnavailableError(
            f"{kind.title} does not let these credentials read {bucket} ({status}).",
            f"{names} are set: they may be of another account, or run out.",
            "Next: ask the owner of the bucket for the right to read it.",
        )
    if status in (401, 403, 409):
        return UnavailableError(
            f"{bucket} at {kind.title} is not open to everybody, or holds no {spec.parts[2] or 'files'} ({status}).",
            f"If it is private: set {names}, and install obstore (pip install obstore).",
            "Next: run the same line again.",
        )
    return error


# --- with credentials, through obstore


def _by_obstore(spec: Spec, context: Context, kind: _Kind, region: str) -> Found:
    _, bucket, path = spec.parts
    store = _store_of(spec, kind, region)
    import obstore

    def reached(name: str) -> Found:
        reader = ObjectReader(spec, store, name)
        return Found(reader, str(spec), f"{reader.name}, in {bucket} at {kind.title}", reader.identity)

    empty = None
    if path and not path.endswith("/"):
        try:
            if (empty := reached(path)).reader.size:
                return empty
        except Refused as error:
            if error.status != 404:
                raise
    prefix = f"{path.rstrip('/')}/" if path else ""
    batches = _asking(spec, lambda: list(obstore.list(store, prefix=prefix)))
    rows = [(str(row["path"]), row["size"]) for batch in batches for row in batch if not row["path"].endswith("/")]
    if empty is not None and not rows:
        return empty
    files = [RemoteFile(name.removeprefix(prefix), "", size, reach=partial(reached, name)) for name, size in rows]
    return _folder(spec, context, kind, files)


def _store_of(spec: Spec, kind: _Kind, region: str = "", **more: Any) -> Any:
    """Return obstore's store for the bucket of a spec, with the user's credentials."""
    word, bucket, _ = spec.parts
    try:
        import obstore
        from obstore.store import from_url
    except ImportError:
        raise MissingDependencyError(
            f"{spec} is reached with your credentials through obstore, which is not installed.",
            "Or unset the credentials, if the bucket is open to everybody.",
            "Next: pip install obstore",
        ) from None
    try:
        return from_url(f"{word}://{bucket}", **_options(word, region), **more)
    except (obstore.exceptions.BaseError, ValueError) as error:
        text = " ".join(str(error).partition("Debug source")[0].split())
        for name in kind.credentials:
            text = text.replace(os.environ.get(name, "\0"), f"${name}")
        names = " and ".join(kind.credentials)
        raise UnavailableError(
            f"The credentials in {names} cannot be used: {text[:200]}",
            f"Next: compare {names} with what you were given.",
        ) from None


def _options(word: str, region: str) -> dict[str, Any]:
    """Return what obstore cannot know by itself: the region that a bucket told, and endpoints of the user's."""
    from datetime import timedelta

    waits = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}  # its own go on for three minutes
    options: dict[str, Any] = {"retry_config": waits, **({"region": region} if region else {})}
    chosen = os.environ.get("AWS_ENDPOINT_URL", "")
    if word == "gs" and endpoint("google_storage") != ENDPOINTS["google_storage"]:
        chosen = options["google_base_url"] = endpoint("google_storage")
    elif word == "az" and (chosen := endpoint("azure", " ").strip()):
        options["endpoint"] = chosen
    if chosen.startswith("http:"):
        options["client_options"] = {"allow_http": True}
    return options


def _asking(spec: Spec, ask: Callable[[], Any]) -> Any:
    """Ask obstore, and turn its errors into a server's refusals."""
    from obstore import exceptions

    try:
        return ask()
    except FileNotFoundError as error:
        raise _refused(spec, 404, error) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused(spec, 403, error) from None
    except exceptions.BaseError as error:
        # The Debug part goes on for pages, and holds the request.
        text = str(error).partition("Debug source")[0]
        if "redirect" in text.lower():
            raise _wrong_region(spec) from None
        if "404 Not Found" in text:
            raise _refused(spec, 404, error) from None
        raise UnavailableError(
            f"{spec.parts[1]} could not be read: {' '.join(text.split())[:200]}", "Next: run the same line again."
        ) from None


def _refused(spec: Spec, status: int, error: Exception) -> Refused:
    made = Refused(f"{spec} was refused ({status}).", "Next: look at its page.")
    made.status, made.body = status, b"NoSuchBucket" if "NoSuchBucket" in str(error) else b""
    return made


def _wrong_region(spec: Spec) -> DatastageError:
    """Ask the bucket as anybody: even a refusal tells its region."""
    try:
        read_page(_s3_address(spec.parts[1], "") + "?list-type=2&max-keys=1")
    except Refused as error:
        error.status = 301
        return error
    except DatastageError as error:
        return error
    return UnavailableError(f"{spec.parts[1]} lies in another region.", "Next: set AWS_REGION to its region.")


class ObjectReader(Reader):
    """An object in a bucket as a reader, through obstore."""

    piece_bytes = 4 << 20

    def __init__(self, spec: Spec, store: Any, path: str) -> None:
        import obstore

        self._spec, self._store, self._path = spec, store, path
        facts = _asking(spec, lambda: obstore.head(store, path))
        self.name = last_part(path)
        self.size: int | None = facts["size"]
        self.identity = f"{facts.get('e_tag') or facts['last_modified']}-{self.size}"

    def read_at(self, offset: int, n: int) -> bytes:
        import obstore

        n = max(0, min(n, (self.size or 0) - offset))
        ask = partial(obstore.get_range, self._store, self._path, start=offset, length=n)
        return bytes(_asking(self._spec, ask)) if n else b""

    def pieces(self, offset: int, n: int | None) -> Iterator[bytes]:
        """Give `n` bytes from `offset` in pieces, in one try."""
        try:
            yield from super().pieces(offset, n)
        except UnavailableError as error:
            raise Interrupted(error, "final" if isinstance(error, Refused) else "broken") from error

    def stream(self, offset: int = 0) -> Iterator[bytes]:
        return super().pieces(offset, None)


# --- a folder in a bucket that files are kept in, written and read with the user's credentials


def check_writable(spec: Spec) -> None:
    """Refuse a bucket that cannot be written to from here, before anything is fetched for it."""
    names = [name for name in _KINDS[spec.parts[0]].credentials if not os.environ.get(name)]
    if names:
        raise SpecError(
            f"Nothing can be kept in {spec} without credentials: {' and '.join(names)} are not set.",
            "Next: set them; or keep it in Drive, with save_to='drive:datasets'.",
        )
    if importlib.util.find_spec("obstore") is None:
        raise MissingDependencyError(
            f"{spec} is written to through obstore, which is not installed.", "Next: pip install obstore"
        )


@dataclass(slots=True)
class BucketFolder:
    """What lies below a prefix of a bucket; ``folder / "name"`` is the folder below."""

    word: str
    bucket: str
    prefix: str
    region: str = ""
    checked: bool = False  # S3 is given a SHA-256 of what is put, and compares

    @classmethod
    def of(cls, spec: Spec, *, checked: bool = False) -> BucketFolder:
        return cls(spec.parts[0], spec.parts[1], spec.parts[2].strip("/"), checked=checked)

    def __truediv__(self, name: str) -> BucketFolder:
        return replace(self, prefix=f"{self.prefix}/{name}".strip("/")) if name else self

    def __str__(self) -> str:
        return f"{self.word}://{self.bucket}/{self.prefix}"

    def is_dir(self) -> bool:
        """Say no: it is no folder of this machine's; its own spec is tried in its place."""
        return False

    def spec(self, name: str) -> Spec:
        """Return the spec of an object in it, or of the whole folder for an empty name."""
        rest = f"//{self.bucket}/" + (f"{self.prefix}/{name}" if self.prefix else name)
        return parse_bucket(f"{self.word}:{rest}", self.word, rest)

    def do(self, name: str, act: Callable[[Any, str], T]) -> T:
        """Do something with an object; again in the bucket's own region, if it lies in another."""
        spec = self.spec(name)
        how = {"checksum_algorithm": "SHA256"} if self.checked and self.word == "s3" else {}

        def ask(region: str) -> T:
            self.region = region
            store = _store_of(spec, _KINDS[self.word], region, **how)
            found: T = _asking(spec, partial(act, store, spec.parts[2]))
            return found

        return _in_its_region(ask, self.region)

    def size(self, name: str) -> int | None:
        """Return the length of an object; None if it is not there."""
        import obstore

        try:
            return int(self.do(name, obstore.head)["size"])
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def open(self, name: str) -> ObjectReader:
        self.size(name)  # finds the region
        spec = self.spec(name)
        return ObjectReader(spec, _store_of(spec, _KINDS[self.word], self.region), spec.parts[2])

    def put(self, name: str, pieces: Callable[[], Iterator[bytes]]) -> None:
        import obstore

        self.do(name, lambda store, path: obstore.put(store, path, pieces()))
