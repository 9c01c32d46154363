from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from datastage.datasets import Download, File
from datastage.errors import StorageError
from datastage.reader import BytesReader
from datastage.sources import search, search_io
from datastage.sources.search import Location, SearchLimits, find_files
from tests import kaggle_inputs as layouts
from tests.stand_ins import fuse

needs_fuse = pytest.mark.skipif(fuse.why_not() != "", reason=fuse.why_not())
FILES = layouts.small_cifar()
ENTRY = layouts.entry_for("small_cifar", "cifar10", FILES)
PUBLISHED = (Download("cifar-10-python.tar.gz", len(layouts.tar_bytes(FILES)), None, ()),)


def look(*places: object, into: Path, entry: object = ENTRY, **options: object):
    into.mkdir(exist_ok=True)
    facts = {
        "converters": entry.converters,
        "lookalikes": entry.lookalikes,
        "published": PUBLISHED,
        "needed": entry.needed,
    }
    return find_files(places, entry.files, into, **{**facts, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("wrapping", layouts.WRAPPINGS)
def test_the_files_are_found_however_they_are_wrapped(wrapping, tmp_path):
    layouts.WRAPPINGS[wrapping](FILES, layouts.input_folder(tmp_path / "input", "dataset"))
    found = look(tmp_path / "input", into=tmp_path / "out")
    assert found.complete, found
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_the_files_are_found_wherever_the_input_lies(layout, tmp_path):
    layouts.WRAPPINGS["a doubled folder"](FILES, layouts.input_folder(tmp_path / "input", layout))
    assert look(tmp_path / "input", into=tmp_path / "out").complete


def test_size_crc_and_md5_of_each_file_come_with_the_result(tmp_path):
    layouts.WRAPPINGS["zip"](FILES, layouts.input_folder(tmp_path / "input", "classic"))
    found = look(tmp_path / "input", into=tmp_path / "out")
    assert {file.path: (file.size, file.crc32, found.md5[file.path]) for file in found.files} == {
        path: (len(data), zlib.crc32(data), hashlib.md5(data).hexdigest()) for path, data in FILES.items()
    }


def test_the_place_that_had_it_is_named_as_it_was_called(tmp_path):
    folder = layouts.input_folder(tmp_path, "classic")
    layouts.WRAPPINGS["files at the root"](FILES, folder)
    found = look(Location(folder, 'your input "cifar10"'), into=tmp_path / "out")
    assert found.where == 'your input "cifar10"'


def test_a_wanted_picture_is_looked_for_among_the_pictures(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/renamed.png").write_bytes(b"pixels")
    (tmp_path / "out").mkdir()
    wanted = File("set/map.png", 6, hashlib.md5(b"pixels").hexdigest())
    assert find_files([tmp_path / "in"], [wanted], tmp_path / "out").complete


def test_files_that_lie_in_several_places_are_put_together(tmp_path):
    for number, (path, data) in enumerate(FILES.items()):
        (tmp_path / f"input{number}").mkdir()
        (tmp_path / f"input{number}" / path.rsplit("/", 1)[-1]).write_bytes(data)
    found = look(*(tmp_path / f"input{number}" for number in range(len(FILES))), into=tmp_path / "out")
    assert found.complete


def test_one_missing_file_leaves_nothing_and_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    layouts.WRAPPINGS["its own folder"]({k: v for k, v in FILES.items() if "data_batch_3" not in k}, tmp_path / "in")
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert not found.complete
    assert contents(tmp_path / "out") == {}
    assert not any((tmp_path / "out").iterdir())
    assert [near.found for near in found.near] == ["6 of 7 files; missing: data_batch_3"]


def test_a_decoy_of_the_right_name_and_size_is_told_apart_and_named(tmp_path):
    decoy = {path: bytes(len(data)) for path, data in FILES.items()}
    layouts.WRAPPINGS["its own folder"](decoy, layouts.input_folder(tmp_path / "in", "dataset", "aaa-decoy"))
    layouts.WRAPPINGS["its own folder"](FILES, layouts.input_folder(tmp_path / "in", "dataset", "right"))
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert found.complete
    assert contents(tmp_path / "out") == FILES
    assert found.near == ()


def test_all_decoys_of_a_place_are_named_together_in_the_order_of_the_dataset(tmp_path):
    decoy = {path: bytes(len(data)) for path, data in FILES.items()}
    layouts.WRAPPINGS["its own folder"](decoy, layouts.input_folder(tmp_path / "in", "dataset"))
    (near,) = look(tmp_path / "in", into=tmp_path / "out").near
    assert near.found == "data_batch_1 ... batches.meta, of the right sizes but with other contents"


def test_a_decoy_alone_is_near(tmp_path):
    decoy = {path: bytes(len(data)) for path, data in FILES.items()}
    layouts.WRAPPINGS["its own folder"](decoy, layouts.input_folder(tmp_path / "in", "dataset"))
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert not found.complete
    assert "but with other contents" in found.near[0].found


def test_a_file_without_a_published_digest_is_told_by_name_and_size(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "other").write_bytes(b"12345")
    (tmp_path / "in" / "readme").write_bytes(b"abcde")
    (tmp_path / "out").mkdir()
    assert find_files([tmp_path / "in"], [File("set/readme", 5)], tmp_path / "out").complete
    assert (tmp_path / "out" / "set" / "readme").read_bytes() == b"abcde"


def test_two_wanted_files_of_one_content_are_both_written(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(b"same")
    (tmp_path / "out").mkdir()
    md5 = hashlib.md5(b"same").hexdigest()
    assert find_files([tmp_path / "in"], [File("a", 4, md5), File("b/c", 4, md5)], tmp_path / "out").complete
    assert contents(tmp_path / "out") == {"a": b"same", "b/c": b"same"}


def test_two_wanted_files_of_one_size_go_to_their_own_names(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(b"1111")
    (tmp_path / "in" / "y").write_bytes(b"2222")
    (tmp_path / "out").mkdir()
    wanted = [File(name, 4, hashlib.md5(name[-4:].encode()).hexdigest()) for name in ("b-2222", "a-1111")]
    assert find_files([tmp_path / "in"], wanted, tmp_path / "out").complete
    assert contents(tmp_path / "out") == {"a-1111": b"1111", "b-2222": b"2222"}


def test_links_in_a_circle_end(tmp_path):
    folder = layouts.input_folder(tmp_path / "in", "classic")
    (folder / "up").symlink_to(tmp_path / "in")
    (folder / "self").symlink_to(folder / "self")
    layouts.WRAPPINGS["deep down"](FILES, folder)
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert found.complete
    assert not found.looked[0].cut_short


def test_a_folder_to_avoid_is_not_entered_through_a_link_either(tmp_path):
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "drive" / "MyDrive")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "drive" / "MyDrive")
    limits = SearchLimits(avoid=(tmp_path / "drive",))
    assert not look(tmp_path / "in", into=tmp_path / "out", limits=limits).complete
    assert look(tmp_path / "in", into=tmp_path / "out").complete


def test_what_there_was_no_time_to_look_at_is_said(tmp_path):
    layouts._write({f"{number}/a.txt": b"" for number in range(300)}, tmp_path / "in")
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(seconds=-1))
    assert found.looked[0].cut_short
    assert found.looked[0].seen.startswith("more than ")


@pytest.mark.slow
def test_time_alone_ends_the_look_however_many_files_there_are(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(260_000):
        os.symlink("nowhere", tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "a").mkdir()
    layouts.WRAPPINGS["zip"](FILES, tmp_path / "in" / "a")
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(seconds=60))
    assert found.complete
    assert not found.looked[0].cut_short


@pytest.mark.parametrize("folder", ["my CIFAR data", "x/Cifar-10"])
def test_a_folder_that_bears_the_name_is_looked_into_before_the_others(folder, tmp_path):
    for number in range(100):
        layouts._write({f"{number:03}/{name}.txt": b"x" for name in range(5)}, tmp_path / "in")
    layouts.WRAPPINGS["files at the root"](FILES, tmp_path / "in" / folder)
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(seconds=-1))
    assert (found.complete, found.looked[0].cut_short) == (True, True)


def test_a_folder_in_which_a_wanted_file_lies_is_looked_through_before_the_others(tmp_path):
    for number in range(100):
        layouts._write({f"{number:03}/{name}.txt": b"x" for name in range(5)}, tmp_path / "in")
    path, data = next(iter(FILES.items()))
    layouts._write({path.rsplit("/", 1)[-1]: data}, tmp_path / "in")
    layouts._write({f"more/{number}": data for number, data in enumerate(FILES.values())}, tmp_path / "in" / "zz")
    layouts._write({path.rsplit("/", 1)[-1]: data}, tmp_path / "in" / "zz")
    found = look(tmp_path / "in" / "zz", into=tmp_path / "out", limits=SearchLimits(seconds=-1))
    assert found.complete


def test_a_crowded_folder_does_not_hide_the_one_beside_it(tmp_path):
    # breadth first, 250 entries of each folder in turn
    crowded = layouts.input_folder(tmp_path / "in", "classic", "a-crowded")
    for number in range(3000):
        (crowded / f"{number:06}.jpg").touch()
    layouts.WRAPPINGS["zip"](FILES, layouts.input_folder(tmp_path / "in", "classic", "z-right"))
    assert look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(seconds=-1)).complete


