"""Every kind of data, staged: the line that comes next runs as printed, and what it makes gives a batch."""

import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest

import datastage
from datastage.show.following import next_line
from tests import kaggle_inputs
from tests.made_data import images, packed, photos, picture, saved, table_beside, written
from tests.stand_ins.runtimes import Colab, Kaggle
from tests.stand_ins.shards import labelled, tar_of

np = pytest.importorskip("numpy")
pytest.importorskip("PIL.Image")
pytest.importorskip("torch")
KERNEL = SimpleNamespace(kernel=object())


def idx(folder):
    for name, data in kaggle_inputs.small_mnist("raw").items():
        written(folder / name, data)
    return folder


def cifar_batches(folder):
    for name, data in kaggle_inputs.small_cifar(4).items():
        written(folder / name, data)
    return folder


def numbers(n=20, label="label"):
    return f"a,b,{label}\n" + "".join(f"{i},{i * 0.5},{i % 2}\n" for i in range(n))


WORDS = "age,sex,survived\n" + "".join(f"{20 + i},{'mf'[i % 2]},{i % 2}\n" for i in range(20))


def with_unlabelled(folder):
    photos(folder / "train", "a", "b")
    for i in range(3):
        picture(folder / "test1" / f"{i}.png", seed=i)
    return folder


def boxes(folder):
    picture(folder / "images/1.png")
    facts = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [], "categories": []}
    written(folder / "annotations/instances_train.json", json.dumps(facts))
    return folder


def sounds(folder):
    for kind in ("yes", "no"):
        for i in range(3):
            written(folder / kind / f"{i}.wav", b"RIFF\x24\0\0\0WAVEfmt " + bytes(30))
    return folder


FED = {
    "photos of one size": lambda f: packed(photos(f / "in", "cat", "dog"), "photos.zip"),
    "photos of mixed sizes": lambda f: packed(photos(f / "in", "cat", "dog", mixed=True, side=90), "photos.zip"),
    "photos in a tar": lambda f: packed(photos(f / "in/deep", "cat", "dog"), "photos.tar.gz"),
    "photos with parts": lambda f: photos(photos(f / "p/train", "a", "b").parent / "test", "a", "b").parent,
    "photos with three parts": lambda f: [photos(f / "p" / x, "a", "b") for x in ("train", "valid", "test")][0].parent,
    "photos, and some without labels": lambda f: packed(with_unlabelled(f / "in"), "x.zip"),
    "photos of many classes": lambda f: photos(f / "many", *(f"class {i}" for i in range(120)), n=2, side=2),
    "two photos of each class": lambda f: photos(f / "few", "a", "b", n=2),
    "photos and a tar that is no shard": lambda f: written(
        photos(f / "in", "cat", "dog") / "more.tar", b"\x1f\x8b" + bytes(600)
    ).parent,
    "a folder whose name needs quotes": lambda f: photos(f / 'my "best" été $HOME', "a", "b"),
    "labels in a table": lambda f: table_beside(f / "t", "kind", row=lambda i: "ab"[i % 2]),
    "numbers in a table": lambda f: table_beside(f / "t", "target", row=lambda i: i / 7),
    "labels in file names": lambda f: photos(f / "n", "") and [
        picture(f / "names" / f"{kind}.{i}.png", seed=i) for kind in ("cat", "dog") for i in range(6)
    ] and f / "names",
    "an npz with parts": lambda f: saved(
        f / "a.npz", x_train=images(20), y_train=np.arange(20) % 3, x_test=images(6), y_test=np.arange(6) % 3
    ),
    "an npz without parts": lambda f: saved(f / "a.npz", x=images(20), y=np.arange(20) % 3),
    "idx files": lambda f: idx(f / "mnist"),
    "batches of CIFAR": lambda f: cifar_batches(f / "cifar"),
    "an entry": lambda f: "iris",
}  # fmt: skip
OPENED = {
    "a table": lambda f: written(f / "a.csv", numbers()),
    "a table of words": lambda f: written(f / "a.csv", WORDS),
    "a table of one column": lambda f: written(f / "a.csv", "label\n" + "a\nb\n" * 9),
    "a zip of a table of one column": lambda f: packed(written(f / "in/a.csv", "y\n" + "1.5\n2\n" * 9).parent, "a.zip"),
    "class folders and a shard": lambda f: (
        written(photos(f / "in", "cat", "dog") / "more.tar", tar_of(labelled(range(6)))).parent
    ),
    "a table with tabs": lambda f: written(f / "a.tsv", numbers().replace(",", "\t")),
    "a table with tabs of another name": lambda f: written(f / "a.tab", numbers().replace(",", "\t")),
    "two tables": lambda f: written(f / "c/train.csv", WORDS) and written(f / "c/test.csv", "age,sex\n1,m\n").parent,
    "a lone array": lambda f: np.save(f / "a.npy", images(4)) or f / "a.npy",
    "arrays that nobody can name": lambda f: saved(f / "a.npz", one=images(4), other=images(3)),
    "JSON": lambda f: written(f / "a.json", '{"a": 1}'),
    "text": lambda f: written(f / "a.txt", "Once upon a time\n"),
    "a folder of texts": lambda f: written(f / "t/pos/1.txt", "good") and written(f / "t/neg/1.txt", "bad").parents[1],
    "one picture": lambda f: picture(f / "a.png") or f / "a.png",
    "pictures without labels": lambda f: photos(f / "in", "") and f / "in",
    "one class": lambda f: photos(f / "one", "cat"),
    "boxes": lambda f: boxes(f / "b"),
    "boxes in a folder whose name needs quotes": lambda f: boxes(f / "my boxes"),
    "sounds": lambda f: sounds(f / "s"),
    "weights": lambda f: written(f / "w.pt", pickle.dumps({})),
    "a file without a suffix": lambda f: written(f / "README", "read me"),
}
KINDS = FED | OPENED


