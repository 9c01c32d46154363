"""The door for whoever comes next: what the pages at the top of the repository say is so."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import datastage

ROOT = Path(__file__).resolve().parents[1]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_changelog_names_everything_public():
    words = set(re.findall(r"\w+", text_of("CHANGELOG.md")))

    assert sorted(set(datastage.__all__) - words - {"__version__"}) == []


def test_the_changelog_names_every_command():
    changes = text_of("CHANGELOG.md")
    shown = subprocess.run([sys.executable, "-m", "datastage", "--help"], capture_output=True, text=True, check=True)
    verbs = re.findall(r"^    ([a-z-]+)  ", shown.stdout, re.MULTILINE)

    assert "stage" in verbs
    assert [verb for verb in verbs if f"datastage {verb}" not in changes] == []


def test_make_alone_says_what_there_is():
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)

    targets = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    assert {line.split()[1] for line in done.stdout.splitlines()} == targets
    assert {"demo", "test", "lint"} <= targets


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/ARCHITECTURE.md"])
def test_a_page_names_files_that_are_there(page):
    named = set(re.findall(r"`((?:datastage|tests|docs|tools|benchmarks|examples)/[\w./-]+)`", text_of(page)))

    made_up = re.compile(r"shelf|garden|/(test_)?ar\.py")  # what the page's own examples add
    assert [name for name in sorted(named) if not made_up.search(name) and not (ROOT / name).exists()] == []


def test_every_module_and_room_stands_on_a_floor():
    floors = text_of("docs/ARCHITECTURE.md").partition("```text\n")[2].partition("```")[0]
    named = set(re.findall(r"\w+", floors))
    package = ROOT / "datastage"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    assert sorted((rooms | modules) - named) == []


def test_the_version_to_cite_is_the_version_of_the_package():
    assert f"version: {datastage.__version__}\n" in text_of("CITATION.cff")


def test_the_page_on_the_architecture_lists_every_module_as_its_docstring_begins():
    made = runpy.run_path(str(ROOT / "tools/list_modules.py"))

    assert text_of("docs/ARCHITECTURE.md") == made["page"](), "make format writes the list"
