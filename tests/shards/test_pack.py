"""Packing: any reader reads the shards, every sample is in them once, and a run that was stopped goes on."""

import hashlib
import io
import json
import math
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zlib
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import datastage
from datastage.errors import IntegrityError, SpecError, StorageError
from datastage.packing.making import by_threads
from datastage.packing.places import FolderPlace
from datastage.packing.plan import Sample, Shard, samples_of
from datastage.packing.shard_file import Job, encode
from datastage.progress import Silent
from datastage.shards.index import read_head, read_index
from tests.shards.made_photos import KILLER, make_photos, picture

pytestmark = pytest.mark.usefixtures("here")
SMALL = "10kB"


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


def packed(data, to, **options):
    return datastage.pack(data, to, **{"shards": SMALL, "test": 0, "progress": False, **options})


def samples_in(folder):
    """Return {key: {ending: bytes}} of all shards, as tarfile reads them."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.rpartition(".")
                parts = found.setdefault((path.name.partition("-")[0], key), {})
                assert ending not in parts, f"{member.name} comes twice"
                parts[ending] = tar.extractfile(member).read()
    return found


def digests(folder):
    paths = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def run(code, *args):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)


def test_every_picture_is_in_one_shard_with_its_bytes_and_the_label_that_loaders_take(photos, tmp_path):
    result = packed(photos, tmp_path / "shards")
    reading = datastage.read(photos, progress=False).splits["train"]
    expected = {
        name.rpartition(".")[0]: ((photos / name).read_bytes(), b"%d" % label)
        for name, label in zip(reading.names, reading.labels, strict=True)
    }
    found = {
        key: (parts.get("jpg") or parts.get("png"), parts["cls"])
        for (_, key), parts in samples_in(tmp_path / "shards").items()
    }
    assert found == expected
    assert (result.samples, result.damaged, result.index.classes) == (60, (), ("cat", "dog", "emu"))
    assert len(result.index.shards) > 3


def test_the_readers_of_others_read_them(photos, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    packed(photos, tmp_path / "shards")
    paths = sorted(map(str, (tmp_path / "shards").glob("*.tar")))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
    assert len(samples) == 60
    assert {sample["cls"] for sample in samples} == {0, 1, 2}
    assert all(sample["jpg" if "jpg" in sample else "png"].mode == "RGB" for sample in samples)
    for path in paths:
        listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
        assert (len(listed.stdout.splitlines()) % 2, listed.stderr) == (0, "")


def test_the_index_and_the_lists_say_what_the_tars_hold(photos, tmp_path):
    result = packed(photos, tmp_path / "shards")
    index = read_index((tmp_path / "shards" / "index.json").read_bytes())
    assert index == result.index
    for entry in index.shards:
        data = (tmp_path / "shards" / entry.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)
        listed = (tmp_path / "shards" / f"{entry.name}.index").read_bytes()
        members = [json.loads(line) for line in listed.splitlines()[1:]]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            told = [(member.name, member.offset_data, member.size) for member in tar]
        assert [tuple(member[:3]) for member in members] == told
        assert all(zlib.crc32(data[offset : offset + size]) == crc32 for _, offset, size, crc32 in members)
        assert (read_head(listed).shard, len(members)) == (entry, 2 * entry.samples)


def test_shards_are_of_about_one_length_and_mix_the_classes(photos, tmp_path):
    result = packed(photos, tmp_path / "shards", shards="60kB")
    sizes = [shard.size for shard in result.index.shards]
    assert max(sizes) < 2 * min(sizes)
    with tarfile.open(tmp_path / "shards" / "train-000000.tar") as tar:
        assert len({name.partition("/")[0] for name in tar.getnames()}) == 3


def test_parts_are_those_of_loaders(photos, tmp_path):
    result = packed(photos, tmp_path / "shards", test=0.2, val=0.1)
    loaders = datastage.loaders(photos, batch_size=4, test=0.2, val=0.1, device="cpu", progress=False)
    counts = {split: sum(shard.samples for shard in shards) for split, shards in result.index.splits.items()}
    assert counts == {"train": loaders.train.n_samples, "val": loaders.val.n_samples, "test": loaders.test.n_samples}


def test_no_key_is_of_a_form_that_readers_pass_over():
    names = ["__x__/1.jpg", "a/__y__.jpg", "a/.hidden.jpg", "a\\b\n.jpg", "caf\udce9.jpg", "../up.jpg"]
    reading = datastage.layouts.Reading("x", splits={"test": datastage.layouts.Split(names)})
    keys = [sample.key for sample in samples_of(reading, dict.fromkeys(names, 1))["test"]]
    assert keys == ["_x__/1", "a/_y__", "a/_hidden", "a_b_", "caf?", "up"]


def test_the_short_side_is_brought_down_and_what_is_small_stays_as_it_is(photos, tmp_path):
    small = picture(photos / "cat" / "small.png", 20, 30)
    packed(photos, tmp_path / "shards", size=32)
    sizes = set()
    for (_, key), parts in samples_in(tmp_path / "shards").items():
        if key == "cat/small":
            assert parts["png"] == small.read_bytes()
            continue
        with Image.open(io.BytesIO(parts["jpg"])) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            sizes.add(image.size)
    assert sizes == {(43, 32), (32, 58)}


def test_jpegs_are_made_by_the_encoder_that_began_the_pack():
    simplejpeg = pytest.importorskip("simplejpeg")
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (32, 58, 3), dtype=np.uint8)
    assert encode(pixels) == simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")


def test_keys_are_unique_and_such_as_readers_part_at_the_first_dot(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    names = ["a/1.jpg", "a/1.png", "a/b.c.jpg", "a/b_c.jpg", "café/ü 1.jpg", f"a/{'long' * 50}.jpg"]
    for i, name in enumerate(names):
        picture(tmp_path / "photos" / name, seed=i)
    packed(tmp_path / "photos", tmp_path / "shards")
    paths = sorted(map(str, (tmp_path / "shards").glob("*.tar")))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    pictures = {sample.get("jpg") or sample.get("png") for sample in samples}
    assert pictures == {(tmp_path / "photos" / name).read_bytes() for name in names}
    assert len({sample["__key__"] for sample in samples}) == len(names)
    assert all("cls" in sample for sample in samples)


def test_the_same_line_twice_does_the_work_once(photos, tmp_path):
    first = packed(photos, tmp_path / "shards")
    before = {path.name: path.stat() for path in (tmp_path / "shards").glob("*.tar*")}
    again = packed(photos, tmp_path / "shards")
    assert (again.written, again.kept, again.index) == (0, len(first.index.shards), first.index)
    assert {name: stat.st_ino for name, stat in before.items()} == {
        path.name: path.stat().st_ino for path in (tmp_path / "shards").glob("*.tar*")
    }


def test_a_shard_that_was_lost_is_made_again_as_it_was(photos, tmp_path):
    packed(photos, tmp_path / "shards")
    before = digests(tmp_path / "shards")
    (tmp_path / "shards" / "train-000002.tar").unlink()
    (tmp_path / "shards" / "train-000003.tar.index").unlink()
    again = packed(photos, tmp_path / "shards")
    assert again.written == 2
    assert digests(tmp_path / "shards") == before


KILLED = f"""{KILLER}
killer = Killer(int(sys.argv[3]), int(sys.argv[4]))
datastage.pack(sys.argv[1], sys.argv[2], shards="10kB", size=32, test=0, progress=killer)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_after_a_stop_nothing_partial_is_seen_and_the_next_run_makes_the_rest(photos, tmp_path, how):
    packed(photos, tmp_path / "whole", size=32)
    done = run(KILLED, photos, tmp_path / "shards", 40, int(how))
    assert done.returncode != 0
    left = {name: digest for name, digest in digests(tmp_path / "shards").items() if not name.startswith(".")}
    whole = digests(tmp_path / "whole")
    assert left.items() <= whole.items()
    assert "index.json" not in left
    kept = sum(name.endswith(".tar.index") for name in left)
    again = packed(photos, tmp_path / "shards", size=32)
    assert again.kept == kept < len(again.index.shards)
    assert digests(tmp_path / "shards") == whole


