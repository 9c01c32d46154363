"""The names that belong to a dataset under a root, the root itself, and the marks that prove what is ours.

A dataset's folder is ``ROOT/NAME``; in it lie its receipt, ``.datastage.json``, and the list of its files,
``.datastage-files``. All else that datastage writes under a root lies in one folder of this user's own, in which
nobody else may write::

    ROOT/.datastage-UID/.owner.mark       where this folder lies: what proves that it is ours
    ROOT/.datastage-UID/NAME.mark         the token of the dataset: what proves that ROOT/NAME is ours
    ROOT/.datastage-UID/NAME.lock         held while anything of NAME is changed
    ROOT/.datastage-UID/NAME.partial      being written; becomes ROOT/NAME by one rename, or is removed
    ROOT/.datastage-UID/NAME.fetch        bytes that came over a link; kept after a kill or a broken link
    ROOT/.datastage-UID/NAME.old          what ROOT/NAME was before it was replaced
    ROOT/.datastage-UID/NAME.repair       files brought again by ``verify --repair``, before each takes its place
    ROOT/.datastage-UID/NAME-KEY.pixels   the photos of a dataset, decoded; made by `batches`

"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datastage import own_files, staged
from datastage.errors import SpecError, StorageError, UnavailableError, while_doing
from datastage.file_names import fitted
from datastage.mounts import is_mounted
from datastage.runtime import Runtime

OWN_FOLDER = ".datastage-"
# No name of a dataset begins with a dot.
OWNER = ".owner.mark"
_MARK_BYTES = 100_000


class _Own:
    """A path in this user's own folder: the name of the slot, and for an ending the name of the attribute."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.ending = name

    def __get__(self, slot: Slot, owner: type) -> Path:
        return slot.own / f"{fitted(slot.name, 50)}.{self.ending}"  # the lock has names that are longer still


@dataclass(frozen=True, slots=True)
class Slot:
    """The paths that belong to one name under one root; what each is for stands at the head of this module."""

    root: Path
    name: str
    own: Path

    mark, lock, partial, fetch, old, repair = _Own(), _Own(), _Own(), _Own(), _Own(), _Own()

    @property
    def final(self) -> Path:
        return self.root / self.name


def slot_of(root: Path, name: str) -> Slot:
    """Return the paths of a name under a root; nothing is made."""
    return Slot(root, name, own_folder_of(root))


def free_name(slot: Slot) -> str:
    """Return a name under the root that nothing bears, like that of a slot."""
    names = (f"{slot.name}-{n}" for n in range(2, 10_000))
    return next(name for name in names if not os.path.lexists(slot.root / name))


def own_folder_of(root: Path) -> Path:
    """Return the folder of this user's own under `root`, to be made or not; another's of that name is passed over."""
    uid = os.geteuid() if hasattr(os, "geteuid") else 0
    first = root / f"{OWN_FOLDER}{uid}"
    for number in range(1, 10):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not os.path.lexists(path) or is_marked(path):
            return path
    return first


def is_marked(own: Path) -> bool:
    """Tell whether a folder is one that we made for what is unfinished: it says so itself, or is empty."""
    try:
        seen = own.lstat()
        if not stat.S_ISDIR(seen.st_mode) or not own_files.is_ours(own, seen):
            return False
        text = own_files.read_ours(own / OWNER, most_bytes=_MARK_BYTES)
        if not text:  # whoever made it may not have come to write its mark
            return not own_files.others_write(seen) and not {*os.listdir(own)} - {OWNER}
        # Nobody else may write in it, unless even its mark, which is made closed, lets all write: a disk without modes.
        closed = not own_files.others_write(seen) or own_files.others_write((own / OWNER).lstat())
    except OSError:
        return False
    return closed and staged.leads_to(text.decode("utf-8", "surrogateescape"), own)


def make_own_folder(root: Path) -> Path:
    """Return the folder of this user's own under `root`, made if need be; others may read the locks in a shared one."""
    own, mode, is_new = own_folder_of(root), 0o755 if own_files.is_shared(root) else 0o700, False
    try:
        with contextlib.suppress(FileExistsError):
            own.mkdir(mode=mode)
            is_new = True
            own.chmod(mode)
        if not is_new and not is_marked(own):
            raise StorageError(
                f"{own} is not a folder of yours in which nobody else may write; it is not used, and not touched.",
                "Next: choose another folder with root=.",
                code=errno.EPERM,
                filename=own,
            )
        if not own_files.read_ours(own / OWNER, most_bytes=_MARK_BYTES):
            # All who make it at once write the same.
            with os.fdopen(os.open(own / OWNER, os.O_WRONLY | os.O_CREAT | own_files.NO_LINK, 0o600), "wb") as out:
                out.write(os.fsencode(os.path.abspath(own)))
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        leave_no_empty_folder(own)
        raise StorageError.of(error, "making the folder for unfinished files") from error
    return own


