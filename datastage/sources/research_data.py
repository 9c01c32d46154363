"""Records of research data: Zenodo, figshare, OSF, Dataverse, archive.org, and the DOIs that lead to them.

The address that people paste leads to the files of the record, each with the digest that its host publishes.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from datastage.errors import DatastageError, NotDataError, SpecError, UnavailableError
from datastage.redact import hide_secrets
from datastage.sources.endpoints import endpoint
from datastage.sources.found import Context, Found, names_near
from datastage.sources.web_api import RemoteFile, digest_of, open_file, open_files, read_page, refusal
from datastage.spec import Spec, last_part

# Zenodo blocks an address that holds more connections for long.
_ZENODO_CONNECTIONS = 2
_MOST_PAGES = 200
_DOI = re.compile(r"10\.\d{4,9}/[^\s?#]+")


def parse_doi(text: str, word: str, rest: str) -> Spec:
    """Tell ``doi:10.5281/zenodo.123[/FILE]``."""
    doi = rest.removeprefix("//").strip("/")
    if not _DOI.fullmatch(doi):
        raise SpecError(f"{text!r} is no DOI.", "Next: doi:10.5281/zenodo.NUMBER, as it stands on the page.")
    return _of_doi(text, doi)


def _of_doi(text: str, doi: str) -> Spec:
    parts = doi.split("/")
    lower = doi.lower()
    if match := re.match(r"10\.5281/zenodo\.(\d+)", lower):
        return _spec(text, "zenodo", match[1], "/".join(parts[2:]))
    if match := re.match(r"10\.6084/m9\.figshare\.(\d+)(?:\.v(\d+))?(?:/|$)", lower):
        return _spec(text, "figshare", match[1] + (f"/{match[2]}" if match[2] else ""), "/".join(parts[2:]))
    if match := re.match(r"10\.17605/osf\.io/([a-z0-9]{5})", lower):
        return _spec(text, "osf", match[1], "/".join(parts[3:]))
    return _spec(text, "doi", doi, "")


def _spec(text: str, service: str, record: str, file: str, base: str = "") -> Spec:
    """Make a spec; `base` is the address of an installation that is not the usual one."""
    name = last_part(file) or f"{service}-{record}".replace("/", "-")
    return Spec(text, "record", f"{service}/{base}/{record}/{file}", (service, record, file, base), name=name)


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell which record a page shows; None for what answers with a file itself."""
    host = (url.hostname or "").removeprefix("www.").removeprefix("dx.")
    path = urllib.parse.unquote(url.path).strip("/")
    query = dict(urllib.parse.parse_qsl(url.query))
    if {"token", "access_token", "private_link"} & set(query):
        return None  # a private record: its address alone opens it
    if host == "osf.io" and "view_only" in query:
        raise SpecError(
            "A link of OSF with view_only= opens its project in a browser alone.",
            "Next: open it, download the file, and put it beside your notebook; or ask its owner to make it public.",
        )
    if host == "archive.ics.uci.edu":
        page = re.fullmatch(r"dataset/(\d+)/(.+)", url.path.strip("/"))
        file = f"https://{host}/static/public/{page[1]}/{page[2]}.zip" if page else ""
        return Spec(text, "http", file, name=last_part(urllib.parse.unquote(file))) if file else None
    if host == "doi.org":
        return _of_doi(text, path) if _DOI.fullmatch(path) else None
    if host.endswith("zenodo.org"):
        base = "" if host == "zenodo.org" else f"https://{host}"
        if match := re.match(r"(?:api/)?records?/(\d+)(?:/(?:files|preview)/(.+?)(?:/content)?)?/?$", path):
            return _spec(text, "zenodo", match[1], match[2] or "", base)
        match = re.match(r"doi/(10\.5281/zenodo\.\d+)", path)
        return _of_doi(text, match[1]) if match else None
    if host.endswith(".figshare.com") and not host.startswith("ndownloader."):
        host = "figshare.com"  # the pages of a university or a publisher
    for pattern, service in _PAGES.get(host, ()):
        if match := re.fullmatch(pattern, path):
            found = match.groupdict()
            version = f"/{found['version']}" if found.get("version") else ""
            return _spec(text, service, match[1] + version, found.get("file", ""))
    if query.get("persistentId", "").startswith("doi:") and path in ("dataset.xhtml", "file.xhtml"):
        return _spec(text, "dataverse", query["persistentId"].removeprefix("doi:"), "", f"{url.scheme}://{url.netloc}")
    return None


_PAGES = {
    "figshare.com": (
        (r"articles/(?:[^/]+/)*?(\d+)(?:/(?P<version>\d+))?", "figshare"),
        (r"(?:ndownloader/)?files/(\d+)", "figshare-file"),
    ),
    "ndownloader.figshare.com": ((r"files/(\d+)", "figshare-file"),),
    "osf.io": (
        (r"([a-z0-9]{5})(?:/download|/files(?:/osfstorage)?)?", "osf"),
        (r"download/([a-z0-9]{5})", "osf"),
        (r"[a-z0-9]{5}/files/osfstorage/([a-z0-9]{5,24})", "osf-file"),
    ),
    "archive.org": (
        (r"details/([^/]+)/?", "archive"),
        (r"(?:details|download)/([^/]+)/(?P<file>.+)", "archive"),
        (r"download/([^/]+)", "archive"),
    ),
}


