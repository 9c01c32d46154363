"""The pages of docs/: snippets run where they say so, and every call in them names what there is."""

import ast
import inspect
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import datastage
from tests.stand_ins.shards import write

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"(<!-- run -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page):
    return page.relative_to(DOCS).as_posix()


def snippets(page, language):
    """Give the snippets of a page in a language: whether it is run, and its text."""
    for run, of, text in FENCE.findall(page.read_text("utf-8")):
        if of == language:
            yield bool(run), text


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A working folder with what the pages speak of: photos in a zip, a table beside pictures, a csv."""
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    (folder / "table/images").mkdir(parents=True)
    rows = ["id,label"]
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for kind in ("cat", "dog"):
            for n in range(40):
                picture = image.fromarray(rng.integers(0, 256, (24, 24 + n % 3, 3), np.uint8))
                path = folder / "table/images" / f"{kind}{n}.png"
                picture.save(path)
                archive.write(path, f"{kind}/{n}.png")
                rows.append(f"{path.name},{kind}")
    write(folder / "shards", [12] * 4)
    (folder / "table/train.csv").write_text("\n".join(rows) + "\n")
    (folder / "iris.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- run -->" in page.read_text("utf-8")], ids=name_of)
def test_the_snippets_of_a_page_run_one_after_the_other(page, data, tmp_path, warm):
    environment = {
        **os.environ, "DATASTAGE_OFFLINE": "1", "DATASTAGE_ROOT": str(tmp_path / "root"), "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    work = tmp_path / "work"
    subprocess.run(["cp", "-r", data, work], check=True)
    python = "\n".join(text for run, text in snippets(page, "python") if run)
    shell = "\n".join(text for run, text in snippets(page, "sh") if run)
    if python:
        ran = warm.start(python, prints=tmp_path / "prints", cwd=work, env=environment)
        assert ran.wait(170) == 0, ran.err.read_text("utf-8")
    if shell:
        command = ["sh", "-ec", shell]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr


def called(text):
    """Give the calls of public functions in a snippet: the function's name and the names of its options."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value) == "datastage"
        ):
            yield node.func.attr, [keyword.arg for keyword in node.keywords if keyword.arg]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_call_on_a_page_names_what_there_is(page):
    inline = re.findall(r"`(datastage\.\w+\([^`]*\))`", page.read_text("utf-8"))
    for text in [*(text for _, text in snippets(page, "python")), *(line.replace("...", "None") for line in inline)]:
        try:
            calls = list(called(text))
        except SyntaxError:
            assert text in inline, text  # a line that is cut short in a sentence
            continue
        for name, options in calls:
            assert name in datastage.__all__, name
            parameters = inspect.signature(getattr(datastage, name)).parameters
            assert set(options) <= set(parameters), f"{name}({', '.join(options)})"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_command_on_a_page_is_one_that_there_is(page):
    text = page.read_text("utf-8")
    blocks = "\n".join(block for _, language, block in FENCE.findall(text) if language in ("sh", "text"))
    said = re.findall(r"^(?:!|DATA=\$\()?(?:python )?datastage(?:\.pyz)? ([a-z]+)", blocks, re.MULTILINE)
    said += re.findall(r"`!?datastage ([a-z]+)", text)
    shown = subprocess.run([sys.executable, "-m", "datastage", "--help"], capture_output=True, text=True, check=True)
    verbs = set(re.findall(r"^    ([a-z-]+)  ", shown.stdout, re.MULTILINE))

    assert set(said) <= verbs


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_every_link_of_ours_leads_somewhere(page):
    for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)):
        if link.startswith(("http://", "https://")):
            assert re.fullmatch(r"https://[\w.-]+(/[\w./%#?=&~+:@-]*)?", link), link
        elif not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))

    assert listed == {name_of(page) for page in PAGES}


def test_every_public_name_is_in_the_reference():
    shown = re.findall(r"^::: datastage\.(\w+)$", (DOCS / "reference.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(shown) == sorted(set(datastage.__all__) - {"__version__"})


def test_every_variable_that_is_read_is_on_the_page_of_settings():
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "datastage").rglob("*.py"))
    names = re.findall(r"DATASTAGE_[A-Z]+(?:_[A-Z]+)*", code)
    names += [f"DATASTAGE_{name}" for name in re.findall(r"\b(?:setting|is_set)\(\"([A-Z_]+)\"", code)]

    page = (DOCS / "settings.md").read_text("utf-8")

    assert [name for name in sorted(set(names)) if f"`{name}`" not in page] == []


def test_the_chart_shows_the_figures_of_its_table_and_they_are_measured(tmp_path):
    text = (DOCS / "fast.md").read_text("utf-8")
    figures = re.findall(r"\| ([\d.]+) times as fast \|", text)
    measured = re.findall(r"([\d.]+)×", (DOCS / "PERFORMANCE.md").read_text("utf-8"))

    subprocess.run([sys.executable, ROOT / "benchmarks/chart.py", tmp_path / "fast.svg"], check=True)

    drawn = (tmp_path / "fast.svg").read_text("utf-8")
    assert drawn == (DOCS / "fast.svg").read_text("utf-8"), "run benchmarks/chart.py"
    assert figures == re.findall(r">([\d.]+)×<", drawn)
    assert {float(one) for one in figures} <= {float(one) for one in measured}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_sentences_are_short(page):
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r"^(\|.*|#.*|:::.*)$", "", text, flags=re.MULTILINE)
    sentences = [len(one.split()) for one in re.split(r"(?<=[.:?!])\s+|\n\s*\n|\n- ", text)]
    sentences = [n for n in sentences if n > 2]

    assert not sentences or sum(sentences) / len(sentences) < 20


def test_the_messages_on_the_page_of_errors_are_those_of_the_library():
    source = "".join(path.read_text("utf-8") for path in Path(datastage.__file__).parent.rglob("*.py"))
    source = re.sub(r"\"\s*f?\"", "", source)  # one message over several lines
    quotes = re.findall(r'"([^"]+)"', "".join(re.findall(r"^\|(.*?)\|", (DOCS / "errors.md").read_text("utf-8"), re.M)))

    assert len(quotes) > 8
    for quote in quotes:
        # What stands for names and values is left out, and what is one of several words.
        fixed = re.split(r"\.\.\.|'[^']*'|\. |a (?:sign-in|web) page(?=, )", quote)
        missing = [part.strip() for part in fixed if part.strip() not in source]
        assert not missing, f"{quote}: no message says {missing}"
