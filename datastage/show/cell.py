"""Setup cells: the text that puts datastage into a notebook where nothing is installed.

The package index knows another project by the name datastage, so no cell installs by name. A cell tests
``from datastage import stage``, since an empty folder of that name would pass ``import datastage``.
"""

from __future__ import annotations

import ast
import bz2
import dataclasses
import fnmatch
import functools
import hashlib
import importlib
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Any

from datastage._version import __version__
from datastage.entry import ArchiveEntry, Entry
from datastage.errors import SpecError
from datastage.show.carried_text import for_machines, names_bound
from datastage.show.following import literal

# What a cell never reaches: the command, and the making of cells.
_NOT_CARRIED = ("datastage/__main__.py", "datastage/cli.py", "datastage/show/cell.py", "datastage/show/carried_text.py")
# Verbs that no setup cell needs.
_VERBS = (
    *("archives/zip_packing", "batches/any_*", "batches/benchmark*", "batches/frameworks", "batches/keras_loader"),
    *("batches/shard*", "cleanup*", "course*", "datasets/catalog_file*", "extracting*", "packing*", "repair*"),
    *("shards/*", "show/catalog*", "show/cell*", "show/doctor*", "show/look", "show/pictures*", "show/unread*"),
    "zipping*",
)
# What some specs need: places, the search for files by content, and what tells and decodes data that no entry knows.
_FOR_SOME = (
    *("sources/drive*", "sources/endpoints", "sources/http*", "sources/kaggle", "sources/kaggle_hub"),
    *("sources/manual", "sources/near_misses", "sources/path", "sources/search*", "sources/walk", "sources/web_api"),
    *("archives/split", "links", "parts", "saved_copy", "transfer/tree_copy"),
    *("batches/crops", "batches/image_files", "batches/photos"),
    *("batches/pixel_*", "layouts/__init__", "layouts/[b-np]*", "layouts/al*", "layouts/ar*", "layouts/asked"),
    *("layouts/s*", "layouts/t*"),
)
# What is carried only for a file of such a name: for any other it would be the last 4 KB of 200.
_FOR_NAMES = {
    "archives/external_tools": (".7z", ".rar"),
    "layouts/scientific": (".h5", ".hdf5", ".mat"),
    "layouts/parquet": (".parquet",),  # and for the Hub, which keeps most of its data so
}
# What reads labels off what lies there, which an entry with lists or arrays of its own does without.
_GUESSED = (
    *("layouts/alone", "layouts/asked", "layouts/beside", "layouts/c[ho]*", "layouts/f*", "layouts/n*"),
    *("layouts/parting", "layouts/shape", "layouts/tasks"),
)
# What reads samples: of pictures in class folders, and of texts in a table, less than of data that no entry knows; of
# sounds, boxes, masks and ratings nothing does, and what is said of them takes little.
_OF_PICTURES = {"layouts/pictures", "batches/image_files", "batches/photos", "batches/pixel_cache"}
_OF_FILES = {"layouts/alone"}
_OF_TASK: dict[str, set[str]] = {
    **{"classification": _OF_PICTURES, "text": {"layouts/alone"}, "audio": {"layouts/alone"}},
    "table": {"batches/image_files", "batches/photos", *_OF_FILES},  # which takes arrays too
    **dict.fromkeys(("detection", "segmentation", "recommendation"), set()),
}
# Places whose folders are written where they stay.
_FETCHED = ("bucket", "github", "http", "hub", "link", "list", "record")
# Places of this machine: their files come without http, also where they are many.
_NEAR = {"sources/braces", "sources/drive", "sources/manual", "sources/path"}
# In place of modules that are left out. Who calls something of one is told to install the wheel.
_STAND_IN = "from datastage.absent import __getattr__\n"
_ABSENT = """\
from datastage.errors import MissingDependencyError
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    def absent(*args, **options):
        raise MissingDependencyError(f"{name} is not in the tool that a cell carries.", "Next: install the wheel.")
    return type("Absent", (type,), {"__getattr__": absent})(name, (), {"__new__": absent})
"""
_LINE_BYTES = 795  # 53 bytes take 65 digits to the base 92
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
import bz2, functools, pathlib, sys, tempfile
CORE = """
{core}
"""
if "stage" not in dir(sys.modules.get("datastage")):  # not here yet, or an empty folder of that name was imported
    sys.modules.pop("datastage", None)
    tool = pathlib.Path(tempfile.mkdtemp())
    digits = {{digit: n for n, digit in enumerate(c for c in map(chr, range(33, 127)) if c not in '"\\\\')}}
    numbers = (functools.reduce(lambda n, digit: n * 92 + digits[digit], line, 0) for line in CORE.split())
    packed = b"".join(number.to_bytes({line_bytes}, "little") for number in numbers)
    core = bz2.decompress(packed).decode().split("\\0")
    for name, text in zip(core[::2], core[1::2]):
        (tool / name).parent.mkdir(parents=True, exist_ok=True); (tool / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(tool))
