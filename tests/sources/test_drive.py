"""Google Drive: what is found in it, how it is connected, and every way in which either fails."""

from __future__ import annotations

import errno
import inspect
import os
import pickle
import subprocess
import sys
import threading
import unicodedata
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

import datastage
from datastage import extracting, materialize, staging, zipping
from datastage.errors import NotDataError, SpecError, StorageError, UnavailableError
from datastage.mounts import is_on_drive
from datastage.options import StageOptions
from datastage.progress import Silent
from datastage.reader import Reader
from datastage.sources import drive, drive_errors, open_spec, parse
from datastage.transfer import download
from tests.stand_ins import fuse
from tests.stand_ins.runtimes import GOOGLE_COLAB, REPOSITORY, Colab, Kaggle, Layout, at_root, why_not_at_root

needs_fuse = pytest.mark.skipif(fuse.why_not() != "", reason=fuse.why_not())


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text, label=""):
        self.said.append(f"{label:<10}{text}" if label else text)


class Kernel:
    """Colab's kernel in this process: its package can be imported, and a person answers in the browser."""

    def __init__(self, colab, monkeypatch):
        self.colab = colab
        self.monkeypatch = monkeypatch
        self.notes = Notes()
        for name in [name for name in sys.modules if name == "google.colab" or name.startswith("google.colab.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(GOOGLE_COLAB))
        self.answers()
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: self.shell))
        from google.colab import _shell

        self.shell = _shell.Shell()

    def answers(self, *answers, **variables):
        for name, value in {**self.colab.stand_in(*answers), **variables}.items():
            self.monkeypatch.setenv(name, value)

    def open(self, text):
        return open_spec(parse(text), self.colab.runtime(shell=self.shell), reporter=self.notes)


@pytest.fixture
def colab(tmp_path):
    machine = Colab(tmp_path / "c")
    put(machine.cloud / "MyDrive/datasets.zip")
    return machine


@pytest.fixture
def kernel(colab, monkeypatch):
    return Kernel(colab, monkeypatch)


@pytest.fixture
def mounted(colab):
    """A machine whose Drive is connected."""
    colab.point.mkdir()
    for name, target in (("MyDrive", "MyDrive"), ("My Drive", "MyDrive"), ("Shareddrives", "Shareddrives")):
        (colab.point / name).symlink_to(colab.cloud / target)
    (colab.point / ".shortcut-targets-by-id").symlink_to(colab.cloud / ".shortcut-targets-by-id")
    colab.mount_table("/content/drive", "fuse.drive")
    return colab


