"""An archive in a reader becomes files in a folder, all of them or none."""

from __future__ import annotations

import glob
import os
import shlex
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from datastage import runtime
from datastage.archives import formats, inflate, names, write
from datastage.archives.errors import Fault, faults_of
from datastage.archives.formats import is_one_file, sniff, stem_of, suffixes
from datastage.archives.listing import no_archive
from datastage.archives.records import StreamMember, Unpacked
from datastage.archives.safety import MAX_DEPTH, Tree, clean, followed
from datastage.archives.write import Folder
from datastage.errors import SpecError, while_doing
from datastage.file_names import PART_WORDS, SPLIT_WORDS, junk_kind
from datastage.progress import SILENT, Reporter, few
from datastage.reader import FileReader, FileRecord, FileRecords, Reader

# Archives in archives in archives.
MAX_NESTING = 8
# A second thread costs more than it brings for an archive smaller than this.
PIPELINE_FROM_BYTES = 4 << 20
_SHOWN = 6  # patterns, where none that was given matches


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


def unpack(
    reader: Reader,
    to: Path,
    *,
    members: Sequence[str] | None = None,
    may_lack: bool = False,
    strip: bool | str = False,
    password: str | None = None,
    nested: bool = False,
    free_bytes: int | None = None,
    encoding: str | None = None,
    reporter: Reporter = SILENT,
) -> Unpacked:
    """Unpack an archive into an empty folder: all of it, checked, or nothing.

    `strip` takes off the one top folder: any if True, or the one of that name. `members` are shell patterns; one that
    names a folder takes all below it. Each that names a file or folder must match, unless they `may_lack`; if none does
    it is an error. A zip is read from its end, and needs ranges.
    """
    root = os.fspath(to)
    passed_over: dict[str, None] = {}
    missed = dict.fromkeys(map(names.plain, () if members is None else members), may_lack)
    n_patterns = len(missed)
    with _emptied_after_errors(root, reader.name):
        form = sniff(reader)
        if form is None:
            raise no_archive(reader)
        task = Task(
            reader=reader,
            root=root,
            pick=_noting(names.chooser(members), passed_over, missed),
            password=password.encode("utf-8") if password is not None else None,
            reporter=reporter,
            encoding=encoding,
            n_cores=runtime.usable_cores(),
            free_bytes=shutil.disk_usage(root).free if free_bytes is None else free_bytes,
        )
        result = _extract(form, task)
        wrong = [pattern for pattern, is_kind in missed.items() if not is_kind]
        if wrong or (members is not None and len(missed) == n_patterns):
            wrong = wrong or list(missed)
            step = "the same line, with members= "
            step += f"one of these: {few(map(repr, passed_over), _SHOWN)}" if passed_over else "without that"
            if reader.local_path is not None and to.parent not in reader.local_path.parents:  # that goes
                step = f"datastage extract --list {shlex.quote(str(reader.local_path))}"
            raise SpecError(f"Nothing in {reader.name} matches {few(map(repr, wrong), _SHOWN)}.", f"Next: {step}")
        if missed:
            reporter.note(f"Nothing in {reader.name} matches {few(map(repr, missed), _SHOWN)}.")
        top = _top_to_take_off(result, strip)
        if nested:
            _unpack_nested(task, result, 1)
        _set_folder_times(root, result)
        if top is not None:
            _take_off(root, result, top)
        result.format, result.stripped = form, top
        return result