def test_time_is_a_bound_too(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(600):
        (tmp_path / "in" / str(number)).touch()
    assert look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(seconds=-1)).looked[0].cut_short


def test_a_place_that_is_not_there_is_no_error_but_said(tmp_path):
    found = look(tmp_path / "absent", into=tmp_path / "out")
    assert found.looked[0].seen == "it could not be read: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_does_not_stop_the_search(tmp_path):
    (tmp_path / "in" / "locked").mkdir(parents=True)
    (tmp_path / "in" / "locked").chmod(0)
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "in")
    assert look(tmp_path / "in", into=tmp_path / "out").complete
    (tmp_path / "in" / "locked").chmod(0o700)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    layouts.WRAPPINGS["its own folder"](FILES, layouts.input_folder(tmp_path / "in", "classic"))
    with pytest.raises(StorageError):
        find_files([tmp_path / "in"], ENTRY.files, tmp_path / "absent")


def test_an_archive_given_as_a_reader_is_looked_into(tmp_path):
    assert look(BytesReader(layouts.tar_bytes(FILES), "x.tar.gz"), into=tmp_path / "out").complete


def test_a_single_file_given_as_a_place_is_looked_into(tmp_path):
    (tmp_path / "download").write_bytes(layouts.zip_bytes(FILES))
    assert look(tmp_path / "download", into=tmp_path / "out").complete


