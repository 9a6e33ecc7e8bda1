"""A reason points at the line of the very setting that was edited, whatever step it reaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.lock.lock import Lock, PlatformLock
from stackbuild.plan.forecast import Forecast, Outlook
from stackbuild.plan.planner import make_plan
from stackbuild.plan.reasons import Reason, reasons
from stackbuild.plan.step import Inputs
from stackbuild.report.explain import PlanReport, why, words
from stackbuild.report.places import places
from stackbuild.stack.question import Question
from stackbuild.stack.settle import settle

STACK = """\
[stack]
name = "s"
[base]
scratch = true
[users.app]
uid = 10001
[[layer]]
name = "conf"
files = [{ path = "/etc/a", content = "one" }]
[image]
cmd = ["/bin/one"]
labels = { l = "one" }
[image.env]
LANG = "C"
TZ = "UTC"
"""


def inputs(folder: Path, text: str) -> dict[str, Outlook]:
    (folder / "stack.toml").write_text(text)
    plan = make_plan(settle(Question(folder / "stack.toml")), Lock(digest_of(b""), {"linux/amd64": PlatformLock()}))
    made = {id: Inputs("x/1", step.params, {}) for id, step in plan.steps.items()}
    return {id: Outlook(step, made[id].key, made[id], "run") for id, step in plan.steps.items()}


def test_a_recipe_a_base_and_another_builder_are_named(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes/conf/recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('[recipe]\nname = "conf"\n[[layer]]\nname = "conf"\nfiles = [{ path = "/a", content = "one" }]\n')
    uses = '[stack]\nname = "s"\nrecipes = [{ use = "conf" }]\n[base]\nscratch = true\n'
    before = inputs(tmp_path, uses)["files/conf"]
    recipe.write_text(recipe.read_text().replace("one", "two"))
    after = inputs(tmp_path, uses)["files/conf"]
    changed = replace(after, reasons=reasons(before.inputs, after.inputs))
    said = why(changed, settle(Question(tmp_path / "stack.toml")))
    assert "one → two" in said and said.endswith("recipes/conf/recipe.toml:5)")
    digests = "sha256:" + "0" * 64, "sha256:" + "1" * 64
    assert words([Reason("digest", *digests)]) == "base image sha256:000000000000 → sha256:111111111111"
    assert words([Reason("builder version", "files/1", "files/2")]) == "builder version files/1 → files/2"


@pytest.mark.parametrize("name", ["", "other"])
def test_a_step_points_into_the_files_of_its_own_stack(tmp_path: Path, name: str) -> None:
    stacks = {}
    for stack, more in (("", ""), ("other", "# one line more\n")):
        (tmp_path / f"p{stack}").mkdir()
        (tmp_path / f"p{stack}/stack.toml").write_text(more + STACK)
        stacks[stack] = settle(Question(tmp_path / f"p{stack}/stack.toml"))
    (tmp_path / "edited").mkdir()
    before = inputs(tmp_path / "edited", STACK)["image"]
    after = inputs(tmp_path / "edited", STACK.replace('l = "one"', 'l = "two"'))["image"]
    id = f"{name}:image" if name else "image"
    outlook = replace(after, step=replace(after.step, id=id), reasons=reasons(before.inputs, after.inputs))
    report = PlanReport(Forecast({id: outlook}), {}, stacks=stacks)
    assert f"p{name}/stack.toml:{13 if name else 12})" in report.to_text()


@pytest.mark.parametrize(
    ("old", "new", "step", "line"),
    [
        ('l = "one"', 'l = "two"', "image", 12),
        ('TZ = "UTC"', 'TZ = "CET"', "image", 15),
        ('LANG = "C"', 'A = "one more before the others"\nLANG = "C"', "image", 14),
        ("/bin/one", "/bin/two", "image", 11),
        ('content = "one"', 'content = "two"', "files/conf", 9),
        ("10001", "10002", "users", 6),
    ],
)
def test_a_reason_points_at_the_setting(tmp_path: Path, old: str, new: str, step: str, line: int) -> None:
    before, after = inputs(tmp_path, STACK), inputs(tmp_path, STACK.replace(old, new))
    why = reasons(before[step].inputs, after[step].inputs)
    stack = settle(Question(tmp_path / "stack.toml"))
    assert len(why) == 1
    [place] = places(stack, after[step], why)
    assert place.endswith(f"stack.toml:{line}")


def test_a_variable_goes_by_its_name_as_in_the_file(tmp_path: Path) -> None:
    before, after = (
        inputs(tmp_path, STACK)["image"],
        inputs(tmp_path, STACK.replace('TZ = "UTC"', 'TZ = "CET"'))["image"],
    )
    assert words(reasons(before.inputs, after.inputs)) == "image.env.TZ: UTC → CET"
    gone = inputs(tmp_path, STACK.replace('TZ = "UTC"', ""))["image"]
    why = reasons(before.inputs, gone.inputs)
    assert words(why) == "image.env.TZ removed"
    assert places(settle(Question(tmp_path / "stack.toml")), gone, why) == ()  # no line says so any more
    assert words([Reason("script.0", "a", "b")]) == "run.0: a → b"