def put(path, data=b"data"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def look(text, here):
    found = open_spec(parse(text), here)
    path = found.content.local_path if isinstance(found.content, Reader) else found.content
    return path.resolve()


def refusal(text, here):
    with pytest.raises(UnavailableError) as caught:
        open_spec(parse(text), here)
    return str(caught.value)


def test_a_long_path_that_stands_in_the_way_is_told_whole(tmp_path):
    text = f"/root/{'a' * 300}/Google must be a directory if present"
    error = drive_errors.mount_error(ValueError(text), parse("drive:a.zip"), tmp_path)
    assert f"Drive cannot be connected: {text}." in str(error)


# --- a Drive that is mounted


@pytest.mark.parametrize("text", ["drive:a b/x.zip", "drive:MyDrive/a b/x.zip", "drive:My Drive/a b/x.zip"])
def test_the_word_my_drive_is_optional(mounted, text):
    path = put(mounted.cloud / "MyDrive/a b/x.zip")
    assert look(text, mounted.runtime()) == path


@pytest.mark.parametrize("text", ["drive:Shareddrives/Team/x.tar", "drive:Shared drives/Team/x.tar"])
def test_a_file_of_a_shared_drive_is_found(mounted, text):
    path = put(mounted.cloud / "Shareddrives/Team/x.tar")
    assert look(text, mounted.runtime()) == path


def test_the_beginning_of_the_path_on_colab_may_stay(mounted):
    assert look("drive:content/drive/MyDrive/datasets.zip", mounted.runtime()) == mounted.cloud / "MyDrive/datasets.zip"


def test_a_bare_name_is_looked_for_in_colab_notebooks_too(mounted):
    path = put(mounted.cloud / "MyDrive/Colab Notebooks/birds.zip")
    assert look("drive:birds.zip", mounted.runtime()) == path


def test_a_bare_name_in_my_drive_goes_first(mounted):
    put(mounted.cloud / "MyDrive/Colab Notebooks/datasets.zip")
    assert look("drive:datasets.zip", mounted.runtime()) == mounted.cloud / "MyDrive/datasets.zip"


def test_my_drive_said_aloud_is_only_my_drive(mounted):
    put(mounted.cloud / "MyDrive/Colab Notebooks/birds.zip")
    with pytest.raises(UnavailableError):
        look("drive:MyDrive/birds.zip", mounted.runtime())


def test_a_shortcut_to_a_folder_is_followed(mounted):
    path = put(mounted.cloud / ".shortcut-targets-by-id/1A2b/course/x.zip")
    (mounted.cloud / "MyDrive/course").symlink_to(mounted.cloud / ".shortcut-targets-by-id/1A2b/course")
    assert look("drive:course/x.zip", mounted.runtime()) == path


@pytest.mark.parametrize("name", ["naïve café.zip", "O'Brien's.zip", "写真.zip", "x" * 251 + ".zip"])
def test_names_are_taken_as_they_are(mounted, name):
    path = put(mounted.cloud / "MyDrive" / name)
    assert look(f"drive:{name}", mounted.runtime()) == path


def test_a_name_whose_accents_are_stored_apart_is_found(mounted):
    path = put(mounted.cloud / "MyDrive" / unicodedata.normalize("NFD", "café.zip"))
    assert look("drive:" + unicodedata.normalize("NFC", "café.zip"), mounted.runtime()) == path


def test_a_drive_that_is_mounted_elsewhere_is_found(colab):
    point = colab.root / "mnt/my gdrive"
    path = put(point / "MyDrive/x.zip")
    colab.mount_table("/mnt/my\\040gdrive", "fuse.drive")
    assert look("drive:x.zip", colab.runtime()) == path


def test_the_file_is_said_with_its_size_and_place(mounted):
    put(mounted.cloud / "MyDrive/Colab Notebooks/birds.zip", b"x" * 1_200_000)
    found = open_spec(parse("drive:birds.zip"), mounted.runtime())
    assert found.seen == "birds.zip, 1.2 MB, in My Drive > Colab Notebooks"


def test_a_folder_of_drive_is_copied_and_never_used_in_place(mounted):
    put(mounted.cloud / "MyDrive/photos/a.png")
    found = open_spec(parse("drive:photos"), mounted.runtime())
    assert (found.content.name, found.in_place) == ("photos", False)


def test_a_path_on_drive_is_known_for_one_by_its_link_too(mounted, tmp_path):
    (mounted.point / "photos").mkdir()
    (tmp_path / "data").symlink_to(mounted.point / "photos")
    paths = (mounted.point / "MyDrive/x.zip", tmp_path / "data/x.zip", tmp_path / "x.zip")
    assert [is_on_drive(path, mounted.runtime().system_root) for path in paths] == [True, True, False]


@pytest.mark.parametrize(
    ("name", "word", "ending"),
    [
        ("marks.gsheet", "a Google sheet", ".csv"),
        ("notes.gdoc", "a Google document", ".docx"),
        ("talk.gslides", "a Google presentation", ".pdf"),
        ("answers.gform", "a Google form", ".csv"),
        ("plan.GDRAW", "a Google drawing", ".png"),
    ],
)
def test_a_google_document_is_no_file(mounted, name, word, ending):
    put(mounted.cloud / "MyDrive" / name)
    with pytest.raises(NotDataError, match=word) as caught:
        look(f"drive:{name}", mounted.runtime())
    assert f"Download, as {ending}." in str(caught.value)
    assert f"{name.partition('.')[0]}{ending}" in caught.value.remedy[-1]


def test_of_a_folder_of_very_many_files_only_some_names_are_read(tmp_path):
    for nth in range(drive._LIST_NAMES + 5):
        (tmp_path / str(nth)).touch()
    names, is_all = drive.names_in(tmp_path)
    assert (len(names), is_all) == (drive._LIST_NAMES, False)


def test_a_missing_file_is_answered_with_what_is_near(mounted):
    text = refusal("drive:dataset.zip", mounted.runtime())
    assert text.splitlines()[-1] == 'Next:  !datastage stage "drive:datasets.zip"'


def test_a_missing_folder_is_named_and_the_near_one_said(mounted):
    put(mounted.cloud / "MyDrive/Colab Notebooks/course/x.zip")
    text = refusal("drive:Colab notebook/course/x.zip", mounted.runtime())
    assert text.splitlines()[-1] == 'Next:  !datastage stage "drive:Colab Notebooks/course/x.zip"'


def test_in_a_kernel_the_next_line_is_python(kernel, mounted):
    with pytest.raises(UnavailableError) as caught:
        kernel.open("drive:dataset.zip")
    assert str(caught.value).splitlines()[-1] == 'Next:  path = datastage.stage("drive:datasets.zip")'


@pytest.mark.parametrize("text", ["drive:MyDrive", "drive:Shared drives"])
def test_a_whole_drive_is_not_copied(mounted, text):
    with pytest.raises(SpecError, match="the whole of it"):
        open_spec(parse(text), mounted.runtime())


@pytest.mark.parametrize("text", ["drive:", "drive:MyDrive", "drive:Shared drives"])
def test_no_file_at_all_is_answered_with_what_drive_holds(mounted, text):
    put(mounted.cloud / "Shareddrives/Team/x.tar")
    with pytest.raises(SpecError) as caught:
        open_spec(parse(text), mounted.runtime())
    shown, example = (
        ("Shared drives holds: Team", "drive:Shareddrives/Team")
        if "Shared" in text
        else ("My Drive holds: Colab Notebooks, datasets.zip", "drive:Colab Notebooks")
    )
    assert str(caught.value).splitlines()[1:] == [
        f"  {shown}",
        f"  Next: name the file or folder in it, such as {example}.",
    ]


def test_of_what_a_drive_holds_hidden_files_are_neither_named_nor_counted(mounted):
    for i in range(5):
        put(mounted.cloud / f"MyDrive/.{i}")
    with pytest.raises(UnavailableError) as caught:
        open_spec(parse("drive:q.zip"), mounted.runtime())
    assert "My Drive holds: Colab Notebooks, datasets.zip" in str(caught.value).splitlines()


def test_no_file_at_all_in_a_drive_that_is_not_connected_opens_no_window(kernel):
    with pytest.raises(SpecError, match="names no file"):
        kernel.open("drive:")
    assert kernel.colab.asked() == []


def test_a_missing_file_opens_no_window(kernel, mounted):
    with pytest.raises(UnavailableError):
        kernel.open("drive:nothing.zip")
    assert mounted.asked() == []


def test_nothing_of_the_connection_is_asked_when_drive_is_mounted(kernel, mounted):
    kernel.open("drive:datasets.zip")
    assert mounted.asked() == []


@needs_fuse
def test_a_file_that_is_there_is_opened_without_listing_any_folder(colab):
    colab.point.mkdir()
    colab.mount_table("/content/drive", "fuse.drive")
    with fuse.mounted(colab.cloud, colab.point) as faults:
        found = open_spec(parse("drive:MyDrive/datasets.zip"), colab.runtime())
        found.content.close()
    assert faults.listed == []


@needs_fuse
def test_for_a_missing_file_only_its_own_folder_is_listed(colab):
    put(colab.cloud / "MyDrive/course/many/a.png")
    colab.point.mkdir()
    colab.mount_table("/content/drive", "fuse.drive")
    with fuse.mounted(colab.cloud, colab.point) as faults:
        refusal("drive:course/x.zip", colab.runtime())
    assert faults.listed == [str(colab.cloud / "MyDrive/course")]


@needs_fuse
def test_for_a_bare_name_that_is_nowhere_no_folder_of_drive_is_listed(colab):
    colab.point.mkdir()
    colab.mount_table("/content/drive", "fuse.drive")
    with fuse.mounted(colab.cloud, colab.point) as faults:
        text = refusal("dataset.zip", colab.runtime())
    assert "There is no dataset.zip here" in text
    assert faults.listed == []


@needs_fuse
def test_a_file_that_is_listed_and_then_denied_is_no_mistake_of_the_users(colab):
    colab.point.mkdir()
    colab.mount_table("/content/drive", "fuse.drive")
    with fuse.mounted(colab.cloud, colab.point, fuse.Faults(forgotten={"datasets.zip"})):
        text = refusal("drive:datasets.zip", colab.runtime())
    assert "lists datasets.zip in My Drive" in text and "force_remount=True" in text  # noqa: PT018


# --- connecting


def test_a_kernel_connects_drive_and_finds_the_file(kernel, capsys):
    found = kernel.open("drive:datasets.zip")
    assert found.seen == "datasets.zip, 4 bytes, in My Drive"
    assert capsys.readouterr().out == f"Mounted at {kernel.colab.point}\n"


def test_what_google_will_ask_is_said_before_it_asks(kernel):
    kernel.open("drive:datasets.zip")
    assert kernel.notes.said == [
        "Google now asks to connect your Drive: choose the account that holds the file.",
    ]


def test_a_second_line_asks_nothing(kernel):
    kernel.open("drive:datasets.zip")
    kernel.open("drive:datasets.zip")
    assert len(kernel.colab.asked()) == 1


FAILURES = {
    "refused": "its window was closed or refused, or another\naccount",
    "silence": "Google's question was not answered in time",
    "stops": "its client\nstopped",
    "crowded": "holds too many items",
    "hangs": "did not answer in time; it hangs",
    "policy": "The school or company that this account belongs to",
}


@pytest.mark.parametrize("answer", FAILURES)
def test_each_failure_is_named(kernel, answer):
    if answer == "hangs":
        pytest.importorskip("pexpect")
    kernel.answers(answer)
    with pytest.raises(UnavailableError) as caught:
        kernel.open("drive:datasets.zip")
    assert FAILURES[answer] in str(caught.value)


@pytest.mark.parametrize("answer", FAILURES)
def test_each_failure_fits_the_screen_and_ends_with_the_next_step(kernel, answer):
    if answer == "hangs":
        pytest.importorskip("pexpect")
    kernel.answers(answer)
    with pytest.raises(UnavailableError) as caught:
        kernel.open("drive:datasets.zip")
    lines = str(caught.value).splitlines()
    assert lines[-1].startswith("Next: ")
    assert len(lines) <= 14 and max(map(len, lines)) <= 88  # noqa: PT018


def test_a_crowded_drive_is_tried_once_more_with_more_time(kernel):
    kernel.answers("crowded", "ok")
    kernel.open("drive:datasets.zip")
    assert [line.split()[-1] for line in kernel.colab.asked()] == ["180", "600"]


def test_files_where_drive_should_be_mounted_are_moved_by_the_person(kernel):
    put(kernel.colab.point / "MyDrive/model.pt")
    with pytest.raises(UnavailableError, match="!mv .*/content/drive .*/content/drive-old"):
        kernel.open("drive:datasets.zip")
    assert (kernel.colab.point / "MyDrive/model.pt").exists()


def test_a_machine_that_is_not_colabs_own_cannot_connect(kernel):
    (kernel.colab.root / "var/colab/hostname").unlink()
    with pytest.raises(UnavailableError, match="not one of Colab's own machines"):
        kernel.open("drive:datasets.zip")


def test_colab_enterprise_cannot_connect(kernel):
    kernel.answers(VERTEX_PRODUCT="COLAB_ENTERPRISE")
    with pytest.raises(UnavailableError, match="Colab Enterprise"):
        kernel.open("drive:datasets.zip")


def test_a_machine_without_what_drives_client_needs_is_replaced(kernel, monkeypatch):
    monkeypatch.delenv("TBE_EPHEM_CREDS_ADDR")
    with pytest.raises(UnavailableError, match="Disconnect and delete runtime"):
        kernel.open("drive:datasets.zip")


def test_the_packages_own_cause_is_kept(kernel):
    kernel.answers("refused")
    with pytest.raises(UnavailableError) as caught:
        kernel.open("drive:datasets.zip")
    assert type(caught.value.__cause__).__name__ == "MessageError"


def test_an_interrupt_while_google_asks_is_an_interrupt(kernel):
    kernel.answers("interrupt")
    with pytest.raises(KeyboardInterrupt):
        kernel.open("drive:datasets.zip")


def test_a_thread_does_not_ask_the_browser(kernel):
    errors = []

    def run():
        try:
            kernel.open("drive:datasets.zip")
        except UnavailableError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert kernel.colab.asked() == []
    assert errors[0].endswith('    from google.colab import drive; drive.mount("/content/drive")')


def test_an_error_of_connecting_survives_pickling(kernel):
    kernel.answers("refused")
    with pytest.raises(UnavailableError) as caught:
        kernel.open("drive:datasets.zip")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


BANG = """\
Your Drive is not connected yet, and a line that starts with "!" cannot connect it:
Google asks for permission only in an ordinary Python cell.

To keep the "!" line, run this in a cell of its own first, then your line again:

    from google.colab import drive; drive.mount("/content/drive")

Or do it all in Python. Next: put these two lines in place of yours and run the cell:

    import datastage
    path = datastage.stage("drive:Colab Notebooks/datasets.zip")"""


def test_a_bang_line_is_told_what_to_run_instead(colab):
    assert refusal("drive:Colab Notebooks/datasets.zip", colab.runtime()) == BANG


def test_a_path_in_a_drive_that_is_not_connected_leads_to_the_line_that_connects_it(kernel):
    with pytest.raises(UnavailableError) as caught:
        kernel.open(str(kernel.colab.point / "MyDrive/a b/x.zip"))
    assert str(caught.value).splitlines()[-1] == 'Next:  path = datastage.stage("drive:a b/x.zip")'


@pytest.mark.parametrize(
    "pasted",
    [
        "//content//drive//My Drive//data//x.zip",  # colabtools#1599
        "content/drive/MyDrive/data/x.zip",  # colabtools#630
        "/content/drive/MyDrive/a/../data/x.zip",
        "/content/gdrive/My Drive/data/x.zip",
    ],
)
def test_a_path_in_drive_as_people_paste_it_leads_to_the_line_that_connects_it(kernel, monkeypatch, pasted):
    spec = parse(pasted)
    if spec.scheme == "file":  # the root of this machine is a folder of the test
        spec = parse(("/" if pasted.startswith("//") else "") + str(kernel.colab.root) + pasted)
    with pytest.raises(UnavailableError) as caught:
        open_spec(spec, kernel.colab.runtime(shell=kernel.shell))
    assert str(caught.value).startswith("Your Drive is not connected yet.")
    assert str(caught.value).splitlines()[-1] == 'Next:  path = datastage.stage("drive:data/x.zip")'


def test_two_slashes_at_the_beginning_are_one(tmp_path):
    path = put(tmp_path / "x.zip")
    assert look(f"/{path}", Layout(tmp_path / "c").runtime()) == path


def test_a_path_in_drive_without_its_first_slash_is_offered_with_it(mounted, tmp_path):
    text = refusal("content/drive/MyDrive/datasets.zip", mounted.runtime(cwd=tmp_path))
    assert text.splitlines()[-1] == "Next: is it this one?  /content/drive/MyDrive/datasets.zip"


@pytest.mark.parametrize("text", ["drive/birds.zip", "My Drive/birds.zip", "Drive/birds.zip"])
def test_a_path_that_begins_like_drive_is_offered_as_one(colab, tmp_path, text):
    said = refusal(text, colab.runtime(cwd=tmp_path)).splitlines()[-1]
    assert said == "Next: a file in your Google Drive is written  drive:birds.zip"
    assert "drive:" not in refusal(text, Layout(tmp_path / "x").runtime(cwd=tmp_path))


def test_a_path_in_a_drive_that_is_not_connected_is_told_in_a_bang_line_too(colab):
    text = refusal(str(colab.point / "MyDrive/Colab Notebooks/datasets.zip"), colab.runtime())
    assert text == BANG


def test_a_missing_path_in_a_connected_drive_is_just_missing(mounted):
    assert refusal(str(mounted.point / "MyDrive/x.zip"), mounted.runtime()).startswith("There is no x.zip there.")


@pytest.mark.skipif(why_not_at_root() != "", reason=why_not_at_root())
def test_a_bang_line_on_a_real_machine_is_told_the_same(colab):
    code = (
        "from datastage import runtime; from datastage.sources import open_spec; from datastage.sources import parse\n"
        "try: open_spec(parse('drive:Colab Notebooks/datasets.zip'), runtime.current())\n"
        "except FileNotFoundError as error: print(error)"
    )
    done = at_root(colab, [sys.executable, "-c", code], cwd="/content")
    assert done.stdout == BANG + "\n", done.stderr


def test_the_stand_in_has_the_signatures_of_the_real_one(kernel):
    from google.colab import auth, drive, errors, files, userdata

    assert [str(inspect.signature(function)) for function in (drive.mount, files.upload, auth.authenticate_user)] == [
        "(mountpoint, force_remount=False, timeout_ms=120000, readonly=False)",
        "(target_dir='')",
        "(clear_output=True, project_id=None)",
    ]
    assert not issubclass(userdata.NotebookAccessError, errors.Error)


def test_the_stand_in_dies_in_a_subprocess_as_the_real_one_does(colab):
    code = "from google.colab import drive; drive.mount('/content/drive')"
    environment = {**os.environ, **colab.stand_in(), "PYTHONPATH": str(GOOGLE_COLAB)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr.splitlines()[-1] == "AttributeError: 'NoneType' object has no attribute 'kernel'"


# --- a Drive whose client has died


@needs_fuse
def test_a_dead_drive_is_connected_again_by_the_kernel(kernel):
    kernel.colab.point.mkdir()
    with fuse.dead_mount(kernel.colab.point):
        found = kernel.open("drive:datasets.zip")
    assert found.seen == "datasets.zip, 4 bytes, in My Drive"
    assert kernel.notes.said == ["The connection to your Drive has broken; it is made again now."]


@needs_fuse
@pytest.mark.parametrize("last", ["My Drive", "x.zip"])
def test_a_drive_that_dies_while_it_is_looked_at_is_connected_again(kernel, last):
    put(kernel.colab.cloud / "MyDrive/course/x.zip")
    kernel.colab.point.mkdir()
    kernel.colab.mount_table("/content/drive", "fuse.drive")
    # "My Drive" is the last that is asked for: until then it only says that there is no such file.
    with fuse.mounted(kernel.colab.cloud, kernel.colab.point, fuse.Faults(dies_at=last, forgotten={"x.zip"})):
        found = kernel.open("drive:course/x.zip")
    assert found.seen == "x.zip, 4 bytes, in My Drive > course"
    assert kernel.notes.said == ["The connection to your Drive has broken; it is made again now."]


@needs_fuse
def test_a_drive_whose_top_still_answers_is_mounted_anew_and_not_taken_for_mounted(kernel):
    kernel.colab.point.mkdir()
    kernel.colab.mount_table("/content/drive", "fuse.drive")
    (kernel.colab.cloud / "My Drive").symlink_to("MyDrive")
    faults = fuse.Faults(lookups_fail={"datasets.zip": errno.ENOTCONN})
    with fuse.mounted(kernel.colab.cloud, kernel.colab.point, faults):
        assert (kernel.colab.point / "My Drive").is_dir()
        found = kernel.open("drive:datasets.zip")
    assert found.seen == "datasets.zip, 4 bytes, in My Drive"


@needs_fuse
def test_a_dead_drive_in_a_bang_line_is_told_from_one_that_was_never_connected(colab):
    colab.point.mkdir()
    with fuse.dead_mount(colab.point), pytest.raises(UnavailableError) as caught:
        open_spec(parse("drive:datasets.zip"), colab.runtime())
    assert "Transport endpoint is not connected" in str(caught.value)
    assert caught.value.errno == errno.ENOTCONN


@needs_fuse
def test_a_dead_drive_does_not_stop_a_local_file(colab, tmp_path):
    path = put(tmp_path / "work/a.csv")
    colab.point.mkdir()
    with fuse.dead_mount(colab.point):
        assert look("a.csv", colab.runtime(cwd=tmp_path / "work")) == path


# --- reading


@needs_fuse
@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Failed to download content (QUOTA_EXCEEDED)\n", "read or downloaded too often today"),
        ("all is well\n", "Input/output error"),
    ],
)
def test_an_input_output_error_is_a_quota_where_drives_log_says_so(colab, log, words):
    put(colab.cloud / "MyDrive/course/birds.zip", b"x" * 400_000)
    colab.point.mkdir()
    colab.mount_table("/content/drive", "fuse.drive")
    here = colab.runtime()
    faults = fuse.Faults(fail_after={"birds.zip": (200_000, errno.EIO)})
    faults.on_fail = lambda: put(colab.root / "root/.config/Google/DriveFS/Logs/drive_fs.txt", log.encode())
    with fuse.mounted(colab.cloud, colab.point, faults):
        reader = open_spec(parse("drive:course/birds.zip"), here).content
        with pytest.raises(OSError) as caught:
            b"".join(reader.stream(0))
        made = drive_errors.explain_os_error(caught.value, reader.local_path, here)
        reader.close()
    assert words in str(made)
    assert isinstance(made, UnavailableError) and made.errno == errno.EIO  # noqa: PT018


