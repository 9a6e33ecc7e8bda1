"""A platform whose programs cannot run here is told before anything is started."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from stackbuild.core.errors import HostError
from stackbuild.host.processor import NATIVE, need_platform


def test_the_machines_own_platform_runs(tmp_path: Path) -> None:
    for architecture in NATIVE.get(platform.machine(), ()):
        need_platform(f"linux/{architecture}", tmp_path)


def test_a_foreign_platform_says_what_is_missing(tmp_path: Path) -> None:
    try:
        need_platform("linux/s390x", tmp_path)
    except HostError as error:
        assert error.what == "programs for linux/s390x cannot run on this machine"
        assert platform.machine() in error.why and "binfmt_misc" in error.why
        assert "qemu-user-static" in error.hints[0].command
    else:  # an emulator is registered
        pytest.skip("this machine runs programs of s390x")
    assert list(tmp_path.iterdir()) == []