def address(spec: Spec) -> str | None:
    """Return the page that a browser opens for a spec."""
    return str(spec) if spec.text.startswith("http") else f"https://doi.org/{spec.text.partition(':')[2]}"


def open_record(spec: Spec, context: Context) -> Found:
    """Reach the file that a spec names in a record, or all of its files as a folder."""
    service, record, wanted, base = spec.parts
    if service == "doi":
        return _open_doi(spec, context, record)
    try:
        where, files = _LISTINGS[service](record, base, context)
        if not files:
            raise UnavailableError(
                f"{spec} holds no files that everybody may have.",
                "They may be restricted, or not published yet.",
                f"Next: open {address(spec)} in a browser, and look whether it lets you download.",
            )
        chosen = _chosen(files, wanted, spec)
        if len(chosen) == 1:
            return open_file(chosen[0], str(spec), context, where)
        return open_files(chosen, str(spec), context, where)
    except DatastageError as error:
        raise _explained(error, spec) from error


def _chosen(files: list[RemoteFile], wanted: str, spec: Spec) -> list[RemoteFile]:
    if not wanted:
        return files
    chosen = [file for file in files if file.path == wanted]
    chosen = chosen or [file for file in files if file.path.startswith(wanted.rstrip("/") + "/")]
    if chosen:
        return chosen
    names = [file.path for file in files]
    near = names_near(wanted, names, 0.5) or names[:8]
    raise UnavailableError(
        f"{hide_secrets(spec.text)}: the record holds no {wanted}.",
        f"It holds: {', '.join(near)}{'' if len(near) == len(names) else ', ...'}",
        "Next: name one of them, or the record alone for all of its files.",
    )


def _explained(error: DatastageError, spec: Spec) -> DatastageError:
    if refusal(error) not in (401, 403, 404, 410):
        return error
    return UnavailableError(
        f"{spec} is not there, or not open to everybody ({refusal(error)}).",
        f"Next: open {address(spec)} in a browser: it may ask to sign in, or say that the record was replaced.",
    )


# --- the files of a record, by service: where it is in words, and its files

_Listing = tuple[str, list[RemoteFile]]


def _zenodo(record: str, base: str, context: Context) -> _Listing:
    start = base or endpoint("zenodo")
    page = read_page(f"{start}/api/records/{record}", limits=context.limits).json()
    number = page.get("id", record)  # of the newest version, where all versions were named
    files = []
    for one in page.get("files") or ():
        name = str(one.get("key") or one.get("filename"))
        url = f"{start}/records/{number}/files/{urllib.parse.quote(name)}?download=1"
        size = one.get("size", one.get("filesize"))
        checksum = str(one.get("checksum", ""))
        digests = digest_of(checksum if ":" in checksum else f"md5:{checksum}")
        files.append(RemoteFile(name, url, size, digests, most_connections=_ZENODO_CONNECTIONS))
    return f"in record {number} of Zenodo", files


def _figshare(record: str, base: str, context: Context) -> _Listing:
    number, _, version = record.partition("/")
    url = f"{endpoint('figshare')}/articles/{number}" + (f"/versions/{version}" if version else "")
    page = read_page(url, limits=context.limits).json()
    files = []
    for one in page.get("files") or ():
        digests = digest_of(f"md5:{one.get('computed_md5') or one.get('supplied_md5') or ''}")
        if one.get("is_link_only"):
            files.append(RemoteFile(str(one["name"]), str(one["download_url"])))
        else:
            files.append(_figshare_file(str(one["id"]), str(one["name"]), one.get("size"), digests))
    return f"in article {number} of figshare", files


def _figshare_file(
    number: str, name: str, size: int | None = None, digests: dict[str, str] | None = None
) -> RemoteFile:
    # The address of the website asks whether a person is there (202); these two do not.
    first = f"{endpoint('figshare_files')}/files/{number}"
    return RemoteFile(name, first, size, digests or {}, other_url=f"{endpoint('figshare')}/file/download/{number}")


def _osf(record: str, base: str, context: Context) -> _Listing:
    api = endpoint("osf")
    kind = read_page(f"{api}/v2/guids/{record}/", limits=context.limits).json()["data"]["type"]
    if kind == "files":
        return _one_of_osf(record, base, context)
    if kind not in ("nodes", "registrations"):
        return "at OSF", []
    files = list(_osf_folder(f"{api}/v2/{kind}/{record}/files/osfstorage/?page%5Bsize%5D=100", "", context))
    return f"in project {record} of OSF", files


