"""Signing in."""

import os

from google.colab import _message


def authenticate_user(clear_output=True, project_id=None):
    """Ensure that the given user is authenticated."""
    if os.path.exists(os.environ.get("STAND_IN_ROOT", "") + "/var/colab/mp"):
        raise NotImplementedError(__name__ + " is unsupported in this environment.")
    _message.blocking_request("request_auth", request={"authType": "auth_user_ephemeral"}, timeout_sec=None)
