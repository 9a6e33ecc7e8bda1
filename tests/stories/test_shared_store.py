"""Builds of several processes and stacks share a store, and one that prunes all it may takes nothing from them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root
from tests.projects import write_tiny

pytestmark = pytest.mark.root
Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
RUN = '[[layer]]\nname = "made"\nrun = ["echo NAME > /made"]\n[[layer]]\nname = "more"\nrun = ["cat /made > /more"]\n'
NAMES = ("one", "two", "three")


def share(stackbuild: Stackbuild, running: Keep, rounds: int) -> None:
    stacks = []
    for name in NAMES:
        folder = stackbuild.folder / name
        write_tiny(folder, name="same" if name == "three" else name, layers=RUN.replace("NAME", name))
        stacks.append(stackbuild.at(folder))
    expected = [stack.at(store=stackbuild.store.with_name(f"of-{n}"))("build").out for n, stack in enumerate(stacks)]
    for number in range(rounds):
        again = ["-B"] if number % 2 else []
        children = [running(stack.start("build", *again)) for stack in [*stacks, stacks[2]]]
        pruning = 0
        while any(child.poll() is None for child in children):
            stackbuild("cache", "prune", "--all")
            pruning += 1
        ends = [(*child.communicate(timeout=60), child.returncode) for child in children]
        bad = [end for end in ends if end[2]]
        assert not bad, bad[0][1]
        assert [out for out, _, _ in ends] == [*expected, expected[2]]
        assert pruning
        for name in ("one", "two", "same"):
            stackbuild("rmi", name)
    assert '"bad": []' in stackbuild("cache", "verify", "--format", "json").out


def test_builds_and_prunes_at_the_same_time(stackbuild: Stackbuild, running: Keep) -> None:
    need_root()
    share(stackbuild, running, 1)


@pytest.mark.whole
def test_builds_and_prunes_at_the_same_time_often(stackbuild: Stackbuild, running: Keep) -> None:
    need_root()
    share(stackbuild, running, 30)
