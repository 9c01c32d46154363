"""What an error looks like to the person who meets it."""

from __future__ import annotations

import errno

import pytest

from datastage import cli
from datastage.errors import (
    MissingDependencyError,
    NoSpaceError,
    SpecError,
    StorageError,
    UnavailableError,
    needing,
    on_screen,
)


@pytest.mark.parametrize("kind", [SpecError, StorageError, UnavailableError])
def test_no_line_on_the_screen_is_wider_than_88_columns(kind):
    shown = on_screen(kind("It was not possible, " * 12, "first, " * 30, "Next: " + "do this, " * 20))
    assert max(map(len, shown)) <= 88


def test_a_step_that_goes_on_keeps_its_indent():
    shown = on_screen(SpecError("Wrong.", "Next: " + "word " * 30))
    assert [line.index("Next" if number == 1 else "w") for number, line in enumerate(shown) if number] == [2, 2]


def test_a_path_or_an_address_is_never_broken():
    address = "https://example.org/" + "long/" * 30
    assert any(address in line for line in on_screen(UnavailableError(f"Look at {address} in a browser.")))


def test_lines_that_fit_are_left_as_they_are():
    text = "Your input:\n\n   needed   170 MB\n   found    83 MB"
    assert on_screen(UnavailableError(text, "Next: again.")) == [*text.split("\n"), "Next: again."]


def test_in_a_cell_a_command_has_its_bang_and_other_words_have_none():
    steps = ("Next: datastage extract --list x.zip", "Next: datastage preview x.zip --out x.png")
    error = SpecError("datastage stage is meant, and datastage itself is not.", *steps, "See datastage.stage.")
    assert error._render_traceback_() == [
        "!datastage stage is meant, and datastage itself is not.",
        "  Next: !datastage extract --list x.zip",
        "  Next: !datastage preview x.zip --out x.png",
        "  See datastage.stage.",
    ]
    assert "!" not in str(error)


@pytest.mark.parametrize("verb", cli._VERBS)
def test_every_verb_has_its_bang(verb):
    assert SpecError("No.", f"Next: datastage {verb} ...")._render_traceback_()[1] == f"  Next: !datastage {verb} ..."


def test_a_file_that_may_not_grow_is_not_a_folder_that_may_not_be_written_to():
    error = StorageError.of(OSError(errno.EFBIG, "File too large"), "unpacking x.zip")
    assert "larger than this disk, or this shell, allows" in str(error)
    assert "ulimit -f" in str(error)


def test_a_library_that_is_missing_is_named_with_what_needs_it_and_what_installs_it():
    with pytest.raises(MissingDependencyError) as raised, needing("photos.parquet", "PyArrow"):
        import no_such_library  # noqa: F401
    assert on_screen(raised.value) == [
        "photos.parquet needs PyArrow, and it is not installed here.",
        "  Next: pip install pyarrow",
    ]
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_that_is_used_up_is_a_full_disk(code):
    assert isinstance(StorageError.of(OSError(code, "x"), "writing the files"), NoSpaceError)
