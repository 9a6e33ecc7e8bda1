"""Fixtures: a tree for containers, made once, and a store for each test whose containers end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.paths import StorePaths
from tests.machine import need_root, once
from tests.run.boxes import Boxes, make_tree


@pytest.fixture(scope="session")
def tree(shared: Path) -> tuple[Path, ...]:
    """Unpacked layers, lowest first."""
    need_root()
    folder = once(shared / "busybox-tree", make_tree)
    return folder / "base", folder / "own"


@pytest.fixture
def boxes(tmp_path: Path, tree: tuple[Path, ...]) -> Iterator[Boxes]:
    made = Boxes(StorePaths(tmp_path / "store"), tree, "bwrap")
    yield made
    made.close()
