"""The words for what was staged: the screens of the design, line for line."""

import datetime
import io
import re
import sys

import pytest

from datastage.errors import SpecError, labelled_lines, on_screen
from datastage.reader import TREE, FileRecord
from datastage.show.card import Bar, Card
from datastage.show.doctor import Finding, Report
from datastage.show.lines import (
    WIDTH,
    counted,
    duration,
    fitted,
    left_out_text,
    origin,
    printable,
    ready_lines,
    receipt_lines,
    shortened,
    staged_lines,
    stays_line,
    when,
)
from datastage.staged import Staged, counts
from tests.stand_ins.runtimes import Kaggle

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def holding(paths):
    return {**DRIVE_ZIP, "inside": counts([FileRecord(path, 0, 0) for path in paths])["inside"]}


PATHS = [f"{name}/{n}.png" for name in CLASSES for n in range(5000)]
DRIVE_ZIP = {
    "spec": "drive:Colab Notebooks/datasets.zip",
    "place": "drive:Colab Notebooks/datasets.zip",
    "seen": "datasets.zip, 1.2 GB, in My Drive > Colab Notebooks",
    "seconds": 44.0,
    "format": "zip",
    "n_files": 50_000,
    "n_bytes": 1_188_000_000,
    "left_out": {"__MACOSX": 50_000, ".DS_Store": 13},
    "stripped": "datasets",
    "entry": None,
    "staged_at": "2026-11-21T14:02:00+00:00",
}
CIFAR10 = {
    "spec": "cifar10",
    "place": 'your input "cifar10"',
    "seen": 'CIFAR-10 in your input "cifar10"',
    "seconds": 1.0,
    "format": None,
    "published": True,
    "n_files": 8,
    "n_bytes": 186_000_000,
    "left_out": {},
    "entry": "cifar10",
}
NOW = datetime.datetime(2026, 11, 21, 15, 0, tzinfo=datetime.UTC)


def test_a_zip_from_drive_reads_like_the_first_screen():
    lines = receipt_lines(holding(PATHS), path="/content/staged/datasets-3f9a")

    assert lines == [
        "Copied    and unpacked in 44 s (27 MB/s); every file was checked",
        "Left out  50,013 hidden files that a Mac adds (__MACOSX, .DS_Store)",
        "Inside    50,000 images in 10 folders: airplane, automobile, bird, cat, ... truck",
        'Folder    /content/staged/datasets-3f9a   (the outer folder "datasets" was taken off)',
    ]


def test_an_entry_from_an_input_reads_like_the_last_screen():
    lines = receipt_lines(CIFAR10, path="/kaggle/temp/staged/cifar10")

    assert lines == [
        "Copied    186 MB in 1 s; every file is the published one",
        "Folder    /kaggle/temp/staged/cifar10",
    ]


def test_a_second_run_says_three_lines():
    following = "Next:  train, test = datastage.loaders(path, batch_size=256)"

    lines = ready_lines(
        holding(PATHS) | {"unchanged": True}, path="/content/staged/datasets-3f9a", following=following, now=NOW
    )

    assert lines == [
        "Ready: /content/staged/datasets-3f9a, 50,000 images in 10 folders.",
        "Copied from your Drive today at 14:02; the file there is unchanged. Nothing to do.",
        "Next:  train, test = datastage.loaders(path, batch_size=256)",
    ]


def test_a_second_run_claims_nothing_of_a_file_that_was_not_looked_at():
    lines = ready_lines(CIFAR10, path="/p", following="Next", now=NOW)

    assert "unchanged" not in " ".join(lines)


def test_a_second_run_of_an_entry_names_it():
    lines = ready_lines(CIFAR10, path="/p", following="Next", now=NOW)

    assert lines[0] == "Ready: /p, CIFAR-10."


@pytest.mark.parametrize(
    ("platform", "from_input", "said"),
    [
        ("colab", False, "Colab empties its disk afterwards"),
        ("kaggle", False, "Kaggle empties its disk afterwards"),
        ("kaggle", True, "Nothing to click next time"),
        ("slurm", False, "next job"),
    ],
)
def test_each_machine_says_how_long_the_folder_stays(platform, from_input, said):
    assert said in stays_line(platform, disk_outlives_machine=False, from_input=from_input)


