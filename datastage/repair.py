"""Check what was staged against its list, mend it from where it came, and take over what was moved."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datastage import datasets, own_files, redact, slots, staged, staging, store
from datastage.errors import ChecksumError, IntegrityError, SpecError, StorageError, UnavailableError, while_doing
from datastage.options import StageOptions
from datastage.progress import SILENT, Reporter
from datastage.reader import FileRecord
from datastage.runtime import Runtime
from datastage.sources import parse

_HIDDEN = re.compile(rf"(?<!\w){re.escape(redact.HIDDEN)}(?!\w)")  # what stands for a secret in an address


@while_doing("checking the folder", "Next: ask whoever owns it to verify it, or to let you.")
def verify(
    asked: str | os.PathLike[str],
    here: Runtime,
    *,
    repair: bool = False,
    adopt: bool = False,
    password: str | None = None,
    reporter: Reporter = SILENT,
) -> staged.Verification:
    """Read every file of what was staged again; see `datastage.verify`, which this is."""
    path = Path(os.path.abspath(Path(asked).expanduser()))
    if isinstance(asked, staged.Staged) and asked.receipt.get("in_place"):
        raise _used_in_place(path)
    _refuse_closed(path)
    folder, receipt = _moved(path) if adopt else _staged(path)
    reporter.phase(f"checking {folder.name}", receipt.get("n_bytes"))
    files = staged.read_files(folder, receipt)
    found = staged.verify_folder(folder, files, advance=reporter.advance)
    if repair and not found.ok:
        repaired = mend(folder, here, found, password=password, reporter=reporter)
        found = replace(staged.verify_folder(folder, files), repaired=repaired)
    if adopt and found.ok and not found.extra:
        _take_over(folder, receipt, files)
    return found


def _refuse_closed(path: Path) -> None:
    """Raise `StorageError` if this user may not look at what is at `path`, nor whether anything is."""
    try:
        seen = path.lstat()
    except PermissionError as error:
        raise StorageError(
            f"Whether {path} is there cannot be seen: you may not look into that folder.",
            "Next: look at the path again, or ask whoever owns the folder.",
            code=errno.EACCES,
            filename=path,
        ) from error
    except OSError:
        return
    if stat.S_ISDIR(seen.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        owner = own_files.owner_name(seen)
        message = f"{path} belongs to {owner}, and may not be read."
        raise StorageError(message, f"Next: ask {owner} to verify it, or to let you.", code=errno.EACCES, filename=path)


def _staged(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder that was staged at `path`, with its receipt; `SpecError` says why it is none."""
    for folder in (path, path.parent):
        receipt = staged.receipt_of(folder)
        if receipt is None:
            continue
        if receipt.get("in_place"):
            raise _used_in_place(path)
        if store.staged_at(folder) is not None:
            return folder, receipt
    with contextlib.suppress(OSError):
        seen = path.lstat()
        if not own_files.is_ours(path, seen) and os.path.lexists(path / staged.RECEIPT):
            raise SpecError(
                f"{path} was staged by {own_files.owner_name(seen)}, whose receipt is not believed.",
                "Next: stage it yourself, or let its owner verify it.",
            )
    moved = staged.read_receipt(path) if not path.is_symlink() else None
    if moved is not None and staged.written_for(moved) and os.access(path, os.W_OK):
        raise SpecError(
            f"{path} was staged as {staged.written_for(moved)}, and was moved or copied here.",
            "Its receipt is not believed unseen: it may have come with the data.",
            f"Next: to take it over as it is:  datastage verify {shlex.quote(str(path))} --adopt",
        )
    raise SpecError(
        f"{path} is not a folder that datastage prepared.", "Next: give the path that datastage stage printed."
    )


def _used_in_place(path: Path) -> SpecError:
    return SpecError(
        f"{path} is used where it lies: it was not copied, so there is no list to check it against.",
        "Next: stage it with copy=True.",
    )


