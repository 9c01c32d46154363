"""Packing as a Ray Data job on a cluster of two nodes, one of which dies: nothing is lost, nothing is doubled."""

import hashlib
import threading
import time
from pathlib import Path

import pytest

import datastage
from datastage.errors import MissingDependencyError
from tests.shards.made_photos import make_photos

pytestmark = pytest.mark.usefixtures("here")


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).iterdir()
        if not path.name.startswith(".")
    }


def packed(data, to, **options):
    return datastage.pack(data, to, **{"shards": "10kB", "size": 32, "test": 0, "progress": False, **options})


def test_without_ray_the_error_says_what_works_without_it(tmp_path):
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="Ray Data") as caught:
            packed(make_photos(tmp_path / "photos"), tmp_path / "shards", engine="ray")
        assert "leave engine= out" in caught.value.remedy[-1]
    else:
        pytest.skip("left out: Ray is installed here")


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="left out: Ray is not installed here (make ray)")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # a busy machine takes its time
        patch.setenv("PYTHONPATH", str(Path(datastage.__file__).parents[1]))  # workers import the same datastage
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


def node(cluster):
    return cluster.add_node(num_cpus=1, object_store_memory=100_000_000)


def test_a_ray_job_gives_what_this_process_gives(cluster, tmp_path):
    photos = make_photos(tmp_path / "photos")
    (photos / "cat" / "03.jpg").write_bytes(b"<html>")
    here = packed(photos, tmp_path / "here")
    there = packed(photos, tmp_path / "there", engine="ray")
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert (there.samples, there.damaged) == (here.samples, here.damaged)
    assert dict(there.damaged).keys() == {"cat/03.jpg"}
    again = packed(photos, tmp_path / "there", engine="ray")
    assert (again.written, again.kept) == (0, len(here.index.shards))


def test_a_node_that_dies_while_packing_loses_and_doubles_nothing(cluster, tmp_path):
    import ray

    photos = make_photos(tmp_path / "photos", 600)
    whole = packed(photos, tmp_path / "here", shards="20kB")
    second = node(cluster)
    cluster.wait_for_nodes()
    killed = threading.Event()

    def kill():
        until = time.monotonic() + 120
        while len(list((tmp_path / "there").glob("*.tar"))) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    result = packed(photos, tmp_path / "there", shards="20kB", engine="ray")
    killer.join()
    assert killed.is_set()
    until = time.monotonic() + 60  # the head node learns of it by a heartbeat that does not come
    while sum(one["Alive"] for one in ray.nodes()) > 1 and time.monotonic() < until:
        time.sleep(0.1)
    assert sum(one["Alive"] for one in ray.nodes()) == 1
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    assert (result.samples, result.index) == (600, whole.index)


def test_an_error_of_ours_in_a_worker_comes_as_it_is(cluster, tmp_path):
    photos = make_photos(tmp_path / "photos")
    packed(photos, tmp_path / "there")
    (tmp_path / "there" / "train-000001.tar").write_bytes(b"somebody's")
    (tmp_path / "there" / "train-000001.tar.index").unlink()
    with pytest.raises(datastage.StorageError, match=r"train-000001\.tar .* is not what is packed there"):
        packed(photos, tmp_path / "there", engine="ray")
    assert (tmp_path / "there" / "train-000001.tar").read_bytes() == b"somebody's"
