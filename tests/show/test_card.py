"""What a notebook shows of a value."""

import base64
import dataclasses
import html.parser
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import datastage
from datastage.progress import Silent
from datastage.show import look
from datastage.show.card import Card, card_of, count_bars, staged_card
from datastage.show.lines import spread
from datastage.staged import Staged

RECEIPT = {
    "spec": "drive:datasets.zip",
    "seen": "datasets.zip, 1.2 GB, in My Drive",
    "seconds": 44.0,
    "steps": {"copying": 3.1, "unpacking": 40.9, "checking": 0.1},
    "attempts": [{"place": "https://example.org/a.zip", "failure": "the server answered 404"}],
    "format": "zip",
    "n_files": 50_000,
    "n_bytes": 1_188_000_000,
    "left_out": {"__MACOSX": 50_000},
    "stripped": "datasets",
    "licence": "CC BY 4.0",
    "single": "x",
}
NASTY = '<script>alert("1")</script>&\udcff\x1b[2J'


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.images, self.styles = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.images += [dict(attrs)["src"]] if tag == "img" else []
        self.styles.append(dict(attrs).get("style", ""))

    def handle_data(self, data):
        self.words.append(data)


def card(receipt, path="/staged/x"):
    return staged_card(Staged(Path(path), receipt))


def test_a_card_says_what_the_lines_say():
    page = Page(card(RECEIPT, "/content/staged/datasets-3f9a").html())

    assert {"Found", "Copied", "Left out", "File", "Licence", "CC BY 4.0", "drive:datasets.zip"} <= set(page.words)


def test_a_card_says_what_was_tried_and_how_long_each_step_took():
    words = Page(card(RECEIPT).html()).words

    assert "https://example.org/a.zip: the server answered 404" in words
    assert "copying 3 s, unpacking 41 s" in words
    assert "50,000 files, 1.2 GB" in words


def test_of_many_places_that_were_tried_three_are_named_and_the_others_counted():
    tried = [{"place": f"https://h{n}.example/a.zip", "failure": "it is gone"} for n in range(5)]
    words = Page(card({**RECEIPT, "attempts": [*tried, {"place": "drive:a.zip"}]}).html()).words

    assert sum("it is gone" in word for word in words) == 3
    assert "and 2 more" in words


def test_a_row_that_needs_two_lines_stays_one_row():
    words = Page(card(RECEIPT, "/content/" + "long/" * 20).html()).words

    assert any(word.endswith('(the outer folder "datasets" was taken off)') for word in words)
    assert "" not in words


@pytest.mark.parametrize("key", ["spec", "seen", "stripped", "licence", "encoding"])
def test_nothing_of_a_receipt_becomes_markup(key):
    page = Page(card({**RECEIPT, key: NASTY}).html())

    assert "script" not in page.tags
    assert any("<script>" in word for word in page.words)


def test_a_card_can_be_sent_to_the_front_end_whatever_the_names():
    card({**RECEIPT, "spec": NASTY}, "/staged/\udcff").html().encode("utf-8")


def test_a_card_of_a_receipt_without_facts_is_a_card():
    assert "/staged/x" in card({}).html()


# --- what is inside


