"""Setup cells: run as printed, with nothing installed and no network, and a folder called datastage in the way."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

import datastage
from datastage.errors import SpecError
from datastage.show.cell import carried_core, carried_modules, cell, compact
from tests.servers import server as server

PACKAGE = Path(datastage.__file__).parent
TOOLS = Path(__file__).resolve().parents[2] / "tools"
WHEEL = f"datastage_notebook-{datastage.__version__}-py3-none-any"
# A notebook's working directory comes first in its path; -I -S leaves nothing else of ours or of site-packages.
RUN = "import sys; sys.path.insert(0, ''); exec(open(sys.argv[1], encoding='utf-8').read()); print(path)"


def carrying(spec):
    """Return the cell that carries the tool."""
    return made().replace('"SPEC"', json.dumps(spec))


@cache
def made():
    """Return the cell for "SPEC"; making it takes a second or two of work, so it is made once."""
    return cell("SPEC", embed=True)


@cache
def alone():
    """Return the words before a command that take the network away, where that is allowed."""
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return []


@pytest.fixture
def notebook(here):
    """A function that runs a cell in a bare interpreter, in a folder where `datastage` is an empty folder."""
    (here / "datastage").mkdir()
    (here / "iris.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")

    def run(text, before=""):
        (here / "cell.py").write_text(before + text, encoding="utf-8")
        return subprocess.run(
            [*alone(), sys.executable, "-I", "-S", "-c", RUN, "cell.py"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def path_of(done):
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def test_a_cell_that_carries_the_tool_runs_as_printed(notebook):
    done = notebook(carrying("./iris.csv"))

    assert path_of(done).read_text() == "5.1,3.5,1.4,0.2,setosa\n"


@pytest.mark.parametrize("options", [{}, {"ranges": False}, {"cut_every": 300_000}, {"chunked": True}])
def test_a_cell_that_carries_the_tool_fetches_with_the_internet_on(here, server, options):
    body = os.urandom(1_000_000)
    url = server.serve("data.bin", body, **options)
    (here / "cell.py").write_text(carrying(url), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, "cell.py"], cwd=here, capture_output=True, text=True, timeout=120
    )

    assert path_of(done).read_bytes() == body


def test_a_cell_that_carries_the_tool_runs_after_an_empty_folder_was_imported(notebook):
    done = notebook(carrying("./iris.csv"), before="import datastage\n")

    assert path_of(done).is_file()


def test_a_cell_that_carries_the_tool_can_be_run_twice(notebook):
    text = carrying("./iris.csv")

    done = notebook(f"{text}\n{text}\nassert sys.path.count(str(tool)) == 1 and str(tool) == sys.path[0]\n")

    assert path_of(done).is_file()


def test_a_cell_that_carries_the_tool_stays_small():
    text = carrying("cifar10")

    assert len(text) < 200_000
    assert max(map(len, text.splitlines())) <= 1000


def test_a_notebook_runs_the_cell_as_it_is_written():
    # IPython rewrites lines that look like magics: none of the core's may.
    transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell
    text = carrying("cifar10")

    assert transform(text) == f"{text}\n"


def test_the_carried_core_is_the_same_each_time():
    assert carried_core() == carried_core()


def test_the_carried_core_holds_every_module_but_the_command():
    names = set(carried_modules())

    wanted = {f"datastage/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    assert names == wanted - {"datastage/cli.py", "datastage/__main__.py"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_compact_module_defines_what_the_module_does(path):
    source = path.read_text(encoding="utf-8")

    short = compact(source)

    def defined(text):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):  # what only tells types apart goes
                node.body = [each for each in node.body if "overload" not in ast.dump(each).partition("decorator")[2]]
            if isinstance(getattr(node, "body", None), list):
                node.body = [each for each in node.body if not isinstance(each, ast.Assert)]
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.arg | ast.Call | ast.Return | ast.Raise
        return [
            type(node).__name__ + re.sub("^_[^_].*", "_", getattr(node, "name", ""))
            for node in ast.walk(tree)
            if isinstance(node, kinds)
        ]

    assert sorted(defined(short)) == sorted(defined(source))
    assert len(short) <= len(source)


def test_what_people_and_checkers_read_is_taken_out():
    source = (
        '"""Doc."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\n'
        "@dataclass\nclass A:\n    'Doc.'\n    n: int = 0\n\n"
        "    def f(self, a: int = 1, *b: str, c: bool, **d: x.Y) -> int:\n"
        "        'Doc.'\n        two: int = 2  # why\n        return two\n"
    )

    assert compact(source) == ("@dataclass\nclass A:\n\tn:int=0\n\tdef f(self,a=1,*b,c,**d):\n\t\te=2\n\t\treturn e")