def _moved(folder: Path) -> tuple[Path, dict[str, Any]]:
    receipt = staged.read_receipt(folder) if own_files.is_own_folder(folder) else None
    if receipt is not None and not receipt.get("in_place"):
        return folder, receipt
    raise SpecError(f"{folder} holds no receipt of yours to take over.", "Next: give the folder that was moved.")


def _take_over(folder: Path, receipt: dict[str, Any], files: Sequence[FileRecord]) -> None:
    """Make a folder that was moved or copied ours where it lies now; its files were compared with its list."""
    root = slots.usable_root(folder.parent)
    slot = slots.Slot(root, slots.checked_name(folder.name), slots.make_own_folder(root))
    mark = slots.write_mark(slot, [])  # nobody gave its specs to this root: repair will not follow them
    changed = {**receipt, "name": slot.name, "folder": str(slot.final), "at": str(slot.final), "token": mark["token"]}
    with own_files.atomic_file(folder / staged.RECEIPT) as out:
        out.write(staged.receipt_bytes(changed))


def mend(
    folder: Path, here: Runtime, found: staged.Verification, *, password: str | None = None, reporter: Reporter = SILENT
) -> tuple[str, ...]:
    """Bring damaged and missing files again from where they came, and return their paths; all are compared first."""
    slot = slots.slot_of(folder.parent, folder.name)
    receipt = staged.receipt_of(folder)
    assert receipt is not None
    if os.path.isdir(cwd := receipt.get("cwd") or ""):
        here = replace(here, cwd=Path(cwd))  # a relative spec means what it meant then
    options = _source_of(slot, receipt, here)
    lacking = {*found.damaged, *found.missing}
    wanted = [file for file in staged.read_files(folder, receipt) if file.path in lacking]
    if not wanted:
        return ()
    options = _as_then(options, receipt, wanted, password)
    slot = replace(slot, own=slots.make_own_folder(slot.root))
    with while_doing("mending the files"), _without_secrets(slot, receipt), store.waited_for(slot, reporter):
        again = own_files.fresh_folder(slot.repair)
        try:
            mended = staging.stage(replace(options, root=again), here, reporter=reporter)
            base = mended.path.parent if mended.receipt.get("single") else mended.path
            fresh = {file.path: file for file in staged.read_files(base, mended.receipt)}
            for file in wanted:
                if fresh.get(file.path) != file:
                    raise ChecksumError(
                        f"{file.path} is not in its source any more as it was when {folder.name} was staged.",
                        "Next: stage it again with refresh=True.",
                    )
            for file in wanted:
                _put_in_place(base, folder, file)
        finally:
            own_files.remove_tree(again)
    return tuple(file.path for file in wanted)


def _source_of(slot: slots.Slot, receipt: dict[str, Any], here: Runtime) -> StageOptions:
    """Return what to stage again: only from what this user once named for this very folder."""
    specs = [str(receipt.get("spec", "")), *receipt.get("fallbacks", ())]
    mark = slots.read_mark(slot)
    is_known = mark is not None and mark["token"] == receipt.get("token") and mark["specs"] == specs
    # `extract` takes a path alone, which may look like a name, and notes no fallbacks.
    parsed = [parse(text if "fallbacks" in receipt else Path(text)) for text in specs]
    names = {entry.name for entry in datasets.catalog()}
    if "catalog" in receipt and parsed[0].scheme == "name" and parsed[0].value not in names:
        raise SpecError(
            f"{specs[0]} is a dataset of a catalog that is not read here.",
            "Next: set DATASTAGE_CATALOG to the file of that catalog, and run the same line again.",
        )
    if not is_known and any(spec.scheme not in ("file", "relative", "name") for spec in parsed):
        raise SpecError(
            f"{slot.final} names {specs[0]} as its source, and nothing here shows that you ever asked for that.",
            "No address is contacted on the word of a receipt alone.",
            *_staged_anew(slot, specs[0]),
        )
    source = receipt.get("source_path")
    if source and len(parsed) == 1 and parsed[0].scheme in ("file", "relative"):
        path = os.path.abspath(here.cwd / parsed[0].value)
        has_moved = path != source and os.path.exists(path) and not os.path.exists(source)  # with its project
        parsed = parsed if has_moved else [parse(Path(source))]
    return StageOptions(parsed[0], tuple(parsed[1:]), name="again", copy=True)


