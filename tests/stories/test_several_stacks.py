"""Several stacks in one command: one plan, what they share once, a failure of one that stops no other."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Stackbuild
from tests.machine import need_root
from tests.projects import busybox, write_tiny

pytestmark = pytest.mark.root

STAGE = (
    "[stages.{0}.base]\nscratch = true\n"
    '[[stages.{0}.layer]]\nname = "gen"\nfiles = [{{ path = "/g", content = "same" }}]\n'
)
COPY = '[[layer]]\nname = "got"\ncopy = [{{ stage = "{0}", from = "/g", to = "/g" }}]\n'
FAILS = '[[layer]]\nname = "broken"\nrun = ["exit 3"]\n'


@pytest.fixture
def stacks(stackbuild: Stackbuild) -> Stackbuild:
    need_root()
    busybox()
    write_tiny(stackbuild.folder / "one", "one", layers=STAGE.format("a") + COPY.format("a"))
    write_tiny(stackbuild.folder / "two", "two", layers=STAGE.format("b") + COPY.format("b"))
    (stackbuild.folder / "two/site/index.html").write_text("another\n")
    return stackbuild


def test_one_plan_with_the_same_images_as_one_at_a_time(stacks: Stackbuild) -> None:
    plan = {step["id"] for step in json.loads(stacks("plan", "--format", "json", "one", "two").out)["steps"]}
    assert {"one:copy/site", "two:copy/site", "two:copy/got"} <= plan
    assert "one:stages.a/files/gen" in plan and "two:stages.b/files/gen" not in plan, "the same work is one step"
    both = stacks("build", "one/stack.toml", "two", "--format", "json", "--metadata-file", "facts.json")
    built = {one["name"]: one["digest"] for one in json.loads(both.out)["stacks"]}
    assert set(built) == {"one", "two"} and built["one"] != built["two"]
    for name, digest in built.items():
        alone = stacks("build", name)
        assert alone.out.strip() == digest and "0 run" in stacks("plan", name).out
    fresh = stacks.at(store=stacks.store.parent / "other")
    assert fresh("-f", "two/stack.toml", "build").out.strip() == built["two"], "keys and bytes know no neighbour"
    facts = json.loads((stacks.folder / "facts.json").read_text())
    assert facts["one"]["containerimage.digest"] == built["one"]
    assert stacks("lock", "--check", "one", "two").out.count("up to date") == 2


def test_a_failure_stops_no_other_stack_with_k(stacks: Stackbuild) -> None:
    text = (stacks.folder / "one/stack.toml").read_text()
    (stacks.folder / "one/stack.toml").write_text(text.replace("\n[image]\n", f"\n{FAILS}\n[image]\n"))
    ran = stacks("-f", "one/stack.toml", "-f", "two/stack.toml", "build", "-k", "--format", "json", code=1)
    [one, two] = json.loads(ran.out)["stacks"]
    assert "run/broken" in one["error"]["what"] and two["digest"].startswith("sha256:")
    assert "one:run/broken" in ran.err
    assert "two sha256:" in stacks("build", "-k", "one", "two", code=1).out


def test_a_step_of_one_of_them(stacks: Stackbuild) -> None:
    out = stacks("plan", "one", "two", "two:site").out
    assert "two:copy/site" in out and "two:image" not in out and "one:image" in out
    assert "copy/site" in stacks("plan", "two:site").out
    wrong = stacks("plan", "one", "two", "site", code=2)
    assert "one:site" in wrong.err
    assert "for one stack" in stacks("-f", "one/stack.toml", "-f", "two/stack.toml", "up", code=2).err
    (stacks.folder / "two/stack.toml").write_text((stacks.folder / "one/stack.toml").read_text())
    assert "two stacks are called `one`" in stacks("plan", "one", "two", code=2).err