def test_what_only_a_module_itself_can_see_gets_a_short_name():
    source = (
        "_LIMIT = 3\n_WORDS = 'look up _named here'\n_seen = None\n"
        "def _grown(n, _few=1):\n    return n + _LIMIT + _few\n"
        "class _Kept:\n    pass\n"
        "def _named():\n    return 5\n"
        "def told():\n    global _seen\n    _seen = _grown(1)\n    return _seen, _Kept(), globals()['_named'](), _few\n"
        "_few = 7\n"
    )

    short = compact(source, ["_Kept"])

    told = {}
    exec(short, told)
    assert told["told"]()[0] == 5
    assert "_LIMIT" not in short
    assert "_grown" not in short
    assert {"_Kept", "_named", "_few"} <= set(told)


def test_what_lies_between_quotes_keeps_its_blanks():
    source = """def f(a):
    return ["a = b", 'it is "x" - y', f"{a} + {a + 1:>3} = '", "\\n\\n", a - -1, a if a else -1]
"""
    told = {}
    exec(source, told)
    right = told["f"](2)

    exec(compact(source), told)

    assert told["f"](2) == right


def test_what_was_imported_for_annotations_alone_is_taken_out():
    source = (
        "from __future__ import annotations\nfrom collections.abc import Callable\nfrom typing import Any, cast\n"
        "import os\nfrom datastage.reader import Reader, FileReader\nfrom datastage.spec import Spec\n"
        "__all__ = ['Spec']\ndef f(a: Callable[[], Any], b: Reader):\n    return cast('int', FileReader(a))\n"
    )

    assert compact(source) == (
        "from typing import cast\nimport os\nfrom datastage.reader import FileReader\nfrom datastage.spec import Spec\n"
        "__all__=['Spec']\ndef f(a,b):\n\treturn cast('int',FileReader(a))"
    )


def test_only_what_a_function_alone_can_see_gets_a_short_name():
    source = (
        "import os\nsize = 1\n"
        "def f(path, *, many=2):\n"
        "    total = [g(each=each) for each in path]\n"
        "    size = os\n"
        "    def inner(x=total):\n"
        "        nonlocal_one = total\n"
        "        return nonlocal_one\n"
        "    try:\n        return total, size, many, inner\n"
        "    except OSError as error:\n        return error\n"
    )

    assert compact(source) == (
        "import os\nsize=1\n"
        "def f(path,*,many=2):\n"
        "\ta=[g(each=c) for c in path]\n"
        "\tsize=os\n"
        "\tdef inner(x=a):\n"
        "\t\tb=a\n"
        "\t\treturn b\n"
        "\ttry:\n\t\treturn (a,size,many,inner)\n"
        "\texcept OSError as error:\n\t\treturn error"
    )


LOAD = """
import hashlib
loaders = datastage.loaders(path, batch_size=16, seed=3, device="cpu", progress=False)
digest = hashlib.md5()
for x, y in [*loaders.train, *loaders.test]:
    digest.update(x.numpy().tobytes() + y.numpy().tobytes())
path = digest.hexdigest()
"""


def test_a_cell_that_carries_the_tool_stages_and_feeds_as_the_package_does(here):
    pytest.importorskip("torch")
    shutil.copy(Path(__file__).resolve().parents[2] / "examples/course/datasets/shapes.zip", here)
    (here / "carried.py").write_text(carrying("./shapes.zip") + LOAD)
    (here / "installed.py").write_text('import datastage; path = datastage.stage("./shapes.zip")' + LOAD)

    def run(name, env):
        words = [sys.executable, "-c", RUN, name]
        done = subprocess.run(words, cwd=here, capture_output=True, text=True, timeout=120, env={**os.environ, **env})
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert run("carried.py", {"PYTHONPATH": ""}) == run("installed.py", {"PYTHONPATH": str(PACKAGE.parent)})


def test_what_a_cell_does_not_carry_says_what_to_do(notebook):
    ask = "from datastage.archives import external_tools as t\n"
    ask += "try: t.contents()\nexcept datastage.DatastageError as e: path = e"

    done = notebook(f"{carrying('./iris.csv')}\n{ask}")

    assert done.stdout.splitlines()[-1].strip() == "Next: install the wheel.", done.stderr


# --- a wheel among the inputs


def put_wheel(inputs, layout):
    """Lay the wheel out under `inputs` as Kaggle may: as the file, or unpacked in one of its ways."""
    folder = inputs / layout.split(":")[0]
    folder.mkdir(parents=True)
    how = layout.split(":")[1]
    unpacked = folder / WHEEL if how == "folder" else folder
    if how == "file":
        with zipfile.ZipFile(folder / f"{WHEEL}.whl", "w") as wheel:
            for path in sorted(PACKAGE.rglob("*.py")):
                wheel.write(path, f"datastage/{path.relative_to(PACKAGE)}")
            wheel.writestr(
                f"datastage_notebook-{datastage.__version__}.dist-info/METADATA", "Name: datastage-notebook\n"
            )
        return
    shutil.copytree(PACKAGE, unpacked / "datastage", ignore=shutil.ignore_patterns("__pycache__"))
    (unpacked / f"datastage_notebook-{datastage.__version__}.dist-info").mkdir()


