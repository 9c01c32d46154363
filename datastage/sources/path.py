r"""Files and folders on this machine: exactly the one that is named, or a bare relative path in the few usual places.

``/x``, ``~/x``, ``./x``, ``C:\x``, ``file:///x`` and ``datasets/iris.zip``. No network, and no window.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import glob
import importlib
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import cast

from datastage.archives import joined, sniff
from datastage.errors import DatastageError, IntegrityError, SpecError, StorageError, UnavailableError
from datastage.file_names import junk_kind
from datastage.mounts import drive_mounts, expanded, in_a_while, is_network_disk, is_on_drive, my_drive
from datastage.reader import FileReader
from datastage.redact import hide_secrets
from datastage.runtime import Runtime
from datastage.sources import drive, drive_errors, kaggle_inputs
from datastage.sources.found import Context, Found, at_path, names_near
from datastage.spec import Spec

_MOST_COMPARED = 10_000  # entries of two folders


def key(spec: Spec, cwd: Path) -> str:
    """Return the whole path, which tells the same text in two working directories apart."""
    return str(cwd / spec.value) if spec.scheme == "relative" else os.path.abspath(os.path.expanduser(spec.value))


def open_path(spec: Spec, context: Context) -> Found:
    """Find the file or folder that a path names; a relative one in the usual places."""
    runtime = context.runtime
    if spec.scheme == "relative":
        try:
            return _relative(spec, runtime)
        except UnavailableError:
            if runtime.platform == "colab":
                with contextlib.suppress(ModuleNotFoundError):  # a setup cell carries what its own places need
                    github = importlib.import_module(".github", __package__)
                    if (found := github.open_in_own_repository(spec, context)) is not None:
                        return cast(Found, found)
            raise
    if re.match(r"[A-Za-z]:[\\/]", spec.value) and sys.platform != "win32":
        name = re.split(r"[\\/]", spec.value)[-1]
        raise UnavailableError(
            f"{spec} is a path on a Windows computer, and this machine is another one.",
            f"Bring {name or 'the file'} here first: into Drive, or with the notebook's upload button.",
            f"Next:  drive:{name}   or   ./{name}",
        )
    path = runtime.cwd / _expanded(spec.value, runtime)
    try:
        return found_at(path, spec, runtime)
    except FileNotFoundError as error:
        if isinstance(error, DatastageError):
            raise
        not_connected = drive.not_connected(path, runtime)
        raise not_connected or _missing(spec, path) from None


def found_at(path: Path, spec: Spec, runtime: Runtime, place: str = "") -> Found:
    """Return what is at `path`, in what a person calls `place`; `FileNotFoundError` passes as it comes."""
    path = Path(os.path.realpath(path)) if path.name == ".." else path  # a folder bears its own name
    try:
        status = in_a_while(partial(os.stat, path))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        raise _unreadable(error, path, runtime) from error
    on_drive = is_on_drive(path, runtime.system_root)
    if stat.S_ISDIR(status.st_mode):
        if not on_drive:  # a folder on Drive is never listed for a question
            check_folder(path, runtime)
    elif not stat.S_ISREG(status.st_mode):
        raise IntegrityError(f"{path} is neither a file nor a folder.", "Next: name the file that holds the data.")
    is_slow = partial(is_network_disk, root=runtime.system_root)
    # Where everything lies on one network disk, a copy is only a second time the room.
    in_place = not on_drive and (not is_slow(path) or is_slow(runtime.root_setting or runtime.fast_disk))
    place = place or _tilde(path.parent, runtime)
    try:
        return at_path(path, spec, status, place, in_place=in_place, reach=lambda at: joined(at) or FileReader(at))
    except OSError as error:
        raise _unreadable(error, path, runtime) from error


def check_folder(path: Path, runtime: Runtime) -> None:
    """Raise if nothing is in a folder, or it may not be looked into."""
    try:
        with os.scandir(path) as entries:
            if any(entry.name != ".ipynb_checkpoints" and junk_kind(entry.name) is None for entry in entries):
                return
    except OSError as error:
        raise _unreadable(error, path, runtime) from error
    raise IntegrityError(f"The folder {path} is empty.", "Next: look whether the files are in another folder.")


def _unreadable(error: OSError, path: Path, runtime: Runtime) -> DatastageError:
    refused = partial(StorageError, code=error.errno, filename=path)
    if error.errno == errno.ETIMEDOUT:
        return refused(
            f"{path} did not answer in time: the disk that it is on, or the connection to it, hangs.",
            "Next: look whether that disk is connected, then run the same line again.",
        )
    if is_on_drive(path, runtime.system_root):
        return drive_errors.explain_os_error(error, path, runtime)
    if error.errno in (errno.EACCES, errno.EPERM):
        if not os.path.lexists(path):  # then it is a folder above it that may not be entered
            return refused(
                f"Whether {path} is there cannot be seen: you may not look into that folder.",
                "Next: look at the path again, or ask whoever owns the folder.",
            )
        return refused(
            f"{path} is there, but you may not read it.",
            f"Whoever owns it can allow it:  chmod -R a+rX {shlex.quote(str(path))}",
            "Next: run the same line again.",
        )
    if error.errno == errno.ELOOP:
        return refused(f"{path} is a link that leads to itself.", "Next: name the file itself, or mend the link.")
    if error.errno == errno.ENAMETOOLONG:
        return SpecError(f"{path.name[:40]}... is longer than a name can be.", "Next: look at the path again.")
    return StorageError.of(error, f"looking at {path}", "Next: look whether that disk is connected.")


def _expanded(text: str, runtime: Runtime) -> str:
    if text.startswith("//") and os.sep == "/":
        text = "/" + text.lstrip("/")  # as people paste them; to the system two slashes may be another place
    return expanded(text, {"HOME": str(runtime.home)})


def _tilde(folder: Path, runtime: Runtime) -> str:
    if runtime.home == Path("/") or not folder.is_relative_to(runtime.home):
        return str(folder)
    return str(Path("~", folder.relative_to(runtime.home)))


# --- a bare relative path


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder in which a relative path is looked for, and what a person calls it."""

    folder: Path
    called: str
    is_path: bool = True  # which says best where a file in it lies