def test_the_way_around_a_quota_is_a_copy_beside_the_file(mounted):
    put(mounted.cloud / "MyDrive/course/birds.zip")
    put(mounted.root / "root/.config/Google/DriveFS/Logs/drive_fs.txt", b"x (QUOTA_EXCEEDED)\n")
    error = OSError(errno.EIO, "Input/output error")
    made = drive_errors.explain_os_error(error, mounted.point / "MyDrive/course/birds.zip", mounted.runtime())
    assert str(made).splitlines()[-1].endswith('datastage.stage("drive:course/Copy of birds.zip")')


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.ESTALE, errno.ECONNABORTED, errno.EAGAIN])
def test_errors_of_a_broken_connection_are_named_as_that(mounted, code):
    error = OSError(code, os.strerror(code))
    made = drive_errors.explain_os_error(error, mounted.point / "MyDrive/datasets.zip", mounted.runtime())
    assert "The connection to your Drive has broken" in str(made) and made.errno == code  # noqa: PT018


def test_drive_for_desktop_that_stops_is_started_again_by_the_person(tmp_path):
    path = put(tmp_path / "home/Google Drive/My Drive/birds.zip")
    made = drive_errors.explain_os_error(OSError(errno.ENOTCONN, "x"), path, Layout(tmp_path / "x").runtime())
    assert str(made).splitlines()[-1].startswith("Next: start Google Drive on this machine again")


