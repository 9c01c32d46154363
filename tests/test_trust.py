"""Whose files, whose receipts, whose secrets: nothing is believed, opened, moved or removed by its name alone."""

import codecs
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import pytest

import datastage
from datastage import cli, datasets, own_files, saved_copy, slots, staged
from datastage.errors import DatastageError, IntegrityError, SpecError, StorageError
from datastage.lock import locked
from datastage.options import StageOptions
from datastage.staged import FILES, RECEIPT
from tests.servers import server as server

pytestmark = [
    pytest.mark.usefixtures("here"),
    pytest.mark.skipif(sys.platform == "win32", reason="owners, links and modes of POSIX"),
]
AS_ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="two users need root")


def quiet(spec, **options):
    return datastage.stage(spec, progress=False, **options)


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            if isinstance(data, str):  # a link
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return path


def snapshot(*folders):
    """What lies below some folders: kind, mode, owner, time and content of everything."""
    seen = {}
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            facts = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else None
            target = os.readlink(path) if stat.S_ISLNK(facts.st_mode) else None
            seen[str(path)] = (facts.st_ino, facts.st_mode, facts.st_uid, content, target)
    return seen


# --- things in the way


def plant_file(path, outside):
    path.write_text("lock content")


def plant_folder(path, outside):
    path.mkdir()
    (path / "ch1.tex").write_text("years of work")
    path.chmod(0o500)


def plant_link(path, outside):
    path.symlink_to(outside / "thesis.tex")


def plant_link_to_folder(path, outside):
    path.symlink_to(outside)


def plant_fifo(path, outside):
    os.mkfifo(path)


def plant_socket(path, outside):
    held = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(held)


def plant_device(path, outside):
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


KINDS = [plant_file, plant_folder, plant_link, plant_link_to_folder, plant_fifo, plant_socket, plant_device]
NAMES = [
    "pets", ".pets.lock", ".pets.locked", ".pets.partial", ".pets.fetch", ".pets.old", ".pets.repair", ".pets.pixels",
    ".poetry.lock", ".conda.old", "own folder",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__[6:])
def test_what_lies_under_a_name_of_ours_is_left_as_it_is_by_every_verb(here, tmp_path, plant, name, capsys):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (outside / "thesis.tex").write_text("years of work")
    (root / "conda").mkdir()
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    plant(root / (slots.own_folder_of(root).name if name == "own folder" else name), outside)
    before = snapshot(outside, root / "conda")
    planted = {path: facts for path, facts in snapshot(root).items() if path != str(root)}
    for words in (
        ["clean", "--dry-run", "--root", root],
        ["clean", "--root", root, "--budget", "0"],
        ["stage", "./pets.zip", "--root", root, "--name", "pets"],
        ["stage", "./pets.zip", "--root", root, "--name", "pets", "--refresh"],
        ["verify", root / "pets", "--repair"],
        ["extract", "./pets.zip", root / "pets"],
        ["clean", "--root", root],
    ):
        code = cli.main([str(word) for word in words])
        assert code in (0, 2, 4, 5), (words, capsys.readouterr().err)
        now = snapshot(root)
        assert {path: now.get(path) for path in planted} == planted, words
    # What extract was told to fill by a link may hold more now; what was there is as it was.
    assert {path: facts for path, facts in snapshot(outside, root / "conda").items() if path in before} == before


def test_clean_dry_run_changes_nothing_at_all(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip").path
    own = slots.own_folder_of(folder.parent)
    (own / "x.partial").mkdir()
    (own / "x.lock").write_text("{}")
    before = snapshot(tmp_path)
    times = {path: os.lstat(path).st_mtime_ns for path in before}
    went = datastage.clean(budget=0, dry_run=True)
    assert {item.path for item in went} == {folder, own / "x.partial", own / "x.lock"}
    assert snapshot(tmp_path) == before
    assert {path: os.lstat(path).st_mtime_ns for path in before} == times


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "words", [["clean", "--dry-run"], ["verify", "FOLDER"], ["catalog"]], ids=lambda words: words[0]
)
def test_what_only_looks_writes_nothing(here, tmp_path, words):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip").path
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    calls = (
        "trace=open,openat,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,chmod,fchmod,fchmodat,truncate"
    )
    line = ["strace", "-f", "-e", calls, "-o", tmp_path / "trace", sys.executable, "-m", "datastage"]
    words = [str(folder) if word == "FOLDER" else word for word in words]
    subprocess.run([*line, *words], env=environment, check=True, capture_output=True)
    did = [
        line
        for line in (tmp_path / "trace").read_text().splitlines()
        if "open" not in line or "O_WR" in line or "O_RDWR" in line
    ]
    assert [line for line in did if str(tmp_path) in line] == []