def _places(runtime: Runtime) -> Iterator[_Place]:
    """Give the folders in which a relative path is looked for, in order."""
    yield _Place(runtime.cwd, "the working directory")
    if runtime.script_folder is not None:
        yield _Place(runtime.script_folder, "the script's folder")
    for folder in runtime.search_path:
        yield _Place(folder, "DATASTAGE_PATH")
    if not (runtime.in_kernel or runtime.platform in ("colab", "kaggle")):
        return
    for mount in drive_mounts(runtime.system_root):
        if mount.alive:
            own = my_drive(mount.path)
            yield _Place(own / "Colab Notebooks", "My Drive > Colab Notebooks", is_path=False)
            yield _Place(own, "My Drive", is_path=False)
    for item in kaggle_inputs.inputs(runtime.input_root):
        yield _Place(item.path, item.called, is_path=False)


def _relative(spec: Spec, runtime: Runtime) -> Found:
    value = spec.value.replace("\\", "/")
    hits: list[tuple[Path, Found]] = []
    looked: list[_Place] = []
    unusable: list[DatastageError] = []
    for place in _places(runtime):
        path = place.folder / value
        if any(place.folder == other.folder for other in looked):
            continue
        looked.append(place)
        if os.path.exists(path) and any(os.path.samefile(path, other) for other, _ in hits):
            continue
        try:
            called = "" if place.is_path else " > ".join([place.called, *value.split("/")[:-1]])
            hits.append((path, found_at(path, spec, runtime, called)))
        except FileNotFoundError as error:
            if isinstance(error, DatastageError):
                unusable.append(error)
        except (IntegrityError, StorageError) as error:
            unusable.append(error)  # an empty folder here does not hide the full one there
    if not hits and unusable:
        raise unusable[0]
    if not hits:
        raise _not_in_any(value, looked, runtime)
    first, found = hits[0]
    different = [path for path, _ in hits[1:] if not _same_content(first, path)]
    for _, hit in hits[0 if different else 1 :]:
        if isinstance(hit.content, FileReader):
            hit.content.close()
    if different:
        raise SpecError(
            f"{spec} is there {len(different) + 1} times, with different contents:",
            *(f"  {path}" for path in (first, *different)),
            f"Next: write the whole path of the one you mean, such as {str(first)!r}.",
        )
    return found


def elsewhere(spec: Spec, runtime: Runtime, source: str, staged: Path) -> Path | None:
    """Return what a relative name leads to first by now; None if that is still its source, or what was staged of it."""
    for place in _places(runtime):
        path = place.folder / spec.value.replace("\\", "/")
        if (seen := _seen(path)) is None:
            continue
        if str(path) == source or any(
            known and os.path.samestat(seen, known) for known in map(_seen, (Path(source), staged))
        ):
            return None
        with contextlib.suppress(DatastageError, FileNotFoundError):  # what cannot be used hides nothing behind it
            if isinstance(found := found_at(path, spec, runtime).content, FileReader):
                found.close()
            return path
    return None


