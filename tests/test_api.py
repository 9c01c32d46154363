"""From a line to a batch: staged data, arrays and folders all feed the same way."""

import zipfile

import pytest

import datastage
from datastage.errors import DatastageError, SpecError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
benchmark = pytest.importorskip("datastage.batches.benchmark")
pytestmark = pytest.mark.usefixtures("here")


def pictures(n=40, size=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, size, size, 3), np.uint8), rng.integers(0, 4, n)


def picture_zip(path, n=40):
    image = pytest.importorskip("PIL.Image")
    import io

    images, labels = pictures(n)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            png = io.BytesIO()
            image.fromarray(pixels).save(png, "PNG")
            archive.writestr(f"{path.stem}/{'abcd'[label]}/{number:03}.png", png.getvalue())
    return images, labels


def everything(loader):
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_arrays_come_out_as_normalised_batches_with_their_labels():
    images, labels = pictures()
    (train,) = datastage.loaders((images, labels), batch_size=16, shuffle=False, progress=False)
    x, y = everything(train)
    assert (x.shape, x.dtype) == ((40, 3, 8, 8), torch.float32)
    assert y.tolist() == labels.tolist()


def test_a_zip_of_class_folders_feeds_by_its_spec(here):
    images, labels = picture_zip(here / "pets.zip")
    train, test = datastage.loaders("./pets.zip", batch_size=16, progress=False)
    x, y = everything(train)
    a, b = everything(test)
    assert len(x) + len(a) == 40
    assert sorted(torch.cat([y, b]).tolist()) == sorted(labels.tolist())
    assert list(train.classes) == ["a", "b", "c", "d"]


def test_what_was_staged_feeds_without_staging_again(here):
    picture_zip(here / "pets.zip")
    staged = datastage.stage("./pets.zip", progress=False)
    (train,) = datastage.loaders(staged, batch_size=16, test=0, progress=False)
    assert len(everything(train)[0]) == 40


def test_a_plain_path_of_a_staged_folder_feeds_too(here):
    picture_zip(here / "pets.zip")
    staged = datastage.stage("./pets.zip", progress=False)
    (train,) = datastage.loaders(str(staged), batch_size=16, test=0, progress=False)
    assert len(everything(train)[0]) == 40


def test_a_folder_within_what_was_staged_is_read_alone(here):
    with zipfile.ZipFile(here / "pets.zip", "w") as archive:
        for name in ("train/cat/1.png", "train/dog/1.png", "train/cow/1.png", "test/cat/2.png", "test/dog/2.png"):
            archive.writestr(name, b"")
    staged = datastage.stage("./pets.zip", progress=False)
    assert datastage.read(staged / "test", progress=False).classes == ("cat", "dog")


def test_the_path_of_a_staged_entry_is_still_that_entry(here, small_entry):
    path = str(datastage.stage(small_entry.name, fallbacks=["./source"], progress=False))
    train, test = datastage.loaders(path, batch_size=16, progress=False)
    assert list(train.classes) == list(small_entry.classes)
    assert len(everything(test)[0]) == 10


def test_an_entry_feeds_with_its_own_normalisation_and_augmentation(here, small_entry):
    datastage.stage(small_entry.name, fallbacks=["./source"], progress=False)
    train, test = datastage.loaders(small_entry.name, batch_size=10, progress=False)
    x, y = next(iter(test))
    images, labels = datastage.stage(small_entry.name, progress=False).arrays("test")
    want = (images.transpose(0, 3, 1, 2) / 255 - np.array(small_entry.mean).reshape(3, 1, 1)) / np.array(
        small_entry.std
    ).reshape(3, 1, 1)
    np.testing.assert_allclose(x.numpy(), want, atol=1e-5)
    assert y.tolist() == labels.tolist()
    assert "crop=1" in train.explain()
    assert "crop" not in test.explain()


@pytest.fixture
def small_entry(here):
    """A dataset of the test's own, registered for the length of the test, whose files lie in ./source."""
    import hashlib

    from datastage import datasets

    images, labels = pictures(30)
    data = {"train": (images[:20], labels[:20]), "test": (images[20:], labels[20:])}
    (here / "source").mkdir()
    files = []
    for split, (x, y) in data.items():
        content = x.tobytes() + y.astype(np.int64).tobytes()
        (here / "source" / f"{split}.bin").write_bytes(content)
        files.append(datastage.datasets.File(f"{split}.bin", len(content), hashlib.md5(content).hexdigest()))

    def read(path, split):
        n = {"train": 20, "test": 10}[split]
        content = (path / f"{split}.bin").read_bytes()
        pixels = np.frombuffer(content, np.uint8, n * 192).reshape(n, 8, 8, 3)
        return pixels, np.frombuffer(content, np.int64, n, n * 192)

    entry = datastage.Entry(
        name="small_test_entry",
        title="a small test entry",
        files=tuple(files),
        read=read,
        classes=("a", "b", "c", "d"),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        augment={"crop": 1},
        splits={"train": 20, "test": 10},
    )
    datastage.register(entry)
    yield entry
    datasets._entries.pop(entry.name)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 16, "dtype": "float8"},
        {"batch_size": 16, "device": "gpu"},
        {"batch_size": 16, "memory_format": "channels_first"},
        {"batch_size": 16, "val": 1.5},
    ],
)
def test_an_option_that_makes_no_sense_is_an_error_of_ours(options):
    name = next((name for name in options if name != "batch_size"), "batch_size")
    with pytest.raises(SpecError, match=name):
        for loader in datastage.loaders(pictures(), progress=False, **options):
            next(iter(loader))


