"""The chroot sandbox keeps the contract."""

from __future__ import annotations

from tests.host.contract import SandboxContract, pytestmark

__all__ = ["pytestmark"]


class TestChroot(SandboxContract):
    name = "chroot"
