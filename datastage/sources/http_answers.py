"""What an answer of HTTP means: its part of the file, the file's name, how it is packed, and every refusal in words."""

from __future__ import annotations

import base64
import contextlib
import email.message
import email.utils
import http.client
import itertools
import re
import socket
import ssl
import time
import urllib.parse
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from datastage.archives import streams
from datastage.archives.errors import Fault
from datastage.connecting import Address, SocksRefused, proxy_of
from datastage.errors import IntegrityError, UnavailableError
from datastage.sources.endpoints import token_name
from datastage.sources.http_connection import Chunks, NotHttp, Response
from datastage.transfer import Interrupted, Kind

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
BUSY = frozenset({429, 503, 509})
_KEPT = "Next: run the same line again; what has come is kept."
_AGAIN = "Next: run the same line again."
# What some servers call an encoding, and is none: the bytes are as they are.
_NO_ENCODINGS = frozenset({"", "identity", "none", "binary", "7bit", "8bit", "utf-8", "utf8", "aws-chunked"})
# Named so, the bytes are the gzip itself: a server that says "Content-Encoding: gzip" of them means their type.
_GZIP_NAMES = re.compile(r"(?i)\.(gz|tgz|gzip|svgz|z)$")
_GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip", "application/x-tgz", "application/x-compressed-tar"})

# --- headers


def encoding_of(response: http.client.HTTPResponse) -> str:
    """Return how the body is packed, empty if it is as it is."""
    kinds = (kind.strip() for kind in (response.getheader("Content-Encoding") or "").lower().split(","))
    return ", ".join(kind for kind in kinds if kind not in _NO_ENCODINGS)


def decoding_of(response: http.client.HTTPResponse, name: str, host: str) -> str:
    """Return how the body has to be unpacked: ``""``, ``"gzip"`` or ``"deflate"``."""
    encoding = encoding_of(response)
    if encoding in ("gzip", "x-gzip"):
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return "" if _GZIP_NAMES.search(name) or kind in _GZIP_TYPES else "gzip"
    if encoding in ("", "deflate"):
        return encoding
    raise UnavailableError(
        f"{host} sends {name} compressed with {encoding}, though it was asked not to.",
        "Next: download it with a browser, then stage the file.",
    )


def unpacked(body: Chunks, kind: str, name: str, host: str) -> Chunks:
    """Unpack a body that was compressed on the way with ``"gzip"`` or ``"deflate"``."""
    first = b""
    for piece in body:
        first += piece
        if len(first) >= 2:
            break
    if kind == "gzip" and first[:2] != b"\x1f\x8b":  # it says so of bytes that are no gzip
        yield first
        yield from body
        return
    # The deflate of HTTP is zlib's, and some servers send it bare.
    is_zlib = bool(first) and first[0] & 15 == 8 and int.from_bytes(first[:2], "big") % 31 == 0
    window = 31 if kind == "gzip" else 15 if is_zlib else -15
    try:
        yield from streams.gz(map(bytes, itertools.chain([first], body)), window)
    except Fault as fault:
        text = f"{name} came compressed by {host}, and damaged: it {fault.text}."
        raise Interrupted(IntegrityError(text, _AGAIN)) from fault


def md5_of(text: str) -> dict[str, str]:
    """Return the digest that is written in base64; empty for what is none.

    Examples
    --------
    >>> md5_of("1B2M2Y8AsgTpgAmY7PhCfg=="), md5_of("-")
    ({'md5': 'd41d8cd98f00b204e9800998ecf8427e'}, {})
    """
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return {}
    return {"md5": digest.hex()} if len(digest) == 16 else {}


def digests_of(headers: email.message.Message) -> dict[str, str]:
    """Return the md5 of the whole file that the storage of Google or Azure keeps and says with every answer."""
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return {}  # it is unpacked on its way
    google = re.search(r"md5=([\w+/]+=*)", ",".join(map(str, headers.get_all("x-goog-hash", []))))
    return md5_of(google[1] if google else headers.get("x-ms-blob-content-md5", ""))


def content_range(headers: email.message.Message) -> tuple[int | None, int | None, int | None]:
    """Return start, end (the last byte, counted in) and total of a Content-Range; None for what it does not say."""
    match = re.fullmatch(
        r"(?ai)\s*bytes[\s=]+(?:(\d{1,18})\s*-\s*(\d{1,18})|\*)\s*/\s*(\d{1,18}|\*)\s*",
        headers.get("Content-Range", ""),
    )
    if match is None:
        return None, None, None
    start, end, total = (None if text in (None, "*") else int(text) for text in match.groups())
    return start, end, total


