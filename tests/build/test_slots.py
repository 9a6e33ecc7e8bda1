"""What a build may use at once: -j, a real make's jobserver, sandboxes and downloads apart."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.build.scheduler import Scheduler
from stackbuild.build.slots import Count, Jobserver, Resources, processors, resources
from stackbuild.core.action import ActionResult
from stackbuild.plan.forecast import forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.step import Step
from tests.machine import REPOSITORY, need, run
from tests.plan.fakes import Memory, Say, tools

MOST = 3


class Watched(Say):
    """Steps that last until as many run as may run, or a moment; counts them by kind."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected, self.now, self.most = expected, 0, 0
        self.changed = threading.Condition()

    def perform(self, step: Step, results: Mapping[str, ActionResult]) -> ActionResult:
        with self.changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most >= self.expected, timeout=5)
            self.now -= 1
        return super().perform(step, results)


def most_of(resources: Resources, kind: str, expected: int, count: int = 6) -> int:
    """How many of these independent steps ran at once."""
    watched = Watched(expected)
    plan = Plan.of([Step(f"s{n}", kind, {"says": str(n)}, {}) for n in range(count)], [f"s{n}" for n in range(count)])
    memory = Memory()
    look = forecast(plan, {kind: watched}, memory.lookup, memory.last)
    made = replace(tools(watched, memory), kinds={kind: watched})
    Scheduler(plan, made, resources=resources).build(look)
    assert len(watched.ran) == count
    return watched.most


@pytest.mark.parametrize(
    ("kind", "limits", "most"),
    [
        ("say", Resources(Count(3), 3, 3), 3),
        ("say", Resources(Count(3), 3, 1), 3),
        ("run", Resources(Count(3), 3, 2), 2),
        ("configure", Resources(Count(2), 2, 9), 2),
        ("fetch", Resources(Count(1), 1, 1, downloads=4), 4),
    ],
)
def test_processors_sandboxes_and_downloads_are_counted_apart(kind: str, limits: Resources, most: int) -> None:
    assert most_of(limits, kind, most) == most


def test_what_is_asked_and_what_is_set() -> None:
    def jobs(environ: Mapping[str, str] = {}, asked: int | None = None, setting: int = 0) -> tuple[int, bool, str]:
        found = resources(environ, asked=asked, setting=setting, sandboxes=0, downloads=0)
        return found.jobs, isinstance(found.slots, Jobserver), found.note

    assert jobs() == (processors(), False, "")
    assert jobs(setting=7) == (7, False, "") and jobs(setting=7, asked=5) == (5, False, "")
    gone = {"MAKEFLAGS": " -j8 --jobserver-auth=987,988"}
    assert jobs(gone)[:2] == (1, False) and "begin the recipe's line with `+`" in jobs(gone)[2]
    assert jobs(gone, asked=4)[:2] == (4, False) and "not used" in jobs(gone, asked=4)[2]
    assert jobs({"MAKEFLAGS": "--jobserver-auth=-2,-2"}) == (processors(), False, "")
    assert jobs({"MAKEFLAGS": "k"}) == (processors(), False, "")


def test_tokens_of_a_fifo_are_borrowed_and_given_back(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(both, b"ab")
        found = resources(
            {"MAKEFLAGS": f"--jobserver-auth=fifo:{fifo}"}, asked=None, setting=0, sandboxes=0, downloads=0
        )
        slots = found.slots
        assert [slots.take() for _ in range(4)] == [True, True, True, False]
        slots.give()
        assert slots.take()
        for _ in range(3):
            slots.give()
        assert sorted(os.read(both, 9)) == sorted(b"ab")
    finally:
        os.close(both)


SCRIPT = """
import fcntl, os, sys, time
from collections.abc import Mapping
from tests.build.test_slots import *

class Logged(Say):
    def perform(self, step, results):
        def say(sign):
            with open(sys.argv[1], "a") as log:
                log.write(sign)
        say("+")
        time.sleep(0.15)
        say("-")
        return super().perform(step, results)

kind = Logged()
plan = Plan.of([Step(f"s{n}", "say", {"says": str(n)}, {}) for n in range(6)], [f"s{n}" for n in range(6)])
memory = Memory()
look = forecast(plan, {"say": kind}, memory.lookup, memory.last)
allowed = resources(os.environ, asked=None, setting=0, sandboxes=0, downloads=0)
assert isinstance(allowed.slots, Jobserver), allowed
Scheduler(plan, tools(kind, memory), resources=allowed).build(look)
"""


def test_two_builds_under_one_make_share_its_jobs(tmp_path: Path) -> None:
    """A real `make -j3` that starts two of them: never more than three steps at once, and three at some time."""
    (tmp_path / "step.py").write_text(SCRIPT)
    (tmp_path / "Makefile").write_text(
        f"all: a b\na b:\n\t+PYTHONPATH={REPOSITORY} {sys.executable} step.py {tmp_path}/log\n"
    )
    run([need("make"), f"-j{MOST}", "all"], cwd=tmp_path, timeout=60)
    now, most = 0, 0
    for sign in (tmp_path / "log").read_text():
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert (now, most) == (0, MOST)