def test_an_archive_too_big_to_unpack_from_its_beginning_is_said(tmp_path):
    layouts.WRAPPINGS["tar.gz"](FILES, layouts.input_folder(tmp_path / "in", "classic"))
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(archive_bytes=1000))
    assert not found.complete
    assert found.looked[0].cut_short


def test_the_bytes_reported_are_those_of_the_files_whatever_was_refused(tmp_path):
    class Counting:
        total, done = None, 0

        def phase(self, name, total_bytes):
            self.total = total_bytes

        def advance(self, n_bytes):
            self.done += n_bytes

        def note(self, text, label=""): ...

    decoy = {path: bytes(len(data)) for path, data in FILES.items()}
    layouts.WRAPPINGS["its own folder"](decoy, layouts.input_folder(tmp_path / "in", "dataset", "aaa"))
    layouts.WRAPPINGS["its own folder"](FILES, layouts.input_folder(tmp_path / "in", "dataset", "right"))
    reporter = Counting()
    look(tmp_path / "in", into=tmp_path / "out", reporter=reporter)
    assert reporter.done <= reporter.total == sum(map(len, FILES.values()))


def test_only_what_was_read_is_written(tmp_path, monkeypatch):
    blocks = []
    absorb = search_io.HashedFile.absorb
    monkeypatch.setattr(search_io.HashedFile, "absorb", lambda out, block: blocks.append(block) or absorb(out, block))
    layouts.WRAPPINGS["files at the root"](FILES, layouts.input_folder(tmp_path / "in", "dataset"))
    assert look(tmp_path / "in", into=tmp_path / "out").complete
    assert sorted(blocks) == sorted(FILES.values())


