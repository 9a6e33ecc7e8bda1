"""Fixtures of the host tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host import tiny_root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system; nobody writes into it."""
    return tiny_root.make(tmp_path_factory.mktemp("tiny") / "root")
