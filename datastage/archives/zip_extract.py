"""Unpack a zip: the directory is judged, helpers and threads write, and links are made last."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from datastage.archives import inflate, workers, write, zip_directory, zip_entry, zip_members, zip_plan
from datastage.archives.errors import Fault
from datastage.archives.extract import Task, make_links, write_pieces
from datastage.archives.records import Unpacked
from datastage.archives.safety import MAX_TARGET_BYTES, Tree
from datastage.archives.write import Folder
from datastage.archives.zip_entry import Row

# Below this mean size creating files costs more than inflating, and interpreters help where threads do not.
SMALL_BYTES = 32 << 10
# What a helper must save before it pays for its start.
HELPERS_FROM_FILES = 6_000
THREADS_FROM_BYTES = 16 << 20
BATCH_BYTES = 1 << 20
BATCH_FILES = 256


def extract_zip(task: Task) -> Unpacked:
    """Unpack a zip into the task's folder."""
    if not task.reader.ranges:
        raise ValueError("a zip is read from its end: it needs a reader with ranges, such as transfer.ahead")
    directory = replace(zip_directory.find_directory(task.reader), encoding=task.encoding)
    with ExitStack() as stack:
        helpers = _start_helpers(task, directory, stack)
        if helpers:
            try:
                return _write_all(task, directory, helpers)
            except zip_plan.Disordered:
                write.empty(task.root)
    return _write_all(task, directory, ())


def _start_helpers(task: Task, directory: zip_directory.Directory, stack: ExitStack) -> list[workers.Helper]:
    helpers: list[workers.Helper] = []
    n = len(directory.ats)
    local = task.reader.local_path
    if not sys.executable or not os.path.exists(workers.PACKAGE_ROOT):
        return helpers  # no fresh interpreter could be started that finds our package
    if task.n_cores < 2 or n < HELPERS_FROM_FILES or local is None or directory.start > n * SMALL_BYTES:
        return helpers
    modules = inflate.chosen().modules
    setup = (os.path.abspath(local), task.root, directory.start, directory.size, modules, task.password)
    for _ in range(min(task.n_cores, workers.MAX_WRITERS) - 1):
        try:
            helpers.append(workers.Helper(setup))
        except OSError:  # no more processes to be had: fewer do it
            break
        stack.callback(helpers[-1].close)
    return helpers


def _write_all(task: Task, directory: zip_directory.Directory, helpers: Sequence[workers.Helper]) -> Unpacked:
    reader = task.reader
    result = Unpacked(Tree(task.free_bytes))
    with ExitStack() as stack:
        # What is fetched while it is read comes in the order of the archive.
        writers = stack.enter_context(workers.Writers(helpers, in_order=reader.local_path is None))
        # Helpers write what has been judged, while the rest is.
        early = (lambda rows: writers.add(_batches(rows))) if helpers else None
        plan = zip_plan.Plan(directory, result, task.pick, task.password, early)
        task.reporter.phase(f"unpacking {reader.name}", result.tree.n_bytes)
        by_tool = {row for row in plan.links if not zip_entry.is_ours(directory.entry(row[0]))}
        folder = stack.enter_context(Folder(task.root))
        for path, _ in result.folders:
            folder.make_folder(path)
        _write_members(task, plan, folder, writers, stack)
        targets = _write_by_tool(task, plan, folder, by_tool)
        if plan.may_be_longer:
            _correct_sizes(task.root, result, plan.may_be_longer)
        for row in sorted(plan.links):  # in the directory's order: of two of one path the later one counts
            target = targets[row[0]] if row in by_tool else _read_link(task, row, directory)
            result.links.append((result.tree.admit(row[1], "link", 0, target), target))
        make_links(result, folder)
        return result


def _write_by_tool(task: Task, plan: zip_plan.Plan, folder: Folder, links: set[Row]) -> dict[int, str]:
    """Have a tool undo the members that are not undone here; return the targets of those that are links."""
    targets: dict[int, str] = {}
    if not plan.needs_tool and not links:
        return targets
    from datastage.archives import external_tools

    files = plan.result.files
    by_path = {path: nth for nth, path in enumerate(files.paths)}
    for row, entry, pieces in external_tools.zip_contents(task, plan.directory, [*plan.needs_tool, *links]):
        if row in links:
            targets[row[0]] = b"".join(pieces).decode("utf-8", "surrogateescape")
            continue
        written = write_pieces(folder, row[1], entry.mode, entry.mtime_ns, pieces)
        files.crcs[by_path[row[1]]] = written.crc32
    return targets


def _write_members(task: Task, plan: zip_plan.Plan, folder: Folder, writers: workers.Writers, stack: ExitStack) -> None:
    read_at, advance = writers.reading(task.reader.read_at), task.reporter.advance
    entries = zip_entry.Entries(read_at, plan.directory.start, plan.directory.size)

    def writer(into: Folder) -> Callable[[workers.Batch], None]:
        return lambda batch: zip_members.write_batch(read_at, into, *entries.of(batch), task.password, advance)

    batches = list(_batches(plan.rows))
    n_threads = 1 if plan.is_wide else min(task.n_cores, workers.MAX_WRITERS, len(batches))
    n_files, n_bytes = len(plan.result.files), plan.result.tree.n_bytes
    if writers.helpers or n_bytes <= THREADS_FROM_BYTES or n_bytes <= SMALL_BYTES * n_files:
        n_threads = 1
    threads = [writer(stack.enter_context(Folder(task.root))) for _ in range(n_threads - 1)]
    writers.finish(batches, writer(folder), advance, threads)


def _batches(rows: zip_plan.Rows) -> Iterator[workers.Work]:
    """Cut the plan into batches: what is read in one go, or one large member."""
    first, offsets = rows.first, rows.offsets
    for nth in range(first, rows.end):
        if nth > first and (offsets[nth + 1] - offsets[first] > BATCH_BYTES or nth - first >= BATCH_FILES):
            yield partial(rows.part, first, nth)
            first = nth
    if first < rows.end:
        yield partial(rows.part, first, rows.end)


def _correct_sizes(root: str, result: Unpacked, paths: set[str]) -> None:
    """Note how large the files of a Mac's archive have come to be."""
    for nth, path in enumerate(result.files.paths):
        if path in paths:
            size = os.stat(os.path.join(root, *path.split("/"))).st_size
            result.tree.take_room(size - result.files.sizes[nth], path)
            result.files.sizes[nth] = size


def _read_link(task: Task, row: Row, directory: zip_directory.Directory) -> str:
    """Return the target of a link: the content of the member."""
    at, path, offset, limit = row
    entry = directory.entry(at, offset)
    if entry.csize > 1 << 20:
        raise Fault("L-TARGET", f"is a link with a target of over {MAX_TARGET_BYTES} bytes", path)
    target = zip_members.read_whole(entry, task.reader.read_at, limit, task.password)
    return target.decode("utf-8", "surrogateescape")
