"""Fixtures of the tests of hostile input."""

from tests.peers.registry import registry

__all__ = ["registry"]