def test_a_disk_that_stays_promises_no_emptying():
    assert "empties" not in stays_line("terminal", disk_outlives_machine=True, from_input=False)


def test_train_and_test_are_not_counted_as_classes():
    receipt = holding(["train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg"])

    assert "Inside    4 images in 2 folders: cat, dog" in receipt_lines(receipt, path="/p")


def test_pictures_in_one_folder_have_no_class_names():
    assert "Inside    2 images" in receipt_lines(holding(["a.png", "b.png"]), path="/p")


def test_few_files_are_named():
    assert "Inside    2 files: a.csv, b.csv" in receipt_lines(holding(["b.csv", "a.csv"]), path="/p")


def test_a_list_of_names_never_passes_its_width():
    for width in range(12, 80):
        assert len(shortened(CLASSES, width)) <= width


def test_five_names_are_all_said():
    assert shortened(CLASSES[:5], 80) == "airplane, automobile, bird, cat, deer"


def test_a_thousand_class_names_keep_the_line_short():
    receipt = holding([f"class number {n:04d} of a long list/x.jpg" for n in range(1000)])

    assert all(len(line) <= WIDTH for line in receipt_lines(receipt, path="/p"))


def test_a_long_path_is_not_cut_and_the_outer_folder_takes_a_line_of_its_own():
    path = "/scratch/" + "long/" * 20 + "staged"

    lines = receipt_lines(DRIVE_ZIP, path=path)

    assert lines[-2:] == [f"Folder    {path}", '          (the outer folder "datasets" was taken off)']


def test_a_name_cannot_steer_the_terminal():
    assert "\x1b" not in "".join(receipt_lines(holding(["\x1b[2J/x.png", "b/x.png"]), path="/p\x1b[2J"))


def test_printable_keeps_letters_of_every_language():
    assert printable("Füße 猫 données") == "Füße 猫 données"


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({"Thumbs.db": 1}, "1 hidden file that Windows adds (Thumbs.db)"),
        ({"Thumbs.db": 1, "._*": 2}, "3 hidden files that a Mac and Windows add (._*, Thumbs.db)"),
        ({"receipts of another copy": 2}, "2 files that are not data (receipts of another copy)"),
    ],
)
def test_what_was_left_out_is_named_by_whose_habit_it_is(left_out, said):
    assert left_out_text(left_out) == said


def test_the_speed_is_that_of_what_was_fetched_now():
    file = {"n_bytes": 100_000_000, "seconds": 4.0, "single": "a.bin"}
    assert receipt_lines(file, path="/p")[0] == "Copied    100 MB in 4 s (25 MB/s)"
    assert receipt_lines({**file, "seconds": 0.9}, path="/p")[0] == "Copied    100 MB in 1 s"
    resumed = {**file, "resumed_bytes": 48_000_000}
    assert receipt_lines(resumed, path="/p")[0] == "Copied    100 MB in 4 s (13 MB/s)"
    unpacked = {**DRIVE_ZIP, "resumed_bytes": 48_000_000}
    assert receipt_lines(unpacked, path="/p")[0] == "Copied    and unpacked in 44 s; every file was checked"


def test_what_is_used_in_place_was_not_copied():
    lines = receipt_lines({"in_place": True}, path="/data/birds")

    assert lines == ["Used      where it lies: nothing was copied", "Folder    /data/birds"]


def test_a_guess_of_the_names_language_is_said():
    twice = receipt_lines({**DRIVE_ZIP, "n_replaced": 2}, path="/p")
    assert "Twice     2 names in the archive; the later file counts" in twice
    assert any("cp932" in line for line in receipt_lines({**DRIVE_ZIP, "encoding": "cp932"}, path="/p"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("drive:a.zip", "your Drive"),
        ('your input "x"', 'your input "x"'),
        ("https://...@host.example/a.zip?key=...", "host.example"),
        ("data.example.org", "data.example.org"),
    ],
)
def test_the_origin_is_said_in_a_persons_words(place, said):
    assert origin({"place": place}) == said


