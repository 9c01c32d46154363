"""Pack a folder, of this machine or of Drive, into one zip: what `datastage.zip_folder` does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from datastage import archives, saved_copy, sources
from datastage.errors import NoSpaceError, SpecError, while_doing
from datastage.mounts import is_on_drive
from datastage.progress import Reporter, counted
from datastage.runtime import Runtime
from datastage.sources import drive
from datastage.sources.found import line_to_run
from datastage.spec import Spec


def zip_folder(
    folder: str | os.PathLike[str], archive: str | os.PathLike[str], here: Runtime, reporter: Reporter
) -> Path:
    """Pack `folder` into the zip `archive`. See `datastage.zip_folder`, which this is."""
    source, place = place_of(folder), place_of(archive)
    name = place.file_name
    if name.lower().endswith(tuple(set(archives.suffixes()) - {".zip"})):
        what = f"{name} would be a zip under the name of another archive."
        raise SpecError(
            what,
            f"Next: a name that ends with .zip, such as {str(place).removesuffix(name)}{archives.stem_of(name)}.zip",
        )
    if source.scheme == "drive":
        drive.to_write(source, here, reporter)  # connects it; the line that `stage` would advise is another verb's
    found = sources.open_spec(source, here, reporter=reporter)
    if not isinstance(found.content, Path):
        raise SpecError(f"{found.place} is a file, not a folder.", "Next: name the folder to pack.")
    target = saved_copy.folder_of(place, here, reporter)
    try:
        with while_doing("making the folder for the zip"):
            target.parent.mkdir(parents=True, exist_ok=True)
            packed = archives.pack(found.content, target, reporter=reporter)
    except NoSpaceError as error:
        if not is_on_drive(target.parent, here.system_root):
            raise
        raise NoSpaceError(
            f"Google Drive is full: there was no room left while packing {found.content.name}.",
            "At drive.google.com, empty the bin or delete what is no longer needed.",
            f"Next: run the same line again, or write the zip to this machine: ./{target.name}",
            code=error.errno or errno.ENOSPC,
            filename=target,
        ) from error
    reporter.note(f"{counted(packed.n_files, 'file')} into {target.name}", "Packed")
    if packed.left_out:
        reporter.note(", ".join(f"{n:,} {kind}" for kind, n in sorted(packed.left_out.items())), "Left out")
    is_path = ":" in str(place) or set("./") & set(str(place))  # else it would be taken for a dataset's name
    reporter.note(line_to_run(str(place) if is_path else f"./{place}", here))
    return target


def place_of(text: str | os.PathLike[str]) -> Spec:
    """Return the place that `text` names. A bare name is a folder or a file here, also where it is a dataset's."""
    if not os.fspath(text).strip():
        raise SpecError("A name is empty.", "Next: the folder to pack, and the zip to make. Is a variable not set?")
    is_bare = isinstance(text, str) and text.strip() and ":" not in text and not text.startswith((".", "/", "~"))
    return sources.parse(Path(text) if is_bare else text)
