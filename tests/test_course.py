"""A teacher's own catalog: a line a dataset, and a look at every place of it."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile

import pytest

import datastage
from datastage import cli, datasets
from datastage.course import without_a_place
from datastage.datasets.catalog_file import parse_catalog
from datastage.errors import SpecError
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


def test_a_variable_never_makes_code_run(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text("raise SystemExit('code of a variable runs')\n")
    monkeypatch.setenv("DATASTAGE_CATALOG", str(tmp_path / "ours.py"))

    with pytest.raises(SpecError, match="never makes code run"):
        datastage.catalog()


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


def test_the_command_exits_3_if_a_file_is_to_be_had_nowhere(birds, server, capsys, tmp_path):
    (tmp_path / "ours.txt").write_text(f"birds {server.url('gone.zip')}\nmore ./birds.zip\n")

    assert cli.main(["catalog", "check", "birds", "--catalog", "ours.txt"]) == 3
    assert "No place is left for birds" in capsys.readouterr().out
    assert cli.main(["catalog", "check", "more", "--catalog", "ours.txt"]) == 0


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
