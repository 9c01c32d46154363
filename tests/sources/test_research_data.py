"""The address of a record, as people paste it, leads to its files; each is checked by the digest that is published."""

from __future__ import annotations

import random

import pytest

from datastage.errors import ChecksumError, IntegrityError, SpecError, UnavailableError
from datastage.sources import address_of, parse
from tests.made_data import zipped
from tests.sources.staged import quiet, tree, without
from tests.stand_ins.research_data import ResearchData

pytestmark = pytest.mark.usefixtures("here")

CSV = b"5.1,3.5\n" * 30
BIG = random.Random(9).randbytes(1_200_000)


PHOTOS = {"cat/1.txt": b"meow", "dog/2.txt": b"woof"}


@pytest.fixture
def data(monkeypatch):
    server = ResearchData()
    monkeypatch.setenv("DATASTAGE_ENDPOINTS", server.endpoints)
    without(monkeypatch)
    yield server
    server.close()


def hashes(staged):
    return staged.receipt["hashes"]


# --- Zenodo


@pytest.mark.parametrize(
    "spec",
    [
        "https://zenodo.org/records/123",
        "https://zenodo.org/record/123",
        "https://zenodo.org/records/123/files/iris.csv?download=1",
        "https://zenodo.org/record/123/files/iris.csv",
        "https://zenodo.org/api/records/123/files/iris.csv/content",
        "https://zenodo.org/records/123/preview/iris.csv",
        "https://doi.org/10.5281/zenodo.123",
        "https://zenodo.org/doi/10.5281/zenodo.123",
        "doi:10.5281/zenodo.123",
        "doi:10.5281/zenodo.123/iris.csv",
    ],
)
def test_a_record_of_one_file_is_that_file_with_its_digest(spec, data):
    data.records["zenodo", "123"] = {"iris.csv": CSV}
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", CSV)
    assert "md5" in hashes(staged)


def test_a_record_of_several_files_is_a_folder_unless_one_is_named(data):
    data.records["zenodo", "5"] = {"a.csv": CSV, "b c.bin": BIG}
    assert tree(quiet("doi:10.5281/zenodo.5")) == {"a.csv": CSV, "b c.bin": BIG}
    assert quiet("doi:10.5281/zenodo.5/a.csv").path.read_bytes() == CSV
    with pytest.raises(UnavailableError, match="the record holds no c.csv") as caught:
        quiet("doi:10.5281/zenodo.5/c.csv")
    assert "a.csv" in str(caught.value)


def test_an_archive_of_a_record_is_unpacked(data):
    data.records["zenodo", "6"] = {"photos.zip": zipped(PHOTOS)}
    assert tree(quiet("https://zenodo.org/records/6")) == PHOTOS


def test_all_versions_lead_to_the_newest_and_old_answers_are_understood(data):
    data.records["zenodo", "8"] = {"iris.csv": CSV}
    data.newest["7"] = "8"
    data.old_names = True
    assert quiet("doi:10.5281/zenodo.7").path.read_bytes() == CSV