def wait_asked(headers: email.message.Message) -> float | None:
    """Return the seconds a server asks to wait: by Retry-After or, as the Hub does, by ``RateLimit: x;r=0;t=2``."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    no_date = contextlib.suppress(ValueError, TypeError, OverflowError)
    with no_date:
        until = email.utils.parsedate_to_datetime(text).timestamp()
        began = time.time()
        with no_date:  # by the server's own clock, if it tells
            began = email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
        return max(0.0, until - began)
    left = re.search(r";\s*r=0\s*;\s*t=(\d{1,6})", headers.get("RateLimit", ""))
    return float(left[1]) + 1.0 if left else None


def file_name(headers: email.message.Message, *addresses: Address) -> str:
    """Return the file's name: what the server calls it, else the end of an address; safe to print and to write."""
    paths = [urllib.parse.unquote(address.target.partition("?")[0].rstrip("/")) for address in addresses]
    for name in (_disposition(headers.get("Content-Disposition", "")), *paths):
        name = re.split(r"[/\\]", name)[-1]
        name = "".join(c for c in name if c.isprintable()).strip(" .")
        if name:
            return name.encode()[-200:].decode(errors="ignore").lstrip(" .")
    return addresses[0].host


def _disposition(text: str) -> str:
    extended = re.search(r"(?i)filename\*\s*=\s*([\w-]*)'[^']*'([^;\s]+)", text)
    if extended:
        charset = extended.group(1).lower()
        return urllib.parse.unquote(extended.group(2), "latin-1" if charset == "iso-8859-1" else "utf-8", "replace")
    plain = re.search(r'(?i)filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]+))', text)
    if not plain:
        return ""
    name = re.sub(r"\\(.)", r"\1", plain.group(1)) if plain.group(1) is not None else plain.group(2).strip()
    with contextlib.suppress(UnicodeError):
        return name.encode("latin-1").decode("utf-8")  # raw UTF-8 in a header arrives as latin-1
    return name


# --- is it of the file that was begun with?


def state_of(headers: email.message.Message) -> tuple[str, str]:
    """Return the ETag, but for a weak one, and the time of the last change; empty for what the server does not say."""
    etag = headers.get("ETag", "")
    return "" if etag.startswith("W/") else etag, headers.get("Last-Modified", "")


@dataclass(frozen=True, slots=True)
class FileState:
    """What the first answer said of the file; `has_hash` says that a digest of the bytes is known besides."""

    name: str
    host: str
    etag: str = ""
    modified: str = ""
    has_hash: bool = False

    def if_same(self) -> dict[str, str]:
        """Return the header that asks for a part of this very state."""
        return {"If-Range": self.etag} if self.etag and not self.has_hash else {}

    def identity(self, size: int | None, place: str) -> str:
        """Return what tells this state of the file from another; empty if the server does not say."""
        if not self.etag and not self.modified:
            return ""
        # Two servers may give the same ETag to different bytes: the place is part of it.
        return f"{self.etag or self.modified}-{size}-{zlib.crc32(place.encode()):08x}"

    def check_same(self, response: Response, *, whole: bool = False) -> None:
        etag, modified = state_of(response.headers)
        if modified != self.modified:
            raise self.changed()
        if etag == self.etag or (self.has_hash and modified):
            return
        # Servers behind one name may give each their own ETag: a digest will tell whether the bytes differ. Without
        # one, those of a single answer are surely of one file.
        if not (modified and whole):
            raise self.changed("no ranges" if modified else "changed")

    def check_whole(self, response: Response) -> None:
        if response.status == 416:
            raise Interrupted(refused(response, self.name))
        start, end, total = content_range(response.headers)
        if response.status != 200 and (start, end) != (0, -1 if total is None else total - 1):
            text = f"{self.host} answered with a part of {self.name} when asked for the whole ({response.status})."
            raise Interrupted(IntegrityError(text, _AGAIN))

    def length_of_part(self, response: Response, offset: int, n: int, size: int | None) -> int:
        """Return how many bytes of the part that was asked for an answer gives; raise if it is another part."""
        if response.status == 200:
            self.check_same(response)
            raise _no_ranges(f"{self.host} answered with the whole of {self.name} when asked for a part.")
        start, end, total = content_range(response.headers)
        if response.status == 416 and total in (None, size):
            raise _no_ranges(f"{self.host} says that there is no such part of {self.name} (416).")
        if total is not None and total != size:
            raise self.changed()
        self.check_same(response)
        length = response.said_length
        wrong_length = length is not None and end is not None and length != end - offset + 1
        is_packed = bool(encoding_of(response))
        if start != offset or end is None or not offset <= end < offset + n or wrong_length or is_packed:
            raise _no_ranges(f"{self.host} answered with another part of {self.name} than was asked for.")
        return end - offset + 1

    def changed(self, kind: Kind = "changed") -> Interrupted:
        error = IntegrityError(
            f"{self.name} changed on {self.host} while it was being copied.",
            "Next: run the same line again when nobody is writing it.",
        )
        return Interrupted(error, kind)

    def cut_short(self, got: int, size: int | None) -> IntegrityError:
        of = "" if size is None else f" of {size:,}"
        return IntegrityError(
            f"{self.name} was cut short: {got:,}{of} bytes came from {self.host}.",
            "Next: run the same line again; if it stays short, the file on the server is not whole.",
        )


