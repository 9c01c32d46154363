"""Nodes of a cluster, as namespaces: each mounts a disk of its own; two ranks of a node ask for the data at once."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.servers import server  # noqa: F401

BODY = os.urandom(3_000_000)
STAGE = "import datastage, sys; print(datastage.stage(*sys.argv[1:2], save_to=(sys.argv[2:] or [None])[0]).path)"


def namespaces_work():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-mn", "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not namespaces_work(), reason="needs unshare, and the right to make namespaces")


def node(disk, root, *words, internet=True):
    """Start two ranks on a node whose fast disk is `disk`; they print where the data is."""
    ranks = " & ".join('"$@" || exit 1' for _ in range(2))
    script = f'mount -t tmpfs node "$0" && {{ {ranks} & wait; }} && ls -A "$0"'
    environ = {**os.environ, "DATASTAGE_ROOT": str(root)}
    del environ["DATASTAGE_OFFLINE"]
    command = ["unshare", "-m" if internet else "-mn", "sh", "-c", script, str(disk), sys.executable, "-c", STAGE]
    return subprocess.Popen([*command, *map(str, words)], env=environ, stdout=subprocess.PIPE, text=True)


def ended(*nodes):
    """Return what each node printed; all went well."""
    said = [node.communicate(timeout=120)[0].split() for node in nodes]
    assert [node.returncode for node in nodes] == [0] * len(nodes)
    return said


@pytest.fixture
def disks(tmp_path, here):
    for name in ("disk0", "disk1", "shared"):
        (tmp_path / name).mkdir()
    return tmp_path


def fetched(server):
    return server.n_sent["x.bin"] / len(BODY)


def test_each_node_fetches_once_onto_a_disk_of_its_own(server, disks):
    url = server.serve("x.bin", BODY)
    said = ended(*(node(disks / f"disk{n}", disks / f"disk{n}" / "root", url) for n in range(2)))
    assert [len(set(words[:2])) for words in said] == [1, 1]
    assert fetched(server) == 2


def test_nodes_that_share_a_disk_fetch_once_in_all(server, disks):
    url = server.serve("x.bin", BODY)
    ended(*(node(disks / f"disk{n}", disks / "shared" / "root", url) for n in range(2)))
    assert 1 <= fetched(server) < 1.5  # a busy machine asks for a block again; a second node would for all of them


def test_a_node_without_internet_takes_it_from_the_shared_disk(server, disks):
    url = server.serve("x.bin", BODY)
    kept = disks / "shared" / "kept"
    ended(node(disks / "disk0", disks / "disk0" / "root", url, kept))
    said = ended(node(disks / "disk1", disks / "disk1" / "root", url, kept, internet=False))
    assert said[0][0].startswith(str(disks / "disk1"))
    assert 1 <= fetched(server) < 1.5  # a busy machine asks for a block again; a second node would for all of them