def test_an_error_of_the_disk_is_not_drives(mounted):
    made = drive_errors.explain_os_error(OSError(errno.EACCES, "x"), mounted.point / "MyDrive/a", mounted.runtime())
    assert isinstance(made, StorageError)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_what_this_machines_disk_refuses_while_a_file_of_drive_comes_is_not_drives(mounted, monkeypatch, code):
    put(mounted.cloud / "MyDrive/birds.csv", b"1,2\n" * 1000)

    def failing(fd, piece, at):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(download, "write_fd", failing)
    monkeypatch.setattr(materialize, "is_network_disk", lambda path: True)  # as Drive's mount is
    with pytest.raises(StorageError, match="While writing the files") as caught:
        staging.stage(StageOptions.of("drive:birds.csv", root=mounted.root / "staged"), mounted.runtime())
    assert caught.value.errno == code
    assert "Drive" not in str(caught.value)


def test_an_archive_below_a_drive_that_is_not_connected_is_told_as_stage_tells_it(kernel):
    here = kernel.colab.runtime(shell=kernel.shell)
    path = here.system_root / "content/drive/MyDrive/course/birds.zip"
    with pytest.raises(UnavailableError, match="Your Drive is not connected yet") as caught:
        extracting.open_archive(path, here).__enter__()
    assert 'datastage.stage("drive:course/birds.zip")' in str(caught.value)


