r"""The one gate that every member of every format passes before a byte of it is written.

The rules, each an error that names the member and the rule:

====================  ==========================================================================================
N-ABS, N-DRIVE        a name that begins with a slash or backslash, or with ``C:\`` or ``C:/``
N-UP                  a part ``..``, between slashes or backslashes, wherever it leads
N-NUL, N-EMPTY        a NUL; no name, or the folder itself for a file
N-LONG                a part over 255 bytes, a name over 4,096 bytes, below more than 255 folders
L-OUT                 a link whose target is absolute, climbs above the folder, or climbs after it went down
L-TARGET              a link with an empty target, a NUL in it, or one over 4,095 bytes
L-THROUGH             a member below a link
L-MISSING, L-LINK     a hard link to nothing, to itself, to a folder; to a link
S-SPECIAL             a device, FIFO or socket
D-KIND, D-SAME        one path for a file and a folder or link; two paths that are one on this disk
T-ROOM                more bytes than there is room for
M-MANY                over 20 million members
====================  ==========================================================================================

Why this is enough for links: no link is made before every file is written, so nothing is ever written through one. A
target is "up some steps, then down": the steps up begin in a real folder (L-THROUGH) and stay below the top, and after
a name it never goes up again, so it stays inside whatever the names on its way turn out to be, in any order and on file
systems that do not tell case apart. Setuid, setgid and sticky bits and owners are dropped where modes are read.

Where two files or two links have one path, the later one counts, as with every other tool.

The formats add rules of their own (checksums, sizes, overlaps, headers that disagree): see `zip_entry` and `tar`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from datastage.archives.errors import Fault

MAX_MEMBERS = 20_000_000
MAX_DEPTH = 255
MAX_PART_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_TARGET_BYTES = 4095
# What a folder takes on most disks, of the room there is.
FOLDER_BYTES = 4096

# A last part that needs no further look: no dot first, nothing odd, under 255 bytes in any UTF-8.
_plain = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,62}").fullmatch
_drive = re.compile(r"[A-Za-z]:[\\/]").match
_separator = re.compile(r"[/\\]")


def clean(name: str) -> str:
    """Return a name as a path below the folder: parts joined by single slashes, no ``.``; empty for the folder itself.

    Raises
    ------
    Fault
        If the name breaks a rule (N-*).
    """
    if "\0" in name:
        raise Fault("N-NUL", "has a NUL in its name", name)
    # A folder "/" is what tarfile's add(path, "") names the folder itself.
    if name[:1] in ("/", "\\") and name.strip("/"):
        raise Fault("N-ABS", "is an absolute path", name)
    if _drive(name) or (os.name == "nt" and ":" in name):
        raise Fault("N-DRIVE", "is a path on a Windows drive", name)
    if ".." in name and ".." in _separator.split(name):
        raise Fault("N-UP", 'has a part ".." in its name', name)
    parts = [part for part in name.split("/") if part and part != "."]
    if len(parts) > MAX_DEPTH + 1:
        raise Fault("N-LONG", f"lies more than {MAX_DEPTH} folders deep", name)
    path = "/".join(parts)
    if len(path) * 4 > MAX_PART_BYTES:  # no shorter name can break these
        try:
            encoded = path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise Fault("N-UTF8", "has a name that no file can bear", name) from None
        if len(encoded) > MAX_PATH_BYTES:
            raise Fault("N-LONG", f"has a name of over {MAX_PATH_BYTES} bytes", name)
        if max(map(len, encoded.split(b"/"))) > MAX_PART_BYTES:
            raise Fault("N-LONG", f"has a part of over {MAX_PART_BYTES} bytes in its name", name)
    return path


def followed(path: str, links: Mapping[str, str]) -> str:
    """Return where a chain of hard links ends; one of them where it goes in a circle."""
    seen = set()
    while path in links and path not in seen:
        seen.add(path)
        path = links[path]
    return path


class Tree:
    """What the folder will hold, as far as members have been admitted."""

    def __init__(self, free_bytes: int | None = None) -> None:
        self.kinds: dict[str, str] = {"": "folder"}
        self.links: dict[str, str] = {}
        self.hard_links: dict[str, str] = {}
        self.twice: set[str] = set()
        self.n_bytes = 0
        self.n_folder_bytes = 0
        self.free_bytes = free_bytes if free_bytes is not None else 1 << 63
        self._parent = ""  # the folder of the last file: most files lie beside the one before

    def admit(self, name: str, kind: str = "file", size: int = 0, target: str = "") -> str:
        """Judge one member and keep its place: the function that every member of every format passes.

        Return its path below the folder; empty for the folder itself. `size` counts holes.
        """
        kinds = self.kinds
        parent, _, leaf = name.rpartition("/")
        if (
            kind == "file"
            and (parent == self._parent or kinds.get(parent) == "folder")
            and _plain(leaf)
            and (parent or leaf == name)
        ):
            path = name  # the parent is known and clean, so the name is
            self._parent = parent
        else:
            path = self._place(name, kind)
            if not path or kind == "folder":
                return path
        if path in kinds:
            if kinds[path] != kind:
                raise Fault("D-KIND", f"is there twice, as a {kinds[path]} and as a {kind}", name)
            self.twice.add(path)  # the later member counts, and who writes takes the earlier one away
        kinds[path] = kind
        if len(kinds) > MAX_MEMBERS:
            raise Fault("M-MANY", f"has more than {MAX_MEMBERS:,} members")
        if kind == "link":
            self.links[path] = self._target(path, target, name)
            return path
        self.n_bytes += size
        if size < 0 or self.n_bytes + self.n_folder_bytes > self.free_bytes:
            self.take_room(0 if size >= 0 else size, name)
        if kind == "hardlink":
            self._admit_hard_link(path, target, name)
        return path

    def take_room(self, n_bytes: int, name: str = "") -> None:
        """Count bytes against the room there is."""
        if n_bytes < 0:
            raise Fault("T-SIZE", "declares a size below zero", name)
        self.n_bytes += n_bytes
        if self.n_bytes + self.n_folder_bytes > self.free_bytes:
            from datastage.progress import human_bytes

            needed, free = human_bytes(self.n_bytes + self.n_folder_bytes), human_bytes(self.free_bytes)
            raise Fault("T-ROOM", f"brings it to {needed}, and {free} are free", name)

    def finish(self) -> list[tuple[str, str]]:
        """Judge what only the whole archive shows: that hard links lead to files. Return (path, file) for each."""
        found = []
        for path in self.hard_links:
            target = followed(path, self.hard_links)
            if target in self.links:
                raise Fault("L-LINK", "is a hard link to a link", path)
            if self.kinds.get(target) != "file":
                raise Fault("L-MISSING", f'is a hard link to "{target}", which is no file of the archive', path)
            found.append((path, target))
        return found

    def _place(self, name: str, kind: str) -> str:
        if kind not in ("file", "folder", "link", "hardlink"):
            raise Fault("S-SPECIAL", f"is a {kind}, not a file, folder or link", name)
        path = clean(name)
        if not path:
            if kind == "folder" and name:
                return path
            raise Fault("N-EMPTY", "has no name, or is the folder itself", name)
        if kind == "folder" and path.count("/") >= MAX_DEPTH:
            raise Fault("N-LONG", f"lies more than {MAX_DEPTH} folders deep", name)
        parent = path if kind == "folder" else path.rpartition("/")[0]
        if self.kinds.get(parent) != "folder":
            self._add_folder(parent, name)
        return path

    def _add_folder(self, folder: str, name: str) -> None:
        while (there := self.kinds.get(folder)) != "folder":
            if there == "link":
                raise Fault("L-THROUGH", f'lies below or on "{folder}", which is a link', name)
            if there is not None:
                raise Fault("D-KIND", f'needs "{folder}" to be a folder, and it is a file', name)
            self.kinds[folder] = "folder"
            self.n_folder_bytes += FOLDER_BYTES
            folder = folder.rpartition("/")[0]
        if len(self.kinds) > MAX_MEMBERS:
            raise Fault("M-MANY", f"has more than {MAX_MEMBERS:,} members, folders included")
        if self.n_bytes + self.n_folder_bytes > self.free_bytes:
            self.take_room(0, name)

    def _target(self, path: str, target: str, name: str) -> str:
        if not target:
            raise Fault("L-TARGET", "is a link without a target", name)
        if "\0" in target:
            raise Fault("L-TARGET", "is a link with a NUL in its target", name)
        if len(target.encode("utf-8", "surrogatepass")) > MAX_TARGET_BYTES:
            raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", name)
        if target.startswith("/") or _drive(target) or (os.name == "nt" and "\\" in target):
            raise Fault("L-OUT", f'is a link to an absolute path, "{target}"', name)
        room = path.count("/")
        went_down = False
        for part in target.split("/"):
            if part == "..":
                room -= 1
                if went_down or room < 0:
                    raise Fault("L-OUT", f'is a link that leaves the folder, to "{target}"', name)
            elif part not in ("", "."):
                went_down = True
        return target

    def _admit_hard_link(self, path: str, target: str, name: str) -> None:
        try:
            there = clean(target)
        except Fault as fault:
            raise Fault("L-OUT", f'is a hard link to "{target}", which {fault.text}', name) from None
        if not there or there == path:
            raise Fault("L-MISSING", "is a hard link to itself or to nothing", name)
        self.hard_links[path] = there
