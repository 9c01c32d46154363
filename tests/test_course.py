"""A teacher's own catalog: a line a dataset, and a look at every place of it."""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.parse
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import cli, datasets
from datastage.course import _FOR_MANY, without_a_place
from datastage.datasets.catalog_file import parse_catalog
from datastage.errors import ChecksumError, DatastageError, SpecError, UnavailableError
from datastage.sources import parse
from tests.made_data import tarred, zipped
from tests.servers import server as server


@pytest.fixture(autouse=True)
def catalog_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    monkeypatch.setattr(datasets, "_settings_read", set())
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def birds(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("birds/wren/1.txt", "w")
    (tmp_path / "birds.zip").write_bytes(made.getvalue())
    return made.getvalue()


def test_a_line_names_a_dataset_with_all_its_places():
    (entry,) = parse_catalog(f'birds https://h/b.zip "drive:my birds.zip" md5:{32 * "A"} licence="CC BY 4.0"', "c")

    assert entry.places == ("https://h/b.zip", "drive:my birds.zip")
    assert entry.expect == f"md5:{32 * 'a'}"
    assert (entry.title, entry.licence) == ("birds", "CC BY 4.0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("birds", "line 1: birds has no place"),
        ("# nothing\n", "holds no entry"),
        ("a https://h/a\na https://h/b", "names a twice"),
        ("a https://h/a sha256:12", "is not one digest"),
        ('a "https://h/a', "line 1: No closing quotation"),
    ],
)
def test_a_wrong_line_says_which_and_how_it_should_be(text, says):
    with pytest.raises(SpecError, match=says) as error:
        parse_catalog(text, "birds.txt")

    assert error.value.remedy[-1].startswith("Next: ")


def test_the_line_for_an_archive_reads_back_and_stages_it(birds, tmp_path, server):
    address = server.serve("birds.zip", birds)
    line = datastage.catalog_line(address, progress=False)
    (tmp_path / "ours.txt").write_text(line + "\n")

    datasets.load_catalog(tmp_path / "ours.txt")
    staged = datastage.stage("birds", progress=False)

    assert hashlib.sha256(birds).hexdigest() in line
    assert (staged / "wren/1.txt").read_text() == "w"


def test_a_variable_names_a_text_catalog(birds, tmp_path, monkeypatch):
    (tmp_path / "ours.txt").write_text("birds ./birds.zip\n")
    monkeypatch.setenv("DATASTAGE_CATALOG", str(tmp_path / "ours.txt"))

    assert (datastage.stage("birds", progress=False) / "wren").is_dir()


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """Write the catalog that a variable names, and have it read as a new session does."""
    kept = dict(datasets._entries)
    monkeypatch.setenv("DATASTAGE_CATALOG", str(tmp_path / "ours.txt"))

    def write(line):
        (tmp_path / "ours.txt").write_text(line + "\n")
        monkeypatch.setattr(datasets, "_entries", dict(kept))
        monkeypatch.setattr(datasets, "_settings_read", set())

    return write


def test_a_corrected_digest_of_a_catalog_brings_the_data_that_it_is_of(birds, tmp_path, catalog, capsys):
    new = zipped({"owl/1.txt": b"o"})
    (tmp_path / "new.zip").write_bytes(new)
    old_line, new_line = (f"sha256:{hashlib.sha256(data).hexdigest().upper()}" for data in (birds, new))

    catalog(f"birds ./new.zip {new_line}")
    datastage.stage("birds", progress=False)
    for place, digest, folder in (("birds", old_line, "wren"), ("new", new_line, "owl"), ("birds", old_line, "wren")):
        catalog(f"birds ./{place}.zip {digest}")
        staged = datastage.stage("birds")
        assert [path.name for path in staged.iterdir()] == [folder]
        assert "The catalog names other data than what is there" in capsys.readouterr().err
        assert datastage.stage("birds").receipt["reused"]  # and the next one does nothing
        assert "The catalog names other" not in capsys.readouterr().err
    catalog(f"birds https://moved.example/birds.zip {old_line}")  # the same bytes elsewhere
    assert datastage.stage("birds", progress=False).receipt["reused"]


