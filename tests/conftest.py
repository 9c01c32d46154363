"""What every test may use: a place of its own, and no network but loopback."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from pathlib import Path

import pytest

from datastage import decode, store
from tests.next_lines import Recorder
from tests.warm import Warm

# A tenth of the time goes to looking through the thousands of tests for garbage, at the usual threshold of 700.
gc.set_threshold(100_000)

# Started in the background of a script, this process ignores SIGINT, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # the clients' environments have none
    from hypothesis import HealthCheck, settings

    # How long an example takes says nothing on a machine that does other work.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")

TESTDATA = Path(os.environ.get("DATASTAGE_TESTDATA") or Path(os.path.expanduser("~")) / ".cache" / "datastage-testdata")
SHARED = Path(__file__).resolve().parents[2] / "shared"


ERRORS = Recorder()


def pytest_collection_modifyitems(items):
    """Put files first that take a minute or more, so that no worker begins one when the others have nothing left."""
    long = ("wholeness/", "show/test_cell", "test_addresses_online", "test_kaggle_hub", "test_corpus", "test_mounts")
    items.sort(key=lambda item: not any(part in item.nodeid for part in long))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Whatever a test does, the code in the steps of the errors that it meets runs as printed, where the test is."""
    ERRORS.clear()
    result = yield
    troubles = ERRORS.troubles()
    assert not troubles, "steps of errors that do not run:\n" + "\n".join(troubles)
    return result


@pytest.fixture(autouse=True, scope="module")
def disk_that_is_not_waited_for(request):
    """A sync waits for all that this machine writes; that it is asked for is held by wholeness/ and test_store.py."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(part in request.node.nodeid for part in ("wholeness/", "test_store")):
            patch.setattr(store, "sync_file_system", lambda folder: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def root_that_is_no_users(request, tmp_path_factory):
    """What tests of layouts and batches stage on their way lies in no folder of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        if any(part in request.node.nodeid for part in ("layouts/", "batches/", "test_next_lines", "test_misuse")):
            patch.setenv("DATASTAGE_ROOT", str(tmp_path_factory.mktemp("root")))
        yield


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory, a root and a home of the test's own; the runtime is a plain terminal without internet."""
    for name in list(os.environ):
        if (
            name.startswith(("DATASTAGE_", "KAGGLE_", "COLAB_", "TBE_", "SLURM_", "JPY_"))
            and name != "DATASTAGE_TESTDATA"
        ):
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    return work


@pytest.fixture(scope="session")
def warm():
    """A Python that has imported torch, and runs scripts in forks of it."""
    pytest.importorskip("torch")
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    made = Warm()
    yield made
    made.close()


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real data, or a skip where it was not made."""
    if not TESTDATA.is_dir():
        pytest.skip("left out: the real data sets are not on this machine (../shared/data/get.py makes them)")
    return TESTDATA


@pytest.fixture(params=["quick", "plain"])
def readers(request, monkeypatch):
    """What decodes and resizes photos: the quick libraries, as on Colab and Kaggle, and Pillow and torch alone."""
    if request.param == "quick" and (decode.best() == "PIL" or not decode.has_opencv()):
        pytest.skip("simplejpeg and OpenCV are not installed")
    if request.param == "plain":
        monkeypatch.setattr(decode, "has_opencv", lambda: False)
        monkeypatch.setattr("datastage.batches.cpu_augment.has_opencv", lambda: False)
        monkeypatch.setattr(decode, "JPEG_DECODERS", {"PIL": decode.JPEG_DECODERS["PIL"]})
    return request.param
