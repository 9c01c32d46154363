"""GitHub: files, folders and whole repositories, releases, gists, and what Git LFS keeps elsewhere."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from datastage import archives
from datastage.errors import DatastageError, NotDataError, SpecError, UnavailableError
from datastage.progress import Reporter, counted
from datastage.reader import FileReader
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.settings import setting
from datastage.sources.endpoints import endpoint
from datastage.sources.found import Context, Fetch, Found, names_near
from datastage.sources.http import HttpReader, check_first_bytes, found_at, open_url
from datastage.sources.web_api import RemoteFile, digest_of, fetch_files, open_file, open_files, read_page, refusal
from datastage.spec import Spec
from datastage.timeouts import call_with_timeout
from datastage.transfer import Limits, fetch

_LFS = b"version https://git-lfs.github.com/spec/"
_LFS_MOST_BYTES = 1024
# How many parts the name of a branch or tag may have that an address does not tell from the path: feature/x.
_MOST_REF_PARTS = 4
_ORIGIN_S = 1.0


def parse_github(text: str, word: str, rest: str) -> Spec:
    """Tell ``github:OWNER/REPOSITORY[@REF][/PATH]``."""
    match = re.fullmatch(r"([\w.-]+)/([\w.-]+?)(?:\.git)?(?:@([^/\s]+))?(?:/(.*))?", rest)
    if match is None:
        raise SpecError(f"{text!r} is not a repository.", "Next: github:OWNER/REPOSITORY/path/in/it.csv")
    owner, repository, ref, path = match.groups()
    path = (path or "").strip("/")
    if ".." in path.split("/"):
        raise SpecError(f"{text!r}: a path in a repository cannot go up with '..'.", "Next: write it from the top.")
    return _spec(text, "any" if path else "folder", owner, repository, f"{ref or 'HEAD'}/{path}".rstrip("/"))


def parse_page(text: str, url: urllib.parse.SplitResult) -> Spec | None:
    """Tell what a page of GitHub shows; None for what answers with the file itself."""
    pieces = [urllib.parse.unquote(piece) for piece in url.path.split("/") if piece]
    host = (url.hostname or "").removeprefix("www.")
    if host == "raw.githubusercontent.com":
        is_public = len(pieces) > 3 and not url.query  # such an address of a private file holds a token
        return _spec(text, "file", pieces[0], pieces[1], "/".join(pieces[2:])) if is_public else None
    if host == "gist.github.com" and pieces and re.fullmatch(r"[0-9a-f]{20,40}", pieces[min(1, len(pieces) - 1)]):
        gist = pieces[min(1, len(pieces) - 1)]
        return Spec(text, "github", f"gist/{gist}", ("gist", gist, url.fragment.removeprefix("file-")), name=gist)
    if host != "github.com":
        return None
    if len(pieces) < 2:
        raise SpecError(f"{hide_secrets(text)!r} names no repository.", "Next: https://github.com/OWNER/REPOSITORY")
    owner, repository = pieces[0], pieces[1].removesuffix(".git")
    kind, rest = (pieces[2] if len(pieces) > 2 else ""), "/".join(pieces[3:])
    if len(pieces) == 2:
        return _spec(text, "folder", owner, repository, "HEAD")
    if kind in ("blob", "raw") and len(pieces) > 4:
        return _spec(text, "file", owner, repository, rest)
    if kind == "tree" and rest:
        return _spec(text, "folder", owner, repository, rest)
    if kind == "releases" and "download" not in rest.split("/")[:2]:
        tag = rest.removeprefix("tag/") if rest.startswith("tag/") else "latest"
        value = f"release/{owner}/{repository}/{tag}"
        return Spec(text, "github", value, ("release", owner, repository, tag), name=repository)
    return None


def _spec(text: str, kind: str, owner: str, repository: str, rest: str) -> Spec:
    """Make a spec; `rest` is the name of a branch, tag or commit, and the path after it."""
    last = rest.rpartition("/")[2] if "/" in rest else repository
    return Spec(text, "github", f"{owner}/{repository}/{rest}", (kind, owner, repository, rest), name=last)


def address(spec: Spec) -> str | None:
    """Return the page that a browser opens for a spec."""
    kind, *parts = spec.parts
    if kind == "gist":
        return f"https://gist.github.com/{parts[0]}"
    owner, repository, rest = parts
    if kind == "release":
        return f"https://github.com/{owner}/{repository}/releases"
    shown = urllib.parse.quote(rest)
    return f"https://github.com/{owner}/{repository}/{'raw' if kind == 'file' else 'tree'}/{shown}"


def open_github(spec: Spec, context: Context) -> Found:
    """Reach a file, a folder as one archive, the files of a release, or a gist."""
    kind, *parts = spec.parts
    try:
        if kind == "any":
            try:
                return _file(spec, context, *parts)
            except DatastageError as error:
                if refusal(error) != 404:
                    raise
        openers: dict[str, Callable[..., Found]] = {"gist": _gist, "release": _release, "file": _file}
        return openers.get(kind, _folder)(spec, context, *parts)
    except DatastageError as error:
        raise _explained(error, spec, f"gist/{parts[0]}" if kind == "gist" else "/".join(parts[:2])) from error


def _explained(error: DatastageError, spec: Spec, repository: str) -> DatastageError:
    """Say what GitHub's 404 means: it is the answer for what is private too."""
    if refusal(error) not in (401, 404):
        return error
    if getattr(error, "with_token", False):
        return UnavailableError(
            f"{spec} is not there, or your GITHUB_TOKEN does not open it: GitHub answers the same to both.",
            f"The token may be wrong, have run out, or not be allowed to read {repository}.",
            f"Next: open https://github.com/{repository} in a browser: is it there, and may you see it?",
        )
    return UnavailableError(
        f"{spec} is not there, or it is private: GitHub answers the same to both.",
        f"If it is private: set GITHUB_TOKEN to a token that may read {repository}.",
        f"Next: open https://github.com/{repository} in a browser, and copy the address of the file.",
    )


