"""What is installed, what importing it costs, and what is public."""

import importlib
import pickle
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import errors

REPOSITORY = Path(__file__).resolve().parent.parent


def modules_after(statement):
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    return set(result.stdout.split())


def test_importing_adds_few_modules_and_none_that_is_heavy():
    look = "import sys; sys.path.insert(0, '.'); before = set(sys.modules); {}; print(*(set(sys.modules) - before))"
    bare = [sys.executable, "-I", "-S", "-c", look.format("import datastage")]
    added = subprocess.run(bare, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout.split()
    assert len(added) <= 40
    assert not set(added) & {"torch", "numpy", "gdown", "tqdm", "requests", "IPython"}


def test_staging_a_local_file_needs_nothing_that_is_heavy(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n")
    loaded = modules_after(
        f"import datastage; datastage.stage({str(tmp_path / 'a.csv')!r}, root={str(tmp_path / 'r')!r}, progress=False)"
    )
    assert not loaded & {"torch", "numpy", "gdown", "tqdm", "requests", "IPython"}


def test_it_runs_where_python_lacks_the_names_that_only_linux_has(tmp_path):
    # Of macOS, as far as names go: the rest is not tested.
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.txt", "meow")
    names = ("EREMOTEIO", "sched_getaffinity", "posix_fadvise", "getxattr", "O_PATH", "CLOCK_BOOTTIME")
    lacks = f"[delattr(m, n) for m in (errno, os, time) for n in {names} if hasattr(m, n)]"
    call = f"datastage.stage({str(tmp_path / 'a.zip')!r}, root={str(tmp_path / 'r')!r}, progress=False)"
    code = f"import errno, os, time\n{lacks}\nimport datastage; print({call})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stderr == ""
    assert (Path(done.stdout.strip()) / "cat/1.txt").read_text() == "meow"


def test_everything_public_can_be_had_and_is_documented():
    without = [
        name for name in datastage.__all__ if name != "__version__" and not (getattr(datastage, name).__doc__ or "")
    ]
    assert without == []


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'no_such_name'"):
        _ = datastage.no_such_name


def test_no_module_of_the_top_folder_bears_the_name_of_a_public_function():
    top = {module.name for module in pkgutil.iter_modules(datastage.__path__)}
    assert top & set(datastage.__all__) == set()


def test_every_module_imports_alone():
    names = [module.name for module in pkgutil.walk_packages(datastage.__path__, "datastage.")]
    assert len(names) > 30
    for name in names:
        if name != "datastage.__main__":
            importlib.import_module(name)


ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.DatastageError)
]  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_all_it_carries(kind):
    error = kind("what happened", "first step", "Next: second step")
    error.extra = ("more",)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.remedy, again.extra, getattr(again, "errno", None)) == (
        kind,
        str(error),
        error.remedy,
        ("more",),
        getattr(error, "errno", None),
    )


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_public(kind):
    assert getattr(datastage, kind.__name__) is kind


def test_errors_are_also_the_built_in_that_people_catch():
    pairs = [
        (errors.SpecError, ValueError),
        (errors.UnavailableError, FileNotFoundError),
        (errors.StorageError, OSError),
        (errors.MissingDependencyError, ImportError),
    ]
    assert all(issubclass(ours, builtin) for ours, builtin in pairs)


def test_in_a_notebook_the_message_stands_alone(monkeypatch):
    monkeypatch.delenv("DATASTAGE_TRACEBACK", raising=False)
    assert errors.SpecError("wrong", "Next: this").__class__("wrong", "Next: this")._render_traceback_() == [
        "wrong",
        "  Next: this",
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        pytest.skip(f"no wheel can be built here: {result.stderr[-300:]}")
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "datastage/py.typed" in names
    assert "datastage/archives/safety.py" in names
    assert {name.split("/")[0] for name in names} == {
        "datastage",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


def test_the_wheel_is_pure_and_bears_the_distributions_name(wheel):
    assert wheel.name.startswith("datastage_notebook-")
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_asks_for_no_torch_and_sets_no_upper_bounds(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    required = [line.split(": ", 1)[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    plain = [line for line in required if "extra ==" not in line]
    assert sorted(line.split(">")[0].strip() for line in plain) == ["gdown", "tqdm"]
    assert not any("<" in line.split(";")[0] for line in required)
