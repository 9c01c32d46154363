"""The conductor: an archive in a reader becomes files in a folder, all of them or none.

Here: which format does what, what is left out, links last, the top folder taken off, archives in archives.
Not here: the formats, the gate (`safety`), parallel work (`workers`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from datastage.archives import ahead, inflate, names, streams, tar, workers, write, zip_directory, zip_members
from datastage.archives.errors import Fault, error_of
from datastage.archives.formats import not_data, sniff
from datastage.archives.records import Files, Unpacked, UnpackedFile
from datastage.archives.safety import MAX_DEPTH, Tree, clean
from datastage.archives.write import Folder, write_all
from datastage.errors import DatastageError, NotDataError, SpecError, StorageError
from datastage.progress import SILENT, Reporter
from datastage.reader import Reader

# Archives in archives in archives.
MAX_NESTING = 8
# Below this mean size creating files costs more than inflating, and interpreters help where threads do not.
SMALL_BYTES = 32 << 10
# What a helper must save before it pays for its start.
HELPERS_FROM_FILES = 6_000
THREADS_FROM_BYTES = 16 << 20
PIPELINE_FROM_BYTES = 4 << 20
BATCH_BYTES = 1 << 20
BATCH_FILES = 256


@dataclass(slots=True)
class Job:
    """One archive being unpacked: what was asked, and what has come of it."""

    reader: Reader
    root: str
    pick: Callable[[str], bool] | None
    keep_junk: bool
    password: bytes | None
    reporter: Reporter
    n_workers: int
    tree: Tree
    files: Files = field(default_factory=Files)
    folders: list[tuple[str, int | None]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    encoding: str | None = None
    above: int = 0  # the folders above the root, for an archive in an archive
    matched: bool = False


def unpack(
    reader: Reader,
    to: Path,
    *,
    members: Sequence[str] | None = None,
    strip: bool | str = False,
    password: str | None = None,
    nested: bool = False,
    keep_junk: bool = False,
    free_bytes: int | None = None,
    reporter: Reporter = SILENT,
    workers: int | None = None,
) -> Unpacked:
    """Unpack an archive into an empty folder: all of it, checked, or nothing.

    Parameters
    ----------
    reader : Reader
        The archive.
    to : Path
        An existing empty folder. After an error it is empty again.
    members : sequence of str, optional
        Shell patterns of the paths wanted; one that names a folder takes all below it.
    strip : bool or str
        True takes off the one top folder, if there is just one; a name takes it off if it bears that name.
    password : str, optional
        For locked archives.
    nested : bool
        Unpack archives in the archive too, each into a folder in its place.
    keep_junk : bool
        Keep what Macs and Windows leave in archives.
    free_bytes : int, optional
        The room there is; asked of the disk if not given.
    reporter : Reporter
        Told of the phase and the bytes.
    workers : int, optional
        How many may work at once; as many as this process may use cores, if not given.

    Returns
    -------
    Unpacked
        What was written.

    Raises
    ------
    NotDataError
        If the bytes are no archive known here.
    DamagedArchiveError, UnsafeArchiveError, PasswordError
        If the archive breaks a rule, see `safety`.
    SpecError
        If `members` picks nothing.
    StorageError
        If the disk will not take it.
    MissingDependencyError
        If a library or tool for the format is missing.
    """
    root = os.fspath(to)
    with _emptied_after_errors(root, reader.name):
        form = sniff(reader)
        if form is None:
            raise _no_archive(reader)
        n_workers = workers if workers is not None else usable_cores()
        job = Job(
            reader=reader,
            root=root,
            pick=names.chooser(members),
            keep_junk=keep_junk,
            password=password.encode("utf-8") if password is not None else None,
            reporter=reporter,
            n_workers=n_workers,
            tree=Tree(_free(root) if free_bytes is None else free_bytes),
        )
        _run(form, job)
        if members is not None and not job.matched:
            raise SpecError(
                f"Nothing in {reader.name} matches {', '.join(repr(str(m)) for m in members)}.",
                "See what is in it: datastage extract --list ARCHIVE",
            )
        top = names.top_to_strip(_tops(job), strip)
        if top is not None and not _may_strip(job, top):
            top = None
        if nested:
            _unpack_nested(job, 1)
        _set_folder_times(job)
        if top is not None:
            _take_off(job, top)
        return Unpacked(
            format=form,
            files=job.files,
            n_files=len(job.files),
            n_bytes=job.tree.n_bytes,
            left_out=job.left_out,
            stripped=top,
            encoding=job.encoding,
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
        try:
            yield
        except Fault as fault:
            raise error_of(fault, name) from None
        except DatastageError:
            raise
        except OSError as error:
            raise StorageError.of(error, f"unpacking {name}") from error
    except BaseException:
        write.empty(root)
        raise


def _no_archive(reader: Reader) -> DatastageError:
    head = reader.read_at(0, 1024) if reader.ranges else next(iter(reader.stream(0)), b"")[:1024]
    what = not_data(head, "")
    if what is not None:
        return NotDataError(
            f"{reader.name} is {what}, not an archive.", "Fetch it again from its source, and look at it there first."
        )
    return NotDataError(
        f"{reader.name} is no archive of a kind known here, or its end is missing.",
        "Known are zip, tar (plain, gz, bz2, xz, zst, lz4), gz, bz2, xz, zst, lz4, 7z and rar.",
        "If it should be one of these, it was probably cut short on its way: fetch or upload it again.",
    )


def _free(root: str) -> int:
    return shutil.disk_usage(root).free


def _run(form: str, job: Job) -> None:
    inflate.prepare(job.reader.size)
    if form == "zip" and not job.reader.ranges:
        with ahead.kept(job.reader, job.root, job.reporter) as local:
            inner = replace(job, reader=local)
            _unpack_zip(inner)
        for name in ("files", "folders", "left_out", "encoding", "matched"):
            setattr(job, name, getattr(inner, name))
    elif form == "zip":
        _unpack_zip(job)
    elif form == "tar" or form.startswith("tar."):
        _unpack_tar(job, form[4:])
    elif form in ("7z", "rar"):
        from datastage.archives import external_tools

        external_tools.unpack_by_tool(form, job)
    else:
        _unpack_single(job, form)


# --- zip ---


def _unpack_zip(job: Job) -> None:
    directory = zip_directory.find_directory(job.reader)
    free = job.tree.free_bytes
    slow = ahead.is_slow(job.reader)
    with ExitStack() as stack:
        helpers = [] if slow else _start_helpers(job, directory, stack)
        if helpers:
            try:
                _write_zip(job, directory, helpers, slow)
                return
            except zip_directory.Disordered:
                write.empty(job.root)
                job.tree = Tree(free)
    _write_zip(job, directory, (), slow)


def _write_zip(job: Job, directory: zip_directory.Directory, helpers: Sequence[workers.Helper], slow: bool) -> None:
    reader = job.reader
    with ExitStack() as stack:
        writers = stack.enter_context(workers.Writers(helpers, in_order=slow))
        # Helpers write what has been judged, while the rest is.
        early = (lambda rows: writers.add(_batches(rows))) if helpers else None
        plan = zip_directory.plan(reader, directory, job.tree, job.pick, job.keep_junk, job.password, early)
        job.left_out, job.encoding, job.matched = plan.left_out, plan.encoding, plan.matched
        job.files, job.folders = plan.files, plan.folders
        job.reporter.phase(f"unpacking {reader.name}", job.tree.n_bytes)
        if plan.is_wide:
            job.n_workers = 1
        data = directory.data
        locked = [at for at in plan.links if zip_members.ZipEntry(data, at[0]).method not in zip_members.OWN_METHODS]
        if plan.needs_tool or locked:
            from datastage.archives import external_tools

            external_tools.check_zip_members(plan.needs_tool + locked, data, job.password)
        folder = stack.enter_context(Folder(job.root))
        for path, _ in plan.folders:
            folder.make_folder(path)
        batches = list(_batches(plan.rows))
        if slow:
            _write_as_it_comes(job, directory, batches, folder, writers, stack)
        else:
            _write_batches(job, directory, batches, folder, writers, stack, bool(helpers))
        if plan.needs_tool:
            external_tools.unpack_zip_members(job, folder, plan.needs_tool, data)
        if plan.may_be_longer:
            _correct_sizes(job, set(plan.may_be_longer))
        links = []
        for place in plan.links:
            if place in locked:
                target = external_tools.read_zip_link(job, place, data)
            else:
                target = zip_directory.read_link(reader, place, data, job.password)
            links.append((job.tree.admit(place[1], "link", 0, target), target))
        _make_links(job, folder, links)


def _correct_sizes(job: Job, paths: set[str]) -> None:
    for nth, path in enumerate(job.files.paths):
        if path in paths:
            size = os.stat(os.path.join(job.root, *path.split("/"))).st_size
            job.tree.take_room(size - job.files.sizes[nth], path)
            job.files.sizes[nth] = size


def _start_helpers(job: Job, directory: zip_directory.Directory, stack: ExitStack) -> list[workers.Helper]:
    helpers: list[workers.Helper] = []
    n = len(directory.ats)
    local = job.reader.local_path
    if job.n_workers < 2 or n < HELPERS_FROM_FILES or local is None or directory.start > n * SMALL_BYTES:
        return helpers
    if not workers.helpers_can_run():
        return helpers
    setup = (
        os.path.abspath(local), job.root, directory.start, len(directory.data), inflate.chosen().modules, job.password,
    )  # fmt: skip
    for _ in range(min(job.n_workers, workers.MAX_WRITERS) - 1):
        try:
            helpers.append(workers.Helper(setup))
        except OSError:  # no more processes to be had: fewer do it
            break
        stack.callback(helpers[-1].close)
    return helpers


def _write_batches(
    job: Job,
    directory: zip_directory.Directory,
    batches: Sequence[workers.Work],
    folder: Folder,
    writers: workers.Writers,
    stack: ExitStack,
    has_helpers: bool,
) -> None:
    read_at, advance = job.reader.read_at, job.reporter.advance

    def writer(into: Folder) -> Callable[[workers.Batch], None]:
        return lambda batch: zip_members.write_batch(read_at, into, directory.data, batch, job.password, advance)

    threads = []
    if not has_helpers and job.tree.n_bytes > THREADS_FROM_BYTES and job.tree.n_bytes > SMALL_BYTES * len(job.files):
        for _ in range(min(job.n_workers, workers.MAX_WRITERS, len(batches)) - 1):
            threads.append(writer(stack.enter_context(Folder(job.root))))
    writers.finish(batches, writer(folder), advance, threads)


def _write_as_it_comes(
    job: Job,
    directory: zip_directory.Directory,
    batches: Sequence[workers.Work],
    folder: Folder,
    writers: workers.Writers,
    stack: ExitStack,
) -> None:
    """Write members as soon as their bytes are here: several fetch, in the order of the archive, and two write."""
    if not batches:
        return
    advance = job.reporter.advance
    window = ahead.Window(job.reader, [(batch[0][2], batch[-1][3]) for batch in (make() for make in batches)])
    stack.callback(window.close)

    def writer(into: Folder) -> Callable[[workers.Batch], None]:
        def write_one(batch: workers.Batch) -> None:
            span = window.span(batch[0][2], batch[-1][3])
            try:
                zip_members.write_batch(span.read_at, into, directory.data, batch, job.password, advance)
            except BaseException:
                window.close()  # nobody else may wait for a block that will not come
                raise
            finally:
                span.close()

        return write_one

    threads = [writer(stack.enter_context(Folder(job.root))) for _ in range(min(job.n_workers, 2) - 1)]
    writers.finish(batches, writer(folder), advance, threads)


def _batches(rows: zip_directory.Rows) -> Iterator[workers.Work]:
    """Cut the plan into batches: what is read in one go, or one large member."""
    first = start = 0
    for nth, (offset, limit) in enumerate(zip(rows.offsets, rows.limits)):
        if nth > first and (limit - start > BATCH_BYTES or nth - first >= BATCH_FILES):
            yield partial(rows.part, first, nth)
            first = nth
        if nth == first:
            start = offset
    if first < len(rows.offsets):
        yield partial(rows.part, first, len(rows.offsets))


def _make_links(job: Job, folder: Folder, links: list[tuple[str, str]]) -> None:
    by_path = dict(zip(job.files.paths, job.files)) if job.tree.hard_links else {}
    for path, target in job.tree.finish():
        folder.hard_link(path, target)
        job.files.append(by_path[target]._replace(path=path))
    for path, target in links:
        folder.link(path, target)
        job.files.append(UnpackedFile(path, 0, 0, "link", target))


# --- tar ---


def _unpack_tar(job: Job, compression: str) -> None:
    reader = job.reader
    job.reporter.phase(f"unpacking {reader.name}", reader.size)

    def unpacked_from(pieces: streams.Pieces) -> None:
        stream = streams.Bytes(pieces)
        links: list[tuple[str, str]] = []
        with Folder(job.root) as folder:
            for member in tar.members(stream, needs_end=not compression):
                _write_tar_member(job, folder, member, links)
            _make_links(job, folder, links)

    _decompressed(job, compression, unpacked_from)


def _decompressed(job: Job, compression: str, use: Callable[[streams.Pieces], None]) -> None:
    """Have `use` read the decompressed bytes."""
    reader = job.reader

    def counted() -> streams.Pieces:
        for piece in ahead.stream(reader):
            job.reporter.advance(len(piece))
            yield piece

    pieces: streams.Pieces = streams.decoded(compression, counted())
    # A second thread brings nothing where there is nothing to undo, and costs more than it brings for a small archive.
    if compression and job.n_workers > 1 and (reader.size is None or reader.size > PIPELINE_FROM_BYTES):
        pieces = streams.Ahead(pieces)
    try:
        use(pieces)
    finally:
        _close(pieces)


def _close(pieces: streams.Pieces) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _write_tar_member(job: Job, folder: Folder, member: tar.TarMember, links: list[tuple[str, str]]) -> None:
    if member.kind == "label":
        return
    kind = member.kind
    trash = None if job.keep_junk else names.junk(member.name)
    if trash or (job.pick is not None and not job.pick(clean(member.name) if member.name else "")):
        clean(member.name)
        if trash and kind != "folder":
            job.left_out[trash] = job.left_out.get(trash, 0) + 1
        return
    job.matched = True
    mtime_ns = None if member.mtime is None else int(member.mtime * 1_000_000_000)
    path = job.tree.admit(member.name, kind, member.size, member.target)
    if kind == "folder":
        if path:
            folder.make_folder(path)
            job.folders.append((path, mtime_ns))
        return
    if kind == "link":
        links.append((path, member.target))
        return
    if kind == "hardlink":
        return  # made when all files are there
    crc32 = inflate.chosen().crc32
    fd = folder.create(path, member.mode)
    try:
        if member.sparse is not None:
            crc = _write_sparse(fd, member, crc32)
        else:
            crc = 0
            for piece in member.pieces():
                write_all(fd, piece)
                crc = crc32(piece, crc)
        if mtime_ns is not None:
            folder.set_time(fd, path, mtime_ns)
    finally:
        os.close(fd)
    job.files.append(UnpackedFile(path, member.size, crc))


def _write_sparse(fd: int, member: tar.TarMember, crc32: Callable[..., int]) -> int:
    os.ftruncate(fd, member.size)
    crc = at = 0
    pieces = member.pieces()
    now = memoryview(b"")
    for offset, n in member.sparse or ():
        crc = inflate.crc32_of_zeros(crc, offset - at)
        os.lseek(fd, offset, os.SEEK_SET)
        at = offset + n
        while n:
            if not now:
                now = next(pieces)
            part, now = now[:n], now[n:]
            write_all(fd, part)
            crc = crc32(part, crc)
            n -= len(part)
    return inflate.crc32_of_zeros(crc, member.size - at)


# --- one compressed file ---


def _unpack_single(job: Job, compression: str) -> None:
    reader = job.reader
    name = single_name(reader, compression)
    if name.lower().endswith(".tar"):
        return _unpack_tar(job, compression)  # an empty one, or none: its reader says which
    if job.pick is not None and not job.pick(name):
        return
    job.reporter.phase(f"unpacking {reader.name}", reader.size)
    crc32 = inflate.chosen().crc32

    def unpacked_from(pieces: streams.Pieces) -> None:
        job.matched = True
        path = job.tree.admit(name)
        crc = size = 0
        with Folder(job.root) as folder:
            fd = folder.create(path)
            try:
                for piece in pieces:
                    job.tree.take_room(len(piece), path)
                    write_all(fd, piece)
                    crc = crc32(piece, crc)
                    size += len(piece)
            finally:
                os.close(fd)
        job.files.append(UnpackedFile(path, size, crc))

    _decompressed(job, compression, unpacked_from)


def single_name(reader: Reader, compression: str) -> str:
    """Return the name that one compressed file gets: the archive's without its suffix. The name stored in gzip is not
    used: it is what the file was called once, on another machine.
    """
    name = reader.name.replace("\\", "/").rpartition("/")[2]
    lower = name.lower()
    for suffix in (f".{compression}", ".gzip", ".bzip2", ".zstd"):
        if lower.endswith(suffix) and name[: -len(suffix)] not in ("", ".", ".."):
            return name[: -len(suffix)]
    if name in ("", ".", ".."):
        return "data"
    if lower.endswith((".tgz", ".tbz2", ".tbz", ".txz", ".tzst")):
        return name.rpartition(".")[0] + ".tar"
    return name


# --- what comes last ---


def _tops(job: Job) -> set[str]:
    tops = {path.partition("/")[0] for path in job.files.paths}
    tops.update(path.partition("/")[0] for path, kind in job.tree.kinds.items() if kind == "folder" and path)
    return tops


def _may_strip(job: Job, top: str) -> bool:
    if job.tree.kinds.get(top) != "folder":
        return False  # a file
    for path, target in job.tree.links.items():
        # A link that climbs to the very top would leave the folder once the top one is gone.
        ups = 0
        for part in target.split("/"):
            if part == "..":
                ups += 1
        if ups >= path.count("/"):
            return False
    return True


def _take_off(job: Job, top: str) -> None:
    inner = os.path.join(job.root, top)
    # A name that nothing in the archive bears.
    aside = job.root.rstrip(os.sep) + ".top"
    while os.path.lexists(aside):
        aside += "_"
    try:
        os.rename(inner, aside)
        try:
            os.rmdir(job.root)
            os.rename(aside, job.root)
        except OSError:
            os.makedirs(job.root, exist_ok=True)
            for entry in os.listdir(aside):
                os.rename(os.path.join(aside, entry), os.path.join(job.root, entry))
            os.rmdir(aside)
    except OSError:
        write.empty(aside)
        raise
    n = len(top) + 1
    job.files.paths[:] = [path[n:] for path in job.files.paths]


def _set_folder_times(job: Job) -> None:
    with Folder(job.root) as folder:
        for path, mtime_ns in reversed(job.folders):
            if mtime_ns is not None:
                folder.set_folder_time(path, mtime_ns)


def _unpack_nested(job: Job, depth: int) -> None:
    from datastage.reader import FileReader

    files = Files()
    for file in job.files:
        if file.kind != "file" or not file.path.lower().endswith(ARCHIVE_SUFFIXES):
            files.append(file)
            continue
        path = os.path.join(job.root, *file.path.split("/"))
        with FileReader(path) as reader:
            form = sniff(reader)
            if form is None:
                files.append(file)
                continue
            if depth > MAX_NESTING:
                raise Fault("M-MANY", f"holds archives in archives more than {MAX_NESTING} deep", file.path)
            prefix = folder_of(file.path, job.tree)
            above = job.above + prefix.count("/") + 1
            if above > MAX_DEPTH:  # each archive may be as deep: together they would be too deep to be removed again
                raise Fault("N-LONG", f"lies more than {MAX_DEPTH} folders deep", file.path)
            within = os.path.join(job.root, *prefix.split("/"))
            os.mkdir(within)
            job.tree.kinds[prefix] = "folder"  # taken: the next may have the same stem
            inner = replace(
                job,
                reader=reader,
                root=within,
                tree=Tree(job.tree.free_bytes - job.tree.n_bytes),
                files=Files(),
                folders=[],
                left_out={},
                pick=None,
                above=above,
            )
            _run(form, inner)
            _unpack_nested(inner, depth + 1)
            _set_folder_times(inner)
        os.unlink(path)
        job.tree.n_bytes += inner.tree.n_bytes - file.size
        for each in inner.files:
            files.append(each._replace(path=f"{prefix}/{each.path}"))
        for kind, n in inner.left_out.items():
            job.left_out[kind] = job.left_out.get(kind, 0) + n
    job.files = files


ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".7z", ".rar",
)  # fmt: skip


def folder_of(path: str, tree: Tree) -> str:
    """Return the folder for a nested archive: its path without the suffix, or with it where that is taken."""
    lower = path.lower()
    stem = path
    for suffix in ARCHIVE_SUFFIXES:
        if lower.endswith(suffix):
            stem = path[: -len(suffix)]
            break
    if stem.lower().endswith(".tar"):
        stem = stem[:-4]
    if stem and not stem.endswith("/") and stem not in tree.kinds:
        return stem
    stem = path + ".unpacked"
    while stem in tree.kinds:
        stem += "_"
    return stem
