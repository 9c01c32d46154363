"""What an error looks like to the person who meets it."""

from __future__ import annotations

import pytest

from datastage.errors import SpecError, StorageError, UnavailableError, on_screen


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
