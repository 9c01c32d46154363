"""What a text names, what is said of one that names nothing, and how a place is added to the table."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import datastage
from datastage import runtime, staging
from datastage.errors import SpecError
from datastage.sources import SOURCES, address_of, braces, key_of, open_spec, parse
from datastage.spec import Spec
from tests.stand_ins.runtimes import Kaggle

REPOSITORY = Path(__file__).resolve().parents[2]
ID = "1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW"

TABLE = [
    ("cifar10", "name"),
    ("fashion_mnist", "name"),
    ("drive:path/in/MyDrive.zip", "drive"),
    ("drive:Shareddrives/Team/x.tar", "drive"),
    ("drive:Colab Notebooks/mes données.zip", "drive"),
    (f"https://drive.google.com/file/d/{ID}/view", "share"),
    (f"https://drive.google.com/file/u/0/d/{ID}/edit", "share"),
    (f"https://drive.google.com/drive/u/0/folders/{ID}", "share"),
    (f"https://docs.google.com/spreadsheets/d/{ID}/edit", "http"),
    ("kaggle:owner/slug", "kaggle"),
    ("kaggle:competitions/titanic", "kaggle"),
    ("kaggle:titanic", "kaggle"),
    ("https://www.kaggle.com/datasets/zalando-research/fashionmnist", "kaggle"),
    ("https://notkaggle.com/datasets/zalando-research/fashionmnist", "http"),
    ("https://host.example/a.zip", "http"),
    ("http://localhost:8000/a.zip", "http"),
    ("https://github.com/owner/repo/blob/main/data/iris.csv", "github"),
    ("https://github.com/owner/repo/releases/download/v1/a.zip", "http"),
    ("https://raw.githubusercontent.com/owner/repo/main/iris.csv", "github"),
    ("/x/y.zip", "file"),
    ("~/x", "file"),
    ("./x", "file"),
    ("../x.csv", "file"),
    ("C:\\data\\x.zip", "file"),
    ("file:///x/y.zip", "file"),
    ("datasets/iris.zip", "relative"),
    ("iris.csv", "relative"),
]


@pytest.mark.parametrize(("text", "scheme"), TABLE)
def test_every_scheme_parses_and_prints_back_the_same(text, scheme):
    spec = parse(text)
    assert (spec.scheme, str(spec)) == (scheme, text)


@pytest.mark.parametrize(
    ("text", "scheme", "parts"),
    [
        ("kaggle:owner/slug", "kaggle", ("dataset", "owner", "slug")),
        ("kaggle:datasets/owner/slug", "kaggle", ("dataset", "owner", "slug")),
        ("kaggle:competitions/titanic", "kaggle", ("competition", "titanic")),
        ("https://drive.google.com/open?id=1A2b3C4d5E6f7G8h9I0j&resourcekey=0-abc", "share", ("file", "0-abc")),
        ("https://drive.google.com/drive/folders/1A2b3C4d5E6f7G8h9I0j", "share", ("folder", "")),
    ],
)
def test_the_parts_of_a_value_are_told_apart(text, scheme, parts):
    spec = parse(text)
    assert (spec.scheme, spec.parts) == (scheme, parts)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://host.example/a%20b.zip?x=c.zip", "a b.zip"),
        ("https://host.example", ""),
        ("https://github.com/owner/repo/blob/main/a%20b.csv?raw=true", "a b.csv"),
        ("kaggle:owner/slug", "slug"),
        ("drive:photos/birds.zip", "birds.zip"),
        ("C:\\data\\x.zip", "x.zip"),
    ],
)
def test_a_spec_says_the_name_of_its_file(text, name):
    assert parse(text).file_name == name


def test_the_page_of_a_file_on_github_leads_to_the_file():
    spec = parse("https://github.com/owner/repo/blob/feature/x/data/mes%20chats.csv?raw=true#L3")
    assert spec.parts == ("file", "owner", "repo", "feature/x/data/mes chats.csv")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("", "cifar10"),
        ("  ", "cifar10"),
        (" cifar10", "'cifar10'"),
        ("drvie:datasets.zip", "drive:datasets.zip"),
        ("Drive:datasets.zip", "drive:datasets.zip"),
        ("drive:/content/drive/MyDrive/x.zip", "drive:MyDrive/x.zip"),
        ("drive:../x.zip", "My Drive"),
        ("kaggle:", "kaggle:OWNER/NAME"),
        ("https:/host/x", "https://host/x"),
        ("https://", "https://SERVER/FILE"),
        ("https://host.example/a b.zip", "https://host.example/a%20b.zip"),
        ("https://host.example:port/a.zip", "browser"),
        ("https://drive.google.com/drive/my-drive", "Copy link"),
        ("https://github.com/owner", "https://github.com/OWNER/REPOSITORY"),
        ("www.host.example/a.zip", "https://www.host.example/a.zip"),
        ("ftp://host.example/a.zip", "https://"),
        ("file://x", "file:///x"),
        ("what is this", "./what is this"),
        ("a\nb", "./a\\nb"),
        ("./a\0b", "no name can hold"),
        (Path("a\0b"), "no name can hold"),
        ("https://host.example/\ud83d.zip", "no name can hold"),
        ("s-{0..1234567890123}.tar", "fewer of them"),
    ],
)
def test_a_wrong_text_says_what_is_near(text, near):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert near in str(caught.value)


def test_a_path_may_hold_a_line_break(tmp_path):
    (tmp_path / "a\nb.csv").write_text("x")
    assert open_spec(parse(f"{tmp_path}/a\nb.csv"), runtime.current()).content


def test_numbers_in_braces_may_be_of_any_width():
    assert braces.expanded(f"s-{{{8:016d}..{9:016d}}}.tar") == ["s-0000000000000008.tar", "s-0000000000000009.tar"]


def test_a_path_object_is_exactly_that_file():
    assert parse(Path("iris.csv")).scheme == "file"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@host.example/a.zip?token=hunter2",
        "https://hunter2@host.example/a.zip",
        "https://host.example/a.zip?hunter2",
    ],
)
def test_a_secret_is_in_no_printed_form(text):
    spec = parse(text)
    assert "hunter2" not in str(spec) + repr(spec) + str(address_of(spec))


@pytest.mark.parametrize(
    "text",
    ["https://me:hunter2@host.example:port/a.zip", "s4://key:hunter2@bucket/a", "htps://me:hunter2@host.example/a"],
)
def test_an_error_about_an_address_hides_its_password(text):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://me:hunter2@host.example/a.zip", "https://host.example/a.zip", True),
        ("https://host.example/a.zip?v=1", "https://host.example/a.zip?v=2", False),
        ("./a.csv", "/work/a.csv", False),  # the working directory of this process counts, not the one given
        ("a.csv", "./a.csv", False),
        ("drive:a.csv", "drive:b.csv", False),
    ],
)
def test_the_key_of_a_spec_tells_requests_apart_and_holds_no_password(one, other, same):
    keys = [key_of(parse(text), Path("/work")) for text in (one, other)]
    assert (keys[0] == keys[1]) == same
    assert "hunter2" not in "".join(keys)


def test_a_relative_path_is_another_request_in_another_folder():
    assert key_of(parse("a.csv"), Path("/one")) != key_of(parse("a.csv"), Path("/two"))


def test_the_name_of_a_dataset_is_no_place():
    with pytest.raises(SpecError, match="name of a dataset"):
        open_spec(Spec("iris", "name", "iris"), runtime.current())


def test_every_row_can_be_opened_or_leads_to_another():
    assert len({source.scheme for source in SOURCES}) == len(SOURCES)
    for source in SOURCES:
        assert source.open or source.parse_page, source.scheme
        assert bool(source.parse) == bool(source.words), source.scheme


def test_a_place_is_added_by_what_contributing_says(tmp_path):
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## Add a place\n")[1].split("\n## ")[0]
    module, row = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    tree = tmp_path / "tree"
    shutil.copytree(Path(datastage.__file__).parent, tree / "datastage", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "datastage/sources/shelf.py").write_text(module, encoding="utf-8")
    table = tree / "datastage/sources/__init__.py"
    text = table.read_text(encoding="utf-8")
    text = text.replace("from datastage.sources import ", "from datastage.sources import shelf, ", 1)
    text = text.replace("] = (\n", f"] = (\n{row}", 1)
    table.write_text(text, encoding="utf-8")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "birds.csv").write_text("a,b\n1,2\n")
    environ = {**os.environ, "PYTHONPATH": str(tree), "SHELF": str(shelf), "DATASTAGE_ROOT": str(tmp_path / "root")}

    def run(text):
        command = [sys.executable, "-m", "datastage", "stage", text]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    done = run("shelf:birds.csv")
    assert (done.returncode, Path(done.stdout.strip()).read_text()) == (0, "a,b\n1,2\n"), done.stderr
    missing = run("shelf:fish.csv")
    assert missing.returncode == 3
    assert "Next: " in missing.stderr
    assert "shelf:" in run("nosuchplace:x").stderr  # the words of the table are named


@pytest.mark.parametrize(
    ("attached", "here", "offered"),
    [
        ("datasets/ann/cats-vs-dogs", "", "kaggle:cats-vs-dogs"),
        ("cats_vs_dogs", "", "kaggle:cats_vs_dogs"),
        ("x", "cats-vs-dogs", "./cats-vs-dogs"),
    ],
)
def test_an_unknown_name_is_answered_with_the_input_or_folder_that_is_called_so(tmp_path, attached, here, offered):
    machine = Kaggle(tmp_path / "k")
    (machine.root / "kaggle/input" / attached).mkdir(parents=True)
    if here:
        (tmp_path / here).mkdir()
    with pytest.raises(SpecError) as caught:
        staging.named_entry(parse("cats-vs-dogs"), machine.runtime(cwd=tmp_path))
    assert str(caught.value).splitlines()[-1].strip() == f"Next: is it this one?  {offered}"


def test_an_unknown_name_with_nothing_near_lists_the_names(tmp_path):
    with pytest.raises(SpecError, match="datastage catalog"):
        staging.named_entry(parse("nonesuch"), Kaggle(tmp_path / "k").runtime(cwd=tmp_path))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.5281/zenodo.123", "doi:10.5281/zenodo.123"),
        ("doi: 10.5281/zenodo.123", "doi:10.5281/zenodo.123"),
        ("DOI: 10.7910/DVN/ABC", "doi:10.7910/DVN/ABC"),
        ("zenodo.org/records/123", "https://zenodo.org/records/123"),
        ("huggingface.co/datasets/o/n", "https://huggingface.co/datasets/o/n"),
        ("www.kaggle.com/datasets/o/n", "https://www.kaggle.com/datasets/o/n"),
        ("kaggle datasets download -d o/n", "kaggle:o/n"),
        ("!kaggle datasets download o/n --unzip", "kaggle:o/n"),
        ("kaggle competitions download -c titanic", "kaggle:competitions/titanic"),
        (f"gdown {'a' * 33}", f"https://drive.google.com/file/d/{'a' * 33}/view"),
        ("!wget -q 'https://h.example/x.zip'", "https://h.example/x.zip"),
        ("curl -L -o x.zip https://h.example/x.zip", "https://h.example/x.zip"),
        ("git clone https://github.com/o/r.git", "https://github.com/o/r.git"),
        ("git@github.com:o/r.git", "github:o/r"),
        ("<https://h.example/x.zip>", "https://h.example/x.zip"),
        ("'https://h.example/x.zip'", "https://h.example/x.zip"),
        ("arn:aws:s3:::bucket/x.csv", "s3://bucket/x.csv"),
    ],
)
def test_what_people_copy_in_another_form_is_answered_with_the_text_to_write(text, meant):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert caught.value.remedy[-1] == f"Next: {meant}"
    assert parse(meant).scheme != "relative"


@pytest.mark.parametrize("text", ["10.5/x.csv", "my github.com notes.csv", "data/10.5281/x.csv", "photos of https.zip"])
def test_a_relative_path_that_only_looks_like_an_address_stays_one(text):
    assert parse(text).scheme == "relative"


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("https://storage.cloud.google.com/bucket/data/x.csv?authuser=1", "gs/bucket/data/x.csv"),
        (
            "https://console.cloud.google.com/storage/browser/_details/bucket/a%20b.csv;tab=x?project=p",
            "gs/bucket/a b.csv",
        ),
        ("https://console.cloud.google.com/storage/browser/bucket", "gs/bucket/"),
        (
            "https://s3.console.aws.amazon.com/s3/object/bucket?region=eu-west-1&prefix=data/x.csv",
            "s3/bucket/data/x.csv",
        ),
        ("https://eu-west-1.console.aws.amazon.com/s3/buckets/bucket?prefix=data/", "s3/bucket/data/"),
    ],
)
def test_a_page_of_a_console_is_the_object_that_it_shows(address, bucket):
    spec = parse(address)
    assert (spec.scheme, spec.value) == ("bucket", bucket)
    assert parse("https://cloud.google.com/storage/docs").scheme == "http"
