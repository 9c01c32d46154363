"""The images in an archive: their names, and their bytes without unpacking it.

Here: `of`. Not here: reading archives (`datastage.archives`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from datastage.batches.decode import Unreadable
from datastage.batches.folder import is_image
from datastage.errors import PasswordError
from datastage.reader import Reader


@dataclass(frozen=True, slots=True)
class Images:
    """The images in an archive.

    Attributes
    ----------
    stamps : dict of str to str
        What changes when the image of that name does.
    read : callable or None
        From a name to its bytes, from any thread; None if the archive can only be read from end to end.
    stream : callable
        Gives all names and bytes, in one pass.
    """

    stamps: dict[str, str]
    read: Callable[[str], bytes] | None
    stream: Callable[[], Iterable[tuple[str, bytes]]]


def of(reader: Reader) -> Images:
    """List the images in an archive.

    Raises
    ------
    DamagedArchiveError
        If the archive cannot be listed.
    PasswordError
        If it is locked.
    """
    from datastage import archives
    from datastage.archives import zip_directory, zip_members
    from datastage.archives.errors import Fault, error_of

    def stream() -> Iterator[tuple[str, bytes]]:
        for member, file in archives.iter_members(reader):
            if file is not None and is_image(member.name):
                yield member.name, file.read()

    if archives.sniff(reader) != "zip":
        members = archives.list_members(reader)
        stamps = {m.name: f"{m.size}-{m.mtime}" for m in members if m.kind == "file" and is_image(m.name)}
        return Images(stamps, None, stream)
    try:
        entries = {
            member.name: (entry, limit)
            for member, entry, limit in zip_directory.listing(reader)
            if member.kind == "file" and is_image(member.name)
        }
    except Fault as fault:
        raise error_of(fault, reader.name) from None
    if any(entry.encrypted for entry, _ in entries.values()):
        raise PasswordError(
            f"{reader.name} is locked.",
            "Next: loaders(datastage.stage(..., password=...), ...), which unpacks it first.",
        )

    def read(name: str) -> bytes:
        entry, limit = entries[name]
        try:
            return zip_members.read_whole(entry, reader.read_at, limit, None)
        except Fault as fault:
            raise Unreadable(f"in the archive it {fault}") from None

    return Images({name: f"{entry.usize}-{entry.crc}" for name, (entry, _) in entries.items()}, read, stream)
