"""Keep the example notebooks alike: the badge that opens them on Colab, the cell that brings the tool, no outputs.

The page of examples has the same badges.

    python tools/notebooks.py            put them in order
    python tools/notebooks.py --check    only say which are not; exit code 1

`REPOSITORY` is the one place that says where the project is published.
"""

import json
import re
import sys
from pathlib import Path

REPOSITORY = "OWNER/datastage"
BRANCH = "main"
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAGE = EXAMPLES.parent / "docs/examples.md"
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
# The tool: a wheel among Kaggle's inputs, as a file or unpacked; else by pip. "import datastage" would take an empty
# folder of that name for it.
SETUP = """\
# Bring datastage: installed already, or a wheel among Kaggle's inputs, or by pip.
import glob, os, sys
for found in glob.glob("/kaggle/input/*/datastage_notebook-*") + glob.glob("/kaggle/input/*/*/*/datastage_notebook-*"):
    sys.path += [found, os.path.dirname(found)]
try:
    from datastage import stage
except ImportError:
    sys.modules.pop("datastage", None)
    %pip install -q ADDRESS-OF-THE-WHEEL"""


def colab_address(notebook):
    """Return the address that opens a notebook of `EXAMPLES` on Colab."""
    path = notebook.relative_to(EXAMPLES.parent).as_posix()
    return f"https://colab.research.google.com/github/{REPOSITORY}/blob/{BRANCH}/{path}"


def in_order(notebook):
    """Return the text of a notebook as it should be."""
    book = json.loads(notebook.read_text("utf-8"))
    first = book["cells"][0]["source"]
    badge = f"{BADGE}({colab_address(notebook)})\n"
    book["cells"][0]["source"] = [badge, "\n", *(first[2:] if first[0].startswith(BADGE) else first)]
    for number, cell in enumerate(book["cells"], 1):
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
        if cell["id"] == "setup":
            cell["source"] = SETUP.splitlines(keepends=True)
        else:
            cell["id"] = f"cell-{number}"
        cell["metadata"] = {}
    book["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def page_in_order(page):
    """Return the text of the page of examples as it should be: each notebook of its table opens on Colab."""

    def row(found):
        address = colab_address(EXAMPLES / f"{found[1]}.ipynb")
        return f"| [`{found[1]}`]({address}) |"

    return re.sub(r"^\| \[?`([\w/]+)`(?:\]\([^)]*\))? \|", row, page.read_text("utf-8"), flags=re.MULTILINE)


def main():
    right = {path: in_order(path) for path in sorted(EXAMPLES.rglob("*.ipynb"))} | {PAGE: page_in_order(PAGE)}
    wrong = [path for path, text in right.items() if path.read_text("utf-8") != text]
    for path in wrong:
        if "--check" not in sys.argv:
            path.write_text(right[path], "utf-8")
        print(path.relative_to(EXAMPLES.parent))
    return 1 if wrong and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