def _noting(
    pick: Callable[[str], bool] | None, passed_over: dict[str, None], missed: dict[str, bool]
) -> Callable[[str], bool] | None:
    """Return a test that notes patterns of what it passes over: the first few, of folders and of files above them.

    In `missed` those patterns stay that match nothing; True where it is but no file of that kind in its folder.
    """
    if pick is None:
        return None
    folders = {pattern: names.above_wildcards(pattern) for pattern in missed}
    kinds = [(pattern, folder, names.chooser([pattern])) for pattern, folder in folders.items() if folder is not None]

    def picks(path: str) -> bool:
        is_picked = pick(path)
        if is_picked:
            for end in (n for n, c in enumerate(path + "/") if c == "/") if missed else ():
                if folders.get(path[:end], "") is None:
                    missed.pop(path[:end], None)
        for kind in kinds[:]:
            pattern, folder, matches = kind
            if is_picked and matches is not None and matches(path):
                del missed[pattern]
                kinds.remove(kind)
            elif path.startswith(folder):
                missed[pattern] = True
        if is_picked:
            return True
        if path and len(passed_over) <= _SHOWN:
            above = path.rpartition("/")[0]
            passed_over[glob.escape(above) + "/*" if above else glob.escape(path)] = None
        return False

    return picks


@contextmanager
def _emptied_after_errors(root: str, name: str) -> Iterator[None]:
    try:
        with while_doing(f"unpacking {name}"), faults_of(name):
            yield
    except BaseException:
        write.empty(root)
        raise


def _extract(form: str, task: Task) -> Unpacked:
    inflate.prepare(task.reader.size)
    if form == "zip":
        from datastage.archives.zip_extract import extract_zip

        return extract_zip(task)
    return _extract_stream(form, task)


# --- an archive that is read from front to back, and one compressed file ---


def _extract_stream(form: str, task: Task) -> Unpacked:
    """Write the members of an archive, or what one compressed file holds, as they come."""
    result = Unpacked(Tree(task.free_bytes))
    task.reporter.phase(f"unpacking {task.reader.name}", task.reader.size)
    with Folder(task.root) as folder:
        with closing(_members(form, task)) as members:
            for member in members:
                _write_member(task, result, folder, member)
        if task.pick is not None:
            _fetch_linked_files(form, task, result, folder)
        make_links(result, folder)
    return result


def _members(form: str, task: Task) -> Generator[StreamMember, None, None]:
    reader = task.reader

    def counted() -> Iterator[bytes]:
        for piece in reader.stream(0):
            task.reporter.advance(len(piece))
            yield piece

    in_thread = task.n_cores > 1 and (reader.size is None or reader.size > PIPELINE_FROM_BYTES)
    source = formats.Source(
        reader, counted(), password=task.password, encoding=task.encoding, folder=task.root, free_bytes=task.free_bytes,
        reporter=task.reporter, in_thread=in_thread,
    )  # fmt: skip
    return formats.members(form, source)


def _write_member(task: Task, result: Unpacked, folder: Folder, member: StreamMember) -> None:
    trash = "older versions" if member.kind == "version" else junk_kind(member.name)
    if trash or (task.pick is not None and not task.pick(clean(member.name) if member.name else "")):
        path = clean(member.name)
        if member.kind == "hardlink":
            result.skipped[path] = clean(member.target)
        if trash and member.kind != "folder":
            result.left_out[trash] += 1
        return
    kinds = result.tree.kinds
    if member.kind == "hardlink" and member.target == member.name and kinds.get(clean(member.name)) == "file":
        return  # `tar cf x.tar d d/a` names d/a twice, the second time as a link to itself
    path = result.tree.admit(member.name, member.kind, max(0, member.size), member.target)
    if member.kind == "folder":
        if path:
            folder.make_folder(path)
            result.folders.append((path, _mtime_ns(member)))
    elif member.kind == "link":
        result.links.append((path, member.target))
    elif member.kind == "file":
        if path in result.tree.twice:
            _take_away(result, folder, path)
        _write_file(result, folder, path, member)


def _take_away(result: Unpacked, folder: Folder, path: str) -> None:
    """Remove a file that a later one replaces. Hard links to it are made first: they keep its content."""
    tree = result.tree
    for link in list(tree.hard_links):
        if followed(link, tree.hard_links) == path:
            folder.hard_link(link, path)
            record = next(file for file in reversed(result.files) if file.path == path)
            result.files.append(record._replace(path=link))
            del tree.hard_links[link]
            tree.kinds[link] = "file"
    folder.remove(path)


def _mtime_ns(member: StreamMember) -> int | None:
    return None if member.mtime is None else int(member.mtime * 1_000_000_000)


