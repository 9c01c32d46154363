"""Write the list of all modules at the end of docs/ARCHITECTURE.md: each with the first lines of its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
MARK = "<!-- the modules: make format writes what follows -->\n"


def listed() -> str:
    """Return the list: a heading a package, a line a module."""
    lines: list[str] = []
    package = ROOT / "datastage"
    for folder in (package, *sorted(path for path in package.iterdir() if (path / "__init__.py").is_file())):
        lines += ["", f"### {folder.relative_to(ROOT).as_posix()}/", ""]
        for path in sorted(folder.glob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            lines.append(f"- `{path.name}`: {' '.join(said.partition(chr(10) * 2)[0].split())}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page as it should be."""
    return PAGE.read_text("utf-8").partition(MARK)[0] + MARK + listed()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
