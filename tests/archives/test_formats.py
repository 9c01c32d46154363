from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datastage.archives import formats, not_data, sniff, stem_of
from datastage.reader import BytesReader

from .made import Link, tar_of, tree, zip_of

REPOSITORY = Path(__file__).parents[2]

TAR = tar_of([("a", b"x" * 3000)])


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (zip_of({"a": b"1"}), "zip"),
        (zip_of({}), "zip"),
        (b"#!/bin/sh\n" * 500 + zip_of({"a": b"1"}), "zip"),
        (TAR, "tar"),
        (bytes(10240), "tar"),
        (gzip.compress(TAR), "tar.gz"),
        (bz2.compress(TAR), "tar.bz2"),
        (lzma.compress(TAR), "tar.xz"),
        (gzip.compress(b"1,2\n"), "gz"),
        (bz2.compress(b"1,2\n"), "bz2"),
        (lzma.compress(b"1,2\n"), "xz"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7z"),
        (b"Rar!\x1a\x07\x01\0" + bytes(30), "rar"),
        (b"sepal,petal\n1,2\n", None),
        (b"", None),
        (b"PK", None),
    ],
    ids=lambda value: str(value) if not isinstance(value, bytes) else "",
)
def test_formats_are_told_by_content(data, form):
    assert sniff(BytesReader(data, "misleading.txt")) == form


def test_a_stream_is_told_by_its_first_bytes():
    assert sniff(Link(gzip.compress(TAR), ranges=False)) == "tar.gz"
    assert sniff(Link(TAR[:8192], ranges=False)) == "tar"


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"<!doctype html><html>", "a web page"),
        (b"\xef\xbb\xbf\n <HTML><head>", "a web page"),
        (
            b"<html><title>Google Drive - Quota exceeded</title>",
            "a page of Google Drive that says the quota is used up",
        ),
        (b"<html><title>Sign in - Google Accounts</title>", "a sign-in page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code>', "an error message of the storage server (XML)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a Git LFS pointer"),
        (b"/annex/objects/MD5E-s12--0123456789abcdef0123456789abcdef.zip\n", "a pointer of git-annex"),
        (b"../.git/annex/objects/k1/zZ/MD5E-s12--01.zip/MD5E-s12--01.zip", "a pointer of git-annex"),
        (b"404: Not Found", "an error message of GitHub"),
        (b'{"message":"Not Found","documentation_url":"https://docs.github.com/rest"}', "an error message of GitHub"),
        (b'{"rows": [{"documentation_url": "x"}]}', None),
        (b"5.1,3.5\n", None),
        (b"PK\3\4", None),
        (b'<?xml version="1.0"?><annotation>', None),
    ],
)
def test_what_is_surely_not_data_is_named(head, what):
    assert not_data(head, "iris.csv") == what


def test_a_page_that_was_asked_for_is_data():
    assert not_data(b"<html><body>", "index.html") is None


def test_sniffing_reads_little():
    link = Link(gzip.compress(TAR + bytes(io.DEFAULT_BUFFER_SIZE)) + bytes(5_000_000))
    sniff(link)
    assert sum(n for _, n in link.reads) < 200_000


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.tar.gz", "a"), ("a.tgz", "a"), ("a.zip", "a"), ("iris.csv", "iris"), ("a.b.zip", "a.b"), ("folder", "folder")],
)
def test_the_stem_of_a_name_leaves_out_the_endings(name, stem):
    assert stem_of(name) == stem


def ar_of(files: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in files.items():
        out += f"{name + '/':<16}{1_600_000_000:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        out += b"\n" * (len(data) % 2)
    return out


def test_a_format_is_added_by_what_contributing_says(tmp_path):
    page = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8").split("## Add an archive format\n")[1].split("\n## ")[0]
    module, row = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    package = tmp_path / "tree" / "datastage"
    shutil.copytree(REPOSITORY / "datastage", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "archives" / "ar.py").write_text(module, "utf-8")
    table = package / "archives" / "formats.py"
    text = table.read_text("utf-8")
    text = text.replace("from datastage.archives import ", "from datastage.archives import ar, ", 1)
    text = text.replace("\nFORMATS = (\n", f"\nFORMATS = (\n{row}", 1)
    table.write_text(text, "utf-8")
    files = {"control": b"Package: x\n" * 9, "data.csv": b"1,2,3\n"}
    data = ar_of(files)
    (tmp_path / "x.deb").write_bytes(data)
    (tmp_path / "y.ar.gz").write_bytes(gzip.compress(data))
    (tmp_path / "evil.deb").write_bytes(ar_of({"../evil": b"1"}))
    (tmp_path / "cut.deb").write_bytes(data[:-3])
    (tmp_path / "all.zip").write_bytes(zip_of({"in.deb": data}))

    def run(*words):
        environ = {**os.environ, "PYTHONPATH": str(package.parent), "DATASTAGE_ROOT": str(tmp_path / "root")}
        command = [sys.executable, "-m", "datastage", *words]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    for archive in ("x.deb", "y.ar.gz"):
        done = run("stage", f"./{archive}", "--quiet")
        assert done.returncode == 0, done.stderr
        staged = Path(done.stdout.strip())
        assert (staged.name.partition("-")[0], tree(staged)) == (archive[0], {**tree(staged), **files})
        listed = run("extract", "--list", archive)
        assert [name for name in files if name in listed.stdout] == list(files)
        assert run("extract", archive, f"{archive}.out", "--quiet").returncode == 0
        assert {name: (tmp_path / f"{archive}.out" / name).read_bytes() for name in files} == files
    assert run("extract", "all.zip", "nested", "--nested", "--quiet").returncode == 0
    assert (tmp_path / "nested" / "in" / "control").read_bytes() == files["control"]
    assert "N-UP" in run("extract", "evil.deb", "evil").stderr
    assert run("extract", "cut.deb", "cut").returncode == 4
    assert not (tmp_path / "cut").exists()


def test_every_row_is_told_from_the_others_and_says_what_helps():
    assert len({row.name for row in formats.FORMATS}) == len(formats.FORMATS)
    assert len(set(formats.suffixes())) == len(formats.suffixes())
    for row in formats.FORMATS:
        assert bool(row.members) != bool(row.decode), row.name
        assert row.magic or row.matches, row.name
        assert formats.remedy_of(f"X-{row.name.upper()}") == (row.remedy or "Pack it again as a zip or tar.gz.")
        for suffix in (*row.suffixes, *row.tar_suffixes):
            assert stem_of(f"birds{suffix}") == "birds", suffix


def test_the_known_formats_are_named_from_the_table():
    assert formats.known() == "zip, tar (plain, gz, bz2, xz, zst, lz4), gz, bz2, xz, zst, lz4, 7z and rar"