# --- files


def _file(spec: Spec, context: Context, owner: str, repository: str, rest: str) -> Found:
    quoted = urllib.parse.quote(f"{owner}/{repository}/{rest}")
    where = f"in {owner}/{repository} on GitHub"
    url = f"{endpoint('github_raw')}/{quoted}"
    reader = HttpReader(url, has_hash=context.has_hash, limits=context.limits, name=spec.file_name)
    try:
        pointer = lfs_pointer(reader.head(_LFS_MOST_BYTES)) if (reader.size or 0) < _LFS_MOST_BYTES else None
        if pointer is None:
            check_first_bytes(reader)
            return found_at(reader, str(spec), context.limits, where=where)
    except BaseException:
        reader.close()
        raise
    reader.close()
    try:
        return open_file(_lfs_file(quoted, spec.file_name, *pointer), str(spec), context, where)
    except DatastageError as error:
        raise _lfs_refused(error, f"{owner}/{repository}") from error


def lfs_pointer(head: bytes) -> tuple[str, int] | None:
    r"""Return the sha256 and the size in a pointer of Git LFS; None for bytes that are none.

    Examples
    --------
    >>> lfs_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n")[1]
    12
    """
    if not head.startswith(_LFS):
        return None
    oid = re.search(rb"^oid sha256:([0-9a-f]{64})$", head, re.MULTILINE)
    size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
    return (oid[1].decode(), int(size[1])) if oid and size else None


def _lfs_file(quoted: str, path: str, sha256: str, size: int) -> RemoteFile:
    """Return the file that a pointer stands for, which GitHub keeps at an address of its own."""
    return RemoteFile(path, f"{endpoint('github_media')}/media/{quoted}", size, {"sha256": sha256})