# --- writing


def writes(here, folder):
    """Each way to write into `folder`, by what it is called."""
    data = put(here.cwd / "f/a.csv", b"1,2\n").parent
    with zipfile.ZipFile(here.cwd / "a.zip", "w") as archive:
        archive.write(data / "a.csv", "a.csv")
    archive, how = here.cwd / "a.zip", dict.fromkeys(("members", "password", "encoding"))
    yield "save_to", lambda: staging.stage(StageOptions.of(archive, save_to=f"{folder}/kept"), here)
    yield "root", lambda: staging.stage(StageOptions.of(archive, root=f"{folder}/root"), here)
    yield "link", lambda: staging.stage(StageOptions.of(archive, link=f"{folder}/link"), here)
    yield (
        "extract",
        lambda: extracting.extract(archive, folder / "ex", here, strip=False, nested=False, reporter=Notes(), **how),
    )
    yield "zip", lambda: zipping.zip_folder(data, f"{folder}/f.zip", here, Notes())
    setting = replace(here, root_setting=folder)
    yield "DATASTAGE_ROOT", lambda: staging.stage(StageOptions.of(archive), setting)


@pytest.mark.parametrize("is_linked", [False, True])
@pytest.mark.parametrize("way", ["save_to", "root", "link", "extract", "zip", "DATASTAGE_ROOT"])
@pytest.mark.parametrize("point", ["drive", "gdrive"])
def test_nothing_is_written_where_drive_is_not_connected_yet(kernel, way, point, is_linked):
    here = kernel.colab.runtime(shell=kernel.shell)
    folder = here.cwd / f"content/{point}/MyDrive"
    if is_linked:
        (here.cwd / "my").symlink_to(folder)
        folder = here.cwd / "my"
    with pytest.raises(UnavailableError, match="would be lost") as caught:
        dict(writes(here, folder))[way]()
    assert (
        str(caught.value).splitlines()[-1].strip() == f'from google.colab import drive; drive.mount("/content/{point}")'
    )
    assert not (here.cwd / f"content/{point}").exists()


