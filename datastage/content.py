"""What is in a partial folder: the files that came, without what bears names of ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datastage.archives import Unpacked
from datastage.errors import IntegrityError
from datastage.own_files import remove_tree
from datastage.reader import FileReader, FileRecord, FileRecords, Reader

_OURS = ".datastage"


@dataclass(slots=True)
class Content:
    """What is in the partial folder now, or the `path` that is used where it is; `facts` are for the receipt."""

    files: Sequence[FileRecord] = field(default_factory=list)
    path: Path | None = None
    single: str | None = None  # the name of the one file, where the content is a file and not a folder
    facts: dict[str, Any] = field(default_factory=dict)


def without_our_names(
    files: Iterable[FileRecord], left_out: Mapping[str, int], folder: Path
) -> tuple[FileRecords, dict[str, int]]:
    """Take out of `folder` and its list what came under names of ours, which is never trusted; say it was left out."""
    records, counted = FileRecords.of(files), dict(left_out)
    ours = {part for path in records.paths if _OURS in path.lower() and (part := _our_part(path))}
    if not ours:
        return records, counted
    for path in ours:
        remove_tree(folder / path)
    kept = FileRecords(file for file in records if _our_part(file.path) not in ours)
    counted["receipts of another copy"] = len(records) - len(kept)
    return kept, counted


def _our_part(path: str) -> str | None:
    """Return the path up to the first part that bears a name of ours; None if none does."""
    parts = path.split("/")
    number = next((n for n, part in enumerate(parts) if part.lower().startswith((_OURS + ".", _OURS + "-"))), None)
    return None if number is None else "/".join(parts[: number + 1])


def content_of(unpacked: Unpacked, folder: Path) -> Content:
    """Return what was unpacked into `folder`, without what bears our names."""
    files, left_out = without_our_names(unpacked.files, unpacked.left_out, folder)
    return Content(
        files,
        facts={
            "format": unpacked.format,
            "left_out": left_out,
            "stripped": unpacked.stripped,
            "encoding": unpacked.encoding,
            "n_replaced": unpacked.n_replaced,
            "dangling": [files.paths[nth] for nth in files.targets if not os.path.exists(folder / files.paths[nth])],
        },
    )


def refuse_if_changed(reader: Reader) -> None:
    """Raise if a file was written to while it was unpacked: half of it may be of the file as it was."""
    if isinstance(reader, FileReader) and reader.has_changed():  # a tar has no checksums of its data
        raise IntegrityError(
            f"{reader.name} changed while it was being unpacked.",
            "Next: wait until whatever writes it has finished, and run the same line again.",
        )
