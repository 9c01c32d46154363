"""The value that every source's parser returns, and secrets that are in no text."""

import pytest

from datastage.redact import hide_secrets


def test_text_that_is_no_address_is_printed_as_it_is():
    assert hide_secrets("C:\\a?b=c") == "C:\\a?b=c"


@pytest.mark.parametrize(
    "text", ["s3://key:hunter2@bucket/a", "hf://x@y:hunter2@z/a?hunter2#b", "http://h/a?x=hunter2&b"]
)
def test_a_secret_of_any_address_is_hidden(text):
    assert "hunter2" not in hide_secrets(text)