@pytest.mark.parametrize("way", ["save_to", "root", "link", "extract", "zip", "DATASTAGE_ROOT"])
@pytest.mark.parametrize("kind", ["fuse.drive", "fuse.rclone"])
def test_where_a_drive_is_connected_by_whatever_program_it_is_written_to(colab, way, kind):
    point = "/content/drive/MyDrive" if kind == "fuse.rclone" else "/content/drive"
    (colab.point / "MyDrive").mkdir(parents=True)
    colab.mount_table(point, kind)
    dict(writes(colab.runtime(), colab.point / "MyDrive"))[way]()
    assert list((colab.point / "MyDrive").iterdir())


@pytest.mark.parametrize("point", ["/content/drive", "/content/drive/MyDrive"])
def test_a_drive_that_another_program_has_mounted_is_one_to_write_to_by_its_word_too(colab, point):
    put(colab.point / "MyDrive/src/a.csv", b"1,2\n")
    colab.mount_table(point, "fuse.rclone")
    here = colab.runtime()
    put(here.cwd / "a.csv")
    for folder in ("kept", "again"):  # the second time the data is ready
        staging.stage(StageOptions.of(here.cwd / "a.csv", save_to=f"drive:{folder}"), here)
        assert (colab.point / "MyDrive" / folder / "a.csv").is_file()
    zipping.zip_folder("drive:src", "drive:z.zip", here, Notes())
    assert (colab.point / "MyDrive/z.zip").is_file()


