"""The servers, for these tests."""

from tests.servers import server

__all__ = ["server"]