def _as_then(
    options: StageOptions, receipt: dict[str, Any], wanted: Sequence[FileRecord], password: str | None
) -> StageOptions:
    """Return the options that make the files as they were made: of an archive only those that are wanted."""
    if options.spec.scheme == "name":
        return options
    if not receipt.get("format"):
        return replace(options, unpack=False)
    asked = receipt.get("asked", {})
    members, encoding = asked.get("members"), asked.get("encoding")
    if not asked.get("nested"):  # else no list tells which archive in the archive holds a file
        top = f"{receipt['stripped']}/" if receipt.get("stripped") else ""
        members = [glob.escape(top + file.path) for file in wanted]
        encoding = encoding or receipt.get("encoding")
    return replace(
        options,
        members=tuple(members) if members else None,
        may_lack=True,
        strip=bool(receipt.get("stripped")),
        unpack=True,
        password=password,
        encoding=encoding,
        nested=bool(asked.get("nested")),
    )


@contextlib.contextmanager
def _without_secrets(slot: slots.Slot, receipt: dict[str, Any]) -> Iterator[None]:
    """Say of what an address did not give that the receipt holds it without its secrets."""
    try:
        yield
    except (SpecError, UnavailableError, IntegrityError) as error:
        for spec in (str(receipt.get("spec", "")), *receipt.get("fallbacks", ())):
            if _HIDDEN.search(spec):
                said = f"{spec} does not give the files: its secrets were not kept, since a receipt holds none."
                raise SpecError(said, str(error.args[0]), *_staged_anew(slot, spec)) from error
        raise


def _staged_anew(slot: slots.Slot, spec: str) -> list[str]:
    """Return the steps that stage a folder again; an address without its secrets is left to be filled in."""
    hint = ["ADDRESS stands for the whole address, as it was given then."] if _HIDDEN.search(spec) else []
    again = ["ADDRESS" if hint else spec, "--root", str(slot.root), "--name", slot.name, "--refresh"]
    return [*hint, f"Next: datastage stage {shlex.join(again)}"]


@contextlib.contextmanager
def _opened_below(base: Path, parts: Sequence[str], *, make: bool) -> Iterator[int]:
    """Give the descriptor of a folder below `base`, reached without following a link; missing folders are made."""
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(own_files.opened(base, own_files.FOLDER))
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=held)
            held = stack.enter_context(own_files.opened(part, own_files.FOLDER, below=held))
        yield held


def _put_in_place(base: Path, folder: Path, file: FileRecord) -> None:
    *parts, name = file.path.split("/")
    if not name or {"", ".", ".."} & {*parts, name}:
        raise ChecksumError(f"{file.path!r} is no path of a staged file.", "Next: stage it again with refresh=True.")
    if not hasattr(os, "O_NOFOLLOW"):  # Windows: no descriptors of folders
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(base / file.path, folder / file.path)
        return
    try:
        with _opened_below(base, parts, make=False) as source, _opened_below(folder, parts, make=True) as target:
            with contextlib.suppress(FileNotFoundError):
                seen = os.stat(name, dir_fd=target, follow_symlinks=False)
                if not stat.S_ISREG(seen.st_mode) and not stat.S_ISLNK(seen.st_mode):
                    raise OSError(errno.EEXIST, "it is neither a file nor a link", file.path)
            os.replace(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        raise StorageError(
            f"{folder / file.path} cannot be mended: something else than a file is in its way, and is not touched"
            f" ({error.strerror}).",
            "Next: look at it, rename it, and run the same line again; or stage it again with refresh=True.",
            code=error.errno or errno.EIO,
            filename=folder / file.path,
        ) from error
