"""The `datastage` command: the public functions from a shell. It can do nothing that the library cannot.

Paths go to standard output, one a line; everything else goes to standard error, so that
``DATA=$(datastage stage cifar10 --quiet)`` works. Exit codes are those of the errors (`errors`), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import datastage
from datastage import api, datasets, runtime, show
from datastage.errors import DatastageError, SpecError, on_screen
from datastage.redact import for_a_screen
from datastage.sources import parse

INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are short and end with the next step."""

    def error(self, message: str) -> NoReturn:
        self.exit(SpecError.exit_code, f"{for_a_screen(message)}\nNext: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="datastage",
        description="Put a dataset on this machine's fast disk, wherever it lies.",
        epilog="example: datastage stage cifar10",
    )
    parser.add_argument("--version", action="version", version=f"datastage {datastage.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str, words: str, example: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=words, description=words, epilog=f"example: {example}")
        made.add_argument("--quiet", action="store_true", help="say only errors and instructions")
        made.add_argument("--json", action="store_true", help="print the result, or the error, as JSON")
        return made

    stage = verb("stage", "Put datasets on the fast disk and print their paths.", "datastage stage cifar10 --root data")
    stage.add_argument(
        "specs", nargs="+", metavar="WHAT", help="a name, drive:FILE, kaggle:OWNER/NAME, an address, a path"
    )
    stage.add_argument(
        "--fallback", action="append", default=[], metavar="WHAT", help="a further place for the same data"
    )
    stage.add_argument("--expect", metavar="HASH", help="md5:... or sha256:... of the file")
    stage.add_argument(
        "--root", type=Path, metavar="FOLDER", help="the folder under which the dataset's folder is made"
    )
    stage.add_argument("--name", help="what the dataset's folder is called")
    stage.add_argument("--link", type=Path, metavar="FOLDER", help="make the content appear here too, as a link")
    stage.add_argument("--members", action="append", metavar="GLOB", help="only these members of the archive")
    stage.add_argument(
        "--unpack", action=argparse.BooleanOptionalAction, default=None, help="unpack the archive, or keep it"
    )
    stage.add_argument(
        "--strip", action=argparse.BooleanOptionalAction, default=None, help="take off the one top folder"
    )
    _add_password(stage)
    stage.add_argument("--copy", action="store_true", help="copy even what can be used where it lies")
    stage.add_argument(
        "--save-to", metavar="WHERE", help="keep the fetched file for the next session: drive:FOLDER, a path"
    )
    stage.add_argument("--refresh", action="store_true", help="stage anew, whatever is there")
    stage.add_argument("--catalog", type=Path, metavar="FILE.py", help="a course's own datasets")

    extract = verb(
        "extract", "Unpack an archive: all of it, checked, or nothing.", "datastage extract photos.zip photos"
    )
    extract.add_argument("archive", type=Path)
    extract.add_argument("folder", nargs="?", type=Path, help="the folder to make")
    extract.add_argument("--list", action="store_true", help="list what is inside, and unpack nothing")
    extract.add_argument("--members", action="append", metavar="GLOB", help="only these members")
    extract.add_argument(
        "--strip", action=argparse.BooleanOptionalAction, default=False, help="take off the one top folder"
    )
    extract.add_argument("--nested", action="store_true", help="unpack archives inside the archive too")
    _add_password(extract)

    zip_ = verb("zip", "Pack a folder of many files into one zip.", "datastage zip drive:photos drive:photos.zip")
    zip_.add_argument("folder", metavar="FOLDER")
    zip_.add_argument("archive", metavar="ARCHIVE")

    verify = verb("verify", "Check a staged folder against what was staged.", "datastage verify data/cifar10")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--repair", action="store_true", help="bring damaged and missing files again")

    clean = verb("clean", "Remove what killed runs left, and datasets not used for long.", "datastage clean --dry-run")
    clean.add_argument("--older-than", metavar="TIME", help="datasets not asked for in this time, such as 30d")
    clean.add_argument("--budget", metavar="SIZE", help="datasets not asked for longest, until the rest fits: 20GB")
    clean.add_argument("--root", type=Path, metavar="FOLDER", help="where the datasets are")
    clean.add_argument("--dry-run", action="store_true", help="only say what would go")

    bench = verb("bench", "Time the feed of a dataset on this machine.", "datastage bench fashion_mnist")
    bench.add_argument("spec", metavar="WHAT")
    bench.add_argument("--batch-size", type=int, default=256, metavar="N", help="samples in a batch")
    bench.add_argument("--size", type=int, metavar="PIXELS", help="height and width that photos are brought to")
    bench.add_argument("--device", default="auto", help="a device as torch names it, such as cpu or cuda")

    verb("doctor", "Look at this machine and say what is in the way.", "datastage doctor")
    cat = verb("catalog", "List the datasets that have a name.", "datastage catalog")
    cat.add_argument("--catalog", type=Path, metavar="FILE.py", help="a course's own datasets")

    cell = verb("cell", "Print a setup cell for a notebook.", "datastage cell cifar10 --embed")
    cell.add_argument("spec", metavar="WHAT")
    cell.add_argument("--wheel", metavar="ADDRESS", help="where the wheel can be had")
    cell.add_argument("--embed", action="store_true", help="carry the tool inside the cell")
    return parser


def _add_password(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--password", help="for a locked archive; others on this machine can see it while this runs")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="a file whose first line is the password")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if None.

    Returns
    -------
    int
        As in the table of exit codes of the README.
    """
    if hasattr(signal, "SIGTERM") and argv is None:
        # A scheduler ends a job this way: then what is unfinished is put away as after Ctrl-C.
        signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that is not text must not end the run
    try:
        options = _parser().parse_args(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else SpecError.exit_code
    try:
        return _VERBS[options.verb](options)
    except DatastageError as error:
        _say_error(error, options.json)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. Nothing half-done was put in place.\nNext: run the same line again.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not complain of it when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _say_error(error: DatastageError, as_json: bool) -> None:
    if runtime.wants_traceback():
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    else:
        sys.stderr.write("\n".join([*on_screen(error), ""]))
    if as_json:
        _print_json(
            {
                "error": type(error).__name__,
                "message": str(error.args[0]),
                "remedy": error.remedy,
                "exit": error.exit_code,
                "attempts": [asdict(attempt) for attempt in getattr(error, "attempts", ())],
            }
        )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def _password(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return str(options.password) if options.password is not None else None
    try:
        return str(options.password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r"))
    except OSError as error:
        raise SpecError(f"The password could not be read: {error}.", "Next: look at --password-file.") from error


def _stage(options: argparse.Namespace) -> int:
    if options.catalog is not None:
        datasets.load_catalog(options.catalog)
    if len(options.specs) > 1 and (options.fallback or options.name or options.expect):
        raise SpecError(
            "--fallback, --name and --expect go with one dataset, and several were named.",
            "Next: run the line once for each.",
        )
    for spec in map(parse, options.specs):  # a misspelt name is said before anything is fetched
        if spec.scheme == "name":
            datasets.get(spec.value)
    reporter = show.pick(not options.quiet, runtime.current(), command=True)
    results = []
    for spec in options.specs:
        staged = api.stage(
            spec,
            fallbacks=options.fallback,
            expect=options.expect,
            root=options.root,
            name=options.name,
            link=options.link,
            members=options.members,
            unpack="auto" if options.unpack is None else options.unpack,
            strip="auto" if options.strip is None else options.strip,
            password=_password(options),
            copy=options.copy,
            save_to=options.save_to,
            refresh=options.refresh,
            progress=reporter,
        )
        results.append(staged)
        if not options.json:
            print(staged, flush=True)
    if options.json:
        _print_json([{"path": str(staged), "receipt": staged.receipt} for staged in results])
    return 0


def _extract(options: argparse.Namespace) -> int:
    password = _password(options)
    if options.list:
        found = api.members(options.archive, password=password)
        if options.json:
            _print_json(found)
        else:
            for member in found:
                link = f" -> {show.printable(member.target)}" if member.target else ""
                slash = "/" if member.kind == "folder" and not member.name.endswith("/") else ""
                print(f"{member.size:>14,}  {show.printable(member.name)}{slash}{link}")
        return 0
    if options.folder is None:
        raise SpecError("No folder was named to unpack into.", f"Next: datastage extract {options.archive} FOLDER")
    staged = api.extract(
        options.archive,
        options.folder,
        members=options.members,
        strip=options.strip,
        password=password,
        nested=options.nested,
        progress=show.pick(not options.quiet, runtime.current(), command=True),
    )
    if options.json:
        _print_json({"path": str(staged), "receipt": staged.receipt})
    else:
        print(staged)
    return 0


def _zip(options: argparse.Namespace) -> int:
    progress = show.pick(not options.quiet, runtime.current(), command=True)
    path = api.zip_folder(options.folder, options.archive, progress=progress)
    _print_json({"path": str(path)}) if options.json else print(path)
    return 0


def _verify(options: argparse.Namespace) -> int:
    found = api.verify(
        options.folder, repair=options.repair, progress=show.pick(not options.quiet, runtime.current(), command=True)
    )
    if options.json:
        _print_json(found)
    else:
        for word in ("repaired", "damaged", "missing", "extra"):
            paths = getattr(found, word)
            for path in paths:
                print(f"{word:8} {show.printable(path)}")
    if found.ok:
        if not options.quiet:
            verb = "is as it was" if found.n_files == 1 else "are as they were"
            sys.stderr.write(f"{show.counted(found.n_files, 'file')} {verb} staged.\n")
        return 0
    sys.stderr.write(
        f"Damaged: {len(found.damaged):,}, missing: {len(found.missing):,}, of {show.counted(found.n_files, 'file')}.\n"
        f"Next: datastage verify {options.folder} --repair\n"
    )
    return 4


def _clean(options: argparse.Namespace) -> int:
    found = api.clean(older_than=options.older_than, budget=options.budget, root=options.root, dry_run=options.dry_run)
    if options.json:
        _print_json(found)
        return 0
    for item in found:
        print(f"{show.size_text(item.n_bytes):>8}  {show.printable(str(item.path))}  ({item.why})")
    if not options.quiet:
        verb = "would be freed" if options.dry_run else "freed"
        sys.stderr.write(f"{show.size_text(sum(item.n_bytes for item in found))} {verb}.\n")
    return 0


def _bench(options: argparse.Namespace) -> int:
    rows = api.bench(
        options.spec,
        batch_size=options.batch_size,
        size=options.size,
        device=options.device,
        progress=show.pick(not options.quiet, runtime.current(), command=True),
    )
    if options.json:
        _print_json(rows)
        return 0
    for row in rows:
        print(row)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    report = api.doctor()
    _print_json(report.to_dict()) if options.json else print(report)
    return 0


def _catalog(options: argparse.Namespace) -> int:
    if options.catalog is not None:
        datasets.load_catalog(options.catalog)
    entries = api.catalog()
    if options.json:
        _print_json(
            [
                {"name": entry.name, "title": entry.title, "licence": entry.licence, "citation": entry.citation}
                for entry in entries
            ]
        )
        return 0
    for entry in entries:
        size = show.size_text(entry.download_bytes or entry.n_bytes)
        print(f"{entry.name:14} {entry.title:16} {size:>8}   {entry.licence}")
    return 0


def _cell(options: argparse.Namespace) -> int:
    text = api.cell(options.spec, wheel=options.wheel, embed=options.embed)
    _print_json({"cell": text}) if options.json else print(text)
    return 0


_VERBS = {
    "stage": _stage,
    "extract": _extract,
    "zip": _zip,
    "verify": _verify,
    "clean": _clean,
    "bench": _bench,
    "catalog": _catalog,
    "doctor": _doctor,
    "cell": _cell,
}
