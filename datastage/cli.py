"""The `datastage` command: the public functions from a shell. It can do nothing that the library cannot.

Paths go to standard output, one a line; everything else goes to standard error, so that
``DATA=$(datastage stage cifar10 --quiet)`` works. Exit codes are those of the errors (`errors`), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datastage
from datastage import api, misuse, settings
from datastage.errors import DatastageError, SpecError, Stopped, StorageError, UnavailableError, on_screen
from datastage.faults import reported
from datastage.progress import Reporter, counted, human_bytes
from datastage.redact import for_a_screen, printable, values_without_secrets

if TYPE_CHECKING:
    from datastage.archives import Member
    from datastage.staged import Staged

INTERRUPTED = 130


def _parser() -> misuse.Parser:
    parser = misuse.Parser(
        prog="datastage",
        description="Put a dataset on this machine's fast disk, wherever it lies.",
        epilog="example: datastage stage cifar10",
    )
    parser.add_argument("--version", action="version", version=f"datastage {datastage.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=misuse.Parser)
    parser.verbs = verbs.choices
    for name, (words, example, arguments, _) in _VERBS.items():
        epilog = f"example: datastage {name} {example}".rstrip()
        made = verbs.add_parser(name, help=words, description=words, epilog=epilog)
        secret = made.add_mutually_exclusive_group() if "--password" in arguments else made
        for flag, options in (*_COMMON.items(), *arguments.items()):
            (secret if flag.startswith("--password") else made).add_argument(flag, **options)
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; is a variable on this line not set?")
    return Path(text)


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
    except OSError as error:
        _close_output()
        if not isinstance(error, BrokenPipeError):
            code = code or _say_error(StorageError.of(error, "writing the output"), False)
    return code


def _run(words: list[str], as_json: bool) -> int:
    done: list[Any] = []  # before an error
    try:
        with reported():
            flags = {name: [*row[2], *_COMMON] for name, row in _VERBS.items()}
            try:
                options = misuse.taken_apart(words, _parser(), flags)
            except SystemExit as ended:  # the parser has said what there is to say; a verb's own passes
                return int(ended.code or 0)
            as_json = options.pop("json")
            return _VERBS[options.pop("verb")][3](_Out(options.pop("quiet"), as_json, done), **options)
    except DatastageError as error:
        return _say_error(error, as_json, done)
    except KeyboardInterrupt as stop:
        stop = stop if isinstance(stop, Stopped) else Stopped()
        _say(f"\n{stop}\n")
        return _say_json(stop, str(stop).splitlines(), INTERRUPTED, done) if as_json else INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return 0


def _close_output() -> None:
    """Lead standard output nowhere: whoever read it has gone, and the interpreter must not complain when it ends."""
    if sys.stdout is None:
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _say(text: str) -> None:
    """Write to standard error, which may be full or closed: the exit code must not hang on it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _say_error(error: DatastageError, as_json: bool, done: Sequence[Any] = ()) -> int:
    if settings.is_set("TRACEBACK"):
        import traceback

        _say(for_a_screen("".join(traceback.format_exception(error))))
    else:
        _say("\n".join([*on_screen(error, _with_flags), ""]))
    return _say_json(error, [str(error.args[0]), *error.remedy], error.exit_code, done) if as_json else error.exit_code


def _say_json(error: BaseException, lines: list[str], code: int, done: Sequence[Any]) -> int:
    message, *remedy = map(_with_flags, lines)
    said = {"error": type(error).__name__, "message": message, "remedy": remedy, "exit": code}
    try:
        _print_json({**said, "attempts": getattr(error, "attempts", ()), **({"staged": done} if done else {})})
    except OSError:
        _close_output()
    return code


