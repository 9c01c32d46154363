import contextlib
import io
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import datastage
from datastage.errors import IntegrityError, PasswordError, SpecError, UnavailableError
from datastage.layouts.labels import chosen
from tests.loaders_of import from_folder
from tests.made_data import tarred, zipped
from tests.servers import server as server

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("here")


def files():
    """The photos of two classes, by path."""
    found = {}
    for i in range(12):
        png = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)).save(png, "PNG")
        found[f"pets/{('cat', 'dog')[i % 2]}/{i:02}.png"] = png.getvalue()
    return found


def packed(kind, found):
    return (zipped if kind == "zip" else tarred)(found)


def under(root):
    return [path for path in Path(root).rglob("*") if path.is_file()]


def batches(loaders):
    return torch.cat([x for x, _ in loaders.train])


OPTIONS = {"batch_size": 4, "test": 0, "shuffle": False, "device": "cpu", "progress": False}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_of_an_archive_of_photos_at_an_address_one_thing_is_kept_and_asked_for_once(server, monkeypatch, kind):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    found = files()
    address = server.serve(f"pets.{kind}", packed(kind, found))
    made = datastage.loaders(address, **OPTIONS)
    assert made.classes == ("cat", "dog")
    right = batches(made)
    root = os.environ["DATASTAGE_ROOT"]
    assert len([path for path in under(root) if path.suffix == ".png"]) == (0 if kind == "zip" else 12)
    assert len([path for path in under(root) if path.name.endswith(kind)]) == (1 if kind == "zip" else 0)
    asked = len(server.seen)
    assert (batches(datastage.loaders(address, **OPTIONS)) == right).all()
    assert len(server.seen) == asked


def test_a_tar_of_photos_gives_what_its_folder_gives(here):
    found = files()
    for name, data in found.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    (here / "pets.tar.gz").write_bytes(packed("tar.gz", found))
    own = {name: value for name, value in OPTIONS.items() if name != "progress"}
    assert (batches(datastage.loaders("./pets.tar.gz", **OPTIONS)) == batches(from_folder(here / "pets", **own))).all()


