"""Setup cells: run as printed, with nothing installed and no network, and a folder called datastage in the way."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

import datastage
from datastage import datasets, sources
from datastage.errors import SpecError
from datastage.show.carried_text import for_machines
from datastage.show.cell import _prepared, carried_core, carried_modules, cell, needed_modules
from tests.datasets.test_miniatures import staged_as as staged_as
from tests.servers import server as server

PACKAGE = Path(datastage.__file__).parent
TOOLS = Path(__file__).resolve().parents[2] / "tools"
WHEEL = f"datastage_notebook-{datastage.__version__}-py3-none-any"
# A notebook's working directory comes first in its path; -I -S leaves nothing else of ours or of site-packages.
RUN = "import sys; sys.path.insert(0, ''); exec(open(sys.argv[1], encoding='utf-8').read()); print(path)"


def carrying(spec):
    """Return the cell that carries the tool."""
    like = "http://host.example/SPEC" if spec.startswith("http") else "./SPEC"
    return made(like).replace(json.dumps(like), json.dumps(spec))


@cache
def made(spec):
    """Return the cell for a spec; making it takes a second or two of work, so it is made once."""
    return cell(spec, embed=True)


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


def test_a_cell_for_several_files_of_this_machine_runs_without_what_is_for_addresses(notebook, here):
    (here / "a.csv").write_text("1,2\n")
    (here / "b.csv").write_text("3,4\n")
    spec = "./{a,b}.csv"

    done = notebook(cell(spec, embed=True))

    assert {path.name for path in path_of(done).iterdir()} >= {"a.csv", "b.csv"}
    assert not {"sources/http", "sources/http_answers", "sources/http_connection"} & modules_for(spec)


def test_a_cell_that_carries_the_tool_runs_after_an_empty_folder_was_imported(notebook):
    done = notebook(carrying("./iris.csv"), before="import datastage\n")

    assert path_of(done).is_file()


def test_a_cell_that_carries_the_tool_can_be_run_twice(notebook):
    text = carrying("./iris.csv")

    done = notebook(f"{text}\n{text}\nassert sys.path.count(str(tool)) == 1 and str(tool) == sys.path[0]\n")

    assert path_of(done).is_file()


# Of each kind of place the largest, and entries of each family: pictures with lists of labels are the most.
SPECS = ["cifar10", "./{a,b}.zip", "dogs_vs_cats_redux", "s3://b/{a,b}.zip",
         "drive:x.zip", "https://host.example/data", "kaggle:me/x", "github:me/x", "doi:10.5281/zenodo.1",
         "s3://b/x.zip", "celeba", "eurosat", "flowers102", "titanic", "ag_news", "chestmnist", "gtzan", "coco_val2017",
         "penn_fudan", "movielens_1m"]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_a_cell_that_carries_the_tool_stays_small(spec):
    text = made(spec)

    assert len(text.encode()) < 200 * 1024
    assert max(map(len, text.splitlines())) <= 1000


def test_a_notebook_runs_the_cell_as_it_is_written():
    # IPython rewrites lines that look like magics: none of the core's may.
    transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell
    text = made("cifar10")

    assert transform(text) == f"{text}\n"


def test_the_carried_core_is_the_same_each_time():
    assert carried_core() == carried_core()


def modules_for(*specs, **options):
    carried = carried_modules(needed_modules(specs, options))
    return {name[10:-3] for name, text in carried.items() if not text.startswith("from datastage.absent import")}


def test_a_cell_carries_the_places_and_entries_that_its_spec_needs():
    own = modules_for("./iris.csv")
    assert {"sources/path", "sources/drive", "staging", "batches/loader", "layouts/folders", "batches/photos"} <= own
    assert not {"cli", "show/cell", "sources/drive_link", "sources/http_session", "datasets/photos"} & own
    assert {"sources/http_session", "sources/manual"} <= modules_for("https://host.example/x.zip")

    assert "datasets/mnist" in modules_for("mnist")
    assert "layouts/folders" not in modules_for("mnist")
    assert {"datasets/photos"} == {name for name in modules_for("food101") - own if name.startswith("datasets/")}
    assert "sources/drive_link" in modules_for("https://drive.google.com/file/d/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW/view")


def write_carried(folder, specs):
    """Write what the cell of each spec carries into a folder with its number."""
    for n, spec in enumerate(specs):
        for name, text in carried_modules(needed_modules([spec])).items():
            (folder / str(n) / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / str(n) / name).write_text(text, encoding="utf-8")


def test_what_a_cell_carries_imports(tmp_path):
    specs = ["cifar10", "food101", "iris", "kaggle:me/x", "drive:x.zip", "github:me/x"]
    write_carried(tmp_path, specs)
    # In one process, where numpy and torch are imported once.
    check = (
        "import sys, pkgutil, importlib\n"
        "for n, spec in enumerate(sys.argv[2:]):\n"
        "    sys.path[0] = f'{sys.argv[1]}/{n}'\n"
        "    for name in [name for name in sys.modules if name.startswith('datastage')]: del sys.modules[name]\n"
        "    import datastage\n"
        "    assert datastage.__file__.startswith(sys.path[0]), datastage.__file__\n"
        "    for m in pkgutil.walk_packages(datastage.__path__, 'datastage.'):\n"
        "        if not m.name.endswith('.helper'): importlib.import_module(m.name)\n"
        "    from datastage.sources import parse; print(parse(spec))"
    )
    words = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '')\n{check}", tmp_path, *specs]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/")

    assert done.stdout.split("\n") == [*specs, ""], done.stderr


# Pages that lead to a place of another kind, and plain files on a server that has such pages.
PASTED = [
    "https://drive.google.com/file/d/1AbCdEfGhIjKlMnOpQrStUvWxYz012345/view",
    "https://drive.google.com/drive/folders/1AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "https://www.kaggle.com/datasets/o/n", "https://github.com/o/r/tree/main/data", "https://huggingface.co/datasets/o/n",
    "https://zenodo.org/records/1", "https://www.dropbox.com/s/abc/a.zip?dl=0", "https://console.aws.amazon.com/s3/buckets/b",
    "https://github.com/o/r/releases/download/v1/a.zip", "https://codeload.github.com/o/r/zip/main",
    "https://dataverse.harvard.edu/x.zip", "https://archive.ics.uci.edu/static/public/2/adult.zip",
    "https://cdn-lfs.hf.co/a.zip", "https://www.kaggle.com/api/v1/datasets/download/o/n",
]  # fmt: skip


def test_an_address_is_told_in_its_cell_as_the_package_tells_it(tmp_path):
    write_carried(tmp_path, PASTED)
    script = (
        "import sys\n"
        "for n, spec in enumerate(sys.argv[2:]):\n"
        "    sys.path[0] = f'{sys.argv[1]}/{n}'\n"
        "    for name in [name for name in sys.modules if name.startswith('datastage')]: del sys.modules[name]\n"
        "    from datastage.sources import parse; print(parse(spec).scheme)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '')\n{script}", tmp_path, *PASTED],
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.stdout.split() == [sources.parse(spec).scheme for spec in PASTED], done.stderr


@pytest.mark.parametrize("spec", ["cifar10", "adult", PASTED[5], PASTED[8], "./x.zip", "drive:x.zip", "s3://b/x.zip"])
def test_what_a_cell_says_of_data_that_is_not_there_is_what_the_package_says(notebook, here, spec):
    with pytest.raises(datastage.DatastageError) as caught:
        datastage.stage(spec, progress=False)
    ask = f"try: datastage.stage({spec!r}, progress=False)\nexcept datastage.DatastageError as error: path = str(error)"

    done = notebook(made(spec).replace("; path =", "\nif 0: path =") + f"\n{ask}")

    assert done.stdout.strip() == str(caught.value).strip(), done.stderr


def test_a_place_that_a_cell_does_not_carry_is_named(notebook):
    ask = "try: datastage.stage('github:o/r')\nexcept datastage.DatastageError as error: path = error"

    done = notebook(f"{carrying('./iris.csv')}\n{ask}")

    assert done.stdout.splitlines()[-1].strip() == "Next: make the cell for this place, or install the wheel."


def test_a_cell_carries_of_a_family_its_own_entry_alone_with_all_that_this_one_uses():
    for entry in (entry for entry in datasets.ENTRIES if isinstance(entry, datasets.ArchiveEntry)):
        (family,) = datasets.modules_of(entry)
        code = compile(_prepared(f"datasets/{family}", frozenset([entry.name]))[0], family, "exec")
        held = {"__name__": family}
        exec(code, held)
        assert entry.name in {one.name for one in held["ENTRIES"]}
        assert len(held["ENTRIES"]) <= 19  # medmnist's are made by one line
        functions = [each for each in held.values() if getattr(each, "__module__", "") == family]
        named = {
            each for one in functions for each in one.__code__.co_names if each.startswith("_") and each[1:2] != "_"
        }
        assert not [
            each for each in named if each not in held and hasattr(sys.modules[f"datastage.datasets.{family}"], each)
        ]


# Lists, arrays, folders, a table; and what is staged whole.
NAMES = ["dtd", "kmnist", "chestmnist", "food101", "titanic", "gtzan", "voc2012", "movielens_1m"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("here")
def test_what_a_cell_carries_reads_its_entry_as_the_package_does(name, staged_as, tmp_path):
    carried = carried_modules(needed_modules([name]))
    staged_as(name)
    staged = datastage.stage(name, progress=False)
    for path, text in carried.items():
        (tmp_path / "tool" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tool" / path).write_text(text, encoding="utf-8")
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]); import datastage, json\n"
        "try: read = datastage.read(sys.argv[2])\n"
        "except datastage.SpecError as error: print(json.dumps(str(error))); sys.exit()\n"
        "print(json.dumps(read.as_dict(), default=str))\n"
        "print([int(one.sum()) for one in read.arrays('train')] if read.kind == 'arrays' else 0)\n"
        "if read.kind != 'pictures': next(iter(datastage.loaders(sys.argv[2], 4, device='cpu', progress=False).train))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", ask, tmp_path / "tool", staged], capture_output=True, text=True, cwd=tmp_path
    )
    try:
        here = datastage.read(staged.path)
    except SpecError as error:
        assert json.loads(done.stdout) == str(error), done.stderr
        return
    assert done.returncode == 0, done.stderr
    said, sums = done.stdout.splitlines()
    assert json.loads(said) == json.loads(json.dumps(here.as_dict(), default=str))
    assert json.loads(sums) == ([int(one.sum()) for one in here.arrays("train")] if here.kind == "arrays" else 0)


def test_short_names_change_nothing_of_what_the_code_does():
    source = (
        "base = 3\n"
        "def f(values, *, factor=2):\n"
        "    total, seen = 0, []\n"
        "    def add(value):\n        nonlocal total\n        inner = value * factor\n        total += inner + base\n"
        "    for value in values:\n        add(value)\n        seen.append(f'{value}:{total}')\n"
        "    try:\n        found = [one for one in seen if (size := len(one)) > 2]\n        found[99]\n"
        "    except IndexError as error:\n        reason = str(error)\n"
        "    with open(__file__) as handle, handle:\n        pass\n"
        "    return total, found, size, reason, sorted(seen, key=lambda word: word[::-1]), handle.closed\n"
        "class C:\n    field = 1\n"
        "    def method(self):\n        number = self.field\n        return dict(number=number)\n"
    )
    short = for_machines(ast.parse(source))
    results = []
    for text in (source, short):
        held = {"__file__": __file__}
        exec(text, held)
        results.append((held["f"]([1, 2, 30]), held["f"]([4], factor=5), held["C"]().method()))
    assert results[0] == results[1]
    assert "seen" not in short
    assert "reason" not in short
    assert "number=" in short


def test_what_people_and_checkers_read_is_taken_out_and_nothing_else():
    source = (
        '"""Doc."""\nclass A:\n    "Doc."\n    n: int = 0\n\n    def f(self, a: int = 1) -> int:\n        "Doc."\n'
        '        b: int = a  # why\n        return b, """\n    x"""\n'
    )
    short = for_machines(ast.parse(source))

    assert short == "class A:\n n: 0 = 0\n\n def f(self, a=1):\n  b = a\n  return (b, '\\n    x')"
    assert for_machines(ast.parse("def f():\n    'Doc.'\n")) == "def f():\n pass"
    named = "from __future__ import annotations\nfrom datastage.reader import Reader, is_unchanged\n"
    named += "def f(a: Reader):\n    return is_unchanged(a)\n"
    taken = "from datastage.reader import is_unchanged\n\ndef f(a):\n return is_unchanged(a)"
    assert for_machines(ast.parse(named)) == taken
    assert "Reader" in for_machines(ast.parse(named), gives_on=True)


def test_what_a_module_keeps_to_itself_has_a_short_name_in_a_cell_and_no_other_has():
    source = (
        "from x import _theirs\n_LIMIT = 3\nclass _Held:\n    def _own(self):\n        return _theirs\n"
        "def _own(_arg):\n    global _LIMIT\n    _LIMIT = _Held\n"
        "def _arg():\n    return (_own(_arg=1), _Held()._own())\n"
    )

    short = for_machines(ast.parse(source))

    assert short == (
        "from x import _theirs\n_a = 3\n\nclass _b:\n\n def _own(self):\n  return _theirs\n\n"
        "def _own(_arg):\n global _a\n _a = _b\n\ndef _arg():\n return (_own(_arg=1), _b()._own())"
    )


def test_what_a_cell_does_not_carry_says_what_to_do(notebook):
    ask = "try: datastage.doctor()\nexcept datastage.DatastageError as error: path = error"

    done = notebook(f"{carrying('./iris.csv')}\n{ask}")

    assert done.stdout.splitlines()[-1].strip() == "Next: install the wheel.", done.stderr


LOAD = """
import hashlib
loaders = datastage.loaders(path, batch_size=16, seed=3, device="cpu", progress=False)
digest = hashlib.md5()
for x, y in [*loaders.train, *loaders.test]:
    digest.update(x.numpy().tobytes() + y.numpy().tobytes())
