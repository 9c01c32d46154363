"""Setup cells: the text that puts datastage into a notebook where nothing is installed.

Here: the cells, and the core that one of them carries. Not here: the wheel and the pyz (`tools`).

The package index knows another project by the name datastage, so that no cell installs by name. A cell tests
``from datastage import stage``, since an empty folder of that name would pass ``import datastage``.
"""

from __future__ import annotations

import ast
import builtins
import bz2
import itertools
import json
import keyword
import re
import string
import textwrap
from collections import Counter
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
    "datastage/archives/external_tools.py",
    "datastage/batches/bench.py",
    "datastage/batches/feed.py",
    "datastage/batches/frames.py",
    "datastage/batches/kept.py",
    "datastage/show/cell.py",
)
_WORD = re.compile("[A-Za-z_]{3,}")
_STRING = re.compile(r"""('''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")
_STAND_IN = """\
from datastage.errors import MissingDependencyError
def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(name)
    def absent(*args, **options):
        raise MissingDependencyError(f'{name} is not in the tool that a cell carries.', 'Next: install the wheel.')
    return absent
"""

# What does a thing better than need be, and in a cell as the standard library does it: addresses side by
# side, servers that drip or garble their headers.
_SIMPLER = {
    "datastage/reach.py": """\
import socket
def connect(place, timeout, source=None):
    return socket.create_connection(place, timeout)
""",
    "datastage/sources/wire.py": """\
import http.client, select
from http.client import HTTPException
class NotHttp(HTTPException): pass
class Https(http.client.HTTPSConnection):
    def __init__(self, *words, tls, named, **options):
        super().__init__(*words, context=tls, **options)
        self._server_hostname = named
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_hostname)
class Response(http.client.HTTPResponse):
    def __init__(self, *words, limit_s, **options):
        super().__init__(*words, **options)
    def put_off(self): pass
    def begin(self):
        super().begin()
        self.said_length = self.length
def has_news(sock):
    return bool(select.select([sock], [], [], 0)[0])
