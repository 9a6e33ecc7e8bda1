"""Step kind `files`: texts and links that stand in the stack file become a layer; reads a facet, never the tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads


class Files:
    """params: "epoch", "compression", "files": [{"path", "content" | "link", "owner", "mode"}]. needs: "facet"."""

    name: ClassVar[str] = "files"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = True

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"{self.name}/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        return Action(
            kind=self.name,
            params={**step.params, "created_by": created_by(step)},
            inputs={"facet": results[step.needs["facet"]].outputs["facet"]},
            tree=(),
            outputs=("layer",),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}


def created_by(step: Step) -> str:
    """The line of the image's history."""
    paths = [item if isinstance(item, str) else item["path"] for item in step.params[step.kind]]
    return f"{step.kind} {' '.join(paths)}"
