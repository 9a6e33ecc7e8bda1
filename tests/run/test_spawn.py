"""Supervisors before they have a container, and what a container can do to their program."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from stackbuild.core.errors import HostError
from stackbuild.run.requests import News
from stackbuild.run.spawn import Spawned
from tests.machine import need_root
from tests.run.boxes import Boxes


def test_without_a_container_it_ends() -> None:
    need_root()
    before = len(os.listdir("/proc/self/fd"))
    with Spawned() as supervisor:
        pid = supervisor._pid
        assert os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(f"/proc/{pid}")
    assert len(os.listdir("/proc/self/fd")) <= before  # the collector may have closed what tests before left open


def test_one_that_cannot_begin_says_why(tmp_path: Path) -> None:
    need_root()
    supervisor = Spawned()
    supervisor.give(tmp_path / "no-container")
    with pytest.raises(HostError, match="supervisor ended") as failed:
        supervisor.answer(tmp_path / "no-container")
    assert "no-container" in failed.value.why


def test_its_program_cannot_be_written_by_who_finds_it(boxes: Boxes) -> None:
    """CVE-2019-5736: root of a container that gets hold of /proc/PID/exe."""
    container = boxes.start(("sleep", "60"))
    assert os.statvfs(f"/proc/{container.state().supervisor}/exe").f_flag & os.ST_RDONLY
    assert not os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY


def test_news_come_with_what_it_writes_and_with_its_end(boxes: Boxes) -> None:
    container = boxes.start(("sh", "-c", "while [ ! -e /tmp/write ]; do sleep 0.05; done; echo written; sleep 60"))
    with News(container) as news:
        news.wait()
        news.wait(30)  # that it follows is news
        boxes.exec(container, "touch /tmp/write")
        while boxes.log(container) != "written\n":
            news.wait(30)
        began = time.monotonic()
        os.kill(container.state().pid, signal.SIGKILL)
        while container.state().status == "running":
            news.wait(30)
        assert time.monotonic() - began < 20