@pytest.fixture
def staged(here, tmp_path):
    """A function of a kind: what was staged of it, and the lines that were printed."""
    (tmp_path / "lies").mkdir()

    def stage(kind):
        if kind == "an entry":
            pytest.importorskip("sklearn")
        said = []
        reporter = SimpleNamespace(
            note=lambda text, *more: said.append(text), phase=lambda *a: None, advance=lambda n: None
        )
        return datastage.stage(KINDS[kind](tmp_path / "lies"), progress=reporter), said

    return stage


def run(line, **names):
    """Run a line of code as it is printed, with the names that are there; return all names."""
    names = {"datastage": datastage, **names}
    exec(compile(line.removeprefix("Next:").strip(), "<next>", "exec"), names)
    return names


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_that_comes_next_runs_as_printed(kind, staged, tmp_path):
    path, said = staged(kind)

    lines = [next_line(path, Colab(tmp_path / "colab").runtime(shell=KERNEL)), said[-1]]

    for line, names in zip(lines, ({"path": path}, {})):
        assert line.startswith("Next:  ")
        assert ("datastage.loaders" in line) == (kind in FED), line
        if line.startswith("Next:  ls "):
            done = subprocess.run(["sh", "-ec", line.removeprefix("Next:")], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout
            continue
        made = run(line, **names)
        if "tabs" in kind or kind == "two tables":
            assert made["table"].shape == (20, 3)
        for part in {"train", "val", "test"} & made.keys():
            x, _ = next(iter(made[part]))
            assert len(x), part


def test_what_a_kaggle_input_holds_is_fed_where_it_lies(here, tmp_path):
    machine = Kaggle(tmp_path / "kaggle")
    folder = photos(machine.root / "kaggle/input/datasets/me/pets", "cat", "dog", n=20)
    path = datastage.stage(folder, progress=False)

    line = next_line(path, machine.runtime(shell=KERNEL))

    assert line == "Next:  train, test = datastage.loaders(path, batch_size=4)"
    assert len(run(line, path=path)["test"]) >= 1


@pytest.mark.parametrize(("marks", "said"), [("dev/nvidiactl", 64), ("dev/accel0", 128), ("", 32)])
def test_the_size_of_a_batch_suits_the_device(here, tmp_path, marks, said):
    machine = Colab(tmp_path / "colab")
    if marks:
        (machine.root / marks).parent.mkdir(exist_ok=True)
        (machine.root / marks).touch()
    path = datastage.stage(photos(tmp_path / "p", "cat", "dog", n=400, side=65, suffix="bmp"), progress=False)

    assert f"batch_size={said})" in next_line(path, machine.runtime(shell=KERNEL))


def test_a_folder_of_more_files_than_can_be_looked_through_at_once_is_listed(here, tmp_path, monkeypatch):
    from datastage.show import following

    path = datastage.stage(photos(tmp_path / "p", "cat", "dog"), progress=False)
    monkeypatch.setattr(following, "_MOST_FILES", 5)

    assert next_line(path, Colab(tmp_path / "colab").runtime(shell=KERNEL)) == "Next:  files = sorted(path.iterdir())"


def test_after_the_command_the_line_runs_in_a_fresh_python(here, tmp_path):
    archive = packed(photos(tmp_path / "in", "cat", "dog"), "photos.zip")
    done = subprocess.run(
        [sys.executable, "-m", "datastage", "stage", archive], capture_output=True, text=True, check=True
    )
    line = done.stderr.splitlines()[-1].removeprefix("Next:").strip()

    again = subprocess.run([sys.executable, "-c", f"import datastage\n{line}"], capture_output=True, text=True)

    assert again.returncode == 0, again.stderr


def test_a_folder_on_a_network_disk_is_listed_and_not_looked_through(here, tmp_path, monkeypatch):
    from datastage.show import following

    path = datastage.stage(photos(tmp_path / "p", "cat", "dog"), progress=False)
    monkeypatch.setattr(following, "is_network_disk", lambda folder: folder == path.path)

    assert next_line(path, Colab(tmp_path / "colab").runtime(shell=KERNEL)) == "Next:  files = sorted(path.iterdir())"


@pytest.mark.parametrize(
    ("name", "lacks", "said"),
    [
        ("a.csv", "pandas", 'text = open(path, encoding="utf-8", errors="replace").read()'),
        ("a.parquet", "pandas", 'file = open(path, "rb")'),
        ("a.parquet", "pyarrow", 'file = open(path, "rb")'),
        ("a.npy", "numpy", 'file = open(path, "rb")'),
    ],
)
def test_no_line_imports_what_is_not_installed(name, lacks, said, here, tmp_path, monkeypatch):
    from datastage.show import following

    path = datastage.stage(written(tmp_path / name, "1,2\n"), progress=False)
    monkeypatch.setattr(following, "find_spec", lambda asked: None if asked == lacks else object())

    assert next_line(path, Colab(tmp_path / "colab").runtime(shell=KERNEL)) == f"Next:  {said}"


def test_a_dataset_of_the_catalog_has_the_largest_batches_and_long_pictures_are_photos(tmp_path):
    from PIL import Image

    from datastage.show import following

    here = Colab(tmp_path / "colab").runtime(shell=KERNEL)
    entry = datastage.Staged(tmp_path, {"spec": "cifar10", "entry": "cifar10"})
    assert next_line(entry, here).endswith("batch_size=512)")
    assert following._batch_size(datastage.Staged(tmp_path, {"spec": "x"}), {"train": 60_000}, here) == 256
    Image.new("L", (100, 20)).save(tmp_path / "a.png")
    assert following._side_of_a_picture(tmp_path) == 100
