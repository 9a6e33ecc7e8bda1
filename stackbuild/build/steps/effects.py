"""Step kind `effects`: where scripts are skipped, one layer holds what they would have left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.build.steps.unpack import package_inputs
from stackbuild.core.action import Action, ActionResult
from stackbuild.core.digest import Digest
from stackbuild.plan.step import Inputs, Step, basic_reads, tree_digests


class Effects:
    """params: as build/do/effects.py reads them. needs: "package NAME" -> fetch step. tree: all unpacked packages."""

    name: ClassVar[str] = "effects"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = False

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"effects/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        return Action(
            kind="effects",
            params=step.params,
            inputs=package_inputs(step, results),
            tree=tree_digests(step, results),
            outputs=("layer",),
            platform=step.platform,
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}