def _with_flags(line: str) -> str:
    """Write the options that a line names as flags; a line of Python stays as it is."""
    line = re.sub(r"\bdatastage\.stage\(\.\.\., ([^()]*?)(?:\.{3})?\)", r"datastage stage ... \1", line)
    if re.search(r"\w\(", line) or "=lambda" in line:
        return line
    flags = {
        name: flag
        for _, _, arguments, _ in _VERBS.values()
        for flag, options in arguments.items()
        if flag.startswith("--")
        for name in (flag.strip("-").replace("-", "_"), options.get("dest", ""))
    }

    def as_flag(found: re.Match[str]) -> str:
        flag, value = flags.get(found[1], ""), found[2]
        if not flag:
            return found[0]
        if value.startswith("["):
            return " ".join(f"{flag} {one.strip()}" for one in value[1:-1].split(","))
        flag = flag.replace("--", "--no-") if value == "False" else flag
        return f"{flag} {value}" if value not in ("", "True", "False") else flag

    return misuse.OPTION.sub(as_flag, line)


def _noted(line: str) -> str:
    """Write a note as it is read here; what names data, which may be called like an option, stays as it is."""
    names_data = ("Found", "Copied", "Inside", "Folder", "File", "Links", "Ready", "Left out", "Kept")
    return line if line.startswith(names_data) else _with_flags(line)


def _print(text: str | bytes) -> None:
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text + b"\n")
        else:
            print(text)
        sys.stdout.flush()
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
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    value = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class _Out:
    """Where a verb puts its result, and how."""

    quiet: bool
    as_json: bool
    done: list[Any]

    def show(self, value: Any, lines: Iterable[object], *, fits: bool = False) -> int:
        """Print a result, as JSON or as lines, to fit a terminal if `fits`, paths as the disk has them. Return 0."""
        if self.as_json:
            _print_json(value)
        to_pipe = hasattr(sys.stdout, "buffer") and not sys.stdout.isatty()  # a notebook's output has none
        for line in () if self.as_json else lines:
            text: str | bytes = printable(str(line))
            if isinstance(line, os.PathLike) and os.name == "posix" and to_pipe:
                text = os.fsencode(line)
            elif fits:
                from datastage.show.lines import fitted

                text = fitted(str(text), sys.stdout)
            _print(text)
        return 0

    def say_guess(self, staged: Staged) -> None:
        """Say, also with --quiet, that letters of names were guessed."""
        encoding = staged.receipt.get("encoding")
        if self.quiet and encoding not in (None, "utf-8"):
            _say(f"Names were read as {encoding}; --encoding NAME settles it.\n")

    @property
    def reporter(self) -> Reporter:
        from datastage import runtime, show

        return show.pick(not self.quiet, runtime.current(), in_words=_noted)