@pytest.mark.parametrize("first", ["", "md5"])
def test_a_digest_of_another_kind_in_a_catalog_leaves_ready_data_and_says_how_it_is_checked(
    first, birds, tmp_path, catalog, capsys
):
    catalog(f"birds ./birds.zip {first and 'md5:' + hashlib.md5(birds).hexdigest()}")
    datastage.stage("birds", progress=False)
    catalog(f"birds ./birds.zip sha256:{hashlib.sha256(birds).hexdigest()}")
    (tmp_path / "birds.zip").rename(tmp_path / "away.zip")

    assert datastage.stage("birds").receipt["reused"]
    said = " ".join(capsys.readouterr().err.split())
    assert "It was not checked by the digest that the catalog lists by now: refresh=True does that." in said
    (tmp_path / "away.zip").rename(tmp_path / "birds.zip")
    datastage.stage("birds", refresh=True, progress=False)
    assert datastage.stage("birds").receipt["reused"]
    assert "not checked" not in capsys.readouterr().err


def test_a_dataset_of_a_catalog_is_staged_under_the_name_that_is_asked_for(birds, catalog, tmp_path):
    catalog("birds ./birds.zip")
    assert datastage.stage("birds", name="mine", progress=False).path == tmp_path / "root/mine"


def test_the_archive_of_an_entry_is_kept_as_it_is_where_the_entry_says_so(birds):
    datastage.register(datastage.ArchiveEntry("birds", "Birds", ("./birds.zip",), unpack=False))
    assert datastage.stage("birds", progress=False).path.read_bytes() == birds


def test_a_receipt_of_an_earlier_version_with_bare_digests_stays_ready(birds, tmp_path, catalog):
    digest = hashlib.sha256(birds).hexdigest()
    catalog(f"birds ./birds.zip sha256:{digest}")
    staged = datastage.stage("birds", progress=False)
    receipt = json.loads((staged / ".datastage.json").read_text())
    del receipt["places"]
    (staged / ".datastage.json").write_text(json.dumps({**receipt, "hashes": {"sha256": digest}}))

    assert datastage.stage("birds", progress=False).receipt["reused"]


def test_another_place_in_a_catalog_without_digests_is_told(birds, tmp_path, catalog, capsys):
    (tmp_path / "new.zip").write_bytes(zipped({"owl/1.txt": b"o"}))
    catalog("birds ./birds.zip ./more.zip")
    datastage.stage("birds")
    catalog("birds ./more.zip")
    datastage.stage("birds")
    assert "refresh=True" not in capsys.readouterr().err
    catalog("birds ./new.zip")

    assert datastage.stage("birds").receipt["reused"]
    said = " ".join(capsys.readouterr().err.split())
    assert "It came from ./birds.zip, ./more.zip, and the catalog names another place by now: refresh=True" in said
    assert (datastage.stage("birds", refresh=True, progress=False) / "owl").is_dir()


