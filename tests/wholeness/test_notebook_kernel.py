"""Stop in a notebook: an interrupt to the kernel, then its end without a word, as Colab and Kaggle do it."""

import dataclasses
import os
import sys
import time
import uuid
from pathlib import Path

import pytest

import datastage
from tests.wholeness.kit import PACKAGE, fingerprint, hidden, make_zip, right_one

pytest.importorskip("ipykernel")
jupyter_client = pytest.importorskip("jupyter_client")
pytestmark = [
    pytest.mark.notebook,
    pytest.mark.usefixtures("here"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

RATE = 2_000_000


class Kernel:
    """An IPython kernel of a test's own; every process below it bears its mark."""

    def __init__(self, folder):
        self.mark = uuid.uuid4().hex
        self.manager = jupyter_client.KernelManager(kernel_name="python3")
        environment = {**os.environ, "PYTHONPATH": PACKAGE, "MARK_OF_THIS_TEST": self.mark}
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=300)

    def begin(self, code):
        return self.client.execute(code)

    def result(self, asked):
        """The reply to a cell: "ok", or the name of its error; and what it printed."""
        printed = ""
        while True:
            message = self.client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            elif message["msg_type"] == "error":
                printed = message["content"]["ename"]
            elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return printed

    def run(self, code):
        return self.result(self.begin(code))

    def kill(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def running(self):
        """Every process that bears the mark."""
        found = []
        for path in Path("/proc").iterdir():
            try:
                if path.name.isdecimal() and self.mark.encode() in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_bytes())
            except OSError:
                continue
        return found


@pytest.fixture
def kernel(here):
    kernel = Kernel(here)
    yield kernel
    kernel.kill()


@pytest.fixture
def slow(server, here, monkeypatch):
    """A zip behind an address, at a rate at which it takes some seconds."""
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    body = make_zip(here / "data.zip", n=60, size=300_000).read_bytes()
    return server.serve("data.zip", body, rate=RATE)


def wait_for_bytes(server, share):
    size = len(server.pages["data.zip"].body)
    deadline = time.monotonic() + 300
    while server.n_sent["data.zip"] < share * size and time.monotonic() < deadline:
        time.sleep(0.01)
    return size


def gone(look, seconds=60.0):
    """Wait until `look` gives nothing; return what it gave last."""
    deadline = time.monotonic() + seconds
    while (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


THREADS = "import threading; print([t.name for t in threading.enumerate() if 'datastage' in t.name])"


def goes_on(server, url, size, before, archive, tmp_path):
    """Stage again at full speed: right, and without asking again for most of what had come."""
    server.pages["data.zip"] = dataclasses.replace(server.pages["data.zip"], rate=None)
    staged = datastage.stage(url, progress=False)
    again = server.n_sent["data.zip"] - before
    print(f"\n{before / size:.0%} had come, {again / size:.0%} came again")
    assert fingerprint(staged) == right_one(archive, tmp_path)
    assert again < size - 0.5 * before
    assert hidden(tmp_path / "root") == []


def test_an_interrupted_cell_leaves_nothing_running_and_the_next_goes_on(kernel, server, slow, here, tmp_path):
    asked = kernel.begin(f"import datastage; datastage.stage({slow!r}, progress=False)")
    size = wait_for_bytes(server, 0.5)
    kernel.manager.interrupt_kernel()
    assert kernel.result(asked) == "Stopped"
    assert server.n_sent["data.zip"] < 0.95 * size
    assert gone(lambda: server.n_active["data.zip"]) == 0
    assert gone(lambda: eval(kernel.run(THREADS))) == []
    assert [path.name for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")] == []
    goes_on(server, slow, size, server.n_sent["data.zip"], here / "data.zip", tmp_path)


def test_a_killed_kernel_leaves_nothing_running_and_the_next_goes_on(kernel, server, slow, here, tmp_path):
    kernel.begin(f"import datastage; datastage.stage({slow!r}, progress=False)")
    size = wait_for_bytes(server, 0.5)
    kernel.manager.interrupt_kernel()
    kernel.kill()
    assert gone(kernel.running) == []
    assert gone(lambda: server.n_active["data.zip"]) == 0
    assert [path.name for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")] == []
    goes_on(server, slow, size, server.n_sent["data.zip"], here / "data.zip", tmp_path)


def test_a_kernel_killed_while_it_unpacks_leaves_no_helper_running(kernel, here, tmp_path):
    make_zip(here / "data.zip", n=2500, size=30_000)  # enough for helper processes
    kernel.run("import datastage")
    kernel.begin("datastage.stage('./data.zip', progress=False)")
    deadline = time.monotonic() + 200
    while not list((tmp_path / "root").rglob("*.partial/class*/*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    kernel.kill()
    assert gone(kernel.running) == []
    assert fingerprint(datastage.stage("./data.zip", progress=False)) == right_one(here / "data.zip", tmp_path)
    assert hidden(tmp_path / "root") == []