def leave_no_empty_folder(own: Path) -> None:
    """Remove our folder under a root if nothing but its own mark is in it any more."""
    with contextlib.suppress(OSError):
        if os.listdir(own) == [OWNER]:
            (own / OWNER).unlink()
        own.rmdir()


def usable_root(folder: Path, *, shared: bool = False) -> Path:
    """Return the folder for datasets, made if need be; where all may write beside it (`shared`), one of mode 0700."""
    folder = Path(os.path.abspath(fast_root(folder.expanduser(), shared=shared)))
    with while_doing("making the folder for datasets"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700 if shared else 0o777)
        except FileExistsError:
            raise StorageError(
                f"{folder} is a file, so that no folder can be made there.",
                "Next: choose another folder with root=.",
                code=errno.ENOTDIR,
                filename=folder,
            ) from None
    if shared:
        if not own_files.is_own_folder(folder):
            raise StorageError(
                f"{folder} belongs to another user, and anybody may write beside it.",
                "Next: choose a folder of your own with root=, or set DATASTAGE_ROOT.",
                code=errno.EPERM,
                filename=folder,
            )
        folder.chmod(0o700)
    return folder


def fast_root(folder: Path, *, shared: bool) -> Path:
    """Return the root for datasets on the fast disk, which need not exist yet."""
    return folder.parent / f"staged-{os.getuid() if hasattr(os, 'getuid') else 0}" if shared else folder


def place_to_write(path: Path, here: Runtime) -> Path:
    """Return `path`; raise where Colab's Drive is to be mounted and nothing is: what is written there is lost."""
    root, real = here.system_root, Path(os.path.realpath(path))
    for point in [root / "content/drive", root / "content/gdrive"] if here.platform == "colab" else []:
        if real.is_relative_to(point) and not is_mounted(real, point, root):
            raise UnavailableError(
                f"Your Drive is not connected yet: what is written to {path} now would be lost with this machine.",
                "Next: run this in a cell of its own first, then your line again:",
                "",
                f'    from google.colab import drive; drive.mount("/{point.relative_to(root)}")',
            )
    return path


_UNUSABLE = re.compile(r'[\x00-\x1f<>:"/\\|?*]')


def checked_name(name: str) -> str:
    """Return `name` if a folder can be called so everywhere; else raise `SpecError` with the nearest name."""
    # A folder of the package's name, in the working directory, would be imported in its place.
    near = "data" if name.lower() == "datastage" else _UNUSABLE.sub("-", name).strip(". ") or "data"
    if name != near or len(os.fsencode(name)) > 200:
        raise SpecError(f"A folder cannot be called {name!r}.", f"Next: name={near[:60]!r}")
    return name


def safe_name(text: str) -> str:
    """Return a folder's name made from `text`."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-. ")[:60]
    return "data" if not name or name.lower() == "datastage" else name


def safe_file_name(name: str) -> str:
    """Return `name` if a file can be called so, else the nearest name that one can have."""
    usable = fitted(_UNUSABLE.sub("-", name).strip() or "data")
    return usable if usable not in (".", "..", *staged.OWN_NAMES) else "data"


def request_key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: a digest of what was asked for, equal only for equal requests."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def pixels_folder(root: Path, path: Path) -> Path:
    """Return the folder under `root` where the photos of `path` are kept as pixels; its name tells whose they are."""
    return make_own_folder(root) / pixels_name(path)


def pixels_name(path: Path) -> str:
    """Return the name of the folder that keeps the photos of `path` as pixels."""
    return f"{safe_name(path.stem)}-{request_key({'pixels of': str(path)})[:8]}.pixels"


def read_mark(slot: Slot) -> dict[str, Any] | None:
    """Return what proves that the folder of a slot is ours: its token, its path, and the specs that it was asked by."""
    if not is_marked(slot.own):
        return None
    mark = own_files.mapping_of(own_files.read_ours(slot.mark, most_bytes=_MARK_BYTES))
    if not isinstance(mark.get("token"), str) or len(mark["token"]) < 32 or not isinstance(mark.get("specs"), list):
        return None
    return mark if mark.get("path") == os.path.abspath(slot.final) else None


def write_mark(slot: Slot, specs: list[str]) -> dict[str, Any]:
    """Note which specs the folder of a slot is asked by; the token stays the same as long as the mark is there."""
    before = read_mark(slot)
    mark = {
        "token": before["token"] if before else secrets.token_hex(16),
        "path": os.path.abspath(slot.final),
        "specs": specs,
    }
    if mark != before:
        with own_files.atomic_file(slot.mark, mode=0o600, sync=False) as out:
            out.write(json.dumps(mark).encode())
    return mark


def is_proven(slot: Slot, receipt: Mapping[str, Any]) -> bool:
    """Tell whether the mark of a slot knows the token of a receipt: then this version staged it, for this user."""
    mark = read_mark(slot)
    return mark is not None and mark["token"] == receipt.get("token")