def _password(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the password itself in the place of the file that holds it."""
    if (path := options.pop("password_file", None)) is None:
        return options
    try:
        return {**options, "password": path.read_text(encoding="utf-8").split("\n", 1)[0]}
    except (OSError, ValueError) as error:
        raise SpecError(f"The password could not be read: {error}.", "Next: look at --password-file.") from error


def _load_catalog(path: Path | None) -> None:
    if path is not None:
        from datastage import datasets

        datasets.load_catalog(path)


def _stage(out: _Out, specs: list[str], catalog: Path | None = None, **options: Any) -> int:
    from datastage import runtime, sources, staging

    _load_catalog(catalog)
    options = _password(options)
    if len(specs) > 1 and options.keys() & {"fallbacks", "name", "expect"}:
        raise SpecError(
            "--fallback, --name and --expect go with one dataset, and several were named.",
            "Next: run the line once for each.",
        )
    for spec in map(sources.parse, specs):  # a misspelt name is said before anything is fetched
        staging.named_entry(spec, runtime.current())
    for text in specs:
        staged = api.stage(text, **options, progress=out.reporter)
        out.say_guess(staged)
        out.done.append({"path": str(staged), "receipt": staged.receipt})
        if not out.as_json:
            out.show(None, [staged])
    return out.show(out.done, ())


def _extract(out: _Out, archive: Path, folder: Path | None, list: bool = False, **options: Any) -> int:
    options = _password(options)
    archive = Path("/dev/stdin") if str(archive) == "-" else archive
    if list:
        found = api.members(archive, password=options.get("password"), encoding=options.get("encoding"))
        return out.show(found, map(_member_line, found))
    if folder is None:
        raise SpecError("No folder to unpack into.", f"Next: datastage extract {shlex.quote(str(archive))} FOLDER")
    staged = api.extract(archive, folder, **options, progress=out.reporter)
    out.say_guess(staged)
    return out.show({"path": str(staged), "receipt": staged.receipt}, [staged])


def _member_line(member: Member) -> str:
    slash = "/" if member.kind == "folder" and not member.name.endswith("/") else ""
    return f"{member.size:>14,}  {member.name}{slash}{f' -> {member.target}' if member.target else ''}"


def _zip(out: _Out, folder: str, archive: str) -> int:
    path = api.zip_folder(folder, archive, progress=out.reporter)
    return out.show({"path": str(path)}, [path])


def _pack(out: _Out, data: str, to: str, **options: Any) -> int:
    packed = api.pack(data, to, **options, progress=out.reporter)
    return out.show({**_plain(packed), "samples": packed.samples}, [packed.to])


def _share(text: str) -> Any:
    """Return a share that was typed, or the name of a folder."""
    try:
        return float(text) or 0
    except ValueError:
        return text


def _verify(out: _Out, folder: Path, **options: Any) -> int:
    found = api.verify(folder, **_password(options), progress=out.reporter)
    words = ("repaired", "damaged", "missing", "extra")
    out.show(found, (f"{word:8} {path}" for word in words for path in getattr(found, word)))
    n_files = counted(found.n_files, "file")
    if found.ok:
        verb = "is as it was" if found.n_files == 1 else "are as they were"
        _say("" if out.quiet else f"{n_files} {verb} staged.\n")
        return 0
    _say(f"Damaged: {len(found.damaged):,}, missing: {len(found.missing):,}, of {n_files}.\n")
    _say(f"Next: datastage verify {shlex.quote(printable(str(folder)))} --repair\n")
    return 4


def _clean(out: _Out, names: Sequence[str] = (), **options: Any) -> int:
    found = api.clean(names, **options)
    out.show(found, (f"{human_bytes(item.n_bytes):>8}  {item.path}  ({item.why})" for item in found))
    verb = "would be freed" if options.get("dry_run") else "freed"
    freed = human_bytes(sum(item.n_bytes for item in found if not item.stays))
    _say("" if out.quiet else f"{freed} {verb}.\n")
    return 0


def _bench(out: _Out, spec: str, **options: Any) -> int:
    rows = api.bench(spec, **options, progress=out.reporter)
    return out.show(rows, rows)


def _read(out: _Out, data: str, test: Any = None, **options: Any) -> int:
    reading = api.read(data, test=0 if test == "0" else test, **options, progress=out.reporter)
    return out.show(reading.as_dict(), reading.lines(), fits=True)


def _picture(draw: Callable[..., Any], out: _Out, data: str, file: Path | None = None, **options: Any) -> int:
    if file is None:
        raise SpecError("The picture has no file to go to.", f"Next: the same line with --out {draw.__name__}.png")
    draw(data, out=file, **options)
    return out.show(file, [file])


def _doctor(out: _Out) -> int:
    report = api.doctor()
    return out.show(report.to_dict(), map(_with_flags, str(report).splitlines()))


def _catalog(
    out: _Out, action: str, what: list[str], catalog: Path | None = None, task: str | None = None, every: bool = False
) -> int:
    _load_catalog(catalog)
    if action == "add":
        if not what:
            raise SpecError("catalog add names no archive.", "Next: datastage catalog add birds.zip >> catalog.txt")
        lines = [api.catalog_line(archive, progress=out.reporter) for archive in what]
        return out.show(lines, lines)
    from datastage import course
    from datastage.show import catalog as shown

    if action == "check":
        checked = api.check_catalog(*(each.name for each in api.catalog()) if every else what)
        none_left = course.without_a_place(checked)
        out.show([asdict(each) for each in checked], shown.checked_lines(checked, none_left))
        return UnavailableError.exit_code if none_left else 0
    entries = shown.chosen(api.catalog(), what, task)
    return out.show(list(map(shown.facts, entries)), shown.lines(entries), fits=True)


def _cell(out: _Out, spec: str, **options: Any) -> int:
    text = api.cell(spec, **options)
    return out.show({"cell": text}, text.split("\n"))


_YES: dict[str, Any] = {"action": "store_true"}
_YES_NO: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
_COMMON: dict[str, dict[str, Any]] = {
    "--quiet": {**_YES, "default": False, "help": "say only errors and instructions"},
    "--json": {**_YES, "default": False, "help": "print the result, or the error, as JSON"},
}
_PASSWORD: dict[str, dict[str, Any]] = {
    "--password": {"help": "for a locked archive; others on this machine can see it while this runs"},
    "--encoding": {"metavar": "NAME", "help": "the encoding of names in the archive: cp850, gbk, ..."},
    "--password-file": {"type": Path, "metavar": "FILE", "help": "a file whose first line is the password"},
}
_CATALOG = {"type": Path, "metavar": "FILE", "help": "a course's own datasets, lines of text or Python"}
_CLASS = {"dest": "classes", "action": "append", "metavar": "NAME", "help": "these classes, in this order"}
_WHAT = {"metavar": "WHAT", "help": "a name, drive:FILE, kaggle:OWNER/NAME, an address, a path"}
_LABELS = {"metavar": "WHERE", "help": "as for read"}
_DRAWN: dict[str, dict[str, Any]] = {
    "data": {"metavar": "DATA"},
    "--out": {"type": Path, "dest": "file", "metavar": "FILE", "help": "the picture to write"},
    "--labels": _LABELS,
}
# What a verb does, an example, its arguments (the names of an option are those of the public function), what runs it.
_VERBS: dict[str, tuple[str, str, dict[str, dict[str, Any]], Callable[..., int]]] = {
    "stage": ("Put datasets on the fast disk and print their paths.", "cifar10 --root data", {
        "specs": {**_WHAT, "nargs": "+"},
        "--fallback": {"action": "append", "dest": "fallbacks", "metavar": "WHAT", "help": "a further place for it"},
        "--expect": {"metavar": "HASH", "help": "md5:... or sha256:... of the file"},
        "--root": {"type": _path, "metavar": "FOLDER", "help": "under which the dataset's folder is made"},
        "--name": {"help": "what the dataset's folder is called"},
        "--link": {"type": _path, "metavar": "FOLDER", "help": "make the content appear here too, as a link"},
        "--members": {"action": "append", "metavar": "GLOB", "help": "only these members of the archive"},
        "--unpack": {**_YES_NO, "help": "unpack the archive, or keep it"},
        "--strip": {**_YES_NO, "help": "take off the one top folder"},
        **_PASSWORD,
        "--copy": {**_YES, "help": "copy even what can be used where it lies"},
        "--save-to": {"metavar": "WHERE", "help": "keep the file for the next session: drive:FOLDER, a path"},
        "--refresh": {**_YES, "help": "stage anew, whatever is there"},
        "--wait": {"type": float, "metavar": "SECONDS", "help": "wait for the file of upload:NAME to appear"},
        "--catalog": _CATALOG,
    }, _stage),
    "extract": ("Unpack an archive: all of it, checked, or nothing.", "photos.zip photos", {
        "archive": {"type": _path, "help": "its file; - is the standard input"},
        "folder": {"nargs": "?", "type": _path, "default": None, "help": "the folder to make or to fill"},
        "--list": {**_YES, "help": "list what is inside, and unpack nothing"},
        "--members": {"action": "append", "metavar": "GLOB", "help": "only these members"},
        "--strip": {**_YES_NO, "help": "take off the one top folder"},
        "--nested": {**_YES, "help": "unpack archives inside the archive too"},
        **_PASSWORD,
    }, _extract),
    "zip": ("Pack a folder of many files into one zip.", "drive:photos drive:photos.zip", {
        "folder": {"metavar": "FOLDER"}, "archive": {"metavar": "ARCHIVE"},
    }, _zip),
    "pack": ("Pack pictures into WebDataset shards.", "photos.zip --to s3://bucket/photos --size 256", {
        "data": {"metavar": "DATA"},
        "--to": {"required": True, "metavar": "WHERE", "help": "a folder, drive:FOLDER, s3://, gs:// or az://BUCKET/PATH"},
        "--shards": {"metavar": "SIZE", "help": "about how long a shard is: 256MB"},
        "--size": {"type": int, "metavar": "PIXELS", "help": "bring the short side to this, as JPEG"},
        "--engine": {"choices": ["local", "ray"], "help": "this process, or a Ray Data job"},
        "--labels": _LABELS,
        "--class": _CLASS,
        "--val": {"type": _share, "metavar": "SHARE", "help": "a share, or the folder, to validate on"},
        "--test": {"type": _share, "metavar": "SHARE", "help": "a share, or the folder, to test on; 0 for none"},
    }, _pack),
    "verify": ("Check a staged folder against what was staged.", "data/cifar10", {
        "folder": {"type": _path},
        "--repair": {**_YES, "help": "bring damaged and missing files again"},
        "--adopt": {**_YES, "help": "take over a folder that was moved or copied"},
        **{flag: _PASSWORD[flag] for flag in ("--password", "--password-file")},
    }, _verify),
    "clean": ("Remove what killed runs left, and datasets not used for long.", "--dry-run", {
        "names": {"nargs": "*", "metavar": "NAME", "help": "datasets that go, by name, whatever is in them"},
        "--older-than": {"metavar": "TIME", "help": "datasets not asked for in this time, such as 30d"},
        "--budget": {"metavar": "SIZE", "help": "datasets not asked for longest, until the rest fits: 20GB"},
        "--root": {"type": _path, "metavar": "FOLDER", "help": "where the datasets are"},
        "--dry-run": {**_YES, "help": "only say what would go"},
    }, _clean),
    "bench": ("Time the feed of a dataset on this machine.", "fashion_mnist", {
        "spec": _WHAT,
        "--batch-size": {"type": int, "metavar": "N", "help": "samples in a batch"},
        "--labels": _LABELS,
        "--class": _CLASS,
        "--size": {"type": int, "metavar": "PIXELS", "help": "height and width that photos are brought to"},
        "--device": {"help": "a device as torch names it, such as cpu or cuda"},
    }, _bench),
    "read": ("Say what data is taken for: classes, parts, labels.", "photos.zip", {
        "data": {"metavar": "DATA"},
        "--labels": {"metavar": "WHERE", "help": "a table, TABLE:COLUMN, a column, or a pattern with one group"},
        "--class": _CLASS,
        "--val": {"metavar": "FOLDER", "help": "the folder that holds the part to validate on"},
        "--test": {"metavar": "FOLDER", "help": "the folder that holds the part to test on; 0 for none"},
    }, _read),
    "catalog": ("List the datasets that have a name; add one, or check them.", "add birds.zip", {
        "action": {
            "nargs": "?", "default": "list", "choices": ["list", "add", "check"],
            "help": "list them (if nothing is said), print the line for an archive, or look at every place",
        },
        "what": {"nargs": "*", "default": [], "metavar": "WHAT", "help": "an archive, or names"},
        "--catalog": _CATALOG,
        "--task": {"metavar": "TASK", "help": "only those for classification, regression, text, audio, ..."},
        "--all": {**_YES, "dest": "every", "help": "check datastage's own too, where FILE or a name is not all"},
    }, _catalog),
    "preview": ("Draw samples with their labels.", "photos.zip --out preview.png", {
        **_DRAWN,
        "-n": {"type": int, "metavar": "N", "help": "how many samples"},
    }, partial(_picture, api.preview)),
    "summary": ("Draw classes, sizes, and what was left out.", "photos.zip --out summary.png", _DRAWN,
                partial(_picture, api.summary)),
    "doctor": ("Look at this machine and say what is in the way.", "", {}, _doctor),
    "cell": ("Print a setup cell for a notebook.", "cifar10 --embed", {
        "spec": _WHAT,
        "--wheel": {"metavar": "ADDRESS", "help": "where the wheel can be had"},
        "--embed": {**_YES, "help": "carry the tool inside the cell"},
        "--catalog": {"type": Path, "metavar": "FILE", "help": "a text catalog; the cell carries the line of WHAT"},
        "--fallback": {"action": "append", "dest": "fallbacks", "metavar": "WHAT", "help": "a further place for it"},
        "--save-to": {"metavar": "WHERE", "help": "keep the file for the next session: drive:FOLDER, a path"},
    }, _cell),
}  # fmt: skip
