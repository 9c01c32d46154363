"""The text of a module as a cell carries it: what people and checkers read is left out, names of its own are short."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import string
from collections.abc import Collection, Iterator


def for_machines(module: ast.Module, *, gives_on: bool = False) -> str:
    """Return Python source without what only people and type checkers read: the same code.

    Names of ours that it imports for types alone go too, unless the module `gives_on` what it imports.
    """
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign) and not re.search("ClassVar|KW_ONLY", ast.dump(node.annotation)):
            node.annotation = ast.Constant(0)  # a field needs one, whatever it says
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                run = [each for each in statements if not _is_for_checkers(each)]
                if not isinstance(node, ast.ClassDef):  # a class may count the annotations of its fields
                    run = [_unannotated(each) for each in run if not isinstance(each, ast.AnnAssign) or each.value]
                setattr(node, name, run or [ast.Pass()] * (name == "body"))
    used = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    for node in list(module.body):
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            module.body.remove(node)  # no annotation is left but those that dataclasses look at
        unneeded = r"(typing|collections\.abc)$" if gives_on else r"(typing|collections\.abc|datastage\..*)$"
        if isinstance(node, ast.ImportFrom) and re.match(unneeded, node.module or ""):
            node.names = [name for name in node.names if (name.asname or name.name) in used or name.asname == name.name]
            module.body = [each for each in module.body if each is not node or node.names]
    _shorten_private(module)
    _shorten_names(module)
    # A blank for each level: an indent of four costs 3 % once it is compressed. unparse writes a text in one line.
    text = ast.unparse(ast.fix_missing_locations(module))
    return re.sub(r"^(    )+", lambda found: " " * (len(found[0]) // 4), text, flags=re.MULTILINE)


def _unannotated(statement: ast.stmt) -> ast.stmt:
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return ast.Assign([statement.target], statement.value)
    return statement


def _is_for_checkers(statement: ast.stmt) -> bool:
    """Tell whether nobody needs a statement to run: what is asserted is known, and said for the checker of types."""
    test = statement.test if isinstance(statement, ast.If) else None
    return isinstance(statement, ast.Assert) or (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING")


def _shorten_private(module: ast.Module) -> None:
    """Give the functions, classes and constants that a module keeps to itself short names: a sixtieth of a cell."""
    nodes = list(ast.walk(module))
    own = [node for node in module.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    found = dict.fromkeys(name for node in own for name in names_bound(node) if re.match("_[^_]", name))
    kept = {str(getattr(node, key)) for node in nodes for key in ("arg", "asname") if getattr(node, key, None)}
    kept |= {getattr(node, "name", "") for node in nodes if node not in own and not isinstance(node, ast.Name)}
    taken = kept | {node.id for node in nodes if isinstance(node, ast.Name)}
    short = (f"_{a}{b}" for a in ("", *string.ascii_letters) for b in string.ascii_letters)
    free = (name for name in short if name not in taken)
    new = {name: next(free) for name in found if name not in kept}
    for node in nodes:
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node in own:
            node.name = new.get(node.name, node.name)
        elif isinstance(node, ast.Global):
            node.names = [new.get(name, name) for name in node.names]


def _shorten_names(module: ast.Module) -> None:
    """Give the local variables of each function short names: a sixteenth of a cell. Parameters keep theirs."""
    top = {name for node in module.body for name in names_bound(node)} | set(dir(builtins))
    for node in module.body:
        for function in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(function, ast.FunctionDef):
                _shorten_names_in(function, top)


def names_bound(node: ast.AST) -> Iterator[str]:
    """Give the names that a statement of a module binds there, within an if or a try too."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return  # what it binds is its own
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from names_bound(child)


def _shorten_names_in(function: ast.FunctionDef, top: Collection[str]) -> None:
    nodes = list(ast.walk(function))
    words = [node for node in nodes if isinstance(node, ast.Name)]
    if {"locals", "vars", "eval", "exec"} & {word.id for word in words}:
        return
    if any(isinstance(node, ast.ClassDef | ast.Global) for node in nodes):
        return
    # What else names a variable: an argument, an import, a handler, a pattern, a function.
    kept = set(top)
    for node in nodes:
        kept |= {str(getattr(node, key)) for key in ("arg", "name", "asname") if getattr(node, key, None)}
        kept |= {name.partition(".")[0] for name in getattr(node, "names", ()) if isinstance(name, str)}
    found = dict.fromkeys(word.id for word in words if isinstance(word.ctx, ast.Store) and word.id not in kept)
    taken = {word.id for word in words} | kept
    free = (a + b for a in ("", *string.ascii_lowercase) for b in string.ascii_letters)
    short = (name for name in free if name not in taken and not keyword.iskeyword(name))
    new = {name: next(short) for name in found if len(name) > 1}
    for word in words:
        word.id = new.get(word.id, word.id)
