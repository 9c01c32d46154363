import gc
import io
import os
import pickle
import shutil
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datastage
from datastage.batches.augment import Augment
from datastage.batches.image_files import FolderImages
from datastage.batches.pixel_cache import PixelCache
from datastage.batches.prefetch import Threads
from datastage.decode import Fit, decode
from datastage.errors import IntegrityError, StorageError
from datastage.reader import FileReader
from tests.batches.test_photos import Notes, all_of, photo_folder, wait_for_the_disk, zipped
from tests.loaders_of import from_archive, from_folder

pytest.importorskip("PIL")
REPOSITORY = Path(__file__).parents[2]
OPTIONS = {"batch_size": 5, "size": 16, "test": 0, "shuffle": False, "dtype": "uint8", "device": "cpu"}


def partials(cache):
    return [file.name for file in cache.iterdir() if file.name.startswith(".packed")]


def test_two_loaders_that_pack_the_same_photos_leave_each_other_alone(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos", 24), tmp_path / "cache"
    right = all_of(from_folder(photos, **OPTIONS).train)[0]
    (one,) = from_folder(photos, cache=cache, **OPTIONS)
    running = iter(one)
    for _ in range(3):
        next(running)
    running.close()
    (two,) = from_folder(photos, cache=cache, **OPTIONS)
    assert (all_of(one)[0] == right).all()
    assert (all_of(two)[0] == right).all()
    assert (all_of(from_folder(photos, cache=cache, **OPTIONS).train)[0] == right).all()
    assert not partials(cache)


def test_a_cell_that_is_run_again_in_the_first_epoch_goes_on(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos", 24), tmp_path / "cache"
    right = all_of(from_folder(photos, **OPTIONS).train)[0]
    (train,) = from_folder(photos, cache=cache, **OPTIONS)
    next(iter(train))
    decoded = int((train.source.cache.state != 0).sum())
    kept, notes = train.source.cache.so_far, Notes()
    (train,) = from_folder(photos, cache=cache, reporter=notes, **OPTIONS)
    gc.collect()
    assert 0 < decoded < 24
    assert kept == f"The pixels of {decoded} of 24 photos"
    assert f"Went on   at {decoded} of 24 photos" in notes.said
    assert int((train.source.cache.state != 0).sum()) == decoded
    first, second = all_of(train), all_of(train)
    assert (first[0] == right).all()
    assert (second[0] == right).all()
    assert train.source.cache.so_far == ""
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".u8"]


RANK = """
import sys, numpy as np
from datastage.batches.augment import Augment
from tests.loaders_of import from_archive, from_folder
for n, augment in enumerate((None, Augment(crop=2, flip=True), Augment(scale=(0.9, 1.0)))):
    (train,) = from_folder(sys.argv[1], batch_size=5, size=16, test=0, dtype="uint8", device="cpu", augment=augment,
                           cache=__import__("pathlib").Path(sys.argv[2], str(n)))
    for epoch in range(2):
        print(*(int(image.sum()) for x, _ in train for image in x.numpy().astype(int)))
"""


def test_each_rank_gets_the_pixels_whoever_decoded_them(tmp_path, warm):
    photos, cache = photo_folder(tmp_path / "photos", 20), tmp_path / "cache"
    ranks = [
        warm.start(
            RANK, photos, cache, prints=tmp_path, cwd=REPOSITORY,
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    epochs = list(zip(*(rank.out.read_text().splitlines() for rank in ranks)))
    assert len(epochs) == 6
    for n, lines in enumerate(epochs):
        sums = [int(number) for line in lines for number in line.split()]
        assert len(sums) == 20
        assert min(sums) > 50_000  # no image is black
        if n < 2:  # without augmentation
            assert len(set(sums)) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("peeked", [False, True])
def test_a_process_that_forked_goes_on_and_so_does_its_child(tmp_path, peeked):
    photos, cache = photo_folder(tmp_path / "photos", 24), tmp_path / "cache"
    right = all_of(from_folder(photos, **OPTIONS).train)[0]
    (train,) = from_folder(photos, cache=cache, **OPTIONS)
    if peeked:
        running = iter(train)
        next(running)
        running.close()
        train.set_epoch(0)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if (all_of(train)[0] == right).all() else 3)
        except BaseException:
            os._exit(4)
    end = time.monotonic() + 60
    while (state := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    if state[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert state[0] == child, "the child hangs"
    assert os.waitstatus_to_exitcode(state[1]) == 0
    for _ in range(2):
        assert (all_of(train)[0] == right).all()
    assert not partials(cache)


def in_another_process(warm, photos, cache, last):
    """Take one batch of the first epoch in a process of its own, which then does `last`."""
    script = (
        "import os, sys; from tests.loaders_of import from_folder;"
        "made = from_folder(sys.argv[1], batch_size=2, size=16, cache=__import__('pathlib').Path(sys.argv[2]));"
        f"running = iter(made.train); next(running); {last}"
    )
    warm.start(script, photos, cache, prints=photos.parent, cwd=REPOSITORY).wait(120)


def test_a_process_that_ends_in_the_first_epoch_leaves_nothing(tmp_path, warm):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    in_another_process(warm, photos, cache, "sys.exit()")
    assert list(cache.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, warm):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    in_another_process(warm, photos, cache, "os.kill(os.getpid(), 9)")
    assert len(list(cache.iterdir())) == 1
    all_of(from_folder(photos, batch_size=2, size=16, cache=cache, device="cpu").train)
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".u8"]


def test_a_receipt_that_a_kill_left_half_written_is_removed_by_the_next(tmp_path, warm):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    kill = "os.replace = lambda a, b: os.kill(os.getpid(), 9) if str(b).endswith('.json') else plain(a, b)"
    in_another_process(warm, photos, cache, f"plain = os.replace; {kill}; list(running); __import__('time').sleep(90)")
    assert sorted(file.suffix for file in cache.iterdir()) == [".partial", ".u8"]
    all_of(from_folder(photos, batch_size=2, size=16, cache=cache, device="cpu").train)
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".u8"]


def test_a_disk_that_is_full_when_the_receipt_is_written_keeps_no_part_of_it(tmp_path, monkeypatch):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    plain = os.replace

    def replace(source, target):
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device", str(target))
        plain(source, target)

    monkeypatch.setattr(os, "replace", replace)
    (train,) = from_folder(photos, cache=cache, **OPTIONS)
    all_of(train)
    with pytest.raises(StorageError, match="full") as caught:
        next(iter(train))
    assert "cache=" in str(caught.value)
    assert [file.suffix for file in cache.iterdir()] == [".u8"]  # without a receipt it is not looked at


def made(folder, cache, **options):
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))
    every = {"last": False, "folder": cache, "threads": Threads(2, "datastage-decode"), **options}
    return PixelCache(FolderImages(str(folder)), names, Fit((16, 16)), **every)


