"""Secrets of the person."""

import json
import os
import threading

from google.colab import _message, errors

_userdata_lock = threading.Lock()


class SecretNotFoundError(errors.Error):
    def __init__(self, key):
        super().__init__(f"Secret {key} does not exist.")


class NotebookAccessError(Exception):
    def __init__(self, key):
        super().__init__(f"Notebook does not have access to secret {key}")


class TimeoutException(errors.Error):
    def __init__(self, key):
        super().__init__(
            f"Requesting secret {key} timed out. Secrets can only be fetched when running from the Colab UI."
        )


def get(key):
    """Fetch a user secret by key."""
    if not key:
        raise ValueError("Please enter a valid secret name")
    if any(c.isspace() for c in key):
        raise ValueError("Secret name cannot contain spaces or whitespace")
    with _userdata_lock:
        answer = _message.blocking_request("GetSecret", request={"key": key}, timeout_sec=10)
    secrets = os.environ.get("STAND_IN_SECRETS")
    if answer is None or secrets is None:
        raise TimeoutException(key)
    known = json.loads(secrets)
    if key not in known:
        raise SecretNotFoundError(key)
    if known[key] is None:
        raise NotebookAccessError(key)
    return known[key]
