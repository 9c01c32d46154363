"""A request: what it names, the folder it goes to, and whether it is there already; else the chain of its places."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datastage import archives, links, slots, sources, store
from datastage.entry import ArchiveEntry, Entry
from datastage.errors import SpecError
from datastage.options import StageOptions
from datastage.progress import SILENT, Reporter, few
from datastage.runtime import Runtime
from datastage.spec import Spec
from datastage.staged import Staged


def stage(options: StageOptions, here: Runtime, *, reporter: Reporter = SILENT) -> Staged:
    """Put the data that `options` name in its folder, and return it. See `datastage.stage`, which this is."""
    folder = None if options.link is None else slots.place_to_write(here.cwd / options.link, here)
    named = named_entry(options.spec, here)
    entry = named if isinstance(named, Entry) else None
    archive = named if isinstance(named, ArchiveEntry) else None
    if archive is not None:
        options = replace(options, name=options.name or archive.name)
    with store.ask(root_folder(options.root, here), _wanted(options, named, here), reporter) as answer:
        if isinstance(answer, Staged):
            staged = answer
            if options.save_to is not None:
                from datastage import saved_copy

                key, name, receipt = options.source_key(here.cwd), entry.name if entry else None, staged.receipt
                saved_copy.say_of_ready(options.save_to, key, name, receipt, here, reporter)
        else:
            from datastage.chain import Chain  # what is there already is given without what fetches and unpacks

            staged = Chain(options, here, answer, entry, archive).run()
    if folder is not None:
        left_out = links.link_into(folder, _link_items(staged))[1]
        if left_out:
            names = few(left_out, 4)
            reporter.note(f"{names} in {folder}: Python would take it for code; it is in {staged.path}", "No link")
    return staged


def named_entry(spec: Spec, here: Runtime) -> Entry | ArchiveEntry | None:
    """Return the dataset that a spec names; None if it is no name. An unknown name is answered with what is near."""
    if spec.scheme != "name":
        return None
    from datastage import datasets

    try:
        return datasets.get(spec.value)
    except SpecError as error:
        near = sources.near_name(spec.value, here)
        if near is None:
            raise
        raise SpecError(str(error.args[0]), f"Next: is it this one?  {near}") from None


def _wanted(options: StageOptions, named: Entry | ArchiveEntry | None, here: Runtime) -> store.Wanted:
    known: dict[str, tuple[str, str]] = {}
    entry = named if isinstance(named, Entry) else None
    if entry is not None:
        known = {file.path: ("md5", file.md5) for file in entry.files if file.md5}
        known = known if len(known) == len(entry.files) else {}
    elif options.unpack is False or options.copy:
        known = dict.fromkeys([""], next(iter(options.digests.items()))) if options.digests else {}
    more: dict[str, Any] = {}
    if named is not None:
        from datastage import datasets

        if named not in datasets.ENTRIES:
            digests = {f.path: f.md5 for f in entry.files} if entry else {p.name: p.expect for p in named.parts}
            more["listed"] = {name: digest for name, digest in digests.items() if digest}
            more["places"] = frozenset() if more["listed"] else frozenset(getattr(named, "shown_places", ()))
    if options.spec.scheme == "relative":
        more["elsewhere"] = partial(sources.elsewhere, options.spec, here)
    return store.Wanted(
        options.key(here.cwd),
        [str(spec) for spec in (options.spec, *options.fallbacks)],
        entry.name if entry is not None else archives.stem_of(options.spec.file_name) or options.spec.scheme,
        options.name,
        is_entry=entry is not None,
        refresh=options.refresh,
        known=known,
        make_receipt={"entry": entry.name, "licence": entry.licence} if entry is not None else {},
        **more,
    )


def root_folder(asked: Path | None, here: Runtime) -> Path:
    """Return the folder under which datasets go: the one asked for, else ``DATASTAGE_ROOT``, else the fast disk."""
    folder = asked or here.root_setting
    if folder is not None:
        return slots.usable_root(slots.place_to_write(here.cwd / folder.expanduser(), here))
    return slots.usable_root(here.fast_disk, shared=here.fast_disk_shared)


def _link_items(staged: Staged) -> list[tuple[str, Path]]:
    receipt = staged.receipt
    if receipt.get("single"):
        return [(receipt["single"], staged.path)]
    if receipt.get("in_place"):
        return [(staged.path.name, staged.path)]
    if receipt.get("stripped"):
        return [(receipt["stripped"], staged.path)]
    return [(path.name, path) for path in sorted(staged.iterdir())]
