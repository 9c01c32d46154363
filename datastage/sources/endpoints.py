"""Where each service is, and which token of the user's goes to it: the one place that says so.

``DATASTAGE_ENDPOINTS="github_raw=http://127.0.0.1:8000 zenodo=https://sandbox.zenodo.org"`` leads elsewhere: to a
mirror, to an institution's own installation, or to the stand-in of a test. The Hub's is ``HF_ENDPOINT``.
"""

from __future__ import annotations

import os
import urllib.parse
from pathlib import Path

from datastage import runtime
from datastage.settings import setting

ENDPOINTS = {
    "archive_org": "https://archive.org",
    "doi": "https://doi.org",
    "figshare": "https://api.figshare.com/v2",
    "figshare_files": "https://ndownloader.figshare.com",
    "github_api": "https://api.github.com",
    "github_archives": "https://codeload.github.com",
    "github_media": "https://media.githubusercontent.com",
    "github_raw": "https://raw.githubusercontent.com",
    "google_storage": "https://storage.googleapis.com",
    "hub": "https://huggingface.co",
    "osf": "https://api.osf.io",
    "zenodo": "https://zenodo.org",
}
# Hosts that hide what is private behind a token, and the name under which people keep it: as an environment variable,
# or among the secrets of Colab and Kaggle. GitHub answers 404 without one.
TOKENS = {
    "huggingface.co": "HF_TOKEN",
    "github.com": "GITHUB_TOKEN",
    **{f"{part}.github.com": "GITHUB_TOKEN" for part in ("api", "codeload")},
    **{f"{part}.githubusercontent.com": "GITHUB_TOKEN" for part in ("raw", "media")},
}
_TOKENS_OF_SERVICES = {"github": "GITHUB_TOKEN", "hub": "HF_TOKEN"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _chosen() -> dict[str, str]:
    """Return the endpoints that the user's settings name."""
    chosen = dict(pair.partition("=")[::2] for pair in (setting("ENDPOINTS") or "").split())
    if os.environ.get("HF_ENDPOINT"):
        chosen["hub"] = os.environ["HF_ENDPOINT"]
    return {name: address.rstrip("/") for name, address in chosen.items()}


def endpoint(name: str, usual: str = "") -> str:
    """Return the address of a service, without a slash at its end; `usual` for one that depends on the machine."""
    return _chosen().get(name) or (usual or ENDPOINTS[name]).rstrip("/")


def at_endpoint(name: str, url: str) -> str:
    """Return `url` led to the endpoint that the user's settings name for a service with many hosts; else as it is."""
    chosen = _chosen().get(name)
    if not chosen:
        return url
    there = urllib.parse.urlsplit(chosen)
    return urllib.parse.urlunsplit(urllib.parse.urlsplit(url)._replace(scheme=there.scheme, netloc=there.netloc))


def user_token(name: str) -> str | None:
    """Return a token of the user's: from the environment, the secrets of the notebook, or huggingface_hub's file."""
    token = runtime.secret(name)
    if token or name != "HF_TOKEN":
        return token
    try:
        return Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").read_text().strip() or None
    except (OSError, UnicodeError):
        return None


def hub_home() -> Path:
    """Return where huggingface_hub keeps the user's token and its cache."""
    return Path(os.environ.get("HF_HOME") or Path(os.path.expanduser("~"), ".cache", "huggingface"))


def token_name(scheme: str, host: str, port: int) -> str | None:
    """Return the name of the user's token for a server: over https alone, or to an endpoint of this very machine."""
    if scheme == "https" and host in TOKENS:
        return TOKENS[host]
    for name, address in _chosen().items():
        url = urllib.parse.urlsplit(address)
        is_it = (url.scheme, url.hostname) == (scheme, host) and (url.port or {"https": 443}.get(scheme, 80)) == port
        if is_it and (scheme == "https" or host in _LOOPBACK):
            return _TOKENS_OF_SERVICES.get(name.partition("_")[0])
    return None
