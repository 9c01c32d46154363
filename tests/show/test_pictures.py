"""Pictures of data: what is drawn says what the data is, and looking uses nothing up."""

import io
import subprocess
import sys
import tarfile
import warnings
import wave
import zipfile

import numpy as np
import pytest

import datastage
from datastage import cli
from datastage.errors import DatastageError, IntegrityError, SpecError, StorageError

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for label, (name, n) in enumerate((("cat", 12), ("dog", 30))):
            for i in range(n):
                Image.new("RGB", (30 + i, 24), (100 * label + 50, i, 0)).save("one.png")
                archive.write("one.png", f"{name}/{i}.png")
        archive.writestr("dog/bad.png", b"no picture")
    return tmp_path / "photos.zip"


def titles(figure):
    parts = figure.subfigs or [figure]
    return [[cell.get_title() for cell in part.axes if cell.get_title()] for part in parts]


def test_a_grid_shows_samples_from_all_over_the_data_with_their_labels(photos):
    (shown,) = titles(datastage.preview(photos))

    assert len(shown) >= 15
    assert set(shown) == {"cat", "dog"}


SHOWN = """
import sys, datastage
from IPython.core.formatters import DisplayFormatter
assert "matplotlib.pyplot" not in sys.modules
data, _ = DisplayFormatter().format(datastage.preview("photos.zip", n=4))
print(sorted(data), data["image/png"][:4])
"""


def test_a_notebook_shows_the_picture_where_nobody_has_asked_matplotlib_to(photos):
    pytest.importorskip("IPython")
    shown = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True)

    assert shown.stdout.strip() == r"['image/png', 'text/plain'] b'\x89PNG'", shown.stderr


def test_what_training_gets_is_shown_where_it_differs(photos):
    made = datastage.loaders(photos, batch_size=8, size=16, augment=datastage.Augment(flip=True), progress=False)

    as_they_are, as_trained = titles(datastage.preview(made))

    assert as_they_are
    assert len(as_trained) == 8


def test_looking_begins_no_epoch_of_the_loader(photos):
    def made():
        return datastage.loaders(
            photos, batch_size=8, size=16, augment=datastage.Augment(flip=True), progress=False
        ).train

    looked_at, other = made(), made()
    datastage.preview(looked_at)

    for (x, y), (x2, y2) in zip(looked_at, other, strict=True):
        assert (y == y2).all()
        assert (x == x2).all()


def test_the_first_rows_of_a_table_are_shown():
    pytest.importorskip("sklearn")
    (axes,) = datastage.preview("iris", n=5).axes

    cells = {text.get_text().get_text() for text in axes.tables[0].get_celld().values()}
    assert "setosa" in cells


def test_a_dataset_of_the_users_own_is_shown():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.rand(20, 3, 8, 8), torch.arange(20))

    (shown,) = titles(datastage.preview(data, n=4))

    assert shown == ["2", "7", "12", "17"]


def test_of_what_can_only_be_iterated_as_many_samples_are_shown_as_were_asked_for():
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (own_picture(2 * i) for i in range(20))

    (shown,) = titles(datastage.preview(Stream(), n=5))

    assert shown == ["0", "2", "1", "0", "2"]


def test_a_summary_counts_classes_and_names_what_is_damaged(photos):
    figure = datastage.summary(photos)

    classes, sizes = figure.axes
    assert {label.get_text() for label in classes.get_yticklabels()} == {"cat", "dog"}
    assert sorted(bar.get_width() for bar in classes.patches) == [12, 31]
    assert {text.get_text().strip() for text in classes.texts} == {"12", "31"}
    assert "42 pictures" in sizes.get_title()
    assert "24" in sizes.get_legend().get_texts()[0].get_text()
    assert (sizes.get_xlabel(), set(sizes.collections[0].get_offsets()[:, 1])) == ("width", {24})
    assert "dog/bad.png" in figure.get_supxlabel()


def test_the_counts_of_loaders_are_those_of_their_splits(photos):
    made = datastage.loaders(photos, batch_size=8, size=16, val=0.2, progress=False)

    (classes,) = datastage.summary(made).axes

    assert sum(bar.get_width() for bar in classes.patches) == 43
    assert len(classes.get_legend().get_texts()) == 3
    for train, val, test in zip(*classes.containers, strict=True):  # one behind the other
        assert (val.get_x(), test.get_x()) == (train.get_width(), train.get_width() + val.get_width())