@pytest.mark.parametrize("place", ["./gone.zip", "./gone", "./p{0..1}.tar", "drive:gone.zip"])
def test_a_place_of_this_machine_that_is_missing_is_not_blamed_on_the_internet(place, catalog, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    catalog(f"birds {place}")
    with pytest.raises(DatastageError) as one:
        datastage.stage("birds", progress=False)
    catalog(f"birds {place} ./other.zip")
    with pytest.raises(UnavailableError) as two:
        datastage.stage("birds", progress=False)

    for said in (str(one.value), str(two.value)):
        assert "internet is off" not in said
        assert "browser" not in said
    assert "birds could not be had" in str(two.value)
    assert "other.zip" in str(two.value)
    assert [attempt.place for attempt in two.value.attempts] == [place, "./other.zip"]


def test_what_can_be_had_with_a_browser_is_named_and_what_cannot_is_not(catalog, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    catalog("birds ./gone.zip https://host.example/birds.zip")
    with pytest.raises(UnavailableError, match="https://host.example/birds.zip") as caught:
        datastage.stage("birds", progress=False)
    assert "gone.zip" not in str(caught.value)


def test_another_digest_than_the_catalogs_leads_to_its_line(birds, catalog):
    catalog(f"birds ./birds.zip sha256:{64 * '0'}")
    with pytest.raises(ChecksumError) as caught:
        datastage.stage("birds", progress=False)
    assert "put its new digest into the line of birds" in caught.value.remedy[-1]
    assert "expect=" not in str(caught.value.remedy)


def test_a_repair_without_the_catalog_says_which_variable_names_it(birds, catalog):
    catalog("birds ./birds.zip")
    staged = datastage.stage("birds", progress=False)
    (staged / "wren/1.txt").write_text("?")
    catalog("other ./birds.zip")
    with pytest.raises(SpecError, match="birds is a dataset of a catalog that is not read here") as caught:
        datastage.verify(staged, repair=True, progress=False)
    assert "set DATASTAGE_CATALOG to the file" in caught.value.remedy[-1]
    catalog("birds ./birds.zip")
    assert datastage.verify(staged, repair=True, progress=False).ok


@pytest.mark.parametrize(
    ("file", "name"), [("1 ä-b.zip", "set_1_a_b"), ("Größe.zip", "gro_e"), ("照片.zip", "set_"), ("é.zip", "e")]
)
def test_the_name_in_a_line_is_one_that_stage_takes(file, name, birds, tmp_path, catalog):
    (tmp_path / file).write_bytes(birds)
    line = datastage.catalog_line(f"./{file}", progress=False)
    assert line.split()[0] == name
    catalog(f"{name} './{file}'")
    assert (datastage.stage(name, progress=False) / "wren").is_dir() or "birds" in os.listdir(tmp_path / "root" / name)


def test_a_variable_never_makes_code_run(tmp_path, monkeypatch):
    (tmp_path / "our own.py").write_text("raise SystemExit('code of a variable runs')\n")
    monkeypatch.setenv("DATASTAGE_CATALOG", str(tmp_path / "our own.py"))

    with pytest.raises(SpecError, match="never makes code run") as caught:
        datastage.catalog()
    assert f"--catalog '{tmp_path}/our own.py'," in caught.value.remedy[-1]


def test_a_look_says_what_each_place_gives(birds, server):
    right = server.serve("birds.zip", birds)
    datastage.register("birds", server.url("gone.zip"), fallbacks=[right])

    gone, there = datastage.check_catalog("birds")

    assert gone.trouble
    assert there.trouble is None
    assert without_a_place([gone, there]) == []


def test_a_file_of_another_size_is_no_place(birds, server):
    address = server.serve("birds.zip", birds)
    datastage.register(datastage.ArchiveEntry("birds", "Birds", (address,), size=len(birds) + 1))

    (checked,) = datastage.check_catalog("birds")

    assert "are expected" in checked.trouble
    assert without_a_place([checked]) == ["birds: birds.zip"]


def test_a_place_that_publishes_another_digest_is_no_place_and_letters_of_either_case_are_one(birds, server):
    digest = hashlib.md5(birds)
    address = server.serve("a.zip", birds, headers={"x-goog-hash": f"md5={base64.b64encode(digest.digest()).decode()}"})
    for name, expect in (("same", f"md5:{digest.hexdigest().upper()}"), ("other", f"md5:{32 * '0'}")):
        datastage.register(name, address, expect=expect)

    assert [each.trouble for each in datastage.check_catalog()] == [None, "its place publishes another digest"]


def test_the_command_exits_3_if_a_file_is_to_be_had_nowhere(birds, server, capsys, tmp_path):
    (tmp_path / "ours.txt").write_text(f"birds {server.url('gone.zip')}\nmore ./birds.zip\n")

    assert cli.main(["catalog", "check", "birds", "--catalog", "ours.txt"]) == 3
    assert "No place is left for birds" in capsys.readouterr().out
    assert cli.main(["catalog", "check", "more", "--catalog", "ours.txt"]) == 0


def test_a_check_of_a_courses_file_asks_the_places_of_that_file_alone(birds, server, capsys, monkeypatch):
    Path("ours.txt").write_text(f"birds {server.serve('birds.zip', birds)}\nmore ./birds.zip\n")

    assert cli.main(["catalog", "check", "--catalog", "ours.txt", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in checked} == {"birds", "more"}
    assert all(set(each) == {"name", "file", "place", "seen", "trouble", "notes"} for each in checked)

    monkeypatch.setenv("DATASTAGE_CATALOG", "ours.txt")
    assert {each.name for each in datastage.check_catalog()} == {"birds", "more"}


def test_a_check_of_all_asks_datastages_own_places_too(birds, capsys, monkeypatch):
    monkeypatch.setenv("DATASTAGE_OFFLINE", "1")
    Path("ours.txt").write_text("more ./birds.zip\n")

    assert cli.main(["catalog", "check", "--all", "--catalog", "ours.txt", "--json"]) == 3
    checked = json.loads(capsys.readouterr().out)
    names = {each["name"] for each in checked}
    assert {"more", "cifar10", "food101"} <= names
    assert [each["name"] for each in checked if each["trouble"] is None and each["place"].startswith("./")] == ["more"]


def test_a_check_as_json_exits_3_too_and_shows_no_secret(server, capsys):
    Path("ours.txt").write_text(f"birds {server.url('gone.zip')}?sig=s3cr3t\n")

    assert cli.main(["catalog", "check", "--catalog", "ours.txt", "--json"]) == 3
    text = capsys.readouterr().out
    assert json.loads(text)[0]["trouble"]
    assert "s3cr3t" not in text


@pytest.mark.parametrize("words", [["list", "flowers_102"], ["--task", "clasification"], ["check", "flowers_102"]])
def test_a_name_or_a_task_that_there_is_not_is_no_empty_list(words, capsys):
    assert cli.main(["catalog", *words]) == 2
    said = capsys.readouterr().err
    assert "flowers102" in said or "classification" in said


def packed(kind, files):
    """Return an archive or a file of data of that kind."""
    if kind in ("zip", "tar.gz"):
        return (zipped if kind == "zip" else tarred)(files)
    made = io.BytesIO()
    if kind == "npz":
        numpy = pytest.importorskip("numpy")
        numpy.savez(made, x=numpy.arange(5))
    elif kind == "csv":
        made.write(b"a,b\n1,2\n")
    else:  # idx, as MNIST's files are
        made.write(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])))
    return made.getvalue()


