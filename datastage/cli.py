"""The `datastage` command: the public functions from a shell. It can do nothing that the library cannot.

Paths go to standard output, one a line; everything else goes to standard error, so that
``DATA=$(datastage stage cifar10 --quiet)`` works. Exit codes are those of the errors (`errors`), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import datastage
from datastage import api
from datastage.errors import DatastageError, SpecError, StorageError, on_screen
from datastage.redact import for_a_screen, printable, values_without_secrets

INTERRUPTED = 130
_YES_NO = argparse.BooleanOptionalAction


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are errors of ours, and which passes on only what was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(argument_default=argparse.SUPPRESS, **options)

    def error(self, message: str) -> NoReturn:
        raise SpecError(message, f"Next: {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="datastage",
        description="Put a dataset on this machine's fast disk, wherever it lies.",
        epilog="example: datastage stage cifar10",
    )
    parser.add_argument("--version", action="version", version=f"datastage {datastage.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name, (words, example, arguments, _) in _VERBS.items():
        made = verbs.add_parser(
            name, help=words, description=words, epilog=f"example: datastage {name} {example}".rstrip()
        )
        made.add_argument("--quiet", action="store_true", help="say only errors and instructions")
        made.add_argument("--json", action="store_true", help="print the result, or the error, as JSON")
        arguments(made)
    return parser


def _stage_arguments(stage: argparse.ArgumentParser) -> None:
    add = stage.add_argument
    add("specs", nargs="+", metavar="WHAT", help="a name, drive:FILE, kaggle:OWNER/NAME, an address, a path")
    add("--fallback", action="append", dest="fallbacks", metavar="WHAT", help="a further place for the same data")
    add("--expect", metavar="HASH", help="md5:... or sha256:... of the file")
    add("--root", type=_folder, metavar="FOLDER", help="the folder under which the dataset's folder is made")
    add("--name", help="what the dataset's folder is called")
    add("--link", type=_folder, metavar="FOLDER", help="make the content appear here too, as a link")
    add("--members", action="append", metavar="GLOB", help="only these members of the archive")
    add("--unpack", action=_YES_NO, help="unpack the archive, or keep it")
    add("--strip", action=_YES_NO, help="take off the one top folder")
    _add_password(stage)
    add("--copy", action="store_true", help="copy even what can be used where it lies")
    add("--save-to", metavar="WHERE", help="keep the file for the next session: drive:FOLDER, a path")
    add("--refresh", action="store_true", help="stage anew, whatever is there")
    add("--catalog", type=Path, metavar="FILE.py", help="a course's own datasets")


def _extract_arguments(extract: argparse.ArgumentParser) -> None:
    add = extract.add_argument
    add("archive", type=Path)
    add("folder", nargs="?", type=_folder, default=None, help="the folder to make or to fill")
    add("--list", action="store_true", help="list what is inside, and unpack nothing")
    add("--members", action="append", metavar="GLOB", help="only these members")
    add("--strip", action=_YES_NO, help="take off the one top folder")
    add("--nested", action="store_true", help="unpack archives inside the archive too")
    _add_password(extract)


def _zip_arguments(zip_: argparse.ArgumentParser) -> None:
    zip_.add_argument("folder", metavar="FOLDER")
    zip_.add_argument("archive", metavar="ARCHIVE")


def _verify_arguments(verify: argparse.ArgumentParser) -> None:
    verify.add_argument("folder", type=Path)
    verify.add_argument("--repair", action="store_true", help="bring damaged and missing files again")
    verify.add_argument("--adopt", action="store_true", help="take over a folder that was moved or copied")


def _clean_arguments(clean: argparse.ArgumentParser) -> None:
    add = clean.add_argument
    add("names", nargs="*", metavar="NAME", help="datasets that go, by their folders' names, whatever is in them")
    add("--older-than", metavar="TIME", help="datasets not asked for in this time, such as 30d")
    add("--budget", metavar="SIZE", help="datasets not asked for longest, until the rest fits: 20GB")
    add("--root", type=_folder, metavar="FOLDER", help="where the datasets are")
    add("--dry-run", action="store_true", help="only say what would go")


def _bench_arguments(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("spec", metavar="WHAT")
    bench.add_argument("--batch-size", type=int, metavar="N", help="samples in a batch")
    bench.add_argument("--size", type=int, metavar="PIXELS", help="height and width that photos are brought to")
    bench.add_argument("--device", help="a device as torch names it, such as cpu or cuda")


def _read_arguments(read: argparse.ArgumentParser) -> None:
    read.add_argument("data", metavar="DATA")
    read.add_argument("--labels", metavar="WHERE", help="a table, TABLE:COLUMN, a column, or a pattern with one group")
    read.add_argument(
        "--class", dest="classes", action="append", metavar="NAME", help="only these classes, in this order"
    )
    read.add_argument("--val", metavar="FOLDER", help="the folder that holds the part to validate on")
    read.add_argument("--test", metavar="FOLDER", help="the folder that holds the part to test on; 0 for none")


def _catalog_arguments(catalog: argparse.ArgumentParser) -> None:
    catalog.add_argument("--catalog", type=Path, metavar="FILE.py", help="a course's own datasets")


def _no_arguments(verb: argparse.ArgumentParser) -> None:
    """Add nothing: the verb takes no arguments of its own."""


def _cell_arguments(cell: argparse.ArgumentParser) -> None:
    cell.add_argument("spec", metavar="WHAT")
    cell.add_argument("--wheel", metavar="ADDRESS", help="where the wheel can be had")
    cell.add_argument("--embed", action="store_true", help="carry the tool inside the cell")


def _add_password(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--password", help="for a locked archive; others on this machine can see it while this runs")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="a file whose first line is the password")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a folder's name is empty; is a variable on this line not set?")
    return Path(text)


# --- running


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv` (those of the process if None), and return its exit code."""
    if hasattr(signal, "SIGTERM") and argv is None:
        # A scheduler ends a job this way: then what is unfinished is put away as after Ctrl-C.
        signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that is not text must not end the run
    words = list(sys.argv[1:] if argv is None else argv)
    code = _run(words, "--json" in words)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _close_output()
    except OSError as error:
        _close_output()
        code = code or _say_error(StorageError.of(error, "writing the output"), False)
    return code


