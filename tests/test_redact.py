"""No secret in what is shown, however an address that holds one is spelt."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from datastage.errors import SpecError, StorageError
from datastage.redact import hide_secrets, printable, values_without_secrets

SECRET = "S3CRETpw"
_ODD = "/#?:@&=%+.,;!$*()[]{}|^~`'\"\\ <>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h.example/data.zip", "https://h.example/data.zip"),
        ("https://h.example:8080/a.zip#part", "https://h.example:8080/a.zip#part"),
        ("https://medium.com/@user/x", "https://medium.com/@user/x"),
        ("https://cdn.example/npm/@scope/x@1.2/f.js", "https://cdn.example/npm/@scope/x@1.2/f.js"),
        ("github:owner/repo@main/x.csv", "github:owner/repo@main/x.csv"),
        ("drive:a@b.zip", "drive:a@b.zip"),
        ("/data/run:3@gpu/x", "/data/run:3@gpu/x"),
        ("the same line with password=...", "the same line with password=..."),
        ("expect='md5:d41d8cd98f00b204e9800998ecf8427e'", "expect='md5:d41d8cd98f00b204e9800998ecf8427e'"),
        ("Next: choose another name, such as name='d-2'", "Next: choose another name, such as name='d-2'"),
        ("https://me:S3CRETpw@h.example/a.zip?t=1", "https://...@h.example/a.zip?t=..."),
        ("https://@h.example/a.zip", "https://...@h.example/a.zip"),
        ("https://@h.example/a@2.png", "https://...@h.example/a@2.png"),
        ("https://h.example/a?S3CRETpw", "https://h.example/a?..."),
        ("https://h.example/a?b=S3CRETpw&", "https://h.example/a?b=...&"),
        ("https://to/S3CRETpw@h.example/a.zip", "https://...@h.example/a.zip"),
        ("https://to/S3CRETpw@h.example/x@y.example/a.zip", "https://...@y.example/a.zip"),
        ("see https://h.example/a?sig=S3CRETpw.", "see https://h.example/a?sig=...."),
        ("Authorization Bearer abcdefghijklmnop refused", "Authorization Bearer ... refused"),
        ("Invalid header value b'Bearer hf_S3CRETpw12\\n'", "Invalid header value b'Bearer ...'"),
        ("HF_TOKEN=S3CRETpw", "HF_TOKEN=..."),
        (
            "https://...@h.example/a?t=...&sig=... is hidden once",
            "https://...@h.example/a?t=...&sig=... is hidden once",
        ),
        ("/data/key=5/x_token=a/b.csv", "/data/key=5/x_token=a/b.csv"),
        ("Next: is it this one?  './key=5/a.csv' or ~/key=5", "Next: is it this one?  './key=5/a.csv' or ~/key=5"),
        ("C:\\data\\key=5\\a.csv", "C:\\data\\key=5\\a.csv"),
        ("/root/sk-0123456789abcdefghij-v2/x.csv", "/root/sk-0123456789abcdefghij-v2/x.csv"),
        ("Nothing in sk-learn-digits-dataset-v2.zip matches", "Nothing in sk-learn-digits-dataset-v2.zip matches"),
        ("sk-0123456789abcdefS3CRETpw was refused", "... was refused"),
        ("sk-proj-abcdefgh-S3CRETpw-ijkl", "..."),
        ("sk-or-v1-0123456789abcdef", "..."),
        ("https://h.example/key=S3CRETpw/x", "https://h.example/key=..."),
        ("https:/h.example/key=S3CRETpw/x", "https:/h.example/key=..."),
        ("h.example/token=S3CRETpw/x", "h.example/token=..."),
        ("//h.example/token=S3CRETpw/x", "//h.example/token=..."),
        ("AWS_SECRET_ACCESS_KEY=/S3C/RETpw", "AWS_SECRET_ACCESS_KEY=..."),
        ("secret_key='/S3C/RETpw'", "secret_key='...'"),
        ("Bearer /S3CRETpw", "Bearer ..."),
        ("retries exceeded with url: /x/token=S3CRETpw (refused)", "retries exceeded with url: /x/token=... (refused)"),
        ("/data/a.zip?token=S3CRETpw", "/data/a.zip?token=..."),
        ("/data/a.zip,token=S3CRETpw", "/data/a.zip,token=..."),
        ("//S3CRETpw@h.example/a and git+//S3CRETpw@h", "//...@h.example/a and git+//...@h"),
        ("Basic bWU6UzNDUkVUcHc or BASIC bWU6UzNDUkVUcHc", "Basic ... or BASIC ..."),
        ("BEARER abcdefghijklmnop", "BEARER ..."),
        *(
            (f"{token} refused", "... refused")
            for token in (
                *(
                    "hf_0123456789ab",
                    *(f"gh{kind}_0123456789abcdef" for kind in "opsur"),
                    "github_pat_0123456789abcdef",
                ),
                *("glpat-0123456789abcdef", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", f"AIza{'B' * 35}"),
                *("ya29.abcdefghijkl", "xoxb-0123456789ab", "KGAT_0123456789", "eyJhbGciOiJ9.eyJzdWIiOiIx.sig"),
            )
        ),
    ],
)
def test_secrets_are_hidden_and_the_rest_is_left_as_it_is(text, shown):
    assert hide_secrets(text) == shown


def addresses():
    """Addresses with a secret in them, spelt in every odd way."""
    scheme = some.sampled_from(
        ["https://", "http://", "HTTPS://", "Http://", "ftp://", "https:/", "https:", "https:\\\\", "//", "s3://", ""]
    )
    piece = some.text(string.ascii_letters + string.digits + _ODD, max_size=4)
    host = some.sampled_from(["h.example", "localhost", "127.0.0.1", "[::1]", "h.example:8080", "a.b.h.example"])
    password = some.builds(lambda a, b: f"{a.strip()}{SECRET}{b.strip()}", piece, piece)
    login = some.builds(
        lambda scheme, password, host, path: f"{scheme}me:{password}@{host}/{path}",
        scheme.filter(bool),
        password,
        host,
        some.sampled_from(["a.zip", "", "a b.zip", "x?a=1", "x#y"]),
    )
    bare = some.builds(
        lambda before, host, after: f"me:{before}{SECRET}{after}@{host}/a.zip",
        piece.filter(lambda text: not set(text) & set(" '\"/\\")),
        host,
        piece.filter(lambda text: not set(text) & set(" '\"")),
    )
    token = some.builds(lambda scheme, host: f"{scheme}{SECRET}@{host}/a.zip", scheme.filter(bool), host)
    query = some.builds(
        lambda scheme, host, name, rest: f"{scheme}{host}/a.zip?x=1&{name}={SECRET}{rest}",
        some.sampled_from(["https://", "http://", "HTTPS://"]),
        host,
        some.sampled_from(["token", "sig", "X-Amz-Signature", "key", "a", "access%5Ftoken"]),
        some.sampled_from(["", "&y=2", "#z", ".", "%2F", "/a@b", "?c"]),
    )
    around = some.sampled_from(
        ["{}", " {}", "{}\n", "'{}'", "no such place: {!r}.", "({})", "--x={}", "<{}>", "a {} b"]
    )
    return some.builds(lambda around, address: around.format(address), around, some.one_of(login, bare, token, query))


@given(addresses())
@example(f"https://me:a b{SECRET}@h.example/")
@example(f"https://me:a'{SECRET}@h.example/")
def test_no_spelling_of_an_address_shows_its_secret(text):
    assert SECRET not in hide_secrets(text)
    for error in (SpecError(text, text), StorageError(text, text), StorageError.of(OSError(2, text, text), "reading")):
        assert SECRET not in str(error)
        assert SECRET not in repr(error)
        assert SECRET not in str(error.strerror if isinstance(error, OSError) else "")


@given(some.text(max_size=60))
def test_any_text_can_be_shown(text):
    shown = printable(hide_secrets(text))
    assert "\n" not in shown
    assert "\x1b" not in shown


def test_secrets_are_hidden_in_every_text_of_a_value():
    address, hidden = "https://me:S3CRETpw@h.example/a", "https://...@h.example/a"
    value = {"from": [address, ("x", address)], "n": 3, "whole": None, "part": 1.5}
    assert values_without_secrets(value) == {"from": [hidden, ["x", hidden]], "n": 3, "whole": None, "part": 1.5}


def test_what_names_files_here_is_left_in_a_value_of_json():
    lists = ("damaged", "missing", "extra", "repaired", "members", "dangling", "names")
    value = {
        "receipt": {"single": "token=5", "source_path": "/my data/key=5/a.csv"},
        **dict.fromkeys(lists, ["key=5/a"]),
    }
    assert values_without_secrets(value) == value


def test_blanks_of_other_kinds_in_a_name_are_shown_as_they_are():
    assert printable("a\u00a0b\u3000c\u2028d") == "a\u00a0b\u3000c\\u2028d"


def test_an_error_cannot_steer_a_terminal():
    error = SpecError("held \x1b]0;evil\x07 and \x1b[2J", "Next: \x9b31m")
    assert not [char for char in str(error) if ord(char) < 32 and char != "\n" or 127 <= ord(char) < 160]
