"""An archive of photos in class folders gets a name, known by the archive's digest alone."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import datasets
from datastage.errors import ChecksumError, SpecError, UnavailableError

Image = pytest.importorskip("PIL.Image")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def catalog_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))


@pytest.fixture
def birds(tmp_path):
    archive = tmp_path / "birds.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, grey in (("wren", 30), ("robin", 200)):
            for i in range(3):
                Image.new("L", (8, 8), grey + i).save(tmp_path / "one.png")
                file.write(tmp_path / "one.png", f"birds/{name}/{i}.png")
    return archive


def digest(path, algorithm):
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_an_archive_of_class_folders_is_staged_and_fed_by_its_name(birds, algorithm):
    datastage.register("birds", birds, expect=digest(birds, algorithm))
    path = datastage.stage("birds", progress=False)
    assert path.path.name == "birds"
    assert sorted(file.name for file in (path.path / "wren").iterdir()) == ["0.png", "1.png", "2.png"]
    (train,) = datastage.loaders("birds", batch_size=6, test=0, shuffle=False, device="cpu", progress=False)
    ((x, y),) = train
    assert (x.shape[0], y.tolist()) == (6, [0, 0, 0, 1, 1, 1])


def test_the_second_place_is_tried_where_the_first_has_nothing(birds, tmp_path):
    datastage.register("birds", tmp_path / "gone.zip", fallbacks=[birds], expect=digest(birds, "md5"))
    assert (datastage.stage("birds", progress=False).path / "robin").is_dir()


def test_other_bytes_than_the_digest_says_are_refused(birds):
    datastage.register("birds", birds, expect="sha256:" + 64 * "0")
    with pytest.raises((ChecksumError, UnavailableError), match="sha256"):
        datastage.stage("birds", progress=False)


def test_what_names_no_place_or_no_digest_is_refused_at_once(birds):
    with pytest.raises(SpecError, match="names no place"):
        datastage.register("birds")
    with pytest.raises(SpecError, match="is not a hash"):
        datastage.register("birds", birds, expect="md5:1")
    with pytest.raises(SpecError, match="taken by"):
        datastage.register("cifar10", birds)


def test_a_dataset_is_added_by_the_words_of_contributing_alone(birds, tmp_path):
    """The page's own file and row are put into a copy of the package; its own line then stages the dataset."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Add a dataset")[2].partition("\n## ")[0]
    file, row, line = re.findall(r"```python\n(.*?)```", page, re.S)
    module = re.search(r"Write `datastage/datasets/(\w+)\.py`", page)[1]
    package = tmp_path / "copy" / "datastage"
    import shutil

    shutil.copytree(ROOT / "datastage", package, ignore=shutil.ignore_patterns("__pycache__"))
    file = re.sub(r'"https://[^"]*"', repr(str(birds)), file)
    file = re.sub(r"sha256:[^\"]*", digest(birds, "sha256"), file)
    (package / "datasets" / f"{module}.py").write_text(file)
    table = package / "datasets" / "__init__.py"
    text = table.read_text("utf-8").replace("    tables.IRIS,\n", f"    tables.IRIS,\n    {row.strip()}\n")
    text = text.replace("import cifar,", f"import {module}, cifar,")
    table.write_text(text)
    code = line.replace("batch_size=64", 'batch_size=2, device="cpu", progress=False') + "print(train.classes)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=package.parent)
    assert "robin" in done.stdout, done.stderr


def test_what_a_catalog_says_of_labels_is_taken_and_what_the_user_says_comes_first(tmp_path):
    (tmp_path / "marks.csv").write_text("first,second,third\n" + "".join(f"{n},{n % 2},{n % 3}\n" for n in range(12)))
    line = f'marks {tmp_path / "marks.csv"} labels="second"\n'
    (tmp_path / "course.txt").write_text(line)
    datasets.load_catalog(tmp_path / "course.txt")

    assert datastage.read("marks", progress=False).rule == 'column "second" of marks.csv'
    assert datastage.read("marks", labels="third", progress=False).rule == 'column "third" of marks.csv'


@pytest.mark.parametrize(
    ("place", "name"),
    [("https://h.example/a/my%20birds.zip?raw=/x", "my birds.zip"), ("drive:a/birds.zip", "birds.zip")],
)
def test_a_file_of_an_entry_is_called_as_its_first_place_calls_it(place, name):
    assert [part.name for part in datastage.ArchiveEntry("birds", "Birds", (place,)).parts] == [name]