def test_a_zip_without_pictures_is_unpacked_and_not_kept_beside(server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    rows = "".join(f"{i},{i * 2},{'ab'[i % 2]}\n" for i in range(20))
    address = server.serve("table.zip", packed("zip", {"table.csv": b"x,y,label\n" + rows.encode()}))
    with contextlib.suppress(
        datastage.errors.SpecError
    ):  # whether a folder with a table feeds is not the question here
        datastage.loaders(address, **OPTIONS)
    names = [path.name for path in under(os.environ["DATASTAGE_ROOT"])]
    assert "table.csv" in names
    assert "table.zip" not in names


@pytest.mark.parametrize("progress", [False, "auto"])
@pytest.mark.parametrize("used", [False, True])
def test_a_loader_of_photos_can_be_sent_to_another_process(here, progress, used):
    (here / "pets.zip").write_bytes(packed("zip", files()))
    made = datastage.loaders("./pets.zip", **{**OPTIONS, "progress": progress})
    right = batches(made)
    train = pickle.loads(pickle.dumps(made.train if used else datastage.loaders("./pets.zip", **OPTIONS).train))
    assert (torch.cat([x for x, _ in train]) == right).all()
    assert len(train.dataset) == 12


@pytest.mark.parametrize("kind", [str, Path])
def test_a_tar_that_is_not_there_is_missing_whether_it_is_named_by_a_text_or_a_path(tmp_path, kind):
    with pytest.raises(UnavailableError, match=r"There is no nope\.tar"):
        datastage.loaders(kind(tmp_path / "nope.tar"), batch_size=4, progress=False)


def test_arrays_take_the_classes_that_are_asked_for_and_no_labels():
    pair = np.zeros((6, 8, 8, 3), np.uint8), np.array(["x", "y"] * 3)
    (train,) = datastage.loaders(pair, classes=["y", "x"], **OPTIONS)
    assert train.classes == ("y", "x")
    assert torch.cat([y for _, y in train]).tolist() == [1, 0] * 3
    with pytest.raises(SpecError, match="labels='train.csv' is for"):
        datastage.loaders(pair, labels="train.csv", **OPTIONS)


@pytest.mark.parametrize("wrong", [-1, "x", 0, True, float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("data", [(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8)), "nowhere/{0..1}.tar"])
def test_a_budget_of_the_disk_is_looked_at_before_all_data(data, wrong):
    with pytest.raises(SpecError, match="a number of gigabytes above 0 is needed"):
        datastage.loaders(data, batch_size=4, cache_gb=wrong)


def test_two_pairs_as_keras_gives_them_are_asked_about():
    pair = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6)
    with pytest.raises(SpecError, match="two pairs of images and labels") as caught:
        datastage.loaders((pair, pair), **OPTIONS)
    assert "{'train': pairs[0], 'test': pairs[1]}" in caught.value.remedy[-1]


def test_two_pictures_with_two_arrays_of_boxes_are_two_samples_and_no_pairs():
    picture, boxes = np.zeros((8, 8, 3), np.uint8), np.zeros((2, 4))
    (train,) = datastage.loaders([[picture, picture], [boxes, boxes]], **OPTIONS)
    assert train.n_samples == 2
    rows = np.zeros((6, 8), np.float32), np.zeros((6, 1))
    pictures = np.zeros((6, 8, 8, 3), np.uint8), np.zeros((6, 8, 8, 3), np.uint8)
    for pair in (rows, pictures):
        with pytest.raises(SpecError, match="two pairs of images and labels"):
            datastage.loaders([pair, pair], **OPTIONS)


def test_classes_of_a_dataset_of_the_catalog_are_an_order_or_a_choice():
    labels = np.array([0, 1, 2, 1])
    known = ("cat", "dog", "emu")

    def arrays(split):
        return np.arange(4)[:, None, None, None] * np.ones((4, 8, 8, 3), np.uint8), labels

    assert chosen(arrays, known, None) is arrays
    assert chosen(arrays, known, ["emu", "dog", "cat"])("train")[1].tolist() == [2, 1, 0, 1]
    images, numbers = chosen(arrays, known, ["dog"])("train")
    assert (images[:, 0, 0, 0].tolist(), numbers.tolist()) == ([1, 3], [0, 0])
    with pytest.raises(SpecError, match="There is no class 'cow'"):
        chosen(arrays, known, ["cow"])


@pytest.mark.skipif(shutil.which("7z") is None, reason="the 7z command makes these")
def test_a_zip_that_a_tool_alone_undoes_is_unpacked_and_of_a_locked_archive_the_step_can_be_written(here):
    for name, data in files().items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    for name, option in (("odd.zip", "-mm=Deflate64"), ("locked.7z", "-psecret"), ("locked.zip", "-psecret")):
        subprocess.run(["7z", "a", name, "pets", option], cwd=here, check=True, capture_output=True)
    plain, odd = (datastage.loaders(name, **OPTIONS) for name in ("./pets", "./odd.zip"))
    assert odd.classes == ("cat", "dog")
    assert (batches(odd) == batches(plain)).all()
    for name in ("./locked.7z", "./locked.zip"):
        with pytest.raises(PasswordError) as told:
            datastage.loaders(name, **OPTIONS)
        call = f'path = datastage.stage("{name}", password="...")'
        assert told.value.remedy == (f"Next: stage it first: {call}, and pass on what that gives.",)
        done = {"datastage": datastage}
        exec(call.replace('"...")', '"secret", progress=False)'), done)
        assert (batches(datastage.loaders(done["path"], **OPTIONS)) == batches(plain)).all()


def test_a_zip_that_was_written_to_under_an_open_loader_is_said_to_have_changed(here):
    (here / "pets.zip").write_bytes(made := packed("zip", files()))
    found = datastage.loaders("./pets.zip", **OPTIONS)
    (here / "pets.zip").write_bytes(bytes(len(made)))
    os.utime(here / "pets.zip", (1, 1))
    with pytest.raises(IntegrityError, match=r"pets.zip has changed since it was opened.\n  Next: make"):
        batches(found)
