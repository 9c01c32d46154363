"""The servers, for these tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