def test_what_another_thread_stopped_says_so_and_leaves_no_file(tmp_path, monkeypatch):
    begin = search._Search.__post_init__
    monkeypatch.setattr(search._Search, "__post_init__", lambda it: begin(it) or setattr(it, "_stopping", True))
    layouts.WRAPPINGS["zip"](FILES, layouts.input_folder(tmp_path / "in", "dataset"))
    with pytest.raises(search_io.StoppedError):
        look(tmp_path / "in", into=tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_an_interrupt_leaves_nothing(tmp_path):
    class Stop:
        def phase(self, name, total_bytes): ...

        def advance(self, n_bytes):
            raise KeyboardInterrupt

    layouts.WRAPPINGS["zip"](FILES, layouts.input_folder(tmp_path / "in", "dataset"))
    with pytest.raises(KeyboardInterrupt):
        look(tmp_path / "in", into=tmp_path / "out", reporter=Stop())
    assert not any((tmp_path / "out").iterdir())


def test_a_short_file_that_was_left_out_is_written_if_its_content_is_known(tmp_path):
    files = tuple(
        replace(file, content=FILES[file.path]) if file.path.endswith("meta") else file for file in ENTRY.files
    )
    (tmp_path / "in").mkdir()
    layouts._write({path: data for path, data in FILES.items() if not path.endswith("meta")}, tmp_path / "in")
    assert look(tmp_path / "in", into=tmp_path / "out", entry=replace(ENTRY, files=files)).complete
    assert contents(tmp_path / "out") == FILES


def test_a_known_file_alone_is_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    known = File("a", 1, hashlib.md5(b"x").hexdigest(), b"x")
    assert not find_files([tmp_path / "in"], [known], tmp_path / "out").complete


def test_time_ends_the_reading_of_an_archive_within_one_long_member(tmp_path):
    (tmp_path / "in").mkdir()
    long = {"long": bytes(30_000_000), **FILES}
    (tmp_path / "in" / "cifar.tar.gz").write_bytes(layouts.tar_bytes(long))
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(archive_seconds=0))
    assert (found.complete, found.looked[0].cut_short) == (False, True)


def test_a_second_copy_of_what_is_there_is_no_decoy(tmp_path):
    (tmp_path / "in").mkdir()
    path, data = next(iter(FILES.items()))
    layouts._write({path: data, f"again/{path}": data}, tmp_path / "in")
    (tmp_path / "in" / "x.zip").write_bytes(layouts.zip_bytes({"data_batch_1": data}))
    assert [near.found for near in look(tmp_path / "in", into=tmp_path / "out").near] == [
        "1 of 7 files; missing: data_batch_2 ... batches.meta"
    ]


def test_a_folder_named_by_the_user_is_looked_in_even_within_one_to_avoid(tmp_path):
    (tmp_path / "drive" / "data").mkdir(parents=True)
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "drive" / "data")
    limits = SearchLimits(avoid=(tmp_path / "drive",))
    assert look(tmp_path / "drive" / "data", into=tmp_path / "out", limits=limits).complete


def test_a_folder_that_is_too_deep_does_not_end_the_search_elsewhere(tmp_path):
    (tmp_path / "in" / "/".join("abcd")).mkdir(parents=True)
    layouts.WRAPPINGS["deep down"](FILES, tmp_path / "in" / "z")
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(depth=3))
    assert (found.complete, found.looked[0].cut_short) == (False, True)
    assert found.looked[0].seen == "nothing"
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "in" / "z")
    (tmp_path / "again").mkdir()
    assert look(tmp_path / "in", into=tmp_path / "again", limits=SearchLimits(depth=3)).complete


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text are made on Linux alone")
def test_names_that_are_no_text_can_be_printed(tmp_path):
    (tmp_path / "in").mkdir()
    name = os.fsdecode(b"caf\xe9.tar.gz")
    (tmp_path / "in" / name).write_bytes(layouts.tar_bytes(FILES))
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert found.complete
    str(found).encode("utf-8")


def test_the_rightly_named_is_read_first_among_many_of_one_size(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / "in" / f"{number:03}.bin").write_bytes(b"%04d" % number)
    (tmp_path / "in" / "zz-right").write_bytes(b"good")
    (tmp_path / "out").mkdir()
    wanted = [File("zz-right", 4, hashlib.md5(b"good").hexdigest())]
    assert find_files([tmp_path / "in"], wanted, tmp_path / "out", limits=SearchLimits(candidates=2)).complete


