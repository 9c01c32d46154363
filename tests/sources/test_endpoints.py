"""Which token of the user's goes to which server."""

from __future__ import annotations

import pytest

from datastage.sources.endpoints import token_name


@pytest.mark.parametrize(
    ("scheme", "host", "port", "name"),
    [
        ("https", "huggingface.co", 443, "HF_TOKEN"),
        ("http", "huggingface.co", 80, None),
        ("https", "raw.githubusercontent.com", 443, "GITHUB_TOKEN"),
        ("https", "media.githubusercontent.com", 443, "GITHUB_TOKEN"),
        ("https", "cdn.huggingface.co", 443, None),
    ],
)
def test_a_token_is_for_the_servers_of_its_service_over_https_alone(scheme, host, port, name):
    assert token_name(scheme, host, port) == name


@pytest.mark.parametrize(
    ("endpoint", "scheme", "host", "port", "name"),
    [
        ("https://hub.example", "https", "hub.example", 443, "HF_TOKEN"),
        ("https://hub.example", "https", "hub.example", 8443, None),
        ("https://hub.example", "http", "hub.example", 80, None),
        ("http://hub.example", "http", "hub.example", 80, None),
        ("http://127.0.0.1:8000", "http", "127.0.0.1", 8000, "HF_TOKEN"),
        ("http://127.0.0.1:8000", "http", "127.0.0.1", 8001, None),
    ],
)
def test_a_token_goes_to_the_users_endpoint_and_unlocked_to_this_machine_alone(
    endpoint, scheme, host, port, name, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert token_name(scheme, host, port) == name