def test_times_are_said_as_a_person_says_them():
    assert [duration(s) for s in (0, 1.4, 99, 100, 700, 3600)] == ["1 s", "1 s", "99 s", "1 min 40 s", "11 min", "1 h"]
    assert when(NOW - datetime.timedelta(days=400), NOW) == "on 17 October 2025"
    assert counted(1_000, "file") == "1,000 files"


def test_a_second_run_of_a_long_path_still_fits_the_screen():
    receipt = {**DRIVE_ZIP, "spec": "x", "place": "/home/somebody/a course/" + "folder/" * 9 + "iris.zip"}
    lines = ready_lines({**receipt, "unchanged": True}, path="/p", following="Next", now=NOW)

    assert len(lines[1]) <= 88
    assert "iris.zip today at" in lines[1]


@pytest.mark.parametrize(
    "facts",
    [
        {"place": "kaggle:titanic", "folder": "{input}/titanic", "in_place": True},
        {"place": "../input/x/pets.zip", "folder": "/kaggle/temp/staged/pets", "source_path": "{input}/x/pets.zip"},
        {"place": 'your input "cifar10"', "folder": "/kaggle/temp/staged/cifar10", "entry": "cifar10"},
    ],
)
def test_what_came_from_a_kaggle_input_says_that_it_stays_attached(facts, tmp_path):
    here = Kaggle(tmp_path / "kaggle").runtime()
    facts = {
        name: value.format(input=here.input_root) if isinstance(value, str) else value for name, value in facts.items()
    }
    lines = staged_lines(Staged(tmp_path, {"spec": "x", "n_bytes": 1, "seconds": 1, **facts}), here)

    assert lines[-2] == "Ready for this session. Nothing to click next time: the input stays attached."


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def made(kind):
    if kind == "a report":
        return str(Report((Finding("Machine", "some words " * 20, "it is in the way " * 9, ("Next: go on.",)),)))
    if kind == "a card":
        bars = [Bar(f"class {n}", {"train": n / 4}, f"{n:,}") for n in range(1, 5)]
        return Card("a title", [("Found", "some words " * 20), ("4 classes", bars)]).text()
    if kind == "what a loader says of itself":
        return "\n".join(labelled_lines("Device", "some words " * 20))
    return "\n".join(on_screen(SpecError("some words " * 20, "Next: " + "words again " * 9)))


@pytest.mark.parametrize("columns", [40, 60, 200])
@pytest.mark.parametrize("kind", ["a report", "a card", "what a loader says of itself", "an error"])
def test_what_is_written_fits_the_terminal_and_is_broken_at_words(kind, columns, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))

    text = made(kind)

    widths = [len(line) for line in text.splitlines()]
    assert min(columns, WIDTH) - 12 < max(widths) <= min(columns, WIDTH)
    assert set(re.findall("[a-z]+", text)) >= {"some", "words"}
    assert not re.search(r"\b(som|wor|word|ords)\b", text)


def test_a_job_whose_disk_stays_is_promised_no_emptying():
    assert stays_line("slurm", disk_outlives_machine=True, from_input=False).startswith("Ready, and it stays here")


def test_a_second_run_calls_a_folder_a_folder_and_says_nothing_of_what_lies_where_it_is_used():
    folder = {**DRIVE_ZIP, "identity": f"{TREE}5", "unchanged": True}
    assert "; the folder there is unchanged." in ready_lines(folder, path="/p", following="Next", now=NOW)[1]
    used = ready_lines({**folder, "in_place": True}, path="/p", following="Next", now=NOW)[1]
    assert used == "Found where it lies today at 14:02. Nothing to do."


def test_a_second_run_tells_the_hour_by_the_clock_of_whoever_reads():
    there = datetime.datetime(2026, 11, 22, 1, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=9)))
    assert "yesterday at 23:02" in ready_lines(DRIVE_ZIP, path="/p", following="Next", now=there)[1]


def test_a_word_at_the_start_of_a_line_that_is_wrapped_is_no_label(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted("Copied from your Drive today at 14:02; nothing to do.", Terminal()).splitlines()[1][0] != " "
