"""How a setting is looked up: environment variables called ``DATASTAGE_<name>``; docs/settings.md lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping

_TRUE = frozenset({"1", "true", "yes", "on"})


def setting(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the user's setting ``DATASTAGE_<name>``; None if it is not set, or empty."""
    return (os.environ if environ is None else environ).get(f"DATASTAGE_{name}") or None


def is_set(name: str, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the user's setting ``DATASTAGE_<name>`` says yes: 1, true, yes or on."""
    return (setting(name, environ) or "").strip().lower() in _TRUE