LAYOUTS = [f"{place}:{how}" for place in ("wheels", "datasets/me/wheels") for how in ("file", "folder", "root")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wheel", [None, "https://host.invalid/datastage.whl"], ids=["inputs alone", "or an address"])
def test_a_wheel_among_the_inputs_is_found_in_every_layout(notebook, tmp_path, layout, wheel):
    put_wheel(tmp_path / "input", layout)

    done = notebook(cell("./iris.csv", wheel=wheel).replace("/kaggle/input", str(tmp_path / "input")))

    assert path_of(done).is_file()


def test_a_cell_can_be_made_from_inside_a_wheel(notebook, tmp_path):
    put_wheel(tmp_path / "input", "wheels:file")
    text = cell("./iris.csv").replace("/kaggle/input", str(tmp_path / "input"))
    made = (
        "\nfrom datastage.show.cell import carried_core; import hashlib; path = hashlib.md5(carried_core()).hexdigest()"
    )

    done = notebook(text + made)

    assert done.stdout.splitlines()[-1] == hashlib.md5(carried_core()).hexdigest(), done.stderr


def test_a_wheel_is_found_after_an_empty_folder_was_imported(notebook, tmp_path):
    put_wheel(tmp_path / "input", "wheels:file")
    text = cell("./iris.csv").replace("/kaggle/input", str(tmp_path / "input"))

    assert path_of(notebook(text, before="import datastage\n")).is_file()


@pytest.mark.parametrize("wheel", [None, "https://host.invalid/datastage.whl"], ids=["inputs alone", "or an address"])
def test_without_a_wheel_the_last_line_says_where_to_click(notebook, wheel):
    done = notebook(cell("./iris.csv", wheel=wheel))

    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: datastage ")
    assert "Input > Upload: the .whl file" in last
    assert len(done.stderr.splitlines()) < 20


# --- what is refused, and what is quoted


def test_an_address_has_no_use_in_a_cell_that_carries_the_tool():
    with pytest.raises(SpecError):
        cell("cifar10", wheel="https://host.example/x.whl", embed=True)


def test_no_cell_installs_by_name():
    for text in (cell("cifar10"), cell("cifar10", wheel="https://host.example/x.whl")):
        assert "install datastage" not in text


@pytest.mark.parametrize("spec", ["drive:Meine Übung/daten.zip", 'drive:a"b\\c.zip', "drive:\u202e.zip"])
def test_a_spec_is_quoted_so_that_it_reads_back(spec):
    last = cell(spec).splitlines()[-1]

    call = ast.parse(last).body[-1].value
    assert call.args[0].value == spec
    assert last.isprintable()


# --- the pyz


@pytest.fixture(scope="session")
def pyz(tmp_path_factory):
    target = tmp_path_factory.mktemp("pyz") / "datastage.pyz"
    subprocess.run([sys.executable, TOOLS / "make_pyz.py", target], check=True, capture_output=True)
    return target


def run_pyz(pyz, cwd, *words):
    return subprocess.run(
        [*alone(), sys.executable, "-I", "-S", pyz, *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_the_pyz_prints_the_path_alone(pyz, here):
    (here / "datastage").mkdir()
    (here / "iris.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")

    done = run_pyz(pyz, here, "stage", "./iris.csv", "--quiet")

    assert done.stderr == ""
    assert Path(done.stdout.strip()).read_text() == "5.1,3.5,1.4,0.2,setosa\n"


def test_the_pyz_keeps_the_exit_codes(pyz, here):
    assert run_pyz(pyz, here, "stage", "no-such-name").returncode == 2
    assert run_pyz(pyz, here, "stage", "cifar10").returncode == 3


def test_the_pyz_unpacks_a_zip_with_nothing_installed(pyz, here):
    with zipfile.ZipFile(here / "photos.zip", "w") as archive:
        archive.writestr("cat/1.png", b"1" * 1000)

    done = run_pyz(pyz, here, "stage", "./photos.zip", "--json")

    staged = json.loads(done.stdout)[0]
    assert os.listdir(Path(staged["path"]) / "cat") == ["1.png"]


def test_the_pyz_prints_a_cell_that_carries_the_tool(pyz, here, notebook):
    done = run_pyz(pyz, here, "cell", "./iris.csv", "--embed")

    assert path_of(notebook(done.stdout)).is_file()


def test_the_same_sources_make_the_same_pyz(pyz, tmp_path):
    subprocess.run([sys.executable, TOOLS / "make_pyz.py", tmp_path / "again.pyz"], check=True, capture_output=True)

    assert (tmp_path / "again.pyz").read_bytes() == pyz.read_bytes()


def test_a_field_keeps_an_annotation_and_its_default():
    assert compact("class A:\n    size: Mapping[str, int] | None = None\n") == "class A:\n\tsize:int=None"
