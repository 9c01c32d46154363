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
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from datastage._version import __version__
from datastage.errors import SpecError

# What a cell never reaches: the command, and the making of cells.
_NOT_CARRIED = ("datastage/__main__.py", "datastage/cli.py", "datastage/show/cell.py")
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


def cell(spec: str, *, wheel: str | None = None, embed: bool = False) -> str:
    """Return the text of a setup cell that stages `spec`, without a line break at its end.

    It looks for a wheel among the inputs, then installs the one at the address `wheel`. `embed`: it carries the tool.
    """
    if wheel is not None and embed:
        raise SpecError(
            "A cell that carries the tool installs nothing, so that an address has no use in it.",
            "Next: leave out --wheel or --embed.",
        )
    last = f"import datastage; path = datastage.stage({_literal(spec)})"
    title = _TITLE.format(version=__version__)
    if embed:
        text = base64.b85encode(carried_core()).decode()
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


def _literal(text: str) -> str:
    # JSON's text is Python's too, and has the double quotes that people write.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def package_digest() -> str:
    """Return the sha256 of the names and bytes of all files of this package, as the cell computes it."""
    found = sorted((name, item.read_bytes()) for name, item in _files(files("datastage"), "datastage"))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def carried_modules() -> dict[str, str]:
    """Return what a cell carries, from each file's path to its text: our modules without comments and docstrings.

    They are read through the package's own loader, so that it works from inside a wheel too.
    """
    return {
        name: without_docstrings(item.read_text(encoding="utf-8"))
        for name, item in sorted(_files(files("datastage"), "datastage"), key=lambda pair: pair[0])
        if name.endswith(".py") and name not in _NOT_CARRIED
    }


def carried_core() -> bytes:
    """Return those modules as one compressed JSON object, the same bytes each time."""
    return bz2.compress(json.dumps(carried_modules(), separators=(",", ":")).encode())


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if not item.is_dir():
            yield name, item
        elif item.name != "__pycache__":
            yield from _files(item, name)


def without_docstrings(source: str) -> str:
    """Return Python source without docstrings and comments: the same code."""
    module = ast.parse(source)
    for node in ast.walk(module):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(module)
