"""Links of Dropbox, SharePoint and OneDrive, as people paste them."""

from __future__ import annotations

import pytest

import datastage
from datastage.errors import SpecError, UnavailableError
from datastage.sources import parse
from tests.made_data import zipped
from tests.sources.staged import quiet, tree
from tests.sources.test_research_data import CSV, PHOTOS, data

__all__ = ["data"]

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    "spec",
    [
        "https://www.dropbox.com/scl/fi/abc/iris.csv?rlkey=a-key&st=1&dl=0",
        "https://www.dropbox.com/scl/fi/abc/iris.csv?rlkey=a-key&dl=1",
        "https://dropbox.com/scl/fi/abc/iris.csv?rlkey=a-key&raw=1",
        "https://www.dropbox.com/s/abc/iris.csv?dl=0",
        "https://www.dropbox.com/s/abc/iris.csv",
    ],
)
def test_a_file_of_dropbox(spec, data):
    data.records["dropbox", "abc"] = {"iris.csv": CSV}
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", CSV)
    assert "a-key" not in str(staged.receipt)


def test_a_folder_of_dropbox_comes_as_a_zip_and_is_unpacked(data):
    data.records["dropbox", "xyz"] = {"folder.zip": zipped(PHOTOS)}
    assert tree(quiet("https://www.dropbox.com/scl/fo/xyz/h?rlkey=a-key&dl=0")) == PHOTOS


def test_a_link_of_dropbox_without_its_key_is_named(data):
    data.records["dropbox", "abc"] = {"iris.csv": CSV}
    with pytest.raises(UnavailableError, match="does not give the file to everybody") as caught:
        quiet("https://www.dropbox.com/scl/fi/abc/iris.csv?dl=0")
    assert "rlkey" in str(caught.value)
    with pytest.raises(UnavailableError, match="does not give") as caught:
        quiet("https://www.dropbox.com/scl/fi/gone/iris.csv?rlkey=a-secret-key")
    assert "a-secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "https://uni-my.sharepoint.com/:u:/g/personal/me_uni_edu/abc?e=Xy1",
        "https://uni.sharepoint.com/:x:/s/course/abc",
    ],
)
def test_a_file_of_sharepoint_needs_the_cookie_of_its_first_answer(spec, data):
    data.records["sharepoint", "abc"] = {"iris.csv": CSV}
    staged = quiet(spec)
    assert (staged.path.name, staged.path.read_bytes()) == ("iris.csv", CSV)


def test_a_file_of_sharepoint_that_is_not_for_everybody_is_named(data):
    with pytest.raises(UnavailableError, match="asks to sign in") as caught:
        quiet("https://uni-my.sharepoint.com/:u:/g/personal/me_uni_edu/private?e=Xy1")
    assert "Anyone" in str(caught.value)


def test_a_folder_of_sharepoint_and_a_personal_onedrive_say_what_works():
    with pytest.raises(SpecError, match="folder of SharePoint"):
        parse("https://uni-my.sharepoint.com/:f:/g/personal/me/abc")
    for link in ("https://1drv.ms/u/s!Abc", "https://onedrive.live.com/?id=ABC"):
        with pytest.raises(UnavailableError, match="to browsers alone") as caught:
            datastage.stage(link, progress=False)
        assert "Google Drive" in str(caught.value)


def test_a_link_is_waited_for_as_patiently_as_is_asked(data, patience):
    data.records["dropbox", "abc"] = {"iris.csv": CSV}
    assert patience("https://www.dropbox.com/s/abc/iris.csv") == ["as asked"]
