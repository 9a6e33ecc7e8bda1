"""Killed at any instant, a command leaves a store that the next one uses without repair (DESIGN, section 9)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Stackbuild
from tests.machine import REPOSITORY, kill_group, need_root
from tests.projects import write_tiny

pytestmark = pytest.mark.root
RUN = '[[layer]]\nname = "made"\nrun = ["echo made > /made", "rm /srv/index.html"]\n'
SAMPLE = 4  # instants of each command that the default run tries; --all tries every one


class Driver:
    """A process of tests/crash.py that waits for requests."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.crash", str(project), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, text=True, start_new_session=True,
        )  # fmt: skip

    def ask(self, words: list[str], at: int = 0, after: bool = False, seed: Path | None = None) -> dict[str, Any]:
        assert self.child.stdin is not None and self.child.stdout is not None
        request = {"words": words, "at": at, "after": after, "seed": seed and str(seed)}
        self.child.stdin.write(json.dumps(request) + "\n")
        self.child.stdin.flush()
        answered: dict[str, Any] = json.loads(self.child.stdout.readline())
        return answered


@pytest.fixture
def driver(stackbuild: Stackbuild, tmp_path: Path) -> Iterator[Driver]:
    need_root()
    write_tiny(stackbuild.folder, layers=RUN)
    made = Driver(stackbuild.folder, tmp_path / "crash")
    yield made
    kill_group(made.child)
    made.child.communicate(timeout=30)


def check(driver: Driver, words: list[str], digest: str, seed: Path | None, every: bool) -> int:
    """Kill a command at its instants, one by one, each in a store of its own. Returns how many were tried."""
    whole = driver.ask(words, seed=seed)
    assert whole["code"] == 0 and whole["count"] > 10, whole
    points = range(1, whole["count"] + 1)
    chosen = list(points) if every else [points[n * len(points) // SAMPLE] for n in range(SAMPLE)]
    killed = 0
    for number, point in enumerate(chosen):
        for after in (False,) if every else (bool(number % 2),):  # after one is before the next
            done = driver.ask(words, point, after, seed)
            assert done["code"] in (-signal.SIGKILL, 0), done  # 0: threads were faster, there were fewer instants
            killed += done["code"] != 0
            assert done["bad"] == [] and done["verify"] == 0, (words, point, after, done)
            assert (done["build"], done["digest"]) == (0, digest), (words, point, after, done)
            assert done["prune"] == 0, done
    assert killed >= 0.9 * len(chosen)
    return killed


def try_command(driver: Driver, stackbuild: Stackbuild, command: str, every: bool) -> int:
    digest = stackbuild("build").out.strip()
    if command == "build":
        return check(driver, ["build"], digest, None, every)
    stackbuild("rmi", "tiny")
    return check(driver, ["cache", "prune", "--all"], digest, stackbuild.store, every)


@pytest.mark.parametrize("command", ["build", "prune"])
def test_killed_at_a_sample_of_instants(driver: Driver, stackbuild: Stackbuild, command: str) -> None:
    assert try_command(driver, stackbuild, command, every=False) >= SAMPLE - 1


@pytest.mark.whole
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", ["build", "prune"])
def test_killed_at_every_instant(driver: Driver, stackbuild: Stackbuild, command: str) -> None:
    """Half a second of processor for each instant: some minutes for each command."""
    assert try_command(driver, stackbuild, command, every=True) > 100


def killed_at_random(stackbuild: Stackbuild, times: int) -> None:
    """SIGKILL after a random time, in one store, over and over; at last all is well."""
    write_tiny(stackbuild.folder, layers=RUN)
    clean = stackbuild.at(store=stackbuild.store.with_name("clean"))
    digest = clean("build").out
    chance = random.Random(7)
    for _ in range(times):
        child = stackbuild.start("build", "-B")
        try:
            child.wait(timeout=chance.uniform(0.05, 1.2))
        except subprocess.TimeoutExpired:
            child.kill()
        child.communicate(timeout=30)
        assert json.loads(stackbuild("cache", "verify", "--format", "json").out)["bad"] == []
    assert stackbuild("build").out == digest


def test_killed_at_random(stackbuild: Stackbuild) -> None:
    need_root()
    killed_at_random(stackbuild, 2)


@pytest.mark.whole
def test_killed_at_random_often(stackbuild: Stackbuild) -> None:
    need_root()
    killed_at_random(stackbuild, 60)
