"""Files that a person brings: Colab's upload window, the clicks of each runtime, and a wait for the file."""

from __future__ import annotations

import threading
import time
import zipfile
from dataclasses import replace

import pytest

import datastage
from datastage.errors import SpecError, Stopped, UnavailableError
from datastage.progress import Silent
from datastage.sources import open_spec, parse, upload
from tests.sources.test_drive import Kernel, Notes
from tests.stand_ins.runtimes import Colab, Kaggle, Layout


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    return Kernel(Colab(tmp_path / "c"), monkeypatch)


@pytest.fixture
def window(kernel, monkeypatch, tmp_path):
    """Ask for birds.zip in Colab's upload window, where the person chooses these files."""

    def choose(*names):
        paths = [tmp_path / "mine" / name for name in names]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(path.name.encode())
        monkeypatch.setenv("STAND_IN_UPLOAD", ":".join(map(str, paths)))
        (tmp_path / "fetched").mkdir()
        return kernel.open("upload:birds.zip").content.run(tmp_path / "fetched", kernel.notes)

    choose.folder, choose.kernel = tmp_path / "fetched", kernel
    return choose


def left(window):
    return [path.name for path in window.folder.iterdir()]


def test_the_file_that_is_chosen_is_taken(window):
    path = window("birds.zip")
    assert (path.name, path.read_bytes(), left(window)) == ("birds.zip", b"birds.zip", ["birds.zip"])


def test_a_name_that_the_browser_numbered_is_the_same_file(window):
    assert window("birds (1).zip").name == "birds.zip"


def test_the_limits_of_the_window_are_said_before_it_opens(window):
    window("birds.zip")
    assert "some tens of MB" in window.kernel.notes.said[0]
    assert window.kernel.notes.said[1].endswith("drive:birds.zip")


def test_a_wrong_file_is_told_from_the_right_one_and_not_kept(window):
    with pytest.raises(UnavailableError, match="fish.zip was uploaded, and birds.zip is needed") as caught:
        window("fish.zip")
    assert "upload:fish.zip" in str(caught.value)
    assert left(window) == []


def test_the_right_file_among_others_is_taken_alone(window):
    assert window("fish.zip", "birds.zip").read_bytes() == b"birds.zip"
    assert left(window) == ["birds.zip"]


def test_nothing_chosen_is_said(window):
    with pytest.raises(UnavailableError, match="Nothing was chosen"):
        window()


def test_a_window_that_fails_leads_to_the_clicks(window, monkeypatch):
    window.kernel.answers(STAND_IN_UPLOAD="/nowhere/birds.zip")
    (window.folder).mkdir()
    with pytest.raises(UnavailableError, match="upload window failed") as caught:
        window.kernel.open("upload:birds.zip").content.run(window.folder, Silent())
    assert "folder icon in the left bar" in str(caught.value)


def test_a_file_that_is_there_opens_no_window(kernel):
    (kernel.colab.root / "birds.zip").write_bytes(b"x")
    found = kernel.open("upload:birds.zip")
    assert found.content.local_path == kernel.colab.root / "birds.zip"
    assert kernel.colab.asked() == []


@pytest.mark.parametrize(
    ("machine", "click"),
    [
        (lambda root: Colab(root), "folder icon in the left bar"),
        (lambda root: Kaggle(root), '"Input" > "Upload" > New Dataset, with the title  birds-data'),
        (lambda root: Kaggle(root, batch=True), '"Input" > "Upload"'),
        (lambda root: Layout(root), "Copy birds.zip into this folder:"),
    ],
)
def test_where_no_window_can_open_the_clicks_are_said(machine, click, tmp_path):
    with pytest.raises(UnavailableError) as caught:
        open_spec(parse("upload:birds.zip"), machine(tmp_path / "m").runtime())
    lines = str(caught.value).splitlines()
    assert any(click in line for line in lines)
    assert lines[-1].startswith("Next: ")
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 88


@pytest.mark.parametrize("text", ["upload:", "upload:a/b.zip", "upload:a\\b.zip"])
def test_only_a_files_name_follows(text):
    with pytest.raises(SpecError, match="upload:datasets.zip"):
        parse(text)


# --- waiting


