"""What was fetched is kept for the next session, and found there first: the file itself, whole or not at all."""

import errno
import hashlib
import io
import os
import time
import zipfile

import pytest

import datastage
from datastage import datasets, own_files, runtime, saved_copy
from datastage.errors import SpecError, StorageError, UnavailableError
from datastage.progress import Silent
from tests.faulty_mount import faulty_mount as faulty_mount
from tests.servers import server as server
from tests.stand_ins.runtimes import Kaggle

pytestmark = pytest.mark.usefixtures("here")


def zip_bytes():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("cat/1.txt", "meow")
    return stream.getvalue()


def put(path, data):
    path.write_bytes(data)
    return path


def quiet(spec, **options):
    return datastage.stage(spec, progress=False, **options)


def forget(root):
    own_files.remove_tree(root)


@pytest.fixture
def drive(tmp_path, monkeypatch):
    (tmp_path / "drive" / "My Drive").mkdir(parents=True)
    monkeypatch.setenv("DATASTAGE_DRIVE", str(tmp_path / "drive"))
    return tmp_path / "drive" / "My Drive"


def test_the_file_itself_is_kept_and_the_next_session_asks_nobody_else(server, drive, tmp_path):
    body = zip_bytes()  # made once: it holds the time
    url = server.serve("pets.zip", body)
    quiet(url, save_to="drive:datasets")
    assert (drive / "datasets" / "pets.zip").read_bytes() == body
    asked = len(server.seen)
    forget(tmp_path / "root")
    staged = quiet(url, save_to="drive:datasets")
    assert (staged / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) == asked


def test_a_plain_file_is_kept_too_and_comes_back_under_its_name(server, here, tmp_path):
    url = server.serve("iris.csv", b"1,2\n")
    quiet(url, save_to="./kept")
    forget(tmp_path / "root")
    del server.pages["iris.csv"]
    staged = quiet(url, save_to="./kept")
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", b"1,2\n")
    assert "source_path" not in staged.receipt  # the address is the source; what was kept may go


def test_a_kept_file_that_was_damaged_is_passed_over(server, here, tmp_path):
    body = zip_bytes()
    url = server.serve("pets.zip", body)
    quiet(url, save_to="./kept")
    (here / "kept" / "pets.zip").write_bytes(body[:-1] + b"x")
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert (quiet(url, save_to="./kept") / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) > asked


def test_an_entrys_files_are_kept_and_found_by_content(server, here, tmp_path, monkeypatch):
    body = zip_bytes()
    entry = datastage.Entry(
        name="kept_pets",
        title="Pets",
        files=(datasets.File("cat/1.txt", 4, hashlib.md5(b"meow").hexdigest()),),
        read=lambda path, split: None,
        downloads=(
            datasets.Download("pets.zip", len(body), hashlib.md5(body).hexdigest(), (server.serve("pets.zip", body),)),
        ),
    )
    monkeypatch.setitem(datasets._entries, entry.name, entry)
    said = []

    class Notes(Silent):
        def note(self, text, label=""):
            said.extend([label] * ("ept" in label))

    quiet(entry.name)
    datastage.stage(entry.name, save_to="./kept", progress=Notes())
    assert said == ["Not kept"]
    quiet(entry.name, save_to="./kept", refresh=True)
    forget(tmp_path / "root")
    asked = len(server.seen)
    quiet(entry.name, save_to="./kept")
    assert len(server.seen) == asked
    datastage.stage(entry.name, save_to="./kept", progress=Notes())
    assert said == ["Not kept", "Kept"]


def test_what_a_mirror_gives_in_the_place_of_the_published_file_is_not_kept(server, here, monkeypatch):
    body, stream = zip_bytes(), io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("cat/1.txt", "purr")
    urls = (server.serve("pets.zip", stream.getvalue()),)
    entry = datastage.Entry(
        name="mirrored_pets",
        title="Pets",
        files=(datasets.File("cat/1.txt", 4, hashlib.md5(b"meow").hexdigest()),),
        read=lambda path, split: None,
        downloads=(datasets.Download("pets.zip", len(body), hashlib.md5(body).hexdigest(), urls),),
    )
    monkeypatch.setitem(datasets._entries, entry.name, entry)
    with pytest.raises(UnavailableError):
        quiet(entry.name, save_to="./kept")
    assert list((here / "kept").rglob("*.zip")) == []


