"""Questions to the browser. They go over the kernel's own sockets: without a kernel, AttributeError."""

import os

from google.colab import _ipython, errors


class MessageError(errors.Error):
    """Thrown on error response from frontend."""


def blocking_request(request_type, request="", timeout_sec=5, parent=None):
    """Ask the browser and wait. None if it does not answer in time."""
    _ipython.get_ipython().kernel  # noqa: B018 - the real one sends over this kernel's sockets
    log = os.environ.get("STAND_IN_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{request_type} {request} {timeout_sec}\n")
    return {}