class Waiting(Notes):
    """Notes that keep the phases too."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def phase(self, name, total_bytes):
        self.begun.append(name)


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(upload, "_POLL_S", 0.05)

    def later(seconds, work):
        timer = threading.Timer(seconds, work)
        timer.start()
        return timer

    return later


def test_the_file_is_waited_for_where_it_may_appear_until_it_grows_no_more(soon, tmp_path):
    here = Layout(tmp_path / "m").runtime(cwd=tmp_path)
    written = []

    def bring():
        with (tmp_path / "birds.zip").open("wb") as file:
            for _ in range(8):
                file.write(b"x" * 1000)
                file.flush()
                time.sleep(0.02)
        written.append(time.monotonic())

    soon(0.2, bring)
    notes = Waiting()
    found = open_spec(parse("upload:birds.zip"), here, reporter=notes, wait_s=20)
    assert found.content.size == 8000
    assert written
    assert notes.said[0].splitlines() == [
        "birds.zip is wanted, from your own computer. This waits for it, up to 20 s.",
        " 1. Copy birds.zip into this folder:",
        f"    {tmp_path}",
        "When all of it is there, this goes on by itself. To end the waiting, stop it.",
    ]
    assert notes.begun[0] == "waiting for birds.zip, 1 s of 20 s"


def test_an_upload_on_kaggle_is_waited_for_among_the_inputs(soon, tmp_path):
    machine = Kaggle(tmp_path / "k")
    folder = machine.root / "kaggle/input/birds-data"

    def bring():
        folder.mkdir()
        (folder / "a.csv").write_text("x")

    soon(0.2, bring)
    here = machine.runtime(cwd=machine.root / "kaggle/working")
    assert open_spec(parse("upload:birds.zip"), here, wait_s=20).content == folder


def test_another_file_that_appears_is_named_and_the_wait_goes_on(soon, tmp_path):
    here = Layout(tmp_path / "m").runtime(cwd=tmp_path)
    soon(0.2, lambda: (tmp_path / "fish.zip").write_bytes(b"x"))
    soon(0.6, lambda: (tmp_path / "birds (1).zip").write_bytes(b"yy"))
    notes = Notes()
    found = open_spec(parse("upload:birds.zip"), here, reporter=notes, wait_s=20)
    assert found.content.size == 2
    assert "fish.zip has appeared; birds.zip is what is waited for." in notes.said


def test_another_input_that_appears_on_kaggle_is_named(soon, tmp_path):
    machine = Kaggle(tmp_path / "k")

    def bring(slug):
        (machine.root / "kaggle/input" / slug).mkdir()
        (machine.root / "kaggle/input" / slug / "a.csv").write_text("x")

    soon(0.2, lambda: bring("titanic"))
    soon(0.8, lambda: bring("birds-data"))
    notes = Notes()
    open_spec(
        parse("upload:birds.zip"), machine.runtime(cwd=machine.root / "kaggle/working"), reporter=notes, wait_s=20
    )
    assert 'the input "titanic" has appeared; "birds-data" is waited for.' in notes.said


def test_a_wait_that_is_stopped_ends_at_once(soon, here):
    class Pressed(Notes):
        def phase(self, name, total_bytes):
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="Nothing half-done was put in place"):
        datastage.stage("upload:birds.zip", wait=300, progress=Pressed())
    assert not list(here.parent.joinpath("root").glob("*birds*"))


def test_a_wait_ends(soon, tmp_path):
    here = Layout(tmp_path / "m").runtime(cwd=tmp_path)
    with pytest.raises(UnavailableError, match="did not appear within 0 seconds"):
        open_spec(parse("upload:birds.zip"), here, wait_s=0.3)


def test_in_a_saved_run_nobody_is_waited_for(soon, tmp_path):
    here = replace(Layout(tmp_path / "m").runtime(cwd=tmp_path), is_batch=True)
    with pytest.raises(UnavailableError, match="has to be brought here first"):
        open_spec(parse("upload:birds.zip"), here, wait_s=0.5)


def test_the_one_line_waits_and_stages(soon, here):
    def bring():
        with zipfile.ZipFile(here / "birds.zip", "w") as archive:
            archive.writestr("a.csv", "1,2")

    soon(0.2, bring)
    staged = datastage.stage("upload:birds.zip", wait=20, progress=False)
    assert (staged / "a.csv").read_text() == "1,2"


def test_a_wait_for_what_nobody_brings_is_refused(here):
    with pytest.raises(SpecError, match="upload:NAME"):
        datastage.stage("./birds.zip", wait=5, progress=False)