def _lfs_refused(error: DatastageError, repository: str) -> DatastageError:
    if not refusal(error):
        return error
    return UnavailableError(
        f"GitHub does not give the files that {repository} keeps in Git LFS ({refusal(error)}).",
        "The traffic that its owner pays for may be used up for this month.",
        "Next: ask the owner for another place, or for a release that holds the data.",
    )


# --- folders: one archive, not a thousand requests


def _folder(spec: Spec, context: Context, owner: str, repository: str, rest: str) -> Found:
    last: DatastageError | None = None
    for ref, path in _splits(rest):
        url = f"{endpoint('github_archives')}/{owner}/{repository}/zip/{urllib.parse.quote(ref)}"
        try:
            reader = open_url(url, limits=context.limits, name=f"{repository}.zip")
        except DatastageError as error:
            if refusal(error) != 404:
                raise
            last = last or error
            continue
        what = f"the folder {path} of {owner}/{repository}" if path else f"{owner}/{repository}"
        fetched = partial(_unpacked, reader, spec, context.limits, ref, path)
        return Found(Fetch(fetched), str(spec), f"{what} on GitHub", reader.identity)
    assert last is not None
    raise last


def _splits(rest: str) -> Iterator[tuple[str, str]]:
    """Give the ways to tell the name of a branch or tag from the path after it, the shortest name first."""
    parts = rest.split("/")
    first = 3 if parts[:2] in (["refs", "heads"], ["refs", "tags"]) else 1
    for n in range(first, min(len(parts), first + _MOST_REF_PARTS - 1) + 1):
        yield "/".join(parts[:n]), "/".join(parts[n:])


def _unpacked(
    reader: HttpReader, spec: Spec, limits: Limits | None, ref: str, path: str, folder: Path, reporter: Reporter
) -> Path:
    _, owner, repository, _ = spec.parts
    archive, content = folder / "repository.zip", folder / "content"
    content.mkdir()
    with reader:
        reporter.phase(f"copying {owner}/{repository}", reader.size)
        fetch(reader, archive, reporter=reporter, limits=limits)
    with FileReader(archive) as near:
        names = [member.name.rstrip("/") for member in archives.list_members(near)]
        top = names[0].partition("/")[0] if names else ""
        wanted = f"{top}/{path}".rstrip("/")
        if not any(f"{name}/".startswith(f"{wanted}/") for name in names):
            raise _not_in_repository([name.partition("/")[2] for name in names], spec, path)
        archives.unpack(near, content, members=[glob.escape(wanted)], reporter=reporter)
    archive.unlink()
    made = content / wanted
    _fetch_lfs(made, f"{owner}/{repository}/{ref}/{path}", limits, reporter)
    return made


def _not_in_repository(names: Sequence[str], spec: Spec, path: str) -> UnavailableError:
    paths = {str(path) for name in names for path in (PurePosixPath(name), *PurePosixPath(name).parents)} - {"."}
    near = names_near(path, paths)
    tops = sorted(name for name in paths if "/" not in name)[:12]
    steps = [f"Near it: {', '.join(near)}"] if near else [f"At its top: {', '.join(tops)}"]
    return UnavailableError(f"{spec}: the repository holds no {path}.", *steps, "Next: copy the address of its page.")


def _fetch_lfs(made: Path, where: str, limits: Limits | None, reporter: Reporter) -> None:
    """Put the files of Git LFS in the place of their pointers, which is all that an archive holds."""
    files = []
    for path in [made, *made.rglob("*")]:
        if path.is_symlink() or not path.is_file() or path.stat().st_size >= _LFS_MOST_BYTES:
            continue
        pointer = lfs_pointer(path.read_bytes())
        if pointer is not None:
            address = urllib.parse.quote(PurePosixPath(where, path.relative_to(made)).as_posix())
            files.append(_lfs_file(address, path.relative_to(made.parent).as_posix(), *pointer))
    if not files:
        return
    try:
        fetch_files(files, made.parent, f"{counted(len(files), 'file')} of Git LFS", limits, reporter)
    except DatastageError as error:
        raise _lfs_refused(error, "/".join(where.split("/")[:2])) from error