""",
}

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
import bz2, json, pathlib, sys, tempfile
CORE = """
{core}
"""
if "stage" not in dir(sys.modules.get("datastage")):  # not here yet, or an empty folder of that name was imported
    sys.modules.pop("datastage", None)
    tool = pathlib.Path(tempfile.mkdtemp())
    code = [c - 35 - (c > 92) for c in CORE.encode() if c > 32]
    bits = "".join(f"{{a * 91 + b:013b}}" for a, b in zip(code[::2], code[1::2])).lstrip("0")
    words, text = bz2.decompress(int(bits, 2).to_bytes(len(bits) + 7 >> 3, "big")).split(b"\\n", 1)
    for n, word in enumerate(words.split()): text = text.replace(bytes([128 + n]), word)
    for name, text in json.loads(text).items():
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
        text = _as_text(carried_core())
        core = "\n".join(text[at : at + 1000] for at in range(0, len(text), 1000))
        return _CARRY.format(version=__version__, core=core) + last
    if wheel is None:
        return _LOOK.replace("importlib, ", "") + textwrap.indent(_WORDS, "    ") + last
    install = textwrap.indent(_INSTALL.replace("{address}", _literal(wheel)), "    ")
    return _LOOK.replace("os, sys", "os, subprocess, sys") + install + last


def _as_text(data: bytes) -> str:
    """Return bytes as 91 letters and signs, 13 bits in two of them: a twelfth less than base64, with no quote in it.

    The first bit that is set begins the first byte, as in "BZh".
    """
    bits = "".join(f"{byte:08b}" for byte in data).lstrip("0")
    bits = bits.zfill((len(bits) + 12) // 13 * 13)
    pairs = (divmod(int(bits[at : at + 13], 2), 91) for at in range(0, len(bits), 13))
    return "".join(chr(35 + n + (n > 56)) for pair in pairs for n in pair)


def _literal(text: str) -> str:
    # JSON's text is Python's too, and has the double quotes that people write.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def carried_modules() -> dict[str, str]:
    """Return what a cell carries, from each file's path to its text: what staging and loaders need.

    The package's own files are read through its loader, so that it works from inside a wheel too.
    """
    sources = dict(sorted(_modules(files("datastage"), "datastage")))
    reached = set(itertools.chain.from_iterable(map(_reached, sources.values())))
    return {
        name: _SIMPLER.get(name) or (_STAND_IN if name in _NAMED else compact(source, reached))
        for name, source in sources.items()
    }


def carried_core() -> bytes:
    """Return those modules squeezed, the same bytes each time.

    The words that take most room, each a byte above ASCII in what follows; and the modules as a JSON object. As a whole
    by bz2: a good third less than a zip that compresses each, and on text less than xz.
    """
    text = json.dumps(carried_modules(), separators=(",", ":"))
    counts = Counter(re.findall(_WORD, text))
    words = sorted(counts, key=lambda word: (-counts[word] * (len(word) - 1), word))[:110]
    byte = {word: chr(128 + n) for n, word in enumerate(words)}
    coded = re.sub(_WORD, lambda found: byte.get(found[0], found[0]), text)
    return bz2.compress(f"{' '.join(words)}\n{coded}".encode("latin-1"))


def _modules(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if item.is_dir():
            if item.name.isidentifier() and item.name != "__pycache__":
                yield from _modules(item, name)
        elif item.name.endswith(".py") and name not in _NOT_CARRIED:
            yield name, item.read_text(encoding="utf-8")


def compact(source: str, reached: Collection[str] = ()) -> str:
    r"""Return Python source without what only people and type checkers read: the same program, half as long.

    Parameters
    ----------
    source : str
        A module.
    reached : collection of str
        Names with an underscore that other modules may use; others of the module's own get shorter ones.

    Examples
    --------
    >>> compact("def f(x: int) -> int:\n    'Add one.'\n    sum_of_both = x + 1  # why\n    return sum_of_both\n")
    'def f(x):\n\ta=x+1\n\treturn a'
    """
    module = _Compact().visit(ast.parse(source))
    _drop_unused_imports(module)
    _shorten_private(module, reached)
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    outside = {*dir(builtins), *keyword.kwlist, *_bound_outside(module)}
    for function in _outermost_functions(module):
        _shorten_locals(function, outside, names)
    # Text that spans lines is written with \\n by unparse, so that a line's first blanks are its depth.
    text = re.sub("(?m)^(    )+", lambda found: "\t" * (len(found[0]) // 4), ast.unparse(module))
    parts = re.split(_STRING, text)
    parts[::2] = (re.sub(" ?([=<>!+*/|&%@:,-]+) ?", r"\1", part).replace("\n\n", "\n") for part in parts[::2])
    return "".join(parts)


class _Compact(ast.NodeTransformer):
    """Takes out docstrings, annotations of functions and of variables in them, and what is there for type checkers.

    Those are imports under ``TYPE_CHECKING``, and assertions: the house asserts nothing that could be otherwise.
    """

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self.generic_visit(node)
        return _without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # Dataclasses and named tuples are made from the annotations of their fields: there must be one, any will do.
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        for field in fields:
            field.annotation = ast.Name("int")
        body = [field if field in fields else self.visit(field) for field in node.body]
        node.body = [each for each in body if each is not None]
        return _without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST | None:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST | None:
        if any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list):
            return None
        node.returns = None
        self.generic_visit(node)
        return _without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Assert(self, node: ast.Assert) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return None
        self.generic_visit(node)
        return node


def _without_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return node


def _drop_unused_imports(module: ast.Module) -> None:
    """Take out, at the top level, what only annotations named of our own modules and of those for types."""
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            used.update(str(each.value) for each in ast.walk(node.value) if isinstance(each, ast.Constant))
    for node in list(module.body):
        if isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")[0]
            if root == "__future__" or node.module in ("typing", "collections.abc") or root == "datastage":
                node.names = [each for each in node.names if (each.asname or each.name) in used]
                if not node.names:
                    module.body.remove(node)


# --- short names for what only a module itself can see


def _reached(source: str) -> Iterator[str]:
    """Give the names that a module imports, or looks up in something."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _shorten_private(module: ast.Module, reached: Collection[str]) -> None:
    """Give short names to what the module binds for itself: one underscore first, and never looked up by name."""
    text = " ".join(
        node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    kept = {*reached, *re.findall(r"\w+", text)}
    taken = set()
    for node in ast.walk(module):
        if isinstance(node, ast.arg | ast.keyword):
            kept.add(node.arg or "")
        elif isinstance(node, ast.Attribute):
            kept.add(node.attr)
        elif isinstance(node, ast.alias):
            kept.add(node.asname or node.name)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            kept.add(node.name or "")
        elif isinstance(node, ast.Name):
            taken.add(node.id)
    bound = [
        *(node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)),
        *(node.id for each in module.body for node in ast.walk(each) if isinstance(node, ast.Name)),
    ]
    own = [name for name in dict.fromkeys(bound) if re.match("_[^_]", name) and name not in kept]
    free = (f"_{letter}" for letter in _letters() if f"_{letter}" not in taken)
    short = dict(zip(own, free))
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            node.id = short.get(node.id, node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = short.get(node.name, node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            node.names = [short.get(name, name) for name in node.names]


def _letters() -> Iterator[str]:
    """Give a, b, ..., z, aa, ab, ..."""
    return ("".join(chars) for n in (1, 2, 3) for chars in itertools.product(string.ascii_lowercase, repeat=n))


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
    free = (name for name in _letters() if name not in kept and name not in taken)
    short = {name: next(free) for name in own if name not in kept}
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            node.id = short.get(node.id, node.id)