def test_when_it_cannot_be_kept_the_data_is_ready_all_the_same_and_that_is_said(server, here):
    (here / "kept").write_text("a file in the way")
    notes = []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            notes.append(f"{label:<10}{text}" if label else text)

    staged = datastage.stage(server.serve("pets.zip", zip_bytes()), save_to="./kept", progress=Notes())
    assert (staged / "cat/1.txt").exists()
    assert any(note.startswith("Not kept") for note in notes)


@pytest.mark.parametrize(
    ("save_to", "why"), [("drive:kept", "your Google Drive is full"), ("./kept", "The disk is full")]
)
def test_what_is_full_is_called_so(save_to, why, drive, here, monkeypatch):
    said = []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            said.append(f"{label}: {text}")

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saved_copy, "FileReader", full)
    (here / "a.zip").write_bytes(zip_bytes())
    datastage.stage("./a.zip", save_to=save_to, progress=Notes())
    assert any(line.startswith(f"Not kept: {why}") for line in said)


def test_keeping_that_breaks_off_leaves_nothing(here, monkeypatch):
    (here / "a.zip").write_bytes(b"x" * 1000)

    def full(source, target):
        raise OSError(28, os.strerror(28))

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, full)
    with pytest.raises(StorageError):
        saved_copy.keep(here / "a.zip", here / "kept", "key", name="a.zip")
    assert list((here / "kept").iterdir()) == []


@pytest.mark.parametrize("where", ["cifar10", "https://host.example/x", "kaggle:a/b"])
def test_a_place_that_cannot_be_written_to_is_refused(here, where):
    (here / "a.csv").write_text("1\n")
    with pytest.raises(SpecError):
        quiet("./a.csv", save_to=where)


@pytest.mark.parametrize("where", ["gs://my-bucket/data", "s3://my-bucket/data", "az://my-bucket"])
def test_a_bucket_without_credentials_is_refused_before_anything_is_fetched(where, server, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SpecError, match="without credentials: .* not set") as caught:
        quiet(server.serve("pets.zip", zip_bytes()), save_to=where)
    assert "save_to='drive:datasets'" in str(caught.value)
    assert not server.seen


def test_a_bucket_that_is_mounted_is_a_folder_to_keep_files_in(server, faulty_mount, tmp_path, here):
    # The mount of the tests is read-only: the folder behind it is what a bucket's own client would write through.
    url = server.serve("pets.zip", zip_bytes())
    quiet(url, save_to=str(faulty_mount.folder))
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert (quiet(url, save_to=str(faulty_mount.path)) / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) == asked


def test_a_file_of_the_users_that_has_the_name_is_left_alone(server, here, tmp_path):
    (here / "kept").mkdir()
    (here / "kept/pets.zip").write_bytes(b"my own, for years")
    url = server.serve("pets.zip", zip_bytes())
    quiet(url, save_to="./kept")
    assert (here / "kept/pets.zip").read_bytes() == b"my own, for years"
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert (quiet(url, save_to="./kept") / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) == asked


def test_two_addresses_whose_files_have_one_name_are_both_kept(server, here, tmp_path):
    other = zip_bytes()[:-1] + b"!"
    first, second = server.serve("a/x.csv", b"1,2\n"), server.serve("b/x.csv", other)
    quiet(first, save_to="./kept")
    quiet(second, save_to="./kept", unpack=False)
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert quiet(first, save_to="./kept").path.read_bytes() == b"1,2\n"
    assert quiet(second, save_to="./kept", unpack=False).path.read_bytes() == other
    assert len(server.seen) == asked


def test_what_is_kept_again_takes_the_place_of_what_was_kept(here):
    for content in (b"old", b"newer"):
        (here / "a.csv").write_bytes(content)
        saved_copy.keep(here / "a.csv", here / "kept", "key", name="a.csv")
    assert sorted(os.listdir(here / "kept")) == [saved_copy.note_of("key"), "a.csv"]
    assert (here / "kept/a.csv").read_bytes() == b"newer"


def test_of_two_that_keep_into_one_folder_at_once_none_is_lost(here):
    for name in ("one", "two"):
        (here / name).mkdir()
        (here / name / "a.csv").write_text(name)

    class Meanwhile(type(datastage.progress.SILENT)):
        def phase(self, name, total_bytes):
            saved_copy.keep(here / "two" / "a.csv", here / "kept", "2" * 64, name="a.csv")

    saved_copy.keep(here / "one" / "a.csv", here / "kept", "1" * 64, name="a.csv", reporter=Meanwhile())
    for key, text in (("1" * 64, "one"), ("2" * 64, "two")):
        assert saved_copy.find(here / "kept", key).path.read_text() == text