@pytest.mark.parametrize("test", [0, 0.2])
def test_the_line_that_comes_next_runs_as_printed(photos, tmp_path, test):
    said = []
    reporter = SimpleNamespace(
        note=lambda text, label="": said.append(text),
        phase=lambda *_: None,
        advance=lambda _: None,
        resume=lambda _: None,
    )
    packed(photos, tmp_path / 'my "best" shards', test=test, progress=reporter)

    names = {"datastage": datastage}
    exec(said[-1].removeprefix("Next:").strip(), names)

    train = names["data"].train if test == 0 else names["train"]
    assert ("test" in names) == (test > 0)
    assert len(next(iter(train))[0])


def test_a_stop_says_how_many_shards_are_kept(photos, tmp_path):
    class Stopping(Silent):
        def phase(self, name, total_bytes):
            self.left = total_bytes / 2 if name.startswith("packing") else None

        def advance(self, n_bytes):
            self.left -= n_bytes
            if self.left < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        packed(photos, tmp_path / "shards", progress=Stopping())

    there = len(list((tmp_path / "shards").glob("*.tar")))
    whole = packed(photos, tmp_path / "shards")
    assert 0 < there < len(whole.index.shards)
    assert f"{there} of {len(whole.index.shards)} shards are kept" in str(caught.value)
    assert whole.kept == there


