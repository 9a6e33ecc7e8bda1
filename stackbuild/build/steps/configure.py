"""Step kind `configure`: what the maintainer scripts of a wave make of the tree below becomes a layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from stackbuild.build.steps.unpack import package_inputs
from stackbuild.core.action import Action, ActionResult, Needs
from stackbuild.core.digest import Digest
from stackbuild.core.errors import Hint, UsageError
from stackbuild.plan.step import Inputs, Step, basic_reads, plain_id, tree_digests


class Configure:
    """params: as build/do/configure.py reads them, but "own" (the place of the wave's fragments in the tree,
    which is data of the plan, not of the result): step ids of its unpack steps, turned into indexes here."""

    name: ClassVar[str] = "configure"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = False

    def inputs(self, step: Step, done: Mapping[str, Digest]) -> Inputs:
        return Inputs(f"configure/{self.version}", step.params, basic_reads(step, done))

    def action(self, step: Step, inputs: Inputs, results: Mapping[str, ActionResult]) -> Action:
        if step.params["first"] and not any(package["name"] == "dpkg" for package in step.params["packages"]):
            raise UsageError(
                "the packages of this image cannot be configured",
                where=step.origin,
                why="their first wave has no dpkg, and nothing is below it",
                hints=[
                    Hint('use variant = "essential": it is the smallest that has what configures packages'),
                    Hint('or leave it unconfigured: [packages] scripts = "skip"'),
                ],
            )
        present = [id for id in step.tree if not results[id].facts.get("empty")]
        places = {plain_id(id): number for number, id in enumerate(present)}  # a base stack's come first
        own = sorted(places[id] for id in step.params["own"] if id in places)
        first = own[0] if own else len(present)
        return Action(
            kind="configure",
            params={**step.params, "own": [first, first + len(own)]},
            inputs=package_inputs(step, results),
            tree=tree_digests(step, results),
            outputs=("layer",),
            platform=step.platform,
            needs=Needs(sandbox=True),
        )

    def places(self, step: Step) -> Mapping[str, Path]:
        return {}
