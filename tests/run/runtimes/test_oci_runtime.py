"""runc keeps the contract, with a process 1 of ours and without; a runtime that does not work is found out."""

from __future__ import annotations

import time

import pytest

from stackbuild.core.errors import HostError
from stackbuild.run import lifecycle
from stackbuild.run.runtimes.oci_runtime import OciRuntime
from stackbuild.run.runtimes.table import find_programs
from tests.machine import need
from tests.run.boxes import Boxes
from tests.run.runtimes.contract import RuntimeContract


class TestRunc(RuntimeContract):
    name = "runc"

    @pytest.fixture(autouse=True)
    def _there(self) -> None:
        need("runc")

    def test_the_command_is_process_one_without_init(self, boxes: Boxes) -> None:
        assert boxes.run("echo $$", init=False)[1] == "1\n"
        assert boxes.run("echo $$; cat /proc/1/cmdline | head -c 5", init=True)[1].endswith("\nbwrap")

    def test_the_stop_signal_waits_until_process_one_hears_it(self, boxes: Boxes) -> None:
        """The kernel drops a signal that process 1 of a namespace does not catch, or not yet."""
        script = "sleep 0.4; trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done"
        container = boxes.start(["sh", "-c", script], init=False, stop_grace=60.0)
        began = time.monotonic()
        assert lifecycle.stop(container, boxes.paths) == 3
        assert boxes.log(container) == "bye\n" and time.monotonic() - began < 20
        deaf = boxes.start(["sh", "-c", "echo up; while :; do sleep 0.05; done"], name="deaf", init=False)
        assert lifecycle.stop(deaf, boxes.paths, grace=0.3) == 137


def test_a_runtime_that_fails_is_found_out_by_running_it(boxes: Boxes) -> None:
    """crun may or may not work on this machine: what the probe says is what a start then does."""
    need("crun")
    why = OciRuntime("crun").probe(find_programs())
    boxes.runtime = "crun"
    if why:
        with pytest.raises(HostError, match="crun does not work here"):
            boxes.start(["true"])
    else:
        assert boxes.run("exit 3")[0] == 3


def test_a_runtime_that_is_not_there(boxes: Boxes) -> None:
    programs = {name: place for name, place in find_programs().items() if name != "runc"}
    assert OciRuntime("runc").probe(programs).startswith("not found")
