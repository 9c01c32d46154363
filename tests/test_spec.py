"""What a text names, and what is said of one that names nothing."""

from pathlib import Path

import pytest

from datastage.errors import SpecError
from datastage.spec import parse, stem_of, without_secrets

TABLE = [
    ("cifar10", "name"),
    ("fashion_mnist", "name"),
    ("drive:path/in/MyDrive.zip", "drive"),
    ("drive:Shareddrives/Team/x.tar", "drive"),
    ("drive:Colab Notebooks/mes données.zip", "drive"),
    ("https://drive.google.com/file/d/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW/view", "share"),
    ("https://drive.google.com/file/u/0/d/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW/edit", "share"),
    ("https://drive.google.com/drive/u/0/folders/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW", "share"),
    ("https://docs.google.com/spreadsheets/d/1A2b3C4d5E6f7G8h9I0jKlMnOpQrStUvW/edit", "share"),
    ("kaggle:owner/slug", "kaggle"),
    ("kaggle:competitions/titanic", "kaggle"),
    ("kaggle:titanic", "kaggle"),
    ("https://www.kaggle.com/datasets/zalando-research/fashionmnist", "kaggle"),
    ("https://host.example/a.zip", "http"),
    ("http://localhost:8000/a.zip", "http"),
    ("github:owner/repo", "github"),
    ("github:owner/repo@v1.2/data/iris.csv", "github"),
    ("https://github.com/owner/repo/blob/main/data/iris.csv", "github"),
    ("https://github.com/owner/repo/releases/download/v1/a.zip", "http"),
    ("https://raw.githubusercontent.com/owner/repo/main/iris.csv", "http"),
    ("hf:datasets/owner/name", "hf"),
    ("hf:datasets/owner/name/train.parquet", "hf"),
    ("s3://bucket/key.zip", "s3"),
    ("gs://bucket/key.zip", "gs"),
    ("upload:name.zip", "upload"),
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
        ("https://github.com/o/r/blob/main/a/b.csv", "github", ("o", "r", "main", "a/b.csv")),
    ],
)
def test_the_parts_of_a_value_are_told_apart(text, scheme, parts):
    spec = parse(text)
    assert (spec.scheme, spec.parts) == (scheme, parts)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("", "cifar10"),
        ("  ", "cifar10"),
        (" cifar10", "'cifar10'"),
        ("drvie:datasets.zip", "drive:datasets.zip"),
        ("Drive:datasets.zip", "drive:datasets.zip"),
        ("drive:", "drive:datasets.zip"),
        ("drive:/content/drive/MyDrive/x.zip", "drive:MyDrive/x.zip"),
        ("drive:../x.zip", "My Drive"),
        ("kaggle:", "kaggle:OWNER/NAME"),
        ("kaggle:a/b/c", "kaggle:a/b"),
        ("https:/host/x", "https://host/x"),
        ("https://", "https://SERVER/FILE"),
        ("https://host.example/a b.zip", "https://host.example/a%20b.zip"),
        ("https://host.example:port/a.zip", "browser"),
        ("https://drive.google.com/drive/my-drive", "Copy link"),
        ("www.host.example/a.zip", "https://www.host.example/a.zip"),
        ("github:owner", "github:OWNER/REPOSITORY"),
        ("hf:owner/name", "hf:datasets/owner/name"),
        ("s3:bucket/key", "s3://BUCKET/PATH"),
        ("upload:a/b.zip", "upload:datasets.zip"),
        ("file://x", "file:///x"),
        ("what is this", "./what is this"),
        ("a\nb", "line breaks"),
    ],
)
def test_a_wrong_text_says_what_is_near(text, near):
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert near in str(caught.value)


def test_a_path_object_is_exactly_that_file():
    assert parse(Path("iris.csv")).scheme == "file"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@host.example/a.zip?token=hunter2",
        "https://hunter2@host.example/a.zip",
        "https://host.example/a.zip?hunter2",
        "s3://key:hunter2@bucket/a",
    ],
)
def test_a_secret_is_in_no_printed_form(text):
    spec = parse(text)
    assert "hunter2" not in str(spec) + repr(spec)


def test_an_error_about_an_address_hides_its_password():
    with pytest.raises(SpecError) as caught:
        parse("https://me:hunter2@host.example:port/a.zip")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.tar.gz", "a"), ("a.tgz", "a"), ("a.zip", "a"), ("iris.csv", "iris"), ("a.b.zip", "a.b"), ("folder", "folder")],
)
def test_the_stem_of_a_name_leaves_out_the_endings(name, stem):
    assert stem_of(name) == stem


def test_text_that_is_no_address_is_printed_as_it_is():
    assert without_secrets("C:\\a?b=c") == "C:\\a?b=c"