def test_wrong_bytes_of_a_record_are_refused_and_nothing_is_kept(data, tmp_path):
    data.records["zenodo", "9"] = {"iris.csv": CSV}
    data.wrong.add(CSV)
    with pytest.raises(ChecksumError, match="its md5 is"):
        quiet("doi:10.5281/zenodo.9")
    assert not [path for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")]


def test_zenodo_is_asked_over_few_connections(data):
    data.records["zenodo", "10"] = {f"{n}.bin": BIG for n in range(6)}
    quiet("doi:10.5281/zenodo.10")
    assert data.most_open <= 4


def test_a_record_that_is_not_there_is_said_with_the_page_to_open(data):
    with pytest.raises(UnavailableError, match="not there, or not open to everybody") as caught:
        quiet("doi:10.5281/zenodo.404")
    assert "https://doi.org/10.5281/zenodo.404" in str(caught.value)


def test_a_token_of_a_private_record_is_left_in_its_address():
    assert parse("https://zenodo.org/records/1/files/a.zip?token=abc").scheme == "http"


# --- figshare


@pytest.mark.parametrize(
    "spec",
    [
        "https://figshare.com/articles/dataset/A_title/77",
        "https://figshare.com/articles/dataset/A_title/77/2",
        "https://springernature.figshare.com/articles/dataset/A_title/77",
        "doi:10.6084/m9.figshare.77",
        "doi:10.6084/m9.figshare.77.v2",
        "https://doi.org/10.6084/m9.figshare.77.v2",
        "https://figshare.com/ndownloader/files/100",
        "https://ndownloader.figshare.com/files/100",
    ],
)
@pytest.mark.parametrize("challenged", [False, True])
def test_an_article_of_figshare(spec, challenged, data):
    data.records["figshare", "77"] = {"iris.csv": CSV}
    data.challenged = challenged
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", CSV)
    assert ("md5" in hashes(staged)) == ("files/100" not in spec)


def test_a_collection_of_figshare_is_not_taken_for_the_article_of_its_number(data):
    data.records["figshare", "77"] = {"iris.csv": CSV}
    data.dois["10.6084/m9.figshare.c.77"] = f"{data.address}/page"
    with pytest.raises(UnavailableError, match="none that is known here"):
        quiet("doi:10.6084/m9.figshare.c.77")


# --- OSF


def test_a_project_of_osf_comes_with_its_folders_over_all_pages(data):
    files = {"a.csv": CSV, "deep/er/b.bin": BIG, "deep/c.csv": b"1\n"}
    data.records["osf", "abcde"] = files
    assert tree(quiet("https://osf.io/abcde/")) == files
    assert tree(quiet("https://osf.io/abcde/files/osfstorage")) == files


@pytest.mark.parametrize(
    "spec", ["https://osf.io/fbcde", "https://osf.io/fbcde/download", "https://osf.io/download/fbcde", "https://osf.io/abcde/files/osfstorage/fbcde"]
)  # fmt: skip
def test_a_file_of_osf(spec, data):
    data.records["osf", "abcde"] = {"iris.csv": CSV}
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", CSV)
    assert "sha256" in hashes(staged)


def test_a_private_project_of_osf_is_named(data):
    data.records["osf", "abcde"] = {"iris.csv": CSV}
    data.restricted.add("abcde")
    with pytest.raises(UnavailableError, match="not open to everybody"):
        quiet("https://osf.io/abcde")


# --- Dataverse, and any other DOI


def test_a_dataset_of_a_dataverse_through_its_doi(data):
    files = {"a.csv": CSV, "folder/b.bin": BIG, "table.csv": b"x,y\n1,2\n"}
    data.records["dataverse", "10.7910/DVN/ABC"] = files
    data.tables.add("table.csv")
    data.dois["10.7910/DVN/ABC"] = f"{data.address}/dataset.xhtml?persistentId=doi:10.7910/DVN/ABC"
    assert tree(quiet("doi:10.7910/DVN/ABC")) == files
    assert quiet("https://doi.org/10.7910/DVN/ABC/a.csv").path.read_bytes() == CSV


def test_the_page_of_a_dataverse_is_told_from_others():
    spec = parse("https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/ABC")
    assert spec.parts == ("dataverse", "10.7910/DVN/ABC", "", "https://dataverse.harvard.edu")


def test_a_doi_that_leads_elsewhere_says_so(data):
    data.dois["10.1000/182"] = f"{data.address}/page"
    with pytest.raises(UnavailableError, match="leads to a page of 127.0.0.1"):
        quiet("doi:10.1000/182")
    with pytest.raises(UnavailableError, match="There is no DOI 10.1000/nothing"):
        quiet("doi:10.1000/nothing")


def test_what_is_no_doi_is_said():
    with pytest.raises(SpecError, match="is no DOI"):
        parse("doi:zenodo.123")


# --- archive.org


def test_an_item_of_the_archive_comes_without_what_the_archive_made_of_it(data):
    data.records["archive", "iris-set"] = {"a.csv": CSV, "sub/b.bin": BIG}
    assert tree(quiet("https://archive.org/details/iris-set")) == {"a.csv": CSV, "sub/b.bin": BIG}
    staged = quiet("https://archive.org/download/iris-set/sub/b.bin")
    assert staged.path.read_bytes() == BIG
    assert "md5" in hashes(staged)
    with pytest.raises(UnavailableError, match="holds no files"):
        quiet("https://archive.org/details/nothing")


def test_a_browser_is_led_to_the_page_of_a_record():
    assert address_of(parse("doi:10.5281/zenodo.1")) == "https://doi.org/10.5281/zenodo.1"
    assert address_of(parse("https://osf.io/abcde")) == "https://osf.io/abcde"


def test_a_record_that_names_a_file_outside_is_refused(data):
    data.records["zenodo", "11"] = {"../evil.txt": b"x", "a.csv": CSV}
    with pytest.raises(IntegrityError, match="outside"):
        quiet("doi:10.5281/zenodo.11")


@pytest.mark.parametrize(
    "spec",
    [
        "doi:10.5281/zenodo.5",
        "https://figshare.com/articles/dataset/name/77",
        "https://osf.io/abcde",
        "doi:10.7910/DVN/ABC",
        "https://archive.org/details/iris-set",
    ],
)
def test_the_place_of_a_record_is_waited_for_as_patiently_as_is_asked(spec, data, patience):
    services = {"zenodo": "5", "figshare": "77", "osf": "abcde", "dataverse": "10.7910/DVN/ABC", "archive": "iris-set"}
    for service, record in services.items():
        data.records[service, record] = {"a.csv": CSV, "b/c.csv": CSV}
    data.dois["10.7910/DVN/ABC"] = f"{data.address}/dataset.xhtml?persistentId=doi:10.7910/DVN/ABC"
    assert patience(spec) == ["as asked"]
