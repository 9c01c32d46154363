"""Setup cells: the text that puts datastage into a notebook where nothing is installed.

The package index knows another project by the name datastage, so no cell installs by name. A cell tests
``from datastage import stage``, since an empty folder of that name would pass ``import datastage``.
"""

from __future__ import annotations

import ast
import base64
import bz2
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from datastage._version import __version__
from datastage.entry import ArchiveEntry
from datastage.errors import SpecError

# What a cell never reaches: the command, and the making of cells.
_NOT_CARRIED = ("datastage/__main__.py", "datastage/cli.py", "datastage/show/cell.py")
# Verbs that no setup cell needs. Who calls one is told to install the wheel.
_VERBS = (
    *("archives/packing", "batches/any_dataset", "batches/any_loader", "batches/benchmark", "batches/frameworks"),
    *(
        "batches/keras_loader",
        "batches/shards",
        "shards/listing",
        "cleanup",
        "course",
        "extracting",
        "repair",
        "show/catalog",
        "show/doctor",
    ),
    *("show/pictures", "zipping"),
)
_STAND_IN = """\
from datastage.errors import MissingDependencyError
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    def absent(*args, **options):
        raise MissingDependencyError(f"{name} is not in the tool that a cell carries.", "Next: install the wheel.")
    return absent
"""
# Tables whose rows are carried if the spec needs them, and the rows that every spec needs.
_TABLES = {"datastage/sources/__init__.py": "SOURCES", "datastage/datasets/__init__.py": "ENTRIES"}
_PLACES = ("drive", "kaggle", "http", "path")
_TITLE = '#@title datastage {version}: set up, then stage the data {{ display-mode: "form" }}\n'

# A wheel among the inputs is used only if every file of the package has the bytes that the maker of the cell had. What
# is compared is also what is written and imported: nothing of an input comes to sys.path.
_LOOK = """\
import glob, hashlib, importlib, os, pathlib, subprocess, sys, tempfile, zipfile
KNOWN = "{known}"  # sha256 of the datastage that this cell takes
class Stop(RuntimeError):
    def _render_traceback_(self): return [str(self)]
def package(at):  # the files of the package in a wheel, or in what Kaggle unpacked from one
    if os.path.isfile(at):
        with zipfile.ZipFile(at) as wheel:
            found = [item for item in wheel.infolist() if item.filename.startswith("datastage/") and not item.is_dir()]
            if sum(item.file_size for item in found) < 9e6: return {{item.filename: wheel.read(item) for item in found}}
    at = pathlib.Path(os.path.dirname(at) if at.endswith(".dist-info") else at)
    found = [path for path in at.glob("datastage/**/*") if path.is_file() and "__pycache__" not in path.parts]
    if sum(path.stat().st_size for path in found) < 9e6:
        return {{path.relative_to(at).as_posix(): path.read_bytes() for path in found}}
def known(at):
    try: code = package(at)
    except Exception: return False
    if not code or hashlib.sha256(repr(sorted(code.items())).encode()).hexdigest() != KNOWN: return False
    tool = pathlib.Path(tempfile.mkdtemp())
    for name, text in code.items():
        (tool / name).parent.mkdir(parents=True, exist_ok=True); (tool / name).write_bytes(text)
    sys.path.insert(0, str(tool)); return True
if "stage" not in dir(sys.modules.get("datastage")):  # not here yet, or an empty folder of that name was imported
    sys.modules.pop("datastage", None)
    places = ["/kaggle/input/*/datastage_notebook-*", "/kaggle/input/*/*/*/datastage_notebook-*"]
    any(known(at) for place in places for at in sorted(glob.glob(place)))
try: from datastage import stage  # not "import datastage": an empty folder would pass
except ImportError:
    sys.modules.pop("datastage", None)
"""
_CLICKS = """\
    raise Stop("datastage is not here yet.{why}\\n" + (
        " 1. In the right-hand panel: Input > Upload: the file from the course page,\\n    {wheel}\\n"
        "Next: when Kaggle has finished with the upload, run this cell again." if os.path.isdir("/kaggle") else
        "{elsewhere}")) from None
"""
_INSTALL = """\
    pip = [sys.executable, "-m", "pip", "install", "-q", "--retries", "0", {address}]
    done = subprocess.run(pip, capture_output=True, text=True)
    importlib.invalidate_caches()
    try: from datastage import stage
    except ImportError:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["it says nothing"]
"""
_CARRY = '''\
# datastage {version} (Apache-2.0), carried in this cell: nothing to install, no internet needed.
import base64, bz2, json, pathlib, sys, tempfile
CORE = """
{core}
"""
if "stage" not in dir(sys.modules.get("datastage")):  # not here yet, or an empty folder of that name was imported
    sys.modules.pop("datastage", None)
    tool = pathlib.Path(tempfile.mkdtemp())
    for name, text in json.loads(bz2.decompress(base64.b85decode("".join(CORE.split())))).items():
        (tool / name).parent.mkdir(parents=True, exist_ok=True); (tool / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(tool))
'''