def _run(words: list[str], as_json: bool) -> int:
    from datastage.faults import reported

    try:
        with reported():
            try:
                options = vars(_parser().parse_args(words))
            except SystemExit as ended:
                return ended.code if isinstance(ended.code, int) else SpecError.exit_code
            as_json = options.pop("json", False)
            return _VERBS[options.pop("verb")][3](options, options.pop("quiet", False), as_json)
    except DatastageError as error:
        return _say_error(error, as_json)
    except KeyboardInterrupt:
        _say("\nInterrupted. Nothing half-done was put in place.\nNext: run the same line again.\n")
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return 0


def _close_output() -> None:
    """Lead standard output nowhere: whoever read it has gone, and the interpreter must not complain when it ends."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _say(text: str) -> None:
    """Write to standard error, which may be full or closed: the exit code must not hang on it."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _say_error(error: DatastageError, as_json: bool) -> int:
    from datastage import runtime

    if runtime.wants_traceback():
        import traceback

        _say(for_a_screen("".join(traceback.format_exception(error))))
    else:
        _say("\n".join([*on_screen(error), ""]))
    if as_json:
        said = {"error": type(error).__name__, "message": str(error.args[0]), "remedy": error.remedy}
        attempts = [_plain(attempt) for attempt in getattr(error, "attempts", ())]
        try:
            _print_json({**said, "exit": error.exit_code, "attempts": attempts})
        except OSError:
            _close_output()
    return error.exit_code


def _print(text: str) -> None:
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(
            f"The output could not be written: {error.strerror}.",
            "Next: look where the output of this line goes: is that disk full?",
            code=error.errno or errno.EIO,
        ) from error


def _print_json(value: Any) -> None:
    _print(json.dumps(values_without_secrets(_plain(value)), indent=1, default=str))


def _plain(value: Any) -> Any:
    """Return a result as what JSON knows."""
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_plain(item) for item in value]
    return _plain(value._asdict()) if hasattr(value, "_asdict") else value


def _show_result(value: Any, lines: Callable[[], list[str]], as_json: bool) -> None:
    """Print a result: as JSON, or the lines that a person reads."""
    if as_json:
        _print_json(value)
        return
    text = "\n".join(map(printable, lines()))
    if text:
        _print(text)


def _reporter(quiet: bool) -> Any:
    from datastage import runtime, show

    return show.pick(not quiet, runtime.current(), command=True)


def _take_password(options: dict[str, Any]) -> None:
    """Put the password from a file in the place of its name."""
    path = options.pop("password_file", None)
    if path is None:
        return
    try:
        options["password"] = path.read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, ValueError) as error:
        raise SpecError(f"The password could not be read: {error}.", "Next: look at --password-file.") from error


def _load_catalog(options: dict[str, Any]) -> None:
    path = options.pop("catalog", None)
    if path is not None:
        from datastage import datasets

        datasets.load_catalog(path)


