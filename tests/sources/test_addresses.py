"""Every form of address that people paste, in each runtime, without network: the place is known, the next step is said.

Against servers that answer, each place has tests of its own beside this file.
"""

from __future__ import annotations

import logging

import pytest

import datastage
from datastage.errors import DatastageError
from datastage.sources import address_of, parse
from tests.stand_ins.runtimes import Colab, Kaggle, Layout

pytestmark = pytest.mark.usefixtures("here")

_ID = "1a2B3c4D5e6F7g8H9i0JkLmNoPqRsTuVw"
_SHA = "0123456789abcdef0123456789abcdef01234567"
# What is pasted: the scheme that knows it; a part of it that is a secret, if there is one.
ADDRESSES: dict[str, tuple[str, str]] = {
    # Google Drive
    f"https://drive.google.com/file/d/{_ID}/view?usp=sharing": ("share", ""),
    f"https://drive.google.com/file/d/{_ID}/view?usp=drive_link": ("share", ""),
    f"https://drive.google.com/file/d/{_ID}/edit": ("share", ""),
    f"https://drive.google.com/file/u/1/d/{_ID}/preview": ("share", ""),
    f"https://drive.google.com/open?id={_ID}": ("share", ""),
    f"https://drive.google.com/uc?id={_ID}&export=download": ("share", ""),
    f"https://drive.google.com/uc?export=download&confirm=t&id={_ID}&resourcekey=0-s3cretS3cret": (
        "share",
        "s3cretS3cret",
    ),
    f"https://drive.google.com/drive/folders/{_ID}?usp=sharing": ("share", ""),
    f"https://drive.google.com/drive/u/0/folders/{_ID}": ("share", ""),
    f"https://drive.usercontent.google.com/download?id={_ID}&export=download": ("share", ""),
    f"https://docs.google.com/spreadsheets/d/{_ID}/edit#gid=0": ("http", ""),
    "drive:datasets/photos.zip": ("drive", ""),
    "drive:My Drive/photos.zip": ("drive", ""),
    # GitHub
    "https://github.com/o/r": ("github", ""),
    "https://github.com/o/r.git": ("github", ""),
    "https://github.com/o/r/tree/main": ("github", ""),
    "https://github.com/o/r/tree/feature/x/data": ("github", ""),
    "https://github.com/o/r/blob/main/data/x.csv": ("github", ""),
    "https://github.com/o/r/blob/main/data/x.csv?raw=true": ("github", ""),
    "https://github.com/o/r/raw/main/data/x.csv": ("github", ""),
    "https://github.com/o/r/raw/refs/heads/main/data/x.csv": ("github", ""),
    "https://raw.githubusercontent.com/o/r/main/data/x.csv": ("github", ""),
    "https://raw.githubusercontent.com/o/r/main/x.csv?token=GHSAT0AAAAAACSECRET": ("http", "GHSAT0AAAAAACSECRET"),
    "https://media.githubusercontent.com/media/o/r/main/x.bin": ("http", ""),
    "https://github.com/o/r/releases/download/v1/a.zip": ("http", ""),
    "https://github.com/o/r/releases/latest/download/a.zip": ("http", ""),
    "https://github.com/o/r/releases/tag/v1": ("github", ""),
    "https://github.com/o/r/archive/refs/heads/main.zip": ("http", ""),
    f"https://github.com/o/r/archive/{_SHA}.zip": ("http", ""),
    "https://codeload.github.com/o/r/zip/main": ("http", ""),
    f"https://gist.github.com/o/{_SHA[:32]}": ("github", ""),
    f"https://gist.githubusercontent.com/o/{_SHA[:32]}/raw/x.csv": ("http", ""),
    "https://github.com/user-attachments/files/1/car.tgz": ("http", ""),
    "https://github.com/o/r/files/1/car.tgz": ("http", ""),
    "https://o.github.io/r/x.csv": ("http", ""),
    "https://cdn.jsdelivr.net/gh/o/r@main/x.csv": ("http", ""),
    "github:o/r/data": ("github", ""),
    # The Hugging Face Hub
    "https://huggingface.co/datasets/o/n": ("hub", ""),
    "https://huggingface.co/datasets/o/n/tree/main/data": ("hub", ""),
    "https://huggingface.co/datasets/o/n/blob/main/x.csv": ("hub", ""),
    "https://huggingface.co/datasets/o/n/resolve/main/x.csv?download=true": ("hub", ""),
    "https://huggingface.co/datasets/o/n/tree/refs%2Fconvert%2Fparquet/default": ("hub", ""),
    "https://huggingface.co/o/n/resolve/main/model.bin": ("hub", ""),
    "https://huggingface.co/spaces/o/n/resolve/main/x.csv": ("hub", ""),
    "hf:datasets/o/n": ("hub", ""),
    "hf://datasets/o/n@v1/data/x.csv": ("hub", ""),
    # Kaggle
    "https://www.kaggle.com/datasets/o/n": ("kaggle", ""),
    "https://www.kaggle.com/datasets/o/n/data": ("kaggle", ""),
    "https://www.kaggle.com/datasets/o/n/versions/3": ("kaggle", ""),
    "https://www.kaggle.com/datasets/o/n?select=train.csv": ("kaggle", ""),
    "https://www.kaggle.com/o/n": ("kaggle", ""),
    "https://www.kaggle.com/competitions/titanic": ("kaggle", ""),
    "https://www.kaggle.com/competitions/titanic/data": ("kaggle", ""),
    "https://www.kaggle.com/c/titanic/data": ("kaggle", ""),
    "https://www.kaggle.com/models/o/n/pyTorch/base/1": ("kaggle", ""),
    "https://www.kaggle.com/code/o/n/output": ("kaggle", ""),
    "https://www.kaggle.com/api/v1/datasets/download/o/n": ("http", ""),
    "kaggle:o/n": ("kaggle", ""),
    "kaggle:o/n@3/train.csv": ("kaggle", ""),
    "kaggle:competitions/titanic": ("kaggle", ""),
    "kaggle:titanic": ("kaggle", ""),
    # Buckets
    "s3://bucket/data/x.csv": ("bucket", ""),
    "gs://bucket/data/": ("bucket", ""),
    "az://container/x.csv": ("bucket", ""),
    "https://bucket.s3.eu-west-1.amazonaws.com/x.csv": ("http", ""),
    "https://s3.eu-west-1.amazonaws.com/a.bucket/x.csv": ("http", ""),
    "https://bucket.s3.amazonaws.com/x.csv?X-Amz-Credential=AKIA&X-Amz-Signature=5ecre7": ("http", "5ecre7"),
    "https://storage.googleapis.com/bucket/x.csv": ("http", ""),
    "https://bucket.storage.googleapis.com/x.csv": ("http", ""),
    "https://account.blob.core.windows.net/c/x.csv?sv=2024&sig=S3CR37sig%3D": ("http", "S3CR37sig"),
    # Research data
    "https://zenodo.org/records/123": ("record", ""),
    "https://zenodo.org/record/123": ("record", ""),
    "https://zenodo.org/records/123/files/x.zip?download=1": ("record", ""),
    "https://zenodo.org/api/records/123/files/x.zip/content": ("record", ""),
    "https://zenodo.org/records/123?preview=1&token=ey5ecretT0ken": ("http", "ey5ecretT0ken"),
    "https://doi.org/10.5281/zenodo.123": ("record", ""),
    "doi:10.5281/zenodo.123": ("record", ""),
    "doi:10.5281/zenodo.123/x.zip": ("record", ""),
    "https://osf.io/abcde": ("record", ""),
    "https://osf.io/abcde/files/osfstorage/0123456789abcdef": ("record", ""),
    "https://osf.io/download/abcde": ("record", ""),
    "https://osf.io/abcde/download": ("record", ""),
    "https://figshare.com/articles/dataset/A_title/123": ("record", ""),
    "https://figshare.com/articles/dataset/A_title/123/2": ("record", ""),
    "https://figshare.com/ndownloader/files/123": ("record", ""),
    "https://ndownloader.figshare.com/files/123": ("record", ""),
    "doi:10.6084/m9.figshare.123.v2": ("record", ""),
    "https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/ABCDEF": ("record", ""),
    "doi:10.7910/DVN/ABCDEF": ("record", ""),
    "https://archive.org/details/item": ("record", ""),
    "https://archive.org/download/item/x.zip": ("record", ""),
    # Links of a share
    "https://www.dropbox.com/s/abc/x.zip?dl=0": ("link", ""),
    "https://www.dropbox.com/scl/fi/abc/x.zip?rlkey=s3cretk3y&st=1&dl=0": ("link", "s3cretk3y"),
    "https://www.dropbox.com/scl/fo/abc/h?rlkey=s3cretk3y&dl=0": ("link", "s3cretk3y"),
    "https://dl.dropboxusercontent.com/s/abc/x.zip": ("http", ""),
    "https://1drv.ms/u/s!AbCdEf": ("link", ""),
    "https://1drv.ms/u/c/0123/EaBc?e=s3cr3t": ("link", "s3cr3t"),
    "https://1drv.ms/f/s!AbCdEf": ("link", ""),
    "https://onedrive.live.com/embed?cid=1&resid=1%21106&authkey=%21As3cretkey": ("link", "As3cretkey"),
    "https://onedrive.live.com/?authkey=%21As3cretkey&id=1%21106&cid=1": ("link", "As3cretkey"),
    "https://onedrive.live.com/?redeem=aHR0cHM6Ly8xZHJ2&cid=1&id=1!106": ("link", ""),
    "https://uni-my.sharepoint.com/:u:/g/personal/a_uni_edu/Eabc?e=s3cr3t": ("link", "s3cr3t"),
    "https://uni.sharepoint.com/:x:/s/course/Eabc?e=s3cr3t": ("link", "s3cr3t"),
    "https://uni.sharepoint.com/:u:/r/sites/course/Shared%20Documents/x.zip?csf=1&web=1&e=s3cr3t": ("link", "s3cr3t"),
    # Others
    "https://archive.ics.uci.edu/static/public/53/iris.zip": ("http", ""),
    "https://archive.ics.uci.edu/ml/machine-learning-databases/iris/iris.data": ("http", ""),
    "https://api.openml.org/data/v1/download/61": ("http", ""),
    "https://data.mendeley.com/public-files/datasets/d/files/f/file_downloaded": ("http", ""),
    "https://cloud.example/s/t0ken/download": ("http", ""),
    "https://user:pa55word@host.example/x.zip": ("http", "pa55word"),
    "ftp://host.example/x.zip": ("", ""),
    "upload:photos.zip": ("upload", ""),
    "./photos.zip": ("file", ""),
    "photos.zip": ("relative", ""),
    "cifar10": ("name", ""),
    "flowers102": ("name", ""),
}
# What cannot be a file by itself says so when it is read.
REFUSED = (
    "https://uni-my.sharepoint.com/:f:/g/personal/a_uni_edu/Eabc?e=s3cr3t",
    "https://uni-my.sharepoint.com/personal/a_uni_edu/_layouts/15/onedrive.aspx?id=%2Fpersonal&ga=1",
    "https://uni.sharepoint.com/sites/course/Shared%20Documents/Forms/AllItems.aspx",
    "https://osf.io/abcde/?view_only=s3cr3t",
    "s3:bucket/x",
    "hf:o",
    "github:o",
    "kaggle:",
    "doi:x",
    "htps://host.example/x",
)


