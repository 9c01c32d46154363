"""Kaggle through the real kagglehub, against servers that answer as Kaggle's do."""

from __future__ import annotations

import _thread
import io
import json
import os
import sys
import threading
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage.errors import IntegrityError, MissingDependencyError, UnavailableError
from datastage.progress import Silent
from datastage.sources import kaggle_hub, open_spec, parse
from tests.stand_ins.kaggle_api import PORT, KaggleApi
from tests.stand_ins.runtimes import Colab, Kaggle, Layout

pytest.importorskip("kagglehub")


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


TITANIC = zipped(train_csv="a,b\n1,2\n", test_csv="a\n3\n")


@pytest.fixture
def api(monkeypatch, tmp_path):
    """Kaggle, with a public dataset; no credentials are anywhere."""
    for name in list(os.environ):
        if name.startswith(("KAGGLE", "TBE_", "COLAB_", "DATASTAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "fetched").mkdir()
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")  # no host but this machine
    monkeypatch.chdir(tmp_path)
    try:
        server = KaggleApi({"ann/titanic": TITANIC, "titanic": TITANIC}).start()
    except OSError as error:
        pytest.skip(f"port {PORT} is taken ({error.strerror})")
    yield server
    server.close()


@pytest.fixture
def fetched(api, tmp_path):
    """Fetch a spec outside of Kaggle, and return what was made."""

    def fetch(text, here=None):
        here = here or Layout(tmp_path / "machine").runtime(cwd=tmp_path, HOME=str(tmp_path / "home"))
        found = open_spec(parse(text), here)
        return found.content.run(tmp_path / "fetched", Silent())

    return fetch


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


WHOLE = {"train.csv": "a,b\n1,2\n", "test.csv": "a\n3\n"}


@pytest.mark.parametrize(
    "spec",
    [
        "kaggle:ann/titanic",
        "kaggle:datasets/ann/titanic",
        "kaggle:ann/titanic@2",
        "https://www.kaggle.com/datasets/ann/titanic",
        "https://www.kaggle.com/datasets/ann/titanic/versions/2?resource=download",
    ],
)
def test_a_dataset_is_fetched_whole(fetched, api, spec, capfd):
    folder = fetched(spec)
    assert (folder.name, tree(folder)) == ("titanic", WHOLE)
    assert [path.name for path in folder.parent.iterdir()] == ["titanic"]
    assert capfd.readouterr() == ("", "")
    is_versioned = "@2" in spec or "versions" in spec
    assert any("GetDataset" in path for path, _ in api.asked) is not is_versioned


@pytest.mark.parametrize(
    "spec", ["kaggle:ann/titanic/train.csv", "https://www.kaggle.com/datasets/ann/titanic?select=train.csv"]
)
def test_one_file_of_a_dataset_is_fetched_alone(fetched, api, spec):
    api.files["ann/titanic", "train.csv"] = b"a,b\n1,2\n"
    path = fetched(spec)
    assert (path.name, path.read_bytes()) == ("train.csv", b"a,b\n1,2\n")


def test_a_competition_is_fetched_with_a_token(fetched, api, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_mine")
    api.needs = "KGAT_mine"
    assert tree(fetched("kaggle:competitions/titanic")) == WHOLE


def test_it_is_staged_in_one_line(api, monkeypatch, tmp_path):
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    staged = datastage.stage("kaggle:ann/titanic", progress=False)
    assert {name: text for name, text in tree(staged.path).items() if name in WHOLE} == WHOLE


def test_code_that_lies_beside_the_notebook_is_not_run(fetched, tmp_path):
    for name in ("json", "kagglehub", "requests"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for code')")
    assert tree(fetched("kaggle:ann/titanic")) == WHOLE


# --- credentials


@pytest.mark.parametrize("folder", [".kaggle", ".config/kaggle", "Downloads", "../"])
def test_a_kaggle_json_is_found_where_people_have_it(fetched, api, tmp_path, folder):
    place = tmp_path / "home" / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "kaggle.json").write_text(json.dumps({"username": "ann", "key": "hunter2"}))
    api.needs = "Basic "
    assert tree(fetched("kaggle:ann/titanic")) == WHOLE


def test_a_name_and_a_key_among_the_secrets_of_the_notebook_are_tried_where_there_is_no_token(monkeypatch, tmp_path):
    kept = {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": "k1"}
    here = Layout(tmp_path / "m").runtime(cwd=tmp_path)
    monkeypatch.setattr(kaggle_hub, "secret", lambda name: kept.get(name))
    assert list(kaggle_hub._credentials(here)) == [kept]
    monkeypatch.setattr(kaggle_hub, "secret", {**kept, "KAGGLE_API_TOKEN": "t"}.get)
    assert list(kaggle_hub._credentials(here)) == [{"KAGGLE_API_TOKEN": "t"}]


def test_no_credentials_are_sent_for_public_data_but_those_that_kagglehub_finds(fetched, api, tmp_path):
    (tmp_path / "kaggle.json").write_text(json.dumps({"username": "ann", "key": "hunter2"}))
    fetched("kaggle:ann/titanic")
    assert {authorization for _, authorization in api.asked} == {""}


# --- refusals


def refusal(fetched, spec, kind=UnavailableError):
    with pytest.raises(kind) as caught:
        fetched(spec)
    text = str(caught.value)
    lines = text.splitlines()
    assert len(lines) <= 14
    assert max(map(len, lines)) <= 88
    assert lines[-1].strip().startswith("Next")
    assert "Signature" not in text
    return text


def test_rules_that_were_not_accepted_are_named_with_the_page_to_open(fetched, api, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_mine")
    api.status = 403
    assert "https://www.kaggle.com/competitions/titanic/rules" in refusal(fetched, "kaggle:competitions/titanic")


def test_a_competition_without_a_token_says_where_to_get_one(fetched):
    assert "kaggle.com/settings" in refusal(fetched, "kaggle:competitions/titanic")


def test_private_data_is_named_with_its_page(fetched, api):
    api.status = 403
    text = refusal(fetched, "kaggle:ann/titanic")
    assert "private" in text
    assert "https://www.kaggle.com/datasets/ann/titanic" in text


def test_a_wrong_token_is_named(fetched, api, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_wrong")
    api.status = 401
    text = refusal(fetched, "kaggle:ann/titanic")
    assert "does not accept your token" in text
    assert "KGAT_wrong" not in text


@pytest.mark.parametrize("spec", ["kaggle:ann/nothing", "kaggle:ann/titanic/nothing.csv"])
def test_what_kaggle_does_not_know_is_said(fetched, spec):
    assert "Kaggle knows no " in refusal(fetched, spec)


def test_wrong_bytes_are_not_kept(fetched, api, tmp_path):
    api.hash_of = b"others"
    refusal(fetched, "kaggle:ann/titanic", IntegrityError)
    assert list((tmp_path / "fetched").iterdir()) == []


def test_a_server_that_stalls_is_given_up(fetched, api, monkeypatch):
    monkeypatch.setattr(kaggle_hub, "STALL_S", 4.0)
    api.stall_after = 100
    api.archives["ann/titanic"] = TITANIC + bytes(100_000)
    assert "sent nothing for a long time" in refusal(fetched, "kaggle:ann/titanic")


def test_a_name_alone_has_to_say_whose_it_is(fetched):
    assert "kaggle:OWNER/NAME" in refusal(fetched, "kaggle:titanic")


def test_without_internet_the_page_is_named(fetched, api, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
    assert "https://www.kaggle.com/datasets/ann/titanic" in refusal(fetched, "kaggle:ann/titanic")
    assert api.asked == []


def test_without_the_library_it_is_named(fetched, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert "pip install kagglehub" in refusal(fetched, "kaggle:ann/titanic", MissingDependencyError)


def children():
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return listed.read_text() if listed.exists() else ""


def test_an_interrupt_ends_the_process_of_kagglehub(api, tmp_path):
    api.stall_after = 100
    found = open_spec(parse("kaggle:ann/titanic"), Layout(tmp_path / "m").runtime())
    before = children()
    timer = threading.Timer(1.0, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        found.content.run(tmp_path / "fetched", Silent())
    timer.join(5)
    assert list((tmp_path / "fetched").iterdir()) == []
    assert children() == before


# --- kagglehub's own cache


def test_what_kagglehub_kept_serves_without_internet(fetched, api, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache/datasets/ann/titanic/versions/3"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("x")
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
    here = Layout(tmp_path / "m").runtime()
    with pytest.raises(UnavailableError):
        open_spec(parse("kaggle:ann/titanic"), here)  # a copy without its mark may be half
    (tmp_path / "cache/datasets/ann/titanic/3.complete").touch()
    assert open_spec(parse("kaggle:ann/titanic"), here).content == folder
    assert open_spec(parse("kaggle:ann/titanic@3/train.csv"), here).content.local_path == folder / "train.csv"
    with pytest.raises(UnavailableError):
        open_spec(parse("kaggle:ann/titanic@2"), here)


@pytest.mark.parametrize(
    ("kind", "n_names", "versions", "marks"),
    [
        ("dataset", 2, "versions", "."),
        ("notebook", 2, "output/versions", "output"),
        ("model", 4, ".", "."),
    ],
)
def test_of_what_kagglehub_kept_the_newest_that_is_whole_is_taken(
    kind, n_names, versions, marks, monkeypatch, tmp_path
):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    names = ("ann", "a", "b", "c")[:n_names]
    top = Path(tmp_path, f"{kind}s", *names)
    for version in ("9", "10", "11"):
        (top / versions / version).mkdir(parents=True)
    for version in ("9", "10"):
        (top / marks / f"{version}.complete").touch()
    found = [kaggle_hub.cached(kaggle_hub.Handle(kind, names, version), tmp_path) for version in ("", "9", "11")]
    assert found == [top / versions / "10", top / versions / "9", None]


# --- inside Kaggle


@pytest.fixture
def kaggle(api, monkeypatch, tmp_path):
    """A Kaggle notebook with nothing attached; Kaggle's proxy is the server."""
    machine = Kaggle(tmp_path / "k")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("KAGGLE_DATA_PROXY_URL", f"http://localhost:{PORT}")
    monkeypatch.setenv("KAGGLE_DATA_PROXY_TOKEN", "proxy")
    monkeypatch.setenv("KAGGLE_USER_SECRETS_TOKEN", "jwt")
    monkeypatch.setenv("KAGGLE_CACHE_MOUNT_FOLDER", str(machine.root / "kaggle/input"))
    api.mounts = machine.root / "kaggle/input"
    return machine


@pytest.mark.parametrize("spec", ["kaggle:ann/titanic", "kaggle:competitions/titanic", "kaggle:ann/titanic/train.csv"])
def test_what_is_not_attached_is_attached_in_an_interactive_notebook(kaggle, api, spec):
    found = open_spec(parse(spec), kaggle.runtime())
    path = getattr(found.content, "local_path", found.content)
    assert path == kaggle.root / "kaggle/input/titanic" / ("train.csv" if spec.endswith(".csv") else "")
    assert found.in_place


def test_in_a_saved_run_or_a_rerun_nothing_is_attached(kaggle, api, monkeypatch):
    batch = kaggle.runtime(KAGGLE_KERNEL_RUN_TYPE="Batch")
    with pytest.raises(UnavailableError, match="nothing can be attached"):
        open_spec(parse("kaggle:ann/titanic"), batch)
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    with pytest.raises(UnavailableError, match="not attached"):
        open_spec(parse("kaggle:ann/titanic"), kaggle.runtime())
    assert api.asked == []


def test_a_mount_that_never_appears_is_not_waited_for_without_end(kaggle, api, monkeypatch):
    monkeypatch.setattr(kaggle_hub, "ATTACH_S", 4.0)
    api.is_mounting = False
    with pytest.raises(UnavailableError, match="did not attach titanic within 4 seconds"):
        open_spec(parse("kaggle:ann/titanic"), kaggle.runtime())


def test_a_refusal_to_attach_leads_to_the_clicks(kaggle, api):
    api.mounts = None
    with pytest.raises(UnavailableError, match="by hand it works") as caught:
        open_spec(parse("kaggle:ann/titanic"), kaggle.runtime())
    assert '"Add Input"' in str(caught.value)


# --- inside Colab


def test_colabs_own_cache_is_used_where_it_has_the_dataset(api, fetched, monkeypatch, tmp_path):
    api.mounts = tmp_path / "mounted"
    monkeypatch.setenv("TBE_RUNTIME_ADDR", f"localhost:{PORT}")
    monkeypatch.setenv("COLAB_CACHE_MOUNT_FOLDER", str(tmp_path / "mounted"))
    folder = fetched("kaggle:ann/titanic", Colab(tmp_path / "c").runtime())
    assert tree(folder) == {"train.csv": "a,b\n1,2\n"}
    assert (tmp_path / "mounted/titanic/train.csv").exists()


def test_what_colabs_cache_has_not_is_fetched(api, fetched, monkeypatch, tmp_path):
    monkeypatch.setenv("TBE_RUNTIME_ADDR", f"localhost:{PORT}")
    assert tree(fetched("kaggle:ann/titanic", Colab(tmp_path / "c").runtime())) == WHOLE