path = digest.hexdigest()
"""


@pytest.mark.parametrize("spec", ["./shapes.zip", "drive:shapes.zip", "iris"])
def test_a_cell_that_carries_the_tool_stages_and_feeds_as_the_package_does(here, spec, monkeypatch, warm):
    pytest.importorskip("sklearn")  # iris lies in it
    (here / "My Drive").mkdir()
    for folder in (here, here / "My Drive"):
        shutil.copy(Path(__file__).resolve().parents[2] / "examples/course/datasets/shapes.zip", folder)
    (here / "carried.py").write_text(made(spec) + LOAD)
    monkeypatch.setenv("DATASTAGE_DRIVE", str(here))
    done = warm.start(RUN, "carried.py", prints=here / "prints", env={**os.environ, "PYTHONPATH": ""})
    assert done.wait(120) == 0, done.err.read_text("utf-8")
    installed = {}
    exec(f"import datastage; path = datastage.stage({spec!r}, progress=False){LOAD}", installed)

    assert done.out.read_text("utf-8").splitlines()[-1] == installed["path"]


def test_a_carried_cell_says_of_shards_that_the_wheel_is_needed(here, warm):
    (here / "set.tar").write_bytes(b"")
    ask = "\ntry: datastage.loaders('./set.tar', batch_size=4)\nexcept ImportError as error: path = error"
    (here / "carried.py").write_text(made("./shapes.zip").rpartition("; ")[0] + ask)
    done = warm.start(RUN, "carried.py", prints=here / "prints", env={**os.environ, "PYTHONPATH": ""})
    assert done.wait(120) == 0, done.err.read_text("utf-8")
    said = done.out.read_text("utf-8").splitlines()
    assert said == ["listing is not in the tool that a cell carries.", "  Next: install the wheel."]


# --- a wheel among the inputs


def put_wheel(inputs, layout, package=PACKAGE):
    """Lay the wheel out under `inputs` as Kaggle may: as the file, or unpacked in one of its ways."""
    folder = inputs / layout.split(":")[0]
    folder.mkdir(parents=True)
    how = layout.split(":")[1]
    unpacked = folder / WHEEL if how == "folder" else folder
    if how == "file":
        with zipfile.ZipFile(folder / f"{WHEEL}.whl", "w") as wheel:
            for path in sorted(package.rglob("*.*")):
                if "__pycache__" not in path.parts:
                    wheel.write(path, f"datastage/{path.relative_to(package)}")
            wheel.writestr(
                f"datastage_notebook-{datastage.__version__}.dist-info/METADATA", "Name: datastage-notebook\n"
            )
        return
    shutil.copytree(package, unpacked / "datastage", ignore=shutil.ignore_patterns("__pycache__"))
    (unpacked / f"datastage_notebook-{datastage.__version__}.dist-info").mkdir()


LAYOUTS = [f"{place}:{how}" for place in ("wheels", "datasets/me/wheels") for how in ("file", "folder", "root")]


@pytest.mark.parametrize("layout", ["wheels:file", "datasets/me/wheels:folder"])
def test_a_wheel_among_the_inputs_goes_before_an_address(notebook, tmp_path, layout):
    put_wheel(tmp_path / "input", layout)

    text = cell("./iris.csv", wheel="https://host.invalid/datastage.whl")
    done = notebook(text.replace("/kaggle/input", str(tmp_path / "input")))

    assert path_of(done).is_file()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", ["another line", "a file more", "a file less"])
def test_a_wheel_with_other_code_is_not_imported(notebook, tmp_path, layout, change):
    package = tmp_path / "datastage"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    if change == "another line":
        with open(package / "__init__.py", "a") as module:
            module.write("print('the code of the input runs')\n")
    elif change == "a file more":
        (package / "more.py").write_text("")
    else:
        (package / "py.typed").unlink()
    put_wheel(tmp_path / "input", layout, package)

    done = notebook(cell("./iris.csv").replace("/kaggle/input", str(tmp_path / "input")))

    assert "datastage is not here yet" in done.stderr
    assert "the code of the input runs" not in done.stdout + done.stderr


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wheel_among_the_inputs_is_found_in_every_layout_and_nothing_else_is_imported(notebook, tmp_path, layout):
    put_wheel(tmp_path / "input", layout)
    for folder in [tmp_path / "input", *(path for path in (tmp_path / "input").rglob("*") if path.is_dir())]:
        if "datastage" not in folder.relative_to(tmp_path).parts:
            (folder / "torch.py").write_text("print('the code of the input runs')\n")
    (tmp_path / "input" / "d").mkdir()
    (tmp_path / "input" / "d" / "datastage_notebook-0.txt").write_text("")
    (tmp_path / "input" / "d" / "isal.py").write_text("print('the code of the input runs')\n")
    text = cell("./iris.csv").replace("/kaggle/input", str(tmp_path / "input"))

    done = notebook(
        f"{text}\nfor name in ('torch', 'isal'):\n    try: __import__(name)\n    except ImportError: pass\n"
    )

    assert path_of(done).is_file()
    assert "the code of the input runs" not in done.stdout
    assert str(tmp_path / "input") not in "".join(notebook(f"{text}\npath = sys.path").stdout)


def test_a_cell_made_from_inside_a_wheel_is_the_same(notebook, tmp_path):
    put_wheel(tmp_path / "input", "wheels:file")
    wheel = next((tmp_path / "input").rglob("*.whl"))
    made = f"sys.path.insert(0, {str(wheel)!r}); from datastage.show.cell import cell; path = repr(cell('x.csv'))"

    done = notebook(made)

    assert ast.literal_eval(done.stdout.splitlines()[-1]) == cell("x.csv"), done.stderr


def test_a_wheel_is_found_after_an_empty_folder_was_imported(notebook, tmp_path):
    put_wheel(tmp_path / "input", "wheels:file")
    text = cell("./iris.csv").replace("/kaggle/input", str(tmp_path / "input"))

    assert path_of(notebook(text, before="import datastage\n")).is_file()


@pytest.mark.parametrize("where", ["Kaggle", "elsewhere"])
def test_without_a_wheel_the_next_step_fits_the_place(notebook, where):
    text = cell("./iris.csv").replace('isdir("/kaggle")', f'isdir("{"/" if where == "Kaggle" else "/nowhere"}")')

    said = notebook(text).stderr.partition("Stop: ")[2]

    assert said.startswith("datastage is not here yet.")
    assert ("Input > Upload" in said) == (where == "Kaggle")
    assert "run this cell again." in said.splitlines()[-1]


def test_an_address_that_cannot_be_installed_is_told_with_the_words_of_pip(notebook):
    text = cell("./iris.csv", wheel="https://host.invalid/datastage.whl").replace(
        'isdir("/kaggle")', 'isdir("/nowhere")'
    )

    said = notebook(text).stderr.partition("Stop: ")[2]

    assert "pip could not install it: " in said
    assert said.splitlines()[-1] == "https://host.invalid/datastage.whl"


def test_a_notebook_shows_the_words_of_a_cell_alone(notebook):
    caught = f"try: exec({cell('./iris.csv')!r})\nexcept RuntimeError as error: path = error._render_traceback_()\n"

    assert "datastage is not here yet" in notebook(caught).stdout


# --- what is refused, and what is quoted


def test_an_address_has_no_use_in_a_cell_that_carries_the_tool():
    with pytest.raises(SpecError):
        cell("cifar10", wheel="https://host.example/x.whl", embed=True)


def test_a_cell_takes_paths_and_none_is_the_name_of_a_dataset():
    text = datastage.cell(Path("iris"), fallbacks=[Path("/data/iris.csv")])
    assert text.splitlines()[-1].endswith('datastage.stage("./iris", fallbacks=["/data/iris.csv"])')


@pytest.mark.parametrize("as_entry", [False, True])
def test_a_cell_carries_what_was_registered_under_its_name(notebook, here, monkeypatch, as_entry):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    if as_entry:
        entry = datastage.ArchiveEntry("flowers", "Flowers", ("./iris.csv",), labels="kind", mean=(0.5,), unpack=False)
        datastage.register(entry)
        code = datastage.cell("flowers").splitlines()[-2].partition("datastage.register(")[2][:-1]
        assert eval(code, {"datastage": datastage}) == entry
    else:
        datastage.register("flowers", "./gone.csv", fallbacks=["./iris.csv"], citation="Me, 2026.")
        line = 'datastage.register("flowers", "./gone.csv", fallbacks=["./iris.csv"], citation="Me, 2026.")'
        assert datastage.cell("flowers").splitlines()[-2] == f"import datastage; {line}"
    assert "setosa" in path_of(notebook(datastage.cell("flowers", embed=True))).read_text()


def test_a_cell_of_an_entry_that_holds_python_is_refused(monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    read = lambda path, split: None  # noqa: E731
    for entry in (
        datastage.Entry("mine", "Mine", (datastage.File("a.bin", 1, 32 * "0"),), read=read),
        datastage.ArchiveEntry("yours", "Yours", ("./a.zip",), read=read),
    ):
        datastage.register(entry)
        with pytest.raises(SpecError, match="is Python, which a cell does not carry") as told:
            datastage.cell(entry.name)
        assert told.value.remedy[-1].startswith("Next: register it by its address")


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


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("github:owner/repo/x.csv", "github"),
        ("hf:datasets/owner/name/x.csv", "hub"),
        ("doi:10.5281/zenodo.1", "research_data"),
        ("s3://bucket/x.csv", "buckets"),
        ("https://www.dropbox.com/s/abc/x.csv", "shared_links"),
    ],
)
def test_a_carried_core_has_the_place_that_its_data_comes_from_and_no_other(spec, module):
    names = carried_modules(needed_modules([spec]))
    assert f"datastage/sources/{module}.py" in names
    assert "datastage/sources/web_api.py" in names
    assert f"datastage/sources/{module}.py" not in carried_modules(needed_modules(["cifar10"]))


@pytest.mark.parametrize(
    ("spec", "module"),
    [("./s-{0..3}.tar", "path"), ("https://h.example/s-{0..3}.tar", "http"), ("drive:a/s-{0..3}.tar", "drive")],
)
def test_a_carried_core_has_the_place_of_files_that_are_named_in_braces(spec, module):
    assert {"sources/braces", f"sources/{module}"} <= needed_modules([spec])


@pytest.mark.parametrize(
    ("spec", "options", "modules"),
    [
        ("./a.zip", {"link": "data"}, {"links"}),
        ("./a.zip", {"save_to": "s3://b/kept"}, {"saved_copy", "sources/buckets", "sources/web_api"}),
        ("./a.zip", {"fallbacks": ["hf:o/a.zip"]}, {"sources/hub", "sources/web_api"}),
        ("https://h.example/cifar-10-python.tar.gz", {}, {"datasets/cifar"}),
        *((f"./a.{ending}", {}, {"archives/external_tools"}) for ending in ("7z", "RAR")),
        *((f"./a.{ending}", {}, {"layouts/scientific"}) for ending in ("h5", "hdf5", "mat")),
    ],
)
def test_a_carried_core_has_what_the_options_and_the_name_of_the_file_need(spec, options, modules):
    assert modules <= modules_for(spec, **options)
    assert not modules & modules_for("./a.zip")


def test_a_cell_carries_what_the_places_of_a_dataset_of_ones_own_need(monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    datastage.register("flowers", "./gone.zip", fallbacks=["./flowers.7z"])
    seen = []
    monkeypatch.setattr("datastage.show.cell.carried_core", lambda needed: seen.append(needed) or b"")
    datastage.cell("flowers", embed=True)
    assert "archives/external_tools" in seen[0]