def test_a_folder_that_only_looks_like_a_drive_is_not_kept_in(kernel):
    (kernel.colab.point / "MyDrive").mkdir(parents=True)
    here = kernel.colab.runtime(shell=kernel.shell)
    put(here.cwd / "a.csv")
    with pytest.raises(UnavailableError, match="That is not in your Drive"):
        staging.stage(StageOptions.of(here.cwd / "a.csv", save_to="drive:kept"), here)
    assert os.listdir(kernel.colab.point / "MyDrive") == []


@pytest.mark.parametrize("kept", ["content/drive/MyDrive/kept", "drive:kept"])
def test_of_data_that_is_ready_it_is_said_that_it_is_not_kept_where_drive_is_not_connected(kernel, kept):
    here, notes = kernel.colab.runtime(shell=kernel.shell), Notes()
    put(here.cwd / "a.csv")
    staging.stage(StageOptions.of(here.cwd / "a.csv"), here)
    save_to = kept if kept.startswith("drive:") else here.cwd / kept
    staging.stage(StageOptions.of(here.cwd / "a.csv", save_to=save_to), here, reporter=notes)
    assert "Not kept  your Drive is not connected" in notes.said
    assert not kernel.colab.point.exists()


@pytest.mark.parametrize("way", ["save_to", "zip to", "zip from"])
def test_a_bang_line_that_writes_to_drive_is_told_to_connect_it_and_no_other_line(colab, way, tmp_path):
    here = colab.runtime()
    archive = put(here.cwd / "f/a.csv").parent
    with pytest.raises(UnavailableError) as caught:
        if way.startswith("zip"):
            words = (archive, "drive:f.zip") if way == "zip to" else ("drive:f", tmp_path / "f.zip")
            zipping.zip_folder(*words, here, Notes())
        else:
            staging.stage(StageOptions.of(archive / "a.csv", save_to="drive:"), here)
    assert str(caught.value).splitlines()[-1].strip() == drive_errors.CONNECT
    assert "datastage.stage" not in str(caught.value)


