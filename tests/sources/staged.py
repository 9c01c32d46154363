"""What the tests of places begin with: stage in silence, look at what is there, and no proxy of the machine's."""

from __future__ import annotations

from typing import Any

import datastage


def quiet(spec: Any, **options: Any) -> datastage.Staged:
    return datastage.stage(spec, progress=False, **options)


def tree(staged: datastage.Staged) -> dict[str, bytes]:
    """Return the files that were staged, by path."""
    paths = (path for path in staged.path.rglob("*") if path.is_file() and not path.name.startswith(".datastage"))
    return {path.relative_to(staged.path).as_posix(): path.read_bytes() for path in paths}


def without(monkeypatch: Any, *names: str) -> None:
    """Take variables of this machine away, those of its proxy too."""
    for name in (*names, "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
