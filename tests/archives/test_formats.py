from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest

from datastage.archives import not_data, sniff, stem_of
from datastage.reader import BytesReader

from .made import Link, tar_of, zip_of

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