@pytest.mark.parametrize("option", ["root", "link", "to"])
@pytest.mark.parametrize("value", ["drive:staged", "s3://bucket/staged"])
def test_a_folder_of_this_machine_is_not_called_by_the_name_of_another_place(here, option, value):
    put(here / "a.zip")
    with pytest.raises(SpecError, match=f"{option}= is a folder of this machine") as caught:
        (datastage.extract if option == "to" else datastage.stage)("./a.zip", **{option: value})
    assert os.listdir(here) == ["a.zip"]
    assert str(caught.value).splitlines()[-1].strip().startswith("Next: ")


# --- elsewhere


def test_on_kaggle_drive_cannot_be_connected_and_the_other_ways_are_said(tmp_path):
    text = refusal("drive:birds.zip", Kaggle(tmp_path / "k").runtime())
    assert text.startswith("Google Drive cannot be connected in a Kaggle notebook.")
    assert '"Input" > "Upload"' in text


def test_on_a_laptop_without_drive_the_other_ways_are_said(tmp_path):
    text = refusal("drive:birds.zip", Layout(tmp_path / "x").runtime())
    assert text.splitlines()[-1].endswith('or "./birds.zip"')


def test_on_a_laptop_the_folder_of_drive_for_desktop_is_found(tmp_path, monkeypatch):
    path = put(tmp_path / "home/Google Drive/My Drive/birds.zip")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert look("drive:birds.zip", Layout(tmp_path / "x").runtime()) == path


# --- for real: a machine whose /content/drive is a mount that fails

AT_ROOT = """
import errno, os, sys, zipfile
from pathlib import Path
sys.path.insert(0, {repository!r})
import datastage
from tests.stand_ins import fuse
cloud, how = Path({cloud!r}), {how!r}
os.mkdir("/content/drive")
log = Path("/root/.config/Google/DriveFS/Logs/drive_fs.txt")
faults = fuse.Faults()
if how == "quota":
    faults.fail_after["photos.zip"] = (150_000, errno.EIO)
    faults.on_fail = lambda: (log.parent.mkdir(parents=True, exist_ok=True), log.write_text("x (QUOTA_EXCEEDED)"))
with fuse.mounted(cloud, Path("/content/drive"), faults):
    try:
        staged = datastage.stage("drive:photos.zip", progress=False)
        print("staged", len(list(staged.glob("*.bin"))))
    except datastage.errors.DatastageError as error:
        print(type(error).__name__, error.errno, str(error).splitlines()[0])
print("folders", sum(not name.startswith(".") for name in os.listdir("/content/staged")))
"""


@needs_fuse
@pytest.mark.skipif(why_not_at_root() != "", reason=why_not_at_root())
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", "staged 20\nfolders 1\n"),
        ("quota", "UnavailableError 5 Google refuses photos.zip for now: it has been read or downloaded too often"),
    ],
)
def test_staging_from_a_mount_is_whole_or_says_why_there_is_nothing(colab, how, expected):
    if os.geteuid() != 0:
        pytest.skip("left out: the log of Drive's client is root's")
    with zipfile.ZipFile(colab.cloud / "MyDrive/photos.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.bin", os.urandom(20_000))
    code = AT_ROOT.format(repository=str(REPOSITORY), cloud=str(colab.cloud), how=how)
    done = at_root(colab, [sys.executable, "-c", code], cwd="/content")
    assert done.stdout.startswith(expected), done.stderr
    assert done.stdout.endswith(f"folders {0 if how else 1}\n")