def _write_file(result: Unpacked, folder: Folder, path: str, member: StreamMember) -> None:
    def counted() -> Iterator[memoryview]:
        for piece in member.content():
            if member.size < 0:  # only unpacking tells
                result.tree.take_room(len(piece), path)
            yield piece

    result.files.append(write_pieces(folder, path, member.mode, _mtime_ns(member), counted()))


def _fetch_linked_files(form: str, task: Task, result: Unpacked, folder: Folder) -> None:
    """Write the files that picked hard links lead to and that were not picked: under the name of the first link."""
    tree = result.tree
    wanted: dict[str, str] = {}
    links = {**result.skipped, **tree.hard_links}
    for path in list(tree.hard_links):
        target = followed(path, links)
        if target not in tree.kinds and (first := wanted.setdefault(target, path)) != path:
            tree.hard_links[path] = first
    if not wanted:
        return
    with closing(_members(form, task)) as members:
        for member in members:
            source = clean(member.name)
            if member.kind == "file" and source in wanted:
                path = wanted.pop(source)
                del tree.hard_links[path]
                tree.kinds[path] = "file"
                tree.take_room(member.size, path)
                _write_file(result, folder, path, member)
            if not wanted:
                return


# --- what comes last ---


def write_pieces(
    folder: Folder, path: str, mode: int | None, mtime_ns: int | None, pieces: Iterable[bytes | memoryview]
) -> FileRecord:
    """Write one file as its content comes, and return its size and CRC-32."""
    crc32, crc = inflate.chosen().crc32, 0

    def counted() -> Iterator[bytes | memoryview]:
        nonlocal crc
        for piece in pieces:
            crc = crc32(piece, crc)
            yield piece

    size = folder.write_pieces(path, counted(), mode, mtime_ns)
    return FileRecord(path, size, crc)


def make_links(result: Unpacked, folder: Folder) -> None:
    """Make all links, once every file is written: nothing is ever written through one."""
    if result.tree.twice:
        n_files, n_bytes = result.files.drop_earlier(result.tree.twice)
        result.n_replaced += n_files
        result.tree.n_bytes -= n_bytes
    by_path = dict(zip(result.files.paths, result.files)) if result.tree.hard_links else {}
    for path, target in result.tree.finish():
        folder.hard_link(path, target)
        result.files.append(by_path[target]._replace(path=path))
    links = dict(result.links)
    result.n_replaced += len(result.links) - len(links)
    for path, target in links.items():
        folder.link(path, target)
        result.files.append(FileRecord(path, 0, 0, target))


def _top_to_take_off(result: Unpacked, strip: bool | str) -> str | None:
    """Return the one top folder if it may go: any for True; of that name, but for that of a split, for a name.

    It may not where a link climbs to it: such a link would leave the folder then.
    """
    if not strip:
        return None  # nothing else would be asked of a million files
    kinds = result.tree.kinds
    folders = (path for path, kind in kinds.items() if kind == "folder" and path)
    tops = {path.partition("/")[0] for path in chain(result.files.paths, folders)}
    top = tops.pop() if len(tops) == 1 else None
    if top is None or kinds.get(top) != "folder":
        return None
    if isinstance(strip, str) and (top != strip or top.lower() in SPLIT_WORDS or top.lower() in PART_WORDS):
        return None
    links = result.tree.links.items()
    climbs = any(target.split("/").count("..") >= path.count("/") for path, target in links)
    return None if climbs else top


def _take_off(root: str, result: Unpacked, top: str) -> None:
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


def _set_folder_times(root: str, result: Unpacked) -> None:
    with Folder(root) as folder:
        for path, mtime_ns in reversed(result.folders):
            folder.set_time(path, mtime_ns)


# --- archives in archives ---


def _unpack_nested(task: Task, result: Unpacked, level: int) -> None:
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
        result.left_out += found.left_out
    result.files = files


def _unpack_one(task: Task, result: Unpacked, path: str, level: int) -> tuple[str, Unpacked] | None:
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
