"""The value that every source's parser returns, and secrets that are in no text."""

import pytest

from datastage import sources
from datastage.errors import SpecError
from datastage.redact import hide_secrets


def test_text_that_is_no_address_is_printed_as_it_is():
    assert hide_secrets("C:\\a?b=c") == "C:\\a?b=c"


@pytest.mark.parametrize(
    "text", ["s3://key:hunter2@bucket/a", "hf://x@y:hunter2@z/a?hunter2#b", "http://h/a?x=hunter2&b"]
)
def test_a_secret_of_any_address_is_hidden(text):
    assert "hunter2" not in hide_secrets(text)


@pytest.mark.parametrize("text", ["file:///x/my%20birds.zip", "file://localhost/x/my%20birds.zip"])
def test_the_address_of_a_file_is_its_path(text):
    assert sources.parse(text).value == "/x/my birds.zip"


@pytest.mark.parametrize("text", ["www.h.example/a.zip", "WWW.h.example/a.zip"])
def test_an_address_without_its_beginning_is_told(text):
    with pytest.raises(SpecError, match="without its beginning"):
        sources.parse(text)


def test_an_address_with_a_space_is_offered_without_it_and_without_its_secret():
    with pytest.raises(SpecError) as caught:
        sources.parse("https://h.example/my birds.zip?token=hunter2")
    assert caught.value.remedy == ("Next: https://h.example/my%20birds.zip?token=...",)
