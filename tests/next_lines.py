"""The code in the steps of errors: found, and run as it is printed.

`Recorder` keeps every error of the library that is made while a test runs. `pieces` finds the code in an error's steps,
and `trouble` says what is wrong with a piece: it names what there is not, or does not run.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datastage
from datastage import cli, layouts, runtime
from datastage.batches.open_data import shards_of
from datastage.errors import DatastageError, SpecError

CALL = re.compile(r"((?:\w+(?:, \w+)* = )?)(datastage\.\w+\()")
# What only the user can fill in.
BLANK = re.compile(r"\.\.\.|\b(COLUMN|TABLE|FOLDER|FILE|NAME|TITLE|ID|OWNER|SPEC)\b")
RUN = ("loaders", "read", "stage")
# A sentence that begins with a command.
PROSE = re.compile(r" (shows|says|lists|and|or|takes|settles|brings|names|prints|unpacks) ")


class Recorder:
    """The steps of the errors made since `clear`, and the data that was read when one was raised; no error is held."""

    def __init__(self) -> None:
        self.steps: set[tuple[str, ...]] = set()
        self.data: dict[tuple[str, ...], Any] = {}
        made, read = DatastageError.__init__, layouts.read

        def init(error: DatastageError, *words: Any) -> None:
            made(error, *words)
            if len(self.steps) < 30:  # a test of properties makes thousands
                self.steps.add(error.remedy)

        def reading(data: Any, **options: Any) -> Any:
            try:
                return read(data, **options)
            except DatastageError as error:
                self.data[error.remedy] = data
                raise

        DatastageError.__init__, layouts.read, self.read = init, reading, read  # type: ignore[method-assign]

    def clear(self) -> None:
        self.steps, self.data = set(), {}

    def troubles(self) -> list[str]:
        """Say which lines of code do not run, of all errors."""
        found = []
        for steps in sorted(self.steps):
            data = self.data.get(steps)
            names: dict[str, Any] = {"path": Path(data)} if isinstance(data, str | os.PathLike) else {}
            found += before(steps, names)
            found += [f"{line}\n    {why}" for line in commands(steps) if (why := command_trouble(line))]
            found += [f"{code}\n    {why}" for code in pieces(steps) if (why := trouble(code, names, self.read))]
        return found


def before(steps: Iterable[str], names: dict[str, Any]) -> list[str]:
    """Run the statements that stand before a call of ours, as the opening of a table; say which do not run."""
    found = []
    for line in "\n".join(steps).splitlines():
        code = line.strip().removeprefix("Next:").strip()
        if names and re.match(r"import \w+;|\w+ = (?!datastage)\w+\.", code) and not BLANK.search(code):
            try:
                exec(compile(code, "<step>", "exec"), names)
            except Exception as error:
                found.append(f"{code}\n    {type(error).__name__}: {error}")
    return found


def commands(steps: Iterable[str]) -> Iterator[str]:
    """Give each step that is a command line of ours, whole."""
    for line in "\n".join(steps).splitlines():
        code = line.strip().removeprefix("Next:").strip().removeprefix("!")
        if re.match(r"datastage [a-z]+( |$)", code) and not code.endswith(".") and not PROSE.search(code):
            yield code


def command_trouble(line: str) -> str:
    """Say why a command line is none; empty if it is."""
    try:
        cli._parser().parse_args(shlex.split(line)[1:])
    except (SpecError, ValueError) as error:
        return str(error)
    except SystemExit as ended:  # --help
        return "" if ended.code == 0 else f"it ends with {ended.code}"
    return ""


def pieces(steps: Iterable[str]) -> Iterator[str]:
    """Give each statement with a call of ours in the steps of an error."""
    text = "\n".join(steps)
    for found in CALL.finditer(text):
        end, depth = found.end(), 1
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield " ".join(text[found.start() : end].split())


def trouble(code: str, names: Mapping[str, Any], read: Callable[..., Any]) -> str:
    """Say what is wrong with a piece of code; empty if it runs, or if only the user can fill it in."""
    code = code.replace("labels=...", "labels=lambda one: 'ab'[len(str(one)) % 2]")  # a function is what fits any files
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return "" if BLANK.search(code) else f"{error}"
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("datastage."):
            name = ast.unparse(call.func).removeprefix("datastage.")
            if name not in datastage.__all__:
                return f"there is no {name}"
            known = inspect.signature(getattr(datastage, name)).parameters
            if wrong := [one.arg for one in call.keywords if one.arg and one.arg not in known]:
                return f"{name} takes no {', '.join(wrong)}"
    free = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    free -= {argument.arg for node in ast.walk(tree) if isinstance(node, ast.Lambda) for argument in node.args.args}
    verb = re.search(r"datastage\.(\w+)\(", code)
    if BLANK.search(code) or verb is None or verb[1] not in RUN or not free <= {"datastage", *names}:
        return ""
    try:
        exec(compile(code, "<step>", "exec"), {"datastage": _Quiet(read), **names})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class _Quiet:
    """The package, whose `loaders` only reads: the pictures of many tests are empty files."""

    def __init__(self, read: Callable[..., Any]) -> None:
        def loaders(data: Any, batch_size: int = 0, **options: Any) -> Any:
            if not isinstance(data, str | os.PathLike) or shards_of(data, runtime.current()) is not None:
                return datastage.loaders(data, batch_size, **options, progress=False)
            kept = {key: options[key] for key in ("labels", "classes", "val", "test") if key in options}
            return [*read(data, **kept).splits]

        def stage(spec: Any, **options: Any) -> Any:
            is_here = isinstance(spec, os.PathLike) or os.path.exists(spec)
            return datastage.stage(spec, **options, progress=False) if is_here else None

        self.loaders = self.read = loaders
        self.stage = stage