def test_two_at_once_do_the_work_once(photos, tmp_path):
    code = (
        "import sys, datastage; print(datastage.pack(sys.argv[1], sys.argv[2], shards='10kB', progress=False).written)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, photos, tmp_path / "shards"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    written = [int(one.communicate()[0]) for one in both]
    assert sorted(written) == [0, len(list((tmp_path / "shards").glob("*.tar")))]


@pytest.mark.parametrize("name", ["train-000000.tar", "index.json", "pack.json", "other.tar"])
def test_what_is_not_ours_is_never_replaced(photos, tmp_path, name):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / name).write_bytes(b"somebody's")
    with pytest.raises(StorageError, match="nothing of it is replaced") as caught:
        packed(photos, tmp_path / "shards")
    assert caught.value.remedy[-1].startswith("Next: ")
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()} == {name: b"somebody's"}


def test_other_files_in_the_folder_stay(photos, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "README.txt").write_text("mine")
    packed(photos, tmp_path / "shards")
    assert (tmp_path / "shards" / "README.txt").read_text() == "mine"


@pytest.mark.parametrize("change", ["size", "picture", "picture of one length", "class"])
def test_shards_of_other_data_or_options_are_refused_and_stay(photos, tmp_path, change):
    packed(photos, tmp_path / "shards")
    before = digests(tmp_path / "shards")
    if change == "picture":
        picture(photos / "cat" / "00.png", 200, 200)
    if change == "picture of one length":
        data = bytearray((photos / "cat" / "03.jpg").read_bytes())
        data[-9] ^= 1
        (photos / "cat" / "03.jpg").write_bytes(data)
    if change == "class":
        (photos / "emu").rename(photos / "yak")
    with pytest.raises(StorageError, match="shards of other data.* nothing of it is replaced"):
        packed(photos, tmp_path / "shards", **({"size": 32} if change == "size" else {}))
    assert digests(tmp_path / "shards") == before


@pytest.mark.parametrize("size", [None, 32])
def test_pictures_that_were_only_copied_are_the_same_and_so_are_those_of_an_earlier_version(photos, tmp_path, size):
    packed(photos, tmp_path / "shards", size=size)
    (tmp_path / "shards" / "train-000001.tar").unlink(missing_ok=True)
    for file in photos.rglob("*.*"):
        file.touch()
    assert packed(photos, tmp_path / "shards", size=size).kept > 0
    plan = json.loads((tmp_path / "shards" / "pack.json").read_bytes())
    del plan["stamps"]
    (tmp_path / "shards" / "pack.json").write_text(json.dumps(plan))
    (photos / "cat" / "03.jpg").touch()
    assert packed(photos, tmp_path / "shards", size=size).written == 0


def test_arrays_that_changed_are_other_data(here, tmp_path):
    np = pytest.importorskip("numpy")
    for grey in (1, 2):
        np.savez(here / "x.npz", x_train=np.full((12, 8, 8, 3), grey, np.uint8), y_train=np.arange(12) % 2)
        if grey == 1:
            packed(here / "x.npz", tmp_path / "shards", shards="20kB")
    with pytest.raises(StorageError, match="shards of other data"):
        packed(here / "x.npz", tmp_path / "shards", shards="20kB")


def test_a_shard_that_somebody_changed_is_named_and_stays(photos, tmp_path):
    packed(photos, tmp_path / "shards")
    (tmp_path / "shards" / "train-000001.tar").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"train-000001\.tar .* is not what was packed"):
        packed(photos, tmp_path / "shards")
    assert (tmp_path / "shards" / "train-000001.tar").read_bytes() == b"x"


