"""Shards that were brought go with `clean` as datasets do: by age, by budget, by name; never while they are used."""

import os
import time

import pytest

import datastage
from datastage.errors import SpecError
from datastage.lock import locked
from tests.servers import server  # noqa: F401
from tests.stand_ins.shards import shards

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs flock")


@pytest.fixture
def brought(server, here, tmp_path, monkeypatch):
    """Train an epoch on shards of a server; return their folder and the loader, which holds them."""
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    for k, data in enumerate(shards([6, 5, 7])):
        server.serve(f"set/train-{k:06d}.tar", data)
    address = server.url("set/train-{000000..000002}.tar")
    train = datastage.loaders(address, batch_size=4, device="cpu", progress=False, test=0).train
    assert sum(len(x) for x, _ in train) == 18
    (folder,) = (tmp_path / "root").glob(".datastage-*/*.shards")
    return folder, train


def let_go(train, folder):
    until = time.monotonic() + 60  # the pixels go to the disk beside the training
    while len(list(folder.glob("pixels/packed-*.json"))) < 3 or list(folder.glob("pixels/.*.partial")):
        assert time.monotonic() < until
        time.sleep(0.02)
    for shard in list(train.source.open_now):
        train.source.open_now.pop(shard).file.close()


def test_shards_that_a_loader_holds_stay(brought):
    folder, _train = brought
    assert datastage.clean(budget=0, dry_run=True) == ()
    assert datastage.clean(folder.name) == ()
    assert len(list(folder.glob("*.tar"))) == 3


@pytest.mark.parametrize("asked", [{"budget": 0}, {"older_than": "3d"}, {"names": "its own"}], ids=str)
def test_shards_that_nobody_holds_go_when_they_are_asked_to(brought, asked):
    folder, train = brought
    let_go(train, folder)
    if "older_than" in asked:
        assert datastage.clean(**asked) == ()
        for path in folder.glob("*.tar"):
            os.utime(path, (time.time() - 4 * 86_400,) * 2)
    asked = {"names": folder.name} if "names" in asked else asked
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    (listed,) = datastage.clean(**asked, dry_run=True)
    assert (listed.path, listed.n_bytes) == (folder, n_bytes)
    assert folder.is_dir()
    assert datastage.clean(**asked) == (listed,)
    assert not folder.exists()
    assert sum(len(x) for x, _ in train) == 18  # they are brought again


@pytest.mark.parametrize("name", [".more.tar.lock", "pixels/.packed-more.u8.lock"])
def test_shards_stay_while_another_one_is_brought_or_its_pixels_are_made(name, brought):
    folder, train = brought
    let_go(train, folder)
    with locked(folder / name):
        assert datastage.clean(budget=0) == ()
    assert [item.path for item in datastage.clean(budget=0)] == [folder]


def test_without_a_wish_shards_stay_and_no_other_folder_is_taken_for_one(brought, tmp_path):
    folder, train = brought
    let_go(train, folder)
    elsewhere = tmp_path / "mine"
    (elsewhere / "a").mkdir(parents=True)
    link = folder.with_name("linked.shards")
    link.symlink_to(elsewhere)
    assert datastage.clean() == ()
    assert [item.path for item in datastage.clean(budget=0)] == [folder]
    assert (elsewhere / "a").is_dir()
    with pytest.raises(SpecError, match=r"linked\.shards"):
        datastage.clean("linked.shards")