def _no_ranges(text: str) -> Interrupted:
    return Interrupted(IntegrityError(text, _AGAIN), "no ranges")


_IN_A_BROWSER = "Next: open the address in a browser; if it downloads there, upload the file instead."


# --- refusals in words: what happened, and the steps


def _passing(text: str, *steps: str) -> Interrupted:
    return Interrupted(UnavailableError(text, *(steps or (_KEPT,))))


def unresolved(host: str, why: str) -> UnavailableError:
    """Return the error for a host whose name is not known here."""
    return UnavailableError(
        f"Could not resolve host, or reach it: {host} ({why}).",
        "Next: switch the internet on, or look at the spelling, then run the same line again.",
    )


_NOT_HTTP: dict[type[Exception], str] = {
    http.client.LineTooLong: "a line of it is too long",
    http.client.BadStatusLine: "it does not begin as one",
    http.client.UnknownProtocol: "it is of another version",
    http.client.HTTPException: "it has too many headers",
    http.client.InvalidURL: "the address has letters that cannot be sent",
}


def broken(error: Exception, address: Address, name: str, limit_s: float) -> Interrupted | UnavailableError:
    """Say what an error met on the way means: one to be patient with, or not."""
    proxy = proxy_of(address)
    # What a connection meets, it meets at the proxy, where there is one.
    host = f"The proxy {proxy.host}:{proxy.port}" if proxy else address.host
    if isinstance(error, socket.gaierror):
        why = error.strerror or "the name is not known"
        if proxy:
            text = f"Could not resolve the name of the proxy: {proxy.host} ({why})."
            return _passing(text, "Next: look at http_proxy and https_proxy.")
        return Interrupted(unresolved(address.host, why))
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnavailableError(
            f"The certificate of {address.host} could not be verified: {error.verify_message}.",
            "A wrong clock on this machine, or a network that looks into traffic, does this too.",
            "Next: if your institution has a certificate authority of its own, name its file in SSL_CERT_FILE.",
        )
    if isinstance(error, ConnectionRefusedError):
        return _passing(
            f"{host} refused the connection.",
            "Next: look at http_proxy, https_proxy and all_proxy." if proxy else _KEPT,
        )
    if isinstance(error, SocksRefused):
        return _passing(f"{host} would not connect to {address.host}: {error}.", "Next: look at all_proxy.")
    if isinstance(error, OSError) and (tunnel := re.match(r"Tunnel connection failed: (\d+)", str(error))):
        refusal = UnavailableError(*_refused_by_proxy(int(tunnel[1]), address))
        return Interrupted(refusal) if int(tunnel[1]) in PASSING else refusal
    if isinstance(error, ssl.SSLEOFError | http.client.RemoteDisconnected | ssl.SSLZeroReturnError):
        return _passing(f"{host} closed the connection too early for {name}.")
    if isinstance(error, ssl.SSLError):
        said = (error.reason or str(error)).replace("_", " ").lower()
        return _passing(f"No secure connection with {address.host}: {said}.")
    if isinstance(error, TimeoutError):
        return _passing(f"{host} did not answer within {limit_s:.0f} s for {name}.")
    if isinstance(error, http.client.IncompleteRead):
        return _passing(f"{host} broke off in the middle of {name}.")
    if isinstance(error, OSError):
        return _passing(f"{host} broke the connection off ({error.strerror or type(error).__name__}) for {name}.")
    why = str(error) if isinstance(error, NotHttp) else _NOT_HTTP.get(type(error), type(error).__name__)
    return _passing(
        f"{host} gave an answer for {name} that is not proper HTTP: {why}.",
        "Something on the way, such as a proxy, may have written it.",
        _IN_A_BROWSER,
    )


