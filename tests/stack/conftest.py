"""Fixtures of the tests of images."""

from tests.peers.registry import registry

__all__ = ["registry"]