def _stage(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    from datastage import datasets, sources

    _load_catalog(options)
    _take_password(options)
    specs = options.pop("specs")
    if len(specs) > 1 and options.keys() & {"fallbacks", "name", "expect"}:
        raise SpecError(
            "--fallback, --name and --expect go with one dataset, and several were named.",
            "Next: run the line once for each.",
        )
    for spec in map(sources.parse, specs):  # a misspelt name is said before anything is fetched
        if spec.scheme == "name":
            datasets.get(spec.value)
    reporter = _reporter(quiet)
    results: list[Any] = []
    try:
        for spec in specs:
            results.append(api.stage(spec, **options, progress=reporter))
            if not as_json:
                _print(str(results[-1]))
    finally:
        if as_json and results:
            _print_json([{"path": str(staged), "receipt": getattr(staged, "receipt", None)} for staged in results])
    return 0


def _extract(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    _take_password(options)
    archive, folder = options.pop("archive"), options.pop("folder", None)
    if options.pop("list", False):
        found = api.members(archive, password=options.get("password"))

        def lines() -> list[str]:
            shown = []
            for member in found:
                slash = "/" if member.kind == "folder" and not member.name.endswith("/") else ""
                shown.append(
                    f"{member.size:>14,}  {member.name}{slash}{f' -> {member.target}' if member.target else ''}"
                )
            return shown

        _show_result(found, lines, as_json)
        return 0
    if folder is None:
        raise SpecError("No folder was named to unpack into.", f"Next: datastage extract {archive} FOLDER")
    staged = api.extract(archive, folder, **options, progress=_reporter(quiet))
    _show_result({"path": str(staged), "receipt": getattr(staged, "receipt", None)}, lambda: [str(staged)], as_json)
    return 0


def _zip(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    path = api.zip_folder(options["folder"], options["archive"], progress=_reporter(quiet))
    _show_result({"path": str(path)}, lambda: [str(path)], as_json)
    return 0


def _verify(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    from datastage.show import counted

    folder = options.pop("folder")
    found = api.verify(folder, **options, progress=_reporter(quiet))
    words = ("repaired", "damaged", "missing", "extra")
    _show_result(found, lambda: [f"{word:8} {path}" for word in words for path in getattr(found, word)], as_json)
    if found.ok:
        if not quiet:
            verb = "is as it was" if found.n_files == 1 else "are as they were"
            _say(f"{counted(found.n_files, 'file')} {verb} staged.\n")
        return 0
    _say(
        f"Damaged: {len(found.damaged):,}, missing: {len(found.missing):,}, of {counted(found.n_files, 'file')}.\n"
        f"Next: datastage verify {printable(str(folder))} --repair\n"
    )
    return 4


def _clean(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    from datastage.progress import human_bytes

    found = api.clean(options.pop("names", ()), **options)
    _show_result(
        found, lambda: [f"{human_bytes(item.n_bytes):>8}  {item.path}  ({item.why})" for item in found], as_json
    )
    if not quiet:
        verb = "would be freed" if options.get("dry_run") else "freed"
        _say(f"{human_bytes(sum(item.n_bytes for item in found if not item.stays))} {verb}.\n")
    return 0


def _bench(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    rows = api.bench(options.pop("spec"), **options, progress=_reporter(quiet))
    _show_result(rows, lambda: [str(row) for row in rows], as_json)
    return 0


def _read(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    if options.get("test") == "0":
        options["test"] = 0
    reading = api.read(options.pop("data"), **options, progress=_reporter(quiet))
    _show_result(reading.as_dict(), reading.lines, as_json)
    return 0


def _doctor(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    report = api.doctor()
    if as_json:
        _print_json(report.to_dict())
    else:
        _print(str(report))
    return 0


def _catalog(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    from datastage.progress import human_bytes

    _load_catalog(options)
    entries = api.catalog()
    names = ("name", "title", "licence", "citation")

    def lines() -> list[str]:
        shown = []
        for entry in entries:
            size = getattr(entry, "download_bytes", None) or getattr(entry, "n_bytes", None)
            shown.append(f"{entry.name:14} {entry.title:16} {human_bytes(size) if size else '':>8}   {entry.licence}")
        return shown

    _show_result([{name: getattr(entry, name) for name in names} for entry in entries], lines, as_json)
    return 0


def _cell(options: dict[str, Any], quiet: bool, as_json: bool) -> int:
    text = api.cell(options.pop("spec"), **options)
    if as_json:
        _print_json({"cell": text})
    else:
        _print(text)
    return 0


_VERBS: dict[
    str, tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[dict[str, Any], bool, bool], int]]
]
_VERBS = {
    "stage": (
        "Put datasets on the fast disk and print their paths.", "cifar10 --root data", _stage_arguments, _stage,
    ),
    "extract": (
        "Unpack an archive: all of it, checked, or nothing.", "photos.zip photos", _extract_arguments, _extract,
    ),
    "zip": ("Pack a folder of many files into one zip.", "drive:photos drive:photos.zip", _zip_arguments, _zip),
    "verify": (
        "Check a staged folder against what was staged.", "data/cifar10", _verify_arguments, _verify,
    ),
    "clean": (
        "Remove what killed runs left, and datasets not used for long.", "--dry-run", _clean_arguments, _clean,
    ),
    "bench": ("Time the feed of a dataset on this machine.", "fashion_mnist", _bench_arguments, _bench),
    "read": ("Say what data is taken for: classes, parts, labels.", "photos.zip", _read_arguments, _read),
    "catalog": ("List the datasets that have a name.", "", _catalog_arguments, _catalog),
    "doctor": ("Look at this machine and say what is in the way.", "", _no_arguments, _doctor),
    "cell": ("Print a setup cell for a notebook.", "cifar10 --embed", _cell_arguments, _cell),
}  # fmt: skip
