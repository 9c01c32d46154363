from __future__ import annotations

import os

import pytest


@pytest.fixture
def cores(monkeypatch):
    """Give a function that lets this process use so many cores."""
    return lambda n: monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(n)), raising=False)
