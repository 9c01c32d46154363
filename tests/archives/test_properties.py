"""Any tree packed by any common tool comes back identical."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastage.archives import unpack
from datastage.file_names import junk_kind
from datastage.reader import FileReader

from .made import tree

# What every tool writes as it is; dots and odd bytes have tests of their own.
letters = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters='/\\:*?"<>|\0')
parts = st.text(letters, min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..") and not part.startswith(("._", "-", "@", " ")) and part == part.strip(" .")
    and junk_kind(part) is None
)  # fmt: skip
contents = st.one_of(
    st.binary(max_size=300), st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.integers(1, 9000))
)


@st.composite
def trees(draw) -> dict[str, bytes]:
    """Files by path; no path is a folder of another, in any case."""
    found: dict[str, bytes] = {}
    taken: set[str] = set()
    for path in draw(st.lists(st.lists(parts, min_size=1, max_size=3), min_size=1, max_size=8)):
        name = "/".join(path)
        above = {"/".join(path[:n]) for n in range(1, len(path))}
        if name in taken or above & set(found):
            continue
        found[name] = draw(contents)
        taken |= above | {name}
    return found


def by_zipfile(source: Path, to: Path) -> Path:
    with zipfile.ZipFile(to / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    return to / "x.zip"


def by_tarfile(form: int, mode: str):
    def pack(source: Path, to: Path) -> Path:
        with tarfile.open(to / "x.tar", mode, format=form) as archive:
            archive.add(source, "")
        return to / "x.tar"

    return pack


def by_tool(name: str, *command: str):
    def pack(source: Path, to: Path) -> Path:
        path = to / name
        filled = [part.replace("{}", str(path)) for part in command]
        subprocess.run(filled, cwd=source, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        return path

    return pack


PACKERS = {
    "zipfile": by_zipfile,
    "tarfile pax": by_tarfile(tarfile.PAX_FORMAT, "w"),
    "tarfile gnu gz": by_tarfile(tarfile.GNU_FORMAT, "w:gz"),
    "tarfile xz": by_tarfile(tarfile.PAX_FORMAT, "w:xz"),
    "zip": by_tool("x.zip", "zip", "-q", "-r", "{}", "."),
    "tar": by_tool("x.tar", "tar", "cf", "{}", "."),
    "tar bz2": by_tool("x.tar.bz2", "tar", "cjf", "{}", "."),
    "7z": by_tool("x.7z", "7z", "a", "-bd", "-mx1", "{}", "."),
    "7z zip": by_tool("y.zip", "7z", "a", "-bd", "-tzip", "-mcu=on", "{}", "."),
}


@pytest.mark.parametrize("packer", PACKERS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=trees())
def test_any_tree_comes_back_identical(packer, files):
    needed = packer.split()[0]
    if needed in ("zip", "tar", "7z") and not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    with tempfile.TemporaryDirectory() as place:
        source, to = Path(place, "source"), Path(place, "to")
        to.mkdir()
        for name, data in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        archive = PACKERS[packer](source, Path(place))
        result = unpack(FileReader(archive), to)
        assert tree(to) == tree(source)
        assert {file.path for file in result.files} == set(files)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=600), name=st.text(max_size=12))
def test_telling_what_bytes_are_never_fails(data, name):
    from datastage.archives import not_data, sniff
    from datastage.reader import BytesReader

    sniff(BytesReader(data))
    not_data(data, name)