def test_clean_names_what_was_not_staged_and_takes_it_only_by_name(here):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    (folder / "notes.txt").write_text("mine")
    (item,) = datastage.clean(budget=0)
    assert (item.stays, "notes.txt" in item.why, folder.is_dir()) == (True, True, True)
    assert [item.path for item in datastage.clean("pets")] == [folder]
    assert not folder.exists()


def test_clean_takes_a_folder_of_an_earlier_version_only_by_name(here):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    slots.slot_of(folder.parent, "pets").mark.unlink()
    assert datastage.clean(budget=0) == ()
    assert quiet("./pets.zip", name="pets").path == folder
    assert [item.path for item in datastage.clean(["pets"])] == [folder]


def test_what_stays_frees_nothing_and_what_goes_frees_what_it_held(here):
    staged = []
    for nth, name in enumerate("abc"):
        make_zip(here / f"{name}.zip", {"x.bin": bytes(100_000)})
        staged.append(quiet(f"./{name}.zip").path)
        os.utime(staged[-1] / RECEIPT, (1000 + nth, 1000 + nth))
    (staged[0] / "notes.txt").write_text("mine")
    datastage.clean(budget="250 kB")
    assert [path.is_dir() for path in staged] == [True, False, True]


def test_photos_kept_of_a_dataset_go_with_it_and_not_before(here):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    photos = slots.own_folder_of(folder.parent) / slots.pixels_name(folder)
    photos.mkdir()
    (photos / "packed-0.u8").write_bytes(bytes(100))
    assert datastage.clean() == ()
    assert [item.path for item in datastage.clean("pets")] == [photos, folder]
    assert not photos.exists()


@pytest.mark.parametrize("name", ["thesis", "no-such", "..", "a/b"])
def test_clean_of_a_name_that_is_none_of_ours_is_refused(here, tmp_path, name):
    (tmp_path / "root" / "thesis").mkdir(parents=True)
    what = "was not staged there by this user" if name in ("thesis", "..") else "is not there"
    with pytest.raises(SpecError, match=f"{what}, and is not touched"):
        datastage.clean([name])
    assert (tmp_path / "root" / "thesis").is_dir()


# --- receipts of others


@pytest.mark.parametrize("link", [RECEIPT + "~", FILES, RECEIPT])
def test_data_that_brings_our_names_as_links_is_not_written_through(here, link):
    make_zip(here / "pets.zip", {"labels.csv": b"a,b\n" * 50, link: "labels.csv"})
    (here / "folder").mkdir()
    (here / "folder" / "labels.csv").write_bytes(b"a,b\n" * 50)
    (here / "folder" / link).symlink_to("labels.csv")
    made = [
        quiet("./pets.zip"),
        quiet("./folder", copy=True),
        datastage.extract("pets.zip", here / "out", progress=False),
    ]
    for folder in made:
        assert (folder / "labels.csv").read_bytes() == b"a,b\n" * 50
        found = datastage.verify(folder, progress=False)
        assert (found.ok, found.extra) == (True, ())
        assert folder.receipt["left_out"] == {"receipts of another copy": 1}


@pytest.mark.parametrize(
    "name", [f"{FILES}/x", f"{RECEIPT}/x", f"{RECEIPT}~", "sub/.datastage-0/pets.mark", ".DataStage.json"]
)
def test_our_names_are_left_out_of_whatever_data_brings(here, name):
    make_zip(here / "pets.zip", {"labels.csv": b"a,b\n", name: b"x"})
    folder = quiet("./pets.zip")
    assert [path.name for path in folder.path.rglob("*") if path.is_file() and path.name not in (RECEIPT, FILES)] == [
        "labels.csv"
    ]
    assert datastage.verify(folder, progress=False).n_files == 1


def plant_receipt(place, files, **receipt):
    lines = b"".join(f'{zlib.crc32(data):08x} {len(data)} "{name}"\n'.encode() for name, data in sorted(files.items()))
    (place / FILES).write_bytes(lines)
    facts = {
        "schema": 1,
        "key": "x",
        "name": place.name,
        "fallbacks": [],
        "files_sha256": hashlib.sha256(lines).hexdigest(),
    }
    (place / RECEIPT).write_text(json.dumps({**facts, **receipt}))


def test_repair_writes_nothing_outside_and_believes_no_receipt_that_names_another_folder(here, tmp_path):
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "authorized_keys").write_text("my keys")
    make_zip(here / "evil.zip", {"sub/authorized_keys": b"attacker key"})
    clone = here / "clone"
    clone.mkdir()
    (clone / "sub").symlink_to(tmp_path / "ssh")
    for at in ("/somewhere/else", str(clone)):
        plant_receipt(
            clone, {"sub/authorized_keys": b"attacker key"}, spec=str(here / "evil.zip"), format="zip", folder=at
        )
        for options in ({"repair": True}, {"repair": True, "adopt": True}):
            with pytest.raises(DatastageError):
                datastage.verify(clone, progress=False, **options)
            assert (tmp_path / "ssh" / "authorized_keys").read_text() == "my keys"