def test_arrays_of_different_lengths_are_refused():
    images, labels = pictures()
    with pytest.raises(DatastageError):
        datastage.loaders((images, labels[:-1]), batch_size=16, progress=False)


def test_registering_a_name_that_is_taken_is_refused():
    with pytest.raises(SpecError, match="taken"):
        datastage.register(
            datastage.Entry("mnist", "mine", (datastage.datasets.File("a", 1),), lambda path, split: None)
        )


def test_feed_takes_any_torch_dataset():
    images, labels = pictures()
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    loader = datastage.feed(dataset, batch_size=16, progress=False)
    x, y = everything(loader)
    assert sorted(y.tolist()) == sorted(labels.tolist())
    assert len(x) == 40


def test_what_is_neither_a_place_nor_arrays_is_sent_to_feed():
    with pytest.raises(SpecError, match="feed"):
        datastage.loaders(torch.utils.data.TensorDataset(torch.zeros(3)), batch_size=2, progress=False)


@pytest.mark.parametrize("option", [{"cache": "pixels"}, {"unreadable": "raise"}])
def test_options_of_photos_are_refused_for_arrays_and_not_ignored(here, small_entry, option):
    for data in (pictures(), datastage.stage(small_entry.name, fallbacks=["./source"], progress=False)):
        with pytest.raises(SpecError, match="is for folders and archives of photos"):
            datastage.loaders(data, batch_size=16, progress=False, **option)


def test_numbers_and_names_of_numpy_and_torch_are_taken():
    options = {"batch_size": np.int64(16), "val": np.float64(0.25), "limit": np.int32(32), "seed": torch.tensor(3)}
    more = {"dtype": torch.float16, "memory_format": torch.channels_last}
    train, val = datastage.loaders(pictures(), progress=False, device="cpu", **options, **more)
    x, _ = next(iter(train))
    assert (len(x), x.dtype, train.n_samples + val.n_samples) == (16, torch.float16, 40)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_folders_that_hold_the_parts_are_those_that_are_named(here):
    for part, n in (("learn", 3), ("check", 2), ("exam", 1)):
        for i in range(n):
            (here / "set" / part / "cat").mkdir(parents=True, exist_ok=True)
            (here / "set" / part / "cat" / f"{i}.png").touch()
            (here / "set" / part / "dog").mkdir(parents=True, exist_ok=True)
            (here / "set" / part / "dog" / f"{i}.png").touch()
    reading = datastage.read("./set", val="check", test="exam", progress=False)
    assert {part: len(split) for part, split in reading.splits.items()} == {"train": 6, "val": 4, "test": 2}


def test_bench_times_the_size_that_is_asked_for(here, monkeypatch):
    monkeypatch.setattr(benchmark, "bench", lambda made: made)
    picture_zip(here / "pets.zip")
    made = datastage.bench("./pets.zip", batch_size=4, size=(6, 5), classes=["d", "a"], device="cpu", progress=False)
    assert next(iter(made.train))[0].shape == (4, 3, 6, 5)
    assert made.classes == ("d", "a")


def test_bench_takes_the_labels_that_the_data_does_not_tell(here, monkeypatch):
    monkeypatch.setitem(benchmark.bench.__kwdefaults__, "seconds", 0.2)
    picture_zip(here / "pets.zip")
    flat = here / "flat"
    flat.mkdir()
    with zipfile.ZipFile(here / "pets.zip") as archive:
        for name in archive.namelist():
            (flat / name.rpartition("/")[2]).write_bytes(archive.read(name))
    with pytest.raises(SpecError, match="labels"):
        datastage.bench("./flat", batch_size=16, device="cpu", progress=False)
    named = {"labels": lambda name: "even" if int(name[-7:-4]) % 2 == 0 else "odd", "classes": ["odd", "even"]}
    rows = datastage.bench("./flat", batch_size=16, device="cpu", progress=False, **named)
    assert [row.name.split(",")[0] for row in rows[:2]] == ["this feed", "this feed"]