'''


def cell(
    spec: str,
    *,
    wheel: str | None = None,
    embed: bool = False,
    own: Entry | ArchiveEntry | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Return a cell that stages `spec`: it finds a wheel among the inputs or at `wheel`, or with `embed` carries it."""
    if wheel is not None and embed:
        raise SpecError(
            "A cell that carries the tool installs nothing, so that an address has no use in it.",
            "Next: leave out --wheel or --embed.",
        )
    named = "".join(f", {name}={literal(value)}" for name, value in (options or {}).items())
    last = f"path = datastage.stage({literal(spec)}{named})"
    if own is not None:
        last = f"{_registered(own)}\n{last}"
    last = f"import datastage; {last}"
    title = _TITLE.format(version=__version__)
    if embed:
        needed = needed_modules([spec, *getattr(own, "places", ())], options)
        needed |= {"parts", "sources/manual", "layouts/of_entry"} if own is not None else set()
        core = in_digits(carried_core(needed))
        return title + _CARRY.format(version=__version__, core=core, line_bytes=_LINE_BYTES) + last
    file_name = f"datastage_notebook-{__version__}-py3-none-any.whl"
    found = sorted((name, item.read_bytes()) for name, item in _files(files("datastage"), "datastage"))
    look = title + _LOOK.format(known=hashlib.sha256(repr(found).encode()).hexdigest())  # as the cell computes it
    if wheel is None:
        elsewhere = f"Next: %pip install the address of {file_name}, and run this cell again."
        return look + _CLICKS.format(why="", wheel=file_name, elsewhere=elsewhere) + last
    why = ' pip could not install it: " + said[-1] + "'
    elsewhere = "Next: see whether the internet is on and this address is right, and run this cell again:\\n"
    clicks = _CLICKS.format(why=why, wheel=file_name, elsewhere=elsewhere + '" + pip[-1] + "')
    return look + _INSTALL.format(address=literal(wheel)) + textwrap.indent(clicks, "    ") + last


def _registered(own: Entry | ArchiveEntry) -> str:
    """Return the line that gives a dataset its name in the notebook too."""
    told = {field.name: (getattr(own, field.name), field.default) for field in dataclasses.fields(own)}
    facts = {name: value for name, (value, default) in told.items() if value != default and value not in ({}, ())}
    try:
        if isinstance(own, Entry) or ast.literal_eval(repr(facts)) != facts:
            raise ValueError(own.name)
    except (ValueError, SyntaxError):
        step = f'Next: register it by its address: datastage.register({literal(own.name)}, "https://...").'
        raise SpecError(f"What is known of {own.name} is Python, which a cell does not carry.", step) from None
    if set(facts) <= {"name", "title", "places", "expect", "licence", "citation"}:
        facts = {"fallbacks": list(own.places[1:]), **facts, "name": [], "places": []}
        named = "".join(f", {name}={literal(value)}" for name, value in facts.items() if value not in ([], own.name))
        return f"datastage.register({literal(own.name)}, {literal(own.places[0])}{named})"
    named = ", ".join(f"{name}={value!r}" for name, value in facts.items())
    return f"datastage.register(datastage.ArchiveEntry({named}))"


def needed_modules(specs: Sequence[str], options: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Return which of the modules `_FOR_SOME` these specs need: for their places, their entries, their options."""
    from datastage import datasets, sources
    from datastage.sources import braces

    options = options or {}
    needed: set[str] = set()
    waiting = [*specs, *options.get("fallbacks", ())]
    asked, of_entries = set(waiting), set[str]()
    if len(waiting) > 1:
        needed.add("sources/manual")  # what is said where several places fail
    if options.get("link"):
        needed.add("links")
    if options.get("save_to"):
        needed.add("saved_copy")
        waiting.append(options["save_to"])
    rows = {row.scheme: row for row in sources.SOURCES}
    entries = {entry.name: entry for entry in datasets.catalog()}
    while waiting:
        spec = sources.parse(text := waiting.pop())
        entry = entries.get(spec.value) if spec.scheme == "name" else None
        files_of = entry.parts if isinstance(entry, ArchiveEntry) else ()
        if entry is not None:
            needed |= {"sources/manual"} | ({"parts"} if files_of else {"sources/http", "sources/search"})
            needed |= {f"datasets/{name}" for name in datasets.modules_of(entry)} | {f"entry:{entry.name}"}
            needed |= {"layouts/labels"} if isinstance(entry, Entry) else set()  # for classes=
            places = (place for part in files_of for place in part.places)
            of_entries |= {place for place in places if not place.startswith("package:")}
            waiting += sorted(of_entries)
        elif spec.scheme in rows:
            needed.add(_path(rows[spec.scheme].open.__module__))
            if spec.scheme == "list":
                waiting.append(braces.first_of(text))
            if sources.address_of(spec) is not None:
                needed.add("sources/manual")  # what is said on Kaggle without internet
            if spec.scheme not in _FETCHED:
                needed |= {"transfer/tree_copy"} | (set() if text in of_entries else {"archives/split"})
        if not isinstance(entry, Entry) and text in asked:
            needed |= {"layouts/aside", "layouts/labels", "layouts/tree"}
            if files_of and all(part.name.endswith(".npz") for part in files_of):
                needed |= {"batches/image_files", "batches/photos"}
            else:
                needed |= _OF_TASK.get(entry.task if entry is not None else "", {*_OF_PICTURES, *_OF_FILES})
            if not (isinstance(entry, ArchiveEntry) and (entry.read or entry.lists)):
                needed.add("layouts/folders")  # its labels are read off what lies there
            needed |= {name for name, endings in _FOR_NAMES.items() if spec.file_name.lower().endswith(endings)}
            needed |= {"layouts/parquet"} if spec.scheme == "hub" else set()
            if "cifar" in spec.file_name.lower():
                needed.add("datasets/cifar")  # its batches are told by their files
    return frozenset(needed)


def carried_modules(needed: Collection[str]) -> dict[str, str]:
    """Return the text of each file that a cell carries, without what people read; a stand-in where one is left out."""
    paths = [path for path, _ in _files(files("datastage"), "datastage")]
    known = {path[10:-3] for path in paths if path.endswith(".py") and path not in _NOT_CARRIED}
    families = frozenset(other[9:] for other in needed if other.startswith("datasets/"))
    entries = frozenset(other[6:] for other in needed if other.startswith("entry:"))
    places = {name for name in needed if name.startswith("sources/")}
    texts: dict[str, str] = {}
    reached: set[str] = set()
    named: set[str] = set()
    waiting = ["__init__", *(found for name in needed for found in _modules(f"datastage/{name}", known))]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        kept = families if name == "datasets/__init__" else entries if name.startswith("datasets/") else None
        texts[name], imported = _prepared(name, kept)
        leads_to = {found for module in imported for found in _modules(module.replace(".", "/"), known)}
        named |= leads_to
        stops = (*_VERBS, *_FOR_NAMES, *(() if name in needed or _is_one(name, _FOR_SOME) else _FOR_SOME))
        stops += () if "layouts/folders" in needed else _GUESSED
        stops += ("sources/http*", "sources/endpoints") if places <= _NEAR else ()
        stops += (*({*_OF_PICTURES, *_OF_FILES} - set(needed)),)
        stops += () if entries or "layouts/of_entry" in needed else ("layouts/of_entry",)
        waiting += [other for other in leads_to if not _is_one(other, stops)]
    texts["absent"] = _ABSENT
    return {f"datastage/{name}.py": texts.get(name, _STAND_IN) for name in sorted({*reached, *named, "absent"})}


@functools.cache
def _prepared(name: str, kept: frozenset[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return a module's text as it is carried, and the modules that it names; of datasets what is `kept` alone."""
    tree = ast.parse(files("datastage").joinpath(f"{name}.py").read_text(encoding="utf-8"))
    if name == "datasets/__init__" and kept is not None:
        _leave_out_families(tree, kept)
    elif name == "api":
        _leave_out_verbs(tree)
    elif kept:
        _leave_out_entries(tree, importlib.import_module(f"datastage.{name.replace('/', '.')}"), kept)
    text = for_machines(tree, gives_on=name.endswith("__init__"))
    return text + f"\n{_STAND_IN}" * (name == "api"), tuple(_imports(tree))


def _is_one(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _leave_out_verbs(tree: ast.Module) -> None:
    """Take out of `api` the verbs that lead to what is not carried, unless another one names them."""
    paths = {node: [_path(name) for name in _imports(node)] for node in tree.body if isinstance(node, ast.FunctionDef)}
    gone = [node for node, led in paths.items() if node.name[0] != "_" and any(_is_one(name, _VERBS) for name in led)]
    rest = [node for node in tree.body if node not in gone]
    named = {each.id for node in rest for each in ast.walk(node) if isinstance(each, ast.Name)}
    tree.body = [*rest, *(verb for verb in gone if verb.name in named)]


def _path(name: str) -> str:
    return name.removeprefix("datastage.").replace(".", "/")


def _leave_out_entries(tree: ast.Module, module: ModuleType, kept: Collection[str]) -> None:
    """Take out of a family's table the entries that are not kept, and what they alone use; a family has few."""
    bound = [(node, set(names_bound(node))) for node in tree.body]
    table = next((node for node, names in bound if names == {"ENTRIES"}), None)
    if not isinstance(table, ast.Assign) or not isinstance(table.value, ast.Tuple):
        return
    rows, entries = [], iter(module.ENTRIES)
    for row in table.value.elts:
        starred = row.value if isinstance(row, ast.Starred) else None
        n = len(getattr(module, starred.id)) if isinstance(starred, ast.Name) else 1
        if {next(entries).name for _ in range(n)} & set(kept):
            rows.append(row)
    table.value.elts = rows
    used = {"ENTRIES", "annotations"}
    waiting = [node for node, names in bound if not names or names & used]
    while waiting:
        named = {each.id for each in ast.walk(waiting.pop()) if isinstance(each, ast.Name)} - used
        used |= named
        waiting += [node for node, names in bound if names & named]
    tree.body = [node for node, names in bound if not names or names & used]


def _leave_out_families(module: ast.Module, needed: Collection[str]) -> None:
    """Take the families that are not needed out of the table of datasets, and their imports."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == "datastage.datasets":
            families = {each.name for each in node.names}
            node.names = [each for each in node.names if each.name in needed]
    for node in module.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Tuple):
            names = [{each.id for each in ast.walk(row) if isinstance(each, ast.Name)} for row in node.value.elts]
            node.value.elts = [row for row, used in zip(node.value.elts, names) if not used & families - set(needed)]
    module.body = [node for node in module.body if not isinstance(node, ast.ImportFrom) or node.names]


def _imports(module: ast.AST) -> Iterator[str]:
    """Give the names of modules of ours that a module names: in an import anywhere, or in a table of names."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("datastage."):
            yield str(node.value)


def _modules(path: str, known: Collection[str]) -> list[str]:
    """Return the modules that are imported with ``datastage/path``, its packages first."""
    parts = path.split("/")[1:] if path.startswith("datastage/") else []
    above = ["/".join([*parts[:n], "__init__"]) for n in range(len(parts) + 1)]
    return [name for name in (*above, "/".join(parts), "/".join(parts[:-1])) if name in known]


def carried_core(needed: Collection[str] = ()) -> bytes:
    """Return the names and texts of those modules as one compressed text, the same bytes each time."""
    return bz2.compress("\0".join(part for named in carried_modules(needed).items() for part in named).encode())


def in_digits(data: bytes) -> str:
    """Return bytes as lines of digits to the base 92, all that a text in a notebook can hold: base85 takes 2 % more."""
    digits = [digit for digit in map(chr, range(33, 127)) if digit not in '"\\']
    lines = []
    for at in range(0, len(data), _LINE_BYTES):
        number, line = int.from_bytes(data[at : at + _LINE_BYTES], "little"), ""
        while number:
            number, digit = divmod(number, 92)
            line = digits[digit] + line
        lines.append(line)
    return "\n".join(lines)


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if not item.is_dir():
            yield name, item
        elif item.name != "__pycache__":
            yield from _files(item, name)