def test_a_plan_that_is_a_link_is_not_followed(photos, tmp_path):
    packed(photos, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "pack.json").symlink_to(tmp_path / "one" / "pack.json")
    with pytest.raises(StorageError, match=r"reading pack\.json"):
        packed(photos, tmp_path / "two")


def test_who_leaves_does_not_wait_for_the_shards_that_were_begun(tmp_path):
    read = []

    def slow(name):
        read.append(name)
        time.sleep(0.005)
        return (tmp_path / "a.jpg").read_bytes()

    picture(tmp_path / "a.jpg")
    (tmp_path / "shards").mkdir()
    job = Job(SimpleNamespace(read=slow), None, "plan")
    shards = [Shard(f"train-{n}.tar", tuple(Sample(f"{n}/{i}", f"{i}", 0, 1) for i in range(n))) for n in (1, 500)]
    made = by_threads(job, FolderPlace(tmp_path / "shards"), shards, 1, Silent())
    next(made)
    made.close()
    assert len(read) < 200
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["train-1.tar", "train-1.tar.index"]


def test_hidden_files_in_the_folder_are_no_shards(photos, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "._train-000000.tar").write_bytes(b"macOS")
    first = packed(photos, tmp_path / "shards")
    assert packed(photos, tmp_path / "shards").kept == first.written > 0


def test_of_a_shard_without_its_list_the_bytes_tell_whether_it_is_ours(photos, tmp_path):
    packed(photos, tmp_path / "shards")
    shard, before = tmp_path / "shards" / "train-000001.tar", digests(tmp_path / "shards")
    listing = shard.with_name("train-000001.tar.index")
    listing.unlink()
    assert packed(photos, tmp_path / "shards").written == 1
    assert digests(tmp_path / "shards") == before
    listing.unlink()
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")  # of the length that ours has
    with pytest.raises(StorageError, match=r"train-000001\.tar .* is not what is packed there; it is not replaced"):
        packed(photos, tmp_path / "shards")
    assert shard.read_bytes().endswith(b"x")
    assert not listing.exists()


