import gc
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from datastage.batches.augment import Augment
from datastage.errors import IntegrityError, NoSpaceError, PasswordError, SpecError, StorageError
from datastage.reader import FileReader
from tests.loaders_of import from_archive, from_folder

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("readers")
ODD = Path.home() / ".cache/datastage-testdata/photo-sets/photos-odd"


class Notes:
    def __init__(self):
        self.said = []

    def phase(self, name, total_bytes): ...
    def advance(self, n_bytes): ...
    def note(self, text, label=""):
        self.said.append(f"{label:<10}{text}" if label else text)


def picture(seed, size=(20, 20)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def png_of(width, height):
    """The head of a PNG of so many pixels of one bit: 24 kB hold 196 million."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HUGE = png_of(14000, 14000)


def photo_folder(root, n=12, size=(20, 20), splits=("",), suffix=".png"):
    for split in splits:
        for i in range(n):
            file = root / split / f"class{i % 3}" / f"{split}{i}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i, size)).save(file)
    return root


def all_of(loader):
    xs, ys = zip(*loader)
    wait_for_the_disk()
    return np.concatenate([x.numpy() for x in xs]), np.concatenate([y.numpy() for y in ys])


def wait_for_the_disk():
    """Wait for what is written, and kept on Drive, beside the training."""
    for thread in threading.enumerate():
        if thread.name == "datastage-keep":
            thread.join()


def test_images_of_one_size_come_pixel_for_pixel(tmp_path):
    photo_folder(tmp_path)
    (train,) = from_folder(tmp_path, batch_size=5, test=0, shuffle=False, dtype="uint8", device="cpu")
    x, y = all_of(train)
    order = sorted(range(12), key=lambda i: f"class{i % 3}/{i}.png")
    assert (x == np.stack([picture(i) for i in order]).transpose(0, 3, 1, 2)).all()
    assert y.tolist() == [i % 3 for i in order]


def test_a_tenth_is_set_aside_by_name_and_said(tmp_path):
    photo_folder(tmp_path, 60)
    notes = Notes()
    train, test = from_folder(tmp_path, batch_size=5, device="cpu", reporter=notes)
    assert train.n_samples + test.n_samples == 60
    assert 1 <= test.n_samples <= 15
    assert any(text.startswith("Set aside") for text in notes.said)


@pytest.mark.parametrize("name", ["val", "Valid", "VALIDATION"])
def test_split_folders_are_known_by_each_of_their_names(tmp_path, name):
    photo_folder(tmp_path, 6, splits=("Train", name, "test"))
    made = from_folder(tmp_path, batch_size=5, device="cpu")
    assert [loader.name for loader in made] == ["train", "val", "test"]


@pytest.mark.parametrize(("most", "side"), [((300, 400), 224), ((150, 500), 128), ((25, 40), 25)])
def test_photos_of_mixed_sizes_are_brought_to_one_that_half_of_them_have_and_that_is_said(tmp_path, most, side):
    photo_folder(tmp_path, 6, size=most)
    Image.fromarray(picture(9, (20, 30))).save(tmp_path / "class0" / "small.png")
    notes = Notes()
    (train,) = from_folder(tmp_path, batch_size=7, test=0, device="cpu", reporter=notes)
    assert all_of(train)[0].shape == (7, 3, side, side)
    (said,) = [text for text in notes.said if text.startswith("Size")]
    assert f"{side} x {side}: photos go from 30 x 20 to {most[1]} x {most[0]} pixels" in said


def test_a_photo_of_another_size_that_was_not_looked_at_is_brought_to_that_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("datastage.batches.photos.LOOKED_AT", 2)
    photo_folder(tmp_path, 6)
    Image.fromarray(picture(9, (40, 50))).save(tmp_path / "class0" / "1.png")
    notes = Notes()
    (train,) = from_folder(tmp_path, batch_size=7, test=0, device="cpu", reporter=notes)
    assert all_of(train)[0].shape == (7, 3, 20, 20)
    assert any("1 photos of another size were brought to 20 x 20" in text for text in notes.said)


def test_size_takes_the_square_in_the_middle(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "wide.png")
    (train,) = from_folder(tmp_path, batch_size=1, size=10, test=0, dtype="uint8", device="cpu", classes=["a"])
    assert (all_of(train)[0] == 200).all()


def test_unreadable_images_are_left_out_and_listed_once(tmp_path):
    photo_folder(tmp_path)
    (tmp_path / "class1" / "broken.jpg").write_bytes(b"<html>404</html>")
    (tmp_path / "class1" / "empty.jpg").write_bytes(b"")
    (tmp_path / "class1" / "huge.png").write_bytes(HUGE)
    notes = Notes()
    (train,) = from_folder(tmp_path, batch_size=5, size=20, test=0, device="cpu", reporter=notes)
    for _ in range(2):
        assert len(all_of(train)[1]) == 12
    assert [text for text in notes.said if "cannot be read" in text] == [
        "Left out  3 images that cannot be read: class1/broken.jpg (cannot identify image file), "
        "class1/empty.jpg (the file is empty), class1/huge.png (14000 x 14000 are more pixels than the 178,956,970 "
        "that are decoded)"
    ]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("bad", [[0], [2, 3], [4, 11], [8, 9, 10, 11], range(12)])
def test_an_evaluation_on_ranks_loses_unreadable_photos_and_is_padded_at_its_end_alone(
    tmp_path, monkeypatch, bad, size
):
    for i in range(12):
        file = tmp_path / "test" / f"class{i % 3}" / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(file)
    photo_folder(tmp_path / "train", 12)
    order = sorted((tmp_path / "test").rglob("*.png"), key=lambda file: (file.parent.name, file.name))
    for i in bad:
        order[i].write_bytes(b"no photo")
    shares = []
    for rank in range(size):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}.items():
            monkeypatch.setenv(name, str(value))
        test = from_folder(tmp_path, batch_size=2, size=8, dtype="uint8", device="cpu").test
        shares.append([(x[:, 0, 0, 0], y, test.valid) for x, y in test])
        assert len(shares[-1]) == len(test)
    gathered = [torch.cat(parts) for together in zip(*shares, strict=True) for parts in zip(*together)]
    values, labels, valid = (torch.cat(gathered[i::3]).tolist() for i in range(3))
    left = [i for i in range(12) if i not in bad]
    assert valid == [True] * len(left) + [False] * (len(valid) - len(left))
    assert values[: len(left)] == [20 * int(order[i].stem) for i in left]
    assert labels[: len(left)] == [i // 4 for i in left]


def test_unreadable_images_raise_if_that_is_asked_for(tmp_path):
    photo_folder(tmp_path)
    (tmp_path / "class1" / "broken.jpg").write_bytes(b"<html>404</html>")
    (train,) = from_folder(tmp_path, batch_size=5, size=20, test=0, unreadable="raise", device="cpu")
    with pytest.raises(IntegrityError, match="class1/broken.jpg"):
        list(train)


def test_a_second_loader_reads_the_packed_file_and_no_photo(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    options = {"batch_size": 5, "size": 16, "cache": cache, "shuffle": False, "dtype": "uint8", "device": "cpu"}
    first = all_of(from_folder(photos, **options).train)[0]
    for file in photos.rglob("*.png"):  # same size and time, other bytes
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        __import__("os").utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = all_of(from_folder(photos, **options).train)[0]
    assert (first == again).all()


def test_a_photo_that_changed_is_decoded_anew(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    options = {
        "batch_size": 12,
        "size": 20,
        "test": 0,
        "cache": cache,
        "shuffle": False,
        "dtype": "uint8",
        "device": "cpu",
    }
    all_of(from_folder(photos, **options).train)
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(photos / "class0" / "0.png")
    assert (all_of(from_folder(photos, **options).train)[0][0] == 7).all()


def test_a_photo_that_was_replaced_by_one_of_the_same_length_is_decoded_anew(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos", suffix=".bmp"), tmp_path / "cache"
    options = {"batch_size": 12, "size": 20, "test": 0, "cache": cache, "shuffle": False, "dtype": "uint8"}
    all_of(from_folder(photos, device="cpu", **options).train)
    file = photos / "class0" / "0.bmp"
    before = file.stat()
    Image.fromarray(np.full((20, 20, 3), 7, np.uint8)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert file.stat().st_size == before.st_size
    assert (all_of(from_folder(photos, device="cpu", **options).train)[0][0] == 7).all()


@pytest.mark.parametrize("harm", ["flip a byte", "cut", "no receipt", "another receipt"])
def test_a_packed_file_that_is_not_as_it_was_is_made_anew(tmp_path, harm):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    options = {
        "batch_size": 12,
        "size": 20,
        "test": 0,
        "cache": cache,
        "shuffle": False,
        "dtype": "uint8",
        "device": "cpu",
    }
    first = all_of(from_folder(photos, **options).train)[0]
    (packed,) = cache.glob("*.u8")
    data = bytearray(packed.read_bytes())
    if harm == "flip a byte":
        data[100] ^= 255
    elif harm == "cut":
        del data[-1:]
    elif harm == "no receipt":
        packed.with_suffix(".json").unlink()
        data[100] ^= 255
    else:
        receipt = json.loads(packed.with_suffix(".json").read_text())
        packed.with_suffix(".json").write_text(json.dumps({**receipt, "unreadable": "x"}))
    packed.write_bytes(data)
    assert (all_of(from_folder(photos, **options).train)[0] == first).all()


def test_a_first_epoch_that_was_broken_off_leaves_no_packed_file(tmp_path):
    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    made = from_folder(photos, batch_size=2, size=16, cache=cache, device="cpu")
    for _ in made.train:
        break
    del made, _
    gc.collect()
    end = time.monotonic() + 20
    while list(cache.iterdir()) and time.monotonic() < end:  # a thread may hold the last of it for a moment
        time.sleep(0.01)
    assert list(cache.iterdir()) == []


def test_no_room_is_said_beforehand_with_a_size_that_fits(tmp_path, monkeypatch):
    photo_folder(tmp_path)
    monkeypatch.setattr("datastage.batches.pixel_cache.free_bytes", lambda folder: 100_000)
    with pytest.raises(NoSpaceError, match=r"12 images of 224 x 224[\s\S]*size=\d"):
        from_folder(tmp_path, batch_size=5, size=224)


def zipped(folder, file, **options):
    with zipfile.ZipFile(file, "w", **options) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    return file


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_gives_what_its_folder_gives(tmp_path, compression):
    photos = photo_folder(tmp_path / "photos")
    archive = zipped(photos, tmp_path / "photos.zip", compression=compression)
    options = {"batch_size": 5, "test": 0, "shuffle": False, "dtype": "uint8", "device": "cpu"}
    ours = all_of(from_archive(FileReader(archive), **options).train)
    theirs = all_of(from_folder(photos, **options).train)
    assert all((a == b).all() for a, b in zip(ours, theirs))


def test_a_member_with_a_wrong_checksum_is_left_out(tmp_path):
    photos = photo_folder(tmp_path / "photos")
    archive = zipped(photos, tmp_path / "photos.zip")
    data = bytearray(archive.read_bytes())
    data[data.find(b"IDAT") + 20] ^= 1
    archive.write_bytes(data)
    (train,) = from_archive(FileReader(archive), batch_size=5, size=20, test=0, device="cpu")
    assert len(all_of(train)[1]) == 11


def test_random_resized_crops_come_out_at_the_size_asked_for_and_differ_by_epoch(tmp_path):
    photo_folder(tmp_path, size=(40, 50), suffix=".jpg")
    options = {"batch_size": 12, "size": 28, "test": 0, "dtype": "uint8", "device": "cpu"}
    (train,) = from_folder(tmp_path, augment=Augment(scale=(0.3, 1.0), flip=True), shuffle=False, **options)
    one, two = all_of(train)[0], all_of(train)[0]
    assert one.shape == (12, 3, 28, 28)
    assert (one != two).any()
    train.set_epoch(0)
    assert (all_of(train)[0] == one).all()


def test_photos_that_move_to_a_device_are_those_of_the_split(tmp_path, monkeypatch):
    from datastage.batches.devices import Choice
    from datastage.batches.options import LoaderOptions

    monkeypatch.setattr("datastage.batches.photos.has_room", lambda *sizes: True)
    choice = Choice(torch.device("cpu"), "cuda", "a stand-in")
    photo_folder(tmp_path, 30)
    for split in from_folder(tmp_path, batch_size=4, test=0.3, shuffle=False, dtype="uint8", device="cpu"):
        pixels, labels = all_of(split)
        held = split.source.open(choice, LoaderOptions(batch_size=4, dtype="uint8"))._held()
        assert (held._store.images.numpy() == pixels).all()
        assert (held._labels == labels).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("augment", [None, Augment(scale=(0.3, 1.0), flip=True)], ids=["whole", "crops"])
def test_memory_lies_as_was_asked_for_and_holds_the_same_pixels(tmp_path, augment, dtype):
    photo_folder(tmp_path, size=(40, 50))
    found = {}
    for memory_format in ("contiguous", "channels_last"):
        (train,) = from_folder(
            tmp_path, batch_size=4, size=28, test=0, augment=augment, dtype=dtype, memory_format=memory_format,
            device="cpu",
        )  # fmt: skip
        batches = [x for _ in range(2) for x, _ in train]
        wanted = getattr(torch, f"{memory_format}_format" if memory_format == "contiguous" else memory_format)
        assert all(x.is_contiguous(memory_format=wanted) for x in batches)
        found[memory_format] = torch.cat(batches)
    assert (found["contiguous"] == found["channels_last"]).all()


def test_batches_that_are_kept_are_not_written_over_by_later_ones(tmp_path):
    photo_folder(tmp_path, 40, size=(40, 40))
    for augment in (None, Augment(scale=(0.3, 1.0))):
        (train,) = from_folder(tmp_path, batch_size=2, size=16, test=0, augment=augment, dtype="uint8", device="cpu")
        for _ in range(2):
            seen = [(x, x.clone()) for x, _ in train]
            assert all((x == then).all() for x, then in seen)


@pytest.mark.parametrize(
    "augment",
    [Augment(flip=True), Augment(crop=3, flip=True), Augment(flip=True, cutout=6), Augment(scale=(0.3, 1.0), cutout=6)],
    ids=["flipped", "shifted", "with holes", "crops with holes"],
)
def test_photos_just_decoded_come_as_those_decoded_before(tmp_path, augment):
    photo_folder(tmp_path, 14, size=(40, 50))
    (train,) = from_folder(tmp_path, batch_size=4, size=28, test=0, augment=augment, dtype="uint8", device="cpu")
    first = all_of(train)
    train.set_epoch(0)
    then = all_of(train)
    assert (first[0] == then[0]).all()
    assert (first[1] == then[1]).all()


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize("augment", [None, Augment(flip=True), Augment(crop=2), Augment(scale=(0.3, 1.0), flip=True)])
def test_images_keep_their_labels_where_a_photo_among_them_cannot_be_read(tmp_path, augment, seed):
    for i in range(12):
        file = tmp_path / f"class{i:02}" / "a.png"
        file.parent.mkdir()
        Image.fromarray(np.full((40, 40, 3), 20 * i, np.uint8)).save(file)
    (tmp_path / "class05" / "b.png").write_bytes(b"no image")
    order = {"shuffle": False} if seed is None else {"seed": seed}  # in order it lies amid the second batch
    (train,) = from_folder(
        tmp_path, batch_size=5, size=16, test=0, augment=augment, dtype="uint8", device="cpu", **order
    )
    for _ in range(2):
        x, y = all_of(train)
        assert sorted(y.tolist()) == list(range(12))
        middle = x[:, 0, 8, 8]
        assert [pixel // 20 for pixel in middle.tolist()] == y.tolist()


def test_a_class_folder_that_is_a_link_is_read_and_a_circle_is_not(tmp_path):
    photo_folder(tmp_path / "elsewhere")
    (tmp_path / "photos" / "class1").mkdir(parents=True)
    (tmp_path / "elsewhere" / "class1").rename(tmp_path / "photos" / "class1" / "more")
    for name in ("class0", "class2"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "photos" / "class1" / "again").symlink_to(tmp_path / "photos")
    (train,) = from_folder(tmp_path / "photos", batch_size=5, size=16, test=0, device="cpu")
    assert (train.classes, train.n_samples) == (("class0", "class1", "class2"), 12)


def test_one_image_is_too_few_to_set_any_aside(tmp_path):
    photo_folder(tmp_path, 1)
    with pytest.raises(SpecError, match="test=0"):
        from_folder(tmp_path, batch_size=5, size=16, classes=["class0"])


@pytest.mark.skipif(shutil.which("zip") is None, reason="the zip command is not installed")
def test_a_zip_with_a_password_says_so_at_once(tmp_path):
    photos = photo_folder(tmp_path / "photos")
    subprocess.run(["zip", "-q", "-r", "-P", "secret", tmp_path / "photos.zip", "."], cwd=photos, check=True)
    with pytest.raises(PasswordError):
        from_archive(FileReader(tmp_path / "photos.zip"), batch_size=5, size=16)


def test_a_folder_without_images_says_what_is_needed(tmp_path):
    with pytest.raises(SpecError, match="images"):
        from_folder(tmp_path, batch_size=5)


def test_images_without_class_folders_are_told_so(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    with pytest.raises(SpecError, match="class folders"):
        from_folder(tmp_path, batch_size=5)


@pytest.mark.parametrize(("option", "value"), [("size", 0), ("size", True), ("unreadable", "ignore"), ("limit", 0)])
def test_a_wrong_option_is_named(tmp_path, option, value):
    photo_folder(tmp_path, 3)
    with pytest.raises(SpecError, match=option):
        from_folder(tmp_path, batch_size=5, **{option: value})


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.skipif(not ODD.is_dir(), reason="the odd photos of the test data are not on this machine")
def test_odd_photos_come_out_as_a_careful_reader_reads_them(tmp_path):
    from PIL import ImageOps

    from datastage.decode import JPEG_DECODERS, Unreadable, decode

    index = json.loads((ODD / "index.json").read_text())
    for entry in index:
        data = (ODD / entry["file"]).read_bytes()
        for decoder in [name for name in JPEG_DECODERS if importlib.util.find_spec(name)]:
            if not entry["loads"]:
                with pytest.raises(Unreadable):
                    decode(data, None, decoder)
                continue
            pixels = decode(data, None, decoder).astype(int)
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
            if entry["mode"] == "I;16":
                expected = np.asarray(image).astype(int)[..., None].repeat(3, 2) >> 8
            else:
                expected = np.asarray(image.convert("RGB")).astype(int)
            assert pixels.shape == expected.shape, entry["file"]
            assert abs(pixels - expected).mean() < 1.0, (entry["file"], decoder)
    photos = tmp_path / "odd" / "class"
    shutil.copytree(ODD, photos)
    notes = Notes()
    (train,) = from_folder(
        tmp_path / "odd", batch_size=8, size=64, test=0, device="cpu", reporter=notes, classes=["class"]
    )
    assert len(all_of(train)[1]) == sum(entry["loads"] for entry in index)


def test_several_processes_of_a_machine_decode_once(tmp_path):
    from datastage.batches.image_files import FolderImages
    from datastage.batches.pixel_cache import PixelCache
    from datastage.decode import Fit

    photos, cache = photo_folder(tmp_path / "photos"), tmp_path / "cache"
    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.png"))
    read = []

    class Watched(FolderImages):
        def read(self, name):
            read.append(name)
            return super().read(name)

    def packed():
        return PixelCache(Watched(str(photos)), names, Fit((20, 20)), last=False, folder=cache)

    one, two = packed(), packed()
    one.complete_once()
    two.complete_once()
    assert len(read) == 12
    assert (one.rows == two.rows).all()
    assert len(list(cache.iterdir())) == 2


def test_a_limit_takes_photos_of_every_class_of_a_sorted_folder_and_the_same_ones_again(tmp_path):
    photo_folder(tmp_path, 60)
    taken = []
    for _ in range(2):
        (train,) = from_folder(tmp_path, batch_size=4, test=0, limit=12, shuffle=False, device="cpu", dtype="uint8")
        taken.append(all_of(train))
    assert set(taken[0][1].tolist()) == {0, 1, 2}
    assert (taken[0][0] == taken[1][0]).all()


def test_limit_and_val_hold_for_photos(tmp_path):
    photo_folder(tmp_path, 40)
    train, val = from_folder(tmp_path, batch_size=4, test=0, val=10, limit=8, device="cpu")
    assert (train.n_samples, val.n_samples) == (8, 8)
    train, val = from_folder(tmp_path, batch_size=4, test=0, val=10, device="cpu")
    assert (train.n_samples, val.n_samples) == (30, 10)


def test_the_first_epoch_goes_on_exactly_where_it_was_stopped(tmp_path):
    photo_folder(tmp_path, 20, size=(40, 40))
    options = {"batch_size": 3, "size": 16, "test": 0, "augment": Augment(scale=(0.3, 1.0)), "device": "cpu"}
    (train,) = from_folder(tmp_path, **options)
    running = iter(train)
    next(running), next(running)
    (resumed,) = from_folder(tmp_path, **options)
    resumed.load_state_dict(train.state_dict())
    assert all((a == b).all() for (a, _), (b, _) in zip(running, resumed, strict=True))


def test_a_loop_that_is_left_does_not_wait_for_the_batch_that_was_being_made(tmp_path, monkeypatch):
    from datastage.batches import pixel_cache

    photo_folder(tmp_path, 60, size=(40, 40))
    decoded, slow = [], threading.Event()

    def decode(*args):
        decoded.append(1)
        if slow.is_set():
            time.sleep(0.05)
        return plain(*args)

    plain = pixel_cache.decode
    monkeypatch.setattr(pixel_cache, "decode", decode)
    (train,) = from_folder(tmp_path, batch_size=30, size=16, test=0, device="cpu")
    slow.set()
    running = iter(train)
    next(running)
    time.sleep(0.1)
    running.close()
    assert len(decoded) < 60
    slow.clear()
    assert len(all_of(train)[1]) == 60


def test_a_disk_that_fails_when_the_pixels_are_written_is_an_error_of_the_next_epoch(tmp_path, monkeypatch):
    def fsync(fd):
        raise OSError(5, "Input/output error")

    photo_folder(tmp_path / "photos")
    cache = tmp_path / "cache"
    (train,) = from_folder(tmp_path / "photos", batch_size=4, size=16, test=0, cache=cache, device="cpu")
    monkeypatch.setattr(os, "fsync", fsync)
    assert len(all_of(train)[1]) == 12
    with pytest.raises(StorageError, match="finishing the packed file"):
        next(iter(train))
    assert list(cache.iterdir()) == []


def test_who_wants_pixels_that_are_being_written_waits_for_them(tmp_path, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    plain = os.fsync

    def fsync(fd):
        begun.set()
        assert go.wait(60)
        plain(fd)

    photos = photo_folder(tmp_path / "photos")
    options = {"batch_size": 4, "size": 16, "test": 0, "cache": tmp_path / "cache", "device": "cpu"}
    monkeypatch.setattr(os, "fsync", fsync)
    (train,) = from_folder(photos, **options)
    assert len(list(train)) == 3  # the epoch ends before the disk does
    assert begun.wait(60)
    threading.Timer(0.2, go.set).start()
    monkeypatch.setattr("datastage.batches.pixel_cache.decode", lambda *args: pytest.fail("a photo was decoded"))
    (again,) = from_folder(photos, **options)
    assert len(all_of(again)[1]) == 12


def far_away(tmp_path, monkeypatch):
    """A folder that stands for one on Drive, and the folder that stands for this machine's disk."""
    far, near = tmp_path / "drive" / "pixels", tmp_path / "near"
    monkeypatch.setattr("datastage.mounts.is_network_disk", lambda path: Path(path) == far)
    monkeypatch.setenv("DATASTAGE_ROOT", str(near))
    return far, near


def test_pixels_kept_on_a_far_disk_are_made_here_and_copied_there(tmp_path, monkeypatch):
    photos = photo_folder(tmp_path / "photos")
    far, near = far_away(tmp_path, monkeypatch)
    (train,) = from_folder(photos, batch_size=4, size=16, test=0, cache=far, device="cpu")
    running = iter(train)
    next(running)
    assert not far.exists()
    list(running)
    wait_for_the_disk()
    assert sorted(file.suffix for file in far.iterdir()) == [".json", ".u8"]
    assert str(near) in train.explain()


def test_pixels_on_a_far_disk_are_brought_once_and_no_photo_is_read(tmp_path, monkeypatch):
    photos = photo_folder(tmp_path / "photos")
    far, near = far_away(tmp_path, monkeypatch)
    options = {"batch_size": 4, "size": 16, "test": 0, "cache": far, "device": "cpu", "shuffle": False}
    (train,) = from_folder(photos, **options)
    before = all_of(train)[0]
    shutil.rmtree(near)
    monkeypatch.setattr("datastage.batches.pixel_cache.decode", lambda *args: pytest.fail("a photo was decoded"))
    (again,) = from_folder(photos, **options)
    shutil.rmtree(far)
    assert (all_of(again)[0] == before).all()


def test_a_far_disk_that_is_full_is_said_and_is_no_error(tmp_path, monkeypatch):
    photos = photo_folder(tmp_path / "photos")
    far, _ = far_away(tmp_path, monkeypatch)
    far.parent.write_text("no folder")
    notes = Notes()
    (train,) = from_folder(photos, batch_size=4, size=16, test=0, cache=far, device="cpu", reporter=notes)
    assert len(all_of(train)[1]) == 12
    assert any("could not be kept" in note for note in notes.said)