@pytest.mark.parametrize(
    ("file", "staged_as"),
    [
        ("My Birds (1).zip", "wren/1.txt"),
        ("birds.tar.gz", "wren/1.txt"),
        ("birds.csv", ""),
        ("2024-birds.npz", ""),
        ("train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte"),
    ],
)
def test_the_printed_entry_reads_back_for_whatever_file_it_is_of(file, staged_as, server, tmp_path, capsys):
    kind = next(kind for kind in ("zip", "tar.gz", "csv", "npz", "gz") if file.endswith(kind))
    body = packed(kind, {"wren/1.txt": b"w"})
    address = server.serve(urllib.parse.quote(file), body)

    assert cli.main(["catalog", "add", address, "--quiet"]) == 0
    line = capsys.readouterr().out
    Path("ours.txt").write_text(line)
    (entry,) = datasets.load_catalog(Path("ours.txt"))
    staged = datastage.stage(entry.name, progress=False)

    assert (entry.expect, entry.places) == (f"sha256:{hashlib.sha256(body).hexdigest()}", (address,))
    path = staged / staged_as if staged_as else staged.path
    assert path.is_file() or staged_as == "" and next(p for p in path.iterdir() if not p.name.startswith("."))
    assert cli.main(["catalog", "check", "--catalog", "ours.txt"]) == 0


def test_the_entry_of_a_file_of_this_machine_leaves_a_gap_for_its_address(birds, capsys):
    Path("2 birds.zip").write_bytes(birds)

    assert cli.main(["catalog", "add", "2 birds.zip", "--quiet"]) == 0
    line = capsys.readouterr().out
    assert shlex.split(line, comments=True)[:2] == ["set_2_birds", "https://ADDRESS/2%20birds.zip"]
    Path("ours.txt").write_text(line)
    with pytest.raises(SpecError, match="line 1: set_2_birds has a gap in place of its address"):
        datastage.cell("set_2_birds", catalog="ours.txt")


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("birds ./birds.zip", "Only a machine that has this file"),
        ("birds ./birds.zip", "No digest is known"),
        ("birds URL/flat.zip sha256:" + 64 * "0", "gives no parts of a file"),
        ("birds URL/birds.zip sha256:" + 64 * "0", ""),
    ],
)
def test_a_check_says_what_a_class_of_many_would_meet(line, note, birds, server, capsys):
    server.serve("birds.zip", birds)
    server.serve("flat.zip", birds, ranges=False)
    Path("ours.txt").write_text(line.replace("URL", server.url("").rstrip("/")))

    assert cli.main(["catalog", "check", "--catalog", "ours.txt"]) == 0
    said = capsys.readouterr().out
    assert note in said
    assert (len(said.splitlines()) == 1) == (not note)


