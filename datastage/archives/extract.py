"""An archive in a reader becomes files in a folder, all of them or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from datastage.archives import inflate, names, write
from datastage.archives.errors import Fault, faults_of
from datastage.archives.formats import is_one_file, sniff, stem_of, suffixes
from datastage.archives.listing import no_archive
from datastage.archives.records import HOLE, Unpacked
from datastage.archives.safety import MAX_DEPTH, Tree
from datastage.archives.write import Folder, write_all
from datastage.errors import SpecError, while_doing
from datastage.progress import SILENT, Reporter
from datastage.reader import FileReader, FileRecord, FileRecords, Reader

# Archives in archives in archives.
MAX_NESTING = 8


@dataclass(frozen=True, slots=True)
class Task:
    """One archive to unpack, and what was asked for; `above` counts the folders above an archive in an archive."""

    reader: Reader
    root: str
    pick: Callable[[str], bool] | None
    password: bytes | None
    reporter: Reporter
    n_cores: int
    free_bytes: int
    encoding: str | None = None
    above: int = 0


@dataclass(slots=True)
class Result:
    """What came of one archive."""

    tree: Tree
    files: FileRecords = field(default_factory=FileRecords)
    folders: list[tuple[str, int | None]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    encoding: str | None = None
    matched: bool = False
    n_replaced: int = 0

    def leave_out(self, kind: str, n: int = 1) -> None:
        """Count what is left out."""
        self.left_out[kind] = self.left_out.get(kind, 0) + n


def unpack(
    reader: Reader,
    to: Path,
    *,
    members: Sequence[str] | None = None,
    strip: bool | str = False,
    password: str | None = None,
    nested: bool = False,
    free_bytes: int | None = None,
    encoding: str | None = None,
    reporter: Reporter = SILENT,
) -> Unpacked:
    """Unpack an archive into an empty folder: all of it, checked, or nothing.

    `strip` takes off the one top folder: any if True, or the one of that name. `members` are shell patterns; one that
    names a folder takes all below it. A zip is read from its end, and needs ranges.
    """
    root = os.fspath(to)
    with _emptied_after_errors(root, reader.name):
        form = sniff(reader)
        if form is None:
            raise no_archive(reader)
        task = Task(
            reader=reader,
            root=root,
            pick=names.chooser(members),
            password=password.encode("utf-8") if password is not None else None,
            reporter=reporter,
            encoding=encoding,
            n_cores=usable_cores(),
            free_bytes=shutil.disk_usage(root).free if free_bytes is None else free_bytes,
        )
        result = _extract(form, task)
        if members is not None and not result.matched:
            raise SpecError(
                f"Nothing in {reader.name} matches {', '.join(repr(str(m)) for m in members)}.",
                f"Next: datastage extract --list {reader.local_path or reader.name}",
            )
        top = names.top_to_strip(_tops(result), strip)
        if top is not None and not _may_strip(result.tree, top):
            top = None
        if nested:
            _unpack_nested(task, result, 1)
        _set_folder_times(root, result)
        if top is not None:
            _take_off(root, result, top)
        return Unpacked(
            format=form,
            files=result.files,
            n_files=len(result.files),
            n_bytes=result.tree.n_bytes,
            left_out=result.left_out,
            stripped=top,
            encoding=result.encoding,
            n_replaced=result.n_replaced,
        )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextmanager
def _emptied_after_errors(root: str, name: str) -> Iterator[None]:
    try:
        with while_doing(f"unpacking {name}"), faults_of(name):
            yield
    except BaseException:
        write.empty(root)
        raise


def _extract(form: str, task: Task) -> Result:
    inflate.prepare(task.reader.size)
    if form == "zip":
        from datastage.archives.zip_extract import extract_zip

        return extract_zip(task)
    from datastage.archives.stream_extract import extract_stream

    return extract_stream(form, task)


# --- what comes last ---


def write_pieces(
    folder: Folder, path: str, mode: int | None, mtime_ns: int | None, pieces: Iterable[bytes | memoryview]
) -> FileRecord:
    """Write one file as its content comes; holes are left to the disk."""
    crc32 = inflate.chosen().crc32
    crc = size = 0
    fd = folder.create(path, mode)
    try:
        for piece in pieces:
            if isinstance(piece, memoryview) and piece.obj is HOLE.obj:
                os.lseek(fd, len(piece), os.SEEK_CUR)
            else:
                write_all(fd, piece)
            crc = crc32(piece, crc)
            size += len(piece)
        os.ftruncate(fd, size)  # a hole may be last
        if mtime_ns is not None:
            folder.set_time(fd, path, mtime_ns)
    finally:
        os.close(fd)
    return FileRecord(path, size, crc)


def make_links(result: Result, folder: Folder, links: list[tuple[str, str]]) -> None:
    """Make all links, once every file is written: nothing is ever written through one."""
    if result.tree.twice:
        n_files, n_bytes = result.files.drop_earlier(result.tree.twice)
        result.n_replaced += n_files
        result.tree.n_bytes -= n_bytes
    by_path = dict(zip(result.files.paths, result.files)) if result.tree.hard_links else {}
    for path, target in result.tree.finish():
        folder.hard_link(path, target)
        result.files.append(by_path[target]._replace(path=path))
    result.n_replaced += len(links) - len(dict(links))
    for path, target in dict(links).items():
        folder.link(path, target)
        result.files.append(FileRecord(path, 0, 0, target))


def _tops(result: Result) -> set[str]:
    tops = {path.partition("/")[0] for path in result.files.paths}
    tops.update(path.partition("/")[0] for path, kind in result.tree.kinds.items() if kind == "folder" and path)
    return tops


def _may_strip(tree: Tree, top: str) -> bool:
    """Tell whether the top is a folder that no link climbs to: such a link would leave the folder once it is gone."""
    return tree.kinds.get(top) == "folder" and all(
        target.split("/").count("..") < path.count("/") for path, target in tree.links.items()
    )


def _take_off(root: str, result: Result, top: str) -> None:
    # A name that nothing in the archive bears.
    aside = root.rstrip(os.sep) + ".top"
    while os.path.lexists(aside):
        aside += "_"
    try:
        os.rename(os.path.join(root, top), aside)
        os.rmdir(root)
        os.rename(aside, root)
    except OSError:
        write.empty(aside)
        raise
    n = len(top) + 1
    result.files.paths[:] = [path[n:] for path in result.files.paths]


def _set_folder_times(root: str, result: Result) -> None:
    with Folder(root) as folder:
        for path, mtime_ns in reversed(result.folders):
            if mtime_ns is not None:
                folder.set_folder_time(path, mtime_ns)


# --- archives in archives ---


def _unpack_nested(task: Task, result: Result, level: int) -> None:
    """Unpack the archives among the files, each into a folder in its place."""
    files = FileRecords()
    for file in result.files:
        inner = None
        if file.target is None and file.path.lower().endswith(suffixes()):
            inner = _unpack_one(task, result, file.path, level)
        if inner is None:
            files.append(file)
            continue
        prefix, found = inner
        result.tree.n_bytes += found.tree.n_bytes - file.size
        for each in found.files:
            files.append(each._replace(path=f"{prefix}/{each.path}" if prefix else each.path))
        result.n_replaced += found.n_replaced
        for kind, n in found.left_out.items():
            result.leave_out(kind, n)
    result.files = files


def _unpack_one(task: Task, result: Result, path: str, level: int) -> tuple[str, Result] | None:
    """Unpack one archive of an archive; return its folder and what came of it, or None if it is no archive."""
    packed = os.path.join(task.root, *path.split("/"))
    with FileReader(packed) as reader:
        form = sniff(reader)
        if form is None:
            return None
        if level > MAX_NESTING:
            raise Fault("M-MANY", f"holds archives in archives more than {MAX_NESTING} deep", path)
        folder = _free_folder(path, result.tree) if is_one_file(form) else folder_of(path, result.tree)
        above = task.above + folder.count("/") + 1
        if above > MAX_DEPTH:  # each archive may be as deep: together they would be too deep to be removed again
            raise Fault("N-LONG", f"lies more than {MAX_DEPTH} folders deep", path)
        root = os.path.join(task.root, *folder.split("/"))
        os.mkdir(root)
        result.tree.kinds[folder] = "folder"  # taken: the next may have the same stem
        free = task.free_bytes - result.tree.n_bytes
        inner = replace(task, reader=reader, root=root, pick=None, free_bytes=free, above=above)
        found = _extract(form, inner)
        _unpack_nested(inner, found, level + 1)
        _set_folder_times(root, found)
    os.unlink(packed)
    return (_put_beside(task.root, result.tree, folder) if is_one_file(form) else folder), found


def _put_beside(root: str, tree: Tree, folder: str) -> str:
    """Put what one compressed file held beside it, as gunzip does, if its name is free; return the folder it is in."""
    above, slash, _ = folder.rpartition("/")
    within = os.path.join(root, *folder.split("/"))
    if any(above + slash + name in tree.kinds for name in os.listdir(within)):
        return folder
    for name in os.listdir(within):
        there = os.path.join(within, name)
        tree.kinds[above + slash + name] = "folder" if os.path.isdir(there) else "file"
        os.rename(there, os.path.join(root, *above.split("/"), name))
    os.rmdir(within)
    del tree.kinds[folder]
    return above


def folder_of(path: str, tree: Tree) -> str:
    """Return the folder for a nested archive: its path without the suffix, or with it where that is taken."""
    above, slash, name = path.rpartition("/")
    stem = above + slash + stem_of(name)
    return stem if stem != path and stem not in tree.kinds else _free_folder(path, tree)


def _free_folder(path: str, tree: Tree) -> str:
    folder = path + ".unpacked"
    while folder in tree.kinds:
        folder += "_"
    return folder