def runtimes(tmp_path, work):
    """A terminal, Colab, Kaggle as a person runs it, and Kaggle in a batch."""
    folders = [tmp_path / name for name in ("plain", "colab", "kaggle", "batch")]
    for folder in folders:
        folder.mkdir()
    layouts = [Layout(folders[0]), Colab(folders[1]), Kaggle(folders[2]), Kaggle(folders[3], batch=True)]
    return [layout.runtime(cwd=work) for layout in layouts]


@pytest.fixture
def everywhere(here, tmp_path, monkeypatch):
    """Return a function that stages a text in each runtime, and gives what was said there."""
    found = runtimes(tmp_path, here)
    for name in ("HF_TOKEN", "GITHUB_TOKEN", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)

    def stage(text):
        said = []
        for runtime in found:
            monkeypatch.setattr("datastage.runtime.current", lambda runtime=runtime: runtime)
            with pytest.raises(DatastageError) as caught:
                datastage.stage(text, root=tmp_path / "root", progress=False)
            said.append(str(caught.value))
        return said

    return stage


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_that_people_paste_says_the_next_step_in_every_runtime_and_no_secret(text, everywhere, caplog):
    caplog.set_level(logging.DEBUG)
    scheme, secret = ADDRESSES[text]
    if scheme:
        spec = parse(text)
        assert spec.scheme == scheme
        assert not secret or secret not in f"{spec}{address_of(spec)}{spec!r}"
    for said in everywhere(text):
        assert "Next:" in said or "Did you mean" in said or " 1. " in said
        assert not secret or secret not in said + caplog.text


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_file_or_no_place_is_said_when_it_is_read(text):
    with pytest.raises(datastage.SpecError) as caught:
        parse(text)
    assert "Next:" in str(caught.value) or "Did you mean" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
