"""What a notebook shows of a value."""

import html.parser
from pathlib import Path
from types import SimpleNamespace

import pytest

from datastage.batches.stats import Stats
from datastage.show.card import loader_card, staged_card

RECEIPT = {
    "spec": "drive:datasets.zip",
    "seen": "datasets.zip, 1.2 GB, in My Drive",
    "seconds": 44.0,
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
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_a_card_says_what_the_lines_say():
    page = Page(staged_card(RECEIPT, Path("/content/staged/datasets-3f9a")))

    assert {"Found", "Copied", "Left out", "File", "Licence", "CC BY 4.0", "drive:datasets.zip"} <= set(page.words)


def test_a_row_that_needs_two_lines_stays_one_row():
    words = Page(staged_card(RECEIPT, Path("/content/" + "long/" * 20))).words

    assert any(word.endswith('(the outer folder "datasets" was taken off)') for word in words)
    assert "" not in words


@pytest.mark.parametrize("key", ["spec", "seen", "stripped", "licence", "encoding"])
def test_nothing_of_a_receipt_becomes_markup(key):
    page = Page(staged_card({**RECEIPT, key: NASTY}, Path("/staged/x")))

    assert "script" not in page.tags
    assert any("<script>" in word for word in page.words)


def test_a_card_can_be_sent_to_the_front_end_whatever_the_names():
    staged_card({**RECEIPT, "spec": NASTY}, Path("/staged/\udcff")).encode("utf-8")


def test_a_card_brings_no_script_and_no_address():
    card = staged_card(RECEIPT, Path("/staged/x"))

    assert not {"script", "img", "link", "iframe", "a"} & set(Page(card).tags)
    assert "http" not in card


def test_a_card_of_a_receipt_without_facts_is_a_card():
    assert "/staged/x" in staged_card({}, Path("/staged/x"))


def loader(name, batches):
    stats = Stats(epoch=0, images=50_000, batches=batches, seconds=1.0)
    return SimpleNamespace(explain=lambda: f"{name}: 50,000 samples; on cuda <0>", stats=stats)


def test_loaders_say_what_they_do_and_what_they_measured():
    words = Page(loader_card([loader("train", 3), loader("test", 0)])).words

    assert words == [
        "Loaders",
        "train",
        "50,000 samples; on cuda <0>",
        str(Stats(epoch=0, images=50_000, batches=3, seconds=1.0)),
        "test",
        "50,000 samples; on cuda <0>",
        "nothing measured yet",
    ]