@pytest.mark.parametrize(
    "spec",
    [
        "https://drive.google.com/file/d/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW/view",
        "drive:x.zip",
        "kaggle:competitions/titanic",
        "github:o/r/x.csv",
        "https://www.dropbox.com/s/a/x.zip",
    ],
)
def test_each_place_with_a_limit_for_many_has_its_note(spec):
    parsed = parse(spec)
    assert {parsed.scheme, *parsed.parts[:1]} & set(_FOR_MANY)


def test_the_catalog_is_listed_by_task_and_size(capsys):
    assert cli.main(["catalog", "--task", "audio"]) == 0
    text = capsys.readouterr().out
    assert "speech_commands" in text
    assert text.index("yesno") < text.index("speech_commands")
    assert "cifar10" not in text


def test_the_catalog_as_json_says_task_size_and_licence(capsys):
    cli.main(["catalog", "list", "movielens_100k", "--json"])

    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["task"], entry["bytes"], entry["mirror"]) == ("recommendation", 4924029, False)
    assert "GroupLens" in entry["licence"]


def test_a_cell_carries_the_line_of_a_course(birds, tmp_path):
    (tmp_path / "ours.txt").write_text(f"birds ./nowhere.zip ./birds.zip sha256:{hashlib.sha256(birds).hexdigest()}\n")
    text = datastage.cell("birds", catalog="ours.txt", save_to="./kept", embed=True)

    (tmp_path / "cell.py").write_text(text + "\nprint((path / 'wren/1.txt').read_text())\n")
    command = [sys.executable, "-I", "-S", "cell.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)

    assert done.stdout.splitlines()[-1] == "w", done.stderr
    assert (tmp_path / "kept/birds/birds.zip").is_file()


def test_a_cell_carries_further_places(tmp_path):
    last = datastage.cell("https://h/b.zip", fallbacks=["drive:b.zip"]).splitlines()[-1]

    assert last == 'import datastage; path = datastage.stage("https://h/b.zip", fallbacks=["drive:b.zip"])'


def test_no_cell_carries_a_password(tmp_path):
    for options in ({"fallbacks": ["https://me:pw@h/x.zip"]}, {}):
        with pytest.raises(SpecError, match="password"):
            datastage.cell("cifar10" if options else "https://me:pw@h/x.zip", **options)


PAGE = Path(__file__).parents[1] / "docs/own-data.md"


def test_a_teacher_from_the_page_alone_makes_a_cell_that_works_for_a_student(tmp_path, server, monkeypatch):
    photos = io.BytesIO()
    with zipfile.ZipFile(photos, "w") as archive:
        for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"):
            archive.writestr(f"photos/{name}", b"\xff\xd8\xff" + name.encode())
    server.serve("photos.zip", photos.getvalue())
    page = PAGE.read_text("utf-8").replace("https://course.example/", server.url(""))
    lines = re.findall(r"^(?:- `)?(datastage (?:catalog|cell|stage) [^`\n]*)", page, re.MULTILINE)
    assert len(lines) == 5

    add, _, cell, check, stage = lines  # the one that is left out reads a file of the teacher's own machine
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    commands = "\n".join([add, cell.replace(" >", " --embed >"), check, stage])
    done = subprocess.run(["sh", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok  photos")

    student = tmp_path / "student"
    student.mkdir()
    environment = {**os.environ, "DATASTAGE_ROOT": str(student / "root")}
    (student / "cell.py").write_text(
        (tmp_path / "cell.py").read_text() + "\nprint(sorted(p.name for p in path.iterdir()))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "cell.py"],
        cwd=student,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "'cat', 'dog'" in ran.stdout, ran.stderr