def _refused_by_proxy(status: int, address: Address) -> tuple[str, ...]:
    """Say what a proxy means that does not connect."""
    proxy = proxy_of(address)
    named = f"The proxy {proxy.host}:{proxy.port}" if proxy else "The proxy"
    if status == 407:
        return (
            f"{named} asks for a user name and a password before {address.host} (407).",
            "Next: put them into the address of the proxy: https_proxy=http://NAME:PASSWORD@HOST:PORT",
        )
    return (
        f"{named} would not connect to {address.host} ({_status(status)}).",
        "Next: look at https_proxy; or name the host in no_proxy, if it can be reached without.",
    )


def _status(status: int) -> str:
    return f"{status} {http.client.responses.get(status, '')}".strip()


class Refused(UnavailableError):
    """A server's refusal, and what it answered."""

    status = 0
    body = b""
    headers: Mapping[str, str] = {}  # names in small letters
    is_final = False  # it is not asked again
    with_token = False  # a token of the user's was sent along


_REFUSALS: dict[int, tuple[str, ...]] = {
    401: ("{host} asks for a user name and a password for {name} (401).", "{netrc}", "Next: run the same line again."),
    403: (
        "{host} does not let you have {name} (403).",
        "The link may have expired, or ask you to sign in.",
        _IN_A_BROWSER,
    ),
    404: ("{host} has no such file: {name} (404).", "Next: open the address in a browser, and copy it anew."),
    410: ("{host} has no such file: {name} (410).", "Next: open the address in a browser, and copy it anew."),
    511: (
        "The network you are in wants you to sign in before it lets {host} be reached (511).",
        "Next: open any page in a browser, sign in, then run the same line again.",
    ),
}
_FIGSHARE = "figshare gives the same file at https://ndownloader.figshare.com/files/NUMBER, NUMBER as in this address."
_NETRC = "Put them into the file .netrc in your home folder: machine HOST login NAME password SECRET."


def refused(response: Response, name: str, body: bytes = b"", netrc_trouble: str = "") -> Refused:
    """Say what an answer means that brings no bytes."""
    limited = _rate_limited(response, body)
    made = Refused(*(limited or _refusal(response, name, netrc_trouble)))
    made.status, made.body = response.status, body
    made.headers = {name.lower(): value for name, value in response.headers.items()}
    # A limit of an hour is not waited for; one of a moment is.
    made.is_final = bool(limited) and "used up" in limited[0]
    return made


def _rate_limited(response: Response, body: bytes) -> tuple[str, ...]:
    """Tell a limit on requests from a server that is busy for a moment; empty if it is none."""
    status, host, text = response.status, response.address.host, body.lower()
    if status not in (403, 429):
        return ()
    left, reset, most = (
        response.headers.get(f"X-RateLimit-{what}", "").strip() for what in ("Remaining", "Reset", "Limit")
    )
    if left == "0" or b"rate limit exceeded" in text:
        is_told = re.fullmatch(r"\d{9,11}", reset)
        until = f" until {time.strftime('%H:%M', time.localtime(int(reset)))}" if is_told else ""
        many = f"only {most} requests an hour" if most.isdecimal() else "only so many requests"
        what, when = f"takes {many} from one address, and they are used up{until}", "later"
    elif b"secondary rate limit" in text or (status == 429 and body.strip() == b"429: Too Many Requests"):
        what, when = "was asked too often in a short time from this address", "in a few minutes"
    else:
        return ()
    named = token_name(*response.address.origin)
    return (
        f"{host} {what} ({status}).",
        "On Colab and in a school many people share one address.",
        *([f"A token of your own has a limit of its own: set {named}."] if named else ()),
        f"Next: run the same line again {when}.",
    )


def _refusal(response: Response, name: str, netrc_trouble: str) -> tuple[str, ...]:
    status, host = response.status, response.address.host
    if status == 407:
        return _refused_by_proxy(407, response.address)
    if status in _REFUSALS:
        return tuple(line.format(host=host, name=name, netrc=netrc_trouble or _NETRC) for line in _REFUSALS[status])
    if status in BUSY:
        again = "Next: run the same line again later; what has come is kept."
        return f"{host} is too busy to give {name} ({_status(status)}).", again
    if status == 202 and "x-amzn-waf-action" in response.headers:
        said = f"{host} asks whether a person is there before it gives {name} (202): a program cannot answer that."
        return (said, _FIGSHARE, _IN_A_BROWSER) if host.endswith("figshare.com") else (said, _IN_A_BROWSER)
    said = http.client.responses.get(status, "an unknown answer")
    return f"{host} answered {status} ({said}) for {name}.", "Next: run the same line again later."
