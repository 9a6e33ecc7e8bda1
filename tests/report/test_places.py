"""A reason points at the line of the very setting that was edited, whatever step it reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.lock.lock import Lock, PlatformLock
from stackbuild.plan.forecast import Outlook
from stackbuild.plan.planner import make_plan
from stackbuild.plan.reasons import reasons
from stackbuild.plan.step import Inputs
from stackbuild.report.places import places
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
"""


def inputs(folder: Path, text: str) -> dict[str, Outlook]:
    (folder / "stack.toml").write_text(text)
    plan = make_plan(settle(folder / "stack.toml", environ={}), Lock(digest_of(b""), {"linux/amd64": PlatformLock()}))
    made = {id: Inputs("x/1", step.params, {}) for id, step in plan.steps.items()}
    return {id: Outlook(step, made[id].key, made[id], "run") for id, step in plan.steps.items()}


@pytest.mark.parametrize(
    ("old", "new", "step", "line"),
    [
        ('l = "one"', 'l = "two"', "image", 12),
        ("/bin/one", "/bin/two", "image", 11),
        ('content = "one"', 'content = "two"', "files/conf", 9),
        ("10001", "10002", "users", 6),
    ],
)
def test_a_reason_points_at_the_setting(tmp_path: Path, old: str, new: str, step: str, line: int) -> None:
    before, after = inputs(tmp_path, STACK), inputs(tmp_path, STACK.replace(old, new))
    why = reasons(before[step].inputs, after[step].inputs)
    stack = settle(tmp_path / "stack.toml", environ={})
    assert len(why) == 1
    [place] = places(stack, after[step], why)
    assert place.endswith(f"stack.toml:{line}")
