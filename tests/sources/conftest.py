"""The servers, for these tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datastage import chain, runtime, sources
from datastage.progress import SILENT
from datastage.sources.http_session import HttpSession
from datastage.transfer import Limits
from tests.servers import certificates, other_server, server, tls_server

__all__ = ["certificates", "other_server", "server", "tls_server"]


@pytest.fixture
def quick():
    """Limits that end within a second or two."""
    return Limits(stall_s=1.0, tries=4, first_wait_s=0.01, longest_wait_s=0.05)


@pytest.fixture
def patient(quick):
    """As `quick`, where no stall is part of the test: a busy machine is none."""
    return replace(quick, stall_s=15.0)


@pytest.fixture
def patience(monkeypatch, tmp_path):
    """Open a spec as where another place is left, fetch it, and return the limits that any server was asked with."""
    told = []
    plain = HttpSession.__init__

    def asked(self, url, limits, **more):
        told.append(limits)
        plain(self, url, limits, **more)

    def of(text):
        monkeypatch.setattr(HttpSession, "__init__", asked)
        found = sources.open_spec(sources.parse(text), runtime.current(), limits=chain.IMPATIENT)
        if isinstance(found.content, sources.Fetch):
            (tmp_path / "fetched").mkdir()
            found.content.run(tmp_path / "fetched", SILENT)
        return ["as asked" if limits is chain.IMPATIENT else limits for limits in dict.fromkeys(told)]

    return of
