"""What may be asked of `stage`, and what is the same request."""

from __future__ import annotations

from pathlib import Path

import pytest

import datastage
from datastage.errors import SpecError
from datastage.options import StageOptions
from datastage.sources import parse


@pytest.mark.parametrize("option", ["unpack", "strip"])
def test_a_word_that_is_no_choice_is_refused(option):
    with pytest.raises(SpecError, match=f"{option}='no'"):
        StageOptions(parse("./pets.zip"), **{option: "no"})


def test_no_members_at_all_are_refused():
    with pytest.raises(SpecError, match="members"):
        StageOptions(parse("./pets.zip"), members=())


@pytest.mark.parametrize(
    "options",
    [{"expect": f"md5:{'0' * 32}"}, {"members": ("a*",)}, {"unpack": False}, {"strip": True}, {"password": "x"}],
    ids=str,
)
def test_an_option_of_files_is_refused_for_a_dataset_whose_files_are_known(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        StageOptions(parse("iris"), **options)


def test_copy_changes_nothing_for_a_dataset_that_is_always_copied():
    assert StageOptions(parse("iris"), copy=True).key(Path("/")) == StageOptions(parse("iris")).key(Path("/"))


def test_copy_is_another_request_for_a_file():
    assert StageOptions(parse("./a.csv"), copy=True).key(Path("/")) != StageOptions(parse("./a.csv")).key(Path("/"))


def test_progress_that_is_no_choice_is_refused():
    with pytest.raises(SpecError, match="progress='loud'"):
        datastage.stage("iris", progress="loud")


@pytest.mark.parametrize(
    ("spec", "said"),
    [("cifr10", "cifar10"), ("https://me:hunter2@example.org/x.zip", "password")],
)
def test_a_cell_is_not_made_of_what_cannot_be_staged_or_must_not_be_passed_on(spec, said):
    with pytest.raises(SpecError, match=said) as caught:
        datastage.cell(spec)
    assert "hunter2" not in str(caught.value)
