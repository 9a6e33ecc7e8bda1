"""The reference pages say what the program says."""

from __future__ import annotations

import sys

from tests.machine import REPOSITORY, run


def test_the_reference_pages_are_those_that_scripts_docs_writes() -> None:
    run([sys.executable, REPOSITORY / "docs/generate.py", "--check"], timeout=120)