def test_more_of_one_size_than_the_bound_are_said(tmp_path):
    files = {f"{number:03}.bin": b"%04d" % number for number in range(300)}
    wanted = [File("zz-right", 4, hashlib.md5(b"good").hexdigest())]
    layouts._write(files, tmp_path / "in")
    layouts._write({"a.zip": layouts.zip_bytes(files)}, tmp_path / "packed")
    (tmp_path / "out").mkdir()
    for folder in ("in", "packed"):
        assert (
            find_files([tmp_path / folder], wanted, tmp_path / "out", limits=SearchLimits(candidates=2))
            .looked[0]
            .cut_short
        )


def test_an_archive_that_unpacks_without_end_is_bounded(tmp_path):
    (tmp_path / "in").mkdir()
    bomb = layouts.gz_bytes(layouts.tar_bytes({"long": bytes(100_000_000)}))
    (tmp_path / "in" / "x.tar.gz.gz").write_bytes(layouts.gz_bytes(bomb))
    found = look(tmp_path / "in", into=tmp_path / "out", limits=SearchLimits(archive_bytes=50_000_000))
    assert not found.complete
    assert not any((tmp_path / "out").iterdir())


def test_a_big_archive_within_an_archive_is_held_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(search_io, "IN_MEMORY", 1000)
    layouts.WRAPPINGS["zip of a zip of the tar.gz"](FILES, layouts.input_folder(tmp_path / "in", "classic"))
    assert look(tmp_path / "in", into=tmp_path / "out").complete
    assert contents(tmp_path / "out") == FILES


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of a file there")
def test_a_disk_that_takes_no_more_is_a_storage_error_and_leaves_nothing(tmp_path):
    layouts.WRAPPINGS["zip"](FILES, layouts.input_folder(tmp_path / "in", "classic"))
    (tmp_path / "out").mkdir()
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.sources.test_search import ENTRY\n"
        "from datastage.errors import StorageError; from datastage.sources.search import find_files\n"
        "sys.dont_write_bytecode = True\n"  # what is compiled under the limit would stay cut short
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        "    find_files([Path(sys.argv[1])], ENTRY.files, Path(sys.argv[2]))\n"
        "except StorageError as error:\n"
        "    print(error.errno)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_and_hides_nothing(tmp_path):
    layouts.WRAPPINGS["its own folder"](FILES, tmp_path / "in" / "z")
    locked = tmp_path / "in" / "data_batch_1"
    locked.write_bytes(FILES["cifar-10-batches-py/data_batch_1"])
    locked.chmod(0)
    found = look(tmp_path / "in", into=tmp_path / "out")
    assert found.complete
    assert "Permission denied" in found.looked[0].seen


@needs_fuse
def test_a_disk_that_fails_while_a_file_is_read_is_said_and_the_next_place_is_asked(tmp_path):
    for name in ("failing", "well"):
        (tmp_path / name).mkdir()
        layouts.WRAPPINGS["its own folder"](FILES, tmp_path / name)
    (tmp_path / "mount").mkdir()
    faults = fuse.Faults(fail_after={"data_batch_1": (0, errno.EIO)})
    with fuse.mounted(tmp_path / "failing", tmp_path / "mount", faults):
        found = look(tmp_path / "mount", tmp_path / "well", into=tmp_path / "out")
    assert found.complete
    assert found.looked[0].seen.endswith("(Input/output error)")
    assert contents(tmp_path / "out") == FILES


@needs_fuse
def test_a_disk_that_fails_while_an_archive_is_read_is_said(tmp_path):
    (tmp_path / "failing").mkdir()
    layouts.WRAPPINGS["zip"](FILES, tmp_path / "failing")
    (tmp_path / "mount").mkdir()
    faults = fuse.Faults(fail_after={"archive.zip": (0, errno.EIO)})
    with fuse.mounted(tmp_path / "failing", tmp_path / "mount", faults):
        found = look(tmp_path / "mount", into=tmp_path / "out")
    assert not found.complete
    assert "Input/output error" in found.looked[0].seen
