"""Links of Dropbox, SharePoint and OneDrive: the address that people paste leads to the file, where it does."""

from __future__ import annotations

import re
import urllib.parse

from datastage.errors import DatastageError, NotDataError, SpecError, UnavailableError
from datastage.sources.endpoints import at_endpoint
from datastage.sources.found import Context, Found
from datastage.sources.http import found_at, open_url
from datastage.sources.web_api import refusal
from datastage.spec import Spec, last_part

_BY_HAND = "Next: download it in a browser, then upload it, or put it into Google Drive."


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Return the address that gives the file of a shared link."""
    host, path = url.hostname or "", urllib.parse.unquote(url.path)
    name = last_part(path)
    if host.endswith("dropbox.com"):
        if not re.match(r"/(s|sh|scl/f[io])/", path):
            return None
        is_folder = path.startswith(("/sh/", "/scl/fo/"))
        return _spec(text, _with(url, "dl", "1", without=("raw",)), "Dropbox", "dropbox.zip" if is_folder else name)
    if host.endswith("sharepoint.com"):
        if not (kind := re.match(r"/:(\w):/", path)):
            if path.endswith("/download.aspx"):
                return None
            raise SpecError(
                "This is the address of a page of SharePoint or OneDrive, which shows it to those who are signed in.",
                "Next: there, Share > 'Anyone with the link' > Copy link.",
            )
        if kind[1] == "f":
            raise SpecError(
                "A folder of SharePoint or OneDrive cannot be fetched by its link.",
                "Next: make one zip of it, share that with 'Anyone with the link', and copy its link.",
            )
        return _spec(text, _with(url, "download", "1"), "SharePoint", "")
    if host == "onedrive.live.com" and path.startswith(("/embed", "/download")):
        return _spec(text, urllib.parse.urlunsplit(url._replace(path="/download")), "OneDrive", "")
    return _spec(text, text, "OneDrive", "")


def _with(url: urllib.parse.SplitResult, key: str, value: str, *, without: tuple[str, ...] = ()) -> str:
    """Return an address with one value of its query set, the others as they are."""
    pairs = [(k, v) for k, v in urllib.parse.parse_qsl(url.query, keep_blank_values=True) if k not in (key, *without)]
    return urllib.parse.urlunsplit(url._replace(query=urllib.parse.urlencode([*pairs, (key, value)]), fragment=""))


def _spec(text: str, address: str, service: str, name: str) -> Spec:
    return Spec(text, "link", address, (service,), name=name or service.lower())


def open_link(spec: Spec, context: Context) -> Found:
    """Reach the file of a shared link; what cannot be had without a browser says so, with the way out."""
    service = spec.parts[0]
    if service == "OneDrive" and "/download?" not in spec.value:
        raise UnavailableError(
            f"{spec}: OneDrive gives the files of personal accounts to browsers alone.",
            "A link of a school's OneDrive (...sharepoint.com) works, if it is for anyone with the link.",
            _BY_HAND,
        )
    try:
        url = at_endpoint(service.lower(), spec.value)
        reader = open_url(url, has_hash=context.has_hash, limits=context.limits, with_cookies=service != "Dropbox")
    except DatastageError as error:
        raise _explained(error, spec, service) from error
    return found_at(reader, str(spec), context.limits, where=f"shared by {service}")


def _explained(error: DatastageError, spec: Spec, service: str) -> DatastageError:
    is_page = isinstance(error, NotDataError)
    if service == "Dropbox" and (is_page or refusal(error) in (403, 404, 429)):
        if "/scl/" in spec.value and "rlkey=" not in spec.value:
            steps = ["The link lacks its end: ?rlkey=... It was cut off when it was copied."]
        elif refusal(error) == 429:
            steps = ["It was downloaded so often that Dropbox has switched the link off for a day."]
        else:
            steps = ["It may be private, or switched off for a day because many have downloaded it."]
        text = f"{spec}: Dropbox does not give the file to everybody who has this link."
        return UnavailableError(
            text, *steps, "Next: copy the link anew (Share > Copy link), or download it in a browser."
        )
    if service != "Dropbox" and (is_page or refusal(error) in (401, 403, 404)):
        return UnavailableError(
            f"{spec}: {service} asks to sign in before it gives this file.",
            "Only links for 'Anyone with the link' work here: Share > Settings > Anyone.",
            _BY_HAND,
        )
    return error
