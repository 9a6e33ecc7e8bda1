"""Step kind `pick`: what a copy takes out of a stage's finished tree; its result is what cuts rebuilds off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads, tree_digests


class Pick:
    """params: "from" (an absolute path or pattern of the tree) and "exclude". tree: the whole of the stage."""

    name: ClassVar[str] = "pick"
    version: ClassVar[int] = 2  # 1 kept no extended attribute but capabilities
    in_process: ClassVar[bool] = False

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"pick/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        return Action(
            kind="pick",
            params=inputs.params,
            inputs={},
            tree=tree_digests(step, results),
            outputs=("files", "folders"),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}