@pytest.mark.parametrize("size", [None, 32])
def test_damaged_pictures_are_listed_with_the_reason_also_by_the_run_that_goes_on(photos, tmp_path, size):
    whole = (photos / "cat" / "03.jpg").read_bytes()
    (photos / "cat" / "03.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "dog" / "01.jpg").write_bytes(b"<html>")
    for again in (False, True):
        result = packed(photos, tmp_path / "shards", size=size)
        assert {name for name, _ in result.damaged} == {"cat/03.jpg", "dog/01.jpg"}
        assert dict(result.damaged)["cat/03.jpg"] == "the file is cut short"
        assert (result.samples, result.written == 0) == (58, again)
    assert not {("train", "cat/03"), ("train", "dog/01")} & samples_in(tmp_path / "shards").keys()


def test_a_webp_is_told_by_its_bytes_and_one_that_is_cut_short_is_left_out(photos, tmp_path):
    Image.open(photos / "cat" / "03.jpg").save(photos / "cat" / "web.jpg", "WEBP")
    data = (photos / "cat" / "web.jpg").read_bytes()
    (photos / "dog" / "cut.webp").write_bytes(data[:-30])
    result = packed(photos, tmp_path / "shards")
    assert [name for name, _ in result.damaged] == ["dog/cut.webp"]
    assert samples_in(tmp_path / "shards")["train", "cat/web"]["webp"] == data


def test_a_part_without_a_readable_picture_leaves_no_shard_also_for_the_run_that_goes_on(photos, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(photos, tmp_path / "data" / "train")
    shutil.copytree(photos, tmp_path / "data" / "test")
    for path in (tmp_path / "data" / "test").rglob("*.*"):
        path.write_bytes(b"<html>")
    for again in (False, True):
        result = packed(tmp_path / "data", tmp_path / "shards", test=None)
        assert (result.samples, len(result.damaged), result.written == 0) == (60, 60, again), result
        assert not list((tmp_path / "shards").glob("test-*.tar"))


@pytest.mark.parametrize("kind", ["folders with parts", "arrays with parts", "digits"])
@pytest.mark.parametrize("value", [True, -1, -0.1, 1.0, 1.5, math.nan, [1], "nope"])
@pytest.mark.parametrize("option", ["val", "test"])
def test_what_cannot_be_set_aside_of_any_data_is_refused_by_pack_as_by_loaders(photos, tmp_path, kind, value, option):
    data = "digits" if kind == "digits" else tmp_path / "data"
    for part in ("train", "val", "test"):
        shutil.copytree(photos / "cat", tmp_path / "data" / part / "cat")
        shutil.copytree(photos / "dog", tmp_path / "data" / part / "dog")
    if kind == "arrays with parts":
        parts = {f"x_{part}": np.zeros((4, 8, 8), np.uint8) for part in ("train", "val", "test")}
        np.savez(data := tmp_path / "data.npz", **parts, **{f"y{name[1:]}": np.arange(4) for name in parts})
    for refused in (partial(packed, data, tmp_path / "shards"), partial(datastage.loaders, data, batch_size=2)):
        with pytest.raises(SpecError, match=f"{option}=") as caught:
            refused(**{option: value})
        assert "Next: " in str(caught.value).splitlines()[-1]


def test_pictures_of_which_none_can_be_read_are_an_error_and_leave_nothing(tmp_path):
    for name in ("cat/1.jpg", "dog/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"<html>")
    with pytest.raises(IntegrityError, match="None of the pictures can be read"):
        packed(tmp_path / "photos", tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


FULL = """
import resource, sys, datastage
sys.dont_write_bytecode = True  # modules compiled under the limit would stay cut short for whoever imports them next
resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
sys.exit(datastage.cli.main(["pack", sys.argv[1], "--to", sys.argv[2], "--shards", "10kB", "--quiet"]))
"""


def test_where_no_more_can_be_written_nothing_partial_stays_and_the_run_goes_on_later(photos, tmp_path):
    done = run("import datastage.cli\n" + FULL, photos, tmp_path / "shards")
    assert (done.returncode, "Next: " in done.stderr or "run the same line again" in done.stderr) == (5, True), (
        done.stderr
    )
    left = [path.name for path in (tmp_path / "shards").iterdir() if not path.name.startswith(".datastage-pack")]
    assert left == ["pack.json"]
    assert packed(photos, tmp_path / "shards", test=None).written


def test_a_zip_is_packed_as_its_folder_is(photos, tmp_path):
    datastage.zip_folder(photos, tmp_path / "photos.zip", progress=False)
    packed(photos, tmp_path / "a")
    packed(tmp_path / "photos.zip", tmp_path / "b")
    of_folder, of_zip = samples_in(tmp_path / "a"), samples_in(tmp_path / "b")
    assert {key.removeprefix("photos/"): parts for (_, key), parts in of_zip.items()} == {
        key: parts for (_, key), parts in of_folder.items()
    }


def test_a_dataset_of_the_catalog_is_packed_as_pictures_without_loss(tmp_path):
    import numpy as np

    result = packed("digits", tmp_path / "shards", shards="1MB", test=None)
    images, labels = datastage.stage("digits", progress=False).arrays("test")
    with tarfile.open(tmp_path / "shards" / "test-000000.tar") as tar:
        first = Image.open(io.BytesIO(tar.extractfile("test/0.png").read()))
        assert (np.array(first).reshape(images[0].shape) == images[0]).all()
        assert int(tar.extractfile("test/0.cls").read()) == labels[0]
    assert result.index.classes == tuple("0123456789")


def test_of_a_dataset_of_the_catalog_those_classes_and_parts_are_packed_that_are_asked_for(tmp_path):
    result = packed("digits", tmp_path / "shards", shards="1MB", classes=["3", "1"])
    counts = datastage.read("digits", classes=["3", "1"], progress=False).arrays("train")[1].tolist()
    labels = datastage.stage("digits", progress=False).arrays("train")[1].tolist()
    assert (result.index.classes, list(result.index.splits)) == (("3", "1"), ["train"])
    assert [counts.count(0), counts.count(1)] == [labels.count(3), labels.count(1)]
    assert result.samples == len(counts)


def test_labels_that_are_measures_are_json(tmp_path):
    rows = ["file,height"]
    for i in range(6):
        picture(tmp_path / "photos" / "images" / f"{i}.jpg", seed=i)
        rows.append(f"{i}.jpg,{i + 0.5}")
    (tmp_path / "photos" / "train.csv").write_text("\n".join(rows) + "\n")
    packed(tmp_path / "photos", tmp_path / "shards", labels="train.csv:height")
    found = samples_in(tmp_path / "shards")
    assert {key: json.loads(parts["json"]) for (_, key), parts in found.items()} == {
        f"images/{i}": i + 0.5 for i in range(6)
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size=0"),
        ({"size": 2.5}, "size=2.5"),
        ({"shards": "big"}, "'big'"),
        ({"shards": "1kB"}, "too small"),
    ],
)
def test_options_that_make_no_sense_are_errors_before_anything_is_written(photos, tmp_path, options, words):
    with pytest.raises(SpecError, match=words):
        packed(photos, tmp_path / "shards", **options)
    assert not (tmp_path / "shards").exists()


def test_shards_never_go_into_the_data_that_is_packed(photos):
    with pytest.raises(SpecError, match="lies in the data"):
        packed(photos, photos / "shards")
    assert not (photos / "shards").exists()


def test_a_table_of_numbers_is_no_pictures(tmp_path):
    with pytest.raises(SpecError, match="rows of numbers"):
        packed("iris", tmp_path / "shards")


class Large:
    def read(self, name):
        return (
            b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10\x03" + bytes(11) + b"\xff\xda\0\x02" + bytes(200_000) + b"\xff\xd9"
        )


class Nowhere(io.RawIOBase):
    def write(self, data):
        return len(data)


def test_a_shard_in_the_making_takes_memory_for_a_few_pictures_alone():
    def peak(n):
        shard = Shard("train-000000.tar", tuple(Sample(str(i), str(i), 0, 200_000) for i in range(n)))
        tracemalloc.start()
        made = Job(Large(), None, "").write(shard, Nowhere())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert made[0].shard.samples == n
        return most

    assert peak(400) < peak(40) + 2_000_000


def test_the_order_of_training_samples_is_the_same_whatever_else_there_is():
    few = datastage.layouts.Reading("x", splits={"train": datastage.layouts.Split(["a", "b", "c"], [0, 0, 1])})
    lengths = dict.fromkeys("abcd", 1)
    more = datastage.layouts.Reading("x", splits={"train": datastage.layouts.Split(["d", "c", "b", "a"], [1, 1, 0, 0])})
    names = [sample.name for sample in samples_of(more, lengths)["train"]]
    names.remove("d")
    assert [sample.name for sample in samples_of(few, lengths)["train"]] == names


def test_the_command_prints_the_folder_and_the_result_as_json(photos, tmp_path):
    command = [sys.executable, "-m", "datastage", "pack", photos, "--to", tmp_path / "shards", "--shards", "10kB"]
    done = subprocess.run([*command, "--test", "0"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'shards'}\n"
    assert "Packed" in done.stderr
    done = subprocess.run([*command, "--test", "0", "--json", "--quiet"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["samples"], told["written"], done.stderr) == (60, 0, "")
    assert told["index"]["shards"][0]["name"] == "train-000000.tar"
    shown = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, check=True)
    assert "example: datastage pack " in shown.stdout


def test_a_bare_name_is_a_folder_here(photos, here):
    assert packed(photos, "shards").to == str(here / "shards")
    assert (here / "shards" / "index.json").exists()


def npz(path, **arrays):
    np = pytest.importorskip("numpy")
    np.savez(path, **{name: np.array(values, np.uint8 if name[0] == "x" else None) for name, values in arrays.items()})
    return path


def line_after(data, to, **options):
    """Pack, and return what the line gives that comes next."""
    pytest.importorskip("torch")
    said = []
    note = SimpleNamespace(note=lambda text, label="": said.append(text), phase=lambda *a: None,
                           advance=lambda n: None, resume=lambda n: None)  # fmt: skip
    packed(data, to, progress=note, **options)
    held = {"datastage": datastage}
    for line in next(text for text in said if "datastage.loaders(" in text).splitlines():
        exec(line.strip().removeprefix("Next:").strip(), held)
    return held.get("data", held.get("train"))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([i + 0.5 for i in range(12)], "float32"), ([float(i) for i in range(12)], "float32"),
     ([[i % 2, 1, 0] for i in range(12)], "int64"), ([[i / 2, 1.0] for i in range(12)], "float32")],
)  # fmt: skip
def test_measures_and_rows_are_read_by_the_line_that_comes_next(here, tmp_path, labels, kind):
    data = npz(here / "x.npz", x_train=[[[[i] * 3] * 8] * 8 for i in range(12)], y_train=labels)
    train = line_after(data, tmp_path / "shards").train
    found = [(int(round(float(x[0, 0, 0]) * 255)), y.tolist()) for xs, ys in train for x, y in zip(xs, ys)]
    assert {str(ys.dtype) for _, ys in train} == {f"torch.{kind}"}
    assert sorted(found) == [(i, labels[i]) for i in range(12)]


def test_of_arrays_the_parts_are_set_aside_that_loaders_sets_aside(here, tmp_path):
    data = npz(here / "x.npz", x_train=[[[[i] * 3] * 8] * 8 for i in range(20)], y_train=[i % 4 for i in range(20)])
    options = {"val": 0.1, "test": 0.2}
    shards = packed(data, tmp_path / "shards", **options)
    assert {split: sum(s.samples for s in ones) for split, ones in shards.index.splits.items()} == {
        "train": 14, "val": 2, "test": 4
    }  # fmt: skip
    keys = {split: sorted(int(key.rpartition("/")[2]) for one, key in samples_in(tmp_path / "shards") if one == split)
            for split in ("train", "val", "test")}  # fmt: skip
    for loader in datastage.loaders(data, batch_size=4, device="cpu", progress=False, **options):
        greys = [int(round(float(x[0, 0, 0]) * 255)) for xs, _ in loader for x in xs]
        assert sorted(greys) == keys[loader.name]


@pytest.mark.parametrize("channels", [2, 4, 10])
def test_arrays_of_other_channels_are_no_pictures(here, tmp_path, channels):
    data = npz(here / "x.npz", x_train=[[[[1] * channels] * 8] * 8] * 6, y_train=[0, 1] * 3)
    with pytest.raises(SpecError, match=f"of {channels} channels, and shards hold pictures of 1 or 3"):
        packed(data, tmp_path / "shards")


def test_a_part_without_a_picture_that_can_be_read_is_in_no_line_and_no_index(photos, tmp_path):
    (photos / "train").mkdir()
    for kind in ("cat", "dog", "emu"):
        (photos / kind).rename(photos / "train" / kind)
        bad = photos / "test" / kind / "1.jpg"
        bad.parent.mkdir(parents=True)
        bad.write_bytes(b"none")
    data = line_after(photos, tmp_path / "shards", test=None)
    assert sum(len(y) for _, y in data.train) == 60
    assert set(read_index((tmp_path / "shards" / "index.json").read_bytes()).splits) == {"train"}


def test_shards_are_not_packed_again(photos, tmp_path):
    packed(photos, tmp_path / "shards")
    with pytest.raises(SpecError, match="which are read while they are trained on"):
        packed(tmp_path / "shards", tmp_path / "more")


def test_pictures_with_labels_are_packed_though_shards_hold_them_or_lie_beside_them(photos, tmp_path):
    packed(photos, tmp_path / "shards")
    shard = tmp_path / "shards/train-000000.tar"
    shutil.copy(shard, photos / "s.tar")
    assert packed(photos, tmp_path / "more").samples == 60
    assert packed(shard, tmp_path / "again", labels=lambda name: "odd").index.classes == ("odd",)
    with pytest.raises(SpecError, match="which are read while they are trained on"):
        packed(shard, tmp_path / "none")


@pytest.mark.parametrize("nth", [0, 150])  # the first is looked at for the plan
def test_a_picture_that_may_not_be_read_is_an_error_of_ours_and_no_shard_lacks_it(tmp_path, monkeypatch, nth):
    from datastage.batches.image_files import FolderImages
    from tests.made_data import photos as made

    read, asked = FolderImages.read, []

    def refused(self, name):
        asked.append(name)
        if name == f"cat/{nth}.png":
            raise PermissionError(13, "Permission denied", name)
        return read(self, name)

    monkeypatch.setattr(FolderImages, "read", refused)
    made(tmp_path / "set", "cat", "dog", n=151)
    with pytest.raises(StorageError, match="reading the images, permission was denied"):
        datastage.pack(tmp_path / "set", tmp_path / "to", progress=False, test=0)
    assert not list((tmp_path / "to").glob("*.tar"))