@pytest.fixture
def photos(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASTAGE_ROOT", str(tmp_path / "root"))
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for part, each in (("train", 6), ("test", 2)):
            for name, n in (("cat", each), ("dog", 2 * each)):
                for i in range(n):
                    out = io.BytesIO()
                    Image.new("RGB", (300 + i, 240), (90, i, 20)).save(out, "JPEG")
                    archive.writestr(f"{part}/{name}/{i}.jpg", out.getvalue())
        archive.writestr("train/dog/bad.jpg", b"no picture")
    return datastage.stage("./photos.zip", progress=False)


def bars_of(page):
    return [float(width) for style in page.styles for width in re.findall(r"width:([0-9.]+)em;background", style)]


def test_classes_are_counted_in_bars_by_split(photos):
    page = Page(photos._repr_html_())

    assert {"2 classes", "cat", "6 + 2", "dog", "13 + 4", "train", "19", "test", "6"} <= set(page.words)
    train, test, cat_train, cat_test, dog_train, dog_test = bars_of(page)
    assert test / train == pytest.approx(6 / 19, abs=0.01)
    assert cat_train / dog_train == pytest.approx(6 / 13, abs=0.01)
    assert cat_test / dog_test == pytest.approx(2 / 4, abs=0.01)
    colours = [found for style in page.styles for found in re.findall(r"em;background:(#\w+)", style)]
    assert colours == [colours[0], colours[1]] * 3
    assert colours[0] != colours[1]


def test_a_strip_of_small_pictures_lies_in_the_card_itself(photos):
    page = Page(photos._repr_html_())

    assert not {"script", "link", "iframe", "a"} & set(page.tags)
    assert len(page.images) >= 6
    for uri in page.images:
        head, _, body = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        assert max(pytest.importorskip("PIL.Image").open(io.BytesIO(base64.b64decode(body))).size) == look.SIDE
    assert sum(map(len, page.images)) < 64_000
    assert page.words.count("cat") + page.words.count("dog") >= len(page.images)


def test_a_scan_of_16_bits_is_shown_from_black_to_white(here):
    image, np = pytest.importorskip("PIL.Image"), pytest.importorskip("numpy")
    ramp = np.repeat(np.linspace(0, 65535, 32, dtype=np.uint16)[None], 32, axis=0)
    for name in ("scan", "slide"):
        (here / "scans" / name).mkdir(parents=True)
        image.fromarray(ramp).save(here / "scans" / name / "1.png")
    page = Page(datastage.stage("./scans", progress=False)._repr_html_())

    shown = np.asarray(image.open(io.BytesIO(base64.b64decode(page.images[0].partition(",")[2]))))
    assert shown[0, :, 0].tolist() == pytest.approx((ramp[0] >> 8).tolist(), abs=1)


def test_sizes_and_what_cannot_be_read_are_said(photos):
    text = card_of(photos).text()

    assert "Size      300 x 240 to " in text
    assert "1 picture of 25 looked at cannot be read: train/dog/bad.jpg" in text


def test_the_usual_size_is_said_with_its_share():
    assert look.Look(sizes=[(3, 2)] * 3 + [(5, 4)]).size_text() == "3 x 2 to 5 x 4 pixels; 75 % have 3 x 2"


def test_the_look_is_taken_when_the_card_is_shown_and_not_while_staging(photos, monkeypatch):
    looked = []
    monkeypatch.setattr("datastage.show.look._seen_picture", lambda *seen, **small: looked.append(seen) or "")

    again = datastage.stage("./photos.zip", refresh=True, progress=False)
    assert not looked
    again._repr_html_()
    assert looked


def test_a_card_is_shown_after_the_data_has_gone(photos):
    import shutil

    shutil.rmtree(photos.path)

    assert "Copied" in card_of(photos).text()


def test_pictures_of_a_dataset_of_arrays_are_shown(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    staged = datastage.stage("digits", root=tmp_path, progress=False)
    page = Page(staged._repr_html_())

    assert len(page.images) == 8
    _, labels = staged.arrays("train")
    assert page.words[-8:] == [str(labels[i]) for i in spread(len(labels), 8)]
    assert {"10 classes", "Licence", "Cite"} <= set(page.words)


def test_of_many_classes_the_largest_and_the_smallest_are_shown():
    bars = count_bars({"train": {f"c{i:03}": i + 1 for i in range(200)}})

    assert len(bars) == 13
    assert (bars[0].name, bars[-1].name) == ("c199", "c000")
    assert [bar.name for bar in bars if bar.name.startswith("...")] == ["... 188 more"]


def test_the_text_of_a_card_fits_a_screen(photos):
    lines = card_of(photos).text().splitlines()

    assert max(len(line) for line in lines if str(Path(photos).parents[1]) not in line) <= 88  # a path stays whole
    assert any("█" in line and line.endswith("13 + 4") for line in lines)


def test_the_text_of_a_card_can_be_written_where_bars_cannot(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))

    text = Card("Fuß", [("classes", count_bars({"train": {"a": 2}}))]).text()

    assert "####" in text
    text.encode("ascii")


def test_ipython_shows_the_card_and_in_a_list_the_path(photos):
    pretty = pytest.importorskip("IPython.lib.pretty").pretty

    assert "2 classes" in pretty(photos)
    assert pretty([photos]) == f"[Staged({str(photos)!r})]"


# --- loaders


@pytest.fixture
def loaders():
    pytest.importorskip("torch")
    images, labels = np.zeros((40, 8, 8, 3), np.uint8), np.arange(40) % 3
    return datastage.loaders(
        {"train": (images, labels), "test": (images[:10], labels[:10])},
        batch_size=16,
        device="cpu",
        augment=datastage.Augment(crop=1),
        progress=Silent(),
    )


def test_loaders_say_the_device_the_shapes_and_each_epoch(loaders):
    for _ in range(2):
        for _ in loaders.train:
            pass
    words = Page(loaders._repr_html_()).words

    assert words[0] == "Loaders"
    assert "(16, 3, 8, 8) float32, (16,) int64" in words
    assert "crop=1" in words
    assert sum(word.startswith("cpu: ") for word in words) == 1
    assert {"epoch 0", "epoch 1"} <= set(words)
    assert sum("images/s" in word for word in words) == 2


def test_of_many_epochs_the_last_are_shown_with_how_long_each_waited(loaders):
    for _ in range(10):
        list(loaders.train)
    page = Page(loaders._repr_html_())

    assert [word for word in page.words if word.startswith("epoch")] == [f"epoch {n}" for n in range(2, 10)]
    widths = bars_of(page)
    assert widths[::2] == pytest.approx([14 * epoch.waiting for epoch in list(loaders.train.epochs)[-8:]], abs=0.01)
    assert [a + b for a, b in zip(widths[::2], widths[1::2], strict=True)] == pytest.approx([14] * 8, abs=0.02)


def test_a_part_to_predict_has_its_rows_too(loaders):
    words = Page(dataclasses.replace(loaders, test=None, predict=loaders.test)._repr_html_()).words

    assert words[0] == "Loaders"
    assert any(word.startswith("10 samples in 1 batch") for word in words)


def test_a_loader_explains_itself_in_lines_that_fit(loaders):
    next(iter(loaders.train))

    lines = loaders.train.explain().splitlines()

    assert lines[0] == "train     40 samples in 3 batches of 16; shuffled"
    assert max(map(len, lines)) <= 88
    assert "\n" not in repr(loaders.train)


def test_stats_read_well_as_they_are(loaders):
    assert repr(loaders.train.stats) == "no epoch has begun"
    list(loaders.train)

    assert repr(loaders.train.stats).startswith("epoch 0: 40 images in ")
