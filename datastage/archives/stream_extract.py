"""Unpack an archive that is read from front to back, and one compressed file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from datastage.archives import formats
from datastage.archives.extract import Result, Task, make_links, write_pieces
from datastage.archives.records import StreamMember
from datastage.archives.safety import Tree, clean
from datastage.archives.write import Folder
from datastage.file_names import junk_kind

# A second thread costs more than it brings for an archive smaller than this.
PIPELINE_FROM_BYTES = 4 << 20


def extract_stream(form: str, task: Task) -> Result:
    """Write the members of an archive, or what one compressed file holds, as they come."""
    result = Result(Tree(task.free_bytes))
    links: list[tuple[str, str]] = []
    skipped: dict[str, str] = {}
    task.reporter.phase(f"unpacking {task.reader.name}", task.reader.size)
    with Folder(task.root) as folder:
        with closing(_members(form, task)) as members:
            for member in members:
                _write_member(task, result, folder, member, links, skipped)
        if task.pick is not None:
            _fetch_linked_files(form, task, result, folder, skipped)
        make_links(result, folder, links)
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


def _write_member(
    task: Task,
    result: Result,
    folder: Folder,
    member: StreamMember,
    links: list[tuple[str, str]],
    skipped: dict[str, str],
) -> None:
    trash = "older versions" if member.kind == "version" else junk_kind(member.name)
    if trash or (task.pick is not None and not task.pick(clean(member.name) if member.name else "")):
        path = clean(member.name)
        if member.kind == "hardlink":
            skipped[path] = clean(member.target)
        if trash and member.kind != "folder":
            result.leave_out(trash)
        return
    result.matched = True
    kinds = result.tree.kinds
    if member.kind == "hardlink" and member.target == member.name and kinds.get(clean(member.name)) == "file":
        return  # `tar cf x.tar d d/a` names d/a twice, the second time as a link to itself
    path = result.tree.admit(member.name, member.kind, max(0, member.size), member.target)
    if member.kind == "folder":
        if path:
            folder.make_folder(path)
            result.folders.append((path, _mtime_ns(member)))
    elif member.kind == "link":
        links.append((path, member.target))
    elif member.kind == "file":
        if path in result.tree.twice:
            _take_away(result, folder, path)
        _write_file(result, folder, path, member)


def _take_away(result: Result, folder: Folder, path: str) -> None:
    """Remove a file that a later one replaces. Hard links to it are made first: they keep its content."""
    tree = result.tree
    for link, target in list(tree.hard_links.items()):
        while target in tree.hard_links and target != link:
            target = tree.hard_links[target]
        if target == path:
            folder.hard_link(link, path)
            record = next(file for file in reversed(result.files) if file.path == path)
            result.files.append(record._replace(path=link))
            del tree.hard_links[link]
            tree.kinds[link] = "file"
    folder.remove(path)


def _mtime_ns(member: StreamMember) -> int | None:
    return None if member.mtime is None else int(member.mtime * 1_000_000_000)


def _write_file(result: Result, folder: Folder, path: str, member: StreamMember) -> None:
    def counted() -> Iterator[memoryview]:
        for piece in member.content():
            if member.size < 0:  # only unpacking tells
                result.tree.take_room(len(piece), path)
            yield piece

    result.files.append(write_pieces(folder, path, member.mode, _mtime_ns(member), counted()))


def _fetch_linked_files(form: str, task: Task, result: Result, folder: Folder, skipped: dict[str, str]) -> None:
    """Write the files that picked hard links lead to and that were not picked: under the name of the first link."""
    tree = result.tree
    wanted: dict[str, str] = {}
    for path, target in list(tree.hard_links.items()):
        seen = {path}
        while target not in seen and (further := tree.hard_links.get(target) or skipped.get(target)):
            seen.add(target)
            target = further
        if target in tree.kinds:
            continue
        first = wanted.setdefault(target, path)
        if first != path:
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