def _osf_folder(url: str | None, prefix: str, context: Context) -> Iterator[RemoteFile]:
    for _ in range(_MOST_PAGES):
        if not url:
            return
        page = read_page(url, limits=context.limits).json()
        for one in page["data"]:
            if one["attributes"]["kind"] == "folder":
                inner = one["relationships"]["files"]["links"]["related"]["href"]
                yield from _osf_folder(inner, f"{prefix}{one['attributes']['name']}/", context)
            else:
                yield _osf_file(one, prefix)
        url = (page.get("links") or {}).get("next")


def _osf_file(one: dict[str, Any], prefix: str = "") -> RemoteFile:
    facts = one["attributes"]
    hashes = (facts.get("extra") or {}).get("hashes") or {}
    digests = {name: str(hashes[name]) for name in ("sha256", "md5") if hashes.get(name)}
    return RemoteFile(prefix + str(facts["name"]), str(one["links"]["download"]), facts.get("size"), digests)


def _one_of_osf(record: str, base: str, context: Context) -> _Listing:
    page = read_page(f"{endpoint('osf')}/v2/files/{record}/", limits=context.limits).json()
    return "at OSF", [_osf_file(page["data"])]


def _dataverse(doi: str, base: str, context: Context) -> _Listing:
    url = f"{base}/api/datasets/:persistentId/?persistentId=doi:{doi}"
    page = read_page(url, limits=context.limits).json()
    files = []
    for one in page["data"]["latestVersion"]["files"]:
        facts = one["dataFile"]
        folder = f"{one['directoryLabel']}/" if one.get("directoryLabel") else ""
        address = f"{base}/api/access/datafile/{facts['id']}"
        if facts.get("originalFileFormat"):  # a table, which is kept converted; its digest is of the converted one
            name = str(facts.get("originalFileName") or facts["filename"])
            files.append(RemoteFile(folder + name, f"{address}?format=original", facts.get("originalFileSize")))
            continue
        checksum = facts.get("checksum") or {"type": "md5", "value": facts.get("md5", "")}
        digests = digest_of(f"{str(checksum['type']).replace('-', '')}:{checksum['value']}")
        files.append(RemoteFile(folder + str(facts["filename"]), address, facts.get("filesize"), digests))
    return f"in doi:{doi}", files


def _archive_org(item: str, base: str, context: Context) -> _Listing:
    start = endpoint("archive_org")
    page = read_page(f"{start}/metadata/{urllib.parse.quote(item)}", limits=context.limits).json()
    files = []
    for one in page.get("files") or ():
        # What the archive made itself: other forms of the files, and the record.
        if one.get("source") != "original" or one.get("format") in ("Metadata", "Archive BitTorrent", "Item Tile"):
            continue
        name = str(one["name"])
        url = f"{start}/download/{urllib.parse.quote(item)}/{urllib.parse.quote(name)}"
        size = int(one["size"]) if str(one.get("size", "")).isdecimal() else None
        files.append(RemoteFile(name, url, size, digest_of(f"md5:{one.get('md5', '')}")))
    return f"in {item} of archive.org", files


_LISTINGS: dict[str, Callable[[str, str, Context], _Listing]] = {
    "zenodo": _zenodo,
    "figshare": _figshare,
    "figshare-file": lambda record, base, context: ("at figshare", [_figshare_file(record, "")]),
    "osf": _osf,
    "osf-file": _one_of_osf,
    "dataverse": _dataverse,
    "archive": _archive_org,
}


def _open_doi(spec: Spec, context: Context, doi: str) -> Found:
    """Ask doi.org where a DOI leads, and open the record there; a last part may be the name of a file."""
    tried, file = doi, ""
    while True:
        try:
            url = read_page(f"{endpoint('doi')}/{tried}", limits=context.limits, most_bytes=1 << 16).url
            break
        except DatastageError as error:
            if refusal(error) != 404:
                raise
            if tried.count("/") < 2:
                step = "Next: compare it with the page that you have it from."
                raise UnavailableError(f"There is no DOI {doi}.", step) from error
            tried, _, last = tried.rpartition("/")
            file = f"{last}/{file}".rstrip("/")
    parts = urllib.parse.urlsplit(url)
    if url.startswith(f"{endpoint('doi')}/"):
        raise NotDataError(
            f"{parts.hostname} gave a page of its own instead of leading to the record of {doi}.",
            f"Next: open https://doi.org/{tried} in a browser, and copy the address where it ends.",
        )
    known = parse_page(url, parts) or _spec(spec.text, "dataverse", tried, "", f"{parts.scheme}://{parts.netloc}")
    service, record, inner, base = known.parts
    there = Spec(spec.text, "record", known.value, (service, record, file or inner, base), name=known.name)
    try:
        return open_record(there, context)
    except (DatastageError, KeyError, TypeError) as error:
        if service != "dataverse" or isinstance(error, DatastageError) and refusal(error) not in (0, 404):
            raise
        raise UnavailableError(
            f"{spec} leads to a page of {parts.hostname}, which is none that is known here.",
            f"Next: open https://doi.org/{tried} in a browser, and copy the address of the download.",
        ) from error