def test_many_that_keep_the_same_file_at_once_keep_one(here):
    (here / "a.csv").write_text("1,2")

    class Meanwhile(type(datastage.progress.SILENT)):
        def phase(self, name, total_bytes):
            saved_copy.keep(here / "a.csv", here / "kept", "key", name="a.csv")

    for _ in range(2):
        saved_copy.keep(here / "a.csv", here / "kept", "key", name="a.csv", reporter=Meanwhile())
        assert [name for name in os.listdir(here / "kept") if name[0] != "."] == ["a.csv"]


def test_what_an_earlier_version_noted_in_one_index_is_found(here):
    saved_copy.keep(put(here / "a.csv", b"1,2"), here / "kept", "key", name="a.csv")
    (here / "kept" / saved_copy.note_of("key")).rename(here / "kept" / ".datastage-kept.json")
    assert saved_copy.find(here / "kept", "key").path == here / "kept/a.csv"
    assert saved_copy.keep(here / "a.csv", here / "kept", "key", name="a.csv") == (here / "kept/a.csv", True)
    saved_copy.keep(put(here / "a.csv", b"newer"), here / "kept", "key", name="a.csv")
    assert sorted(os.listdir(here / "kept"))[2:] == ["a.csv"]
    assert saved_copy.find(here / "kept", "key").path.read_bytes() == b"newer"


def test_what_a_killed_session_left_is_removed_in_time(here):
    (here / "a.csv").write_bytes(b"1")
    (here / "kept").mkdir()
    for name, age in ((".a.csv.0123456789abcde7.partial", 7200), (".a.csv.0123456789abcde8.partial", 5)):
        (here / "kept" / name).write_bytes(b"half")
        os.utime(here / "kept" / name, (time.time() - age,) * 2)
    saved_copy.keep(here / "a.csv", here / "kept", "key", name="a.csv")
    assert sorted(os.listdir(here / "kept")) == [".a.csv.0123456789abcde8.partial", saved_copy.note_of("key"), "a.csv"]