def cell(
    spec: str,
    *,
    wheel: str | None = None,
    embed: bool = False,
    own: ArchiveEntry | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a setup cell that stages `spec`, without a line break at its end.

    It looks for a wheel among the inputs, then installs the one at the address `wheel`. `embed`: it carries the tool.
    """
    if wheel is not None and embed:
        raise SpecError(
            "A cell that carries the tool installs nothing, so that an address has no use in it.",
            "Next: leave out --wheel or --embed.",
        )
    named = "".join(f", {name}={_literal(value)}" for name, value in (options or {}).items())
    last = f"path = datastage.stage({_literal(spec)}{named})"
    if own is not None:
        facts = {"fallbacks": list(own.places[1:]), "expect": own.expect, "title": own.title, "licence": own.licence}
        told = "".join(f", {name}={_literal(value)}" for name, value in facts.items() if value)
        last = f"datastage.register({_literal(own.name)}, {_literal(own.places[0])}{told})\n{last}"
    last = f"import datastage; {last}"
    title = _TITLE.format(version=__version__)
    if embed:
        specs = [spec, *(options or {}).get("fallbacks", ()), *(own.places if own is not None else ())]
        text = base64.b85encode(carried_core(needed_rows(specs))).decode()
        core = "\n".join(text[at : at + 1000] for at in range(0, len(text), 1000))
        return title + _CARRY.format(version=__version__, core=core) + last
    file_name = f"datastage_notebook-{__version__}-py3-none-any.whl"
    look = title + _LOOK.format(known=package_digest())
    if wheel is None:
        elsewhere = f"Next: %pip install the address of {file_name}, and run this cell again."
        return look + _CLICKS.format(why="", wheel=file_name, elsewhere=elsewhere) + last
    why = ' pip could not install it: " + said[-1] + "'
    elsewhere = "Next: see whether the internet is on and this address is right, and run this cell again:\\n"
    clicks = _CLICKS.format(why=why, wheel=file_name, elsewhere=elsewhere + '" + pip[-1] + "')
    return look + _INSTALL.format(address=_literal(wheel)) + _indented(clicks) + last


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _literal(value: Any) -> str:
    # JSON's text is Python's too, and has the double quotes that people write.
    return json.dumps(value, ensure_ascii=not str(value).isprintable())


def package_digest() -> str:
    """Return the sha256 of the names and bytes of all files of this package, as the cell computes it."""
    found = sorted((name, item.read_bytes()) for name, item in _files(files("datastage"), "datastage"))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def needed_rows(specs: Sequence[str]) -> frozenset[str]:
    """Return the modules of tables that these specs need: of their places, of their entries, of the entries' places."""
    from datastage import datasets, sources

    needed = {f"sources/{name}" for name in _PLACES}
    waiting = list(specs)
    rows = {row.scheme: row for row in sources.SOURCES}
    while waiting:
        spec = sources.parse(waiting.pop())
        entries = {entry.name: entry for entry in datasets.catalog()}
        if spec.scheme == "name" and spec.value in entries:
            entry = entries[spec.value]
            needed |= {f"datasets/{name}" for name in datasets.modules_of(entry)}
            waiting += [place for place in getattr(entry, "places", ()) if not place.startswith("package:")]
        elif spec.scheme in rows:
            needed.add(rows[spec.scheme].open.__module__.removeprefix("datastage.").replace(".", "/"))
    return frozenset(needed)


def carried_modules(needed: Collection[str]) -> dict[str, str]:
    """Return what a cell carries, from each file's path to its text: our modules without comments and docstrings.

    They are read through the package's own loader, so that it works from inside a wheel too. Of the tables of places
    and datasets the rows that are not `needed` are left out, with the modules that nothing else imports.
    """
    trees = {
        name: ast.parse(item.read_text(encoding="utf-8"))
        for name, item in sorted(_files(files("datastage"), "datastage"), key=lambda pair: pair[0])
        if name.endswith(".py") and name not in _NOT_CARRIED
    }
    for name, table in _TABLES.items():
        _leave_out_rows(trees[name], table, {n.rpartition("/")[2] for n in needed if n.startswith(name[10:-12])})
    kept = _reached(trees, [f"datastage/{name}.py" for name in needed])
    stand_ins = {f"datastage/{name}.py" for name in _VERBS}
    return {
        name: _STAND_IN if name in stand_ins else for_machines(tree) for name, tree in trees.items() if name in kept
    }


def _leave_out_rows(module: ast.Module, table: str, needed: Collection[str]) -> None:
    """Take the rows of a table out that use a module which is not needed, and the import of that module."""
    own = {"SOURCES": "datastage.sources", "ENTRIES": "datastage.datasets"}[table]
    aliases: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == own:
            aliases |= {each.asname or each.name: each.name for each in node.names}
    unneeded = {alias for alias, name in aliases.items() if name not in needed}
    used_elsewhere: set[str] = set()
    for node in module.body:
        value = node.value if isinstance(node, ast.AnnAssign | ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(value, ast.Tuple) and isinstance(target, ast.Name) and target.id == table:
            value.elts = [row for row in value.elts if not _names(row) & unneeded and _late(row) <= set(needed)]
        elif not isinstance(node, ast.ImportFrom):
            used_elsewhere |= _names(node)
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == own:
            gone = unneeded - used_elsewhere
            node.names = [each for each in node.names if (each.asname or each.name) not in gone]
    module.body = [node for node in module.body if not isinstance(node, ast.ImportFrom) or node.names]


def _late(row: ast.AST) -> set[str]:
    """Return the modules that a row imports when they are used: ``_late("hub", "open_hub")``."""
    calls = [each for each in ast.walk(row) if isinstance(each, ast.Call) and _names(each.func) == {"_late"}]
    return {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _reached(trees: Mapping[str, ast.Module], needed: Sequence[str]) -> set[str]:
    """Return the modules that the public names and what is needed lead to, through imports anywhere."""
    reached: set[str] = set()
    waiting = [*needed, "datastage/__init__.py", *(f"datastage/{name}.py" for name in _VERBS)]
    for node in ast.walk(trees["datastage/__init__.py"]):  # its table of names is text
        if isinstance(node, ast.Constant) and str(node.value).startswith("datastage."):
            waiting += _files_of(str(node.value), trees)
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name.endswith(tuple(f"datastage/{verb}.py" for verb in _VERBS)):
            continue
        for node in ast.walk(trees[name]):
            if isinstance(node, ast.Import):
                waiting += [found for each in node.names for found in _files_of(each.name, trees)]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datastage"):
                waiting += _files_of(node.module or "", trees)
                waiting += [found for each in node.names for found in _files_of(f"{node.module}.{each.name}", trees)]
            elif isinstance(node, ast.Constant) and str(node.value).startswith("datastage."):
                waiting += _files_of(str(node.value), trees)  # a table of what is imported when it is used
    return reached


def _files_of(module: str, trees: Mapping[str, ast.Module]) -> list[str]:
    path = module.replace(".", "/")
    parents = [path[:at] + "/__init__.py" for at in range(len(path)) if path[at] == "/"]
    return [name for name in (*parents, f"{path}.py", f"{path}/__init__.py") if name in trees]


def carried_core(needed: Collection[str] = ()) -> bytes:
    """Return those modules as one compressed JSON object, the same bytes each time."""
    return bz2.compress(json.dumps(carried_modules(needed), separators=(",", ":")).encode())


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if not item.is_dir():
            yield name, item
        elif item.name != "__pycache__":
            yield from _files(item, name)


def for_machines(module: ast.Module) -> str:
    """Return Python source without what only people and type checkers read: the same code."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    # A blank for each level: an indent of four costs 3 % once it is compressed. unparse writes a text in one line.
    return re.sub(r"^(    )+", lambda found: " " * (len(found[0]) // 4), ast.unparse(module), flags=re.MULTILINE)