def test_leaving_while_the_rest_is_decoded_submits_no_more_of_it(tmp_path, monkeypatch):
    import threading

    packed, stop = made(photo_folder(tmp_path / "photos", 600), tmp_path / "cache"), threading.Event()
    stop.set()
    lots = []
    plain = packed.submit
    monkeypatch.setattr(packed, "submit", lambda at: lots.append(len(at)) or plain(at))
    packed.complete(stop)
    assert lots == [256]


def test_ranks_do_not_wait_for_the_copy_on_drive(tmp_path, monkeypatch):
    import threading

    go = threading.Event()
    monkeypatch.setattr("datastage.batches.pixel_cache.keep", lambda *words: go.wait(60))
    packed = made(photo_folder(tmp_path / "photos"), tmp_path / "cache", kept=tmp_path / "drive")
    packed.complete_once()
    assert packed.whole
    assert not go.is_set()
    go.set()
    wait_for_the_disk()


def test_copies_that_an_earlier_session_broke_off_are_removed_from_drive(tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    packed = made(photo_folder(tmp_path / "photos"), tmp_path / "cache", kept=drive)
    old, new = (drive / f".{packed.path.name}.{digit * 16}.partial" for digit in "01")
    for file in (old, new):
        file.write_bytes(b"part")
    os.utime(old, (time.time() - 4000,) * 2)
    packed.complete()
    wait_for_the_disk()
    assert not old.exists()
    assert new.exists()  # another session may be at work on it
    assert sorted(file.suffix for file in drive.glob("packed*")) == [".json", ".u8"]


def test_photos_found_unreadable_before_raise_if_that_is_asked_for(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    (photos / "class1" / "broken.png").write_bytes(b"no image")
    (train,) = from_folder(photos, cache=cache, **OPTIONS)
    all_of(train)
    (train,) = from_folder(photos, cache=cache, unreadable="raise", **OPTIONS)
    with pytest.raises(IntegrityError, match="class1/broken.png"):
        all_of(train)


def test_when_no_photo_can_be_read_that_is_an_error(tmp_path):
    cache = tmp_path / "cache"
    for i in range(9):
        file = tmp_path / "photos" / f"class{i % 3}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no image")
    (train,) = from_folder(tmp_path / "photos", cache=cache, **OPTIONS)
    with pytest.raises(IntegrityError, match="None of the 9 images can be read"):
        all_of(train)
    del train
    gc.collect()
    assert list(cache.iterdir()) == []


def test_other_splits_of_the_same_photos_use_the_same_packed_file(tmp_path, monkeypatch):
    photos, cache = photo_folder(tmp_path / "photos", 40), tmp_path / "cache"
    options = {**OPTIONS, "test": 0.2, "cache": cache}
    made = from_folder(photos, **options)
    all_of(made.train), all_of(made.test)
    monkeypatch.setattr("datastage.batches.pixel_cache.decode", lambda *args: pytest.fail("a photo was decoded"))
    again = from_folder(photos, **{**options, "test": 0.3, "val": 0.1})
    assert sum(len(all_of(split)[1]) for split in again) == 40
    by_label = {}
    for split in made:
        for image, label in zip(*all_of(split)):
            by_label.setdefault(int(label), set()).add(image.tobytes())
    for split in again:
        assert all(image.tobytes() in by_label[int(label)] for image, label in zip(*all_of(split)))
    assert len(list(cache.iterdir())) == 2


def test_an_augmented_first_epoch_has_no_image_that_was_not_made(tmp_path):
    photos = photo_folder(tmp_path / "photos", 40)
    for augment in (Augment(flip=True), Augment(scale=(0.9, 1.0)), Augment(crop=2)):
        train, val = from_folder(photos, val=0.3, augment=augment, cache=tmp_path / repr(augment), **OPTIONS)
        for i, (x, _) in enumerate(train):
            assert (x.numpy().astype(np.int64).sum((1, 2, 3)) > 50_000).all()
            if i == 2:
                list(val)  # decodes the rest, and makes the packed file whole, in the middle of this epoch


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("cached", [False, True])
def test_photos_that_another_process_is_sent_are_the_same_there(tmp_path, kind, cached):
    photos = photo_folder(tmp_path / "photos")
    options = {**OPTIONS, "cache": tmp_path / "cache" if cached else None}
    if kind == "zip":
        made = from_archive(FileReader(zipped(photos, tmp_path / "photos.zip")), **options)
    else:
        made = from_folder(photos, **options)
    right = all_of(made.train)[0]
    source = pickle.loads(pickle.dumps(made.train.source))
    assert source.cache.whole == cached
    assert all((source.sample(i).transpose(2, 0, 1) == right[i]).all() for i in range(12))


def test_another_fit_of_the_same_photos_is_other_pixels(tmp_path):
    photos = photo_folder(tmp_path / "photos", size=(20, 60))
    kinds = [
        all_of(from_folder(photos, cache=tmp_path / "cache", fit=fit, **OPTIONS).train)[0]
        for _ in range(2)
        for fit in ("crop", "pad", "stretch")
    ]
    assert all((kinds[i] == kinds[i + 3]).all() for i in range(3))
    assert (kinds[0] != kinds[1]).any()
    assert (kinds[0] != kinds[2]).any()
    assert (kinds[1][:, :, 0] == 0).all()


def test_pixels_kept_for_random_crops_are_not_taken_for_whole_photos(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    crops = from_folder(photos, cache=cache, augment=Augment(scale=(0.5, 1.0)), **OPTIONS).train
    all_of(crops)
    wait_for_the_disk()
    whole = {**OPTIONS, "size": crops.source.cache.fit.shape[0]}
    right = all_of(from_folder(photos, **whole).train)[0]
    assert (all_of(from_folder(photos, cache=cache, **whole).train)[0] == right).all()


def test_pixels_of_photos_as_they_were_before_they_changed_are_removed(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    for time_ns in (10**18, 2 * 10**18):
        os.utime(next(photos.rglob("*.png")), ns=(time_ns, time_ns))
        all_of(from_folder(photos, cache=cache, **OPTIONS).train)
    all_of(from_folder(photos, cache=cache, **{**OPTIONS, "size": 8}).train)
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".json", ".u8", ".u8"]


def test_where_pixels_cannot_be_kept_they_are_kept_in_memory_and_that_is_said(tmp_path):
    (tmp_path / "cache").write_text("no folder")
    notes = Notes()
    (train,) = from_folder(photo_folder(tmp_path / "photos"), cache=tmp_path / "cache" / "x", reporter=notes, **OPTIONS)
    assert len(all_of(train)[1]) == 12
    assert any("in memory this time" in text for text in notes.said)


def test_the_first_epoch_shows_its_progress_and_ends_it(tmp_path):
    class Counted(Notes):
        phases, done, closed = [], 0, 0

        def phase(self, name, total_bytes):
            self.phases.append((name, total_bytes))

        def advance(self, n_bytes):
            self.done += n_bytes

        def close(self):
            self.closed += 1

    seen, row = Counted(), 16 * 16 * 3
    (train,) = from_folder(photo_folder(tmp_path / "photos"), reporter=seen, **{**OPTIONS, "batch_size": 1})
    assert train.dataset[3][0].any()
    assert seen.phases == []
    running = iter(train)
    next(running)
    running.close()  # an epoch that is left leaves no bar
    assert (seen.phases, seen.closed) == ([("decoding the photos", 11 * row)], 1)
    left = int((train.source.cache.state == 0).sum())
    all_of(train), all_of(train)
    assert (seen.phases[1:], seen.done, seen.closed) == ([("decoding the photos", left * row)], 12 * row, 2)
    assert sum(text.startswith("Decoded") for text in seen.said) == 1


def test_no_stamp_is_asked_for_where_no_pixels_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(FolderImages, "stamps", lambda *words: pytest.fail("stamps were asked for"))
    (train,) = from_folder(photo_folder(tmp_path / "photos"), **OPTIONS)
    assert len(all_of(train)[1]) == 12


def test_pictures_that_come_out_black_are_said_by_name(tmp_path):
    photos, notes = photo_folder(tmp_path / "photos"), Notes()
    Image.fromarray(np.full((16, 16), 9, np.uint16) + np.arange(16, dtype=np.uint16)).save(photos / "class1" / "9.tif")
    (train,) = from_folder(photos, reporter=notes, **OPTIONS)
    all_of(train)
    assert any("1 image of a wider type" in text and "class1/9.tif" in text for text in notes.said)


def grey_zip(path, greys):
    """A zip of class folders, each picture of one grey, of one length, and with one time."""
    with zipfile.ZipFile(path, "w") as made:
        for i, grey in enumerate(greys):
            file = io.BytesIO()
            Image.fromarray(np.full((16, 16, 3), grey, np.uint8)).save(file, "BMP")
            made.writestr(zipfile.ZipInfo(f"{'ab'[i % 2]}/{i}.bmp"), file.getvalue())
    return path


def greys_of(data, **options):
    (train,) = datastage.loaders(data, **{**OPTIONS, "test": 0, "progress": False, **options})
    found = [sorted(all_of(train)[0][:, 0, 0, 0].tolist()) for _ in range(2)]
    assert found[0] == found[1]
    wait_for_the_disk()
    return found[0]


@pytest.mark.parametrize("kind", ["staged", "below what is staged", "unpacked by hand"])
def test_an_archive_made_anew_with_the_lengths_and_times_of_before_gives_its_own_pixels(here, tmp_path, kind):
    cache = tmp_path / "pixels"
    for first in (10, 100):
        archive = grey_zip(here / "photos.zip", range(first, first + 8))
        if kind == "unpacked by hand":
            shutil.rmtree(here / "data", ignore_errors=True)
            shutil.unpack_archive(archive, here / "data")
            for file in (here / "data").rglob("*.bmp"):
                os.utime(file, (315532800, 315532800))
            data = here / "data"
        else:
            data = datastage.stage(archive, progress=False)
            if kind == "below what is staged":
                data = FolderImages(str(data.path / "a"))
                names = sorted(os.listdir(data.root))
                stamps = list(data.stamps(names))
                assert all(stamp.endswith(f"{zlib.crc32(data.read(n)):08x}") for n, stamp in zip(names, stamps))
                continue
        assert greys_of(data, cache=cache) == list(range(first, first + 8))
        assert greys_of(data) == list(range(first, first + 8))


@pytest.mark.parametrize("kept_times", [True, False])
def test_kept_pixels_serve_the_same_photos_staged_again_elsewhere(here, tmp_path, monkeypatch, kept_times):
    archive = grey_zip(here / "photos.zip", range(8))
    cache = tmp_path / "pixels"
    monkeypatch.setattr("datastage.batches.pixel_cache.decode", decode)
    for session in range(2):
        data = datastage.stage(archive, root=tmp_path / f"root{session}", progress=False)
        if not kept_times:
            for file in data.path.rglob("*.bmp"):  # as what no archive gave a time has it
                os.utime(file, ns=(os.stat(data.path / ".datastage-files").st_mtime_ns,) * 2)
        assert greys_of(data, cache=cache) == list(range(8))
        monkeypatch.setattr("datastage.batches.pixel_cache.decode", lambda *args: pytest.fail("a photo was decoded"))


def test_a_photo_changed_in_what_was_staged_is_decoded_anew(here, tmp_path):
    data = datastage.stage(grey_zip(here / "photos.zip", range(8)), progress=False)
    assert greys_of(data) == list(range(8))
    changed = data.path / "a" / "0.bmp"
    changed.write_bytes((data.path / "b" / "7.bmp").read_bytes())
    assert greys_of(data) == [1, 2, 3, 4, 5, 6, 7, 7]