def test_an_archive_of_the_catalog_is_kept_and_found_there_next_time(server, here, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    body = zip_bytes()
    url = server.serve("birds.zip", body)
    datastage.register("kept_birds", url, expect=f"sha256:{hashlib.sha256(body).hexdigest()}")
    quiet("kept_birds", save_to="./kept")
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert (quiet("kept_birds", save_to="./kept") / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) == asked


def test_refresh_brings_the_new_file_and_keeps_it_in_place_of_the_old_one(server, here, tmp_path):
    url = server.serve("iris.csv", b"old\n")
    quiet(url, save_to="./kept")
    server.serve("iris.csv", b"newer\n")
    assert quiet(url, save_to="./kept", refresh=True).path.read_bytes() == b"newer\n"
    assert [name for name in sorted(os.listdir(here / "kept")) if name[0] != "."] == ["iris.csv"]
    forget(tmp_path / "root")
    asked = len(server.seen)
    assert quiet(url, save_to="./kept").path.read_bytes() == b"newer\n"
    assert len(server.seen) == asked


def test_refresh_takes_what_was_kept_where_no_place_gives_it_anew_and_says_so(server, here):
    url = server.serve("iris.csv", b"old\n")
    quiet(url, save_to="./kept")
    del server.pages["iris.csv"]
    said = []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            said.append((label, text))

    staged = datastage.stage(url, save_to="./kept", refresh=True, progress=Notes())
    assert staged.path.read_bytes() == b"old\n"
    assert [text for label, text in said if label == "Found"] == ["iris.csv, kept in ./kept: no place gives it anew"]
    assert [attempt["place"] for attempt in staged.receipt["attempts"]] == [url]


def test_refresh_fetches_nothing_that_a_digest_shows_to_be_the_same(server, here):
    body = zip_bytes()
    url, right = server.serve("pets.zip", body), f"sha256:{hashlib.sha256(body).hexdigest()}"
    quiet(url, expect=right, save_to="./kept")
    asked = len(server.seen)
    assert (quiet(url, expect=right, save_to="./kept", refresh=True) / "cat/1.txt").read_text() == "meow"
    assert len(server.seen) == asked


@pytest.mark.parametrize("is_there", [True, False])
def test_refresh_of_a_catalogs_file_without_a_digest_asks_its_places_first(server, here, monkeypatch, is_there):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    url = server.serve("iris.csv", b"old\n")
    datastage.register(datastage.ArchiveEntry("kept_iris", "Iris", (url,), size=4))
    quiet("kept_iris", save_to="./kept")
    server.serve("iris.csv", b"new\n")
    if not is_there:
        del server.pages["iris.csv"]
    staged = quiet("kept_iris", save_to="./kept", refresh=True)
    assert staged.path.read_bytes() == (b"new\n" if is_there else b"old\n")


def test_a_file_of_ones_own_is_kept_and_each_time_it_is_said(here, tmp_path):
    (here / "pets.zip").write_bytes(zip_bytes())
    said = []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            said.append((label, text))

    for _ in range(2):
        datastage.stage("./pets.zip", save_to="./kept", refresh=True, progress=Notes())
    assert [text for label, text in said if label == "Kept"] == [
        "pets.zip in ./kept for the next session",
        "pets.zip in ./kept already",
    ]
    (here / "pets").mkdir()
    (here / "pets" / "1.txt").write_text("1")
    datastage.stage("./pets", copy=True, save_to="./kept", progress=Notes())
    assert said[-1][0] != "Kept"
    assert any(label == "Not kept" for label, _ in said)


def test_a_file_of_ones_own_comes_before_what_was_kept_of_it_and_what_was_kept_where_it_is_gone(here, tmp_path):
    for body in (b"old\n", b"new\n", None):
        (here / "a.csv").write_bytes(body) if body else (here / "a.csv").unlink()
        assert quiet("./a.csv", save_to="./kept").path.read_bytes() == (body or b"new\n")
        forget(tmp_path / "root")


def test_of_data_that_is_ready_it_is_said_too_and_what_was_not_kept_before_is_kept_now(here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE", raising=False)
    zipped = zip_bytes()  # once: it holds the time of its making
    (here / "pets.zip").write_bytes(zipped)
    said = []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            said.append((label, text))

    def again(spec, **options):
        said.clear()
        datastage.stage(spec, save_to="./kept", progress=Notes(), **options)
        return [(label, text) for label, text in said if "ept" in label]

    quiet("./pets.zip")
    assert again("./pets.zip") == [("Kept", "pets.zip in ./kept for the next session")]
    assert (here / "kept/pets.zip").read_bytes() == zipped
    assert again("./pets.zip") == [("Kept", "pets.zip in ./kept already")]
    url = server.serve("from-afar.zip", zip_bytes())
    quiet(url)
    asked = len(server.seen)
    ((label, text),) = again(url)
    assert (label, "refresh=True brings it again" in text) == ("Not kept", True)
    assert len(server.seen) == asked
    assert again(url, refresh=True) == [("Kept", "from-afar.zip in ./kept for the next session")]
    assert again(url) == [("Kept", "from-afar.zip in ./kept already")]
    (here / "folder").mkdir()
    (here / "folder/1.txt").write_text("1")
    for _ in range(2):
        assert again("./folder") == [("Not kept", "folder is a folder; datastage zip makes one file of it")]
    several = server.serve("s-0.bin", b"1").replace("0.bin", "{0..1}.bin")
    server.serve("s-1.bin", b"2")
    for _ in range(2):
        assert again(several) == [("Not kept", f"{several} is several files; what comes as one file is kept")]
    assert [name for name in sorted(os.listdir(here / "kept")) if name[0] != "."] == ["from-afar.zip", "pets.zip"]


def test_without_drive_what_is_advised_is_a_folder_to_write_to(here):
    (here / "a.zip").write_bytes(zip_bytes())
    with pytest.raises(UnavailableError, match="nothing can be written there") as caught:
        quiet("./a.zip", save_to="drive:kept")
    assert "Copy link" not in str(caught.value)
    with pytest.raises(SpecError, match="save_to= is empty"):
        quiet("./a.zip", save_to="")


def test_on_kaggle_what_is_kept_says_which_switch_keeps_it(here, tmp_path, monkeypatch, server):
    server.serve("pets.zip", zip_bytes())
    machine = Kaggle(tmp_path / "kaggle")
    monkeypatch.setattr(runtime, "current", lambda: machine.runtime())
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "staged"))
    said = []

    class Notes(Silent):
        def note(self, text, label=""):
            said.append((label, text))

    for _ in range(2):
        datastage.stage(server.url("pets.zip"), save_to=tmp_path / "working/data", refresh=True, progress=Notes())

    kept, again = (text for label, text in said if label == "Kept")
    assert kept.endswith("for the next session, if Settings > Persistence in the right-hand panel is on Files only")
    assert again.endswith("already")
