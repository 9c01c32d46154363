"""What a cell shows."""

import contextlib

from google.colab import _message


def eval_js(script, ignore_result=False, timeout_sec=None):
    """Evaluate the JavaScript in the browser."""
    answer = _message.blocking_request("eval_js", request=script, timeout_sec=timeout_sec)
    return None if ignore_result else answer


def clear(wait=False, output_tags=()):
    """Clear the output."""


@contextlib.contextmanager
def temporary():
    yield


@contextlib.contextmanager
def use_tags(tags):
    yield


def enable_custom_widget_manager(version="5.0.0a"):
    if version != "5.0.0a":
        raise ValueError(f"Unknown version: {version}")


def disable_custom_widget_manager():
    pass