# --- releases and gists


def _release(spec: Spec, context: Context, owner: str, repository: str, tag: str) -> Found:
    which = "latest" if tag == "latest" else f"tags/{urllib.parse.quote(tag, safe='')}"
    url = f"{endpoint('github_api')}/repos/{owner}/{repository}/releases/{which}"
    release = read_page(url, limits=context.limits).json()
    assets = []
    for one in release.get("assets", []):
        digests = digest_of(one.get("digest") or "")
        assets.append(RemoteFile(str(one["name"]), str(one["browser_download_url"]), one.get("size"), digests))
    name = release.get("tag_name", tag)
    where = f"in the release {name} of {owner}/{repository}"
    if len(assets) == 1:
        return open_file(assets[0], str(spec), context, where)
    if not assets:
        raise UnavailableError(
            f"{spec}: this release holds no files besides the repository itself.",
            f"Next: github:{owner}/{repository}@{name}",
        )
    raise SpecError(
        f"{spec} is a release of {len(assets)} files.",
        *(f"  {hide_secrets(asset.url)}" for asset in assets[:20]),
        "Next: give the address of the one you mean.",
    )


def _gist(spec: Spec, context: Context, gist: str, wanted: str) -> Found:
    page = read_page(f"{endpoint('github_api')}/gists/{gist}", limits=context.limits).json()
    files = [
        RemoteFile(str(name), str(file["raw_url"]), file.get("size")) for name, file in page.get("files", {}).items()
    ]
    chosen = [file for file in files if re.sub(r"[^a-z0-9]+", "-", file.path.lower()) == wanted.lower()] or files
    if len(chosen) == 1:
        return open_file(chosen[0], str(spec), context, "in a gist")
    if not files:
        raise NotDataError(f"{spec} holds no files.", "Next: open it in a browser.")
    return open_files(files, str(spec), context, "in a gist")


# --- the repository that a notebook was opened from


def own_repository(runtime: Runtime) -> tuple[str, str] | None:
    """Return where on GitHub a notebook of Colab was opened from, and its folder: ``("O/R/REF", "notebooks")``."""
    # Colab's Jupyter server tells it. The way is undocumented, so it has a second, and DATASTAGE_NO_ORIGIN=1.
    if runtime.platform != "colab" or setting("NO_ORIGIN"):
        return None
    url = endpoint("colab", f"http://{os.environ.get('COLAB_JUPYTER_IP') or '172.28.0.12'}:9000") + "/api/sessions"
    with contextlib.suppress(OSError, DatastageError, ValueError, KeyError, IndexError, TypeError):
        limits = Limits(stall_s=_ORIGIN_S, tries=1)
        sessions = json.loads(call_with_timeout(lambda: read_page(url, limits=limits).body, _ORIGIN_S))
        page = urllib.parse.unquote(str(sessions[0]["path"]).partition("fileId=")[2])
        if match := re.match(r"https://github\.com/([\w.-]+/[\w.-]+)/blob/([^/]+)/(.+\.ipynb)", page):
            return f"{match[1]}/{match[2]}", match[3].rpartition("/")[0]
    return None


def open_in_own_repository(spec: Spec, context: Context) -> Found | None:
    """Look for a relative path beside the notebook in its repository, then at its top; None if it is in neither."""
    origin = own_repository(context.runtime)
    if origin is None:
        return None
    repository, folder = origin
    owner, name, ref = repository.split("/")
    for start in dict.fromkeys((folder, "")):
        path = os.path.normpath(f"{start}/{spec.value}").replace(os.sep, "/").lstrip("/")
        if not path.startswith(".."):
            with contextlib.suppress(UnavailableError):
                found = _spec(f"github:{owner}/{name}@{ref}/{path}", "any", owner, name, f"{ref}/{path}")
                return _file(found, context, owner, name, f"{ref}/{path}")
    return None
