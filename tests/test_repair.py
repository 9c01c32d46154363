"""`verify --repair` brings files as they were staged: from where, with which password, names and archives within."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import datastage
from datastage import cli, datasets, repair
from datastage.errors import ChecksumError, PasswordError, SpecError, UnavailableError
from datastage.staged import RECEIPT
from tests.servers import server as server
from tests.test_staging import make_zip, quiet

pytestmark = pytest.mark.usefixtures("here")


def repaired(folder, *names, **options):
    """Damage the files of a folder, and return which are mended; all of them are as they were then."""
    before = {name: (Path(folder) / name).read_bytes() for name in names}
    for name in names:
        (Path(folder) / name).write_bytes(b"damaged")
    found = datastage.verify(folder, repair=True, progress=False, **options)
    assert found.ok
    assert {name: (Path(folder) / name).read_bytes() for name in names} == before
    return sorted(found.repaired)


def as_an_earlier_version_wrote(folder, *facts):
    """Take facts out of a receipt that versions before this one did not note."""
    receipt = json.loads((Path(folder) / RECEIPT).read_text())
    (Path(folder) / RECEIPT).write_text(json.dumps({name: receipt[name] for name in receipt if name not in facts}))


def unpacked(archive, to, **options):
    return datastage.extract(archive, to, progress=False, **options)


@pytest.fixture
def elsewhere(here, tmp_path, monkeypatch):
    """Go to another folder, in which another file bears the name of the source."""

    def go(name="a.zip"):
        (tmp_path / "elsewhere").mkdir()
        make_zip(tmp_path / "elsewhere" / name, {"other.txt": b"other"})
        monkeypatch.chdir(tmp_path / "elsewhere")

    return go


# --- a locked archive


def locked(path):
    (path.parent / "s.txt").write_text("secret\n")
    subprocess.run(["zip", "-qP", "pw", path.name, "s.txt"], cwd=path.parent, check=True)
    return path


@pytest.mark.skipif(not shutil.which("zip"), reason="zip locks the archive")
@pytest.mark.parametrize("how", ["stage", "extract"])
def test_a_locked_archive_is_repaired_with_its_password(here, how, capsys):
    locked(here / "p.zip")
    staged = quiet("./p.zip", password="pw") if how == "stage" else unpacked("p.zip", "out", password="pw")
    assert repaired(staged, "s.txt", password="pw") == ["s.txt"]
    (staged / "s.txt").write_text("damaged")
    with pytest.raises(PasswordError) as caught:
        datastage.verify(staged, repair=True, progress=False)
    assert caught.value.remedy[-1].startswith("Next: the same line with password=")
    (here / "secret").write_text("pw\n")
    assert cli.main(["verify", str(staged), "--repair", "--password-file", "secret", "--quiet"]) == 0
    assert (staged / "s.txt").read_text() == "secret\n"


# --- where it came from


@pytest.mark.parametrize("spec", ["a.zip", "./a.zip", "sub/../a.zip"])
@pytest.mark.parametrize("facts", [(), ("cwd",), ("source_path",)], ids=["now", "earlier", "without a file"])
def test_a_relative_source_is_looked_for_where_it_was(here, elsewhere, spec, facts):
    (here / "sub").mkdir()
    make_zip(here / "a.zip", {"s.txt": b"s"})
    staged = quiet(spec)
    as_an_earlier_version_wrote(staged, *facts)
    elsewhere()
    assert repaired(staged, "s.txt") == ["s.txt"]


@pytest.mark.parametrize("copied", [["pets"], ["pets/1.txt"]])
def test_a_relative_folder_and_file_are_looked_for_where_they_were(here, elsewhere, copied):
    (here / "pets").mkdir()
    (here / "pets" / "1.txt").write_text("meow")
    staged = quiet(f"./{copied[0]}", copy=True)
    elsewhere()
    folder = staged if copied == ["pets"] else staged.path.parent
    assert repaired(folder, "1.txt") == ["1.txt"]


def test_a_relative_fallback_is_looked_for_where_it_was(here, elsewhere):
    make_zip(here / "a.zip", {"s.txt": b"s"})
    staged = quiet("./gone.zip", fallbacks=["./a.zip"])
    elsewhere()
    assert repaired(staged, "s.txt") == ["s.txt"]


def test_a_source_that_moved_with_its_project_is_found_in_it(here, tmp_path, monkeypatch):
    make_zip(here / "a.zip", {"s.txt": b"s"})
    staged = quiet("./a.zip", root=tmp_path / "root")
    here.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert repaired(staged, "s.txt") == ["s.txt"]


def test_a_source_that_is_gone_is_named_where_it_was(here, elsewhere):
    make_zip(here / "a.zip", {"s.txt": b"s"})
    staged = quiet("./a.zip")
    (here / "a.zip").unlink()
    (staged / "s.txt").unlink()
    os.makedirs("other")
    os.chdir("other")
    with pytest.raises(UnavailableError, match=f"Looked for: {here / 'a.zip'}"):
        datastage.verify(staged, repair=True, progress=False)


def test_a_file_that_its_source_lacks_by_now_is_wrong_data_and_no_wrong_pattern(here):
    staged = quiet(make_zip(here / "a.zip", {"a.txt": b"a", "b.txt": b"b"}))
    for path in [*staged.iterdir()]:
        path.write_bytes(b"damaged")
    make_zip(here / "a.zip", {"a.txt": b"a"})
    with pytest.raises(ChecksumError, match=r"b.txt is not in its source any more"):
        datastage.verify(staged, repair=True, progress=False)


def test_an_archive_whose_name_has_no_ending_is_a_file_and_no_dataset(here, elsewhere):
    make_zip(here / "bare", {"s.txt": b"s"})
    staged = unpacked("bare", "out")
    assert repaired(staged, "s.txt") == ["s.txt"]
    earlier = unpacked("bare", "earlier")
    receipt = json.loads((earlier / RECEIPT).read_text())
    (earlier / RECEIPT).write_text(json.dumps({**receipt, "spec": "bare"}))
    assert repaired(earlier, "s.txt") == ["s.txt"]
    elsewhere("bare")
    assert repaired(staged, "s.txt") == ["s.txt"]


def test_an_archive_with_a_name_of_the_catalog_is_staged_again(here, monkeypatch):
    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    make_zip(here / "birds.zip", {"birds/wren.txt": b"wren", "birds/tit.txt": b"tit"})
    datastage.register("my_birds", here / "birds.zip")
    assert repaired(quiet("my_birds"), "wren.txt") == ["wren.txt"]


# --- how it was unpacked


@pytest.mark.parametrize("members", [None, ["a.zip"]])
@pytest.mark.parametrize("strip", [False, True])
def test_files_of_an_archive_in_an_archive_are_repaired(here, members, strip):
    top = "top/" if strip else ""
    inner = make_zip(here / "inner.zip", {"s.txt": b"s", "[t].txt": b"t"}).read_bytes()
    make_zip(here / "outer.zip", {f"{top}a.zip": inner, f"{top}a/mine.txt": b"mine"})
    chosen = [top + member for member in members] if members else None
    staged = unpacked("outer.zip", "out", nested=True, members=chosen, strip=strip)
    folder = "a" if members else "a.zip.unpacked"
    assert repaired(staged, f"{folder}/s.txt", f"{folder}/[t].txt") == [f"{folder}/[t].txt", f"{folder}/s.txt"]


@pytest.mark.parametrize("how", ["stage", "extract"])
def test_names_are_read_in_the_encoding_that_they_were_read_in(here, how):
    raw = "š.txt".encode("cp852")
    with zipfile.ZipFile(here / "e.zip", "w") as archive:
        archive.writestr("X.txt", b"s")
    (here / "e.zip").write_bytes((here / "e.zip").read_bytes().replace(b"X.txt", raw))
    name = raw.decode("cp850")
    staged = quiet("./e.zip", encoding="cp850") if how == "stage" else unpacked("e.zip", "out", encoding="cp850")
    assert repaired(staged, name) == [name]


# --- an address whose secret no receipt holds


@pytest.mark.parametrize("login", [False, True])
def test_an_address_whose_secret_was_not_kept_is_asked_for_again(here, server, monkeypatch, tmp_path, login):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    url = server.serve("data.csv", b"1,2\n")
    staged = quiet(f"{url}?token=abc", name="q", root=tmp_path / "my root")
    folder = staged.path.parent
    server.serve("data.csv", b"another file")
    staged.path.unlink()
    with pytest.raises(SpecError) as caught:
        datastage.verify(folder, repair=True, progress=False)
    assert caught.value.remedy[-1] == (
        f"Next: datastage stage ADDRESS --root '{tmp_path / 'my root'}' --name q --refresh"
    )
    assert "abc" not in str(caught.value)


def test_an_address_that_needs_none_of_what_was_hidden_is_asked_as_before(here, server, monkeypatch):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    staged = quiet(f"{server.serve('data.csv', b'1,2')}?download=1")
    assert repaired(staged.path.parent, "data.csv") == ["data.csv"]


@pytest.mark.parametrize("fact", ["spec", "fallbacks"])
def test_an_address_that_stands_in_the_receipt_alone_is_not_asked(here, server, monkeypatch, fact):
    monkeypatch.delenv("DATASTAGE_OFFLINE")
    staged = quiet(server.serve("data.csv", b"1,2"))
    other = server.serve("other/data.csv", b"1,2")
    receipt = json.loads((staged.path.parent / RECEIPT).read_text())
    receipt[fact] = other if fact == "spec" else [other]
    (staged.path.parent / RECEIPT).write_text(json.dumps(receipt))
    staged.path.write_bytes(b"damaged")
    with pytest.raises(SpecError, match="nothing here shows that you ever asked for that"):
        datastage.verify(staged.path.parent, repair=True, progress=False)


def test_a_folder_that_is_gone_is_made_again_with_its_files_and_what_is_there_is_only_opened(here, tmp_path):
    (here / "pets/sub/deep").mkdir(parents=True)
    (here / "pets/sub/deep/1.txt").write_text("one")
    (here / "pets/2.txt").write_text("two")
    folder = datastage.stage("./pets", name="pets", copy=True, progress=False).path
    shutil.rmtree(folder / "sub")
    assert datastage.verify(folder, repair=True, progress=False).repaired == ("sub/deep/1.txt",)
    assert (folder / "sub/deep/1.txt").read_text() == "one"
    with pytest.raises(FileNotFoundError), repair._opened_below(folder, ["gone"], make=False):
        pass
    assert not (folder / "gone").exists()