def test_repair_asks_no_address_on_the_word_of_a_receipt(here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url = server.serve("data.csv", b"1,2\n")
    clone = here / "clone"
    clone.mkdir()
    (clone / "data.csv").write_text("damaged")
    plant_receipt(clone, {"data.csv": b"1,2\n"}, spec=url, folder=str(clone))
    with pytest.raises(SpecError, match="No address is contacted"):
        datastage.verify(clone, repair=True, progress=False)
    assert server.seen == []
    folder = quiet(url).path.parent  # asked for by this user: then it is mended
    (folder / "data.csv").write_text("damaged")
    assert datastage.verify(folder, repair=True, progress=False).repaired == ("data.csv",)


def test_repair_replaces_files_by_files_only(here):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow", "cat/2.txt": b"purr"})
    folder = quiet("./pets.zip").path
    (folder / "cat" / "1.txt").unlink()
    (folder / "cat" / "1.txt").mkdir()
    (folder / "cat" / "1.txt" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="not touched"):
        datastage.verify(folder, repair=True, progress=False)
    assert (folder / "cat" / "1.txt" / "mine").read_text() == "mine"


@pytest.mark.parametrize("leads_to", ["folder", "file", "nothing"])
def test_repair_puts_the_file_in_place_of_a_link_and_leaves_what_it_leads_to(here, tmp_path, leads_to):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow", "cat/2.txt": b"purr"})
    folder = quiet("./pets.zip").path
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (folder / "cat" / "1.txt").unlink()
    (folder / "cat" / "1.txt").symlink_to(tmp_path / leads_to)
    assert datastage.verify(folder, repair=True, progress=False).ok
    assert (folder / "cat" / "1.txt").read_bytes() == b"meow"
    assert not (folder / "cat" / "1.txt").is_symlink()
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("now", [b"hiss", b"moo!", b"woof", b"a longer text", None])
def test_repair_takes_nothing_from_a_source_that_changed(now, here):
    files = {"cat/1.txt": b"meow", "cat/2.txt": b"purr"}
    make_zip(here / "pets.zip", files)
    folder = quiet("./pets.zip").path
    (folder / "cat" / "2.txt").write_text("PURR")
    make_zip(here / "pets.zip", {**files, "cat/2.txt": now} if now else {"cat/1.txt": b"meow"})
    with pytest.raises(IntegrityError if now else DatastageError):
        datastage.verify(folder, repair=True, progress=False)
    assert (folder / "cat" / "2.txt").read_text() == "PURR"
    assert [name for name in os.listdir(slots.own_folder_of(folder.parent)) if "repair" in name] == []


def test_repair_asks_the_places_in_their_order(here):
    make_zip(here / "first.zip", {"a.txt": b"meow", "b.txt": b"purr"})
    make_zip(here / "second.zip", {"a.txt": b"MEOW", "b.txt": b"PURR"})
    folder = quiet("./first.zip", fallbacks=["./second.zip"]).path
    (folder / "a.txt").unlink()
    assert datastage.verify(folder, repair=True, progress=False).ok
    assert (folder / "a.txt").read_bytes() == b"meow"


def test_a_folder_that_was_moved_is_said_and_taken_over_by_the_line_that_is_named(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    shutil.move(tmp_path / "root", tmp_path / "moved away")
    moved = tmp_path / "moved away" / "pets"
    for act in (
        lambda: datastage.verify(moved, progress=False),
        lambda: quiet("./pets.zip", root=tmp_path / "moved away", name="pets"),
    ):
        with pytest.raises(DatastageError, match="moved or copied") as caught:
            act()
        assert any(f"verify '{moved}' --adopt" in step for step in caught.value.remedy)
    assert datastage.verify(moved, adopt=True, progress=False).ok
    assert quiet("./pets.zip", root=tmp_path / "moved away", name="pets").receipt["reused"]
    assert not folder.exists()


def test_a_moved_folder_whose_files_are_others_is_not_taken_over(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    moved = shutil.move(folder, tmp_path / "moved")
    (moved / "cat" / "1.txt").write_text("MEOW")
    assert not datastage.verify(moved, adopt=True, progress=False).ok
    with pytest.raises(SpecError):
        datastage.verify(moved, progress=False)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema": 1, "key": 5}',
        '{"schema": 1, "key": "x", "name": "pets", "single": 5}',
        '{"schema": 1, "key": "KEY", "folder": "AT", "single": "../../etc/passwd"}',
        '{"schema": 1, "key": "KEY", "folder": "AT", "single": "a", "n_bytes": "many"}',
        '{"schema": 1, "key": "KEY", "folder": "AT", "fallbacks": 7, "left_out": [1]}',
        '{"schema": 1, "key": "KEY", "folder": ["AT"]}',
        '{"schema": 1, "key": "KEY", "folder": "AT", "files_sha256": 1, "inside": 3}',
        "\x00\xff" * 40,
        "",
    ],
)  # fmt: skip
def test_a_receipt_of_an_odd_form_is_believed_by_no_verb(here, tmp_path, text, capsys):
    (here / "x.csv").write_text("1\n")
    key = datastage.options.StageOptions.of("./x.csv", copy=True).key(here)
    folder = tmp_path / "root" / "pets"
    folder.mkdir(parents=True)
    (folder / FILES).write_text("")
    (folder / RECEIPT).write_text(text.replace("KEY", key).replace("AT", str(folder)), errors="surrogateescape")
    before = snapshot(folder)
    for words, code in (
        (["stage", "./x.csv", "--copy", "--name", "pets"], 5),
        (["verify", folder], 2),
        (["verify", folder, "--adopt"], 2),
        (["clean", "--budget", "0"], 0),
        (["clean", "pets"], 2),
    ):
        assert cli.main([str(word) for word in words]) == code, capsys.readouterr().err
    assert snapshot(folder) == before


def test_one_odd_folder_ends_no_cleaning_of_the_others(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    odd = tmp_path / "root" / "aaa"
    odd.mkdir()
    (odd / RECEIPT).write_text("[" * 100_000)
    assert [item.path for item in datastage.clean(budget=0)] == [folder]


@pytest.mark.parametrize("done", ['"abc"', "[" * 200, "-1e999"])
def test_a_lock_that_says_odd_things_is_waited_for_and_taken_over(here, done, monkeypatch):
    from datastage import lock

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(lock, "ABANDONED_S", 0.3)
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: (_ for _ in ()).throw(OSError(38, "no locks here")))
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    folder = quiet("./pets.zip", name="pets").path
    own = slots.own_folder_of(folder.parent)
    (own / "pets.locked").write_text(f'{{"pid": 1, "host": "x", "doing": "copying", "done": {done}, "total": {done}')
    assert quiet("./pets.zip", name="pets", refresh=True).path == folder


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_receipt_in_a_folder_that_may_not_be_written_is_not_believed(here):
    folder = here / "input"
    folder.mkdir()
    (folder / "x.csv").write_bytes(b"1\n")
    plant_receipt(folder, {"x.csv": b"1\n"}, folder=str(folder), entry="cifar10")
    folder.chmod(0o555)
    with pytest.raises(SpecError):
        datastage.verify(folder, progress=False)


# --- other users


@pytest.fixture
def commons():
    """A folder that all users may write to, and a zip that all may read."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    make_zip(folder / "pets.zip", {"cat/1.txt": b"meow"})
    (folder / "pets.zip").chmod(0o644)
    (folder / "root").mkdir()
    (folder / "root").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_user(uid, work, *, wait=True):
    """Run ``work()`` in a child that is another user; what it returned, or the error's class and text."""
    import datastage.faults  # noqa: F401  what a user without our files cannot import later
    from datastage import repair, show, staging, zipping  # noqa: F401

    for codec in ("ascii", "latin-1", "idna"):
        codecs.lookup(codec)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.environ["HOME"] = "/"
            try:
                said = ["", str(work())]
            except BaseException as error:
                said = [type(error).__name__, str(error)]
            os.write(write, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(write)
    if not wait:
        return child, read
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


ALICE, BOB = 12345, 12346


def stage_pets(commons, **options):
    return lambda: datastage.stage(commons / "pets.zip", root=commons / "root", name="pets", progress=False, **options)


@AS_ROOT
def test_what_another_user_staged_is_not_believed_and_staged_anew_under_a_free_name(commons):
    assert as_user(ALICE, stage_pets(commons)) == ["", str(commons / "root" / "pets")]
    before = snapshot(commons / "root" / "pets")
    for _ in range(2):
        assert as_user(BOB, stage_pets(commons)) == ["", str(commons / "root" / "pets-2")]
    for act in (
        lambda: datastage.verify(commons / "root" / "pets", progress=False),
        lambda: datastage.clean("pets", root=commons / "root"),
    ):
        assert as_user(BOB, act)[0] == "SpecError"
    assert as_user(BOB, lambda: datastage.clean(budget=0, root=commons / "root"))[0] == ""
    assert snapshot(commons / "root" / "pets") == before


@AS_ROOT
def test_what_another_user_staged_is_used_where_its_digest_is_known(commons):
    digest = hashlib.md5((commons / "pets.zip").read_bytes()).hexdigest()
    keep = {"unpack": False, "copy": True}
    assert as_user(ALICE, stage_pets(commons, **keep))[1] == str(commons / "root" / "pets" / "pets.zip")
    said = as_user(BOB, stage_pets(commons, expect=f"md5:{digest}", **keep))
    assert said[1] == str(commons / "root" / "pets" / "pets.zip")
    (commons / "root" / "pets" / "pets.zip").write_bytes(b"other bytes")
    said = as_user(BOB, stage_pets(commons, expect=f"md5:{digest}", **keep))
    assert said[1] == str(commons / "root" / "pets-2" / "pets.zip")


@AS_ROOT
@pytest.mark.parametrize("files", ["the known ones", "others", "some without a digest"])
def test_an_entry_of_another_user_is_used_if_its_files_are_the_known_ones(commons, here, monkeypatch, files):
    more = {"labels.txt": b"mine"} if files == "some without a digest" else {}
    entry = datasets.Entry(
        name="trusted_pets",
        title="Pets",
        files=(
            datasets.File("cat/1.txt", 4, hashlib.md5(b"meow").hexdigest()),
            *(datasets.File(name, len(data)) for name, data in more.items()),
        ),
        read=lambda path, split: None,
    )
    monkeypatch.setitem(datasets._entries, entry.name, entry)
    made = commons / "root" / entry.name
    for folder, cat, label in ((here / "source", b"meow", b"mine"), (made, b"meow", b"hers")):
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "1.txt").write_bytes(cat)
        for name in more:
            (folder / name).write_bytes(label)
    if files == "others":
        (made / "cat" / "1.txt").write_bytes(b"MEOW")
    plant_receipt(made, {}, folder=str(made), entry=entry.name)
    for path in (made, *made.rglob("*")):
        os.chown(path, ALICE, ALICE)
    staged = datastage.stage(entry.name, root=commons / "root", fallbacks=[here / "source"], progress=False)
    assert staged.path.name == (entry.name if files == "the known ones" else f"{entry.name}-2")
    assert (staged / "cat/1.txt").read_text() == "meow"
    assert [(staged / name).read_bytes() for name in more] == list(more.values())


@AS_ROOT
def test_what_may_not_be_read_is_a_clear_error_that_says_whom_to_ask(commons):
    assert as_user(ALICE, stage_pets(commons))[0] == ""
    (commons / "root" / "pets").chmod(0o700)
    kind, text = as_user(BOB, stage_pets(commons))
    assert kind == "StorageError"
    assert "belongs to" in text
    assert str(ALICE) in text


@AS_ROOT
def test_verify_and_clean_of_a_folder_that_one_may_not_enter_say_so(commons):
    from datastage import cleanup  # noqa: F401  the child may not import it

    root = commons / "root"
    assert as_user(ALICE, stage_pets(commons))[0] == ""
    (root / "pets").chmod(0o700)
    for adopt in (False, True):
        kind, text = as_user(BOB, lambda adopt=adopt: datastage.verify(root / "pets", adopt=adopt, progress=False))
        assert (kind, f"ask the user with number {ALICE} to verify it" in text) == ("StorageError", True), text
        kind, text = as_user(BOB, lambda adopt=adopt: datastage.verify(root / "pets" / "x", adopt=adopt))
        assert (kind, "you may not look into that folder" in text) == ("StorageError", True), text
    for options in ({"root": root / "pets"}, {"root": root / "pets" / "x"}, {"root": root / "pets", "budget": 0}):
        kind, text = as_user(BOB, lambda options=options: datastage.clean(**options))
        assert (kind, "permission was denied" in text) == ("StorageError", True), text
    (root / "pets" / "cat" / "closed").mkdir(mode=0o700)  # a folder of root's, further down
    kind, text = as_user(ALICE, lambda: datastage.verify(root / "pets", progress=False))
    assert (kind, "checking the folder, permission was denied" in text) == ("StorageError", True), text


@AS_ROOT
def test_a_holder_of_another_user_is_waited_for_and_its_death_is_noticed(commons):
    def hold():
        own = slots.make_own_folder(commons / "root")
        with locked(own / "pets.lock") as held:
            held.phase("copying pets.zip", 10)
            (commons / "held").touch()
            time.sleep(60)

    child, read = as_user(ALICE, hold, wait=False)
    os.close(read)
    deadline = time.monotonic() + 20
    while not (commons / "held").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    said = []
    bob = threading.Thread(target=lambda: said.append(as_user(BOB, stage_pets(commons))))
    bob.start()
    time.sleep(0.7)
    assert said == []
    os.kill(child, 9)
    os.waitpid(child, 0)
    bob.join(30)
    assert said == [["", str(commons / "root" / "pets")]]


@AS_ROOT
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_unfinished_bytes_are_never_written_where_another_user_planted_a_folder(
    commons, kind, here, server, monkeypatch
):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url = server.serve("iris.csv", b"1,2\n" * 1000)
    victim = here / "bashrc"
    victim.write_text("mine")
    victim.chmod(0o600)
    own = commons / "root" / f".datastage-{os.geteuid()}"
    for folder in (commons / "root" / ".iris.fetch", own / "iris.fetch"):
        if kind == "link" and folder.parent == own:
            (commons / "elsewhere" / "iris.fetch").mkdir(parents=True)
            own.symlink_to(commons / "elsewhere")
        else:
            folder.mkdir(parents=True)
        (folder / "iris.csv.part").symlink_to(victim)
        for path in (folder, folder.parent if folder.parent != commons / "root" else folder):
            path.chmod(0o777)
            os.chown(path, ALICE, ALICE)
    staged = datastage.stage(url, root=commons / "root", name="iris", progress=False)
    assert staged.path.read_bytes() == b"1,2\n" * 1000
    assert victim.read_text() == "mine"


def test_a_root_that_others_may_write_to_is_said(here, tmp_path, capsys):
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    datastage.stage("./pets.zip", progress=True)
    said = capsys.readouterr()
    assert "others may write in" in said.out + said.err
    assert stat.S_IMODE(slots.own_folder_of(tmp_path / "root").stat().st_mode) == 0o755


def test_an_own_folder_is_closed_where_the_root_is_ones_own(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    quiet("./pets.zip")
    assert stat.S_IMODE(slots.own_folder_of(tmp_path / "root").stat().st_mode) == 0o700


def test_removing_a_folder_changes_no_mode_outside_while_another_swaps_it_for_a_link(tmp_path):
    outside, folder, aside = tmp_path / "outside", tmp_path / "x" / "in", tmp_path / "x" / "aside"
    outside.mkdir(mode=0o755)
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            with contextlib.suppress(OSError):
                os.rename(folder, aside)
                os.symlink(outside, folder)
                os.unlink(folder)
                os.rename(aside, folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True)
                (folder / "y").mkdir()
            own_files._open_up(tmp_path / "x")
            assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    finally:
        ended.set()
        thread.join()


# --- secrets


@pytest.mark.parametrize(
    "words",
    [
        ["stage", " https://me:S3CRETpw@h.example/a.zip"],
        ["stage", "HTTPS://me:S3CRETpw@h.example/a.zip?token=S3CRETpw"],
        ["stage", "https://me:S3C/RETpw@h.example/a.zip?x=S3CRETpw"],
        ["stage", "https://me:S3#CRETpw@h.example/a.zip"],
        ["stage", "./x.csv", "--fallback", "https://me:S3CRETpw@h.example:port/a.zip"],
        ["stage", "./x.csv", "--save-to", "https://me:S3CRETpw@h.example/a"],
        ["extract", "https://me:S3CRETpw@h.example/a.zip", "out"],
        ["extract", "--list", "https://me:S3CRETpw@h.example/a.zip?sig=S3CRETpw"],
        ["zip", "https://me:S3CRETpw@h.example/a", "out.zip"],
        ["verify", "https://me:S3CRETpw@h.example/a.zip"],
        ["clean", "--older-than", "https://me:S3CRETpw@h.example/a.zip"],
        ["clean", "https://me:S3CRETpw@h.example/a.zip"],
        ["cell", "https://me:S3CRETpw@h.example/a.zip"],
        ["bench", "https://me:S3CRETpw@h.example/a.zip"],
        ["stage", "./x.csv", "--nonsense", "https://me:S3CRETpw@h.example/a.zip"],
        ["verb://me:S3CRETpw@h"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["", "json"])
def test_no_verb_shows_a_secret(here, tmp_path, capsys, words, more, caplog, monkeypatch):
    monkeypatch.setenv("DATASTAGE_TRACEBACK", "1" if more else "")
    (here / "x.csv").write_text("1\n")
    code = cli.main([*words, *more])
    said = capsys.readouterr()
    hidden = said.out + said.err + caplog.text
    assert code in (2, 3, 5)
    assert "S3CRETpw" not in hidden
    assert not re.search("S3C?[/#]|'S3C|RETpw@", hidden)
    assert not any(b"S3CRETpw" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# --- data is no code


def test_a_link_into_the_working_directory_leaves_out_what_python_would_import_and_says_so(here, capsys):
    code = {
        "torch.py": b"print('!')",
        "numpy/__init__.py": b"",
        "datastage/x.txt": b"",
        ".hidden": b"",
        "x.pth": b"import os",
    }
    make_zip(here / "hostile.zip", {**code, "data.csv": b"1\n", "images/1.png": b"x", "lib/deep.so": b""})
    datastage.stage("./hostile.zip", link=".")
    assert sorted(path.name for path in here.iterdir()) == ["data.csv", "hostile.zip", "images"]
    assert "No link   .hidden, datastage, lib, numpy, ... in" in capsys.readouterr().err
    quiet("./hostile.zip", link="./links")
    assert (here / "links" / "torch.py").is_symlink()


# --- a fault of ours


def test_a_fault_of_ours_becomes_a_few_lines_and_a_report(here, capsys, monkeypatch):
    monkeypatch.setattr(staged, "_encode", None)
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    code = cli.main(["stage", "./pets.zip", "--quiet"])
    said = capsys.readouterr().err
    assert (code, "fault of its own (TypeError in staged.py" in said, "Traceback" in said) == (1, True, False)
    Path(re.search(r"is in (\S+)", said)[1]).unlink()


def test_an_error_of_the_users_own_code_passes_unchanged():
    from datastage.faults import reported

    with pytest.raises(ZeroDivisionError), reported():
        raise ZeroDivisionError("mine")


def test_a_fault_report_says_where_and_hides_secrets(here, monkeypatch):
    from datastage.errors import FaultError
    from datastage.faults import reported

    with pytest.raises(FaultError) as caught, reported():
        slots.request_key({1: 2, "a": 3})  # keys that cannot be sorted: a TypeError inside json, called by us
    assert caught.value.exit_code == 1
    assert isinstance(caught.value.__cause__, TypeError)
    report = re.search(r"is in (\S+)", str(caught.value))[1]
    assert "slots.py" in Path(report).read_text()
    Path(report).unlink()


def test_a_fault_report_holds_no_secret():
    from datastage.errors import FaultError
    from datastage.faults import reported
    from datastage.show.lines import ready_lines

    with pytest.raises(FaultError) as caught, reported():  # a ValueError that names what was given
        ready_lines({"staged_at": "https://me:hunter2@host.example/"}, path="", following="", now=None)
    report = Path(re.search(r"is in (\S+)", str(caught.value))[1])
    said, mode = report.read_text() + str(caught.value), stat.S_IMODE(report.stat().st_mode)
    report.unlink()
    assert mode == 0o600
    assert said.count("host.example") >= 2
    assert "hunter2" not in said


def test_want_of_memory_is_no_fault_of_ours():
    from datastage.faults import reported
    from datastage.show.lines import spread

    with pytest.raises(MemoryError), reported():
        spread(1 << 60, 1 << 61)


# --- modes


def test_a_copy_of_private_files_lets_group_and_others_do_no_more_than_the_files_did(here, tmp_path):
    held = os.umask(0o022)
    try:
        private = here / "private"
        (private / "open").mkdir(parents=True)
        private.chmod(0o700)
        (private / "open").chmod(0o775)
        for name, mode in (
            ("patients.csv", 0o600),
            ("open/run.sh", 0o750),
            ("open/all.csv", 0o644),
            ("open/odd", 0o200),
        ):
            (private / name).write_text("secret")
            (private / name).chmod(mode)
        folder, file = quiet("./private", copy=True), quiet("./private/patients.csv", copy=True)
    finally:
        os.umask(held)
    modes = {
        path.relative_to(folder).as_posix(): oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.path.rglob("*")
    }
    own = {name: modes.pop(name) for name in (RECEIPT, FILES)}
    assert modes == {
        "patients.csv": "0o600", "open": "0o755", "open/run.sh": "0o750", "open/all.csv": "0o644", "open/odd": "0o600"
    }  # fmt: skip
    assert (oct(stat.S_IMODE(folder.path.stat().st_mode)), own[FILES]) == ("0o700", "0o644")
    assert oct(stat.S_IMODE(file.path.stat().st_mode)) == "0o600"


# --- names inside folders that are called like ours


def test_a_folder_that_is_called_like_ours_but_has_not_our_mark_is_left_with_all_that_is_in_it(here, tmp_path, capsys):
    root = tmp_path / "root"
    planted = root / slots.own_folder_of(root).name
    for name in ("pets.partial", "pets.fetch", "pets.old", "pets.repair", "x.partial", "thesis-01234567.pixels"):
        (planted / name).mkdir(parents=True)
        (planted / name / "ch1.tex").write_text("years of work")
    for name in ("pets.lock", "pets.mark", "x.lock", "x.locked"):
        (planted / name).write_text("lock content")
    planted.chmod(0o700)
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    before = snapshot(planted)
    for words in (
        ["clean", "--dry-run"],
        ["clean", "--budget", "0"],
        ["stage", "./pets.zip", "--name", "pets"],
        ["stage", "./pets.zip", "--name", "pets", "--refresh"],
        ["verify", root / "pets", "--repair"],
        ["extract", "./pets.zip", root / "other"],
        ["clean", "pets"],
    ):
        assert cli.main([str(word) for word in words]) == 0, capsys.readouterr().err
        assert snapshot(planted) == before, words


@pytest.mark.parametrize("plant", KINDS, ids=lambda plant: plant.__name__[6:])
@pytest.mark.parametrize("name", [".datastage-kept.json", "note", "pets.zip"])
def test_what_lies_where_a_file_is_to_be_kept_is_left_as_it_is(here, tmp_path, plant, name):
    kept, outside = tmp_path / "kept", tmp_path / "outside"
    for folder in (kept, outside):
        folder.mkdir()
    (outside / "thesis.tex").write_text("years of work")
    if name == "note":
        name = saved_copy.note_of(StageOptions.of("./pets.zip").source_key(here))
    plant(kept / name, outside)
    before = snapshot(outside, kept / name)
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    for _ in range(2):
        assert (quiet("./pets.zip", save_to=str(kept), refresh=True) / "cat/1.txt").read_bytes() == b"meow"
        assert snapshot(outside, kept / name) == before


@pytest.mark.parametrize("has_its_size", [False, True])
def test_a_kept_file_that_the_user_has_changed_is_not_replaced(has_its_size, here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    quiet("./pets.zip", save_to="./kept")
    mine = b"m" * ((here / "pets.zip").stat().st_size if has_its_size else 9)
    (here / "kept" / "pets.zip").write_bytes(mine)
    make_zip(here / "pets.zip", {"cat/1.txt": b"purr"})
    quiet("./pets.zip", save_to="./kept", refresh=True)
    kept = [path.read_bytes() for path in sorted((here / "kept").glob("*pets.zip"))]
    assert kept == [(here / "pets.zip").read_bytes(), mine]


@AS_ROOT
@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_what_lies_in_a_folder_that_anybody_could_have_put_there_is_not_believed(
    mode, here, tmp_path, server, monkeypatch
):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url, kept = server.serve("iris.csv", b"1,2\n"), here / "shared/kept"
    quiet(url, save_to=kept)
    for path in (kept, *kept.iterdir()):
        os.chown(path, ALICE, ALICE)
    kept.chmod(0o755)
    kept.parent.chmod(mode)
    shutil.rmtree(tmp_path / "root")
    before = len(server.seen)
    quiet(url, save_to=kept)
    assert (len(server.seen) > before) == (mode == 0o777)


@AS_ROOT
@pytest.mark.parametrize("known", ["the folder is its owner's alone", "a digest", "nothing"])
def test_what_another_user_kept_is_used_where_it_can_be_believed_and_kept_once_for_each_user(
    here, tmp_path, server, monkeypatch, known
):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    first, later = b"1,2\n" * 100, b"3,4\n" * 200
    expect = {"expect": f"sha256:{hashlib.sha256(first).hexdigest()}"} if known == "a digest" else {}
    url, kept = server.serve("iris.csv", first), here / "kept"
    quiet(url, save_to="./kept", **expect)
    for path in kept.iterdir():
        os.chown(path, ALICE, ALICE)
    kept.chmod(0o755 if known.startswith("the folder") else 0o777)
    notes, asked = [], []

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            notes.append(f"{label}: {text}")

    for body in (first, first, later, later):
        shutil.rmtree(tmp_path / "root")
        server.serve("iris.csv", body)
        before = len(server.seen)
        refresh = {"refresh": body == later and not asked[2:]} if known == "nothing" else {}
        assert datastage.stage(url, save_to="./kept", progress=Notes(), **expect, **refresh).path.is_file()
        asked.append(len(server.seen) > before)
    assert asked == [known == "nothing", False, known == "nothing", False], notes
    assert not [note for note in notes if note.startswith("Not kept")], notes
    files = [path for path in kept.iterdir() if path.name[0] != "."]
    assert len(files) == (2 if known == "nothing" else 1)
    assert (kept / "iris.csv").stat().st_uid == ALICE


def test_where_no_note_can_be_made_no_copy_is_left_and_a_step_is_said(here):
    make_zip(here / "pets.zip", {"cat/1.txt": b"meow"})
    key = StageOptions.of("./pets.zip", save_to="./kept").source_key(here)
    (here / "kept").mkdir()
    notes = []
    for name in saved_copy._notes_of(key):
        (here / "kept" / name).write_text("")

    class Notes(type(datastage.progress.SILENT)):
        def note(self, text, label=""):
            notes.append(f"{label}: {text}")

    datastage.stage("./pets.zip", save_to="./kept", progress=Notes())
    assert not (here / "kept" / "pets.zip").exists()
    assert [note for note in notes if note.startswith("Not kept") and note.endswith("save_to= with another folder.")]


def test_where_no_links_can_be_made_nothing_in_the_way_of_the_copy_is_removed(here, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "symlink_to", lambda *a, **k: (_ for _ in ()).throw(OSError(1, "no links here")))
    make_zip(here / "pets.zip", {"a/cat.txt": b"meow"})
    (here / f".a.{os.getpid()}.partial").mkdir()
    quiet("./pets.zip", link=".")
    assert (here / "a" / "cat.txt").read_bytes() == b"meow"
    assert (here / f".a.{os.getpid()}.partial").is_dir()


def test_looking_at_what_data_is_touches_no_lock_of_anybodys_beside_it(here, tmp_path):
    make_zip(here / "pets.zip", {"cat/1.png": b"x", "dog/1.png": b"x"})
    folder = quiet("./pets.zip", name="pets")
    for name in (".pets.lock", ".pets.locked"):
        (tmp_path / "root" / name).touch()
    before = {path: path.lstat().st_ino for path in (tmp_path / "root").iterdir()}
    assert folder.classes == ("cat", "dog")
    assert {path: path.lstat().st_ino for path in (tmp_path / "root").iterdir()} == before
    assert staged.read_receipt(folder.path)["reading"]["classes"]
    assert datastage.verify(folder, progress=False).extra == ()
