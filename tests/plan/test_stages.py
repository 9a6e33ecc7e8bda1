"""Stages in the plan: shared steps once, names in no key, nothing of a stage that nothing uses."""

from __future__ import annotations

from pathlib import Path

from stackbuild.build.steps.configure import Configure
from stackbuild.core.digest import Digest, digest_of
from stackbuild.lock.lock import Lock, LockedArchive, PlatformLock
from stackbuild.plan.forecast import forecast
from stackbuild.plan.graph import Plan
from stackbuild.plan.planner import make_plan
from stackbuild.plan.step import Inputs, Step
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle
from tests.plan.fakes import Memory, Say
from tests.plan.test_planner import package

STACK = """\
[stack]
name = "planned"
[base]
distro = "debian/bookworm"
[packages]
install = ["hello"]
[stages.tools]
packages.install = ["jq"]
[[stages.tools.layer]]
name = "made"
run = ["jq --version > /made"]
[[stages.spare.layer]]
name = "idle"
run = ["true"]
[[layer]]
name = "out"
copy = [{ stage = "tools", from = "/made", to = "/made" }]
[[layer]]
name = "made"
run = ["true"]
"""
ARCHIVE = LockedArchive("Debian/bookworm", "Debian", "bookworm", "bookworm", "", Digest("sha256:" + "0" * 64))


def locked(*names: tuple[str, int], **stages: PlatformLock) -> PlatformLock:
    packages = tuple(package(*one) for one in (("dpkg", 0), ("libc6", 0), *names))
    return PlatformLock(None, (ARCHIVE,), packages, stages=stages)


def plan(folder: Path, text: str = STACK, tools: str = "tools") -> Plan:
    (folder / "stack.toml").write_text(text)
    lock = locked(("hello", 1), **{tools: locked(("jq", 1)), "spare": locked()})
    return make_plan(settle(Question(folder / "stack.toml")), Lock(digest_of(b""), {"linux/amd64": lock}))


def test_the_packages_of_a_base_that_both_have_are_done_once(tmp_path: Path) -> None:
    steps = plan(tmp_path).steps
    assert [id for id in steps if id.endswith("configure/0")] == ["configure/0"]
    assert {"configure/1", "stages.tools/configure/1", "stages.tools/run/made"} <= set(steps)
    tree = steps["pick/out/0"].tree
    assert tree[-1] == "stages.tools/run/made" and "configure/0" in tree and "configure/1" not in tree
    assert "hello" not in str([steps[id].params for id in tree])


def test_a_stage_that_nothing_uses_is_not_needed(tmp_path: Path) -> None:
    made = plan(tmp_path)
    kinds = dict.fromkeys({step.kind for step in made.steps.values()}, Say())
    memory = Memory()
    states = {id: o.state for id, o in forecast(made, kinds, memory.lookup, memory.last).outlooks.items()}
    assert states["stages.spare/run/idle"] == "unneeded" and states["stages.tools/run/made"] == "run"


def test_a_target_names_the_layer_of_a_stage(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert made.towards(["made"]).goals == ("run/made",)
    assert made.towards(["stages.tools/made"]).goals == ("stages.tools/run/made",)
    assert made.towards(["idle"]).goals == ("stages.spare/run/idle",)
    assert "stages.tools/configure/1" in made.towards(["stages.tools"]).goals


def test_the_name_of_a_stage_is_in_no_key(tmp_path: Path) -> None:
    one = plan(tmp_path)
    other = plan(tmp_path, STACK.replace("stages.tools", "stages.kit").replace('"tools"', '"kit"'), "kit")
    kind = Configure()

    def inputs(step: Step) -> Inputs:
        return kind.inputs(step, {id: digest_of(id.rpartition("/")[2].encode()) for id in step.after})

    assert inputs(one.steps["stages.tools/configure/1"]) == inputs(other.steps["stages.kit/configure/1"])
