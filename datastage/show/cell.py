"""Setup cells: the text that puts datastage into a notebook where nothing is installed.

Here: the cells, and the core that one of them carries. Not here: the wheel and the pyz (`tools`).

The package index knows another project by the name datastage, so that no cell installs by name. A cell tests
``from datastage import stage``, since an empty folder of that name would pass ``import datastage``.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import lzma
import textwrap
import tokenize
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from datastage._version import __version__
from datastage.errors import SpecError

# What a cell never reaches: the command.
_NOT_CARRIED = ("__main__.py", "cli.py")

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
import base64, lzma, pathlib, sys, tempfile
CORE = """
{core}
"""
if "stage" not in dir(sys.modules.get("datastage")):  # not here yet, or an empty folder of that name was imported
    sys.modules.pop("datastage", None)
    tool = pathlib.Path(tempfile.mkdtemp(), "datastage.zip")
    tool.write_bytes(lzma.decompress(base64.b64decode(CORE))); sys.path.insert(0, str(tool))
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
        core = "\n".join(textwrap.wrap(base64.b64encode(carried_core()).decode(), 120))
        return _CARRY.format(version=__version__, core=core) + last
    if wheel is None:
        return _LOOK.replace("importlib, ", "") + textwrap.indent(_WORDS, "    ") + last
    install = textwrap.indent(_INSTALL.replace("{address}", _literal(wheel)), "    ")
    return _LOOK.replace("os, sys", "os, subprocess, sys") + install + last


def _literal(text: str) -> str:
    # JSON's text is Python's too, and has the double quotes that people write.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def carried_core() -> bytes:
    """Return the package as a zip inside xz: what staging and loaders need, the same bytes each time.

    The zip stores its members, so that xz sees all of them at once: half the size of a zip that compresses each. The
    package's own files are read through its loader, so that it works from inside a wheel or a pyz too.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(_modules(files("datastage"), "datastage")):
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, without_words(source))
    return lzma.compress(made.getvalue(), preset=9)


def _modules(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if item.is_dir():
            if item.name.isidentifier() and item.name != "__pycache__":
                yield from _modules(item, name)
        elif item.name.endswith(".py") and not (prefix == "datastage" and item.name in _NOT_CARRIED):
            yield name, item.read_text(encoding="utf-8")


def without_words(source: str) -> str:
    r"""Return Python source without comments, docstrings and empty lines: the same program in two thirds of the size.

    Examples
    --------
    >>> without_words("def f():\n    'Say one.'\n    return 1  # why\n")
    'def f():\n    return 1\n'
    """
    lines = source.split("\n")
    kept: set[int] = set()  # lines within a text of several lines: their content is not ours to touch
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif kind == "STRING":
            kept.update(range(token.start[0], token.end[0] + 1))
        elif kind.endswith("STRING_START"):  # f-strings, from Python 3.12 on
            opened.append(token.start[0])
        elif kind.endswith("STRING_END"):
            kept.update(range(opened.pop(), token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
            and first.end_lineno is not None
        ):
            rows = range(first.lineno, first.end_lineno + 1)
            kept.difference_update(rows)
            for row in rows:
                lines[row - 1] = ""
            if len(node.body) == 1 and not isinstance(node, ast.Module):
                lines[first.lineno - 1] = f"{' ' * first.col_offset}pass"
    return "".join(f"{line}\n" for row, line in enumerate(lines, 1) if line.strip() or row in kept)