def _seen(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return in_a_while(partial(os.stat, path))
    return None


def _same_content(one: Path, other: Path) -> bool:
    """Tell whether two paths hold the same, file or folder. Two large folders count as different: they are named."""
    if one.is_dir() != other.is_dir():
        return False
    if not one.is_dir():
        return filecmp.cmp(one, other, shallow=False)
    mine, others = _listing(one), _listing(other)
    if mine != others or len(mine) >= _MOST_COMPARED:
        return False
    return all(filecmp.cmp(one / name, other / name, shallow=False) for name, _ in mine)


def _listing(folder: Path) -> list[tuple[str, int]]:
    paths = (Path(base, name) for base, _, names in os.walk(folder) for name in names)
    return sorted((str(path.relative_to(folder)), path.lstat().st_size) for path in islice(paths, _MOST_COMPARED))


# --- when it is not there


def _missing(spec: Spec, path: Path) -> UnavailableError:
    if path.is_symlink():
        target = os.readlink(path)
        return UnavailableError(
            f"{path} is a link to {target}, and nothing is there.", "Next: name the file itself, or mend the link."
        )
    folder = path.parent
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    if behind := _behind_a_file(path):
        return UnavailableError(f"There is no {path.name} there.", *behind)
    lines = [f"Looked for: {path}"]
    wanted, *rest = path.relative_to(folder).parts
    if rest:
        lines.append(f"There is no folder {wanted} in {folder}.")
    if close := near(folder, wanted):
        lines.append(f"Near it, in {folder}: {', '.join(close)}")
        lines.append(f"Next: is it this one?  {os.path.join(folder, close[0], *rest)}")
    else:
        lines.append("Next: look where the file is, and write that path.")
    return UnavailableError(f"There is no {path.name or path} there.", *lines)


def _behind_a_file(path: Path) -> list[str]:
    """Say of which file a path goes on as if it were a folder, and what to name; nothing if there is none."""
    file = next((above for above in path.parents if os.path.isfile(above)), None)
    if file is None:
        return []
    step = "name that file, or one beside it."
    with contextlib.suppress(OSError), FileReader(file) as reader:
        if sniff(reader) is not None:
            step = f"name that file, with members={glob.escape(path.relative_to(file).as_posix())!r}."
    return [f"{file} is a file, not a folder.", f"Next: {step}"]


def _not_in_any(value: str, looked: list[_Place], runtime: Runtime) -> UnavailableError:
    drive_path = re.fullmatch(r"(content/g?drive/.+)|(?:my ?)?drive/(.+)", value, re.IGNORECASE)
    if drive_path and drive_path[1]:
        absolute = runtime.system_root / value
        if (not_connected := drive.not_connected(absolute, runtime)) is not None:
            return not_connected
        if absolute.exists():
            return UnavailableError(f"There is no {value} here.", f"Next: is it this one?  /{value}")
    seen = [place.folder for place in looked if not place.called.startswith("My Drive")]  # a Drive may hang
    if behind := next(filter(None, (_behind_a_file(folder / value) for folder in seen)), None):
        return UnavailableError(f"There is no {value} here.", *behind)
    lines = ["Looked in:"]
    shown = looked if len(looked) <= 7 else looked[:6]
    lines += [f"  {place.folder}" + (f"   ({place.called})" if place.is_path else "") for place in shown]
    if len(shown) < len(looked):
        lines.append(f"  and {len(looked) - len(shown)} more of your inputs")
    parent, name = os.path.split(value)
    for place in looked:
        folder = place.folder / parent
        if place.called.startswith("My Drive") or not os.path.isdir(folder):
            continue  # Drive is never listed for a question
        close = near(folder, name)
        if close:
            best = "/".join([*([parent] if parent else []), close[0]])
            best = best if hide_secrets(best) == best else str(folder / close[0])  # the whole path is shown as it is
            lines.append(f"Near it, in {folder}: {', '.join(close)}")
            lines.append(f"Next: is it this one?  {best if '.' in best or '/' in best else './' + best}")
            return UnavailableError(f"There is no {value} here.", *lines)
    if drive_path and drive_path[2] and (runtime.platform == "colab" or drive_mounts(runtime.system_root)):
        lines.append(f"Next: a file in your Google Drive is written  drive:{drive_path[2]}")
        return UnavailableError(f"There is no {value} here.", *lines)
    lines.append("Next: put the file beside your notebook or script, or write its whole path.")
    return UnavailableError(f"There is no {value} here.", *lines)


def near(folder: Path, name: str) -> list[str]:
    """Return the names in `folder` that resemble `name`, the nearest first; at most three."""
    names = [one for one in drive.names_in(folder)[0] if not one.startswith(".")]
    close = names_near(name, names)
    stem = name.lower().split(".")[0]
    return [*close, *(one for one in names if one.lower().split(".")[0] == stem and one not in close)][:3]
