"""Setup cells: the text that puts datastage into a notebook where nothing is installed.

Here: the cells, and the core that one of them carries. Not here: the wheel and the pyz (`tools`).

The package index knows another project by the name datastage, so that no cell installs by name. A cell tests
``from datastage import stage``, since an empty folder of that name would pass ``import datastage``.
"""

from __future__ import annotations

import ast
import base64
import builtins
import bz2
import itertools
import json
import keyword
import string
import textwrap
from collections.abc import Collection, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from datastage._version import __version__
from datastage.errors import SpecError

# What a cell never reaches: the command.
_NOT_CARRIED = ("datastage/__main__.py", "datastage/cli.py")
# What only some need, and not for staging and loaders: in a cell these are named, and say what to do instead.
_NAMED = (
    "datastage/archives/packing.py",
    "datastage/archives/tools.py",
    "datastage/batches/bench.py",
    "datastage/batches/feed.py",
    "datastage/batches/frames.py",
    "datastage/show/cell.py",
    "datastage/sources/share.py",
)
_STAND_IN = """\
from datastage.errors import MissingDependencyError
def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(name)
    def absent(*args, **options):
        raise MissingDependencyError(f'{name} is not in the tool that a cell carries.', 'Next: install the wheel.')
    return absent
"""

_LOOK = """\
import glob, importlib, os, sys
for found in glob.glob("/kaggle/input/*/datastage_notebook-*") + glob.glob("/kaggle/input/*/*/*/datastage_notebook-*"):
    sys.path += [found, os.path.dirname(found)]
if "stage" not in dir(sys.modules.get("datastage")): sys.modules.pop("datastage", None)  # an empty folder, imported
try: from datastage import stage             # not "import datastage": an empty folder would pass
except ImportError:
"""
_WORDS = """\
raise RuntimeError("datastage is not here yet. In the right-hand panel: "
    "Input > Upload: the .whl file from the course page. Then run this cell again.") from None
"""
_INSTALL = """\
sys.modules.pop("datastage", None)
subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--retries", "0", {address}], capture_output=True)
importlib.invalidate_caches()
try: from datastage import stage
except ImportError: raise RuntimeError("datastage could not be installed; is the internet off? In the "
    "right-hand panel: Input > Upload: the .whl file from the course page. Then run this cell again.") from None
"""
_CARRY = '''\
# datastage {version} (Apache-2.0), carried in this cell: nothing to install, no internet needed
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


def cell(spec: str, *, wheel: str | None = None, embed: bool = False) -> str:
    """Return the text of a setup cell that stages `spec`.

    Parameters
    ----------
    spec : str
        What the cell stages.
    wheel : str, optional
        The address of the wheel, for notebooks that can install; the cell looks among the inputs first.
    embed : bool
        Carry the tool inside the cell.

    Returns
    -------
    str
        Python text, without a line break at its end.

    Raises
    ------
    SpecError
        If both `wheel` and `embed` are given: a cell that carries the tool installs nothing.
    """
    if wheel is not None and embed:
        raise SpecError(
            "A cell that carries the tool installs nothing, so that an address has no use in it.",
            "Next: leave out --wheel or --embed.",
        )
    last = f"import datastage; path = datastage.stage({_literal(spec)})"
    if embed:
        # Base85 has neither quotes nor backslashes, and takes a sixteenth less than base64.
        text = base64.b85encode(carried_core()).decode()
        core = "\n".join(text[at : at + 120] for at in range(0, len(text), 120))
        return _CARRY.format(version=__version__, core=core) + last
    if wheel is None:
        return _LOOK.replace("importlib, ", "") + textwrap.indent(_WORDS, "    ") + last
    install = textwrap.indent(_INSTALL.replace("{address}", _literal(wheel)), "    ")
    return _LOOK.replace("os, sys", "os, subprocess, sys") + install + last


def _literal(text: str) -> str:
    # JSON's text is Python's too, and has the double quotes that people write.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def carried_core() -> bytes:
    """Return the package, squeezed: what staging and loaders need, the same bytes each time.

    A JSON object from each file's path to its text, squeezed whole by bz2: a good third less than a zip that compresses
    each, and on text less than xz. The package's own files are read through its loader, so that it works from inside a
    wheel too.
    """
    modules = {
        name: _STAND_IN if name in _NAMED else compact(source)
        for name, source in sorted(_modules(files("datastage"), "datastage"))
    }
    return bz2.compress(json.dumps(modules, ensure_ascii=False, separators=(",", ":")).encode())


def _modules(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if item.is_dir():
            if item.name.isidentifier() and item.name != "__pycache__":
                yield from _modules(item, name)
        elif item.name.endswith(".py") and name not in _NOT_CARRIED:
            yield name, item.read_text(encoding="utf-8")


def compact(source: str) -> str:
    r"""Return Python source without what only people and type checkers read: the same program, half as long.

    Examples
    --------
    >>> compact("def f(x: int) -> int:\n    'Add one.'\n    sum_of_both = x + 1  # why\n    return sum_of_both\n")
    'def f(x):\n    a = x + 1\n    return a'
    """
    module = _Compact().visit(ast.parse(source))
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    outside = {*dir(builtins), *keyword.kwlist, *_bound_outside(module)}
    for function in _outermost_functions(module):
        _shorten_locals(function, outside, names)
    return ast.unparse(module)


class _Compact(ast.NodeTransformer):
    """Takes out docstrings, annotations of functions and of variables in them, and imports for type checkers."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self.generic_visit(node)
        return _without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # Dataclasses and named tuples are made from the annotations of their fields: there must be one, any will do.
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        for field in fields:
            field.annotation = ast.Name("int")
        node.body = [field if field in fields else self.visit(field) for field in node.body]
        return _without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        return _without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Pass()
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return ast.Pass()
        self.generic_visit(node)
        return node


def _without_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return node


# --- short names for what only a function itself can see


def _bound_outside(module: ast.Module) -> Iterator[str]:
    """Give every name that the module or a class of it binds: none of these is a function's own."""
    waiting: list[ast.AST] = [*module.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
            continue
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
        elif isinstance(node, ast.Name):
            yield node.id
        waiting += ast.iter_child_nodes(node)


def _outermost_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _outermost_functions(child)


def _shorten_locals(function: ast.AST, outside: Collection[str], taken: Collection[str]) -> None:
    """Give short names to the variables that `function` and those within it assign; never to what a caller names."""
    own: dict[str, str] = {}
    kept = set(outside)
    for node in ast.walk(function):
        if isinstance(node, ast.ClassDef):
            return  # what is assigned there are attributes
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                own.setdefault(node.id, "")
        elif isinstance(node, ast.arg):
            kept.add(node.arg)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            kept.update(node.names)
        elif isinstance(node, ast.alias):
            kept.add((node.asname or node.name).split(".")[0])
        elif name := getattr(node, "name", None):  # functions within, `except ... as name`, patterns
            kept.add(name)
    letters = ("".join(chars) for n in (1, 2, 3) for chars in itertools.product(string.ascii_lowercase, repeat=n))
    free = (name for name in letters if name not in kept and name not in taken)
    short = {name: next(free) for name in own if name not in kept}
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            node.id = short.get(node.id, node.id)
