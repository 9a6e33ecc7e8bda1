"""Step kind `users`: the accounts of the stack file are added to the tree below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads, tree_digests


class Users:
    """params: "epoch", "compression", "users": {name: {"uid", "gid", "groups", "home", "shell", "system"}}."""

    name: ClassVar[str] = "users"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = True

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"users/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        return Action(
            kind="users",
            params={**step.params, "created_by": created_by(step)},
            inputs={},
            tree=tree_digests(step, results),
            outputs=("layer",),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}


def created_by(step: Step) -> str:
    """The line of the image's history."""
    users = step.params["users"].items()
    return "users " + ", ".join(name if user.get("uid") is None else f"{name} ({user['uid']})" for name, user in users)
