"""The catalog on the screen."""

import pytest

from datastage import ArchiveEntry, datasets
from datastage.course import Checked
from datastage.errors import SpecError
from datastage.show import catalog


def entry(name, task="classification", size=None):
    place = f"https://h.example/{name}.zip"
    return ArchiveEntry(name, name.title(), (place,), task=task, size=size, licence="CC0")


def test_each_task_has_its_block_with_the_small_datasets_first_and_those_without_a_size_last():
    entries = [entry("b", size=9_000_000), entry("a"), entry("talk", "audio", 10**9), entry("z", size=20_000)]

    assert catalog.lines(entries) == [
        "classification:",
        f"  {'z':22}    20 kB   Z; CC0",
        f"  {'b':22}     9 MB   B; CC0",
        f"  {'a':22}        ?   A; CC0",
        "",
        "audio:",
        f"  {'talk':22}     1 GB   Talk; CC0",
    ]


def test_a_task_and_names_choose_and_another_task_is_refused_with_those_that_there_are():
    entries = [datasets.get("iris"), datasets.get("mnist"), entry("talk", "audio")]
    assert [one.name for one in catalog.chosen(entries, [], "table")] == ["iris"]
    assert [one.name for one in catalog.chosen(entries, [], None)] == ["iris", "mnist", "talk"]
    assert [one.name for one in catalog.chosen(entries, ["mnist", "iris"], None)] == ["mnist", "iris"]
    assert [one.name for one in catalog.chosen(entries, ["mnist", "iris"], "table")] == ["iris"]
    with pytest.raises(SpecError, match="audio, classification, table"):
        catalog.chosen(entries, [], "tables")


def test_what_is_listed_of_a_dataset_is_its_download_where_it_has_one():
    mnist = datasets.get("mnist")
    told = catalog.facts(mnist)
    assert (told["name"], told["task"], told["bytes"]) == ("mnist", "classification", mnist.download_bytes)
    assert told["bytes"] != mnist.n_bytes
    assert catalog.facts(entry("talk", "audio", 7))["bytes"] == 7


def test_a_place_that_does_not_work_is_told_with_its_trouble_and_one_that_works_with_its_notes():
    checked = [
        Checked("birds", "a.zip", "https://h.example/a.zip", "", notes=("a release is safer.",)),
        Checked("birds", "a.zip", "https://i.example/a.zip", "", trouble="no answer", notes=("of no use",)),
    ]
    assert catalog.checked_lines(checked, ["birds"]) == [
        f"ok  {'birds':22} https://h.example/a.zip",
        "      a release is safer.",
        f"no  {'birds':22} https://i.example/a.zip",
        "      no answer",
        "No place is left for birds.",
    ]