class Own:
    """A dataset of a user's own that names neither classes nor targets."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return self.make(i)


def own_picture(i):
    return np.full((3, 8 + i % 2, 8), i / 40, np.float32), i % 3


def test_the_pixels_that_are_drawn_are_those_of_the_sample():
    import torch

    data = torch.utils.data.TensorDataset(torch.rand(3, 3, 6, 8), torch.arange(3))
    (part,) = datastage.preview(data, n=3).subfigs

    for cell, (x, _) in zip(part.axes[:3], data, strict=True):
        assert np.array_equal(cell.images[0].get_array(), x.permute(1, 2, 0))


def test_of_tensors_the_last_are_the_labels():
    import torch

    data = torch.utils.data.TensorDataset(torch.rand(9, 3, 8, 8), torch.arange(9) % 2)

    assert [bar.get_width() for bar in datastage.summary(data).axes[0].patches] == [5, 4]


def test_labels_of_a_long_dataset_are_taken_from_all_over_it_and_that_is_said():
    class Long(Own):
        def __len__(self):
            return 1000

    figure = datastage.summary(Long(lambda i: (np.zeros((8, 8), np.uint8), i // 500)))

    assert [bar.get_width() for bar in figure.axes[0].patches] == [250, 250]
    assert "the labels of 500 of 1,000 samples" in figure.get_supxlabel()


@pytest.mark.parametrize("wrap", ["dataset", "dataloader", "fed"])
def test_classes_of_a_dataset_of_the_users_own_are_counted(wrap):
    import torch

    data = Own(own_picture)
    if wrap != "dataset":
        data = torch.utils.data.DataLoader(data, batch_size=1)
    if wrap == "fed":
        data = datastage.feed(data, device="cpu", progress=False)

    classes, sizes = datastage.summary(data).axes

    assert sorted(bar.get_width() for bar in classes.patches) == [13, 13, 14]
    assert "40 pictures" in sizes.get_title()


@pytest.mark.parametrize(
    "make",
    [
        lambda i: {"image": Image.new("L", (8, 8), i), "label": i % 2},
        lambda i: (np.zeros((8, 8), np.uint8), "abc"[i % 3]),
        lambda i: Image.new("RGB", (8, 8)),
        lambda i: ("some words", 1),
        lambda i: {"text": "some words", "label": 0},
    ],
)
def test_whatever_samples_a_dataset_gives_they_are_drawn(make):
    assert datastage.preview(Own(make), n=4).axes
    assert datastage.summary(Own(make)).axes


def stream(samples):
    """Return a DataLoader of what can be iterated once, and not copied."""
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __init__(self):
            self.samples = (sample for sample in samples)

        def __iter__(self):
            return self.samples

    return torch.utils.data.DataLoader(Stream(), batch_size=2)


def test_what_can_be_iterated_once_is_not_used_up():
    given = stream([own_picture(0)] * 8)

    with pytest.raises(SpecError, match="use up"):
        datastage.preview(given)
    assert len(list(given)) == 4


def test_what_gives_no_sample_has_nothing_to_draw():
    import torch

    class Empty(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(SpecError, match="no sample"):
        datastage.preview(torch.utils.data.DataLoader(Empty(), batch_size=2))


def test_a_damaged_picture_is_an_error_and_never_black(photos):
    made = datastage.loaders(photos, batch_size=8, size=16, test=0, progress=False)
    dataset = made.train.dataset

    bad = 0
    for i in range(len(dataset)):
        try:
            dataset[i]
        except IntegrityError:
            bad += 1
    assert bad == 1
    (shown,) = titles(datastage.preview(made, n=len(dataset)))
    assert len(shown) == len(dataset) - 1


def test_the_command_writes_the_picture(photos, capsys):
    assert cli.main(["preview", "photos.zip", "--out", "a.png", "-n", "4"]) == 0
    assert cli.main(["summary", "photos.zip", "--out", "b.png"]) == 0

    assert capsys.readouterr().out.split() == ["a.png", "b.png"]
    for name in ("a.png", "b.png"):
        assert np.asarray(Image.open(name)).std() > 1


def test_the_command_asks_for_a_file(photos, capsys):
    assert cli.main(["preview", "photos.zip"]) == SpecError.exit_code
    assert "--out preview.png" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cost $5", "$x^2$", "a_b_{c}", "\u732b", "\\frac", "100%"])
def test_names_are_drawn_letter_by_letter(name, tmp_path):
    for i in range(4):
        for kind in (name, "other"):
            (tmp_path / "p" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 7), (i, 0, 0)).save(tmp_path / "p" / kind / f"{i}.png")

    for figure in (datastage.preview(tmp_path / "p"), datastage.summary(tmp_path / "p")):
        drawn = [
            text for axes in figure.axes for text in (axes.title, *axes.get_yticklabels()) if text.get_text() == name
        ]
        assert drawn
        assert not any(text.get_parse_math() for text in drawn)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a letter that no font has is no news
            figure.savefig("a.png")


def test_wide_pictures_leave_no_gap_between_the_rows():
    torch = pytest.importorskip("torch")
    wide, square = (
        datastage.preview(torch.utils.data.TensorDataset(torch.rand(16, 3, 10, side), torch.arange(16)))
        for side in (20, 10)
    )

    assert wide.get_figheight() < 0.8 * square.get_figheight()


def cells_of(figure):
    return [text.get_text().get_text() for text in figure.axes[0].tables[0].get_celld().values()]


@pytest.mark.parametrize("others", ["", ",words here"])
def test_of_a_table_the_first_rows_are_shown_by_its_own_columns(others):
    with open("people.csv", "w") as file:
        file.write(f"age,height{',name' if others else ''},survived\n")
        file.writelines(f"{20 + i},{i * 1.5}{others and f',n{i}'},{i % 2}\n" for i in range(40))

    figure = datastage.preview("people.csv", n=5)

    assert {"age", "height", "survived", "24"} <= set(cells_of(figure))
    assert "25" not in cells_of(figure)
    assert figure.axes[0].get_title().startswith("people.csv: the first 5 rows")


def test_a_table_that_no_model_takes_as_it_is_is_summed_up_by_its_columns():
    with open("people.csv", "w") as file:
        file.write("age,sex,survived\n")
        file.writelines(f"{20 + i if i > 2 else ''},{'mf'[i % 2]},{i // 20}\n" for i in range(40))

    assert {"sex", "words", "m, f", "37", "3"} <= set(cells_of(datastage.summary("people.csv")))


def test_the_table_that_is_learnt_from_is_shown_before_others(tmp_path):
    for name in ("a", "train"):
        (tmp_path / f"{name}.csv").write_text("who,what\n" + "".join(f"n{i},x y {i}\n" for i in range(30)))

    assert datastage.preview(tmp_path, n=3).axes[0].get_title().startswith("train.csv")


def test_labels_that_only_the_user_can_tell_are_those_that_are_drawn(tmp_path):
    (tmp_path / "flat").mkdir()
    for i in range(8):
        Image.new("RGB", (12, 9), (i, 0, 0)).save(tmp_path / f"flat/{i}.png")
    (tmp_path / "flat/labels.csv").write_text(
        "file,kind,other\n" + "".join(f"{i}.png,{'ab'[i % 2]},c{i // 2}\n" for i in range(6))
    )

    (shown,) = titles(datastage.preview("./flat", labels="labels.csv:kind"))
    counted = datastage.summary("./flat", labels="labels.csv:kind")

    assert set(shown) == {"a", "b"}
    assert {label.get_text() for label in counted.axes[0].get_yticklabels()} == {"a", "b"}
    assert "Left out" in counted.get_supxlabel()
    with pytest.raises(SpecError):  # and no picture without them
        datastage.preview("./flat", labels="(owl)[.]")


def test_pictures_without_labels_are_shown_and_said_to_have_none(tmp_path):
    for i in range(5):
        (tmp_path / "one/cat").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9), (i, 0, 0)).save(tmp_path / f"one/cat/{i}.png")

    shown = datastage.preview("./one")
    counted = datastage.summary("./one")

    assert titles(shown) == [["cat"] * 5]
    assert "No labels" in shown.subfigs[0].get_suptitle()
    assert [bar.get_width() for bar in counted.axes[0].patches] == [5]
    assert "No labels" in counted.get_supxlabel()


def test_pictures_without_labels_are_shown_the_way_up_that_their_camera_noted(tmp_path):
    (tmp_path / "one/cat").mkdir(parents=True)
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new("RGB", (12, 9)).save(tmp_path / "one/cat/1.jpg", exif=lying)

    (part,) = datastage.preview("./one").subfigs

    assert part.axes[0].images[0].get_array().shape == (12, 9, 3)


def test_an_archive_that_is_no_zip_is_looked_into(tmp_path):
    for i in range(6):
        for kind in ("cat", "dog"):
            (tmp_path / "p" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 9), (i, 0, 0)).save(tmp_path / f"p/{kind}/{i}.png")
    for name, folder in (("two", "p"), ("one", "p/cat")):
        with tarfile.open(f"{name}.tar.gz", "w:gz") as archive:
            archive.add(folder, "top/cat" if name == "one" else "top")

    assert titles(datastage.preview("./one.tar.gz")) == [["cat"] * 6]
    for name, n in (("one", 6), ("two", 12)):
        figure = datastage.summary(f"./{name}.tar.gz")
        assert figure.axes[1].get_title() == f"{n} pictures of 12 x 9 pixels"
        assert "Damaged" not in str(figure.get_supxlabel())


def test_texts_and_sounds_are_shown_by_how_they_begin(tmp_path):
    for i in range(6):
        for kind in ("good", "bad"):
            (tmp_path / "texts" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "texts" / kind / f"{i}.txt").write_text(f"a {kind} film {i}\n" * 99)
            (tmp_path / "sounds" / kind).mkdir(parents=True, exist_ok=True)
            with wave.open(str(tmp_path / "sounds" / kind / f"{i}.wav"), "wb") as sound:
                sound.setparams((1, 2, 8000, 0, "NONE", ""))
                sound.writeframes(np.arange(800, dtype=np.int16).tobytes())

    assert any(cell.startswith("a good film 3 a good") for cell in cells_of(datastage.preview("./texts")))
    assert {axes.get_ylabel() for axes in datastage.preview("./sounds").axes} == {"good", "bad"}
    assert {6} == {bar.get_width() for bar in datastage.summary("./sounds").axes[0].patches}


@pytest.mark.parametrize(
    ("n_bytes", "wanted"), [(1, np.arange(80, dtype=np.uint8)), (2, np.arange(80, dtype=np.int16))]
)
def test_a_sound_is_drawn_by_its_first_channel_and_in_seconds(n_bytes, wanted, tmp_path):
    samples = np.stack([wanted + 100, 0 * wanted], axis=1)
    (tmp_path / "sounds/one").mkdir(parents=True)
    with wave.open(str(tmp_path / "sounds/one/1.wav"), "wb") as sound:
        sound.setparams((2, n_bytes, 800, 0, "NONE", ""))
        sound.writeframes(samples.tobytes())

    (axes,) = datastage.preview("./sounds").axes
    (line,) = axes.lines

    assert np.array_equal(line.get_ydata(), wanted + 100)
    assert line.get_xdata()[-1] == pytest.approx(0.1, rel=0.02)


def test_what_holds_nothing_to_show_is_the_error_of_loaders(tmp_path):
    (tmp_path / "empty").mkdir()

    for draw in (datastage.preview, datastage.summary):
        with pytest.raises(DatastageError, match="is empty"):
            draw("./empty")
    with pytest.raises(SpecError, match="There is no dataset"):
        datastage.preview("cifar1000")


def test_a_picture_that_cannot_be_written_is_an_error_with_a_remedy(photos, capsys):
    assert cli.main(["preview", "photos.zip", "--out", "nowhere/a.png"]) == StorageError.exit_code
    assert "Next: another --out" in capsys.readouterr().err
    assert cli.main(["preview", "photos.zip", "--out", "a.photo"]) == SpecError.exit_code
    assert "png" in capsys.readouterr().err


def test_a_figure_is_written_into_an_open_file(photos):
    for draw in (datastage.preview, datastage.summary):
        draw(photos, out=(made := io.BytesIO()))
        assert made.getvalue().startswith(b"\x89PNG")
