"""What frameworks and office programs write in a zip or tar stays a file, whatever it is called."""

from __future__ import annotations

import gzip
import io
import pickle

import pytest

import datastage
from datastage.archives import is_data, sniff
from datastage.reader import BytesReader

from .made import tar_of, zip_of

PICKLE = pickle.dumps({"epoch": 3, "state_dict": {}})
OLD_PYTORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + PICKLE


def zipped(*names: str) -> bytes:
    return zip_of(dict.fromkeys(names, b"1"))


DATA = {
    "PyTorch": zipped("archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version"),
    "PyTorch by another name": zipped("checkpoint/data.pkl", "checkpoint/data/0", "checkpoint/version"),
    "TorchScript": zipped("m/code/__torch__.py", "m/constants.pkl", "m/data.pkl", "m/version"),
    "PyTorch, legacy": OLD_PYTORCH,
    "PyTorch, a tar": tar_of([("sys_info", b"1"), ("pickle", PICKLE), ("tensors", b"1"), ("storages", b"1")]),
    "a pickle": PICKLE,
    "Keras": zipped("metadata.json", "config.json", "model.weights.h5"),
    "Stable-Baselines": zipped("data", "pytorch_variables.pth", "policy.pth", "_stable_baselines3_version"),
    "TorchServe": zipped("model.pt", "MAR-INF/MANIFEST.json"),
    "NeMo": tar_of([("./model_config.yaml", b"a: 1"), ("./model_weights.ckpt", b"1" * 5000)]),
    "NeMo, compressed": gzip.compress(tar_of([("model_config.yaml", b"a: 1"), ("model_weights.ckpt", b"1" * 5000)])),
    "Excel": zipped("_rels/.rels", "xl/workbook.xml", "[Content_Types].xml"),
    "LibreOffice": zipped("mimetype", "content.xml", "META-INF/manifest.xml"),
    "a book": zipped("mimetype", "META-INF/container.xml", "OEBPS/1.html"),
    "Android": zipped("AndroidManifest.xml", "classes.dex", "res/1.png"),
    "a wheel": zipped(*(f"pkg/{n}.py" for n in range(600)), "pkg-1.dist-info/WHEEL", "pkg-1.dist-info/RECORD"),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "a picture before a zip": b"\xff\xd8\xff\xe0" + bytes(500) + zipped("a"),
    "a model before a zip": b"\x1c\0\0\0TFL3" + bytes(500) + zipped("labels.txt"),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "model.zip", "model.tar", "best_model"])
def test_data_stays_data_whatever_it_is_called(case, name):
    reader = BytesReader(DATA[case], name)
    form = sniff(reader)
    if form is None and "." not in name:
        return  # nothing says that it could be an archive
    assert is_data(reader, form)


ARCHIVES = {
    "photos": (zipped("photos/cat/1.jpg", "photos/dog/1.jpg"), "photos.zip"),
    "arrays that somebody zipped": (zipped("x_train.npy", "y_train.npy"), "arrays.zip"),
    "what jar packed": (zipped("META-INF/", "META-INF/MANIFEST.MF", "train/1.csv"), "data.zip"),
    "maps": (zipped("doc.kml", "files/1.png"), "maps.zip"),
    "a folder with a model in it": (zipped("run/archive/data.pkl", "run/log.txt"), "run.zip"),
    "a folder with a sheet": (zipped("tables/a.xlsx", "config.json"), "tables.zip"),
    "checkpoints in a tar": (tar_of([("ckpt/1.pth", PICKLE), ("ckpt/2.pth", PICKLE)]), "checkpoints.pth.tar"),
    "a dataset's tar.gz": (gzip.compress(tar_of([("data/pickle", PICKLE)])), "cifar.tar.gz"),
    "one file, compressed": (gzip.compress(PICKLE), "batch.pkl.gz"),
    "an empty zip": (zip_of({}), "x.zip"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_are_unpacked_though_they_hold_such_data(case):
    data, name = ARCHIVES[case]
    reader = BytesReader(data, name)
    assert not is_data(reader, sniff(reader))


@pytest.mark.parametrize("name", ["a.npz", "b.PTH", "c.keras", "d.xlsx", "e.whl", "f.epub", "g.kmz", "h.ckpt", "i.rds"])
def test_a_name_is_enough(name):
    assert is_data(BytesReader(zipped("a"), name), "zip")


def test_arrays_without_the_name_of_an_archive_are_data():
    assert is_data(BytesReader(zipped("x.npy", "y.npy"), "weights"), "zip")
    assert not is_data(BytesReader(zipped("x.npy", "readme.txt"), "weights"), "zip")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "model_best.tar", "weights.zip"])
def test_a_checkpoint_of_pytorch_is_staged_as_the_file_that_torch_loads(here, name, legacy):
    torch = pytest.importorskip("torch")
    made = io.BytesIO()
    torch.save({"epoch": 3, "w": torch.ones(4)}, made, _use_new_zipfile_serialization=not legacy)
    (here / name).write_bytes(made.getvalue())
    path = datastage.stage(f"./{name}", progress=False)
    assert torch.load(path, weights_only=True)["epoch"] == 3


def test_what_is_asked_for_is_unpacked_all_the_same(here):
    (here / "m.pth.tar").write_bytes(DATA["PyTorch"])
    assert (datastage.stage("./m.pth.tar", unpack=True, progress=False) / "archive" / "data.pkl").exists()
